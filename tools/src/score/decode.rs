//! Reads pictures, with failures that say what to do.

use std::path::Path;

use gav_formats::Limits;

pub(crate) use gav_models::picture::{Decoded, ENDINGS, Picture};

use crate::failure::Failure;

/// Decodes the picture called `name`; see [`gav_models::picture::decode`].
///
/// # Errors
/// As there; the message names the file.
pub(crate) fn decode(name: &Path, bytes: &[u8], limits: &Limits) -> Result<Decoded, Failure> {
    gav_models::picture::decode(name, bytes, limits).map_err(|error| Failure::of(Some(name), &error))
}
