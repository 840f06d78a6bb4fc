//! Asking for memory ahead of its use. Changes nothing but the caches, and does nothing on CPUs for which no instruction is
//! named here.

/// Bytes of a cache line.
pub(super) const LINE: usize = 64;

/// Asks for the line of the byte `at` bytes behind the first of `bytes` in every cache. It need not be one of `bytes`: a
/// check would cost more than a line fetched in vain at the end of a matrix.
#[inline(always)]
pub(super) fn near(bytes: &[u8], at: usize) {
    let at = bytes.as_ptr().wrapping_add(at);
    // SAFETY: a prefetch reads nothing that the program sees, and faults at no address; every x86-64 has it.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
    // SAFETY: as above, for every aarch64.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{at}]", at = in(reg) at, options(nostack, readonly, preserves_flags));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = at;
}

/// The same in all caches but the first.
#[inline(always)]
pub(super) fn far(bytes: &[u8], at: usize) {
    let at = bytes.as_ptr().wrapping_add(at);
    // SAFETY: as for `near`.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(at.cast());
    }
    // SAFETY: as for `near`.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!("prfm pldl2keep, [{at}]", at = in(reg) at, options(nostack, readonly, preserves_flags));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = at;
}
