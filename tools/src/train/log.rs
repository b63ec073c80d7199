//! What a training says of itself while it runs: JSON lines, and events for TensorBoard.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::Value;

use crate::failure::Failure;

/// Where numbers go.
#[derive(Default)]
pub(super) struct Log {
    lines: Option<(PathBuf, File)>,
    events: Option<(PathBuf, File)>,
}

impl Log {
    /// Opens both, appending to lines that are there.
    pub(super) fn open(lines: Option<&Path>, events: Option<&Path>) -> Result<Self, Failure> {
        let failed = |path: &Path, e: std::io::Error| Failure::at(path, &gav_formats::Error::io(path, e));
        let mut log = Self::default();
        if let Some(path) = lines {
            if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
                fs::create_dir_all(parent).map_err(|e| failed(parent, e))?;
            }
            let file = OpenOptions::new().create(true).append(true).open(path).map_err(|e| failed(path, e))?;
            log.lines = Some((path.to_owned(), file));
        }
        if let Some(folder) = events {
            fs::create_dir_all(folder).map_err(|e| failed(folder, e))?;
            let path = folder.join(format!("events.out.tfevents.{}.gav.{}", seconds() as u64, std::process::id()));
            let mut file = File::create(&path).map_err(|e| failed(&path, e))?;
            // field 3 of an event is the version of the file
            let mut version = event(0);
            field(&mut version, 3, b"brain.Event:2");
            file.write_all(&record(&version)).map_err(|e| failed(&path, e))?;
            log.events = Some((path, file));
        }
        Ok(log)
    }

    /// One line, and a scalar for each number in it.
    pub(super) fn write(&mut self, step: u32, kind: &str, values: &Value) -> Result<(), Failure> {
        let failed = |path: &Path, e: std::io::Error| Failure::at(path, &gav_formats::Error::io(path, e));
        if let Some((path, file)) = &mut self.lines {
            let mut line = serde_json::json!({"event": kind, "step": step});
            if let (Value::Object(line), Value::Object(values)) = (&mut line, values) {
                line.extend(values.clone());
            }
            writeln!(file, "{line}").map_err(|e| failed(path, e))?;
        }
        if let (Some((path, file)), Value::Object(values)) = (&mut self.events, values) {
            let numbers = values.iter().filter_map(|(name, value)| Some((name, value.as_f64()?)));
            for (name, value) in numbers {
                let scalar = scalar(step, &format!("{kind}/{name}"), value as f32);
                file.write_all(&record(&scalar)).map_err(|e| failed(path, e))?;
            }
        }
        Ok(())
    }
}

fn seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

/// An event of TensorFlow (`event.proto`) with its wall time and step: field 1 is a double, field 2 a varint.
fn event(step: u32) -> Vec<u8> {
    let mut out = vec![1 << 3 | 1];
    out.extend(seconds().to_le_bytes());
    out.push(2 << 3);
    varint(&mut out, u64::from(step));
    out
}

/// A summary (field 5) with one value: tag (field 1) and `simple_value` (field 2, a float).
fn scalar(step: u32, tag: &str, value: f32) -> Vec<u8> {
    let mut inner = Vec::new();
    field(&mut inner, 1, tag.as_bytes());
    inner.push(2 << 3 | 5);
    inner.extend(value.to_le_bytes());
    let mut summary = Vec::new();
    field(&mut summary, 1, &inner);
    let mut out = event(step);
    field(&mut out, 5, &summary);
    out
}

/// A field of bytes.
fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend(bytes);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A record of a TFRecord file: length, its masked CRC, data, their masked CRC.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut out = length.to_vec();
    out.extend(masked(&length).to_le_bytes());
    out.extend(data);
    out.extend(masked(data).to_le_bytes());
    out
}

/// CRC-32C, turned by 15 bits and moved by a constant, as TFRecord wants it.
fn masked(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82F6_3B78 } else { crc >> 1 };
        }
    }
    (!crc).rotate_right(15).wrapping_add(0xA282_EAD8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_have_the_checksums_of_tfrecord() {
        // CRC-32C of "123456789" is 0xE3069283 (RFC 3720, B.4 uses the same polynomial)
        assert_eq!(masked(b"123456789"), 0xE306_9283u32.rotate_right(15).wrapping_add(0xA282_EAD8));
        let bytes = record(b"abc");
        assert_eq!((bytes.len(), &bytes[..8], &bytes[12..15]), (19, &[3u8, 0, 0, 0, 0, 0, 0, 0][..], &b"abc"[..]));
    }

    #[test]
    fn lines_and_events_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let (lines, events) = (folder.path().join("a/log.jsonl"), folder.path().join("tb"));
        let mut log = Log::open(Some(&lines), Some(&events)).unwrap();
        log.write(300, "train", &serde_json::json!({"l1": 0.25, "name": "x"})).unwrap();
        let line: Value = serde_json::from_str(&fs::read_to_string(&lines).unwrap()).unwrap();
        assert_eq!(line, serde_json::json!({"event": "train", "step": 300, "l1": 0.25, "name": "x"}));
        let file = fs::read_dir(&events).unwrap().next().unwrap().unwrap().path();
        let bytes = fs::read(file).unwrap();
        let has = |part: &[u8]| bytes.windows(part.len()).any(|w| w == part);
        assert!(has(b"brain.Event:2") && has(b"train/l1") && has(&0.25f32.to_le_bytes()) && !has(b"name"));
    }
}
