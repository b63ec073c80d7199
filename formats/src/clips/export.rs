//! Clips for other programs: arrays, tables, JSON. All of them are read back by [`super::read`].

use super::{Clip, Track, edit::check_values, flame_param, json};
use crate::{
    Error, Result,
    npy::{NpyArray, write_npz},
};

/// JSON that holds every key as it is.
///
/// # Errors
/// [`Error::Usage`] for numbers that JSON cannot hold.
pub fn to_json(clip: &Clip) -> Result<String> {
    if let Some(track) = clip.tracks.iter().find(|track| track.values.iter().any(|v| !v.is_finite())) {
        return Err(Error::usage(format!("track `{}` is not finite, which JSON cannot say", track.target)));
    }
    json::to_text(clip)
}

/// CSV: `seconds`, then a column a value (`flame.expression.0` …), with a row at every time at which any track has a key.
///
/// # Errors
/// [`Error::Usage`] for a clip without keys.
pub fn to_csv(clip: &Clip) -> Result<String> {
    let mut ticks: Vec<u32> = clip.tracks.iter().flat_map(|track| &track.ticks).copied().collect();
    ticks.sort_unstable();
    ticks.dedup();
    if ticks.is_empty() {
        return Err(Error::usage(format!("clip `{}` has no keys", clip.name)));
    }
    let failed = |e: csv::Error| Error::usage(format!("clip `{}` cannot be written: {e}", clip.name));
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut header = vec!["seconds".to_owned()];
    for track in &clip.tracks {
        match track.width {
            1 => header.push(track.target.clone()),
            width => header.extend((0..width).map(|k| format!("{}.{k}", track.target))),
        }
    }
    writer.write_record(&header).map_err(failed)?;
    let rate = f64::from(clip.ticks_per_second.max(1));
    for tick in ticks {
        let mut row = vec![(f64::from(tick) / rate).to_string()];
        for track in &clip.tracks {
            let values = match track.sample(f64::from(tick)) {
                values if values.is_empty() => vec![0.0; track.width as usize],
                values => values,
            };
            row.extend(values.iter().map(f32::to_string));
        }
        writer.write_record(&row).map_err(failed)?;
    }
    let bytes =
        writer.into_inner().map_err(|e| Error::usage(format!("clip `{}` cannot be written: {e}", clip.name)))?;
    String::from_utf8(bytes).map_err(|_| Error::usage("a name that is no UTF-8"))
}

/// A `.npz` with a row a frame: for FLAME the members of `flame_param.npz`, for SMPL-X and SMPL those of the `smplx` package, for anything else
/// (and FLAME's 6D rotations) one member a track under its target. `mocap_frame_rate` says the rate.
///
/// # Errors
/// [`Error::Usage`] for keys that do not lie on consecutive frames: resample first.
pub fn to_npz(clip: &Clip) -> Result<Vec<u8>> {
    let mut arrays = Vec::new();
    let last = clip.tracks.iter().filter_map(|track| track.ticks.last()).max().copied().unwrap_or(0);
    let moving = clip.tracks.iter().filter(|track| track.ticks.len() > 1);
    check_values(u64::from(last), moving.map(|track| u64::from(track.width)).sum())?;
    for track in &clip.tracks {
        if track.ticks.len() > 1 && track.ticks.windows(2).any(|pair| pair[1] != pair[0] + 1) {
            let message = format!(
                "track `{}` of clip `{}` has {} keys at uneven times: arrays need a key a frame",
                track.target,
                clip.name,
                track.ticks.len()
            );
            return Err(Error::usage(message));
        }
        let (count, values) = match track.ticks.len() {
            0 => continue,
            1 => (1, track.values.clone()),
            _ => (last as usize + 1, (0..=last).flat_map(|tick| track.sample(f64::from(tick))).collect()),
        };
        let shape = vec![count, track.width as usize];
        arrays.push((member(clip, track), NpyArray::from_f32(shape, &values)));
    }
    let rate = NpyArray::from_f64(Vec::new(), &[f64::from(clip.ticks_per_second)]);
    arrays.push(("mocap_frame_rate".to_owned(), rate));
    write_npz(&arrays)
}

/// What a track is called in an archive.
fn member(clip: &Clip, track: &Track) -> String {
    for family in [flame_param::FAMILY, "smplx.", "smpl."] {
        let groups = clip.tracks.iter().map(|track| track.target.strip_prefix(family).filter(|g| is_group(family, g)));
        if groups.clone().all(|group| group.is_some())
            && let Some(group) = track.target.strip_prefix(family)
        {
            let known = flame_param::GROUPS.iter().find(|(_, g, _)| family == flame_param::FAMILY && *g == group);
            return known.map_or(group, |(member, ..)| *member).to_owned();
        }
    }
    track.target.clone()
}

/// True for the groups that the readers of the family's own files know.
fn is_group(family: &str, group: &str) -> bool {
    if family == flame_param::FAMILY {
        let known = flame_param::GROUPS.iter().any(|(_, g, _)| *g == group);
        return known || [flame_param::SHAPE, flame_param::DYNAMIC_OFFSET].contains(&group);
    }
    !group.contains('.')
}
