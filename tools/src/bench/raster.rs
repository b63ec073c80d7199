//! `gav bench raster`: the rasteriser on scenes that anyone can make again, beside the readable one and the processor's peak.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use gav_formats::synthetic::{SHELL_SEED, shell, shell_camera};
use gav_kernels::{
    peak,
    raster::{Scene, Settings, Upstream, WHITE, forward, scalar},
};
use serde_json::json;

use super::best;
use crate::{bench::EXAMPLES, text::table};

/// Floating-point operations for one splat in one pixel: 8 for the exponent, 13 for the power of two, 9 for the blend.
const FLOPS_PER_PIXEL: f64 = 30.0;

/// Frames per second of the rasteriser, forward and with gradients, on head-like scenes of 50,000 and 150,000 splats
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Raster {
    /// Threads [default: all cores]
    #[arg(long)]
    threads: Option<usize>,
    /// Seconds spent on each number
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Where to draw: cpu, cuda, or cuda:N
    #[arg(long, default_value = "cpu", value_parser = device)]
    device: Where,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// A processor or a device.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Where {
    Cpu,
    Cuda(usize),
}

fn device(text: &str) -> Result<Where, String> {
    let refused = || format!("{text:?} is not cpu, cuda or cuda:N");
    match text.split_once(':') {
        None if text == "cpu" => Ok(Where::Cpu),
        None if text == "cuda" => Ok(Where::Cuda(0)),
        Some(("cuda", number)) => number.parse().map(Where::Cuda).map_err(|_| refused()),
        _ => Err(refused()),
    }
}

/// Runs the command.
pub(super) fn run(arguments: &Raster) -> Result<ExitCode> {
    if let Where::Cuda(ordinal) = arguments.device {
        return super::cuda::run(ordinal, arguments.json);
    }
    let threads = arguments.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let (all, one) = (pool(threads)?, pool(1)?);
    let peak = peak::flops_per_core();
    let mut lines = vec![
        ["scene", "fps", "fps, 1 thread", "with gradients /s", "× readable", "Mpx·splats/s", "of peak"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for (count, degree) in [(50_000, 0), (150_000, 3)] {
        let avatar = shell(count, degree, SHELL_SEED);
        let scene = Scene::from(&avatar.splats);
        let camera = shell_camera(3, 512, 512);
        let settings = Settings::DEFAULT;
        let draw = || forward(&scene, &camera, &settings, WHITE);
        let upstream = vec![1.0f32 / (512.0 * 512.0); 512 * 512 * 3];
        let step = || draw().backward(&scene, &Upstream::rgb(&upstream));
        let frames = 1.0 / all.install(|| best(arguments.seconds, || drop(draw())));
        let single = 1.0 / one.install(|| best(arguments.seconds, || drop(draw())));
        let steps = 1.0 / all.install(|| best(arguments.seconds, || drop(step())));
        let wide = scalar::Splats64::from(&scene);
        let readable = 1.0 / best(0.0, || drop(scalar::render(&wide, &camera, &settings, [1.0; 3])));
        let reach = draw().pixels_reached() as f64;
        let share = reach * single * FLOPS_PER_PIXEL / peak;
        let name = format!("{count} splats, SH{degree}, 512²");
        if arguments.json {
            println!(
                "{}",
                json!({"scene": name, "threads": threads, "frames_per_s": frames, "frames_per_s_one_thread": single,
                    "forward_and_backward_per_s": steps, "times_the_readable_one": single / readable,
                    "pixel_splats_per_s": reach * frames, "share_of_peak_flops": share})
            );
        }
        lines.push(vec![
            name,
            format!("{frames:.1}"),
            format!("{single:.1}"),
            format!("{steps:.1}"),
            format!("{:.1}", single / readable),
            format!("{:.0}", reach * frames / 1e6),
            format!("{:.1} %", share * 100.0),
        ]);
    }
    if !arguments.json {
        println!(
            "{threads} threads; best of the runs in {} s; peak {:.0} GFLOP/s a core, measured",
            arguments.seconds,
            peak / 1e9
        );
        println!("{}", table(&lines));
    }
    Ok(ExitCode::SUCCESS)
}

/// A pool of its own for every number of threads.
pub(super) fn pool(threads: usize) -> Result<rayon::ThreadPool, rayon::ThreadPoolBuildError> {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build()
}
