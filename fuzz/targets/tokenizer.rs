//! Any bytes as a `tokenizer.json`, and behind a 0 a text that it encodes.

#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use mmfree::Tokenizer;

fuzz_target!(
    init: {
        // The library's own panics are contained and come back as errors. One that is not contained
        // still ends the run: the hook goes, the unwinding stays.
        std::panic::set_hook(Box::new(|_| {}));
    },
    |data: &[u8]| -> Corpus {
        let split = data.iter().position(|&byte| byte == 0).unwrap_or(data.len());
        let (json, text) = (&data[..split], data.get(split + 1..).unwrap_or_default());
        let Ok(tokenizer) = Tokenizer::from_json(json, Some(1)) else { return Corpus::Keep };
        let text = String::from_utf8_lossy(text);
        let Ok(ids) = tokenizer.encode_prompt(&text) else { return Corpus::Keep };
        let _ = tokenizer.decode(&ids);
        let mut stream = tokenizer.stream();
        for id in ids {
            let _ = stream.push(id);
        }
        let _ = stream.finish();
        Corpus::Keep
    }
);
