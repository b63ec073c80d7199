//! What would spoil a training on a capture.

mod insta;
mod meshes;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use gav_formats::{Camera, Pose};
use rayon::prelude::*;

use super::{
    Capture, Layout, Split,
    geometry::{center, focus, is_inside, project},
    parameters,
};
use crate::body::Body;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// A training would stop, or learn nothing.
    Error,
    /// A training would run, and perhaps be worse than it could.
    Warning,
}

/// Something found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Short name, for programs.
    pub code: &'static str,
    /// What it is, with its numbers.
    pub message: String,
    /// What can be done, where that is known.
    pub hint: &'static str,
    /// The first of the files concerned.
    pub files: Vec<PathBuf>,
}

/// Files named in a finding.
const NAMED: usize = 3;
/// Distances of cameras from what they look at, metres; beyond them the unit is hardly the metre.
const DISTANCES: [f64; 2] = [0.2, 8.0];
/// Share of a head's vertices that a picture of it shows.
const LEAST_SHARE: f64 = 0.5;
/// Time steps whose meshes are projected.
const PROJECTED: usize = 24;

/// Everything that can be found without training: missing files, sizes, axes and scale of cameras, gaps, tracked parameters; with a body
/// also whether the tracked mesh is in the pictures.
pub fn check(capture: &Capture, body: Option<&Body<f32>>) -> Vec<Finding> {
    let mut findings = Vec::new();
    files(capture, &mut findings);
    sizes(capture, &mut findings);
    gaps(capture, &mut findings);
    directions(capture, &mut findings);
    tracked(capture, body, &mut findings);
    if capture.layout == Layout::Stga {
        meshes::check(capture, &mut findings);
    }
    if capture.layout == Layout::Insta {
        insta::check(capture, body, &mut findings);
    }
    findings.sort_by_key(|f| f.severity);
    findings
}

fn named(paths: &[&Path]) -> Vec<PathBuf> {
    paths.iter().take(NAMED).map(|p| p.to_path_buf()).collect()
}

fn files(capture: &Capture, findings: &mut Vec<Finding>) {
    type Pick = fn(&gav_formats::cameras::View) -> Option<&PathBuf>;
    let kinds: [(&str, Severity, Pick); 3] = [
        ("pictures", Severity::Error, |v| v.image.as_ref()),
        ("masks", Severity::Warning, |v| v.mask.as_ref()),
        ("files of tracked parameters", Severity::Error, |v| v.parameters.as_ref()),
    ];
    for (what, severity, pick) in kinds {
        let mut all: Vec<&Path> = capture.views.iter().filter_map(|(_, v)| pick(v)).map(PathBuf::as_path).collect();
        all.sort_unstable();
        all.dedup();
        let missing: Vec<&Path> = all.par_iter().copied().filter(|p| !p.is_file()).collect();
        if !missing.is_empty() {
            findings.push(Finding {
                severity,
                code: "MISSING_FILES",
                message: format!("{} of {} {what} are not there", missing.len(), all.len()),
                hint: "paths are relative to the folder of the camera file",
                files: named(&missing),
            });
        }
    }
    let without = capture.views.iter().filter(|(_, v)| v.image.is_none()).count();
    if without > 0 {
        findings.push(Finding {
            severity: Severity::Error,
            code: "NO_PICTURE",
            message: format!("{without} of {} views name no picture", capture.views.len()),
            hint: "`file_path` of a frame names it",
            files: Vec::new(),
        });
    }
}

fn sizes(capture: &Capture, findings: &mut Vec<Finding>) {
    let wrong: Vec<(&Path, String)> = capture
        .views
        .par_iter()
        .filter_map(|(_, view)| {
            let path = view.image.as_deref()?;
            let size = imagesize::size(path).ok()?;
            let camera = [view.camera.width as usize, view.camera.height as usize];
            let differs = [size.width, size.height] != camera;
            differs.then(|| {
                (path, format!("{} × {} pixels, {} × {} by its camera", size.width, size.height, camera[0], camera[1]))
            })
        })
        .collect();
    if let Some((_, first)) = wrong.first() {
        findings.push(Finding {
            severity: Severity::Error,
            code: "PICTURE_SIZE",
            message: format!(
                "{} pictures are not of the size that their cameras say; the first has {first}",
                wrong.len()
            ),
            hint: "`w`, `h` and the focal lengths belong to one size: scale all of them or the pictures",
            files: named(&wrong.iter().map(|(p, _)| *p).collect::<Vec<_>>()),
        });
    }
    let mut kinds: BTreeMap<[u32; 2], usize> = BTreeMap::new();
    capture.views.iter().for_each(|(_, v)| *kinds.entry([v.camera.width, v.camera.height]).or_default() += 1);
    if kinds.len() > 1 {
        let list: Vec<String> = kinds.iter().map(|([w, h], n)| format!("{n} of {w} × {h}")).collect();
        findings.push(Finding {
            severity: Severity::Warning,
            code: "MIXED_SIZES",
            message: format!("pictures have {} sizes: {}", kinds.len(), list.join(", ")),
            hint: "trainers that draw several views at once want one",
            files: Vec::new(),
        });
    }
}

fn gaps(capture: &Capture, findings: &mut Vec<Finding>) {
    let steps = capture.timesteps();
    if let (Some(first), Some(last)) = (steps.first(), steps.last()) {
        let missing = (last - first + 1) as usize - steps.len();
        if missing > 0 {
            findings.push(Finding {
                severity: Severity::Warning,
                code: "MISSING_STEPS",
                message: format!("{missing} of the time steps {first} to {last} have no view"),
                hint: "motion that is played back jumps there",
                files: Vec::new(),
            });
        }
    }
    let mut views: BTreeMap<u32, usize> = BTreeMap::new();
    let train = capture.views.iter().filter(|(split, _)| *split == Split::Train);
    train.filter_map(|(_, v)| v.timestep).for_each(|t| *views.entry(t).or_default() += 1);
    let (least, most) = (views.values().min().copied().unwrap_or(0), views.values().max().copied().unwrap_or(0));
    if least != most {
        findings.push(Finding {
            severity: Severity::Warning,
            code: "UNEVEN_STEPS",
            message: format!("time steps have between {least} and {most} views for training"),
            hint: "blocks of views are formed by time step, not by a fixed number",
            files: Vec::new(),
        });
    }
}

fn directions(capture: &Capture, findings: &mut Vec<Finding>) {
    let mut cameras: Vec<&Camera> = Vec::new();
    for (_, view) in &capture.views {
        if !cameras.iter().any(|c| c.camera_from_world == view.camera.camera_from_world) {
            cameras.push(&view.camera);
        }
        if cameras.len() == 256 {
            break;
        }
    }
    let Some(point) = focus(&cameras).filter(|_| cameras.len() > 1) else { return };
    let behind = cameras.iter().filter(|c| project(c, point).is_none()).count();
    if 2 * behind > cameras.len() {
        findings.push(Finding {
            severity: Severity::Error,
            code: "CAMERA_AXES",
            message: format!("{behind} of {} cameras have what all of them look at behind them", cameras.len()),
            hint: "their axes are the other ones: try --camera-axes opencv, or opengl",
            files: Vec::new(),
        });
    }
    let mut distances: Vec<f64> =
        cameras.iter().map(|c| center(c).iter().zip(point).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()).collect();
    distances.sort_by(f64::total_cmp);
    let median = distances[distances.len() / 2];
    if !(DISTANCES[0]..=DISTANCES[1]).contains(&median) {
        findings.push(Finding {
            severity: Severity::Warning,
            code: "SCALE",
            message: format!("cameras are {median:.3} units from what they look at, which is hardly metres"),
            hint: "learning rates and FLAME count in metres: scale the cameras",
            files: Vec::new(),
        });
    }
}

fn tracked(capture: &Capture, body: Option<&Body<f32>>, findings: &mut Vec<Finding>) {
    if capture.layout != Layout::Vhap {
        return;
    }
    // one camera for each file: any of those that saw that time
    let mut steps: BTreeMap<&Path, &Camera> = BTreeMap::new();
    for (_, view) in &capture.views {
        if let Some(path) = view.parameters.as_deref().filter(|p| p.is_file()) {
            steps.entry(path).or_insert(&view.camera);
        }
    }
    let read: Vec<(&Path, &Camera, crate::Result<Pose>)> =
        steps.into_par_iter().map(|(path, camera)| (path, camera, parameters(path))).collect();
    let broken: Vec<(&Path, String)> = read
        .iter()
        .filter_map(|(path, _, pose)| match pose {
            Err(error) => Some((*path, error.to_string())),
            Ok(pose) if pose.iter().any(|(_, v)| v.iter().any(|v| !v.is_finite())) => {
                Some((*path, "a number is not finite".to_owned()))
            }
            Ok(_) => None,
        })
        .collect();
    if let Some((_, first)) = broken.first() {
        findings.push(Finding {
            severity: Severity::Error,
            code: "PARAMETERS",
            message: format!("{} files of tracked parameters cannot be used; the first: {first}", broken.len()),
            hint: "track these frames again, or take them out of the camera files",
            files: named(&broken.iter().map(|(p, _)| *p).collect::<Vec<_>>()),
        });
    }
    let Some(body) = body else { return };
    if !driven(body, read.iter().filter_map(|(_, _, pose)| pose.as_ref().ok())) {
        let (name, prefix) = (body.name(), body.layout().prefix());
        findings.push(Finding {
            severity: Severity::Error,
            code: "TEMPLATE",
            message: format!("the template `{name}` takes parameters named {prefix}…, and the files have none of them"),
            hint: "--template names the one that the pictures were tracked with",
            files: named(&read.iter().map(|(p, _, _)| *p).collect::<Vec<_>>()),
        });
        return;
    }
    let good: Vec<(&Path, &Camera, &Pose)> =
        read.iter().filter_map(|(path, camera, pose)| Some((*path, *camera, pose.as_ref().ok()?))).collect();
    let step = good.len().div_ceil(PROJECTED).max(1);
    let mut outside: Vec<(&Path, f64)> = Vec::new();
    for (path, camera, pose) in good.into_iter().step_by(step) {
        let parameters = match body.parameters(&[], pose) {
            Ok(parameters) => parameters,
            Err(error) => {
                findings.push(Finding {
                    severity: Severity::Error,
                    code: "TEMPLATE",
                    message: error.to_string(),
                    hint: "the pictures were tracked with another template: FLAME 2020 and 2023 differ, and so do teeth",
                    files: named(&[path]),
                });
                return;
            }
        };
        let share = share_inside(camera, &body.pose(&parameters).vertices);
        if share < LEAST_SHARE {
            outside.push((path, share));
        }
    }
    say_outside(&outside, findings);
}

/// Does any of the poses name a parameter of the body? Names of other families are no error of a pose: drivers share it.
fn driven<'p>(body: &Body<f32>, mut poses: impl Iterator<Item = &'p Pose>) -> bool {
    let prefix = body.layout().prefix();
    poses.next().is_none_or(|first| first.iter().any(|(name, _)| name.starts_with(prefix)))
}

/// Share of the vertices that fall on the picture.
fn share_inside(camera: &Camera, vertices: &[[f32; 3]]) -> f64 {
    let seen = vertices.iter().filter_map(|v| project(camera, v.map(f64::from))).filter(|p| is_inside(camera, *p));
    seen.count() as f64 / vertices.len().max(1) as f64
}

/// Meshes of which less than half is in their picture.
fn say_outside(outside: &[(&Path, f64)], findings: &mut Vec<Finding>) {
    let Some((_, share)) = outside.first() else { return };
    findings.push(Finding {
        severity: Severity::Error,
        code: "MESH_OUTSIDE",
        message: format!(
            "the tracked mesh is not in the pictures of {} time steps; of the first, {:.0} % of it is",
            outside.len(),
            100.0 * share
        ),
        hint: "axes of the cameras, their scale or the template are other ones: look at --overlay",
        files: named(&outside.iter().map(|(p, _)| *p).collect::<Vec<_>>()),
    });
}
