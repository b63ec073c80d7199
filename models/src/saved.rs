//! Files of trainings: safetensors with text in the metadata, written whole or not at all.

use std::{collections::HashMap, path::Path};

use gav_formats::{Source, sink::write_file_atomically};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::{Error, Result, stga::Tensor};

/// Bytes of a file: 64 million splats with all harmonics and Adam's memory are 45 GB.
const MOST: u64 = 64 << 30;

/// Arrays to be written.
#[derive(Default)]
pub(crate) struct Writer(Vec<(String, Dtype, Vec<u8>)>);

impl Writer {
    pub fn floats(&mut self, name: &str, values: &[f32]) {
        self.0.push((name.to_owned(), Dtype::F32, values.iter().flat_map(|v| v.to_le_bytes()).collect()));
    }

    pub fn words(&mut self, name: &str, values: &[u32]) {
        self.0.push((name.to_owned(), Dtype::U32, values.iter().flat_map(|v| v.to_le_bytes()).collect()));
    }

    pub fn bytes(&mut self, name: &str, values: Vec<u8>) {
        self.0.push((name.to_owned(), Dtype::U8, values));
    }

    /// Parameters and Adam's memory: `NAME.values`, `NAME.means`, `NAME.squares`.
    pub fn tensor(&mut self, name: &str, tensor: &Tensor) {
        for (part, values) in [("values", &tensor.values), ("means", &tensor.means), ("squares", &tensor.squares)] {
            self.floats(&format!("{name}.{part}"), values);
        }
    }

    /// Writes the file; one that is there stays whole until the new one is.
    ///
    /// # Errors
    /// What the disk fails in.
    pub fn finish(self, path: &Path, metadata: HashMap<String, String>) -> Result<()> {
        let wrong = |e: safetensors::SafeTensorError| Error::usage(format!("a checkpoint cannot be written: {e}"));
        let views = self.0.iter().map(|(name, dtype, bytes)| {
            let count = bytes.len() * 8 / dtype.bitsize();
            Ok((name.as_str(), TensorView::new(*dtype, vec![count], bytes).map_err(wrong)?))
        });
        let bytes = safetensors::serialize(views.collect::<Result<Vec<_>>>()?, Some(metadata)).map_err(wrong)?;
        write_file_atomically(path, |file| file.write_all(&bytes).map_err(|e| gav_formats::Error::io(path, e)))?;
        Ok(())
    }
}

/// A value as JSON.
///
/// # Errors
/// Values that JSON has no words for.
pub(crate) fn json<T: serde::Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::usage(format!("a checkpoint cannot be written: {e}")))
}

/// An open file.
pub(crate) struct Reader<'a> {
    path: &'a Path,
    tensors: SafeTensors<'a>,
    metadata: HashMap<String, String>,
}

/// Opens a file of a training.
///
/// # Errors
/// Files that cannot be read, and too large ones.
pub(crate) fn open(path: &Path) -> Result<Source> {
    let source = Source::open(path)?;
    if source.len() as u64 > MOST {
        return Err(Error::usage(format!("{}: too large for a checkpoint", path.display())));
    }
    Ok(source)
}

impl<'a> Reader<'a> {
    /// # Errors
    /// Files that are something else, or of another `format`.
    pub fn new(path: &'a Path, source: &'a [u8], format: &str) -> Result<Self> {
        let wrong = |what: String| Error::usage(format!("{}: no checkpoint of a training: {what}", path.display()));
        let (_, header) = SafeTensors::read_metadata(source).map_err(|e| wrong(e.to_string()))?;
        let tensors = SafeTensors::deserialize(source).map_err(|e| wrong(e.to_string()))?;
        let reader = Self { path, tensors, metadata: header.metadata().clone().unwrap_or_default() };
        match reader.said("format")? {
            found if found == format => Ok(reader),
            other => Err(wrong(format!("it is `{other}`, `{format}` was expected"))),
        }
    }

    /// The error of this file.
    pub fn wrong(&self, what: &str) -> Error {
        Error::usage(format!("{}: no checkpoint of a training: {what}", self.path.display()))
    }

    /// # Errors
    /// Keys that are not there.
    pub fn said(&self, key: &str) -> Result<&str> {
        self.metadata.get(key).map(String::as_str).ok_or_else(|| self.wrong(&format!("`{key}` is missing")))
    }

    /// # Errors
    /// Keys that are not there or say something else.
    pub fn value<T: serde::de::DeserializeOwned>(&self, key: &str) -> Result<T> {
        serde_json::from_str(self.said(key)?).map_err(|e| self.wrong(&format!("`{key}`: {e}")))
    }

    pub fn has(&self, name: &str) -> bool {
        self.tensors.tensor(name).is_ok()
    }

    fn data(&self, name: &str, dtype: Dtype) -> Result<&'a [u8]> {
        let view = self.tensors.tensor(name).map_err(|e| self.wrong(&e.to_string()))?;
        if view.dtype() != dtype {
            return Err(self.wrong(&format!("`{name}` is not {dtype:?}")));
        }
        Ok(view.data())
    }

    /// # Errors
    /// Arrays that are not there or of another type.
    pub fn floats(&self, name: &str) -> Result<Vec<f32>> {
        Ok(self.data(name, Dtype::F32)?.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
    }

    /// # Errors
    /// As [`Reader::floats`].
    pub fn words(&self, name: &str) -> Result<Vec<u32>> {
        Ok(self.data(name, Dtype::U32)?.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect())
    }

    /// # Errors
    /// As [`Reader::floats`].
    pub fn bytes(&self, name: &str) -> Result<&'a [u8]> {
        self.data(name, Dtype::U8)
    }

    /// # Errors
    /// As [`Reader::floats`]; parts that differ in length.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        let [values, means, squares] =
            ["values", "means", "squares"].map(|part| self.floats(&format!("{name}.{part}")));
        let tensor = Tensor { values: values?, means: means?, squares: squares? };
        let count = tensor.values.len();
        if (tensor.means.len(), tensor.squares.len()) != (count, count) {
            return Err(self.wrong(&format!("the parts of `{name}` differ in length")));
        }
        Ok(tensor)
    }
}
