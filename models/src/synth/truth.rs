//! What is drawn: hundreds of thousands of small splats over the mesh, which the mesh does not have. They follow its triangles, wrinkle with
//! the expression and are lit by lamps that stay in the room.

use gav_formats::{
    Camera,
    conventions::logit_from_opacity,
    synthetic::head::light::{FILL, FILL_COLOR, GROUND, KEY, KEY_COLOR, SKY, display},
};
use gav_kernels::raster::{self, Color, Image, Scene, Settings, Shape};

use super::bind::{Anchor, blend, carriers, vertex_normals};
use gav_formats::synthetic::head::shape::{V, add, cross, dot, length, scale, sub, unit};

/// Share of the light that stays in the room when the head turns; the rest is soft light from all around.
const IN_ROOM: f64 = 0.6;
/// How much light the deepest fold loses.
const SHADE_OF_FOLDS: f32 = 0.62;
/// Discs that look away by more than this cosine are not drawn: what is in front of them hides them.
const AWAY: f32 = -0.2;

/// A splat at rest, in metres.
#[derive(Debug, Clone)]
pub(super) struct Point {
    pub anchor: Anchor,
    /// Axes times standard deviations.
    pub axes: [V; 3],
    pub normal: V,
    /// Linear light at rest.
    pub color: V,
    pub opacity: f64,
    /// Height of the highlight, linear light.
    pub gloss: f64,
    /// Discs follow the light, hair does not.
    pub disc: bool,
    /// Not drawn from behind: parts of a closed surface.
    pub one_sided: bool,
    /// Sets of folds by number, with depth and slope (per metre of the surface, times the size of the folds in metres).
    pub folds: Vec<(u8, f64, V)>,
}

/// One splat, ready to be posed.
#[derive(Debug, Clone, Copy)]
struct Small {
    anchor: Anchor,
    axes: [[f32; 3]; 3],
    /// The normal as a multiple of the mesh's and a rest.
    upright: f32,
    aslant: [f32; 3],
    color: [f32; 3],
    /// Light at rest, to be divided by.
    lit: f32,
    gloss: f32,
    disc: bool,
    one_sided: bool,
    folds: [(u8, f32, [f32; 3]); 2],
}

/// No fold.
const NONE: u8 = u8::MAX;

/// The truth of a subject.
#[derive(Debug)]
pub struct Truth {
    rest: Vec<V>,
    faces: Vec<[u32; 3]>,
    points: Vec<Small>,
    /// Displacement of each set of folds, metres.
    folds: Vec<f32>,
    opacity_logits: Vec<f32>,
}

/// The truth at one moment, in world coordinates.
#[derive(Debug, Clone, Default)]
pub struct PosedTruth {
    means: Vec<[f32; 3]>,
    covariances: Vec<[f32; 6]>,
    normals: Vec<[f32; 3]>,
    /// Linear light without highlights.
    colors: Vec<[f32; 3]>,
}

impl PosedTruth {
    /// Linear light of each splat without highlights.
    pub fn colors(&self) -> &[[f32; 3]] {
        &self.colors
    }
}

/// Light on a matt surface, brightness only.
fn brightness(n: V) -> f64 {
    let lambert = |light: V, wrap: f64| ((dot(n, unit(light)) + wrap) / (1.0 + wrap)).max(0.0);
    let sky = SKY[1] * (0.5 + 0.5 * n[1]) + GROUND[1] * (0.5 - 0.5 * n[1]);
    KEY_COLOR[1] * lambert(KEY, 0.25) + FILL_COLOR[1] * lambert(FILL, 0.4) + sky
}

fn single(v: V) -> [f32; 3] {
    v.map(|x| x as f32)
}

impl Truth {
    /// Splats over a mesh at rest, metres; `sizes` are the displacements of the sets of folds in centimetres.
    pub(super) fn new(rest: Vec<V>, faces: Vec<[u32; 3]>, points: &[Point], sizes: &[f64]) -> Self {
        let normals = vertex_normals(&rest, &faces);
        let small = |point: &Point| {
            let face = faces[point.anchor.face as usize];
            let n = unit(blend(face.map(|v| normals[v as usize]), point.anchor.weights.map(f64::from)));
            let upright = dot(point.normal, n);
            let mut folds = [(NONE, 0.0, [0.0; 3]); 2];
            let mut all = point.folds.clone();
            all.sort_by(|a, b| (b.1 + length(b.2)).total_cmp(&(a.1 + length(a.2))));
            for (to, (set, depth, slope)) in folds.iter_mut().zip(all) {
                *to = (set, depth as f32, single(slope));
            }
            Small {
                anchor: point.anchor,
                axes: point.axes.map(single),
                upright: upright as f32,
                aslant: single(sub(point.normal, scale(n, upright))),
                color: single(point.color),
                lit: brightness(point.normal) as f32,
                gloss: point.gloss as f32,
                disc: point.disc,
                one_sided: point.one_sided,
                folds,
            }
        };
        Self {
            points: points.iter().map(small).collect(),
            folds: sizes.iter().map(|size| (0.01 * size) as f32).collect(),
            opacity_logits: points.iter().map(|p| logit_from_opacity(p.opacity as f32)).collect(),
            rest,
            faces,
        }
    }

    /// Number of splats.
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// True when there is nothing to draw.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// The truth over the posed mesh (metres), with its folds raised by so much each.
    ///
    /// # Panics
    /// When `vertices` is not as long as the mesh at rest.
    pub fn pose(&self, vertices: &[[f32; 3]], folds: &[f64]) -> PosedTruth {
        assert_eq!(vertices.len(), self.rest.len(), "vertices of the posed mesh");
        let posed: Vec<V> = vertices.iter().map(|v| v.map(f64::from)).collect();
        let carry = carriers(&self.faces, &self.rest, &posed);
        let normals: Vec<[f32; 3]> = vertex_normals(&posed, &self.faces).into_iter().map(single).collect();
        let count = self.points.len();
        let mut out = PosedTruth {
            means: Vec::with_capacity(count),
            covariances: Vec::with_capacity(count),
            normals: Vec::with_capacity(count),
            colors: Vec::with_capacity(count),
        };
        for point in &self.points {
            let anchor = &point.anchor;
            let face = self.faces[anchor.face as usize].map(|v| v as usize);
            let f = &carry[anchor.face as usize];
            let turn =
                |v: [f32; 3]| -> [f32; 3] { std::array::from_fn(|r| f[r][0] * v[0] + f[r][1] * v[1] + f[r][2] * v[2]) };
            let w = anchor.weights;
            let foot: [f32; 3] = std::array::from_fn(|k| {
                vertices[face[0]][k] * w[0] + vertices[face[1]][k] * w[1] + vertices[face[2]][k] * w[2]
            });
            let n = normalized(std::array::from_fn(|k| {
                normals[face[0]][k] * w[0] + normals[face[1]][k] * w[1] + normals[face[2]][k] * w[2]
            }));
            let rest = turn(anchor.rest);
            let slant = turn(point.aslant);
            let mut normal: [f32; 3] = std::array::from_fn(|k| point.upright * n[k] + slant[k]);
            let (mut sunk, mut shade) = (0.0f32, 1.0f32);
            for (set, depth, slope) in point.folds {
                if set == NONE {
                    break;
                }
                let strength = folds.get(usize::from(set)).map_or(0.0, |s| *s as f32);
                if strength > 0.0 {
                    let slope = turn(slope);
                    // a surface sunk by d has the normal n + ∇d
                    (0..3).for_each(|k| normal[k] += strength * slope[k]);
                    sunk += strength * depth * self.folds[usize::from(set)];
                    shade *= 1.0 - SHADE_OF_FOLDS * strength * depth;
                }
            }
            normal = normalized(normal);
            let height = anchor.height - sunk;
            out.means.push(std::array::from_fn(|k| foot[k] + height * n[k] + rest[k]));
            let a = point.axes.map(turn);
            let c = |i: usize, j: usize| a[0][i] * a[0][j] + a[1][i] * a[1][j] + a[2][i] * a[2][j];
            out.covariances.push([c(0, 0), c(0, 1), c(0, 2), c(1, 1), c(1, 2), c(2, 2)]);
            let light = if point.disc {
                let now = brightness(normal.map(f64::from)) as f32;
                shade * (1.0 - IN_ROOM as f32 + IN_ROOM as f32 * (now / point.lit).min(2.0))
            } else {
                1.0
            };
            out.normals.push(normal);
            out.colors.push(point.color.map(|c| c * light));
        }
        out
    }

    /// The picture that a camera takes over white, drawn `supersample` times as large and averaged.
    pub fn draw(&self, posed: &PosedTruth, camera: &Camera, supersample: u32) -> Image {
        let eye = {
            let m = &camera.camera_from_world;
            let center: V = std::array::from_fn(|k| -(0..3).map(|r| m[r][k] * m[r][3]).sum::<f64>());
            single(center)
        };
        let key = single(unit(KEY));
        let mut shown = Shown::default();
        for (i, point) in self.points.iter().enumerate() {
            let mean = posed.means[i];
            let view = normalized(std::array::from_fn(|k| eye[k] - mean[k]));
            let n = posed.normals[i];
            let facing = n[0] * view[0] + n[1] * view[1] + n[2] * view[2];
            if point.one_sided && facing < AWAY {
                continue;
            }
            let mut color = posed.colors[i];
            if point.gloss > 0.0 {
                let half = normalized(std::array::from_fn(|k| key[k] + view[k]));
                let mut power = (n[0] * half[0] + n[1] * half[1] + n[2] * half[2]).max(0.0);
                (0..5).for_each(|_| power *= power);
                // skin reflects more at grazing angles (Schlick 1994)
                let grazing = (1.0 - facing.max(0.0)).powi(4);
                let shine = point.gloss * (1.3 * power + 0.35 * grazing);
                color = color.map(|c| c + shine);
            }
            shown.means.push(mean);
            shown.covariances.push(posed.covariances[i]);
            shown.opacity_logits.push(self.opacity_logits[i]);
            shown.rgb.push(color.map(|c| display(f64::from(c)) as f32));
        }
        let scene = Scene {
            means: &shown.means,
            shape: Shape::Covariance(&shown.covariances),
            opacity_logits: &shown.opacity_logits,
            color: Color::Rgb(&shown.rgb),
        };
        let s = f64::from(supersample);
        let large = Camera {
            width: camera.width * supersample,
            height: camera.height * supersample,
            focal: camera.focal.map(|f| f * s),
            principal: camera.principal.map(|p| p * s),
            ..camera.clone()
        };
        averaged(&raster::render(scene, &large, &Settings::DEFAULT, raster::WHITE), supersample)
    }
}

/// What one camera draws.
#[derive(Default)]
struct Shown {
    means: Vec<[f32; 3]>,
    covariances: Vec<[f32; 6]>,
    opacity_logits: Vec<f32>,
    rgb: Vec<[f32; 3]>,
}

fn normalized(v: [f32; 3]) -> [f32; 3] {
    let length = (v[0] * v[0] + v[1] * v[1] + v[2] * v[2]).sqrt().max(1e-20);
    v.map(|x| x / length)
}

/// Means of squares of `by` × `by` pixels, colours and coverage.
fn averaged(image: &Image, by: u32) -> Image {
    if by == 1 {
        return image.clone();
    }
    let (by, wide) = (by as usize, image.width as usize);
    let (width, height) = (wide / by, image.height as usize / by);
    let share = 1.0 / (by * by) as f32;
    let mut out = Image {
        width: width as u32,
        height: height as u32,
        rgb: vec![0.0; 3 * width * height],
        alpha: vec![0.0; width * height],
        ..Image::default()
    };
    for y in 0..height * by {
        for x in 0..width * by {
            let (from, to) = (y * wide + x, y / by * width + x / by);
            (0..3).for_each(|c| out.rgb[3 * to + c] += share * image.rgb[3 * from + c].min(1.0));
            out.alpha[to] += share * image.alpha[from];
        }
    }
    out
}

/// Axes of a flat or long splat: along, across and normal, times standard deviations.
pub(super) fn axes(along: V, normal: V, sigma: V) -> [V; 3] {
    let normal = unit(normal);
    let across = unit(cross(normal, along));
    let along = cross(across, normal);
    [scale(along, sigma[0]), scale(across, sigma[1]), scale(normal, sigma[2])]
}

/// Any direction across a normal.
pub(super) fn across(normal: V) -> V {
    let helper = if normal[1].abs() < 0.9 { [0.0, 1.0, 0.0] } else { [1.0, 0.0, 0.0] };
    unit(cross(helper, normal))
}

/// Where a barycentric point lies.
pub(super) fn on_face(vertices: &[V], face: [u32; 3], weights: V) -> V {
    add([0.0; 3], blend(face.map(|v| vertices[v as usize]), weights))
}
