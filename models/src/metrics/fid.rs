//! Fréchet distance of features (Heusel et al. 2017): statistics, their files, and the distance, all in f64.
//!
//! d² = |μ₁ − μ₂|² + tr C₁ + tr C₂ − 2 tr (C₁C₂)^½. With S = C₁^½ the last trace is Σ √λᵢ(S C₂ S), which needs symmetric eigenproblems only,
//! so nothing becomes complex and nothing has to be added to the diagonal.

use std::path::Path;

use faer::{Accum, Mat, MatRef, Par, Side, linalg::matmul::matmul};
use gav_formats::{
    Limits, Source,
    npy::{NpyArray, NpyType, read_npz, write_npz},
    sink::write_file_atomically,
};
use serde_json::{Value, json};

use crate::{Error, Result};

/// What the covariance is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Divisor {
    /// N: StyleGAN2-ADA and what is built on it.
    #[default]
    Count,
    /// N − 1: pytorch-fid, torch-fidelity, clean-fid.
    CountMinusOne,
}

impl Divisor {
    /// Short name, as it stands in files.
    pub fn id(self) -> &'static str {
        match self {
            Self::Count => "n",
            Self::CountMinusOne => "n-1",
        }
    }
}

/// What statistics were made of; kept beside them in files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Provenance {
    /// Number of pictures.
    pub count: u64,
    /// What the covariance was divided by.
    pub divisor: Divisor,
    /// How the pictures were prepared, such as `stylegan` or `pytorch-fid`.
    pub preprocessing: String,
    /// SHA-256 of the weight file of the network.
    pub detector: String,
    /// Which pictures, in words or as a hash.
    pub dataset: String,
}

/// Sums of features and of their products, to which rows are added in any portions.
#[derive(Debug, Clone)]
pub struct Accumulator {
    length: usize,
    count: u64,
    sum: Vec<f64>,
    products: Mat<f64>,
}

impl Accumulator {
    /// No rows yet, each of `length` features.
    pub fn new(length: usize) -> Self {
        Self { length, count: 0, sum: vec![0.0; length], products: Mat::zeros(length, length) }
    }

    /// Adds rows of features.
    ///
    /// # Errors
    /// Parts of rows, and features that are not finite.
    pub fn push(&mut self, features: &[f32]) -> Result<()> {
        check_rows(features, self.length)?;
        for rows in features.chunks(self.length * 512) {
            let values: Vec<f64> = rows.iter().map(|v| f64::from(*v)).collect();
            let count = values.len() / self.length;
            let matrix = MatRef::from_row_major_slice(&values, count, self.length);
            matmul(self.products.as_mut(), Accum::Add, matrix.transpose(), matrix, 1.0, Par::rayon(0));
            for row in values.chunks_exact(self.length) {
                self.sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            }
            self.count += count as u64;
        }
        Ok(())
    }

    /// Rows added so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Mean and covariance. The count and the divisor of `provenance` are filled in here.
    ///
    /// # Errors
    /// Fewer than two rows.
    pub fn finish(&self, divisor: Divisor, provenance: Provenance) -> Result<Statistics> {
        if self.count < 2 {
            return Err(Error::usage(format!("statistics of {} pictures: at least 2 are needed", self.count)));
        }
        let n = self.count as f64;
        let mean: Vec<f64> = self.sum.iter().map(|sum| sum / n).collect();
        let scale = match divisor {
            Divisor::Count => 1.0,
            Divisor::CountMinusOne => n / (n - 1.0),
        };
        let covariance = (0..self.length * self.length).map(|at| {
            let (i, j) = (at / self.length, at % self.length);
            scale * (self.products[(i, j)] / n - mean[i] * mean[j])
        });
        let covariance = covariance.collect();
        Ok(Statistics { mean, covariance, provenance: Some(Provenance { count: self.count, divisor, ..provenance }) })
    }
}

/// Refuses parts of rows and features that are not finite.
pub(super) fn check_rows(features: &[f32], length: usize) -> Result<()> {
    if !features.len().is_multiple_of(length) {
        return Err(Error::usage(format!("{} features are no rows of {length}", features.len())));
    }
    match features.iter().position(|v| !v.is_finite()) {
        Some(at) => Err(Error::usage(format!("feature {} of row {} is not finite", at % length, at / length))),
        None => Ok(()),
    }
}

/// Mean and covariance of features.
#[derive(Debug, Clone, PartialEq)]
pub struct Statistics {
    /// μ, of length d.
    pub mean: Vec<f64>,
    /// C, d×d, symmetric.
    pub covariance: Vec<f64>,
    /// What they were made of; `None` for files of other programs.
    pub provenance: Option<Provenance>,
}

/// Names of the arrays; the first two are those of pytorch-fid, the third is UTF-8 JSON as bytes.
const ARRAYS: [&str; 3] = ["mu", "sigma", "gav"];

impl Statistics {
    /// Reads `.npz` statistics of this program, of pytorch-fid, or of anything else with `mu` and `sigma`.
    ///
    /// # Errors
    /// I/O; damaged archives; arrays that are missing, of other shapes, or not finite.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let archive = read_npz(&Source::open(path)?, &Limits::default())?;
        let wrong = |what: &str| Error::usage(format!("{}: {what}", path.display()));
        let array = |name: &str| archive.get(name).ok_or_else(|| wrong(&format!("there is no array `{name}`")));
        let (mu, sigma) = (array(ARRAYS[0])?, array(ARRAYS[1])?);
        let length = mu.len();
        if mu.shape != [length] || sigma.shape != [length, length] || length == 0 {
            return Err(wrong(&format!("mu has the shape {:?}, sigma {:?}", mu.shape, sigma.shape)));
        }
        let (mean, covariance) = (mu.to_f64(), sigma.to_f64());
        if mean.iter().chain(&covariance).any(|v| !v.is_finite()) {
            return Err(wrong("a value is not finite"));
        }
        let provenance = match archive.get(ARRAYS[2]) {
            Some(text) => Some(parse_provenance(&text.data).ok_or_else(|| wrong("its array `gav` is damaged"))?),
            None => None,
        };
        Ok(Self { mean, covariance, provenance })
    }

    /// Writes `.npz` statistics, which pytorch-fid reads too; equal statistics give equal bytes.
    ///
    /// # Errors
    /// I/O.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let length = self.mean.len();
        let floats = |shape: Vec<usize>, values: &[f64]| NpyArray {
            dtype: NpyType::F64,
            shape,
            data: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        };
        let mut arrays = vec![
            (ARRAYS[0].to_owned(), floats(vec![length], &self.mean)),
            (ARRAYS[1].to_owned(), floats(vec![length, length], &self.covariance)),
        ];
        if let Some(from) = &self.provenance {
            let about = json!({"version": 1, "count": from.count, "divisor": from.divisor.id(),
                "preprocessing": from.preprocessing, "detector": from.detector, "dataset": from.dataset});
            let data = about.to_string().into_bytes();
            arrays.push((ARRAYS[2].to_owned(), NpyArray { dtype: NpyType::U8, shape: vec![data.len()], data }));
        }
        let bytes = write_npz(&arrays)?;
        Ok(write_file_atomically(path.as_ref(), |sink| Ok(sink.write_all(&bytes)?))?)
    }

    /// In which way two statistics were not made alike, if both say: divisor, preparation, network.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let (a, b) = (self.provenance.as_ref()?, other.provenance.as_ref()?);
        let same = [
            ("divisors of the covariance", a.divisor.id(), b.divisor.id()),
            ("preparations of the pictures", &a.preprocessing, &b.preprocessing),
            ("networks", &a.detector, &b.detector),
        ];
        let different = same.into_iter().find(|(_, a, b)| a != b);
        different.map(|(what, a, b)| format!("different {what}: `{a}` and `{b}`"))
    }
}

fn parse_provenance(data: &[u8]) -> Option<Provenance> {
    let about: Value = serde_json::from_slice(data).ok()?;
    let text = |key: &str| about.get(key).and_then(Value::as_str).map(str::to_owned);
    let divisor =
        [Divisor::Count, Divisor::CountMinusOne].into_iter().find(|d| Some(d.id()) == about["divisor"].as_str());
    Some(Provenance {
        count: about.get("count")?.as_u64()?,
        divisor: divisor?,
        preprocessing: text("preprocessing")?,
        detector: text("detector")?,
        dataset: text("dataset")?,
    })
}

/// The Fréchet distance d² of two sets of features; what papers call FID.
///
/// # Errors
/// Statistics of different length, and eigenproblems that do not converge.
pub fn frechet(a: &Statistics, b: &Statistics) -> Result<f64> {
    let length = a.mean.len();
    if b.mean.len() != length {
        return Err(Error::usage(format!("statistics of {length} and {} features", b.mean.len())));
    }
    let failed = |_| Error::usage("an eigenvalue of the covariances cannot be found");
    let matrix = |values: &'_ [f64]| MatRef::from_row_major_slice(values, length, length).to_owned();
    let (first, second) = (matrix(&a.covariance), matrix(&b.covariance));
    let eigen = first.self_adjoint_eigen(Side::Lower).map_err(failed)?;
    // columns of U scaled by √λ; rounding makes some λ of 0 negative
    let roots: Vec<f64> = eigen.S().column_vector().iter().map(|value| value.max(0.0).sqrt()).collect();
    let vectors = eigen.U();
    let scaled = Mat::from_fn(length, length, |i, j| vectors[(i, j)] * roots[j]);
    // S C₂ S = U √Λ (Uᵀ C₂ U) √Λ Uᵀ has the eigenvalues of (U √Λ)ᵀ C₂ (U √Λ)
    let inner = scaled.transpose() * &second * &scaled;
    let trace: f64 = inner
        .self_adjoint_eigenvalues(Side::Lower)
        .map_err(failed)?
        .into_iter()
        .map(|value| value.max(0.0).sqrt())
        .sum();
    let shift: f64 = a.mean.iter().zip(&b.mean).map(|(a, b)| (a - b).powi(2)).sum();
    let spread: f64 = (0..length).map(|i| first[(i, i)] + second[(i, i)]).sum();
    Ok(shift + spread - 2.0 * trace)
}

/// Camera by which FID3D (CGS-GAN) conditions every generated picture, while it is drawn from another, randomly drawn camera of the data
/// set. The distance is then [`frechet`] to the ordinary statistics of the real pictures, so it also counts quality that holds at the
/// conditioned view only. Intrinsics are those of the drawn camera.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fid3dConditioning {
    /// Horizontal angle of the look-at sampler, radians.
    pub yaw: f64,
    /// Vertical angle of the look-at sampler, radians.
    pub pitch: f64,
    /// Distance to the origin, which is looked at.
    pub radius: f64,
    /// Numbers of generated pictures of the three published figures.
    pub counts: [u64; 3],
}

/// The published protocol: `fid3d_2k_full`, `fid3d_20k_full`, `fid3d_50k_full`.
pub const FID3D: Fid3dConditioning = Fid3dConditioning {
    yaw: std::f64::consts::FRAC_PI_2,
    pitch: std::f64::consts::FRAC_PI_2,
    radius: 2.7,
    counts: [2_000, 20_000, 50_000],
};
