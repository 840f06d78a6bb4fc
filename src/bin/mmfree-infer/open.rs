//! Opening a model as the command line asks for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mmfree::kernels::{Family, Isa};
use mmfree::{Device, Model, ModelFile, Options, Tokenizer};

use crate::args::ModelArgs;
use crate::failure::Failure;

/// A model that is ready, and its tokenizer.
pub struct Opened {
    pub model: Arc<Model>,
    pub tokenizer: Option<Tokenizer>,
    /// How long that took.
    pub time: Duration,
}

impl Opened {
    pub fn new(args: &ModelArgs) -> Result<Opened, Failure> {
        let start = Instant::now();
        let kernel = Family::from_name(&args.kernel);
        let options =
            Options { threads: args.threads, isa: Some(isa(args)?), kernel, device: device(args)? };
        let file = match &args.model {
            Some(path) => ModelFile::open(path)?,
            None => demo()?,
        };
        let tokenizer = Tokenizer::from_file(&file)?;
        let model = Model::new(file, &options)?;
        Ok(Opened { model, tokenizer, time: start.elapsed() })
    }

    /// The tokenizer, or a message for those who cannot do without: `instead` is what would do.
    pub fn tokenizer(&self, instead: &str) -> Result<&Tokenizer, Failure> {
        self.tokenizer.as_ref().ok_or_else(|| {
            let file = self.model.file().path().display();
            Failure::Message(format!("{file}: the model file has no tokenizer; {instead}"))
        })
    }
}

/// The device asked for; with `auto` a GPU if there is one, and on stderr why not.
pub fn device(args: &ModelArgs) -> Result<Device, Failure> {
    if args.device != "auto" {
        return Ok(Device::from_name(&args.device)?);
    }
    let (device, reason) = Device::auto();
    if let Some(reason) = reason {
        eprintln!("mmfree-infer: running on the CPU: {reason}");
    }
    Ok(device)
}

fn isa(args: &ModelArgs) -> Result<Isa, Failure> {
    let from_env = std::env::var_os("MMFREE_ISA").filter(|name| !name.is_empty());
    let name = match (&args.isa, &from_env) {
        (Some(name), _) => name.clone(),
        (None, Some(name)) => name.to_string_lossy().into_owned(),
        (None, None) => "auto".to_owned(),
    };
    Ok(Isa::from_name(&name)?)
}

#[cfg(feature = "demo")]
fn demo() -> Result<ModelFile, Failure> {
    Ok(ModelFile::demo()?)
}

#[cfg(not(feature = "demo"))]
fn demo() -> Result<ModelFile, Failure> {
    Err(Failure::Message("no model: this build has no demo model, so give one with -m FILE".into()))
}
