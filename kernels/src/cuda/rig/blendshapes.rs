//! Gaussian blendshapes, and the network that weighs them.

use std::sync::Arc;

use cudarc::driver::DeviceRepr;
use gav_formats::Activation;

use super::{
    super::{Buffer, CudaError, Device, device::Kernel},
    BLENDSHAPES, THREADS, holds, kernel,
};

/// As in blendshapes.cu.
const GROUP: usize = 4;
const TILE_BASES: usize = 4;
const TILE_POSES: usize = 4;
const CHUNK: usize = 2048;

/// Deltas of K bases over N splats, basis after basis, or gradients by them; an attribute that no basis changes is empty.
#[derive(Debug)]
pub struct Bases {
    /// Of the centres, K × N × 3.
    pub means: Buffer<f32>,
    /// Of the quaternions, K × N × 4.
    pub rotations: Buffer<f32>,
    /// Of the degree-0 colours, K × N × 3.
    pub sh0: Buffer<f32>,
}

/// What blendshapes change, as values or gradients.
#[derive(Debug, Clone, Copy)]
pub struct Blended<'a> {
    /// Centres, rows of 3.
    pub means: &'a Buffer<f32>,
    /// Quaternions, rows of 4.
    pub rotations: &'a Buffer<f32>,
    /// Degree-0 colours, rows of 3.
    pub sh0: &'a Buffer<f32>,
}

impl Blended<'_> {
    fn check(&self, what: &str, rows: usize) -> Result<[u64; 3], CudaError> {
        holds(what, self.means, 3 * rows)?;
        holds(what, self.rotations, 4 * rows)?;
        holds(what, self.sh0, 3 * rows)?;
        Ok([self.means, self.rotations, self.sh0].map(Buffer::pointer))
    }
}

/// The kernels of blendshapes, with room for a number of poses.
pub struct Blendshapes {
    device: Arc<Device>,
    blend: Kernel,
    rotations_backward: Kernel,
    backward: Kernel,
    weights_backward: Kernel,
    weights_sum: Kernel,
    by_raw: Buffer<f32>,
    partial: Buffer<f32>,
    splats: usize,
    bases: usize,
    capacity: usize,
}

/// The struct `Shapes` of blendshapes.cu.
#[repr(C)]
#[derive(Clone, Copy)]
struct Arguments {
    base: [u64; 3],
    deltas: [u64; 3],
    weights: u64,
    out: [u64; 3],
    upstream: [u64; 3],
    by_raw: u64,
    by_base: [u64; 3],
    by_deltas: [u64; 3],
    by_weights: u64,
    partial: u64,
    sizes: [u32; 4],
}

// SAFETY: plain numbers in the layout of the kernel's parameter
unsafe impl DeviceRepr for Arguments {}

impl std::fmt::Debug for Blendshapes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Blendshapes({} bases, {} splats, {} poses)", self.bases, self.splats, self.capacity)
    }
}

impl Blendshapes {
    /// Makes room for `bases` bases over `splats` splats in `poses` poses.
    ///
    /// # Errors
    /// What the device fails in.
    pub fn new(device: &Arc<Device>, splats: usize, bases: usize, poses: usize) -> Result<Self, CudaError> {
        let make = |name| kernel(device, name, &BLENDSHAPES, &[]);
        Ok(Self {
            blend: make("blend")?,
            rotations_backward: make("blend_rotations_backward")?,
            backward: make("blend_backward")?,
            weights_backward: make("blend_weights_backward")?,
            weights_sum: make("blend_weights_sum")?,
            partial: Buffer::new(device, splats.div_ceil(CHUNK) * poses * bases)?,
            by_raw: Buffer::new(device, 4 * poses * splats)?,
            splats,
            bases,
            capacity: poses,
            device: Arc::clone(device),
        })
    }

    /// Addresses of deltas; 0 for what no basis changes.
    fn deltas(&self, what: &str, bases: &Bases) -> Result<[u64; 3], CudaError> {
        let rows = self.bases * self.splats;
        let pointer = |buffer: &Buffer<f32>, width: usize| {
            if buffer.is_empty() {
                return Ok(0);
            }
            holds(what, buffer, width * rows)?;
            Ok(buffer.pointer())
        };
        Ok([pointer(&bases.means, 3)?, pointer(&bases.rotations, 4)?, pointer(&bases.sh0, 3)?])
    }

    fn arguments(
        &self,
        poses: usize,
        base: &Blended<'_>,
        bases: &Bases,
        weights: &Buffer<f32>,
    ) -> Result<Arguments, CudaError> {
        if poses > self.capacity {
            return Err(CudaError::Usage(format!("{poses} poses, there is room for {}", self.capacity)));
        }
        holds("weights of bases", weights, poses * self.bases)?;
        Ok(Arguments {
            base: base.check("base of blendshapes", self.splats)?,
            deltas: self.deltas("deltas", bases)?,
            weights: weights.pointer(),
            out: [0; 3],
            upstream: [0; 3],
            by_raw: self.by_raw.pointer(),
            by_base: [0; 3],
            by_deltas: [0; 3],
            by_weights: 0,
            partial: self.partial.pointer(),
            sizes: [self.splats, self.bases, poses, 0].map(|n| n as u32),
        })
    }

    fn run(&self, kernel: &Kernel, grid: [usize; 2], threads: u32, arguments: &Arguments) -> Result<(), CudaError> {
        // SAFETY: `Arguments` is the kernels' parameter, and its arrays have the sizes it names
        unsafe { self.device.launch(kernel, grid, threads, arguments) }
    }

    /// Adds the weighted bases (weights P × K) to the base (N rows); `out` gets P × N rows.
    ///
    /// # Errors
    /// Buffers that are too small, more poses than there is room for, and what the device fails in.
    pub fn forward(
        &self,
        poses: usize,
        base: &Blended<'_>,
        bases: &Bases,
        weights: &Buffer<f32>,
        out: &Blended<'_>,
    ) -> Result<(), CudaError> {
        let out = out.check("blended splats", poses * self.splats)?;
        let arguments = Arguments { out, ..self.arguments(poses, base, bases, weights)? };
        let grid = [self.splats.div_ceil(THREADS as usize), poses.div_ceil(GROUP)];
        self.run(&self.blend, grid, THREADS, &arguments)
    }

    /// Gradients by the base (N rows, summed over the poses), by the deltas and by the weights, from those by what
    /// [`Blendshapes::forward`] gives.
    ///
    /// # Errors
    /// As there.
    pub fn backward(
        &self,
        poses: usize,
        base: &Blended<'_>,
        bases: &Bases,
        weights: &Buffer<f32>,
        upstream: &Blended<'_>,
        gradients: (&Blended<'_>, &Bases, &Buffer<f32>),
    ) -> Result<(), CudaError> {
        let (by_base, by_bases, by_weights) = gradients;
        holds("gradients of weights", by_weights, poses * self.bases)?;
        let arguments = Arguments {
            upstream: upstream.check("gradients of blended splats", poses * self.splats)?,
            by_base: by_base.check("gradients of the base", self.splats)?,
            by_deltas: self.deltas("gradients of deltas", by_bases)?,
            by_weights: by_weights.pointer(),
            ..self.arguments(poses, base, bases, weights)?
        };
        let blocks = self.splats.div_ceil(THREADS as usize);
        self.run(&self.rotations_backward, [blocks, poses], THREADS, &arguments)?;
        self.run(&self.backward, [blocks, self.bases + 1], THREADS, &arguments)?;
        let chunks = self.splats.div_ceil(CHUNK) * self.bases.div_ceil(TILE_BASES);
        self.run(&self.weights_backward, [chunks, poses.div_ceil(TILE_POSES)], 256, &arguments)?;
        self.run(&self.weights_sum, [(self.bases * poses).div_ceil(THREADS as usize), 1], THREADS, &arguments)
    }
}

/// A layer of a [`Network`].
pub struct Layer {
    /// Outputs × inputs, row-major.
    pub weight: Buffer<f32>,
    /// One per output.
    pub bias: Buffer<f32>,
    /// Gradient by the weights.
    pub by_weight: Buffer<f32>,
    /// Gradient by the biases.
    pub by_bias: Buffer<f32>,
    /// Results, P × outputs.
    pub values: Buffer<f32>,
    by_values: Buffer<f32>,
    activation: Activation,
    inputs: usize,
    outputs: usize,
}

/// The small network from drivers to weights, with room for a number of poses.
pub struct Network {
    device: Arc<Device>,
    /// From the drivers to the weights.
    pub layers: Vec<Layer>,
    /// Drivers, P × inputs of the first layer; written by the caller.
    pub input: Buffer<f32>,
    /// Gradient by the drivers.
    pub by_input: Buffer<f32>,
    forward: Kernel,
    slope: Kernel,
    backward: Kernel,
    weights_backward: Kernel,
    capacity: usize,
}

/// The struct `Layer` of blendshapes.cu.
#[repr(C)]
#[derive(Clone, Copy)]
struct LayerArguments {
    pointers: [u64; 8],
    sizes: [u32; 4],
}

// SAFETY: plain numbers in the layout of the kernel's parameter
unsafe impl DeviceRepr for LayerArguments {}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sizes: Vec<usize> = self.layers.iter().map(|l| l.outputs).collect();
        write!(f, "Network({sizes:?}, {} poses)", self.capacity)
    }
}

impl Network {
    /// Copies layers to the device and makes room for `poses` poses.
    ///
    /// # Errors
    /// [`CudaError::Usage`] for layers that do not follow each other; what the device fails in.
    pub fn new(
        device: &Arc<Device>,
        layers: &[crate::rig::network::LayerRef<'_, f32>],
        poses: usize,
    ) -> Result<Self, CudaError> {
        let make = |name| kernel(device, name, &BLENDSHAPES, &[]);
        let inputs = layers.first().map_or(0, |l| l.weight.len() / l.bias.len().max(1));
        let mut width = inputs;
        let mut out = Vec::with_capacity(layers.len());
        for layer in layers {
            let outputs = layer.bias.len();
            if layer.weight.len() != outputs * width || layer.weight.is_empty() {
                let message = format!("a layer of {} weights from {width} to {outputs} numbers", layer.weight.len());
                return Err(CudaError::Usage(message));
            }
            out.push(Layer {
                weight: Buffer::from_slice(device, layer.weight)?,
                bias: Buffer::from_slice(device, layer.bias)?,
                by_weight: Buffer::new(device, layer.weight.len())?,
                by_bias: Buffer::new(device, outputs)?,
                values: Buffer::new(device, poses * outputs)?,
                by_values: Buffer::new(device, poses * outputs)?,
                activation: layer.activation,
                inputs: width,
                outputs,
            });
            width = outputs;
        }
        Ok(Self {
            layers: out,
            input: Buffer::zeros(device, poses * inputs)?,
            by_input: Buffer::new(device, poses * inputs)?,
            forward: make("layer")?,
            slope: make("layer_slope")?,
            backward: make("layer_backward")?,
            weights_backward: make("layer_weights_backward")?,
            capacity: poses,
            device: Arc::clone(device),
        })
    }

    /// The weights, P × outputs of the last layer.
    pub fn output(&self) -> &Buffer<f32> {
        self.layers.last().map_or(&self.input, |layer| &layer.values)
    }

    /// Where the gradient by [`Network::output`] has to be before [`Network::backward`], P × outputs.
    pub fn by_output(&self) -> &Buffer<f32> {
        self.layers.last().map_or(&self.by_input, |layer| &layer.by_values)
    }

    /// Copies the gradient by [`Network::output`] from the host.
    ///
    /// # Errors
    /// More numbers than there is room for.
    pub fn set_upstream(&mut self, values: &[f32]) -> Result<(), CudaError> {
        self.layers.last_mut().map_or(&mut self.by_input, |layer| &mut layer.by_values).write(values)
    }

    fn arguments(&self, index: usize, poses: usize) -> LayerArguments {
        let layer = &self.layers[index];
        let (x, by_x) = match index.checked_sub(1) {
            None => (&self.input, &self.by_input),
            Some(before) => (&self.layers[before].values, &self.layers[before].by_values),
        };
        let activation = match layer.activation {
            Activation::None => 0,
            Activation::Relu => 1,
            Activation::Sigmoid => 2,
            Activation::Tanh => 3,
        };
        LayerArguments {
            pointers: [
                &layer.weight,
                &layer.bias,
                x,
                &layer.values,
                &layer.by_values,
                by_x,
                &layer.by_weight,
                &layer.by_bias,
            ]
            .map(Buffer::pointer),
            sizes: [layer.inputs as u32, layer.outputs as u32, poses as u32, activation],
        }
    }

    fn run(&self, kernel: &Kernel, rows: usize, poses: usize, arguments: &LayerArguments) -> Result<(), CudaError> {
        if poses > self.capacity {
            return Err(CudaError::Usage(format!("{poses} poses, there is room for {}", self.capacity)));
        }
        // SAFETY: `LayerArguments` is the kernels' parameter, and its arrays have the sizes it names
        unsafe { self.device.launch(kernel, [rows.div_ceil(THREADS as usize), poses], THREADS, arguments) }
    }

    /// From [`Network::input`] to [`Network::output`] for the first `poses` rows.
    ///
    /// # Errors
    /// More poses than there is room for, and what the device fails in.
    pub fn forward(&self, poses: usize) -> Result<(), CudaError> {
        for index in 0..self.layers.len() {
            self.run(&self.forward, 32 * self.layers[index].outputs, poses, &self.arguments(index, poses))?;
        }
        Ok(())
    }

    /// From [`Network::by_output`] to the gradients of every layer and of the input, after [`Network::forward`] of as many poses.
    ///
    /// # Errors
    /// As there.
    pub fn backward(&self, poses: usize) -> Result<(), CudaError> {
        if poses > self.capacity {
            return Err(CudaError::Usage(format!("{poses} poses, there is room for {}", self.capacity)));
        }
        for (index, layer) in self.layers.iter().enumerate().rev() {
            let arguments = self.arguments(index, poses);
            self.run(&self.slope, poses * layer.outputs, 1, &arguments)?;
            self.run(&self.backward, layer.inputs, poses, &arguments)?;
            self.run(&self.weights_backward, layer.outputs * (layer.inputs + 1), 1, &arguments)?;
        }
        Ok(())
    }
}
