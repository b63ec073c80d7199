//! Coordinate frames: three letters that say where +x, +y and +z point.

use std::{fmt, str::FromStr};

/// A direction as seen by the camera that looks at the subject: right, left, up, down, front (away from the viewer), back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Axis {
    Right,
    Left,
    Up,
    Down,
    Front,
    Back,
}

impl Axis {
    /// Index of the line (0 right-left, 1 up-down, 2 back-front) and the sign along it in the reference frame RUB.
    pub const fn in_rub(self) -> (usize, f64) {
        match self {
            Self::Right => (0, 1.0),
            Self::Left => (0, -1.0),
            Self::Up => (1, 1.0),
            Self::Down => (1, -1.0),
            Self::Back => (2, 1.0),
            Self::Front => (2, -1.0),
        }
    }

    const fn letter(self) -> char {
        match self {
            Self::Right => 'R',
            Self::Left => 'L',
            Self::Up => 'U',
            Self::Down => 'D',
            Self::Front => 'F',
            Self::Back => 'B',
        }
    }
}

/// Where +x, +y and +z point, such as `RDF` (x right, y down, z front: COLMAP and trained PLY files) or `RUB` (OpenGL).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Frame(pub [Axis; 3]);

impl Frame {
    /// x right, y down, z front: COLMAP, trained 3DGS PLY, SOG, `.splat`.
    pub const RDF: Self = Self([Axis::Right, Axis::Down, Axis::Front]);
    /// x right, y up, z back: OpenGL, three.js, SPZ by its specification.
    pub const RUB: Self = Self([Axis::Right, Axis::Up, Axis::Back]);
    /// x left, y up, z front: what SPZ and splat-transform take for the axes of glTF.
    pub const LUF: Self = Self([Axis::Left, Axis::Up, Axis::Front]);
    /// The axes of glTF and VRM, where the front of an asset faces +z and its left is +x (glTF 2.0, 3.4). "Left" and "front" are the
    /// subject's there; for the viewer who stands before it, x points right and z back, which is what our letters say.
    pub const GLTF: Self = Self::RUB;

    /// Rows of the signed permutation that takes coordinates in `from` to coordinates in `self`.
    pub fn from_frame(self, from: Self) -> [[f64; 3]; 3] {
        let mut matrix = [[0.0; 3]; 3];
        for (row, to_axis) in self.0.iter().enumerate() {
            for (column, from_axis) in from.0.iter().enumerate() {
                let ((to_line, to_sign), (from_line, from_sign)) = (to_axis.in_rub(), from_axis.in_rub());
                if to_line == from_line {
                    matrix[row][column] = to_sign * from_sign;
                }
            }
        }
        matrix
    }

    /// True when the frame is right-handed.
    pub fn is_right_handed(self) -> bool {
        let m = Self::RUB.from_frame(self);
        let det = m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
            + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0]);
        det > 0.0
    }

    /// The direction that "up" has in this frame, as a unit vector.
    pub fn up(self) -> [f64; 3] {
        let m = self.from_frame(Self::RUB);
        [m[0][1], m[1][1], m[2][1]]
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|axis| write!(f, "{}", axis.letter()))
    }
}

impl FromStr for Frame {
    type Err = crate::Error;

    fn from_str(text: &str) -> crate::Result<Self> {
        let bad = || {
            crate::Error::usage(format!(
                "`{text}` is no coordinate frame: three letters saying where +x, +y, +z point, one of R/L, one of U/D, one of F/B (for example RDF, RUB, LUF)"
            ))
        };
        let mut axes = Vec::with_capacity(3);
        for letter in text.chars() {
            axes.push(match letter.to_ascii_uppercase() {
                'R' => Axis::Right,
                'L' => Axis::Left,
                'U' => Axis::Up,
                'D' => Axis::Down,
                'F' => Axis::Front,
                'B' => Axis::Back,
                _ => return Err(bad()),
            });
        }
        let axes: [Axis; 3] = axes.try_into().map_err(|_| bad())?;
        let mut lines = axes.map(|axis| axis.in_rub().0);
        lines.sort_unstable();
        if lines != [0, 1, 2] {
            return Err(bad());
        }
        Ok(Self(axes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_frames_convert_by_the_published_signs() {
        assert_eq!(Frame::RUB.from_frame(Frame::RDF), [[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, -1.0]]);
        assert_eq!(Frame::LUF.from_frame(Frame::RDF), [[-1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]]);
        assert!(Frame::RDF.is_right_handed() && Frame::RUB.is_right_handed() && Frame::LUF.is_right_handed());
        assert!(!"LUB".parse::<Frame>().unwrap().is_right_handed());
        assert_eq!("rfu".parse::<Frame>().unwrap().up(), [0.0, 0.0, 1.0]);
    }

    #[test]
    fn letters_round_trip_and_nonsense_is_refused() {
        for text in ["RDF", "RUB", "LUF", "RFU", "BDL"] {
            assert_eq!(text.parse::<Frame>().unwrap().to_string(), text);
        }
        for text in ["", "RD", "RDFX", "RLU", "XYZ"] {
            assert!(text.parse::<Frame>().is_err(), "{text}");
        }
    }
}
