//! The user's weights: official files are converted once to safetensors and are loaded from there only.
//!
//! The copies lie in `weights` inside of the data folder: `$GAV_DATA`, or `gav` in the platform's folder for application data. Each holds
//! the tensors of one [`Part`] as f32 and, as metadata `gav`, a [`Manifest`] that says which file it was made from.

mod known;

use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;
use gav_formats::{
    Source,
    sink::write_file_atomically,
    weights::{Limits, TensorMap, read},
};
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

pub use known::{KnownFile, Part};

use crate::{Error, Result};

/// The folder of what the user added to this program: `$GAV_DATA`, or `gav` in the platform's folder for application data.
///
/// # Errors
/// When there is neither `GAV_DATA` nor a home folder.
pub fn data_folder() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("GAV_DATA").filter(|value| !value.is_empty()) {
        return Ok(folder.into());
    }
    let base = etcetera::choose_base_strategy()
        .map_err(|_| Error::usage("there is no home folder for data; set GAV_DATA to a folder"))?;
    Ok(base.data_dir().join("gav"))
}

/// A folder of converted weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    folder: PathBuf,
}

/// Which file a stored copy was made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// What it is.
    pub part: Part,
    /// Name of the file it was made from, without folders.
    pub source: String,
    /// SHA-256 of that file in hexadecimal.
    pub sha256: String,
    /// Container of that file, such as `PyTorch (zip)`.
    pub container: String,
    /// True when the hash is that of a published file.
    pub official: bool,
}

/// What [`Store::add`] did with one network of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// The copy.
    pub path: PathBuf,
    /// Its origin.
    pub manifest: Manifest,
    /// True when a copy made from the same file was there already; it is left alone.
    pub unchanged: bool,
}

impl Store {
    /// The store of the user; see the module for where it is.
    ///
    /// # Errors
    /// When there is neither `GAV_DATA` nor a home folder.
    pub fn user() -> Result<Self> {
        Ok(Self::at(data_folder()?.join("weights")))
    }

    /// A store in any folder, which need not exist yet.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The folder of the copies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn path(&self, part: Part) -> PathBuf {
        self.folder.join(format!("{}.safetensors", part.id()))
    }

    /// The copy of these weights.
    ///
    /// # Errors
    /// [`Error::MissingWeights`], whose hint says which file to fetch from where.
    pub fn find(&self, part: Part) -> Result<PathBuf> {
        let path = self.path(part);
        if path.is_file() { Ok(path) } else { Err(Error::MissingWeights { part, folder: self.folder.clone() }) }
    }

    /// Maps the copy of these weights; read it with [`Store::tensors`].
    ///
    /// # Errors
    /// As [`Store::find`]; I/O.
    pub fn open(&self, part: Part) -> Result<Source> {
        Ok(Source::open(self.find(part)?)?)
    }

    /// The tensors of an opened copy.
    ///
    /// # Errors
    /// When the file is no safetensors file or has no manifest.
    pub fn tensors(source: &Source) -> Result<TensorMap<'_>> {
        let tensors = read(source, &Limits::default())?;
        manifest_of(source, &tensors)?;
        Ok(tensors)
    }

    /// Where the copy of these weights came from; `None` when there is none.
    ///
    /// # Errors
    /// I/O, and copies that cannot be read.
    pub fn manifest(&self, part: Part) -> Result<Option<Manifest>> {
        let path = self.path(part);
        if !path.is_file() {
            return Ok(None);
        }
        let source = Source::open(&path)?;
        manifest_of(&source, &read(&source, &Limits::default())?).map(Some)
    }

    /// Converts every known network of the weight file at `path`, each into its copy.
    ///
    /// # Errors
    /// Those of [`read`]; [`Error::Usage`](gav_formats::Error::Usage) when no known network is inside; [`Error::Tensors`] when one is
    /// incomplete. Copies that were there before stay.
    pub fn add(&self, path: impl AsRef<Path>) -> Result<Vec<Added>> {
        let path = path.as_ref();
        let source = Source::open(path)?;
        let tensors = read(&source, &Limits::default())?;
        let parts = Part::inside(&tensors);
        if parts.is_empty() {
            let example = tensors.tensors.keys().next().map_or_else(String::new, |name| format!(", such as `{name}`"));
            let count = tensors.tensors.len();
            return Err(Error::usage(format!(
                "no known network in this {} file of {count} tensors{example}",
                tensors.container
            )));
        }
        let sha256: String = Sha256::digest(&*source).iter().map(|byte| format!("{byte:02x}")).collect();
        let mut added = Vec::new();
        for part in parts {
            let manifest = Manifest {
                part,
                source: source.name(),
                sha256: sha256.clone(),
                container: tensors.container.to_owned(),
                official: part.files().iter().any(|file| file.has_hash(&sha256)),
            };
            let target = self.path(part);
            // a copy that cannot be read is simply made again
            let old = self.manifest(part).ok().flatten();
            let unchanged = old.is_some_and(|old| old.sha256 == sha256);
            if !unchanged {
                write_copy(&target, &tensors, &manifest)?;
            }
            added.push(Added { path: target, manifest, unchanged });
        }
        Ok(added)
    }
}

/// Writes the tensors that the network uses, as f32.
fn write_copy(target: &Path, tensors: &TensorMap<'_>, manifest: &Manifest) -> Result<()> {
    let bound = manifest.part.bind(tensors)?;
    let mut names = Map::new();
    let mut data = Vec::new();
    for name in &bound.names {
        let full = format!("{}{name}", bound.prefix);
        let tensor = tensors.get(&full).ok_or_else(|| Error::usage(format!("tensor `{full}` is gone")))?;
        let bytes: Vec<u8> = tensor.to_f32().iter().flat_map(|value| value.to_le_bytes()).collect();
        data.push((name.clone(), tensor.shape().to_vec(), bytes));
        names.insert(name.clone(), Value::String(full));
    }
    let about = json!({
        "version": 1,
        "part": manifest.part.id(),
        "source": manifest.source,
        "sha256": manifest.sha256,
        "container": manifest.container,
        "official": manifest.official,
        "preprocessing": manifest.part.preprocessing(),
        "tensors": names,
    });
    let broken = |e: &dyn std::fmt::Display| Error::usage(format!("the tensors cannot be written: {e}"));
    let views = data.iter().map(|(name, shape, bytes)| {
        TensorView::new(Dtype::F32, shape.clone(), bytes).map(|view| (name.as_str(), view))
    });
    let views = views.collect::<Result<Vec<_>, _>>().map_err(|e| broken(&e))?;
    let metadata = [("gav".to_owned(), about.to_string())].into_iter().collect();
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(|e| broken(&e))?;
    Ok(write_file_atomically(target, |sink| Ok(sink.write_all(&bytes)?))?)
}

fn manifest_of(source: &Source, tensors: &TensorMap<'_>) -> Result<Manifest> {
    let parse = || {
        let about: Value = serde_json::from_str(tensors.metadata.get("gav")?).ok()?;
        let text = |key: &str| Some(about.get(key)?.as_str()?.to_owned());
        Some(Manifest {
            part: Part::from_id(&text("part")?)?,
            source: text("source")?,
            sha256: text("sha256")?,
            container: text("container")?,
            official: about.get("official")?.as_bool()?,
        })
    };
    parse().ok_or_else(|| {
        let message = "no manifest: this is no copy made by `gav weights add`";
        let error = gav_formats::Error::format("weights", "HEADER", 0, message);
        match source.path() {
            Some(path) => Error::usage(format!("{}: {error}", path.display())),
            None => error.into(),
        }
    })
}
