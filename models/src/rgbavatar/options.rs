//! Everything that can be set about a training: the keys of the published `offline.yaml` and `online.yaml`, with their values.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Options of a training. [`Options::offline`] and [`Options::online`] are the published files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)] // the names of the published files
pub struct Options {
    pub data_dir: Option<String>,
    pub output_dir: Option<String>,
    pub template_type: TemplateType,
    /// Of everything that is drawn by lot; not in the published files.
    pub seed: u64,
    pub dataset: DatasetOptions,
    pub model: ModelOptions,
    pub train: TrainOptions,
}

/// Which head the frames were tracked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TemplateType {
    /// FLAME 2020 by metrical-tracker.
    Flame,
    /// FaceWarehouse, whose template and tracker are not public: read, and refused by [`Options::check`].
    FuHead,
}

/// What is read of a capture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct DatasetOptions {
    /// Has no meaning here: pictures are kept as bytes where they are needed.
    pub pin_memory: bool,
    /// The 100 expression coefficients are part of the control vector.
    pub use_shape_weight: bool,
    /// Neck, jaw, eyes, eyelids and translation, 29 numbers, are part of the control vector.
    pub use_pose_weight: bool,
    /// The neck turns the head, instead of the whole mesh being turned.
    pub retarget_neck: bool,
    /// Pictures of twice the size in `images.HQ`.
    #[serde(rename = "HQ")]
    pub hq: bool,
    /// Frames at the end that are kept for tests, but no more than a fifth; the published loader has 350 built in.
    pub test_frames: u32,
}

/// What is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct ModelOptions {
    /// Texels along an edge of the UV grid; each that a triangle covers becomes a splat.
    pub tex_size: u32,
    /// Length of the control vector θ that is used.
    pub num_basis_in: u32,
    /// Number of bases K.
    pub num_basis_blend: u32,
    /// False: no bases at all.
    pub use_blend: bool,
    /// False: θ itself weighs the bases, of which there are `num_basis_in`.
    pub use_weight_proj: bool,
    /// False: one linear layer instead of three with ReLU.
    pub use_mlp_proj: bool,
    /// Metres.
    pub init_scaling: f32,
    pub init_opacity: f32,
}

/// How it is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct TrainOptions {
    /// Images a step.
    pub batch_size: u32,
    /// Images, not steps, of an offline training; the published online file has none.
    pub iteration: u32,
    /// Online: train on after the stream.
    pub post_process: bool,
    /// Images of that.
    pub post_process_iteration: u32,
    pub sampler: SamplerOptions,
    pub recon: ReconOptions,
}

/// Which frames an online training looks at again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct SamplerOptions {
    pub local_pool_max_size: u32,
    pub global_pool_max_size: u32,
    pub max_global_ratio: f32,
    pub local_sample_coef: f32,
    pub force_opt_current: bool,
    pub force_local: bool,
    pub force_global: bool,
}

/// Rates and losses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct ReconOptions {
    /// Images before the bases train.
    pub blend_start_iter: u32,
    /// Colours begin at what the pictures show.
    pub use_fast_forward: bool,
    pub random_bg_color: bool,
    /// Where backgrounds are not random, 0 to 1.
    pub bg_color: [f32; 3],
    pub scene_extent: f32,
    pub position_lr: f32,
    pub position_lr_final: f32,
    /// Has no effect, as in the published program, which never passes the steps it would delay.
    pub position_lr_delay_mult: f32,
    /// Images.
    pub position_lr_max_steps: u32,
    pub opacity_lr: f32,
    pub scaling_lr: f32,
    pub rotation_lr: f32,
    pub feature_lr: f32,
    pub position_b_lr_scale: f32,
    /// The published spelling.
    #[serde(rename = "rotaion_b_lr_scale")]
    pub rotation_b_lr_scale: f32,
    pub feature_b_lr_scale: f32,
    pub weight_module_lr: f32,
    pub lambda_l1: f32,
    pub lambda_ssim: f32,
    /// Not supported: [`Options::check`] refuses anything but 0, the published value.
    pub lambda_lpips: f32,
    pub lambda_alpha: f32,
    pub lambda_sparsity: f32,
    pub lambda_orth: f32,
}

impl DatasetOptions {
    /// The part of the 129 controls of a frame that is the control vector θ.
    pub fn inputs(&self) -> Range<usize> {
        let first = if self.use_shape_weight { 0 } else { EXPRESSIONS };
        first..if self.use_pose_weight { CONTROLS } else { EXPRESSIONS }
    }
}

/// Expression coefficients of a frame.
pub(super) const EXPRESSIONS: usize = 100;
/// Numbers that drive a head.
pub(super) const CONTROLS: usize = 129;

impl Options {
    /// `config/offline.yaml`: 50,000 images.
    pub fn offline() -> Self {
        Self {
            data_dir: None,
            output_dir: None,
            template_type: TemplateType::Flame,
            seed: 0,
            dataset: DatasetOptions {
                pin_memory: true,
                use_shape_weight: true,
                use_pose_weight: true,
                retarget_neck: true,
                hq: false,
                test_frames: 350,
            },
            model: ModelOptions {
                tex_size: 256,
                num_basis_in: 129,
                num_basis_blend: 20,
                use_blend: true,
                use_weight_proj: true,
                use_mlp_proj: true,
                init_scaling: 0.0008,
                init_opacity: 0.5,
            },
            train: TrainOptions {
                batch_size: 10,
                iteration: 50_000,
                post_process: false,
                post_process_iteration: 0,
                sampler: SamplerOptions {
                    local_pool_max_size: 150,
                    global_pool_max_size: 1000,
                    max_global_ratio: 0.7,
                    local_sample_coef: 1.0,
                    force_opt_current: false,
                    force_local: false,
                    force_global: false,
                },
                recon: ReconOptions {
                    blend_start_iter: 3000,
                    use_fast_forward: true,
                    random_bg_color: true,
                    bg_color: [0.0; 3],
                    scene_extent: 1.0,
                    position_lr: 0.0008,
                    position_lr_final: 0.000_008,
                    position_lr_delay_mult: 0.01,
                    position_lr_max_steps: 30_000,
                    opacity_lr: 0.25,
                    scaling_lr: 0.025,
                    rotation_lr: 0.005,
                    feature_lr: 0.0125,
                    position_b_lr_scale: 0.05,
                    rotation_b_lr_scale: 0.5,
                    feature_b_lr_scale: 0.5,
                    weight_module_lr: 0.001,
                    lambda_l1: 1.0,
                    lambda_ssim: 0.0,
                    lambda_lpips: 0.0,
                    lambda_alpha: 0.0,
                    lambda_sparsity: 0.0,
                    lambda_orth: 0.0,
                },
            },
        }
    }

    /// `config/online.yaml`: bases train from the first image on.
    pub fn online() -> Self {
        let mut options = Self::offline();
        options.train.recon.blend_start_iter = 0;
        options
    }

    /// Steps of an offline training.
    pub fn steps(&self) -> u32 {
        self.train.iteration.div_ceil(self.train.batch_size.max(1))
    }

    /// Refuses numbers with which nothing can be trained.
    ///
    /// # Errors
    /// [`Error::usage`] that names the option.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: String| Err(Error::usage(what));
        let (model, train, recon) = (&self.model, &self.train, &self.train.recon);
        if self.template_type == TemplateType::FuHead {
            return wrong("template_type FuHead is not supported: its template is not public".to_owned());
        }
        if !(1..=4096).contains(&model.tex_size) {
            return wrong(format!("model.tex_size is 1 to 4096, not {}", model.tex_size));
        }
        let (inputs, used) = (self.dataset.inputs().len(), model.num_basis_in as usize);
        if model.use_blend && (used == 0 || used > inputs) {
            return wrong(format!(
                "model.num_basis_in is {used}, the control vector has {inputs} numbers (dataset.use_shape_weight, dataset.use_pose_weight)"
            ));
        }
        if model.use_blend && !(1..=1024).contains(&model.num_basis_blend) {
            return wrong(format!("model.num_basis_blend is 1 to 1024, not {}", model.num_basis_blend));
        }
        if !(model.init_opacity > 0.0 && model.init_opacity < 1.0) {
            return wrong(format!("model.init_opacity lies between 0 and 1, not at {}", model.init_opacity));
        }
        if !(model.init_scaling > 0.0 && model.init_scaling.is_finite()) {
            return wrong(format!("model.init_scaling is a size in metres, not {}", model.init_scaling));
        }
        if train.batch_size == 0 || train.batch_size > 4096 {
            return wrong(format!("train.batch_size is 1 to 4096, not {}", train.batch_size));
        }
        if recon.lambda_lpips != 0.0 {
            return wrong(format!("train.recon.lambda_lpips is {}: only 0 is supported", recon.lambda_lpips));
        }
        for (name, value) in [
            ("scene_extent", recon.scene_extent),
            ("position_lr", recon.position_lr),
            ("position_lr_final", recon.position_lr_final),
            ("opacity_lr", recon.opacity_lr),
            ("scaling_lr", recon.scaling_lr),
            ("rotation_lr", recon.rotation_lr),
            ("feature_lr", recon.feature_lr),
            ("position_b_lr_scale", recon.position_b_lr_scale),
            ("rotaion_b_lr_scale", recon.rotation_b_lr_scale),
            ("feature_b_lr_scale", recon.feature_b_lr_scale),
            ("weight_module_lr", recon.weight_module_lr),
            ("lambda_l1", recon.lambda_l1),
            ("lambda_ssim", recon.lambda_ssim),
            ("lambda_alpha", recon.lambda_alpha),
            ("lambda_sparsity", recon.lambda_sparsity),
            ("lambda_orth", recon.lambda_orth),
        ] {
            if !(value >= 0.0 && value.is_finite()) {
                return wrong(format!("train.recon.{name} is finite and not negative, not {value}"));
            }
        }
        Ok(())
    }
}
