//! The avatar dialects: GaussianAvatars with its side file, STGA, RGBAvatar with its network.

use std::path::Path;

use gav_formats::{
    Activation, Avatar, BlendWeights, Blendshapes, Clip, Error, Frame, Interpolation, Limits, Mlp, MlpLayer,
    Provenance, ReadOptions, RestPose, Rig, RigBase, Source, TemplateFamily, Track, TriangleBinding, TriangleFrame,
    UserAttribute, WriteOptions, format_by_name, load,
    npy::{NpyArray, read_npz, write_npz},
    ply::{Ply, rgb_avatar_driver_names},
    save,
};

use crate::support::{Random, bits, code, random_splats, read, shared, torture, write};

fn bound(frame: TriangleFrame, count: usize, degree: u8) -> Avatar {
    let mut avatar = Avatar::new(random_splats(count, degree, 11), Frame::RUB);
    let triangles = (0..count as u32).map(|i| i * 7919 % 9976).collect();
    let barycentrics = (frame == TriangleFrame::RgbAvatar).then(|| vec![[0.25, 0.25, 0.5]; count]);
    avatar.rig.base = RigBase::Triangle(TriangleBinding { frame, triangles, barycentrics });
    avatar
}

fn names(bytes: &[u8]) -> String {
    let ply = Ply::parse(bytes, &Limits::default()).unwrap();
    ply.tables[0].columns.iter().map(|c| format!("{} ", c.name)).collect()
}

fn save_ply(avatar: &Avatar, path: &Path) -> gav_formats::Result<()> {
    save(avatar, path, format_by_name("ply").unwrap(), &WriteOptions::default())
}

#[test]
fn gaussian_avatars_files_keep_their_binding() {
    let mut original = bound(TriangleFrame::GaussianAvatars, 300, 3);
    original.attributes = vec![UserAttribute::from_f32("extra", 1, &[2.0; 300])];
    let bytes = write(&original, "ply").unwrap();
    let order = names(&bytes);
    assert!(order.starts_with("x y z nx ny nz f_dc_0 f_dc_1 f_dc_2 f_rest_0 "));
    assert!(order.ends_with("opacity scale_0 scale_1 scale_2 rot_0 rot_1 rot_2 rot_3 binding_0 extra "));
    let back = read(bytes.clone(), "x.ply").unwrap();
    assert_eq!((&back.rig, &back.attributes, back.frame), (&original.rig, &original.attributes, Frame::RUB));
    assert_eq!(bits(&back.splats), bits(&original.splats));
    let template = back.template.as_ref().unwrap();
    assert_eq!((template.family, template.face_count), (TemplateFamily::Flame2023, 10144));
    assert_eq!(write(&back, "ply").unwrap(), bytes);
    // axes are those of the template and cannot be changed
    let options = WriteOptions { frame: Some(Frame::RDF), ..Default::default() };
    let refused = gav_formats::to_bytes(&original, format_by_name("ply").unwrap(), &options);
    assert!(matches!(refused, Err(Error::Usage(_))));
}

#[test]
fn triangle_numbers_must_be_whole_and_not_negative() {
    let bytes = write(&bound(TriangleFrame::GaussianAvatars, 2, 0), "ply").unwrap();
    for (value, expected) in
        [(0.0, "OK"), (1.5, "VALUE"), (-1.0, "VALUE"), (f32::NAN, "VALUE"), (f32::INFINITY, "VALUE"), (20000.0, "OK")]
    {
        let mut damaged = bytes.clone();
        let at = damaged.len() - 4;
        damaged[at..].copy_from_slice(&f32::to_le_bytes(value));
        assert_eq!(code(read(damaged, "x.ply")), expected, "{value}");
    }
    let mut large = bound(TriangleFrame::GaussianAvatars, 2, 0);
    let RigBase::Triangle(binding) = &mut large.rig.base else { unreachable!() };
    binding.triangles[1] = 1 << 24;
    assert!(matches!(write(&large, "ply"), Err(Error::Usage(_))));
}

fn performance(frames: usize) -> Clip {
    let mut random = Random(5);
    let track = |(target, width): (&str, usize)| Track {
        target: format!("flame.{target}"),
        width: width as u32,
        interpolation: Interpolation::Linear,
        ticks: (0..frames as u32).collect(),
        values: (0..frames * width).map(|_| random.float()).collect(),
    };
    let groups =
        [("expression", 100), ("rotation", 3), ("neck_pose", 3), ("jaw_pose", 3), ("eyes_pose", 6), ("translation", 3)];
    Clip { name: "flame_param".to_owned(), ticks_per_second: 25, tracks: groups.map(track).into() }
}

#[test]
fn the_performance_of_gaussian_avatars_lies_beside_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("point_cloud.ply");
    let mut original = read(write(&bound(TriangleFrame::GaussianAvatars, 5, 0), "ply").unwrap(), "x.ply").unwrap();
    original.clips = vec![performance(4)];
    let template = original.template.as_mut().unwrap();
    template.constants.push(("shape".to_owned(), (0..300).map(|i| i as f32).collect()));
    template.constants.push(("static_offset".to_owned(), (0..5143 * 3).map(|i| i as f32 * 1e-6).collect()));
    save_ply(&original, &path).unwrap();
    assert_eq!(load(&path, &ReadOptions::default()).unwrap(), original);

    let side = folder.path().join("flame_param.npz");
    let npz = read_npz(&std::fs::read(&side).unwrap(), &Limits::default()).unwrap();
    let shapes: Vec<_> = npz.arrays.iter().map(|(name, a)| (name.as_str(), a.shape.clone())).collect();
    let expected: Vec<(&str, Vec<usize>)> = vec![
        ("shape", vec![300]),
        ("expr", vec![4, 100]),
        ("rotation", vec![4, 3]),
        ("neck_pose", vec![4, 3]),
        ("jaw_pose", vec![4, 3]),
        ("eyes_pose", vec![4, 6]),
        ("translation", vec![4, 3]),
        ("static_offset", vec![1, 5143, 3]),
        ("dynamic_offset", vec![4, 5143, 3]),
    ];
    assert_eq!(shapes, expected);

    // the same again is fine, something else is not replaced
    save_ply(&original, &path).unwrap();
    original.clips[0].tracks[0].values[0] += 1.0;
    assert!(matches!(save_ply(&original, &path), Err(Error::Usage(_))));

    // trackers write float64 and leave out what they do not track
    let members = [(
        "expr".to_owned(),
        NpyArray { dtype: gav_formats::npy::NpyType::F64, shape: vec![1, 100], data: vec![0; 800] },
    )];
    std::fs::write(&side, write_npz(&members).unwrap()).unwrap();
    let tracked = load(&path, &ReadOptions::default()).unwrap();
    assert_eq!(tracked.clips[0].tracks.len(), 1);
    let members = [("jaw_pose".to_owned(), NpyArray::from_f32(vec![2, 4], &[0.0; 8]))];
    std::fs::write(&side, write_npz(&members).unwrap()).unwrap();
    assert_eq!(code(load(&path, &ReadOptions::default())), "VALUE");
    std::fs::write(&side, b"PK nothing").unwrap();
    assert_eq!(code(load(&path, &ReadOptions::default())), "ARCHIVE");
}

#[test]
fn stga_files_hold_both_poses() {
    let mut original = bound(TriangleFrame::Stga, 40, 3);
    let world = random_splats(40, 0, 12);
    original.rest = Some(RestPose { means: world.means, rotations: world.rotations, log_scales: world.log_scales });
    let bytes = write(&original, "ply").unwrap();
    let rest: String = (0..45).map(|k| format!("f_rest_{k} ")).collect();
    let expected = format!(
        "x y z em_x em_y em_z nx ny nz f_dc_0 f_dc_1 f_dc_2 {rest}opacity scale_0 scale_1 scale_2 em_scale_0 em_scale_1 \
        em_scale_2 rot_0 rot_1 rot_2 rot_3 em_rot_0 em_rot_1 em_rot_2 em_rot_3 index "
    );
    assert_eq!(names(&bytes), expected);
    let back = read(bytes.clone(), "x.ply").unwrap();
    assert_eq!(bits(&back.splats), bits(&original.splats));
    assert_eq!((&back.rig, &back.rest), (&original.rig, &original.rest));
    assert_eq!(back.template.as_ref().unwrap().face_count, 9976);
    assert_eq!(write(&back, "ply").unwrap(), bytes);
    // other formats show the world-space pose
    let compressed = read(write(&original, "splat").unwrap(), "x.splat").unwrap();
    assert_eq!(compressed.splats.len(), 40);
    original.rest = None;
    assert!(matches!(write(&original, "ply"), Err(Error::Usage(_))));
    assert!(matches!(write(&original, "compressed-ply"), Err(Error::Usage(_))));
}

fn layer(inputs: usize, outputs: usize, activation: Activation, random: &mut Random) -> MlpLayer {
    let mut values = |n: usize| (0..n).map(|_| random.float()).collect::<Vec<f32>>();
    MlpLayer { weight: values(inputs * outputs), bias: values(outputs), activation }
}

fn with_bases(count: usize, bases: usize, weights: BlendWeights) -> Avatar {
    let mut avatar = bound(TriangleFrame::RgbAvatar, count, 0);
    let mut random = Random(77);
    avatar.rig.blendshapes = Some(Blendshapes {
        bases: bases as u32,
        means: (0..bases * count).map(|_| [random.float(), 0.0, -0.0]).collect(),
        rotations: (0..bases * count).map(|_| [0.0, random.float(), 0.5, random.float()]).collect(),
        sh0: (0..bases * count).map(|_| [random.float(); 3]).collect(),
        weights,
    });
    avatar
}

fn small_network(inputs: usize, bases: usize) -> BlendWeights {
    let mut random = Random(3);
    let layers = vec![layer(inputs, 3, Activation::Relu, &mut random), layer(3, bases, Activation::None, &mut random)];
    BlendWeights::Mlp(Mlp { inputs: rgb_avatar_driver_names(inputs), layers })
}

#[test]
fn rgb_avatar_files_keep_bases_and_network() {
    let original = with_bases(60, 2, small_network(5, 2));
    let bytes = write(&original, "ply").unwrap();
    let numbered = |stem: &str, n: usize| (0..n).map(|k| format!("{stem}{k} ")).collect::<String>();
    let expected = format!(
        "x y z nx ny nz opacity scale_0 scale_1 scale_2 rot_0 rot_1 rot_2 rot_3 f_dc_0 f_dc_1 f_dc_2 {}{}{}{}\
        weight_module face_id face_bary_0 face_bary_1 face_bary_2 ",
        numbered("f_rest_", 45),
        numbered("xyz_b_", 6),
        numbered("rot_b_", 8),
        numbered("f_dc_b_", 6)
    );
    assert_eq!(names(&bytes), expected);
    let back = read(bytes.clone(), "x.ply").unwrap();
    assert_eq!(back.splats, original.splats);
    assert_eq!(back.rig, original.rig);
    assert_eq!(back.drivers.len(), 5);
    assert_eq!(back.template.as_ref().unwrap().face_count, 10032);
    assert_eq!(write(&back, "ply").unwrap(), bytes);

    let direct = with_bases(4, 3, BlendWeights::Drivers(rgb_avatar_driver_names(3)));
    assert_eq!(read(write(&direct, "ply").unwrap(), "x.ply").unwrap().rig, direct.rig);
    let mut plain = bound(TriangleFrame::RgbAvatar, 4, 0);
    assert_eq!(read(write(&plain, "ply").unwrap(), "x.ply").unwrap().rig, plain.rig);
    plain.rig = Rig { blendshapes: with_bases(4, 2, small_network(5, 2)).rig.blendshapes, ..plain.rig };
    assert!(matches!(write(&plain, "ply"), Err(Error::Usage(_))), "more parameters than splats");
}

#[test]
fn the_published_network_is_recognised_by_its_length() {
    // 129 → 128 → 128 → 20 needs 35,732 rows
    let mut random = Random(9);
    let layers = vec![
        layer(129, 128, Activation::Relu, &mut random),
        layer(128, 128, Activation::Relu, &mut random),
        layer(128, 20, Activation::None, &mut random),
    ];
    let mlp = Mlp { inputs: rgb_avatar_driver_names(129), layers };
    assert_eq!((mlp.inputs[0].as_str(), mlp.inputs[128].as_str()), ("flame.expression.0", "flame.translation.2"));
    let mut original = with_bases(35_800, 20, BlendWeights::Mlp(mlp));
    // a trailing zero bias must not change the guess
    let Some(BlendWeights::Mlp(mlp)) = original.rig.blendshapes.as_mut().map(|b| &mut b.weights) else {
        unreachable!()
    };
    *mlp.layers[2].bias.last_mut().unwrap() = 0.0;
    let bytes = write(&original, "ply").unwrap();
    let start = bytes.windows(11).position(|w| w == b"end_header\n").unwrap() + 11;
    let header = std::str::from_utf8(&bytes[..start]).unwrap();
    let official: String = header.lines().filter(|l| !l.starts_with("comment")).flat_map(|l| [l, "\n"]).collect();
    let anonymous = [official.as_bytes(), &bytes[start..]].concat();
    assert_eq!((anonymous.len() - official.len()) / 35_800, 1068, "bytes per splat of the published files");
    let back = read(anonymous, "model.ply").unwrap();
    assert!(back.rig == original.rig, "the network or the bases changed");
    let jaw = back.drivers.iter().find(|d| d.name == "flame.jaw_6d.4").unwrap();
    assert_eq!((jaw.min, jaw.max, jaw.default), (-1.0, 1.0, 1.0));
}

#[test]
fn config_yaml_beside_the_file_names_the_inputs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.ply");
    // a single linear layer, which the length alone cannot tell from a network cut short
    let mut random = Random(3);
    let linear = Mlp { inputs: rgb_avatar_driver_names(4), layers: vec![layer(4, 2, Activation::None, &mut random)] };
    let original = with_bases(30, 2, BlendWeights::Mlp(linear));
    let bytes = write(&original, "ply").unwrap();
    let text = String::from_utf8_lossy(&bytes[..200]).into_owned();
    let comment = text.lines().find(|l| l.starts_with("comment")).unwrap();
    let without =
        [&bytes[..text.find(comment).unwrap()], &bytes[text.find(comment).unwrap() + comment.len() + 1..]].concat();
    std::fs::write(&path, without).unwrap();
    std::fs::write(
        folder.path().join("config.yaml"),
        "model:\n  num_basis_in: 4 # theta\n  num_basis_blend: 2\n  use_weight_proj: True\n  use_mlp_proj: False\n",
    )
    .unwrap();
    assert_eq!(load(&path, &ReadOptions::default()).unwrap().rig, original.rig);
    std::fs::write(folder.path().join("config.yaml"), "model:\n  num_basis_in: 129\n").unwrap();
    assert_eq!(code(load(&path, &ReadOptions::default())), "VALUE", "a network that does not fit");
}

#[test]
fn the_serialisation_agrees_with_the_reference_implementation() {
    let Some(path) = shared("parity/rgbavatar/parity_blendshapes.safetensors") else { return };
    let bytes = std::fs::read(path).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let tensor = |name: &str| -> (Vec<usize>, Vec<f32>) {
        let view = tensors.tensor(name).unwrap();
        let values = view.data().chunks_exact(view.dtype().bitsize() / 8);
        let float = |b: &[u8]| match b.len() {
            8 => f64::from_le_bytes(b.try_into().unwrap()) as f32,
            _ => f32::from_le_bytes(b.try_into().unwrap()),
        };
        (view.shape().to_vec(), values.map(float).collect())
    };
    let (shape, means) = tensor("param.xyz_b");
    let (_, rotations) = tensor("param.rotation_b");
    let (bases, count) = (shape[0], shape[1]);
    let layers = [0, 2, 4].map(|index| MlpLayer {
        weight: tensor(&format!("param.mlp.{index}.weight")).1,
        bias: tensor(&format!("param.mlp.{index}.bias")).1,
        activation: if index == 4 { Activation::None } else { Activation::Relu },
    });
    let inputs = layers[0].weight.len() / layers[0].bias.len();
    let mlp = Mlp { inputs: rgb_avatar_driver_names(inputs), layers: layers.into() };
    let (_, flat) = tensor("ply.weight_module_flat");
    // the miniature has fewer splats than its network has parameters, so it is repeated
    let repeat = flat.len().div_ceil(count) + 1;
    let mut avatar = bound(TriangleFrame::RgbAvatar, count * repeat, 0);
    let rows = |values: &[f32], width: usize| -> Vec<Vec<f32>> {
        (0..bases)
            .flat_map(|k| (0..count * repeat).map(move |i| (k, i % count)))
            .map(|(k, i)| values[(k * count + i) * width..][..width].to_vec())
            .collect()
    };
    avatar.rig.blendshapes = Some(Blendshapes {
        bases: bases as u32,
        means: rows(&means, 3).into_iter().map(|r| [r[0], r[1], r[2]]).collect(),
        rotations: rows(&rotations, 4).into_iter().map(|r| [r[0], r[1], r[2], r[3]]).collect(),
        sh0: Vec::new(),
        weights: BlendWeights::Mlp(mlp),
    });
    let written = write(&avatar, "ply").unwrap();
    let ply = Ply::parse(&written, &Limits::default()).unwrap();
    let table = &ply.tables[0];
    let column: Vec<f32> = table.values(table.column("weight_module").unwrap()).map(|v| v as f32).collect();
    assert_eq!(column[..flat.len()], flat);
    for (stem, name, width) in [("xyz_b_", "ply.xyz_b_row", 3), ("rot_b_", "ply.rot_b_row", 4)] {
        let (shape, expected) = tensor(name);
        // one row per splat; the vectors of a single splat have one dimension
        let per_row = bases * width;
        let found: Vec<f32> = (0..expected.len() / per_row)
            .flat_map(|row| (0..per_row).map(move |c| (row, c)))
            .map(|(row, c)| table.column(&format!("{stem}{c}")).unwrap().f32(table.row(row)))
            .collect();
        assert_eq!(found, expected, "{name} {shape:?}");
    }
}

#[test]
fn damaged_dialects_are_errors_not_panics() {
    let mut stga = bound(TriangleFrame::Stga, 1, 0);
    stga.rest = Some(RestPose { means: vec![[0.0; 3]], rotations: vec![[1.0; 4]], log_scales: vec![[0.0; 3]] });
    for avatar in [
        bound(TriangleFrame::GaussianAvatars, 2, 0),
        stga,
        with_bases(1, 1, BlendWeights::Drivers(rgb_avatar_driver_names(1))),
    ] {
        torture(&write(&avatar, "ply").unwrap(), |bytes| read(bytes, "x.ply"));
    }
}

#[test]
fn provenance_is_not_invented() {
    let back = read(write(&bound(TriangleFrame::GaussianAvatars, 2, 0), "ply").unwrap(), "x.ply").unwrap();
    assert_eq!(back.meta.provenance, Vec::<Provenance>::new());
    assert!(Source::from_bytes(Vec::new()).sibling("flame_param.npz").unwrap().is_none());
}
