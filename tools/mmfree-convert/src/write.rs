//! Writing a model file from a source, on all cores and with little memory.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use mmfree::format::{ModelFile, TensorSpec};
use mmfree::packing::STRIP;
use mmfree::storage::{AtomicFile, or_lost_mapping};
use rayon::prelude::*;

use crate::embedding::{EmbeddingType, quantise_row};
use crate::error::{Error, Result};
use crate::floats::encode;
use crate::hash;
use crate::options::Options;
use crate::plan::{Part, Plan, count};
use crate::pool;
use crate::progress::Progress;
use crate::source::Source;
use crate::summary::{Sizes, Summary};

/// Tensors that are worked on at the same time, so that threads have work where a tensor runs out
/// of it.
const TENSORS: usize = 8;

/// About as many values of the embedding are converted at a time.
const VALUES: usize = 1 << 18;

/// Writes the model file of `source` to `output`, whole or not at all.
///
/// # Errors
/// An output that exists or cannot be written, a source that cannot be read or has values that are
/// not finite.
pub fn write_model(source: &dyn Source, output: &Path, options: &Options) -> Result<Summary> {
    pool::run(options.threads, || write_here(source, output, options))
}

/// The same on the threads of the pool that calls it.
pub(crate) fn write_here(source: &dyn Source, output: &Path, options: &Options) -> Result<Summary> {
    let file = AtomicFile::create(output, options.force)?;
    Writer::new(source, file, options)?.run(output)
}

/// A file in the making.
struct Writer<'a> {
    source: &'a dyn Source,
    options: &'a Options,
    file: AtomicFile,
    plan: Plan,
    /// Bytes of the header: where the data begin.
    header_len: u64,
    progress: Progress,
    zeros: Vec<AtomicU64>,
}

impl<'a> Writer<'a> {
    fn new(source: &'a dyn Source, file: AtomicFile, options: &'a Options) -> Result<Writer<'a>> {
        let config = source.config();
        let specs = config.tensors();
        let embedding = specs.first().map_or("", |spec| &spec.name);
        let embedding = options.embed.resolve(source.embedding_type(embedding));
        let plan = Plan::new(source, options.pack.resolve(config), embedding)?;
        let header_len = plan.header.to_bytes().len() as u64;
        let total = specs.iter().map(count).sum();
        let title = format!("packing {} tensors", specs.len());
        let progress = Progress::start(options.report, &title, total);
        let zeros = plan.parts.iter().map(|_| AtomicU64::new(0)).collect();
        Ok(Writer { source, options, file, plan, header_len, progress, zeros })
    }

    fn run(mut self, output: &Path) -> Result<Summary> {
        let start = Instant::now();
        let parts: Vec<usize> = (0..self.plan.parts.len()).collect();
        for group in parts.chunks(TENSORS) {
            let done: Vec<Result<()>> = group.par_iter().map(|&i| self.write_part(i)).collect();
            // In the order of the tensors: the same input gives the same error.
            done.into_iter().collect::<Result<()>>()?;
        }
        self.progress.message("checksums");
        let (digests, model_hash) = self.digests()?;
        self.plan.set_digests(&digests, &model_hash)?;
        let header = self.plan.header.to_bytes();
        self.write_at(0, &header)?;
        let mut summary = self.summary(output, model_hash);
        self.progress.message("syncing");
        let Writer { file, progress, .. } = self;
        file.commit()?;
        drop(progress);
        summary.set_time(start.elapsed());
        Ok(summary)
    }

    fn write_part(&self, part: usize) -> Result<()> {
        match &self.plan.parts[part] {
            Part::Matrix { spec, offset, scale_offset } => {
                self.write_matrix(spec, *offset, *scale_offset, &self.zeros[part])
            }
            Part::Floats { spec, offset } => self.write_floats(spec, *offset),
            Part::Embedding { spec, offset, scale_offset } => {
                self.write_embedding(spec, *offset, *scale_offset)
            }
            Part::Tokenizer { offset } => {
                self.write(*offset, self.source.tokenizer().unwrap_or_default())
            }
        }
    }

    fn write_matrix(
        &self,
        spec: &TensorSpec,
        offset: u64,
        scale_offset: u64,
        zeros: &AtomicU64,
    ) -> Result<()> {
        self.options.check_cancelled()?;
        let (rows, cols) = (spec.shape[0], spec.shape[1]);
        let packing = self.plan.packing;
        let matrix = self.source.matrix(spec)?;
        self.write(scale_offset, &matrix.scale().to_le_bytes())?;
        let strips = packing.strips_per_block();
        let block_rows = strips * STRIP;
        (0..rows.div_ceil(block_rows)).into_par_iter().try_for_each(|block| {
            let first = block * block_rows;
            let mut trits = vec![0; block_rows.min(rows - first) * cols];
            for (i, row) in trits.chunks_exact_mut(cols).enumerate() {
                matrix.row(first + i, row);
            }
            zeros.fetch_add(trits.iter().filter(|&&t| t == 0).count() as u64, Ordering::Relaxed);
            let mut result = Ok(());
            packing.pack(rows, cols, block * strips, &trits, &mut |at, piece| {
                if result.is_ok() {
                    result = self.write(offset + at as u64, piece);
                }
            });
            self.progress.add(trits.len() as u64);
            result
        })
    }

    fn write_floats(&self, spec: &TensorSpec, offset: u64) -> Result<()> {
        let total = count(spec) as usize;
        let mut values = vec![0.0; total.min(VALUES)];
        for first in (0..total).step_by(VALUES) {
            let values = &mut values[..VALUES.min(total - first)];
            self.source.floats(spec, first, values)?;
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            self.write(offset + 4 * first as u64, &bytes)?;
            self.progress.add(values.len() as u64);
        }
        Ok(())
    }

    fn write_embedding(&self, spec: &TensorSpec, offset: u64, scale_offset: u64) -> Result<()> {
        let (rows, cols) = (spec.shape[0], spec.shape[1]);
        let block_rows = (VALUES / cols).max(1);
        let blocks: Vec<usize> = (0..rows).step_by(block_rows).collect();
        let write_block = |&first: &usize| {
            let count = block_rows.min(rows - first);
            let at = (first * cols * self.plan.embedding.size()) as u64;
            if self.plan.embedding == EmbeddingType::Int8
                && let Some((ints, scales)) = self.source.int8_rows(first, count)
            {
                let scales: Vec<u8> = scales.iter().flat_map(|v| v.to_le_bytes()).collect();
                self.write(scale_offset + 4 * first as u64, &scales)?;
                self.progress.add(ints.len() as u64);
                return self.write(offset + at, &ints);
            }
            let mut values = vec![0.0; count * cols];
            self.source.floats(spec, first * cols, &mut values)?;
            let mut bytes = Vec::with_capacity(values.len() * self.plan.embedding.size());
            match self.plan.embedding {
                EmbeddingType::Float(float) => encode(&values, float, &mut bytes).map_err(|at| {
                    Error::Option(format!(
                        "tensor {}: the value {} at [{}, {}] is too large for {}; another --embed has room for it",
                        spec.name,
                        values[at],
                        first + at / cols,
                        at % cols,
                        self.plan.embedding.name(),
                    ))
                })?,
                EmbeddingType::Int8 => {
                    let scales: Vec<u8> = values
                        .chunks_exact(cols)
                        .flat_map(|row| quantise_row(row, &mut bytes).to_le_bytes())
                        .collect();
                    self.write(scale_offset + 4 * first as u64, &scales)?;
                }
            }
            self.progress.add(values.len() as u64);
            self.write(offset + at, &bytes)
        };
        let done: Vec<Result<()>> = blocks.par_iter().map(write_block).collect();
        done.into_iter().collect()
    }

    /// Writes data, at an offset that counts from the end of the header.
    fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.options.check_cancelled()?;
        self.write_at(self.header_len + offset, bytes)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let written = self.file.get().write_all_at(bytes, offset).map_err(or_lost_mapping(bytes));
        written.map_err(self.file.error())?;
        Ok(())
    }

    /// Reads back what was written, as any reader would: the digest of each tensor, and of the
    /// model.
    fn digests(&self) -> Result<(Vec<String>, String)> {
        self.write_at(0, &self.plan.header.to_bytes())?;
        let file = ModelFile::open(self.file.temp_path())?;
        let digest = |(start, end): (u64, u64)| {
            self.options.check_cancelled()?;
            let data = &file.bytes()[self.header_len as usize..];
            Ok(hash::sha256(&data[start as usize..end as usize]))
        };
        let entries = self.plan.header.entries();
        let digests: Result<Vec<String>> =
            entries.par_iter().map(|(_, entry)| digest(entry.data_offsets)).collect();
        let digests = digests?;
        self.options.check_cancelled()?;
        Ok((digests, hash::model_hash(&file)))
    }

    fn summary(&self, output: &Path, hash: String) -> Summary {
        let mut sizes = Sizes { header: self.header_len, ..Sizes::default() };
        sizes.file = self.header_len + self.plan.header.data_len();
        let (mut parameters, mut ternary, mut zeros) = (0, 0, 0);
        let mut zeros_by_matrix = BTreeMap::new();
        let mut tensors = 0;
        for (part, zero_count) in self.plan.parts.iter().zip(&self.zeros) {
            let zero_count = zero_count.load(Ordering::Relaxed);
            match part {
                Part::Matrix { spec, .. } => {
                    let len =
                        self.plan.packing.packed_len(spec.shape[0], spec.shape[1]).unwrap_or(0);
                    sizes.packed += len as u64;
                    sizes.floats += 4;
                    ternary += count(spec);
                    zeros += zero_count;
                    let share = zero_count as f64 / count(spec) as f64;
                    zeros_by_matrix.insert(spec.name.clone(), share);
                }
                Part::Floats { spec, .. } => sizes.floats += 4 * count(spec),
                Part::Embedding { spec, .. } => {
                    sizes.embedding += count(spec) * self.plan.embedding.size() as u64;
                    if self.plan.embedding == EmbeddingType::Int8 {
                        sizes.embedding += 4 * spec.shape[0] as u64;
                    }
                }
                Part::Tokenizer { .. } => {
                    sizes.tokenizer = self.source.tokenizer().map_or(0, |t| t.len() as u64);
                    continue;
                }
            }
            if let Part::Matrix { spec, .. }
            | Part::Floats { spec, .. }
            | Part::Embedding { spec, .. } = part
            {
                tensors += 1;
                parameters += count(spec);
            }
        }
        Summary {
            output: output.to_owned(),
            packing: self.plan.packing.name(),
            embedding: self.plan.embedding.name(),
            tensors,
            matrices: zeros_by_matrix.len(),
            parameters,
            ternary_parameters: ternary,
            bits_per_weight: 8.0 * sizes.packed as f64 / ternary as f64,
            zeros: zeros as f64 / ternary as f64,
            zeros_by_matrix,
            sizes,
            hash,
            seconds: 0.0,
            notes: Vec::new(),
        }
    }
}
