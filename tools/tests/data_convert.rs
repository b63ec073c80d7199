//! `gav data convert` as a user meets it: a small capture of VHAP's layout becomes others, and what a damaged one leaves behind.

mod flame;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use gav_formats::{
    Camera, Limits,
    cameras::CameraOptions,
    npy::{NpyArray, read_npy, write_npz},
};
use gav_models::capture::{
    Capture, Layout, Split, body, expression_faces, neutral, parameters, pose_free, read_points, stga, tracked_body,
};
use serde_json::{Value, json};

const SIDE: u32 = 48;
const STEPS: usize = 5;

fn gav(folder: &Path, code: i32, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gav"));
    command.current_dir(folder).stdin(Stdio::null()).env("GAV_DATA", "data");
    let output = command.args(arguments).output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{out}\n{err}");
    out + &err
}

fn png(path: &Path, side: u32, color: png::ColorType, pixel: impl Fn(u32, u32) -> Vec<u8>) {
    let data: Vec<u8> = (0..side * side).flat_map(|k| pixel(k % side, k / side)).collect();
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, side, side);
    encoder.set_color(color);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&data).unwrap();
    writer.finish().unwrap();
    fs::write(path, bytes).unwrap();
}

/// World from camera in the axes of OpenGL: a metre from the head, looking at it.
fn pose(angle: f64) -> Value {
    let (s, c) = angle.sin_cos();
    json!([[c, 0.0, s, s], [0.0, 1.0, 0.0, 0.0], [-s, 0.0, c, c], [0.0, 0.0, 0.0, 1.0]])
}

/// Three cameras, five time steps: the last is for tests, the second camera for validation. The template lies in the folder. The pictures
/// and parameters lie in another folder, as those of unions do.
fn capture(root: &Path) -> PathBuf {
    let (own, parts) = (root.join("union"), root.join("sequence"));
    fs::create_dir_all(&own).unwrap();
    for part in ["images", "fg_masks", "flame_param"] {
        fs::create_dir_all(parts.join(part)).unwrap();
    }
    fs::write(own.join("template.npz"), flame::head()).unwrap();
    let mut frames: [Vec<Value>; 3] = Default::default();
    for step in 0..STEPS {
        let row = |width: usize, size: f32| {
            let values: Vec<f32> = (0..width).map(|k| size * (1.3 * k as f32 + step as f32).sin()).collect();
            NpyArray::from_f32(vec![1, width], &values)
        };
        // the first time step has a neutral face
        let face = if step == 0 { 0.0 } else { 1.0 };
        let members = [
            ("shape".to_owned(), NpyArray::from_f32(vec![300], &[0.3; 300].map(|v: f32| v.sin()))),
            ("expr".into(), row(100, 0.6 * face)),
            ("rotation".into(), row(3, 0.2)),
            ("neck_pose".into(), row(3, 0.1)),
            ("jaw_pose".into(), row(3, 0.1 * face)),
            ("eyes_pose".into(), row(6, 0.1)),
            ("translation".into(), row(3, 0.01)),
        ];
        fs::write(parts.join(format!("flame_param/{step:05}.npz")), write_npz(&members).unwrap()).unwrap();
        for camera in 0..3u8 {
            let name = format!("{step:05}_{camera:02}.png");
            let value = 40 * camera + step as u8;
            png(&parts.join("images").join(&name), SIDE, png::ColorType::Rgb, |x, y| vec![x as u8, y as u8, value]);
            png(&parts.join("fg_masks").join(&name), SIDE, png::ColorType::Grayscale, |x, _| vec![5 * x as u8]);
            let split = if step + 1 == STEPS { 2 } else { usize::from(camera == 1) };
            frames[split].push(json!({"timestep_index": step, "camera_index": camera, "w": SIDE, "h": SIDE, "fl_x": 110.0,
                "fl_y": 112.0, "cx": 23.0, "cy": 25.5, "transform_matrix": pose(0.4 * (f64::from(camera) - 1.0)),
                "file_path": format!("../sequence/images/{name}"), "fg_mask_path": format!("../sequence/fg_masks/{name}"),
                "flame_param_path": format!("../sequence/flame_param/{step:05}.npz")}));
        }
    }
    for (frames, name) in frames.iter().zip(["train", "val", "test"]) {
        fs::write(own.join(format!("transforms_{name}.json")), json!({"frames": frames}).to_string()).unwrap();
    }
    own
}

fn open(folder: &Path) -> Capture {
    Capture::open(folder, &CameraOptions::default()).unwrap()
}

/// Where a camera sees a point, pixels.
fn project(camera: &Camera, point: [f32; 3]) -> [f64; 2] {
    let m = &camera.camera_from_world;
    let t: [f64; 3] = std::array::from_fn(|r| (0..3).map(|c| m[r][c] * f64::from(point[c])).sum::<f64>() + m[r][3]);
    [0, 1].map(|k| camera.focal[k] * t[k] / t[2] + camera.principal[k])
}

#[test]
fn a_capture_becomes_one_of_stga() {
    let root = tempfile::tempdir().unwrap();
    let source = open(&capture(root.path()));
    let text = gav(root.path(), 0, &["data", "convert", "union", "-o", "out", "--to", "stga", "--link"]);
    assert!(text.contains("5 written"), "{text}");
    let made = open(&root.path().join("out"));
    assert_eq!((made.layout, made.views.len()), (Layout::Stga, source.views.len()));
    assert_eq!([Split::Train, Split::Val, Split::Test].map(|s| made.count(s)), [8, 4, 3]);
    // every view is the same camera, at the same time, with the same picture
    for (split, view) in &made.views {
        let same = |(s, v): &&(Split, gav_formats::cameras::View)| {
            s == split && v.timestep == view.timestep && v.camera_index == view.camera_index
        };
        let (_, from) = source.views.iter().find(same).unwrap();
        let (a, b) = (&view.camera, &from.camera);
        let far = a.camera_from_world.as_flattened().iter().zip(b.camera_from_world.as_flattened());
        assert!(far.map(|(x, y)| (x - y).abs()).fold(0.0, f64::max) < 1e-12);
        assert_eq!((a.focal, a.principal, a.width), (b.focal, b.principal, b.width));
        for (copy, original) in [(&view.image, &from.image), (&view.mask, &from.mask)] {
            let read = |path: &Option<PathBuf>| fs::read(path.as_ref().unwrap()).unwrap();
            assert_eq!(read(copy), read(original));
        }
    }
    // meshes and faces are what the body says
    let body = body(&source, None).unwrap().unwrap();
    let limits = Limits::default();
    for step in 0..STEPS as u32 {
        let tracked = parameters(&root.path().join(format!("sequence/flame_param/{step:05}.npz"))).unwrap();
        let mesh = stga::read_mesh(&stga::mesh_path(&made.folder, step), &limits).unwrap();
        let posed = body.pose(&body.parameters(&[], &tracked).unwrap()).vertices;
        let expected: Vec<[[f32; 3]; 3]> = body.faces().iter().map(|f| f.map(|v| posed[v as usize])).collect();
        assert!(mesh == expected, "step {step}");
        let path = stga::training_faces_path(&made.folder, step);
        let faces = stga::read_training_faces(&path, mesh.len(), &limits).unwrap();
        assert_eq!(faces, expression_faces(&body, &tracked, &Default::default()).unwrap());
        assert_eq!(faces.is_empty(), step == 0, "{} faces in step {step}", faces.len());
        assert!(faces.len() < mesh.len());
    }
    let points = read_points(&made.folder.join("points3d.ply")).unwrap();
    assert_eq!(points.len(), 6 * body.faces().len());
    // a corner of the first face: as far from the centroid as on the neutral face
    let tracked = parameters(&root.path().join("sequence/flame_param/00000.npz")).unwrap();
    let rest = neutral(&body, &tracked).unwrap();
    let corners = body.faces()[0].map(|v| rest[v as usize]);
    let centre: [f32; 3] = std::array::from_fn(|c| (corners[0][c] + corners[1][c] + corners[2][c]) / 3.0);
    let expected = (0..3).map(|c| (corners[0][c] - centre[c]).powi(2)).sum::<f32>().sqrt();
    let [x, y, z] = points[0].local;
    assert!((x - expected).abs() < 1e-6 && y.abs() < 1e-6 && z.abs() < 1e-6, "{:?} {expected}", points[0]);
    gav(root.path(), 0, &["data", "check", "out"]);
}

#[test]
fn what_fails_is_said_and_the_rest_is_converted() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    capture(folder);
    let sequence = folder.join("sequence");
    let convert = |code: i32, more: &[&str]| {
        gav(folder, code, &[&["data", "convert", "union", "-o", "out", "--to", "stga"], more].concat())
    };
    let good = fs::read(sequence.join("images/00000_00.png")).unwrap();
    fs::write(sequence.join("images/00000_00.png"), b"no picture").unwrap();
    fs::remove_file(sequence.join("images/00001_02.png")).unwrap();
    png(&sequence.join("images/00002_00.png"), SIDE + 1, png::ColorType::Rgb, |_, _| vec![1; 3]);
    fs::write(sequence.join("flame_param/00003.npz"), b"no archive").unwrap();
    let text = convert(1, &["--json"]);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let failed: BTreeSet<u64> =
        lines.iter().filter(|l| l["status"] == "failed").filter_map(|l| l["timestep"].as_u64()).collect();
    assert_eq!(failed, [0, 1, 2, 3].into());
    // the only good one is for tests: nothing to train on
    assert!(text.contains("no view for training"), "{text}");
    for part in ["00000_00.png", "00001_02.png", "00002_00.png", "49 × 49 pixels, 48 × 48", "00003.npz"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // what was repaired is made, the rest is kept
    fs::write(sequence.join("images/00000_00.png"), good).unwrap();
    assert!(convert(2, &[]).contains("--resume"));
    let text = convert(1, &["--resume"]);
    assert!(text.contains("1 written, 1 up to date, 3 failed"), "{text}");
    let made = open(&folder.join("out"));
    assert_eq!(made.timesteps().into_iter().collect::<Vec<_>>(), [0, 4]);
    // other options make all of it again
    assert!(convert(1, &["--resume", "--select-threshold-mm", "1"]).contains("2 written, 3 failed"));
    assert!(convert(1, &["--resume", "--select-threshold-mm", "1"]).contains("2 up to date, 3 failed"));
    fs::remove_file(folder.join("out/meshes/mesh_0004.json")).unwrap();
    assert!(convert(1, &["--resume", "--select-threshold-mm", "1"]).contains("1 written, 1 up to date, 3 failed"));
    let faces = |file: &str| read_npy(&fs::read(folder.join(file)).unwrap(), &Limits::default()).unwrap().len();
    assert!(faces("out/training_faces/0004.npy") > 0);
    convert(1, &["--force", "--select-threshold-mm", "1000"]);
    assert_eq!(faces("out/training_faces/0004.npy"), 0);
    let help = gav(folder, 0, &["data", "convert", "--help"]);
    assert!(help.contains("Examples:") && help.contains("Exit codes:"), "{help}");
    // what makes no sense
    assert!(gav(folder, 2, &["data", "convert", "union", "-o", "union", "--to", "stga", "--force"]).contains("itself"));
    // the pictures lie there, and those of a union have other numbers
    for out in ["sequence", "."] {
        let text = gav(folder, 2, &["data", "convert", "union", "-o", out, "--to", "stga", "--force", "--link"]);
        assert!(text.contains("over the capture itself"), "{text}");
    }
    assert!(gav(folder, 2, &["data", "convert", "union", "-o", "x", "--to", "insta"]).contains("there is 0, 1, 2"));
    assert!(
        gav(folder, 2, &["data", "convert", "union", "-o", "x", "--to", "insta", "--camera", "7"])
            .contains("no camera 7")
    );
    assert!(gav(folder, 2, &["data", "convert", "union", "-o", "x", "--to", "vhap"]).contains("INSTA's checkpoints"));
    assert!(gav(folder, 2, &["data", "convert", "out", "-o", "x", "--to", "stga"]).contains("no tracked parameters"));
    assert!(!folder.join("x").exists());
}

#[test]
fn a_camera_becomes_a_capture_of_insta_and_comes_back() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    let source = open(&capture(folder));
    gav(folder, 0, &["data", "convert", "union", "-o", "insta", "--to", "insta", "--camera", "2"]);
    fs::copy(folder.join("union/template.npz"), folder.join("insta/template.npz")).unwrap();
    let made = open(&folder.join("insta"));
    assert_eq!((made.layout, made.count(Split::Train), made.count(Split::Test)), (Layout::Insta, 4, 1));
    let body = tracked_body(&made, None).unwrap().unwrap();
    // vertices that follow the neck alone, and the jaw
    let follows = |v: usize| body.weights().row(v).0.iter().all(|j| *j > 0);
    for (_, view) in &made.views {
        let number: u32 = view.camera.name.parse().unwrap();
        let (_, from) =
            source.views.iter().find(|(_, v)| v.timestep == Some(number) && v.camera_index == Some(2)).unwrap();
        let tracked = parameters(from.parameters.as_ref().unwrap()).unwrap();
        let posed = body.pose(&body.parameters(&[], &tracked).unwrap()).vertices;
        // the camera moves about a head that rests
        let at_rest = pose_free(&body, &tracked).unwrap();
        let mut worst = 0.0f64;
        for v in (0..posed.len()).filter(|v| follows(*v)).step_by(37) {
            let (a, b) = (project(&from.camera, posed[v]), project(&view.camera, at_rest[v]));
            worst = worst.max((a[0] - b[0]).hypot(a[1] - b[1]));
        }
        // the correctives of the neck, 0.3 mm times its turn, are all that differs
        assert!(worst < 0.1, "{number}: {worst} pixels");
        let picture = png::Decoder::new(std::io::Cursor::new(fs::read(view.image.as_ref().unwrap()).unwrap()));
        let mut reader = picture.read_info().unwrap();
        let mut data = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut data).unwrap();
        assert_eq!(&data[4 * (7 * SIDE as usize + 11)..][..4], &[11, 7, 80 + number as u8, 55]);
    }
    let text = gav(folder, 0, &["data", "check", "insta"]);
    assert!(text.contains("INSTA") && text.contains("nothing that would spoil"), "{text}");

    gav(folder, 0, &["data", "convert", "insta", "-o", "back", "--to", "vhap", "--link"]);
    let back = open(&folder.join("back"));
    assert_eq!((back.layout, back.count(Split::Train), back.count(Split::Test)), (Layout::Vhap, 4, 1));
    assert_eq!(back.cameras().len(), 1);
    for ((_, view), (_, moving)) in back.views.iter().zip(&made.views) {
        let tracked = parameters(view.parameters.as_ref().unwrap()).unwrap();
        let posed = body.pose(&body.parameters(&[], &tracked).unwrap()).vertices;
        let at_rest = pose_free(&body, &tracked).unwrap();
        for v in (0..posed.len()).filter(|v| follows(*v)).step_by(37) {
            let (a, b) = (project(&view.camera, posed[v]), project(&moving.camera, at_rest[v]));
            let off = (a[0] - b[0]).hypot(a[1] - b[1]);
            assert!(off < 0.1, "{off} pixels");
        }
    }
    fs::copy(folder.join("union/template.npz"), folder.join("back/template.npz")).unwrap();
    gav(folder, 0, &["data", "check", "back"]);
}

#[test]
fn folders_of_insta_are_checked() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    capture(folder);
    gav(folder, 0, &["data", "convert", "union", "-o", "insta", "--to", "insta", "--camera", "2"]);
    fs::copy(folder.join("union/template.npz"), folder.join("insta/template.npz")).unwrap();
    let findings = |code: i32| -> (Vec<String>, String) {
        let text = gav(folder, code, &["data", "check", "insta", "--json"]);
        let value: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        let list = value["findings"].as_array().unwrap().iter().map(|f| f["code"].as_str().unwrap().to_owned());
        (list.collect(), text)
    };
    assert_eq!(findings(0).0, Vec::<String>::new());
    let own = folder.join("insta");
    let frame = |number: u32| own.join(format!("checkpoint/{number:05}.frame"));
    // a mirrored camera, another tracker, height and width swapped
    use gav_formats::weights::{Entry, write_arrays};
    let floats = |name: &str, shape: &[usize], values: &[f32]| {
        let mut all = values.to_vec();
        all.resize(shape.iter().product(), 0.0);
        (name.to_owned(), Entry::Array(NpyArray::from_f32(shape.to_vec(), &all)))
    };
    let write = |number: u32, corner: f32, size: [i64; 2], shape: &str| {
        let flame = vec![
            floats("exp", &[1, 100], &[]),
            floats(shape, &[1, 300], &[]),
            floats("jaw", &[1, 6], &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0]),
            floats("eyes", &[1, 12], &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0]),
        ];
        let camera = vec![
            floats("R", &[1, 3, 3], &[1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, corner]),
            floats("t", &[1, 3], &[0.0, 0.0, 1.0]),
        ];
        let entries = [
            ("flame".to_owned(), Entry::Group(flame)),
            ("opencv".to_owned(), Entry::Group(camera)),
            ("img_size".to_owned(), Entry::Array(NpyArray::from_i64(vec![2], &size))),
        ];
        fs::write(frame(number), write_arrays("x", &entries).unwrap()).unwrap();
    };
    let side = i64::from(SIDE);
    write(1, 1.0, [side, side], "shape");
    assert_eq!(findings(1).0, ["HANDEDNESS"]);
    write(1, -1.0, [side, side], "betas");
    write(2, -1.0, [side, 2 * side], "shape");
    fs::write(frame(3), b"no pickle").unwrap();
    let (codes, text) = findings(1);
    assert_eq!(codes, ["CHECKPOINT", "CHECKPOINT_VERSION", "PICTURE_SIZE"]);
    assert!(text.contains("lacks flame.shape") && text.contains("96 × 48"), "{text}");
    png(&own.join("images/00001.png"), SIDE, png::ColorType::Rgb, |_, _| vec![9; 3]);
    fs::remove_file(frame(4)).unwrap();
    let (codes, text) = findings(1);
    assert_eq!(codes, ["NO_MATTE", "COUNTS", "CHECKPOINT", "CHECKPOINT_VERSION", "PICTURE_SIZE"]);
    assert!(text.contains("1 of 5 pictures") && text.contains("4 checkpoints for 5 pictures"), "{text}");
}
