//! `.gav` written and read back: every rig, every profile, every part of the reader.

use gav_formats::{
    Avatar, EncodeOptions, Limits, Profile, ReadOptions, RigBase, Source, Splats, UnknownChunk,
    gav::{Attribute, Order, Reader},
    synthetic::{self, RigSample},
};

fn encode(avatar: &Avatar, options: &EncodeOptions) -> Vec<u8> {
    let mut sink = std::io::Cursor::new(Vec::new());
    gav_formats::gav::write(avatar, &mut sink, options).unwrap();
    sink.into_inner()
}

fn profile(profile: Profile) -> EncodeOptions {
    EncodeOptions { profile, ..EncodeOptions::default() }
}

fn decode(bytes: &[u8]) -> Avatar {
    gav_formats::gav::read(&Source::from_bytes(bytes.to_vec()), &ReadOptions::default()).unwrap()
}

/// Bits of every float, so that NaN payloads and −0 count.
fn bits(splats: &Splats) -> Vec<u32> {
    let floats = splats.means.as_flattened().iter().chain(splats.rotations.as_flattened());
    let floats = floats.chain(splats.log_scales.as_flattened()).chain(&splats.opacity_logits);
    floats.chain(splats.sh0.as_flattened()).chain(&splats.sh_rest).map(|v| v.to_bits()).collect()
}

#[test]
fn lossless_keeps_every_rig_and_every_part() {
    for (_, kind) in RigSample::ALL {
        let avatar = synthetic::every_rig(kind);
        let back = decode(&encode(&avatar, &profile(Profile::Lossless)));
        assert_eq!(bits(&back.splats), bits(&avatar.splats), "{kind:?}");
        assert_eq!(back, avatar, "{kind:?}");
    }
}

#[test]
fn lossless_keeps_nan_payloads_signs_and_order() {
    let mut avatar = synthetic::random(1000, 3, 5);
    for (i, pattern) in [0x7FC0_1234u32, 0xFF80_0001, 0x8000_0000, 0x7F80_0000, 0xFF80_0000, 1].iter().enumerate() {
        avatar.splats.means[i * 7][i % 3] = f32::from_bits(*pattern);
        avatar.splats.opacity_logits[i * 11] = f32::from_bits(*pattern);
        avatar.splats.sh_rest[i * 101] = f32::from_bits(*pattern);
        avatar.splats.rotations[i * 13][i % 4] = f32::from_bits(*pattern);
    }
    let back = decode(&encode(&avatar, &profile(Profile::Lossless)));
    assert_eq!(bits(&back.splats), bits(&avatar.splats));
}

#[test]
fn lossy_profiles_keep_everything_within_their_steps() {
    for (_, kind) in RigSample::ALL {
        let avatar = synthetic::every_rig(kind);
        for (name, p) in Profile::ALL.into_iter().filter(|(_, p)| *p != Profile::Lossless) {
            let options = EncodeOptions { keep_order: true, keep_invisible: true, ..profile(p) };
            let back = decode(&encode(&avatar, &options));
            assert_eq!(back.splats.len(), avatar.splats.len(), "{kind:?} {name}");
            assert_eq!(back.rig.kind(), avatar.rig.kind());
            assert_eq!(back.rig.blendshapes.is_some(), avatar.rig.blendshapes.is_some());
            assert_eq!(
                (&back.template, &back.mesh, &back.drivers, &back.driver_maps, &back.cameras, &back.thumbnail),
                (
                    &avatar.template,
                    &avatar.mesh,
                    &avatar.drivers,
                    &avatar.driver_maps,
                    &avatar.cameras,
                    &avatar.thumbnail
                )
            );
            assert_eq!((&back.attributes, &back.meta), (&avatar.attributes, &avatar.meta), "{kind:?} {name}");
            let comparison = gav_formats::compare(&avatar, &back).unwrap();
            let worst = if p == Profile::Small { 0.05 } else { 0.03 };
            assert!(comparison.position_rms < 0.01, "{kind:?} {name}: {comparison:?}");
            assert!(comparison.rgb_rms < worst && comparison.opacity_rms < 0.01, "{kind:?} {name}: {comparison:?}");
            if let (RigBase::Skinned { skin: a, .. }, RigBase::Skinned { skin: b, .. }) =
                (&avatar.rig.base, &back.rig.base)
            {
                for splat in 0..avatar.splats.len() {
                    for (joint, weight) in a.row(splat) {
                        let other = b.row(splat).find(|(j, _)| *j == joint).map_or(0.0, |(_, w)| w);
                        assert!((weight - other).abs() < 0.02, "{kind:?} {name} splat {splat}");
                    }
                }
            }
            if let (RigBase::Triangle(a), RigBase::Triangle(b)) = (&avatar.rig.base, &back.rig.base) {
                assert_eq!(a.triangles, b.triangles);
            }
        }
    }
}

#[test]
fn the_same_input_gives_the_same_bytes_on_any_number_of_threads() {
    let avatar = synthetic::head(40_000, 3);
    for (name, p) in Profile::ALL {
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| encode(&avatar, &profile(p)))
        };
        assert!(run(1) == run(5), "{name}");
    }
}

#[test]
fn a_first_layer_arrives_in_a_quarter_of_the_bytes() {
    for (avatar, name) in [(synthetic::head(70_000, 1), "head"), (synthetic::shell(70_000, 2, 1), "shell")] {
        let bytes = encode(&avatar, &EncodeOptions::default());
        let reader = Reader::new(&bytes, &Limits::default()).unwrap();
        assert_eq!(reader.splat_set().layers.len(), 2);
        let share = reader.bytes_for_layers(1) as f64 / bytes.len() as f64;
        assert!(share <= 0.25, "{name}: first layer needs {share:.3} of the bytes");
        let first = reader.read_splats(1).unwrap();
        assert_eq!(first.len(), 12_600);
        assert_eq!(bits(&first), bits(&reader.read_splats(2).unwrap().gather(&(0..12_600).collect::<Vec<_>>())));
    }
}

#[test]
fn one_block_of_one_attribute_is_what_the_whole_file_says() {
    for p in [Profile::Standard, Profile::Fast, Profile::Lossless] {
        let avatar = synthetic::shell(40_000, 1, 2);
        let bytes = encode(&avatar, &profile(p));
        let reader = Reader::new(&bytes, &Limits::default()).unwrap();
        let whole = reader.read_splats(9).unwrap();
        assert_eq!(reader.block_count(0).unwrap(), 3);
        let tail: Vec<u32> = (32_768..40_000).collect();
        let expected = whole.gather(&tail);
        let block = |attribute| reader.read_block(0, 2, &[attribute]).unwrap();
        assert_eq!(block(Attribute::Positions).means, expected.means);
        assert_eq!(block(Attribute::Opacities).opacity_logits, expected.opacity_logits);
        assert_eq!(block(Attribute::Scales).log_scales, expected.log_scales);
        assert_eq!(block(Attribute::Rotations).rotations, expected.rotations);
        assert_eq!(block(Attribute::Colors).sh0, expected.sh0);
        assert_eq!(block(Attribute::Harmonics).sh_rest, expected.sh_rest);
        assert!(reader.read_block(0, 3, &Attribute::ALL).is_err() && reader.read_block(1, 0, &Attribute::ALL).is_err());
    }
}

#[test]
fn reading_positions_does_not_touch_damaged_colours() {
    let avatar = synthetic::shell(5000, 0, 2);
    let mut bytes = encode(&avatar, &EncodeOptions::default());
    let (offset, length) = {
        let reader = Reader::new(&bytes, &Limits::default()).unwrap();
        let entry = reader.entries().iter().find(|e| &e.kind == b"COLR").unwrap();
        (entry.offset, entry.stored_bytes)
    };
    bytes[(offset + length - 5) as usize] ^= 1;
    let reader = Reader::new(&bytes, &Limits::default()).unwrap();
    reader.read_block(0, 0, &[Attribute::Positions, Attribute::Scales]).unwrap();
    let error = reader.read_block(0, 0, &[Attribute::Colors]).unwrap_err();
    assert_eq!(error.code(), "BLOCK_HASH");
}

#[test]
fn splats_are_stored_along_the_morton_curve_or_by_triangle() {
    let set = |avatar: &Avatar| {
        let bytes = encode(avatar, &EncodeOptions::default());
        Reader::new(&bytes, &Limits::default()).unwrap().splat_set().clone()
    };
    assert_eq!(set(&synthetic::random(100, 0, 1)).order, Order::Morton);
    let triangle = RigSample::ALL
        .into_iter()
        .map(|(_, k)| synthetic::every_rig(k))
        .find(|a| matches!(a.rig.base, RigBase::Triangle(_)));
    assert_eq!(set(&triangle.unwrap()).order, Order::Triangle);
}

#[test]
fn re_encoding_a_decoded_file_changes_next_to_nothing() {
    let avatar = synthetic::head(20_000, 3);
    let once = decode(&encode(&avatar, &EncodeOptions { keep_order: true, ..EncodeOptions::default() }));
    let twice = decode(&encode(&once, &EncodeOptions { keep_order: true, ..EncodeOptions::default() }));
    let first = gav_formats::compare(&avatar, &once).unwrap();
    let second = gav_formats::compare(&avatar, &twice).unwrap();
    assert!(
        second.position_rms < first.position_rms * 1.6 && second.rgb_rms < first.rgb_rms * 1.6,
        "{first:?} {second:?}"
    );
}

#[test]
fn non_finite_splats_are_dropped_counted_and_never_come_back() {
    let mut avatar = synthetic::random(50, 0, 1);
    avatar.splats.means[3][0] = f32::NAN;
    avatar.splats.opacity_logits[4] = f32::INFINITY;
    avatar.splats.log_scales[5] = [f32::NEG_INFINITY; 3];
    avatar.splats.rotations[6] = [0.0; 4];
    let back = decode(&encode(&avatar, &EncodeOptions::default()));
    assert_eq!((back.splats.len(), back.meta.dropped_splats), (49, 1));
    assert!(bits(&back.splats).iter().all(|&b| f32::from_bits(b).is_finite()));
}

#[test]
fn unknown_ancillary_chunks_are_kept_when_they_may_be() {
    let mut avatar = synthetic::random(50, 0, 1);
    avatar.unknown = vec![UnknownChunk::new(*b"deMo", b"safe"), UnknownChunk::new(*b"deMO", b"bound to the order")];
    let lossless = decode(&encode(&avatar, &profile(Profile::Lossless)));
    assert_eq!(lossless.unknown, avatar.unknown);
    let sorted = decode(&encode(&avatar, &EncodeOptions::default()));
    assert_eq!(sorted.unknown, avatar.unknown[..1]);
    avatar.unknown = vec![UnknownChunk::new(*b"DEMO", b"critical")];
    let bytes = encode(&avatar, &profile(Profile::Lossless));
    let error = gav_formats::gav::read(&Source::from_bytes(bytes), &ReadOptions::default()).unwrap_err();
    assert_eq!(error.code(), "CRITICAL_CHUNK");
}

#[test]
fn empty_and_single_splat_avatars_work() {
    for count in [0, 1, 2] {
        for (name, p) in Profile::ALL {
            let mut avatar = synthetic::random(count, 1, 4);
            avatar.frame = gav_formats::Frame::LUF;
            let back = decode(&encode(&avatar, &profile(p)));
            assert_eq!(back.splats.len(), count, "{name}");
            assert_eq!(back.frame, avatar.frame);
        }
    }
}

#[test]
fn knobs_do_what_they_say_and_refuse_nonsense() {
    let avatar = synthetic::shell(20_000, 2, 7);
    let fine = EncodeOptions { sh_rms: Some(0.005), keep_order: true, ..EncodeOptions::default() };
    let back = decode(&encode(&avatar, &fine));
    let error = gav_formats::compare(&avatar, &back).unwrap().sh_rms;
    assert!(error < 0.006 && error > 0.003, "{error}");
    let step = EncodeOptions { position_step: Some(0.01), keep_order: true, ..EncodeOptions::default() };
    let rms = gav_formats::compare(&avatar, &decode(&encode(&avatar, &step))).unwrap().position_rms;
    // uniform error of ±½ step on three axes: 0.01 / √12 · √3
    assert!((rms - 0.005).abs() < 0.0005, "{rms}");
    for bad in [
        EncodeOptions { level: Some(0), ..EncodeOptions::default() },
        EncodeOptions { layers: Some(3), ..EncodeOptions::default() },
        EncodeOptions { position_step: Some(-1.0), ..EncodeOptions::default() },
        EncodeOptions { sh_rms: Some(f64::NAN), ..EncodeOptions::default() },
    ] {
        assert!(gav_formats::gav::write(&avatar, &mut std::io::Cursor::new(Vec::new()), &bad).is_err());
    }
}
