//! The model: from a control vector to splats in world coordinates, and all of the way back.
//!
//! ψ = network(θ); μ = x + Σ ψₖ Δxₖ, q = (r + Σ ψₖ Δrₖ)/|…|, f = f₀ + Σ ψₖ Δfₖ in the frames of triangles, which place them (kind 4 of
//! `spec/gav.md` section 8). Opacities and sizes are the same for every θ. Generic over [`Real`]: f64 is the reference.

use gav_formats::{Activation, synthetic::uniform};
use gav_kernels::{
    Real,
    rig::{
        Geometry, GeometryRef,
        blendshapes::{BaseRef, BasesRef, Blended, blend, blend_backward},
        network::{self, LayerRef},
        triangle::{BindingRef, Face, MeshRef, bind, bind_backward},
    },
};

use super::ModelOptions;

/// What is trained, in the order of the published optimiser's groups, by the names of its program: offsets N × 3 in metres, logits of
/// opacities N, logarithms of sizes N × 3, quaternions w x y z N × 4, SH of degree 0 N × 3; deltas of offsets K × N × 3, quaternions
/// K × N × 4 and colours K × N × 3; layers of the network one after the other, each weights (outputs × inputs) and biases.
pub const TENSORS: [&str; 9] =
    ["xyz", "opacity", "scaling", "rotation", "f_dc", "xyz_b", "rotation_b", "f_dc_b", "weight_module"];
/// The first tensor that trains only once the bases do.
pub const FIRST_BASES: usize = 5;
/// Units of the hidden layers.
const HIDDEN: usize = 128;

/// What weighs the bases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weighing {
    /// Three layers with ReLU between them.
    Mlp,
    /// One layer.
    Linear,
    /// The control vector itself.
    Direct,
}

/// Sizes of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Splats N.
    pub splats: usize,
    /// Numbers of the control vector.
    pub inputs: usize,
    /// Bases K; 0 for a base model.
    pub bases: usize,
    /// What weighs them.
    pub weighing: Weighing,
}

/// Parameters or gradients, in the order of [`TENSORS`].
pub type Values<T> = [Vec<T>; 9];

impl Shape {
    /// Sizes by options, for so many splats.
    pub fn new(options: &ModelOptions, splats: usize) -> Self {
        let inputs = options.num_basis_in as usize;
        let weighing = match (options.use_weight_proj, options.use_mlp_proj) {
            (false, _) => Weighing::Direct,
            (true, false) => Weighing::Linear,
            (true, true) => Weighing::Mlp,
        };
        let bases = match (options.use_blend, weighing) {
            (false, _) => 0,
            (true, Weighing::Direct) => inputs,
            (true, _) => options.num_basis_blend as usize,
        };
        Self { splats, inputs, bases, weighing }
    }

    /// Outputs and inputs of each layer of the network.
    pub fn layers(&self) -> Vec<[usize; 2]> {
        match (self.bases, self.weighing) {
            (0, _) | (_, Weighing::Direct) => Vec::new(),
            (bases, Weighing::Linear) => vec![[bases, self.inputs]],
            (bases, Weighing::Mlp) => vec![[HIDDEN, self.inputs], [HIDDEN, HIDDEN], [bases, HIDDEN]],
        }
    }

    /// Numbers in each of [`TENSORS`].
    pub fn lengths(&self) -> [usize; 9] {
        let (n, k) = (self.splats, self.bases);
        let network = self.layers().iter().map(|[outputs, inputs]| outputs * (inputs + 1)).sum();
        [3 * n, n, 3 * n, 4 * n, 3 * n, 3 * n * k, 4 * n * k, 3 * n * k, network]
    }

    /// Zeros.
    pub fn zeros<T: Real>(&self) -> Values<T> {
        self.lengths().map(|length| vec![T::zero(); length])
    }

    /// What a training begins with: grey splats of one size on their triangles, no deltas, a network whose weights and biases are uniform
    /// in ±1/√inputs of their layer.
    pub fn initial(&self, options: &ModelOptions, seed: u64) -> Values<f32> {
        let mut values = self.zeros::<f32>();
        let opacity = f64::from(options.init_opacity);
        values[1].fill((opacity / (1.0 - opacity)).ln() as f32);
        values[2].fill(f64::from(options.init_scaling).ln() as f32);
        values[3].chunks_exact_mut(4).for_each(|q| q[0] = 1.0);
        let (mut counter, mut at) = (0, 0);
        for [outputs, inputs] in self.layers() {
            let bound = 1.0 / (inputs as f64).sqrt();
            let count = outputs * (inputs + 1);
            for value in &mut values[8][at..at + count] {
                // its own sequence: the seed's others are drawn from by the schedule
                *value = (bound * (2.0 * uniform(counter, seed ^ 0x6E65_7477_6F72_6B00) - 1.0)) as f32;
                counter += 1;
            }
            at += count;
        }
        values
    }

    /// The layers of a network's parameters.
    pub fn network<'a, T>(&self, parameters: &'a [T]) -> Vec<LayerRef<'a, T>> {
        let (sizes, mut rest) = (self.layers(), parameters);
        let mut layers = Vec::with_capacity(sizes.len());
        for (k, [outputs, inputs]) in sizes.iter().enumerate() {
            let (weight, after) = rest.split_at(outputs * inputs);
            let (bias, after) = after.split_at(*outputs);
            rest = after;
            let activation = if k + 1 == sizes.len() { Activation::None } else { Activation::Relu };
            layers.push(LayerRef { weight, bias, activation });
        }
        layers
    }
}

/// The triangles of one frame, and which splat sits where.
#[derive(Debug, Clone, Copy)]
pub struct Ground<'a, T> {
    /// Triangle and place of each splat.
    pub binding: BindingRef<'a, T>,
    /// The posed mesh.
    pub mesh: MeshRef<'a, T>,
    /// Its frames.
    pub faces: &'a [Face<T>],
}

/// Splats of one frame, with what the way back needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Placed<T> {
    /// The control vector, then the outputs of every layer; the last are ψ. Empty for the base model.
    pub activations: Vec<Vec<T>>,
    /// Centres, unit quaternions and colours in the frames of triangles.
    pub local: Blended<T>,
    /// In world coordinates.
    pub world: Geometry<T>,
}

impl<T> Placed<T> {
    /// ψ, K; empty for the base model.
    pub fn weights(&self) -> &[T] {
        self.activations.last().map_or(&[], Vec::as_slice)
    }
}

/// Gradients by what [`place`] returns, and by what it leaves as it is.
#[derive(Debug, Clone, Copy)]
pub struct Upstream<'a, T> {
    /// By [`Placed::world`].
    pub world: GeometryRef<'a, T>,
    /// By [`Blended::sh0`].
    pub sh0: &'a [[T; 3]],
    /// By logits of opacities.
    pub opacity_logits: &'a [T],
    /// Further gradients by ψ; empty for none.
    pub weights: &'a [T],
}

fn base<'a, T>(values: &[&'a [T]; 9]) -> BaseRef<'a, T> {
    BaseRef {
        means: values[0].as_chunks::<3>().0,
        rotations: values[3].as_chunks::<4>().0,
        sh0: values[4].as_chunks::<3>().0,
    }
}

/// The bases, of which there are none as long as they do not train.
fn bases<'a, T>(values: &[&'a [T]; 9], count: usize) -> BasesRef<'a, T> {
    if count == 0 {
        return BasesRef { count, means: &[], rotations: &[], sh0: &[] };
    }
    BasesRef {
        count,
        means: values[5].as_chunks::<3>().0,
        rotations: values[6].as_chunks::<4>().0,
        sh0: values[7].as_chunks::<3>().0,
    }
}

/// The splats of a frame. `theta` is its control vector, of which the first [`Shape::inputs`] numbers are used; `None` for the base model.
///
/// # Panics
/// When arrays have other lengths than [`Shape::lengths`] says.
pub fn place<T: Real>(shape: &Shape, values: &[&[T]; 9], theta: Option<&[T]>, ground: &Ground<'_, T>) -> Placed<T> {
    check(shape, values);
    let activations = match theta.filter(|_| shape.bases > 0) {
        None => Vec::new(),
        Some(theta) => network::forward(&shape.network(values[8]), &theta[..shape.inputs]),
    };
    let weights = activations.last().map_or(&[][..], Vec::as_slice);
    let local = blend(base(values), &bases(values, weights.len()), weights);
    let log_scales = values[2].as_chunks::<3>().0;
    let geometry = GeometryRef { means: &local.means, rotations: &local.rotations, log_scales };
    let world = bind(&ground.binding, ground.faces, geometry);
    Placed { activations, local, world }
}

/// Adds the gradients of a frame to `sums`; those of bases and network only where the frame used them. Returns the gradient by θ.
///
/// # Panics
/// As [`place`].
pub fn place_backward<T: Real>(
    shape: &Shape,
    values: &[&[T]; 9],
    ground: &Ground<'_, T>,
    placed: &Placed<T>,
    upstream: &Upstream<'_, T>,
    sums: &mut Values<T>,
) -> Vec<T> {
    check(shape, values);
    let local = &placed.local;
    let log_scales = values[2].as_chunks::<3>().0;
    let geometry = GeometryRef { means: &local.means, rotations: &local.rotations, log_scales };
    let (by_local, _) = bind_backward(&ground.binding, &ground.mesh, ground.faces, geometry, upstream.world);
    let weights = placed.weights();
    let by_blended = BaseRef { means: &by_local.means, rotations: &by_local.rotations, sh0: upstream.sh0 };
    let mut found = blend_backward(base(values), &bases(values, weights.len()), weights, by_blended);
    add(&mut sums[0], found.base.means.as_flattened());
    add(&mut sums[1], upstream.opacity_logits);
    add(&mut sums[2], by_local.log_scales.as_flattened());
    add(&mut sums[3], found.base.rotations.as_flattened());
    add(&mut sums[4], found.base.sh0.as_flattened());
    if weights.is_empty() {
        return Vec::new();
    }
    add(&mut sums[5], found.deltas.means.as_flattened());
    add(&mut sums[6], found.deltas.rotations.as_flattened());
    add(&mut sums[7], found.deltas.sh0.as_flattened());
    if !upstream.weights.is_empty() {
        add(&mut found.weights, upstream.weights);
    }
    let (by_layer, by_theta) = network::backward(&shape.network(values[8]), &placed.activations, &found.weights);
    let mut at = 0;
    for gradient in by_layer.iter().flat_map(|l| [&l.weight, &l.bias]) {
        add(&mut sums[8][at..at + gradient.len()], gradient);
        at += gradient.len();
    }
    by_theta
}

fn check<T>(shape: &Shape, values: &[&[T]; 9]) {
    assert_eq!(values.map(<[T]>::len), shape.lengths(), "numbers of {TENSORS:?}");
}

fn add<T: Real>(sum: &mut [T], values: &[T]) {
    assert_eq!(sum.len(), values.len(), "gradients of {} numbers", sum.len());
    sum.iter_mut().zip(values).for_each(|(s, v)| *s += *v);
}
