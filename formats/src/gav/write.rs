//! An avatar to bytes.

use rayon::prelude::*;

use super::{
    EncodeOptions, Profile,
    attributes::{Codes, lossless_chunks, position_key, quantized_chunks},
    canonical::canonicalize,
    clip_chunk,
    container::{Chunk, ContainerWriter, FLAG_LOSSLESS, FLAG_PROGRESSIVE, feature},
    harmonics::Basis,
    meta_chunks, motion,
    quantization::{Quality, Quantization, importance},
    quantizer::Step,
    read::Reader,
    rig_chunks::{self, RigPrecision},
    set::{Order, SplatSet},
    symbols::Entropy,
};
use crate::{Avatar, BlendWeights, Clip, Error, ReadOptions, Result, RigBase, Splats, sink::WriteSeek};

/// Share of the splats in the first of two layers: with its headers it stays below a quarter of the file.
const FIRST_LAYER_SHARE: f64 = 0.18;
/// Splats from which lossy files get two layers; a smaller file has arrived before a coarse picture would help.
const LAYERS_PAY: usize = 65_536;

/// What a profile and its knobs come down to.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Settings {
    quality: Option<Quality>,
    level: i32,
    entropy: Entropy,
    weight_bits: u8,
    prune: bool,
    /// Coarseness of clips; lossless without one.
    motion: Option<f64>,
}

impl Settings {
    fn of(options: &EncodeOptions, splats: &Splats) -> Result<Self> {
        let has_sh = splats.sh_degree > 0;
        // coarseness without and with SH (whose own error dominates there), SH step, largest class
        let (plain, with_sh, sh_step, max_class) = match options.profile {
            Profile::Lossless => (0.0, 0.0, 0.0, 0),
            Profile::High => (0.5, 0.75, 0.045, 6),
            Profile::Standard | Profile::Fast => (0.8, 1.2, 0.066, 7),
            Profile::Small => (1.5, 1.8, 0.11, 7),
        };
        let level = options.level.unwrap_or(match options.profile {
            Profile::Lossless => 19,
            Profile::Fast => 1,
            _ => 3,
        });
        if !(1..=22).contains(&level) {
            return Err(Error::usage(format!("zstd level {level} is not 1 to 22")));
        }
        if options.layers.is_some_and(|l| l == 0 || l > 2) {
            return Err(Error::usage("layers must be 1 or 2"));
        }
        for (name, value) in [("position step", options.position_step), ("sh rms", options.sh_rms)] {
            if value.is_some_and(|v| !(v.is_finite() && v > 0.0)) {
                return Err(Error::usage(format!("{name} {} is not positive", value.unwrap_or_default())));
            }
        }
        let quality = (options.profile != Profile::Lossless).then_some(Quality {
            coarseness: if has_sh { with_sh } else { plain },
            sh_step,
            max_class,
            position_step: options.position_step,
        });
        Ok(Self {
            quality,
            level,
            entropy: if options.profile == Profile::Fast { Entropy::Planes(level) } else { Entropy::Smallest(level) },
            weight_bits: if options.profile == Profile::High { 16 } else { 8 },
            motion: match options.profile {
                Profile::Lossless => None,
                Profile::High => Some(0.25),
                Profile::Standard | Profile::Fast => Some(1.0),
                Profile::Small => Some(2.0),
            },
            prune: options.profile == Profile::Small && !options.keep_invisible,
        })
    }
}

/// Writes `avatar` as a `.gav` file. The same avatar and options give the same bytes on any machine and thread count.
///
/// # Errors
/// [`Error::Usage`] when the avatar is inconsistent or an option out of range, [`Error::Io`] from the sink.
pub fn write(avatar: &Avatar, sink: &mut dyn WriteSeek, options: &EncodeOptions) -> Result<()> {
    avatar.validate()?;
    if u32::try_from(avatar.splats.len()).is_err() {
        return Err(Error::usage("more than 4 billion splats"));
    }
    let settings = Settings::of(options, &avatar.splats)?;
    match settings.quality {
        None => write_lossless(avatar, sink, &settings),
        Some(quality) => write_lossy(avatar, sink, options, &settings, quality),
    }
}

fn write_lossless(avatar: &Avatar, sink: &mut dyn WriteSeek, settings: &Settings) -> Result<()> {
    let count = avatar.splats.len();
    let precision = RigPrecision {
        weight_bits: None,
        barycentric_step: None,
        position: None,
        morph: None,
        rotation: None,
        sh0: None,
        opacity: None,
    };
    let mut writer = ContainerWriter::new(sink)?;
    let set = SplatSet::of(avatar, Order::Source, vec![count as u32]);
    writer.push(&set_chunk(&set))?;
    writer.push(&meta_chunks::meta_chunk(&avatar.meta, settings.level))?;
    for chunk in lossless_chunks(&avatar.splats, 0..count, settings.level) {
        writer.push(&chunk)?;
    }
    write_rest_of_file(avatar, &mut writer, &precision, None, settings, false)?;
    writer.finish(features(avatar, 1), FLAG_LOSSLESS)
}

fn write_lossy(
    source: &Avatar,
    sink: &mut dyn WriteSeek,
    options: &EncodeOptions,
    settings: &Settings,
    mut quality: Quality,
) -> Result<()> {
    let kept: Vec<u32> =
        (0..source.splats.len() as u32).filter(|&i| keeps(source, i as usize, settings.prune)).collect();
    // statistics need canonical scales, the order needs the grid: canonicalise a copy, then sort it
    let mut avatar = source.clone();
    if kept.len() < source.splats.len() {
        avatar.reorder(&kept);
        avatar.meta.dropped_splats += (source.splats.len() - kept.len()) as u64;
    }
    canonicalize(&mut avatar);
    let triangle = matches!(avatar.rig.base, RigBase::Triangle(_));
    if let Some(rms) = options.sh_rms.filter(|_| avatar.splats.sh_degree > 0) {
        quality.sh_step = sh_step_for(&avatar.splats, &quality, rms);
    }
    let mut quantization = Quantization::choose(&avatar.splats, &quality, triangle);
    let layer_count = match options.layers {
        Some(count) => usize::from(count),
        None if avatar.splats.len() >= LAYERS_PAY => 2,
        None => 1,
    };
    let (order, layers) = storage_order(&avatar, &quantization, layer_count);
    let moved = order.iter().enumerate().any(|(k, &i)| k as u32 != i);
    if moved {
        avatar.reorder(&order);
    }
    let set_order = if triangle { Order::Triangle } else { Order::Morton };
    let set = SplatSet::of(&avatar, set_order, layers.clone());
    let precision = RigPrecision {
        weight_bits: Some(settings.weight_bits),
        barycentric_step: Step::new(1.0 / 65_535.0),
        position: Step::new(quantization.position_step),
        // a head's 51 targets take a third less than at the step of stills, with errors below one such step
        morph: Step::new(2.0 * quantization.position_step),
        rotation: Step::new(quantization.rotation_step),
        sh0: Step::new(quantization.color_step / crate::conventions::SH_C0),
        opacity: Step::new(quantization.color_step * 4.0),
    };

    let mut writer = ContainerWriter::new(sink)?;
    writer.push(&set_chunk(&set))?;
    writer.push(&meta_chunks::meta_chunk(&avatar.meta, settings.level))?;
    let codes = Codes::of(&avatar.splats, &mut quantization);
    writer.push(&quantization.to_chunk())?;
    let basis = (avatar.splats.sh_degree > 0).then(|| Basis::fit(&avatar.splats));
    let mut start = 0;
    for (layer, &length) in layers.iter().enumerate() {
        let range = start..start + length as usize;
        start = range.end;
        let mut chunks =
            quantized_chunks(&avatar.splats, &codes, range, &quantization, basis.as_ref(), settings.entropy, !triangle);
        for (priority, chunk) in chunks.iter_mut().enumerate() {
            chunk.layer = layer as u16;
            chunk.priority = (layer * 16 + priority) as u32;
            writer.push(chunk)?;
        }
    }
    if options.keep_order && (moved || kept.len() < source.splats.len()) {
        // indices among the splats that were kept
        writer.push(&meta_chunks::order_chunk(&order, settings.level))?;
    }
    write_rest_of_file(&avatar, &mut writer, &precision, Step::new(1.0 / 64.0), settings, moved)?;
    writer.finish(features(&avatar, layers.len()), if layers.len() > 1 { FLAG_PROGRESSIVE } else { 0 })
}

fn set_chunk(set: &SplatSet) -> Chunk {
    Chunk { kind: *b"SSET", parameters: set.to_bytes(), ..Chunk::default() }
}

/// NaN splats cannot be quantised; invisible ones go when the profile says so and nothing can make them visible.
fn keeps(avatar: &Avatar, index: usize, prune: bool) -> bool {
    let s = &avatar.splats;
    let width = s.sh_rest_count() * 3;
    let numbers = s.means[index].iter().chain(&s.rotations[index]).chain(&s.sh0[index]);
    let finite = numbers.chain(&s.sh_rest[index * width..(index + 1) * width]).all(|v| v.is_finite())
        && !s.opacity_logits[index].is_nan()
        && !s.log_scales[index].iter().any(|v| v.is_nan());
    let changes_opacity = matches!(&avatar.rig.base, RigBase::Frames(f) if f.opacity_logits.is_some());
    finite
        && (!prune || changes_opacity || crate::conventions::opacity_from_logit(s.opacity_logits[index]) >= 1.0 / 255.0)
}

/// Order of storage and splats per layer: most important splats first when there are two layers; within a layer along the
/// Morton curve, or by triangle.
fn storage_order(avatar: &Avatar, quantization: &Quantization, layer_count: usize) -> (Vec<u32>, Vec<u32>) {
    let count = avatar.splats.len();
    let mut layer_of = vec![0u8; count];
    let mut layers = vec![count as u32];
    let first = (count as f64 * FIRST_LAYER_SHARE).floor() as usize;
    if layer_count == 2 && first > 0 {
        let mut ranked: Vec<(f32, u32)> = (0..count).map(|i| (importance(avatar, i), i as u32)).collect();
        ranked.select_nth_unstable_by(first, |a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        ranked[first..].iter().for_each(|&(_, i)| layer_of[i as usize] = 1);
        layers = vec![first as u32, (count - first) as u32];
    }
    let key = |i: usize| match &avatar.rig.base {
        RigBase::Triangle(binding) => u64::from(binding.triangles[i]),
        _ => position_key(avatar.splats.means[i], quantization),
    };
    let mut order: Vec<(u8, u64, u32)> = (0..count).into_par_iter().map(|i| (layer_of[i], key(i), i as u32)).collect();
    order.par_sort_unstable();
    (order.into_iter().map(|(_, _, i)| i).collect(), layers)
}

/// The SH step whose rms error is just below `rms`, by bisection on at most 8,192 splats.
fn sh_step_for(splats: &Splats, quality: &Quality, rms: f64) -> f64 {
    let stride = splats.len().div_ceil(8192).max(1);
    let sample = splats.gather(&(0..splats.len() as u32).step_by(stride).collect::<Vec<_>>());
    let basis = Basis::fit(splats);
    let width = sample.sh_rest_count() * 3;
    let error = |step: f64| -> f64 {
        let quality = Quality { sh_step: step, ..*quality };
        let mut q = Quantization::choose(&sample, &quality, true);
        let codes = Codes::of(&sample, &mut q);
        let (mut row, mut back, mut sum) = (vec![0; width], vec![0.0; width], 0.0);
        for (i, rest) in sample.sh_rest.chunks_exact(width).enumerate() {
            let own = step * codes.sh_scale(i);
            basis.quantize(rest, own, &mut row);
            basis.reconstruct(&row, own, &mut back);
            sum += rest.iter().zip(&back).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
        }
        (sum / sample.sh_rest.len().max(1) as f64).sqrt()
    };
    let (mut fine, mut coarse) = (rms * 0.1, rms * 20.0);
    for _ in 0..12 {
        let middle = (fine * coarse).sqrt();
        if error(middle) <= rms { fine = middle } else { coarse = middle }
    }
    fine
}

fn write_rest_of_file(
    avatar: &Avatar,
    writer: &mut ContainerWriter<'_>,
    precision: &RigPrecision,
    scale_step: Option<Step>,
    settings: &Settings,
    moved: bool,
) -> Result<()> {
    let (count, level) = (avatar.splats.len(), settings.level);
    let mut chunks = Vec::new();
    match &avatar.rig.base {
        RigBase::Static => {}
        RigBase::Skinned { skeleton, skin, morphs } => {
            chunks.push(rig_chunks::skeleton_chunk(skeleton, level));
            chunks.push(rig_chunks::skin_chunk(skin, count, precision, level));
            chunks.extend(morphs.as_ref().map(|m| rig_chunks::morphs_chunk(m, count, precision, level)));
        }
        RigBase::Triangle(binding) => chunks.push(rig_chunks::binding_chunk(binding, precision, level)),
        RigBase::Frames(frames) => chunks.push(rig_chunks::frames_chunk(frames, count, precision, level)),
    }
    if let Some(blend) = &avatar.rig.blendshapes {
        chunks.push(rig_chunks::blendshapes_chunk(blend, count, precision, level));
        if let BlendWeights::Mlp(mlp) = &blend.weights {
            chunks.push(rig_chunks::mlp_chunk(mlp, level));
        }
    }
    chunks.extend(avatar.rest.as_ref().map(|rest| meta_chunks::rest_chunk(rest, precision, scale_step, level)));
    chunks.extend(avatar.template.as_ref().map(|t| meta_chunks::template_chunk(t, level)));
    chunks.extend(avatar.mesh.as_ref().map(|m| meta_chunks::mesh_chunk(m, level)));
    if !avatar.drivers.is_empty() || !avatar.driver_maps.is_empty() {
        chunks.push(meta_chunks::drivers_chunk(&avatar.drivers, &avatar.driver_maps, level));
    }
    chunks.extend(avatar.clips.iter().map(|clip| clip_chunk(clip, avatar, settings.motion, level)));
    if !avatar.cameras.is_empty() {
        chunks.push(meta_chunks::cameras_chunk(&avatar.cameras, level));
    }
    chunks.extend(avatar.attributes.iter().map(|a| meta_chunks::attribute_chunk(a, count, level)));
    chunks.extend(avatar.thumbnail.as_ref().map(|t| meta_chunks::thumbnail_chunk(t, level)));
    for (index, chunk) in chunks.iter_mut().enumerate() {
        chunk.priority = 1000 + index as u32;
        writer.push(chunk)?;
    }
    for chunk in &avatar.unknown {
        // a chunk that depends on the splats' order cannot follow them without being understood
        if chunk.kind[3].is_ascii_lowercase() || !moved {
            writer.push_stored(&chunk.entry, &chunk.data)?;
        }
    }
    Ok(())
}

fn clip_chunk(clip: &Clip, avatar: &Avatar, coarseness: Option<f64>, level: i32) -> Chunk {
    match coarseness {
        None => clip_chunk::clip_chunk(clip, None, level),
        Some(coarseness) => {
            clip_chunk::clip_chunk(&motion::simplified(clip, avatar, coarseness), Some(coarseness), level)
        }
    }
}

/// Copies the `.gav` file `bytes` with further clips, which replace those of the same names; all other chunks stay as they are, byte for
/// byte. Clips are coded as in a file of the options' profile, bit for bit if the file is lossless.
///
/// # Errors
/// Those of reading `bytes`; [`Error::Usage`] for clips that do not hold together; [`Error::Io`] from the sink.
pub fn add_clips(
    bytes: &[u8],
    clips: &[Clip],
    sink: &mut dyn WriteSeek,
    read: &ReadOptions,
    options: &EncodeOptions,
) -> Result<()> {
    let reader = Reader::with_options(bytes, read)?;
    let mut avatar = reader.read_avatar()?;
    let settings = Settings::of(options, &avatar.splats)?;
    let lossless = reader.header().flags & FLAG_LOSSLESS != 0;
    let coarseness = settings.motion.filter(|_| !lossless);
    let mut old = avatar.clips.iter().map(|clip| clip.name.clone()).collect::<Vec<_>>().into_iter();
    avatar.clips = clips.to_vec();
    avatar.validate()?;
    let mut writer = ContainerWriter::new(sink)?;
    let mut priority = 1000;
    for entry in reader.entries() {
        priority = priority.max(entry.priority.saturating_add(1));
        let replaced = entry.kind == *b"aNIm" && old.next().is_some_and(|name| clips.iter().any(|c| c.name == name));
        if !replaced {
            writer.push_stored(entry, reader.stored(entry))?;
        }
    }
    for (index, clip) in clips.iter().enumerate() {
        let mut chunk = clip_chunk(clip, &avatar, coarseness, settings.level);
        chunk.priority = priority.saturating_add(index as u32);
        writer.push(&chunk)?;
    }
    writer.finish(reader.header().features, reader.header().flags)
}

fn features(avatar: &Avatar, layers: usize) -> u64 {
    let mut bits = feature::ZSTD;
    let mut set = |condition: bool, bit: u64| bits |= if condition { bit } else { 0 };
    set(layers > 1, feature::LAYERS);
    match &avatar.rig.base {
        RigBase::Static => {}
        RigBase::Skinned { morphs, .. } => {
            set(true, feature::SKINNED);
            set(morphs.is_some(), feature::MORPHS);
        }
        RigBase::Triangle(_) => set(true, feature::TRIANGLE),
        RigBase::Frames(_) => set(true, feature::FRAMES),
    }
    if let Some(blend) = &avatar.rig.blendshapes {
        set(true, feature::BLENDSHAPES);
        set(matches!(blend.weights, BlendWeights::Mlp(_)), feature::MLP);
    }
    set(avatar.template.as_ref().is_some_and(|t| !t.embedded), feature::TEMPLATE);
    bits
}
