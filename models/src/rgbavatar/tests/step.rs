//! A whole step against an independent computation in f64: Adam's first means are a tenth of the gradient.

use gav_formats::Camera;
use gav_kernels::raster::scalar::{Splats64, render};

use super::{capture, disc, random, sheet};
use crate::rgbavatar::{CpuEngine, Dataset, Options, ReconOptions, SETTINGS, Shape, State, TENSORS, Values, schedule};

/// Height, width.
const SIZE: [i64; 2] = [14, 20];
const BATCH: [usize; 3] = [2, 0, 3];

type V3 = [f64; 3];

fn sub(a: V3, b: V3) -> V3 {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

fn cross(a: V3, b: V3) -> V3 {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

fn unit(a: V3) -> V3 {
    let length = a.iter().map(|v| v * v).sum::<f64>().sqrt();
    a.map(|v| v / length)
}

/// The rotation of a quaternion of any length, as if it were of length 1: rows.
fn turn(q: [f64; 4]) -> [V3; 3] {
    let [w, x, y, z] = q;
    [
        [1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - w * z), 2.0 * (x * z + w * y)],
        [2.0 * (x * y + w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - w * x)],
        [2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y)],
    ]
}

/// The quaternion of a frame by the published choice among four formulas.
fn quaternion(m: [V3; 3]) -> [f64; 4] {
    let trace = m[0][0] + m[1][1] + m[2][2];
    let largest = [m[0][0], m[1][1], m[2][2], trace];
    let branch = (0..4).fold(0, |best, k| if largest[k] > largest[best] { k } else { best });
    let mut q = [0.0; 4];
    if branch == 3 {
        q = [1.0 + trace, m[2][1] - m[1][2], m[0][2] - m[2][0], m[1][0] - m[0][1]];
    } else {
        let (i, j, k) = (branch, (branch + 1) % 3, (branch + 2) % 3);
        q[1 + i] = 1.0 - trace + 2.0 * m[i][i];
        q[1 + j] = m[j][i] + m[i][j];
        q[1 + k] = m[k][i] + m[i][k];
        q[0] = m[k][j] - m[j][k];
    }
    let length = q.iter().map(|v| v * v).sum::<f64>().sqrt();
    q.map(|v| v / length)
}

fn product(p: [f64; 4], q: [f64; 4]) -> [f64; 4] {
    [
        p[0] * q[0] - p[1] * q[1] - p[2] * q[2] - p[3] * q[3],
        p[0] * q[1] + q[0] * p[1] + p[2] * q[3] - p[3] * q[2],
        p[0] * q[2] + q[0] * p[2] + p[3] * q[1] - p[1] * q[3],
        p[0] * q[3] + q[0] * p[3] + p[1] * q[2] - p[2] * q[1],
    ]
}

/// ψ, layer by layer.
fn network(shape: &Shape, values: &[f64], theta: &[f32]) -> Vec<f64> {
    let mut x: Vec<f64> = theta[..shape.inputs].iter().map(|v| f64::from(*v)).collect();
    let (mut at, layers) = (0, shape.layers());
    for (index, [outputs, inputs]) in layers.iter().enumerate() {
        let bias = at + outputs * inputs;
        x = (0..*outputs)
            .map(|o| {
                let y = (0..*inputs).map(|i| values[at + o * inputs + i] * x[i]).sum::<f64>() + values[bias + o];
                if index + 1 < layers.len() { y.max(0.0) } else { y }
            })
            .collect();
        at = bias + outputs;
    }
    x
}

/// Mean SSIM with every window summed.
fn similarity(image: &[f64], photo: &[f64], [height, width]: [i64; 2]) -> f64 {
    let window: Vec<f64> = (0..11).map(|k| (-(f64::from(k) - 5.0).powi(2) / 4.5).exp()).collect();
    let total: f64 = window.iter().sum();
    let mut sum = 0.0;
    for (y, x, channel) in (0..height).flat_map(|y| (0..width).flat_map(move |x| (0..3).map(move |c| (y, x, c)))) {
        let mut m = [0.0; 5];
        for (dy, dx) in (-5..=5i64).flat_map(|dy| (-5..=5i64).map(move |dx| (dy, dx))) {
            if (0..height).contains(&(y + dy)) && (0..width).contains(&(x + dx)) {
                let weight = window[(dy + 5) as usize] * window[(dx + 5) as usize] / (total * total);
                let at = ((y + dy) * width + x + dx) as usize * 3 + channel;
                let (a, b) = (image[at], photo[at]);
                [a, b, a * a, b * b, a * b].iter().zip(&mut m).for_each(|(v, m)| *m += weight * v);
            }
        }
        let [p, q, pp, qq, pq] = m;
        sum += (2.0 * p * q + 1e-4) * (2.0 * (pq - p * q) + 9e-4)
            / ((p * p + q * q + 1e-4) * (pp - p * p + qq - q * q + 9e-4));
    }
    sum / image.len() as f64
}

/// The splats of a frame as ellipsoids in world coordinates.
fn world(values: &Values<f64>, state: &State, data: &Dataset, frame: usize, psi: &[f64]) -> Splats64 {
    let count = state.len();
    let blended = |base: usize, deltas: usize, width: usize, at: usize| {
        let shifted = psi.iter().enumerate().map(|(k, w)| w * values[deltas][k * count * width + at]);
        values[base][at] + shifted.sum::<f64>()
    };
    let mut out = Splats64 {
        means: Vec::new(),
        rotations: Vec::new(),
        log_scales: Vec::new(),
        covariances: Vec::new(),
        opacity_logits: values[1].clone(),
        color: Vec::new(),
        sh_rest: Vec::new(),
        sh_degree: Some(0),
    };
    for splat in 0..count {
        let face = state.triangles[splat] as usize;
        let [a, b, c] = data.body.faces()[face].map(|v| data.frames[frame].vertices[v as usize].map(f64::from));
        let [uv0, uv1, uv2] = data.corner_uvs[face].map(|uv| uv.map(f64::from));
        let (e1, e2) = (sub(b, a), sub(c, a));
        let ([du1, dv1], [du2, dv2]) = ([uv1[0] - uv0[0], uv1[1] - uv0[1]], [uv2[0] - uv0[0], uv2[1] - uv0[1]]);
        let f = 1.0 / (du1 * dv2 - du2 * dv1);
        let tangent = unit(std::array::from_fn(|k| f * (dv2 * e1[k] - dv1 * e2[k])));
        let bitangent = unit(std::array::from_fn(|k| f * (du1 * e2[k] - du2 * e1[k])));
        let normal = unit(cross(e1, e2));
        let matrix: [V3; 3] = std::array::from_fn(|r| [tangent[r], bitangent[r], normal[r]]);
        let x: V3 = std::array::from_fn(|k| blended(0, 5, 3, 3 * splat + k));
        let w = state.barycentrics[splat].map(f64::from);
        out.means.push(std::array::from_fn(|r| {
            (0..3).map(|k| matrix[r][k] * x[k]).sum::<f64>() + w[0] * a[r] + w[1] * b[r] + w[2] * c[r]
        }));
        let q: [f64; 4] = std::array::from_fn(|k| blended(3, 6, 4, 4 * splat + k));
        let length = q.iter().map(|v| v * v).sum::<f64>().sqrt();
        let turned = turn(product(quaternion(matrix), q.map(|v| v / length)));
        let sizes: V3 = std::array::from_fn(|k| values[2][3 * splat + k].exp());
        let entry = |r: usize, c: usize| (0..3).map(|k| turned[r][k] * sizes[k] * sizes[k] * turned[c][k]).sum::<f64>();
        out.covariances.push([entry(0, 0), entry(0, 1), entry(0, 2), entry(1, 1), entry(1, 2), entry(2, 2)]);
        out.color.push(std::array::from_fn(|k| blended(4, 7, 3, 3 * splat + k)));
    }
    out
}

/// The loss of a batch, written down from the formulas.
fn loss(
    values: &Values<f64>,
    state: &State,
    data: &Dataset,
    options: &ReconOptions,
    backgrounds: &[[f32; 3]],
    blended: bool,
) -> f64 {
    let camera: &Camera = &data.camera;
    let share = 1.0 / BATCH.len() as f64;
    let mut sum = 0.0;
    for (frame, background) in BATCH.iter().zip(backgrounds) {
        let psi = if blended { network(&state.shape, &values[8], data.theta(*frame)) } else { Vec::new() };
        let background = background.map(f64::from);
        let image = render(&world(values, state, data, *frame, &psi), camera, &SETTINGS, background);
        let picture = data.pictures.get(*frame).unwrap();
        let matte: Vec<f64> = picture.mask.as_ref().unwrap().iter().map(|v| f64::from(*v) / 255.0).collect();
        let photo: Vec<f64> = (0..image.rgb.len())
            .map(|k| f64::from(picture.rgb[k]) / 255.0 * matte[k / 3] + background[k % 3] * (1.0 - matte[k / 3]))
            .collect();
        let apart = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f64>() / a.len() as f64;
        sum += share * f64::from(options.lambda_l1) * apart(&image.rgb, &photo);
        sum += share * f64::from(options.lambda_ssim) * (1.0 - similarity(&image.rgb, &photo, SIZE));
        sum += share * f64::from(options.lambda_alpha) * apart(&image.alpha, &matte);
        let used = psi.iter().map(|v| v.abs()).sum::<f64>() / psi.len().max(1) as f64;
        sum += share * f64::from(options.lambda_sparsity) * used;
    }
    if blended {
        let bases = state.shape.bases;
        for deltas in &values[5..8] {
            let rows: Vec<&[f64]> = deltas.chunks(deltas.len() / bases).collect();
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            let mut squares = 0.0;
            for (i, j) in (0..bases).flat_map(|i| (i + 1..bases).map(move |j| (i, j))) {
                squares += dot(rows[i], rows[j]).powi(2) / (dot(rows[i], rows[i]) * dot(rows[j], rows[j]));
            }
            sum += f64::from(options.lambda_orth) * squares.sqrt();
        }
    }
    sum
}

fn whole_step(options: &Options) {
    let folder = tempfile::tempdir().unwrap();
    capture(folder.path(), 4, SIZE, |index| disc(index, SIZE));
    let data = Dataset::open(folder.path(), sheet(), options, 1 << 24).unwrap();
    let seats = data.seats(&options.model).unwrap();
    let shape = Shape::new(&options.model, seats.len());
    let mut draw = random(77);
    let mut values = shape.initial(&options.model, 5);
    for (k, (size, middle)) in
        [(0.01, 0.0), (1.0, -1.2), (0.5, -3.0), (0.6, 0.0), (0.8, 0.2), (0.01, 0.0), (0.3, 0.0), (0.4, 0.0)]
            .into_iter()
            .enumerate()
    {
        // sizes of 3 to 8 cm: splats reach beyond the picture, so that no edge crosses a pixel, where differences jump
        values[k]
            .iter_mut()
            .for_each(|v| *v += (middle - if k == 2 { *v as f64 } else { 0.0 } + draw(-size, size)) as f32);
    }
    let state = State::new(shape, &seats, values);
    assert!(state.len() > 8 && state.len() < 40, "{}", state.len());
    let recon = &options.train.recon;
    let blended = recon.blend_start_iter == 0;
    let backgrounds = schedule::backgrounds(recon, options.seed, 4, BATCH.len());
    let mut engine = CpuEngine::new(&data, options, state.clone());
    engine.step(&BATCH, &backgrounds).unwrap();
    let report = engine.report();
    let after = engine.into_state();
    assert_eq!((report.steps, report.skipped, after.images), (1, 0, 3));
    assert_eq!(after.steps, [1, u32::from(blended)]);

    let wide: Values<f64> = state.values().map(|v| v.iter().map(|v| f64::from(*v)).collect());
    let value = |values: &Values<f64>| loss(values, &state, &data, recon, &backgrounds, blended);
    let expected = value(&wide);
    assert!((report.loss - expected).abs() < 2e-6 * expected, "{} {expected}", report.loss);
    let rates = schedule::rates(recon, 0);
    for (k, name) in TENSORS.iter().enumerate() {
        let trained = k < 5 || blended;
        if !trained {
            assert_eq!(state.tensors[k], after.tensors[k], "{name} waits");
            continue;
        }
        let length = wide[k].len();
        // some from everywhere; of the network also last weights and biases
        let chosen: Vec<usize> = (0..length).step_by((length / 12).max(1)).chain([length - 1]).collect();
        let gradient: Vec<f64> = chosen
            .iter()
            .map(|at| {
                let moved = |h: f64| {
                    let mut values = wide.clone();
                    values[k][*at] += h;
                    value(&values)
                };
                (moved(1e-7) - moved(-1e-7)) / 2e-7
            })
            .collect();
        let found: Vec<f64> = chosen.iter().map(|at| 10.0 * f64::from(after.tensors[k].means[*at])).collect();
        let size = gradient.iter().map(|v| v * v).sum::<f64>().sqrt();
        let far = found.iter().zip(&gradient).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
        // f32 through projection and blending; differences of 1e-7 leave 1e-8 or so
        assert!(size > 0.0 && far < 3e-4 * size + 2e-8, "{name}: {far} of {size}");
        for (at, g) in chosen.iter().zip(&gradient).filter(|(_, g)| g.abs() > 1e-3 * size) {
            // the first step of Adam is the rate, against the sign
            let step = f64::from(after.tensors[k].values[*at]) - f64::from(state.tensors[k].values[*at]);
            let rate = f64::from(rates[k]);
            assert!((step + rate * g.signum()).abs() < 1e-5 * rate + 1e-6, "{name} {at}: {step} {rate}");
        }
    }
}

fn options() -> Options {
    let mut options = Options::online();
    options.model.tex_size = 5;
    options.model.num_basis_blend = 3;
    options.train.recon.use_fast_forward = false;
    options
}

#[test]
fn a_step_with_every_loss_agrees_with_formulas_in_f64() {
    let mut options = options();
    let recon = &mut options.train.recon;
    (recon.lambda_l1, recon.lambda_ssim, recon.lambda_alpha) = (0.8, 0.2, 0.3);
    (recon.lambda_sparsity, recon.lambda_orth) = (0.4, 0.1);
    whole_step(&options);
}

#[test]
fn steps_of_the_other_models_agree_with_formulas_in_f64() {
    // the base alone, as long as bases do not train
    let mut base = options();
    base.train.recon.blend_start_iter = 10;
    whole_step(&base);
    // one layer; the expression alone
    let mut linear = options();
    linear.model.use_mlp_proj = false;
    linear.dataset.use_pose_weight = false;
    linear.model.num_basis_in = 100;
    whole_step(&linear);
}
