//! Which frames a step of an offline training sees, over which colours, and how fast things learn then.
//!
//! Everything is a function of the seed and of how far the training is, so that one that was interrupted goes on as it would have.

use gav_formats::synthetic::uniform;

use super::ReconOptions;

/// Draws of a step: batches of up to 4096 take one number for each frame and three for each background.
const DRAWS: u64 = 1 << 14;
/// Where those of backgrounds begin.
const BACKGROUNDS: u64 = 1 << 12;

/// `size` different ones of `count` frames, or all of them when there are fewer; independent of other steps.
pub fn batch(seed: u64, step: u32, count: usize, size: usize) -> Vec<usize> {
    let size = size.min(count);
    let mut chosen: Vec<usize> = Vec::with_capacity(size);
    // Floyd's sample: one draw for each, whatever the count
    for (k, last) in (count - size..count).enumerate() {
        let draw = uniform(u64::from(step) * DRAWS + k as u64, seed);
        let pick = ((draw * (last + 1) as f64) as usize).min(last);
        chosen.push(if chosen.contains(&pick) { last } else { pick });
    }
    chosen
}

/// What is behind the images of a step, 0 to 1.
pub fn backgrounds(options: &ReconOptions, seed: u64, step: u32, size: usize) -> Vec<[f32; 3]> {
    if !options.random_bg_color {
        return vec![options.bg_color; size];
    }
    let first = u64::from(step) * DRAWS + BACKGROUNDS;
    (0..size as u64).map(|k| std::array::from_fn(|c| uniform(first + 3 * k + c as u64, seed) as f32)).collect()
}

/// Rate of centres after so many images: from `position_lr` to `position_lr_final` along a line of logarithms. The extent multiplies it
/// twice, as in the published program.
pub fn position_rate(options: &ReconOptions, images: u32) -> f32 {
    let along = (f64::from(images) / f64::from(options.position_lr_max_steps.max(1))).min(1.0);
    let extent = f64::from(options.scene_extent);
    let ends = [options.position_lr, options.position_lr_final].map(|rate| f64::from(rate) * extent);
    // a rate of 0 has no logarithm
    let rate = if ends.contains(&0.0) {
        ends[0] + (ends[1] - ends[0]) * along
    } else {
        ((1.0 - along) * ends[0].ln() + along * ends[1].ln()).exp()
    };
    (rate * extent) as f32
}

/// Rates of [`super::TENSORS`] after so many images.
pub fn rates(options: &ReconOptions, images: u32) -> [f32; 9] {
    let position = position_rate(options, images);
    [
        position,
        options.opacity_lr,
        options.scaling_lr,
        options.rotation_lr,
        options.feature_lr,
        options.position_b_lr_scale * position,
        options.rotation_b_lr_scale * options.rotation_lr,
        options.feature_b_lr_scale * options.feature_lr,
        options.weight_module_lr,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rgbavatar::Options;

    #[test]
    fn batches_have_different_frames_and_come_again() {
        let mut seen = [0u32; 40];
        for step in 0..2000 {
            let batch = batch(7, step, 40, 10);
            assert_eq!(batch, super::batch(7, step, 40, 10));
            let mut sorted = batch.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted.len(), 10);
            batch.iter().for_each(|k| seen[*k] += 1);
        }
        // 500 each on average, the standard deviation is 19
        assert!(seen.iter().all(|n| (400..600).contains(n)), "{seen:?}");
        assert_ne!(batch(7, 3, 40, 10), batch(8, 3, 40, 10));
        let mut few = batch(1, 0, 4, 10);
        few.sort_unstable();
        assert_eq!(few, [0, 1, 2, 3]);
    }

    #[test]
    fn backgrounds_are_random_or_fixed() {
        let mut options = Options::offline().train.recon;
        let random = backgrounds(&options, 3, 9, 500);
        let mean = random.as_flattened().iter().sum::<f32>() / 1500.0;
        // the standard deviation of the mean is 0.0075
        assert!((mean - 0.5).abs() < 0.04, "{mean}");
        assert!(random.as_flattened().iter().all(|v| (0.0..1.0).contains(v)));
        options.random_bg_color = false;
        options.bg_color = [0.1, 0.2, 0.3];
        assert_eq!(backgrounds(&options, 3, 9, 2), [[0.1, 0.2, 0.3]; 2]);
    }

    #[test]
    fn the_extent_counts_twice_and_bases_learn_in_proportion() {
        let mut options = Options::offline().train.recon;
        options.scene_extent = 2.0;
        let rates = rates(&options, 0);
        assert!((rates[0] - 4.0 * 0.0008).abs() < 1e-9 && (rates[5] - 0.05 * rates[0]).abs() < 1e-10);
        assert_eq!(rates[1..5], [0.25, 0.025, 0.005, 0.0125]);
        assert_eq!(rates[6..], [0.0025, 0.00625, 0.001]);
    }
}
