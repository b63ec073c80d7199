//! Training steps on the CPU: the reference that the device is compared with, and enough for small captures.

use gav_formats::{Camera, Splats, conventions::sh_rest_count};
use gav_kernels::{
    adam::{self, Adam},
    losses::{SsimLoss, hinges, l1, ssim},
    metrics::ImageView,
    raster::{self, Image, Scene, ShapeGradients, Upstream},
    rig::{
        Geometry, GeometryRef,
        triangle::{BindingRef, Face, MeshRef, bind, bind_backward, faces},
    },
};

use super::{
    Dataset, Engine, Freeze, LossRules, Options, Plan, Rates, State, StepReport, Survey, Tables, Tracked,
    engine::SETTINGS, widths,
};
use crate::{
    Error, Result,
    body::{Parameters, Posed, Rotation, Upstream as BodyUpstream},
};

/// Trains on the CPU, the same numbers in every run.
pub struct CpuEngine<'a> {
    data: &'a Dataset,
    rules: LossRules,
    frame: gav_formats::TriangleFrame,
    state: State,
    /// The mesh of this block.
    mesh: Mesh,
    /// One flag for each splat that trains; empty for all.
    mask: Vec<u32>,
    /// The splats that train.
    rows: Vec<usize>,
    /// What is drawn: splats in world coordinates with all harmonics.
    world: Splats,
    sums: StepReport,
    /// The tracked parameters have changed since the mesh was posed.
    stale: bool,
}

/// A posed mesh.
struct Mesh {
    time: usize,
    vertices: Vec<[f32; 3]>,
    frames: Vec<Face<f32>>,
    /// How it came about, when the parameters are trained.
    posed: Option<(Parameters<f32>, Posed<f32>)>,
}

impl<'a> CpuEngine<'a> {
    /// Begins with a state; no block is set yet.
    pub fn new(data: &'a Dataset, options: &Options, state: State) -> Self {
        let mut engine = Self {
            data,
            rules: options.into(),
            frame: options.frame.into(),
            state: State::default(),
            mesh: Mesh { time: 0, vertices: Vec::new(), frames: Vec::new(), posed: None },
            mask: Vec::new(),
            rows: Vec::new(),
            world: Splats::default(),
            sums: StepReport::default(),
            stale: false,
        };
        engine.replace(state);
        engine
    }

    fn replace(&mut self, state: State) {
        self.state = state;
        self.mesh = pose(self.data, &self.state, self.frame, self.mesh.time);
        self.mask.clear();
        self.rows = (0..self.state.len()).collect();
        self.world = self.state.to_splats();
    }

    /// Places the splats that train, or all where `all`.
    fn place(&mut self, all: bool) {
        let local = self.state.to_splats();
        let geometry = bind(&binding(self.frame, &self.state), &self.mesh.frames, (&local).into());
        if all || self.mask.is_empty() {
            self.world = Splats {
                means: geometry.means,
                rotations: geometry.rotations,
                log_scales: geometry.log_scales,
                ..local
            };
            return;
        }
        let rest = 3 * sh_rest_count(local.sh_degree);
        for row in &self.rows {
            let row = *row;
            self.world.means[row] = geometry.means[row];
            self.world.rotations[row] = geometry.rotations[row];
            self.world.log_scales[row] = geometry.log_scales[row];
            self.world.opacity_logits[row] = local.opacity_logits[row];
            self.world.sh0[row] = local.sh0[row];
            self.world.sh_rest[row * rest..][..rest].copy_from_slice(&local.sh_rest[row * rest..][..rest]);
        }
    }

    /// Gradients of everything trained, loss values, statistics of density control. Nothing is changed but the sums when it is finite.
    fn gradients(&self, view: usize, sh_degree: u8) -> Result<Backward> {
        let camera = &self.data.views[view].camera;
        let picture = self.data.pictures.get(view)?;
        let target: Vec<f32> = picture.rgb.iter().map(|v| f32::from(*v) / 255.0).collect();
        let shown = at_degree(&self.world, sh_degree);
        let scene = Scene::from(&shown);
        let forward = raster::forward(&scene, camera, &SETTINGS, self.rules.background);
        let (width, height) = (picture.width, picture.height);
        let image = ImageView::new(width, height, 3, &forward.image.rgb)?;
        let photo = ImageView::new(width, height, 3, &target)?;
        let mut by_picture = vec![0.0f32; target.len()];
        let dssim = self.rules.dssim;
        let l1 = l1(image, photo, 1.0 - dssim, Some(&mut by_picture))?;
        let ssim = ssim(image, photo, SsimLoss::default(), -dssim, Some(&mut by_picture))?;
        let drawn = forward.backward(&scene, &Upstream::rgb(&by_picture));
        let radii = forward.radii(&scene);

        let ShapeGradients::RotationScale(rotations, log_scales) = &drawn.shape else {
            return Err(Error::usage("splats have rotations and sizes"));
        };
        let upstream = GeometryRef { means: &drawn.means, rotations, log_scales };
        let local = self.state.to_splats();
        let mesh = MeshRef { vertices: &self.mesh.vertices, faces: &self.data.motion.faces, corner_uvs: &[] };
        let (mut geometry, by_vertices) =
            bind_backward(&binding(self.frame, &self.state), &mesh, &self.mesh.frames, (&local).into(), upstream);
        let hinges = self.hinges(&local, &radii, &mut geometry);

        let (kept, full) = (3 * sh_rest_count(sh_degree), 3 * sh_rest_count(local.sh_degree));
        let mut sh_rest = vec![0.0f32; local.len() * full];
        if kept > 0 {
            for (to, from) in sh_rest.chunks_exact_mut(full).zip(drawn.sh_rest.chunks_exact(kept)) {
                to[..kept].copy_from_slice(from);
            }
        }
        let tables = match (&self.state.tables, &self.data.motion.tracked, &self.mesh.posed) {
            (Some(tables), Some(tracked), Some((parameters, posed))) => {
                let upstream = BodyUpstream { vertices: &by_vertices, ..BodyUpstream::default() };
                Some(table_gradients(
                    tables,
                    tracked,
                    self.mesh.time,
                    &tracked.body.backward(parameters, posed, &upstream),
                ))
            }
            _ => None,
        };
        let half = [camera.width as f32 * 0.5, camera.height as f32 * 0.5];
        let centers = drawn.centers.iter().map(|g| (g[0] * half[0]).hypot(g[1] * half[1])).collect();
        Ok(Backward {
            splats: [
                geometry.means.into_flattened(),
                geometry.rotations.into_flattened(),
                geometry.log_scales.into_flattened(),
                drawn.opacity_logits,
                drawn.color.into_flattened(),
                sh_rest,
            ],
            tables,
            centers,
            radii,
            losses: [l1, ssim, hinges],
        })
    }

    fn hinges(&self, local: &Splats, radii: &[u32], geometry: &mut Geometry<f32>) -> f64 {
        let shown = |row: &&usize| !self.rules.visible || radii[**row] > 0;
        let rows: Vec<u32> = self.rows.iter().filter(shown).map(|row| *row as u32).collect();
        let size = |row: usize| self.mesh.frames[self.state.triangles[row] as usize].scale;
        let gradient = Some((&mut geometry.means[..], &mut geometry.log_scales[..]));
        hinges(&self.rules.hinges(), &local.means, &local.log_scales, size, &rows, gradient).iter().sum()
    }
}

/// Everything that a step finds out.
struct Backward {
    splats: [Vec<f32>; 6],
    tables: Option<[Vec<f32>; 3]>,
    centers: Vec<f32>,
    radii: Vec<u32>,
    /// L1, SSIM, hinges.
    losses: [f64; 3],
}

impl Backward {
    fn is_finite(&self, rows: &[usize], degree: u8) -> bool {
        let widths = widths(degree);
        self.losses.iter().all(|v| v.is_finite())
            && self.splats.iter().zip(widths).all(|(gradient, width)| {
                rows.iter().all(|row| gradient[row * width..][..width].iter().all(|v| v.is_finite()))
            })
            && self.tables.iter().flatten().flatten().all(|v| v.is_finite())
    }
}

impl Engine for CpuEngine<'_> {
    fn block(&mut self, time: usize, faces: Option<&[bool]>) -> Result<usize> {
        self.mesh = pose(self.data, &self.state, self.frame, time);
        match faces {
            None => {
                self.mask.clear();
                self.rows = (0..self.state.len()).collect();
            }
            Some(selected) => {
                self.mask = self.state.triangles.iter().map(|face| u32::from(selected[*face as usize])).collect();
                self.rows = (0..self.state.len()).filter(|row| self.mask[*row] != 0).collect();
            }
        }
        self.place(true);
        self.stale = false;
        Ok(self.rows.len())
    }

    fn step(&mut self, view: usize, rates: &Rates, sh_degree: u8) -> Result<()> {
        if self.stale {
            self.mesh = pose(self.data, &self.state, self.frame, self.mesh.time);
        }
        self.place(self.stale);
        self.stale = false;
        let mut found = self.gradients(view, sh_degree)?;
        if !found.is_finite(&self.rows, self.state.sh_degree) {
            self.sums.skipped += 1;
            return Ok(());
        }
        self.sums.steps += 1;
        self.sums.l1 += found.losses[0];
        self.sums.ssim += found.losses[1];
        self.sums.hinges += found.losses[2];
        let statistics = &mut self.state.statistics;
        for row in &self.rows {
            if found.radii[*row] > 0 {
                statistics.gradients[*row] += found.centers[*row];
                statistics.counts[*row] += 1.0;
                statistics.radii[*row] = statistics.radii[*row].max(found.radii[*row] as f32);
            }
        }
        if self.rules.freeze == Freeze::Release && !self.mask.is_empty() {
            for (gradient, width) in found.splats.iter_mut().zip(widths(self.state.sh_degree)) {
                for (row, values) in gradient.chunks_exact_mut(width.max(1)).enumerate() {
                    if self.mask[row] == 0 {
                        values.fill(0.0);
                    }
                }
            }
        }
        self.state.steps += 1;
        let mask = if self.rules.freeze == Freeze::Masked { &self.mask[..] } else { &[] };
        let mut tensors: Vec<adam::Tensor<'_>> = self
            .state
            .splats
            .iter_mut()
            .zip(&found.splats)
            .zip(rates.splats)
            .map(|((tensor, gradient), rate)| adam::Tensor {
                values: &mut tensor.values,
                means: &mut tensor.means,
                squares: &mut tensor.squares,
                gradient,
                rate,
                mask,
            })
            .collect();
        if let (Some(tables), Some(found)) = (&mut self.state.tables, &found.tables) {
            for (((_, tensor), gradient), rate) in tables.named_mut().into_iter().zip(found).zip(rates.tables) {
                tensors.push(adam::Tensor {
                    values: &mut tensor.values,
                    means: &mut tensor.means,
                    squares: &mut tensor.squares,
                    gradient,
                    rate,
                    mask: &[],
                });
            }
        }
        Adam::default().step(self.state.steps, &mut tensors);
        self.stale = self.state.tables.is_some();
        Ok(())
    }

    fn report(&mut self) -> Result<StepReport> {
        let mut report = std::mem::take(&mut self.sums);
        let count = f64::from(report.steps.max(1));
        report.l1 /= count;
        report.ssim /= count;
        report.hinges /= count;
        Ok(report)
    }

    fn state(&mut self) -> Result<State> {
        Ok(self.state.clone())
    }

    fn set_state(&mut self, state: State) -> Result<()> {
        self.replace(state);
        Ok(())
    }

    fn survey(&mut self) -> Result<Survey> {
        Ok(self.state.survey())
    }

    fn change(&mut self, plan: &Plan) -> Result<()> {
        let state = self.state.changed(plan);
        self.replace(state);
        Ok(())
    }

    fn draw(&mut self, camera: &Camera, time: usize, sh_degree: u8) -> Result<Image> {
        let mesh = pose(self.data, &self.state, self.frame, time);
        let local = self.state.to_splats();
        let geometry = bind(&binding(self.frame, &self.state), &mesh.frames, (&local).into());
        let world =
            Splats { means: geometry.means, rotations: geometry.rotations, log_scales: geometry.log_scales, ..local };
        let shown = at_degree(&world, sh_degree);
        Ok(raster::render(Scene::from(&shown), camera, &SETTINGS, self.rules.background))
    }

    fn memory(&self) -> Vec<(&'static str, f64)> {
        let numbers: usize = widths(self.state.sh_degree).iter().sum();
        let mb = |bytes: usize| bytes as f64 / 1e6;
        vec![
            ("splats, gradients, Adam", mb(self.state.len() * numbers * 4 * 5)),
            ("meshes", mb(self.data.motion.vertices.iter().map(|v| v.len() * 12).sum())),
            ("pictures", self.data.pictures.bytes() as f64 / 1e6),
        ]
    }
}

fn binding(frame: gav_formats::TriangleFrame, state: &State) -> BindingRef<'_, f32> {
    BindingRef { frame, triangles: &state.triangles, barycentrics: &[] }
}

/// The mesh of a time step: as tracked, or by the parameters as they are now.
fn pose(data: &Dataset, state: &State, frame: gav_formats::TriangleFrame, time: usize) -> Mesh {
    let posed = match (&state.tables, &data.motion.tracked) {
        (Some(tables), Some(tracked)) => {
            let parameters = tracked.parameters(tables, time);
            let posed = tracked.body.pose(&parameters);
            Some((parameters, posed))
        }
        _ => None,
    };
    let vertices =
        posed.as_ref().map_or_else(|| data.motion.vertices[time].clone(), |(_, posed)| posed.vertices.clone());
    let frames = faces(frame, &MeshRef { vertices: &vertices, faces: &data.motion.faces, corner_uvs: &[] });
    Mesh { time, vertices, frames, posed }
}

/// The same splats without the harmonics above a degree.
fn at_degree(splats: &Splats, degree: u8) -> Splats {
    let mut out = splats.clone();
    out.set_sh_degree(degree);
    out
}

/// Gradients of the tables, which are zero but for the row of one time step.
fn table_gradients(tables: &Tables, tracked: &Tracked, time: usize, of: &Parameters<f32>) -> [Vec<f32>; 3] {
    let times = tracked.fixed.len();
    let rotations: Vec<f32> = of
        .rotations
        .iter()
        .flat_map(|r| match r {
            Rotation::AxisAngle(v) => *v,
            _ => [0.0; 3],
        })
        .collect();
    let rows: [&[f32]; 3] = [&of.expression, &rotations, &of.translation];
    let mut out = tables.named().map(|(_, tensor)| vec![0.0f32; tensor.values.len()]);
    for (table, row) in out.iter_mut().zip(rows) {
        let width = table.len() / times;
        table[time * width..][..row.len().min(width)].copy_from_slice(&row[..row.len().min(width)]);
    }
    out
}
