//! Recorded frames: kind 6 of `spec/gav.md` section 8.

use gav_formats::{FrameTracks, Splats, slerp};

/// Replaces what was recorded, at a time in seconds. Between frames centres, colours and opacity logits go straight, rotations on the
/// shorter great circle; before the first frame and after the last one these hold.
pub fn apply(tracks: &FrameTracks, seconds: f64, splats: &mut Splats) {
    let Some(last) = tracks.ticks.len().checked_sub(1) else { return };
    let tick = seconds * f64::from(tracks.ticks_per_second);
    let after = tracks.ticks.partition_point(|t| f64::from(*t) <= tick);
    let (a, b) = (after.saturating_sub(1), after.min(last));
    let (from, to) = (f64::from(tracks.ticks[a]), f64::from(tracks.ticks[b]));
    let t = if a == b { 0.0 } else { (tick - from) / (to - from) };
    let count = splats.len();
    if let Some(values) = &tracks.means {
        blend(&mut splats.means, rows(values, a, count), rows(values, b, count), |x, y| mix(x, y, t));
    }
    if let Some(values) = &tracks.sh0 {
        blend(&mut splats.sh0, rows(values, a, count), rows(values, b, count), |x, y| mix(x, y, t));
    }
    if let Some(values) = &tracks.rotations {
        blend(&mut splats.rotations, rows(values, a, count), rows(values, b, count), |x, y| {
            if t == 0.0 { *x } else { slerp(x.map(f64::from), y.map(f64::from), t).map(|v| v as f32) }
        });
    }
    if let Some(values) = &tracks.opacity_logits {
        let (from, to) = (rows(values, a, count), rows(values, b, count));
        blend(&mut splats.opacity_logits, from, to, |x, y| mix(&[*x], &[*y], t)[0]);
    }
}

fn rows<T>(values: &[T], frame: usize, count: usize) -> &[T] {
    &values[frame * count..][..count]
}

fn blend<T>(out: &mut [T], from: &[T], to: &[T], f: impl Fn(&T, &T) -> T) {
    for ((out, from), to) in out.iter_mut().zip(from).zip(to) {
        *out = f(from, to);
    }
}

/// Ends are exact: infinite logits stay what they are at their own frame.
fn mix<const N: usize>(a: &[f32; N], b: &[f32; N], t: f64) -> [f32; N] {
    if t == 0.0 {
        return *a;
    }
    std::array::from_fn(|k| (f64::from(a[k]) * (1.0 - t) + f64::from(b[k]) * t) as f32)
}
