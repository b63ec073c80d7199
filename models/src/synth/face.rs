//! How the procedural head moves: skinning weights, identities and expressions as fields over its rest vertices, in centimetres.

use gav_formats::synthetic::head::shape::{
    EYE, LID_RADIUS, MOUTH_HALF_WIDTH, MOUTH_HEIGHT, V, add, length, lid_edges, mix, mouth_line, scale, smoothstep, sub,
};

use super::grid::{Grid, Region};

/// Pivots of root, neck, jaw and the two eyes, left first.
pub(super) const JOINTS: [V; 5] =
    [[0.0, -15.0, -3.0], [0.0, -9.5, -2.5], [0.0, -1.5, -0.5], EYE, [-EYE[0], EYE[1], EYE[2]]];

/// Offset of a rest vertex at full strength.
type Field = fn(V, Region) -> V;

/// Expressions; the names are those of ARKit, sides are the subject's (left is +x), both sides together have none.
pub(super) const EXPRESSIONS: [(&str, Field); 20] = [
    ("mouthSmile_L", |p, _| smile(p, 1.0)),
    ("mouthSmile_R", |p, _| smile(p, -1.0)),
    ("mouthPucker", pucker),
    ("mouthFrown", |p, _| both(p, |s| pull(p, corner(s), 2.6, [0.05 * s, -0.55, -0.05]))),
    ("mouthStretch", |p, _| both(p, |s| pull(p, corner(s), 3.2, [0.5 * s, -0.12, -0.35]))),
    ("mouthUpperUp", |p, tag| [0.0, 0.42, 0.06].map(|v| v * (1.0 - lower_lip(p, tag)) * near_mouth(p, 2.0, 1.9))),
    ("mouthLowerDown", |p, tag| [0.0, -0.48, 0.06].map(|v| v * lower_lip(p, tag) * near_mouth(p, 2.1, 1.9))),
    ("mouthPress", press),
    ("mouthLeft", |p, _| scale([0.65, 0.03, -0.08], near_mouth(p, 4.2, 3.2))),
    ("browInnerUp", |p, _| both(p, |s| brow(p, [1.5 * s, 2.9, 8.6], 2.7, [-0.04 * s, 0.62, 0.0]))),
    ("browOuterUp", |p, _| both(p, |s| brow(p, [4.1 * s, 3.1, 7.2], 2.8, [0.03 * s, 0.58, -0.1]))),
    ("browDown", |p, _| both(p, |s| brow(p, [1.8 * s, 2.8, 8.6], 2.6, [-0.24 * s, -0.46, 0.08]))),
    ("eyeBlink_L", |p, tag| blink(p, tag, 1.0)),
    ("eyeBlink_R", |p, tag| blink(p, tag, -1.0)),
    ("eyeSquint", squint),
    ("eyeWide", wide),
    ("cheekPuff", |p, _| both(p, |s| pull(p, [4.3 * s, -4.9, 5.6], 3.4, [0.62 * s, -0.05, 0.5]))),
    ("noseSneer", |p, _| {
        both(p, |s| {
            add(
                pull(p, [1.3 * s, -2.6, 8.9], 1.7, [0.1 * s, 0.34, 0.03]),
                pull(p, [1.2 * s, -4.9, 8.8], 1.2, [0.0, 0.16, 0.0]),
            )
        })
    }),
    ("jawForward", |p, tag| scale([0.0, 0.05, 0.62], jaw(p, tag))),
    ("jawLeft", |p, tag| scale([0.68, 0.0, 0.0], jaw(p, tag))),
];

/// Identities, one standard deviation each.
pub(super) const IDENTITIES: [fn(V) -> V; 10] = [
    // width, height and depth of the head
    |p| [0.035 * p[0] * head(p), 0.0, 0.0],
    |p| [0.0, 0.035 * p[1] * head(p), 0.0],
    |p| [0.0, 0.0, 0.03 * p[2] * head(p)],
    // width of the jaw, length of the chin
    |p| [0.05 * p[0] * smoothstep(-1.0, -6.0, p[1]) * head(p), 0.0, 0.0],
    |p| scale([0.0, -0.32, 0.14], smoothstep(-6.2, -9.2, p[1]) * smoothstep(0.0, 5.0, p[2]) * head(p)),
    // length and width of the nose
    |p| scale([0.0, -0.06, 0.30], bump(p, [0.0, -2.4, 9.4], 2.6)),
    |p| [0.16 * p[0] * bump(p, [0.0, -2.9, 9.0], 2.4), 0.0, 0.0],
    // brow ridge, cheeks, neck
    |p| scale([0.0, 0.02, 0.22], bump([p[0].abs(), p[1], p[2]], [2.2, 2.9, 8.2], 3.0)),
    |p| scale([0.26 * p[0].signum(), 0.0, 0.2], bump([p[0].abs(), p[1], p[2]], [4.6, -3.0, 5.4], 3.6)),
    |p| {
        let neck = smoothstep(-9.5, -12.5, p[1]) * smoothstep(-18.0, -15.0, p[1]);
        [0.06 * p[0] * neck, 0.0, 0.05 * (p[2] + 3.0) * neck]
    },
];

/// 1 over the head, 0 from the base of the neck on.
fn head(p: V) -> f64 {
    smoothstep(-14.0, -8.0, p[1])
}

/// 1 at `center`, smoothly 0 at `reach`.
fn bump(p: V, center: V, reach: f64) -> f64 {
    1.0 - smoothstep(0.0, reach, length(sub(p, center)))
}

fn pull(p: V, center: V, reach: f64, by: V) -> V {
    scale(by, bump(p, center, reach))
}

/// The stronger of the two sides where they meet, so that the middle moves once.
fn both(p: V, side: impl Fn(f64) -> V) -> V {
    let share = smoothstep(-0.8, 0.8, p[0]);
    let (left, right) = (side(1.0), side(-1.0));
    std::array::from_fn(|k| share * left[k] + (1.0 - share) * right[k])
}

fn corner(side: f64) -> V {
    [side * MOUTH_HALF_WIDTH, MOUTH_HEIGHT + 0.3, 7.6]
}

/// 1 on the lips, smoothly 0 at the given distances beside and above.
fn near_mouth(p: V, beside: f64, above: f64) -> f64 {
    let x = (p[0].abs() / (MOUTH_HALF_WIDTH + beside)).min(1.0);
    let y = ((p[1] - MOUTH_HEIGHT).abs() / above).min(1.0);
    (1.0 - smoothstep(0.25, 1.0, x)) * (1.0 - smoothstep(0.15, 1.0, y)) * smoothstep(3.5, 5.5, p[2])
}

/// How far a vertex lies below the mouth's line; along the cut the tag decides.
fn below(p: V, tag: Region) -> f64 {
    let d = mouth_line(p[0].clamp(-MOUTH_HALF_WIDTH, MOUTH_HALF_WIDTH)) - p[1];
    match tag {
        Region::UpperInside => -d.abs().max(0.02),
        Region::LowerInside => d.abs().max(0.02),
        _ => d,
    }
}

/// 1 on the lower lip, 0 on the upper one; the cut between them closes towards the corners.
fn lower_lip(p: V, tag: Region) -> f64 {
    let d = below(p, tag);
    let across = (p[0].abs() / MOUTH_HALF_WIDTH).min(1.0);
    let open = (1.0 - across * across).sqrt();
    mix(smoothstep(-1.2, 1.2, d), if d > 0.0 { 1.0 } else { 0.0 }, open)
}

fn smile(p: V, side: f64) -> V {
    let own = smoothstep(-0.5, 1.3, side * p[0]);
    let cheek = bump(p, [side * 4.0, -2.6, 6.6], 3.2);
    let pull = pull(p, corner(side), 3.8, [side * 0.62, 0.62, -0.42]);
    scale(add(pull, [side * 0.08 * cheek, 0.3 * cheek, 0.24 * cheek]), own * smoothstep(-1.0, 2.0, p[2]))
}

fn pucker(p: V, tag: Region) -> V {
    let amount = near_mouth(p, 2.2, 2.6);
    let part = 0.16 * if lower_lip(p, tag) > 0.5 { -1.0 } else { 1.0 };
    let towards = 1.0 - 0.45 * smoothstep(0.0, 1.0, p[0].abs() / MOUTH_HALF_WIDTH);
    [-0.40 * p[0] * amount, part * amount * towards * smoothstep(0.9, 0.2, below(p, tag).abs()), 0.62 * amount]
}

fn press(p: V, tag: Region) -> V {
    let amount = near_mouth(p, 0.9, 1.5);
    let roll = smoothstep(1.1, 0.1, below(p, tag).abs());
    let up = if lower_lip(p, tag) > 0.5 { 0.12 } else { -0.12 };
    [0.04 * p[0] * amount, up * amount * (1.0 - roll), -0.34 * amount * roll]
}

fn brow(p: V, center: V, reach: f64, by: V) -> V {
    // lids and eyeballs stay
    let free = smoothstep(1.35, 2.1, p[1]);
    scale(by, bump([p[0], mix(p[1], center[1], 0.35), p[2]], center, reach) * free * smoothstep(2.0, 5.0, p[2]))
}

/// Position relative to the eye on the point's own side, x towards the temple.
fn eye_local(p: V) -> V {
    [p[0].abs() - EYE[0], p[1] - EYE[1], p[2] - EYE[2]]
}

/// Down along the lids' sphere to a height `to` over the eye's middle.
fn along_lid(e: V, to: f64) -> V {
    let radius = length(e).max(LID_RADIUS - 0.12);
    let z = (radius * radius - e[0] * e[0] - to * to).max(0.0).sqrt();
    [0.0, to - e[1], (z - e[2]).max(0.0)]
}

fn blink(p: V, tag: Region, side: f64) -> V {
    let e = eye_local(p);
    if p[0] * side < 0.0 || matches!(tag, Region::Eye(_)) || e[2] < 0.2 || length(e) > 2.6 {
        return [0.0; 3];
    }
    let (upper, lower) = lid_edges(e[0]).unwrap_or((0.0, 0.0));
    let gap = (upper - lower).max(0.0) + 0.02;
    let near = smoothstep(2.6, 1.9, length(e));
    match tag {
        Region::LowerLid(_) => scale(along_lid(e, e[1] + 0.14 * gap), near),
        _ if e[1] < lower - 0.02 => {
            let follow = 0.14 * (1.0 - smoothstep(0.0, 0.8, lower - e[1])) * near;
            [0.0, follow * gap, 0.0]
        }
        _ => {
            // the edge goes all the way, the skin above less and less: it is drawn out over the eye
            let follow =
                if matches!(tag, Region::UpperLid(_)) { 1.0 } else { 1.0 - smoothstep(-0.05, 1.25, e[1] - upper) };
            let by = along_lid(e, e[1] - follow * 0.88 * gap);
            [0.0, by[1] * near, (by[2] + 0.05 * follow) * near]
        }
    }
}

fn squint(p: V, tag: Region) -> V {
    let e = eye_local(p);
    if matches!(tag, Region::Eye(_)) || e[2] < 0.0 {
        return [0.0; 3];
    }
    let (upper, lower) = lid_edges(e[0]).unwrap_or((0.0, 0.0));
    let reach = bump(p, [p[0].signum() * EYE[0], EYE[1] - 0.7, 8.0], 2.4);
    if matches!(tag, Region::UpperLid(_)) || e[1] > 0.5 * (upper + lower) && !matches!(tag, Region::LowerLid(_)) {
        let follow = 1.0 - smoothstep(0.0, 1.2, e[1] - upper);
        return [0.0, -0.16 * follow * (upper - lower) * bump(p, [p[0].signum() * EYE[0], EYE[1], 7.9], 2.2), 0.0];
    }
    [0.0, 0.27 * reach, 0.09 * reach]
}

fn wide(p: V, tag: Region) -> V {
    let e = eye_local(p);
    if matches!(tag, Region::Eye(_) | Region::LowerLid(_)) || e[2] < 0.2 || length(e) > 2.4 {
        return [0.0; 3];
    }
    let (upper, lower) = lid_edges(e[0]).unwrap_or((0.0, 0.0));
    let open = ((upper - lower) / 1.0).clamp(0.0, 1.0);
    if !matches!(tag, Region::UpperLid(_)) && e[1] < upper - 0.02 {
        return [0.0; 3];
    }
    let follow = 1.0 - smoothstep(0.0, 1.1, (e[1] - upper).max(0.0));
    [0.0, 0.2 * open * follow, 0.0]
}

/// How much a vertex follows the jaw: all of it below the mouth, none above, with a clean cut between the lips.
pub(super) fn jaw(p: V, tag: Region) -> f64 {
    match tag {
        Region::LowerTeeth => return 1.0,
        Region::UpperTeeth | Region::Eye(_) => return 0.0,
        _ => {}
    }
    let front = smoothstep(-1.0, 5.0, p[2]) * smoothstep(-12.5, -10.2, p[1]);
    let across = p[0].abs() / (MOUTH_HALF_WIDTH + 0.1);
    let d = below(p, tag);
    let cheek = smoothstep(-2.2, 2.6, d) * smoothstep(9.0, 4.5, p[0].abs());
    if across >= 1.0 || p[2] < 4.5 {
        return front * cheek;
    }
    let open = (1.0 - across * across).sqrt();
    front * if d > 0.0 { mix(cheek, 1.0, open) } else { cheek * (1.0 - open) }
}

/// Skinning weights over root, neck, jaw and the eyes.
pub(super) fn weights(p: V, tag: Region) -> [f64; 5] {
    match tag {
        Region::Eye(true) => return [0.0, 0.0, 0.0, 1.0, 0.0],
        Region::Eye(false) => return [0.0, 0.0, 0.0, 0.0, 1.0],
        Region::UpperTeeth => return [0.0, 1.0, 0.0, 0.0, 0.0],
        Region::LowerTeeth => return [0.0, 0.0, 1.0, 0.0, 0.0],
        _ => {}
    }
    // the throat follows later than the nape
    let height = p[1] + 0.25 * (p[2] + 3.0) * smoothstep(-8.0, -11.0, p[1]);
    let neck = smoothstep(-13.6, -7.5, height);
    let jaw = jaw(p, tag);
    [1.0 - neck, neck * (1.0 - jaw), neck * jaw, 0.0, 0.0]
}

/// Offsets of all vertices, rigid for eyeballs and teeth.
pub(super) fn identity(grid: &Grid, field: fn(V) -> V) -> Vec<V> {
    let of = |(p, tag): (&V, &Region)| match tag {
        Region::Eye(left) => field([if *left { EYE[0] } else { -EYE[0] }, EYE[1], EYE[2]]),
        Region::UpperTeeth | Region::LowerTeeth => field([0.0, MOUTH_HEIGHT, 7.0]),
        _ => field(*p),
    };
    grid.vertices.iter().zip(&grid.tags).map(of).collect()
}

/// Weights over `chosen` vertices that sum to 1 and whose mean is `target`: the ones nearest to equal.
///
/// With rows (x − mean, 1) of B and equal weights e, w = e + Bᵀ λ with B Bᵀ λ = target − B e.
pub(super) fn regress(vertices: &[V], chosen: &[usize], target: V) -> Vec<f64> {
    let n = chosen.len() as f64;
    let mean = scale(chosen.iter().fold([0.0; 3], |sum, v| add(sum, vertices[*v])), 1.0 / n);
    let rows: Vec<V> = chosen.iter().map(|v| sub(vertices[*v], mean)).collect();
    let mut m = [[0.0; 4]; 3];
    for row in &rows {
        for r in 0..3 {
            for c in 0..3 {
                m[r][c] += row[r] * row[c];
            }
        }
    }
    // flat sets of vertices keep their plane
    (0..3).for_each(|r| m[r][r] += 1e-6 * n);
    let by = sub(target, mean);
    (0..3).for_each(|r| m[r][3] = by[r]);
    for k in 0..3 {
        let pivot = m[k][k];
        for r in 0..3 {
            if r != k {
                let factor = m[r][k] / pivot;
                for c in 0..4 {
                    m[r][c] -= factor * m[k][c];
                }
            }
        }
    }
    let lambda: V = std::array::from_fn(|k| m[k][3] / m[k][k]);
    rows.iter().map(|row| 1.0 / n + (0..3).map(|k| lambda[k] * row[k]).sum::<f64>()).collect()
}
