//! 3 × 3 matrices in rows, just what joints need.

use gav_kernels::Real;

pub(super) type Vector<T> = [T; 3];
pub(super) type Matrix<T> = [[T; 3]; 3];

pub(super) fn identity<T: Real>() -> Matrix<T> {
    std::array::from_fn(|r| std::array::from_fn(|c| if r == c { T::one() } else { T::zero() }))
}

/// a · b.
pub(super) fn product<T: Real>(a: &Matrix<T>, b: &Matrix<T>) -> Matrix<T> {
    std::array::from_fn(|r| std::array::from_fn(|c| a[r][0] * b[0][c] + a[r][1] * b[1][c] + a[r][2] * b[2][c]))
}

pub(super) fn transposed<T: Real>(a: &Matrix<T>) -> Matrix<T> {
    std::array::from_fn(|r| std::array::from_fn(|c| a[c][r]))
}

/// a · v.
#[inline(always)]
pub(super) fn apply<T: Real>(a: &Matrix<T>, v: &Vector<T>) -> Vector<T> {
    std::array::from_fn(|r| a[r][0] * v[0] + a[r][1] * v[1] + a[r][2] * v[2])
}

/// aᵀ · v.
#[inline(always)]
pub(super) fn apply_transposed<T: Real>(a: &Matrix<T>, v: &Vector<T>) -> Vector<T> {
    std::array::from_fn(|r| a[0][r] * v[0] + a[1][r] * v[1] + a[2][r] * v[2])
}

/// a · bᵀ of two vectors.
pub(super) fn outer<T: Real>(a: &Vector<T>, b: &Vector<T>) -> Matrix<T> {
    std::array::from_fn(|r| std::array::from_fn(|c| a[r] * b[c]))
}

pub(super) fn add_to<T: Real>(a: &mut Matrix<T>, b: &Matrix<T>, factor: T) {
    for (a, b) in a.as_flattened_mut().iter_mut().zip(b.as_flattened()) {
        *a += *b * factor;
    }
}

/// Σ aᵢⱼ bᵢⱼ.
pub(super) fn inner<T: Real>(a: &Matrix<T>, b: &Matrix<T>) -> T {
    a.as_flattened().iter().zip(b.as_flattened()).map(|(a, b)| *a * *b).sum()
}

#[inline(always)]
pub(super) fn plus<T: Real>(a: &Vector<T>, b: &Vector<T>) -> Vector<T> {
    std::array::from_fn(|c| a[c] + b[c])
}

pub(super) fn minus<T: Real>(a: &Vector<T>, b: &Vector<T>) -> Vector<T> {
    std::array::from_fn(|c| a[c] - b[c])
}

pub(super) fn dot<T: Real>(a: &Vector<T>, b: &Vector<T>) -> T {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

pub(super) fn cross<T: Real>(a: &Vector<T>, b: &Vector<T>) -> Vector<T> {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}
