//! Rotations as twist about the long axis and swing of that axis (`spec/gav.md` 7.6).
//!
//! A canonical unit quaternion is `q = (kC, kr, aC + br, bC − ar)` with `C = √(1 − r²)`, `k = √(1 − a² − b²)`: (C, r) is the half-angle
//! twist, (a, b) an equal-area map of where the long axis points. Neither direction needs trigonometry.

use crate::conventions::normalize_quaternion;

/// Twist r and swing a, b of a canonical quaternion w, x, y, z.
pub(crate) fn to_swing_twist(q: [f32; 4]) -> [f64; 3] {
    let [w, x, y, z] = normalize_quaternion(q.map(f64::from));
    let h = (w * w + x * x).sqrt();
    let (c, r) = (w / h, x / h);
    [r, y * c - z * r, z * c + y * r]
}

/// The unit quaternion of twist r and swing a, b; values outside the canonical range are pulled back to its border.
pub(crate) fn from_swing_twist([r, a, b]: [f64; 3]) -> [f32; 4] {
    let r = r.clamp(-0.9, 0.9);
    let length = a * a + b * b;
    let pull = if length > 0.98 { (0.98 / length).sqrt() } else { 1.0 };
    let (a, b) = (a * pull, b * pull);
    let c = (1.0 - r * r).sqrt();
    let k = (1.0 - a * a - b * b).sqrt();
    [(k * c) as f32, (k * r) as f32, (a * c + b * r) as f32, (b * c - a * r) as f32]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_quaternions_come_back() {
        for raw in [[1.0f32, 0.0, 0.0, 0.0], [0.9, 0.5, -0.4, 0.3], [0.6, -0.59, 0.5, 0.2], [0.71, 0.0, 0.7, 0.05]] {
            let q = normalize_quaternion(raw.map(f64::from));
            let back = from_swing_twist(to_swing_twist(q.map(|v| v as f32)));
            for k in 0..4 {
                assert!((q[k] - f64::from(back[k])).abs() < 1e-6, "{q:?} {back:?}");
            }
        }
    }

    #[test]
    fn values_outside_the_range_still_give_unit_quaternions() {
        for triple in [[5.0, 0.0, 0.0], [0.0, 3.0, -4.0], [-1.0, 1.0, 1.0]] {
            let q = from_swing_twist(triple).map(f64::from);
            assert!((q.iter().map(|v| v * v).sum::<f64>() - 1.0).abs() < 1e-6);
        }
    }
}
