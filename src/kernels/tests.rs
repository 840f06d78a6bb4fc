//! Every kernel against the scalar one: the same integers, whatever the shape, the split and the
//! bytes.

use std::ops::Range;

use proptest::prelude::*;

use super::*;
use crate::packing::{Packing, t5};

/// A small generator of repeatable bytes (SplitMix64).
struct Bytes(u64);

impl Bytes {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// Activations as a kernel gets them.
struct Activations {
    batch: usize,
    cols: usize,
    q: Vec<i8>,
    sums: Vec<i32>,
}

impl Activations {
    fn new(batch: usize, cols: usize, mut value: impl FnMut() -> i8) -> Activations {
        let mut q = vec![0; batch * stride(cols)];
        let mut sums = Vec::new();
        for row in q.chunks_mut(stride(cols)) {
            row[..cols].fill_with(&mut value);
            sums.push(row.iter().map(|&q| i32::from(q)).sum());
        }
        Activations { batch, cols, q, sums }
    }

    fn random(batch: usize, cols: usize, bytes: &mut Bytes) -> Activations {
        Activations::new(batch, cols, || (bytes.next() as i8).max(-127))
    }
}

/// What a kernel makes of a problem with its input prepared, or left to be prepared as it goes.
fn sums(
    kernel: &dyn Kernel,
    matrix: PackedMatrix<'_>,
    strips: Range<usize>,
    activations: &Activations,
    as_it_goes: bool,
) -> Vec<i32> {
    let Activations { batch, cols, q, sums } = activations;
    let (batch, cols) = (*batch, *cols);
    let len = if as_it_goes { 0 } else { kernel.prepared_len(cols) };
    // Whatever was there before must not matter.
    let mut prepared = vec![0xA5; batch * len];
    let rows = q.chunks(stride(cols)).zip(prepared.chunks_mut(len.max(1)));
    if len > 0 {
        rows.for_each(|(q, out)| kernel.prepare(cols, q, out));
    }
    let job = Job::new(matrix, strips, Input { batch, cols, q, sums, prepared: &prepared });
    // What comes next changes no sum, of whatever length it is.
    let job = job.with_next(
        &matrix.bytes()[matrix.bytes().len() / 3..],
        [&matrix.bytes()[1..], &[], &matrix.bytes()[2..3], &[]],
    );
    let mut out = vec![i32::MIN + 7; batch * job.rows()];
    job.run(kernel, &mut out);
    out
}

fn kernels_of(packing: Packing) -> impl Iterator<Item = &'static dyn Kernel> {
    all().iter().map(|kernel| kernel.as_ref()).filter(move |kernel| kernel.packing() == packing)
}

fn scalar(packing: Packing) -> &'static dyn Kernel {
    kernels_of(packing).find(|kernel| kernel.isa() == Isa::Scalar).expect("a scalar kernel")
}

/// All kernels on one problem.
fn compare(matrix: PackedMatrix<'_>, strips: Range<usize>, activations: &Activations) {
    let packing = matrix.packing();
    let expected = sums(scalar(packing), matrix, strips.clone(), activations, false);
    let ways = kernels_of(packing).flat_map(|kernel| {
        let ways = if kernel.prepares_as_it_goes() { &[false, true][..] } else { &[false] };
        ways.iter().map(move |&as_it_goes| (kernel, as_it_goes))
    });
    for (kernel, as_it_goes) in ways {
        let found = sums(kernel, matrix, strips.clone(), activations, as_it_goes);
        if let Some(at) = (0..found.len()).find(|&at| found[at] != expected[at]) {
            panic!(
                "{}: {} x {}, strips {strips:?}, batch {}, as it goes {as_it_goes}: sum {at} is {}, should be {}",
                kernel.name(),
                matrix.rows(),
                matrix.cols(),
                activations.batch,
                found[at],
                expected[at],
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_kernel_gives_the_scalar_sums_for_any_bytes(
        rows in 1usize..=700, cols in 1usize..=1100, batch in 1usize..=19, seed in any::<u64>(),
        from in any::<prop::sample::Index>(), len in any::<prop::sample::Index>(), valid in any::<bool>(),
    ) {
        let mut random = Bytes(seed);
        let strips = rows.div_ceil(STRIP);
        let from = from.index(strips);
        let strips = from..from + 1 + len.index(strips - from);
        let activations = Activations::random(batch, cols, &mut random);
        for packing in Packing::ALL {
            let bytes = if valid {
                let trits: Vec<i8> =
                    (0..rows * cols).map(|_| (random.next() % 3) as i8 - 1).collect();
                packing.pack_matrix(rows, cols, &trits)
            } else {
                let mut bytes = vec![0; packing.packed_len(rows, cols).unwrap()];
                random.fill(&mut bytes);
                bytes
            };
            let matrix = PackedMatrix::new(packing, rows, cols, &bytes).unwrap();
            compare(matrix, strips.clone(), &activations);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn products_are_sums_dequantised(
        rows in 1usize..=700, cols in 1usize..=1100, seed in any::<u64>(),
        from in any::<prop::sample::Index>(), len in any::<prop::sample::Index>(), whole in any::<bool>(),
    ) {
        let mut random = Bytes(seed);
        // Only where no padding row is left out may a kernel leave floats.
        let rows = if whole { rows.next_multiple_of(STRIP) } else { rows };
        let strips = rows.div_ceil(STRIP);
        let from = from.index(strips);
        let strips = from..from + 1 + len.index(strips - from);
        let activations = Activations::random(1, cols, &mut random);
        let Activations { q, sums: row_sums, .. } = &activations;
        let factor = (random.next() % 10_000) as f32 / 3e4 + 1e-5;
        for kernel in all().iter().map(|kernel| kernel.as_ref()) {
            let mut bytes = vec![0; kernel.packing().packed_len(rows, cols).unwrap()];
            random.fill(&mut bytes);
            let matrix = PackedMatrix::new(kernel.packing(), rows, cols, &bytes).unwrap();
            let sums = sums(kernel, matrix, strips.clone(), &activations, false);
            let mut prepared = vec![0; kernel.prepared_len(cols)];
            kernel.prepare(cols, q, &mut prepared);
            let mut inputs = vec![&prepared[..]];
            inputs.extend(kernel.prepares_as_it_goes().then_some(&[][..]));
            for prepared in inputs {
                let input = Input { batch: 1, cols, q, sums: row_sums, prepared };
                let job = Job::new(matrix, strips.clone(), input);
                let mut room = vec![i32::MIN + 7; job.rows()];
                let live = rows.min(strips.end * STRIP) - strips.start * STRIP;
                let mut found = vec![f32::NAN; live];
                job.run_to_floats(kernel, float_ops(kernel.isa()), factor, &mut room, &mut found);
                for (found, sum) in found.iter().zip(&sums) {
                    prop_assert_eq!(found.to_bits(), (*sum as f32 * factor).to_bits(), "{}", kernel.name());
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn stretches_add_up_to_the_whole(
        rows in 1usize..=1200, cols in 1usize..=1100, seed in any::<u64>(),
        from in any::<prop::sample::Index>(), len in any::<prop::sample::Index>(),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..=5),
    ) {
        let mut random = Bytes(seed);
        let strips = rows.div_ceil(STRIP);
        let from = from.index(strips);
        let strips = from..from + 1 + len.index(strips - from);
        let activations = Activations::random(1, cols, &mut random);
        let Activations { q, sums: row_sums, .. } = &activations;
        for kernel in all().iter().filter(|kernel| kernel.prepares_as_it_goes()) {
            let kernel = kernel.as_ref();
            let mut bytes = vec![0; kernel.packing().packed_len(rows, cols).unwrap()];
            random.fill(&mut bytes);
            let matrix = PackedMatrix::new(kernel.packing(), rows, cols, &bytes).unwrap();
            let expected = sums(kernel, matrix, strips.clone(), &activations, false);
            let input = Input { batch: 1, cols, q, sums: row_sums, prepared: &[] };
            let job = Job::new(matrix, strips.clone(), input);
            let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(job.lines() + 1)).collect();
            ends.push(job.lines());
            ends.sort_unstable();
            let mut found = vec![0; job.rows()];
            let mut start = 0;
            for end in ends {
                let mut part = vec![i32::MIN + 7; job.rows()];
                job.clone().with_stretch(start..end).run(kernel, &mut part);
                found.iter_mut().zip(&part).for_each(|(sum, part)| *sum += part);
                start = end;
            }
            prop_assert_eq!(&found, &expected);
        }
    }
}

#[test]
fn what_is_read_aside_is_asked_for_once() {
    for of in [1, 2, 5, 16, 24, 88, 1000] {
        for all in [1, 15, 16, 17, 128, 256, 1023] {
            let shares: Vec<_> = (0..of).map(|number| aside_share(number, of, all)).collect();
            let mut next = 0;
            for share in shares.iter().filter(|share| !share.is_empty()) {
                assert_eq!(share.start, next, "{of}, {all}: {shares:?}");
                next = share.end;
            }
            assert_eq!(next, all, "{of}, {all}: {shares:?}");
            if of >= all.div_ceil(16) + 6 {
                assert!(shares[of - 6..].iter().all(|share| share.is_empty()), "{of}, {all}");
            }
        }
    }
}

#[test]
fn the_scalar_kernels_give_the_sums_of_the_trits() {
    let (rows, cols, batch) = (130, 333, 2);
    let mut random = Bytes(1);
    let trits: Vec<i8> = (0..rows * cols).map(|_| (random.next() % 3) as i8 - 1).collect();
    let activations = Activations::random(batch, cols, &mut random);
    for packing in Packing::ALL {
        let bytes = packing.pack_matrix(rows, cols, &trits);
        let matrix = PackedMatrix::new(packing, rows, cols, &bytes).unwrap();
        let found = sums(scalar(packing), matrix, 0..matrix.strips(), &activations, false);
        for (found, q) in
            found.chunks(matrix.strips() * STRIP).zip(activations.q.chunks(stride(cols)))
        {
            for (row, found) in trits.chunks(cols).zip(found) {
                let sum: i32 = row.iter().zip(q).map(|(&t, &q)| i32::from(t) * i32::from(q)).sum();
                assert_eq!(*found, sum);
            }
        }
    }
}

#[test]
fn all_extreme_inputs_do_not_overflow_at_any_width() {
    for cols in [250, 2560, 6912, 13824, 65536] {
        for (trit, low) in [(1i8, 127), (-1, 127), (1, -127), (-1, -127)] {
            let activations = Activations::new(2, cols, || low);
            for packing in Packing::ALL {
                let bytes = packing.pack_matrix(3, cols, &vec![trit; 3 * cols]);
                let matrix = PackedMatrix::new(packing, 3, cols, &bytes).unwrap();
                for kernel in kernels_of(packing) {
                    let found =
                        sums(kernel, matrix, 0..1, &activations, kernel.prepares_as_it_goes());
                    let expected = i32::from(trit) * i32::from(low) * cols as i32;
                    for found in found.chunks(STRIP) {
                        assert_eq!(found[..3], [expected; 3], "{} {cols}", kernel.name());
                        assert_eq!(found[3..], [0; STRIP - 3], "{} {cols}", kernel.name());
                    }
                }
            }
        }
    }
}

/// The bytes that make the largest lanes: for i2 the invalid code 3 everywhere, for t5 each sign of
/// the entry of all ones, with the largest row constant.
#[test]
fn the_largest_bytes_do_not_overflow_at_any_width() {
    for cols in [255, 6912, 13824, 65536] {
        for low in [127, -127] {
            let activations = Activations::new(1, cols, || low);
            for packing in Packing::ALL {
                let len = packing.packed_len(1, cols).unwrap();
                for byte in [0xFF, 0x7F, 121, 121 | 0x80, 0xAA, 0] {
                    let mut bytes = vec![byte; len];
                    if packing == Packing::T5 {
                        let constants = t5::Layout::new(1, cols).constants_offset();
                        bytes[constants..].fill(0xFF);
                    }
                    let matrix = PackedMatrix::new(packing, 1, cols, &bytes).unwrap();
                    compare(matrix, 0..1, &activations);
                }
            }
        }
    }
}

#[test]
fn every_packing_has_an_add_kernel_under_every_instruction_set_and_no_other_is_taken() {
    for packing in Packing::ALL {
        for isa in Isa::available() {
            for batch in [1, 2, 7, 512] {
                let kernel = select(packing, isa, None, batch).expect("a kernel");
                // Only AVX-VNNI has nothing for the look-ups of `t5` that AVX2 has not.
                let lent = isa == Isa::AvxVnni && packing == Packing::T5;
                let expected = if lent { Isa::Avx2 } else { isa };
                assert_eq!((kernel.packing(), kernel.isa()), (packing, expected));
                for family in Family::ALL {
                    let found = select(packing, isa, Some(family), batch);
                    assert!(found.is_none_or(|k| k.family() == family && k.isa() <= isa));
                    assert!(found.is_some() || (isa, family) == (Isa::Scalar, Family::Dot));
                }
            }
        }
    }
}

#[test]
fn no_two_kernels_have_one_name() {
    let mut names: Vec<_> = all().iter().map(|kernel| kernel.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all().len());
}

#[test]
fn preparing_in_pieces_gives_the_same_bytes() {
    for kernel in all() {
        for cols in [1, 5, 64, 251, 1024, 6912] {
            let row = Activations::random(1, cols, &mut Bytes(3)).q;
            let len = kernel.prepared_len(cols);
            let (columns, bytes) = kernel.prepared_piece(cols);
            let (mut whole, mut pieces) = (vec![0xA5; len], vec![0x5A; len]);
            kernel.prepare(cols, &row, &mut whole);
            for (i, out) in pieces.chunks_mut((3 * bytes).max(1)).enumerate() {
                kernel.prepare(cols, &row[3 * i * columns..], out);
            }
            assert!(whole == pieces, "{} {cols}", kernel.name());
        }
    }
}

#[test]
fn prepared_input_is_a_multiple_of_64_bytes() {
    for kernel in all() {
        for cols in [1, 5, 64, 251, 1024, 6912] {
            assert_eq!(kernel.prepared_len(cols) % 64, 0, "{}", kernel.name());
        }
    }
}
