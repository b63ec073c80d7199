//! Density control: more splats where the picture pulls at them, fewer where they show nothing (3DGS, section 5), with the rule of
//! GaussianAvatars that no triangle loses its last splat.
//!
//! What the published programs do and this does not: their rule against splats wider than 20 pixels never applies, since widths are
//! forgotten before they are looked at; it is an option here ([`Rules::widest`]). They leave out Adam's step when splats change; here
//! every step is taken, and splats change after it.

use std::f64::consts::TAU;

use gav_formats::{TriangleFrame, synthetic};
use gav_kernels::rig::triangle::Face;

use super::{
    Options,
    state::{NewList, Row, Survey},
};

/// When splats are copied, divided and removed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// Mean |∂L/∂centre| in normalised device coordinates that calls for more splats.
    pub gradient: f32,
    /// Size in metres up to which a splat is copied, beyond which it is divided.
    pub dense: f32,
    /// Splats fainter than this go.
    pub faintest: f32,
    /// Splats larger than this go, metres; `None` for any size.
    pub largest: Option<f32>,
    /// Splats wider than this on the screen go, pixels; `None` for any width.
    pub widest: Option<f32>,
    /// Splats there may be.
    pub most: usize,
    /// See [`Options::split_in_metres`].
    pub split_in_metres: bool,
    /// For the places of the halves.
    pub seed: u64,
}

impl Rules {
    /// Those of a step. Sizes are limited once opacities have been reset.
    pub fn new(options: &Options, extent: f32, step: u32) -> Self {
        Self {
            gradient: options.densify_grad_threshold,
            dense: options.percent_dense * extent,
            faintest: 0.005,
            largest: (step > options.opacity_reset_interval).then_some(0.1 * extent),
            widest: None,
            most: options.max_splats as usize,
            split_in_metres: options.split_in_metres,
            seed: options.seed ^ (u64::from(step) << 20),
        }
    }
}

/// What density control did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Changes {
    /// Splats copied.
    pub cloned: usize,
    /// Splats replaced by two halves.
    pub split: usize,
    /// Splats removed.
    pub pruned: usize,
    /// Splats that would have been removed, were they not the last ones of their triangle.
    pub kept: usize,
}

/// Which splats are copied, divided and removed. `faces` are the triangles of any time step: only their sizes count.
pub fn control(survey: &Survey, frame: TriangleFrame, faces: &[Face<f32>], rules: &Rules) -> (NewList, Changes) {
    let count = survey.triangles.len();
    let scaling = frame == TriangleFrame::GaussianAvatars;
    let size_of = |row: usize| if scaling { faces[survey.triangles[row] as usize].scale } else { 1.0 };
    let largest_of = |log_scales: &[f32]| log_scales.iter().fold(f32::NEG_INFINITY, |a, b| a.max(*b)).exp();
    let largest = |row: usize| largest_of(&survey.log_scales[3 * row..][..3]) * size_of(row);
    let pull = |row: usize| -> f32 {
        let seen = survey.statistics.counts[row];
        if seen > 0.0 { survey.statistics.gradients[row] / seen } else { 0.0 }
    };
    // those pulled most come first when there is no room for all
    let mut wanted: Vec<usize> = (0..count).filter(|row| pull(*row) >= rules.gradient).collect();
    wanted.sort_by(|a, b| pull(*b).total_cmp(&pull(*a)).then(a.cmp(b)));
    wanted.truncate(rules.most.saturating_sub(count));
    wanted.sort_unstable();
    let (clones, splits): (Vec<usize>, Vec<usize>) = wanted.into_iter().partition(|row| largest(*row) <= rules.dense);

    let mut parent = vec![false; count];
    splits.iter().for_each(|row| parent[*row] = true);
    let mut grown = NewList::default();
    let mut add = |from: usize, fresh: bool, half: Option<usize>| {
        let (mut mean, mut log_scale) = (triple(&survey.means, from), triple(&survey.log_scales, from));
        if let Some(number) = half {
            let factor = if rules.split_in_metres { size_of(from) } else { 1.0 };
            halve(&mut mean, &mut log_scale, &survey.rotations[4 * from..][..4], number, rules.seed, factor);
        }
        grown.rows.push(Row { from, fresh });
        grown.means.extend(mean);
        grown.log_scales.extend(log_scale);
    };
    (0..count).filter(|row| !parent[*row]).for_each(|row| add(row, false, None));
    clones.iter().for_each(|row| add(*row, true, None));
    splits.iter().enumerate().for_each(|(k, row)| (0..2).for_each(|half| add(*row, true, Some(2 * k + half))));

    let mut changes = Changes { cloned: clones.len(), split: splits.len(), ..Changes::default() };
    let opacity = f64::from(rules.faintest);
    let faintest = (opacity / (1.0 - opacity)).ln() as f32;
    let weak = |(k, row): (usize, &Row)| {
        survey.opacity_logits[row.from] < faintest
            || rules.largest.is_some_and(|most| largest_of(&grown.log_scales[3 * k..][..3]) * size_of(row.from) > most)
            || (!row.fresh && rules.widest.is_some_and(|most| survey.statistics.radii[row.from] > most))
    };
    let mut remove: Vec<bool> = grown.rows.iter().enumerate().map(weak).collect();
    let triangles: Vec<u32> = grown.rows.iter().map(|row| survey.triangles[row.from]).collect();
    changes.kept = keep_last(&triangles, faces.len(), &mut remove);
    changes.pruned = remove.iter().filter(|r| **r).count();
    let mut left = NewList::default();
    for (k, _) in remove.iter().enumerate().filter(|(_, remove)| !**remove) {
        left.rows.push(grown.rows[k]);
        left.means.extend(triple(&grown.means, k));
        left.log_scales.extend(triple(&grown.log_scales, k));
    }
    (left, changes)
}

fn triple(values: &[f32], row: usize) -> [f32; 3] {
    std::array::from_fn(|k| values[3 * row + k])
}

/// Takes back the removal of all splats of triangles that would lose their last one. Returns how many.
pub fn keep_last(triangles: &[u32], faces: usize, remove: &mut [bool]) -> usize {
    let mut left = vec![0u32; faces];
    for (triangle, remove) in triangles.iter().zip(&*remove) {
        left[*triangle as usize] += u32::from(!remove);
    }
    let mut kept = 0;
    for (triangle, remove) in triangles.iter().zip(remove) {
        if *remove && left[*triangle as usize] == 0 {
            *remove = false;
            kept += 1;
        }
    }
    kept
}

/// Makes a copied splat one of the two halves: 1.6 times smaller, somewhere in what it covered.
fn halve(mean: &mut [f32; 3], log_scale: &mut [f32; 3], rotation: &[f32], number: usize, seed: u64, factor: f32) {
    let normal = |k: usize| -> f64 {
        let at = 8 * number as u64 + 2 * k as u64;
        let (a, b) = (synthetic::uniform(at, seed), synthetic::uniform(at + 1, seed));
        (-2.0 * (1.0 - a).ln()).sqrt() * (TAU * b).cos()
    };
    let scales = log_scale.map(f64::from);
    let away: [f64; 3] = std::array::from_fn(|k| normal(k) * scales[k].exp() * f64::from(factor));
    let q: [f64; 4] = std::array::from_fn(|k| f64::from(rotation[k]));
    let norm = q.iter().map(|v| v * v).sum::<f64>().sqrt().max(1e-12);
    let [w, x, y, z] = q.map(|v| v / norm);
    let turn = [
        [1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - w * z), 2.0 * (x * z + w * y)],
        [2.0 * (x * y + w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - w * x)],
        [2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y)],
    ];
    for k in 0..3 {
        mean[k] += (0..3).map(|c| turn[k][c] * away[c]).sum::<f64>() as f32;
        log_scale[k] = (scales[k] - 1.6f64.ln()) as f32;
    }
}

/// Logit to which opacities are reset, so that only what is needed becomes opaque again: that of 0.01.
pub fn reset_cap() -> f32 {
    (0.01f64 / 0.99).ln() as f32
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Plan, State, Statistics},
        *,
    };
    use gav_formats::synthetic::random;
    use gav_kernels::rig::triangle::{MeshRef, faces};

    fn control(state: &State, frame: TriangleFrame, faces: &[Face<f32>], rules: &Rules) -> (State, Changes) {
        let (list, changes) = super::control(&state.survey(), frame, faces, rules);
        (state.changed(&Plan { list: Some(list), cap: None }), changes)
    }

    fn rules() -> Rules {
        Rules::new(&Options::stga(), 1.0, 1000)
    }

    fn setting() -> (State, Vec<Face<f32>>) {
        let mut splats = random(6, 0, 5).splats;
        splats.log_scales = vec![[0.002f32.ln(); 3]; 6];
        splats.log_scales[2] = [0.02f32.ln(), 0.001f32.ln(), 0.001f32.ln()];
        splats.rotations = vec![[1.0, 0.0, 0.0, 0.0]; 6];
        splats.opacity_logits = vec![0.0; 6];
        let mut state = State::new(&splats, vec![0, 0, 1, 1, 2, 3], None);
        state.statistics.counts = vec![2.0; 6];
        state.statistics.gradients = vec![0.0, 1e-3, 1e-3, 0.0, 0.0, 0.0];
        let vertices = [[0.0f32, 0.0, 0.0], [0.1, 0.0, 0.0], [0.0, 0.1, 0.0]];
        let mesh = MeshRef { vertices: &vertices, faces: &[[0, 1, 2]; 4], corner_uvs: &[] };
        (state, faces(TriangleFrame::Stga, &mesh))
    }

    #[test]
    fn small_splats_are_copied_and_large_ones_divided() {
        let (mut state, faces) = setting();
        state.splats[0].means = vec![1.0; 18];
        let (after, changes) = control(&state, TriangleFrame::Stga, &faces, &rules());
        assert_eq!((changes.cloned, changes.split, changes.pruned, after.len()), (1, 1, 0, 8));
        assert_eq!(after.triangles, [0, 0, 1, 2, 3, 0, 1, 1]);
        let splats = after.to_splats();
        assert_eq!(splats.means[5], splats.means[1]);
        assert_eq!(after.splats[0].means[15..], [0.0; 9], "new splats begin without memory");
        assert_eq!(after.splats[0].means[..15], [1.0; 15]);
        let parent = state.to_splats();
        for half in 6..8 {
            assert!((splats.log_scales[half][0].exp() - 0.0125).abs() < 1e-6);
            let away: [f32; 3] = std::array::from_fn(|k| (splats.means[half][k] - parent.means[2][k]).abs());
            assert!(away[0] < 0.08 && away[1] < 0.004 && away[2] < 0.004 && away[0] > 1e-5, "{away:?}");
        }
        assert_ne!(splats.means[6], splats.means[7]);
        assert_eq!(after.statistics, Statistics::zeros(8));
        let few = Rules { most: 7, ..rules() };
        assert_eq!(control(&state, TriangleFrame::Stga, &faces, &few).0.len(), 7);
    }

    #[test]
    fn faint_splats_go_but_not_the_last_of_a_triangle() {
        let (mut state, faces) = setting();
        state.statistics.gradients.fill(0.0);
        state.splats[3].values = vec![-9.0, 0.0, -9.0, -9.0, 0.0, -9.0];
        let (after, changes) = control(&state, TriangleFrame::Stga, &faces, &rules());
        assert_eq!(after.triangles, [0, 1, 1, 2, 3]);
        assert_eq!((changes.pruned, changes.kept), (1, 3));
        let large = Rules { largest: Some(0.01), ..rules() };
        state.splats[3].values.fill(0.0);
        assert_eq!(control(&state, TriangleFrame::Stga, &faces, &large).0.triangles, [0, 0, 1, 2, 3]);
    }

    #[test]
    fn opacities_are_reset_downwards_only() {
        let (mut state, _) = setting();
        state.splats[3].values[0] = -7.0;
        state.splats[3].means[1] = 3.0;
        let state = state.changed(&Plan { list: None, cap: Some(reset_cap()) });
        assert_eq!(state.splats[3].values[0], -7.0);
        assert!((1.0 / (1.0 + (-state.splats[3].values[1]).exp()) - 0.01f32).abs() < 1e-6);
        assert_eq!(state.splats[3].means[1], 0.0);
    }
}
