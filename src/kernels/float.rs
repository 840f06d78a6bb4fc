//! The float operations of [`ops`](crate::ops), compiled for each instruction set.
//!
//! The code is one and the same, and so are its results; only the width at which the compiler vectorises it differs.

use super::Isa;
use crate::ops::{self, NonFinite, RowScale};

/// Hands the list of operations to another macro, behind its own arguments.
macro_rules! operations {
    ($then:ident $($arguments:tt)*) => {
        $then! { [$($arguments)*]
            fn rms_factor(x: &[f32], eps: f32) -> Result<f32, NonFinite>;
            fn scale(x: &[f32], factor: f32, weight: &[f32], out: &mut [f32]) -> ();
            fn quantise(x: &[f32], factor: f32, weight: &[f32], q: &mut [i8])
                -> Result<RowScale, NonFinite>;
            fn dequantise(sums: &[i32], factor: f32, out: &mut [f32]) -> ();
            fn dequantise_in_place(sums: &mut [i32], factor: f32) -> ();
            fn add_sums(sums: &mut [i32], rest: &[i32]) -> ();
            fn recurrence(
                input: &[f32],
                forget: &[f32],
                bounds: Option<&[f32]>,
                before: &[f32],
                h: &mut [f32],
            ) -> ();
            fn gated_norm(g: &[f32], factor: f32, weight: &[f32], h: &[f32], out: &mut [f32]) -> ();
            fn swiglu(gate: &[f32], value: &[f32], out: &mut [f32]) -> ();
            fn add(x: &mut [f32], y: &[f32]) -> ();
            fn first_non_finite(x: &[f32]) -> Option<usize>;
        }
    };
}

macro_rules! declare {
    ([] $(fn $name:ident($($argument:ident: $type:ty),* $(,)?) -> $result:ty;)*) => {
        /// The operations of [`ops`](crate::ops) that go over rows; see there for what each computes.
        #[allow(missing_docs)]
        pub trait FloatOps: Sync {
            $(fn $name(&self, $($argument: $type),*) -> $result;)*
        }
    };
}

macro_rules! implement {
    ([$set:ident $feature:tt]
        $(fn $name:ident($($argument:ident: $type:ty),* $(,)?) -> $result:ty;)*) => {
        /// Only made where the CPU has the features it is compiled for.
        struct $set(());

        impl FloatOps for $set {
            $(fn $name(&self, $($argument: $type),*) -> $result {
                implement!(@compile $feature $name($($argument: $type),*) -> $result)
            })*
        }
    };
    (@compile () $name:ident($($argument:ident: $type:ty),*) -> $result:ty) => {
        ops::$name($($argument),*)
    };
    (@compile ($feature:literal) $name:ident($($argument:ident: $type:ty),*) -> $result:ty) => {{
        #[target_feature(enable = $feature)]
        fn compiled($($argument: $type),*) -> $result {
            ops::$name($($argument),*)
        }
        // SAFETY: `self` is only made where the CPU has the features.
        unsafe { compiled($($argument),*) }
    }};
}

operations!(declare);
// What every CPU of the architecture has: SSE2 on x86-64, NEON on aarch64.
operations!(implement Baseline ());
#[cfg(target_arch = "x86_64")]
operations!(implement Avx2 ("avx2"));
#[cfg(target_arch = "x86_64")]
operations!(implement Avx512 ("avx512f,avx512bw,avx512vl,avx512dq"));

/// The float operations for an instruction set that this CPU has.
pub fn float_ops(isa: Isa) -> &'static dyn FloatOps {
    #[cfg(target_arch = "x86_64")]
    {
        if isa >= Isa::Avx512
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
        {
            return &const { Avx512(()) };
        }
        if isa >= Isa::Avx2 && is_x86_feature_detected!("avx2") {
            return &const { Avx2(()) };
        }
    }
    let _ = isa;
    &const { Baseline(()) }
}
