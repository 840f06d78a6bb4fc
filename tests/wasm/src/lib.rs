//! The engine without an operating system: what `run.mjs` calls.

use std::sync::Mutex;

use mmfree::{AlignedBytes, Error, Model, ModelFile, Options, Step, Want};

/// What the host writes and reads in place.
struct Places {
    file: AlignedBytes,
    ids: Vec<u32>,
    logits: Vec<f32>,
    recurrence: Vec<f32>,
    error: String,
}

static PLACES: Mutex<Places> = Mutex::new(Places {
    file: AlignedBytes::new(),
    ids: Vec::new(),
    logits: Vec::new(),
    recurrence: Vec::new(),
    error: String::new(),
});

/// Runs with the places.
fn with<T>(run: impl FnOnce(&mut Places) -> T) -> T {
    run(&mut PLACES.lock().expect("one thread, and it ends where it panics"))
}

/// Where a model file of `len` bytes goes.
#[unsafe(no_mangle)]
pub extern "C" fn file(len: usize) -> *mut u8 {
    with(|places| {
        places.file = AlignedBytes::zeroed(len);
        places.file.as_mut_ptr()
    })
}

/// Where `len` token ids go.
#[unsafe(no_mangle)]
pub extern "C" fn ids(len: usize) -> *mut u32 {
    with(|places| {
        places.ids = vec![0; len];
        places.ids.as_mut_ptr()
    })
}

/// Takes the file and feeds the ids to it, asking for so many threads; whether that went well.
#[unsafe(no_mangle)]
pub extern "C" fn run(threads: usize) -> bool {
    with(|places| {
        let result = feed(places, threads);
        if let Err(error) = &result {
            places.error = error.to_string();
        }
        result.is_ok()
    })
}

fn feed(places: &mut Places, threads: usize) -> Result<(), Error> {
    let file = ModelFile::from_owner("the file of the host", std::mem::take(&mut places.file))?;
    let model = Model::new(file, &Options { threads: Some(threads), ..Options::default() })?;
    assert_eq!(model.threads(), 1);
    let mut state = model.new_state();
    let (state, tokens, logits) = (&mut state, &places.ids[..], &mut places.logits);
    model.forward(&mut [Step { state, tokens, want: Want::All, logits, states: None }])?;
    // As bytes and back: what a page keeps.
    let state = model.state_from_bytes(&state.to_bytes()?)?;
    places.recurrence = state.recurrence().to_vec();
    Ok(())
}

/// Defines functions that give address and length of a place.
macro_rules! place {
    ($address:ident, $len:ident, $field:ident) => {
        #[doc = "Its address."]
        #[unsafe(no_mangle)]
        pub extern "C" fn $address() -> *const u8 {
            with(|places| places.$field.as_ptr().cast())
        }

        #[doc = "Its length."]
        #[unsafe(no_mangle)]
        pub extern "C" fn $len() -> usize {
            with(|places| places.$field.len())
        }
    };
}

place!(logits, logits_len, logits);
place!(recurrence, recurrence_len, recurrence);
place!(error, error_len, error);
