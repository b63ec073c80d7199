//! Descriptive metadata: who, what, from where, under which terms. Nothing here changes how an avatar is drawn.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Descriptive metadata; serialised as JSON. Unknown keys survive in `extra`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Meta {
    /// Title of the avatar.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Program that wrote the file.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub generator: String,
    /// SPDX expression, or `LicenseRef-…` explained in `licence_text`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub licence: String,
    /// Terms in words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub licence_text: String,
    /// Whom to name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub attribution: String,
    /// Consent of the depicted person, in words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub consent: String,
    /// Does it depict a real person?
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depicts_person: Option<bool>,
    /// How it came to be, oldest step first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub provenance: Vec<Provenance>,
    /// Background colour (display rgb) it was trained on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub background: Option<[f32; 3]>,
    /// Width and height of the training images in pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub training_resolution: Option<[u32; 2]>,
    /// Splats left out on writing because an attribute was NaN.
    #[serde(skip_serializing_if = "is_zero")]
    pub dropped_splats: u64,
    /// Everything else.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// One step in an avatar's history.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Provenance {
    /// What was done: `trained`, `converted`, `edited`, `captured`.
    pub action: String,
    /// Program or method with version.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub agent: String,
    /// Name of the source, such as a file name without folders.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// Hash of the source or checkpoint, as `blake3:…` or `sha256:…`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hash: String,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}
