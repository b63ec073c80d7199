//! Which triangle each splat sits on: the texels of a UV grid.

/// Where a splat sits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seat {
    /// Triangle, as in the list of faces.
    pub face: u32,
    /// Weights of its three corners.
    pub weights: [f64; 3],
}

/// The covered texels of a grid of `size` × `size`, row by row: texel (row r, column c) is the point ((c + ½)/size, (r + ½)/size), row 0 at
/// v = 0. It belongs to the first face whose triangle in texture coordinates has it inside or on an edge. `corners` are those triangles,
/// F × 3 × (u, v).
pub fn seats(corners: &[[[f64; 2]; 3]], size: usize) -> Vec<Seat> {
    let mut grid: Vec<Option<Seat>> = vec![None; size * size];
    for (face, [a, b, c]) in corners.iter().enumerate() {
        let determinant = (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1]);
        // texels whose centre can be inside, one more on each side against rounding
        let span = |k: usize| {
            let low = a[k].min(b[k]).min(c[k]) * size as f64 - 1.5;
            let high = a[k].max(b[k]).max(c[k]) * size as f64 + 0.5;
            (low.max(0.0) as usize)..=(high.max(0.0) as usize).min(size - 1)
        };
        for row in span(1) {
            for column in span(0) {
                let p = [(column as f64 + 0.5) / size as f64, (row as f64 + 0.5) / size as f64];
                let w1 = ((p[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (p[1] - a[1])) / determinant;
                let w2 = ((b[0] - a[0]) * (p[1] - a[1]) - (p[0] - a[0]) * (b[1] - a[1])) / determinant;
                let weights = [1.0 - w1 - w2, w1, w2];
                let slot = &mut grid[row * size + column];
                // a triangle without area has weights that are not numbers
                if slot.is_none() && weights.iter().all(|w| *w >= 0.0 && w.is_finite()) {
                    *slot = Some(Seat { face: face as u32, weights });
                }
            }
        }
    }
    grid.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_texel_of_a_covered_square_has_one_seat_in_order() {
        // a square of two triangles with opposite turns, and one without area
        let corners = [
            [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]],
            [[0.0, 0.0], [0.0, 1.0], [1.0, 1.0]],
            [[0.2, 0.2], [0.4, 0.4], [0.3, 0.3]],
            [[f64::NAN, 0.0], [1.0, 0.0], [1.0, 1.0]],
        ];
        let seats = seats(&corners, 6);
        assert_eq!(seats.len(), 36);
        for (k, seat) in seats.iter().enumerate() {
            let (row, column) = (k / 6, k % 6);
            // the diagonal is on an edge of both and belongs to the first
            assert_eq!(seat.face, u32::from(row > column), "{k}");
            let point: [f64; 2] = std::array::from_fn(|c| {
                (0..3).map(|j| seat.weights[j] * corners[seat.face as usize][j][c]).sum::<f64>()
            });
            assert!((point[0] * 6.0 - column as f64 - 0.5).abs() < 1e-12);
            assert!((point[1] * 6.0 - row as f64 - 0.5).abs() < 1e-12);
        }
    }

    #[test]
    fn nothing_outside_of_the_grid_is_touched() {
        assert!(
            seats(&[[[1.2, 1.2], [2.0, 1.2], [1.2, 2.0]], [[-2.0, -2.0], [-1.0, -2.0], [-2.0, -1.0]]], 5).is_empty()
        );
        assert_eq!(seats(&[[[-9.0, -9.0], [30.0, -9.0], [-9.0, 30.0]]], 5).len(), 25);
    }
}
