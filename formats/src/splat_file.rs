//! `.splat` (antimatter15): 32 bytes a splat, no header. Mean and linear scale as float32, colour, opacity and rotation
//! as bytes.

use rayon::prelude::*;

use crate::{
    Avatar, Error, Frame, ReadOptions, Result, Source, Splats, WriteOptions,
    conventions::{color_from_sh0, logit_from_opacity, normalize_quaternion, opacity_from_logit, sh0_from_color},
    ply::at_rest,
    sink::WriteSeek,
};

/// Bytes of one splat.
const RECORD: usize = 32;
/// The format has no signature: the name decides, and the head, which is whole or cut at a multiple of 32 bytes.
pub(crate) fn sniff(name: &str, head: &[u8]) -> bool {
    name.ends_with(".splat") && !head.is_empty() && head.len().is_multiple_of(RECORD)
}

/// Natural logarithm of a linear scale; zero and below give that of the smallest normal number, about −87.
pub(crate) fn log_of_scale(scale: f32) -> f32 {
    // NaN stays NaN, unlike with `max`
    if scale < f32::MIN_POSITIVE { f32::MIN_POSITIVE.ln() } else { scale.ln() }
}

/// Reads a `.splat` file, in RDF.
///
/// # Errors
/// `TRUNCATED` when the size is no multiple of 32; limits.
pub fn read(source: &Source, options: &ReadOptions) -> Result<Avatar> {
    let size = source.len();
    if size == 0 || !size.is_multiple_of(RECORD) {
        let message = format!("{size} bytes are no whole number of {RECORD}-byte splats");
        return Err(Error::format("splat", "TRUNCATED", (size / RECORD * RECORD) as u64, message));
    }
    let count = options.limits.check_splats((size / RECORD) as u64, 56)?;
    let mut splats = Splats::with_len(count, 0);
    for (i, record) in source.chunks_exact(RECORD).enumerate() {
        let float = |k: usize| f32::from_le_bytes([record[k], record[k + 1], record[k + 2], record[k + 3]]);
        splats.means[i] = [float(0), float(4), float(8)];
        splats.log_scales[i] = [float(12), float(16), float(20)].map(log_of_scale);
        splats.sh0[i] = std::array::from_fn(|k| sh0_from_color(f32::from(record[24 + k]) / 255.0));
        splats.opacity_logits[i] = logit_from_opacity(f32::from(record[27]) / 255.0);
        let q = std::array::from_fn(|k| (f64::from(record[28 + k]) - 128.0) / 128.0);
        splats.rotations[i] = normalize_quaternion(q).map(|v| v as f32);
    }
    Ok(Avatar::new(splats, options.frame.unwrap_or(Frame::RDF)))
}

/// Writes a `.splat` file in RDF, or [`WriteOptions::frame`]: the splats at rest, without SH beyond degree 0, the most
/// visible (volume times opacity) first, as viewers show a file while it loads.
pub fn write(avatar: &Avatar, sink: &mut dyn WriteSeek, options: &WriteOptions) -> Result<()> {
    let avatar = at_rest(avatar, options.frame.unwrap_or(Frame::RDF))?;
    let splats = &avatar.splats;
    let mut order: Vec<(f32, u32)> = (0..splats.len())
        .map(|i| {
            let volume = splats.log_scales[i].iter().sum::<f32>().exp();
            (volume * opacity_from_logit(splats.opacity_logits[i]), i as u32)
        })
        .collect();
    order.par_sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut buffer = Vec::with_capacity(order.len().min(1 << 15) * RECORD);
    for block in order.chunks(1 << 15) {
        buffer.clear();
        block.iter().for_each(|(_, i)| pack(splats, *i as usize, &mut buffer));
        sink.write_all(&buffer)?;
    }
    Ok(())
}

fn pack(splats: &Splats, i: usize, out: &mut Vec<u8>) {
    // a saturating cast: NaN becomes 0
    let byte = |unit: f32| (unit * 255.0).round().clamp(0.0, 255.0) as u8;
    splats.means[i].iter().for_each(|v| out.extend(v.to_le_bytes()));
    splats.log_scales[i].iter().for_each(|v| out.extend(v.exp().to_le_bytes()));
    out.extend(splats.sh0[i].map(|v| byte(color_from_sh0(v))));
    out.push(byte(opacity_from_logit(splats.opacity_logits[i])));
    let q = normalize_quaternion(splats.rotations[i].map(f64::from));
    out.extend(q.map(|v| (v * 128.0 + 128.0).round().clamp(0.0, 255.0) as u8));
}
