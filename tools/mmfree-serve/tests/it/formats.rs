//! Texts that have the form that a request asks for: nonsense from the demo model, but nonsense that parses.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Server, runner};

/// Whether no form can be compiled here: an emulated program cannot start itself once more.
fn emulated() -> bool {
    runner().is_some()
}

/// A request for a text of some form, at a temperature at which the demo model would write anything.
fn body(seed: u64, form: &Value) -> Value {
    let mut body =
        json!({"prompt": "Once upon a time", "max_tokens": 200, "temperature": 1.5, "seed": seed});
    body.as_object_mut().unwrap().extend(form.as_object().unwrap().clone());
    body
}

/// The text of a completion, and whether it is whole.
fn text(answer: &Value) -> (&str, bool) {
    let choice = &answer["choices"][0];
    let whole = match choice["finish_reason"].as_str().unwrap() {
        "stop" => true,
        "length" => false,
        other => panic!("{other}"),
    };
    (choice["text"].as_str().unwrap(), whole)
}

fn schema(schema: &Value) -> Value {
    json!({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "strict": true, "schema": schema}}})
}

/// Asks with many seeds; whatever is whole must be right. Gives how many were.
fn each(server: &Server, form: &Value, seeds: u64, is_right: impl Fn(&str) -> bool) -> u64 {
    let mut whole_ones = 0;
    for seed in 0..seeds {
        let answer = server.ask("/v1/completions", &body(seed, form));
        let (text, whole) = text(&answer);
        assert!(!whole || is_right(text), "seed {seed}, {form}: {text:?}");
        whole_ones += u64::from(whole);
    }
    whole_ones
}

#[test]
fn what_ends_by_itself_is_json_of_the_schema() {
    if emulated() {
        return;
    }
    let server = Server::start(&[]);
    let person = schema(&json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 20},
            "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "kind": {"enum": ["king", "miller", "wolf"]},
            "tags": {"type": "array", "items": {"type": "string", "maxLength": 8}, "minItems": 1, "maxItems": 3}
        },
        "required": ["name", "age", "kind", "tags"],
        "additionalProperties": false
    }));
    let is_person = |text: &str| {
        let Ok(Value::Object(value)) = serde_json::from_str(text) else { return false };
        let tags = value["tags"].as_array();
        // In the schema's order.
        value.keys().eq(["name", "age", "kind", "tags"])
            && value["name"].as_str().is_some_and(|name| name.chars().count() <= 20)
            && value["age"].as_u64().is_some_and(|age| age <= 150)
            && ["king", "miller", "wolf"].contains(&value["kind"].as_str().unwrap_or_default())
            && tags.is_some_and(|tags| {
                (1..=3).contains(&tags.len()) && tags.iter().all(Value::is_string)
            })
    };
    assert!(each(&server, &person, 20, is_person) >= 15);
    let choice = schema(&json!({"anyOf": [{"type": "boolean"}, {"const": {"a": [1, null]}}]}));
    let is_choice = |text: &str| ["true", "false", "{\"a\": [1, null]}"].contains(&text);
    assert_eq!(each(&server, &choice, 10, is_choice), 10);
    // Any object at all, whatever depth it reaches.
    let any = json!({"response_format": {"type": "json_object"}});
    let is_object =
        |text: &str| serde_json::from_str::<Value>(text).is_ok_and(|value| value.is_object());
    assert!(each(&server, &any, 20, is_object) > 0);
    // As llama.cpp and vLLM have it.
    let one = json!({"type": "object", "properties": {"x": {"type": "null"}}, "required": ["x"], "additionalProperties": false});
    for form in [
        json!({"response_format": {"type": "json_object", "schema": one}}),
        json!({"json_schema": one}),
        json!({"guided_json": one}),
        json!({"guided_json": one.to_string()}),
        json!({"structured_outputs": {"json": one}}),
    ] {
        assert_eq!(each(&server, &form, 1, |text| text == "{\"x\": null}"), 1);
    }
}

#[test]
fn what_ends_by_itself_matches_the_expression_the_grammar_or_the_choice() {
    if emulated() {
        return;
    }
    let server = Server::start(&[]);
    let date = |text: &str| {
        let parts: Vec<&str> = text.split('-').collect();
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        parts.iter().map(|part| part.len()).eq([4, 2, 2]) && parts.iter().all(|part| digits(part))
    };
    let regex = json!({"structured_outputs": {"regex": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}});
    assert_eq!(each(&server, &regex, 10, date), 10);
    let grammar = "start: sum\nsum: NUMBER | sum \"+\" NUMBER\nNUMBER: /[1-9][0-9]?/";
    let sum = |text: &str| {
        text.split('+').all(|number| number.parse::<u8>().is_ok_and(|n| (1..=99).contains(&n)))
    };
    for name in ["guided_grammar", "structured_outputs"] {
        let value =
            if name == "guided_grammar" { json!(grammar) } else { json!({"grammar": grammar}) };
        assert!(each(&server, &json!({ name: value }), 10, sum) > 0);
    }
    let choices = ["a wolf", "a wolf in the forest", "\u{1F43A}/x\"y"];
    let form = json!({"guided_choice": choices});
    assert_eq!(each(&server, &form, 10, |text| choices.contains(&text)), 10);
    // Bytes that are no letters of the model's.
    let form = json!({"guided_regex": "[\u{4E00}-\u{4E10}]{3}"});
    let is_right = |text: &str| {
        text.chars().count() == 3 && text.chars().all(|c| ('\u{4E00}'..='\u{4E10}').contains(&c))
    };
    assert_eq!(each(&server, &form, 5, is_right), 5);
    // Behind a state: what comes before is in it.
    let begun =
        json!({"prompt": "Once", "max_tokens": 3, "ignore_eos": true, "return_state": true});
    let state = server.ask("/v1/completions", &begun)["choices"][0]["state"].clone();
    let form = json!({"state": state, "max_tokens": 20, "guided_regex": " the (king|wolf)"});
    let answer = server.ask("/v1/completions", &form);
    assert!([" the king", " the wolf"].contains(&text(&answer).0), "{answer}");
    // With nothing before it, a leading space would be lost.
    for (prompt, seed) in [(json!(""), 1), (json!([1]), 2), (json!([1]), 3)] {
        let mut body = body(seed, &json!({"guided_regex": " ?the (king|wolf)"}));
        body["prompt"] = prompt;
        let answer = server.ask("/v1/completions", &body);
        assert!(["the king", "the wolf"].contains(&text(&answer).0), "{answer}");
    }
}

#[test]
fn a_text_that_is_cut_says_so_and_ignoring_the_end_does_not_go_beyond_it() {
    if emulated() {
        return;
    }
    let server = Server::start(&[]);
    let mut cut = body(1, &json!({"guided_regex": "[a-z]{50}"}));
    cut["max_tokens"] = 3.into();
    let answer = server.ask("/v1/completions", &cut);
    assert!(!text(&answer).1);
    let mut whole = body(1, &json!({"guided_regex": "[a-z]{10}"}));
    whole["ignore_eos"] = true.into();
    let answer = server.ask("/v1/completions", &whole);
    let (text, whole) = text(&answer);
    assert!(whole && text.len() == 10, "{answer}");
}

#[test]
fn a_text_with_a_form_is_the_same_alone_and_among_others() {
    if emulated() {
        return;
    }
    let alone = Server::start(&["--parallel", "1", "--cache", "0"]);
    let form = schema(
        &json!({"type": "array", "items": {"type": "string", "maxLength": 12}, "maxItems": 6}),
    );
    let texts: Vec<String> = (0..6)
        .map(|seed| text(&alone.ask("/v1/completions", &body(seed, &form))).0.to_owned())
        .collect();
    let among = Server::start(&["--parallel", "16"]);
    std::thread::scope(|scope| {
        for (seed, expected) in texts.iter().enumerate() {
            let (among, form) = (&among, &form);
            scope.spawn(move || {
                let answer = among.ask("/v1/completions", &body(seed as u64, form));
                assert_eq!(text(&answer).0, expected);
            });
            scope.spawn(move || among.ask("/v1/completions", &body(seed as u64, &json!({}))));
        }
        // The same by forks: text i has seed + i.
        let mut all = body(0, &form);
        all["n"] = 6.into();
        let answer = among.ask("/v1/completions", &all);
        let choices = answer["choices"].as_array().unwrap();
        assert!(choices.iter().map(|choice| &choice["text"]).eq(texts.iter()));
    });
    // And streamed, in a chat.
    let chat = Server::start(&["--chat-template", "plain"]);
    let mut body = form.clone();
    body["messages"] = json!([{"role": "user", "content": "Names!"}]);
    body["seed"] = 3.into();
    body["max_tokens"] = 200.into();
    let whole = chat.ask("/v1/chat/completions", &body);
    let whole = whole["choices"][0]["message"]["content"].as_str().unwrap();
    let chunks = chat.stream("/v1/chat/completions", &body);
    let pieces =
        chunks.iter().map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().unwrap());
    assert_eq!(pieces.collect::<String>(), whole);
    assert!(serde_json::from_str::<Vec<String>>(whole).is_ok(), "{whole}");
}

#[test]
fn forms_that_cannot_be_are_errors_that_name_the_field() {
    if emulated() {
        return;
    }
    let server = Server::start(&[]);
    let format = "response_format";
    for (fields, param, said) in [
        (json!({format: 5}), format, "must be an object"),
        (json!({format: {}}), format, "type: is missing"),
        (json!({format: {"type": "xml"}}), format, "is \"xml\""),
        (json!({format: {"type": "json_schema"}}), format, "json_schema.schema: is missing"),
        (json!({format: {"type": "json_schema", "json_schema": 1}}), format, "json_schema: is 1"),
        (schema(&json!(5)), format, "must be a JSON schema"),
        (schema(&json!({"type": "flower"})), format, "flower"),
        (schema(&json!({"$ref": "#/nowhere"})), format, "nowhere"),
        (schema(&json!(false)), format, "nsatisfiable"),
        (json!({"guided_regex": "a("}), "guided_regex", "regex"),
        (json!({"guided_regex": 5}), "guided_regex", "must be a regular expression"),
        (json!({"guided_regex": "a", "guided_json": {}}), "guided_regex", "one of them alone"),
        (json!({"guided_choice": []}), "guided_choice", "one at least"),
        (json!({"guided_choice": ["a", 1]}), "guided_choice", "a list of strings"),
        (json!({"guided_grammar": "root ::= \"a\""}), "guided_grammar", ""),
        (json!({"grammar": "root ::= \"a\""}), "grammar", "Lark"),
        (json!({"structured_outputs": {}}), "structured_outputs", "one of json"),
        (json!({"structured_outputs": {"structural_tag": {}}}), "structured_outputs", "cannot"),
        (json!({"structured_outputs": {"regex": "a", "json": {}}}), "structured_outputs", "one of"),
        (json!({"guided_regex": "a+", "stop": "aa"}), "stop", "guided_regex"),
        (json!({"guided_regex": "x".repeat(300_000)}), "guided_regex", "longer than"),
    ] {
        let answer = server.post("/v1/completions", &body(1, &fields));
        assert_eq!(answer.status, 400, "{fields}: {}", answer.text());
        let error = answer.json()["error"].clone();
        assert_eq!(error["param"], param, "{error}");
        assert!(error["message"].as_str().unwrap().contains(said), "{error}");
    }
    // Seen only as the text is written.
    let costly = json!({"guided_regex": "(((a{1,100}){1,100}){1,100}){1,100}"});
    let answer = server.post("/v1/completions", &body(1, &costly));
    let error = answer.json()["error"].clone();
    assert_eq!((answer.status, &error["param"]), (400, &json!("guided_regex")), "{error}");
    // Left without a token: an error as well, of this request alone.
    let (king, none) = (json!({"guided_choice": ["king"]}), json!({"logit_bias": {}}));
    let mut banned = body(1, &king);
    banned["suppress_tokens"] = (0..2048).collect();
    assert_eq!(server.post("/v1/completions", &banned).status, 400);
    let mut ignored = body(1, &none);
    for name in ["response_format", "guided_json", "structured_outputs", "grammar"] {
        ignored[name] = Value::Null;
    }
    server.ask("/v1/completions", &ignored);
}

/// Descriptions that ask for too much time, memory or stack.
fn hostile() -> Vec<Value> {
    let mut deep = json!({"type": "null"});
    for _ in 0..60 {
        deep = json!({"anyOf": [{"type": "array", "items": deep.clone()}, {"type": "object", "properties": {"a": {"type": "null"}}}]});
    }
    let wide: Value = (0..3000)
        .map(|i| {
            (
                format!("p{i}"),
                json!({"type": "string", "pattern": format!("a{{{i}}}(b|c){{1,{i}}}")}),
            )
        })
        .collect::<serde_json::Map<_, _>>()
        .into();
    let mut chain = serde_json::Map::new();
    for i in 0..3000 {
        chain.insert(format!("d{i}"), json!({"$ref": format!("#/$defs/d{}", i + 1)}));
    }
    chain.insert("d3000".into(), json!({"type": "null"}));
    vec![
        json!({"guided_regex": "(((a{1,100}){1,100}){1,100}){1,100}"}),
        json!({"guided_regex": "(a|b)*a(a|b){500}"}),
        json!({"guided_regex": ".*x.{2000}y"}),
        json!({"guided_regex": format!("{}a{}", "(".repeat(100_000), ")".repeat(100_000))}),
        json!({"guided_regex": format!("{}a{}", "(?:a|".repeat(200), ")*".repeat(200))}),
        json!({"guided_grammar": format!("start: {}\"a\"{}", "(".repeat(50_000), ")".repeat(50_000))}),
        json!({"guided_grammar": "start: a a a a a a a a\na: b b b b b b b b\nb: c c c c c c c c\nc: | \"x\" | c c"}),
        json!({"guided_grammar": "start: x\nx: x x | \"a\" |"}),
        json!({"guided_grammar": (0..5000).map(|i| format!("r{i}: r{} | \"{i}\"\n", i + 1)).collect::<String>() + "r5000: \"x\"\nstart: r0"}),
        json!({"response_format": {"type": "json_object", "schema": deep}}),
        json!({"response_format": {"type": "json_object", "schema": {"type": "object", "properties": wide}}}),
        json!({"response_format": {"type": "json_object", "schema": {"$ref": "#/$defs/d0", "$defs": chain}}}),
        json!({"response_format": {"type": "json_object", "schema": {"type": "array", "minItems": 1_000_000, "items": {}}}}),
        json!({"response_format": {"type": "json_object", "schema": {"type": "string", "minLength": 10_000_000}}}),
        json!({"response_format": {"type": "json_object", "schema": {"type": "integer", "multipleOf": 987_654_321}}}),
    ]
}

#[test]
fn a_hostile_form_ends_with_an_answer_while_others_go_on() {
    if emulated() {
        return;
    }
    let server = Server::start(&[]);
    let plain = body(7, &json!({"ignore_eos": true}));
    let expected = text(&server.ask("/v1/completions", &plain)).0.to_owned();
    std::thread::scope(|scope| {
        for form in hostile() {
            let server = &server;
            scope.spawn(move || {
                let mut body = body(1, &form);
                body["max_tokens"] = 30.into();
                let begun = Instant::now();
                let answer = server.post("/v1/completions", &body);
                let name: String = form.to_string().chars().take(100).collect();
                let message: String = answer.text().chars().take(300).collect();
                eprintln!("{} after {:?}: {name}: {message}", answer.status, begun.elapsed());
                assert!([200, 400, 429].contains(&answer.status), "{name}: {}", answer.text());
                if answer.status == 400 {
                    let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
                    assert!(!message.contains("panic") && !message.contains('\n'), "{message}");
                }
            });
        }
        for _ in 0..10 {
            let answer = server.ask("/v1/completions", &plain);
            assert_eq!(text(&answer).0, expected);
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    assert_eq!(
        each(&server, &json!({"guided_choice": ["still here"]}), 1, |text| text == "still here"),
        1
    );
}
