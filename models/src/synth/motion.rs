//! A performance: expressions that come and go, one at a time and mixed, speech, glances, blinks, a head that turns.

use std::f64::consts::TAU;

use gav_formats::synthetic::{Random, head::shape::smoothstep};

/// Tracked parameters of one time step; angles are axis-angle vectors in radians, the translation is in metres.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Moment {
    /// A coefficient for each expression, 0 at rest, 1 at full strength.
    pub expression: Vec<f32>,
    /// Of the whole head about its root.
    pub rotation: [f32; 3],
    /// Of the head against the trunk.
    pub neck: [f32; 3],
    /// Of the jaw; +x opens it.
    pub jaw: [f32; 3],
    /// Of the left and the right eye.
    pub eyes: [f32; 6],
    /// Added at the end.
    pub translation: [f32; 3],
}

/// Turn of the jaw at full opening, radians.
const JAW: f64 = 0.30;
/// Expressions by the beginning of their names; `jaw` opens the mouth.
type Event = &'static [(&'static str, f64)];

/// What the training time steps show.
const TRAINING: [Event; 22] = [
    &[("mouthSmile", 1.0), ("eyeSquint", 0.3)],
    &[("browInnerUp", 0.9), ("browOuterUp", 0.9)],
    &[("jaw", 0.8)],
    &[("browDown", 1.0)],
    &[("mouthPucker", 1.0)],
    &[("eyeSquint", 1.0)],
    &[("cheekPuff", 1.0), ("mouthPress", 0.4)],
    &[("noseSneer", 1.0), ("mouthUpperUp", 0.4)],
    &[("mouthStretch", 1.0)],
    &[("mouthFrown", 1.0)],
    &[("mouthSmile", 0.8), ("jaw", 0.65), ("eyeSquint", 0.5)],
    &[("mouthLowerDown", 0.9), ("jaw", 0.25)],
    &[("mouthSmile_L", 1.0)],
    &[("mouthPress", 1.0)],
    &[("browOuterUp", 1.0), ("eyeWide", 1.0)],
    &[("mouthUpperUp", 1.0), ("jaw", 0.2)],
    &[("mouthSmile_R", 0.9)],
    &[("jawLeft", 0.9), ("jaw", 0.25)],
    &[("mouthPucker", 0.7), ("jaw", 0.45)],
    &[("mouthLeft", 1.0)],
    &[("browDown", 0.9), ("noseSneer", 0.6)],
    &[("jawForward", 0.9)],
];

/// What the test time steps show: mixtures that training does not.
const TEST: [Event; 8] = [
    &[("mouthSmile", 1.0), ("browInnerUp", 0.9), ("browOuterUp", 0.9)],
    &[("jaw", 1.0), ("browOuterUp", 0.9), ("eyeWide", 0.8)],
    &[("mouthSmile_L", 1.0), ("browDown", 0.7), ("eyeBlink_L", 0.9)],
    &[("mouthPucker", 0.9), ("browInnerUp", 0.9)],
    &[("mouthFrown", 0.9), ("browDown", 0.9), ("eyeSquint", 0.6)],
    &[("mouthSmile", 0.7), ("noseSneer", 0.5), ("jaw", 0.4), ("eyeSquint", 0.8)],
    &[("mouthStretch", 0.9), ("jaw", 0.75)],
    &[("cheekPuff", 0.8), ("browInnerUp", 0.8), ("mouthLeft", 0.5)],
];

/// The whole performance: `training` time steps that begin at rest, then `test` ones. `names` are the expressions of the subject; where it
/// has no joints for jaw and eyes, expressions of ARKit's names (`jawOpen`, `eyeLook…`) take their place.
pub(super) fn performance(names: &[String], training: usize, test: usize, seed: u64) -> Vec<Moment> {
    let mut random = Random::new(seed.wrapping_add(9_001));
    let phases: [f64; 8] = std::array::from_fn(|_| random.unit());
    (0..training + test).map(|step| moment(names, step, training, test, &phases)).collect()
}

/// A hill of the height 1 and the half width 1.
fn hill(x: f64) -> f64 {
    smoothstep(1.0, 0.0, x.abs())
}

fn moment(names: &[String], step: usize, training: usize, test: usize, phases: &[f64; 8]) -> Moment {
    let mut values = vec![0.0f64; names.len()];
    let mut jaw = 0.0;
    // a capture begins at rest and is under way after a few time steps
    let ramp = (step as f64 / (training as f64 / 4.0).clamp(1.0, 3.0)).min(1.0);
    let (events, at): (&[Event], f64) = match step.checked_sub(training) {
        None => (&TRAINING, step as f64 / training.max(1) as f64),
        Some(step) => (&TEST, (step as f64 + 0.5) / test.max(1) as f64),
    };
    let mut set = |prefix: &str, value: f64| {
        let named = names.iter().zip(&mut values).filter(|(name, _)| name.starts_with(prefix));
        named.for_each(|(_, to)| *to = f64::max(*to, value));
    };
    for (k, event) in events.iter().enumerate() {
        let center = (k as f64 + 0.6) / events.len() as f64;
        let strength = ramp * hill(0.75 * (at - center) * events.len() as f64);
        for (prefix, value) in event.iter().filter(|_| strength > 0.0) {
            if *prefix == "jaw" { jaw = f64::max(jaw, value * strength) } else { set(prefix, value * strength) }
        }
    }
    // time in seconds at 24 pictures a second, from where everything smooth comes
    let time = step as f64 / 24.0;
    let wave = |rate: f64, k: usize| (TAU * (rate * time + phases[k])).sin() - (TAU * phases[k]).sin() * (1.0 - ramp);
    let spoken = (TAU * 1.9 * time).sin().max(0.0) * (TAU * (0.23 * time + phases[0])).sin().max(0.0);
    jaw = f64::max(jaw, 0.28 * ramp * spoken);
    // a blink takes a fifth of a second and comes about once a second
    let blink = hill(((time + 0.35).rem_euclid(1.15) - 0.75) / 0.11) * ramp;
    set("eyeBlink", blink);

    let turn = |size: f64, rate: f64, k: usize| ramp * size * wave(rate, k).clamp(-1.0, 1.0);
    let (yaw, pitch, roll) = (turn(0.34, 0.31, 1), turn(0.13, 0.43, 2), turn(0.07, 0.27, 3));
    // eyes hold their aim for a while, then jump
    let aim = |k: usize, rate: f64| {
        let t = rate * time + phases[k];
        let draw = |n: f64| 2.0 * gav_formats::synthetic::uniform(n as u64, 77 + k as u64) - 1.0;
        let jump = smoothstep(0.0, 0.12, t.fract());
        draw(t.floor()) + (draw(t.floor() + 1.0) - draw(t.floor())) * jump
    };
    let (look, lift) = (ramp * (0.30 * aim(4, 1.4) - 0.3 * yaw), ramp * (0.15 * aim(5, 1.1) - 0.3 * pitch));
    for (name, value) in [
        ("jawOpen", jaw),
        ("eyeLookOut_L", 2.0 * look),
        ("eyeLookIn_R", 2.0 * look),
        ("eyeLookIn_L", -2.0 * look),
        ("eyeLookOut_R", -2.0 * look),
        ("eyeLookDown", 2.5 * lift),
        ("eyeLookUp", -2.5 * lift),
    ] {
        set(name, value.clamp(0.0, 1.0));
    }
    let single = |v: [f64; 3]| v.map(|x| x as f32);
    // where expressions do it, the joints stay
    let joints = f64::from(u8::from(!names.iter().any(|name| name == "jawOpen")));
    let [x, y] = [(joints * lift) as f32, (joints * look) as f32];
    Moment {
        expression: values.iter().map(|v| *v as f32).collect(),
        rotation: single([0.25 * pitch, 0.12 * yaw, 0.3 * roll]),
        neck: single([0.75 * pitch, 0.88 * yaw, 0.7 * roll]),
        jaw: single([joints * JAW * jaw, 0.0, 0.0]),
        eyes: [x, y, 0.0, x, y, 0.0],
        translation: single([turn(0.010, 0.37, 6), turn(0.006, 0.53, 7), turn(0.012, 0.22, 0)]),
    }
}

impl Moment {
    /// The same as a tracker that is off by about `millimetres` would have it.
    pub(super) fn disturbed(&self, millimetres: f64, random: &mut Random) -> Self {
        let mut off = |value: f32, size: f64| value + (millimetres * size * random.bell()) as f32;
        // levers: about 0.1 m from the joints to the face, and 6 mm for an expression at full strength
        Self {
            expression: self.expression.iter().map(|v| off(*v, 1.0 / 6.0)).collect(),
            rotation: self.rotation.map(|v| off(v, 0.005)),
            neck: self.neck.map(|v| off(v, 0.008)),
            jaw: self.jaw.map(|v| off(v, 0.01)),
            eyes: self.eyes.map(|v| off(v, 0.03)),
            translation: self.translation.map(|v| off(v, 0.0006)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn performances_begin_at_rest_and_are_smooth() {
        let names: Vec<String> = super::super::face::EXPRESSIONS.iter().map(|(n, _)| (*n).to_owned()).collect();
        let all = performance(&names, 80, 20, 3);
        assert_eq!(all.len(), 100);
        let rest = Moment { expression: vec![0.0; names.len()], ..Moment::default() };
        assert_eq!(all[0], rest);
        for column in 0..names.len() {
            let most = all[..80].iter().map(|m| m.expression[column]).fold(0.0f32, f32::max);
            assert!(most > 0.3 && most <= 1.0, "{} reaches {most}", names[column]);
        }
        for pair in all[..80].windows(2) {
            let jump = (0..names.len()).filter(|k| !names[*k].starts_with("eyeBlink"));
            let jump = jump.map(|k| (pair[1].expression[k] - pair[0].expression[k]).abs()).fold(0.0, f32::max);
            let turn = (pair[1].neck[1] - pair[0].neck[1]).abs();
            assert!(jump < 0.6 && turn < 0.12, "{jump} {turn}");
        }
        let yaw = all.iter().map(|m| (m.neck[1] + m.rotation[1]).abs()).fold(0.0, f32::max);
        assert!((0.2..0.36).contains(&yaw), "{yaw}");
        let jaw = all.iter().map(|m| m.jaw[0]).fold(0.0, f32::max);
        assert!(jaw > 0.2);
    }
}
