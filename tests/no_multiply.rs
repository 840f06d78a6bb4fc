//! The `add` kernels hold no vector multiplication: their machine code is read, with all that it calls.
//!
//! The code is that of this test program, or of the program that `MMFREE_TEST_BINARY` names, with its
//! symbols. GNU objdump (package binutils) reads it; `OBJDUMP` names another one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::process::Command;

use mmfree::kernels::{self, Family};

/// A program's functions, by address.
struct Binary {
    path: PathBuf,
    objdump: String,
    functions: BTreeMap<u64, Function>,
    /// What the program's loader writes in a slot, by its address: for an imported function its name,
    /// for one of the program's own `*ABS*+0x` and its address.
    slots: HashMap<u64, String>,
}

struct Function {
    /// Several where the linker or the compiler found equal code.
    names: Vec<String>,
    size: u64,
}

/// Where control may go from an instruction.
#[derive(Debug, PartialEq)]
enum Flow<'a> {
    /// On, or to a place inside the function that the instruction does not name: a jump table.
    On,
    To(u64),
    /// To the function whose address is in this slot.
    Through(u64),
    /// To the function whose address is in this register.
    Register(&'a str),
}

impl Binary {
    fn open() -> Binary {
        let path = std::env::var_os("MMFREE_TEST_BINARY")
            .map_or_else(|| std::env::current_exe().unwrap(), PathBuf::from);
        let mut binary =
            Binary { path, objdump: objdump(), functions: BTreeMap::new(), slots: HashMap::new() };
        for line in binary.objdump(&["--syms", "--demangle", "--wide"]).lines() {
            // 0000000000001234 l     F .text	00000000000000ab              name
            let Some((left, right)) = line.split_once('\t') else { continue };
            if left.get(17..24).is_none_or(|flags| !flags.contains('F')) {
                continue;
            }
            let (size, name) = right.split_once(' ').unwrap();
            let name = name.trim_start().trim_start_matches(".hidden ").to_owned();
            let size = hex(size).unwrap();
            let function = binary
                .functions
                .entry(hex(&left[..16]).unwrap())
                .or_insert(Function { names: Vec::new(), size });
            function.names.push(name);
            function.size = function.size.max(size);
        }
        for line in binary.objdump(&["--dynamic-reloc"]).lines() {
            // 0000000000001234 R_X86_64_GLOB_DAT  memcpy@GLIBC_2.14
            let mut words = line.split_whitespace();
            if let (Some(Some(at)), Some(_), Some(name)) =
                (words.next().map(hex), words.next(), words.next())
            {
                binary.slots.insert(at, name.to_owned());
            }
        }
        binary
    }

    fn objdump(&self, arguments: &[&str]) -> String {
        let output =
            Command::new(&self.objdump).args(arguments).arg(&self.path).output().expect("objdump");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("objdump writes text")
    }

    /// The instructions of the function at `address`, one a line, from the mnemonic on.
    fn code(&self, address: u64) -> Vec<String> {
        let stop = address + self.functions[&address].size;
        let text = self.objdump(&[
            "--disassemble",
            "--no-show-raw-insn",
            "--wide",
            &format!("--start-address={address:#x}"),
            &format!("--stop-address={stop:#x}"),
        ]);
        // "    1234:	mnemonic operands"
        let code: Vec<String> = text
            .lines()
            .filter_map(|line| line.split_once(":\t"))
            .filter(|(at, _)| hex(at.trim()).is_some())
            .map(|(_, code)| code.trim().to_owned())
            .collect();
        assert!(!code.is_empty(), "no code at {address:#x}");
        code
    }

    /// Addresses of a kernel's method.
    fn method(&self, kernel: &str, method: &str) -> Vec<u64> {
        // t5-avx2-add is <mmfree::kernels::x86::avx2_t5::T5Avx2Add as mmfree::kernels::Kernel>::compute.
        let wanted = kernel.replace('-', "");
        let is_it = |name: &String| {
            let method_of = name.strip_suffix(method).and_then(|name| name.strip_suffix(">::"));
            let kernel = method_of
                .and_then(|name| name.strip_prefix("<mmfree::kernels::"))
                .and_then(|name| name.strip_suffix(" as mmfree::kernels::Kernel"))
                .and_then(|path| path.rsplit("::").next());
            kernel.is_some_and(|kernel| kernel.to_lowercase() == wanted)
        };
        let found = self.functions.iter().filter(|(_, function)| function.names.iter().any(is_it));
        found.map(|(address, _)| *address).collect()
    }

    /// The vector multiplications in the function at `start` and, if `callees` too, in all that it
    /// calls. Not followed are the ends of a program that fails, and copies of memory.
    fn multiplications(&self, start: u64, callees: bool) -> Vec<String> {
        let (mut found, mut seen, mut to_do) = (Vec::new(), BTreeSet::new(), vec![start]);
        while let Some(address) = to_do.pop() {
            if !seen.insert(address) {
                continue;
            }
            let name = &self.functions[&address].names[0];
            let code = self.code(address);
            for instruction in &code {
                if is_vector_multiply(instruction) {
                    found.push(format!("{name}: {instruction}"));
                }
                if !callees {
                    continue;
                }
                let slots = match flow(instruction) {
                    Flow::On => continue,
                    Flow::To(target) => {
                        // A stub has no symbol of its own: "bl	1234 <memcpy@plt>".
                        if !imported(instruction).is_some_and(is_end) {
                            to_do.extend(self.callee(target, name, instruction));
                        }
                        continue;
                    }
                    Flow::Through(slot) => vec![slot],
                    Flow::Register(register) => slots_loaded(&code, register),
                };
                assert!(!slots.is_empty(), "{name}: {instruction}: a call that can't be followed");
                for slot in slots {
                    let value = self.slots.get(&slot).map_or("", |value| value);
                    if !is_end(value) {
                        let target = value.strip_prefix("*ABS*+0x").and_then(hex).unwrap_or(0);
                        to_do.extend(self.callee(target, name, instruction));
                    }
                }
            }
        }
        found
    }

    /// The function at `start` and those of the kernels that it goes on to.
    fn near(&self, start: u64) -> Vec<u64> {
        let (mut near, mut next) = (vec![start], 0);
        while let Some(&address) = near.get(next) {
            next += 1;
            for instruction in self.code(address) {
                let Flow::To(target) = flow(&instruction) else { continue };
                let Some((at, function)) = self.functions.range(..=target).next_back() else {
                    continue;
                };
                let kernels = function.names.iter().any(|name| name.contains("mmfree::kernels"));
                if kernels && !near.contains(at) {
                    near.push(*at);
                }
            }
        }
        near
    }

    /// The function to look into after a call or a jump to `target`.
    fn callee(&self, target: u64, name: &str, instruction: &str) -> Option<u64> {
        let function = self.functions.range(..=target).next_back();
        match function.filter(|(at, function)| target < *at + function.size.max(1)) {
            Some((at, function)) => {
                (!function.names.iter().any(|name| is_end(name))).then_some(*at)
            }
            None => panic!("{name}: {instruction}: leads to no known function"),
        }
    }
}

/// The slots from which a function loads a register: "mov    0x12(%rip),%r14        # 1234 <symbol>".
fn slots_loaded(code: &[String], register: &str) -> Vec<u64> {
    let load = format!("(%rip),{register} ");
    let loads = code.iter().filter(|instruction| instruction.starts_with("mov "));
    let slots = loads.filter_map(|instruction| instruction.split_once(&load)?.1.split_once("# "));
    slots.filter_map(|(_, slot)| hex(slot.split(' ').next()?)).collect()
}

/// An objdump for this architecture.
fn objdump() -> String {
    let mut candidates: Vec<String> = std::env::var("OBJDUMP").into_iter().collect();
    if candidates.is_empty() {
        let arch = std::env::consts::ARCH;
        candidates = vec![format!("{arch}-linux-gnu-objdump"), "objdump".to_owned()];
    }
    let works = |program: &String| {
        Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
    };
    candidates.iter().find(|program| works(program)).cloned().unwrap_or_else(|| {
        panic!("none of {candidates:?} can be run; objdump is in the package binutils")
    })
}

fn hex(digits: &str) -> Option<u64> {
    u64::from_str_radix(digits, 16).ok()
}

/// Functions that are not looked into: they copy memory or end the kernel.
fn is_end(name: &str) -> bool {
    let plain = name.split('@').next().unwrap();
    ["memcpy", "memmove", "memset", "memcmp", "bcmp"].contains(&plain)
        || ["core::panicking::", "core::option::", "core::result::"]
            .iter()
            .any(|path| name.starts_with(path))
        || name.starts_with("core::slice::") && name.contains("fail")
        || name.starts_with("_Unwind_")
}

/// The imported function whose stub an instruction names.
fn imported(instruction: &str) -> Option<&str> {
    instruction.split_once('<')?.1.split_once('>')?.0.strip_suffix("@plt")
}

/// The mnemonic and the operands.
fn parts(instruction: &str) -> (&str, &str) {
    let instruction = instruction.split(" //").next().unwrap();
    let mut rest = instruction;
    loop {
        let (word, operands) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
        match word {
            "bnd" | "notrack" | "addr32" | "data16" | "lock" | "rep" | "repz" | "repnz" | "cs"
            | "ds" | "{vex}" | "{evex}" => rest = operands.trim_start(),
            _ => return (word, operands.trim()),
        }
    }
}

/// Where control may go from an instruction, on either architecture.
fn flow(instruction: &str) -> Flow<'_> {
    let (mnemonic, operands) = parts(instruction);
    let x86 = mnemonic == "call" || mnemonic.starts_with('j') || mnemonic.starts_with("loop");
    let arm = ["b", "bl", "cbz", "cbnz", "tbz", "tbnz"].contains(&mnemonic)
        || mnemonic.starts_with("b.")
        || mnemonic.starts_with("bc.");
    if mnemonic.starts_with("blr") {
        return Flow::Register(operands);
    }
    if !x86 && !arm {
        return Flow::On;
    }
    if let Some(indirect) = operands.strip_prefix('*') {
        // "*0x12(%rip)        # 1234 <symbol>"
        let slot = indirect.split_once("(%rip)").and_then(|(_, rest)| rest.split_once("# "));
        return match slot.and_then(|(_, slot)| hex(slot.split(' ').next().unwrap())) {
            Some(slot) => Flow::Through(slot),
            None if mnemonic != "call" && !indirect.contains('(') => Flow::On,
            None => Flow::Register(indirect),
        };
    }
    // "w0, #3, 1234 <symbol+0x56>"
    let target = operands.split(" <").next().unwrap().rsplit([',', ' ']).next().unwrap();
    hex(target.trim().trim_start_matches("0x")).map_or(Flow::Register(operands), Flow::To)
}

/// Whether an instruction multiplies in vector registers: a product, a product added up, a dot
/// product, in whatever type. Products of general registers are addresses.
fn is_vector_multiply(instruction: &str) -> bool {
    let (mnemonic, operands) = parts(instruction);
    let names_vector = |operand: &str| {
        let name = operand.trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != '%');
        match name.strip_prefix('%') {
            Some(x86) => {
                ["xmm", "ymm", "zmm", "mm", "tmm", "st"].iter().any(|r| x86.starts_with(r))
            }
            // v0.16b, z0.b, q0, d0, s0, h0, za0
            None => {
                let base = name.split('.').next().unwrap();
                let digits =
                    base.trim_start_matches("za").trim_start_matches(|c| "vzqdshb".contains(c));
                digits.len() < base.len()
                    && !digits.is_empty()
                    && digits.bytes().all(|c| c.is_ascii_digit())
            }
        }
    };
    let operands = operands.split(" <").next().unwrap();
    if !operands.split([',', ' ', '{', '}', '[', ']', '(', ')']).any(names_vector) {
        return false;
    }
    let plain = mnemonic.strip_prefix('v').unwrap_or(mnemonic);
    [
        "mul", "madd", "msub", "mla", "mls", "fma", "fms", "fnma", "fnms", "fmopa", "mopa", "dot",
        "mad", "msb",
    ]
    .iter()
    .any(|part| mnemonic.contains(part))
        || plain.starts_with("pdp")
        || plain.starts_with("dpp")
        || plain.starts_with("dpb")
        || plain.starts_with("tdp")
}

#[test]
fn add_kernels_hold_no_vector_multiplication() {
    let binary = Binary::open();
    for kernel in kernels::all() {
        let (name, path) = (kernel.name(), binary.path.display());
        let [compute, prepare] = ["compute", "prepare"].map(|method| binary.method(name, method));
        assert!(!compute.is_empty(), "the code of {name} was not found in {path}");
        // Without look-up tables it is the trait's own, which does nothing.
        let prepares = kernel.prepared_len(64) > 0;
        assert_eq!(prepares, !prepare.is_empty(), "{name} and its method prepare in {path}");
        match kernel.family() {
            Family::Add => {
                for address in compute.into_iter().chain(prepare) {
                    let found = binary.multiplications(address, true);
                    assert!(found.is_empty(), "{name}: {}", found.join("\n"));
                }
            }
            // That the test can see multiplications at all: these kernels are made of them. They stand in
            // the method, or in the first functions that it calls.
            Family::Dot => {
                let near = compute.iter().flat_map(|&address| binary.near(address));
                let found = near.flat_map(|address| binary.multiplications(address, false)).next();
                assert!(found.is_some(), "no multiplication was found in {name}");
            }
        }
    }
}

#[test]
fn vector_multiplications_are_told_from_other_instructions() {
    let multiplications = [
        "vpmaddwd %ymm1,%ymm2,%ymm3",
        "pmaddubsw %xmm1,%xmm2",
        "vpdpbusd %zmm1,%zmm2,%zmm3",
        "{vex} vpdpbusd %ymm1,%ymm2,%ymm3",
        "vpdpwssd (%rax),%zmm2,%zmm3{%k1}",
        "vpmullw %ymm1,%ymm2,%ymm3",
        "pmulhrsw (%rdi),%xmm2",
        "vpmuludq %ymm1,%ymm2,%ymm3",
        "vfmadd231ps %zmm1,%zmm2,%zmm3",
        "vfnmsub132sd %xmm1,%xmm2,%xmm3",
        "mulps  %xmm1,%xmm2",
        "vmulsd 0x8(%rax),%xmm2,%xmm3",
        "vdpps  $0x1,%xmm1,%xmm2,%xmm3",
        "dppd   $0x1,%xmm1,%xmm2",
        "vpmadd52luq %ymm1,%ymm2,%ymm3",
        "vdpbf16ps %zmm1,%zmm2,%zmm3",
        "tdpbssd %tmm1,%tmm2,%tmm3",
        "smull\tv0.8h, v1.8b, v2.8b",
        "smlal2\tv0.8h, v1.16b, v2.16b",
        "mul\tv0.16b, v1.16b, v2.16b",
        "mla\tv0.8h, v1.8h, v2.h[1]",
        "mls\tv0.8h, v1.8h, v2.8h",
        "sdot\tv0.4s, v1.16b, v2.4b[1]",
        "usdot\tv0.4s, v1.16b, v2.16b",
        "smmla\tv0.4s, v1.16b, v2.16b",
        "sqrdmulh\tv0.8h, v1.8h, v2.8h",
        "pmull\tv0.8h, v1.8b, v2.8b",
        "fmul\ts0, s1, s2",
        "fmadd\td0, d1, d2, d3",
        "fmla\tv0.4s, v1.4s, v2.s[0]",
        "mad\tz0.b, p0/m, z1.b, z2.b",
    ];
    let others = [
        "imul   $0x55,%rax,%rbx",
        "mul    %rcx",
        "mulx   %rax,%rbx,%rcx",
        "lea    (%rax,%rax,4),%rbx",
        "vpaddw %ymm1,%ymm2,%ymm3",
        "vaddpd %ymm1,%ymm2,%ymm3",
        "vpsadbw %ymm1,%ymm2,%ymm3",
        "vpermi2b %zmm1,%zmm2,%zmm3",
        "vmovdqu64 %zmm1,(%rax)",
        "vpshufb 0x20(%rax),%ymm1,%ymm2",
        "call   1234 <mmfree::kernels::x86::mul_mm>",
        "mul\tx0, x1, x2",
        "madd\tx8, x9, x10, x11",
        "smull\tx0, w1, w2",
        "umulh\tx9, x10, x11",
        "msub\tx8, x18, x0, x8",
        "tbl\tv0.16b, {v1.16b, v2.16b}, v3.16b",
        "saddw2\tv0.8h, v1.8h, v2.16b",
        "ldp\tq0, q1, [x17, #-48]",
        "bl\t1234 <smull_v0>",
    ];
    for instruction in multiplications {
        assert!(is_vector_multiply(instruction), "{instruction}");
    }
    for instruction in others {
        assert!(!is_vector_multiply(instruction), "{instruction}");
    }
}

#[test]
fn calls_and_jumps_are_followed() {
    let cases = [
        ("call   1234 <mmfree::f>", Flow::To(0x1234)),
        ("addr32 call 1234 <mmfree::f>", Flow::To(0x1234)),
        ("jae    1234 <mmfree::f+0x10>", Flow::To(0x1234)),
        ("call   *0x4a5e32(%rip)        # 5d0f58 <memcpy@GLIBC_2.14>", Flow::Through(0x5d0f58)),
        ("call   *0x18(%rax)", Flow::Register("0x18(%rax)")),
        ("call   *%rax", Flow::Register("%rax")),
        ("jmp    *0x18(%rax)", Flow::Register("0x18(%rax)")),
        ("notrack jmp *%rax", Flow::On),
        ("vpaddw %ymm1,%ymm2,%ymm3", Flow::On),
        ("bl\t1234 <mmfree::f>", Flow::To(0x1234)),
        ("b.ne\t1234 <mmfree::f+0x10>  // b.any", Flow::To(0x1234)),
        ("tbz\tw0, #3, 1234 <mmfree::f+0x10>", Flow::To(0x1234)),
        ("blr\tx8", Flow::Register("x8")),
        ("br\tx8", Flow::On),
        ("bic\tv0.16b, v1.16b, v2.16b", Flow::On),
        ("bsl\tv0.16b, v1.16b, v2.16b", Flow::On),
    ];
    for (instruction, expected) in cases {
        assert_eq!(flow(instruction), expected, "{instruction}");
    }
    let code =
        ["mov    0x3(%rip),%r14        # 1234 <a>", "mov    0x3(%rip),%r13        # 5678 <b>"];
    assert_eq!(slots_loaded(&code.map(str::to_owned), "%r14"), [0x1234]);
}
