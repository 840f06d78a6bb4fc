//! Prefetching memory before its use. Changes nothing but the caches, and does nothing on CPUs for which no instruction is
//! named here.

/// Bytes of a cache line.
pub(super) const LINE: usize = 64;

/// Prefetches the line of the byte `at` bytes after the first of `bytes` into every cache. It need not be one of `bytes`: a
/// check would cost more than an unhelpful prefetch at the end of a matrix.
#[inline(always)]
pub(super) fn near(bytes: &[u8], at: usize) {
    prefetch(bytes, at, Hint::Near);
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{NonTemporal, Plan, ViaL2, Weights, ahead, plan, with_weights};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::ops::RangeInclusive;

    use super::{Hint, prefetch};

    /// How a kernel prefetches its weights, which it reads once and in their order.
    pub trait Weights {
        /// How far ahead of the loads, in bytes.
        const DISTANCE: usize;

        /// How far ahead of the loads every line is prefetched for a second time; `None` where once is enough.
        const AGAIN: Option<usize>;

        /// Prefetches the line of the byte `at` after the first of `bytes`, which is [`DISTANCE`](Self::DISTANCE) or
        /// [`AGAIN`](Self::AGAIN) ahead of one that is loaded now. As [`near`](super::near), it checks nothing.
        fn line(bytes: &[u8], at: usize);

        /// Goes with the load of a line.
        fn load(line: &[u8]);
    }

    /// Into L1 alone: what the weights would have pushed out of the other caches stays there.
    pub struct NonTemporal;

    impl Weights for NonTemporal {
        const DISTANCE: usize = 10240;
        const AGAIN: Option<usize> = None;

        #[inline(always)]
        fn line(bytes: &[u8], at: usize) {
            prefetch(bytes, at, Hint::NonTemporal);
        }

        #[inline(always)]
        fn load(_: &[u8]) {}
    }

    /// Into L2, twice, and from there into L1. On some processors prefetches seem to be dropped (`docs/PERFORMANCE.md`):
    /// repeated, they bring the line.
    pub struct ViaL2;

    impl ViaL2 {
        /// How far ahead of the loads lines are prefetched into L1.
        const NEAR: usize = 3072;
    }

    impl Weights for ViaL2 {
        const DISTANCE: usize = 16384;
        const AGAIN: Option<usize> = Some(12288);

        #[inline(always)]
        fn line(bytes: &[u8], at: usize) {
            prefetch(bytes, at, Hint::L2);
        }

        #[inline(always)]
        fn load(line: &[u8]) {
            prefetch(line, Self::NEAR, Hint::Near);
        }
    }

    /// Which of the [`Weights`] a processor gets.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Plan {
        /// [`NonTemporal`].
        NonTemporal,
        /// [`ViaL2`].
        ViaL2,
    }

    /// Processors of one design.
    struct Processors {
        vendor: &'static [u8; 12],
        families: RangeInclusive<u32>,
        plan: Plan,
    }

    /// What was measured, and where; `docs/PERFORMANCE.md` has the figures.
    const MEASURED: [Processors; 3] = [
        // Zen 3 and Zen 4. Non-temporal costs a Zen 4 EPYC 13 to 31 %; a Zen 3 EPYC does not care.
        Processors { vendor: b"AuthenticAMD", families: 0x19..=0x19, plan: Plan::ViaL2 },
        // Zen 5, an EPYC: non-temporal gains 4 to 15 %.
        Processors { vendor: b"AuthenticAMD", families: 0x1A..=0x1A, plan: Plan::NonTemporal },
        // A fifth generation Xeon: non-temporal costs a half to two thirds.
        Processors { vendor: b"GenuineIntel", families: 6..=6, plan: Plan::ViaL2 },
    ];

    /// For all others: what was the better one on most, and costs the least where it is not.
    const UNMEASURED: Plan = Plan::ViaL2;

    /// The plan for processors of a vendor and family.
    fn plan_for(vendor: &[u8], family: u32) -> Plan {
        let same = |p: &&Processors| p.vendor == vendor && p.families.contains(&family);
        MEASURED.iter().find(same).map_or(UNMEASURED, |p| p.plan)
    }

    /// The plan for this processor.
    pub fn plan() -> Plan {
        use std::arch::x86_64::__cpuid;
        let (vendor, version) = (__cpuid(0), __cpuid(1).eax);
        let name = [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes);
        // The extended family counts where the base one is the largest.
        let (base, extended) = (version >> 8 & 0xF, version >> 20 & 0xFF);
        plan_for(name.as_flattened(), if base == 0xF { base + extended } else { base })
    }

    /// Goes with the load of `line`, `at` bytes after the first of `bytes`: prefetches what is loaded later.
    #[inline(always)]
    pub fn ahead<W: Weights>(bytes: &[u8], at: usize, line: &[u8]) {
        W::line(bytes, at + W::DISTANCE);
        if let Some(distance) = W::AGAIN {
            W::line(bytes, at + distance);
        }
        W::load(line);
    }

    /// Evaluates `$call`, which is generic over [`Weights`], with the type `$way` that a [`Plan`] names.
    macro_rules! with_weights {
        ($plan:expr, |$way:ident| $call:expr) => {
            match $plan {
                $crate::kernels::prefetch::Plan::NonTemporal => {
                    type $way = $crate::kernels::prefetch::NonTemporal;
                    $call
                }
                $crate::kernels::prefetch::Plan::ViaL2 => {
                    type $way = $crate::kernels::prefetch::ViaL2;
                    $call
                }
            }
        };
    }
    pub(in crate::kernels) use with_weights;

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn only_zen_5_prefetches_without_its_outer_caches() {
            for (vendor, family, plan) in [
                (b"AuthenticAMD", 0x19, Plan::ViaL2),
                (b"AuthenticAMD", 0x1A, Plan::NonTemporal),
                (b"GenuineIntel", 6, Plan::ViaL2),
                // Nobody has measured these.
                (b"AuthenticAMD", 0x17, Plan::ViaL2),
                (b"AuthenticAMD", 0x1B, Plan::ViaL2),
                (b"GenuineIntel", 0x13, Plan::ViaL2),
                (b"GenuineIntel", 0x1A, Plan::ViaL2),
                (b"HygonGenuine", 0x18, Plan::ViaL2),
                (b"CentaurHauls", 7, Plan::ViaL2),
            ] {
                assert_eq!(plan_for(vendor, family), plan, "family {family:#x}");
            }
        }
    }
}

/// What a line is prefetched for.
#[derive(Clone, Copy)]
enum Hint {
    /// Into every cache.
    Near,
    /// Into every cache but L1.
    #[cfg(target_arch = "x86_64")]
    L2,
    /// To be read once, and then not for long.
    #[cfg(target_arch = "x86_64")]
    NonTemporal,
}

#[inline(always)]
fn prefetch(bytes: &[u8], at: usize, hint: Hint) {
    let at = bytes.as_ptr().wrapping_add(at);
    // SAFETY: a prefetch reads nothing that the program sees, and faults at no address; every x86-64 has it.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        use std::arch::x86_64::*;
        match hint {
            Hint::Near => _mm_prefetch::<_MM_HINT_T0>(at.cast()),
            Hint::L2 => _mm_prefetch::<_MM_HINT_T1>(at.cast()),
            Hint::NonTemporal => _mm_prefetch::<_MM_HINT_NTA>(at.cast()),
        }
    }
    // SAFETY: as above, for every aarch64.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{at}]", at = in(reg) at, options(nostack, readonly, preserves_flags));
    }
    let _ = (at, hint);
}
