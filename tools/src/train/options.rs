//! Options of the methods from flags and TOML files, under the names of the published programs.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::Result;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use gav_models::stga::{Method, Options};
use serde_json::{Map, Value};

use crate::failure::{Failure, refuse};

/// Name and help. Defaults are those of [`Options::stga`] and [`Options::gaussian_avatars`].
const NAMES: &[(&str, &str)] = &[
    ("stage", "static (the neutral time step), dynamic (the sequence), or both; STGA"),
    ("iterations", "Steps of the dynamic stage"),
    ("static_iterations", "Steps of the static stage; STGA"),
    ("final_iterations", "Steps at the end in which all splats train, so that no seams stay; STGA"),
    ("seed", "Order of views and places of divided splats"),
    ("sh_degree", "Degree of spherical harmonics, 0 to 3"),
    ("sh_interval", "Steps after which their degree grows by one"),
    ("background", "white, black, or three numbers from 0 to 1 as [r, g, b]"),
    ("lambda_dssim", "Weight of 1 − SSIM; that of L1 is the rest"),
    ("lambda_xyz", "Weight of the hinge on local coordinates"),
    ("threshold_xyz", "What is free there"),
    ("metric_xyz", "Measure it in metres"),
    ("lambda_scale", "Weight of the hinge on local sizes"),
    ("threshold_scale", "What is free there"),
    ("metric_scale", "Measure it in metres"),
    ("position_lr_init", "Learning rate of local centres at the beginning, times the extent of the cameras"),
    ("position_lr_final", "The same at the end"),
    ("position_lr_max_steps", "Steps between the two"),
    ("feature_lr", "Learning rate of colours; a twentieth for harmonics"),
    ("opacity_lr", "Learning rate of opacities"),
    ("scaling_lr", "Learning rate of sizes"),
    ("rotation_lr", "Learning rate of rotations"),
    ("flame_expr_lr", "Learning rate of tracked expressions"),
    ("flame_trans_lr", "Learning rate of tracked translations"),
    ("flame_pose_lr", "Learning rate of tracked rotations"),
    ("finetune_flame", "Train the tracked parameters too"),
    ("densify", "Copy, divide and remove splats"),
    ("densify_from_iter", "First step of that"),
    ("densify_until_iter", "Last step of that"),
    ("densification_interval", "Steps between"),
    ("opacity_reset_interval", "Steps between resets of opacities"),
    ("densify_grad_threshold", "Mean gradient of a centre on the screen that calls for more splats"),
    ("percent_dense", "Size up to which splats are copied rather than divided, in extents of the cameras"),
    ("max_splats", "Splats that the training may grow to"),
    ("split_in_metres", "Move halves of divided splats as the published program of GaussianAvatars does"),
    ("frame", "Coordinates of splats on their triangle: stga (metres) or ga (sizes of the triangle)"),
    ("init_grid_k", "Begin with splats at a grid of so many steps along each edge; 0: one in the middle"),
    ("init_opacity", "Opacity they begin with"),
    ("select_threshold_mm", "Motion beyond which a vertex counts as moved by the expression, millimetres"),
    ("select_quantile", "Share of vertices that count as still, instead of that threshold; 0: the threshold"),
    ("select_min_vertices", "Moved vertices that make a face selected"),
    ("global_every", "Every so many blocks all splats train; 1: always, 0: never"),
    ("views_per_block", "Views of a block; 0: all of a time step"),
    ("block_passes", "How often a block is gone through"),
    (
        "freeze",
        "What becomes of splats that a block does not train: masked (stay as they are), release (go on by momentum, as published)",
    ),
    ("max_bad_steps", "Steps in a row without a finite gradient after which the training stops"),
];

/// Flags that were given.
#[derive(Debug, Clone, Default)]
pub(crate) struct Overrides(BTreeMap<&'static str, String>);

impl Overrides {
    #[cfg(test)]
    fn of(list: &[(&'static str, &str)]) -> Self {
        Self(list.iter().map(|(name, value)| (*name, (*value).to_owned())).collect())
    }

    /// None was given.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Was this one given?
    pub(crate) fn says(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The options of a method with what file and flags say.
    ///
    /// # Errors
    /// Files that cannot be read, names that do not exist, values that do not fit.
    pub(crate) fn apply(&self, method: Method, config: Option<&Path>) -> Result<Options> {
        let mut said: Map<String, Value> = Map::new();
        if let Some(path) = config {
            let text = fs::read_to_string(path)
                .map_err(|e| refuse(format!("{}: {e}", path.display()), "--config names a TOML file"))?;
            let table: Map<String, Value> = toml::from_str(&text).map_err(|e| {
                refuse(
                    format!("{}: {}", path.display(), e.to_string().trim_end()),
                    "it holds lines such as iterations = 50000",
                )
            })?;
            for (key, value) in table {
                let name = key.replace('-', "_");
                if !NAMES.iter().any(|(known, _)| *known == name) {
                    return Err(refuse(
                        format!("{}: there is no option `{key}`", path.display()),
                        "`gav train stga --help` lists them",
                    ));
                }
                said.insert(name, value);
            }
        }
        for (name, text) in &self.0 {
            said.insert((*name).to_owned(), value(text));
        }
        match said.get("background").and_then(Value::as_str) {
            Some("white") => drop(said.insert("background".into(), serde_json::json!([1.0, 1.0, 1.0]))),
            Some("black") => drop(said.insert("background".into(), serde_json::json!([0.0, 0.0, 0.0]))),
            _ => {}
        }
        let mut base = match method {
            Method::Stga => Options::stga(),
            Method::GaussianAvatars => Options::gaussian_avatars(),
        };
        if let Some(iterations) = said.get("iterations").and_then(Value::as_u64).and_then(|v| u32::try_from(v).ok()) {
            base = base.fitted(iterations);
        }
        let mut all = match serde_json::to_value(&base) {
            Ok(Value::Object(all)) => all,
            _ => Map::new(),
        };
        for (name, value) in &said {
            all.insert(name.clone(), value.clone());
            // one at a time, so that the one at fault is named
            serde_json::from_value::<Options>(Value::Object(all.clone()))
                .map_err(|e| refuse(format!("--{name} {value}: {e}"), "`gav train stga --help` says what it takes"))?;
        }
        let options: Options =
            serde_json::from_value(Value::Object(all)).map_err(|e| refuse(e.to_string(), "see --help"))?;
        options.check().map_err(|e| Failure { code: crate::failure::USAGE, message: e.to_string(), hint: None })?;
        Ok(options)
    }
}

/// Numbers, true, false and lists as JSON has them; anything else is a word.
fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        // f32 widened to f64 has digits that nobody wrote
        Value::Number(number) if number.is_f64() => format!("{}", number.as_f64().unwrap_or_default() as f32),
        Value::Array(_) => "white".to_owned(),
        other => other.to_string(),
    }
}

impl FromArgMatches for Overrides {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = NAMES.iter().filter_map(|(name, _)| Some((*name, matches.get_one::<String>(name)?.clone())));
        let mut all: BTreeMap<&'static str, String> = given.collect();
        if matches.get_flag("not_finetune_flame_params") {
            all.insert("finetune_flame", "false".to_owned());
        }
        Ok(Self(all))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Overrides {
    fn augment_args(command: Command) -> Command {
        let defaults =
            [Options::stga(), Options::gaussian_avatars()].map(|o| serde_json::to_value(o).unwrap_or_default());
        let mut command = command.next_help_heading("Options of the method");
        for (name, help) in NAMES {
            let [stga, ga] = defaults.each_ref().map(|d| shown(&d[*name]));
            let default = if stga == ga { stga } else { format!("{stga}; gaussian-avatars {ga}") };
            let mut arg = Arg::new(*name).long(*name).value_name("VALUE").help(format!("{help} [default: {default}]"));
            if name.contains('_') {
                arg = arg.alias(name.replace('_', "-"));
            }
            if defaults[0][*name].is_boolean() {
                arg = arg.num_args(0..=1).default_missing_value("true").require_equals(false);
            }
            command = command.arg(arg);
        }
        command
            .arg(
                Arg::new("not_finetune_flame_params")
                    .long("not_finetune_flame_params")
                    .alias("not-finetune-flame-params")
                    .action(clap::ArgAction::SetTrue)
                    .help("The same as --finetune_flame false"),
            )
            .next_help_heading(None)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_has_a_flag_and_every_flag_an_option() {
        let all = serde_json::to_value(Options::stga()).unwrap();
        let names: Vec<&str> = all.as_object().unwrap().keys().map(String::as_str).filter(|k| *k != "method").collect();
        assert_eq!(names.len(), NAMES.len());
        for name in names {
            assert!(NAMES.iter().any(|(known, _)| *known == name), "{name}");
        }
    }

    #[test]
    fn flags_win_over_the_file_and_steps_keep_their_proportion() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        fs::write(&path, "iterations = 25000\nscaling-lr = 0.5\nbackground = \"black\"\nfreeze = \"release\"\n")
            .unwrap();
        let flags = Overrides::of(&[("scaling_lr", "0.25"), ("densify", "false"), ("sh_degree", "2")]);
        let options = flags.apply(Method::Stga, Some(&path)).unwrap();
        assert_eq!(
            (options.iterations, options.static_iterations, options.position_lr_max_steps),
            (25_000, 2500, 17_500)
        );
        assert_eq!(
            (options.scaling_lr, options.densify, options.sh_degree, options.background),
            (0.25, false, 2, [0.0; 3])
        );
        let whole =
            Overrides::of(&[("iterations", "100"), ("static_iterations", "7")]).apply(Method::Stga, None).unwrap();
        assert_eq!((whole.iterations, whole.static_iterations), (100, 7));
        for (name, value, said) in
            [("freeze", "melt", "masked"), ("sh_degree", "x", "--sh_degree"), ("init_opacity", "1.0", "init_opacity")]
        {
            let error = Overrides::of(&[(name, value)]).apply(Method::Stga, None).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        fs::write(&path, "iteration = 3").unwrap();
        let error = Overrides::default().apply(Method::Stga, Some(&path)).unwrap_err().to_string();
        assert!(error.contains("no option `iteration`"), "{error}");
    }
}
