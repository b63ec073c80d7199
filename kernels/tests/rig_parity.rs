//! Rigs against golden values of independent f64 code, forward and backward.

mod common;

use common::{Golden, largest};
use gav_formats::{Activation, TriangleFrame};
use gav_kernels::rig::{
    Affine, Geometry, GeometryRef,
    blendshapes::{self, BaseRef, BasesRef},
    network::{self, LayerRef},
    skin::{self, Influences},
    triangle::{self, BindingRef, MeshRef},
};

/// f64 against f64: rounding only.
const EXACT: f64 = 1e-9;

fn close<const N: usize>(what: &str, found: &[[f64; N]], expected: &[[f64; N]], tolerance: f64) {
    let worst = largest(found.as_flattened(), expected.as_flattened());
    let size = expected.as_flattened().iter().fold(1.0, |m: f64, v| m.max(v.abs()));
    assert!(worst <= tolerance * size, "{what}: {worst:e} of {size}");
}

fn indices<const N: usize>(golden: &Golden, name: &str) -> Vec<[u32; N]> {
    golden.rows64::<N>(name).iter().map(|r| r.map(|v| v as u32)).collect()
}

#[test]
fn triangle_frames_of_gaussian_avatars_and_stga() {
    let Some(golden) = Golden::open("parity/stga/parity_binding.safetensors") else { return };
    let faces = indices::<3>(&golden, "faces");
    let vertices = golden.rows64::<3>("verts");
    let triangles: Vec<u32> = golden.get("binding").iter().map(|v| *v as u32).collect();
    let local = Geometry {
        means: golden.rows64::<3>("local_xyz"),
        rotations: golden.rows64::<4>("local_rot_wxyz"),
        log_scales: golden.rows64::<3>("local_log_scale"),
    };
    for (name, frame) in [("ga", TriangleFrame::GaussianAvatars), ("stga", TriangleFrame::Stga)] {
        let key = |part: &str| format!("{name}.{part}");
        let mesh = MeshRef { vertices: &vertices, faces: &faces, corner_uvs: &[] };
        let frames = triangle::faces(frame, &mesh);
        let matrices: Vec<[f64; 9]> = frames.iter().map(|f| f.matrix.as_flattened().try_into().unwrap()).collect();
        close("matrix", &matrices, &golden.rows64::<9>(&key("orien_mat")), EXACT);
        let quaternions: Vec<[f64; 4]> = frames.iter().map(|f| f.quaternion).collect();
        close("quaternion", &quaternions, &golden.rows64::<4>(&key("orien_quat")), EXACT);
        let scales: Vec<[f64; 1]> = frames.iter().map(|f| [f.scale]).collect();
        close("scale", &scales, &golden.rows64::<1>(&key("face_scaling")), EXACT);

        let binding = BindingRef { frame, triangles: &triangles, barycentrics: &[] };
        let world = triangle::bind(&binding, &frames, local.view());
        close("means", &world.means, &golden.rows64::<3>(&key("xyz")), EXACT);
        close("rotations", &world.rotations, &golden.rows64::<4>(&key("rotation")), EXACT);
        let sizes: Vec<[f64; 3]> = world.log_scales.iter().map(|s| s.map(f64::exp)).collect();
        close("sizes", &sizes, &golden.rows64::<3>(&key("scaling")), EXACT);

        // the golden scalar weighs sizes, not their logarithms
        let by_size = golden.rows64::<3>("upstream_scale");
        let upstream = Geometry {
            means: golden.rows64::<3>("upstream_xyz"),
            rotations: golden.rows64::<4>("upstream_rot"),
            log_scales: by_size.iter().zip(&sizes).map(|(g, s)| std::array::from_fn(|c| g[c] * s[c])).collect(),
        };
        let (by_local, by_vertex) = triangle::bind_backward(&binding, &mesh, &frames, local.view(), upstream.view());
        close("grad means", &by_local.means, &golden.rows64::<3>(&key("grad.local_xyz")), EXACT);
        close("grad rotations", &by_local.rotations, &golden.rows64::<4>(&key("grad.local_rot_wxyz")), EXACT);
        close("grad sizes", &by_local.log_scales, &golden.rows64::<3>(&key("grad.local_log_scale")), EXACT);
        close("grad vertices", &by_vertex, &golden.rows64::<3>(&key("grad.verts")), EXACT);
    }
}

#[test]
fn reduced_gaussian_blendshapes_of_rgb_avatar() {
    let Some(golden) = Golden::open("parity/rgbavatar/parity_blendshapes.safetensors") else { return };
    let (count, bases, frames) = (100, 20, 2);
    let weights = ["0", "2", "4"].map(|l| golden.get(&format!("param.mlp.{l}.weight")));
    let biases = ["0", "2", "4"].map(|l| golden.get(&format!("param.mlp.{l}.bias")));
    let layers: Vec<LayerRef<'_, f64>> = [Activation::Relu, Activation::Relu, Activation::None]
        .into_iter()
        .enumerate()
        .map(|(k, activation)| LayerRef { weight: &weights[k], bias: &biases[k], activation })
        .collect();
    let (xyz, rotation, sh0) =
        (golden.rows64::<3>("param.xyz"), golden.rows64::<4>("param.rotation"), golden.rows64::<3>("param.f_dc"));
    let base = BaseRef { means: &xyz, rotations: &rotation, sh0: &sh0 };
    let (xyz_b, rotation_b, sh0_b) =
        (golden.rows64::<3>("param.xyz_b"), golden.rows64::<4>("param.rotation_b"), golden.rows64::<3>("param.f_dc_b"));
    let shapes = BasesRef { count: bases, means: &xyz_b, rotations: &rotation_b, sh0: &sh0_b };
    let log_scales = golden.rows64::<3>("param.scaling");

    let (faces, uv_faces) = (indices::<3>(&golden, "mesh.faces"), indices::<3>(&golden, "mesh.uv_faces"));
    let uvs = golden.rows64::<2>("mesh.uvs");
    let corner_uvs: Vec<[[f64; 2]; 3]> = uv_faces.iter().map(|f| f.map(|v| uvs[v as usize])).collect();
    let triangles: Vec<u32> = golden.get("bind.face_id").iter().map(|v| *v as u32).collect();
    let barycentrics = golden.rows64::<3>("bind.face_bary");
    let binding = BindingRef { frame: TriangleFrame::RgbAvatar, triangles: &triangles, barycentrics: &barycentrics };

    let (theta, vertices) = (golden.get("in.theta"), golden.rows64::<3>("mesh.verts"));
    let mut sums = [vec![0.0; count * 3], vec![0.0; count * 4], vec![0.0; count * 3]];
    let mut delta_sums = [vec![0.0; bases * count * 3], vec![0.0; bases * count * 4], vec![0.0; bases * count * 3]];
    let mut size_sum = vec![0.0; count * 3];
    let mut layer_sums: Vec<(Vec<f64>, Vec<f64>)> =
        layers.iter().map(|l| (vec![0.0; l.weight.len()], vec![0.0; l.bias.len()])).collect();
    let mut by_theta = Vec::new();
    for frame in 0..frames {
        let part = |name: &str, width: usize| golden.get(name)[frame * width..][..width].to_vec();
        let values = network::forward(&layers, &theta[frame * 129..][..129]);
        for (k, name) in ["mid.h1", "mid.h2", "mid.psi"].into_iter().enumerate() {
            assert!(largest(&values[k + 1], &part(name, values[k + 1].len())) < EXACT, "{name}");
        }
        let psi = &values[3];
        let blended = blendshapes::blend(base, &shapes, psi);
        let rows = |name: &str| common::rows::<f64, 3>(&part(name, count * 3));
        close("blend.xyz", &blended.means, &rows("blend.xyz"), EXACT);
        close("blend.f_dc", &blended.sh0, &rows("blend.f_dc"), EXACT);
        close("blend.rotation", &blended.rotations, &common::rows(&part("blend.rotation", count * 4)), EXACT);

        let mesh = MeshRef { vertices: &vertices[frame * 16..][..16], faces: &faces, corner_uvs: &corner_uvs };
        let frames = triangle::faces(TriangleFrame::RgbAvatar, &mesh);
        let matrices: Vec<[f64; 9]> = frames.iter().map(|f| f.matrix.as_flattened().try_into().unwrap()).collect();
        close("mesh.face_tbn", &matrices, &common::rows(&part("mesh.face_tbn", 18 * 9)), EXACT);
        let quaternions: Vec<[f64; 4]> = frames.iter().map(|f| f.quaternion).collect();
        close("bind.face_quat", &quaternions, &common::rows(&part("bind.face_quat", 18 * 4)), EXACT);
        let local = GeometryRef { means: &blended.means, rotations: &blended.rotations, log_scales: &log_scales };
        let world = triangle::bind(&binding, &frames, local);
        close("bind.xyz_world", &world.means, &rows("bind.xyz_world"), EXACT);
        close("bind.rot_world", &world.rotations, &common::rows(&part("bind.rot_world", count * 4)), EXACT);

        let by_size = rows("upstream.scl");
        let upstream = Geometry {
            means: rows("upstream.xyz_w"),
            rotations: common::rows(&part("upstream.rot_w", count * 4)),
            log_scales: by_size
                .iter()
                .zip(&log_scales)
                .map(|(g, ln)| std::array::from_fn(|c| g[c] * f64::exp(ln[c])))
                .collect(),
        };
        let (by_local, _) = triangle::bind_backward(&binding, &mesh, &frames, local, upstream.view());
        let by_color = rows("upstream.fdc");
        let g = blendshapes::blend_backward(
            base,
            &shapes,
            psi,
            BaseRef { means: &by_local.means, rotations: &by_local.rotations, sh0: &by_color },
        );
        let add = |sum: &mut [f64], values: &[f64]| sum.iter_mut().zip(values).for_each(|(s, v)| *s += v);
        add(&mut sums[0], g.base.means.as_flattened());
        add(&mut sums[1], g.base.rotations.as_flattened());
        add(&mut sums[2], g.base.sh0.as_flattened());
        add(&mut delta_sums[0], g.deltas.means.as_flattened());
        add(&mut delta_sums[1], g.deltas.rotations.as_flattened());
        add(&mut delta_sums[2], g.deltas.sh0.as_flattened());
        add(&mut size_sum, by_local.log_scales.as_flattened());
        let (by_layer, by_input) = network::backward(&layers, &values, &g.weights);
        for (sum, g) in layer_sums.iter_mut().zip(&by_layer) {
            add(&mut sum.0, &g.weight);
            add(&mut sum.1, &g.bias);
        }
        by_theta.extend(by_input);
    }
    let check = |name: &str, found: &[f64]| {
        let expected = golden.get(name);
        let size = expected.iter().fold(1.0, |m: f64, v| m.max(v.abs()));
        let worst = largest(found, &expected);
        assert!(worst < EXACT * size, "{name}: {worst:e} of {size}");
    };
    check("grad.xyz", &sums[0]);
    check("grad.rotation", &sums[1]);
    check("grad.f_dc", &sums[2]);
    check("grad.xyz_b", &delta_sums[0]);
    check("grad.rotation_b", &delta_sums[1]);
    check("grad.f_dc_b", &delta_sums[2]);
    check("grad.scaling", &size_sum);
    check("grad.theta", &by_theta);
    for (layer, (weight, bias)) in ["0", "2", "4"].into_iter().zip(&layer_sums) {
        check(&format!("grad.mlp.{layer}.weight"), weight);
        check(&format!("grad.mlp.{layer}.bias"), bias);
    }
}

/// Every joint influences every splat, zeros included.
struct Dense {
    offsets: Vec<u32>,
    joints: Vec<u16>,
    weights: Vec<f64>,
}

impl Dense {
    fn new(weights: Vec<f64>, joints: usize) -> Self {
        let count = weights.len() / joints;
        Self {
            offsets: (0..=count).map(|i| (i * joints) as u32).collect(),
            joints: (0..count).flat_map(|_| 0..joints as u16).collect(),
            weights,
        }
    }

    fn view(&self) -> Influences<'_, f64> {
        Influences { offsets: &self.offsets, joints: &self.joints, weights: &self.weights }
    }
}

fn affines(values: &[f64]) -> Vec<Affine<f64>> {
    let top = |m: &[f64; 16]| std::array::from_fn(|r| std::array::from_fn(|c| m[4 * r + c]));
    common::rows::<f64, 16>(values).iter().map(top).collect()
}

#[test]
fn skinned_gaussians_by_polar_rotation_and_full_covariance() {
    let Some(golden) = Golden::open("parity/ag3d/parity_gauss_skin_f64.safetensors") else { return };
    let influences = Dense::new(golden.get("weights"), 4);
    let blended = skin::blend(&influences.view(), &affines(&golden.get("tfs")));
    let expected: Vec<[f64; 12]> =
        affines(&golden.get("M")).iter().map(|m| m.as_flattened().try_into().unwrap()).collect();
    let found: Vec<[f64; 12]> = blended.iter().map(|m| m.as_flattened().try_into().unwrap()).collect();
    close("M", &found, &expected, EXACT);
    let rest = Geometry {
        means: golden.rows64::<3>("mu"),
        rotations: golden.rows64::<4>("quat_wxyz"),
        log_scales: golden.rows64::<3>("log_scale"),
    };
    let posed = skin::carry(&blended, rest.view());
    close("mu_posed", &posed.means, &golden.rows64::<3>("mu_posed"), EXACT);
    let upright = |q: &[f64; 4]| if q[0] < 0.0 { q.map(|v| -v) } else { *q };
    let rotations: Vec<[f64; 4]> = posed.rotations.iter().map(upright).collect();
    close("quat_posed", &rotations, &golden.rows64::<4>("quat_posed_wxyz"), EXACT);
    let (means, covariances) = skin::carry_covariance(&blended, rest.view());
    close("mu_posed", &means, &golden.rows64::<3>("mu_posed"), EXACT);
    let upper = |m: &[f64; 9]| [m[0], m[1], m[2], m[4], m[5], m[8]];
    let expected: Vec<[f64; 6]> = golden.rows64::<9>("cov_posed_full").iter().map(upper).collect();
    close("cov_posed_full", &covariances, &expected, EXACT);
}

#[test]
fn posed_gaussians_of_sigman() {
    let Some(golden) = Golden::open("parity/sigman/parity_vae_gaussians.safetensors") else { return };
    let (count, vertices) = (585, 317);
    let init_rot = golden.rows64::<9>("tmpl.init_rot");
    let faces = indices::<3>(&golden, "tmpl.init_faces");
    let to_canonical = affines(&golden.get("mid.tfs_inv_t"));
    let canonical_offset = golden.rows64::<3>("mid.pose_offset_cano_per_face");
    for human in 0..2 {
        let part = |name: &str, length: usize| golden.get(name)[human * length..][..length].to_vec();
        let rows3 = |name: &str, n: usize| common::rows::<f64, 3>(&part(name, 3 * n));
        let influences = Dense::new(part("mid.query_weights_masked", count * 55), 55);
        let m1 = skin::blend(&influences.view(), &to_canonical);
        let m2 = skin::blend(&influences.view(), &affines(&part("mid.tfs_A", 55 * 16)));
        let apply = |m: &Affine<f64>, v: [f64; 3]| -> [f64; 3] {
            std::array::from_fn(|r| m[r][0] * v[0] + m[r][1] * v[1] + m[r][2] * v[2] + m[r][3])
        };
        let (shape, pose) = (rows3("mid.shape_offset_verts", vertices), rows3("mid.pose_offset_verts", vertices));
        let canon = rows3("mid.canon_pcd", count);
        let rest_means: Vec<[f64; 3]> = (0..count)
            .map(|i| {
                let x0 = apply(&m1[i], canon[i]);
                std::array::from_fn(|c| {
                    let over_face: f64 =
                        faces[i].iter().map(|v| shape[*v as usize][c] + pose[*v as usize][c]).sum::<f64>() / 3.0;
                    x0[c] - canonical_offset[i][c] + over_face
                })
            })
            .collect();
        // M = M2 M1 turns the splats, M2 alone moves what the offsets were added to
        let m: Vec<Affine<f64>> = (0..count)
            .map(|i| {
                std::array::from_fn(|r| {
                    std::array::from_fn(|c| {
                        let sum: f64 = (0..3).map(|k| m2[i][r][k] * m1[i][k][c]).sum();
                        if c == 3 { sum + m2[i][r][3] } else { sum }
                    })
                })
            })
            .collect();
        let expected: Vec<[f64; 12]> =
            affines(&part("mid.w_tf_all", count * 16)).iter().map(|m| m.as_flattened().try_into().unwrap()).collect();
        let found: Vec<[f64; 12]> = m.iter().map(|m| m.as_flattened().try_into().unwrap()).collect();
        close("w_tf_all", &found, &expected, 2e-5);
        let delta = rows3("out.rot_axis_angle", count);
        let rotations: Vec<[f64; 4]> = (0..count).map(|i| local_rotation(&init_rot[i], delta[i])).collect();
        let log_scales: Vec<[f64; 3]> = rows3("out.scale_world", count).iter().map(|s| s.map(f64::ln)).collect();
        let rest = Geometry { means: rest_means, rotations, log_scales };
        let (means, _) = skin::carry_covariance(&m2, rest.view());
        let (_, covariances) = skin::carry_covariance(&m, rest.view());
        // values of the file are rounded to f32
        close("positions", &means, &rows3("out.positions", count), 2e-5);
        let expected = common::rows::<f64, 6>(&part("out.cov3d_xx_xy_xz_yy_yz_zz", count * 6));
        let size = expected.as_flattened().iter().fold(0.0, |m: f64, v| m.max(v.abs()));
        let worst = largest(covariances.as_flattened(), expected.as_flattened());
        assert!(worst < 2e-5 * size, "covariances: {worst:e} of {size}");
    }
}

/// `init · rodrigues(delta)` as a quaternion. `init` is orthonormal to f32, but left-handed in this file: it is negated, which no
/// covariance notices.
fn local_rotation(init: &[f64; 9], delta: [f64; 3]) -> [f64; 4] {
    let angle = delta.iter().map(|v| (v + 1e-8) * (v + 1e-8)).sum::<f64>().sqrt();
    let half = angle / 2.0;
    let q = [half.cos(), delta[0] / angle * half.sin(), delta[1] / angle * half.sin(), delta[2] / angle * half.sin()];
    let m: [[f64; 3]; 3] = std::array::from_fn(|r| std::array::from_fn(|c| -init[3 * r + c]));
    let base = gav_formats::conventions::quaternion_from_matrix(&m);
    gav_formats::conventions::multiply_quaternions(base, q)
}
