//! Which view is trained on when, and how fast things learn then.
//!
//! The whole order is a function of the seed, so that a training that was interrupted goes on with the views it would have had.

use gav_formats::synthetic;

use super::{Method, Options, Rates, Stage};
use crate::{Error, Result};

/// Parts of a training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The neutral time step.
    Static,
    /// The sequence.
    Dynamic,
    /// The sequence, all splats.
    Final,
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned {
    /// Number of the step, from 0, over all parts.
    pub step: u32,
    /// Number of the step in its part; the last part goes on counting.
    pub of_part: u32,
    /// Which part.
    pub part: Part,
    /// View to train on.
    pub view: usize,
    /// Its time step.
    pub time: usize,
    /// Number of the block. When it changes, [`super::Engine::block`] is due.
    pub block: u32,
    /// All splats train, not only those that the expression moves.
    pub global: bool,
}

/// The views of a block, and how many views the time step has in all.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Block {
    time: usize,
    views: Vec<usize>,
}

/// All steps in order. Iterate; `nth` goes to where a training stopped.
#[derive(Debug, Clone)]
pub struct Schedule {
    options: Options,
    neutral: Block,
    blocks: Vec<Block>,
    /// Time steps in which a local block would train nothing.
    empty: Vec<bool>,
    step: u32,
    block: u32,
    epoch: u64,
    /// Blocks of this epoch, the next one last.
    order: Vec<usize>,
    /// Steps of the current block, the next one last: view, time, global.
    queue: Vec<(usize, usize, bool)>,
    part: Option<Part>,
}

impl Schedule {
    /// `views` are those to train on with their time steps, sorted by time step; `neutral` the time step of the static part; `empty` says
    /// for every time step whether no face is selected in it.
    ///
    /// # Errors
    /// When there is no view, or none in which anything would be trained.
    pub fn new(options: &Options, views: &[(usize, usize)], neutral: usize, empty: Vec<bool>) -> Result<Self> {
        let mut blocks: Vec<Block> = Vec::new();
        let most = match (options.method, options.views_per_block) {
            (Method::GaussianAvatars, _) => 1,
            (Method::Stga, 0) => usize::MAX,
            (Method::Stga, n) => n as usize,
        };
        for (view, time) in views {
            match blocks.last_mut() {
                Some(last) if last.time == *time && last.views.len() < most => last.views.push(*view),
                _ => blocks.push(Block { time: *time, views: vec![*view] }),
            }
        }
        let still = views.iter().filter(|(_, time)| *time == neutral).map(|(view, _)| *view).collect();
        let neutral = Block { time: neutral, views: still };
        if blocks.is_empty() {
            return Err(Error::usage("there is no view to train on"));
        }
        if neutral.views.is_empty() && options.stage != Stage::Dynamic && options.static_iterations > 0 {
            return Err(Error::usage("the neutral time step has no view to train on"));
        }
        if options.global_every == 0 && blocks.iter().all(|b| empty[b.time]) && options.stage != Stage::Static {
            return Err(Error::usage(
                "no face is selected in any time step, so nothing would be trained: lower --select-threshold-mm, or let --global-every be 20",
            ));
        }
        Ok(Self {
            options: options.clone(),
            neutral,
            blocks,
            empty,
            step: 0,
            block: 0,
            epoch: 0,
            order: Vec::new(),
            queue: Vec::new(),
            part: None,
        })
    }

    /// The part of a step, and its number there.
    fn place(&self, step: u32) -> Option<(Part, u32)> {
        let options = &self.options;
        let first = if options.stage == Stage::Dynamic { 0 } else { options.static_iterations };
        if step < first {
            return Some((Part::Static, step));
        }
        let after = step - first;
        if options.stage == Stage::Static || step >= options.total() {
            return None;
        }
        Some((if after < options.iterations { Part::Dynamic } else { Part::Final }, after))
    }

    /// Fills the queue with the steps of the next block.
    fn next_block(&mut self, part: Part) {
        if part == Part::Static {
            self.epoch += 1;
            let order = shuffled(self.neutral.views.len(), self.options.seed, self.epoch);
            self.queue = order.into_iter().map(|k| (self.neutral.views[k], self.neutral.time, true)).collect();
            return;
        }
        loop {
            if self.order.is_empty() {
                self.epoch += 1;
                self.order = shuffled(self.blocks.len(), self.options.seed, self.epoch);
            }
            let Some(next) = self.order.pop() else { return };
            let block = &self.blocks[next];
            let every = self.options.global_every as usize;
            // counted without this block, so that the last one of an epoch is global however few there are
            let global = part == Part::Final || (every > 0 && self.order.len().is_multiple_of(every));
            if !global && self.empty[block.time] {
                continue;
            }
            let passes = if self.options.method == Method::Stga { self.options.block_passes } else { 1 };
            let steps = (0..passes).flat_map(|_| block.views.iter().rev());
            self.queue = steps.map(|view| (*view, block.time, global)).collect();
            return;
        }
    }
}

impl Iterator for Schedule {
    type Item = Planned;

    fn next(&mut self) -> Option<Planned> {
        let (part, of_part) = self.place(self.step)?;
        if self.part != Some(part) {
            self.part = Some(part);
            self.queue.clear();
            self.order.clear();
        }
        if self.queue.is_empty() {
            self.next_block(part);
            self.block += 1;
        }
        let (view, time, global) = self.queue.pop()?;
        let planned = Planned { step: self.step, of_part, part, view, time, block: self.block, global };
        self.step += 1;
        Some(planned)
    }
}

/// The numbers below `count` in an order that seed and epoch decide.
fn shuffled(count: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        let draw = synthetic::uniform((epoch << 32) + last as u64, seed);
        // the product of a number below 1 and the count is below the count
        order.swap(last, ((draw * (last + 1) as f64) as usize).min(last));
    }
    order
}

/// Learning rates of a step; `extent` as in [`super::Dataset::extent`].
pub fn rates(options: &Options, planned: &Planned, extent: f32) -> Rates {
    let along = (f64::from(planned.of_part) / f64::from(options.position_lr_max_steps.max(1))).min(1.0);
    let [from, to] = [options.position_lr_init, options.position_lr_final].map(|r| f64::from(r).max(1e-30).ln());
    let position = if options.position_lr_init == 0.0 { 0.0 } else { (from + (to - from) * along).exp() };
    Rates {
        splats: [
            position as f32 * extent,
            options.rotation_lr,
            options.scaling_lr,
            options.opacity_lr,
            options.feature_lr,
            options.feature_lr / 20.0,
        ],
        tables: [options.flame_expr_lr, options.flame_pose_lr, options.flame_trans_lr],
    }
}

/// Degree of the harmonics in use.
pub fn sh_degree(options: &Options, planned: &Planned) -> u8 {
    (planned.step / options.sh_interval).min(u32::from(options.sh_degree)) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn views(times: usize, cameras: usize) -> Vec<(usize, usize)> {
        (0..times * cameras).map(|k| (k, k / cameras)).collect()
    }

    #[test]
    fn blocks_are_the_views_of_a_time_step_and_every_twentieth_is_global() {
        let options = Options { stage: Stage::Dynamic, iterations: 50 * 4 * 2, final_iterations: 8, ..Options::stga() };
        let mut empty = vec![false; 50];
        empty[7] = true;
        let steps: Vec<Planned> = Schedule::new(&options, &views(50, 4), 0, empty).unwrap().collect();
        assert_eq!(steps.len(), 408);
        for block in steps.chunk_by(|a, b| a.block == b.block).take(98) {
            assert_eq!(
                block.iter().map(|s| s.view).collect::<Vec<_>>(),
                (0..4).map(|k| 4 * block[0].time + k).collect::<Vec<_>>()
            );
            assert!(block[0].time != 7 || block[0].global);
        }
        // 50 blocks an epoch: 40, 20 and 0 are left after three of them
        let epoch: Vec<bool> = steps.chunk_by(|a, b| a.block == b.block).map(|b| b[0].global).take(49).collect();
        assert!((2..=3).contains(&epoch.iter().filter(|g| **g).count()), "{epoch:?}");
        assert!(steps[400..].iter().all(|s| s.global && s.part == Part::Final));
        let times: std::collections::BTreeSet<usize> = steps[..196].iter().map(|s| s.time).collect();
        assert!(times.len() >= 49);
    }

    #[test]
    fn a_training_goes_on_where_it_was() {
        for options in [Options::stga().fitted(900), Options::gaussian_avatars().fitted(900)] {
            let schedule = Schedule::new(&options, &views(11, 3), 4, vec![false; 11]).unwrap();
            let all: Vec<Planned> = schedule.clone().collect();
            assert_eq!(all.len() as u32, options.total());
            let mut later = schedule.clone();
            assert_eq!(later.nth(500), Some(all[500]));
            assert!(later.eq(all[501..].iter().copied()));
            let other = Schedule::new(&Options { seed: 1, ..options }, &views(11, 3), 4, vec![false; 11]).unwrap();
            assert!(!other.eq(all.iter().copied()));
        }
    }

    #[test]
    fn gaussian_avatars_sees_every_view_once_an_epoch() {
        let options = Options::gaussian_avatars().fitted(60);
        let steps: Vec<Planned> = Schedule::new(&options, &views(10, 3), 0, vec![true; 10]).unwrap().collect();
        for epoch in steps.chunks(30) {
            let mut seen: Vec<usize> = epoch.iter().map(|s| s.view).collect();
            assert_ne!(seen, (0..30).collect::<Vec<_>>());
            seen.sort_unstable();
            assert_eq!(seen, (0..30).collect::<Vec<_>>());
        }
        assert!(steps.iter().all(|s| s.global && s.time == s.view / 3));
    }

    #[test]
    fn rates_of_centres_fall_along_a_line_of_logarithms() {
        let options = Options::stga();
        let mut planned =
            Planned { step: 0, of_part: 0, part: Part::Dynamic, view: 0, time: 0, block: 0, global: true };
        assert!((rates(&options, &planned, 2.0).splats[0] - 3.2e-4).abs() < 1e-9);
        planned.of_part = 17_500;
        assert!((rates(&options, &planned, 2.0).splats[0] - 3.2e-5).abs() < 1e-9);
        planned.of_part = 50_000;
        assert!((rates(&options, &planned, 2.0).splats[0] - 3.2e-6).abs() < 1e-10);
        assert_eq!(rates(&options, &planned, 2.0).splats[5], 0.0025 / 20.0);
        planned.step = 2500;
        assert_eq!(sh_degree(&options, &planned), 2);
    }

    #[test]
    fn nothing_to_train_is_said() {
        let options = Options { global_every: 0, stage: Stage::Dynamic, ..Options::stga() };
        let error = Schedule::new(&options, &views(3, 2), 0, vec![true; 3]).unwrap_err().to_string();
        assert!(error.contains("--select-threshold-mm"), "{error}");
        assert!(Schedule::new(&options, &[], 0, vec![]).is_err());
    }
}
