//! What a Gaussian avatar is, and every file it can come from or go to.
//!
//! [`Avatar`] is the one type: splats, rig, clips, metadata. [`load`] reads it from any format in [`FORMATS`],
//! [`save`] writes it. The project's own file is [`gav`]; its bytes are specified in `spec/gav.md`.
//!
//! ```no_run
//! use gav_formats::{ReadOptions, WriteOptions, format_by_name, load, save};
//!
//! let avatar = load("head.ply", &ReadOptions::default())?;
//! println!("{} splats, SH degree {}", avatar.splats.len(), avatar.splats.sh_degree);
//! save(&avatar, "head.gav", format_by_name("gav").unwrap(), &WriteOptions::default())?;
//! # Ok::<(), gav_formats::Error>(())
//! ```

mod attribute;
mod avatar;
mod camera;
pub mod cameras;
pub mod clips;
mod compare;
pub mod conventions;
mod edit;
mod error;
pub mod gav;
pub mod gltf;
mod ksplat;
pub mod lam;
mod limits;
mod meta;
mod morton;
pub mod npy;
pub mod ply;
mod pose;
#[cfg(test)]
mod posed;
mod prune;
mod registry;
mod rest;
pub mod rig;
pub mod sink;
mod sog;
mod source;
mod splat_file;
mod splats;
mod spz;
pub mod synthetic;
mod template;
pub mod validate;
pub mod weights;

pub use attribute::{DType, UserAttribute};
pub use avatar::{Avatar, ColorSpace, RestPose, Thumbnail, UnknownChunk};
pub use camera::Camera;
pub use clips::{Clip, Driver, DriverMap, Interpolation, Track};
pub use compare::{Comparison, compare};
pub use conventions::Frame;
pub use error::{Error, Result};
pub use gav::{EncodeOptions, Profile};
pub use limits::Limits;
pub use meta::{Meta, Provenance};
pub use pose::{Pose, slerp};
pub use registry::{
    FORMATS, Format, ReadFn, ReadOptions, WriteOptions, Writer, format_by_name, format_by_path, load, read, save,
    sniff, to_bytes,
};
pub use rig::{
    Activation, BlendWeights, Blendshapes, FrameTracks, Joint, Mlp, MlpLayer, MorphTarget, Morphs, Rig, RigBase,
    Skeleton, Skin, TriangleBinding, TriangleFrame,
};
pub use source::Source;
pub use splats::{RenderModel, Splats};
pub use template::{Mesh, NamedArray, Template, TemplateFamily};
