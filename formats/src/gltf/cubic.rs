//! CUBICSPLINE keys (glTF 2.0, appendix C.5) as straight pieces.

/// Pieces a second that a spline is cut into, besides its own keys: a hundredth of a degree off at the curvature of fast motion.
const PIECES_PER_SECOND: f64 = 60.0;
/// Pieces between two keys at most.
pub const MOST_PIECES: u64 = 240;

/// Cuts a spline into pieces. `values` holds for each of the `times` an in-tangent, a value and an out-tangent of `width` numbers;
/// the result has one value for each new time. Rotations are left to be normalised by whoever interpolates.
pub fn straighten(times: &[f32], values: &[f32], width: usize) -> (Vec<f32>, Vec<f32>) {
    let part = |key: usize, which: usize| &values[(key * 3 + which) * width..][..width];
    let (mut out_times, mut out) = (Vec::new(), Vec::new());
    for (key, pair) in times.windows(2).enumerate() {
        let (start, length) = (f64::from(pair[0]), f64::from(pair[1]) - f64::from(pair[0]));
        let pieces = (length * PIECES_PER_SECOND).ceil().clamp(1.0, MOST_PIECES as f64) as usize;
        for piece in 0..pieces {
            let t = piece as f64 / pieces as f64;
            let (t2, t3) = (t * t, t * t * t);
            // Hermite polynomials of the two values and, scaled by the length, of the two tangents
            let weights =
                [2.0 * t3 - 3.0 * t2 + 1.0, length * (t3 - 2.0 * t2 + t), 3.0 * t2 - 2.0 * t3, length * (t3 - t2)];
            let parts = [part(key, 1), part(key, 2), part(key + 1, 1), part(key + 1, 0)];
            let value = |c: usize| (0..4).map(|k| weights[k] * f64::from(parts[k][c])).sum::<f64>() as f32;
            out_times.push((start + t * length) as f32);
            out.extend((0..width).map(value));
        }
    }
    if let Some(last) = times.len().checked_sub(1) {
        out_times.push(times[last]);
        out.extend_from_slice(part(last, 1));
    }
    (out_times, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cubic_comes_back_at_every_cut() {
        let f = |t: f32| 2.0 * t * t * t - t * t + 0.5;
        let slope = |t: f32| 6.0 * t * t - 2.0 * t;
        let times = [0.0f32, 0.25, 1.0];
        let values: Vec<f32> = times.iter().flat_map(|t| [slope(*t), 7.0, f(*t), -f(*t), slope(*t), 7.0]).collect();
        let (cut, out) = straighten(&times, &values, 2);
        assert_eq!((cut.len(), out.len()), (15 + 45 + 1, 122));
        assert!(cut.windows(2).all(|p| p[0] < p[1]));
        assert!(cut.iter().zip(out.chunks_exact(2)).all(|(t, v)| (v[0] - f(*t)).abs() < 1e-5));
        assert_eq!(straighten(&[2.0], &[9.0, 1.0, 9.0], 1), (vec![2.0], vec![1.0]));
        assert_eq!(straighten(&[], &[], 3), (vec![], vec![]));
    }
}
