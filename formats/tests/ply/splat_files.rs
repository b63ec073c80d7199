//! `.splat` and `.ksplat`.

use std::collections::HashMap;

use gav_formats::{
    Frame, Limits, ReadOptions, Source, Splats, WriteOptions,
    conventions::{color_from_sh0, normalize_quaternion, opacity_from_logit, sh_rest_count},
    format_by_name, sniff,
};
use half::f16;

use crate::support::{avatar, capture, code, random_splats, read, shared, torture, write};

/// Checks colours, opacity, scale and rotation of one splat: bytes may differ by `steps`, log-scales by `scale`.
fn assert_close(a: &Splats, i: usize, b: &Splats, j: usize, steps: f32, scale: f32) {
    let step = steps / 255.0;
    for k in 0..3 {
        let (x, y) = (color_from_sh0(a.sh0[i][k]), color_from_sh0(b.sh0[j][k]).clamp(0.0, 1.0));
        assert!((x - y).abs() <= step, "colour {x} {y}");
        assert!(
            (a.log_scales[i][k] - b.log_scales[j][k]).abs() <= scale,
            "{:?} {:?}",
            a.log_scales[i],
            b.log_scales[j]
        );
    }
    let (x, y) = (opacity_from_logit(a.opacity_logits[i]), opacity_from_logit(b.opacity_logits[j]));
    assert!((x - y).abs() <= step, "opacity {x} {y}");
    let [p, q] = [a.rotations[i], b.rotations[j]].map(|q| normalize_quaternion(q.map(f64::from)));
    let dot: f64 = (0..4).map(|k| p[k] * q[k]).sum();
    assert!(dot.abs() > 0.9998, "rotation {p:?} {q:?}");
}

#[test]
fn the_reference_splat_files_match_their_originals() {
    for name in ["lam_head", "playbot_l3"] {
        let (Some(path), Some(original)) = (shared(&format!("data/splats/reference/{name}.splat")), capture(name))
        else {
            return;
        };
        let decoded = read(std::fs::read(path).unwrap(), "x.splat").unwrap().splats;
        let original = read(original, "x.ply").unwrap();
        let ours = read(write(&original, "splat").unwrap(), "x.splat").unwrap().splats;
        let original = original.splats;
        assert_eq!((decoded.len(), ours.len()), (original.len(), original.len()));
        // positions are stored in full: they identify the splat
        let mut places: HashMap<[u32; 3], Vec<usize>> = HashMap::new();
        for (j, mean) in original.means.iter().enumerate() {
            places.entry(mean.map(f32::to_bits)).or_default().push(j);
        }
        // the reference writer cuts bytes off instead of rounding them
        for (file, steps) in [(&decoded, 1.01), (&ours, 0.51)] {
            for i in 0..file.len() {
                let candidates = &places[&file.means[i].map(f32::to_bits)];
                if let [j] = candidates[..] {
                    assert_close(file, i, &original, j, steps, 1e-5);
                }
            }
        }
    }
}

#[test]
fn the_most_visible_splats_come_first() {
    let mut splats = random_splats(200, 2, 4);
    splats.log_scales[50] = [2.0; 3];
    splats.opacity_logits[50] = 9.0;
    let bytes = write(&avatar(splats.clone()), "splat").unwrap();
    assert_eq!(bytes.len(), 200 * 32);
    let back = read(bytes, "x.splat").unwrap();
    assert_eq!((back.splats.means[0], back.splats.sh_degree, back.frame), (splats.means[50], 0, Frame::RDF));
    let weight = |i: usize| {
        back.splats.log_scales[i].iter().sum::<f32>().exp() * opacity_from_logit(back.splats.opacity_logits[i])
    };
    // up to the rounding of opacity
    assert!((1..200).all(|i| weight(i) <= weight(i - 1) * 1.2));
    let format = format_by_name("splat").unwrap();
    let options = WriteOptions { frame: Some(Frame::RUB), ..Default::default() };
    let flipped = read(gav_formats::to_bytes(&avatar(splats), format, &options).unwrap(), "x.splat").unwrap();
    assert_eq!(flipped.splats.means[0][1], -back.splats.means[0][1]);
}

#[test]
fn odd_values_stay_finite() {
    let mut record = [0u8; 32];
    record[12..16].copy_from_slice(&(-1f32).to_le_bytes());
    record[27] = 255;
    let splats = read(record.to_vec(), "x.splat").unwrap().splats;
    assert_eq!(splats.log_scales[0], [f32::MIN_POSITIVE.ln(); 3]);
    assert!(splats.opacity_logits[0].is_finite());
    let q = splats.rotations[0];
    assert_eq!(q, [-0.5; 4]);
}

#[test]
fn a_splat_file_is_known_by_name_and_size_only() {
    let bytes = write(&avatar(random_splats(3000, 0, 4)), "splat").unwrap();
    assert_eq!(code(sniff(&Source::from_bytes(bytes.clone()))), "UNKNOWN_FORMAT");
    assert_eq!(sniff(&Source::from_bytes_at(bytes.clone(), "A.SPLAT")).unwrap().id, "splat");
    assert_eq!(code(read(bytes[..95].to_vec(), "x.splat")), "UNKNOWN_FORMAT");
    assert_eq!(code(read(bytes[..95_999].to_vec(), "x.splat")), "TRUNCATED");
    assert_eq!(code(read(Vec::new(), "x.splat")), "UNKNOWN_FORMAT");
    let options = ReadOptions { limits: Limits { splats: 2999, ..Limits::default() }, ..Default::default() };
    assert_eq!(code(gav_formats::read(&Source::from_bytes_at(bytes, "x.splat"), &options)), "LIMIT");
}

/// A `.ksplat` file: one section per entry, buckets of four splats of which the last is partly filled.
fn ksplat(sections: &[&Splats], level: u16, sh_range: [f32; 2]) -> Vec<u8> {
    const BLOCK: f32 = 5.0;
    const BUCKET: usize = 4;
    let count: usize = sections.iter().map(|s| s.len()).sum();
    let mut file = vec![0u8; 4096 + 1024 * sections.len()];
    let put = |file: &mut Vec<u8>, at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    file[1] = 1;
    for (at, value) in [(4, sections.len()), (8, sections.len()), (12, count), (16, count)] {
        put(&mut file, at, &(value as u32).to_le_bytes());
    }
    put(&mut file, 20, &level.to_le_bytes());
    put(&mut file, 36, &sh_range[0].to_le_bytes());
    put(&mut file, 40, &sh_range[1].to_le_bytes());
    for (index, splats) in sections.iter().enumerate() {
        let (n, at) = (splats.len(), 4096 + 1024 * index);
        let (full, partial) = if level == 0 { (0, 0) } else { (n / BUCKET, usize::from(n % BUCKET > 0)) };
        for (offset, value) in [(0, n), (4, n), (8, BUCKET), (12, full + partial), (32, full), (36, partial)] {
            put(&mut file, at + offset, &(value as u32).to_le_bytes());
        }
        put(&mut file, at + 16, &BLOCK.to_le_bytes());
        put(&mut file, at + 20, &12u16.to_le_bytes());
        put(&mut file, at + 40, &u16::from(splats.sh_degree).to_le_bytes());
        if partial > 0 {
            file.extend(((n % BUCKET) as u32).to_le_bytes());
        }
        let centre = |bucket: usize| [bucket as f32 * 0.125, -0.25, 0.5];
        (0..full + partial).for_each(|bucket| centre(bucket).iter().for_each(|v| file.extend(v.to_le_bytes())));
        for i in 0..n {
            let float = |file: &mut Vec<u8>, v: f32| match level {
                0 => file.extend(v.to_le_bytes()),
                _ => file.extend(f16::from_f32(v).to_le_bytes()),
            };
            for axis in 0..3 {
                if level == 0 {
                    file.extend(splats.means[i][axis].to_le_bytes());
                } else {
                    let offset = splats.means[i][axis] - centre(i / BUCKET)[axis];
                    let code = (offset * 32767.0 / (BLOCK / 2.0)).round() + 32767.0;
                    file.extend((code as u16).to_le_bytes());
                }
            }
            splats.log_scales[i].iter().for_each(|s| float(&mut file, s.exp()));
            splats.rotations[i].iter().for_each(|q| float(&mut file, *q));
            let byte = |v: f32| (v * 255.0).round().clamp(0.0, 255.0) as u8;
            file.extend(splats.sh0[i].map(|c| byte(color_from_sh0(c))));
            file.push(byte(opacity_from_logit(splats.opacity_logits[i])));
            let rest = &splats.sh_rest[i * splats.sh_rest_count() * 3..];
            for band in 1..=usize::from(splats.sh_degree) {
                for (channel, m) in (0..3).flat_map(|c| (0..2 * band + 1).map(move |m| (c, m))) {
                    let value = rest[(band * band - 1 + m) * 3 + channel];
                    if level < 2 {
                        float(&mut file, value);
                    } else {
                        file.push(byte((value - sh_range[0]) / (sh_range[1] - sh_range[0])));
                    }
                }
            }
        }
    }
    file
}

#[test]
fn ksplat_files_of_every_level_and_degree_are_read() {
    for level in 0..3 {
        for degree in 0..3 {
            let first = random_splats(11, degree, 30);
            let second = random_splats(8, degree, 31);
            let bytes = ksplat(&[&first, &second], level, [-0.5, 0.5]);
            let source = Source::from_bytes(bytes.clone());
            assert_eq!(sniff(&source).unwrap().id, "ksplat");
            let back = read(bytes, "x.ksplat").unwrap();
            assert_eq!((back.splats.len(), back.splats.sh_degree, back.frame), (19, degree, Frame::RDF));
            let width = sh_rest_count(degree) * 3;
            for i in 0..19 {
                let (original, j) = if i < 11 { (&first, i) } else { (&second, i - 11) };
                assert_close(&back.splats, i, original, j, 0.51, if level == 0 { 1e-5 } else { 1e-3 });
                for k in 0..3 {
                    let error = (back.splats.means[i][k] - original.means[j][k]).abs();
                    assert!(error <= if level == 0 { 0.0 } else { 0.51 * 2.5 / 32767.0 }, "{level} {error}");
                }
                for k in 0..width {
                    let error = (back.splats.sh_rest[i * width + k] - original.sh_rest[j * width + k]).abs();
                    assert!(error <= [0.0, 3e-4, 0.51 / 255.0][level as usize], "level {level}: {error}");
                }
            }
        }
    }
}

#[test]
fn ksplat_sections_may_differ_in_degree() {
    let (plain, rich) = (random_splats(3, 0, 1), random_splats(2, 2, 1));
    let back = read(ksplat(&[&plain, &rich], 0, [0.0; 2]), "x.ksplat").unwrap().splats;
    assert_eq!((back.len(), back.sh_degree), (5, 2));
    assert!(back.sh_rest[..3 * 24].iter().all(|v| *v == 0.0));
    assert_eq!(back.sh_rest[3 * 24..], rich.sh_rest);
    assert!(read(ksplat(&[], 0, [0.0; 2]), "x.ksplat").is_err(), "a file that has no place for a section");
}

#[test]
fn impossible_ksplat_numbers_are_refused() {
    let splats = random_splats(5, 1, 1);
    let bytes = ksplat(&[&splats], 1, [0.0; 2]);
    let patched = |patches: &[(usize, u32)]| {
        let mut bytes = bytes.clone();
        patches.iter().for_each(|(at, v)| bytes[*at..*at + 4].copy_from_slice(&v.to_le_bytes()));
        code(read(bytes, "x.ksplat"))
    };
    assert_eq!(patched(&[]), "OK");
    let huge = u32::MAX;
    assert_eq!(patched(&[(4096, huge), (4100, huge), (12, huge), (16, huge)]), "TRUNCATED");
    assert_eq!(patched(&[(4108, huge), (4128, huge)]), "HEADER");
    assert_eq!(patched(&[(4108, huge)]), "TRUNCATED");
    assert_eq!(patched(&[(4132, huge)]), "HEADER");
    assert_eq!(patched(&[(4104, 0)]), "VALUE");
    assert_eq!(patched(&[(4136, 3)]), "HEADER");
    assert_eq!(patched(&[(16, 4), (12, 9)]), "HEADER");
    assert_eq!(patched(&[(4, 60_000)]), "LIMIT");
}

#[test]
fn damaged_files_are_errors_not_panics() {
    // truncation at a whole record is a shorter file, which nothing can notice
    let splat = write(&avatar(random_splats(2, 0, 5)), "splat").unwrap();
    for length in (0..splat.len()).filter(|l| *l != 32) {
        assert!(read(splat[..length].to_vec(), "x.splat").is_err());
    }
    for value in [0, 1, 0x7f, 0x80, 0xff] {
        for at in 0..splat.len() {
            let mut damaged = splat.clone();
            damaged[at] = value;
            let _ = read(damaged, "x.splat");
        }
    }
    torture(&ksplat(&[&random_splats(3, 1, 5)], 1, [0.0; 2]), |bytes| read(bytes, "x.ksplat"));
}
