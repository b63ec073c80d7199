//! JSON documents of SOG: size and depth limits, then serde.

use serde::de::DeserializeOwned;

use super::FORMAT;
use crate::{Error, Limits, Result};

/// Parses a document called `name`.
pub(super) fn parse<T: DeserializeOwned>(name: &str, bytes: &[u8], limits: &Limits) -> Result<T> {
    limits.check_header(bytes.len() as u64)?;
    limits.check_json_depth(bytes)?;
    serde_json::from_slice(bytes).map_err(|error| {
        let code = if error.is_eof() { "TRUNCATED" } else { "HEADER" };
        let line_start = bytes.split_inclusive(|&b| b == b'\n').take(error.line().saturating_sub(1)).map(<[u8]>::len);
        let offset = line_start.sum::<usize>() + error.column().saturating_sub(1);
        Error::format(FORMAT, code, offset as u64, format!("{name}: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deep_long_and_cut_documents_are_refused() {
        let limits = Limits { header_bytes: 100, json_depth: 4, ..Limits::default() };
        let code = |text: &str| parse::<serde_json::Value>("x", text.as_bytes(), &limits).unwrap_err().code();
        assert_eq!(code("[[[[[1]]]]]"), "LIMIT");
        assert_eq!(code(&" ".repeat(101)), "LIMIT");
        assert_eq!(code("[1,"), "TRUNCATED");
        assert_eq!(code("[1;2]"), "HEADER");
        assert!(parse::<serde_json::Value>("x", b"[[[[1]]]]", &limits).is_ok());
    }
}
