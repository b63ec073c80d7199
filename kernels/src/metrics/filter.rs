//! Separable filters over bands of rows: several planes at once, each row computed when it is needed.
//!
//! A band's intermediate rows stay in the cache, nothing of the size of the picture is allocated, and bands are the unit of
//! parallel work.

use std::ops::{Add, AddAssign, Div, Mul, Neg, Range, Sub};

/// Output rows of one band: with 11 taps 31 % of the horizontal work is done twice, and five f32 planes of 1024 columns
/// take 860 kB.
pub(crate) const BAND_ROWS: usize = 32;

/// Outputs computed together, so that the sums stay in registers.
const LANES: usize = 16;

/// f32 for training, f64 for measures and for checking the former.
pub(crate) trait Real:
    Copy
    + Default
    + PartialOrd
    + Send
    + Sync
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + Into<f64>
{
    /// Rounds to this type.
    fn of(value: f64) -> Self;
}

impl Real for f32 {
    fn of(value: f64) -> Self {
        value as f32
    }
}

impl Real for f64 {
    fn of(value: f64) -> Self {
        value
    }
}

/// What a filter reads beyond the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Border {
    /// Zeros; the output has the size of the input.
    Zero,
    /// Nothing: the output is smaller by taps − 1.
    Valid,
    /// The picture mirrored at its outermost pixels, which are not repeated; the output has the size of the input.
    Reflect,
}

/// A separable window: the same odd number of taps along rows and columns.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Window<T> {
    taps: Vec<T>,
    border: Border,
}

impl<T: Real> Window<T> {
    /// exp(−i² / 2σ²) on 2 · `radius` + 1 taps, normalised to sum 1.
    pub(crate) fn gaussian(radius: usize, sigma: f64, border: Border) -> Self {
        let weight = |i: usize| (-(i as f64 - radius as f64).powi(2) / (2.0 * sigma * sigma)).exp();
        let sum: f64 = (0..=2 * radius).map(weight).sum();
        Self { taps: (0..=2 * radius).map(|i| T::of(weight(i) / sum)).collect(), border }
    }

    /// Equal weights on 2 · `radius` + 1 taps.
    pub(crate) fn uniform(radius: usize, border: Border) -> Self {
        let count = 2 * radius + 1;
        Self { taps: vec![T::of(1.0 / count as f64); count], border }
    }

    /// The weights.
    pub(crate) fn taps(&self) -> &[T] {
        &self.taps
    }

    /// Smallest side that can be filtered.
    pub(crate) fn least_side(&self) -> usize {
        match self.border {
            Border::Zero => 1,
            Border::Valid => self.taps.len(),
            Border::Reflect => self.taps.len() / 2 + 1,
        }
    }

    /// Length of the output along a side.
    pub(crate) fn output(&self, side: usize) -> usize {
        if self.border == Border::Valid { side - (self.taps.len() - 1) } else { side }
    }

    /// Pixels that the output lacks at each border.
    pub(crate) fn crop(&self) -> usize {
        if self.border == Border::Valid { self.taps.len() / 2 } else { 0 }
    }

    /// The filtered rows `rows` (output coordinates) of `N` planes of `width` × `height`.
    ///
    /// `source` writes row y of every plane. Gives `rows.len()` × [`Window::output`] (width) values for each plane.
    pub(crate) fn band<const N: usize>(
        &self,
        width: usize,
        height: usize,
        rows: Range<usize>,
        source: impl FnMut(usize, [&mut [T]; N]),
    ) -> [Vec<T>; N] {
        #[cfg(target_arch = "x86_64")]
        if std::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2.
            return unsafe { self.band_avx2(width, height, rows, source) };
        }
        self.band_portable(width, height, rows, source)
    }

    /// The same code, compiled for registers of 8 floats; without fused multiply-add, so the results are the same.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn band_avx2<const N: usize>(
        &self,
        width: usize,
        height: usize,
        rows: Range<usize>,
        source: impl FnMut(usize, [&mut [T]; N]),
    ) -> [Vec<T>; N] {
        self.band_portable(width, height, rows, source)
    }

    #[inline(always)]
    fn band_portable<const N: usize>(
        &self,
        width: usize,
        height: usize,
        rows: Range<usize>,
        mut source: impl FnMut(usize, [&mut [T]; N]),
    ) -> [Vec<T>; N] {
        let pad = if self.border == Border::Valid { 0 } else { self.taps.len() / 2 };
        let columns = self.output(width);
        let read_rows = rows.len() + self.taps.len() - 1;
        let mut padded: [Vec<T>; N] = std::array::from_fn(|_| vec![T::default(); width + 2 * pad]);
        let mut along_rows: [Vec<T>; N] = std::array::from_fn(|_| vec![T::default(); read_rows * columns]);
        for index in 0..read_rows {
            let Some(y) = self.inside(rows.start + index, pad, height) else { continue };
            source(y, padded.each_mut().map(|row| &mut row[pad..pad + width]));
            for (row, plane) in padded.iter_mut().zip(&mut along_rows) {
                if self.border == Border::Reflect {
                    for i in 0..pad {
                        row[i] = row[2 * pad - i];
                        row[width + pad + i] = row[width + pad - 2 - i];
                    }
                }
                let output = &mut plane[index * columns..(index + 1) * columns];
                self.weighted(output, |tap| &row[tap..tap + columns]);
            }
        }
        along_rows.map(|plane| {
            let mut output = vec![T::default(); rows.len() * columns];
            for (row, line) in output.chunks_exact_mut(columns).enumerate() {
                self.weighted(line, |tap| &plane[(row + tap) * columns..(row + tap + 1) * columns]);
            }
            output
        })
    }

    /// The row of the picture at `index` of the padded picture; `None` where zeros are read.
    fn inside(&self, index: usize, pad: usize, height: usize) -> Option<usize> {
        let y = index as isize - pad as isize;
        match self.border {
            Border::Reflect if y < 0 => Some(-y as usize),
            Border::Reflect if y >= height as isize => Some(2 * (height - 1) - y as usize),
            _ => (0..height as isize).contains(&y).then_some(y as usize),
        }
    }

    /// output = Σ taps[t] · input(t).
    #[inline(always)]
    fn weighted<'a>(&self, output: &mut [T], input: impl Fn(usize) -> &'a [T])
    where
        T: 'a,
    {
        let whole = output.len() / LANES * LANES;
        for start in (0..whole).step_by(LANES) {
            let mut sums = [T::default(); LANES];
            for (tap, &weight) in self.taps.iter().enumerate() {
                let values = &input(tap)[start..start + LANES];
                for lane in 0..LANES {
                    sums[lane] += weight * values[lane];
                }
            }
            output[start..start + LANES].copy_from_slice(&sums);
        }
        for column in whole..output.len() {
            let mut sum = T::default();
            for (tap, &weight) in self.taps.iter().enumerate() {
                sum += weight * input(tap)[column];
            }
            output[column] = sum;
        }
    }
}
