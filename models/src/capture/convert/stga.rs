//! VHAP as STGA: a mesh and a list of faces for each time step, points on the neutral face, cameras with their principal points.

use gav_formats::{
    Pose,
    npy::{NpyArray, write_npy},
};
use serde_json::{Value, json};

use super::{Conversion, Step, Written, cameras::stga_frame, ending};
use crate::{
    Error, Result,
    capture::{FILES, POINTS_FILE, Split, expression_faces, neutral, point_grid, points_ply, stga::mesh_json},
};

/// Points along an edge of a face but one: corners and middles.
const GRID: u32 = 2;
/// Colour of the points, of which nothing is known: mid grey.
const GREY: [u8; 3] = [128; 3];

impl Conversion<'_> {
    pub(super) fn write_stga(&self, step: &Step, pose: &Pose) -> Result<Written> {
        let body = self.body;
        let vertices = body.pose(&body.parameters(&[], pose)?).vertices;
        if let Some(v) = vertices.iter().position(|v| !v.iter().all(|x| x.is_finite())) {
            let message = format!("{}: vertex {v} of the posed mesh is not finite", step.tracked.display());
            return Err(Error::usage(message));
        }
        let faces = expression_faces(body, pose, &self.options.selection)?;
        let share = faces.len() as f64 / body.faces().len().max(1) as f64;
        let mut written = Written { selected: Some(share), ..Written::default() };
        for &index in &step.views {
            let view = &self.view(index).1;
            let Some(from) = &view.image else {
                return Err(Error::usage(format!("view `{}` names no picture", view.camera.name)));
            };
            let (picture, mask) = self.names(step, index);
            self.place(&mut written, picture, from, view)?;
            if let (Some(name), Some(from)) = (mask, &view.mask) {
                self.place(&mut written, name, from, view)?;
            }
        }
        let numbers: Vec<i64> = faces.iter().map(|f| i64::from(*f)).collect();
        let list = write_npy(&NpyArray::from_i64(vec![numbers.len()], &numbers));
        self.put(&mut written, format!("training_faces/{:04}.npy", step.number), &list)?;
        let mesh = mesh_json(&vertices, body.faces());
        self.put(&mut written, format!("meshes/mesh_{:04}.json", step.number), &mesh)?;
        Ok(written)
    }

    pub(super) fn finish_stga(&self, steps: &[&Step], identity: &Pose) -> Result<()> {
        let (vertices, faces) = (neutral(self.body, identity)?, self.body.faces());
        let points = point_grid(&vertices, faces, GRID, GREY);
        self.put_last(POINTS_FILE, &points_ply(&points, &vertices, faces))?;
        for (split, file) in FILES {
            let mut frames: Vec<Value> = Vec::new();
            for step in steps {
                let mut views: Vec<usize> = step.views.iter().copied().filter(|v| self.view(*v).0 == split).collect();
                views.sort_by_key(|v| self.view(*v).1.camera_index);
                frames.extend(views.into_iter().map(|v| {
                    let (picture, mask) = self.names(step, v);
                    stga_frame(&self.view(v).1, step.number, &picture, mask.as_deref())
                }));
            }
            if split == Split::Train && frames.is_empty() {
                return Err(Error::usage("no view for training could be converted"));
            }
            self.put_last(file, json!({"frames": frames}).to_string().as_bytes())?;
        }
        Ok(())
    }

    /// Names of a view's picture and of its mask, where that is there.
    fn names(&self, step: &Step, index: usize) -> (String, Option<String>) {
        let view = &self.view(index).1;
        // views without numbers are counted within their time step
        let place = step.views.iter().position(|v| *v == index).unwrap_or(0) as u32;
        let camera = view.camera_index.unwrap_or(place);
        let name =
            |folder: &str, from: &std::path::Path| format!("{folder}/{:05}_{camera:02}.{}", step.number, ending(from));
        let picture = view.image.as_deref().map(|from| name("images", from)).unwrap_or_default();
        (picture, view.mask.as_deref().filter(|m| m.is_file()).map(|from| name("fg_masks", from)))
    }
}
