//! The buffers of a pass on a GPU.

use cudarc::driver::{CudaSlice, DeviceRepr};

use super::Gpu;
use crate::error::Result;
use crate::format::Config;

/// Where the quantised rows of a kernel go; see `kernels/rows.cu`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct Quantised {
    pub q: [u64; 3],
    pub step: [u64; 3],
    pub sum: [u64; 3],
}

// SAFETY: plain 8-byte words, laid out as in the kernels.
unsafe impl DeviceRepr for Quantised {}

/// Some rows that belong to one sequence; see `kernels/recurrence.cu`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct DeviceSegment {
    pub state: u64,
    pub row: u32,
    pub len: u32,
}

// SAFETY: an 8-byte word and two of 4, no padding, laid out as in the kernels.
unsafe impl DeviceRepr for DeviceSegment {}

/// Buffers for `rows` rows. Shapes as in `model/forward.rs`, with M the larger of H and D.
pub(super) struct Workspace {
    pub rows: usize,
    /// The residual stream, `[R, H]`, and what is added to it.
    pub x: CudaSlice<f32>,
    pub y: CudaSlice<f32>,
    /// The normed input, `[R, H]`.
    pub a: CudaSlice<f32>,
    /// Input, forget and gate projection, the recurrence, `[R, M]`.
    pub i: CudaSlice<f32>,
    pub f: CudaSlice<f32>,
    pub g: CudaSlice<f32>,
    pub h: CudaSlice<f32>,
    /// Gate and value, `[R, 2 I]`.
    pub gate: CudaSlice<f32>,
    /// Logits, `[HEAD_ROWS, V]`.
    pub logits: CudaSlice<f32>,
    q: [CudaSlice<u8>; 3],
    step: [CudaSlice<f32>; 3],
    sum: [CudaSlice<i32>; 3],
}

/// Bytes of a quantised row.
fn row_len(cols: usize) -> usize {
    cols.next_multiple_of(256)
}

impl Workspace {
    /// Passes are at least so long, where there are so many rows.
    pub const LEAST_ROWS: usize = 256;
    /// And at most so long.
    pub const MOST_ROWS: usize = 2048;
    /// Rows that go through the head together.
    pub const HEAD_ROWS: usize = 256;

    fn widths(config: &Config) -> [usize; 4] {
        let wide = config.hidden_size.max(config.state_size);
        [config.hidden_size, wide, 2 * config.intermediate_size, config.vocab_size]
    }

    /// Bytes that a row takes.
    pub fn row_bytes(config: &Config) -> usize {
        let [hidden, wide, gate, vocab] = Self::widths(config);
        let q = row_len(wide.max(config.intermediate_size)) + 2 * row_len(hidden);
        4 * (3 * hidden + 4 * wide + gate + vocab + 6) + q
    }

    pub fn new(gpu: &Gpu, config: &Config, rows: usize) -> Result<Workspace> {
        let [hidden, wide, gate, vocab] = Self::widths(config);
        let largest = row_len(wide.max(config.intermediate_size));
        let f = |width: usize| gpu.zeros::<f32>(rows * width);
        Ok(Workspace {
            rows,
            x: f(hidden)?,
            y: f(hidden)?,
            a: f(hidden)?,
            i: f(wide)?,
            f: f(wide)?,
            g: f(wide)?,
            h: f(wide)?,
            gate: f(gate)?,
            logits: gpu.zeros(rows.min(Self::HEAD_ROWS) * vocab)?,
            q: [
                gpu.zeros(rows * largest)?,
                gpu.zeros(rows * row_len(hidden))?,
                gpu.zeros(rows * row_len(hidden))?,
            ],
            step: [f(1)?, f(1)?, f(1)?],
            sum: [gpu.zeros(rows)?, gpu.zeros(rows)?, gpu.zeros(rows)?],
        })
    }

    pub fn quantised(&self, gpu: &Gpu) -> Quantised {
        Quantised {
            q: self.q.each_ref().map(|q| gpu.address(q)),
            step: self.step.each_ref().map(|step| gpu.address(step)),
            sum: self.sum.each_ref().map(|sum| gpu.address(sum)),
        }
    }
}
