//! Files that are lost, limited or replaced while a program runs.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Barrier;

use mmfree::storage::{AtomicFile, Mapping, Temporary, handle_signals};

use crate::program::{command, infer};
use crate::util::TempDir;

const PAGES: usize = 64;
const PAGE: usize = 1 << 16;
const THREADS: usize = 8;

/// Names the folder in which [`a_process_of_its_own`] plays its part, and which part.
const FOLDER: &str = "MMFREE_TEST_FOLDER";
const PART: &str = "MMFREE_TEST_PART";

/// Runs this very program with that part alone, in a folder with a file of some pages.
fn play(part: &str) -> (TempDir, Output) {
    let dir = TempDir::new();
    dir.write("pages", vec![1; PAGES * PAGE]);
    let this = std::env::current_exe().unwrap();
    let output = command(this.to_str().unwrap())
        .args(["storage::a_process_of_its_own", "--exact", "--nocapture"])
        .env(FOLDER, dir.path(""))
        .env(PART, part)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    (dir, output)
}

fn names(dir: &TempDir) -> Vec<String> {
    let entries = std::fs::read_dir(dir.path("")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn cut(path: &Path) {
    std::fs::File::options().write(true).open(path).unwrap().set_len(0).unwrap();
}

/// Reads the pages of a file that has been cut short, on all threads at once.
fn read_together(map: &[u8]) {
    let barrier = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for i in 0..THREADS {
            let barrier = &barrier;
            scope.spawn(move || {
                barrier.wait();
                std::hint::black_box(map[i * PAGE]);
            });
        }
    });
}

/// What the tests below do in a process that they end: none of it without its variable.
#[test]
fn a_process_of_its_own() {
    let (Some(folder), Ok(part)) = (std::env::var_os(FOLDER), std::env::var(PART)) else { return };
    let (folder, pages) = (Path::new(&folder), Path::new(&folder).join("pages"));
    handle_signals();
    match part.as_str() {
        "lost" => {
            let map = Mapping::open(&pages).unwrap();
            let mut out = AtomicFile::create(&folder.join("out"), true).unwrap();
            out.file().write_all(b"half of the ne").unwrap();
            let dir = folder.join("dir");
            let temporary = [dir.clone(), dir.join("a"), dir.join("b")].map(|p| Temporary::new(&p));
            std::fs::create_dir(&dir).unwrap();
            std::fs::write(dir.join("a"), "").unwrap();
            // What has its name is no longer temporary.
            let kept = Temporary::new(&folder.join("kept"));
            std::fs::write(folder.join("kept"), "").unwrap();
            drop(kept);
            AtomicFile::create(&folder.join("done"), true).unwrap().commit().unwrap();
            cut(&pages);
            read_together(&map);
            drop((out, temporary));
        }
        "another" => {
            // Both mappings: one that is ours and whole, one that is not ours and lost.
            let (whole, file) = (folder.join("whole"), std::fs::File::open(&pages).unwrap());
            std::fs::write(&whole, "whole").unwrap();
            let whole = Mapping::open(&whole).unwrap();
            // SAFETY: the process ends by what becomes of the file.
            let map = unsafe { memmap2::Mmap::map(&file) }.unwrap();
            cut(&pages);
            read_together(&map);
            assert_eq!(&whole[..], b"whole");
        }
        "sent" => {
            let _map = Mapping::open(&pages).unwrap();
            // SAFETY: a system call.
            unsafe { libc::raise(libc::SIGBUS) };
        }
        "limited" => {
            let limit = libc::rlimit { rlim_cur: 10, rlim_max: 10 };
            // SAFETY: a system call, of a valid structure.
            assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &limit) }, 0);
            let mut out = AtomicFile::create(&folder.join("out"), true).unwrap();
            let written = out.file().write_all(b"more than ten bytes").map_err(out.error());
            eprint!("{}", written.unwrap_err());
        }
        part => panic!("no part {part}"),
    }
}

#[test]
fn a_lost_mapping_is_one_line_and_leaves_nothing_however_many_threads_read_it() {
    for _ in 0..20 {
        let (dir, output) = play("lost");
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{:?} {message}", output.status);
        assert_eq!(message.lines().count(), 1, "{message}");
        assert!(
            message.starts_with("error: ") && message.contains("pages: the file was cut short")
        );
        let mut left = names(&dir);
        left.sort();
        assert_eq!(left, ["done", "kept", "pages"]);
    }
}

#[test]
fn a_fault_that_is_no_lost_mapping_of_ours_ends_by_its_signal() {
    for part in ["another", "sent"] {
        let (_dir, output) = play(part);
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.signal(), Some(libc::SIGBUS), "{part}: {message}");
        assert!(!message.contains("cut short"), "{message}");
    }
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_like_any_other() {
    let (dir, output) = play("limited");
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{message}");
    assert!(
        message.starts_with("cannot write ") && message.contains("File too large"),
        "{message}"
    );
    assert_eq!(names(&dir), ["pages"]);
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().mode() & 0o7777
}

fn is_root() -> bool {
    // SAFETY: a system call that cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Whoever replaces a file, with a shell's umask of 022 around it.
fn under_umask(command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", "umask 022; exec \"$@\"", "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    shell
}

fn save(state: &Path) -> Command {
    let mut command = under_umask(&infer(["x", "-n", "1", "-q", "--save-state"]));
    command.arg(state);
    command
}

#[track_caller]
fn succeeds(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_new_session_is_its_owners_alone_and_other_files_are_as_the_umask_has_it() {
    let dir = TempDir::new();
    let (state, logits) = (dir.path("s"), dir.path("l"));
    succeeds(&mut save(&state));
    succeeds(under_umask(&infer(["logits", "--ids", "1", "-o"])).arg(&logits));
    assert_eq!((mode(&state), mode(&logits)), (0o600, 0o644));
}

#[test]
fn a_replaced_file_keeps_its_mode_and_owner() {
    let dir = TempDir::new();
    let state = dir.path("s");
    succeeds(&mut save(&state));
    for bits in [0o600, 0o640, 0o666, 0o400] {
        std::fs::set_permissions(&state, std::fs::Permissions::from_mode(bits)).unwrap();
        if is_root() {
            chown(&state, Some(1234), Some(4321)).unwrap();
        }
        let before = std::fs::metadata(&state).unwrap();
        succeeds(&mut save(&state));
        let after = std::fs::metadata(&state).unwrap();
        assert_ne!(before.ino(), after.ino());
        assert_eq!(mode(&state), bits);
        assert_eq!((before.uid(), before.gid()), (after.uid(), after.gid()));
    }
}

/// A file of a group that whoever replaces it is not in: what the group could, only all can.
#[test]
fn who_cannot_keep_the_group_gives_another_no_rights() {
    if !is_root() {
        return;
    }
    let dir = TempDir::new();
    let (folder, state) = (dir.path(""), dir.path("s"));
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).unwrap();
    for (before, after) in [(0o660, 0o600), (0o664, 0o644), (0o646, 0o646)] {
        succeeds(&mut save(&state));
        chown(&state, Some(65534), Some(4321)).unwrap();
        std::fs::set_permissions(&state, std::fs::Permissions::from_mode(before)).unwrap();
        let mut nobody = save(&state);
        nobody.uid(65534).gid(65533);
        match nobody.output() {
            // The folder of the program, or one above it, may be closed to others.
            Ok(output) if output.status.code() == Some(126) => return,
            Err(_) => return,
            Ok(output) => {
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr))
            }
        }
        assert_eq!(mode(&state), after, "{before:o}");
        let owner = std::fs::metadata(&state).unwrap();
        assert_eq!((owner.uid(), owner.gid()), (65534, 65533));
        std::fs::remove_file(&state).unwrap();
    }
}

/// A shell that limits its addresses, in KiB, and becomes the command.
fn within_addresses(kib: u64, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit -v {kib}; exec \"$@\""), "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    shell
}

/// Little room is a line, or fewer threads, and never an abort; the text is the same.
#[test]
fn without_addresses_there_are_fewer_threads_or_an_error() {
    // An emulator needs addresses of its own.
    if crate::program::runner().is_some() {
        return;
    }
    let base = ["Once upon a time", "-n", "8", "--greedy", "-q"];
    let expected = infer(base).output().unwrap().stdout;
    let (mut texts, mut errors) = (0, 0);
    for mib in [12, 13, 14, 15, 16, 17, 18, 20, 24, 28, 32, 48, 64, 100, 150, 200, 400] {
        for threads in ["1", "2", "8", "200", "1000"] {
            let command = infer([&base[..], &["-t", threads]].concat());
            let output = within_addresses(mib * 1024, &command).output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            match output.status.code() {
                Some(0) => {
                    assert_eq!(output.stdout, expected, "{threads} threads within {mib} MiB");
                    texts += 1;
                }
                Some(1) => {
                    assert_eq!(stderr.lines().count(), 1, "{stderr}");
                    assert!(stderr.starts_with("error: "), "{stderr}");
                    errors += 1;
                }
                // The loader of libraries has no room either.
                Some(127) => {}
                _ => panic!("{threads} threads within {mib} MiB: {} {stderr}", output.status),
            }
        }
    }
    assert!(texts > 20, "{texts} runs gave a text, {errors} an error");
}

#[test]
fn two_hundred_threads_within_200_mb_are_fewer_and_the_same_text() {
    if crate::program::runner().is_some() {
        return;
    }
    let command = infer(["Once upon a time", "-n", "8", "--greedy", "-t", "200"]);
    let output = within_addresses(200 * 1024, &command).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains(" of 200 threads: the system has no room for more"), "{stderr}");
}
