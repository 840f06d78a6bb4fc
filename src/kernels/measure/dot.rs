//! The rate of the CPU's int8 dot product, from registers.

use std::hint::black_box;
use std::time::Instant;

use crate::kernels::Isa;
use crate::threads::Pool;

/// Turns of a loop: some tenths of a millisecond of a fast core.
const TURNS: usize = 1 << 17;

/// Sums side by side, as many as it takes to hide the instructions' latency.
const CHAINS: usize = 12;

/// Tries of each loop.
const TRIES: usize = 6;

/// One way to add up products.
struct DotLoop {
    /// Runs [`TURNS`] turns.
    run: fn(),
    /// Products that each of the [`CHAINS`] adds up in a turn.
    products: usize,
}

/// Products of int8 that the threads of `pool` add up in a second with the instructions of `isa`, at best: in the fastest
/// try of the fastest loop. One factor is a weight's code, 0 to 2, as in the kernels, so where the instructions go no
/// further, products that are added up in int16 lanes count.
pub fn dot_peak(isa: Isa, pool: &Pool) -> f64 {
    let mut best = 0.0f64;
    for dot in dot_loops(isa) {
        let products = pool.threads() * TURNS * CHAINS * dot.products;
        for _ in 0..TRIES {
            let start = Instant::now();
            pool.run_on_all(pool.threads(), &|_| (dot.run)());
            best = best.max(products as f64 / start.elapsed().as_secs_f64());
        }
    }
    best
}

/// A loop of the instructions given, which add to the register `c` products of `a` and `b`; `t` is free.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! dot_loop {
    ($features:literal, $vector:ty, $register:ident, $products:literal, $($instruction:literal),+) => {{
        fn run() {
            #[target_feature(enable = $features)]
            fn compiled() {
                // SAFETY: a vector may have any bits.
                let [one, zero]: [$vector; 2] = unsafe {
                    [std::mem::transmute::<[u8; size_of::<$vector>()], $vector>([1; _]), std::mem::zeroed()]
                };
                let mut chains = [zero; CHAINS];
                for _ in 0..TURNS {
                    for chain in &mut chains {
                        // SAFETY: the function has the instructions' features; they touch these
                        // registers only.
                        unsafe {
                            asm!(
                                $($instruction,)+
                                "/* {t} */",
                                c = inout($register) *chain,
                                a = in($register) one,
                                b = in($register) one,
                                t = out($register) _,
                                options(nomem, nostack, preserves_flags),
                            );
                        }
                    }
                }
                black_box(chains);
            }
            // SAFETY: only listed where the CPU has the features.
            unsafe { compiled() }
        }
        DotLoop { run, products: $products }
    }};
}

#[cfg(target_arch = "x86_64")]
fn dot_loops(isa: Isa) -> Vec<DotLoop> {
    use std::arch::asm;
    use std::arch::x86_64::*;
    let mut loops = vec![dot_loop!(
        "sse2",
        __m128i,
        xmm_reg,
        8,
        "movdqa {t}, {a}",
        "pmaddwd {t}, {b}",
        "paddd {c}, {t}"
    )];
    if isa >= Isa::Avx2 && is_x86_feature_detected!("avx2") {
        loops.push(dot_loop!(
            "avx2",
            __m256i,
            ymm_reg,
            32,
            "vpmaddubsw {t}, {a}, {b}",
            "vpaddw {c}, {c}, {t}"
        ));
        if isa >= Isa::AvxVnni && is_x86_feature_detected!("avxvnni") {
            loops.push(dot_loop!(
                "avx2,avxvnni",
                __m256i,
                ymm_reg,
                32,
                "{{vex}} vpdpbusd {c}, {a}, {b}"
            ));
        }
    }
    if isa >= Isa::Avx512 && is_x86_feature_detected!("avx512vnni") {
        let vnni = dot_loop!("avx512f,avx512vnni", __m512i, zmm_reg, 64, "vpdpbusd {c}, {a}, {b}");
        loops.push(vnni);
    }
    loops
}

#[cfg(target_arch = "aarch64")]
fn dot_loops(isa: Isa) -> Vec<DotLoop> {
    use std::arch::aarch64::*;
    use std::arch::{asm, is_aarch64_feature_detected};
    let mut loops =
        vec![dot_loop!("neon", int8x16_t, vreg, 8, "smlal {c:v}.8h, {a:v}.8b, {b:v}.8b")];
    if isa >= Isa::NeonDot && is_aarch64_feature_detected!("dotprod") {
        loops.push(dot_loop!(
            "neon,dotprod",
            int8x16_t,
            vreg,
            16,
            "sdot {c:v}.4s, {a:v}.16b, {b:v}.16b"
        ));
    }
    loops
}

/// One product at a time.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn dot_loops(_: Isa) -> Vec<DotLoop> {
    fn run() {
        let one = black_box(1i32);
        let mut chains = [0i32; CHAINS];
        for _ in 0..TURNS {
            for chain in &mut chains {
                *chain = black_box(*chain).wrapping_add(black_box(one).wrapping_mul(one));
            }
        }
        black_box(chains);
    }
    vec![DotLoop { run, products: 1 }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_has_a_peak() {
        for isa in Isa::available() {
            let peak = dot_peak(isa, &Pool::new(1));
            assert!(peak.is_finite() && peak > 0.0, "{}: {peak}", isa.name());
        }
    }
}
