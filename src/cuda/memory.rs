//! Floats on a GPU: a state's.

use std::sync::atomic::{AtomicU64, Ordering};

use cudarc::driver::CudaSlice;

use super::Gpu;
use super::driver::failed;
use crate::error::Result;

/// Floats in a GPU's memory.
#[derive(Debug)]
pub(crate) struct DeviceFloats {
    /// The GPU's.
    number: usize,
    /// These floats', among all that there have been: an address may come back.
    id: u64,
    floats: CudaSlice<f32>,
}

impl DeviceFloats {
    pub fn upload(gpu: &Gpu, floats: &[f32]) -> Result<DeviceFloats> {
        Ok(Self::new(gpu.info.number, gpu.upload(floats)?))
    }

    fn new(number: usize, floats: CudaSlice<f32>) -> DeviceFloats {
        static IDS: AtomicU64 = AtomicU64::new(0);
        DeviceFloats { number, id: IDS.fetch_add(1, Ordering::Relaxed), floats }
    }

    /// Another copy on the same GPU.
    pub fn copy(&self) -> Result<DeviceFloats> {
        let floats = self.floats.try_clone().map_err(failed(self.number, "cannot copy a state"))?;
        Ok(Self::new(self.number, floats))
    }

    /// A number that no others have or had.
    pub fn id(&self) -> u64 {
        self.id
    }

    pub fn is_on(&self, gpu: &Gpu) -> bool {
        self.number == gpu.info.number
    }

    pub fn download(&self) -> Result<Vec<f32>> {
        let stream = self.floats.stream();
        stream.clone_dtoh(&self.floats).map_err(failed(self.number, "cannot copy a state from it"))
    }

    /// For kernels.
    pub fn address(&self) -> u64 {
        use cudarc::driver::DevicePtr;
        self.floats.device_ptr(self.floats.stream()).0
    }
}
