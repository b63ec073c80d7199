//! What motion costs in a `.gav`, and what quantising it changes.

use std::{f64::consts::TAU, path::PathBuf};

use gav_formats::{
    Avatar, Clip, EncodeOptions, Frame, Interpolation, Profile, ReadOptions, Source, Splats, Track, WriteOptions,
    clips::{self, ARKIT, ClipOptions},
    format_by_name,
    gav::Reader,
    read,
    synthetic::Random,
    to_bytes,
};

/// Stored bytes of the clip, and the clip as read back.
fn stored(clip: &Clip, profile: Profile) -> (u64, Clip) {
    let mut avatar = Avatar::new(Splats::with_len(1, 0), Frame::RDF);
    avatar.clips.push(clip.clone());
    let options = WriteOptions { gav: EncodeOptions { profile, ..Default::default() }, ..Default::default() };
    let bytes = to_bytes(&avatar, format_by_name("gav").unwrap(), &options).unwrap();
    let reader = Reader::with_options(&bytes, &ReadOptions::default()).unwrap();
    let size = reader.entries().iter().filter(|entry| entry.kind == *b"aNIm").map(|entry| entry.stored_bytes).sum();
    (size, read(&Source::from_bytes(bytes), &ReadOptions::default()).unwrap().clips.remove(0))
}

/// A value that wanders with up to `hertz`, with the noise of a tracker.
fn wander(random: &mut Random, frames: usize, amplitude: f64, hertz: f64, noise: f64) -> Vec<f64> {
    let waves: Vec<[f64; 3]> = (0..5)
        .map(|k| [random.bell() / f64::from(k + 1), random.range(0.1, 1.0) * hertz, random.unit() * TAU])
        .collect();
    let value = |t: f64| waves.iter().map(|[a, f, p]| a * (TAU * f * t + p).sin()).sum::<f64>() * amplitude;
    (0..frames).map(|frame| value(frame as f64 / 30.0) + noise * random.bell()).collect()
}

fn group(target: &str, columns: &[Vec<f64>]) -> Track {
    let frames = columns[0].len();
    Track {
        target: target.to_owned(),
        width: columns.len() as u32,
        interpolation: Interpolation::Linear,
        ticks: (0..frames as u32).collect(),
        values: (0..frames).flat_map(|frame| columns.iter().map(move |c| c[frame] as f32)).collect(),
    }
}

/// Blendshapes of a talking face: most rest for seconds, none is below 0 or above 1.
fn face(frames: usize) -> Clip {
    let mut random = Random::new(1);
    let tracks = ARKIT.iter().map(|name| {
        let values = wander(&mut random, frames, 0.25, 2.0, 0.001);
        group(&format!("arkit.{name}"), &[values.iter().map(|v| (v - 0.1).clamp(0.0, 1.0)).collect()])
    });
    Clip { name: "face".into(), ticks_per_second: 30, tracks: tracks.collect() }
}

/// FLAME as a tracker gives it: the first expressions move most, and everything trembles.
fn flame(frames: usize) -> Clip {
    let mut random = Random::new(2);
    let mut columns = |count: usize, amplitude: &dyn Fn(usize) -> f64, noise: f64| -> Vec<Vec<f64>> {
        (0..count).map(|k| wander(&mut random, frames, amplitude(k), 2.0, noise)).collect()
    };
    let tracks = vec![
        group("flame.expression", &columns(100, &|k| 1.0 / (1.0 + k as f64 / 8.0), 0.003)),
        group("flame.neck_pose", &columns(3, &|_| 0.1, 0.0005)),
        group("flame.jaw_pose", &columns(3, &|_| 0.1, 0.0005)),
        group("flame.eyes_pose", &columns(6, &|_| 0.2, 0.0005)),
        group("flame.translation", &columns(3, &|_| 0.02, 0.0001)),
    ];
    Clip { name: "flame".into(), ticks_per_second: 30, tracks }
}

/// A walking body with fingers and a face, filtered as motion capture is.
fn body(frames: usize) -> Clip {
    let mut random = Random::new(3);
    let mut columns = |count: usize, amplitude: f64, noise: f64| -> Vec<Vec<f64>> {
        (0..count).map(|_| wander(&mut random, frames, amplitude, 1.0, noise)).collect()
    };
    let tracks = vec![
        group("smplx.global_orient", &columns(3, 0.3, 0.0002)),
        group("smplx.body_pose", &columns(63, 0.3, 0.0002)),
        group("smplx.jaw_pose", &columns(3, 0.1, 0.0002)),
        group("smplx.left_hand_pose", &columns(45, 0.1, 0.0002)),
        group("smplx.right_hand_pose", &columns(45, 0.1, 0.0002)),
        group("smplx.expression", &columns(10, 0.5, 0.003)),
        group("smplx.transl", &columns(3, 0.5, 0.0001)),
    ];
    Clip { name: "body".into(), ticks_per_second: 30, tracks }
}

/// Largest difference of two clips in any value, at the keys of the first; tracks that rest may be missing in the second.
fn error(a: &Clip, b: &Clip) -> f64 {
    let mut worst = 0.0f64;
    for track in &a.tracks {
        let Some(other) = b.tracks.iter().find(|t| t.target == track.target) else { continue };
        for (key, tick) in track.ticks.iter().enumerate() {
            let values = other.sample(f64::from(*tick));
            let pairs = track.values[key * values.len()..].iter().zip(&values);
            worst = pairs.map(|(a, b)| f64::from((a - b).abs())).fold(worst, f64::max);
        }
    }
    worst
}

#[test]
fn motion_keeps_to_its_rates() {
    // kbit a second that the kinds of motion may take at most (face 52 weights, FLAME 115 values, SMPL-X 172), `standard`, names and times included
    for (clip, most) in [(face(900), 6.0), (flame(900), 15.0), (body(900), 20.0)] {
        let seconds = clip.seconds();
        for (name, profile) in Profile::ALL {
            let (bytes, back) = stored(&clip, profile);
            let rate = bytes as f64 * 8.0 / seconds / 1000.0;
            let frames = clip.tracks[0].ticks.len();
            println!(
                "{:6} {name:9} {:7.1} bytes a frame, {rate:6.2} kbit/s (at most {most}), error up to {:.5}",
                clip.name,
                bytes as f64 / frames as f64,
                error(&clip, &back)
            );
            if profile == Profile::Lossless {
                assert_eq!(back, clip);
            }
            if profile == Profile::Standard {
                assert!(rate <= most, "{}: {rate} kbit/s", clip.name);
            }
        }
    }
}

#[test]
fn real_motion_of_a_head() {
    let root = std::env::var_os("GAV_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let path = root.join("data/lam-head/lam_p2-1.zip");
    if !path.exists() {
        eprintln!("SKIPPED: {} is not there; set GAV_SHARED to the folder of reference data", path.display());
        return;
    }
    for clip in clips::read(&path, &ClipOptions::default()).unwrap() {
        for (name, profile) in Profile::ALL {
            let (bytes, back) = stored(&clip, profile);
            let frames = clip.tracks.iter().map(|t| t.ticks.len()).max().unwrap_or(1);
            println!(
                "{} ({} tracks, {frames} frames, {:.2} s), {name}: {bytes} bytes, {:.1} a frame, {:.2} kbit/s, error up to {:.5}",
                clip.name,
                clip.tracks.len(),
                clip.seconds(),
                bytes as f64 / frames as f64,
                bytes as f64 * 8.0 / clip.seconds() / 1000.0,
                error(&clip, &back)
            );
        }
    }
}

/// An avatar of one joint and one driver, with a clip that moves neither of them much.
fn resting() -> (Avatar, Clip) {
    let mut avatar = gav_formats::synthetic::every_rig(gav_formats::synthetic::RigSample::MorphSkinned);
    avatar.clips.clear();
    let driver = avatar.drivers[0].clone();
    let track = |target: &str, values: &[f32]| Track {
        target: target.to_owned(),
        width: 1,
        interpolation: Interpolation::Linear,
        ticks: (0..values.len() as u32).collect(),
        values: values.to_vec(),
    };
    let tracks = vec![
        track("arkit.held", &[0.25, 0.25, 0.25]),
        track(&driver.name, &[driver.default; 4]),
        track("arkit.moves", &[0.0, 1.0]),
    ];
    let clip = Clip { name: "rest".into(), ticks_per_second: 30, tracks };
    (avatar, clip)
}

#[test]
fn what_rests_costs_nothing_and_clips_keep_their_length() {
    let (mut avatar, clip) = resting();
    avatar.clips.push(clip.clone());
    let write = |avatar: &Avatar, profile| {
        let options = WriteOptions { gav: EncodeOptions { profile, ..Default::default() }, ..Default::default() };
        to_bytes(avatar, format_by_name("gav").unwrap(), &options).unwrap()
    };
    let back = |bytes: Vec<u8>| read(&Source::from_bytes(bytes), &ReadOptions::default()).unwrap().clips.remove(0);
    assert_eq!(back(write(&avatar, Profile::Lossless)), clip);
    let small = back(write(&avatar, Profile::Standard));
    assert_eq!(small.seconds(), clip.seconds());
    let keys = |target: &str| small.tracks.iter().find(|t| t.target == target).map(|t| t.ticks.len());
    // the driver at rest lasts longest: its ends stay
    assert_eq!((keys("arkit.held"), keys(&avatar.drivers[0].name), keys("arkit.moves")), (Some(1), Some(2), Some(2)));
}

#[test]
fn clips_are_added_without_touching_anything_else() {
    let (mut avatar, clip) = resting();
    avatar.clips.push(Clip { name: "old".into(), ..clip.clone() });
    for profile in [Profile::Lossless, Profile::Standard] {
        let options = WriteOptions { gav: EncodeOptions { profile, ..Default::default() }, ..Default::default() };
        let bytes = to_bytes(&avatar, format_by_name("gav").unwrap(), &options).unwrap();
        let add = |bytes: &[u8], clips: &[Clip]| {
            let mut sink = std::io::Cursor::new(Vec::new());
            gav_formats::gav::add_clips(bytes, clips, &mut sink, &ReadOptions::default(), &options.gav).unwrap();
            sink.into_inner()
        };
        let open = |bytes: &[u8]| read(&Source::from_bytes(bytes.to_vec()), &ReadOptions::default()).unwrap();
        let (before, added) = (open(&bytes), add(&bytes, std::slice::from_ref(&clip)));
        let mut after = open(&added);
        assert_eq!(after.clips.len(), 2);
        let new = after.clips.pop().unwrap();
        assert_eq!((new.name.as_str(), new.seconds()), ("rest", clip.seconds()));
        assert_eq!(profile == Profile::Lossless, new == clip);
        assert_eq!(after, before);
        // the same name again: one clip is exchanged
        let longer = clip.trimmed(0.0, clip.seconds() / 2.0).unwrap();
        let after = open(&add(&added, &[longer]));
        let names: Vec<&str> = after.clips.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["old", "rest"]);
        assert!(after.clips[1].seconds() < clip.seconds());
        assert!(
            gav_formats::gav::add_clips(
                &bytes[..bytes.len() - 1],
                &[],
                &mut std::io::Cursor::new(Vec::new()),
                &ReadOptions::default(),
                &options.gav
            )
            .is_err()
        );
    }
}
