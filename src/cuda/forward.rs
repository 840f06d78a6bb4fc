//! The forward pass on a GPU, over rows as `model/forward.rs` has them; shapes in comments as
//! there.

use cudarc::driver::CudaSlice;

use super::Gpu;
use super::decode::{Decoder, Row};
use super::pass::{Kernels, Pass};
use super::upload::{DeviceWeights, padded};
use super::workspace::{DeviceSegment, Workspace};
use crate::error::{Error, Result};
use crate::format::{Config, ModelFile};
use crate::model::weights::Weights;
use crate::model::{State, Step, Want};

/// Rows that the CPU takes through the layers together; the order of errors follows it.
const ERROR_ROWS: u64 = 256;

/// Operations of a layer as errors count them.
const PLACES: [&str; 5] = ["attn_norm", "ifg_proj", "o_proj", "gate_proj", "down_proj"];

/// A model on a GPU.
pub(crate) struct Backend {
    pub(super) gpu: Gpu,
    pub(super) config: Config,
    pub(super) bounded: bool,
    pub(super) weights: DeviceWeights,
    pub(super) kernels: Kernels,
    decoder: Option<Decoder>,
    workspace: Option<Workspace>,
    /// Rows of a pass at most, a multiple of 256.
    max_rows: usize,
    pub(super) error: CudaSlice<u64>,
    hash: String,
}

/// Some tokens of one step, and the rows they are.
#[derive(Clone, Copy)]
pub(super) struct Segment {
    pub step: usize,
    pub token: usize,
    pub row: usize,
    pub len: usize,
}

impl Backend {
    /// Brings a model to the GPU of that number.
    pub fn new(number: usize, file: &ModelFile, weights: &Weights, bounds: &[f32]) -> Result<Self> {
        let gpu = Gpu::open(number)?;
        let config = file.config().clone();
        let longest = config.hidden_size.max(config.state_size).max(config.intermediate_size);
        let kernels = Kernels::new(&gpu, padded(longest) * 4)?;
        let weights = DeviceWeights::new(&gpu, file, weights, bounds)?;
        let bounded = !bounds.is_empty();
        let decoder = Decoder::new(&gpu, &config, &weights, bounded)?;
        // A quarter of what is left: other models and sequences want some too.
        let rows = gpu.free_memory()? / 4 / Workspace::row_bytes(&config) / Workspace::LEAST_ROWS;
        let max_rows =
            (rows * Workspace::LEAST_ROWS).clamp(Workspace::LEAST_ROWS, Workspace::MOST_ROWS);
        let error = gpu.upload(&[u64::MAX])?;
        let hash = file.hash().to_owned();
        let workspace = None;
        Ok(Backend {
            gpu,
            config,
            bounded,
            weights,
            kernels,
            decoder,
            workspace,
            max_rows,
            error,
            hash,
        })
    }

    /// Bytes of weights that a pass reads.
    pub fn weight_bytes(&self) -> u64 {
        self.weights.bytes() as u64
    }

    /// Bytes a second that a copy within the GPU's memory moves, read and written.
    pub fn copy_bandwidth(&self) -> Result<f64> {
        let bytes = (self.gpu.free_memory()? / 4).min(1 << 30);
        super::bandwidth::of(&self.gpu, bytes, 8)
    }

    /// Feeds every step's tokens to its state.
    pub fn forward(&mut self, steps: &mut [Step<'_>]) -> Result<()> {
        for step in &mut *steps {
            if let Some(states) = &mut step.states {
                let mut blank = State::new(&self.config, &self.hash);
                blank.position = step.state.position;
                states.clear();
                states.resize(step.tokens.len(), blank);
            }
        }
        let rows: usize = steps.iter().map(|step| step.tokens.len()).sum();
        let few = rows <= Decoder::MOST_ROWS && self.decoder.is_some();
        if few && rows > 0 && steps.iter().all(|step| step.states.is_none()) {
            let done = self.decode(steps);
            if done.is_err() {
                steps.iter_mut().for_each(|step| step.logits.clear());
            }
            done?;
        } else {
            steps.iter_mut().for_each(|step| step.logits.clear());
            if rows > 0 {
                self.passes(steps, rows)?;
            }
        }
        for step in steps {
            step.state.memory_mut().changed_on_device();
            if let Some(states) = &mut step.states {
                for (t, state) in states.iter_mut().enumerate() {
                    state.position = step.state.position.saturating_add(t as u64 + 1);
                }
            }
            step.state.position = step.state.position.saturating_add(step.tokens.len() as u64);
        }
        Ok(())
    }

    /// A few tokens, one after the other.
    fn decode(&mut self, steps: &mut [Step<'_>]) -> Result<()> {
        let Some(decoder) = &mut self.decoder else {
            return Ok(());
        };
        let mut rows = Vec::new();
        // The step of each row, and the token in it.
        let mut origins = Vec::new();
        for (n, step) in steps.iter_mut().enumerate() {
            if step.tokens.is_empty() {
                continue;
            }
            let floats = step.state.memory_mut().bring_to_device(&self.gpu)?;
            let (state, id) = (floats.address(), floats.id());
            for (t, &token) in step.tokens.iter().enumerate() {
                let want = match step.want {
                    Want::None => false,
                    Want::Last => t + 1 == step.tokens.len(),
                    Want::All => true,
                };
                rows.push(Row { state, id, token, want });
                origins.push((n, t));
            }
        }
        let vocab = self.config.vocab_size;
        let mut wanted = rows.iter().map(|row| row.want);
        let mut outs: Vec<&mut [f32]> = Vec::with_capacity(rows.len());
        for step in steps.iter_mut() {
            let wanted: Vec<bool> = wanted.by_ref().take(step.tokens.len()).collect();
            let len = wanted.iter().filter(|&&want| want).count() * vocab;
            // All are written: those of the token before may stay until then.
            step.logits.truncate(len);
            step.logits.resize(len, 0.0);
            let mut logits = step.logits.chunks_exact_mut(vocab);
            outs.extend(wanted.iter().map(|&want| {
                let row = if want { logits.next() } else { None };
                row.unwrap_or_default()
            }));
        }
        let key = decoder.run(&self.gpu, &rows, &mut outs)?;
        if let Some((place, row)) = Self::error_at(&self.config, key) {
            let position = origins
                .get(row)
                .map_or(0, |&(n, t)| steps[n].state.position.saturating_add(t as u64));
            return Err(Error::NonFinite { place, position });
        }
        Ok(())
    }

    /// What an error's key means: the place and the row.
    fn error_at(config: &Config, key: u64) -> Option<(String, usize)> {
        if key == u64::MAX {
            return None;
        }
        let row = (key >> 48) * ERROR_ROWS + (key & 0xFFFF);
        let op = ((key >> 16) & 0xFFFF_FFFF) as usize;
        let layers = config.num_layers;
        let place = match op.checked_sub(5 * layers) {
            None => format!("layer {}, {}", op / 5, PLACES[op % 5]),
            Some(0) => "lm_head".to_owned(),
            Some(_) => "the logits".to_owned(),
        };
        Some((place, row as usize))
    }

    /// Any number of rows, in passes of as many as there is room for.
    fn passes(&mut self, steps: &mut [Step<'_>], rows: usize) -> Result<()> {
        if let Some(decoder) = &mut self.decoder {
            decoder.take_back();
        }
        let need = rows.min(self.max_rows);
        if self.workspace.as_ref().is_none_or(|ws| ws.rows < need) {
            let rows = need.next_power_of_two().min(self.max_rows);
            self.workspace = None;
            self.workspace = Some(Workspace::new(&self.gpu, &self.config, rows)?);
        }
        let Some(ws) = &self.workspace else {
            return Ok(());
        };
        let mut states = Vec::with_capacity(steps.len());
        for step in &mut *steps {
            states.push(step.state.memory_mut().bring_to_device(&self.gpu)?.address());
        }
        let (mut step, mut token) = (0, 0);
        loop {
            let mut segments = Vec::new();
            let mut rows = 0;
            while step < steps.len() && rows < self.max_rows {
                let left = steps[step].tokens.len() - token;
                let len = left.min(self.max_rows - rows);
                if len > 0 {
                    segments.push(Segment { step, token, row: rows, len });
                    rows += len;
                }
                (step, token) = if len < left { (step, token + len) } else { (step + 1, 0) };
            }
            if rows == 0 {
                return Ok(());
            }
            let device: Vec<DeviceSegment> = segments
                .iter()
                .map(|s| DeviceSegment {
                    state: states[s.step],
                    row: s.row as u32,
                    len: s.len as u32,
                })
                .collect();
            let device = self.gpu.upload(&device)?;
            let q = ws.quantised(&self.gpu);
            let pass = Pass { b: self, ws, q, segments: &segments, device, rows };
            pass.run(steps)?;
            let key = self.gpu.download(&self.error)?[0];
            if let Some((place, row)) = Self::error_at(&self.config, key) {
                self.error = self.gpu.upload(&[u64::MAX])?;
                let hit = segments.iter().find(|s| (s.row..s.row + s.len).contains(&row));
                let position = hit.map_or(0, |s| {
                    let first = steps[s.step].state.position.saturating_add(s.token as u64);
                    first.saturating_add((row - s.row) as u64)
                });
                return Err(Error::NonFinite { place, position });
            }
        }
    }
}
