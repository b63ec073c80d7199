//! The user's templates: official files are converted once to safetensors and are opened from there only.
//!
//! The copies lie in `templates` inside of the data folder (see [`crate::weights::store`]). Each holds the arrays of one body and, as
//! metadata `gav`, a [`Manifest`].

use std::path::{Path, PathBuf};

use gav_formats::{
    DType, NamedArray, Source, Template,
    sink::write_file_atomically,
    weights::{Limits, read_arrays},
};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::import::{Extras, Kind, import, named_arrays};
use crate::{
    Error, Result,
    body::{Body, Parts, Teeth, family_name, official_counts},
    weights,
};

/// A folder of converted templates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    folder: PathBuf,
}

/// What a stored template is, and what it was made from.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// The reference by which avatars find it, without teeth.
    pub template: Template,
    /// Number of joints.
    pub joints: u32,
    /// True when it has texture coordinates.
    pub uvs: bool,
    /// True when it has eyelids.
    pub eyelids: bool,
    /// Files it was made from: name without folders, SHA-256 in hexadecimal.
    pub sources: Vec<(String, String)>,
}

/// What [`Store::add`] did.
#[derive(Debug, Clone, PartialEq)]
pub struct Added {
    /// The copy.
    pub path: PathBuf,
    /// What it is.
    pub manifest: Manifest,
    /// True when exactly this was there already; it is left alone.
    pub unchanged: bool,
}

impl Store {
    /// The store of the user.
    ///
    /// # Errors
    /// When there is neither `GAV_DATA` nor a home folder.
    pub fn user() -> Result<Self> {
        Ok(Self::at(weights::store::data_folder()?.join("templates")))
    }

    /// A store in any folder, which need not exist yet.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The folder of the copies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Converts a template. Texture coordinates and eyelids that an earlier copy of the same arrays has are kept when `extras` has none.
    ///
    /// # Errors
    /// Files that cannot be read, and arrays that do not fit, with both numbers. A copy that was there before stays.
    pub fn add(&self, kind: Kind, file: &Path, extras: &Extras<'_>) -> Result<Added> {
        let mut parts = import(kind, file, extras)?;
        let identity = Body::new(&parts)?.template();
        let path = self.folder.join(format!("{}.safetensors", slug(&identity)));
        let mut sources = Vec::new();
        let files = [Some(file), extras.uv].into_iter().chain(extras.eyelids.iter().flatten().map(|p| Some(*p)));
        for file in files.flatten() {
            let source = Source::open(file)?;
            sources.push((source.name(), Sha256::digest(&*source).iter().map(|b| format!("{b:02x}")).collect()));
        }
        // an earlier copy that cannot be read is simply made again
        let earlier = path.is_file().then(|| read_copy(&path).ok()).flatten();
        if let Some((earlier, old)) = &earlier {
            if extras.uv.is_none() && parts.uvs.is_empty() {
                (parts.uvs, parts.uv_faces) = (old.uvs.clone(), old.uv_faces.clone());
            }
            if extras.eyelids.is_none() && parts.extras.is_empty() {
                parts.extras.clone_from(&old.extras);
            }
            if extras.name.is_none() {
                parts.name.clone_from(&old.name);
            }
            if extras.licence.is_none() {
                parts.licence.clone_from(&old.licence);
            }
            sources.extend(earlier.sources.iter().filter(|s| !sources.contains(s)).cloned().collect::<Vec<_>>());
        }
        if let Some((manifest, _)) = earlier.filter(|(_, old)| *old == parts) {
            return Ok(Added { path, manifest, unchanged: true });
        }
        let manifest = Manifest {
            template: Body::new(&parts)?.template(),
            joints: parts.parents.len() as u32,
            uvs: !parts.uvs.is_empty(),
            eyelids: !parts.extras.is_empty(),
            sources,
        };
        write_copy(&path, &parts.to_arrays(), &manifest)?;
        Ok(Added { path, manifest, unchanged: false })
    }

    /// All copies in order of their file names, each with its manifest or why it cannot be read.
    ///
    /// # Errors
    /// When the folder is there and cannot be read.
    pub fn list(&self) -> Result<Vec<(PathBuf, Result<Manifest>)>> {
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(gav_formats::Error::io(&self.folder, e).into()),
        };
        let mut paths = Vec::new();
        for entry in entries {
            paths.push(entry.map_err(|e| gav_formats::Error::io(&self.folder, e))?.path());
        }
        paths.retain(|p| p.extension().is_some_and(|e| e == "safetensors"));
        paths.sort();
        Ok(paths.into_iter().map(|path| (path.clone(), read_manifest(&path))).collect())
    }

    /// Opens the template that an avatar refers to: by its hashes when it names some, else by family and counts. FLAME is given
    /// teeth when the avatar counts them.
    ///
    /// # Errors
    /// [`Error::MissingTemplate`] when none fits, [`Error::Usage`](gav_formats::Error::Usage) when several do.
    pub fn open(&self, wanted: &Template) -> Result<Body<f32>> {
        let mut near = Vec::new();
        let mut found: Vec<(PathBuf, Body<f32>)> = Vec::new();
        for (path, manifest) in self.list()? {
            let label = path.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            let fits = manifest.and_then(|manifest| fit(wanted, &path, &manifest));
            match fits {
                Ok(Ok(body)) => found.push((path, body)),
                Ok(Err(why)) => near.push(format!("`{label}`: {why}")),
                Err(error) => near.push(format!("`{label}`: {error}")),
            }
        }
        if found.len() > 1 {
            // several of one family differ in what an avatar without hashes does not say: male, female, neutral
            let named: Vec<usize> = (0..found.len()).filter(|k| found[*k].1.name() == wanted.name).collect();
            if let [only] = named[..] {
                return Ok(found.swap_remove(only).1);
            }
            let names: Vec<String> = found.iter().map(|(path, _)| path.display().to_string()).collect();
            return Err(Error::usage(format!(
                "{} templates fit {} and the avatar does not say which: {}; move the others away",
                found.len(),
                describe(wanted),
                names.join(", ")
            )));
        }
        found.pop().map(|(_, body)| body).ok_or_else(|| Error::MissingTemplate {
            wanted: describe(wanted),
            how_to_obtain: wanted.how_to_obtain.clone(),
            folder: self.folder.clone(),
            near,
        })
    }

    /// Opens the copy whose file name, name or hash starts so, as it is stored.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn open_named(&self, name: &str) -> Result<(PathBuf, Manifest, Body<f32>)> {
        let mut found = Vec::new();
        for (path, manifest) in self.list()? {
            let Ok(manifest) = manifest else { continue };
            let stem = path.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            let hash = hex(&manifest.template.arrays_hash);
            if stem == name || manifest.template.name == name || (name.len() >= 4 && hash.starts_with(name)) {
                found.push((path, manifest));
            }
        }
        match found.len() {
            0 => Err(Error::usage(format!("no template `{name}` in {}", self.folder.display()))),
            1 => {
                let (path, manifest) = found.remove(0);
                let body = Body::new(&read_copy(&path)?.1)?;
                Ok((path, manifest, body))
            }
            count => Err(Error::usage(format!("{count} templates are called `{name}`: say the hash"))),
        }
    }
}

/// The body when a stored template is what an avatar wants, else why it is not.
fn fit(wanted: &Template, path: &Path, manifest: &Manifest) -> Result<Result<Body<f32>, String>> {
    let stored = &manifest.template;
    let known_hash = wanted.arrays_hash != [0; 32];
    let by_hash = known_hash && wanted.arrays_hash == stored.arrays_hash;
    if !by_hash && wanted.family != stored.family {
        return Ok(Err(format!("{} is another family", family_name(stored.family))));
    }
    let counts = |t: &Template| [t.vertex_count, t.face_count];
    let official = official_counts(stored.family).map(|[v, f, _]| [v as u32, f as u32]);
    let teeth = Teeth::of_counts(wanted.vertex_count as usize, wanted.face_count as usize);
    let candidates = match teeth {
        _ if counts(wanted) == counts(stored) => vec![None],
        // the counts are the same before and after May 2024, the hash of the faces is not
        Some(Teeth::GaussianAvatars) if official == Some(counts(stored)) => {
            vec![Some(Teeth::GaussianAvatars), Some(Teeth::GaussianAvatarsBefore2024)]
        }
        Some(teeth) if official == Some(counts(stored)) => vec![Some(teeth)],
        _ => {
            let ([v, f], [sv, sf]) = (counts(wanted), counts(stored));
            return Ok(Err(format!("has {sv} vertices and {sf} faces, not {v} and {f}")));
        }
    };
    let (_, base) = read_copy(path)?;
    for teeth in candidates {
        let mut parts = base.clone();
        if let Some(teeth) = teeth {
            parts.add_teeth(teeth)?;
        }
        if wanted.faces_hash != [0; 32] && wanted.faces_hash != super::faces_hash(&parts.faces) {
            continue;
        }
        if known_hash && wanted.arrays_hash != super::arrays_hash(&parts.hashed_arrays()) {
            continue;
        }
        return Ok(Ok(Body::new(&parts)?));
    }
    Ok(Err("has the right size, but other arrays or faces".to_owned()))
}

/// `FLAME 2023 with 5143 vertices and 10144 faces`.
fn describe(template: &Template) -> String {
    let [v, f] = [template.vertex_count, template.face_count];
    let name = if template.name.is_empty() { family_name(template.family) } else { &template.name };
    format!("{name} ({v} vertices, {f} faces)")
}

/// Name of the file of a copy.
fn slug(template: &Template) -> String {
    let family = serde_json::to_value(template.family).ok().and_then(|v| v.as_str().map(str::to_owned));
    format!("{}-{}", family.unwrap_or_default(), &hex(&template.arrays_hash)[..12])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Metadata `gav`, and the arrays, of a safetensors file.
fn parse(bytes: &[u8]) -> Result<(Option<String>, Vec<NamedArray>)> {
    let bad = |message: String| gav_formats::Error::format("safetensors", "HEADER", 0, message);
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| bad(e.to_string()))?;
    let about = header.metadata().as_ref().and_then(|m| m.get("gav").cloned());
    Ok((about, named_arrays(read_arrays(bytes, &Limits::default())?)))
}

fn write_copy(path: &Path, arrays: &[NamedArray], manifest: &Manifest) -> Result<()> {
    let broken = |e: &dyn std::fmt::Display| Error::usage(format!("the arrays cannot be written: {e}"));
    let about = json!({
        "version": 1,
        "template": serde_json::to_value(&manifest.template).map_err(|e| broken(&e))?,
        "joints": manifest.joints,
        "uvs": manifest.uvs,
        "eyelids": manifest.eyelids,
        "sources": manifest.sources.iter().map(|(name, sha256)| json!({"name": name, "sha256": sha256})).collect::<Vec<_>>(),
    });
    let views = arrays.iter().map(|array| {
        let dtype = match array.dtype {
            DType::U8 => Dtype::U8,
            DType::U32 => Dtype::U32,
            _ => Dtype::F32,
        };
        let shape = array.shape.iter().map(|d| *d as usize).collect();
        TensorView::new(dtype, shape, &array.data).map(|view| (array.name.as_str(), view))
    });
    let views = views.collect::<Result<Vec<_>, _>>().map_err(|e| broken(&e))?;
    let metadata = [("gav".to_owned(), about.to_string())].into_iter().collect();
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(|e| broken(&e))?;
    Ok(write_file_atomically(path, |sink| Ok(sink.write_all(&bytes)?))?)
}

fn no_manifest(path: &Path) -> Error {
    Error::usage(format!("{}: no manifest: this is no copy made by `gav template add`", path.display()))
}

fn manifest_from(text: &str) -> Option<Manifest> {
    let about: Value = serde_json::from_str(text).ok()?;
    let source = |v: &Value| Some((v.get("name")?.as_str()?.to_owned(), v.get("sha256")?.as_str()?.to_owned()));
    Some(Manifest {
        template: serde_json::from_value(about.get("template")?.clone()).ok()?,
        joints: u32::try_from(about.get("joints")?.as_u64()?).ok()?,
        uvs: about.get("uvs")?.as_bool()?,
        eyelids: about.get("eyelids")?.as_bool()?,
        sources: about.get("sources")?.as_array()?.iter().map(source).collect::<Option<_>>()?,
    })
}

/// The manifest alone: a copy has a hundred megabytes.
fn read_manifest(path: &Path) -> Result<Manifest> {
    let source = Source::open(path)?;
    let (_, header) = SafeTensors::read_metadata(&source).map_err(|_| no_manifest(path))?;
    let about = header.metadata().as_ref().and_then(|m| m.get("gav"));
    about.and_then(|text| manifest_from(text)).ok_or_else(|| no_manifest(path))
}

fn read_copy(path: &Path) -> Result<(Manifest, Parts<f32>)> {
    let source = Source::open(path)?;
    let (about, arrays) = parse(&source)?;
    let manifest = about.as_deref().and_then(manifest_from).ok_or_else(|| no_manifest(path))?;
    let mut parts = Parts::from_arrays(manifest.template.family, &arrays)?;
    parts.name.clone_from(&manifest.template.name);
    parts.licence.clone_from(&manifest.template.licence);
    Ok((manifest, parts))
}
