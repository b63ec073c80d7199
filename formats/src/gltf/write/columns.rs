//! The attributes of a splat primitive, converted block by block while they are written.

use std::ops::Range;

use super::super::{accessor::FLOAT, document::SPLATS};
use crate::{
    Avatar, ColorSpace, Error, Frame, RenderModel, Result, RigBase, Splats,
    conventions::{SH_C0, normalize_quaternion, opacity_from_logit},
};

/// Splats converted at a time: all the memory that writing them takes.
pub const BLOCK: usize = 1 << 14;
const UNSIGNED_SHORT: u32 = 5123;

/// What an accessor of the written primitive holds.
#[derive(Clone, Copy)]
pub enum Column {
    Position,
    Color,
    Rotation,
    Scale,
    Opacity,
    /// SH coefficient: degree, and place within the degree.
    Sh(u8, usize),
}

impl Column {
    pub fn all(degree: u8) -> Vec<Self> {
        let mut columns = vec![Self::Position, Self::Color, Self::Rotation, Self::Scale, Self::Opacity];
        columns.extend((0..=degree).flat_map(|l| (0..=2 * usize::from(l)).map(move |n| Self::Sh(l, n))));
        columns
    }

    pub fn name(self) -> String {
        match self {
            Self::Position => "POSITION".to_owned(),
            Self::Color => "COLOR_0".to_owned(),
            Self::Rotation => format!("{SPLATS}:ROTATION"),
            Self::Scale => format!("{SPLATS}:SCALE"),
            Self::Opacity => format!("{SPLATS}:OPACITY"),
            Self::Sh(degree, n) => format!("{SPLATS}:SH_DEGREE_{degree}_COEF_{n}"),
        }
    }

    /// Type, component type and bytes of an element; all are multiples of four, which keeps every view aligned.
    pub fn layout(self) -> (&'static str, u32, u64) {
        match self {
            Self::Color => ("VEC4", UNSIGNED_SHORT, 8),
            Self::Rotation => ("VEC4", FLOAT, 16),
            Self::Opacity => ("SCALAR", FLOAT, 4),
            Self::Position | Self::Scale | Self::Sh(..) => ("VEC3", FLOAT, 12),
        }
    }
}

/// The splats of one primitive, and how they are to be turned.
pub struct SplatSource<'a> {
    splats: &'a Splats,
    means: &'a [[f32; 3]],
    rotations: &'a [[f32; 4]],
    log_scales: &'a [[f32; 3]],
    from: Frame,
    to: Frame,
    metres_per_unit: f64,
    pub color_space: ColorSpace,
    flat: bool,
    /// The splats to write when some cannot be written.
    chosen: Option<Vec<u32>>,
}

impl<'a> SplatSource<'a> {
    /// The splats of an avatar as they rest, to be written in the axes `to`.
    ///
    /// # Errors
    /// [`Error::Usage`] for a triangle-bound avatar without rest pose, and when there is no splat to write.
    pub fn at_rest(avatar: &'a Avatar, to: Frame) -> Result<Self> {
        let splats = &avatar.splats;
        let (means, rotations, log_scales) = match (&avatar.rig.base, &avatar.rest) {
            (RigBase::Triangle(_), Some(rest)) => (&rest.means, &rest.rotations, &rest.log_scales),
            (RigBase::Triangle(_), None) => {
                return Err(Error::usage(
                    "this avatar is bound to the triangles of a template and has no stored rest pose to write",
                ));
            }
            _ => (&splats.means, &splats.rotations, &splats.log_scales),
        };
        Self { means, rotations, log_scales, ..Self::of(splats, avatar, to) }.checked()
    }

    /// Splats in the axes and units of `avatar`, as a pose gave them.
    ///
    /// # Errors
    /// [`Error::Usage`] when there is no splat to write.
    pub fn posed(splats: &'a Splats, avatar: &Avatar, to: Frame) -> Result<Self> {
        Self::of(splats, avatar, to).checked()
    }

    fn of(splats: &'a Splats, avatar: &Avatar, to: Frame) -> Self {
        Self {
            splats,
            means: &splats.means,
            rotations: &splats.rotations,
            log_scales: &splats.log_scales,
            from: avatar.frame,
            to,
            metres_per_unit: avatar.metres_per_unit,
            color_space: avatar.color_space,
            flat: avatar.render_model == RenderModel::Surfel,
            chosen: None,
        }
    }

    fn checked(mut self) -> Result<Self> {
        let count = self.splats.len();
        if !(0..count).all(|i| self.is_writable(i)) {
            self.chosen = Some((0..count).filter(|i| self.is_writable(*i)).map(|i| i as u32).collect());
        }
        if self.len() == 0 {
            let message = if count == 0 { "glTF cannot hold an avatar without splats" } else { "no splat is finite" };
            return Err(Error::usage(message));
        }
        Ok(self)
    }

    /// Can glTF express splat `i`: are its numbers finite?
    pub fn is_writable(&self, i: usize) -> bool {
        let width = self.splats.sh_rest_count() * 3;
        let sh = &self.splats.sh_rest[i * width..(i + 1) * width];
        let mut finite = self.means[i].iter().chain(&self.rotations[i]).chain(&self.splats.sh0[i]).chain(sh);
        finite.all(|v| v.is_finite())
            && !self.splats.opacity_logits[i].is_nan()
            && self.log_scales[i].iter().all(|s| s.exp().is_finite())
    }

    pub fn sh_degree(&self) -> u8 {
        self.splats.sh_degree
    }

    pub fn len(&self) -> usize {
        self.chosen.as_ref().map_or(self.means.len(), Vec::len)
    }

    /// Splats that are left out.
    pub fn dropped(&self) -> usize {
        self.means.len() - self.len()
    }

    fn source(&self, range: Range<usize>) -> impl Iterator<Item = usize> + '_ {
        range.map(|i| self.chosen.as_ref().map_or(i, |chosen| chosen[i] as usize))
    }

    /// The splats `range` of those to write, in the target frame and in metres.
    pub fn block(&self, range: Range<usize>) -> Result<Splats> {
        let splats = self.splats;
        let width = splats.sh_rest_count() * 3;
        let block = Splats {
            means: self.source(range.clone()).map(|i| self.means[i]).collect(),
            rotations: self.source(range.clone()).map(|i| self.rotations[i]).collect(),
            log_scales: self.source(range.clone()).map(|i| self.log_scales[i]).collect(),
            opacity_logits: self.source(range.clone()).map(|i| splats.opacity_logits[i]).collect(),
            sh0: self.source(range.clone()).map(|i| splats.sh0[i]).collect(),
            sh_rest: self.source(range).flat_map(|i| &splats.sh_rest[i * width..][..width]).copied().collect(),
            sh_degree: splats.sh_degree,
        };
        self.turn(block)
    }

    fn turn(&self, splats: Splats) -> Result<Splats> {
        let mut piece = Avatar::new(splats, self.from);
        piece.metres_per_unit = self.metres_per_unit;
        to_axes_and_metres(&mut piece, self.to)?;
        Ok(piece.splats)
    }

    /// Smallest and largest coordinates as they will stand in the file.
    pub fn bounds(&self) -> Result<([f32; 3], [f32; 3])> {
        let (mut low, mut high) = ([f32::INFINITY; 3], [f32::NEG_INFINITY; 3]);
        for first in (0..self.len()).step_by(BLOCK) {
            let range = first..self.len().min(first + BLOCK);
            let mut piece = Splats::with_len(range.len(), 0);
            piece.means = self.source(range).map(|i| self.means[i]).collect();
            for mean in self.turn(piece)?.means {
                for axis in 0..3 {
                    low[axis] = low[axis].min(mean[axis]);
                    high[axis] = high[axis].max(mean[axis]);
                }
            }
        }
        Ok((low, high))
    }

    /// Appends one column of a block.
    pub fn encode(&self, column: Column, block: &Splats, out: &mut Vec<u8>) {
        let width = block.sh_rest_count() * 3;
        for i in 0..block.len() {
            match column {
                Column::Position => push_floats(out, &block.means[i]),
                Column::Rotation => {
                    let [w, x, y, z] = normalize_quaternion(block.rotations[i].map(f64::from)).map(|v| v as f32);
                    push_floats(out, &[x, y, z, w]);
                }
                Column::Scale => {
                    let mut scale = block.log_scales[i].map(|s| f64::from(s).exp() as f32);
                    if self.flat {
                        scale[2] = 0.0;
                    }
                    push_floats(out, &scale);
                }
                Column::Opacity => push_floats(out, &[opacity_from_logit(block.opacity_logits[i])]),
                Column::Sh(0, _) => push_floats(out, &block.sh0[i]),
                Column::Sh(degree, n) => {
                    let before = usize::from(degree) * usize::from(degree) - 1;
                    push_floats(out, &block.sh_rest[i * width + (before + n) * 3..][..3]);
                }
                Column::Color => {
                    let [r, g, b] = block.sh0[i].map(|c| self.linear(0.5 + SH_C0 * f64::from(c)));
                    let alpha = f64::from(opacity_from_logit(block.opacity_logits[i]));
                    for value in [r, g, b, alpha] {
                        out.extend_from_slice(&((value * 65535.0).round() as u16).to_le_bytes());
                    }
                }
            }
        }
    }

    /// The linear light that `COLOR_0` asks for, of a display colour (IEC 61966-2-1).
    fn linear(&self, color: f64) -> f64 {
        let color = color.clamp(0.0, 1.0);
        match self.color_space {
            ColorSpace::LinearRec709 => color,
            ColorSpace::SrgbRec709 if color <= 0.04045 => color / 12.92,
            ColorSpace::SrgbRec709 => ((color + 0.055) / 1.055).powf(2.4),
        }
    }
}

/// Do two sets of splats agree in every bit of a column?
pub fn is_equal(column: Column, a: &Splats, b: &Splats) -> bool {
    let same = |a: &[f32], b: &[f32]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits());
    match column {
        Column::Position => same(a.means.as_flattened(), b.means.as_flattened()),
        Column::Rotation => same(a.rotations.as_flattened(), b.rotations.as_flattened()),
        Column::Scale => same(a.log_scales.as_flattened(), b.log_scales.as_flattened()),
        Column::Opacity => same(&a.opacity_logits, &b.opacity_logits),
        Column::Color => is_equal(Column::Opacity, a, b) && is_equal(Column::Sh(0, 0), a, b),
        Column::Sh(0, _) => same(a.sh0.as_flattened(), b.sh0.as_flattened()),
        Column::Sh(..) => a.sh_degree == b.sh_degree && same(&a.sh_rest, &b.sh_rest),
    }
}

/// Brings an avatar, with everything in it that has a place in space, into the given axes and into metres.
pub fn to_axes_and_metres(avatar: &mut Avatar, frame: Frame) -> Result<()> {
    avatar.reframe(frame)?;
    let metres = avatar.metres_per_unit;
    if metres != 1.0 {
        avatar.transform(&[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], metres, [0.0; 3])?;
        avatar.metres_per_unit = 1.0;
    }
    Ok(())
}

pub fn push_floats(out: &mut Vec<u8>, values: &[f32]) {
    values.iter().for_each(|v| out.extend_from_slice(&v.to_le_bytes()));
}
