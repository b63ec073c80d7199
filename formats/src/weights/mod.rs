//! Weight files and pickles of scientific Python, read without executing anything in them.
//!
//! [`read`] gives the tensors of a network as views of the file, [`read_arrays`] copies of everything numeric in a file of data, also the
//! arrays of NumPy, SciPy and chumpy. Both recognise, by content:
//!
//! * safetensors;
//! * PyTorch since 1.6: a ZIP of one pickle and a member per storage; TorchScript archives likewise, their objects walked by attribute;
//! * PyTorch before 1.6: five pickles in a row, then the storages;
//! * PyTorch before 0.1.10: a TAR of pickles and storages;
//! * plain pickles: of `torch_utils.persistence` objects (StyleGAN), whose tensors carry a PyTorch file each, or of data;
//! * `.npy` and `.npz` ([`read_arrays`] only).
//!
//! `burn-store` and `pytorch-reader` read the second to fourth of these, but neither TorchScript nor persistence pickles nor files whose
//! root is no dictionary, so there is one reader of our own for all, on one pickle machine ([`pickle`]).

mod arrays;
pub mod pickle;
mod safetensors;
mod tensor;
#[cfg(test)]
mod tests;
mod torch;

pub use arrays::{Arrays, Entry, read_arrays, write_arrays};
pub use tensor::{Dtype, Tensor, TensorMap};

use crate::{Error, Result};

/// What reading a weight file may cost beyond the file itself.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Limits of each pickle.
    pub pickle: pickle::Limits,
    /// Bytes unpacked from compressed archive members.
    pub unpacked_bytes: u64,
    /// Bytes of all arrays and texts that [`read_arrays`] makes; one that is reached twice counts twice.
    pub array_bytes: u64,
    /// Nesting depth of objects that is followed.
    pub depth: u32,
    /// Values visited on the way to the tensors; a value reached twice counts twice.
    pub visits: u32,
}

impl Default for Limits {
    fn default() -> Self {
        // snapshots nest about 12 deep; 4 GiB is ten times the largest known detector
        Self {
            pickle: pickle::Limits::default(),
            unpacked_bytes: 4 << 30,
            array_bytes: 4 << 30,
            depth: 64,
            visits: 1 << 22,
        }
    }
}

/// All tensors of a weight file, by the path that leads to them, borrowed from `bytes` where they are stored plainly.
///
/// Names are those of `state_dict()` for modules: `layer.0.weight`; dictionaries, lists and attributes around them contribute their keys,
/// indices and names.
///
/// # Errors
/// `UNKNOWN_FORMAT` for anything else; the errors of the container and of [`pickle`]; `LAYOUT` for tensors that leave their storage.
pub fn read<'a>(bytes: &'a [u8], limits: &Limits) -> Result<TensorMap<'a>> {
    if safetensors::sniff(bytes) {
        safetensors::read(bytes)
    } else if torch::sniff(bytes) {
        torch::read(bytes, limits)
    } else {
        let message = "neither safetensors nor a PyTorch file nor a pickle";
        Err(Error::format("weights", "UNKNOWN_FORMAT", 0, message))
    }
}

/// The name of what `key` leads to inside of `prefix`.
fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") }
}
