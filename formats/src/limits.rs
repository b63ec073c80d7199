//! What a decoder may spend on one file before it has proved honest.

use crate::{Error, Result};

/// Upper bounds that every decoder checks before it allocates. The defaults hold any avatar and most scenes.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Splats in one file.
    pub splats: u64,
    /// Bytes of all decoded attributes together.
    pub decoded_bytes: u64,
    /// Bytes of a text header or JSON document.
    pub header_bytes: u64,
    /// Chunks, archive members, PLY properties or other directory entries.
    pub entries: u64,
    /// Nesting depth of JSON.
    pub json_depth: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { splats: 1 << 28, decoded_bytes: 4 << 30, header_bytes: 4 << 20, entries: 4096, json_depth: 32 }
    }
}

impl Limits {
    /// Checks a splat count and its memory at `bytes_per_splat` decoded bytes each.
    pub fn check_splats(&self, count: u64, bytes_per_splat: u64) -> Result<usize> {
        if count > self.splats {
            return Err(Error::Limit { what: "splats", requested: count, limit: self.splats });
        }
        self.check_bytes(count.saturating_mul(bytes_per_splat))?;
        Ok(count as usize)
    }

    /// Checks an amount of decoded bytes.
    pub fn check_bytes(&self, bytes: u64) -> Result<usize> {
        if bytes > self.decoded_bytes {
            return Err(Error::Limit { what: "decoded bytes", requested: bytes, limit: self.decoded_bytes });
        }
        Ok(bytes as usize)
    }

    /// Checks the length of a header or JSON document.
    pub fn check_header(&self, bytes: u64) -> Result<usize> {
        if bytes > self.header_bytes {
            return Err(Error::Limit { what: "header bytes", requested: bytes, limit: self.header_bytes });
        }
        Ok(bytes as usize)
    }

    /// Checks how deep the brackets of a JSON text nest, before a parser recurses into them.
    pub fn check_json_depth(&self, text: &[u8]) -> Result<()> {
        let (mut depth, mut deepest, mut in_string, mut escaped) = (0u32, 0u32, false, false);
        for &byte in text {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if in_string => escaped = true,
                b'"' => in_string = !in_string,
                b'{' | b'[' if !in_string => {
                    depth += 1;
                    deepest = deepest.max(depth);
                }
                b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        if deepest > self.json_depth {
            return Err(Error::Limit { what: "JSON depth", requested: deepest.into(), limit: self.json_depth.into() });
        }
        Ok(())
    }

    /// Checks a number of directory entries.
    pub fn check_entries(&self, entries: u64) -> Result<usize> {
        if entries > self.entries {
            return Err(Error::Limit { what: "entries", requested: entries, limit: self.entries });
        }
        Ok(entries as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_depth_ignores_brackets_in_strings() {
        let text = br#"{"a":[1,{"b":"[[[\"[["}],"c":[]}"#;
        let depth = |json_depth| Limits { json_depth, ..Limits::default() }.check_json_depth(text);
        assert!(depth(3).is_ok());
        assert_eq!(depth(2).unwrap_err().code(), "LIMIT");
    }
}
