//! Cameras placed around an avatar so that all of it is in the picture, upright, whatever its frame.

use gav_formats::{Camera, Frame, Splats};

use crate::orbit::look_at;

/// Share of the splats that may stick out at either end of an axis: floaters do not push the camera away.
const OUTLIERS: f64 = 0.01;
/// How far a splat reaches, in standard deviations of its longest axis.
const REACH: f64 = 2.0;
/// Air around the subject, as a factor of the distance.
const MARGIN: f64 = 1.06;

/// The upright cylinder that holds the opaque splats except for a few outliers, in axes x right, y up, z back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Subject {
    /// Middle of the cylinder, in units of the avatar.
    pub center: [f64; 3],
    /// Radius about the upright axis through the middle.
    pub radius: f64,
    /// Half of the height.
    pub half_height: f64,
}

/// Where a camera stands, seen from the subject.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Direction {
    /// Radians from the front (the back of the frame's letters: towards the viewer) to the viewer's right.
    pub azimuth: f64,
    /// Radians above the horizon.
    pub elevation: f64,
}

impl Subject {
    /// The subject that `splats` in `frame` show; `None` when no centre is finite.
    ///
    /// Splats with opacity above one half count; all of them when there are none such.
    pub fn of(splats: &Splats, frame: Frame) -> Option<Self> {
        let finite = |i: &usize| {
            splats.means[*i].iter().all(|v| v.is_finite()) && splats.log_scales[*i].iter().all(|v| *v < f32::INFINITY)
        };
        let mut indices: Vec<usize> =
            (0..splats.len()).filter(|&i| splats.opacity_logits[i] > 0.0).filter(finite).collect();
        if indices.is_empty() {
            indices = (0..splats.len()).filter(finite).collect();
        }
        if indices.is_empty() {
            return None;
        }
        let to_rub = Frame::RUB.from_frame(frame);
        let reach = |i: usize| REACH * splats.log_scales[i].iter().map(|s| f64::from(*s).exp()).fold(0.0, f64::max);
        let position =
            |i: usize, axis: usize| -> f64 { (0..3).map(|c| to_rub[axis][c] * f64::from(splats.means[i][c])).sum() };
        let extremes: [[f64; 2]; 3] = std::array::from_fn(|axis| {
            let low = indices.iter().map(|&i| position(i, axis) - reach(i)).collect();
            let high = indices.iter().map(|&i| -position(i, axis) - reach(i)).collect();
            [lower_end(low), -lower_end(high)]
        });
        let center = extremes.map(|[low, high]| 0.5 * (low + high));
        let radii = indices.iter().map(|&i| {
            let (x, z) = (position(i, 0) - center[0], position(i, 2) - center[2]);
            -(x.hypot(z) + reach(i))
        });
        Some(Self { center, radius: -lower_end(radii.collect()), half_height: 0.5 * (extremes[1][1] - extremes[1][0]) })
    }

    /// Cameras of `width` × `height` pixels with the vertical field of view `fov` (radians) that look at the middle from the
    /// given directions, in the coordinates of an avatar in `frame`. All stand at the same distance: the smallest at
    /// which the cylinder is in the picture from every one of them.
    pub fn cameras(&self, directions: &[Direction], fov: f64, [width, height]: [u32; 2], frame: Frame) -> Vec<Camera> {
        let focal = 0.5 * f64::from(height) / (0.5 * fov).tan();
        let half_slope = [0.5 * f64::from(width) / focal, 0.5 * f64::from(height) / focal];
        // something without any extent is looked at from one unit away
        let (radius, half_height) = match (self.radius, self.half_height) {
            (r, h) if r.max(h) > 0.0 => (r, h),
            _ => (1.0, 1.0),
        };
        let distance_for = |elevation: f64| {
            let (sin, cos) = (elevation.abs().sin(), elevation.cos());
            let (half, depth) = (half_height * cos + radius * sin, radius * cos + half_height * sin);
            let sideways = radius * (1.0 + half_slope[0] * half_slope[0]).sqrt() / half_slope[0];
            (half / half_slope[1] + depth).max(sideways + half_height * sin)
        };
        let distance = MARGIN * directions.iter().map(|d| distance_for(d.elevation)).fold(0.0, f64::max);
        let rub_from_frame = Frame::RUB.from_frame(frame);
        directions
            .iter()
            .map(|direction| {
                let (sin, cos) = direction.elevation.sin_cos();
                let offset = [cos * direction.azimuth.sin(), sin, cos * direction.azimuth.cos()];
                let eye = std::array::from_fn(|k| self.center[k] + distance * offset[k]);
                // looking straight down or up, the top of the picture is the back or the front
                let up = if cos.abs() < 1e-6 {
                    [-sin * direction.azimuth.sin(), 0.0, -sin * direction.azimuth.cos()]
                } else {
                    [0.0, 1.0, 0.0]
                };
                let mut camera = look_at(eye, self.center, up, focal, width, height);
                let m = camera.camera_from_world;
                camera.camera_from_world = m.map(|row| {
                    let turned: [f64; 3] =
                        std::array::from_fn(|c| (0..3).map(|k| row[k] * rub_from_frame[k][c]).sum::<f64>());
                    [turned[0], turned[1], turned[2], row[3]]
                });
                camera
            })
            .collect()
    }
}

/// The value with a share of [`OUTLIERS`] below it.
fn lower_end(mut values: Vec<f64>) -> f64 {
    let index = (values.len() as f64 * OUTLIERS) as usize;
    *values.select_nth_unstable_by(index, f64::total_cmp).1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A red splat above, a blue one below, at the right hand (of the viewer) and nearer to the viewer, in RUB.
    fn marks() -> Splats {
        let mut splats = Splats::with_len(2, 0);
        splats.means = vec![[0.5, 1.0, 0.3], [0.5, -1.0, 0.3]];
        splats.log_scales = vec![[-3.0; 3]; 2];
        splats.opacity_logits = vec![4.0; 2];
        splats
    }

    fn see(camera: &Camera, p: [f64; 3]) -> [f64; 2] {
        let m = &camera.camera_from_world;
        let t: [f64; 3] = std::array::from_fn(|r| (0..3).map(|c| m[r][c] * p[c]).sum::<f64>() + m[r][3]);
        std::array::from_fn(|k| camera.focal[k] * t[k] / t[2] + camera.principal[k])
    }

    #[test]
    fn the_same_picture_comes_from_every_frame() {
        let letters = ["RUB", "RDF", "LUF", "RFU", "LUB", "BDL", "URF"];
        let direction = [Direction { azimuth: 0.4, elevation: 0.3 }];
        for frame in letters.map(|l| l.parse::<Frame>().unwrap()) {
            let to = frame.from_frame(Frame::RUB);
            let turn = |p: [f64; 3]| -> [f64; 3] { std::array::from_fn(|r| (0..3).map(|c| to[r][c] * p[c]).sum()) };
            let mut splats = marks();
            splats.means.iter_mut().for_each(|m| *m = turn(m.map(f64::from)).map(|v| v as f32));
            let subject = Subject::of(&splats, frame).unwrap();
            let camera = subject.cameras(&direction, 0.6, [100, 100], frame).remove(0);
            let top = see(&camera, turn([0.5, 1.0, 0.3]));
            let right = see(&camera, turn([0.9, 0.0, 0.3]));
            let bottom = see(&camera, turn([0.5, -1.0, 0.3]));
            assert!(top[1] < 20.0 && bottom[1] > 80.0 && right[0] > 55.0, "{frame}: {top:?} {bottom:?} {right:?}");
            assert!((top[0] - 50.0).abs() < 1e-4, "{frame}: {top:?}");
        }
    }

    #[test]
    fn the_subject_is_in_the_picture_from_all_sides_and_fills_it() {
        let mut splats = Splats::with_len(400, 0);
        splats.log_scales.fill([-9.0; 3]);
        splats.opacity_logits.fill(3.0);
        for (i, mean) in splats.means.iter_mut().enumerate() {
            let angle = i as f32 * 0.7;
            *mean = [angle.sin() * 0.5, (i as f32 / 200.0 - 1.0) * 1.5, angle.cos() * 0.5];
        }
        let subject = Subject::of(&splats, Frame::RUB).unwrap();
        assert!((subject.radius - 0.5).abs() < 0.03 && (subject.half_height - 1.5).abs() < 0.05, "{subject:?}");
        for size in [[100, 100], [200, 80], [60, 300]] {
            let mut largest = 0.0f64;
            let ring: Vec<Direction> =
                (0..12).map(|k| Direction { azimuth: f64::from(k) * 0.5, elevation: f64::from(k % 3) * 0.3 }).collect();
            for camera in subject.cameras(&ring, 0.7, size, Frame::RUB) {
                for mean in &splats.means {
                    let [u, v] = see(&camera, mean.map(f64::from));
                    let [u, v] = [u / f64::from(size[0]), v / f64::from(size[1])].map(|x| (2.0 * x - 1.0).abs());
                    largest = largest.max(u).max(v);
                }
            }
            assert!((0.75..1.0).contains(&largest), "{size:?}: {largest}");
        }
    }

    #[test]
    fn a_single_splat_and_a_view_from_straight_above_work() {
        let mut splats = Splats::with_len(1, 0);
        splats.log_scales = vec![[f32::NEG_INFINITY; 3]];
        let subject = Subject::of(&splats, Frame::RDF).unwrap();
        for elevation in [std::f64::consts::FRAC_PI_2, -std::f64::consts::FRAC_PI_2] {
            let above = [Direction { azimuth: 0.0, elevation }];
            let camera = subject.cameras(&above, 0.6, [64, 64], Frame::RDF).remove(0);
            assert!(camera.camera_from_world.iter().flatten().all(|v| v.is_finite()));
            assert!((see(&camera, [0.0; 3])[0] - 32.0).abs() < 1e-9);
        }
        splats.means[0] = [f32::NAN; 3];
        assert!(Subject::of(&splats, Frame::RDF).is_none());
    }
}
