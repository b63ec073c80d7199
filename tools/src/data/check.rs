//! `gav data check`: what would spoil a training.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Result;
use clap::Args;
use gav_formats::{Limits, cameras::View};
use gav_models::{
    Error,
    body::Body,
    capture::{self, Capture, Finding, Severity, Split, overlay, parameters},
};
use serde_json::json;

use super::Reading;
use crate::{
    failure::{Failure, refuse},
    pictures::{
        Pixels,
        sheet::{Cell, compose, grid, shrink},
        still::rgb_png,
    },
    score::decode::decode,
    text::plural,
};

/// Find what would spoil a training: missing files, sizes, axes and scale of cameras, gaps, tracked parameters, a mesh that is not in the pictures
#[derive(Args)]
#[command(after_help = super::EXAMPLES)]
pub(crate) struct Check {
    /// The folder of a capture
    folder: PathBuf,
    /// Draw the tracked mesh over pictures of six time steps (PNG)
    #[arg(long, value_name = "FILE")]
    overlay: Option<PathBuf>,
    /// Overwrite an existing overlay
    #[arg(short, long)]
    force: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reading: Reading,
}

/// Runs the command.
pub(crate) fn run(check: &Check) -> Result<ExitCode> {
    if let Some(path) = check.overlay.as_deref().filter(|p| p.exists() && !check.force) {
        return Err(refuse(format!("{} exists", path.display()), "--force overwrites it"));
    }
    let failed = |e: Error| Failure::of(None, &e);
    let capture = check.reading.open(&check.folder)?;
    let (body, note) = match capture::tracked_body(&capture, check.reading.template.as_deref()) {
        Ok(body) => (body, None),
        // what can be found without it is found
        Err(error @ Error::MissingTemplate { .. }) if check.overlay.is_none() => {
            (None, Some(format!("the tracked mesh is not checked: {error}")))
        }
        Err(error) => return Err(failed(error).into()),
    };
    let findings = capture::check(&capture, body.as_ref());
    if let Some(path) = &check.overlay {
        let body =
            body.as_ref().ok_or_else(|| refuse("this capture has no tracked FLAME to draw", "leave --overlay out"))?;
        write_overlay(&capture, body, path)?;
    }
    let stops = findings.iter().any(|f| f.severity == Severity::Error);
    report(check, &capture, &findings, note.as_deref())?;
    Ok(if stops { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Time steps on the overlay, and the longest side of each of its pictures.
const SHOWN: usize = 6;
const SIDE: usize = 480;

fn write_overlay(capture: &Capture, body: &Body<f32>, path: &Path) -> Result<()> {
    let there = |view: &&View| {
        view.image.as_deref().is_some_and(Path::is_file) && view.parameters.as_deref().is_some_and(Path::is_file)
    };
    let views: Vec<&View> = capture.views.iter().map(|(_, view)| view).filter(there).collect();
    let count = views.len().min(SHOWN);
    if count == 0 {
        return Err(refuse("no view has both a picture and tracked parameters", "leave --overlay out"));
    }
    let mut cells = Vec::new();
    for k in 0..count {
        let view = views[k * views.len() / count];
        let (Some(image), Some(tracked)) = (&view.image, &view.parameters) else { continue };
        let bytes = std::fs::read(image).map_err(|e| Failure::at(image, &gav_formats::Error::io(image, e)))?;
        let picture = decode(image, &bytes, &Limits::default())?.over([1.0; 3]);
        let (width, height) = (view.camera.width as usize, view.camera.height as usize);
        if (picture.width, picture.height) != (width, height) {
            // said by the check already
            continue;
        }
        let rgb: Vec<u8> = picture.rgb.iter().map(|v| (v.clamp(0.0, 1.0) * 255.0 + 0.5) as u8).collect();
        let failed = |e: Error| Failure::of(Some(tracked), &e);
        let pose = parameters(tracked).map_err(failed)?;
        let vertices = body.pose(&body.parameters(&[], &pose).map_err(failed)?).vertices;
        let marked = overlay(&rgb, &view.camera, &vertices);
        let label = format!("{}: {} of {}", view.camera.name, marked.inside, vertices.len());
        cells.push(Cell { label, picture: shrink(&Pixels { width, height, rgb: marked.rgb }, SIDE) });
    }
    let sheet = compose(&capture.folder.display().to_string(), &grid(&cells, None));
    let failed = |message: String| Failure { code: "ENCODER", message, hint: None };
    let png = rgb_png(sheet.width as u32, sheet.height as u32, &sheet.rgb).map_err(failed)?;
    gav_formats::sink::write_file_atomically(path, |sink| sink.write_all(&png).map_err(gav_formats::Error::from))
        .map_err(|e| Failure::at(path, &e))?;
    Ok(())
}

fn report(check: &Check, capture: &Capture, findings: &[Finding], note: Option<&str>) -> Result<()> {
    let mut out = io::stdout().lock();
    let [train, val, test] = [Split::Train, Split::Val, Split::Test].map(|split| capture.count(split));
    let (steps, cameras) = (capture.timesteps().len(), capture.cameras().len());
    if check.json {
        let list: Vec<_> = findings
            .iter()
            .map(|f| {
                let severity = if f.severity == Severity::Error { "error" } else { "warning" };
                json!({"severity": severity, "code": f.code, "message": f.message, "hint": f.hint, "files": f.files})
            })
            .collect();
        let views = json!({"train": train, "val": val, "test": test});
        let object = json!({"folder": capture.folder, "layout": capture.layout.name(), "views": views, "timesteps": steps,
            "cameras": cameras, "warnings": capture.warnings, "note": note, "findings": list});
        writeln!(out, "{object}")?;
        return Ok(());
    }
    writeln!(
        out,
        "{}: {}, {} ({train} to train, {val} new views, {test} new times), {}, {}",
        capture.folder.display(),
        capture.layout.name(),
        plural(capture.views.len(), "view"),
        plural(steps, "time step"),
        plural(cameras, "camera")
    )?;
    for warning in capture.warnings.iter().map(String::as_str).chain(note) {
        writeln!(out, "note: {warning}")?;
    }
    for finding in findings {
        let word = if finding.severity == Severity::Error { "error" } else { "warning" };
        writeln!(out, "{word}: {}\n  {}", finding.message, finding.hint)?;
        finding.files.iter().try_for_each(|file| writeln!(out, "  {}", file.display()))?;
    }
    if findings.is_empty() {
        writeln!(out, "nothing that would spoil a training was found")?;
    }
    if let Some(path) = &check.overlay {
        writeln!(out, "{}: written; the dots must lie on the face", path.display())?;
    }
    Ok(())
}
