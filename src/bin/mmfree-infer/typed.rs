//! Values that begin with a dash: `-p "- item"`, `--stop "---"`, a file called `-x`.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Command, Error};

/// What was typed, with values that begin with a dash where options or a positional argument take one.
///
/// # Errors
/// What is wrong with it; or the help or version that was asked for, to be shown.
pub fn matches(command: Command, typed: Vec<OsString>) -> Result<ArgMatches, Error> {
    let mut command = with_dashes(command);
    command.build();
    let typed = positional_last(&mut command, typed)?;
    if let Some(error) = option_as_value(&mut command, &words(&typed)) {
        return Err(error);
    }
    let name = OsString::from(command.get_name().to_owned());
    command.try_get_matches_from([name].into_iter().chain(typed))
}

/// The words, as text.
pub fn words(typed: &[OsString]) -> Vec<String> {
    typed.iter().map(|word| word.to_string_lossy().into_owned()).collect()
}

/// Puts a word that begins with a dash and cannot be an option, as `- item`, behind a `--`: it is the positional argument.
///
/// # Errors
/// A word that may be an option typed wrongly, as `-dashfolder`: what it must look like as an argument is shown.
fn positional_last(command: &mut Command, typed: Vec<OsString>) -> Result<Vec<OsString>, Error> {
    let mut at = &*command;
    let (mut kept, mut moved) = (Vec::new(), Vec::new());
    let (mut unknown, mut separated) = (None, false);
    let mut rest = typed.into_iter();
    while let Some(word) = rest.next() {
        let text = word.to_string_lossy().into_owned();
        if text == "--" {
            kept.push(word);
            separated = true;
            break;
        }
        if let Some(sub) = at.find_subcommand(&text) {
            at = sub;
        } else if text.len() > 1 && text.starts_with('-') {
            match understood(at, &text) {
                Some(takes_next) => {
                    kept.push(word);
                    kept.extend(takes_next.then(|| rest.next()).flatten());
                    continue;
                }
                None if has_positional(at) => {
                    let is_option = text.trim_start_matches('-').starts_with(char::is_alphanumeric)
                        && !text.contains(char::is_whitespace);
                    match is_option {
                        true => drop(unknown.get_or_insert(text)),
                        false => {
                            moved.push(word);
                            continue;
                        }
                    }
                }
                None => {}
            }
        }
        kept.push(word);
    }
    kept.extend(rest);
    if let Some(text) = unknown {
        let message = format!(
            "`{text}` is no option here; a value that begins with a dash goes last, after two dashes: -- {}",
            quoted(&text)
        );
        return Err(command.error(ErrorKind::UnknownArgument, message));
    }
    if !moved.is_empty() {
        if !separated {
            kept.push("--".into());
        }
        kept.extend(moved);
    }
    Ok(kept)
}

/// Makes every option take what follows it as its value, whatever that begins with.
fn with_dashes(command: Command) -> Command {
    let takes = |arg: &Arg| !arg.is_positional() && arg.get_action().takes_values();
    command
        .mut_args(|arg| if takes(&arg) { arg.allow_hyphen_values(true) } else { arg })
        .mut_subcommands(with_dashes)
}

/// What is wrong with `typed`, the arguments of a program, if the value of an option is itself exactly an option: which of
/// the two was meant can't be told. `command` is built.
fn option_as_value(command: &mut Command, typed: &[String]) -> Option<Error> {
    let mut at = &*command;
    let mut words = typed.iter().take_while(|word| *word != "--").peekable();
    while let Some(word) = words.next() {
        if let Some(sub) = at.find_subcommand(word) {
            at = sub;
        } else if option(at, word).is_some_and(|option| option.get_action().takes_values())
            && let Some(value) = words.next()
            && option(at, value).is_some()
        {
            let message = format!(
                "the value of `{word}` would be `{value}`, which is an option of its own: a value is missing, or is given \
                 as `{word}={value}`"
            );
            return Some(command.error(ErrorKind::InvalidValue, message));
        }
    }
    None
}

/// The option that is written exactly so.
fn option<'a>(command: &'a Command, word: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|arg| {
        let long = |name: &str| word.strip_prefix("--") == Some(name);
        let short = |c: char| word.strip_prefix('-').is_some_and(|rest| rest.chars().eq([c]));
        arg.get_long_and_visible_aliases().is_some_and(|names| names.into_iter().any(long))
            || arg.get_short_and_visible_aliases().is_some_and(|names| names.into_iter().any(short))
    })
}

/// Whether a word is made of options alone, and if so, whether the last one's value is the next word.
fn understood(command: &Command, word: &str) -> Option<bool> {
    let takes = |arg: &Arg| arg.get_action().takes_values();
    if let Some(long) = word.strip_prefix("--") {
        let (name, value) = long.split_once('=').map_or((long, false), |(name, _)| (name, true));
        return Some(takes(option(command, &format!("--{name}"))?) && !value);
    }
    let mut letters = word.strip_prefix('-')?.chars();
    while let Some(letter) = letters.next() {
        if takes(option(command, &format!("-{letter}"))?) {
            return Some(letters.as_str().is_empty());
        }
    }
    Some(false)
}

fn has_positional(command: &Command) -> bool {
    command.get_positionals().next().is_some()
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=:,@%+".contains(c);
    match word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}
