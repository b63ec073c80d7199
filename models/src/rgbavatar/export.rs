//! From a training to an avatar that others can pose, and from published models to what is trained.

use gav_formats::{
    Activation, Avatar, BlendWeights, Blendshapes, Clip, Frame, Mlp, MlpLayer, Provenance, Rig, RigBase,
    TriangleBinding, TriangleFrame,
    ply::{rgb_avatar_driver, rgb_avatar_driver_names},
};
use serde_json::json;

use super::{
    Checkpoint, Dataset, Shape, State, UNSEEN_LOGIT, Weighing,
    model::TENSORS,
    options::{CONTROLS, EXPRESSIONS},
};
pub use crate::stga::ExportOptions;
use crate::{
    Error, Result,
    stga::{CLIP, Tensor, embed, rest_pose, track},
};

/// Where the controls of a frame are in a clip, and how many of them.
const TRACKS: [(&str, usize); 7] = [
    ("flame.expression", EXPRESSIONS),
    ("flame.neck_6d", 6),
    ("flame.jaw_6d", 6),
    ("flame.left_eye_6d", 6),
    ("flame.right_eye_6d", 6),
    ("flame.eyelids", 2),
    ("flame.translation", 3),
];

/// The avatar of a training as it stands, at rest and in motion.
///
/// # Errors
/// Trainings without `dataset.retarget_neck`, whose meshes the template cannot be posed as; templates that cannot be posed.
pub fn avatar(data: &Dataset, checkpoint: &Checkpoint, options: &ExportOptions) -> Result<Avatar> {
    if !data.retarget_neck {
        return Err(Error::usage(
            "an avatar trained with dataset.retarget_neck = false cannot be posed by others: its network takes a translation that its mesh does not",
        ));
    }
    let state = &checkpoint.state;
    let mut avatar = Avatar::new(state.to_splats(), Frame::RUB);
    let names = rgb_avatar_driver_names(CONTROLS)[data.inputs.clone()][..state.shape.inputs].to_vec();
    avatar.drivers = names.iter().map(|name| rgb_avatar_driver(name)).collect();
    avatar.rig = rig(state, names);
    let mut template = embed(&mut avatar, &data.body, options.template_licence.as_deref());
    if !data.shape.is_empty() {
        template.constants.push(("shape".to_owned(), data.shape.clone()));
    }
    avatar.template = Some(template);
    avatar.clips.push(clip(data, options.frames_per_second));
    let body = crate::body::Body::new(&data.body.parts())?;
    avatar.rest = Some(rest_pose(&avatar, body)?);
    let meta = &mut avatar.meta;
    meta.name.clone_from(&options.name);
    meta.background = Some([0.0; 3]);
    meta.training_resolution = Some([data.camera.width, data.camera.height]);
    meta.provenance.push(Provenance {
        action: "trained".to_owned(),
        agent: format!("gav {}", env!("CARGO_PKG_VERSION")),
        source: options.source.clone(),
        hash: checkpoint.capture.clone(),
    });
    let progress = &checkpoint.progress;
    let training = json!({
        "method": "rgbavatar",
        "images": state.images,
        "seconds": (progress.seconds * 10.0).round() / 10.0,
        "skipped_steps": progress.skipped,
        "held_out": progress.evaluations.last(),
        "options": checkpoint.options,
    });
    meta.extra.insert("training".to_owned(), training);
    Ok(avatar)
}

/// The tracked motion, one tick a frame.
fn clip(data: &Dataset, frames_per_second: u32) -> Clip {
    let ticks: Vec<u32> = (0..data.frames.len() as u32).collect();
    let mut first = 0;
    let tracks = TRACKS.iter().map(|(target, width)| {
        let part = |frame: &super::TrackedFrame| frame.controls[first..first + width].to_vec();
        let values = data.frames.iter().flat_map(part).collect();
        first += width;
        track((*target).to_owned(), *width, &ticks, values)
    });
    let tracks = tracks.collect();
    Clip { name: CLIP.to_owned(), ticks_per_second: frames_per_second.max(1), tracks }
}

/// Triangles, bases and network; `names` are those of the numbers that drive it.
fn rig(state: &State, names: Vec<String>) -> Rig {
    let binding = TriangleBinding {
        frame: TriangleFrame::RgbAvatar,
        triangles: state.triangles.clone(),
        barycentrics: Some(state.barycentrics.clone()),
    };
    let [.., means, rotations, sh0, network] = state.values();
    let layers = state.shape.network(network).into_iter().map(|layer| MlpLayer {
        weight: layer.weight.to_vec(),
        bias: layer.bias.to_vec(),
        activation: layer.activation,
    });
    let blendshapes = (state.shape.bases > 0).then(|| Blendshapes {
        bases: state.shape.bases as u32,
        means: means.as_chunks::<3>().0.to_vec(),
        rotations: rotations.as_chunks::<4>().0.to_vec(),
        sh0: sh0.as_chunks::<3>().0.to_vec(),
        weights: match state.shape.weighing {
            Weighing::Direct => BlendWeights::Drivers(names),
            _ => BlendWeights::Mlp(Mlp { inputs: names, layers: layers.collect() }),
        },
    });
    Rig { base: RigBase::Triangle(binding), blendshapes }
}

/// What is trained of an avatar, and the names of the numbers that drive it: published `model.ply` among others. Adam remembers nothing,
/// splats at [`UNSEEN_LOGIT`] count as never seen.
///
/// # Errors
/// Avatars with another rig than triangles with barycentric coordinates, with harmonics, or with a network of other layers.
pub fn import(avatar: &Avatar) -> Result<(State, Vec<String>)> {
    let wrong = |what: String| Error::usage(format!("no avatar as RGBAvatar trains them: {what}"));
    let (RigBase::Triangle(binding), splats) = (&avatar.rig.base, &avatar.splats) else {
        return Err(wrong("its splats do not sit on triangles".to_owned()));
    };
    let (TriangleFrame::RgbAvatar, Some(barycentrics)) = (binding.frame, &binding.barycentrics) else {
        return Err(wrong("its splats sit on triangles in another way".to_owned()));
    };
    if splats.sh_degree != 0 {
        return Err(wrong(format!("it has harmonics of degree {}", splats.sh_degree)));
    }
    let count = splats.len();
    if (binding.triangles.len(), barycentrics.len()) != (count, count) {
        return Err(wrong(format!("{count} splats on {} triangles", binding.triangles.len())));
    }
    let none = Blendshapes::default();
    let shapes = avatar.rig.blendshapes.as_ref().unwrap_or(&none);
    let bases = shapes.bases as usize;
    let (names, weighing, network) = match &shapes.weights {
        BlendWeights::Drivers(names) => (names, Weighing::Direct, Vec::new()),
        BlendWeights::Mlp(mlp) => {
            let weighing = if mlp.layers.len() == 1 { Weighing::Linear } else { Weighing::Mlp };
            let all = mlp.layers.iter().flat_map(|l| l.weight.iter().chain(&l.bias)).copied().collect();
            (&mlp.inputs, weighing, all)
        }
    };
    let shape = Shape { splats: count, inputs: names.len(), bases, weighing };
    if let BlendWeights::Mlp(mlp) = &shapes.weights {
        let found: Vec<[usize; 2]> = mlp.layers.iter().map(|l| [l.bias.len(), l.inputs()]).collect();
        let last = mlp.layers.len().saturating_sub(1);
        let usual = |(k, layer): (usize, &MlpLayer)| {
            layer.activation == if k == last { Activation::None } else { Activation::Relu }
        };
        if found != shape.layers() || !mlp.layers.iter().enumerate().all(usual) {
            return Err(wrong(format!("its network has layers of {found:?} outputs and inputs")));
        }
    }
    // an attribute that no basis moves is left away in an avatar
    let filled = |values: &[f32], length: usize| if values.is_empty() { vec![0.0; length] } else { values.to_vec() };
    let lengths = shape.lengths();
    let values = [
        splats.means.as_flattened().to_vec(),
        splats.opacity_logits.clone(),
        splats.log_scales.as_flattened().to_vec(),
        splats.rotations.as_flattened().to_vec(),
        splats.sh0.as_flattened().to_vec(),
        filled(shapes.means.as_flattened(), lengths[5]),
        filled(shapes.rotations.as_flattened(), lengths[6]),
        filled(shapes.sh0.as_flattened(), lengths[7]),
        network,
    ];
    for ((name, values), length) in TENSORS.iter().zip(&values).zip(lengths) {
        if values.len() != length {
            return Err(wrong(format!("{} numbers in `{name}`, {length} expected", values.len())));
        }
    }
    let state = State {
        shape,
        triangles: binding.triangles.clone(),
        barycentrics: barycentrics.clone(),
        tensors: values.map(Tensor::new),
        initialized: splats.opacity_logits.iter().map(|logit| *logit != UNSEEN_LOGIT).collect(),
        steps: [0; 2],
        images: 0,
    };
    Ok((state, names.clone()))
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use gav_formats::{
        ReadOptions, WriteOptions, format_by_path,
        gav::{EncodeOptions, Profile},
        load, save,
    };

    use super::*;
    use crate::rgbavatar::{Options, Seat, Values};

    /// A published file by its description: properties in their order, numbers of no meaning, no comments.
    fn published(count: usize, bases: usize, network: usize) -> (String, Vec<u8>) {
        let mut names: Vec<String> = ["x", "y", "z", "nx", "ny", "nz", "opacity"].map(str::to_owned).to_vec();
        let mut many = |stem: &str, count: usize| names.extend((0..count).map(|k| format!("{stem}_{k}")));
        many("scale", 3);
        many("rot", 4);
        many("f_dc", 3);
        many("f_rest", 45);
        many("xyz_b", 3 * bases);
        many("rot_b", 4 * bases);
        many("f_dc_b", 3 * bases);
        names.extend(["weight_module", "face_id", "face_bary_0", "face_bary_1", "face_bary_2"].map(str::to_owned));
        let mut header = format!("ply\nformat binary_little_endian 1.0\nelement vertex {count}\n");
        for name in &names {
            let kind = if name == "face_id" { "int" } else { "float" };
            header.push_str(&format!("property {kind} {name}\n"));
        }
        header.push_str("end_header\n");
        let mut rows = Vec::new();
        for splat in 0..count {
            for (column, name) in names.iter().enumerate() {
                let draw = gav_formats::synthetic::uniform((splat * names.len() + column) as u64, 4) as f32 - 0.5;
                let share = (splat % 5) as f32 * 0.125;
                let value = match name.as_str() {
                    "face_bary_0" => 0.25,
                    "face_bary_1" => share,
                    "face_bary_2" => 0.75 - share,
                    "face_id" => {
                        rows.extend(((splat * 7 % 10_032) as i32).to_le_bytes());
                        continue;
                    }
                    "weight_module" if splat >= network => 0.0,
                    "opacity" if splat % 50 == 0 => UNSEEN_LOGIT,
                    name if name.starts_with('n') || name.starts_with("f_rest") => 0.0,
                    _ => draw,
                };
                rows.extend(value.to_le_bytes());
            }
        }
        (header, rows)
    }

    #[test]
    fn published_models_come_back_to_the_bit() {
        let (inputs, bases) = (5, 2);
        let network = 128 * (inputs + 1) + 128 * 129 + bases * 129;
        let count = network + 300;
        let (header, rows) = published(count, bases, network);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.ply");
        fs::write(&path, [header.as_bytes(), &rows].concat()).unwrap();
        fs::write(folder.path().join("config.yaml"), format!("model:\n  num_basis_in: {inputs}\n")).unwrap();
        let original = load(&path, &ReadOptions::default()).unwrap();

        let (state, names) = import(&original).unwrap();
        assert_eq!(state.shape, Shape { splats: count, inputs, bases, weighing: Weighing::Mlp });
        assert_eq!(state.initialized.iter().filter(|seen| !**seen).count(), count.div_ceil(50));
        let mut again = original.clone();
        (again.splats, again.rig) = (state.to_splats(), rig(&state, names));
        assert_eq!((&again.splats, &again.rig), (&original.splats, &original.rig));

        // through a lossless file of our own, and out again: the same properties, the same bytes
        let to = |avatar: &Avatar, path: &Path| {
            let options = WriteOptions {
                gav: EncodeOptions { profile: Profile::Lossless, ..EncodeOptions::default() },
                ..WriteOptions::default()
            };
            save(avatar, path, format_by_path(path).unwrap(), &options).unwrap();
        };
        let (own, out) = (folder.path().join("model.gav"), folder.path().join("out.ply"));
        to(&again, &own);
        to(&load(&own, &ReadOptions::default()).unwrap(), &out);
        let written = fs::read(&out).unwrap();
        let end = written.windows(11).position(|w| w == b"end_header\n").unwrap() + 11;
        let lines = |text: &str| -> Vec<String> {
            text.lines().filter(|l| l.starts_with("property") || l.starts_with("element")).map(str::to_owned).collect()
        };
        assert_eq!(lines(std::str::from_utf8(&written[..end]).unwrap()), lines(&header));
        assert!(written[end..] == rows, "the rows differ");
    }

    #[test]
    fn a_model_without_a_network_and_one_without_bases_come_back() {
        for (direct, blend) in [(true, true), (false, false)] {
            let options = crate::rgbavatar::ModelOptions {
                use_blend: blend,
                use_weight_proj: !direct,
                num_basis_in: 3,
                ..Options::offline().model
            };
            let shape = Shape::new(&options, 9);
            assert_eq!(shape.bases, if blend { 3 } else { 0 });
            let mut values: Values<f32> = shape.initial(&options, 1);
            values.iter_mut().flatten().enumerate().for_each(|(k, v)| *v += 0.01 * k as f32);
            let seats: Vec<Seat> = (0..9).map(|face| Seat { face, weights: [0.5, 0.25, 0.25] }).collect();
            let state = State::new(shape, &seats, values);
            let names: Vec<String> = rgb_avatar_driver_names(CONTROLS)[..3].to_vec();
            let mut avatar = Avatar::new(state.to_splats(), Frame::RUB);
            avatar.rig = rig(&state, names.clone());
            let (back, found) = import(&avatar).unwrap();
            assert_eq!(back.tensors, state.tensors);
            assert_eq!((back.triangles, back.barycentrics), (state.triangles, state.barycentrics));
            assert_eq!(found, if blend { names } else { Vec::new() });
        }
    }

    #[test]
    fn other_avatars_are_refused_with_the_reason() {
        let said = |avatar: &Avatar| import(avatar).unwrap_err().to_string();
        let mut avatar = Avatar::new(gav_formats::Splats::with_len(2, 1), Frame::RUB);
        assert!(said(&avatar).contains("triangles"));
        let binding =
            |frame, barycentrics| RigBase::Triangle(TriangleBinding { frame, triangles: vec![0, 1], barycentrics });
        avatar.rig.base = binding(TriangleFrame::Stga, None);
        assert!(said(&avatar).contains("another way"));
        avatar.rig.base = binding(TriangleFrame::RgbAvatar, Some(vec![[1.0, 0.0, 0.0]; 2]));
        assert!(said(&avatar).contains("degree 1"));
        avatar.splats.set_sh_degree(0);
        let layer = MlpLayer { weight: vec![0.0; 6], bias: vec![0.0; 2], activation: Activation::Tanh };
        avatar.rig.blendshapes = Some(Blendshapes {
            bases: 2,
            weights: BlendWeights::Mlp(Mlp { inputs: rgb_avatar_driver_names(3), layers: vec![layer] }),
            ..Blendshapes::default()
        });
        assert!(said(&avatar).contains("[[2, 3]]"));
    }
}
