//! The float parts of the model, each with one canonical definition: the same bits on every
//! machine.
//!
//! `docs/NUMERICS.md` states the rules. In short: float32; one IEEE operation at a time, never
//! fused; sums over a row in 16 striped lanes and a fixed tree; division and square root as IEEE
//! has them; `exp` and `ln` our own. The loops are plain Rust over independent elements, so that
//! the compiler may vectorise them at any width: Rust neither reorders nor fuses float operations,
//! and so every width gives the same bits.

// VFP keeps subnormals, and a compiler allowed to use NEON may put a float operation there.
#[cfg(all(target_arch = "arm", target_feature = "neon"))]
compile_error!(
    "32-bit NEON flushes subnormals, logits would have other bits: build without the feature `neon`, as the target \
     armv7-unknown-linux-gnueabihf does"
);

/// Epsilon of the norm before every ternary matrix, whatever the model's own `rms_norm_eps`.
pub const LINEAR_EPS: f32 = 1e-6;

/// 1.5 * 2^23: adding it rounds to an integer, half to even, which then stands in the low bits.
const ROUND: f32 = 12_582_912.0;

/// Lanes of a row sum.
const LANES: usize = 16;

/// A value that is infinite or not a number came up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NonFinite;

/// e^x. At most 1.5 ulp from the exact value; 0 below -103.97 and infinite above 88.72, subnormal
/// results in between rounded once. Not a number for not a number.
///
/// x = n ln 2 + r with |r| <= ln 2 / 2, e^r by the degree 6 polynomial of Cephes' `expf` (S. L.
/// Moshier), scaled by 2^n in two steps, so that the result rounds, overflows and underflows as a
/// product does.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    /// ln 2 in two parts; the first is 355/512, so that n * LN2_HI is exact for |n| < 2^15.
    const LN2_HI: f32 = 0.693_359_4;
    const LN2_LO: f32 = -2.121_944_4e-4;
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -104.0 { -104.0 } else { x };
    let rounded = x * LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = x - n * LN2_HI - n * LN2_LO;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let p = (p * (r * r) + r) + 1.0;
    let n = (rounded.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let half = n >> 1;
    let power = |n: i32| f32::from_bits((n.wrapping_add(127) as u32) << 23);
    p * power(half) * power(n.wrapping_sub(half))
}

/// ln x. At most 0.83 ulp from the exact value, which was measured for every positive float, and
/// never falling where x rises. Minus infinity for either zero, infinite for infinity, subnormal
/// numbers as exact as others; not a number for negative numbers and for not a number.
///
/// x = 2^n m with sqrt(1/2) <= m < sqrt(2), ln m by the degree 8 polynomial of Cephes' `logf` (S.
/// L. Moshier) in m - 1.
#[inline(always)]
pub fn ln(x: f32) -> f32 {
    /// ln 2 in two parts, as in [`exp`].
    const LN2_HI: f32 = 0.693_359_4;
    const LN2_LO: f32 = -2.121_944_4e-4;
    const ROOT_HALF: u32 = std::f32::consts::FRAC_1_SQRT_2.to_bits();
    if x == 0.0 {
        return f32::NEG_INFINITY;
    }
    if x.is_nan() || x < 0.0 {
        return f32::NAN;
    }
    if x == f32::INFINITY {
        return x;
    }
    // 2^23: exact, and then no longer subnormal.
    let (x, scaled) = if x < f32::MIN_POSITIVE { (x * 8_388_608.0, 23) } else { (x, 0) };
    let above = x.to_bits().wrapping_sub(ROOT_HALF);
    let n = ((above as i32 >> 23) - scaled) as f32;
    let f = f32::from_bits((above & 0x007F_FFFF) + ROOT_HALF) - 1.0;
    let z = f * f;
    let p = 7.037_683_6e-2;
    let p = p * f - 1.151_461e-1;
    let p = p * f + 1.167_699_84e-1;
    let p = p * f - 1.242_014_1e-1;
    let p = p * f + 1.424_932_3e-1;
    let p = p * f - 1.666_805_7e-1;
    let p = p * f + 2.000_071_4e-1;
    let p = p * f - 2.499_999_4e-1;
    let p = p * f + 3.333_333e-1;
    let y = ((p * f) * z + n * LN2_LO) - 0.5 * z;
    (f + y) + n * LN2_HI
}

/// 1 / (1 + e^-x).
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Sum of squares: element j is added to lane j mod 16, then lanes 8 apart, 4, 2, 1.
#[inline(always)]
fn sum_squares(x: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let chunks = x.chunks_exact(LANES);
    let tail = chunks.remainder();
    for chunk in chunks {
        for (lane, &v) in lanes.iter_mut().zip(chunk) {
            *lane += v * v;
        }
    }
    for (lane, &v) in lanes.iter_mut().zip(tail) {
        *lane += v * v;
    }
    let mut width = LANES / 2;
    while width > 0 {
        for j in 0..width {
            lanes[j] += lanes[j + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// 1 / sqrt(mean(x^2) + eps), the factor of an RMS norm.
///
/// # Errors
/// [`NonFinite`] where the sum of squares is.
#[inline(always)]
pub fn rms_factor(x: &[f32], eps: f32) -> Result<f32, NonFinite> {
    let sum = sum_squares(x);
    if !sum.is_finite() {
        return Err(NonFinite);
    }
    Ok(1.0 / (sum / x.len() as f32 + eps).sqrt())
}

/// `out = (x * factor) * weight`: an RMS norm, its factor known.
#[inline(always)]
pub fn scale(x: &[f32], factor: f32, weight: &[f32], out: &mut [f32]) {
    for ((out, &x), &w) in out.iter_mut().zip(x).zip(weight) {
        *out = (x * factor) * w;
    }
}

/// A row of activations as int8: what is left of it besides the integers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowScale {
    /// Σ q.
    pub sum: i32,
    /// 1 / s_x: the step of the integers.
    pub step: f32,
}

/// Quantises `y = (x * factor) * weight` to int8: `q = round(y * s)` with `s = 127 / max(max|y|,
/// 1e-5)`, half away from zero. `q` may be longer than `x`; the rest becomes zero.
///
/// # Errors
/// [`NonFinite`] where a `y` is.
#[inline(always)]
pub fn quantise(
    x: &[f32],
    factor: f32,
    weight: &[f32],
    q: &mut [i8],
) -> Result<RowScale, NonFinite> {
    // On the bits, where the largest magnitude is the largest integer: exact in any order, and
    // infinity and NaN are the largest of all.
    let mut largest = 0u32;
    for (&x, &w) in x.iter().zip(weight) {
        largest = largest.max(((x * factor) * w).to_bits() & 0x7FFF_FFFF);
    }
    let largest = f32::from_bits(largest);
    if !largest.is_finite() {
        return Err(NonFinite);
    }
    let s = 127.0 / if largest > 1e-5 { largest } else { 1e-5 };
    let (live, padding) = q.split_at_mut(x.len());
    let mut sum = 0;
    for ((q, &x), &w) in live.iter_mut().zip(x).zip(weight) {
        let int = round_half_away(((x * factor) * w) * s);
        *q = int as i8;
        sum += int;
    }
    padding.fill(0);
    Ok(RowScale { sum, step: 1.0 / s })
}

/// The nearest integer, halves away from zero, of a value within the quantiser's range: that is 127
/// at most, and two roundings, so never as much as 127.5.
#[inline(always)]
fn round_half_away(v: f32) -> i32 {
    // The largest float below one half: with one half itself, the float below 0.5 would round up to
    // 1.
    const ALMOST_HALF: f32 = 0.499_999_97;
    let whole = (v + ALMOST_HALF.copysign(v)).trunc();
    // Whole already, so that the sum is exact and its low bits are the integer: unlike a cast,
    // which saturates, this takes two instructions at any width.
    (whole + ROUND).to_bits().wrapping_sub(ROUND.to_bits()) as i32
}

/// Integer sums to floats: `out = sum * factor`.
#[inline(always)]
pub fn dequantise(sums: &[i32], factor: f32, out: &mut [f32]) {
    for (out, &sum) in out.iter_mut().zip(sums) {
        *out = sum as f32 * factor;
    }
}

/// As [`dequantise`], with the bits of the floats in the place of the sums.
#[inline(always)]
pub fn dequantise_in_place(sums: &mut [i32], factor: f32) {
    for sum in sums {
        *sum = (*sum as f32 * factor).to_bits() as i32;
    }
}

/// Integer sums that are the rest of others: `sums += rest`.
#[inline(always)]
pub fn add_sums(sums: &mut [i32], rest: &[i32]) {
    for (sum, &rest) in sums.iter_mut().zip(rest) {
        *sum += rest;
    }
}

/// One step of the gated recurrence for a range of channels: with `f = sigmoid(forget)`, raised to
/// `bound + (1 - bound) f` where there are bounds, and `i = swish(input) (1 - f)`: `h = f h_before + i`.
#[inline(always)]
pub fn recurrence(
    input: &[f32],
    forget: &[f32],
    bounds: Option<&[f32]>,
    before: &[f32],
    h: &mut [f32],
) {
    let gates = input.iter().zip(forget).zip(before);
    match bounds {
        None => {
            for (h, ((&i, &f), &before)) in h.iter_mut().zip(gates) {
                *h = recur(i, sigmoid(f), before);
            }
        }
        Some(bounds) => {
            for ((h, ((&i, &f), &before)), &b) in h.iter_mut().zip(gates).zip(bounds) {
                *h = recur(i, b + (1.0 - b) * sigmoid(f), before);
            }
        }
    }
}

#[inline(always)]
fn recur(input: f32, f: f32, before: f32) -> f32 {
    f * before + (input * (1.0 - f)) / (1.0 + exp(-input))
}

/// The recurrence's output gate: `out = ((g * factor) * weight) * swish(h)`, an RMS norm of `g`
/// times swish of `h`.
#[inline(always)]
pub fn gated_norm(g: &[f32], factor: f32, weight: &[f32], h: &[f32], out: &mut [f32]) {
    for (((out, &g), &w), &h) in out.iter_mut().zip(g).zip(weight).zip(h) {
        *out = (((g * factor) * w) * h) / (1.0 + exp(-h));
    }
}

/// `out = swish(gate) * value`.
#[inline(always)]
pub fn swiglu(gate: &[f32], value: &[f32], out: &mut [f32]) {
    for ((out, &g), &v) in out.iter_mut().zip(gate).zip(value) {
        *out = (g * v) / (1.0 + exp(-g));
    }
}

/// `x += y`.
#[inline(always)]
pub fn add(x: &mut [f32], y: &[f32]) {
    for (x, &y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

/// One output row of a depthwise convolution with swish, for the channels from `first` on: `out[c]
/// = swish(Σ_k weight[c][k] * taps[k][c])`, k from 0 on, oldest input first. `weight` is
/// `[channels, size]` for all channels; `taps` holds `size` rows of `width` values.
pub fn convolve(
    taps: &[f32],
    width: usize,
    weight: &[f32],
    size: usize,
    first: usize,
    out: &mut [f32],
) {
    for (c, out) in out.iter_mut().enumerate() {
        let c = first + c;
        let weight = &weight[c * size..][..size];
        let mut sum = weight[0] * taps[c];
        for k in 1..size {
            sum += weight[k] * taps[k * width + c];
        }
        *out = sum / (1.0 + exp(-sum));
    }
}

/// Lower bounds of the forget gates, `[layers, width]`, from the checkpoint's parameters of that
/// shape: per channel the softmax over the layers, summed up to each layer, less the first layer's
/// share. So layer 0 has bound 0.
pub fn lower_bounds(parameters: &[f32], width: usize) -> Vec<f32> {
    let layers = parameters.len() / width;
    let mut bounds = vec![0.0f32; parameters.len()];
    for c in 0..width {
        let column = |l: usize| parameters[l * width + c];
        let largest = (1..layers).fold(column(0), |m, l| if column(l) > m { column(l) } else { m });
        let total = (0..layers).fold(0.0, |sum, l| sum + exp(column(l) - largest));
        let share = |l: usize| exp(column(l) - largest) / total;
        let first = share(0);
        let mut sum = first;
        for l in 1..layers {
            sum += share(l);
            bounds[l * width + c] = sum - first;
        }
    }
    bounds
}

/// The first value that is infinite or not a number.
#[inline(always)]
pub fn first_non_finite(x: &[f32]) -> Option<usize> {
    let largest = x.iter().fold(0u32, |m, v| m.max(v.to_bits() & 0x7FFF_FFFF));
    if f32::from_bits(largest).is_finite() {
        return None;
    }
    x.iter().position(|v| !v.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Distance of two floats in units in the last place of the larger.
    fn ulps(got: f32, exact: f64) -> f64 {
        let ulp = f64::from(f32::from_bits((exact as f32).to_bits() + 1)) - f64::from(exact as f32);
        (f64::from(got) - exact).abs() / ulp
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the yardstick is another implementation")]
    fn exp_is_within_1_5_ulp() {
        let mut worst = 0.0f64;
        let mut bits = 0u32;
        while f32::from_bits(bits) <= 88.7 {
            for x in [f32::from_bits(bits), -f32::from_bits(bits)] {
                if x > -87.3 {
                    worst = worst.max(ulps(exp(x), f64::from(x).exp()));
                }
            }
            bits += 997;
        }
        assert!(worst < 1.5, "{worst}");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the yardstick is another implementation")]
    fn exp_underflows_gradually_and_overflows_to_infinity() {
        let mut x = -87.3f32;
        while x > -103.9 {
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) - exact).abs();
            assert!(error <= 1.01 * f64::from(f32::from_bits(1)) + exact * 2e-7, "{x}");
            x -= 0.0137;
        }
        assert_eq!(exp(-104.0), 0.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert!(exp(88.72).is_finite());
        assert_eq!(exp(88.73), f32::INFINITY);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-0.0), 1.0);
        assert!(exp(f32::NAN).is_nan());
    }

    /// Pins the canonical definition: these bits must come out on every CPU.
    #[test]
    fn exp_has_these_bits() {
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        let mut x = -110.0f32;
        while x < 95.0 {
            hash = (hash ^ u64::from(exp(x).to_bits())).wrapping_mul(0x100_0000_01b3);
            x += 0.0123;
        }
        assert_eq!(hash, EXP_HASH);
    }
    const EXP_HASH: u64 = 5_238_037_067_067_607_890;

    /// Positive floats in rising order: every 997th, all next to 1, and both sides of where the
    /// exponent changes.
    fn positive_floats() -> Vec<f32> {
        let root_half = std::f32::consts::FRAC_1_SQRT_2.to_bits();
        let infinity = f32::INFINITY.to_bits();
        let mut bits: Vec<u32> = (1..infinity).step_by(997).collect();
        bits.extend(0.999f32.to_bits()..1.001f32.to_bits());
        for edge in (root_half & 0x007F_FFFF..infinity).step_by(1 << 23) {
            bits.extend(edge - 40..edge + 40);
        }
        bits.sort_unstable();
        bits.dedup();
        bits.into_iter().map(f32::from_bits).collect()
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the yardstick is another implementation")]
    fn ln_is_within_0_83_ulp_and_rises() {
        let mut worst = 0.0f64;
        let mut before = f32::NEG_INFINITY;
        for x in positive_floats() {
            let (y, exact) = (ln(x), f64::from(x).ln());
            assert!(y >= before, "{x:e}");
            before = y;
            if x == 1.0 {
                assert_eq!(y.to_bits(), 0);
            } else {
                worst = worst.max(ulps(y.abs(), exact.abs()));
            }
        }
        assert!(worst < 0.83, "{worst}");
    }

    #[test]
    fn ln_of_zero_is_minus_infinity_and_of_less_not_a_number() {
        assert_eq!(ln(0.0), f32::NEG_INFINITY);
        assert_eq!(ln(-0.0), f32::NEG_INFINITY);
        assert_eq!(ln(f32::INFINITY), f32::INFINITY);
        for bad in [-1.0, -f32::from_bits(1), f32::MIN, f32::NEG_INFINITY, f32::NAN, -f32::NAN] {
            assert_eq!(ln(bad).to_bits(), f32::NAN.to_bits(), "{bad}");
        }
        assert_eq!(ln(f32::from_bits(1)), -149.0 * std::f32::consts::LN_2);
        assert_eq!(ln(f32::MIN_POSITIVE), -126.0 * std::f32::consts::LN_2);
        assert_eq!(ln(f32::MAX), 128.0 * std::f32::consts::LN_2);
    }

    /// Pins the canonical definition, as for `exp`.
    #[test]
    fn ln_has_these_bits() {
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        for bits in (1..f32::INFINITY.to_bits()).step_by(99_991) {
            let y = ln(f32::from_bits(bits));
            hash = (hash ^ u64::from(y.to_bits())).wrapping_mul(0x100_0000_01b3);
        }
        assert_eq!(hash, LN_HASH);
    }
    const LN_HASH: u64 = 4_484_673_927_512_889_169;

    #[test]
    fn rounding_is_half_away_from_zero() {
        let cases = [
            (0.5, 1),
            (-0.5, -1),
            (1.5, 2),
            (2.5, 3),
            (-2.5, -3),
            (126.5, 127),
            (0.499_999_97, 0),
            (-0.499_999_97, 0),
            (2.499_999_8, 2),
            (127.0, 127),
            (0.0, 0),
            (-0.0, 0),
        ];
        for (v, int) in cases {
            assert_eq!(round_half_away(v), int, "{v}");
        }
    }

    #[test]
    fn quantising_keeps_the_largest_at_127_and_the_sum() {
        let x = [0.5, -2.0, 1.0, 0.003, 0.0];
        let mut q = [9i8; 64];
        let row = quantise(&x, 1.0, &[1.0; 5], &mut q).unwrap();
        assert_eq!(q[..6], [32, -127, 64, 0, 0, 0]);
        assert!(q[5..].iter().all(|&q| q == 0));
        assert_eq!(row.sum, 32 - 127 + 64);
        assert_eq!(row.step, 1.0 / (127.0 / 2.0));
    }

    #[test]
    fn quantising_tiny_rows_uses_the_floor_of_1e_5() {
        let mut q = [0i8; 64];
        let row = quantise(&[1e-6, 0.0], 1.0, &[1.0; 2], &mut q).unwrap();
        assert_eq!(q[..2], [13, 0]);
        assert_eq!(row.step, 1.0 / (127.0 / 1e-5));
        let row = quantise(&[0.0, 0.0], 1.0, &[1.0; 2], &mut q).unwrap();
        assert_eq!((q[0], row.sum), (0, 0));
    }

    #[test]
    fn non_finite_values_are_found() {
        let mut q = [0i8; 64];
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(quantise(&[1.0, bad], 1.0, &[1.0; 2], &mut q), Err(NonFinite));
            assert_eq!(rms_factor(&[1.0, bad], 1e-6), Err(NonFinite));
            assert_eq!(first_non_finite(&[1.0, bad]), Some(1));
        }
        assert_eq!(rms_factor(&[f32::MAX, 1.0], 1e-6), Err(NonFinite));
        assert_eq!(first_non_finite(&[1.0, f32::MAX, f32::MIN_POSITIVE]), None);
    }

    #[test]
    fn row_sums_use_sixteen_lanes_and_a_tree() {
        // 2^24 + 1 is lost in float32; which ones are lost tells the order.
        let mut x = vec![1.0f32; 33];
        x[0] = 4096.0;
        // Lane 0 stays at 2^24, both its ones lost; the other fifteen lanes hold 2 each.
        assert_eq!(sum_squares(&x), 16_777_246.0);
        x[0] = 1.0;
        x[5] = 4096.0;
        // Lane 5 loses one, lane 0 holds 3; 2^24 + 31 is a tie, and rounds to even.
        assert_eq!(sum_squares(&x), 16_777_248.0);
    }

    #[test]
    fn lower_bounds_start_at_zero_and_grow() {
        let parameters = [0.1, 2.0, -0.3, 0.0, 0.7, -5.0];
        let bounds = lower_bounds(&parameters, 2);
        assert_eq!(bounds[..2], [0.0, 0.0]);
        for c in 0..2 {
            assert!(0.0 < bounds[2 + c] && bounds[2 + c] < bounds[4 + c] && bounds[4 + c] < 1.0);
        }
    }

    #[test]
    fn a_convolution_is_a_weighted_sum_of_the_taps() {
        // Two channels of width 2, three taps, oldest first.
        let taps = [1.0, 10.0, 2.0, 20.0, 3.0, 30.0];
        let weight = [0.5, -1.0, 2.0, 0.0, 0.0, 1.0];
        let mut out = [0.0; 2];
        convolve(&taps, 2, &weight, 3, 0, &mut out);
        let swish = |v: f32| v / (1.0 + exp(-v));
        assert_eq!(out, [swish(0.5 - 2.0 + 6.0), swish(30.0)]);
        let mut second = [0.0];
        convolve(&taps, 2, &weight, 3, 1, &mut second);
        assert_eq!(second[0], out[1]);
    }
}
