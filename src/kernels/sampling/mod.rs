//! The loops of sampling and of log-probabilities over the vocabulary, compiled for each instruction set. The code is
//! one and the same, and so are its results; only the width at which the compiler vectorises it differs.

pub(crate) mod rows;

/// The loops; see [`rows`] for what each computes.
#[derive(Clone, Copy)]
pub(crate) struct SampleOps {
    pub scan: fn(&[f32], &mut [i32]) -> bool,
    pub weigh: fn(&[f32], f32, f32, &mut [f32], &mut [u64]),
    pub exp_sum: fn(&[f32], f32) -> u64,
    pub cut: fn(f32, &mut [f32], &mut [u64]),
}

#[cfg(target_arch = "x86_64")]
macro_rules! compile {
    ($features:literal) => {{
        fn scan(logits: &[f32], largest: &mut [i32]) -> bool {
            #[target_feature(enable = $features)]
            fn compiled(logits: &[f32], largest: &mut [i32]) -> bool {
                rows::scan(logits, largest)
            }
            // SAFETY: only handed out where the CPU has the features.
            unsafe { compiled(logits, largest) }
        }
        fn weigh(x: &[f32], max: f32, t: f32, weights: &mut [f32], sums: &mut [u64]) {
            #[target_feature(enable = $features)]
            fn compiled(x: &[f32], max: f32, t: f32, weights: &mut [f32], sums: &mut [u64]) {
                rows::weigh(x, max, t, weights, sums);
            }
            // SAFETY: only handed out where the CPU has the features.
            unsafe { compiled(x, max, t, weights, sums) }
        }
        fn exp_sum(x: &[f32], max: f32) -> u64 {
            #[target_feature(enable = $features)]
            fn compiled(x: &[f32], max: f32) -> u64 {
                rows::exp_sum(x, max)
            }
            // SAFETY: only handed out where the CPU has the features.
            unsafe { compiled(x, max) }
        }
        fn cut(least: f32, weights: &mut [f32], sums: &mut [u64]) {
            #[target_feature(enable = $features)]
            fn compiled(least: f32, weights: &mut [f32], sums: &mut [u64]) {
                rows::cut(least, weights, sums);
            }
            // SAFETY: only handed out where the CPU has the features.
            unsafe { compiled(least, weights, sums) }
        }
        SampleOps { scan, weigh, exp_sum, cut }
    }};
}

/// The fastest for this CPU.
pub(crate) fn sample_ops() -> SampleOps {
    let all = all();
    all[all.len() - 1]
}

/// Those that this CPU can run, the fastest last.
fn all() -> Vec<SampleOps> {
    // What every CPU of the architecture has: SSE2 on x86-64, NEON on aarch64.
    let baseline =
        SampleOps { scan: rows::scan, weigh: rows::weigh, exp_sum: rows::exp_sum, cut: rows::cut };
    #[allow(unused_mut)]
    let mut all = vec![baseline];
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx2") {
            all.push(compile!("avx2"));
        }
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
        {
            all.push(compile!("avx512f,avx512bw,avx512vl,avx512dq"));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::rows::{BLOCK, fixed};
    use super::*;

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        for len in [1, 63, 64, 65, 200, 1000] {
            let logits: Vec<f32> =
                (0..len as u32).map(|i| (i * 7919 % 1013) as f32 / 37.0 - 13.0).collect();
            let run = |ops: SampleOps| {
                let blocks = logits.len().div_ceil(BLOCK);
                let (mut largest, mut sums) = (vec![0; blocks], vec![0; blocks]);
                assert!((ops.scan)(&logits, &mut largest));
                let mut weights = vec![0.0; logits.len()];
                (ops.weigh)(&logits, 14.0, 0.7, &mut weights, &mut sums);
                let (before, sums_before) = (weights.clone(), sums.clone());
                (ops.cut)(0.01, &mut weights, &mut sums);
                // The same numbers without being kept: those of temperature 1.
                let total = (ops.exp_sum)(&logits, 14.0);
                let mut all = vec![0.0; logits.len()];
                (ops.weigh)(&logits, 14.0, 1.0, &mut all, &mut vec![0; blocks]);
                assert_eq!(total, all.iter().map(|&weight| fixed(weight)).sum::<u64>());
                let bits = |w: Vec<f32>| w.into_iter().map(f32::to_bits).collect::<Vec<_>>();
                (largest, bits(before), sums_before, bits(weights), sums, total)
            };
            let reference = run(all()[0]);
            assert!(len == 1 || reference.4.iter().sum::<u64>() < reference.2.iter().sum());
            for ops in all() {
                assert_eq!(run(ops), reference, "{len}");
            }
        }
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in [0, 70, 99] {
                let mut logits = vec![1.0; 100];
                logits[at] = bad;
                for ops in all() {
                    assert!(!(ops.scan)(&logits, &mut [0; 2]), "{bad} at {at}");
                }
            }
        }
    }
}
