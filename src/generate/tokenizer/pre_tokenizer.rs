//! Pre-tokenizers, step by step.

use tokenizers::pre_tokenizers::metaspace::PrependScheme;
use tokenizers::{
    NormalizedString, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
    PreTokenizerWrapper,
};

use super::growth::Growth;

/// The steps of a pre-tokenizer, sequences flattened.
pub(super) fn steps(pre_tokenizer: Option<PreTokenizerWrapper>) -> Vec<PreTokenizerWrapper> {
    let mut steps = Vec::new();
    if let Some(pre_tokenizer) = pre_tokenizer {
        flatten(pre_tokenizer, &mut steps);
    }
    steps
}

fn flatten(pre_tokenizer: PreTokenizerWrapper, steps: &mut Vec<PreTokenizerWrapper>) {
    match pre_tokenizer {
        PreTokenizerWrapper::Sequence(sequence) => {
            sequence.into_iter().for_each(|step| flatten(step, steps));
        }
        step => steps.push(step),
    }
}

/// Runs the steps; where the text goes on from another, without a space before its first word.
///
/// # Errors
/// Those of the library, and a text that would grow too long.
pub(super) fn run(
    steps: &[PreTokenizerWrapper],
    text: &mut PreTokenizedString,
    growth: &Growth,
    continues: bool,
) -> tokenizers::Result<()> {
    for step in steps {
        match step {
            PreTokenizerWrapper::Metaspace(metaspace) => {
                let mark = metaspace.get_replacement().len_utf8();
                let spaces = |part: &str| part.matches(' ').count();
                growth.allow(total(text, |part| part.len() + mark + spaces(part) * (mark - 1)))?;
                let mut first = metaspace.clone();
                first.set_prepend_scheme(PrependScheme::Never);
                run_apart(text, metaspace, continues.then_some(&first))?;
            }
            PreTokenizerWrapper::ByteLevel(byte_level) => {
                // All but the printable characters of ASCII become two bytes; and there may be a
                // space before them.
                let wide =
                    |part: &str| part.bytes().filter(|byte| !byte.is_ascii_graphic()).count();
                growth.allow(total(text, |part| part.len() + wide(part) + 2))?;
                let first = byte_level.add_prefix_space(false);
                run_apart(text, byte_level, continues.then_some(&first))?;
            }
            other => other.pre_tokenize(text)?,
        }
    }
    Ok(())
}

/// The sum over the parts that are no tokens yet.
fn total(text: &PreTokenizedString, len: impl Fn(&str) -> usize) -> usize {
    let parts = text.get_splits(OffsetReferential::Normalized, OffsetType::None);
    parts.iter().filter(|(_, _, tokens)| tokens.is_none()).map(|(part, _, _)| len(part)).sum()
}

/// Runs a step, in the other way on the part that begins the text, if there is one.
fn run_apart<P: PreTokenizer>(
    text: &mut PreTokenizedString,
    step: &P,
    first: Option<&P>,
) -> tokenizers::Result<()> {
    let Some(first) = first else { return step.pre_tokenize(text) };
    text.split(|_, part| {
        let step = if part.offsets_original().0 == 0 { first } else { step };
        let mut part = PreTokenizedString::from(part);
        step.pre_tokenize(&mut part)?;
        let mut parts = Vec::new();
        part.split(|_, part| {
            parts.push(part);
            Ok(Vec::<NormalizedString>::new())
        })?;
        Ok(parts)
    })
}

/// Sets whether a pre-tokenizer for bytes puts a space before a text; `deep`, also within
/// sequences.
pub(super) fn set_prefix_space(
    step: PreTokenizerWrapper,
    on: bool,
    deep: bool,
) -> PreTokenizerWrapper {
    match step {
        PreTokenizerWrapper::ByteLevel(step) => {
            PreTokenizerWrapper::ByteLevel(step.add_prefix_space(on))
        }
        PreTokenizerWrapper::Sequence(mut sequence) if deep => {
            for step in sequence.as_mut() {
                *step = set_prefix_space(step.clone(), on, deep);
            }
            PreTokenizerWrapper::Sequence(sequence)
        }
        other => other,
    }
}
