//! A stylised human head with a rig, made of formulas alone.
//!
//! The form is a signed distance (`shape`), splats are spread over it with equal spacing (`scatter`), and each gets its
//! colour from a painted material (`skin`, `eyes`, `hair`) under baked light (`light`). `rig` adds joints and expressions.

mod eyes;
mod hair;
pub mod light;
mod rig;
mod scatter;
pub mod shape;
mod skin;

use rayon::prelude::*;

use self::shape::{V, cross, scale, unit};
use super::Random;
use crate::{
    Avatar, Frame, Splats,
    conventions::{logit_from_opacity, quaternion_from_matrix, sh0_from_color},
};

/// What [`head_with`] makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadOptions {
    /// Number of splats; 60 000 shows every detail, below 2 000 the face dissolves.
    pub count: usize,
    /// Degree of the SH coefficients, 0 to 4; the gloss of skin and lips depends on the view from degree 1 on.
    pub sh_degree: u8,
    /// Varies the placement of splats and strands, not the person.
    pub seed: u64,
    /// Adds skeleton, weights, expressions, drivers and a clip.
    pub rig: bool,
}

impl Default for HeadOptions {
    fn default() -> Self {
        Self { count: 60_000, sh_degree: 0, seed: 1, rig: false }
    }
}

/// A static head of `count` splats, SH degree 0. See [`head_with`].
pub fn head(count: usize, seed: u64) -> Avatar {
    head_with(&HeadOptions { count, seed, ..HeadOptions::default() })
}

/// As [`head`], with skeleton, expressions and a clip.
pub fn head_rigged(count: usize, seed: u64) -> Avatar {
    head_with(&HeadOptions { count, seed, rig: true, ..HeadOptions::default() })
}

/// A head and bust in metres, frame RUB, about 0.25 m from chin to crown, origin between the ears, facing +z (the viewer).
pub fn head_with(options: &HeadOptions) -> Avatar {
    let dabs = dabs(options.count, options.seed);
    let mut splats = Splats::with_len(dabs.len(), options.sh_degree);
    for (i, dab) in dabs.iter().enumerate() {
        dab.write(&mut splats, i);
    }
    let mut avatar = Avatar::new(splats, Frame::RUB);
    avatar.meta.name = "Demonstration head".into();
    avatar.meta.generator = "gav synthetic".into();
    avatar.meta.licence = "MIT OR Apache-2.0".into();
    avatar.meta.depicts_person = Some(false);
    if options.rig {
        rig::add_rig(&mut avatar, &dabs);
    }
    avatar
}

/// The `count` pieces that the head is painted with, at rest.
pub fn dabs(count: usize, seed: u64) -> Vec<Dab> {
    let random = |stream: u64| Random::new(seed.wrapping_mul(0x2545_F491_4F6C_DD1D).wrapping_add(stream));
    // parts with their shares of a thousand; each has its own stream of numbers, so all can be made at once
    type Make = fn(usize, &mut Random) -> Vec<Dab>;
    let parts: [(usize, Make); 9] = [
        (70, eyes::eyeballs),
        (18, eyes::lids),
        (10, eyes::folds),
        (14, eyes::lashes),
        (24, eyes::brows),
        (14, skin::mouth),
        (95, skin::shirt),
        (45, hair::underlayer),
        (300, hair::strands),
    ];
    let made: Vec<Vec<Dab>> = parts
        .par_iter()
        .enumerate()
        .map(|(index, (share, make))| make(count * share / 1000, &mut random(index as u64 + 1)))
        .collect();
    let mut dabs: Vec<Dab> = made.into_iter().flatten().collect();
    let left = count - dabs.len().min(count);
    // spreading points costs more than their number: many are spread as several sets, one over the other
    let sets = left.div_ceil(SKIN_SET).max(1);
    let skin: Vec<Vec<Dab>> = (0..sets)
        .into_par_iter()
        .map(|set| skin::skin(left * (set + 1) / sets - left * set / sets, &mut random(10 + set as u64)))
        .collect();
    // sets that know nothing of each other leave larger gaps than one
    let narrower = if sets > 1 { 1.12 / (sets as f64).sqrt() } else { 1.0 };
    dabs.extend(skin.into_iter().flatten().map(|dab| Dab { sigma: scale(dab.sigma, narrower), ..dab }));
    dabs.truncate(count);
    dabs
}

/// Splats of skin that are spread together.
const SKIN_SET: usize = 40_000;

/// What a splat belongs to; decides how it moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Part {
    /// Skin and brows.
    Skin,
    Hair,
    Shirt,
    /// Eyeball on the side of positive x, and of negative x.
    EyeRight,
    EyeLeft,
    /// Rim and lashes of a lid.
    UpperLid,
    LowerLid,
    UpperMouth,
    LowerMouth,
}

/// One splat in the making, in centimetres and linear light.
#[derive(Debug, Clone)]
pub struct Dab {
    /// What it belongs to.
    pub part: Part,
    /// Middle.
    pub center: V,
    /// Unit direction of the first axis, a strand's length.
    pub along: V,
    /// Normal of a disc.
    pub normal: V,
    /// Standard deviations along the first axis, across, and along the normal.
    pub sigma: V,
    /// Linear light, before gloss.
    pub color: V,
    /// Largest coverage.
    pub opacity: f64,
    /// Height of the view-dependent highlight, linear light.
    pub gloss: f64,
}

impl Dab {
    /// A disc on a surface.
    fn disc(part: Part, center: V, normal: V, sigma: f64, color: V) -> Self {
        // any direction across the normal will do
        let helper = if normal[1].abs() < 0.9 { [0.0, 1.0, 0.0] } else { [1.0, 0.0, 0.0] };
        Self {
            part,
            center,
            along: unit(cross(helper, normal)),
            normal,
            sigma: [sigma, sigma, 0.25 * sigma],
            color,
            opacity: 0.96,
            gloss: 0.0,
        }
    }

    /// A piece of a hair with the given half length and thickness.
    fn hair(part: Part, center: V, along: V, sigma: [f64; 2], color: V) -> Self {
        let normal = unit(cross(along, unit(cross([0.3, 0.2, 1.0], along))));
        Self { part, center, along, normal, sigma: [sigma[0], sigma[1], sigma[1]], color, opacity: 0.9, gloss: 0.0 }
    }

    fn write(&self, splats: &mut Splats, index: usize) {
        const METRES: f64 = 0.01;
        let normal = unit(self.normal);
        let across = unit(cross(normal, self.along));
        let along = cross(across, normal);
        let rows: [[f64; 3]; 3] = std::array::from_fn(|r| [along[r], across[r], normal[r]]);
        splats.means[index] = scale(self.center, METRES).map(|v| v as f32);
        splats.rotations[index] = quaternion_from_matrix(&rows).map(|v| v as f32);
        splats.log_scales[index] = self.sigma.map(|s| (s.max(1e-3) * METRES).ln() as f32);
        splats.opacity_logits[index] = logit_from_opacity(self.opacity as f32);
        let mut color = self.color;
        let lobe = if splats.sh_degree == 0 || self.gloss == 0.0 {
            color = color.map(|c| c + self.gloss * light::front_highlight(normal, 16.0));
            Vec::new()
        } else {
            // SH live in display values; the curve's slope there turns the highlight's height into one of those
            let value = light::display(color[1]);
            let lifted = light::display(color[1] + self.gloss) - value;
            let (rest, base) = light::gloss(normal, lifted, splats.sh_degree);
            splats.sh0[index] = color.map(|c| sh0_from_color((light::display(c) + base) as f32));
            rest
        };
        if lobe.is_empty() {
            splats.sh0[index] = color.map(|c| sh0_from_color(light::display(c) as f32));
        }
        let width = splats.sh_rest_count() * 3;
        for (k, value) in lobe.iter().enumerate() {
            for channel in 0..3 {
                splats.sh_rest[index * width + k * 3 + channel] = *value as f32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RigBase;

    #[test]
    fn heads_of_any_size_are_valid_and_reproducible() {
        for (count, sh_degree, rig) in [(0, 0, true), (7, 0, false), (300, 1, true), (2500, 3, true), (1000, 4, false)]
        {
            let options = HeadOptions { count, sh_degree, rig, seed: 5 };
            let avatar = head_with(&options);
            avatar.validate().unwrap();
            assert_eq!(avatar.splats.len(), count);
            assert_eq!(avatar, head_with(&options));
            let s = &avatar.splats;
            let values = s.means.as_flattened().iter().chain(s.rotations.as_flattened());
            let values = values.chain(s.log_scales.as_flattened()).chain(s.sh0.as_flattened());
            assert!(values.chain(&s.opacity_logits).chain(&s.sh_rest).all(|v| v.is_finite()));
        }
    }

    #[test]
    fn the_head_has_the_size_of_a_head_and_is_opaque_in_front() {
        let avatar = head(4000, 1);
        let (low, high) = avatar.splats.bounds().unwrap();
        assert!(high[1] > 0.11 && high[1] < 0.15 && low[1] < -0.18 && low[1] > -0.23, "{low:?} {high:?}");
        assert!(high[2] > 0.09 && high[2] < 0.12, "the nose points along +z");
        let opaque = avatar.splats.opacity_logits.iter().filter(|o| **o > 0.0).count();
        assert!(opaque > 3000, "{opaque}");
    }

    #[test]
    fn degree_zero_and_three_agree_on_what_has_no_gloss() {
        let flat = head_with(&HeadOptions { count: 1500, ..HeadOptions::default() });
        let glossy = head_with(&HeadOptions { count: 1500, sh_degree: 3, ..HeadOptions::default() });
        assert_eq!(flat.splats.means, glossy.splats.means);
        let width = glossy.splats.sh_rest_count() * 3;
        let matt: Vec<usize> =
            (0..1500).filter(|i| glossy.splats.sh_rest[i * width..][..width].iter().all(|v| *v == 0.0)).collect();
        assert!(matt.len() > 300 && matt.len() < 1200, "{}", matt.len());
        assert!(matt.iter().all(|&i| flat.splats.sh0[i] == glossy.splats.sh0[i]));
    }

    #[test]
    fn expressions_move_what_they_should() {
        let avatar = head_rigged(6000, 1);
        let RigBase::Skinned { skeleton, morphs: Some(morphs), .. } = &avatar.rig.base else { panic!("not skinned") };
        assert_eq!(skeleton.joints.len(), 6);
        assert_eq!(avatar.drivers.len(), morphs.targets.len());
        for target in &morphs.targets {
            assert!(target.splats.len() > 30, "{} moves {}", target.driver, target.splats.len());
            let largest = target.deltas.iter().flatten().fold(0.0f32, |m, v| m.max(v.abs()));
            assert!(largest > 0.002 && largest < 0.03, "{} moves by {largest} m", target.driver);
        }
        let jaw = &morphs.targets[0];
        let chin = jaw.splats.iter().zip(&jaw.deltas).map(|(_, d)| d[1]).fold(0.0f32, f32::min);
        assert!(chin < -0.01, "the chin drops: {chin}");
    }
}
