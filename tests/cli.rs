//! `mmfree-infer` as a user meets it, with the demo model.

use std::ffi::OsStr;
use std::path::Path;

use mmfree::packing::Packing;
use mmfree::{Config, ModelFile, Tokenizer};
use safetensors::SafeTensors;

use crate::program::{infer, run, run_with_stdin};
use crate::synthetic;
use crate::tokenizers;
use crate::util::TempDir;

/// A model file without a tokenizer.
fn model_without_tokenizer(dir: &TempDir) -> String {
    let bytes = synthetic::model_without_tokenizer(&synthetic::config(), Packing::T5, 1);
    text(&dir.write("plain.mmfree", bytes))
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

#[test]
fn the_same_seed_gives_the_same_text_on_every_machine() {
    let args = ["Once upon a time", "--seed", "3", "-n", "12", "--quiet"];
    let expected = run(args).text();
    assert_eq!(expected, " there appeared a king who had a daughter who had four eld");
    for more in [["-t", "1"], ["-t", "3"], ["--isa", "scalar"]] {
        assert_eq!(run(args.iter().chain(&more)).text(), expected, "{more:?}");
    }
    let other = ["Once upon a time", "--seed", "4", "-n", "12", "--quiet"];
    assert_ne!(run(other).text(), expected);
}

#[test]
fn a_random_seed_is_reported_and_gives_the_text_again() {
    let first = run(["-n", "12", "The king"]);
    let line = first.stderr.lines().find(|line| line.starts_with("seed:")).unwrap();
    let seed = line.split_whitespace().nth(1).unwrap().to_owned();
    assert_eq!(run(["-n", "12", "The king", "--seed", &seed]).text(), first.text());
}

#[test]
fn a_prompt_is_the_same_from_everywhere() {
    let dir = TempDir::new();
    let file = text(&dir.write("prompt.txt", "The old king\n"));
    let common = ["-n", "8", "--greedy"];
    let with = |args: &[&str]| run(common.iter().chain(args)).text();
    let expected = with(&["The old king"]);
    assert_eq!(with(&["-p", "The old king"]), expected);
    assert_eq!(with(&["-f", &file]), expected);
    assert_eq!(run_with_stdin(common, b"The old king\n").text(), expected);
    assert_eq!(run_with_stdin(common, b"The old king").text(), expected);
    assert_eq!(run_with_stdin(common.iter().chain(&["-"]), b"The old king\r\n").text(), expected);
    assert_eq!(run_with_stdin(common.iter().chain(&["-f", "-"]), b"The old king").text(), expected);
    assert_eq!(with(&["--ids", "1,471,709,888"]), expected);
}

#[test]
fn an_empty_prompt_is_the_bos_token() {
    let args = ["-n", "8", "--greedy"];
    let expected = run(args.iter().chain(&["--ids", "1"])).text();
    assert!(!expected.is_empty());
    assert_eq!(run(args.iter().chain(&[""])).text(), expected);
    assert_eq!(run(args).text(), expected);
}

#[test]
fn the_name_of_a_command_is_a_prompt_through_p() {
    let got = run(["-p", "info", "-n", "3", "--json"]).json();
    assert_eq!(got["ids"].as_array().unwrap().len(), 3);
    let got = run(["-p", "help", "-n", "3", "--json"]).json();
    assert_eq!(got["ids"].as_array().unwrap().len(), 3);
    assert!(run(["help"]).text().contains("Usage: mmfree-infer"));
    assert!(run(["help", "bench"]).text().contains("Usage: mmfree-infer bench"));
}

#[test]
fn a_command_behind_options_is_no_prompt() {
    refused(&["-n", "3", "-q", "info"], 2, &["`info`", "a command goes first", "-p"]);
    refused(&["-n", "3", "perplexity", "-f", "x"], 2, &["a command goes first"]);
    refused(&["-t", "1", "logits", "--ids", "1", "-o", "never"], 2, &["a command goes first"]);
    refused(&["once", "upon"], 2, &["`upon`", "quotes"]);
}

#[test]
fn stdout_has_the_text_and_nothing_else() {
    let loud = run(["Once upon a time", "--seed", "3", "-n", "12"]);
    for word in ["model:", "prompt:", "text:", "tokens/s", "seed:", "memory:"] {
        let there = cfg!(target_os = "linux") || word != "memory:";
        assert_eq!(loud.stderr.contains(word), there, "{word}: {}", loud.stderr);
    }
    let quiet = run(["Once upon a time", "--seed", "3", "-n", "12", "--quiet"]);
    assert_eq!(quiet.stderr, "");
    assert_eq!(quiet.text(), loud.text());
}

#[test]
fn text_ends_in_front_of_a_stop_string() {
    let args = ["Once upon a time", "--seed", "3", "-n", "40", "--quiet"];
    let whole = run(args).text();
    let stopped = run(args.iter().chain(&["--stop", "daughter", "--stop", "nowhere"])).text();
    assert_eq!(stopped, " there appeared a king who had a ");
    assert!(whole.starts_with(&stopped));
    let got = run(args.iter().chain(&["--stop", "daughter", "--json"])).json();
    assert_eq!(got["stop"], "stop_string");
    assert_eq!(got["text"], " there appeared a king who had a ");
}

#[test]
fn json_holds_all_there_is_to_know() {
    let got = run(["The old king", "-n", "5", "--seed", "9", "--json", "--quiet"]).json();
    assert_eq!(got["seed"], 9);
    assert_eq!(got["stop"], "max_tokens");
    assert_eq!(got["prompt_ids"], serde_json::json!([1, 471, 709, 888]));
    assert_eq!(got["ids"].as_array().unwrap().len(), 5);
    assert_eq!(got["text"], run(["The old king", "-n", "5", "--seed", "9"]).text());
    // The checkpoint's own defaults.
    assert_eq!(got["sampling"]["temperature"].as_f64().unwrap() as f32, 0.7);
    assert_eq!(got["sampling"]["top_p"].as_f64().unwrap() as f32, 0.9);
    let greedy = run(["x", "-n", "1", "--greedy", "--json"]).json();
    assert_eq!(greedy["sampling"]["temperature"], 0.0);
}

#[test]
fn max_length_counts_the_prompt_in() {
    let got = run(["The old king", "--max-length", "10", "--ignore-eos", "--json"]).json();
    assert_eq!(got["ids"].as_array().unwrap().len(), 6);
    assert_eq!(got["stop"], "max_length");
    let got = run(["The old king", "--max-length", "2", "--json"]).json();
    assert_eq!((&got["text"], &got["stop"]), (&"".into(), &"max_length".into()));
    // Without it, 128; with it, as many as it allows.
    let got = run(["--ids", "1", "--max-length", "200", "--ignore-eos", "--json"]).json();
    assert_eq!(got["ids"].as_array().unwrap().len(), 199);
}

#[test]
fn a_token_that_ends_the_text_ends_it_unless_ignored() {
    // In a model of noise every token comes up now and then.
    let dir = TempDir::new();
    let model = model_without_tokenizer(&dir);
    let args = ["-m", &model, "--ids", "1", "--temp", "100", "--seed", "1", "-n", "2000", "--json"];
    let got = run(args).json();
    let ids = got["ids"].as_array().unwrap();
    assert_eq!((&got["stop"], ids.last().unwrap()), (&"eos".into(), &2.into()));
    let ignored = run(args.iter().chain(&["--ignore-eos"])).json();
    assert_eq!(ignored["stop"], "max_tokens");
    assert_eq!(&ignored["ids"].as_array().unwrap()[..ids.len()], &ids[..]);
}

#[test]
fn a_model_without_tokenizer_runs_from_ids_to_ids() {
    let dir = TempDir::new();
    let model = model_without_tokenizer(&dir);
    let got = run(["-m", &model, "--ids", "1,5", "-n", "4"]).text();
    assert_eq!(got.split_whitespace().filter_map(|id| id.parse::<u32>().ok()).count(), 4, "{got}");
    assert!(got.ends_with('\n'));
    let refused = run(["-m", &model, "some text"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("--ids"), "{}", refused.stderr);
}

/// A tokenizer that cannot be read is in nobody's way who has ids.
#[test]
fn a_model_with_a_bad_tokenizer_runs_from_ids_to_ids() {
    let dir = TempDir::new();
    let bytes = synthetic::model(&synthetic::config(), Packing::T5, 1);
    let model = text(&dir.write("bad.mmfree", bytes));
    let got = run(["-m", &model, "--ids", "1,5", "-n", "4", "--greedy"]);
    assert!(got.stderr.contains("note: ") && got.stderr.contains("bad.mmfree"), "{}", got.stderr);
    assert_eq!(got.text().split_whitespace().count(), 4);
    let out = text(&dir.path("a.safetensors"));
    run(["logits", "-m", &model, "--ids", "1,5", "-o", &out]).text();
    let info = run(["info", "-m", &model]).text();
    assert!(info.contains("tokenizer   cannot be used"), "{info}");
    assert!(run(["info", "-m", &model, "--json"]).json()["tokenizer_fault"].is_string());
    refused(&["-m", &model, "x"], 1, &["bad.mmfree: tokenizer.json: ", "--ids"]);
    refused(&["-m", &model, "--ids", "1", "--stop", "x"], 1, &["bad.mmfree", "--stop"]);
    refused(&["logits", "-m", &model, "-p", "x", "-o", &out], 1, &["bad.mmfree", "--ids"]);
}

/// The demo model with another generation config, of the same length.
fn demo_with(dir: &TempDir, from: &str, to: &str) -> String {
    let mut bytes =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/models/demo.mmfree")).unwrap();
    let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).unwrap();
    assert_eq!(from.len(), to.len());
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    text(&dir.write("bad.mmfree", bytes))
}

#[test]
fn a_bad_default_counts_only_where_it_would_be_used() {
    let dir = TempDir::new();
    let model = demo_with(&dir, "\\\"top_p\\\": 0.9", "\\\"top_p\\\": 1.9");
    let common = ["-m", &model, "x", "-n", "2", "--seed", "1"];
    let with = |more: &[&str]| run(common.iter().chain(more));
    let words = ["bad.mmfree: generation_config.json: top_p is 1.9, must be above 0", "--top-p"];
    refused(&common, 1, &words);
    refused(&[&common[..], &["--temp", "0.5"]].concat(), 1, &words);
    with(&["--greedy"]).text();
    with(&["--temp", "0"]).text();
    let got = with(&["--temp", "0.5", "--top-p", "0.9", "--json"]).json();
    assert_eq!(got["sampling"]["top_p"].as_f64().unwrap() as f32, 0.9);
    let info = run(["info", "-m", &model]).text();
    assert!(info.contains("top_p is 1.9"), "{info}");

    // Greedy by default, this one has no need of its penalty before someone asks to sample.
    let from = "\\\"do_sample\\\": true,\\n  \\\"temperature\\\": 0.7";
    let to = format!("{:1$}", "\\\"repetition_penalty\\\": 0", from.len());
    let model = demo_with(&dir, from, &to);
    let common = ["-m", &model, "x", "-n", "2"];
    run(common).text();
    refused(
        &[&common[..], &["--temp", "0.5"]].concat(),
        1,
        &["repetition_penalty is 0, must be above 0", "--repeat-penalty"],
    );
    let info = run(["info", "-m", &model]).text();
    assert!(info.contains("greedy") && !info.contains("repetition_penalty"), "{info}");

    let model = demo_with(&dir, "\\\"do_sample\\\": true", "\\\"do_sample\\\":    1");
    let common = ["-m", &model, "x", "-n", "2"];
    refused(&common, 1, &["do_sample is 1, must be true or false", "--greedy"]);
    run(common.iter().chain(&["--temp", "0.5"])).text();
    run(["info", "-m", &model]).text();
}

/// A typing mistake must not cost a model, a text or a saved session.
#[test]
fn only_files_of_the_same_kind_are_replaced() {
    let dir = TempDir::new();
    let model = text(&dir.write("m.mmfree", include_bytes!("../models/demo.mmfree")));
    let prompt = text(&dir.write("prompt.txt", "The sea"));
    let (state, logits) = (text(&dir.path("s.state")), text(&dir.path("l.safetensors")));
    let generate = |state: &str| {
        let common = ["-m", &model, "-f", &prompt, "-n", "1", "--save-state"];
        common.iter().chain(&[state]).map(|arg| arg.to_string()).collect::<Vec<_>>()
    };
    let write = |logits: &str| {
        let common = ["logits", "-m", &model, "--ids", "1", "-o"];
        common.iter().chain(&[logits]).map(|arg| arg.to_string()).collect::<Vec<_>>()
    };
    for _ in 0..2 {
        run(generate(&state)).text();
        run(write(&logits)).text();
    }
    let contents = || [&model, &prompt, &state, &logits].map(|path| std::fs::read(path).unwrap());
    let before = contents();
    for path in [&model, &prompt, &logits] {
        refused(&generate(path), 1, &[path, "no saved state"]);
    }
    for path in [&model, &prompt, &state] {
        refused(&write(path), 1, &[path, "no file of logits"]);
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&model, dir.path("link")).unwrap();
        refused(&generate(&text(&dir.path("link"))), 1, &["link", "no saved state"]);
    }
    assert!(contents() == before);
    assert_eq!(std::fs::read_dir(dir.path("")).unwrap().count(), 4 + usize::from(cfg!(unix)));
}

#[test]
fn a_saved_session_goes_on_as_if_never_stopped() {
    let dir = TempDir::new();
    let state = text(&dir.path("s.state"));
    let whole = run(["There was a king", "--seed", "5", "-n", "40"]).text();
    let first = run(["There was a king", "--seed", "5", "-n", "15", "--save-state", &state]).text();
    let second = run(["--load-state", &state, "-n", "15", "--save-state", &state]).text();
    let third = run(["--load-state", &state, "-n", "10"]).text();
    assert_eq!(first + &second + &third, whole);
    // More text goes after it, without a BOS.
    let more = run(["--load-state", &state, "-p", " The", "-n", "1", "--json"]).json();
    assert_eq!(more["prompt_ids"], serde_json::json!([471]));
    assert_eq!(more["seed"], 5);
    // Saved before the first token.
    run(["There was a king", "--seed", "5", "-n", "0", "--save-state", &state]).text();
    assert_eq!(run(["--load-state", &state, "-n", "40"]).text(), whole);
}

#[test]
fn logits_are_the_same_bits_in_a_chunk_and_one_by_one() {
    let dir = TempDir::new();
    let (chunk, steps) = (text(&dir.path("a.safetensors")), text(&dir.path("b.safetensors")));
    let ids: Vec<String> = (0..150).map(|i| (i * 37 % 2048).to_string()).collect();
    let ids = ids.join(",");
    run(["logits", "--ids", &ids, "-o", &chunk]).text();
    run(["logits", "--ids", &ids, "-o", &steps, "--each-step"]).text();
    let bytes = std::fs::read(chunk).unwrap();
    assert!(bytes == std::fs::read(steps).unwrap());
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(tensors.tensor("logits").unwrap().shape(), [150, 2048]);
    assert_eq!(tensors.tensor("state").unwrap().shape(), [4, 192]);
    let ids = tensors.tensor("ids").unwrap();
    assert_eq!((ids.dtype(), ids.shape()), (safetensors::Dtype::I64, &[150][..]));
    assert_eq!(ids.data()[8..16], 37i64.to_le_bytes());
}

#[test]
fn greedy_text_is_the_largest_of_the_logits() {
    let dir = TempDir::new();
    let out = text(&dir.path("a.safetensors"));
    run(["logits", "--prompt", "The old king", "-o", &out]).text();
    let bytes = std::fs::read(out).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let logits = tensors.tensor("logits").unwrap();
    assert_eq!(logits.shape(), [4, 2048], "BOS and three words");
    let last: Vec<f32> = logits.data()[3 * 4 * 2048..]
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect();
    let best = (0..2048).rev().max_by(|&a, &b| last[a].total_cmp(&last[b])).unwrap();
    let got = run(["The old king", "-n", "1", "--greedy", "--json"]).json();
    assert_eq!(got["ids"][0], best);
}

#[test]
fn logits_of_a_model_with_convolutions_hold_the_windows() {
    let dir = TempDir::new();
    for (shared, shape) in [(true, &[3, 4, 40][..]), (false, &[3, 2, 4, 40])] {
        let conv = mmfree::format::ShortConv { size: 4, shared };
        let config = mmfree::Config { short_conv: Some(conv), ..synthetic::config() };
        let bytes = synthetic::model_without_tokenizer(&config, Packing::I2, 1);
        let model = dir.write("conv.mmfree", bytes);
        let out = text(&dir.path("a.safetensors"));
        run(["logits", "-m", &text(&model), "--ids", "1,2,3", "-o", &out]).text();
        let bytes = std::fs::read(out).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(tensors.tensor("windows").unwrap().shape(), shape);
    }
}

/// A model of the golden cases' tokenizer without its post-processor, and its file.
fn model_without_bos(dir: &TempDir, bos_token_id: Option<u32>) -> String {
    let config = Config { vocab_size: 512, bos_token_id, ..synthetic::config() };
    let mut json = tokenizers::golden();
    json["post_processor"] = serde_json::Value::Null;
    let bytes = synthetic::model_with_tokenizer(&config, Packing::T5, 1, &json.to_string());
    text(&dir.write(format!("{bos_token_id:?}.mmfree"), bytes))
}

#[test]
fn what_a_prompt_begins_with_is_up_to_the_tokenizer() {
    let dir = TempDir::new();
    let model = model_without_bos(&dir, Some(1));
    let ids = |args: &[&str]| {
        let common = ["-m", &model, "-n", "1", "--json"];
        run(common.iter().chain(args)).json()["prompt_ids"].clone()
    };
    assert_eq!(ids(&["a"]), serde_json::json!([340]));
    // There must be something.
    assert_eq!(ids(&[""]), serde_json::json!([1]));
    let (out, file) = (text(&dir.path("logits")), text(&dir.write("text", "abcde")));
    run(["logits", "-m", &model, "--prompt", "abcde", "-o", &out]).text();
    let bytes = std::fs::read(&out).unwrap();
    let shape = SafeTensors::deserialize(&bytes).unwrap().tensor("ids").unwrap().shape().to_vec();
    // Windows have nothing before them either: the first token of each is not predicted.
    for (context, windows) in [("4096", 1), ("2", shape[0].div_ceil(2))] {
        let args = ["perplexity", "-m", &model, "-f", &file, "--context", context, "--json"];
        let got = run(args).json();
        assert_eq!(got["tokens"], shape[0]);
        assert_eq!(got["predicted"], shape[0] - windows);
    }
}

#[test]
fn a_prompt_of_no_tokens_is_a_usage_error() {
    let dir = TempDir::new();
    let model = model_without_bos(&dir, None);
    refused(&["-m", &model, ""], 2, &["the prompt is empty", "no BOS token"]);
    let out = text(&dir.path("never"));
    refused(&["logits", "-m", &model, "--prompt", "", "-o", &out], 2, &["the prompt is empty"]);
    let bare = Config { bos_token_id: None, ..synthetic::config() };
    let bytes = synthetic::model_without_tokenizer(&bare, Packing::T5, 1);
    let bare = text(&dir.write("bare.mmfree", bytes));
    refused(&["-m", &bare, ""], 2, &["the prompt is empty"]);
}

#[test]
fn a_prompt_after_a_saved_session_is_appended_as_it_is() {
    let dir = TempDir::new();
    let state = text(&dir.path("state"));
    let tokenizer = Tokenizer::from_file(&ModelFile::demo().unwrap()).unwrap().unwrap();
    for (before, after) in [("There was a kin", "g who"), ("There was a king", " who")] {
        let first = run(["-n", "0", "--save-state", &state, before, "--json"]).json();
        let then = run(["-n", "1", "--load-state", &state, "-p", after, "--json"]).json();
        let ids = |value: &serde_json::Value| -> Vec<u32> {
            serde_json::from_value(value["prompt_ids"].clone()).unwrap()
        };
        let whole = [ids(&first), ids(&then)].concat();
        assert_eq!(tokenizer.decode(&whole).unwrap(), format!("{before}{after}"));
    }
}

#[test]
fn a_tokenizer_that_makes_very_much_of_little_text_is_one_line_of_error() {
    let dir = TempDir::new();
    let config = Config { vocab_size: 512, ..synthetic::config() };
    let replace = serde_json::json!({"type": "Replace", "pattern": {"String": "a"},
        "content": "aaaaaaaaaa"});
    let mut json = tokenizers::golden();
    json["normalizer"] = serde_json::json!({"type": "Sequence", "normalizers": vec![replace; 12]});
    let bytes = synthetic::model_with_tokenizer(&config, Packing::T5, 1, &json.to_string());
    let model = text(&dir.write("bomb.mmfree", bytes));
    refused(&["-m", &model, "a"], 1, &["bomb.mmfree: tokenizer.json: it makes a text of 1 bytes"]);
}

#[test]
fn perplexity_counts_every_token_of_the_text_once() {
    let dir = TempDir::new();
    let story =
        "Once upon a time there was a king who had three daughters, and the youngest was fair.";
    let file = text(&dir.write("story.txt", story));
    let whole = run(["perplexity", "-f", &file, "--json"]).json();
    let tokens = whole["tokens"].as_u64().unwrap();
    assert_eq!(whole["predicted"], tokens - 1);
    assert_eq!(whole["bytes"], story.len());
    let (nats, perplexity) =
        (whole["nats_per_token"].as_f64().unwrap(), whole["perplexity"].as_f64().unwrap());
    assert!(perplexity > 5.0 && perplexity < 200.0 && nats < 5.3, "{whole}");
    // One window that holds it all is the same; more of them predict as many tokens.
    let window = run(["perplexity", "-f", &file, "--context", "4096", "--json"]).json();
    assert_eq!(window, whole);
    let windows = run(["perplexity", "-f", &file, "--context", "8", "--json"]).json();
    assert_eq!(windows["predicted"], tokens - 1);
    assert!(windows["nats"].as_f64() > whole["nats"].as_f64(), "less to go by: {windows}");
    let shown = run(["perplexity", "-f", &file]).text();
    for word in ["tokens", "nats per token", "bits per byte", "perplexity"] {
        assert!(shown.contains(word), "{shown}");
    }
}

#[test]
fn info_tells_what_runs_how() {
    let got = run(["info", "--json", "-t", "2"]).json();
    assert_eq!(got["architecture"], "hgrn_bit");
    assert_eq!(got["config"]["hidden_size"], 192);
    assert_eq!(got["threads"], 2);
    assert_eq!(got["state_bytes"], 4 * 192 * 4);
    let scalar = run(["info", "--json", "--isa", "scalar"]).json();
    assert_eq!(scalar["isa"], "scalar");
    let packings = scalar["packings"].as_object().unwrap();
    assert!(
        packings.iter().all(|(name, p)| p["kernel"] == format!("{name}-scalar")),
        "{packings:?}"
    );
    let shown = run(["info"]).text();
    for word in ["vocabulary 2048", "kernel", "runs on", "memory"] {
        assert!(shown.contains(word), "{shown}");
    }
}

#[test]
fn the_instruction_set_comes_from_the_environment_too() {
    let output = infer(["info", "--json"]).env("MMFREE_ISA", "scalar").output().unwrap();
    let info: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(info["isa"], "scalar");
    let output = infer(["info"]).env("MMFREE_ISA", "sse9").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(
        message.starts_with("error: MMFREE_ISA: ") && message.lines().count() == 1,
        "{message}"
    );
    let output = infer(["info", "--isa", "scalar"]).env("MMFREE_ISA", "sse9").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn help_has_examples() {
    for flag in ["-h", "--help"] {
        let help = run([flag]).text();
        assert!(help.contains("Examples:") && help.contains("Once upon a time"), "{help}");
    }
    assert!(run(["--version"]).text().starts_with("mmfree-infer "));
}

/// The run ends with `code` and says `words`, in one line if it was not about the usage.
#[track_caller]
fn refused<A: AsRef<OsStr> + std::fmt::Debug>(args: &[A], code: i32, words: &[&str]) {
    let got = run(args);
    assert_eq!(got.code, Some(code), "{args:?}: {}", got.stderr);
    assert!(got.stderr.starts_with("error: "), "{args:?}: {}", got.stderr);
    assert!(code == 2 || got.stderr.trim_end().lines().count() == 1, "{args:?}: {}", got.stderr);
    assert!(got.stdout.is_empty(), "{args:?}");
    for word in words {
        assert!(got.stderr.contains(word), "{args:?}: no {word} in: {}", got.stderr);
    }
}

#[test]
fn bad_arguments_are_refused_with_the_reason() {
    refused(&["x", "-t", "0"], 2, &["--threads", "1 to"]);
    refused(&["x", "-t", "-1"], 2, &["--threads", "1 to"]);
    refused(&["x", "-n", "many"], 2, &["--max-tokens"]);
    refused(&["--ids", ""], 2, &["--ids", "1,15043"]);
    refused(&["--ids", "1,x"], 2, &["`x`"]);
    refused(&["--ids", "1,2048"], 1, &["2048", "vocabulary", "2047"]);
    refused(&["logits", "--ids", "4294967295", "-o", "never"], 1, &["4294967295", "2047"]);
    refused(&["logits", "-o", "never"], 2, &["--ids", "--prompt"]);
    refused(&["x", "-p", "y"], 2, &["cannot be used with"]);
    refused(&["x", "--greedy", "--temp", "1"], 2, &["cannot be used with"]);
    refused(&["x", "--temp", "-1"], 2, &["'-1' for '--temp <T>': must be 0 or more"]);
    refused(&["x", "--temp", "nan"], 2, &["--temp"]);
    refused(&["x", "--temp", "warm"], 2, &["--temp", "must be a number"]);
    refused(&["x", "--top-p", "0"], 2, &["'--top-p <P>': must be above 0, and 1 at most"]);
    refused(&["x", "--min-p", "2"], 2, &["'--min-p <P>': must be 0 to 1"]);
    refused(&["x", "--repeat-penalty", "0"], 2, &["'--repeat-penalty <X>': must be above 0"]);
    refused(&["x", "--stop", ""], 2, &["--stop"]);
    refused(&["x", "--isa", "sse9"], 2, &["--isa", "sse9", "scalar"]);
    refused(&["x", "--isa", "scalar", "--kernel", "dot"], 2, &["--kernel dot", "scalar"]);
    refused(&["bench", "--isa", "sse9"], 2, &["--isa", "scalar"]);
    refused(&["perplexity", "-f", "x", "--context", "1"], 2, &["--context", "2 or more"]);
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        refused(&[OsStr::from_bytes(b"caf\xE9")], 2, &["UTF-8"]);
    }
}

#[test]
fn bad_files_are_refused_with_the_reason() {
    let dir = TempDir::new();
    let folder = text(&dir.path(""));
    let missing = text(&dir.path("missing"));
    let deeper = text(&dir.path("missing/file"));
    let zeros = text(&dir.write("zeros.mmfree", [0; 4096]));
    let empty = text(&dir.write("empty.mmfree", ""));
    let demo = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/models/demo.mmfree")).unwrap();
    let cut = text(&dir.write("cut.mmfree", &demo[..demo.len() / 2]));
    let whole = text(&dir.write("whole.mmfree", &demo));
    let latin1 = text(&dir.write("latin1.txt", b"caf\xE9 au lait"));
    let no_text = text(&dir.write("no.txt", ""));
    for model in [&folder, &missing, &zeros, &empty, &cut, &latin1] {
        refused(&["-m", model, "x"], 1, &[model.trim_end_matches('/')]);
        refused(&["info", "-m", model], 1, &[]);
    }
    refused(&["-f", &missing], 1, &["missing"]);
    refused(&["-f", &folder], 1, &["directory"]);
    refused(&["-f", &latin1], 1, &["latin1.txt", "not UTF-8", "byte 3"]);
    refused(&["perplexity", "-f", &latin1], 1, &["not UTF-8"]);
    refused(&["perplexity", "-f", &no_text], 1, &["no token to predict"]);
    refused(&["x", "--load-state", &missing], 1, &["missing"]);
    refused(&["x", "--load-state", &whole], 1, &["not a saved state"]);
    refused(&["x", "--load-state", &zeros], 1, &["zeros"]);
    refused(&["x", "-n", "1", "--save-state", &folder], 1, &["directory"]);
    refused(&["x", "-n", "1", "--save-state", &deeper], 1, &["missing"]);
    refused(&["logits", "--ids", "1", "-o", &folder], 1, &["directory"]);
    refused(&["logits", "--ids", "1", "-o", &deeper], 1, &["missing"]);
}

#[test]
fn a_tokenizer_that_makes_its_library_panic_is_one_line_of_error() {
    // The last decoder strips spaces at the end as well, and underflows where there is nothing
    // else.
    let mut bytes =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/models/demo.mmfree")).unwrap();
    let find = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).position(|w| w == part);
    let at = find(&bytes, b"\"stop\": 0")
        .map(|at| at + 8)
        .or_else(|| find(&bytes, b"\"stop\":0").map(|at| at + 7));
    bytes[at.unwrap()] = b'9';
    let dir = TempDir::new();
    let model = text(&dir.write("bad.mmfree", bytes));
    refused(&["-m", &model, " "], 1, &["tokenizer"]);
}

#[cfg(unix)]
mod signals {
    use std::io::Read;
    use std::process::{Child, Command, Stdio};

    use super::*;

    fn spawn(args: &[&str]) -> Child {
        infer(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn interrupt(child: &Child) {
        kill(child, "-INT");
    }

    fn kill(child: &Child, signal: &str) {
        let pid = child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    #[test]
    fn a_closed_pipe_does_not_cost_the_session() {
        let dir = TempDir::new();
        let state = text(&dir.path("s.state"));
        let mut child = spawn(&["x", "-n", "10000000", "--ignore-eos", "--save-state", &state]);
        let mut some = [0; 20];
        child.stdout.take().unwrap().read_exact(&mut some).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        run(["--load-state", &state, "-n", "5"]).text();
    }

    #[test]
    fn a_polite_kill_leaves_no_unfinished_file() {
        let dir = TempDir::new();
        let out = text(&dir.path("a.safetensors"));
        let ids = vec!["1"; 60_000].join(",");
        let mut child = spawn(&["logits", "--each-step", "-t", "1", "--ids", &ids, "-o", &out]);
        let files = || std::fs::read_dir(dir.path("")).unwrap().collect::<Vec<_>>();
        // The first one is gone at once: it was there to see whether there can be one.
        let begun = || files().iter().flatten().any(|f| f.metadata().is_ok_and(|m| m.len() > 0));
        while !begun() {
            assert!(child.try_wait().unwrap().is_none(), "ended by itself");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        kill(&child, "-TERM");
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(143));
        assert_eq!(files().len(), 0);
    }

    #[test]
    fn a_model_file_that_is_cut_short_in_use_is_one_line_of_error() {
        let dir = TempDir::new();
        let model = dir.write("cut.mmfree", include_bytes!("../models/demo.mmfree"));
        let path = text(&model);
        let mut child = spawn(&["-m", &path, "x", "-n", "10000000", "--ignore-eos", "-q"]);
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut [0; 20]).unwrap();
        // Read on, so that the program does not wait for us.
        let reader = std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
        std::fs::File::options().write(true).open(&model).unwrap().set_len(4096).unwrap();
        let output = child.wait_with_output().unwrap();
        reader.join().unwrap().unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
        assert!(message.starts_with("error: ") && message.contains("cut.mmfree"), "{message}");
        assert!(message.contains("cut short"), "{message}");
    }

    #[test]
    fn a_closed_pipe_ends_quietly() {
        let mut child = spawn(&["x", "-n", "10000000", "--ignore-eos"]);
        let mut some = [0; 20];
        child.stdout.take().unwrap().read_exact(&mut some).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }

    #[test]
    fn ctrl_c_ends_with_the_text_so_far() {
        let mut child = spawn(&["x", "-n", "10000000", "--ignore-eos"]);
        let mut some = [0; 20];
        child.stdout.as_mut().unwrap().read_exact(&mut some).unwrap();
        interrupt(&child);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130));
        assert!(String::from_utf8_lossy(&output.stderr).contains("interrupted"));
    }

    /// As above while the prompt is fed, which is when the signal is caught and nothing is printed
    /// yet.
    #[test]
    #[cfg(target_os = "linux")]
    fn ctrl_c_ends_a_long_prompt_too() {
        let dir = TempDir::new();
        let prompt = text(&dir.write("long.txt", "once upon a time there was ".repeat(40_000)));
        let state = text(&dir.path("s.state"));
        let mut child = spawn(&["-f", &prompt, "--save-state", &state]);
        let status = format!("/proc/{}/status", child.id());
        let caught = || {
            let status = std::fs::read_to_string(&status).unwrap();
            let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
            u64::from_str_radix(mask.trim(), 16).unwrap() >> 1 & 1 == 1
        };
        while !caught() {
            assert!(child.try_wait().unwrap().is_none(), "ended by itself");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        // An emulator catches signals of its own from its start on: there only time tells.
        if crate::program::runner().is_some() {
            std::thread::sleep(std::time::Duration::from_secs(4));
        }
        interrupt(&child);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130));
        assert!(output.stdout.is_empty());
        // What was not fed yet is in the saved session.
        let model = mmfree::ModelFile::demo().unwrap();
        let model = mmfree::Model::new(model, &mmfree::Options::default()).unwrap();
        let session = mmfree::Session::load(&model, Path::new(&state)).unwrap();
        assert!(session.pending().len() > 1);
    }
}

#[test]
fn sampling_options_change_the_text_and_are_reported() {
    let common = ["The old king", "-n", "8", "--seed", "9", "--json"];
    let with = |more: &[&str]| run(common.iter().chain(more));
    let plain = with(&["--quiet"]).json();
    let first = plain["ids"][0].as_u64().unwrap();
    let ban = format!("{first}=-inf");
    for (more, key, value) in [
        (&["--presence-penalty", "-1"][..], "presence_penalty", serde_json::json!(-1.0)),
        (&["--frequency-penalty=-0.5"], "frequency_penalty", serde_json::json!(-0.5)),
        (&["--typical-p", "0.5"], "typical_p", serde_json::json!(0.5)),
        (&["--repeat-last-n", "16"], "repeat_last_n", serde_json::json!(16)),
        (&["--repeat-last-n", "-1"], "repeat_last_n", serde_json::json!(0)),
        (&["--no-repeat-ngram", "2"], "no_repeat_ngram", serde_json::json!(2)),
        (&["--suppress-tokens", "7, 5"], "suppress_tokens", serde_json::json!([5, 7])),
        (
            &["--logit-bias", "5=-1", "--logit-bias", "7=2"],
            "logit_bias",
            serde_json::json!({"5": -1.0, "7": 2.0}),
        ),
        (&["--logit-bias", &ban], "logit_bias", serde_json::json!({first.to_string(): "-inf"})),
    ] {
        let done = with(more);
        let stderr = done.stderr.clone();
        assert_eq!(done.json()["sampling"][key], value, "{more:?}");
        let shown = format!("{} ", key.replace('_', "-"));
        let line = stderr.lines().find(|line| line.starts_with("sample: ")).unwrap();
        assert!(line.contains("temperature 0.7, "), "{line}");
        assert_eq!(line.contains(&shown), value != 0, "{line}");
    }
    let banned = with(&["--logit-bias", &ban, "--quiet"]).json();
    assert!(banned["ids"].as_array().unwrap().iter().all(|id| *id != first));
    let suppressed = with(&["--suppress-tokens", &first.to_string(), "--quiet"]).json();
    assert_eq!(suppressed["ids"], banned["ids"]);
    let greedy = run(["The old king", "-n", "1", "--greedy", "--repeat-penalty", "1.5"]);
    assert!(greedy.stderr.contains("sample: greedy, repeat-penalty 1.5\n"), "{}", greedy.stderr);

    for (option, value, word) in [
        ("--presence-penalty", "2.5", "-2 to 2"),
        ("--frequency-penalty", "-3", "-2 to 2"),
        ("--typical-p", "0", "above 0, and 1 at most"),
        ("--repeat-last-n", "-2", "-1 for all"),
        ("--logit-bias", "5", "15043=-1.5"),
        ("--logit-bias", "5=inf", "a number or -inf"),
        ("--suppress-tokens", "-1", "no token id"),
        ("--no-repeat-ngram", "-1", "whole number"),
    ] {
        refused(&["x", option, value], 2, &[option, word]);
    }
    refused(&["x", "--logit-bias", "2048=1"], 1, &["logit bias: token id 2048", "0 to 2047"]);
    refused(&["x", "--suppress-tokens", "7,99999"], 1, &["suppressed tokens: token id 99999"]);
    let all: Vec<String> = (0..2048).map(|id| id.to_string()).collect();
    let words = ["no token can be chosen at token 2: all 2048 are banned, by suppressed tokens"];
    refused(&["--ids", "1,2", "--suppress-tokens", &all.join(",")], 1, &words);
}

#[test]
fn the_generation_config_applies_to_text_and_info() {
    let dir = TempDir::new();
    let from = "\\\"do_sample\\\": true,\\n  \\\"temperature\\\": 0.7,\\n  \\\"top_p\\\": 0.9";
    let model = |keys: &str| {
        let keys = format!("{:1$}", keys.replace('"', "\\\""), from.len());
        demo_with(&dir, from, &keys)
    };
    let greedy = run(["The old king", "--greedy", "--json", "-n", "5", "-q"]).json();
    let first = greedy["ids"][0].as_u64().unwrap();
    let with = |model: &str, more: &[&str]| {
        run(["The old king", "-m", model, "--json", "-q"].iter().chain(more)).json()
    };

    let short = model("\"max_new_tokens\": 3, \"repetition_penalty\": 1.5");
    assert_eq!(with(&short, &[])["ids"].as_array().unwrap().len(), 3);
    assert_eq!(with(&short, &[])["stop"], "max_tokens");
    assert_eq!(with(&short, &["-n", "5"])["ids"].as_array().unwrap().len(), 5);
    let info = run(["info", "-m", &short]).text();
    assert!(info.contains("sampling    greedy, repeat-penalty 1.5\n"), "{info}");
    assert!(info.contains("            3 new tokens at most\n"), "{info}");
    let info = run(["info", "-m", &short, "--json"]).json();
    assert_eq!(info["sampling"]["repeat_penalty"], 1.5);
    assert_eq!(
        (&info["max_new_tokens"], &info["max_length"]),
        (&3.into(), &serde_json::Value::Null)
    );

    let long = model("\"max_length\": 9, \"num_beams\": 4, \"typical_p\": 0.5");
    let got = with(&long, &[]);
    let prompt = got["prompt_ids"].as_array().unwrap().len();
    assert_eq!(
        (got["ids"].as_array().unwrap().len(), &got["stop"]),
        (9 - prompt, &"max_length".into())
    );
    assert_eq!(with(&long, &["-n", "12"])["ids"].as_array().unwrap().len(), 12);
    let info = run(["info", "-m", &long]).text();
    assert!(info.contains("without effect here: num_beams 4\n"), "{info}");
    let info = run(["info", "-m", &long, "--json"]).json();
    assert_eq!(info["generation_not_applied"], serde_json::json!(["num_beams 4"]));

    // A token that is not there is nobody's.
    let bad = model(&format!("\"bad_words_ids\": [[{first}], [99999]]"));
    let ids = with(&bad, &["-n", "5"])["ids"].clone();
    assert!(ids.as_array().unwrap().iter().all(|id| *id != first), "{ids}");
    assert_eq!(with(&bad, &["-n", "5", "--suppress-tokens", ""])["ids"], greedy["ids"]);
    let bad = model("\"no_repeat_ngram_size\": \"two\"");
    let words = ["no_repeat_ngram_size is \"two\", must be a whole number", "--no-repeat-ngram"];
    refused(&["x", "-m", &bad], 1, &words);
    run(["x", "-m", &bad, "--no-repeat-ngram", "0", "-n", "1"]).text();
}
