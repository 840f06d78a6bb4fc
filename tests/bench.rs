//! `mmfree-infer bench` as a user meets it. What it measures differs from run to run; that it measures, and of what, does not.

use std::process::{Command, Stdio};

use crate::program::{infer, run};

#[track_caller]
fn refused(args: &[&str], words: &[&str]) {
    let got = run(args);
    assert_eq!(got.code, Some(2), "{args:?}: {}", got.stderr);
    assert!(got.stdout.is_empty(), "{args:?}");
    for word in words {
        assert!(got.stderr.contains(word), "{args:?}: no {word} in: {}", got.stderr);
    }
}

/// The number in a field, which is above 0.
#[track_caller]
fn positive(row: &serde_json::Value, field: &str) -> f64 {
    let value = row[field].as_f64().unwrap_or_else(|| panic!("no {field} in {row}"));
    assert!(value > 0.0 && value.is_finite(), "{field} in {row}");
    value
}

#[test]
fn each_test_of_a_model_stands_beside_what_bounds_it() {
    let args = ["bench", "-p", "4", "-n", "2", "-b", "1,3", "-t", "1,2", "-r", "1", "--json"];
    let rows = run(args).json();
    let names: Vec<_> =
        rows.as_array().unwrap().iter().map(|row| row["test"].as_str().unwrap()).collect();
    assert_eq!(names, ["pp4", "tg2", "tg2", "pp4", "tg2", "tg2"]);
    for (i, row) in rows.as_array().unwrap().iter().enumerate() {
        assert_eq!(row["threads"], if i < 3 { 1 } else { 2 });
        let rate = positive(row, "tokens_per_second");
        let (decodes, batch) = (i % 3 != 0, row["batch"].as_f64().unwrap());
        assert_eq!(batch, if i % 3 == 2 { 3.0 } else { 1.0 });
        if decodes {
            let each = positive(row, "bytes_per_token");
            assert_eq!(each * batch, positive(row, "bytes_per_pass"));
            let read = positive(row, "read_gb_s");
            assert!((read * 1e9 / (rate * each) - 1.0).abs() < 1e-6, "{row}");
            let share = 100.0 * read / positive(row, "machine_gb_s");
            assert!((positive(row, "read_percent") / share - 1.0).abs() < 1e-6, "{row}");
        } else {
            assert!(row["read_gb_s"].is_null(), "{row}");
        }
        // One sequence alone is bound by memory.
        if decodes && batch == 1.0 {
            assert!(row["gmac_s"].is_null(), "{row}");
        } else {
            let share = 100.0 * positive(row, "gmac_s") / positive(row, "machine_gmac_s");
            assert!((positive(row, "compute_percent") / share - 1.0).abs() < 1e-6, "{row}");
        }
    }
}

#[test]
fn tables_and_csv_have_a_line_for_each_test() {
    let common = ["bench", "-p", "4,8", "-n", "0", "-r", "1"];
    let table = run(common).text();
    assert_eq!(table.lines().filter(|line| line.starts_with("| pp")).count(), 2, "{table}");
    let csv = run(common.into_iter().chain(["--csv"])).text();
    let columns: Vec<_> = csv.lines().map(|line| line.split(',').count()).collect();
    assert_eq!(columns.len(), 3, "{csv}");
    assert!(csv.starts_with("test,device,threads,batch,isa,kernel,tokens_per_second,"), "{csv}");
    assert!(columns.iter().all(|&n| n == columns[0]), "{csv}");
}

#[test]
fn kernels_are_measured_at_the_shapes_of_a_model() {
    let kernel = mmfree::kernels::all().last().unwrap().name();
    let args = ["bench", "kernels", kernel, "--size", "370m", "-b", "1", "-t", "1", "-r", "1"];
    let rows = run(args.into_iter().chain(["--mib", "32", "--json"])).json();
    let shapes: Vec<_> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["rows"].as_u64().unwrap(), row["cols"].as_u64().unwrap()))
        .collect();
    assert_eq!(shapes, [(1024, 1024), (5632, 1024), (1024, 2816), (32000, 1024)]);
    for row in rows.as_array().unwrap() {
        assert_eq!(row["kernel"], kernel);
        for field in ["gweights_s", "read_percent", "compute_percent", "cached_gmac_s"] {
            positive(row, field);
        }
    }
}

#[test]
fn behind_a_longer_text_a_sequence_takes_no_more_memory() {
    let got = run(["bench", "--context", "9,0,1k", "-n", "2", "-r", "1", "-t", "1,2", "--json"]);
    assert_eq!(got.code, Some(0), "{}", got.stderr);
    let rows: serde_json::Value = serde_json::from_slice(&got.stdout).unwrap();
    let of = |key: &str| -> Vec<u64> {
        rows.as_array().unwrap().iter().map(|row| row[key].as_u64().unwrap()).collect()
    };
    assert_eq!(of("context"), [0, 9, 1024, 0, 9, 1024]);
    assert_eq!(of("threads"), [1, 1, 1, 2, 2, 2]);
    let bytes = of("state_bytes");
    assert!(bytes[0] > 0 && bytes.iter().all(|&count| count == bytes[0]), "{bytes:?}");
    let first = rows[0]["percent_of_first"].as_f64();
    assert_eq!(first, Some(100.0));
    assert!(rows[2]["tokens_per_second"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_duration_has_a_row_for_each_interval_and_says_what_it_cannot_see() {
    let got = run(["bench", "--duration", "0.5s", "--every", "0.2s", "--csv"]);
    let csv = String::from_utf8(got.stdout).unwrap();
    assert_eq!(got.code, Some(0), "{}", got.stderr);
    let lines: Vec<_> = csv.lines().collect();
    assert!(lines[0].starts_with("seconds,tokens,tokens_per_second,mhz,celsius,throttled,"));
    // Fewer where a token takes longer than an interval.
    assert!((1..=3).contains(&(lines.len() - 1)), "{csv}");
    let last: f64 = lines[lines.len() - 1].split(',').next().unwrap().parse().unwrap();
    assert!(last >= 0.5, "{csv}");
    let no_energy = lines[1].ends_with(",,,");
    assert_eq!(got.stderr.contains("energy: "), no_energy, "{}", got.stderr);
}

#[test]
#[cfg(unix)]
fn an_interrupt_ends_a_duration_with_the_table_so_far() {
    use std::io::{BufRead, BufReader, Read};
    let mut child = infer(["bench", "--duration", "1h", "--every", "0.1s"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.trim_start_matches("| ").starts_with(|c: char| c.is_ascii_digit()) {
        line.clear();
        assert!(out.read_line(&mut line).unwrap() > 0, "no first interval");
    }
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(rest.contains("slowest interval"), "{rest}");
}

#[test]
fn bad_arguments_are_refused_with_the_reason() {
    refused(&["bench", "-p", "0", "-n", "0"], &["-p or -n"]);
    refused(&["bench", "-p", "99999999"], &["99999999", "at most"]);
    refused(&["bench", "-b", "0"], &["--batch", "1 to 4096"]);
    refused(&["bench", "--duration", "soon"], &["--duration", "10m"]);
    refused(&["bench", "--duration", "1m", "-n", "4"], &["--duration", "--tokens"]);
    refused(&["bench", "--duration", "1m", "-b", "1,2"], &["--duration", "-b"]);
    refused(&["bench", "--every", "1s"], &["--duration"]);
    refused(&["bench", "--context", "1x"], &["--context", "8k"]);
    refused(&["bench", "--context", "8", "-p", "4"], &["--context", "--prompt"]);
    refused(&["bench", "--context", "8", "-n", "0"], &["-n"]);
    refused(&["bench", "--context", "8", "-n", "1,2"], &["-n"]);
    refused(&["bench", "--json", "--csv"], &["--json", "--csv"]);
    refused(&["bench", "kernels", "nosuch"], &["nosuch", "t5-scalar"]);
    refused(&["bench", "kernels", "--size", "7b"], &["--size", "2.7b"]);
    refused(&["bench", "kernels", "--mib", "1"], &["--mib", "32"]);
}
