//! What sampling does to every token of the vocabulary, one definition for every CPU. Maxima and sums are of integers, so
//! their order does not matter.

use crate::ops::exp;

/// Tokens in a block. Blocks have their own maxima and sums, so that a search skips most of the vocabulary.
pub const BLOCK: usize = 64;

/// 2^52: in float64 from here on, neighbours are 1 apart, and the low bits are the integer.
const INTEGERS: f64 = 4_503_599_627_370_496.0;

/// What 1 is as an integer, which [`fixed`] makes of it: some 10^-12 of the likeliest token's likelihood is the smallest that counts.
pub const ONE: f64 = (1u64 << 38) as f64;

/// The most weights whose sum as integers cannot overflow.
pub const MAX_LEN: usize = 1 << 25;

/// A weight in 0..=1 as an integer: `weight * 2^38`, rounded to nearest, half to even.
#[inline(always)]
pub fn fixed(weight: f32) -> u64 {
    (f64::from(weight) * ONE + INTEGERS).to_bits().wrapping_sub(INTEGERS.to_bits())
}

/// A float as an integer of the same order, both zeros the same.
#[inline(always)]
pub fn order(x: f32) -> i32 {
    let bits = (x + 0.0).to_bits() as i32;
    bits ^ (((bits >> 31) as u32) >> 1) as i32
}

/// The [`order`] of each block's largest logit, and whether all logits are finite.
#[inline(always)]
pub fn scan(logits: &[f32], largest: &mut [i32]) -> bool {
    let mut magnitude = 0u32;
    let mut block = |logits: &[f32], largest: &mut i32| {
        let mut most = i32::MIN;
        for &logit in logits {
            most = most.max(order(logit));
            magnitude = magnitude.max(logit.to_bits() & 0x7FFF_FFFF);
        }
        *largest = most;
    };
    let (blocks, tail) = logits.as_chunks::<BLOCK>();
    for (logits, largest) in blocks.iter().zip(largest.iter_mut()) {
        block(logits, largest);
    }
    if let (false, Some(largest)) = (tail.is_empty(), largest.get_mut(blocks.len())) {
        block(tail, largest);
    }
    f32::from_bits(magnitude).is_finite()
}

/// `weights = exp((logits - max) / temperature)`, and each block's sum of them as integers.
#[inline(always)]
pub fn weigh(logits: &[f32], max: f32, temperature: f32, weights: &mut [f32], sums: &mut [u64]) {
    let block = |logits: &[f32], weights: &mut [f32], sum: &mut u64| {
        for (weight, &logit) in weights.iter_mut().zip(logits) {
            // The difference may overflow to minus infinity: weight 0.
            *weight = exp((logit - max) / temperature);
        }
        *sum = weights.iter().map(|&weight| fixed(weight)).sum();
    };
    let (blocks, tail) = logits.as_chunks::<BLOCK>();
    let (weights, last) = weights.split_at_mut(blocks.len() * BLOCK);
    let out = weights.as_chunks_mut::<BLOCK>().0.iter_mut().zip(sums.iter_mut());
    for (logits, (weights, sum)) in blocks.iter().zip(out) {
        block(logits, weights, sum);
    }
    if let (false, Some(sum)) = (tail.is_empty(), sums.get_mut(blocks.len())) {
        block(tail, last, sum);
    }
}

/// The sum of `exp(logit - max)` over all logits, each as an integer.
#[inline(always)]
pub fn exp_sum(logits: &[f32], max: f32) -> u64 {
    let block = |logits: &[f32]| -> u64 {
        // Apart, so that the compiler vectorises each loop by itself.
        let mut weights = [0.0f32; BLOCK];
        for (weight, &logit) in weights.iter_mut().zip(logits) {
            *weight = exp(logit - max);
        }
        weights[..logits.len()].iter().map(|&weight| fixed(weight)).sum()
    };
    let (blocks, tail) = logits.as_chunks::<BLOCK>();
    blocks.iter().map(|logits| block(logits)).sum::<u64>() + block(tail)
}

/// Makes weights below `least` 0, and the sums anew.
#[inline(always)]
pub fn cut(least: f32, weights: &mut [f32], sums: &mut [u64]) {
    let block = |weights: &mut [f32], sum: &mut u64| {
        for weight in weights.iter_mut() {
            *weight = if *weight >= least { *weight } else { 0.0 };
        }
        *sum = weights.iter().map(|&weight| fixed(weight)).sum();
    };
    let (blocks, tail) = weights.as_chunks_mut::<BLOCK>();
    for (weights, sum) in blocks.iter_mut().zip(sums.iter_mut()) {
        block(weights, sum);
    }
    let whole = blocks.len();
    if let (false, Some(sum)) = (tail.is_empty(), sums.get_mut(whole)) {
        block(tail, sum);
    }
}
