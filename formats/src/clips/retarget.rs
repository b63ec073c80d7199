//! From one avatar's parameters to another's: parts, lengths, forms of rotations, and the face at rest.

use std::str::FromStr;

use super::{
    Clip, Interpolation, Track, bad,
    rotation::{self, Matrix},
};
use crate::{
    Error, Pose, Result,
    conventions::{matrix_from_quaternion, normalize_quaternion, quaternion_from_matrix},
};

/// What a track moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Expression coefficients and blendshapes.
    Expression,
    /// The lower jaw.
    Jaw,
    /// Eyes and eyelids.
    Eyes,
    /// The neck.
    Neck,
    /// Orientation and place of the whole.
    Root,
    /// Limbs and trunk.
    Body,
    /// Fingers.
    Hands,
    /// Who it is: shape coefficients.
    Identity,
    /// The camera of a recording.
    Camera,
}

impl Part {
    /// All parts with their names.
    pub const ALL: [(Self, &'static str); 9] = [
        (Self::Expression, "expression"),
        (Self::Jaw, "jaw"),
        (Self::Eyes, "eyes"),
        (Self::Neck, "neck"),
        (Self::Root, "root"),
        (Self::Body, "body"),
        (Self::Hands, "hands"),
        (Self::Identity, "identity"),
        (Self::Camera, "camera"),
    ];

    /// The part that a target belongs to.
    pub fn of(target: &str) -> Self {
        if target.starts_with("camera.") {
            return Self::Camera;
        }
        // a parameter group or its component, a blendshape, or a joint
        let (joint, name) = match target.strip_prefix("joint/").and_then(|rest| rest.rsplit_once('/')) {
            Some((joint, _)) => (true, joint),
            None => (false, target.split_once('.').map_or(target, |(_, rest)| rest)),
        };
        let name = name.to_ascii_lowercase();
        let group = name.split('.').next().unwrap_or_default();
        let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
        match group {
            "shape" | "betas" | "static_offset" => Self::Identity,
            "rotation" | "translation" | "global_orient" | "transl" | "up" | "headyaw" | "headpitch" | "headroll" => {
                Self::Root
            }
            "expression" => Self::Expression,
            _ if has(&["jaw"]) => Self::Jaw,
            _ if has(&["eye"]) => Self::Eyes,
            _ if has(&["neck"]) => Self::Neck,
            _ if has(&["hand", "finger", "thumb", "index", "middle", "ring", "pinky"]) && (joint || has(&["pose"])) => {
                Self::Hands
            }
            "body_pose" => Self::Body,
            _ if joint => Self::Body,
            _ => Self::Expression,
        }
    }
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let found = Self::ALL.iter().find(|(_, name)| *name == text.trim()).map(|(part, _)| *part);
        found.ok_or_else(|| {
            let names = Self::ALL.map(|(_, name)| name).join(", ");
            format!("`{text}` is none of {names}")
        })
    }
}

/// How rotations of FLAME's joints are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotations {
    /// `flame.jaw_pose`, `flame.neck_pose`, `flame.eyes_pose`: rotation vectors in radians (GaussianAvatars).
    AxisAngle,
    /// `flame.jaw_6d`, `flame.neck_6d`, `flame.left_eye_6d`, `flame.right_eye_6d`: the first two rows of the matrix (RGBAvatar).
    SixD,
}

/// The clip with only the tracks that move these parts.
///
/// # Errors
/// [`Error::Usage`] when none is left.
pub fn only(clip: &Clip, parts: &[Part]) -> Result<Clip> {
    let tracks: Vec<Track> = clip.tracks.iter().filter(|t| parts.contains(&Part::of(&t.target))).cloned().collect();
    if tracks.is_empty() {
        let wanted: Vec<&str> = Part::ALL.iter().filter(|(p, _)| parts.contains(p)).map(|(_, name)| *name).collect();
        let message =
            format!("none of the {} tracks of clip `{}` moves {}", clip.tracks.len(), clip.name, wanted.join(", "));
        return Err(Error::usage(message));
    }
    Ok(Clip { name: clip.name.clone(), ticks_per_second: clip.ticks_per_second, tracks })
}

/// The clip with `expressions` coefficients of `flame.expression` (more are cut off, missing ones are 0) and rotations in one form.
/// Expressions of FLAME 2020 and 2023 are different bases: the numbers are taken over, what they show differs.
///
/// # Errors
/// `VALUE` for groups of other lengths than FLAME's, and 6D rotations that are none.
pub fn fit_flame(clip: &Clip, expressions: usize, rotations: Option<Rotations>) -> Result<Clip> {
    let mut tracks = Vec::new();
    for track in &clip.tracks {
        if track.target == "flame.expression" {
            let width = track.width as usize;
            let row = |row: &[f32]| -> Vec<f32> {
                row.iter().copied().chain(std::iter::repeat(0.0)).take(expressions).collect()
            };
            let values = track.values.chunks_exact(width).flat_map(row).collect();
            tracks.push(Track { width: expressions as u32, values, ..track.clone() });
            continue;
        }
        let joint = JOINTS.iter().find(|joint| match rotations {
            Some(Rotations::SixD) => track.target == joint.vector,
            Some(Rotations::AxisAngle) => joint.six.contains(&track.target.as_str()),
            None => false,
        });
        match (joint, rotations) {
            (Some(joint), Some(Rotations::SixD)) => tracks.extend(joint.to_six(track)?),
            (Some(joint), Some(Rotations::AxisAngle)) => {
                // the eyes come as two tracks, which the first of them joins
                if joint.six[0] == track.target || !clip.tracks.iter().any(|t| t.target == joint.six[0]) {
                    tracks.push(joint.to_vector(clip)?);
                }
            }
            _ => tracks.push(track.clone()),
        }
    }
    Ok(Clip { name: clip.name.clone(), ticks_per_second: clip.ticks_per_second, tracks })
}

/// A joint, or a pair of joints, in both forms.
struct Joint {
    vector: &'static str,
    six: &'static [&'static str],
}

const JOINTS: [Joint; 3] = [
    Joint { vector: "flame.neck_pose", six: &["flame.neck_6d"] },
    Joint { vector: "flame.jaw_pose", six: &["flame.jaw_6d"] },
    Joint { vector: "flame.eyes_pose", six: &["flame.left_eye_6d", "flame.right_eye_6d"] },
];

impl Joint {
    fn to_six(&self, track: &Track) -> Result<Vec<Track>> {
        expect_width(track, 3 * self.six.len())?;
        let part = |(k, target): (usize, &&str)| {
            let rows = track.values.chunks_exact(track.width as usize);
            let values = rows.flat_map(|row| {
                let vector = std::array::from_fn(|i| f64::from(row[3 * k + i]));
                rotation::to_six(&rotation::from_vector(vector)).map(|v| v as f32)
            });
            Track { target: (*target).to_owned(), width: 6, values: values.collect(), ..track.clone() }
        };
        Ok(self.six.iter().enumerate().map(part).collect())
    }

    fn to_vector(&self, clip: &Clip) -> Result<Track> {
        let parts: Vec<Option<&Track>> =
            self.six.iter().map(|target| clip.tracks.iter().find(|track| track.target == **target)).collect();
        for part in parts.iter().flatten() {
            expect_width(part, 6)?;
        }
        let mut ticks: Vec<u32> = parts.iter().flatten().flat_map(|track| &track.ticks).copied().collect();
        ticks.sort_unstable();
        ticks.dedup();
        let mut values = Vec::with_capacity(3 * parts.len() * ticks.len());
        for tick in &ticks {
            for part in &parts {
                let six = part.map_or_else(Vec::new, |track| track.sample(f64::from(*tick)));
                let vector = match six[..] {
                    [a, b, c, d, e, f] => {
                        let matrix = rotation::from_six([a, b, c, d, e, f].map(f64::from));
                        let message = || bad(format!("`{}` is no rotation at tick {tick}", self.six[0]));
                        rotation::to_vector(&matrix.ok_or_else(message)?)
                    }
                    _ => [0.0; 3],
                };
                values.extend(vector.map(|v| v as f32));
            }
        }
        let width = 3 * parts.len() as u32;
        Ok(Track { target: self.vector.to_owned(), width, interpolation: Interpolation::Linear, ticks, values })
    }
}

fn expect_width(track: &Track, width: usize) -> Result<()> {
    if track.width as usize == width {
        return Ok(());
    }
    Err(bad(format!("track `{}` has {} values a key, {width} expected", track.target, track.width)))
}

/// The clip with the face (or body) that `driver` shows at rest exchanged for that of `avatar`: of numbers the difference is added, of
/// rotations the turn away from the driver's rest is put on top of the avatar's. What a pose does not name is 0, or no rotation.
///
/// # Errors
/// `VALUE` when a pose has another number of values than the track, with both.
pub fn relative_to_neutral(clip: &Clip, driver: &Pose, avatar: &Pose) -> Result<Clip> {
    let mut out = clip.clone();
    for track in &mut out.tracks {
        let width = track.width as usize;
        let (from, to) = (driver.get(&track.target), avatar.get(&track.target));
        for (who, values) in [("the driver", from), ("the avatar", to)] {
            if let Some(values) = values.filter(|values| values.len() != width) {
                let message =
                    format!("`{}` has {width} values a key, {who} at rest has {}", track.target, values.len());
                return Err(bad(message));
            }
        }
        if from.is_none() && to.is_none() {
            continue;
        }
        match form(track) {
            None => {
                for row in track.values.chunks_exact_mut(width) {
                    for (k, value) in row.iter_mut().enumerate() {
                        *value += to.map_or(0.0, |to| to[k]) - from.map_or(0.0, |from| from[k]);
                    }
                }
            }
            Some(form) => {
                let size = form.size();
                let at = |values: Option<&[f32]>, k: usize| match values {
                    Some(values) => form.matrix(&values[k..k + size], &track.target),
                    None => Ok(rotation::from_vector([0.0; 3])),
                };
                for k in (0..width).step_by(size) {
                    // R' = R · (rest of the driver)ᵀ · rest of the avatar
                    let change = rotation::product(&rotation::transposed(&at(from, k)?), &at(to, k)?);
                    for row in track.values.chunks_exact_mut(width) {
                        let turned = rotation::product(&form.matrix(&row[k..k + size], &track.target)?, &change);
                        form.write(&turned, &mut row[k..k + size]);
                    }
                }
            }
        }
    }
    Ok(out)
}

#[derive(Clone, Copy)]
enum Form {
    Vector,
    Six,
    Quaternion,
}

/// The form of the rotations of a track; `None` for plain numbers.
fn form(track: &Track) -> Option<Form> {
    if track.interpolation == Interpolation::Slerp && track.width == 4 {
        return Some(Form::Quaternion);
    }
    let group = track.target.split_once('.').map_or("", |(_, group)| group);
    let turns = group.ends_with("_pose") || matches!(group, "rotation" | "global_orient");
    // hands of other lengths are principal components
    let hand = group.ends_with("hand_pose") && track.width != 45;
    match track.width {
        6 if group.ends_with("_6d") => Some(Form::Six),
        width if turns && !hand && width % 3 == 0 => Some(Form::Vector),
        _ => None,
    }
}

impl Form {
    fn size(self) -> usize {
        match self {
            Self::Vector => 3,
            Self::Six => 6,
            Self::Quaternion => 4,
        }
    }

    fn matrix(self, values: &[f32], target: &str) -> Result<Matrix> {
        let v = |k: usize| f64::from(values[k]);
        let matrix = match self {
            Self::Vector => Some(rotation::from_vector([v(0), v(1), v(2)])),
            Self::Six => rotation::from_six([v(0), v(1), v(2), v(3), v(4), v(5)]),
            Self::Quaternion => Some(matrix_from_quaternion(normalize_quaternion([v(0), v(1), v(2), v(3)]))),
        };
        matrix.ok_or_else(|| bad(format!("`{target}` is no rotation: {values:?}")))
    }

    fn write(self, matrix: &Matrix, values: &mut [f32]) {
        let numbers = match self {
            Self::Vector => rotation::to_vector(matrix).to_vec(),
            Self::Six => rotation::to_six(matrix).to_vec(),
            Self::Quaternion => quaternion_from_matrix(matrix).to_vec(),
        };
        values.iter_mut().zip(numbers).for_each(|(value, number)| *value = number as f32);
    }
}
