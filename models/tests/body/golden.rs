//! Golden files, and comparisons.

use std::{collections::BTreeMap, path::PathBuf};

use gav_formats::{DType, NamedArray};
use gav_kernels::Real;
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

/// All tensors of a golden file.
pub struct Golden(BTreeMap<String, (Vec<usize>, Vec<f64>)>);

impl Golden {
    pub fn open(name: &str) -> Option<Self> {
        let bytes = std::fs::read(shared(&format!("parity/{name}.safetensors"))?).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let tensors = file.tensors().into_iter().map(|(name, view)| {
            let data = view.data();
            let values = match view.dtype() {
                Dtype::F64 => data.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
                Dtype::F32 => data.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
                Dtype::I64 => data.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as f64).collect(),
                Dtype::I32 => data.as_chunks().0.iter().map(|b| f64::from(i32::from_le_bytes(*b))).collect(),
                Dtype::U8 => data.iter().map(|b| f64::from(*b)).collect(),
                other => panic!("`{name}` is {other:?}"),
            };
            (name, (view.shape().to_vec(), values))
        });
        Some(Self(tensors.collect()))
    }

    pub fn get(&self, key: &str) -> &[f64] {
        &self.0.get(key).unwrap_or_else(|| panic!("no golden `{key}`")).1
    }

    /// Row `index` of the first dimension.
    pub fn row(&self, key: &str, index: usize) -> &[f64] {
        let (shape, values) = &self.0[key];
        let width = values.len() / shape[0];
        &values[index * width..][..width]
    }

    /// The tensors under a prefix, as a template file holds them.
    pub fn arrays(&self, prefix: &str) -> Vec<NamedArray> {
        let strip = |(name, (shape, values)): (&String, &(Vec<usize>, Vec<f64>))| {
            Some(NamedArray {
                name: name.strip_prefix(prefix)?.to_owned(),
                dtype: DType::F64,
                shape: shape.iter().map(|d| *d as u32).collect(),
                data: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            })
        };
        self.0.iter().filter_map(strip).collect()
    }
}

pub fn to<T: Real>(values: &[f64]) -> Vec<T> {
    values.iter().map(|v| T::of(*v)).collect()
}

pub fn triples<T: Real>(values: &[f64]) -> Vec<[T; 3]> {
    to(values).as_chunks().0.to_vec()
}

pub fn triple<T: Real>(values: &[f64]) -> [T; 3] {
    triples(values)[0]
}

/// Asserts |found − expected| ≤ absolute + relative · |expected| for every number; says how close it was.
pub fn assert_close<T: Real>(what: &str, found: &[T], expected: &[f64], [absolute, relative]: [f64; 2]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let mut worst = 0f64;
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let difference = (found.wide() - expected).abs();
        worst = worst.max(difference);
        let allowed = absolute + relative * expected.abs();
        assert!(difference <= allowed, "{what}[{index}]: {found:?} and {expected}, {difference:e} above {allowed:e}");
    }
    eprintln!("{what}: differs by at most {worst:.2e}");
}

/// The 3 × 4 part of 4 × 4 matrices.
pub fn upper_rows(matrices: &[f64]) -> Vec<f64> {
    matrices.chunks_exact(16).flat_map(|m| m[..12].to_vec()).collect()
}
