//! What several test files of this crate need.
#![allow(dead_code)] // each test file uses its part

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use gav_formats::Camera;
use gav_kernels::{
    cuda::{self, Device},
    raster::{self, Gradients, Image, Scene, Settings, Shot, Upstream},
};
use safetensors::{Dtype, SafeTensors};

/// The project's shared reference data; `None` with a loud line when it is not there.
pub fn shared(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("GAV_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let path = root.join(name);
    if !path.exists() {
        eprintln!("SKIPPED: {} is not there; set GAV_SHARED to the folder of reference data", path.display());
        return None;
    }
    Some(path)
}

/// A file of golden tensors, read whole.
pub struct Golden(Vec<u8>);

impl Golden {
    pub fn open(name: &str) -> Option<Self> {
        Some(Self(std::fs::read(shared(name)?).unwrap()))
    }

    /// The values of a tensor of any number type.
    pub fn get(&self, name: &str) -> Vec<f64> {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = file.tensor(name).unwrap_or_else(|_| panic!("no tensor {name}"));
        let data = tensor.data();
        match tensor.dtype() {
            Dtype::F32 => data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()).into()).collect(),
            Dtype::F64 => data.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect(),
            Dtype::I32 => data.chunks_exact(4).map(|b| i32::from_le_bytes(b.try_into().unwrap()).into()).collect(),
            Dtype::I64 => data.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as f64).collect(),
            Dtype::U8 => data.iter().map(|b| f64::from(*b)).collect(),
            other => panic!("{name}: {other:?}"),
        }
    }

    pub fn f32(&self, name: &str) -> Vec<f32> {
        self.get(name).into_iter().map(|v| v as f32).collect()
    }

    pub fn rows<const N: usize>(&self, name: &str) -> Vec<[f32; N]> {
        rows(&self.f32(name))
    }

    pub fn rows64<const N: usize>(&self, name: &str) -> Vec<[f64; N]> {
        rows(&self.get(name))
    }
}

pub fn rows<T: Copy, const N: usize>(values: &[T]) -> Vec<[T; N]>
where
    [T; N]: for<'a> TryFrom<&'a [T], Error = std::array::TryFromSliceError>,
{
    values.chunks_exact(N).map(|row| row.try_into().unwrap()).collect()
}

/// Relative L2 distance of two lists of numbers.
pub fn relative(a: impl IntoIterator<Item = f64>, b: &[f64]) -> f64 {
    let a: Vec<f64> = a.into_iter().collect();
    assert_eq!(a.len(), b.len());
    let difference: f64 = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum();
    let size: f64 = b.iter().map(|b| b * b).sum();
    if size == 0.0 { difference.sqrt() } else { (difference / size).sqrt() }
}

pub fn flat<const N: usize>(rows: &[[f32; N]]) -> impl Iterator<Item = f64> + '_ {
    rows.as_flattened().iter().map(|v| f64::from(*v))
}

/// Largest absolute difference of two lists of numbers.
pub fn largest(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// Where a test of the rasteriser runs.
pub enum Backend {
    Cpu,
    Cuda(Arc<Device>),
}

/// The device, when there is one; a loud line otherwise.
pub fn device() -> Option<Arc<Device>> {
    static DEVICE: OnceLock<Option<Arc<Device>>> = OnceLock::new();
    DEVICE
        .get_or_init(|| match Device::open(0) {
            Ok(device) => Some(device),
            Err(cuda::CudaError::NoDriver | cuda::CudaError::NoDevice { .. }) => None,
            Err(error) => panic!("a driver without a device that works: {error}"),
        })
        .clone()
        .or_else(|| {
            eprintln!("SKIPPED on CUDA: no device");
            None
        })
}

/// The CPU, and a device when there is one.
pub fn backends() -> Vec<Backend> {
    [Backend::Cpu].into_iter().chain(device().map(Backend::Cuda)).collect()
}

impl Backend {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Cpu => "CPU",
            Self::Cuda(_) => "CUDA",
        }
    }

    pub fn images(&self, shots: &[Shot<'_>], settings: &Settings) -> Vec<Image> {
        match self {
            Self::Cpu => raster::forward_batch(shots, settings).into_iter().map(|f| f.image).collect(),
            Self::Cuda(device) => cuda::raster::forward_batch(device, shots, settings).unwrap().images,
        }
    }

    pub fn gradients(
        &self,
        shots: &[Shot<'_>],
        settings: &Settings,
        upstream: &[Upstream<'_>],
    ) -> (Vec<Image>, Vec<Gradients>) {
        match self {
            Self::Cpu => {
                let batch = raster::forward_batch(shots, settings);
                let gradients = raster::backward_batch(&batch, shots, upstream);
                (batch.into_iter().map(|f| f.image).collect(), gradients)
            }
            Self::Cuda(device) => {
                let mut drawn = cuda::raster::forward_batch(device, shots, settings).unwrap();
                let gradients = drawn.backward(upstream).unwrap();
                (std::mem::take(&mut drawn.images), gradients)
            }
        }
    }

    pub fn image(&self, scene: &Scene<'_>, camera: &Camera, settings: &Settings, background: [f32; 3]) -> Image {
        self.images(&[Shot { scene: *scene, camera, background }], settings).remove(0)
    }

    pub fn gradient(
        &self,
        scene: &Scene<'_>,
        camera: &Camera,
        settings: &Settings,
        background: [f32; 3],
        upstream: &Upstream<'_>,
    ) -> (Image, Gradients) {
        let (mut images, mut gradients) =
            self.gradients(&[Shot { scene: *scene, camera, background }], settings, &[*upstream]);
        (images.remove(0), gradients.remove(0))
    }
}
