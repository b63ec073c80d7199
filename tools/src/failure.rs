//! What went wrong, said in one line, and what to do about it, in another.

use std::{
    fmt,
    io::{self, IsTerminal},
    path::Path,
    process::ExitCode,
};

use gav_formats::sink::temporary_owner;
use serde::Serialize;

/// A failure with a stable code and a hint.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Failure {
    /// Stable upper-case code, as in [`gav_formats::Error::code`].
    pub code: &'static str,
    /// One line: the file, what was found.
    pub message: String,
    /// One line: what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// The command line itself is at fault: exit code 2.
pub(crate) const USAGE: &str = "USAGE";

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// A request that cannot be carried out, noticed before anything was done.
pub(crate) fn refuse(message: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
    Failure { code: USAGE, message: message.into(), hint: Some(hint.into()) }.into()
}

impl Failure {
    /// The library's error about the file at `path`, which is named once whatever the error says itself.
    pub(crate) fn at(path: &Path, error: &gav_formats::Error) -> Self {
        use gav_formats::Error;
        let name = path.display();
        let mut hint = hint_for(error);
        let message = match error {
            Error::Io { path: inner, source } if is_temporary(inner) => {
                hint = hint
                    .filter(|_| source.kind() != io::ErrorKind::NotFound)
                    .or(Some("check that its folder can be written to"));
                format!("{name}: cannot be written: {}", io_text(source))
            }
            Error::Io { path: inner, source } if inner.as_os_str().is_empty() => format!("{name}: {}", io_text(source)),
            Error::Io { path: inner, source } => format!("{}: {}", inner.display(), io_text(source)),
            Error::Format { code: "UNKNOWN_FORMAT", message, .. } => format!("{name}: {message}"),
            Error::Format { format, code, offset: 0, message } => format!("{name}: {format}: {message} [{code}]"),
            _ => {
                let text = error.to_string();
                if text.starts_with(&name.to_string()) { text } else { format!("{name}: {text}") }
            }
        };
        // `USAGE` is kept for the command line: here the file does not allow what was asked
        let code = if let Error::Usage(_) = error { "NOT_POSSIBLE" } else { error.code() };
        Self { code, message, hint: hint.map(str::to_owned) }
    }
}

impl Failure {
    /// An error of the networks and their weights, about the file at `path` if there is one.
    pub(crate) fn of(path: Option<&Path>, error: &gav_models::Error) -> Self {
        match (error, path) {
            (gav_models::Error::File(inner), Some(path)) => Self::at(path, inner),
            (gav_models::Error::Picture { path, source }, _) => {
                let found = Self::at(path, source);
                Self { hint: error.hint().or(found.hint), ..found }
            }
            (_, Some(path)) => {
                let message = format!("{}: {error}", path.display());
                Self { code: error.code(), message, hint: error.hint() }
            }
            _ => Self { code: error.code(), message: error.to_string(), hint: error.hint() },
        }
    }
}

/// The name under which an output is written until it is complete, which means nothing to the user.
fn is_temporary(path: &Path) -> bool {
    path.file_name().is_some_and(|name| temporary_owner(&name.to_string_lossy()).is_some())
}

fn hint_for(error: &gav_formats::Error) -> Option<&'static str> {
    use gav_formats::Error;
    Some(match error {
        Error::Io { source, .. } => match source.kind() {
            io::ErrorKind::NotFound => "check the spelling; patterns such as '*.ply' may be quoted",
            io::ErrorKind::PermissionDenied => "check the permissions of the file and its folder",
            io::ErrorKind::StorageFull => "free some space, then continue with --resume",
            _ => return None,
        },
        Error::Limit { what: "splats", .. } => "--max-splats raises the limit, if you trust the file",
        Error::Limit { .. } => "--max-memory raises the limit, if you trust the file",
        Error::Format { code, .. } => match *code {
            "UNKNOWN_FORMAT" => "`gav formats` lists what can be read",
            "TRUNCATED" => "the file is cut short: copy or download it again",
            "HASH" | "CHECKSUM" => "the file is damaged: copy it again, or read it all the same with --no-verify",
            _ => return None,
        },
        Error::Usage(message) if message.starts_with("glTF cannot express") => {
            "`gav pose --bake` turns any rig into morph targets and skin; --rest-only writes the rest pose"
        }
        _ => return None,
    })
}

/// An I/O error in words, without the number that the system gives it.
pub(crate) fn io_text(error: &io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = words.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

/// True when the error is a closed pipe on standard output.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|e| e.downcast_ref::<io::Error>()).any(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

/// Prints the error and its hint, and says with which code to exit.
pub(crate) fn print(error: &anyhow::Error) -> ExitCode {
    let failure = error.chain().find_map(|e| e.downcast_ref::<Failure>());
    let text = error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ");
    print_lines(&text, failure.and_then(|f| f.hint.as_deref()));
    ExitCode::from(if failure.is_some_and(|f| f.code == USAGE) { 2 } else { 1 })
}

/// Prints `error: …` and `hint: …` on standard error.
pub(crate) fn print_lines(message: &str, hint: Option<&str>) {
    let color = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let paint = |word: &str, code: u8| if color { format!("\x1b[1;{code}m{word}\x1b[0m") } else { word.to_owned() };
    eprintln!("{} {message}", paint("error:", 31));
    if let Some(hint) = hint {
        eprintln!("{} {hint}", paint("hint:", 36));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_once_and_hints_say_what_to_do() {
        let path = Path::new("a/head.ply");
        let error = gav_formats::Error::io(path, io::Error::from_raw_os_error(2));
        let failure = Failure::at(path, &error);
        assert_eq!(failure.message, "a/head.ply: no such file or directory");
        assert!(failure.hint.is_some());
        let error =
            gav_formats::Error::format("ply", "TRUNCATED", 12, "10 splats of 56 bytes expected, 100 bytes left");
        let failure = Failure::at(path, &error);
        assert!(failure.message.starts_with("a/head.ply: ply: 10 splats"), "{}", failure.message);
        assert!(failure.hint.unwrap().contains("again"));
        let error = gav_formats::Error::io("out/.x.gav.gav-tmp-12-0", io::Error::from_raw_os_error(13));
        assert_eq!(
            Failure::at(Path::new("out/x.gav"), &error).message,
            "out/x.gav: cannot be written: permission denied"
        );
    }
}
