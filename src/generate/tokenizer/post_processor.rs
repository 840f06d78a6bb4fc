//! The ids that go around those of a text.

use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use tokenizers::PostProcessorWrapper;

/// Ids that a post-processor may add to a text. Real ones add one or two.
const MAX_IDS: usize = 1024;

/// The ids that stand before and after those of a text.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Template {
    pub prefix: Vec<u32>,
    pub suffix: Vec<u32>,
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "begin with {:?} and end with {:?}", self.prefix, self.suffix)
    }
}

/// A template as `tokenizer.json` has it.
#[derive(Deserialize)]
struct Single {
    single: Vec<Piece>,
    special_tokens: HashMap<String, SpecialToken>,
}

#[derive(Deserialize)]
enum Piece {
    Sequence { id: String },
    SpecialToken { id: String },
}

#[derive(Deserialize)]
struct SpecialToken {
    ids: Vec<u32>,
}

impl Template {
    /// What a post-processor does to a single text.
    ///
    /// # Errors
    /// One that leaves the text out or repeats it, that names tokens which it does not have, or
    /// that adds very many.
    pub fn of(processor: Option<&PostProcessorWrapper>) -> tokenizers::Result<Template> {
        match processor {
            None | Some(PostProcessorWrapper::ByteLevel(_)) => Ok(Template::default()),
            Some(PostProcessorWrapper::Bert(bert)) => {
                Ok(Template::around(bert.get_cls_copy().1, bert.get_sep_copy().1))
            }
            Some(PostProcessorWrapper::Roberta(roberta)) => {
                Ok(Template::around(roberta.get_cls_copy().1, roberta.get_sep_copy().1))
            }
            Some(PostProcessorWrapper::Template(template)) => {
                Template::of_single(serde_json::from_value(serde_json::to_value(template)?)?)
            }
            Some(PostProcessorWrapper::Sequence(sequence)) => {
                let mut whole = Template::default();
                for processor in sequence.as_ref() {
                    let template = Template::of(Some(processor))?;
                    if template == Template::default() {
                        continue;
                    }
                    if whole != Template::default() {
                        return Err("post_processor: two of a sequence add tokens; one may".into());
                    }
                    whole = template;
                }
                Ok(whole)
            }
        }
    }

    fn around(before: u32, after: u32) -> Template {
        Template { prefix: vec![before], suffix: vec![after] }
    }

    fn of_single(single: Single) -> tokenizers::Result<Template> {
        let mut template = Template::default();
        let mut texts = 0;
        for piece in &single.single {
            let ids = match piece {
                Piece::Sequence { id } if id == "A" => {
                    texts += 1;
                    continue;
                }
                Piece::Sequence { .. } => {
                    return Err("post_processor: its template for one text asks for two".into());
                }
                Piece::SpecialToken { id } => match single.special_tokens.get(id) {
                    Some(token) => &token.ids,
                    None => return Err("post_processor: names a token that it lacks".into()),
                },
            };
            let side = if texts == 0 { &mut template.prefix } else { &mut template.suffix };
            side.extend(ids);
            if template.prefix.len() + template.suffix.len() > MAX_IDS {
                let reason = format!("post_processor: adds more than {MAX_IDS} tokens to a text");
                return Err(reason.into());
            }
        }
        match texts {
            1 => Ok(template),
            _ => Err("post_processor: its template must have the text once".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(json: serde_json::Value) -> Result<Template, String> {
        let processor: PostProcessorWrapper = serde_json::from_value(json).unwrap();
        Template::of(Some(&processor)).map_err(|error| error.to_string())
    }

    fn single(pieces: &[&str]) -> serde_json::Value {
        let piece = |&name: &&str| match name {
            "A" | "B" => serde_json::json!({"Sequence": {"id": name, "type_id": 0}}),
            _ => serde_json::json!({"SpecialToken": {"id": name, "type_id": 0}}),
        };
        serde_json::json!({
            "type": "TemplateProcessing",
            "single": pieces.iter().map(piece).collect::<Vec<_>>(),
            "pair": [],
            "special_tokens": {
                "<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]},
                "many": {"id": "many", "ids": vec![7; 600], "tokens": vec!["x"; 600]},
            },
        })
    }

    #[test]
    fn every_kind_is_ids_before_and_after() {
        let ids = |prefix: &[u32], suffix: &[u32]| {
            Ok(Template { prefix: prefix.to_vec(), suffix: suffix.to_vec() })
        };
        assert_eq!(template(single(&["<s>", "A"])), ids(&[1], &[]));
        assert_eq!(template(single(&["<s>", "<s>", "A", "<s>"])), ids(&[1, 1], &[1]));
        let bert = serde_json::json!({"type": "BertProcessing", "sep": ["s", 3], "cls": ["c", 2]});
        assert_eq!(template(bert.clone()), ids(&[2], &[3]));
        let roberta = serde_json::json!({"type": "RobertaProcessing", "sep": ["s", 3],
            "cls": ["c", 2], "trim_offsets": true, "add_prefix_space": true});
        assert_eq!(template(roberta), ids(&[2], &[3]));
        let level = serde_json::json!({"type": "ByteLevel", "add_prefix_space": true,
            "trim_offsets": false});
        let sequence = serde_json::json!({"type": "Sequence", "processors": [level, bert]});
        assert_eq!(template(sequence), ids(&[2], &[3]));
        assert_eq!(Template::of(None).unwrap(), Template::default());
    }

    #[test]
    fn rejects_what_is_no_frame_of_one_text() {
        for (pieces, reason) in [
            (&["<s>"][..], "the text once"),
            (&["A", "A"], "the text once"),
            (&["A", "B"], "asks for two"),
            (&["A", "<x>"], "a token that it lacks"),
            (&["many", "A", "many"], "more than 1024"),
        ] {
            let error = template(single(pieces)).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
        let twice = serde_json::json!({"type": "Sequence", "processors": [
            single(&["<s>", "A"]), single(&["<s>", "A"])]});
        assert!(template(twice).unwrap_err().contains("one may"));
    }
}
