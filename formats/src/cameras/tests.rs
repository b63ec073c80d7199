use std::fs;

use serde_json::json;

use super::*;

fn file(name: &str, json: &Value) -> (tempfile::TempDir, Result<CameraFile>) {
    read_with(name, json, &CameraOptions::default())
}

fn read_with(name: &str, json: &Value, options: &CameraOptions) -> (tempfile::TempDir, Result<CameraFile>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, json.to_string()).unwrap();
    let read = read_cameras(&path, options);
    (folder, read)
}

/// Where a camera sees a point: column, row, depth.
fn see(camera: &Camera, p: [f64; 3]) -> [f64; 3] {
    let m = &camera.camera_from_world;
    let t: [f64; 3] = std::array::from_fn(|r| (0..3).map(|c| m[r][c] * p[c]).sum::<f64>() + m[r][3]);
    [camera.focal[0] * t[0] / t[2] + camera.principal[0], camera.focal[1] * t[1] / t[2] + camera.principal[1], t[2]]
}

/// A camera at (0, 0, 4) that looks at the origin, y up, as OpenGL says it.
fn gl_pose() -> Value {
    json!([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 4.0], [0.0, 0.0, 0.0, 1.0]])
}

#[test]
fn blender_cameras_look_along_their_minus_z() {
    let angle = 2.0 * 0.25f64.atan();
    let frames = json!([{"file_path": "./train/r_0", "transform_matrix": gl_pose()}]);
    let (folder, read) =
        file("transforms.json", &json!({"camera_angle_x": angle, "w": 200, "h": 100, "frames": frames}));
    let view = read.unwrap().views.remove(0);
    // focal = 200 / (2 · 0.25) = 400, so a unit at distance 4 is 100 pixels
    let [column, row, depth] = see(&view.camera, [0.5, 0.25, 0.0]);
    assert!((column - 150.0).abs() < 1e-9 && (row - 25.0).abs() < 1e-9 && (depth - 4.0).abs() < 1e-12);
    assert_eq!((view.camera.name.as_str(), view.camera.focal[0], view.camera.focal[1]), ("r_0", 400.0, 400.0));
    assert_eq!(view.image.unwrap(), folder.path().join("./train/r_0.png"));
}

#[test]
fn frames_of_gaussian_avatars_have_intrinsics_time_and_masks_of_their_own() {
    let frame = json!({"timestep_index": 3, "camera_index": 8, "cx": 273.0, "cy": 400.0, "fl_x": 2051.0, "fl_y": 2050.0,
        "h": 802, "w": 550, "camera_angle_x": 0.26, "transform_matrix": gl_pose(),
        "file_path": "../seq/images/00003_08.png", "fg_mask_path": "../seq/fg_masks/00003_08.png",
        "flame_param_path": "../seq/flame_param/00003.npz"});
    let json = json!({"w": 1, "h": 1, "fl_x": 1.0, "frames": [frame]});
    let (folder, read) = file("transforms_test.json", &json);
    let view = read.unwrap().views.remove(0);
    assert_eq!((view.timestep, view.camera_index), (Some(3), Some(8)));
    assert_eq!((view.camera.width, view.camera.height), (550, 802));
    assert_eq!((view.camera.focal, view.camera.principal), ([2051.0, 2050.0], [273.0, 400.0]));
    assert_eq!(view.mask.unwrap(), folder.path().join("../seq/fg_masks/00003_08.png"));
    assert_eq!(view.parameters.unwrap(), folder.path().join("../seq/flame_param/00003.npz"));
    assert_eq!(view.camera.name, "00003_08");
    for (principal, expected) in [(PrincipalPoint::Center, [275.0, 401.0]), (PrincipalPoint::FlippedY, [273.0, 402.0])]
    {
        let options = CameraOptions { principal, ..CameraOptions::default() };
        let view = read_with("t.json", &json, &options).1.unwrap().views.remove(0);
        assert_eq!(view.camera.principal, expected);
    }
}

#[test]
fn the_matrix_of_stga_counts_before_the_angles() {
    let frame = json!({"keyframe": 7, "camera_angle_x": 1.0, "camera_angle_y": 1.0, "transform_matrix": gl_pose(),
        "K": [[900.0, 0.0, 61.0], [0.0, 901.0, 62.0], [0.0, 0.0, 1.0]], "w": 120, "h": 130});
    let view = file("t.json", &json!({"frames": [frame]})).1.unwrap().views.remove(0);
    assert_eq!((view.camera.focal, view.camera.principal), ([900.0, 901.0], [61.0, 62.0]));
    assert_eq!(view.timestep, Some(7));
}

#[test]
fn insta_cameras_look_along_their_plus_z() {
    let pose = json!([[1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.0], [0.0, 0.0, -1.0, 4.0], [0.0, 0.0, 0.0, 1.0]]);
    let json = json!({"w": 200, "h": 200, "fl_x": 400.0, "fl_y": 400.0, "cx": 100.0, "cy": 100.0, "integer_depth_scale": 0.001,
        "frames": [{"transform_matrix": pose, "file_path": "images/0.png", "exp_path": "flame/exp/0.txt"}]});
    let view = file("transforms.json", &json).1.unwrap().views.remove(0);
    assert_eq!(see(&view.camera, [0.5, 0.25, 0.0]), [150.0, 75.0, 4.0]);
    let options = CameraOptions { axes: Some(CameraAxes::OpenGl), ..CameraOptions::default() };
    let view = read_with("transforms.json", &json, &options).1.unwrap().views.remove(0);
    assert!(see(&view.camera, [0.0; 3])[2] < 0.0, "the option wins");
}

#[test]
fn sizes_come_from_the_picture_where_the_file_has_none() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("images")).unwrap();
    // signature and header chunk of a PNG of 300 × 200
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    png.extend([0, 0, 1, 44, 0, 0, 0, 200, 8, 2, 0, 0, 0, 0, 0, 0, 0]);
    fs::write(folder.path().join("images/a.png"), png).unwrap();
    let path = folder.path().join("transforms.json");
    let json = json!({"camera_angle_x": 1.0, "frames": [{"file_path": "images/a", "transform_matrix": gl_pose()}]});
    fs::write(&path, json.to_string()).unwrap();
    let view = read_cameras(&path, &CameraOptions::default()).unwrap().views.remove(0);
    assert_eq!((view.camera.width, view.camera.height), (300, 200));
    fs::remove_file(folder.path().join("images/a.png")).unwrap();
    let error = read_cameras(&path, &CameraOptions::default()).unwrap_err().to_string();
    assert!(error.contains("`w` and `h` are missing") && error.contains("a.png"), "{error}");
}

#[test]
fn cameras_of_the_trainer_and_our_own_are_lists() {
    // a camera at (0, 0, -4) that looks along +z, turned by 90° about its view axis
    let trained = json!([{"id": 0, "img_name": "00001", "width": 100, "height": 80, "position": [0.0, 0.0, -4.0],
        "rotation": [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], "fy": 40.0, "fx": 40.0}]);
    let read = file("cameras.json", &trained).1.unwrap();
    // the camera's x axis is the world's y, its y axis the world's −x
    assert_eq!(see(&read.views[0].camera, [1.0, 2.0, 0.0]), [70.0, 30.0, 4.0]);
    assert_eq!((read.views[0].camera.name.as_str(), read.frame), ("00001", None));

    let camera = crate::synthetic::shell_camera(5, 64, 48);
    let own = json!({"frame": "RUB", "cameras": [camera]});
    let read = file("path.json", &own).1.unwrap();
    assert_eq!((read.frame, &read.views[0].camera), (Some(Frame::RUB), &camera));
    assert_eq!(file("path.json", &json!([camera])).1.unwrap().frame, None);
}

#[test]
fn what_makes_no_camera_is_refused_with_its_number() {
    let good = json!({"width": 4, "height": 4, "focal": [1, 1], "principal": [2, 2],
        "camera_from_world": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]});
    let with = |key: &str, value: Value| {
        let mut camera = good.clone();
        camera[key] = value;
        json!([good, camera])
    };
    let transforms = |frame: Value| json!({"w": 4, "h": 4, "frames": [frame]});
    for (json, expected) in [
        (json!({}), "neither a list"),
        (json!([{}]), "camera 0 has neither"),
        (with("width", json!(0)), "camera 1: an image of 0 × 4"),
        (with("focal", json!([1, -1])), "camera 1: focal"),
        (with("focal", json!("x")), "camera 1: "),
        (with("camera_from_world", json!([[2, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]])), "camera 1: its matrix"),
        (json!({"frame": "XYZ", "cameras": [good]}), "no coordinate frame"),
        (transforms(json!({"transform_matrix": gl_pose()})), "frame 0: neither `fl_x`"),
        (transforms(json!({"fl_x": 1.0, "transform_matrix": [[1]]})), "frame 0: `transform_matrix`"),
        (
            transforms(json!({"fl_x": 1.0, "transform_matrix": [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]})),
            "no rotation",
        ),
        (transforms(json!({"fl_x": "a", "transform_matrix": gl_pose()})), "`fl_x` is \"a\""),
        (transforms(json!({"fl_x": 1.0, "w": 1e9, "transform_matrix": gl_pose()})), "`w` is 1000000000"),
    ] {
        let error = file("c.json", &json).1.expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}\nexpected: {expected}");
    }
}

#[test]
fn distortion_is_not_passed_over_in_silence() {
    let json = json!({"w": 4, "h": 4, "fl_x": 4.0, "k1": 0.1, "frames": [{"transform_matrix": gl_pose()}]});
    assert_eq!(file("t.json", &json).1.unwrap().warnings.len(), 1);
}
