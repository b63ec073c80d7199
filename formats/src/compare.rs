//! How far the splats of two avatars are apart, attribute by attribute.
//!
//! The columns are those in which splat codecs are usually measured. Errors run over the reference's splats with opacity
//! above 1/255 that have a partner. Partners are the splats of the same index when the orders agree, else they are found
//! by position and appearance (see `matching`), because most codecs sort.
//!
//! An ellipsoid has 24 descriptions: a rotation by a quarter turn about one of its own axes with exchanged scales draws the
//! same picture, and codecs use that freedom. So scales and rotations are compared in the description of the test splat
//! that comes closest to the reference: smallest `angle² + Σ (ln-scale difference)²`. Where two scales are nearly equal,
//! even that angle means little; the covariance error is free of the ambiguity.

mod matching;

use std::borrow::Cow;

use rayon::prelude::*;
use serde::Serialize;

use crate::{
    Avatar, Error, Result, Splats,
    conventions::{
        SH_C0, matrix_from_quaternion, multiply_quaternions, normalize_quaternion, opacity_from_logit, sh_rest_count,
    },
};

/// Log-scales below this count as this: thinner than any renderer can tell.
pub(crate) const LOG_SCALE_FLOOR: f32 = -15.0;
/// Splats at or below this opacity are not compared.
pub(crate) const VISIBLE_OPACITY: f32 = 1.0 / 255.0;

/// Attribute errors of one avatar against another.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Comparison {
    /// Splats of the reference.
    pub reference_count: usize,
    /// Splats of the test avatar.
    pub test_count: usize,
    /// Visible splats of the reference.
    pub visible: usize,
    /// Visible splats of the reference with a partner: those that the errors run over.
    pub compared: usize,
    /// True when partners are splats of the same index.
    pub same_order: bool,
    /// Root mean square of the distance between centres, in units of the reference.
    pub position_rms: f64,
    /// Largest distance between centres.
    pub position_max: f64,
    /// Root mean square difference of natural log-scales, all three axes, floor at −15.
    pub log_scale_rms: f64,
    /// Largest such difference.
    pub log_scale_max: f64,
    /// Mean angle between orientations in degrees.
    pub rotation_mean_degrees: f64,
    /// Largest such angle.
    pub rotation_max_degrees: f64,
    /// Mean over splats of `‖Σ_test − Σ_reference‖ / ‖Σ_reference‖` (Frobenius), each at most 1000.
    pub covariance_relative_mean: f64,
    /// Root mean square of opacity differences, opacities in 0..1.
    pub opacity_rms: f64,
    /// Root mean square of colour differences, `rgb = 0.28209479 · sh0`, all three channels.
    pub rgb_rms: f64,
    /// Root mean square of differences of SH coefficients of degree 1 and up; a missing degree counts as zeros.
    pub sh_rms: f64,
}

/// Compares the splats of `test` with those of `reference`, in the frame of `reference`.
///
/// Stored values are compared: of triangle-bound avatars the local ones. Splats that are not finite are not compared.
///
/// # Errors
/// [`Error::Usage`] when an avatar is inconsistent or `test` cannot be brought into the frame of `reference`.
pub fn compare(reference: &Avatar, test: &Avatar) -> Result<Comparison> {
    reference.splats.validate()?;
    test.splats.validate()?;
    let test_splats = if test.frame == reference.frame {
        Cow::Borrowed(&test.splats)
    } else {
        let mut copy = Avatar::new(test.splats.clone(), test.frame);
        copy.rig.base = match &test.rig.base {
            // keeps reframe from turning splats that live in the frames of triangles
            base @ crate::RigBase::Triangle(_) => base.clone(),
            _ => crate::RigBase::Static,
        };
        copy.reframe(reference.frame)?;
        Cow::Owned(copy.splats)
    };
    let (r, t) = (&reference.splats, &*test_splats);
    if r.len() > u32::MAX as usize || t.len() > u32::MAX as usize {
        return Err(Error::usage("cannot compare more than 2³² splats"));
    }
    let visible: Vec<u32> = (0..r.len() as u32)
        .filter(|&i| opacity_from_logit(r.opacity_logits[i as usize]) > VISIBLE_OPACITY && is_finite(r, i as usize))
        .collect();
    let matching = matching::match_splats(r, t);
    let pairs: Vec<(u32, u32)> = visible
        .iter()
        .filter_map(|&i| matching.partner(i).map(|j| (i, j)))
        .filter(|&(_, j)| is_finite(t, j as usize))
        .collect();
    let turns = QuarterTurns::new();
    let sums = pairs
        .par_chunks(1 << 14)
        .map(|chunk| {
            let mut sums = Sums::default();
            chunk.iter().for_each(|&(i, j)| sums.add(r, i as usize, t, j as usize, &turns));
            sums
        })
        // a vector first: the order of additions, and so the result, must not depend on the number of threads
        .collect::<Vec<_>>()
        .into_iter()
        .fold(Sums::default(), Sums::merge);
    let n = pairs.len().max(1) as f64;
    let rest = 3 * sh_rest_count(r.sh_degree.max(t.sh_degree));
    Ok(Comparison {
        reference_count: r.len(),
        test_count: t.len(),
        visible: visible.len(),
        compared: pairs.len(),
        same_order: matching.same_order(),
        position_rms: (sums.position / n).sqrt(),
        position_max: sums.position_max,
        log_scale_rms: (sums.log_scale / (3.0 * n)).sqrt(),
        log_scale_max: sums.log_scale_max,
        rotation_mean_degrees: (sums.angle / n).to_degrees(),
        rotation_max_degrees: sums.angle_max.to_degrees(),
        covariance_relative_mean: sums.covariance / n,
        opacity_rms: (sums.opacity / n).sqrt(),
        rgb_rms: (sums.rgb / (3.0 * n)).sqrt(),
        sh_rms: if rest == 0 { 0.0 } else { (sums.sh / (rest as f64 * n)).sqrt() },
    })
}

/// True when everything that enters the errors can be computed; infinite opacity logits and log-scales of −∞ can.
fn is_finite(s: &Splats, i: usize) -> bool {
    let width = s.sh_rest_count() * 3;
    s.means[i].iter().chain(&s.rotations[i]).chain(&s.sh0[i]).all(|v| v.is_finite())
        && s.log_scales[i].iter().all(|v| *v < f32::INFINITY)
        && !s.opacity_logits[i].is_nan()
        && s.sh_rest[i * width..][..width].iter().all(|v| v.is_finite())
}

#[derive(Default)]
struct Sums {
    position: f64,
    position_max: f64,
    log_scale: f64,
    log_scale_max: f64,
    angle: f64,
    angle_max: f64,
    covariance: f64,
    opacity: f64,
    rgb: f64,
    sh: f64,
}

impl Sums {
    fn add(&mut self, r: &Splats, i: usize, t: &Splats, j: usize, turns: &QuarterTurns) {
        let squared = |a: f32, b: f32| (f64::from(a) - f64::from(b)) * (f64::from(a) - f64::from(b));
        let distance: f64 = (0..3).map(|k| squared(r.means[i][k], t.means[j][k])).sum();
        self.position += distance;
        self.position_max = self.position_max.max(distance.sqrt());

        let [scales_r, scales_t] =
            [r.log_scales[i], t.log_scales[j]].map(|s| s.map(|v| f64::from(v.max(LOG_SCALE_FLOOR))));
        let [q_r, q_t] = [r.rotations[i], t.rotations[j]].map(|q| normalize_quaternion(q.map(f64::from)));
        let (angle, differences) = turns.closest(q_r, scales_r, q_t, scales_t);
        self.angle += angle;
        self.angle_max = self.angle_max.max(angle);
        self.log_scale += differences.iter().map(|d| d * d).sum::<f64>();
        self.log_scale_max = differences.iter().fold(self.log_scale_max, |m, d| m.max(d.abs()));
        self.covariance += covariance_error(q_r, scales_r, q_t, scales_t).min(1000.0);

        let [opacity_r, opacity_t] = [r.opacity_logits[i], t.opacity_logits[j]].map(opacity_from_logit);
        self.opacity += squared(opacity_r, opacity_t);
        self.rgb += (0..3).map(|k| squared(r.sh0[i][k], t.sh0[j][k])).sum::<f64>() * SH_C0 * SH_C0;
        let (width_r, width_t) = (r.sh_rest_count() * 3, t.sh_rest_count() * 3);
        let (rest_r, rest_t) = (&r.sh_rest[i * width_r..][..width_r], &t.sh_rest[j * width_t..][..width_t]);
        for k in 0..width_r.max(width_t) {
            self.sh += squared(rest_r.get(k).copied().unwrap_or(0.0), rest_t.get(k).copied().unwrap_or(0.0));
        }
    }

    fn merge(self, other: Self) -> Self {
        Self {
            position: self.position + other.position,
            position_max: self.position_max.max(other.position_max),
            log_scale: self.log_scale + other.log_scale,
            log_scale_max: self.log_scale_max.max(other.log_scale_max),
            angle: self.angle + other.angle,
            angle_max: self.angle_max.max(other.angle_max),
            covariance: self.covariance + other.covariance,
            opacity: self.opacity + other.opacity,
            rgb: self.rgb + other.rgb,
            sh: self.sh + other.sh,
        }
    }
}

/// The 24 rotations of a cube, each with the permutation of axes that it means.
struct QuarterTurns([([f64; 4], [usize; 3]); 24]);

impl QuarterTurns {
    fn new() -> Self {
        let half = 0.5f64.sqrt();
        let mut found: Vec<[f64; 4]> = vec![[1.0, 0.0, 0.0, 0.0]];
        // closing the group over two generators: quarter turns about x and y
        let mut next = 0;
        while next < found.len() {
            for generator in [[half, half, 0.0, 0.0], [half, 0.0, half, 0.0]] {
                let q = multiply_quaternions(found[next], generator);
                let dot = |p: &[f64; 4]| (0..4).map(|k| p[k] * q[k]).sum::<f64>().abs();
                if found.iter().all(|p| dot(p) < 0.99) {
                    found.push(q);
                }
            }
            next += 1;
        }
        Self(std::array::from_fn(|index| {
            let m = matrix_from_quaternion(found[index]);
            let source =
                std::array::from_fn(|c| (0..3).max_by(|&a, &b| m[a][c].abs().total_cmp(&m[b][c].abs())).unwrap_or(0));
            (found[index], source)
        }))
    }

    /// Angle in radians and ln-scale differences of the description of the test ellipsoid closest to the reference.
    ///
    /// With C one of the turns, (R_t C, scales permuted by C) draws the same ellipsoid as (R_t, scales).
    fn closest(&self, q_r: [f64; 4], scales_r: [f64; 3], q_t: [f64; 4], scales_t: [f64; 3]) -> (f64, [f64; 3]) {
        let conjugate = [q_t[0], -q_t[1], -q_t[2], -q_t[3]];
        let relative = multiply_quaternions(conjugate, q_r);
        let mut best = (f64::INFINITY, 0.0, [0.0; 3]);
        for (turn, source) in &self.0 {
            let differences: [f64; 3] = std::array::from_fn(|k| scales_t[source[k]] - scales_r[k]);
            let scale_cost: f64 = differences.iter().map(|d| d * d).sum();
            if scale_cost >= best.0 {
                continue;
            }
            let (mut minus, mut plus) = (0.0, 0.0);
            for k in 0..4 {
                minus += (relative[k] - turn[k]) * (relative[k] - turn[k]);
                plus += (relative[k] + turn[k]) * (relative[k] + turn[k]);
            }
            // the chord is exact for small angles, where the arc cosine of the dot product is not
            let angle = 4.0 * (0.5 * f64::min(minus, plus).sqrt()).min(1.0).asin();
            let cost = scale_cost + angle * angle;
            if cost < best.0 {
                best = (cost, angle, differences);
            }
        }
        (best.1, best.2)
    }
}

/// `‖Σ_t − Σ_r‖ / ‖Σ_r‖` in the Frobenius norm.
fn covariance_error(q_r: [f64; 4], scales_r: [f64; 3], q_t: [f64; 4], scales_t: [f64; 3]) -> f64 {
    let covariance = |q: [f64; 4], log_scales: [f64; 3]| {
        let (m, variance) = (matrix_from_quaternion(q), log_scales.map(|s| (2.0 * s).exp()));
        let entry = |a: usize, b: usize| (0..3).map(|k| m[a][k] * variance[k] * m[b][k]).sum::<f64>();
        [entry(0, 0), entry(1, 1), entry(2, 2), entry(0, 1), entry(0, 2), entry(1, 2)]
    };
    let (reference, test) = (covariance(q_r, scales_r), covariance(q_t, scales_t));
    // off-diagonal entries stand for two
    let weight = |k: usize| if k < 3 { 1.0 } else { 2.0 };
    let norm: f64 = (0..6).map(|k| weight(k) * reference[k] * reference[k]).sum();
    let difference: f64 = (0..6).map(|k| weight(k) * (test[k] - reference[k]) * (test[k] - reference[k])).sum();
    (difference / norm.max(f64::MIN_POSITIVE)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Frame,
        synthetic::{RigSample, every_rig, random, shell},
    };

    fn shuffled(count: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..count as u32).collect();
        let mut r = crate::synthetic::Random::new(5);
        for i in (1..count).rev() {
            order.swap(i, (r.unit() * (i + 1) as f64) as usize);
        }
        order
    }

    #[test]
    fn an_avatar_equals_itself_in_any_order_and_frame() {
        for (count, degree) in [(0, 0), (1, 1), (3000, 2)] {
            let avatar = shell(count, degree, 3);
            let mut other = avatar.clone();
            other.reorder(&shuffled(count));
            for frame in ["RUB", "RDF", "RFU"] {
                other.reframe(frame.parse().unwrap()).unwrap();
                let c = compare(&avatar, &other).unwrap();
                assert_eq!((c.compared, c.visible, c.same_order), (count, count, count <= 1), "{c:?}");
                assert!(c.position_max < 1e-6 && c.log_scale_max < 1e-6 && c.rotation_max_degrees < 1e-4, "{c:?}");
                assert!(c.covariance_relative_mean < 1e-6 && c.opacity_rms == 0.0 && c.rgb_rms == 0.0, "{c:?}");
                assert!(c.sh_rms < 1e-6, "{c:?}");
            }
        }
    }

    #[test]
    fn equivalent_ellipsoids_are_equal_and_different_ones_are_not() {
        let avatar = random(500, 0, 1);
        let turns = QuarterTurns::new();
        for (turn, source) in &turns.0 {
            let mut other = avatar.clone();
            for i in 0..500 {
                let q = avatar.splats.rotations[i].map(f64::from);
                other.splats.rotations[i] = multiply_quaternions(q, *turn).map(|v| -v as f32);
                other.splats.log_scales[i] = source.map(|k| avatar.splats.log_scales[i][k]);
            }
            let c = compare(&avatar, &other).unwrap();
            assert!(
                c.rotation_max_degrees < 1e-3 && c.log_scale_max < 1e-6 && c.covariance_relative_mean < 1e-6,
                "{c:?}"
            );
        }
        let mut other = avatar.clone();
        let tilt = [(0.01f64).cos(), 0.0, (0.01f64).sin(), 0.0];
        for q in &mut other.splats.rotations {
            *q = multiply_quaternions(tilt, q.map(f64::from)).map(|v| v as f32);
        }
        let c = compare(&avatar, &other).unwrap();
        assert!((c.rotation_mean_degrees - 0.02f64.to_degrees()).abs() < 1e-3, "{c:?}");
    }

    #[test]
    fn known_errors_are_measured() {
        let avatar = shell(2000, 1, 2);
        let mut other = avatar.clone();
        for i in 0..2000 {
            let sign = if i % 2 == 0 { 1.0 } else { -1.0 };
            other.splats.means[i][1] += sign * 1e-5;
            other.splats.log_scales[i][0] += sign * 0.03;
            other.splats.sh0[i][2] += sign * 0.1;
        }
        other.splats.sh_rest.iter_mut().for_each(|v| *v += 0.01);
        let ordered = compare(&avatar, &other).unwrap();
        other.reorder(&shuffled(2000));
        let sorted = compare(&avatar, &other).unwrap();
        assert!(ordered.same_order && !sorted.same_order);
        for c in [ordered, sorted] {
            assert_eq!(c.compared, 2000);
            assert!((c.position_rms - 1e-5).abs() < 1e-7, "{c:?}");
            assert!((c.log_scale_rms - 0.03 / 3f64.sqrt()).abs() < 1e-4, "{c:?}");
            assert!((c.rgb_rms - 0.1 * SH_C0 / 3f64.sqrt()).abs() < 1e-5, "{c:?}");
            assert!((c.sh_rms - 0.01).abs() < 1e-6 && c.opacity_rms == 0.0, "{c:?}");
        }
    }

    #[test]
    fn pruned_degenerate_and_triangle_bound_splats_are_handled() {
        let avatar = shell(1000, 0, 4);
        let mut other = avatar.clone();
        other.retain(|i| i % 10 != 0);
        let c = compare(&avatar, &other).unwrap();
        assert_eq!((c.compared, c.visible), (900, 1000), "{c:?}");
        assert!(c.position_max < 1e-9);
        let mut broken = avatar.clone();
        broken.splats.means[5] = [f32::NAN; 3];
        broken.splats.log_scales[6][0] = f32::NEG_INFINITY;
        broken.splats.opacity_logits[7] = f32::INFINITY;
        let c = compare(&broken, &broken).unwrap();
        assert_eq!((c.compared, c.position_max, c.log_scale_max), (999, 0.0, 0.0), "{c:?}");
        compare(&avatar, &broken).unwrap();
        let bound = every_rig(RigSample::Stga);
        assert_eq!(compare(&bound, &bound).unwrap().position_max, 0.0);
        let mut turned = bound.clone();
        turned.frame = Frame::RDF;
        assert_eq!(compare(&bound, &turned).unwrap_err().code(), "USAGE");
    }
}
