//! Checkpoints to convert, and programs to run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mmfree_convert::{Options, Summary, convert};
use tempfile::TempDir;

/// The golden cases whose weights are in safetensors: all but the pickled one.
pub fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/goldens");
    let mut cases: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|case| !case.join("pytorch_model.bin").exists());
    cases.sort();
    assert!(cases.len() >= 17);
    cases
}

/// The golden case of that name.
pub fn case(name: &str) -> PathBuf {
    cases().into_iter().find(|case| case.ends_with(name)).unwrap()
}

pub fn temp_dir() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Converts with options, to a file in a folder of its own.
pub fn converted(folder: &Path, options: &Options) -> (TempDir, PathBuf, Summary) {
    let dir = temp_dir();
    let output = dir.path().join("model.mmfree");
    let summary = convert(folder, &output, options).unwrap();
    (dir, output, summary)
}

/// A command that runs `program`, under the emulator that the tests themselves run under, if any.
pub fn command(program: &str) -> Command {
    let prefix = format!("CARGO_TARGET_{}", std::env::consts::ARCH.to_uppercase());
    let mut variables = std::env::vars();
    let runner = variables.find(|(name, _)| name.starts_with(&prefix) && name.ends_with("_RUNNER"));
    match runner {
        Some((_, runner)) => {
            let mut words = runner.split_whitespace();
            let Some(first) = words.next() else { return Command::new(program) };
            let mut command = Command::new(first);
            command.args(words).arg(program);
            command
        }
        _ => Command::new(program),
    }
}

/// The converter.
pub fn converter() -> Command {
    command(env!("CARGO_BIN_EXE_mmfree-convert"))
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Checks that a run ended with exit code 1 and one line on stderr that begins with `error: ` and
/// has all of `parts`.
#[track_caller]
pub fn assert_fails(output: &Output, parts: &[&str]) {
    let stderr = stderr(output);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{stderr}");
    assert!(stderr.ends_with(&format!("{}\n", errors[0])), "{stderr}");
    for part in parts {
        assert!(errors[0].contains(part), "no {part:?} in: {stderr}");
    }
    assert!(output.stdout.is_empty());
}

/// `MMFREE_PYTHON`, or the virtual environment that `tools/python` makes, or the system's.
pub fn python() -> String {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/python/bin/python");
    let venv = venv.is_file().then(|| venv.display().to_string());
    std::env::var("MMFREE_PYTHON").ok().or(venv).unwrap_or_else(|| "python3".into())
}

/// What a test that runs Python says where that fails.
pub const PYTHON_HINT: &str = "this test needs a Python with numpy, safetensors and transformers \
     4.42.4: tools/test makes one in target/python; or name one in MMFREE_PYTHON";

/// Names in a folder, hidden ones too.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Tensors by name: type, shape, bytes.
pub type Tensors = BTreeMap<String, (String, Vec<usize>, Vec<u8>)>;

/// Reads a safetensors file, all of it.
pub fn read_tensors(path: &Path) -> Tensors {
    let bytes = std::fs::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    file.tensors()
        .into_iter()
        .map(|(name, view)| {
            let value = (view.dtype().to_string(), view.shape().to_vec(), view.data().to_vec());
            (name, value)
        })
        .collect()
}

/// All tensors of a checkpoint folder, sharded or not.
pub fn read_checkpoint(folder: &Path) -> Tensors {
    let files = names(folder)
        .into_iter()
        .filter(|name| name.starts_with("model") && name.ends_with(".safetensors"));
    files.flat_map(|name| read_tensors(&folder.join(name))).collect()
}

/// Writes a safetensors file.
pub fn write_tensors(path: &Path, tensors: &Tensors) {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, (dtype, shape, bytes)) in tensors {
        let offsets = [data.len(), data.len() + bytes.len()];
        let entry = serde_json::json!({"dtype": dtype, "shape": shape, "data_offsets": offsets});
        header.insert(name.clone(), entry);
        data.extend_from_slice(bytes);
    }
    let header = serde_json::to_vec(&header).unwrap();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header);
    file.extend(data);
    std::fs::write(path, file).unwrap();
}

/// Values of a tensor in float32.
pub fn values((dtype, _, bytes): &(String, Vec<usize>, Vec<u8>)) -> Vec<f32> {
    let pairs = || bytes.chunks_exact(2).map(|b| [b[0], b[1]]);
    match dtype.as_str() {
        "F32" => bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect(),
        "F16" => pairs().map(|b| half::f16::from_le_bytes(b).to_f32()).collect(),
        "BF16" => pairs().map(|b| half::bf16::from_le_bytes(b).to_f32()).collect(),
        other => panic!("{other}"),
    }
}

/// A copy of a small checkpoint, to be spoilt.
pub struct Copy {
    pub dir: TempDir,
}

impl Copy {
    pub fn of(name: &str) -> Copy {
        Copy::of_folder(&case(name))
    }

    pub fn of_folder(from: &Path) -> Copy {
        let dir = temp_dir();
        for name in names(from).iter().filter(|name| !name.starts_with("golden")) {
            std::fs::copy(from.join(name), dir.path().join(name)).unwrap();
        }
        Copy { dir }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path().join(name), bytes).unwrap();
    }

    pub fn edit_json(&self, name: &str, edit: impl FnOnce(&mut serde_json::Value)) {
        let text = std::fs::read(self.path().join(name)).unwrap();
        let mut value = serde_json::from_slice(&text).unwrap();
        edit(&mut value);
        self.write(name, serde_json::to_vec(&value).unwrap());
    }

    pub fn edit_tensors(&self, name: &str, edit: impl FnOnce(&mut Tensors)) {
        let path = self.path().join(name);
        let mut tensors = read_tensors(&path);
        edit(&mut tensors);
        write_tensors(&path, &tensors);
    }

    /// Runs the converter on it and checks that it fails, saying all of `parts`, and leaves nothing
    /// behind.
    #[track_caller]
    pub fn fails(&self, parts: &[&str]) {
        let out = temp_dir();
        let output = converter()
            .arg(self.path())
            .arg("-o")
            .arg(out.path().join("m.mmfree"))
            .arg("--quiet")
            .output()
            .unwrap();
        assert_fails(&output, parts);
        assert_eq!(names(out.path()), [""; 0]);
    }
}
