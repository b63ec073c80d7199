//! Damaged and hostile `.gav` files: every truncation and every flipped byte is noticed, nothing panics, nothing is allocated
//! on a header's word.

use gav_formats::{
    Avatar, EncodeOptions, Error, Limits, Profile, ReadOptions, Source,
    gav::Reader,
    synthetic::{self, RigSample},
};
use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

fn encode(avatar: &Avatar, profile: Profile) -> Vec<u8> {
    let mut sink = std::io::Cursor::new(Vec::new());
    gav_formats::gav::write(avatar, &mut sink, &EncodeOptions { profile, ..EncodeOptions::default() }).unwrap();
    sink.into_inner()
}

fn read(bytes: &[u8]) -> Result<Avatar, Error> {
    gav_formats::gav::read(&Source::from_bytes(bytes.to_vec()), &ReadOptions::default())
}

/// Small files of every rig in a lossless and in both lossy codings.
fn samples() -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for (name, kind) in RigSample::ALL {
        for profile in [Profile::Lossless, Profile::Standard, Profile::Fast] {
            files.push((format!("{name} {profile:?}"), encode(&synthetic::every_rig(kind), profile)));
        }
    }
    files
}

#[test]
fn every_truncation_is_an_error() {
    samples().par_iter().for_each(|(name, bytes)| {
        for end in 0..bytes.len() {
            assert!(read(&bytes[..end]).is_err(), "{name}: {end} of {} bytes were accepted", bytes.len());
        }
    });
}

#[test]
fn every_flipped_bit_is_noticed_or_lies_in_padding() {
    samples().into_par_iter().for_each(|(name, mut bytes)| {
        let good = read(&bytes).unwrap();
        for at in 0..bytes.len() {
            let mask = 1 << (at % 8);
            bytes[at] ^= mask;
            // a byte that changes nothing can only be padding between chunks
            if let Ok(avatar) = read(&bytes) {
                assert!(avatar == good, "{name}: byte {at} changed the content unnoticed");
            }
            bytes[at] ^= mask;
        }
    });
}

#[test]
fn without_hashes_damage_is_still_an_error_or_an_avatar() {
    let options = ReadOptions { skip_hashes: true, ..ReadOptions::default() };
    for (_, mut bytes) in samples() {
        for at in (64..bytes.len()).step_by(3) {
            bytes[at] ^= 0x55;
            let _ = gav_formats::gav::read(&Source::from_bytes(bytes.clone()), &options);
            bytes[at] ^= 0x55;
        }
    }
}

#[test]
fn trailing_bytes_empty_input_and_text_mode_damage_are_refused() {
    let bytes = encode(&synthetic::random(20, 0, 1), Profile::Standard);
    let code = |bytes: &[u8]| read(bytes).unwrap_err().code();
    assert_eq!(code(&[]), "TRUNCATED");
    assert_eq!(code(&[bytes.as_slice(), b"x"].concat()), "TRAILING");
    assert_eq!(code(&bytes[..bytes.len() - 1]), "TRUNCATED");
    let mut text = bytes.clone();
    text.remove(4); // CR LF became LF
    assert_eq!(code(&text), "MAGIC");
}

/// Rewrites header fields and makes the hash right again.
fn with_header(bytes: &[u8], change: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut out = bytes.to_vec();
    change(&mut out[..56]);
    let hash = xxh3_64(&out[..56]);
    out[56..64].copy_from_slice(&hash.to_le_bytes());
    out
}

/// Rewrites the directory entry of `kind` and makes both hashes right again.
fn with_entry(bytes: &[u8], kind: &[u8; 4], change: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let start = u64::from_le_bytes(out[24..32].try_into().unwrap()) as usize;
    let row = (start..out.len()).step_by(64).find(|&at| &out[at..at + 4] == kind).unwrap();
    change(&mut out[row..row + 64]);
    let hash = xxh3_64(&out[start..]);
    with_header(&out, |h| h[48..56].copy_from_slice(&hash.to_le_bytes()))
}

/// Rewrites the parameters of a chunk and makes every hash right again.
fn with_parameters(bytes: &[u8], kind: &[u8; 4], change: impl Fn(&mut [u8])) -> Vec<u8> {
    let (offset, head, parameters) = {
        let reader = Reader::new(bytes, &Limits::default()).unwrap();
        let entry = reader.entries().iter().find(|e| &e.kind == kind).unwrap();
        let parameters = entry.parameter_bytes as usize;
        (entry.offset as usize, parameters + 8 * entry.block_count() as usize, parameters)
    };
    let mut out = bytes.to_vec();
    change(&mut out[offset..offset + parameters]);
    let hash = xxh3_64(&out[offset..offset + head]);
    with_entry(&out, kind, |e| e[48..56].copy_from_slice(&hash.to_le_bytes()))
}

#[test]
fn hostile_headers_and_directories_have_their_codes() {
    let bytes = encode(&synthetic::random(20, 0, 1), Profile::Standard);
    let code = |bytes: Vec<u8>| read(&bytes).unwrap_err().code();
    assert_eq!(code(with_header(&bytes, |h| h[8] = 2)), "VERSION");
    assert_eq!(code(with_header(&bytes, |h| h[44] = 0x80)), "FEATURE");
    assert_eq!(code(with_header(&bytes, |h| h[24] = 1)), "DIRECTORY");
    assert_eq!(code(with_header(&bytes, |h| h[24..32].fill(0xFF))), "DIRECTORY");
    assert_eq!(code(with_header(&bytes, |h| h[36] = 60)), "DIRECTORY");
    assert_eq!(code(with_header(&bytes, |h| h[32..36].fill(0xFF))), "LIMIT");
    assert_eq!(code(with_entry(&bytes, b"COLR", |e| e[8..16].fill(0xFF))), "CHUNK_RANGE");
    assert_eq!(code(with_entry(&bytes, b"COLR", |e| e[16..24].fill(0xFF))), "CHUNK_RANGE");
    assert_eq!(code(with_entry(&bytes, b"COLR", |e| e[40] = 21)), "ELEMENTS");
    assert_eq!(
        code(with_entry(&bytes, b"COLR", |e| e[36..44].copy_from_slice(&[1, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]))),
        "CHUNK_BLOCKS"
    );
    assert_eq!(code(with_entry(&bytes, b"COLR", |e| e[2] = b'l')), "CHUNK_TYPE");
    assert_eq!(code(with_entry(&bytes, b"COLR", |e| e[0] = b'X')), "CRITICAL_CHUNK");
    assert_eq!(code(with_entry(&bytes, b"COLR", |e| e[0] = b'x')), "MISSING_CHUNK");
    assert_eq!(code(with_entry(&bytes, b"COLR", |e| e[..4].copy_from_slice(b"SCAL"))), "DUPLICATE_CHUNK");
    assert_eq!(code(with_entry(&bytes, b"COLR", |e| e[32] = 7)), "CODEC");
    assert_eq!(code(with_entry(&bytes, b"COLR", |e| e[60] = 7)), "ENTRY_RESERVED");
    assert_eq!(code(with_entry(&bytes, b"COLR", |e| e[24] ^= 1)), "DECODED_BYTES");
    assert_eq!(code(with_entry(&bytes, b"COLR", |e| e[24..32].fill(0x7F))), "LIMIT");
    let other = {
        let reader = Reader::new(&bytes, &Limits::default()).unwrap();
        reader.entries().iter().find(|e| &e.kind == b"ROTN").unwrap().offset
    };
    assert_eq!(code(with_entry(&bytes, b"COLR", |e| e[8..16].copy_from_slice(&other.to_le_bytes()))), "OVERLAP");
}

#[test]
fn hostile_parameters_have_their_codes() {
    let bytes = encode(&synthetic::shell(40, 1, 1), Profile::Standard);
    let code = |bytes: Vec<u8>| read(&bytes).unwrap_err().code();
    assert_eq!(code(with_parameters(&bytes, b"SSET", |p| p[0..4].fill(0xFF))), "SPLAT_SET");
    assert_eq!(code(with_parameters(&bytes, b"SSET", |p| p[4] = 5)), "SPLAT_SET");
    assert_eq!(code(with_parameters(&bytes, b"SSET", |p| p[9] = b'X')), "SPLAT_SET");
    assert_eq!(code(with_parameters(&bytes, b"SSET", |p| p[7] = 1)), "RIG_KIND");
    // forty billion splats in a file of a few kilobytes
    let huge = |p: &mut [u8]| (p[0..4].fill(0xFF), p[72..76].fill(0xFF)).0;
    assert_eq!(code(with_parameters(&bytes, b"SSET", huge)), "LIMIT");
    assert_eq!(code(with_parameters(&bytes, b"QNTZ", |p| p[0..8].fill(0))), "QUANTIZATION");
    assert_eq!(code(with_parameters(&bytes, b"QNTZ", |p| p[60] = 200)), "QUANTIZATION");
    assert_eq!(code(with_parameters(&bytes, b"QNTZ", |p| p[64..68].fill(0xFF))), "QUANTIZATION");
    assert_eq!(code(with_parameters(&bytes, b"POSN", |p| p[0] = 9)), "PARAMETERS");
    assert_eq!(code(with_parameters(&bytes, b"SHCO", |p| p[0] = 9)), "SH_BASIS");
}

#[test]
fn limits_hold_before_anything_is_decoded() {
    let bytes = encode(&synthetic::random(5000, 0, 1), Profile::Standard);
    for limits in [
        Limits { splats: 4999, ..Limits::default() },
        Limits { decoded_bytes: 5000, ..Limits::default() },
        Limits { entries: 3, ..Limits::default() },
    ] {
        let options = ReadOptions { limits, ..ReadOptions::default() };
        let error = gav_formats::gav::read(&Source::from_bytes(bytes.clone()), &options).unwrap_err();
        assert_eq!(error.code(), "LIMIT", "{error}");
    }
}
