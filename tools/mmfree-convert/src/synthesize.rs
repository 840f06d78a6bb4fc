//! Random weights at real shapes, so that speed and memory can be measured without a download.
//!
//! Every value is a function of the seed, its tensor and its index alone: the same file on any
//! machine and any number of threads.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use half::f16;
use mmfree::Config;
use mmfree::format::{FloatType, Role, TensorSpec};

use crate::config;
use crate::error::{Error, Result};
use crate::json::Object;
use crate::options::Options;
use crate::source::{Source, TritMatrix};
use crate::summary::Summary;
use crate::write::write_model;

/// The shape of a model to make up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// H.
    pub hidden: usize,
    /// L.
    pub layers: usize,
    /// I; `None` takes the default of the architecture.
    pub intermediate: Option<usize>,
    /// V.
    pub vocab: usize,
}

impl FromStr for Size {
    type Err = String;

    /// A published size, as `370m`, or `hidden=1024,layers=24`, optionally with `intermediate=..`
    /// and `vocab=..`.
    fn from_str(text: &str) -> Result<Size, String> {
        let published = |hidden, layers| Size { hidden, layers, intermediate: None, vocab: 32000 };
        match text.to_ascii_lowercase().as_str() {
            "370m" => return Ok(published(1024, 24)),
            "1.3b" => return Ok(published(2048, 24)),
            "2.7b" => return Ok(published(2560, 32)),
            _ => {}
        }
        let right = "must be 370m, 1.3b, 2.7b or hidden=..,layers=..[,intermediate=..][,vocab=..]";
        let mut fields = BTreeMap::new();
        for field in text.split(',') {
            let (key, value) = field.split_once('=').ok_or(right)?;
            if !["hidden", "layers", "intermediate", "vocab"].contains(&key) {
                return Err(format!("{key} is no field, {right}"));
            }
            let value: usize =
                value.parse().map_err(|_| format!("{key} is {value:?}, must be a whole number"))?;
            if fields.insert(key, value).is_some() {
                return Err(format!("{key} stands there twice"));
            }
        }
        let size = Size {
            hidden: *fields.get("hidden").ok_or("hidden=.. is missing")?,
            layers: *fields.get("layers").ok_or("layers=.. is missing")?,
            intermediate: fields.get("intermediate").copied(),
            vocab: fields.get("vocab").copied().unwrap_or(32000),
        };
        size.config(0)?;
        Ok(size)
    }
}

impl Size {
    /// The `config.json` that such a checkpoint would have.
    fn config_json(&self, seed: u64) -> String {
        let intermediate = self
            .intermediate
            .unwrap_or_else(|| config::default_intermediate_size(self.hidden, None));
        // Unknown keys are ignored by every reader; the seed tells what this is.
        format!(
            "{{\"architectures\": [\"HGRNBitForCausalLM\"], \"model_type\": \"hgrn_bit\", \
             \"hidden_size\": {}, \"num_hidden_layers\": {}, \"intermediate_size\": {intermediate}, \
             \"vocab_size\": {}, \"torch_dtype\": \"float16\", \"synthesized_with_seed\": {seed}}}",
            self.hidden, self.layers, self.vocab
        )
    }

    fn config(&self, seed: u64) -> Result<Config, String> {
        config::parse(&Object::parse(&self.config_json(seed))?, None)
    }
}

/// Writes a model file of random weights to `output`. It has no tokenizer.
///
/// # Errors
/// An output that exists or cannot be written.
pub fn synthesize(size: Size, seed: u64, output: &Path, options: &Options) -> Result<Summary> {
    let config = size.config(seed).map_err(Error::Option)?;
    let files = BTreeMap::from([("config.json".to_owned(), size.config_json(seed))]);
    let tensors = config.tensors();
    let keys = tensors.iter().zip(0..).map(|(spec, i)| (spec.name.clone(), draw(seed, i)));
    let source = Random { keys: keys.collect(), config, files };
    write_model(&source, output, options)
}

/// Generated weights.
struct Random {
    config: Config,
    files: BTreeMap<String, String>,
    /// For each tensor the key of its draws.
    keys: BTreeMap<String, u64>,
}

impl Random {
    fn key(&self, name: &str) -> u64 {
        self.keys.get(name).copied().unwrap_or_default()
    }
}

impl Source for Random {
    fn config(&self) -> &Config {
        &self.config
    }

    fn float_type(&self, _tensor: &str) -> FloatType {
        FloatType::F16
    }

    fn files(&self) -> &BTreeMap<String, String> {
        &self.files
    }

    fn tokenizer(&self) -> Option<&[u8]> {
        None
    }

    fn matrix(&self, spec: &TensorSpec) -> Result<Box<dyn TritMatrix + '_>> {
        let cols = spec.shape[1];
        // Its input has magnitudes about 1, so this gives outputs about 1.
        let scale = 1.0 / (cols as f32).sqrt();
        Ok(Box::new(RandomTrits { key: self.key(&spec.name), cols, scale }))
    }

    fn floats(&self, spec: &TensorSpec, first: usize, out: &mut [f32]) -> Result<()> {
        let key = self.key(&spec.name);
        let norm = spec.role == Role::Float && spec.name.ends_with("norm.weight");
        for (i, value) in (first as u64..).zip(out) {
            // 24 bits, which a float32 holds exactly: -1 to 1.
            let uniform = (draw(key, i) >> 40) as f32 / (1 << 23) as f32 - 1.0;
            let number = if norm { 1.0 + 0.1 * uniform } else { uniform };
            *value = f16::from_f32(number).to_f32();
        }
        Ok(())
    }
}

/// A matrix of drawn trits: 6/16 zeros, 5/16 of either sign.
struct RandomTrits {
    key: u64,
    cols: usize,
    scale: f32,
}

impl TritMatrix for RandomTrits {
    fn scale(&self) -> f32 {
        self.scale
    }

    fn row(&self, row: usize, out: &mut [i8]) {
        const TRITS: [i8; 16] = [-1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1];
        let first = row as u64 * self.cols.div_ceil(16) as u64;
        for (i, trits) in (first..).zip(out.chunks_mut(16)) {
            let bits = draw(self.key, i);
            for (shift, trit) in (0..).step_by(4).zip(trits) {
                *trit = TRITS[(bits >> shift & 15) as usize];
            }
        }
    }
}

/// Draw `index` of a sequence: SplitMix64 (Steele, Lea, Flood 2014), whose state is a counter.
fn draw(key: u64, index: u64) -> u64 {
    let mut z = key.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_published_ones_or_spelt_out() {
        let size: Size = "2.7B".parse().unwrap();
        let config = size.config(0).unwrap();
        assert_eq!(
            (config.hidden_size, config.num_layers, config.intermediate_size),
            (2560, 32, 6912)
        );
        let size: Size = "hidden=64,layers=2,vocab=100".parse().unwrap();
        assert_eq!(size, Size { hidden: 64, layers: 2, intermediate: None, vocab: 100 });
        for wrong in [
            "",
            "7b",
            "hidden=64",
            "hidden=64,layers=2,x=1",
            "hidden=0,layers=2",
            "hidden=1,hidden=1",
        ] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn draws_are_those_of_the_published_generator() {
        // The first outputs of SplitMix64 from state 1234567.
        let expected = [6457827717110365317, 3203168211198807973, 9817491932198370423];
        assert_eq!([0, 1, 2].map(|i| draw(1234567, i)), expected);
    }
}
