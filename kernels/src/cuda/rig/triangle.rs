//! Splats bound to the triangles of a mesh that moves.

use std::sync::Arc;

use cudarc::driver::DeviceRepr;
use gav_formats::TriangleFrame;

use super::{
    super::{Buffer, CudaError, Device, device::Kernel, train::Selection},
    GeometryBuffers, THREADS, TRIANGLE, all_or_nothing, holds, kernel,
    lists::by_column,
};

/// Threads that share a face on the way back.
const WARP: usize = 32;

/// Which triangle each splat belongs to, and the triangles.
#[derive(Debug, Clone, Copy)]
pub struct BindingArrays<'a> {
    /// The frame's definition.
    pub frame: TriangleFrame,
    /// Vertices of the mesh V.
    pub vertices: usize,
    /// Vertex indices, F × 3.
    pub faces: &'a [[u32; 3]],
    /// Texture coordinates of the corners, F × 3 × 2; for [`TriangleFrame::RgbAvatar`] only.
    pub corner_uvs: &'a [[[f32; 2]; 3]],
    /// Triangle of each splat, N.
    pub triangles: &'a [u32],
    /// Barycentric coordinates of each splat's origin, N × 3; for [`TriangleFrame::RgbAvatar`] only.
    pub barycentrics: &'a [[f32; 3]],
}

/// A binding in device memory with room for a number of poses.
pub struct Binding {
    device: Arc<Device>,
    faces_kernel: Kernel,
    bind: Kernel,
    bind_backward: Kernel,
    faces_backward: Kernel,
    vertices_backward: Kernel,
    bind_rows: Kernel,
    bind_rows_backward: Kernel,
    faces: Buffer<u32>,
    uvs: Buffer<f32>,
    triangles: Buffer<u32>,
    barycentrics: Buffer<f32>,
    face_starts: Buffer<u32>,
    face_splats: Buffer<u32>,
    vertex_starts: Buffer<u32>,
    vertex_corners: Buffer<u32>,
    frames: Buffer<f32>,
    corners: Buffer<f32>,
    sizes: [usize; 3],
    capacity: usize,
}

/// The struct `Binding` of triangle.cu.
#[repr(C)]
#[derive(Clone, Copy)]
struct Arguments {
    vertices: u64,
    constants: [u64; 4],
    local: [u64; 3],
    frames: u64,
    out: [u64; 3],
    upstream: [u64; 3],
    by_local: [u64; 3],
    corners: u64,
    by_vertices: u64,
    lists: [u64; 4],
    sizes: [u32; 6],
}

// SAFETY: plain numbers in the layout of the kernel's parameter
unsafe impl DeviceRepr for Arguments {}

/// The struct `BindingRows` of triangle.cu.
#[repr(C)]
#[derive(Clone, Copy)]
struct RowArguments {
    binding: Arguments,
    rows: u64,
    count: u32,
    pad: u32,
}

// SAFETY: as above
unsafe impl DeviceRepr for RowArguments {}

impl std::fmt::Debug for Binding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Binding({} splats, {} faces, {} poses)", self.sizes[2], self.sizes[1], self.capacity)
    }
}

impl Binding {
    /// Copies a binding to the device and makes room for `poses` poses.
    ///
    /// # Errors
    /// [`CudaError::Usage`] for indices that do not exist and arrays that do not fit together; what the device fails in.
    pub fn new(device: &Arc<Device>, arrays: &BindingArrays<'_>, poses: usize) -> Result<Self, CudaError> {
        check(arrays)?;
        let frame = match arrays.frame {
            TriangleFrame::GaussianAvatars => 0,
            TriangleFrame::Stga => 1,
            TriangleFrame::RgbAvatar => 2,
        };
        let make = |name| kernel(device, name, &TRIANGLE, &[("FRAME", frame)]);
        let (faces, splats) = (arrays.faces.len(), arrays.triangles.len());
        let every = |width: usize, count: usize| (0..=count).map(|k| (k * width) as u32).collect::<Vec<_>>();
        let (face_starts, face_splats, _) = by_column(&every(1, splats), arrays.triangles, faces);
        let (vertex_starts, _, corners) = by_column(&every(3, faces), arrays.faces.as_flattened(), arrays.vertices);
        let corners: Vec<u32> = corners.into_iter().map(|k| k as u32).collect();
        Ok(Self {
            faces_kernel: make("faces")?,
            bind: make("bind")?,
            bind_backward: make("bind_backward")?,
            faces_backward: make("faces_backward")?,
            vertices_backward: make("vertices_backward")?,
            bind_rows: make("bind_rows")?,
            bind_rows_backward: make("bind_rows_backward")?,
            faces: Buffer::from_slice(device, arrays.faces.as_flattened())?,
            uvs: Buffer::from_slice(device, arrays.corner_uvs.as_flattened().as_flattened())?,
            triangles: Buffer::from_slice(device, arrays.triangles)?,
            barycentrics: Buffer::from_slice(device, arrays.barycentrics.as_flattened())?,
            face_starts: Buffer::from_slice(device, &face_starts)?,
            face_splats: Buffer::from_slice(device, &face_splats)?,
            vertex_starts: Buffer::from_slice(device, &vertex_starts)?,
            vertex_corners: Buffer::from_slice(device, &corners)?,
            frames: Buffer::new(device, 24 * poses * faces)?,
            corners: Buffer::new(device, 9 * poses * faces)?,
            sizes: [arrays.vertices, faces, splats],
            capacity: poses,
            device: Arc::clone(device),
        })
    }

    fn arguments(
        &self,
        poses: usize,
        vertices: &Buffer<f32>,
        local: &GeometryBuffers<'_>,
    ) -> Result<Arguments, CudaError> {
        let [vertex_count, faces, splats] = self.sizes;
        if poses > self.capacity {
            return Err(CudaError::Usage(format!("{poses} poses, there is room for {}", self.capacity)));
        }
        holds("posed vertices", vertices, 3 * poses * vertex_count)?;
        let own = local.own("local splats", poses, splats)?;
        let sizes = [vertex_count as u32, faces as u32, splats as u32, poses as u32, own, 0];
        Ok(Arguments { vertices: vertices.pointer(), sizes, ..self.one_pose(Some(local)) })
    }

    fn run(&self, kernel: &Kernel, rows: usize, poses: usize, arguments: &Arguments) -> Result<(), CudaError> {
        // SAFETY: `Arguments` is the kernels' parameter, and its arrays have the sizes it names
        unsafe { self.device.launch(kernel, [rows.div_ceil(THREADS as usize), poses], THREADS, arguments) }
    }

    /// Takes the splats from their triangles to the coordinates of the posed vertices (P × V × 3). Each array of `local` has N
    /// rows for all poses, or P × N; `out` gets P × N.
    ///
    /// # Errors
    /// Buffers that are too small, more poses than there is room for, and what the device fails in.
    pub fn forward(
        &self,
        poses: usize,
        vertices: &Buffer<f32>,
        local: &GeometryBuffers<'_>,
        out: &GeometryBuffers<'_>,
    ) -> Result<(), CudaError> {
        out.check("posed splats", poses * self.sizes[2])?;
        let arguments = Arguments { out: pointers(out), ..self.arguments(poses, vertices, local)? };
        self.run(&self.faces_kernel, self.sizes[1], poses, &arguments)?;
        self.run(&self.bind, self.sizes[2], poses, &arguments)
    }

    /// Gradients by the local splats (as many rows as they have) and by the vertices (P × V × 3), from those by the result of
    /// [`Binding::forward`], after it.
    ///
    /// # Errors
    /// As there.
    pub fn backward(
        &self,
        poses: usize,
        vertices: &Buffer<f32>,
        local: &GeometryBuffers<'_>,
        upstream: &GeometryBuffers<'_>,
        by_local: &GeometryBuffers<'_>,
        by_vertices: &Buffer<f32>,
    ) -> Result<(), CudaError> {
        let [vertex_count, faces, splats] = self.sizes;
        let arguments = self.arguments(poses, vertices, local)?;
        let own = all_or_nothing("local splats", arguments.sizes[4])?;
        upstream.check("gradients of posed splats", poses * splats)?;
        by_local.check("gradients of local splats", if own { poses * splats } else { splats })?;
        holds("gradients of vertices", by_vertices, 3 * poses * vertex_count)?;
        let arguments = Arguments {
            upstream: pointers(upstream),
            by_local: pointers(by_local),
            by_vertices: by_vertices.pointer(),
            ..arguments
        };
        self.run(&self.bind_backward, splats, if own { poses } else { 1 }, &arguments)?;
        self.run(&self.faces_backward, faces * WARP, poses, &arguments)?;
        self.run(&self.vertices_backward, vertex_count, poses, &arguments)
    }

    /// Enqueues the frames of the triangles of one pose (V × 3), which stay for [`Binding::bind`] and [`Binding::bind_rows`].
    ///
    /// # Errors
    /// Too few vertices, and what the device fails in.
    pub fn frames(&self, vertices: &Buffer<f32>) -> Result<(), CudaError> {
        holds("posed vertices", vertices, 3 * self.sizes[0])?;
        let arguments = Arguments { vertices: vertices.pointer(), ..self.one_pose(None) };
        self.run(&self.faces_kernel, self.sizes[1], 1, &arguments)
    }

    /// [`Binding::forward`] of one pose, whose frames are there.
    ///
    /// # Errors
    /// As there.
    pub fn bind(&self, local: &GeometryBuffers<'_>, out: &GeometryBuffers<'_>) -> Result<(), CudaError> {
        local.check("local splats", self.sizes[2])?;
        out.check("posed splats", self.sizes[2])?;
        self.run(&self.bind, self.sizes[2], 1, &Arguments { out: pointers(out), ..self.one_pose(Some(local)) })
    }

    /// [`Binding::bind`] of some splats; the others stay in `out` as they are.
    ///
    /// # Errors
    /// As there.
    pub fn bind_rows(
        &self,
        rows: &Selection,
        local: &GeometryBuffers<'_>,
        out: &GeometryBuffers<'_>,
    ) -> Result<(), CudaError> {
        local.check("local splats", self.sizes[2])?;
        out.check("posed splats", self.sizes[2])?;
        self.run_rows(&self.bind_rows, rows, Arguments { out: pointers(out), ..self.one_pose(Some(local)) })
    }

    /// Gradients by some local splats, from those by the result of [`Binding::bind`]; the others stay as they are. The mesh gets none.
    ///
    /// # Errors
    /// As there.
    pub fn bind_rows_backward(
        &self,
        rows: &Selection,
        local: &GeometryBuffers<'_>,
        upstream: &GeometryBuffers<'_>,
        by_local: &GeometryBuffers<'_>,
    ) -> Result<(), CudaError> {
        local.check("local splats", self.sizes[2])?;
        upstream.check("gradients of posed splats", self.sizes[2])?;
        by_local.check("gradients of local splats", self.sizes[2])?;
        let arguments =
            Arguments { upstream: pointers(upstream), by_local: pointers(by_local), ..self.one_pose(Some(local)) };
        self.run_rows(&self.bind_rows_backward, rows, arguments)
    }

    /// Arguments of one pose; without vertices, and without splats where there are none.
    fn one_pose(&self, local: Option<&GeometryBuffers<'_>>) -> Arguments {
        let [vertex_count, faces, splats] = self.sizes;
        let uvs = if self.uvs.is_empty() { 0 } else { self.uvs.pointer() };
        Arguments {
            vertices: 0,
            constants: [self.faces.pointer(), uvs, self.triangles.pointer(), self.barycentrics.pointer()],
            local: local.map_or([0; 3], pointers),
            frames: self.frames.pointer(),
            out: [0; 3],
            upstream: [0; 3],
            by_local: [0; 3],
            corners: self.corners.pointer(),
            by_vertices: 0,
            lists: [
                self.face_starts.pointer(),
                self.face_splats.pointer(),
                self.vertex_starts.pointer(),
                self.vertex_corners.pointer(),
            ],
            sizes: [vertex_count as u32, faces as u32, splats as u32, 1, 0, 0],
        }
    }

    fn run_rows(&self, kernel: &Kernel, rows: &Selection, binding: Arguments) -> Result<(), CudaError> {
        if rows.total() != self.sizes[2] {
            return Err(CudaError::Usage(format!("rows of {} splats, there are {}", rows.total(), self.sizes[2])));
        }
        let arguments = RowArguments { binding, rows: rows.rows(), count: rows.len() as u32, pad: 0 };
        // SAFETY: `RowArguments` is the kernels' parameter, and rows are below the number of splats
        unsafe { self.device.launch(kernel, [rows.len().div_ceil(THREADS as usize), 1], THREADS, &arguments) }
    }

    /// Addresses of the frames of the last pose's triangles, F × 24, and of the triangle of each splat.
    pub(in super::super) fn frames_and_triangles(&self) -> [u64; 2] {
        [self.frames.pointer(), self.triangles.pointer()]
    }

    /// Splats N.
    pub fn splat_count(&self) -> usize {
        self.sizes[2]
    }
}

fn pointers(buffers: &GeometryBuffers<'_>) -> [u64; 3] {
    [buffers.means, buffers.rotations, buffers.log_scales].map(Buffer::pointer)
}

fn check(arrays: &BindingArrays<'_>) -> Result<(), CudaError> {
    let (faces, splats) = (arrays.faces.len(), arrays.triangles.len());
    let wrong = |message: String| Err(CudaError::Usage(message));
    if let Some(v) = arrays.faces.as_flattened().iter().find(|v| **v as usize >= arrays.vertices) {
        return wrong(format!("a face names vertex {v} of {}", arrays.vertices));
    }
    if let Some(t) = arrays.triangles.iter().find(|t| **t as usize >= faces) {
        return wrong(format!("a splat is bound to triangle {t} of {faces}"));
    }
    let textured = arrays.frame == TriangleFrame::RgbAvatar;
    let expected = if textured { (faces, splats) } else { (0, 0) };
    let found = (arrays.corner_uvs.len(), arrays.barycentrics.len());
    if found != expected {
        return wrong(format!(
            "texture coordinates of {} faces and barycentric ones of {} splats, {} and {} expected",
            found.0, found.1, expected.0, expected.1
        ));
    }
    Ok(())
}
