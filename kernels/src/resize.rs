//! Resizing by the rules that published numbers depend on, and warping by affine maps. Results are planes: channel, row, column.

use rayon::prelude::*;

/// Where an output pixel looks in the input; both rules are bilinear without antialiasing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    /// TensorFlow 1 without half pixels: source = j · in/out. StyleGAN's detectors, torch-fidelity.
    Legacy,
    /// source = (j + ½) · in/out − ½, not below 0. PyTorch's `align_corners=False`; pytorch-fid.
    HalfPixel,
}

impl Rule {
    /// For every output position: the two input positions and the weight of the second.
    pub fn taps(self, input: usize, output: usize) -> Vec<(usize, usize, f32)> {
        let scale = input as f64 / output as f64;
        let tap = |j: usize| {
            let source = match self {
                Self::Legacy => j as f64 * scale,
                Self::HalfPixel => ((j as f64 + 0.5) * scale - 0.5).max(0.0),
            };
            let lower = (source as usize).min(input - 1);
            (lower, (lower + 1).min(input - 1), (source - lower as f64) as f32)
        };
        (0..output).map(tap).collect()
    }
}

/// Resizes planes of `height`×`width` to `out_height`×`out_width`; no side may be 0.
pub fn bilinear(
    planes: &[f32],
    [height, width]: [usize; 2],
    [out_height, out_width]: [usize; 2],
    rule: Rule,
) -> Vec<f32> {
    assert_eq!(planes.len() % (height * width), 0, "planes of {height}×{width}");
    let (rows, columns) = (rule.taps(height, out_height), rule.taps(width, out_width));
    let mut out = vec![0f32; planes.len() / (height * width) * out_height * out_width];
    out.par_chunks_exact_mut(out_width).enumerate().for_each(|(line, target)| {
        let plane = &planes[line / out_height * height * width..][..height * width];
        let (top, bottom, down) = rows[line % out_height];
        let (top, bottom) = (&plane[top * width..][..width], &plane[bottom * width..][..width]);
        for (value, (left, right, across)) in target.iter_mut().zip(&columns) {
            let upper = top[*left] + (top[*right] - top[*left]) * across;
            let lower = bottom[*left] + (bottom[*right] - bottom[*left]) * across;
            *value = upper + (lower - upper) * down;
        }
    });
    out
}

/// Planes of `out_width` × `out_height` (3 of them) of an interleaved RGB picture: the pixel at column x, row y shows what lies at
/// `picture_from_out` · (x, y, 1), pixel centres being at integers, between four pixels; black outside of the picture.
///
/// # Panics
/// When `rgb` is not a picture of that size.
pub fn warp(
    rgb: &[f32],
    [height, width]: [usize; 2],
    picture_from_out: &[[f64; 3]; 2],
    [out_height, out_width]: [usize; 2],
) -> Vec<f32> {
    assert_eq!(rgb.len(), 3 * height * width, "a picture of {width}×{height}");
    let mut out = vec![0f32; 3 * out_height * out_width];
    let pixel = |x: i64, y: i64| {
        let inside = (0..width as i64).contains(&x) && (0..height as i64).contains(&y);
        inside.then(|| &rgb[(y as usize * width + x as usize) * 3..][..3])
    };
    for row in 0..out_height {
        for column in 0..out_width {
            let [x, y] = picture_from_out.map(|m| m[0] * column as f64 + m[1] * row as f64 + m[2]);
            let (left, top) = (x.floor(), y.floor());
            let (across, down) = (x - left, y - top);
            for (dx, dy, weight) in [
                (0, 0, (1.0 - across) * (1.0 - down)),
                (1, 0, across * (1.0 - down)),
                (0, 1, (1.0 - across) * down),
                (1, 1, across * down),
            ] {
                let Some(color) = pixel((left as i64).saturating_add(dx), (top as i64).saturating_add(dy)) else {
                    continue;
                };
                for channel in 0..3 {
                    out[(channel * out_height + row) * out_width + column] += weight as f32 * color[channel];
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_differ_where_they_should() {
        let ramp = [0.0, 1.0, 2.0, 3.0];
        assert_eq!(bilinear(&ramp, [1, 4], [1, 8], Rule::Legacy), [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.0]);
        assert_eq!(bilinear(&ramp, [1, 4], [1, 8], Rule::HalfPixel), [0.0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.0]);
        assert_eq!(bilinear(&ramp, [1, 4], [1, 2], Rule::Legacy), [0.0, 2.0]);
        assert_eq!(bilinear(&ramp, [1, 4], [1, 2], Rule::HalfPixel), [0.5, 2.5]);
    }

    #[test]
    fn warps_look_where_the_map_says_and_are_black_outside() {
        // 2 × 2 pixels: 1, 2 above 3, 4 in all channels
        let rgb = [1.0, 2.0, 3.0, 4.0].map(|v| [v; 3]).concat();
        let shifted = warp(&rgb, [2, 2], &[[1.0, 0.0, 0.5], [0.0, 1.0, 0.0]], [1, 2]);
        assert_eq!(shifted, [1.5, 1.0].repeat(3));
        let turned = warp(&rgb, [2, 2], &[[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]], [2, 2]);
        assert_eq!(turned, [1.0, 3.0, 2.0, 4.0].repeat(3));
        assert!(warp(&rgb, [2, 2], &[[1.0, 0.0, 9.0], [0.0, 1.0, 0.0]], [2, 2]).iter().all(|v| *v == 0.0));
    }

    #[test]
    fn planes_stay_apart() {
        let planes = [1.0, 1.0, 5.0, 5.0];
        assert_eq!(bilinear(&planes, [1, 2], [2, 1], Rule::Legacy), [1.0, 1.0, 5.0, 5.0]);
    }
}
