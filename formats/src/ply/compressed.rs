//! PlayCanvas compressed PLY (`.compressed.ply`): chunks of 256 splats in Morton order, 16 bytes a splat, 8-bit SH.
//!
//! Elements: `chunk` (18 floats: smallest and largest mean, log-scale, colour; old files lack the colours), `vertex` (4
//! words: position and scale as 11 | 10 | 11 bits of the chunk's range, rotation as the three smaller components of 10
//! bits, colour and opacity as 4 bytes) and `sh` (one byte per `f_rest`, channel by channel, range ±4).

use std::f64::consts::{FRAC_1_SQRT_2, SQRT_2};

use rayon::prelude::*;

use super::{
    Encoding, Header, Ply, Table, at_rest,
    comments::Comments,
    header::{bad, is_ply},
    splats::{degree_of_rest, find_all, numbered},
    write::{SourceColumn, element, vector_columns, write_rows},
};
use crate::{
    Avatar, DType, Frame, ReadOptions, Result, Source, Splats, WriteOptions,
    conventions::{self, logit_from_opacity, normalize_quaternion, opacity_from_logit, sh0_from_color},
    sink::WriteSeek,
};

/// Splats that share a chunk.
const CHUNK: usize = 256;
/// Log-scales are cut to ±20 before they set the range of a chunk.
const SCALE_LIMIT: f32 = 20.0;
/// A range below this stores 0.
const SMALLEST_RANGE: f32 = 1e-5;
const MEANS: [&str; 6] = ["min_x", "min_y", "min_z", "max_x", "max_y", "max_z"];
const SCALES: [&str; 6] = ["min_scale_x", "min_scale_y", "min_scale_z", "max_scale_x", "max_scale_y", "max_scale_z"];
const COLORS: [&str; 6] = ["min_r", "min_g", "min_b", "max_r", "max_g", "max_b"];
const PACKED: [&str; 4] = ["packed_position", "packed_rotation", "packed_scale", "packed_color"];

/// Is this the header of a compressed PLY?
pub(crate) fn sniff(_name: &str, head: &[u8]) -> bool {
    let header = head.windows(10).position(|w| w == b"end_header").map_or(head, |end| &head[..end]);
    is_ply(head) && header.windows(PACKED[0].len()).any(|w| w == PACKED[0].as_bytes())
}

/// Ranges of one chunk: smallest and largest value of three components each.
#[derive(Clone, Copy)]
struct Ranges {
    means: [f32; 6],
    scales: [f32; 6],
    /// Display colours; 0..1 in files without colour ranges.
    colors: [f32; 6],
}

/// Reads a compressed PLY. Opacity bytes 0 and 255 become logits of about ∓13.8 instead of infinities.
///
/// # Errors
/// Those of [`Ply::parse`]; `HEADER` for missing elements, columns or rows and wrong types.
pub fn read(source: &Source, options: &ReadOptions) -> Result<Avatar> {
    let ply = Ply::parse(source, &options.limits)?;
    let table = |name: &str| {
        ply.table(name).ok_or_else(|| bad("HEADER", 0, format!("no element `{name}` in a compressed PLY")))
    };
    let (chunks, vertices) = (read_chunks(table("chunk")?)?, table("vertex")?);
    let columns = find_all(vertices, PACKED)?;
    if columns.iter().any(|c| c.dtype != DType::U32) {
        return Err(bad("HEADER", vertices.offset, "packed properties are not of the type uint"));
    }
    let (count, needed) = (vertices.count, vertices.count.div_ceil(CHUNK));
    if chunks.len() < needed {
        let message = format!("{} chunks for {count} splats, {needed} expected", chunks.len());
        return Err(bad("HEADER", vertices.offset, message));
    }
    let sh = ply.table("sh");
    let rest = sh.map_or(Vec::new(), |sh| numbered(sh, "f_rest_"));
    let degree = degree_of_rest(rest.len(), sh.map_or(0, |s| s.offset))?;
    if let Some(sh) = sh
        && (sh.count != count || rest.iter().any(|c| c.dtype != DType::U8))
    {
        let message = format!("element `sh` has {} rows for {count} splats, or is not of bytes", sh.count);
        return Err(bad("HEADER", sh.offset, message));
    }
    options.limits.check_splats(count as u64, 56 + 4 * rest.len() as u64)?;

    let mut splats = Splats::with_len(count, degree);
    for (i, row) in vertices.rows.chunks_exact(vertices.stride.max(1)).enumerate() {
        let ranges = &chunks[i / CHUNK];
        let [position, rotation, scale, color] = columns.map(|c| {
            let at = &row[c.offset..];
            u32::from_le_bytes([at[0], at[1], at[2], at[3]])
        });
        splats.means[i] = unpack_vector(position, &ranges.means);
        splats.rotations[i] = unpack_rotation(rotation);
        splats.log_scales[i] = unpack_vector(scale, &ranges.scales);
        let bytes = color.to_be_bytes();
        splats.sh0[i] = std::array::from_fn(|k| {
            sh0_from_color(lerp(ranges.colors[k], ranges.colors[k + 3], f32::from(bytes[k]) / 255.0))
        });
        splats.opacity_logits[i] = logit_from_opacity(f32::from(bytes[3]) / 255.0);
    }
    if let (Some(sh), true) = (sh, !rest.is_empty()) {
        let coefficients = rest.len() / 3;
        splats.sh_rest.par_chunks_exact_mut(rest.len()).zip(sh.rows.par_chunks_exact(sh.stride)).for_each(
            |(out, row)| {
                for (channel, plane) in rest.chunks_exact(coefficients).enumerate() {
                    plane.iter().enumerate().for_each(|(k, c)| out[k * 3 + channel] = unpack_sh(row[c.offset]));
                }
            },
        );
    }
    let comments = Comments::parse(&ply.header.comments);
    let mut avatar = Avatar::new(splats, options.frame.or(comments.frame).unwrap_or(Frame::RDF));
    avatar.render_model = comments.render_model.unwrap_or_default();
    comments.into_meta(&mut avatar.meta);
    Ok(avatar)
}

fn read_chunks(table: &Table) -> Result<Vec<Ranges>> {
    let (means, scales) = (find_all(table, MEANS)?, find_all(table, SCALES)?);
    let colors = if table.column(COLORS[0]).is_some() { Some(find_all(table, COLORS)?) } else { None };
    let rows = table.rows.chunks_exact(table.stride.max(1));
    Ok(rows
        .map(|row| Ranges {
            means: means.map(|c| c.f32(row)),
            scales: scales.map(|c| c.f32(row)),
            colors: colors.map_or([0.0, 0.0, 0.0, 1.0, 1.0, 1.0], |c| c.map(|c| c.f32(row))),
        })
        .collect())
}

/// Writes a compressed PLY in RDF, or [`WriteOptions::frame`]: the splats in Morton order, rigs and attributes left out.
/// Splats with a NaN are left out too, because no code stands for it.
pub fn write(avatar: &Avatar, sink: &mut dyn WriteSeek, options: &WriteOptions) -> Result<()> {
    let frame = options.frame.unwrap_or(Frame::RDF);
    let avatar = at_rest(avatar, frame)?;
    let splats = &avatar.splats;
    let order = morton_order(splats);
    let chunks: Vec<Ranges> = order.par_chunks(CHUNK).map(|members| ranges(splats, members)).collect();
    let words: Vec<[u32; 4]> = order
        .par_iter()
        .enumerate()
        .map(|(place, i)| pack_splat(splats, *i as usize, &chunks[place / CHUNK]))
        .collect();

    let parts = |part: fn(&Ranges) -> [f32; 6]| chunks.iter().map(part).collect::<Vec<[f32; 6]>>();
    let (means, scales, colors) = (parts(|r| r.means), parts(|r| r.scales), parts(|r| r.colors));
    let mut chunk_columns: Vec<_> = vector_columns(MEANS, &means).collect();
    chunk_columns.extend(vector_columns(SCALES, &scales));
    chunk_columns.extend(vector_columns(COLORS, &colors));
    let packed: &[u8] = bytemuck::cast_slice(&words);
    let vertex_columns: Vec<_> = PACKED
        .iter()
        .enumerate()
        .map(|(k, name)| SourceColumn::strided(*name, DType::U32, packed, 4 * k, 16))
        .collect();
    let (coefficients, width) = (splats.sh_rest_count(), splats.sh_rest_count() * 3);
    let mut sh = vec![0u8; order.len() * width];
    sh.par_chunks_mut(width.max(1)).zip(&order).for_each(|(out, i)| {
        let row = &splats.sh_rest[*i as usize * width..][..width];
        for (channel, plane) in out.chunks_exact_mut(coefficients).enumerate() {
            plane.iter_mut().enumerate().for_each(|(k, byte)| *byte = pack_sh(row[k * 3 + channel]));
        }
    });
    let sh_columns: Vec<_> =
        (0..width).map(|k| SourceColumn::strided(format!("f_rest_{k}"), DType::U8, &sh, k, width)).collect();

    let mut elements =
        vec![element("chunk", chunks.len(), &chunk_columns)?, element("vertex", words.len(), &vertex_columns)?];
    if width > 0 {
        elements.push(element("sh", words.len(), &sh_columns)?);
    }
    let comments = super::comments::write(&avatar, frame, Frame::RDF);
    sink.write_all(&Header { encoding: Encoding::LittleEndian, comments, elements }.to_bytes())?;
    write_rows(sink, chunks.len(), &chunk_columns)?;
    write_rows(sink, words.len(), &vertex_columns)?;
    write_rows(sink, words.len(), &sh_columns)
}

/// Indices of the splats without NaN, along a Morton curve with 21 bits an axis; ties keep their order.
fn morton_order(splats: &Splats) -> Vec<u32> {
    let (low, high) = splats.bounds().unwrap_or_default();
    let steps = f64::from((1u32 << 21) - 1);
    let key = |mean: [f32; 3]| {
        crate::morton::key(std::array::from_fn(|axis| {
            let range = f64::from(high[axis]) - f64::from(low[axis]);
            let t = if range > 0.0 { (f64::from(mean[axis]) - f64::from(low[axis])) / range } else { 0.0 };
            (t.clamp(0.0, 1.0) * steps) as u32
        }))
    };
    let width = splats.sh_rest_count() * 3;
    let has_nan = |i: usize| {
        let rest = &splats.sh_rest[i * width..][..width];
        let pose = splats.means[i].iter().chain(&splats.rotations[i]).chain(&splats.log_scales[i]);
        pose.chain(&splats.sh0[i]).chain(rest).any(|v| v.is_nan())
            || splats.opacity_logits[i].is_nan()
            || splats.means[i].iter().any(|v| v.is_infinite())
    };
    let mut keyed: Vec<(u64, u32)> =
        (0..splats.len()).into_par_iter().filter(|i| !has_nan(*i)).map(|i| (key(splats.means[i]), i as u32)).collect();
    keyed.par_sort_unstable();
    keyed.into_iter().map(|(_, i)| i).collect()
}

fn display_color(sh0: f32) -> f32 {
    // infinities have no range; the limits are far outside what any display shows
    conventions::color_from_sh0(sh0).clamp(-1e3, 1e3)
}

fn ranges(splats: &Splats, members: &[u32]) -> Ranges {
    let extremes = |value: &dyn Fn(usize) -> [f32; 3]| {
        let (mut low, mut high) = ([f32::INFINITY; 3], [f32::NEG_INFINITY; 3]);
        for i in members {
            let v = value(*i as usize);
            low = std::array::from_fn(|k| low[k].min(v[k]));
            high = std::array::from_fn(|k| high[k].max(v[k]));
        }
        [low[0], low[1], low[2], high[0], high[1], high[2]]
    };
    Ranges {
        means: extremes(&|i| splats.means[i]),
        scales: extremes(&|i| splats.log_scales[i].map(|s| s.clamp(-SCALE_LIMIT, SCALE_LIMIT))),
        colors: extremes(&|i| splats.sh0[i].map(display_color)),
    }
}

fn pack_splat(splats: &Splats, i: usize, ranges: &Ranges) -> [u32; 4] {
    let unit = |value: f32, range: &[f32; 6], k: usize| {
        let extent = range[k + 3] - range[k];
        if extent < SMALLEST_RANGE { 0.0 } else { (value - range[k]) / extent }
    };
    let vector = |value: [f32; 3], range: &[f32; 6]| {
        let [x, y, z] = std::array::from_fn(|k| unit(value[k], range, k));
        unorm(x, 11) << 21 | unorm(y, 10) << 11 | unorm(z, 11)
    };
    let colors = splats.sh0[i].map(display_color);
    let [r, g, b] = std::array::from_fn(|k| unorm(unit(colors[k], &ranges.colors, k), 8));
    let alpha = unorm(opacity_from_logit(splats.opacity_logits[i]), 8);
    [
        vector(splats.means[i], &ranges.means),
        pack_rotation(splats.rotations[i]),
        vector(splats.log_scales[i].map(|s| s.clamp(-SCALE_LIMIT, SCALE_LIMIT)), &ranges.scales),
        r << 24 | g << 16 | b << 8 | alpha,
    ]
}

/// The nearest of 2^bits − 1 steps from 0 to 1.
fn unorm(value: f32, bits: u32) -> u32 {
    let steps = f64::from((1u32 << bits) - 1);
    (f64::from(value) * steps + 0.5).floor().clamp(0.0, steps) as u32
}

fn lerp(low: f32, high: f32, t: f32) -> f32 {
    (f64::from(low) * (1.0 - f64::from(t)) + f64::from(high) * f64::from(t)) as f32
}

fn unpack_vector(word: u32, range: &[f32; 6]) -> [f32; 3] {
    let units = [(word >> 21) as f32 / 2047.0, (word >> 11 & 0x3ff) as f32 / 1023.0, (word & 0x7ff) as f32 / 2047.0];
    std::array::from_fn(|k| lerp(range[k], range[k + 3], units[k]))
}

/// Index of the largest component (w, x, y, z) in the top two bits, the others in order in 10 bits each.
fn pack_rotation(rotation: [f32; 4]) -> u32 {
    let q = normalize_quaternion(rotation.map(f64::from));
    let largest = (1..4).fold(0, |best, k| if q[k].abs() > q[best].abs() { k } else { best });
    let sign = if q[largest] < 0.0 { -1.0 } else { 1.0 };
    (0..4)
        .filter(|k| *k != largest)
        .fold(largest as u32, |word, k| word << 10 | unorm((sign * q[k] * FRAC_1_SQRT_2 + 0.5) as f32, 10))
}

fn unpack_rotation(word: u32) -> [f32; 4] {
    let largest = (word >> 30) as usize;
    let mut q = [0.0; 4];
    let (mut shift, mut sum) = (20, 0.0);
    for k in (0..4).filter(|k| *k != largest) {
        let c = (f64::from(word >> shift & 0x3ff) / 1023.0 - 0.5) * SQRT_2;
        q[k] = c as f32;
        sum += c * c;
        shift -= 10;
    }
    q[largest] = (1.0 - sum).max(0.0).sqrt() as f32;
    q
}

fn pack_sh(value: f32) -> u8 {
    ((f64::from(value) / 8.0 + 0.5) * 256.0).clamp(0.0, 255.0) as u8
}

fn unpack_sh(byte: u8) -> f32 {
    let unit = match byte {
        0 => 0.0,
        255 => 1.0,
        _ => (f32::from(byte) + 0.5) / 256.0,
    };
    (unit - 0.5) * 8.0
}
