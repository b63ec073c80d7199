//! Float columns without loss: every bit of every value survives, NaN payloads and −0 included (`spec/gav.md` 5.3).
//!
//! A block holds `columns` columns of n values. Each column picks one of four modes. The predictor of mode LINEAR may look at
//! earlier columns of the same block, so that the three scales, or three colours, of a splat help each other.

use std::collections::BTreeSet;

use super::{
    container::bad,
    ints::{unzigzag, zigzag},
    stream::{BlockReader, BlockWriter},
};
use crate::Result;

/// Column modes.
mod mode {
    /// Byte planes of the bits rotated left by one, so that the exponent fills one plane.
    pub const BITS: u8 = 0;
    /// Difference from a linear prediction in f64.
    pub const LINEAR: u8 = 1;
    /// Difference from `sqrt(1 − Σ others²)`: one component of unit quaternions.
    pub const UNIT: u8 = 2;
    /// Sorted distinct values and an index per row.
    pub const TABLE: u8 = 3;
}

/// Block modes.
mod layout {
    pub const COLUMNS: u8 = 0;
    /// At most 256 distinct values in the whole block; one index byte per value, row by row.
    pub const SHARED_TABLE: u8 = 1;
}

/// Earlier columns that a prediction may use: the nearest four.
const CROSS_COLUMNS: usize = 4;
/// Rows that the encoder fits weights on.
const FIT_ROWS: usize = 4096;

/// Appends `columns`, all of the same length, to a block.
pub fn write_floats(writer: &mut BlockWriter, columns: &[Vec<f32>]) {
    let rows = columns.first().map_or(0, Vec::len);
    let distinct = distinct_bits(columns.iter().flatten(), 256);
    if let Some(table) = distinct.filter(|_| columns.len() >= 8) {
        writer.raw(&[layout::SHARED_TABLE]);
        write_table(writer, &table);
        let mut indices = Vec::with_capacity(rows * columns.len());
        for row in 0..rows {
            indices.extend(columns.iter().map(|c| table.binary_search(&c[row].to_bits()).expect("in table") as u8));
        }
        writer.stream(&indices);
        return;
    }
    writer.raw(&[layout::COLUMNS]);
    let unit_column = find_unit_column(columns);
    let means: Vec<Vec<f64>> = columns.iter().map(|c| running_means(c)).collect();
    for index in coding_order(columns.len(), unit_column) {
        write_column(writer, columns, &means, index, unit_column);
    }
}

/// Takes `column_count` columns of `rows` values off a block.
pub fn read_floats(reader: &mut BlockReader<'_>, column_count: usize, rows: usize) -> Result<Vec<Vec<f32>>> {
    let at = reader.offset();
    match reader.raw(1)?[0] {
        layout::SHARED_TABLE => {
            let table = read_table(reader, 256)?;
            let indices = reader.stream(rows * column_count)?;
            let mut columns = vec![Vec::with_capacity(rows); column_count];
            for row in indices.chunks_exact(column_count.max(1)) {
                for (column, &index) in columns.iter_mut().zip(row) {
                    let bits = table.get(index as usize).ok_or_else(|| table_error(at, index.into(), table.len()))?;
                    column.push(f32::from_bits(*bits));
                }
            }
            Ok(columns)
        }
        layout::COLUMNS => {
            let mut columns: Vec<Option<Vec<f32>>> = vec![None; column_count];
            let mut means: Vec<Vec<f64>> = vec![Vec::new(); column_count];
            for _ in 0..column_count {
                let index = usize::from(reader.raw(1)?[0]);
                if columns.get(index).is_none_or(Option::is_some) {
                    return Err(bad(
                        "FLOAT_COLUMN",
                        at,
                        format!("column {index} is repeated or beyond {column_count}"),
                    ));
                }
                let column = read_column(reader, &columns, &means, index, rows)?;
                means[index] = running_means(&column);
                columns[index] = Some(column);
            }
            Ok(columns.into_iter().map(|c| c.expect("each column was read once")).collect())
        }
        other => Err(bad("FLOAT_COLUMN", at, format!("float block layout {other}"))),
    }
}

/// Columns in file order; the one predicted from the others comes last.
fn coding_order(count: usize, last: Option<usize>) -> Vec<usize> {
    (0..count).filter(|&c| Some(c) != last).chain(last).collect()
}

fn write_column(writer: &mut BlockWriter, columns: &[Vec<f32>], means: &[Vec<f64>], index: usize, unit: Option<usize>) {
    let column = &columns[index];
    let earlier: Vec<usize> = if Some(index) == unit { vec![] } else { cross_columns(index, |c| Some(c) != unit) };
    let mut best: Option<(usize, BlockWriter)> = None;
    let mut offer = |build: &dyn Fn(&mut BlockWriter)| {
        let mut candidate = BlockWriter::like(writer);
        build(&mut candidate);
        let size = candidate.len();
        if best.as_ref().is_none_or(|(smallest, _)| size < *smallest) {
            best = Some((size, candidate));
        }
    };
    if Some(index) == unit {
        let residuals: Vec<u32> = (0..column.len())
            .map(|row| {
                zigzag((column[row].to_bits() & 0x7FFF_FFFF).wrapping_sub(unit_prediction(columns, index, row)) as i32)
            })
            .collect();
        let signs: Vec<u8> = column
            .chunks(8)
            .map(|chunk| chunk.iter().enumerate().fold(0, |byte, (bit, v)| byte | (v.to_bits() >> 31 << bit) as u8))
            .collect();
        offer(&|w| {
            w.raw(&[index as u8, mode::UNIT]);
            write_planes(w, &residuals);
            w.stream(&signs);
        });
    }
    if let Some(table) = distinct_bits(column.iter(), (column.len() / 2).min(65_536)) {
        let indices: Vec<u32> =
            column.iter().map(|v| table.binary_search(&v.to_bits()).expect("in table") as u32).collect();
        offer(&|w| {
            w.raw(&[index as u8, mode::TABLE]);
            write_table(w, &table);
            write_planes(w, &indices);
        });
    }
    let plain: Vec<u32> = column.iter().map(|v| v.to_bits().rotate_left(1)).collect();
    offer(&|w| {
        w.raw(&[index as u8, mode::BITS]);
        write_planes(w, &plain);
    });
    let weights = fit_weights(columns, means, index, &earlier);
    let residuals: Vec<u32> = (0..column.len())
        .map(|row| {
            let p = predict(&weights, column, &means[index], columns, means, &earlier, row);
            zigzag(monotone(column[row].to_bits()).wrapping_sub(monotone(p.to_bits())) as i32)
        })
        .collect();
    offer(&|w| {
        w.raw(&[index as u8, mode::LINEAR, earlier.len() as u8]);
        w.raw(&earlier.iter().map(|&c| c as u8).collect::<Vec<_>>());
        w.raw(bytemuck::cast_slice(&weights.iter().map(|v| v.to_le_bytes()).collect::<Vec<_>>()));
        write_planes(w, &residuals);
    });
    writer.append(best.expect("at least one candidate").1);
}

fn read_column(
    reader: &mut BlockReader<'_>,
    columns: &[Option<Vec<f32>>],
    means: &[Vec<f64>],
    index: usize,
    rows: usize,
) -> Result<Vec<f32>> {
    let at = reader.offset();
    match reader.raw(1)?[0] {
        mode::BITS => Ok(read_planes(reader, rows)?.into_iter().map(|u| f32::from_bits(u.rotate_right(1))).collect()),
        mode::TABLE => {
            let table = read_table(reader, 65_536)?;
            let indices = read_planes(reader, rows)?;
            let lookup = |i: u32| table.get(i as usize).map(|b| f32::from_bits(*b));
            indices.into_iter().map(|i| lookup(i).ok_or_else(|| table_error(at, i, table.len()))).collect()
        }
        mode::UNIT => {
            let others: Vec<&Vec<f32>> =
                columns.iter().enumerate().filter(|(c, _)| *c != index).filter_map(|(_, c)| c.as_ref()).collect();
            if others.len() != 3 || columns.len() != 4 {
                return Err(bad("FLOAT_COLUMN", at, "a unit column needs three others before it"));
            }
            let residuals = read_planes(reader, rows)?;
            let signs = reader.stream(rows.div_ceil(8))?;
            Ok((0..rows)
                .map(|row| {
                    let p = unit_bits([others[0][row], others[1][row], others[2][row]]);
                    let magnitude = p.wrapping_add(unzigzag(residuals[row]) as u32) & 0x7FFF_FFFF;
                    f32::from_bits(magnitude | u32::from(signs[row / 8] >> (row % 8) & 1) << 31)
                })
                .collect())
        }
        mode::LINEAR => {
            let count = usize::from(reader.raw(1)?[0]);
            if count > CROSS_COLUMNS {
                return Err(bad("FLOAT_COLUMN", at, format!("prediction from {count} columns, at most 4")));
            }
            let earlier: Vec<usize> = reader.raw(count)?.iter().map(|&c| usize::from(c)).collect();
            if earlier.iter().any(|&c| columns.get(c).is_none_or(Option::is_none)) {
                return Err(bad("FLOAT_COLUMN", at, "prediction from a column that is not there yet"));
            }
            let weights: Vec<f32> = reader
                .raw((3 + 2 * count) * 4)?
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes(b.try_into().expect("four bytes")))
                .collect();
            if weights.iter().any(|w| !w.is_finite()) {
                return Err(bad("FLOAT_COLUMN", at, "prediction with a weight that is not finite"));
            }
            let residuals = read_planes(reader, rows)?;
            let cross: Vec<(&[f32], &[f64])> =
                earlier.iter().map(|&c| (columns[c].as_deref().expect("checked above"), means[c].as_slice())).collect();
            let mut out = Vec::with_capacity(rows);
            for row in 0..rows {
                let p = predict_with(&weights, own_inputs(&out, row), cross.iter().map(|(v, m)| (v[row], m[row])));
                let code = monotone(p.to_bits()).wrapping_add(unzigzag(residuals[row]) as u32);
                out.push(f32::from_bits(unmonotone(code)));
            }
            Ok(out)
        }
        other => Err(bad("FLOAT_COLUMN", at, format!("float column mode {other}"))),
    }
}

/// Order-preserving map of float bits to integers: numerically close floats get close codes.
fn monotone(bits: u32) -> u32 {
    if bits >> 31 == 1 { !bits } else { bits | 0x8000_0000 }
}

fn unmonotone(code: u32) -> u32 {
    if code >> 31 == 1 { code & 0x7FFF_FFFF } else { !code }
}

/// The value as f64, or 0 where arithmetic on it could leave the finite numbers.
fn safe(value: f32) -> f64 {
    if value.is_finite() && value.abs() < 1e15 { f64::from(value) } else { 0.0 }
}

/// Mean of the four values before each row; rows before the first count as row 0, and row 0 itself has mean 0.
fn running_means(column: &[f32]) -> Vec<f64> {
    (0..column.len()).map(|row| own_inputs(&column[..row], row).1).collect()
}

fn own_inputs(before: &[f32], row: usize) -> (f64, f64) {
    if row == 0 {
        return (0.0, 0.0);
    }
    let lag = |k: usize| safe(before[row.saturating_sub(k)]);
    (lag(1), (((lag(1) + lag(2)) + lag(3)) + lag(4)) * 0.25)
}

/// `w₀ + w₁ own₁ + w₂ mean₄ + Σ (w c + w' mean₄(c))`, summed from left to right in f64 without fused operations.
fn predict_with(weights: &[f32], own: (f64, f64), cross: impl Iterator<Item = (f32, f64)>) -> f32 {
    let mut sum = f64::from(weights[0]);
    sum += f64::from(weights[1]) * own.0;
    sum += f64::from(weights[2]) * own.1;
    for (k, (value, mean)) in cross.enumerate() {
        sum += f64::from(weights[3 + 2 * k]) * safe(value);
        sum += f64::from(weights[4 + 2 * k]) * mean;
    }
    sum as f32
}

fn predict(
    weights: &[f32],
    column: &[f32],
    own_means: &[f64],
    columns: &[Vec<f32>],
    means: &[Vec<f64>],
    earlier: &[usize],
    row: usize,
) -> f32 {
    let own = if row == 0 { (0.0, 0.0) } else { (safe(column[row - 1]), own_means[row]) };
    predict_with(weights, own, earlier.iter().map(|&c| (columns[c][row], means[c][row])))
}

fn cross_columns(index: usize, allowed: impl Fn(usize) -> bool) -> Vec<usize> {
    let earlier: Vec<usize> = (0..index).filter(|&c| allowed(c)).collect();
    earlier[earlier.len().saturating_sub(CROSS_COLUMNS)..].to_vec()
}

/// Weights by iteratively reweighted least squares (towards the smallest sum of log-errors, which is what bits cost).
fn fit_weights(columns: &[Vec<f32>], means: &[Vec<f64>], index: usize, earlier: &[usize]) -> Vec<f32> {
    let size = 3 + 2 * earlier.len();
    let column = &columns[index];
    let stride = column.len().div_ceil(FIT_ROWS).max(1);
    let mut samples: Vec<(Vec<f64>, f64)> = Vec::new();
    for row in (1..column.len()).step_by(stride) {
        let mut input = vec![1.0, safe(column[row - 1]), means[index][row]];
        for &c in earlier {
            input.extend([safe(columns[c][row]), means[c][row]]);
        }
        samples.push((input, safe(column[row])));
    }
    let mut weights = vec![0.0; size];
    for pass in 0..3 {
        let mut normal = vec![0.0; size * (size + 1)];
        let spread =
            samples.iter().map(|(x, y)| (y - dot(&weights, x)).abs()).sum::<f64>() / samples.len().max(1) as f64;
        for (x, y) in &samples {
            let importance = if pass == 0 { 1.0 } else { 1.0 / ((y - dot(&weights, x)).abs() + 0.05 * spread + 1e-30) };
            for r in 0..size {
                for c in 0..size {
                    normal[r * (size + 1) + c] += importance * x[r] * x[c];
                }
                normal[r * (size + 1) + size] += importance * x[r] * y;
            }
        }
        match solve(&mut normal, size) {
            Some(solution) => weights = solution,
            None => break,
        }
    }
    let rounded: Vec<f32> = weights.iter().map(|&w| w as f32).collect();
    if rounded.iter().all(|w| w.is_finite() && w.abs() < 1e6) { rounded } else { vec![0.0; size] }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// Gaussian elimination with partial pivoting on an augmented matrix; singular directions get weight zero.
fn solve(m: &mut [f64], size: usize) -> Option<Vec<f64>> {
    let width = size + 1;
    let scale = m.iter().fold(0.0f64, |a, v| a.max(v.abs()));
    if scale == 0.0 || !scale.is_finite() {
        return None;
    }
    for k in 0..size {
        m[k * width + k] += 1e-12 * m[k * width + k].abs() + 1e-300;
    }
    for k in 0..size {
        let pivot = (k..size).max_by(|&a, &b| m[a * width + k].abs().total_cmp(&m[b * width + k].abs()))?;
        for c in 0..width {
            m.swap(k * width + c, pivot * width + c);
        }
        if m[k * width + k].abs() < 1e-14 * scale {
            continue;
        }
        for r in k + 1..size {
            let factor = m[r * width + k] / m[k * width + k];
            for c in k..width {
                m[r * width + c] -= factor * m[k * width + c];
            }
        }
    }
    let mut x = vec![0.0; size];
    for k in (0..size).rev() {
        let pivot = m[k * width + k];
        if pivot.abs() >= 1e-14 * scale {
            let rest: f64 = (k + 1..size).map(|c| m[k * width + c] * x[c]).sum();
            x[k] = (m[k * width + size] - rest) / pivot;
        }
    }
    Some(x)
}

/// Four columns whose rows are unit vectors: the index of the one with the largest mean square.
fn find_unit_column(columns: &[Vec<f32>]) -> Option<usize> {
    if columns.len() != 4 || columns[0].is_empty() {
        return None;
    }
    let rows = columns[0].len();
    let unit =
        (0..rows).filter(|&row| (columns.iter().map(|c| safe(c[row]).powi(2)).sum::<f64>() - 1.0).abs() < 1e-5).count();
    let energy = |c: usize| columns[c].iter().map(|&v| safe(v).powi(2)).sum::<f64>();
    (unit * 10 >= rows * 9).then(|| (0..4).fold(0, |best, c| if energy(c) > energy(best) { c } else { best }))
}

/// Bits of `f32(sqrt(max(0, 1 − ((a² + b²) + c²))))`, computed in f64.
fn unit_bits([a, b, c]: [f32; 3]) -> u32 {
    let [a, b, c] = [safe(a), safe(b), safe(c)];
    ((1.0 - ((a * a + b * b) + c * c)).max(0.0).sqrt() as f32).to_bits()
}

fn unit_prediction(columns: &[Vec<f32>], index: usize, row: usize) -> u32 {
    let mut others = columns.iter().enumerate().filter(|(c, _)| *c != index).map(|(_, c)| c[row]);
    unit_bits(std::array::from_fn(|_| others.next().expect("three other columns")))
}

/// The distinct bit patterns in ascending order, or `None` when there are more than `most`.
fn distinct_bits<'a>(values: impl Iterator<Item = &'a f32>, most: usize) -> Option<Vec<u32>> {
    let mut seen = BTreeSet::new();
    for value in values {
        seen.insert(value.to_bits());
        if seen.len() > most {
            return None;
        }
    }
    Some(seen.into_iter().collect())
}

fn write_table(writer: &mut BlockWriter, table: &[u32]) {
    writer.raw(&(table.len() as u32).to_le_bytes());
    let mut previous = 0;
    let steps: Vec<u32> = table.iter().map(|&v| v - std::mem::replace(&mut previous, v)).collect();
    write_planes(writer, &steps);
}

fn read_table(reader: &mut BlockReader<'_>, most: u32) -> Result<Vec<u32>> {
    let at = reader.offset();
    let count = u32::from_le_bytes(reader.raw(4)?.try_into().expect("four bytes"));
    if count > most {
        return Err(bad("FLOAT_COLUMN", at, format!("table of {count} values, at most {most}")));
    }
    let mut previous = 0u32;
    let steps = read_planes(reader, count as usize)?;
    Ok(steps
        .into_iter()
        .map(|step| {
            previous = previous.wrapping_add(step);
            previous
        })
        .collect())
}

fn table_error(at: u64, index: u32, length: usize) -> crate::Error {
    bad("FLOAT_COLUMN", at, format!("index {index} into a table of {length}"))
}

/// Four byte planes, most significant first.
fn write_planes(writer: &mut BlockWriter, codes: &[u32]) {
    for shift in [24, 16, 8, 0] {
        writer.stream(&codes.iter().map(|c| (c >> shift) as u8).collect::<Vec<_>>());
    }
}

fn read_planes(reader: &mut BlockReader<'_>, count: usize) -> Result<Vec<u32>> {
    let mut codes = vec![0u32; count];
    let mut plane = vec![0u8; count];
    for _ in 0..4 {
        reader.stream_into(&mut plane)?;
        for (code, &byte) in codes.iter_mut().zip(&plane) {
            *code = *code << 8 | u32::from(byte);
        }
    }
    Ok(codes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(columns: &[Vec<f32>]) -> usize {
        let mut writer = BlockWriter::new(3);
        write_floats(&mut writer, columns);
        let (block, _) = writer.finish();
        let mut reader = BlockReader::new(&block, 0);
        let back = read_floats(&mut reader, columns.len(), columns[0].len()).unwrap();
        reader.finish().unwrap();
        for (a, b) in columns.iter().flatten().zip(back.iter().flatten()) {
            assert_eq!(a.to_bits(), b.to_bits());
        }
        block.len()
    }

    fn noise(count: usize, seed: u32) -> impl Iterator<Item = u32> {
        let mut state = seed;
        (0..count).map(move |_| {
            state = state.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
            (state >> ((state >> 28) + 4) ^ state).wrapping_mul(277_803_737)
        })
    }

    #[test]
    fn every_bit_survives() {
        let any: Vec<f32> = noise(3000, 1).map(f32::from_bits).collect();
        let mut special = vec![1.0f32; 100];
        for (i, bits) in
            [0x7FC0_1234u32, 0xFF80_0001, 0x8000_0000, 0x7F80_0000, 0xFF80_0000, 1, 0x007F_FFFF].iter().enumerate()
        {
            special[i * 11] = f32::from_bits(*bits);
        }
        let smooth: Vec<f32> = (0..3000).map(|i| (i as f32 * 0.01).sin() * 3.0).collect();
        for columns in [vec![vec![]], vec![vec![f32::NAN]], vec![any], vec![special.clone(), special]] {
            round_trip(&columns);
        }
        let double: Vec<f32> = smooth.iter().map(|v| v * 2.0 + 0.001).collect();
        assert!(round_trip(&[smooth.clone(), double]) < 3000 * 2 * 3);
    }

    #[test]
    fn unit_quaternions_cost_three_components() {
        let mut columns = vec![Vec::new(); 4];
        let values: Vec<u32> = noise(8000, 5).collect();
        for row in values.chunks_exact(4) {
            let q: Vec<f64> = row.iter().map(|&v| f64::from(v) / 2e9 - 1.0).collect();
            let length = q.iter().map(|v| v * v).sum::<f64>().sqrt();
            (0..4).for_each(|k| columns[k].push((q[k] / length) as f32));
        }
        let bytes = round_trip(&columns);
        assert!(bytes < 2000 * 14, "{bytes}");
    }

    #[test]
    fn few_distinct_values_use_a_table() {
        let columns: Vec<Vec<f32>> =
            (0..9).map(|c| noise(4000, c).map(|v| (v >> 27) as f32 * 0.125 - 1.0).collect()).collect();
        assert!(round_trip(&columns) < 9 * 4000);
        assert!(round_trip(&columns[..1]) < 4000);
    }
}
