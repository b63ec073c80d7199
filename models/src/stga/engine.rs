//! What a machine has to do to train: implemented on the CPU and on CUDA.

use gav_formats::Camera;
use gav_kernels::{
    losses::Hinges,
    raster::{Footprint, Image, Settings},
};
use serde::{Deserialize, Serialize};

use super::{Freeze, Method, Options, Plan, State, Survey};
use crate::Result;

/// The rules that pictures are drawn by while training: those of `gav render`, with the whole ellipse down to half a step of a display
/// instead of three standard deviations, where a splat still has 1.1 % of its light.
pub const SETTINGS: Settings = Settings { footprint: Footprint::Exact, ..Settings::DEFAULT };

/// Learning rates of one step.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Rates {
    /// Of the tensors of [`super::SPLAT_TENSORS`].
    pub splats: [f32; 6],
    /// Of expression, pose and translation.
    pub tables: [f32; 3],
}

/// What is minimised: (1 − λ) L1 + λ (1 − SSIM) of the picture, and hinges on the local coordinates and sizes of the splats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossRules {
    /// λ.
    pub dssim: f32,
    /// Weight of the mean of relu(|x| − threshold).
    pub xyz: f32,
    /// In the units of local coordinates, or metres.
    pub threshold_xyz: f32,
    /// Per component in metres instead: |relu(x k − threshold)|.
    pub metric_xyz: bool,
    /// Weight of the mean of |relu(e^s − threshold)|.
    pub scale: f32,
    /// In the units of local sizes, or metres.
    pub threshold_scale: f32,
    /// Sizes in metres instead.
    pub metric_scale: bool,
    /// The hinges' means are over the splats that this view shows (GaussianAvatars), not over all that are trained (STGA).
    pub visible: bool,
    /// What becomes of splats that are not trained.
    pub freeze: Freeze,
    /// Behind the splats.
    pub background: [f32; 3],
}

impl LossRules {
    /// The two hinges.
    pub fn hinges(&self) -> Hinges<f32> {
        Hinges {
            centers: self.xyz,
            centers_threshold: self.threshold_xyz,
            metric_centers: self.metric_xyz,
            sizes: self.scale,
            sizes_threshold: self.threshold_scale,
            metric_sizes: self.metric_scale,
        }
    }
}

impl From<&Options> for LossRules {
    fn from(options: &Options) -> Self {
        Self {
            dssim: options.lambda_dssim,
            xyz: options.lambda_xyz,
            threshold_xyz: options.threshold_xyz,
            metric_xyz: options.metric_xyz,
            scale: options.lambda_scale,
            threshold_scale: options.threshold_scale,
            metric_scale: options.metric_scale,
            visible: options.method == Method::GaussianAvatars,
            freeze: options.freeze,
            background: options.background,
        }
    }
}

/// What became of the steps since the last report.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct StepReport {
    /// Steps that changed something.
    pub steps: u32,
    /// Steps left out because a gradient was not finite.
    pub skipped: u32,
    /// Steps left out because a device had not enough room for the lists of what its tiles show; it has more by now.
    pub cut: u32,
    /// Mean of L1 over the steps.
    pub l1: f64,
    /// Mean of SSIM.
    pub ssim: f64,
    /// Mean of the weighted hinges.
    pub hinges: f64,
}

/// A machine that trains. Steps may be enqueued; [`Engine::report`] waits for them.
pub trait Engine {
    /// Begins a block: the mesh of a time step (an index into [`super::Dataset::times`]), and the faces whose splats are trained, one flag
    /// for each; `None` for all. Returns the number of splats that are trained.
    ///
    /// # Errors
    /// What a device fails in.
    fn block(&mut self, time: usize, faces: Option<&[bool]>) -> Result<usize>;

    /// One step of training on a view of the block's time step (an index into [`super::Dataset::views`]), with harmonics up to a degree.
    ///
    /// # Errors
    /// Pictures that cannot be read; what a device fails in.
    fn step(&mut self, view: usize, rates: &Rates, sh_degree: u8) -> Result<()>;

    /// What became of the steps since the last report.
    ///
    /// # Errors
    /// What a device failed in since.
    fn report(&mut self) -> Result<StepReport>;

    /// All that is trained, as it is now.
    ///
    /// # Errors
    /// What a device fails in.
    fn state(&mut self) -> Result<State>;

    /// Goes on from a state; a block has to begin anew.
    ///
    /// # Errors
    /// What a device fails in.
    fn set_state(&mut self, state: State) -> Result<()>;

    /// What density control looks at, as it is now.
    ///
    /// # Errors
    /// What a device fails in.
    fn survey(&mut self) -> Result<Survey>;

    /// Carries out what density control wants; a block has to begin anew.
    ///
    /// # Errors
    /// What a device fails in.
    fn change(&mut self, plan: &Plan) -> Result<()>;

    /// The avatar at a time step, with harmonics up to a degree.
    ///
    /// # Errors
    /// What a device fails in.
    fn draw(&mut self, camera: &Camera, time: usize, sh_degree: u8) -> Result<Image>;

    /// Megabytes that the training takes, by what they are for.
    fn memory(&self) -> Vec<(&'static str, f64)>;
}
