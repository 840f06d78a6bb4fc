//! Values that begin with a dash: `-p "- item"`, `--stop "---"`, a file called `-x`.

use clap::error::ErrorKind;
use clap::{Arg, Command, Error};

/// Makes every option take what follows it as its value, whatever that begins with.
pub fn with_dashes(command: Command) -> Command {
    let takes = |arg: &Arg| !arg.is_positional() && arg.get_action().takes_values();
    command
        .mut_args(|arg| if takes(&arg) { arg.allow_hyphen_values(true) } else { arg })
        .mut_subcommands(with_dashes)
}

/// What is wrong with `typed`, the arguments of a program, if the value of an option is itself exactly an option: which of
/// the two was meant can't be told. `command` is built.
pub fn option_as_value(command: &mut Command, typed: &[String]) -> Option<Error> {
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
