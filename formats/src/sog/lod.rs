//! Streamed SOG: `lod-meta.json` names a tree of cells, each with ranges of ordinary SOG folders per level of detail.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{FORMAT, decode, json, members::Members};
use crate::{Avatar, Error, ReadOptions, Result, Source, Splats};

#[derive(Deserialize)]
struct LodMeta {
    /// Absent in files before version 1.
    version: Option<u64>,
    filenames: Vec<String>,
    tree: Node,
}

#[derive(Deserialize)]
struct Node {
    #[serde(default)]
    children: Vec<Node>,
    #[serde(default)]
    lods: BTreeMap<u32, Range>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Range {
    file: u64,
    offset: u64,
    count: u64,
}

/// The finest level of every leaf, in the order of files. The optional environment (sky, far background) is left out.
pub(super) fn read(source: &Source, options: &ReadOptions) -> Result<Avatar> {
    let limits = &options.limits;
    let meta: LodMeta = json::parse("lod-meta.json", source, limits)?;
    let fail = |code, message: String| Err(Error::format(FORMAT, code, 0, message));
    if let Some(version) = meta.version.filter(|&version| version != 1) {
        return fail("UNSUPPORTED", format!("lod-meta.json: version {version} is not 1"));
    }
    limits.check_entries(meta.filenames.len() as u64)?;
    let mut ranges = Vec::new();
    finest(&meta.tree, &mut ranges);
    ranges.sort_unstable();
    let total = ranges.iter().fold(0u64, |sum, range| sum.saturating_add(range.count));
    limits.check_splats(total, 56)?;

    let mut result: Option<Avatar> = None;
    for group in ranges.chunk_by(|a, b| a.file == b.file) {
        let Some(name) = usize::try_from(group[0].file).ok().and_then(|file| meta.filenames.get(file)) else {
            return fail("VALUE", format!("lod-meta.json: file {} of {}", group[0].file, meta.filenames.len()));
        };
        let part = folder(source, name, options)?;
        let mut indices = Vec::new();
        for range in group {
            let end = range.offset.checked_add(range.count).filter(|&end| end <= part.splats.len() as u64);
            let Some(end) = end else {
                let message = format!("{} splats from {}, {name} has {}", range.count, range.offset, part.splats.len());
                return fail("VALUE", format!("lod-meta.json: {message}"));
            };
            indices.extend(range.offset as u32..end as u32);
        }
        let splats = part.splats.gather(&indices);
        match &mut result {
            None => result = Some(Avatar { splats, ..part }),
            Some(avatar) => append(&mut avatar.splats, splats),
        }
        if let Some(avatar) = &result {
            limits.check_splats(total, 56 + 12 * avatar.splats.sh_rest_count() as u64)?;
        }
    }
    match result {
        Some(avatar) => Ok(avatar),
        None => fail("HEADER", "lod-meta.json: the tree has no splats".into()),
    }
}

/// Collects the lowest level number of every leaf. The depth is bounded by that of the JSON.
fn finest(node: &Node, ranges: &mut Vec<Range>) {
    node.children.iter().for_each(|child| finest(child, ranges));
    if node.children.is_empty() {
        ranges.extend(node.lods.values().next());
    }
}

fn folder(source: &Source, name: &str, options: &ReadOptions) -> Result<Avatar> {
    let sibling = source.sibling(name).map_err(|error| match error {
        Error::Usage(message) => Error::format(FORMAT, "PATH", 0, message),
        other => other,
    })?;
    let Some(sibling) = sibling else {
        return Err(Error::format(FORMAT, "MISSING", 0, format!("{name}: named by lod-meta.json but not there")));
    };
    decode::avatar(Members::open(&sibling, &options.limits)?, options)
}

/// Joins two sets of splats, padding the lower SH degree with zeros.
fn append(splats: &mut Splats, mut more: Splats) {
    let degree = splats.sh_degree.max(more.sh_degree);
    splats.set_sh_degree(degree);
    more.set_sh_degree(degree);
    splats.means.append(&mut more.means);
    splats.rotations.append(&mut more.rotations);
    splats.log_scales.append(&mut more.log_scales);
    splats.opacity_logits.append(&mut more.opacity_logits);
    splats.sh0.append(&mut more.sh0);
    splats.sh_rest.append(&mut more.sh_rest);
}
