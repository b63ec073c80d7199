//! Arrays as tracks: what the importers of `.npz` share, and archives of one array a target.

use super::{Clip, ClipOptions, Interpolation, Track, bad, input::Input};
use crate::{
    Result,
    npy::{NpyArray, Npz, read_npz},
};

/// Keys × width numbers under the name that the file gives them.
pub(super) struct Rows {
    pub name: String,
    pub target: String,
    pub count: usize,
    pub width: usize,
    pub values: Vec<f32>,
}

impl Rows {
    /// The rows of an array whose first axis is time; one of `width` numbers alone is one row.
    ///
    /// # Errors
    /// `VALUE` when a row does not have `width` numbers.
    pub fn of(name: &str, target: impl Into<String>, array: &NpyArray, width: Option<usize>) -> Result<Self> {
        let (count, found) = match (&array.shape[..], width) {
            ([], _) => (1, 1),
            ([n], Some(width)) if *n == width => (1, width),
            ([n], Some(1) | None) => (*n, 1),
            ([n], Some(_)) => (1, *n),
            ([count, rest @ ..], _) => (*count, rest.iter().product()),
        };
        if width.is_some_and(|width| width != found) || found == 0 {
            let wanted = width.map_or_else(|| "at least one".to_owned(), |width| width.to_string());
            let message = format!("`{name}` has the shape {:?}, frames × {wanted} expected", array.shape);
            return Err(bad(message));
        }
        Ok(Self { name: name.to_owned(), target: target.into(), count, width: found, values: array.to_f32() })
    }

    /// Columns `from` … `from + width` as rows of their own.
    pub fn part(&self, target: impl Into<String>, from: usize, width: usize) -> Self {
        let values = self.values.chunks_exact(self.width).flat_map(|row| &row[from..from + width]).copied().collect();
        Self { name: self.name.clone(), target: target.into(), count: self.count, width, values }
    }
}

/// One key a frame for each; rows that are alone hold for the whole clip.
///
/// # Errors
/// `VALUE` when two have different numbers of frames.
pub(super) fn tracks(all: Vec<Rows>) -> Result<Vec<Track>> {
    if let Some(first) = all.iter().find(|rows| rows.count != 1)
        && let Some(other) = all.iter().find(|rows| rows.count != 1 && rows.count != first.count)
    {
        let message = format!("`{}` has {} frames, `{}` has {}", first.name, first.count, other.name, other.count);
        return Err(bad(message));
    }
    let longest = all.iter().map(|rows| rows.count).max().unwrap_or(0);
    u32::try_from(longest).map_err(|_| bad(format!("{longest} frames are more than a clip can hold")))?;
    let track = |rows: Rows| Track {
        interpolation: interpolation(&rows.target, rows.width),
        target: rows.target,
        width: rows.width as u32,
        ticks: (0..rows.count as u32).collect(),
        values: rows.values,
    };
    Ok(all.into_iter().filter(|rows| rows.count > 0).map(track).collect())
}

/// Rotations of joints are quaternions, everything else goes straight.
pub(super) fn interpolation(target: &str, width: usize) -> Interpolation {
    let turns = width == 4 && (target.ends_with("/rotation") || target.ends_with(".rotation"));
    if turns { Interpolation::Slerp } else { Interpolation::Linear }
}

/// The archive, when the file is one.
pub(super) fn open(input: &Input, options: &ClipOptions) -> Result<Npz> {
    read_npz(input.bytes(), &options.limits)
}

/// Names of the members of a `.npz`, without their endings; none for other files.
pub(super) fn members(input: &Input) -> Vec<String> {
    if !input.bytes().starts_with(b"PK\x03\x04") {
        return Vec::new();
    }
    let Ok(archive) = zip::ZipArchive::new(std::io::Cursor::new(input.bytes())) else { return Vec::new() };
    let names = archive.file_names().filter_map(|name| Some(name.ok()?.strip_suffix(".npy")?.to_owned()));
    names.take(4096).collect()
}

/// Names under which archives say their frames per second.
const RATES: [&str; 4] = ["mocap_frame_rate", "mocap_framerate", "fps", "framerate"];

/// Frames per second that an archive says.
pub(super) fn rate(npz: &Npz) -> Result<Option<f64>> {
    let Some((name, array)) = RATES.iter().find_map(|name| Some((name, npz.get(name)?))) else { return Ok(None) };
    match array.to_f64()[..] {
        [rate] if (1e-3..=1e6).contains(&rate) => Ok(Some(rate)),
        _ => Err(bad(format!("`{name}` is {:?}, no frames per second", array.to_f64()))),
    }
}

/// A clip of one key a frame at a rate that need not be whole; without one the caller decides.
pub(super) fn clip(name: String, mut tracks: Vec<Track>, rate: Option<f64>) -> Result<Clip> {
    let Some(rate) = rate else { return Ok(Clip { name, ticks_per_second: 0, tracks }) };
    let whole = rate.round();
    if whole >= 1.0 && (rate - whole).abs() <= 1e-4 * rate {
        return Ok(Clip { name, ticks_per_second: whole as u32, tracks });
    }
    const FINE: u32 = 90_000;
    for track in &mut tracks {
        let seconds: Vec<f64> = track.ticks.iter().map(|tick| f64::from(*tick) / rate).collect();
        let ticks = super::time::ticks_of(&seconds, FINE)?;
        track.ticks = ticks.iter().map(|(tick, _)| *tick).collect();
        let width = track.width as usize;
        track.values = ticks.iter().flat_map(|(_, row)| &track.values[row * width..][..width]).copied().collect();
    }
    Ok(Clip { name, ticks_per_second: FINE, tracks })
}

/// True for names of targets; `.` and `/` occur in every one but free driver names.
fn is_target(name: &str) -> bool {
    name.contains('.') || name.contains('/')
}

pub(super) fn sniff(input: &Input) -> bool {
    members(input).iter().any(|name| is_target(name))
}

pub(super) fn read(input: &Input, options: &ClipOptions) -> Result<Vec<Clip>> {
    let npz = open(input, options)?;
    let mut rows = Vec::new();
    for (name, array) in npz.arrays.iter().filter(|(name, _)| !RATES.contains(&name.as_str())) {
        rows.push(Rows::of(name, name.clone(), array, None)?);
    }
    let rate = rate(&npz)?;
    Ok(vec![clip(String::new(), tracks(rows)?, rate)?])
}
