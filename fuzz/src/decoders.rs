//! One function per fuzz target: it decodes the input and must return, whatever the input is.
//!
//! The stable tests include this file too, to replay inputs that once failed. Where a checksum, a compressor or a length
//! field would hide a decoder from the fuzzer, a second function takes the parts and builds the file around them. Parts
//! stand one after the other, each behind its length (u16, little-endian); the last may be cut short.

use std::io::{Cursor, Write};

use gav_formats::{
    Avatar, EncodeOptions, Limits, Profile, ReadOptions, Source,
    clips::{self, ClipOptions},
    format_by_name,
    gav::{self, Attribute, Reader},
    npy, ply, validate,
    weights::{self, pickle},
};
use xxhash_rust::xxh3::xxh3_64;
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

/// A function that decodes an input.
pub type Decoder = fn(&[u8]);

/// Every target by name.
pub const DECODERS: [(&str, Decoder); 24] = [
    ("arrays", arrays),
    ("clips", clips),
    ("compressed_ply", compressed_ply),
    ("driver_map", driver_map),
    ("frame", frame),
    ("gav", gav),
    ("gav_unchecked", gav_unchecked),
    ("gltf", gltf),
    ("gltf_parts", gltf_parts),
    ("ksplat", ksplat),
    ("lam", lam),
    ("lam_parts", lam_parts),
    ("npy", npy),
    ("npz", npz),
    ("ply", ply),
    ("sniff", sniff),
    ("sog", sog),
    ("sog_images", sog_images),
    ("splat", splat),
    ("spz", spz),
    ("spz_streams", spz_streams),
    ("torch", torch),
    ("torch_tar", torch_tar),
    ("torch_zip", torch_zip),
];

/// Members of a SOG, in the order of the parts of [`sog_images`].
pub const SOG_MEMBERS: [&str; 8] = [
    "meta.json",
    "means_l.webp",
    "means_u.webp",
    "scales.webp",
    "quats.webp",
    "sh0.webp",
    "shN_centroids.webp",
    "shN_labels.webp",
];

/// File names that [`sniff`] chooses from by the first byte of its input.
pub const NAMES: [&str; 8] = ["", "x.gav", "x.ply", "x.splat", "x.sog", "meta.json", "lod-meta.json", "x.gltf"];

/// Bytes of the compact file header and of each compact section header of [`ksplat`].
pub const KSPLAT_HEADER: usize = 44;

/// Small limits, so that a decoder which ignores them is noticed.
pub fn options() -> ReadOptions {
    let limits =
        Limits { splats: 1 << 20, decoded_bytes: 64 << 20, header_bytes: 1 << 16, entries: 256, json_depth: 32 };
    ReadOptions { limits, ..ReadOptions::default() }
}

fn decode(id: &str, bytes: Vec<u8>) {
    let read = format_by_name(id).and_then(|format| format.read).expect("a readable format");
    if let Ok(avatar) = read(&Source::from_bytes(bytes), &options()) {
        let _ = avatar.validate();
    }
}

/// Splits an input into `N` parts; missing ones are empty.
pub fn split<const N: usize>(mut data: &[u8]) -> [&[u8]; N] {
    std::array::from_fn(|_| {
        let Some((length, rest)) = data.split_first_chunk() else { return &[][..] };
        let (part, rest) = rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()));
        data = rest;
        part
    })
}

/// The input that [`split`] takes apart.
pub fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.iter().flat_map(|part| [&(part.len() as u16).to_le_bytes(), *part].concat()).collect()
}

/// A ZIP archive of stored members.
pub fn zipped(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(zip::DateTime::default());
    for (name, bytes) in members {
        archive.start_file(*name, stored).expect("writing to memory");
        archive.write_all(bytes).expect("writing to memory");
    }
    archive.finish().expect("writing to memory").into_inner()
}

/// A TAR archive.
pub fn tarred(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, bytes) in members {
        let mut header = [0; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[124..135].copy_from_slice(format!("{:011o}", bytes.len()).as_bytes());
        header[156] = b'0';
        header[257..262].copy_from_slice(b"ustar");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        archive.extend(header);
        archive.extend(*bytes);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

/// A binary glTF file.
pub fn glb(json: &[u8], bin: &[u8]) -> Vec<u8> {
    let [json_end, bin_end] = [json, bin].map(|part| part.len().next_multiple_of(4));
    let mut file = b"glTF".to_vec();
    for word in [2, 28 + json_end + bin_end, json_end, 0x4E4F_534A] {
        file.extend((word as u32).to_le_bytes());
    }
    file.extend(json);
    file.resize(20 + json_end, b' ');
    file.extend((bin_end as u32).to_le_bytes());
    file.extend(b"BIN\0");
    file.extend(bin);
    file.resize(28 + json_end + bin_end, 0);
    file
}

/// `.gav` with its hashes checked.
pub fn gav(data: &[u8]) {
    read_gav(data, &options());
}

/// `.gav` without hash checks, so that changed bytes reach the codecs. Header and directory, whose hashes are checked
/// always, are made right first; the directory is the end of the file.
pub fn gav_unchecked(data: &[u8]) {
    let mut file = data.to_vec();
    if file.len() >= 64 {
        let field = |at: usize| u32::from_le_bytes(std::array::from_fn(|k| data[at + k])) as usize;
        let directory = field(32).saturating_mul(field(36)).min(file.len() - 64);
        let start = file.len() - directory;
        let hash = xxh3_64(&file[start..]);
        for (at, value) in [(16, data.len() as u64), (24, start as u64), (48, hash)] {
            file[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        let hash = xxh3_64(&file[..56]);
        file[56..64].copy_from_slice(&hash.to_le_bytes());
    }
    read_gav(&file, &ReadOptions { skip_hashes: true, ..options() });
}

fn read_gav(data: &[u8], options: &ReadOptions) {
    let Ok(reader) = Reader::with_options(data, options) else { return };
    for layer in 0..reader.splat_set().layers.len().min(2) {
        for block in 0..reader.block_count(layer).unwrap_or(0).min(2) {
            let _ = reader.read_block(layer, block, &Attribute::ALL);
        }
    }
    if let Ok(mut avatar) = gav::read(&Source::from_bytes(data.to_vec()), options)
        && avatar.splats.len() <= 256
    {
        if options.skip_hashes {
            // they would be carried along with their wrong hashes
            avatar.unknown.clear();
        }
        round_trip(&avatar);
    }
}

/// What was decoded can be written, or is refused; what was written is read back, and is then written as the same bytes.
fn round_trip(avatar: &Avatar) {
    let write = |avatar: &Avatar, profile| {
        let mut sink = Cursor::new(Vec::new());
        let options = EncodeOptions { profile, level: Some(1), ..EncodeOptions::default() };
        gav::write(avatar, &mut sink, &options).map(|()| sink.into_inner())
    };
    let read = |bytes: &[u8]| gav::read(&Source::from_bytes(bytes.to_vec()), &ReadOptions::default());
    if let Ok(first) = write(avatar, Profile::Lossless) {
        let back = read(&first).expect("what was written is read");
        let second = write(&back, Profile::Lossless).expect("what was read is written");
        assert!(first == second, "a lossless file changes when it is written again");
    }
    if let Ok(bytes) = write(avatar, Profile::Fast) {
        read(&bytes).expect("what was written with loss is read");
    }
}

/// PLY in every dialect, and the table below them.
pub fn ply(data: &[u8]) {
    let _ = ply::Ply::parse(data, &options().limits);
    decode("ply", data.to_vec());
}

/// PlayCanvas compressed PLY.
pub fn compressed_ply(data: &[u8]) {
    decode("compressed-ply", data.to_vec());
}

/// SPZ as it lies on disk.
pub fn spz(data: &[u8]) {
    decode("spz", data.to_vec());
}

/// SPZ before version 4 without its gzip layer.
pub fn spz_streams(data: &[u8]) {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    gzip.write_all(data).expect("writing to memory");
    decode("spz", gzip.finish().expect("writing to memory"));
}

/// A SOG bundle.
pub fn sog(data: &[u8]) {
    decode("sog", data.to_vec());
}

/// A SOG from its members, in the order of [`SOG_MEMBERS`].
pub fn sog_images(data: &[u8]) {
    let parts = split::<8>(data);
    let members: Vec<_> = SOG_MEMBERS.into_iter().zip(parts).filter(|(_, part)| !part.is_empty()).collect();
    decode("sog", zipped(&members));
}

/// `.splat`.
pub fn splat(data: &[u8]) {
    decode("splat", data.to_vec());
}

/// `.ksplat` without the empty space in its headers: a byte for the number of sections (at most 3), the file header,
/// the section headers, the data.
pub fn ksplat(data: &[u8]) {
    let Some((&count, mut rest)) = data.split_first() else { return };
    let mut file = Vec::new();
    for size in [4096, 1024, 1024, 1024].into_iter().take(1 + usize::from(count % 4)) {
        let (head, after) = rest.split_at(rest.len().min(KSPLAT_HEADER));
        let end = file.len() + size;
        file.extend(head);
        file.resize(end, 0);
        rest = after;
    }
    file.extend(rest);
    decode("ksplat", file);
}

/// glTF as JSON or GLB.
pub fn gltf(data: &[u8]) {
    decode("gltf", data.to_vec());
}

/// A GLB from its JSON and its binary chunk.
pub fn gltf_parts(data: &[u8]) {
    let [json, bin] = split(data);
    decode("gltf", glb(json, bin));
}

/// LAM's ZIP archive.
pub fn lam(data: &[u8]) {
    decode("lam", data.to_vec());
}

/// A LAM avatar from the offsets, and JSON and binary chunk of skin and animation.
pub fn lam_parts(data: &[u8]) {
    let [offsets, skin, skin_bin, animation, animation_bin] = split(data);
    let (skin, animation) = (glb(skin, skin_bin), glb(animation, animation_bin));
    decode("lam", zipped(&[("skin.glb", &skin), ("offset.ply", offsets), ("animation.glb", &animation)]));
}

/// `.npy`; what is read is written and read again.
pub fn npy(data: &[u8]) {
    if let Ok(array) = npy::read_npy(data, &options().limits) {
        let _ = (array.to_f32(), array.to_i64());
        let again = npy::read_npy(&npy::write_npy(&array), &Limits::default()).expect("what was written is read");
        assert!(array == again, "an array changes when it is written");
    }
}

/// `.npz`.
pub fn npz(data: &[u8]) {
    let _ = npy::read_npz(data, &options().limits);
}

/// Any format, found by name and bytes, and the validator. The first byte chooses one of [`NAMES`].
pub fn sniff(data: &[u8]) {
    let Some((&name, bytes)) = data.split_first() else { return };
    let source = Source::from_bytes_at(bytes.to_vec(), NAMES[usize::from(name) % NAMES.len()]);
    let _ = gav_formats::read(&source, &options());
    let _ = validate::validate(&source, &options());
}

fn weight_limits() -> weights::Limits {
    let pickle = pickle::Limits { values: 1 << 14, marks: 64 };
    weights::Limits { pickle, unpacked_bytes: 4 << 20, array_bytes: 16 << 20, depth: 32, visits: 1 << 14 }
}

fn read_arrays(data: &[u8]) {
    if let Ok(found) = weights::read_arrays(data, &weight_limits()) {
        for array in found.arrays.values() {
            let elements = array.shape.iter().product::<usize>();
            assert_eq!((array.to_f64().len(), array.data.len()), (elements, elements * array.dtype.size()));
        }
    }
}

fn read_weights(data: &[u8]) {
    if let Ok(map) = weights::read(data, &weight_limits()) {
        for tensor in map.tensors.values() {
            // a small tensor may repeat its elements 65,536 times
            assert_eq!(tensor.to_bytes().len(), tensor.len() * tensor.dtype().size());
        }
    }
}

/// Whatever holds arrays: pickles of every protocol, `.npy`, `.npz`, safetensors, files of PyTorch.
pub fn arrays(data: &[u8]) {
    read_arrays(data);
}

/// A frame of a tracker: the pickle of a ZIP of PyTorch, and a storage.
pub fn frame(data: &[u8]) {
    let [pickle, storage] = split(data);
    read_arrays(&zipped(&[("00000/data.pkl", pickle), ("00000/data/0", storage), ("00000/version", b"3\n")]));
}

/// Networks in safetensors, pickles and files of PyTorch.
pub fn torch(data: &[u8]) {
    read_weights(data);
}

/// The oldest files of PyTorch, from their members.
pub fn torch_tar(data: &[u8]) {
    let [storages, tensors, pickle] = split(data);
    read_weights(&tarred(&[("storages", storages), ("tensors", tensors), ("pickle", pickle)]));
}

/// Files of PyTorch since 1.6 from the pickle, the pickle of a script's constants (none when empty), two storages, one constant.
pub fn torch_zip(data: &[u8]) {
    let [pickle, constants, first, second, constant] = split(data);
    let mut members = vec![("a/data.pkl", pickle), ("a/data/0", first), ("a/data/1", second)];
    if !constants.is_empty() {
        members.extend([("a/constants.pkl", constants), ("a/constants/0", constant)]);
    }
    read_weights(&zipped(&members));
}

/// File names that [`clips`] and [`driver_map`] choose from by the first byte of their input.
pub const CLIP_NAMES: [&str; 5] = ["x.npz", "x.csv", "x.json", "x.frame", "x.glb"];

/// Motion in any file of one part; what was read can be mixed, cut, resampled, retargeted and written.
pub fn clips(data: &[u8]) {
    let Some((&name, bytes)) = data.split_first() else { return };
    let source = Source::from_bytes_at(bytes.to_vec(), CLIP_NAMES[usize::from(name) % CLIP_NAMES.len()]);
    let options = ClipOptions { identity: true, limits: options().limits, ..ClipOptions::default() };
    for clip in clips::read_source(&source, &options).unwrap_or_default() {
        let _ = (clips::to_json(&clip), clips::to_csv(&clip));
        // a short clip may claim to last for years: those take long
        if clip.seconds() * f64::from(clip.ticks_per_second.max(60)) > 1e4 {
            continue;
        }
        let _ = clips::to_npz(&clip);
        let half = clip.resampled(60).and_then(|clip| clip.trimmed(0.0, 0.5 * clip.seconds())).unwrap_or_default();
        let _ = clip.blended(&half, 0.5);
        let fitted = clips::fit_flame(&half, 100, Some(clips::Rotations::SixD)).unwrap_or(half);
        let _ = clips::fit_flame(&fitted, 3, Some(clips::Rotations::AxisAngle));
        let _ = clips::relative_to_neutral(&fitted, &fitted.pose_at(0.0), &fitted.pose_at(1.0));
    }
}

/// Linear maps of drivers.
pub fn driver_map(data: &[u8]) {
    let Some((&name, bytes)) = data.split_first() else { return };
    let source = Source::from_bytes_at(bytes.to_vec(), CLIP_NAMES[usize::from(name) % CLIP_NAMES.len()]);
    if let Ok(map) = clips::read_map(&source, &options().limits) {
        assert_eq!(map.matrix.len(), map.inputs.len() * map.outputs.len());
    }
}
