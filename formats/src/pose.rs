//! `Pose`: what an avatar is told at one instant, as named values.

use std::collections::BTreeMap;

use crate::{Clip, Interpolation, Track, conventions::normalize_quaternion};

/// Values of drivers, parameter groups and joints at one instant. What is not named keeps its rest value.
///
/// Keys are the targets of [`Track`]s (`spec/gav.md` 9.3): a driver such as `arkit.jawOpen` (1 value), a parameter group such as
/// `flame.expression` (100 values), or `joint/NAME/translation` (3, replaces the bind pose), `joint/NAME/rotation` (4, w x y z),
/// `joint/NAME/scale` (3).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Pose {
    values: BTreeMap<String, Vec<f32>>,
}

impl Pose {
    /// Sets a driver, a group or a property of a joint; replaces what was there.
    pub fn set(&mut self, target: impl Into<String>, values: impl Into<Vec<f32>>) {
        self.values.insert(target.into(), values.into());
    }

    /// All values under exactly this name.
    pub fn get(&self, target: &str) -> Option<&[f32]> {
        self.values.get(target).map(Vec::as_slice)
    }

    /// One number: under its own name, or as a component of a group (`flame.expression.3`, `smplx.body_pose.5.x`, `flame.jaw_pose.x`).
    pub fn number(&self, name: &str) -> Option<f32> {
        if let Some([value]) = self.get(name) {
            return Some(*value);
        }
        let (head, last) = name.rsplit_once('.')?;
        if let Ok(index) = last.parse::<usize>() {
            return self.get(head)?.get(index).copied();
        }
        let axis = ["x", "y", "z"].iter().position(|a| *a == last)?;
        if let Some(group) = self.get(head) {
            return group.get(axis).copied();
        }
        let (group, index) = head.rsplit_once('.')?;
        self.get(group)?.get(3 * index.parse::<usize>().ok()? + axis).copied()
    }

    /// The `width` numbers of a group, each from the group itself or, when set on its own, from its component; components that nobody
    /// set take `rest`. A longer group is cut, a shorter one filled up with `rest` (trackers often give 50 of 100 expressions).
    pub fn group(&self, name: &str, width: usize, rest: f32) -> Vec<f32> {
        let mut out = vec![rest; width];
        if let Some(values) = self.get(name) {
            let common = width.min(values.len());
            out[..common].copy_from_slice(&values[..common]);
        }
        let prefix = format!("{name}.");
        for (key, values) in self.values.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix)) {
            if let (Some(index), [value]) = (component(&key[prefix.len()..]), values.as_slice())
                && index < width
            {
                out[index] = *value;
            }
        }
        out
    }

    /// Names and values, in order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[f32])> {
        self.values.iter().map(|(name, values)| (name.as_str(), values.as_slice()))
    }

    /// Lets the values of `other` replace those of the same names.
    pub fn extend(&mut self, other: Self) {
        self.values.extend(other.values);
    }
}

/// Index of a component within its group: `3`, `x`, or `5.x` for axis x of the fifth triple.
fn component(text: &str) -> Option<usize> {
    let axis = |t: &str| ["x", "y", "z"].iter().position(|a| *a == t);
    match text.split_once('.') {
        Some((index, last)) => Some(3 * index.parse::<usize>().ok()? + axis(last)?),
        None => text.parse().ok().or_else(|| axis(text)),
    }
}

impl Clip {
    /// The pose at a time in seconds. Before the first key of a track its first value holds, after the last its last.
    pub fn pose_at(&self, seconds: f64) -> Pose {
        let tick = seconds * f64::from(self.ticks_per_second.max(1));
        let mut pose = Pose::default();
        for track in self.tracks.iter().filter(|t| !t.ticks.is_empty()) {
            pose.set(track.target.clone(), track.sample(tick));
        }
        pose
    }
}

impl Track {
    /// The `width` values at a time in ticks; empty when there are no keys.
    pub fn sample(&self, tick: f64) -> Vec<f32> {
        let width = self.width as usize;
        let key = |k: usize| &self.values[k * width..][..width];
        let after = self.ticks.partition_point(|t| f64::from(*t) <= tick);
        let Some(last) = self.ticks.len().checked_sub(1) else { return Vec::new() };
        let before = after.saturating_sub(1);
        if after == 0 || after > last || self.interpolation == Interpolation::Step {
            return key(before).to_vec();
        }
        let (from, to) = (f64::from(self.ticks[before]), f64::from(self.ticks[after]));
        let t = (tick - from) / (to - from);
        if t == 0.0 {
            return key(before).to_vec();
        }
        match (self.interpolation, key(before), key(after)) {
            (Interpolation::Slerp, [aw, ax, ay, az], [bw, bx, by, bz]) => {
                let quaternions = [[aw, ax, ay, az], [bw, bx, by, bz]].map(|q| q.map(|v| f64::from(*v)));
                slerp(quaternions[0], quaternions[1], t).map(|v| v as f32).to_vec()
            }
            (_, a, b) => a.iter().zip(b).map(|(a, b)| (f64::from(*a) * (1.0 - t) + f64::from(*b) * t) as f32).collect(),
        }
    }
}

/// The shorter great circle between two unit quaternions, `t` of the way from `a` to `b`.
pub fn slerp(a: [f64; 4], b: [f64; 4], t: f64) -> [f64; 4] {
    let dot: f64 = a.iter().zip(&b).map(|(x, y)| x * y).sum();
    let b = if dot < 0.0 { b.map(|v| -v) } else { b };
    let angle = dot.abs().min(1.0).acos();
    // below a thousandth of a radian the chord differs from the arc by less than 1e-10
    let (wa, wb) = if angle < 1e-3 {
        (1.0 - t, t)
    } else {
        (((1.0 - t) * angle).sin() / angle.sin(), (t * angle).sin() / angle.sin())
    };
    normalize_quaternion(std::array::from_fn(|k| wa * a[k] + wb * b[k]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(interpolation: Interpolation, width: u32, values: &[f32]) -> Track {
        Track { target: "t".into(), width, interpolation, ticks: vec![10, 20], values: values.to_vec() }
    }

    #[test]
    fn tracks_interpolate_between_keys_and_hold_outside() {
        let linear = track(Interpolation::Linear, 1, &[1.0, 3.0]);
        for (tick, value) in [(0.0, 1.0), (10.0, 1.0), (12.5, 1.5), (20.0, 3.0), (99.0, 3.0)] {
            assert_eq!(linear.sample(tick), [value], "tick {tick}");
        }
        assert_eq!(track(Interpolation::Step, 1, &[1.0, 3.0]).sample(19.9), [1.0]);
        let half = std::f32::consts::FRAC_1_SQRT_2;
        // a quarter turn about z given with the opposite sign: the way is still the short one
        let turn = track(Interpolation::Slerp, 4, &[1.0, 0.0, 0.0, 0.0, -half, 0.0, 0.0, -half]).sample(15.0);
        let expected = [(std::f32::consts::PI / 8.0).cos(), 0.0, 0.0, (std::f32::consts::PI / 8.0).sin()];
        assert!(turn.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{turn:?}");
    }

    #[test]
    fn groups_and_their_components_are_one() {
        let mut pose = Pose::default();
        pose.set("flame.expression", [1.0, 2.0, 3.0]);
        pose.set("flame.expression.1", [9.0]);
        pose.set("flame.jaw_pose.x", [0.5]);
        pose.set("smplx.body_pose.1.z", [0.25]);
        assert_eq!(pose.group("flame.expression", 4, 0.0), [1.0, 9.0, 3.0, 0.0]);
        assert_eq!(pose.group("flame.expression", 2, 0.0), [1.0, 9.0]);
        assert_eq!(pose.group("flame.jaw_pose", 3, 0.0), [0.5, 0.0, 0.0]);
        assert_eq!(pose.group("smplx.body_pose", 6, 0.0), [0.0, 0.0, 0.0, 0.0, 0.0, 0.25]);
        assert_eq!(pose.number("flame.expression.2"), Some(3.0));
        assert_eq!(pose.number("flame.expression.1"), Some(9.0));
        assert_eq!(pose.number("flame.expression.7"), None);
        pose.set("smplx.body_pose", vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(pose.number("smplx.body_pose.1.y"), Some(4.0));
        assert_eq!(pose.number("smplx.body_pose.5"), Some(5.0));
    }
}
