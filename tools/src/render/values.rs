//! Values of the command line.

use std::str::FromStr;

use gav_formats::{
    RenderModel,
    cameras::{CameraAxes, PrincipalPoint},
};

/// Largest side of a picture: that of WebP; more would be memory by mistake.
const MAX_SIDE: u32 = 16_383;
/// Smallest depth drawn from cameras around a subject, as a share of its size.
pub(crate) const NEAR: f64 = 0.01;

/// Size of pictures in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    /// Width and height.
    Exactly([u32; 2]),
    /// The longer side; of a square when nothing else says the shape.
    Longest(u32),
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let side = |part: &str| {
            let value = part.parse().ok().filter(|v| (1..=MAX_SIDE).contains(v));
            value.ok_or_else(|| format!("WIDTHxHEIGHT or one number expected, 1 to {MAX_SIDE} pixels"))
        };
        match text.split_once(['x', 'X', '×']) {
            Some((width, height)) => Ok(Self::Exactly([side(width)?, side(height)?])),
            None => Ok(Self::Longest(side(text)?)),
        }
    }
}

/// What is behind the splats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Background {
    /// Display colour, 0 to 1.
    Color([f32; 3]),
    /// Nothing.
    Transparent,
}

impl FromStr for Background {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix('#').unwrap_or(text);
        match text {
            "white" => Ok(Self::Color([1.0; 3])),
            "black" => Ok(Self::Color([0.0; 3])),
            "transparent" => Ok(Self::Transparent),
            _ if digits.len() == 6 && digits.bytes().all(|b| b.is_ascii_hexdigit()) => {
                let channel = |c: usize| u8::from_str_radix(&digits[2 * c..2 * c + 2], 16).map_or(0.0, f32::from);
                Ok(Self::Color(std::array::from_fn(|c| channel(c) / 255.0)))
            }
            _ => Err("white, black, transparent or six hexadecimal digits expected".to_owned()),
        }
    }
}

pub(super) fn finite(text: &str) -> Result<f64, String> {
    text.trim().parse().ok().filter(|v: &f64| v.is_finite()).ok_or_else(|| "a number expected".to_owned())
}

fn between(text: &str, low: f64, high: f64) -> Result<f64, String> {
    let value = finite(text)?;
    if (low..=high).contains(&value) { Ok(value) } else { Err(format!("{low} to {high} expected")) }
}

pub(super) fn elevation(text: &str) -> Result<f64, String> {
    between(text, -90.0, 90.0)
}

pub(super) fn field_of_view(text: &str) -> Result<f64, String> {
    between(text, 0.1, 170.0)
}

pub(crate) fn rate(text: &str) -> Result<f64, String> {
    between(text, 0.1, 240.0)
}

fn one_of<T: Copy>(text: &str, names: &[(&str, T)]) -> Result<T, String> {
    let known = || names.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    names.iter().find(|(name, _)| *name == text).map(|(_, value)| *value).ok_or_else(|| format!("one of {}", known()))
}

pub(crate) fn camera_axes(text: &str) -> Result<CameraAxes, String> {
    one_of(text, &[("opengl", CameraAxes::OpenGl), ("opencv", CameraAxes::OpenCv)])
}

pub(crate) fn principal_point(text: &str) -> Result<PrincipalPoint, String> {
    let names =
        [("file", PrincipalPoint::File), ("center", PrincipalPoint::Center), ("flipped", PrincipalPoint::FlippedY)];
    one_of(text, &names)
}

pub(super) fn render_model(text: &str) -> Result<RenderModel, String> {
    one_of(text, &[("classic", RenderModel::Classic), ("antialiased", RenderModel::Antialiased)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_colours() {
        assert_eq!("640x480".parse(), Ok(Size::Exactly([640, 480])));
        assert_eq!("512".parse(), Ok(Size::Longest(512)));
        for text in ["", "0", "x", "640x", "640x480x3", "-1", "99999", "1e3"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
        assert_eq!("ff8000".parse(), Ok(Background::Color([1.0, 128.0 / 255.0, 0.0])));
        assert_eq!("#000000".parse(), Ok(Background::Color([0.0; 3])));
        for text in ["", "red", "12345", "+1+1+1", "ääfff"] {
            assert!(text.parse::<Background>().is_err(), "{text}");
        }
    }
}
