//! Reads configurations as they are published, over options that have every key there is.

use std::path::Path;

use gav_formats::Source;
use serde_json::Value;

use super::Options;
use crate::{Error, Result};

/// Other spellings of keys.
const ALIASES: [(&str, &str); 2] = [("position_lr_init", "position_lr"), ("rotation_b_lr_scale", "rotaion_b_lr_scale")];

impl Options {
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
