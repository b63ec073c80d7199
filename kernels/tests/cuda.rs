//! What only a device does: batches in one sequence of launches, room that grows, captured graphs; and that every kernel
//! compiles, which needs no device.

mod common;

use common::{device, flat, relative};
use gav_formats::{
    Camera, Splats,
    synthetic::{SHELL_SEED, shell, shell_camera, uniform},
};
use gav_kernels::{
    adam,
    cuda::{
        Buffer, Device,
        adam::{Adam, Tensor},
        knn::Search,
        loss::{Loss, LossWeights},
        radix::Sort,
        raster::{Batch, Options, Planes, SplatGradients, View, compile_all, forward_batch},
    },
    knn::knn,
    losses::{SsimLoss, l1, ssim},
    metrics::ImageView,
    raster::{self, Gradients, Scene, Settings, ShapeGradients, Shot, Upstream},
};

#[test]
fn every_kernel_compiles() {
    let Some(reports) = compile_all("sm_90").unwrap() else {
        eprintln!("SKIPPED: no NVRTC; set GAV_NVRTC to it");
        return;
    };
    for report in &reports {
        println!("{report}");
    }
    // loss, Adam, neighbours, sort, training, statistics, tiles, two projections and two blends, each value of each definition and one
    // with all; projections of rows with more than is used, and the ways back that trainings take
    assert_eq!(reports.len(), 3 + 2 + 4 + 2 + 2 + 2 + 2 + (10 + 3) + (12 + 1 + 3 + 1) + 7 + (7 + 1 + 1));
}

fn noise(count: usize, seed: u64) -> Vec<f32> {
    (0..count as u64).map(|i| (2.0 * uniform(i, seed) - 1.0) as f32).collect()
}

fn compare(name: &str, ours: &Gradients, expected: &Gradients, limit: f64) {
    let check = |part: &str, a: Vec<f64>, b: Vec<f64>| {
        let error = relative(a, &b);
        println!("{name}, {part}: {error:.1e}");
        assert!(error < limit, "{name}, {part}: {error}");
    };
    let list = |v: &[f32]| v.iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
    check("means", flat(&ours.means).collect(), flat(&expected.means).collect());
    check("logits", list(&ours.opacity_logits), list(&expected.opacity_logits));
    check("color", flat(&ours.color).collect(), flat(&expected.color).collect());
    check("rest", list(&ours.sh_rest), list(&expected.sh_rest));
    check("centers", flat(&ours.centers).collect(), flat(&expected.centers).collect());
    check("background", list(&ours.background), list(&expected.background));
    let camera = |g: &Gradients| g.camera_from_world.as_flattened().to_vec();
    check("camera", camera(ours), camera(expected));
    match (&ours.shape, &expected.shape) {
        (ShapeGradients::RotationScale(q, s), ShapeGradients::RotationScale(p, t)) => {
            check("rotations", flat(q).collect(), flat(p).collect());
            check("scales", flat(s).collect(), flat(t).collect());
        }
        (ShapeGradients::Covariance(a), ShapeGradients::Covariance(b)) => {
            check("covariances", flat(a).collect(), flat(b).collect());
        }
        _ => panic!("{name}: shapes of different kinds"),
    }
}

#[test]
fn mixed_batches_equal_the_cpu() {
    let Some(device) = device() else { return };
    let clouds = [shell(3000, 3, SHELL_SEED), shell(700, 1, 5), shell(5000, 3, 9), shell(1500, 0, 3)].map(|a| a.splats);
    let cameras = [shell_camera(0, 96, 80), shell_camera(5, 33, 90), shell_camera(9, 128, 128)];
    let mut shots = Vec::new();
    for (s, c) in [(0, 0), (1, 1), (0, 2), (2, 1), (3, 0), (2, 2), (1, 0), (0, 1)] {
        shots.push(Shot {
            scene: Scene::from(&clouds[s]),
            camera: &cameras[c],
            background: [0.1, 0.5, 0.2 * c as f32],
        });
    }
    for base in [Settings::DEFAULT, Settings::INRIA, Settings::GSPLAT, Settings::FASTER_GS] {
        let settings = Settings { depth: true, normals: true, ..base };
        let planes: Vec<[Vec<f32>; 4]> = shots
            .iter()
            .enumerate()
            .map(|(i, shot)| {
                let pixels = (shot.camera.width * shot.camera.height) as usize;
                std::array::from_fn(|k| noise(pixels * [3, 1, 1, 3][k], (i * 4 + k) as u64))
            })
            .collect();
        let upstream: Vec<Upstream<'_>> =
            planes.iter().map(|[rgb, alpha, depth, normals]| Upstream { rgb, alpha, depth, normals }).collect();
        let expected = raster::forward_batch(&shots, &settings);
        let expected_gradients = raster::backward_batch(&expected, &shots, &upstream);
        let mut drawn = forward_batch(&device, &shots, &settings).unwrap();
        for (i, (ours, expected)) in drawn.images.iter().zip(&expected).enumerate() {
            for (name, a, b) in [
                ("rgb", &ours.rgb, &expected.image.rgb),
                ("alpha", &ours.alpha, &expected.image.alpha),
                ("depth", &ours.depth, &expected.image.depth),
                ("normals", &ours.normals, &expected.image.normals),
            ] {
                let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert_eq!(a.len(), b.len());
                // a pixel on the edge of 1/255 may fall either way
                assert!(worst < 6e-3, "picture {i} {name}: {worst}");
            }
        }
        for (i, (ours, expected)) in drawn.backward(&upstream).unwrap().iter().zip(&expected_gradients).enumerate() {
            // single pixels on an edge, as above
            compare(&format!("picture {i}"), ours, expected, 2e-3);
        }
    }
}

#[test]
fn gradients_of_several_views_are_added_and_room_grows() {
    if device().is_none() {
        return;
    }
    // a stream of its own: a capture would take in what other tests enqueue
    let device = Device::open(0).unwrap();
    let splats = shell(4000, 3, SHELL_SEED).splats;
    let scene = Scene::from(&splats);
    let cameras: Vec<Camera> = (0..5).map(|i| shell_camera(i, 112, 112)).collect();
    let views: Vec<View<'_>> =
        cameras.iter().map(|camera| View { scene: 0, camera, background: [0.2, 0.3, 0.4] }).collect();
    let on_device = gav_kernels::cuda::raster::Splats::upload(&device, &[scene]).unwrap();
    let settings = Settings::GSPLAT;
    let options = Options { entries: 100, cameras: true, ..Options::default() };
    let mut batch = Batch::new(&device, &on_device, &views, &settings, options).unwrap();

    // too little room: said, not hidden, and nothing is written beyond it
    batch.forward(&on_device).unwrap();
    let needed = batch.needed().unwrap();
    assert!(needed.entries > 100 && needed.longest > 10, "{needed:?}");
    assert_eq!(batch.room(), 100);
    assert_eq!(batch.draw(&on_device).unwrap(), needed);
    assert!(batch.room() as u64 >= needed.entries);

    let upstream = noise(112 * 112 * 3 * 5, 1);
    let rgb = Buffer::from_slice(&device, &upstream).unwrap();
    let mut gradients = SplatGradients::new(&device, on_device.kind, batch.gradient_rows()).unwrap();
    batch.backward(&on_device, Planes { rgb: Some(&rgb), ..Planes::default() }, &mut gradients).unwrap();
    let shots: Vec<Shot<'_>> =
        cameras.iter().map(|camera| Shot { scene, camera, background: [0.2, 0.3, 0.4] }).collect();
    let cpu = raster::forward_batch(&shots, &settings);
    let parts: Vec<Upstream<'_>> = upstream.chunks(112 * 112 * 3).map(Upstream::rgb).collect();
    let expected = raster::backward_batch(&cpu, &shots, &parts);
    let sum = |pick: &dyn Fn(&Gradients) -> Vec<f64>| {
        expected.iter().map(pick).reduce(|a, b| a.iter().zip(&b).map(|(a, b)| a + b).collect()).unwrap()
    };
    let ours = |buffer: &Buffer<f32>| buffer.read().unwrap().into_iter().map(f64::from).collect::<Vec<_>>();
    let scales = |g: &Gradients| match &g.shape {
        ShapeGradients::RotationScale(_, s) => flat(s).collect(),
        ShapeGradients::Covariance(_) => Vec::new(),
    };
    for (name, a, b) in [
        ("means", ours(&gradients.means), sum(&|g| flat(&g.means).collect())),
        ("scales", ours(&gradients.scales), sum(&scales)),
        ("rest", ours(&gradients.rest), sum(&|g| g.sh_rest.iter().map(|v| f64::from(*v)).collect())),
    ] {
        let error = relative(a, &b);
        println!("{name}: {error:.1e}");
        assert!(error < 1e-3, "{name}: {error}");
    }

    // the same as a captured graph, from another side and back
    let image = batch.rgb.read().unwrap();
    let graph = device.capture(|| batch.forward(&on_device)).unwrap();
    let turned: Vec<View<'_>> = views.iter().rev().copied().collect();
    batch.look(&turned).unwrap();
    graph.launch().unwrap();
    assert_ne!(batch.rgb.read().unwrap(), image);
    batch.look(&views).unwrap();
    graph.launch().unwrap();
    assert_eq!(batch.rgb.read().unwrap(), image);
}

#[test]
fn long_lists_and_wide_splats_are_drawn_whole() {
    let Some(device) = device() else { return };
    // 40,000 splats in a few tiles, and some over the whole picture
    let mut splats = shell(40_000, 0, SHELL_SEED).splats;
    for i in 0..30 {
        splats.log_scales[i * 1000] = [-2.0, -1.5, -3.0];
    }
    splats.opacity_logits.iter_mut().for_each(|o| *o -= 5.0);
    let mut camera = shell_camera(3, 300, 200);
    camera.focal = [60.0; 2];
    for settings in [Settings::DEFAULT, Settings::GSPLAT] {
        let shot = Shot { scene: Scene::from(&splats), camera: &camera, background: [0.0; 3] };
        let expected = raster::forward_batch(&[shot], &settings).remove(0);
        let mut ours = forward_batch(&device, &[shot], &settings).unwrap();
        let worst = ours.images[0].rgb.iter().zip(&expected.image.rgb).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        println!("largest difference {worst:.1e}");
        // thousands of faint splats per pixel, each of which may fall either way at 1/255
        assert!(worst < 2e-2, "{worst}");
        let upstream = noise(300 * 200 * 3, 4);
        let gradients = ours.backward(&[Upstream::rgb(&upstream)]).unwrap().remove(0);
        let expected = expected.backward(&shot.scene, &Upstream::rgb(&upstream));
        compare("long lists", &gradients, &expected, 5e-3);
    }
    let empty = Splats::default();
    let shot = Shot { scene: Scene::from(&empty), camera: &camera, background: [0.5; 3] };
    assert!(forward_batch(&device, &[shot], &Settings::DEFAULT).unwrap().images[0].rgb.iter().all(|v| *v == 0.5));
    assert!(forward_batch(&device, &[], &Settings::DEFAULT).unwrap().images.is_empty());
}

#[test]
fn l1_and_ssim_equal_the_cpu() {
    let Some(device) = device() else { return };
    for [width, height, channels, pictures] in
        [[11, 11, 1, 1], [16, 12, 3, 2], [33, 130, 3, 3], [200, 54, 4, 1], [7, 5, 3, 1]]
    {
        let size = width * height * channels;
        let (a, b) = (noise(size * pictures, 3), noise(size * pictures, 4));
        let on_device = [&a, &b].map(|v| Buffer::from_slice(&device, v).unwrap());
        let mut loss = Loss::new(&device, pictures, [width, height, channels]).unwrap();
        for options in [(false, false), (true, false), (false, true), (true, true)] {
            let options = SsimLoss { valid: options.0, clamp: options.1 };
            let weights = LossWeights { l1: 0.8, ssim: -0.2, options };
            let done = loss.backward(&on_device[0], &on_device[1], weights);
            if options.valid && width.min(height) < 11 {
                assert!(done.is_err());
                continue;
            }
            done.unwrap();
            let (values, gradient) = (loss.values.read().unwrap(), loss.gradient.read().unwrap());
            for i in 0..pictures {
                let view = |v| ImageView::new(width, height, channels, v).unwrap();
                let (a, b) = (view(&a[i * size..][..size]), view(&b[i * size..][..size]));
                let mut expected = vec![0.0; size];
                let first = l1(a, b, 0.8, Some(&mut expected)).unwrap();
                let second = ssim(a, b, options, -0.2, Some(&mut expected)).unwrap();
                println!("{width}×{height} {options:?}: {} {first}, {} {second}", values[i * 2], values[i * 2 + 1]);
                assert!((values[i * 2] - first).abs() < 1e-5 && (values[i * 2 + 1] - second).abs() < 1e-5);
                let largest = expected.iter().fold(0.0f32, |m, g| m.max(g.abs()));
                for (ours, expected) in gradient[i * size..][..size].iter().zip(&expected) {
                    // rounding of a² − μ² in f32, as the CPU against f64
                    assert!((ours - expected).abs() < 2e-5 * largest, "{ours} {expected} of {largest}");
                }
            }
        }
    }
}

#[test]
fn adam_equals_the_cpu_on_tensors_of_any_length() {
    let Some(device) = device() else { return };
    let constants = adam::Adam::default();
    let lengths = [1, 4, 1023, 5000, 3 * 700];
    let masks: Vec<Vec<u32>> = vec![vec![], vec![], vec![], vec![], (0..700).map(|i| u32::from(i % 3 != 0)).collect()];
    let mut values: Vec<Vec<f32>> = lengths.iter().map(|n| noise(*n, 1)).collect();
    let gradients: Vec<Vec<f32>> = lengths.iter().map(|n| noise(*n, 2)).collect();
    let mut on_device: Vec<_> = values.iter().map(|v| Buffer::from_slice(&device, v).unwrap()).collect();
    let gradients_there: Vec<_> = gradients.iter().map(|v| Buffer::from_slice(&device, v).unwrap()).collect();
    let masks_there: Vec<_> = masks.iter().map(|v| Buffer::from_slice(&device, v).unwrap()).collect();
    let mut moments: Vec<[Vec<f32>; 2]> = lengths.iter().map(|n| [vec![0.0; *n], vec![0.0; *n]]).collect();
    let mut ours = Adam::new(&device, constants, &lengths).unwrap();
    for step in 1..=5 {
        let mut tensors: Vec<adam::Tensor<'_>> = Vec::new();
        for (i, (values, [means, squares])) in values.iter_mut().zip(&mut moments).enumerate() {
            let rate = 0.01 * (i + 1) as f32;
            tensors.push(adam::Tensor { values, means, squares, gradient: &gradients[i], rate, mask: &masks[i] });
        }
        constants.step(step, &mut tensors);
        let mut there: Vec<Tensor<'_>> = Vec::new();
        for (i, values) in on_device.iter_mut().enumerate() {
            let mask = (!masks[i].is_empty()).then_some(&masks_there[i]);
            there.push(Tensor { values, gradient: &gradients_there[i], rate: 0.01 * (i + 1) as f32, mask });
        }
        ours.step(&mut there).unwrap();
    }
    for (ours, expected) in on_device.iter().zip(&values) {
        let ours = ours.read().unwrap();
        let worst = ours.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        // five steps of up to 0.05, each rounded
        assert!(worst < 2e-6, "{worst}");
    }
}

#[test]
fn neighbours_equal_the_cpu() {
    let Some(device) = device() else { return };
    for (queries, points, k, skip_self) in
        [(1, 1, 1, false), (700, 3000, 3, false), (2500, 2500, 3, true), (2, 3, 16, true), (5, 0, 2, false)]
    {
        let make = |count: usize, seed| {
            let values = noise(count * 3, seed);
            values.as_chunks::<3>().0.to_vec()
        };
        let points: Vec<[f32; 3]> = make(points, 1);
        let mut queries: Vec<[f32; 3]> = if skip_self { points.clone() } else { make(queries, 2) };
        if queries.len() > 4 {
            queries[4] = [f32::NAN; 3];
        }
        let [there, from] = [&queries, &points].map(|v| Buffer::from_slice(&device, v.as_flattened()).unwrap());
        let mut search = Search::new(&device, queries.len(), k).unwrap();
        search.run(&there, &from, skip_self).unwrap();
        let expected = knn(&queries, &points, k, skip_self);
        assert_eq!(search.indices.read().unwrap(), expected.indices);
        assert_eq!(search.squares.read().unwrap(), expected.squares);
    }
    assert!(Search::new(&device, 5, 17).is_err() && Search::new(&device, 5, 0).is_err());
}

#[test]
fn pairs_are_sorted_and_equal_keys_keep_their_order() {
    let Some(device) = device() else { return };
    for (count, range) in
        [(0u64, 1u64), (1, 9), (31, 3), (4096, 300), (4097, 1 << 20), (100_000, 70_000), (300_000, 1 << 32)]
    {
        let keys: Vec<u32> = (0..count).map(|i| (uniform(i, 8) * range as f64) as u32).collect();
        let mut expected: Vec<(u32, u32)> = keys.iter().copied().zip(0..).collect();
        expected.sort_by_key(|pair| pair.0);
        let mut there = Buffer::from_slice(&device, &keys).unwrap();
        let mut values = Buffer::from_slice(&device, &(0..count as u32).collect::<Vec<_>>()).unwrap();
        let bits = 64 - u64::leading_zeros(range - 1);
        Sort::new(&device, count as usize).unwrap().run(&mut there, &mut values, bits).unwrap();
        let ours: Vec<(u32, u32)> = there.read().unwrap().into_iter().zip(values.read().unwrap()).collect();
        assert_eq!(ours, expected);
    }
}
