//! Hamilton quaternions in the order w, x, y, z, in f64.

/// No rotation.
pub const IDENTITY_QUATERNION: [f64; 4] = [1.0, 0.0, 0.0, 0.0];

/// Product `a ⊗ b`: the rotation `b` followed by `a`.
pub fn multiply_quaternions(a: [f64; 4], b: [f64; 4]) -> [f64; 4] {
    [
        a[0] * b[0] - a[1] * b[1] - a[2] * b[2] - a[3] * b[3],
        a[0] * b[1] + a[1] * b[0] + a[2] * b[3] - a[3] * b[2],
        a[0] * b[2] - a[1] * b[3] + a[2] * b[0] + a[3] * b[1],
        a[0] * b[3] + a[1] * b[2] - a[2] * b[1] + a[3] * b[0],
    ]
}

/// Unit quaternion along `q`; the identity when `q` is zero or not finite.
pub fn normalize_quaternion(q: [f64; 4]) -> [f64; 4] {
    let length = q.iter().map(|v| v * v).sum::<f64>().sqrt();
    if length.is_finite() && length > 0.0 { q.map(|v| v / length) } else { IDENTITY_QUATERNION }
}

/// Rotation matrix (rows) of a unit quaternion.
pub fn matrix_from_quaternion([w, x, y, z]: [f64; 4]) -> [[f64; 3]; 3] {
    [
        [1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - w * z), 2.0 * (x * z + w * y)],
        [2.0 * (x * y + w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - w * x)],
        [2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y)],
    ]
}

/// Unit quaternion of a rotation matrix (rows), by the largest of the four squared components (Shepperd 1978).
pub fn quaternion_from_matrix(m: &[[f64; 3]; 3]) -> [f64; 4] {
    let squared = [
        1.0 + m[0][0] + m[1][1] + m[2][2],
        1.0 + m[0][0] - m[1][1] - m[2][2],
        1.0 - m[0][0] + m[1][1] - m[2][2],
        1.0 - m[0][0] - m[1][1] + m[2][2],
    ];
    let largest = (0..4).fold(0, |best, k| if squared[k] > squared[best] { k } else { best });
    let r = squared[largest].max(f64::MIN_POSITIVE).sqrt();
    let h = 0.5 / r;
    normalize_quaternion(match largest {
        0 => [0.5 * r, (m[2][1] - m[1][2]) * h, (m[0][2] - m[2][0]) * h, (m[1][0] - m[0][1]) * h],
        1 => [(m[2][1] - m[1][2]) * h, 0.5 * r, (m[0][1] + m[1][0]) * h, (m[0][2] + m[2][0]) * h],
        2 => [(m[0][2] - m[2][0]) * h, (m[0][1] + m[1][0]) * h, 0.5 * r, (m[1][2] + m[2][1]) * h],
        _ => [(m[1][0] - m[0][1]) * h, (m[0][2] + m[2][0]) * h, (m[1][2] + m[2][1]) * h, 0.5 * r],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrix_and_quaternion_agree() {
        for q in [[0.5, 0.5, -0.5, 0.5], [0.1, -0.9, 0.3, 0.2], [-0.2, 0.1, 0.9, -0.3], [0.0, 0.0, 0.1, 1.0]] {
            let q = normalize_quaternion(q);
            let back = quaternion_from_matrix(&matrix_from_quaternion(q));
            let dot: f64 = (0..4).map(|k| q[k] * back[k]).sum();
            assert!((dot.abs() - 1.0).abs() < 1e-12, "{q:?} {back:?}");
        }
    }

    #[test]
    fn product_follows_the_matrix_product() {
        let a = normalize_quaternion([0.3, 0.2, -0.5, 0.7]);
        let b = normalize_quaternion([0.9, -0.1, 0.4, 0.2]);
        let (ma, mb) = (matrix_from_quaternion(a), matrix_from_quaternion(b));
        let mab = matrix_from_quaternion(multiply_quaternions(a, b));
        for r in 0..3 {
            for c in 0..3 {
                let product: f64 = (0..3).map(|k| ma[r][k] * mb[k][c]).sum();
                assert!((product - mab[r][c]).abs() < 1e-12);
            }
        }
    }
}
