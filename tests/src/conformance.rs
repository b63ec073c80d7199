//! The conformance set of `spec/gav.md`: small files, each with a JSON that says what a reader must find in it or with which
//! code it must refuse it. Everything is made by formula, so that the committed files can be checked against their maker.

mod describe;
mod encoded;
mod handmade;
mod pack;
mod refused;
mod refused_content;
mod transcode;

use std::path::PathBuf;

use gav_formats::{
    Avatar, EncodeOptions, Limits, Profile,
    gav::{self, Reader},
};
use serde_json::{Value, json};

pub use describe::{describe, differences};
pub use pack::{Fields, Pack, PackChunk};

/// One file of the set.
#[derive(Debug, Clone)]
pub struct Case {
    /// File name without extension; `x_` marks files that must be refused.
    pub name: String,
    /// The file.
    pub bytes: Vec<u8>,
    /// Its content, or `{"error": CODE}`.
    pub expected: Value,
}

impl Case {
    /// A file whose content is known to the last bit.
    fn exact(name: impl Into<String>, about: &str, bytes: Vec<u8>, avatar: &Avatar) -> Self {
        let set = Reader::new(&bytes, &Limits::default()).expect("a good file").splat_set().clone();
        let mut expected = describe(avatar, &set.layers, true);
        expected["about"] = json!(about);
        Self { name: name.into(), bytes, expected }
    }

    /// A quantised file: what the reference reader finds in it, to the accuracy of f32 arithmetic.
    fn lossy(name: impl Into<String>, about: &str, bytes: Vec<u8>) -> Self {
        let (avatar, layers) = read(&bytes).expect("a good file");
        let mut expected = describe(&avatar, &layers, false);
        expected["about"] = json!(about);
        Self { name: name.into(), bytes, expected }
    }

    /// A file that must be refused with `code`.
    fn refused(name: &str, about: &str, bytes: Vec<u8>, code: &str) -> Self {
        Self { name: format!("x_{name}"), bytes, expected: json!({ "about": about, "error": code }) }
    }
}

/// Every file of the set, in the order of their names.
pub fn cases() -> Vec<Case> {
    let mut cases = encoded::cases();
    cases.extend(handmade::cases());
    cases.extend(refused::cases());
    cases.extend(refused_content::cases());
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases
}

/// Larger files of every profile, for a reader's trial; too large to commit.
pub fn fresh_cases() -> Vec<Case> {
    encoded::fresh_cases()
}

/// Where the committed files are.
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../spec/conformance")
}

/// The JSON file of a case.
pub fn expected_text(case: &Case) -> String {
    let mut text = serde_json::to_string(&case.expected).expect("plain data");
    text.push('\n');
    text
}

/// The avatar of a file and its layers.
pub fn read(bytes: &[u8]) -> gav_formats::Result<(Avatar, Vec<u32>)> {
    let reader = Reader::new(bytes, &Limits::default())?;
    Ok((reader.read_avatar()?, reader.splat_set().layers.clone()))
}

/// What is wrong with how the reference reader takes a case; empty when it agrees.
pub fn check(bytes: &[u8], expected: &Value) -> Vec<String> {
    let code = expected.get("error").and_then(Value::as_str);
    match (read(bytes), code) {
        (Err(error), Some(code)) if error.code() == code => Vec::new(),
        (Err(error), code) => vec![format!("{error}, expected {}", code.unwrap_or("success"))],
        (Ok(_), Some(code)) => vec![format!("read, expected {code}")],
        (Ok((avatar, layers)), None) => differences(&describe(&avatar, &layers, true), expected, ""),
    }
}

/// `avatar` as a file.
fn encode(avatar: &Avatar, options: &EncodeOptions) -> Vec<u8> {
    let mut sink = std::io::Cursor::new(Vec::new());
    gav::write(avatar, &mut sink, options).expect("a consistent avatar");
    sink.into_inner()
}

/// `avatar` as a file of a profile.
fn encode_as(avatar: &Avatar, profile: Profile) -> Vec<u8> {
    encode(avatar, &EncodeOptions { profile, ..EncodeOptions::default() })
}
