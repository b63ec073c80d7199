//! [`crate::knn`] on a device.

use std::sync::Arc;

use cudarc::driver::DeviceRepr;

use super::{
    Buffer, CudaError, Device,
    device::{Kernel, Source},
};

pub(super) const SOURCE: [(&str, &str); 1] = [("knn.cu", include_str!("../../cuda/knn.cu"))];

/// Most neighbours of one query: they are kept in registers.
pub const MOST: usize = 16;

/// Queries of a block.
const BLOCK: usize = 256;

#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct KnnArgs {
    queries: u64,
    points: u64,
    indices: u64,
    squares: u64,
    query_count: u32,
    point_count: u32,
    skip_self: u32,
    pad: u32,
}
// SAFETY: plain numbers in C layout
unsafe impl DeviceRepr for KnnArgs {}

/// The `k` nearest points of so many queries, the same as [`crate::knn::knn`] finds.
pub struct Search {
    device: Arc<Device>,
    kernel: Kernel,
    queries: usize,
    /// Numbers of the points, Q × k.
    pub indices: Buffer<u32>,
    /// Squared distances, Q × k.
    pub squares: Buffer<f32>,
}

impl Search {
    /// For `queries` queries and `k` neighbours each.
    ///
    /// # Errors
    /// [`CudaError::Usage`] when `k` is 0 or beyond [`MOST`]; when memory runs out.
    pub fn new(device: &Arc<Device>, queries: usize, k: usize) -> Result<Self, CudaError> {
        if k == 0 || k > MOST {
            return Err(CudaError::Usage(format!("{k} neighbours: from 1 to {MOST}")));
        }
        let source = Source { parts: &SOURCE, defines: &[("K", k as i32)] };
        Ok(Self {
            kernel: Kernel { name: "knn", function: device.function("knn", &source)? },
            queries,
            indices: Buffer::new(device, queries * k)?,
            squares: Buffer::new(device, queries * k)?,
            device: Arc::clone(device),
        })
    }

    /// Enqueues the search among `points` (P × 3) for every one of `queries` (Q × 3). With `skip_self`, query i is point i
    /// and not its own neighbour.
    ///
    /// # Errors
    /// [`CudaError::Usage`] when the number of queries is another, [`CudaError::TooLarge`] beyond 2³² − 1 numbers.
    pub fn run(&mut self, queries: &Buffer<f32>, points: &Buffer<f32>, skip_self: bool) -> Result<(), CudaError> {
        for (what, buffer) in [("numbers of queries", queries), ("numbers of points", points)] {
            if buffer.len() > u32::MAX as usize {
                return Err(CudaError::TooLarge { what, size: buffer.len() as u64, limit: u32::MAX.into() });
            }
        }
        if queries.len() != self.queries * 3 {
            return Err(CudaError::Usage(format!("{} numbers for {} queries", queries.len(), self.queries)));
        }
        let args = KnnArgs {
            queries: queries.pointer(),
            points: points.pointer(),
            indices: self.indices.pointer(),
            squares: self.squares.pointer(),
            query_count: self.queries as u32,
            point_count: (points.len() / 3) as u32,
            skip_self: skip_self.into(),
            pad: 0,
        };
        // SAFETY: the layout is the kernel's, and the arrays have the sizes that it is told
        unsafe { self.device.launch(&self.kernel, [self.queries.div_ceil(BLOCK), 1], 128, &args) }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_layout_has_the_size_of_the_kernel() {
        assert_eq!(size_of::<super::KnnArgs>(), 48);
    }
}
