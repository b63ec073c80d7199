//! Folders of INSTA: pictures with mattes, and the checkpoints of the tracker.

use std::{
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
};

use gav_formats::Camera;
use rayon::prelude::*;

use super::{Finding, LEAST_SHARE, PROJECTED, Severity, named, say_outside, share_inside};
use crate::{
    Result,
    body::Body,
    capture::{
        Capture,
        insta::{Checkpoint, checkpoint, files, tracked},
        pose_free,
    },
};

/// Rounding of rotations that are stored as float32.
const RIGID: f64 = 1e-3;

pub(super) fn check(capture: &Capture, body: Option<&Body<f32>>, findings: &mut Vec<Finding>) {
    let error = |code, message, hint, files: &[&Path]| Finding {
        severity: Severity::Error,
        code,
        message,
        hint,
        files: named(files),
    };
    let [pictures, checkpoints] = match files(&capture.folder) {
        Ok(lists) => lists,
        Err(failure) => {
            findings.push(error("FOLDER", failure.to_string(), "check the permissions", &[]));
            return;
        }
    };
    let bare: Vec<&Path> = pictures.par_iter().map(PathBuf::as_path).filter(|p| !has_alpha(p)).collect();
    if !bare.is_empty() {
        let message = format!("{} of {} pictures have no alpha", bare.len(), pictures.len());
        let hint = "background and clothes are taken away by alpha: write the mattes into the pictures";
        findings.push(error("NO_MATTE", message, hint, &bare));
    }
    if checkpoints.is_empty() {
        findings.push(Finding {
            severity: Severity::Warning,
            code: "NO_CHECKPOINTS",
            message: "there is no checkpoint/*.frame".to_owned(),
            hint: "expressions of INSTA alone do not pose FLAME: trainers want the checkpoints of its tracker",
            files: Vec::new(),
        });
        return;
    }
    if checkpoints.len() != pictures.len() {
        let message = format!("{} checkpoints for {} pictures", checkpoints.len(), pictures.len());
        findings.push(error(
            "COUNTS",
            message,
            "both are taken in the order of their names: take away what has no partner",
            &[],
        ));
    }
    let read: Vec<(&Path, Result<Checkpoint>)> =
        checkpoints.par_iter().map(|path| (path.as_path(), checkpoint(path))).collect();
    let mut say = |code, what: &str, hint, found: Vec<(&Path, String)>| {
        if let Some((_, first)) = found.first() {
            let paths: Vec<&Path> = found.iter().map(|(path, _)| *path).collect();
            findings.push(error(code, format!("{} checkpoints {what}; the first {first}", found.len()), hint, &paths));
        }
    };
    let broken = read.iter().filter_map(|(path, read)| Some((*path, format!("says: {}", read.as_ref().err()?))));
    say("CHECKPOINT", "cannot be read", "track these frames again", broken.collect());
    let good: Vec<(&Path, &Checkpoint)> =
        read.iter().filter_map(|(path, read)| Some((*path, read.as_ref().ok()?))).collect();
    let lacks = good.iter().filter(|(_, c)| !c.missing.is_empty());
    say(
        "CHECKPOINT_VERSION",
        "are of another tracker or version",
        "checkpoints of metrical-tracker have flame.exp, shape, jaw (6) and eyes (12)",
        lacks.map(|(path, c)| (*path, format!("lacks {}", c.missing.join(", ")))).collect(),
    );
    let turned = good.iter().filter_map(|(path, c)| {
        let d = determinant(&c.rotation?);
        ((d - 1.0).abs() > RIGID || d.is_nan()).then(|| (*path, format!("has the determinant {d:.3}")))
    });
    say(
        "HANDEDNESS",
        "have an opencv.R that is no rotation",
        "a mirrored or transposed camera poses the head wrongly",
        turned.collect(),
    );
    let sizes = good.iter().zip(&pictures).filter_map(|((path, c), picture)| {
        let ([height, width], seen) = (c.size?, imagesize::size(picture).ok()?);
        let (w, h) = (seen.width as i64, seen.height as i64);
        let differs = [height, width] != [h, w];
        let order = if [width, height] == [h, w] { " (width and height are swapped)" } else { "" };
        differs.then(|| (*path, format!("says {width} × {height}, its picture has {w} × {h}{order}")))
    });
    say(
        "PICTURE_SIZE",
        "have an img_size that is not that of the picture",
        "img_size is height, width",
        sizes.collect(),
    );
    if let Some(body) = body {
        meshes(capture, body, &good, findings);
    }
}

/// Are the tracked heads in their pictures?
fn meshes(capture: &Capture, body: &Body<f32>, good: &[(&Path, &Checkpoint)], findings: &mut Vec<Finding>) {
    let Some((_, view)) = capture.views.first() else { return };
    let mut outside: Vec<(&Path, f64)> = Vec::new();
    for (path, checkpoint) in good.iter().step_by(good.len().div_ceil(PROJECTED).max(1)) {
        let found = tracked(path).and_then(|pose| {
            let (turn, place) = (pose.group("camera.rotation", 4, 0.0), pose.group("camera.translation", 3, 0.0));
            Ok((pose_free(body, &pose)?, turn, place))
        });
        let (vertices, turn, place) = match found {
            Ok(found) => found,
            Err(failure) => {
                findings.push(Finding {
                    severity: Severity::Error,
                    code: "TEMPLATE",
                    message: failure.to_string(),
                    hint: "the pictures were tracked with another template",
                    files: named(&[*path]),
                });
                return;
            }
        };
        let m = gav_formats::conventions::matrix_from_quaternion(std::array::from_fn(|k| f64::from(turn[k])));
        let mut camera: Camera = view.camera.clone();
        if let Some([fx, fy, cx, cy]) = checkpoint.intrinsics {
            (camera.focal, camera.principal) = ([fx, fy], [cx, cy]);
        }
        camera.camera_from_world = std::array::from_fn(|r| [m[r][0], m[r][1], m[r][2], f64::from(place[r])]);
        let share = share_inside(&camera, &vertices);
        if share < LEAST_SHARE {
            outside.push((*path, share));
        }
    }
    say_outside(&outside, findings);
}

fn determinant(m: &[[f64; 3]; 3]) -> f64 {
    m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
        + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
}

/// Has the picture an alpha channel, by its header? One that cannot be read is another finding's.
fn has_alpha(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return true };
    match path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).as_deref() {
        Some("png") => png::Decoder::new(BufReader::new(file)).read_info().is_ok_and(|reader| {
            let info = reader.info();
            info.trns.is_some() || matches!(info.color_type, png::ColorType::Rgba | png::ColorType::GrayscaleAlpha)
        }),
        Some("webp") => image_webp::WebPDecoder::new(BufReader::new(file)).is_ok_and(|decoder| decoder.has_alpha()),
        _ => false,
    }
}
