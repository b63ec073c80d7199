//! Options that change clips on their way: rate, part, map, form, rest.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Args, ValueEnum};
use gav_formats::{
    Avatar, Clip, DriverMap, Limits, Pose, Source,
    clips::{self, ClipOptions, Part, Rotations},
};

use crate::failure::{Failure, refuse};

/// How clips are changed, in this order: rate, rest, span, map, parts, form.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Changes")]
pub(super) struct Changes {
    /// Frames a second: of recordings that do not say (else 25 of trackers, 30 of others); all others are resampled to it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=90_000))]
    pub fps: Option<u32>,
    /// Only the part from this second on
    #[arg(long, value_name = "SECONDS")]
    from: Option<f64>,
    /// Only the part up to this second
    #[arg(long, value_name = "SECONDS")]
    to: Option<f64>,
    /// Linear map between drivers: a file (JSON, CSV, .npz), or the name of a map inside of the avatar
    #[arg(long, value_name = "MAP")]
    map: Option<String>,
    /// Only these: expression, jaw, eyes, neck, root, body, hands, identity, camera
    #[arg(long, value_name = "PARTS", value_delimiter = ',')]
    only: Vec<Part>,
    /// Form of the rotations of FLAME's joints [default: as the avatar takes them]
    #[arg(long, value_enum, value_name = "FORM")]
    rotations: Option<Form>,
    /// Second at which the recorded person rests: what is seen then is taken away
    #[arg(long, value_name = "SECONDS")]
    neutral: Option<f64>,
    /// Also take the shape of who was recorded, as tracks of one key
    #[arg(long)]
    identity: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
enum Form {
    /// Rotation vectors, as GaussianAvatars takes them
    AxisAngle,
    /// Two rows of the matrix, as RGBAvatar takes them
    #[value(name = "6d")]
    SixD,
}

impl Changes {
    /// What is needed once for all clips.
    ///
    /// # Errors
    /// A map that cannot be read or is not there.
    pub(super) fn prepare(&self, avatar: Option<&Avatar>) -> Result<Prepared<'_>> {
        let map = match &self.map {
            None => None,
            Some(name) => Some(match avatar.and_then(|a| a.driver_maps.iter().find(|map| map.name == *name)) {
                Some(map) => map.clone(),
                None => read_map(Path::new(name), avatar)?,
            }),
        };
        let rotations = match self.rotations {
            Some(Form::AxisAngle) => Some(Rotations::AxisAngle),
            Some(Form::SixD) => Some(Rotations::SixD),
            None => avatar.and_then(rotations_of),
        };
        Ok(Prepared { changes: self, map, rotations })
    }

    pub(super) fn options(&self, limits: &Limits) -> ClipOptions {
        ClipOptions { name: None, fps: self.fps, identity: self.identity, limits: limits.clone() }
    }
}

fn read_map(path: &Path, avatar: Option<&Avatar>) -> Result<DriverMap> {
    if !path.exists()
        && let Some(avatar) = avatar
    {
        let names: Vec<&str> = avatar.driver_maps.iter().map(|map| map.name.as_str()).collect();
        let known = if names.is_empty() { "it has none".to_owned() } else { format!("it has {}", names.join(", ")) };
        let message = format!("{}: neither a file nor a map inside of the avatar", path.display());
        return Err(refuse(message, format!("{known}; see `gav clip --help` for the files")));
    }
    let source = Source::open(path).map_err(|e| Failure::at(path, &e))?;
    Ok(clips::read_map(&source, &Limits::default()).map_err(|e| Failure::at(path, &e))?)
}

/// The form that the avatar's drivers ask for; `None` when it is not driven by FLAME.
fn rotations_of(avatar: &Avatar) -> Option<Rotations> {
    use gav_formats::TemplateFamily::{Flame2020, Flame2023};
    if avatar.drivers.iter().any(|driver| driver.name.starts_with("flame.jaw_6d.")) {
        return Some(Rotations::SixD);
    }
    let flame = avatar.template.as_ref().is_some_and(|t| matches!(t.family, Flame2020 | Flame2023));
    flame.then_some(Rotations::AxisAngle)
}

/// [`Changes`] with their files read.
pub(super) struct Prepared<'a> {
    changes: &'a Changes,
    map: Option<DriverMap>,
    rotations: Option<Rotations>,
}

/// Expression coefficients of every FLAME.
const EXPRESSIONS: usize = 100;

impl Prepared<'_> {
    /// All clips of the recording at `path`, changed.
    pub(super) fn read(&self, path: &Path, limits: &Limits) -> Result<Vec<Clip>, Failure> {
        let clips = clips::read(path, &self.changes.options(limits)).map_err(|error| {
            let mut failure = Failure::at(path, &error);
            if failure.code == "UNKNOWN_FORMAT" {
                failure.hint = Some("`gav clip --help` says which recordings are known".to_owned());
            }
            failure
        })?;
        clips.iter().map(|clip| self.apply(clip).map_err(|e| Failure::at(path, &e))).collect()
    }

    fn apply(&self, clip: &Clip) -> gav_formats::Result<Clip> {
        let changes = self.changes;
        let mut clip = clip.clone();
        let rest = changes.neutral.map(|seconds| clip.pose_at(seconds));
        if let Some(rest) = &rest {
            clip = clips::relative_to_neutral(&clip, rest, &Pose::default())?;
        }
        if changes.from.is_some() || changes.to.is_some() {
            clip = clip.trimmed(changes.from.unwrap_or(0.0), changes.to.unwrap_or_else(|| clip.seconds()))?;
        }
        if let Some(map) = &self.map {
            clip = clips::apply_map(&clip, map)?;
        }
        if !changes.only.is_empty() {
            clip = clips::only(&clip, &changes.only)?;
        }
        if self.rotations.is_some() {
            clip = clips::fit_flame(&clip, EXPRESSIONS, self.rotations)?;
        }
        Ok(clip)
    }
}

/// A clip as people read it: `talk: 4.2 s, 30 keys a second, 6 tracks (flame.expression × 100, …)`.
pub(super) fn describe(clip: &Clip) -> String {
    use crate::text::{plural, seconds};
    let shown = clip.tracks.iter().take(4).map(|track| match track.width {
        1 => track.target.clone(),
        width => format!("{} × {width}", track.target),
    });
    let shown: Vec<String> = shown.collect();
    let more = if clip.tracks.len() > shown.len() { ", …" } else { "" };
    format!(
        "{}: {}, {} ticks a second, {} ({}{more})",
        clip.name,
        seconds(clip.seconds()),
        clip.ticks_per_second,
        plural(clip.tracks.len(), "track"),
        shown.join(", ")
    )
}

/// The same for programs.
pub(super) fn facts(clip: &Clip) -> serde_json::Value {
    let tracks = clip
        .tracks
        .iter()
        .map(|track| serde_json::json!({"target": track.target, "width": track.width, "keys": track.ticks.len()}));
    serde_json::json!({"name": clip.name, "seconds": clip.seconds(), "ticks_per_second": clip.ticks_per_second,
        "tracks": tracks.collect::<Vec<_>>()})
}

/// The output must not replace a file unless the user says so.
pub(super) fn check_free(path: &Path, force: bool, input: &[PathBuf]) -> Result<()> {
    let own = |other: &PathBuf| matches!((other.canonicalize(), path.canonicalize()), (Ok(a), Ok(b)) if a == b);
    if path.symlink_metadata().is_ok() && !force && !input.iter().any(own) {
        return Err(refuse(format!("{} exists", path.display()), "--force overwrites it"));
    }
    Ok(())
}
