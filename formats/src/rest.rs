//! The splats as they are shown at rest, for formats that hold nothing but splats.

use crate::{Avatar, ColorSpace, Error, Frame, Result, RigBase, Splats};

impl Avatar {
    /// A copy of the splats in their rest pose with the axes of `frame`, in the order of the avatar.
    ///
    /// Triangle-bound splats take their stored rest pose. Splats with a centre that is not finite, or with NaN in any
    /// other attribute, cannot be drawn and are left out. Infinite log-scales and opacity logits stay.
    ///
    /// # Errors
    /// [`Error::Usage`] when a triangle-bound avatar has no stored rest pose, or when the colours are linear: no
    /// splat-only format records that, and the conversion is not exact for view-dependent colour.
    pub fn rest_splats(&self, frame: Frame) -> Result<Splats> {
        if self.color_space != ColorSpace::SrgbRec709 {
            return Err(Error::usage("this avatar has linear colours, which splat-only formats cannot record"));
        }
        let mut splats = self.splats.clone();
        if let RigBase::Triangle(_) = self.rig.base {
            let Some(rest) = &self.rest else {
                return Err(Error::usage(
                    "this avatar is bound to the triangles of a template and has no stored rest pose: its splats cannot be shown without the template",
                ));
            };
            splats.means.clone_from(&rest.means);
            splats.rotations.clone_from(&rest.rotations);
            splats.log_scales.clone_from(&rest.log_scales);
        }
        let width = splats.sh_rest_count() * 3;
        let drawable = |i: usize| {
            splats.means[i].iter().all(|v| v.is_finite())
                && !splats.rotations[i].iter().chain(&splats.log_scales[i]).chain(&splats.sh0[i]).any(|v| v.is_nan())
                && !splats.opacity_logits[i].is_nan()
                && !splats.sh_rest[i * width..][..width].iter().any(|v| v.is_nan())
        };
        let kept: Vec<u32> = (0..splats.len()).filter(|&i| drawable(i)).map(|i| i as u32).collect();
        if kept.len() < splats.len() {
            splats = splats.gather(&kept);
        }
        let mut avatar = Self::new(splats, self.frame);
        avatar.reframe(frame)?;
        Ok(avatar.splats)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RestPose, Rig, TriangleBinding, TriangleFrame};

    #[test]
    fn undrawable_splats_are_left_out_and_infinite_scales_stay() {
        let mut splats = Splats::with_len(5, 1);
        splats.means[0] = [1.0, 2.0, 3.0];
        splats.means[1][2] = f32::INFINITY;
        splats.log_scales[2] = [f32::NEG_INFINITY; 3];
        splats.rotations[3][0] = f32::NAN;
        splats.sh_rest[4 * 9 + 8] = f32::NAN;
        let rest = Avatar::new(splats, Frame::RDF).rest_splats(Frame::RUB).unwrap();
        assert_eq!(rest.means, [[1.0, -2.0, -3.0], [0.0, -0.0, -0.0]]);
        assert_eq!(rest.log_scales[1], [f32::NEG_INFINITY; 3]);
        rest.validate().unwrap();
    }

    #[test]
    fn triangle_bound_splats_need_their_rest_pose() {
        let mut avatar = Avatar::new(Splats::with_len(1, 0), Frame::RUB);
        avatar.rig = Rig {
            base: RigBase::Triangle(TriangleBinding {
                frame: TriangleFrame::GaussianAvatars,
                triangles: vec![0],
                barycentrics: None,
            }),
            ..Rig::default()
        };
        assert_eq!(avatar.rest_splats(Frame::RUB).unwrap_err().code(), "USAGE");
        avatar.rest = Some(RestPose {
            means: vec![[1.0; 3]],
            rotations: vec![[1.0, 0.0, 0.0, 0.0]],
            log_scales: vec![[-3.0; 3]],
        });
        assert_eq!(avatar.rest_splats(Frame::RUB).unwrap().means, [[1.0; 3]]);
    }
}
