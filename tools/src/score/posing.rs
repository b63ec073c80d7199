//! Avatars posed as the views of a capture say, for the protocols of head avatars: new views, self-reenactment, cross-reenactment.

use std::{
    cell::RefCell,
    fs,
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use gav_formats::{Avatar, Camera, Clip, ColorSpace, Error, Frame, Pose, Splats, cameras::View};
use gav_kernels::raster::Settings;
use gav_models::{
    capture::{Capture, Split, parameters},
    puppet::Puppet,
};

use super::{decode::Picture, draw::draw};
use crate::{device::Painter, failure::Failure};

/// What poses an avatar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PosedBy {
    /// Parameters that the capture was tracked with; the clip where it has none
    Capture,
    /// The avatar's own clip at the time step of the view: parameters that were refined in training count
    Clip,
}

/// Splits of --split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Views that were trained on
    Train,
    /// New views of times that were trained on
    Val,
    /// Times that were not trained on: self-reenactment
    Test,
}

impl Part {
    pub(crate) fn split(self) -> Split {
        match self {
            Self::Train => Split::Train,
            Self::Val => Split::Val,
            Self::Test => Split::Test,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
            Self::Test => "test",
        }
    }
}

/// How one view poses an avatar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Posing {
    /// Tracked parameters, without the identity of who was tracked.
    Tracked(PathBuf),
    /// So many time steps after the first of the capture, which is tick 0 of the avatar's clip.
    Clip(u32),
}

/// Parts of a pose that belong to a subject: an avatar keeps its own.
const IDENTITY: [&str; 4] = ["flame.shape", "flame.static_offset", "smplx.betas", "smpl.betas"];
/// The clip of a training on a capture; an avatar with a single clip may call it anything.
const CLIP: &str = "tracked";

impl Posing {
    /// Of a view of `capture`; `None` when it has neither parameters nor a time step.
    pub(crate) fn of(capture: &Capture, view: &View, by: PosedBy) -> Option<Self> {
        match (&view.parameters, by) {
            (Some(path), PosedBy::Capture) => Some(Self::Tracked(path.clone())),
            _ => Some(Self::Clip(view.timestep? - capture.timesteps().first()?)),
        }
    }

    /// What decides the pose, for the cache.
    pub(crate) fn key(&self) -> Result<String, Failure> {
        match self {
            Self::Tracked(path) => {
                let bytes = fs::read(path).map_err(|e| Failure::at(path, &Error::io(path, e)))?;
                Ok(format!("tracked {}", blake3::hash(&bytes).to_hex()))
            }
            Self::Clip(tick) => Ok(format!("clip {tick}")),
        }
    }

    fn pose(&self, puppet: &Puppet<'_>) -> Result<Pose, Failure> {
        match self {
            Self::Tracked(path) => {
                let tracked = parameters(path).map_err(|e| Failure::of(Some(path), &e))?;
                let mut pose = Pose::default();
                tracked.iter().filter(|(name, _)| !IDENTITY.contains(name)).for_each(|(name, v)| pose.set(name, v));
                Ok(pose)
            }
            Self::Clip(tick) => {
                let clip = clip(&puppet.avatar().clips)?;
                let rate = f64::from(clip.ticks_per_second.max(1));
                let last = clip.tracks.iter().filter_map(|t| t.ticks.last()).max().copied().unwrap_or(0);
                if *tick > last {
                    let message = format!(
                        "time step {tick} after the first is beyond the clip `{}`, which ends at {last}",
                        clip.name
                    );
                    return Err(Failure { code: "NO_POSE", message, hint: None });
                }
                Ok(puppet.pose_of(Some(clip), f64::from(*tick) / rate))
            }
        }
    }
}

fn clip(clips: &[Clip]) -> Result<&Clip, Failure> {
    let named = clips.iter().find(|c| c.name == CLIP);
    let only = clips.first().filter(|_| clips.len() == 1);
    named.or(only).ok_or_else(|| Failure {
        code: "NO_POSE",
        message: format!("the avatar has {} clips and none is called `{CLIP}`", clips.len()),
        hint: Some("captures with tracked parameters pose any avatar of their template".to_owned()),
    })
}

/// An avatar that can be posed, and how it is drawn.
pub(crate) struct Posable<'a> {
    puppet: Puppet<'a>,
    settings: Settings,
    space: ColorSpace,
    frame: Option<Frame>,
    /// What was posed last: the views of a time step follow each other.
    last: RefCell<Option<(Posing, Splats)>>,
}

impl<'a> Posable<'a> {
    /// An avatar with its template, in the axes of `frame`.
    pub(crate) fn of(path: &Path, avatar: &'a Avatar, frame: Option<Frame>) -> Result<Self, Failure> {
        let puppet = Puppet::open(avatar).map_err(|e| Failure::of(Some(path), &e))?;
        let (settings, space) = (avatar.render_model.into(), avatar.color_space);
        Ok(Self { puppet, settings, space, frame: frame.filter(|f| *f != avatar.frame), last: RefCell::new(None) })
    }

    /// What `camera` sees of the posed avatar.
    pub(crate) fn draw(
        &self,
        path: &Path,
        posing: &Posing,
        camera: &Camera,
        background: [f32; 3],
        painter: &Painter,
    ) -> Result<Picture, Failure> {
        let mut last = self.last.borrow_mut();
        let splats = match last.take().filter(|(known, _)| known == posing) {
            Some((_, splats)) => splats,
            None => self.posed(path, posing)?,
        };
        let (_, splats) = last.insert((posing.clone(), splats));
        draw((splats, &self.settings, self.space), path, camera, background, painter)
    }

    fn posed(&self, path: &Path, posing: &Posing) -> Result<Splats, Failure> {
        let pose = posing.pose(&self.puppet)?;
        let splats = self.puppet.pose(&pose).map_err(|e| Failure::of(Some(path), &e))?;
        let Some(frame) = self.frame else { return Ok(splats) };
        let mut turned = Avatar::new(splats, self.puppet.avatar().frame);
        turned.reframe(frame).map_err(|e| Failure::at(path, &e))?;
        Ok(turned.splats)
    }
}
