//! `gav data check` as a user meets it: a sound capture in the layout of VHAP, and what it says of damaged ones.

mod flame;

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use gav_formats::npy::{NpyArray, write_npz};
use serde_json::{Value, json};

fn gav(folder: &Path, code: i32, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gav"));
    command.current_dir(folder).stdin(Stdio::null()).env("GAV_DATA", "data");
    let output = command.args(arguments).output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{out}\n{err}");
    out + &err
}

const SIDE: u32 = 64;

/// World from camera in the axes of OpenGL: on a circle of a radius around the head, looking at it.
fn pose(angle: f64, radius: f64) -> Value {
    let (s, c) = angle.sin_cos();
    json!([[c, 0.0, s, radius * s], [0.0, 1.0, 0.0, 0.0], [-s, 0.0, c, radius * c], [0.0, 0.0, 0.0, 1.0]])
}

/// Three cameras, four time steps, white pictures.
fn capture(folder: &Path, radius: f64, translation: [f32; 3]) {
    for part in ["images", "flame_param"] {
        fs::create_dir_all(folder.join(part)).unwrap();
    }
    let mut frames = Vec::new();
    for step in 0..4 {
        let row = |width: usize, size: f32| {
            let values: Vec<f32> = (0..width).map(|k| size * (k as f32 + step as f32).sin()).collect();
            NpyArray::from_f32(vec![1, width], &values)
        };
        let members = [
            ("shape".to_owned(), NpyArray::from_f32(vec![300], &[0.0; 300])),
            ("expr".into(), row(100, 0.1)),
            ("rotation".into(), row(3, 0.1)),
            ("neck_pose".into(), row(3, 0.1)),
            ("jaw_pose".into(), row(3, 0.1)),
            ("eyes_pose".into(), row(6, 0.1)),
            ("translation".into(), NpyArray::from_f32(vec![1, 3], &translation)),
        ];
        fs::write(folder.join(format!("flame_param/{step:05}.npz")), write_npz(&members).unwrap()).unwrap();
        for camera in 0..3 {
            let name = format!("images/{step:05}_{camera:02}.png");
            let mut bytes = Vec::new();
            let mut encoder = png::Encoder::new(&mut bytes, SIDE, SIDE);
            encoder.set_color(png::ColorType::Rgb);
            let mut writer = encoder.write_header().unwrap();
            writer.write_image_data(&[255; 3 * (SIDE * SIDE) as usize]).unwrap();
            writer.finish().unwrap();
            fs::write(folder.join(&name), bytes).unwrap();
            frames.push(json!({"timestep_index": step, "camera_index": camera, "w": SIDE, "h": SIDE, "fl_x": 130.0,
                "fl_y": 130.0, "cx": 32.0, "cy": 32.0, "transform_matrix": pose(0.5 * (f64::from(camera) - 1.0), radius),
                "file_path": name, "flame_param_path": format!("flame_param/{step:05}.npz")}));
        }
    }
    fs::write(folder.join("transforms_train.json"), json!({"frames": frames}).to_string()).unwrap();
}

/// Codes of what is found, and the whole object.
fn findings(folder: &Path, code: i32, more: &[&str]) -> (Vec<String>, Value) {
    let text = gav(folder, code, &[&["data", "check", "capture", "--json"], more].concat());
    let value: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let codes = value["findings"].as_array().unwrap().iter().map(|f| f["code"].as_str().unwrap().to_owned()).collect();
    (codes, value)
}

#[test]
fn meshes_and_faces_of_stga_are_checked() {
    let root = tempfile::tempdir().unwrap();
    let (folder, own) = (root.path(), root.path().join("capture"));
    for part in ["meshes", "training_faces"] {
        fs::create_dir_all(own.join(part)).unwrap();
    }
    let mesh = |faces: usize, x: f64| {
        let triangle = |k: usize| {
            let at = 0.001 * k as f64;
            json!({"Vertices": [[x + at, 0.0, 0.0], [x, at, 0.0], [x, 0.0, at]]})
        };
        json!({"triangles": (0..faces).map(triangle).collect::<Vec<_>>()}).to_string()
    };
    let list = |faces: &[i64]| gav_formats::npy::write_npy(&NpyArray::from_i64(vec![faces.len()], faces));
    let mut frames = Vec::new();
    for step in 0..3 {
        fs::write(own.join(format!("meshes/mesh_{step:04}.json")), mesh(20, 0.0)).unwrap();
        fs::write(own.join(format!("training_faces/{step:04}.npy")), list(&[1, 2, 3])).unwrap();
        fs::write(own.join(format!("{step}.png")), b"").unwrap();
        for camera in 0..2 {
            frames.push(json!({"keyframe": step, "w": SIDE, "h": SIDE, "camera_angle_x": 0.5, "camera_angle_y": 0.5,
                "transform_matrix": pose(0.6 * f64::from(camera), 1.0), "file_path": format!("{step}.png")}));
        }
    }
    fs::write(own.join("transforms_train.json"), json!({"frames": frames}).to_string()).unwrap();
    let (codes, whole) = findings(folder, 0, &[]);
    assert!(codes.is_empty() && whole["layout"] == "STGA", "{whole}");

    fs::write(own.join("meshes/mesh_0001.json"), mesh(19, 0.0)).unwrap();
    fs::write(own.join("training_faces/0002.npy"), list(&[20])).unwrap();
    fs::write(own.join("training_faces/0000.npy"), list(&[])).unwrap();
    let (codes, whole) = findings(folder, 1, &[]);
    assert_eq!(codes, ["TOPOLOGY", "TRAINING_FACES", "SELECTION"]);
    let text = whole.to_string();
    assert!(text.contains("19 instead of 20") && text.contains("face 20 of 20"), "{text}");
    fs::write(own.join("meshes/mesh_0001.json"), "{}").unwrap();
    fs::write(own.join("meshes/mesh_0000.json"), mesh(20, 7.0)).unwrap();
    fs::remove_file(own.join("meshes/mesh_0002.json")).unwrap();
    let codes = findings(folder, 1, &[]).0;
    assert_eq!(codes, ["MISSING_FILES", "MESH", "MESH_OUTSIDE", "TRAINING_FACES", "SELECTION"]);
}

#[test]
fn captures_are_checked_before_hours_are_spent_on_them() {
    let root = tempfile::tempdir().unwrap();
    let (folder, own) = (root.path(), root.path().join("capture"));
    assert!(gav(folder, 2, &["data", "check", "capture"]).contains("transforms_train.json"));
    capture(&own, 1.0, [0.0; 3]);
    // without the template everything but the mesh is checked
    let (codes, whole) = findings(folder, 0, &[]);
    assert!(codes.is_empty() && whole["note"].as_str().unwrap().contains("mesh is not checked"), "{whole}");
    fs::write(folder.join("flame2023.npz"), flame::head()).unwrap();
    gav(folder, 0, &["template", "add", "FLAME2023", "flame2023.npz"]);
    let (codes, whole) = findings(folder, 0, &["--overlay", "mesh.png"]);
    assert!(codes.is_empty() && whole["note"].is_null(), "{whole}");
    assert_eq!((&whole["layout"], &whole["views"]["train"]), (&json!("VHAP / GaussianAvatars"), &json!(12)));
    assert_eq!((&whole["timesteps"], &whole["cameras"]), (&json!(4), &json!(3)));
    let decoder = png::Decoder::new(std::io::Cursor::new(fs::read(folder.join("mesh.png")).unwrap()));
    assert!(decoder.read_info().unwrap().info().width > SIDE);
    assert!(gav(folder, 2, &["data", "check", "capture", "--overlay", "mesh.png"]).contains("--force"));
    assert!(gav(folder, 0, &["data", "check", "capture"]).contains("nothing that would spoil"));

    // a template of three joints takes no parameters of FLAME
    let floats = |name: &str, shape: &[usize]| {
        let values: Vec<f32> = (0..shape.iter().product()).map(|k| 0.1 * (k as f32).sin()).collect();
        (name.to_owned(), NpyArray::from_f32(shape.to_vec(), &values))
    };
    let words =
        |name: &str, shape: &[usize], values: &[i64]| (name.to_owned(), NpyArray::from_i64(shape.to_vec(), values));
    let other = [
        floats("v_template", &[4, 3]),
        floats("shapedirs", &[4, 3, 2]),
        words("f", &[2, 3], &[0, 1, 2, 0, 2, 3]),
        ("J_regressor".to_owned(), NpyArray::from_f32(vec![3, 4], &[0.25; 12])),
        (
            "weights".to_owned(),
            NpyArray::from_f32(vec![4, 3], &[1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]),
        ),
        words("kintree_table", &[2, 3], &[-1, 0, 1, 0, 1, 2]),
    ];
    fs::write(own.join("template.npz"), write_npz(&other).unwrap()).unwrap();
    let (codes, whole) = findings(folder, 1, &[]);
    assert!(codes == ["TEMPLATE"] && whole.to_string().contains("body."), "{whole}");
    fs::remove_file(own.join("template.npz")).unwrap();

    // the other axes: all cameras look away from the head
    let (codes, _) = findings(folder, 1, &["--camera-axes", "opencv"]);
    assert!(codes.contains(&"CAMERA_AXES".to_owned()) && codes.contains(&"MESH_OUTSIDE".to_owned()), "{codes:?}");
    // a head that was tracked elsewhere
    capture(&own, 1.0, [0.0, 5.0, 0.0]);
    assert_eq!(findings(folder, 1, &[]).0, ["MESH_OUTSIDE"]);
    // centimetres
    capture(&own, 100.0, [0.0; 3]);
    assert_eq!(findings(folder, 0, &[]).0, ["SCALE"]);
    // files
    capture(&own, 1.0, [0.0; 3]);
    fs::remove_file(own.join("images/00002_01.png")).unwrap();
    fs::write(own.join("flame_param/00001.npz"), b"no archive").unwrap();
    fs::remove_file(own.join("flame_param/00003.npz")).unwrap();
    let (codes, whole) = findings(folder, 1, &[]);
    assert_eq!(codes, ["MISSING_FILES", "MISSING_FILES", "PARAMETERS"]);
    let text = whole.to_string();
    for part in ["1 of 12 pictures", "1 of 4 files", "00002_01.png", "00001.npz"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}
