//! Where the prompt comes from.

use std::io::{self, IsTerminal};
use std::path::Path;

use crate::args::{Ids, PromptArgs};
use crate::failure::{Failure, read_text};

/// A prompt as it was given.
pub enum Prompt {
    Text(String),
    Ids(Vec<u32>),
}

impl Prompt {
    /// Reads the prompt. Where none is given it is read from stdin, unless that is a terminal, or
    /// `resumes`: a resumed session needs none, and its stdin may be a pipe that never ends.
    pub fn read(args: &PromptArgs, resumes: bool) -> Result<Prompt, Failure> {
        let stdin = Path::new("-");
        if let Some(ids) = read_ids(args.ids.as_ref(), args.ids_file.as_deref())? {
            return Ok(Prompt::Ids(ids));
        }
        let text = if let Some(path) = &args.file {
            without_line_end(read_text(path)?)
        } else if let Some(text) = &args.prompt {
            text.clone()
        } else {
            match args.text.as_deref() {
                Some("-") => without_line_end(read_text(stdin)?),
                Some(text) => text.to_owned(),
                None if resumes || io::stdin().is_terminal() => String::new(),
                None => without_line_end(read_text(stdin)?),
            }
        };
        Ok(Prompt::Text(text))
    }
}

/// Ids as typed, or from a file; `None` where neither is given.
pub fn read_ids(typed: Option<&Ids>, file: Option<&Path>) -> Result<Option<Vec<u32>>, Failure> {
    let Some(path) = file else { return Ok(typed.map(|ids| ids.0.clone())) };
    let name = if path == Path::new("-") { "stdin".into() } else { path.display().to_string() };
    match Ids::parse(&read_text(path)?) {
        Ok(Ids(ids)) => Ok(Some(ids)),
        Err(reason) => Err(Failure::Message(format!("{name}: {reason}"))),
    }
}

/// A text from a file, as a prompt.
pub fn read_prompt(path: &Path) -> Result<String, Failure> {
    Ok(without_line_end(read_text(path)?))
}

/// Editors and `echo` end a text with a line end that no one means as a part of the prompt.
fn without_line_end(mut text: String) -> String {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    text
}
