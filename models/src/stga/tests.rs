//! Whole steps against an independent computation in f64, golden vectors, and trainings from end to end.

use std::{fs, path::Path};

use gav_formats::{Camera, TriangleFrame, cameras::View, synthetic::uniform};
use gav_kernels::{
    adam::{self, Adam},
    losses::{Hinges, hinges},
    raster::scalar::{Splats64, render},
};
use safetensors::{Dtype, SafeTensors};

use super::{
    Checkpoint, CpuEngine, Dataset, Engine, Freeze, Method, Motion, Options, Progress, Rates, Stage, State, Tables,
    Tensor, Tracked, TrainView, Trainer, density::keep_last, engine::SETTINGS, init,
};
use crate::{
    body::{Body, Parts, Rotation},
    capture::{Pictures, Split},
};

fn random(seed: u64) -> impl FnMut(f64, f64) -> f64 {
    let mut counter = 0;
    move |lo, hi| {
        counter += 1;
        lo + (hi - lo) * uniform(counter, seed)
    }
}

/// An octahedron of 8 triangles that bends with time, as parts of a body with two joints and two expressions.
fn parts() -> Parts<f64> {
    let vertices =
        vec![[1.0, 0.05, 0.0], [0.0, 1.1, 0.1], [-0.9, 0.0, 0.1], [0.1, -1.0, 0.0], [0.0, 0.1, 1.0], [0.05, 0.0, -1.1]];
    let vertices: Vec<[f64; 3]> = vertices.into_iter().map(|v| v.map(|c| 0.1 * c)).collect();
    let faces = vec![[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4], [1, 0, 5], [2, 1, 5], [3, 2, 5], [0, 3, 5]];
    let mut draw = random(8);
    let mut regressor = vec![0.0; 12];
    (regressor[3], regressor[6 + 1]) = (1.0, 1.0);
    Parts {
        family: gav_formats::TemplateFamily::Custom,
        name: "octahedron".into(),
        licence: "CC0-1.0".into(),
        shapedirs: (0..6 * 3 * 2).map(|_| draw(-0.01, 0.01)).collect(),
        posedirs: Vec::new(),
        identity_columns: 0,
        uvs: Vec::new(),
        uv_faces: Vec::new(),
        extras: Vec::new(),
        regressor,
        weights: (0..6).flat_map(|v| if v == 1 || v == 4 { [0.3, 0.7] } else { [1.0, 0.0] }).collect(),
        parents: vec![None, Some(0)],
        joint_names: vec!["root".into(), "top".into()],
        hands: None,
        vertices,
        faces,
    }
}

const SIZE: [u32; 2] = [20, 14];

fn camera(index: usize, size: [u32; 2]) -> Camera {
    let (sine, cosine) = (0.5 * index as f64 - 0.4).sin_cos();
    let focal = 2.6 * f64::from(size[1]);
    Camera {
        name: format!("{index}"),
        width: size[0],
        height: size[1],
        focal: [focal, focal],
        principal: [0.5 * f64::from(size[0]), 0.5 * f64::from(size[1])],
        camera_from_world: [[cosine, 0.0, -sine, 0.0], [0.0, -1.0, 0.0, 0.0], [-sine, 0.0, -cosine, 0.5]],
        ..Camera::default()
    }
}

fn write_picture(path: &Path, size: [u32; 2], rgb: &[u8]) {
    let mut encoder = png::Encoder::new(fs::File::create(path).unwrap(), size[0], size[1]);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header().unwrap().write_image_data(rgb).unwrap();
}

/// A capture of `times` × `cameras` pictures of something else than the octahedron, in a folder. The expression of every second time
/// step is large.
fn capture(folder: &Path, times: usize, cameras: usize, size: [u32; 2], options: &Options) -> Dataset {
    let body = Body::new(&narrow(&parts())).unwrap();
    let mut tables = Tables::default();
    let mut draw = random(3);
    for time in 0..times {
        let amount = if time % 2 == 1 { 1.0 } else { 0.0 };
        tables.expression.values.extend([amount, 0.3 * amount].map(|v| v as f32));
        tables.pose.values.extend((0..6).map(|_| draw(-0.2, 0.2) as f32));
        tables.translation.values.extend((0..3).map(|_| draw(-0.005, 0.005) as f32));
    }
    for (_, tensor) in tables.named_mut() {
        *tensor = Tensor::new(std::mem::take(&mut tensor.values));
    }
    let tracked = Tracked { body, fixed: vec![Default::default(); times], tables };
    let vertices: Vec<Vec<[f32; 3]>> =
        (0..times).map(|t| tracked.body.pose(&tracked.parameters(&tracked.tables, t)).vertices).collect();
    let (mut views, mut files) = (Vec::new(), Vec::new());
    for time in 0..times {
        for index in 0..cameras {
            let path = folder.join(format!("{time:05}_{index:02}.png"));
            let camera = camera(index, size);
            let rgb: Vec<u8> = (0..size[0] * size[1])
                .flat_map(|p| {
                    let (x, y) = (
                        f64::from(p % size[0]) / f64::from(size[0]) - 0.5,
                        f64::from(p / size[0]) / f64::from(size[1]) - 0.5,
                    );
                    let inside = x * x + y * y < 0.09;
                    let color = [0.7 + x, 0.4 + y, 0.3 + 0.1 * (time % 3) as f64];
                    color.map(|c| if inside { (255.0 * c) as u8 } else { 255 })
                })
                .collect();
            write_picture(&path, size, &rgb);
            files.push(View {
                camera: camera.clone(),
                image: Some(path),
                timestep: Some(time as u32),
                ..View::default()
            });
            views.push(TrainView { camera, time, split: Split::Train, camera_index: index as u32 });
        }
    }
    Dataset {
        times: (0..times as u32).collect(),
        views,
        pictures: Pictures::new(files, options.background, 1 << 30),
        motion: Motion {
            faces: tracked.body.faces().to_vec(),
            vertices,
            tracked: Some(tracked),
            selected: (0..times).map(|t| if t % 2 == 1 { vec![0, 1, 4] } else { Vec::new() }).collect(),
            neutral: 0,
        },
        extent: 1.0,
        warnings: Vec::new(),
    }
}

fn narrow(parts: &Parts<f64>) -> Parts<f32> {
    let all = |v: &[f64]| v.iter().map(|v| *v as f32).collect::<Vec<f32>>();
    Parts {
        family: parts.family,
        name: parts.name.clone(),
        licence: parts.licence.clone(),
        vertices: parts.vertices.iter().map(|v| v.map(|c| c as f32)).collect(),
        faces: parts.faces.clone(),
        uvs: Vec::new(),
        uv_faces: Vec::new(),
        shapedirs: all(&parts.shapedirs),
        identity_columns: 0,
        posedirs: Vec::new(),
        extras: Vec::new(),
        regressor: all(&parts.regressor),
        weights: all(&parts.weights),
        parents: parts.parents.clone(),
        joint_names: parts.joint_names.clone(),
        hands: None,
    }
}

/// Two splats a triangle, turned and of unequal sizes, with harmonics, some beyond the thresholds of the hinges.
fn splats(data: &Dataset, options: &Options) -> State {
    let (mut splats, mut triangles) =
        init::on_mesh(&data.motion.vertices[0], &data.motion.faces, &Options { init_grid_k: 0, ..options.clone() });
    let all: Vec<u32> = (0..8).chain(0..8).collect();
    splats = splats.gather(&all);
    triangles.extend(triangles.clone());
    let mut draw = random(17);
    let scaling = options.frame == super::options::FrameName::Ga;
    let size = if scaling { 0.3 } else { 0.03 };
    for i in 0..triangles.len() {
        splats.means[i] = std::array::from_fn(|_| (size * draw(-1.0, 1.0)) as f32);
        splats.rotations[i] = std::array::from_fn(|_| draw(-1.0, 1.0) as f32);
        // those of GaussianAvatars reach beyond the picture: when everything moves, edges of splats cross pixels, where differences jump
        let large = if scaling { 5.0 } else { 1.0 };
        splats.log_scales[i] = std::array::from_fn(|_| (size * large * draw(0.3, 1.2)).ln() as f32);
        splats.opacity_logits[i] = if scaling { draw(-2.0, 0.0) } else { draw(-1.0, 2.0) } as f32;
        splats.sh0[i] = std::array::from_fn(|_| draw(-0.8, 1.2) as f32);
    }
    splats.sh_rest.iter_mut().for_each(|v| *v = draw(-0.2, 0.2) as f32);
    data.state(&splats, triangles, options)
}

/// What a step works with, in f64.
#[derive(Clone)]
struct Numbers {
    splats: [Vec<f64>; 6],
    /// Expression, pose, translation of the time step.
    tables: [Vec<f64>; 3],
}

/// The loss of one view, written down from the formulas: frames of triangles, splats, picture, L1, SSIM with every window summed, hinges.
fn loss(
    numbers: &Numbers,
    triangles: &[u32],
    data: &Dataset,
    options: &Options,
    view: usize,
    degree: u8,
    rows: &[usize],
) -> f64 {
    let body = Body::new(&parts()).unwrap();
    let [expression, pose, translation] = &numbers.tables;
    let vertices = body
        .pose(&crate::body::Parameters {
            expression: expression.clone(),
            rotations: pose.chunks_exact(3).map(|r| Rotation::AxisAngle([r[0], r[1], r[2]])).collect(),
            translation: [translation[0], translation[1], translation[2]],
            ..Default::default()
        })
        .vertices;
    let scaling = options.frame == super::options::FrameName::Ga;
    let count = triangles.len();
    let [means, rotations, log_scales, logits, sh0, rest] = &numbers.splats;
    let sub = |a: [f64; 3], b: [f64; 3]| [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
    let dot = |a: [f64; 3], b: [f64; 3]| a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
    let cross =
        |a: [f64; 3], b: [f64; 3]| [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
    let unit = |a: [f64; 3]| a.map(|v| v / dot(a, a).sqrt());
    let mut world = Splats64 {
        means: Vec::new(),
        rotations: Vec::new(),
        log_scales: Vec::new(),
        covariances: Vec::new(),
        opacity_logits: logits.clone(),
        color: sh0.as_chunks::<3>().0.to_vec(),
        sh_rest: Vec::new(),
        sh_degree: Some(degree),
    };
    let (kept, full) = (3 * ((usize::from(degree) + 1).pow(2) - 1), rest.len() / count);
    for i in 0..count {
        let [a, b, c] = data.motion.faces[triangles[i] as usize].map(|v| vertices[v as usize]);
        let center: [f64; 3] = std::array::from_fn(|k| (a[k] + b[k] + c[k]) / 3.0);
        // columns of the frame, and the size
        let (axes, size) = if scaling {
            let edge = unit(sub(b, a));
            let normal = unit(cross(edge, sub(c, a)));
            let height = cross(edge, normal);
            ([edge, normal, height], 0.5 * (dot(sub(b, a), sub(b, a)).sqrt() + dot(height, sub(c, a)).abs()))
        } else {
            let spoke = unit(sub(a, center));
            let normal = unit(cross(sub(b, a), sub(c, a)));
            ([spoke, cross(normal, spoke), normal], 1.0)
        };
        world.means.push(std::array::from_fn(|k| {
            center[k] + size * (0..3).map(|j| axes[j][k] * means[3 * i + j]).sum::<f64>()
        }));
        world.log_scales.push(std::array::from_fn(|k| log_scales[3 * i + k] + size.ln()));
        // a rotation as a matrix is as good as its quaternion: covariance R S S Rᵀ
        let q = &rotations[4 * i..][..4];
        let norm = q.iter().map(|v| v * v).sum::<f64>().sqrt();
        let [w, x, y, z] = std::array::from_fn(|k| q[k] / norm);
        let local = [
            [1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - w * z), 2.0 * (x * z + w * y)],
            [2.0 * (x * y + w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - w * x)],
            [2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y)],
        ];
        let turned: [[f64; 3]; 3] =
            std::array::from_fn(|r| std::array::from_fn(|c| (0..3).map(|k| axes[k][r] * local[k][c]).sum()));
        let sizes: [f64; 3] = world.log_scales[i].map(f64::exp);
        let entry = |r: usize, c: usize| (0..3).map(|k| turned[r][k] * sizes[k] * sizes[k] * turned[c][k]).sum::<f64>();
        world.covariances.push([entry(0, 0), entry(0, 1), entry(0, 2), entry(1, 1), entry(1, 2), entry(2, 2)]);
        world.sh_rest.extend(&rest[i * full..][..kept]);
    }
    world.log_scales.clear();
    let camera = &data.views[view].camera;
    let image = render(&world, camera, &SETTINGS, options.background.map(f64::from)).rgb;
    let picture = data.pictures.get(view).unwrap();
    let target: Vec<f64> = picture.rgb.iter().map(|v| f64::from(*v) / 255.0).collect();
    let l1 = image.iter().zip(&target).map(|(a, b)| (a - b).abs()).sum::<f64>() / image.len() as f64;

    let (width, height) = (picture.width as i64, picture.height as i64);
    let mut window = [0.0; 11];
    (0..11).for_each(|k| window[k] = (-(k as f64 - 5.0).powi(2) / (2.0 * 1.5 * 1.5)).exp());
    let total: f64 = window.iter().sum();
    let mut similarity = 0.0;
    for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
        for channel in 0..3 {
            let mut m = [0.0; 5];
            for (dy, dx) in (-5..=5i64).flat_map(|dy| (-5..=5i64).map(move |dx| (dy, dx))) {
                if (0..height).contains(&(y + dy)) && (0..width).contains(&(x + dx)) {
                    let weight = window[(dy + 5) as usize] * window[(dx + 5) as usize] / (total * total);
                    let at = (((y + dy) * width + x + dx) * 3) as usize + channel;
                    let (a, b) = (image[at], target[at]);
                    [a, b, a * a, b * b, a * b].iter().zip(&mut m).for_each(|(v, m)| *m += weight * v);
                }
            }
            let [p, q, pp, qq, pq] = m;
            let (c1, c2) = (1e-4, 9e-4);
            similarity += (2.0 * p * q + c1) * (2.0 * (pq - p * q) + c2)
                / ((p * p + q * q + c1) * (pp - p * p + qq - q * q + c2));
        }
    }
    similarity /= image.len() as f64;
    let relu = |v: f64| v.max(0.0);
    let norm = |v: &[f64]| v.iter().map(|v| v * v).sum::<f64>().sqrt();
    let share = 1.0 / rows.len() as f64;
    let near: f64 = rows.iter().map(|i| relu(norm(&means[3 * i..][..3]) - f64::from(options.threshold_xyz))).sum();
    let small: f64 = rows
        .iter()
        .map(|i| {
            norm(
                &log_scales[3 * i..][..3]
                    .iter()
                    .map(|s| relu(s.exp() - f64::from(options.threshold_scale)))
                    .collect::<Vec<_>>(),
            )
        })
        .sum();
    let dssim = f64::from(options.lambda_dssim);
    (1.0 - dssim) * l1
        + dssim * (1.0 - similarity)
        + f64::from(options.lambda_xyz) * share * near
        + f64::from(options.lambda_scale) * share * small
}

/// Trains one step and compares Adam's first means, a tenth of the gradient, and what became of the numbers, with central differences.
fn whole_step(options: &Options, faces: Option<&[u32]>, degree: u8) {
    let folder = tempfile::tempdir().unwrap();
    let data = capture(folder.path(), 3, 2, SIZE, options);
    let state = splats(&data, options);
    let (view, time) = (3, 1);
    let flags = faces.map(|list| (0..8).map(|f| list.contains(&f)).collect::<Vec<bool>>());
    let rows: Vec<usize> =
        (0..state.len()).filter(|i| flags.as_ref().is_none_or(|f| f[state.triangles[*i] as usize])).collect();
    let wide = |v: &[f32]| v.iter().map(|v| f64::from(*v)).collect::<Vec<f64>>();
    let tracked = data.motion.tracked.as_ref().unwrap();
    let tables = state.tables.as_ref().unwrap_or(&tracked.tables);
    let row = |tensor: &Tensor| {
        let width = tensor.values.len() / 3;
        wide(&tensor.values[time * width..][..width])
    };
    let numbers = Numbers {
        splats: std::array::from_fn(|k| wide(&state.splats[k].values)),
        tables: [row(&tables.expression), row(&tables.pose), row(&tables.translation)],
    };

    let mut engine = CpuEngine::new(&data, options, state.clone());
    assert_eq!(engine.block(time, flags.as_deref()).unwrap(), rows.len());
    let rates = Rates { splats: [1e-3, 2e-3, 3e-3, 4e-3, 5e-3, 6e-3], tables: [7e-4, 8e-4, 9e-4] };
    engine.step(view, &rates, degree).unwrap();
    let report = engine.report().unwrap();
    let after = engine.state().unwrap();
    assert_eq!((report.steps, report.skipped, after.steps), (1, 0, 1));
    let value = |numbers: &Numbers| loss(numbers, &state.triangles, &data, options, view, degree, &rows);
    let said = f64::from(1.0 - options.lambda_dssim) * report.l1
        + f64::from(options.lambda_dssim) * (1.0 - report.ssim)
        + report.hinges;
    let expected = value(&numbers);
    assert!((said - expected).abs() < 2e-6 * expected, "{said} {expected}");

    // so small that hardly any pixel crosses the step at 1/255, where a splat ends
    let h = 1e-7;
    let slope = |change: &dyn Fn(&mut Numbers, f64)| {
        let [mut more, mut less] = [numbers.clone(), numbers.clone()];
        change(&mut more, h);
        change(&mut less, -h);
        (value(&more) - value(&less)) / (2.0 * h)
    };
    let compare = |name: &str, before: &[f32], after: &Tensor, first: usize, gradient: &[f64], rate: f32| {
        let found: Vec<f64> = wide(&after.means[first..][..gradient.len()]).iter().map(|v| v * 10.0).collect();
        let size = gradient.iter().map(|v| v * v).sum::<f64>().sqrt();
        let far = found.iter().zip(gradient).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
        // f32 through projection and blending; differences of 1e-7 leave 1e-8 or so
        assert!(size > 0.0 && far < 2e-4 * size + 1e-8, "{name}: {far} of {size}");
        for (k, g) in gradient.iter().enumerate().filter(|(_, g)| g.abs() > 1e-3 * size) {
            // the first step of Adam is the rate, against the sign
            let moved = f64::from(after.values[first + k]) - f64::from(before[first + k]);
            assert!((moved + f64::from(rate) * g.signum()).abs() < 2e-6, "{name} {k}: {moved}");
        }
    };
    let widths = super::widths(state.sh_degree);
    for (k, name) in super::SPLAT_TENSORS.iter().enumerate() {
        // a few splats, all of their numbers
        for i in rows.iter().step_by(5) {
            let range = i * widths[k]..(i + 1) * widths[k];
            let gradient: Vec<f64> = range.clone().map(|at| slope(&|n, h| n.splats[k][at] += h)).collect();
            if gradient.iter().all(|g| *g == 0.0) {
                continue;
            }
            compare(name, &state.splats[k].values, &after.splats[k], range.start, &gradient, rates.splats[k]);
        }
    }
    if let (Some(before), Some(after)) = (&state.tables, &after.tables) {
        for (k, ((name, before), (_, after))) in before.named().into_iter().zip(after.named()).enumerate() {
            let width = before.values.len() / 3;
            let gradient: Vec<f64> = (0..width).map(|at| slope(&|n, h| n.tables[k][at] += h)).collect();
            compare(name, &before.values, after, time * width, &gradient, rates.tables[k]);
            assert_eq!(before.values[..time * width], after.values[..time * width], "other time steps stay");
        }
    }
    for i in (0..state.len()).filter(|i| !rows.contains(i)) {
        for (k, width) in widths.into_iter().enumerate() {
            assert_eq!(state.splats[k].values[i * width..][..width], after.splats[k].values[i * width..][..width]);
            assert!(after.splats[k].squares[i * width..][..width].iter().all(|v| *v == 0.0));
        }
    }
}

#[test]
fn a_local_step_of_stga_agrees_with_formulas_in_f64() {
    // thresholds that some splats exceed
    let options =
        Options { threshold_xyz: 0.025, threshold_scale: 0.02, background: [0.2, 0.5, 0.9], ..Options::stga() };
    whole_step(&options, Some(&[0, 1, 4]), 2);
    whole_step(&options, None, 3);
}

#[test]
fn a_step_of_gaussian_avatars_agrees_with_formulas_in_f64() {
    let options = Options { threshold_xyz: 0.3, threshold_scale: 0.25, ..Options::gaussian_avatars() };
    whole_step(&options, None, 1);
}

#[test]
fn frozen_splats_are_the_same_bits_after_a_block() {
    let folder = tempfile::tempdir().unwrap();
    for freeze in [Freeze::Masked, Freeze::Release] {
        let options = Options { freeze, ..Options::stga() };
        let data = capture(folder.path(), 2, 3, SIZE, &options);
        let mut engine = CpuEngine::new(&data, &options, splats(&data, &options));
        let rates = Rates { splats: [1e-3; 6], tables: [0.0; 3] };
        // a global block, so that Adam has something to remember
        engine.block(0, None).unwrap();
        (0..3).for_each(|view| engine.step(view, &rates, 3).unwrap());
        let before = engine.state().unwrap();
        let flags: Vec<bool> = (0..8).map(|f| f < 3).collect();
        engine.block(1, Some(&flags)).unwrap();
        (3..6).for_each(|view| engine.step(view, &rates, 3).unwrap());
        let after = engine.state().unwrap();
        let moved = |i: usize| {
            (0..6).any(|k| {
                let width = super::widths(3)[k];
                let bits = |s: &State| {
                    s.splats[k].values[i * width..][..width].iter().map(|v| v.to_bits()).collect::<Vec<_>>()
                };
                bits(&before) != bits(&after)
            })
        };
        for i in 0..before.len() {
            let trained = flags[before.triangles[i] as usize];
            assert_eq!(moved(i), trained || freeze == Freeze::Release, "{freeze:?} {i}");
        }
        assert_eq!(after.steps, 6);
    }
}

fn short(method: Method) -> Options {
    let mut options = match method {
        Method::Stga => Options { static_iterations: 10, iterations: 60, final_iterations: 12, ..Options::stga() },
        Method::GaussianAvatars => Options { iterations: 60, ..Options::gaussian_avatars() },
    };
    options.densify_from_iter = 10;
    options.densification_interval = 20;
    options.densify_until_iter = 70;
    options.densify_grad_threshold = 1e-5;
    options.sh_interval = 20;
    options.opacity_reset_interval = 50;
    options.feature_lr = 0.02;
    options
}

#[test]
fn a_training_goes_on_from_its_checkpoint_as_if_nothing_had_happened() {
    let folder = tempfile::tempdir().unwrap();
    for (method, freeze) in
        [(Method::Stga, Freeze::Masked), (Method::Stga, Freeze::Release), (Method::GaussianAvatars, Freeze::Masked)]
    {
        let options = Options { freeze, ..short(method) };
        let data = capture(folder.path(), 4, 3, SIZE, &options);
        let state = splats(&data, &options);
        let train = |state: State, progress: Progress, steps: u32| -> Checkpoint {
            let count = state.len();
            let engine = Box::new(CpuEngine::new(&data, &options, state));
            let mut trainer = Trainer::new(&data, &options, engine, progress, count).unwrap();
            while trainer.progress().step < steps && !trainer.is_finished() {
                trainer.advance(7).unwrap();
            }
            trainer.checkpoint().unwrap()
        };
        let whole = train(state.clone(), Progress::default(), u32::MAX);
        assert_eq!(whole.progress.step, options.total());
        assert!(whole.state.len() > state.len(), "{method:?}: nothing was added");
        let half = train(state, Progress::default(), 33);
        assert!((33..50).contains(&half.progress.step));
        let path = folder.path().join("training.safetensors");
        half.write(&path).unwrap();
        let read = Checkpoint::read(&path).unwrap();
        assert_eq!(read, half);
        assert_eq!(read.capture, data.fingerprint());
        let again = train(read.state, read.progress, u32::MAX);
        assert!(again.state == whole.state, "{method:?} {freeze:?}: the resumed training differs");
    }
}

#[test]
fn trainings_learn_their_pictures_and_become_avatars() {
    let folder = tempfile::tempdir().unwrap();
    for method in [Method::Stga, Method::GaussianAvatars] {
        let options = Options { densify: false, iterations: 150, ..short(method) };
        let data = capture(folder.path(), 4, 2, [32, 24], &options);
        let on_mesh = init::on_mesh(
            &data.motion.vertices[data.motion.neutral],
            &data.motion.faces,
            &Options { init_grid_k: 2, ..options.clone() },
        );
        let state = data.state(&on_mesh.0, on_mesh.1, &options);
        let count = state.len();
        let mut trainer =
            Trainer::new(&data, &options, Box::new(CpuEngine::new(&data, &options, state)), Progress::default(), count)
                .unwrap();
        let before = trainer.evaluate(&[0, 3, 5]).unwrap();
        while !trainer.is_finished() {
            trainer.advance(50).unwrap();
        }
        let after = trainer.note(&[0, 3, 5]).unwrap();
        assert!(after.psnr > before.psnr + 4.0, "{method:?}: {} to {} dB", before.psnr, after.psnr);
        let drawn = trainer.draw(5).unwrap();
        let checkpoint = trainer.checkpoint().unwrap();
        let export = super::ExportOptions {
            name: "octahedron".into(),
            frames_per_second: 25,
            template_licence: None,
            source: "test".into(),
        };
        let avatar = super::avatar(&data, &checkpoint, &export).unwrap();
        avatar.validate().unwrap();
        assert_eq!(avatar.meta.extra["training"]["held_out"]["pictures"], 3);
        // posed by its clip it is what was drawn
        let puppet = crate::puppet::Puppet::open(&avatar).unwrap();
        let clip = puppet.clip(super::CLIP).unwrap();
        let mut posed = puppet.pose(&clip.pose_at(f64::from(data.times[data.views[5].time]) / 25.0)).unwrap();
        posed.set_sh_degree(3);
        let again = gav_kernels::raster::render(
            gav_kernels::raster::Scene::from(&posed),
            &data.views[5].camera,
            &SETTINGS,
            options.background,
        );
        let far = again.rgb.iter().zip(&drawn.rgb).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(far < 1e-4, "{method:?}: {far}");
        assert!(avatar.rest.is_some() && avatar.mesh.is_some());
    }
}

#[test]
fn gradients_that_are_not_finite_are_left_out_and_end_the_training_when_there_are_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { densify: false, max_bad_steps: 20, ..short(Method::Stga) };
    let data = capture(folder.path(), 4, 2, SIZE, &options);
    let mut state = splats(&data, &options);
    // larger than f32 can say
    state.splats[2].values[0] = 200.0;
    state.splats[4].values[3] = f32::NAN;
    let count = state.len();
    let mut trainer = Trainer::new(
        &data,
        &options,
        Box::new(CpuEngine::new(&data, &options, state.clone())),
        Progress::default(),
        count,
    )
    .unwrap();
    let first = trainer.advance(8).unwrap();
    assert_eq!((first.report.steps, first.report.skipped), (0, 8));
    assert_eq!(trainer.state().unwrap().splats[0], state.splats[0], "nothing was changed");
    let error = trainer.advance(40).unwrap_err().to_string();
    assert!(
        error.contains("1 numbers of `sh0`") && error.contains("e^200") && error.contains("no finite gradient"),
        "{error}"
    );
}

#[test]
fn damaged_and_foreign_checkpoints_are_refused_and_a_full_disk_spoils_none() {
    let folder = tempfile::tempdir().unwrap();
    let options = short(Method::Stga);
    let data = capture(folder.path(), 2, 2, SIZE, &options);
    let checkpoint = Checkpoint {
        options: options.clone(),
        progress: Progress { step: 5, ..Progress::default() },
        state: splats(&data, &options),
        capture: data.fingerprint(),
    };
    let path = folder.path().join("a.safetensors");
    checkpoint.write(&path).unwrap();
    let bytes = fs::read(&path).unwrap();
    for length in [0, 7, 100, bytes.len() / 2, bytes.len() - 1] {
        let other = folder.path().join("b.safetensors");
        fs::write(&other, &bytes[..length]).unwrap();
        let error = Checkpoint::read(&other).unwrap_err().to_string();
        assert!(error.contains("b.safetensors"), "{error}");
    }
    // another version, of the same length
    let at = bytes.windows(14).position(|w| w == b"gav training 1").unwrap();
    let mut later = bytes.clone();
    later[at + 13] = b'9';
    let other = folder.path().join("c.safetensors");
    fs::write(&other, later).unwrap();
    let error = Checkpoint::read(&other).unwrap_err().to_string();
    assert!(error.contains("`gav training 9`"), "{error}");
    // where nothing can be written, what was there stays
    #[cfg(target_os = "linux")]
    {
        assert!(checkpoint.write(Path::new("/dev/full/a.safetensors")).is_err());
        let blocked = folder.path().join("a.safetensors/inner");
        assert!(checkpoint.write(&blocked).is_err());
    }
    assert_eq!(Checkpoint::read(&path).unwrap(), checkpoint);
    assert!(Checkpoint::read(&data.pictures.views()[0].image.clone().unwrap()).is_err());
}

/// A file of golden vectors; a loud line when there is none.
fn golden(name: &str) -> Option<Vec<u8>> {
    let root = std::env::var_os("GAV_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"), Into::into);
    let path = root.join("parity/stga").join(name);
    let found = fs::read(&path).ok();
    if found.is_none() {
        eprintln!("SKIPPED: {} is not there; set GAV_SHARED to the folder of reference data", path.display());
    }
    found
}

fn numbers(file: &SafeTensors<'_>, name: &str) -> Vec<f64> {
    let view = file.tensor(name).unwrap();
    let bytes = view.data();
    match view.dtype() {
        Dtype::F64 => bytes.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect(),
        Dtype::I32 => bytes.chunks_exact(4).map(|b| f64::from(i32::from_le_bytes(b.try_into().unwrap()))).collect(),
        Dtype::I64 => bytes.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as f64).collect(),
        Dtype::U8 | Dtype::BOOL => bytes.iter().map(|b| f64::from(*b)).collect(),
        other => panic!("{name} is {other:?}"),
    }
}

#[test]
fn hinges_agree_with_golden_vectors() {
    let Some(bytes) = golden("parity_binding.safetensors") else { return };
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let triples = |name: &str| -> Vec<[f32; 3]> {
        numbers(&file, name).as_chunks::<3>().0.iter().map(|v| v.map(|v| v as f32)).collect()
    };
    let (means, log_scales) = (triples("local_xyz"), triples("local_log_scale"));
    let visible = numbers(&file, "visible");
    let all = 0..means.len();
    for (prefix, rows) in
        [("ga", all.clone().filter(|i| visible[*i] != 0.0).collect::<Vec<_>>()), ("stga", all.collect())]
    {
        let values = numbers(&file, &format!("{prefix}.reg_values"));
        let mut gradients = [vec![[0.0f32; 3]; means.len()], vec![[0.0f32; 3]; means.len()]];
        let rows: Vec<u32> = rows.into_iter().map(|row| row as u32).collect();
        let [by_means, by_sizes] = &mut gradients;
        let found = hinges(&Hinges::default(), &means, &log_scales, |_| 1.0, &rows, Some((by_means, by_sizes)));
        let close = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-6 * b.abs().max(1e-3);
        assert!(found.iter().zip(&values).all(close), "{prefix} {found:?} {values:?}");
        for (found, name) in gradients.iter().zip(["reg_grad_xyz", "reg_grad_log_scale"]) {
            let expected = numbers(&file, &format!("{prefix}.{name}"));
            let far =
                found.as_flattened().iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
            assert!(far < 1e-7, "{prefix} {name}: {far}");
        }
    }
}

#[test]
fn frozen_rows_agree_with_golden_trajectories() {
    let Some(bytes) = golden("parity_selective_adam.safetensors") else { return };
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let selected = numbers(&file, "selected");
    let gradients = numbers(&file, "grads");
    for (name, masked) in [("masked", true), ("release", false)] {
        let mut values: Vec<f32> = numbers(&file, "p0").iter().map(|v| *v as f32).collect();
        let (mut means, mut squares) = (vec![0.0f32; 24], vec![0.0f32; 24]);
        let expected = numbers(&file, &format!("{name}.params"));
        for step in 0..40 {
            let mask: Vec<u32> = selected[8 * step..][..8].iter().map(|v| *v as u32).collect();
            let gradient: Vec<f32> =
                (0..24).map(|k| if mask[k / 3] == 0 { 0.0 } else { gradients[24 * step + k] as f32 }).collect();
            let tensor = adam::Tensor {
                values: &mut values,
                means: &mut means,
                squares: &mut squares,
                gradient: &gradient,
                rate: 0.005,
                mask: if masked { &mask } else { &[] },
            };
            Adam::default().step(step as u32 + 1, &mut [tensor]);
            for (k, value) in values.iter().enumerate() {
                let far = (f64::from(*value) - expected[24 * step + k]).abs();
                // 40 steps of 0.005, each rounded to f32 at values of about one
                assert!(far < 3e-6, "{name}, step {step}, {k}: {far}");
            }
        }
        let last = numbers(&file, &format!("{name}.exp_avg"));
        assert!(means.iter().zip(&last).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-6));
    }
}

#[test]
fn triangles_keep_their_last_splat_as_in_golden_vectors() {
    let Some(bytes) = golden("parity_binding.safetensors") else { return };
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let triangles: Vec<u32> = numbers(&file, "binding").iter().map(|v| *v as u32).collect();
    let mut remove: Vec<bool> = numbers(&file, "prune.mask_in").iter().map(|v| *v != 0.0).collect();
    keep_last(&triangles, 32, &mut remove);
    let expected: Vec<bool> = numbers(&file, "prune.mask_out").iter().map(|v| *v != 0.0).collect();
    assert_eq!(remove, expected);
    let left = (0..32u32).map(|f| triangles.iter().zip(&remove).filter(|(t, r)| **t == f && !**r).count() as f64);
    assert_eq!(left.collect::<Vec<_>>(), numbers(&file, "prune.counter_out"));
}

#[test]
fn frames_of_both_methods_have_names() {
    assert_eq!(TriangleFrame::from(Options::stga().frame), TriangleFrame::Stga);
    assert_eq!(TriangleFrame::from(Options::gaussian_avatars().frame), TriangleFrame::GaussianAvatars);
    assert_eq!(Options::stga().stage, Stage::Both);
}
