//! PlayCanvas compressed PLY: our writer, and files of the reference writer against their originals.

use gav_formats::{
    Frame, Limits, RenderModel, Splats, WriteOptions,
    conventions::{color_from_sh0, matrix_from_quaternion, normalize_quaternion, opacity_from_logit},
    format_by_name,
    ply::Ply,
    sniff,
};

use crate::support::{avatar, capture, code, random_splats, read, shared, torture, write};

/// Largest difference of the rotation matrices.
fn turn(a: [f32; 4], b: [f32; 4]) -> f64 {
    let [a, b] = [a, b].map(|q| matrix_from_quaternion(normalize_quaternion(q.map(f64::from))));
    a.as_flattened().iter().zip(b.as_flattened()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// For every `stride`-th splat of a compressed file, the original within half a quantisation step; panics when none is.
fn assert_within_steps(bytes: &[u8], decoded: &Splats, original: &Splats, stride: usize) -> usize {
    let ply = Ply::parse(bytes, &Limits::default()).unwrap();
    let chunks = ply.table("chunk").unwrap();
    let limit = |chunk: usize, low: &str, high: &str, steps: f64| {
        let value = |name: &str| chunks.column(name).unwrap().f64(chunks.row(chunk));
        // half a step, rounding of the float32 arithmetic, and the range that is stored as zero
        (value(high) - value(low)) / steps * 0.501 + 1.1e-5
    };
    let mut compared = 0;
    for i in (0..decoded.len()).step_by(stride) {
        let c = i / 256;
        let axes = [("x", 2047.0), ("y", 1023.0), ("z", 2047.0)];
        let position = axes.map(|(a, steps)| limit(c, &format!("min_{a}"), &format!("max_{a}"), steps));
        let scale = axes.map(|(a, steps)| limit(c, &format!("min_scale_{a}"), &format!("max_scale_{a}"), steps));
        let color = ["r", "g", "b"].map(|a| limit(c, &format!("min_{a}"), &format!("max_{a}"), 255.0));
        let close = |a: [f32; 3], b: [f32; 3], limits: [f64; 3]| {
            (0..3).all(|k| (f64::from(a[k]) - f64::from(b[k])).abs() <= limits[k])
        };
        let width = original.sh_rest_count() * 3;
        let found = (0..original.len()).any(|j| {
            close(decoded.means[i], original.means[j], position)
                && close(decoded.log_scales[i], original.log_scales[j].map(|s| s.clamp(-20.0, 20.0)), scale)
                && close(decoded.sh0[i].map(color_from_sh0), original.sh0[j].map(color_from_sh0), color)
                && (opacity_from_logit(decoded.opacity_logits[i]) - opacity_from_logit(original.opacity_logits[j]))
                    .abs()
                    <= 0.501 / 255.0
                && turn(decoded.rotations[i], original.rotations[j]) < 0.005
                && (0..width).all(|k| {
                    let (a, b) = (decoded.sh_rest[i * width + k], original.sh_rest[j * width + k].clamp(-4.0, 4.0));
                    (a - b).abs() <= 0.032
                })
        });
        assert!(found, "splat {i} resembles no original: {:?}", decoded.means[i]);
        compared += 1;
    }
    compared
}

#[test]
fn files_of_the_reference_writer_are_read_within_their_steps() {
    for (name, degree) in [("lam_head", 0), ("playbot_l3", 2)] {
        let (Some(path), Some(original)) =
            (shared(&format!("data/splats/reference/{name}.compressed.ply")), capture(name))
        else {
            return;
        };
        let bytes = std::fs::read(path).unwrap();
        let decoded = read(bytes.clone(), "x.ply").unwrap();
        let original = read(original, "y.ply").unwrap();
        assert_eq!((decoded.splats.len(), decoded.splats.sh_degree), (original.splats.len(), degree));
        assert_eq!(decoded.meta.generator, "splat-transform 3.7.0");
        assert!(assert_within_steps(&bytes, &decoded.splats, &original.splats, 61) > 300);

        // our own file of the original is as good, and not larger than theirs
        let ours = write(&original, "compressed-ply").unwrap();
        assert!(ours.len() <= bytes.len(), "{} bytes, reference {}", ours.len(), bytes.len());
        let decoded = read(ours.clone(), "x.ply").unwrap();
        assert!(assert_within_steps(&ours, &decoded.splats, &original.splats, 61) > 300);
    }
}

#[test]
fn random_splats_come_back_within_half_a_step() {
    for (count, degree) in [(0, 0), (1, 1), (256, 2), (257, 3), (600, 4)] {
        let original = random_splats(count, degree, 21);
        let bytes = write(&avatar(original.clone()), "compressed-ply").unwrap();
        let back = read(bytes.clone(), "x.compressed.ply").unwrap();
        assert_eq!((back.splats.len(), back.splats.sh_degree, back.frame), (count, degree, Frame::RDF));
        assert_within_steps(&bytes, &back.splats, &original, 1);
        // decoded values are finite and another cycle moves nothing by more than another step
        assert_within_steps(&bytes, &back.splats, &read(bytes.clone(), "x.ply").unwrap().splats, 1);
        assert_eq!(write(&avatar(original), "compressed-ply").unwrap(), bytes, "the same file every time");
    }
}

#[test]
fn the_bytes_decide_over_the_name() {
    let bytes = write(&avatar(random_splats(3, 0, 1)), "compressed-ply").unwrap();
    let source = gav_formats::Source::from_bytes_at(bytes, "renamed.ply");
    assert_eq!(sniff(&source).unwrap().id, "compressed-ply");
    let plain = write(&avatar(random_splats(3, 0, 1)), "ply").unwrap();
    let source = gav_formats::Source::from_bytes_at(plain, "renamed.compressed.ply");
    assert_eq!(sniff(&source).unwrap().id, "ply");
}

#[test]
fn extreme_values_are_cut_and_nan_is_left_out() {
    let mut splats = random_splats(6, 1, 1);
    splats.opacity_logits[0] = f32::INFINITY;
    splats.opacity_logits[1] = f32::NEG_INFINITY;
    splats.log_scales[2] = [f32::NEG_INFINITY, 30.0, 0.0];
    splats.sh0[3] = [f32::INFINITY, -1e30, 0.0];
    splats.means[4] = [f32::NAN, 0.0, 0.0];
    splats.rotations[5] = [0.0; 4];
    splats.sh_rest[0] = 100.0;
    let back = read(write(&avatar(splats), "compressed-ply").unwrap(), "x.ply").unwrap().splats;
    assert_eq!(back.len(), 5);
    let all = back.means.as_flattened().iter().chain(back.rotations.as_flattened()).chain(&back.opacity_logits);
    let all = all.chain(back.log_scales.as_flattened()).chain(back.sh0.as_flattened()).chain(&back.sh_rest);
    assert!(all.copied().all(f32::is_finite));
    assert_eq!(back.sh_rest.iter().copied().fold(0.0, f32::max), 4.0);
    assert!(back.log_scales.as_flattened().iter().all(|s| s.abs() <= 20.0));
}

#[test]
fn axes_and_render_model_are_kept() {
    let mut original = avatar(random_splats(9, 1, 2));
    original.render_model = RenderModel::Antialiased;
    let format = format_by_name("compressed-ply").unwrap();
    let options = WriteOptions { frame: Some(Frame::RUB), ..Default::default() };
    let back = read(gav_formats::to_bytes(&original, format, &options).unwrap(), "x.ply").unwrap();
    assert_eq!((back.frame, back.render_model), (Frame::RUB, RenderModel::Antialiased));
}

/// A file with one splat, as the writers before colour ranges made them.
fn old_file() -> Vec<u8> {
    let mut bytes = b"ply\nformat binary_little_endian 1.0\nelement chunk 1\n".to_vec();
    let names =
        "min_x min_y min_z max_x max_y max_z min_scale_x min_scale_y min_scale_z max_scale_x max_scale_y max_scale_z";
    names.split(' ').for_each(|n| bytes.extend(format!("property float {n}\n").bytes()));
    bytes.extend(b"element vertex 1\n");
    ["position", "rotation", "scale", "color"]
        .iter()
        .for_each(|n| bytes.extend(format!("property uint packed_{n}\n").bytes()));
    bytes.extend(b"end_header\n");
    let chunk = [-1.0f32, -1.0, -1.0, 1.0, 3.0, 1.0, -6.0, -6.0, -6.0, -2.0, -2.0, -2.0];
    chunk.iter().for_each(|v| bytes.extend(v.to_le_bytes()));
    let words = [
        2047u32 << 21 | 1023 << 11,             // x and y at the top, z at the bottom
        1 << 30 | 1023 << 20 | 511 << 10 | 512, // x is the largest, w is √½
        2047,                                   // only the third scale at the top
        255 << 24 | 51 << 8 | 255,              // red, a fifth of blue, opaque
    ];
    words.iter().for_each(|w| bytes.extend(w.to_le_bytes()));
    bytes
}

#[test]
fn old_files_without_color_ranges_are_read() {
    let splats = read(old_file(), "x.ply").unwrap().splats;
    assert_eq!(splats.means[0], [1.0, 3.0, -1.0]);
    assert_eq!(splats.log_scales[0], [-6.0, -6.0, -2.0]);
    let colors = splats.sh0[0].map(color_from_sh0);
    assert!((colors[0] - 1.0).abs() < 1e-6 && colors[1].abs() < 1e-6 && (colors[2] - 0.2).abs() < 1e-6);
    assert!((splats.opacity_logits[0] - 13.8155).abs() < 1e-3, "opaque, but finite");
    let half = std::f32::consts::FRAC_1_SQRT_2;
    let q = splats.rotations[0];
    assert!((q[0] - half).abs() < 1e-6 && (q[1] - half).abs() < 1e-3 && q[2].abs() < 1e-3, "{q:?}");
}

#[test]
fn damaged_files_are_errors_not_panics() {
    torture(&write(&avatar(random_splats(2, 1, 5)), "compressed-ply").unwrap(), |bytes| read(bytes, "x.ply"));
    torture(&old_file(), |bytes| read(bytes, "x.ply"));
    let text = String::from_utf8_lossy(&old_file()).into_owned();
    let header = &text[..text.find("end_header\n").unwrap() + 11];
    for (from, to) in [
        ("element chunk 1", "element chunk 0"),
        ("property uint packed_color", "property int packed_color"),
        ("property float max_x", "property float mux_x"),
        ("packed_rotation", "packed_rotatiom"),
    ] {
        let skip = if to.ends_with('0') { 48 } else { 0 };
        let bytes = [header.replace(from, to).as_bytes(), &old_file()[header.len() + skip..]].concat();
        assert_eq!(code(read(bytes, "x.ply")), "HEADER", "{to}");
    }
}
