//! `SSET`: the splat set's header (`spec/gav.md` 6.1).

use super::container::{bad, u16_at, u32_at};
use crate::{Avatar, ColorSpace, Error, Frame, Limits, RenderModel, Result};

/// What every reader must know before it touches an attribute.
#[derive(Debug, Clone, PartialEq)]
pub struct SplatSet {
    /// Splats of all layers.
    pub count: u32,
    /// SH degree, 0 to 4.
    pub sh_degree: u8,
    /// How to draw.
    pub render_model: RenderModel,
    /// How colours are encoded.
    pub color_space: ColorSpace,
    /// Rig kind of `spec/gav.md` section 8, blendshapes aside.
    pub rig_kind: u8,
    /// Are there blendshapes on top?
    pub blendshapes: bool,
    /// Where the axes point.
    pub frame: Frame,
    /// Length of one unit in metres.
    pub metres_per_unit: f64,
    /// In which order the splats are stored.
    pub order: Order,
    /// Smallest and largest centre.
    pub bounds: [[f64; 3]; 2],
    /// Splats of each layer; their sum is `count`.
    pub layers: Vec<u32>,
}

/// Storage order of the splats within each layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Order {
    /// As the source had them.
    Source = 0,
    /// Along the Morton curve of their grid positions.
    Morton = 1,
    /// By template triangle.
    Triangle = 2,
}

const FIXED_BYTES: usize = 72;
/// Layers of one file.
pub(crate) const MAX_LAYERS: usize = 16;

impl SplatSet {
    /// The header of `avatar` when stored in `order` with these layers.
    pub fn of(avatar: &Avatar, order: Order, layers: Vec<u32>) -> Self {
        let (lo, hi) = avatar.splats.bounds().unwrap_or_default();
        Self {
            count: avatar.splats.len() as u32,
            sh_degree: avatar.splats.sh_degree,
            render_model: avatar.render_model,
            color_space: avatar.color_space,
            rig_kind: avatar.rig.kind(),
            blendshapes: avatar.rig.blendshapes.is_some(),
            frame: avatar.frame,
            metres_per_unit: avatar.metres_per_unit,
            order,
            bounds: [lo.map(f64::from), hi.map(f64::from)],
            layers,
        }
    }

    /// The chunk's parameters.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIXED_BYTES + 4 * self.layers.len());
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&[
            self.sh_degree,
            render_model_id(self.render_model),
            self.color_space as u8,
            self.rig_kind,
        ]);
        out.push(u8::from(self.blendshapes));
        out.extend_from_slice(self.frame.to_string().as_bytes());
        out.extend_from_slice(&(self.layers.len() as u16).to_le_bytes());
        out.extend_from_slice(&(self.order as u16).to_le_bytes());
        out.extend_from_slice(&self.metres_per_unit.to_le_bytes());
        for value in self.bounds.as_flattened() {
            out.extend_from_slice(&value.to_le_bytes());
        }
        for layer in &self.layers {
            out.extend_from_slice(&layer.to_le_bytes());
        }
        out
    }

    /// Parses and checks the chunk's parameters, which start at `offset` of the file.
    pub fn from_bytes(bytes: &[u8], offset: u64, file_bytes: u64, limits: &Limits) -> Result<Self> {
        let wrong = |message: String| bad("SPLAT_SET", offset, message);
        if bytes.len() < FIXED_BYTES {
            return Err(wrong(format!("SSET has {} bytes, at least {FIXED_BYTES} expected", bytes.len())));
        }
        let count = u32_at(bytes, 0);
        let layer_count = usize::from(u16_at(bytes, 12));
        if layer_count == 0 || layer_count > MAX_LAYERS || bytes.len() != FIXED_BYTES + 4 * layer_count {
            return Err(wrong(format!("SSET of {} bytes with {layer_count} layers (1 to {MAX_LAYERS})", bytes.len())));
        }
        let layers: Vec<u32> = (0..layer_count).map(|k| u32_at(bytes, FIXED_BYTES + 4 * k)).collect();
        if layers.iter().map(|&l| u64::from(l)).sum::<u64>() != u64::from(count) {
            return Err(wrong(format!("layers {layers:?} do not sum to {count} splats")));
        }
        if bytes[4] > 4 || bytes[5] > 2 || bytes[6] > 1 || bytes[7] > 7 || bytes[7] == 5 || bytes[8] > 1 {
            return Err(wrong(format!("SSET fields out of range: {:?}", &bytes[4..9])));
        }
        let frame = std::str::from_utf8(&bytes[9..12]).ok().filter(|f| !f.bytes().any(|b| b.is_ascii_lowercase()));
        let frame = frame.and_then(|f| f.parse().ok()).ok_or_else(|| wrong("SSET names no coordinate frame".into()))?;
        let f64_at = |at: usize| f64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let metres_per_unit = f64_at(16);
        let bounds: [[f64; 3]; 2] =
            std::array::from_fn(|side| std::array::from_fn(|k| f64_at(24 + 8 * (3 * side + k))));
        if !(metres_per_unit.is_finite() && metres_per_unit > 0.0) || bounds.iter().flatten().any(|v| !v.is_finite()) {
            return Err(wrong("SSET holds a unit or bound that is not finite".into()));
        }
        let order = match u16_at(bytes, 14) {
            0 => Order::Source,
            1 => Order::Morton,
            2 => Order::Triangle,
            other => return Err(wrong(format!("splat order {other}"))),
        };
        // Constant streams can describe a million splats in few bytes; a factor bounds what a small file may ask for.
        if u64::from(count) > file_bytes.saturating_mul(256) {
            return Err(Error::Limit {
                what: "splats for a file of this size",
                requested: count.into(),
                limit: file_bytes * 256,
            });
        }
        let set = Self {
            count,
            sh_degree: bytes[4],
            render_model: [RenderModel::Classic, RenderModel::Antialiased, RenderModel::Surfel][usize::from(bytes[5])],
            color_space: if bytes[6] == 0 { ColorSpace::SrgbRec709 } else { ColorSpace::LinearRec709 },
            rig_kind: bytes[7],
            blendshapes: bytes[8] == 1,
            frame,
            metres_per_unit,
            order,
            bounds,
            layers,
        };
        limits.check_splats(count.into(), 56 + 12 * crate::conventions::sh_rest_count(set.sh_degree) as u64)?;
        Ok(set)
    }

    /// Index of the first splat of a layer.
    pub fn layer_start(&self, layer: usize) -> usize {
        self.layers[..layer].iter().map(|&l| l as usize).sum()
    }
}

fn render_model_id(model: RenderModel) -> u8 {
    match model {
        RenderModel::Classic => 0,
        RenderModel::Antialiased => 1,
        RenderModel::Surfel => 2,
    }
}
