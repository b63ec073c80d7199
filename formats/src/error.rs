//! The one error type of this crate: who is at fault (disk, file, limit, caller), where, and by which numbers.

use std::path::PathBuf;

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong while reading, writing or editing an avatar.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused; `path` is empty for streams without a name.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file concerned.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The bytes do not follow their format.
    #[error("{format}: {message} (byte {offset}) [{code}]")]
    Format {
        /// Short name of the format being read, such as `gav` or `spz`.
        format: &'static str,
        /// Stable code, listed in `spec/gav.md` for `.gav`; other formats use `TRUNCATED`, `HEADER`, `VALUE`, …
        code: &'static str,
        /// Byte offset in the file (or in the named member of an archive) where it was noticed.
        offset: u64,
        /// What is wrong, with the offending numbers.
        message: String,
    },
    /// Decoding would exceed a limit; raise it in [`crate::Limits`] if the file is trusted.
    #[error("{what}: {requested} exceeds the limit of {limit}")]
    Limit {
        /// The quantity, such as `splats` or `decoded bytes`.
        what: &'static str,
        /// What the file asks for.
        requested: u64,
        /// What is allowed.
        limit: u64,
    },
    /// The request cannot be carried out: wrong option, or the target format cannot hold this avatar.
    #[error("{0}")]
    Usage(String),
}

impl Error {
    /// A format error; see [`Error::Format`].
    pub fn format(format: &'static str, code: &'static str, offset: u64, message: impl Into<String>) -> Self {
        Self::Format { format, code, offset, message: message.into() }
    }

    /// A usage error; see [`Error::Usage`].
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    /// An I/O error of the file at `path`.
    pub fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io { path: path.into(), source }
    }

    /// The stable code of a [`Error::Format`], or the kind of the other variants in capitals.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "IO",
            Self::Format { code, .. } => code,
            Self::Limit { .. } => "LIMIT",
            Self::Usage(_) => "USAGE",
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(source: std::io::Error) -> Self {
        Self::Io { path: PathBuf::new(), source }
    }
}
