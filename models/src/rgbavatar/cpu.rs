//! Training steps on the CPU: the reference for devices, and enough for small captures.

use gav_formats::{Splats, TriangleFrame};
use gav_kernels::{
    adam::{self, Adam},
    losses::{SsimLoss, l1, ssim},
    metrics::ImageView,
    raster::{self, Footprint, Image, Observed, Scene, Settings, ShapeGradients},
    rig::{
        GeometryRef, network,
        triangle::{BindingRef, Face, MeshRef, faces},
    },
};
use serde::{Deserialize, Serialize};

use super::{
    Dataset, Ground, Options, Placed, ReconOptions, State, Upstream, Values,
    loss::{orthogonality, sparsity},
    model::{FIRST_BASES, place, place_backward},
    schedule,
};
use crate::{Error, Result, picture::Rgb8};

/// The rules that pictures are drawn by while training: those of `gav render`, with the whole ellipse down to half a step of a display
/// instead of three standard deviations, where a splat still has 1.1 % of its light.
pub const SETTINGS: Settings = Settings { footprint: Footprint::Exact, ..Settings::DEFAULT };

/// What became of the steps since the last report: means over those that changed something.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct StepReport {
    /// Steps that changed something.
    pub steps: u32,
    /// Steps left out because a gradient was not finite.
    pub skipped: u32,
    /// The weighted sum of all.
    pub loss: f64,
    /// Mean absolute difference of colours.
    pub l1: f64,
    /// Structural similarity; 0 where its loss has no weight.
    pub ssim: f64,
    /// Mean absolute difference of coverage and matte; 0 where its loss has no weight.
    pub alpha: f64,
    /// Mean |ψ|; 0 where its loss has no weight.
    pub sparsity: f64,
    /// How far bases are from orthogonal; 0 where its loss has no weight.
    pub orth: f64,
    /// Splats whose colour has begun at what the pictures show; a sum.
    pub initialized: usize,
}

/// Trains on the CPU, the same numbers in every run.
pub struct CpuEngine<'a> {
    data: &'a Dataset,
    options: ReconOptions,
    state: State,
    sums: StepReport,
}

/// Everything that a step finds out.
struct Found {
    values: Values<f32>,
    report: StepReport,
    observed: Vec<Observed>,
}

/// A picture as floats: colours over a background, and the parts.
struct Target {
    size: [usize; 2],
    over: Vec<f32>,
    rgb: Vec<f32>,
    matte: Vec<f32>,
}

impl Target {
    fn new(picture: &Rgb8, background: [f32; 3]) -> Result<Self> {
        let Some(mask) = &picture.mask else { return Err(Error::usage("a picture without a matte")) };
        let unit = |v: &u8| f32::from(*v) / 255.0;
        let (rgb, matte): (Vec<f32>, Vec<f32>) =
            (picture.rgb.iter().map(unit).collect(), mask.iter().map(unit).collect());
        let pixels = rgb.chunks_exact(3).zip(&matte);
        let over = pixels.flat_map(|(c, a)| std::array::from_fn::<f32, 3, _>(|k| c[k] * a + background[k] * (1.0 - a)));
        Ok(Self { size: [picture.width, picture.height], over: over.collect(), rgb, matte })
    }
}

impl<'a> CpuEngine<'a> {
    /// Begins with a state.
    pub fn new(data: &'a Dataset, options: &Options, state: State) -> Self {
        Self { data, options: options.train.recon.clone(), state, sums: StepReport::default() }
    }

    /// All that is trained, as it is now.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Ends the training.
    pub fn into_state(self) -> State {
        self.state
    }

    /// One step on some frames, each over its background.
    ///
    /// # Errors
    /// Pictures that cannot be read. Nothing has changed then.
    pub fn step(&mut self, batch: &[usize], backgrounds: &[[f32; 3]]) -> Result<()> {
        assert_eq!(batch.len(), backgrounds.len(), "backgrounds of {} frames", batch.len());
        let blended = self.blended();
        let mut found = self.gradients(batch, backgrounds)?;
        let rates = schedule::rates(&self.options, self.state.images);
        self.state.images = self.state.images.saturating_add(batch.len() as u32);
        let finite = |values: &[f32]| values.iter().all(|v| v.is_finite());
        if !found.report.loss.is_finite() || !found.values.iter().all(|v| finite(v)) {
            self.sums.skipped += 1;
            return Ok(());
        }
        let mut tensors: Vec<adam::Tensor<'_>> = self
            .state
            .tensors
            .iter_mut()
            .zip(&found.values)
            .zip(rates)
            .map(|((tensor, gradient), rate)| adam::Tensor {
                values: &mut tensor.values,
                means: &mut tensor.means,
                squares: &mut tensor.squares,
                gradient,
                rate,
                mask: &[],
            })
            .collect();
        let (base, bases) = tensors.split_at_mut(FIRST_BASES);
        self.state.steps[0] += 1;
        Adam::default().step(self.state.steps[0], base);
        if blended {
            self.state.steps[1] += 1;
            Adam::default().step(self.state.steps[1], bases);
        }
        found.report.initialized = self.state.fast_forward(&found.observed);
        self.sums.add(&found.report);
        Ok(())
    }

    /// What became of the steps since the last report.
    pub fn report(&mut self) -> StepReport {
        std::mem::take(&mut self.sums).mean()
    }

    /// The avatar in a frame, as far as it is trained.
    pub fn draw(&self, frame: usize, background: [f32; 3]) -> Image {
        self.on_ground(frame, |ground| {
            let placed = self.place(frame, ground);
            let splats = self.world(&placed);
            raster::render(Scene::from(&splats), &self.data.camera, &SETTINGS, background)
        })
    }

    /// Do bases train yet?
    fn blended(&self) -> bool {
        self.state.shape.bases > 0 && self.state.images >= self.options.blend_start_iter
    }

    fn on_ground<R>(&self, frame: usize, work: impl FnOnce(&Ground<'_, f32>) -> R) -> R {
        let data = self.data;
        let vertices = &data.frames[frame].vertices;
        let mesh = MeshRef { vertices, faces: data.body.faces(), corner_uvs: &data.corner_uvs };
        let frames: Vec<Face<f32>> = faces(TriangleFrame::RgbAvatar, &mesh);
        let binding = BindingRef {
            frame: TriangleFrame::RgbAvatar,
            triangles: &self.state.triangles,
            barycentrics: &self.state.barycentrics,
        };
        work(&Ground { binding, mesh, faces: &frames })
    }

    fn place(&self, frame: usize, ground: &Ground<'_, f32>) -> Placed<f32> {
        let theta = self.blended().then_some(self.data.theta(frame));
        place(&self.state.shape, &self.state.values(), theta, ground)
    }

    fn world(&self, placed: &Placed<f32>) -> Splats {
        let world = placed.world.clone();
        Splats {
            means: world.means,
            rotations: world.rotations,
            log_scales: world.log_scales,
            opacity_logits: self.state.tensors[1].values.clone(),
            sh0: placed.local.sh0.clone(),
            sh_rest: Vec::new(),
            sh_degree: 0,
        }
    }

    /// Losses and gradients of a batch.
    fn gradients(&self, batch: &[usize], backgrounds: &[[f32; 3]]) -> Result<Found> {
        let (options, state) = (&self.options, &self.state);
        let share = 1.0 / batch.len() as f32;
        let mut found = Found {
            values: state.shape.zeros(),
            report: StepReport { steps: 1, ..StepReport::default() },
            observed: Vec::new(),
        };
        let seeking = options.use_fast_forward && state.initialized.iter().any(|done| !done);
        let blended = self.blended();
        let mut by_psi = Vec::new();
        if blended && options.lambda_sparsity > 0.0 {
            let layers = state.shape.network(&state.tensors[8].values);
            let psi = |frame: &usize| network::forward(&layers, &self.data.theta(*frame)[..state.shape.inputs]).pop();
            let psi: Vec<Vec<f32>> = batch.iter().filter_map(psi).collect();
            let all: Vec<&[f32]> = psi.iter().map(Vec::as_slice).collect();
            let (mean, slopes) = sparsity(&all, options.lambda_sparsity);
            found.report.sparsity = f64::from(mean);
            by_psi = slopes;
        }
        for (k, (frame, background)) in batch.iter().zip(backgrounds).enumerate() {
            let picture = self.data.pictures.get(*frame)?;
            let target = Target::new(&picture, *background)?;
            let extra = by_psi.get(k).map_or(&[][..], Vec::as_slice);
            self.on_ground(*frame, |ground| {
                self.picture(*frame, &target, *background, share, seeking, extra, ground, &mut found)
            })?;
        }
        if blended && options.lambda_orth > 0.0 {
            for k in FIRST_BASES..FIRST_BASES + 3 {
                let (deltas, bases) = (&state.tensors[k].values, state.shape.bases);
                found.report.orth += f64::from(orthogonality(deltas, bases, options.lambda_orth, &mut found.values[k]));
            }
        }
        found.report.loss = found.report.weighted(options);
        Ok(found)
    }

    /// What one picture adds.
    fn picture(
        &self,
        frame: usize,
        target: &Target,
        background: [f32; 3],
        share: f32,
        seeking: bool,
        by_psi: &[f32],
        ground: &Ground<'_, f32>,
        found: &mut Found,
    ) -> Result<()> {
        let (options, state) = (&self.options, &self.state);
        let placed = self.place(frame, ground);
        let splats = self.world(&placed);
        let scene = Scene::from(&splats);
        let forward = raster::forward(&scene, &self.data.camera, &SETTINGS, background);
        if seeking {
            found.observed.push(forward.observed(state.len(), &target.rgb, &target.matte));
        }
        let [width, height] = target.size;
        let image = ImageView::new(width, height, 3, &forward.image.rgb)?;
        let photo = ImageView::new(width, height, 3, &target.over)?;
        let (mut by_rgb, mut by_alpha) = (vec![0.0f32; target.over.len()], Vec::new());
        let part = f64::from(share);
        found.report.l1 += part * l1(image, photo, options.lambda_l1 * share, Some(&mut by_rgb))?;
        if options.lambda_ssim > 0.0 {
            let weight = -options.lambda_ssim * share;
            found.report.ssim += part * ssim(image, photo, SsimLoss::default(), weight, Some(&mut by_rgb))?;
        }
        if options.lambda_alpha > 0.0 {
            by_alpha.resize(target.matte.len(), 0.0);
            let coverage = ImageView::new(width, height, 1, &forward.image.alpha)?;
            let matte = ImageView::new(width, height, 1, &target.matte)?;
            found.report.alpha += part * l1(coverage, matte, options.lambda_alpha * share, Some(&mut by_alpha))?;
        }
        let drawn = forward.backward(&scene, &raster::Upstream { alpha: &by_alpha, ..raster::Upstream::rgb(&by_rgb) });
        let ShapeGradients::RotationScale(rotations, log_scales) = &drawn.shape else {
            return Err(Error::usage("splats have rotations and sizes"));
        };
        let upstream = Upstream {
            world: GeometryRef { means: &drawn.means, rotations, log_scales },
            sh0: &drawn.color,
            opacity_logits: &drawn.opacity_logits,
            weights: by_psi,
        };
        place_backward(&state.shape, &state.values(), ground, &placed, &upstream, &mut found.values);
        Ok(())
    }
}

impl StepReport {
    fn weighted(&self, options: &ReconOptions) -> f64 {
        let similar = if options.lambda_ssim > 0.0 { 1.0 - self.ssim } else { 0.0 };
        [
            (options.lambda_l1, self.l1),
            (options.lambda_ssim, similar),
            (options.lambda_alpha, self.alpha),
            (options.lambda_sparsity, self.sparsity),
            (options.lambda_orth, self.orth),
        ]
        .into_iter()
        .map(|(weight, value)| f64::from(weight) * value)
        .sum()
    }

    fn add(&mut self, step: &Self) {
        self.steps += step.steps;
        self.initialized += step.initialized;
        for (sum, value) in [
            (&mut self.loss, step.loss),
            (&mut self.l1, step.l1),
            (&mut self.ssim, step.ssim),
            (&mut self.alpha, step.alpha),
            (&mut self.sparsity, step.sparsity),
            (&mut self.orth, step.orth),
        ] {
            *sum += value;
        }
    }

    fn mean(mut self) -> Self {
        let count = f64::from(self.steps.max(1));
        for sum in [&mut self.loss, &mut self.l1, &mut self.ssim, &mut self.alpha, &mut self.sparsity, &mut self.orth] {
            *sum /= count;
        }
        self
    }
}
