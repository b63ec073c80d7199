//! All of a training in a file, to go on from: safetensors with JSON in its metadata.

use std::path::Path;

use super::{Options, Shape, State, model::TENSORS};
use crate::{
    Result,
    saved::{self, Reader, Writer, json},
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

impl Checkpoint {
    /// Writes the file; one that is there stays whole until the new one is.
    ///
    /// # Errors
    /// What the disk fails in.
    pub fn write(&self, path: &Path) -> Result<()> {
        let state = &self.state;
        let mut file = Writer::default();
        TENSORS.iter().zip(&state.tensors).for_each(|(name, tensor)| file.tensor(name, tensor));
        file.floats("barycentrics", state.barycentrics.as_flattened());
        file.words("triangles", &state.triangles);
        file.bytes("initialized", state.initialized.iter().map(|v| u8::from(*v)).collect());
        let metadata = [
            ("format".to_owned(), FORMAT.to_owned()),
            ("options".to_owned(), json(&self.options)?),
            ("progress".to_owned(), json(&self.progress)?),
            ("capture".to_owned(), self.capture.clone()),
            ("counts".to_owned(), json(&(state.steps, state.images))?),
        ];
        file.finish(path, metadata.into())
    }

    /// Reads a file that [`Checkpoint::write`] wrote.
    ///
    /// # Errors
    /// Files that are something else, or whose parts do not belong together.
    pub fn read(path: &Path) -> Result<Self> {
        let source = saved::open(path)?;
        let file = Reader::new(path, &source, FORMAT)?;
        let options: Options = file.value("options")?;
        let (steps, images) = file.value("counts")?;
        let triangles = file.words("triangles")?;
        let shape = Shape::new(&options.model, triangles.len());
        let barycentrics = file.floats("barycentrics")?;
        let initialized: Vec<bool> = file.bytes("initialized")?.iter().map(|v| *v != 0).collect();
        if (initialized.len(), barycentrics.len()) != (triangles.len(), 3 * triangles.len()) {
            return Err(file.wrong("`initialized` or `barycentrics` is of other splats"));
        }
        let mut tensors: [Tensor; 9] = Default::default();
        for ((name, length), slot) in TENSORS.iter().zip(shape.lengths()).zip(&mut tensors) {
            *slot = file.tensor(name)?;
            if slot.values.len() != length {
                return Err(file.wrong(&format!("`{name}` has {} numbers, {length} expected", slot.values.len())));
            }
        }
        let barycentrics = barycentrics.as_chunks::<3>().0.to_vec();
        let state = State { shape, triangles, barycentrics, tensors, initialized, steps, images };
        Ok(Self { options, progress: file.value("progress")?, state, capture: file.said("capture")?.to_owned() })
    }
}
