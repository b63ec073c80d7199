//! `aNIm`, one clip (`spec/gav.md` 6.13), as bytes: its keys bit for bit, or as codes in steps.

use serde_json::{Value, json};

use super::{
    chunk::{blocked, check_name, expect_elements, from_json, parse_json, read_bytes, write_bytes},
    container::{Chunk, Container, Entry, bad},
    floats::{read_floats, write_floats},
    ints::{read_ints, write_ints},
    motion, residuals,
    stream::{BlockReader, BlockWriter},
};
use crate::{Clip, Interpolation, Limits, Result, Track};

/// The chunk of a clip: lossless without a coarseness, else with steps that are this many times the natural ones.
pub(crate) fn clip_chunk(clip: &Clip, coarseness: Option<f64>, level: i32) -> Chunk {
    // most tracks have the keys of the one before
    let mut times: Vec<&[u32]> = Vec::new();
    let lists: Vec<usize> = clip
        .tracks
        .iter()
        .map(|track| {
            times.iter().position(|list| *list == track.ticks.as_slice()).unwrap_or_else(|| {
                times.push(&track.ticks);
                times.len() - 1
            })
        })
        .collect();
    let tracks = clip.tracks.iter().zip(lists).map(|(t, list)| {
        json!({"target": t.target, "width": t.width, "times": list, "interpolation": interpolation_name(t.interpolation)})
    });
    let keys: Vec<usize> = times.iter().map(|list| list.len()).collect();
    let header = json!({"name": clip.name, "ticks_per_second": clip.ticks_per_second, "keys": keys,
        "tracks": tracks.collect::<Vec<Value>>()});
    let codec = if coarseness.is_some() { 2 } else { 0 };
    blocked(b"aNIm", codec, Vec::new(), 1, 1, level, |writer, _| {
        write_bytes(writer, header.to_string().as_bytes());
        for list in &times {
            write_ints(writer, &list.iter().map(|&t| t as i32).collect::<Vec<_>>());
        }
        match coarseness {
            Some(coarseness) => write_codes(writer, clip, coarseness),
            None => clip.tracks.iter().for_each(|track| write_floats(writer, &columns(track))),
        }
    })
}

fn columns(track: &Track) -> Vec<Vec<f32>> {
    let width = track.width as usize;
    (0..width).map(|c| track.values.iter().skip(c).step_by(width).copied().collect()).collect()
}

/// Codec 2: steps, predictors, first keys, then the codes of everything that moves.
fn write_codes(writer: &mut BlockWriter, clip: &Clip, coarseness: f64) {
    let mut firsts: Vec<i32> = Vec::new();
    let mut moving: Vec<Vec<u32>> = Vec::new();
    for track in &clip.tracks {
        let step = motion::step(track, coarseness);
        writer.raw(&step.to_le_bytes());
        let columns = columns(track);
        if step == 0.0 {
            columns.iter().filter_map(|column| column.first()).for_each(|v| writer.raw(&v.to_le_bytes()));
            continue;
        }
        let code = |v: &f32| (f64::from(*v) / step).round_ties_even() as i32;
        let codes: Vec<Vec<i32>> = columns.iter().map(|column| column.iter().map(code).collect()).collect();
        let predictor = residuals::best_predictor(&codes);
        writer.raw(&[predictor]);
        firsts.extend(codes.iter().map(|column| column[0]));
        moving.extend(codes.iter().map(|column| residuals::of(column, predictor)));
    }
    write_ints(writer, &firsts);
    residuals::write(writer, &moving);
}

fn interpolation_name(interpolation: Interpolation) -> &'static str {
    match interpolation {
        Interpolation::Step => "step",
        Interpolation::Linear => "linear",
        Interpolation::Slerp => "slerp",
    }
}

#[derive(serde::Deserialize)]
struct Header {
    name: String,
    ticks_per_second: u32,
    keys: Vec<u32>,
    tracks: Vec<TrackHeader>,
}

#[derive(serde::Deserialize)]
struct TrackHeader {
    target: String,
    width: u32,
    times: usize,
    interpolation: String,
}

pub(crate) fn read_clip(container: &Container<'_>, entry: &Entry, limits: &Limits) -> Result<Clip> {
    expect_elements(entry, 1)?;
    if !matches!(entry.codec, 0 | 2) {
        return Err(bad("CODEC", entry.offset, format!("aNIm: codec {}", entry.codec)));
    }
    let clips = container.decode(entry, |reader, _| {
        let header = read_bytes(reader, limits.header_bytes)?;
        let header: Header = from_json(parse_json(&header, limits, entry)?, entry)?;
        check_name(&header.name, entry)?;
        // before anything is allocated: a few bytes can stand for many equal keys
        let mut bytes = header.keys.iter().map(|keys| u64::from(*keys) * 4).sum::<u64>();
        for track in &header.tracks {
            let Some(keys) = header.keys.get(track.times) else {
                let message =
                    format!("aNIm: track `{}` has times {} of {}", track.target, track.times, header.keys.len());
                return Err(bad("CLIP", entry.offset, message));
            };
            bytes = bytes.saturating_add(u64::from(*keys).saturating_mul(u64::from(track.width).saturating_mul(8) + 4));
        }
        limits.check_bytes(bytes)?;
        let times = header.keys.iter().map(|keys| read_ticks(reader, *keys)).collect::<Result<Vec<_>>>()?;
        let mut tracks = Vec::with_capacity(header.tracks.len());
        for track in header.tracks {
            check_name(&track.target, entry)?;
            let interpolation = match track.interpolation.as_str() {
                "step" => Interpolation::Step,
                "linear" => Interpolation::Linear,
                "slerp" => Interpolation::Slerp,
                other => return Err(bad("CLIP", entry.offset, format!("aNIm: interpolation `{other}`"))),
            };
            let ticks = times[track.times].clone();
            let values = vec![0.0; ticks.len() * track.width as usize];
            tracks.push(Track { target: track.target, width: track.width, interpolation, ticks, values });
        }
        match entry.codec {
            0 => {
                for track in &mut tracks {
                    let columns = read_floats(reader, track.width as usize, track.ticks.len())?;
                    columns.iter().enumerate().for_each(|(c, column)| set_column(track, c, column.iter().copied()));
                }
            }
            _ => read_codes(reader, &mut tracks)?,
        }
        Ok(Clip { name: header.name, ticks_per_second: header.ticks_per_second, tracks })
    })?;
    Ok(clips.into_iter().next().unwrap_or_default())
}

fn read_ticks(reader: &mut BlockReader<'_>, keys: u32) -> Result<Vec<u32>> {
    Ok(read_ints(reader, keys as usize)?.into_iter().map(|t| t as u32).collect())
}

fn set_column(track: &mut Track, column: usize, values: impl Iterator<Item = f32>) {
    let width = track.width as usize;
    track.values.iter_mut().skip(column).step_by(width.max(1)).zip(values).for_each(|(out, v)| *out = v);
}

fn read_codes(reader: &mut BlockReader<'_>, tracks: &mut [Track]) -> Result<()> {
    let mut moving: Vec<(usize, f64, u8)> = Vec::new();
    for (index, track) in tracks.iter_mut().enumerate() {
        let at = reader.offset();
        let step = f64::from_le_bytes(reader.raw(8)?.try_into().expect("eight bytes"));
        if step == 0.0 {
            let first = reader.raw(4 * track.width as usize * track.ticks.len().min(1))?;
            for (c, value) in first.chunks_exact(4).enumerate() {
                let value = f32::from_le_bytes(value.try_into().expect("four bytes"));
                set_column(track, c, std::iter::repeat(value));
            }
            continue;
        }
        let predictor = reader.raw(1)?[0];
        if predictor > residuals::PREDICTORS || !(step.is_finite() && step > 0.0) || track.ticks.is_empty() {
            let message = format!("aNIm: {} keys in steps of {step}, predictor {predictor}", track.ticks.len());
            return Err(bad("CLIP", at, message));
        }
        moving.push((index, step, predictor));
    }
    let widths = || moving.iter().map(|(index, ..)| tracks[*index].width as usize);
    let firsts = read_ints(reader, widths().sum())?;
    let lengths: Vec<usize> = moving
        .iter()
        .flat_map(|(index, ..)| std::iter::repeat_n(tracks[*index].ticks.len() - 1, tracks[*index].width as usize))
        .collect();
    let mut columns = firsts.into_iter().zip(residuals::read(reader, &lengths)?);
    for (index, step, predictor) in moving {
        for (c, (first, codes)) in columns.by_ref().take(tracks[index].width as usize).enumerate() {
            let codes = residuals::restore(first, &codes, predictor);
            set_column(&mut tracks[index], c, codes.into_iter().map(|code| (f64::from(code) * step) as f32));
        }
    }
    Ok(())
}
