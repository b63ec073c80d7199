//! The pictures of a training in device memory, as bytes.

use std::sync::Arc;

use gav_kernels::cuda::{Buffer, Device};

use crate::{Result, capture::Pictures};

/// Pictures stay once they are there, as long as the budget lasts; the others are copied for every step.
pub(super) struct Stock {
    pictures: Vec<Option<Buffer<u8>>>,
    budget: u64,
    held: u64,
    passing: Option<Buffer<u8>>,
}

impl Stock {
    pub fn new(views: usize, budget: u64) -> Self {
        Self { pictures: (0..views).map(|_| None).collect(), budget, held: 0, passing: None }
    }

    /// Bytes that are kept.
    pub fn bytes(&self) -> u64 {
        self.held
    }

    /// The picture of a view, height × width × 3.
    pub fn get(&mut self, device: &Arc<Device>, pictures: &Pictures, view: usize) -> Result<&Buffer<u8>> {
        if self.pictures[view].is_none() {
            let picture = pictures.get(view)?;
            let bytes = picture.rgb.len() as u64;
            if self.held + bytes > self.budget {
                if self.passing.as_ref().is_none_or(|p| p.len() != picture.rgb.len()) {
                    self.passing = Some(Buffer::new(device, picture.rgb.len())?);
                }
                let passing = self.passing.as_mut().expect("it was made above");
                passing.write(&picture.rgb)?;
                return Ok(passing);
            }
            self.held += bytes;
            self.pictures[view] = Some(Buffer::from_slice(device, &picture.rgb)?);
        }
        Ok(self.pictures[view].as_ref().expect("it was put there above"))
    }
}
