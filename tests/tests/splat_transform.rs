//! Both directions against PlayCanvas' splat-transform, the most used converter: what it writes we read, what we write it reads.
//!
//! Needs the program: `npm install @playcanvas/splat-transform`, and its path in `GAV_SPLAT_TRANSFORM`. Skips loudly without it.

use std::{path::Path, process::Command};

use gav_formats::{Avatar, Comparison, ReadOptions, WriteOptions, compare, format_by_path, load, save, synthetic};

fn program() -> Option<String> {
    let path = std::env::var("GAV_SPLAT_TRANSFORM").ok();
    if path.is_none() {
        eprintln!("SKIPPED: set GAV_SPLAT_TRANSFORM to the splat-transform program to test against it");
    }
    path
}

fn convert(program: &str, from: &Path, to: &Path) {
    let output =
        Command::new(program).args(["-w", "-g", "cpu"]).arg(from).arg(to).output().expect("splat-transform runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && to.exists(), "{} -> {}: {text}", from.display(), to.display());
}

/// A sample whose splats are all visible and inside what 8-bit formats can hold.
fn sample() -> Avatar {
    let mut avatar = synthetic::shell(3000, 0, 9);
    avatar.splats.opacity_logits.iter_mut().for_each(|o| *o = o.clamp(-3.0, 5.0));
    avatar
}

/// Bounds of an 8-bit format: the quantisation steps of the coarsest, SPZ.
fn check(what: &str, errors: &Comparison) {
    assert!(errors.compared > 2990, "{what}: {errors:?}");
    assert!(errors.position_rms < 1e-3 && errors.rgb_rms < 0.01 && errors.opacity_rms < 0.01, "{what}: {errors:?}");
    assert!(errors.log_scale_rms < 0.05 && errors.rotation_mean_degrees < 2.0, "{what}: {errors:?}");
}

#[test]
fn what_we_write_it_reads() {
    let Some(program) = program() else { return };
    let folder = tempfile::tempdir().unwrap();
    let reference = sample();
    for name in ["a.ply", "b.compressed.ply", "c.sog", "d.spz", "e.splat"] {
        let (ours, theirs) = (folder.path().join(name), folder.path().join(format!("{name}.back.ply")));
        save(&reference, &ours, format_by_path(&ours).unwrap(), &WriteOptions::default()).unwrap();
        convert(&program, &ours, &theirs);
        let back = load(&theirs, &ReadOptions::default()).unwrap();
        check(name, &compare(&reference, &back).unwrap());
    }
}

#[test]
fn what_it_writes_we_read() {
    let Some(program) = program() else { return };
    let folder = tempfile::tempdir().unwrap();
    let reference = sample();
    let source = folder.path().join("source.ply");
    save(&reference, &source, format_by_path(&source).unwrap(), &WriteOptions::default()).unwrap();
    for name in ["b.compressed.ply", "c.sog", "d.spz", "e.glb", "unbundled/meta.json"] {
        let theirs = folder.path().join(name);
        std::fs::create_dir_all(theirs.parent().unwrap()).unwrap();
        convert(&program, &source, &theirs);
        let read = load(&theirs, &ReadOptions::default()).unwrap_or_else(|e| panic!("{name}: {e}"));
        check(name, &compare(&reference, &read).unwrap());
    }
}
