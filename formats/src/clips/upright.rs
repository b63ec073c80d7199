//! Clips from worlds where another direction is up.

use super::{Clip, Track, WORLD_UP, rotation};
use crate::conventions::{matrix_from_quaternion, normalize_quaternion};

/// Turns a whole-body clip that says where up was ([`WORLD_UP`]) so that `up`, a unit vector, is up, and takes that track away.
///
/// `pelvis` is the first joint's place at rest, about which `global_orient` turns: a recorded x ↦ R (x − p) + p + t becomes
/// Q R (x − p) + Q (p + t), Q the shortest way from the recorded direction to `up`. Units are those of the body.
///
/// Returns false, and leaves the clip alone, when it does not say where up was or has no whole body.
pub fn turn_upright(clip: &mut Clip, up: [f64; 3], pelvis: [f64; 3]) -> bool {
    let place = |name: &str| clip.tracks.iter().position(|t| t.target == name && !t.ticks.is_empty());
    let Some(recorded) = place(WORLD_UP) else { return false };
    let body = ["smplx.", "smpl."].into_iter().find_map(|p| Some((p, place(&format!("{p}global_orient"))?)));
    let Some((prefix, orientation)) = body else { return false };
    let translation = format!("{prefix}transl");
    let from = std::array::from_fn(|k| f64::from(clip.tracks[recorded].values[k]));
    let turn = shortest(from, up);
    let turned = |v: [f64; 3]| -> [f64; 3] { turn.map(|row| (0..3).map(|k| row[k] * v[k]).sum()) };

    let mut last = [0.0; 3];
    for vector in clip.tracks[orientation].values.chunks_exact_mut(3) {
        let old = rotation::from_vector([0, 1, 2].map(|k| f64::from(vector[k])));
        last = nearest(rotation::to_vector(&rotation::product(&turn, &old)), last);
        vector.iter_mut().zip(last).for_each(|(out, v)| *out = v as f32);
    }
    // without a recorded place the pelvis stays where it is at rest
    if let Some(track) = clip.tracks.iter_mut().find(|t| t.target == translation) {
        for offset in track.values.chunks_exact_mut(3) {
            let there = turned(std::array::from_fn(|k| pelvis[k] + f64::from(offset[k])));
            offset.iter_mut().zip(there).zip(pelvis).for_each(|((out, v), p)| *out = (v - p) as f32);
        }
    }
    clip.tracks.retain(|track: &Track| track.target != WORLD_UP);
    true
}

/// The rotation by the smallest angle that takes one direction to another.
fn shortest(from: [f64; 3], to: [f64; 3]) -> rotation::Matrix {
    let length = from.iter().map(|v| v * v).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
    let from = from.map(|v| v / length);
    let cross =
        |a: [f64; 3], b: [f64; 3]| [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
    let cosine: f64 = (0..3).map(|k| from[k] * to[k]).sum();
    let [x, y, z] = cross(from, to);
    let half = if cosine > -1.0 + 1e-9 {
        [1.0 + cosine, x, y, z]
    } else {
        // half a turn about anything across
        let axis = if from[0].abs() < 0.9 { [1.0, 0.0, 0.0] } else { [0.0, 1.0, 0.0] };
        let [x, y, z] = cross(from, axis);
        [0.0, x, y, z]
    };
    matrix_from_quaternion(normalize_quaternion(half))
}

/// The same rotation, written nearest to another vector: whole turns are added, so that keys can be interpolated.
fn nearest(v: [f64; 3], to: [f64; 3]) -> [f64; 3] {
    let angle = v.iter().map(|x| x * x).sum::<f64>().sqrt();
    if angle < 1e-9 {
        return v;
    }
    let along = (0..3).map(|k| v[k] * to[k]).sum::<f64>() / angle;
    let turns = ((along - angle) / std::f64::consts::TAU).round();
    v.map(|x| x * (1.0 + turns * std::f64::consts::TAU / angle))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clips::Interpolation;

    fn track(target: &str, values: &[f32]) -> Track {
        let ticks = (0..values.len() as u32 / 3).collect();
        Track { target: target.into(), width: 3, interpolation: Interpolation::Linear, ticks, values: values.to_vec() }
    }

    #[test]
    fn a_recorded_point_lands_where_the_turned_world_has_it() {
        let pelvis = [0.02, -0.3, 0.05];
        let (orient, place) = ([1.2f32, -0.4, 2.0, 1.3, -0.5, 2.1], [0.5f32, -1.0, 0.9, 0.6, -1.1, 0.9]);
        let mut clip = Clip {
            name: "walk".into(),
            ticks_per_second: 30,
            tracks: vec![
                track("smplx.global_orient", &orient),
                track("smplx.transl", &place),
                track(WORLD_UP, &[0.0, 0.0, 1.0]),
            ],
        };
        assert!(turn_upright(&mut clip, [0.0, 1.0, 0.0], pelvis));
        assert_eq!(clip.tracks.len(), 2);
        let at = |orient: &[f32], place: &[f32], x: [f64; 3]| -> [f64; 3] {
            let m = rotation::from_vector([0, 1, 2].map(|k| f64::from(orient[k])));
            std::array::from_fn(|r| {
                (0..3).map(|c| m[r][c] * (x[c] - pelvis[c])).sum::<f64>() + pelvis[r] + f64::from(place[r])
            })
        };
        for frame in [0..3, 3..6] {
            let old = at(&orient[frame.clone()], &place[frame.clone()], [0.1, 0.7, -0.2]);
            let new = at(&clip.tracks[0].values[frame.clone()], &clip.tracks[1].values[frame], [0.1, 0.7, -0.2]);
            // a quarter turn back about x: what was z is y
            let expected = [old[0], old[2], -old[1]];
            assert!((0..3).all(|k| (new[k] - expected[k]).abs() < 1e-6), "{new:?} {expected:?}");
        }
        assert!(!turn_upright(&mut clip, [0.0, 1.0, 0.0], pelvis), "it says nothing more about up");
    }

    #[test]
    fn turns_are_short_and_written_without_jumps() {
        let apply = |m: &rotation::Matrix, v: [f64; 3]| m.map(|row| (0..3).map(|k| row[k] * v[k]).sum::<f64>());
        for (from, to) in [
            ([0.0, 0.0, 2.0], [0.0, -1.0, 0.0]),
            ([0.0, 1.0, 0.0], [0.0, -1.0, 0.0]),
            ([1.0, 0.0, 0.0], [1.0, 0.0, 0.0]),
        ] {
            let length = from.iter().map(|v: &f64| v * v).sum::<f64>().sqrt();
            let there = apply(&shortest(from, to), from.map(|v| v / length));
            assert!((0..3).all(|k| (there[k] - to[k]).abs() < 1e-12), "{from:?} {there:?}");
        }
        let tau = std::f64::consts::TAU;
        // 190 degrees are written so after 170, not as 170 the other way round
        let next = nearest([0.0, -170.0 / 360.0 * tau, 0.0], [0.0, 170.0 / 360.0 * tau, 0.0]);
        assert!((next[1] - 190.0 / 360.0 * tau).abs() < 1e-12, "{next:?}");
    }
}
