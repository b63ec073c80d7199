//! A capture as a training wants it: pictures, cameras, and a mesh for every time step.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use gav_formats::{Camera, Limits, cameras::View};
use rayon::prelude::*;

use super::{Options, State, Tables, Tensor};
use crate::{
    Error, Result,
    body::{Body, Parameters, Rotation},
    capture::{
        Capture, Layout, Pictures, SelectionOptions, Split, align, neutral, parameters, pose_free, select_faces, stga,
    },
};

/// A picture to train on, or to be judged by.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainView {
    /// Where it was taken.
    pub camera: Camera,
    /// Index into [`Dataset::times`].
    pub time: usize,
    /// What it is for.
    pub split: Split,
    /// Which camera took it; 0 where the files do not say.
    pub camera_index: u32,
}

/// Tracked parameters and the body they belong to.
#[derive(Debug)]
pub struct Tracked {
    /// The body.
    pub body: Body<f32>,
    /// Identity, and eyelids and the like of each time step: what is not trained. T entries.
    pub fixed: Vec<Parameters<f32>>,
    /// The rest, T rows each.
    pub tables: Tables,
}

/// The mesh that carries the splats.
#[derive(Debug)]
pub struct Motion {
    /// Triangles, F × 3.
    pub faces: Vec<[u32; 3]>,
    /// Posed vertices of every time step, T × V × 3, world, metres.
    pub vertices: Vec<Vec<[f32; 3]>>,
    /// Where they come from, when they are those of a body.
    pub tracked: Option<Tracked>,
    /// Faces that the expression moves, T lists, ascending.
    pub selected: Vec<Vec<u32>>,
    /// The time step with the least expression, of those that have views to train on.
    pub neutral: usize,
}

/// A capture, opened for training.
pub struct Dataset {
    /// Numbers of the time steps, ascending.
    pub times: Vec<u32>,
    /// All views, training ones first, by time step and camera; the pictures have the same order.
    pub views: Vec<TrainView>,
    /// Their pictures.
    pub pictures: Pictures,
    /// The mesh.
    pub motion: Motion,
    /// 1.1 times the largest distance of a training camera from their mean: what rates of centres are in proportion to.
    pub extent: f32,
    /// What was odd and could be lived with.
    pub warnings: Vec<String>,
}

/// How a capture is opened.
#[derive(Debug, Clone, PartialEq)]
pub struct DataOptions {
    /// Bytes of decoded pictures to keep.
    pub budget: u64,
    /// Train on the held-out views of trained time steps too.
    pub train_on_val: bool,
    /// Only this camera.
    pub camera: Option<u32>,
    /// Read the selections of STGA's `training_faces` where the folder has them.
    pub use_files: bool,
    /// Read them from this folder, whatever the layout: `NNNN.npy` for every time step.
    pub select_files: Option<PathBuf>,
    /// Use the offsets of the tracked vertices from the template.
    pub static_offset: bool,
}

impl Default for DataOptions {
    fn default() -> Self {
        Self {
            budget: 4 << 30,
            train_on_val: false,
            camera: None,
            use_files: true,
            select_files: None,
            static_offset: true,
        }
    }
}

/// Shares of faces outside of which a selection is odd.
const USUAL: [f64; 2] = [0.005, 0.6];

impl Dataset {
    /// Reads cameras and meshes; pictures are read later.
    ///
    /// # Errors
    /// A capture without a tracked mesh, missing templates, meshes that differ in their faces, views without time steps.
    pub fn open(capture: &Capture, body: Option<Body<f32>>, options: &Options, data: &DataOptions) -> Result<Self> {
        let mut views: Vec<(Split, &View)> = Vec::new();
        for (split, view) in &capture.views {
            if data.camera.is_some_and(|wanted| view.camera_index.is_some_and(|k| k != wanted)) {
                continue;
            }
            if view.timestep.is_none() {
                return Err(Error::usage(format!(
                    "{}: view `{}` has no time step (`timestep_index` or `keyframe`)",
                    capture.folder.display(),
                    view.camera.name
                )));
            }
            let split = if data.train_on_val && *split == Split::Val { Split::Train } else { *split };
            views.push((split, view));
        }
        views.sort_by_key(|(split, view)| (*split, view.timestep, view.camera_index));
        if !views.iter().any(|(split, _)| *split == Split::Train) {
            return Err(Error::usage(format!("{}: no views to train on", capture.folder.display())));
        }
        let mut steps: BTreeMap<u32, &View> = BTreeMap::new();
        for (_, view) in &views {
            let entry = steps.entry(view.timestep.unwrap_or_default()).or_insert(view);
            if entry.parameters.is_none() {
                *entry = view;
            }
        }
        let times: Vec<u32> = steps.keys().copied().collect();
        let index: BTreeMap<u32, usize> = times.iter().enumerate().map(|(k, t)| (*t, k)).collect();
        let mut warnings = capture.warnings.clone();
        let trained: Vec<bool> = times
            .iter()
            .map(|t| views.iter().any(|(split, view)| *split == Split::Train && view.timestep == Some(*t)))
            .collect();
        let mut motion = match (capture.layout, body) {
            (Layout::Stga, _) => from_meshes(capture, &times, &trained, options)?,
            (_, Some(body)) => from_parameters(body, &steps, &trained, options, data)?,
            (layout, None) => {
                return Err(Error::usage(format!(
                    "{}: the layout {} has no tracked mesh that splats could sit on",
                    capture.folder.display(),
                    layout.name()
                )));
            }
        };
        let lists = data.select_files.clone().or_else(|| {
            let own = capture.folder.join("training_faces");
            (data.use_files && capture.layout == Layout::Stga && own.is_dir()).then_some(own)
        });
        if let Some(folder) = lists {
            read_selections(&folder, &times, &mut motion, &mut warnings)?;
        }
        say_unusual(&motion, &mut warnings);
        let train: Vec<&Camera> = views.iter().filter(|(s, _)| *s == Split::Train).map(|(_, v)| &v.camera).collect();
        let list = views
            .iter()
            .map(|(split, view)| TrainView {
                camera: view.camera.clone(),
                time: view.timestep.map_or(0, |t| index[&t]),
                split: *split,
                camera_index: view.camera_index.unwrap_or(0),
            })
            .collect();
        let extent = extent(&train);
        let pictures =
            Pictures::new(views.iter().map(|(_, view)| (*view).clone()).collect(), options.background, data.budget);
        Ok(Self { times, views: list, pictures, motion, extent, warnings })
    }

    /// Numbers of the views of a split.
    pub fn of(&self, split: Split) -> Vec<usize> {
        (0..self.views.len()).filter(|k| self.views[*k].split == split).collect()
    }

    /// Hash of views, time steps and meshes: another capture, or another template, has another one.
    pub fn fingerprint(&self) -> String {
        let mut hash = blake3::Hasher::new();
        for view in &self.views {
            hash.update(view.camera.name.as_bytes());
            hash.update(&[view.split as u8]);
            hash.update(&(view.time as u64).to_le_bytes());
            for number in view.camera.camera_from_world.as_flattened().iter().chain(&view.camera.focal) {
                hash.update(&number.to_le_bytes());
            }
        }
        for face in self.motion.faces.as_flattened() {
            hash.update(&face.to_le_bytes());
        }
        for number in self.motion.vertices.iter().flat_map(|v| v.as_flattened()) {
            hash.update(&number.to_le_bytes());
        }
        for list in &self.motion.selected {
            hash.update(&(list.len() as u64).to_le_bytes());
            list.iter().for_each(|face| {
                hash.update(&face.to_le_bytes());
            });
        }
        format!("blake3:{}", hash.finalize().to_hex())
    }

    /// What a training begins with, once splats are there.
    pub fn state(&self, splats: &gav_formats::Splats, triangles: Vec<u32>, options: &Options) -> State {
        let tracked = self.motion.tracked.as_ref().filter(|_| options.finetune_flame);
        State::new(splats, triangles, tracked.map(|t| t.tables.clone()))
    }
}

impl Tracked {
    /// The parameters of a time step, from tables of the same form as [`Tracked::tables`].
    pub fn parameters(&self, tables: &Tables, time: usize) -> Parameters<f32> {
        let row = |tensor: &Tensor| {
            let width = tensor.values.len() / self.fixed.len();
            tensor.values[time * width..][..width].to_vec()
        };
        let pose = row(&tables.pose);
        let translation = row(&tables.translation);
        Parameters {
            expression: row(&tables.expression),
            rotations: pose.as_chunks::<3>().0.iter().map(|r| Rotation::AxisAngle(*r)).collect(),
            translation: [translation[0], translation[1], translation[2]],
            ..self.fixed[time].clone()
        }
    }
}

fn from_parameters(
    body: Body<f32>,
    steps: &BTreeMap<u32, &View>,
    trained: &[bool],
    options: &Options,
    data: &DataOptions,
) -> Result<Motion> {
    let mut fixed: Vec<Parameters<f32>> = Vec::new();
    let mut tables = Tables::default();
    let mut poses = Vec::new();
    let (expressions, joints) = (body.expression_count(), body.joint_count());
    for (step, view) in steps {
        let Some(path) = &view.parameters else {
            return Err(Error::usage(format!("time step {step} has no tracked parameters (`flame_param_path`)")));
        };
        let naming = |e: Error| Error::usage(format!("{}: {e}", path.display()));
        let pose = parameters(path).map_err(naming)?;
        let mut of = body.parameters(&[], &pose).map_err(naming)?;
        if !data.static_offset {
            of.offset.clear();
        }
        body.check(&of).map_err(naming)?;
        let finite = of.expression.iter().chain(&of.translation).chain(of.offset.as_flattened()).all(|v| v.is_finite());
        if !finite {
            return Err(Error::usage(format!("{}: parameters that are not finite", path.display())));
        }
        let mut expression = std::mem::take(&mut of.expression);
        expression.resize(expressions, 0.0);
        tables.expression.values.extend(expression);
        let rotations = std::mem::take(&mut of.rotations);
        for joint in 0..joints {
            tables.pose.values.extend(rotations.get(joint).map_or([0.0; 3], axis_angle));
        }
        tables.translation.values.extend(of.translation);
        // one identity for all: that of the first time step, as GaussianAvatars takes it
        if let Some(first) = fixed.first() {
            of.shape.clone_from(&first.shape);
            of.offset.clone_from(&first.offset);
        }
        fixed.push(of);
        poses.push(pose);
    }
    for (_, tensor) in tables.named_mut() {
        *tensor = Tensor::new(std::mem::take(&mut tensor.values));
    }
    let tracked = Tracked { body, fixed, tables };
    let body = &tracked.body;
    let vertices: Vec<Vec<[f32; 3]>> = (0..tracked.fixed.len())
        .into_par_iter()
        .map(|time| body.pose(&tracked.parameters(&tracked.tables, time)).vertices)
        .collect();
    let free: Vec<Vec<[f32; 3]>> = poses.par_iter().map(|pose| pose_free(body, pose)).collect::<Result<_>>()?;
    let faces = body.faces().to_vec();
    let rest = neutral(body, &poses[0])?;
    let (selected, neutral) = select(&rest, &free, &faces, trained, options);
    Ok(Motion { faces, vertices, tracked: Some(tracked), selected, neutral })
}

fn from_meshes(capture: &Capture, times: &[u32], trained: &[bool], options: &Options) -> Result<Motion> {
    let limits = Limits::default();
    let meshes = times
        .par_iter()
        .map(|step| stga::read_mesh(&stga::mesh_path(&capture.folder, *step), &limits))
        .collect::<Result<Vec<_>>>()?;
    let count = meshes[0].len();
    if let Some(k) = meshes.iter().position(|mesh| mesh.len() != count) {
        return Err(Error::usage(format!(
            "{}: {} triangles, but {count} in {}: splats belong to triangles by number, so all meshes need the same list",
            stga::mesh_path(&capture.folder, times[k]).display(),
            meshes[k].len(),
            stga::mesh_path(&capture.folder, times[0]).display(),
        )));
    }
    let (faces, first) = weld(&meshes);
    let vertices: Vec<Vec<[f32; 3]>> = meshes
        .iter()
        .map(|mesh| first.iter().map(|corner| mesh[*corner as usize / 3][*corner as usize % 3]).collect())
        .collect();
    let still: Vec<Vec<[f32; 3]>> = vertices.par_iter().map(|posed| align(&vertices[0], posed)).collect();
    let (selected, neutral) = select(&vertices[0], &still, &faces, trained, options);
    Ok(Motion { faces, vertices, tracked: None, selected, neutral })
}

/// Lists of selected faces from files; a time step without one keeps its own.
fn read_selections(folder: &Path, times: &[u32], motion: &mut Motion, warnings: &mut Vec<String>) -> Result<()> {
    let limits = Limits::default();
    let count = motion.faces.len();
    let mut missing = 0;
    for (step, list) in times.iter().zip(&mut motion.selected) {
        let path = folder.join(format!("{step:04}.npy"));
        if path.is_file() {
            let mut faces = stga::read_training_faces(&path, count, &limits)?;
            faces.sort_unstable();
            faces.dedup();
            *list = faces;
        } else {
            missing += 1;
        }
    }
    if missing == times.len() {
        return Err(Error::usage(format!("{}: no list of faces such as {:04}.npy", folder.display(), times[0])));
    }
    if missing > 0 {
        warnings.push(format!(
            "{missing} of {} time steps have no list in {}: their faces are selected by their motion",
            times.len(),
            folder.display()
        ));
    }
    Ok(())
}

/// Corners that lie at the same place in every mesh become one vertex: STGA's meshes list three corners a triangle. Returns the faces and,
/// for each vertex, the first of its corners.
fn weld(meshes: &[Vec<[[f32; 3]; 3]>]) -> (Vec<[u32; 3]>, Vec<u32>) {
    let probes: Vec<usize> = [0, meshes.len() / 2, meshes.len() - 1].into();
    let mut seen: BTreeMap<Vec<u32>, u32> = BTreeMap::new();
    let mut first = Vec::new();
    let faces = (0..meshes[0].len()).map(|face| {
        std::array::from_fn(|corner| {
            let key = probes.iter().flat_map(|k| meshes[*k][face][corner].map(f32::to_bits)).collect();
            *seen.entry(key).or_insert_with(|| {
                first.push((3 * face + corner) as u32);
                first.len() as u32 - 1
            })
        })
    });
    (faces.collect(), first)
}

fn select(
    rest: &[[f32; 3]],
    free: &[Vec<[f32; 3]>],
    faces: &[[u32; 3]],
    trained: &[bool],
    options: &Options,
) -> (Vec<Vec<u32>>, usize) {
    let rules = SelectionOptions {
        threshold: options.select_threshold_mm * 1e-3,
        min_vertices: options.select_min_vertices,
        quantile: (options.select_quantile > 0.0).then_some(options.select_quantile),
    };
    let moved = |posed: &Vec<[f32; 3]>| -> f64 {
        let distance =
            |(a, b): (&[f32; 3], &[f32; 3])| (0..3).map(|k| f64::from(a[k] - b[k]).powi(2)).sum::<f64>().sqrt();
        rest.iter().zip(posed).map(distance).sum()
    };
    let selected = free.par_iter().map(|posed| select_faces(rest, posed, faces, &rules)).collect();
    let motion: Vec<f64> = free.par_iter().map(moved).collect();
    let neutral =
        (0..motion.len()).filter(|k| trained[*k]).min_by(|a, b| motion[*a].total_cmp(&motion[*b])).unwrap_or(0);
    (selected, neutral)
}

fn say_unusual(motion: &Motion, warnings: &mut Vec<String>) {
    let share = |list: &Vec<u32>| list.len() as f64 / motion.faces.len().max(1) as f64;
    let none = motion.selected.iter().filter(|list| list.is_empty()).count();
    let odd = motion.selected.iter().filter(|list| !list.is_empty() && !(USUAL[0]..=USUAL[1]).contains(&share(list)));
    let odd = odd.count();
    let total = motion.selected.len();
    if none > 0 {
        warnings.push(format!("no face is selected in {none} of {total} time steps: their local blocks are skipped"));
    }
    if odd > 0 {
        warnings.push(format!(
            "the selection of {odd} of {total} time steps is less than {} % or more than {} % of the faces",
            100.0 * USUAL[0],
            100.0 * USUAL[1]
        ));
    }
}

/// Axis times angle of a rotation in any form.
fn axis_angle(rotation: &Rotation<f32>) -> [f32; 3] {
    if let Rotation::AxisAngle(r) = rotation {
        return *r;
    }
    let m = rotation.matrix().map(|row| row.map(f64::from));
    let axis = [m[2][1] - m[1][2], m[0][2] - m[2][0], m[1][0] - m[0][1]];
    let sine = 0.5 * axis.iter().map(|v| v * v).sum::<f64>().sqrt();
    let angle = sine.atan2(0.5 * (m[0][0] + m[1][1] + m[2][2] - 1.0));
    // joints of faces and bodies do not turn by half a circle, where the axis would have to be found otherwise
    let factor = if sine > 1e-9 { 0.5 * angle / sine } else { 0.5 };
    axis.map(|v| (v * factor) as f32)
}

fn extent(cameras: &[&Camera]) -> f32 {
    let center = |camera: &Camera| -> [f64; 3] {
        let m = &camera.camera_from_world;
        std::array::from_fn(|k| -(0..3).map(|r| m[r][k] * m[r][3]).sum::<f64>())
    };
    let centers: Vec<[f64; 3]> = cameras.iter().map(|c| center(c)).collect();
    let mean: [f64; 3] = std::array::from_fn(|k| centers.iter().map(|c| c[k]).sum::<f64>() / centers.len() as f64);
    let far = centers.iter().map(|c| (0..3).map(|k| (c[k] - mean[k]).powi(2)).sum::<f64>().sqrt()).fold(0.0, f64::max);
    // one camera that does not move has no extent: its distance to what it looks at, about a metre, stands in
    if far > 1e-6 { (1.1 * far) as f32 } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotations_come_back_as_axis_angle() {
        for r in [[0.3f32, -0.2, 0.1], [1e-5, 0.0, 0.0], [0.0, 2.5, 0.0]] {
            let back = axis_angle(&Rotation::Matrix(Rotation::AxisAngle(r).matrix()));
            assert!(back.iter().zip(r).all(|(a, b)| (a - b).abs() < 2e-6), "{back:?} {r:?}");
        }
    }

    #[test]
    fn corners_that_move_together_are_one_vertex() {
        let square = |z: f32| {
            vec![[[0.0, 0.0, z], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], [[1.0, 0.0, 0.0], [1.0, 1.0, z], [0.0, 1.0, 0.0]]]
        };
        let (faces, first) = weld(&[square(0.0), square(0.5)]);
        assert_eq!(faces, [[0, 1, 2], [1, 3, 2]]);
        assert_eq!(first, [0, 1, 2, 4]);
    }
}
