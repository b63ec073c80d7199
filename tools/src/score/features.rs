//! Inception features of pictures, kept by content, so that an interrupted run over a large set continues.
//!
//! 256 files of records for each network and preparation: 32 bytes of key, then the features as little-endian f32 (8 kB a
//! picture). A record that was cut short is ignored and overwritten.

use std::{
    collections::HashMap,
    fs::{self, OpenOptions},
    io::Write,
    path::PathBuf,
};

/// Features of one picture.
pub(crate) const LENGTH: usize = 2048;
const RECORD: usize = 32 + 4 * LENGTH;

/// The records of one network and preparation.
pub(crate) struct FeatureCache {
    folder: Option<PathBuf>,
    /// By the first byte of the key; read at the first use.
    shards: HashMap<u8, HashMap<[u8; 32], Vec<f32>>>,
}

impl FeatureCache {
    /// In `folder`; nothing is kept without one.
    pub(crate) fn at(folder: Option<PathBuf>) -> Self {
        Self { folder, shards: HashMap::new() }
    }

    fn file(&self, key: &[u8; 32]) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join(format!("{:02x}.bin", key[0])))
    }

    /// The features of the picture `key`.
    pub(crate) fn get(&mut self, key: &[u8; 32]) -> Option<Vec<f32>> {
        let file = self.file(key)?;
        let shard = self.shards.entry(key[0]).or_insert_with(|| {
            let bytes = fs::read(file).unwrap_or_default();
            let records = bytes.chunks_exact(RECORD).map(|record| {
                let mut name = [0; 32];
                name.copy_from_slice(&record[..32]);
                let floats = record[32..].chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
                (name, floats.collect())
            });
            records.collect()
        });
        shard.get(key).cloned()
    }

    /// Keeps features. What cannot be written is computed again next time.
    pub(crate) fn add(&mut self, key: [u8; 32], features: &[f32]) {
        let Some(file) = self.file(&key) else { return };
        let mut record = key.to_vec();
        record.extend(features.iter().flat_map(|f| f.to_le_bytes()));
        let write = || -> std::io::Result<()> {
            fs::create_dir_all(file.parent().unwrap_or(&file))?;
            let mut open = OpenOptions::new().create(true).append(true).open(&file)?;
            let whole = open.metadata()?.len() / RECORD as u64 * RECORD as u64;
            // the tail that a kill or a full disk left behind
            open.set_len(whole)?;
            open.write_all(&record)
        };
        // without the record the next run computes it again
        let _ = write();
        if let Some(shard) = self.shards.get_mut(&key[0]) {
            shard.insert(key, features.to_vec());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_and_torn_ones_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let open = || FeatureCache::at(Some(folder.path().join("f")));
        let features: Vec<f32> = (0..LENGTH).map(|i| i as f32 * 0.25).collect();
        let (one, two) = ([7; 32], [[7; 16], [8; 16]].concat().try_into().unwrap());
        let mut cache = open();
        assert_eq!(cache.get(&one), None);
        cache.add(one, &features);
        assert_eq!(cache.get(&one), Some(features.clone()));
        let file = folder.path().join("f/07.bin");
        OpenOptions::new().append(true).open(&file).unwrap().write_all(&[1; 100]).unwrap();
        let mut cache = open();
        cache.add(two, &features);
        let mut cache = open();
        assert_eq!((cache.get(&one), cache.get(&two)), (Some(features.clone()), Some(features)));
        assert_eq!(fs::metadata(file).unwrap().len(), 2 * RECORD as u64);
        assert_eq!(FeatureCache::at(None).get(&one), None);
    }
}
