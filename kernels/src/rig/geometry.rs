//! Where splats are, how they are turned and how large they are: what a rig changes.

use gav_formats::Splats;

use super::algebra::{Quat, Vec3};
use crate::Real;

/// Centres, rotations and sizes of N splats, or the gradients of a scalar by them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Geometry<T> {
    /// Centres, N × 3.
    pub means: Vec<Vec3<T>>,
    /// Quaternions w, x, y, z, N × 4.
    pub rotations: Vec<Quat<T>>,
    /// Natural logarithms of the standard deviations along the turned axes, N × 3.
    pub log_scales: Vec<Vec3<T>>,
}

/// A [`Geometry`] that lies elsewhere.
#[derive(Debug, Clone, Copy)]
pub struct GeometryRef<'a, T> {
    /// Centres, N × 3.
    pub means: &'a [Vec3<T>],
    /// Quaternions w, x, y, z, N × 4.
    pub rotations: &'a [Quat<T>],
    /// Natural logarithms of the standard deviations, N × 3.
    pub log_scales: &'a [Vec3<T>],
}

impl<T: Real> Geometry<T> {
    /// All zero.
    pub fn zeros(count: usize) -> Self {
        let zero = T::zero();
        Self { means: vec![[zero; 3]; count], rotations: vec![[zero; 4]; count], log_scales: vec![[zero; 3]; count] }
    }

    /// Borrows all three.
    pub fn view(&self) -> GeometryRef<'_, T> {
        GeometryRef { means: &self.means, rotations: &self.rotations, log_scales: &self.log_scales }
    }
}

impl<T> GeometryRef<'_, T> {
    /// Number of splats.
    pub fn len(&self) -> usize {
        self.means.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.means.is_empty()
    }

    /// Panics unless all arrays hold `count` splats: that is a mistake of the caller.
    pub(super) fn check(&self, count: usize) {
        assert_eq!(
            (self.means.len(), self.rotations.len(), self.log_scales.len()),
            (count, count, count),
            "arrays of {count} splats"
        );
    }
}

impl<'a> From<&'a Splats> for GeometryRef<'a, f32> {
    fn from(splats: &'a Splats) -> Self {
        Self { means: &splats.means, rotations: &splats.rotations, log_scales: &splats.log_scales }
    }
}
