//! Avatars made by formula: for demonstrations, tests and benchmarks, free of anybody's data.
//!
//! Every function is deterministic: the same arguments give the same avatar. Random numbers are a hash of a counter
//! ([`uniform`]), so any part can be made without the parts before it.
//!
//! - [`head()`] and [`head_rigged`]: a stylised human head that is pleasant to look at.
//! - [`random`]: unstructured splats, for round trips and fuzzing.
//! - [`shell`]: the benchmark scene on which rasterisers are compared.
//! - [`every_rig`]: small avatars that together use every kind of rig and every optional part.

pub mod head;
mod rigs;

pub use head::{HeadOptions, head, head_rigged, head_with};
pub use rigs::{RigSample, every_rig};

use std::f64::consts::TAU;

use crate::{Avatar, Camera, Frame, Splats, conventions::SH_C0};

/// Uniform number in [0, 1): the first 53 bits of the SplitMix64 output number `counter` for `seed` (Steele et al. 2014).
pub fn uniform(counter: u64, seed: u64) -> f64 {
    let mut z = seed.wrapping_add(counter.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    (z >> 11) as f64 / (1u64 << 53) as f64
}

/// A stream of [`uniform`] numbers.
#[derive(Debug, Clone)]
pub struct Random {
    seed: u64,
    counter: u64,
}

impl Random {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed, counter: 0 }
    }

    /// The next number in [0, 1).
    pub fn unit(&mut self) -> f64 {
        self.counter += 1;
        uniform(self.counter - 1, self.seed)
    }

    /// The next number in [low, high).
    pub fn range(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// A number with mean 0 and variance 1: the centred sum of four uniforms, near enough to normal and free of `ln`.
    pub fn bell(&mut self) -> f64 {
        (self.unit() + self.unit() + self.unit() + self.unit() - 2.0) * 3.0f64.sqrt()
    }

    /// A direction, uniform on the sphere.
    pub fn direction(&mut self) -> [f64; 3] {
        let (z, phi) = (self.range(-1.0, 1.0), TAU * self.unit());
        let radius = (1.0 - z * z).sqrt();
        [radius * phi.cos(), radius * phi.sin(), z]
    }

    /// A unit quaternion w, x, y, z, uniform over rotations (Shoemake 1992).
    pub fn quaternion(&mut self) -> [f64; 4] {
        let (a, b, c) = (self.unit(), TAU * self.unit(), TAU * self.unit());
        let (inner, outer) = (a.sqrt(), (1.0 - a).sqrt());
        [inner * c.cos(), outer * b.sin(), outer * b.cos(), inner * c.sin()]
    }
}

/// `count` unstructured splats in a cube of edge 2, frame RDF, with attributes as varied as those of trained files:
/// quaternions that are not normalised, opacities from invisible to opaque, needles, discs and balls.
pub fn random(count: usize, sh_degree: u8, seed: u64) -> Avatar {
    let mut r = Random::new(seed);
    let mut splats = Splats::with_len(count, sh_degree);
    for i in 0..count {
        splats.means[i] = [0; 3].map(|_| r.range(-1.0, 1.0) as f32);
        let length = r.range(0.5, 1.5);
        splats.rotations[i] = r.quaternion().map(|v| (v * length) as f32);
        let size = r.range(-7.0, -3.0);
        splats.log_scales[i] = [0; 3].map(|_| (size + r.range(-2.0, 1.0)) as f32);
        splats.opacity_logits[i] = r.range(-7.0, 9.0) as f32;
        splats.sh0[i] = [0; 3].map(|_| r.range(-2.0, 2.0) as f32);
    }
    splats.sh_rest.iter_mut().for_each(|v| *v = (0.2 * r.bell()) as f32);
    Avatar::new(splats, Frame::RDF)
}

/// Seed of the benchmark scene.
pub const SHELL_SEED: u64 = 20_240_607;

/// The benchmark scene: `count` splats on the shell of a head-sized ellipsoid, sized so that they just overlap.
///
/// Rasterisers are timed and compared on it with seed [`SHELL_SEED`] and [`shell_camera`]; each splat depends on its index
/// only. Axes of the cameras are OpenCV's, the polar axis is y.
pub fn shell(count: usize, sh_degree: u8, seed: u64) -> Avatar {
    const AXES: [f64; 3] = [0.12, 0.14, 0.13];
    // Thomsen's approximation of the ellipsoid's area
    let powers = [AXES[0] * AXES[1], AXES[0] * AXES[2], AXES[1] * AXES[2]].map(|v| v.powf(1.6));
    let area = 2.0 * TAU * (powers.iter().sum::<f64>() / 3.0).powf(1.0 / 1.6);
    let log_size = (0.5 * (area / count.max(1) as f64).sqrt()).ln();
    let mut splats = Splats::with_len(count, sh_degree);
    let rest = splats.sh_rest_count();
    for i in 0..count {
        let u = |channel: u64| uniform(64 * i as u64 + channel, seed);
        let (z, phi) = (2.0 * u(0) - 1.0, TAU * u(1));
        let rho = (1.0 - z * z).max(0.0).sqrt();
        let radius = 1.0 + 0.01 * (2.0 * u(2) - 1.0);
        let direction = [rho * phi.cos(), z, rho * phi.sin()];
        splats.means[i] = std::array::from_fn(|k| (direction[k] * AXES[k] * radius) as f32);
        splats.log_scales[i] = [3, 4, 5].map(|c| (log_size + 0.6 * (2.0 * u(c) - 1.0)) as f32);
        let (a, b, c) = (u(6), TAU * u(7), TAU * u(8));
        let (inner, outer) = (a.sqrt(), (1.0 - a).sqrt());
        splats.rotations[i] = [inner * c.cos(), outer * b.sin(), outer * b.cos(), inner * c.sin()].map(|v| v as f32);
        let opacity = 0.1 + 0.89 * u(9);
        splats.opacity_logits[i] = (opacity / (1.0 - opacity)).ln() as f32;
        splats.sh0[i] = [10, 11, 12].map(|c| ((u(c) - 0.5) / SH_C0) as f32);
        // the formula defines 15 coefficients; its 64 counters a splat leave room for no more
        for j in 0..rest.min(15) {
            for channel in 0..3 {
                splats.sh_rest[(i * rest + j) * 3 + channel] =
                    (0.1 * (2.0 * u(13 + (3 * j + channel) as u64) - 1.0)) as f32;
            }
        }
    }
    Avatar::new(splats, Frame::RUB)
}

/// Camera number `index` of the 32 around the benchmark scene, a metre from its middle.
pub fn shell_camera(index: usize, width: u32, height: u32) -> Camera {
    const HALF_HEIGHT: f64 = 0.148;
    let (yaw, pitch) = (TAU * index as f64 / 32.0, 0.2 * (index as f64).sin());
    let center = [yaw.sin() * pitch.cos(), pitch.sin(), yaw.cos() * pitch.cos()];
    let front = center.map(|v| -v);
    // front × (0, 1, 0), normalised, and front × right
    let length = (front[0] * front[0] + front[2] * front[2]).sqrt();
    let right = [-front[2] / length, 0.0, front[0] / length];
    let down = [
        front[1] * right[2] - front[2] * right[1],
        front[2] * right[0] - front[0] * right[2],
        front[0] * right[1] - front[1] * right[0],
    ];
    Camera {
        name: format!("shell {index}"),
        width,
        height,
        focal: [0.5 * f64::from(height) / HALF_HEIGHT; 2],
        principal: [0.5 * f64::from(width), 0.5 * f64::from(height)],
        camera_from_world: [right, down, front].map(|row| {
            let shift = -(0..3).map(|k| row[k] * center[k]).sum::<f64>();
            [row[0], row[1], row[2], shift]
        }),
        orthographic: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_gives_the_published_numbers() {
        for (counter, expected) in [(0, 0.39267746), (1, 0.03565797), (63, 0.71995409), (64, 0.75229812)] {
            assert!((uniform(counter, SHELL_SEED) - expected).abs() < 1e-8, "{counter}");
        }
    }

    #[test]
    fn the_shell_sums_to_the_published_numbers() {
        let s = shell(1000, 3, SHELL_SEED).splats;
        let sum = |values: &[f32]| values.iter().map(|v| f64::from(*v)).sum::<f64>();
        let opacities: f64 = s.opacity_logits.iter().map(|v| 1.0 / (1.0 + (-f64::from(*v)).exp())).sum();
        for (got, expected) in [
            (sum(s.means.as_flattened()), -0.4575),
            (sum(s.log_scales.as_flattened()), -14793.2438),
            (sum(s.rotations.as_flattened()), 68.8215),
            (opacities, 541.4512),
            (sum(s.sh0.as_flattened()), 95.9080),
            (sum(&s.sh_rest), -30.1845),
        ] {
            assert!((got - expected).abs() < 2e-4, "{got} {expected}");
        }
    }

    #[test]
    fn random_avatars_are_reproducible_and_valid() {
        for degree in 0..=4 {
            let avatar = random(100, degree, 7);
            avatar.validate().unwrap();
            assert_eq!(avatar, random(100, degree, 7));
            assert_ne!(avatar, random(100, degree, 8));
        }
        random(0, 0, 1).validate().unwrap();
    }
}
