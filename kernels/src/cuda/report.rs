//! What a machine offers, and why something is missing: the facts behind `gav doctor`.

use std::path::{Path, PathBuf};

use cudarc::driver::CudaContext;
use libloading::Library;
use serde::Serialize;

use super::{CudaError, cache, device, nvrtc::Nvrtc};

/// One library.
#[derive(Debug, Clone, Serialize)]
pub struct LibraryReport {
    /// What it is called.
    pub name: &'static str,
    /// What gav uses it for.
    pub used_for: &'static str,
    /// Path, or the name under which the loader knows it.
    pub place: Option<String>,
    /// Version, as the library says.
    pub version: Option<String>,
    /// Why it cannot be used.
    pub problem: Option<String>,
}

/// One device.
#[derive(Debug, Clone, Serialize)]
pub struct DeviceReport {
    /// Number for `--device cuda:N`.
    pub ordinal: usize,
    /// Name.
    pub name: String,
    /// Compute capability, such as `sm_90`.
    pub architecture: String,
    /// Bytes of memory.
    pub memory: u64,
    /// Multiprocessors.
    pub multiprocessors: i32,
}

/// Everything that CUDA needs.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Newest CUDA version that the driver runs, such as `13.0`.
    pub driver: Option<String>,
    /// Devices.
    pub devices: Vec<DeviceReport>,
    /// Libraries.
    pub libraries: Vec<LibraryReport>,
    /// Where compiled kernels are kept.
    pub cache: Option<PathBuf>,
    /// Compiled kernels there.
    pub cached_kernels: usize,
    /// Why `--device cuda` does not work; empty when it does.
    pub problems: Vec<String>,
}

/// Looks at this machine. Loads libraries; takes no memory on a device.
pub fn report() -> Report {
    let mut problems = Vec::new();
    let mut driver = None;
    let mut devices = Vec::new();
    if device::driver_present() {
        match device::driver_version() {
            Ok(version) => {
                driver = Some(dotted(version, 1000, 10));
                if version < device::DRIVER {
                    let error = CudaError::OldDriver { found: version, needed: device::DRIVER };
                    problems.push(error.to_string());
                }
            }
            Err(error) => problems.push(error.to_string()),
        }
        let started = if problems.is_empty() {
            cudarc::driver::result::init().and_then(|()| CudaContext::device_count())
        } else {
            Ok(0)
        };
        match started {
            Ok(count) => devices = (0..count.max(0) as usize).filter_map(device_report).collect(),
            Err(error) => problems.push(format!("the driver does not start: {error}")),
        }
        if devices.is_empty() && problems.is_empty() {
            problems.push("the driver finds no device".to_owned());
        }
    } else {
        problems.push("no NVIDIA driver: libcuda was not found".to_owned());
    }
    let mut nvrtc = library("NVRTC", "compiling kernels, when they are not in the cache");
    match Nvrtc::find() {
        Ok(found) => {
            nvrtc.version = found.version().map(|(major, minor)| format!("{major}.{minor}"));
            nvrtc.place = Some(found.place);
        }
        Err(error) => {
            problems.push(error.to_string());
            nvrtc.problem = Some(error.to_string());
        }
    }
    let cache = cache::folder();
    let cached_kernels = cache.as_ref().and_then(|f| std::fs::read_dir(f).ok()).map_or(0, Iterator::count);
    let libraries = vec![
        nvrtc,
        probe(
            library("cuBLAS", "networks"),
            &["libcublas.so.13", "libcublas.so.12"],
            &["cublas"],
            "cublasGetCudartVersion",
            None,
        ),
        probe(
            library("cuBLASLt", "networks"),
            &["libcublasLt.so.13", "libcublasLt.so.12"],
            &["cublas"],
            "cublasLtGetVersion",
            Some((10_000, 100)),
        ),
        probe(library("cuDNN", "networks"), &["libcudnn.so.9"], &["cudnn"], "cudnnGetVersion", Some((10_000, 100))),
        probe(
            library("NCCL", "training on several devices"),
            &["libnccl.so.2"],
            &["nccl"],
            "ncclGetVersion",
            Some((10_000, 100)),
        ),
    ];
    Report { driver, devices, libraries, cache, cached_kernels, problems }
}

fn library(name: &'static str, used_for: &'static str) -> LibraryReport {
    LibraryReport { name, used_for, place: None, version: None, problem: None }
}

fn dotted(version: i32, major: i32, minor: i32) -> String {
    format!("{}.{}", version / major, version % major / minor)
}

fn device_report(ordinal: usize) -> Option<DeviceReport> {
    use cudarc::driver::{result::device as ask, sys::CUdevice_attribute_enum as attribute};
    let device = ask::get(ordinal as i32).ok()?;
    // SAFETY: `device` comes from the driver
    let number = |what| unsafe { ask::get_attribute(device, what) }.unwrap_or(0);
    // SAFETY: as above
    let memory = unsafe { ask::total_mem(device) }.unwrap_or(0) as u64;
    let (major, minor) = (
        number(attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR),
        number(attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR),
    );
    Some(DeviceReport {
        ordinal,
        name: ask::get_name(device).ok()?,
        architecture: format!("sm_{major}{minor}"),
        memory,
        multiprocessors: number(attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT),
    })
}

/// Looks for a library under `names`, and asks it for its version when that takes no handle.
fn probe(
    mut report: LibraryReport,
    names: &[&str],
    packages: &[&str],
    symbol: &str,
    scale: Option<(i32, i32)>,
) -> LibraryReport {
    let folders = library_folders(packages);
    let places = names.iter().map(PathBuf::from);
    let places = places.chain(folders.iter().flat_map(|f| names.iter().map(|n| f.join(n)).filter(|p| p.exists())));
    let mut reason = None;
    for place in places {
        // SAFETY: NVIDIA's libraries do nothing to this process when they are loaded
        match unsafe { Library::new(&place) } {
            Ok(found) => {
                report.version = version(&found, symbol, scale);
                report.place = Some(place.display().to_string());
                return report;
            }
            Err(error) if place.is_absolute() => reason = Some(error.to_string()),
            Err(_) => {}
        }
    }
    report.problem = Some(reason.unwrap_or_else(|| {
        format!("not found by the loader nor in {} toolkit and Python folders that exist here", folders.len())
    }));
    report
}

fn version(library: &Library, symbol: &str, scale: Option<(i32, i32)>) -> Option<String> {
    let (major, minor) = scale?;
    let mut number = 0i32;
    // SAFETY: ncclGetVersion writes an int and returns 0; the others take nothing and return a size_t
    unsafe {
        if symbol == "ncclGetVersion" {
            library.get::<unsafe extern "C" fn(*mut i32) -> i32>(symbol.as_bytes()).ok()?(&mut number);
        } else {
            number = library.get::<unsafe extern "C" fn() -> usize>(symbol.as_bytes()).ok()?() as i32;
        }
    }
    Some(format!("{}.{}.{}", number / major, number % major / minor, number % minor))
}

/// Files of a folder whose names begin with `start`, without `.alt` variants.
pub(super) fn files_named(folder: &Path, start: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let wanted = |name: &str| name.starts_with(start) && name.contains(".so") && !name.contains(".alt.");
    entries
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.file_name().is_some_and(|n| wanted(&n.to_string_lossy())))
        .collect()
}

/// Folders that exist here and may hold NVIDIA's libraries: toolkits, and `nvidia/cu13` or `nvidia/PACKAGE` of Python's
/// packages.
pub(super) fn library_folders(packages: &[&str]) -> Vec<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let mut toolkits: Vec<PathBuf> = ["CUDA_PATH", "CUDA_HOME", "CUDA_ROOT"].into_iter().filter_map(variable).collect();
    toolkits.extend(["/usr/local/cuda", "/usr/local/cuda-13", "/usr/local/cuda-13.0", "/opt/cuda"].map(PathBuf::from));
    let mut folders: Vec<PathBuf> =
        toolkits.iter().flat_map(|t| ["lib64", "lib", "targets/x86_64-linux/lib", "bin"].map(|s| t.join(s))).collect();
    folders.extend(["/usr/lib/x86_64-linux-gnu", "/usr/lib64"].map(PathBuf::from));
    // roots of Python installations: environments, the user's, and whatever `python3` is on the path
    let mut roots: Vec<PathBuf> = ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(variable).collect();
    roots.extend(variable("HOME").map(|home| home.join(".local")));
    for folder in std::env::var_os("PATH").iter().flat_map(std::env::split_paths) {
        let python = folder.join("python3");
        if python.exists() {
            roots.extend(folder.parent().map(Path::to_path_buf));
        }
    }
    roots.extend(["/usr/local", "/usr"].map(PathBuf::from));
    let mut sites: Vec<PathBuf> = std::env::var_os("PYTHONPATH").iter().flat_map(std::env::split_paths).collect();
    for root in roots {
        folders.push(root.join("lib"));
        for version in std::fs::read_dir(root.join("lib")).into_iter().flatten().flatten() {
            if version.file_name().to_string_lossy().starts_with("python3") {
                sites.extend(["site-packages", "dist-packages"].map(|s| version.path().join(s)));
            }
        }
    }
    for site in sites {
        folders.push(site.join("nvidia/cu13/lib"));
        folders.extend(packages.iter().map(|p| site.join("nvidia").join(p).join("lib")));
    }
    let mut seen = std::collections::HashSet::new();
    folders.retain(|folder| folder.is_dir() && seen.insert(folder.clone()));
    folders
}
