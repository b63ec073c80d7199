//! PLY in all its dialects, compressed PLY, `.splat`, `.ksplat` and NumPy arrays: round trips, other people's files,
//! hostile bytes.

mod compressed;
mod dialects;
mod layer;
mod npy;
mod splat_files;
mod splats;
mod support;
