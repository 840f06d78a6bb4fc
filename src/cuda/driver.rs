//! The driver: is it there, which devices has it, memory and launches on one of them. All work of a
//! process on a device goes through its default stream, and so happens in order.

use std::sync::Arc;

use cudarc::driver::sys::{self, CUdevice_attribute, CUfunction_attribute_enum};
use cudarc::driver::{
    CudaContext, CudaFunction, CudaModule, CudaSlice, CudaStream, DevicePtr, DeviceRepr,
    DriverError, LaunchArgs, LaunchConfig, PushKernelArg, ValidAsZeroBits,
};
use cudarc::nvrtc::Ptx;

use super::LEAST_CAPABILITY;
use super::compile::{self, Source};
use crate::device::Device;
use crate::error::{Error, Result};

/// What is known of a GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Its number, as in `cuda:N`.
    pub number: usize,
    /// Its name.
    pub name: String,
    /// Its compute capability, as 90 for 9.0.
    pub capability: u32,
    /// Its multiprocessors.
    pub multiprocessors: usize,
    /// Bytes of its memory.
    pub memory: usize,
}

/// The GPUs of this machine.
///
/// # Errors
/// [`Error::Device`] where there is no driver, or it fails.
pub fn devices() -> Result<Vec<DeviceInfo>> {
    let count = count()?;
    (0..count).map(|number| info(number, &*context(number)?)).collect()
}

/// Whether models can run on a GPU: there is a driver and the device, it is new enough, and NVRTC
/// is there.
///
/// # Errors
/// [`Error::Device`] with what is missing.
pub fn check(number: usize) -> Result<()> {
    let info = info(number, &*context(number)?)?;
    if info.capability < LEAST_CAPABILITY {
        let (has, least) = (dotted(info.capability), dotted(LEAST_CAPABILITY));
        let reason = format!("{} has compute capability {has}, must be {least} or more", info.name);
        return Err(error(number, reason));
    }
    compile::check(number)
}

fn dotted(capability: u32) -> String {
    format!("{}.{}", capability / 10, capability % 10)
}

pub(super) fn error(number: usize, reason: impl Into<String>) -> Error {
    Error::Device { device: Device::Cuda(number).to_string(), reason: reason.into() }
}

/// The driver's error, with what was being done.
pub(super) fn failed(number: usize, action: &str) -> impl FnOnce(DriverError) -> Error {
    move |e| {
        let reason = match e.error_string() {
            Ok(text) => text.to_string_lossy().into_owned(),
            Err(_) => format!("{:?}", e.0),
        };
        error(number, format!("{action}: {reason}"))
    }
}

fn count() -> Result<usize> {
    // SAFETY: loads the driver's library, whose initialisers may run anywhere.
    if !unsafe { sys::is_culib_present() } {
        return Err(error(0, "no NVIDIA driver on this machine (libcuda.so is not found)"));
    }
    let count =
        CudaContext::device_count().map_err(failed(0, "the NVIDIA driver does not start"))?;
    Ok(count.max(0) as usize)
}

fn context(number: usize) -> Result<Arc<CudaContext>> {
    match count()? {
        0 => Err(error(number, "the NVIDIA driver sees no GPU")),
        count if number >= count => {
            Err(error(number, format!("there is no such GPU, only 0 to {}", count - 1)))
        }
        _ => CudaContext::new(number).map_err(failed(number, "cannot be opened")),
    }
}

fn info(number: usize, context: &CudaContext) -> Result<DeviceInfo> {
    let ask = || -> Result<DeviceInfo, DriverError> {
        let (major, minor) = context.compute_capability()?;
        let multiprocessors =
            context.attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
        Ok(DeviceInfo {
            number,
            name: context.name()?,
            capability: (major * 10 + minor) as u32,
            multiprocessors: multiprocessors as usize,
            memory: context.total_mem()?,
        })
    };
    ask().map_err(failed(number, "cannot be asked"))
}

fn load(context: &Arc<CudaContext>, info: &DeviceInfo, source: &Source) -> Result<Arc<CudaModule>> {
    let image = compile::load(info.number, info.capability, source)?;
    context
        .load_module(Ptx::from_binary(image))
        .map_err(failed(info.number, "cannot load the kernels"))
}

/// A GPU, with the kernels loaded.
#[derive(Clone, Debug)]
pub(crate) struct Gpu {
    pub info: DeviceInfo,
    pub context: Arc<CudaContext>,
    pub stream: Arc<CudaStream>,
    module: Arc<CudaModule>,
    /// The most shared memory that a block can have.
    pub shared_memory: usize,
    /// Whether all blocks of a launch can be made to run at once.
    pub cooperative: bool,
}

/// A structure that a kernel takes by value.
pub(crate) trait Structure {
    fn push<'a>(&'a self, launch: &mut LaunchArgs<'a>);
}

impl<T: DeviceRepr> Structure for T {
    fn push<'a>(&'a self, launch: &mut LaunchArgs<'a>) {
        launch.arg(self);
    }
}

/// An argument of a kernel.
#[derive(Clone, Copy)]
pub(crate) enum Arg<'a> {
    Address(u64),
    Int(i32),
    Float(f32),
    /// A structure, passed by value.
    Struct(&'a dyn Structure),
}

impl Gpu {
    /// Opens the GPU of that number and loads the kernels.
    pub fn open(number: usize) -> Result<Gpu> {
        check(number)?;
        let context = context(number)?;
        let info = info(number, &context)?;
        let module = load(&context, &info, &Source::kernels())?;
        let ask =
            |attribute| context.attribute(attribute).map_err(failed(number, "cannot be asked"));
        let shared_memory =
            ask(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?;
        let cooperative = ask(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH)? != 0;
        let stream = context.default_stream();
        let shared_memory = shared_memory.max(0) as usize;
        Ok(Gpu { info, context, stream, module, shared_memory, cooperative })
    }

    pub fn error(&self, reason: impl Into<String>) -> Error {
        error(self.info.number, reason)
    }

    pub fn failed(&self, action: &str) -> impl FnOnce(DriverError) -> Error {
        failed(self.info.number, action)
    }

    /// The kernel of that name, allowed `shared` bytes of dynamic shared memory.
    pub fn function(&self, name: &str, shared: usize) -> Result<CudaFunction> {
        self.function_of(&self.module, name, shared)
    }

    /// A kernel of a source of its own.
    pub fn function_from(
        &self,
        source: &Source,
        name: &str,
        shared: usize,
    ) -> Result<CudaFunction> {
        self.function_of(&load(&self.context, &self.info, source)?, name, shared)
    }

    fn function_of(
        &self,
        module: &Arc<CudaModule>,
        name: &str,
        shared: usize,
    ) -> Result<CudaFunction> {
        if shared > self.shared_memory {
            let most = self.shared_memory;
            let reason = format!(
                "a row of this model takes {shared} bytes of shared memory, the GPU has {most}"
            );
            return Err(self.error(reason));
        }
        let function = module.load_function(name).map_err(self.failed("cannot find a kernel"))?;
        let attribute = CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        function
            .set_attribute(attribute, shared as i32)
            .map_err(self.failed("cannot set up a kernel"))?;
        Ok(function)
    }

    /// Bytes of memory that are free.
    pub fn free_memory(&self) -> Result<usize> {
        Ok(self.context.mem_get_info().map_err(self.failed("cannot be asked"))?.0)
    }

    pub fn zeros<T: DeviceRepr + ValidAsZeroBits>(&self, len: usize) -> Result<CudaSlice<T>> {
        // An empty allocation is an error of the driver's.
        self.stream.alloc_zeros(len.max(1)).map_err(|e| {
            if e.0 != sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY {
                return self.failed("cannot allocate memory")(e);
            }
            let free = self.free_memory().unwrap_or(0);
            let need = len * size_of::<T>();
            self.error(format!("too little memory: {need} bytes needed, {free} free"))
        })
    }

    pub fn upload<T: DeviceRepr>(&self, values: &[T]) -> Result<CudaSlice<T>> {
        self.stream.clone_htod(values).map_err(self.failed("cannot copy to it"))
    }

    pub fn download<T: DeviceRepr>(&self, slice: &impl DevicePtr<T>) -> Result<Vec<T>> {
        self.stream.clone_dtoh(slice).map_err(self.failed("cannot copy from it"))
    }

    /// The address of a buffer, for a kernel.
    pub fn address<T>(&self, slice: &CudaSlice<T>) -> u64 {
        slice.device_ptr(&self.stream).0
    }

    /// Whether all that it was asked for is done.
    pub fn is_idle(&self) -> Result<bool, DriverError> {
        self.context.bind_to_thread()?;
        // SAFETY: the stream is alive.
        match unsafe { sys::cuStreamQuery(self.stream.cu_stream()) } {
            sys::CUresult::CUDA_ERROR_NOT_READY => Ok(false),
            other => other.result().map(|()| true),
        }
    }

    /// Launches a kernel.
    ///
    /// # Safety
    /// The arguments are the kernel's parameters, and every address in them is of memory large
    /// enough for what the kernel does with it, alive until the stream has got there (freeing goes
    /// through the same stream).
    pub unsafe fn launch(
        &self,
        function: &CudaFunction,
        grid: [usize; 3],
        threads: u32,
        shared: usize,
        cooperative: bool,
        args: &[Arg<'_>],
    ) -> Result<()> {
        let config = LaunchConfig {
            grid_dim: (grid[0] as u32, grid[1] as u32, grid[2] as u32),
            block_dim: (threads, 1, 1),
            shared_mem_bytes: shared as u32,
        };
        let mut launch = self.stream.launch_builder(function);
        for arg in args {
            match arg {
                Arg::Address(value) => value.push(&mut launch),
                Arg::Int(value) => value.push(&mut launch),
                Arg::Float(value) => value.push(&mut launch),
                Arg::Struct(value) => value.push(&mut launch),
            }
        }
        // SAFETY: the caller's promise.
        let result = unsafe {
            if cooperative { launch.launch_cooperative(config) } else { launch.launch(config) }
        };
        result.map(|_| ()).map_err(self.failed("cannot launch a kernel"))
    }
}
