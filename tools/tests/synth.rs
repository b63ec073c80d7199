//! `gav synth` as a user meets it: a small capture, checked, continued, and made a second time.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;

fn gav(folder: &Path, code: i32, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gav"));
    command.current_dir(folder).stdin(Stdio::null()).env("GAV_DATA", "data");
    let output = command.args(arguments).output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{out}\n{err}");
    out + &err
}

const SMALL: [&str; 13] = [
    "synth",
    "head",
    "--cameras",
    "4",
    "--frames",
    "3",
    "--test-frames",
    "1",
    "--size",
    "64",
    "--detail",
    "0.01",
    "-o",
];

/// Contents of all files by their path.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut out = BTreeMap::new();
    for part in ["", "images", "fg_masks", "flame_param", "meshes"] {
        for entry in fs::read_dir(folder.join(part)).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_file() {
                out.insert(path.strip_prefix(folder).unwrap().display().to_string(), fs::read(&path).unwrap());
            }
        }
    }
    out
}

fn decode(bytes: &[u8]) -> Vec<u8> {
    let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    assert_eq!((info.width, info.height), (64, 64));
    pixels.truncate(info.buffer_size());
    pixels
}

#[test]
fn captures_are_sound_repeatable_and_continued() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    gav(folder, 0, &[&SMALL[..], &["a", "--quiet"]].concat());
    let text = gav(folder, 0, &["data", "check", "a", "--json", "--overlay", "mesh.png"]);
    let report: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(report["findings"], serde_json::json!([]), "{report}");
    assert_eq!(report["views"], serde_json::json!({"train": 6, "val": 2, "test": 4}));
    assert_eq!(report["layout"], "VHAP / GaussianAvatars");

    let first = contents(&folder.join("a"));
    assert_eq!(first.keys().filter(|name| name.starts_with("images")).count(), 12);
    for (name, bytes) in first.iter().filter(|(name, _)| name.starts_with("images")) {
        let (picture, mask) = (decode(bytes), decode(&first[&name.replace("images", "fg_masks")]));
        let mut on = 0;
        for (pixel, covered) in picture.chunks_exact(3).zip(&mask) {
            // what nothing covers is white, and skin, hair and cloth are darker than that
            assert!(*covered > 0 || pixel == [255; 3], "{name}");
            on += usize::from(*covered == 255 && pixel.iter().any(|v| *v < 235));
        }
        assert!((600..3300).contains(&on), "{name}: {on} pixels");
    }

    // on one thread and by another process, byte for byte
    gav(folder, 0, &[&SMALL[..], &["b", "--quiet", "--jobs", "1"]].concat());
    assert_eq!(first, contents(&folder.join("b")));

    // what is missing is drawn again, and nothing else
    fs::remove_file(folder.join("a/images/00001_02.png")).unwrap();
    let text = gav(folder, 0, &[&SMALL[..], &["a", "--json"]].concat());
    let sums: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!((&sums["pictures"], &sums["skipped"]), (&Value::from(1), &Value::from(2)), "{text}");
    assert_eq!(first, contents(&folder.join("a")));

    // another capture does not go over it
    let text = gav(folder, 2, &[&SMALL[..], &["a", "--seed", "9"]].concat());
    assert!(text.contains("other options") && text.contains("--force"), "{text}");
    fs::create_dir(folder.join("mine")).unwrap();
    fs::write(folder.join("mine/notes.txt"), "x").unwrap();
    assert!(gav(folder, 2, &[&SMALL[..], &["mine"]].concat()).contains("no capture"));
    let text = gav(folder, 2, &["synth", "head", "-o", "c", "--frames", "4", "--test-frames", "4"]);
    assert!(text.contains("4 time steps, of them 4 for tests"), "{text}");
}

#[test]
fn a_person_is_a_sound_capture_of_stga() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    let mut small = SMALL;
    small[1] = "body";
    gav(folder, 0, &[&small[..], &["a", "--quiet"]].concat());
    let text = gav(folder, 0, &["data", "check", "a", "--json"]);
    let report: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(report["findings"], serde_json::json!([]), "{report}");
    assert_eq!((&report["layout"], &report["views"]["train"]), (&Value::from("STGA"), &Value::from(6)));
    gav(folder, 0, &[&small[..], &["b", "--quiet", "--jobs", "1"]].concat());
    let first = contents(&folder.join("a"));
    assert_eq!(first.keys().filter(|name| name.starts_with("meshes")).count(), 3);
    assert_eq!(first, contents(&folder.join("b")));
    // a head does not go over a person
    assert!(gav(folder, 2, &[&SMALL[..], &["a"]].concat()).contains("other options"));
    let text = gav(folder, 2, &["synth", "body", "-o", "c", "--frames", "4", "--test-frames", "4"]);
    assert!(text.contains("of them 4 for tests") && text.contains("synth body --help"), "{text}");
}
