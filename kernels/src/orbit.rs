//! Cameras: one that looks at a point, and the six orbit views in which two versions of an avatar are compared.
//!
//! The orbit is the protocol behind the published qualities of splat formats: [`VIEWS`] square images, horizontal field of
//! view 2·atan(1/2.4), azimuths 60° apart, alternately from a little below at 3.0 and from above at 4.2 times the extent.
//! Centre and extent come from percentiles of the opaque splats, so that floaters do not move the cameras.

use gav_formats::{Avatar, Camera, Error, Frame, Result, Splats};

/// Number of views of the protocol.
pub const VIEWS: usize = 6;
/// Width and height of the protocol's images in pixels.
pub const IMAGE_SIZE: u32 = 512;
/// Focal length in image widths.
pub const FOCAL_PER_WIDTH: f64 = 1.2;
/// Azimuth between two views in radians: 60°, rounded as in the published measurements.
#[allow(clippy::approx_constant)] // the measurements used these four decimals
const AZIMUTH_STEP: f64 = 1.0472;
/// Azimuth of the first view in radians.
const AZIMUTH_START: f64 = 0.2;
/// Elevation in radians of even and odd views.
const ELEVATIONS: [f64; 2] = [-0.05, 0.25];
/// Distance of even and odd views in extents.
const DISTANCES: [f64; 2] = [3.0, 4.2];
/// The splats between these percentiles along each axis count for centre and extent.
const PERCENTILES: [usize; 2] = [2, 98];

/// Where an avatar is and how large: the box that holds its opaque splats except for a few outliers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Framing {
    /// Middle of the box.
    pub center: [f64; 3],
    /// Half of the box's longest edge.
    pub extent: f64,
}

impl Framing {
    /// Framing of the splats with opacity above one half (of all splats when there are none), between the 2nd and the 98th
    /// percentile along each axis; `None` when no centre is finite or all coincide.
    pub fn of(splats: &Splats) -> Option<Self> {
        let finite = |i: &usize| splats.means[*i].iter().all(|v| v.is_finite());
        let mut indices: Vec<usize> =
            (0..splats.len()).filter(|&i| splats.opacity_logits[i] > 0.0).filter(finite).collect();
        if indices.is_empty() {
            indices = (0..splats.len()).filter(finite).collect();
        }
        if indices.is_empty() {
            return None;
        }
        let (mut center, mut extent) = ([0.0; 3], 0.0f64);
        for axis in 0..3 {
            let mut values: Vec<f32> = indices.iter().map(|&i| splats.means[i][axis]).collect();
            values.sort_unstable_by(f32::total_cmp);
            let [low, high] = PERCENTILES.map(|p| f64::from(values[values.len() * p / 100]));
            center[axis] = 0.5 * (low + high);
            extent = extent.max(0.5 * (high - low));
        }
        (extent > 0.0).then_some(Self { center, extent })
    }
}

/// A square-pixel pinhole camera at `eye` that looks at `target`, image rows running against `up`.
///
/// `focal` is in pixels, the principal point in the middle of the image. The camera's axes are x right, y down, z front, so
/// pictures of right-handed frames come out unmirrored.
pub fn look_at(eye: [f64; 3], target: [f64; 3], up: [f64; 3], focal: f64, width: u32, height: u32) -> Camera {
    let front = normalize(std::array::from_fn(|k| target[k] - eye[k]));
    let right = normalize(cross(front, up));
    let down = cross(front, right);
    let camera_from_world = [right, down, front].map(|row| {
        let shift = -(0..3).map(|k| row[k] * eye[k]).sum::<f64>();
        [row[0], row[1], row[2], shift]
    });
    Camera {
        name: String::new(),
        width,
        height,
        focal: [focal; 2],
        principal: [0.5 * f64::from(width), 0.5 * f64::from(height)],
        camera_from_world,
        orthographic: false,
    }
}

/// The camera at `distance` from `center` whose direction has the azimuth and elevation (radians) in the axes of `frame`.
///
/// Azimuth 0 lies on the frame's own +front/back axis and turns towards its own +left/right axis, whatever they are called;
/// elevation counts towards up. So the views of y-up and of y-down files are those of the published measurements.
fn orbit_camera(frame: Frame, framing: Framing, azimuth: f64, elevation: f64, distance: f64, size: u32) -> Camera {
    let mut direction = [0.0; 3];
    for (axis, letter) in frame.0.iter().enumerate() {
        let (line, sign) = letter.in_rub();
        direction[axis] = match line {
            0 => elevation.cos() * azimuth.sin(),
            1 => sign * elevation.sin(),
            _ => elevation.cos() * azimuth.cos(),
        };
    }
    let eye = std::array::from_fn(|k| framing.center[k] + direction[k] * distance * framing.extent);
    look_at(eye, framing.center, frame.up(), FOCAL_PER_WIDTH * f64::from(size), size, size)
}

/// The protocol's cameras for an avatar, with images of `size` × `size` pixels ([`IMAGE_SIZE`] for comparable numbers).
///
/// # Errors
/// [`Error::Usage`] when the avatar has no two distinct finite splats.
pub fn orbit_cameras(avatar: &Avatar, size: u32) -> Result<Vec<Camera>> {
    let splats = crate::psnr::displayed_splats(avatar)?;
    let framing = Framing::of(&splats).ok_or_else(|| {
        Error::usage("cannot place cameras around an avatar without extent: no two splats differ in position")
    })?;
    Ok((0..VIEWS)
        .map(|k| {
            let azimuth = k as f64 * AZIMUTH_STEP + AZIMUTH_START;
            let mut camera = orbit_camera(avatar.frame, framing, azimuth, ELEVATIONS[k % 2], DISTANCES[k % 2], size);
            camera.name = format!("orbit {k}");
            camera
        })
        .collect())
}

fn cross(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

fn normalize(v: [f64; 3]) -> [f64; 3] {
    let length = v.iter().map(|c| c * c).sum::<f64>().sqrt();
    v.map(|c| c / length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn look_at_puts_the_target_in_the_middle_and_up_upwards() {
        let camera = look_at([0.3, 0.2, 2.0], [0.1, 0.0, 0.0], [0.0, 1.0, 0.0], 100.0, 64, 64);
        let m = camera.camera_from_world;
        let apply = |p: [f64; 3]| -> [f64; 3] {
            std::array::from_fn(|r| (0..3).map(|c| m[r][c] * p[c]).sum::<f64>() + m[r][3])
        };
        let target = apply([0.1, 0.0, 0.0]);
        assert!(target[0].abs() < 1e-12 && target[1].abs() < 1e-12 && target[2] > 2.0, "{target:?}");
        assert!(apply([0.1, 0.1, 0.0])[1] < 0.0, "up must be towards smaller rows");
        assert!(apply([0.2, 0.0, 0.0])[0] > 0.0, "seen from +z, +x is on the right");
    }

    #[test]
    fn outliers_do_not_move_the_cameras() {
        let mut splats = Splats::with_len(1000, 0);
        for (i, mean) in splats.means.iter_mut().enumerate() {
            *mean = [i as f32 / 1000.0, 0.0, 0.0];
        }
        splats.opacity_logits.fill(2.0);
        let clean = Framing::of(&splats).unwrap();
        splats.means[3] = [-1e6, 1e6, f32::NAN];
        splats.means[999] = [1e6, 0.0, 0.0];
        let dirty = Framing::of(&splats).unwrap();
        assert!((clean.center[0] - dirty.center[0]).abs() < 2e-3 && (clean.extent - dirty.extent).abs() < 2e-3);
        assert!(Framing::of(&Splats::with_len(5, 0)).is_none());
        assert!(orbit_cameras(&Avatar::new(Splats::default(), Frame::RUB), 16).is_err());
    }
}
