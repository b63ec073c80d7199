//! Linear maps between spaces of drivers, such as from ARKit's blendshapes to FLAME: read from the user's file, applied to clips.
//!
//! | file | content |
//! | --- | --- |
//! | JSON | `{"name", "inputs": [names], "outputs": [names], "matrix": [outputs × inputs, row by row], "offset": [outputs]}`; `offset` may be left out |
//! | CSV | first line: any word, the names of the inputs, and perhaps `offset`; then a line an output: its name, its coefficients |
//! | `.npz` | one array a group of outputs, named after it (`flame.expression`): inputs × width, the inputs being ARKit's 52 blendshapes in the order of [`ARKIT`](super::ARKIT); perhaps `flame.expression.offset` |

use std::collections::BTreeSet;

use serde::Deserialize;

use super::{
    ARKIT, Clip, DriverMap, Track, arkit, bad,
    input::Input,
    table::{Table, grouped},
};
use crate::{Error, Limits, Pose, Result, Source, npy::read_npz};

/// Reads a driver map.
///
/// # Errors
/// `UNKNOWN_FORMAT`; `VALUE` for sizes that do not fit, with both numbers, and for numbers that are not finite.
pub fn read_map(source: &Source, limits: &Limits) -> Result<DriverMap> {
    let input = Input::of(source.clone());
    let mut map = if input.bytes().starts_with(b"PK\x03\x04") {
        from_npz(&input, limits)?
    } else if input.bytes().trim_ascii_start().starts_with(b"{") {
        from_json(&input, limits)?
    } else if input.has_ending("csv") {
        from_csv(&input, limits)?
    } else {
        let message = "a driver map is JSON, CSV (ending in .csv) or .npz";
        return Err(Error::format("map", "UNKNOWN_FORMAT", 0, message));
    };
    if map.name.is_empty() {
        map.name = input.stem();
    }
    for name in &mut map.inputs {
        if let Some(driver) = arkit::driver(name) {
            *name = driver;
        }
    }
    check(&map)?;
    Ok(map)
}

fn check(map: &DriverMap) -> Result<()> {
    let (inputs, outputs) = (map.inputs.len(), map.outputs.len());
    if inputs == 0 || outputs == 0 {
        return Err(bad(format!("driver map `{}` has {inputs} inputs and {outputs} outputs", map.name)));
    }
    if map.matrix.len() != inputs * outputs || map.offset.len() != outputs {
        let message = format!(
            "driver map `{}` has {} coefficients and {} offsets, {outputs} × {inputs} and {outputs} expected",
            map.name,
            map.matrix.len(),
            map.offset.len()
        );
        return Err(bad(message));
    }
    if !map.matrix.iter().chain(&map.offset).all(|v| v.is_finite()) {
        return Err(bad(format!("driver map `{}` is not finite", map.name)));
    }
    for names in [&map.inputs, &map.outputs] {
        let mut seen = BTreeSet::new();
        if let Some(twice) = names.iter().find(|name| !seen.insert(*name)) {
            return Err(bad(format!("driver map `{}` names `{twice:.80}` twice", map.name)));
        }
    }
    Ok(())
}

fn from_json(input: &Input, limits: &Limits) -> Result<DriverMap> {
    #[derive(Deserialize)]
    struct Document {
        #[serde(default)]
        name: String,
        inputs: Vec<String>,
        outputs: Vec<String>,
        matrix: Coefficients,
        #[serde(default)]
        offset: Vec<f32>,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Coefficients {
        Flat(Vec<f32>),
        Rows(Vec<Vec<f32>>),
    }
    limits.check_header(input.bytes().len() as u64)?;
    limits.check_json_depth(input.bytes())?;
    let document: Document =
        serde_json::from_slice(input.bytes()).map_err(|e| Error::format("map", "JSON", 0, e.to_string()))?;
    let matrix = match document.matrix {
        Coefficients::Flat(flat) => flat,
        Coefficients::Rows(rows) => {
            if let Some(row) = rows.iter().position(|row| row.len() != document.inputs.len()) {
                let (found, wanted) = (rows[row].len(), document.inputs.len());
                return Err(bad(format!("row {row} of the matrix has {found} coefficients for {wanted} inputs")));
            }
            rows.concat()
        }
    };
    let offset = if document.offset.is_empty() { vec![0.0; document.outputs.len()] } else { document.offset };
    Ok(DriverMap { name: document.name, inputs: document.inputs, outputs: document.outputs, matrix, offset })
}

fn from_csv(input: &Input, limits: &Limits) -> Result<DriverMap> {
    limits.check_header(input.bytes().len() as u64)?;
    let table = Table::parse(input.bytes(), limits)?;
    let offset = table.names.iter().position(|name| name.eq_ignore_ascii_case("offset")).filter(|k| *k > 0);
    let columns: Vec<usize> = (1..table.names.len()).filter(|k| Some(*k) != offset).collect();
    let mut map =
        DriverMap { inputs: columns.iter().map(|k| table.names[*k].clone()).collect(), ..DriverMap::default() };
    for row in 0..table.rows.len() {
        map.outputs.push(table.rows[row][0].to_owned());
        for column in &columns {
            map.matrix.push(table.number(row, *column)? as f32);
        }
        map.offset.push(offset.map_or(Ok(0.0), |column| table.number(row, column))? as f32);
    }
    Ok(map)
}

fn from_npz(input: &Input, limits: &Limits) -> Result<DriverMap> {
    let npz = read_npz(input.bytes(), limits)?;
    let mut map =
        DriverMap { inputs: ARKIT.iter().map(|name| format!("arkit.{name}")).collect(), ..DriverMap::default() };
    for (group, array) in npz.arrays.iter().filter(|(name, _)| !name.ends_with(".offset")) {
        let [inputs, width] = array.shape[..] else {
            return Err(bad(format!("`{group}` has the shape {:?}, 52 × outputs expected", array.shape)));
        };
        if inputs != ARKIT.len() {
            return Err(bad(format!("`{group}` has {inputs} rows, one for each of 52 blendshapes expected")));
        }
        let offset = npz.get(&format!("{group}.offset")).map(crate::npy::NpyArray::to_f32);
        if let Some(offset) = offset.as_ref().filter(|offset| offset.len() != width) {
            return Err(bad(format!("`{group}.offset` has {} numbers for {width} outputs", offset.len())));
        }
        let values = array.to_f32();
        for output in 0..width {
            map.outputs.push(if width == 1 { group.clone() } else { format!("{group}.{output}") });
            map.matrix.extend((0..inputs).map(|k| values[k * width + output]));
            map.offset.push(offset.as_ref().map_or(0.0, |offset| offset[output]));
        }
    }
    Ok(map)
}

/// The clip with the inputs of `map` replaced by its outputs, at every time at which an input has a key. Inputs that the clip lacks are 0;
/// tracks that are no inputs stay, unless an output replaces them.
///
/// # Errors
/// [`Error::Usage`] when the clip has none of the inputs.
pub fn apply_map(clip: &Clip, map: &DriverMap) -> Result<Clip> {
    check(map)?;
    let inputs: BTreeSet<&str> = map.inputs.iter().map(String::as_str).collect();
    // an input may be a component of a group
    let uses = |track: &Track| {
        let prefix = format!("{}.", track.target);
        inputs.contains(track.target.as_str()) || inputs.iter().any(|input| input.starts_with(&prefix))
    };
    let (used, kept): (Vec<&Track>, Vec<&Track>) = clip.tracks.iter().partition(|track| uses(track));
    if used.is_empty() {
        let message = format!(
            "clip `{}` moves none of the {} inputs of the map `{}` (`{}` …)",
            clip.name,
            map.inputs.len(),
            map.name,
            map.inputs[0]
        );
        return Err(Error::usage(message));
    }
    let mut ticks: Vec<u32> = used.iter().flat_map(|track| &track.ticks).copied().collect();
    ticks.sort_unstable();
    ticks.dedup();
    let mut columns = vec![Vec::with_capacity(ticks.len()); map.outputs.len()];
    for tick in &ticks {
        let mut pose = Pose::default();
        for track in used.iter().filter(|track| !track.ticks.is_empty()) {
            pose.set(track.target.clone(), track.sample(f64::from(*tick)));
        }
        let values: Vec<f64> = map.inputs.iter().map(|name| f64::from(pose.number(name).unwrap_or(0.0))).collect();
        for (output, row) in map.matrix.chunks_exact(map.inputs.len()).enumerate() {
            let sum: f64 = row.iter().zip(&values).map(|(c, v)| f64::from(*c) * v).sum();
            columns[output].push((sum + f64::from(map.offset[output])) as f32);
        }
    }
    let names: Vec<&str> = map.outputs.iter().map(String::as_str).collect();
    let mut tracks: Vec<Track> = Vec::new();
    for (target, members) in grouped(&names) {
        tracks.push(Track {
            interpolation: super::array::interpolation(&target, members.len()),
            target,
            width: members.len() as u32,
            ticks: ticks.clone(),
            values: (0..ticks.len())
                .flat_map(|key| members.iter().map(move |m| (key, *m)))
                .map(|(key, m)| columns[m][key])
                .collect(),
        });
    }
    let replaced: BTreeSet<String> = tracks.iter().map(|track| track.target.clone()).collect();
    tracks.extend(kept.into_iter().filter(|track| !replaced.contains(&track.target)).cloned());
    Ok(Clip { name: clip.name.clone(), ticks_per_second: clip.ticks_per_second, tracks })
}
