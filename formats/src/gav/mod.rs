//! The `.gav` file, version 1.0: container, attribute codecs, chunks. Normative text: `spec/gav.md`.

mod attributes;
mod canonical;
mod chunk;
mod clip_chunk;
mod container;
mod floats;
mod harmonics;
mod ints;
mod layer;
mod meta_chunks;
mod motion;
mod quantization;
mod quantizer;
mod rans;
mod read;
mod residuals;
mod rig_chunks;
mod rotation;
mod set;
mod stream;
mod symbols;
mod tensors;
mod write;

pub(crate) use container::opaque_chunk;
pub use container::{Entry, Header, MAGIC, VERSION, feature};
pub use layer::Attribute;
pub use read::{Reader, read, sniff};
pub use set::{Order, SplatSet};
pub use write::{add_clips, write};

use std::str::FromStr;

use crate::Error;

/// Named trade-offs between size, quality and speed (`spec/gav.md` annex A lists their parameters).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// Every float bit and the order of the splats survive.
    Lossless,
    /// Quantised finely enough for further editing.
    High,
    /// Better than SPZ and SOG at a smaller size; the default.
    #[default]
    Standard,
    /// Smaller, slightly visible.
    Small,
    /// As standard, but with the cheapest entropy coding, for interactive writers.
    Fast,
}

impl Profile {
    /// All profiles with their names.
    pub const ALL: [(&'static str, Self); 5] = [
        ("lossless", Self::Lossless),
        ("high", Self::High),
        ("standard", Self::Standard),
        ("small", Self::Small),
        ("fast", Self::Fast),
    ];
}

impl FromStr for Profile {
    type Err = Error;

    fn from_str(text: &str) -> crate::Result<Self> {
        Self::ALL
            .iter()
            .find(|(name, _)| *name == text)
            .map(|(_, profile)| *profile)
            .ok_or_else(|| Error::usage(format!("`{text}` is no profile: lossless, high, standard, small or fast")))
    }
}

/// How an avatar is encoded: a profile and single knobs that override it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EncodeOptions {
    /// The starting point.
    pub profile: Profile,
    /// zstd level, 1 to 22.
    pub level: Option<i32>,
    /// Grid step of positions in units of the file.
    pub position_step: Option<f64>,
    /// Largest rms error allowed for SH coefficients beyond degree 0; chooses their step.
    pub sh_rms: Option<f64>,
    /// 1 for a single layer, 2 for a coarse first layer with a fifth of the splats.
    pub layers: Option<u8>,
    /// Keep splats whose opacity is too small to be seen (lossy profiles drop them).
    pub keep_invisible: bool,
    /// Keep the order of the splats at the cost of a stored permutation (`lossless` always does).
    pub keep_order: bool,
}
