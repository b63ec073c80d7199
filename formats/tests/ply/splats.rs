//! Static splats in a PLY.

use gav_formats::{
    Blendshapes, DType, Error, Frame, Limits, ReadOptions, RenderModel, Source, Splats, UserAttribute, WriteOptions,
    conventions::sh_rest_count, format_by_name, ply,
};

use crate::support::{Random, avatar, bits, capture, code, random_splats, read, torture, write};

/// Splats with the values that survive only when nobody computes with them.
fn awkward_splats(count: usize, degree: u8) -> Splats {
    let mut splats = random_splats(count, degree, 7);
    if count > 0 {
        splats.means[0] = [f32::from_bits(0x7fc1_2345), -0.0, f32::from_bits(1)];
        splats.rotations[0] = [f32::NEG_INFINITY, f32::from_bits(0xff80_0001), 0.0, -0.0];
        splats.opacity_logits[count - 1] = f32::INFINITY;
        splats.log_scales[count - 1] = [f32::NEG_INFINITY; 3];
    }
    splats
}

#[test]
fn every_float_bit_survives_at_every_degree() {
    for degree in 0..=4 {
        for count in [0, 1, 2047, 5000] {
            let original = avatar(awkward_splats(count, degree));
            let bytes = write(&original, "ply").unwrap();
            let back = read(bytes.clone(), "x.ply").unwrap();
            assert_eq!(bits(&back.splats), bits(&original.splats), "{count} splats of degree {degree}");
            assert_eq!(back.splats.sh_degree, degree);
            assert_eq!((back.frame, back.attributes.len()), (Frame::RDF, 0));
            assert_eq!(write(&back, "ply").unwrap(), bytes);
        }
    }
}

#[test]
fn the_written_file_is_that_of_the_reference_trainer() {
    let mut splats = Splats::with_len(1, 1);
    splats.means[0] = [1.0, 2.0, 3.0];
    splats.sh0[0] = [4.0, 5.0, 6.0];
    // coefficient-major here, channel-major in the file
    splats.sh_rest = vec![10.0, 20.0, 30.0, 11.0, 21.0, 31.0, 12.0, 22.0, 32.0];
    splats.opacity_logits[0] = 7.0;
    splats.log_scales[0] = [8.0, 9.0, 10.0];
    splats.rotations[0] = [0.5, 0.25, 0.125, 0.0625];
    let names = "x y z nx ny nz f_dc_0 f_dc_1 f_dc_2 f_rest_0 f_rest_1 f_rest_2 f_rest_3 f_rest_4 f_rest_5 f_rest_6 \
        f_rest_7 f_rest_8 opacity scale_0 scale_1 scale_2 rot_0 rot_1 rot_2 rot_3";
    let mut expected = b"ply\nformat binary_little_endian 1.0\nelement vertex 1\n".to_vec();
    names.split_ascii_whitespace().for_each(|name| expected.extend(format!("property float {name}\n").bytes()));
    expected.extend(b"end_header\n");
    let values = [
        1.0f32, 2.0, 3.0, 0.0, 0.0, 0.0, 4.0, 5.0, 6.0, 10.0, 11.0, 12.0, 20.0, 21.0, 22.0, 30.0, 31.0, 32.0, 7.0, 8.0,
        9.0, 10.0, 0.5, 0.25, 0.125, 0.0625,
    ];
    values.iter().for_each(|v| expected.extend(v.to_le_bytes()));
    assert_eq!(write(&avatar(splats), "ply").unwrap(), expected);
}

/// The columns of two splats, exactly representable in half precision.
fn columns() -> Vec<(String, [f32; 2])> {
    let mut names: Vec<String> = "x y z f_dc_0 f_dc_1 f_dc_2 opacity scale_0 scale_1 scale_2 rot_0 rot_1 rot_2 rot_3"
        .split(' ')
        .map(str::to_owned)
        .collect();
    names.extend((0..9).map(|k| format!("f_rest_{k}")));
    names.into_iter().enumerate().map(|(i, name)| (name, [i as f32 * 0.25, -(i as f32)])).collect()
}

fn encode(columns: &[(String, [f32; 2])], encoding: &str, dtype: impl Fn(usize) -> DType) -> Vec<u8> {
    let mut bytes = format!("ply\r\nformat {encoding} 1.0\r\nelement vertex 2\r\n").into_bytes();
    for (i, (name, _)) in columns.iter().enumerate() {
        let dtype = match dtype(i) {
            DType::F16 => "float16",
            DType::F64 => "double",
            _ => "float32",
        };
        bytes.extend(format!("property {dtype} {name}\r\n").bytes());
    }
    bytes.extend(b"element camera 1\r\nproperty list uchar float k\r\nend_header\r\n");
    for row in 0..2 {
        for (i, (_, values)) in columns.iter().enumerate() {
            let start = bytes.len();
            match (encoding, dtype(i)) {
                ("ascii", _) => bytes.extend(format!("{}\r\n", values[row]).bytes()),
                (_, DType::F16) => bytes.extend(half::f16::from_f32(values[row]).to_le_bytes()),
                (_, DType::F64) => bytes.extend(f64::from(values[row]).to_le_bytes()),
                _ => bytes.extend(values[row].to_le_bytes()),
            }
            if encoding == "binary_big_endian" {
                bytes[start..].reverse();
            }
        }
    }
    bytes.extend(if encoding == "ascii" { &b"0\r\n"[..] } else { b"\0" });
    bytes
}

#[test]
fn any_order_type_and_encoding_gives_the_same_splats() {
    let mut columns = columns();
    let reference = read(encode(&columns, "binary_little_endian", |_| DType::F32), "x.ply").unwrap();
    assert_eq!(reference.splats.means[1], [0.0, -1.0, -2.0]);
    assert_eq!(reference.splats.sh_rest[..4], [14.0 * 0.25, 17.0 * 0.25, 20.0 * 0.25, 15.0 * 0.25]);
    let mut random = Random(99);
    for round in 0..12 {
        columns.sort_by_cached_key(|_| random.bits());
        let shift = random.bits() as usize;
        let dtype = |i: usize| [DType::F32, DType::F16, DType::F64][if round < 3 { 0 } else { (i + shift) % 3 }];
        for encoding in ["ascii", "binary_little_endian", "binary_big_endian"] {
            let avatar = read(encode(&columns, encoding, dtype), "x.ply").unwrap();
            assert_eq!(bits(&avatar.splats), bits(&reference.splats), "{encoding}");
            assert!(avatar.attributes.is_empty());
        }
    }
}

#[test]
fn missing_columns_and_impossible_degrees_are_named() {
    let columns = columns();
    for missing in 0..columns.len() {
        let mut fewer = columns.clone();
        let (name, _) = fewer.remove(missing);
        let result = read(encode(&fewer, "ascii", |_| DType::F32), "x.ply");
        if name == "scale_2" {
            let surfel = result.unwrap();
            assert_eq!(surfel.render_model, RenderModel::Surfel);
            assert_eq!(surfel.splats.log_scales[1][2], ply::SURFEL_LOG_SCALE);
        } else {
            assert_eq!(code(result), "HEADER", "without {name}");
        }
    }
    let mesh = b"ply\nformat ascii 1.0\nelement face 0\nproperty list uchar int vertex_indices\nend_header\n";
    assert_eq!(code(read(mesh.to_vec(), "mesh.ply")), "HEADER");
}

#[test]
fn render_models_travel_as_comments() {
    for model in [RenderModel::Classic, RenderModel::Antialiased, RenderModel::Surfel] {
        let mut original = avatar(random_splats(3, 0, 1));
        original.render_model = model;
        let bytes = write(&original, "ply").unwrap();
        assert_eq!(read(bytes, "x.ply").unwrap(), original);
    }
    let mut flat = avatar(random_splats(3, 0, 1));
    flat.render_model = RenderModel::Surfel;
    flat.splats.log_scales.iter_mut().for_each(|s| s[2] = ply::SURFEL_LOG_SCALE);
    let bytes = write(&flat, "ply").unwrap();
    assert!(!bytes.windows(7).any(|w| w == b"scale_2"));
    assert_eq!(read(bytes, "x.ply").unwrap(), flat);
    for (comment, model) in [
        ("SplatRenderMode: mip", RenderModel::Antialiased),
        ("SplatRenderMode: default", RenderModel::Classic),
        ("antialiased 1", RenderModel::Antialiased),
        ("antialiased 0", RenderModel::Classic),
        ("SplatRenderMode: 2dgs", RenderModel::Surfel),
    ] {
        let plain = String::from_utf8(encode(&columns(), "ascii", |_| DType::F32)).unwrap();
        let text = plain.replace("element vertex", &format!("comment {comment}\r\nelement vertex"));
        assert_eq!(read(text.into_bytes(), "x.ply").unwrap().render_model, model, "{comment}");
    }
}

#[test]
fn attributes_normals_and_comments_survive() {
    let mut original = avatar(random_splats(4, 1, 3));
    original.attributes = vec![
        UserAttribute::from_f32("normal", 3, &[0.0, -0.0, 1.0, 2.0, 3.0, 4.0, f32::NAN, 0.0, 0.0, 0.0, 0.0, 0.0]),
        UserAttribute { name: "label".to_owned(), dtype: DType::U8, width: 1, data: vec![1, 2, 3, 255] },
        UserAttribute { name: "id".to_owned(), dtype: DType::I32, width: 2, data: (0..32).collect() },
        UserAttribute::from_f32("score_0", 1, &[0.5; 4]),
        UserAttribute { name: "time".to_owned(), dtype: DType::F64, width: 1, data: (0..32).collect() },
    ];
    original.meta.generator = "a trainer 1.0".to_owned();
    original.meta.extra.insert("ply_comments".to_owned(), serde_json::json!(["first", " second"]));
    let bytes = write(&original, "ply").unwrap();
    let back = read(bytes.clone(), "x.ply").unwrap();
    assert_eq!(bits(&back.splats), bits(&original.splats));
    assert_eq!(back.attributes, original.attributes);
    assert_eq!(back.meta, original.meta);
    assert_eq!(write(&back, "ply").unwrap(), bytes);

    let mut half = avatar(random_splats(2, 0, 3));
    half.attributes =
        vec![UserAttribute { name: "h".to_owned(), dtype: DType::F16, width: 1, data: vec![0, 60, 0, 64] }];
    let widened = read(write(&half, "ply").unwrap(), "x.ply").unwrap();
    assert_eq!(widened.attributes, [UserAttribute::from_f32("h", 1, &[1.0, 2.0])]);
}

#[test]
fn names_that_a_header_cannot_hold_are_refused() {
    for name in ["x", "opacity", "two words", "", "line\nfeed"] {
        let mut bad = avatar(random_splats(2, 0, 3));
        bad.attributes = vec![UserAttribute::from_f32(name, 1, &[0.0, 1.0])];
        assert!(matches!(write(&bad, "ply"), Err(Error::Usage(_))), "{name:?}");
    }
}

#[test]
fn axes_are_rdf_unless_told_otherwise() {
    let original = avatar(random_splats(50, 3, 5));
    let mut flipped = original.clone();
    flipped.reframe(Frame::RUB).unwrap();
    // written from RUB, the file is the same as from RDF
    assert_eq!(write(&flipped, "ply").unwrap(), write(&original, "ply").unwrap());
    let format = format_by_name("ply").unwrap();
    let options = WriteOptions { frame: Some(Frame::RUB), ..Default::default() };
    let in_rub = gav_formats::to_bytes(&original, format, &options).unwrap();
    assert_eq!(read(in_rub.clone(), "x.ply").unwrap(), flipped, "the frame is noted in the file");
    let options = ReadOptions { frame: Some(Frame::LUF), ..Default::default() };
    let overridden = gav_formats::read(&Source::from_bytes(in_rub), &options).unwrap();
    assert_eq!((overridden.frame, overridden.splats), (Frame::LUF, flipped.splats));
}

#[test]
fn rigs_without_a_dialect_are_written_at_rest() {
    let mut moving = avatar(random_splats(5, 0, 5));
    moving.rig.blendshapes = Some(Blendshapes::default());
    assert_eq!(write(&moving, "ply").unwrap(), write(&avatar(moving.splats.clone()), "ply").unwrap());
}

#[test]
fn limits_hold() {
    let bytes = write(&avatar(random_splats(100, 3, 5)), "ply").unwrap();
    for limits in [
        Limits { splats: 99, ..Limits::default() },
        Limits { decoded_bytes: 100 * (56 + 180) - 1, ..Limits::default() },
        Limits { header_bytes: 100, ..Limits::default() },
        Limits { entries: 61, ..Limits::default() },
    ] {
        let options = ReadOptions { limits, ..Default::default() };
        assert_eq!(code(gav_formats::read(&Source::from_bytes(bytes.clone()), &options)), "LIMIT");
    }
}

#[test]
fn damaged_files_are_errors_not_panics() {
    let mut small = avatar(random_splats(2, 1, 5));
    small.attributes = vec![UserAttribute::from_f32("a", 2, &[0.0, 1.0, 2.0, 3.0])];
    small.render_model = RenderModel::Antialiased;
    torture(&write(&small, "ply").unwrap(), |bytes| read(bytes, "x.ply"));
    torture(&encode(&columns(), "binary_big_endian", |i| [DType::F32, DType::F64][i % 2]), |b| read(b, "x.ply"));
}

#[test]
fn captured_files_come_back_byte_for_byte() {
    for (name, degree, same_order) in [("lam_head", 0, true), ("angel", 0, false), ("playbot_l3", 2, false)] {
        let Some(bytes) = capture(name) else { return };
        let first = read(bytes.clone(), "x.ply").unwrap();
        assert_eq!(first.splats.sh_degree, degree);
        assert_eq!(first.splats.sh_rest.len(), first.splats.len() * sh_rest_count(degree) * 3);
        assert!(first.attributes.is_empty());
        let written = write(&first, "ply").unwrap();
        if same_order {
            // every byte but the signs of zero normals, which nothing depends on
            assert_eq!(written.len(), bytes.len());
            assert!(written.iter().zip(&bytes).all(|(a, b)| a == b || (*a, *b) == (0, 0x80)));
        }
        assert_eq!(bits(&read(written, "x.ply").unwrap().splats), bits(&first.splats));
    }
}
