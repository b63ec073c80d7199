//! `Avatar`: what a `.gav` holds, in memory. The one type that passes between the crates.

use crate::{
    Camera, Clip, Driver, DriverMap, Error, Frame, Mesh, Meta, RenderModel, Result, Rig, RigBase, Splats, Template,
    UserAttribute,
};

/// Splats, rig, motion and metadata.
#[derive(Debug, Clone, PartialEq)]
pub struct Avatar {
    /// The Gaussians in canonical space.
    pub splats: Splats,
    /// Where the axes point.
    pub frame: Frame,
    /// Length of one unit in metres; 1 when nothing is known.
    pub metres_per_unit: f64,
    /// How colours are encoded.
    pub color_space: ColorSpace,
    /// How the Gaussians are meant to be drawn.
    pub render_model: RenderModel,
    /// How the splats move.
    pub rig: Rig,
    /// World-space rest pose, for showing a triangle-bound avatar without its template.
    pub rest: Option<RestPose>,
    /// The mesh that the rig refers to.
    pub template: Option<Template>,
    /// Licensed copy of the template, or a free proxy.
    pub mesh: Option<Mesh>,
    /// Named parameters of the rig.
    pub drivers: Vec<Driver>,
    /// Linear maps between driver spaces.
    pub driver_maps: Vec<DriverMap>,
    /// Recorded motion.
    pub clips: Vec<Clip>,
    /// Stored cameras.
    pub cameras: Vec<Camera>,
    /// Small preview image.
    pub thumbnail: Option<Thumbnail>,
    /// Per-splat columns outside the splat model.
    pub attributes: Vec<UserAttribute>,
    /// Descriptive metadata.
    pub meta: Meta,
    /// Chunks of a `.gav` that this version does not know and may carry along.
    pub unknown: Vec<UnknownChunk>,
}

/// How colours are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum ColorSpace {
    /// sRGB-encoded Rec. 709, as displayed; what nearly all training code uses.
    #[default]
    SrgbRec709 = 0,
    /// Linear Rec. 709.
    LinearRec709 = 1,
}

/// World-space pose of every splat at rest.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RestPose {
    /// Centres, N × 3.
    pub means: Vec<[f32; 3]>,
    /// Rotations w, x, y, z, N × 4.
    pub rotations: Vec<[f32; 4]>,
    /// Log-scales, N × 3.
    pub log_scales: Vec<[f32; 3]>,
}

/// A small preview image.
#[derive(Debug, Clone, PartialEq)]
pub struct Thumbnail {
    /// `image/png` or `image/webp`.
    pub media_type: String,
    /// The encoded image.
    pub bytes: Vec<u8>,
}

/// A chunk kept without being understood.
#[derive(Debug, Clone, PartialEq)]
pub struct UnknownChunk {
    /// Four letters; the case bits say whether it may be skipped and copied (`spec/gav.md` 4.3).
    pub kind: [u8; 4],
    /// Stored bytes, as they were.
    pub data: Vec<u8>,
    /// Its row in the directory it came from, with offset 0.
    pub entry: crate::gav::Entry,
}

impl UnknownChunk {
    /// A well-formed chunk of one block that holds `payload`, for producers with data of their own. The case of the letters of
    /// `kind` says whether others may skip and copy it.
    pub fn new(kind: [u8; 4], payload: &[u8]) -> Self {
        crate::gav::opaque_chunk(kind, payload)
    }
}

impl Avatar {
    /// A static avatar in the given frame, with everything else at its default.
    pub fn new(splats: Splats, frame: Frame) -> Self {
        Self {
            splats,
            frame,
            metres_per_unit: 1.0,
            color_space: ColorSpace::default(),
            render_model: RenderModel::default(),
            rig: Rig::default(),
            rest: None,
            template: None,
            mesh: None,
            drivers: Vec::new(),
            driver_maps: Vec::new(),
            clips: Vec::new(),
            cameras: Vec::new(),
            thumbnail: None,
            attributes: Vec::new(),
            meta: Meta::default(),
            unknown: Vec::new(),
        }
    }

    /// Checks that all parts fit together; the message names the offending part and index.
    pub fn validate(&self) -> Result<()> {
        let n = self.splats.len();
        self.splats.validate()?;
        self.rig.validate(n)?;
        for attribute in &self.attributes {
            attribute.validate(n)?;
        }
        if let Some(rest) = &self.rest
            && (rest.means.len() != n || rest.rotations.len() != n || rest.log_scales.len() != n)
        {
            return Err(Error::usage(format!("rest pose does not hold {n} splats")));
        }
        if let (RigBase::Triangle(binding), Some(template)) = (&self.rig.base, &self.template)
            && let Some((splat, triangle)) =
                binding.triangles.iter().enumerate().find(|(_, t)| **t >= template.face_count)
        {
            return Err(Error::usage(format!(
                "splat {splat} names triangle {triangle}, the template has {}",
                template.face_count
            )));
        }
        if let Some(template) = &self.template
            && template.embedded
            && (self.mesh.is_none() || template.licence.is_empty())
        {
            return Err(Error::usage("an embedded template needs a mesh and the licence it may be passed on under"));
        }
        for clip in &self.clips {
            for track in &clip.tracks {
                let sorted = track.ticks.windows(2).all(|p| p[0] < p[1]);
                if !sorted || track.width == 0 || track.values.len() != track.ticks.len() * track.width as usize {
                    return Err(Error::usage(format!(
                        "clip `{}`, track `{}`: {} values for {} ascending keys of width {}",
                        clip.name,
                        track.target,
                        track.values.len(),
                        track.ticks.len(),
                        track.width
                    )));
                }
            }
        }
        Ok(())
    }
}
