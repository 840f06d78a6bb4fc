//! Floats on a GPU: a state's.

use cudarc::driver::CudaSlice;

use super::Gpu;
use super::driver::failed;
use crate::error::Result;

/// Floats in a GPU's memory.
#[derive(Debug)]
pub(crate) struct DeviceFloats {
    number: usize,
    floats: CudaSlice<f32>,
}

impl DeviceFloats {
    pub fn upload(gpu: &Gpu, floats: &[f32]) -> Result<DeviceFloats> {
        Ok(DeviceFloats { number: gpu.info.number, floats: gpu.upload(floats)? })
    }

    /// Another copy on the same GPU.
    pub fn copy(&self) -> Result<DeviceFloats> {
        let floats = self.floats.try_clone().map_err(failed(self.number, "cannot copy a state"))?;
        Ok(DeviceFloats { number: self.number, floats })
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
