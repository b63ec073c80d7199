//! What can be done to an avatar between reading and writing.

use clap::Args;
use gav_formats::{
    Avatar, Error, Result, RigBase,
    conventions::{IDENTITY_QUATERNION, matrix_from_quaternion, normalize_quaternion, opacity_from_logit},
};

/// Opacities below this round to zero in 8 bits: renderers skip such splats.
const VISIBLE_OPACITY: f32 = 1.0 / 255.0;
/// An axis with a log-scale below this has no extent that f32 positions could resolve.
const DEGENERATE_LOG_SCALE: f32 = -20.0;

/// Edits, applied in a fixed order; the defaults change nothing.
#[derive(Args, Debug, Clone, Default, PartialEq)]
#[command(next_help_heading = "Editing")]
pub(crate) struct EditArguments {
    /// Drop the rig and its motion; the splats stay as they are at rest
    #[arg(long = "static")]
    pub make_static: bool,
    /// Keep the splats whose centre lies in this box
    #[arg(long, value_name = "X0,Y0,Z0,X1,Y1,Z1", value_parser = parse_box, allow_hyphen_values = true)]
    pub crop_box: Option<[f64; 6]>,
    /// Keep the splats whose centre lies in this ball
    #[arg(long, value_name = "X,Y,Z,R", value_parser = parse_sphere, allow_hyphen_values = true)]
    pub crop_sphere: Option<[f64; 4]>,
    /// Drop splats that are NaN or infinite, cannot be seen (opacity below 1/255) or have no extent
    #[arg(long)]
    pub prune: bool,
    /// Drop splats with an opacity below this, 0 to 1
    #[arg(long, value_name = "OPACITY", value_parser = parse_opacity)]
    pub min_opacity: Option<f32>,
    /// Multiply all lengths
    #[arg(long, value_name = "FACTOR", value_parser = positive)]
    pub scale: Option<f64>,
    /// Turn about the origin: AXIS:DEGREES with the axis x, y, z or X,Y,Z; or a quaternion W,X,Y,Z
    #[arg(long, value_name = "TURN", value_parser = parse_rotation, allow_hyphen_values = true)]
    pub rotate: Option<Turn>,
    /// Move by this vector, after --scale and --rotate
    #[arg(long, value_name = "X,Y,Z", value_parser = numbers::<3>, allow_hyphen_values = true)]
    pub translate: Option<[f64; 3]>,
    /// Keep joints that move no splat; lossy .gav files leave them out
    #[arg(long)]
    pub keep_joints: bool,
    /// Reduce the SH degree to this, or pad with zeros up to it
    #[arg(long, value_name = "DEGREE", value_parser = clap::value_parser!(u8).range(0..=4))]
    pub sh: Option<u8>,
}

/// A rotation as a unit quaternion w, x, y, z.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Turn([f64; 4]);

impl EditArguments {
    /// Applies the edits.
    ///
    /// # Errors
    /// [`Error::Usage`] when the avatar does not allow one, or when no splat is left.
    pub(crate) fn apply(&self, avatar: &mut Avatar) -> Result<()> {
        if self.make_static {
            avatar.make_static()?;
        }
        let before = avatar.splats.len();
        if self.selects() {
            let keep = self.selection(avatar)?;
            avatar.retain(|i| keep[i]);
        }
        if before > 0 && avatar.splats.is_empty() {
            return Err(Error::usage(format!("none of its {before} splats is left after the edits")));
        }
        if self.scale.is_some() || self.rotate.is_some() || self.translate.is_some() {
            let turn = self.rotate.map_or(IDENTITY_QUATERNION, |turn| turn.0);
            let translation = self.translate.unwrap_or_default();
            avatar.transform(&matrix_from_quaternion(turn), self.scale.unwrap_or(1.0), translation)?;
        }
        if let Some(degree) = self.sh {
            avatar.splats.set_sh_degree(degree);
        }
        Ok(())
    }

    fn selects(&self) -> bool {
        self.crop_box.is_some() || self.crop_sphere.is_some() || self.prune || self.min_opacity.is_some()
    }

    /// Which splats stay.
    fn selection(&self, avatar: &Avatar) -> Result<Vec<bool>> {
        let means = world_means(avatar);
        if means.is_none() && (self.crop_box.is_some() || self.crop_sphere.is_some()) {
            return Err(Error::usage(
                "cannot crop: the splats are bound to a template's triangles and no rest pose is stored",
            ));
        }
        let inside = |i: usize| {
            let Some(mean) = means.map(|m| m[i].map(f64::from)) else { return true };
            let in_box = |b: &[f64; 6]| (0..3).all(|k| (b[k]..=b[k + 3]).contains(&mean[k]));
            let in_ball = |s: &[f64; 4]| (0..3).map(|k| (mean[k] - s[k]).powi(2)).sum::<f64>() <= s[3] * s[3];
            self.crop_box.as_ref().is_none_or(in_box) && self.crop_sphere.as_ref().is_none_or(in_ball)
        };
        let least = self.min_opacity.unwrap_or(0.0).max(if self.prune { VISIBLE_OPACITY } else { 0.0 });
        Ok((0..avatar.splats.len())
            .map(|i| inside(i) && (least == 0.0 || opacity(avatar, i) >= least) && (!self.prune || is_sound(avatar, i)))
            .collect())
    }
}

/// Centres in world space at rest; `None` when they are local to a template that is not there.
fn world_means(avatar: &Avatar) -> Option<&[[f32; 3]]> {
    match (&avatar.rig.base, &avatar.rest) {
        (RigBase::Triangle(_), Some(rest)) => Some(&rest.means),
        (RigBase::Triangle(_), None) => None,
        _ => Some(&avatar.splats.means),
    }
}

/// Opacity of a splat, the largest over time where it changes; NaN stays NaN and passes no threshold.
fn opacity(avatar: &Avatar, index: usize) -> f32 {
    let logit = match &avatar.rig.base {
        RigBase::Frames(frames) => frames
            .opacity_logits
            .as_ref()
            .and_then(|logits| logits.iter().skip(index).step_by(avatar.splats.len()).copied().reduce(f32::max)),
        _ => None,
    };
    opacity_from_logit(logit.unwrap_or(avatar.splats.opacity_logits[index]))
}

/// False for splats with NaN or infinite values, and for those without orientation or extent.
fn is_sound(avatar: &Avatar, index: usize) -> bool {
    let splats = &avatar.splats;
    let width = splats.sh_rest_count() * 3;
    let (rotation, scales) = (&splats.rotations[index], &splats.log_scales[index]);
    let finite = |values: &[f32]| values.iter().all(|v| v.is_finite());
    let rest = avatar
        .rest
        .as_ref()
        .is_none_or(|r| finite(&r.means[index]) && finite(&r.rotations[index]) && finite(&r.log_scales[index]));
    rest && finite(&splats.means[index])
        && finite(rotation)
        && finite(&splats.sh0[index])
        && finite(&splats.sh_rest[index * width..][..width])
        // −∞ is a flat axis and +∞ an opaque splat: both can be drawn
        && !splats.opacity_logits[index].is_nan()
        && scales.iter().all(|s| *s < f32::INFINITY)
        && scales.iter().any(|s| *s > DEGENERATE_LOG_SCALE)
        && rotation.iter().any(|v| *v != 0.0)
}

/// `N` finite numbers separated by commas.
pub(crate) fn numbers<const N: usize>(text: &str) -> Result<[f64; N], String> {
    let values: Option<Vec<f64>> =
        text.split(',').map(|part| part.trim().parse().ok().filter(|v: &f64| v.is_finite())).collect();
    let values = values.ok_or_else(|| format!("{N} numbers separated by commas expected"))?;
    let count = values.len();
    values.try_into().map_err(|_| format!("{N} numbers separated by commas expected, {count} given"))
}

/// A finite number above zero.
pub(crate) fn positive(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|v: &f64| v.is_finite() && *v > 0.0).ok_or_else(|| "a number above 0 expected".to_owned())
}

fn parse_opacity(text: &str) -> Result<f32, String> {
    text.parse().ok().filter(|v| (0.0..=1.0).contains(v)).ok_or_else(|| "a number from 0 to 1 expected".to_owned())
}

fn parse_box(text: &str) -> Result<[f64; 6], String> {
    let b = numbers::<6>(text)?;
    let ordered = (0..3).all(|k| b[k] <= b[k + 3]);
    if ordered { Ok(b) } else { Err("the first corner must be the smaller one on every axis".to_owned()) }
}

fn parse_sphere(text: &str) -> Result<[f64; 4], String> {
    let s = numbers::<4>(text)?;
    if s[3] > 0.0 { Ok(s) } else { Err("the radius must be above 0".to_owned()) }
}

fn parse_rotation(text: &str) -> Result<Turn, String> {
    let Some((axis, degrees)) = text.split_once(':') else {
        let q = numbers::<4>(text)
            .map_err(|_| "AXIS:DEGREES such as y:90 or 0,1,0:90, or a quaternion W,X,Y,Z expected".to_owned())?;
        let length = q.iter().map(|v| v * v).sum::<f64>().sqrt();
        if length < 1e-6 {
            return Err("the quaternion has length 0".to_owned());
        }
        return Ok(Turn(normalize_quaternion(q)));
    };
    let axis = match axis.to_ascii_lowercase().as_str() {
        "x" => [1.0, 0.0, 0.0],
        "y" => [0.0, 1.0, 0.0],
        "z" => [0.0, 0.0, 1.0],
        other => numbers::<3>(other)?,
    };
    let length = axis.iter().map(|v| v * v).sum::<f64>().sqrt();
    let degrees: f64 =
        degrees.trim().parse().ok().filter(|v: &f64| v.is_finite()).ok_or("degrees expected after `:`")?;
    if length < 1e-6 {
        return Err("the axis has length 0".to_owned());
    }
    let (sin, cos) = (0.5 * degrees.to_radians()).sin_cos();
    Ok(Turn([cos, axis[0] / length * sin, axis[1] / length * sin, axis[2] / length * sin]))
}

#[cfg(test)]
mod tests {
    use gav_formats::{Frame, Splats};

    use super::*;

    fn line(count: usize) -> Avatar {
        let mut splats = Splats::with_len(count, 2);
        splats.log_scales.fill([-3.0; 3]);
        for (i, mean) in splats.means.iter_mut().enumerate() {
            *mean = [i as f32, 0.0, 0.0];
        }
        Avatar::new(splats, Frame::RUB)
    }

    #[test]
    fn crops_keep_what_is_inside() {
        let mut avatar = line(10);
        let edits = EditArguments { crop_box: Some([2.0, -1.0, -1.0, 5.0, 1.0, 1.0]), ..Default::default() };
        edits.apply(&mut avatar).unwrap();
        assert_eq!(avatar.splats.means.iter().map(|m| m[0]).collect::<Vec<_>>(), [2.0, 3.0, 4.0, 5.0]);
        let edits = EditArguments { crop_sphere: Some([2.0, 0.0, 0.0, 1.0]), ..Default::default() };
        edits.apply(&mut avatar).unwrap();
        assert_eq!(avatar.splats.len(), 2);
        let edits = EditArguments { crop_sphere: Some([99.0, 0.0, 0.0, 1.0]), ..Default::default() };
        assert!(edits.apply(&mut avatar).unwrap_err().to_string().contains("none of its 2 splats"));
    }

    #[test]
    fn pruning_drops_what_cannot_be_drawn() {
        let mut avatar = line(8);
        let splats = &mut avatar.splats;
        splats.means[0][2] = f32::NAN;
        splats.opacity_logits[1] = -9.0;
        splats.opacity_logits[2] = f32::INFINITY;
        splats.log_scales[3] = [f32::NEG_INFINITY; 3];
        splats.log_scales[4][2] = f32::NEG_INFINITY;
        splats.rotations[5] = [0.0; 4];
        splats.sh_rest[6 * 24 + 23] = f32::INFINITY;
        EditArguments { prune: true, ..Default::default() }.apply(&mut avatar).unwrap();
        assert_eq!(avatar.splats.means.iter().map(|m| m[0]).collect::<Vec<_>>(), [2.0, 4.0, 7.0]);
    }

    #[test]
    fn turning_and_moving_follow_the_right_hand() {
        let mut avatar = line(2);
        let edits = EditArguments {
            rotate: Some(parse_rotation("z:90").unwrap()),
            scale: Some(2.0),
            translate: Some([0.0, 0.0, 1.0]),
            sh: Some(1),
            ..Default::default()
        };
        edits.apply(&mut avatar).unwrap();
        let mean = avatar.splats.means[1];
        assert!(mean.iter().zip([0.0, 2.0, 1.0]).all(|(a, b)| (a - b).abs() < 1e-6), "{mean:?}");
        assert!((avatar.splats.log_scales[0][0] - (2f32.ln() - 3.0)).abs() < 1e-6);
        assert_eq!((avatar.splats.sh_degree, avatar.splats.sh_rest.len()), (1, 18));
    }

    #[test]
    fn arguments_are_understood_or_refused_with_a_reason() {
        assert_eq!(parse_rotation("0,0,2:180").unwrap(), parse_rotation("z:180").unwrap());
        assert_eq!(parse_rotation("2,0,0,0").unwrap(), Turn([1.0, 0.0, 0.0, 0.0]));
        for text in ["", "y", "y:", "w:1", "0,0,0:5", "0,0,0,0", "1,2", "y:nan"] {
            assert!(parse_rotation(text).is_err(), "{text}");
        }
        assert!(parse_box("0,0,0,1,1,1").is_ok() && parse_box("0,0,0,-1,1,1").is_err() && parse_box("1").is_err());
        assert!(parse_sphere("0,0,0,0").is_err() && positive("-1").is_err() && parse_opacity("1.5").is_err());
    }
}
