//! From splats to `meta.json` and its images, version 2.

use rayon::prelude::*;
use serde_json::json;

use super::{
    codebook::{codebook, nearest},
    image::{Image, MAX_SIDE},
    palette,
};
use crate::{
    Avatar, Error, Frame, RenderModel, Result, Splats, WriteOptions,
    conventions::{normalize_quaternion, opacity_from_logit, sh_rest_count},
};

/// Centroids per row of the palette image.
const PER_ROW: usize = 64;
/// Infinite log-scales are stored this far outside the finite ones.
const BEYOND: f32 = 20.0;
/// Largest SH degree of the format.
const MAX_DEGREE: u8 = 3;

/// The files of a SOG: images first, `meta.json` last.
pub(super) fn files(avatar: &Avatar, options: &WriteOptions) -> Result<Vec<(String, Vec<u8>)>> {
    let mut splats = avatar.rest_splats(options.frame.unwrap_or(Frame::RDF))?;
    let count = splats.len();
    if count == 0 || u32::try_from(count).is_err() {
        return Err(Error::usage(format!("SOG cannot hold {count} drawable splats")));
    }
    if splats.sh_degree > MAX_DEGREE {
        splats.set_sh_degree(MAX_DEGREE);
    }
    let splats = splats.gather(&morton_order(&splats.means));
    let blank = Image::for_count(count)?;

    let (means_low, means_high, mins, maxs) = means(&splats.means, &blank);
    let log_scales = finite_scales(&splats.log_scales);
    let scale_book = codebook(log_scales.as_flattened().iter().copied());
    let color_book = codebook(splats.sh0.as_flattened().iter().copied());
    let scales = filled(
        &blank,
        |i| {
            let [x, y, z] = log_scales[i].map(|v| nearest(&scale_book, v));
            [x, y, z, 255]
        },
        count,
    );
    let quats = filled(&blank, |i| quaternion(splats.rotations[i]), count);
    let sh0 = filled(
        &blank,
        |i| {
            let [r, g, b] = splats.sh0[i].map(|v| nearest(&color_book, v));
            [r, g, b, (opacity_from_logit(splats.opacity_logits[i]) * 255.0).round() as u8]
        },
        count,
    );

    let mut meta = json!({
        "version": 2,
        "asset": { "generator": concat!("gav ", env!("CARGO_PKG_VERSION")) },
        "count": count,
    });
    match avatar.render_model {
        RenderModel::Classic => {}
        RenderModel::Antialiased => {
            meta["model"] = json!("antialiased");
            // the key that readers of early version 2 know
            meta["antialias"] = json!(true);
        }
        RenderModel::Surfel => meta["model"] = json!("2dgs"),
    }
    meta["means"] = json!({ "mins": mins, "maxs": maxs, "files": ["means_l.webp", "means_u.webp"] });
    meta["scales"] = json!({ "codebook": scale_book.to_vec(), "files": ["scales.webp"] });
    meta["quats"] = json!({ "files": ["quats.webp"] });
    meta["sh0"] = json!({ "codebook": color_book.to_vec(), "files": ["sh0.webp"] });
    let mut images = vec![
        ("means_l.webp", means_low),
        ("means_u.webp", means_high),
        ("quats.webp", quats),
        ("scales.webp", scales),
        ("sh0.webp", sh0),
    ];
    if splats.sh_degree > 0 {
        let (centroids, labels, book, entries) = harmonics(&splats, &blank);
        meta["shN"] = json!({
            "count": entries,
            "bands": splats.sh_degree,
            "codebook": book.to_vec(),
            "files": ["shN_centroids.webp", "shN_labels.webp"],
        });
        images.push(("shN_centroids.webp", centroids));
        images.push(("shN_labels.webp", labels));
    }
    let encoded = images.par_iter().map(|(_, image)| image.encode()).collect::<Result<Vec<_>>>()?;
    let mut files: Vec<(String, Vec<u8>)> = images.iter().map(|(name, _)| (*name).to_owned()).zip(encoded).collect();
    files.push(("meta.json".to_owned(), meta.to_string().into_bytes()));
    Ok(files)
}

/// A copy of `blank` with texel i made from splat i; the texels behind the last splat stay black.
fn filled(blank: &Image, texel: impl Fn(usize) -> [u8; 4] + Sync, count: usize) -> Image {
    let mut image = blank.clone();
    image.rgba[..count].par_iter_mut().enumerate().for_each(|(i, out)| *out = texel(i));
    image
}

/// Indices along the Z-order curve with 21 bits per axis over the bounding box.
fn morton_order(means: &[[f32; 3]]) -> Vec<u32> {
    let mut low = [f32::MAX; 3];
    let mut high = [f32::MIN; 3];
    for mean in means {
        for k in 0..3 {
            low[k] = low[k].min(mean[k]);
            high[k] = high[k].max(mean[k]);
        }
    }
    let cell = |v: f32, k: usize| -> u32 {
        let span = f64::from(high[k]) - f64::from(low[k]);
        if span > 0.0 { ((f64::from(v) - f64::from(low[k])) / span * 2_097_151.0) as u32 } else { 0 }
    };
    let mut keys: Vec<(u64, u32)> = means
        .par_iter()
        .enumerate()
        .map(|(i, mean)| (crate::morton::key(std::array::from_fn(|k| cell(mean[k], k))), i as u32))
        .collect();
    keys.par_sort_unstable();
    keys.into_iter().map(|(_, i)| i).collect()
}

/// Low and high bytes of 16-bit positions on the scale `t(v) = sign(v) ln(1 + |v|)`, with the bounds of t.
fn means(means: &[[f32; 3]], blank: &Image) -> (Image, Image, [f64; 3], [f64; 3]) {
    let log: Vec<[f64; 3]> =
        means.par_iter().map(|m| m.map(|v| f64::from(v.abs()).ln_1p().copysign(f64::from(v)))).collect();
    let mut mins = [f64::MAX; 3];
    let mut maxs = [f64::MIN; 3];
    for t in &log {
        for k in 0..3 {
            mins[k] = mins[k].min(t[k]);
            maxs[k] = maxs[k].max(t[k]);
        }
    }
    let quantised = |i: usize| -> [[u8; 2]; 3] {
        std::array::from_fn(|k| {
            let span = maxs[k] - mins[k];
            let unit = if span > 0.0 { (log[i][k] - mins[k]) / span } else { 0.0 };
            ((unit * 65535.0).round() as u16).to_le_bytes()
        })
    };
    let part = |byte: usize| {
        let texel = |i: usize| {
            let [x, y, z] = quantised(i).map(|axis| axis[byte]);
            [x, y, z, 255]
        };
        filled(blank, texel, means.len())
    };
    (part(0), part(1), mins, maxs)
}

/// Replaces infinite log-scales by values beyond the finite ones.
fn finite_scales(log_scales: &[[f32; 3]]) -> Vec<[f32; 3]> {
    let finite = log_scales.as_flattened().iter().filter(|v| v.is_finite());
    let (low, high) = finite.fold((f32::MAX, f32::MIN), |(low, high), &v| (low.min(v), high.max(v)));
    let (low, high) = if low > high { (0.0, 0.0) } else { (low, high) };
    let finite = |v: f32| match v {
        f32::INFINITY => high + BEYOND,
        f32::NEG_INFINITY => low - BEYOND,
        v => v,
    };
    log_scales.par_iter().map(|s| s.map(finite)).collect()
}

/// The three smaller of w, x, y, z as bytes of ±1/√2, and 252 + index of the largest.
fn quaternion(q: [f32; 4]) -> [u8; 4] {
    let q = normalize_quaternion(q.map(f64::from));
    let largest = (1..4).fold(0, |best, k| if q[k].abs() > q[best].abs() { k } else { best });
    let scale = std::f64::consts::SQRT_2.copysign(q[largest]);
    let mut texel = [0, 0, 0, 252 + largest as u8];
    for (out, k) in texel.iter_mut().zip((0..4).filter(|&k| k != largest)) {
        *out = ((q[k] * scale * 0.5 + 0.5) * 255.0).round().clamp(0.0, 255.0) as u8;
    }
    texel
}

/// Palette image, label image, codebook and number of entries.
fn harmonics(splats: &Splats, blank: &Image) -> (Image, Image, [f32; 256], usize) {
    let coefficients = sh_rest_count(splats.sh_degree);
    let dim = 3 * coefficients;
    let palette = palette::palette(&splats.sh_rest, dim, palette::size_for(splats.len()));
    let entries = palette.entries.len() / dim;
    let book = codebook(palette.entries.iter().copied());
    let rows = entries.div_ceil(PER_ROW);
    debug_assert!(rows <= MAX_SIDE as usize);
    let mut centroids = Image::filled((PER_ROW * coefficients) as u32, rows as u32);
    centroids.rgba.par_iter_mut().zip(palette.entries.par_chunks_exact(3)).for_each(|(texel, rgb)| {
        *texel = [nearest(&book, rgb[0]), nearest(&book, rgb[1]), nearest(&book, rgb[2]), 255];
    });
    let label = |i: usize| {
        let [low, high] = palette.labels[i].to_le_bytes();
        [low, high, 0, 255]
    };
    (centroids, filled(blank, label, splats.len()), book, entries)
}
