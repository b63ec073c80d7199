//! The nearest points of every query.

use rayon::prelude::*;

/// Neighbours of Q queries, K each, nearest first; of equally near ones the first in the list of points comes first.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Neighbours {
    /// Numbers of the points, Q × K; `u32::MAX` where there are fewer points.
    pub indices: Vec<u32>,
    /// Squared distances, Q × K; infinite where there are fewer points.
    pub squares: Vec<f32>,
}

/// The `k` nearest of `points` for every one of `queries`. With `skip_self`, query i is point i and not its own neighbour:
/// the mean distance to three of them is the size that 3DGS starts splats with.
///
/// Looks at every pair, which is the reference for other ways. Points and queries that are not numbers have no neighbours.
pub fn knn(queries: &[[f32; 3]], points: &[[f32; 3]], k: usize, skip_self: bool) -> Neighbours {
    let mut out =
        Neighbours { indices: vec![u32::MAX; queries.len() * k], squares: vec![f32::INFINITY; queries.len() * k] };
    if k == 0 {
        return out;
    }
    let rows = out.indices.par_chunks_mut(k).zip(out.squares.par_chunks_mut(k));
    rows.zip(queries).enumerate().for_each(|(number, ((indices, squares), query))| {
        for (index, point) in points.iter().enumerate() {
            let [dx, dy, dz] = std::array::from_fn(|axis| point[axis] - query[axis]);
            let square: f32 = dx * dx + dy * dy + dz * dz;
            if square.is_nan() || square >= squares[k - 1] || (skip_self && index == number) {
                continue;
            }
            let place = squares.iter().position(|s| square < *s).unwrap_or(k - 1);
            squares[place..].rotate_right(1);
            indices[place..].rotate_right(1);
            (squares[place], indices[place]) = (square, index as u32);
        }
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_in_order_and_ties_in_the_order_of_the_points() {
        let points = [[0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [f32::NAN; 3]];
        let found = knn(&[[0.0; 3], [2.0, 0.0, 0.5]], &points, 3, false);
        assert_eq!(found.indices, [0, 2, 3, 1, 0, 3]);
        assert_eq!(found.squares, [0.0, 1.0, 1.0, 0.25, 4.25, 4.25]);
        let found = knn(&points, &points, 5, true);
        assert_eq!(found.indices[..5], [2, 3, 1, u32::MAX, u32::MAX]);
        assert_eq!(found.squares[20..], [f32::INFINITY; 5]);
        assert_eq!(knn(&points, &[], 1, false).indices, [u32::MAX; 5]);
        assert_eq!(knn(&points, &points, 0, false), Neighbours::default());
    }
}
