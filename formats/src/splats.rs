//! `Splats`: the Gaussians themselves, structure of arrays, in canonical space.

use crate::{Error, Result, conventions};

/// How the Gaussians are meant to be drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RenderModel {
    /// 3D Gaussians with the fixed 0.3 px² screen dilation of the original paper (Kerbl et al. 2023).
    #[default]
    Classic,
    /// Dilation compensated in opacity (Mip-Splatting's 2D filter, Yu et al. 2024).
    Antialiased,
    /// Flat 2D Gaussians (Huang et al. 2024): the third log-scale carries no information.
    Surfel,
}

/// N Gaussians. Index `i` means the same splat in every array.
///
/// Values are those that training uses (log-scales, opacity logits, SH coefficients), so that a PLY survives bit for bit.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Splats {
    /// Centres, N × 3, in units of [`crate::Avatar::metres_per_unit`], axes as [`crate::Avatar::frame`] says; local to the triangle for triangle-bound rigs.
    pub means: Vec<[f32; 3]>,
    /// Orientations, N × 4, Hamilton quaternions w, x, y, z; need not be normalised.
    pub rotations: Vec<[f32; 4]>,
    /// Natural logarithm of the standard deviation along each local axis, N × 3.
    pub log_scales: Vec<[f32; 3]>,
    /// Logit of the opacity, N: `opacity = 1 / (1 + exp(-logit))`.
    pub opacity_logits: Vec<f32>,
    /// Degree-0 SH coefficients (red, green, blue), N × 3: `rgb = 0.5 + 0.28209479 · sh0`.
    pub sh0: Vec<[f32; 3]>,
    /// SH coefficients of degree 1 and up: N × K × 3, coefficient-major with colour fastest; K = (degree + 1)² − 1.
    pub sh_rest: Vec<f32>,
    /// SH degree, 0 to 4.
    pub sh_degree: u8,
}

impl Splats {
    /// Number of splats.
    pub fn len(&self) -> usize {
        self.means.len()
    }

    /// True when there is no splat.
    pub fn is_empty(&self) -> bool {
        self.means.is_empty()
    }

    /// `count` splats with zeroed attributes and identity rotations.
    pub fn with_len(count: usize, sh_degree: u8) -> Self {
        Self {
            means: vec![[0.0; 3]; count],
            rotations: vec![[1.0, 0.0, 0.0, 0.0]; count],
            log_scales: vec![[0.0; 3]; count],
            opacity_logits: vec![0.0; count],
            sh0: vec![[0.0; 3]; count],
            sh_rest: vec![0.0; count * conventions::sh_rest_count(sh_degree) * 3],
            sh_degree,
        }
    }

    /// Coefficients per colour channel beyond degree 0: 0, 3, 8, 15, 24.
    pub fn sh_rest_count(&self) -> usize {
        conventions::sh_rest_count(self.sh_degree)
    }

    /// Bytes of all attributes as float32, without normals: 56 + 12 K per splat.
    pub fn raw_bytes(&self) -> u64 {
        self.len() as u64 * (56 + 12 * self.sh_rest_count() as u64)
    }

    /// Checks that all arrays have the length that the count and the SH degree demand.
    pub fn validate(&self) -> Result<()> {
        let n = self.len();
        if self.sh_degree > 4 {
            return Err(Error::usage(format!("sh degree {} is above 4", self.sh_degree)));
        }
        for (name, length, expected) in [
            ("rotations", self.rotations.len(), n),
            ("log_scales", self.log_scales.len(), n),
            ("opacity_logits", self.opacity_logits.len(), n),
            ("sh0", self.sh0.len(), n),
            ("sh_rest", self.sh_rest.len(), n * self.sh_rest_count() * 3),
        ] {
            if length != expected {
                return Err(Error::usage(format!("{name} holds {length} values, {expected} expected for {n} splats")));
            }
        }
        Ok(())
    }

    /// The splats at `indices`, in that order.
    pub fn gather(&self, indices: &[u32]) -> Self {
        let width = self.sh_rest_count() * 3;
        let mut sh_rest = Vec::with_capacity(indices.len() * width);
        for &i in indices {
            sh_rest.extend_from_slice(&self.sh_rest[i as usize * width..][..width]);
        }
        let pick3 = |v: &[[f32; 3]]| indices.iter().map(|&i| v[i as usize]).collect();
        Self {
            means: pick3(&self.means),
            rotations: indices.iter().map(|&i| self.rotations[i as usize]).collect(),
            log_scales: pick3(&self.log_scales),
            opacity_logits: indices.iter().map(|&i| self.opacity_logits[i as usize]).collect(),
            sh0: pick3(&self.sh0),
            sh_rest,
            sh_degree: self.sh_degree,
        }
    }

    /// Drops SH degrees above `degree`, or pads with zero coefficients up to it.
    pub fn set_sh_degree(&mut self, degree: u8) {
        let (old, new) = (self.sh_rest_count() * 3, conventions::sh_rest_count(degree) * 3);
        if old == new {
            return;
        }
        let mut rest = Vec::with_capacity(self.len() * new);
        for i in 0..self.len() {
            let row = &self.sh_rest[i * old..][..old];
            rest.extend_from_slice(&row[..old.min(new)]);
            rest.resize((i + 1) * new, 0.0);
        }
        self.sh_rest = rest;
        self.sh_degree = degree;
    }

    /// Componentwise smallest and largest finite centre; `None` when there is none.
    pub fn bounds(&self) -> Option<([f32; 3], [f32; 3])> {
        let mut bounds: Option<([f32; 3], [f32; 3])> = None;
        for mean in self.means.iter().filter(|m| m.iter().all(|v| v.is_finite())) {
            let (lo, hi) = bounds.get_or_insert((*mean, *mean));
            for axis in 0..3 {
                lo[axis] = lo[axis].min(mean[axis]);
                hi[axis] = hi[axis].max(mean[axis]);
            }
        }
        bounds
    }
}
