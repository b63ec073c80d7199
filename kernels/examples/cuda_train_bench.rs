//! Times of a training step on the first CUDA device when some of the splats train: whole sequences of launches, and single kernels.
//!
//! 60,000 splats of the documented shell at 550 × 802 pixels, SH degree 3; those that train are a cap, as a selection on a head is. The
//! step is that of `gav_models::stga` without the mesh: two views are alike to a device whatever they show.

use std::sync::Arc;

use gav_formats::synthetic::{SHELL_SEED, shell, shell_camera, uniform};
use gav_kernels::{
    adam::Adam,
    cuda::{
        Buffer, CudaError, Device,
        loss::{Loss, LossWeights},
        raster::{Batch, Options, Planes, SplatGradients, Splats, View},
        train::{Control, Density, RowAdam, RowTensor, Selection, Targets, Which},
    },
    raster::{Footprint, Scene, Settings},
};

const SPLATS: usize = 60_000;
const SIZE: [u32; 2] = [550, 802];
const STEPS: usize = 200;

struct Step {
    splats: Splats,
    batch: Batch,
    loss: Loss,
    target: Buffer<f32>,
    picture: Buffer<u8>,
    targets: Targets,
    gradients: SplatGradients,
    adam: RowAdam,
    selection: Selection,
    density: Density,
    control: Control,
}

impl Step {
    fn new(device: &Arc<Device>) -> Result<Self, CudaError> {
        let avatar = shell(SPLATS, 3, SHELL_SEED).splats;
        let splats = Splats::upload(device, &[Scene::from(&avatar)])?;
        let camera = shell_camera(3, SIZE[0], SIZE[1]);
        let view = View { scene: 0, camera: &camera, background: [1.0; 3] };
        let settings = Settings { footprint: Footprint::Exact, ..Settings::DEFAULT };
        let options = Options { centers: true, select: true, ..Options::default() };
        let mut batch = Batch::new(device, &splats, &[view], &settings, options)?;
        println!("{:?} for {SPLATS} splats at {SIZE:?}", batch.draw(&splats)?);
        let values = (SIZE[0] * SIZE[1] * 3) as usize;
        let bytes: Vec<u8> = (0..values as u64).map(|i| (256.0 * uniform(i, 1)) as u8).collect();
        Ok(Self {
            gradients: SplatGradients::new(device, splats.kind, batch.gradient_rows())?,
            loss: Loss::new(device, 1, [SIZE[0] as usize, SIZE[1] as usize, 3])?,
            target: Buffer::new(device, values)?,
            picture: Buffer::from_slice(device, &bytes)?,
            targets: Targets::new(device)?,
            adam: RowAdam::new(device, Adam::default(), SPLATS, &[3, 4, 3, 1, 3, 45])?,
            selection: Selection::all(device, SPLATS)?,
            density: Density::new(device, SPLATS)?,
            control: Control::new(device)?,
            batch,
            splats,
        })
    }

    fn run(&mut self) -> Result<(), CudaError> {
        self.batch.forward(&self.splats)?;
        self.targets.convert(&self.picture, &mut self.target)?;
        self.loss.backward(&self.batch.rgb, &self.target, LossWeights::default())?;
        let upstream = Planes { rgb: Some(&self.loss.gradient), ..Planes::default() };
        let which = if self.selection.is_all() {
            self.batch.backward(&self.splats, upstream, &mut self.gradients)?;
            Which::All
        } else {
            self.batch.backward_of(&self.splats, upstream, self.selection.flags(), &mut self.gradients)?;
            Which::Rows(&self.selection)
        };
        self.density.footprints(&self.batch, &self.splats, &self.selection, &mut self.control)?;
        let (s, g) = (&self.splats, &self.gradients);
        let tensors = [
            (&s.means, &g.means, 3),
            (&s.shape, &g.shape, 4),
            (&s.scales, &g.scales, 3),
            (&s.logits, &g.logits, 1),
            (&s.color, &g.color, 3),
            (&s.rest, &g.rest, 45),
        ]
        // the same picture again and again: nothing moves
        .map(|(values, gradient, columns)| RowTensor { values, gradient, columns, spread: 3, rate: 0.0 });
        self.adam.check(&tensors, which, &mut self.control)?;
        self.control.judge(&self.batch, &self.loss)?;
        self.adam.step(&tensors, which, &self.control)?;
        self.density.count(&self.batch, &self.splats, &self.selection, &self.control)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::open(0)?;
    let mut step = Step::new(&device)?;
    let heights = shell(SPLATS, 3, SHELL_SEED).splats.means;
    let mut order: Vec<f32> = heights.iter().map(|m| m[1] + 0.5 * m[2]).collect();
    order.sort_by(f32::total_cmp);
    for percent in [100, 50, 25, 10, 3, 0] {
        let limit = order.get(SPLATS - SPLATS * percent / 100).copied().unwrap_or(f32::INFINITY);
        let flags: Vec<u32> = heights.iter().map(|m| u32::from(m[1] + 0.5 * m[2] >= limit)).collect();
        step.selection.set(&flags)?;
        for _ in 0..3 {
            step.run()?;
        }
        let timer = device.timer()?;
        timer.start()?;
        for _ in 0..STEPS {
            step.run()?;
        }
        let each = timer.stop()? / STEPS as f64;
        println!("{percent} % train ({}): {:.1} us a step", step.selection.len(), each * 1e3);
        for (name, ms) in device.profile(|| step.run())? {
            println!("    {name}: {:.1} us", ms * 1e3);
        }
    }
    let totals = step.control.read()?;
    println!("{} steps counted, {} not finite, {} without room", totals.counted, totals.bad, totals.cut);
    Ok(())
}
