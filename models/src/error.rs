//! The one error type of this crate.

use std::path::PathBuf;

use crate::weights::store::Part;

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong while loading weights and templates and evaluating them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read or written, or the request makes no sense.
    #[error(transparent)]
    File(#[from] gav_formats::Error),
    /// The user has not added these weights yet.
    #[error("the weights `{}` ({}) are not in {}", part.id(), part.title(), folder.display())]
    MissingWeights {
        /// What is missing.
        part: Part,
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// The user has not added the template of an avatar yet.
    #[error("no template in {} fits: {wanted} is needed{}", folder.display(), listed(near))]
    MissingTemplate {
        /// What the avatar asks for, with its counts.
        wanted: String,
        /// Where it can be had, if the avatar says so.
        how_to_obtain: String,
        /// Where it was looked for.
        folder: PathBuf,
        /// Templates that are there, and why each does not fit.
        near: Vec<String>,
    },
    /// A picture cannot be read.
    #[error("{}: {source}", path.display())]
    Picture {
        /// The picture.
        path: PathBuf,
        /// What is wrong with it.
        source: gav_formats::Error,
    },
    /// A CUDA device failed.
    #[error(transparent)]
    Device(#[from] gav_kernels::cuda::CudaError),
    /// A weight file does not hold the tensors of the network.
    #[error("{network}: {} of its tensors do not fit: {}", problems.len(), shortened(problems))]
    Tensors {
        /// The network that was to be filled.
        network: String,
        /// One line per tensor that is missing or has another shape.
        problems: Vec<String>,
    },
}

impl Error {
    /// A usage error of [`gav_formats::Error::Usage`].
    pub fn usage(message: impl Into<String>) -> Self {
        gav_formats::Error::usage(message).into()
    }

    /// Stable code in capitals.
    pub fn code(&self) -> &'static str {
        match self {
            Self::File(error) | Self::Picture { source: error, .. } => error.code(),
            Self::MissingWeights { .. } => "MISSING_WEIGHTS",
            Self::MissingTemplate { .. } => "MISSING_TEMPLATE",
            Self::Device(_) => "DEVICE",
            Self::Tensors { .. } => "TENSORS",
        }
    }

    /// What the user can do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::MissingWeights { part, .. } => {
                let known = part.files().iter().map(|file| format!("{} from {}", file.name, file.source));
                let known = known.collect::<Vec<_>>().join(", or ");
                Some(format!("fetch {known}; then `gav weights add FILE`"))
            }
            Self::MissingTemplate { how_to_obtain, .. } => {
                let from =
                    if how_to_obtain.is_empty() { String::new() } else { format!("get it from {how_to_obtain}; ") };
                Some(format!("{from}`gav template add FAMILY FILE` adds a template"))
            }
            Self::Tensors { .. } => Some("`gav weights list` says which files are known".to_owned()),
            Self::Device(_) => Some("`gav doctor` says what was found; `--device cpu` does without".to_owned()),
            Self::Picture { source, .. } => match source.code() {
                "UNKNOWN_FORMAT" => Some("PNG, WebP, JPEG, OpenEXR and NPY are read".to_owned()),
                "NOT_FINITE" => Some("the program that rendered it divided by zero or overflowed".to_owned()),
                _ => None,
            },
            Self::File(_) => None,
        }
    }
}

/// `; there is …` for what is there.
fn listed(near: &[String]) -> String {
    if near.is_empty() { String::new() } else { format!("; there is {}", shortened(near)) }
}

/// The first problems, so that a wrong file does not fill the screen.
fn shortened(problems: &[String]) -> String {
    let mut text = problems.iter().take(3).cloned().collect::<Vec<_>>().join("; ");
    if problems.len() > 3 {
        text.push_str("; …");
    }
    text
}
