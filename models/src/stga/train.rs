//! A whole training: blocks, steps, density control, evaluation.

use std::time::Instant;

use gav_formats::TriangleFrame;
use gav_kernels::{
    metrics::{ImageView, PsnrReduction, SsimVariant, channel_mse, reduce_psnr, ssim},
    raster::Image,
    rig::triangle::{Face, MeshRef, faces},
};
use serde::{Deserialize, Serialize};

use super::{
    Checkpoint, Dataset, Engine, Method, Options, Plan, Progress, State, StepReport,
    density::{self, Changes},
    schedule::{self, Planned, Schedule},
};
use crate::{Error, Result, capture::Split};

/// Pictures that are decoded ahead when not all of them fit into memory.
const AHEAD: usize = 64;

/// How good an avatar is on some views.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Evaluation {
    /// Steps before it.
    pub step: u32,
    /// Seconds of training before it.
    pub seconds: f64,
    /// Mean over the pictures, dB; each from the squared error of all its channels, of what a display shows (0 to 1).
    pub psnr: f64,
    /// Mean SSIM, windows of 11 pixels, zeros beyond the border.
    pub ssim: f64,
    /// Number of pictures.
    pub pictures: usize,
}

/// What [`Trainer::advance`] did.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Advance {
    /// Losses.
    pub report: StepReport,
    /// Sum over density control.
    pub changes: Changes,
    /// Splats.
    pub splats: usize,
    /// Mean number of splats that a step trained.
    pub trained: f64,
}

/// A training of a data set on an engine.
pub struct Trainer<'a> {
    data: &'a Dataset,
    options: Options,
    engine: Box<dyn Engine + 'a>,
    schedule: std::iter::Peekable<Schedule>,
    progress: Progress,
    /// Frames of the neutral mesh, for the sizes of triangles.
    frames: Vec<Face<f32>>,
    /// Flags of the selected faces of every time step.
    selected: Vec<Vec<bool>>,
    /// Block that the engine is set to.
    block: Option<u32>,
    trained: usize,
    splats: usize,
}

impl<'a> Trainer<'a> {
    /// A training from its beginning, or from a checkpoint's progress: the engine holds the state that belongs to it.
    ///
    /// # Errors
    /// Options and data with which nothing can be trained.
    pub fn new(
        data: &'a Dataset,
        options: &Options,
        engine: Box<dyn Engine + 'a>,
        progress: Progress,
        splats: usize,
    ) -> Result<Self> {
        options.check()?;
        let views: Vec<(usize, usize)> = data.of(Split::Train).into_iter().map(|k| (k, data.views[k].time)).collect();
        let motion = &data.motion;
        let empty = motion.selected.iter().map(Vec::is_empty).collect();
        let mut schedule = Schedule::new(options, &views, motion.neutral, empty)?.peekable();
        if progress.step > 0 {
            schedule.nth(progress.step as usize - 1);
        }
        let mesh = MeshRef { vertices: &motion.vertices[motion.neutral], faces: &motion.faces, corner_uvs: &[] };
        let flags = |list: &Vec<u32>| {
            let mut flags = vec![false; motion.faces.len()];
            list.iter().for_each(|face| flags[*face as usize] = true);
            flags
        };
        Ok(Self {
            frames: faces(options.frame.into(), &mesh),
            selected: motion.selected.iter().map(flags).collect(),
            data,
            options: options.clone(),
            engine,
            schedule,
            progress,
            block: None,
            trained: 0,
            splats,
        })
    }

    /// How far it is.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// True when all steps are done.
    pub fn is_finished(&mut self) -> bool {
        self.schedule.peek().is_none()
    }

    /// What trains.
    pub fn engine(&mut self) -> &mut (dyn Engine + 'a) {
        &mut *self.engine
    }

    /// Trains for at least so many steps, until a block ends: there a checkpoint loses nothing.
    ///
    /// # Errors
    /// Pictures that cannot be read; what a device fails in; [`Options::max_bad_steps`] steps in a row without a finite gradient.
    pub fn advance(&mut self, steps: u32) -> Result<Advance> {
        let begin = Instant::now();
        let mut out = Advance::default();
        let mut trained = 0.0;
        let first = self.progress.step;
        let until = first.saturating_add(steps);
        while let Some(planned) = self.schedule.peek().copied() {
            if planned.step >= until && self.block != Some(planned.block) {
                break;
            }
            self.schedule.next();
            self.step(&planned, &mut out.changes)?;
            trained += self.trained as f64;
        }
        out.report = self.engine.report()?;
        self.progress.seconds += begin.elapsed().as_secs_f64();
        self.progress.skipped += out.report.skipped;
        if out.report.steps > 0 {
            self.progress.skipped_in_a_row = 0;
        }
        self.progress.skipped_in_a_row += out.report.skipped;
        out.splats = self.splats;
        out.trained = trained / f64::from(self.progress.step - first).max(1.0);
        if out.report.steps == 0 && self.progress.skipped_in_a_row >= self.options.max_bad_steps {
            return Err(self.diagnose());
        }
        Ok(out)
    }

    fn step(&mut self, planned: &Planned, changes: &mut Changes) -> Result<()> {
        if self.block != Some(planned.block) {
            let faces =
                (!planned.global && self.options.method == Method::Stga).then(|| &self.selected[planned.time][..]);
            self.trained = self.engine.block(planned.time, faces)?;
            self.block = Some(planned.block);
            if !self.data.pictures.fits() {
                let coming = std::iter::once(*planned).chain(self.schedule.clone().take(AHEAD));
                self.data.pictures.prefetch(&coming.map(|p| p.view).collect::<Vec<_>>());
            }
        }
        let rates = schedule::rates(&self.options, planned, self.data.extent);
        if self.trained > 0 {
            self.engine.step(planned.view, &rates, schedule::sh_degree(&self.options, planned))?;
        }
        self.progress.step = planned.step + 1;
        self.densify(planned, changes)
    }

    fn densify(&mut self, planned: &Planned, changes: &mut Changes) -> Result<()> {
        let (options, done) = (&self.options, planned.step + 1);
        if !options.densify || done >= options.densify_until_iter {
            return Ok(());
        }
        let grow = done > options.densify_from_iter && done.is_multiple_of(options.densification_interval);
        // a white background hides splats that are not there: GaussianAvatars begins with a reset then
        let white = options.method == Method::GaussianAvatars && options.background == [1.0; 3];
        let reset = done.is_multiple_of(options.opacity_reset_interval) || (white && done == options.densify_from_iter);
        if !grow && !reset {
            return Ok(());
        }
        let mut plan = Plan { list: None, cap: reset.then(density::reset_cap) };
        if grow {
            let rules = density::Rules::new(options, self.data.extent, done);
            let survey = self.engine.survey()?;
            let (list, made) = density::control(&survey, TriangleFrame::from(options.frame), &self.frames, &rules);
            changes.cloned += made.cloned;
            changes.split += made.split;
            changes.pruned += made.pruned;
            changes.kept += made.kept;
            self.splats = list.rows.len();
            plan.list = Some(list);
        }
        self.engine.change(&plan)?;
        self.block = None;
        Ok(())
    }

    /// Draws views and compares them with their pictures.
    ///
    /// # Errors
    /// Pictures that cannot be read; what a device fails in.
    pub fn evaluate(&mut self, views: &[usize]) -> Result<Evaluation> {
        let mut out = Evaluation { step: self.progress.step, seconds: self.progress.seconds, ..Evaluation::default() };
        for view in views {
            let image = self.draw(*view)?;
            let picture = self.data.pictures.get(*view)?;
            let target: Vec<f32> = picture.rgb.iter().map(|v| f32::from(*v) / 255.0).collect();
            let shown: Vec<f32> = image.rgb.iter().map(|v| v.clamp(0.0, 1.0)).collect();
            let (a, b) = (
                ImageView::new(picture.width, picture.height, 3, &shown)?,
                ImageView::new(picture.width, picture.height, 3, &target)?,
            );
            out.psnr += reduce_psnr(&[channel_mse(a, b)?], PsnrReduction::PerImage);
            out.ssim += ssim(a, b, SsimVariant::ZeroPad)?;
            out.pictures += 1;
        }
        let count = out.pictures.max(1) as f64;
        out.psnr /= count;
        out.ssim /= count;
        Ok(out)
    }

    /// As [`Trainer::evaluate`], kept in the progress.
    ///
    /// # Errors
    /// As there.
    pub fn note(&mut self, views: &[usize]) -> Result<Evaluation> {
        let evaluation = self.evaluate(views)?;
        self.progress.evaluations.push(evaluation);
        Ok(evaluation)
    }

    /// A view as it is drawn now.
    ///
    /// # Errors
    /// What a device fails in.
    pub fn draw(&mut self, view: usize) -> Result<Image> {
        let degree = (self.progress.step / self.options.sh_interval).min(u32::from(self.options.sh_degree)) as u8;
        let view = &self.data.views[view];
        self.engine.draw(&view.camera, view.time, degree)
    }

    /// All that is trained.
    ///
    /// # Errors
    /// What a device fails in.
    pub fn state(&mut self) -> Result<State> {
        self.engine.state()
    }

    /// Everything to go on from.
    ///
    /// # Errors
    /// What a device fails in.
    pub fn checkpoint(&mut self) -> Result<Checkpoint> {
        Ok(Checkpoint {
            options: self.options.clone(),
            progress: self.progress.clone(),
            state: self.engine.state()?,
            capture: self.data.fingerprint(),
        })
    }

    /// Why no step works any more.
    fn diagnose(&mut self) -> Error {
        let step = self.progress.step;
        let mut message =
            format!("no finite gradient in the last {} steps before step {step}", self.progress.skipped_in_a_row);
        match self.engine.state() {
            Ok(state) => {
                for (name, tensor) in super::SPLAT_TENSORS.iter().zip(&state.splats) {
                    let bad = tensor.values.iter().filter(|v| !v.is_finite()).count();
                    if bad > 0 {
                        message += &format!("; {bad} numbers of `{name}` are not finite");
                    }
                }
                let large = state.splats[2].values.iter().fold(f32::NEG_INFINITY, |a, b| a.max(*b));
                message += &format!("; the largest splat has e^{large:.1} of its unit");
            }
            Err(error) => message += &format!("; its state cannot be read: {error}"),
        }
        Error::usage(message + ": lower the learning rates, or look at the pictures and meshes of the last block")
    }
}
