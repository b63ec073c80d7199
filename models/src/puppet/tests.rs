use gav_formats::{
    Activation, Avatar, BlendWeights, Blendshapes, Clip, Driver, DriverMap, Frame, Interpolation, Joint, Mlp, MlpLayer,
    Pose, RigBase, Skeleton, Skin, TemplateFamily, Track, TriangleBinding, TriangleFrame,
    synthetic::{RigSample, every_rig, random, uniform},
};

use super::{BakeOptions, Puppet, TIME};
use crate::body::{Body, Parts};

/// A sheet of 4 × 4 vertices: root and a jaw that carries the lower half; two expressions, one of them of the whole sheet.
fn body() -> Body<f32> {
    let vertices: Vec<[f32; 3]> =
        (0..16).map(|k| [(k % 4) as f32 * 0.05, (k / 4) as f32 * 0.05, 0.01 * uniform(k, 1) as f32]).collect();
    let faces = (0..9u32)
        .flat_map(|q| {
            let v = q / 3 * 4 + q % 3;
            [[v, v + 1, v + 4], [v + 1, v + 5, v + 4]]
        })
        .collect();
    let shapedirs =
        (0..16 * 3 * 2).map(|i| if i % 2 == 0 { 0.01 } else { 0.02 * uniform(i, 2) as f32 - 0.01 }).collect();
    let weights = (0..16).flat_map(|v| if v / 4 < 2 { [0.25, 0.75] } else { [1.0, 0.0] }).collect();
    let regressor = (0..2).flat_map(|j| (0..16).map(move |v| if v == 5 + 4 * j { 1.0 } else { 0.0 })).collect();
    Body::new(&Parts {
        family: TemplateFamily::Custom,
        name: "sheet".into(),
        licence: "CC0-1.0".into(),
        uvs: vertices.iter().map(|v| [v[0] * 4.0, v[1] * 4.0]).collect(),
        uv_faces: Vec::new(),
        vertices,
        faces,
        shapedirs,
        identity_columns: 0,
        posedirs: Vec::new(),
        extras: Vec::new(),
        regressor,
        weights,
        parents: vec![None, Some(0)],
        joint_names: vec!["root".into(), "jaw".into()],
        hands: None,
    })
    .unwrap()
}

fn bound(frame: TriangleFrame) -> Avatar {
    let mut avatar = Avatar::new(random(40, 0, 7).splats, Frame::RUB);
    let local = if frame == TriangleFrame::GaussianAvatars { 0.5 } else { 0.005 };
    avatar.splats.means.as_flattened_mut().iter_mut().for_each(|v| *v *= local);
    let coordinates = |k: u64| {
        let (a, b) = (0.5 * uniform(k, 3) as f32, 0.5 * uniform(k, 4) as f32);
        [a, b, 1.0 - a - b]
    };
    avatar.rig.base = RigBase::Triangle(TriangleBinding {
        frame,
        triangles: (0..40).map(|k| k % 18).collect(),
        barycentrics: (frame == TriangleFrame::RgbAvatar).then(|| (0..40).map(coordinates).collect()),
    });
    avatar.template = Some(body().template());
    avatar
}

fn track(target: &str, width: u32, values: &[f32]) -> Track {
    Track {
        target: target.into(),
        width,
        interpolation: Interpolation::Linear,
        ticks: (0..values.len() as u32 / width).collect(),
        values: values.to_vec(),
    }
}

fn farthest(a: &[[f32; 3]], b: &[[f32; 3]]) -> f32 {
    let distance = |(a, b): (&[f32; 3], &[f32; 3])| (0..3).map(|c| (a[c] - b[c]).powi(2)).sum::<f32>().sqrt();
    a.iter().zip(b).map(distance).fold(0.0, f32::max)
}

#[test]
fn bound_splats_follow_the_whole_body_rigidly() {
    for frame in [TriangleFrame::GaussianAvatars, TriangleFrame::Stga, TriangleFrame::RgbAvatar] {
        let avatar = bound(frame);
        let puppet = Puppet::new(&avatar, Some(body())).unwrap();
        let mut pose = Pose::default();
        // a quarter turn about y, and a step
        pose.set("body.pose", [0.0, std::f32::consts::FRAC_PI_2, 0.0, 0.0, 0.0, 0.0]);
        pose.set("body.translation", [0.0, 2.0, 0.0]);
        let posed = puppet.pose(&pose).unwrap();
        let root = body().rest_vertices()[5];
        let expected: Vec<[f32; 3]> = puppet
            .rest()
            .means
            .iter()
            .map(|m| [root[0] + (m[2] - root[2]), m[1] + 2.0, root[2] - (m[0] - root[0])])
            .collect();
        assert!(farthest(&posed.means, &expected) < 2e-6, "{frame:?} {}", farthest(&posed.means, &expected));
        assert_eq!(posed.log_scales.len(), 40);
        for (a, b) in posed.log_scales.iter().zip(&puppet.rest().log_scales) {
            assert!((0..3).all(|c| (a[c] - b[c]).abs() < 1e-4));
        }
    }
}

#[test]
fn what_does_not_fit_is_named_with_both_numbers() {
    let mut avatar = bound(TriangleFrame::Stga);
    assert!(Puppet::new(&avatar, None).err().unwrap().to_string().contains("template"));
    avatar.template.as_mut().unwrap().vertex_count = 5023;
    let message = Puppet::new(&avatar, Some(body())).err().unwrap().to_string();
    assert!(message.contains("5023") && message.contains("16"), "{message}");
    let mut avatar = bound(TriangleFrame::Stga);
    avatar.template = None;
    let RigBase::Triangle(binding) = &mut avatar.rig.base else { unreachable!() };
    binding.triangles[3] = 77;
    let message = Puppet::new(&avatar, Some(body())).err().unwrap().to_string();
    assert!(message.contains("77") && message.contains("18"), "{message}");
    let avatar = bound(TriangleFrame::Stga);
    let puppet = Puppet::new(&avatar, Some(body())).unwrap();
    let mut pose = Pose::default();
    pose.set("body.pose", [0.0; 5]);
    let message = puppet.pose(&pose).unwrap_err().to_string();
    assert!(message.contains('5') && message.contains('6'), "{message}");
    assert!(puppet.clip("talk").unwrap_err().to_string().contains("talk"));
}

#[test]
fn every_sample_rests_where_it_says() {
    for (name, kind) in RigSample::ALL {
        let avatar = every_rig(kind);
        let body = match (&avatar.rig.base, &avatar.mesh) {
            // samples embed a bare mesh without joints, or nothing
            (RigBase::Triangle(_), _) => continue,
            _ => None,
        };
        let puppet = Puppet::new(&avatar, body).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(puppet.rest().len(), avatar.splats.len());
        let known: Vec<String> = puppet.controls().into_iter().flat_map(|g| g.controls).map(|c| c.name).collect();
        for clip in &avatar.clips {
            let unknown = puppet.unknown_targets(&clip.pose_at(0.1));
            assert!(unknown.is_empty(), "{name}: {unknown:?} among {known:?}");
        }
    }
}

#[test]
fn recorded_frames_are_looked_up_by_time() {
    let avatar = every_rig(RigSample::Frames);
    let puppet = Puppet::new(&avatar, None).unwrap();
    let mut pose = Pose::default();
    pose.set(TIME, [3.0 / 24.0]);
    let posed = puppet.pose(&pose).unwrap();
    // between the frames at ticks 2 and 4, which are the third and fourth
    let expected = avatar.splats.means[0][0] + 0.025;
    assert!((posed.means[0][0] - expected).abs() < 1e-6);
    assert_eq!(puppet.recorded_seconds(), Some(10.0 / 24.0));
    assert!(puppet.bake(&BakeOptions::default()).unwrap_err().to_string().contains("frames"));
}

#[test]
fn clips_of_a_body_model_become_tracks_of_joints() {
    let names = ["pelvis", "left_hip", "left_knee"];
    let joint = |(k, name): (usize, &&str)| Joint {
        name: (*name).to_owned(),
        parent: k.checked_sub(1).map(|p| p as u32),
        humanoid: String::new(),
        translation: [0.1, 0.4, -0.2],
        rotation: [1.0, 0.0, 0.0, 0.0],
        scale: [1.0; 3],
        inverse_bind: [[1.0, 0.0, 0.0, -0.1], [0.0, 1.0, 0.0, -0.4], [0.0, 0.0, 1.0, 0.2]],
    };
    let mut avatar = Avatar::new(random(30, 0, 4).splats, Frame::RUB);
    let skeleton = Skeleton { joints: names.iter().enumerate().map(joint).collect() };
    let rows = (0..30).map(|k| vec![(k % 3, 1.0)]);
    avatar.rig.base = RigBase::Skinned { skeleton, skin: Skin::from_rows(rows), morphs: None };
    let mut body = vec![0.0; 2 * 63];
    (body[0], body[63], body[63 + 9], body[63 + 10]) = (0.3, -0.7, 0.5, 0.9);
    let clip = Clip {
        name: "walk".into(),
        ticks_per_second: 10,
        tracks: vec![
            track("smplx.body_pose", 63, &body),
            track("smplx.global_orient", 3, &[1.0, 0.0, 0.0, 1.2, 0.1, 0.0]),
            track("smplx.transl", 3, &[0.0, 0.0, 1.0, 0.0, 0.1, 1.0]),
            track("world.up", 3, &[0.0, 0.0, 1.0]),
        ],
    };
    avatar.clips = vec![clip.clone()];
    let puppet = Puppet::new(&avatar, None).unwrap();
    assert_eq!(puppet.unknown_targets(&clip.pose_at(0.0)), ["world.up"]);
    let mut spelled = avatar.clone();
    spelled.clips = puppet.spelled_out_clips().unwrap();
    let targets: Vec<&str> = spelled.clips[0].tracks.iter().map(|t| t.target.as_str()).collect();
    let turned = |name: &str| format!("joint/{name}/rotation");
    assert_eq!(
        targets,
        [&turned("left_hip"), &turned("left_knee"), "joint/pelvis/rotation", "joint/pelvis/translation"]
            .map(|t| t.to_string())
    );
    for seconds in [0.0, 0.1] {
        let (a, b) = (clip.pose_at(seconds), spelled.clips[0].pose_at(seconds));
        let far =
            farthest(&puppet.pose(&a).unwrap().means, &Puppet::new(&spelled, None).unwrap().pose(&b).unwrap().means);
        assert!(far < 1e-6, "{far}");
    }

    // recorded with z up: turned about the pelvis, what was one metre up is one metre up
    let mut upright = clip.clone();
    assert!(puppet.complete(&mut upright).unwrap());
    assert!(puppet.unknown_targets(&upright.pose_at(0.0)).is_empty());
    let (lying, standing) = (puppet.pose(&clip.pose_at(0.1)).unwrap(), puppet.pose(&upright.pose_at(0.1)).unwrap());
    let turned: Vec<[f32; 3]> = lying.means.iter().map(|m| [m[0], m[2], -m[1]]).collect();
    assert!(farthest(&turned, &standing.means) < 1e-6);
    assert!(!puppet.complete(&mut upright).unwrap());
}

#[test]
fn maps_reach_drivers_of_another_space() {
    let mut avatar = bound(TriangleFrame::GaussianAvatars);
    avatar.driver_maps = vec![DriverMap {
        name: "arkit".into(),
        inputs: vec!["arkit.jawOpen".into(), "arkit.mouthPucker".into()],
        outputs: vec!["body.expression.0".into(), "body.expression.1".into()],
        matrix: vec![2.0, 0.0, 0.0, 3.0],
        offset: vec![0.0, 0.5],
    }];
    let puppet = Puppet::new(&avatar, Some(body())).unwrap();
    let (mut mapped, mut direct) = (Pose::default(), Pose::default());
    mapped.set("arkit.jawOpen", [0.5]);
    direct.set("body.expression", [1.0, 0.5]);
    assert_eq!(puppet.pose(&mapped).unwrap(), puppet.pose(&direct).unwrap());
    assert!(puppet.unknown_targets(&mapped).is_empty());
    mapped.set("arkit.nonsense", [1.0]);
    assert_eq!(puppet.unknown_targets(&mapped), ["arkit.nonsense"]);
}

#[test]
fn networks_hear_axis_angles_as_6d_rotations() {
    let mut avatar = Avatar::new(random(10, 0, 9).splats, Frame::RUB);
    let inputs: Vec<String> = (0..6).map(|k| format!("flame.jaw_6d.{k}")).collect();
    let weight = (0..6).map(|k| if k == 4 { 1.0 } else { 0.0 }).collect();
    avatar.drivers = inputs
        .iter()
        .enumerate()
        .map(|(k, name)| Driver {
            name: name.clone(),
            min: -1.0,
            max: 1.0,
            default: f32::from(u8::from(k == 0 || k == 4)),
        })
        .collect();
    avatar.rig.blendshapes = Some(Blendshapes {
        bases: 1,
        means: vec![[1.0, 0.0, 0.0]; 10],
        weights: BlendWeights::Mlp(Mlp {
            inputs,
            layers: vec![MlpLayer { weight, bias: vec![0.0], activation: Activation::None }],
        }),
        ..Blendshapes::default()
    });
    let puppet = Puppet::new(&avatar, None).unwrap();
    // the second row of a turn about x by 60 degrees has a cosine of a half
    let mut pose = Pose::default();
    pose.set("flame.jaw_pose", [std::f32::consts::FRAC_PI_3, 0.0, 0.0]);
    let moved = puppet.pose(&pose).unwrap().means[0][0] - avatar.splats.means[0][0];
    assert!((moved - 0.5).abs() < 1e-6, "{moved}");
    assert!((puppet.rest().means[0][0] - avatar.splats.means[0][0] - 1.0).abs() < 1e-6);
}

/// Poses of every rig on a device are those of the CPU.
#[test]
fn a_device_poses_alike() {
    let device = match gav_kernels::cuda::Device::open(0) {
        Ok(device) => device,
        Err(error) => {
            eprintln!("SKIPPED on CUDA: {error}");
            return;
        }
    };
    let mut avatars: Vec<(String, Avatar, Option<Body<f32>>)> = Vec::new();
    for (name, kind) in RigSample::ALL {
        let avatar = every_rig(kind);
        if !matches!(avatar.rig.base, RigBase::Triangle(_) | RigBase::Frames(_)) {
            avatars.push((name.to_owned(), avatar, None));
        }
    }
    let mut full = every_rig(RigSample::Skinned);
    if let RigBase::Skinned { skin, .. } = &mut full.rig.base {
        skin.full_covariance = true;
    }
    avatars.push(("covariances".into(), full, None));
    for frame in [TriangleFrame::GaussianAvatars, TriangleFrame::Stga, TriangleFrame::RgbAvatar] {
        let mut avatar = bound(frame);
        if frame == TriangleFrame::RgbAvatar {
            avatar.rig.blendshapes = Some(Blendshapes {
                bases: 1,
                means: vec![[0.01, 0.0, 0.02]; 40],
                rotations: vec![[0.1, 0.2, 0.0, 0.0]; 40],
                sh0: vec![[0.1, 0.0, 0.2]; 40],
                weights: BlendWeights::Drivers(vec!["body.expression.0".into()]),
            });
        }
        avatars.push((format!("{frame:?}"), avatar, Some(body())));
    }
    for (name, avatar, body) in avatars {
        let puppet = Puppet::new(&avatar, body).unwrap();
        let poses: Vec<Pose> = (0..3)
            .map(|k| {
                let mut pose = Pose::default();
                for (index, control) in puppet.controls().into_iter().flat_map(|g| g.controls).enumerate() {
                    pose.set(control.name, [0.3 * ((index + 3 * k) as f32).sin()]);
                }
                if let RigBase::Skinned { skeleton, .. } = &avatar.rig.base {
                    let joint = &skeleton.joints[k % skeleton.joints.len()].name;
                    pose.set(format!("joint/{joint}/rotation"), [0.9, 0.1 * k as f32, 0.3, -0.2]);
                }
                pose
            })
            .collect();
        let mut on = super::DevicePuppet::new(&puppet, &device, 4).unwrap();
        let count = avatar.splats.len();
        // twice, with another number: nothing is left over from before
        for some in [&poses[..3], &poses[1..]] {
            let splats = on.pose(some).unwrap();
            let (means, shape, color) =
                (splats.means.read().unwrap(), splats.shape.read().unwrap(), splats.color.read().unwrap());
            let scales = splats.scales.read().unwrap();
            for (k, pose) in some.iter().enumerate() {
                let expected = puppet.pose(pose).unwrap();
                let close = |what: &str, a: &[f32], b: &[f32], limit: f32| {
                    let far = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                    assert!(a.len() == b.len() && far < limit, "{name}, {what} of pose {k}: {far}");
                };
                close("means", &means[3 * count * k..3 * count * (k + 1)], expected.means.as_flattened(), 2e-6);
                close("colours", &color[3 * count * k..3 * count * (k + 1)], expected.sh0.as_flattened(), 2e-6);
                if splats.kind.covariance {
                    let covariances: Vec<f32> = expected
                        .rotations
                        .iter()
                        .zip(&expected.log_scales)
                        .flat_map(|(q, s)| covariance(*q, *s))
                        .collect();
                    close("covariances", &shape[6 * count * k..6 * count * (k + 1)], &covariances, 1e-4);
                } else {
                    close(
                        "rotations",
                        &shape[4 * count * k..4 * count * (k + 1)],
                        expected.rotations.as_flattened(),
                        1e-5,
                    );
                    close(
                        "scales",
                        &scales[3 * count * k..3 * count * (k + 1)],
                        expected.log_scales.as_flattened(),
                        1e-5,
                    );
                }
            }
        }
    }
}

/// xx, xy, xz, yy, yz, zz.
fn covariance(q: [f32; 4], s: [f32; 3]) -> [f32; 6] {
    let m = gav_formats::conventions::matrix_from_quaternion(gav_formats::conventions::normalize_quaternion(
        q.map(f64::from),
    ));
    let at = |r: usize, c: usize| (0..3).map(|k| m[r][k] * (2.0 * f64::from(s[k])).exp() * m[c][k]).sum::<f64>() as f32;
    [at(0, 0), at(0, 1), at(0, 2), at(1, 1), at(1, 2), at(2, 2)]
}

#[test]
fn a_baked_avatar_moves_alike_without_its_template() {
    let mut avatar = bound(TriangleFrame::Stga);
    avatar.clips = vec![Clip {
        name: "talk".into(),
        ticks_per_second: 10,
        tracks: vec![
            track("body.expression", 2, &[0.0, 0.0, 0.5, 1.0, 1.0, -1.0]),
            track(
                "body.pose",
                6,
                &[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.1, 0.2, 0.0, 0.4, 0.0, 0.0, 0.0, 0.5, 0.0, 0.0, 0.1, 0.0],
            ),
            track("body.translation", 3, &[0.0, 0.0, 0.0, 0.1, 0.0, 0.0, 0.0, 0.2, 0.0]),
        ],
    }];
    let puppet = Puppet::new(&avatar, Some(body())).unwrap();
    let baked = puppet.bake(&BakeOptions::default()).unwrap();
    assert_eq!(baked.avatar.rig.kind(), 7);
    assert!(baked.avatar.template.is_none() && baked.notice.is_some());
    let (mean, max) = (baked.mean_error.unwrap(), baked.max_error.unwrap());
    // one weight for a splat instead of one for each corner: up to 0.75 apart here, on triangles of 5 cm, at a jaw turned by half a
    // radian; faces of heads are a tenth of that size and their weights smooth
    assert!(mean < 1.5e-3 && max < 5e-3 && max > 0.0, "{mean} {max}");
    let targets: Vec<&str> = baked.avatar.clips[0].tracks.iter().map(|t| t.target.as_str()).collect();
    // the jaw's place moves with the expressions, too
    assert_eq!(
        targets,
        [
            "joint/root/translation",
            "joint/jaw/translation",
            "joint/root/rotation",
            "joint/jaw/rotation",
            "body.expression.0",
            "body.expression.1"
        ]
    );
    // keyed instants and those between
    let again = Puppet::new(&baked.avatar, None).unwrap();
    for seconds in [0.0, 0.1, 0.2] {
        let a = puppet.pose(&avatar.clips[0].pose_at(seconds)).unwrap();
        let b = again.pose(&baked.avatar.clips[0].pose_at(seconds)).unwrap();
        assert!(farthest(&a.means, &b.means) < 5e-3);
    }
    let one = puppet.bake(&BakeOptions { targets: 1, ..BakeOptions::default() }).unwrap();
    assert_eq!((one.avatar.drivers.len(), one.left_out.len()), (1, 1));
}
