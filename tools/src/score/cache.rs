//! Scores of earlier runs, by the content of what was compared: `gav score` continues where it was stopped.
//!
//! One line of JSON a pair, appended when it is scored, in 256 files by the first byte of the key. A line that was cut short
//! by a kill or a full disk is ignored. Deleting the folder costs nothing but time.

use std::{
    collections::HashMap,
    env,
    fs::{self, OpenOptions},
    io::Write,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use etcetera::BaseStrategy;
use serde::{Deserialize, Serialize};

/// `GAV_CACHE`, or `gav` in the user's cache folder.
pub(crate) fn folder() -> Option<PathBuf> {
    let own = env::var_os("GAV_CACHE").filter(|v| !v.is_empty()).map(PathBuf::from);
    own.or_else(|| Some(etcetera::choose_base_strategy().ok()?.cache_dir().join("gav")))
}

/// What is known about a pair.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Known {
    pub width: usize,
    pub height: usize,
    /// Number of pixels, or the sum of the mask.
    pub pixels: f64,
    /// Values by the name of the measure.
    pub values: HashMap<String, f64>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    key: String,
    width: usize,
    height: usize,
    pixels: f64,
    /// Texts, because JSON has no infinity.
    values: HashMap<String, String>,
}

/// The folder of scores; `None` inside when scores are not kept.
pub(crate) struct Cache {
    folder: Option<PathBuf>,
    shards: Vec<Mutex<Option<HashMap<String, Known>>>>,
}

impl Cache {
    /// Below [`folder`].
    pub(crate) fn of_the_user() -> Self {
        Self::at(folder().map(|folder| folder.join("scores")))
    }

    /// In any folder; nothing is kept without one.
    pub(crate) fn at(folder: Option<PathBuf>) -> Self {
        Self { folder, shards: (0..256).map(|_| Mutex::new(None)).collect() }
    }

    /// What is known about the pair `key` (hexadecimal).
    pub(crate) fn get(&self, key: &str) -> Option<Known> {
        self.with_shard(key, |shard| shard.get(key).cloned())
    }

    /// Keeps what was found out. What cannot be written is computed again next time.
    pub(crate) fn add(&self, key: &str, known: &Known) {
        let Some(file) = self.file(key) else { return };
        let values = known.values.iter().map(|(name, value)| (name.clone(), format!("{value:?}"))).collect();
        let Known { width, height, pixels, .. } = *known;
        let line = Line { key: key.to_owned(), width, height, pixels, values };
        self.with_shard(key, |shard| {
            merge(shard, key.to_owned(), known.clone());
            let mut text = serde_json::to_string(&line).unwrap_or_default();
            text.push('\n');
            let written = file.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| {
                // one write of a short line in append mode is not torn by another process
                OpenOptions::new().create(true).append(true).open(&file)?.write_all(text.as_bytes())
            });
            // a torn line at the end of the file would swallow the next one
            if written.is_err() {
                let _ = OpenOptions::new().append(true).open(&file).and_then(|mut f| f.write_all(b"\n"));
            }
        });
    }

    fn file(&self, key: &str) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join(format!("{}.jsonl", key.get(..2)?)))
    }

    /// Calls `f` with the lines of the key's file, read at its first use.
    fn with_shard<T>(&self, key: &str, f: impl FnOnce(&mut HashMap<String, Known>) -> T) -> T {
        let index = key.get(..2).and_then(|byte| usize::from_str_radix(byte, 16).ok()).unwrap_or(0);
        let mut shard = self.shards[index].lock().unwrap_or_else(PoisonError::into_inner);
        f(shard.get_or_insert_with(|| {
            let text = self.file(key).and_then(|file| fs::read(file).ok()).unwrap_or_default();
            let mut known = HashMap::new();
            for line in text.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice::<Line>(line).ok()) {
                let values = line.values.into_iter().filter_map(|(name, v)| Some((name, v.parse().ok()?))).collect();
                let (width, height, pixels) = (line.width, line.height, line.pixels);
                merge(&mut known, line.key, Known { width, height, pixels, values });
            }
            known
        }))
    }
}

fn merge(shard: &mut HashMap<String, Known>, key: String, new: Known) {
    let known = shard.entry(key).or_default();
    (known.width, known.height, known.pixels) = (new.width, new.height, new.pixels);
    known.values.extend(new.values);
}

impl Known {
    /// The values of these names, when all are known.
    pub(crate) fn all(&self, names: &[String]) -> Option<Vec<f64>> {
        names.iter().map(|name| self.values.get(name).copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(pairs: &[(&str, f64)]) -> Known {
        let values = pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        Known { width: 3, height: 2, pixels: 6.0, values }
    }

    #[test]
    fn scores_survive_exactly_and_torn_lines_are_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(Some(folder.path().to_path_buf()));
        let exact = 0.1 + 0.2;
        cache.add("ab01", &known(&[("mse", exact), ("psnr-per-image", f64::INFINITY)]));
        cache.add("ab02", &known(&[("mse", 1.0)]));
        cache.add("ab01", &known(&[("l1", 5e-324)]));
        let file = folder.path().join("ab.jsonl");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("{{\"key\":\"ab03\",\"wid\n{text}{}", &text[..40])).unwrap();
        let again = Cache::at(Some(folder.path().to_path_buf()));
        let all = known(&[("mse", exact), ("psnr-per-image", f64::INFINITY), ("l1", 5e-324)]);
        assert_eq!(again.get("ab01"), Some(all.clone()));
        assert_eq!((again.get("ab03"), again.get("cd00")), (None, None));
        assert_eq!(all.all(&["mse".to_owned()]), Some(vec![exact]));
        assert_eq!(all.all(&["mse".to_owned(), "ssim".to_owned()]), None);
    }

    #[test]
    fn without_a_folder_nothing_is_kept_on_disk() {
        let cache = Cache::at(None);
        cache.add("ab01", &known(&[]));
        assert_eq!(cache.get("ab01"), None);
    }
}
