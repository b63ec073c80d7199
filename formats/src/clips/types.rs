//! Drivers (the named parameters a rig listens to) and clips (recorded motion of them).

use serde::{Deserialize, Serialize};

/// A named parameter with its range.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Driver {
    /// Name in a known space: `flame.expression.0`, `arkit.jawOpen`, `smplx.body_pose.3.x`, `vrm.aa`, or free.
    pub name: String,
    /// Smallest value in use.
    pub min: f32,
    /// Largest value in use.
    pub max: f32,
    /// Value at rest.
    pub default: f32,
}

/// A linear map between driver spaces: `outputs = matrix · inputs + offset`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct DriverMap {
    /// Name, such as `arkit-to-flame`.
    pub name: String,
    /// Driver names on the input side.
    pub inputs: Vec<String>,
    /// Driver names on the output side.
    pub outputs: Vec<String>,
    /// Row-major, outputs × inputs.
    pub matrix: Vec<f32>,
    /// One value per output.
    pub offset: Vec<f32>,
}

/// How values between two keys are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Interpolation {
    /// The earlier key's value.
    Step = 0,
    /// Straight line.
    #[default]
    Linear = 1,
    /// Shortest great circle between unit quaternions w, x, y, z.
    Slerp = 2,
}

/// Named motion.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Clip {
    /// Name, unique in the avatar.
    pub name: String,
    /// Time base: 30 for plain 30 fps data.
    pub ticks_per_second: u32,
    /// The tracks, each with its own keys.
    pub tracks: Vec<Track>,
}

/// Motion of one target.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Track {
    /// A driver's name, a template parameter group, or `joint/NAME/translation|rotation|scale`.
    pub target: String,
    /// Components per key.
    pub width: u32,
    /// How to interpolate.
    pub interpolation: Interpolation,
    /// Ascending key times.
    pub ticks: Vec<u32>,
    /// Keys × width values.
    pub values: Vec<f32>,
}

impl Clip {
    /// Seconds from zero to the last key.
    pub fn seconds(&self) -> f64 {
        let last = self.tracks.iter().filter_map(|t| t.ticks.last()).max().copied().unwrap_or(0);
        f64::from(last) / f64::from(self.ticks_per_second.max(1))
    }
}
