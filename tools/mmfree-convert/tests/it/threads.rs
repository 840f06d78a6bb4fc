//! A system that gives no threads: the calling one does all of the work.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::common::*;

/// The user of tests that run as root, whom no limit holds.
const NOBODY: u32 = 65534;

/// A folder with the converter, for a user who may have one process and nothing beside it.
struct Alone {
    dir: TempDir,
}

impl Alone {
    /// `None` where that limit is not to be had: under an emulator, which has threads of its own, or
    /// where the system does not hold to it.
    fn new() -> Option<Alone> {
        if command("x").get_program() != "x" {
            return None;
        }
        let alone = Alone { dir: temp_dir() };
        let open = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(alone.path(), open).unwrap();
        // Where that user can read it.
        std::fs::copy(env!("CARGO_BIN_EXE_mmfree-convert"), alone.path().join("convert")).unwrap();
        let forks = alone.command("sh").args(["-c", "sh -c : && echo forked"]).output().unwrap();
        forks.stdout.is_empty().then_some(alone)
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn command(&self, program: &str) -> Command {
        // The shells of Debian and of others call the same limit by another letter.
        let limit = "ulimit -p 1 2>/dev/null || ulimit -u 1 || exit; exec \"$0\" \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", limit, program]).current_dir(self.path());
        if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        let output = self.command("./convert").args(args).output().unwrap();
        assert!(output.status.success(), "{args:?} {}", stderr(&output));
        output
    }
}

#[test]
fn every_command_does_without_threads() {
    let Some(alone) = Alone::new() else {
        eprintln!("not run: no limit on processes is to be had here");
        return;
    };
    let folder = alone.path().join("checkpoint");
    std::fs::create_dir(&folder).unwrap();
    for name in names(&case("b_bf16")).iter().filter(|name| !name.starts_with("golden")) {
        std::fs::copy(case("b_bf16").join(name), folder.join(name)).unwrap();
    }
    alone.run(&["checkpoint", "-o", "a.mmfree", "--quiet"]);
    alone.run(&["checkpoint", "-o", "b.mmfree", "-t", "9", "--quiet"]);
    let read = |name: &str| std::fs::read(alone.path().join(name)).unwrap();
    let (_dir, expected, _) = converted(&folder, &Default::default());
    assert!(read("a.mmfree") == read("b.mmfree"));
    assert!(read("a.mmfree") == std::fs::read(expected).unwrap());
    alone.run(&["verify", "a.mmfree"]);
    alone.run(&["verify", "a.mmfree", "-t", "3"]);
    alone.run(&["inspect", "a.mmfree"]);
    alone.run(&["unpack", "a.mmfree", "-o", "back", "-t", "2"]);
    alone.run(&["back", "-o", "again.mmfree", "--quiet"]);
    assert!(read("a.mmfree") == read("again.mmfree"));
    alone.run(&["a.mmfree", "-o", "packed.mmfree", "--pack", "i2", "--quiet"]);
    alone.run(&["synthesize", "--size", "hidden=64,layers=2", "-o", "made.mmfree", "--quiet"]);
}

#[test]
fn verify_and_unpack_take_a_number_of_threads() {
    let (_dir, model, _) = converted(&case("b_bf16"), &Default::default());
    for threads in ["1", "2", "7"] {
        let run = converter().arg("verify").arg(&model).args(["-t", threads]).output().unwrap();
        assert!(run.status.success(), "{}", stderr(&run));
        let to = temp_dir();
        let mut command = converter();
        command.arg("unpack").arg(&model).arg("-o").arg(to.path()).args(["--threads", threads]);
        let run = command.output().unwrap();
        assert!(run.status.success(), "{}", stderr(&run));
    }
    for args in [["verify", "-t", "0"], ["unpack", "-t", "9999"]] {
        let run = converter().args(args).arg(&model).args(["-o", "x"]).output().unwrap();
        assert_eq!(run.status.code(), Some(2), "{}", stderr(&run));
    }
}

#[test]
fn threads_whose_stacks_have_no_room_are_not_made() {
    if command("x").get_program() != "x" {
        eprintln!("not run: the limit would be the emulator's");
        return;
    }
    let (dir, model, _) = converted(&case("b_bf16"), &Default::default());
    let limited = |kib: u32, args: &[&str]| {
        let limit = format!("ulimit -v {kib}; exec \"$@\"");
        let mut command = Command::new("sh");
        command.args(["-c", &limit, "sh", env!("CARGO_BIN_EXE_mmfree-convert")]);
        command.args(args).current_dir(dir.path()).output().unwrap()
    };
    let model = model.to_str().unwrap();
    for kib in [200_000, 100_000, 60_000] {
        for args in [
            &["verify", model, "-t", "500"][..],
            &["unpack", model, "-o", &format!("back{kib}"), "-t", "500"],
            &[model, "-o", "again.mmfree", "--force", "--pack", "i2", "-t", "500"],
        ] {
            let output = limited(kib, args);
            assert!(output.status.success(), "{kib} {args:?}: {}", stderr(&output));
        }
    }
    // And where there is room for nothing, that is a line.
    let output = limited(20_000, &["verify", model, "-t", "500"]);
    assert!(output.status.success() || stderr(&output).contains("no memory left"), "{output:?}");
}
