//! The kernels' source, NVRTC, and the cache of what it makes.

use std::ffi::{CStr, CString, c_char};
use std::io::Write;
use std::path::PathBuf;

use cudarc::nvrtc::result as nvrtc;
use cudarc::nvrtc::sys;

use super::driver::error;
use crate::error::Result;

/// The kernels for any model: CUDA C++, one translation unit.
const KERNELS: &str = concat!(
    include_str!("kernels/common.cu"),
    include_str!("kernels/packed.cu"),
    include_str!("kernels/relay.cu"),
    include_str!("kernels/rows.cu"),
    include_str!("kernels/recurrence.cu"),
    include_str!("kernels/gemm.cu"),
);

/// The kernel that is compiled for one model.
const DECODE: &str = concat!(
    include_str!("kernels/common.cu"),
    include_str!("kernels/shape.cu"),
    include_str!("kernels/stream.cu"),
    include_str!("kernels/exchange.cu"),
    include_str!("kernels/ahead.cu"),
    include_str!("kernels/sender.cu"),
    include_str!("kernels/norm.cu"),
    include_str!("kernels/product.cu"),
    include_str!("kernels/helper.cu"),
    include_str!("kernels/decode.cu"),
);

/// Something to be compiled.
pub(crate) struct Source {
    text: &'static str,
    /// Options of the compiler on top of [`OPTIONS`].
    defines: Vec<String>,
}

impl Source {
    pub fn kernels() -> Source {
        Source { text: KERNELS, defines: Vec::new() }
    }

    /// The decode kernel, for a model's numbers by name.
    pub fn decode(numbers: &[(&str, usize)]) -> Source {
        let defines = numbers.iter().map(|(name, n)| format!("-D{name}={n}")).collect();
        Source { text: DECODE, defines }
    }
}

/// Floats as the CPU has them: multiply and add kept apart, subnormals kept, IEEE division and
/// square root.
const OPTIONS: [&str; 5] =
    ["--std=c++17", "--fmad=false", "--ftz=false", "--prec-div=true", "--prec-sqrt=true"];

/// What a cached image starts with.
const MAGIC: &[u8; 8] = b"mmfreecu";

/// An error where NVRTC is not there.
pub(super) fn check(number: usize) -> Result<()> {
    // SAFETY: loads the library, whose initialisers may run anywhere.
    if unsafe { sys::is_culib_present() } {
        return Ok(());
    }
    let reason =
        "NVRTC is not found (libnvrtc.so, part of the CUDA toolkit): it compiles the kernels";
    Err(error(number, reason))
}

/// The kernels for a compute capability, from the cache or compiled.
pub(super) fn load(number: usize, capability: u32, source: &Source) -> Result<Vec<u8>> {
    check(number)?;
    let path = cache_path(capability, version(), source);
    if let Some(image) = path.as_ref().and_then(|path| read_cached(&std::fs::read(path).ok()?)) {
        return Ok(image);
    }
    let image = compile(capability, source).map_err(|reason| error(number, reason))?;
    // Without a cache the next start takes some seconds more; that is no reason to fail.
    if let Some(path) = path {
        let _ = write_cached(&path, &image);
    }
    Ok(image)
}

/// Compiles all kernels to machine code for a compute capability, as 90 for 9.0: those for any
/// model, and those made for one model for some shapes.
///
/// # Errors
/// What NVRTC says, in one line.
pub fn compile_for(capability: u32) -> Result<Vec<Vec<u8>>, String> {
    let decode = super::decode::SAMPLES.map(|numbers| Source::decode(&numbers));
    [Source::kernels()].iter().chain(&decode).map(|source| compile(capability, source)).collect()
}

fn compile(capability: u32, source: &Source) -> Result<Vec<u8>, String> {
    // SAFETY: loads the library, whose initialisers may run anywhere.
    if !unsafe { sys::is_culib_present() } {
        return Err("NVRTC is not found (libnvrtc.so)".into());
    }
    let fail = |e: nvrtc::NvrtcError| format!("NVRTC: {:?}", e.0);
    let text = CString::new(source.text).map_err(|e| e.to_string())?;
    let program = Program(nvrtc::create_program(&text, Some(c"mmfree.cu")).map_err(fail)?);
    let mut options: Vec<String> = OPTIONS.map(String::from).to_vec();
    options.push(format!("--gpu-architecture=sm_{capability}"));
    options.extend_from_slice(&source.defines);
    // SAFETY: the program is alive.
    if let Err(e) = unsafe { nvrtc::compile_program(program.0, &options) } {
        // SAFETY: the program is alive; the log ends with a zero.
        let log = unsafe { nvrtc::get_program_log(program.0) }.map_err(fail)?;
        let bytes: Vec<u8> = log.iter().map(|&c| c as u8).collect();
        let log = CStr::from_bytes_until_nul(&bytes).unwrap_or_default().to_string_lossy();
        let line = log.lines().find(|line| line.contains("error")).unwrap_or("");
        let version = version();
        return Err(format!(
            "NVRTC {}.{} cannot compile the kernels for sm_{capability}: {:?} {line}",
            version.0, version.1, e.0
        ));
    }
    let mut size = 0;
    // SAFETY: the program is alive and compiled.
    unsafe { sys::nvrtcGetCUBINSize(program.0, &raw mut size) }.result().map_err(fail)?;
    let mut image = vec![0u8; size];
    // SAFETY: the buffer has the size asked for.
    unsafe { sys::nvrtcGetCUBIN(program.0, image.as_mut_ptr().cast::<c_char>()) }
        .result()
        .map_err(fail)?;
    Ok(image)
}

struct Program(sys::nvrtcProgram);

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: made by `create_program`, destroyed once.
        let _ = unsafe { nvrtc::destroy_program(self.0) };
    }
}

fn version() -> (i32, i32) {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: both are written; on failure they stay zero. The library is there: the callers
    // checked.
    let _ = unsafe { sys::nvrtcVersion(&raw mut major, &raw mut minor) };
    (major, minor)
}

/// The file for what these kernels become on a GPU; `None` without a home folder.
fn cache_path(capability: u32, version: (i32, i32), source: &Source) -> Option<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    let key = hash(format!("{}{OPTIONS:?}{:?}", source.text, source.defines).as_bytes());
    let (major, minor) = version;
    let name = format!("kernels-{key:016x}-sm_{capability}-nvrtc-{major}.{minor}.cubin");
    Some(base.join("mmfree").join(name))
}

/// FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
}

/// The image in a cached file; `None` where it is damaged.
fn read_cached(bytes: &[u8]) -> Option<Vec<u8>> {
    let (magic, rest) = bytes.split_first_chunk::<8>()?;
    let (stored, image) = rest.split_first_chunk::<8>()?;
    let sound = magic == MAGIC && !image.is_empty() && u64::from_le_bytes(*stored) == hash(image);
    sound.then(|| image.to_vec())
}

fn write_cached(path: &std::path::Path, image: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(path);
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(MAGIC)?;
    file.write_all(&hash(image).to_le_bytes())?;
    file.write_all(image)?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_cache_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a").join("b");
        write_cached(&path, b"image").unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(read_cached(&bytes).unwrap(), b"image");
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(read_cached(&damaged), None, "{at}");
            assert_eq!(read_cached(&bytes[..at]), None, "{at}");
        }
    }

    #[test]
    fn the_cache_knows_gpu_compiler_and_model() {
        let path = |capability, version, n| {
            cache_path(capability, version, &Source::decode(&[("HIDDEN", n)])).unwrap()
        };
        assert_ne!(path(75, (12, 8), 1), path(80, (12, 8), 1));
        assert_ne!(path(75, (12, 8), 1), path(75, (13, 0), 1));
        assert_ne!(path(75, (12, 8), 1), path(75, (12, 8), 2));
    }
}
