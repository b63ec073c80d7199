//! The record of a folder's conversions, `.gav-convert.json`: what `--resume` knows about earlier runs.
//!
//! An entry is written when an item is planned and completed when its output stands under its final name. So an output
//! without an entry is not ours, and an entry without an output was interrupted. Nothing in the record depends on when or in
//! how many runs the work was done.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant, UNIX_EPOCH},
};

use anyhow::Result;
use gav_formats::sink::write_file_atomically;
use serde::{Deserialize, Serialize};

use crate::{
    failure::{Failure, io_text, refuse},
    reading::{asset_folder, files_of},
};

/// Name of the record in the output folder.
pub(super) const NAME: &str = ".gav-convert.json";

/// Completed items are recorded at least this far apart: writing the record for each of many small items would take longer
/// than converting them. Whatever is not recorded when the process dies is made again.
const INTERVAL: Duration = Duration::from_millis(250);

/// What one output was made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Path of the input below the folder that was given.
    pub input: String,
    /// Bytes of the input, of all its files for folder formats.
    pub input_bytes: u64,
    /// When the input was last changed, in nanoseconds since 1970.
    pub input_modified: u64,
    /// Hash of everything on the command line that shapes the output, and of the program's version.
    pub options: String,
    /// The finished output; absent while planned or failed.
    #[serde(flatten, skip_serializing_if = "Option::is_none", default)]
    pub output: Option<OutputState>,
}

/// A finished output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct OutputState {
    /// Bytes of the output, of all its files for folder formats.
    pub output_bytes: u64,
    /// BLAKE3 of the output's bytes.
    pub output_hash: String,
}

#[derive(Serialize, Deserialize)]
struct Document {
    gav_convert: u32,
    items: BTreeMap<String, Entry>,
}

/// The record of one output folder.
pub(super) struct Manifest {
    path: PathBuf,
    items: BTreeMap<String, Entry>,
    /// Entries of this run, which win over those that another run wrote in the meantime.
    own: BTreeMap<String, Entry>,
    saved: Option<Instant>,
    dirty: bool,
}

impl Manifest {
    /// Reads the record of `folder`, or starts an empty one.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(NAME);
        let items = read_items(&path)?;
        Ok(Self { path, items, own: BTreeMap::new(), saved: None, dirty: false })
    }

    /// What is recorded about the output `key`.
    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.own.get(key).or_else(|| self.items.get(key))
    }

    /// Records an entry; [`Manifest::save`] writes it.
    pub(super) fn set(&mut self, key: &str, entry: Entry) {
        self.own.insert(key.to_owned(), entry);
        self.dirty = true;
    }

    /// Writes the record, if it changed and was not written a moment ago (`force` writes it at once).
    pub(super) fn save(&mut self, force: bool) -> Result<()> {
        if !self.dirty || (!force && self.saved.is_some_and(|t| t.elapsed() < INTERVAL)) {
            return Ok(());
        }
        let failed = |e: io::Error, path: &Path| Failure::at(path, &gav_formats::Error::io(path, e));
        let folder = self.path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(|e| failed(e, folder))?;
        // two runs into one folder take turns (where folders can be locked), and neither forgets the other's entries
        let lock = fs::File::open(folder).ok().filter(|f| f.lock().is_ok());
        self.items = read_items(&self.path)?;
        self.items.extend(self.own.iter().map(|(key, entry)| (key.clone(), entry.clone())));
        let document = Document { gav_convert: 1, items: std::mem::take(&mut self.items) };
        let written = write_file_atomically(&self.path, |sink| {
            serde_json::to_writer_pretty(&mut *sink, &document).map_err(io::Error::from)?;
            sink.write_all(b"\n")?;
            Ok(())
        });
        drop(lock);
        self.items = document.items;
        written.map_err(|e| Failure::at(&self.path, &e))?;
        self.saved = Some(Instant::now());
        self.dirty = false;
        Ok(())
    }
}

fn read_items(path: &Path) -> Result<BTreeMap<String, Entry>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(e) => return Err(Failure::at(path, &gav_formats::Error::io(path, e)).into()),
    };
    let document: Document = serde_json::from_slice(&text).map_err(|e| {
        refuse(format!("{}: not a record of conversions: {e}", path.display()), "delete it to start afresh")
    })?;
    if document.gav_convert != 1 {
        let message = format!("{}: a record of version {}, 1 is known", path.display(), document.gav_convert);
        return Err(refuse(message, "delete it to start afresh, or use the newer program"));
    }
    Ok(document.items)
}

/// Size and time of an input: the sum and the latest of its files for asset folders.
pub(super) fn fingerprint(input: &Path) -> io::Result<(u64, u64)> {
    let files = asset_folder(input).map_or_else(|| vec![input.to_path_buf()], |folder| files_of(&folder));
    let (mut bytes, mut latest) = (0, 0);
    for file in files {
        let metadata = file.metadata()?;
        bytes += metadata.len();
        let modified = metadata.modified()?.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
        latest = latest.max(modified);
    }
    Ok((bytes, latest))
}

/// Size and hash of a finished output: a file, or a folder with all its files.
pub(super) fn output_state(output: &Path) -> Result<OutputState, Failure> {
    let failed = |e: io::Error| Failure {
        code: "IO",
        message: format!("{}: cannot be read back: {}", output.display(), io_text(&e)),
        hint: None,
    };
    let mut hasher = blake3::Hasher::new();
    let mut bytes = 0;
    if output.is_dir() {
        for file in files_of(output) {
            let name = file.strip_prefix(output).unwrap_or(&file).to_string_lossy().into_owned();
            let length = file.metadata().map_err(failed)?.len();
            hasher.update(name.as_bytes()).update(&[0]).update(&length.to_le_bytes());
            hasher.update_reader(fs::File::open(&file).map_err(failed)?).map_err(failed)?;
            bytes += length;
        }
    } else {
        hasher.update_reader(fs::File::open(output).map_err(failed)?).map_err(failed)?;
        bytes = hasher.count();
    }
    Ok(OutputState { output_bytes: bytes, output_hash: hasher.finalize().to_hex().to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(output: Option<OutputState>) -> Entry {
        Entry { input: "a.ply".into(), input_bytes: 1, input_modified: 2, options: "x".into(), output }
    }

    #[test]
    fn entries_survive_and_two_runs_do_not_forget_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let (mut one, mut two) = (Manifest::open(folder.path()).unwrap(), Manifest::open(folder.path()).unwrap());
        one.set("a.gav", entry(None));
        one.save(true).unwrap();
        two.set("b.gav", entry(Some(OutputState { output_bytes: 3, output_hash: "h".into() })));
        two.save(true).unwrap();
        one.set("a.gav", entry(Some(OutputState { output_bytes: 4, output_hash: "i".into() })));
        one.save(true).unwrap();
        let read = Manifest::open(folder.path()).unwrap();
        assert_eq!(read.get("a.gav").unwrap().output.as_ref().unwrap().output_bytes, 4);
        assert_eq!(read.get("b.gav").unwrap().output.as_ref().unwrap().output_bytes, 3);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_record_is_named_with_a_way_out() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(NAME), b"{").unwrap();
        let error = Manifest::open(folder.path()).err().unwrap();
        assert!(error.to_string().contains(NAME));
        assert!(error.downcast_ref::<Failure>().unwrap().hint.as_ref().unwrap().contains("delete"));
    }
}
