//! Options that pose an avatar: a clip, an instant of it, single drivers.

use std::str::FromStr;

use clap::Args;
use gav_formats::{Avatar, Pose, RigBase};
use gav_models::puppet::Puppet;

use crate::failure::{Failure, USAGE};

/// How the asset is posed; at rest when nothing is given.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Motion")]
pub(crate) struct MotionArguments {
    /// Pose by this clip of the asset (`gav info` lists them)
    #[arg(long, value_name = "NAME")]
    pub clip: Option<String>,
    /// Instant in seconds, of the clip or of recorded frames
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub time: Option<f64>,
    /// Set a driver, a parameter group or a joint, over the clip if there is one: arkit.jawOpen=0.7, flame.jaw_pose=0.2,0,0,
    /// joint/neck/rotation=0.98,0,0.2,0 (several times; `gav info` lists the drivers)
    #[arg(long, value_name = "NAME=VALUE")]
    pub set: Vec<Setting>,
}

/// One `NAME=VALUE,…`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Setting {
    name: String,
    values: Vec<f32>,
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is no NAME=VALUE with numbers separated by commas, such as arkit.jawOpen=0.7");
        let (name, values) = text.split_once('=').ok_or_else(bad)?;
        let number = |v: &str| v.trim().parse::<f32>().ok().filter(|v| v.is_finite());
        let values: Vec<f32> = values.split(',').map(number).collect::<Option<_>>().ok_or_else(bad)?;
        if name.trim().is_empty() {
            return Err(bad());
        }
        Ok(Self { name: name.trim().to_owned(), values })
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| format!("`{text}` is no number of seconds"))?;
    if value.is_finite() && value >= 0.0 { Ok(value) } else { Err(format!("{text} is no time: 0 or more seconds")) }
}

impl MotionArguments {
    /// True when the asset is not simply shown at rest.
    pub(crate) fn is_given(&self) -> bool {
        self.clip.is_some() || self.time.is_some() || !self.set.is_empty()
    }

    /// True when there is an instant for every picture.
    pub(crate) fn plays(&self) -> bool {
        self.clip.is_some() && self.time.is_none()
    }

    /// The pose at a time; everything that was set by hand must exist.
    ///
    /// # Errors
    /// An unknown clip or name, with those that are known.
    pub(crate) fn pose(&self, puppet: &Puppet<'_>, seconds: f64) -> Result<Pose, Failure> {
        let clip = self.clip.as_deref().map(|name| puppet.clip(name)).transpose();
        let clip = clip.map_err(|e| Failure::of(None, &e))?;
        let mut pose = puppet.pose_of(clip, self.time.unwrap_or(seconds));
        let mut set = Pose::default();
        self.set.iter().for_each(|s| set.set(s.name.clone(), s.values.clone()));
        if let Some(name) = puppet.unknown_targets(&set).first() {
            let mut known: Vec<String> =
                puppet.controls().into_iter().flat_map(|g| g.controls).map(|c| c.name).collect();
            if let RigBase::Skinned { skeleton, .. } = &puppet.avatar().rig.base {
                known.extend(skeleton.joints.iter().map(|j| format!("joint/{}/rotation", j.name)));
            }
            let message = format!("nothing in this asset is driven by `{name}`");
            let hint = match known.is_empty() {
                true => "it has no rig".to_owned(),
                false => {
                    let some = known.iter().take(8).cloned().collect::<Vec<_>>().join(", ");
                    format!("known are {some}{}", if known.len() > 8 { " …" } else { "" })
                }
            };
            return Err(Failure { code: USAGE, message, hint: Some(hint) });
        }
        pose.extend(set);
        Ok(pose)
    }

    /// Seconds that the motion lasts.
    ///
    /// # Errors
    /// An unknown clip.
    pub(crate) fn duration(&self, puppet: &Puppet<'_>) -> Result<f64, Failure> {
        match &self.clip {
            Some(name) => Ok(puppet.clip(name).map_err(|e| Failure::of(None, &e))?.seconds()),
            None => Ok(puppet.recorded_seconds().unwrap_or(0.0)),
        }
    }
}

/// The puppet of an asset at `path`.
pub(crate) fn puppet<'a>(path: &std::path::Path, avatar: &'a Avatar) -> Result<Puppet<'a>, Failure> {
    Puppet::open(avatar).map_err(|e| Failure::of(Some(path), &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_names_and_numbers() {
        let setting: Setting = "flame.jaw_pose = 0.2, 0,-1".parse().unwrap();
        assert_eq!(setting, Setting { name: "flame.jaw_pose".into(), values: vec![0.2, 0.0, -1.0] });
        for wrong in ["", "a", "=1", "a=", "a=x", "a=1,,2", "a=inf"] {
            assert!(wrong.parse::<Setting>().is_err(), "{wrong}");
        }
    }
}
