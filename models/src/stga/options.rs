//! Everything that can be set about a training, under the names of the published programs where they have one.

use gav_formats::TriangleFrame;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Whose method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Blocks of views, local and global.
    Stga,
    /// All splats at every step, views in random order.
    GaussianAvatars,
}

/// What becomes of splats that a block does not train.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Freeze {
    /// They and what Adam remembers of them stay as they are, bit for bit.
    Masked,
    /// As in the published program: their gradient is zero, and Adam goes on moving them by what it remembers.
    Release,
}

/// Which part of STGA's training runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// The neutral time step alone, all splats.
    Static,
    /// The whole sequence in blocks.
    Dynamic,
    /// One after the other.
    Both,
}

/// Options of a training. [`Options::stga`] and [`Options::gaussian_avatars`] are the methods as described.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)] // the names of the published programs, explained by the command line
pub struct Options {
    pub method: Method,
    pub stage: Stage,
    /// Steps of the dynamic stage, or of the whole training of GaussianAvatars.
    pub iterations: u32,
    /// Steps of the static stage.
    pub static_iterations: u32,
    /// Steps at the end in which all splats train, so that no seams stay between selections.
    pub final_iterations: u32,
    pub seed: u64,
    pub sh_degree: u8,
    /// Steps after which the degree of the harmonics in use grows by one.
    pub sh_interval: u32,
    /// Behind the avatar, and behind pictures with alpha.
    pub background: [f32; 3],

    pub lambda_dssim: f32,
    pub lambda_xyz: f32,
    pub threshold_xyz: f32,
    pub metric_xyz: bool,
    pub lambda_scale: f32,
    pub threshold_scale: f32,
    pub metric_scale: bool,

    pub position_lr_init: f32,
    pub position_lr_final: f32,
    pub position_lr_max_steps: u32,
    pub feature_lr: f32,
    pub opacity_lr: f32,
    pub scaling_lr: f32,
    pub rotation_lr: f32,
    pub flame_expr_lr: f32,
    pub flame_trans_lr: f32,
    pub flame_pose_lr: f32,
    /// Train the tracked parameters too.
    pub finetune_flame: bool,

    /// Clone, split and prune.
    pub densify: bool,
    pub densify_from_iter: u32,
    pub densify_until_iter: u32,
    pub densification_interval: u32,
    pub opacity_reset_interval: u32,
    pub densify_grad_threshold: f32,
    pub percent_dense: f32,
    /// Splats that the training may grow to.
    pub max_splats: u32,
    /// Move the halves of a split splat by its size in metres, though their coordinates are in sizes of the triangle, as the published
    /// program of GaussianAvatars does: they hardly move then.
    pub split_in_metres: bool,

    /// `stga`: metres along the spoke to the first corner. `ga`: sizes of the triangle along its first edge, scaling with it.
    pub frame: FrameName,
    /// Splats at the points of a grid of so many steps along each edge; 0 for one in the middle of each triangle.
    pub init_grid_k: u32,
    pub init_opacity: f32,

    /// Motion beyond which a vertex counts as moved, millimetres.
    pub select_threshold_mm: f32,
    /// Takes the place of the threshold where it is not 0: the share of vertices that count as still.
    pub select_quantile: f32,
    /// Moved vertices that make a face selected.
    pub select_min_vertices: u8,
    /// Every so many blocks all splats train; 0 for never, 1 for always.
    pub global_every: u32,
    /// Views of a block; 0 for all of a time step.
    pub views_per_block: u32,
    /// How often a block is gone through.
    pub block_passes: u32,
    pub freeze: Freeze,

    /// Steps in a row without a finite gradient after which the training stops.
    pub max_bad_steps: u32,
}

/// A [`TriangleFrame`] that trainings know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum FrameName {
    Stga,
    Ga,
}

impl From<FrameName> for TriangleFrame {
    fn from(name: FrameName) -> Self {
        match name {
            FrameName::Stga => Self::Stga,
            FrameName::Ga => Self::GaussianAvatars,
        }
    }
}

impl Options {
    /// STGA: 50,000 steps after 5,000 on the neutral time step; the numbers of its program, with density control.
    pub fn stga() -> Self {
        Self {
            method: Method::Stga,
            stage: Stage::Both,
            iterations: 50_000,
            static_iterations: 5_000,
            final_iterations: 2_000,
            seed: 0,
            sh_degree: 3,
            sh_interval: 1000,
            background: [1.0; 3],
            lambda_dssim: 0.2,
            lambda_xyz: 0.01,
            threshold_xyz: 1.0,
            metric_xyz: false,
            lambda_scale: 1.0,
            threshold_scale: 0.6,
            metric_scale: false,
            position_lr_init: 1.6e-4,
            position_lr_final: 1.6e-6,
            position_lr_max_steps: 35_000,
            feature_lr: 0.0025,
            opacity_lr: 0.05,
            scaling_lr: 0.005,
            rotation_lr: 0.001,
            flame_expr_lr: 1e-3,
            flame_trans_lr: 1e-6,
            flame_pose_lr: 1e-5,
            finetune_flame: false,
            densify: true,
            densify_from_iter: 500,
            densify_until_iter: 10_000,
            densification_interval: 100,
            opacity_reset_interval: 3000,
            densify_grad_threshold: 0.0002,
            percent_dense: 0.01,
            max_splats: 500_000,
            split_in_metres: false,
            frame: FrameName::Stga,
            init_grid_k: 2,
            init_opacity: 0.9,
            select_threshold_mm: 2.5,
            select_quantile: 0.0,
            select_min_vertices: 1,
            global_every: 20,
            views_per_block: 0,
            block_passes: 1,
            freeze: Freeze::Masked,
            max_bad_steps: 100,
        }
    }

    /// GaussianAvatars: 600,000 steps with refined tracking, the numbers of its program.
    pub fn gaussian_avatars() -> Self {
        Self {
            method: Method::GaussianAvatars,
            stage: Stage::Dynamic,
            iterations: 600_000,
            static_iterations: 0,
            final_iterations: 0,
            position_lr_init: 0.005,
            position_lr_final: 0.000_05,
            position_lr_max_steps: 600_000,
            scaling_lr: 0.017,
            finetune_flame: true,
            densify_from_iter: 10_000,
            densify_until_iter: 600_000,
            densification_interval: 2000,
            opacity_reset_interval: 60_000,
            frame: FrameName::Ga,
            init_grid_k: 0,
            init_opacity: 0.1,
            global_every: 1,
            ..Self::stga()
        }
    }

    /// Other numbers of steps, with everything that is counted in steps in proportion to the dynamic ones.
    #[must_use]
    pub fn fitted(mut self, iterations: u32) -> Self {
        let share = f64::from(iterations) / f64::from(self.iterations.max(1));
        let scaled = |steps: u32| (f64::from(steps) * share).round() as u32;
        self.static_iterations = scaled(self.static_iterations);
        self.final_iterations = scaled(self.final_iterations);
        self.position_lr_max_steps = scaled(self.position_lr_max_steps).max(1);
        self.densify_from_iter = scaled(self.densify_from_iter);
        self.densify_until_iter = scaled(self.densify_until_iter);
        // opacities take some hundred steps to come back
        self.opacity_reset_interval = scaled(self.opacity_reset_interval).max(self.opacity_reset_interval.min(1000));
        // fewer than 100 steps tell little about where splats are missing
        self.densification_interval = scaled(self.densification_interval).max(self.densification_interval.min(100));
        self.sh_interval = scaled(self.sh_interval).clamp(1, self.sh_interval);
        self.iterations = iterations;
        self
    }

    /// Steps of all stages.
    pub fn total(&self) -> u32 {
        let first = if self.stage == Stage::Dynamic { 0 } else { self.static_iterations };
        let rest = if self.stage == Stage::Static { 0 } else { self.iterations + self.final_iterations };
        first + rest
    }

    /// Refuses numbers with which nothing can be trained.
    ///
    /// # Errors
    /// [`Error::usage`] that names the option.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: &str| Err(Error::usage(what.to_owned()));
        let rates = [
            self.position_lr_init,
            self.position_lr_final,
            self.feature_lr,
            self.opacity_lr,
            self.scaling_lr,
            self.rotation_lr,
            self.flame_expr_lr,
            self.flame_trans_lr,
            self.flame_pose_lr,
            self.lambda_xyz,
            self.lambda_scale,
            self.threshold_xyz,
            self.threshold_scale,
            self.select_threshold_mm,
        ];
        if rates.iter().any(|r| !(*r >= 0.0 && r.is_finite())) {
            return wrong("rates, weights and thresholds are finite and not negative");
        }
        if self.sh_degree > 3 {
            return wrong("sh_degree is 0 to 3");
        }
        if !(0.0..=1.0).contains(&self.lambda_dssim) {
            return wrong("lambda_dssim is between 0 and 1");
        }
        if !(self.init_opacity > 0.0 && self.init_opacity < 1.0) {
            return wrong("init_opacity lies between 0 and 1");
        }
        if self.init_grid_k > 16 {
            return wrong("init_grid_k is at most 16: 153 splats a triangle");
        }
        if self.total() == 0 {
            return wrong("there is nothing to do: the number of iterations is 0");
        }
        if self.densification_interval == 0 || self.opacity_reset_interval == 0 || self.sh_interval == 0 {
            return wrong("intervals are at least 1");
        }
        if self.block_passes == 0 {
            return wrong("block_passes is at least 1");
        }
        if !(0.0..1.0).contains(&self.select_quantile) {
            return wrong("select_quantile is at least 0 and below 1");
        }
        if !(1..=3).contains(&self.select_min_vertices) {
            return wrong("select_min_vertices is 1 to 3");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shorter_training_keeps_its_proportions_and_is_read_back_as_written() {
        let options = Options::gaussian_avatars().fitted(6000);
        assert_eq!((options.position_lr_max_steps, options.opacity_reset_interval), (6000, 1000));
        assert_eq!((options.densify_from_iter, options.densification_interval), (100, 100));
        assert_eq!(Options::stga().fitted(50_000), Options::stga());
        assert_eq!(Options::stga().total(), 57_000);
        options.check().unwrap();
        let text = serde_json::to_string(&options).unwrap();
        assert_eq!(serde_json::from_str::<Options>(&text).unwrap(), options);
        assert!(serde_json::from_str::<Options>(&text.replacen("seed", "sead", 1)).is_err());
        assert!(Options { init_opacity: 1.0, ..Options::stga() }.check().is_err());
        assert!(Options { opacity_lr: f32::NAN, ..Options::stga() }.check().is_err());
    }
}
