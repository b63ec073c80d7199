//! `gav clip` as a user meets it: real files, exit codes, and that nothing else in an avatar changes.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use gav_formats::{
    Avatar, Driver, EncodeOptions, Profile, ReadOptions, WriteOptions, format_by_name, load,
    npy::{NpyArray, read_npz, write_npz},
    save, synthetic,
};
use serde_json::Value;

/// Runs and checks the exit code; gives standard output and standard error.
fn expect(folder: &Path, code: i32, arguments: &[&str]) -> (String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gav"));
    let output = command.current_dir(folder).stdin(Stdio::null()).arg("clip").args(arguments).output().unwrap();
    let texts = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{}\n{}", texts[0], texts[1]);
    let [out, err] = texts;
    (out, err)
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

fn open(path: &Path) -> Avatar {
    load(path, &ReadOptions::default()).unwrap()
}

const FACE: &str = "Timecode,BlendshapeCount,EyeBlinkLeft,JawOpen\n\
    10:00:00:00.0,61,0.25,0.5\n10:00:00:01.5,61,0.5,0.25\n10:00:02:59.0,61,0,1\n";
const MAP: &str = "output,jawOpen,eyeBlinkLeft\nflame.jaw_pose.x,0.5,0\nflame.jaw_pose.y,0,0\nflame.jaw_pose.z,0,0\n\
    flame.expression.0,0,2\nflame.expression.1,1,0\n";

/// A folder with an avatar of two drivers and recordings.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mut avatar = synthetic::random(20, 1, 7);
    let driver = |name: &str| Driver { name: name.into(), min: 0.0, max: 1.0, default: 0.0 };
    avatar.drivers = vec![driver("arkit.jawOpen"), driver("arkit.eyeBlinkLeft")];
    let gav = format_by_name("gav").unwrap();
    for (name, profile) in [("head.gav", Profile::Standard), ("exact.gav", Profile::Lossless)] {
        let options = WriteOptions { gav: EncodeOptions { profile, ..Default::default() }, ..Default::default() };
        save(&avatar, path(name), gav, &options).unwrap();
    }
    fs::write(path("face.csv"), FACE).unwrap();
    fs::write(path("map.csv"), MAP).unwrap();
    let array = |width: usize, value: f32| NpyArray::from_f32(vec![3, width], &vec![value; 3 * width]);
    let members = [("expr", array(50, 0.25)), ("jaw_pose", array(3, 0.125)), ("translation", array(3, 1.0))];
    let members: Vec<_> = members.into_iter().map(|(name, array)| (name.to_owned(), array)).collect();
    fs::write(path("flame_param.npz"), write_npz(&members).unwrap()).unwrap();
    folder
}

#[test]
fn a_recording_is_listed_added_and_exported() {
    let folder = folder();
    let root = folder.path();
    let (out, _) = expect(root, 0, &["list", "face.csv", "head.gav"]);
    assert!(
        out.contains("face.csv: face: ") && out.contains("arkit.jawOpen") && out.contains("head.gav: no clips"),
        "{out}"
    );

    for name in ["head.gav", "exact.gav"] {
        let before = open(&root.join(name));
        let (out, _) = expect(root, 0, &["add", name, "face.csv", "--name", "talk", "--json"]);
        let facts = &lines(&out)[0];
        assert_eq!(
            (facts["clip"]["name"].as_str(), facts["clip"]["ticks_per_second"].as_u64()),
            (Some("talk"), Some(60))
        );
        assert_eq!(facts["unknown_targets"].as_array().map(Vec::len), Some(0));
        let mut after = open(&root.join(name));
        assert_eq!(after.clips.len(), 1);
        assert_eq!(after.clips[0].seconds(), 179.0 / 60.0);
        after.clips.clear();
        assert_eq!(after, before, "{name}: everything else stays");
    }
    assert_eq!(open(&root.join("exact.gav")).clips[0].tracks[1].values, [0.5, 0.25, 1.0]);

    // again under the same name: replaced; into another file: the first stays as it is
    expect(root, 0, &["add", "exact.gav", "face.csv", "--name", "talk", "--fps", "30"]);
    let clips = open(&root.join("exact.gav")).clips;
    assert_eq!((clips.len(), clips[0].ticks_per_second), (1, 30));
    let bytes = fs::read(root.join("exact.gav")).unwrap();
    expect(root, 0, &["add", "exact.gav", "face.csv", "flame_param.npz", "-o", "two.gav"]);
    assert_eq!(fs::read(root.join("exact.gav")).unwrap(), bytes);
    let names: Vec<String> = open(&root.join("two.gav")).clips.into_iter().map(|c| c.name).collect();
    assert_eq!(names, ["talk", "face", "flame_param"]);
    let (_, err) = expect(root, 2, &["add", "exact.gav", "face.csv", "-o", "two.gav"]);
    assert!(err.contains("two.gav exists") && err.contains("--force"), "{err}");

    for name in ["out.npz", "out.csv", "out.json"] {
        expect(root, 0, &["export", "exact.gav", "talk", "-o", name]);
        let (out, _) = expect(root, 0, &["list", name, "--json"]);
        let clip = &lines(&out)[0]["clips"][0];
        assert_eq!(clip["tracks"].as_array().map(Vec::len), Some(2), "{name}: {out}");
        assert!((clip["seconds"].as_f64().unwrap() - 2.983).abs() < 0.02, "{name}: {out}");
    }
    let (_, err) = expect(root, 2, &["export", "exact.gav", "walk", "-o", "w.npz"]);
    assert!(err.contains("no clip is called `walk`") && err.contains("it has talk"), "{err}");
    expect(root, 2, &["export", "exact.gav", "talk", "-o", "talk.bvh"]);
    // keys at uneven times need a rate
    expect(root, 0, &["add", "head.gav", "face.csv", "--name", "uneven"]);
    let (_, err) = expect(root, 1, &["export", "head.gav", "uneven", "-o", "u.npz"]);
    assert!(err.contains("--fps") && !root.join("u.npz").exists(), "{err}");
}

#[test]
fn recordings_are_retargeted() {
    let folder = folder();
    let root = folder.path();
    expect(
        root,
        0,
        &["retarget", "face.csv", "--map", "map.csv", "--fps", "30", "--rotations", "6d", "-o", "flame.json"],
    );
    let json: Value = serde_json::from_slice(&fs::read(root.join("flame.json")).unwrap()).unwrap();
    let widths: Vec<(&str, u64)> = json["tracks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| (t["target"].as_str().unwrap(), t["width"].as_u64().unwrap()))
        .collect();
    assert_eq!(widths, [("flame.jaw_6d", 6), ("flame.expression", 100)]);

    expect(
        root,
        0,
        &["retarget", "flame_param.npz", "--only", "expression,jaw,eyes", "--rotations", "axis-angle", "-o", "f.npz"],
    );
    let arrays = read_npz(&fs::read(root.join("f.npz")).unwrap(), &Default::default()).unwrap().arrays;
    let shapes: Vec<(&str, &[usize])> = arrays.iter().map(|(name, a)| (name.as_str(), &a.shape[..])).collect();
    assert_eq!(shapes[..2], [("expr", &[3, 100][..]), ("jaw_pose", &[3, 3][..])]);
    expect(root, 0, &["retarget", "flame_param.npz", "--neutral", "0", "-o", "rest.json"]);
    let json: Value = serde_json::from_slice(&fs::read(root.join("rest.json")).unwrap()).unwrap();
    assert!(json["tracks"][0]["values"].as_array().unwrap().iter().all(|v| v.as_f64() == Some(0.0)));

    let (_, err) = expect(root, 1, &["retarget", "face.csv", "--only", "hands", "-o", "h.csv"]);
    assert!(err.contains("2 tracks") && err.contains("hands"), "{err}");
    let (_, err) = expect(root, 1, &["retarget", "face.csv", "--to", "9", "-o", "h.csv"]);
    assert!(err.contains("9 s") && err.contains("2.983 s"), "{err}");
    assert!(!root.join("h.csv").exists());
    expect(root, 2, &["retarget", "face.csv", "--only", "nose", "-o", "h.csv"]);
    expect(root, 1, &["retarget", "face.csv", "--map", "missing.csv", "-o", "h.csv"]);
}

#[test]
fn what_cannot_be_read_does_not_stop_the_others() {
    let folder = folder();
    let root = folder.path();
    fs::write(root.join("bad.npz"), b"PK\x03\x04 and no more").unwrap();
    fs::write(root.join("notes.txt"), b"nothing moves").unwrap();
    let before = fs::read(root.join("head.gav")).unwrap();
    let (_, err) = expect(root, 1, &["add", "head.gav", "bad.npz", "notes.txt", "missing.csv"]);
    assert!(err.contains("bad.npz") && err.contains("notes.txt") && err.contains("missing.csv"), "{err}");
    assert_eq!(fs::read(root.join("head.gav")).unwrap(), before, "nothing was added, nothing was written");
    let (out, _) = expect(root, 1, &["add", "head.gav", "bad.npz", "face.csv", "--json"]);
    let lines = lines(&out);
    assert!(lines[0]["error"]["code"].is_string() && lines[1]["clip"]["name"] == "face", "{out}");
    assert_eq!(open(&root.join("head.gav")).clips.len(), 1);
    assert!(fs::read_dir(root).unwrap().all(|f| !f.unwrap().file_name().to_string_lossy().contains("gav-tmp")));
    let (_, err) = expect(root, 2, &["add", "face.csv", "face.csv"]);
    assert!(err.contains("-o FILE.gav"), "{err}");
    let (_, err) = expect(root, 2, &["add", "head.gav", "face.csv", "--map", "none"]);
    assert!(err.contains("neither a file nor a map"), "{err}");
}
