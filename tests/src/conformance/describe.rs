//! An avatar as the JSON of the conformance set: splat set, documents, and of every array its shape, digest and a few rows.
//! `spec/reader.py` makes the same description from a file.

use gav_formats::{
    Activation, Avatar, BlendWeights, DType, Interpolation, RenderModel, RigBase, Skin, Splats, TriangleBinding,
};
use serde_json::{Map, Value, json};
use xxhash_rust::xxh3::xxh3_64;

/// Collects descriptions of arrays by name.
struct Arrays {
    found: Map<String, Value>,
    exact: bool,
}

impl Arrays {
    fn add(&mut self, name: &str, kind: &str, shape: &[usize], bytes: &[u8], values: Option<Vec<f64>>) {
        let mut out = json!({ "shape": shape, "type": kind });
        if self.exact || !kind.starts_with("float") {
            out["xxh3"] = json!(format!("{:016x}", xxh3_64(bytes)));
        }
        if let Some(values) = values {
            let safe: Vec<f64> = values.iter().map(|v| if v.is_finite() { *v } else { 0.0 }).collect();
            let sum: f64 = safe.iter().map(|v| v.abs()).sum();
            out["mean"] = json!(sum / safe.len().max(1) as f64);
            let count = if safe.is_empty() { 0 } else { shape[0] };
            let width = safe.len() / count.max(1);
            let row = |k: usize| json!([k, &safe[k * width..][..width.min(6)]]);
            out["rows"] = picked_rows(count).into_iter().map(row).collect();
        }
        self.found.insert(name.to_owned(), out);
    }

    fn floats(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.add(name, "float32", shape, &bytes, Some(values.iter().map(|&v| v.into()).collect()));
    }

    fn integers(&mut self, name: &str, shape: &[usize], values: &[u32]) {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.add(name, "uint32", shape, &bytes, Some(values.iter().map(|&v| v.into()).collect()));
    }

    fn bytes(&mut self, name: &str, values: &[u8]) {
        self.add(name, "uint8", &[values.len()], values, Some(values.iter().map(|&v| v.into()).collect()));
    }

    /// An array of any type; only 32-bit floats show rows.
    fn typed(&mut self, name: &str, dtype: DType, shape: &[usize], data: &[u8]) {
        if dtype == DType::F32 {
            let values: Vec<f32> = data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
            return self.floats(name, shape, &values);
        }
        let exact = std::mem::replace(&mut self.exact, true);
        self.add(name, type_name(dtype), shape, data, None);
        self.exact = exact;
    }
}

fn type_name(dtype: DType) -> &'static str {
    match dtype {
        DType::U8 => "uint8",
        DType::I8 => "int8",
        DType::U16 => "uint16",
        DType::I16 => "int16",
        DType::U32 => "uint32",
        DType::I32 => "int32",
        DType::F16 => "float16",
        DType::F32 => "float32",
        DType::F64 => "float64",
    }
}

fn picked_rows(count: usize) -> Vec<usize> {
    let mut rows = if count == 0 { Vec::new() } else { vec![count / 3, count - 1] };
    rows.sort_unstable();
    rows.dedup();
    rows
}

/// The description of `avatar`; `exact` adds digests of float arrays.
pub fn describe(avatar: &Avatar, layers: &[u32], exact: bool) -> Value {
    let mut arrays = Arrays { found: Map::new(), exact };
    let mut documents = Map::new();
    describe_splats(&avatar.splats, &mut arrays);
    describe_rig(avatar, &mut arrays, &mut documents);
    describe_rest(avatar, &mut arrays, &mut documents);
    let render_model = match avatar.render_model {
        RenderModel::Classic => 0,
        RenderModel::Antialiased => 1,
        RenderModel::Surfel => 2,
    };
    json!({
        "splat_set": {
            "count": avatar.splats.len(),
            "degree": avatar.splats.sh_degree,
            "render_model": render_model,
            "color_space": avatar.color_space as u8,
            "rig": avatar.rig.kind(),
            "blendshapes": u8::from(avatar.rig.blendshapes.is_some()),
            "frame": avatar.frame.to_string(),
            "layers": layers,
            "metres_per_unit": avatar.metres_per_unit,
        },
        "unknown": avatar.unknown.iter().map(|c| String::from_utf8_lossy(&c.kind).into_owned()).collect::<Vec<_>>(),
        "documents": documents,
        "arrays": arrays.found,
    })
}

fn describe_splats(s: &Splats, arrays: &mut Arrays) {
    let n = s.len();
    arrays.floats("position", &[n, 3], s.means.as_flattened());
    arrays.floats("opacity", &[n, 1], &s.opacity_logits);
    arrays.floats("log_scale", &[n, 3], s.log_scales.as_flattened());
    arrays.floats("rotation", &[n, 4], s.rotations.as_flattened());
    arrays.floats("sh0", &[n, 3], s.sh0.as_flattened());
    if s.sh_degree > 0 {
        arrays.floats("sh_rest", &[n, 3 * s.sh_rest_count()], &s.sh_rest);
    }
}

fn describe_rig(avatar: &Avatar, arrays: &mut Arrays, documents: &mut Map<String, Value>) {
    let n = avatar.splats.len();
    match &avatar.rig.base {
        RigBase::Static => {}
        RigBase::Skinned { skeleton, skin, morphs } => {
            documents.insert("SKEL".into(), serde_json::to_value(skeleton).expect("plain data"));
            describe_skin(skin, arrays, documents);
            if let Some(morphs) = morphs {
                let mut dense = vec![[0.0; 3]; morphs.targets.len() * n];
                for (k, target) in morphs.targets.iter().enumerate() {
                    target.splats.iter().zip(&target.deltas).for_each(|(&i, &d)| dense[k * n + i as usize] = d);
                }
                arrays.floats("morphs", &[morphs.targets.len(), n, 3], dense.as_flattened());
                let drivers: Vec<&str> = morphs.targets.iter().map(|t| t.driver.as_str()).collect();
                documents.insert("MRPH".into(), json!({ "drivers": drivers }));
            }
        }
        RigBase::Triangle(TriangleBinding { triangles, barycentrics, .. }) => {
            arrays.integers("triangle/index", &[n], triangles);
            if let Some(rows) = barycentrics {
                arrays.floats("triangle/barycentric", &[n, 3], rows.as_flattened());
            }
        }
        RigBase::Frames(frames) => {
            let f = frames.ticks.len();
            arrays.integers("frames/times", &[f], &frames.ticks);
            documents.insert("FRMS".into(), json!({ "ticks_per_second": frames.ticks_per_second }));
            let groups = [
                ("position", 3, frames.means.as_ref().map(|v| v.as_flattened())),
                ("rotation", 4, frames.rotations.as_ref().map(|v| v.as_flattened())),
                ("sh0", 3, frames.sh0.as_ref().map(|v| v.as_flattened())),
                ("opacity", 1, frames.opacity_logits.as_deref()),
            ];
            for (name, width, values) in groups {
                values.into_iter().for_each(|v| arrays.floats(&format!("frames/{name}"), &[f, n, width], v));
            }
        }
    }
    if let Some(blend) = &avatar.rig.blendshapes {
        let bases = blend.bases as usize;
        let groups = [
            ("position", 3, blend.means.as_flattened()),
            ("rotation", 4, blend.rotations.as_flattened()),
            ("sh0", 3, blend.sh0.as_flattened()),
        ];
        for (name, width, values) in groups.into_iter().filter(|(_, _, v)| !v.is_empty()) {
            arrays.floats(&format!("blendshape/{name}"), &[bases, n, width], values);
        }
        match &blend.weights {
            BlendWeights::Drivers(names) => documents.insert("GBLS".into(), json!({ "drivers": names })),
            BlendWeights::Mlp(mlp) => {
                for (k, layer) in mlp.layers.iter().enumerate() {
                    let outputs = layer.bias.len();
                    arrays.floats(&format!("mlp/{k}.weight"), &[outputs, layer.inputs()], &layer.weight);
                    arrays.floats(&format!("mlp/{k}.bias"), &[outputs], &layer.bias);
                }
                let names: Vec<&str> = mlp.layers.iter().map(|l| activation_name(l.activation)).collect();
                documents.insert("MLPW".into(), json!({ "inputs": mlp.inputs, "activations": names }));
                documents.insert("GBLS".into(), json!({ "drivers": null }))
            }
        };
    }
}

fn activation_name(activation: Activation) -> &'static str {
    match activation {
        Activation::None => "none",
        Activation::Relu => "relu",
        Activation::Sigmoid => "sigmoid",
        Activation::Tanh => "tanh",
    }
}

fn describe_skin(skin: &Skin, arrays: &mut Arrays, documents: &mut Map<String, Value>) {
    let counts: Vec<u8> = skin.offsets.windows(2).map(|p| (p[1] - p[0]) as u8).collect();
    arrays.bytes("skin/counts", &counts);
    let joints: Vec<u32> = skin.joints.iter().map(|&j| j.into()).collect();
    arrays.integers("skin/joints", &[joints.len()], &joints);
    arrays.floats("skin/weights", &[skin.weights.len()], &skin.weights);
    documents.insert("SKIN".into(), json!({ "full_covariance": skin.full_covariance }));
}

fn describe_rest(avatar: &Avatar, arrays: &mut Arrays, documents: &mut Map<String, Value>) {
    let n = avatar.splats.len();
    if let Some(rest) = &avatar.rest {
        arrays.floats("rest/position", &[n, 3], rest.means.as_flattened());
        arrays.floats("rest/rotation", &[n, 4], rest.rotations.as_flattened());
        arrays.floats("rest/log_scale", &[n, 3], rest.log_scales.as_flattened());
    }
    if let Some(mesh) = &avatar.mesh {
        arrays.floats("mesh/positions", &[mesh.positions.len(), 3], mesh.positions.as_flattened());
        arrays.integers("mesh/faces", &[mesh.faces.len(), 3], mesh.faces.as_flattened());
        arrays.floats("mesh/uvs", &[mesh.uvs.len(), 2], mesh.uvs.as_flattened());
        arrays.integers("mesh/uv_faces", &[mesh.uv_faces.len(), 3], mesh.uv_faces.as_flattened());
        for array in &mesh.arrays {
            let shape: Vec<usize> = array.shape.iter().map(|&d| d as usize).collect();
            arrays.typed(&format!("mesh/{}", array.name), array.dtype, &shape, &array.data);
        }
    }
    for attribute in &avatar.attributes {
        let shape = [n, attribute.width as usize];
        arrays.typed(&format!("attribute/{}", attribute.name), attribute.dtype, &shape, &attribute.data);
    }
    for clip in &avatar.clips {
        for track in &clip.tracks {
            let name = format!("clip/{}/{}", clip.name, track.target);
            arrays.integers(&format!("{name}/times"), &[track.ticks.len()], &track.ticks);
            arrays.floats(&format!("{name}/values"), &[track.ticks.len(), track.width as usize], &track.values);
        }
    }
    let mut put = |kind: &str, present: bool, value: Value| {
        if present {
            documents.insert(kind.into(), value);
        }
    };
    let plain = |value: serde_json::Result<Value>| value.expect("plain data");
    put("TMPL", avatar.template.is_some(), plain(serde_json::to_value(&avatar.template)));
    let drives = !avatar.drivers.is_empty() || !avatar.driver_maps.is_empty();
    put("dRVr", drives, json!({ "drivers": avatar.drivers, "maps": avatar.driver_maps }));
    put("cAMs", !avatar.cameras.is_empty(), plain(serde_json::to_value(&avatar.cameras)));
    put("mETa", true, plain(serde_json::to_value(&avatar.meta)));
    put("aNIm", !avatar.clips.is_empty(), avatar.clips.iter().map(clip_header).collect());
    if let Some(image) = &avatar.thumbnail {
        documents.insert("tHMB".into(), json!({ "media_type": image.media_type }));
        arrays.bytes("thumbnail", &image.bytes);
    }
}

fn clip_header(clip: &gav_formats::Clip) -> Value {
    let name = |interpolation| match interpolation {
        Interpolation::Step => "step",
        Interpolation::Linear => "linear",
        Interpolation::Slerp => "slerp",
    };
    let tracks: Vec<Value> = clip
        .tracks
        .iter()
        .map(|t| json!({ "target": t.target, "width": t.width, "interpolation": name(t.interpolation) }))
        .collect();
    json!({ "name": clip.name, "ticks_per_second": clip.ticks_per_second, "tracks": tracks })
}

/// Where `found` differs from `expected`: numbers by more than 10⁻⁶, anything else at all. Parts that are not expected are
/// ignored, but for arrays.
pub fn differences(found: &Value, expected: &Value, place: &str) -> Vec<String> {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => {
            let mut out = Vec::new();
            for (key, value) in expected.iter().filter(|(key, _)| *key != "about") {
                match found.get(key) {
                    Some(own) => out.extend(differences(own, value, &format!("{place}/{key}"))),
                    None => out.push(format!("{place}/{key}: missing")),
                }
            }
            if place == "/arrays" {
                out.extend(found.keys().filter(|k| !expected.contains_key(*k)).map(|k| format!("{k}: not expected")));
            }
            out
        }
        (Value::Array(found), Value::Array(expected)) if found.len() == expected.len() => found
            .iter()
            .zip(expected)
            .enumerate()
            .flat_map(|(k, (f, e))| differences(f, e, &format!("{place}/{k}")))
            .collect(),
        _ => {
            let close = match (found.as_f64(), expected.as_f64()) {
                (Some(f), Some(e)) => (f - e).abs() <= 1e-6 * (1.0 + e.abs()),
                _ => found == expected,
            };
            if close { Vec::new() } else { vec![format!("{place}: {found} instead of {expected}")] }
        }
    }
}
