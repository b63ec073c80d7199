//! Everything that can be set about a training: the keys of the published `offline.yaml` and `online.yaml`, with their values.

use std::{ops::Range, path::Path};

use gav_formats::Source;
use serde::{Deserialize, Serialize};
use serde_json::Value;

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
    #[serde(alias = "position_lr_init")]
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
    #[serde(rename = "rotaion_b_lr_scale", alias = "rotation_b_lr_scale")]
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

/// Other spellings of keys.
const ALIASES: [(&str, &str); 2] = [("position_lr_init", "position_lr"), ("rotation_b_lr_scale", "rotaion_b_lr_scale")];

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

    /// Reads a YAML file (JSON is YAML too) over these options: what it does not name stays.
    ///
    /// # Errors
    /// Files that cannot be read and are no YAML; keys that there are none of, by their path; values of the wrong kind; and what
    /// [`Options::check`] refuses.
    pub fn read(self, path: &Path) -> Result<Self> {
        let source = Source::open(path)?;
        let naming = |what: String| Error::usage(format!("{}: {what}", path.display()));
        // a configuration has 2 kB
        if source.len() > 1 << 20 {
            return Err(naming(format!("{} bytes are no configuration", source.len())));
        }
        let text = std::str::from_utf8(&source).map_err(|_| naming("no UTF-8 text".to_owned()))?;
        let named = |e: Error| naming(e.to_string());
        let options = self.with_yaml(text).map_err(named)?;
        options.check().map_err(named)?;
        Ok(options)
    }

    /// As [`Options::read`], from text, and without the check.
    ///
    /// # Errors
    /// As there.
    pub fn with_yaml(self, text: &str) -> Result<Self> {
        let wrong = |what: &dyn ToString| {
            let text = what.to_string();
            Error::usage(text.lines().next().unwrap_or_default().to_owned())
        };
        let file: Value = serde_saphyr::from_str(text).map_err(|e| wrong(&e))?;
        let mut all = serde_json::to_value(&self).map_err(|e| wrong(&e))?;
        merge(&mut all, file, "")?;
        serde_json::from_value(all).map_err(|e| wrong(&e))
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

/// Puts the values of `file` in the place of those of `all`, which has every key there is.
fn merge(all: &mut Value, file: Value, path: &str) -> Result<()> {
    let (known, given) = match (all, file) {
        (Value::Object(known), Value::Object(given)) => (known, given),
        (Value::Object(_), Value::Null) => return Ok(()),
        (Value::Object(_), _) => {
            let what = if path.is_empty() { "the file".to_owned() } else { format!("`{path}`") };
            return Err(Error::usage(format!("{what} is no list of keys")));
        }
        (value, given) => {
            *value = number(given);
            return Ok(());
        }
    };
    for (key, value) in given {
        let name = ALIASES.iter().find(|(other, _)| *other == key).map_or(key.as_str(), |(_, name)| name);
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let Some(slot) = known.get_mut(name) else {
            let names: Vec<&str> = known.keys().map(String::as_str).collect();
            return Err(Error::usage(format!("there is no key `{path}`; here are {}", names.join(", "))));
        };
        merge(slot, value, &path)?;
    }
    Ok(())
}

/// `50_000` and `1e-3` are numbers to the YAML 1.1 of the published program, and texts to YAML 1.2.
fn number(value: Value) -> Value {
    match value {
        Value::String(text) if text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) => {
            let plain = text.replace('_', "");
            let whole = plain.parse::<i64>().ok().map(Value::from);
            let parsed = whole.or_else(|| plain.parse::<f64>().ok().map(Value::from));
            parsed.unwrap_or(Value::String(text))
        }
        Value::Array(values) => Value::Array(values.into_iter().map(number).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written from the table of keys, with the notations that the published files use.
    const OFFLINE: &str = "\
data_dir: /data/INSTA   # yours
output_dir: ./output/
template_type: Flame
dataset:
  pin_memory: True
  use_shape_weight: True
  use_pose_weight: True
model:
  tex_size: 256
  num_basis_in: 129
  num_basis_blend: 20
  use_blend: True
  use_weight_proj: True
  use_mlp_proj: True
  init_scaling: 0.0008
  init_opacity: 0.5
train:
  batch_size: 10
  iteration: 50_000
  recon:
    blend_start_iter: 3000
    use_fast_forward: True
    random_bg_color: True
    bg_color: [0, 0, 0]
    scene_extent: 1.0
    position_lr: 0.0008
    position_lr_final: 0.000008
    position_lr_delay_mult: 0.01
    position_lr_max_steps: 30_000
    opacity_lr: 0.25
    scaling_lr: 0.025
    rotation_lr: 0.005
    feature_lr: 0.0125
    position_b_lr_scale: 0.05
    rotaion_b_lr_scale: 0.5
    feature_b_lr_scale: 0.5
    weight_module_lr: 0.001
    lambda_l1: 1
    lambda_ssim: 0
    lambda_lpips: 0
    lambda_alpha: 0
    lambda_sparsity: 0
    lambda_orth: 0.0
";

    #[test]
    fn the_published_files_are_read_as_they_are() {
        let read = Options::offline().with_yaml(OFFLINE).unwrap();
        let named = |options: Options| Options {
            data_dir: Some("/data/INSTA".to_owned()),
            output_dir: Some("./output/".to_owned()),
            ..options
        };
        assert_eq!(read, named(Options::offline()));
        assert_eq!((read.steps(), read.dataset.inputs()), (5000, 0..129));
        let sampler = "  batch_size: 10\n  post_process: False\n  sampler:\n    local_pool_max_size: 150\n    global_pool_max_size: 1000\n    \
            max_global_ratio: 0.7\n    local_sample_coef: 1.0\n    force_opt_current: False\n    force_local: False\n    force_global: False\n";
        let online = OFFLINE
            .replace("  batch_size: 10\n  iteration: 50_000\n", sampler)
            .replace("blend_start_iter: 3000", "blend_start_iter: 0")
            .replace("    lambda_orth: 0.0\n", "");
        assert_eq!(Options::online().with_yaml(&online).unwrap(), named(Options::online()));
        read.check().unwrap();
        // what is written as JSON is read again
        let text = serde_json::to_string(&read).unwrap();
        assert_eq!(Options::online().with_yaml(&text).unwrap(), read);
    }

    #[test]
    fn other_notations_and_empty_sections() {
        let text = "dataset:\n  HQ: true\ntrain:\n  iteration: 300_000\n  sampler:\n  recon:\n    position_lr_init: 1.6e-4\n    position_lr_final: 1e-6\n";
        let read = Options::offline().with_yaml(text).unwrap();
        assert!(read.dataset.hq);
        assert_eq!((read.train.iteration, read.train.recon.position_lr), (300_000, 1.6e-4));
        assert_eq!(read.train.recon.position_lr_final, 1e-6);
        assert_eq!(Options::offline().with_yaml("").unwrap(), Options::offline());
    }

    #[test]
    fn a_file_is_named_when_it_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        std::fs::write(&path, OFFLINE).unwrap();
        let read = || Options::offline().read(&path);
        assert_eq!(read().unwrap().train.iteration, 50_000);
        for text in [&b"train: {batch_size: 0}"[..], b"\xff\xfe", &[b'#'; 2 << 20], b"trane: {}"] {
            std::fs::write(&path, text).unwrap();
            assert!(read().unwrap_err().to_string().contains("config.yaml"));
        }
        std::fs::remove_file(&path).unwrap();
        assert!(read().is_err());
    }

    #[test]
    fn wrong_files_name_what_is_wrong() {
        let said = |text: &str| {
            let read = Options::offline().with_yaml(text).and_then(|o| o.check());
            read.expect_err(text).to_string()
        };
        assert!(said("train:\n  recon:\n    lambda_l2: 1\n").contains("`train.recon.lambda_l2`"));
        assert!(said("modle:\n  tex_size: 1\n").contains("`modle`"));
        assert!(said("model: 3\n").contains("`model`"));
        assert!(said("- 1\n").contains("list of keys"));
        assert!(said("model:\n  tex_size: large\n").contains("large"));
        assert!(said("model:\n  tex_size: 64\n  tex_size: 128\n").contains("uplicate"));
        assert!(said("model:\n  num_basis_in: 130\n").contains("129"));
        assert!(said("dataset:\n  use_pose_weight: False\n").contains("100"));
        assert!(said("train:\n  recon:\n    lambda_lpips: 0.1\n").contains("lambda_lpips"));
        assert!(said("train:\n  recon:\n    opacity_lr: -1\n").contains("opacity_lr"));
        assert!(said("template_type: FuHead\n").contains("FuHead"));
        assert!(said("a: [1\n").len() > 5);
        let bomb = "a: &a [1,1,1,1,1,1,1,1,1]\n".to_owned()
            + &(0..12)
                .map(|k| {
                    format!(
                        "b{k}: &b{k} [{}]\n",
                        vec![format!("*{}", if k == 0 { "a".to_owned() } else { format!("b{}", k - 1) }); 9].join(",")
                    )
                })
                .collect::<String>();
        assert!(!said(&bomb).is_empty());
    }
}
