//! The PLY header: elements and their properties, parsed from bytes and written back.
//!
//! Accepts LF, CRLF and CR line ends, comments in any encoding, every scalar type name in use including `half`, and any
//! number of elements. Source: Greg Turk, "The PLY Polygon File Format" (1994), and the files that trainers write.

use crate::{DType, Error, Limits, Result};

/// Largest header that is parsed, whatever [`Limits::header_bytes`] allows.
pub const MAX_HEADER_BYTES: u64 = 1 << 20;

/// How the payload is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Encoding {
    Ascii,
    LittleEndian,
    BigEndian,
}

/// Type of one property.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PropertyType {
    /// One number.
    Scalar(DType),
    /// A number of elements of the first (integer) type, then that many of the second.
    List(DType, DType),
}

/// One property of an element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// Name, unique in its element.
    pub name: String,
    /// Scalar or list.
    pub kind: PropertyType,
}

/// One element declaration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// Name, such as `vertex`.
    pub name: String,
    /// Number of rows.
    pub count: u64,
    /// Properties in file order.
    pub properties: Vec<Property>,
}

/// A parsed header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Encoding of the payload.
    pub encoding: Encoding,
    /// Text of the `comment` lines, without the keyword; bytes that are no UTF-8 are replaced.
    pub comments: Vec<String>,
    /// Elements in file order.
    pub elements: Vec<Element>,
}

/// The type with this PLY name.
fn dtype_from_name(name: &str) -> Option<DType> {
    Some(match name {
        "char" | "int8" => DType::I8,
        "uchar" | "uint8" => DType::U8,
        "short" | "int16" => DType::I16,
        "ushort" | "uint16" => DType::U16,
        "int" | "int32" => DType::I32,
        "uint" | "uint32" => DType::U32,
        "half" | "float16" => DType::F16,
        "float" | "float32" => DType::F32,
        "double" | "float64" => DType::F64,
        _ => return None,
    })
}

/// The classic PLY name of a type; half precision has none in the original format and is called `half`.
pub(super) fn name_of_dtype(dtype: DType) -> &'static str {
    match dtype {
        DType::I8 => "char",
        DType::U8 => "uchar",
        DType::I16 => "short",
        DType::U16 => "ushort",
        DType::I32 => "int",
        DType::U32 => "uint",
        DType::F16 => "half",
        DType::F32 => "float",
        DType::F64 => "double",
    }
}

pub(super) fn bad(code: &'static str, offset: usize, message: impl Into<String>) -> Error {
    Error::format("ply", code, offset as u64, message)
}

impl Header {
    /// Parses the header at the start of `bytes`; returns it with the offset of the payload.
    ///
    /// # Errors
    /// `TRUNCATED` when `end_header` is missing, `HEADER` for anything malformed, `UNSUPPORTED` for unknown types and
    /// versions, [`Error::Limit`] for headers above 1 MiB or more properties than [`Limits::entries`].
    pub fn parse(bytes: &[u8], limits: &Limits) -> Result<(Self, usize)> {
        let terminator = line_terminator(bytes)?;
        let mut lines = Lines { bytes, position: 0, terminator, limit: limits.header_bytes.min(MAX_HEADER_BYTES) };
        lines.next()?;
        let mut parser = Parser { encoding: None, comments: Vec::new(), elements: Vec::new(), entries: 0 };
        loop {
            let (offset, line) = lines.next()?;
            if parser.line(offset, line, limits)? {
                break;
            }
        }
        let encoding = parser.encoding.ok_or_else(|| bad("HEADER", lines.position, "no `format` line"))?;
        Ok((Self { encoding, comments: parser.comments, elements: parser.elements }, lines.position))
    }

    /// The header as text, with LF line ends. Line breaks and control characters in comments become blanks.
    pub fn to_bytes(&self) -> Vec<u8> {
        let encoding = match self.encoding {
            Encoding::Ascii => "ascii",
            Encoding::LittleEndian => "binary_little_endian",
            Encoding::BigEndian => "binary_big_endian",
        };
        let mut text = format!("ply\nformat {encoding} 1.0\n");
        for comment in &self.comments {
            text.push_str("comment ");
            text.extend(comment.chars().map(|c| if c.is_control() { ' ' } else { c }));
            text.push('\n');
        }
        for element in &self.elements {
            text.push_str(&format!("element {} {}\n", element.name, element.count));
            for property in &element.properties {
                text.push_str("property ");
                match property.kind {
                    PropertyType::Scalar(dtype) => text.push_str(name_of_dtype(dtype)),
                    PropertyType::List(length, item) => {
                        text.push_str(&format!("list {} {}", name_of_dtype(length), name_of_dtype(item)));
                    }
                }
                text.push_str(&format!(" {}\n", property.name));
            }
        }
        text.push_str("end_header\n");
        text.into_bytes()
    }

    /// The element of this name.
    pub fn element(&self, name: &str) -> Option<&Element> {
        self.elements.iter().find(|e| e.name == name)
    }
}

/// True when these leading bytes are those of a PLY file.
pub(super) fn is_ply(head: &[u8]) -> bool {
    line_terminator(head).is_ok()
}

/// The byte that ends every header line, decided by the first one: a lone CR only when no LF follows `ply`.
fn line_terminator(bytes: &[u8]) -> Result<u8> {
    let wrong = || bad("HEADER", 0, "the first line is not `ply`");
    let rest = bytes.strip_prefix(b"ply").ok_or_else(wrong)?;
    let end = rest.iter().position(|b| matches!(b, b'\n' | b'\r')).ok_or_else(wrong)?;
    if !rest[..end].iter().all(|b| matches!(b, b' ' | b'\t')) {
        return Err(wrong());
    }
    Ok(if rest[end] == b'\r' && rest.get(end + 1) != Some(&b'\n') { b'\r' } else { b'\n' })
}

struct Lines<'a> {
    bytes: &'a [u8],
    position: usize,
    terminator: u8,
    limit: u64,
}

impl<'a> Lines<'a> {
    /// Offset and bytes of the next line without its end.
    fn next(&mut self) -> Result<(usize, &'a [u8])> {
        let start = self.position;
        let end = usize::try_from(self.limit).unwrap_or(usize::MAX).min(self.bytes.len());
        let rest = self.bytes.get(start..end).unwrap_or_default();
        let Some(length) = rest.iter().position(|b| *b == self.terminator) else {
            if end < self.bytes.len() {
                return Err(Error::Limit { what: "header bytes", requested: end as u64 + 1, limit: self.limit });
            }
            return Err(bad("TRUNCATED", self.bytes.len(), "the file ends inside the header"));
        };
        self.position = start + length + 1;
        let line = &rest[..length];
        Ok((start, line.strip_suffix(b"\r").unwrap_or(line)))
    }
}

struct Parser {
    encoding: Option<Encoding>,
    comments: Vec<String>,
    elements: Vec<Element>,
    entries: u64,
}

impl Parser {
    /// Takes one line; true at `end_header`.
    fn line(&mut self, offset: usize, line: &[u8], limits: &Limits) -> Result<bool> {
        let start = line.iter().position(|b| !b.is_ascii_whitespace()).unwrap_or(line.len());
        let line = &line[start..];
        for keyword in [&b"comment"[..], b"obj_info"] {
            if let Some(rest) = line.strip_prefix(keyword)
                && rest.first().is_none_or(u8::is_ascii_whitespace)
            {
                if keyword == b"comment" {
                    let text = String::from_utf8_lossy(rest.get(1..).unwrap_or_default()).into_owned();
                    self.comments.push(text);
                }
                return Ok(false);
            }
        }
        let text = std::str::from_utf8(line)
            .map_err(|_| bad("HEADER", offset, format!("line `{}` is not UTF-8", String::from_utf8_lossy(line))))?;
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        match words[..] {
            [] => {}
            ["end_header"] => return Ok(true),
            ["format", encoding, version] => self.format(offset, encoding, version)?,
            ["element", name, count] => {
                self.count_entry(limits)?;
                let count = parse_count(count).ok_or_else(|| {
                    bad("HEADER", offset, format!("element `{name}` has the impossible count `{count}`"))
                })?;
                if self.elements.iter().any(|e| e.name == name) {
                    return Err(bad("HEADER", offset, format!("element `{name}` is declared twice")));
                }
                self.elements.push(Element { name: name.to_owned(), count, properties: Vec::new() });
            }
            ["property", dtype, name] => {
                let kind = PropertyType::Scalar(parse_dtype(offset, dtype)?);
                self.property(offset, name, kind, limits)?;
            }
            ["property", "list", length, item, name] => {
                let length_type = parse_dtype(offset, length)?;
                if matches!(length_type, DType::F16 | DType::F32 | DType::F64) {
                    return Err(bad("HEADER", offset, format!("list `{name}` is counted in `{length}`, not integers")));
                }
                let kind = PropertyType::List(length_type, parse_dtype(offset, item)?);
                self.property(offset, name, kind, limits)?;
            }
            _ => return Err(bad("HEADER", offset, format!("cannot understand the header line `{text}`"))),
        }
        Ok(false)
    }

    fn format(&mut self, offset: usize, encoding: &str, version: &str) -> Result<()> {
        if self.encoding.is_some() {
            return Err(bad("HEADER", offset, "a second `format` line"));
        }
        if version != "1.0" {
            return Err(bad("UNSUPPORTED", offset, format!("PLY version `{version}`, only 1.0 exists")));
        }
        self.encoding = Some(match encoding {
            "ascii" => Encoding::Ascii,
            "binary_little_endian" => Encoding::LittleEndian,
            "binary_big_endian" => Encoding::BigEndian,
            _ => return Err(bad("UNSUPPORTED", offset, format!("encoding `{encoding}`"))),
        });
        Ok(())
    }

    fn property(&mut self, offset: usize, name: &str, kind: PropertyType, limits: &Limits) -> Result<()> {
        self.count_entry(limits)?;
        let element = self
            .elements
            .last_mut()
            .ok_or_else(|| bad("HEADER", offset, format!("property `{name}` comes before any element")))?;
        // quadratic, but at most 4096 properties of which nearly all differ in their first bytes
        if element.properties.iter().any(|p| p.name == name) {
            return Err(bad("HEADER", offset, format!("property `{name}` occurs twice in `{}`", element.name)));
        }
        element.properties.push(Property { name: name.to_owned(), kind });
        Ok(())
    }

    fn count_entry(&mut self, limits: &Limits) -> Result<()> {
        self.entries += 1;
        limits.check_entries(self.entries).map(|_| ())
    }
}

fn parse_count(text: &str) -> Option<u64> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn parse_dtype(offset: usize, name: &str) -> Result<DType> {
    dtype_from_name(name).ok_or_else(|| bad("UNSUPPORTED", offset, format!("property type `{name}`")))
}
