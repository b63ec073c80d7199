//! Files written by the reference tools of other formats have the qualities published for them: this checks their readers,
//! the comparison and the rasteriser in one go.

use std::path::PathBuf;

use gav_formats::{Avatar, Error, Frame, ReadOptions, Source, compare, read};
use gav_kernels::psnr::orbit_psnr;

/// Difference in dB that other rounding in the renderer may make.
const TOLERANCE: f64 = 0.06;

struct Row {
    file: &'static str,
    psnr: (f64, f64),
    /// Root mean square errors of positions, opacities and colours, as published with two or more digits.
    position: f64,
    opacity: f64,
    color: f64,
}

const fn row(file: &'static str, psnr: (f64, f64), position: f64, opacity: f64, color: f64) -> Row {
    Row { file, psnr, position, opacity, color }
}

/// Measured on the head in the axes of the file read as y up, on the robot as y down.
const LAM_HEAD: [Row; 5] = [
    row("lam_head.compressed.ply", (59.8, 58.0), 3.2e-5, 0.0011, 0.0011),
    row("lam_head.sog", (56.5, 53.9), 5.3e-6, 0.0023, 0.0011),
    row("lam_head.v4.spz", (49.7, 47.1), 1.2e-4, 0.0011, 0.0021),
    row("lam_head.v3.spz", (49.7, 47.1), 1.2e-4, 0.0011, 0.0021),
    row("lam_head.v2.spz", (49.6, 47.0), 1.2e-4, 0.0011, 0.0021),
];
const PLAYBOT: [Row; 3] = [
    row("playbot_l3.compressed.ply", (55.4, 51.4), 1.0e-4, 0.0, 0.0019),
    // published 54.6 / 53.1 for another run of the writer, whose SH palette starts from random numbers
    row("playbot_l3.sog", (54.44, 53.13), 3.4e-5, 0.0022, 0.0010),
    row("playbot_l3.v4.spz", (47.4, 46.7), 1.2e-4, 0.0, 0.033),
];

/// The folder of real captures; `None` with a loud line when it is not there.
fn captures() -> Option<PathBuf> {
    let root = std::env::var_os("GAV_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let folder = root.join("data/splats");
    if !folder.exists() {
        eprintln!("SKIPPED: {} is not there; set GAV_SHARED to the folder of reference data", folder.display());
        return None;
    }
    Some(folder)
}

/// Reads a file, with its axes taken as `frame`; `None` when its format is not in the table.
fn load(path: PathBuf, frame: Frame) -> Option<Avatar> {
    let bytes = std::fs::read(&path).unwrap();
    let compressed = path.extension().is_some_and(|e| e == "zst");
    let bytes = if compressed { zstd::stream::decode_all(&bytes[..]).unwrap() } else { bytes };
    let options = ReadOptions { frame: Some(frame), ..ReadOptions::default() };
    match read(&Source::from_bytes_at(bytes, path.with_extension(if compressed { "" } else { "x" })), &options) {
        Ok(avatar) => Some(avatar),
        Err(error) if error.code() == "UNKNOWN_FORMAT" => {
            eprintln!("SKIPPED: no reader for {}", path.display());
            None
        }
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

fn check(name: &str, frame: Frame, rows: &[Row]) -> Result<(), Error> {
    let Some(folder) = captures() else { return Ok(()) };
    let Some(reference) = load(folder.join(format!("{name}.ply.zst")), frame) else { return Ok(()) };
    for row in rows {
        // the SPZ files were turned by half a turn about x when they were written
        let turned = row.file.ends_with(".spz");
        let stored = if !turned {
            frame
        } else if frame == Frame::RUB {
            Frame::RDF
        } else {
            Frame::RUB
        };
        let Some(test) = load(folder.join("reference").join(row.file), stored) else { continue };
        let (psnr, errors) = (orbit_psnr(&reference, &test)?, compare(&reference, &test)?);
        println!(
            "{}: {:.2} / {:.2} dB, position {:.1e}, ln-scale {:.4}, rotation {:.3}°, covariance {:.4}, opacity {:.4}, rgb {:.4}, sh {:.4}{}",
            row.file,
            psnr.mean,
            psnr.min,
            errors.position_rms,
            errors.log_scale_rms,
            errors.rotation_mean_degrees,
            errors.covariance_relative_mean,
            errors.opacity_rms,
            errors.rgb_rms,
            errors.sh_rms,
            if errors.same_order { "" } else { ", matched" }
        );
        assert!((psnr.mean - row.psnr.0).abs() <= TOLERANCE, "{}: mean {} dB", row.file, psnr.mean);
        assert!((psnr.min - row.psnr.1).abs() <= TOLERANCE, "{}: min {} dB", row.file, psnr.min);
        assert_eq!(errors.compared, errors.visible, "{}: splats without a partner", row.file);
        for (what, measured, published) in [
            ("position", errors.position_rms, row.position),
            ("opacity", errors.opacity_rms, row.opacity),
            ("rgb", errors.rgb_rms, row.color),
        ] {
            // published with two digits
            assert!((measured - published).abs() <= 0.06 * published + 6e-5, "{}: {what} {measured}", row.file);
        }
    }
    Ok(())
}

#[test]
fn head_in_other_formats_has_the_published_quality() {
    check("lam_head", Frame::RUB, &LAM_HEAD).unwrap();
}

#[test]
fn robot_in_other_formats_has_the_published_quality() {
    check("playbot_l3", Frame::RDF, &PLAYBOT).unwrap();
}
