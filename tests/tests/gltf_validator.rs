//! The Khronos validator on every kind of GLB that we write: no errors, no warnings.
//!
//! Needs Node and the validator: `npm install --prefix MODULES gltf-validator`, and MODULES in `GAV_GLTF_VALIDATOR`. Skips loudly
//! without it. `tests/viewer/validate.mjs` says which of its findings are forgiven. The files stay in the target folder's `tmp`.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Command,
};

use gav_formats::{
    Avatar, Clip, Driver, Frame, Interpolation, Mesh, ReadOptions, RigBase, Track, WriteOptions, format_by_name,
    gltf::{self, Still},
    load, save,
    synthetic::{self, RigSample, every_rig},
};

/// A skinned avatar with everything that makes the file unusual: mixed key times, jumps, a group, a target without splats.
fn difficult() -> Avatar {
    let mut avatar = every_rig(RigSample::MorphSkinned);
    avatar.metres_per_unit = 0.01;
    avatar.reframe("RFU".parse::<Frame>().unwrap()).unwrap();
    let RigBase::Skinned { skeleton, morphs: Some(morphs), .. } = &mut avatar.rig.base else {
        panic!("a skinned sample")
    };
    skeleton.joints[2].parent = None;
    avatar.mesh = Some(Mesh {
        positions: vec![[0.1, 0.2, 0.3], [0.2, 0.2, 0.3], [0.1, 0.4, 0.3], [5.0, 5.0, 5.0]],
        faces: vec![[0, 1, 2]],
        ..Mesh::default()
    });
    skeleton.joints[1].rotation = [0.1, 0.7, -0.3, 2.0];
    let mut empty = morphs.targets[0].clone();
    empty.driver = "mood.0".into();
    (empty.splats, empty.deltas) = (vec![], vec![]);
    let mut full = morphs.targets[0].clone();
    full.driver = "mood.1".into();
    full.splats = (0..60).collect();
    full.deltas = vec![[0.5, -0.25, 0.0]; 60];
    morphs.targets.extend([empty, full]);
    avatar.drivers.push(Driver { name: "mood.1".into(), min: -1.0, max: 1.0, default: 0.5 });
    avatar.clips.push(Clip {
        name: "mood".into(),
        ticks_per_second: 90_000,
        tracks: vec![
            Track {
                target: "mood".into(),
                width: 2,
                ticks: vec![7, 8, 4_000_000_000],
                values: vec![0.0, 1.0, 0.5, -1.0, 0.0, 0.0],
                ..Track::default()
            },
            Track {
                target: "joint/head/scale".into(),
                width: 3,
                ticks: vec![3],
                values: vec![1.0; 3],
                ..Track::default()
            },
        ],
    });
    avatar
}

/// For the real head: a clip of joints and morph targets, and one of the morph targets alone.
fn performance() -> [Clip; 2] {
    let track = |target: &str, width: u32, values: &[f32]| Track {
        target: target.into(),
        width,
        interpolation: if width == 4 { Interpolation::Slerp } else { Interpolation::Linear },
        ticks: (0..values.len() as u32 / width).map(|k| 15 * k).collect(),
        values: values.to_vec(),
    };
    let face = vec![
        track("arkit.jawOpen", 1, &[0.0, 0.8, 0.2, 1.0, 0.0]),
        track("arkit.eyeBlinkLeft", 1, &[0.0, 0.0, 1.0, 1.0, 0.0]),
        track("arkit.browInnerUp", 1, &[0.0, 1.0, 0.0, 0.5, 0.0]),
        track("arkit.mouthSmileRight", 1, &[0.5, 0.0, 1.0, 0.0, 0.5]),
    ];
    let mut all = face.clone();
    let turn = |angle: f32| [(0.5 * angle).cos(), 0.0, (0.5 * angle).sin(), 0.0];
    all.push(track("joint/head/rotation", 4, [0.0, 0.5, -0.3, -0.6, 0.0].map(turn).as_flattened()));
    let clip = |name: &str, tracks| Clip { name: name.into(), ticks_per_second: 30, tracks };
    [clip("performance", all), clip("face", face)]
}

fn stills(avatar: &Avatar) -> Vec<Still> {
    let still = |k: usize| {
        let mut splats = avatar.splats.clone();
        splats.means.iter_mut().for_each(|m| m[1] += 0.1 * k as f32);
        Still { splats, shown: 0.25 * k as f64..0.25 * k as f64 + 0.25 }
    };
    (0..4).map(still).collect()
}

fn shared(part: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let path = std::env::var_os("GAV_SHARED").map_or_else(beside, Into::into).join("data").join(part);
    if !path.exists() {
        eprintln!("SKIPPED: {} is not there", path.display());
        return None;
    }
    Some(path)
}

#[test]
fn the_khronos_validator_finds_nothing_wrong() {
    let Some(modules) = std::env::var_os("GAV_GLTF_VALIDATOR") else {
        eprintln!("SKIPPED: set GAV_GLTF_VALIDATOR to the folder in which npm installed gltf-validator");
        return;
    };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gltf");
    std::fs::create_dir_all(&folder).unwrap();
    let format = format_by_name("glb").unwrap();
    let mut avatars = vec![
        ("static", synthetic::random(100, 3, 5)),
        ("skinned", every_rig(RigSample::Skinned)),
        ("morphs", every_rig(RigSample::MorphSkinned)),
        ("difficult", difficult()),
        ("head", synthetic::head_rigged(3000, 1)),
    ];
    let mut files: Vec<PathBuf> = Vec::new();
    if let Some(zip) = shared("lam-head/lam_p2-1.zip") {
        let mut avatar = load(zip, &ReadOptions::default()).unwrap();
        avatar.clips.extend(performance());
        // for tests/viewer/play.mjs
        save(&avatar, folder.join("lam.gav"), format_by_name("gav").unwrap(), &WriteOptions::default()).unwrap();
        let path = folder.join("lam-vrm.glb");
        let gltf = gltf::Options { vrm: true, embed: Some(vec![1, 2, 3]), ..gltf::Options::default() };
        save(&avatar, &path, format, &WriteOptions { gltf, ..WriteOptions::default() }).unwrap();
        files.push(path);
        avatars.push(("lam", avatar));
    }
    for (name, avatar) in &avatars {
        let path = folder.join(format!("{name}.glb"));
        let gltf = gltf::Options { proxy: avatar.mesh.is_some(), ..gltf::Options::default() };
        save(avatar, &path, format, &WriteOptions { gltf, ..WriteOptions::default() }).unwrap();
        files.push(path);
    }
    let path = folder.join("stills.glb");
    let moving = every_rig(RigSample::Frames);
    let mut file = File::create(&path).unwrap();
    gltf::write_frames(&moving, "wave", &stills(&moving), &mut file, &WriteOptions::default()).unwrap();
    files.push(path);

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("viewer/validate.mjs");
    let output = Command::new("node").arg(script).arg(modules).args(&files).output().expect("node runs");
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success());
    assert_eq!(text.matches(": 0 errors, 0 warnings").count(), files.len());
}
