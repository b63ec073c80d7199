//! Folds that come with expressions: relief and shade that no motion of the mesh's triangles makes.

use gav_formats::synthetic::head::shape::{
    EYE, MOUTH_HALF_WIDTH, MOUTH_HEIGHT, V, length, noise, scale, smoothstep, sub,
};

/// A set of folds that rise and fall together.
pub(super) struct Folds {
    /// Expressions that raise them, by the beginning of the name, with weights; the sum is their strength, at most 1.
    pub raised_by: &'static [(&'static str, f64)],
    /// Depth of the fold at a rest point of the head's skin, 0 to 1.
    pub depth: fn(V) -> f64,
    /// Deepest displacement, cm.
    pub size: f64,
}

pub(super) const FOLDS: [Folds; 9] = [
    Folds { raised_by: &[("browInnerUp", 0.8), ("browOuterUp", 0.6)], depth: forehead, size: 0.075 },
    Folds { raised_by: &[("browDown", 1.0)], depth: between_brows, size: 0.085 },
    Folds {
        raised_by: &[("mouthSmile_L", 1.0), ("noseSneer", 0.5), ("mouthUpperUp", 0.4)],
        depth: |p| beside_nose(p, 1.0),
        size: 0.11,
    },
    Folds {
        raised_by: &[("mouthSmile_R", 1.0), ("noseSneer", 0.5), ("mouthUpperUp", 0.4)],
        depth: |p| beside_nose(p, -1.0),
        size: 0.11,
    },
    Folds { raised_by: &[("eyeSquint", 0.9), ("mouthSmile", 0.5), ("eyeBlink", 0.15)], depth: crows_feet, size: 0.06 },
    Folds { raised_by: &[("noseSneer", 1.0)], depth: on_nose, size: 0.06 },
    Folds { raised_by: &[("eyeSquint", 0.8), ("mouthSmile", 0.3)], depth: under_eye, size: 0.05 },
    Folds { raised_by: &[("mouthPress", 0.9), ("mouthPucker", 0.5), ("mouthFrown", 0.6)], depth: chin, size: 0.06 },
    Folds { raised_by: &[("mouthPucker", 1.0)], depth: on_lips, size: 0.06 },
];

/// A groove of half width `width`: 1 in the middle.
pub(super) fn groove(distance: f64, width: f64) -> f64 {
    let t = distance / width;
    1.0 / (1.0 + t * t * (1.0 + t * t))
}

fn inside(p: V, center: V, inner: f64, outer: f64) -> f64 {
    1.0 - smoothstep(inner, outer, length(sub(p, center)))
}

fn forehead(p: V) -> f64 {
    if p[2] < 2.0 || p[1] < 2.9 {
        return 0.0;
    }
    let wave = 0.22 * noise([0.45 * p[0], 0.3 * p[1], 0.0], 61) + 0.05 * noise(scale(p, 1.7), 62) - 0.012 * p[0] * p[0];
    let lines = [3.75, 4.45, 5.15, 5.8, 6.4];
    let all: f64 = lines.iter().map(|line| groove(p[1] - line - wave, 0.10)).sum();
    all.min(1.0) * smoothstep(5.2, 3.2, p[0].abs()) * smoothstep(2.9, 3.6, p[1]) * smoothstep(7.6, 6.4, p[1])
}

fn between_brows(p: V) -> f64 {
    if p[2] < 6.0 {
        return 0.0;
    }
    let (x, y) = (p[0].abs(), p[1]);
    let upright = groove(x - 0.52 - 0.10 * (y - 2.6) - 0.04 * noise(scale(p, 1.3), 63), 0.10)
        * smoothstep(1.5, 2.1, y)
        * smoothstep(4.2, 3.2, y);
    let bridge = groove(y - 1.55 + 0.10 * x, 0.09) * smoothstep(1.1, 0.6, x);
    upright.max(0.8 * bridge)
}

fn beside_nose(p: V, side: f64) -> f64 {
    let x = side * p[0];
    if x < 0.8 || p[2] < 3.0 {
        return 0.0;
    }
    // from the wing of the nose around the corner of the mouth
    let t = ((-2.7 - p[1]) / 4.2).clamp(0.0, 1.0);
    let line = 1.65 + 2.0 * t - 0.35 * t * t * t;
    let ends = smoothstep(-2.1, -2.9, p[1]) * smoothstep(-7.4, -6.2, p[1]);
    let dimple = 0.7 * groove(length([x - MOUTH_HALF_WIDTH - 0.55, p[1] - MOUTH_HEIGHT - 0.35, 0.0]), 0.22);
    (groove(x - line, 0.14) * ends).max(dimple)
}

fn crows_feet(p: V) -> f64 {
    let (x, y) = (p[0].abs() - EYE[0] - 1.15, p[1] - EYE[1]);
    let far = length([x, y, 0.0]);
    if x < 0.1 || far > 2.4 || p[2] < 1.0 {
        return 0.0;
    }
    let angle = y.atan2(x) + 0.08 * noise(scale(p, 1.5), 64);
    let all: f64 = [-0.62, -0.25, 0.12, 0.5].iter().map(|a| groove(far * (angle - a), 0.065)).sum();
    all.min(1.0) * smoothstep(0.35, 0.7, far) * smoothstep(2.3, 1.3, far)
}

fn on_nose(p: V) -> f64 {
    let x = p[0].abs();
    if x > 1.9 || p[2] < 7.0 {
        return 0.0;
    }
    let all: f64 = [-0.35, 0.15, 0.65].iter().map(|k| groove(p[1] - k - 0.45 * (x - 0.6), 0.075)).sum();
    all.min(1.0) * smoothstep(0.15, 0.4, x) * smoothstep(1.7, 1.1, x)
}

fn under_eye(p: V) -> f64 {
    let (x, y) = (p[0].abs() - EYE[0], p[1] - EYE[1]);
    if x.abs() > 1.7 || p[2] < 5.0 {
        return 0.0;
    }
    let arc = |drop: f64| groove(y + drop - 0.16 * x * x - 0.03 * noise(scale(p, 2.0), 65), 0.065);
    (arc(0.72) + 0.8 * arc(1.08)).min(1.0) * smoothstep(1.6, 1.0, x.abs())
}

fn chin(p: V) -> f64 {
    let bumps = smoothstep(0.0, 0.6, noise(scale(p, 2.2), 66));
    0.4 * bumps * inside(p, [0.0, -8.9, 7.9], 0.8, 2.1)
}

fn on_lips(p: V) -> f64 {
    let near = smoothstep(1.5, 0.9, (p[1] - MOUTH_HEIGHT).abs()) * smoothstep(2.6, 1.6, p[0].abs());
    if near <= 0.0 || p[2] < 6.0 {
        return 0.0;
    }
    let x = p[0] * (1.0 + 0.08 * (p[1] - MOUTH_HEIGHT).abs());
    let phase = (x / 0.42 + 0.15 * noise(scale(p, 1.1), 67)).rem_euclid(1.0) - 0.5;
    groove(0.42 * phase, 0.06) * near
}

/// Depth of the folds at a point, and how it changes along the surface with normal `n` (per cm, in rest coordinates).
pub(super) fn at(folds: &Folds, p: V, n: V) -> Option<(f64, V)> {
    const H: f64 = 0.02;
    let depth = (folds.depth)(p);
    let slope: V = std::array::from_fn(|k| {
        let step = |h: f64| -> V { std::array::from_fn(|c| if c == k { p[c] + h } else { p[c] }) };
        ((folds.depth)(step(H)) - (folds.depth)(step(-H))) / (2.0 * H)
    });
    let off = n[0] * slope[0] + n[1] * slope[1] + n[2] * slope[2];
    let slope = sub(slope, scale(n, off));
    (depth > 0.01 || length(slope) > 0.05).then_some((depth, slope))
}

/// Displacement of each set, cm.
pub(super) fn sizes() -> Vec<f64> {
    FOLDS.iter().map(|set| set.size).collect()
}

/// Strength of each set of folds.
pub(super) fn strengths(names: &[String], values: &[f32]) -> [f64; FOLDS.len()] {
    std::array::from_fn(|k| {
        let of = |prefix: &str| {
            let both = names.iter().zip(values).filter(|(name, _)| name.starts_with(prefix));
            both.map(|(_, v)| f64::from(*v).max(0.0)).fold(0.0, f64::max)
        };
        FOLDS[k].raised_by.iter().map(|(prefix, weight)| weight * of(prefix)).sum::<f64>().min(1.0)
    })
}
