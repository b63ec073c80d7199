//! `gav synth`: captures with known truth, made of formulas.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use anyhow::Result;
use clap::{Args, Subcommand};
use gav_formats::sink::write_file_renamed;
use gav_models::{
    Error,
    synth::{Options, Synth, mask_path, picture_path},
};
use serde_json::json;

use crate::{
    batch::{
        bars::Bars,
        each, processors,
        report::{Report, Status},
    },
    failure::{Failure, refuse},
    pictures::still::{gray_png, rgb_png},
    render::values::Size,
    text::{bytes, plural},
};

const EXAMPLES: &str = "\
Examples:
  gav synth head -o capture                                    16 cameras, 100 time steps, 550 × 802 pixels
  gav synth head -o small --cameras 4 --frames 12 --size 128 --detail 0.2
  gav synth head -o hard --noise 1.5 --seed 7                  tracked parameters that are off by about 1.5 mm
  gav synth head -o ict --geometry ict_head.npz                another mesh, with 57 expressions
  gav synth body -o person                                     a person who walks and waves, 60 time steps, 512 × 768 pixels
  gav data check capture --overlay mesh.png                    the tracked mesh over the pictures

The folder has pictures in images and fg_masks, and cameras in transforms_train.json (all but the front one), transforms_val.json (the front
camera) and transforms_test.json (the last time steps). A head has the layout of VHAP and GaussianAvatars, with flame_param and the template of
these parameters in template.npz; a body has that of STGA, with posed meshes in meshes.
Pictures that are there already are kept, so a capture that was interrupted is continued by the same command.

Exit codes:
  0  the capture is complete
  1  some picture could not be written
  2  the command line asks for something impossible; nothing was done";

/// Make captures with known truth: pictures of a head or a person that moves, cameras, masks, tracked parameters or meshes
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// A head that speaks, frowns and looks around, with hair, lashes, teeth, and wrinkles that its mesh does not have
    #[command(after_help = EXAMPLES)]
    Head(Head),
    /// A dressed person who walks in place, waves and turns, with folds in the cloth that its mesh does not have
    #[command(after_help = EXAMPLES)]
    Body(Person),
}

#[derive(Args)]
struct Head {
    #[command(flatten)]
    capture: Capture,
    /// Take mesh and expressions from a file: arrays of the ICT Face Model Light (`v_template`, `f`, `expression_dirs` …) in a NumPy archive
    #[arg(long, value_name = "FILE")]
    geometry: Option<PathBuf>,
    /// Time steps, those for tests included
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=99_999))]
    frames: u32,
    /// Width and height of the pictures, or one number for square ones
    #[arg(long, value_name = "SIZE", default_value = "550x802")]
    size: Size,
    /// Error of the tracked parameters, about so many millimetres on the mesh; the pictures show the truth
    #[arg(long, value_name = "MM", default_value_t = 0.0)]
    noise: f64,
}

#[derive(Args)]
struct Person {
    #[command(flatten)]
    capture: Capture,
    /// Time steps, those for tests included
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=9_999))]
    frames: u32,
    /// Width and height of the pictures, or one number for square ones
    #[arg(long, value_name = "SIZE", default_value = "512x768")]
    size: Size,
}

/// What heads and bodies share.
#[derive(Args)]
struct Capture {
    /// Folder of the capture
    #[arg(short, long, value_name = "FOLDER")]
    output: PathBuf,
    /// Cameras; number 8, or the last of fewer, stands in front and is kept from training
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=100))]
    cameras: u32,
    /// Time steps at the end that are kept from training [default: a fifth]
    #[arg(long, value_name = "N")]
    test_frames: Option<u32>,
    /// Splats of the truth: 1 for 300,000, 0.1 for a tenth of them
    #[arg(long, value_name = "SHARE", default_value_t = 1.0)]
    detail: f64,
    /// Draw pictures so many times as large and average them
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=8))]
    supersample: u32,
    /// Decides who is seen and how it moves; the same seed gives the same bytes
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Time steps drawn at the same time [default: one per processor]
    #[arg(short, long, value_name = "N", help_heading = "Running", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Draw all pictures again, and overwrite a capture made with other options
    #[arg(short, long, help_heading = "Running")]
    force: bool,
    /// One JSON object a line for each time step, and a last one with the sums
    #[arg(long, help_heading = "Running")]
    json: bool,
    /// No progress bars, and no lines but errors
    #[arg(short, long, help_heading = "Running")]
    quiet: bool,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    match &arguments.what {
        What::Head(head) => {
            let capture = &head.capture;
            let options = Options { noise: head.noise, ..options(capture, head.frames, head.size) };
            let synth = match &head.geometry {
                Some(file) => Synth::ict(&options, file).map_err(|e| match e {
                    Error::File(gav_formats::Error::Usage(_)) => usage("head", e),
                    other => Failure::of(Some(file), &other).into(),
                })?,
                None => Synth::head(&options).map_err(|e| usage("head", e))?,
            };
            make(capture, &synth)
        }
        What::Body(person) => {
            let options = options(&person.capture, person.frames, person.size);
            make(&person.capture, &Synth::body(&options).map_err(|e| usage("body", e))?)
        }
    }
}

fn options(capture: &Capture, frames: u32, size: Size) -> Options {
    Options {
        cameras: capture.cameras as usize,
        frames: frames as usize,
        test_frames: capture.test_frames.unwrap_or(frames / 5) as usize,
        size: match size {
            Size::Exactly(size) => size,
            Size::Longest(side) => [side; 2],
        },
        detail: capture.detail,
        noise: 0.0,
        supersample: capture.supersample,
        seed: capture.seed,
    }
}

/// What the options ask for is at fault, unless a file is.
fn usage(what: &str, error: Error) -> anyhow::Error {
    match error {
        Error::File(gav_formats::Error::Usage(text)) => {
            refuse(text, format!("`gav synth {what} --help` says what can be asked for"))
        }
        other => Failure::of(None, &other).into(),
    }
}

fn make(capture: &Capture, synth: &Synth) -> Result<ExitCode> {
    let folder = &capture.output;
    guard(folder, &synth.recipe(), capture.force)?;
    synth.write(folder).map_err(|e| Failure::of(Some(folder), &e))?;
    for part in ["images", "fg_masks"] {
        let path = folder.join(part);
        fs::create_dir_all(&path).map_err(|e| Failure::at(&path, &gav_formats::Error::io(&path, e)))?;
    }
    let steps: Vec<(usize, PathBuf)> =
        (0..synth.options().frames).map(|step| (step, PathBuf::from(format!("time step {step}")))).collect();
    let jobs = capture.jobs.map_or_else(processors, usize::from).min(steps.len());
    let bars = Bars::new(steps.len(), jobs, capture.quiet || capture.json);
    let mut report = Report::new(capture.json, capture.quiet);
    let written = AtomicU64::new(0);
    let mut pictures = 0;
    each(
        &steps,
        &bars,
        |(_, name)| name,
        |(step, _), _| draw(folder, synth, *step, capture.force, &written),
        |(step, _), outcome| {
            let head = json!({"timestep": step});
            match outcome {
                Ok((0, _)) => {
                    let text = format!("time step {step}: there already");
                    report.item(Status::Skipped, "skipped", head, json!({}), &text);
                }
                Ok((count, seconds)) => {
                    pictures += count;
                    let text = format!("time step {step}: {} in {seconds:.2} s", plural(count, "picture"));
                    report.item(Status::Done, "done", head, json!({"pictures": count, "seconds": seconds}), &text);
                }
                Err(failure) => report.failure(head, failure),
            }
        },
    );
    let written = written.into_inner();
    let sums = json!({"folder": folder, "pictures": pictures, "bytes": written, "splats": synth.truth().len()});
    report.finish("drawn", sums, &format!(": {}, {}", plural(pictures, "picture"), bytes(written)));
    Ok(if report.failures() > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Refuses a folder that holds something else.
fn guard(folder: &Path, recipe: &str, force: bool) -> Result<()> {
    if force || !folder.exists() {
        return Ok(());
    }
    match fs::read_to_string(folder.join("synth.json")) {
        Ok(text) if text == recipe => Ok(()),
        Ok(_) => Err(refuse(
            format!("{} is a capture made with other options", folder.display()),
            "--force draws it again; synth.json there says how it was made",
        )),
        Err(_) if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none()) => Ok(()),
        Err(_) => Err(refuse(
            format!("{} holds something that is no capture of `gav synth`", folder.display()),
            "name a new folder, or --force to write into this one",
        )),
    }
}

/// Draws what is missing of a time step: the number of pictures, and the seconds they took.
fn draw(folder: &Path, synth: &Synth, step: usize, force: bool, written: &AtomicU64) -> Result<(usize, f64), Failure> {
    let start = Instant::now();
    let paths = |camera| [picture_path(step, camera), mask_path(step, camera)].map(|name| folder.join(name));
    let missing: Vec<usize> = (0..synth.cameras().len())
        .filter(|camera| force || paths(*camera).iter().any(|path| !path.is_file()))
        .collect();
    if missing.is_empty() {
        return Ok((0, 0.0));
    }
    let posed = synth.pose(step);
    let encoder = |message: String| Failure { code: "ENCODER", message, hint: None };
    for &camera in &missing {
        let image = synth.draw(&posed, camera);
        let mask: Vec<u8> = image.alpha.iter().map(|a| (a.clamp(0.0, 1.0) * 255.0 + 0.5) as u8).collect();
        let files = [
            rgb_png(image.width, image.height, &image.to_rgb8()).map_err(encoder)?,
            gray_png(image.width, image.height, &mask).map_err(encoder)?,
        ];
        for (path, data) in paths(camera).iter().zip(files) {
            write_file_renamed(path, |sink| sink.write_all(&data).map_err(gav_formats::Error::from))
                .map_err(|e| Failure::at(path, &e))?;
            written.fetch_add(data.len() as u64, Ordering::Relaxed);
        }
    }
    Ok((missing.len(), start.elapsed().as_secs_f64()))
}
