//! Images and gradients of other rasterisers, each by its own rules.

mod common;

use common::{Golden, backends, flat, relative};
use gav_formats::{
    Camera,
    conventions::opacity_from_logit,
    synthetic::{SHELL_SEED, shell, shell_camera},
};
use gav_kernels::raster::{Color, Gradients, Scene, Settings, Shape, ShapeGradients, Upstream, forward};

fn largest(a: impl IntoIterator<Item = f64>, b: &[f64]) -> f64 {
    a.into_iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

fn shape(gradients: &Gradients) -> (&[[f32; 4]], &[[f32; 3]]) {
    let ShapeGradients::RotationScale(rotations, log_scales) = &gradients.shape else { panic!("covariances") };
    (rotations, log_scales)
}

#[test]
fn five_cuda_rasterisers() {
    let Some(golden) = Golden::open("parity/render/golden_render.safetensors") else { return };
    let splats = shell(2000, 3, SHELL_SEED).splats;
    let scene = Scene::from(&splats);
    let camera = shell_camera(3, 128, 128);
    // dL/dimage of the golden file: 2u − 1 by the hash of the scene's description
    let upstream: Vec<f32> = (0..128 * 128 * 3).map(|i| (2.0 * uniform(i, 20_240_608) - 1.0) as f32).collect();

    for on in &backends() {
        for (library, settings, activated) in [
            ("gsplat", Settings::GSPLAT, true),
            ("fgs", Settings::FASTER_GS, false),
            ("dgr_inria", Settings::INRIA, true),
            ("dgr_taming", Settings::INRIA, true),
            ("dgr_ashawkey", Settings::INRIA, true),
        ] {
            let key = |name: &str| format!("{library}.{name}");
            let (drawn, gradients) =
                on.gradient(&scene, &camera, &settings, [0.1, 0.2, 0.3], &Upstream::rgb(&upstream));
            let image = golden.get(&key("image"));
            let worst = largest(drawn.rgb.iter().map(|v| f64::from(*v)), &image);
            let (rotations, log_scales) = shape(&gradients);
            // with respect to activated values where the library has those as parameters
            let scales = splats.log_scales.as_flattened().iter().map(|s| f64::from(s.exp()));
            let scales: Vec<f64> =
                flat(log_scales).zip(scales).map(|(g, s)| if activated { g / s } else { g }).collect();
            let opacities = gradients.opacity_logits.iter().zip(&splats.opacity_logits).map(|(g, logit)| {
                let o = f64::from(opacity_from_logit(*logit));
                f64::from(*g) / if activated { o * (1.0 - o) } else { 1.0 }
            });
            let split = matches!(library, "fgs" | "dgr_taming");
            let mut sh = Vec::new();
            for i in 0..2000 {
                sh.extend(gradients.color[i].map(f64::from));
                if !split {
                    sh.extend(gradients.sh_rest[i * 45..][..45].iter().map(|v| f64::from(*v)));
                }
            }
            let [scale_key, opacity_key] =
                if activated { ["grad.scales", "grad.opacities"] } else { ["grad.log_scales", "grad.logit_opacities"] };
            let mut errors = vec![
                ("means", relative(flat(&gradients.means), &golden.get(&key("grad.means")))),
                ("scales", relative(scales, &golden.get(&key(scale_key)))),
                ("rotations", relative(flat(rotations), &golden.get(&key("grad.quats")))),
                ("opacities", relative(opacities, &golden.get(&key(opacity_key)))),
                ("sh", relative(sh, &golden.get(&key(if split { "grad.sh0" } else { "grad.sh" })))),
            ];
            if split {
                let rest = gradients.sh_rest.iter().map(|v| f64::from(*v));
                errors.push(("sh_rest", relative(rest, &golden.get(&key("grad.sh_rest")))));
            }
            println!("{} {library}: image {worst:.1e}, gradients {errors:?}", on.name());
            // rounding moves single pixels across α = 1/255 or the end of a pixel; a step there is at most 1/255
            assert!(worst < 1.5e-3, "{library}: image {worst}");
            for (name, error) in errors {
                assert!(error < 1e-3, "{library}: gradient of {name} {error}");
            }
        }
    }
}

/// Counter-based hash of the scene's description.
fn uniform(counter: u64, seed: u64) -> f64 {
    let mut z = seed.wrapping_add((counter + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 * 2f64.powi(-53)
}

/// Planar channels to interleaved.
fn interleaved(planes: &[f32], pixels: usize) -> Vec<f32> {
    (0..pixels).flat_map(|i| (0..3).map(move |c| planes[c * pixels + i])).collect()
}

#[test]
fn cgs_gan_rasteriser() {
    let Some(golden) = Golden::open("parity/cgs-gan/parity_raster_small.safetensors") else { return };
    let (means, rotations, scales) = (golden.rows("xyz"), golden.rows("rotation"), golden.rows("scaling"));
    let (sh0, opacity_logits) = (golden.rows("features_dc"), golden.f32("opacity"));
    let scene = Scene {
        means: &means,
        shape: Shape::RotationScale(&rotations, &scales),
        opacity_logits: &opacity_logits,
        color: Color::Sh(&sh0, &[], 0),
    };
    let view = golden.get("viewmatrix");
    let tangent = golden.get("tanfov");
    let camera = Camera {
        width: 40,
        height: 40,
        focal: [20.0 / tangent[0], 20.0 / tangent[1]],
        principal: [20.0, 20.0],
        camera_from_world: std::array::from_fn(|r| std::array::from_fn(|c| view[c * 4 + r])),
        ..Camera::default()
    };
    // the generator normalises quaternions before it draws
    let settings = Settings { normalize_rotations: true, depth: true, ..Settings::INRIA };
    let background = golden.f32("bg").try_into().unwrap();
    let radii = forward(&scene, &camera, &settings, background).radii(&scene).into_iter().map(f64::from);
    let off: Vec<_> = radii.zip(golden.get("radii")).enumerate().filter(|(_, (a, b))| a != b).collect();
    assert!(off.is_empty(), "radii: {off:?}");
    let widen = |values: &[f32]| values.iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
    let upstream = interleaved(&golden.f32("dL_dimage"), 1600);
    for on in &backends() {
        let (drawn, gradients) = on.gradient(&scene, &camera, &settings, background, &Upstream::rgb(&upstream));
        for (name, values) in
            [("image", widen(&drawn.rgb)), ("alpha", widen(&drawn.alpha)), ("depth", widen(&drawn.depth))]
        {
            let mut expected = golden.f32(name);
            if name == "image" {
                expected = interleaved(&expected, 1600);
            }
            let worst = largest(values, &widen(&expected));
            println!("{name}: {worst:.1e}");
            assert!(worst < 2e-5, "{name}: {worst}");
        }
        let (rotations, log_scales) = shape(&gradients);
        for (name, values) in [
            ("dL_dxyz", flat(&gradients.means).collect::<Vec<_>>()),
            ("dL_dscaling", flat(log_scales).collect()),
            ("dL_drotation", flat(rotations).collect()),
            ("dL_dopacity", widen(&gradients.opacity_logits)),
            ("dL_dfeatures_dc", flat(&gradients.color).collect()),
        ] {
            let error = relative(values, &golden.get(name));
            println!("{name}: {error:.1e}");
            assert!(error < 1e-4, "{name}: {error}");
        }
    }
}

#[test]
fn rgbavatar_rasteriser() {
    let Some(golden) = Golden::open("parity/rgbavatar/parity_blendshapes.safetensors") else { return };
    let (width, height, count) = (48usize, 32usize, 40usize);
    let pixels = width * height;
    let (view, projection, tangent) =
        (golden.get("raster.view"), golden.get("raster.full_proj"), golden.get("raster.tanfov"));
    let camera = Camera {
        width: width as u32,
        height: height as u32,
        focal: [width as f64 / (2.0 * tangent[0]), height as f64 / (2.0 * tangent[1])],
        // the third column of the projection shifts normalised coordinates
        principal: [width as f64 * 0.5 * (1.0 + projection[2]), height as f64 * 0.5 * (1.0 + projection[6])],
        camera_from_world: std::array::from_fn(|r| std::array::from_fn(|c| view[r * 4 + c])),
        ..Camera::default()
    };
    for image in 0..2 {
        let part = |name: &str, size: usize| golden.get(&format!("raster.{name}"))[image * size..][..size].to_vec();
        let narrow = |values: Vec<f64>| values.into_iter().map(|v| v as f32).collect::<Vec<f32>>();
        let (scales, opacities) = (part("scales", count * 3), part("opacities", count));
        let means: Vec<[f32; 3]> = common::rows(&narrow(part("means3D", count * 3)));
        let rotations: Vec<[f32; 4]> = common::rows(&narrow(part("rotations", count * 4)));
        let log_scales: Vec<[f32; 3]> = common::rows(&narrow(scales.iter().map(|s| s.ln()).collect()));
        let sh0: Vec<[f32; 3]> = common::rows(&narrow(part("sh", count * 3)));
        let opacity_logits = narrow(opacities.iter().map(|o| (o / (1.0 - o)).ln()).collect());
        let scene = Scene {
            means: &means,
            shape: Shape::RotationScale(&rotations, &log_scales),
            opacity_logits: &opacity_logits,
            color: Color::Sh(&sh0, &[], 0),
        };
        let background = narrow(part("bg", 3)).try_into().unwrap();
        let radii = forward(&scene, &camera, &Settings::INRIA, background).radii(&scene);
        let radii: Vec<f64> = radii.into_iter().map(f64::from).collect();
        assert_eq!(radii, part("radii", count));
        // colour initialisation: red, green, blue and the matte in planes
        let photo = narrow(part("target_rgba", pixels * 4));
        let seen = forward(&scene, &camera, &Settings::INRIA, background).observed(
            count,
            &interleaved(&photo, pixels),
            &photo[3 * pixels..],
        );
        let weights = largest(seen.weights.iter().map(|v| f64::from(*v)), &part("est_weight", count));
        let colors = largest(flat(&seen.colors), &part("est_color", count * 3));
        // sums of a hundred pixels or so, each off by an f32 rounding of T α
        assert!(weights < 2e-4 && colors < 2e-4, "image {image}: weights {weights}, colours {colors}");
        let rgb = interleaved(&narrow(part("upstream_color", pixels * 3)), pixels);
        let upstream = Upstream { alpha: &narrow(part("upstream_alpha", pixels)), ..Upstream::rgb(&rgb) };
        for on in &backends() {
            let (drawn, gradients) = on.gradient(&scene, &camera, &Settings::INRIA, background, &upstream);
            let color = interleaved(&narrow(part("color", pixels * 3)), pixels);
            let worst = drawn.rgb.iter().zip(&color).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            let alpha = largest(drawn.alpha.iter().map(|v| f64::from(*v)), &part("alpha", pixels));
            println!("image {image}: colour {worst:.1e}, alpha {alpha:.1e}");
            assert!(worst < 2e-5 && alpha < 2e-5, "image {image}: colour {worst}, alpha {alpha}");

            let (rotations, log_scales) = shape(&gradients);
            for (name, values) in [
                ("means3D", flat(&gradients.means).collect::<Vec<_>>()),
                ("scales", flat(log_scales).zip(&scales).map(|(g, s)| g / s).collect()),
                ("rotations", flat(rotations).collect()),
                (
                    "opacities",
                    gradients
                        .opacity_logits
                        .iter()
                        .zip(&opacities)
                        .map(|(g, o)| f64::from(*g) / (o * (1.0 - o)))
                        .collect(),
                ),
                ("sh", flat(&gradients.color).collect()),
            ] {
                let error = relative(
                    values,
                    &part(&format!("grad_{name}"), golden.get(&format!("raster.grad_{name}")).len() / 2),
                );
                println!("image {image}: {name} {error:.1e}");
                assert!(error < 1e-4, "image {image}: {name} {error}");
            }
        }
    }
}
