//! Where a model runs.

use std::fmt;

use crate::error::{Error, Result};

/// A device that models run on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Device {
    /// The CPU.
    #[default]
    Cpu,
    /// An NVIDIA GPU, by number from 0. Needs the feature `cuda`.
    Cuda(usize),
}

impl Device {
    /// The device of that name: `cpu`, `cuda` (the first GPU), `cuda:N`. Whether it is there shows
    /// when a model is made for it.
    ///
    /// # Errors
    /// [`Error::Option`] for any other name.
    pub fn from_name(name: &str) -> Result<Device> {
        let number = match name {
            "cpu" => return Ok(Device::Cpu),
            "cuda" => Some(0),
            name => name.strip_prefix("cuda:").and_then(|n| n.parse().ok()),
        };
        number.map(Device::Cuda).ok_or_else(|| Error::Option {
            name: "device",
            reason: format!("{name:?} is none, must be cpu, cuda, cuda:N or auto"),
        })
    }

    /// The first GPU that can be used, else the CPU and the reason why no GPU.
    pub fn auto() -> (Device, Option<Error>) {
        match usable(0) {
            Ok(()) => (Device::Cuda(0), None),
            Err(reason) => (Device::Cpu, Some(reason)),
        }
    }

    #[cfg(not(feature = "cuda"))]
    pub(crate) fn not_built(self) -> Error {
        let reason = "this program was built without GPU support (cargo feature `cuda`)".into();
        Error::Device { device: self.to_string(), reason }
    }
}

#[cfg(feature = "cuda")]
fn usable(number: usize) -> Result<()> {
    crate::cuda::check(number)
}

#[cfg(not(feature = "cuda"))]
fn usable(number: usize) -> Result<()> {
    Err(Device::Cuda(number).not_built())
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.write_str("cpu"),
            Device::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_goes_both_ways() {
        for name in ["cpu", "cuda:0", "cuda:3"] {
            assert_eq!(Device::from_name(name).unwrap().to_string(), name);
        }
        assert_eq!(Device::from_name("cuda").unwrap(), Device::Cuda(0));
        for name in ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "CPU", "auto"] {
            assert!(Device::from_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn auto_gives_a_device_or_says_why_not() {
        let (device, reason) = Device::auto();
        assert_eq!(device == Device::Cpu, reason.is_some());
    }
}
