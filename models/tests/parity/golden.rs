//! The golden file, the formula of its weights, and comparisons.

use std::path::PathBuf;

use gav_formats::weights::{self, Limits};
use safetensors::{Dtype, tensor::TensorView};

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

/// The golden values of all metrics.
pub struct Golden(Vec<u8>);

impl Golden {
    pub fn open() -> Option<Self> {
        shared("parity/metrics/parity_metrics.safetensors").map(|path| Self(std::fs::read(path).unwrap()))
    }

    fn view(&self, key: &str) -> (Dtype, Vec<usize>, &[u8]) {
        let file = safetensors::SafeTensors::deserialize(&self.0).unwrap();
        let view = file.tensor(key).unwrap_or_else(|_| panic!("no golden `{key}`"));
        (view.dtype(), view.shape().to_vec(), view.data())
    }

    /// Values of any floating point type.
    pub fn get(&self, key: &str) -> Vec<f64> {
        match self.view(key) {
            (Dtype::F64, _, data) => data.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
            (Dtype::F32, _, data) => data.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
            (Dtype::I64, _, data) => data.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as f64).collect(),
            (other, ..) => panic!("`{key}` is {other:?}"),
        }
    }

    /// Pictures stored as N×3×H×W bytes: height, width and each picture interleaved.
    pub fn pictures(&self, key: &str) -> (usize, usize, Vec<Vec<u8>>) {
        let (dtype, shape, data) = self.view(key);
        assert_eq!(dtype, Dtype::U8);
        let [_, 3, height, width] = shape[..] else { panic!("`{key}` has the shape {shape:?}") };
        let plane = height * width;
        let interleave = |p: &[u8]| (0..plane).flat_map(|i| [p[i], p[plane + i], p[2 * plane + i]]).collect();
        (height, width, data.chunks(3 * plane).map(interleave).collect())
    }
}

/// Number `counter` of the stream `seed`, in 0…1 (splitmix64).
pub fn uniform(counter: u64, seed: u64) -> f64 {
    let mut z = seed.wrapping_add(counter.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    (z >> 11) as f64 * 2f64.powi(-53)
}

/// Weights made by formula, as the bytes of a safetensors file.
#[derive(Default)]
pub struct Weights(Vec<(String, Vec<usize>, Vec<u8>)>);

impl Weights {
    /// Adds tensor number `number` with values in `lo`…`hi`.
    pub fn hashed(&mut self, name: impl Into<String>, number: u64, shape: &[usize], [lo, hi]: [f64; 2]) {
        let count: usize = shape.iter().product();
        let value = |i| (lo + (hi - lo) * uniform((number << 32) + i, 7)) as f32;
        let bytes = (0..count as u64).flat_map(|i| value(i).to_le_bytes()).collect();
        self.0.push((name.into(), shape.to_vec(), bytes));
    }

    /// A convolution weight in ±√(gain/fan-in).
    pub fn convolution(&mut self, name: impl Into<String>, number: u64, shape: &[usize], gain: f64) {
        let range = (gain / shape[1..].iter().product::<usize>() as f64).sqrt();
        self.hashed(name, number, shape, [-range, range]);
    }

    pub fn file(&self) -> Vec<u8> {
        let views = self
            .0
            .iter()
            .map(|(name, shape, bytes)| (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
        safetensors::serialize(views, None).unwrap()
    }
}

/// Reads a weight file that must be good.
pub fn tensors(file: &[u8]) -> weights::TensorMap<'_> {
    weights::read(file, &Limits::default()).unwrap()
}

/// Asserts |found − expected| ≤ absolute + relative · scale, scale being the largest expected magnitude; says how close it was.
pub fn assert_close(what: &str, found: &[f32], expected: &[f64], relative: f64, absolute: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(0f64, |m, v| m.max(v.abs()));
    let worst = found.iter().zip(expected).map(|(f, e)| (f64::from(*f) - e).abs()).fold(0f64, f64::max);
    let worst = if found.iter().any(|v| v.is_nan()) { f64::NAN } else { worst };
    eprintln!("{what}: differs by at most {worst:.2e}, values up to {scale:.4}");
    assert!(worst <= absolute + relative * scale, "{what}: {worst:e} of {scale}");
}

#[test]
fn the_formula_of_the_weights_is_that_of_the_golden_file() {
    let Some(golden) = Golden::open() else { return };
    for number in [0, 3] {
        let key = format!("hash.first8.seed7.tensor{number}");
        let found: Vec<f64> = (0..8).map(|i| uniform((number << 32) + i, 7)).collect();
        assert_eq!(found, golden.get(&key));
    }
}
