//! The reference kernels: plain Rust, short enough to be believed. Every other kernel must give
//! their integers.

use super::{Family, Isa, Job, Kernel, stride};
use crate::packing::{Packing, STRIP, i2, t5};

/// [`i2`] on any CPU.
pub struct I2Scalar;

impl Kernel for I2Scalar {
    fn name(&self) -> &'static str {
        "i2-scalar"
    }

    fn isa(&self) -> Isa {
        Isa::Scalar
    }

    fn packing(&self) -> Packing {
        Packing::I2
    }

    fn family(&self) -> Family {
        Family::Add
    }

    fn compute(&self, job: &Job<'_>, out: &mut [i32]) {
        let input = job.input();
        let strip_bytes = input.cols.div_ceil(i2::GROUP) * i2::GROUP_BYTES;
        let rows = job.rows();
        for (s, strip) in job.strips().enumerate() {
            let bytes = &job.matrix().bytes()[strip * strip_bytes..][..strip_bytes];
            for b in 0..input.batch {
                let q = &input.q[b * stride(input.cols)..][..stride(input.cols)];
                let out = &mut out[b * rows + s * STRIP..][..STRIP];
                // A code is the trit plus one, so the sum of all activations is taken off.
                out.fill(-input.sums[b]);
                for (group, q) in bytes.chunks_exact(i2::GROUP_BYTES).zip(q.chunks(i2::GROUP)) {
                    for (codes, out) in group.chunks_exact(4).zip(out.iter_mut()) {
                        *out += i2_group(codes, q);
                    }
                }
            }
        }
    }
}

/// Σ code * activation over a group: the low bit adds the activation, the high bit adds it twice. The
/// bits are tested, not shifted down: a compiler that makes vectors of this shifts lanes by unlike
/// distances with a multiplication.
fn i2_group(codes: &[u8], q: &[i8]) -> i32 {
    let mut sum = 0;
    for (k, &codes) in codes.iter().enumerate() {
        for s in 0..4 {
            let q = i32::from(q[4 * s + k]);
            let if_set = |bit: usize, q: i32| if codes & (1 << bit) != 0 { q } else { 0 };
            sum += if_set(2 * s, q) + if_set(2 * s + 1, q << 1);
        }
    }
    sum
}

/// [`t5`] on any CPU.
pub struct T5Scalar;

impl Kernel for T5Scalar {
    fn name(&self) -> &'static str {
        "t5-scalar"
    }

    fn isa(&self) -> Isa {
        Isa::Scalar
    }

    fn packing(&self) -> Packing {
        Packing::T5
    }

    fn family(&self) -> Family {
        Family::Add
    }

    /// For each group of five activations, the sums that the 122 positive patterns of trits make,
    /// as i16.
    fn prepared_len(&self, cols: usize) -> usize {
        cols.div_ceil(t5::GROUP) * t5::TABLE * 2
    }

    fn prepare(&self, cols: usize, q: &[i8], out: &mut [u8]) {
        let groups = q[..cols].chunks(t5::GROUP).zip(out.chunks_exact_mut(2 * t5::TABLE));
        for (q, table) in groups {
            for (trits, entry) in t5::TRITS.iter().zip(table.chunks_exact_mut(2)) {
                let sum: i16 = trits
                    .iter()
                    .zip(q)
                    .map(|(&trit, &q)| match trit {
                        0 => 0,
                        1 => i16::from(q),
                        _ => -i16::from(q),
                    })
                    .sum();
                entry.copy_from_slice(&sum.to_ne_bytes());
            }
        }
    }

    fn compute(&self, job: &Job<'_>, out: &mut [i32]) {
        let (input, bytes) = (job.input(), job.matrix().bytes());
        let layout = t5::Layout::new(job.matrix().rows(), job.matrix().cols());
        let table_len = self.prepared_len(input.cols);
        let rows = job.rows();
        for (s, strip) in job.strips().enumerate() {
            let (block, in_block) = (strip / t5::STRIPS_PER_BLOCK, strip % t5::STRIPS_PER_BLOCK);
            let width = layout.block_strips(block) * STRIP;
            let constants = &bytes[layout.constants_offset() + 2 * strip * STRIP..][..2 * STRIP];
            for b in 0..input.batch {
                let tables = &input.prepared[b * table_len..][..table_len];
                let out = &mut out[b * rows + s * STRIP..][..STRIP];
                for (out, constant) in out.iter_mut().zip(constants.chunks_exact(2)) {
                    *out = i32::from(u16::from_le_bytes([constant[0], constant[1]]));
                }
                for (g, table) in tables.chunks_exact(2 * t5::TABLE).enumerate() {
                    let (panel, group) = (g / t5::PANEL, g % t5::PANEL);
                    let at = layout.block_offset(panel, block) + group * width + in_block * STRIP;
                    for (out, &byte) in out.iter_mut().zip(&bytes[at..at + STRIP]) {
                        let entry = 2 * usize::from(byte & 0x7F);
                        let sum = i32::from(i16::from_ne_bytes([table[entry], table[entry + 1]]));
                        // A set bit 7 negates: -sum is !sum + 1, and the row constant holds all the
                        // ones.
                        *out += sum ^ (byte as i8 >> 7) as i32;
                    }
                }
            }
        }
    }
}
