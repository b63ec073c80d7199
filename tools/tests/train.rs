//! Trainings from the command line: a capture made by formulas, an avatar, its files, interruptions and faults.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use gav_formats::{Avatar, ReadOptions, RigBase, TriangleFrame, load};
use serde_json::Value;

fn gav(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gav"));
    command.current_dir(folder).stdin(Stdio::null()).env("GAV_DATA", folder.join("data"));
    let output = command.args(arguments).output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (output.status.code(), out, err)
}

fn done(folder: &Path, arguments: &[&str]) -> String {
    let (code, out, err) = gav(folder, arguments);
    assert_eq!(code, Some(0), "{arguments:?}\n{out}\n{err}");
    out
}

/// A head before four cameras, one of them held out, in ten small moments, two of them held out.
fn capture(folder: &Path) {
    let size = ["--size", "48", "--detail", "0.03", "--supersample", "1", "--quiet"];
    let counts = ["synth", "head", "-o", "capture", "--cameras", "4", "--frames", "10", "--test-frames", "2"];
    done(folder, &[&counts[..], &size[..]].concat());
}

/// One splat a triangle and few harmonics: seconds on two cores.
const SMALL: [&str; 8] = ["--init_grid_k", "0", "--sh_degree", "1", "--device", "cpu", "--densify", "false"];

fn train<'a>(method: &'a str, data: &'a str, output: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["train", method, data, "-o", output][..], &SMALL[..], more].concat()
}

fn avatar(folder: &Path, name: &str) -> Avatar {
    load(folder.join(name), &ReadOptions::default()).unwrap()
}

#[test]
fn a_capture_becomes_an_avatar_that_is_better_than_it_began() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    capture(folder);
    let more = ["--iterations", "300", "--static_iterations", "40", "--final_iterations", "20", "--interval", "60"];
    let files = ["--json", "--log", "log.jsonl", "--tensorboard", "events", "--ply", "head.ply"];
    let out = done(folder, &train("stga", "capture", "head.gav", &[&more[..], &files[..]].concat()));
    let summary: Value = serde_json::from_str(out.trim()).unwrap();
    assert_eq!((&summary["steps"], &summary["finished"], &summary["skipped"]), (&360.into(), &true.into(), &0.into()));
    let log = fs::read_to_string(folder.join("log.jsonl")).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let quality: Vec<f64> =
        lines.iter().filter(|l| l["event"] == "held_out").map(|l| l["psnr"].as_f64().unwrap()).collect();
    assert!(quality.len() >= 5 && quality.last().unwrap() > &(quality[0] + 1.0), "{quality:?}");
    assert_eq!(summary["held_out"]["psnr"].as_f64().unwrap(), *quality.last().unwrap());
    assert!(lines.iter().any(|l| l["event"] == "train" && l["loss"].as_f64().unwrap() > 0.0));
    assert_eq!(fs::read_dir(folder.join("events")).unwrap().count(), 1);
    assert!(folder.join("head.preview.png").is_file() && !folder.join("head.checkpoint").exists());

    let head = avatar(folder, "head.gav");
    let RigBase::Triangle(binding) = &head.rig.base else { panic!("{:?}", head.rig.kind()) };
    assert_eq!(binding.frame, TriangleFrame::Stga);
    assert_eq!(head.meta.extra["training"]["steps"], 360);
    assert_eq!(head.clips[0].name, "tracked");
    assert!(head.mesh.is_some(), "the template of the capture may be passed on");
    assert_eq!(avatar(folder, "head.ply").splats.len(), head.splats.len());
    // what others do with it
    done(folder, &["pose", "head.gav", "--clip", "tracked", "--time", "0.1", "-o", "moment.ply"]);
    done(folder, &["validate", "head.gav"]);
    done(folder, &["score", "head.gav", "-r", "capture", "--split", "val,test", "--metrics", "psnr", "--quiet"]);
}

#[test]
fn a_killed_training_goes_on_and_ends_as_if_it_had_not_been() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    capture(folder);
    let more = ["--iterations", "240", "--interval", "20", "--no-preview", "--quiet", "--eval-views", "2"];
    let arguments = |output| train("gaussian-avatars", "capture", output, &more);
    done(folder, &arguments("whole.gav"));

    let mut command = Command::new(env!("CARGO_BIN_EXE_gav"));
    command.current_dir(folder).stdin(Stdio::null()).stderr(Stdio::null()).args(arguments("killed.gav"));
    let mut child = command.spawn().unwrap();
    let begin = Instant::now();
    while !folder.join("killed.checkpoint").is_file() && begin.elapsed() < Duration::from_secs(120) {
        thread::sleep(Duration::from_millis(2));
    }
    // SIGKILL on Unix
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(folder.join("killed.checkpoint").is_file() && !folder.join("killed.gav").exists());

    let (code, _, err) = gav(folder, &arguments("killed.gav"));
    assert!(code == Some(2) && err.contains("--resume"), "{err}");
    let other = [&arguments("killed.gav")[..], &["--resume", "--seed", "9"]].concat();
    let (code, _, err) = gav(folder, &other);
    assert!(code == Some(2) && err.contains("not those"), "{err}");
    done(
        folder,
        &[
            "train",
            "gaussian-avatars",
            "capture",
            "-o",
            "killed.gav",
            "--resume",
            "--device",
            "cpu",
            "--interval",
            "20",
            "--eval-views",
            "2",
            "--no-preview",
            "--quiet",
        ],
    );
    let [whole, killed] = ["whole.gav", "killed.gav"].map(|name| avatar(folder, name));
    assert!(whole.splats == killed.splats && whole.clips == killed.clips, "the resumed training differs");
    let evaluation = |a: &Avatar| a.meta.extra["training"]["held_out"]["psnr"].clone();
    assert_eq!(evaluation(&whole), evaluation(&killed));
    let (code, _, err) = gav(folder, &["train", "gaussian-avatars", "capture", "-o", "killed.gav", "--resume"]);
    assert!(code == Some(2) && err.contains("its training is done"), "{err}");
}

#[test]
fn meshes_alone_are_enough_and_the_avatar_brings_its_template() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    capture(folder);
    done(folder, &["data", "convert", "capture", "-o", "meshes", "--to", "stga", "--quiet"]);
    let more = ["--iterations", "60", "--quiet", "--no-preview"];
    done(folder, &train("stga", "meshes", "head.gav", &more));
    let head = avatar(folder, "head.gav");
    assert!(head.template.as_ref().is_some_and(|t| t.embedded && t.licence == "LicenseRef-capture"));
    assert!(head.meta.extra["template_error_millimetres"].as_f64().unwrap() < 0.11);
    done(folder, &["render", "head.gav", "-o", "head.png", "--clip", "tracked", "--time", "0.1", "--size", "64"]);
}

#[test]
fn faults_are_named_and_lose_nothing() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    capture(folder);
    let refused = |arguments: &[&str], code: i32, said: &str| {
        let (found, out, err) = gav(folder, arguments);
        assert_eq!(found, Some(code), "{arguments:?}\n{out}\n{err}");
        assert!(err.contains(said), "{arguments:?}\n{err}");
    };
    let few = ["--iterations", "20", "--static_iterations", "4", "--quiet", "--no-preview"];
    refused(&train("stga", "nothing", "a.gav", &few), 2, "nothing");
    refused(&train("stga", "capture", "a.spz", &few), 2, "the avatar is a .gav");
    refused(&train("stga", "capture", "a.gav", &["--freeze", "melt"]), 2, "masked");
    refused(
        &train(
            "stga",
            "capture",
            "a.gav",
            &[&few[..], &["--select_threshold_mm", "500", "--global_every", "0"]].concat(),
        ),
        2,
        "--select-threshold-mm",
    );
    fs::write(folder.join("bad.toml"), "iterations = \"many\"").unwrap();
    refused(&["train", "stga", "capture", "-o", "a.gav", "--config", "bad.toml"], 2, "iterations");
    assert!(!folder.join("a.gav").exists() && !folder.join("a.checkpoint").exists());

    // a picture of another size, and one that is cut short
    let picture = folder.join("capture/images/00001_01.png");
    let whole = fs::read(&picture).unwrap();
    fs::write(&picture, &whole[..whole.len() / 2]).unwrap();
    refused(&train("stga", "capture", "a.gav", &few), 1, "00001_01.png");
    fs::copy(folder.join("capture/images/00002_01.png"), &picture).unwrap();
    done(
        folder,
        &[
            "synth",
            "head",
            "-o",
            "small",
            "--cameras",
            "4",
            "--frames",
            "4",
            "--test-frames",
            "1",
            "--size",
            "32",
            "--detail",
            "0.03",
            "--quiet",
        ],
    );
    fs::copy(folder.join("small/images/00001_01.png"), &picture).unwrap();
    refused(&train("stga", "capture", "a.gav", &few), 1, "32 × 32");
    fs::write(&picture, &whole).unwrap();

    // tracked parameters that are not finite, and meshes that change their triangles
    let tracked = folder.join("capture/flame_param/00003.npz");
    let kept = fs::read(&tracked).unwrap();
    fs::write(&tracked, b"no archive").unwrap();
    refused(&train("stga", "capture", "a.gav", &few), 2, "00003.npz");
    fs::write(&tracked, kept).unwrap();
    done(folder, &["data", "convert", "capture", "-o", "meshes", "--to", "stga", "--quiet"]);
    let mesh = folder.join("meshes/meshes/mesh_0002.json");
    let mut value: Value = serde_json::from_slice(&fs::read(&mesh).unwrap()).unwrap();
    value["triangles"].as_array_mut().unwrap().pop();
    fs::write(&mesh, value.to_string()).unwrap();
    refused(&train("stga", "meshes", "a.gav", &few), 2, "mesh_0002.json");

    // and all is well again
    done(folder, &train("stga", "capture", "a.gav", &few));
    refused(&train("stga", "capture", "a.gav", &few), 2, "--force");
}
