//! Directions in which vertices move: blocks of 16 vertices, within a block one column after the other, so that the sums of a block
//! stay in registers while its columns stream by. Columns that leave a block alone are not stored in it.

use gav_kernels::Real;

/// Vertices of a block.
pub(super) const VERTICES: usize = 16;
/// Numbers of a block.
pub(super) const LANES: usize = 3 * VERTICES;

/// A linear map from coefficients to displacements of all vertices.
#[derive(Debug, Clone)]
pub(super) struct Basis<T> {
    columns: usize,
    blocks: Vec<Block<T>>,
}

#[derive(Debug, Clone)]
struct Block<T> {
    columns: Vec<u32>,
    values: Vec<[T; LANES]>,
}

/// Number of blocks of so many vertices.
pub(super) fn blocks_of(vertices: usize) -> usize {
    vertices.div_ceil(VERTICES)
}

/// The vertices of a block, filled up with zeros.
#[inline(always)]
pub(super) fn load<T: Real>(vertices: &[[T; 3]], block: usize) -> [T; LANES] {
    let part = &vertices[block * VERTICES..vertices.len().min((block + 1) * VERTICES)];
    let mut out = [T::zero(); LANES];
    out[..3 * part.len()].copy_from_slice(part.as_flattened());
    out
}

/// Puts the vertices of a block back.
#[inline(always)]
pub(super) fn store<T: Real>(lanes: &[T; LANES], vertices: &mut [[T; 3]], block: usize) {
    let end = vertices.len().min((block + 1) * VERTICES);
    let part = &mut vertices[block * VERTICES..end];
    let count = 3 * part.len();
    part.as_flattened_mut().copy_from_slice(&lanes[..count]);
}

impl<T: Real> Basis<T> {
    /// `value(i, k)`: what a unit of coefficient k adds to number i of the V × 3 coordinates.
    pub fn new(vertices: usize, columns: usize, value: impl Fn(usize, usize) -> T) -> Self {
        let blocks = (0..blocks_of(vertices)).map(|block| {
            let mut out = Block { columns: Vec::new(), values: Vec::new() };
            let count = LANES.min(3 * vertices - block * LANES);
            for column in 0..columns {
                let mut lanes = [T::zero(); LANES];
                for (lane, entry) in lanes[..count].iter_mut().enumerate() {
                    // −0 becomes 0, so that equal bodies are equal bytes
                    *entry = value(block * LANES + lane, column) + T::zero();
                }
                if lanes.iter().any(|v| *v != T::zero()) {
                    out.columns.push(column as u32);
                    out.values.push(lanes);
                }
            }
            out
        });
        Self { columns, blocks: blocks.collect() }
    }

    /// Number of coefficients.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Writes what [`Basis::new`] was given: number i of column k at `out[i · stride + first + k]`.
    pub fn write_dense(&self, vertices: usize, out: &mut [T], stride: usize, first: usize) {
        for (index, block) in self.blocks.iter().enumerate() {
            let count = LANES.min(3 * vertices - index * LANES);
            for (column, lanes) in block.columns.iter().zip(&block.values) {
                for (lane, value) in lanes[..count].iter().enumerate() {
                    out[(index * LANES + lane) * stride + first + *column as usize] = *value;
                }
            }
        }
    }

    /// Adds the displacements of a block. Coefficients that are missing count as zero.
    #[inline(always)]
    pub fn add(&self, block: usize, coefficients: &[T], sum: &mut [T; LANES]) {
        let block = &self.blocks[block];
        let mut total = *sum;
        for (column, lanes) in block.columns.iter().zip(&block.values) {
            // columns ascend, so everything behind the last coefficient is behind for good
            let Some(&coefficient) = coefficients.get(*column as usize) else { break };
            if coefficient == T::zero() {
                continue;
            }
            for lane in 0..LANES {
                total[lane] += coefficient * lanes[lane];
            }
        }
        *sum = total;
    }

    /// Adds the gradients of the coefficients from that of the displacements of a block.
    #[inline(always)]
    pub fn add_gradient(&self, block: usize, upstream: &[T; LANES], gradient: &mut [T]) {
        let block = &self.blocks[block];
        for (column, lanes) in block.columns.iter().zip(&block.values) {
            let Some(entry) = gradient.get_mut(*column as usize) else { break };
            // sixteen partial sums, so that the additions need not wait for each other
            let mut partial = [T::zero(); VERTICES];
            for third in 0..3 {
                for lane in 0..VERTICES {
                    let at = third * VERTICES + lane;
                    partial[lane] += lanes[at] * upstream[at];
                }
            }
            *entry += partial.into_iter().sum::<T>();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Column 1 moves only the first block, column 2 nothing.
    fn value(i: usize, k: usize) -> f64 {
        match k {
            1 if i < 30 => 0.5 - (i as f64 * 0.37).sin(),
            0 | 3 => ((i * 7 + k * 13) % 11) as f64 - 5.0,
            _ => 0.0,
        }
    }

    #[test]
    fn blocks_are_the_dense_product_and_its_transpose() {
        let (vertices, coefficients) = (37, [0.3, -2.0, 5.0, 0.7]);
        let basis = Basis::new(vertices, 4, value);
        assert_eq!(basis.blocks.iter().map(|b| b.columns.len()).collect::<Vec<_>>(), [3, 2, 2]);
        let mut found = vec![[0.0; 3]; vertices];
        let upstream: Vec<[f64; 3]> = (0..vertices).map(|v| [v as f64, 1.0, -0.1 * v as f64]).collect();
        let mut gradient = [0.0; 4];
        for block in 0..blocks_of(vertices) {
            let mut sum = load(&found, block);
            basis.add(block, &coefficients, &mut sum);
            store(&sum, &mut found, block);
            basis.add_gradient(block, &load(&upstream, block), &mut gradient);
        }
        for (i, found) in found.as_flattened().iter().enumerate() {
            let expected: f64 = (0..4).map(|k| coefficients[k] * value(i, k)).sum();
            assert!((found - expected).abs() < 1e-12);
        }
        for k in 0..4 {
            let expected: f64 = upstream.as_flattened().iter().enumerate().map(|(i, g)| g * value(i, k)).sum();
            assert!((gradient[k] - expected).abs() < 1e-9);
        }
        let mut dense = vec![9.0; vertices * 3 * 6];
        dense.fill(0.0);
        basis.write_dense(vertices, &mut dense, 6, 2);
        for i in 0..vertices * 3 {
            for k in 0..4 {
                assert_eq!(dense[i * 6 + 2 + k], value(i, k));
            }
        }
    }
}
