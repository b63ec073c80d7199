//! Live Link Face: a CSV of ARKit's blendshapes with head and eyes, a row a frame.
//!
//! `Timecode` is `hours:minutes:seconds:frames.fraction` at the rate of the timecode, which the file does not say: it is the lowest of 24,
//! 25, 30 and 60 that is above all frame numbers, or 60 for recordings under two seconds. The fraction says when within its frame the
//! camera looked; keys are put on whole frames. Blendshapes become `arkit.jawOpen` …, angles (radians) `arkit.headYaw`,
//! `arkit.leftEyePitch` ….

use super::{
    Clip, ClipOptions, bad,
    input::Input,
    table::{self, Table},
};
use crate::{Error, Result};

/// The blendshape locations of ARKit's `ARFaceAnchor`, in the order of its documentation and of Live Link Face.
#[rustfmt::skip]
pub const ARKIT: [&str; 52] = [
    "eyeBlinkLeft", "eyeLookDownLeft", "eyeLookInLeft", "eyeLookOutLeft", "eyeLookUpLeft", "eyeSquintLeft", "eyeWideLeft",
    "eyeBlinkRight", "eyeLookDownRight", "eyeLookInRight", "eyeLookOutRight", "eyeLookUpRight", "eyeSquintRight",
    "eyeWideRight", "jawForward", "jawLeft", "jawRight", "jawOpen", "mouthClose", "mouthFunnel", "mouthPucker",
    "mouthLeft", "mouthRight", "mouthSmileLeft", "mouthSmileRight", "mouthFrownLeft", "mouthFrownRight",
    "mouthDimpleLeft", "mouthDimpleRight", "mouthStretchLeft", "mouthStretchRight", "mouthRollLower", "mouthRollUpper",
    "mouthShrugLower", "mouthShrugUpper", "mouthPressLeft", "mouthPressRight", "mouthLowerDownLeft",
    "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight", "browDownLeft", "browDownRight", "browInnerUp",
    "browOuterUpLeft", "browOuterUpRight", "cheekPuff", "cheekSquintLeft", "cheekSquintRight", "noseSneerLeft",
    "noseSneerRight", "tongueOut",
];

const ANGLES: [&str; 9] = [
    "headYaw",
    "headPitch",
    "headRoll",
    "leftEyeYaw",
    "leftEyePitch",
    "leftEyeRoll",
    "rightEyeYaw",
    "rightEyePitch",
    "rightEyeRoll",
];

/// Driver of a column or blendshape: `arkit.NAME` for those of ARKit in any usual spelling, `None` for others.
pub(super) fn driver(name: &str) -> Option<String> {
    let name = name.strip_prefix("arkit.").unwrap_or(name);
    let mut letters = name.chars();
    let mut name: String = letters.next()?.to_lowercase().chain(letters).collect();
    for (short, long) in [("_L", "Left"), ("_R", "Right")] {
        if let Some(stem) = name.strip_suffix(short) {
            name = format!("{stem}{long}");
        }
    }
    (ARKIT.contains(&name.as_str()) || ANGLES.contains(&name.as_str())).then(|| format!("arkit.{name}"))
}

pub(super) fn sniff(input: &Input) -> bool {
    input.has_ending("csv") && table::header(input.bytes()).is_some_and(|h| h.iter().any(|c| c == "Timecode"))
}

pub(super) fn read(input: &Input, options: &ClipOptions) -> Result<Vec<Clip>> {
    let table = Table::parse(input.bytes(), &options.limits)?;
    let column = |wanted: &str| table.names.iter().position(|name| name == wanted);
    let timecode = column("Timecode").ok_or_else(|| bad("no column `Timecode`"))?;
    let codes = table.rows.iter().enumerate();
    let codes = codes.map(|(row, cells)| {
        Timecode::parse(&cells[timecode])
            .ok_or_else(|| bad(format!("row {}: `{:.40}` is no timecode", row + 1, &cells[timecode])))
    });
    let codes = codes.collect::<Result<Vec<_>>>()?;
    let fps = rate(&codes);
    let first = codes.first().map_or(0, |code| code.frame_number(fps));
    let day = 24 * 3600 * i64::from(fps);
    let mut seconds = Vec::with_capacity(codes.len());
    for (row, code) in codes.iter().enumerate() {
        let mut frame = code.frame_number(fps) - first;
        // a recording over midnight
        if frame < -day / 2 {
            frame += day;
        }
        if frame < 0 {
            return Err(bad(format!("row {} is {} frames before the first", row + 1, -frame)));
        }
        seconds.push(frame as f64 / f64::from(fps));
    }
    let columns: Vec<(String, usize)> =
        table.names.iter().enumerate().filter_map(|(k, name)| Some((driver(name)?, k))).collect();
    if columns.is_empty() {
        return Err(Error::usage(format!("none of the {} columns is a blendshape of ARKit", table.names.len())));
    }
    Ok(vec![table.clip(&seconds, fps, &columns)?])
}

#[derive(Clone, Copy)]
struct Timecode {
    seconds: u32,
    frame: u32,
}

impl Timecode {
    fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.trim().split([':', ';']).collect();
        let [hours, minutes, seconds, frame] = parts[..] else { return None };
        let number = |text: &str, below: u32| text.parse::<u32>().ok().filter(|n| *n < below);
        let frame = number(frame.split('.').next()?, 240)?;
        Some(Self { seconds: number(hours, 24)? * 3600 + number(minutes, 60)? * 60 + number(seconds, 60)?, frame })
    }

    fn frame_number(self, fps: u32) -> i64 {
        i64::from(self.seconds) * i64::from(fps) + i64::from(self.frame)
    }
}

/// Frames per second of the timecode.
fn rate(codes: &[Timecode]) -> u32 {
    let highest = codes.iter().map(|code| code.frame).max().unwrap_or(0);
    let (low, high) = codes.iter().fold((u32::MAX, 0), |(low, high), c| (low.min(c.seconds), high.max(c.seconds)));
    // only a full second shows the highest number
    let known = high.saturating_sub(low) >= 2;
    [24, 25, 30, 60, 120].into_iter().find(|fps| *fps > highest && (known || *fps >= 60)).unwrap_or(240)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_are_found_in_every_spelling() {
        for name in ["eyeBlinkLeft", "EyeBlinkLeft", "eyeBlink_L", "arkit.eyeBlinkLeft"] {
            assert_eq!(driver(name).as_deref(), Some("arkit.eyeBlinkLeft"));
        }
        assert_eq!(driver("HeadYaw").as_deref(), Some("arkit.headYaw"));
        assert_eq!(driver("BlendshapeCount"), None);
        assert_eq!(driver(""), None);
    }

    #[test]
    fn rates_follow_the_highest_frame_number() {
        let code = |text: &str| Timecode::parse(text).unwrap();
        assert_eq!(rate(&[code("00:00:01:00.0"), code("00:00:03:23.9")]), 24);
        assert_eq!(rate(&[code("00:00:01:00"), code("00:00:03:29")]), 30);
        assert_eq!(rate(&[code("00:00:01:00"), code("00:00:03:59.97")]), 60);
        assert_eq!(rate(&[code("00:00:01:00"), code("00:00:01:20")]), 60);
        for text in ["", "1:2:3", "24:00:00:00", "00:61:00:00", "a:b:c:d", "00:00:00:00:00"] {
            assert!(Timecode::parse(text).is_none(), "{text}");
        }
    }
}
