//! Resizing by the rules that published numbers depend on. Pictures are planes: channel, row, column.

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
    fn taps(self, input: usize, output: usize) -> Vec<(usize, usize, f32)> {
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
    fn planes_stay_apart() {
        let planes = [1.0, 1.0, 5.0, 5.0];
        assert_eq!(bilinear(&planes, [1, 2], [2, 1], Rule::Legacy), [1.0, 1.0, 5.0, 5.0]);
    }
}
