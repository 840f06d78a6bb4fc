//! The floats of a state: on the host, on a GPU, or on both and the same.

use std::sync::OnceLock;

#[cfg(feature = "cuda")]
use std::sync::Arc;

#[cfg(feature = "cuda")]
use crate::cuda::DeviceFloats;
use crate::error::Result;

/// Floats that lie where they were used last. A copy on the host is made when it is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    len: usize,
    host: OnceLock<Vec<f32>>,
    /// Shared by clones; whoever writes takes a copy first.
    #[cfg(feature = "cuda")]
    device: Option<Arc<DeviceFloats>>,
}

impl Memory {
    /// Zeros on the host.
    pub fn new(len: usize) -> Memory {
        Memory {
            len,
            host: OnceLock::from(vec![0.0; len]),
            #[cfg(feature = "cuda")]
            device: None,
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn reset(&mut self) {
        *self = Memory::new(self.len);
    }

    /// The floats, brought to the host.
    pub fn try_floats(&self) -> Result<&[f32]> {
        #[cfg(feature = "cuda")]
        if let (None, Some(device)) = (self.host.get(), &self.device) {
            let floats = device.download()?;
            return Ok(self.host.get_or_init(|| floats));
        }
        Ok(self.floats())
    }

    /// As [`try_floats`](Self::try_floats), but not a number throughout where the device has been lost.
    pub fn floats(&self) -> &[f32] {
        self.host.get_or_init(|| {
            #[cfg(feature = "cuda")]
            if let Some(Ok(floats)) = self.device.as_ref().map(|device| device.download()) {
                return floats;
            }
            vec![f32::NAN; self.len]
        })
    }

    /// Brings the floats to the host, to be written there.
    pub fn bring_to_host(&mut self) -> Result<()> {
        self.try_floats()?;
        self.forget_device();
        Ok(())
    }

    pub fn floats_mut(&mut self) -> &mut [f32] {
        self.floats();
        self.forget_device();
        // There since the call above; an empty slice would fail loudly.
        self.host.get_mut().map_or(&mut [], Vec::as_mut_slice)
    }

    fn forget_device(&mut self) {
        #[cfg(feature = "cuda")]
        {
            self.device = None;
        }
    }

    /// The floats on the device have changed: a copy on the host is void.
    #[cfg(feature = "cuda")]
    pub fn changed_on_device(&mut self) {
        if self.device.is_some() {
            self.host = OnceLock::new();
        }
    }

    /// Brings the floats to a GPU, to be written there: the copy on the host is void.
    #[cfg(feature = "cuda")]
    pub fn bring_to_device(&mut self, gpu: &crate::cuda::Gpu) -> Result<&DeviceFloats> {
        let there = self.device.take().filter(|device| device.is_on(gpu));
        let own = match there {
            Some(device) if Arc::strong_count(&device) == 1 => device,
            Some(device) => Arc::new(device.copy()?),
            None => Arc::new(DeviceFloats::upload(gpu, self.try_floats()?)?),
        };
        self.host = OnceLock::new();
        Ok(self.device.insert(own))
    }
}

impl PartialEq for Memory {
    fn eq(&self, other: &Memory) -> bool {
        self.floats() == other.floats()
    }
}
