//! A GPU's memory bandwidth, to see its other figures beside.

use super::Gpu;
use crate::error::Result;

/// Bytes a second that a copy within the GPU's memory moves, counting those read and those written:
/// the best of `rounds` copies of a buffer of `bytes`.
///
/// # Errors
/// [`Error::Device`](crate::Error::Device).
pub fn copy_bandwidth(number: usize, bytes: usize, rounds: usize) -> Result<f64> {
    of(&Gpu::open(number)?, bytes, rounds)
}

/// As [`copy_bandwidth`], of an open GPU.
pub(super) fn of(gpu: &Gpu, bytes: usize, rounds: usize) -> Result<f64> {
    let bytes = bytes.max(1);
    let from = gpu.zeros::<u8>(bytes)?;
    let mut to = gpu.zeros::<u8>(bytes)?;
    let mut best = f64::INFINITY;
    for _ in 0..rounds.max(2) {
        let ms = (|| {
            let flags = Some(cudarc::driver::sys::CUevent_flags::CU_EVENT_DEFAULT);
            let start = gpu.stream.record_event(flags)?;
            gpu.stream.memcpy_dtod(&from, &mut to)?;
            let end = gpu.stream.record_event(flags)?;
            end.synchronize()?;
            start.elapsed_ms(&end)
        })()
        .map_err(gpu.failed("cannot time a copy"))?;
        best = best.min(f64::from(ms) / 1e3);
    }
    Ok(2.0 * bytes as f64 / best)
}
