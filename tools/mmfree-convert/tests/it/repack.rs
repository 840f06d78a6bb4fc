//! A model file in another packing is the same model.

use std::path::Path;

use mmfree::packing::Packing;
use mmfree::{Model, ModelFile, Step, Want};
use mmfree_convert::{Embed, EmbeddingType, Options, Pack, convert};

use crate::common::*;

fn packed(packing: Packing) -> Options {
    Options { pack: Pack::Only(packing), ..Options::default() }
}

/// The bits of the logits after some tokens.
fn logits(path: &Path) -> Vec<u32> {
    let model = Model::new(ModelFile::open(path).unwrap(), &Default::default()).unwrap();
    let (mut state, mut logits) = (model.new_state(), Vec::new());
    let step = Step {
        state: &mut state,
        tokens: &[1, 5, 9, 60, 2],
        want: Want::All,
        logits: &mut logits,
        states: None,
    };
    model.forward(&mut [step]).unwrap();
    logits.into_iter().map(f32::to_bits).collect()
}

#[test]
fn logits_stay_the_same_bits_and_the_way_back_gives_the_same_file() {
    for name in ["b_bf16", "g_heads4_expand2", "i_short_conv_separate", "k_tied_fp32"] {
        for embed in [Embed::Source, Embed::Only(EmbeddingType::Int8)] {
            let options = Options { embed, ..packed(Packing::T5) };
            let (dir, t5, summary) = converted(&case(name), &options);
            let [i2, back] = ["i2", "back"].map(|file| dir.path().join(file));
            let repacked = convert(&t5, &i2, &packed(Packing::I2)).unwrap();
            assert_eq!((repacked.packing, &repacked.hash), ("i2", &summary.hash));
            assert_eq!(logits(&i2), logits(&t5), "{name}");
            // As if it had been converted so at once.
            let (_dir, direct, _) =
                converted(&case(name), &Options { embed, ..packed(Packing::I2) });
            assert!(std::fs::read(&i2).unwrap() == std::fs::read(&direct).unwrap(), "{name}");
            convert(&i2, &back, &packed(Packing::T5)).unwrap();
            assert!(std::fs::read(&back).unwrap() == std::fs::read(&t5).unwrap(), "{name}");
        }
    }
}

#[test]
fn a_file_is_replaced_by_itself_if_forced() {
    let (dir, path, summary) = converted(&case("b_bf16"), &packed(Packing::T5));
    let run = |extra: &[&str]| {
        converter().arg(&path).args(["--pack", "i2", "-o"]).arg(&path).args(extra).output().unwrap()
    };
    assert_fails(&run(&[]), &["exists already"]);
    assert!(run(&["--force"]).status.success());
    assert_eq!(ModelFile::open(&path).unwrap().hash(), summary.hash);
    assert_eq!(names(dir.path()).len(), 1);
}

/// New checksums must not vouch for old damage.
#[test]
fn rejects_a_damaged_file() {
    let (dir, path, _) = converted(&case("b_bf16"), &packed(Packing::T5));
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let run = converter().arg(&path).arg("-o").arg(dir.path().join("other")).output().unwrap();
    assert_fails(&run, &["is damaged: tokenizer.json"]);
    assert!(!dir.path().join("other").exists());
}
