//! `offset.ply`: rows of little-endian float32 with RGB where other splat files keep SH.

use super::bad;
use crate::{Limits, Result, Splats, conventions::sh0_from_color};

const END: &[u8] = b"end_header\n";

/// Reads the rows; `means` holds the offsets.
pub fn read_offsets(bytes: &[u8], limits: &Limits) -> Result<Splats> {
    let searched = &bytes[..bytes.len().min(1 << 16)];
    let header_length = searched.windows(END.len()).position(|w| w == END).map(|at| at + END.len());
    let header_length = header_length.ok_or_else(|| bad("HEADER", 0, "no end_header in the first 64 KiB"))?;
    let header =
        std::str::from_utf8(&bytes[..header_length]).map_err(|_| bad("HEADER", 0, "the header is not text"))?;
    let (count, columns) = parse_header(header)?;
    let column = |name: &str| {
        let found = columns.iter().position(|c| *c == name);
        found.ok_or_else(|| bad("HEADER", 0, format!("no property {name}")))
    };
    let triple =
        |names: [&str; 3]| -> Result<[usize; 3]> { Ok([column(names[0])?, column(names[1])?, column(names[2])?]) };
    let offsets = triple(["x", "y", "z"])?;
    let colors = triple(["f_dc_0", "f_dc_1", "f_dc_2"])?;
    let scales = triple(["scale_0", "scale_1", "scale_2"])?;
    let opacity = column("opacity")?;
    let rotations = [column("rot_0")?, column("rot_1")?, column("rot_2")?, column("rot_3")?];

    let stride = columns.len() * 4;
    let rows = &bytes[header_length..];
    let needed = count.checked_mul(stride as u64).filter(|n| *n <= rows.len() as u64);
    if needed != Some(rows.len() as u64) {
        let message = format!("{} bytes of rows, {count} of {stride} bytes announced", rows.len());
        let code = if needed.is_none() { "TRUNCATED" } else { "VALUE" };
        return Err(bad(code, header_length as u64, message));
    }
    let count = limits.check_splats(count, 56)?;
    let mut splats = Splats::with_len(count, 0);
    for (i, row) in rows.chunks_exact(stride).enumerate() {
        let value = |c: usize| f32::from_le_bytes([row[c * 4], row[c * 4 + 1], row[c * 4 + 2], row[c * 4 + 3]]);
        splats.means[i] = offsets.map(value);
        splats.sh0[i] = colors.map(|c| sh0_from_color(value(c)));
        splats.log_scales[i] = scales.map(value);
        splats.opacity_logits[i] = value(opacity);
        splats.rotations[i] = rotations.map(value);
    }
    Ok(splats)
}

/// Row count and property names of a PLY header with one element of floats.
fn parse_header(header: &str) -> Result<(u64, Vec<&str>)> {
    let mut lines = header.lines();
    if lines.next() != Some("ply") {
        return Err(bad("HEADER", 0, "not a PLY file"));
    }
    let (mut format, mut count, mut columns) = (false, None, Vec::new());
    for line in lines {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words[..] {
            ["format", "binary_little_endian", "1.0"] => format = true,
            ["comment" | "obj_info", ..] | ["end_header"] | [] => {}
            ["element", "vertex", n] if count.is_none() => {
                count = n.parse().ok();
            }
            ["property", "float" | "float32", name] if count.is_some() => columns.push(name),
            _ => return Err(bad("UNSUPPORTED", 0, format!("header line `{line:.80}`"))),
        }
    }
    match count {
        Some(count) if format => Ok((count, columns)),
        _ => Err(bad("HEADER", 0, "no little-endian format line or no vertex element")),
    }
}
