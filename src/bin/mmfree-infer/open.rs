//! Opening a model as the command line asks for it.

use std::cell::{Cell, OnceCell};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mmfree::kernels::{self, Family, Isa};
use mmfree::packing::Packing;
use mmfree::{Device, Model, ModelFile, Options, Repack, Residency, Tokenizer};

use crate::args::{MemoryArgs, ModelArgs, RepackArg};
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::report::say;
use crate::residency;

/// A model that is ready, and its tokenizer once it is asked for: ids run without.
pub struct Opened {
    pub model: Arc<Model>,
    /// Threads that were asked for.
    threads: Option<usize>,
    tokenizer: OnceCell<Result<Option<Tokenizer>, String>>,
    time: Cell<Duration>,
}

impl Opened {
    pub fn new(args: &ModelArgs) -> Result<Opened, Failure> {
        let start = Instant::now();
        let isa = isa(args)?;
        let kernel = Family::from_name(&args.kernel);
        if Packing::ALL.iter().any(|&p| kernels::select(p, isa, kernel, 1).is_none()) {
            return Err(Failure::Usage(format!(
                "--kernel {}: instruction set {} has no such kernels; --kernel auto has some",
                args.kernel,
                isa.name()
            )));
        }
        let file = match &args.model {
            Some(path) => ModelFile::open(path)?,
            None => demo()?,
        };
        let device = device(args)?;
        let residency = Residency {
            advice: Some(args.memory.advice.into()),
            repack: repack(&args.memory),
            ..Residency::default()
        };
        let options = Options { threads: args.threads, isa: Some(isa), kernel, device, residency };
        let model = Model::new(file, &options)?;
        let time = Cell::new(start.elapsed());
        Ok(Opened { model, threads: args.threads, tokenizer: OnceCell::new(), time })
    }

    /// Brings the model file into memory as the arguments ask for it, and says what there is no
    /// room for. A signal ends the reading, and is left to the caller.
    pub fn prepare(
        &self,
        args: &MemoryArgs,
        interrupt: Option<&Interrupt>,
        quiet: bool,
    ) -> Result<(), Failure> {
        let start = Instant::now();
        residency::prepare(&self.model, args, interrupt, quiet)?;
        let threads = self.model.threads();
        if let (Some(asked), false) = (self.threads.filter(|&asked| asked > threads), quiet) {
            say(&format!("note: {threads} of {asked} threads: the system has no room for more"));
        }
        self.time.set(self.time.get() + start.elapsed());
        Ok(())
    }

    /// The tokenizer, `None` where there is none, or why it cannot be read.
    pub fn try_tokenizer(&self) -> Result<Option<&Tokenizer>, &str> {
        let tokenizer = self.tokenizer.get_or_init(|| {
            let start = Instant::now();
            let tokenizer = Tokenizer::from_file(self.model.file());
            self.time.set(self.time.get() + start.elapsed());
            tokenizer.map_err(|error| error.to_string())
        });
        tokenizer.as_ref().map(Option::as_ref).map_err(String::as_str)
    }

    /// The tokenizer, or a message for those who cannot do without: `instead` is what would do.
    pub fn tokenizer(&self, instead: &str) -> Result<&Tokenizer, Failure> {
        let tokenizer = self.try_tokenizer();
        let tokenizer =
            tokenizer.map_err(|reason| Failure::Message(format!("{reason}; {instead}")))?;
        tokenizer.ok_or_else(|| {
            let file = self.model.file().path().display();
            Failure::Message(format!("{file}: the model file has no tokenizer; {instead}"))
        })
    }

    /// How long opening took.
    pub fn time(&self) -> Duration {
        self.time.get()
    }
}

fn repack(args: &MemoryArgs) -> Repack {
    match args.repack {
        // The file is locked later, when the model is made already.
        RepackArg::Auto if args.mlock => Repack::Never,
        RepackArg::Auto => Repack::Auto,
        RepackArg::Never => Repack::Never,
        RepackArg::Always => Repack::Always,
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
    let name = match (args.isa, &from_env) {
        (Some(isa), _) => return Ok(isa),
        (None, Some(name)) => name.to_string_lossy().into_owned(),
        (None, None) => "auto".to_owned(),
    };
    Isa::from_name(&name).map_err(|error| Failure::Usage(format!("MMFREE_ISA: {error}")))
}

#[cfg(feature = "demo")]
fn demo() -> Result<ModelFile, Failure> {
    Ok(ModelFile::demo()?)
}

#[cfg(not(feature = "demo"))]
fn demo() -> Result<ModelFile, Failure> {
    Err(Failure::Message("no model: this build has no demo model, so give one with -m FILE".into()))
}
