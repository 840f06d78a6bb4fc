//! A model file back to a checkpoint that the original code loads.
//!
//! A matrix becomes float32: zeros, and plus and minus `m / p` where `m` is the kept scale and `p`
//! the share of nonzeros. Its mean magnitude is then `m`, and the original quantiser finds the
//! same trits, each |W| / m being 1 / p or 0, and the same scale but for rounding. Exact scales,
//! the types that tensors once had and the config as it was stand in `__metadata__`, and the
//! converter takes them from there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use mmfree::Error;
use mmfree::format::{Embedding, Header, ModelFile, Role, TensorSpec, keys, replace_numbers};
use mmfree::packing::PackedMatrix;
use mmfree::storage::{Temporary, Unfinished, or_lost_mapping};
use rayon::prelude::*;
use serde_json::{Map, Value};

use crate::checkpoint::{CONFIG, EMBEDDING, FILES};
use crate::error::Result;
use crate::floats::{type_name, type_size};
use crate::options::Options;
use crate::plan::{count, scale_name};
use crate::pool;
use crate::progress::Progress;
use crate::unpacked;
use crate::verify;

/// Values of a matrix that are worked on at a time.
const VALUES: usize = 1 << 20;

/// What stands in front of a number that only Python has while it is a string, as JSON escapes it.
const MARK: &str = "\\u0000";

/// Writes the checkpoint of the model file at `input` to the folder `output`, whole or not at all.
///
/// # Errors
/// A file that is no model file, or a damaged one; a folder that exists or cannot be written.
pub fn unpack(input: &Path, output: &Path, options: &Options) -> Result<()> {
    let file = ModelFile::open(input)?;
    // An empty folder may be there already: renaming replaces it.
    let free = match std::fs::read_dir(output) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    };
    if !free {
        return Err(Error::invalid(output, "exists already; name another folder").into());
    }
    pool::run(options.threads, || {
        verify::check(&file)?.into_result()?;
        let mut folder = Folder::create(output)?;
        write_small_files(&file, &mut folder)?;
        write_weights(&file, &folder.file("model.safetensors"), options)?;
        folder.commit()
    })
}

/// A folder that appears under its name only once it is complete.
struct Folder {
    temp: tempfile::TempDir,
    path: PathBuf,
    parent: PathBuf,
    _held: File,
    /// The folder and its files, which go if the process ends by the loss of its input.
    temporary: Vec<Temporary>,
}

impl Folder {
    fn create(path: &Path) -> Result<Folder> {
        let name = path.file_name().ok_or_else(|| Error::invalid(path, "is no folder name"))?;
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let unfinished = Unfinished::of(name);
        unfinished.remove_left_behind(&parent);
        let mut builder = unfinished.builder();
        {
            use std::os::unix::fs::PermissionsExt;
            // As any new folder: the umask takes its part.
            builder.permissions(std::fs::Permissions::from_mode(0o777));
        }
        let temp = builder.tempdir_in(&parent).map_err(Error::io("cannot write in", &parent))?;
        // One that cannot be opened cannot be written either, which is found at once.
        let temporary = vec![Temporary::new(temp.path())];
        let held = File::open(temp.path()).map_err(Error::io("cannot open", temp.path()))?;
        Unfinished::hold(&held);
        Ok(Folder { temp, path: path.to_owned(), parent, _held: held, temporary })
    }

    /// The path of a file of that name in it.
    fn file(&mut self, name: &str) -> PathBuf {
        let path = self.temp.path().join(name);
        self.temporary.push(Temporary::new(&path));
        path
    }

    fn commit(self) -> Result<()> {
        let Folder { temp, path, parent, temporary, .. } = self;
        sync(temp.path())?;
        // Renaming never replaces a folder that has something in it.
        std::fs::rename(temp.path(), &path).map_err(Error::io("cannot write", &path))?;
        drop((temp.keep(), temporary));
        // The rename is on disk once the parent is; a file system that cannot sync folders has done
        // its best.
        let _ = sync(&parent);
        Ok(())
    }
}

fn sync(path: &Path) -> mmfree::Result<()> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(Error::io("cannot write", path))
}

fn write_file(path: &Path, bytes: &[u8]) -> mmfree::Result<()> {
    let write = || {
        let mut file = File::create_new(path)?;
        file.write_all(bytes).map_err(or_lost_mapping(bytes))?;
        file.sync_all()
    };
    write().map_err(Error::io("cannot write", path))
}

/// The tokenizer and the small files as they were; the config says what is new about the weights.
fn write_small_files(file: &ModelFile, folder: &mut Folder) -> Result<()> {
    for name in FILES {
        let Some(text) = file.checkpoint_file(name) else { continue };
        let text = if name == CONFIG { new_config(file, text)? } else { text.to_owned() };
        write_file(&folder.file(name), text.as_bytes())?;
    }
    if let Some(bytes) = file.tokenizer_json() {
        write_file(&folder.file("tokenizer.json"), bytes)?;
    }
    if file.checkpoint_file(CONFIG).is_none() {
        let reason = format!("carries no {CONFIG}, so that no checkpoint can be made of it");
        return Err(Error::invalid(file.path(), reason).into());
    }
    Ok(())
}

/// The head has trits of its own now, tied or not, and the weights are float32: casting them to
/// less would move the scales.
fn new_config(file: &ModelFile, text: &str) -> Result<String> {
    let invalid = |reason: String| Error::invalid(file.path(), format!("its {CONFIG}: {reason}"));
    // Numbers that only Python has come out as they are.
    let mut numbers = BTreeSet::new();
    let marked = replace_numbers(text, |number| {
        numbers.insert(number.to_owned());
        format!("\"{MARK}{number}\"")
    });
    let mut config: Map<String, Value> =
        serde_json::from_str(&marked).map_err(|e| invalid(crate::text::clip(&e.to_string())))?;
    if file.config().tie_word_embeddings {
        config.insert("tie_word_embeddings".into(), false.into());
    }
    for key in ["torch_dtype", "dtype"] {
        if let Some(value) = config.get_mut(key) {
            *value = "float32".into();
        }
    }
    // In the same order whether or not some other crate of the build has serde_json keep the file's.
    let mut config = Value::Object(config);
    config.sort_all_objects();
    let mut text = serde_json::to_string_pretty(&config).map_err(|e| invalid(e.to_string()))?;
    for number in numbers {
        text = text.replace(&format!("\"{MARK}{number}\""), &number);
    }
    Ok(text + "\n")
}

/// A tensor of the checkpoint and where its data go.
struct Place {
    spec: TensorSpec,
    offset: u64,
}

fn write_weights(file: &ModelFile, path: &Path, options: &Options) -> Result<()> {
    let (mut header, mut places, mut scales) = (Header::default(), Vec::new(), BTreeMap::new());
    for spec in file.config().tensors() {
        let (dtype, size) = match (spec.role, file.embedding()) {
            (Role::Embedding, Embedding::Float { float, .. }) => {
                (type_name(*float), type_size(*float))
            }
            _ => ("F32", 4),
        };
        let offset = header.push(&spec.name, dtype, &spec.shape, count(&spec) * size as u64);
        if let Some((_, scale)) = file.matrix(&spec.name) {
            scales.insert(spec.name.clone(), format!("{:08x}", scale.to_bits()));
        }
        places.push(Place { spec, offset });
    }
    let mut extra = None;
    if let Embedding::Int8 { scales, .. } = file.embedding() {
        let rows = file.config().vocab_size;
        let offset = header.push(&scale_name(EMBEDDING), "F32", &[rows], 4 * rows as u64);
        extra = Some((offset, &file.bytes()[scales.clone()]));
    }
    let json = |value: &BTreeMap<String, String>| serde_json::to_string(value).unwrap_or_default();
    // What torch's own readers ask for.
    header.set(keys::FORMAT, "pt");
    header.set(unpacked::VERSION, "1");
    header.set(unpacked::SCALES, json(&scales));
    header.set(keys::SOURCE_TYPES, file.metadata(keys::SOURCE_TYPES).unwrap_or("{}"));
    let config = format!("{}{CONFIG}", keys::FILE_PREFIX);
    header.set(&config, file.checkpoint_file(CONFIG).unwrap_or_default());

    let bytes = header.to_bytes();
    let start = bytes.len() as u64;
    let total = places.iter().map(|place| count(&place.spec)).sum();
    let title = format!("unpacking {} tensors", places.len());
    let out = File::create_new(path).map_err(Error::io("cannot write", path))?;
    let progress = Progress::start(options.report, &title, total);
    let writer = Writer { file, out, path, start, options, progress };
    writer.write_at(0, &bytes)?;
    for place in &places {
        writer.tensor(place)?;
    }
    if let Some((offset, scales)) = extra {
        writer.write_at(start + offset, scales)?;
    }
    writer.progress.message("syncing");
    writer.out.sync_all().map_err(Error::io("cannot write", path))?;
    Ok(())
}

struct Writer<'a> {
    file: &'a ModelFile,
    out: File,
    path: &'a Path,
    start: u64,
    options: &'a Options,
    progress: Progress,
}

impl Writer<'_> {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.options.check_cancelled()?;
        let written = self.out.write_all_at(bytes, offset).map_err(or_lost_mapping(bytes));
        written.map_err(Error::io("cannot write", self.path))?;
        Ok(())
    }

    fn tensor(&self, place: &Place) -> Result<()> {
        let (name, offset) = (&place.spec.name, self.start + place.offset);
        if let Some((matrix, scale)) = self.file.matrix(name) {
            let value = magnitude(&matrix, scale)
                .map_err(|e| Error::invalid(self.file.path(), format!("tensor {name}: {e}")))?;
            return self.matrix(&matrix, value, offset);
        }
        self.progress.add(count(&place.spec));
        if let Some(values) = self.file.floats(name) {
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            return self.write_at(offset, &bytes);
        }
        match self.file.embedding() {
            Embedding::Float { data, .. } => {
                self.write_at(offset, &self.file.bytes()[data.clone()])
            }
            Embedding::Int8 { .. } => self.int8_embedding(offset),
        }
    }

    fn int8_embedding(&self, offset: u64) -> Result<()> {
        let config = self.file.config();
        let mut row = vec![0.0; config.hidden_size];
        for token in 0..config.vocab_size {
            self.file.embedding_row(token, &mut row);
            let bytes: Vec<u8> = row.iter().flat_map(|v| v.to_le_bytes()).collect();
            self.write_at(offset + (token * bytes.len()) as u64, &bytes)?;
        }
        Ok(())
    }

    fn matrix(&self, matrix: &PackedMatrix<'_>, value: f32, offset: u64) -> Result<()> {
        let (rows, cols) = (matrix.rows(), matrix.cols());
        let block = (VALUES / cols).max(1);
        let starts: Vec<usize> = (0..rows).step_by(block).collect();
        starts.into_par_iter().try_for_each(|first| {
            let count = block.min(rows - first);
            let mut bytes = Vec::with_capacity(4 * count * cols);
            let mut trits = vec![0; cols];
            for row in first..first + count {
                matrix.unpack_row(row, &mut trits);
                // A zero trit becomes 0, not -0.
                let floats = trits.iter().map(|&t| if t == 0 { 0.0 } else { f32::from(t) * value });
                bytes.extend(floats.flat_map(f32::to_le_bytes));
            }
            self.progress.add((count * cols) as u64);
            self.write_at(offset + 4 * (first * cols) as u64, &bytes)
        })
    }
}

/// The magnitude that the weights of a matrix get, so that their quantiser finds this scale.
fn magnitude(matrix: &PackedMatrix<'_>, scale: f32) -> Result<f32, String> {
    let (rows, cols) = (matrix.rows(), matrix.cols());
    let nonzeros: u64 = (0..rows)
        .into_par_iter()
        .map_init(
            || vec![0; cols],
            |trits, row| {
                matrix.unpack_row(row, trits);
                trits.iter().filter(|&&trit| trit != 0).count() as u64
            },
        )
        .sum();
    if nonzeros == 0 {
        return Ok(0.0);
    }
    let share = nonzeros as f64 / (rows as f64 * cols as f64);
    let value = (f64::from(scale) / share) as f32;
    // Of the neighbours, the first that gives the very scale back; often there is one.
    let exact = [0i32, 1, -1, 2, -2, 3, -3].into_iter().find_map(|step| {
        let value = f32::from_bits(value.to_bits().wrapping_add_signed(step));
        let mean = (f64::from(value) * share) as f32;
        (1.0 / (1.0 / mean.max(crate::ternary::MIN_MEAN)) == scale).then_some(value)
    });
    let value = exact.unwrap_or(value);
    if !value.is_finite() {
        return Err(format!("its scale {scale} over the share of nonzeros is no float32"));
    }
    Ok(value)
}
