//! A dressed person of formulas: form, mesh, skeleton, clothes and a walk.
//!
//! `form` is a signed distance, `net` the mesh on it, `skeleton` what bends it, `walk` the performance; `clothes` paints the splats that are
//! drawn, and `creases` are the folds that bends raise in them.

mod clothes;
mod creases;
mod form;
mod net;
mod skeleton;
mod walk;

use gav_formats::synthetic::head::shape::V;

use super::truth::Point;
use crate::body::{Body, Parts};

pub(super) use walk::Stride;

/// Cells of the mesh, cm: about 5,000 vertices.
const CELL: f64 = 2.3;

/// Vertices in centimetres and triangles.
#[derive(Debug)]
pub(super) struct Figure {
    vertices: Vec<V>,
    faces: Vec<[u32; 3]>,
}

impl Figure {
    /// The mesh of the person at rest.
    pub(super) fn new() -> Self {
        // both sides alike
        let half = CELL * (68.0f64 / CELL).ceil();
        let (vertices, faces) = net::net(form::person, [-half, -3.0, -20.0], [half, 182.0, 25.0], CELL);
        Self { vertices, faces }
    }

    /// The mesh with its joints, metres.
    pub(super) fn parts(&self) -> Parts<f32> {
        skeleton::parts(&self.vertices, &self.faces)
    }

    /// About `count` splats over it.
    pub(super) fn points(&self, count: usize, seed: u64) -> Vec<Point> {
        clothes::points(&self.vertices, &self.faces, count, seed)
    }
}

/// Displacement of each set of folds, cm.
pub(super) fn crease_sizes() -> Vec<f64> {
    creases::CREASES.iter().map(|set| set.size).collect()
}

/// What the person does.
pub(super) fn performance(body: &Body<f32>, training: usize, test: usize, seed: u64) -> Vec<Stride> {
    walk::performance(body, training, test, seed)
}
