//! The model, losses, rates and colours against vectors of independent code in f64.

use std::{fs, path::PathBuf};

use gav_formats::TriangleFrame;
use gav_kernels::{
    Real,
    losses::{SsimLoss, l1, ssim},
    metrics::ImageView,
    raster::Observed,
    rig::{
        Geometry,
        triangle::{BindingRef, MeshRef, faces},
    },
};
use safetensors::{Dtype, SafeTensors};

use crate::rgbavatar::{
    Ground, Options, Seat, Shape, State, TENSORS, Upstream, Values, Weighing, orthogonality, place, place_backward,
    schedule, seats, sparsity,
};

pub(super) fn shared(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("GAV_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let path = root.join("parity/rgbavatar").join(name);
    if !path.exists() {
        eprintln!("SKIPPED: {} is not there; set GAV_SHARED to the folder of reference data", path.display());
        return None;
    }
    Some(path)
}

pub(super) struct Golden(Vec<u8>);

impl Golden {
    pub fn open() -> Option<Self> {
        shared("parity_blendshapes.safetensors").map(|path| Self(fs::read(path).unwrap()))
    }

    pub fn array(&self, name: &str) -> (Vec<usize>, Vec<f64>) {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let view = file.tensor(name).unwrap_or_else(|_| panic!("no golden `{name}`"));
        let bytes = view.data();
        let values = match view.dtype() {
            Dtype::F64 => bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
            Dtype::I32 => bytes.as_chunks().0.iter().map(|b| f64::from(i32::from_le_bytes(*b))).collect(),
            Dtype::U8 => bytes.iter().map(|b| f64::from(*b)).collect(),
            other => panic!("{name} is {other:?}"),
        };
        (view.shape().to_vec(), values)
    }

    pub fn get(&self, name: &str) -> Vec<f64> {
        self.array(name).1
    }

    /// Row `index` of the first dimension.
    pub fn row<T: Real>(&self, name: &str, index: usize) -> Vec<T> {
        let (shape, values) = self.array(name);
        let width = values.len() / shape[0];
        to(&values[index * width..][..width])
    }

    /// Parameters or gradients in the order of [`TENSORS`].
    fn values<T: Real>(&self, prefix: &str) -> Values<T> {
        std::array::from_fn(|k| match TENSORS[k] {
            "weight_module" => {
                let parts = ["0.weight", "0.bias", "2.weight", "2.bias", "4.weight", "4.bias"];
                to(&parts.map(|part| self.get(&format!("{prefix}.mlp.{part}"))).concat())
            }
            name => to(&self.get(&format!("{prefix}.{name}"))),
        })
    }
}

fn to<T: Real>(values: &[f64]) -> Vec<T> {
    values.iter().map(|v| T::of(*v)).collect()
}

fn rows<T: Real, const N: usize>(values: &[T]) -> Vec<[T; N]> {
    values.as_chunks::<N>().0.to_vec()
}

/// Largest difference is at most `tolerance` times the largest number, or times 1 if that is more.
pub(super) fn close<T: Real>(what: &str, found: &[T], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let size = expected.iter().fold(1.0, |m: f64, v| m.max(v.abs()));
    let worst = found.iter().zip(expected).map(|(a, b)| (a.wide() - b).abs()).fold(0.0, f64::max);
    assert!(worst <= tolerance * size, "{what}: {worst:e} of {size}");
}

/// The whole model on both frames, in `T`.
fn model<T: Real>(golden: &Golden, tolerance: f64) {
    let shape = Shape { splats: 100, inputs: 129, bases: 20, weighing: Weighing::Mlp };
    let parameters: Values<T> = golden.values("param");
    let values = parameters.each_ref().map(|v| &v[..]);
    assert_eq!(values.map(<[T]>::len), shape.lengths());
    let triple = |name: &str| rows::<f64, 3>(&golden.get(name)).iter().map(|f| f.map(|v| v as u32)).collect::<Vec<_>>();
    let (mesh_faces, uv_faces) = (triple("mesh.faces"), triple("mesh.uv_faces"));
    let uvs = rows::<T, 2>(&to(&golden.get("mesh.uvs")));
    let corner_uvs: Vec<[[T; 2]; 3]> = uv_faces.iter().map(|f| f.map(|v| uvs[v as usize])).collect();
    let triangles: Vec<u32> = golden.get("bind.face_id").iter().map(|v| *v as u32).collect();
    let barycentrics = rows::<T, 3>(&to(&golden.get("bind.face_bary")));
    let binding = BindingRef { frame: TriangleFrame::RgbAvatar, triangles: &triangles, barycentrics: &barycentrics };
    let (mut sums, mut by_theta, mut all_weights) = (shape.zeros::<T>(), Vec::new(), Vec::new());
    let mut scalar = 0.0;
    for frame in 0..2 {
        let vertices = rows::<T, 3>(&golden.row("mesh.verts", frame));
        let mesh = MeshRef { vertices: &vertices, faces: &mesh_faces, corner_uvs: &corner_uvs };
        let frames = faces(TriangleFrame::RgbAvatar, &mesh);
        let ground = Ground { binding, mesh, faces: &frames };
        let placed = place(&shape, &values, Some(&golden.row::<T>("in.theta", frame)), &ground);
        let row = |name: &str| golden.row::<f64>(name, frame);
        close("psi", placed.weights(), &row("mid.psi"), tolerance);
        close("h1", &placed.activations[1], &row("mid.h1"), tolerance);
        close("h2", &placed.activations[2], &row("mid.h2"), tolerance);
        close("blend.xyz", placed.local.means.as_flattened(), &row("blend.xyz"), tolerance);
        close("blend.rotation", placed.local.rotations.as_flattened(), &row("blend.rotation"), tolerance);
        close("blend.f_dc", placed.local.sh0.as_flattened(), &row("blend.f_dc"), tolerance);
        close("xyz_world", placed.world.means.as_flattened(), &row("bind.xyz_world"), tolerance);
        close("rot_world", placed.world.rotations.as_flattened(), &row("bind.rot_world"), tolerance);
        let sizes: Vec<T> = placed.world.log_scales.as_flattened().iter().map(|s| s.exp()).collect();
        close("scaling", &sizes, &row("blend.scaling"), tolerance);
        let opacities: Vec<T> = values[1].iter().map(|v| ((-*v).exp() + T::one()).recip()).collect();
        close("opacity", &opacities, &row("blend.opacity"), tolerance);

        // the golden scalar weighs sizes and opacities, not their logarithms and logits
        let upstream = |name: &str| golden.row::<T>(&format!("upstream.{name}"), frame);
        let (by_size, by_opacity) = (upstream("scl"), upstream("opa"));
        let world = Geometry {
            means: rows(&upstream("xyz_w")),
            rotations: rows(&upstream("rot_w")),
            log_scales: rows(&by_size.iter().zip(&sizes).map(|(g, s)| *g * *s).collect::<Vec<T>>()),
        };
        let by_logit: Vec<T> = by_opacity.iter().zip(&opacities).map(|(g, o)| *g * *o * (T::one() - *o)).collect();
        let by_color = rows::<T, 3>(&upstream("fdc"));
        let dot = |a: &[T], b: &[T]| a.iter().zip(b).map(|(a, b)| a.wide() * b.wide()).sum::<f64>();
        scalar += dot(world.means.as_flattened(), placed.world.means.as_flattened())
            + dot(world.rotations.as_flattened(), placed.world.rotations.as_flattened())
            + dot(by_color.as_flattened(), placed.local.sh0.as_flattened())
            + dot(&by_opacity, &opacities)
            + dot(&by_size, &sizes);
        let upstream = Upstream { world: world.view(), sh0: &by_color, opacity_logits: &by_logit, weights: &[] };
        by_theta.extend(place_backward(&shape, &values, &ground, &placed, &upstream, &mut sums));
        all_weights.push(placed.weights().to_vec());
    }
    close("scalar", &[scalar], &golden.get("out.scalar"), tolerance);
    for ((name, found), expected) in TENSORS.iter().zip(&sums).zip(golden.values::<f64>("grad")) {
        close(name, found, &expected, tolerance);
    }
    close("theta", &by_theta, &golden.get("grad.theta"), tolerance);
    let (mean, _) = sparsity(&[&all_weights[0], &all_weights[1]], T::one());
    close("sparsity", &[mean], &golden.get("loss.sparsity"), tolerance);
    let orth = (5..8).map(|k| orthogonality(values[k], 20, T::zero(), &mut [])).sum::<T>();
    close("orth", &[orth], &golden.get("loss.orth"), tolerance);
}

#[test]
fn the_model_and_all_its_gradients_are_the_golden_ones() {
    let Some(golden) = Golden::open() else { return };
    // rounding, in sums of up to 129 numbers
    model::<f64>(&golden, 1e-11);
    // of the largest number; the vectors suggest 1e-3 for gradients
    model::<f32>(&golden, 1e-5);
}

#[test]
fn the_grid_gives_every_splat_its_golden_seat() {
    let Some(golden) = Golden::open() else { return };
    let uvs = rows::<f64, 2>(&golden.get("mesh.uvs"));
    let corners: Vec<[[f64; 2]; 3]> =
        rows::<f64, 3>(&golden.get("mesh.uv_faces")).iter().map(|f| f.map(|v| uvs[v as usize])).collect();
    let found = seats(&corners, 12);
    assert_eq!(found.iter().map(|s| f64::from(s.face)).collect::<Vec<_>>(), golden.get("bind.face_id"));
    let weights: Vec<[f64; 3]> = found.iter().map(|s| s.weights).collect();
    close("face_bary", weights.as_flattened(), &golden.get("bind.face_bary"), 1e-12);
    let covered = golden.get("bind.valid_mask").iter().filter(|v| **v != 0.0).count();
    assert_eq!(covered, found.len());
}

#[test]
fn colours_begin_where_the_golden_ones_do() {
    let Some(golden) = Golden::open() else { return };
    let shape = Shape { splats: 100, inputs: 129, bases: 20, weighing: Weighing::Mlp };
    let seats = vec![Seat { face: 0, weights: [1.0, 0.0, 0.0] }; 100];
    let mut state = State::new(shape, &seats, golden.values("param"));
    state.initialized = golden.get("ff.initialized_in").iter().map(|v| *v != 0.0).collect();
    let before = state.initialized.iter().filter(|v| **v).count();
    let batch: Vec<Observed> = (0..2)
        .map(|k| Observed { weights: golden.row("ff.est_weight", k), colors: rows(&golden.row("ff.est_color", k)) })
        .collect();
    let count = state.fast_forward(&batch);
    let done: Vec<f64> = state.initialized.iter().map(|v| f64::from(u8::from(*v))).collect();
    assert_eq!(done, golden.get("ff.initialized_out"));
    assert_eq!(count, done.iter().sum::<f64>() as usize - before);
    // quotients of sums in f32
    close("f_dc", &state.tensors[4].values, &golden.get("ff.f_dc_out"), 2e-6);
    // seen once is seen
    assert_eq!(state.fast_forward(&batch), 0);
    assert_eq!(state.hide_unseen(), 100 - count - before);
}

#[test]
fn losses_and_rates_are_the_golden_ones() {
    let Some(golden) = Golden::open() else { return };
    let (height, width) = (32, 40);
    let pixels = height * width;
    let picture = |name: &str, k: usize| -> Vec<f32> {
        let planes = golden.row::<f32>(name, k);
        (0..pixels).flat_map(|p| [planes[p], planes[pixels + p], planes[2 * pixels + p]]).collect()
    };
    let mut mean = 0.0;
    for k in 0..2 {
        let (image, photo) = (picture("loss.image", k), picture("loss.gt", k));
        let view = |data| ImageView::new(width, height, 3, data).unwrap();
        mean += 0.5 * l1(view(&image), view(&photo), 1.0, None).unwrap();
        let similarity = ssim(view(&image), view(&photo), SsimLoss::default(), 1.0, None).unwrap();
        close("ssim", &[similarity], &golden.row("loss.ssim_per_image", k), 1e-6);
        let squared: f64 = image.iter().zip(&photo).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
        let psnr = 20.0 * (1.0 / (squared / (3 * pixels) as f64).sqrt()).log10();
        close("psnr", &[psnr], &golden.row("loss.psnr_per_image", k), 1e-6);
    }
    close("l1", &[mean], &golden.get("loss.l1"), 1e-6);
    let options = Options::offline().train.recon;
    for (images, rate) in golden.get("lr.iteration").into_iter().zip(golden.get("lr.xyz")) {
        let found = f64::from(schedule::position_rate(&options, images as u32));
        // one rounding to f32
        assert!((found - rate).abs() <= 1e-7 * rate, "{images}: {found} {rate}");
    }
}

#[test]
fn beginnings_are_as_published() {
    let options = Options::offline();
    let shape = Shape::new(&options.model, 7);
    assert_eq!(shape.lengths()[8], 35_732);
    assert_eq!(shape.lengths()[..8].iter().sum::<usize>(), 7 * 214);
    let values = shape.initial(&options.model, 0);
    assert!(values[1].iter().all(|v| *v == 0.0) && values[2].iter().all(|v| (v.exp() - 0.0008).abs() < 1e-9));
    assert!(values[3].as_chunks::<4>().0.iter().all(|q| *q == [1.0, 0.0, 0.0, 0.0]));
    let first = &values[8][..128 * 130];
    let bound = 1.0 / 129f32.sqrt();
    assert!(first.iter().all(|v| v.abs() <= bound) && first.iter().any(|v| v.abs() > 0.99 * bound));
    // the standard deviation of the mean is 3.9e-4
    assert!((first.iter().sum::<f32>() / first.len() as f32).abs() < 2e-3);
    let second = &values[8][128 * 130..128 * 130 + 128 * 129];
    assert!(second.iter().all(|v| v.abs() <= 1.0 / 128f32.sqrt()));
    assert_ne!(shape.initial(&options.model, 1)[8], values[8]);
}
