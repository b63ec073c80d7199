//! Moving avatars as a user meets them: `gav pose`, `gav render --clip`, `gav rig sample`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use gav_formats::{
    Avatar, Clip, Frame, Interpolation, ReadOptions, RigBase, Track, TriangleBinding, TriangleFrame, WriteOptions,
    format_by_name, load,
    npy::{NpyArray, NpyType, write_npz},
    save,
    synthetic::{RigSample, every_rig, random},
};
use gav_models::puppet::Puppet;
use serde_json::Value;
use tempfile::TempDir;

fn gav(folder: &Path, code: i32, arguments: &[&str]) -> (String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gav"));
    command.current_dir(folder).stdin(Stdio::null()).env("GAV_DATA", "data");
    let output = command.args(arguments).output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{out}\n{err}");
    assert!(!err.contains("panicked"), "{err}");
    (out, err)
}

/// A folder with the rigged sample as `a.gav`, without loss.
fn place(kind: RigSample) -> (TempDir, Avatar) {
    let root = tempfile::tempdir().unwrap();
    let avatar = every_rig(kind);
    write(&avatar, &root.path().join("a.gav"));
    (root, avatar)
}

fn write(avatar: &Avatar, path: &Path) {
    let mut options = WriteOptions::default();
    options.gav.profile = gav_formats::Profile::Lossless;
    save(avatar, path, format_by_name("gav").unwrap(), &options).unwrap();
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

/// A sheet of two triangles on two joints; both halves can be turned.
fn sheet() -> Vec<u8> {
    let words = |name: &str, shape: &[usize], values: &[u32]| {
        let data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        (name.to_owned(), NpyArray { dtype: NpyType::U32, shape: shape.to_vec(), data })
    };
    let floats =
        |name: &str, shape: &[usize], values: &[f32]| (name.to_owned(), NpyArray::from_f32(shape.to_vec(), values));
    write_npz(&[
        floats("v_template", &[4, 3], &[0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0]),
        words("f", &[2, 3], &[0, 1, 2, 1, 3, 2]),
        floats("shapedirs", &[4, 3, 1], &[0.0, 0.0, 0.1, 0.0, 0.0, 0.1, 0.0, 0.0, 0.1, 0.0, 0.0, 0.1]),
        floats("J_regressor", &[2, 4], &[1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]),
        floats("weights", &[4, 2], &[1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0]),
        words("kintree_table", &[2, 2], &[u32::MAX, 0, 0, 1]),
    ])
    .unwrap()
}

/// Splats on the sheet, which the file names by its counts.
fn bound() -> Avatar {
    let mut avatar = Avatar::new(random(30, 0, 5).splats, Frame::RUB);
    avatar.splats.means.as_flattened_mut().iter_mut().for_each(|v| *v *= 0.02);
    avatar.splats.log_scales.as_flattened_mut().iter_mut().for_each(|v| *v = -3.0);
    avatar.rig.base = RigBase::Triangle(TriangleBinding {
        frame: TriangleFrame::Stga,
        triangles: (0..30).map(|i| i % 2).collect(),
        barycentrics: None,
    });
    avatar.template = Some(gav_formats::Template {
        family: gav_formats::TemplateFamily::Custom,
        vertex_count: 4,
        face_count: 2,
        ..gav_formats::Template::default()
    });
    avatar.clips = vec![Clip {
        name: "step".into(),
        ticks_per_second: 2,
        tracks: vec![Track {
            target: "body.translation".into(),
            width: 3,
            interpolation: Interpolation::Linear,
            ticks: vec![0, 1],
            values: vec![0.0, 0.0, 0.0, 0.0, 0.0, 1.0],
        }],
    }];
    avatar
}

#[test]
fn a_moment_is_written_as_splats_in_world_space() {
    let (root, avatar) = place(RigSample::MorphSkinned);
    let clip = &avatar.clips[0];
    let (out, _) =
        gav(root.path(), 0, &["pose", "a.gav", "--clip", &clip.name, "--time", "0.1", "-o", "p.ply", "--json"]);
    let line: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(line["splats"], avatar.splats.len());
    let posed = load(root.path().join("p.ply"), &ReadOptions::default()).unwrap();
    let puppet = Puppet::new(&avatar, None).unwrap();
    let mut expected = Avatar::new(puppet.pose(&clip.pose_at(0.1)).unwrap(), avatar.frame);
    expected.reframe(posed.frame).unwrap();
    for (a, b) in posed.splats.means.iter().zip(&expected.splats.means) {
        assert!((0..3).all(|c| (a[c] - b[c]).abs() < 1e-6));
    }
    // the same again is in the way; a whole clip is a folder
    let (_, err) = gav(root.path(), 2, &["pose", "a.gav", "-o", "p.ply"]);
    assert!(err.contains("--force"), "{err}");
    gav(root.path(), 0, &["pose", "a.gav", "--clip", &clip.name, "--fps", "10", "-o", "all", "--to", "spz"]);
    let count = (clip.seconds() * 10.0).floor() as usize + 1;
    assert_eq!(fs::read_dir(root.path().join("all")).unwrap().count(), count);
}

#[test]
fn unknown_names_are_answered_with_known_ones() {
    let (root, avatar) = place(RigSample::MorphSkinned);
    let (_, err) = gav(root.path(), 2, &["pose", "a.gav", "--clip", "nonsense", "-o", "all"]);
    assert!(err.contains("nonsense") && err.contains(&avatar.clips[0].name), "{err}");
    let (_, err) = gav(root.path(), 2, &["pose", "a.gav", "--set", "arkit.nonsense=1", "-o", "p.ply"]);
    assert!(err.contains("arkit.nonsense") && err.contains(&avatar.drivers[0].name), "{err}");
    gav(root.path(), 2, &["pose", "a.gav", "--set", "nonsense", "-o", "p.ply"]);
    assert!(!root.path().join("p.ply").exists() && !root.path().join("all").exists());
}

#[test]
fn clips_are_rendered_picture_by_picture() {
    let (root, avatar) = place(RigSample::Skinned);
    let name = avatar.clips[0].name.as_str();
    let small = ["--size", "64", "--clip", name];
    gav(root.path(), 0, &[&["render", "a.gav", "-o", "out", "--frames", "3"], &small[..]].concat());
    let pictures: Vec<Vec<u8>> =
        (0..3).map(|k| fs::read(root.path().join(format!("out/a/00{k}.png"))).unwrap()).collect();
    assert!(pictures[0] != pictures[1] && pictures[1] != pictures[2]);
    let (_, err) = gav(root.path(), 2, &[&["render", "a.gav", "-o", "a.png"], &small[..]].concat());
    assert!(err.contains("--time"), "{err}");
    gav(root.path(), 0, &[&["render", "a.gav", "-o", "a.png", "--time", "0"], &small[..]].concat());
    // the cameras of the clip see all of it, those of an instant only that
    assert!(fs::metadata(root.path().join("a.png")).unwrap().len() > 100);
}

#[test]
fn bound_splats_need_their_template_and_can_be_baked_free_of_it() {
    let root = tempfile::tempdir().unwrap();
    write(&bound(), &root.path().join("a.gav"));
    let (_, err) = gav(root.path(), 1, &["pose", "a.gav", "-o", "p.ply"]);
    assert!(err.contains("gav template add"), "{err}");
    fs::write(root.path().join("sheet.npz"), sheet()).unwrap();
    gav(root.path(), 0, &["template", "add", "CUSTOM", "sheet.npz"]);
    gav(root.path(), 0, &["pose", "a.gav", "--clip", "step", "--time", "0.25", "-o", "p.ply"]);
    let (out, _) = gav(root.path(), 0, &["pose", "a.gav", "--bake", "-o", "baked.gav", "--json"]);
    let line: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((line["joints"].as_u64(), line["targets"].as_u64()), (Some(2), Some(0)));
    assert!(line["max_error"].as_f64().unwrap() < 1e-6 && line["notice"].is_string(), "{line}");
    // without the template
    fs::remove_dir_all(root.path().join("data")).unwrap();
    gav(root.path(), 0, &["pose", "baked.gav", "--clip", "step", "--time", "0.25", "-o", "q.ply"]);
    let [p, q] = ["p.ply", "q.ply"].map(|f| load(root.path().join(f), &ReadOptions::default()).unwrap().splats);
    // both files are quantised by nothing but f32; the baked one was stored with steps far below the splats' size
    // storing it has changed their order
    let distance = |a: &[f32; 3], b: &[f32; 3]| (0..3).map(|c| (a[c] - b[c]).abs()).fold(0.0, f32::max);
    for a in &p.means {
        let nearest = q.means.iter().map(|b| distance(a, b)).fold(f32::INFINITY, f32::min);
        assert!(nearest < 5e-3, "{nearest}");
    }
}

#[test]
fn splats_are_sampled_on_the_walking_man() {
    let Some(man) = shared("data/cesium-man/CesiumMan.glb") else { return };
    let root = tempfile::tempdir().unwrap();
    let man = man.to_str().unwrap();
    let (out, _) = gav(root.path(), 0, &["rig", "sample", man, "-n", "4000", "-o", "man.gav", "--json"]);
    let line: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((line["splats"].as_u64(), line["clips"].as_u64()), (Some(4000), Some(1)));
    let avatar = load(root.path().join("man.gav"), &ReadOptions::default()).unwrap();
    // he is 1.5 m tall and stands upright, on the floor
    let (low, high) = avatar.splats.bounds().unwrap();
    assert!((1.3..1.8).contains(&(high[1] - low[1])) && low[1].abs() < 0.1, "{low:?} {high:?}");
    let puppet = Puppet::new(&avatar, None).unwrap();
    let stride = puppet.pose(&avatar.clips[0].pose_at(0.5)).unwrap();
    let moved = stride.means.iter().zip(&puppet.rest().means).filter(|(a, b)| (a[2] - b[2]).abs() > 0.1).count();
    assert!(moved > 400, "{moved} splats moved");
}
