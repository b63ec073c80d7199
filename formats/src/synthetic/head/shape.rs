//! The head's form: a signed distance built from ellipsoids, in centimetres, x right, y up, z towards the viewer.
//!
//! The origin lies between the ears at eye height; the face looks along +z; everything is mirrored about x = 0.

/// Point or direction.
pub type V = [f64; 3];

/// Middle of the eyeball on the side of positive x.
pub const EYE: V = [3.2, 0.75, 6.75];
/// Radius of the eyeball.
pub const EYE_RADIUS: f64 = 1.25;
/// Radius of the lids' surface around the eyeball's middle.
pub const LID_RADIUS: f64 = 1.4;
/// Height of the line between the lips.
pub const MOUTH_HEIGHT: f64 = -5.8;
/// Half width of the mouth.
pub const MOUTH_HALF_WIDTH: f64 = 2.45;
/// Where the hair's parting runs: this far to the side.
pub const PARTING: f64 = 2.6;
/// Height at which the bust ends.
pub const BUST_END: f64 = -20.5;

/// Sum.
pub fn add(a: V, b: V) -> V {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

/// Difference.
pub fn sub(a: V, b: V) -> V {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

/// Multiple.
pub fn scale(a: V, s: f64) -> V {
    a.map(|v| v * s)
}

/// Scalar product.
pub fn dot(a: V, b: V) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// Vector product.
pub fn cross(a: V, b: V) -> V {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

/// Euclidean length.
pub fn length(a: V) -> f64 {
    dot(a, a).sqrt()
}

/// Unit vector along `a`; straight up for the zero vector.
pub fn unit(a: V) -> V {
    let l = length(a);
    if l > 1e-12 { scale(a, 1.0 / l) } else { [0.0, 1.0, 0.0] }
}

/// 0 below `a`, 1 above `b`, smooth between; `a` may exceed `b`.
pub fn smoothstep(a: f64, b: f64, x: f64) -> f64 {
    let t = ((x - a) / (b - a)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// `a` at `t` = 0, `b` at 1.
pub fn mix(a: f64, b: f64, t: f64) -> f64 {
    a + (b - a) * t
}

/// First-order distance to an ellipsoid: exact on it, accurate near it.
fn ellipsoid(p: V, center: V, radii: V) -> f64 {
    let d = sub(p, center);
    let scaled = [d[0] / radii[0], d[1] / radii[1], d[2] / radii[2]];
    let k0 = length(scaled);
    let k1 = length([scaled[0] / radii[0], scaled[1] / radii[1], scaled[2] / radii[2]]);
    if k1 < 1e-9 { -radii[0].min(radii[1]).min(radii[2]) } else { k0 * (k0 - 1.0) / k1 }
}

/// Distance to a cone with round ends.
fn capsule(p: V, a: V, b: V, radius_a: f64, radius_b: f64) -> f64 {
    let (pa, ba) = (sub(p, a), sub(b, a));
    let t = (dot(pa, ba) / dot(ba, ba)).clamp(0.0, 1.0);
    length(sub(pa, scale(ba, t))) - mix(radius_a, radius_b, t)
}

/// Union with a fillet of width `k`.
fn join(a: f64, b: f64, k: f64) -> f64 {
    let h = (k - (a - b).abs()).max(0.0) / k;
    a.min(b) - h * h * k * 0.25
}

/// `a` without `b`, with a fillet of width `k`.
fn carve(a: f64, b: f64, k: f64) -> f64 {
    -join(-a, b, k)
}

/// Height of the mouth's line at a distance from the middle: corners slightly raised.
pub fn mouth_line(x: f64) -> f64 {
    let t = x.abs() / MOUTH_HALF_WIDTH;
    MOUTH_HEIGHT + 0.44 * t * t - 0.1 * (1.0 - (t * 3.0).min(1.0))
}

/// Heights of the lips' borders at `x`: upper with its bow, lower.
pub fn lip_borders(x: f64) -> (f64, f64) {
    let t = (x.abs() / MOUTH_HALF_WIDTH).min(1.0);
    let (round, bow) = (1.0 - t * t, (x / 0.42) * (x / 0.42));
    let line = mouth_line(x);
    (line + 0.86 * round.sqrt() * (1.0 - 0.35 * t) - 0.2 / (1.0 + bow * bow), line - 1.02 * round)
}

/// Heights of the lids' edges over the eye's middle at `u`, counted from it towards the temple: upper, lower.
/// `None` outside the corners.
pub fn lid_edges(u: f64) -> Option<(f64, f64)> {
    let t = (u - 0.02) / 1.32;
    if t.abs() >= 1.0 {
        return None;
    }
    let (round, tilt) = (1.0 - t * t, 0.07 * u);
    // the upper lid peaks towards the nose, the lower one towards the temple
    Some((0.64 * round.sqrt() * (1.0 - 0.12 * t) + tilt, -0.39 * round * (1.0 + 0.25 * t) + tilt))
}

/// Position relative to the ear, turned with it: x away from the head, y up, z forwards. `p` with x ≥ 0.
fn ear_local(p: V) -> V {
    let e = sub(p, [7.25, -0.1, -1.3]);
    [e[0] * 0.92 + e[2] * 0.39, e[1] * 0.98 + e[2] * 0.17, e[2] * 0.92 - e[0] * 0.39 - e[1] * 0.17]
}

/// How deep a point lies in the bowl of an ear: 0 outside, 1 at the canal.
pub fn ear_bowl(p: V) -> f64 {
    let e = ear_local([p[0].abs(), p[1], p[2]]);
    let d = ellipsoid(e, [0.55, 0.1, 0.5], [0.9, 1.5, 0.85]);
    let groove = ellipsoid(e, [0.9, 1.1, -0.85], [0.5, 1.5, 0.28]);
    smoothstep(0.15, -0.7, d).max(0.7 * smoothstep(0.1, -0.25, groove)) * smoothstep(0.0, 0.4, e[0])
}

/// The skull, face, ears and neck, without eyes and hair.
pub fn skin(point: V) -> f64 {
    let p = [point[0].abs(), point[1], point[2]];
    let mut d = ellipsoid(p, [0.0, 3.6, -1.0], [7.3, 8.2, 9.1]);
    d = join(d, ellipsoid(p, [0.0, -1.6, 2.4], [6.2, 7.8, 6.5]), 2.0);
    // jaw, chin, cheek bones
    d = join(d, ellipsoid(p, [0.0, -6.0, 2.5], [5.0, 4.3, 5.4]), 2.2);
    d = join(d, ellipsoid(p, [0.0, -9.25, 6.3], [2.15, 1.4, 1.65]), 1.8);
    d = join(d, ellipsoid(p, [4.35, -1.5, 5.3], [1.9, 1.5, 1.9]), 1.8);
    d = join(d, ellipsoid(p, [2.4, 2.75, 7.0], [2.4, 0.75, 1.0]), 1.3);
    // the muzzle that carries the lips
    d = join(d, ellipsoid(p, [0.0, -5.6, 6.85], [2.9, 2.3, 2.25]), 1.6);
    // nose: bridge, tip, wings, nostrils
    d = join(d, capsule(p, [0.0, 2.1, 7.95], [0.0, -2.2, 9.6], 0.5, 0.66), 0.8);
    d = join(d, ellipsoid(p, [0.0, -2.7, 9.65], [0.95, 0.84, 0.92]), 0.7);
    d = join(d, ellipsoid(p, [1.08, -3.1, 8.75], [0.68, 0.66, 0.9]), 0.5);
    d = carve(d, ellipsoid(p, [0.55, -3.75, 9.35], [0.3, 0.35, 0.5]), 0.25);
    // eye sockets, then lids over the eyeballs
    d = carve(d, ellipsoid(p, [3.05, 0.95, 8.75], [1.75, 1.15, 1.35]), 1.4);
    d = join(d, length(sub(p, EYE)) - LID_RADIUS, 0.45);
    // lips with the crease between them, and the dimple under them
    d = join(d, ellipsoid(p, [0.62, -5.36, 8.62], [1.35, 0.42, 0.64]), 0.45);
    d = join(d, ellipsoid(p, [0.0, -6.35, 8.52], [1.65, 0.55, 0.74]), 0.45);
    let along = p[0].min(2.3);
    let crease = [along, mouth_line(along), 9.15 - 0.24 * along * along];
    d = carve(d, length(sub(p, crease)) - 0.1, 0.3);
    d = carve(d, ellipsoid(p, [0.0, -7.5, 9.0], [1.3, 0.35, 0.5]), 0.6);
    d = carve(d, capsule(p, [0.0, -4.2, 9.65], [0.0, -4.8, 9.6], 0.16, 0.2), 0.35);
    // ears: a tilted shell with a bowl and a lobe
    let e = ear_local(p);
    let mut ear = ellipsoid(e, [0.35, 0.5, 0.0], [0.75, 2.7, 1.75]);
    ear = carve(ear, ellipsoid(e, [1.2, 0.55, 0.25], [0.75, 1.95, 1.1]), 0.22);
    ear = join(ear, capsule(e, [0.5, 1.5, -0.35], [0.5, -0.9, -0.55], 0.22, 0.28), 0.3);
    ear = join(ear, ellipsoid(e, [0.2, -2.1, 0.35], [0.42, 0.85, 0.7]), 0.5);
    ear = join(ear, ellipsoid(e, [0.35, -0.4, 1.15], [0.35, 0.55, 0.35]), 0.3);
    d = join(d, ear, 0.55);
    // neck with its two muscles and the collar bones' slope
    d = join(d, capsule(p, [0.0, -5.5, -3.0], [0.0, -19.0, -3.6], 4.4, 5.1), 1.6);
    d = join(d, capsule(p, [4.3, -4.5, -2.5], [1.2, -18.5, 2.1], 0.8, 0.9), 2.2);
    join(d, shoulders(p), 4.5)
}

fn shoulders(p: V) -> f64 {
    join(
        ellipsoid(p, [0.0, -25.5, -3.0], [17.5, 8.0, 7.6]),
        capsule(p, [3.0, -15.0, -4.0], [13.5, -21.5, -3.0], 2.6, 4.2),
        5.0,
    )
}

/// Height of the shirt's neckline at a horizontal position: higher at the nape.
pub fn neckline(p: V) -> f64 {
    -16.9 - 0.16 * (p[2] + 3.0)
}

/// The shirt: skin thickened below the neckline, with a rolled collar.
pub fn cloth(p: V) -> f64 {
    let body = skin(p);
    let above = p[1] - neckline(p);
    let collar = (above * above * 0.55 + (body - 0.35) * (body - 0.35)).sqrt() - 0.42;
    join((body - 0.4).max(above), collar, 0.3)
}

/// Height of the hairline on the skull in a direction seen from above.
fn hairline(p: V) -> f64 {
    // angle from the face, as |x| against z: corners of a polygon through forehead, temple, sideburn, ear, nape
    const CORNERS: [(f64, f64); 8] =
        [(0.0, 7.3), (0.5, 6.9), (0.9, 4.6), (1.25, -0.6), (1.5, -0.8), (1.75, 2.8), (2.25, -3.0), (3.15, -5.2)];
    let angle = p[0].abs().atan2(p[2] + 1.0);
    let after = CORNERS.iter().position(|c| c.0 > angle).unwrap_or(CORNERS.len() - 1).max(1);
    let ((a, low), (b, high)) = (CORNERS[after - 1], CORNERS[after]);
    mix(low, high, smoothstep(a, b, angle))
}

/// How much hair grows at a point near the skull: 0 none, 1 full; grows over about a centimetre above the hairline.
pub fn hair_amount(p: V) -> f64 {
    smoothstep(-0.2, 1.0, p[1] - hairline(p))
}

/// Thickness of the hair at a point near the skull.
pub fn hair_thickness(p: V) -> f64 {
    let top = smoothstep(2.0, 10.0, p[1]);
    let parting = 1.0 - 0.12 * top / (1.0 + (p[0] - PARTING) * (p[0] - PARTING));
    // hair lies flat where it begins and rises behind
    smoothstep(-0.3, 3.2, p[1] - hairline(p)) * mix(0.8, 1.6, top) * parting
}

/// The hair's outer surface.
pub fn hair(p: V) -> f64 {
    let skull = ellipsoid([p[0].abs(), p[1], p[2]], [0.0, 3.6, -1.0], [7.3, 8.2, 9.1]);
    let thickness = hair_thickness(p);
    if hair_amount(p) < 0.02 { skull.max(0.3) } else { skull - thickness }
}

/// Everything that casts shadows.
pub fn scene(p: V) -> f64 {
    skin(p).min(hair(p))
}

/// Unit gradient of a distance function, from four samples.
pub fn normal(field: fn(V) -> f64, p: V) -> V {
    const H: f64 = 0.02;
    let mut n = [0.0; 3];
    for corner in [[1.0, -1.0, -1.0], [-1.0, -1.0, 1.0], [-1.0, 1.0, -1.0], [1.0, 1.0, 1.0]] {
        n = add(n, scale(corner, field(add(p, scale(corner, H)))));
    }
    unit(n)
}

/// Moves a point near a surface onto it; `None` when it does not get there.
pub fn project(field: fn(V) -> f64, mut p: V) -> Option<V> {
    for _ in 0..4 {
        let d = field(p);
        if d.abs() < 1e-3 {
            return Some(p);
        }
        p = sub(p, scale(normal(field, p), d));
    }
    (field(p).abs() < 0.02).then_some(p)
}

/// Smooth pseudo-random field with values in −1..1 and features of unit size.
pub fn noise(p: V, seed: u64) -> f64 {
    let base = p.map(f64::floor);
    let t: V = std::array::from_fn(|k| smoothstep(0.0, 1.0, p[k] - base[k]));
    let mut sum = 0.0;
    for corner in 0..8u64 {
        let mut key = 0u64;
        let mut weight = 1.0;
        for k in 0..3 {
            let high = corner >> k & 1;
            weight *= if high == 1 { t[k] } else { 1.0 - t[k] };
            key = (key << 20) | ((base[k] as i64 + high as i64) as u64 & 0xF_FFFF);
        }
        sum += weight * (2.0 * super::super::uniform(key, seed) - 1.0);
    }
    sum
}
