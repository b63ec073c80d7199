//! Timing of the device's operations on the documented benchmark scene (`gav_formats::synthetic::shell`), beside the best
//! figures that other software reached on one H200.
//!
//! A time is the median of CUDA-event intervals around one whole sequence, replayed as a captured graph.

use std::sync::Arc;

use gav_formats::{
    Camera, Splats as HostSplats,
    synthetic::{SHELL_SEED, shell, shell_camera, uniform},
};
use serde::Serialize;

use super::{
    Buffer, CudaError, Device,
    adam::{Adam, Tensor},
    loss::{Loss, LossWeights},
    raster::{Batch, Options, Planes, SplatGradients, Splats, View},
    rig::bench::FlameAndSplats,
};
use crate::raster::{Scene, Settings};

/// Seed of the gradient that comes from above.
const UPSTREAM_SEED: u64 = 20_240_608;

/// One line of the table.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// What was timed.
    pub case: String,
    /// Whose figure it is compared with.
    pub rival: &'static str,
    /// That figure in milliseconds, on an H200.
    pub rival_ms: Option<f64>,
    /// The median here, per picture where the case says so.
    pub ms: f64,
    /// The quickest and the slowest tenth.
    pub spread_ms: [f64; 2],
    /// What it must reach at least, and what it should reach; infinite where nothing is asked.
    pub targets_ms: [f64; 2],
    /// Milliseconds by kernel, measured apart.
    pub kernels: Vec<(&'static str, f64)>,
}

/// What is drawn in a case.
#[derive(Debug, Clone, Copy)]
struct Case {
    name: &'static str,
    rival: &'static str,
    rival_ms: Option<f64>,
    targets_ms: [f64; 2],
    splats: usize,
    degree: u8,
    side: u32,
    pictures: usize,
    /// Each picture of an avatar of its own.
    avatars: bool,
    backward: bool,
}

const CASE: Case = Case {
    name: "",
    rival: "Faster-GS",
    rival_ms: None,
    targets_ms: [0.0; 2],
    splats: 150_000,
    degree: 3,
    side: 512,
    pictures: 1,
    avatars: false,
    backward: true,
};

const CASES: [Case; 7] = [
    Case {
        name: "50 k, 512², 1 view, fwd + bwd",
        rival_ms: Some(0.381),
        targets_ms: [0.38, 0.20],
        splats: 50_000,
        ..CASE
    },
    Case { name: "150 k, 512², 1 view, fwd + bwd", rival_ms: Some(0.656), targets_ms: [0.62, 0.35], ..CASE },
    Case {
        name: "500 k, 1024², 1 view, fwd + bwd",
        rival_ms: Some(1.723),
        targets_ms: [1.65, 1.1],
        splats: 500_000,
        side: 1024,
        ..CASE
    },
    Case {
        name: "150 k, 512², 1 view, forward",
        rival_ms: Some(0.254),
        targets_ms: [0.24, 0.13],
        backward: false,
        ..CASE
    },
    Case {
        name: "50 k, 512², 32 views, fwd + bwd, per view",
        rival: "gsplat",
        rival_ms: Some(0.275),
        targets_ms: [0.16, 0.09],
        splats: 50_000,
        pictures: 32,
        ..CASE
    },
    Case {
        name: "150 k, 512², 32 views, fwd + bwd, per view",
        rival: "gsplat",
        rival_ms: Some(0.523),
        targets_ms: [0.36, 0.22],
        pictures: 32,
        ..CASE
    },
    Case {
        name: "32 avatars of 50 k, SH0, 512², fwd + bwd, per image",
        rival: "gsplat",
        rival_ms: Some(0.26),
        targets_ms: [0.16, 0.09],
        splats: 50_000,
        degree: 0,
        pictures: 32,
        avatars: true,
        ..CASE
    },
];

/// Median, and the quickest and slowest tenth.
fn summary(mut times: Vec<f64>) -> (f64, [f64; 2]) {
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize];
    (at(0.5), [at(0.1), at(0.9)])
}

/// Median and spread of `repeats` replays of what `work` enqueues.
fn time(
    device: &Arc<Device>,
    repeats: usize,
    work: impl FnOnce() -> Result<(), CudaError>,
) -> Result<(f64, [f64; 2]), CudaError> {
    let graph = device.capture(work)?;
    let timer = device.timer()?;
    for _ in 0..3 {
        graph.launch()?;
    }
    device.synchronize()?;
    let mut times = Vec::with_capacity(repeats);
    for _ in 0..repeats {
        timer.start()?;
        graph.launch()?;
        times.push(timer.stop()?);
    }
    Ok(summary(times))
}

/// The rows of the table whose names contain `filter`.
///
/// # Errors
/// When memory runs out or the driver fails.
pub fn table(device: &Arc<Device>, repeats: usize, filter: &str) -> Result<Vec<Row>, CudaError> {
    let mut rows = Vec::new();
    for case in CASES.iter().filter(|case| case.name.contains(filter)) {
        rows.push(row(device, case, repeats)?);
    }
    for (name, run) in [
        (STEP, step as fn(&Arc<Device>, usize) -> Result<Row, CudaError>),
        (LOSS, loss),
        (ADAM, adam),
        (POSE, posing),
        (KNN, neighbours),
        (SORT, sort),
    ] {
        if name.contains(filter) {
            rows.push(run(device, repeats)?);
        }
    }
    Ok(rows)
}

const STEP: &str = "whole step: render, 0.8 L1 + 0.2 (1−SSIM), backward, Adam, 150 k, 512²";
const LOSS: &str = "L1 + SSIM fwd + bwd, 512² × 3, 8 images";
const POSE: &str = "FLAME + binding of 60 k splats, fwd, 32 poses, per pose";
const SORT: &str = "4 M pairs of 32-bit numbers sorted";
const KNN: &str = "3 nearest neighbours of 150 k points among themselves";
const ADAM: &str = "Adam, 29.5 M elements";

/// Numbers between 0 and 1.
fn noise(count: usize, seed: u64) -> Vec<f32> {
    (0..count as u64).map(|i| uniform(i, seed) as f32).collect()
}

fn finish(
    device: &Arc<Device>,
    repeats: usize,
    case: &str,
    (rival, rival_ms): (&'static str, Option<f64>),
    targets_ms: [f64; 2],
    mut work: impl FnMut() -> Result<(), CudaError>,
) -> Result<Row, CudaError> {
    work()?;
    let kernels = profile(device, &mut work)?;
    let (ms, spread_ms) = time(device, repeats, work)?;
    Ok(Row { case: case.to_owned(), rival, rival_ms, ms, spread_ms, targets_ms, kernels })
}

/// Medians of five runs by kernel.
fn profile(
    device: &Arc<Device>,
    mut work: impl FnMut() -> Result<(), CudaError>,
) -> Result<Vec<(&'static str, f64)>, CudaError> {
    let mut kernels: Vec<(&'static str, Vec<f64>)> = Vec::new();
    for _ in 0..5 {
        for (i, (name, ms)) in device.profile(&mut work)?.into_iter().enumerate() {
            if i == kernels.len() {
                kernels.push((name, Vec::new()));
            }
            kernels[i].1.push(ms);
        }
    }
    Ok(kernels.into_iter().map(|(name, times)| (name, summary(times).0)).collect())
}

fn step(device: &Arc<Device>, repeats: usize) -> Result<Row, CudaError> {
    let host = shell(CASE.splats, CASE.degree, SHELL_SEED).splats;
    let mut splats = Splats::upload(device, &[Scene::from(&host)])?;
    let camera = shell_camera(0, CASE.side, CASE.side);
    let views = [View { scene: 0, camera: &camera, background: [0.0; 3] }];
    let mut batch = Batch::new(device, &splats, &views, &Settings::FASTER_GS, Options::default())?;
    batch.draw(&splats)?;
    let side = CASE.side as usize;
    let photo = Buffer::from_slice(device, &noise(side * side * 3, 1))?;
    let mut loss = Loss::new(device, 1, [side, side, 3])?;
    let mut gradients = SplatGradients::new(device, splats.kind, batch.gradient_rows())?;
    let lengths =
        [&splats.means, &splats.shape, &splats.scales, &splats.logits, &splats.color, &splats.rest].map(Buffer::len);
    let mut adam = Adam::new(device, crate::adam::Adam::default(), &lengths)?;
    // small enough for the scene to stay what it is over all repeats
    let rate = 1e-9;
    let targets = [0.75, 0.42];
    finish(device, repeats, STEP, ("Faster-GS", Some(0.796)), targets, || {
        batch.forward(&splats)?;
        loss.backward(&batch.rgb, &photo, LossWeights::default())?;
        batch.backward(&splats, Planes { rgb: Some(&loss.gradient), ..Planes::default() }, &mut gradients)?;
        let tensor = |(values, gradient)| Tensor { values, gradient, rate, mask: None };
        adam.step(
            &mut [
                (&mut splats.means, &gradients.means),
                (&mut splats.shape, &gradients.shape),
                (&mut splats.scales, &gradients.scales),
                (&mut splats.logits, &gradients.logits),
                (&mut splats.color, &gradients.color),
                (&mut splats.rest, &gradients.rest),
            ]
            .map(tensor),
        )
    })
}

fn loss(device: &Arc<Device>, repeats: usize) -> Result<Row, CudaError> {
    let count = 8 * 512 * 512 * 3;
    let [a, b] = [2, 3].map(|seed| Buffer::from_slice(device, &noise(count, seed)));
    let (a, b) = (a?, b?);
    let mut loss = Loss::new(device, 8, [512, 512, 3])?;
    finish(device, repeats, LOSS, ("fused-ssim", Some(0.356)), [0.30, 0.12], || {
        loss.backward(&a, &b, LossWeights::default())
    })
}

fn adam(device: &Arc<Device>, repeats: usize) -> Result<Row, CudaError> {
    let lengths = [1_500_000, 2_000_000, 1_500_000, 500_000, 1_500_000, 22_500_000];
    let mut values: Vec<Buffer<f32>> =
        lengths.iter().map(|n| Buffer::from_slice(device, &noise(*n, 4))).collect::<Result<_, _>>()?;
    let gradients: Vec<Buffer<f32>> =
        lengths.iter().map(|n| Buffer::from_slice(device, &noise(*n, 5))).collect::<Result<_, _>>()?;
    let mut adam = Adam::new(device, crate::adam::Adam::default(), &lengths)?;
    finish(device, repeats, ADAM, ("Faster-GS", Some(0.221)), [0.22, 0.205], || {
        let tensors = values.iter_mut().zip(&gradients);
        let tensor = |(values, gradient)| Tensor { values, gradient, rate: 1e-3, mask: None };
        adam.step(&mut tensors.map(tensor).collect::<Vec<_>>())
    })
}

fn row(device: &Arc<Device>, case: &Case, repeats: usize) -> Result<Row, CudaError> {
    let avatars = if case.avatars { case.pictures } else { 1 };
    let hosts: Vec<HostSplats> =
        (0..avatars).map(|i| shell(case.splats, case.degree, SHELL_SEED + i as u64).splats).collect();
    let scenes: Vec<Scene<'_>> = hosts.iter().map(Scene::from).collect();
    let splats = Splats::upload(device, &scenes)?;
    let cameras: Vec<Camera> = (0..case.pictures).map(|i| shell_camera(i, case.side, case.side)).collect();
    let view = |(i, camera)| View { scene: if case.avatars { i } else { 0 }, camera, background: [0.0; 3] };
    let views: Vec<View<'_>> = cameras.iter().enumerate().map(view).collect();
    let settings = Settings::FASTER_GS;
    let mut batch = Batch::new(device, &splats, &views, &settings, Options::default())?;
    batch.draw(&splats)?;
    let pixels = case.side as usize * case.side as usize * case.pictures;
    let upstream: Vec<f32> = (0..pixels as u64 * 3).map(|i| (2.0 * uniform(i, UPSTREAM_SEED) - 1.0) as f32).collect();
    let upstream = Buffer::from_slice(device, &upstream)?;
    let planes = Planes { rgb: Some(&upstream), ..Planes::default() };
    let mut gradients = SplatGradients::new(device, splats.kind, batch.gradient_rows())?;
    let mut step = || {
        batch.forward(&splats)?;
        if case.backward { batch.backward(&splats, planes, &mut gradients) } else { Ok(()) }
    };
    step()?;
    let kernels = profile(device, &mut step)?;
    let (ms, spread) = time(device, repeats, step)?;
    let per = if case.name.contains("per ") { case.pictures as f64 } else { 1.0 };
    Ok(Row {
        case: case.name.to_owned(),
        rival: case.rival,
        rival_ms: case.rival_ms,
        ms: ms / per,
        spread_ms: spread.map(|s| s / per),
        targets_ms: case.targets_ms,
        kernels: kernels.into_iter().map(|(name, ms)| (name, ms / per)).collect(),
    })
}

fn posing(device: &Arc<Device>, repeats: usize) -> Result<Row, CudaError> {
    let poses = 32;
    let scene = FlameAndSplats::new(device, 60_000, poses)?;
    scene.forward()?;
    device.synchronize()?;
    let (ms, spread_ms) = time(device, repeats, || scene.forward())?;
    let kernels = device.profile(|| scene.forward())?;
    let each = |ms: f64| ms / poses as f64;
    Ok(Row {
        case: POSE.to_owned(),
        rival: "–",
        rival_ms: None,
        ms: each(ms),
        spread_ms: spread_ms.map(each),
        targets_ms: [0.020, 0.008],
        kernels,
    })
}

fn neighbours(device: &Arc<Device>, repeats: usize) -> Result<Row, CudaError> {
    let host = shell(150_000, 0, SHELL_SEED).splats;
    let points = Buffer::from_slice(device, host.means.as_flattened())?;
    let mut search = super::knn::Search::new(device, points.len() / 3, 3)?;
    finish(device, repeats, KNN, ("none", None), [f64::INFINITY; 2], || search.run(&points, &points, true))
}

fn sort(device: &Arc<Device>, repeats: usize) -> Result<Row, CudaError> {
    let count = 4_000_000;
    let keys: Vec<u32> = (0..count as u64).map(|i| (uniform(i, 6) * 4_294_967_296.0) as u32).collect();
    let unsorted = Buffer::from_slice(device, &keys)?;
    let (mut keys, mut values) = (Buffer::from_slice(device, &keys)?, Buffer::from_slice(device, &keys)?);
    let mut sort = super::radix::Sort::new(device, count)?;
    // PyTorch's sort of pairs reached 13.9 G keys/s at this size
    finish(device, repeats, SORT, ("cub, through PyTorch", Some(0.288)), [f64::INFINITY; 2], || {
        keys.copy_from(&unsorted)?;
        sort.run(&mut keys, &mut values, 32)
    })
}
