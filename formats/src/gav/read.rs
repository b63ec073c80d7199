//! Bytes to an avatar, whole or in parts.

use super::{
    clip_chunk,
    container::{Container, Entry, Header, bad, feature},
    layer::{Attribute, Layer},
    meta_chunks,
    quantization::Quantization,
    rig_chunks,
    set::SplatSet,
};
use crate::{Avatar, Error, Limits, ReadOptions, Result, Rig, RigBase, Source, Splats, UnknownChunk};

/// An open `.gav`: header, directory and splat set are parsed, everything else is read on demand.
pub struct Reader<'a> {
    container: Container<'a>,
    set: SplatSet,
    quantization: Option<Quantization>,
    limits: Limits,
}

/// Chunk types of this version, other than the splat attributes.
const KNOWN: [&[u8; 4]; 19] = [
    b"SSET", b"QNTZ", b"SKEL", b"SKIN", b"MRPH", b"TRIB", b"GBLS", b"MLPW", b"FRMS", b"TMPL", b"mETa", b"mESh",
    b"dRVr", b"aNIm", b"cAMs", b"tHMB", b"xATT", b"rEST", b"oRDR",
];
/// Chunk types that may occur more than once.
const REPEATED: [&[u8; 4]; 2] = [b"aNIm", b"xATT"];

impl<'a> Reader<'a> {
    /// Opens a file whose bytes are at hand (mapped or owned), with hashes checked.
    pub fn new(bytes: &'a [u8], limits: &Limits) -> Result<Self> {
        Self::with_options(bytes, &ReadOptions { limits: limits.clone(), ..ReadOptions::default() })
    }

    /// Opens a file with the reader options of this crate.
    pub fn with_options(bytes: &'a [u8], options: &ReadOptions) -> Result<Self> {
        let limits = options.limits.clone();
        let container = Container::parse(bytes, &limits, !options.skip_hashes)?;
        check_kinds(&container)?;
        let missing = |name: &str| bad("MISSING_CHUNK", container.header.directory_offset, format!("no {name} chunk"));
        let entry = container.find(b"SSET", 0).ok_or_else(|| missing("SSET"))?;
        let parameters = container.parameters(entry)?;
        if entry.elements != 0 || entry.stored_bytes != parameters.len() as u64 {
            return Err(bad("SPLAT_SET", entry.offset, "SSET has elements"));
        }
        let set = SplatSet::from_bytes(parameters, entry.offset, bytes.len() as u64, &limits)?;
        let has_layers = container.header.features & feature::LAYERS != 0;
        if set.layers.len() > 1 && !has_layers {
            return Err(bad("FEATURE", 40, "several layers without the feature bit that announces them"));
        }
        let quantization =
            container.find(b"QNTZ", 0).map(|entry| Quantization::from_chunk(&container, entry)).transpose()?;
        Ok(Self { container, set, quantization, limits })
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.container.header
    }

    /// The directory.
    pub fn entries(&self) -> &[Entry] {
        &self.container.entries
    }

    /// The bytes of a chunk as they are stored.
    pub(super) fn stored(&self, entry: &Entry) -> &'a [u8] {
        self.container.stored(entry)
    }

    /// Counts, frame, bounds, layers.
    pub fn splat_set(&self) -> &SplatSet {
        &self.set
    }

    /// Bytes of the file that must be at hand before the first `layers` layers can be decoded with
    /// [`Reader::read_splats`], the directory at the end included.
    pub fn bytes_for_layers(&self, layers: usize) -> u64 {
        let wanted = |e: &&Entry| {
            is_attribute(&e.kind) && usize::from(e.layer) < layers || e.kind == *b"SSET" || e.kind == *b"QNTZ"
        };
        let header = &self.container.header;
        let directory = u64::from(header.entry_count) * u64::from(header.entry_bytes);
        64 + directory + self.container.entries.iter().filter(wanted).map(|e| e.stored_bytes).sum::<u64>()
    }

    /// Decodes the splats of the first `layers` layers, in storage order.
    pub fn read_splats(&self, layers: usize) -> Result<Splats> {
        let layers = layers.min(self.set.layers.len());
        let count: usize = self.set.layers[..layers].iter().map(|&l| l as usize).sum();
        let mut splats = Splats::with_len(count, self.set.sh_degree);
        for layer in 0..layers {
            self.layer(layer)?.decode_into(&mut splats, self.set.layer_start(layer))?;
        }
        Ok(splats)
    }

    /// Number of blocks of a layer.
    pub fn block_count(&self, layer: usize) -> Result<usize> {
        Ok(self.layer(layer)?.block_count())
    }

    /// Decodes one block of a layer, touching only the wanted attributes and those they depend on; the others keep zeros.
    pub fn read_block(&self, layer: usize, block: usize, attributes: &[Attribute]) -> Result<Splats> {
        let layer = self.layer(layer)?;
        if block >= layer.block_count() {
            return Err(Error::usage(format!("block {block} of {}", layer.block_count())));
        }
        layer.block(block, attributes)
    }

    fn layer(&self, layer: usize) -> Result<Layer<'_>> {
        let count = self
            .set
            .layers
            .get(layer)
            .ok_or_else(|| Error::usage(format!("layer {layer} of {}", self.set.layers.len())))?;
        Layer::open(&self.container, layer as u16, *count as usize, self.set.sh_degree, self.quantization.as_ref())
    }

    /// Decodes everything.
    pub fn read_avatar(&self) -> Result<Avatar> {
        let (container, limits) = (&self.container, &self.limits);
        let count = self.set.count as usize;
        let mut avatar = Avatar::new(self.read_splats(usize::MAX)?, self.set.frame);
        avatar.metres_per_unit = self.set.metres_per_unit;
        avatar.color_space = self.set.color_space;
        avatar.render_model = self.set.render_model;
        avatar.rig = self.read_rig(count)?;
        if avatar.rig.kind() != self.set.rig_kind || avatar.rig.blendshapes.is_some() != self.set.blendshapes {
            let message =
                format!("SSET announces rig kind {}, the chunks make {}", self.set.rig_kind, avatar.rig.kind());
            return Err(bad("RIG_KIND", container.header.directory_offset, message));
        }
        let one = |kind: &[u8; 4]| container.find(kind, 0);
        avatar.rest = one(b"rEST").map(|e| meta_chunks::read_rest(container, e, count)).transpose()?;
        avatar.template = one(b"TMPL").map(|e| meta_chunks::read_template(container, e, limits)).transpose()?;
        avatar.mesh = one(b"mESh").map(|e| meta_chunks::read_mesh(container, e, limits)).transpose()?;
        if let Some(entry) = one(b"dRVr") {
            (avatar.drivers, avatar.driver_maps) = meta_chunks::read_drivers(container, entry, limits)?;
        }
        avatar.cameras =
            one(b"cAMs").map(|e| meta_chunks::read_cameras(container, e, limits)).transpose()?.unwrap_or_default();
        avatar.thumbnail = one(b"tHMB").map(|e| meta_chunks::read_thumbnail(container, e, limits)).transpose()?;
        avatar.meta =
            one(b"mETa").map(|e| meta_chunks::read_meta(container, e, limits)).transpose()?.unwrap_or_default();
        for entry in &container.entries {
            match &entry.kind {
                b"aNIm" => avatar.clips.push(clip_chunk::read_clip(container, entry, limits)?),
                b"xATT" => avatar.attributes.push(meta_chunks::read_attribute(container, entry, count, limits)?),
                kind if !is_known(kind) => {
                    // carried along unread, but not unchecked
                    container.blocks(entry)?.iter().try_for_each(|block| block.bytes().map(|_| ()))?;
                    avatar.unknown.push(UnknownChunk {
                        kind: *kind,
                        data: container.stored(entry).to_vec(),
                        entry: Entry { offset: 0, ..entry.clone() },
                    });
                }
                _ => {}
            }
        }
        avatar.validate().map_err(|e| bad("INCONSISTENT", container.header.directory_offset, e.to_string()))?;
        if let Some(entry) = one(b"oRDR") {
            let source_index = meta_chunks::read_order(container, entry, count)?;
            let mut stored_index = vec![0; count];
            source_index.iter().enumerate().for_each(|(stored, &source)| stored_index[source as usize] = stored as u32);
            avatar.reorder(&stored_index);
        }
        Ok(avatar)
    }

    fn read_rig(&self, count: usize) -> Result<Rig> {
        let (container, limits) = (&self.container, &self.limits);
        let one = |kind: &[u8; 4]| container.find(kind, 0);
        let mut bases = Vec::new();
        if let Some(entry) = one(b"SKIN") {
            let skeleton = one(b"SKEL").ok_or_else(|| bad("MISSING_CHUNK", entry.offset, "SKIN without SKEL"))?;
            bases.push(RigBase::Skinned {
                skeleton: rig_chunks::read_skeleton(container, skeleton, limits)?,
                skin: rig_chunks::read_skin(container, entry, count)?,
                morphs: one(b"MRPH").map(|e| rig_chunks::read_morphs(container, e, count, limits)).transpose()?,
            });
        }
        if let Some(entry) = one(b"TRIB") {
            bases.push(RigBase::Triangle(rig_chunks::read_binding(container, entry, count)?));
        }
        if let Some(entry) = one(b"FRMS") {
            bases.push(RigBase::Frames(rig_chunks::read_frames(container, entry, count, limits)?));
        }
        if bases.len() > 1 {
            return Err(bad("RIG_KIND", container.header.directory_offset, "more than one of SKIN, TRIB and FRMS"));
        }
        let blendshapes = one(b"GBLS")
            .map(|e| rig_chunks::read_blendshapes(container, e, one(b"MLPW"), count, limits))
            .transpose()?;
        Ok(Rig { base: bases.pop().unwrap_or_default(), blendshapes })
    }
}

fn is_attribute(kind: &[u8; 4]) -> bool {
    Attribute::ALL.iter().any(|a| a.chunk() == kind)
}

fn is_known(kind: &[u8; 4]) -> bool {
    is_attribute(kind) || KNOWN.contains(&kind)
}

/// Unknown critical chunks are refused, and so is a second copy of a chunk that must be unique.
fn check_kinds(container: &Container<'_>) -> Result<()> {
    let mut seen = std::collections::HashSet::new();
    for entry in &container.entries {
        if !is_known(&entry.kind) {
            if entry.kind[0].is_ascii_uppercase() {
                let message =
                    format!("chunk {} is needed to show this file and not known to this reader", entry.name());
                return Err(bad("CRITICAL_CHUNK", entry.offset, message));
            }
        } else if !REPEATED.contains(&&entry.kind) && !seen.insert((entry.kind, entry.layer)) {
            return Err(bad(
                "DUPLICATE_CHUNK",
                entry.offset,
                format!("a second {} chunk in layer {}", entry.name(), entry.layer),
            ));
        }
    }
    Ok(())
}

/// Reads a whole `.gav`.
pub fn read(source: &Source, options: &ReadOptions) -> Result<Avatar> {
    let mut avatar = Reader::with_options(source, options)?.read_avatar()?;
    if let Some(frame) = options.frame {
        avatar.frame = frame;
    }
    Ok(avatar)
}

/// Does a file begin like a `.gav`, or like one that was damaged by a transfer in text mode?
pub fn sniff(_name: &str, head: &[u8]) -> bool {
    head.len() >= 4 && (head[..4] == super::container::MAGIC[..4] || head[1..4] == *b"GAV")
}
