//! Another head than the procedural one: a mesh with expressions from a file, under a skin, eyes and hair that are painted here.
//!
//! The file is a NumPy archive with the parts of the ICT Face Model Light (Li et al., "Learning Formation of Physically-Based Face
//! Attributes", CVPR 2020): `v_template` in metres, `f`, `vt`, `ft`, `expression_dirs` and `identity_dirs` in millimetres,
//! `vertex_part`, `landmarks68`.

use std::{collections::BTreeMap, path::Path};

use gav_formats::{
    Source, TemplateFamily,
    npy::NpyArray,
    synthetic::{
        head::{
            light::{FILL, FILL_COLOR, GROUND, KEY, KEY_COLOR, SKY},
            shape::{V, add, cross, dot, hair_amount, length, mix, noise, scale, smoothstep, sub, unit},
        },
        uniform,
    },
    weights::{Limits, read_arrays},
};
use rayon::prelude::*;

use super::{
    bind::{Anchor, Finder, vertex_normals},
    face::regress,
    ict_hair::Hairs,
    paint::texture,
    template::METRES,
    truth::{Point, across, axes, on_face},
    wrinkles::{self, FOLDS},
};
use crate::{
    Error, Result,
    body::{FLAME_JOINTS, Parts},
};

/// Expressions in the order of the file, which NumPy stores as text and the reader of arrays leaves out.
const NAMES: [&str; 57] = [
    "PupilDilate_L",
    "PupilDilate_R",
    "browDown_L",
    "browDown_R",
    "browInnerUp_L",
    "browInnerUp_R",
    "browOuterUp_L",
    "browOuterUp_R",
    "cheekPuff_L",
    "cheekPuff_R",
    "cheekRaiser_L",
    "cheekRaiser_R",
    "cheekSquint_L",
    "cheekSquint_R",
    "eyeBlink_L",
    "eyeBlink_R",
    "eyeLookDown_L",
    "eyeLookDown_R",
    "eyeLookIn_L",
    "eyeLookIn_R",
    "eyeLookOut_L",
    "eyeLookOut_R",
    "eyeLookUp_L",
    "eyeLookUp_R",
    "eyeSquint_L",
    "eyeSquint_R",
    "eyeWide_L",
    "eyeWide_R",
    "jawForward",
    "jawLeft",
    "jawOpen",
    "jawRight",
    "mouthClose",
    "mouthDimple_L",
    "mouthDimple_R",
    "mouthFrown_L",
    "mouthFrown_R",
    "mouthFunnel",
    "mouthLeft",
    "mouthLowerDown_L",
    "mouthLowerDown_R",
    "mouthPress_L",
    "mouthPress_R",
    "mouthPucker",
    "mouthRight",
    "mouthRollLower",
    "mouthRollUpper",
    "mouthShrugLower",
    "mouthShrugUpper",
    "mouthSmile_L",
    "mouthSmile_R",
    "mouthStretch_L",
    "mouthStretch_R",
    "mouthUpperUp_L",
    "mouthUpperUp_R",
    "noseSneer_L",
    "noseSneer_R",
];

/// Parts of the file by number; those below are skin.
pub(super) const MOUTH_SOCKET: u8 = 2;
const EYE_SOCKETS: [u8; 2] = [3, 4];
const GUMS: u8 = 5;
const TEETH: u8 = 6;
const EYEBALLS: [u8; 2] = [7, 8];

/// Pivots of root, neck, jaw and eyes, centimetres. Jaw and eyes carry nothing: expressions move them.
const JOINTS: [V; 5] = [[0.0, -14.0, -2.0], [0.0, -9.0, -1.5], [0.0, 0.0, 1.5], [3.1, 3.6, 8.0], [-3.1, 3.6, 8.0]];

/// A head from a file.
pub(super) struct Ict {
    pub parts: Parts<f32>,
    pub names: Vec<String>,
    /// Rest vertices, centimetres.
    pub vertices: Vec<V>,
    /// Of each vertex.
    pub part: Vec<u8>,
    landmarks: Vec<usize>,
}

/// Heights in the file and where the procedural head has the same feature, cm: trunk, chin, mouth, nose, eyes, crown.
const HEIGHTS: [[f64; 2]; 6] = [[-19.3, -19.0], [-7.6, -10.2], [-3.5, -5.75], [0.4, -2.7], [3.62, 0.75], [14.5, 11.8]];

/// About where the procedural head has the same feature, so that its folds, freckles and hairline serve here.
pub(super) fn procedural(p: V) -> V {
    let k = HEIGHTS.iter().position(|h| h[0] > p[1]).unwrap_or(HEIGHTS.len() - 1).max(1);
    let ([a, b], [c, d]) = (HEIGHTS[k - 1], HEIGHTS[k]);
    [1.0 * p[0], b + (d - b) * (p[1] - a) / (c - a), -10.1 + 0.93 * (p[2] + 9.2)]
}

impl Ict {
    /// Reads the file.
    ///
    /// # Errors
    /// Files that cannot be read, and arrays that are missing or of another shape, with the name.
    pub(super) fn read(file: &Path) -> Result<Self> {
        let arrays: BTreeMap<String, NpyArray> =
            read_arrays(&Source::open(file)?, &Limits::default())?.arrays.into_iter().collect();
        let bad = |text: String| Error::usage(format!("{}: {text}", file.display()));
        let get = |name: &str, tail: &[usize]| -> Result<&NpyArray> {
            let array = arrays.get(name).ok_or_else(|| bad(format!("no array `{name}`")))?;
            match array.shape.split_first() {
                Some((_, rest)) if rest == tail => Ok(array),
                _ => Err(bad(format!("`{name}` has the shape {:?}, N × {tail:?} expected", array.shape))),
            }
        };
        let indices = |name: &str, tail: &[usize], limit: usize| -> Result<Vec<u32>> {
            let values = get(name, tail)?.to_f64();
            match values.iter().find(|v| !(v.fract() == 0.0 && **v >= 0.0 && **v < limit as f64)) {
                Some(v) => Err(bad(format!("`{name}` holds {v}, an index below {limit} expected"))),
                None => Ok(values.into_iter().map(|v| v as u32).collect()),
            }
        };
        let metres = get("v_template", &[3])?.to_f32();
        let count = metres.len() / 3;
        let uvs = get("vt", &[2])?.to_f32();
        let identities = get("identity_dirs", &[3, 20])?.to_f32();
        let directions = get("expression_dirs", &[3, NAMES.len()])?.to_f32();
        if directions.len() != 3 * count * NAMES.len() || identities.len() != 60 * count {
            return Err(bad(format!("directions of another number of vertices than {count}")));
        }
        let part: Vec<u8> = indices("vertex_part", &[], 256)?.into_iter().map(|v| v as u8).collect();
        if part.len() != count {
            return Err(bad(format!("`vertex_part` of {} vertices, {count} expected", part.len())));
        }
        let landmarks: Vec<usize> = indices("landmarks68", &[], count)?.into_iter().map(|v| v as usize).collect();
        if landmarks.len() != 68 {
            return Err(bad(format!("{} landmarks, 68 expected", landmarks.len())));
        }
        let vertices: Vec<V> = metres.chunks_exact(3).map(|p| [0, 1, 2].map(|k| f64::from(p[k]) / METRES)).collect();
        let mut shapedirs = Vec::with_capacity(3 * count * (20 + NAMES.len()));
        for (own, expressions) in identities.chunks_exact(20).zip(directions.chunks_exact(NAMES.len())) {
            shapedirs.extend(own.iter().chain(expressions).map(|v| 0.001 * v));
        }
        let weights = vertices.iter().flat_map(|p| {
            let height = p[1] + 0.25 * (p[2] + 2.0) * smoothstep(-6.0, -9.0, p[1]);
            let neck = smoothstep(-16.0, -8.0, height) as f32;
            [1.0 - neck, neck, 0.0, 0.0, 0.0]
        });
        let weights: Vec<f32> = weights.collect();
        let mut regressor = vec![0.0f32; 5 * count];
        for (joint, place) in JOINTS.iter().enumerate() {
            let chosen: Vec<usize> = (0..count)
                .filter(|v| match joint {
                    3 | 4 => part[*v] == EYEBALLS[joint - 3],
                    _ => part[*v] < MOUTH_SOCKET && (vertices[*v][1] - place[1]).abs() < 2.0,
                })
                .collect();
            if chosen.is_empty() {
                return Err(bad(format!("no vertex near the joint {}", FLAME_JOINTS[joint])));
            }
            // eyes turn about their middle
            let target = if joint < 3 { *place } else { middle(&vertices, &chosen) };
            for (vertex, weight) in chosen.iter().zip(regress(&vertices, &chosen, target)) {
                regressor[joint * count + vertex] = weight as f32;
            }
        }
        let parts = Parts {
            family: TemplateFamily::Custom,
            name: "ICT head".to_owned(),
            licence: "MIT".to_owned(),
            vertices: metres.as_chunks().0.to_vec(),
            faces: indices("f", &[3], count)?.as_chunks().0.to_vec(),
            uv_faces: indices("ft", &[3], uvs.len() / 2)?.as_chunks().0.to_vec(),
            uvs: uvs.as_chunks().0.to_vec(),
            shapedirs,
            identity_columns: 20,
            posedirs: Vec::new(),
            extras: Vec::new(),
            regressor,
            weights,
            parents: vec![None, Some(0), Some(1), Some(1), Some(1)],
            joint_names: FLAME_JOINTS.iter().map(|n| (*n).to_owned()).collect(),
            hands: None,
        };
        parts.check()?;
        Ok(Self { parts, names: NAMES.map(str::to_owned).into(), vertices, part, landmarks })
    }

    /// About `count` splats over the mesh.
    pub(super) fn points(&self, count: usize, seed: u64) -> Vec<Point> {
        let faces = &self.parts.faces;
        let normals = vertex_normals(&self.vertices, faces);
        let eyes = EYEBALLS.map(|which| {
            let own: Vec<usize> = (0..self.part.len()).filter(|v| self.part[*v] == which).collect();
            middle(&self.vertices, &own)
        });
        let lips: Vec<[f64; 2]> = (48..60).map(|k| self.landmark(k)).map(|p| [p[0], p[1]]).collect();
        let skin = count * 62 / 100;
        let area = |face: &[u32; 3]| {
            let [a, b, c] = face.map(|v| self.vertices[v as usize]);
            0.5 * length(cross(sub(b, a), sub(c, a)))
        };
        let density = |face: &[u32; 3]| {
            let p = on_face(&self.vertices, *face, [1.0 / 3.0; 3]);
            match self.part[face[0] as usize] {
                part if EYEBALLS.contains(&part) => 3.0 * smoothstep(6.0, 8.0, p[2]),
                GUMS | TEETH => 1.2,
                MOUTH_SOCKET => 0.6,
                _ => mix(0.6, 2.2, smoothstep(3.0, 7.0, p[2]) * smoothstep(-9.5, -7.0, p[1])),
            }
        };
        let mut sums = Vec::with_capacity(faces.len());
        let mut total = 0.0;
        for face in faces {
            total += area(face) * density(face);
            sums.push(total);
        }
        let at = |k: usize| {
            let x = (k as f64 + uniform(k as u64, seed)) / skin as f64 * total;
            let index = sums.partition_point(|s| *s <= x).min(sums.len() - 1);
            let face = faces[index];
            // neighbours in the sequence of Roberts (2018) lie far apart, and mostly in one triangle
            let (mut u, mut v) = ((0.754_877_666 * k as f64).fract(), (0.569_840_291 * k as f64).fract());
            if u + v > 1.0 {
                (u, v) = (1.0 - u, 1.0 - v);
            }
            let weights = [1.0 - u - v, u, v];
            let p = on_face(&self.vertices, face, weights);
            let n = unit(on_face(&normals, face, weights));
            let spacing = (total / skin as f64 / density(&face).max(0.05)).sqrt();
            let part = self.part[face[0] as usize];
            let is_skin = part < MOUTH_SOCKET;
            let (albedo, gloss) = self.paint(part, p, &eyes, &lips);
            let q = procedural(p);
            let folds = FOLDS.iter().enumerate().filter(|_| is_skin).filter_map(|(k, set)| {
                let (depth, slope) = wrinkles::at(set, q, n)?;
                Some((k as u8, depth, scale(slope, set.size)))
            });
            let light = light(n);
            let sigma = 0.8 * spacing;
            Point {
                anchor: Anchor { face: index as u32, weights: weights.map(|w| w as f32), height: 0.0, rest: [0.0; 3] },
                axes: axes(across(n), n, scale([sigma, sigma, 0.2 * sigma], METRES)),
                normal: n,
                color: std::array::from_fn(|c| albedo[c] * light[c]),
                opacity: 0.96,
                gloss,
                disc: true,
                one_sided: is_skin,
                folds: folds.collect(),
            }
        };
        let mut points: Vec<Point> = (0..skin).into_par_iter().map(at).collect();
        let finder = Finder::new(&self.vertices, faces, 0.7, |f| self.part[faces[f][0] as usize] < MOUTH_SOCKET);
        let hairs = Hairs { head: self, finder: &finder, normals: &normals };
        points.extend(hairs.scalp(count * 34 / 100, seed));
        points.extend(hairs.brows(count / 50, seed));
        points.extend(hairs.lashes(count / 250, seed));
        points
    }

    pub(super) fn landmark(&self, k: usize) -> V {
        self.vertices[self.landmarks[k]]
    }

    /// Colour that a point reflects, and the height of its highlight.
    fn paint(&self, part: u8, p: V, eyes: &[V; 2], lips: &[[f64; 2]]) -> (V, f64) {
        if let Some(side) = EYEBALLS.iter().position(|which| *which == part) {
            return eye(sub(p, eyes[side]));
        }
        match part {
            TEETH => return (scale([0.70, 0.64, 0.54], mix(0.45, 1.0, smoothstep(6.0, 10.0, p[2]))), 0.15),
            GUMS => return (scale([0.36, 0.12, 0.115], mix(0.3, 1.0, smoothstep(4.0, 9.5, p[2]))), 0.08),
            MOUTH_SOCKET => return (scale([0.24, 0.07, 0.065], mix(0.12, 0.8, smoothstep(5.0, 9.8, p[2]))), 0.0),
            part if EYE_SOCKETS.contains(&part) => return ([0.42, 0.22, 0.18], 0.0),
            _ => {}
        }
        let q = procedural(p);
        let tone = texture(q);
        let blotches = 0.6 * noise(scale(q, 0.45), 11) + 0.4 * noise(scale(q, 1.3), 12);
        let cheek = |x: f64| 1.0 - smoothstep(0.8, 3.2, length(sub(q, [x, -2.3, 6.6])));
        let blush =
            0.6 * cheek(4.3).max(cheek(-4.3)).max(1.0 - smoothstep(0.3, 1.8, length(sub(q, [0.0, -2.8, 10.4]))));
        let tint = [1.0 - 0.02 * blush, 1.0 - 0.20 * blush, 1.0 - 0.22 * blush];
        let mut color: V =
            std::array::from_fn(|c| [0.56, 0.335, 0.245][c] * tone[c] * (1.0 + 0.05 * blotches) * tint[c]);
        let mut gloss = 0.07 + 0.05 * (1.0 - smoothstep(0.5, 3.0, length(sub(q, [0.0, -1.5, 9.8]))));
        // the lips' outline in front; inside of it the sign is negative
        let d = outline(lips, [p[0], p[1]]);
        if p[2] > 8.0 && d < 0.2 {
            let lip = smoothstep(0.1, -0.1, d);
            let lines = 1.0 + 0.10 * noise([p[0] * 6.0, p[1] * 0.7, 0.0], 15);
            color = std::array::from_fn(|c| mix(color[c], [0.47, 0.175, 0.165][c] * lines, 0.9 * lip));
            gloss = mix(gloss, 0.2, lip);
        }
        let scalp = 1.0 - 0.75 * hair_amount(q);
        (scale(color, scalp), gloss * scalp)
    }
}

fn middle(vertices: &[V], chosen: &[usize]) -> V {
    scale(chosen.iter().fold([0.0; 3], |sum, v| add(sum, vertices[*v])), 1.0 / chosen.len().max(1) as f64)
}

/// Pupil, iris and white by the angle from the front; `d` is relative to the eyeball's middle.
fn eye(d: V) -> (V, f64) {
    let d = unit(d);
    let angle = (d[0] * d[0] + d[1] * d[1]).sqrt().atan2(d[2]);
    let around = d[1].atan2(d[0]);
    let fibre = noise([9.0 * around.cos(), 9.0 * around.sin(), 8.0 * angle], 32);
    let iris = scale([0.115, 0.155, 0.09], (1.0 + 0.6 * fibre) * (1.0 - 0.8 * smoothstep(0.30, 0.40, angle)));
    let white = [0.62, 0.57, 0.545];
    let (pupil, edge) = (smoothstep(0.14, 0.17, angle), smoothstep(0.385, 0.43, angle));
    (std::array::from_fn(|c| mix(mix(0.004, iris[c], pupil), white[c], edge)), 0.35)
}

/// Distance to a closed outline in the plane, negative inside.
fn outline(corners: &[[f64; 2]], p: [f64; 2]) -> f64 {
    let (mut least, mut inside) = (f64::INFINITY, false);
    for (k, a) in corners.iter().enumerate() {
        let b = corners[(k + 1) % corners.len()];
        let (e, w) = ([b[0] - a[0], b[1] - a[1]], [p[0] - a[0], p[1] - a[1]]);
        let t = ((e[0] * w[0] + e[1] * w[1]) / (e[0] * e[0] + e[1] * e[1])).clamp(0.0, 1.0);
        least = least.min((w[0] - t * e[0]).hypot(w[1] - t * e[1]));
        if (a[1] > p[1]) != (b[1] > p[1]) && p[0] < a[0] + (p[1] - a[1]) / e[1] * e[0] {
            inside = !inside;
        }
    }
    if inside { -least } else { least }
}

/// Light at rest on a surface with this normal, linear.
pub(super) fn light(n: V) -> V {
    let lambert = |towards: V, wrap: f64| ((dot(n, unit(towards)) + wrap) / (1.0 + wrap)).max(0.0);
    let (key, fill) = (lambert(KEY, 0.25), lambert(FILL, 0.4));
    std::array::from_fn(|c| {
        let sky = SKY[c] * (0.5 + 0.5 * n[1]) + GROUND[c] * (0.5 - 0.5 * n[1]);
        0.9 * KEY_COLOR[c] * key + FILL_COLOR[c] * fill + 0.9 * sky
    })
}
