//! A checkpoint folder as the Hub has it: `config.json`, weights, tokenizer.

mod files;
pub(crate) mod pickle;
pub(crate) mod safetensors;
pub(crate) mod unpickle;
mod weights;
mod zip;

use std::collections::BTreeMap;
use std::path::Path;

use mmfree::format::{FloatType, Mapping, TensorSpec};
use mmfree::{Config, Error};

use crate::config;
use crate::error::Result;
use crate::json::{self, Object};
use crate::source::{Source, TritMatrix};
use crate::ternary::{Ternarised, not_finite};
use crate::text::clip;
use weights::{Stored, Weights};

const CONFIG: &str = "config.json";
const GENERATION: &str = "generation_config.json";

/// The small files that a model file carries along, where the checkpoint has them.
pub(crate) const FILES: [&str; 4] =
    [CONFIG, GENERATION, "tokenizer_config.json", "special_tokens_map.json"];

const EMBEDDING: &str = "model.embeddings.weight";
const HEAD: &str = "lm_head.weight";

/// An open checkpoint: everything but the values of its weights has been checked.
#[derive(Debug)]
pub struct Checkpoint {
    config: Config,
    files: BTreeMap<String, String>,
    tokenizer: Option<Mapping>,
    weights: Weights,
    notes: Vec<String>,
}

impl Checkpoint {
    /// Opens the checkpoint in `folder`. Reads its small files and the headers of its weights.
    ///
    /// # Errors
    /// A folder that is none or has no checkpoint, another architecture, files that are missing or
    /// damaged, tensors that are missing or have another shape or type than the configuration calls
    /// for.
    pub fn open(folder: &Path) -> Result<Checkpoint> {
        let meta = std::fs::metadata(folder).map_err(Error::io("cannot open", folder))?;
        if !meta.is_dir() {
            return Err(
                Error::invalid(folder, "is a file, where a checkpoint folder is needed").into()
            );
        }
        let mut files = BTreeMap::new();
        for name in FILES {
            let path = folder.join(name);
            if let Some(text) = json::read_text(&path)? {
                json::check(text.as_bytes()).map_err(|e| Error::invalid(&path, e))?;
                files.insert(name.to_owned(), text);
            }
        }
        let parse = |name: &str| match files.get(name) {
            Some(text) => {
                Object::parse(text).map(Some).map_err(|e| Error::invalid(&folder.join(name), e))
            }
            None => Ok(None),
        };
        let raw = parse(CONFIG)?
            .ok_or_else(|| Error::invalid(folder, "is no checkpoint: it has no config.json"))?;
        let config = config::parse(&raw, parse(GENERATION)?.as_ref())
            .map_err(|e| Error::invalid(&folder.join(CONFIG), e))?;

        let tokenizer = open_tokenizer(&folder.join("tokenizer.json"))?;
        let weights = files::open(folder)?;
        let notes = check_tensors(folder, &config, &weights)?;
        Ok(Checkpoint { config, files, tokenizer, weights, notes })
    }

    /// What a user should know: tensors that were left out.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Bytes of the weights' files.
    pub fn size(&self) -> u64 {
        self.weights.size()
    }

    /// Whether the folder's weights are in `path`: replacing it would destroy them.
    pub fn reads_from(&self, path: &Path) -> bool {
        self.weights.paths().any(|input| {
            std::fs::canonicalize(input)
                .is_ok_and(|a| std::fs::canonicalize(path).is_ok_and(|b| a == b))
        })
    }

    fn stored(&self, name: &str) -> Result<&Stored> {
        let stored = self.weights.get(stored_name(&self.config, name));
        // Opening found every tensor; this cannot be reached by an input.
        stored.ok_or_else(|| crate::Error::Option(format!("tensor {name}: missing")))
    }
}

/// A head tied to the embedding has no tensor of its own, or one that is not used.
fn stored_name<'a>(config: &Config, name: &'a str) -> &'a str {
    if config.tie_word_embeddings && name == HEAD { EMBEDDING } else { name }
}

fn open_tokenizer(path: &Path) -> Result<Option<Mapping>> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        _ => {}
    }
    let map = Mapping::open(path)?;
    json::check(&map).map_err(|e| Error::invalid(path, e))?;
    Ok(Some(map))
}

/// Holds the tensors against the configuration; gives notes on those that have no place in the
/// model.
fn check_tensors(folder: &Path, config: &Config, weights: &Weights) -> Result<Vec<String>> {
    let missing = |name: &str| {
        let reason = format!("tensor {name}: missing, but {CONFIG} calls for it");
        Error::invalid(&weights.place(folder), reason)
    };
    // Before the list of tensors is made: a small folder must not ask for a long list.
    if config.num_layers > weights.names().count() {
        let reason = format!(
            "num_hidden_layers is {}, but the checkpoint has only {} tensors",
            config.num_layers,
            weights.names().count()
        );
        return Err(Error::invalid(&folder.join(CONFIG), reason).into());
    }
    let specs = config.tensors();
    let mut used = std::collections::HashSet::new();
    for spec in &specs {
        let name = stored_name(config, &spec.name);
        let stored = weights.get(name).ok_or_else(|| missing(name))?;
        let invalid = |reason: String| {
            Error::invalid(weights.path(stored), format!("tensor {name}: {reason}"))
        };
        if stored.shape != spec.shape {
            let reason =
                format!("has shape {:?}, but {CONFIG} calls for {:?}", stored.shape, spec.shape);
            return Err(invalid(reason).into());
        }
        if let Err(dtype) = &stored.float {
            return Err(invalid(format!("is {dtype}, must be F32, F16 or BF16")).into());
        }
        used.insert(name);
    }
    // Known to be of no use: a tied head's duplicate, and a convolution that the original never
    // calls.
    let expected = |name: &str| {
        config.tie_word_embeddings && name == HEAD
            || config.short_conv.is_some() && name.ends_with(".attn.q_conv1d.weight")
    };
    let extra: Vec<&str> =
        weights.names().filter(|name| !used.contains(name) && !expected(name)).collect();
    let Some(first) = extra.first() else { return Ok(Vec::new()) };
    Ok(vec![match extra.len() {
        1 => format!("tensor {} is no part of the model and was left out", clip(first)),
        n => {
            format!("{n} tensors are no part of the model and were left out: {}, ...", clip(first))
        }
    }])
}

impl Source for Checkpoint {
    fn config(&self) -> &Config {
        &self.config
    }

    fn float_type(&self, tensor: &str) -> FloatType {
        let stored = self.weights.get(stored_name(&self.config, tensor));
        stored.and_then(|stored| stored.float.as_ref().ok().copied()).unwrap_or(FloatType::F32)
    }

    fn files(&self) -> &BTreeMap<String, String> {
        &self.files
    }

    fn tokenizer(&self) -> Option<&[u8]> {
        self.tokenizer.as_deref()
    }

    fn matrix(&self, spec: &TensorSpec) -> Result<Box<dyn TritMatrix + '_>> {
        let stored = self.stored(&spec.name)?;
        let (rows, cols) = (spec.shape[0], spec.shape[1]);
        let values = self.weights.values(stored, self.float_type(&spec.name));
        let matrix =
            Ternarised::measure(values, rows, cols).map_err(|e| self.bad(stored, spec, e))?;
        Ok(Box::new(matrix))
    }

    fn floats(&self, spec: &TensorSpec, first: usize, out: &mut [f32]) -> Result<()> {
        let stored = self.stored(&spec.name)?;
        self.weights.values(stored, self.float_type(&spec.name)).decode(first, out);
        match out.iter().position(|v| !v.is_finite()) {
            Some(at) => {
                let place = spec.place(first + at);
                Err(self.bad(stored, spec, not_finite(out[at], &place)))
            }
            None => Ok(()),
        }
    }
}

impl Checkpoint {
    fn bad(&self, stored: &Stored, spec: &TensorSpec, reason: String) -> crate::Error {
        let name = stored_name(&self.config, &spec.name);
        Error::invalid(self.weights.path(stored), format!("tensor {name}: {reason}")).into()
    }
}

/// Where an element stands in a tensor.
trait Place {
    /// The index in each dimension of element number `at`, row-major.
    fn place(&self, at: usize) -> Vec<usize>;
}

impl Place for TensorSpec {
    fn place(&self, at: usize) -> Vec<usize> {
        let mut rest = at;
        let mut place: Vec<usize> = Vec::new();
        for &size in self.shape.iter().rev() {
            place.push(rest % size);
            rest /= size;
        }
        place.reverse();
        place
    }
}
