//! `gav template` as a user meets it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use gav_formats::npy::{NpyArray, NpyType, write_npz};
use serde_json::Value;

fn gav(folder: &Path, code: i32, arguments: &[&str]) -> (String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gav"));
    command.current_dir(folder).stdin(Stdio::null()).env("GAV_DATA", "data");
    let output = command.args(arguments).output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{out}\n{err}");
    assert!(!err.contains("panicked"), "{err}");
    (out, err)
}

/// A body of two joints and one shape direction, whose weights sum to `sum`.
fn body(sum: f32) -> Vec<(String, NpyArray)> {
    let words = |name: &str, shape: &[usize], values: &[u32]| {
        let data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        (name.to_owned(), NpyArray { dtype: NpyType::U32, shape: shape.to_vec(), data })
    };
    let floats =
        |name: &str, shape: &[usize], values: &[f32]| (name.to_owned(), NpyArray::from_f32(shape.to_vec(), values));
    vec![
        floats("v_template", &[3, 3], &[0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0]),
        words("f", &[1, 3], &[0, 1, 2]),
        floats("shapedirs", &[3, 3, 1], &[0.1; 9]),
        floats("J_regressor", &[2, 3], &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0]),
        floats("weights", &[3, 2], &[1.0, 0.0, 0.5 * sum, 0.5 * sum, 0.0, 1.0]),
        words("kintree_table", &[2, 2], &[u32::MAX, 0, 0, 1]),
    ]
}

fn write(folder: &Path, name: &str, sum: f32) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, write_npz(&body(sum)).unwrap()).unwrap();
    path
}

#[test]
fn templates_are_added_listed_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write(folder, "hinge.npz", 1.0);
    assert!(gav(folder, 0, &["template", "list"]).0.contains("no templates"));
    let (out, _) = gav(folder, 0, &["template", "add", "CUSTOM", "hinge.npz", "--licence", "CC0-1.0"]);
    assert!(out.contains("3 vertices and 1 faces, added") && out.contains("CC0-1.0: avatars may hold it"), "{out}");
    let (out, _) = gav(folder, 0, &["template", "add", "custom", "hinge.npz", "--json"]);
    let line: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(line["unchanged"], true);
    let template = &line["manifest"]["template"];
    assert_eq!((&template["name"], &template["licence"]), (&Value::from("hinge"), &Value::from("CC0-1.0")));

    let (out, _) = gav(folder, 0, &["template", "list"]);
    assert!(out.contains("hinge") && out.contains("a custom template"), "{out}");
    let (out, _) = gav(folder, 0, &["template", "show", "hinge"]);
    assert!(out.contains("body.pose") && out.contains("joint1") && out.contains("hinge.npz ("), "{out}");
    let hash = template["arrays_hash"].as_str().unwrap();
    let (out, _) = gav(folder, 0, &["template", "show", &hash[..10], "--json"]);
    let line: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(line["groups"], serde_json::json!([["shape", 1], ["pose", 6], ["translation", 3]]));
    assert_eq!(line["joints"][1]["parent"], "joint0");
}

#[test]
fn a_bad_file_is_named_and_does_not_stop_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write(folder, "bad.npz", 0.5);
    write(folder, "good.npz", 1.0);
    let (out, err) = gav(folder, 1, &["template", "add", "CUSTOM", "bad.npz", "good.npz"]);
    assert!(err.contains("bad.npz: the weights of vertex 1 sum to 0.5000, not to 1"), "{err}");
    assert!(out.contains("good.npz: `good`"), "{out}");
    let (_, err) = gav(folder, 1, &["template", "add", "SMPL-X", "good.npz"]);
    assert!(err.contains("10475 vertices expected for SMPL-X, this file has 3") && err.contains("CUSTOM"), "{err}");
    let (_, err) = gav(folder, 1, &["template", "add", "FLAME", "good.npz"]);
    assert!(err.contains("FLAME2020 or FLAME2023"), "{err}");
    let (_, err) = gav(folder, 2, &["template", "show", "nothing"]);
    assert!(err.contains("no template `nothing`") && err.contains("gav template list"), "{err}");
    gav(folder, 2, &["template", "add", "CUSTOM", "good.npz", "bad.npz", "--name", "both"]);
    gav(folder, 2, &["template", "add", "MANO", "good.npz"]);
    // a damaged copy is reported, and made again when added again
    let copy = fs::read_dir(folder.join("data/templates")).unwrap().next().unwrap().unwrap().path();
    fs::write(&copy, b"nothing").unwrap();
    let (_, err) = gav(folder, 1, &["template", "list"]);
    assert!(err.contains("no manifest"), "{err}");
    gav(folder, 0, &["template", "add", "CUSTOM", "good.npz"]);
    gav(folder, 0, &["template", "list"]);
}
