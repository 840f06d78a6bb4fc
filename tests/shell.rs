//! `mmfree-infer` among shells and systems: values that begin with a dash, pipes, files, signals.

use std::fs::{File, OpenOptions};
use std::process::Stdio;
use std::time::Duration;

use mmfree::{Model, ModelFile, SamplerOptions, Session};

use crate::program::{infer, run, run_with_stdin};
use crate::util::{TempDir, options};

fn refused(args: &[&str], code: i32, words: &[&str]) {
    let run = run(args);
    assert_eq!(run.code, Some(code), "{args:?}: {}", run.stderr);
    for word in words {
        assert!(run.stderr.contains(word), "{args:?}: no {word:?} in {}", run.stderr);
    }
}

#[test]
fn a_value_may_begin_with_a_dash() {
    let dir = TempDir::new();
    let common = ["-n", "3", "--greedy", "-q"];
    let ids = run(common.iter().chain(&["--json", "-p", "- item"])).json();
    let same = run(common.iter().chain(&["--json", "--prompt=- item"])).json();
    assert_eq!(ids["prompt_ids"], same["prompt_ids"]);
    assert_eq!(run(common.iter().chain(&["--stop", "---", "-p", "--x"])).code, Some(0));
    let out = dir.path("-o.safetensors");
    let logits = infer(["logits", "-p", "-1 and -2", "-o", "-o.safetensors"])
        .current_dir(out.parent().unwrap())
        .output()
        .unwrap();
    assert_eq!(logits.status.code(), Some(0), "{logits:?}");
    assert!(out.exists());
}

#[test]
fn a_value_that_is_exactly_an_option_is_refused_and_the_right_form_shown() {
    refused(&["-p", "--quiet"], 2, &["-p=--quiet", "an option of its own"]);
    refused(&["--stop", "-n", "3"], 2, &["--stop=-n"]);
    refused(&["logits", "-p", "-o", "x"], 2, &["-p=-o"]);
    refused(&["bench", "-m", "--json"], 2, &["-m=--json"]);
    let got = run(["-n", "1", "--json", "-p=--quiet"]).json();
    assert!(got["prompt_ids"].as_array().unwrap().len() > 2);
    // Behind --, nothing is an option.
    assert_eq!(run(["-n", "1", "--", "--quiet"]).code, Some(0));
}

#[test]
fn a_prompt_that_begins_with_a_dash_is_one_where_it_can_be_no_option() {
    let common = ["-n", "3", "--greedy", "-q", "--json"];
    for prompt in ["- item", "-hello there", "---", "--x y", "-\u{e9}t\u{e9} ", "-(a)"] {
        let expected = run(common.iter().chain(&["-p", prompt])).json();
        assert_eq!(run([prompt].iter().chain(&common)).json()["ids"], expected["ids"], "{prompt}");
        assert_eq!(run(common.iter().chain(&[prompt])).json()["ids"], expected["ids"], "{prompt}");
    }
    // What may be an option typed wrongly is refused, and the whole of it shown as it would be right.
    for (word, tip) in [
        ("-item", "-- -item"),
        ("-dash/file.txt", "-- -dash/file.txt"),
        ("--tmp", "-- --tmp"),
        ("-1", "-- -1"),
        ("-x'y", "-- '-x'\\\\''y'"),
    ] {
        refused(&[word], 2, &[&format!("`{word}` is no option here"), &tip.replace("\\\\", "\\")]);
        refused(&["-n", "3", word, "-q"], 2, &["is no option here"]);
        let got = run(common.iter().chain(&["--", word]));
        assert_eq!(got.code, Some(0), "{}", got.stderr);
    }
    // Options are still options, however they are put together.
    assert_eq!(run(["-qn3", "--greedy", "x"]).code, Some(0));
    assert_eq!(run(["-qn", "3", "--greedy", "- x"]).code, Some(0));
    assert_eq!(run(["-n=3", "--temp=0", "- x", "-q"]).code, Some(0));
}

#[test]
fn numbers_out_of_range_are_told_the_range() {
    for option in ["--max-length", "--top-k", "--seed"] {
        refused(&[option, "-5", "x"], 2, &["must be a whole number, 0 to 18446744073709551615"]);
    }
    refused(&["-n", "-2", "x"], 2, &["0 or more, or -1 for no end"]);
    refused(&["-n", "1e3", "x"], 2, &["0 or more, or -1 for no end"]);
    refused(&["bench", "-n", "x"], 2, &["must be a whole number"]);
    refused(&["--temp", "-1", "x"], 2, &["0 or more"]);
}

#[test]
fn minus_one_token_is_a_text_without_end() {
    let args = ["-n", "-1", "--max-length", "300", "--ignore-eos", "--json", "--ids", "1"];
    let got = run(args).json();
    assert_eq!((got["ids"].as_array().unwrap().len(), &got["stop"]), (299, &"max_length".into()));
}

#[test]
fn ids_and_prompts_come_from_files_and_stdin() {
    let dir = TempDir::new();
    let ids = dir.write("ids", "1 471,709\n\t888\r\n");
    let text = dir.write("text", "\u{FEFF}The old king\n");
    let (ids, text) = (ids.to_str().unwrap(), text.to_str().unwrap());
    let common = ["-n", "8", "--greedy", "-q"];
    let expected = run(common.iter().chain(&["The old king"])).text();
    assert_eq!(run(common.iter().chain(&["--ids-file", ids])).text(), expected);
    assert_eq!(run(common.iter().chain(&["-f", text])).text(), expected);
    let piped = run_with_stdin(common.iter().chain(&["--ids-file", "-"]), b"1,471,709,888");
    assert_eq!(piped.text(), expected);
    let logits = |args: &[&str], stdin: &[u8]| {
        let out = dir.path("out.safetensors");
        let out_arg = ["logits", "-o", out.to_str().unwrap()];
        assert_eq!(run_with_stdin(out_arg.iter().chain(args), stdin).text(), "");
        std::fs::read(out).unwrap()
    };
    let expected = logits(&["--ids", "1,471,709,888"], b"");
    assert_eq!(logits(&["--ids-file", ids], b""), expected);
    assert_eq!(logits(&["--ids-file", "-"], b"1 471 709 888"), expected);
    assert_eq!(logits(&["-f", text], b""), expected);
    assert_eq!(logits(&["-f", "-"], b"The old king\n"), expected);
    let bad = dir.write("bad", "1,x");
    refused(&["--ids-file", bad.to_str().unwrap()], 1, &["bad: `x` is no token id"]);
}

#[test]
fn the_report_begins_a_line_where_it_goes_to_the_same_place_as_the_text() {
    let dir = TempDir::new();
    let common = ["-n", "4", "--greedy", "The old king"];
    let text = run(common).text();
    assert!(!text.ends_with('\n'));
    let both = dir.path("both");
    let file = File::create(&both).unwrap();
    let status = infer(common).stdout(file.try_clone().unwrap()).stderr(file).status().unwrap();
    assert_eq!(status.code(), Some(0));
    let shown = std::fs::read_to_string(&both).unwrap();
    assert!(shown.starts_with(&format!("{text}\nmodel: ")), "{shown}");
    // Apart they stay as they are.
    assert!(run(common).stderr.starts_with("model: "));
}

#[test]
fn help_that_cannot_be_written_is_an_error() {
    for args in [&["--help"][..], &["--version"], &["help"], &["bench", "--help"]] {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = infer(args).stdout(full).stderr(Stdio::piped()).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(stderr.contains("cannot write to stdout"), "{stderr}");
    }
    assert!(run(["--version"]).text().starts_with("mmfree-infer 0."));
}

/// A shell with `script`, in which "$0" is the program.
fn shell(script: &str) -> std::process::Output {
    let program = env!("CARGO_BIN_EXE_mmfree-infer");
    let runner = crate::program::runner().map_or_else(String::new, |runner| runner + " ");
    let script = script.replace("\"$0\"", &format!("{runner}{program}"));
    std::process::Command::new("/bin/sh").args(["-c", &script]).output().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn a_stdout_that_does_not_block_is_waited_for() {
    // Python makes the pipe's other end non-blocking and reads late: more than a pipe holds is written meanwhile.
    let script = "import fcntl, os, subprocess, sys, time\n\
        r, w = os.pipe()\n\
        fcntl.fcntl(w, 1031, 4096)\n\
        os.set_blocking(w, False)\n\
        p = subprocess.Popen(sys.argv[1:], stdout=w)\n\
        os.close(w)\n\
        time.sleep(1)\n\
        total = 0\n\
        while data := os.read(r, 65536): total += len(data)\n\
        print(p.wait(), total)\n";
    let runner = crate::program::runner();
    let words = runner.iter().flat_map(|runner| runner.split_whitespace());
    let program = words.chain([env!("CARGO_BIN_EXE_mmfree-infer")]);
    let output = std::process::Command::new("python3")
        .args(["-c", script])
        .args(program)
        .args(["help"])
        .output()
        .unwrap();
    let help = run(["help"]).text();
    let expected = format!("0 {}\n", help.len());
    assert!(help.len() > 4096, "more than the pipe holds");
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{output:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_signal_is_heard_while_nobody_reads_the_text() {
    // A pipe that is full and stays so, whether it blocks or not; then a polite kill.
    let script = "import fcntl, os, select, signal, subprocess, sys, time\n\
        r, w = os.pipe()\n\
        fcntl.fcntl(w, 1031, 4096)\n\
        os.set_blocking(w, sys.argv[1] == 'blocks')\n\
        p = subprocess.Popen(sys.argv[2:], stdout=w)\n\
        while p.poll() is None and select.select([], [w], [], 0)[1]: time.sleep(0.02)\n\
        time.sleep(0.2)\n\
        p.send_signal(signal.SIGTERM)\n\
        print(p.wait(), flush=True)\n\
        os.close(w)\n\
        print(len(os.read(r, 65536)) > 0)\n";
    let dir = TempDir::new();
    let runner = crate::program::runner();
    for kind in ["blocks", "does not"] {
        let state = dir.path(format!("{kind}.state"));
        let words = runner.iter().flat_map(|runner| runner.split_whitespace());
        let output = std::process::Command::new("python3")
            .args(["-c", script, kind])
            .args(words.chain([env!("CARGO_BIN_EXE_mmfree-infer")]))
            .args(["-q", "--ignore-eos", "-n", "-1", "--ids", "1", "--save-state"])
            .arg(&state)
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "143\nTrue\n", "{kind}: {output:?}");
        let state = state.to_str().unwrap();
        let rest = run(["-q", "--ignore-eos", "-n", "3", "--json", "--load-state", state]).json();
        assert_eq!(rest["ids"].as_array().unwrap().len(), 3);
    }
}

#[test]
fn a_file_that_is_no_saved_session_is_named() {
    let dir = TempDir::new();
    let demo = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/models/demo.mmfree")).unwrap();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n";
    for (name, bytes, words) in [
        (
            "pointer",
            pointer.as_bytes(),
            &["a Git LFS pointer, but not a saved", "git lfs pull"][..],
        ),
        ("page", b"<!DOCTYPE html><p>", &["a page of HTML", "download the file itself"]),
        ("gguf", b"GGUF\x03\0\0\0", &["a GGUF file of llama.cpp"]),
        ("answer", b"Entry not found", &["the text \"Entry not found\""]),
        ("model", &demo, &["a model file of mmfree, but not a saved", "-m takes it"]),
        ("weights", b"\x02\0\0\0\0\0\0\0{}", &["a safetensors file, but not a saved"]),
        ("config", b"{\"model_type\": \"hgrn_bit\"}", &["the config.json of a checkpoint"]),
    ] {
        let path = dir.write(name, bytes);
        let args = ["-n", "1", "x", "--load-state", path.to_str().unwrap()];
        refused(&args, 1, &[words, &[path.to_str().unwrap()]].concat());
    }
    let folder = dir.path("");
    refused(&["x", "--load-state", folder.to_str().unwrap()], 1, &["a directory"]);
}

#[test]
fn a_folder_in_place_of_a_model_says_what_is_in_it() {
    let dir = TempDir::new();
    let folder = dir.path("some").to_str().unwrap().to_owned();
    std::fs::create_dir(&folder).unwrap();
    refused(&["-m", &folder, "x"], 1, &["a directory, where a model file is needed\n"]);
    dir.write("some/b.mmfree", "");
    dir.write("some/a.mmfree", "");
    refused(&["info", "-m", &folder], 1, &["a directory", &format!("there is {folder}/a.mmfree")]);
    dir.write("some/config.json", "{}");
    refused(&["-m", &folder, "x"], 1, &[&format!("`mmfree-convert {folder}` makes one of")]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_closed_terminal_saves_the_session_unless_the_signal_is_ignored() {
    let dir = TempDir::new();
    let (state, text) = (dir.path("s.state"), dir.path("text"));
    let (state_name, text_name) = (state.display(), text.display());
    // Whoever runs the tests may ignore the signal, as under nohup.
    let start = |ignore: &str, tokens: &str| {
        format!(
            "{ignore} \"$0\" -q --ignore-eos -n {tokens} --ids 1 --save-state {state_name} >{text_name} & \
             pid=$!; while ! [ -s {text_name} ]; do sleep 0.05; done; kill -HUP $pid; wait $pid; echo $?"
        )
    };
    let output = shell(&start("env --default-signal=HUP", "-1"));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "129\n", "{output:?}");
    assert!(state.exists());
    std::fs::remove_file(&state).unwrap();
    std::fs::remove_file(&text).unwrap();
    let output = shell(&start("trap '' HUP;", "400"));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "0\n", "{output:?}");
    assert!(state.exists());
}

/// Whether the process has a handler of its own for SIGINT by now.
#[cfg(target_os = "linux")]
fn handles_interrupts(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    caught.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).unwrap() >> 1 & 1 == 1)
}

#[cfg(target_os = "linux")]
#[test]
fn an_interrupted_perplexity_shows_what_was_measured() {
    let dir = TempDir::new();
    let book = dir.write("book.txt", "The old king had a daughter. ".repeat(40_000));
    // Long enough to have measured something on a busy machine, short enough not to have measured all on a fast one.
    for wait in [1, 4, 16, 64] {
        let mut child = infer(["perplexity", "--json", "-t", "1", "-f", book.to_str().unwrap()])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        while !handles_interrupts(child.id()) && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_secs(wait));
        let pid = child.id().to_string();
        let _ = std::process::Command::new("kill").args(["-INT", &pid]).status();
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        // An emulator has handlers of its own from the start: the signal may come before the program's.
        let Some(code) = output.status.code() else { continue };
        assert_eq!(code, 130, "{stderr}");
        if output.stdout.is_empty() {
            // Not a token yet.
            continue;
        }
        let got: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(got["interrupted"], true);
        assert!(got["predicted"].as_u64().unwrap() > 0);
        assert!(got["perplexity"].as_f64().unwrap() > 1.0);
        assert!(stderr.contains("interrupted after"), "{stderr}");
        return;
    }
    panic!("nothing measured in a minute");
}

#[test]
fn an_empty_text_has_no_perplexity() {
    let dir = TempDir::new();
    let empty = dir.write("empty.txt", "");
    refused(&["perplexity", "-f", empty.to_str().unwrap()], 1, &["has no token to predict"]);
}

#[test]
fn ids_that_a_session_has_still_to_read_are_said_beforehand() {
    let model = Model::new(ModelFile::demo().unwrap(), &options()).unwrap();
    let mut session = Session::new(&model, SamplerOptions::default()).unwrap();
    session.push(&vec![7; 1500]).unwrap();
    let dir = TempDir::new();
    let state = dir.path("s.state");
    session.save(&state).unwrap();
    let args = ["-n", "1", "--greedy", "--load-state", state.to_str().unwrap()];
    let said = run(args).stderr;
    let note = "s.state: 1500 of its ids have not been read yet, that comes first";
    assert!(said.contains(note), "{said}");
    assert_eq!(run(args.iter().chain(&["-q"])).stderr, "");
}

#[test]
fn one_thread_is_one() {
    let text = run(["info", "-t", "1"]).text();
    assert!(text.contains(", 1 thread\n"), "{text}");
}
