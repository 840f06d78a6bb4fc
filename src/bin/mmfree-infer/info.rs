//! `mmfree-infer info`: a model on this machine.

use std::collections::BTreeMap;
use std::fmt;

use mmfree::error::Line;
use mmfree::format::{Config, Embedding, FloatType};
use mmfree::kernels::Isa;
use mmfree::storage::Allowance;
use mmfree::{GenerationConfig, SamplerOptions};
use serde::Serialize;

use crate::args::InfoArgs;
use crate::failure::Failure;
use crate::open::Opened;
use crate::report::{self, bytes};

/// Rows that a prompt's chunk takes of the buffers.
const CHUNK: usize = 64;

pub fn run(args: &InfoArgs) -> Result<(), Failure> {
    let opened = Opened::new(&args.model)?;
    let info = Info::new(&opened);
    if args.json { report::print_json(&info) } else { report::print(&info.to_string()) }
}

#[derive(Serialize)]
struct Info {
    file: String,
    architecture: &'static str,
    config: Config,
    hash: String,
    /// Parameters of the packed matrices.
    ternary_parameters: u64,
    packings: BTreeMap<&'static str, Packed>,
    bits_per_weight: f64,
    embedding_type: &'static str,
    tokenizer: bool,
    /// Why it cannot be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    tokenizer_fault: Option<String>,
    /// How a text is sampled unless told otherwise, in words.
    sampling_default: String,
    /// The same as numbers; its seed means nothing.
    sampling: SamplerOptions,
    /// New tokens at most, and tokens of prompt and text, unless told otherwise.
    max_new_tokens: Option<usize>,
    max_length: Option<usize>,
    /// What the checkpoint's generation config states and has no effect here.
    generation_not_applied: Vec<String>,
    isa: &'static str,
    isas_available: Vec<&'static str>,
    threads: usize,
    /// Where the model runs, and the GPUs that there are, or why none.
    device: String,
    gpus: Vec<String>,
    /// Bytes of the file, mapped and shared between processes.
    file_bytes: u64,
    /// Of them, those that every token reads; the rest is the embedding, of which it reads a row,
    /// and the tokenizer.
    weight_bytes: u64,
    /// Bytes of this process's own memory that re-packed matrices take, in place of the file's.
    repacked_bytes: u64,
    /// Memory that this process may use, and whose limit that is; absent where the system does not
    /// say.
    #[serde(skip_serializing_if = "Option::is_none")]
    allowance: Option<Allowance>,
    /// Bytes that each token reads from the disk, as there is no room for the weights.
    disk_bytes_per_token: u64,
    /// Bytes of one sequence's state, whatever its length.
    state_bytes: u64,
    /// Bytes of the buffers of a forward pass over a chunk of a prompt, about.
    buffer_bytes: u64,
}

/// The matrices in one packing.
#[derive(Default, Serialize)]
struct Packed {
    matrices: usize,
    bytes: u64,
    /// The packing in which they are read: another one where they are re-packed in memory.
    in_use: &'static str,
    /// The kernel that decodes one sequence.
    kernel: &'static str,
    /// The kernel for prompts and batches.
    batch_kernel: &'static str,
    /// `add`: no multiply instruction; `dot`: int8 dot products.
    family: &'static str,
}

impl Info {
    fn new(opened: &Opened) -> Info {
        let (model, file) = (&opened.model, opened.model.file());
        let config = file.config().clone();
        let mut packings: BTreeMap<&'static str, Packed> = BTreeMap::new();
        let (mut ternary_parameters, mut packed_bytes) = (0, 0);
        for (matrix, _) in file.matrices().filter_map(|name| file.matrix(name)) {
            let in_use = model.packing_in_use(matrix.packing());
            let kernel = model.kernel(in_use);
            let packed = packings.entry(matrix.packing().name()).or_default();
            packed.in_use = in_use.name();
            (packed.kernel, packed.family) = (kernel.name(), kernel.family().name());
            packed.batch_kernel = model.kernel_for(in_use, CHUNK).name();
            packed.matrices += 1;
            packed.bytes += matrix.bytes().len() as u64;
            packed_bytes += matrix.bytes().len() as u64;
            ternary_parameters += matrix.rows() as u64 * matrix.cols() as u64;
        }
        let embedding_type = match file.embedding() {
            Embedding::Float { float: FloatType::F32, .. } => "f32",
            Embedding::Float { float: FloatType::F16, .. } => "f16",
            Embedding::Float { float: FloatType::BF16, .. } => "bf16",
            Embedding::Int8 { .. } => "i8",
        };
        let floats: usize = config
            .tensors()
            .iter()
            .filter_map(|spec| file.floats_span(&spec.name))
            .map(|span| span.len())
            .sum();
        let (defaults, faults) = GenerationConfig::from_file_lenient(file);
        let fault = faults.iter().find(|fault| !defaults.leaves_unused(fault));
        let (sampling, limits) = (defaults.defaults(), defaults.limits());
        let sampling_default = match fault {
            Some(fault) => format!("cannot be used: generation_config.json: {fault}"),
            None => sampling.to_string(),
        };
        Info {
            file: file.path().display().to_string(),
            architecture: mmfree::format::ARCHITECTURE,
            hash: file.hash().to_owned(),
            ternary_parameters,
            packings,
            bits_per_weight: 8.0 * packed_bytes as f64 / ternary_parameters as f64,
            embedding_type,
            tokenizer: file.tokenizer_json().is_some(),
            tokenizer_fault: opened.try_tokenizer().err().map(str::to_owned),
            sampling_default,
            sampling,
            max_new_tokens: limits.max_tokens,
            max_length: limits.max_length,
            generation_not_applied: defaults.not_applied,
            isa: model.isa().name(),
            isas_available: Isa::available().iter().map(|isa| isa.name()).collect(),
            threads: model.threads(),
            device: model.device().to_string(),
            gpus: gpus(),
            file_bytes: file.bytes().len() as u64,
            weight_bytes: packed_bytes + floats as u64,
            repacked_bytes: model.repacked_bytes(),
            disk_bytes_per_token: model.plan().map_or(0, |plan| plan.read_again()),
            allowance: model.allowance().cloned(),
            state_bytes: 4 * config.state_len() as u64,
            buffer_bytes: model.buffer_bytes(CHUNK),
            config,
        }
    }
}

impl fmt::Display for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = &self.config;
        writeln!(f, "model       {}", self.file)?;
        writeln!(
            f,
            "            {}, {:.1} M ternary parameters at {:.2} bits",
            self.architecture,
            self.ternary_parameters as f64 / 1e6,
            self.bits_per_weight
        )?;
        writeln!(
            f,
            "sizes       vocabulary {}, hidden {}, layers {}, state {}, intermediate {}, heads {}",
            config.vocab_size,
            config.hidden_size,
            config.num_layers,
            config.state_size,
            config.intermediate_size,
            config.num_heads
        )?;
        let conv = match config.short_conv {
            None => "no short convolution".to_owned(),
            Some(conv) if conv.shared => format!("shared convolution of {}", conv.size),
            Some(conv) => format!("separate convolutions of {}", conv.size),
        };
        let bounds = if config.lower_bounds { "lower bounds" } else { "no lower bounds" };
        let tied = if config.tie_word_embeddings { "tied" } else { "not tied" };
        writeln!(f, "            {bounds}, {conv}, head {tied} to the embedding")?;
        let tokenizer = match &self.tokenizer_fault {
            Some(fault) => &format!("cannot be used, so it runs from --ids: {fault}"),
            None if self.tokenizer => "in the file",
            None => "none: runs from --ids",
        };
        writeln!(f, "tokenizer   {tokenizer}")?;
        writeln!(f, "sampling    {}", self.sampling_default)?;
        if let Some(count) = self.max_new_tokens {
            writeln!(f, "            {count} new tokens at most")?;
        }
        if let Some(length) = self.max_length {
            writeln!(f, "            {length} tokens of prompt and text at most")?;
        }
        if !self.generation_not_applied.is_empty() {
            let keys = self.generation_not_applied.join(", ");
            writeln!(f, "            without effect here: {}", Line(&keys))?;
        }
        writeln!(f, "hash        {}", self.hash)?;
        writeln!(
            f,
            "runs on     {} (there is: {}), {} thread{}",
            self.isa,
            self.isas_available.join(", "),
            self.threads,
            if self.threads == 1 { "" } else { "s" }
        )?;
        writeln!(f, "device      {} (GPUs: {})", self.device, self.gpus.join("; "))?;
        for (name, packed) in &self.packings {
            writeln!(
                f,
                "packing     {name}: {} matrices, {}{}, kernel {} ({}), for prompts {}",
                packed.matrices,
                bytes(packed.bytes),
                match packed.in_use {
                    same if same == *name => String::new(),
                    other => format!(", run as {other}"),
                },
                packed.kernel,
                packed.family,
                packed.batch_kernel
            )?;
        }
        writeln!(
            f,
            "memory      {} mapped, {} of it read for every token ({} embedding)",
            bytes(self.file_bytes),
            bytes(self.weight_bytes),
            self.embedding_type
        )?;
        writeln!(
            f,
            "            {} state for each sequence, about {} of buffers",
            bytes(self.state_bytes),
            bytes(self.buffer_bytes)
        )?;
        if self.repacked_bytes > 0 {
            let count = bytes(self.repacked_bytes);
            writeln!(
                f,
                "            {count} of its own for re-packed matrices, faster here (--repack never: none)"
            )?;
        }
        let Some(allowance) = &self.allowance else { return Ok(()) };
        let room = match self.disk_bytes_per_token {
            0 => "the weights fit".to_owned(),
            count => format!("so each token reads {} from the disk again", bytes(count)),
        };
        writeln!(f, "            this process may use {allowance}: {room}")
    }
}

/// A line for each GPU, or one that says why there is none.
#[cfg(feature = "cuda")]
fn gpus() -> Vec<String> {
    match mmfree::cuda::devices() {
        Err(error) => vec![error.to_string()],
        Ok(devices) => devices
            .iter()
            .map(|gpu| {
                let gib = gpu.memory as f64 / f64::from(1 << 30);
                format!("cuda:{} {}, {gib:.1} GiB", gpu.number, gpu.name)
            })
            .collect(),
    }
}

#[cfg(not(feature = "cuda"))]
fn gpus() -> Vec<String> {
    vec!["built without the feature `cuda`".to_owned()]
}
