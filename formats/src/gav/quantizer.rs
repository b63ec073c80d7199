//! Uniform quantisers with an f64 step that is part of the file (`spec/gav.md` 5.4).

/// Spacing of representable values; value = code · step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Step(pub f64);

impl Step {
    /// A step that is positive and finite.
    pub fn new(step: f64) -> Option<Self> {
        (step.is_finite() && step > 0.0).then_some(Self(step))
    }

    /// Nearest code, ties to even; saturates far outside any sensible range, NaN becomes 0.
    pub fn quantize(self, value: f32) -> i32 {
        (f64::from(value) / self.0).round_ties_even() as i32
    }

    /// The value of a code, rounded to f32 once.
    pub fn value(self, code: i32) -> f32 {
        (f64::from(code) * self.0) as f32
    }
}
