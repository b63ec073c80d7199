//! `gav demo`: a sample avatar in every format, with the price of each, then turned before the camera, scored and reported.

mod portrait;

use std::{
    ffi::OsString,
    fs,
    io::{self, IsTerminal, Write},
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use anyhow::{Context, Result};
use clap::{Args, Parser};
use gav_formats::{
    Avatar, Comparison, EncodeOptions, FORMATS, Format, Profile, ReadOptions, WriteOptions, Writer, compare, save,
    synthetic,
};
use gav_kernels::psnr::{Psnr, Reference};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use crate::{
    diff::error,
    failure::{self, Failure},
    reading::{disk_bytes, load},
    text::{self, table},
};

const EXAMPLES: &str = "\
Examples:
  gav demo
  gav demo -o /tmp/demo --splats 20000
  gav demo --train
  gav demo --json | jq 'select(.format) | {format, bytes_per_splat, psnr}'

Exit codes:
  0  every format was written, read back and scored
  1  some format failed";

/// Make a sample avatar, write it in every format, compare them, and turn, score and report them
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Folder for the files; it is made if needed, and files of an earlier demo are replaced
    #[arg(short, long, value_name = "DIR", default_value = "gav-demo")]
    output: PathBuf,
    /// Splats of the sample
    #[arg(long, value_name = "N", default_value_t = 60_000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    splats: u32,
    /// Make a capture of a head that moves, train an avatar on it, and film it: a few minutes on two cores
    #[arg(long, conflicts_with = "splats")]
    train: bool,
    /// One JSON object a line for each file
    #[arg(long)]
    json: bool,
    /// No progress bar
    #[arg(short, long)]
    quiet: bool,
}

/// One file to write.
struct Sample {
    /// What the table calls it.
    name: String,
    path: PathBuf,
    format: &'static Format,
    options: WriteOptions,
}

/// What one file costs.
struct Price {
    bytes: u64,
    write_seconds: f64,
    read_seconds: f64,
    rig: bool,
    errors: Comparison,
    psnr: Psnr,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let folder = &arguments.output;
    fs::create_dir_all(folder).with_context(|| format!("{}: cannot make this folder", folder.display()))?;
    if arguments.train {
        for line in training(folder, arguments) {
            if !follow(&line, arguments)? {
                return Ok(ExitCode::FAILURE);
            }
        }
        return Ok(ExitCode::SUCCESS);
    }
    let avatar = synthetic::head_rigged(arguments.splats as usize, 1);
    let samples = samples(folder);
    let hidden = arguments.quiet || arguments.json || !io::stderr().is_terminal();
    let target = if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(Some(samples.len() as u64 + 1), target);
    if let Ok(style) = ProgressStyle::with_template("{bar:32} {pos}/{len}  {msg}") {
        bar.set_style(style);
    }
    bar.set_message("portrait");
    let portrait = folder.join("portrait.png");
    portrait::write(&portrait, &avatar)?;
    bar.inc(1);
    let pictures = Reference::orbit(&avatar)?;
    let mut prices = Vec::new();
    for sample in &samples {
        bar.set_message(sample.name.clone());
        prices.push(price(&avatar, &pictures, sample));
        bar.inc(1);
    }
    bar.finish_and_clear();
    let failed = report(arguments, &avatar, &samples, &prices, &portrait)?;
    let written: Vec<&Path> =
        samples.iter().zip(&prices).filter(|(_, p)| p.is_ok()).map(|(s, _)| s.path.as_path()).collect();
    for line in tour(folder, &written) {
        if !follow(&line, arguments)? {
            return Ok(ExitCode::FAILURE);
        }
    }
    if !arguments.json {
        println!("turntable: {}", folder.join("turntable.mp4").display());
        println!("report:    {}", folder.join("report.html").display());
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The command lines of the rest of the demonstration: a turntable, and the scores of every file against the lossless one.
fn tour(folder: &Path, written: &[&Path]) -> Vec<Vec<OsString>> {
    let in_folder = |name: &str| folder.join(name).into_os_string();
    let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
    let mut film = words(&["gav", "render"]);
    film.push(in_folder("head.standard.gav"));
    film.push("-o".into());
    film.push(in_folder("turntable.mp4"));
    film.extend(words(&["--frames", "60", "--force", "--quiet"]));
    let reference = folder.join("head.lossless.gav");
    let mut score = words(&["gav", "score"]);
    score.extend(written.iter().filter(|p| **p != reference).map(|p| p.as_os_str().to_owned()));
    score.extend([OsString::from("-r"), reference.into_os_string(), "--report".into(), in_folder("report.html")]);
    score.push("--quiet".into());
    vec![film, score]
}

/// The command lines of a training from nothing: a capture, the avatar, a film of it, its scores on what was held out.
fn training(folder: &Path, arguments: &Arguments) -> Vec<Vec<OsString>> {
    let in_folder = |name: &str| folder.join(name).into_os_string();
    let line = |start: &[&str], paths: &[OsString], end: &[&str]| -> Vec<OsString> {
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let mut line = [words(&["gav"]), words(start), paths.to_vec(), words(end)].concat();
        if arguments.quiet && start[0] != "score" {
            line.push("--quiet".into());
        }
        line
    };
    let (capture, avatar) = (in_folder("capture"), in_folder("trained.gav"));
    vec![
        line(
            &["synth", "head", "-o"],
            std::slice::from_ref(&capture),
            &["--cameras", "8", "--frames", "40", "--test-frames", "8", "--size", "128", "--detail", "0.3"],
        ),
        // one splat a triangle, and steps for two cores
        line(
            &["train", "stga"],
            &[capture.clone(), "-o".into(), avatar.clone()],
            &["--iterations", "6000", "--init_grid_k", "0", "--sh_degree", "1", "--device", "cpu", "--force"],
        ),
        line(
            &["render"],
            &[avatar.clone(), "-o".into(), in_folder("trained.mp4")],
            &["--clip", "tracked", "--size", "256", "--force"],
        ),
        line(
            &["score"],
            &[avatar, "-r".into(), capture],
            &["--split", "val", "--metrics", "psnr,ssim-zero-pad", "--quiet"],
        ),
    ]
}

/// Runs a command line as if it had been typed; false when something in it failed.
fn follow(line: &[OsString], arguments: &Arguments) -> Result<bool> {
    if !arguments.json {
        let words: Vec<_> = line.iter().map(|word| word.to_string_lossy()).collect();
        println!("\n$ {}\n", words.join(" "));
    }
    let command = crate::Cli::try_parse_from(line).context("the demonstration's own command line")?;
    Ok(crate::run(&command)? == ExitCode::SUCCESS)
}

/// `.gav` in every profile, and every other writable format.
fn samples(folder: &Path) -> Vec<Sample> {
    let mut samples = Vec::new();
    for format in FORMATS.iter().filter(|f| f.write.is_some()) {
        if format.id == "gav" {
            for (name, profile) in Profile::ALL {
                let options =
                    WriteOptions { gav: EncodeOptions { profile, ..Default::default() }, ..Default::default() };
                let path = folder.join(format!("head.{name}.gav"));
                samples.push(Sample { name: format!("gav {name}"), path, format, options });
            }
            continue;
        }
        let name = match format.write {
            Some(Writer::Folder(_)) => format!("head-{}", format.id),
            // two formats may share an ending
            _ if FORMATS.iter().any(|f| f.id != format.id && f.extensions.first() == format.extensions.first()) => {
                format!("head-{}.{}", format.id, format.extensions[0])
            }
            _ => format!("head.{}", format.extensions[0]),
        };
        samples.push(Sample {
            name: format.id.to_owned(),
            path: folder.join(name),
            format,
            options: WriteOptions::default(),
        });
    }
    samples
}

/// Writes one sample, reads it back and compares.
fn price(avatar: &Avatar, pictures: &Reference, sample: &Sample) -> Result<Price, Failure> {
    let work = || {
        let failed = |e: gav_formats::Error| Failure::at(&sample.path, &e);
        let start = Instant::now();
        save(avatar, &sample.path, sample.format, &sample.options).map_err(failed)?;
        let write_seconds = start.elapsed().as_secs_f64();
        let start = Instant::now();
        let back = load(&sample.path, &ReadOptions::default())?.avatar;
        let read_seconds = start.elapsed().as_secs_f64();
        let errors = compare(avatar, &back).map_err(failed)?;
        let psnr = pictures.psnr(&back).map_err(failed)?;
        Ok(Price {
            bytes: disk_bytes(&sample.path),
            write_seconds,
            read_seconds,
            rig: !back.rig.is_static(),
            errors,
            psnr,
        })
    };
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let message = format!("{}: internal error", sample.path.display());
        Err(Failure { code: "PANIC", message, hint: Some("this is a bug in gav: please report it".to_owned()) })
    })
}

fn report(
    arguments: &Arguments,
    avatar: &Avatar,
    samples: &[Sample],
    prices: &[Result<Price, Failure>],
    portrait: &Path,
) -> Result<bool> {
    let count = avatar.splats.len();
    let mut out = io::stdout().lock();
    let headings = [
        "format", "bytes", "B/splat", "write", "read", "position", "ln-scale", "angle", "opacity", "rgb", "PSNR",
        "worst", "rig", "file",
    ];
    let mut rows = vec![headings.map(str::to_owned).to_vec()];
    for (sample, price) in samples.iter().zip(prices) {
        let Ok(price) = price else { continue };
        let per_splat = price.bytes as f64 / count as f64;
        if arguments.json {
            let line = json!({"format": sample.name, "file": sample.path, "bytes": price.bytes,
                "bytes_per_splat": per_splat, "write_seconds": price.write_seconds, "read_seconds": price.read_seconds,
                "rig": price.rig, "errors": price.errors, "psnr": {"mean": price.psnr.mean, "min": price.psnr.min}});
            writeln!(out, "{line}")?;
            continue;
        }
        let (e, milliseconds) = (&price.errors, |s: f64| format!("{} ms", text::significant(s * 1000.0)));
        rows.push(vec![
            sample.name.clone(),
            text::count(price.bytes),
            text::significant(per_splat),
            milliseconds(price.write_seconds),
            milliseconds(price.read_seconds),
            error(e.position_rms),
            error(e.log_scale_rms),
            format!("{}°", error(e.rotation_mean_degrees)),
            error(e.opacity_rms),
            error(e.rgb_rms),
            format!("{:.1} dB", price.psnr.mean),
            format!("{:.1} dB", price.psnr.min),
            if price.rig { "yes" } else { "no" }.to_owned(),
            sample.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        ]);
    }
    let failed: Vec<&Failure> = prices.iter().filter_map(|p| p.as_ref().err()).collect();
    if arguments.json {
        let line = json!({"type": "summary", "splats": count, "raw_bytes": avatar.splats.raw_bytes(), "rig": avatar.rig.name(),
            "portrait": portrait, "errors": failed});
        writeln!(out, "{line}")?;
    } else {
        let raw = avatar.splats.raw_bytes();
        writeln!(
            out,
            "a head of {} splats, SH degree {}, rig: {}; {} as plain floats\n",
            text::count(count as u64),
            avatar.splats.sh_degree,
            avatar.rig.name(),
            text::bytes(raw)
        )?;
        write!(out, "{}", table(&rows))?;
        writeln!(out, "\nerrors are rms (angle: mean); PSNR over six views, 120 dB means equal pictures")?;
        writeln!(out, "files:    {}", arguments.output.display())?;
        writeln!(out, "portrait: {}", portrait.display())?;
        failed.iter().for_each(|f| failure::print_lines(&f.message, f.hint.as_deref()));
    }
    Ok(!failed.is_empty())
}
