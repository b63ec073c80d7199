//! One training from its files to its files: data, engine, steps, evaluations, checkpoints, the avatar.

use std::{
    fs,
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Result;
use gav_formats::{Avatar, TemplateFamily, WriteOptions, cameras::CameraOptions, format_by_name, save};
use gav_models::{
    capture::{self, Capture, Layout, POINTS_FILE, Split, read_points},
    stga::{
        Checkpoint, CpuEngine, DataOptions, Dataset, DeviceEngine, Engine, Evaluation, ExportOptions, Method, Options,
        Progress, State, Trainer, avatar, init,
    },
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::{Training, log::Log, preview};
use crate::{
    device::Painter,
    failure::{Failure, refuse},
    text::{bytes, plural},
};

/// Steps between reports of losses: few enough that the bar moves, so many that a device is not kept waiting.
const REPORT: u32 = 100;

/// What a training came to.
pub(crate) struct Outcome {
    pub progress: Progress,
    pub splats: usize,
    pub device: String,
    /// All steps were done.
    pub finished: bool,
    /// Seconds from the command to the avatar.
    pub seconds: f64,
}

/// Runs the command.
pub(crate) fn train(method: Method, training: &Training) -> Result<ExitCode> {
    let outcome = Session::prepare(method, training)?.run()?;
    if training.json {
        let evaluation = outcome.progress.evaluations.last();
        println!(
            "{}",
            json!({"output": training.output(), "finished": outcome.finished, "steps": outcome.progress.step,
                "skipped": outcome.progress.skipped, "splats": outcome.splats, "device": outcome.device,
                "training_seconds": outcome.progress.seconds, "seconds": outcome.seconds, "held_out": evaluation})
        );
    }
    Ok(ExitCode::SUCCESS)
}

impl Training {
    /// The avatar to write; under the published programs' name of a folder, a file in it.
    pub(crate) fn output(&self) -> PathBuf {
        match (&self.output, &self.model) {
            (Some(output), _) => output.clone(),
            (None, Some(model)) if model.extension().is_some_and(|e| e.eq_ignore_ascii_case("gav")) => model.clone(),
            (None, Some(model)) => model.join("avatar.gav"),
            (None, None) => PathBuf::from("avatar.gav"),
        }
    }

    fn folder(&self) -> &Path {
        self.data.as_deref().or(self.source.as_deref()).unwrap_or(Path::new("."))
    }
}

/// A file beside the avatar: `head.gav` has `head.checkpoint`.
fn beside(output: &Path, ending: &str) -> PathBuf {
    output.with_extension(ending)
}

/// Everything that is decided before the first step.
struct Session<'a> {
    training: &'a Training,
    options: Options,
    data: Dataset,
    begun: Option<Checkpoint>,
    points: Option<PathBuf>,
    name: String,
    start: Instant,
    hidden: bool,
}

impl<'a> Session<'a> {
    fn prepare(method: Method, training: &'a Training) -> Result<Self> {
        let start = Instant::now();
        let failed = |e: gav_models::Error| Failure::of(None, &e);
        let output = training.output();
        if !output.extension().is_some_and(|e| e.eq_ignore_ascii_case("gav")) {
            return Err(refuse(format!("{}: the avatar is a .gav", output.display()), "--ply writes a PLY as well"));
        }
        let checkpoint = beside(&output, "checkpoint");
        let begun = match (training.resume, checkpoint.is_file()) {
            (true, true) => Some(Checkpoint::read(&checkpoint).map_err(failed)?),
            (true, false) if output.is_file() => {
                return Err(refuse(
                    format!("{} is there and no checkpoint beside it: its training is done", output.display()),
                    "--force trains it again",
                ));
            }
            (false, true) if !training.force => {
                return Err(refuse(
                    format!("{} holds a training that was interrupted", checkpoint.display()),
                    "--resume goes on with it, --force begins anew",
                ));
            }
            _ => None,
        };
        for path in [Some(&output), training.ply.as_ref()].into_iter().flatten() {
            if path.exists() && !training.force && begun.is_none() {
                return Err(refuse(format!("{} exists", path.display()), "--force overwrites it"));
            }
        }
        let mut options = training.options.apply(method, training.config.as_deref())?;
        if let Some(begun) = &begun {
            if training.config.is_some() || !training.options.is_empty() {
                // what was asked for then holds, all of it or nothing
                if options != begun.options {
                    return Err(refuse(
                        "these options are not those that the training was begun with",
                        "leave them out with --resume, or begin anew with --force",
                    ));
                }
            }
            options = begun.options.clone();
        }
        let cameras = CameraOptions {
            axes: training.camera_axes,
            principal: training.principal_point.unwrap_or_default(),
            ..CameraOptions::default()
        };
        let folder = training.folder();
        let capture = Capture::open(folder, &cameras).map_err(failed)?;
        let body = capture::body(&capture, training.template.as_deref()).map_err(failed)?;
        let wanted = DataOptions {
            budget: (training.picture_memory.max(0.0) * 1e9) as u64,
            train_on_val: training.train_on_val,
            camera: training.camera.and_then(|k| u32::try_from(k).ok()),
            use_files: !training.ignore_training_faces,
            select_files: training.select_files.clone(),
            static_offset: !training.no_static_offset,
        };
        let data = Dataset::open(&capture, body, &options, &wanted).map_err(failed)?;
        if let Some(begun) = begun.as_ref().filter(|b| b.capture != data.fingerprint()) {
            return Err(refuse(
                format!(
                    "{} was begun on another capture, or with another template ({})",
                    checkpoint.display(),
                    begun.capture
                ),
                "--force begins anew",
            ));
        }
        let points = folder.join(POINTS_FILE);
        let asked = training.options.says("init_grid_k");
        let name = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        let name = name.file_name().map_or_else(|| "capture".to_owned(), |n| n.to_string_lossy().into_owned());
        let hidden = training.quiet || training.json || !io::stderr().is_terminal();
        let session = Self {
            points: (capture.layout == Layout::Stga && points.is_file() && !asked).then_some(points),
            training,
            options,
            data,
            begun,
            name,
            start,
            hidden,
        };
        if !training.quiet {
            session.introduce(&capture);
        }
        Ok(session)
    }

    fn say(&self, text: &str) {
        if !self.training.quiet {
            eprintln!("{text}");
        }
    }

    fn introduce(&self, capture: &Capture) {
        let data = &self.data;
        let of = |split| data.of(split).len();
        let size = data.views.first().map_or([0, 0], |v| [v.camera.width, v.camera.height]);
        self.say(&format!(
            "{}: {}, {} of {} × {} to train, {} new views, {} of new times; {}, {} triangles",
            self.name,
            capture.layout.name(),
            plural(of(Split::Train), "picture"),
            size[0],
            size[1],
            of(Split::Val),
            of(Split::Test),
            plural(data.times.len(), "time step"),
            data.motion.faces.len()
        ));
        for warning in &data.warnings {
            self.say(&format!("note: {warning}"));
        }
        if self.options.method == Method::Stga {
            let faces = data.motion.faces.len().max(1) as f64;
            let shares: f64 = data.motion.selected.iter().map(|l| l.len() as f64 / faces).sum();
            let mean = 100.0 * shares / data.motion.selected.len().max(1) as f64;
            self.say(&format!("the expression moves {mean:.1} % of the triangles on average"));
        }
    }

    /// Splats to begin with, or those of the checkpoint.
    fn state(&mut self) -> Result<(State, Progress), Failure> {
        if let Some(begun) = self.begun.take() {
            self.say(&format!("going on at step {} of {}", begun.progress.step, self.options.total()));
            return Ok((begun.state, begun.progress));
        }
        let motion = &self.data.motion;
        let vertices = &motion.vertices[motion.neutral];
        let (splats, triangles) = match &self.points {
            None => init::on_mesh(vertices, &motion.faces, &self.options),
            Some(path) => {
                let points = read_points(path).map_err(|e| Failure::of(Some(path), &e))?;
                if let Some(point) = points.iter().find(|p| p.face as usize >= motion.faces.len()) {
                    return Err(Failure {
                        code: "NOT_POSSIBLE",
                        message: format!(
                            "{}: a point on face {} of {}",
                            path.display(),
                            point.face,
                            motion.faces.len()
                        ),
                        hint: Some("--init_grid_k 2 begins without this file".to_owned()),
                    });
                }
                init::on_points(&points, vertices, &motion.faces, &self.options)
            }
        };
        if splats.is_empty() {
            return Err(Failure {
                code: "NOT_POSSIBLE",
                message: "there is no splat to begin with".into(),
                hint: None,
            });
        }
        Ok((self.data.state(&splats, triangles, &self.options), Progress::default()))
    }

    fn load_pictures(&self) -> Result<(), Failure> {
        let pictures = &self.data.pictures;
        if !pictures.fits() {
            self.say(&format!(
                "{} of pictures do not fit into --picture-memory: they are read as they are needed",
                bytes(pictures.bytes())
            ));
            return Ok(());
        }
        let bar = self.bar(pictures.len() as u64, "{bar:32} {pos}/{len} pictures");
        pictures.load_all(&|count| bar.set_position(count as u64)).map_err(|e| Failure::of(None, &e))?;
        bar.finish_and_clear();
        Ok(())
    }

    fn bar(&self, length: u64, template: &str) -> ProgressBar {
        let target = if self.hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(length), target);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        if !self.hidden {
            bar.enable_steady_tick(Duration::from_millis(250));
        }
        bar
    }

    fn run(mut self) -> Result<Outcome> {
        let painter = Painter::open(self.training.device, None)?;
        let (state, progress) = self.state()?;
        let failed = |e: gav_models::Error| Failure::of(None, &e);
        self.load_pictures()?;
        let device = painter.label();
        let splats = state.len();
        let engine: Box<dyn Engine + '_> = match &painter {
            Painter::Cpu => Box::new(CpuEngine::new(&self.data, &self.options, state)),
            Painter::Cuda(device, _) => {
                Box::new(DeviceEngine::new(device, &self.data, &self.options, state).map_err(failed)?)
            }
        };
        let memory: Vec<String> = engine.memory().iter().map(|(what, mb)| format!("{what} {mb:.0} MB")).collect();
        self.say(&format!("{} on {device}; memory: {}", plural(splats, "splat"), memory.join(", ")));
        let mut log = Log::open(self.training.log.as_deref(), self.training.tensorboard.as_deref())?;
        let mut trainer = Trainer::new(&self.data, &self.options, engine, progress, splats).map_err(failed)?;
        let stop = stop_signal();
        let result = self.steps(&mut trainer, &mut log, &stop);
        let finished = match result {
            Ok(finished) => finished,
            Err(error) => {
                self.say("the checkpoint of the last interval is kept");
                return Err(error.into());
            }
        };
        let checkpoint = trainer.checkpoint().map_err(failed)?;
        let splats = checkpoint.state.len();
        let output = self.training.output();
        self.write(&checkpoint, &output)?;
        let path = beside(&output, "checkpoint");
        if finished && !self.training.keep_checkpoint {
            let _ = fs::remove_file(&path);
        } else {
            checkpoint.write(&path).map_err(|e| Failure::of(Some(&path), &e))?;
        }
        let outcome = Outcome {
            progress: checkpoint.progress,
            splats,
            device,
            finished,
            seconds: self.start.elapsed().as_secs_f64(),
        };
        self.conclude(&outcome, &output);
        Ok(outcome)
    }

    /// Trains to the end, or until it is to stop; true when all steps are done.
    fn steps(&self, trainer: &mut Trainer<'_>, log: &mut Log, stop: &AtomicBool) -> Result<bool, Failure> {
        let failed = |e: gav_models::Error| Failure::of(None, &e);
        let total = self.options.total();
        let interval = self.training.interval.unwrap_or((total / 20).max(1));
        let views = held_out(&self.data, self.training.eval_views);
        let shown: Vec<usize> = views.iter().copied().take(4).collect();
        let output = self.training.output();
        let bar = self.bar(u64::from(total), "{bar:32} {pos}/{len}  {msg}  {eta} to go");
        bar.set_position(u64::from(trainer.progress().step));
        let mut quality = trainer.progress().evaluations.last().map_or_else(String::new, said);
        let mut next = (trainer.progress().step / interval + 1) * interval;
        while !trainer.is_finished() {
            let advance = trainer.advance(REPORT.min(interval)).map_err(failed)?;
            let (step, seconds) = (trainer.progress().step, trainer.progress().seconds);
            let report = advance.report;
            let loss = (1.0 - f64::from(self.options.lambda_dssim)) * report.l1
                + f64::from(self.options.lambda_dssim) * (1.0 - report.ssim)
                + report.hinges;
            if report.steps > 0 {
                bar.set_message(format!("loss {loss:.4}  {} splats{quality}", advance.splats));
                let line = json!({"loss": loss, "l1": report.l1, "ssim": report.ssim, "hinges": report.hinges,
                    "splats": advance.splats, "trained": advance.trained, "skipped": report.skipped, "seconds": seconds});
                log.write(step, "train", &line)?;
            }
            if report.skipped > 0 {
                bar.suspend(|| {
                    self.say(&format!(
                        "note: {} before step {step} had no finite gradient",
                        plural(report.skipped as usize, "step")
                    ))
                });
            }
            bar.set_position(u64::from(step));
            let over = self.training.time_limit.is_some_and(|limit| seconds >= limit);
            let ends = stop.load(Ordering::Relaxed) || over || trainer.is_finished();
            if step >= next || ends {
                next = (step / interval + 1) * interval;
                if !views.is_empty() {
                    let evaluation = trainer.note(&views).map_err(failed)?;
                    quality = said(&evaluation);
                    let line = json!({"psnr": evaluation.psnr, "ssim": evaluation.ssim, "seconds": evaluation.seconds,
                        "pictures": evaluation.pictures});
                    log.write(step, "held_out", &line)?;
                    if !self.training.no_preview {
                        let title = format!("{}, step {step}{quality}", self.name);
                        preview::write(trainer, &self.data, &shown, &title, &beside(&output, "preview.png"))?;
                    }
                }
                if !ends {
                    let path = beside(&output, "checkpoint");
                    let checkpoint = trainer.checkpoint().map_err(failed)?;
                    checkpoint.write(&path).map_err(|e| Failure::of(Some(&path), &e))?;
                }
            }
            if ends {
                break;
            }
        }
        bar.finish_and_clear();
        Ok(trainer.is_finished())
    }

    fn write(&self, checkpoint: &Checkpoint, output: &Path) -> Result<(), Failure> {
        let export = ExportOptions {
            name: output.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
            frames_per_second: self.training.fps,
            template_licence: self.training.template_licence.clone(),
            source: self.name.clone(),
        };
        let made = avatar(&self.data, checkpoint, &export).map_err(|e| Failure::of(None, &e))?;
        if made.template.as_ref().is_some_and(|t| t.family == TemplateFamily::Custom && !t.embedded) {
            self.say("note: the avatar names the template of the capture and does not hold it, so that others cannot pose it: --template-licence SPDX, or template.licence beside it, says that it may be passed on");
        }
        let written = |path: &Path, made: &Avatar, name: &'static str| {
            let Some(format) = format_by_name(name) else { return Ok(()) };
            save(made, path, format, &WriteOptions::default()).map(drop).map_err(|e| Failure::at(path, &e))
        };
        written(output, &made, "gav")?;
        if let Some(path) = &self.training.ply {
            written(path, &made, "ply")?;
        }
        Ok(())
    }

    fn conclude(&self, outcome: &Outcome, output: &Path) {
        let progress = &outcome.progress;
        let quality = progress.evaluations.last().map_or_else(String::new, said);
        let size = fs::metadata(output).map_or(0, |m| m.len());
        let rate = f64::from(progress.step) / progress.seconds.max(1e-9);
        self.say(&format!(
            "{}: {}, {}, {} steps in {:.1} s ({rate:.0} a second), {:.1} s in all{quality}",
            output.display(),
            plural(outcome.splats, "splat"),
            bytes(size),
            progress.step,
            progress.seconds,
            outcome.seconds
        ));
        if !outcome.finished {
            self.say(&format!("stopped at step {} of {}: --resume goes on", progress.step, self.options.total()));
        }
    }
}

/// `, 28.13 dB`.
fn said(evaluation: &Evaluation) -> String {
    format!(", {:.2} dB on {} held out", evaluation.psnr, evaluation.pictures)
}

/// At most `count` views that are not trained on, spread evenly: new views of trained times first.
pub(crate) fn held_out(data: &Dataset, count: usize) -> Vec<usize> {
    let mut all = data.of(Split::Val);
    if all.is_empty() {
        all = data.of(Split::Test);
    }
    let count = count.min(all.len());
    (0..count).map(|k| all[(2 * k + 1) * all.len() / (2 * count)]).collect()
}

/// Set by the first Ctrl-C; the second one ends the program.
fn stop_signal() -> Arc<AtomicBool> {
    static STOP: std::sync::OnceLock<Arc<AtomicBool>> = std::sync::OnceLock::new();
    let stop = STOP.get_or_init(|| {
        let flag = Arc::new(AtomicBool::new(false));
        let inner = Arc::clone(&flag);
        // without it Ctrl-C ends the program, and the last checkpoint is there
        let _ = ctrlc::set_handler(move || {
            if inner.swap(true, Ordering::Relaxed) {
                std::process::exit(130);
            }
        });
        flag
    });
    Arc::clone(stop)
}
