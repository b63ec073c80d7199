//! The number type of rig and body arithmetic: `f64` is the reference, `f32` is what runs.

use num_traits::{Float, FromPrimitive, NumAssign};

/// `f32` or `f64`.
pub trait Real:
    Float + FromPrimitive + NumAssign + std::iter::Sum + std::fmt::Debug + Default + Send + Sync + 'static
{
    /// The constant `value`, rounded to this type.
    fn of(value: f64) -> Self;
    /// The value in `f64`, exact.
    fn wide(self) -> f64;
}

impl Real for f32 {
    fn of(value: f64) -> Self {
        value as Self
    }

    fn wide(self) -> f64 {
        f64::from(self)
    }
}

impl Real for f64 {
    fn of(value: f64) -> Self {
        value
    }

    fn wide(self) -> f64 {
        self
    }
}
