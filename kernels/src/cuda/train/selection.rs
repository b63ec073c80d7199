//! Which splats train.

use std::sync::Arc;

use super::super::{Buffer, CudaError, Device};

/// Some of N splats, as a list and as flags.
pub struct Selection {
    rows: Buffer<u32>,
    flags: Buffer<u32>,
    count: usize,
}

impl std::fmt::Debug for Selection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Selection({} of {})", self.count, self.total())
    }
}

impl Selection {
    /// All of `total` splats.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn all(device: &Arc<Device>, total: usize) -> Result<Self, CudaError> {
        Ok(Self {
            rows: Buffer::from_slice(device, &(0..total as u32).collect::<Vec<_>>())?,
            flags: Buffer::from_slice(device, &vec![1; total])?,
            count: total,
        })
    }

    /// Those with a number other than 0 in `flags`, one for each splat.
    ///
    /// # Errors
    /// [`CudaError::Usage`] for another number of flags.
    pub fn set(&mut self, flags: &[u32]) -> Result<(), CudaError> {
        if flags.len() != self.total() {
            return Err(CudaError::Usage(format!("{} flags for {} splats", flags.len(), self.total())));
        }
        let rows: Vec<u32> = (0..flags.len() as u32).filter(|row| flags[*row as usize] != 0).collect();
        self.count = rows.len();
        self.flags.write(flags)?;
        self.rows.write(&rows)
    }

    /// Splats that train.
    pub fn len(&self) -> usize {
        self.count
    }

    /// True when none trains.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// All splats, N.
    pub fn total(&self) -> usize {
        self.flags.len()
    }

    /// True when every splat trains.
    pub fn is_all(&self) -> bool {
        self.count == self.total()
    }

    /// A number for each splat, 0 or not.
    pub fn flags(&self) -> &Buffer<u32> {
        &self.flags
    }

    /// Address of the ascending list.
    pub(in super::super) fn rows(&self) -> u64 {
        self.rows.pointer()
    }
}
