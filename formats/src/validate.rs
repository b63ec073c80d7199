//! What is wrong with an avatar although it could be read: a report in the manner of glTF-Validator.
//!
//! [`check_avatar`] looks at values (finite, unit, in range, sums, names that must exist), [`check_rights`] at licence and
//! privacy. [`validate`] does both for any readable format and turns read errors into messages. Findings are counted per
//! kind: one [`Message`] says how many splats are concerned and points at the first.
//!
//! ```
//! use gav_formats::{Avatar, Frame, Splats, validate};
//!
//! let mut splats = Splats::with_len(3, 0);
//! splats.means[2][1] = f32::NAN;
//! let messages = validate::check_avatar(&Avatar::new(splats, Frame::RUB));
//! assert_eq!((messages[0].code, messages[0].pointer.as_str()), ("NOT_FINITE", "/splats/2/mean"));
//! ```

mod rig;
mod splats;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::{Avatar, Error, Format, ReadOptions, Source, sniff};

/// How bad a finding is; serialised as glTF-Validator's numbers 0 to 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The file breaks its format, or a viewer will show something broken.
    Error = 0,
    /// Probably a mistake of the writer.
    Warning = 1,
    /// Worth knowing.
    Info = 2,
    /// Could be better.
    Hint = 3,
}

impl Severity {
    /// Lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
            Self::Hint => "hint",
        }
    }
}

impl Serialize for Severity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(*self as u8)
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Message {
    /// Stable upper-case code.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// Where: a path such as `/splats/17/rotation` or `/rig/joints/3`; empty when the file as a whole is meant.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pointer: String,
    /// What, with numbers.
    pub message: String,
    /// Byte offset in the file, when the finding is about bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
}

impl Message {
    /// A finding without a byte offset.
    pub fn new(severity: Severity, code: &'static str, pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code, severity, pointer: pointer.into(), message: message.into(), offset: None }
    }
}

impl From<&Error> for Message {
    fn from(error: &Error) -> Self {
        match error {
            // code and offset have places of their own
            Error::Format { code, offset, message, .. } => {
                Self { offset: Some(*offset), ..Self::new(Severity::Error, code, "", message.clone()) }
            }
            _ => Self::new(Severity::Error, error.code(), "", error.to_string()),
        }
    }
}

/// Findings with their counts.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Issues {
    /// Number of errors.
    pub num_errors: u32,
    /// Number of warnings.
    pub num_warnings: u32,
    /// Number of infos.
    pub num_infos: u32,
    /// Number of hints.
    pub num_hints: u32,
    /// The findings, worst first.
    pub messages: Vec<Message>,
}

/// Everything found in one file.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Report {
    /// Name of the file as given.
    pub uri: String,
    /// Format and version of the file, such as `gav 1.0` or `ply`; `unknown` when it was not recognised.
    pub version: String,
    /// The findings.
    pub issues: Issues,
    /// Facts about the content: splats, SH degree, rig, bounding box, bytes.
    pub info: Map<String, Value>,
}

impl Report {
    /// An empty report about `uri`.
    pub fn new(uri: impl Into<String>) -> Self {
        Self { uri: uri.into(), version: "unknown".to_owned(), ..Self::default() }
    }

    /// Adds a finding, keeping the worst first and the order of equals.
    pub fn push(&mut self, message: Message) {
        let issues = &mut self.issues;
        *match message.severity {
            Severity::Error => &mut issues.num_errors,
            Severity::Warning => &mut issues.num_warnings,
            Severity::Info => &mut issues.num_infos,
            Severity::Hint => &mut issues.num_hints,
        } += 1;
        let place = issues.messages.partition_point(|m| m.severity <= message.severity);
        issues.messages.insert(place, message);
    }

    /// Adds findings.
    pub fn extend(&mut self, messages: impl IntoIterator<Item = Message>) {
        messages.into_iter().for_each(|m| self.push(m));
    }

    /// True when there is no error.
    pub fn is_valid(&self) -> bool {
        self.issues.num_errors == 0
    }

    /// Adds the facts about an avatar to `info`; `file_bytes` gives the bytes per splat.
    pub fn describe(&mut self, avatar: &Avatar, file_bytes: u64) {
        let count = avatar.splats.len();
        let per_splat = (count > 0).then(|| file_bytes as f64 / count as f64);
        let facts = json!({
            "splats": count,
            "shDegree": avatar.splats.sh_degree,
            "rigKind": avatar.rig.kind(),
            "rig": avatar.rig.name(),
            "frame": avatar.frame.to_string(),
            "metresPerUnit": avatar.metres_per_unit,
            "bytes": file_bytes,
            "bytesPerSplat": per_splat,
            "boundingBox": avatar.splats.bounds().map(|(low, high)| [low, high]),
            "template": avatar.template.as_ref().map(|t| t.name.clone()),
            "drivers": avatar.drivers.len(),
            "clips": avatar.clips.len(),
            "cameras": avatar.cameras.len(),
        });
        if let Value::Object(facts) = facts {
            self.info.extend(facts);
        }
    }
}

/// Reads `source` as whatever it is and checks its values. Never fails: what cannot be read is an error in the report.
///
/// `.gav` files have checks of their own besides these (structure, hashes); see [`crate::gav`].
pub fn validate(source: &Source, options: &ReadOptions) -> Report {
    let mut report = Report::new(source.path().map(|p| p.display().to_string()).unwrap_or_default());
    let format: &'static Format = match sniff(source) {
        Ok(format) => format,
        Err(error) => {
            report.push(Message::from(&error));
            return report;
        }
    };
    report.version = format.id.to_owned();
    match crate::read(source, options) {
        Ok(avatar) => {
            report.extend(check_avatar(&avatar));
            if format.id == "gav" {
                report.extend(check_rights(&avatar));
            }
            report.describe(&avatar, source.len() as u64);
        }
        Err(error) => report.push(Message::from(&error)),
    }
    report
}

/// The semantic checks: values, rig, drivers, clips, cameras.
pub fn check_avatar(avatar: &Avatar) -> Vec<Message> {
    let mut messages = Vec::new();
    if let Err(error) = avatar.validate() {
        messages.push(Message::new(Severity::Error, "INCONSISTENT", "", error.to_string()));
        // arrays of different length would make the checks below read past the shorter one
        return messages;
    }
    splats::check(avatar, &mut messages);
    rig::check(avatar, &mut messages);
    messages
}

/// Licence and privacy: what a file that is meant to be passed on should say.
pub fn check_rights(avatar: &Avatar) -> Vec<Message> {
    let meta = &avatar.meta;
    let mut messages = Vec::new();
    if meta.licence.is_empty() && meta.licence_text.is_empty() {
        messages.push(Message::new(Severity::Hint, "LICENCE_MISSING", "/meta/licence", "no licence is stated"));
    }
    if meta.depicts_person == Some(true) && meta.consent.is_empty() {
        let text = "depicts a person, and nothing is said about consent";
        messages.push(Message::new(Severity::Hint, "CONSENT_MISSING", "/meta/consent", text));
    }
    let embedded = avatar.template.as_ref().is_some_and(|t| t.embedded);
    if embedded {
        let text = "a template mesh is embedded: its licence governs the whole file";
        messages.push(Message::new(Severity::Info, "TEMPLATE_EMBEDDED", "/template", text));
    }
    messages
}

/// Counts the rows that fail a check and remembers the first.
#[derive(Default)]
struct Tally {
    count: u64,
    first: usize,
}

impl Tally {
    fn add(&mut self, index: usize) {
        if self.count == 0 {
            self.first = index;
        }
        self.count += 1;
    }

    /// The finding, when there was any: `text` gets the number of rows, `pointer` the first row.
    fn report(
        &self,
        messages: &mut Vec<Message>,
        severity: Severity,
        code: &'static str,
        pointer: impl FnOnce(usize) -> String,
        text: impl FnOnce(u64) -> String,
    ) {
        if self.count > 0 {
            messages.push(Message::new(severity, code, pointer(self.first), text(self.count)));
        }
    }
}

/// `1 splat has`, `7 splats have`.
fn splats_have(count: u64) -> String {
    if count == 1 { "1 splat has".to_owned() } else { format!("{count} splats have") }
}

#[cfg(test)]
mod tests;
