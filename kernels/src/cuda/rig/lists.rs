//! Lists of what belongs together, by rows and by columns.

use std::sync::Arc;

use super::super::{Buffer, CudaError, Device};

/// A sparse matrix by rows: row r owns entries `starts[r]..starts[r + 1]`.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// One more than rows, ascending.
    pub starts: &'a [u32],
    /// Column of each entry.
    pub columns: &'a [u32],
    /// Value of each entry.
    pub values: &'a [f32],
}

impl Rows<'_> {
    pub(super) fn check(&self, what: &str, rows: usize, columns: usize) -> Result<(), CudaError> {
        let entries = self.starts.last().map_or(0, |end| *end as usize);
        let good = self.starts.len() == rows + 1
            && self.starts.windows(2).all(|pair| pair[0] <= pair[1])
            && (self.columns.len(), self.values.len()) == (entries, entries)
            && self.columns.iter().all(|column| (*column as usize) < columns);
        if good {
            return Ok(());
        }
        let message = format!(
            "{what}: {} rows with {} entries, {rows} rows of {columns} expected",
            self.starts.len(),
            self.columns.len()
        );
        Err(CudaError::Usage(message))
    }
}

/// Entries by column: starts, and for each entry its row and its place among the entries.
pub(super) fn by_column(starts: &[u32], columns: &[u32], count: usize) -> (Vec<u32>, Vec<u32>, Vec<usize>) {
    let mut ends = vec![0u32; count + 1];
    columns.iter().for_each(|column| ends[*column as usize + 1] += 1);
    for column in 0..count {
        ends[column + 1] += ends[column];
    }
    let mut next = ends.clone();
    let (mut rows, mut places) = (vec![0; columns.len()], vec![0; columns.len()]);
    for row in 0..starts.len().saturating_sub(1) {
        for place in starts[row] as usize..starts[row + 1] as usize {
            let at = &mut next[columns[place] as usize];
            (rows[*at as usize], places[*at as usize]) = (row as u32, place);
            *at += 1;
        }
    }
    (ends, rows, places)
}

/// A sparse matrix in device memory.
pub(super) struct DeviceRows {
    pub starts: Buffer<u32>,
    pub columns: Buffer<u32>,
    pub values: Buffer<f32>,
}

impl DeviceRows {
    pub fn new(device: &Arc<Device>, rows: &Rows<'_>) -> Result<Self, CudaError> {
        Ok(Self {
            starts: Buffer::from_slice(device, rows.starts)?,
            columns: Buffer::from_slice(device, rows.columns)?,
            values: Buffer::from_slice(device, rows.values)?,
        })
    }

    /// The same entries by column.
    pub fn transposed(device: &Arc<Device>, rows: &Rows<'_>, columns: usize) -> Result<Self, CudaError> {
        let (starts, of, places) = by_column(rows.starts, rows.columns, columns);
        let values: Vec<f32> = places.iter().map(|place| rows.values[*place]).collect();
        Self::new(device, &Rows { starts: &starts, columns: &of, values: &values })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_by_column() {
        // rows {2, 0}, {}, {1, 2}
        let (starts, rows, places) = by_column(&[0, 2, 2, 4], &[2, 0, 1, 2], 4);
        assert_eq!(starts, [0, 1, 2, 4, 4]);
        assert_eq!((rows, places), (vec![0, 2, 0, 2], vec![1, 2, 0, 3]));
    }
}
