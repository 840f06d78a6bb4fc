//! Re-packing: matrices in packing `t5`, written as `i2` in memory where that decodes faster.
//!
//! On AVX2 a byte of `t5` costs two look-ups and its splitting, and decoding waits for the core, not for memory; `i2` does not.
//! So one model file is the fastest on every machine, for the price of the process's own memory. Nothing waits for it:
//! each forward pass re-packs one layer just before it is used, the head being the last. No bit of any result changes.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::weights::{Layer, Linear, Weights};
use super::{Model, Residency};
use crate::device::Device;
use crate::format::ModelFile;
use crate::kernels;
use crate::packing::repack::{i2_strip_bytes, t5_strip_to_i2};
use crate::packing::{Packing, STRIP};
use crate::storage::Region;
use crate::threads::Pool;

/// Whether matrices in packing `t5` are written as `i2` in memory of the process's own, a layer with each of the first forward
/// passes. On CPUs with AVX2 and no more that decodes faster, and takes 1.25 times the matrices' bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Repack {
    /// Where it is faster, and there is room within the [budget](Residency::budget) for both forms; not where the file is
    /// [locked](Residency::mlock), since what is locked is to be what is read.
    #[default]
    Auto,
    /// Not at all: the file's pages are what is read.
    Never,
    /// On any CPU, whether it is faster and has room or not.
    Always,
}

/// Strips that a task re-packs.
const STRIPS: usize = 4;

/// A model's re-packing, done or not.
pub(super) struct Repacking {
    region: Mutex<Region>,
    /// Layers that are done; the head counts as the last.
    done: AtomicUsize,
    bytes: u64,
}

impl Repacking {
    /// What is to be re-packed of a model, as the options have it, if `room` is left beside its weights; `None` for nothing.
    fn new(model: &Model, residency: &Residency, room: u64) -> Option<Repacking> {
        let lengths = || model.weights.linears().filter(|l| is_wanted(l)).map(repacked_len);
        let bytes: u64 = lengths().map(|len| len as u64).sum();
        let wanted = match residency.repack {
            Repack::Never => false,
            Repack::Auto => {
                kernels::decodes_i2_faster(model.isa, model.family)
                    && !residency.mlock
                    && bytes <= room
            }
            Repack::Always => true,
        };
        if !wanted || bytes == 0 || model.device != Device::Cpu {
            return None;
        }
        let region = Mutex::new(Region::new(lengths())?);
        Some(Repacking { region, done: AtomicUsize::new(0), bytes })
    }

    /// Re-packs the layer that is next, or the head, given its matrices.
    fn step<'a>(&self, file: &ModelFile, pool: &Pool, linears: impl Iterator<Item = &'a Linear>) {
        for linear in linears.filter(|linear| is_wanted(linear)) {
            repack(&self.region, file, pool, linear);
        }
        self.done.fetch_add(1, Ordering::Relaxed);
    }
}

impl Model {
    /// Bytes of memory that re-packed matrices take once all are; 0 where none are to be. See [`Repack`].
    pub fn repacked_bytes(&self) -> u64 {
        self.repacking.as_ref().map_or(0, |repacking| repacking.bytes)
    }

    /// Re-packs now what the first forward passes would, for measurements from the first token on.
    pub fn finish_repacking(&self) {
        // No forward pass runs meanwhile.
        let _workspace = self.workspace.lock().unwrap_or_else(PoisonError::into_inner);
        for n in 0..=self.weights.layers.len() {
            self.repack_layer(n);
        }
    }

    /// Plans what is re-packed; see [`Repacking::new`].
    pub(super) fn plan_repacking(&mut self, residency: &Residency, room: u64) {
        self.repacking = Repacking::new(self, residency, room);
    }

    /// The layer that is to be re-packed next; the number of layers stands for the head, and one more where all is done.
    pub(super) fn next_to_repack(&self) -> Option<usize> {
        Some(self.repacking.as_ref()?.done.load(Ordering::Relaxed))
    }

    /// Re-packs a layer, or with the number of layers the head, if it is the next one to be.
    pub(super) fn repack_layer(&self, n: usize) {
        let Some(repacking) = self.repacking.as_ref().filter(|_| self.next_to_repack() == Some(n))
        else {
            return;
        };
        match self.weights.layers.get(n) {
            Some(layer) => repacking.step(&self.file, &self.pool, layer.linears()),
            None => repacking.step(&self.file, &self.pool, [&self.weights.lm_head].into_iter()),
        }
    }
}

impl Weights {
    /// All matrices, in the order in which they are used.
    fn linears(&self) -> impl Iterator<Item = &Linear> {
        self.layers.iter().flat_map(Layer::linears).chain([&self.lm_head])
    }
}

impl Layer {
    /// Its matrices, in the order in which they are used.
    pub fn linears(&self) -> impl Iterator<Item = &Linear> {
        self.ifg.iter().chain([&self.o_proj, &self.gate_proj, &self.down_proj])
    }
}

/// Whether a matrix is in the packing that is re-packed.
fn is_wanted(linear: &Linear) -> bool {
    linear.packing() == Packing::T5
}

/// Bytes of a matrix once it is `i2`.
fn repacked_len(linear: &Linear) -> usize {
    linear.rows.div_ceil(STRIP) * i2_strip_bytes(linear.cols)
}

fn repack(region: &Mutex<Region>, file: &ModelFile, pool: &Pool, linear: &Linear) {
    let taken = region.lock().unwrap_or_else(PoisonError::into_inner).take(repacked_len(linear));
    let Some(mut piece) = taken else { return };
    let (matrix, same) = (linear.matrix(file), AtomicBool::new(true));
    let strip_bytes = i2_strip_bytes(linear.cols);
    let mut tasks: Vec<&mut [u8]> = piece.chunks_mut(STRIPS * strip_bytes).collect();
    pool.run_each(&mut tasks, &|i, out| {
        for (s, out) in out.chunks_exact_mut(strip_bytes).enumerate() {
            if !t5_strip_to_i2(&matrix, STRIPS * i + s, out) {
                same.store(false, Ordering::Relaxed);
            }
        }
    });
    drop(tasks);
    // A file that is not sound stays as it is: its sums are those of its bytes.
    if same.into_inner() {
        linear.keep_in_memory(Packing::I2, piece);
        file.unmap(linear.span().clone());
    }
}
