//! The performance of a person: a walk in place with swinging arms, a wave of the right hand, turns of the trunk.

use std::f64::consts::TAU;

use gav_formats::synthetic::{Random, head::shape::smoothstep};

use super::{
    creases::{Bends, SETS},
    form::{arm_axis, forearm_axis},
};
use crate::body::{Body, Parameters, Rotation};

/// One time step: rotations of the joints, and how strong each set of folds is.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct Stride {
    pub parameters: Parameters<f32>,
    pub folds: [f64; SETS],
}

type M = [[f64; 3]; 3];

/// Rotation by the length of a vector about it.
fn about(axis: [f64; 3], angle: f64) -> M {
    Rotation::AxisAngle(axis.map(|v| v * angle)).matrix()
}

fn times(a: M, b: M) -> M {
    std::array::from_fn(|r| std::array::from_fn(|c| (0..3).map(|k| a[r][k] * b[k][c]).sum()))
}

const X: [f64; 3] = [1.0, 0.0, 0.0];
const Y: [f64; 3] = [0.0, 1.0, 0.0];
const Z: [f64; 3] = [0.0, 0.0, 1.0];
/// Pictures a second, double steps a second.
const RATE: f64 = 24.0;
const PACE: f64 = 0.85;
/// Turn of a resting arm down to the trunk.
const LOWERED: f64 = 0.56;

/// The whole performance: `training` time steps that begin at rest, then `test` ones. The lowest vertex stands on the ground.
pub(super) fn performance(body: &Body<f32>, training: usize, test: usize, seed: u64) -> Vec<Stride> {
    let mut random = Random::new(seed.wrapping_add(9_002));
    let phases: [f64; 4] = std::array::from_fn(|_| random.unit());
    (0..training + test)
        .map(|step| {
            let mut stride = stride(step, training, test, &phases);
            let posed = body.pose(&stride.parameters).vertices;
            stride.parameters.translation[1] = -posed.iter().map(|v| v[1]).fold(f32::INFINITY, f32::min);
            stride
        })
        .collect()
}

/// 1 between two times, with ramps of the given length within.
fn between(at: f64, from: f64, to: f64, ramp: f64) -> f64 {
    smoothstep(from, from + ramp, at) * smoothstep(to, to - ramp, at)
}

fn stride(step: usize, training: usize, test: usize, phases: &[f64; 4]) -> Stride {
    // from rest into the walk within a few time steps
    let begin = smoothstep(0.0, (training as f64 / 6.0).clamp(1.0, 5.0), step as f64);
    let time = step as f64 / RATE;
    let phase = TAU * (PACE * time + phases[0]);
    let (waves, turn) = match step.checked_sub(training) {
        // training: the right hand waves in the middle third, the trunk turns all the time
        None => {
            let at = step as f64 / training.max(1) as f64;
            ([0.0, between(at, 0.28, 0.80, 0.16)], 0.42 * (TAU * (0.55 * time + phases[1])).sin())
        }
        // tests: it waves in other places of the walk, and further round
        Some(step) => {
            let at = (step as f64 + 0.5) / test.max(1) as f64;
            ([0.0, between(at, -0.3, 0.75, 0.28)], 0.5 * (TAU * (0.9 * at + phases[2])).sin())
        }
    };
    let mut joints: [M; 24] = [about(X, 0.0); 24];
    let mut bends = Bends::default();

    for (side, sign) in [(0, 1.0), (1, -1.0)] {
        let ahead = sign * phase.sin();
        // the knee bends while the leg swings forwards
        let swing = (sign * (phase + 0.35).cos()).max(0.0);
        let flex = 0.06 + 0.40 * ahead;
        let knee = 0.10 + 0.95 * swing * swing.sqrt();
        let ankle = (0.55 * (knee - flex)).clamp(-0.3, 0.45);
        joints[1 + side] = times(about(X, -begin * flex), about(Z, begin * sign * 0.02));
        joints[4 + side] = about(X, begin * knee);
        joints[7 + side] = about(X, -begin * ankle);
        let push = (-sign * (phase - 0.6).sin()).max(0.0).powi(2);
        joints[10 + side] = about(X, -begin * 0.3 * push);
        (bends.hips[side], bends.knees[side]) = (begin * flex, begin * knee);

        // arms swing against the legs; a waving one is raised, turned outwards and bent
        let wave = begin * waves[side];
        let quiet = begin * (1.0 - wave);
        let u = arm_axis();
        let (arm, fore) = ([sign * u[0], u[1], 0.0], forearm_axis());
        let swung = -0.42 * ahead;
        let raise = sign * (0.95 * wave - LOWERED * quiet);
        let collar = about(Z, 0.25 * raise.clamp(-0.3, 0.3) + sign * 0.22 * wave);
        let upper = times(about(X, -quiet * swung), about(Z, 0.75 * raise));
        let hello = (TAU * (1.7 * time + phases[3])).sin();
        let upper = times(upper, about(arm, -sign * wave * (1.15 + 0.2 * hello)));
        let bent = quiet * (0.38 + 0.22 * swung.max(-0.3)) + wave * (1.55 + 0.38 * hello);
        // the forearm goes forwards: about arm × z
        let axis = [fore[1], -sign * fore[0], 0.0];
        let long = axis[0].hypot(axis[1]);
        joints[13 + side] = collar;
        joints[16 + side] = upper;
        joints[18 + side] = about(axis.map(|v| v / long), bent);
        joints[20 + side] = about(axis.map(|v| v / long), 0.2 * quiet + 0.25 * wave * hello);
        joints[22 + side] = about(axis.map(|v| v / long), 0.25 * quiet);
        bends.elbows[side] = bent;
        bends.shoulders[side] = 0.9 * wave + 0.5 * quiet * swung.abs();
    }

    // hips follow the legs, the chest turns against them, the head looks ahead
    let hips = begin * 0.10 * phase.sin();
    let chest = begin * (turn - 0.14 * phase.sin());
    let lean = begin * 0.05;
    joints[0] = times(about(Y, -hips), about(X, 0.5 * lean));
    let each = times(about(Y, (chest + hips) / 3.0), about(X, lean / 3.0));
    [3, 6, 9].into_iter().for_each(|joint| joints[joint] = each);
    joints[12] = about(Y, -0.25 * chest);
    joints[15] = times(about(Y, -0.3 * chest), about(X, -lean + begin * 0.04 * (2.0 * phase).sin()));
    bends.waist = chest + hips;

    let single = |m: M| Rotation::Matrix(m.map(|row| row.map(|v| v as f32)));
    let sway = 0.012 * begin * phase.sin();
    Stride {
        parameters: Parameters {
            rotations: joints.map(single).to_vec(),
            translation: [sway as f32, 0.0, 0.0],
            ..Parameters::default()
        },
        folds: bends.strengths(),
    }
}
