//! Small models made up from a seed, straight into the file format.

use std::collections::BTreeMap;

use mmfree::format::{ARCHITECTURE, Config, Header, Role, ShortConv, TOKENIZER, VERSION, keys};
use mmfree::packing::Packing;

/// SplitMix64: a stream of numbers from a seed.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// Uniform in -1..1.
    pub fn float(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// A small configuration with odd sizes, to be changed where a test needs it.
pub fn config() -> Config {
    Config {
        vocab_size: 97,
        hidden_size: 40,
        num_layers: 3,
        num_heads: 1,
        state_size: 40,
        intermediate_size: 83,
        rms_norm_eps: 1e-6,
        lower_bounds: true,
        short_conv: None,
        tie_word_embeddings: false,
        bos_token_id: Some(1),
        eos_token_ids: vec![2],
    }
}

/// One configuration of each kind that the forward pass treats differently.
pub fn kinds() -> Vec<(&'static str, Config)> {
    let plain = config();
    let wide = Config { state_size: 72, num_heads: 4, lower_bounds: false, ..config() };
    let conv = |shared| Config { short_conv: Some(ShortConv { size: 4, shared }), ..config() };
    vec![
        ("plain", plain),
        ("no bounds, wide state", wide),
        ("shared convolution", conv(true)),
        ("separate convolutions", conv(false)),
        ("one tap", Config { short_conv: Some(ShortConv { size: 1, shared: false }), ..config() }),
    ]
}

/// The bytes of a model file: random trits, scales, norms and embeddings. The same seed gives the same model in every packing.
pub fn model(config: &Config, packing: Packing, seed: u64) -> Vec<u8> {
    with_tokenizer(config, &[packing], seed, Some("{}"))
}

/// The same with the packings in turn, one for each matrix.
pub fn mixed_model(config: &Config, packings: &[Packing], seed: u64) -> Vec<u8> {
    with_tokenizer(config, packings, seed, Some("{}"))
}

/// The same without a tokenizer; that of [`model`] is none in truth.
pub fn model_without_tokenizer(config: &Config, packing: Packing, seed: u64) -> Vec<u8> {
    with_tokenizer(config, &[packing], seed, None)
}

/// The same with the text of a `tokenizer.json`.
pub fn model_with_tokenizer(config: &Config, packing: Packing, seed: u64, json: &str) -> Vec<u8> {
    with_tokenizer(config, &[packing], seed, Some(json))
}

fn with_tokenizer(
    config: &Config,
    packings: &[Packing],
    seed: u64,
    tokenizer: Option<&str>,
) -> Vec<u8> {
    let mut rng = Rng(seed);
    let mut header = Header::default();
    let mut data: Vec<u8> = Vec::new();
    let mut late: Vec<(String, &'static str, Vec<usize>, Vec<u8>)> = Vec::new();
    let mut ternary = BTreeMap::new();
    let le = |floats: Vec<f32>| floats.into_iter().flat_map(f32::to_le_bytes).collect::<Vec<u8>>();
    for spec in config.tensors() {
        let len: usize = spec.shape.iter().product();
        match spec.role {
            Role::Ternary => {
                let (rows, cols) = (spec.shape[0], spec.shape[1]);
                let trits: Vec<i8> = (0..len).map(|_| rng.below(3) as i8 - 1).collect();
                let packing = packings[ternary.len() % packings.len()];
                let bytes = packing.pack_matrix(rows, cols, &trits);
                header.push(&spec.name, "U8", &[bytes.len()], bytes.len() as u64);
                data.extend(bytes);
                let scale = 0.01 * (2.0 + rng.float());
                late.push((format!("{}_scale", spec.name), "F32", vec![1], le(vec![scale])));
                let entry =
                    format!(r#"{{"packing":"{}","rows":{rows},"cols":{cols}}}"#, packing.name());
                ternary
                    .insert(spec.name, serde_json::from_str::<serde_json::Value>(&entry).unwrap());
            }
            Role::Float | Role::Embedding => {
                let floats = (0..len).map(|_| 1.5 * rng.float()).collect();
                late.push((spec.name, "F32", spec.shape, le(floats)));
            }
        }
    }
    if let Some(json) = tokenizer {
        late.push((TOKENIZER.into(), "U8", vec![json.len()], json.into()));
    }
    for (name, dtype, shape, bytes) in late {
        header.push(&name, dtype, &shape, bytes.len() as u64);
        data.extend(bytes);
    }
    header.set(keys::FORMAT, keys::FORMAT_VALUE);
    header.set(keys::VERSION, VERSION.to_string());
    header.set(keys::ARCHITECTURE, ARCHITECTURE);
    header.set(keys::CONFIG, serde_json::to_string(config).unwrap());
    header.set(keys::HASH, format!("{seed:064x}"));
    header.set(keys::TERNARY, serde_json::to_string(&ternary).unwrap());
    [header.to_bytes(), data].concat()
}
