//! Asking for memory ahead of its use. Changes nothing but the caches, and does nothing on CPUs for which no instruction is
//! named here.

/// Bytes of a cache line.
pub(super) const LINE: usize = 64;

/// Asks for the line of `bytes[at]` in every cache, if there is such a byte.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[inline(always)]
pub(super) fn near(bytes: &[u8], at: usize) {
    if at < bytes.len() {
        // SAFETY: the address is inside the slice; a prefetch reads nothing that the program sees, and every x86-64
        // has it.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(bytes.as_ptr().add(at).cast());
        }
        // SAFETY: as above, for every aarch64.
        #[cfg(target_arch = "aarch64")]
        unsafe {
            let at = bytes.as_ptr().add(at);
            std::arch::asm!("prfm pldl1keep, [{at}]", at = in(reg) at, options(nostack, readonly, preserves_flags));
        }
    }
}

/// Asks for the line of `bytes[at]` in all caches but the first, if there is such a byte.
#[inline(always)]
pub(super) fn far(bytes: &[u8], at: usize) {
    if at < bytes.len() {
        // SAFETY: as for `near`.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T1>(bytes.as_ptr().add(at).cast());
        }
        // SAFETY: as for `near`.
        #[cfg(target_arch = "aarch64")]
        unsafe {
            let at = bytes.as_ptr().add(at);
            std::arch::asm!("prfm pldl2keep, [{at}]", at = in(reg) at, options(nostack, readonly, preserves_flags));
        }
    }
}
