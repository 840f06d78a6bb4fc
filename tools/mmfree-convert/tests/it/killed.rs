//! The converter killed at any moment, out of disk, and with its input gone: under the final name
//! stands what was there before, or the whole new file.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mmfree_convert::{Options, synthesize, unpack};

use crate::common::*;

const KILLS: u64 = 50;

/// A number below 1, another for each `n`.
fn fraction(n: u64) -> f64 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    ((z ^ (z >> 27)) >> 11) as f64 / (1u64 << 53) as f64
}

/// Starts the command, kills it at a random moment of `time`, and says whether it was done by then.
fn kill(command: &mut Command, n: u64, time: Duration) -> bool {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(time.mul_f64(fraction(n)));
    // SIGKILL: it cannot clean up.
    child.kill().unwrap();
    child.wait().unwrap().success()
}

/// Runs the command to its end and gives the time that it took.
fn time(command: &mut Command) -> Duration {
    let start = Instant::now();
    assert!(command.output().unwrap().status.success());
    start.elapsed()
}

/// A model large enough that most kills hit it at work.
fn checkpoint(dir: &Path) -> std::path::PathBuf {
    let (model, folder) = (dir.join("made-up"), dir.join("checkpoint"));
    let size = "hidden=256,layers=2,vocab=4000".parse().unwrap();
    synthesize(size, 1, &model, &Options::default()).unwrap();
    unpack(&model, &folder, &Options::default()).unwrap();
    folder
}

#[test]
fn a_killed_converter_leaves_the_old_file_or_the_whole_new_one() {
    let dir = temp_dir();
    let folder = checkpoint(dir.path());
    let out = dir.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let output = out.join("m.mmfree");
    let command = || {
        let mut command = converter();
        command.arg(&folder).arg("-o").arg(&output).args(["--quiet", "--force"]);
        command
    };
    let whole_time = time(&mut command());
    let whole = std::fs::read(&output).unwrap();
    let mut unfinished = 0;
    for n in 0..KILLS {
        // An old file in every second run.
        let old = (n % 2 == 0).then_some(&b"old"[..]);
        match old {
            Some(old) => std::fs::write(&output, old).unwrap(),
            None => drop(std::fs::remove_file(&output)),
        }
        let done = kill(&mut command(), n, whole_time);
        let found = std::fs::read(&output).ok();
        if done {
            assert!(found.as_deref() == Some(&whole), "{n}");
        } else {
            assert!(found.as_deref() == old || found.as_deref() == Some(&whole), "{n}");
        }
        // What is left behind is called so that no one takes it for a model file.
        for name in names(&out) {
            if name != "m.mmfree" {
                assert!(name.starts_with(".m.mmfree.") && name.ends_with(".tmp"), "{name}");
                unfinished += usize::from(age(&out.join(name)));
            }
        }
    }
    assert!(unfinished > 0, "no run of {whole_time:?} was killed at work");
    // And what was left behind is not in the way of the next run, which removes it.
    assert!(command().status().unwrap().success());
    assert_eq!(names(&out), ["m.mmfree"]);
}

/// Cuts `input` short once the command has begun to write in `out`; says whether that ended it,
/// in which case there must be one line about it and nothing left.
fn cut(command: &mut Command, input: &Path, out: &Path) -> bool {
    let bytes = std::fs::read(input).unwrap();
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    // An empty file is the trial whether one can be written at all, before the input is opened.
    let has_begun = || {
        let metadata = |name: &String| std::fs::metadata(out.join(name)).ok();
        names(out).iter().filter_map(metadata).any(|meta| meta.len() > 0)
    };
    while !has_begun() && child.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
    std::fs::File::options().write(true).open(input).unwrap().set_len(4096).unwrap();
    let output = child.wait_with_output().unwrap();
    std::fs::write(input, bytes).unwrap();
    if output.status.success() {
        return false;
    }
    let name = input.file_name().unwrap().to_str().unwrap();
    assert_fails(&output, &[name, "the file was cut short"]);
    assert_eq!(names(out), [""; 0]);
    true
}

#[test]
fn an_input_that_is_cut_short_in_use_leaves_nothing_behind() {
    let dir = temp_dir();
    let folder = checkpoint(dir.path());
    let out = dir.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let ways = [
        (vec![], folder.as_path(), folder.join("model.safetensors")),
        (vec!["unpack"], &dir.path().join("made-up"), dir.path().join("made-up")),
    ];
    for (first, argument, input) in ways {
        let ended = (0..20).any(|_| {
            let mut command = converter();
            command.args(&first).arg(argument).arg("-o").arg(out.join("m")).arg("--quiet");
            let ended = cut(&mut command, &input, &out);
            let _ = std::fs::remove_file(out.join("m")).or(std::fs::remove_dir_all(out.join("m")));
            ended
        });
        assert!(ended, "no run of {first:?} was still reading when its input was cut short");
    }
}

#[test]
fn a_killed_unpacking_leaves_no_half_folder() {
    let dir = temp_dir();
    let folder = checkpoint(dir.path());
    let model = dir.path().join("made-up");
    let out = dir.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let output = out.join("folder");
    let command = || {
        let mut command = converter();
        command.arg("unpack").arg(&model).arg("-o").arg(&output).arg("--quiet");
        command
    };
    let whole_time = time(&mut command());
    for n in 0..KILLS / 2 {
        let _ = std::fs::remove_dir_all(&output);
        let done = kill(&mut command(), 1000 + n, whole_time);
        assert!(!done || output.exists());
        if output.exists() {
            assert_eq!(names(&output), names(&folder));
            for name in names(&output) {
                let [a, b] = [&output, &folder].map(|f| std::fs::read(f.join(&name)).unwrap());
                assert!(a == b, "{n} {name}");
            }
        }
        for name in names(&out) {
            if name != "folder" {
                assert!(name.starts_with(".folder.") && name.ends_with(".tmp"), "{name}");
                age(&out.join(name));
            }
        }
    }
    let _ = std::fs::remove_dir_all(&output);
    assert!(command().status().unwrap().success());
    assert_eq!(names(&out), ["folder"]);
}

/// Makes what a killed run has left old, so that the next one may take it for left behind; says
/// whether it was new.
fn age(path: &Path) -> bool {
    let file = std::fs::File::open(path).unwrap();
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    let new = file.metadata().unwrap().modified().unwrap() > old;
    file.set_modified(old).unwrap();
    new
}

/// A file system of its own, too small, in a mount namespace that goes with the process. Where the
/// machine lets no one mount, a limit on the size of files stands in for it.
const FULL: &str = r#"
dir=$1; shift
if [ "$1" = mount ]; then mount -t tmpfs -o size=100k none "$dir" || exit 99; else ulimit -f 150; fi
shift
printf old > "$dir/m.mmfree"
"$@" -o "$dir/m.mmfree" --force --quiet && exit 98
[ "$(ls -A "$dir")" = m.mmfree ] && [ "$(cat "$dir/m.mmfree")" = old ] || exit 97
exit 1
"#;

#[test]
fn a_full_disk_leaves_the_old_file_alone() {
    let dir = temp_dir();
    let run = |way: &str| {
        let program = converter();
        let mut command = match way {
            "mount" => Command::new("unshare"),
            _ => Command::new("env"),
        };
        if way == "mount" {
            // As root of a user namespace if need be.
            let root = Command::new("unshare").args(["-m", "true"]).status();
            command.arg(if root.is_ok_and(|status| status.success()) { "-m" } else { "-rm" });
        }
        command.args(["sh", "-c", FULL, "sh"]).arg(dir.path()).arg(way);
        command.arg(program.get_program()).args(program.get_args()).arg(case("b_bf16"));
        command.output()
    };
    let mounted = run("mount").ok().filter(|output| {
        // 99 and a failure of unshare itself: the machine does not let us.
        output.status.code() != Some(99) && !stderr(output).contains("unshare:")
    });
    let (output, reason) = match mounted {
        Some(output) => (output, "No space left"),
        None => (run("limit").unwrap(), "File too large"),
    };
    assert_fails(&output, &["cannot write", "m.mmfree", reason]);
}
