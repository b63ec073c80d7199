//! SMPL as AG3D labels its pictures with.

use gav_kernels::Real;

use super::{Parameters, Posed, Rotation};
use crate::{Error, Result};

/// Vertices that AG3D counts as joints 24 to 28: nose, right eye, left eye, right ear, left ear.
pub const FACE_VERTICES: [usize; 5] = [332, 6260, 2800, 4071, 583];

/// Takes the body out of a label: scale, translation, orientation, 23 rotations, 10 betas (the numbers from the 26th on of the 111,
/// which hold a camera before).
///
/// # Errors
/// Another length than 86, and a scale that differs from 1 by more than 10⁻³: the published code applies it to the vertices but not to
/// the translation of the joint transforms, so that skinned points would leave the body.
pub fn from_label<T: Real>(values: &[T]) -> Result<Parameters<T>> {
    if values.len() != 86 {
        return Err(Error::usage(format!("a label of {} numbers of the body, 86 expected", values.len())));
    }
    let scale = values[0].wide();
    if (scale - 1.0).abs() > 1e-3 || scale.is_nan() {
        return Err(Error::usage(format!("a label with the scale {scale}: only 1 is consistent")));
    }
    Ok(Parameters {
        shape: values[76..].to_vec(),
        rotations: values[4..76].as_chunks().0.iter().map(|r| Rotation::AxisAngle(*r)).collect(),
        translation: [values[1], values[2], values[3]],
        ..Parameters::default()
    })
}

impl<T: Real> Posed<T> {
    /// Scales as the published code of AG3D does: vertices and joints as a whole, of the joint transforms only the 3 × 3 part. For
    /// comparison with that code alone; the results do not fit together unless `scale` is 1.
    pub fn scale_like_ag3d(&mut self, scale: T) {
        for value in self.vertices.iter_mut().chain(&mut self.joints).flatten() {
            *value *= scale;
        }
        for row in self.transforms.iter_mut().flatten() {
            row[..3].iter_mut().for_each(|v| *v *= scale);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_taken_apart_and_scales_refused() {
        let mut label: Vec<f64> = (0..86).map(f64::from).collect();
        let text = from_label(&label).unwrap_err().to_string();
        assert!(text.contains("scale 0"), "{text}");
        label[0] = 1.0;
        let body = from_label(&label).unwrap();
        assert_eq!((body.translation, body.shape[0], body.shape.len()), ([1.0, 2.0, 3.0], 76.0, 10));
        assert_eq!((body.rotations.len(), body.rotations[1]), (24, Rotation::AxisAngle([7.0, 8.0, 9.0])));
        assert!(from_label(&label[1..]).unwrap_err().to_string().contains("85"));
    }
}
