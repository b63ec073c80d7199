//! What several test files of this crate need.
#![allow(dead_code)] // each test file uses its part

use std::path::PathBuf;

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
