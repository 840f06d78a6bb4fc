//! Kernels for x86-64.

use super::Kernel;

/// Adds the kernels that this CPU can run.
pub(super) fn list(kernels: &mut Vec<Box<dyn Kernel>>) {
    let _ = kernels;
}
