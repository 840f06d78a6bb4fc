//! A checkpoint folder as the Hub has it: `config.json`, weights, tokenizer.

mod files;
mod names;
mod opcodes;
pub(crate) mod pickle;
pub(crate) mod safetensors;
mod tensors;
pub(crate) mod unpickle;
mod weights;
mod zip;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mmfree::format::{FileKind, FloatType, TensorSpec, standard_json};
use mmfree::storage::Mapping;
use mmfree::{Config, Error, GenerationConfig, Tokenizer, TokenizerFiles};

use crate::config;
use crate::embedding::EmbeddingType;
use crate::error::Result;
use crate::floats::Values;
use crate::json::{self, Object};
use crate::plan::scale_name;
use crate::source::{Int8Rows, Source, TritMatrix};
use crate::ternary::{Ternarised, not_finite};
use crate::text::clip;
use crate::unpacked::Unpacked;
#[cfg(feature = "hub")]
pub(crate) use files::KINDS;
use weights::{Stored, Weights};

pub(crate) const CONFIG: &str = "config.json";
const GENERATION: &str = "generation_config.json";
pub(crate) const TOKENIZER: &str = "tokenizer.json";

/// Files of tokenizers of which Transformers makes a `tokenizer.json`: SentencePiece's, and a BPE's
/// or WordPiece's vocabulary.
pub(crate) const TOKENIZERS: [&str; 4] =
    ["tokenizer.model", "spiece.model", "vocab.json", "vocab.txt"];

/// The small files that a model file carries along, where the checkpoint has them.
pub(crate) const FILES: [&str; 6] = [
    CONFIG,
    GENERATION,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
];

pub(crate) const EMBEDDING: &str = "model.embeddings.weight";
const HEAD: &str = "lm_head.weight";

/// An open checkpoint: everything but the values of its weights has been checked.
#[derive(Debug)]
pub struct Checkpoint {
    folder: PathBuf,
    config: Config,
    files: BTreeMap<String, String>,
    tokenizer: Option<Mapping>,
    weights: Weights,
    /// What it says of the model file that it was unpacked from, if any.
    unpacked: Option<Unpacked>,
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
                if name.ends_with(".json") {
                    json::check(standard_json(&text).as_bytes())
                        .map_err(|e| Error::invalid(&path, e))?;
                } else if let Some(kind) = no_template(&text) {
                    return Err(Error::invalid(&path, json::mistaken(&kind, "a template")).into());
                }
                files.insert(name.to_owned(), text);
            }
        }
        if !files.contains_key(CONFIG) {
            let adapter = files::ADAPTERS.iter().any(|name| folder.join(name).exists());
            let reason = match adapter {
                true => format!("is a PEFT adapter, no checkpoint: {}", names::MERGE),
                false => "is no checkpoint: it has no config.json".to_owned(),
            };
            return Err(Error::invalid(folder, reason).into());
        }
        // The config first: it says most about what kind of folder this is.
        let (mut config, mut notes) = parse_config(folder, &files)?;
        let mut tokenizer_notes = Vec::new();
        let tokenizer = open_tokenizer(folder, &files, &config, &mut tokenizer_notes)?;
        let weights = files::open(folder)?;
        let unpacked = match weights.first_file() {
            Some((path, bytes)) => Unpacked::read(bytes).map_err(|e| Error::invalid(path, e))?,
            None => None,
        };
        if let Some(unpacked) = &unpacked {
            files.insert(CONFIG.to_owned(), unpacked.config.clone());
            (config, notes) = parse_config(folder, &files)?;
        }
        notes.extend(tokenizer_notes);
        notes.extend_from_slice(weights.notes());
        let folder = folder.to_owned();
        let mut checkpoint =
            Checkpoint { folder, config, files, tokenizer, weights, unpacked, notes };
        checkpoint.settle_names()?;
        let left_out = checkpoint.check_tensors(&checkpoint.folder)?;
        checkpoint.notes.extend(left_out);
        Ok(checkpoint)
    }

    /// What a user should know: keys of the configuration that nobody knows, tensors that were left
    /// out, a tokenizer that does not fit.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Bytes of the weights' files.
    pub fn size(&self) -> u64 {
        self.weights.size()
    }

    /// Whether `path` is a file of the checkpoint, under whatever name: replacing it would destroy
    /// that.
    pub fn reads_from(&self, path: &Path) -> bool {
        let Ok(path) = std::fs::canonicalize(path) else { return false };
        let small = FILES.into_iter().chain([TOKENIZER]).chain(files::names());
        let inputs = small.map(|name| self.folder.join(name));
        inputs
            .chain(self.weights.paths().map(Path::to_owned))
            .any(|input| std::fs::canonicalize(input).is_ok_and(|input| input == path))
    }

    fn stored(&self, name: &str) -> Result<&Stored> {
        let stored = self.weights.get(self.stored_name(name));
        // Opening found every tensor; this cannot be reached by an input.
        stored.ok_or_else(|| crate::Error::Option(format!("tensor {name}: missing")))
    }
}

/// What a text is in place of a chat template, where that is known. An answer of a server has nothing to fill in.
fn no_template(text: &str) -> Option<FileKind> {
    FileKind::of(text.as_bytes()).filter(|kind| match kind {
        FileKind::Answer(_) => !text.contains(['{', '}']),
        _ => true,
    })
}

/// The configuration in `config.json`, with what the generation config adds; notes on its keys.
fn parse_config(
    folder: &Path,
    files: &BTreeMap<String, String>,
) -> mmfree::Result<(Config, Vec<String>)> {
    let parse = |name: &str| match files.get(name) {
        Some(text) => {
            Object::parse(text).map(Some).map_err(|e| Error::invalid(&folder.join(name), e))
        }
        None => Ok(None),
    };
    let raw = parse(CONFIG)?.unwrap_or_default();
    let generation = parse(GENERATION)?.unwrap_or_default();
    let tokens = config::check_tokens(&generation, &raw);
    // What is wrong with config.json comes first: it may be another kind of model.
    let invalid = |reason| Error::invalid(&folder.join(CONFIG), reason);
    let config = config::parse(&raw, tokens.is_ok().then_some(&generation)).map_err(invalid)?;
    let mut notes = config::check_keys(&raw, &config).map_err(invalid)?;
    let of_generation = check_generation(tokens, files.get(GENERATION))
        .map_err(|e| Error::invalid(&folder.join(GENERATION), e))?;
    notes.extend(of_generation);
    Ok((config, notes))
}

/// Keys of a generation config that a note names at most.
const NAMED: usize = 20;

/// Finds values that the runtime cannot use, now and not when someone runs the model; gives notes
/// on those that it needs only if it is told to sample, and on what it does not apply.
fn check_generation(
    tokens: Result<(), String>,
    text: Option<&String>,
) -> Result<Vec<String>, String> {
    tokens?;
    let text = text.map_or("{}", String::as_str);
    let (config, faults) = GenerationConfig::parse(text, Vec::new());
    if let Some(fault) = faults.iter().find(|fault| !config.leaves_unused(fault)) {
        return Err(fault.to_string());
    }
    let mut notes = Vec::new();
    if !faults.is_empty() {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        let faults = faults.join("; ");
        notes.push(format!("{GENERATION}: {faults}: not used, as do_sample is not true"));
    }
    if !config.not_applied.is_empty() {
        let names = config.not_applied.iter().take(NAMED).map(|name| clip(name));
        let names = names.collect::<Vec<_>>().join(", ");
        let more = match config.not_applied.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        notes.push(format!(
            "{GENERATION}: without effect here, though Transformers' text depends on it: {names}{more}"
        ));
    }
    Ok(notes)
}

/// Maps the tokenizer, if there is one that can be used; notes what a user should know.
fn open_tokenizer(
    folder: &Path,
    files: &BTreeMap<String, String>,
    config: &Config,
    notes: &mut Vec<String>,
) -> Result<Option<Mapping>> {
    let path = &folder.join(TOKENIZER);
    if !json::is_there(path)? {
        let mut note = format!("the checkpoint has no {TOKENIZER}: the model runs from ids");
        let other = TOKENIZERS.iter().find(|name| path.with_file_name(name).exists());
        if let Some(other) = other {
            note += &format!(
                "; Transformers make one of its {other}: \
                 AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
            );
        }
        notes.push(note);
        return Ok(None);
    }
    let map = Mapping::open(path)?;
    json::check(&map).map_err(|e| Error::invalid(path, e))?;
    let unusable = |error| {
        let reason = match error {
            Error::Tokenizer { reason } => clip(&reason),
            other => other.to_string(),
        };
        Error::invalid(path, format!("is no tokenizer that can be used: {reason}"))
    };
    let texts = TokenizerFiles::new(&map, |name| files.get(name).map(String::as_str));
    let (tokenizer, found) =
        Tokenizer::from_files(&texts, config.vocab_size, config.bos_token_id).map_err(unusable)?;
    tokenizer.check_growth().map_err(unusable)?;
    for note in found {
        if note.refused {
            return Err(Error::invalid(&folder.join(note.file), note.reason).into());
        }
        notes.push(note.to_string());
    }
    if let Some(id) = tokenizer.max_id().filter(|&id| id as usize >= config.vocab_size) {
        notes.push(format!(
            "{TOKENIZER} has tokens up to id {id}, but the model's ids are 0 to {}: text with those \
             above cannot be fed",
            config.vocab_size - 1
        ));
    }
    Ok(Some(map))
}

impl Source for Checkpoint {
    fn config(&self) -> &Config {
        &self.config
    }

    fn float_type(&self, tensor: &str) -> FloatType {
        let once = self.unpacked.as_ref().and_then(|unpacked| unpacked.types.get(tensor));
        once.copied().unwrap_or_else(|| self.stored_type(tensor))
    }

    fn embedding_type(&self, tensor: &str) -> EmbeddingType {
        match self.embedding_scales() {
            Some(_) => EmbeddingType::Int8,
            None => EmbeddingType::Float(self.stored_type(tensor)),
        }
    }

    /// Those of an unpacked int8 embedding, whose values are integers times scales.
    fn int8_rows(&self, first: usize, count: usize) -> Option<Int8Rows<'_>> {
        let mut scales = vec![0.0; count];
        self.embedding_scales()?.decode(first, &mut scales);
        let stored = self.weights.get(EMBEDDING)?;
        let (width, mut ints) = (self.config.hidden_size, Vec::new());
        let mut row = vec![0.0; width];
        let values = self.weights.values(stored, self.stored_type(EMBEDDING));
        for (row_index, &scale) in (first..).zip(&scales) {
            values.decode(row_index * width, &mut row);
            for &value in &row {
                // 0 / 0 is no number, and becomes 0.
                let int = (value / scale).round_ties_even().clamp(-128.0, 127.0) as i8;
                if f32::from(int) * scale != value {
                    return None;
                }
                ints.push(int as u8);
            }
        }
        Some((ints.into(), scales.into()))
    }

    fn files(&self) -> &BTreeMap<String, String> {
        &self.files
    }

    fn tokenizer(&self) -> Option<&[u8]> {
        self.tokenizer.as_deref()
    }

    fn matrix(&self, spec: &TensorSpec) -> Result<Box<dyn TritMatrix + '_>> {
        let stored = self.stored(&spec.name)?;
        self.weights.check(stored).map_err(|e| self.bad(stored, spec, e))?;
        let (rows, cols) = (spec.shape[0], spec.shape[1]);
        let values = self.weights.values(stored, self.stored_type(&spec.name));
        let mut matrix =
            Ternarised::measure(values, rows, cols).map_err(|e| self.bad(stored, spec, e))?;
        if let Some(unpacked) = &self.unpacked {
            let scale = unpacked.scale(&spec.name, matrix.scale());
            matrix.set_scale(scale.map_err(|e| self.bad(stored, spec, e))?);
        }
        Ok(Box::new(matrix))
    }

    fn floats(&self, spec: &TensorSpec, first: usize, out: &mut [f32]) -> Result<()> {
        let stored = self.stored(&spec.name)?;
        self.weights.check(stored).map_err(|e| self.bad(stored, spec, e))?;
        self.weights.values(stored, self.stored_type(&spec.name)).decode(first, out);
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
    /// A head tied to the embedding has no tensor of its own, or one that is not used; once unpacked
    /// it has one that is.
    fn stored_name<'a>(&self, name: &'a str) -> &'a str {
        let tied = self.config.tie_word_embeddings && self.unpacked.is_none();
        if tied && name == HEAD { EMBEDDING } else { name }
    }

    /// The type in which a tensor lies here.
    fn stored_type(&self, tensor: &str) -> FloatType {
        let stored = self.weights.get(self.stored_name(tensor));
        stored.and_then(|stored| stored.float.as_ref().ok().copied()).unwrap_or(FloatType::F32)
    }

    /// The scales of the embedding's rows, if it was stored as int8 before it was unpacked.
    fn embedding_scales(&self) -> Option<Values<'_>> {
        self.unpacked.as_ref()?;
        let stored = self.weights.get(&scale_name(EMBEDDING))?;
        let fits = stored.shape == [self.config.vocab_size] && stored.float == Ok(FloatType::F32);
        fits.then(|| self.weights.values(stored, FloatType::F32))
    }

    fn bad(&self, stored: &Stored, spec: &TensorSpec, reason: String) -> crate::Error {
        let name = self.stored_name(&spec.name);
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
