//! The Python of `docs/FORMAT.md`, run on converted files.

use std::path::Path;
use std::process::Command;

use mmfree::ModelFile;
use mmfree::packing::Packing;
use mmfree_convert::{Options, Pack};

use crate::common::*;

/// The one Python snippet of the document.
fn snippet() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/FORMAT.md");
    let text = std::fs::read_to_string(path).unwrap();
    let mut parts = text.split("```python\n");
    let code = parts.nth(1).expect("a snippet").split("```").next().unwrap().to_owned();
    assert!(parts.next().is_none(), "one snippet only");
    code
}

/// Writes for each matrix its name and scale, then its trits, to be compared.
const DRIVER: &str = r#"
import sys
from pathlib import Path

out = Path(sys.argv[2])
for number, (name, trits, scale) in enumerate(matrices(sys.argv[1])):
    assert trits.dtype == np.int8
    (out / f"{number}.name").write_text(name)
    (out / f"{number}.scale").write_bytes(np.float32(scale).tobytes())
    (out / f"{number}.trits").write_bytes(trits.tobytes())
"#;

#[test]
fn the_documented_python_reads_both_packings() {
    let python = python();
    let dir = temp_dir();
    let script = dir.path().join("snippet.py");
    std::fs::write(&script, snippet() + DRIVER).unwrap();
    // Sizes with ragged strips, blocks, panels and groups; the wide one has several panels of t5.
    let wide = temp_dir();
    let size = "hidden=636,layers=1,intermediate=161,vocab=300".parse().unwrap();
    for packing in Packing::ALL {
        let options = Options { pack: Pack::Only(packing), ..Options::default() };
        let made_up = wide.path().join(packing.name());
        mmfree_convert::synthesize(size, 1, &made_up, &options).unwrap();
        let converted = converted(&case("j_odder_sizes"), &options);
        for path in [&made_up, &converted.1] {
            let out = temp_dir();
            let run = Command::new(&python).arg(&script).arg(path).arg(out.path()).output();
            let run = run.unwrap_or_else(|e| panic!("{python}: {e}; {PYTHON_HINT}"));
            assert!(run.status.success(), "{}\n{PYTHON_HINT}", stderr(&run));
            compare(path, out.path());
        }
    }
}

fn compare(path: &Path, out: &Path) {
    let file = ModelFile::open(path).unwrap();
    let count = names(out).len() / 3;
    assert_eq!(count, file.matrices().count());
    for number in 0..count {
        let read = |kind: &str| std::fs::read(out.join(format!("{number}.{kind}"))).unwrap();
        let name = String::from_utf8(read("name")).unwrap();
        let (matrix, scale) = file.matrix(&name).unwrap();
        assert_eq!(read("scale"), scale.to_le_bytes(), "{name}");
        let mut row = vec![0; matrix.cols()];
        for (r, expected) in read("trits").chunks(matrix.cols()).enumerate() {
            matrix.unpack_row(r, &mut row);
            let expected: Vec<i8> = expected.iter().map(|&b| b as i8).collect();
            assert_eq!(row, expected, "{name} row {r}");
        }
    }
}
