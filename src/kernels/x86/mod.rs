//! Kernels for x86-64.

mod avx2;
mod avx2_i2;
mod avx2_t5;

use super::Kernel;

/// Adds the kernels that this CPU can run.
pub(super) fn list(kernels: &mut Vec<Box<dyn Kernel>>) {
    if let Some(avx2) = avx2::Avx2::new() {
        kernels.push(Box::new(avx2_i2::I2Avx2Dot(avx2)));
        kernels.push(Box::new(avx2_t5::T5Avx2Dot(avx2)));
        kernels.push(Box::new(avx2_t5::T5Avx2Add(avx2)));
    }
}
