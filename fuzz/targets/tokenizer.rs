//! Any bytes as a `tokenizer.json`, after a 0 a text that it encodes, and after another a
//! `tokenizer_config.json`.

#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use mmfree::{Tokenizer, TokenizerFiles};

fuzz_target!(
    init: {
        // The library's own panics are contained and come back as errors. One that is not contained
        // still ends the run: the hook goes, the unwinding stays.
        std::panic::set_hook(Box::new(|_| {}));
    },
    |data: &[u8]| -> Corpus {
        let mut parts = data.splitn(3, |&byte| byte == 0);
        let mut next = || parts.next().unwrap_or_default();
        let (json, text, config) = (next(), next(), next());
        let config = String::from_utf8_lossy(config);
        let files = TokenizerFiles::new(json, |name| {
            (name == "tokenizer_config.json" && !config.is_empty()).then_some(&*config)
        });
        let Ok((tokenizer, _)) = Tokenizer::from_files(&files, 4096, Some(1)) else {
            return Corpus::Keep;
        };
        let text = String::from_utf8_lossy(text);
        let Ok(mut ids) = tokenizer.encode_prompt(&text) else { return Corpus::Keep };
        ids.extend(tokenizer.encode_continuation(&ids, &text).unwrap_or_default());
        let _ = tokenizer.decode(&ids);
        let mut stream = tokenizer.stream();
        for id in ids {
            let _ = stream.push(id);
        }
        let _ = stream.finish();
        Corpus::Keep
    }
);
