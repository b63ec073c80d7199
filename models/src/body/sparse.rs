//! Rows of mostly zeros: skinning weights, joint regressors.

use gav_kernels::Real;

/// A sparse matrix by rows; entries of a row in ascending order of their column.
#[derive(Debug, Clone, PartialEq)]
pub struct SparseRows<T> {
    starts: Vec<u32>,
    columns: Vec<u32>,
    values: Vec<T>,
}

impl<T: Real> SparseRows<T> {
    /// Keeps what is not zero of a dense row-major matrix of `columns` columns.
    pub fn from_dense(dense: &[T], columns: usize) -> Self {
        let mut out = Self { starts: vec![0], columns: Vec::new(), values: Vec::new() };
        for row in dense.chunks_exact(columns.max(1)) {
            for (column, value) in row.iter().enumerate().filter(|(_, value)| **value != T::zero()) {
                out.columns.push(column as u32);
                out.values.push(*value);
            }
            out.starts.push(out.columns.len() as u32);
        }
        out
    }

    /// The dense row-major matrix of `columns` columns.
    pub fn to_dense(&self, columns: usize) -> Vec<T> {
        let mut out = vec![T::zero(); self.len() * columns];
        for (row, dense) in out.chunks_exact_mut(columns.max(1)).enumerate() {
            let (at, values) = self.row(row);
            for (column, value) in at.iter().zip(values) {
                dense[*column as usize] = *value;
            }
        }
        out
    }

    /// Columns and values of a row.
    #[inline(always)]
    pub fn row(&self, row: usize) -> (&[u32], &[T]) {
        let range = self.starts[row] as usize..self.starts[row + 1] as usize;
        (&self.columns[range.clone()], &self.values[range])
    }

    /// Starts of the rows with one more at the end, columns, values.
    pub fn arrays(&self) -> (&[u32], &[u32], &[T]) {
        (&self.starts, &self.columns, &self.values)
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// True without rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
