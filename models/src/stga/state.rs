//! What is trained, with Adam's memory of it.

use gav_formats::{Splats, conventions::sh_rest_count};

/// Numbers of parameters with what Adam remembers of each.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tensor {
    /// The parameters.
    pub values: Vec<f32>,
    /// Means of their gradients.
    pub means: Vec<f32>,
    /// Means of the squares.
    pub squares: Vec<f32>,
}

impl Tensor {
    /// Parameters of which nothing has been learned yet.
    pub fn new(values: Vec<f32>) -> Self {
        let zeros = vec![0.0; values.len()];
        Self { values, means: zeros.clone(), squares: zeros }
    }

    /// Rows of `width` numbers, taken over from the rows named; `fresh` ones begin without memory.
    fn pick(&self, width: usize, rows: &[Row]) -> Self {
        let gather = |from: &[f32], keep: bool| -> Vec<f32> {
            let mut out = vec![0.0; rows.len() * width];
            for (to, row) in out.chunks_exact_mut(width.max(1)).zip(rows) {
                if keep || !row.fresh {
                    to.copy_from_slice(&from[row.from * width..][..width]);
                }
            }
            out
        };
        Self {
            values: gather(&self.values, true),
            means: gather(&self.means, false),
            squares: gather(&self.squares, false),
        }
    }
}

/// Where a splat comes from when density control has changed the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Its row before.
    pub from: usize,
    /// A copy, of which Adam remembers nothing.
    pub fresh: bool,
}

/// Names of the tensors of splats, in the order of [`State::splats`]; also those of a checkpoint.
pub const SPLAT_TENSORS: [&str; 6] = ["means", "rotations", "log_scales", "opacity_logits", "sh0", "sh_rest"];

/// Numbers of each splat in the tensors of [`SPLAT_TENSORS`].
pub fn widths(sh_degree: u8) -> [usize; 6] {
    [3, 4, 3, 1, 3, 3 * sh_rest_count(sh_degree)]
}

/// What density control looks at, since it last did.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Statistics {
    /// Sum over views of |∂L/∂centre|, the centre in normalised device coordinates (the picture is 2 wide and high), N.
    pub gradients: Vec<f32>,
    /// Views in which the splat was visible, N.
    pub counts: Vec<f32>,
    /// Largest half width on the screen, pixels, N.
    pub radii: Vec<f32>,
}

impl Statistics {
    /// Nothing seen yet.
    pub fn zeros(count: usize) -> Self {
        Self { gradients: vec![0.0; count], counts: vec![0.0; count], radii: vec![0.0; count] }
    }
}

/// Tracked parameters by time step: T rows each. Also their gradient.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tables {
    /// Expression coefficients, T × E.
    pub expression: Tensor,
    /// Axis-angle of every joint, T × J × 3.
    pub pose: Tensor,
    /// Metres, T × 3.
    pub translation: Tensor,
}

impl Tables {
    /// Names in a checkpoint, and the tensors.
    pub fn named(&self) -> [(&'static str, &Tensor); 3] {
        [("expression", &self.expression), ("pose", &self.pose), ("translation", &self.translation)]
    }

    /// The same to be changed.
    pub fn named_mut(&mut self) -> [(&'static str, &mut Tensor); 3] {
        [("expression", &mut self.expression), ("pose", &mut self.pose), ("translation", &mut self.translation)]
    }
}

/// N splats in the frames of their triangles, tracked parameters where they are trained, and Adam's memory.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct State {
    /// Triangle of each splat, N.
    pub triangles: Vec<u32>,
    /// Degree that `sh_rest` has room for.
    pub sh_degree: u8,
    /// Tensors of [`SPLAT_TENSORS`]: local centres N × 3, quaternions w x y z N × 4, logarithms of sizes N × 3, logits of opacities N,
    /// SH of degree 0 N × 3, and the others N × K × 3.
    pub splats: [Tensor; 6],
    /// Tracked parameters; empty when they are not trained.
    pub tables: Option<Tables>,
    /// Adam's steps so far.
    pub steps: u32,
    /// What density control will look at.
    pub statistics: Statistics,
}

impl State {
    /// Splats that nothing has been learned about yet.
    pub fn new(splats: &Splats, triangles: Vec<u32>, tables: Option<Tables>) -> Self {
        let flat = |rows: &[[f32; 3]]| Tensor::new(rows.as_flattened().to_vec());
        Self {
            statistics: Statistics::zeros(triangles.len()),
            triangles,
            sh_degree: splats.sh_degree,
            splats: [
                flat(&splats.means),
                Tensor::new(splats.rotations.as_flattened().to_vec()),
                flat(&splats.log_scales),
                Tensor::new(splats.opacity_logits.clone()),
                flat(&splats.sh0),
                Tensor::new(splats.sh_rest.clone()),
            ],
            tables,
            steps: 0,
        }
    }

    /// Number of splats.
    pub fn len(&self) -> usize {
        self.triangles.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.triangles.is_empty()
    }

    /// The splats as they are stored in an avatar, in the frames of their triangles.
    pub fn to_splats(&self) -> Splats {
        let [means, rotations, log_scales, logits, sh0, rest] = &self.splats;
        let triples = |t: &Tensor| t.values.as_chunks::<3>().0.to_vec();
        Splats {
            means: triples(means),
            rotations: rotations.values.as_chunks::<4>().0.to_vec(),
            log_scales: triples(log_scales),
            opacity_logits: logits.values.clone(),
            sh0: triples(sh0),
            sh_rest: rest.values.clone(),
            sh_degree: self.sh_degree,
        }
    }

    /// The splats of `rows`, in that order; statistics begin anew.
    #[must_use]
    pub fn pick(&self, rows: &[Row]) -> Self {
        let widths = widths(self.sh_degree);
        Self {
            triangles: rows.iter().map(|row| self.triangles[row.from]).collect(),
            sh_degree: self.sh_degree,
            splats: std::array::from_fn(|k| self.splats[k].pick(widths[k], rows)),
            tables: self.tables.clone(),
            steps: self.steps,
            statistics: Statistics::zeros(rows.len()),
        }
    }
}

/// What density control looks at.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Survey {
    /// Triangle of each splat, N.
    pub triangles: Vec<u32>,
    /// Local centres, N × 3.
    pub means: Vec<f32>,
    /// Quaternions, N × 4.
    pub rotations: Vec<f32>,
    /// Logarithms of sizes, N × 3.
    pub log_scales: Vec<f32>,
    /// Logits of opacities, N.
    pub opacity_logits: Vec<f32>,
    /// What was seen.
    pub statistics: Statistics,
}

/// What density control wants changed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// Another list of splats; what was seen is forgotten then.
    pub list: Option<NewList>,
    /// Logits above this become it, and Adam forgets all that it knew about opacities.
    pub cap: Option<f32>,
}

/// A list of splats made of those that there were.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NewList {
    /// Where each comes from.
    pub rows: Vec<Row>,
    /// Its local centre, N × 3.
    pub means: Vec<f32>,
    /// Logarithms of its sizes, N × 3.
    pub log_scales: Vec<f32>,
}

impl State {
    /// What density control looks at.
    pub fn survey(&self) -> Survey {
        let [means, rotations, log_scales, logits, ..] = &self.splats;
        Survey {
            triangles: self.triangles.clone(),
            means: means.values.clone(),
            rotations: rotations.values.clone(),
            log_scales: log_scales.values.clone(),
            opacity_logits: logits.values.clone(),
            statistics: self.statistics.clone(),
        }
    }

    /// The state with a plan carried out.
    #[must_use]
    pub fn changed(&self, plan: &Plan) -> Self {
        let mut out = match &plan.list {
            None => self.clone(),
            Some(list) => {
                let mut out = self.pick(&list.rows);
                out.splats[0].values.clone_from(&list.means);
                out.splats[2].values.clone_from(&list.log_scales);
                out
            }
        };
        if let Some(cap) = plan.cap {
            let logits = std::mem::take(&mut out.splats[3].values);
            out.splats[3] = Tensor::new(logits.into_iter().map(|v| v.min(cap)).collect());
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gav_formats::synthetic::random;

    #[test]
    fn picked_rows_keep_their_memory_and_copies_begin_without() {
        let splats = random(5, 1, 3).splats;
        let mut state = State::new(&splats, vec![4, 3, 2, 1, 0], None);
        for tensor in &mut state.splats {
            tensor.means.iter_mut().enumerate().for_each(|(i, v)| *v = i as f32 + 1.0);
        }
        let rows = [Row { from: 3, fresh: false }, Row { from: 0, fresh: true }, Row { from: 0, fresh: false }];
        let picked = state.pick(&rows);
        assert_eq!(picked.triangles, [1, 4, 4]);
        assert_eq!(picked.to_splats().means, [splats.means[3], splats.means[0], splats.means[0]]);
        assert_eq!(picked.splats[3].means, [4.0, 0.0, 1.0]);
        assert_eq!(picked.splats[5].values[..9], splats.sh_rest[27..36]);
        assert_eq!(state.to_splats(), splats);
    }
}
