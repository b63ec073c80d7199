//! Round trips, the reference files, both spellings, node transforms.

mod hostile;
mod rigged;

use std::io::Cursor;

use base64::Engine;
use serde_json::{Value, json};

use super::{Options, document::SPLATS, read, write};
use crate::{
    Avatar, ColorSpace, Frame, ReadOptions, RestPose, Result, RigBase, Source, Splats, TriangleBinding, TriangleFrame,
    WriteOptions,
    conventions::{multiply_quaternions, normalize_quaternion, opacity_from_logit, sh0_from_color},
};

fn sample(count: usize, degree: u8) -> Avatar {
    let mut splats = Splats::with_len(count, degree);
    let mut seed = 7u32;
    let mut next = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    for i in 0..count {
        splats.means[i] = [next(), next() + 1.6, next()];
        splats.rotations[i] = [next(), next(), next(), next() + 0.01];
        splats.log_scales[i] = [next() * 4.0 - 5.0, next() * 4.0 - 5.0, next() * 4.0 - 5.0];
        splats.opacity_logits[i] = next() * 6.0;
        splats.sh0[i] = [next(), next(), next()];
    }
    splats.sh_rest.iter_mut().for_each(|v| *v = next());
    Avatar::new(splats, Frame::RDF)
}

fn encode(avatar: &Avatar) -> Vec<u8> {
    let mut sink = Cursor::new(Vec::new());
    write(avatar, &mut sink, &WriteOptions::default()).unwrap();
    sink.into_inner()
}

fn decode(bytes: Vec<u8>) -> Result<Avatar> {
    read(&Source::from_bytes(bytes), &ReadOptions::default())
}

fn code(result: Result<Avatar>) -> &'static str {
    result.map(|a| a.splats.len()).unwrap_err().code()
}

/// Splits a GLB that this crate wrote.
fn split(glb: &[u8]) -> (Value, Vec<u8>) {
    let length = u32::from_le_bytes(glb[12..16].try_into().unwrap()) as usize;
    (serde_json::from_slice(&glb[20..20 + length]).unwrap(), glb[28 + length..].to_vec())
}

fn join(document: &Value, bin: &[u8]) -> Vec<u8> {
    let mut json = serde_json::to_vec(document).unwrap();
    json.resize(json.len().next_multiple_of(4), b' ');
    let mut glb = b"glTF".to_vec();
    for word in [2, (28 + json.len() + bin.len()) as u32, json.len() as u32, 0x4E4F_534A] {
        glb.extend(word.to_le_bytes());
    }
    glb.extend(json);
    glb.extend((bin.len() as u32).to_le_bytes());
    glb.extend(b"BIN\0");
    glb.extend(bin);
    glb
}

fn edited(avatar: &Avatar, edit: impl FnOnce(&mut Value)) -> Vec<u8> {
    let (mut document, bin) = split(&encode(avatar));
    edit(&mut document);
    join(&document, &bin)
}

/// Largest differences: means, orientation (1 − |dot| of the quaternions), log-scales, opacity, SH.
fn differences(a: &Splats, b: &Splats) -> [f32; 5] {
    assert_eq!((a.len(), a.sh_degree), (b.len(), b.sh_degree));
    let mut worst = [0.0f32; 5];
    let mut note = |k: usize, d: f32| worst[k] = worst[k].max(d);
    for i in 0..a.len() {
        (0..3).for_each(|k| note(0, (a.means[i][k] - b.means[i][k]).abs()));
        let [p, q] = [a.rotations[i], b.rotations[i]].map(|q| normalize_quaternion(q.map(f64::from)));
        // half turns about a local axis leave the ellipsoid as it is, and writers differ by them
        let halves = (0..4).map(|h| multiply_quaternions(q, std::array::from_fn(|k| f64::from(u8::from(k == h)))));
        let dot = halves.map(|h| (0..4).map(|k| p[k] * h[k]).sum::<f64>().abs()).fold(0.0, f64::max);
        note(1, (1.0 - dot) as f32);
        (0..3).for_each(|k| note(2, (a.log_scales[i][k] - b.log_scales[i][k]).abs()));
        note(3, (opacity_from_logit(a.opacity_logits[i]) - opacity_from_logit(b.opacity_logits[i])).abs());
        (0..3).for_each(|k| note(4, (a.sh0[i][k] - b.sh0[i][k]).abs()));
    }
    a.sh_rest.iter().zip(&b.sh_rest).for_each(|(x, y)| note(4, (x - y).abs()));
    worst
}

#[test]
fn what_is_written_reads_back() {
    for degree in 0..=4 {
        let avatar = sample(70, degree);
        let mut back = decode(encode(&avatar)).unwrap();
        assert_eq!(back.frame, Frame::GLTF);
        assert!(back.meta.generator.starts_with("gav "));
        back.reframe(Frame::RDF).unwrap();
        let [means, turn, scale, opacity, sh] = differences(&avatar.splats, &back.splats);
        assert_eq!((means, sh), (0.0, 0.0));
        assert!(turn < 1e-6 && scale < 2e-6 && opacity < 1e-6, "{turn} {scale} {opacity}");
    }
}

#[test]
fn blocks_join_without_a_seam_and_units_become_metres() {
    let mut avatar = sample((1 << 14) + 3, 1);
    avatar.metres_per_unit = 0.5;
    avatar.frame = "RFU".parse().unwrap();
    avatar.color_space = ColorSpace::LinearRec709;
    let back = decode(encode(&avatar)).unwrap();
    assert_eq!(back.color_space, ColorSpace::LinearRec709);
    avatar.reframe(Frame::GLTF).unwrap();
    avatar.transform(&[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], 0.5, [0.0; 3]).unwrap();
    let [means, turn, scale, opacity, sh] = differences(&avatar.splats, &back.splats);
    assert_eq!((means, sh), (0.0, 0.0));
    assert!(turn < 1e-6 && scale < 2e-6 && opacity < 1e-6, "{turn} {scale} {opacity}");
}

#[test]
fn the_written_file_follows_the_container_rules() {
    let avatar = sample(5, 1);
    let glb = encode(&avatar);
    assert_eq!(u32::from_le_bytes(glb[8..12].try_into().unwrap()) as usize, glb.len());
    assert_eq!(glb.len() % 4, 0);
    let (document, bin) = split(&glb);
    assert_eq!(document["extensionsUsed"], json!([SPLATS]));
    assert!(document.get("extensionsRequired").is_none());
    assert_eq!(document["buffers"][0]["byteLength"], json!(bin.len()));
    let low = document["accessors"][0]["min"][1].as_f64().unwrap();
    let lowest = avatar.splats.means.iter().map(|m| -m[1]).fold(f32::INFINITY, f32::min);
    assert_eq!(low, f64::from(lowest));
    // a white and a mid-grey splat: COLOR_0 is linear light
    let mut grey = sample(2, 0);
    grey.splats.sh0 = vec![[sh0_from_color(1.0); 3], [sh0_from_color(0.5); 3]];
    let (document, bin) = split(&encode(&grey));
    let at = document["bufferViews"][1]["byteOffset"].as_u64().unwrap() as usize;
    let channel = |i: usize| u16::from_le_bytes(bin[at + i * 8..][..2].try_into().unwrap());
    assert_eq!((channel(0), channel(1)), (65535, 14027));
}

#[test]
fn numbers_without_a_place_in_gltf_are_left_out_and_infinite_opacity_is_one() {
    let mut avatar = sample(6, 0);
    avatar.splats.means[1][2] = f32::NAN;
    avatar.splats.log_scales[3][0] = 100.0;
    avatar.splats.log_scales[4] = [f32::NEG_INFINITY; 3];
    avatar.splats.opacity_logits[5] = f32::INFINITY;
    let glb = encode(&avatar);
    assert_eq!(split(&glb).0["meshes"][0]["extras"]["droppedSplats"], json!(2));
    let back = decode(glb).unwrap();
    assert_eq!(back.splats.len(), 4);
    assert!(back.splats.log_scales[2][0] < -80.0 && back.splats.log_scales[2][0].is_finite());
    assert!(opacity_from_logit(back.splats.opacity_logits[3]) > 0.999_99);
    let empty = Avatar::new(Splats::default(), Frame::RDF);
    assert_eq!(write(&empty, &mut Cursor::new(Vec::new()), &WriteOptions::default()).unwrap_err().code(), "USAGE");
}

#[test]
fn a_triangle_bound_avatar_is_written_as_it_rests_when_asked() {
    let mut avatar = sample(2, 0);
    let binding = TriangleBinding { frame: TriangleFrame::Stga, triangles: vec![0, 1], barycentrics: None };
    avatar.rig.base = RigBase::Triangle(binding);
    let options = WriteOptions::default();
    let attempt = |avatar: &Avatar, rest_only: bool| {
        let mut sink = Cursor::new(Vec::new());
        let gltf = Options { rest_only, ..Options::default() };
        write(avatar, &mut sink, &WriteOptions { gltf, ..options.clone() }).map(|()| sink.into_inner())
    };
    let message = attempt(&avatar, true).unwrap_err().to_string();
    assert!(message.contains("no stored rest pose"), "{message}");
    let world = sample(2, 0).splats;
    avatar.rest =
        Some(RestPose { means: vec![[1.0, 2.0, 3.0]; 2], rotations: world.rotations, log_scales: world.log_scales });
    let message = attempt(&avatar, false).unwrap_err().to_string();
    assert!(message.contains("kind 3"), "{message}");
    let bytes = attempt(&avatar, true).unwrap();
    assert_eq!(decode(bytes).unwrap().splats.means, [[1.0, -2.0, -3.0]; 2]);
}

#[test]
fn every_component_type_stride_and_sparse_accessor_is_read() {
    // two splats: positions u16 not normalised at stride 8, rotations i8 normalised, scales u8 not normalised, opacity
    // without a view but with a sparse value, colour all zeros
    let bin: Vec<u8> = [
        &[1u16, 2, 3, 0, 40, 50, 60, 0].iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>()[..],
        &[127, 0, 0, 0, 0, 0x81, 0, 0],
        &[1, 2, 3, 0, 4, 5, 6, 0],
        &[1, 0, 0, 0, 204, 0, 0, 0],
    ]
    .concat();
    let view = |offset: u32, length: u32| json!({"buffer": 0, "byteOffset": offset, "byteLength": length});
    let mut strided = view(0, 16);
    strided["byteStride"] = json!(8);
    let mut padded = view(24, 8);
    padded["byteStride"] = json!(4);
    let document = json!({
        "asset": {"version": "2.0"},
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"mode": 0, "attributes": {
            "POSITION": 0, "KHR_gaussian_splatting:ROTATION": 1, "KHR_gaussian_splatting:SCALE": 2,
            "KHR_gaussian_splatting:OPACITY": 3, "KHR_gaussian_splatting:SH_DEGREE_0_COEF_0": 4
        }, "extensions": {"KHR_gaussian_splatting": {"kernel": "ellipse", "colorSpace": "lin_rec709_display"}}}]}],
        "accessors": [
            {"bufferView": 0, "componentType": 5123, "count": 2, "type": "VEC3"},
            {"bufferView": 1, "componentType": 5120, "normalized": true, "count": 2, "type": "VEC4"},
            {"bufferView": 2, "componentType": 5121, "count": 2, "type": "VEC3"},
            {"componentType": 5121, "normalized": true, "count": 2, "type": "SCALAR", "sparse": {"count": 1,
                "indices": {"bufferView": 3, "componentType": 5121}, "values": {"bufferView": 3, "byteOffset": 4}}},
            {"componentType": 5126, "count": 2, "type": "VEC3"}
        ],
        "bufferViews": [strided, view(16, 8), padded, view(32, 8)],
        "buffers": [{"byteLength": bin.len()}]
    });
    let avatar = decode(join(&document, &bin)).unwrap();
    let splats = &avatar.splats;
    assert_eq!(avatar.color_space, ColorSpace::LinearRec709);
    assert_eq!(splats.means, [[1.0, 2.0, 3.0], [40.0, 50.0, 60.0]]);
    assert_eq!(splats.rotations, [[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, -1.0, 0.0]]);
    assert_eq!(splats.log_scales[1], [4.0f32, 5.0, 6.0].map(f32::ln));
    assert!((opacity_from_logit(splats.opacity_logits[1]) - 0.8).abs() < 1e-6);
    assert!(opacity_from_logit(splats.opacity_logits[0]) < 1e-5);
    assert_eq!(splats.sh0, [[0.0; 3]; 2]);

    // the same bytes as a data URI and as a file beside the document
    let mut text = document.clone();
    let encoded = base64::engine::general_purpose::STANDARD.encode(&bin);
    text["buffers"][0]["uri"] = json!(format!("data:application/octet-stream;base64,{encoded}"));
    assert_eq!(decode(serde_json::to_vec(&text).unwrap()).unwrap(), avatar);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a b.bin"), &bin).unwrap();
    let path = folder.path().join("head.gltf");
    for (uri, expected) in [
        ("a%20b.bin", None),
        ("../a b.bin", Some("USAGE")),
        ("/etc/hostname", Some("USAGE")),
        ("%2e%2e/x", Some("USAGE")),
        ("https://example.org/a.bin", Some("UNSUPPORTED")),
        ("file:///etc/hostname", Some("UNSUPPORTED")),
        ("missing.bin", Some("MISSING")),
        ("data:text/plain,abc", Some("UNSUPPORTED")),
        ("data:;base64,!!!", Some("VALUE")),
        ("data:;base64,AAAA", Some("TRUNCATED")),
    ] {
        text["buffers"][0]["uri"] = json!(uri);
        std::fs::write(&path, serde_json::to_vec(&text).unwrap()).unwrap();
        let result = crate::load(&path, &ReadOptions::default());
        match expected {
            None => assert_eq!(result.unwrap(), avatar),
            Some(expected) => assert_eq!(code(result), expected, "{uri}"),
        }
    }
}

#[test]
fn the_spelling_from_before_ratification_is_read() {
    let avatar = sample(4, 1);
    let glb = edited(&avatar, |document| {
        let primitive = &mut document["meshes"][0]["primitives"][0];
        let old = primitive["attributes"].take();
        let mut new = serde_json::Map::new();
        for (name, accessor) in old.as_object().unwrap() {
            let name = name.replace("KHR_gaussian_splatting:", "_");
            if name != "_OPACITY" && name != "_SH_DEGREE_0_COEF_0" {
                new.insert(name, accessor.clone());
            }
        }
        primitive["attributes"] = Value::Object(new);
        primitive["extensions"][SPLATS] = json!({});
    });
    let back = decode(glb).unwrap();
    let mut turned = avatar.clone();
    turned.reframe(Frame::GLTF).unwrap();
    assert_eq!(back.splats.sh_rest, turned.splats.sh_rest);
    for i in 0..4 {
        let expected = opacity_from_logit(avatar.splats.opacity_logits[i]);
        assert!((opacity_from_logit(back.splats.opacity_logits[i]) - expected).abs() < 1e-4);
    }
}

#[test]
fn nodes_place_their_splats_and_several_are_joined() {
    let avatar = sample(3, 1);
    let half = std::f64::consts::FRAC_1_SQRT_2;
    let glb = edited(&avatar, |document| {
        document["scenes"] = json!([{"nodes": [0, 2]}]);
        document["nodes"] = json!([
            {"translation": [0.0, 10.0, 0.0], "children": [1]},
            {"mesh": 0, "rotation": [0.0, half, 0.0, half], "scale": [2.0, 2.0, 2.0]},
            {"mesh": 0, "matrix": [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 5.0, 0.0, 0.0, 1.0]}
        ]);
    });
    let back = decode(glb).unwrap();
    assert_eq!(back.splats.len(), 6);
    let mut first = avatar.clone();
    first.reframe(Frame::GLTF).unwrap();
    let mut second = first.clone();
    first.transform(&[[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]], 2.0, [0.0, 10.0, 0.0]).unwrap();
    second.transform(&[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], 1.0, [5.0, 0.0, 0.0]).unwrap();
    for (part, expected) in [(0..3, &first), (3..6, &second)] {
        let indices: Vec<u32> = part.collect();
        let worst = differences(&back.splats.gather(&indices), &expected.splats);
        assert!(worst.iter().all(|d| *d < 5e-6), "{worst:?}");
    }
}

#[test]
fn files_of_the_reference_writer_match_their_plys() {
    for name in ["lam_head", "playbot_l3"] {
        let Some(folder) = shared("splats") else { return };
        let packed = std::fs::File::open(folder.join(format!("{name}.ply.zst"))).unwrap();
        let ply = zstd::decode_all(packed).unwrap();
        let expected = ply_rows(&ply);
        let glb = folder.join(format!("reference/{name}.glb"));
        let mut avatar = crate::load(glb, &ReadOptions::default()).unwrap();
        avatar.reframe(Frame::RDF).unwrap();
        let [means, turn, scale, opacity, sh] = differences(&expected, &avatar.splats);
        println!("{name}: means {means:e}, 1-dot {turn:e}, log-scales {scale:e}, opacity {opacity:e}, sh {sh:e}");
        assert_eq!((means, sh), (0.0, 0.0));
        assert!(turn < 1e-6 && scale < 4e-6 && opacity < 1e-6);
    }
}

/// The shared test data, or `None` with a loud line when this machine has none.
pub fn shared(part: &str) -> Option<std::path::PathBuf> {
    let beside = || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let folder = std::env::var_os("GAV_SHARED").map_or_else(beside, Into::into).join("data").join(part);
    if !folder.is_dir() {
        eprintln!("SKIPPED: {} is not there", folder.display());
        return None;
    }
    Some(folder)
}

/// The splats of a PLY of float rows, for comparison.
pub fn ply_rows(ply: &[u8]) -> Splats {
    let end = ply.windows(11).position(|w| w == b"end_header\n").unwrap() + 11;
    let header = std::str::from_utf8(&ply[..end]).unwrap();
    let names: Vec<&str> = header.lines().filter_map(|l| l.strip_prefix("property float ")).collect();
    let rows: Vec<f32> = ply[end..].chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    let rest = names.iter().filter(|n| n.starts_with("f_rest_")).count() / 3;
    let degree = (((rest + 1) as f64).sqrt() - 1.0) as u8;
    let count = rows.len() / names.len();
    let column = |name: String| names.iter().position(|n| *n == name).unwrap();
    let mut splats = Splats::with_len(count, degree);
    for (i, row) in rows.chunks_exact(names.len()).enumerate() {
        splats.means[i] = ["x", "y", "z"].map(|n| row[column(n.to_owned())]);
        splats.rotations[i] = std::array::from_fn(|k| row[column(format!("rot_{k}"))]);
        splats.log_scales[i] = std::array::from_fn(|k| row[column(format!("scale_{k}"))]);
        splats.opacity_logits[i] = row[column("opacity".to_owned())];
        splats.sh0[i] = std::array::from_fn(|k| row[column(format!("f_dc_{k}"))]);
        for k in 0..rest * 3 {
            splats.sh_rest[i * rest * 3 + k] = row[column(format!("f_rest_{}", k % 3 * rest + k / 3))];
        }
    }
    splats
}
