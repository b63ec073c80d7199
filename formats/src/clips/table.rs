//! Tables of numbers in CSV: a row a frame, a column a value, and a column that says when.

use super::{
    Clip, ClipOptions, Track, arkit, array, bad,
    input::Input,
    time::{ticks_of, time_base},
};
use crate::{Error, Limits, Result};

/// A table whose cells are still text.
pub(super) struct Table {
    pub names: Vec<String>,
    pub rows: Vec<csv::StringRecord>,
}

/// The first line of a CSV, when it is text.
pub(super) fn header(bytes: &[u8]) -> Option<Vec<String>> {
    let line = without_mark(bytes).split(|byte| *byte == b'\n').next().filter(|line| line.len() < 1 << 16)?;
    let mut record = csv::StringRecord::new();
    let mut reader = csv::ReaderBuilder::new().has_headers(false).trim(csv::Trim::All).from_reader(line);
    reader.read_record(&mut record).ok()?.then(|| record.iter().map(str::to_owned).collect())
}

/// Spreadsheets put a byte order mark in front.
fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

impl Table {
    /// Splits a file into cells.
    ///
    /// # Errors
    /// `HEADER` without columns, `VALUE` for rows of another length than the header's; limits.
    pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Self> {
        // a cell of text takes some 24 bytes beside its characters
        limits.check_bytes((bytes.len() as u64).saturating_mul(8))?;
        let failed = |error: csv::Error| {
            let line = error.position().map_or(0, csv::Position::line);
            match error.kind() {
                csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                    bad(format!("line {line} has {len} cells, the first line {expected_len}"))
                }
                _ => bad(format!("line {line} is no CSV")),
            }
        };
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(without_mark(bytes));
        let names: Vec<String> = reader.headers().map_err(failed)?.iter().map(str::to_owned).collect();
        if names.is_empty() {
            return Err(Error::format("clip", "HEADER", 0, "a table without columns"));
        }
        if names.len() as u64 > limits.entries {
            return Err(Error::Limit { what: "columns", requested: names.len() as u64, limit: limits.entries });
        }
        let rows = reader.records().map(|row| row.map_err(failed)).collect::<Result<Vec<_>>>()?;
        Ok(Self { names, rows })
    }

    /// A number of a row; rows are counted from 1 in errors.
    pub fn number(&self, row: usize, column: usize) -> Result<f64> {
        let cell = &self.rows[row][column];
        let value = cell.parse::<f64>().ok().filter(|value| value.is_finite());
        value.ok_or_else(|| {
            bad(format!("row {}, column `{:.80}`: `{cell:.40}` is no number", row + 1, self.names[column]))
        })
    }

    /// The columns as tracks at these times, each under its target; components of a group become one track.
    ///
    /// # Errors
    /// `VALUE` for cells that are no numbers, and for times that do not ascend.
    pub fn clip(&self, seconds: &[f64], ticks_per_second: u32, columns: &[(String, usize)]) -> Result<Clip> {
        let rows = ticks_of(seconds, ticks_per_second)?;
        let mut clip = Clip { name: String::new(), ticks_per_second, tracks: Vec::new() };
        let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
        for (target, members) in grouped(&names) {
            let mut values = Vec::with_capacity(rows.len() * members.len());
            for (_, row) in &rows {
                for member in &members {
                    values.push(self.number(*row, columns[*member].1)? as f32);
                }
            }
            if clip.tracks.iter().any(|track| track.target == target) {
                return Err(bad(format!("two columns are called `{target:.80}`")));
            }
            clip.tracks.push(Track {
                interpolation: array::interpolation(&target, members.len()),
                target,
                width: members.len() as u32,
                ticks: rows.iter().map(|(tick, _)| *tick).collect(),
                values,
            });
        }
        Ok(clip)
    }
}

/// Joins names `a.0`, `a.1`, … (or `a.x`, `a.y`, `a.z`) that follow each other into groups `a`; others stay alone. Gives the targets and
/// which names they consist of.
pub(super) fn grouped(names: &[&str]) -> Vec<(String, Vec<usize>)> {
    let component = |name: &str, index: usize| -> Option<String> {
        let (stem, last) = name.rsplit_once('.')?;
        let axis = ["x", "y", "z"].get(index).is_some_and(|axis| *axis == last);
        (axis || last == index.to_string()).then(|| stem.to_owned())
    };
    let mut groups = Vec::new();
    let mut at = 0;
    while at < names.len() {
        let stem = component(names[at], 0);
        let length = stem.as_ref().map_or(0, |stem| {
            names[at..].iter().enumerate().take_while(|(k, name)| component(name, *k).as_ref() == Some(stem)).count()
        });
        match stem {
            Some(stem) if length > 1 => groups.push((stem, (at..at + length).collect())),
            _ => groups.push((names[at].to_owned(), vec![at])),
        }
        at += length.max(1);
    }
    groups
}

/// How a table says when: in seconds, or in frames.
fn time_column(names: &[String]) -> Option<(usize, bool)> {
    let find = |wanted: &[&str]| names.iter().position(|name| wanted.iter().any(|w| name.eq_ignore_ascii_case(w)));
    find(&["seconds", "time"]).map(|k| (k, true)).or_else(|| find(&["frame"]).map(|k| (k, false)))
}

pub(super) fn sniff(input: &Input) -> bool {
    input.has_ending("csv") && header(input.bytes()).is_some_and(|names| time_column(&names).is_some())
}

pub(super) fn read(input: &Input, options: &ClipOptions) -> Result<Vec<Clip>> {
    let table = Table::parse(input.bytes(), &options.limits)?;
    let (time, in_seconds) = time_column(&table.names).ok_or_else(|| bad("no column `seconds` or `frame`"))?;
    let times = (0..table.rows.len()).map(|row| table.number(row, time)).collect::<Result<Vec<_>>>()?;
    let target = |name: &str| arkit::driver(name).unwrap_or_else(|| name.to_owned());
    let columns: Vec<(String, usize)> =
        table.names.iter().enumerate().filter(|(k, _)| *k != time).map(|(k, name)| (target(name), k)).collect();
    if in_seconds {
        return Ok(vec![table.clip(&times, time_base(times.iter().copied()), &columns)?]);
    }
    let mut clip = table.clip(&times, 1, &columns)?;
    clip.ticks_per_second = 0;
    Ok(vec![clip])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_that_follow_each_other_are_a_group() {
        let groups = grouped(&["a.0", "a.1", "b", "c.x", "c.y", "c.z", "d.1", "e.0", "a.2", "f.0.x", "f.0.y"]);
        let expected: [(&str, &[usize]); 7] = [
            ("a", &[0, 1]),
            ("b", &[2]),
            ("c", &[3, 4, 5]),
            ("d.1", &[6]),
            ("e.0", &[7]),
            ("a.2", &[8]),
            ("f.0", &[9, 10]),
        ];
        assert_eq!(groups, expected.map(|(name, members)| (name.to_owned(), members.to_vec())));
    }
}
