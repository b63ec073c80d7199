//! All of a training in a file, to go on from: safetensors with JSON in its metadata.

use std::{collections::HashMap, path::Path};

use gav_formats::{Source, sink::write_file_atomically};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use super::{Options, Shape, State, model::TENSORS};
use crate::{
    Error, Result,
    stga::{Progress, Tensor},
};

/// What a training goes on from.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// How it was set up.
    pub options: Options,
    /// How far it is.
    pub progress: Progress,
    /// What it trains.
    pub state: State,
    /// Hash of the capture ([`super::Dataset::fingerprint`]), so that another one is not taken for it.
    pub capture: String,
}

const FORMAT: &str = "gav rgbavatar training 1";
/// Bytes of a checkpoint: 16 million splats of 20 bases are 41 GB.
const MOST: u64 = 64 << 30;

impl Checkpoint {
    /// Writes the file; one that is there stays whole until the new one is.
    ///
    /// # Errors
    /// What the disk fails in.
    pub fn write(&self, path: &Path) -> Result<()> {
        let state = &self.state;
        let wrong = |e: String| Error::usage(format!("a checkpoint cannot be written: {e}"));
        let mut arrays: Vec<(String, Dtype, Vec<u8>)> = Vec::new();
        let bytes = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        for (name, tensor) in TENSORS.iter().zip(&state.tensors) {
            for (part, values) in [("values", &tensor.values), ("means", &tensor.means), ("squares", &tensor.squares)] {
                arrays.push((format!("{name}.{part}"), Dtype::F32, bytes(values)));
            }
        }
        arrays.push(("barycentrics".to_owned(), Dtype::F32, bytes(state.barycentrics.as_flattened())));
        let triangles = state.triangles.iter().flat_map(|v| v.to_le_bytes()).collect();
        arrays.push(("triangles".to_owned(), Dtype::U32, triangles));
        arrays.push(("initialized".to_owned(), Dtype::U8, state.initialized.iter().map(|v| u8::from(*v)).collect()));
        let views = arrays.iter().map(|(name, dtype, bytes)| {
            let count = bytes.len() * 8 / dtype.bitsize();
            Ok((name.as_str(), TensorView::new(*dtype, vec![count], bytes).map_err(|e| wrong(e.to_string()))?))
        });
        let views = views.collect::<Result<Vec<_>>>()?;
        let json = |what: serde_json::Result<String>| what.map_err(|e| wrong(e.to_string()));
        let metadata: HashMap<String, String> = [
            ("format".to_owned(), FORMAT.to_owned()),
            ("options".to_owned(), json(serde_json::to_string(&self.options))?),
            ("progress".to_owned(), json(serde_json::to_string(&self.progress))?),
            ("capture".to_owned(), self.capture.clone()),
            ("counts".to_owned(), json(serde_json::to_string(&(state.steps, state.images)))?),
        ]
        .into();
        let bytes = safetensors::serialize(views, Some(metadata)).map_err(|e| wrong(e.to_string()))?;
        write_file_atomically(path, |file| file.write_all(&bytes).map_err(|e| gav_formats::Error::io(path, e)))?;
        Ok(())
    }

    /// Reads a file that [`Checkpoint::write`] wrote.
    ///
    /// # Errors
    /// Files that are something else, or whose parts do not belong together.
    pub fn read(path: &Path) -> Result<Self> {
        let wrong = |what: &str| Error::usage(format!("{}: no checkpoint of RGBAvatar: {what}", path.display()));
        let source = Source::open(path)?;
        if source.len() as u64 > MOST {
            return Err(wrong("too large"));
        }
        let (_, header) = SafeTensors::read_metadata(&source).map_err(|e| wrong(&e.to_string()))?;
        let tensors = SafeTensors::deserialize(&source).map_err(|e| wrong(&e.to_string()))?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let said = |key: &str| metadata.get(key).ok_or_else(|| wrong(&format!("`{key}` is missing")));
        if said("format")? != FORMAT {
            return Err(wrong("another version"));
        }
        let options: Options = serde_json::from_str(said("options")?).map_err(|e| wrong(&e.to_string()))?;
        let progress = serde_json::from_str(said("progress")?).map_err(|e| wrong(&e.to_string()))?;
        let (steps, images) = serde_json::from_str(said("counts")?).map_err(|e| wrong(&e.to_string()))?;
        let data = |name: &str, dtype: Dtype| -> Result<&[u8]> {
            let view = tensors.tensor(name).map_err(|e| wrong(&e.to_string()))?;
            if view.dtype() != dtype {
                return Err(wrong(&format!("`{name}` is not {dtype:?}")));
            }
            Ok(view.data())
        };
        let floats = |name: &str, length: usize| -> Result<Vec<f32>> {
            let bytes = data(name, Dtype::F32)?.as_chunks::<4>().0;
            if bytes.len() != length {
                return Err(wrong(&format!("`{name}` has {} numbers, {length} expected", bytes.len())));
            }
            Ok(bytes.iter().map(|b| f32::from_le_bytes(*b)).collect())
        };
        let triangles: Vec<u32> =
            data("triangles", Dtype::U32)?.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
        let shape = Shape::new(&options.model, triangles.len());
        let barycentrics = floats("barycentrics", 3 * triangles.len())?.as_chunks::<3>().0.to_vec();
        let initialized: Vec<bool> = data("initialized", Dtype::U8)?.iter().map(|v| *v != 0).collect();
        if initialized.len() != triangles.len() {
            return Err(wrong("`initialized` is of other splats"));
        }
        let mut found: [Tensor; 9] = Default::default();
        for ((name, length), slot) in TENSORS.iter().zip(shape.lengths()).zip(&mut found) {
            let [values, means, squares] =
                ["values", "means", "squares"].map(|part| floats(&format!("{name}.{part}"), length));
            *slot = Tensor { values: values?, means: means?, squares: squares? };
        }
        let state = State { shape, triangles, barycentrics, tensors: found, initialized, steps, images };
        Ok(Self { options, progress, state, capture: said("capture")?.clone() })
    }
}
