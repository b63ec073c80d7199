//! From seconds to ticks.

use super::bad;
use crate::Result;

/// Time bases tried in this order; the last one, 90 kHz, is within 6 µs of any time.
const TIME_BASES: [u32; 11] = [24, 25, 30, 48, 50, 60, 100, 120, 240, 1000, 90_000];
/// Largest distance of a key from a tick, in ticks, at which the key counts as lying on it.
const ON_TICK: f64 = 2e-3;

/// The first time base on whose ticks all times (in seconds) lie.
pub(crate) fn time_base(seconds: impl Iterator<Item = f64> + Clone) -> u32 {
    let fits = |base: &u32| {
        seconds.clone().all(|t| {
            let ticks = t * f64::from(*base);
            (ticks - ticks.round()).abs() <= ON_TICK
        })
    };
    TIME_BASES.into_iter().find(fits).unwrap_or(TIME_BASES[TIME_BASES.len() - 1])
}

/// The tick of every time, and of several times within one tick the last: (tick, index).
pub(super) fn ticks_of(seconds: &[f64], base: u32) -> Result<Vec<(u32, usize)>> {
    let mut rows: Vec<(u32, usize)> = Vec::with_capacity(seconds.len());
    for (index, time) in seconds.iter().enumerate() {
        let tick = (time * f64::from(base)).round();
        if !(0.0..=f64::from(u32::MAX)).contains(&tick) {
            return Err(bad(format!("row {index} is at {time} s, which a clip cannot hold")));
        }
        match rows.last_mut() {
            Some((last, at)) if *last == tick as u32 => *at = index,
            Some((last, _)) if *last > tick as u32 => {
                let before = seconds[index - 1];
                return Err(bad(format!("row {index} is at {time} s, the one before at {before} s")));
            }
            _ => rows.push((tick as u32, index)),
        }
    }
    Ok(rows)
}
