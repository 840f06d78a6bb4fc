//! Writes the man pages and the shell completions of the programs, from the definitions of their
//! command lines:
//!
//! `cargo run -p mmfree-pages -- target/pages`
//!
//! A program of its own, so that none of them carries what it is made with.

// The definitions share what a value may look like, each as a module of its own.
#![allow(clippy::duplicate_mod)]

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Command, CommandFactory, ValueEnum};
use clap_complete::Shell;

#[allow(dead_code)]
#[path = "../../mmfree-convert/src/args.rs"]
mod convert;
#[allow(dead_code, unused_imports)]
#[path = "../../../src/bin/mmfree-infer/args.rs"]
mod infer;
#[allow(dead_code)]
#[path = "../../mmfree-serve/src/args.rs"]
mod serve;

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("error: give the folder to write to");
        return ExitCode::from(2);
    };
    match write(&folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: cannot write in {}: {error}", folder.display());
            ExitCode::FAILURE
        }
    }
}

fn programs() -> [Command; 3] {
    [convert::Args::command(), infer::Args::command(), serve::Args::command()]
}

/// Writes `man/NAME.1`, a page for each subcommand too, and `completions/`.
fn write(folder: &Path) -> io::Result<()> {
    let (man, completions) = (folder.join("man"), folder.join("completions"));
    std::fs::create_dir_all(&man)?;
    std::fs::create_dir_all(&completions)?;
    for mut program in programs() {
        let name = program.get_name().to_owned();
        // `help COMMAND` needs no page of its own.
        clap_mangen::generate_to(program.clone().disable_help_subcommand(true), &man)?;
        for &shell in Shell::value_variants() {
            clap_complete::generate_to(shell, &mut program, &name, &completions)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_are_sound() {
        programs().into_iter().for_each(Command::debug_assert);
    }

    #[test]
    fn every_program_gets_its_pages_and_every_shell_its_completions() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path()).unwrap();
        let read = |path: &str| std::fs::read_to_string(folder.path().join(path)).unwrap();
        for page in [
            "mmfree-infer",
            "mmfree-infer-perplexity",
            "mmfree-convert",
            "mmfree-convert-verify",
            "mmfree-serve",
        ] {
            assert!(read(&format!("man/{page}.1")).contains(".TH"), "{page}");
        }
        let pages = std::fs::read_dir(folder.path().join("man")).unwrap();
        let names: Vec<_> = pages.map(|page| page.unwrap().file_name()).collect();
        assert!(names.iter().all(|name| !name.to_string_lossy().contains("help")), "{names:?}");
        assert!(read("man/mmfree-convert.1").contains("\\-\\-revision"));
        for file in ["mmfree-infer.bash", "_mmfree-convert", "mmfree-convert.fish"] {
            assert!(!read(&format!("completions/{file}")).is_empty(), "{file}");
        }
    }
}
