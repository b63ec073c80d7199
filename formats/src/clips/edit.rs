//! Operations on whole clips: rate, part, mixture.

use super::{Clip, Interpolation, Track};
use crate::{Error, Result, slerp};

impl Clip {
    /// The same motion with one key a frame at a rate. Tracks of one key stay as they are; of stepped tracks the value at each frame counts.
    ///
    /// # Errors
    /// [`Error::Limit`] for clips that would have more than 2^28 values.
    pub fn resampled(&self, fps: u32) -> Result<Self> {
        let fps = fps.max(1);
        if self.ticks_per_second == fps {
            return Ok(self.clone());
        }
        let moving = self.tracks.iter().filter(|track| track.ticks.len() > 1);
        let width: u64 = moving.map(|track| u64::from(track.width)).sum();
        check_values((self.seconds() * f64::from(fps)) as u64, width)?;
        let scale = f64::from(self.ticks_per_second.max(1)) / f64::from(fps);
        let track = |track: &Track| {
            let (Some(first), Some(last)) = (track.ticks.first(), track.ticks.last()) else { return track.clone() };
            if track.ticks.len() == 1 {
                return Track { ticks: vec![0], ..track.clone() };
            }
            let first = (f64::from(*first) / scale).round() as u32;
            let last = ((f64::from(*last) / scale).round() as u32).max(first);
            let ticks: Vec<u32> = (first..=last).collect();
            let values = ticks.iter().flat_map(|tick| track.sample(f64::from(*tick) * scale)).collect();
            Track { ticks, values, ..track.clone() }
        };
        let tracks = self.tracks.iter().map(track).collect();
        Ok(Self { name: self.name.clone(), ticks_per_second: fps, tracks })
    }

    /// The part between two times in seconds, which starts at 0.
    ///
    /// # Errors
    /// [`Error::Usage`] unless 0 ≤ `from` < `to` ≤ the length, with the numbers.
    pub fn trimmed(&self, from: f64, to: f64) -> Result<Self> {
        let seconds = self.seconds();
        let rate = f64::from(self.ticks_per_second.max(1));
        // within half a tick of the end is the end
        if !(0.0 <= from && from < to && to <= seconds + 0.5 / rate) {
            let message = format!("{from} to {to} s is no part of the clip `{}` of {seconds:.3} s", self.name);
            return Err(Error::usage(message));
        }
        let (start, end) = ((from * rate).round() as u32, (to * rate).round() as u32);
        let track = |track: &Track| {
            if track.ticks.len() < 2 {
                return track.clone();
            }
            let inside = track.ticks.iter().filter(|tick| (start..=end).contains(tick)).copied();
            let mut ticks: Vec<u32> = [start, end].into_iter().chain(inside).collect();
            ticks.sort_unstable();
            ticks.dedup();
            let values = ticks.iter().flat_map(|tick| track.sample(f64::from(*tick))).collect();
            Track { ticks: ticks.iter().map(|tick| tick - start).collect(), values, ..track.clone() }
        };
        let tracks = self.tracks.iter().map(track).collect();
        Ok(Self { name: self.name.clone(), ticks_per_second: self.ticks_per_second, tracks })
    }

    /// The mixture (1 − weight) · self + weight · other at the higher of both rates: quaternions on the shorter arc, everything else straight.
    /// A target that only one of them moves keeps that one's motion.
    ///
    /// # Errors
    /// [`Error::Usage`] for clips of different lengths and targets of different widths, with both numbers.
    pub fn blended(&self, other: &Self, weight: f32) -> Result<Self> {
        check_lengths(self, other)?;
        let fps = self.ticks_per_second.max(other.ticks_per_second).max(1);
        let mut out = self.resampled(fps)?;
        for theirs in other.resampled(fps)?.tracks {
            let Some(own) = out.tracks.iter_mut().find(|track| track.target == theirs.target) else {
                out.tracks.push(theirs);
                continue;
            };
            if own.width != theirs.width {
                let message =
                    format!("`{}` has {} values in one clip and {} in the other", own.target, own.width, theirs.width);
                return Err(Error::usage(message));
            }
            let longer = if own.ticks.len() >= theirs.ticks.len() { &own.ticks } else { &theirs.ticks };
            let ticks = longer.clone();
            let t = f64::from(weight);
            let values = ticks.iter().flat_map(|tick| {
                let (a, b) = (own.sample(f64::from(*tick)), theirs.sample(f64::from(*tick)));
                match (own.interpolation, &a[..], &b[..]) {
                    (Interpolation::Slerp, [a0, a1, a2, a3], [b0, b1, b2, b3]) => {
                        let [a, b] = [[a0, a1, a2, a3], [b0, b1, b2, b3]].map(|q| q.map(|v| f64::from(*v)));
                        slerp(a, b, t).map(|v| v as f32).to_vec()
                    }
                    _ => {
                        a.iter().zip(&b).map(|(a, b)| (f64::from(*a) * (1.0 - t) + f64::from(*b) * t) as f32).collect()
                    }
                }
            });
            own.values = values.collect();
            own.ticks = ticks;
        }
        Ok(out)
    }
}

/// A few keys may lie years apart, which a key a frame must not fill.
pub(super) fn check_values(frames: u64, width: u64) -> Result<()> {
    let (requested, limit) = (frames.saturating_add(1).saturating_mul(width), 1 << 28);
    if requested > limit { Err(Error::Limit { what: "values of a clip", requested, limit }) } else { Ok(()) }
}

/// Clips that belong together last equally long, within half a frame of the coarser one.
///
/// # Errors
/// [`Error::Usage`] with both lengths.
pub fn check_lengths(a: &Clip, b: &Clip) -> Result<()> {
    let half = 0.5 / f64::from(a.ticks_per_second.min(b.ticks_per_second).max(1));
    if (a.seconds() - b.seconds()).abs() > half {
        let message = format!("clip `{}` lasts {:.3} s, clip `{}` {:.3} s", a.name, a.seconds(), b.name, b.seconds());
        return Err(Error::usage(message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(name: &str, fps: u32, frames: u32, scale: f32) -> Clip {
        let track = Track {
            target: "arkit.jawOpen".into(),
            width: 1,
            ticks: (0..frames).collect(),
            values: (0..frames).map(|k| k as f32 * scale).collect(),
            ..Track::default()
        };
        let held =
            Track { target: "flame.shape".into(), width: 1, ticks: vec![0], values: vec![7.0], ..Track::default() };
        Clip { name: name.into(), ticks_per_second: fps, tracks: vec![track, held] }
    }

    #[test]
    fn resampling_keeps_times_and_single_keys() {
        let clip = ramp("a", 30, 31, 1.0);
        let fine = clip.resampled(60).unwrap();
        assert_eq!((fine.tracks[0].ticks.len(), fine.seconds()), (61, 1.0));
        assert_eq!((fine.tracks[0].values[1], fine.tracks[0].values[60]), (0.5, 30.0));
        assert_eq!(fine.tracks[1], clip.tracks[1]);
        assert_eq!(fine.resampled(30).unwrap(), clip);
        assert_eq!(clip.resampled(30).unwrap(), clip);
        let coarse = clip.resampled(7).unwrap();
        assert_eq!((coarse.tracks[0].ticks.len(), coarse.tracks[0].values[7]), (8, 30.0));
        let mut years = clip;
        years.tracks[0].ticks[30] = u32::MAX;
        assert_eq!(years.resampled(60).unwrap_err().code(), "LIMIT");
    }

    #[test]
    fn a_part_starts_at_zero_and_holds_its_ends() {
        let clip = ramp("a", 30, 31, 1.0);
        let part = clip.trimmed(0.5, 0.8).unwrap();
        assert_eq!((part.tracks[0].ticks[0], part.tracks[0].ticks.len()), (0, 10));
        assert_eq!((part.tracks[0].values[0], part.tracks[0].values[9]), (15.0, 24.0));
        assert_eq!(part.tracks[1], clip.tracks[1]);
        assert_eq!(clip.trimmed(0.0, 1.0).unwrap(), clip);
        for (from, to) in [(-0.1, 0.5), (0.5, 0.5), (0.2, 1.2), (f64::NAN, 0.5), (0.0, f64::INFINITY)] {
            let message = clip.trimmed(from, to).unwrap_err().to_string();
            assert!(message.contains("1.000 s"), "{message}");
        }
    }

    #[test]
    fn mixtures_go_from_one_clip_to_the_other() {
        let (a, mut b) = (ramp("a", 30, 31, 1.0), ramp("b", 60, 61, -1.0));
        b.tracks[1].target = "flame.other".into();
        let half = a.blended(&b, 0.5).unwrap();
        assert_eq!((half.ticks_per_second, half.tracks.len()), (60, 3));
        assert_eq!(half.tracks[0].values[60], -15.0);
        assert_eq!(a.blended(&b, 0.0).unwrap().tracks[0].values[60], 30.0);
        assert_eq!(a.blended(&b, 1.0).unwrap().tracks[0].values[60], -60.0);
        let message = a.blended(&ramp("c", 30, 46, 1.0), 0.5).unwrap_err().to_string();
        assert!(message.contains("1.000 s") && message.contains("1.500 s"), "{message}");
        b.tracks[0].width = 2;
        b.tracks[0].values.extend_from_within(..);
        let message = a.blended(&b, 0.5).unwrap_err().to_string();
        assert!(message.contains("1 values") && message.contains("2 in"), "{message}");
    }
}
