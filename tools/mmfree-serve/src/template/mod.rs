//! Chat templates: from messages to the text that a model was trained on.

mod date;
mod jinja;
mod methods;
mod python;
mod worker;

use std::path::Path;

use minijinja::Value;
use mmfree::ModelFile;
use serde::Deserialize;
use serde_json::json;

use crate::failure::Failure;
use crate::http::{ApiError, Fields};

#[cfg(feature = "fuzzing")]
pub use jinja::render;
pub use worker::{COMMAND, work};

/// Bytes of a template at most.
const MOST: usize = 1 << 20;

/// What `--chat-template plain` stands for.
const PLAIN: &str = "{{ bos_token or '' }}{% for message in messages %}{{ message.role }}: {{ message.content }}\n\
                     {% endfor %}{% if add_generation_prompt %}assistant:{% endif %}";

/// A template that compiles.
#[derive(Debug)]
pub struct Template {
    source: String,
    /// The special tokens, by their names in `tokenizer_config.json`.
    tokens: serde_json::Map<String, serde_json::Value>,
    worker: worker::Worker,
}

impl Template {
    /// The template in a file, or the plain one where that is its name.
    pub fn read(path: &Path, file: &ModelFile) -> Result<Template, Failure> {
        let source = match path == Path::new("plain") {
            true => PLAIN.to_owned(),
            false => {
                std::fs::read_to_string(path).map_err(mmfree::Error::io("cannot read", path))?
            }
        };
        Template::new(source, file)
            .map_err(|reason| Failure::Message(format!("{}: {reason}", path.display())))
    }

    /// The one that the model file carries, or why chat cannot be had.
    pub fn of_model(file: &ModelFile) -> Result<Template, String> {
        let source = match file.checkpoint_file("chat_template.jinja") {
            Some(text) => Some(text.to_owned()),
            None => stored(&settings(file)["chat_template"]),
        };
        let Some(source) = source else {
            let reason = "the model has no chat template; the server can be started with one, as --chat-template FILE, \
                          or with --chat-template plain";
            return Err(reason.to_owned());
        };
        Template::new(source, file).map_err(|reason| {
            format!("the model's chat template cannot be used: {reason}; another can be given as --chat-template FILE")
        })
    }

    fn new(source: String, file: &ModelFile) -> Result<Template, String> {
        if source.len() > MOST {
            return Err(format!("has {} bytes, must be {MOST} at most", source.len()));
        }
        jinja::check(&source)?;
        let settings = settings(file);
        let mut tokens = serde_json::Map::new();
        for (name, value) in settings.as_object().into_iter().flatten() {
            if name.ends_with("_token")
                && let Some(text) = content(value)
            {
                tokens.insert(name.clone(), text.into());
            }
        }
        let worker = worker::Worker::new(&source);
        Ok(Template { source, tokens, worker })
    }

    /// The template's text.
    pub fn source(&self) -> Option<&str> {
        (self.source != PLAIN).then_some(&self.source)
    }

    /// The BOS token's text, which a template may write in front.
    pub fn bos(&self) -> Option<&str> {
        self.tokens.get("bos_token")?.as_str().filter(|text| !text.is_empty())
    }

    /// The text of a conversation, or why there is none.
    pub fn render(&self, conversation: &Conversation) -> Result<String, String> {
        let tokens = serde_json::Value::from(self.tokens.clone());
        self.worker.render(&conversation.context(&tokens))
    }
}

fn settings(file: &ModelFile) -> serde_json::Value {
    let text = file.checkpoint_file("tokenizer_config.json").unwrap_or("{}");
    serde_json::from_str(text).unwrap_or_default()
}

/// A template as `tokenizer_config.json` has it: a string, or a list of named ones with a default among them.
fn stored(value: &serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Array(list) => {
            let default = list.iter().find(|one| one["name"] == "default");
            default?["template"].as_str().map(str::to_owned)
        }
        _ => None,
    }
}

/// A token as a string, or as an object with its content.
fn content(value: &serde_json::Value) -> Option<&str> {
    match value {
        serde_json::Value::String(text) => Some(text),
        serde_json::Value::Object(token) => token.get("content")?.as_str(),
        _ => None,
    }
}

/// The messages of a request, and what else its template sees.
#[derive(Debug)]
pub struct Conversation {
    /// In the order of their keys, which templates may show.
    messages: Vec<Value>,
    add_generation_prompt: bool,
    extra: serde_json::Map<String, serde_json::Value>,
}

impl Conversation {
    /// Reads the messages of a body, of which `fields` are the fields.
    pub fn read(body: &[u8], fields: &Fields) -> Result<Conversation, ApiError> {
        #[derive(Deserialize)]
        struct Body {
            messages: Vec<Value>,
        }
        let right = "a list of objects with a role and a content";
        if fields.get("messages").is_none() {
            return Err(ApiError::field("messages", format!("is missing, must be {right}")));
        }
        let body: Body = serde_json::from_slice(body)
            .map_err(|_| ApiError::field("messages", format!("must be {right}")))?;
        if body.messages.is_empty() {
            return Err(ApiError::field("messages", format!("is empty, must be {right}")));
        }
        let messages: Result<Vec<Value>, String> =
            body.messages.iter().enumerate().map(|(n, one)| message(n, one)).collect();
        let messages = messages.map_err(|reason| ApiError::field("messages", reason))?;
        let extra = fields.read("chat_template_kwargs", "an object", |value| value.as_object())?;
        Ok(Conversation {
            messages,
            add_generation_prompt: fields.bool("add_generation_prompt")?.unwrap_or(true),
            extra: extra.cloned().unwrap_or_default(),
        })
    }

    /// What a template sees, as JSON.
    fn context(&self, tokens: &serde_json::Value) -> String {
        let mut text = String::from("{");
        let mut put = |name: &str, value: &dyn erased::Json| {
            if text.len() > 1 {
                text.push(',');
            }
            text += &json!(name).to_string();
            text.push(':');
            text += &value.json();
        };
        for (name, value) in tokens.as_object().into_iter().flatten() {
            put(name, value);
        }
        put("tools", &serde_json::Value::Null);
        put("documents", &serde_json::Value::Null);
        for (name, value) in &self.extra {
            put(name, value);
        }
        put("messages", &self.messages);
        put("add_generation_prompt", &self.add_generation_prompt);
        text.push('}');
        text
    }
}

/// Values as JSON, whatever they are of.
mod erased {
    pub trait Json {
        fn json(&self) -> String;
    }

    impl<T: serde::Serialize> Json for T {
        fn json(&self) -> String {
            serde_json::to_string(self).unwrap_or_else(|_| "null".to_owned())
        }
    }
}

/// A message as templates expect it: parts of text become one text, with a line end between them.
fn message(n: usize, message: &Value) -> Result<Value, String> {
    let field = |name: &str| message.get_attr(name).ok().filter(|value| !value.is_undefined());
    let Some(role) = field("role") else { return Err(format!("number {n} has no role")) };
    if role.as_str().is_none() {
        return Err(format!("number {n}: the role must be a string"));
    }
    let content = field("content").unwrap_or(Value::from(()));
    let text = match content.kind() {
        minijinja::value::ValueKind::String | minijinja::value::ValueKind::None => {
            return Ok(message.clone());
        }
        minijinja::value::ValueKind::Seq => {
            let parts = content.try_iter().map_err(|error| error.to_string())?;
            let parts: Result<Vec<String>, String> = parts.map(|one| part(n, &one)).collect();
            parts?.join("\n")
        }
        _ => return Err(format!("number {n}: the content must be a text or a list of parts")),
    };
    let keys = message.try_iter().map_err(|error| error.to_string())?;
    let pairs = keys.filter_map(|key| {
        let value = match key.as_str() {
            Some("content") => Value::from(text.clone()),
            _ => message.get_item(&key).ok()?,
        };
        Some((key, value))
    });
    Ok(pairs.collect())
}

fn part(n: usize, part: &Value) -> Result<String, String> {
    if let Some(text) = part.as_str() {
        return Ok(text.to_owned());
    }
    let field = |name: &str| part.get_attr(name).ok();
    let kind = field("type");
    let kind = kind.as_ref().and_then(Value::as_str).unwrap_or("?");
    match (kind, field("text").as_ref().and_then(Value::as_str)) {
        ("text", Some(text)) => Ok(text.to_owned()),
        _ => Err(format!("number {n}: a part of type {kind:.40}, but this model reads text alone")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Conversation, ApiError> {
        Conversation::read(body.as_bytes(), &Fields::parse(body.as_bytes())?)
    }

    fn render(template: &str, body: &str) -> Result<String, String> {
        let context =
            read(body).map_err(|error| error.message)?.context(&json!({"bos_token": "<s>"}));
        jinja::render(template, &context)
    }

    #[test]
    fn parts_become_one_text_and_other_keys_keep_their_order() {
        let body = r#"{"messages": [{"zeta": 1, "role": "user", "content": [{"type": "text", "text": "a"}, "b"], "alpha": 2}]}"#;
        let out = render("{{ messages[0].content }}|{{ messages[0] | tojson }}", body).unwrap();
        assert_eq!(
            out,
            "a\nb|{\"zeta\": 1, \"role\": \"user\", \"content\": \"a\\nb\", \"alpha\": 2}"
        );
    }

    #[test]
    fn what_is_no_conversation_is_refused_by_name() {
        for (body, said) in [
            ("{}", "missing"),
            (r#"{"messages": []}"#, "empty"),
            (r#"{"messages": "hi"}"#, "list of objects"),
            (r#"{"messages": [{"content": "x"}]}"#, "no role"),
            (r#"{"messages": [{"role": 1, "content": "x"}]}"#, "role must be a string"),
            (r#"{"messages": [{"role": "user", "content": 5}]}"#, "content must be"),
            (
                r#"{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}"#,
                "image_url",
            ),
            (r#"{"messages": [5]}"#, "no role"),
        ] {
            let error = read(body).unwrap_err();
            assert!(error.message.contains(said), "{body}: {}", error.message);
            assert_eq!(error.param.as_deref(), Some("messages"));
        }
    }

    #[test]
    fn the_plain_template_is_lines_of_role_and_content() {
        let body = r#"{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]}"#;
        assert_eq!(render(PLAIN, body).unwrap(), "<s>user: Hi\nassistant: Ho\nassistant:");
    }

    /// Templates with the constructs of published ones, and what transformers renders: `tests/chat_templates/make.py`.
    #[test]
    fn templates_render_byte_for_byte_as_transformers_renders_them() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chat_templates");
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
        let cases: Vec<serde_json::Value> = serde_json::from_str(&read("expected.json")).unwrap();
        let mut differ = Vec::new();
        let tokens = json!({"bos_token": "<s>", "eos_token": "</s>"});
        for case in &cases {
            let body = case["body"].as_str().unwrap();
            let fields = Fields::parse(body.as_bytes()).unwrap();
            let context = Conversation::read(body.as_bytes(), &fields).unwrap().context(&tokens);
            let source = read(&format!("{}.jinja", case["template"].as_str().unwrap()));
            let (name, text) = (&case["conversation"], jinja::render(&source, &context));
            match (&text, case["text"].as_str()) {
                (Ok(text), Some(expected)) if text == expected => {}
                (Err(_), None) => {}
                (_, expected) => {
                    differ
                        .push(format!("{} {name}:\n  {text:?}\n  {expected:?}", case["template"]));
                }
            }
        }
        assert!(cases.len() >= 80);
        assert!(differ.is_empty(), "{}", differ.join("\n"));
    }

    #[test]
    fn a_list_of_templates_has_a_default() {
        let list =
            json!([{"name": "tools", "template": "a"}, {"name": "default", "template": "b"}]);
        assert_eq!(stored(&list).as_deref(), Some("b"));
        assert_eq!(stored(&json!("c")).as_deref(), Some("c"));
        assert_eq!(stored(&json!(null)), None);
    }
}
