//! `gav bench train`: selective training against training of all splats, at equal steps and at equal time, in one run.

use std::{path::PathBuf, process::ExitCode, time::Instant};

use anyhow::Result;
use clap::Args;
use gav_formats::cameras::CameraOptions;
use gav_kernels::{
    metrics::{ImageView, SsimVariant, masked_mse, mse, psnr, ssim_map},
    raster::{self, Color, Scene, Settings, Shape},
    rig::triangle::{MeshRef, faces},
};
use gav_models::{
    capture::{self, Capture, Split},
    stga::{CpuEngine, DataOptions, Dataset, DeviceEngine, Engine, Options, Progress, State, Trainer, init, widths},
};
use rayon::prelude::*;
use serde::Serialize;
use serde_json::json;

use crate::{
    device::{Choice, Painter},
    failure::{Failure, refuse},
    text::{plural, table},
};

/// Train on a capture in several ways and compare: selective and all splats (equal steps, equal time), GaussianAvatars
#[derive(Args)]
pub(super) struct Train {
    /// The folder of a capture with held-out cameras and time steps
    folder: PathBuf,
    /// Steps of STGA
    #[arg(long, value_name = "STEPS", default_value_t = 50_000)]
    iterations: u32,
    /// Steps of GaussianAvatars; 0 to leave it out
    #[arg(long, value_name = "STEPS", default_value_t = 50_000)]
    ga_iterations: u32,
    /// Held-out pictures of each split that evaluations compare
    #[arg(long, value_name = "N", default_value_t = 16)]
    views: usize,
    /// Let density control add and remove splats in STGA's runs
    #[arg(long)]
    densify: bool,
    /// Only how long the kernels of single steps take (a GPU)
    #[arg(long)]
    kernels: bool,
    /// Where to train
    #[arg(long, value_enum, default_value_t = Choice::Auto)]
    device: Choice,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Quality on the views of a split.
#[derive(Debug, Clone, Copy, Default, Serialize)]
struct Quality {
    psnr: f64,
    ssim: f64,
    /// On pixels that show selected faces.
    inside_psnr: f64,
    inside_ssim: f64,
}

/// One run.
#[derive(Debug, Clone, Default, Serialize)]
struct Run {
    name: String,
    steps: u32,
    /// Of training alone, evaluations left out.
    seconds: f64,
    splats: usize,
    /// Share of the splats that a step trained.
    trained: f64,
    new_views: Quality,
    new_times: Quality,
    /// Seconds of training after which the PSNR of new views stayed within 0.5 dB of the last one.
    near_final: f64,
    /// Seconds and PSNR of new views.
    curve: Vec<[f64; 2]>,
}

/// A view to be compared, with the pixels of its selected faces.
struct Judged {
    view: usize,
    inside: Vec<f32>,
}

struct Bench {
    data: Dataset,
    painter: Painter,
    val: Vec<Judged>,
    test: Vec<Judged>,
}

/// Runs the command.
pub(super) fn run(arguments: &Train) -> Result<ExitCode> {
    let failed = |e: gav_models::Error| Failure::of(None, &e);
    let painter = Painter::open(arguments.device, None)?;
    let stga = Options { densify: arguments.densify, ..Options::stga().fitted(arguments.iterations) };
    let begin = Instant::now();
    let open = |options: &Options| -> Result<Dataset, Failure> {
        let capture = Capture::open(&arguments.folder, &CameraOptions::default()).map_err(failed)?;
        let body = capture::body(&capture, None).map_err(failed)?;
        let data = Dataset::open(&capture, body, options, &DataOptions { budget: 64 << 30, ..DataOptions::default() });
        data.map_err(failed)
    };
    let data = open(&stga)?;
    if data.of(Split::Val).is_empty() || data.of(Split::Test).is_empty() {
        return Err(refuse("the capture holds no cameras or no time steps out", "gav synth head makes one that does"));
    }
    data.pictures.load_all(&|_| {}).map_err(failed)?;
    let loading = begin.elapsed().as_secs_f64();
    let val = judged(&data, Split::Val, arguments.views);
    let test = judged(&data, Split::Test, arguments.views);
    let bench = Bench { data, painter, val, test };
    eprintln!(
        "{} on {}: {}, loaded in {loading:.1} s",
        arguments.folder.display(),
        bench.painter.label(),
        plural(bench.data.views.len(), "picture")
    );

    if arguments.kernels {
        let fixed = Options { init_grid_k: 2, densify: false, ..Options::gaussian_avatars() };
        for (name, options, local) in
            [("selective", &stga, true), ("all splats", &stga, false), ("GaussianAvatars", &fixed, false)]
        {
            bench.kernels(name, options, local)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut runs = Vec::new();
    let selective = bench.train("selective", &stga, None)?;
    let seconds = selective.last().map_or(0.0, |r| r.seconds);
    runs.extend(selective);
    // what becomes of it with more blocks in which all splats train
    let often = Options { global_every: 4, ..stga.clone() };
    runs.extend(bench.train("every 4th block global", &often, None)?);
    let all = Options { global_every: 1, ..stga.clone() };
    runs.extend(bench.train("all splats", &all, Some(seconds))?);
    if arguments.ga_iterations > 0 {
        let options = Options::gaussian_avatars().fitted(arguments.ga_iterations);
        runs.extend(bench.train("GaussianAvatars", &options, Some(seconds))?);
    }
    let frozen = bench.frozen(&stga)?;
    let total = begin.elapsed().as_secs_f64();
    if arguments.json {
        println!(
            "{}",
            json!({"folder": arguments.folder, "device": bench.painter.label(), "loading_seconds": loading,
                "frozen_rows_identical": frozen.0, "frozen_rows": frozen.1, "seconds": total, "runs": runs})
        );
    } else {
        print(&runs, frozen);
        println!(
            "loading {loading:.1} s, everything {total:.1} s. LPIPS needs weights: score the avatars with `gav score`."
        );
    }
    Ok(ExitCode::SUCCESS)
}

impl Bench {
    fn state(&self, options: &Options) -> State {
        let motion = &self.data.motion;
        let (splats, triangles) = init::on_mesh(&motion.vertices[motion.neutral], &motion.faces, options);
        self.data.state(&splats, triangles, options)
    }

    fn engine(&self, options: &Options, state: State) -> Result<Box<dyn Engine + '_>, Failure> {
        Ok(match &self.painter {
            Painter::Cpu => Box::new(CpuEngine::new(&self.data, options, state)),
            Painter::Cuda(device, _) => {
                Box::new(DeviceEngine::new(device, &self.data, options, state).map_err(|e| Failure::of(None, &e))?)
            }
        })
    }

    /// Trains; also says how good it was after `at` seconds, when it took longer than that.
    fn train(&self, name: &str, options: &Options, at: Option<f64>) -> Result<Vec<Run>, Failure> {
        let failed = |e: gav_models::Error| Failure::of(None, &e);
        let state = self.state(options);
        let count = state.len();
        let engine = self.engine(options, state)?;
        let mut trainer = Trainer::new(&self.data, options, engine, Progress::default(), count).map_err(failed)?;
        let (total, mut at) = (options.total(), at);
        let (mut curve, mut runs): (Vec<[f64; 2]>, Vec<Run>) = (Vec::new(), Vec::new());
        let (mut trained, mut splats) = (0.0, 0.0);
        let mut next = total / 25;
        loop {
            let before = trainer.progress().step;
            let advance = trainer.advance((total / 200).max(20)).map_err(failed)?;
            let (step, seconds) = (trainer.progress().step, trainer.progress().seconds);
            let steps = f64::from(step - before);
            trained += advance.trained * steps;
            splats += advance.splats as f64 * steps;
            let ends = trainer.is_finished();
            let reached = at.is_some_and(|limit| seconds >= limit && !ends);
            if step >= next || ends || reached {
                next = step + total / 25;
                let quality = self.quality(&mut trainer, &self.val)?;
                curve.push([seconds, quality.psnr]);
                eprintln!("{name}: step {step} of {total}, {seconds:.1} s, {:.2} dB", quality.psnr);
                if ends || reached {
                    at = at.filter(|_| !reached);
                    let name = if reached { format!("{name}, same time") } else { name.to_owned() };
                    runs.push(Run {
                        name,
                        steps: step,
                        seconds,
                        splats: advance.splats,
                        trained: trained / splats.max(1.0),
                        new_views: quality,
                        new_times: self.quality(&mut trainer, &self.test)?,
                        near_final: near_final(&curve),
                        curve: curve.clone(),
                    });
                }
            }
            if ends {
                return Ok(runs);
            }
        }
    }

    fn quality(&self, trainer: &mut Trainer<'_>, views: &[Judged]) -> Result<Quality, Failure> {
        let failed = |e: gav_models::Error| Failure::of(None, &e);
        let mut drawn = Vec::new();
        for judged in views {
            drawn.push(trainer.draw(judged.view).map_err(failed)?);
        }
        let each: Vec<Result<[f64; 4], gav_models::Error>> = views
            .par_iter()
            .zip(&drawn)
            .map(|(judged, image)| {
                let picture = self.data.pictures.get(judged.view)?;
                let target: Vec<f32> = picture.rgb.iter().map(|v| f32::from(*v) / 255.0).collect();
                let shown: Vec<f32> = image.rgb.iter().map(|v| v.clamp(0.0, 1.0)).collect();
                let view = |data| ImageView::new(picture.width, picture.height, 3, data);
                let (a, b) = (view(&shown)?, view(&target)?);
                let map = ssim_map(a, b, SsimVariant::ZeroPad)?;
                let inside = if judged.inside.iter().any(|v| *v > 0.0) {
                    [psnr(masked_mse(a, b, &judged.inside)?), map.masked_mean(a, &judged.inside)?]
                } else {
                    [f64::NAN; 2]
                };
                Ok([psnr(mse(a, b)?), map.mean(), inside[0], inside[1]])
            })
            .collect();
        let (mut sums, mut counts) = ([0.0; 4], [0.0; 4]);
        for values in each {
            for (k, value) in values.map_err(failed)?.into_iter().enumerate().filter(|(_, v)| v.is_finite()) {
                sums[k] += value;
                counts[k] += 1.0;
            }
        }
        let [psnr, ssim, inside_psnr, inside_ssim] = std::array::from_fn(|k| sums[k] / f64::max(counts[k], 1.0));
        Ok(Quality { psnr, ssim, inside_psnr, inside_ssim })
    }

    /// Prints what the kernels of a step take, and a step.
    fn kernels(&self, name: &str, options: &Options, local: bool) -> Result<(), Failure> {
        const STEPS: u32 = 300;
        let failed = |e: gav_models::Error| Failure::of(None, &e);
        let Painter::Cuda(device, _) = &self.painter else {
            return Err(Failure { code: "DEVICE", message: "kernels run on a GPU".into(), hint: None });
        };
        let motion = &self.data.motion;
        let train = self.data.of(Split::Train);
        // the time step with most selected faces of those that have views
        let time =
            train.iter().map(|k| self.data.views[*k].time).max_by_key(|t| motion.selected[*t].len()).unwrap_or(0);
        let views: Vec<usize> = train.into_iter().filter(|k| self.data.views[*k].time == time).collect();
        let mut flags = vec![false; motion.faces.len()];
        motion.selected[time].iter().for_each(|f| flags[*f as usize] = true);
        let mut engine = self.engine(options, self.state(options))?;
        let rates = gav_models::stga::Rates { splats: [1e-5; 6], tables: [1e-7; 3] };
        let trained = engine.block(time, local.then_some(&flags[..])).map_err(failed)?;
        let steps = |engine: &mut dyn Engine| -> Result<(), gav_models::Error> {
            (0..STEPS as usize).try_for_each(|k| engine.step(views[k % views.len()], &rates, 3))
        };
        steps(&mut *engine).map_err(failed)?;
        engine.report().map_err(failed)?;
        let begin = Instant::now();
        steps(&mut *engine).map_err(failed)?;
        engine.report().map_err(failed)?;
        let micros = |seconds: f64| 1e6 * seconds / f64::from(STEPS);
        println!("{name}: {trained} splats train, {:.0} us a step", micros(begin.elapsed().as_secs_f64()));
        let inner = |e: gav_models::Error| gav_kernels::cuda::CudaError::Usage(e.to_string());
        let list = device.profile(|| steps(&mut *engine).map_err(inner)).map_err(|e| failed(e.into()))?;
        let mut sums: Vec<(&str, f64)> = Vec::new();
        for (kernel, milliseconds) in list {
            match sums.iter_mut().find(|(name, _)| *name == kernel) {
                Some((_, sum)) => *sum += milliseconds,
                None => sums.push((kernel, milliseconds)),
            }
        }
        for (kernel, milliseconds) in sums {
            println!("    {kernel}: {:.1} us", micros(1e-3 * milliseconds));
        }
        Ok(())
    }

    /// Are rows that a local block does not train the same bits after it? With their number.
    fn frozen(&self, options: &Options) -> Result<(bool, usize), Failure> {
        let failed = |e: gav_models::Error| Failure::of(None, &e);
        let motion = &self.data.motion;
        let train = self.data.of(Split::Train);
        let Some(time) = train.iter().map(|k| self.data.views[*k].time).find(|t| !motion.selected[*t].is_empty())
        else {
            return Ok((true, 0));
        };
        let mut engine = self.engine(options, self.state(options))?;
        let planned = gav_models::stga::Rates { splats: [1e-4; 6], tables: [0.0; 3] };
        let of = |time: usize| train.iter().copied().filter(move |k| self.data.views[*k].time == time);
        // a global block first, so that Adam remembers something of every splat
        engine.block(motion.neutral, None).map_err(failed)?;
        for view in of(motion.neutral) {
            engine.step(view, &planned, 1).map_err(failed)?;
        }
        let before = engine.state().map_err(failed)?;
        let mut flags = vec![false; motion.faces.len()];
        motion.selected[time].iter().for_each(|f| flags[*f as usize] = true);
        engine.block(time, Some(&flags)).map_err(failed)?;
        for view in of(time) {
            engine.step(view, &planned, 1).map_err(failed)?;
        }
        let after = engine.state().map_err(failed)?;
        let frozen: Vec<usize> = (0..before.len()).filter(|i| !flags[before.triangles[*i] as usize]).collect();
        let same = before.splats.iter().zip(&after.splats).zip(widths(before.sh_degree)).all(|((a, b), width)| {
            let bits = |values: &[f32], row: usize| -> Vec<u32> {
                values[row * width..][..width].iter().map(|v| v.to_bits()).collect()
            };
            let kept = |a: &[f32], b: &[f32]| frozen.iter().all(|row| bits(a, *row) == bits(b, *row));
            kept(&a.values, &b.values) && kept(&a.means, &b.means) && kept(&a.squares, &b.squares)
        });
        Ok((same, frozen.len()))
    }
}

/// First time from which on the curve stays within 0.5 dB of its end.
fn near_final(curve: &[[f64; 2]]) -> f64 {
    let last = curve.last().map_or(0.0, |c| c[1]);
    let first = curve.iter().rposition(|c| c[1] < last - 0.5).map_or(0, |k| k + 1);
    curve.get(first).map_or(0.0, |c| c[0])
}

/// Views of a split, spread evenly, with the pixels that show selected faces.
fn judged(data: &Dataset, split: Split, count: usize) -> Vec<Judged> {
    let all = data.of(split);
    let count = count.min(all.len());
    let views = (0..count).map(|k| all[(2 * k + 1) * all.len() / (2 * count)]);
    views.map(|view| Judged { view, inside: inside(data, view) }).collect()
}

/// 1 where a picture shows selected faces: every face is drawn as an opaque disc of its size, white when it is selected.
fn inside(data: &Dataset, view: usize) -> Vec<f32> {
    let view = &data.views[view];
    let motion = &data.motion;
    let mesh = MeshRef { vertices: &motion.vertices[view.time], faces: &motion.faces, corner_uvs: &[] };
    let frames = faces(gav_formats::TriangleFrame::GaussianAvatars, &mesh);
    let means: Vec<[f32; 3]> =
        frames.iter().map(|f| std::array::from_fn(|k| f.corners.iter().map(|c| c[k]).sum::<f32>() / 3.0)).collect();
    let rotations: Vec<[f32; 4]> = frames.iter().map(|f| f.quaternion).collect();
    let log_scales: Vec<[f32; 3]> = frames
        .iter()
        .map(|f| {
            let size = (0.6 * f.scale.max(1e-6)).ln();
            // the second axis of this frame is the normal
            [size, size - 3.0, size]
        })
        .collect();
    let mut colors = vec![[0.0f32; 3]; means.len()];
    motion.selected[view.time].iter().for_each(|face| colors[*face as usize] = [1.0; 3]);
    let scene = Scene {
        means: &means,
        shape: Shape::RotationScale(&rotations, &log_scales),
        opacity_logits: &vec![6.0; means.len()],
        color: Color::Rgb(&colors),
    };
    let image = raster::render(scene, &view.camera, &Settings::DEFAULT, [0.0; 3]);
    image.rgb.chunks_exact(3).map(|p| f32::from(u8::from(p[0] > 0.5))).collect()
}

fn print(runs: &[Run], frozen: (bool, usize)) {
    let mut rows = vec![
        [
            "run",
            "steps",
            "s",
            "ms/step",
            "splats",
            "trained",
            "new views",
            "SSIM",
            "inside",
            "new times",
            "inside",
            "near final",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for run in runs {
        rows.push(vec![
            run.name.clone(),
            run.steps.to_string(),
            format!("{:.1}", run.seconds),
            format!("{:.3}", 1e3 * run.seconds / f64::from(run.steps.max(1))),
            run.splats.to_string(),
            format!("{:.0} %", 100.0 * run.trained),
            format!("{:.2} dB", run.new_views.psnr),
            format!("{:.4}", run.new_views.ssim),
            format!("{:.2} dB", run.new_views.inside_psnr),
            format!("{:.2} dB", run.new_times.psnr),
            format!("{:.2} dB", run.new_times.inside_psnr),
            format!("{:.1} s", run.near_final),
        ]);
    }
    print!("{}", table(&rows));
    let (same, count) = frozen;
    println!(
        "{} of a local block are {}",
        plural(count, "frozen row"),
        if same { "the same bits after it" } else { "CHANGED" }
    );
}
