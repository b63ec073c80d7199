//! SMPL-X: its parameters by name, hands as principal components, and the packed vectors in which data sets store them.

use gav_kernels::Real;

use super::{Body, Layout, Parameters, Rotation};
use crate::{Error, Result};

/// Joints of the left hand and of the right hand.
const HANDS: [usize; 2] = [25, 40];
/// Numbers of the pose of a hand: 15 joints.
pub const HAND: usize = 45;

/// Principal components of the poses of the left and the right hand.
#[derive(Debug, Clone, PartialEq)]
pub struct Hands<T> {
    /// Left, right: rows of 45, most important first.
    pub components: [Vec<T>; 2],
    /// Left, right: the mean pose, 45.
    pub means: [Vec<T>; 2],
}

/// Parameters of SMPL-X; rotations are axis-angle.
#[derive(Debug, Clone, PartialEq)]
pub struct SmplX<T> {
    /// Identity.
    pub betas: Vec<T>,
    /// Expression.
    pub expression: Vec<T>,
    /// Joint 0.
    pub global_orient: [T; 3],
    /// Joints 1 to 21.
    pub body_pose: Vec<[T; 3]>,
    /// Joint 22.
    pub jaw_pose: [T; 3],
    /// Joint 23.
    pub leye_pose: [T; 3],
    /// Joint 24.
    pub reye_pose: [T; 3],
    /// Joints 25 to 39: 45 numbers are axis-angle, fewer are coefficients of the first principal components.
    pub left_hand_pose: Vec<T>,
    /// Joints 40 to 54.
    pub right_hand_pose: Vec<T>,
    /// Added at the end, metres.
    pub transl: [T; 3],
    /// True leaves the mean hand away. `None` adds it to principal components and not to axis-angle poses.
    pub flat_hand_mean: Option<bool>,
}

impl<T: Real> Default for SmplX<T> {
    fn default() -> Self {
        let zero = [T::zero(); 3];
        Self {
            betas: Vec::new(),
            expression: Vec::new(),
            global_orient: zero,
            body_pose: vec![zero; 21],
            jaw_pose: zero,
            leye_pose: zero,
            reye_pose: zero,
            left_hand_pose: vec![T::zero(); HAND],
            right_hand_pose: vec![T::zero(); HAND],
            transl: zero,
            flat_hand_mean: None,
        }
    }
}

impl<T: Real> SmplX<T> {
    /// The canonical pose in which SIGMAN keeps its Gaussians: upright, a hand pose that cancels the mean, 0.35 m up.
    pub fn canonical() -> Self {
        let hand: Vec<T> = CANONICAL_HAND.iter().map(|v| T::of(*v)).collect();
        Self {
            left_hand_pose: hand.clone(),
            right_hand_pose: hand,
            transl: [0.0, ROOT_HEIGHT, 0.0].map(T::of),
            ..Self::default()
        }
    }

    /// Unpacks a vector of SIGMAN's data by its width:
    ///
    /// * 188: translation, orientation, betas 10, body 63, expression 10, hands 45 + 45, jaw, left eye, right eye. Translation and
    ///   orientation are replaced: the person stands upright, 0.35 m up.
    /// * 179: the same without jaw and eyes.
    /// * 175 (AMASS): orientation, body 63, hands 45 + 45, jaw, left eye, right eye, betas 10; 0.35 m up.
    /// * 123: scale (ignored), translation, orientation, body 63, betas 10, hands 12 + 12 principal components with the mean hand,
    ///   jaw, left eye, right eye, expression 10.
    ///
    /// # Errors
    /// Any other width.
    pub fn unpack(values: &[T]) -> Result<Self> {
        let up = [0.0, ROOT_HEIGHT, 0.0].map(T::of);
        let mut from = Reader(values);
        let mut out = Self::default();
        match values.len() {
            188 | 179 => {
                from.take(6);
                out.betas = from.take(10);
                out.body_pose = from.triples(21);
                out.expression = from.take(10);
                (out.left_hand_pose, out.right_hand_pose) = (from.take(HAND), from.take(HAND));
                if values.len() == 188 {
                    out.set_face(&mut from);
                }
                out.transl = up;
            }
            175 => {
                out.global_orient = from.triple();
                out.body_pose = from.triples(21);
                (out.left_hand_pose, out.right_hand_pose) = (from.take(HAND), from.take(HAND));
                out.set_face(&mut from);
                out.betas = from.take(10);
                out.transl = up;
            }
            123 => {
                from.take(1);
                out.transl = from.triple();
                out.global_orient = from.triple();
                out.body_pose = from.triples(21);
                out.betas = from.take(10);
                (out.left_hand_pose, out.right_hand_pose) = (from.take(12), from.take(12));
                out.set_face(&mut from);
                out.expression = from.take(10);
            }
            width => {
                let text = format!("a vector of {width} SMPL-X parameters; known are 188, 179, 175 and 123");
                return Err(Error::usage(text));
            }
        }
        Ok(out)
    }

    fn set_face(&mut self, from: &mut Reader<'_, T>) {
        (self.jaw_pose, self.leye_pose, self.reye_pose) = (from.triple(), from.triple(), from.triple());
    }

    fn hands(&self) -> [&Vec<T>; 2] {
        [&self.left_hand_pose, &self.right_hand_pose]
    }

    /// True when the mean is added to a hand of so many numbers.
    fn adds_mean(&self, numbers: usize) -> bool {
        !self.flat_hand_mean.unwrap_or(numbers == HAND)
    }
}

/// Coefficients of the hands in [`SmplX::canonical`].
const CANONICAL_HAND: [f64; 12] =
    [1.4624, -0.1615, 0.1361, 1.3851, -0.2597, 0.0247, -0.0683, -0.4478, -0.6652, -0.7290, 0.0084, -0.4818];
/// Height of the root in SIGMAN's frame, metres.
const ROOT_HEIGHT: f64 = 0.35;

/// Takes values from the front.
struct Reader<'a, T>(&'a [T]);

impl<T: Real> Reader<'_, T> {
    fn take(&mut self, count: usize) -> Vec<T> {
        let (head, tail) = self.0.split_at(count);
        self.0 = tail;
        head.to_vec()
    }

    fn triples(&mut self, count: usize) -> Vec<[T; 3]> {
        self.take(3 * count).as_chunks().0.to_vec()
    }

    fn triple(&mut self) -> [T; 3] {
        self.triples(1)[0]
    }
}

impl<T: Real> Body<T> {
    /// Parameters of this body from those of SMPL-X.
    ///
    /// # Errors
    /// When the body has other joints, a hand has more than 45 numbers, or principal components or a mean are asked for and the
    /// template has none.
    pub fn smplx(&self, values: &SmplX<T>) -> Result<Parameters<T>> {
        if self.layout() != Layout::SmplX {
            return Err(Error::usage(format!("SMPL-X has 55 joints, this body has {}", self.joint_count())));
        }
        if values.body_pose.len() != 21 {
            return Err(Error::usage(format!("21 rotations of the body expected, not {}", values.body_pose.len())));
        }
        let head = [values.jaw_pose, values.leye_pose, values.reye_pose];
        let mut pose: Vec<[T; 3]> = vec![values.global_orient];
        pose.extend(values.body_pose.iter().chain(&head));
        for (side, numbers) in values.hands().into_iter().enumerate() {
            pose.extend(self.hand(side, numbers, values.adds_mean(numbers.len()))?.as_chunks::<3>().0);
        }
        Ok(Parameters {
            shape: values.betas.clone(),
            expression: values.expression.clone(),
            rotations: pose.into_iter().map(Rotation::AxisAngle).collect(),
            translation: values.transl,
            ..Parameters::default()
        })
    }

    /// The axis-angle pose of a hand.
    fn hand(&self, side: usize, numbers: &[T], add_mean: bool) -> Result<Vec<T>> {
        let missing = || Error::usage("this template has no principal components of hands");
        let mut pose = if numbers.len() == HAND {
            numbers.to_vec()
        } else {
            let components = &self.hands().ok_or_else(missing)?.components[side];
            if numbers.len() > components.len() / HAND {
                let (found, room) = (numbers.len(), components.len() / HAND);
                return Err(Error::usage(format!("{found} numbers for a hand, which has {room} components")));
            }
            let mut pose = vec![T::zero(); HAND];
            for (number, row) in numbers.iter().zip(components.chunks_exact(HAND)) {
                for (sum, component) in pose.iter_mut().zip(row) {
                    *sum += *number * *component;
                }
            }
            pose
        };
        if add_mean {
            let mean = &self.hands().ok_or_else(missing)?.means[side];
            pose.iter_mut().zip(mean).for_each(|(p, m)| *p += *m);
        }
        Ok(pose)
    }

    /// The gradient with respect to the parameters of SMPL-X, from that of [`Body::backward`] for [`Body::smplx`] of the same values.
    pub fn smplx_gradient(&self, values: &SmplX<T>, gradient: &Parameters<T>) -> SmplX<T> {
        let turn = |joint: usize| match gradient.rotations.get(joint) {
            Some(Rotation::AxisAngle(g)) => *g,
            _ => [T::zero(); 3],
        };
        let [left_hand_pose, right_hand_pose] = [0, 1].map(|side| {
            let numbers = values.hands()[side].len();
            let pose: Vec<T> = (HANDS[side]..HANDS[side] + 15).flat_map(turn).collect();
            match self.hands() {
                Some(hands) if numbers != HAND => hands.components[side]
                    .chunks_exact(HAND)
                    .take(numbers)
                    .map(|row| row.iter().zip(&pose).map(|(c, g)| *c * *g).sum())
                    .collect(),
                _ => pose,
            }
        });
        SmplX {
            betas: gradient.shape.clone(),
            expression: gradient.expression.clone(),
            global_orient: turn(0),
            body_pose: (1..22).map(turn).collect(),
            jaw_pose: turn(22),
            leye_pose: turn(23),
            reye_pose: turn(24),
            left_hand_pose,
            right_hand_pose,
            transl: gradient.translation,
            flat_hand_mean: values.flat_hand_mean,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_vectors_are_taken_apart_by_width() {
        let counting = |width: usize| (0..width).map(|v| v as f64).collect::<Vec<_>>();
        let full = SmplX::unpack(&counting(188)).unwrap();
        assert_eq!((full.betas[0], full.body_pose[0][0], full.expression[0]), (6.0, 16.0, 79.0));
        assert_eq!((full.left_hand_pose[0], full.right_hand_pose[0]), (89.0, 134.0));
        assert_eq!((full.jaw_pose[0], full.leye_pose[0], full.reye_pose), (179.0, 182.0, [185.0, 186.0, 187.0]));
        assert_eq!((full.global_orient, full.transl), ([0.0; 3], [0.0, 0.35, 0.0]));
        let short = SmplX::unpack(&counting(179)).unwrap();
        assert_eq!((short.right_hand_pose[44], short.jaw_pose), (178.0, [0.0; 3]));
        let amass = SmplX::unpack(&counting(175)).unwrap();
        assert_eq!((amass.global_orient[0], amass.body_pose[0][0], amass.left_hand_pose[0]), (0.0, 3.0, 66.0));
        assert_eq!((amass.jaw_pose[0], amass.betas[0], amass.transl[1]), (156.0, 165.0, 0.35));
        let packed = SmplX::unpack(&counting(123)).unwrap();
        assert_eq!((packed.transl[0], packed.global_orient[0], packed.body_pose[0][0]), (1.0, 4.0, 7.0));
        assert_eq!((packed.betas[0], packed.left_hand_pose.len(), packed.left_hand_pose[0]), (70.0, 12, 80.0));
        assert_eq!((packed.right_hand_pose[0], packed.jaw_pose[0], packed.expression[9]), (92.0, 104.0, 122.0));
        assert!(packed.adds_mean(12) && !full.adds_mean(45));
        assert!(SmplX::unpack(&counting(72)).unwrap_err().to_string().contains("72"));
    }
}
