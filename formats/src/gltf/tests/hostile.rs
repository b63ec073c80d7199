//! Files that are wrong, cut off, damaged, or ask for too much.

use super::*;
use crate::{
    Error, Limits,
    synthetic::{RigSample, every_rig},
};

#[test]
fn files_that_cannot_be_shown_say_why() {
    let avatar = sample(3, 1);
    let primitive = |edit: fn(&mut Value)| edited(&avatar, |d| edit(&mut d["meshes"][0]["primitives"][0]));
    let nodes = |nodes: Value| edited(&avatar, |d| d["nodes"] = nodes);
    let cases: [(&str, Vec<u8>); 22] = [
        ("NO_SPLATS", primitive(|p| p["extensions"] = json!({}))),
        ("NO_SPLATS", edited(&avatar, |d| d["scenes"][0]["nodes"] = json!([]))),
        (
            "UNSUPPORTED",
            primitive(|p| {
                p["extensions"][SPLATS]["extensions"] =
                    json!({"KHR_gaussian_splatting_compression_spz_2": {"bufferView": 0}});
            }),
        ),
        (
            "UNSUPPORTED",
            primitive(|p| {
                p["extensions"] = json!({"KHR_spz_gaussian_splats_compression": {"bufferView": 0}});
            }),
        ),
        ("UNSUPPORTED", primitive(|p| p["extensions"][SPLATS]["kernel"] = json!("cube"))),
        ("UNSUPPORTED", primitive(|p| p["extensions"][SPLATS]["colorSpace"] = json!("p3"))),
        ("UNSUPPORTED", edited(&avatar, |d| d["extensionsRequired"] = json!(["EXT_meshopt_compression"]))),
        (
            "UNSUPPORTED",
            edited(&avatar, |d| d["bufferViews"][0]["extensions"] = json!({"EXT_meshopt_compression": {}})),
        ),
        ("VALUE", primitive(|p| p["mode"] = json!(4))),
        (
            "VALUE",
            primitive(|p| {
                p["attributes"].as_object_mut().unwrap().remove("KHR_gaussian_splatting:SCALE");
            }),
        ),
        (
            "VALUE",
            primitive(|p| {
                p["attributes"].as_object_mut().unwrap().remove("KHR_gaussian_splatting:SH_DEGREE_1_COEF_1");
            }),
        ),
        (
            "VALUE",
            primitive(|p| {
                p["attributes"].as_object_mut().unwrap().remove("KHR_gaussian_splatting:OPACITY");
            }),
        ),
        ("TRANSFORM", nodes(json!([{"mesh": 0, "scale": [1.0, -1.0, 1.0]}]))),
        ("TRANSFORM", nodes(json!([{"mesh": 0, "matrix": [1, 0, 0, 0, 0.5, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]}]))),
        ("VALUE", nodes(json!([{"children": [0]}]))),
        ("VALUE", nodes(json!([{"mesh": 7}]))),
        ("VALUE", edited(&avatar, |d| d["scene"] = json!(3))),
        ("VALUE", edited(&avatar, |d| d["accessors"][2]["type"] = json!("VEC3"))),
        ("VALUE", edited(&avatar, |d| d["accessors"][0]["count"] = json!(2))),
        ("VALUE", edited(&avatar, |d| d["bufferViews"][0]["byteStride"] = json!(4))),
        ("VERSION", edited(&avatar, |d| d["asset"]["version"] = json!("1.0"))),
        ("TRUNCATED", edited(&avatar, |d| d["bufferViews"][0]["byteOffset"] = json!(u64::MAX))),
    ];
    for (index, (expected, glb)) in cases.into_iter().enumerate() {
        assert_eq!(code(decode(glb)), expected, "case {index}");
    }
    let skinned = |joint: usize| {
        edited(&avatar, |d| {
            d["nodes"] = json!([{"mesh": 0, "skin": 0, "translation": [9.0, 9.0, 9.0]}, {"name": "neck"}]);
            d["scenes"] = json!([{"nodes": [0, 1]}]);
            d["skins"] = json!([{"joints": [joint]}]);
        })
    };
    assert_eq!(decode(skinned(1)).unwrap().splats, decode(encode(&avatar)).unwrap().splats);
    assert_eq!(code(decode(skinned(2))), "VALUE");
}

#[test]
fn oversized_counts_are_refused_before_anything_is_allocated() {
    let avatar = sample(3, 0);
    for count in [1u64 << 27, 1 << 40, u64::MAX] {
        let all = edited(&avatar, |d| {
            for accessor in d["accessors"].as_array_mut().unwrap() {
                accessor["count"] = json!(count);
                accessor.as_object_mut().unwrap().remove("bufferView");
            }
        });
        assert_eq!(code(decode(all)), "VALUE", "{count}");
    }
    let limits = Limits { splats: 2, ..Limits::default() };
    let options = ReadOptions { limits, ..ReadOptions::default() };
    assert!(matches!(read(&Source::from_bytes(encode(&avatar)), &options), Err(Error::Limit { .. })));
    let deep = format!("{{\"asset\":{{\"version\":\"2.0\",\"extras\":{}{}}}}}", "[".repeat(99), "]".repeat(99));
    assert_eq!(code(decode(deep.into_bytes())), "JSON");
}

#[test]
fn chunks_that_nobody_knows_are_passed_over() {
    let glb = encode(&sample(2, 0));
    let json_end = 20 + u32::from_le_bytes(glb[12..16].try_into().unwrap()) as usize;
    let extra = [&4u32.to_le_bytes()[..], b"gav0", &[1, 2, 3, 4]].concat();
    let mut between = [&glb[..json_end], &extra, &glb[json_end..]].concat();
    let mut behind = [&glb[..], &extra].concat();
    for file in [&mut between, &mut behind] {
        let length = file.len() as u32;
        file[8..12].copy_from_slice(&length.to_le_bytes());
        assert_eq!(decode(file.clone()).unwrap().splats.len(), 2);
    }
}

#[test]
fn every_truncation_is_an_error() {
    for glb in [encode(&sample(3, 1)), encode(&every_rig(RigSample::MorphSkinned))] {
        for length in 0..glb.len() {
            assert!(matches!(decode(glb[..length].to_vec()), Err(Error::Format { .. })), "{length} of {}", glb.len());
        }
    }
    assert_eq!(
        crate::read(&Source::from_bytes(Vec::new()), &ReadOptions::default()).unwrap_err().code(),
        "UNKNOWN_FORMAT"
    );
}

#[test]
fn no_corrupted_byte_panics() {
    let mut rigged = every_rig(RigSample::MorphSkinned);
    rigged.retain(|i| i < 8);
    for glb in [encode(&sample(3, 1)), encode(&rigged)] {
        for at in 0..glb.len() {
            for mask in [0x01, 0x10, 0x80, 0xff] {
                let mut bad = glb.clone();
                bad[at] ^= mask;
                let _ = decode(bad);
            }
        }
    }
    let glb = encode(&sample(3, 1));
    // lengths below the header's own
    for length in [0u32, 1, 11, 12, 19] {
        let mut bad = glb.clone();
        bad[8..12].copy_from_slice(&length.to_le_bytes());
        assert!(decode(bad).is_err());
    }
}
