//! All of a training in a file, to go on from: safetensors with JSON in its metadata.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Options, SPLAT_TENSORS, State, Statistics, Tables, Tensor, train::Evaluation, widths};
use crate::{
    Result,
    saved::{self, Reader, Writer, json},
};

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

impl Checkpoint {
    /// Writes the file; one that is there stays whole until the new one is.
    ///
    /// # Errors
    /// What the disk fails in.
    pub fn write(&self, path: &Path) -> Result<()> {
        let state = &self.state;
        let mut file = Writer::default();
        SPLAT_TENSORS.iter().zip(&state.splats).for_each(|(name, tensor)| file.tensor(name, tensor));
        if let Some(tables) = &state.tables {
            tables.named().into_iter().for_each(|(name, tensor)| file.tensor(name, tensor));
        }
        file.floats("statistics.gradients", &state.statistics.gradients);
        file.floats("statistics.counts", &state.statistics.counts);
        file.floats("statistics.radii", &state.statistics.radii);
        file.words("triangles", &state.triangles);
        let metadata = [
            ("format".to_owned(), FORMAT.to_owned()),
            ("options".to_owned(), json(&self.options)?),
            ("progress".to_owned(), json(&self.progress)?),
            ("capture".to_owned(), self.capture.clone()),
            ("steps".to_owned(), json(&state.steps)?),
            ("sh_degree".to_owned(), json(&state.sh_degree)?),
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
        let triangles = file.words("triangles")?;
        let sh_degree: u8 = file.value("sh_degree")?;
        if sh_degree > 3 {
            return Err(file.wrong("`sh_degree` is above 3"));
        }
        let mut splats: [Tensor; 6] = Default::default();
        for ((name, width), slot) in SPLAT_TENSORS.iter().zip(widths(sh_degree)).zip(&mut splats) {
            *slot = file.tensor(name)?;
            if slot.values.len() != width * triangles.len() {
                return Err(file.wrong(&format!("`{name}` is not of {} splats", triangles.len())));
            }
        }
        let tables = if file.has("expression.values") {
            Some(Tables {
                expression: file.tensor("expression")?,
                pose: file.tensor("pose")?,
                translation: file.tensor("translation")?,
            })
        } else {
            None
        };
        let [gradients, counts, radii] =
            ["gradients", "counts", "radii"].map(|part| file.floats(&format!("statistics.{part}")));
        let statistics = Statistics { gradients: gradients?, counts: counts?, radii: radii? };
        if [&statistics.gradients, &statistics.counts, &statistics.radii].iter().any(|v| v.len() != triangles.len()) {
            return Err(file.wrong("its statistics are of other splats"));
        }
        Ok(Self {
            options: file.value("options")?,
            progress: file.value("progress")?,
            state: State { triangles, sh_degree, splats, tables, steps: file.value("steps")?, statistics },
            capture: file.said("capture")?.to_owned(),
        })
    }
}
