//! Writes a GLB with one `KHR_gaussian_splatting` primitive: the avatar as it stands at rest, in metres.

use std::{io::SeekFrom, ops::Range};

use serde_json::{Value, json};

use super::{accessor::FLOAT, document::SPLATS};
use crate::{
    Avatar, ColorSpace, Error, Frame, RenderModel, Result, RigBase, Splats, WriteOptions,
    conventions::{SH_C0, normalize_quaternion, opacity_from_logit},
    sink::WriteSeek,
};

/// Splats converted at a time: all the memory that writing takes.
const BLOCK: usize = 1 << 14;
const ARRAY_BUFFER: u32 = 34962;
const UNSIGNED_SHORT: u32 = 5123;

/// Writes the splats at rest, in the glTF frame unless `options.frame` says otherwise. Rig, clips and columns outside the
/// splat model have no place here. Splats that are not finite are left out and counted in the mesh's `extras`.
///
/// # Errors
/// [`Error::Usage`] when there is no splat to write, when a triangle-bound avatar has no rest pose, or when the file would
/// pass the 4 GiB that a GLB can hold.
pub fn write(avatar: &Avatar, sink: &mut dyn WriteSeek, options: &WriteOptions) -> Result<()> {
    let scene = Rest::of(avatar, options.frame.unwrap_or(Frame::LUF))?;
    let count = scene.len();
    if count == 0 {
        return Err(Error::usage("glTF cannot hold an avatar without splats"));
    }
    let columns = Column::all(avatar.splats.sh_degree);
    let mut starts = Vec::with_capacity(columns.len());
    let mut bin_length = 0u64;
    for column in &columns {
        starts.push(bin_length);
        bin_length += column.layout().2 * count as u64;
    }
    let mut document = serde_json::to_vec(&scene.document(&columns, &starts, bin_length)?)
        .map_err(|e| Error::usage(format!("glTF document: {e}")))?;
    document.resize(document.len().next_multiple_of(4), b' ');

    let bin_start = 12 + 8 + document.len() as u64 + 8;
    let total = bin_start + bin_length;
    let length = u32::try_from(total)
        .map_err(|_| Error::usage(format!("{count} splats take {total} bytes, a GLB holds at most 4 GiB")))?;
    let base = sink.stream_position()?;
    let words = [2, length, document.len() as u32, u32::from_le_bytes(*b"JSON")];
    sink.write_all(b"glTF")?;
    words.iter().try_for_each(|word| sink.write_all(&word.to_le_bytes()))?;
    sink.write_all(&document)?;
    sink.write_all(&(bin_length as u32).to_le_bytes())?;
    sink.write_all(b"BIN\0")?;

    let mut bytes = Vec::new();
    for first in (0..count).step_by(BLOCK) {
        let block = scene.block(first..count.min(first + BLOCK))?;
        for (column, start) in columns.iter().zip(&starts) {
            bytes.clear();
            scene.encode(*column, &block, &mut bytes);
            sink.seek(SeekFrom::Start(base + bin_start + start + column.layout().2 * first as u64))?;
            sink.write_all(&bytes)?;
        }
    }
    sink.seek(SeekFrom::Start(base + total))?;
    Ok(())
}

/// What an accessor of the written primitive holds.
#[derive(Clone, Copy)]
enum Column {
    Position,
    Color,
    Rotation,
    Scale,
    Opacity,
    /// SH coefficient: degree, and place within the degree.
    Sh(u8, usize),
}

impl Column {
    fn all(degree: u8) -> Vec<Self> {
        let mut columns = vec![Self::Position, Self::Color, Self::Rotation, Self::Scale, Self::Opacity];
        columns.extend((0..=degree).flat_map(|l| (0..=2 * usize::from(l)).map(move |n| Self::Sh(l, n))));
        columns
    }

    fn name(self) -> String {
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
    fn layout(self) -> (&'static str, u32, u64) {
        match self {
            Self::Color => ("VEC4", UNSIGNED_SHORT, 8),
            Self::Rotation => ("VEC4", FLOAT, 16),
            Self::Opacity => ("SCALAR", FLOAT, 4),
            Self::Position | Self::Scale | Self::Sh(..) => ("VEC3", FLOAT, 12),
        }
    }
}

/// The avatar at rest, and how it is to be turned.
struct Rest<'a> {
    avatar: &'a Avatar,
    means: &'a [[f32; 3]],
    rotations: &'a [[f32; 4]],
    log_scales: &'a [[f32; 3]],
    frame: Frame,
    /// The splats to write when some cannot be written.
    chosen: Option<Vec<u32>>,
}

impl<'a> Rest<'a> {
    fn of(avatar: &'a Avatar, frame: Frame) -> Result<Self> {
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
        let width = splats.sh_rest_count() * 3;
        let writable = |i: usize| {
            let sh = &splats.sh_rest[i * width..(i + 1) * width];
            let mut finite = means[i].iter().chain(&rotations[i]).chain(&splats.sh0[i]).chain(sh);
            finite.all(|v| v.is_finite())
                && !splats.opacity_logits[i].is_nan()
                && log_scales[i].iter().all(|s| s.exp().is_finite())
        };
        let complete = (0..splats.len()).all(writable);
        let chosen = (!complete).then(|| (0..splats.len()).filter(|i| writable(*i)).map(|i| i as u32).collect());
        Ok(Self { avatar, means, rotations, log_scales, frame, chosen })
    }

    fn len(&self) -> usize {
        self.chosen.as_ref().map_or(self.means.len(), Vec::len)
    }

    fn source(&self, range: Range<usize>) -> impl Iterator<Item = usize> + '_ {
        range.map(|i| self.chosen.as_ref().map_or(i, |chosen| chosen[i] as usize))
    }

    /// The splats `range` of those to write, in the target frame and in metres.
    fn block(&self, range: Range<usize>) -> Result<Splats> {
        let splats = &self.avatar.splats;
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
        let mut piece = Avatar::new(splats, self.avatar.frame);
        piece.reframe(self.frame)?;
        let metres = self.avatar.metres_per_unit;
        if metres != 1.0 {
            piece.transform(&[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], metres, [0.0; 3])?;
        }
        Ok(piece.splats)
    }

    /// Smallest and largest coordinates as they will stand in the file.
    fn bounds(&self) -> Result<([f32; 3], [f32; 3])> {
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

    fn document(&self, columns: &[Column], starts: &[u64], bin_length: u64) -> Result<Value> {
        let avatar = self.avatar;
        let (low, high) = self.bounds()?;
        let mut attributes = serde_json::Map::new();
        let (mut views, mut accessors) = (Vec::new(), Vec::new());
        for (index, (column, start)) in columns.iter().zip(starts).enumerate() {
            let (kind, component, size) = column.layout();
            let length = size * self.len() as u64;
            views.push(json!({"buffer": 0, "byteOffset": start, "byteLength": length, "target": ARRAY_BUFFER}));
            let mut accessor =
                json!({"bufferView": index, "componentType": component, "count": self.len(), "type": kind});
            match column {
                Column::Position => {
                    accessor["min"] = json!(low.map(f64::from));
                    accessor["max"] = json!(high.map(f64::from));
                }
                Column::Color => accessor["normalized"] = json!(true),
                _ => {}
            }
            accessors.push(accessor);
            attributes.insert(column.name(), json!(index));
        }
        let color_space = match avatar.color_space {
            ColorSpace::SrgbRec709 => "srgb_rec709_display",
            ColorSpace::LinearRec709 => "lin_rec709_display",
        };
        let mut extension = serde_json::Map::new();
        extension.insert(
            SPLATS.to_owned(),
            json!({
                "kernel": "ellipse",
                "colorSpace": color_space,
                "projection": "perspective",
                "sortingMethod": "cameraDistance"
            }),
        );
        let mut mesh = json!({"primitives": [{"mode": 0, "attributes": attributes, "extensions": extension}]});
        if self.len() < avatar.splats.len() {
            mesh["extras"] = json!({"droppedSplats": avatar.splats.len() - self.len()});
        }
        let mut asset = json!({"version": "2.0", "generator": concat!("gav ", env!("CARGO_PKG_VERSION"))});
        if !avatar.meta.attribution.is_empty() {
            asset["copyright"] = json!(avatar.meta.attribution);
        }
        let name = if avatar.meta.name.is_empty() { "splats" } else { &avatar.meta.name };
        Ok(json!({
            "asset": asset,
            "extensionsUsed": [SPLATS],
            "scene": 0,
            "scenes": [{"nodes": [0]}],
            "nodes": [{"name": name, "mesh": 0}],
            "meshes": [mesh],
            "accessors": accessors,
            "bufferViews": views,
            "buffers": [{"byteLength": bin_length}]
        }))
    }

    /// Appends one column of a block.
    fn encode(&self, column: Column, block: &Splats, out: &mut Vec<u8>) {
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
                    if self.avatar.render_model == RenderModel::Surfel {
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
        match self.avatar.color_space {
            ColorSpace::LinearRec709 => color,
            ColorSpace::SrgbRec709 if color <= 0.04045 => color / 12.92,
            ColorSpace::SrgbRec709 => ((color + 0.055) / 1.055).powf(2.4),
        }
    }
}

fn push_floats(out: &mut Vec<u8>, values: &[f32]) {
    values.iter().for_each(|v| out.extend_from_slice(&v.to_le_bytes()));
}
