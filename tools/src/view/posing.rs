//! The rig at work: from what the page asks for to the splats of one instant.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Mutex, PoisonError},
};

use gav_formats::{Avatar, Pose, Splats};
use gav_kernels::psnr::displayed_splats;
use gav_models::{puppet::Puppet, template::Store};
use serde::Deserialize;

use crate::failure::Failure;

/// Numbers of one request: more than any rig has drivers.
const NUMBERS: usize = 4096;
/// Splats kept for poses to come; the page asks for two at a time.
const SPARE: usize = 4;

/// What the page asks for: a moment of a clip, and values that replace the clip's.
#[derive(Debug, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Wanted {
    /// Name of a clip.
    pub clip: Option<String>,
    /// Seconds from the start of the clip or of recorded frames.
    pub time: f64,
    /// Values by target, as in [`Pose`].
    pub values: BTreeMap<String, Vec<f32>>,
}

impl Wanted {
    /// Checks that the values are finite and not too many.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn check(&self) -> Result<(), String> {
        let count: usize = self.values.values().map(Vec::len).sum();
        if count > NUMBERS {
            return Err(format!("{count} numbers, at most {NUMBERS}"));
        }
        let mut all = self.values.iter().flat_map(|(target, values)| values.iter().map(move |v| (target, v)));
        match all.find(|(_, value)| !value.is_finite()) {
            Some((target, value)) => Err(format!("{target} is {value}")),
            None => Ok(()),
        }
    }
}

/// Poses the splats of one avatar.
pub(super) struct Poser<'a> {
    /// Missing when the avatar cannot be posed.
    puppet: Option<Puppet<'a>>,
    rest: Splats,
    problem: Option<Failure>,
    spare: Mutex<Vec<Splats>>,
}

impl<'a> Poser<'a> {
    /// Prepares `avatar`, which came from `path`. One that cannot be posed is shown at rest, and [`Poser::problem`] says why.
    ///
    /// `template`: name of the user's template to take instead of the one that the avatar refers to.
    ///
    /// # Errors
    /// Nothing can be shown, not even at rest.
    pub fn new(path: &Path, avatar: &'a Avatar, template: Option<&str>) -> Result<Self, Failure> {
        let puppet = match template {
            None => Puppet::open(avatar),
            Some(name) => Store::user()
                .and_then(|store| store.open_named(name))
                .and_then(|(_, _, body)| Puppet::new(avatar, Some(body))),
        };
        let (puppet, rest, problem) = match puppet {
            Ok(puppet) => {
                let rest = puppet.rest().clone();
                (Some(puppet), rest, None)
            }
            Err(error) => {
                // the page has no use for the folders on the way to the file
                let problem = Failure::of(path.file_name().map(Path::new), &error);
                // where there is no rest pose either, the reason is the same
                let rest = displayed_splats(avatar).map_err(|_| problem.clone())?.into_owned();
                (None, rest, Some(problem))
            }
        };
        Ok(Self { puppet, rest, problem, spare: Mutex::default() })
    }

    /// The splats at rest.
    pub fn rest(&self) -> &Splats {
        &self.rest
    }

    /// Why the avatar does not move.
    pub fn problem(&self) -> Option<&Failure> {
        self.problem.as_ref()
    }

    pub fn puppet(&self) -> Option<&Puppet<'a>> {
        self.puppet.as_ref()
    }

    /// Lets `use_them` have the splats of the wanted moment, and the pose that made them.
    ///
    /// # Errors
    /// A clip that is not there, values that the rig refuses, an avatar that does not move.
    pub fn pose<T>(&self, wanted: Wanted, use_them: impl FnOnce(&Splats, &Pose) -> T) -> Result<T, Failure> {
        let failed = |e: gav_models::Error| Failure::of(None, &e);
        let Some(puppet) = &self.puppet else {
            let message = "this avatar cannot be posed".to_owned();
            return Err(self.problem.clone().unwrap_or(Failure { code: "NOT_POSSIBLE", message, hint: None }));
        };
        let clip = wanted.clip.as_deref().map(|name| puppet.clip(name)).transpose().map_err(failed)?;
        let mut pose = puppet.pose_of(clip, wanted.time);
        for (target, values) in wanted.values {
            pose.set(target, values);
        }
        // the arrays of an earlier pose: a fresh copy of all splats would take longer than posing them
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut splats = spare.unwrap_or_else(|| self.rest.clone());
        puppet.pose_into(&pose, &mut splats).map_err(failed)?;
        let result = use_them(&splats, &pose);
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE {
            spare.push(splats);
        }
        Ok(result)
    }
}
