//! Kernels for x86-64.

mod avx2;
mod avx2_i2;
mod avx2_t5;
mod avx512;
mod avx512_dot;
mod avx512_i2;
mod avx512_t5;
mod avxvnni;

use super::{Kernel, prefetch};

/// Adds the kernels that this CPU can run.
pub(super) fn list(kernels: &mut Vec<Box<dyn Kernel>>) {
    let plan = prefetch::plan();
    if let Some(avx2) = avx2::Avx2::new() {
        kernels.push(Box::new(avx2_i2::I2Avx2Dot(avx2, plan)));
        kernels.push(Box::new(avx2_t5::T5Avx2Add(avx2, plan)));
        kernels.push(Box::new(avx2_t5::T5Avx2Dot(avx2)));
    }
    if let Some(avxvnni) = avxvnni::AvxVnni::new() {
        kernels.push(Box::new(avxvnni::I2AvxVnniDot(avxvnni, plan)));
    }
    if let Some(avx512) = avx512::Avx512::new() {
        #[cfg(test)]
        kernels.push(Box::new(avxvnni::I2EvexVnniDot(avx512, plan)));
        kernels.push(Box::new(avx512_i2::I2Avx512Add(avx512, plan)));
        kernels.push(Box::new(avx512_dot::I2Avx512Dot(avx512, plan)));
        kernels.push(Box::new(avx512_t5::T5Avx512Add(avx512, plan)));
        kernels.push(Box::new(avx512_dot::T5Avx512Dot(avx512)));
    }
}
