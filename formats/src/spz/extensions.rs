//! Extension records of SPZ: `u32 type, u32 length, payload`. Only the coordinate system matters here; others are skipped.

use super::{DEFAULT_FRAME, FORMAT};
use crate::{Error, Frame, Result, conventions::Axis};

/// Coordinate system of the stored values (Adobe): one u32, 0 unspecified, else 1 + index into [`frame_of_code`]'s order.
const COORDINATE_SYSTEM: u32 = 0xADBE_0003;

/// The sixteen frames of SPZ, code 1 to 16: LDB RDB LUB RUB LDF RDF LUF RUF, then the same with y and z exchanged:
/// LBD RBD LBU RBU LFD RFD LFU RFU. Bit 0 is right, bit 1 up, bit 2 front, bit 3 the vertical axis in z.
fn frame_of_code(code: u32) -> Frame {
    let bits = code - 1;
    let x = if bits & 1 == 0 { Axis::Left } else { Axis::Right };
    let vertical = if bits & 2 == 0 { Axis::Down } else { Axis::Up };
    let depth = if bits & 4 == 0 { Axis::Back } else { Axis::Front };
    if bits & 8 == 0 { Frame([x, vertical, depth]) } else { Frame([x, depth, vertical]) }
}

/// The frame that the records name; `None` without such a record. `base` is where the records begin, for errors.
pub(super) fn frame(mut records: &[u8], base: u64) -> Result<Option<Frame>> {
    let total = records.len();
    let mut found = None;
    while !records.is_empty() {
        let at = base + (total - records.len()) as u64;
        let fail = |code, message: String| Err(Error::format(FORMAT, code, at, message));
        let Some((head, rest)) = records.split_first_chunk::<8>() else {
            return fail("TRUNCATED", format!("extension record of {} bytes", records.len()));
        };
        let kind = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let Some(payload) = rest.get(..length) else {
            return fail("TRUNCATED", format!("extension {kind:#010x} takes {length} bytes, {} are left", rest.len()));
        };
        if kind == COORDINATE_SYSTEM {
            let Ok(code) = payload.try_into().map(u32::from_le_bytes) else {
                return fail("VALUE", format!("coordinate-system record of {length} bytes instead of 4"));
            };
            found = match code {
                0 => Some(DEFAULT_FRAME),
                1..=16 => Some(frame_of_code(code)),
                _ => return fail("VALUE", format!("coordinate system {code} is none of 0 to 16")),
            };
        }
        records = &rest[length..];
    }
    Ok(found)
}

/// The record that names `frame`.
pub(super) fn record(frame: Frame) -> Result<Vec<u8>> {
    let Some(code) = (1..=16).find(|&code| frame_of_code(code) == frame) else {
        return Err(Error::usage(format!("SPZ cannot record the axes {frame}: x must point left or right")));
    };
    Ok([COORDINATE_SYSTEM, 4, code].into_iter().flat_map(u32::to_le_bytes).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_follow_the_published_order() {
        let names: Vec<String> = (1..=16).map(|code| frame_of_code(code).to_string()).collect();
        assert_eq!(names.join(" "), "LDB RDB LUB RUB LDF RDF LUF RUF LBD RBD LBU RBU LFD RFD LFU RFU");
        for code in 1..=16 {
            let bytes = record(frame_of_code(code)).unwrap();
            assert_eq!(frame(&bytes, 0).unwrap(), Some(frame_of_code(code)));
        }
        assert!(record("UFR".parse().unwrap()).is_err());
    }

    #[test]
    fn unknown_records_are_skipped_and_broken_ones_refused() {
        let mut bytes = vec![2, 0, 0xbe, 0xad, 3, 0, 0, 0, 9, 9, 9];
        assert_eq!(frame(&bytes, 0).unwrap(), None);
        bytes.extend(record(Frame::LUF).unwrap());
        assert_eq!(frame(&bytes, 0).unwrap(), Some(Frame::LUF));
        for length in (1..bytes.len()).filter(|&length| length != 11) {
            assert_eq!(frame(&bytes[..length], 0).unwrap_err().code(), "TRUNCATED", "{length}");
        }
        *bytes.last_mut().unwrap() = 1;
        assert_eq!(frame(&bytes, 0).unwrap_err().code(), "VALUE");
        assert_eq!(frame(&record(Frame::RUB).unwrap()[..0], 0).unwrap(), None);
    }
}
