//! Every kernel at the shapes of the published models and several batch sizes, one thread, the
//! weights of the smaller matrices in the cache. How near they come to the memory's bandwidth is
//! what `mmfree-infer bench kernels` measures.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mmfree::kernels::{self, Input, Isa, Job, stride};
use mmfree::packing::PackedMatrix;

const SHAPES: [(usize, usize); 4] = [(1024, 1024), (2560, 2560), (11264, 2048), (13824, 2560)];
const BATCHES: [usize; 3] = [1, 8, 128];

fn sums(c: &mut Criterion) {
    for (rows, cols) in SHAPES {
        for batch in BATCHES {
            let mut group = c.benchmark_group(format!("{rows}x{cols}/{batch}"));
            group.sample_size(10);
            group.throughput(Throughput::Elements((rows * cols * batch) as u64));
            let q: Vec<i8> =
                (0..batch * stride(cols)).map(|i| (i * 37 % 255) as u8 as i8).collect();
            let sums: Vec<i32> =
                q.chunks(stride(cols)).map(|q| q.iter().map(|&q| i32::from(q)).sum()).collect();
            for kernel in kernels::all().iter().filter(|kernel| kernel.isa() != Isa::Scalar) {
                let len = kernel.packing().packed_len(rows, cols).expect("a shape in range");
                let bytes: Vec<u8> =
                    (0..len as u32).map(|i| (i.wrapping_mul(0x9E37_79B1) >> 24) as u8).collect();
                let matrix =
                    PackedMatrix::new(kernel.packing(), rows, cols, &bytes).expect("length");
                let as_it_goes = batch == 1 && kernel.prepares_as_it_goes();
                let prepared_len = if as_it_goes { 0 } else { kernel.prepared_len(cols) };
                let mut prepared = vec![0; batch * prepared_len];
                let mut out = vec![0; batch * rows];
                group.bench_function(BenchmarkId::from_parameter(kernel.name()), |b| {
                    b.iter(|| {
                        let rows = q.chunks(stride(cols));
                        for (q, out) in rows.zip(prepared.chunks_mut(prepared_len.max(1))) {
                            kernel.prepare(cols, q, out);
                        }
                        let input = Input { batch, cols, q: &q, sums: &sums, prepared: &prepared };
                        Job::new(matrix, 0..matrix.strips(), input).run(kernel.as_ref(), &mut out);
                    });
                });
            }
        }
    }
}

criterion_group!(benches, sums);
criterion_main!(benches);
