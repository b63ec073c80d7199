//! All of a training in a file, to go on from: safetensors with JSON in its metadata.

use std::{borrow::Cow, collections::HashMap, path::Path};

use gav_formats::{Source, sink::write_file_atomically};
use safetensors::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};

use super::{Options, SPLAT_TENSORS, State, Statistics, Tables, Tensor, train::Evaluation, widths};
use crate::{Error, Result};

/// How far a training is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Steps so far, skipped ones too.
    pub step: u32,
    /// Steps left out because a gradient was not finite.
    pub skipped: u32,
    /// Of those the last ones, with no good step since.
    pub skipped_in_a_row: u32,
    /// Seconds of training in all sessions.
    pub seconds: f64,
    /// Results on held-out views.
    pub evaluations: Vec<Evaluation>,
}

/// What a training goes on from.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// How it was set up.
    pub options: Options,
    /// How far it is.
    pub progress: Progress,
    /// What it trains.
    pub state: State,
    /// Hash of the capture's views and meshes, so that another one is not taken for it.
    pub capture: String,
}

const FORMAT: &str = "gav training 1";
/// Parameters of a checkpoint: 64 million splats with all harmonics are 11 GB.
const MOST: u64 = 64 << 30;

struct Array<'a>(Cow<'a, [u8]>, Dtype, Vec<usize>);

impl View for Array<'_> {
    fn dtype(&self) -> Dtype {
        self.1
    }
    fn shape(&self) -> &[usize] {
        &self.2
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.0)
    }
    fn data_len(&self) -> usize {
        self.0.len()
    }
}

impl Checkpoint {
    /// Writes the file; one that is there stays whole until the new one is.
    ///
    /// # Errors
    /// What the disk fails in.
    pub fn write(&self, path: &Path) -> Result<()> {
        let state = &self.state;
        let mut arrays: Vec<(String, Array<'_>)> = Vec::new();
        let mut add = |name: String, values: &[f32]| {
            let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            arrays.push((name, Array(Cow::Owned(bytes), Dtype::F32, vec![values.len()])));
        };
        let mut tensor = |name: &str, tensor: &Tensor| {
            add(format!("{name}.values"), &tensor.values);
            add(format!("{name}.means"), &tensor.means);
            add(format!("{name}.squares"), &tensor.squares);
        };
        SPLAT_TENSORS.iter().zip(&state.splats).for_each(|(name, t)| tensor(name, t));
        if let Some(tables) = &state.tables {
            tables.named().into_iter().for_each(|(name, t)| tensor(name, t));
        }
        add("statistics.gradients".into(), &state.statistics.gradients);
        add("statistics.counts".into(), &state.statistics.counts);
        add("statistics.radii".into(), &state.statistics.radii);
        let bytes = state.triangles.iter().flat_map(|v| v.to_le_bytes()).collect();
        arrays.push(("triangles".into(), Array(Cow::Owned(bytes), Dtype::U32, vec![state.triangles.len()])));

        let json = |what: serde_json::Result<String>| what.map_err(|e| Error::usage(format!("a checkpoint: {e}")));
        let metadata: HashMap<String, String> = [
            ("format".to_owned(), FORMAT.to_owned()),
            ("options".to_owned(), json(serde_json::to_string(&self.options))?),
            ("progress".to_owned(), json(serde_json::to_string(&self.progress))?),
            ("capture".to_owned(), self.capture.clone()),
            ("steps".to_owned(), state.steps.to_string()),
            ("sh_degree".to_owned(), state.sh_degree.to_string()),
        ]
        .into();
        let bytes = safetensors::serialize(arrays, Some(metadata))
            .map_err(|e| Error::usage(format!("a checkpoint cannot be written: {e}")))?;
        write_file_atomically(path, |file| file.write_all(&bytes).map_err(|e| gav_formats::Error::io(path, e)))?;
        Ok(())
    }

    /// Reads a file that [`Checkpoint::write`] wrote.
    ///
    /// # Errors
    /// Files that are something else, or whose parts do not belong together.
    pub fn read(path: &Path) -> Result<Self> {
        let wrong = |what: &str| Error::usage(format!("{}: no checkpoint of a training: {what}", path.display()));
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
        let floats = |name: &str| -> Result<Vec<f32>> {
            let view = tensors.tensor(name).map_err(|e| wrong(&e.to_string()))?;
            if view.dtype() != Dtype::F32 {
                return Err(wrong(&format!("`{name}` is not f32")));
            }
            Ok(view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
        };
        let tensor = |name: &str| -> Result<Tensor> {
            let [values, means, squares] = ["values", "means", "squares"].map(|part| floats(&format!("{name}.{part}")));
            let tensor = Tensor { values: values?, means: means?, squares: squares? };
            let count = tensor.values.len();
            if (tensor.means.len(), tensor.squares.len()) != (count, count) {
                return Err(wrong(&format!("the parts of `{name}` differ in length")));
            }
            Ok(tensor)
        };
        let view = tensors.tensor("triangles").map_err(|e| wrong(&e.to_string()))?;
        if view.dtype() != Dtype::U32 {
            return Err(wrong("`triangles` are not u32"));
        }
        let triangles: Vec<u32> =
            view.data().chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let sh_degree: u8 = said("sh_degree")?.parse().map_err(|_| wrong("`sh_degree` is no number"))?;
        if sh_degree > 3 {
            return Err(wrong("`sh_degree` is above 3"));
        }
        let mut splats: [Tensor; 6] = Default::default();
        for ((name, width), slot) in SPLAT_TENSORS.iter().zip(widths(sh_degree)).zip(&mut splats) {
            *slot = tensor(name)?;
            if slot.values.len() != width * triangles.len() {
                return Err(wrong(&format!("`{name}` is not of {} splats", triangles.len())));
            }
        }
        let tables = if tensors.tensor("expression.values").is_ok() {
            Some(Tables {
                expression: tensor("expression")?,
                pose: tensor("pose")?,
                translation: tensor("translation")?,
            })
        } else {
            None
        };
        let [gradients, counts, radii] =
            ["gradients", "counts", "radii"].map(|part| floats(&format!("statistics.{part}")));
        let statistics = Statistics { gradients: gradients?, counts: counts?, radii: radii? };
        if [&statistics.gradients, &statistics.counts, &statistics.radii].iter().any(|v| v.len() != triangles.len()) {
            return Err(wrong("its statistics are of other splats"));
        }
        let steps = said("steps")?.parse().map_err(|_| wrong("`steps` is no number"))?;
        Ok(Self {
            options: serde_json::from_str(said("options")?).map_err(|e| wrong(&e.to_string()))?,
            progress: serde_json::from_str(said("progress")?).map_err(|e| wrong(&e.to_string()))?,
            state: State { triangles, sh_degree, splats, tables, steps, statistics },
            capture: said("capture")?.clone(),
        })
    }
}
