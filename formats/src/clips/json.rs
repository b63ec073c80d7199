//! A clip as JSON, key for key: `{"name", "ticks_per_second", "tracks": [{"target", "width", "interpolation", "ticks", "values"}]}`.

use serde::{Deserialize, Serialize};

use super::{Clip, ClipOptions, Interpolation, Track, bad, input::Input};
use crate::{Error, Result};

#[derive(Serialize, Deserialize)]
struct Document {
    #[serde(default)]
    name: String,
    ticks_per_second: u32,
    tracks: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    target: String,
    width: u32,
    #[serde(default)]
    interpolation: Way,
    ticks: Vec<u32>,
    values: Vec<f32>,
}

#[derive(Serialize, Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Way {
    Step,
    #[default]
    Linear,
    Slerp,
}

impl From<Interpolation> for Way {
    fn from(way: Interpolation) -> Self {
        match way {
            Interpolation::Step => Self::Step,
            Interpolation::Linear => Self::Linear,
            Interpolation::Slerp => Self::Slerp,
        }
    }
}

impl From<Way> for Interpolation {
    fn from(way: Way) -> Self {
        match way {
            Way::Step => Self::Step,
            Way::Linear => Self::Linear,
            Way::Slerp => Self::Slerp,
        }
    }
}

/// The clip as text.
pub(super) fn to_text(clip: &Clip) -> Result<String> {
    let tracks = clip.tracks.iter().map(|track| Entry {
        target: track.target.clone(),
        width: track.width,
        interpolation: track.interpolation.into(),
        ticks: track.ticks.clone(),
        values: track.values.clone(),
    });
    let document =
        Document { name: clip.name.clone(), ticks_per_second: clip.ticks_per_second, tracks: tracks.collect() };
    serde_json::to_string(&document).map_err(|e| Error::usage(format!("clip `{}` cannot be written: {e}", clip.name)))
}

pub(super) fn sniff(input: &Input) -> bool {
    let text = input.bytes().trim_ascii_start();
    // a glTF has no tracks, and these two keys come first in ours
    input.has_ending("json") && text.starts_with(b"{") && text.windows(18).any(|w| w == b"\"ticks_per_second\"")
}

pub(super) fn read(input: &Input, options: &ClipOptions) -> Result<Vec<Clip>> {
    // a number takes at least two characters and four bytes
    options.limits.check_bytes(2 * input.bytes().len() as u64)?;
    options.limits.check_json_depth(input.bytes())?;
    let document: Document =
        serde_json::from_slice(input.bytes()).map_err(|e| Error::format("clip", "JSON", 0, e.to_string()))?;
    if document.ticks_per_second == 0 {
        return Err(bad("0 ticks per second"));
    }
    let tracks = document.tracks.into_iter().map(|entry| Track {
        target: entry.target,
        width: entry.width,
        interpolation: entry.interpolation.into(),
        ticks: entry.ticks,
        values: entry.values,
    });
    Ok(vec![Clip { name: document.name, ticks_per_second: document.ticks_per_second, tracks: tracks.collect() }])
}
