//! Codes of what moves (`spec/gav.md` 6.13): each key predicted from the two before it, what is left coded by how lively its column is
//! around it.

use super::{
    container::bad,
    ints::{read_ints, unzigzag, write_ints, zigzag},
    rans::{self, Tables},
    stream::{BlockReader, BlockWriter},
};
use crate::Result;

/// The largest predictor.
pub(crate) const PREDICTORS: u8 = 2;
/// Keys that share a class.
const GROUP: usize = 16;
/// Classes at most.
const CLASSES: usize = 8;

/// What the key after `before` and `last` is expected to be: the last one, half as far on, or as far on.
fn predict(before: i32, last: i32, predictor: u8) -> i32 {
    let further = last.wrapping_sub(before);
    match predictor {
        0 => last,
        1 => last.wrapping_add(further >> 1),
        _ => last.wrapping_add(further),
    }
}

/// Zigzag codes of all keys but the first.
pub(crate) fn of(column: &[i32], predictor: u8) -> Vec<u32> {
    (1..column.len())
        .map(|k| zigzag(column[k].wrapping_sub(predict(column[k.saturating_sub(2)], column[k - 1], predictor))))
        .collect()
}

/// Inverse of [`of`].
pub(crate) fn restore(first: i32, codes: &[u32], predictor: u8) -> Vec<i32> {
    let mut column = Vec::with_capacity(codes.len() + 1);
    column.push(first);
    let (mut before, mut last) = (first, first);
    for code in codes {
        let next = predict(before, last, predictor).wrapping_add(unzigzag(*code));
        (before, last) = (last, next);
        column.push(next);
    }
    column
}

/// The predictor that leaves least to say about all columns of a track.
pub(crate) fn best_predictor(columns: &[Vec<i32>]) -> u8 {
    let bits = |predictor: u8| -> f64 {
        columns.iter().flat_map(|column| of(column, predictor)).map(|code| f64::from(code).ln_1p()).sum()
    };
    (0..=PREDICTORS).map(|p| (p, bits(p))).min_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(p, _)| p)
}

/// Appends the codes of all columns: a number of classes, the class of every sixteen codes of a column, then the codes.
pub(crate) fn write(writer: &mut BlockWriter, columns: &[Vec<u32>]) {
    let encode = |most: usize| {
        let classes = classify(columns, most);
        let values: Vec<u32> = columns.concat();
        let contexts = contexts(columns.iter().map(Vec::len), &classes);
        let mut histograms = vec![Vec::new(); most];
        rans::count(&mut histograms, &values, Some(&contexts));
        let mut trial = BlockWriter::like(writer);
        trial.raw(&[most as u8]);
        write_ints(&mut trial, &classes.iter().map(|c| i32::from(*c)).collect::<Vec<_>>());
        let tables = Tables::build(&histograms, &mut trial);
        rans::write_values(&mut trial, &tables, &values, Some(&contexts));
        trial
    };
    // short clips do not pay for many tables
    let best = [1, 2, 4, CLASSES].map(encode).into_iter().min_by_key(BlockWriter::len).expect("four trials");
    writer.append(best);
}

/// A class below `most` for every group: first by size, then by what each group would cost in each class, as k-means does it.
fn classify(columns: &[Vec<u32>], most: usize) -> Vec<u8> {
    let groups: Vec<&[u32]> = columns.iter().flat_map(|column| column.chunks(GROUP)).collect();
    let size = |group: &&[u32]| group.iter().map(|v| f64::from(*v)).sum::<f64>() / group.len() as f64;
    let mut order: Vec<usize> = (0..groups.len()).collect();
    let sizes: Vec<f64> = groups.iter().map(size).collect();
    order.sort_by(|a, b| sizes[*a].total_cmp(&sizes[*b]));
    let mut classes = vec![0u8; groups.len()];
    for (rank, group) in order.into_iter().enumerate() {
        classes[group] = (rank * most / groups.len()) as u8;
    }
    for _ in 0..4 {
        let mut histograms = vec![vec![0u32; rans::MAX_TOKENS]; most];
        for (group, class) in groups.iter().zip(&classes) {
            group.iter().for_each(|v| histograms[usize::from(*class)][usize::from(rans::token(*v).0)] += 1);
        }
        let costs: Vec<Vec<f32>> = histograms
            .iter()
            .map(|histogram| {
                let total = histogram.iter().sum::<u32>() as f32 + 1.0;
                // tokens that a class has not seen are dear, not impossible
                histogram.iter().map(|n| (total / (*n as f32).max(0.05)).log2()).collect()
            })
            .collect();
        for (group, class) in groups.iter().zip(&mut classes) {
            let cost = |c: usize| group.iter().map(|v| costs[c][usize::from(rans::token(*v).0)]).sum::<f32>();
            *class = (0..most).map(|c| (c, cost(c))).min_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(c, _)| c as u8);
        }
    }
    classes
}

/// The class of every code, from those of the groups.
fn contexts(lengths: impl Iterator<Item = usize>, classes: &[u8]) -> Vec<u8> {
    let mut classes = classes.iter();
    let mut out = Vec::new();
    for length in lengths {
        for start in (0..length).step_by(GROUP) {
            let class = classes.next().copied().unwrap_or(0);
            out.extend(std::iter::repeat_n(class, GROUP.min(length - start)));
        }
    }
    out
}

/// Takes the codes of columns of these lengths off a block.
pub(crate) fn read(reader: &mut BlockReader<'_>, lengths: &[usize]) -> Result<Vec<Vec<u32>>> {
    let at = reader.offset();
    let count = usize::from(reader.raw(1)?[0]);
    let groups = lengths.iter().map(|length| length.div_ceil(GROUP)).sum();
    let classes = read_ints(reader, groups)?;
    let wrong = classes.iter().find(|class| !(0..count as i32).contains(*class));
    if count > CLASSES || wrong.is_some() {
        let message = format!("aNIm: {count} classes, one of them {}", wrong.unwrap_or(&0));
        return Err(bad("CLIP", at, message));
    }
    let classes: Vec<u8> = classes.into_iter().map(|class| class as u8).collect();
    let tables = Tables::read(reader, count)?;
    let contexts = contexts(lengths.iter().copied(), &classes);
    let values = rans::read_values(reader, &tables, contexts.len(), Some(&contexts))?;
    let mut rest = values.as_slice();
    let mut take = |length: &usize| {
        let (own, others) = rest.split_at(*length);
        rest = others;
        own.to_vec()
    };
    Ok(lengths.iter().map(&mut take).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_round_trip() {
        let smooth: Vec<i32> = (0..100).map(|k| (f64::from(k) * 0.1).sin().mul_add(2000.0, 50.0) as i32).collect();
        let wild: Vec<i32> = (0..37u32).map(|k| k.wrapping_mul(2_654_435_761) as i32).collect();
        let columns = [smooth.clone(), wild, vec![i32::MIN, i32::MAX], vec![7], vec![5; 40]];
        assert_eq!(best_predictor(&[smooth]), 2);
        for predictor in 0..=PREDICTORS {
            let codes: Vec<Vec<u32>> = columns.iter().map(|column| of(column, predictor)).collect();
            let mut writer = BlockWriter::new(3);
            write(&mut writer, &codes);
            let (block, _) = writer.finish();
            let mut reader = BlockReader::new(&block, 0);
            let lengths: Vec<usize> = codes.iter().map(Vec::len).collect();
            let back = read(&mut reader, &lengths).unwrap();
            reader.finish().unwrap();
            for (column, codes) in columns.iter().zip(&back) {
                assert_eq!(restore(column[0], codes, predictor), *column);
            }
        }
    }

    #[test]
    fn nothing_is_legal() {
        let mut writer = BlockWriter::new(3);
        write(&mut writer, &[]);
        let (block, _) = writer.finish();
        let mut reader = BlockReader::new(&block, 0);
        assert!(read(&mut reader, &[]).unwrap().is_empty());
        reader.finish().unwrap();
    }
}
