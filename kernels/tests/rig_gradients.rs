//! Gradients of rigs against central differences in f64, where no golden gradients exist.

use gav_formats::{Joint, MorphTarget, Morphs, Skeleton, TriangleFrame, synthetic};
use gav_kernels::rig::{
    Affine, Geometry, blendshapes, skeleton, skin,
    skin::Influences,
    triangle::{self, BindingRef, MeshRef},
};

/// h = 1e-6: truncation about 1e-12 of the third derivative, rounding about 1e-10.
const STEP: f64 = 1e-6;
const TOLERANCE: f64 = 2e-8;

fn numbers(count: usize, seed: u64) -> Vec<f64> {
    (0..count as u64).map(|i| 2.0 * synthetic::uniform(i, seed) - 1.0).collect()
}

fn rows<const N: usize>(count: usize, seed: u64) -> Vec<[f64; N]> {
    numbers(count * N, seed).chunks_exact(N).map(|r| r.try_into().unwrap()).collect()
}

/// Compares `found` with the differences of `f` over all numbers of `x`.
fn check(what: &str, x: &[f64], found: &[f64], f: impl Fn(&[f64]) -> f64) {
    assert_eq!(x.len(), found.len(), "{what}");
    for k in 0..x.len() {
        let at = |h: f64| {
            let mut y = x.to_vec();
            y[k] += h;
            f(&y)
        };
        let expected = (at(STEP) - at(-STEP)) / (2.0 * STEP);
        let error = (found[k] - expected).abs() / expected.abs().max(1.0);
        assert!(error < TOLERANCE, "{what}[{k}]: {} instead of {expected}", found[k]);
    }
}

fn rest(count: usize, seed: u64) -> Geometry<f64> {
    Geometry { means: rows(count, seed), rotations: rows(count, seed + 1), log_scales: rows(count, seed + 2) }
}

fn weigh(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn pack(g: &Geometry<f64>) -> Vec<f64> {
    let parts = [g.means.as_flattened(), g.rotations.as_flattened(), g.log_scales.as_flattened()];
    parts.concat()
}

fn unpack(x: &[f64]) -> Geometry<f64> {
    let n = x.len() / 10;
    let (means, rest) = x.split_at(3 * n);
    let (rotations, log_scales) = rest.split_at(4 * n);
    Geometry {
        means: means.chunks_exact(3).map(|r| r.try_into().unwrap()).collect(),
        rotations: rotations.chunks_exact(4).map(|r| r.try_into().unwrap()).collect(),
        log_scales: log_scales.chunks_exact(3).map(|r| r.try_into().unwrap()).collect(),
    }
}

fn affines(x: &[f64]) -> Vec<Affine<f64>> {
    x.chunks_exact(12).map(|m| std::array::from_fn(|r| std::array::from_fn(|c| m[4 * r + c]))).collect()
}

fn flat(m: &[Affine<f64>]) -> Vec<f64> {
    m.iter().flat_map(|m| m.as_flattened().to_vec()).collect()
}

/// Far enough from the identity to shear, never mirrored.
fn matrices(count: usize, seed: u64) -> Vec<f64> {
    let mut values = numbers(count * 12, seed);
    for m in values.chunks_exact_mut(12) {
        m.iter_mut().for_each(|v| *v *= 0.4);
        [0, 5, 10].into_iter().for_each(|k| m[k] += 1.0);
    }
    values
}

#[test]
fn triangles_of_every_frame_move_their_splats() {
    let (vertices, faces) = (rows::<3>(5, 1), vec![[0, 1, 2], [2, 1, 3], [4, 0, 3]]);
    let corner_uvs: Vec<[[f64; 2]; 3]> =
        rows::<6>(3, 2).iter().map(|r| [[r[0], r[1]], [r[2], r[3]], [r[4], r[5]]]).collect();
    let triangles = [2u32, 0, 1, 1, 0, 2, 2];
    let weights: Vec<[f64; 3]> = rows::<2>(7, 3).iter().map(|r| [r[0], r[1], 1.0 - r[0] - r[1]]).collect();
    let local = rest(7, 4);
    let upstream = numbers(70, 9);
    for frame in [TriangleFrame::GaussianAvatars, TriangleFrame::Stga, TriangleFrame::RgbAvatar] {
        let barycentrics = if frame == TriangleFrame::RgbAvatar { &weights[..] } else { &[] };
        let binding = BindingRef { frame, triangles: &triangles, barycentrics };
        let value = |vertices: &[[f64; 3]], local: &Geometry<f64>| {
            let mesh = MeshRef { vertices, faces: &faces, corner_uvs: &corner_uvs };
            weigh(&pack(&triangle::bind(&binding, &triangle::faces(frame, &mesh), local.view())), &upstream)
        };
        let mesh = MeshRef { vertices: &vertices, faces: &faces, corner_uvs: &corner_uvs };
        let frames = triangle::faces(frame, &mesh);
        let (by_local, by_vertex) =
            triangle::bind_backward(&binding, &mesh, &frames, local.view(), unpack(&upstream).view());
        check("local", &pack(&local), &pack(&by_local), |x| value(&vertices, &unpack(x)));
        check("vertices", vertices.as_flattened(), by_vertex.as_flattened(), |x| {
            value(&x.chunks_exact(3).map(|r| r.try_into().unwrap()).collect::<Vec<_>>(), &local)
        });
    }
}

#[test]
fn skins_move_their_splats_both_ways() {
    let joints = matrices(3, 20);
    let weights = vec![1.0, 0.3, 0.7, 0.2, 0.5, 0.3];
    let (offsets, of) = ([0u32, 1, 3, 6], [1u16, 0, 2, 2, 1, 0]);
    let splats = rest(3, 30);
    let polar = numbers(30, 40);
    let (means, covariances) = (rows::<3>(3, 50), rows::<6>(3, 51));
    let blend = |joints: &[f64], weights: &[f64]| {
        skin::blend(&Influences { offsets: &offsets, joints: &of, weights }, &affines(joints))
    };
    let rigid = |joints: &[f64], weights: &[f64], splats: &Geometry<f64>| {
        weigh(&pack(&skin::carry(&blend(joints, weights), splats.view())), &polar)
    };
    let whole = |joints: &[f64], weights: &[f64], splats: &Geometry<f64>| {
        let (m, c) = skin::carry_covariance(&blend(joints, weights), splats.view());
        weigh(m.as_flattened(), means.as_flattened()) + weigh(c.as_flattened(), covariances.as_flattened())
    };
    let blended = blend(&joints, &weights);
    let influences = Influences { offsets: &offsets, joints: &of, weights: &weights };

    let (by_blended, by_rest) = skin::carry_backward(&blended, splats.view(), unpack(&polar).view());
    let (by_joint, by_weight) = skin::blend_backward(&influences, &affines(&joints), &by_blended);
    check("polar rest", &pack(&splats), &pack(&by_rest), |x| rigid(&joints, &weights, &unpack(x)));
    check("polar joints", &joints, &flat(&by_joint), |x| rigid(x, &weights, &splats));
    check("polar weights", &weights, &by_weight, |x| rigid(&joints, x, &splats));

    let (by_blended, by_rest) = skin::carry_covariance_backward(&blended, splats.view(), &means, &covariances);
    let (by_joint, by_weight) = skin::blend_backward(&influences, &affines(&joints), &by_blended);
    check("covariance rest", &pack(&splats), &pack(&by_rest), |x| whole(&joints, &weights, &unpack(x)));
    check("covariance joints", &joints, &flat(&by_joint), |x| whole(x, &weights, &splats));
    check("covariance weights", &weights, &by_weight, |x| whole(&joints, x, &splats));
}

#[test]
fn joints_move_their_children() {
    let joint = |name: &str, parent: Option<u32>, seed: u64| Joint {
        name: name.into(),
        parent,
        humanoid: String::new(),
        translation: [0.1, 0.2, 0.3],
        rotation: [1.0, 0.0, 0.0, 0.0],
        scale: [1.0; 3],
        inverse_bind: affines(&numbers(12, seed))[0].map(|r| r.map(|v| v as f32)),
    };
    let skeleton = Skeleton {
        joints: vec![joint("a", None, 1), joint("b", Some(0), 2), joint("c", Some(0), 3), joint("d", Some(2), 4)],
    };
    let parameters = numbers(40, 5);
    let locals = |x: &[f64]| -> Vec<skeleton::Local<f64>> {
        let local = |p: &[f64]| skeleton::Local {
            translation: [p[0], p[1], p[2]],
            rotation: [p[3] + 1.5, p[4], p[5], p[6]],
            scale: [p[7] + 2.0, p[8] + 2.0, p[9] + 2.0],
        };
        x.chunks_exact(10).map(local).collect()
    };
    let upstream = numbers(48, 6);
    let found = skeleton::skinning_backward(&skeleton, &locals(&parameters), &affines(&upstream));
    let found: Vec<f64> = found.iter().flat_map(|l| [&l.translation[..], &l.rotation, &l.scale].concat()).collect();
    check("locals", &parameters, &found, |x| weigh(&flat(&skeleton::skinning(&skeleton, &locals(x))), &upstream));
    // the bind pose is what stands in the file
    let bind = skeleton::locals::<f64>(&skeleton, &gav_formats::Pose::default());
    assert_eq!(bind[3].translation, [0.1f32, 0.2, 0.3].map(f64::from));
}

#[test]
fn morphs_add_up() {
    let target = |driver: &str, splats: &[u32], seed| MorphTarget {
        driver: driver.into(),
        splats: splats.to_vec(),
        deltas: rows::<3>(splats.len(), seed).iter().map(|r| r.map(|v| v as f32)).collect(),
    };
    let morphs = Morphs { targets: vec![target("a", &[0, 2], 1), target("b", &[2, 3], 2)] };
    let mut means = vec![[0.0f32; 3]; 4];
    blendshapes::add_morphs(&morphs, &[2.0, -1.0], &mut means);
    let (a, b) = (&morphs.targets[0].deltas, &morphs.targets[1].deltas);
    for c in 0..3 {
        assert_eq!([means[0][c], means[1][c], means[3][c]], [2.0 * a[0][c], 0.0, -b[1][c]]);
        assert_eq!(means[2][c], 2.0 * a[1][c] - b[0][c]);
    }
    let g: Vec<[f32; 3]> = rows::<3>(4, 3).iter().map(|r| r.map(|v| v as f32)).collect();
    let (by_value, by_delta) = blendshapes::add_morphs_backward(&morphs, &[2.0, -1.0], &g);
    let expected: f32 = (0..3).map(|c| g[2][c] * b[0][c] + g[3][c] * b[1][c]).sum();
    assert!((by_value[1] - expected).abs() < 1e-6);
    assert_eq!(by_delta[0][1], g[2].map(|v| 2.0 * v));
}
