//! Golden vectors, whole steps against formulas in f64, and trainings from end to end on a capture made here.

mod folder;
mod parity;
mod step;
mod training;

use std::{fs, path::Path};

use gav_formats::{
    TemplateFamily,
    npy::NpyArray,
    synthetic::uniform,
    weights::{Entry, write_arrays},
};

use crate::body::{Body, Parts};

fn random(seed: u64) -> impl FnMut(f64, f64) -> f64 {
    let mut counter = 0;
    move |lo, hi| {
        counter += 1;
        lo + (hi - lo) * uniform(counter, seed)
    }
}

/// A curved sheet of 18 triangles, 12 cm wide, with the joints and the parameters of FLAME: 3 identity and 4 expression columns, eyelids.
fn sheet() -> Body<f32> {
    let (side, mut draw) = (4usize, random(21));
    let mut vertices = Vec::new();
    let mut uvs = Vec::new();
    for k in 0..side * side {
        let [u, v] = [k % side, k / side].map(|c| c as f64 / 3.0);
        uvs.push([(0.06 + 0.88 * u) as f32, (0.06 + 0.86 * v) as f32]);
        let bulge = 0.03 * (1.0 - (2.0 * u - 1.0).powi(2));
        vertices.push([0.12 * u - 0.06, 0.12 * v - 0.06, bulge + draw(-0.004, 0.004)].map(|c| c as f32));
    }
    let cell = |k: u32| {
        let a = k / 3 * 4 + k % 3;
        [[a, a + 1, a + 4], [a + 1, a + 5, a + 4]]
    };
    let mut many = |count: usize, size: f64| (0..count).map(|_| draw(-size, size) as f32).collect::<Vec<f32>>();
    let count = side * side;
    let mut regressor = vec![0.0; 5 * count];
    (0..5).for_each(|j| regressor[j * count + 3 * j] = 1.0);
    // neck, jaw, and a little of the root
    let weights =
        (0..count).flat_map(|v| [0.1, if v < 8 { 0.9 } else { 0.4 }, if v < 8 { 0.0 } else { 0.5 }, 0.0, 0.0]);
    let parts = Parts {
        family: TemplateFamily::Flame2020,
        name: "sheet".into(),
        licence: "CC0-1.0".into(),
        faces: (0..9).flat_map(cell).collect(),
        uvs,
        uv_faces: Vec::new(),
        shapedirs: many(3 * count * 7, 0.003),
        identity_columns: 3,
        posedirs: many(3 * count * 36, 0.001),
        extras: ["l_eyelid", "r_eyelid"]
            .map(|name| (name.to_owned(), many(3 * count, 0.002).as_chunks::<3>().0.to_vec()))
            .to_vec(),
        regressor,
        weights: weights.collect(),
        parents: vec![None, Some(0), Some(1), Some(1), Some(1)],
        joint_names: ["root", "neck", "jaw", "left_eye", "right_eye"].map(str::to_owned).to_vec(),
        hands: None,
        vertices,
    };
    Body::new(&parts).unwrap()
}

/// What a checkpoint of the tracker says.
struct Frame {
    expression: Vec<f64>,
    shape: Vec<f64>,
    jaw: Vec<f64>,
    eyes: Vec<f64>,
    eyelids: Vec<f64>,
    rotation: Vec<f64>,
    translation: Vec<f64>,
    intrinsics: [f64; 4],
    /// Height, width.
    size: [i64; 2],
}

impl Frame {
    /// A head that looks somewhere and says something.
    fn of(index: usize, size: [i64; 2]) -> Self {
        let mut draw = random(100 + index as u64);
        let (sine, cosine) = draw(-0.25, 0.25).sin_cos();
        let six = |draw: &mut dyn FnMut(f64, f64) -> f64| -> Vec<f64> {
            // the tracker's numbers are no rotations to the digit
            [1.1, 0.0, 0.0, 0.0, 0.9, 0.0].iter().map(|v| v + draw(-0.1, 0.1)).collect()
        };
        let focal = 4.6 * size[0] as f64;
        Self {
            expression: (0..4).map(|_| draw(-1.0, 1.0)).collect(),
            shape: vec![0.5, -0.3, 0.8],
            jaw: six(&mut draw),
            eyes: [six(&mut draw), six(&mut draw)].concat(),
            eyelids: vec![draw(0.0, 1.0), draw(0.0, 1.0)],
            // diag(1, −1, −1) times a turn about y
            rotation: vec![cosine, 0.0, sine, 0.0, -1.0, 0.0, sine, 0.0, -cosine],
            translation: vec![draw(-0.004, 0.004), draw(-0.004, 0.004), 0.7 + draw(-0.01, 0.01)],
            intrinsics: [focal, 1.02 * focal, 0.5 * size[1] as f64 + 0.3, 0.5 * size[0] as f64 - 0.2],
            size,
        }
    }

    fn write(&self, path: &Path, without: Option<&str>) {
        let floats = |name: &str, shape: &[usize], values: &[f64]| {
            let mut all: Vec<f32> = values.iter().map(|v| *v as f32).collect();
            all.resize(shape.iter().product(), 0.0);
            (name.to_owned(), Entry::Array(NpyArray::from_f32(shape.to_vec(), &all)))
        };
        let [fx, fy, cx, cy] = self.intrinsics;
        let mut flame = vec![
            floats("exp", &[1, 100], &self.expression),
            floats("shape", &[1, 300], &self.shape),
            floats("jaw", &[1, 6], &self.jaw),
            floats("eyes", &[1, 12], &self.eyes),
            floats("eyelids", &[1, 2], &self.eyelids),
        ];
        flame.retain(|(name, _)| Some(name.as_str()) != without);
        let entries = [
            ("flame".to_owned(), Entry::Group(flame)),
            (
                "opencv".to_owned(),
                Entry::Group(vec![
                    floats("R", &[1, 3, 3], &self.rotation),
                    floats("t", &[1, 3], &self.translation),
                    floats("K", &[1, 3, 3], &[fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0]),
                ]),
            ),
            ("img_size".to_owned(), Entry::Array(NpyArray::from_i64(vec![2], &self.size))),
        ];
        fs::write(path, write_arrays("frame", &entries).unwrap()).unwrap();
    }
}

/// Writes checkpoints and pictures; `paint` gives the straight colours and alpha of a frame, height × width × 4.
fn capture(folder: &Path, count: usize, size: [i64; 2], paint: impl Fn(usize) -> Vec<u8>) {
    fs::create_dir_all(folder.join("checkpoint")).unwrap();
    fs::create_dir_all(folder.join("images")).unwrap();
    for index in 0..count {
        Frame::of(index, size).write(&folder.join(format!("checkpoint/{index:05}.frame")), None);
        picture(&folder.join(format!("images/{index:05}.png")), size, png::ColorType::Rgba, &paint(index));
    }
}

fn picture(path: &Path, [height, width]: [i64; 2], color: png::ColorType, bytes: &[u8]) {
    let mut encoder = png::Encoder::new(fs::File::create(path).unwrap(), width as u32, height as u32);
    encoder.set_color(color);
    encoder.write_header().unwrap().write_image_data(bytes).unwrap();
}

/// A soft disc whose colours change from frame to frame.
fn disc(index: usize, [height, width]: [i64; 2]) -> Vec<u8> {
    let mut draw = random(700 + index as u64);
    let tint: [f64; 3] = std::array::from_fn(|_| draw(0.0, 0.4));
    (0..height * width)
        .flat_map(|p| {
            let (x, y) = ((p % width) as f64 / width as f64 - 0.5, (p / width) as f64 / height as f64 - 0.5);
            let color = [0.5 + 0.5 * x, 0.4 + 0.4 * y, 0.3];
            let alpha = (1.6 - 4.0 * (x * x + y * y).sqrt()).clamp(0.0, 1.0);
            let [r, g, b] = std::array::from_fn(|c| (255.0 * (color[c] + tint[c]).clamp(0.0, 1.0)) as u8);
            [r, g, b, (255.0 * alpha) as u8]
        })
        .collect()
}
