//! Small avatars that together use every kind of rig and every optional part of an avatar.

use super::{Random, random};
use crate::{
    Activation, Avatar, BlendWeights, Blendshapes, Camera, Clip, ColorSpace, DType, Driver, DriverMap, Frame,
    FrameTracks, Interpolation, Joint, Mesh, Mlp, MlpLayer, MorphTarget, Morphs, NamedArray, Provenance, RenderModel,
    RestPose, RigBase, Skeleton, Skin, Splats, Template, TemplateFamily, Thumbnail, Track, TriangleBinding,
    TriangleFrame, UnknownChunk, UserAttribute,
    conventions::{matrix_from_quaternion, multiply_quaternions, normalize_quaternion, quaternion_from_matrix},
};

/// Which small avatar [`every_rig`] makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RigSample {
    /// No rig; cameras, thumbnail, user attributes and an unknown chunk.
    Static,
    /// Skeleton and weights, with a clip of joint rotations.
    Skinned,
    /// As [`RigSample::Skinned`] with position morphs, drivers and a driver map.
    MorphSkinned,
    /// Triangle frames of GaussianAvatars with an embedded template.
    GaussianAvatars,
    /// Triangle frames of STGA, template by reference only.
    Stga,
    /// UV frames of RGBAvatar with barycentrics, blendshapes and their network, and a proxy mesh.
    RgbAvatar,
    /// Recorded frames.
    Frames,
    /// Blendshapes with one driver each on static splats.
    Blendshapes,
}

impl RigSample {
    /// All samples with their names.
    pub const ALL: [(&'static str, Self); 8] = [
        ("static", Self::Static),
        ("skinned", Self::Skinned),
        ("morph-skinned", Self::MorphSkinned),
        ("gaussian-avatars", Self::GaussianAvatars),
        ("stga", Self::Stga),
        ("rgb-avatar", Self::RgbAvatar),
        ("frames", Self::Frames),
        ("blendshapes", Self::Blendshapes),
    ];
}

/// A small valid avatar (36 to 144 splats) with the given rig. Rest poses agree with the rig equations on the sample's mesh.
pub fn every_rig(kind: RigSample) -> Avatar {
    let seed = 100 + kind as u64;
    let mut r = Random::new(seed << 32);
    match kind {
        RigSample::Static => {
            let mut avatar = base(48, 2, seed, Frame::RUB);
            add_every_extra(&mut avatar);
            avatar
        }
        RigSample::Skinned => skinned(seed, false),
        RigSample::MorphSkinned => skinned(seed, true),
        RigSample::GaussianAvatars => triangle(TriangleFrame::GaussianAvatars, 0, seed),
        RigSample::Stga => triangle(TriangleFrame::Stga, 3, seed),
        RigSample::RgbAvatar => triangle(TriangleFrame::RgbAvatar, 0, seed),
        RigSample::Frames => {
            let mut avatar = base(40, 1, seed, Frame::RDF);
            let (n, ticks) = (avatar.splats.len(), vec![0, 1, 2, 4, 5, 9, 10]);
            let moved: Vec<[f32; 3]> = (0..ticks.len())
                .flat_map(|f| avatar.splats.means.iter().map(move |m| [m[0] + 0.01 * f as f32, m[1], m[2]]))
                .collect();
            avatar.rig.base = RigBase::Frames(FrameTracks {
                ticks_per_second: 24,
                means: Some(moved),
                rotations: Some((0..ticks.len() * n).map(|_| r.quaternion().map(|v| v as f32)).collect()),
                sh0: Some((0..ticks.len() * n).map(|_| [0; 3].map(|_| r.range(-1.0, 1.0) as f32)).collect()),
                opacity_logits: Some((0..ticks.len() * n).map(|_| r.range(-3.0, 6.0) as f32).collect()),
                ticks,
            });
            avatar
        }
        RigSample::Blendshapes => {
            let mut avatar = base(36, 0, seed, Frame::LUF);
            let names: Vec<String> = (0..3).map(|k| format!("expression.{k}")).collect();
            avatar.drivers = names.iter().map(|n| driver(n, -1.0, 1.0)).collect();
            avatar.rig.blendshapes = Some(blendshapes(36, BlendWeights::Drivers(names), 3, &mut r));
            avatar
        }
    }
}

/// Splats of head size with unit quaternions.
fn base(count: usize, sh_degree: u8, seed: u64, frame: Frame) -> Avatar {
    let mut avatar = random(count, sh_degree, seed);
    let splats = &mut avatar.splats;
    splats.means.as_flattened_mut().iter_mut().for_each(|v| *v *= 0.12);
    splats.rotations.iter_mut().for_each(|q| *q = normalize_quaternion(q.map(f64::from)).map(|v| v as f32));
    avatar.frame = frame;
    avatar.meta.name = format!("sample {seed}");
    avatar
}

fn driver(name: &str, min: f32, max: f32) -> Driver {
    Driver { name: name.to_owned(), min, max, default: 0.0 }
}

fn add_every_extra(avatar: &mut Avatar) {
    let n = avatar.splats.len();
    avatar.metres_per_unit = 0.01;
    avatar.color_space = ColorSpace::LinearRec709;
    avatar.render_model = RenderModel::Antialiased;
    let camera = Camera {
        name: "front".into(),
        width: 640,
        height: 480,
        focal: [700.0, 701.5],
        principal: [320.0, 239.5],
        camera_from_world: [[1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.125], [0.0, 0.0, -1.0, 0.75]],
        orthographic: false,
    };
    avatar.cameras =
        vec![camera.clone(), Camera { name: "side".into(), orthographic: true, focal: [2000.0; 2], ..camera }];
    avatar.thumbnail = Some(Thumbnail { media_type: "image/png".into(), bytes: ONE_PIXEL_PNG.to_vec() });
    let labels: Vec<f32> = (0..n).map(|i| i as f32 * 0.5).collect();
    avatar.attributes = vec![
        UserAttribute::from_f32("label", 1, &labels),
        UserAttribute {
            name: "part".into(),
            dtype: DType::U8,
            width: 3,
            data: (0..3 * n).map(|i| (i % 251) as u8).collect(),
        },
        UserAttribute {
            name: "id".into(),
            dtype: DType::U32,
            width: 1,
            data: (0..n as u32).flat_map(|i| (i * 70_000).to_le_bytes()).collect(),
        },
    ];
    avatar.meta.generator = "gav synthetic".into();
    avatar.meta.licence = "MIT OR Apache-2.0".into();
    avatar.meta.depicts_person = Some(false);
    avatar.meta.background = Some([1.0, 1.0, 1.0]);
    avatar.meta.training_resolution = Some([512, 512]);
    avatar.meta.provenance = vec![Provenance { action: "generated".into(), agent: "gav".into(), ..Default::default() }];
    avatar.meta.extra.insert("note".into(), serde_json::json!({ "kept": [1, 2.5, "three"] }));
    avatar.unknown = vec![UnknownChunk::new(*b"deMo", &(0..77).collect::<Vec<u8>>())];
}

fn skinned(seed: u64, with_morphs: bool) -> Avatar {
    let mut avatar = base(60, 1, seed, Frame::RUB);
    let mut r = Random::new(seed << 32);
    let n = avatar.splats.len();
    // each joint sits 5 cm above its parent, so the inverse bind is a translation
    let chain = [("root", "", None), ("neck", "neck", Some(0)), ("head", "head", Some(1)), ("jaw", "jaw", Some(2))];
    let joints = chain
        .iter()
        .enumerate()
        .map(|(index, (name, humanoid, parent))| {
            let height = 0.05 * index as f32 - 0.1;
            Joint {
                name: (*name).into(),
                parent: *parent,
                humanoid: (*humanoid).into(),
                translation: [0.0, if parent.is_some() { 0.05 } else { height }, 0.0],
                rotation: [1.0, 0.0, 0.0, 0.0],
                scale: [1.0; 3],
                inverse_bind: [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, -height], [0.0, 0.0, 1.0, 0.0]],
            }
        })
        .collect();
    let skin = Skin::from_rows((0..n).map(|i| (0..=i % 4).map(|j| (j as u16, r.range(0.05, 1.0) as f32)).collect()));
    let morphs = with_morphs.then(|| Morphs {
        targets: [("arkit.jawOpen", 3), ("arkit.eyeBlinkLeft", 7)]
            .map(|(name, step)| {
                let splats: Vec<u32> = (0..n as u32).step_by(step).collect();
                let deltas = splats.iter().map(|_| [0; 3].map(|_| r.range(-0.01, 0.01) as f32)).collect();
                MorphTarget { driver: name.into(), splats, deltas }
            })
            .into(),
    });
    if with_morphs {
        avatar.drivers = vec![driver("arkit.jawOpen", 0.0, 1.0), driver("arkit.eyeBlinkLeft", 0.0, 1.0)];
        avatar.driver_maps = vec![DriverMap {
            name: "vrm-to-arkit".into(),
            inputs: vec!["vrm.aa".into()],
            outputs: vec!["arkit.jawOpen".into(), "arkit.eyeBlinkLeft".into()],
            matrix: vec![0.75, 0.0],
            offset: vec![0.0, 0.125],
        }];
    }
    let turns: Vec<f32> = (0..5).flat_map(|k| half_turn(1, 0.2 * (f64::from(k) - 2.0))).collect();
    let mut tracks = vec![
        track("joint/head/rotation", 4, Interpolation::Slerp, turns),
        track("joint/root/translation", 3, Interpolation::Linear, (0..15).map(|k| 0.001 * k as f32).collect()),
    ];
    if with_morphs {
        tracks.push(track("arkit.jawOpen", 1, Interpolation::Linear, vec![0.0, 0.5, 1.0, 0.25, 0.0]));
        tracks.push(track("arkit.eyeBlinkLeft", 1, Interpolation::Step, vec![0.0, 1.0, 0.0, 1.0, 0.0]));
    }
    avatar.clips = vec![Clip { name: "nod".into(), ticks_per_second: 30, tracks }];
    avatar.rig.base = RigBase::Skinned { skeleton: Skeleton { joints }, skin, morphs };
    avatar
}

/// Quaternion of a turn by `angle` about a coordinate axis.
fn half_turn(axis: usize, angle: f64) -> [f32; 4] {
    let mut q = [(0.5 * angle).cos() as f32, 0.0, 0.0, 0.0];
    q[axis + 1] = (0.5 * angle).sin() as f32;
    q
}

fn track(target: &str, width: u32, interpolation: Interpolation, values: Vec<f32>) -> Track {
    let keys = values.len() as u32 / width;
    Track { target: target.into(), width, interpolation, ticks: (0..keys).map(|k| k * 6).collect(), values }
}

/// Blendshapes whose first splats move and whose others rest, as pruned ones do.
fn blendshapes(count: usize, weights: BlendWeights, bases: usize, r: &mut Random) -> Blendshapes {
    let mut value =
        |index: usize, scale: f64| if (index % count).is_multiple_of(3) { (scale * r.bell()) as f32 } else { 0.0 };
    Blendshapes {
        bases: bases as u32,
        means: (0..bases * count).map(|i| [0; 3].map(|_| value(i, 0.01))).collect(),
        rotations: (0..bases * count).map(|i| [0; 4].map(|_| value(i, 0.05))).collect(),
        sh0: (0..bases * count).map(|i| [0; 3].map(|_| value(i, 0.1))).collect(),
        weights,
    }
}

/// A six-sided tube, unrolled isometrically in its texture: tangent, bitangent and normal are orthonormal on it, so every
/// published definition of a triangle frame has one unambiguous value.
fn tube() -> Mesh {
    const SIDES: u32 = 6;
    const RINGS: u32 = 4;
    let (radius, height) = (0.08f64, 0.06f64);
    let mut mesh = Mesh::default();
    for ring in 0..RINGS {
        for side in 0..SIDES {
            let angle = std::f64::consts::TAU * f64::from(side) / f64::from(SIDES);
            let y = height * f64::from(ring);
            mesh.positions.push([(radius * angle.cos()) as f32, y as f32, (-radius * angle.sin()) as f32]);
        }
        // a side of a regular hexagon is as long as its radius; the seam needs a seventh column
        for side in 0..=SIDES {
            mesh.uvs.push([(radius * f64::from(side)) as f32, (height * f64::from(ring)) as f32]);
        }
    }
    for ring in 0..RINGS - 1 {
        for side in 0..SIDES {
            let quad = |width: u32, wrap: bool| {
                let next = if wrap { (side + 1) % width } else { side + 1 };
                let (low, high) = (ring * width, (ring + 1) * width);
                [[low + side, low + next, high + next], [low + side, high + next, high + side]]
            };
            mesh.faces.extend(quad(SIDES, true));
            mesh.uv_faces.extend(quad(SIDES + 1, false));
        }
    }
    mesh
}

fn triangle(frame: TriangleFrame, sh_degree: u8, seed: u64) -> Avatar {
    let mut r = Random::new(seed << 32);
    let mut mesh = tube();
    let count = mesh.faces.len() * 4;
    let mut avatar = base(count, sh_degree, seed, Frame::RUB);
    let triangles: Vec<u32> = (0..count).map(|i| (i % mesh.faces.len()) as u32).collect();
    let barycentrics = (frame == TriangleFrame::RgbAvatar).then(|| {
        (0..count)
            .map(|_| {
                let (a, b) = (r.unit().sqrt(), r.unit());
                let (first, second) = ((1.0 - a) as f32, (a * (1.0 - b)) as f32);
                [first, second, 1.0 - first - second]
            })
            .collect::<Vec<[f32; 3]>>()
    });
    // GaussianAvatars measures in triangle sizes, the others in metres
    let unit = if frame == TriangleFrame::GaussianAvatars { 1.0f32 } else { 0.1 };
    avatar.splats.means.as_flattened_mut().iter_mut().for_each(|v| *v *= unit);
    avatar.splats.log_scales.as_flattened_mut().iter_mut().for_each(|v| *v += unit.ln());
    avatar.rest = Some(rest_pose(&avatar.splats, &mesh, frame, &triangles, barycentrics.as_deref()));

    avatar.drivers = (0..4).map(|k| driver(&format!("flame.expression.{k}"), -3.0, 3.0)).collect();
    avatar.drivers.push(driver("flame.jaw_pose.x", 0.0, 0.5));
    let wave = |k: u32| [0.1 * k as f32, -0.2 * k as f32, 0.5, 0.0];
    avatar.clips = vec![Clip {
        name: "talk".into(),
        ticks_per_second: 25,
        tracks: vec![
            track("flame.expression", 4, Interpolation::Linear, (0..6).flat_map(wave).collect()),
            track("flame.jaw_pose.x", 1, Interpolation::Linear, vec![0.0, 0.25, 0.125]),
        ],
    }];
    let faces: Vec<u8> = mesh.faces.as_flattened().iter().flat_map(|v| v.to_le_bytes()).collect();
    mesh.arrays = vec![NamedArray {
        name: "weights".into(),
        dtype: DType::F32,
        shape: vec![mesh.positions.len() as u32, 2],
        data: (0..mesh.positions.len() * 2).flat_map(|i| ((i % 3) as f32 * 0.5).to_le_bytes()).collect(),
    }];
    let embedded = frame == TriangleFrame::GaussianAvatars;
    avatar.template = Some(Template {
        family: TemplateFamily::Custom,
        name: "six-sided tube".into(),
        vertex_count: mesh.positions.len() as u32,
        face_count: mesh.faces.len() as u32,
        faces_hash: *blake3::hash(&faces).as_bytes(),
        arrays_hash: [0; 32],
        parameters: vec![("expression".into(), 4), ("jaw_pose".into(), 3)],
        constants: vec![("shape".into(), vec![0.5, -0.25, 0.125])],
        licence: if embedded { "MIT OR Apache-2.0".into() } else { String::new() },
        how_to_obtain: "made by gav_formats::synthetic".into(),
        embedded,
    });
    avatar.mesh = (frame != TriangleFrame::Stga).then_some(mesh);
    if frame == TriangleFrame::RgbAvatar {
        let inputs: Vec<String> = avatar.drivers.iter().map(|d| d.name.clone()).collect();
        let mut layer = |inputs: usize, outputs: usize, activation| MlpLayer {
            weight: (0..inputs * outputs).map(|_| (0.3 * r.bell()) as f32).collect(),
            bias: (0..outputs).map(|_| (0.1 * r.bell()) as f32).collect(),
            activation,
        };
        let layers = vec![layer(5, 8, Activation::Relu), layer(8, 8, Activation::Relu), layer(8, 3, Activation::None)];
        let weights = BlendWeights::Mlp(Mlp { inputs, layers });
        avatar.rig.blendshapes = Some(blendshapes(count, weights, 3, &mut r));
    }
    avatar.rig.base = RigBase::Triangle(TriangleBinding { frame, triangles, barycentrics });
    avatar
}

/// World-space splats on the unposed mesh by the equations of the rig kinds (`spec/gav.md` section 8).
fn rest_pose(
    splats: &Splats,
    mesh: &Mesh,
    frame: TriangleFrame,
    triangles: &[u32],
    barycentrics: Option<&[[f32; 3]]>,
) -> RestPose {
    let mut rest = RestPose::default();
    for i in 0..splats.len() {
        let v = mesh.faces[triangles[i] as usize].map(|k| mesh.positions[k as usize].map(f64::from));
        let (edge1, edge2) = (sub(v[1], v[0]), sub(v[2], v[0]));
        let normal = unit(cross(edge1, edge2));
        let third = [1.0 / 3.0; 3];
        let weights = barycentrics.map_or(third, |b| b[i].map(f64::from));
        let origin: [f64; 3] = std::array::from_fn(|k| (0..3).map(|j| weights[j] * v[j][k]).sum());
        let (columns, scale) = match frame {
            TriangleFrame::GaussianAvatars => {
                let a0 = unit(edge1);
                let a2 = unit(cross(normal, a0)).map(|c| -c);
                ([a0, normal, a2], 0.5 * (length(edge1) + dot(a2, edge2).abs()))
            }
            TriangleFrame::Stga => {
                let x = unit(sub(v[0], origin));
                ([x, unit(cross(normal, x)), normal], 1.0)
            }
            TriangleFrame::RgbAvatar => {
                let uv = mesh.uv_faces[triangles[i] as usize].map(|k| mesh.uvs[k as usize].map(f64::from));
                let (d1, d2) = ([uv[1][0] - uv[0][0], uv[1][1] - uv[0][1]], [uv[2][0] - uv[0][0], uv[2][1] - uv[0][1]]);
                let determinant = d1[0] * d2[1] - d2[0] * d1[1];
                let tangent: [f64; 3] = std::array::from_fn(|k| (d2[1] * edge1[k] - d1[1] * edge2[k]) / determinant);
                let bitangent: [f64; 3] = std::array::from_fn(|k| (-d2[0] * edge1[k] + d1[0] * edge2[k]) / determinant);
                ([unit(tangent), unit(bitangent), normal], 1.0)
            }
        };
        let matrix: [[f64; 3]; 3] = std::array::from_fn(|r| std::array::from_fn(|c| columns[c][r]));
        let mean = splats.means[i].map(f64::from);
        rest.means.push(std::array::from_fn(|r| (scale * dot(matrix[r], mean) + origin[r]) as f32));
        let local = normalize_quaternion(splats.rotations[i].map(f64::from));
        rest.rotations.push(multiply_quaternions(quaternion_from_matrix(&matrix), local).map(|c| c as f32));
        rest.log_scales.push(splats.log_scales[i].map(|s| s + scale.ln() as f32));
        debug_assert!(
            (matrix_from_quaternion(quaternion_from_matrix(&matrix))[0][0] - matrix[0][0]).abs() < 1e-6,
            "the tube's frames are rotations"
        );
    }
    rest
}

fn sub(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    std::array::from_fn(|k| a[k] - b[k])
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn cross(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

fn length(a: [f64; 3]) -> f64 {
    dot(a, a).sqrt()
}

fn unit(a: [f64; 3]) -> [f64; 3] {
    let l = length(a);
    a.map(|c| c / l)
}

/// A valid PNG of one brownish pixel.
const ONE_PIXEL_PNG: &[u8] = &[
    137, 80, 78, 71, 13, 10, 26, 10, 0, 0, 0, 13, 73, 72, 68, 82, 0, 0, 0, 1, 0, 0, 0, 1, 8, 2, 0, 0, 0, 144, 119, 83,
    222, 0, 0, 0, 12, 73, 68, 65, 84, 120, 218, 99, 56, 49, 173, 2, 0, 4, 0, 1, 215, 134, 46, 221, 164, 0, 0, 0, 0, 73,
    69, 78, 68, 174, 66, 96, 130,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_is_valid_and_reproducible() {
        for (name, kind) in RigSample::ALL {
            let avatar = every_rig(kind);
            avatar.validate().unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(avatar, every_rig(kind), "{name}");
            assert!((30..=200).contains(&avatar.splats.len()), "{name}");
        }
    }

    #[test]
    fn together_they_use_every_kind_and_part() {
        let all: Vec<Avatar> = RigSample::ALL.iter().map(|(_, kind)| every_rig(*kind)).collect();
        let mut kinds: Vec<u8> = all.iter().map(|a| a.rig.kind()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        assert_eq!(kinds, [0, 1, 2, 3, 4, 6, 7]);
        let any = |f: fn(&Avatar) -> bool| all.iter().any(f);
        assert!(any(|a| matches!(&a.rig.blendshapes, Some(b) if matches!(b.weights, BlendWeights::Mlp(_)))));
        assert!(any(|a| matches!(&a.rig.blendshapes, Some(b) if matches!(b.weights, BlendWeights::Drivers(_)))));
        assert!(any(|a| a.rest.is_some()) && any(|a| a.template.is_some()) && any(|a| a.mesh.is_some()));
        assert!(any(|a| a.template.as_ref().is_some_and(|t| t.embedded)));
        assert!(any(|a| !a.clips.is_empty()) && any(|a| !a.driver_maps.is_empty()) && any(|a| !a.cameras.is_empty()));
        assert!(any(|a| a.thumbnail.is_some()) && any(|a| !a.attributes.is_empty()) && any(|a| !a.unknown.is_empty()));
    }

    #[test]
    fn gaussian_avatars_rest_pose_lies_near_the_mesh() {
        let avatar = every_rig(RigSample::GaussianAvatars);
        let rest = avatar.rest.unwrap();
        for mean in rest.means {
            let radius = (mean[0] * mean[0] + mean[2] * mean[2]).sqrt();
            assert!((0.03..0.13).contains(&radius), "{mean:?}");
        }
    }
}
