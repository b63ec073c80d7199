//! From `meta.json` and its images to an avatar, versions 1 and 2.

use rayon::prelude::*;
use serde::Deserialize;

use super::{FORMAT, image::Image, json, members::Members};
use crate::{
    Avatar, Error, Frame, Limits, ReadOptions, RenderModel, Result, Splats,
    conventions::{logit_from_opacity, sh_rest_count},
};

#[derive(Deserialize)]
struct Meta {
    version: Option<u64>,
    count: Option<u64>,
    model: Option<String>,
    antialias: Option<bool>,
    asset: Option<Asset>,
    means: Means,
    scales: Table,
    quats: Table,
    sh0: Table,
    #[serde(rename = "shN")]
    sh_n: Option<ShN>,
}

#[derive(Deserialize)]
struct Asset {
    generator: Option<String>,
}

#[derive(Deserialize)]
struct Means {
    shape: Option<Vec<u64>>,
    mins: [f64; 3],
    maxs: [f64; 3],
    files: [String; 2],
}

/// One image with its values: a codebook (version 2) or ranges (version 1).
#[derive(Deserialize)]
struct Table {
    codebook: Option<Vec<f64>>,
    mins: Option<Vec<f64>>,
    maxs: Option<Vec<f64>>,
    files: [String; 1],
}

#[derive(Deserialize)]
struct ShN {
    count: Option<u64>,
    bands: Option<u8>,
    codebook: Option<Vec<f64>>,
    mins: Option<OneOrMany>,
    maxs: Option<OneOrMany>,
    files: [String; 2],
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(f64),
    Many([f64; 1]),
}

impl OneOrMany {
    fn value(&self) -> f64 {
        match self {
            Self::One(value) | Self::Many([value]) => *value,
        }
    }
}

fn fail<T>(code: &'static str, message: String) -> Result<T> {
    Err(Error::format(FORMAT, code, 0, message))
}

/// The value of each byte in each channel.
type Lookup = Vec<[f32; 256]>;

fn codebook(what: &str, values: Option<&Vec<f64>>) -> Result<[f32; 256]> {
    let Some(values) = values else { return fail("HEADER", format!("meta.json: {what} has no codebook")) };
    match <&[f64; 256]>::try_from(&values[..]) {
        Ok(values) => Ok(values.map(|v| v as f32)),
        Err(_) => fail("HEADER", format!("meta.json: codebook of {what} holds {} values, not 256", values.len())),
    }
}

fn range(min: f64, max: f64) -> [f32; 256] {
    std::array::from_fn(|b| (min + (max - min) * b as f64 / 255.0) as f32)
}

impl Table {
    fn lookup(&self, what: &str, version: u64, channels: usize) -> Result<Lookup> {
        if version == 2 {
            return Ok(vec![codebook(what, self.codebook.as_ref())?; channels]);
        }
        match (&self.mins, &self.maxs) {
            (Some(mins), Some(maxs)) if mins.len() == channels && maxs.len() == channels => {
                Ok(mins.iter().zip(maxs).map(|(&min, &max)| range(min, max)).collect())
            }
            _ => fail("HEADER", format!("meta.json: {what} lacks mins and maxs of {channels} values")),
        }
    }
}

/// Reads one SOG.
pub(super) fn avatar(mut members: Members, options: &ReadOptions) -> Result<Avatar> {
    let limits = &options.limits;
    let meta: Meta = json::parse("meta.json", &members.meta(limits)?, limits)?;
    let version = meta.version.unwrap_or(1);
    let claimed = match version {
        1 => meta.means.shape.as_ref().and_then(|shape| shape.first().copied()),
        2 => meta.count,
        _ => return fail("UNSUPPORTED", format!("meta.json: version {version} is neither 1 nor 2")),
    };
    let Some(claimed) = claimed else { return fail("HEADER", "meta.json: no count of splats".into()) };
    // 14 floats, five texels, and the working copies of the images
    let count = limits.check_splats(claimed, 56 + 5 * 8)?;

    let [low, high] = &meta.means.files;
    let names = [low, high, &meta.scales.files[0], &meta.quats.files[0], &meta.sh0.files[0]];
    let mut files = Vec::with_capacity(6);
    for name in names.into_iter().chain(meta.sh_n.as_ref().map(|sh| &sh.files[1])) {
        files.push((name, members.image(name, limits)?));
    }
    let images = files
        .par_iter()
        .map(|(name, bytes)| Image::decode(name, bytes, count, limits))
        .collect::<Result<Vec<Image>>>()?;
    let centroids = match &meta.sh_n {
        Some(sh) => Some((sh, members.image(&sh.files[0], limits)?)),
        None => None,
    };
    let texel = |image: usize| &images[image].rgba[..count];

    let scales = meta.scales.lookup("scales", version, 3)?;
    let colors = meta.sh0.lookup("sh0", version, if version == 1 { 4 } else { 3 })?;
    let alphas = if version == 1 { colors[3] } else { std::array::from_fn(|b| logit_from_opacity(b as f32 / 255.0)) };
    let triple = |p: &[u8; 4], lookup: &Lookup| std::array::from_fn(|k| lookup[k][usize::from(p[k])]);
    let mut splats = Splats {
        means: means(texel(0), texel(1), &meta.means),
        rotations: texel(3).par_iter().map(|&p| quaternion(p)).collect(),
        log_scales: texel(2).par_iter().map(|p| triple(p, &scales)).collect(),
        opacity_logits: texel(4).par_iter().map(|p| alphas[usize::from(p[3])]).collect(),
        sh0: texel(4).par_iter().map(|p| triple(p, &colors)).collect(),
        ..Splats::default()
    };
    if let Some((sh, bytes)) = centroids {
        let palette = Palette::decode(sh, &bytes, version, limits)?;
        limits.check_splats(claimed, 56 + 5 * 8 + 12 * sh_rest_count(palette.degree) as u64)?;
        splats.sh_rest = palette.coefficients(texel(5))?;
        splats.sh_degree = palette.degree;
    }
    let mut avatar = Avatar::new(splats, options.frame.unwrap_or(Frame::RDF));
    avatar.render_model = match meta.model.as_deref() {
        Some("antialiased") => RenderModel::Antialiased,
        Some("2dgs") => RenderModel::Surfel,
        _ if meta.antialias == Some(true) => RenderModel::Antialiased,
        _ => RenderModel::Classic,
    };
    avatar.meta.generator = meta.asset.and_then(|asset| asset.generator).unwrap_or_default();
    Ok(avatar)
}

/// 16 bits per axis between the bounds of `t(v) = sign(v) ln(1 + |v|)`.
fn means(low: &[[u8; 4]], high: &[[u8; 4]], meta: &Means) -> Vec<[f32; 3]> {
    // an empty range counts as 1, as in other readers
    let spans: [f64; 3] = std::array::from_fn(|k| match meta.maxs[k] - meta.mins[k] {
        0.0 => 1.0,
        span => span,
    });
    let axis = |l: &[u8; 4], h: &[u8; 4], k: usize| {
        let t = meta.mins[k] + spans[k] * f64::from(u16::from_le_bytes([l[k], h[k]])) / 65535.0;
        (t.abs().exp_m1().copysign(t)) as f32
    };
    low.par_iter().zip(high).map(|(l, h)| std::array::from_fn(|k| axis(l, h, k))).collect()
}

/// Smallest three: alpha names the largest of w, x, y, z; rgb hold the others in order, times √2.
fn quaternion([a, b, c, tag]: [u8; 4]) -> [f32; 4] {
    let Some(largest) = tag.checked_sub(252) else { return [1.0, 0.0, 0.0, 0.0] };
    let rest = [a, b, c].map(|v| (f64::from(v) / 255.0 - 0.5) * std::f64::consts::SQRT_2);
    let mut others = rest.into_iter();
    let left = (1.0 - rest.iter().map(|v| v * v).sum::<f64>()).max(0.0).sqrt();
    std::array::from_fn(|k| if k == usize::from(largest) { left } else { others.next().unwrap_or(0.0) } as f32)
}

/// SH coefficients of up to 65,536 centroids.
struct Palette {
    degree: u8,
    /// Count × K × 3.
    values: Vec<f32>,
}

/// Centroids per row of the image.
const PER_ROW: usize = 64;

impl Palette {
    fn decode(sh: &ShN, bytes: &[u8], version: u64, limits: &Limits) -> Result<Self> {
        let name = &sh.files[0];
        let lookup = if version == 2 {
            codebook("shN", sh.codebook.as_ref())?
        } else {
            let (Some(min), Some(max)) = (&sh.mins, &sh.maxs) else {
                return fail("HEADER", "meta.json: shN lacks mins and maxs".into());
            };
            range(min.value(), max.value())
        };
        let (count, degree) = match (version, sh.count, sh.bands) {
            (2, Some(count @ 1..=65_536), Some(bands @ 1..=3)) => (Some(count as usize), Some(bands)),
            (2, count, bands) => {
                return fail("HEADER", format!("meta.json: shN with count {count:?} and bands {bands:?}"));
            }
            _ => (None, None),
        };
        let least = count.unwrap_or(1).div_ceil(PER_ROW) * PER_ROW * degree.map_or(3, sh_rest_count);
        let image = Image::decode(name, bytes, least, limits)?;
        let width = image.width as usize;
        // version 1 leaves the degree to the width of the image
        let Some(degree) =
            (1..=3).find(|&d| PER_ROW * sh_rest_count(d) == width).filter(|&d| degree.is_none_or(|e| e == d))
        else {
            return fail("VALUE", format!("{name}: {width} texels wide, which fits no SH degree as expected"));
        };
        let count = count.unwrap_or(PER_ROW * image.height as usize);
        // rows of 64 centroids with K texels each: centroid after centroid
        let texels = &image.rgba[..count * sh_rest_count(degree)];
        let values = texels.iter().flat_map(|p| [0, 1, 2].map(|k| lookup[usize::from(p[k])])).collect();
        Ok(Self { degree, values })
    }

    fn coefficients(&self, labels: &[[u8; 4]]) -> Result<Vec<f32>> {
        let width = 3 * sh_rest_count(self.degree);
        let count = self.values.len() / width;
        let mut out = Vec::with_capacity(labels.len() * width);
        for (splat, p) in labels.iter().enumerate() {
            let label = usize::from(u16::from_le_bytes([p[0], p[1]]));
            if label >= count {
                return fail("VALUE", format!("shN label {label} of splat {splat}, the palette holds {count}"));
            }
            out.extend_from_slice(&self.values[label * width..][..width]);
        }
        Ok(out)
    }
}
