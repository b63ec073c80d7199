//! The protocols of head avatars with `gav score`: an avatar on a head of FLAME's counts, and captures of it made by drawing it.

mod flame;

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use gav_formats::{
    Avatar, Clip, Frame, Interpolation, Pose, RestPose, Rig, RigBase, Splats, Track, TriangleBinding, WriteOptions,
    cameras::CameraOptions,
    format_by_name,
    npy::{NpyArray, write_npz},
    rig::TriangleFrame,
    save,
    synthetic::uniform,
};
use gav_kernels::raster::{WHITE, render};
use gav_models::{
    body::Body,
    capture::Capture,
    puppet::Puppet,
    template::{Extras, Kind, read},
};
use serde_json::{Value, json};

const SIDE: u32 = 40;
/// The first time step of the capture; the avatar's clip begins there.
const FIRST: u32 = 3;
const STEPS: u32 = 4;

fn gav(folder: &Path, code: i32, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gav"));
    command.current_dir(folder).stdin(Stdio::null()).env("GAV_DATA", "data").env("GAV_CACHE", "cache");
    let output = command.args(arguments).output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{out}\n{err}");
    out + &err
}

fn head(folder: &Path) -> Body<f32> {
    Body::new(&read(Kind::Flame2023, &folder.join("flame2023.npz"), &Extras::default()).unwrap()).unwrap()
}

/// Coloured splats on the head's faces, of a subject with a shape of its own.
fn avatar(folder: &Path) -> Avatar {
    let body = head(folder);
    let count = 700;
    let mut splats = Splats::with_len(count, 0);
    for i in 0..count {
        splats.log_scales[i] = [(1.5f32).ln(), (1.2f32).ln(), (0.3f32).ln()];
        splats.opacity_logits[i] = 3.0;
        splats.sh0[i] = std::array::from_fn(|c| (3.0 * uniform(i as u64, c as u64) - 1.5) as f32);
    }
    let triangles = (0..count).map(|i| (i * 14 % 9976) as u32).collect();
    let mut avatar = Avatar::new(splats, Frame::RUB);
    let binding = TriangleBinding { frame: TriangleFrame::GaussianAvatars, triangles, barycentrics: None };
    avatar.rig = Rig { base: RigBase::Triangle(binding), blendshapes: None };
    let mut template = body.template();
    template.constants.push(("shape".to_owned(), vec![0.4; 5]));
    avatar.template = Some(template);
    let values = |width: usize, size: f32| (FIRST..FIRST + STEPS).flat_map(|t| row(t, width, size)).collect();
    let track = |target: &str, width: usize, size: f32| Track {
        target: target.to_owned(),
        width: width as u32,
        interpolation: Interpolation::Linear,
        ticks: (0..STEPS).collect(),
        values: values(width, size),
    };
    let tracks = GROUPS.iter().map(|(_, target, width, size)| track(target, *width, *size)).collect();
    avatar.clips.push(Clip { name: "tracked".to_owned(), ticks_per_second: 25, tracks });
    let puppet = Puppet::new(&avatar, Some(body)).unwrap();
    let rest = puppet.rest();
    let rest =
        RestPose { means: rest.means.clone(), rotations: rest.rotations.clone(), log_scales: rest.log_scales.clone() };
    avatar.rest = Some(rest);
    avatar
}

/// Member of a tracker's file, target, values, size.
const GROUPS: [(&str, &str, usize, f32); 6] = [
    ("expr", "flame.expression", 100, 0.7),
    ("rotation", "flame.rotation", 3, 0.3),
    ("neck_pose", "flame.neck_pose", 3, 0.2),
    ("jaw_pose", "flame.jaw_pose", 3, 0.15),
    ("eyes_pose", "flame.eyes_pose", 6, 0.1),
    ("translation", "flame.translation", 3, 0.02),
];

fn row(step: u32, width: usize, size: f32) -> Vec<f32> {
    (0..width).map(|k| size * (1.3 * k as f32 + step as f32).sin()).collect()
}

fn pose_of(step: u32) -> Pose {
    let mut pose = Pose::default();
    GROUPS.iter().for_each(|(_, target, width, size)| pose.set(*target, row(step, *width, *size)));
    pose
}

fn placed(angle: f64) -> Value {
    let (s, c) = angle.sin_cos();
    json!([[c, 0.0, s, s], [0.0, 1.0, 0.0, 0.0], [-s, 0.0, c, c], [0.0, 0.0, 0.0, 1.0]])
}

/// Pictures of the avatar in VHAP's layout: the second camera is for validation, the last time step for tests. Whoever was tracked
/// has another shape than the avatar.
fn capture(folder: &Path, avatar: &Avatar) {
    for part in ["images", "flame_param"] {
        fs::create_dir_all(folder.join(part)).unwrap();
    }
    let mut frames: [Vec<Value>; 3] = Default::default();
    for step in FIRST..FIRST + STEPS {
        let mut members: Vec<(String, NpyArray)> = GROUPS
            .iter()
            .map(|(name, _, width, size)| {
                ((*name).to_owned(), NpyArray::from_f32(vec![1, *width], &row(step, *width, *size)))
            })
            .collect();
        members.push(("shape".to_owned(), NpyArray::from_f32(vec![300], &[1.5; 300])));
        members.push(("static_offset".to_owned(), NpyArray::from_f32(vec![1, 5023, 3], &[0.01; 3 * 5023])));
        fs::write(folder.join(format!("flame_param/{step:05}.npz")), write_npz(&members).unwrap()).unwrap();
        for camera in 0..3 {
            let split = if step + 1 == FIRST + STEPS { 2 } else { usize::from(camera == 1) };
            frames[split].push(json!({"timestep_index": step, "camera_index": camera, "w": SIDE, "h": SIDE, "fl_x": 110.0,
                "fl_y": 110.0, "cx": 20.0, "cy": 20.0, "transform_matrix": placed(0.4 * (f64::from(camera) - 1.0)),
                "file_path": format!("images/{step:05}_{camera:02}.png"), "flame_param_path": format!("flame_param/{step:05}.npz")}));
        }
    }
    for (frames, name) in frames.iter().zip(["train", "val", "test"]) {
        fs::write(folder.join(format!("transforms_{name}.json")), json!({"frames": frames}).to_string()).unwrap();
    }
    let views = Capture::open(folder, &CameraOptions::default()).unwrap().views;
    let body = head(folder.parent().unwrap());
    let puppet = Puppet::new(avatar, Some(body)).unwrap();
    for (_, view) in &views {
        let splats = puppet.pose(&pose_of(view.timestep.unwrap())).unwrap();
        let image = render(&splats, &view.camera, &avatar.render_model.into(), WHITE);
        let data: Vec<u8> = image.rgb.iter().map(|v| (v.clamp(0.0, 1.0) * 255.0 + 0.5) as u8).collect();
        png(view.image.as_ref().unwrap(), SIDE, &data);
    }
}

fn png(path: &Path, side: u32, data: &[u8]) {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, side, side);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(data).unwrap();
    writer.finish().unwrap();
    fs::write(path, bytes).unwrap();
}

fn pixels(path: &Path) -> Vec<u8> {
    let mut reader = png::Decoder::new(std::io::Cursor::new(fs::read(path).unwrap())).read_info().unwrap();
    let mut data = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut data).unwrap();
    data
}

/// The avatar, the template in the store, the capture.
fn prepared() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("flame2023.npz"), flame::head()).unwrap();
    gav(root.path(), 0, &["template", "add", "FLAME2023", "flame2023.npz"]);
    let avatar = avatar(root.path());
    save(&avatar, root.path().join("head.gav"), format_by_name("gav").unwrap(), &WriteOptions::default()).unwrap();
    // what the file holds is what is drawn: it is quantised
    let stored = gav_formats::load(root.path().join("head.gav"), &Default::default()).unwrap();
    capture(&root.path().join("capture"), &stored);
    root
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn psnr(line: &Value) -> f64 {
    line["scores"]["psnr-per-image"].as_f64().unwrap_or(f64::INFINITY)
}

/// Rounding to 8 bits leaves 58.9 dB at least; another pose gives 25.
const SAME: f64 = 55.0;
/// Poses of clips are quantised in the file.
const NEAR: f64 = 45.0;

#[test]
fn avatars_are_posed_as_the_views_of_a_capture() {
    let root = prepared();
    let folder = root.path();
    let score = |code: i32, more: &[&str]| {
        lines(&gav(folder, code, &[&["score", "head.gav", "-r", "capture", "--json"], more].concat()))
    };
    let found = score(0, &["--split", "val,test"]);
    let items: Vec<&Value> = found.iter().filter(|l| l["type"] == "item").collect();
    assert_eq!(items.len(), 6);
    items.iter().for_each(|item| assert!(psnr(item) > SAME, "{item}"));
    let groups: Vec<&str> =
        found.last().unwrap()["groups"].as_array().unwrap().iter().map(|g| g["group"].as_str().unwrap()).collect();
    assert_eq!(groups, ["head.gav test", "head.gav val"]);
    // scores are known the second time, and belong to the parameters
    assert_eq!(score(0, &["--split", "test"]).last().unwrap()["cached"], 3);
    let path = folder.join("capture/flame_param/00006.npz");
    let other = fs::read(folder.join("capture/flame_param/00004.npz")).unwrap();
    let kept = fs::read(&path).unwrap();
    fs::write(&path, other).unwrap();
    let moved = score(0, &["--split", "test"]);
    assert!(moved.iter().filter(|l| l["type"] == "item").all(|item| psnr(item) < SAME - 15.0), "{moved:?}");
    // the avatar's own clip knows better
    let own = score(0, &["--split", "test", "--posed-by", "clip", "--camera", "2", "--renders", "drawn"]);
    assert_eq!(own.iter().filter(|l| l["type"] == "item").count(), 1);
    assert!(psnr(&own[0]) > NEAR, "{own:?}");
    let drawn = pixels(&folder.join("drawn/head.gav/00006_02.png"));
    let photo = pixels(&folder.join("capture/images/00006_02.png"));
    let sum: f64 = drawn.iter().zip(&photo).map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)).sum();
    let of_file = 10.0 * (255.0f64.powi(2) * drawn.len() as f64 / sum).log10();
    assert!((of_file - psnr(&own[0])).abs() < 2.0, "what is written is what is scored: {of_file}");
    fs::write(&path, kept).unwrap();

    // one bad picture does not stop the others
    png(&folder.join("capture/images/00003_01.png"), SIDE + 1, &[9; 3 * 41 * 41]);
    fs::remove_file(folder.join("capture/images/00004_01.png")).unwrap();
    fs::write(folder.join("capture/flame_param/00005.npz"), b"no archive").unwrap();
    let found = score(1, &["--split", "val,test"]);
    let codes: Vec<&str> = found.iter().filter_map(|l| l["error"]["code"].as_str()).collect();
    assert!(codes.contains(&"NO_REFERENCE") && codes.contains(&"SIZE") && codes.len() == 3, "{found:?}");
    assert_eq!(found.iter().filter(|l| l["status"] == "scored").count(), 3);
    assert!(
        gav(folder, 2, &["score", "head.gav", "-r", "capture", "--split", "test", "--camera", "9"]).contains("no view")
    );
    assert!(gav(folder, 1, &["score", "head.gav", "-r", "nowhere", "--split", "test"]).contains("nowhere"));
}

#[test]
fn captures_without_parameters_take_the_clip_of_the_avatar() {
    let root = prepared();
    let folder = root.path();
    // as STGA has it: time steps and meshes alone
    for name in ["train", "val", "test"] {
        let path = folder.join(format!("capture/transforms_{name}.json"));
        let mut whole: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        for frame in whole["frames"].as_array_mut().unwrap() {
            frame.as_object_mut().unwrap().remove("flame_param_path");
        }
        if name == "test" {
            let mut late = whole["frames"][0].clone();
            late["timestep_index"] = json!(FIRST + STEPS);
            whole["frames"].as_array_mut().unwrap().push(late);
        }
        fs::write(&path, whole.to_string()).unwrap();
    }
    let found = lines(&gav(folder, 1, &["score", "head.gav", "-r", "capture", "--split", "val,test", "--json"]));
    let scored: Vec<&Value> = found.iter().filter(|l| l["status"] == "scored").collect();
    assert!(scored.len() == 6 && scored.iter().all(|item| psnr(item) > NEAR), "{found:?}");
    let codes: Vec<&str> = found.iter().filter_map(|l| l["error"]["code"].as_str()).collect();
    assert_eq!(codes, ["NO_POSE"], "a time that the clip does not have");
    let text = gav(folder, 2, &["score", "head.gav", "--target", "capture", "--renders", "out"]);
    assert!(text.contains("no tracked parameters"), "{text}");
}

#[test]
fn motion_of_another_capture_is_drawn_and_not_scored() {
    let root = prepared();
    let folder = root.path();
    let arguments = ["score", "head.gav", "--target", "capture", "--camera", "1"];
    assert!(gav(folder, 2, &arguments).contains("--renders"));
    let text = gav(folder, 0, &[&arguments[..], &["--renders", "out"]].concat());
    assert!(text.contains("nothing is compared") && !text.contains("dB"), "{text}");
    for step in FIRST..FIRST + STEPS {
        let name = format!("{step:05}_01.png");
        let (drawn, photo) =
            (pixels(&folder.join("out/head.gav").join(&name)), pixels(&folder.join("capture/images").join(&name)));
        // the driver's identity is not taken
        assert!(drawn.iter().zip(&photo).all(|(a, b)| a.abs_diff(*b) <= 1), "{name}");
    }
    let found = lines(&gav(folder, 0, &[&arguments[..], &["--renders", "out", "--json"]].concat()));
    assert_eq!((found.len(), &found[4]["scored"]), (5, &json!(false)));
}
