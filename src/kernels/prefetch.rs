//! Asking for memory ahead of its use. Changes nothing but the caches, and does nothing on CPUs for which no instruction is
//! named here.

/// Bytes of a cache line.
pub(super) const LINE: usize = 64;

/// Asks for the line of the byte `at` bytes behind the first of `bytes` in every cache. It need not be one of `bytes`: a
/// check would cost more than a line fetched in vain at the end of a matrix.
#[inline(always)]
pub(super) fn near(bytes: &[u8], at: usize) {
    ask(bytes, at, Way::Near);
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{BySecondCache, Once, Weights, ask_ahead, by_second_cache, with_weights};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Way, ask};

    /// How a kernel asks for its weights, which it reads once and in their order.
    pub trait Weights {
        /// How far ahead of the loads, in bytes.
        const DISTANCE: usize;

        /// How far ahead of the loads every line is asked for a second time; `None` where once is enough.
        const AGAIN: Option<usize>;

        /// Asks for the line of the byte `at` behind the first of `bytes`, which is [`DISTANCE`](Self::DISTANCE) or
        /// [`AGAIN`](Self::AGAIN) ahead of one that is loaded now. As [`near`](super::near), it checks nothing.
        fn line(bytes: &[u8], at: usize);

        /// Goes with the load of a line.
        fn load(line: &[u8]);
    }

    /// Into the first cache alone: what the weights would have pushed out of the others stays there.
    pub struct Once;

    impl Weights for Once {
        const DISTANCE: usize = 10240;
        const AGAIN: Option<usize> = None;

        #[inline(always)]
        fn line(bytes: &[u8], at: usize) {
            ask(bytes, at, Way::Once);
        }

        #[inline(always)]
        fn load(_: &[u8]) {}
    }

    /// Into the second cache, twice, and from there into the first. For processors on which some requests seem to be dropped
    /// (`docs/PERFORMANCE.md`): asked for again, the line comes.
    pub struct BySecondCache;

    impl BySecondCache {
        /// How far ahead of the loads lines are asked for in the first cache.
        const NEAR: usize = 3072;
    }

    impl Weights for BySecondCache {
        const DISTANCE: usize = 16384;
        const AGAIN: Option<usize> = Some(12288);

        #[inline(always)]
        fn line(bytes: &[u8], at: usize) {
            ask(bytes, at, Way::Second);
        }

        #[inline(always)]
        fn load(line: &[u8]) {
            ask(line, Self::NEAR, Way::Near);
        }
    }

    /// Whether kernels do better by [`BySecondCache`] than by [`Once`] on this processor: on family 19h of AMD's, Zen 3
    /// and Zen 4 (measured on the latter).
    pub fn by_second_cache() -> bool {
        use std::arch::x86_64::__cpuid;
        let (vendor, version) = (__cpuid(0), __cpuid(1).eax);
        let name = [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes);
        let family = (version >> 8 & 0xF) + (version >> 20 & 0xFF);
        name.as_flattened() == b"AuthenticAMD" && family == 0x19
    }

    /// Goes with the load of `line`, `at` bytes behind the first of `bytes`: asks for what is loaded later.
    #[inline(always)]
    pub fn ask_ahead<W: Weights>(bytes: &[u8], at: usize, line: &[u8]) {
        W::line(bytes, at + W::DISTANCE);
        if let Some(distance) = W::AGAIN {
            W::line(bytes, at + distance);
        }
        W::load(line);
    }

    /// Evaluates `$call`, which is generic over [`Weights`], for [`BySecondCache`] as the type `$way` where `$second` holds, else
    /// for [`Once`].
    macro_rules! with_weights {
        ($second:expr, |$way:ident| $call:expr) => {
            if $second {
                type $way = $crate::kernels::prefetch::BySecondCache;
                $call
            } else {
                type $way = $crate::kernels::prefetch::Once;
                $call
            }
        };
    }
    pub(in crate::kernels) use with_weights;
}

/// What a line is fetched for.
#[derive(Clone, Copy)]
enum Way {
    /// Into every cache.
    Near,
    /// Into every cache but the first.
    #[cfg(target_arch = "x86_64")]
    Second,
    /// To be read once, and then not for long.
    #[cfg(target_arch = "x86_64")]
    Once,
}

#[inline(always)]
fn ask(bytes: &[u8], at: usize, way: Way) {
    let at = bytes.as_ptr().wrapping_add(at);
    // SAFETY: a prefetch reads nothing that the program sees, and faults at no address; every x86-64 has it.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        use std::arch::x86_64::*;
        match way {
            Way::Near => _mm_prefetch::<_MM_HINT_T0>(at.cast()),
            Way::Second => _mm_prefetch::<_MM_HINT_T1>(at.cast()),
            Way::Once => _mm_prefetch::<_MM_HINT_NTA>(at.cast()),
        }
    }
    // SAFETY: as above, for every aarch64.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{at}]", at = in(reg) at, options(nostack, readonly, preserves_flags));
    }
    let _ = (at, way);
}
