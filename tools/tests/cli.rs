//! The command line as a user meets it: the built binary, real files, exit codes, and what is left after a kill.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use gav_formats::{
    WriteOptions, format_by_name, save,
    synthetic::{self, RigSample, every_rig},
};
use serde_json::Value;
use tempfile::TempDir;

const RECORD: &str = ".gav-convert.json";
const COMMANDS: [&str; 14] = [
    "clip",
    "convert",
    "info",
    "validate",
    "diff",
    "render",
    "score",
    "demo",
    "bench",
    "formats",
    "template",
    "weights",
    "completions",
    "man",
];

fn gav(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gav"));
    command.current_dir(folder).stdin(Stdio::null());
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    gav(folder).args(arguments).output().unwrap()
}

/// Runs and checks the exit code; gives standard output and standard error.
fn expect(folder: &Path, code: i32, arguments: &[&str]) -> (String, String) {
    let output = run(folder, arguments);
    let texts = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{}\n{}", texts[0], texts[1]);
    let [out, err] = texts;
    (out, err)
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

fn make(path: &Path, format: &str, count: usize, seed: u64) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let avatar = synthetic::random(count, 1, seed);
    save(&avatar, path, format_by_name(format).unwrap(), &WriteOptions::default()).unwrap();
}

/// Every file below `folder` with its bytes, by relative name.
fn snapshot(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fn visit(folder: &Path, root: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                visit(&path, root, files);
            } else {
                let name = path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/");
                files.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    let mut files = BTreeMap::new();
    if folder.exists() {
        visit(folder, folder, &mut files);
    }
    files
}

/// A folder with good, broken and foreign files.
fn mixed() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let input = root.path().join("in");
    make(&input.join("a.gav"), "gav", 200, 1);
    make(&input.join("deep/er/b.glb"), "gltf", 150, 2);
    make(&input.join("deep/c.GLB"), "gltf", 100, 3);
    let whole = fs::read(input.join("a.gav")).unwrap();
    fs::write(input.join("short.gav"), &whole[..whole.len() / 2]).unwrap();
    fs::write(input.join("empty.glb"), b"").unwrap();
    fs::write(input.join("words.gav"), b"this is no avatar").unwrap();
    fs::write(input.join("notes.txt"), b"hello").unwrap();
    fs::write(input.join("pictures.zip"), b"PK no avatar either").unwrap();
    fs::write(input.join(".hidden.glb"), b"").unwrap();
    root
}

#[test]
fn every_command_has_help_with_examples_and_exit_codes() {
    let here = tempfile::tempdir().unwrap();
    for command in COMMANDS {
        let (out, _) = expect(here.path(), 0, &[command, "--help"]);
        assert!(out.contains("Examples:") && out.contains("Exit codes:"), "{command}: {out}");
    }
    let (out, _) = expect(here.path(), 0, &["--help"]);
    assert!(COMMANDS.iter().all(|c| out.contains(c)) && out.contains("Examples:"));
    let (out, _) = expect(here.path(), 0, &["--version"]);
    assert_eq!(out.trim(), concat!("gav ", env!("CARGO_PKG_VERSION")));
    expect(here.path(), 2, &["convert"]);
    expect(here.path(), 2, &["frobnicate"]);
}

#[test]
fn a_mixed_folder_is_converted_and_the_broken_files_are_named() {
    let root = mixed();
    let (out, err) = expect(root.path(), 1, &["convert", "in", "--to", "gav", "-o", "out"]);
    let made: Vec<String> = snapshot(&root.path().join("out")).into_keys().collect();
    assert_eq!(made, [RECORD, "a.gav", "deep/c.gav", "deep/er/b.gav"]);
    assert!(out.contains("3 written, 3 failed"), "{out}");
    for name in ["in/short.gav", "in/empty.glb", "in/words.gav"] {
        let line = err.lines().find(|l| l.contains(name)).unwrap_or_else(|| panic!("{name} is missing in {err}"));
        assert!(line.starts_with("error: ") && line.len() < 200, "{line}");
    }
    assert!(err.contains("hint: "), "{err}");
    assert!(!err.contains("notes.txt") && !err.contains("pictures.zip") && !err.contains("panicked"), "{err}");
}

#[test]
fn json_lines_tell_the_same() {
    let root = mixed();
    let (out, err) = expect(root.path(), 1, &["convert", "in", "--to", "gav", "-o", "out", "--json"]);
    assert_eq!(err, "");
    let lines = json_lines(&out);
    let of = |status: &str| lines.iter().filter(|l| l["status"] == status).count();
    assert_eq!((of("converted"), of("failed")), (3, 3));
    let summary = lines.last().unwrap();
    assert_eq!(
        (&summary["type"], &summary["converted"], &summary["failed"]),
        (&"summary".into(), &3.into(), &3.into())
    );
    let empty = lines.iter().find(|l| l["input"] == "in/empty.glb").unwrap();
    assert_eq!(empty["error"]["code"], "UNKNOWN_FORMAT");
    assert!(empty["error"]["hint"].is_string());

    let (out, _) = expect(root.path(), 1, &["info", "in", "--json"]);
    let lines = json_lines(&out);
    assert_eq!(lines.len(), 6);
    let good = lines.iter().find(|l| l["file"] == "in/a.gav").unwrap();
    assert_eq!((&good["splats"], &good["sh_degree"], &good["rig_kind"]), (&200.into(), &1.into(), &0.into()));
    assert!(good["chunks"].as_array().unwrap().iter().any(|c| c["type"] == "POSN"));

    let (out, _) = expect(root.path(), 1, &["validate", "in", "--json"]);
    let reports = json_lines(&out);
    let bad = reports.iter().find(|r| r["uri"] == "in/short.gav").unwrap();
    assert!(bad["issues"]["numErrors"].as_u64() > Some(0));
    assert!(bad["issues"]["messages"][0]["code"].is_string());
    let (out, _) = expect(root.path(), 0, &["validate", "in/a.gav", "--json"]);
    assert_eq!(json_lines(&out)[0]["issues"]["numErrors"], 0);

    let (out, _) = expect(root.path(), 0, &["formats", "--json"]);
    assert!(json_lines(&out).iter().any(|f| f["id"] == "gav" && f["write"] == true));
}

#[test]
fn people_get_tables() {
    let root = mixed();
    let (out, _) = expect(root.path(), 0, &["info", "in/a.gav"]);
    assert!(out.contains("200") && out.contains("SH degree 1") && out.contains("POSN"), "{out}");
    let (out, _) = expect(root.path(), 1, &["validate", "in/words.gav"]);
    assert!(out.contains("in/words.gav: invalid"), "{out}");
    let (out, _) = expect(root.path(), 0, &["formats"]);
    assert!(out.lines().next().unwrap().starts_with("format"), "{out}");
    let (_, err) = expect(root.path(), 1, &["info", "in/missing.gav"]);
    assert!(err.starts_with("error: in/missing.gav: no such file"), "{err}");
}

#[test]
fn a_dry_run_writes_nothing() {
    let root = mixed();
    let before = snapshot(root.path());
    let (out, _) = expect(root.path(), 0, &["convert", "in", "--to", "gav", "-o", "out", "--dry-run"]);
    assert!(out.contains("in/a.gav -> out/a.gav") && out.contains("6 to be written"), "{out}");
    assert!(!root.path().join("out").exists());
    assert_eq!(before, snapshot(root.path()));
}

#[test]
fn collisions_and_overwriting_are_refused_before_anything_is_written() {
    let root = tempfile::tempdir().unwrap();
    make(&root.path().join("in/a.gav"), "gav", 50, 1);
    make(&root.path().join("in/a.glb"), "gltf", 50, 1);
    make(&root.path().join("in/b.glb"), "gltf", 50, 1);
    let before = snapshot(root.path());
    let refused = |arguments: &[&str], words: &[&str]| {
        let (_, err) = expect(root.path(), 2, arguments);
        assert!(words.iter().all(|w| err.contains(w)) && err.contains("hint: "), "{err}");
        assert_eq!(before, snapshot(root.path()), "{arguments:?}");
    };
    refused(&["convert", "in", "--to", "gav", "-o", "out"], &["in/a.gav", "in/a.glb", "out/a.gav"]);
    refused(&["convert", "in/a.gav", "--to", "gav"], &["in/a.gav", "is an input"]);
    refused(&["convert", "in/a.gav", "-o", "./in/../in/a.gav", "--force"], &["is an input"]);
    refused(&["convert", "in/b.glb", "-o", "in/a.gav"], &["in/a.gav", "--force"]);
    refused(&["convert", "in/a.gav", "in/b.glb", "-o", "one.gav"], &["one.gav", "2 inputs"]);
    refused(&["convert", "in/a.gav"], &["--to"]);
    refused(&["convert", "in/a.gav", "-o", "x.unknown"], &["x.unknown", "--to"]);
    refused(&["convert", "in/a.gav", "-o", "x.gltf"], &[".glb"]);
    refused(&["convert", "in/a.gav", "-o", "x.glb", "--to", "gav"], &["x.glb", "gav"]);
    refused(&["convert", "in/a.gav", "--to", "nonsense"], &["nonsense", "gav"]);
    refused(&["convert", "in/a.gav", "--to", "lam"], &["not written"]);
    refused(&["convert", "in/*.ply", "--to", "gav"], &["in/*.ply", "pattern"]);
    for wrong in [["--crop-box", "1,2"], ["--rotate", "y"], ["--sh", "9"], ["--level", "99"], ["--to-frame", "XYZ"]] {
        let (_, err) = expect(root.path(), 2, &[&["convert", "in/b.glb", "-o", "b.gav"], &wrong[..]].concat());
        assert!(err.contains(wrong[0]) && err.contains(wrong[1]), "{err}");
    }
    expect(root.path(), 0, &["convert", "in/b.glb", "-o", "in/a.gav", "--force"]);
    assert_ne!(before["in/a.gav"], fs::read(root.path().join("in/a.gav")).unwrap());
}

#[test]
fn inputs_may_be_files_patterns_and_folders_beside_or_elsewhere() {
    let root = tempfile::tempdir().unwrap();
    make(&root.path().join("s/one.glb"), "gltf", 50, 1);
    make(&root.path().join("s/t/two.glb"), "gltf", 50, 2);
    make(&root.path().join("s/t/three.gav"), "gav", 50, 3);
    let made = || -> Vec<String> { snapshot(root.path()).into_keys().filter(|n| !n.ends_with(RECORD)).collect() };
    expect(root.path(), 0, &["convert", "s/one.glb", "--to", "gav", "-q"]);
    assert!(root.path().join("s/one.gav").exists());
    fs::remove_file(root.path().join("s/one.gav")).unwrap();
    expect(root.path(), 0, &["convert", "s/**/*.glb", "--to", "gav", "-o", "out"]);
    assert_eq!(made(), ["out/one.gav", "out/t/two.gav", "s/one.glb", "s/t/three.gav", "s/t/two.glb"]);
    fs::remove_dir_all(root.path().join("out")).unwrap();
    // a file that is named, found and named again is one item
    let (out, _) =
        expect(root.path(), 0, &["convert", "s/one.glb", "./s/one.glb", "s", "--to", "spz", "-o", "x", "-n"]);
    assert!(out.contains("3 to be written"), "{out}");
    // beside the inputs; what is in the format already is left alone, also the second time
    expect(root.path(), 0, &["convert", "s", "--to", "gav"]);
    assert_eq!(made(), ["s/one.gav", "s/one.glb", "s/t/three.gav", "s/t/two.gav", "s/t/two.glb"]);
    let (out, _) = expect(root.path(), 0, &["convert", "s", "--to", "gav", "--resume"]);
    assert!(out.contains("2 up to date"), "{out}");
    // an output folder inside the input folder is not searched
    fs::remove_file(root.path().join("s/one.gav")).unwrap();
    fs::remove_file(root.path().join("s/t/two.gav")).unwrap();
    expect(root.path(), 0, &["convert", "s", "--to", "gav", "-o", "s/out"]);
    let (out, _) = expect(root.path(), 0, &["convert", "s", "--to", "gav", "-o", "s/out", "--resume"]);
    assert!(out.contains("3 up to date"), "{out}");
}

#[test]
fn edits_do_what_they_say() {
    let root = tempfile::tempdir().unwrap();
    make(&root.path().join("a.gav"), "gav", 400, 5);
    let count = |arguments: &[&str]| {
        let base = ["convert", "a.gav", "-o", "b.gav", "--force", "--profile", "lossless", "--json"];
        let (out, _) = expect(root.path(), 0, &[&base[..], arguments].concat());
        json_lines(&out)[0]["splats_out"].as_u64().unwrap()
    };
    let facts = || json_lines(&expect(root.path(), 0, &["info", "b.gav", "--json"]).0).remove(0);
    let all = count(&[]);
    let cropped = count(&["--crop-box=-0.5,-2,-2,0.5,2,2"]);
    assert!(cropped > 0 && cropped < all);
    let x = |corner: usize| facts()["bounding_box"][corner][0].as_f64().unwrap();
    assert!(x(0) >= -0.5 && x(1) <= 0.5);
    assert!(count(&["--crop-sphere", "0,0,0,0.7", "--prune", "--min-opacity", "0.2"]) < all);
    count(&["--sh", "3"]);
    assert_eq!(facts()["sh_degree"], 3);
    count(&["--scale", "2", "--rotate", "y:90", "--translate", "10,0,0"]);
    assert!(x(0) > 7.0 && x(1) < 13.0);
    let (_, err) = expect(root.path(), 1, &["convert", "a.gav", "-o", "c.gav", "--crop-sphere", "99,0,0,1"]);
    assert!(err.contains("none of its") && !root.path().join("c.gav").exists(), "{err}");
}

#[test]
fn diff_and_its_threshold() {
    let root = tempfile::tempdir().unwrap();
    make(&root.path().join("a.glb"), "gltf", 300, 5);
    expect(root.path(), 0, &["convert", "a.glb", "-o", "b.gav"]);
    let (out, _) = expect(root.path(), 0, &["diff", "a.glb", "b.gav", "--json"]);
    let line = &json_lines(&out)[0];
    assert!(line["psnr"]["mean"].as_f64().unwrap() > 25.0 && line["errors"]["position_rms"].as_f64().unwrap() < 0.01);
    assert_eq!(line["identical"], false);
    let (out, _) = expect(root.path(), 0, &["diff", "a.glb", "a.glb"]);
    assert!(out.contains("identical"), "{out}");
    let (_, err) = expect(root.path(), 1, &["diff", "a.glb", "b.gav", "--min-psnr", "119"]);
    assert!(err.contains("at least 119"), "{err}");
    expect(root.path(), 0, &["diff", "a.glb", "b.gav", "--no-render"]);
}

#[test]
fn the_demo_writes_every_format_a_portrait_a_film_and_a_report() {
    let root = tempfile::tempdir().unwrap();
    let (out, _) = expect(root.path(), 0, &["demo", "-o", "d", "--splats", "400", "--json"]);
    let lines = json_lines(&out);
    let writable = gav_formats::FORMATS.iter().filter(|f| f.write.is_some()).count();
    assert_eq!(lines.len(), writable - 1 + 5 + 1, "{out}");
    assert!(fs::read(root.path().join("d/portrait.png")).unwrap().starts_with(b"\x89PNG"));
    let lossless = lines.iter().find(|l| l["format"] == "gav lossless").unwrap();
    assert_eq!(lossless["psnr"]["mean"], 120.0);
    let (out, _) = expect(root.path(), 0, &["demo", "-o", "d", "--splats", "400"]);
    assert!(out.contains("gav standard") && out.contains("portrait"), "{out}");
    assert!(out.trim_end().ends_with("report.html"), "{out}");
    let report = fs::read_to_string(root.path().join("d/report.html")).unwrap();
    assert!(report.contains("head.spz") && report.contains("head.standard.gav"));
    assert!(fs::read(root.path().join("d/turntable.mp4")).unwrap()[4..].starts_with(b"ftyp"));
}

#[test]
fn completions_and_manual_pages() {
    let root = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(expect(root.path(), 0, &["completions", shell]).0.contains("convert"), "{shell}");
    }
    expect(root.path(), 0, &["man", "pages"]);
    let pages = snapshot(&root.path().join("pages"));
    assert!(COMMANDS.iter().all(|c| pages.contains_key(&format!("gav-{c}.1"))), "{:?}", pages.keys());
}

#[test]
fn resume_redoes_exactly_what_changed() {
    let root = tempfile::tempdir().unwrap();
    for i in 0..4 {
        make(&root.path().join(format!("in/{i}.glb")), "gltf", 60, i);
    }
    let convert = |more: &[&str]| {
        let base = ["convert", "in", "--to", "gav", "-o", "out", "--resume", "--json"];
        let (out, _) = expect(root.path(), 0, &[&base[..], more].concat());
        let lines = json_lines(&out);
        let of = |status: &str| -> Vec<String> {
            let mut names: Vec<String> = lines
                .iter()
                .filter(|l| l["status"] == status)
                .map(|l| l["output"].as_str().unwrap().trim_start_matches("out/").to_owned())
                .collect();
            names.sort();
            names
        };
        (of("converted"), of("skipped"))
    };
    assert_eq!(convert(&[]).0.len(), 4);
    assert_eq!(convert(&[]).1.len(), 4);
    make(&root.path().join("in/1.glb"), "gltf", 61, 9);
    assert_eq!(convert(&[]).0, ["1.gav"]);
    fs::remove_file(root.path().join("out/2.gav")).unwrap();
    assert_eq!(convert(&[]).0, ["2.gav"]);
    // damaged afterwards, same length
    let mut bytes = fs::read(root.path().join("out/3.gav")).unwrap();
    bytes[200] ^= 1;
    fs::write(root.path().join("out/3.gav"), bytes).unwrap();
    assert_eq!(convert(&[]).0, ["3.gav"]);
    assert_eq!(convert(&["--profile", "high"]).0.len(), 4);
    assert_eq!(convert(&["--profile", "high"]).1.len(), 4);
    // an output that no run recorded is not ours to replace
    make(&root.path().join("in/new.glb"), "gltf", 60, 7);
    fs::write(root.path().join("out/new.gav"), b"precious").unwrap();
    let (_, err) = expect(root.path(), 2, &["convert", "in", "--to", "gav", "-o", "out", "--resume"]);
    assert!(err.contains("out/new.gav"), "{err}");
    assert_eq!(fs::read(root.path().join("out/new.gav")).unwrap(), b"precious");
}

/// A stream of pseudo-random numbers in 0..1.
fn random(state: &mut u64) -> f64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as f64 / (1u64 << 31) as f64
}

/// Starts a conversion and kills it after `delay`; true when it was still running.
fn killed(root: &Path, arguments: &[&str], delay: Duration) -> bool {
    let mut child = gav(root).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    thread::sleep(delay);
    let running = child.try_wait().unwrap().is_none();
    // SIGKILL on Unix: no handler, no clean-up
    let _ = child.kill();
    child.wait().unwrap();
    running
}

/// The outputs below a folder: a file each, or a folder of files that stand and fall together.
fn outputs(folder: &Path) -> BTreeMap<String, BTreeMap<String, Vec<u8>>> {
    let mut outputs: BTreeMap<String, BTreeMap<String, Vec<u8>>> = BTreeMap::new();
    for (name, bytes) in snapshot(folder) {
        if name.contains(".gav-tmp-") || name == RECORD {
            continue;
        }
        let unit = if name.ends_with(".gav") { &name } else { name.rsplit_once('/').unwrap().0 };
        outputs.entry(unit.to_owned()).or_default().insert(name.clone(), bytes);
    }
    outputs
}

/// Kills conversions into `format` at random moments and checks what stands under final names, and what `--resume` makes
/// of it. Every second round replaces the complete outputs of an earlier run with other options.
fn survive_kills(format: &str, items: usize, rounds: usize) {
    let root = tempfile::tempdir().unwrap();
    for i in 0..items {
        make(&root.path().join(format!("in/{}/{i}.glb", i % 3)), "gltf", 400 + 300 * i, i as u64);
    }
    let out = |name: &str| -> PathBuf { root.path().join(name) };
    let convert = |folder: &'static str, more: [&'static str; 3]| -> Vec<String> {
        let base = ["convert", "in", "--to", format, "-o", folder, "--jobs", "2", "--quiet"];
        base.iter().chain(&more).map(ToString::to_string).collect()
    };
    let words = |arguments: &[String]| -> Output { gav(root.path()).args(arguments).output().unwrap() };
    let (new, other) = (["--sh", "1", "--resume"], ["--sh", "0", "--resume"]);
    let start = Instant::now();
    assert!(words(&convert("whole", new)).status.success());
    let duration = start.elapsed();
    assert!(words(&convert("old", other)).status.success());
    let (whole, old, everything) = (outputs(&out("whole")), outputs(&out("old")), snapshot(&out("whole")));
    assert_eq!(whole.len(), items);
    assert!(whole.keys().all(|k| old.contains_key(k) && old[k] != whole[k]));

    let (mut state, mut interrupted) = (2024, 0);
    for round in 0..rounds {
        let replaces = round % 2 == 1;
        let _ = fs::remove_dir_all(out("try"));
        if replaces {
            for (name, bytes) in snapshot(&out("old")) {
                let path = out("try").join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, bytes).unwrap();
            }
        }
        // a third of the rounds is killed twice in a row
        for _ in 0..1 + round % 3 / 2 {
            let how = if replaces { "--force" } else { "--resume" };
            let arguments = convert("try", ["--sh", "1", how]);
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            interrupted += usize::from(killed(root.path(), &arguments, duration.mul_f64(random(&mut state))));
            for (name, files) in outputs(&out("try")) {
                let complete = whole[&name] == files || (replaces && old[&name] == files);
                assert!(complete, "round {round}: {name} is half-written");
            }
        }
        let resumed = words(&convert("try", new));
        assert!(resumed.status.success(), "round {round}: {}", String::from_utf8_lossy(&resumed.stderr));
        let result = snapshot(&out("try"));
        assert_eq!(result.keys().collect::<Vec<_>>(), everything.keys().collect::<Vec<_>>(), "round {round}");
        for (name, bytes) in &result {
            assert!(everything[name] == *bytes, "round {round}: {name} differs from the undisturbed run");
        }
    }
    assert!(interrupted * 4 >= rounds, "only {interrupted} of {rounds} runs were still running when they were killed");
}

#[test]
fn a_run_that_is_killed_anywhere_and_resumed_equals_an_undisturbed_one() {
    survive_kills("gav", 10, 20);
}

#[test]
fn folders_of_files_survive_kills_too() {
    if format_by_name("sog-folder").is_some() {
        survive_kills("sog-folder", 4, 8);
    }
}

#[test]
fn a_folder_that_is_one_asset_is_one_item() {
    let root = tempfile::tempdir().unwrap();
    make(&root.path().join("in/a.glb"), "gltf", 80, 1);
    expect(root.path(), 0, &["convert", "in/a.glb", "-o", "in/asset", "--to", "sog-folder"]);
    assert!(root.path().join("in/asset/meta.json").is_file());
    // another folder's meta.json is no asset
    fs::create_dir(root.path().join("in/data")).unwrap();
    fs::write(root.path().join("in/data/meta.json"), b"{\"views\": 3}").unwrap();
    let (out, _) = expect(root.path(), 0, &["convert", "in", "--to", "gav", "-o", "out"]);
    assert!(out.contains("in/asset -> out/asset.gav") && out.contains("2 written"), "{out}");
    let (out, _) = expect(root.path(), 0, &["convert", "in/asset", "-o", "b.gav", "--json"]);
    let bytes: usize = snapshot(&root.path().join("in/asset")).values().map(Vec::len).sum();
    assert_eq!(json_lines(&out)[0]["bytes_in"], bytes);
    expect(root.path(), 0, &["convert", "in/asset/meta.json", "-o", "c.gav"]);
    let (out, _) = expect(root.path(), 0, &["info", "in/asset", "--json"]);
    assert_eq!(json_lines(&out)[0]["splats"], 80);
    // a folder format replaces its own folder, and no folder that holds anything else
    expect(root.path(), 2, &["convert", "in/a.glb", "-o", "in/asset", "--to", "sog-folder"]);
    expect(root.path(), 0, &["convert", "in/a.glb", "-o", "in/asset", "--to", "sog-folder", "--force"]);
    fs::write(root.path().join("in/asset/mine.txt"), b"mine").unwrap();
    let (_, err) = expect(root.path(), 1, &["convert", "in/a.glb", "-o", "in/asset", "--to", "sog-folder", "--force"]);
    assert!(err.contains("mine.txt"), "{err}");
}

#[test]
fn weights_are_added_listed_and_refused_one_by_one() {
    let here = tempfile::tempdir().unwrap();
    let zeros = vec![0u8; 4 * 512];
    let heads = [64, 192, 384, 256, 256].into_iter().enumerate().map(|(index, channels)| {
        let shape = vec![1, channels, 1, 1];
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape, &zeros[..4 * channels]);
        (format!("lin{index}.model.1.weight"), view.unwrap())
    });
    let heads = safetensors::serialize(heads.collect::<Vec<_>>(), None).unwrap();
    fs::write(here.path().join("heads.safetensors"), heads).unwrap();
    fs::write(here.path().join("notes.txt"), "not weights").unwrap();
    let weights = |code: i32, arguments: &[&str]| {
        let output = gav(here.path()).env("GAV_DATA", "data").arg("weights").args(arguments).output().unwrap();
        let texts = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{}\n{}", texts[0], texts[1]);
        texts
    };
    let [out, _] = weights(0, &["list"]);
    assert!(out.contains("vgg16-397923af.pth") && out.contains("missing"), "{out}");
    let [out, err] = weights(1, &["add", "notes.txt", "gone.pth", "heads.safetensors"]);
    assert!(out.contains("lpips-alex") && out.contains("added"), "{out}");
    assert!(err.contains("notes.txt") && err.contains("gone.pth") && err.contains("gav weights list"), "{err}");
    let [out, _] = weights(0, &["add", "heads.safetensors", "--json"]);
    let lines = json_lines(&out);
    assert_eq!((lines.len(), &lines[0]["unchanged"]), (1, &Value::Bool(true)));
    let [out, _] = weights(0, &["list", "--json"]);
    let present: Vec<Value> = json_lines(&out).into_iter().filter(|line| !line["path"].is_null()).collect();
    assert_eq!((present.len(), present[0]["part"].as_str()), (1, Some("lpips-alex")));
    assert_eq!(present[0]["manifest"]["source"], "heads.safetensors");
    // a damaged copy is named, the rest is listed, and adding again mends it
    let copy = here.path().join("data/weights/lpips-alex.safetensors");
    fs::write(&copy, b"damaged").unwrap();
    let [_, err] = weights(1, &["list"]);
    assert!(err.contains("again"), "{err}");
    weights(0, &["add", "heads.safetensors"]);
    weights(0, &["list"]);
    weights(2, &["add"]);
}

#[test]
fn rigs_go_to_gltf_with_notes_and_come_back() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    for (name, kind) in [("a", RigSample::MorphSkinned), ("b", RigSample::Stga)] {
        let format = format_by_name("gav").unwrap();
        save(&every_rig(kind), folder.join(format!("{name}.gav")), format, &WriteOptions::default()).unwrap();
    }
    let (out, _) = expect(folder, 0, &["convert", "a.gav", "-o", "a.glb", "--embed", "--json"]);
    let notes = json_lines(&out)[0]["notes"].to_string();
    assert!(notes.contains("SH degree 1 is reduced to 0"), "{notes}");
    let (out, _) = expect(folder, 0, &["convert", "a.gav", "-o", "sh.glb", "--sh", "1"]);
    assert!(!out.contains("note:"), "{out}");
    let info = |name: &str| -> Value { serde_json::from_str(&expect(folder, 0, &["info", name, "--json"]).0).unwrap() };
    assert_eq!(info("a.glb")["rig"], info("a.gav")["rig"]);
    expect(folder, 0, &["convert", "a.glb", "-o", "back.gav", "--embedded", "-q"]);
    expect(folder, 0, &["diff", "a.gav", "back.gav"]);

    let (_, err) = expect(folder, 1, &["convert", "b.gav", "-o", "b.glb"]);
    assert!(err.contains("six-sided tube") && !folder.join("b.glb").exists(), "{err}");
    let (out, _) = expect(folder, 0, &["convert", "b.gav", "-o", "b.glb", "--rest-only"]);
    assert!(out.contains("note: only the rest pose is written"), "{out}");
    let (_, err) = expect(folder, 1, &["convert", "a.gav", "-o", "c.glb", "--vrm"]);
    assert!(err.contains("hips") && !folder.join("c.glb").exists(), "{err}");
    let (_, err) = expect(folder, 1, &["convert", "a.gav", "-o", "c.glb", "--proxy"]);
    assert!(err.contains("no proxy mesh"), "{err}");
}
