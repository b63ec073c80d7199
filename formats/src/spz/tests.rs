//! Golden bytes, round trips at the quantisation steps, hostile input.

use std::io::Cursor;

use super::*;
use crate::{Limits, Splats, conventions::opacity_from_logit};

/// Pseudo-random splats in a box of ±1 (xorshift, so that every run sees the same).
fn sample(count: usize, sh_degree: u8) -> Splats {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let mut splats = Splats::with_len(count, sh_degree);
    splats.means.iter_mut().flatten().for_each(|v| *v = next());
    splats.rotations.iter_mut().flatten().for_each(|v| *v = next());
    splats.log_scales.iter_mut().flatten().for_each(|v| *v = next() * 3.0 - 5.0);
    splats.opacity_logits.iter_mut().for_each(|v| *v = next() * 6.0);
    splats.sh0.iter_mut().flatten().for_each(|v| *v = next() * 2.0);
    splats.sh_rest.iter_mut().for_each(|v| *v = next() * 0.9);
    splats
}

fn encode(avatar: &Avatar, options: &WriteOptions) -> Vec<u8> {
    let mut sink = Cursor::new(Vec::new());
    write(avatar, &mut sink, options).unwrap();
    sink.into_inner()
}

fn decode(bytes: &[u8]) -> Result<Avatar> {
    read(&Source::from_bytes(bytes.to_vec()), &ReadOptions::default())
}

fn version(version: u8) -> WriteOptions {
    WriteOptions { spz_version: Some(version), ..WriteOptions::default() }
}

fn angle(a: [f32; 4], b: [f32; 4]) -> f64 {
    let (a, b) = (a.map(f64::from), b.map(f64::from));
    let dot = |x: [f64; 4], y: [f64; 4]| (0..4).map(|k| x[k] * y[k]).sum::<f64>();
    2.0 * (dot(a, b).abs() / (dot(a, a) * dot(b, b)).sqrt()).min(1.0).acos().to_degrees()
}

#[test]
fn round_trip_stays_within_the_quantisation_steps() {
    for (container, degree) in [(2, 0), (2, 3), (3, 1), (4, 0), (4, 2), (4, 4)] {
        let mut avatar = Avatar::new(sample(200, degree), Frame::RUB);
        avatar.render_model = RenderModel::Antialiased;
        let options = WriteOptions { spz_sh_bits: Some([8, 8]), spz_fractional_bits: Some(14), ..version(container) };
        let back = decode(&encode(&avatar, &options)).unwrap();
        assert_eq!(back.frame, Frame::RUB);
        assert_eq!(back.render_model, RenderModel::Antialiased);
        let (a, b) = (&avatar.splats, &back.splats);
        b.validate().unwrap();
        assert_eq!((b.len(), b.sh_degree), (200, degree));
        for i in 0..a.len() {
            for k in 0..3 {
                assert!((a.means[i][k] - b.means[i][k]).abs() <= 0.5001 / 16384.0);
                assert!((a.log_scales[i][k] - b.log_scales[i][k]).abs() <= 0.5001 / 16.0);
                assert!((a.sh0[i][k] - b.sh0[i][k]).abs() <= 0.5001 / 255.0 / 0.15);
            }
            let opacity = opacity_from_logit(a.opacity_logits[i]) - opacity_from_logit(b.opacity_logits[i]);
            assert!(opacity.abs() <= 0.5001 / 255.0);
            let turned = angle(a.rotations[i], b.rotations[i]);
            assert!(turned < if container == 2 { 15.0 } else { 0.25 }, "{turned}° in version {container}");
        }
        for (x, y) in a.sh_rest.iter().zip(&b.sh_rest) {
            assert!((x - y).abs() <= 0.5001 / 128.0);
        }
    }
}

#[test]
fn decoded_splats_encode_to_the_same_integers() {
    let options = WriteOptions { spz_fractional_bits: Some(12), ..version(4) };
    let once = decode(&encode(&Avatar::new(sample(300, 3), Frame::RUB), &options)).unwrap();
    let twice = decode(&encode(&once, &options)).unwrap();
    let (a, b) = (once.splats, twice.splats);
    assert_eq!((a.means, a.log_scales, a.opacity_logits), (b.means, b.log_scales, b.opacity_logits));
    assert_eq!((a.sh0, a.sh_rest), (b.sh0, b.sh_rest));
    assert!(a.rotations.iter().zip(&b.rotations).all(|(p, q)| angle(*p, *q) < 0.06));
}

#[test]
fn the_bytes_of_one_splat_are_those_of_the_specification() {
    let mut splats = Splats::with_len(1, 1);
    splats.means[0] = [1.0, -1.0 / 4096.0, 2.5];
    splats.rotations[0] = [0.0, 0.0, -2.0, 0.0];
    splats.log_scales[0] = [-10.0, -5.0, 9.0];
    splats.sh0[0] = [0.0, 4.0, -4.0];
    splats.sh_rest = vec![0.0, 1.0, -1.0, 0.5, -0.5, 0.02, 0.0, 0.0, 0.0];
    let bytes = encode(&Avatar::new(splats, Frame::RUB), &WriteOptions { spz_fractional_bits: Some(12), ..version(3) });
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&bytes[..]), &mut plain).unwrap();
    let expected: Vec<u8> = [
        b"NGSP\x03\0\0\0\x01\0\0\0\x01\x0c\0\0".as_slice(),
        &[0, 0x10, 0, 0xff, 0xff, 0xff, 0, 0x28, 0],
        &[128],
        &[128, 255, 0],
        &[0, 80, 255],
        &u32::to_le_bytes(1 << 30),
        &[128, 255, 0, 192, 64, 128, 128, 128, 128],
    ]
    .concat();
    let rotation = 16 + 9 + 1 + 3 + 3;
    assert_eq!(plain[..rotation], expected[..rotation]);
    assert_eq!(plain[rotation + 4..], expected[rotation + 4..]);
    // y is the largest, the others are zero, and the signs of zeros are free
    let word = u32::from_le_bytes(plain[rotation..rotation + 4].try_into().unwrap());
    assert_eq!(word & !(1 << 29 | 1 << 19 | 1 << 9), 1 << 30);
    let back = read(&Source::from_bytes(plain), &ReadOptions::default()).unwrap();
    assert_eq!(back.splats.means[0], [1.0, -1.0 / 4096.0, 2.5]);
}

#[test]
fn version_1_holds_half_floats() {
    let mut plain = b"NGSP\x01\0\0\0\x01\0\0\0\0\x0c\x01\0".to_vec();
    plain.extend([1.5f32, -0.25, 100.0].into_iter().flat_map(|v| half::f16::from_f32(v).to_le_bytes()));
    plain.extend([255, 128, 128, 128, 160, 160, 160, 255, 128, 128]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &plain).unwrap();
    let avatar = decode(&gzip.finish().unwrap()).unwrap();
    assert_eq!(avatar.splats.means, [[1.5, -0.25, 100.0]]);
    assert_eq!(avatar.splats.log_scales, [[0.0; 3]]);
    assert_eq!(avatar.splats.rotations[0][1], 1.0);
    assert!(avatar.splats.opacity_logits[0].is_finite());
    assert_eq!(avatar.render_model, RenderModel::Antialiased);
}

#[test]
fn frames_are_recorded_when_they_are_not_the_default() {
    let mut avatar = Avatar::new(sample(9, 2), Frame::RDF);
    for container in [2, 3, 4] {
        let plain = encode(&avatar, &version(container));
        assert_eq!(decode(&plain).unwrap().frame, Frame::RUB);
        for frame in ["RDF", "LUF", "RFU", "LBD"] {
            let frame: Frame = frame.parse().unwrap();
            let bytes = encode(&avatar, &WriteOptions { frame: Some(frame), ..version(container) });
            let mut back = decode(&bytes).unwrap();
            assert_eq!(back.frame, frame);
            back.reframe(Frame::RDF).unwrap();
            for (a, b) in avatar.splats.means.iter().flatten().zip(back.splats.means.iter().flatten()) {
                assert!((a - b).abs() < 2e-4);
            }
        }
        let overridden = ReadOptions { frame: Some(Frame::LUF), ..ReadOptions::default() };
        assert_eq!(read(&Source::from_bytes(plain), &overridden).unwrap().frame, Frame::LUF);
    }
    avatar.frame = Frame::RUB;
    assert_eq!(encode(&avatar, &version(4)), encode(&avatar, &WriteOptions { frame: Some(Frame::RUB), ..version(4) }));
    let odd = WriteOptions { frame: Some("UFR".parse().unwrap()), ..version(4) };
    assert_eq!(write(&avatar, &mut Cursor::new(Vec::new()), &odd).unwrap_err().code(), "USAGE");
}

#[test]
fn fractional_bits_follow_the_smallest_splats_and_the_bounding_box() {
    let bits = |size: f32, log_scale: f32| {
        let mut splats = sample(50, 0);
        splats.means.iter_mut().flatten().for_each(|v| *v *= size);
        splats.log_scales.iter_mut().flatten().for_each(|v| *v = log_scale);
        splats.opacity_logits.fill(1.0);
        encode::fractional_bits(&splats, None)
    };
    assert_eq!(bits(1.0, -3.0).unwrap(), 12);
    assert_eq!(bits(1.0, -7.0).unwrap(), 13);
    assert_eq!(bits(1.0, -30.0).unwrap(), 17);
    assert!(bits(300.0, -30.0).unwrap() < 16);
    assert!(bits(5000.0, -3.0).unwrap() < 12);
    assert!(bits(1e8, -3.0).is_err());
    let avatar = Avatar::new(sample(3, 0), Frame::RUB);
    let refused = [
        WriteOptions { spz_fractional_bits: Some(24), ..version(4) },
        WriteOptions { spz_fractional_bits: Some(25), ..version(4) },
        WriteOptions { spz_sh_bits: Some([0, 4]), ..version(4) },
        WriteOptions { spz_sh_bits: Some([5, 9]), ..version(4) },
        version(1),
        version(5),
    ];
    for options in refused {
        assert_eq!(write(&avatar, &mut Cursor::new(Vec::new()), &options).unwrap_err().code(), "USAGE");
    }
    let empty = Avatar::new(Splats::default(), Frame::RUB);
    assert_eq!(write(&empty, &mut Cursor::new(Vec::new()), &version(4)).unwrap_err().code(), "USAGE");
}

#[test]
fn every_truncation_is_an_error_and_no_corruption_panics() {
    for container in [2, 3, 4] {
        let avatar = Avatar::new(sample(7, 1), Frame::RUB);
        let bytes = encode(&avatar, &WriteOptions { frame: Some(Frame::RDF), ..version(container) });
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length]).is_err(), "version {container} cut to {length}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(decode(&longer).is_err());
        for at in 0..bytes.len() {
            for value in [0, 0xff, bytes[at] ^ 1, bytes[at] ^ 0x80] {
                let mut broken = bytes.clone();
                broken[at] = value;
                let _ = decode(&broken);
            }
        }
    }
}

#[test]
fn oversized_claims_are_refused_before_allocation() {
    let bytes = encode(&Avatar::new(sample(7, 0), Frame::RUB), &version(4));
    let patched = |at: usize, value: &[u8]| {
        let mut broken = bytes.clone();
        broken[at..at + value.len()].copy_from_slice(value);
        decode(&broken).unwrap_err().code()
    };
    assert_eq!(patched(8, &u32::MAX.to_le_bytes()), "HEADER");
    assert_eq!(patched(8, &2_000_000_000u32.to_le_bytes()), "HEADER");
    assert_eq!(patched(12, &[5]), "HEADER");
    assert_eq!(patched(12, &[1]), "HEADER");
    assert_eq!(patched(13, &[25]), "HEADER");
    assert_eq!(patched(14, &[0x80]), "UNSUPPORTED");
    assert_eq!(patched(4, &[9]), "UNSUPPORTED");
    assert_eq!(patched(15, &[6]), "HEADER");
    assert_eq!(patched(16, &[0xff; 4]), "TRUNCATED");
    assert_eq!(patched(16, &[31, 0, 0, 0]), "HEADER");
    assert_eq!(patched(32, &[0xff; 8]), "TRUNCATED");
    assert_eq!(patched(40, &[0xff; 8]), "VALUE");
    let limits = Limits { splats: 6, ..Limits::default() };
    let error = read(&Source::from_bytes(bytes), &ReadOptions { limits, ..ReadOptions::default() }).unwrap_err();
    assert_eq!(error.code(), "LIMIT");
    assert_eq!(decode(b"").unwrap_err().code(), "TRUNCATED");
    assert!(!sniff("x.bin", b"\x1f\x8b") && sniff("x.spz", b"\x1f\x8b") && sniff("", b"NGSP"));
}
