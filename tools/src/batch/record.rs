//! The record of what a command made in a folder, such as `.gav-convert.json`: what `--resume` knows about earlier runs.
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
use serde_json::{Value, json};

use crate::{
    failure::{Failure, io_text, refuse},
    reading::{asset_folder, files_of},
};

/// The records of one command.
pub(crate) struct Kind {
    /// Name of the file in the output folder.
    pub file: &'static str,
    /// Key of the version number in it.
    pub field: &'static str,
    /// What it records, for messages.
    pub what: &'static str,
}

/// Completed items are recorded at least this far apart: writing the record for each of many small items would take longer
/// than converting them. Whatever is not recorded when the process dies is made again.
const INTERVAL: Duration = Duration::from_millis(250);

/// What one output was made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
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
pub(crate) struct OutputState {
    /// Bytes of the output, of all its files for folder formats.
    pub output_bytes: u64,
    /// BLAKE3 of the output's bytes.
    pub output_hash: String,
    /// The files of an item that makes several, below the record's folder.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub output_files: Vec<String>,
}

/// The version of every kind of record.
const VERSION: u32 = 1;

/// The record of one output folder.
pub(crate) struct Record {
    kind: &'static Kind,
    path: PathBuf,
    items: BTreeMap<String, Entry>,
    /// Entries of this run, which win over those that another run wrote in the meantime.
    own: BTreeMap<String, Entry>,
    saved: Option<Instant>,
    dirty: bool,
}

impl Record {
    /// Reads the record of `folder`, or starts an empty one.
    pub(crate) fn open(folder: &Path, kind: &'static Kind) -> Result<Self> {
        let path = folder.join(kind.file);
        let items = read_items(&path, kind)?;
        Ok(Self { kind, path, items, own: BTreeMap::new(), saved: None, dirty: false })
    }

    /// What is recorded about the output `key`.
    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        self.own.get(key).or_else(|| self.items.get(key))
    }

    /// Records an entry; [`Record::save`] writes it.
    pub(crate) fn set(&mut self, key: &str, entry: Entry) {
        self.own.insert(key.to_owned(), entry);
        self.dirty = true;
    }

    /// Writes the record, if it changed and was not written a moment ago (`force` writes it at once).
    pub(crate) fn save(&mut self, force: bool) -> Result<()> {
        if !self.dirty || (!force && self.saved.is_some_and(|t| t.elapsed() < INTERVAL)) {
            return Ok(());
        }
        let failed = |e: io::Error, path: &Path| Failure::at(path, &gav_formats::Error::io(path, e));
        let folder = self.path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(|e| failed(e, folder))?;
        // two runs into one folder take turns (where folders can be locked), and neither forgets the other's entries
        let lock = fs::File::open(folder).ok().filter(|f| f.lock().is_ok());
        self.items = read_items(&self.path, self.kind)?;
        self.items.extend(self.own.iter().map(|(key, entry)| (key.clone(), entry.clone())));
        let document = json!({self.kind.field: VERSION, "items": self.items});
        let written = write_file_atomically(&self.path, |sink| {
            serde_json::to_writer_pretty(&mut *sink, &document).map_err(io::Error::from)?;
            sink.write_all(b"\n")?;
            Ok(())
        });
        drop(lock);
        written.map_err(|e| Failure::at(&self.path, &e))?;
        self.saved = Some(Instant::now());
        self.dirty = false;
        Ok(())
    }
}

fn read_items(path: &Path, kind: &Kind) -> Result<BTreeMap<String, Entry>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(e) => return Err(Failure::at(path, &gav_formats::Error::io(path, e)).into()),
    };
    let damaged = |problem: String| {
        refuse(format!("{}: not a record of {}: {problem}", path.display(), kind.what), "delete it to start afresh")
    };
    let mut document: Value = serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))?;
    match document[kind.field].as_u64() {
        Some(version) if version == u64::from(VERSION) => {}
        Some(version) => {
            let message = format!("{}: a record of version {version}, {VERSION} is known", path.display());
            return Err(refuse(message, "delete it to start afresh, or use the newer program"));
        }
        None => return Err(damaged(format!("no `{}`", kind.field))),
    }
    serde_json::from_value(document["items"].take()).map_err(|e| damaged(e.to_string()))
}

/// Size and time of an input: the sum and the latest of its files for asset folders.
pub(crate) fn fingerprint(input: &Path) -> io::Result<(u64, u64)> {
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
pub(crate) fn output_state(output: &Path) -> Result<OutputState, Failure> {
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
    Ok(OutputState { output_bytes: bytes, output_hash: hex(&hasher), output_files: Vec::new() })
}

/// Size and hash of an output of several files, by their names below `folder`.
pub(crate) fn files_state(folder: &Path, mut files: Vec<String>) -> Result<OutputState, Failure> {
    files.sort_unstable();
    let mut hasher = blake3::Hasher::new();
    let mut bytes = 0;
    for name in &files {
        let state = output_state(&folder.join(name))?;
        hasher.update(name.as_bytes()).update(&[0]).update(state.output_hash.as_bytes());
        bytes += state.output_bytes;
    }
    Ok(OutputState { output_bytes: bytes, output_hash: hex(&hasher), output_files: files })
}

fn hex(hasher: &blake3::Hasher) -> String {
    hasher.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Kind = Kind { file: ".gav-test.json", field: "gav_test", what: "tests" };

    fn state(output_bytes: u64) -> OutputState {
        OutputState { output_bytes, output_hash: "h".into(), output_files: Vec::new() }
    }

    fn entry(output: Option<OutputState>) -> Entry {
        Entry { input: "a.ply".into(), input_bytes: 1, input_modified: 2, options: "x".into(), output }
    }

    #[test]
    fn entries_survive_and_two_runs_do_not_forget_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let (mut one, mut two) =
            (Record::open(folder.path(), &KIND).unwrap(), Record::open(folder.path(), &KIND).unwrap());
        one.set("a.gav", entry(None));
        one.save(true).unwrap();
        two.set("b.gav", entry(Some(state(3))));
        two.save(true).unwrap();
        one.set("a.gav", entry(Some(state(4))));
        one.save(true).unwrap();
        let read = Record::open(folder.path(), &KIND).unwrap();
        assert_eq!(read.get("a.gav").unwrap().output.as_ref().unwrap().output_bytes, 4);
        assert_eq!(read.get("b.gav").unwrap().output.as_ref().unwrap().output_bytes, 3);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_record_is_named_with_a_way_out() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(KIND.file), b"{").unwrap();
        let error = Record::open(folder.path(), &KIND).err().unwrap();
        assert!(error.to_string().contains(KIND.file));
        assert!(error.downcast_ref::<Failure>().unwrap().hint.as_ref().unwrap().contains("delete"));
    }
}
