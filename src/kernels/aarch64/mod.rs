//! Kernels for 64-bit ARM. Every such CPU that Rust's targets stand for has NEON, so only what goes
//! beyond it needs a proof.

mod dotprod;
mod i8mm;
mod look_up;
mod neon_i2;
mod neon_t5;
mod neon_t5_dot;
mod neondot_t5;

use std::arch::aarch64::*;

use super::Kernel;

/// Adds the kernels that this CPU can run.
pub(super) fn list(kernels: &mut Vec<Box<dyn Kernel>>) {
    kernels.push(Box::new(neon_i2::I2NeonDot));
    kernels.push(Box::new(neon_t5::T5NeonAdd));
    kernels.push(Box::new(neon_t5_dot::T5NeonDot));
    if let Some(dotprod) = dotprod::DotProd::new() {
        kernels.push(Box::new(dotprod::I2NeonDotDot(dotprod)));
        kernels.push(Box::new(neondot_t5::T5NeonDotAdd));
        kernels.push(Box::new(dotprod::T5NeonDotDot(dotprod)));
        if let Some(i8mm) = i8mm::I8mm::new() {
            kernels.push(Box::new(i8mm::I2NeonDotI8mm(i8mm)));
            kernels.push(Box::new(i8mm::T5NeonDotI8mm(i8mm)));
        }
    }
}

/// Loads 16 bytes.
#[inline]
#[target_feature(enable = "neon")]
fn load(bytes: &[u8; 16]) -> uint8x16_t {
    // SAFETY: the reference is to 16 readable bytes; the load needs no alignment.
    unsafe { vld1q_u8(bytes.as_ptr()) }
}

/// Loads 16 int8.
#[inline]
#[target_feature(enable = "neon")]
fn load_i8(values: &[i8; 16]) -> int8x16_t {
    // SAFETY: the reference is to 16 readable bytes; the load needs no alignment.
    unsafe { vld1q_s8(values.as_ptr()) }
}

/// Adds four int32 to `out`.
#[inline]
#[target_feature(enable = "neon")]
fn add_to(out: &mut [i32; 4], value: int32x4_t) {
    let out = out.as_mut_ptr();
    // SAFETY: the reference is to four int32 that may be read and written; neither access needs
    // alignment.
    unsafe { vst1q_s32(out, vaddq_s32(vld1q_s32(out), value)) }
}

/// The columns of 16 bytes of `i2`: the codes in bits 0-1, 2-3, 4-5, 6-7.
#[inline]
#[target_feature(enable = "neon")]
fn codes(x: uint8x16_t) -> [int8x16_t; 4] {
    let mask = vdupq_n_u8(3);
    [
        vandq_u8(x, mask),
        vandq_u8(vshrq_n_u8::<2>(x), mask),
        vandq_u8(vshrq_n_u8::<4>(x), mask),
        vshrq_n_u8::<6>(x),
    ]
    .map(|codes| vreinterpretq_s8_u8(codes))
}
