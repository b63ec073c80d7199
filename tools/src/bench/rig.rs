//! `gav bench rig`: poses a second of avatars of the usual sizes, beside the time that merely reading their bases takes.

use std::{hint::black_box, process::ExitCode};

use anyhow::Result;
use clap::Args;
use gav_formats::{
    Activation, Avatar, BlendWeights, Blendshapes, Frame, Joint, Mlp, MlpLayer, Pose, Rig, RigBase, Skeleton, Skin,
    TemplateFamily, TriangleBinding, TriangleFrame, ply,
    synthetic::{random, uniform},
};
use gav_models::{
    body::{Body, Parts},
    puppet::Puppet,
};
use rayon::prelude::*;
use serde_json::json;

use super::{best, raster::pool};
use crate::{bench::EXAMPLES, text::table};

const SPLATS: usize = 60_000;
const BASES: usize = 20;
/// Rows and columns of the grid that stands for a head: 5,112 vertices, 9,940 triangles.
const GRID: [usize; 2] = [71, 72];

/// Poses per second of rigs with 60,000 splats
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct RigBench {
    /// Threads [default: all cores]
    #[arg(long)]
    threads: Option<usize>,
    /// Seconds spent on each number
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(arguments: &RigBench) -> Result<ExitCode> {
    let threads = arguments.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let (all, one) = (pool(threads)?, pool(1)?);
    let head = ["rig", "poses/s", "poses/s, 1 thread", "body alone /s", "reading the bases /s"];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    let cases: [(&str, Avatar, Option<Body<f32>>); 3] = [
        ("RGBAvatar: FLAME-sized body, 20 bases, network", with_bases(), Some(body())),
        ("GaussianAvatars: FLAME-sized body", bound(TriangleFrame::GaussianAvatars), Some(body())),
        ("LBS: 55 joints, 4 influences", skinned(), None),
    ];
    for (name, avatar, body) in cases {
        let puppet = Puppet::new(&avatar, body)?;
        let mut splats = puppet.rest().clone();
        let mut frame = 0u32;
        let mut step = || {
            frame += 1;
            puppet.pose_into(&pose(&puppet, frame), &mut splats)
        };
        step()?;
        let poses = 1.0 / all.install(|| best(arguments.seconds, || drop(step())));
        let single = 1.0 / one.install(|| best(arguments.seconds, || drop(step())));
        let body_alone = puppet.body().map(|body| {
            let parameters = body.parameters(&[], &pose(&puppet, 1)).unwrap_or_default();
            1.0 / all.install(|| best(arguments.seconds / 3.0, || drop(body.pose(&parameters))))
        });
        let reading = avatar.rig.blendshapes.as_ref().map(|shapes| {
            1.0 / all.install(|| {
                best(arguments.seconds / 3.0, || {
                    black_box(read_once(shapes));
                })
            })
        });
        if arguments.json {
            println!(
                "{}",
                json!({"rig": name, "splats": SPLATS, "threads": threads, "poses_per_s": poses,
                    "poses_per_s_one_thread": single, "body_alone_per_s": body_alone, "reading_the_bases_per_s": reading})
            );
        }
        let number = |v: Option<f64>| v.map_or("–".to_owned(), |v| format!("{v:.0}"));
        lines.push(vec![
            name.to_owned(),
            format!("{poses:.1}"),
            format!("{single:.1}"),
            number(body_alone),
            number(reading),
        ]);
    }
    if !arguments.json {
        println!("{SPLATS} splats, {threads} threads; best of the runs in {} s", arguments.seconds);
        println!("{}", table(&lines));
    }
    Ok(ExitCode::SUCCESS)
}

/// A pose that changes everything that can be driven.
fn pose(puppet: &Puppet<'_>, frame: u32) -> Pose {
    let wave = |k: usize| (0.1 * f64::from(frame) + k as f64).sin() as f32;
    let mut pose = Pose::default();
    if puppet.body().is_some() {
        pose.set("flame.expression", (0..100).map(|k| 0.5 * wave(k)).collect::<Vec<f32>>());
        pose.set("flame.neck_pose", [0.1 * wave(1), 0.2 * wave(2), 0.0]);
        pose.set("flame.jaw_pose", [0.1 + 0.1 * wave(3), 0.0, 0.0]);
    } else {
        for j in 0..55 {
            let angle = 0.2 * wave(j);
            pose.set(format!("joint/{j}/rotation"), [(0.5 * angle).cos(), (0.5 * angle).sin(), 0.0, 0.0]);
        }
    }
    pose
}

/// Sums all deltas: what memory alone allows.
fn read_once(shapes: &Blendshapes) -> f32 {
    let sum = |values: &[f32]| -> f32 { values.par_chunks(1 << 14).map(lanes).sum() };
    sum(shapes.means.as_flattened()) + sum(shapes.rotations.as_flattened()) + sum(shapes.sh0.as_flattened())
}

/// 64 sums side by side, so that adding does not wait for itself.
fn lanes(values: &[f32]) -> f32 {
    let mut sums = [0.0f32; 64];
    for chunk in values.chunks_exact(64) {
        for (s, v) in sums.iter_mut().zip(chunk) {
            *s += v;
        }
    }
    sums.iter().sum()
}

/// A sphere with FLAME's joints and numbers of coefficients.
fn body() -> Body<f32> {
    let [rows, columns] = GRID;
    let count = rows * columns;
    let vertex = |v: usize| -> [f32; 3] {
        let latitude = std::f32::consts::PI * (v / columns) as f32 / (rows - 1) as f32;
        let longitude = std::f32::consts::TAU * (v % columns) as f32 / (columns - 1) as f32;
        [latitude.sin() * longitude.cos(), latitude.cos(), latitude.sin() * longitude.sin()].map(|v| 0.1 * v)
    };
    let quad = |q: usize| {
        let v = (q / (columns - 1) * columns + q % (columns - 1)) as u32;
        let below = v + columns as u32;
        [[v, v + 1, below], [v + 1, below + 1, below]]
    };
    let small = |seed: u64| move |i: usize| (2e-3 * uniform(i as u64, seed) - 1e-3) as f32;
    let joints = ["root", "neck", "jaw", "left_eye", "right_eye"];
    let parts = Parts {
        family: TemplateFamily::Flame2023,
        name: "sphere".into(),
        licence: String::new(),
        vertices: (0..count).map(vertex).collect(),
        faces: (0..(rows - 1) * (columns - 1)).flat_map(quad).collect(),
        uvs: (0..count).map(|v| [(v % columns) as f32 / columns as f32, (v / columns) as f32 / rows as f32]).collect(),
        uv_faces: Vec::new(),
        shapedirs: (0..count * 3 * 400).map(small(1)).collect(),
        identity_columns: 300,
        posedirs: (0..count * 3 * 36).map(small(2)).collect(),
        extras: Vec::new(),
        regressor: (0..5 * count).map(|_| 1.0 / count as f32).collect(),
        weights: (0..count)
            .flat_map(|v| if v > count / 2 { [0.5, 0.3, 0.2, 0.0, 0.0] } else { [0.2, 0.8, 0.0, 0.0, 0.0] })
            .collect(),
        parents: [None, Some(0), Some(1), Some(1), Some(1)].to_vec(),
        joint_names: joints.map(str::to_owned).to_vec(),
        hands: None,
    };
    Body::new(&parts).expect("the arrays are made to fit")
}

fn bound(frame: TriangleFrame) -> Avatar {
    let faces = 2 * (GRID[0] - 1) * (GRID[1] - 1);
    let mut avatar = Avatar::new(random(SPLATS, 0, 1).splats, Frame::RUB);
    // poles have triangles without area
    let triangle = |i: usize| (faces / 8 + i * (faces * 3 / 4) / SPLATS) as u32;
    avatar.rig.base = RigBase::Triangle(TriangleBinding {
        frame,
        triangles: (0..SPLATS).map(triangle).collect(),
        barycentrics: (frame == TriangleFrame::RgbAvatar).then(|| vec![[0.25, 0.25, 0.5]; SPLATS]),
    });
    avatar
}

fn with_bases() -> Avatar {
    let mut avatar = bound(TriangleFrame::RgbAvatar);
    let inputs = ply::rgb_avatar_driver_names(129);
    let sizes = [129, 128, 128, BASES];
    let layer = |k: usize| MlpLayer {
        weight: (0..sizes[k] * sizes[k + 1]).map(|i| (0.2 * uniform(i as u64, 7) - 0.1) as f32).collect(),
        bias: vec![0.0; sizes[k + 1]],
        activation: if k == 2 { Activation::None } else { Activation::Relu },
    };
    let small = |i: usize| (2e-3 * uniform(i as u64, 8) - 1e-3) as f32;
    avatar.rig.blendshapes = Some(Blendshapes {
        bases: BASES as u32,
        means: (0..BASES * SPLATS).map(|i| [small(i), small(i + 1), small(i + 2)]).collect(),
        rotations: (0..BASES * SPLATS).map(|i| [small(i), small(i + 1), small(i + 2), small(i + 3)]).collect(),
        sh0: (0..BASES * SPLATS).map(|i| [small(i), small(i + 1), small(i + 2)]).collect(),
        weights: BlendWeights::Mlp(Mlp { inputs, layers: (0..3).map(layer).collect() }),
    });
    avatar
}

fn skinned() -> Avatar {
    let mut avatar = Avatar::new(random(SPLATS, 0, 2).splats, Frame::RUB);
    let joint = |j: u32| Joint {
        name: j.to_string(),
        parent: j.checked_sub(1).map(|p| p / 2),
        humanoid: String::new(),
        translation: [0.0, 0.1, 0.0],
        rotation: [1.0, 0.0, 0.0, 0.0],
        scale: [1.0; 3],
        inverse_bind: [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, -0.1], [0.0, 0.0, 1.0, 0.0]],
    };
    let row = |i: usize| (0..4).map(|k| (((i / 2000 + 7 * k) % 55) as u16, 1.0 / (1 + k) as f32)).collect();
    avatar.rig = Rig {
        base: RigBase::Skinned {
            skeleton: Skeleton { joints: (0..55).map(joint).collect() },
            skin: Skin::from_rows((0..SPLATS).map(row)),
            morphs: None,
        },
        blendshapes: None,
    };
    avatar
}
