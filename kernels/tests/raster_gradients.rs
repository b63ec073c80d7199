//! The fast rasteriser against the readable one: images under every combination of rules, gradients against differences.

mod common;

use common::{Backend, backends, relative};
use gav_formats::{Camera, RenderModel, Splats, synthetic::random};
use gav_kernels::{
    orbit::look_at,
    raster::{
        Color, Footprint, Gradients, Saturation, Scene, Settings, Shape, ShapeGradients, Shot, Slopes, Upstream,
        backward_batch, forward, forward_batch,
        scalar::{self, Splats64},
    },
};

/// Splats of mixed sizes in front of [`camera`], some outside the view or behind it.
fn splats(count: usize, degree: u8, seed: u64) -> Splats {
    let mut splats = random(count, degree, seed).splats;
    for i in 0..count {
        // whatever `random` chose becomes a cloud of unit size with axes between 0.02 and 0.3
        splats.means[i] = splats.means[i].map(|v| 1.2 * v.sin());
        splats.log_scales[i] = splats.log_scales[i].map(|v| -2.5 + 1.35 * (7.0 * v).sin());
        splats.opacity_logits[i] = 3.0 * splats.opacity_logits[i].sin();
        splats.sh0[i] = splats.sh0[i].map(|v| v.clamp(-1.5, 1.5));
    }
    splats.sh_rest.iter_mut().for_each(|v| *v = 0.2 * v.sin());
    splats
}

fn camera(width: u32, height: u32, orthographic: bool) -> Camera {
    let focal = if orthographic { 0.3 } else { 0.9 } * f64::from(width);
    let mut camera = look_at([0.7, 0.5, 2.4], [0.1, 0.0, 0.0], [0.0, 1.0, 0.0], focal, width, height);
    camera.principal[0] += 1.75;
    camera.focal[1] *= 1.1;
    camera.orthographic = orthographic;
    camera
}

#[test]
fn images_equal_the_oracle_under_all_rules() {
    let cloud = splats(300, 3, 5);
    let covariances = covariances(&cloud);
    let backends = backends();
    let mut cases = 0;
    for base in [Settings::DEFAULT, Settings::INRIA, Settings::GSPLAT, Settings::FASTER_GS] {
        for model in [RenderModel::Classic, RenderModel::Antialiased, RenderModel::Surfel] {
            for orthographic in [false, true] {
                for (width, height) in [(70, 45), (32, 16), (1, 1), (5, 37)] {
                    for color in [Color::Sh(&cloud.sh0, &cloud.sh_rest, 3), Color::Rgb(&cloud.sh0)] {
                        for shape in
                            [Shape::RotationScale(&cloud.rotations, &cloud.log_scales), Shape::Covariance(&covariances)]
                        {
                            let settings = Settings { model, depth: true, normals: true, ..base };
                            let scene = Scene { shape, color, ..Scene::from(&cloud) };
                            let camera = camera(width, height, orthographic);
                            for on in &backends {
                                compare(on, &scene, &camera, &settings);
                            }
                            cases += 1;
                        }
                    }
                }
            }
        }
    }
    assert_eq!(cases, 4 * 3 * 2 * 4 * 4);
}

fn compare(on: &Backend, scene: &Scene<'_>, camera: &Camera, settings: &Settings) {
    let background = [0.3f32, 0.6, 0.1];
    let image = on.image(scene, camera, settings, background);
    let expected = scalar::render(&Splats64::from(scene), camera, settings, background.map(f64::from));
    for (name, values, expected) in [
        ("rgb", &image.rgb, &expected.rgb),
        ("alpha", &image.alpha, &expected.alpha),
        ("depth", &image.depth, &expected.depth),
        ("normals", &image.normals, &expected.normals),
    ] {
        assert_eq!(values.len(), expected.len());
        let errors: Vec<f64> = values.iter().zip(expected).map(|(a, b)| (f64::from(*a) - b).abs()).collect();
        let worst = errors.iter().copied().fold(0.0, f64::max);
        let off = errors.iter().filter(|e| **e > 1e-4).count();
        // a pixel on the edge of α = 1/255 or of saturation may fall either way: a step of up to 0.004 (depth: 4 times
        // that), in few pixels
        assert!(
            worst < 2e-2 && off * 200 <= errors.len() + 199,
            "{} {name}: {worst:.1e}, {off} of {}: {settings:?} {camera:?}",
            on.name(),
            errors.len()
        );
    }
}

/// R S² Rᵀ of all splats.
fn covariances(splats: &Splats) -> Vec<[f32; 6]> {
    (0..splats.len())
        .map(|i| {
            let q = gav_formats::conventions::normalize_quaternion(splats.rotations[i].map(f64::from));
            let turn = gav_formats::conventions::matrix_from_quaternion(q);
            let variance = splats.log_scales[i].map(|s| f64::from(s).exp().powi(2));
            let entry = |a: usize, b: usize| (0..3).map(|k| turn[a][k] * variance[k] * turn[b][k]).sum::<f64>() as f32;
            [entry(0, 0), entry(0, 1), entry(0, 2), entry(1, 1), entry(1, 2), entry(2, 2)]
        })
        .collect()
}

/// Rules without steps, so that differences make sense.
const SMOOTH: Settings = Settings {
    footprint: Footprint::Exact,
    alpha_min: 0.0,
    alpha_max: 0.9999,
    stop: 0.0,
    depth: true,
    normals: true,
    ..Settings::DEFAULT
};

/// A loss linear in the image, with fixed weights.
struct Loss {
    rgb: Vec<f32>,
    alpha: Vec<f32>,
    depth: Vec<f32>,
    normals: Vec<f32>,
}

impl Loss {
    fn new(pixels: usize) -> Self {
        let weights = |count: usize, phase: f32| (0..count).map(|i| (i as f32 * 0.7 + phase).sin()).collect();
        Self {
            rgb: weights(pixels * 3, 0.1),
            alpha: weights(pixels, 1.2),
            depth: weights(pixels, 2.3),
            normals: weights(pixels * 3, 3.4),
        }
    }

    fn of(&self, splats: &Splats64, camera: &Camera, settings: &Settings, background: [f64; 3]) -> f64 {
        let image = scalar::render(splats, camera, settings, background);
        let sum = |w: &[f32], v: &[f64]| w.iter().zip(v).map(|(w, v)| f64::from(*w) * v).sum::<f64>();
        sum(&self.rgb, &image.rgb)
            + sum(&self.alpha, &image.alpha)
            + sum(&self.depth, &image.depth)
            + sum(&self.normals, &image.normals)
    }

    fn gradients(
        &self,
        on: &Backend,
        scene: &Scene<'_>,
        camera: &Camera,
        settings: &Settings,
        background: [f32; 3],
    ) -> Gradients {
        on.gradient(scene, camera, settings, background, &self.upstream()).1
    }

    fn upstream(&self) -> Upstream<'_> {
        Upstream { rgb: &self.rgb, alpha: &self.alpha, depth: &self.depth, normals: &self.normals }
    }
}

const STEP: f64 = 1e-6;

/// Central differences of `loss` over numbers that `at` finds in a copy of `start`.
fn differences<T: Clone>(
    start: &T,
    count: usize,
    at: impl Fn(&mut T, usize) -> &mut f64,
    loss: impl Fn(&T) -> f64,
) -> Vec<f64> {
    (0..count)
        .map(|i| {
            let shifted = |by: f64| {
                let mut copy = start.clone();
                *at(&mut copy, i) += by;
                loss(&copy)
            };
            (shifted(STEP) - shifted(-STEP)) / (2.0 * STEP)
        })
        .collect()
}

#[test]
fn gradients_equal_differences() {
    for on in &backends() {
        // few enough splats and pixels for 2 images per parameter
        let count = 7;
        for (number, (model, orthographic, degree, raw, slopes)) in [
            (RenderModel::Classic, false, Some(3), false, Slopes::BeyondBorders(0.15)),
            (RenderModel::Classic, false, Some(4), true, Slopes::AroundAxis(1.3)),
            // most splats beyond the limits of the slopes
            (RenderModel::Classic, false, Some(1), false, Slopes::AroundAxis(0.15)),
            (RenderModel::Antialiased, false, Some(2), false, Slopes::BeyondBorders(0.15)),
            (RenderModel::Antialiased, true, None, false, Slopes::BeyondBorders(0.15)),
            (RenderModel::Surfel, false, Some(0), false, Slopes::BeyondBorders(0.15)),
            (RenderModel::Classic, true, Some(3), false, Slopes::BeyondBorders(0.15)),
        ]
        .into_iter()
        .enumerate()
        {
            let cloud = splats(count, degree.unwrap_or(0), 11 + number as u64);
            let covariances = covariances(&cloud);
            let color = match degree {
                Some(degree) => Color::Sh(&cloud.sh0, &cloud.sh_rest, degree),
                None => Color::Rgb(&cloud.sh0),
            };
            let settings = Settings { model, slopes, normalize_rotations: !raw, ..SMOOTH };
            let (camera, background) = (camera(21, 18, orthographic), [0.3f32, 0.6, 0.1]);
            let loss = Loss::new(21 * 18);
            for full in [false, true] {
                if full && model == RenderModel::Surfel {
                    continue; // covariances have no third axis to flatten
                }
                let shape = if full {
                    Shape::Covariance(&covariances)
                } else {
                    Shape::RotationScale(&cloud.rotations, &cloud.log_scales)
                };
                let scene = Scene { shape, color, ..Scene::from(&cloud) };
                let gradients = loss.gradients(on, &scene, &camera, &settings, background);
                let wide = Splats64::from(&scene);
                let of = |splats: &Splats64| loss.of(splats, &camera, &settings, background.map(f64::from));
                let mut checks = vec![
                    (
                        "means",
                        flat(&gradients.means),
                        differences(&wide, count * 3, |s, i| &mut s.means[i / 3][i % 3], of),
                    ),
                    (
                        "opacities",
                        gradients.opacity_logits.iter().map(|v| f64::from(*v)).collect(),
                        differences(&wide, count, |s, i| &mut s.opacity_logits[i], of),
                    ),
                    (
                        "color",
                        flat(&gradients.color),
                        differences(&wide, count * 3, |s, i| &mut s.color[i / 3][i % 3], of),
                    ),
                    (
                        "sh_rest",
                        gradients.sh_rest.iter().map(|v| f64::from(*v)).collect(),
                        differences(&wide, wide.sh_rest.len(), |s, i| &mut s.sh_rest[i], of),
                    ),
                    (
                        "background",
                        gradients.background.map(f64::from).to_vec(),
                        differences(
                            &background.map(f64::from),
                            3,
                            |b, i| &mut b[i],
                            |b| loss.of(&wide, &camera, &settings, *b),
                        ),
                    ),
                    (
                        "camera",
                        gradients.camera_from_world.as_flattened().to_vec(),
                        differences(
                            &camera,
                            12,
                            |c, i| &mut c.camera_from_world[i / 4][i % 4],
                            |c| loss.of(&wide, c, &settings, background.map(f64::from)),
                        ),
                    ),
                ];
                match &gradients.shape {
                    ShapeGradients::RotationScale(rotations, scales) => {
                        let of_rotations = differences(&wide, count * 4, |s, i| &mut s.rotations[i / 4][i % 4], of);
                        checks.push(("rotations", flat(rotations), of_rotations));
                        let of_scales = differences(&wide, count * 3, |s, i| &mut s.log_scales[i / 3][i % 3], of);
                        checks.push(("scales", flat(scales), of_scales));
                    }
                    ShapeGradients::Covariance(covariances) => {
                        let of = differences(&wide, count * 6, |s, i| &mut s.covariances[i / 6][i % 6], of);
                        checks.push(("covariances", flat(covariances), of));
                    }
                }
                for (name, values, expected) in checks {
                    let error = relative(values.iter().copied(), &expected);
                    println!("{} case {number} (covariances: {full}), {name}: {error:.1e}", on.name());
                    // sums of f32 over some hundred pixels of mixed sign
                    assert!(
                        error < 2e-5,
                        "{} case {number} (covariances: {full}), {name}: {error}\n{values:?}\n{expected:?}",
                        on.name()
                    );
                }
            }
        }
    }
}

fn flat<const N: usize>(rows: &[[f32; N]]) -> Vec<f64> {
    common::flat(rows).collect()
}

#[test]
fn the_gradient_of_a_cut_alpha_passes_or_stops_by_rule() {
    for on in &backends() {
        let mut one = Splats::with_len(1, 0);
        one.log_scales[0] = [3.0; 3];
        one.opacity_logits[0] = 9.0;
        let scene = Scene::from(&one);
        let camera = camera(9, 9, false);
        let loss = Loss::new(81);
        // everywhere α is cut to 0.5
        let base = Settings {
            alpha_max: 0.5,
            alpha_min: 0.0,
            footprint: Footprint::Exact,
            normals: true,
            depth: true,
            ..SMOOTH
        };
        let stops = loss.gradients(on, &scene, &camera, &Settings { alpha_max_passes: false, ..base }, [0.0; 3]);
        let passes = loss.gradients(on, &scene, &camera, &base, [0.0; 3]);
        assert_eq!(stops.opacity_logits, [0.0]);
        assert_eq!(stops.centers, [[0.0; 2]]);
        assert!(passes.opacity_logits[0] != 0.0);
        // on a device, sums over the blocks of pixels come in any order
        assert!(relative(flat(&stops.color), &flat(&passes.color)) < 1e-5);
    }
}

#[test]
fn batches_equal_single_pictures_with_any_number_of_threads() {
    let (small, large) = (splats(40, 1, 1), splats(3000, 3, 2));
    let cameras = [camera(70, 50, false), camera(33, 90, true)];
    let shots: Vec<Shot<'_>> = [&small, &large]
        .into_iter()
        .flat_map(|cloud| cameras.iter().map(move |camera| (cloud, camera)))
        .map(|(cloud, camera)| Shot { scene: Scene::from(cloud), camera, background: [0.2, 0.4, 0.9] })
        .collect();
    let settings = Settings { depth: true, normals: true, ..Settings::DEFAULT };
    let losses: Vec<Loss> = shots.iter().map(|s| Loss::new((s.camera.width * s.camera.height) as usize)).collect();
    let upstream: Vec<Upstream<'_>> = losses.iter().map(Loss::upstream).collect();
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let batch = forward_batch(&shots, &settings);
            let gradients = backward_batch(&batch, &shots, &upstream);
            (batch.into_iter().map(|forward| forward.image).collect::<Vec<_>>(), gradients)
        })
    };
    let (images, gradients) = run(1);
    assert_eq!(run(5), (images.clone(), gradients.clone()));
    for (i, shot) in shots.iter().enumerate() {
        let single = forward(&shot.scene, shot.camera, &settings, shot.background);
        assert_eq!(single.image, images[i]);
        assert_eq!(single.backward(&shot.scene, &upstream[i]), gradients[i]);
    }
}

#[test]
fn degenerate_input_gives_finite_gradients() {
    for on in &backends() {
        let bad = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, 0.0, 100.0, -1000.0];
        let loss = Loss::new(9 * 7);
        for model in [RenderModel::Classic, RenderModel::Antialiased, RenderModel::Surfel] {
            for saturation in [Saturation::Blended, Saturation::Dropped] {
                for value in bad {
                    for field in 0..5 {
                        let mut cloud = splats(5, 1, 3);
                        match field {
                            0 => cloud.means[0][1] = value,
                            1 => cloud.rotations[0] = [value; 4],
                            2 => cloud.log_scales[0] = [value; 3],
                            3 => cloud.opacity_logits[0] = value,
                            _ => cloud.sh0[0][2] = value,
                        }
                        let settings = Settings { model, saturation, normals: true, ..Settings::DEFAULT };
                        let scene = Scene::from(&cloud);
                        let gradients = loss.gradients(on, &scene, &camera(9, 7, false), &settings, [0.5; 3]);
                        let ShapeGradients::RotationScale(rotations, scales) = &gradients.shape else { unreachable!() };
                        let all = flat(&gradients.means).into_iter().chain(flat(rotations)).chain(flat(scales));
                        assert!(
                            all.into_iter().all(f64::is_finite),
                            "{model:?} {saturation:?} field {field} value {value}"
                        );
                        assert!(gradients.opacity_logits.iter().all(|v| v.is_finite()), "field {field} value {value}");
                    }
                }
            }
        }
        let none = Splats::default();
        let gradients = loss.gradients(on, &Scene::from(&none), &camera(9, 7, false), &SMOOTH, [0.5; 3]);
        assert!(gradients.means.is_empty() && gradients.background.iter().all(|v| v.is_finite()));
    }
}
