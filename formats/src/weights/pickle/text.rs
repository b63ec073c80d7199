//! Texts and numbers of the line-based opcodes of protocol 0.

/// Python's `str` literal: quoted, with backslash escapes; the bytes that Python 2 meant. `None` when it is no such literal.
pub(super) fn unquote(line: &[u8]) -> Option<Vec<u8>> {
    let line = line.trim_ascii();
    let quote = *line.first().filter(|c| matches!(c, b'\'' | b'"'))?;
    let inner = line.get(1..line.len().checked_sub(1)?)?;
    if line.len() < 2 || line.last() != Some(&quote) {
        return None;
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let (&escape, after) = rest.split_first()?;
        rest = after;
        let byte = match escape {
            b'\\' | b'\'' | b'"' => escape,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'a' => 7,
            b'b' => 8,
            b'f' => 12,
            b'v' => 11,
            b'x' => {
                let value = hexadecimal(rest.get(..2)?)?;
                rest = &rest[2..];
                value as u8
            }
            b'0'..=b'7' => {
                let digits = 1 + rest.iter().take(2).take_while(|c| matches!(c, b'0'..=b'7')).count();
                let octal =
                    rest[..digits - 1].iter().fold(u32::from(escape - b'0'), |v, c| v * 8 + u32::from(c - b'0'));
                rest = &rest[digits - 1..];
                u8::try_from(octal).ok()?
            }
            // Python keeps unknown escapes as they stand
            other => {
                out.push(b'\\');
                other
            }
        };
        out.push(byte);
    }
    Some(out)
}

/// Text in Python's `raw-unicode-escape`: Latin-1 with `\uXXXX` and `\UXXXXXXXX`.
pub(super) fn raw_unicode(line: &[u8]) -> Option<String> {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let digits = match (byte, rest.first()) {
            (b'\\', Some(b'u')) => 4,
            (b'\\', Some(b'U')) => 8,
            _ => {
                out.push(char::from(byte));
                continue;
            }
        };
        let value = hexadecimal(rest.get(1..=digits)?)?;
        out.push(char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER));
        rest = &rest[digits + 1..];
    }
    Some(out)
}

fn hexadecimal(digits: &[u8]) -> Option<u32> {
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// A number in decimal, alone on its line.
pub(super) fn number<T: std::str::FromStr>(line: &[u8]) -> Option<T> {
    std::str::from_utf8(line).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_those_of_python() {
        assert_eq!(unquote(br#"'a\x00\n\\\'\101\q'"#).unwrap(), b"a\0\n\\'A\\q");
        assert_eq!(unquote(br#""x""#).unwrap(), b"x");
        for wrong in [&b"'"[..], b"'a", b"a'", b"", b"'\\x1'", b"'\\'", b"'\\777'"] {
            assert_eq!(unquote(wrong), None, "{}", String::from_utf8_lossy(wrong));
        }
        assert_eq!(raw_unicode(b"\xe9\\u20ac\\U0001F600\\n").unwrap(), "é€😀\\n");
        assert_eq!(raw_unicode(b"\\u12"), None);
    }
}
