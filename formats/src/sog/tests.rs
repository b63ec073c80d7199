//! Round trips at the quantisation steps, older and streamed layouts, hostile input.

use std::{fs, io::Cursor, path::Path};

use serde_json::{Value, json};

use super::{image::Image, *};
use crate::{Frame, Limits, RenderModel, Splats, conventions::opacity_from_logit, sink::write_folder_atomically};

/// Pseudo-random splats in a box of ±1.
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
    splats.sh_rest.iter_mut().for_each(|v| *v = next() * 0.4);
    splats
}

fn bundle(avatar: &Avatar) -> Vec<u8> {
    let mut sink = Cursor::new(Vec::new());
    write(avatar, &mut sink, &WriteOptions::default()).unwrap();
    sink.into_inner()
}

fn decode(bytes: &[u8]) -> Result<Avatar> {
    read(&Source::from_bytes(bytes.to_vec()), &ReadOptions::default())
}

fn files(avatar: &Avatar) -> Vec<(String, Vec<u8>)> {
    write_folder(avatar, &WriteOptions::default()).unwrap()
}

fn open(path: &Path) -> Result<Avatar> {
    read(&Source::open(path)?, &ReadOptions::default())
}

/// A bundle of these files.
fn zipped(files: &[(String, Vec<u8>)], method: CompressionMethod, prefix: &str) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        archive.start_file(format!("{prefix}{name}"), SimpleFileOptions::default().compression_method(method)).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// Changes `meta.json` of a set of files.
fn edit(files: &mut [(String, Vec<u8>)], change: impl FnOnce(&mut Value)) {
    let meta = &mut files.iter_mut().find(|f| f.0 == "meta.json").unwrap().1;
    let mut value: Value = serde_json::from_slice(meta).unwrap();
    change(&mut value);
    *meta = value.to_string().into_bytes();
}

fn refusal(avatar: &Avatar, change: impl FnOnce(&mut Value)) -> &'static str {
    let mut files = files(avatar);
    edit(&mut files, change);
    decode(&zipped(&files, CompressionMethod::Stored, "")).unwrap_err().code()
}

#[test]
fn round_trip_stays_within_the_quantisation_steps() {
    for (degree, model) in [(0, RenderModel::Classic), (1, RenderModel::Antialiased), (3, RenderModel::Surfel)] {
        let mut avatar = Avatar::new(sample(700, degree), Frame::RUB);
        avatar.render_model = model;
        let back = decode(&bundle(&avatar)).unwrap();
        assert_eq!((back.frame, back.render_model), (Frame::RDF, model));
        assert!(back.meta.generator.starts_with("gav "));
        avatar.reframe(Frame::RDF).unwrap();
        let (a, b) = (&avatar.splats, &back.splats);
        b.validate().unwrap();
        assert_eq!((b.len(), b.sh_degree), (700, degree));
        let width = a.sh_rest_count() * 3;
        for i in 0..a.len() {
            let distance = |j: usize| (0..3).map(|k| (a.means[i][k] - b.means[j][k]).abs()).fold(0.0, f32::max);
            let j = (0..700).min_by(|&x, &y| distance(x).total_cmp(&distance(y))).unwrap();
            assert!(distance(j) < 0.6 * 2.0 * 2.0 * 0.694 / 65535.0);
            for k in 0..3 {
                assert!((a.log_scales[i][k] - b.log_scales[j][k]).abs() < 0.03);
                assert!((a.sh0[i][k] - b.sh0[j][k]).abs() < 0.02);
            }
            let opacity = opacity_from_logit(a.opacity_logits[i]) - opacity_from_logit(b.opacity_logits[j]);
            assert!(opacity.abs() <= 0.5001 / 255.0);
            let dot = |p: [f32; 4], q: [f32; 4]| (0..4).map(|k| f64::from(p[k]) * f64::from(q[k])).sum::<f64>();
            let (p, q) = (a.rotations[i], b.rotations[j]);
            assert!((dot(p, q).abs() / (dot(p, p) * dot(q, q)).sqrt()).min(1.0).acos().to_degrees() < 0.5);
            // up to 1024 splats have a palette entry each
            for k in 0..width {
                assert!((a.sh_rest[i * width + k] - b.sh_rest[j * width + k]).abs() < 0.01);
            }
        }
    }
}

#[test]
fn a_second_cycle_changes_nothing() {
    let once = decode(&bundle(&Avatar::new(sample(900, 2), Frame::RDF))).unwrap();
    let twice = decode(&bundle(&once)).unwrap();
    let (a, b) = (&once.splats, &twice.splats);
    assert_eq!((&a.log_scales, &a.sh0, &a.sh_rest), (&b.log_scales, &b.sh0, &b.sh_rest));
    assert_eq!(a.opacity_logits, b.opacity_logits);
    assert!(a.means.iter().flatten().zip(b.means.iter().flatten()).all(|(x, y)| (x - y).abs() < 1e-6));
}

#[test]
fn bytes_do_not_depend_on_the_number_of_threads() {
    let avatar = Avatar::new(sample(3000, 1), Frame::RDF);
    let with =
        |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| bundle(&avatar));
    assert_eq!(with(1), with(3));
}

#[test]
fn invisible_splats_keep_their_colour_and_infinities_are_bounded() {
    let mut splats = sample(20, 4);
    splats.opacity_logits.fill(-20.0);
    splats.opacity_logits[3] = f32::INFINITY;
    splats.log_scales[4] = [f32::NEG_INFINITY, f32::INFINITY, -3.0];
    splats.means[5][0] = f32::NAN;
    let back = decode(&bundle(&Avatar::new(splats.clone(), Frame::RDF))).unwrap().splats;
    assert_eq!((back.len(), back.sh_degree), (19, 3));
    assert!(back.opacity_logits.iter().chain(back.log_scales.as_flattened()).all(|v| v.is_finite()));
    for i in (0..20).filter(|&i| i != 5) {
        assert!(back.sh0.iter().any(|c| *c == splats.sh0[i]), "60 colours fit a codebook of 256 exactly");
    }
}

#[test]
fn deflated_nested_and_loose_files_are_read_alike() {
    let avatar = Avatar::new(sample(60, 1), Frame::RDF);
    let expected = decode(&bundle(&avatar)).unwrap();
    let files = files(&avatar);
    assert_eq!(decode(&zipped(&files, CompressionMethod::Deflated, "")).unwrap(), expected);
    assert_eq!(decode(&zipped(&files, CompressionMethod::Stored, "scene/")).unwrap(), expected);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("loose");
    write_folder_atomically(&path, &files).unwrap();
    assert_eq!(open(&path).unwrap(), expected);
    let (head, meta) = (bundle(&avatar), &files.last().unwrap().1);
    assert!(sniff_bundle("x.zip", &head) && !sniff_bundle("x.zip", b"PK\x03\x04other"));
    assert!(sniff_folder("meta.json", meta) && !sniff_streamed("meta.json", meta));
    fs::remove_file(path.join("quats.webp")).unwrap();
    assert_eq!(open(&path).unwrap_err().code(), "MISSING");
    let buffer = Source::from_bytes(meta.clone());
    assert_eq!(read(&buffer, &ReadOptions::default()).unwrap_err().code(), "MISSING");
}

#[test]
fn version_1_scales_linearly_between_ranges() {
    let image = |texel: [u8; 4], width, height| {
        let mut image = Image::filled(width, height);
        image.rgba.fill(texel);
        image.encode().unwrap()
    };
    let mut meta = json!({
        "means": {"shape": [1, 3], "mins": [0.0, -1.0, 0.0], "maxs": [0.0, 1.0, 1.0], "files": ["l", "u"]},
        "scales": {"mins": [-10.0, -10.0, -10.0], "maxs": [0.0, -5.0, 10.0], "files": ["s"]},
        "quats": {"files": ["q"]},
        "sh0": {"mins": [-1.0, -1.0, -1.0, -4.0], "maxs": [1.0, 1.0, 1.0, 4.0], "files": ["c"]},
        "shN": {"mins": -1.0, "maxs": [1.0], "files": ["p", "n"]},
    });
    let files = |meta: &Value, label| {
        vec![
            ("l".into(), image([0, 255, 255, 255], 4, 4)),
            ("u".into(), image([0, 255, 255, 255], 4, 4)),
            ("s".into(), image([255, 0, 51, 255], 4, 4)),
            ("q".into(), image([128, 128, 128, 3], 4, 4)),
            ("c".into(), image([0, 255, 51, 255], 4, 4)),
            ("p".into(), image([0, 255, 51, 255], 192, 1)),
            ("n".into(), image([label, 0, 0, 255], 4, 4)),
            ("meta.json".into(), meta.to_string().into_bytes()),
        ]
    };
    let splats = decode(&zipped(&files(&meta, 63), CompressionMethod::Stored, "")).unwrap().splats;
    let e = std::f32::consts::E - 1.0;
    assert_eq!(splats.means[0].map(|v| (v * 1e4).round()), [0.0, e, e].map(|v| (v * 1e4).round()));
    assert_eq!(splats.log_scales, [[0.0, -10.0, -6.0]]);
    assert_eq!((splats.rotations[0], splats.opacity_logits[0]), ([1.0, 0.0, 0.0, 0.0], 4.0));
    assert_eq!(splats.sh_rest, [-1.0, 1.0, -0.6].repeat(3));
    assert_eq!(decode(&zipped(&files(&meta, 64), CompressionMethod::Stored, "")).unwrap_err().code(), "VALUE");
    meta["scales"]["maxs"] = json!([1.0]);
    assert_eq!(decode(&zipped(&files(&meta, 0), CompressionMethod::Stored, "")).unwrap_err().code(), "HEADER");
}

#[test]
fn streamed_files_give_the_finest_level_of_every_leaf() {
    let folder = tempfile::tempdir().unwrap();
    let part = |name: &str, count, degree| {
        let files = files(&Avatar::new(sample(count, degree), Frame::RDF));
        write_folder_atomically(&folder.path().join(name), &files).unwrap();
        open(&folder.path().join(name)).unwrap().splats
    };
    let (fine, other) = (part("0_0", 40, 0), part("0_1", 30, 1));
    part("1_0", 10, 0);
    let range = |file, offset, count| json!({"file": file, "offset": offset, "count": count});
    let meta = json!({"version": 1, "lodLevels": 2, "filenames": ["0_0/meta.json", "0_1/meta.json", "1_0/meta.json"],
    "tree": {"children": [
        {"lods": {"1": range(2, 0, 5), "0": range(0, 20, 20)}},
        {"children": [{"lods": {"0": range(1, 5, 7)}}, {"lods": {"1": range(2, 5, 5)}}, {}]},
    ]}});
    let streamed = |meta: &Value| {
        let path = folder.path().join("lod-meta.json");
        fs::write(&path, meta.to_string()).unwrap();
        read_streamed(&Source::open(&path).unwrap(), &ReadOptions::default())
    };
    assert!(sniff_streamed("x", meta.to_string().as_bytes()) && !sniff_folder("x", meta.to_string().as_bytes()));
    let splats = streamed(&meta).unwrap().splats;
    assert_eq!((splats.len(), splats.sh_degree), (32, 1));
    assert_eq!(splats.means[..20], fine.means[20..]);
    assert_eq!(splats.means[20..27], other.means[5..12]);
    assert_eq!(splats.sh_rest[20 * 9..27 * 9], other.sh_rest[5 * 9..12 * 9]);
    assert!(splats.sh_rest[..20 * 9].iter().all(|&v| v == 0.0));

    let refused = |change: &dyn Fn(&mut Value)| {
        let mut broken = meta.clone();
        change(&mut broken);
        streamed(&broken).unwrap_err().code()
    };
    assert_eq!(refused(&|m| m["filenames"][0] = json!("../0_0/meta.json")), "PATH");
    assert_eq!(refused(&|m| m["filenames"][0] = json!("/etc/hostname")), "PATH");
    assert_eq!(refused(&|m| m["filenames"][0] = json!("9_9/meta.json")), "MISSING");
    assert_eq!(refused(&|m| m["version"] = json!(2)), "UNSUPPORTED");
    assert_eq!(refused(&|m| m["tree"] = json!({})), "HEADER");
    let leaf = |m: &mut Value, r| m["tree"]["children"][0]["lods"]["0"] = r;
    assert_eq!(refused(&|m| leaf(m, range(7, 0, 1))), "VALUE");
    assert_eq!(refused(&|m| leaf(m, range(0, 21, 20))), "VALUE");
    assert_eq!(refused(&|m| leaf(m, json!({"file": 0, "offset": u64::MAX, "count": 2}))), "VALUE");
    assert_eq!(refused(&|m| leaf(m, json!({"file": 0, "offset": 0, "count": u64::MAX}))), "LIMIT");
}

#[test]
fn inconsistent_metadata_is_refused() {
    let avatar = Avatar::new(sample(40, 1), Frame::RDF);
    assert_eq!(refusal(&avatar, |m| m["version"] = json!(3)), "UNSUPPORTED");
    assert_eq!(refusal(&avatar, |m| m["count"] = json!(65)), "VALUE");
    assert_eq!(refusal(&avatar, |m| m["count"] = json!(u64::MAX)), "LIMIT");
    assert_eq!(refusal(&avatar, |m| m["count"] = json!(-1)), "HEADER");
    assert_eq!(refusal(&avatar, |m| m["shN"]["count"] = json!(39)), "VALUE");
    assert_eq!(refusal(&avatar, |m| m["shN"]["count"] = json!(0)), "HEADER");
    assert_eq!(refusal(&avatar, |m| m["shN"]["count"] = json!(65_537)), "HEADER");
    assert_eq!(refusal(&avatar, |m| m["shN"]["bands"] = json!(2)), "VALUE");
    assert_eq!(refusal(&avatar, |m| m["scales"]["codebook"] = json!([1.0])), "HEADER");
    assert_eq!(refusal(&avatar, |m| m["sh0"]["files"] = json!(["nothing.webp"])), "MISSING");
    assert_eq!(refusal(&avatar, |m| m["means"]["mins"] = Value::Null), "HEADER");
    let no_meta = &files(&avatar)[..5];
    assert_eq!(decode(&zipped(no_meta, CompressionMethod::Stored, "")).unwrap_err().code(), "HEADER");
    let loose = tempfile::tempdir().unwrap();
    let mut outside = files(&avatar);
    edit(&mut outside, |m| m["quats"]["files"] = json!(["../quats.webp"]));
    write_folder_atomically(&loose.path().join("x"), &outside).unwrap();
    assert_eq!(open(&loose.path().join("x")).unwrap_err().code(), "PATH");
    let empty = Avatar::new(Splats::default(), Frame::RDF);
    assert_eq!(write_folder(&empty, &WriteOptions::default()).unwrap_err().code(), "USAGE");
}

#[test]
fn members_that_inflate_beyond_the_limit_are_refused() {
    let mut files = files(&Avatar::new(sample(10, 0), Frame::RDF));
    files[0].1 = vec![0; 2 << 20];
    let bomb = zipped(&files, CompressionMethod::Deflated, "");
    assert!(bomb.len() < 20_000);
    let options =
        |decoded_bytes| ReadOptions { limits: Limits { decoded_bytes, ..Limits::default() }, ..ReadOptions::default() };
    let source = Source::from_bytes(bomb);
    assert_eq!(read(&source, &options(1 << 20)).unwrap_err().code(), "LIMIT");
    assert!(read(&source, &options(4 << 20)).is_err());
    let few = ReadOptions { limits: Limits { entries: 3, ..Limits::default() }, ..ReadOptions::default() };
    assert_eq!(read(&source, &few).unwrap_err().code(), "LIMIT");
}

#[test]
fn every_truncation_is_an_error_and_no_corruption_panics() {
    let bytes = bundle(&Avatar::new(sample(5, 1), Frame::RDF));
    for length in 0..bytes.len() {
        assert!(decode(&bytes[..length]).is_err(), "cut to {length}");
    }
    for at in 0..bytes.len() {
        for value in [bytes[at] ^ 1, bytes[at] ^ 0x80, 0xff] {
            let mut broken = bytes.clone();
            broken[at] = value;
            let _ = decode(&broken);
        }
    }
}

/// The checksums of the archive hide most corruption from the decoders behind it: damage the members and pack anew.
#[test]
fn no_corruption_of_a_member_panics() {
    let files = files(&Avatar::new(sample(5, 1), Frame::RDF));
    let (mut decoded, mut refused) = (0, 0);
    for index in 0..files.len() {
        let length = files[index].1.len();
        // the codebooks in meta.json are long and alike
        let stride = if length > 2000 { 7 } else { 1 };
        for at in (0..length).step_by(stride) {
            for value in [files[index].1[at] ^ 1, files[index].1[at] ^ 0x80, 0xff, b'9'] {
                let mut broken = files.clone();
                broken[index].1[at] = value;
                match decode(&zipped(&broken, CompressionMethod::Stored, "")) {
                    Ok(avatar) => {
                        avatar.validate().unwrap();
                        decoded += 1;
                    }
                    Err(_) => refused += 1,
                }
            }
            let mut cut = files.clone();
            cut[index].1.truncate(at);
            let last = at + 1 == length;
            assert!(
                decode(&zipped(&cut, CompressionMethod::Stored, "")).is_err() || last,
                "{} at {at}",
                files[index].0
            );
        }
    }
    assert!(decoded > 100 && refused > 100, "{decoded} decoded, {refused} refused");
}
