//! A made-up zip in every detail, damaged ones, and the real avatar against the PLY made from it.

use std::io::{Cursor, Write};

use serde_json::{Value, json};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use super::*;
use crate::{
    Interpolation, Limits,
    conventions::sh0_from_color,
    gltf::tests::{ply_rows, shared},
    posed::{farthest, posed_means},
};

/// Two vertices on two joints under a scaled root that is no joint, one sparse morph target, one clip of three channels.
fn skin_glb() -> Vec<u8> {
    let mut bin = Bin::default();
    let position = bin.floats("VEC3", &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let joints = bin.bytes(5121, "VEC4", &[0, 1, 0, 0, 1, 0, 0, 0]);
    let weights = bin.floats("VEC4", &[0.75, 0.25, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]);
    // both joints stand at (0, 2, 0) in the world, in units of a hundredth
    let bind = [100.0, 0.0, 0.0, 0.0, 0.0, 100.0, 0.0, 0.0, 0.0, 0.0, 100.0, 0.0, 0.0, -200.0, 0.0, 1.0];
    let binds = bin.floats("MAT4", &[bind, bind].concat());
    let sparse_index = bin.view(&[1, 0, 0, 0]);
    let sparse_value = bin.view(&[0.5f32, 0.0, -0.5].map(f32::to_le_bytes).concat());
    let target = bin.accessor(json!({"componentType": 5126, "count": 2, "type": "VEC3", "sparse": {"count": 1,
        "indices": {"bufferView": sparse_index, "componentType": 5121}, "values": {"bufferView": sparse_value}}}));
    bin.finish(json!({
        "scenes": [{"nodes": [2]}],
        "nodes": [
            {"name": "head"},
            {"name": "neckLower", "translation": [0, 200, 0], "children": [0]},
            {"name": "root", "scale": [0.01, 0.01, 0.01], "children": [1, 3]},
            {"name": "body", "mesh": 0, "skin": 0}
        ],
        "skins": [{"joints": [0, 1], "inverseBindMatrices": binds}],
        "meshes": [{"weights": [0.25], "extras": {"targetNames": ["jawOpen"]}, "primitives": [{
            "attributes": {"POSITION": position, "JOINTS_0": joints, "WEIGHTS_0": weights},
            "targets": [{"POSITION": target}]}]}]
    }))
}

fn animation_glb() -> Vec<u8> {
    let mut bin = Bin::default();
    let times = bin.floats("SCALAR", &[0.0, 0.5]);
    let turn = bin.floats("VEC4", &[0.0, 0.0, 0.0, 1.0, 0.6, 0.0, 0.0, 0.8]);
    let shift = bin.floats("VEC3", &[0.0; 6]);
    let amount = bin.floats("SCALAR", &[0.0, 1.0]);
    bin.finish(json!({
        "scenes": [{"nodes": [0]}],
        "nodes": [{"name": "head", "mesh": 0}, {"name": "tail"}],
        "meshes": [{"extras": {"targetNames": ["jawOpen"]}, "primitives": [{"targets": [{}]}]}],
        "animations": [{"name": "nod", "channels": [
            {"sampler": 0, "target": {"node": 0, "path": "rotation"}},
            {"sampler": 1, "target": {"node": 1, "path": "translation"}},
            {"sampler": 2, "target": {"node": 0, "path": "weights"}}
        ], "samplers": [
            {"input": times, "output": turn},
            {"input": times, "output": shift, "interpolation": "STEP"},
            {"input": times, "output": amount, "interpolation": "STEP"}
        ]}]
    }))
}

#[derive(Default)]
struct Bin {
    bytes: Vec<u8>,
    views: Vec<Value>,
    accessors: Vec<Value>,
}

impl Bin {
    fn view(&mut self, bytes: &[u8]) -> usize {
        self.views.push(json!({"buffer": 0, "byteOffset": self.bytes.len(), "byteLength": bytes.len()}));
        self.bytes.extend(bytes);
        self.views.len() - 1
    }

    fn accessor(&mut self, accessor: Value) -> usize {
        self.accessors.push(accessor);
        self.accessors.len() - 1
    }

    fn bytes(&mut self, component: u32, kind: &str, bytes: &[u8]) -> usize {
        let size = match kind {
            "SCALAR" => 1,
            "VEC3" => 3,
            "VEC4" => 4,
            _ => 16,
        } * if component == 5126 { 4 } else { 1 };
        let view = self.view(bytes);
        let count = bytes.len() / size;
        self.accessor(json!({"bufferView": view, "componentType": component, "count": count, "type": kind}))
    }

    fn floats(&mut self, kind: &str, values: &[f32]) -> usize {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.bytes(5126, kind, &bytes)
    }

    fn finish(self, mut document: Value) -> Vec<u8> {
        document["asset"] = json!({"version": "2.0"});
        document["accessors"] = Value::Array(self.accessors);
        document["bufferViews"] = Value::Array(self.views);
        document["buffers"] = json!([{"byteLength": self.bytes.len()}]);
        let mut json = serde_json::to_vec(&document).unwrap();
        json.resize(json.len().next_multiple_of(4), b' ');
        let mut glb = b"glTF".to_vec();
        let words = [2, (28 + json.len() + self.bytes.len()) as u32, json.len() as u32, 0x4E4F_534A];
        words.iter().for_each(|word: &u32| glb.extend(word.to_le_bytes()));
        glb.extend(json);
        glb.extend((self.bytes.len() as u32).to_le_bytes());
        glb.extend(b"BIN\0");
        glb.extend(self.bytes);
        glb
    }
}

const HEADER: &str = "ply\nformat binary_little_endian 1.0\nelement vertex 2\n";

fn offset_ply() -> Vec<u8> {
    let names = "x y z nx f_dc_0 f_dc_1 f_dc_2 opacity scale_0 scale_1 scale_2 rot_0 rot_1 rot_2 rot_3";
    let mut header = HEADER.to_owned();
    names.split(' ').for_each(|name| header += &format!("property float {name}\n"));
    let mut bytes = (header + "end_header\n").into_bytes();
    for row in 0..2 {
        let r = row as f32;
        let values = [0.5, 0.25, -0.5 + r, 0.0, 1.0, 0.5, 0.0, 2.0 - r, -4.0, -5.0, -6.0, 0.5, 0.5, -0.5, 0.5];
        values.iter().for_each(|v: &f32| bytes.extend(v.to_le_bytes()));
    }
    bytes
}

fn zip_of(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in members {
        let method = if name.ends_with(".ply") { CompressionMethod::Stored } else { CompressionMethod::Deflated };
        zip.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn sample() -> Vec<u8> {
    zip_of(&[
        ("__MACOSX/me/._skin.glb", b"resource fork"),
        ("__MACOSX/offset.ply", b"resource fork"),
        ("me/skin.glb", &skin_glb()),
        ("me/offset.ply", &offset_ply()),
        ("me/animation.glb", &animation_glb()),
        ("me/vertex_order.json", b"[1,0]"),
    ])
}

fn decode(bytes: Vec<u8>) -> Result<Avatar> {
    crate::read(&Source::from_bytes(bytes), &ReadOptions::default())
}

fn code(bytes: Vec<u8>) -> &'static str {
    decode(bytes).map(|a| a.splats.len()).unwrap_err().code()
}

#[test]
fn every_part_of_a_zip_arrives() {
    let avatar = decode(sample()).unwrap();
    assert_eq!(avatar.splats.means, [[1.5, 2.25, 2.5], [4.5, 5.25, 6.5]]);
    assert_eq!(avatar.splats.sh0[0], [1.0, 0.5, 0.0].map(sh0_from_color));
    assert_eq!((avatar.splats.opacity_logits[1], avatar.splats.log_scales[1][2]), (1.0, -6.0));
    assert_eq!((avatar.frame, avatar.metres_per_unit, avatar.meta.name.as_str()), (Frame::GLTF, 1.0, "me"));
    let RigBase::Skinned { skeleton, skin, morphs: Some(morphs) } = &avatar.rig.base else { panic!() };
    let names: Vec<_> = skeleton.joints.iter().map(|j| (j.name.as_str(), j.parent, j.humanoid.as_str())).collect();
    assert_eq!(names, [("root", None, ""), ("neckLower", Some(0), "neck"), ("head", Some(1), "head")]);
    assert!((skeleton.joints[0].inverse_bind[1][1] - 100.0).abs() < 1e-4);
    assert_eq!(skin.row(0).collect::<Vec<_>>(), [(2, 0.75), (1, 0.25)]);
    assert_eq!(skin.row(1).collect::<Vec<_>>(), [(1, 1.0)]);
    assert_eq!((morphs.targets[0].driver.as_str(), &morphs.targets[0].splats[..]), ("arkit.jawOpen", &[1u32][..]));
    assert_eq!(morphs.targets[0].deltas, [[0.5, 0.0, -0.5]]);
    assert_eq!((avatar.drivers[0].name.as_str(), avatar.drivers[0].default), ("arkit.jawOpen", 0.25));
    let clip = &avatar.clips[0];
    assert_eq!((clip.name.as_str(), clip.ticks_per_second, clip.tracks.len()), ("nod", 24, 2));
    assert_eq!(
        (clip.tracks[0].target.as_str(), clip.tracks[0].interpolation),
        ("joint/head/rotation", Interpolation::Slerp)
    );
    assert_eq!(clip.tracks[0].values, [1.0, 0.0, 0.0, 0.0, 0.8, 0.6, 0.0, 0.0]);
    assert_eq!((clip.tracks[1].target.as_str(), &clip.tracks[1].ticks[..]), ("arkit.jawOpen", &[0, 12][..]));
}

#[test]
fn incomplete_and_ambiguous_archives_say_what_is_wrong() {
    let (skin, ply, motion) = (skin_glb(), offset_ply(), animation_glb());
    let flat = zip_of(&[("offset.ply", &ply), ("skin.glb", &skin)]);
    let avatar = decode(flat).unwrap();
    assert!(avatar.clips.is_empty() && avatar.meta.name.is_empty());
    assert_eq!(code(zip_of(&[("a/skin.glb", &skin)])), "MISSING");
    assert_eq!(code(zip_of(&[("a/offset.ply", &ply)])), "MISSING");
    assert_eq!(code(zip_of(&[("a/offset.ply", &ply), ("b/offset.ply", &ply), ("a/skin.glb", &skin)])), "VALUE");
    assert_eq!(code(zip_of(&[("offset.ply", &ply), ("skin.glb", &motion)])), "MISSING");
    assert_eq!(code(zip_of(&[("offset.ply", &ply[..ply.len() - 60]), ("skin.glb", &skin)])), "TRUNCATED");
    assert_eq!(code(zip_of(&[("offset.ply", &[&ply[..], &[0]].concat()), ("skin.glb", &skin)])), "VALUE");
    assert_eq!(code(zip_of(&[("offset.ply", b"ply\nend_header\n"), ("skin.glb", &skin)])), "HEADER");
    let text = String::from_utf8_lossy(&ply).replace("vertex 2\n", "vertex 18446744073709551615\n");
    assert_eq!(code(zip_of(&[("offset.ply", text.as_bytes()), ("skin.glb", &skin)])), "TRUNCATED");
    let one = HEADER.replace("vertex 2", "vertex 1").into_bytes();
    let one = [&one[..], &ply[HEADER.len()..ply.len() - 60]].concat();
    assert_eq!(code(zip_of(&[("offset.ply", &one), ("skin.glb", &skin)])), "VALUE");
    let message = decode(zip_of(&[("offset.ply", &ply), ("skin.glb", &skin[..90])])).unwrap_err().to_string();
    assert!(message.starts_with("lam: skin.glb: "), "{message}");
}

#[test]
fn archives_that_ask_for_too_much_are_refused() {
    let ask = |limits: Limits| {
        let options = ReadOptions { limits, ..ReadOptions::default() };
        crate::read(&Source::from_bytes(sample()), &options).unwrap_err().code()
    };
    assert_eq!(ask(Limits { decoded_bytes: 1000, ..Limits::default() }), "LIMIT");
    assert_eq!(ask(Limits { entries: 3, ..Limits::default() }), "LIMIT");
    assert_eq!(ask(Limits { splats: 1, ..Limits::default() }), "LIMIT");
    // a member whose directory entry claims 4 GiB
    let mut zip = sample();
    let entry = zip.windows(4).rposition(|w| w == b"me/s").unwrap() - 46;
    zip[entry + 24..entry + 28].copy_from_slice(&u32::MAX.to_le_bytes()[..]);
    zip[entry + 27] = 0xF0;
    assert!(decode(zip).is_err());
}

#[test]
fn every_truncation_is_an_error_and_no_corrupted_byte_panics() {
    let zip = sample();
    for length in 0..zip.len() {
        assert!(read(&Source::from_bytes(zip[..length].to_vec()), &ReadOptions::default()).is_err(), "{length}");
    }
    for at in 0..zip.len() {
        for mask in [0x01, 0x20, 0xff] {
            let mut bad = zip.clone();
            bad[at] ^= mask;
            let _ = read(&Source::from_bytes(bad), &ReadOptions::default());
        }
    }
    // past the checksums: the members themselves
    let (skin, ply, motion) = (skin_glb(), offset_ply(), animation_glb());
    let options = ReadOptions::default();
    let skeleton = read_body(&skin, 2, &options).unwrap().skeleton;
    for bytes in [&skin, &ply, &motion] {
        for at in 0..bytes.len() {
            for mask in [0x01, 0x20, 0xff] {
                let mut bad = bytes.clone();
                bad[at] ^= mask;
                let _ = read_body(&bad, 2, &options);
                let _ = read_motion(&bad, &skeleton, &options);
                let _ = read_offsets(&bad, &options.limits);
            }
        }
    }
}

/// Largest distance between a splat and where its joints take it.
fn largest_shift(avatar: &Avatar, clip: Option<&Clip>) -> f64 {
    let rest: Vec<[f64; 3]> = avatar.splats.means.iter().map(|m| m.map(f64::from)).collect();
    farthest(&posed_means(avatar, clip.map(|clip| (clip, 0.0))), &rest)
}

#[test]
fn the_real_avatar_agrees_with_the_ply_made_from_it() {
    let (Some(zip), Some(splats)) = (shared("lam-head"), shared("splats")) else { return };
    let avatar = crate::load(zip.join("lam_p2-1.zip"), &ReadOptions::default()).unwrap();
    let packed = std::fs::File::open(splats.join("lam_head.ply.zst")).unwrap();
    let expected = ply_rows(&zstd::decode_all(packed).unwrap());
    assert_eq!(avatar.splats.means, expected.means);
    assert_eq!(avatar.splats.rotations, expected.rotations);
    assert_eq!(avatar.splats.log_scales, expected.log_scales);
    assert_eq!(avatar.splats.opacity_logits, expected.opacity_logits);
    let colors = avatar.splats.sh0.iter().flatten().zip(expected.sh0.iter().flatten());
    assert!(colors.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) < 1e-6);

    let RigBase::Skinned { skeleton, skin, morphs: Some(morphs) } = &avatar.rig.base else { panic!() };
    assert_eq!((skeleton.joints.len(), morphs.targets.len(), avatar.drivers.len()), (263, 51, 51));
    assert!(avatar.drivers.iter().all(|d| d.name.starts_with("arkit.")));
    let rows: usize = morphs.targets.iter().map(|t| t.splats.len()).sum();
    let rest = largest_shift(&avatar, None);
    println!("{} weights, {rows} morph rows, rest pose off by {rest:e} m", skin.weights.len());
    assert!(rest < 2e-6);
    assert_eq!(avatar.clips.len(), 12);
    for clip in &avatar.clips {
        let shift = largest_shift(&avatar, Some(clip));
        println!(
            "{}: {} tracks, {:.3} s at {}/s, first key moves splats by up to {shift:.3} m",
            clip.name,
            clip.tracks.len(),
            clip.seconds(),
            clip.ticks_per_second
        );
        assert!(clip.ticks_per_second == 24 && shift < 0.3);
    }
}
