//! Training steps on a CUDA device: what [`super::CpuEngine`] does, enqueued.
//!
//! In a local block the splats that do not train keep the places that the block's first step gave them; only the others are
//! placed again at every step, get gradients and are moved ([`gav_kernels::cuda::train`]). With tracked parameters to train, the
//! mesh moves at every step, so that all splats are placed and all get gradients.
//!
//! The host waits for nothing but pictures that it has to decode: whether a step counted is known to the device, and read
//! every [`PERIOD`] steps. Tile lists begin with room for [`ENTRIES`] entries a splat; a step that needs more is left out, and the
//! lists have grown by the next time the host looks. Under [`Freeze::Release`] frozen splats are drawn with the colours and
//! opacities that they drift to, in the places that they had (the CPU keeps both).

mod room;
mod splats;
mod stock;
mod tables;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use gav_formats::{Camera, TriangleFrame};
use gav_kernels::{
    cuda::{
        Buffer, CudaError, Device,
        loss::{Loss, LossWeights},
        raster::{Batch, Options as BatchOptions, Planes, View},
        train::{Control, HingeRows, Targets, Totals, Which},
    },
    losses::{Hinges, SsimLoss},
    raster::Image,
};

use self::{room::Room, splats::DeviceSplats, stock::Stock, tables::DeviceTables};
use super::{Dataset, Engine, Freeze, LossRules, Options, Plan, Rates, State, StepReport, Survey, engine::SETTINGS};
use crate::Result;

/// Steps between two looks at how much room the tile lists need, after one at the first step of a state.
const PERIOD: u32 = 64;

/// Entries of the tile lists there is room for at first, a splat: heads need 3 to 6.
const ENTRIES: usize = 32;
/// And without any splat: a few near the camera fill the whole picture.
const LEAST_ENTRIES: usize = 1 << 20;

/// Trains on a device.
pub struct DeviceEngine<'a> {
    device: Arc<Device>,
    data: &'a Dataset,
    rules: LossRules,
    frame: TriangleFrame,
    /// Gather what density control looks at.
    densify: bool,
    control: Control,
    hinges: HingeRows,
    targets: Targets,
    /// Meshes of the time steps, T of V × 3; none when tracked parameters make them.
    meshes: Vec<Buffer<f32>>,
    stock: Stock,
    comparisons: BTreeMap<[u32; 2], Comparison>,
    batches: BTreeMap<[u32; 2], Batch>,
    splats: DeviceSplats,
    tables: Option<DeviceTables>,
    room: Room,
    time: usize,
    /// The splats are not all placed on the mesh of the block.
    stale: bool,
    unread: u32,
    last: Totals,
    sums: StepReport,
}

/// What pictures of one size are compared with.
struct Comparison {
    loss: Loss,
    target: Buffer<f32>,
}

impl<'a> DeviceEngine<'a> {
    /// Begins with a state; no block is set yet.
    ///
    /// # Errors
    /// [`crate::Error::Device`] for what the device fails in, and with all numbers when its memory will not do.
    pub fn new(device: &Arc<Device>, data: &'a Dataset, options: &Options, state: State) -> Result<Self> {
        let most_splats = if options.densify { options.max_splats as usize } else { state.len() };
        let room = Room::new(device, data, options, &state)?;
        room.check(state.len(), 0)?;
        let meshes = if state.tables.is_some() { &[][..] } else { &data.motion.vertices };
        let meshes = meshes.iter().map(|mesh| Buffer::from_slice(device, mesh.as_flattened()));
        let mut engine = Self {
            rules: options.into(),
            frame: options.frame.into(),
            densify: options.densify,
            control: Control::new(device)?,
            hinges: HingeRows::new(device)?,
            targets: Targets::new(device)?,
            meshes: meshes.collect::<Result<_, CudaError>>()?,
            stock: Stock::new(data.views.len(), room.for_pictures(device, most_splats)?),
            comparisons: BTreeMap::new(),
            batches: BTreeMap::new(),
            splats: DeviceSplats::new(device, &state, options.frame.into(), data)?,
            tables: DeviceTables::of(device, &state, data)?,
            room,
            time: 0,
            stale: true,
            unread: 0,
            last: Totals::default(),
            sums: StepReport::default(),
            device: Arc::clone(device),
            data,
        };
        engine.restart(state.steps)?;
        Ok(engine)
    }

    fn restart(&mut self, steps: u32) -> Result<()> {
        self.control.restart(steps)?;
        self.last = Totals { step: steps, ..Totals::default() };
        // the first step tells whether the lists have room at all
        self.unread = PERIOD - 1;
        Ok(())
    }

    /// Waits, and adds up what the steps since the last time became.
    fn collect(&mut self) -> Result<()> {
        let now = self.control.read()?;
        let before = std::mem::replace(&mut self.last, now);
        self.sums.steps += now.counted - before.counted;
        self.sums.skipped += now.bad - before.bad;
        self.sums.cut += now.cut - before.cut;
        self.sums.l1 += now.sums[0] - before.sums[0];
        self.sums.ssim += now.sums[1] - before.sums[1];
        self.sums.hinges += now.sums[2] + now.sums[3] - before.sums[2] - before.sums[3];
        self.unread = 0;
        for batch in self.batches.values_mut() {
            // well before it is short
            if now.entries * 3 > batch.room() as u64 * 2 {
                batch.reserve(now.entries * 2)?;
            }
        }
        Ok(())
    }

    /// Poses the mesh of a time step and places all splats on it.
    fn place(&self, time: usize) -> Result<(), CudaError> {
        let splats = &self.splats;
        match &self.tables {
            Some(tables) => splats.binding.frames(tables.pose(time)?)?,
            None => splats.binding.frames(&self.meshes[time])?,
        }
        splats.binding.bind(&splats.local(), &splats.world_geometry())
    }
}

/// The batch for pictures of a size.
fn batch<'b>(
    batches: &'b mut BTreeMap<[u32; 2], Batch>,
    device: &Arc<Device>,
    splats: &DeviceSplats,
    view: View<'_>,
) -> Result<&'b mut Batch, CudaError> {
    match batches.entry([view.camera.width, view.camera.height]) {
        Entry::Occupied(entry) => {
            let batch = entry.into_mut();
            batch.look(&[view])?;
            Ok(batch)
        }
        Entry::Vacant(entry) => {
            let entries = splats.len() * ENTRIES + LEAST_ENTRIES;
            let options = BatchOptions { centers: true, select: true, entries, ..BatchOptions::default() };
            Ok(entry.insert(Batch::new(device, &splats.world, &[view], &SETTINGS, options)?))
        }
    }
}

impl Engine for DeviceEngine<'_> {
    fn block(&mut self, time: usize, faces: Option<&[bool]>) -> Result<usize> {
        self.time = time;
        self.stale = true;
        Ok(self.splats.select(faces)?)
    }

    fn step(&mut self, view: usize, rates: &Rates, sh_degree: u8) -> Result<()> {
        if self.stale || self.tables.is_some() {
            self.place(self.time)?;
            self.stale = false;
        } else {
            let splats = &self.splats;
            splats.binding.bind_rows(&splats.selection, &splats.local(), &splats.world_geometry())?;
        }
        let Self { device, data, rules, control, splats, tables, comparisons, batches, .. } = self;
        let camera = &data.views[view].camera;
        let batch = batch(batches, device, splats, View { scene: 0, camera, background: rules.background })?;
        batch.use_harmonics(sh_degree)?;
        batch.forward(&splats.world)?;

        let Comparison { loss, target } = match comparisons.entry([camera.width, camera.height]) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let size = [camera.width as usize, camera.height as usize, 3];
                let target = Buffer::new(device, size.iter().product())?;
                entry.insert(Comparison { loss: Loss::new(device, 1, size)?, target })
            }
        };
        self.targets.convert(self.stock.get(device, &data.pictures, view)?, target)?;
        let weights = LossWeights { l1: 1.0 - rules.dssim, ssim: -rules.dssim, options: SsimLoss::default() };
        loss.backward(&batch.rgb, target, weights)?;

        let upstream = Planes { rgb: Some(&loss.gradient), ..Planes::default() };
        if splats.selection.is_all() || tables.is_some() {
            batch.backward(&splats.world, upstream, &mut splats.by_world)?;
        } else {
            batch.backward_of(&splats.world, upstream, splats.selection.flags(), &mut splats.by_world)?;
        }
        match tables {
            Some(tables) => {
                let (mesh, by_mesh) = tables.mesh();
                let (local, by_world, by_local) = (splats.local(), splats.by_world_geometry(), splats.by_local());
                splats.binding.backward(1, mesh, &local, &by_world, &by_local, by_mesh)?;
                tables.backward()?;
            }
            None => splats.binding.bind_rows_backward(
                &splats.selection,
                &splats.local(),
                &splats.by_world_geometry(),
                &splats.by_local(),
            )?,
        }
        if rules.visible || self.densify {
            splats.density.footprints(batch, &splats.world, &splats.selection, control)?;
        }
        let hinges = Hinges {
            centers: rules.xyz,
            centers_threshold: rules.threshold_xyz,
            metric_centers: rules.metric_xyz,
            sizes: rules.scale,
            sizes_threshold: rules.threshold_scale,
            metric_sizes: rules.metric_scale,
        };
        self.hinges.add(
            &hinges,
            &splats.selection,
            rules.visible.then_some(&splats.density.radii),
            &splats.binding,
            &splats.local(),
            &splats.by_local(),
            control,
        )?;

        let which = match rules.freeze {
            _ if splats.selection.is_all() => Which::All,
            Freeze::Masked => Which::Rows(&splats.selection),
            Freeze::Release => Which::Released(&splats.selection),
        };
        splats.adam.check(&splats.tensors(rates, sh_degree), which, control)?;
        if let Some(tables) = tables {
            tables.adam.check(&tables.tensors(rates), Which::One(self.time), control)?;
        }
        control.judge(batch, loss)?;
        splats.adam.step(&splats.tensors(rates, sh_degree), which, control)?;
        if let Some(tables) = tables {
            tables.adam.step(&tables.tensors(rates), Which::One(self.time), control)?;
        }
        if self.densify {
            splats.density.count(batch, &splats.world, &splats.selection, control)?;
        }
        self.unread += 1;
        if self.unread >= PERIOD {
            self.collect()?;
        }
        Ok(())
    }

    fn report(&mut self) -> Result<StepReport> {
        self.collect()?;
        let mut report = std::mem::take(&mut self.sums);
        let count = f64::from(report.steps.max(1));
        report.l1 /= count;
        report.ssim /= count;
        report.hinges /= count;
        Ok(report)
    }

    fn state(&mut self) -> Result<State> {
        let (splats, statistics) = self.splats.read()?;
        Ok(State {
            triangles: self.splats.triangles.clone(),
            sh_degree: self.splats.sh_degree(),
            splats,
            tables: self.tables.as_ref().map(DeviceTables::read).transpose()?,
            steps: self.control.read()?.step,
            statistics,
        })
    }

    fn set_state(&mut self, state: State) -> Result<()> {
        self.collect()?;
        self.room.check(state.len(), self.stock.bytes())?;
        self.batches.clear();
        self.splats = DeviceSplats::new(&self.device, &state, self.frame, self.data)?;
        match (&mut self.tables, &state.tables) {
            (Some(ours), Some(tables)) => ours.write(tables)?,
            _ => self.tables = DeviceTables::of(&self.device, &state, self.data)?,
        }
        self.stale = true;
        self.restart(state.steps)
    }

    fn survey(&mut self) -> Result<Survey> {
        Ok(self.splats.survey()?)
    }

    fn change(&mut self, plan: &Plan) -> Result<()> {
        self.collect()?;
        if let Some(list) = &plan.list {
            self.room.check(list.rows.len(), self.stock.bytes())?;
            self.batches.clear();
            self.splats = self.splats.rebuilt(&self.device, list, self.frame, self.data)?;
            self.stale = true;
        }
        if let Some(cap) = plan.cap {
            self.splats.cap_logits(cap)?;
        }
        Ok(())
    }

    fn draw(&mut self, camera: &Camera, time: usize, sh_degree: u8) -> Result<Image> {
        self.place(time)?;
        self.stale = true;
        let view = View { scene: 0, camera, background: self.rules.background };
        let batch = batch(&mut self.batches, &self.device, &self.splats, view)?;
        batch.use_harmonics(sh_degree)?;
        batch.draw(&self.splats.world)?;
        Ok(Image {
            width: camera.width,
            height: camera.height,
            rgb: batch.rgb.read()?,
            alpha: batch.alpha.read()?,
            depth: Vec::new(),
            normals: Vec::new(),
        })
    }

    fn memory(&self) -> Vec<(&'static str, f64)> {
        let mut parts = self.room.parts(self.splats.len());
        parts.push(("pictures", self.stock.bytes() as f64 / 1e6));
        parts
    }
}
