//! STGA's meshes and lists of faces.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use gav_formats::{Camera, Limits};
use rayon::prelude::*;

use super::{Finding, LEAST_SHARE, PROJECTED, Severity, named, say_outside, share_inside};
use crate::capture::{Capture, stga};

/// Shares of faces between which a selection is sensible.
const SELECTED: [f64; 2] = [0.005, 0.6];

/// STGA's meshes and lists of faces.
pub(super) fn check(capture: &Capture, findings: &mut Vec<Finding>) {
    let limits = Limits::default();
    let error = |code, message, hint, files| Finding { severity: Severity::Error, code, message, hint, files };
    let mut cameras: BTreeMap<u32, &Camera> = BTreeMap::new();
    for (_, view) in &capture.views {
        if let Some(step) = view.timestep {
            cameras.entry(step).or_insert(&view.camera);
        }
    }
    let paths: Vec<(u32, PathBuf)> = cameras.keys().map(|t| (*t, stga::mesh_path(&capture.folder, *t))).collect();
    let missing: Vec<&Path> = paths.iter().map(|(_, p)| p.as_path()).filter(|p| !p.is_file()).collect();
    if !missing.is_empty() {
        let message = format!("{} of {} meshes are not there", missing.len(), paths.len());
        findings.push(error(
            "MISSING_FILES",
            message,
            "every `keyframe` has its meshes/mesh_NNNN.json",
            named(&missing),
        ));
    }
    type Triangles = Vec<[[f32; 3]; 3]>;
    let read: Vec<(u32, &Path, crate::Result<Triangles>)> = paths
        .par_iter()
        .filter(|(_, path)| path.is_file())
        .map(|(step, path)| (*step, path.as_path(), stga::read_mesh(path, &limits)))
        .collect();
    let broken: Vec<(&Path, String)> =
        read.iter().filter_map(|(_, path, mesh)| Some((*path, mesh.as_ref().err()?.to_string()))).collect();
    if let Some((_, first)) = broken.first() {
        let message = format!("{} meshes cannot be used; the first: {first}", broken.len());
        let files = named(&broken.iter().map(|(p, _)| *p).collect::<Vec<_>>());
        findings.push(error("MESH", message, "export these time steps again", files));
    }
    let good: Vec<(u32, &Path, &Triangles)> =
        read.iter().filter_map(|(step, path, mesh)| Some((*step, *path, mesh.as_ref().ok()?))).collect();
    let Some(faces) = good.first().map(|(_, _, mesh)| mesh.len()) else { return };
    let others: Vec<&(u32, &Path, &Triangles)> = good.iter().filter(|(_, _, mesh)| mesh.len() != faces).collect();
    if let Some((_, _, mesh)) = others.first() {
        let message = format!(
            "{} meshes have another number of faces than the first: {} instead of {faces}",
            others.len(),
            mesh.len()
        );
        let files = named(&others.iter().map(|(_, p, _)| *p).collect::<Vec<_>>());
        findings.push(error(
            "TOPOLOGY",
            message,
            "splats belong to faces by number: all meshes need the same list",
            files,
        ));
    }
    let mut outside: Vec<(&Path, f64)> = Vec::new();
    for (step, path, mesh) in good.iter().step_by(good.len().div_ceil(PROJECTED).max(1)) {
        let share = share_inside(cameras[step], mesh.as_flattened());
        if share < LEAST_SHARE {
            outside.push((path, share));
        }
    }
    say_outside(&outside, findings);

    if !capture.folder.join("training_faces").is_dir() {
        return;
    }
    let lists: Vec<(PathBuf, crate::Result<Vec<u32>>)> = cameras
        .keys()
        .map(|step| stga::training_faces_path(&capture.folder, *step))
        .map(|path| {
            let list = stga::read_training_faces(&path, faces, &limits);
            (path, list)
        })
        .collect();
    let broken: Vec<(&Path, String)> =
        lists.iter().filter_map(|(path, list)| Some((path.as_path(), list.as_ref().err()?.to_string()))).collect();
    if let Some((_, first)) = broken.first() {
        let message = format!("{} lists of training faces cannot be used; the first: {first}", broken.len());
        let files = named(&broken.iter().map(|(p, _)| *p).collect::<Vec<_>>());
        findings.push(error("TRAINING_FACES", message, "they hold numbers of faces, from 0", files));
    }
    let odd: Vec<(&Path, f64)> = lists
        .iter()
        .filter_map(|(path, list)| Some((path.as_path(), list.as_ref().ok()?.len() as f64 / faces.max(1) as f64)))
        .filter(|(_, share)| !(SELECTED[0]..=SELECTED[1]).contains(share))
        .collect();
    if let Some((_, share)) = odd.first() {
        findings.push(Finding {
            severity: Severity::Warning,
            code: "SELECTION",
            message: format!(
                "{} of {} lists of training faces name fewer than {} % or more than {} % of the faces; the first {:.1} %",
                odd.len(),
                lists.len(),
                100.0 * SELECTED[0],
                100.0 * SELECTED[1],
                100.0 * share
            ),
            hint: "the threshold of the selection is too high or too low",
            files: named(&odd.iter().map(|(p, _)| *p).collect::<Vec<_>>()),
        });
    }
}
