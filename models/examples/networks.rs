//! Speed of the metric networks and distances on this machine's CPU, with weights of a formula: pictures per second and GFLOP/s.
//!
//! `cargo run --release -p gav-models --example networks`

use std::{error::Error, time::Instant};

use burn_flex::{Flex, FlexDevice};
use gav_formats::weights::{self, Limits};
use gav_models::metrics::{
    fid::{Accumulator, Divisor, Provenance, frechet},
    inception::{self, FLOPS},
    kid::{KidOptions, kid},
    lpips,
    networks::{Inception, Lpips, Picture, Preprocessing, Trunk},
};
use safetensors::{Dtype, tensor::TensorView};

/// Tensors by name and shape as a weight file; values alternate around 0.01 so that nothing overflows or dies.
fn file(shapes: &[(String, Vec<usize>)]) -> Result<Vec<u8>, Box<dyn Error>> {
    let value = |i: usize| ((i * 2_654_435_761) % 1000) as f32 / 50_000.0 - 0.01 + 1e-4;
    let data: Vec<Vec<u8>> = shapes
        .iter()
        .map(|(name, shape)| {
            let fixed = name.ends_with("var").then_some(1.0);
            (0..shape.iter().product()).flat_map(|i| fixed.unwrap_or_else(|| value(i)).to_le_bytes()).collect()
        })
        .collect();
    let views = shapes.iter().zip(&data).map(|((name, shape), data)| {
        TensorView::new(Dtype::F32, shape.clone(), data).map(|view| (name.as_str(), view))
    });
    Ok(safetensors::serialize(views.collect::<Result<Vec<_>, _>>()?, None)?)
}

/// Best of `runs`, after one to warm up.
fn best(runs: usize, mut work: impl FnMut()) -> f64 {
    work();
    let time = |work: &mut dyn FnMut()| {
        let started = Instant::now();
        work();
        started.elapsed().as_secs_f64()
    };
    (0..runs).map(|_| time(&mut work)).fold(f64::INFINITY, f64::min)
}

/// Floating point operations of a trunk on one picture, convolutions only.
fn trunk_flops(layers: &[(usize, usize, usize, usize)]) -> f64 {
    layers
        .iter()
        .map(|(inputs, outputs, kernel, side)| 2.0 * (inputs * outputs * kernel * kernel * side * side) as f64)
        .sum()
}

fn main() -> Result<(), Box<dyn Error>> {
    let side = 256;
    // inputs, outputs, kernel, side of the output at 256 pixels; the number in torchvision
    let alex = [(3, 64, 11, 63), (64, 192, 5, 31), (192, 384, 3, 15), (384, 256, 3, 15), (256, 256, 3, 15)];
    let alex_numbers = [0, 3, 6, 8, 10];
    let vgg = [
        (3, 64, 3, 256),
        (64, 64, 3, 256),
        (64, 128, 3, 128),
        (128, 128, 3, 128),
        (128, 256, 3, 64),
        (256, 256, 3, 64),
        (256, 256, 3, 64),
        (256, 512, 3, 32),
        (512, 512, 3, 32),
        (512, 512, 3, 32),
        (512, 512, 3, 16),
        (512, 512, 3, 16),
        (512, 512, 3, 16),
    ];
    let vgg_numbers = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28];
    let rgb: Vec<f32> = (0..side * side * 3).map(|i| (i % 251) as f32 / 250.0).collect();
    let bytes: Vec<u8> = (0..side * side * 3).map(|i| (i % 251) as u8).collect();
    println!("{} threads, pictures of {side}×{side}", std::thread::available_parallelism()?);

    for (trunk, name, layers, numbers) in
        [(Trunk::Alex, "LPIPS-Alex", &alex[..], &alex_numbers[..]), (Trunk::Vgg, "LPIPS-VGG", &vgg, &vgg_numbers)]
    {
        let mut shapes = Vec::new();
        for ((inputs, outputs, kernel, _), number) in layers.iter().zip(numbers) {
            shapes.push((format!("features.{number}.weight"), vec![*outputs, *inputs, *kernel, *kernel]));
            shapes.push((format!("features.{number}.bias"), vec![*outputs]));
        }
        for (index, channels) in trunk.channels().into_iter().enumerate() {
            shapes.push((format!("lin{index}.model.1.weight"), vec![1, channels, 1, 1]));
        }
        let file = file(&shapes)?;
        let tensors = weights::read(&file, &Limits::default())?;
        let metric = Lpips::from(lpips::Lpips::<Flex>::new(trunk, &tensors, &tensors, &FlexDevice)?);
        let picture = Picture::new(side, side, &rgb)?;
        let pairs = 8;
        let seconds = best(2, || {
            metric.distances(&vec![(picture, picture); pairs]).expect("pictures of equal size");
        });
        let flops = 2.0 * pairs as f64 * trunk_flops(layers);
        println!("{name}: {:.2} pairs/s, {:.1} GFLOP/s", pairs as f64 / seconds, flops / seconds / 1e9);
        let seconds = best(1, || {
            metric.gradient(picture, picture).expect("pictures of equal size");
        });
        println!("{name} with gradient: {:.2} pairs/s", 1.0 / seconds);
    }

    let mut shapes = Vec::new();
    for (name, shape) in inception::unit_shapes() {
        shapes.push((format!("{name}.conv.weight"), shape.to_vec()));
        for part in ["weight", "bias", "running_mean", "running_var"] {
            shapes.push((format!("{name}.bn.{part}"), vec![shape[0]]));
        }
    }
    let file = file(&shapes)?;
    let network = inception::Inception::<Flex>::new(&weights::read(&file, &Limits::default())?, &FlexDevice)?;
    let network = Inception::from(network);
    let pictures = 8;
    let batch = vec![Picture::new(side, side, &bytes)?; pictures];
    let seconds = best(2, || {
        network.features(&batch, Preprocessing::Stylegan);
    });
    let flops = pictures as f64 * FLOPS;
    println!("Inception: {:.2} pictures/s, {:.1} GFLOP/s", pictures as f64 / seconds, flops / seconds / 1e9);

    let rows: Vec<f32> = (0..4096 * 2048).map(|i: usize| ((i * 2_654_435_761) % 1009) as f32 / 1009.0).collect();
    let started = Instant::now();
    let mut all = Accumulator::new(2048);
    all.push(&rows)?;
    let seconds = started.elapsed().as_secs_f64();
    println!("Statistics of 2048 features: {:.0} rows/s", 4096.0 / seconds);
    let statistics = all.finish(Divisor::Count, Provenance::default())?;
    let started = Instant::now();
    frechet(&statistics, &statistics)?;
    println!("Fréchet distance of 2048 features: {:.2} s", started.elapsed().as_secs_f64());
    let started = Instant::now();
    kid(&rows[..2000 * 2048], &rows[2000 * 2048..], 2048, &KidOptions { subsets: 10, ..KidOptions::default() })?;
    println!("KID of 2048 features: {:.2} s for 10 subsets of 1000", started.elapsed().as_secs_f64());
    Ok(())
}
