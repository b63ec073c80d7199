//! Conformance files that the encoder writes by itself: rigs, SH degrees, profiles, layers, blocks, order.

use gav_formats::{
    Avatar, Clip, EncodeOptions, Frame, Interpolation, Profile, Splats, Track,
    synthetic::{RigSample, SHELL_SEED, every_rig, head_rigged, random, shell, uniform},
};

use super::{Case, Pack, encode, encode_as, read, transcode::to_entropy_coding};

pub fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    for (name, sample) in RigSample::ALL {
        let avatar = every_rig(sample);
        out.push(Case::exact(
            format!("rig_{name}_lossless"),
            "a rig, every bit kept",
            encode_as(&avatar, Profile::Lossless),
            &avatar,
        ));
        out.push(Case::lossy(
            format!("rig_{name}_standard"),
            "a rig, quantised",
            encode_as(&avatar, Profile::Standard),
        ));
    }
    for (name, sample) in [("stga", RigSample::Stga), ("frames", RigSample::Frames)] {
        let bytes = encode_as(&every_rig(sample), Profile::Fast);
        out.push(Case::lossy(format!("rig_{name}_fast"), "a rig, codec 1", bytes));
    }
    for degree in 0..=4 {
        let avatar = random(24, degree, 1000 + u64::from(degree));
        let lossless = encode_as(&avatar, Profile::Lossless);
        out.push(Case::exact(format!("sh{degree}_lossless"), "an SH degree, every bit kept", lossless, &avatar));
        for (name, profile) in [("standard", Profile::Standard), ("fast", Profile::Fast)] {
            let bytes = encode_as(&avatar, profile);
            out.push(Case::lossy(format!("sh{degree}_{name}"), "an SH degree, quantised", bytes));
        }
    }
    for (name, profile) in [("high", Profile::High), ("small", Profile::Small)] {
        let bytes = encode_as(&random(60, 1, 7), profile);
        out.push(Case::lossy(format!("profile_{name}"), "other steps and classes", bytes));
    }
    out.extend(clips());
    out.extend(counts());
    out.extend(layers_and_blocks());
    out.push(special_floats());
    out.extend(entropy_coded());
    out
}

/// A head with its rig in every profile, and a scene of several layers and blocks with SH.
pub fn fresh_cases() -> Vec<Case> {
    let (head, scene) = (head_rigged(40_000, 1), shell(60_000, 2, SHELL_SEED));
    let two = EncodeOptions { layers: Some(2), keep_order: true, ..EncodeOptions::default() };
    let mut out = vec![Case::lossy("scene_layers", "60,000 splats of SH degree 2 in two layers", encode(&scene, &two))];
    for (name, profile) in Profile::ALL {
        let bytes = encode_as(&head, profile);
        out.push(match profile {
            Profile::Lossless => Case::exact(format!("head_{name}"), "a rigged head", bytes, &head),
            _ => Case::lossy(format!("head_{name}"), "a rigged head", bytes),
        });
    }
    out
}

/// Files in codec 2 throughout, transcoded from codec 1: they hold the same.
fn entropy_coded() -> Vec<Case> {
    let wide = Avatar::new(random(70, 0, 41).splats, Frame::LUF);
    let avatars = [
        ("sh0", wide),
        ("sh1", random(60, 1, 42)),
        ("sh4", random(20, 4, 43)),
        ("planar", every_rig(RigSample::GaussianAvatars)),
        ("blocks", many_splats()),
        ("empty", random(0, 0, 1)),
    ];
    let make = |(name, avatar): (&str, Avatar)| {
        let source = encode_as(&avatar, Profile::Fast);
        let mut pack = Pack::of(&source);
        to_entropy_coding(&mut pack);
        let bytes = pack.to_bytes();
        let found = read(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(found == read(&source).expect("a good file"), "{name}: codec 2 holds something else than codec 1");
        Case::lossy(format!("entropy_{name}"), "codec 2 in every attribute", bytes)
    };
    avatars.into_iter().map(make).collect()
}

/// Clips whose tracks differ in liveliness, times and kind of prediction.
fn clips() -> Vec<Case> {
    let track = |target: &str, width: u32, ticks: Vec<u32>, value: &dyn Fn(f64, u32) -> f64| Track {
        target: target.into(),
        width,
        interpolation: if width == 4 { Interpolation::Slerp } else { Interpolation::Linear },
        values: ticks.iter().flat_map(|t| (0..width).map(move |c| value(f64::from(*t), c) as f32)).collect(),
        ticks,
    };
    let every = |step: u32, count: u32| (0..count).map(|k| k * step).collect::<Vec<_>>();
    let noise = |t: f64, c: u32| 0.1 * uniform(t as u64, u64::from(c)) - 0.05;
    let tracks = vec![
        track("smplx.body_pose", 63, every(1, 150), &|t, c| (0.05 * t + f64::from(c)).sin() * 0.1 * f64::from(c % 7)),
        track("flame.expression", 20, every(1, 150), &|t, c| noise(t, c) * if t > 70.0 { 5.0 } else { 0.1 }),
        track("smplx.transl", 3, every(1, 150), &|t, c| 1e-4 * t * t * f64::from(c) - 3.0),
        track("joint/a/rotation", 4, every(3, 40), &|t, c| {
            if c < 2 { (0.02 * t + 1.57 * f64::from(c)).cos() } else { 0.0 }
        }),
        track("smplx.betas", 10, vec![0], &|_, c| 0.3 * f64::from(c)),
        track("unknown", 1, vec![4, 9, 200], &|t, _| 1e9 * t),
        track("none", 2, Vec::new(), &|_, _| 0.0),
    ];
    let mut avatar = random(4, 0, 5);
    avatar.clips = vec![
        Clip { name: "motion".into(), ticks_per_second: 30, tracks },
        Clip { name: "nothing".into(), ticks_per_second: 25, tracks: Vec::new() },
    ];
    let mut out =
        vec![Case::exact("clips_lossless", "clips, every bit kept", encode_as(&avatar, Profile::Lossless), &avatar)];
    for (name, profile) in [("standard", Profile::Standard), ("small", Profile::Small)] {
        out.push(Case::lossy(format!("clips_{name}"), "clips in steps", encode_as(&avatar, profile)));
    }
    out
}

/// No splat, one splat.
fn counts() -> Vec<Case> {
    let mut out = Vec::new();
    for (name, count) in [("empty", 0), ("single", 1)] {
        let avatar = random(count, 1, 3);
        let lossless = encode_as(&avatar, Profile::Lossless);
        out.push(Case::exact(format!("{name}_lossless"), "few splats, every bit kept", lossless, &avatar));
        let bytes = encode_as(&avatar, Profile::Standard);
        out.push(Case::lossy(format!("{name}_standard"), "few splats, quantised", bytes));
    }
    out
}

fn layers_and_blocks() -> Vec<Case> {
    let two = EncodeOptions { layers: Some(2), ..EncodeOptions::default() };
    let ordered = EncodeOptions { layers: Some(2), keep_order: true, ..EncodeOptions::default() };
    let skinned = every_rig(RigSample::MorphSkinned);
    let mut out = vec![
        Case::lossy("layers", "two layers", encode(&random(200, 1, 11), &two)),
        Case::lossy("order", "oRDR: the order of the source comes back", encode(&random(200, 1, 11), &ordered)),
        Case::lossy("order_skinned", "oRDR with a rig in two layers", encode(&skinned, &ordered)),
    ];
    let many = many_splats();
    let lossless = encode_as(&many, Profile::Lossless);
    out.push(Case::exact("blocks_lossless", "two blocks, every bit kept", lossless, &many));
    for (name, profile) in [("standard", Profile::Standard), ("fast", Profile::Fast)] {
        let bytes = encode_as(&many, profile);
        out.push(Case::lossy(format!("blocks_{name}"), "two blocks: predictions start anew in each", bytes));
    }
    out
}

/// More splats than one block holds, of so little variety that the file stays small.
fn many_splats() -> Avatar {
    let mut splats = Splats::with_len(17_000, 0);
    for i in 0..splats.len() {
        let cell = (i % 64 / 16 + 4 * (i / 64 % 64 / 16) + 16 * (i / 4096)) as u64;
        let pick = |n: u64| (uniform(cell, 5) * n as f64) as u64;
        splats.means[i] = [(i % 64) as f32 / 64.0, (i / 64 % 64) as f32 / 64.0, (i / 4096) as f32 / 64.0];
        splats.opacity_logits[i] = [-2.0, 0.5, 3.0][pick(3) as usize];
        splats.log_scales[i] = [-0.5, -1.0 - pick(2) as f32, -3.0];
        splats.rotations[i] = [[0.5; 4], [0.8, 0.6, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]][pick(3) as usize];
        splats.sh0[i] = [[1.0, 0.5, -0.25], [0.0, -1.0, 1.0]][pick(2) as usize];
    }
    Avatar::new(splats, Frame::RUB)
}

/// Zeros of both signs, subnormal numbers, infinities and NaNs in every attribute.
fn special_floats() -> Case {
    let mut avatar = random(40, 1, 21);
    let special = [0x8000_0000, 1, 0x807F_FFFF, 0x7F80_0000, 0xFF80_0000, 0x7FC0_0001, 0xFFC1_2345, 0x7F7F_FFFF];
    let special = special.map(f32::from_bits);
    let s = &mut avatar.splats;
    let all = s
        .means
        .as_flattened_mut()
        .iter_mut()
        .chain(s.rotations.as_flattened_mut())
        .chain(s.log_scales.as_flattened_mut())
        .chain(&mut s.opacity_logits)
        .chain(s.sh0.as_flattened_mut())
        .chain(&mut s.sh_rest);
    for (k, value) in all.enumerate().filter(|(k, _)| k % 7 == 3) {
        *value = special[k / 7 % special.len()];
    }
    let bytes = encode_as(&avatar, Profile::Lossless);
    Case::exact("special_floats", "values that are not ordinary numbers keep their bits", bytes, &avatar)
}
