//! Rigs, morph targets and clips: written, read back, posed on both sides; and what cannot be written.

use super::*;
use crate::{
    Blendshapes, Interpolation, Morphs, Skin, Track,
    gltf::{Still, notes, write_frames},
    posed::{farthest, posed_means},
    synthetic::{RigSample, every_rig},
};

fn encode_with(avatar: &Avatar, gltf: Options) -> Vec<u8> {
    let mut sink = Cursor::new(Vec::new());
    write(avatar, &mut sink, &WriteOptions { gltf, ..WriteOptions::default() }).unwrap();
    sink.into_inner()
}

fn refusal(avatar: &Avatar) -> String {
    let error = write(avatar, &mut Cursor::new(Vec::new()), &WriteOptions::default()).unwrap_err();
    assert_eq!(error.code(), "USAGE");
    error.to_string()
}

/// Poses at several times agree; `tolerance` in metres.
fn assert_same_motion(avatar: &Avatar, back: &Avatar, tolerance: f64) {
    let m = back.frame.from_frame(avatar.frame);
    let metres = avatar.metres_per_unit;
    let change =
        |p: [f64; 3]| -> [f64; 3] { std::array::from_fn(|r| metres * (0..3).map(|c| m[r][c] * p[c]).sum::<f64>()) };
    let compare = |a: Option<(&crate::Clip, f64)>, b: Option<(&crate::Clip, f64)>| {
        let expected: Vec<[f64; 3]> = posed_means(avatar, a).into_iter().map(change).collect();
        let worst = farthest(&expected, &posed_means(back, b));
        assert!(worst < tolerance, "{a:?}: off by {worst}", a = a.map(|(clip, t)| (&clip.name, t)));
    };
    compare(None, None);
    assert_eq!(avatar.clips.len(), back.clips.len());
    for (clip, again) in avatar.clips.iter().zip(&back.clips) {
        assert_eq!(clip.name, again.name);
        assert!((clip.seconds() - again.seconds()).abs() < 1e-6);
        for step in 0..=10 {
            let seconds = clip.seconds() * f64::from(step) / 10.0 + 0.003;
            compare(Some((clip, seconds)), Some((again, seconds)));
        }
    }
}

#[test]
fn rigs_and_clips_read_back_and_pose_the_same() {
    for kind in [RigSample::Skinned, RigSample::MorphSkinned] {
        for (letters, metres) in [("RUB", 1.0), ("RDF", 1.0), ("RFU", 0.01), ("LUB", 2.0)] {
            let mut avatar = every_rig(kind);
            avatar.reframe(letters.parse().unwrap()).unwrap();
            avatar.metres_per_unit = metres;
            avatar.drivers.iter_mut().for_each(|d| (d.min, d.max, d.default) = (-0.5, 2.0, 0.25));
            let back = decode(encode(&avatar)).unwrap();
            assert_eq!((back.frame, back.metres_per_unit), (Frame::GLTF, 1.0));
            back.validate().unwrap();
            assert_same_motion(&avatar, &back, 1e-6);
            assert_eq!(back.splats.sh_degree, 0);
            assert_eq!(avatar.drivers, back.drivers);
            let bones = |a: &Avatar| {
                let RigBase::Skinned { skeleton, .. } = &a.rig.base else { panic!("a skinned avatar") };
                skeleton.joints.iter().map(|j| (j.name.clone(), j.humanoid.clone(), j.parent)).collect::<Vec<_>>()
            };
            assert_eq!(bones(&avatar), bones(&back));
        }
    }
}

#[test]
fn the_file_says_what_viewers_look_for() {
    let avatar = every_rig(RigSample::MorphSkinned);
    let (document, _) = split(&encode(&avatar));
    let mesh = &document["meshes"][0];
    assert_eq!(mesh["extras"]["targetNames"], json!(["jawOpen", "eyeBlinkLeft"]));
    assert_eq!(mesh["weights"], json!([0.0, 0.0]));
    let target = &document["accessors"][mesh["primitives"][0]["targets"][0]["POSITION"].as_u64().unwrap() as usize];
    assert!(target.get("bufferView").is_none());
    assert_eq!((&target["count"], &target["sparse"]["count"]), (&json!(60), &json!(20)));
    // the splats and the skeleton stand beside each other in the scene: a skinned node's parents do not move it
    assert_eq!((&document["scenes"][0]["nodes"], &document["nodes"][0]["skin"]), (&json!([0, 1]), &json!(0)));
    let paths: Vec<&str> = document["animations"][0]["channels"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["target"]["path"].as_str().unwrap())
        .collect();
    assert_eq!(paths, ["rotation", "translation", "weights"]);
    // four keys of the step track, the first excepted, are doubled by the value before the jump
    let weights = document["animations"][0]["samplers"][2]["input"].as_u64().unwrap() as usize;
    assert_eq!(document["accessors"][weights]["count"], json!(9));
    let kept = encode_with(&avatar, Options { keep_sh: true, ..Options::default() });
    assert_eq!(decode(kept).unwrap().splats.sh_degree, 1);
    let rest = decode(encode_with(&avatar, Options { rest_only: true, ..Options::default() })).unwrap();
    assert!(rest.rig.is_static() && rest.clips.is_empty() && rest.splats.sh_degree == 1);
}

#[test]
fn what_is_lost_is_said_with_its_numbers() {
    let mut avatar = every_rig(RigSample::MorphSkinned);
    let RigBase::Skinned { skin, skeleton, .. } = &mut avatar.rig.base else { panic!("a skinned sample") };
    for k in 0..2 {
        let mut extra = skeleton.joints[3].clone();
        extra.name = format!("extra{k}");
        skeleton.joints.push(extra);
    }
    let spread = vec![(0, 0.3), (1, 0.25), (2, 0.2), (3, 0.15), (4, 0.07), (5, 0.03)];
    *skin = Skin::from_rows((0..60).map(|i| if i == 7 { spread.clone() } else { vec![(0, 1.0)] }));
    let ghost =
        |target: &str| Track { target: target.into(), width: 1, ticks: vec![0], values: vec![0.0], ..Track::default() };
    avatar.clips[0].tracks.push(ghost("joint/tail/rotation"));
    avatar.clips[0].tracks[2].ticks = vec![0, 1, 2, 3, 12];
    avatar.clips.push(crate::Clip {
        name: "lips".into(),
        ticks_per_second: 30,
        tracks: vec![ghost("flame.expression.3")],
    });
    avatar.splats.means[9][1] = f32::NAN;
    let notes = notes(&avatar, &WriteOptions::default()).unwrap().join("\n");
    for part in [
        "1 splats lose more than 0.1%",
        "splat 7 the most with 10.00%",
        "SH degree 1",
        "clip `nod`: no joint and no morph target for the tracks `joint/tail/rotation`",
        "clip `nod`: its tracks end between 0.40 s and 0.80 s",
        "clip `lips` moves nothing here",
        "1 splats with numbers that are not finite",
    ] {
        assert!(notes.contains(part), "`{part}` is not in\n{notes}");
    }
    let back = decode(encode(&avatar)).unwrap();
    let RigBase::Skinned { skin, morphs: Some(Morphs { targets }), .. } = &back.rig.base else {
        panic!("still skinned")
    };
    assert_eq!((back.splats.len(), skin.row(7).count()), (59, 4));
    assert!((skin.row(7).next().unwrap().1 - 0.3 / 0.9).abs() < 1e-6);
    // splats behind the one that was left out have moved up, in morph targets too
    assert!(targets[0].splats.contains(&11) && !targets[0].splats.contains(&9));
}

#[test]
fn rigs_without_words_in_gltf_and_broken_tracks_are_refused() {
    for (kind, number) in [(RigSample::Stga, 3), (RigSample::Frames, 6), (RigSample::Blendshapes, 0)] {
        let message = refusal(&every_rig(kind));
        assert!(message.contains(&format!("kind {number}")) && message.contains("rest pose only"), "{message}");
    }
    let mut avatar = every_rig(RigSample::Skinned);
    avatar.rig.blendshapes = Some(Blendshapes::default());
    assert!(refusal(&avatar).contains("lbs + blendshapes"));
    let mut avatar = every_rig(RigSample::Skinned);
    avatar.clips[0].tracks[0].width = 2;
    let message = refusal(&avatar);
    assert!(message.contains("`joint/head/rotation` has 2 components, 4 expected"), "{message}");
}

#[test]
fn groups_drive_morph_targets_and_several_roots_get_a_parent() {
    let mut avatar = every_rig(RigSample::MorphSkinned);
    let RigBase::Skinned { skeleton, morphs: Some(morphs), .. } = &mut avatar.rig.base else {
        panic!("a skinned sample")
    };
    skeleton.joints[2].parent = None;
    for (k, target) in morphs.targets.iter_mut().enumerate() {
        target.driver = format!("flame.expression.{k}");
        avatar.drivers[k].name.clone_from(&target.driver);
    }
    let values = (0..6).map(|v| v as f32 * 0.1).collect();
    avatar.clips[0].tracks = vec![Track {
        target: "flame.expression".into(),
        width: 2,
        interpolation: Interpolation::Linear,
        ticks: vec![0, 15, 30],
        values,
    }];
    let back = decode(encode(&avatar)).unwrap();
    assert_same_motion(&avatar, &back, 1e-6);
    let RigBase::Skinned { skeleton, .. } = &back.rig.base else { panic!("still skinned") };
    assert_eq!(skeleton.joints[0].name, "skeleton");
}

/// A skinned sample with the bones of a human and a proxy mesh of one triangle.
fn person() -> Avatar {
    let mut avatar = every_rig(RigSample::MorphSkinned);
    let RigBase::Skinned { skeleton, .. } = &mut avatar.rig.base else { panic!("a skinned sample") };
    for bone in "hips spine leftUpperLeg leftLowerLeg leftFoot rightUpperLeg rightLowerLeg rightFoot leftUpperArm \
        leftLowerArm leftHand rightUpperArm rightLowerArm rightHand"
        .split_whitespace()
    {
        let mut joint = skeleton.joints[1].clone();
        (joint.name, joint.humanoid) = (bone.to_uppercase(), bone.to_owned());
        skeleton.joints.push(joint);
    }
    avatar.mesh = Some(crate::Mesh {
        positions: vec![[0.1, 0.2, 0.3], [0.2, 0.2, 0.3], [0.1, 0.4, 0.3]],
        faces: vec![[0, 1, 2]],
        ..crate::Mesh::default()
    });
    avatar
}

#[test]
fn a_proxy_has_a_scene_of_its_own_and_turns_with_the_splats() {
    let options = Options { proxy: true, ..Options::default() };
    for letters in ["RUB", "RDF", "RFU", "LUB"] {
        let mut avatar = person();
        avatar.reframe(letters.parse().unwrap()).unwrap();
        avatar.metres_per_unit = 2.0;
        let (document, bin) = split(&encode_with(&avatar, options.clone()));
        assert_eq!((&document["scenes"][1]["name"], &document["scene"]), (&json!("proxy"), &json!(0)));
        let node = &document["nodes"][document["scenes"][1]["nodes"][0].as_u64().unwrap() as usize];
        assert_eq!((&node["name"], &node["skin"]), (&json!("proxy"), &json!(1)));
        let primitive = &document["meshes"][1]["primitives"][0];
        let floats = |name: &str| -> Vec<f32> {
            let accessor = &document["accessors"][primitive["attributes"][name].as_u64().unwrap() as usize];
            let view = &document["bufferViews"][accessor["bufferView"].as_u64().unwrap() as usize];
            let at = view["byteOffset"].as_u64().unwrap() as usize;
            let length = view["byteLength"].as_u64().unwrap() as usize;
            bin[at..at + length].chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
        };
        let expected = [0.2, 0.4, 0.6, 0.4, 0.4, 0.6, 0.2, 0.8, 0.6];
        assert!(floats("POSITION").iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{letters}");
        assert_eq!(floats("NORMAL")[..3], [0.0, 0.0, 1.0], "{letters}: the outside stays outside");
    }
    let complaint = |avatar: &Avatar| {
        let options = WriteOptions { gltf: options.clone(), ..WriteOptions::default() };
        write(avatar, &mut Cursor::new(Vec::new()), &options).unwrap_err().to_string()
    };
    let mut avatar = person();
    avatar.mesh.as_mut().unwrap().faces.push([0, 1, 3]);
    assert!(complaint(&avatar).contains("face 1 of the proxy mesh names vertices [0, 1, 3] of 3"));
    avatar.template = Some(crate::Template { name: "FLAME".into(), embedded: true, ..crate::Template::default() });
    assert!(complaint(&avatar).contains("no licence says that it may be passed on"));
    avatar.mesh = None;
    assert!(complaint(&avatar).contains("its template `FLAME`"));
}

#[test]
fn vrm_names_bones_expressions_and_licence() {
    let options = Options { vrm: true, ..Options::default() };
    let mut avatar = person();
    avatar.meta.licence = "MIT".into();
    avatar.meta.attribution = "Ada".into();
    let (document, _) = split(&encode_with(&avatar, options.clone()));
    let vrm = &document["extensions"]["VRMC_vrm"];
    assert_eq!(vrm["specVersion"], json!("1.0"));
    assert_eq!(
        (&vrm["meta"]["authors"], &vrm["meta"]["licenseUrl"]),
        (&json!(["Ada"]), &json!("https://vrm.dev/licenses/1.0/"))
    );
    assert_eq!(vrm["meta"]["otherLicenseUrl"], json!("https://spdx.org/licenses/MIT.html"));
    let node = vrm["humanoid"]["humanBones"]["leftHand"]["node"].as_u64().unwrap() as usize;
    assert_eq!(document["nodes"][node]["name"], json!("LEFTHAND"));
    assert_eq!(vrm["expressions"]["preset"]["aa"]["morphTargetBinds"][0]["index"], json!(0));
    assert!(document["extensionsUsed"].as_array().unwrap().contains(&json!("VRMC_vrm")));
    let options = WriteOptions { gltf: options, ..WriteOptions::default() };
    let bare = every_rig(RigSample::MorphSkinned);
    let message = write(&bare, &mut Cursor::new(Vec::new()), &options).unwrap_err().to_string();
    assert!(message.contains("15 bones, this skeleton of 4 joints has no hips, spine, leftUpperLeg"), "{message}");
    let message = write(&sample(2, 0), &mut Cursor::new(Vec::new()), &options).unwrap_err().to_string();
    assert!(message.contains("skeleton"), "{message}");
}

#[test]
fn an_embedded_gav_comes_back_whole() {
    let avatar = every_rig(RigSample::RgbAvatar);
    let gav = crate::to_bytes(&avatar, crate::format_by_name("gav").unwrap(), &WriteOptions::default()).unwrap();
    let options = Options { embed: Some(gav.clone()), rest_only: true, ..Options::default() };
    let glb = encode_with(&avatar, options);
    assert!(decode(glb.clone()).unwrap().rig.is_static());
    let embedded = ReadOptions { embedded: true, ..ReadOptions::default() };
    let back = read(&Source::from_bytes(glb), &embedded).unwrap();
    assert_eq!(back, crate::read(&Source::from_bytes(gav), &ReadOptions::default()).unwrap());
    assert_eq!(code(read(&Source::from_bytes(encode(&sample(2, 0))), &embedded)), "MISSING");
}

#[test]
fn stills_take_turns_and_share_what_does_not_change() {
    let avatar = every_rig(RigSample::Frames);
    let still = |k: usize| {
        let mut splats = avatar.splats.clone();
        splats.means.iter_mut().for_each(|m| m[0] += k as f32);
        Still { splats, shown: 0.5 * k as f64..0.5 * k as f64 + 0.5 }
    };
    let stills: Vec<Still> = (0..3).map(still).collect();
    let mut sink = Cursor::new(Vec::new());
    write_frames(&avatar, "wave", &stills, &mut sink, &WriteOptions::default()).unwrap();
    let glb = sink.into_inner();
    let (document, _) = split(&glb);
    assert_eq!(document["nodes"][1]["scale"], json!([1e-6, 1e-6, 1e-6]));
    let attributes = |k: usize| document["meshes"][k]["primitives"][0]["attributes"].as_object().unwrap().clone();
    for (name, accessor) in attributes(0) {
        assert_eq!(attributes(2)[&name] == accessor, name != "POSITION", "{name}");
    }
    assert_eq!(document["animations"][0]["samplers"][1]["interpolation"], json!("STEP"));
    let back = decode(glb).unwrap();
    let mut first = avatar.clone();
    first.rig = crate::Rig::default();
    first.reframe(Frame::GLTF).unwrap();
    assert_eq!(back.splats.means, first.splats.means);

    let broken = [stills[1].clone(), stills[0].clone()];
    let error = write_frames(&avatar, "", &broken, &mut Cursor::new(Vec::new()), &WriteOptions::default());
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("still 1 is shown from 0 s to 0.5 s, after one that is shown until 1 s")
    );
}

#[test]
fn the_real_head_reads_back() {
    let Some(folder) = shared("lam-head") else { return };
    let avatar = crate::load(folder.join("lam_p2-1.zip"), &ReadOptions::default()).unwrap();
    println!("{:?}", notes(&avatar, &WriteOptions::default()).unwrap());
    let glb = encode(&avatar);
    println!("{} bytes", glb.len());
    let mut back = decode(glb).unwrap();
    // joints come back in another order, and the clips' time base may differ; the motion may not
    assert_same_motion(&avatar, &back, 2e-6);
    assert_eq!(back.drivers, avatar.drivers);
    back.clips.clear();
}
