//! Opening a model, and warming it.

use std::sync::Arc;

use mmfree::kernels::Isa;
use mmfree::{Device, Model, ModelFile, Options, Residency, SamplerOptions, Session};

use crate::args::Args;
use crate::failure::{Failure, say};

/// A model that is mapped and has run once.
pub fn open(args: &Args) -> Result<Arc<Model>, Failure> {
    let file = match &args.model {
        Some(path) => ModelFile::open(path)?,
        None => demo()?,
    };
    let residency =
        Residency { prefault: args.prefault, mlock: args.mlock, ..Residency::default() };
    let options = Options {
        threads: args.threads,
        isa: Some(isa(args)?),
        device: device(args)?,
        residency,
        ..Options::default()
    };
    let model = Model::new(file, &options)?;
    if let Some(plan) = model.plan() {
        say(&format!("mmfree-serve: {}: {plan}", model.file().path().display()));
    }
    // Maps every page that a token needs, and starts the pool's threads.
    let mut session = Session::new(&model, SamplerOptions::default())?;
    session.push(&[0])?;
    session.next_token()?;
    Ok(model)
}

fn device(args: &Args) -> Result<Device, Failure> {
    if args.device != "auto" {
        return Ok(Device::from_name(&args.device)?);
    }
    let (device, reason) = Device::auto();
    if let Some(reason) = reason {
        say(&format!("mmfree-serve: running on the CPU: {reason}"));
    }
    Ok(device)
}

fn isa(args: &Args) -> Result<Isa, Failure> {
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
    let reason = "no model: this build has no demo model, so give one with -m FILE";
    Err(Failure::Usage(reason.into()))
}
