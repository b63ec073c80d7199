//! A performance as a series of stills, for viewers that animate nodes and nothing else.

use std::ops::Range;

use serde_json::{Value, json};

use super::{
    begin,
    columns::{SplatSource, is_equal},
    node_name,
};
use crate::{Avatar, Error, Frame, Result, Splats, WriteOptions, sink::WriteSeek};

/// Scale of a hidden node. Zero is not allowed, because its matrix has no inverse.
pub const HIDDEN: f64 = 1e-6;

/// Splats in one pose, in the axes and units of their avatar, and the seconds during which they are shown.
#[derive(Debug, Clone)]
pub struct Still {
    /// The posed splats.
    pub splats: Splats,
    /// When they are shown, in seconds from 0.
    pub shown: Range<f64>,
}

/// Writes one node for each still, of which an animation named `name` shows one at a time: all others have the scale 10⁻⁶, switched
/// by STEP keys. Attributes that do not differ from the first still's are stored once. `avatar` says axes, units, colours and
/// names. SH are kept: every still is a rigid set of splats.
///
/// The first still is shown by viewers that play nothing. Read back, such a file is the first still.
///
/// # Errors
/// [`Error::Usage`] without stills, when their times are not increasing, one following the other, or when a still has no finite
/// splat; and when the file would pass 4 GiB.
pub fn write_frames(
    avatar: &Avatar,
    name: &str,
    stills: &[Still],
    sink: &mut dyn WriteSeek,
    options: &WriteOptions,
) -> Result<()> {
    let Some(first) = stills.first() else { return Err(Error::usage("no stills to write")) };
    for (k, still) in stills.iter().enumerate() {
        let Range { start, end } = still.shown;
        let before = if k == 0 { 0.0 } else { stills[k - 1].shown.end };
        // times are stored as f32
        if !(start >= before && (end as f32) > (start as f32) && end.is_finite()) {
            return Err(Error::usage(format!(
                "still {k} is shown from {start} s to {end} s, after one that is shown until {before} s"
            )));
        }
        still.splats.validate()?;
    }
    let frame = options.frame.unwrap_or(Frame::GLTF);
    let mut glb = begin(avatar);
    let mut channels = Vec::new();
    let mut samplers = Vec::new();
    let mut shared: Option<Value> = None;
    for (k, still) in stills.iter().enumerate() {
        let source = SplatSource::posed(&still.splats, avatar, frame)?;
        let complete = source.dropped() == 0;
        let same = |column| complete && is_equal(column, &first.splats, &still.splats);
        let primitive = glb.splat_primitive_sharing(source, shared.as_ref(), same)?;
        if k == 0 && complete {
            shared = Some(primitive["attributes"].clone());
        }
        glb.meshes.push(json!({"primitives": [primitive]}));
        let mut node = json!({"name": format!("{} {k}", node_name(avatar)), "mesh": k});
        if k > 0 {
            node["scale"] = json!([HIDDEN, HIDDEN, HIDDEN]);
        }
        glb.nodes.push(node);
        let (times, scales) = switch(still, stills.len() == k + 1);
        let output = glb.floats("VEC3", &scales, false, None);
        let input = glb.floats("SCALAR", &times, true, None);
        channels.push(json!({"sampler": k, "target": {"node": k, "path": "scale"}}));
        samplers.push(json!({"input": input, "output": output, "interpolation": "STEP"}));
    }
    glb.animations.push(json!({"name": name, "channels": channels, "samplers": samplers}));
    glb.scenes.push(json!({"nodes": (0..stills.len()).collect::<Vec<_>>()}));
    glb.extras.insert("gav".to_owned(), json!({"stills": stills.len()}));
    glb.finish(sink)
}

/// Key times and scales that show a still while it is its turn; the last one stays.
fn switch(still: &Still, is_last: bool) -> (Vec<[f32; 1]>, Vec<[f32; 3]>) {
    let (on, off) = ([1.0f32; 3], [HIDDEN as f32; 3]);
    let [start, end] = [still.shown.start, still.shown.end].map(|t| t as f32);
    let (mut times, mut scales) = (Vec::new(), Vec::new());
    if start > 0.0 {
        times.push([0.0]);
        scales.push(off);
    }
    times.extend([[start], [end]]);
    scales.extend([on, if is_last { on } else { off }]);
    (times, scales)
}
