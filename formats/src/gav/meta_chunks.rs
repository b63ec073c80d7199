//! Chunks around the splats: metadata, template, mesh, drivers, cameras, thumbnail, user attributes, rest pose, order
//! (`spec/gav.md` 6.10 to 6.16).

use serde_json::json;

use super::{
    chunk::{SPLAT_BLOCK, blocked, bytes_chunk, check_name, expect_elements, from_json, json_chunk},
    container::{Chunk, Container, Entry, bad, u16_at, u32_at},
    floats::{read_floats, write_floats},
    ints::{read_ints, write_ints},
    quantizer::Step,
    rig_chunks::{RigPrecision, read_rows, step_at, step_bytes, write_rows},
    tensors,
};
use crate::{
    Camera, DType, Driver, DriverMap, Limits, Mesh, Meta, NamedArray, RestPose, Result, Template, Thumbnail,
    UserAttribute,
};

// ---- mETa, TMPL, cAMs, dRVr: JSON

pub(crate) fn meta_chunk(meta: &Meta, level: i32) -> Chunk {
    json_chunk(b"mETa", &serde_json::to_value(meta).expect("plain data"), level)
}

pub(crate) fn read_meta(container: &Container<'_>, entry: &Entry, limits: &Limits) -> Result<Meta> {
    from_json(container.json_of(entry, limits)?, entry)
}

pub(crate) fn template_chunk(template: &Template, level: i32) -> Chunk {
    json_chunk(b"TMPL", &serde_json::to_value(template).expect("plain data"), level)
}

pub(crate) fn read_template(container: &Container<'_>, entry: &Entry, limits: &Limits) -> Result<Template> {
    let template: Template = from_json(container.json_of(entry, limits)?, entry)?;
    check_name(&template.name, entry)?;
    Ok(template)
}

pub(crate) fn cameras_chunk(cameras: &[Camera], level: i32) -> Chunk {
    json_chunk(b"cAMs", &serde_json::to_value(cameras).expect("plain data"), level)
}

pub(crate) fn read_cameras(container: &Container<'_>, entry: &Entry, limits: &Limits) -> Result<Vec<Camera>> {
    let cameras: Vec<Camera> = from_json(container.json_of(entry, limits)?, entry)?;
    cameras.iter().try_for_each(|c| check_name(&c.name, entry))?;
    Ok(cameras)
}

pub(crate) fn drivers_chunk(drivers: &[Driver], maps: &[DriverMap], level: i32) -> Chunk {
    json_chunk(b"dRVr", &json!({ "drivers": drivers, "maps": maps }), level)
}

pub(crate) fn read_drivers(
    container: &Container<'_>,
    entry: &Entry,
    limits: &Limits,
) -> Result<(Vec<Driver>, Vec<DriverMap>)> {
    #[derive(serde::Deserialize)]
    struct Document {
        #[serde(default)]
        drivers: Vec<Driver>,
        #[serde(default)]
        maps: Vec<DriverMap>,
    }
    let document: Document = from_json(container.json_of(entry, limits)?, entry)?;
    document.drivers.iter().try_for_each(|d| check_name(&d.name, entry))?;
    for map in &document.maps {
        check_name(&map.name, entry)?;
        if map.matrix.len() != map.inputs.len() * map.outputs.len() || map.offset.len() != map.outputs.len() {
            return Err(bad(
                "DRIVERS",
                entry.offset,
                format!("driver map `{}` has a matrix of another size", map.name),
            ));
        }
    }
    Ok((document.drivers, document.maps))
}

// ---- mESh: safetensors

pub(crate) fn mesh_chunk(mesh: &Mesh, level: i32) -> Chunk {
    let mut tensors: Vec<(&str, DType, Vec<usize>, &[u8])> = Vec::new();
    let shape = |count: usize, width: usize| vec![count, width];
    tensors.push(("positions", DType::F32, shape(mesh.positions.len(), 3), bytemuck::cast_slice(&mesh.positions)));
    tensors.push(("faces", DType::U32, shape(mesh.faces.len(), 3), bytemuck::cast_slice(&mesh.faces)));
    tensors.push(("uvs", DType::F32, shape(mesh.uvs.len(), 2), bytemuck::cast_slice(&mesh.uvs)));
    tensors.push(("uv_faces", DType::U32, shape(mesh.uv_faces.len(), 3), bytemuck::cast_slice(&mesh.uv_faces)));
    for array in &mesh.arrays {
        tensors.push((&array.name, array.dtype, array.shape.iter().map(|&d| d as usize).collect(), &array.data));
    }
    bytes_chunk(b"mESh", Vec::new(), &tensors::serialize(tensors, &[]), level)
}

pub(crate) fn read_mesh(container: &Container<'_>, entry: &Entry, limits: &Limits) -> Result<Mesh> {
    let bytes = container.bytes_of(entry, limits.decoded_bytes)?;
    let (_, arrays) = tensors::parse(&bytes)?;
    let mut mesh = Mesh::default();
    let wrong = |name: &str| bad("MESH", entry.offset, format!("mESh: `{name}` has another type or shape"));
    fn floats<const W: usize>(array: &NamedArray) -> Option<Vec<[f32; W]>> {
        (array.dtype == DType::F32 && array.shape.len() == 2 && array.shape[1] == W as u32).then(|| {
            array
                .data
                .chunks_exact(4 * W)
                .map(|row| std::array::from_fn(|k| f32::from_bits(u32_at(row, 4 * k))))
                .collect()
        })
    }
    fn indices(array: &NamedArray) -> Option<Vec<[u32; 3]>> {
        (array.dtype == DType::U32 && array.shape.len() == 2 && array.shape[1] == 3)
            .then(|| array.data.chunks_exact(12).map(|row| std::array::from_fn(|k| u32_at(row, 4 * k))).collect())
    }
    for array in arrays {
        check_name(&array.name, entry)?;
        match array.name.as_str() {
            "positions" => mesh.positions = floats(&array).ok_or_else(|| wrong("positions"))?,
            "uvs" => mesh.uvs = floats(&array).ok_or_else(|| wrong("uvs"))?,
            "faces" => mesh.faces = indices(&array).ok_or_else(|| wrong("faces"))?,
            "uv_faces" => mesh.uv_faces = indices(&array).ok_or_else(|| wrong("uv_faces"))?,
            _ => mesh.arrays.push(array),
        }
    }
    let inside = |faces: &[[u32; 3]], count: usize| faces.iter().flatten().all(|&v| (v as usize) < count);
    let uv_faces = if mesh.uv_faces.is_empty() { &[][..] } else { &mesh.uv_faces };
    if !inside(&mesh.faces, mesh.positions.len()) || !inside(uv_faces, mesh.uvs.len()) {
        return Err(bad("MESH", entry.offset, "mESh: a face names a vertex that is not there"));
    }
    Ok(mesh)
}

// ---- tHMB

pub(crate) fn thumbnail_chunk(thumbnail: &Thumbnail, level: i32) -> Chunk {
    bytes_chunk(b"tHMB", thumbnail.media_type.as_bytes().to_vec(), &thumbnail.bytes, level)
}

pub(crate) fn read_thumbnail(container: &Container<'_>, entry: &Entry, limits: &Limits) -> Result<Thumbnail> {
    let media_type = std::str::from_utf8(container.parameters(entry)?).ok().filter(|t| t.len() <= 256);
    let media_type = media_type.ok_or_else(|| bad("THUMBNAIL", entry.offset, "tHMB: media type is not text"))?;
    check_name(media_type, entry)?;
    Ok(Thumbnail { media_type: media_type.to_owned(), bytes: container.bytes_of(entry, limits.decoded_bytes)? })
}

// ---- xATT

pub(crate) fn attribute_chunk(attribute: &UserAttribute, count: usize, level: i32) -> Chunk {
    let mut parameters = vec![attribute.dtype as u8, 0];
    parameters.extend_from_slice(&(attribute.width as u16).to_le_bytes());
    parameters.extend_from_slice(attribute.name.as_bytes());
    let (row, width) = (attribute.row_bytes(), attribute.width as usize);
    blocked(b"xATT", 0, parameters, count, SPLAT_BLOCK, level, |writer, block| {
        let bytes = &attribute.data[block.start * row..block.end * row];
        if attribute.dtype == DType::F32 {
            let column = |c: usize| bytes.chunks_exact(row).map(|r| f32::from_bits(u32_at(r, 4 * c))).collect();
            write_floats(writer, &(0..width).map(column).collect::<Vec<_>>());
        } else {
            for k in 0..row {
                writer.stream(&bytes.iter().skip(k).step_by(row).copied().collect::<Vec<_>>());
            }
        }
    })
}

pub(crate) fn read_attribute(
    container: &Container<'_>,
    entry: &Entry,
    count: usize,
    limits: &Limits,
) -> Result<UserAttribute> {
    expect_elements(entry, count)?;
    let parameters = container.parameters(entry)?;
    let wrong = |what: &str| bad("ATTRIBUTE", entry.offset, format!("xATT: {what}"));
    let name =
        parameters.get(4..).and_then(|n| std::str::from_utf8(n).ok()).ok_or_else(|| wrong("no readable name"))?;
    check_name(name, entry)?;
    let dtype =
        DType::from_id(parameters[0]).filter(|_| parameters[1] == 0).ok_or_else(|| wrong("unknown element type"))?;
    let width = u32::from(u16_at(parameters, 2));
    // column numbers of float blocks are bytes
    if width == 0 || width > 256 {
        return Err(wrong("width is not 1 to 256"));
    }
    let mut attribute = UserAttribute { name: name.to_owned(), dtype, width, data: Vec::new() };
    let row = attribute.row_bytes();
    limits.check_bytes(count as u64 * row as u64)?;
    let blocks = container.decode(entry, |reader, block| {
        let mut bytes = vec![0; block.elements * row];
        if dtype == DType::F32 {
            for (c, column) in read_floats(reader, width as usize, block.elements)?.into_iter().enumerate() {
                column
                    .into_iter()
                    .enumerate()
                    .for_each(|(i, v)| bytes[i * row + 4 * c..][..4].copy_from_slice(&v.to_le_bytes()));
            }
        } else {
            for k in 0..row {
                let plane = reader.stream(block.elements)?;
                plane.into_iter().enumerate().for_each(|(i, b)| bytes[i * row + k] = b);
            }
        }
        Ok(bytes)
    })?;
    attribute.data = blocks.concat();
    Ok(attribute)
}

// ---- rEST

pub(crate) fn rest_chunk(rest: &RestPose, precision: &RigPrecision, scale_step: Option<Step>, level: i32) -> Chunk {
    let mut parameters = Vec::new();
    for step in [precision.position, precision.rotation, scale_step] {
        parameters.extend_from_slice(&step_bytes(step));
    }
    let codec = u16::from(precision.position.is_some());
    blocked(b"rEST", codec, parameters, rest.means.len(), SPLAT_BLOCK, level, |writer, block| {
        write_rows(writer, &rest.means[block.clone()], precision.position);
        write_rows(writer, &rest.rotations[block.clone()], precision.rotation);
        write_rows(writer, &rest.log_scales[block], scale_step);
    })
}

pub(crate) fn read_rest(container: &Container<'_>, entry: &Entry, count: usize) -> Result<RestPose> {
    expect_elements(entry, count)?;
    let parameters = container.parameters(entry)?;
    if parameters.len() != 24 {
        return Err(bad(
            "PARAMETERS",
            entry.offset,
            format!("rEST: {} bytes of parameters, 24 expected", parameters.len()),
        ));
    }
    let steps = [step_at(parameters, 0, entry)?, step_at(parameters, 8, entry)?, step_at(parameters, 16, entry)?];
    let blocks = container.decode(entry, |reader, block| {
        Ok((
            read_rows::<3>(reader, block.elements, steps[0])?,
            read_rows::<4>(reader, block.elements, steps[1])?,
            read_rows::<3>(reader, block.elements, steps[2])?,
        ))
    })?;
    let mut rest = RestPose::default();
    for (means, rotations, log_scales) in blocks {
        rest.means.extend(means);
        rest.rotations.extend(rotations);
        rest.log_scales.extend(log_scales);
    }
    Ok(rest)
}

// ---- oRDR

pub(crate) fn order_chunk(source_index: &[u32], level: i32) -> Chunk {
    blocked(b"oRDR", 0, Vec::new(), source_index.len(), SPLAT_BLOCK, level, |writer, block| {
        write_ints(writer, &source_index[block].iter().map(|&i| i as i32).collect::<Vec<_>>());
    })
}

/// The source index of each stored splat; checked to be a permutation.
pub(crate) fn read_order(container: &Container<'_>, entry: &Entry, count: usize) -> Result<Vec<u32>> {
    expect_elements(entry, count)?;
    let blocks = container.decode(entry, |reader, block| read_ints(reader, block.elements))?;
    let order: Vec<u32> = blocks.into_iter().flatten().map(|i| i as u32).collect();
    let mut seen = vec![false; count];
    for &index in &order {
        match seen.get_mut(index as usize) {
            Some(slot) if !*slot => *slot = true,
            _ => {
                return Err(bad(
                    "ORDER",
                    entry.offset,
                    format!("oRDR is no permutation: {index} is repeated or beyond {count}"),
                ));
            }
        }
    }
    Ok(order)
}
