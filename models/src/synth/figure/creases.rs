//! Folds of cloth that come with bends: in front of the elbows, behind the knees, at groin and armpit, and aslant around a turned waist.

use gav_formats::synthetic::head::shape::{V, dot, length, noise, scale, smoothstep, sub};

use super::{
    super::wrinkles::{Folds, groove},
    form::{ELBOW, KNEE, SHIRT_HEM, SHOULDER, arm_axis, collar, forearm_axis, mirrored},
};

/// How many sets there are.
pub(super) const SETS: usize = 10;
/// The sets in the order of [`Bends::strengths`]; left ones first.
pub(super) const CREASES: [Folds; SETS] = [
    Folds { raised_by: &[], depth: |p| on(p, 1.0, elbow), size: 1.1 },
    Folds { raised_by: &[], depth: |p| on(p, -1.0, elbow), size: 1.1 },
    Folds { raised_by: &[], depth: |p| on(p, 1.0, knee), size: 1.2 },
    Folds { raised_by: &[], depth: |p| on(p, -1.0, knee), size: 1.2 },
    Folds { raised_by: &[], depth: |p| on(p, 1.0, groin), size: 1.0 },
    Folds { raised_by: &[], depth: |p| on(p, -1.0, groin), size: 1.0 },
    Folds { raised_by: &[], depth: |p| on(p, 1.0, armpit), size: 1.0 },
    Folds { raised_by: &[], depth: |p| on(p, -1.0, armpit), size: 1.0 },
    Folds { raised_by: &[], depth: |p| waist(p, 1.0), size: 1.2 },
    Folds { raised_by: &[], depth: |p| waist(p, -1.0), size: 1.2 },
];

/// Bends in radians, left and right.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Bends {
    pub elbows: [f64; 2],
    pub knees: [f64; 2],
    pub hips: [f64; 2],
    pub shoulders: [f64; 2],
    /// Turn of the chest against the pelvis, to the left.
    pub waist: f64,
}

impl Bends {
    /// Strength of each set, 0 to 1.
    pub(super) fn strengths(&self) -> [f64; SETS] {
        let share = |bend: f64, from: f64, full: f64| smoothstep(from, full, bend);
        let [e, k, h, s] = [
            self.elbows.map(|b| share(b, 0.05, 1.3)),
            self.knees.map(|b| share(b, 0.05, 0.9)),
            self.hips.map(|b| share(b, 0.0, 0.5)),
            self.shoulders.map(|b| share(b, 0.1, 1.2)),
        ];
        let w = [self.waist, -self.waist].map(|b| share(b, 0.03, 0.55));
        [e[0], e[1], k[0], k[1], h[0], h[1], s[0], s[1], w[0], w[1]]
    }
}

/// A field of the left side on one of the sides.
fn on(p: V, side: f64, field: fn(V) -> f64) -> f64 {
    // the two sides differ in what chance does
    if p[0] * side <= 0.0 { 0.0 } else { field([p[0].abs(), p[1] + 0.001 * side, p[2]]) }
}

/// Grooves that repeat every `spacing`.
fn rows(t: f64, spacing: f64, width: f64) -> f64 {
    let off = (t / spacing).rem_euclid(1.0) - 0.5;
    groove(spacing * off, width)
}

/// Distance along a limb, and how much a place looks to `towards`, −1 to 1.
fn around(p: V, joint: V, axis: V, towards: V) -> (f64, f64) {
    let q = sub(p, joint);
    let along = dot(q, axis);
    let off = sub(q, scale(axis, along));
    (along, dot(off, towards) / length(off).max(1e-6))
}

fn elbow(p: V) -> f64 {
    if p[0] < 22.0 {
        return 0.0;
    }
    let (t, front) = around(p, ELBOW, forearm_axis(), [0.0, 0.0, 1.0]);
    let wave = 1.1 * noise(scale(p, 0.22), 91) + 0.4 * noise(scale(p, 0.6), 92);
    // folds fan out from the inner side
    rows(t * (1.0 - 0.25 * front) + wave, 3.2, 0.55) * smoothstep(11.0, 4.0, t.abs()) * smoothstep(-0.8, 0.3, front)
}

fn knee(p: V) -> f64 {
    if (p[1] - KNEE[1]).abs() > 18.0 {
        return 0.0;
    }
    let (t, back) = around(p, KNEE, [0.0, 1.0, 0.0], [0.0, 0.0, -1.0]);
    let wave = 1.3 * noise(scale(p, 0.2), 93) + 0.4 * noise(scale(p, 0.6), 94);
    rows(t * (1.0 - 0.3 * back) + wave, 3.8, 0.6) * smoothstep(15.0, 5.0, t.abs()) * smoothstep(-0.9, 0.3, back)
}

fn groin(p: V) -> f64 {
    if p[1] > SHIRT_HEM + 1.0 || p[1] < 62.0 || p[0] > 20.0 {
        return 0.0;
    }
    let wave = 1.2 * noise(scale(p, 0.2), 95);
    let ahead = smoothstep(-3.0, 4.0, p[2]);
    rows(p[1] - 0.55 * p[0] + wave, 5.0, 0.6) * smoothstep(63.0, 74.0, p[1]) * ahead
}

fn armpit(p: V) -> f64 {
    let q = sub(p, SHOULDER);
    let far = length(sub(q, [0.0, -7.0, 0.0]));
    if far > 17.0 || p[1] > 147.0 {
        return 0.0;
    }
    let wave = 1.0 * noise(scale(p, 0.22), 96);
    let t = dot(q, arm_axis()) + 0.3 * q[1] + wave;
    rows(t, 3.4, 0.55) * smoothstep(17.0, 8.0, far)
}

/// Aslant, down to the side to which the chest turns.
fn waist(p: V, turn: f64) -> f64 {
    if !(SHIRT_HEM..134.0).contains(&p[1]) || p[0].abs() > 19.0 {
        return 0.0;
    }
    let arc = 14.0 * p[0].atan2(p[2] + 1.5);
    // the seam of the arc lies in the middle of the back
    let behind = smoothstep(43.5, 38.0, arc.abs());
    let wave = 2.2 * noise(scale(p, 0.12), 97) + 0.6 * noise(scale(p, 0.4), 98);
    let patch = smoothstep(-0.35, 0.25, noise([0.09 * p[0], 0.11 * p[1] + 3.0 * turn, 0.09 * p[2]], 99));
    let level = smoothstep(SHIRT_HEM + 1.0, 93.0, p[1]) * smoothstep(133.0, 118.0, p[1]);
    rows(p[1] + 0.6 * turn * arc + wave, 6.5, 0.75) * level * behind * patch
}

/// Cloth that hangs: height over the form at rest, cm.
pub(super) fn relief(point: V) -> f64 {
    let p = mirrored(point);
    let soft = 0.22 * noise(scale(point, 0.16), 101) + 0.12 * noise(scale(point, 0.4), 102);
    // trousers stand on the shoes
    let stack = smoothstep(26.0, 12.0, p[1]) * (p[1] / 3.4 * 6.3 + 2.0 * noise(scale(point, 0.15), 103)).sin();
    // the shirt gathers over its hem, sleeves over their cuffs
    let t = dot(sub(p, ELBOW), forearm_axis());
    let gathered = if p[0] > 25.0 && p[1] > 90.0 {
        smoothstep(8.0, 18.0, t) * (2.0 * t + 2.0 * noise(scale(point, 0.25), 104)).sin()
    } else {
        0.0
    };
    let rim = smoothstep(4.6, 2.6, collar(point) - p[1]) * smoothstep(16.0, 12.0, p[0]);
    soft + 0.35 * stack + 0.16 * gathered + 0.4 * rim
}
