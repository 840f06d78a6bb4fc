//! Writes small valid files of every kind for the fuzzers to start from.
//!
//! `cargo run -p mmfree-convert --example fuzz-seeds -- fuzz/seeds`

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mmfree::format::{FloatType, Header};
use mmfree::packing::Packing;
use mmfree::{Config, Model, ModelFile, SamplerOptions, Session};
use mmfree_convert::{Embed, EmbeddingType, Options, Pack, synthesize};

#[allow(dead_code)]
#[path = "../tests/it/torch.rs"]
mod torch;

/// A model of a few KB.
const SIZE: &str = "hidden=8,layers=1,intermediate=9,vocab=11";

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let root = PathBuf::from(std::env::args_os().nth(1).ok_or("give the folder to write to")?);
    let folder = |target: &str| -> Result<PathBuf> {
        let folder = root.join(target);
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    };
    let model = models(&folder("model_file")?)?;
    weights(&folder("safetensors_input")?, &folder("unpickle")?, model.config())?;
    states(&folder("saved_state")?, &model)?;
    tokenizers(&folder("tokenizer")?)?;
    requests(&folder("request")?, &folder("chat_template")?)
}

/// Bodies of requests after the byte that says which path, and chat templates with what they render.
fn requests(requests: &Path, templates: &Path) -> Result<()> {
    let sampling = r#""n":2,"temperature":0.7,"top_p":0.9,"top_k":5,"min_p":0.1,"typical_p":0.9,"repetition_penalty":1.1,
        "presence_penalty":0.5,"frequency_penalty":-0.5,"logit_bias":{"5":-1},"suppress_tokens":[7],"stop":["a","b"],"seed":-3"#;
    let messages = r#"[{"role":"system","content":"S"},{"role":"user","content":[{"type":"text","text":"Hi"}]}]"#;
    let bodies = [
        (0, r#"{"prompt":"Once","max_tokens":3,"echo":true,"logprobs":2}"#.to_owned()),
        (
            0,
            format!(
                r#"{{"prompt":[[1,5],[6]],"stream":true,"stream_options":{{"include_usage":true}},{sampling}}}"#
            ),
        ),
        (0, r#"{"prompt":"a","structured_outputs":{"choice":["x"]}}"#.to_owned()),
        (
            1,
            format!(
                r#"{{"messages":{messages},"max_completion_tokens":2,"logprobs":true,"top_logprobs":3,{sampling}}}"#
            ),
        ),
        (
            1,
            format!(
                r#"{{"messages":{messages},"stream":true,"response_format":{{"type":"text"}},"tools":[]}}"#
            ),
        ),
        (
            1,
            format!(
                r#"{{"messages":{messages},"response_format":{{"type":"json_schema","json_schema":{{"schema":{{}}}}}}}}"#
            ),
        ),
        (2, r#"{"prompt":"</s>a","add_special_tokens":true,"return_token_strs":true}"#.to_owned()),
        (3, r#"{"tokens":[1,5,300]}"#.to_owned()),
    ];
    for (n, (path, body)) in bodies.into_iter().enumerate() {
        std::fs::write(requests.join(n.to_string()), [&[path], body.as_bytes()].concat())?;
    }
    let context = format!(
        r#"{{"messages":{messages},"bos_token":"<s>","add_generation_prompt":true,"tools":null}}"#
    );
    let sources = [
        "{{ bos_token }}{% for message in messages %}{{ message['role'] + ': ' + message.content | trim }}\n{% endfor %}",
        "{%- if messages[0].role == 'system' -%}{% set rest = messages[1:] %}{{ messages[0] | tojson(indent=2) }}{% else %}\
         {{ raise_exception('no') }}{% endif %}{% generation %}{{ strftime_now('%d %b %Y') }}{% endgeneration %}",
        "{% macro m(x) %}{{ x.strip().split('a') | join(',') }}{% endmacro %}{% for m1 in messages %}{% if loop.last %}{% break %}\
         {% endif %}{{ m(m1.content | string) }}{% endfor %}{% set ns = namespace(a=1) %}{% set ns.a = ns.a % 2 %}{{ ns.a }}",
    ];
    for (n, source) in sources.into_iter().enumerate() {
        let bytes = [source.as_bytes(), &[0], context.as_bytes()].concat();
        std::fs::write(templates.join(n.to_string()), bytes)?;
    }
    Ok(())
}

/// Model files in each packing and type of embedding; gives one of them, opened.
fn models(folder: &Path) -> Result<Arc<Model>> {
    let floats = [FloatType::F32, FloatType::F16, FloatType::BF16].map(EmbeddingType::Float);
    for packing in Packing::ALL {
        for (n, embedding) in floats.into_iter().chain([EmbeddingType::Int8]).enumerate() {
            let options = Options {
                pack: Pack::Only(packing),
                embed: Embed::Only(embedding),
                force: true,
                ..Options::default()
            };
            let path = folder.join(format!("{}-{n}", packing.name()));
            synthesize(SIZE.parse()?, 0, &path, &options)?;
        }
    }
    let file = ModelFile::open(folder.join("t5-1"))?;
    Ok(Model::new(file, &mmfree::Options::default())?)
}

/// The weights of a checkpoint in safetensors of each type, and pickled.
fn weights(safetensors: &Path, pickled: &Path, config: &Config) -> Result<()> {
    for (dtype, size) in [("F32", 4), ("F16", 2), ("BF16", 2)] {
        let (mut header, mut data) = (Header::default(), Vec::new());
        for spec in config.tensors() {
            let count: usize = spec.shape.iter().product();
            header.push(&spec.name, dtype, &spec.shape, (count * size) as u64);
            data.extend((0..count * size).map(|i| (i * 37 % 61) as u8));
        }
        std::fs::write(safetensors.join(dtype), [header.to_bytes(), data].concat())?;
    }
    for wide in [false, true] {
        let pickle = torch::one(&torch::PLAIN);
        std::fs::write(pickled.join("pickle"), &pickle)?;
        let zip = torch::Zip { wide, ..torch::Zip::default() };
        std::fs::write(pickled.join(format!("zip-{wide}")), zip.write(&torch::entries(pickle)))?;
    }
    // A short one of a real torch: two tensors of the opcodes that it writes.
    let mut pickle = b"\x80\x02ccollections\nOrderedDict\nq\x00)Rq\x01(".to_vec();
    for name in ["a", "b"] {
        torch::text(&mut pickle, name);
        pickle.extend(b"q\x02");
        torch::PLAIN.write(&mut pickle);
    }
    pickle.extend(b"u}");
    torch::text(&mut pickle, "_metadata");
    pickle.extend(b"h\x01sb.");
    std::fs::write(pickled.join("state-dict"), pickle)?;
    Ok(())
}

fn states(folder: &Path, model: &Arc<Model>) -> Result<()> {
    let mut session = Session::new(model, SamplerOptions::default())?;
    session.push(&[1, 2, 3])?;
    session.save(&folder.join("pending"))?;
    session.next_token()?;
    session.save(&folder.join("drawn"))?;
    session.state().save(&folder.join("state"))?;
    Ok(())
}

/// The tokenizers of the golden cases, and small ones of each kind, with a text after each.
fn tokenizers(folder: &Path) -> Result<()> {
    let text = "\0Once upon a time, \u{e9}\u{1f600} <s> 12 34";
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/goldens");
    for case in ["a_basic_fp32", "b_bf16"] {
        let read = |name| std::fs::read_to_string(goldens.join(case).join(name));
        let (json, config) = (read("tokenizer.json")?, read("tokenizer_config.json")?);
        std::fs::write(folder.join(case), json + text + "\0" + &config)?;
    }
    let models = [
        ("word-level", r#"{"type":"WordLevel","vocab":{"a":0,"<unk>":1},"unk_token":"<unk>"}"#),
        (
            "word-piece",
            r###"{"type":"WordPiece","vocab":{"a":0,"##b":1,"[UNK]":2},"unk_token":"[UNK]","continuing_subword_prefix":"##","max_input_chars_per_word":100}"###,
        ),
        (
            "unigram",
            r#"{"type":"Unigram","unk_id":0,"vocab":[["<unk>",0.0],["a",-1.0],["O",-2.0]],"byte_fallback":false}"#,
        ),
        ("bpe", r#"{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}"#),
    ];
    for (name, model) in models {
        let json = format!(
            r#"{{"version":"1.0","truncation":null,"padding":null,"added_tokens":[{{"id":3,"content":"<s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}}],"normalizer":{{"type":"NFC"}},"pre_tokenizer":{{"type":"Whitespace"}},"post_processor":null,"decoder":{{"type":"Fuse"}},"model":{model}}}"#
        );
        std::fs::write(folder.join(name), json + text)?;
    }
    Ok(())
}
