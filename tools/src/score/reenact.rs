//! Cross-reenactment: avatars driven by another capture. Nobody has photographed that, so pictures are written and nothing is scored.

use std::path::Path;

use anyhow::Result;
use gav_formats::cameras::{CameraOptions, View};
use gav_models::capture::Capture;
use serde_json::json;

use super::{
    Arguments, plan,
    posing::{Posable, PosedBy, Posing},
    work::{picture_path, write_picture},
};
use crate::{
    batch::{
        self,
        bars::Bars,
        processors,
        report::{Report, Status},
    },
    device::Painter,
    failure::{Failure, refuse},
    reading::load,
    text::plural,
};

/// The capture at `folder`, with the options of the command.
pub(super) fn open(arguments: &Arguments, folder: &Path) -> Result<Capture, Failure> {
    let options = CameraOptions {
        limits: arguments.read.options().limits,
        axes: arguments.camera_axes,
        principal: arguments.principal_point.unwrap_or_default(),
    };
    Capture::open(folder, &options).map_err(|e| Failure::of(None, &e))
}

/// Draws every asset in every view of the target; gives the number of failures.
///
/// # Errors
/// Nowhere to write, a folder that is no capture, one without tracked parameters.
pub(super) fn run(arguments: &Arguments, target: &Path) -> Result<usize> {
    let Some(out) = &arguments.renders else {
        return Err(refuse(
            "pictures of another's motion have no reference and are only written",
            "say where: --renders FOLDER",
        ));
    };
    let capture = open(arguments, target)?;
    let mut views: Vec<(&View, Posing)> = Vec::new();
    for (_, view) in capture.views.iter().filter(|(_, v)| arguments.takes_camera(v)) {
        // the avatar's own clip is nobody else's motion
        match Posing::of(&capture, view, PosedBy::Capture) {
            Some(posing @ Posing::Tracked(_)) => views.push((view, posing)),
            _ => {
                let message = format!("{}: view `{}` has no tracked parameters", target.display(), view.camera.name);
                return Err(refuse(message, "captures of VHAP's layout have them"));
            }
        }
    }
    if views.is_empty() {
        return Err(refuse(format!("{}: no view to draw", target.display()), "--camera names one that is there"));
    }
    views.sort_by_key(|(view, _)| (view.timestep, view.camera_index));
    let assets = plan::assets(arguments)?;
    let painter = Painter::open(arguments.device, Some(views.len() * assets.len()))?;
    let jobs = arguments.jobs.map_or(processors(), usize::from).min(assets.len());
    let bars = Bars::new(assets.len(), jobs, arguments.quiet || arguments.json);
    let mut report = Report::new(arguments.json, arguments.quiet);
    batch::each(
        &assets,
        &bars,
        |(_, path)| path,
        |(group, path), line| {
            let avatar = load(path, &arguments.read.options())?.avatar;
            let posable = Posable::of(path, &avatar, arguments.cameras_frame)?;
            let draw = |(view, posing): &(&View, Posing)| {
                let name = format!("{group}/{}", view.camera.name);
                line.show(&name);
                let drawn = posable.draw(path, posing, &view.camera, arguments.background, &painter);
                let file = picture_path(out, &name);
                let written = drawn.and_then(|picture| write_picture(&file, &picture));
                (name, file, written)
            };
            Ok(views.iter().map(draw).collect::<Vec<_>>())
        },
        |(group, _), result| match result {
            Err(failure) => report.failure(json!({"group": group}), failure),
            Ok(pictures) => {
                for (name, file, written) in pictures {
                    let head = json!({"name": name, "group": group, "target": target});
                    match written {
                        Ok(()) => {
                            let text = format!("{}", file.display());
                            report.item(Status::Done, "written", head, json!({"file": file}), &text);
                        }
                        Err(failure) => report.failure(head, failure),
                    }
                }
            }
        },
    );
    let text = format!(
        ": {} of {} driven by {}, which nothing is compared with",
        plural(views.len(), "view"),
        plural(assets.len(), "asset"),
        target.display()
    );
    report.finish("written", json!({"scored": false}), &text);
    Ok(report.failures())
}
