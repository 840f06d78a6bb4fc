//! The float operations at the widths of the 2.7B model, and sampling from 32000 tokens, one thread.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mmfree::kernels::{Isa, float_ops, stride};
use mmfree::{Context, Sampler, SamplerOptions, ops};

const HIDDEN: usize = 2560;
const INTERMEDIATE: usize = 6912;
const VOCABULARY: usize = 32000;

/// Numbers in -1..1 that look random.
fn floats(len: usize, seed: u32) -> Vec<f32> {
    let mut x = seed.wrapping_mul(0x9E37_79B9) | 1;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        (x >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

fn float_operations(c: &mut Criterion) {
    let best = Isa::available().last().copied().unwrap_or(Isa::Scalar);
    let ops = float_ops(best);
    let mut group = c.benchmark_group("ops");
    let [a, b, d, e] = [1, 2, 3, 4].map(|seed| floats(INTERMEDIATE, seed));
    let mut out = vec![0.0; INTERMEDIATE];
    let mut q = vec![0i8; stride(INTERMEDIATE)];
    let sums: Vec<i32> = (0..INTERMEDIATE as i32).map(|i| i * 37 % 4001 - 2000).collect();

    group.throughput(Throughput::Elements(HIDDEN as u64));
    let h = HIDDEN;
    group.bench_function("rms_factor", |x| x.iter(|| ops.rms_factor(black_box(&a[..h]), 1e-6)));
    group.bench_function("scale", |x| {
        x.iter(|| ops.scale(black_box(&a[..h]), 1.5, &b[..h], &mut out[..h]));
    });
    group.bench_function("quantise", |x| {
        x.iter(|| ops.quantise(black_box(&a[..h]), 1.5, &b[..h], &mut q[..stride(h)]));
    });
    group.bench_function("dequantise", |x| {
        x.iter(|| ops.dequantise(black_box(&sums[..h]), 0.01, &mut out[..h]));
    });
    let mut bits = sums[..h].to_vec();
    group.bench_function("dequantise_in_place", |x| {
        x.iter(|| ops.dequantise_in_place(black_box(&mut bits), 0.01));
    });
    group.bench_function("recurrence", |x| {
        x.iter(|| {
            let (input, forget, bounds) = (black_box(&a[..h]), &b[..h], Some(&e[..h]));
            ops.recurrence(input, forget, bounds, &d[..h], &mut out[..h]);
        });
    });
    group.bench_function("gated_norm", |x| {
        x.iter(|| ops.gated_norm(black_box(&a[..h]), 1.5, &b[..h], &d[..h], &mut out[..h]));
    });
    group.bench_function("add", |x| x.iter(|| ops.add(&mut out[..h], black_box(&a[..h]))));
    group.throughput(Throughput::Elements(INTERMEDIATE as u64));
    group.bench_function("swiglu", |x| x.iter(|| ops.swiglu(black_box(&a), &b, &mut out)));
    group.bench_function("exp", |x| {
        x.iter(|| {
            for (out, &a) in out.iter_mut().zip(black_box(&a)) {
                *out = ops::exp(a);
            }
        });
    });
    group.finish();
}

fn sampling(c: &mut Criterion) {
    // A sum of uniform numbers is nearly normal; as it is, times 4, or all but flat.
    let normal: Vec<f32> =
        (0..VOCABULARY).map(|i| floats(12, i as u32 + 1).iter().sum::<f32>() / 2.0).collect();
    let scaled = |by: f32| normal.iter().map(|x| x * by).collect::<Vec<f32>>();
    let so_far: Vec<u32> = (0..1000).map(|i| i * 31 % VOCABULARY as u32).collect();
    let warm = SamplerOptions { temperature: 0.8, ..Default::default() };
    let all =
        SamplerOptions { top_k: 40, top_p: 0.95, min_p: 0.05, repeat_penalty: 1.1, ..warm.clone() };
    for (logits, spread) in
        [(scaled(4.0), "peaked"), (normal.clone(), "normal"), (scaled(0.01), "flat")]
    {
        let mut group = c.benchmark_group(format!("sampling/{spread}"));
        for (name, options) in [
            ("greedy", SamplerOptions::default()),
            ("temperature", warm.clone()),
            ("top-k", SamplerOptions { top_k: 40, ..warm.clone() }),
            ("top-k 1000", SamplerOptions { top_k: 1000, ..warm.clone() }),
            ("top-p", SamplerOptions { top_p: 0.9, ..warm.clone() }),
            ("min-p", SamplerOptions { min_p: 0.05, ..warm.clone() }),
            ("typical-p", SamplerOptions { typical_p: 0.9, ..warm.clone() }),
            ("all, penalty", all.clone()),
        ] {
            let mut sampler = Sampler::new(options).expect("good options");
            let mut position = 0;
            group.bench_function(name, |x| {
                x.iter(|| {
                    position += 1;
                    let context = Context { position, distinct: &so_far, ..Default::default() };
                    sampler.sample(black_box(&logits), &context).expect("finite logits")
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, float_operations, sampling);
criterion_main!(benches);
