//! Rigs on a device against the CPU in f64, forward and backward, several poses at a time.

mod common;

use std::sync::Arc;

use common::{device, relative};
use gav_formats::{Activation, TriangleFrame, synthetic::uniform};
use gav_kernels::{
    cuda::{
        Buffer, Device,
        rig::{
            Bases, Binding, BindingArrays, Blended, Blendshapes, Carry, GeometryBuffers, Network, Rows, Skin,
            SkinGradients, compile_all,
        },
    },
    rig::{
        Geometry, GeometryRef, blendshapes, network,
        skin::{self, Influences},
        triangle::{self, BindingRef, MeshRef},
    },
};

const POSES: usize = 3;
// f32 against f64: results differ by rounding, gradients by sums of it
const FORWARD: f64 = 2e-6;
const BACKWARD: f64 = 2e-5;

#[test]
fn every_kernel_compiles() {
    let Some(reports) = compile_all("sm_90").unwrap() else {
        eprintln!("SKIPPED: no NVRTC; set GAV_NVRTC to it");
        return;
    };
    for report in &reports {
        println!("{report}");
    }
    // bodies, three frames, two ways of carrying, blendshapes, resizing, pixels, comparing
    assert_eq!(reports.len(), 10);
}

fn noise(count: usize, seed: u64) -> Vec<f32> {
    (0..count as u64).map(|i| (2.0 * uniform(i, seed) - 1.0) as f32).collect()
}

fn rows<const N: usize>(values: &[f32]) -> Vec<[f64; N]> {
    values.as_chunks::<N>().0.iter().map(|row| row.map(f64::from)).collect()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

/// Centres, quaternions, log-scales of `count` splats.
struct Arrays([Vec<f32>; 3]);

impl Arrays {
    fn random(count: usize, seed: u64) -> Self {
        let scaled = |values: Vec<f32>, by: f32| values.into_iter().map(|v| v * by).collect();
        Self([noise(3 * count, seed), noise(4 * count, seed + 1), scaled(noise(3 * count, seed + 2), 0.5)])
    }

    fn part(&self, range: std::ops::Range<usize>) -> Geometry<f64> {
        Geometry {
            means: rows(&self.0[0][3 * range.start..3 * range.end]),
            rotations: rows(&self.0[1][4 * range.start..4 * range.end]),
            log_scales: rows(&self.0[2][3 * range.start..3 * range.end]),
        }
    }

    fn upload(&self, device: &Arc<Device>) -> [Buffer<f32>; 3] {
        [0, 1, 2].map(|k| Buffer::from_slice(device, &self.0[k]).unwrap())
    }
}

fn buffers(device: &Arc<Device>, count: usize) -> [Buffer<f32>; 3] {
    [3, 4, 3].map(|width| Buffer::new(device, width * count).unwrap())
}

fn geometry(buffers: &[Buffer<f32>; 3]) -> GeometryBuffers<'_> {
    GeometryBuffers { means: &buffers[0], rotations: &buffers[1], log_scales: &buffers[2] }
}

fn as_ref(g: &Geometry<f64>) -> GeometryRef<'_, f64> {
    GeometryRef { means: &g.means, rotations: &g.rotations, log_scales: &g.log_scales }
}

fn close(what: &str, found: &Buffer<f32>, expected: &[f64], limit: f64) {
    let error = relative(wide(&found.read().unwrap()), expected);
    println!("{what}: {error:.1e}");
    assert!(error < limit, "{what}: {error:e}");
}

#[test]
fn bound_splats_equal_the_cpu() {
    let Some(device) = device() else { return };
    let (vertices, splats) = (60, 500);
    let faces: Vec<[u32; 3]> =
        (0..80u32).map(|f| [f * 7 % 60, (f * 7 + 1 + f % 5) % 60, (f * 7 + 20 + f % 11) % 60]).collect();
    let uvs: Vec<[[f32; 2]; 3]> =
        noise(6 * faces.len(), 3).chunks_exact(6).map(|c| [[c[0], c[1]], [c[2], c[3]], [c[4], c[5]]]).collect();
    let triangles: Vec<u32> = (0..splats as u32).map(|i| i * 13 % 80).collect();
    let barycentrics: Vec<[f32; 3]> =
        noise(2 * splats, 4).chunks_exact(2).map(|c| [c[0], c[1], 1.0 - c[0] - c[1]]).collect();
    let places = noise(3 * vertices * POSES, 5);
    for frame in [TriangleFrame::GaussianAvatars, TriangleFrame::Stga, TriangleFrame::RgbAvatar] {
        let textured = frame == TriangleFrame::RgbAvatar;
        let (uvs, barycentrics) = if textured { (uvs.as_slice(), barycentrics.as_slice()) } else { (&[][..], &[][..]) };
        let arrays =
            BindingArrays { frame, vertices, faces: &faces, corner_uvs: uvs, triangles: &triangles, barycentrics };
        let binding = Binding::new(&device, &arrays, POSES).unwrap();
        let mesh = Buffer::from_slice(&device, &places).unwrap();
        let wide_uvs: Vec<[[f64; 2]; 3]> = uvs.iter().map(|c| c.map(|uv| uv.map(f64::from))).collect();
        let wide_barycentrics: Vec<[f64; 3]> = barycentrics.iter().map(|b| b.map(f64::from)).collect();
        for own in [false, true] {
            let count = if own { POSES * splats } else { splats };
            let (local, upstream) = (Arrays::random(count, 10), Arrays::random(POSES * splats, 20));
            let (local_on, upstream_on) = (local.upload(&device), upstream.upload(&device));
            let (out, by_local) = (buffers(&device, POSES * splats), buffers(&device, count));
            let by_vertices = Buffer::new(&device, 3 * vertices * POSES).unwrap();
            binding.forward(POSES, &mesh, &geometry(&local_on), &geometry(&out)).unwrap();
            binding
                .backward(
                    POSES,
                    &mesh,
                    &geometry(&local_on),
                    &geometry(&upstream_on),
                    &geometry(&by_local),
                    &by_vertices,
                )
                .unwrap();
            let mut expected: [Vec<f64>; 3] = Default::default();
            let mut expected_local: [Vec<f64>; 3] = [vec![0.0; 3 * count], vec![0.0; 4 * count], vec![0.0; 3 * count]];
            let mut expected_vertices = Vec::new();
            for pose in 0..POSES {
                let vertices64 = rows(&places[3 * vertices * pose..3 * vertices * (pose + 1)]);
                let mesh = MeshRef { vertices: &vertices64, faces: &faces, corner_uvs: &wide_uvs };
                let binding = BindingRef { frame, triangles: &triangles, barycentrics: &wide_barycentrics };
                let frames = triangle::faces(frame, &mesh);
                let first = if own { pose * splats } else { 0 };
                let here = local.part(first..first + splats);
                let posed = triangle::bind(&binding, &frames, as_ref(&here));
                let g = upstream.part(pose * splats..(pose + 1) * splats);
                let (by_local, by_vertices) =
                    triangle::bind_backward(&binding, &mesh, &frames, as_ref(&here), as_ref(&g));
                expected[0].extend(posed.means.as_flattened());
                expected[1].extend(posed.rotations.as_flattened());
                expected[2].extend(posed.log_scales.as_flattened());
                for (sum, (values, width)) in expected_local.iter_mut().zip([
                    (by_local.means.as_flattened(), 3),
                    (by_local.rotations.as_flattened(), 4),
                    (by_local.log_scales.as_flattened(), 3),
                ]) {
                    sum[width * first..].iter_mut().zip(values).for_each(|(s, v)| *s += v);
                }
                expected_vertices.extend_from_slice(by_vertices.as_flattened());
            }
            for (k, part) in ["means", "rotations", "log-scales"].into_iter().enumerate() {
                close(&format!("{frame:?} {own} {part}"), &out[k], &expected[k], FORWARD);
                close(&format!("{frame:?} {own} by local {part}"), &by_local[k], &expected_local[k], BACKWARD);
            }
            // triangles of random corners: some are slivers, whose frames turn fast
            close(&format!("{frame:?} {own} by vertices"), &by_vertices, &expected_vertices, 1e-3);
        }
    }
}

#[test]
fn skinned_splats_equal_the_cpu() {
    let Some(device) = device() else { return };
    let (splats, joints) = (700, 9);
    let starts: Vec<u32> = (0..=splats as u32).map(|i| 3 * i).collect();
    let columns: Vec<u32> = (0..3 * splats as u32).map(|k| (k / 3 * 5 + k % 3 * 2) % joints as u32).collect();
    let raw: Vec<f32> = noise(3 * splats, 1).iter().map(|v| v.abs() + 0.05).collect();
    let weights: Vec<f32> =
        raw.chunks_exact(3).flat_map(|w| w.iter().map(|v| v / w.iter().sum::<f32>()).collect::<Vec<_>>()).collect();
    // rotations with some shear; the matrices of the last pose mirror
    let matrices: Vec<f32> = (0..POSES * joints)
        .flat_map(|j| {
            let (angle, n) = (0.4 * j as f32, noise(12, 100 + j as u64));
            let (s, c) = angle.sin_cos();
            let sign = if j / joints == POSES - 1 { -1.0 } else { 1.0 };
            let base = [c, -s, 0.0, 0.0, s, c, 0.0, 0.0, 0.0, 0.0, sign, 0.0];
            (0..12).map(move |k| base[k] + 0.1 * n[k]).collect::<Vec<_>>()
        })
        .collect();
    let narrow: Vec<u16> = columns.iter().map(|c| *c as u16).collect();
    let wide_weights = wide(&weights);
    let influences = Influences { offsets: &starts, joints: &narrow, weights: &wide_weights };
    let on = Buffer::from_slice(&device, &matrices).unwrap();
    for carry in [Carry::Rigid, Carry::Covariance] {
        let list = Rows { starts: &starts, columns: &columns, values: &weights };
        let skin_on = Skin::new(&device, &list, joints, carry, POSES).unwrap();
        let (rest, upstream) = (Arrays::random(splats, 30), Arrays::random(POSES * splats, 40));
        let width = if carry == Carry::Rigid { 4 } else { 6 };
        let by_shape = noise(width * POSES * splats, 50);
        let (rest_on, means) = (rest.upload(&device), Buffer::new(&device, 3 * POSES * splats).unwrap());
        let shape = Buffer::new(&device, width * POSES * splats).unwrap();
        skin_on.forward(POSES, &on, &geometry(&rest_on), &means, &shape).unwrap();
        let by_rest = buffers(&device, splats);
        let by_matrices = Buffer::new(&device, matrices.len()).unwrap();
        let by_weights = Buffer::new(&device, weights.len()).unwrap();
        let [by_means_on, by_shape_on] = [&upstream.0[0], &by_shape].map(|v| Buffer::from_slice(&device, v).unwrap());
        let gradients = SkinGradients { rest: geometry(&by_rest), matrices: &by_matrices, weights: &by_weights };
        skin_on.backward(POSES, &on, &geometry(&rest_on), &by_means_on, &by_shape_on, &gradients).unwrap();

        let here = rest.part(0..splats);
        let (mut e_means, mut e_shape, mut e_matrices) = (Vec::new(), Vec::new(), Vec::new());
        let mut e_rest = Geometry::<f64>::zeros(splats);
        let mut e_weights = vec![0.0; weights.len()];
        for pose in 0..POSES {
            let joints64: Vec<[[f64; 4]; 3]> = matrices[12 * joints * pose..12 * joints * (pose + 1)]
                .as_chunks::<12>()
                .0
                .iter()
                .map(|m| std::array::from_fn(|r| std::array::from_fn(|c| f64::from(m[4 * r + c]))))
                .collect();
            let blended = skin::blend(&influences, &joints64);
            let g_means: Vec<[f64; 3]> = rows(&upstream.0[0][3 * splats * pose..3 * splats * (pose + 1)]);
            let g_shape = &by_shape[width * splats * pose..width * splats * (pose + 1)];
            let (by_affine, by) = if carry == Carry::Rigid {
                let posed = skin::carry(&blended, as_ref(&here));
                e_means.extend_from_slice(posed.means.as_flattened());
                e_shape.extend_from_slice(posed.rotations.as_flattened());
                let g = Geometry { means: g_means, rotations: rows(g_shape), log_scales: vec![[0.0; 3]; splats] };
                skin::carry_backward(&blended, as_ref(&here), as_ref(&g))
            } else {
                let (means, covariances) = skin::carry_covariance(&blended, as_ref(&here));
                e_means.extend_from_slice(means.as_flattened());
                e_shape.extend_from_slice(covariances.as_flattened());
                skin::carry_covariance_backward(&blended, as_ref(&here), &g_means, &rows::<6>(g_shape))
            };
            let add = |sum: &mut [f64], more: &[f64]| sum.iter_mut().zip(more).for_each(|(s, m)| *s += m);
            add(e_rest.means.as_flattened_mut(), by.means.as_flattened());
            add(e_rest.rotations.as_flattened_mut(), by.rotations.as_flattened());
            add(e_rest.log_scales.as_flattened_mut(), by.log_scales.as_flattened());
            let (by_joint, by_weight) = skin::blend_backward(&influences, &joints64, &by_affine);
            e_matrices.extend(by_joint.as_flattened().as_flattened());
            add(&mut e_weights, &by_weight);
        }
        let name = |part: &str| format!("{carry:?} {part}");
        close(&name("means"), &means, &e_means, FORWARD);
        // where the polar rotation is nearly not unique, rounding turns it
        let (shape_limit, gradient_limit) = if carry == Carry::Rigid { (1e-4, 5e-3) } else { (FORWARD, BACKWARD) };
        close(&name("shape"), &shape, &e_shape, shape_limit);
        close(&name("by means"), &by_rest[0], e_rest.means.as_flattened(), BACKWARD);
        close(&name("by rotations"), &by_rest[1], e_rest.rotations.as_flattened(), gradient_limit);
        if carry == Carry::Covariance {
            close(&name("by log-scales"), &by_rest[2], e_rest.log_scales.as_flattened(), BACKWARD);
        }
        close(&name("by matrices"), &by_matrices, &e_matrices, gradient_limit);
        close(&name("by weights"), &by_weights, &e_weights, gradient_limit);
    }
}

#[test]
fn blendshapes_and_their_network_equal_the_cpu() {
    let Some(device) = device() else { return };
    let (splats, bases, poses) = (600, 7, 5);
    let on = |values: &[f32]| Buffer::from_slice(&device, values).unwrap();
    let base = [noise(3 * splats, 1), noise(4 * splats, 2), noise(3 * splats, 3)];
    let deltas = [noise(3 * splats * bases, 4), noise(4 * splats * bases, 5), noise(3 * splats * bases, 6)];
    let upstream = [noise(3 * splats * poses, 7), noise(4 * splats * poses, 8), noise(3 * splats * poses, 9)];
    let weights = noise(poses * bases, 10);
    for colors in [true, false] {
        let base_on = [on(&base[0]), on(&base[1]), on(&base[2])];
        let sh0 = if colors { deltas[2].as_slice() } else { &[] };
        let bases_on = Bases { means: on(&deltas[0]), rotations: on(&deltas[1]), sh0: on(sh0) };
        let out = [3, 4, 3].map(|w| Buffer::new(&device, w * splats * poses).unwrap());
        let by_base = [3, 4, 3].map(|w| Buffer::new(&device, w * splats).unwrap());
        let empty = |width: usize| Buffer::new(&device, width * splats * bases).unwrap();
        let by_bases = Bases { means: empty(3), rotations: empty(4), sh0: empty(if colors { 3 } else { 0 }) };
        let (weights_on, by_weights) = (on(&weights), Buffer::new(&device, poses * bases).unwrap());
        let upstream_on = [on(&upstream[0]), on(&upstream[1]), on(&upstream[2])];
        fn part(b: &[Buffer<f32>; 3]) -> Blended<'_> {
            Blended { means: &b[0], rotations: &b[1], sh0: &b[2] }
        }
        let shapes = Blendshapes::new(&device, splats, bases, poses).unwrap();
        shapes.forward(poses, &part(&base_on), &bases_on, &weights_on, &part(&out)).unwrap();
        let gradients = (&part(&by_base), &by_bases, &by_weights);
        shapes.backward(poses, &part(&base_on), &bases_on, &weights_on, &part(&upstream_on), gradients).unwrap();

        let [b0, b1, b2] = [rows::<3>(&base[0]), rows::<3>(&base[2]), rows::<3>(sh0)];
        let (q, d_means, d_q) = (rows::<4>(&base[1]), rows::<3>(&deltas[0]), rows::<4>(&deltas[1]));
        let base_ref = blendshapes::BaseRef { means: &b0, rotations: &q, sh0: &b1 };
        let bases_ref = blendshapes::BasesRef { count: bases, means: &d_means, rotations: &d_q, sh0: &b2 };
        let mut e_out: [Vec<f64>; 3] = Default::default();
        let mut e_base = [vec![0.0; 3 * splats], vec![0.0; 4 * splats], vec![0.0; 3 * splats]];
        let mut e_deltas = [vec![0.0; 3 * splats * bases], vec![0.0; 4 * splats * bases], vec![0.0; sh0.len()]];
        let mut e_weights = Vec::new();
        for pose in 0..poses {
            let psi = wide(&weights[bases * pose..bases * (pose + 1)]);
            let found = blendshapes::blend(base_ref, &bases_ref, &psi);
            e_out[0].extend(found.means.as_flattened());
            e_out[1].extend(found.rotations.as_flattened());
            e_out[2].extend(found.sh0.as_flattened());
            let at = |k: usize, width: usize| &upstream[k][width * splats * pose..width * splats * (pose + 1)];
            let (g0, g1, g2) = (rows::<3>(at(0, 3)), rows::<4>(at(1, 4)), rows::<3>(at(2, 3)));
            let g = blendshapes::BaseRef { means: &g0, rotations: &g1, sh0: &g2 };
            let by = blendshapes::blend_backward(base_ref, &bases_ref, &psi, g);
            let add = |sum: &mut Vec<f64>, more: &[f64]| sum.iter_mut().zip(more).for_each(|(s, m)| *s += m);
            for (sums, from) in [(&mut e_base, &by.base), (&mut e_deltas, &by.deltas)] {
                add(&mut sums[0], from.means.as_flattened());
                add(&mut sums[1], from.rotations.as_flattened());
                add(&mut sums[2], from.sh0.as_flattened());
            }
            e_weights.extend(by.weights);
        }
        let by_bases = [by_bases.means, by_bases.rotations, by_bases.sh0];
        for k in 0..3 {
            close(&format!("blended {k}"), &out[k], &e_out[k], FORWARD);
            close(&format!("by base {k}"), &by_base[k], &e_base[k], BACKWARD);
            close(&format!("by deltas {k}"), &by_bases[k], &e_deltas[k], BACKWARD);
        }
        close("by weights", &by_weights, &e_weights, BACKWARD);
    }

    let (w0, b0, w1, b1) = (noise(40 * 129, 11), noise(40, 12), noise(7 * 40, 13), noise(7, 14));
    for activation in [Activation::Relu, Activation::Sigmoid, Activation::Tanh] {
        let layers = [
            network::LayerRef { weight: &w0, bias: &b0, activation },
            network::LayerRef { weight: &w1, bias: &b1, activation: Activation::None },
        ];
        let mut net = Network::new(&device, &layers, poses).unwrap();
        let (input, upstream) = (noise(129 * poses, 15), noise(7 * poses, 16));
        net.input.write(&input.iter().map(|v| 0.1 * v).collect::<Vec<_>>()).unwrap();
        net.forward(poses).unwrap();
        net.set_upstream(&upstream).unwrap();
        net.backward(poses).unwrap();
        let wides = [wide(&w0), wide(&b0), wide(&w1), wide(&b1)];
        let layers = [
            network::LayerRef { weight: &wides[0], bias: &wides[1], activation },
            network::LayerRef { weight: &wides[2], bias: &wides[3], activation: Activation::None },
        ];
        let (mut out, mut by_input, mut sums) =
            (Vec::new(), Vec::new(), [vec![0.0; w0.len()], vec![0.0; 40], vec![0.0; w1.len()], vec![0.0; 7]]);
        for pose in 0..poses {
            let x: Vec<f64> = input[129 * pose..129 * (pose + 1)].iter().map(|v| f64::from(0.1 * v)).collect();
            let values = network::forward(&layers, &x);
            out.extend_from_slice(&values[2]);
            let (by_layers, g) = network::backward(&layers, &values, &wide(&upstream[7 * pose..7 * (pose + 1)]));
            by_input.extend(g);
            for (k, layer) in by_layers.iter().enumerate() {
                sums[2 * k].iter_mut().zip(&layer.weight).for_each(|(s, v)| *s += v);
                sums[2 * k + 1].iter_mut().zip(&layer.bias).for_each(|(s, v)| *s += v);
            }
        }
        close("network", net.output(), &out, FORWARD);
        close("by input", &net.by_input, &by_input, BACKWARD);
        for k in 0..2 {
            close("by layer", &net.layers[k].by_weight, &sums[2 * k], BACKWARD);
            close("by bias", &net.layers[k].by_bias, &sums[2 * k + 1], BACKWARD);
        }
    }
}

#[test]
fn pictures_are_resized_and_warped_as_on_the_cpu() {
    use gav_kernels::{
        cuda::resize::{Layout, Resize, warp},
        resize::{Rule, bilinear},
    };
    let Some(device) = device() else { return };
    let (from, to) = ([37, 53], [29, 80]);
    let pictures = noise(2 * 3 * from[0] * from[1], 1);
    // the same pictures plane by plane
    let pixels = from[0] * from[1];
    let planes: Vec<f32> = (0..6)
        .flat_map(|p| (0..pixels).map(move |i| (p, i)))
        .map(|(p, i)| pictures[(p / 3 * pixels + i) * 3 + p % 3])
        .collect();
    for rule in [Rule::Legacy, Rule::HalfPixel] {
        let expected = bilinear(&planes, from, to, rule);
        let resize = Resize::new(&device, from, to, rule).unwrap();
        for (values, layout) in [(&pictures, Layout::Interleaved), (&planes, Layout::Planes)] {
            let out = Buffer::new(&device, expected.len()).unwrap();
            resize.run(&Buffer::from_slice(&device, values).unwrap(), layout, &out).unwrap();
            close(&format!("{rule:?} {layout:?}"), &out, &wide(&expected), 1e-6);
        }
    }
    let maps = [[[0.7, -0.3, 5.0], [0.3, 0.7, -4.0]], [[1.5, 0.2, -20.0], [0.1, 0.4, 3.0]]];
    let expected: Vec<f32> = maps
        .iter()
        .enumerate()
        .flat_map(|(k, map)| gav_kernels::resize::warp(&pictures[k * 3 * pixels..(k + 1) * 3 * pixels], from, map, to))
        .collect();
    let out = Buffer::new(&device, expected.len()).unwrap();
    let maps = Buffer::from_slice(&device, maps.as_flattened().as_flattened()).unwrap();
    warp(&device, &Buffer::from_slice(&device, &pictures).unwrap(), from, &maps, &out, to).unwrap();
    close("warp", &out, &wide(&expected), 1e-6);
}

#[test]
fn pictures_are_compared_as_on_the_cpu() {
    use gav_kernels::{
        cuda::compare::Pair,
        metrics::{ImageView, SsimVariant, channel_mse, l1, mse, ssim},
    };
    let Some(device) = device() else { return };
    for [width, height] in [[67, 41], [16, 16], [130, 33]] {
        let a: Vec<f32> = noise(3 * width * height, 1).iter().map(|v| 0.5 + 0.5 * v).collect();
        let b: Vec<f32> = a.iter().zip(noise(a.len(), 2)).map(|(a, n)| a + 0.2 * n).collect();
        let [a, b] = [&a, &b].map(|data| ImageView::new(width, height, 3, data).unwrap());
        let pair = Pair::new(&device, a, b).unwrap();
        let errors = pair.errors().unwrap();
        let near = |what: &str, found: f64, expected: f64| {
            // the same f64 numbers added in another order
            assert!((found - expected).abs() < 1e-13 * expected.abs().max(1.0), "{what}: {found} {expected}");
        };
        near("mse", errors.mse(), mse(a, b).unwrap());
        near("l1", errors.l1, l1(a, b).unwrap());
        channel_mse(a, b).unwrap().iter().zip(errors.channel_mse).for_each(|(e, f)| near("channel", f, *e));
        for variant in SsimVariant::ALL {
            near(&format!("{variant:?}"), pair.ssim(variant).unwrap(), ssim(a, b, variant).unwrap());
        }
    }
    let small = vec![0.5; 3 * 8 * 8];
    let small = ImageView::new(8, 8, 3, &small).unwrap();
    assert!(Pair::new(&device, small, small).unwrap().ssim(SsimVariant::Valid).unwrap_err().to_string().contains("11"));
}
