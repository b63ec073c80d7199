//! A GLB in the making: JSON pieces, and the bytes that its buffer views will hold.

use std::{borrow::Cow, collections::BTreeSet, io::SeekFrom};

use serde_json::{Map, Value, json};

use super::{
    super::{accessor::FLOAT, document::SPLATS},
    columns::{BLOCK, Column, SplatSource, push_floats},
};
use crate::{ColorSpace, Error, Result, sink::WriteSeek};

/// Buffer view target of vertex attributes.
pub const ARRAY_BUFFER: u32 = 34962;
/// Buffer view target of triangle indices.
pub const ELEMENT_ARRAY_BUFFER: u32 = 34963;

/// Where the bytes of a buffer view come from.
enum Payload<'a> {
    Bytes(Cow<'a, [u8]>),
    /// Column of the splat source with this index.
    Column(usize, Column),
}

/// A GLB in the making.
#[derive(Default)]
pub struct Builder<'a> {
    pub nodes: Vec<Value>,
    pub meshes: Vec<Value>,
    pub skins: Vec<Value>,
    pub animations: Vec<Value>,
    pub materials: Vec<Value>,
    pub scenes: Vec<Value>,
    /// Extensions of the document itself.
    pub extensions: Map<String, Value>,
    pub extensions_used: BTreeSet<&'static str>,
    pub extras: Map<String, Value>,
    pub asset: Map<String, Value>,
    accessors: Vec<Value>,
    views: Vec<Value>,
    /// One for each view, with its offset.
    payloads: Vec<(u64, Payload<'a>)>,
    sources: Vec<SplatSource<'a>>,
    length: u64,
}

impl<'a> Builder<'a> {
    /// Adds a buffer view of these bytes.
    pub fn view(&mut self, bytes: impl Into<Cow<'a, [u8]>>, target: Option<u32>) -> usize {
        let bytes = bytes.into();
        self.place(bytes.len() as u64, target, Payload::Bytes(bytes))
    }

    fn place(&mut self, length: u64, target: Option<u32>, payload: Payload<'a>) -> usize {
        let mut view = json!({"buffer": 0, "byteOffset": self.length, "byteLength": length});
        if let Some(target) = target {
            view["target"] = json!(target);
        }
        self.views.push(view);
        self.payloads.push((self.length, payload));
        // four bytes align every component type
        self.length = (self.length + length).next_multiple_of(4);
        self.views.len() - 1
    }

    /// Adds an accessor as it stands.
    pub fn accessor(&mut self, accessor: Value) -> usize {
        self.accessors.push(accessor);
        self.accessors.len() - 1
    }

    /// Replaces an accessor.
    pub fn set_accessor(&mut self, index: usize, accessor: Value) {
        self.accessors[index] = accessor;
    }

    /// Adds an accessor of floats with a buffer view of its own; `C` components of `kind` an element. With `bounds`, its
    /// extremes are stated, which positions and key times need.
    pub fn floats<const C: usize>(
        &mut self,
        kind: &str,
        values: &[[f32; C]],
        bounds: bool,
        target: Option<u32>,
    ) -> usize {
        let mut bytes = Vec::with_capacity(values.len() * C * 4);
        push_floats(&mut bytes, values.as_flattened());
        let view = self.view(bytes, target);
        let mut accessor = json!({"bufferView": view, "componentType": FLOAT, "count": values.len(), "type": kind});
        if bounds {
            set_bounds(&mut accessor, values);
        }
        self.accessor(accessor)
    }

    /// Adds the columns of a splat primitive and returns the primitive; the caller may add to its `attributes`.
    pub fn splat_primitive(&mut self, source: SplatSource<'a>) -> Result<Value> {
        self.splat_primitive_sharing(source, None, |_| false)
    }

    /// As [`Builder::splat_primitive`], taking the columns that are the `same` from the attributes of an earlier primitive.
    pub fn splat_primitive_sharing(
        &mut self,
        source: SplatSource<'a>,
        shared: Option<&Value>,
        same: impl Fn(Column) -> bool,
    ) -> Result<Value> {
        let index = self.sources.len();
        let mut attributes = Map::new();
        for column in Column::all(source.sh_degree()) {
            if let Some(earlier) = shared.and_then(|s| s.get(column.name())).filter(|_| same(column)) {
                attributes.insert(column.name(), earlier.clone());
                continue;
            }
            let (kind, component, size) = column.layout();
            let view = self.place(size * source.len() as u64, Some(ARRAY_BUFFER), Payload::Column(index, column));
            let mut accessor =
                json!({"bufferView": view, "componentType": component, "count": source.len(), "type": kind});
            match column {
                Column::Position => {
                    let (low, high) = source.bounds()?;
                    accessor["min"] = json!(low.map(f64::from));
                    accessor["max"] = json!(high.map(f64::from));
                }
                Column::Color => accessor["normalized"] = json!(true),
                _ => {}
            }
            attributes.insert(column.name(), json!(self.accessor(accessor)));
        }
        let color_space = match source.color_space {
            ColorSpace::SrgbRec709 => "srgb_rec709_display",
            ColorSpace::LinearRec709 => "lin_rec709_display",
        };
        self.sources.push(source);
        self.extensions_used.insert(SPLATS);
        let mut extensions = Map::new();
        extensions.insert(
            SPLATS.to_owned(),
            json!({
                "kernel": "ellipse",
                "colorSpace": color_space,
                "projection": "perspective",
                "sortingMethod": "cameraDistance"
            }),
        );
        Ok(json!({"mode": 0, "attributes": attributes, "extensions": extensions}))
    }

    /// Writes the file.
    ///
    /// # Errors
    /// [`Error::Usage`] when it would pass the 4 GiB that a GLB can hold.
    pub fn finish(self, sink: &mut dyn WriteSeek) -> Result<()> {
        let mut document = serde_json::to_vec(&self.document()).map_err(|e| Error::usage(format!("glTF: {e}")))?;
        document.resize(document.len().next_multiple_of(4), b' ');
        let bin_start = 12 + 8 + document.len() as u64 + 8;
        let total = bin_start + self.length;
        let length = u32::try_from(total)
            .map_err(|_| Error::usage(format!("the file would take {total} bytes, a GLB holds at most 4 GiB")))?;
        let base = sink.stream_position()?;
        sink.write_all(b"glTF")?;
        for word in [2, length, document.len() as u32, u32::from_le_bytes(*b"JSON")] {
            sink.write_all(&word.to_le_bytes())?;
        }
        sink.write_all(&document)?;
        sink.write_all(&(self.length as u32).to_le_bytes())?;
        sink.write_all(b"BIN\0")?;
        for (offset, payload) in &self.payloads {
            if let Payload::Bytes(bytes) = payload {
                sink.seek(SeekFrom::Start(base + bin_start + offset))?;
                sink.write_all(bytes)?;
                let padding = bytes.len().next_multiple_of(4) - bytes.len();
                sink.write_all(&[0; 3][..padding])?;
            }
        }
        for (index, source) in self.sources.iter().enumerate() {
            self.write_splats(index, source, base + bin_start, sink)?;
        }
        sink.seek(SeekFrom::Start(base + total))?;
        Ok(())
    }

    /// Writes all columns of a source, a block of splats at a time.
    fn write_splats(&self, index: usize, source: &SplatSource, start: u64, sink: &mut dyn WriteSeek) -> Result<()> {
        let mut bytes = Vec::new();
        for first in (0..source.len()).step_by(BLOCK) {
            let block = source.block(first..source.len().min(first + BLOCK))?;
            for (offset, payload) in &self.payloads {
                let Payload::Column(_, column) = payload else { continue };
                if !matches!(payload, Payload::Column(of, _) if *of == index) {
                    continue;
                }
                bytes.clear();
                source.encode(*column, &block, &mut bytes);
                sink.seek(SeekFrom::Start(start + offset + column.layout().2 * first as u64))?;
                sink.write_all(&bytes)?;
            }
        }
        Ok(())
    }

    fn document(&self) -> Value {
        let mut document = json!({
            "asset": self.asset,
            "scene": 0,
            "scenes": self.scenes,
            "nodes": self.nodes,
            "meshes": self.meshes,
            "accessors": self.accessors,
            "bufferViews": self.views,
            "buffers": [{"byteLength": self.length}]
        });
        // glTF forbids empty lists
        for (name, list) in [("skins", &self.skins), ("animations", &self.animations), ("materials", &self.materials)] {
            if !list.is_empty() {
                document[name] = json!(list);
            }
        }
        for (name, map) in [("extensions", &self.extensions), ("extras", &self.extras)] {
            if !map.is_empty() {
                document[name] = json!(map);
            }
        }
        if !self.extensions_used.is_empty() {
            document["extensionsUsed"] = json!(self.extensions_used);
        }
        document
    }
}

/// States the smallest and the largest value of each component.
pub fn set_bounds<const C: usize>(accessor: &mut Value, values: &[[f32; C]]) {
    let fold = |start: f32, pick: fn(f32, f32) -> f32| {
        let mut extreme = [f64::from(start); C];
        for value in values {
            (0..C).for_each(|k| extreme[k] = f64::from(pick(extreme[k] as f32, value[k])));
        }
        extreme.to_vec()
    };
    accessor["min"] = json!(fold(f32::INFINITY, f32::min));
    accessor["max"] = json!(fold(f32::NEG_INFINITY, f32::max));
}
