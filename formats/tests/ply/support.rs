//! What the tests share: reference data, random splats, systematic damage.

use std::path::PathBuf;

use gav_formats::{Avatar, Error, Frame, ReadOptions, Result, Source, Splats};

/// A file of the reference data, or `None` with a loud line when the folder is absent.
pub fn shared(path: &str) -> Option<PathBuf> {
    let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let found = std::env::var_os("GAV_SHARED").map_or_else(default, PathBuf::from).join(path);
    if !found.exists() {
        println!("SKIPPED: no reference data at {}", found.display());
        return None;
    }
    Some(found)
}

/// Unpacks one of the captured PLY files.
pub fn capture(name: &str) -> Option<Vec<u8>> {
    let path = shared(&format!("data/splats/{name}.ply.zst"))?;
    Some(zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap())
}

/// A small deterministic generator (xorshift64*).
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Uniform in −1..1.
    pub fn float(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// Finite splats with every attribute in a plausible range.
pub fn random_splats(count: usize, degree: u8, seed: u64) -> Splats {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut splats = Splats::with_len(count, degree);
    for i in 0..count {
        splats.means[i] = [(); 3].map(|()| random.float());
        splats.rotations[i] = [(); 4].map(|()| random.float());
        splats.log_scales[i] = [(); 3].map(|()| random.float() * 2.0 - 5.0);
        splats.opacity_logits[i] = random.float() * 4.0;
        splats.sh0[i] = [(); 3].map(|()| random.float());
    }
    splats.sh_rest.iter_mut().for_each(|v| *v = random.float() * 0.5);
    splats
}

/// Bits of all attributes, so that NaN payloads and signed zeros count.
pub fn bits(splats: &Splats) -> Vec<u32> {
    let pose = splats.means.as_flattened().iter().chain(splats.rotations.as_flattened());
    let rest = splats.log_scales.as_flattened().iter().chain(&splats.opacity_logits);
    pose.chain(rest).chain(splats.sh0.as_flattened()).chain(&splats.sh_rest).map(|v| v.to_bits()).collect()
}

/// Reads bytes as the registry does.
pub fn read(bytes: Vec<u8>, name: &str) -> Result<Avatar> {
    gav_formats::read(&Source::from_bytes_at(bytes, name), &ReadOptions::default())
}

/// Writes with the format of this id.
pub fn write(avatar: &Avatar, id: &str) -> Result<Vec<u8>> {
    gav_formats::to_bytes(avatar, gav_formats::format_by_name(id).unwrap(), &Default::default())
}

pub fn avatar(splats: Splats) -> Avatar {
    Avatar::new(splats, Frame::RDF)
}

/// Every truncation must be an error and no single corrupted byte may panic.
pub fn torture(bytes: &[u8], read: impl Fn(Vec<u8>) -> Result<Avatar>) {
    assert!(read(bytes.to_vec()).is_ok());
    for length in 0..bytes.len() {
        assert!(read(bytes[..length].to_vec()).is_err(), "{length} of {} bytes were accepted", bytes.len());
    }
    for at in 0..bytes.len() {
        for value in [0x00, 0x01, 0x20, 0x39, 0x7f, 0x80, 0xff, !bytes[at]] {
            let mut damaged = bytes.to_vec();
            damaged[at] = value;
            let _ = read(damaged);
        }
    }
}

/// The code of an error, or `OK`.
pub fn code<T>(result: Result<T, Error>) -> &'static str {
    result.err().map_or("OK", |e| e.code())
}
