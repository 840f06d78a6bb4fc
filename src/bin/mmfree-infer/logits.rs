//! `mmfree-infer logits`: the numbers themselves.

use std::io::Write;

use mmfree::format::Header;
use mmfree::storage::AtomicFile;
use mmfree::{State, Step, Want};

use crate::args::LogitsArgs;
use crate::failure::{Failure, no_prompt};
use crate::interrupt::Interrupt;
use crate::open::Opened;
use crate::prompt::{read_ids, read_prompt};
use crate::{output, report};

/// Tokens that are fed at a time.
const CHUNK: usize = 64;

pub fn run(args: &LogitsArgs) -> Result<(), Failure> {
    output::check(&args.output, output::LOGITS)?;
    let opened = Opened::new(&args.model)?;
    let input = &args.input;
    let ids = match (read_ids(input.ids.as_ref(), input.ids_file.as_deref())?, &input.file) {
        (Some(ids), _) => ids,
        (None, file) => {
            let text = match (file, &input.prompt) {
                (Some(path), _) => read_prompt(path)?,
                (None, text) => text.clone().unwrap_or_default(),
            };
            opened.tokenizer("give the tokens as --ids")?.encode_prompt(&text)?
        }
    };
    if ids.is_empty() {
        return Err(no_prompt());
    }
    let (model, config) = (&opened.model, opened.model.config());
    let mut state = model.new_state();
    opened.prepare(&args.model.memory, None, false)?;

    let mut header = Header::default();
    header.set("format", output::LOGITS);
    header.set("mmfree.hash", model.file().hash());
    let bytes = |count: usize, size: usize| count as u64 * size as u64;
    // Signed 64 bits, as PyTorch has its ids; first, where it is aligned.
    header.push("ids", "I64", &[ids.len()], bytes(ids.len(), 8));
    let shape = [ids.len(), config.vocab_size];
    header.push("logits", "F32", &shape, bytes(shape[0], 4) * config.vocab_size as u64);
    let shape = [config.num_layers, config.state_size];
    header.push("state", "F32", &shape, bytes(state.recurrence().len(), 4));
    if let Some(conv) = config.short_conv {
        let mut shape = vec![config.num_layers];
        match conv.shared {
            true => shape.extend([conv.size, config.hidden_size]),
            false => shape.extend([2, conv.size, config.state_size]),
        }
        let len = config.num_layers * config.conv_window_len();
        header.push("windows", "F32", &shape, bytes(len, 4));
    }

    // First the signals: one that comes later must not leave the unfinished file behind.
    let interrupt = Interrupt::install();
    let mut out = AtomicFile::create(&args.output, true)?;
    write(&mut out, header.to_bytes())?;
    write(&mut out, ids.iter().flat_map(|&id| i64::from(id).to_le_bytes()).collect())?;
    let chunk = if args.each_step { 1 } else { CHUNK };
    let mut logits = Vec::new();
    let bar = report::progress("logits", ids.len(), true);
    for tokens in ids.chunks(chunk) {
        if interrupt.hit() {
            return Err(interrupt.failure());
        }
        let (state, logits) = (&mut state, &mut logits);
        model.forward(&mut [Step { state, tokens, want: Want::All, logits, states: None }])?;
        write(&mut out, floats(logits))?;
        bar.inc(tokens.len() as u64);
    }
    bar.finish_and_clear();
    write(&mut out, state_bytes(&state, config.num_layers))?;
    Ok(out.commit()?)
}

fn state_bytes(state: &State, layers: usize) -> Vec<u8> {
    let mut bytes = floats(state.recurrence());
    for layer in 0..layers {
        bytes.extend(floats(state.windows(layer)));
    }
    bytes
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn write(out: &mut AtomicFile, bytes: Vec<u8>) -> Result<(), Failure> {
    Ok(out.file().write_all(&bytes).map_err(out.error())?)
}
