//! What of a mapped model file is in memory, and what is done where there is no room for it. None of it changes a bit of any
//! result.

use std::fmt;
use std::ops::{ControlFlow, Range};

use super::{Model, Repack};
use crate::device::Device;
use crate::error::{Bytes, Error, Result};
use crate::format::{Config, ModelFile};
use crate::storage::{self, Advice, Allowance, LARGE_PAGE};
use crate::threads::STACK;

/// How a mapped model file comes into memory. A model file that is in memory anyway has no use for it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Residency {
    /// What the system is told of how the weights will be read; `None` leaves it at what it has been told before, that is
    /// [large pages](Advice::HugePages) unless [`ModelFile::advise`](crate::ModelFile::advise) was called.
    pub advice: Option<Advice>,
    /// Bytes that this process may come to use; `None` is what the system says: the memory that is left, within the limits of
    /// control groups. Where the weights have no room in it, only a part is kept in memory, see [`ResidencyPlan`].
    pub budget: Option<u64>,
    /// Whether packed matrices are written anew in memory of the process's own.
    pub repack: Repack,
    /// Whether the whole file is read before the model is ready: see [`Model::prefault`].
    pub prefault: bool,
    /// Whether it is kept in memory as long as the model lives, as well.
    pub mlock: bool,
}

/// How a model runs whose weights have no room in memory: those that do stay there, and the others are read from the disk for
/// every token, and given back as soon as they have been used. Left to itself, a system that takes away the pages used longest
/// ago would read all of them for every token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResidencyPlan {
    /// What the process may use.
    pub allowance: Allowance,
    /// Bytes of the weights that each token reads.
    pub weights: u64,
    /// Those of them that stay in memory.
    pub kept: u64,
}

impl ResidencyPlan {
    /// Bytes that each token reads from the disk.
    pub fn read_again(&self) -> u64 {
        self.weights.saturating_sub(self.kept)
    }
}

impl fmt::Display for ResidencyPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "its weights have {}, but this process may use {}: each token reads {} from the disk again",
            Bytes(self.weights),
            self.allowance,
            Bytes(self.read_again())
        )
    }
}

/// Rows of activations for which there must be room: as many as a session feeds of a prompt at a time.
const ROWS: usize = 64;

/// Memory of a process before it has a model: the pages of the program and its libraries that are in use, and the heap.
/// `mmfree-infer` has some 5 MB.
const PROGRAM: u64 = 8_000_000;

/// What it allocates for everything else.
const HEAP: u64 = 4_000_000;

/// What a byte of `tokenizer.json` becomes once it is read: vocabulary and merges as hash tables, both ways.
const TOKENIZER: u64 = 8;

/// Bytes that a process comes to allocate for a model, so far as it is known beforehand.
fn allocated(config: &Config, buffers: u64, tokenizer: u64) -> u64 {
    // Logits, and what a sampler makes of them.
    let logits = 16 * config.vocab_size as u64;
    buffers + logits + TOKENIZER * tokenizer
}

/// Memory that a process takes besides the weights of its model, so far as it is known beforehand.
fn needed(config: &Config, buffers: u64, tokenizer: u64, weights: u64) -> u64 {
    // A page of 4 KB takes 8 bytes in the tables of the system.
    let tables = weights / 512;
    PROGRAM + allocated(config, buffers, tokenizer) + tables
}

/// How many of so many threads have room in the addresses that this process has left.
///
/// # Errors
/// [`Error::Invalid`] where there is none for the buffers of a single token.
pub(super) fn threads_with_room(
    file: &ModelFile,
    buffers: impl Fn(usize) -> u64,
    threads: usize,
) -> Result<usize> {
    let allocated = |rows| allocated(file.config(), buffers(rows), tokenizer_len(file));
    if let Some(left) = storage::addresses_left().filter(|&left| left < allocated(1)) {
        let (needed, left) = (Bytes(allocated(1)), Bytes(left));
        let reason = format!(
            "its buffers take {needed}, but this process has {left} left of its address space: see `ulimit -v`"
        );
        return Err(Error::invalid(file.path(), reason));
    }
    Ok(storage::threads_with_room(threads, STACK, allocated(ROWS) + HEAP))
}

fn tokenizer_len(file: &ModelFile) -> u64 {
    file.tokenizer_json().map_or(0, |json| json.len() as u64)
}

/// Bytes of packed matrices that are kept where the weights have no room; `None` where they have.
fn kept(weights: u64, needed: u64, largest: u64, allowed: u64) -> Option<u64> {
    if weights.saturating_add(needed) <= allowed {
        return None;
    }
    // The matrix at hand and the one that is read ahead, in large pages that reach out of both; and what other programs need
    // in the meantime.
    let working = needed + 2 * largest + 4 * LARGE_PAGE as u64 + allowed / 16;
    Some(allowed.saturating_sub(working))
}

impl Model {
    /// What this process could use when the model was made; `None` where the system does not say.
    pub fn allowance(&self) -> Option<&Allowance> {
        self.allowance.as_ref()
    }

    /// How it runs without room for its weights; `None` where they have room, or lie in a GPU's memory, or in the program's own
    /// as those of the demo model do.
    pub fn plan(&self) -> Option<&ResidencyPlan> {
        self.plan.as_ref()
    }

    /// The model, after what the options ask for has been done.
    pub(super) fn placed(mut self, residency: &Residency) -> Result<Model> {
        self.allowance = match residency.budget {
            Some(bytes) => Some(Allowance { bytes, group: None }),
            None => Allowance::now(),
        };
        self.plan = self.allowance.clone().and_then(|allowance| self.plan_within(allowance));
        if let Some(plan) = &self.plan {
            self.file.keep(plan.kept as usize);
        }
        let taken = self.weight_bytes().saturating_add(self.needed());
        let room = self.allowance.as_ref().map_or(0, |a| a.bytes.saturating_sub(taken));
        self.plan_repacking(residency, room);
        if residency.prefault || residency.mlock {
            let _ = self.prefault(residency.mlock, |_| ControlFlow::Continue(()))?;
        }
        Ok(self)
    }

    fn plan_within(&self, allowance: Allowance) -> Option<ResidencyPlan> {
        if self.device != Device::Cpu || !self.file.is_mapped() {
            return None;
        }
        let weights = self.weight_bytes();
        let spans = self.file.matrices().filter_map(|name| self.file.matrix_span(name));
        let largest = spans.map(|span| span.len() as u64).max().unwrap_or(0);
        let kept = kept(weights, self.needed(), largest, allowance.bytes)?;
        let kept = kept.min(self.file.packed_span().len() as u64);
        Some(ResidencyPlan { allowance, weights, kept })
    }

    fn needed(&self) -> u64 {
        let (buffers, tokenizer) = (self.buffer_bytes(ROWS), tokenizer_len(&self.file));
        needed(self.config(), buffers, tokenizer, self.weight_bytes())
    }

    /// Brings the whole file into memory now, on all threads, and with `lock` keeps it there as long as the model lives: a
    /// system without memory then ends programs rather than take its pages. `progress` is told from time to time how many bytes are
    /// done, and may end it early. Does nothing where there is a [plan](Self::plan), which is for files that have no room, and for
    /// a file that is in memory anyway.
    ///
    /// # Errors
    /// [`Error::Option`] where it is to be locked and has no room, or the system refuses, mostly because of its limit on locked
    /// memory.
    pub fn prefault(
        &self,
        lock: bool,
        mut progress: impl FnMut(usize) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        let len = self.file.bytes().len();
        if let (true, Some(allowance)) = (lock && self.file.is_mapped(), &self.allowance)
            && (len as u64).saturating_add(self.needed()) > allowance.bytes
        {
            let name = self.file.path().display();
            let len = Bytes(len as u64);
            let reason = format!(
                "{name} has {len}, but this process may use {allowance}; without it the model runs, more slowly"
            );
            return Err(Error::Option { name: "mlock", reason });
        }
        if self.plan.is_some() || !self.file.is_mapped() {
            return Ok(ControlFlow::Continue(()));
        }
        if self.populate(0..len, &mut progress).is_break() {
            return Ok(ControlFlow::Break(()));
        }
        if lock {
            self.file.lock()?;
        }
        Ok(ControlFlow::Continue(()))
    }

    fn populate(
        &self,
        range: Range<usize>,
        progress: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        // Whole pages of any size, little enough for `progress` to be asked often.
        const PIECE: usize = 4 << 20;
        let pieces: Vec<Range<usize>> = (range.start..range.end)
            .step_by(PIECE)
            .map(|start| start..(start + PIECE).min(range.end))
            .collect();
        let mut done = 0;
        for round in pieces.chunks(4 * self.threads()) {
            self.pool.run_on_all(round.len(), &|i| self.file.populate(round[i].clone()));
            done += round.iter().map(Range::len).sum::<usize>();
            progress(done)?;
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shape of the published model of 370 million parameters.
    fn config() -> Config {
        Config {
            vocab_size: 32_000,
            hidden_size: 1024,
            num_layers: 24,
            num_heads: 1,
            state_size: 1024,
            intermediate_size: 2816,
            rms_norm_eps: 1e-6,
            lower_bounds: true,
            short_conv: None,
            tie_word_embeddings: false,
            bos_token_id: Some(1),
            eos_token_ids: vec![2],
        }
    }

    /// Its weights as `t5` in bytes, its largest matrix, and the buffers of a prompt's chunk.
    const WEIGHTS: u64 = 70_000_000;
    const LARGEST: u64 = 6_600_000;
    const BUFFERS: u64 = 4_700_000;

    #[test]
    fn the_reserve_is_what_is_needed() {
        let needed = |tokenizer| needed(&config(), BUFFERS, tokenizer, WEIGHTS);
        // In a group of 86 MB it runs without reading a page twice, in one of 80 MB not; some 1.5 MB are in use before.
        assert_eq!(kept(WEIGHTS, needed(0), LARGEST, 84_500_000), None);
        assert!(kept(WEIGHTS, needed(0), LARGEST, 78_500_000).is_some());
        // A tokenizer has to have room too.
        assert!(kept(WEIGHTS, needed(1_600_000), LARGEST, 84_500_000).is_some());
    }

    #[test]
    fn more_memory_never_keeps_less() {
        let needed = needed(&config(), BUFFERS, 0, WEIGHTS);
        let kept = |allowed| kept(WEIGHTS, needed, LARGEST, allowed).unwrap_or(WEIGHTS);
        assert_eq!(kept(0), 0);
        for allowed in (0..100_000_000).step_by(500_000) {
            assert!(kept(allowed) <= kept(allowed + 500_000) && kept(allowed) <= WEIGHTS);
        }
        assert_eq!(kept(u64::MAX), WEIGHTS);
    }
}
