//! Chunks of the rig: skeleton, skin, morphs, triangle binding, blendshapes, network, frame tracks (`spec/gav.md` 6.4 to 6.9).

use serde_json::json;

use super::{
    chunk::{SPLAT_BLOCK, blocked, bytes_chunk, check_name, expect_elements, json_chunk, parse_json},
    container::{Chunk, Container, Entry, bad, u32_at},
    floats::{read_floats, write_floats},
    ints::{read_ints, write_ints},
    quantizer::Step,
    stream::{BlockReader, BlockWriter},
    tensors,
};
use crate::{
    Activation, BlendWeights, Blendshapes, DType, FrameTracks, Limits, Mlp, MlpLayer, MorphTarget, Morphs, Result,
    Skeleton, Skin, TriangleBinding, TriangleFrame, rig::rig_limits,
};

/// How finely the rig is stored; `None` means without loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct RigPrecision {
    pub weight_bits: Option<u8>,
    pub barycentric_step: Option<Step>,
    pub position: Option<Step>,
    /// Of morph deltas: motion hides more than a still does.
    pub morph: Option<Step>,
    pub rotation: Option<Step>,
    pub sh0: Option<Step>,
    pub opacity: Option<Step>,
}

/// Morph targets of one block share their streams, which is 4 % smaller than one by one.
const TARGET_BLOCK: u32 = 64;
/// Frames of one block: a key frame and its differences.
const FRAME_BLOCK: u32 = 16;

// ---- columns that are either quantised or not

/// Writes rows of `W` components as float columns, or as integer columns of the given step.
pub(crate) fn write_rows<const W: usize>(writer: &mut BlockWriter, rows: &[[f32; W]], step: Option<Step>) {
    match step {
        None => {
            let columns: Vec<Vec<f32>> = (0..W).map(|c| rows.iter().map(|row| row[c]).collect()).collect();
            write_floats(writer, &columns);
        }
        Some(step) => {
            for c in 0..W {
                write_ints(writer, &rows.iter().map(|row| step.quantize(row[c])).collect::<Vec<_>>());
            }
        }
    }
}

pub(crate) fn read_rows<const W: usize>(
    reader: &mut BlockReader<'_>,
    count: usize,
    step: Option<Step>,
) -> Result<Vec<[f32; W]>> {
    let mut rows = vec![[0.0; W]; count];
    match step {
        None => {
            for (c, column) in read_floats(reader, W, count)?.into_iter().enumerate() {
                rows.iter_mut().zip(column).for_each(|(row, value)| row[c] = value);
            }
        }
        Some(step) => {
            for c in 0..W {
                let column = read_ints(reader, count)?;
                rows.iter_mut().zip(column).for_each(|(row, q)| row[c] = step.value(q));
            }
        }
    }
    Ok(rows)
}

/// A step in parameters: its f64, 0 for lossless.
pub(crate) fn step_bytes(step: Option<Step>) -> [u8; 8] {
    step.map_or(0.0, |s| s.0).to_le_bytes()
}

pub(crate) fn step_at(parameters: &[u8], at: usize, entry: &Entry) -> Result<Option<Step>> {
    let bytes = parameters.get(at..at + 8).ok_or_else(|| short_parameters(entry))?;
    let step = f64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    if step == 0.0 {
        return Ok(None);
    }
    Step::new(step).map(Some).ok_or_else(|| bad("STEP", entry.offset, format!("{}: step {step}", entry.name())))
}

fn short_parameters(entry: &Entry) -> crate::Error {
    bad("PARAMETERS", entry.offset, format!("{}: {} bytes of parameters", entry.name(), entry.parameter_bytes))
}

fn expect_parameters<'a>(container: &Container<'a>, entry: &Entry, count: usize) -> Result<&'a [u8]> {
    let parameters = container.parameters(entry)?;
    if parameters.len() == count { Ok(parameters) } else { Err(short_parameters(entry)) }
}

// ---- SKEL

pub(crate) fn skeleton_chunk(skeleton: &Skeleton, level: i32) -> Chunk {
    json_chunk(b"SKEL", &serde_json::to_value(skeleton).expect("plain data"), level)
}

pub(crate) fn read_skeleton(container: &Container<'_>, entry: &Entry, limits: &Limits) -> Result<Skeleton> {
    let skeleton: Skeleton = serde_json::from_value(container.json_of(entry, limits)?)
        .map_err(|e| bad("JSON", entry.offset, format!("SKEL: {e}")))?;
    for joint in &skeleton.joints {
        check_name(&joint.name, entry)?;
        check_name(&joint.humanoid, entry)?;
    }
    Ok(skeleton)
}

// ---- SKIN

pub(crate) fn skin_chunk(skin: &Skin, count: usize, precision: &RigPrecision, level: i32) -> Chunk {
    let parameters = vec![u8::from(skin.full_covariance), precision.weight_bits.unwrap_or(0)];
    let codec = u16::from(precision.weight_bits.is_some());
    blocked(b"SKIN", codec, parameters, count, SPLAT_BLOCK, level, |writer, range| {
        let rows: Vec<Vec<(u16, Weight)>> = range
            .map(|i| {
                let row = skin.row(i);
                match precision.weight_bits {
                    None => row.map(|(joint, weight)| (joint, Weight::Float(weight))).collect(),
                    Some(bits) => quantize_row(row.collect(), bits),
                }
            })
            .collect();
        writer.stream(&rows.iter().map(|r| r.len() as u8).collect::<Vec<_>>());
        for slot in 0..rig_limits::INFLUENCES {
            let used: Vec<&(u16, Weight)> = rows.iter().filter_map(|r| r.get(slot)).collect();
            write_ints(writer, &used.iter().map(|(joint, _)| i32::from(*joint)).collect::<Vec<_>>());
            let floats: Vec<f32> = used.iter().filter_map(|(_, w)| w.float()).collect();
            match precision.weight_bits {
                None => write_floats(writer, &[floats]),
                Some(_) if slot > 0 => {
                    write_ints(writer, &used.iter().map(|(_, w)| w.code()).collect::<Vec<_>>());
                }
                Some(_) => {}
            }
        }
    })
}

#[derive(Clone, Copy)]
enum Weight {
    Float(f32),
    Code(i32),
}

impl Weight {
    fn float(self) -> Option<f32> {
        if let Self::Float(w) = self { Some(w) } else { None }
    }

    fn code(self) -> i32 {
        if let Self::Code(c) = self { c } else { 0 }
    }
}

/// Quantises to `bits`; the heaviest weight takes what the others leave, and influences that vanish are dropped.
fn quantize_row(mut row: Vec<(u16, f32)>, bits: u8) -> Vec<(u16, Weight)> {
    let scale = f64::from((1u32 << bits) - 1);
    row.sort_by(|a, b| b.1.total_cmp(&a.1));
    let mut out = vec![(row[0].0, Weight::Code(0))];
    let mut left = scale as i32;
    for &(joint, weight) in &row[1..] {
        let code = (f64::from(weight) * scale).round_ties_even() as i32;
        if code > 0 {
            out.push((joint, Weight::Code(code)));
            left -= code;
        }
    }
    // rounding can leave the heaviest a code below the second (two halves of 255 are 127 and 128): then they change places
    if out.get(1).is_some_and(|(_, second)| second.code() > left) {
        (out[0].0, out[1]) = (out[1].0, (out[0].0, Weight::Code(left)));
    }
    out
}

pub(crate) fn read_skin(container: &Container<'_>, entry: &Entry, count: usize) -> Result<Skin> {
    expect_elements(entry, count)?;
    let parameters = expect_parameters(container, entry, 2)?;
    let bits = parameters[1];
    if parameters[0] > 1 || bits > 16 {
        return Err(bad("PARAMETERS", entry.offset, format!("SKIN: flags {}, {bits} weight bits", parameters[0])));
    }
    let scale = f64::from((1u32 << bits) - 1);
    let blocks = container.decode(entry, |reader, block| {
        let at = reader.offset();
        let counts = reader.stream(block.elements)?;
        if let Some(splat) = counts.iter().position(|&c| c == 0 || usize::from(c) > rig_limits::INFLUENCES) {
            return Err(bad("SKIN", at, format!("splat {splat} of the block has {} influences", counts[splat])));
        }
        let mut rows: Vec<Vec<(u16, f32)>> = counts.iter().map(|&c| Vec::with_capacity(c.into())).collect();
        for slot in 0..rig_limits::INFLUENCES {
            let used = counts.iter().filter(|&&c| usize::from(c) > slot).count();
            let joints = read_ints(reader, used)?;
            let weights: Vec<f32> = if bits == 0 {
                read_floats(reader, 1, used)?.swap_remove(0)
            } else if slot > 0 {
                read_ints(reader, used)?.into_iter().map(|c| (f64::from(c) / scale) as f32).collect()
            } else {
                vec![0.0; used]
            };
            let mut next = joints.into_iter().zip(weights);
            for (row, &c) in rows.iter_mut().zip(&counts) {
                if usize::from(c) > slot {
                    let (joint, weight) = next.next().expect("counted above");
                    let joint = u16::try_from(joint).map_err(|_| bad("SKIN", at, format!("joint {joint}")))?;
                    row.push((joint, weight));
                }
            }
        }
        if bits > 0 {
            for row in &mut rows {
                row[0].1 = (1.0 - row[1..].iter().map(|(_, w)| f64::from(*w)).sum::<f64>()) as f32;
            }
        }
        Ok(rows)
    })?;
    let mut skin = Skin { offsets: vec![0], full_covariance: parameters[0] == 1, ..Skin::default() };
    for row in blocks.into_iter().flatten() {
        for (joint, weight) in row {
            skin.joints.push(joint);
            skin.weights.push(weight);
        }
        skin.offsets.push(skin.joints.len() as u32);
    }
    Ok(skin)
}

// ---- MRPH

pub(crate) fn morphs_chunk(morphs: &Morphs, count: usize, precision: &RigPrecision, level: i32) -> Chunk {
    let names = json!(morphs.targets.iter().map(|t| t.driver.as_str()).collect::<Vec<_>>()).to_string();
    let mut parameters = step_bytes(precision.morph).to_vec();
    parameters.extend_from_slice(names.as_bytes());
    let codec = u16::from(precision.morph.is_some());
    blocked(b"MRPH", codec, parameters, morphs.targets.len(), TARGET_BLOCK, level, |writer, range| {
        let mut bitmap = Vec::new();
        let mut rows = Vec::new();
        for target in &morphs.targets[range] {
            let mut bits = vec![0u8; count.div_ceil(8)];
            for (&splat, &delta) in target.splats.iter().zip(&target.deltas) {
                if precision.morph.is_some_and(|s| delta.iter().all(|&d| s.quantize(d) == 0)) {
                    continue;
                }
                bits[splat as usize / 8] |= 1 << (splat % 8);
                rows.push(delta);
            }
            bitmap.extend_from_slice(&bits);
        }
        writer.stream(&bitmap);
        write_rows(writer, &rows, precision.morph);
    })
}

pub(crate) fn read_morphs(container: &Container<'_>, entry: &Entry, count: usize, limits: &Limits) -> Result<Morphs> {
    let parameters = container.parameters(entry)?;
    let step = step_at(parameters, 0, entry)?;
    limits.check_header(parameters.len() as u64)?;
    let names = read_names(&parameters[8..], entry, limits)?;
    expect_elements(entry, names.len())?;
    limits.check_bytes(names.len() as u64 * count as u64 / 8)?;
    let blocks = container.decode(entry, |reader, block| {
        let bitmap = reader.stream(block.elements * count.div_ceil(8))?;
        let mut targets: Vec<Vec<u32>> = Vec::with_capacity(block.elements);
        for bits in bitmap.chunks_exact(count.div_ceil(8).max(1)) {
            targets.push(set_bits(bits, count));
        }
        targets.resize(block.elements, Vec::new());
        let total = targets.iter().map(Vec::len).sum();
        let mut rows = read_rows::<3>(reader, total, step)?.into_iter();
        Ok(targets.into_iter().map(|t| (rows.by_ref().take(t.len()).collect(), t)).collect::<Vec<(Vec<_>, _)>>())
    })?;
    let targets = names.into_iter().zip(blocks.into_iter().flatten());
    Ok(Morphs { targets: targets.map(|(driver, (deltas, splats))| MorphTarget { driver, splats, deltas }).collect() })
}

fn set_bits(bits: &[u8], count: usize) -> Vec<u32> {
    (0..count).filter(|i| bits[i / 8] >> (i % 8) & 1 == 1).map(|i| i as u32).collect()
}

fn read_names(bytes: &[u8], entry: &Entry, limits: &Limits) -> Result<Vec<String>> {
    let names: Vec<String> = serde_json::from_value(parse_json(bytes, limits, entry)?)
        .map_err(|e| bad("JSON", entry.offset, format!("{}: {e}", entry.name())))?;
    names.iter().try_for_each(|name| check_name(name, entry))?;
    Ok(names)
}

// ---- TRIB

pub(crate) fn binding_chunk(binding: &TriangleBinding, precision: &RigPrecision, level: i32) -> Chunk {
    let mut parameters = step_bytes(precision.barycentric_step).to_vec();
    parameters.push(binding.frame as u8);
    let codec = u16::from(precision.barycentric_step.is_some());
    blocked(b"TRIB", codec, parameters, binding.triangles.len(), SPLAT_BLOCK, level, |writer, range| {
        write_ints(writer, &binding.triangles[range.clone()].iter().map(|&t| t as i32).collect::<Vec<_>>());
        if let Some(coordinates) = &binding.barycentrics {
            let rows = &coordinates[range];
            match precision.barycentric_step {
                None => write_rows(writer, rows, None),
                // the third coordinate is what the first two leave
                step => write_rows(writer, &rows.iter().map(|b| [b[0], b[1]]).collect::<Vec<_>>(), step),
            }
        }
    })
}

pub(crate) fn read_binding(container: &Container<'_>, entry: &Entry, count: usize) -> Result<TriangleBinding> {
    expect_elements(entry, count)?;
    let parameters = expect_parameters(container, entry, 9)?;
    let step = step_at(parameters, 0, entry)?;
    let frame = match parameters[8] {
        2 => TriangleFrame::GaussianAvatars,
        3 => TriangleFrame::Stga,
        4 => TriangleFrame::RgbAvatar,
        other => return Err(bad("PARAMETERS", entry.offset, format!("TRIB: triangle frame {other}"))),
    };
    let blocks = container.decode(entry, |reader, block| {
        let triangles = read_ints(reader, block.elements)?;
        let coordinates = match (frame, step) {
            (TriangleFrame::RgbAvatar, None) => read_rows::<3>(reader, block.elements, None)?,
            (TriangleFrame::RgbAvatar, step) => {
                let rows = read_rows::<2>(reader, block.elements, step)?;
                rows.into_iter().map(|[a, b]| [a, b, (1.0 - f64::from(a) - f64::from(b)) as f32]).collect()
            }
            _ => Vec::new(),
        };
        Ok((triangles, coordinates))
    })?;
    let mut binding = TriangleBinding { frame, triangles: Vec::with_capacity(count), barycentrics: None };
    let mut barycentrics = Vec::new();
    for (triangles, coordinates) in blocks {
        binding.triangles.extend(triangles.into_iter().map(|t| t as u32));
        barycentrics.extend(coordinates);
    }
    binding.barycentrics = (frame == TriangleFrame::RgbAvatar).then_some(barycentrics);
    Ok(binding)
}

// ---- GBLS and MLPW

pub(crate) fn blendshapes_chunk(blend: &Blendshapes, count: usize, precision: &RigPrecision, level: i32) -> Chunk {
    let mut parameters = Vec::new();
    for step in [precision.position, precision.rotation, precision.sh0] {
        parameters.extend_from_slice(&step_bytes(step));
    }
    let present = [!blend.means.is_empty(), !blend.rotations.is_empty(), !blend.sh0.is_empty()];
    parameters.push(present.iter().enumerate().fold(0, |bits, (k, &p)| bits | u8::from(p) << k));
    let names = match &blend.weights {
        BlendWeights::Drivers(names) => json!(names),
        BlendWeights::Mlp(_) => json!(null),
    };
    parameters.extend_from_slice(names.to_string().as_bytes());
    let codec = u16::from(precision.position.is_some());
    blocked(b"GBLS", codec, parameters, blend.bases as usize, 1, level, |writer, range| {
        let rows = range.start * count..range.end * count;
        if present[0] {
            write_sparse(writer, &blend.means[rows.clone()], precision.position);
        }
        if present[1] {
            write_sparse(writer, &blend.rotations[rows.clone()], precision.rotation);
        }
        if present[2] {
            write_sparse(writer, &blend.sh0[rows], precision.sh0);
        }
    })
}

/// A bitmap of the rows that are not zero, then those rows.
fn write_sparse<const W: usize>(writer: &mut BlockWriter, rows: &[[f32; W]], step: Option<Step>) {
    let zero = |row: &[f32; W]| match step {
        Some(step) => row.iter().all(|&v| step.quantize(v) == 0),
        None => row.iter().all(|v| v.to_bits() == 0),
    };
    let mut bitmap = vec![0u8; rows.len().div_ceil(8)];
    let mut used = Vec::new();
    for (i, row) in rows.iter().enumerate().filter(|(_, row)| !zero(row)) {
        bitmap[i / 8] |= 1 << (i % 8);
        used.push(*row);
    }
    writer.stream(&bitmap);
    write_rows(writer, &used, step);
}

fn read_sparse<const W: usize>(
    reader: &mut BlockReader<'_>,
    count: usize,
    step: Option<Step>,
) -> Result<Vec<[f32; W]>> {
    let used = set_bits(&reader.stream(count.div_ceil(8))?, count);
    let mut rows = vec![[0.0; W]; count];
    for (index, row) in used.iter().zip(read_rows::<W>(reader, used.len(), step)?) {
        rows[*index as usize] = row;
    }
    Ok(rows)
}

pub(crate) fn read_blendshapes(
    container: &Container<'_>,
    entry: &Entry,
    network: Option<&Entry>,
    count: usize,
    limits: &Limits,
) -> Result<Blendshapes> {
    let parameters = container.parameters(entry)?;
    if parameters.len() < 25 || parameters[24] > 7 {
        return Err(short_parameters(entry));
    }
    limits.check_header(parameters.len() as u64)?;
    let steps = [step_at(parameters, 0, entry)?, step_at(parameters, 8, entry)?, step_at(parameters, 16, entry)?];
    let present: [bool; 3] = std::array::from_fn(|k| parameters[24] >> k & 1 == 1);
    limits.check_bytes(u64::from(entry.elements) * count as u64 * 40)?;
    let weights = match (parse_json(&parameters[25..], limits, entry)?, network) {
        (serde_json::Value::Null, Some(network)) => BlendWeights::Mlp(read_mlp(container, network, limits)?),
        (serde_json::Value::Null, None) => {
            return Err(bad("MISSING_CHUNK", entry.offset, "GBLS asks for an MLPW chunk that is not there"));
        }
        _ => BlendWeights::Drivers(read_names(&parameters[25..], entry, limits)?),
    };
    let blocks = container.decode(entry, |reader, _| {
        let means = if present[0] { read_sparse::<3>(reader, count, steps[0])? } else { Vec::new() };
        let rotations = if present[1] { read_sparse::<4>(reader, count, steps[1])? } else { Vec::new() };
        let sh0 = if present[2] { read_sparse::<3>(reader, count, steps[2])? } else { Vec::new() };
        Ok((means, rotations, sh0))
    })?;
    let mut blend = Blendshapes { bases: entry.elements, weights, ..Blendshapes::default() };
    for (means, rotations, sh0) in blocks {
        blend.means.extend(means);
        blend.rotations.extend(rotations);
        blend.sh0.extend(sh0);
    }
    Ok(blend)
}

/// The network as safetensors: tensors `N.weight` (outputs × inputs) and `N.bias`, metadata `inputs` and `activations`.
pub(crate) fn mlp_chunk(mlp: &Mlp, level: i32) -> Chunk {
    let names: Vec<[String; 2]> = (0..mlp.layers.len()).map(|k| [format!("{k}.weight"), format!("{k}.bias")]).collect();
    let mut tensors: Vec<(&str, DType, Vec<usize>, &[u8])> = Vec::new();
    for (layer, [weight, bias]) in mlp.layers.iter().zip(&names) {
        let (outputs, inputs) = (layer.bias.len(), layer.inputs());
        tensors.push((weight, DType::F32, vec![outputs, inputs], bytemuck::cast_slice(&layer.weight)));
        tensors.push((bias, DType::F32, vec![outputs], bytemuck::cast_slice(&layer.bias)));
    }
    let activations: Vec<&str> = mlp.layers.iter().map(|l| activation_name(l.activation)).collect();
    let metadata = [("inputs", json!(mlp.inputs).to_string()), ("activations", json!(activations).to_string())];
    bytes_chunk(b"MLPW", Vec::new(), &tensors::serialize(tensors, &metadata), level)
}

fn activation_name(activation: Activation) -> &'static str {
    match activation {
        Activation::None => "none",
        Activation::Relu => "relu",
        Activation::Sigmoid => "sigmoid",
        Activation::Tanh => "tanh",
    }
}

fn read_mlp(container: &Container<'_>, entry: &Entry, limits: &Limits) -> Result<Mlp> {
    let bytes = container.bytes_of(entry, limits.decoded_bytes)?;
    let wrong = |message: String| bad("MLP", entry.offset, message);
    let (metadata, tensors) = tensors::parse(&bytes).map_err(|e| wrong(e.to_string()))?;
    let list = |key: &str| -> Result<Vec<String>> {
        let text = metadata.get(key).ok_or_else(|| wrong(format!("MLPW without `{key}`")))?;
        read_names(text.as_bytes(), entry, limits)
    };
    let (inputs, activations) = (list("inputs")?, list("activations")?);
    if activations.len() > rig_limits::MLP_LAYERS {
        return Err(wrong(format!("{} layers, at most {}", activations.len(), rig_limits::MLP_LAYERS)));
    }
    let mut layers = Vec::new();
    for (index, name) in activations.iter().enumerate() {
        let activation = match name.as_str() {
            "none" => Activation::None,
            "relu" => Activation::Relu,
            "sigmoid" => Activation::Sigmoid,
            "tanh" => Activation::Tanh,
            other => return Err(wrong(format!("activation `{other}`"))),
        };
        let floats = |suffix: &str| {
            let tensor = tensors.iter().find(|t| t.name == format!("{index}.{suffix}"));
            tensor
                .filter(|t| t.dtype == DType::F32)
                .map(|t| t.data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("four"))).collect())
                .ok_or_else(|| wrong(format!("MLPW without float tensor `{index}.{suffix}`")))
        };
        layers.push(MlpLayer { weight: floats("weight")?, bias: floats("bias")?, activation });
    }
    Ok(Mlp { inputs, layers })
}

// ---- FRMS

pub(crate) fn frames_chunk(frames: &FrameTracks, count: usize, precision: &RigPrecision, level: i32) -> Chunk {
    let steps = [precision.position, precision.rotation, precision.sh0, precision.opacity];
    let present =
        [frames.means.is_some(), frames.rotations.is_some(), frames.sh0.is_some(), frames.opacity_logits.is_some()];
    let mut parameters = frames.ticks_per_second.to_le_bytes().to_vec();
    parameters.push(present.iter().enumerate().fold(0, |bits, (k, &p)| bits | u8::from(p) << k));
    steps.iter().for_each(|step| parameters.extend_from_slice(&step_bytes(*step)));
    let codec = u16::from(precision.position.is_some());
    blocked(b"FRMS", codec, parameters, frames.ticks.len(), FRAME_BLOCK, level, |writer, range| {
        write_ints(writer, &frames.ticks[range.clone()].iter().map(|&t| t as i32).collect::<Vec<_>>());
        let rows = range.start * count..range.end * count;
        if let Some(values) = &frames.means {
            write_group(writer, &values[rows.clone()], count, steps[0]);
        }
        if let Some(values) = &frames.rotations {
            write_group(writer, &values[rows.clone()], count, steps[1]);
        }
        if let Some(values) = &frames.sh0 {
            write_group(writer, &values[rows.clone()], count, steps[2]);
        }
        if let Some(values) = &frames.opacity_logits {
            write_group(writer, &values[rows].iter().map(|&v| [v]).collect::<Vec<_>>(), count, steps[3]);
        }
    })
}

/// A key frame, then the differences of each frame from the one before; without loss, every frame stands alone.
fn write_group<const W: usize>(writer: &mut BlockWriter, rows: &[[f32; W]], count: usize, step: Option<Step>) {
    let Some(step) = step else {
        rows.chunks(count.max(1)).for_each(|frame| write_rows(writer, frame, None));
        return;
    };
    for c in 0..W {
        let codes: Vec<i32> = rows.iter().map(|row| step.quantize(row[c])).collect();
        write_ints(writer, &codes[..count.min(codes.len())]);
        let differences: Vec<i32> = (count..codes.len()).map(|i| codes[i].wrapping_sub(codes[i - count])).collect();
        write_ints(writer, &differences);
    }
}

fn read_group<const W: usize>(
    reader: &mut BlockReader<'_>,
    frames: usize,
    count: usize,
    step: Option<Step>,
) -> Result<Vec<[f32; W]>> {
    let Some(step) = step else {
        let mut rows = Vec::with_capacity(frames * count);
        for _ in 0..if count == 0 { 0 } else { frames } {
            rows.extend(read_rows::<W>(reader, count, None)?);
        }
        return Ok(rows);
    };
    let mut rows = vec![[0.0; W]; frames * count];
    for c in 0..W {
        let mut codes = read_ints(reader, count)?;
        codes.extend(read_ints(reader, (frames - 1) * count)?);
        for i in count..codes.len() {
            codes[i] = codes[i].wrapping_add(codes[i - count]);
        }
        rows.iter_mut().zip(codes).for_each(|(row, q)| row[c] = step.value(q));
    }
    Ok(rows)
}

pub(crate) fn read_frames(
    container: &Container<'_>,
    entry: &Entry,
    count: usize,
    limits: &Limits,
) -> Result<FrameTracks> {
    let parameters = expect_parameters(container, entry, 37)?;
    if parameters[4] > 15 || entry.elements as usize > rig_limits::FRAMES || entry.block_elements > 4096 {
        return Err(bad(
            "PARAMETERS",
            entry.offset,
            format!("FRMS: flags {}, {} frames", parameters[4], entry.elements),
        ));
    }
    let present: [bool; 4] = std::array::from_fn(|k| parameters[4] >> k & 1 == 1);
    let mut steps = [None; 4];
    for (k, step) in steps.iter_mut().enumerate() {
        *step = step_at(parameters, 5 + 8 * k, entry)?;
    }
    limits.check_bytes(u64::from(entry.elements).saturating_mul(count as u64).saturating_mul(44))?;
    let blocks = container.decode(entry, |reader, block| {
        let ticks = read_ints(reader, block.elements)?;
        let n = block.elements;
        let means = if present[0] { read_group::<3>(reader, n, count, steps[0])? } else { Vec::new() };
        let rotations = if present[1] { read_group::<4>(reader, n, count, steps[1])? } else { Vec::new() };
        let sh0 = if present[2] { read_group::<3>(reader, n, count, steps[2])? } else { Vec::new() };
        let opacity = if present[3] { read_group::<1>(reader, n, count, steps[3])? } else { Vec::new() };
        Ok((ticks, means, rotations, sh0, opacity))
    })?;
    let mut tracks = FrameTracks { ticks_per_second: u32_at(parameters, 0), ..FrameTracks::default() };
    let (mut means, mut rotations, mut sh0, mut opacity) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for block in blocks {
        tracks.ticks.extend(block.0.into_iter().map(|t| t as u32));
        means.extend(block.1);
        rotations.extend(block.2);
        sh0.extend(block.3);
        opacity.extend(block.4.into_iter().map(|[v]| v));
    }
    tracks.means = present[0].then_some(means);
    tracks.rotations = present[1].then_some(rotations);
    tracks.sh0 = present[2].then_some(sh0);
    tracks.opacity_logits = present[3].then_some(opacity);
    Ok(tracks)
}
