//! `/tokenizer_info`, `/tokenize` and `/detokenize`, as lm-eval uses them.

use serde_json::json;

use crate::client::{Alone, Server};

#[test]
fn the_tokenizer_tells_what_lm_eval_wants_to_know() {
    let server = Server::start(&[]);
    let info = server.get("/tokenizer_info").json();
    assert_eq!((&info["bos_token"], &info["eos_token"]), (&json!("<s>"), &json!("</s>")));
    assert!(info.get("pad_token").is_some() && info.get("chat_template").is_some());
}

#[test]
fn text_becomes_ids_and_ids_become_text() {
    let (server, alone) = (Server::start(&[]), Alone::new());
    let text = "Naïve café – “quotes” & emoji \u{1F642}";
    let plain = alone.tokenizer.encode(text, false).unwrap();
    let with = alone.tokenizer.encode_prompt(text).unwrap();
    let ask = |body| server.ask("/tokenize", &body)["tokens"].clone();
    assert_eq!(ask(json!({"prompt": text, "add_special_tokens": false})), json!(plain));
    assert_eq!(ask(json!({"prompt": text})), json!(with));
    assert_eq!(ask(json!({"content": text})), json!(plain));
    assert_eq!(ask(json!({"content": text, "add_special": true})), json!(with));
    for (special, id) in [("<s>", 1), ("</s>", 2)] {
        assert_eq!(ask(json!({"prompt": special, "add_special_tokens": false})), json!([id]));
        assert_eq!(server.ask("/detokenize", &json!({"tokens": [id]}))["prompt"], special);
    }
    let back = server.ask("/detokenize", &json!({"tokens": plain}));
    assert_eq!(back["prompt"], text);
    assert_eq!(back["content"], text);
}

#[test]
fn ids_outside_the_vocabulary_and_missing_fields_are_errors() {
    let server = Server::start(&[]);
    for (path, body) in [
        ("/detokenize", json!({"tokens": [5000]})),
        ("/detokenize", json!({"tokens": "x"})),
        ("/detokenize", json!({})),
        ("/tokenize", json!({})),
        ("/tokenize", json!({"prompt": 5})),
        ("/tokenize", json!({"prompt": "a", "content": 5})),
        ("/tokenize", json!({"prompt": "a", "add_special_tokens": true, "add_special": 5})),
    ] {
        assert_eq!(server.post(path, &body).status, 400, "{body}");
    }
}
