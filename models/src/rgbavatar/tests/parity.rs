//! Against vectors of independent code in f64, and the tracker's fixtures.

use std::{fs, path::PathBuf};

use gav_formats::{DType, NamedArray, TemplateFamily, TriangleFrame};
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

use super::{Frame, sheet};
use crate::{
    body::Body,
    rgbavatar::{
        Dataset, Ground, Options, Seat, Shape, State, TENSORS, Upstream, Values, Weighing, orthogonality, place,
        place_backward, schedule, seats, sparsity,
    },
};

fn shared(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("GAV_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let path = root.join("parity/rgbavatar").join(name);
    if !path.exists() {
        eprintln!("SKIPPED: {} is not there; set GAV_SHARED to the folder of reference data", path.display());
        return None;
    }
    Some(path)
}

struct Golden(Vec<u8>);

impl Golden {
    fn open() -> Option<Self> {
        shared("parity_blendshapes.safetensors").map(|path| Self(fs::read(path).unwrap()))
    }

    fn array(&self, name: &str) -> (Vec<usize>, Vec<f64>) {
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

    fn get(&self, name: &str) -> Vec<f64> {
        self.array(name).1
    }

    /// Row `index` of the first dimension.
    fn row<T: Real>(&self, name: &str, index: usize) -> Vec<T> {
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
fn close<T: Real>(what: &str, found: &[T], expected: &[f64], tolerance: f64) {
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

/// The miniature FLAME of the vectors with as many columns as the real one, so that checkpoints fit.
fn flame(golden: &Golden) -> Body<f32> {
    let array = |name: &str, shape: &[u32], values: &[f64]| NamedArray {
        name: name.to_owned(),
        dtype: DType::F64,
        shape: shape.to_vec(),
        data: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
    };
    let words = |name: &str, shape: &[u32], values: &[u32]| NamedArray {
        name: name.to_owned(),
        dtype: DType::U32,
        shape: shape.to_vec(),
        data: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
    };
    let mut arrays: Vec<NamedArray> =
        ["v_template", "posedirs", "l_eyelid", "r_eyelid", "J_regressor", "lbs_weights", "parents"]
            .map(|name| {
                let (shape, values) = golden.array(&format!("flame.{name}"));
                array(name, &shape.iter().map(|d| *d as u32).collect::<Vec<_>>(), &values)
            })
            .to_vec();
    let mut directions = Vec::new();
    for row in golden.get("flame.shapedirs").chunks_exact(7) {
        let mut wide = vec![0.0; 400];
        wide[..3].copy_from_slice(&row[..3]);
        wide[300..304].copy_from_slice(&row[3..]);
        directions.extend(wide);
    }
    arrays.push(array("shapedirs", &[30, 3, 400], &directions));
    arrays.push(words("f", &[1, 3], &[0, 1, 2]));
    arrays.push(array("vt", &[3, 2], &[0.1, 0.1, 0.9, 0.1, 0.1, 0.9]));
    arrays.push(words("ft", &[1, 3], &[0, 1, 2]));
    Body::from_arrays(TemplateFamily::Flame2020, &arrays).unwrap()
}

#[test]
fn control_vectors_and_meshes_of_a_folder_are_the_golden_ones() {
    let Some(golden) = Golden::open() else { return };
    let folder = tempfile::tempdir().unwrap();
    for name in ["checkpoint", "images"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    let k = golden.get("flame.in.K");
    for index in 0..3 {
        let row = |key: &str| golden.row::<f64>(&format!("flame.in.{key}"), index);
        let frame = Frame {
            expression: row("exp"),
            shape: row("shape"),
            jaw: row("jaw"),
            eyes: row("eyes"),
            eyelids: row("eyelids"),
            rotation: row("opencv_R"),
            translation: row("opencv_t"),
            intrinsics: [k[0], k[4], k[2], k[5]],
            size: [512, 512],
        };
        frame.write(&folder.path().join(format!("checkpoint/{index:05}.frame")), None);
        fs::write(folder.path().join(format!("images/{index:05}.png")), b"").unwrap();
    }
    let data = Dataset::open(folder.path(), flame(&golden), &Options::offline(), 1 << 20).unwrap();
    assert_eq!((data.frames.len(), data.tested, data.warnings.len()), (3, 0, 0));
    for (index, frame) in data.frames.iter().enumerate() {
        let expected = golden.row::<f64>("flame.theta", index);
        // positions of a tenth of a metre and unit vectors, in f32
        close("expression", &data.theta(index)[..4], &expected[..4], 1e-6);
        assert!(data.theta(index)[4..100].iter().all(|v| *v == 0.0));
        close("theta", &data.theta(index)[100..], &expected[4..], 2e-6);
        close("mesh", frame.vertices.as_flattened(), &golden.row::<f64>("flame.mesh_world", index), 2e-6);
    }
    let camera = &data.camera;
    let expected: Vec<f64> = golden.get("camera.w2c")[..12].to_vec();
    close("w2c", camera.camera_from_world.as_flattened(), &expected, 1e-7);
    // the published projection, column 3 of which has the principal point; rows of x and y
    let projection = golden.get("camera.proj");
    let [w, h] = [f64::from(camera.width), f64::from(camera.height)];
    let found = [
        2.0 * camera.focal[0] / w,
        -1.0 + 2.0 * camera.principal[0] / w,
        2.0 * camera.focal[1] / h,
        -1.0 + 2.0 * camera.principal[1] / h,
    ];
    close("projection", &found, &[projection[0], projection[2], projection[5], projection[6]], 1e-7);
}

#[test]
fn checkpoints_of_the_tracker_are_read_with_their_camera() {
    let (Some(golden), Some(fixtures)) = (Golden::open(), shared("fixtures")) else { return };
    let folder = tempfile::tempdir().unwrap();
    for name in ["checkpoint", "images"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    // the third is in the container of older versions
    let names = ["00000.frame", "00001.frame", "legacy_container.frame"];
    for (index, name) in names.iter().enumerate() {
        fs::copy(fixtures.join(name), folder.path().join(format!("checkpoint/{index:05}.frame"))).unwrap();
        fs::write(folder.path().join(format!("images/{index:05}.png")), b"").unwrap();
    }
    let text = fs::read_to_string(fixtures.join("expected.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_str(&text).unwrap();
    let numbers = |value: &serde_json::Value| -> Vec<f64> {
        fn flat(value: &serde_json::Value, out: &mut Vec<f64>) {
            match value {
                serde_json::Value::Array(values) => values.iter().for_each(|v| flat(v, out)),
                other => out.extend(other.as_f64()),
            }
        }
        let mut out = Vec::new();
        flat(value, &mut out);
        out
    };
    let data = Dataset::open(folder.path(), flame(&golden), &Options::offline(), 1 << 20).unwrap();
    let first = &expected["00000"];
    let k = numbers(&first["opencv"]["K"]);
    assert_eq!((data.camera.width, data.camera.height), (512, 512));
    assert_eq!((data.camera.focal, data.camera.principal), ([k[0], k[4]], [k[2], k[5]]));
    let t = numbers(&first["opencv"]["t"]);
    close("t", &[0, 1, 2].map(|r| data.camera.camera_from_world[r][3]), &t, 1e-7);
    for (index, key) in ["00000", "00001"].into_iter().enumerate() {
        let (frame, expected) = (data.theta(index), &expected[key]);
        close("expression", &frame[..5], &numbers(&expected["flame"]["exp"]["first5"]), 0.0);
        let r = numbers(&expected["opencv"]["R"]);
        close("neck", &frame[100..106], &[r[0], r[1], r[2], -r[3], -r[4], -r[5]], 1e-6);
        for (first, count) in [(106, 6), (112, 6), (118, 6)] {
            let [a, b]: [&[f32]; 2] = [&frame[first..first + 3], &frame[first + 3..first + count]];
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
            assert!((dot(a, a) - 1.0).abs() < 1e-6 && (dot(b, b) - 1.0).abs() < 1e-6 && dot(a, b).abs() < 1e-6);
        }
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
    // without the rotation of the neck the whole mesh turns
    let straight = Options {
        dataset: crate::rgbavatar::DatasetOptions { retarget_neck: false, ..options.dataset.clone() },
        ..options.clone()
    };
    let folder = tempfile::tempdir().unwrap();
    super::capture(folder.path(), 2, [14, 20], |k| super::disc(k, [14, 20]));
    let turned = Dataset::open(folder.path(), sheet(), &straight, 1 << 20).unwrap();
    let frame = Frame::of(1, [14, 20]);
    let first = Frame::of(0, [14, 20]);
    // R_g v + t_g of a vertex of the head at rest, from what the file holds
    let plain = {
        let mut parameters = crate::body::Parameters::<f32>::default();
        parameters.shape = frame.shape.iter().map(|v| *v as f32).collect();
        parameters.expression = frame.expression.iter().map(|v| *v as f32).collect();
        parameters.extras = frame.eyelids.iter().map(|v| *v as f32).collect();
        let six = |v: &[f64]| crate::body::Rotation::SixD(std::array::from_fn(|k| v[k] as f32));
        parameters.rotations =
            vec![Default::default(), Default::default(), six(&frame.jaw), six(&frame.eyes[..6]), six(&frame.eyes[6..])];
        sheet().pose(&parameters).vertices
    };
    for (v, found) in plain.iter().zip(&turned.frames[1].vertices) {
        for r in 0..3 {
            let sign = if r == 0 { 1.0 } else { -1.0 };
            let place: f64 = (0..3).map(|c| frame.rotation[3 * r + c] * f64::from(v[c])).sum();
            let expected = sign * (place + frame.translation[r] - first.translation[r]);
            assert!((f64::from(found[r]) - expected).abs() < 1e-6, "{found:?} {expected}");
        }
    }
}
