//! Splat attributes to chunks (`spec/gav.md` 7). The splats arrive in their final order, canonical when the file is lossy.

use super::{
    chunk::{SPLAT_BLOCK, blocked},
    container::Chunk,
    floats::write_floats,
    harmonics::{self, Basis, MAX_SH_CLASS, SH_CONTEXTS},
    ints::zigzag,
    quantization::{Classes, Quantization, class_step},
    rotation::to_swing_twist,
    symbols::{Entropy, StreamKind, Symbols, symbols_chunk},
};
use crate::{Splats, conventions::SH_C0, morton};
use rayon::prelude::*;
use std::ops::Range;

/// Layout byte of `POSN` parameters.
pub(crate) const MORTON_LAYOUT: u8 = 0;
pub(crate) const PLANAR_LAYOUT: u8 = 1;

/// Rows of the orthonormal colour transform: grey, red–blue, green against both.
pub(crate) const COLOR_AXES: [[f64; 3]; 3] = [
    [0.577_350_269_189_625_8, 0.577_350_269_189_625_8, 0.577_350_269_189_625_8],
    [std::f64::consts::FRAC_1_SQRT_2, 0.0, -std::f64::consts::FRAC_1_SQRT_2],
    [0.408_248_290_463_863, -0.816_496_580_927_726, 0.408_248_290_463_863],
];
/// Colour that a block's prediction starts from: mid grey, 0.5 · √3.
pub(crate) const COLOR_START: [f64; 3] = [0.866_025_403_784_438_6, 0.0, 0.0];

/// Chunks of a lossless layer.
pub(crate) fn lossless_chunks(splats: &Splats, range: Range<usize>, level: i32) -> Vec<Chunk> {
    fn column<const W: usize>(rows: &[[f32; W]], c: usize) -> Vec<f32> {
        rows.iter().map(|row| row[c]).collect()
    }
    let floats = |kind: &[u8; 4], columns: &(dyn Fn(Range<usize>) -> Vec<Vec<f32>> + Sync)| {
        blocked(kind, 0, Vec::new(), range.len(), SPLAT_BLOCK, level, |writer, block| {
            let rows = block.start + range.start..block.end + range.start;
            write_floats(writer, &columns(rows));
        })
    };
    let width = splats.sh_rest_count() * 3;
    let mut chunks = vec![
        floats(b"POSN", &|r| (0..3).map(|c| column(&splats.means[r.clone()], c)).collect()),
        floats(b"OPAC", &|r| vec![splats.opacity_logits[r].to_vec()]),
        floats(b"SCAL", &|r| (0..3).map(|c| column(&splats.log_scales[r.clone()], c)).collect()),
        floats(b"ROTN", &|r| (0..4).map(|c| column(&splats.rotations[r.clone()], c)).collect()),
        floats(b"COLR", &|r| (0..3).map(|c| column(&splats.sh0[r.clone()], c)).collect()),
    ];
    if width > 0 {
        chunks.push(floats(b"SHCO", &|r| {
            (0..width).map(|c| r.clone().map(|i| splats.sh_rest[i * width + c]).collect()).collect()
        }));
    }
    chunks
}

/// Codes and classes that several attributes need.
pub(crate) struct Codes {
    opacity: Vec<u16>,
    scales: Vec<[u16; 3]>,
    opacity_classes: Vec<u8>,
    classes: Vec<Classes>,
}

impl Codes {
    /// Quantises opacity and scale of every splat, completes the tables, and derives the classes as a decoder will.
    pub fn of(splats: &Splats, quantization: &mut Quantization) -> Self {
        let q = &*quantization;
        let opacity_class: Vec<u8> = (0..=q.opacity_levels).map(|code| q.opacity_class(code) as u8).collect();
        let opacity: Vec<u16> = splats.opacity_logits.par_iter().map(|&v| q.opacity_code(v) as u16).collect();
        let opacity_classes: Vec<u8> = opacity.iter().map(|&code| opacity_class[usize::from(code)]).collect();
        let scales: Vec<[u16; 3]> = splats
            .log_scales
            .par_iter()
            .zip(&opacity_classes)
            .map(|(row, &class)| row.map(|s| q.scale_code(s, class.into()) as u16))
            .collect();
        quantization.fill_scale_tables(opacity_classes.iter().zip(&scales).map(|(&class, row)| (class, row[0])));
        let q = &*quantization;
        let classes = (0..splats.len())
            .into_par_iter()
            .map(|i| {
                let class = opacity_classes[i].into();
                let logs = scales[i].map(|code| q.scale_log(code.into(), class).expect("tables cover every splat"));
                q.classes(opacity[i].into(), logs)
            })
            .collect();
        Self { opacity, scales, opacity_classes, classes }
    }
}

/// Grid point of a position.
pub(crate) fn grid_point(mean: [f32; 3], q: &Quantization) -> [i64; 3] {
    std::array::from_fn(|k| ((f64::from(mean[k]) - q.origin[k]) / q.position_step).round_ties_even() as i64)
}

/// Morton key of a position.
pub(crate) fn position_key(mean: [f32; 3], q: &Quantization) -> u64 {
    morton::key(grid_point(mean, q).map(|g| g.clamp(0, 0x1F_FFFF) as u32))
}

/// Chunks of a quantised layer.
pub(crate) fn quantized_chunks(
    splats: &Splats,
    codes: &Codes,
    range: Range<usize>,
    q: &Quantization,
    basis: Option<&Basis>,
    entropy: Entropy,
    morton_order: bool,
) -> Vec<Chunk> {
    let count = range.len();
    let at = |block: Range<usize>| block.start + range.start..block.end + range.start;
    let zigzag32 = |v: f64| zigzag(v.round_ties_even() as i32);
    let mut chunks = Vec::new();

    chunks.push(if morton_order {
        symbols_chunk(b"POSN", entropy, vec![MORTON_LAYOUT], count, &[StreamKind::Wide], |block| {
            let mut previous = None;
            let mut first = 0;
            let deltas = at(block)
                .map(|i| {
                    let key = position_key(splats.means[i], q);
                    first = if previous.is_none() { key } else { first };
                    key - previous.replace(key).unwrap_or(key)
                })
                .collect();
            (first.to_le_bytes().to_vec(), vec![Symbols::Wide(deltas)])
        })
    } else {
        symbols_chunk(b"POSN", entropy, vec![PLANAR_LAYOUT], count, &[StreamKind::Values(1); 3], |block| {
            let points: Vec<[i64; 3]> = at(block).map(|i| grid_point(splats.means[i], q)).collect();
            let axis =
                |k: usize| points.iter().map(|p| zigzag(p[k].clamp(i32::MIN.into(), i32::MAX.into()) as i32)).collect();
            (Vec::new(), (0..3).map(|k| Symbols::Values { values: axis(k), contexts: None }).collect())
        })
    });

    chunks.push(symbols_chunk(b"OPAC", entropy, Vec::new(), count, &[StreamKind::Values(1)], |block| {
        let values = codes.opacity[at(block)].iter().map(|&c| c.into()).collect();
        (Vec::new(), vec![Symbols::Values { values, contexts: None }])
    }));

    let opacity_contexts = q.opacity_class_count();
    chunks.push(symbols_chunk(
        b"SCAL",
        entropy,
        Vec::new(),
        count,
        &[StreamKind::Values(opacity_contexts); 3],
        |block| {
            let rows = &codes.scales[at(block.clone())];
            let contexts = codes.opacity_classes[at(block)].to_vec();
            let stream = |value: &dyn Fn(&[u16; 3]) -> u16| Symbols::Values {
                values: rows.iter().map(|row| value(row).into()).collect(),
                contexts: Some(contexts.clone()),
            };
            (Vec::new(), vec![stream(&|r| r[0]), stream(&|r| r[0] - r[1]), stream(&|r| r[1] - r[2])])
        },
    ));

    let (twist_contexts, contexts) = (q.class_count() + 1, q.class_count());
    let rotation_kinds =
        [StreamKind::Values(twist_contexts), StreamKind::Values(contexts), StreamKind::Values(contexts)];
    chunks.push(symbols_chunk(b"ROTN", entropy, Vec::new(), count, &rotation_kinds, |block| {
        let classes = &codes.classes[at(block.clone())];
        let mut values: [Vec<u32>; 3] = std::array::from_fn(|_| Vec::with_capacity(classes.len()));
        for (i, class) in at(block).zip(classes) {
            let components = to_swing_twist(splats.rotations[i]);
            for k in 0..3 {
                let step = q.rotation_step * class_step(if k == 0 { class.twist } else { class.swing }.into());
                values[k].push(zigzag32(components[k] / step));
            }
        }
        let contexts = |twist: bool| Some(classes.iter().map(|c| if twist { c.twist } else { c.swing }).collect());
        let streams =
            values.into_iter().enumerate().map(|(k, values)| Symbols::Values { values, contexts: contexts(k == 0) });
        (Vec::new(), streams.collect())
    }));

    chunks.push(symbols_chunk(b"COLR", entropy, Vec::new(), count, &[StreamKind::Values(contexts); 3], |block| {
        let classes = &codes.classes[at(block.clone())];
        let mut values: [Vec<u32>; 3] = std::array::from_fn(|_| Vec::with_capacity(classes.len()));
        let mut predicted = COLOR_START;
        for (i, class) in at(block).zip(classes) {
            let rgb = splats.sh0[i].map(|v| SH_C0 * f64::from(v) + 0.5);
            let step = q.color_step * class_step(class.color.into());
            for k in 0..3 {
                let y = (COLOR_AXES[k][0] * rgb[0] + COLOR_AXES[k][1] * rgb[1]) + COLOR_AXES[k][2] * rgb[2];
                let code = (y / step).round_ties_even().clamp(-1e9, 1e9);
                values[k].push(zigzag32(code - (predicted[k] / step).round_ties_even()));
                predicted[k] = 0.5 * (predicted[k] + code * step);
            }
        }
        let contexts: Vec<u8> = classes.iter().map(|c| c.color).collect();
        let streams = values.into_iter().map(|values| Symbols::Values { values, contexts: Some(contexts.clone()) });
        (Vec::new(), streams.collect())
    }));

    if let Some(basis) = basis {
        let width = splats.sh_rest_count() * 3;
        let kinds = vec![StreamKind::Values(SH_CONTEXTS); width];
        chunks.push(symbols_chunk(b"SHCO", entropy, basis.to_bytes(), count, &kinds, |block| {
            let rows = block.len();
            let mut columns = vec![vec![0u32; rows]; width];
            let mut magnitudes = vec![vec![0u32; rows]; width];
            let mut row_codes = vec![0; width];
            for (row, i) in at(block).enumerate() {
                let step = q.sh_step * class_step(codes.classes[i].color.min(MAX_SH_CLASS).into());
                basis.quantize(&splats.sh_rest[i * width..(i + 1) * width], step, &mut row_codes);
                for (k, &code) in row_codes.iter().enumerate() {
                    columns[k][row] = zigzag(code);
                    magnitudes[k][row] = code.unsigned_abs();
                }
            }
            let streams = columns.into_iter().enumerate().map(|(k, values)| Symbols::Values {
                values,
                contexts: Some(harmonics::contexts(&magnitudes, k, rows)),
            });
            (Vec::new(), streams.collect())
        }));
    }
    chunks
}

impl Codes {
    /// Factor on the SH step of splat `index`.
    pub fn sh_scale(&self, index: usize) -> f64 {
        class_step(self.classes[index].color.min(MAX_SH_CLASS).into())
    }
}
