//! Reads accessors: every component type, strides, sparse elements, and accessors without a buffer view (zeros).

use super::{
    container::{Gltf, bad},
    document::Accessor,
};
use crate::Result;

const BYTE: u32 = 5120;
const UNSIGNED_BYTE: u32 = 5121;
const SHORT: u32 = 5122;
const UNSIGNED_SHORT: u32 = 5123;
const UNSIGNED_INT: u32 = 5125;
/// Component type of 32-bit floats.
pub const FLOAT: u32 = 5126;

/// Most elements per input byte: even sparse and shared accessors stay far below, so more is an attack on memory.
const ELEMENTS_PER_BYTE: u64 = 1024;

/// `count` elements at a stride, bounds already checked.
struct Elements<'a> {
    bytes: &'a [u8],
    stride: usize,
    count: usize,
}

impl<'a> Elements<'a> {
    fn get(&self, index: usize) -> &'a [u8] {
        &self.bytes[index * self.stride..]
    }
}

impl Gltf<'_> {
    /// The accessor with this index.
    pub fn accessor(&self, index: usize) -> Result<&Accessor> {
        let all = &self.document.accessors;
        all.get(index).ok_or_else(|| bad("VALUE", 0, format!("accessor {index} of {}", all.len())))
    }

    /// Length of an accessor, checked to be plausible before anything is allocated for it.
    pub fn count(&self, index: usize) -> Result<usize> {
        let accessor = self.accessor(index)?;
        // buffers outside the file are opened on first use: open this one, so that its bytes count
        let sparse = accessor.sparse.as_ref().map(|s| s.indices.buffer_view);
        if let Some(view) = accessor.buffer_view.or(sparse) {
            self.view(view)?;
        }
        let input = self.input_bytes();
        if accessor.count > input.saturating_mul(ELEMENTS_PER_BYTE) {
            let message = format!("accessor {index} has {} elements in a file of {input} bytes", accessor.count);
            return Err(bad("VALUE", 0, message));
        }
        self.limits.check_bytes(accessor.count)
    }

    /// Calls `put` with the index and the value of every element, normalised integers turned to fractions. Elements that
    /// a sparse accessor replaces come twice; the later call holds.
    ///
    /// # Errors
    /// When the accessor has not `C` components, does not fit its buffer view, or asks for more than the limits allow.
    pub fn read_floats<const C: usize>(&self, index: usize, put: impl FnMut(usize, [f32; C])) -> Result<()> {
        let accessor = self.accessor(index)?;
        // the division, not a multiplication by the reciprocal, is what glTF prescribes: 255/255 must give exactly 1
        let unsigned = |v: f32, max: f32| if accessor.normalized { v / max } else { v };
        let signed = |v: f32, max: f32| if accessor.normalized { (v / max).max(-1.0) } else { v };
        match accessor.component_type {
            BYTE => self.visit(index, accessor, |b: [u8; 1]| signed(f32::from(b[0] as i8), 127.0), put),
            UNSIGNED_BYTE => self.visit(index, accessor, |b: [u8; 1]| unsigned(f32::from(b[0]), 255.0), put),
            SHORT => self.visit(index, accessor, |b| signed(f32::from(i16::from_le_bytes(b)), 32767.0), put),
            UNSIGNED_SHORT => self.visit(index, accessor, |b| unsigned(f32::from(u16::from_le_bytes(b)), 65535.0), put),
            UNSIGNED_INT => self.visit(index, accessor, |b| u32::from_le_bytes(b) as f32, put),
            FLOAT => self.visit(index, accessor, f32::from_le_bytes, put),
            other => Err(bad("VALUE", 0, format!("accessor {index} has component type {other}"))),
        }
    }

    /// As [`Gltf::read_floats`], for indices: unsigned integers only, not normalised.
    pub fn read_indices<const C: usize>(&self, index: usize, put: impl FnMut(usize, [u32; C])) -> Result<()> {
        let accessor = self.accessor(index)?;
        match accessor.component_type {
            _ if accessor.normalized => Err(bad("VALUE", 0, format!("accessor {index} of indices is normalised"))),
            UNSIGNED_BYTE => self.visit(index, accessor, |b: [u8; 1]| u32::from(b[0]), put),
            UNSIGNED_SHORT => self.visit(index, accessor, |b| u32::from(u16::from_le_bytes(b)), put),
            UNSIGNED_INT => self.visit(index, accessor, u32::from_le_bytes, put),
            other => Err(bad("VALUE", 0, format!("accessor {index} of indices has component type {other}"))),
        }
    }

    fn visit<const S: usize, const C: usize, T: Copy + Default>(
        &self,
        index: usize,
        accessor: &Accessor,
        decode: impl Fn([u8; S]) -> T,
        mut put: impl FnMut(usize, [T; C]),
    ) -> Result<()> {
        let components = match accessor.kind.as_str() {
            "SCALAR" => 1,
            "VEC2" => 2,
            "VEC3" => 3,
            "VEC4" => 4,
            // matrices of 8- and 16-bit components pad their columns; none of the matrices read here has them
            "MAT4" if S == 4 => 16,
            _ => 0,
        };
        if components != C {
            let kind = &accessor.kind;
            return Err(bad("VALUE", 0, format!("accessor {index} is of type {kind:.20}, {C} components expected")));
        }
        let size = S * C;
        let count = self.limits.check_bytes(accessor.count.saturating_mul(size as u64))? / size;
        let element = |bytes: &[u8]| -> [T; C] {
            std::array::from_fn(|c| {
                let mut raw = [0; S];
                raw.copy_from_slice(&bytes[c * S..][..S]);
                decode(raw)
            })
        };
        match accessor.buffer_view {
            Some(view) => {
                let elements = self.elements(view, accessor.byte_offset, count, size, true)?;
                (0..elements.count).for_each(|i| put(i, element(elements.get(i))));
            }
            None => (0..count).for_each(|i| put(i, [T::default(); C])),
        }
        let Some(sparse) = &accessor.sparse else { return Ok(()) };
        if sparse.count > accessor.count {
            let message = format!("accessor {index} replaces {} of {} elements", sparse.count, accessor.count);
            return Err(bad("VALUE", 0, message));
        }
        let replaced = sparse.count as usize;
        let (indices, values) = (&sparse.indices, &sparse.values);
        let width = match indices.component_type {
            UNSIGNED_BYTE => 1,
            UNSIGNED_SHORT => 2,
            UNSIGNED_INT => 4,
            other => return Err(bad("VALUE", 0, format!("accessor {index} has sparse indices of type {other}"))),
        };
        let which = self.elements(indices.buffer_view, indices.byte_offset, replaced, width, false)?;
        let what = self.elements(values.buffer_view, values.byte_offset, replaced, size, false)?;
        let mut next = 0;
        for k in 0..replaced {
            let raw = which.get(k);
            let target = (0..width).rev().fold(0usize, |value, b| value << 8 | usize::from(raw[b]));
            if target < next || target >= count {
                let message =
                    format!("accessor {index}: sparse index {target} at {k}, ascending below {count} expected");
                return Err(bad("VALUE", 0, message));
            }
            next = target + 1;
            put(target, element(what.get(k)));
        }
        Ok(())
    }

    /// `count` elements of `size` bytes at `offset` in a buffer view.
    fn elements(&self, view: usize, offset: u64, count: usize, size: usize, may_stride: bool) -> Result<Elements<'_>> {
        let (bytes, start, stride) = self.view(view)?;
        let stride = match stride.filter(|_| may_stride) {
            Some(stride) if stride < size as u64 => {
                return Err(bad(
                    "VALUE",
                    start,
                    format!("buffer view {view} has stride {stride} for {size}-byte elements"),
                ));
            }
            Some(stride) => stride as usize,
            None => size,
        };
        let needed = (count as u64).saturating_sub(1).checked_mul(stride as u64);
        let needed = needed.and_then(|n| n.checked_add(size as u64)).map(|n| if count == 0 { 0 } else { n });
        let end = needed.and_then(|n| n.checked_add(offset)).filter(|end| *end <= bytes.len() as u64);
        let end = end.ok_or_else(|| {
            let have = bytes.len();
            let message = format!("{count} elements of {size} bytes at stride {stride} from {offset} exceed the {have} bytes of buffer view {view}");
            bad("TRUNCATED", start, message)
        })?;
        Ok(Elements { bytes: &bytes[offset as usize..end as usize], stride, count })
    }

    /// Bytes, file offset and stride of a buffer view.
    pub fn view(&self, index: usize) -> Result<(&[u8], u64, Option<u64>)> {
        let all = &self.document.buffer_views;
        let view = all.get(index).ok_or_else(|| bad("VALUE", 0, format!("buffer view {index} of {}", all.len())))?;
        if let Some(name) = view.extensions.keys().find(|name| name.contains("meshopt")) {
            return Err(bad("UNSUPPORTED", 0, format!("buffer view {index} is compressed by {name:.50}")));
        }
        let (bytes, start) = self.buffer(view.buffer)?;
        let end = view.byte_offset.checked_add(view.byte_length).filter(|end| *end <= bytes.len() as u64);
        let end = end.ok_or_else(|| {
            let message = format!(
                "buffer view {index}: {} bytes from {} exceed the {} bytes of buffer {}",
                view.byte_length,
                view.byte_offset,
                bytes.len(),
                view.buffer
            );
            bad("TRUNCATED", start, message)
        })?;
        Ok((&bytes[view.byte_offset as usize..end as usize], start + view.byte_offset, view.byte_stride))
    }
}
