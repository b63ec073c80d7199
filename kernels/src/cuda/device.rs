//! One device: its context, its stream, its compiled kernels, and memory on it.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use cudarc::{
    driver::{
        CudaContext, CudaEvent, CudaFunction, CudaGraph, CudaModule, CudaStream, DeviceRepr, LaunchConfig,
        PushKernelArg, result, sys,
    },
    nvrtc::Ptx,
};

use super::{CudaError, cache, error::Tried, nvrtc::Nvrtc};

/// A CUDA device with the stream that all its work is ordered by.
pub struct Device {
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    architecture: String,
    driver: i32,
    compiler: OnceLock<Result<Nvrtc, String>>,
    modules: Mutex<HashMap<String, Arc<CudaModule>>>,
    cache: Option<PathBuf>,
    debug: bool,
    profile: Mutex<Option<Vec<(&'static str, CudaEvent, CudaEvent)>>>,
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Device({}, {})", self.context.ordinal(), self.architecture)
    }
}

/// True when the driver's library can be loaded.
pub(super) fn driver_present() -> bool {
    // SAFETY: loads and unloads libcuda, whose initialisers do nothing to this process
    unsafe { sys::is_culib_present() }
}

/// The CUDA version whose driver interface the bindings name; entry points that an older driver lacks would end the process.
pub(super) const DRIVER: i32 = 13_000;

/// The newest CUDA version that the driver runs, as 1000 · major + 10 · minor.
pub(super) fn driver_version() -> Result<i32, CudaError> {
    let mut version = 0;
    // SAFETY: writes one number
    unsafe { sys::cuDriverGetVersion(&mut version) }.result().tried("asking for the driver's version")?;
    Ok(version)
}

/// A kernel of a batch: its source, and what is defined while it compiles.
pub(super) struct Source<'a> {
    /// Parts in order, with the names that messages use.
    pub parts: &'a [(&'a str, &'a str)],
    pub defines: &'a [(&'a str, i32)],
}

/// NVRTC's options for one architecture.
pub(super) fn options(architecture: &str, defines: &[(&str, i32)]) -> Vec<String> {
    let mut options = vec![
        format!("--gpu-architecture={architecture}"),
        "--std=c++17".to_owned(),
        "-default-device".to_owned(),
        "-lineinfo".to_owned(),
    ];
    options.extend(defines.iter().map(|(name, value)| format!("-D{name}={value}")));
    if let Ok(more) = std::env::var("GAV_CUDA_DEFINES") {
        options.extend(more.split(',').filter(|d| !d.is_empty()).map(|define| format!("-D{define}")));
    }
    options
}

/// The text that NVRTC gets.
pub(super) fn text(parts: &[(&str, &str)]) -> String {
    parts.iter().map(|(name, text)| format!("#line 1 \"{name}\"\n{text}\n")).collect()
}

impl Device {
    /// Opens a device: 0 is the first.
    ///
    /// # Errors
    /// [`CudaError::NoDriver`] and [`CudaError::NoDevice`] on machines without one, [`CudaError::OldDriver`] below CUDA 13.
    pub fn open(ordinal: usize) -> Result<Arc<Self>, CudaError> {
        if !driver_present() {
            return Err(CudaError::NoDriver);
        }
        let driver = driver_version()?;
        if driver < DRIVER {
            return Err(CudaError::OldDriver { found: driver, needed: DRIVER });
        }
        result::init().tried("starting the driver")?;
        let found = CudaContext::device_count().tried("counting devices")?.max(0) as usize;
        if ordinal >= found {
            return Err(CudaError::NoDevice { ordinal, found });
        }
        let context = CudaContext::new(ordinal).tried("opening the device")?;
        // SAFETY: everything runs on one stream, so nothing has to be tracked between streams
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().tried("making a stream")?;
        let (major, minor) = context.compute_capability().tried("asking for the architecture")?;
        keep_memory(&context)?;
        Ok(Arc::new(Self {
            architecture: format!("sm_{major}{minor}"),
            driver,
            compiler: OnceLock::new(),
            modules: Mutex::default(),
            cache: cache::folder(),
            debug: std::env::var_os("GAV_CUDA_DEBUG").is_some_and(|v| v != "0"),
            profile: Mutex::new(None),
            context,
            stream,
        }))
    }

    /// The device's name.
    ///
    /// # Errors
    /// When the driver fails.
    pub fn name(&self) -> Result<String, CudaError> {
        self.context.name().tried("asking for the name")
    }

    /// Bytes of device memory that nobody has taken. What this process has given back may be kept for it and counts as taken.
    ///
    /// # Errors
    /// When the driver fails.
    pub fn free_memory(&self) -> Result<u64, CudaError> {
        Ok(self.context.mem_get_info().tried("asking for free memory")?.0 as u64)
    }

    /// Waits until all work is done.
    ///
    /// # Errors
    /// Whatever a kernel did wrong before.
    pub fn synchronize(&self) -> Result<(), CudaError> {
        self.stream.synchronize().tried("waiting for the device")
    }

    /// The function `name` of a source, compiled when neither this process nor the cache has it.
    pub(super) fn function(&self, name: &str, source: &Source<'_>) -> Result<CudaFunction, CudaError> {
        let text = text(source.parts);
        let options = options(&self.architecture, source.defines);
        let key = cache::key(&text, &options, self.driver);
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        if !modules.contains_key(&key) {
            let cached = self.cache.as_ref().and_then(|folder| cache::read(folder, &key));
            let module = cached.and_then(|code| self.context.load_module(Ptx::from_binary(code)).ok());
            let module = match module {
                Some(module) => module,
                None => {
                    let code = self.compile(name, &text, &options)?;
                    if let Some(folder) = &self.cache {
                        // the kernel is at hand: a cache that cannot be written only costs time
                        let _ = cache::write(folder, &key, &code);
                    }
                    self.context.load_module(Ptx::from_binary(code)).tried(name)?
                }
            };
            modules.insert(key.clone(), module);
        }
        modules[&key].load_function(name).tried(name)
    }

    fn compile(&self, name: &str, text: &str, options: &[String]) -> Result<Vec<u8>, CudaError> {
        match self.compiler.get_or_init(|| Nvrtc::find().map_err(|e| e.to_string())) {
            Ok(nvrtc) => Ok(nvrtc.compile(name, text, options)?.0),
            Err(message) => Err(CudaError::Compile { kernel: name.to_owned(), log: message.clone() }),
        }
    }

    /// Runs a kernel whose only parameter is `args`. Nothing happens for an empty grid.
    ///
    /// # Safety
    /// `args` has the layout that the kernel expects, and what it points to is large enough.
    pub(super) unsafe fn launch<T: DeviceRepr>(
        &self,
        kernel: &Kernel,
        grid: [usize; 2],
        threads: u32,
        args: &T,
    ) -> Result<(), CudaError> {
        // SAFETY: by the caller
        unsafe { self.launch_shared(kernel, grid, threads, 0, args) }
    }

    /// [`Self::launch`] with `bytes` of shared memory beyond what the kernel declares.
    ///
    /// # Safety
    /// As [`Self::launch`], and `bytes` is what the kernel expects.
    pub(super) unsafe fn launch_shared<T: DeviceRepr>(
        &self,
        kernel: &Kernel,
        grid: [usize; 2],
        threads: u32,
        bytes: usize,
        args: &T,
    ) -> Result<(), CudaError> {
        if grid.contains(&0) {
            return Ok(());
        }
        let limits = [i32::MAX as usize, 65_535];
        for (size, limit) in grid.into_iter().zip(limits) {
            if size > limit {
                return Err(CudaError::TooLarge { what: "blocks of a grid", size: size as u64, limit: limit as u64 });
            }
        }
        let config = LaunchConfig {
            grid_dim: (grid[0] as u32, grid[1] as u32, 1),
            block_dim: (threads, 1, 1),
            shared_mem_bytes: bytes as u32,
        };
        let mut profile = self.profile.lock().unwrap_or_else(PoisonError::into_inner);
        let mut launch = self.stream.launch_builder(&kernel.function);
        launch.arg(args);
        if profile.is_some() {
            launch.record_kernel_launch(sys::CUevent_flags::CU_EVENT_DEFAULT);
        }
        // SAFETY: by the caller
        let events = unsafe { launch.launch(config) }.tried(kernel.name)?;
        if let (Some(list), Some((start, end))) = (profile.as_mut(), events) {
            list.push((kernel.name, start, end));
        }
        // a capture cannot be waited for: its launches are checked when it is replayed
        if self.debug && !self.capturing()? {
            self.stream.synchronize().tried(kernel.name)?;
        }
        Ok(())
    }

    /// Captures what `work` enqueues, to be replayed. `work` must neither take nor give back memory, nor wait; and nobody else
    /// may use this device's stream meanwhile: another [`Device::open`] has a stream of its own.
    ///
    /// # Errors
    /// Those of `work`, and of the driver.
    pub fn capture(self: &Arc<Self>, work: impl FnOnce() -> Result<(), CudaError>) -> Result<Graph, CudaError> {
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        self.stream.begin_capture(mode).tried("starting a capture")?;
        let done = work();
        let graph = self.stream.end_capture(sys::CUgraphInstantiate_flags(0)).tried("ending a capture");
        done?;
        let graph = graph?.ok_or_else(|| CudaError::Usage("a capture of nothing".to_owned()))?;
        Ok(Graph { graph })
    }

    /// Runs `work` with events around every kernel: names and milliseconds in the order of the launches. The events keep
    /// kernels apart by a few microseconds, which no time includes.
    ///
    /// # Errors
    /// Those of `work`, and of the driver.
    pub fn profile(&self, work: impl FnOnce() -> Result<(), CudaError>) -> Result<Vec<(&'static str, f64)>, CudaError> {
        let swap = |value| std::mem::replace(&mut *self.profile.lock().unwrap_or_else(PoisonError::into_inner), value);
        swap(Some(Vec::new()));
        let done = work();
        let events = swap(None).unwrap_or_default();
        done?;
        self.synchronize()?;
        let time = |(name, start, end): (_, CudaEvent, CudaEvent)| {
            Ok((name, f64::from(start.elapsed_ms(&end).tried("reading a timer")?)))
        };
        events.into_iter().map(time).collect()
    }

    pub(super) fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }

    /// True when outputs are to be poisoned: `GAV_CUDA_DEBUG`.
    pub(super) fn debug(&self) -> bool {
        self.debug
    }

    fn capturing(&self) -> Result<bool, CudaError> {
        let status = self.stream.capture_status().tried("asking for a capture")?;
        Ok(status != sys::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE)
    }

    /// A clock that runs on the device.
    ///
    /// # Errors
    /// When the driver fails.
    pub fn timer(self: &Arc<Self>) -> Result<Timer, CudaError> {
        let event = || self.context.new_event(Some(sys::CUevent_flags::CU_EVENT_DEFAULT)).tried("making an event");
        Ok(Timer { device: Arc::clone(self), start: event()?, end: event()? })
    }
}

/// Keeps freed memory in the pool instead of giving it back at every wait.
fn keep_memory(context: &Arc<CudaContext>) -> Result<(), CudaError> {
    if !context.has_async_alloc() {
        return Ok(());
    }
    let mut all = u64::MAX;
    // SAFETY: the attribute is one u64
    unsafe {
        let pool = result::device::get_default_mem_pool(context.cu_device()).tried("asking for the memory pool")?;
        result::mem_pool::set_attribute(
            pool,
            sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD,
            std::ptr::from_mut(&mut all).cast(),
        )
        .tried("setting up the memory pool")
    }
}

/// A compiled kernel with its name for messages.
pub(super) struct Kernel {
    pub name: &'static str,
    pub function: CudaFunction,
}

impl Kernel {
    /// Lets launches ask for so much shared memory; above 48 KiB a kernel has to be told.
    pub(super) fn allow_shared(&self, bytes: usize) -> Result<(), CudaError> {
        let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        self.function.set_attribute(attribute, bytes as i32).tried(self.name)
    }
}

/// A captured sequence of work.
pub struct Graph {
    graph: CudaGraph,
}

impl Graph {
    /// Enqueues the whole sequence.
    ///
    /// # Errors
    /// When the driver fails.
    pub fn launch(&self) -> Result<(), CudaError> {
        self.graph.launch().tried("launching a graph")
    }
}

/// Two events around a stretch of work.
pub struct Timer {
    device: Arc<Device>,
    start: CudaEvent,
    end: CudaEvent,
}

impl Timer {
    /// Marks the beginning.
    ///
    /// # Errors
    /// When the driver fails.
    pub fn start(&self) -> Result<(), CudaError> {
        self.start.record(&self.device.stream).tried("recording an event")
    }

    /// Marks the end and waits for it; milliseconds between the two.
    ///
    /// # Errors
    /// When the driver fails.
    pub fn stop(&self) -> Result<f64, CudaError> {
        self.end.record(&self.device.stream).tried("recording an event")?;
        self.end.synchronize().tried("waiting for an event")?;
        Ok(f64::from(self.start.elapsed_ms(&self.end).tried("reading a timer")?))
    }
}
