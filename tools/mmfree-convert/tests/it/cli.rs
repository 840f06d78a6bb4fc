//! The command line.

use std::process::Stdio;

use mmfree::ModelFile;

use crate::common::*;

#[test]
fn the_output_is_called_after_the_folder() {
    let dir = temp_dir();
    let folder = dir.path().join("inspect");
    let copy = Copy::of("m_small_activations_eps");
    std::fs::rename(copy.path(), &folder).unwrap();
    std::fs::create_dir(copy.path()).unwrap();
    for (cwd, argument, output) in [
        (dir.path(), "./inspect", "inspect.mmfree"),
        (&folder, ".", "inspect.mmfree"),
        (&folder, "../inspect/", "inspect.mmfree"),
    ] {
        let run = converter().current_dir(cwd).arg(argument).arg("--force").output().unwrap();
        assert!(run.status.success(), "{}", stderr(&run));
        ModelFile::open(cwd.join(output)).unwrap();
    }
    let run = converter().arg("/").output().unwrap();
    assert_eq!(run.status.code(), Some(1));
}

#[test]
fn the_summary_is_on_stdout_and_progress_on_stderr() {
    let dir = temp_dir();
    let run = |extra: &[&str]| {
        let output = dir.path().join("m.mmfree");
        let mut command = converter();
        command.arg(case("b_bf16")).arg("-o").arg(output).arg("--force").args(extra);
        let run = command.output().unwrap();
        assert!(run.status.success());
        (String::from_utf8(run.stdout.clone()).unwrap(), stderr(&run))
    };
    let (out, err) = run(&[]);
    assert!(out.contains("bits per weight") && err.contains("packing"), "{out}{err}");
    let (out, err) = run(&["--quiet"]);
    assert_eq!((out.as_str(), err.as_str()), ("", ""));
    let (out, err) = run(&["--json", "--quiet", "--pack", "i2"]);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&json["packing"], err.as_str()), (&"i2".into(), ""));
    assert_eq!(json["tensors"], 50);
    assert_eq!(json["matrices"], 19);
    assert_eq!(json["zeros_by_matrix"].as_object().unwrap().len(), 19);
    let zeros = json["zeros"].as_f64().unwrap();
    assert!((0.1..0.6).contains(&zeros), "{zeros}");
    for key in ["bits_per_weight", "seconds", "parameters"] {
        assert!(json[key].as_f64().unwrap() > 0.0, "{key}");
    }
    assert_eq!(json["sizes"]["file"], dir.path().join("m.mmfree").metadata().unwrap().len());
}

#[test]
fn an_output_whose_name_is_no_text_has_a_summary_too() {
    use std::os::unix::ffi::OsStrExt;
    let dir = temp_dir();
    let path = dir.path().join(std::ffi::OsStr::from_bytes(b"caf\xE9.mmfree"));
    let run = converter().arg(case("b_bf16")).arg("-o").arg(&path).arg("--json").output().unwrap();
    assert!(run.status.success(), "{}", stderr(&run));
    let json: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    assert!(json["output"].as_str().unwrap().ends_with("caf\u{FFFD}.mmfree"));
    ModelFile::open(&path).unwrap();
}

#[test]
fn inspect_shows_every_tensor() {
    let (_dir, path, summary) = converted(&case("b_bf16"), &Default::default());
    let run = converter().arg("inspect").arg(&path).output().unwrap();
    assert!(run.status.success());
    let text = String::from_utf8(run.stdout).unwrap();
    for part in ["lm_head.weight ", "512 x 96", "t5", &summary.hash, "tokenizer.json"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let run = converter().arg("inspect").arg(&path).arg("--json").output().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(json["config"]["hidden_size"], 96);
    let tensors = json["tensors"].as_array().unwrap();
    // Scales and the tokenizer stand beside the model's own.
    assert_eq!(tensors.len(), summary.tensors + summary.matrices + 1);
    let mut end = json["header_bytes"].as_u64().unwrap();
    for tensor in tensors {
        assert_eq!(tensor["offset"], end);
        end += tensor["bytes"].as_u64().unwrap();
        assert_eq!(tensor["sha256"].as_str().unwrap().len(), 64);
        if tensor["packing"] == "t5" {
            assert_eq!(tensor["offset"].as_u64().unwrap() % 64, 0);
        }
    }
    assert_eq!(json["file_bytes"], end);
}

#[test]
fn inspect_refuses_what_is_no_model_file() {
    let dir = temp_dir();
    for (name, bytes) in [("empty", &b""[..]), ("zeros", &[0; 4096]), ("text", b"hello, world")] {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let run = converter().arg("inspect").arg(&path).output().unwrap();
        assert_fails(&run, &[name]);
    }
    let run = converter().arg("inspect").arg(dir.path()).output().unwrap();
    assert_fails(&run, &["a directory"]);
    let run =
        converter().arg("inspect").arg(case("b_bf16").join("model.safetensors")).output().unwrap();
    assert_fails(&run, &["not a model file", "mmfree-convert"]);
}

#[test]
fn wrong_usage_is_exit_code_2() {
    for args in [
        &[][..],
        &["a", "b"],
        &["a", "-t", "0"],
        &["a", "--pack", "q4"],
        &["a", "--embed", "i4"],
        &["inspect"],
        &["synthesize"],
        &["synthesize", "--size", "9b"],
        &["synthesize", "--size", "hidden=64"],
        &["--no-such-option"],
    ] {
        let run = converter().args(args).output().unwrap();
        assert_eq!(run.status.code(), Some(2), "{args:?} {}", stderr(&run));
        assert!(run.stdout.is_empty());
    }
    for args in [&["--help"][..], &["inspect", "--help"], &["--version"]] {
        assert!(converter().args(args).output().unwrap().status.success());
    }
}

#[test]
fn a_closed_stdout_ends_quietly() {
    let (_dir, path, _) = converted(&case("b_bf16"), &Default::default());
    let mut child = converter()
        .arg("inspect")
        .arg(&path)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let run = child.wait_with_output().unwrap();
    assert_eq!((run.status.code(), stderr(&run).as_str()), (Some(0), ""));
}

#[test]
fn a_full_stdout_is_an_error() {
    let (_dir, path, _) = converted(&case("b_bf16"), &Default::default());
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let run = converter().arg("inspect").arg(&path).stdout(full).output().unwrap();
    assert_fails(&run, &["cannot write to stdout", "No space left"]);
}

/// A polite end removes the unfinished file.
#[test]
fn an_interrupted_run_leaves_nothing() {
    let dir = temp_dir();
    let path = dir.path().join("m.mmfree");
    let mut child = converter()
        .args(["synthesize", "--size", "2.7b", "-t", "1", "-o"])
        .arg(&path)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while names(dir.path()).is_empty() {
        assert!(child.try_wait().unwrap().is_none());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let kill = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(kill.success());
    let run = child.wait_with_output().unwrap();
    assert_eq!(run.status.code(), Some(130), "{}", stderr(&run));
    assert!(stderr(&run).contains("error: interrupted"));
    assert_eq!(names(dir.path()), [""; 0]);
}

#[test]
fn a_path_that_begins_with_a_dash_is_shown_as_it_would_be_right() {
    let dir = temp_dir();
    let run = |args: &[&str]| converter().args(args).current_dir(dir.path()).output().unwrap();
    for args in
        [&["-dashfolder"][..], &["verify", "-out.mmfree"], &["inspect", "--json", "-out.mmfree"]]
    {
        let word = args.last().unwrap();
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let text = stderr(&output);
        assert!(text.contains(&format!("`{word}` is no option here")), "{text}");
        assert!(text.contains(&format!("-- {word}\n")), "{text}");
    }
    let (_dir, model, _) = converted(&case("b_bf16"), &Default::default());
    std::fs::copy(model, dir.path().join("-out.mmfree")).unwrap();
    std::fs::copy(dir.path().join("-out.mmfree"), dir.path().join("- out.mmfree")).unwrap();
    for args in [&["verify", "--", "-out.mmfree"][..], &["verify", "- out.mmfree", "-t", "1"]] {
        let output = run(args);
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    }
    let output = run(&["- no such folder", "-o", "-x.mmfree"]);
    assert_fails(&output, &["- no such folder"]);
}
