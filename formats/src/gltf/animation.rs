//! Animations of a glTF file as [`Clip`]s.

use super::{
    container::{Gltf, bad},
    cubic,
    document::{Animation, Channel},
};
use crate::{Clip, Interpolation, Result, Track, clips::time_base, conventions::normalize_quaternion};

/// Values at keys, as in the file.
struct Keys {
    times: Vec<f32>,
    /// Keys × width.
    values: Vec<f32>,
    width: usize,
    interpolation: Interpolation,
    target: Vec<String>,
}

impl Gltf<'_> {
    /// All animations. `joint` maps a node's name to the joint's; `driver` names a morph target. Channels of other nodes are
    /// passed over, and so are animations of which nothing is left.
    pub fn read_clips(
        &self,
        joint: impl Fn(&str) -> Option<String>,
        driver: impl Fn(&str) -> String,
    ) -> Result<Vec<Clip>> {
        let mut clips: Vec<Clip> = Vec::new();
        let mut spent = 0u64;
        for (index, animation) in self.document.animations.iter().enumerate() {
            let mut all_keys = Vec::new();
            for channel in &animation.channels {
                if let Some(keys) = self.read_channel(animation, channel, &joint, &driver)? {
                    spent = spent.saturating_add((keys.times.len() * (8 + keys.width * 4)) as u64);
                    self.limits.check_bytes(spent)?;
                    all_keys.push(keys);
                }
            }
            if all_keys.is_empty() {
                continue;
            }
            let mut name: String = animation.name.chars().filter(|c| !c.is_control()).collect();
            if name.is_empty() || clips.iter().any(|c| c.name == name) {
                name = format!("{name}{}{index}", if name.is_empty() { "animation " } else { "." });
            }
            let times = all_keys.iter().flat_map(|keys| &keys.times).map(|t| f64::from(*t));
            let ticks_per_second = time_base(times);
            let mut clip = Clip { name, ticks_per_second, tracks: Vec::new() };
            for keys in &all_keys {
                keys.append_tracks(&mut clip)?;
            }
            clips.push(clip);
        }
        Ok(clips)
    }

    fn read_channel(
        &self,
        animation: &Animation,
        channel: &Channel,
        joint: &impl Fn(&str) -> Option<String>,
        driver: &impl Fn(&str) -> String,
    ) -> Result<Option<Keys>> {
        let Some(node) = channel.target.node.and_then(|n| self.document.nodes.get(n)) else { return Ok(None) };
        let property = channel.target.path.as_str();
        let (target, width): (Vec<String>, usize) = match property {
            "translation" | "rotation" | "scale" => {
                let Some(joint) = joint(&node.name) else { return Ok(None) };
                (vec![format!("joint/{joint}/{property}")], if property == "rotation" { 4 } else { 3 })
            }
            "weights" => {
                let mesh = node.mesh.and_then(|m| self.document.meshes.get(m));
                let names = mesh.map_or(0, |m| m.primitives.first().map_or(0, |p| p.targets.len()));
                let name = |k: usize| mesh.and_then(|m| m.target_name(k)).map_or_else(|| k.to_string(), str::to_owned);
                ((0..names).map(|k| driver(&name(k))).collect(), names)
            }
            _ => return Ok(None),
        };
        if width == 0 {
            return Ok(None);
        }
        let sampler = animation.samplers.get(channel.sampler);
        let sampler = sampler.ok_or_else(|| bad("VALUE", 0, format!("sampler {} is missing", channel.sampler)))?;
        let interpolation = match sampler.interpolation.as_deref() {
            Some("STEP") => Interpolation::Step,
            None | Some("LINEAR") if property == "rotation" => Interpolation::Slerp,
            None | Some("LINEAR") => Interpolation::Linear,
            Some("CUBICSPLINE") if property == "rotation" => Interpolation::Slerp,
            Some("CUBICSPLINE") => Interpolation::Linear,
            Some(other) => {
                let message = format!(
                    "interpolation {other:.20} in animation `{:.80}`, STEP, LINEAR or CUBICSPLINE expected",
                    animation.name
                );
                return Err(bad("UNSUPPORTED", 0, message));
            }
        };
        let is_cubic = sampler.interpolation.as_deref() == Some("CUBICSPLINE");
        let count = self.count(sampler.input)?;
        let most = count as u64 * if is_cubic { cubic::MOST_PIECES } else { 1 };
        self.limits.check_bytes(most.saturating_mul(width as u64 * 4 + 8))?;
        let mut times = vec![0.0f32; count];
        self.read_floats(sampler.input, |i, [t]: [f32; 1]| times[i] = t)?;
        if !times.iter().all(|t| t.is_finite() && *t >= 0.0) || times.windows(2).any(|p| p[0] >= p[1]) {
            return Err(bad("VALUE", 0, format!("key times of accessor {} do not ascend from 0", sampler.input)));
        }
        let rows = if is_cubic { count * 3 } else { count };
        self.expect_count(sampler.output, if property == "weights" { rows * width } else { rows })?;
        let mut values = vec![0.0f32; rows * width];
        match property {
            "rotation" => {
                self.read_floats(sampler.output, |i, [x, y, z, w]: [f32; 4]| {
                    values[i * 4..][..4].copy_from_slice(&[w, x, y, z]);
                })?;
            }
            "weights" => self.read_floats(sampler.output, |i, [v]: [f32; 1]| values[i] = v)?,
            _ => self.read_floats(sampler.output, |i, v: [f32; 3]| values[i * 3..][..3].copy_from_slice(&v))?,
        }
        if let Some(value) = values.iter().find(|v| !v.is_finite()) {
            return Err(bad("VALUE", 0, format!("accessor {} holds the key value {value}", sampler.output)));
        }
        if is_cubic {
            (times, values) = cubic::straighten(&times, &values, width);
            if property == "rotation" {
                for q in values.as_chunks_mut::<4>().0 {
                    *q = normalize_quaternion(q.map(f64::from)).map(|v| v as f32);
                }
            }
        }
        Ok((count > 0).then_some(Keys { times, values, width, interpolation, target }))
    }
}

impl Keys {
    /// One track for a joint's property, one for each morph target.
    fn append_tracks(&self, clip: &mut Clip) -> Result<()> {
        let mut rows: Vec<(u32, usize)> = Vec::with_capacity(self.times.len());
        for (key, time) in self.times.iter().enumerate() {
            let tick = (f64::from(*time) * f64::from(clip.ticks_per_second)).round();
            if tick > f64::from(u32::MAX) {
                return Err(bad("VALUE", 0, format!("a key at {time} s is later than a clip can hold")));
            }
            // two keys within one tick are a jump: the later one holds
            match rows.last_mut().filter(|(last, _)| *last == tick as u32) {
                Some(last) => last.1 = key,
                None => rows.push((tick as u32, key)),
            }
        }
        let parts = self.target.len();
        let width = self.width / parts;
        for (part, target) in self.target.iter().enumerate() {
            let row = |key: usize| &self.values[key * self.width + part * width..][..width];
            clip.tracks.push(Track {
                target: target.clone(),
                width: width as u32,
                interpolation: self.interpolation,
                ticks: rows.iter().map(|(tick, _)| *tick).collect(),
                values: rows.iter().flat_map(|(_, key)| row(*key)).copied().collect(),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(times: &[f32]) -> Keys {
        Keys {
            times: times.to_vec(),
            values: (0..times.len() * 2).map(|v| v as f32).collect(),
            width: 2,
            interpolation: Interpolation::Linear,
            target: vec!["a".into(), "b".into()],
        }
    }

    #[test]
    fn weights_split_into_one_track_a_driver() {
        let mut clip = Clip { ticks_per_second: 24, ..Clip::default() };
        keys(&[0.0, 0.5, 0.501]).append_tracks(&mut clip).unwrap();
        assert_eq!(clip.tracks.len(), 2);
        assert_eq!(clip.tracks[1].ticks, [0, 12]);
        assert_eq!(clip.tracks[1].values, [1.0, 5.0]);
    }
}
