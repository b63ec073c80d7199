//! Captures: folders of pictures with cameras and tracked meshes, on which avatars are trained.
//!
//! [`Capture::open`] reads the layouts of VHAP and GaussianAvatars (unions of sequences included), STGA and INSTA, and any other folder of
//! NeRF's `transforms*.json`. [`check`] finds what would spoil a training before hours are spent on it.

mod check;
pub mod convert;
mod geometry;
pub mod insta;
mod pictures;
mod points;
mod selection;
pub mod stga;
mod template;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use gav_formats::{
    Pose, Source,
    cameras::{CameraOptions, View, read_cameras},
    clips::{self, ClipOptions},
    npy::read_npz,
};

use crate::{Error, Result};

pub use check::{Finding, Severity, check};
pub use geometry::{Overlay, overlay};
pub use pictures::{Pictures, Rgb8};
pub use points::{POINTS_FILE, Point, point_grid, points_ply, read_points};
pub use selection::{SelectionOptions, align, expression_faces, neutral, pose_free, select_faces};
pub use template::{FILES as TEMPLATE_FILES, LICENCE_FILE as TEMPLATE_LICENCE_FILE, body, tracked_body};

/// Whose layout a folder has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// VHAP and GaussianAvatars: a file of FLAME parameters for each time step.
    Vhap,
    /// STGA: a mesh for each time step in `meshes`.
    Stga,
    /// INSTA: expressions and meshes beside the pictures of one camera.
    Insta,
    /// Pictures and cameras alone.
    Nerf,
}

impl Layout {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vhap => "VHAP / GaussianAvatars",
            Self::Stga => "STGA",
            Self::Insta => "INSTA",
            Self::Nerf => "NeRF",
        }
    }
}

/// What a view is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Split {
    /// Training.
    Train,
    /// New views of times that were trained on.
    Val,
    /// Times that were not trained on.
    Test,
}

/// The files of the splits.
const FILES: [(Split, &str); 3] = [
    (Split::Train, "transforms_train.json"),
    (Split::Val, "transforms_val.json"),
    (Split::Test, "transforms_test.json"),
];
/// Member of a tracker's file: rows of 3, as many as the mesh it tracked with has vertices, or fewer.
const OFFSET: &str = "static_offset";
/// How archives of NumPy and files of PyTorch start; only the former have the offset.
const ZIP: &[u8] = b"PK\x03\x04";
/// All views in one file.
const WHOLE: &str = "transforms.json";

/// A folder of pictures with cameras.
#[derive(Debug, Clone, PartialEq)]
pub struct Capture {
    /// Where it lies.
    pub folder: PathBuf,
    /// Whose layout it has.
    pub layout: Layout,
    /// All views with their split, in the order of the files. A folder without splits is for training.
    pub views: Vec<(Split, View)>,
    /// What the camera files say and is not honoured.
    pub warnings: Vec<String>,
}

impl Capture {
    /// Reads the camera files of a folder; no picture is opened unless its size is not said.
    ///
    /// # Errors
    /// [`Error::usage`] when there is none of them; those of [`read_cameras`].
    pub fn open(folder: &Path, options: &CameraOptions) -> Result<Self> {
        let mut views = Vec::new();
        let mut warnings: Vec<String> = Vec::new();
        let mut read = |split: Split, name: &str| -> Result<bool> {
            let path = folder.join(name);
            if !path.is_file() {
                return Ok(false);
            }
            let file = read_cameras(&path, options).map_err(|e| Error::usage(format!("{}: {e}", path.display())))?;
            views.extend(file.views.into_iter().map(|view| (split, view)));
            warnings.extend(file.warnings.into_iter().map(|warning| format!("{name}: {warning}")));
            Ok(true)
        };
        let mut found = false;
        for (split, name) in FILES {
            found |= read(split, name)?;
        }
        if !found && !read(Split::Train, WHOLE)? {
            let names = FILES.map(|(_, name)| name).join(", ");
            return Err(Error::usage(format!("{}: none of {names} or {WHOLE} is there", folder.display())));
        }
        let layout = if views.iter().any(|(_, view)| view.parameters.is_some()) {
            Layout::Vhap
        } else if folder.join("flame").is_dir() || folder.join("canonical.obj").is_file() {
            Layout::Insta
        } else if folder.join("meshes").is_dir() {
            Layout::Stga
        } else {
            Layout::Nerf
        };
        Ok(Self { folder: folder.to_owned(), layout, views, warnings })
    }

    /// Time steps, ascending.
    pub fn timesteps(&self) -> BTreeSet<u32> {
        self.views.iter().filter_map(|(_, view)| view.timestep).collect()
    }

    /// Numbers of the cameras, ascending; empty when the files do not say.
    pub fn cameras(&self) -> BTreeSet<u32> {
        self.views.iter().filter_map(|(_, view)| view.camera_index).collect()
    }

    /// Number of views of a split.
    pub fn count(&self, split: Split) -> usize {
        self.views.iter().filter(|(s, _)| *s == split).count()
    }
}

/// The tracked parameters of one time step, with the identity and the subject's offset from the template (`flame.static_offset`).
///
/// # Errors
/// Files that cannot be read, and members of the wrong length.
pub fn parameters(path: &Path) -> Result<Pose> {
    let options = ClipOptions { identity: true, ..ClipOptions::default() };
    let source = Source::open(path)?;
    let clips = clips::read_source(&source, &options)?;
    let mut pose = clips.first().map(|clip| clip.pose_at(0.0)).unwrap_or_default();
    // no clip has it, for it does not move
    if source.starts_with(ZIP)
        && let Some(offset) = read_npz(&source, &options.limits)?.get(OFFSET)
    {
        pose.set(format!("flame.{OFFSET}"), offset.to_f32());
    }
    Ok(pose)
}
