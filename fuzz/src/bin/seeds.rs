//! Writes small valid inputs for every fuzz target into `corpus/TARGET` beside this crate's manifest.

use std::{collections::BTreeMap, fs, io::Read, path::Path};

use gav_formats::{
    Avatar, EncodeOptions, Profile, WriteOptions, Writer, format_by_name,
    npy::{NpyArray, NpyType, write_npy, write_npz},
    synthetic::{RigSample, every_rig, random},
    to_bytes,
};
use gav_fuzz::decoders::{DECODERS, KSPLAT_HEADER, NAMES, SOG_MEMBERS, glb, join, zipped};
use serde_json::{Value, json};

/// Larger inputs make fuzzing slow; the codebooks in the JSON of a SOG alone take some 10 kB.
const MOST_BYTES: usize = 4096;
const MOST_SOG_BYTES: usize = 32768;

/// Inputs by target.
type Seeds = BTreeMap<&'static str, Vec<Vec<u8>>>;

fn main() -> std::io::Result<()> {
    let mut seeds = Seeds::new();
    for avatar in &avatars() {
        add_avatar(&mut seeds, avatar);
    }
    add_ply_texts(&mut seeds);
    add_ksplats(&mut seeds);
    add_arrays(&mut seeds);
    add_lam(&mut seeds);
    add_names(&mut seeds);
    add_weights(&mut seeds)?;
    add_clips(&mut seeds)?;
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (target, _) in DECODERS {
        let folder = corpus.join(target);
        fs::create_dir_all(&folder)?;
        let most = if target.starts_with("sog") { MOST_SOG_BYTES } else { MOST_BYTES };
        let small: Vec<_> = seeds.get(target).into_iter().flatten().filter(|s| s.len() <= most).collect();
        assert!(!small.is_empty(), "no seed for {target}");
        for (index, seed) in small.iter().enumerate() {
            fs::write(folder.join(format!("seed-{index:03}")), seed)?;
        }
        println!("{target}: {} seeds", small.len());
    }
    Ok(())
}

/// A few splats of every SH degree and of every rig.
fn avatars() -> Vec<Avatar> {
    let mut avatars: Vec<Avatar> = (0..=4).map(|degree| random(5, degree, 1 + u64::from(degree))).collect();
    for (_, kind) in RigSample::ALL {
        let mut avatar = every_rig(kind);
        avatar.retain(|index| index < 4);
        avatars.push(avatar);
    }
    avatars
}

fn add_avatar(seeds: &mut Seeds, avatar: &Avatar) {
    let mut add = |target: &'static str, bytes: Vec<u8>| seeds.entry(target).or_default().push(bytes);
    let write =
        |id: &str, options: &WriteOptions| to_bytes(avatar, format_by_name(id).expect("a format"), options).ok();
    let plain = WriteOptions::default();
    for profile in [Profile::Lossless, Profile::Standard, Profile::Fast] {
        let options = WriteOptions { gav: EncodeOptions { profile, ..Default::default() }, ..Default::default() };
        if let Some(bytes) = write("gav", &options) {
            add("gav", bytes.clone());
            add("gav_unchecked", bytes);
        }
    }
    for (target, id) in
        [("ply", "ply"), ("compressed_ply", "compressed-ply"), ("splat", "splat"), ("sog", "sog"), ("gltf", "gltf")]
    {
        write(id, &plain).into_iter().for_each(|bytes| add(target, bytes));
    }
    for version in 2..=4 {
        let options = WriteOptions { spz_version: Some(version), ..WriteOptions::default() };
        if let Some(bytes) = write("spz", &options) {
            let mut streams = Vec::new();
            if flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut streams).is_ok() {
                add("spz_streams", streams);
            }
            add("spz", bytes);
        }
    }
    if let Some((json, bin)) = write("gltf", &plain).as_deref().and_then(glb_parts) {
        add("gltf_parts", join(&[json, bin]));
    }
    if let Some(Writer::Folder(files)) = format_by_name("sog-folder").and_then(|format| format.write)
        && let Ok(files) = files(avatar, &plain)
    {
        let member = |name: &&str| files.iter().find(|(n, _)| n == name).map_or(&[][..], |(_, bytes)| &bytes[..]);
        add("sog_images", join(&SOG_MEMBERS.each_ref().map(member)));
    }
}

/// JSON and binary chunk of a GLB.
fn glb_parts(glb: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = u32::from_le_bytes(*glb.get(12..)?.first_chunk()?) as usize;
    Some((glb.get(20..20 + length)?, glb.get(28 + length..)?))
}

/// Encodings and dialects of PLY that no writer here makes.
fn add_ply_texts(seeds: &mut Seeds) {
    let names = "x y z f_dc_0 f_dc_1 f_dc_2 opacity scale_0 scale_1 scale_2 rot_0 rot_1 rot_2 rot_3";
    let properties: String = names.split(' ').map(|name| format!("property float {name}\n")).collect();
    let row = "0.5 -1e3 nan 1 2 3 -inf -4 -4.5 -5 1 0 0 0\n";
    let list = "element face 1\nproperty list uchar int vertex_indices\n";
    let text =
        format!("ply\nformat ascii 1.0\ncomment seed\nelement vertex 1\n{properties}{list}end_header\n{row}3 0 0 0\n");
    let surfel = text.replace("property float scale_2\n", "").replace(" -5 ", " ");
    let mut big =
        format!("ply\r\nformat binary_big_endian 1.0\r\nelement vertex 1\r\n{properties}{list}end_header\r\n")
            .replace("float", "double")
            .into_bytes();
    (0..14).for_each(|k| big.extend(f64::from(k).to_be_bytes()));
    big.push(1);
    big.extend(7u32.to_be_bytes());
    seeds.entry("ply").or_default().extend([text.into_bytes(), surfel.into_bytes(), big]);
}

/// One section of two splats in every level and degree, with one full and one partly filled bucket.
fn add_ksplats(seeds: &mut Seeds) {
    for level in 0..3u16 {
        for degree in 0..3u16 {
            let mut header = [0; KSPLAT_HEADER];
            header[1] = 1;
            for (at, value) in [(4, 1), (8, 1), (12, 3), (16, 3), (20, u32::from(level))] {
                put(&mut header, at, value);
            }
            let mut section = [0; KSPLAT_HEADER];
            let buckets = if level == 0 { 0 } else { 1 };
            let (bucket_fields, counts) =
                ([(8, 2), (12, 2 * buckets), (16, 5f32.to_bits()), (20, 12)], [(0, 3), (4, 3)]);
            let rest = [(32, buckets), (36, buckets), (40, u32::from(degree))];
            for (at, value) in counts.into_iter().chain(bucket_fields).chain(rest) {
                put(&mut section, at, value);
            }
            let coefficients = [0, 9, 24][usize::from(degree)];
            let record = [44 + 4 * coefficients, 24 + 2 * coefficients, 24 + coefficients][usize::from(level)];
            let mut file = [&[1], &header[..], &section[..]].concat();
            if level > 0 {
                file.extend(1u32.to_le_bytes());
            }
            file.resize(file.len() + 24 * buckets as usize + 3 * record, 0x3C);
            seeds.entry("ksplat").or_default().push(file);
        }
    }
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn add_arrays(seeds: &mut Seeds) {
    let floats = NpyArray::from_f32(vec![2, 3], &[0.0, 1.5, -2.0, f32::NAN, f32::INFINITY, 6.0]);
    let whole = NpyArray { dtype: NpyType::I64, shape: vec![2], data: vec![3; 16] };
    let single = NpyArray { dtype: NpyType::F64, shape: vec![], data: vec![0; 8] };
    let text = |array: &NpyArray| String::from_utf8_lossy(&write_npy(array)).into_owned();
    assert!(text(&floats).contains("'<f4'"));
    let mut other = write_npy(&floats);
    // big-endian and Fortran order keep the header's length
    replace(&mut other, b"'<f4'", b"'>f4'");
    replace(&mut other, b"False", b"True ");
    seeds.entry("npy").or_default().extend([write_npy(&floats), write_npy(&whole), write_npy(&single), other]);
    let archive = write_npz(&[("expr".to_owned(), floats.clone()), ("frames".to_owned(), whole)]).expect("in memory");
    let stored = zipped(&[("a.npy", &write_npy(&floats)), ("note.txt", b"hello")]);
    seeds.entry("npz").or_default().extend([archive, stored]);
}

fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    let at = bytes.windows(from.len()).position(|window| window == from).expect("the text is there");
    bytes[at..at + to.len()].copy_from_slice(to);
}

/// Two vertices, two joints, a morph target and a nod.
fn add_lam(seeds: &mut Seeds) {
    let names = "x y z f_dc_0 f_dc_1 f_dc_2 opacity scale_0 scale_1 scale_2 rot_0 rot_1 rot_2 rot_3";
    let properties: String = names.split(' ').map(|name| format!("property float {name}\n")).collect();
    let row = "0.1 0.2 0.3 1 0 1 2 -4 -4 -5 1 0 0 0\n";
    let offsets = format!("ply\nformat ascii 1.0\nelement vertex 2\n{properties}end_header\n{row}{row}");

    let identity = [1.0f32, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0];
    let mut skin = Buffers::default();
    let position = skin.floats("VEC3", 2, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let joints = skin.add("VEC4", 5121, 2, &[0, 1, 0, 0, 1, 0, 0, 0]);
    let weights = skin.floats("VEC4", 2, &[0.75, 0.25, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]);
    let binds = skin.floats("MAT4", 2, &[identity, identity].concat());
    let target = skin.floats("VEC3", 2, &[0.0, 0.1, 0.0, 0.0, 0.0, -0.1]);
    let skin_json = skin.document(json!({
        "scenes": [{"nodes": [1, 2]}],
        "nodes": [{"name": "head", "translation": [0, 1, 0]}, {"name": "root", "children": [0]},
            {"mesh": 0, "skin": 0}],
        "skins": [{"joints": [1, 0], "inverseBindMatrices": binds}],
        "meshes": [{"extras": {"targetNames": ["jawOpen"]}, "primitives": [{
            "attributes": {"POSITION": position, "JOINTS_0": joints, "WEIGHTS_0": weights},
            "targets": [{"POSITION": target}]}]}]
    }));

    let mut motion = Buffers::default();
    let times = motion.floats("SCALAR", 2, &[0.0, 0.5]);
    let turn = motion.floats("VEC4", 2, &[0.0, 0.0, 0.0, 1.0, 0.6, 0.0, 0.0, 0.8]);
    let motion_json = motion.document(json!({
        "scenes": [{"nodes": [0]}],
        "nodes": [{"name": "head"}],
        "animations": [{"name": "nod", "channels": [{"sampler": 0, "target": {"node": 0, "path": "rotation"}}],
            "samplers": [{"input": times, "output": turn}]}]
    }));

    let parts = [offsets.as_bytes(), &skin_json, &skin.bytes, &motion_json, &motion.bytes];
    seeds.entry("lam_parts").or_default().push(join(&parts));
    let (skin_glb, motion_glb) = (glb(&skin_json, &skin.bytes), glb(&motion_json, &motion.bytes));
    let members =
        [("a/skin.glb", &skin_glb[..]), ("a/offset.ply", offsets.as_bytes()), ("a/animation.glb", &motion_glb)];
    seeds.entry("lam").or_default().extend([zipped(&members), zipped(&members[..2])]);
    seeds.entry("gltf_parts").or_default().push(join(&[&skin_json, &skin.bytes]));
}

/// Accessors over one binary chunk.
#[derive(Default)]
struct Buffers {
    bytes: Vec<u8>,
    views: Vec<Value>,
    accessors: Vec<Value>,
}

impl Buffers {
    fn floats(&mut self, kind: &str, count: usize, values: &[f32]) -> usize {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.add(kind, 5126, count, &bytes)
    }

    fn add(&mut self, kind: &str, component: u32, count: usize, bytes: &[u8]) -> usize {
        self.views.push(json!({"buffer": 0, "byteOffset": self.bytes.len(), "byteLength": bytes.len()}));
        let view = self.views.len() - 1;
        self.accessors.push(json!({"bufferView": view, "componentType": component, "count": count, "type": kind}));
        self.bytes.extend(bytes);
        view
    }

    fn document(&self, mut document: Value) -> Vec<u8> {
        document["asset"] = json!({"version": "2.0"});
        document["accessors"] = self.accessors.clone().into();
        document["bufferViews"] = self.views.clone().into();
        document["buffers"] = json!([{"byteLength": self.bytes.len()}]);
        document.to_string().into_bytes()
    }
}

/// The fixtures of weight files and pickles, whole and in parts.
fn add_weights(seeds: &mut Seeds) -> std::io::Result<()> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures");
    let read = |name: &str| fs::read(fixtures.join(name));
    for name in ["legacy.pth", "zip.pth", "deflated.pth", "script.pt", "persistence3.pkl", "persistence5.pkl"] {
        seeds.entry("torch").or_default().push(read(&format!("weights/{name}"))?);
    }
    seeds.entry("arrays").or_default().push(read("weights/legacy.pth")?);
    for protocol in 0..6 {
        let pickle = read(&format!("arrays/protocol{protocol}.pkl"))?;
        seeds.entry("frame").or_default().push(join(&[&pickle, &[0; 16]]));
        seeds.entry("arrays").or_default().push(pickle);
    }
    seeds.entry("arrays").or_default().extend([sparse_pickle(false), sparse_pickle(true)]);
    for name in ["zip.pth", "script.pt"] {
        let file = read(&format!("weights/{name}"))?;
        let mut archive = zip::ZipArchive::new(std::io::Cursor::new(file)).expect("a fixture");
        let members: Vec<String> = archive.file_names().map(|name| name.expect("UTF-8").into_owned()).collect();
        let mut part = |ending: &str| -> std::io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            if let Some(name) = members.iter().find(|name| name.ends_with(ending)) {
                archive.by_name(name).expect("it was listed").read_to_end(&mut bytes)?;
            }
            Ok(bytes)
        };
        let parts = ["/data.pkl", "/constants.pkl", "/data/0", "/data/1", "/constants/0"].map(&mut part);
        let parts = parts.into_iter().collect::<std::io::Result<Vec<_>>>()?;
        seeds.entry("torch_zip").or_default().push(join(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>()));
    }
    let tar = read("weights/tar.pth")?;
    let parts = ["storages", "tensors", "pickle"].map(|name| tar_member(&tar, name));
    seeds.entry("torch_tar").or_default().push(join(&parts));
    Ok(())
}

/// Motion and maps of every kind, behind the number of a fitting name.
fn add_clips(seeds: &mut Seeds) -> std::io::Result<()> {
    let frame = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/arrays/protocol2.pkl"))?;
    let array = |count: usize, width: usize| NpyArray::from_f32(vec![count, width], &vec![0.25; count * width]);
    let npz = |arrays: &[(&str, NpyArray)]| {
        write_npz(&arrays.iter().map(|(name, array)| ((*name).to_owned(), array.clone())).collect::<Vec<_>>())
            .expect("in memory")
    };
    let rate = NpyArray::from_f64(Vec::new(), &[29.97]);
    let csv = "Timecode,BlendshapeCount,EyeBlinkLeft,JawOpen,HeadYaw\n23:59:59:58.1,61,0.2,0.5,-0.1\n00:00:00:01.0,61,0,1,0\n";
    let json = r#"{"name":"a","ticks_per_second":50,"tracks":[{"target":"joint/n/rotation","width":4,"interpolation":"slerp","ticks":[0,3],"values":[1,0,0,0,0,1,0,0]}]}"#;
    let clips = [
        npz(&[("expr", array(2, 5)), ("jaw_pose", array(2, 3)), ("eyes_pose", array(2, 6)), ("shape", array(1, 4))]),
        npz(&[("poses", array(2, 72)), ("trans", array(2, 3)), ("mocap_framerate", rate)]),
        npz(&[("global_orient", array(1, 3)), ("body_pose", array(2, 63)), ("betas", array(1, 10))]),
        npz(&[("data", array(1, 123))]),
        npz(&[("arkit.jawOpen", array(3, 1)), ("flame.jaw_6d", array(3, 6))]),
    ];
    let mut all: Vec<(u8, Vec<u8>)> = clips.into_iter().map(|bytes| (0, bytes)).collect();
    all.extend([(1, csv.into()), (1, "seconds,a.0,a.1\n0,1,2\n0.5,3,4\n".into()), (2, json.into())]);
    all.push((3, zipped(&[("0/data.pkl", &frame)])));
    let behind = |(number, bytes): (u8, Vec<u8>)| [&[number], &bytes[..]].concat();
    seeds.entry("clips").or_default().extend(all.into_iter().map(behind));
    let json = r#"{"inputs":["jawOpen","b"],"outputs":["flame.jaw_pose.x"],"matrix":[[1,2]],"offset":[0.5]}"#;
    let csv = "o,jawOpen,offset\nflame.jaw_pose.x,1,2\n";
    let maps = [(0, npz(&[("flame.eyelids", array(52, 2))])), (1, csv.into()), (2, json.into())];
    seeds.entry("driver_map").or_default().extend(maps.map(behind));
    Ok(())
}

/// A member of a TAR whose headers are plain.
fn tar_member<'a>(tar: &'a [u8], wanted: &str) -> &'a [u8] {
    let mut rest = tar;
    loop {
        let digits = std::str::from_utf8(&rest[124..135]).expect("an octal size");
        let size = usize::from_str_radix(digits, 8).expect("an octal size");
        if rest[..100].split(|byte| *byte == 0).next() == Some(wanted.as_bytes()) {
            return &rest[512..512 + size];
        }
        rest = &rest[512 + size.next_multiple_of(512)..];
    }
}

/// `{'J': a sparse matrix, 'x': chumpy values}`, as Python 2 pickles them without or with constructors.
fn sparse_pickle(constructors: bool) -> Vec<u8> {
    let made = |class: &str| match constructors {
        true => format!("ccopy_reg\n_reconstructor\n(c{class}\nc__builtin__\nobject\nNtR"),
        false => format!("(i{class}\n"),
    };
    let (matrix, chumpy, select) =
        (made("scipy.sparse.csc\ncsc_matrix"), made("chumpy.ch\nCh"), made("chumpy.reordering\nSelect"));
    let sparse = "(dV_shape\n(I2\nI3\ntsVdata\n(F5\nF7\nlsVindptr\n(I0\nI1\nI1\nI2\nlsVindices\n(I1\nI0\nlsb";
    let inner = format!("{chumpy}(dVx\n(F1\nF2\nF3\nlsb");
    let chosen = format!("{select}(dVa\n{inner}sVidxs\n(I2\nI0\nlsVpreferred_shape\n(I2\nI1\ntsb");
    format!("(dVJ\n{matrix}{sparse}sVx\n{chosen}s.").into_bytes()
}

/// Every file so far, and a streamed SOG, behind the number of a fitting name.
fn add_names(seeds: &mut Seeds) {
    let mut all = Vec::new();
    for (target, name) in [
        ("gav", "x.gav"),
        ("ply", "x.ply"),
        ("compressed_ply", "x.ply"),
        ("splat", "x.splat"),
        ("sog", "x.sog"),
        ("lam", ""),
        ("spz", ""),
        ("gltf", "x.gltf"),
    ] {
        let files = seeds.get(target).into_iter().flatten().take(2);
        all.extend(files.map(|bytes| (name, bytes.clone())));
    }
    let streamed = json!({"lodLevels": 1, "filenames": ["0_0/meta.json"],
        "tree": {"children": [{"lods": {"0": {"file": 0, "offset": 0, "count": 5}}}]}});
    all.push(("lod-meta.json", streamed.to_string().into_bytes()));
    let number = |name: &str| NAMES.iter().position(|n| *n == name).expect("a known name") as u8;
    let behind = all.into_iter().map(|(name, bytes)| [&[number(name)], &bytes[..]].concat());
    seeds.entry("sniff").or_default().extend(behind);
}
