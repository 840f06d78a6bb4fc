//! Where the bytes of a model file are, and that it makes no difference to what comes out.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use mmfree::format::Config;
use mmfree::packing::Packing;
use mmfree::storage::Advice;
use mmfree::{Error, Model, ModelFile, Options, Residency, Step, Want};

use crate::synthetic;
use crate::util::TempDir;

/// Matrices of 128 KiB to 384 KiB, 3 MB in all: more than any page that has to be given back with its neighbours.
fn config() -> Config {
    Config { hidden_size: 512, state_size: 512, intermediate_size: 640, ..synthetic::config() }
}

const IDS: [u32; 9] = [1, 17, 3, 88, 2, 2, 41, 5, 96];

/// Logits after every id, fed one at a time and then, from the start again, together.
fn logits(file: ModelFile) -> Vec<f32> {
    let options = Options { threads: Some(2), ..Options::default() };
    logits_of(&Model::new(file, &options).unwrap())
}

fn logits_of(model: &Model) -> Vec<f32> {
    let mut all = Vec::new();
    for len in [1, IDS.len()] {
        let mut state = model.new_state();
        for tokens in IDS.chunks(len) {
            let mut logits = Vec::new();
            let step = Step {
                state: &mut state,
                tokens,
                want: Want::All,
                logits: &mut logits,
                states: None,
            };
            model.forward(&mut [step]).unwrap();
            all.extend(logits);
        }
    }
    all
}

/// Whether an emulator runs this, which makes up a `smaps` of its own, without numbers.
fn emulated() -> bool {
    std::env::var_os("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER").is_some()
}

/// Bytes of the file at `path` that this process has mapped and touched, by the system's count.
fn resident(path: &Path) -> u64 {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let name = path.to_str().unwrap();
    let mut here = false;
    let mut bytes = 0;
    for line in maps.lines() {
        if line.split(' ').next().is_some_and(|word| word.contains('-')) {
            here = line.ends_with(name);
        } else if let (true, Some(rest)) = (here, line.strip_prefix("Rss:")) {
            bytes += 1024 * rest.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap();
        }
    }
    bytes
}

#[test]
fn keeping_only_a_part_in_memory_gives_the_same_bits() {
    let dir = TempDir::new();
    for packing in Packing::ALL {
        let path = dir.write("m.mmfree", synthetic::model(&config(), packing, 3));
        let expected = logits(ModelFile::open(&path).unwrap());
        assert_eq!(expected.len(), 2 * IDS.len() * config().vocab_size);
        for kept in [0, 1, 1 << 20, usize::MAX] {
            let file = ModelFile::open(&path).unwrap();
            file.keep(kept);
            assert!(logits(file) == expected, "{packing:?}, {kept} bytes kept");
        }
    }
}

/// A model of the file at `path` that runs as the options ask for.
fn placed(path: &Path, residency: Residency) -> Result<Arc<Model>, Error> {
    Model::new(ModelFile::open(path)?, &Options { residency, ..Options::default() })
}

fn within(budget: u64) -> Residency {
    Residency { budget: Some(budget), ..Residency::default() }
}

#[test]
fn weights_without_room_are_planned_for_and_give_the_same_bits() {
    let dir = TempDir::new();
    for packing in Packing::ALL {
        let path = dir.write("m.mmfree", synthetic::model(&config(), packing, 3));
        let expected = logits(ModelFile::open(&path).unwrap());
        let free = placed(&path, within(u64::MAX)).unwrap();
        assert_eq!(free.plan(), None);
        let weights = free.weight_bytes();
        for budget in [0, weights - 1, weights + 1_000_000] {
            let model = placed(&path, within(budget)).unwrap();
            let plan = model.plan().expect("no room");
            assert_eq!((plan.weights, plan.allowance.bytes), (weights, budget));
            assert!(plan.kept < weights && plan.read_again() == weights - plan.kept);
            let text = plan.to_string();
            assert!(
                text.starts_with("its weights have ") && text.ends_with(" from the disk again")
            );
            assert!(logits_of(&model) == expected, "{packing:?} within {budget} bytes");
        }
    }
}

#[test]
fn weights_that_are_in_memory_anyway_need_no_plan() {
    let bytes = synthetic::model(&config(), Packing::T5, 3);
    let file = ModelFile::from_bytes("in memory", &bytes).unwrap();
    let residency = Residency { prefault: true, mlock: true, ..within(1000) };
    let model = Model::new(file, &Options { residency, ..Options::default() }).unwrap();
    assert_eq!((model.plan(), model.allowance().unwrap().bytes), (None, 1000));
}

#[test]
fn a_file_is_read_beforehand_where_the_options_ask_for_it() {
    let dir = TempDir::new();
    let bytes = synthetic::model(&config(), Packing::T5, 3);
    let len = bytes.len() as u64;
    let path = dir.write("m.mmfree", bytes);
    let expected = logits(ModelFile::open(&path).unwrap());
    let model = placed(&path, Residency { prefault: true, ..Residency::default() }).unwrap();
    if !emulated() {
        assert!(resident(&path) >= len);
    }
    assert!(logits_of(&model) == expected);
    let error = placed(&path, Residency { mlock: true, ..within(len) }).map(drop).unwrap_err();
    let message = error.to_string();
    assert!(message.starts_with(&format!("mlock: {}", path.display())), "{message}");
    assert!(message.contains("but this process may use"), "{message}");
    // Where reading is broken off nothing is locked.
    let model = placed(&path, Residency::default()).unwrap();
    assert!(model.prefault(true, |_| ControlFlow::Break(())).unwrap().is_break());
}

#[test]
fn matrices_that_are_not_kept_are_given_back() {
    if emulated() {
        return;
    }
    let dir = TempDir::new();
    let config = Config { num_layers: 24, ..config() };
    let path = dir.write("m.mmfree", synthetic::model(&config, Packing::I2, 3));
    let run = |kept| {
        let file = ModelFile::open(&path).unwrap();
        file.keep(kept);
        let all = file.packed_span().len() as u64;
        let model = Model::new(file, &Options::default()).unwrap();
        let (mut state, mut logits) = (model.new_state(), Vec::new());
        let (state, logits) = (&mut state, &mut logits);
        let step = Step { state, tokens: &IDS, want: Want::Last, logits, states: None };
        model.forward(&mut [step]).unwrap();
        (resident(&path), all)
    };
    let (kept, all) = run(usize::MAX);
    assert!(kept >= all, "{kept} of {all} bytes resident, so this cannot be seen here");
    let (given_back, _) = run(0);
    assert!(given_back < all / 2, "{given_back} of {all} bytes still there");
}

#[test]
fn advice_and_reading_ahead_make_no_difference_to_the_bits() {
    let dir = TempDir::new();
    let path = dir.write("m.mmfree", synthetic::model(&config(), Packing::T5, 4));
    let expected = logits(ModelFile::open(&path).unwrap());
    use Advice::{HugePages, Normal, Random, Sequential, WillNeed};
    for advice in [Normal, Sequential, Random, WillNeed, HugePages] {
        let file = ModelFile::open(&path).unwrap();
        file.advise(advice);
        file.populate(0..file.bytes().len());
        // An odd range, and none.
        file.populate(1..4099);
        file.populate(5..5);
        assert!(logits(file) == expected, "{advice:?}");
    }
    let in_memory = ModelFile::from_bytes("m", &std::fs::read(&path).unwrap()).unwrap();
    in_memory.advise(Advice::HugePages);
    in_memory.populate(0..in_memory.bytes().len());
    in_memory.keep(0);
    in_memory.lock().unwrap();
    assert!(logits(in_memory) == expected);
}

#[cfg(all(feature = "cli", feature = "demo"))]
mod program {
    use std::os::unix::process::CommandExt;

    use super::*;
    use crate::program::{Run, infer, run};

    fn text(path: &Path) -> String {
        path.to_str().unwrap().to_owned()
    }

    #[test]
    fn embeddings_are_read_by_row() {
        let dir = TempDir::new();
        let anonymous = |vocab_size| {
            let config =
                Config { vocab_size, hidden_size: 256, state_size: 256, ..synthetic::config() };
            let bytes = synthetic::model_without_tokenizer(&config, Packing::I2, 3);
            let path = text(&dir.write("m.mmfree", bytes));
            let json =
                run(["-m", &path, "--ids", "1,7,5", "-n", "4", "--json", "--ignore-eos"]).json();
            json["memory"]["anonymous"].as_u64().unwrap()
        };
        let (small, large) = (anonymous(100), anonymous(40_000));
        // The embedding alone has 41 MB; logits and what the sampler makes of them grow with the vocabulary too.
        assert!(large < small + 8_000_000, "{small} and {large} bytes");
    }

    #[test]
    fn options_on_memory_make_no_difference_to_the_text() {
        let dir = TempDir::new();
        let path = text(&dir.write("m.mmfree", synthetic::model(&config(), Packing::T5, 3)));
        let base = ["-m", &path, "--ids", "1,7,5", "-n", "6", "--ignore-eos", "--quiet"];
        let expected = run(base).text();
        for advice in ["normal", "sequential", "random", "willneed", "hugepage"] {
            assert_eq!(run([&base[..], &["--advice", advice]].concat()).text(), expected);
        }
        let prefault = run([&base[..], &["--prefault"]].concat());
        assert_eq!(prefault.stderr, "");
        assert_eq!(prefault.text(), expected);
        let refused = run([&base[..], &["--advice", "often"]].concat());
        assert_eq!(refused.code, Some(2));
        assert!(refused.stderr.contains("--advice"), "{}", refused.stderr);
    }

    #[test]
    fn locking_names_the_limit_that_is_in_the_way() {
        let dir = TempDir::new();
        let path = text(&dir.write("m.mmfree", synthetic::model(&config(), Packing::T5, 3)));
        let locked = |limit: libc::rlim_t| {
            let mut command = infer(["-m", &path, "--ids", "1", "-n", "1", "--quiet", "--mlock"]);
            // SAFETY: system calls alone between fork and exec.
            unsafe {
                command.pre_exec(move || {
                    let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
                    if libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit) != 0 {
                        return Err(std::io::Error::last_os_error());
                    }
                    // Root may lock what it likes, unless CAP_IPC_LOCK (14) is out of its reach; others cannot
                    // give up what they have not.
                    libc::prctl(libc::PR_CAPBSET_DROP, 14, 0, 0, 0);
                    Ok(())
                });
            }
            let output = command.output().unwrap();
            let stderr = String::from_utf8(output.stderr).unwrap();
            Run { code: output.status.code(), stdout: output.stdout, stderr }
        };
        let refused = locked(65536);
        assert_eq!(refused.code, Some(1), "{}", refused.stderr);
        assert!(refused.stdout.is_empty());
        let stderr = &refused.stderr;
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.starts_with(&format!("error: --mlock: {path}")), "{stderr}");
        assert!(stderr.contains("RLIMIT_MEMLOCK) is 64 KiB; it must be"), "{stderr}");
        // What it says must be would do.
        let (_, rest) = stderr.split_once("it must be ").unwrap();
        let (kib, _) = rest.split_once(" KiB").unwrap();
        let allowed = locked(1024 * kib.parse::<libc::rlim_t>().unwrap());
        assert_eq!(allowed.code, Some(0), "{}", allowed.stderr);
    }
}
