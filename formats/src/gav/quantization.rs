//! `QNTZ`: the quantisers that all splat attributes of a lossy file share, chosen from the data (`spec/gav.md` 7.2).
//!
//! The visible energy of an error in colour, scale or rotation grows with α² times the splat's projected area, that of a position
//! error with α² alone. A splat's class says how much coarser than the finest step its own steps are; decoder and encoder derive
//! it from the already decoded opacity and scale codes by integer comparisons, so parsing never depends on rounding.

use super::{
    chunk::blocked,
    container::{Chunk, Container, Entry, bad},
    ints::{read_ints, write_ints},
};
use crate::{Avatar, Result, Splats, conventions::opacity_from_logit};

/// Fixed-point unit of logarithms in class decisions: 1/1024.
pub(crate) const LOG_UNIT: f64 = 1024.0;
/// Steps of class c are √2^c times the finest; c is at most this.
pub(crate) const MAX_CLASS: usize = 15;
/// √2^c for c = 0 … 15, odd powers by one multiplication so that every implementation gets the same bits.
pub(crate) fn class_step(class: usize) -> f64 {
    let whole = f64::from(1u32 << (class / 2));
    if class.is_multiple_of(2) { whole } else { whole * std::f64::consts::SQRT_2 }
}

/// What an encoder asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Quality {
    /// Scales all steps but those of SH; smaller is finer.
    pub coarseness: f64,
    /// Finest SH step.
    pub sh_step: f64,
    /// Largest class of colour, rotation and scale.
    pub max_class: usize,
    /// Overrides the position step.
    pub position_step: Option<f64>,
}

/// The shared quantisers.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Quantization {
    /// Position grid step.
    pub position_step: f64,
    /// Position of grid point 0.
    pub origin: [f64; 3],
    /// Finest rotation step (unitless components).
    pub rotation_step: f64,
    /// Finest colour step.
    pub color_step: f64,
    /// Finest SH step.
    pub sh_step: f64,
    /// Opacity is `code / opacity_levels`.
    pub opacity_levels: u32,
    /// `2 ln α` of each opacity code, in [`LOG_UNIT`]s, at least `opacity_levels + 1` of them.
    pub opacity_logs: Vec<i32>,
    /// A splat's opacity class is the number of these above its `2 ln α`; descending.
    pub opacity_thresholds: Vec<i32>,
    /// A splat's class is the number of these above its weight; descending, one more than the largest class.
    pub class_thresholds: Vec<i32>,
    /// ln-scale of code i ≥ 1 at opacity class c: `scale_logs[c & 1][i << (c >> 1)]`, in [`LOG_UNIT`]s.
    pub scale_logs: [Vec<i32>; 2],
    /// ln-scale of code 0 at each opacity class.
    pub zero_scale_logs: Vec<i32>,
    /// Encoder only: companded code of class 0 over ln-scale, and opacity code over logit.
    curves: Option<(Curve, Curve)>,
    /// Encoder only: step and reference of the companding curve.
    scale_curve: (f64, f64),
}

/// A smooth function tabulated on an even grid and interpolated linearly: the encoder's logarithms and exponentials at the
/// price of a look-up. Its error stays below 0.001 codes, far inside the rounding of any quantiser.
#[derive(Debug, Clone, PartialEq)]
struct Curve {
    low: f64,
    per_unit: f64,
    values: Vec<f64>,
}

impl Curve {
    fn new(low: f64, high: f64, per_unit: f64, f: impl Fn(f64) -> f64) -> Self {
        let count = ((high - low) * per_unit) as usize + 1;
        Self { low, per_unit, values: (0..count).map(|i| f(low + i as f64 / per_unit)).collect() }
    }

    /// The value at `x`, clamped to the ends of the grid.
    fn at(&self, x: f32) -> f64 {
        let last = self.values.len() - 1;
        let place = ((f64::from(x) - self.low) * self.per_unit).clamp(0.0, last as f64);
        let index = (place as usize).min(last - 1);
        let share = place - index as f64;
        self.values[index] + share * (self.values[index + 1] - self.values[index])
    }
}

/// Rows that the statistics look at: more do not change the third digit.
const STATISTICS_ROWS: usize = 65_536;

/// Exponent β of the class rule: step ∝ weight^(−β/2). 1 would equalise the visible error; 0.6 keeps close-ups sharp.
const CLASS_EXPONENT: f64 = 0.6;
/// Position step as a share of the typical middle standard deviation at coarseness 1.
const POSITION_SHARE: f64 = 0.02;
/// Grid points along the longest side at most, so that a Morton key has 63 bits.
const MAX_GRID: f64 = ((1u64 << 21) - 2) as f64;
/// Scales below this share of the reference are coded linearly, above it logarithmically.
const REFERENCE_SHARE: f64 = 2.0;
/// Reconstruction point of scale code 0 in steps, between 0 and ½.
const ZERO_SCALE: f64 = 0.3;
/// Largest scale code: the companding curve reaches e^12 times the reference scale well below it.
const MAX_SCALE_CODE: f64 = 4095.0;

impl Quantization {
    /// Chooses the quantisers for `splats`, which are canonical and finite.
    pub fn choose(splats: &Splats, quality: &Quality, local: bool) -> Self {
        let q = quality.coarseness;
        let (mean_log_weight, middle_scale) = statistics(splats);
        let (lo, hi) = splats.bounds().unwrap_or_default();
        let extent = (0..3).map(|k| f64::from(hi[k]) - f64::from(lo[k])).fold(0.0, f64::max);
        let wanted = quality.position_step.unwrap_or(POSITION_SHARE * q * middle_scale);
        let reference = REFERENCE_SHARE * (mean_log_weight / 2.0).exp();
        let scale_step = q / 72.0;
        let levels = (127.0 / q.clamp(0.5, 2.0)).ceil() as u32;
        let thresholds = |count: usize, zero: f64| -> Vec<i32> {
            let step = std::f64::consts::LN_2 / CLASS_EXPONENT;
            (0..count).map(|k| to_log_units(zero - (k as f64 + 0.5) * step)).collect()
        };
        let mut quantization = Self {
            position_step: wanted.max(extent / MAX_GRID).max(1e-12),
            origin: if local { [0.0; 3] } else { lo.map(f64::from) },
            rotation_step: q / 150.0,
            color_step: q / 160.0,
            sh_step: quality.sh_step,
            opacity_levels: levels,
            opacity_logs: (0..=levels).map(|code| to_log_units(2.0 * opacity(code, levels).ln())).collect(),
            opacity_thresholds: thresholds(quality.max_class, 0.0),
            class_thresholds: thresholds(quality.max_class + 1, mean_log_weight),
            scale_logs: [Vec::new(), Vec::new()],
            zero_scale_logs: Vec::new(),
            curves: Some((
                Curve::new(-30.0, 30.0, 256.0, |x| (x.exp() / reference).ln_1p() / scale_step),
                Curve::new(-16.0, 16.0, 64.0, |x| f64::from(levels) / (1.0 + (-x).exp())),
            )),
            scale_curve: (scale_step, reference),
        };
        quantization.zero_scale_logs = (0..=quality.max_class).map(|c| quantization.scale_log_at(0, c)).collect();
        quantization
    }

    /// ln-scale in [`LOG_UNIT`]s that the companding curve gives for code `i` of step class `class`.
    fn scale_log_at(&self, i: usize, class: usize) -> i32 {
        let (step, reference) = self.scale_curve;
        to_log_units(((i as f64).max(ZERO_SCALE) * class_step(class) * step).exp_m1().ln() + reference.ln())
    }

    /// Makes the tables just long enough for these opacity classes and largest scale codes.
    pub fn fill_scale_tables(&mut self, used: impl Iterator<Item = (u8, u16)>) {
        let mut longest = [0usize; 2];
        for (class, code) in used {
            let (class, code) = (usize::from(class), usize::from(code));
            longest[class % 2] = longest[class % 2].max((code << (class / 2)) + 1);
        }
        for parity in 0..2 {
            self.scale_logs[parity] = (0..longest[parity]).map(|i| self.scale_log_at(i, parity)).collect();
        }
    }

    /// Code of an opacity logit; for encoders.
    pub fn opacity_code(&self, logit: f32) -> u32 {
        self.curves.as_ref().expect("made by an encoder").1.at(logit).round_ties_even() as u32
    }

    /// Opacity logit of a code: opacities end at ¼ of a level below and 1 − 1/512 above, so logits stay finite.
    pub fn opacity_logit(&self, code: u32) -> f32 {
        let alpha = opacity(code, self.opacity_levels).min(1.0 - 1.0 / 512.0);
        (alpha / (1.0 - alpha)).ln() as f32
    }

    /// Opacity class of an opacity code.
    pub fn opacity_class(&self, code: u32) -> usize {
        class_of(self.opacity_logs[code as usize], &self.opacity_thresholds)
    }

    /// Code of a ln-scale at an opacity class; for encoders.
    pub fn scale_code(&self, log_scale: f32, class: usize) -> u32 {
        let companded = self.curves.as_ref().expect("made by an encoder").0.at(log_scale);
        (companded / class_step(class)).round_ties_even().min(MAX_SCALE_CODE) as u32
    }

    /// ln-scale of a code in [`LOG_UNIT`]s; `None` for a code the tables do not hold.
    pub fn scale_log(&self, code: u32, class: usize) -> Option<i32> {
        if code == 0 {
            return self.zero_scale_logs.get(class).copied();
        }
        self.scale_logs[class % 2].get((code as usize) << (class / 2)).copied()
    }

    /// The classes of a splat from its opacity code and decoded ln-scales (largest first).
    pub fn classes(&self, opacity_code: u32, logs: [i32; 3]) -> Classes {
        let weight = logs[0].saturating_add(logs[1]).saturating_add(self.opacity_logs[opacity_code as usize]);
        // elongation raises the weight of a rotation error about an axis across it: ¾ (min(2 d, 6) − 3) in ln units
        let elongation = |d: i32| (3 * (d.saturating_mul(2).min(6 * LOG_UNIT as i32) - 3 * LOG_UNIT as i32)) >> 2;
        let (thresholds, last) = self.class_thresholds.split_at(self.class_thresholds.len().saturating_sub(1));
        let swing = weight.saturating_add(elongation(logs[0].saturating_sub(logs[2])));
        let twist = weight.saturating_add(elongation(logs[1].saturating_sub(logs[2]))).saturating_sub(TWIST_BONUS);
        let twist_class = class_of(twist, thresholds) + class_of(twist, last);
        Classes {
            color: class_of(weight, thresholds) as u8,
            swing: class_of(swing, thresholds) as u8,
            twist: twist_class as u8,
        }
    }

    /// Contexts of streams that use colour or swing classes.
    pub fn class_count(&self) -> usize {
        self.class_thresholds.len()
    }

    /// Contexts of streams that use opacity classes.
    pub fn opacity_class_count(&self) -> usize {
        self.opacity_thresholds.len() + 1
    }
}

/// The twist about the long axis matters less than its direction: 2.4 in ln units.
const TWIST_BONUS: i32 = 2458;

/// Classes of one splat; each picks steps and entropy contexts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Classes {
    pub color: u8,
    pub swing: u8,
    pub twist: u8,
}

fn class_of(value: i32, descending: &[i32]) -> usize {
    descending.iter().filter(|&&threshold| value < threshold).count()
}

fn opacity(code: u32, levels: u32) -> f64 {
    f64::from(code).max(0.25) / f64::from(levels)
}

fn to_log_units(value: f64) -> i32 {
    (value * LOG_UNIT).round_ties_even() as i32
}

/// ln of the mean of α² s₀ s₁ over visible splats, and their median s₁ weighted by α² s₀.
fn statistics(splats: &Splats) -> (f64, f64) {
    let mut middle: Vec<(f64, f64)> = Vec::new();
    let (mut sum, mut visible) = (0.0, 0usize);
    for index in (0..splats.len()).step_by(splats.len().div_ceil(STATISTICS_ROWS).max(1)) {
        let alpha = f64::from(opacity_from_logit(splats.opacity_logits[index]));
        if alpha <= 1.0 / 255.0 {
            continue;
        }
        let s = splats.log_scales[index].map(|v| f64::from(v).clamp(-30.0, 30.0).exp());
        sum += alpha * alpha * s[0] * s[1];
        visible += 1;
        middle.push((s[1], alpha * alpha * s[0]));
    }
    if visible == 0 || sum <= 0.0 {
        return (-10.0, 0.01);
    }
    middle.sort_by(|a, b| a.0.total_cmp(&b.0));
    let total: f64 = middle.iter().map(|(_, w)| w).sum();
    let mut below = 0.0;
    let median = middle.iter().find(|(_, w)| {
        below += w;
        below >= total / 2.0
    });
    ((sum / visible as f64).ln(), median.map_or(0.01, |(s, _)| *s))
}

const FIXED_BYTES: usize = 64;

impl Quantization {
    /// The chunk that carries the quantisers.
    pub fn to_chunk(&self) -> Chunk {
        let mut parameters = Vec::with_capacity(FIXED_BYTES + 28);
        let numbers = [
            self.position_step,
            self.origin[0],
            self.origin[1],
            self.origin[2],
            self.rotation_step,
            self.color_step,
            self.sh_step,
        ];
        numbers.iter().for_each(|v| parameters.extend_from_slice(&v.to_le_bytes()));
        parameters.extend_from_slice(&self.opacity_levels.to_le_bytes());
        parameters.extend_from_slice(&[self.opacity_thresholds.len() as u8, 0, 0, 0]);
        for table in &self.scale_logs {
            parameters.extend_from_slice(&(table.len() as u32).to_le_bytes());
        }
        blocked(b"QNTZ", 0, parameters, 1, 1, 19, |writer, _| {
            for table in [
                &self.opacity_logs,
                &self.opacity_thresholds,
                &self.class_thresholds,
                &self.zero_scale_logs,
                &self.scale_logs[0],
                &self.scale_logs[1],
            ] {
                write_ints(writer, table);
            }
        })
    }

    /// Reads and checks the quantisers.
    pub fn from_chunk(container: &Container<'_>, entry: &Entry) -> Result<Self> {
        let parameters = container.parameters(entry)?;
        let wrong = |message: String| bad("QUANTIZATION", entry.offset, message);
        if parameters.len() != 72 || entry.elements != 1 || entry.block_elements != 1 {
            return Err(wrong(format!("QNTZ has {} bytes of parameters, 72 expected", parameters.len())));
        }
        let number = |k: usize| f64::from_le_bytes(parameters[8 * k..8 * k + 8].try_into().expect("eight bytes"));
        let u32_at = |at: usize| super::container::u32_at(parameters, at);
        let (levels, classes) = (u32_at(56), usize::from(parameters[60]));
        let lengths = [u32_at(64) as usize, u32_at(68) as usize];
        let steps = [number(0), number(4), number(5), number(6)];
        if steps.iter().any(|s| !(s.is_finite() && *s > 0.0)) || (1..4).any(|k| !number(k).is_finite()) {
            return Err(wrong("QNTZ holds a step or origin that is not finite and positive".into()));
        }
        if levels == 0
            || levels > 65_535
            || classes >= MAX_CLASS
            || lengths.iter().any(|&l| l > 1 << 20)
            || parameters[61..64] != [0; 3]
        {
            return Err(wrong(format!("QNTZ with {levels} opacity levels, {classes} classes, tables of {lengths:?}")));
        }
        let mut tables = container.decode(entry, |reader, _| {
            [levels as usize + 1, classes, classes + 1, classes + 1, lengths[0], lengths[1]]
                .into_iter()
                .map(|length| read_ints(reader, length))
                .collect::<Result<Vec<_>>>()
        })?;
        let mut tables = tables.swap_remove(0).into_iter();
        let mut next = || tables.next().expect("six tables");
        let quantization = Self {
            position_step: steps[0],
            origin: [number(1), number(2), number(3)],
            rotation_step: steps[1],
            color_step: steps[2],
            sh_step: steps[3],
            opacity_levels: levels,
            opacity_logs: next(),
            opacity_thresholds: next(),
            class_thresholds: next(),
            zero_scale_logs: next(),
            scale_logs: [next(), next()],
            curves: None,
            scale_curve: (0.0, 0.0),
        };
        // |ln s| ≤ 64: anything else leaves the range of f32 when exponentiated
        let logs = quantization.zero_scale_logs.iter().chain(quantization.scale_logs.iter().flatten());
        if logs.into_iter().any(|&l| l.unsigned_abs() > 64 * LOG_UNIT as u32) {
            return Err(wrong("QNTZ holds a scale beyond e^±64".into()));
        }
        Ok(quantization)
    }
}

/// Importance of a canonical splat for a coarse first picture: logarithm of opacity times projected area.
pub(crate) fn importance(avatar: &Avatar, index: usize) -> f32 {
    let s = &avatar.splats.log_scales[index];
    s[0] + s[1] - (-avatar.splats.opacity_logits[index]).exp().ln_1p()
}
