//! Every kind of file, made by hand or by our own writers; the reference data of trackers; and what is refused.

use std::{fs, path::PathBuf};

use super::{array::interpolation as array_interpolation, *};
use crate::{
    Pose, load,
    npy::{NpyArray, NpyType, write_npz},
    weights,
};

/// `frames` rows of `width` numbers 0.01, 0.02, … from `first`.
fn array(frames: usize, width: usize, first: f32) -> NpyArray {
    let values: Vec<f32> = (0..frames * width).map(|k| first + k as f32 * 0.01).collect();
    NpyArray::from_f32(vec![frames, width], &values)
}

fn npz(arrays: &[(&str, NpyArray)]) -> Vec<u8> {
    write_npz(&arrays.iter().map(|(name, array)| ((*name).to_owned(), array.clone())).collect::<Vec<_>>()).unwrap()
}

fn source(name: &str, bytes: Vec<u8>) -> Source {
    Source::from_bytes_at(bytes, name)
}

fn one(name: &str, bytes: Vec<u8>, options: &ClipOptions) -> Result<Clip> {
    let clips = read_source(&source(name, bytes), options)?;
    assert_eq!(clips.len(), 1);
    Ok(clips.into_iter().next().unwrap())
}

fn refused(name: &str, bytes: Vec<u8>, words: &[&str]) {
    let message = one(name, bytes, &ClipOptions::default()).unwrap_err().to_string();
    assert!(words.iter().all(|word| message.contains(word)), "{message}");
}

fn track<'a>(clip: &'a Clip, target: &str) -> &'a Track {
    let targets: Vec<&str> = clip.tracks.iter().map(|t| t.target.as_str()).collect();
    clip.tracks.iter().find(|t| t.target == target).unwrap_or_else(|| panic!("no `{target}` among {targets:?}"))
}

fn performance(frames: usize) -> Vec<(&'static str, NpyArray)> {
    vec![
        ("expr", array(frames, 100, 0.0)),
        ("rotation", array(frames, 3, 0.0)),
        ("neck_pose", array(frames, 3, 0.0)),
        ("jaw_pose", array(frames, 3, 0.1)),
        ("eyes_pose", array(frames, 6, 0.0)),
        ("translation", array(frames, 3, 0.0)),
        ("shape", NpyArray::from_f32(vec![300], &[0.5; 300])),
        ("static_offset", array(1, 9, 0.0)),
    ]
}

fn shared(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("GAV_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let path = root.join(name);
    if !path.exists() {
        eprintln!("SKIPPED: {} is not there; set GAV_SHARED to the folder of reference data", path.display());
        return None;
    }
    Some(path)
}

#[test]
fn flame_performances_become_groups() {
    let clip = one("a/talk.npz", npz(&performance(4)), &ClipOptions::default()).unwrap();
    assert_eq!((clip.name.as_str(), clip.ticks_per_second, clip.tracks.len()), ("talk", 25, 6));
    assert_eq!((track(&clip, "flame.expression").width, track(&clip, "flame.eyes_pose").width), (100, 6));
    assert_eq!(track(&clip, "flame.jaw_pose").values[..2], [0.1, 0.11]);
    let options = ClipOptions { identity: true, fps: Some(30), name: Some("x".into()), ..ClipOptions::default() };
    let clip = one("a/talk.npz", npz(&performance(4)), &options).unwrap();
    assert_eq!((clip.name.as_str(), clip.ticks_per_second), ("x", 30));
    assert_eq!((track(&clip, "flame.shape").width, track(&clip, "flame.shape").ticks.len()), (300, 1));

    // float64 members, fewer coefficients, an offset that moves
    let jaw = NpyArray::from_f64(vec![2, 3], &[0.3, 0.0, 0.0, 0.0, 0.0, 0.0]);
    let parts = [("expr", array(2, 50, 0.0)), ("jaw_pose", jaw), ("dynamic_offset", array(2, 9, 0.0))];
    let clip = one("f.npz", npz(&parts), &ClipOptions::default()).unwrap();
    assert_eq!((track(&clip, "flame.expression").width, track(&clip, "flame.dynamic_offset").width), (50, 9));
    assert_eq!(track(&clip, "flame.jaw_pose").values[0], 0.3);
}

#[test]
fn wrong_lengths_name_both_numbers() {
    let mut parts = performance(4);
    parts[1].1 = array(3, 3, 0.0);
    refused("f.npz", npz(&parts), &["`expr` has 4 frames", "`rotation` has 3"]);
    parts[1].1 = array(4, 4, 0.0);
    refused("f.npz", npz(&parts), &["[4, 4]", "frames × 3"]);
    parts[1].1 = array(4, 3, f32::NAN);
    refused("f.npz", npz(&parts), &["flame.rotation", "NaN"]);
    refused("f.npz", npz(&[("expr", array(2, 101, 0.0))]), &["[2, 101]", "frames × 100"]);
    let mut body = vec![("global_orient", array(5, 3, 0.0)), ("body_pose", array(4, 63, 0.0))];
    refused("b.npz", npz(&body), &["5 frames", "has 4"]);
    body[1].1 = array(5, 64, 0.0);
    refused("b.npz", npz(&body), &["[5, 64]", "63"]);
    refused("a.npz", npz(&[("poses", array(2, 100, 0.0)), ("x", array(1, 1, 0.0))]), &["100 numbers", "156 or 165"]);
    refused("p.npz", npz(&[("data", array(2, 100, 0.0))]), &["100 numbers", "188, 179, 175 or 123"]);
    refused("e.bin", b"nothing".to_vec(), &["no motion that is known"]);
    assert!(one("f.npz", npz(&performance(1)), &ClipOptions { fps: Some(0), ..ClipOptions::default() }).is_err());
}

#[test]
fn a_folder_of_frames_is_one_clip_even_with_gaps() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("306_EXP-2/flame_param");
    fs::create_dir_all(&folder).unwrap();
    for frame in [3u32, 4, 6] {
        let mut parts = performance(1);
        parts[3].1 = NpyArray::from_f64(vec![1, 3], &[f64::from(frame), 0.0, 0.0]);
        fs::write(folder.join(format!("{frame:05}.npz")), npz(&parts)).unwrap();
    }
    fs::write(folder.join("notes.txt"), b"mine").unwrap();
    for path in [&folder, &root.path().join("306_EXP-2")] {
        let clip = read(path, &ClipOptions::default()).unwrap().remove(0);
        assert_eq!((clip.name.as_str(), clip.ticks_per_second), ("306_EXP-2", 25));
        let jaw = track(&clip, "flame.jaw_pose");
        assert_eq!(jaw.ticks, [0, 1, 3]);
        assert_eq!(jaw.sample(2.0)[0], 5.0);
    }
    fs::write(folder.join("00007.npz"), npz(&performance(2))).unwrap();
    let message = read(&folder, &ClipOptions::default()).unwrap_err().to_string();
    assert!(message.contains("00007.npz") && message.contains("2 rows"), "{message}");
    fs::remove_file(folder.join("00007.npz")).unwrap();
    fs::write(folder.join("7.npz"), npz(&[("expr", array(1, 50, 0.0))])).unwrap();
    let message = read(&folder, &ClipOptions::default()).unwrap_err().to_string();
    assert!(message.contains("50 values") && message.contains("100 in the frames before"), "{message}");
    fs::write(folder.join("000007.npz"), b"x").unwrap();
    assert!(read(&folder, &ClipOptions::default()).is_err());
    assert!(read(root.path(), &ClipOptions::default()).is_err());
}

#[test]
fn tracker_checkpoints_become_the_controls_of_an_rgbavatar() {
    let Some(fixtures) = shared("parity/rgbavatar/fixtures") else { return };
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("subject/checkpoint");
    fs::create_dir_all(&folder).unwrap();
    for name in ["00000.frame", "00001.frame"] {
        fs::copy(fixtures.join(name), folder.join(name)).unwrap();
    }
    let options = ClipOptions { identity: true, ..ClipOptions::default() };
    let clip = read(root.path().join("subject"), &options).unwrap().remove(0);
    assert_eq!((clip.name.as_str(), clip.ticks_per_second), ("subject", 25));
    let first = weights::read_arrays(&fs::read(folder.join("00000.frame")).unwrap(), &Default::default()).unwrap();
    assert_eq!(track(&clip, "flame.expression").values[..100], first.arrays["flame.exp"].to_f32());
    // six numbers of the tracker stand for the rotation whose first two rows they are, made orthonormal in order
    let orthonormal = |v: &[f64]| -> Vec<f64> {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let unit = |a: &[f64]| a.iter().map(|x| x / dot(a, a).sqrt()).collect::<Vec<f64>>();
        let a = unit(&v[..3]);
        let rest: Vec<f64> = v[3..6].iter().zip(&a).map(|(x, a0)| x - dot(&a, &v[3..6]) * a0).collect();
        [a, unit(&rest)].concat()
    };
    for (name, member, from) in [("right_eye_6d", "flame.eyes", 6), ("jaw_6d", "flame.jaw", 0)] {
        let expected = orthonormal(&first.arrays[member].to_f64()[from..from + 6]);
        let found = &track(&clip, &format!("flame.{name}")).values[..6];
        // float32
        assert!(found.iter().zip(&expected).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-7), "{found:?} {expected:?}");
    }
    assert_eq!(track(&clip, "flame.eyelids").width, 2);
    assert_eq!(track(&clip, "flame.shape").ticks, [0]);
    // the head turns by diag(1, −1, −1) R, whose first two rows these are
    for (key, name) in ["00000.frame", "00001.frame"].into_iter().enumerate() {
        let frame = weights::read_arrays(&fs::read(folder.join(name)).unwrap(), &Default::default()).unwrap();
        let r = frame.arrays["opencv.R"].to_f64();
        let neck = &track(&clip, "flame.neck_6d").values[6 * key..][..6];
        let expected = [r[0], r[1], r[2], -r[3], -r[4], -r[5]];
        assert!(neck.iter().zip(expected).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-6), "{neck:?} {expected:?}");
        let quaternion = &track(&clip, "camera.rotation").values[4 * key..][..4];
        let q: [f64; 4] = std::array::from_fn(|k| f64::from(quaternion[k]));
        let m = crate::conventions::matrix_from_quaternion(q);
        // both float32
        assert!((0..9).all(|k| (m[k / 3][k % 3] - r[k]).abs() < 1e-6), "{m:?} {r:?}");
        let t = frame.arrays["opencv.t"].to_f32();
        assert_eq!(&track(&clip, "camera.translation").values[3 * key..][..3], &t[..]);
    }
    assert_eq!(track(&clip, "camera.rotation").interpolation, Interpolation::Slerp);
    // a frame alone, in the older container
    let single = read(fixtures.join("legacy_container.frame"), &ClipOptions::default()).unwrap().remove(0);
    assert_eq!(track(&single, "flame.neck_6d").ticks, [0]);
    // what drives the avatar has the names of its network
    let mut names: Vec<String> = Vec::new();
    for track in &clip.tracks {
        names.extend((0..track.width).map(|k| format!("{}.{k}", track.target)));
    }
    let missing: Vec<String> =
        crate::ply::rgb_avatar_driver_names(129).into_iter().filter(|driver| !names.contains(driver)).collect();
    assert_eq!(missing, ["flame.translation.0", "flame.translation.1", "flame.translation.2"]);
}

#[test]
fn amass_names_its_groups_and_rate() {
    let file = |width: usize, rate: &str, hz: f64| {
        let rate = (rate, NpyArray::from_f64(vec![], &[hz]));
        npz(&[("poses", array(3, width, 0.0)), ("trans", array(3, 3, 1.0)), ("betas", array(1, 16, 0.0)), rate])
    };
    let clip = one("walk_poses.npz", file(156, "mocap_framerate", 120.0), &ClipOptions::default()).unwrap();
    assert_eq!((clip.ticks_per_second, clip.tracks.len()), (120, 6));
    assert_eq!(track(&clip, "smplx.body_pose").values[0], 0.03);
    assert_eq!(track(&clip, "smplx.right_hand_pose").values[0], 1.11);
    assert_eq!(track(&clip, "smplx.transl").values[..3], [1.0, 1.01, 1.02]);
    assert_eq!(track(&clip, "world.up").values, [0.0, 0.0, 1.0]);
    let clip = one("w.npz", file(165, "mocap_frame_rate", 60.0), &ClipOptions { fps: Some(30), ..Default::default() });
    let clip = clip.unwrap();
    assert_eq!((clip.ticks_per_second, track(&clip, "smplx.jaw_pose").ticks.len()), (30, 2));
    assert_eq!(track(&clip, "smplx.left_hand_pose").values[0], 0.75);
    let options = ClipOptions { identity: true, ..ClipOptions::default() };
    let clip = one("w.npz", file(72, "mocap_framerate", 29.97), &options).unwrap();
    assert_eq!((clip.ticks_per_second, track(&clip, "smpl.body_pose").width), (90_000, 69));
    assert_eq!(track(&clip, "smpl.body_pose").ticks, [0, 3003, 6006]);
    assert_eq!(track(&clip, "smpl.betas").width, 16);
    refused("w.npz", file(156, "mocap_framerate", -1.0), &["-1", "no frames per second"]);
}

#[test]
fn smplx_is_read_by_name_and_by_width() {
    let groups = [
        ("global_orient", array(2, 3, 0.0)),
        ("pose_body", array(2, 63, 0.0)),
        ("pose_hand", array(2, 90, 0.0)),
        ("pose_eye", array(2, 6, 0.0)),
        ("expression", array(2, 10, 0.0)),
        ("betas", array(2, 10, 0.0)),
        ("transl", NpyArray::from_f32(vec![3], &[1.0, 2.0, 3.0])),
        ("left_hand", array(2, 7, 0.0)),
    ];
    let clip = one("s.npz", npz(&groups), &ClipOptions { identity: true, ..ClipOptions::default() }).unwrap();
    assert_eq!((clip.ticks_per_second, track(&clip, "smplx.transl").ticks.len()), (30, 1));
    assert_eq!(track(&clip, "smplx.right_hand_pose").values[0], 0.45);
    assert_eq!(track(&clip, "smplx.reye_pose").values[0], 0.03);
    assert_eq!((track(&clip, "smplx.betas").ticks.len(), track(&clip, "smplx.betas").width), (1, 10));
    let body = [("body_pose", NpyArray { shape: vec![2, 23, 3], ..array(2, 69, 0.0) }), ("trans", array(2, 3, 0.0))];
    let clip = one("s.npz", npz(&body), &ClipOptions::default()).unwrap();
    assert_eq!((clip.tracks.len(), track(&clip, "smpl.body_pose").width), (2, 69));

    for (width, body_from, hand, place) in
        [(188usize, 16, 45, Some(0.35)), (179, 16, 45, Some(0.35)), (175, 3, 45, Some(0.35)), (123, 7, 12, None)]
    {
        for file in [npz(&[("smpl_params", array(2, width, 0.0))]), crate::npy::write_npy(&array(2, width, 0.0))] {
            let clip = one("p.npy", file, &ClipOptions::default()).unwrap();
            assert_eq!(track(&clip, "smplx.body_pose").values[0], body_from as f32 * 0.01, "{width}");
            assert_eq!(track(&clip, "smplx.left_hand_pose").width, hand, "{width}");
            let transl = track(&clip, "smplx.transl");
            assert_eq!(place, (transl.ticks.len() == 1).then_some(transl.values[1]), "{width}");
            assert_eq!(clip.tracks.iter().any(|t| t.target == "smplx.global_orient"), width < 179, "{width}");
            assert!(!clip.tracks.iter().any(|t| t.target == "smplx.betas"));
        }
    }
}

const LIVE_LINK: &str = "Timecode,BlendshapeCount,EyeBlinkLeft,JawOpen,HeadYaw\n\
    23:59:59:58.120,61,0.25,0.5,-0.1\n23:59:59:59.5,61,0.5,0.25,0\n00:00:00:01.0,61,0,1,0.1\n00:00:01:10.0,61,0,1,0.1\n\
    00:00:02:00.9,61,1,0,0.2\n";

#[test]
fn live_link_keeps_its_frames_over_midnight() {
    let clip = one("face.csv", LIVE_LINK.into(), &ClipOptions::default()).unwrap();
    assert_eq!((clip.name.as_str(), clip.ticks_per_second, clip.tracks.len()), ("face", 60, 3));
    assert_eq!(track(&clip, "arkit.jawOpen").ticks, [0, 1, 3, 72, 122]);
    assert_eq!(track(&clip, "arkit.headYaw").values, [-0.1, 0.0, 0.1, 0.1, 0.2]);
    let with = |from: &str, to: &str| LIVE_LINK.replacen(from, to, 1).into_bytes();
    refused("f.csv", with("0.25,0.5", "0.25,x"), &["row 1", "JawOpen", "`x`"]);
    refused("f.csv", with("0.25,0.5,-0.1", "0.25,0.5"), &["line 2", "4 cells", "5"]);
    refused("f.csv", with("23:59:59:59.5", "noon"), &["row 2", "noon"]);
    refused("f.csv", with("00:00:01:10.0", "00:00:00:00.0"), &["row 3", "the one before"]);
    refused("f.csv", with("EyeBlinkLeft,JawOpen,HeadYaw", "a,b,c"), &["none of the 5 columns"]);
}

#[test]
fn tables_of_seconds_and_of_frames() {
    let text = "\u{feff}Seconds,arkit.jawOpen,joint/neck/rotation.0,joint/neck/rotation.1,joint/neck/rotation.2,joint/neck/rotation.3\n\
        0,0,1,0,0,0\n0.04,1,0,1,0,0\n";
    let clip = one("t.csv", text.into(), &ClipOptions::default()).unwrap();
    assert_eq!((clip.ticks_per_second, clip.tracks.len()), (25, 2));
    assert_eq!(track(&clip, "joint/neck/rotation").interpolation, Interpolation::Slerp);
    let clip = one("t.csv", "frame,jawOpen\n0,1\n2,3\n".into(), &ClipOptions::default()).unwrap();
    assert_eq!((clip.ticks_per_second, &track(&clip, "arkit.jawOpen").ticks[..]), (30, &[0, 2][..]));
    refused("t.csv", b"seconds,a,a\n0,1,2\n".to_vec(), &["two columns", "`a`"]);
    refused("t.csv", b"seconds,a\n1,1\n0,2\n".to_vec(), &["row 1", "the one before at 1 s"]);
    refused("t.csv", b"seconds,a\n-1,1\n".to_vec(), &["-1 s"]);
}

/// Motion of every kind of target, with a single key among them.
fn sample(uneven: bool) -> Clip {
    let half = std::f32::consts::FRAC_1_SQRT_2;
    let ticks = if uneven { vec![0, 1, 5] } else { vec![0, 1, 2] };
    let track = |target: &str, width: u32, values: &[f32]| Track {
        target: target.into(),
        width,
        interpolation: array_interpolation(target, width as usize),
        ticks: if values.len() == width as usize { vec![0] } else { ticks.clone() },
        values: values.to_vec(),
    };
    Clip {
        name: "all".into(),
        ticks_per_second: 50,
        tracks: vec![
            track("arkit.jawOpen", 1, &[0.1, 0.2, 1.0 / 3.0]),
            track("joint/neck/rotation", 4, &[1.0, 0.0, 0.0, 0.0, half, half, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0]),
            track("flame.expression", 2, &[1.0, -2.0, 3.0, 4.5, 1e-9, -6e12]),
            track("smplx.transl", 3, &[1.0, 2.0, 3.0]),
        ],
    }
}

#[test]
fn what_is_exported_is_read_back() {
    let options = ClipOptions::default();
    for uneven in [false, true] {
        let clip = sample(uneven);
        assert_eq!(one("x.json", to_json(&clip).unwrap().into(), &options).unwrap(), clip);
        let back = one("all.csv", to_csv(&clip).unwrap().into(), &options).unwrap();
        assert_eq!((back.ticks_per_second, back.tracks.len()), (50, 4));
        assert_eq!(back.tracks[..3], clip.tracks[..3]);
    }
    let clip = sample(false);
    let back = one("all.npz", to_npz(&clip).unwrap(), &options).unwrap();
    assert_eq!(back, clip);
    let message = to_npz(&sample(true)).unwrap_err().to_string();
    assert!(message.contains("3 keys at uneven times"), "{message}");

    // the formats of others
    let face = one("face.npz", npz(&performance(3)), &options).unwrap();
    let file = to_npz(&face).unwrap();
    let members: Vec<String> =
        crate::npy::read_npz(&file, &Limits::default()).unwrap().arrays.into_iter().map(|(name, _)| name).collect();
    assert_eq!(members[..3], ["expr", "rotation", "neck_pose"]);
    assert_eq!(one("face.npz", file, &options).unwrap(), face);
    let body = [("global_orient", array(2, 3, 0.0)), ("body_pose", array(2, 63, 0.0))];
    let body = one("body.npz", npz(&body), &options).unwrap();
    assert_eq!(one("body.npz", to_npz(&body).unwrap(), &options).unwrap(), body);
    let mut broken = clip;
    broken.tracks[0].values[0] = f32::INFINITY;
    assert!(to_json(&broken).is_err());
}

#[test]
fn motion_inside_of_other_assets_is_found() {
    let Some(lam) = shared("data/lam-head/lam_p2-1.zip") else { return };
    let clips = read(&lam, &ClipOptions::default()).unwrap();
    assert_eq!(clips, load(&lam, &Default::default()).unwrap().clips);
    assert!(!clips.is_empty());
    let Some(man) = shared("data/cesium-man/CesiumMan.glb") else { return };
    let clips = read(man, &ClipOptions { name: Some("walk".into()), ..ClipOptions::default() }).unwrap();
    assert_eq!((clips.len(), clips[0].name.as_str()), (1, "walk"));
    assert!(clips[0].tracks.iter().all(|t| t.target.starts_with("joint/")) && clips[0].seconds() > 1.0);
}

#[test]
fn a_map_takes_blendshapes_to_flame() {
    let clip = one("face.csv", LIVE_LINK.into(), &ClipOptions::default()).unwrap();
    let json = br#"{"name": "mine", "inputs": ["jawOpen", "eyeBlink_L"], "outputs": ["flame.jaw_pose.x", "flame.jaw_pose.y",
        "flame.jaw_pose.z", "flame.eyelids"], "matrix": [[0.5, 0], [0, 0], [0, 0], [0, 2]], "offset": [0.25, 0, 0, 0]}"#;
    let csv = b"output,JawOpen,EyeBlinkLeft,offset\nflame.jaw_pose.x,0.5,0,0.25\nflame.jaw_pose.y,0,0,0\n\
        flame.jaw_pose.z,0,0,0\nflame.eyelids,0,2,0\n";
    for file in [source("m.json", json.to_vec()), source("mine.csv", csv.to_vec())] {
        let map = read_map(&file, &Limits::default()).unwrap();
        assert_eq!((map.name.as_str(), map.inputs[1].as_str()), ("mine", "arkit.eyeBlinkLeft"));
        let flame = apply_map(&clip, &map).unwrap();
        assert_eq!(flame.tracks.len(), 3);
        assert_eq!(track(&flame, "flame.jaw_pose").values[..6], [0.5, 0.0, 0.0, 0.375, 0.0, 0.0]);
        assert_eq!(track(&flame, "flame.eyelids").values, [0.5, 1.0, 0.0, 0.0, 2.0]);
        assert_eq!(track(&flame, "arkit.headYaw"), track(&clip, "arkit.headYaw"));
    }
    // an array a group: jawOpen is blendshape 17
    let mut matrix = vec![0.0f32; 52 * 2];
    matrix[17 * 2 + 1] = 3.0;
    let group = NpyArray { dtype: NpyType::F32, shape: vec![52, 2], data: bytemuck::cast_slice(&matrix).to_vec() };
    let file = npz(&[("flame.expression", group), ("flame.expression.offset", array(2, 1, 0.0))]);
    let map = read_map(&source("m.npz", file), &Limits::default()).unwrap();
    let flame = apply_map(&clip, &map).unwrap();
    assert_eq!(track(&flame, "flame.expression").values[..2], [0.0, 1.51]);

    let error = |file: Source| read_map(&file, &Limits::default()).unwrap_err().to_string();
    let message = error(source("m.npz", npz(&[("flame.expression", array(51, 2, 0.0))])));
    assert!(message.contains("51 rows") && message.contains("52"), "{message}");
    let message = error(source("m.json", br#"{"inputs":["a"],"outputs":["b"],"matrix":[1,2]}"#.to_vec()));
    assert!(message.contains("2 coefficients") && message.contains("1 × 1"), "{message}");
    let message = error(source("m.json", br#"{"inputs":["a","a"],"outputs":["b"],"matrix":[1,2]}"#.to_vec()));
    assert!(message.contains("twice"), "{message}");
    let other = DriverMap {
        name: "o".into(),
        inputs: vec!["vrm.aa".into()],
        outputs: vec!["x".into()],
        matrix: vec![1.0],
        offset: vec![0.0],
    };
    assert!(apply_map(&clip, &other).unwrap_err().to_string().contains("none of the 1 inputs"));
}

#[test]
fn flame_flavours_fit_each_other() {
    let parts = [("expr", array(2, 50, 1.0)), ("jaw_pose", array(2, 3, 0.1)), ("eyes_pose", array(2, 6, -0.2))];
    let clip = one("f.npz", npz(&parts), &ClipOptions::default()).unwrap();
    let six = fit_flame(&clip, 100, Some(Rotations::SixD)).unwrap();
    let expression = track(&six, "flame.expression");
    assert_eq!((expression.width, expression.values[49], expression.values[50]), (100, 1.49, 0.0));
    assert_eq!(expression.values[100], 1.5);
    assert_eq!(track(&six, "flame.right_eye_6d").width, 6);
    let back = fit_flame(&six, 50, Some(Rotations::AxisAngle)).unwrap();
    assert_eq!(back.tracks.len(), 3);
    for track in &clip.tracks {
        let again = back.tracks.iter().find(|t| t.target == track.target).unwrap();
        // float32 through a matrix
        assert!(track.values.iter().zip(&again.values).all(|(a, b)| (a - b).abs() < 1e-6), "{}", track.target);
    }
    let mut wrong = clip.clone();
    wrong.tracks[1].width = 1;
    assert!(fit_flame(&wrong, 100, Some(Rotations::SixD)).unwrap_err().to_string().contains("1 values a key, 3"));
    let mut none = six;
    none.tracks.iter_mut().for_each(|t| t.values.fill(0.0));
    assert!(fit_flame(&none, 100, Some(Rotations::AxisAngle)).is_err());
}

#[test]
fn rest_faces_are_exchanged() {
    let parts = [("expr", array(2, 3, 1.0)), ("jaw_pose", array(2, 3, 0.1))];
    let clip = one("f.npz", npz(&parts), &ClipOptions::default()).unwrap();
    for clip in [clip.clone(), fit_flame(&clip, 3, Some(Rotations::SixD)).unwrap()] {
        let driver = clip.pose_at(0.0);
        let mut avatar = Pose::default();
        avatar.set("flame.expression", [0.5, 0.0, 0.0]);
        let jaw = clip.tracks[1].target.clone();
        let open = if jaw.ends_with("6d") {
            let m = rotation::from_vector([0.3, 0.0, 0.0]);
            rotation::to_six(&m).map(|v| v as f32).to_vec()
        } else {
            vec![0.3, 0.0, 0.0]
        };
        avatar.set(jaw, open.clone());
        let out = relative_to_neutral(&clip, &driver, &avatar).unwrap();
        // at the driver's rest the avatar is at its own
        let at_rest = [&[0.5, 0.0, 0.0][..], &open].concat();
        let found: Vec<f32> = out.tracks.iter().flat_map(|t| t.sample(0.0)).collect();
        assert!(found.iter().zip(&at_rest).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?} {at_rest:?}");
        let moved = &out.tracks[0].values[3..];
        assert!((moved[0] - 0.53).abs() < 1e-6, "{moved:?}");
        assert_ne!(out.tracks[1].sample(1.0), out.tracks[1].sample(0.0));
        avatar.set("flame.expression", [0.5, 0.0]);
        let message = relative_to_neutral(&clip, &driver, &avatar).unwrap_err().to_string();
        assert!(message.contains("3 values") && message.contains("has 2"), "{message}");
    }
}

#[test]
fn parts_can_be_chosen() {
    for (target, part) in [
        ("flame.expression", "expression"),
        ("flame.expression.3", "expression"),
        ("flame.jaw_6d.2", "jaw"),
        ("flame.eyelids", "eyes"),
        ("flame.neck_pose", "neck"),
        ("flame.rotation", "root"),
        ("flame.shape", "identity"),
        ("camera.rotation", "camera"),
        ("arkit.jawOpen", "jaw"),
        ("arkit.eyeBlinkLeft", "eyes"),
        ("arkit.mouthFunnel", "expression"),
        ("arkit.headYaw", "root"),
        ("arkit.leftEyeYaw", "eyes"),
        ("smplx.body_pose", "body"),
        ("smplx.left_hand_pose", "hands"),
        ("smplx.transl", "root"),
        ("world.up", "root"),
        ("smplx.betas", "identity"),
        ("joint/lowerJaw/rotation", "jaw"),
        ("joint/lThumb1/rotation", "hands"),
        ("joint/abdomenLower/rotation", "body"),
        ("vrm.aa", "expression"),
    ] {
        assert_eq!(Ok(Part::of(target)), part.parse(), "{target}");
    }
    let clip = one("f.npz", npz(&performance(2)), &ClipOptions::default()).unwrap();
    let face = only(&clip, &[Part::Expression, Part::Jaw, Part::Eyes]).unwrap();
    let targets: Vec<&str> = face.tracks.iter().map(|t| t.target.as_str()).collect();
    assert_eq!(targets, ["flame.expression", "flame.jaw_pose", "flame.eyes_pose"]);
    let message = only(&clip, &[Part::Hands]).unwrap_err().to_string();
    assert!(message.contains("6 tracks") && message.contains("hands"), "{message}");
    assert!("face".parse::<Part>().unwrap_err().contains("expression, jaw"));
}

#[test]
fn every_cut_and_flipped_byte_is_survived() {
    let files = [
        ("f.npz", npz(&[("expr", array(2, 3, 0.0)), ("jaw_pose", array(2, 3, 0.0))])),
        ("f.csv", LIVE_LINK.into()),
        ("f.json", to_json(&sample(true)).unwrap().into_bytes()),
    ];
    for (name, mut bytes) in files {
        for length in 0..bytes.len() {
            let _ = one(name, bytes[..length].to_vec(), &ClipOptions::default());
        }
        for at in 0..bytes.len() {
            for mask in [0x01, 0x10, 0xff] {
                bytes[at] ^= mask;
                let _ = read_source(&source(name, bytes.clone()), &ClipOptions::default());
                bytes[at] ^= mask;
            }
        }
    }
}
