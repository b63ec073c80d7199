//! Reads a template from the files that its authors publish.

use std::{collections::BTreeMap, path::Path};

use gav_formats::{
    DType, NamedArray, Source, TemplateFamily,
    npy::NpyType,
    weights::{Arrays, Limits, read_arrays},
};

use crate::{
    Error, Result,
    body::{Parts, check_official},
};

/// What the user says a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// FLAME; the edition follows from the name of the file.
    Flame,
    /// FLAME 2020 (`generic_model.pkl`).
    Flame2020,
    /// FLAME 2023 (`flame2023.pkl`).
    Flame2023,
    /// SMPL.
    Smpl,
    /// SMPL-X.
    SmplX,
    /// Any arrays under the same names.
    Custom,
}

/// Files that belong to a template and come separately.
#[derive(Debug, Clone, Default)]
pub struct Extras<'a> {
    /// Texture coordinates: an OBJ of the same mesh, or a NumPy archive with `vt` and `ft`.
    pub uv: Option<&'a Path>,
    /// The left and the right eyelid: NumPy arrays, V × 3.
    pub eyelids: Option<[&'a Path; 2]>,
    /// Name for people.
    pub name: Option<&'a str>,
    /// SPDX expression under which it may be passed on.
    pub licence: Option<&'a str>,
}

impl Kind {
    /// The family, from the name of the file where that decides.
    ///
    /// # Errors
    /// When the name of a FLAME file does not say which edition it is: their expressions differ.
    pub fn family(self, file: &Path) -> Result<TemplateFamily> {
        let name = file.file_name().map(|n| n.to_string_lossy().to_lowercase()).unwrap_or_default();
        Ok(match self {
            Self::Flame2020 => TemplateFamily::Flame2020,
            Self::Flame2023 => TemplateFamily::Flame2023,
            Self::Smpl => TemplateFamily::Smpl,
            Self::SmplX => TemplateFamily::SmplX,
            Self::Custom => TemplateFamily::Custom,
            Self::Flame if name.contains("2023") => TemplateFamily::Flame2023,
            Self::Flame if ["2020", "generic_model", "female_model", "male_model"].iter().any(|n| name.contains(n)) => {
                TemplateFamily::Flame2020
            }
            Self::Flame => {
                return Err(Error::usage("is it FLAME 2020 or FLAME 2023? Their expressions differ"));
            }
        })
    }
}

/// Reads a template and what belongs to it; for the families the counts must be those of the official files.
///
/// # Errors
/// Names the file and what does not fit, with both numbers.
pub fn import(kind: Kind, file: &Path, extras: &Extras<'_>) -> Result<Parts<f32>> {
    let family = kind.family(file).map_err(|e| naming(file, e))?;
    let mut parts: Parts<f32> = Parts::from_arrays(family, &arrays(file)?).map_err(|e| naming(file, e))?;
    check_official(&parts).map_err(|e| naming(file, e))?;
    if let Some(path) = extras.uv {
        add_uv(&mut parts, path).map_err(|e| naming(path, e))?;
    }
    if let Some(paths) = extras.eyelids {
        parts.extras.clear();
        for (path, name) in paths.into_iter().zip(["l_eyelid", "r_eyelid"]) {
            parts.extras.push((name.to_owned(), eyelid(path, parts.vertices.len()).map_err(|e| naming(path, e))?));
        }
    }
    let stem = || file.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    parts.name = extras.name.map_or_else(stem, str::to_owned);
    parts.licence = extras.licence.unwrap_or_default().to_owned();
    parts.check().map_err(|e| naming(file, e))?;
    Ok(parts)
}

/// Says which file it was about.
fn naming(file: &Path, error: Error) -> Error {
    match error {
        Error::File(gav_formats::Error::Usage(text)) => Error::usage(format!("{}: {text}", file.display())),
        other => other,
    }
}

/// The arrays of a pickle, a NumPy archive or a safetensors file.
fn arrays(file: &Path) -> Result<Vec<NamedArray>> {
    Ok(named_arrays(read_arrays(&Source::open(file)?, &Limits::default())?))
}

/// Arrays in the types of `.gav`; 64-bit integers, of which a body has indices only, become f64.
pub(super) fn named_arrays(arrays: Arrays) -> Vec<NamedArray> {
    let named = arrays.arrays.into_iter().filter_map(|(name, array)| {
        // a dimension beyond 32 bits is none of a body's
        let shape = array.shape.iter().map(|d| u32::try_from(*d).ok()).collect::<Option<_>>()?;
        let (dtype, data) = match array.dtype {
            NpyType::Bool | NpyType::U8 => (DType::U8, array.data),
            NpyType::I8 => (DType::I8, array.data),
            NpyType::U16 => (DType::U16, array.data),
            NpyType::I16 => (DType::I16, array.data),
            NpyType::U32 => (DType::U32, array.data),
            NpyType::I32 => (DType::I32, array.data),
            NpyType::F16 => (DType::F16, array.data),
            NpyType::F32 => (DType::F32, array.data),
            NpyType::F64 => (DType::F64, array.data),
            NpyType::U64 | NpyType::I64 => (DType::F64, array.to_f64().iter().flat_map(|v| v.to_le_bytes()).collect()),
        };
        Some(NamedArray { name, dtype, shape, data })
    });
    named.collect()
}

fn eyelid(path: &Path, vertices: usize) -> Result<Vec<[f32; 3]>> {
    let bytes = Source::open(path)?;
    let array = gav_formats::npy::read_npy(&bytes, &gav_formats::Limits::default())?;
    if array.shape != [vertices, 3] {
        return Err(Error::usage(format!("an eyelid of the shape {:?}, {vertices} × 3 expected", array.shape)));
    }
    Ok(array.to_f32().as_chunks().0.to_vec())
}

fn add_uv(parts: &mut Parts<f32>, path: &Path) -> Result<()> {
    let source = Source::open(path)?;
    let is_obj = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("obj"));
    let (uvs, uv_faces) = if is_obj {
        let mesh = read_obj(&String::from_utf8_lossy(&source))?;
        if mesh.faces != parts.faces {
            let (found, expected) = (mesh.faces.len(), parts.faces.len());
            return Err(Error::usage(format!(
                "its {found} faces are not the {expected} of the template, so their texture coordinates do not fit"
            )));
        }
        (mesh.uvs, mesh.uv_faces)
    } else {
        let arrays: BTreeMap<String, NamedArray> =
            named_arrays(read_arrays(&source, &Limits::default())?).into_iter().map(|a| (a.name.clone(), a)).collect();
        let get = |name: &str| arrays.get(name).ok_or_else(|| Error::usage(format!("no array `{name}`")));
        (crate::body::texture_coordinates(get("vt")?)?, crate::body::index_triples(get("ft")?)?)
    };
    (parts.uvs, parts.uv_faces) = (uvs, uv_faces);
    parts.check()
}

/// Triangles of an OBJ with their texture coordinates.
#[derive(Debug, Default, PartialEq)]
struct Obj {
    faces: Vec<[u32; 3]>,
    uvs: Vec<[f32; 2]>,
    uv_faces: Vec<[u32; 3]>,
}

/// Reads `vt` and triangles `f v/vt…`; everything else is left alone.
fn read_obj(text: &str) -> Result<Obj> {
    let mut out = Obj::default();
    for (number, line) in text.lines().enumerate() {
        let wrong = || Error::usage(format!("line {}: `{line}` is no triangle with texture coordinates", number + 1));
        let mut words = line.split_whitespace();
        match words.next() {
            Some("vt") => {
                let values: Vec<f32> = words.take(2).filter_map(|w| w.parse().ok()).collect();
                out.uvs.push(<[f32; 2]>::try_from(values).map_err(|_| wrong())?);
            }
            Some("f") => {
                let corner = |word: &str| -> Option<[u32; 2]> {
                    let mut parts = word.split('/').map(|n| n.parse::<u32>().ok()?.checked_sub(1));
                    Some([parts.next()??, parts.next()??])
                };
                let corners: Option<Vec<[u32; 2]>> = words.map(corner).collect();
                let corners: [[u32; 2]; 3] = corners.and_then(|c| c.try_into().ok()).ok_or_else(wrong)?;
                out.faces.push(corners.map(|c| c[0]));
                out.uv_faces.push(corners.map(|c| c[1]));
            }
            _ => {}
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objs_give_triangles_and_texture_coordinates() {
        let text = "# head\nv 0 0 0\nvt 0.25 0.5\nvt 1 0 0\nvt 0 1\ns off\nf 1/2 2/3/4 3/1\n";
        let mesh = read_obj(text).unwrap();
        assert_eq!((mesh.faces.as_slice(), mesh.uv_faces.as_slice()), ([[0, 1, 2]].as_slice(), [[1, 2, 0]].as_slice()));
        assert_eq!(mesh.uvs, [[0.25, 0.5], [1.0, 0.0], [0.0, 1.0]]);
        for bad in ["f 1/1 2/2 3/3 4/4", "f 1 2 3", "f 0/1 1/1 2/1", "vt 0"] {
            assert!(read_obj(bad).unwrap_err().to_string().contains("line 1"), "{bad}");
        }
    }

    #[test]
    fn names_of_files_say_the_edition() {
        let family = |kind: Kind, name: &str| kind.family(Path::new(name));
        assert_eq!(family(Kind::Flame, "a/FLAME2023.pkl").unwrap(), TemplateFamily::Flame2023);
        assert_eq!(family(Kind::Flame, "generic_model.pkl").unwrap(), TemplateFamily::Flame2020);
        assert!(family(Kind::Flame, "flame.pkl").unwrap_err().to_string().contains("2020 or FLAME 2023"));
        assert_eq!(family(Kind::Flame2020, "flame.pkl").unwrap(), TemplateFamily::Flame2020);
    }
}
