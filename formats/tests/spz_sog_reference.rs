//! Files of the reference writers against the PLY that they were made from, and our files against theirs.
//!
//! The captures lie outside the repository: `GAV_SHARED`, or `shared` beside it.

use std::{fs, path::PathBuf, time::Instant};

use gav_formats::{
    Avatar, Frame, ReadOptions, Source, Splats, WriteOptions,
    conventions::{SH_C0, opacity_from_logit},
    format_by_name, read, to_bytes,
};
use rayon::prelude::*;

fn captures() -> Option<PathBuf> {
    let shared = std::env::var_os("GAV_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let folder = shared.join("data/splats");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("SKIPPED: no captures at {} (set GAV_SHARED)", folder.display());
    None
}

/// A PLY of float32 columns only.
fn ply(folder: &std::path::Path, name: &str) -> Avatar {
    let bytes = zstd::decode_all(&fs::read(folder.join(format!("{name}.ply.zst"))).unwrap()[..]).unwrap();
    let end = bytes.windows(11).position(|w| w == b"end_header\n").unwrap() + 11;
    let header = std::str::from_utf8(&bytes[..end]).unwrap();
    let columns: Vec<&str> = header.lines().filter_map(|l| l.strip_prefix("property float ")).collect();
    let rows: Vec<Vec<f32>> = bytes[end..]
        .chunks_exact(4 * columns.len())
        .map(|row| row.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect())
        .collect();
    let column = |name: &str| columns.iter().position(|c| *c == name).unwrap();
    let coefficients = columns.iter().filter(|c| c.starts_with("f_rest_")).count() / 3;
    let mut splats =
        Splats::with_len(rows.len(), [0, 3, 8, 15, 24].iter().position(|&k| k == coefficients).unwrap() as u8);
    let triple = |row: &[f32], names: [&str; 3]| names.map(|n| row[column(n)]);
    for (i, row) in rows.iter().enumerate() {
        splats.means[i] = triple(row, ["x", "y", "z"]);
        splats.log_scales[i] = triple(row, ["scale_0", "scale_1", "scale_2"]);
        splats.sh0[i] = triple(row, ["f_dc_0", "f_dc_1", "f_dc_2"]);
        splats.rotations[i] = ["rot_0", "rot_1", "rot_2", "rot_3"].map(|n| row[column(n)]);
        splats.opacity_logits[i] = row[column("opacity")];
        for k in 0..coefficients {
            for c in 0..3 {
                splats.sh_rest[(i * coefficients + k) * 3 + c] =
                    row[column(&format!("f_rest_{}", c * coefficients + k))];
            }
        }
    }
    Avatar::new(splats, Frame::RDF)
}

#[derive(Debug)]
struct Errors {
    position: f64,
    scale: f64,
    rotation: f64,
    opacity: f64,
    color: f64,
    sh: f64,
}

/// Root mean squares over the visible splats of `a` (degrees for rotation), each against the splat of `b` that is
/// nearest in position, scale and colour together.
fn errors(a: &Splats, b: &Splats) -> Errors {
    assert_eq!((a.len(), a.sh_degree), (b.len(), b.sh_degree));
    let key = |s: &Splats, i: usize| -> [f32; 9] {
        std::array::from_fn(|k| match k {
            0..3 => s.means[i][k] * 1000.0,
            3..6 => s.log_scales[i][k - 3].max(-10.0),
            _ => s.sh0[i][k - 6].clamp(-3.3, 3.3),
        })
    };
    // sorted by x, so that only a window has to be searched
    let mut keys: Vec<([f32; 9], usize)> = (0..b.len()).map(|i| (key(b, i), i)).collect();
    keys.sort_unstable_by(|p, q| p.0[0].total_cmp(&q.0[0]).then(p.1.cmp(&q.1)));
    let nearest = |i: usize| -> usize {
        let query = key(a, i);
        let middle = keys.partition_point(|(k, _)| k[0] < query[0]);
        let mut best = (f32::MAX, 0);
        let mut look = |(k, j): &([f32; 9], usize)| -> bool {
            let d: f32 = k.iter().zip(&query).map(|(p, q)| (p - q) * (p - q)).sum();
            if d < best.0 {
                best = (d, *j);
            }
            (k[0] - query[0]).powi(2) <= best.0
        };
        keys[middle..].iter().take_while(|k| look(k)).count();
        keys[..middle].iter().rev().take_while(|k| look(k)).count();
        best.1
    };
    let visible: Vec<usize> = (0..a.len()).filter(|&i| opacity_from_logit(a.opacity_logits[i]) > 1.0 / 255.0).collect();
    let width = a.sh_rest_count() * 3;
    let sums = visible
        .par_iter()
        .map(|&i| {
            let j = nearest(i);
            let square = |x: &[f32], y: &[f32]| -> f64 { x.iter().zip(y).map(|(p, q)| f64::from(p - q).powi(2)).sum() };
            let scale = |s: &Splats, i: usize| s.log_scales[i].map(|v| v.max(-15.0));
            let (p, q) = (a.rotations[i].map(f64::from), b.rotations[j].map(f64::from));
            let dot = |x: [f64; 4], y: [f64; 4]| (0..4).map(|k| x[k] * y[k]).sum::<f64>();
            let turn = 2.0 * (dot(p, q).abs() / (dot(p, p) * dot(q, q)).sqrt()).min(1.0).acos().to_degrees();
            let opacity = opacity_from_logit(a.opacity_logits[i]) - opacity_from_logit(b.opacity_logits[j]);
            [
                square(&a.means[i], &b.means[j]) / 3.0,
                square(&scale(a, i), &scale(b, j)) / 3.0,
                turn * turn,
                f64::from(opacity).powi(2),
                square(&a.sh0[i], &b.sh0[j]) / 3.0 * SH_C0 * SH_C0,
                square(&a.sh_rest[i * width..][..width], &b.sh_rest[j * width..][..width]) / width.max(1) as f64,
            ]
        })
        .reduce(|| [0.0; 6], |x, y| std::array::from_fn(|k| x[k] + y[k]));
    let [position, scale, rotation, opacity, color, sh] = sums.map(|s| (s / visible.len() as f64).sqrt());
    Errors { position, scale, rotation, opacity, color, sh }
}

fn report(what: &str, count: usize, bytes: usize, e: &Errors) {
    println!(
        "{what:28} {bytes:8} B {:6.2} B/splat  pos {:.1e} scale {:.4} rot {:.3}° op {:.4} rgb {:.4} sh {:.4}",
        bytes as f64 / count as f64,
        e.position,
        e.scale,
        e.rotation,
        e.opacity,
        e.color,
        e.sh
    );
}

/// Limits for position, scale, rotation, opacity, colour and SH, in the order of [`Errors`].
fn check(what: &str, e: &Errors, most: [f64; 6]) {
    let values = [e.position, e.scale, e.rotation, e.opacity, e.color, e.sh];
    for ((name, value), most) in
        ["position", "scale", "rotation", "opacity", "colour", "SH"].iter().zip(values).zip(most)
    {
        assert!(value <= most, "{what}: {name} error {value} above {most}");
    }
}

#[test]
fn reference_files_decode_to_the_ply_they_were_made_from() {
    let Some(folder) = captures() else { return };
    // root mean squares of these very files, with a margin; version 2 stores no w, which costs degrees near half-turns
    let table: [(&str, &str, [f64; 6]); 8] = [
        ("lam_head", "v2.spz", [1.3e-4, 1.2, 0.82, 0.0012, 0.0022, 0.0]),
        ("lam_head", "v3.spz", [1.3e-4, 1.2, 0.09, 0.0012, 0.0022, 0.0]),
        ("lam_head", "v4.spz", [1.3e-4, 1.2, 0.09, 0.0012, 0.0022, 0.0]),
        ("lam_head", "sog", [6.0e-6, 0.015, 0.70, 0.0024, 0.0012, 0.0]),
        ("playbot_l3", "v2.spz", [1.3e-4, 0.019, 1.95, 0.0012, 0.034, 0.036]),
        ("playbot_l3", "v3.spz", [1.3e-4, 0.019, 0.095, 0.0012, 0.034, 0.036]),
        ("playbot_l3", "v4.spz", [1.3e-4, 0.019, 0.095, 0.0012, 0.034, 0.036]),
        ("playbot_l3", "sog", [3.6e-5, 0.0004, 0.88, 0.0024, 0.0012, 0.017]),
    ];
    for name in ["lam_head", "playbot_l3"] {
        let original = ply(&folder, name);
        for (_, ending, most) in table.iter().filter(|row| row.0 == name) {
            let path = folder.join(format!("reference/{name}.{ending}"));
            let source = Source::open(&path).unwrap();
            // the SPZ files hold RUB, as their specification says, although they were made from RDF: y and z are negated
            let mut avatar = read(&source, &ReadOptions::default()).unwrap();
            assert_eq!(avatar.frame, if *ending == "sog" { Frame::RDF } else { Frame::RUB });
            avatar.reframe(Frame::RDF).unwrap();
            if *ending != "sog" {
                let steps = original.splats.means.iter().flatten().zip(avatar.splats.means.iter().flatten());
                assert!(
                    steps.into_iter().all(|(a, b)| (a - b).abs() < 0.501 / 4096.0),
                    "{name}.{ending}: order or axes"
                );
            }
            let e = errors(&original.splats, &avatar.splats);
            report(&format!("reference {name}.{ending}"), avatar.splats.len(), source.len(), &e);
            check(&format!("{name}.{ending}"), &e, *most);
        }
    }
}

#[test]
fn own_files_are_as_small_and_as_exact_as_those_of_the_reference_writers() {
    let Some(folder) = captures() else { return };
    for name in ["lam_head", "playbot_l3"] {
        let original = ply(&folder, name);
        let spz = |version, bits| WriteOptions {
            frame: Some(Frame::RDF),
            spz_version: Some(version),
            spz_fractional_bits: bits,
            ..WriteOptions::default()
        };
        let head = name == "lam_head";
        let sh = if head { 0.0 } else { 0.036 };
        let color = if head { 0.0022 } else { 0.034 };
        // 17 and 14 fractional bits are chosen
        let fine = if head { 2.3e-6 } else { 1.8e-5 };
        let scale = if head { 1.2 } else { 0.019 };
        // format, options, file to compare with, size relative to it, errors
        let table = [
            ("spz", spz(2, Some(12)), "v2.spz", 1.02, [1.3e-4, scale, 1.95, 0.0012, color, sh]),
            ("spz", spz(3, Some(12)), "v3.spz", 1.02, [1.3e-4, scale, 0.095, 0.0012, color, sh]),
            ("spz", spz(4, Some(12)), "v4.spz", 1.01, [1.3e-4, scale, 0.095, 0.0012, color, sh]),
            ("spz", spz(4, None), "v4.spz", 1.2, [fine, scale, 0.095, 0.0012, color, sh]),
            ("sog", WriteOptions::default(), "sog", 1.01, [3.0e-5, 0.015, 0.61, 0.0012, 0.0012, 0.017]),
        ];
        for (format, options, reference, ratio, most) in table {
            let start = Instant::now();
            let bytes = to_bytes(&original, format_by_name(format).unwrap(), &options).unwrap();
            let seconds = start.elapsed().as_secs_f64();
            let (size, source) = (bytes.len(), Source::from_bytes(bytes));
            let start = Instant::now();
            let avatar = read(&source, &ReadOptions::default()).unwrap();
            let e = errors(&original.splats, &avatar.splats);
            assert_eq!(avatar.frame, Frame::RDF);
            let what = format!("own {name}.{reference}");
            report(&what, avatar.splats.len(), size, &e);
            println!("    encoded in {seconds:.3} s, decoded in {:.3} s", start.elapsed().as_secs_f64());
            check(&what, &e, most);
            let theirs = fs::metadata(folder.join(format!("reference/{name}.{reference}"))).unwrap().len();
            let relative = size as f64 / theirs as f64;
            assert!(relative < ratio, "{what}: {size} bytes are {relative} times {theirs}");
        }
    }
}

/// Same quantisation as the reference writer, to the byte: only a tie of a rounded quaternion may differ.
#[test]
fn spz_streams_are_those_of_the_reference_writer() {
    let Some(folder) = captures() else { return };
    let inflate = |bytes: &[u8]| {
        let mut plain = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(bytes), &mut plain).unwrap();
        plain
    };
    for name in ["lam_head", "playbot_l3"] {
        let original = ply(&folder, name);
        for version in [2, 3] {
            let options =
                WriteOptions { spz_version: Some(version), spz_fractional_bits: Some(12), ..WriteOptions::default() };
            let own = inflate(&to_bytes(&original, format_by_name("spz").unwrap(), &options).unwrap());
            let theirs = inflate(&fs::read(folder.join(format!("reference/{name}.v{version}.spz"))).unwrap());
            assert_eq!(own.len(), theirs.len());
            let different = own.iter().zip(&theirs).filter(|(a, b)| a != b).count();
            println!("{name} v{version}: {different} of {} bytes differ", own.len());
            assert!(different <= 2);
        }
    }
}

#[test]
fn version_1_of_sog_is_read() {
    let Some(folder) = captures() else { return };
    let avatar = gav_formats::load(folder.join("reference/sog-v1-playcanvas-logo"), &ReadOptions::default()).unwrap();
    assert_eq!((avatar.splats.len(), avatar.splats.sh_degree), (307_128, 0));
    let (low, high) = avatar.splats.bounds().unwrap();
    println!("logo: {low:?} to {high:?}");
    // bounds of its meta.json, through t ↦ sign(t) (e^|t| − 1)
    for (value, t) in [(low[0], -0.930_115_04f64), (high[1], 0.259_026_47), (low[1], -1.330_165_23)] {
        assert!((f64::from(value) - t.abs().exp_m1().copysign(t)).abs() < 1e-4);
    }
    let logits = &avatar.splats.opacity_logits;
    assert!(logits.iter().all(|v| (-4.14..=5.54).contains(v)));
}
