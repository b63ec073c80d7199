//! Five-point alignment of faces: a least-squares similarity transform (Umeyama 1991) and a bilinear warp onto black.

use gav_kernels::resize::warp;

use super::arcface::SIDE;

/// Where eyes, nose and mouth corners (left before right, as seen in the picture) lie in an aligned face of 112×112 pixels; insightface.
pub const TEMPLATE: [[f64; 2]; 5] =
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]];

/// [x', y'] = [a·x − b·y + tx, b·x + a·y + ty].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Similarity {
    /// Scale times cosine.
    pub a: f64,
    /// Scale times sine.
    pub b: f64,
    /// Shift in pixels.
    pub t: [f64; 2],
}

impl Similarity {
    /// The similarity, without reflection, that brings `from` closest to `to`; `None` when all of `from` are one point.
    ///
    /// With centred points p, q the best a + ib is Σ q·p̄ / Σ |p|² over complex numbers, which is Umeyama's solution in the plane.
    pub fn between(from: &[[f64; 2]; 5], to: &[[f64; 2]; 5]) -> Option<Self> {
        let mean = |points: &[[f64; 2]; 5]| [0, 1].map(|axis| points.iter().map(|p| p[axis]).sum::<f64>() / 5.0);
        let (from_mean, to_mean) = (mean(from), mean(to));
        let (mut a, mut b, mut spread) = (0.0, 0.0, 0.0);
        for (p, q) in from.iter().zip(to) {
            let p = [p[0] - from_mean[0], p[1] - from_mean[1]];
            let q = [q[0] - to_mean[0], q[1] - to_mean[1]];
            a += p[0] * q[0] + p[1] * q[1];
            b += p[0] * q[1] - p[1] * q[0];
            spread += p[0] * p[0] + p[1] * p[1];
        }
        let (a, b) = (a / spread, b / spread);
        let t =
            [to_mean[0] - (a * from_mean[0] - b * from_mean[1]), to_mean[1] - (b * from_mean[0] + a * from_mean[1])];
        (a.is_finite() && b.is_finite() && a.hypot(b) > 0.0).then_some(Self { a, b, t })
    }

    /// Where a point goes.
    pub fn apply(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        [self.a * x - self.b * y + self.t[0], self.b * x + self.a * y + self.t[1]]
    }

    /// The similarity that takes it back.
    pub fn inverse(&self) -> Self {
        let square = self.a * self.a + self.b * self.b;
        let (a, b) = (self.a / square, -self.b / square);
        let [x, y] = self.t;
        Self { a, b, t: [-(a * x - b * y), -(b * x + a * y)] }
    }
}

/// The aligned face, 3 planes of 112×112, of an interleaved RGB picture whose five points are given in pixels (centres at integers, as
/// detectors give them). What lies outside of the picture is black.
pub fn aligned_face(rgb: &[f32], width: usize, height: usize, face_from_picture: &Similarity) -> Vec<f32> {
    let Similarity { a, b, t } = face_from_picture.inverse();
    warp(rgb, [height, width], &[[a, -b, t[0]], [b, a, t[1]]], [SIDE, SIDE])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_similarity_is_found_again_and_undone() {
        let truth = Similarity { a: 0.4, b: -0.3, t: [12.0, 70.0] };
        let points = TEMPLATE.map(|p| truth.inverse().apply(p));
        let found = Similarity::between(&points, &TEMPLATE).unwrap();
        for (found, truth) in [(found.a, truth.a), (found.b, truth.b), (found.t[0], 12.0), (found.t[1], 70.0)] {
            assert!((found - truth).abs() < 1e-9, "{found} {truth}");
        }
        assert_eq!(Similarity::between(&[[3.0, 3.0]; 5], &TEMPLATE), None);
    }

    #[test]
    fn the_best_fit_of_noisy_points_cannot_be_improved() {
        let mut points = TEMPLATE;
        points[0][0] += 4.0;
        points[3][1] -= 3.0;
        let best = Similarity::between(&points, &TEMPLATE).unwrap();
        let error = |s: &Similarity| -> f64 {
            let squares = points.iter().zip(&TEMPLATE).map(|(p, q)| {
                let [x, y] = s.apply(*p);
                (x - q[0]).powi(2) + (y - q[1]).powi(2)
            });
            squares.sum()
        };
        for (da, db, dx, dy) in
            [(1e-3, 0.0, 0.0, 0.0), (0.0, 1e-3, 0.0, 0.0), (0.0, 0.0, 0.1, 0.0), (0.0, 0.0, 0.0, -0.1)]
        {
            let other = Similarity { a: best.a + da, b: best.b + db, t: [best.t[0] + dx, best.t[1] + dy] };
            assert!(error(&other) > error(&best));
        }
    }

    #[test]
    fn the_warp_moves_pixels_and_leaves_black_outside() {
        let mut picture = vec![0f32; 8 * 8 * 3];
        picture[(2 * 8 + 3) * 3..][..3].copy_from_slice(&[1.0, 0.5, 0.25]);
        let shift = Similarity { a: 1.0, b: 0.0, t: [10.0, 20.0] };
        let face = aligned_face(&picture, 8, 8, &shift);
        assert_eq!(face[22 * SIDE + 13], 1.0);
        assert_eq!(face[(SIDE + 22) * SIDE + 13], 0.5);
        assert_eq!(face.iter().filter(|v| **v != 0.0).count(), 3);
        let half = Similarity { a: 1.0, b: 0.0, t: [10.5, 20.0] };
        assert_eq!(aligned_face(&picture, 8, 8, &half)[22 * SIDE + 13], 0.5);
    }
}
