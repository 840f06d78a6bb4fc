//! Asking for memory ahead of its use. Changes nothing but the caches, and does nothing on CPUs for which no instruction is
//! named here.

/// Bytes of a cache line.
pub(super) const LINE: usize = 64;

/// Asks for the line of the byte `at` bytes behind the first of `bytes` in every cache. It need not be one of `bytes`: a
/// check would cost more than a line fetched in vain at the end of a matrix.
#[inline(always)]
pub(super) fn near(bytes: &[u8], at: usize) {
    ask::<false>(bytes, at);
}

/// The same for bytes that are read once and then not for long, as weights are: x86-64 keeps them in the first cache alone,
/// and what they would have pushed out of the others stays there.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) fn once(bytes: &[u8], at: usize) {
    ask::<true>(bytes, at);
}

#[inline(always)]
fn ask<const ONCE: bool>(bytes: &[u8], at: usize) {
    let at = bytes.as_ptr().wrapping_add(at);
    // SAFETY: a prefetch reads nothing that the program sees, and faults at no address; every x86-64 has it.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        use std::arch::x86_64::{_MM_HINT_NTA, _MM_HINT_T0, _mm_prefetch};
        if ONCE {
            _mm_prefetch::<_MM_HINT_NTA>(at.cast());
        } else {
            _mm_prefetch::<_MM_HINT_T0>(at.cast());
        }
    }
    // SAFETY: as above, for every aarch64.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{at}]", at = in(reg) at, options(nostack, readonly, preserves_flags));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = at;
}
