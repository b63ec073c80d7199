//! The form of a clothed person at rest: a signed distance in centimetres, x left, y up from the ground, z ahead; mirrored about x = 0.

use gav_formats::synthetic::head::shape::{V, add, dot, length, mix, scale, skin, smoothstep, sub, unit};

/// Origin of the head's form ([`skin`]) in that of the body.
pub(super) const HEAD: V = [0.0, 162.0, 1.5];
/// Joints in the order of SMPL; the arms stand off, half way between hanging and level.
pub(super) const JOINTS: [V; 24] = [
    [0.0, 96.0, -1.0],
    [8.8, 90.0, -0.8],
    [-8.8, 90.0, -0.8],
    [0.0, 106.0, -1.5],
    [10.6, 50.0, 0.2],
    [-10.6, 50.0, 0.2],
    [0.0, 118.0, -1.5],
    [11.6, 9.0, -2.5],
    [-11.6, 9.0, -2.5],
    [0.0, 129.0, -1.5],
    [12.6, 3.0, 7.5],
    [-12.6, 3.0, 7.5],
    [0.0, 146.5, -2.0],
    [4.5, 142.0, -1.5],
    [-4.5, 142.0, -1.5],
    [0.0, 155.5, -0.5],
    [17.0, 141.0, -1.8],
    [-17.0, 141.0, -1.8],
    [35.4, 121.3, -2.2],
    [-35.4, 121.3, -2.2],
    [51.8, 103.8, -1.2],
    [-51.8, 103.8, -1.2],
    [57.2, 98.0, -0.9],
    [-57.2, 98.0, -0.9],
];
pub(super) const KNEE: V = JOINTS[4];
pub(super) const ANKLE: V = JOINTS[7];
pub(super) const SHOULDER: V = JOINTS[16];
pub(super) const ELBOW: V = JOINTS[18];
pub(super) const WRIST: V = JOINTS[20];
/// Heights of the hems of shirt and trousers.
pub(super) const SHIRT_HEM: f64 = 85.0;
pub(super) const TROUSER_HEM: f64 = 7.0;
/// How far the sleeve reaches from the elbow; the wrist is 24 cm from it.
pub(super) const CUFF: f64 = 22.5;

/// What covers a place of the surface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cover {
    /// Painted by [`gav_formats::synthetic::head`].
    Head,
    Shirt,
    Trousers,
    Shoe,
    Hand,
}

/// The place on the side of positive x.
pub(super) fn mirrored(p: V) -> V {
    [p[0].abs(), p[1], p[2]]
}

/// Direction of the left upper and fore arm.
pub(super) fn arm_axis() -> V {
    unit(sub(ELBOW, SHOULDER))
}

pub(super) fn forearm_axis() -> V {
    unit(sub(WRIST, ELBOW))
}

fn cone(p: V, a: V, b: V, radius_a: f64, radius_b: f64) -> f64 {
    let (pa, ba) = (sub(p, a), sub(b, a));
    let t = (dot(pa, ba) / dot(ba, ba)).clamp(0.0, 1.0);
    length(sub(pa, scale(ba, t))) - mix(radius_a, radius_b, t)
}

/// First-order distance to an ellipsoid.
fn ellipsoid(d: V, radii: V) -> f64 {
    let near: V = std::array::from_fn(|k| d[k] / radii[k]);
    let k0 = length(near);
    let k1 = length(std::array::from_fn(|k| near[k] / radii[k]));
    if k1 < 1e-9 { -radii[0].min(radii[1]).min(radii[2]) } else { k0 * (k0 - 1.0) / k1 }
}

/// Union with a fillet of width `k`.
fn join(a: f64, b: f64, k: f64) -> f64 {
    let h = (k - (a - b).abs()).max(0.0) / k;
    a.min(b) - h * h * k * 0.25
}

/// Intersection with a rounded edge.
fn cut(a: f64, b: f64, k: f64) -> f64 {
    -join(-a, -b, k)
}

/// The trunk in its shirt: ellipses by height.
pub(super) fn trunk(p: V) -> f64 {
    // height, half width, half depth, middle
    const RINGS: [[f64; 4]; 9] = [
        [84.0, 19.4, 13.4, -1.6],
        [92.0, 18.5, 12.9, -1.8],
        [100.0, 16.5, 11.3, -1.4],
        [108.0, 14.9, 10.3, -0.9],
        [116.0, 15.1, 10.4, -0.8],
        [126.0, 16.3, 11.3, -0.8],
        [134.0, 17.0, 11.4, -1.2],
        [140.0, 15.6, 9.8, -1.8],
        [146.0, 10.0, 7.0, -2.2],
    ];
    let y = p[1].clamp(RINGS[0][0], RINGS[8][0]);
    let after = RINGS.iter().position(|r| r[0] >= y).unwrap_or(8).max(1);
    let (low, high) = (RINGS[after - 1], RINGS[after]);
    let t = smoothstep(low[0], high[0], y);
    let [a, b, c]: V = std::array::from_fn(|k| mix(low[k + 1], high[k + 1], t));
    let (x, z) = (p[0], p[2] - c);
    let (k0, k1) = ((x / a).hypot(z / b), (x / a / a).hypot(z / b / b));
    let round = if k1 < 1e-9 { -a.min(b) } else { k0 * (k0 - 1.0) / k1 };
    // the slope from the neck to the shoulder
    let slope = cone(p, [3.0, 146.0, -3.0], [15.5, 141.3, -2.0], 4.2, 4.6);
    cut(join(cut(round, p[1] - 144.0, 4.0), slope, 3.0), SHIRT_HEM - p[1], 0.8)
}

/// The left arm in its sleeve.
pub(super) fn sleeve(p: V) -> f64 {
    let upper = cone(p, add(SHOULDER, [-0.8, -1.3, 0.0]), ELBOW, 5.8, 4.9);
    let lower = cone(p, ELBOW, add(ELBOW, scale(forearm_axis(), 30.0)), 5.0, 3.9);
    let end = dot(sub(p, ELBOW), forearm_axis()) - CUFF;
    join(upper, cut(lower, end, 0.5), 2.0)
}

/// The left hand: a mitten with a thumb, its palm towards the thigh.
pub(super) fn hand(p: V) -> f64 {
    let u = forearm_axis();
    let [along, across, thick] = in_hand(p);
    let wrist = cone(p, add(ELBOW, scale(u, 16.0)), add(WRIST, scale(u, 3.0)), 3.1, 2.6);
    let palm = ellipsoid([along - 7.8, across, thick], [10.4, 4.4, 2.1]);
    let thumb = cone([along, across, thick], [2.5, 2.2, -0.3], [8.6, 5.7, -1.0], 1.5, 1.05);
    join(join(wrist, palm, 1.8), thumb, 1.2)
}

/// Position in the left hand: from the wrist to the finger tips, towards the thumb, towards the back of the hand.
pub(super) fn in_hand(p: V) -> V {
    let (u, q) = (forearm_axis(), sub(p, WRIST));
    let up = unit([-u[1], u[0], 0.0]);
    [dot(q, u), q[2] - u[2] * dot(q, u), dot(q, up)]
}

/// The left leg in its trousers, with its half of the hips.
pub(super) fn trouser(p: V) -> f64 {
    let thigh = cone(p, JOINTS[1], KNEE, 8.7, 6.7);
    let shank = cone(p, KNEE, ANKLE, 6.6, 5.6);
    let calf = ellipsoid(sub(p, [11.0, 35.0, -2.6]), [5.7, 13.0, 5.6]);
    let seat = ellipsoid(sub(p, [7.0, 89.5, -5.5]), [8.2, 9.5, 6.6]);
    let hips = ellipsoid(sub(p, [0.0, 93.0, -1.5]), [15.6, 11.5, 10.3]);
    let leg = join(join(join(thigh, shank, 2.0), calf, 3.0), seat, 4.0);
    // what the shirt hides is left out
    let top = p[1] - SHIRT_HEM - 1.0;
    cut(join(leg, hips, 5.0), (TROUSER_HEM - p[1]).max(top), 0.6)
}

/// The left shoe.
pub(super) fn shoe(p: V) -> f64 {
    let back = cone(p, [11.6, 4.4, -4.2], [12.3, 3.6, 6.5], 4.5, 4.4);
    let toe = ellipsoid(sub(p, [12.8, 2.6, 11.0]), [4.5, 3.9, 6.0]);
    let shaft = cone(p, [11.6, 4.0, -2.8], [11.6, 11.0, -2.4], 4.4, 3.9);
    cut(join(join(back, toe, 3.0), shaft, 2.0), -p[1], 1.0)
}

/// Distance to the dressed person.
pub(super) fn person(point: V) -> f64 {
    let p = mirrored(point);
    let mut d = trunk(p);
    if p[0] > 5.0 && p[1] > 80.0 {
        d = join(d, join(sleeve(p), hand(p), 0.4), 3.5);
    }
    if p[1] < 112.0 {
        let own = trouser(p);
        let other = if p[0] < 6.0 { trouser([-p[0], p[1], p[2]]) } else { 1e3 };
        d = join(d, join(own, other, 2.5), 0.6);
    }
    if p[1] < 20.0 {
        d = join(d, shoe(p), 0.4);
    }
    if p[1] > 125.0 && p[0] < 30.0 {
        d = join(d, skin(sub(point, HEAD)), 1.0);
    }
    d
}

/// Height of the collar, in the body's coordinates.
pub(super) fn collar(p: V) -> f64 {
    let q = sub(p, HEAD);
    HEAD[1] - 14.6 - 0.26 * (q[2] + 3.0)
}

/// Is a place above the shirt? The collar lies close to the neck.
pub(super) fn bare(p: V) -> bool {
    p[0].abs() < 14.0 && p[1] > collar(p) + 0.9 * (p[0].abs() - 5.6).max(0.0)
}

/// What covers a place on the surface.
pub(super) fn cover(point: V) -> Cover {
    let p = mirrored(point);
    if bare(point) {
        return Cover::Head;
    }
    let all = [
        (trunk(p).min(if p[1] > 125.0 { skin(sub(point, HEAD)) } else { 1e3 }), Cover::Shirt),
        (sleeve(p), Cover::Shirt),
        (hand(p), Cover::Hand),
        (trouser(p), Cover::Trousers),
        (shoe(p), Cover::Shoe),
    ];
    all.into_iter().min_by(|a, b| a.0.total_cmp(&b.0)).map_or(Cover::Shirt, |(_, cover)| cover)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joints_lie_inside_and_mirror_each_other() {
        for (joint, p) in JOINTS.iter().enumerate() {
            assert!(person(*p) < -1.0, "joint {joint} lies {} cm outside", person(*p));
            assert!(JOINTS.iter().any(|q| *q == [-p[0], p[1], p[2]]) || p[0] == 0.0, "joint {joint}");
        }
        for (p, is) in [
            ([0.0, 165.0, 12.0], Cover::Head),
            ([0.0, 125.0, 10.5], Cover::Shirt),
            ([-30.0, 127.0, 3.0], Cover::Shirt),
            ([58.0, 97.0, -0.9], Cover::Hand),
            ([-10.6, 50.0, 7.0], Cover::Trousers),
            ([12.8, 3.0, 17.0], Cover::Shoe),
        ] {
            assert_eq!(cover(p), is, "{p:?}");
        }
    }
}
