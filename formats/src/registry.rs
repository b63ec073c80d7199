//! The only list of formats. The command line, the documentation and the tests are driven by [`FORMATS`].

use std::path::Path;

use crate::{
    Avatar, Error, Frame, Limits, Result, Source, gav, ksplat, ply,
    sink::{WriteSeek, write_file_atomically, write_folder_atomically},
    sog, splat_file, spz,
};

/// One file format: how to recognise, read and write it.
pub struct Format {
    /// Short stable name, used by `--to` and in errors.
    pub id: &'static str,
    /// Full name for people.
    pub name: &'static str,
    /// File-name endings without the leading dot, longest first; the first is used on writing.
    pub extensions: &'static [&'static str],
    /// Does a file with this (lower-case) name and these leading bytes look like this format? Bytes decide, the name breaks ties.
    pub sniff: fn(name: &str, head: &[u8]) -> bool,
    /// Decoder, when reading is supported.
    pub read: Option<ReadFn>,
    /// Encoder, when writing is supported.
    pub write: Option<Writer>,
    /// True when a written file gives back every float bit of the splats.
    pub lossless: bool,
}

/// Decodes a source.
pub type ReadFn = fn(&Source, &ReadOptions) -> Result<Avatar>;

/// How a format is written.
#[derive(Clone, Copy)]
pub enum Writer {
    /// One file.
    File(fn(&Avatar, &mut dyn WriteSeek, &WriteOptions) -> Result<()>),
    /// One file, and further files of fixed names beside it where the format prescribes some.
    FileAndSiblings {
        /// Writes the file itself.
        file: fn(&Avatar, &mut dyn WriteSeek, &WriteOptions) -> Result<()>,
        /// Names and bytes of the files beside it; often none.
        siblings: fn(&Avatar, &WriteOptions) -> Result<Vec<(String, Vec<u8>)>>,
    },
    /// A folder of files with these names.
    Folder(fn(&Avatar, &WriteOptions) -> Result<Vec<(String, Vec<u8>)>>),
}

/// Options that readers understand.
#[derive(Debug, Clone, Default)]
pub struct ReadOptions {
    /// What the decoder may spend.
    pub limits: Limits,
    /// Overrides the frame that the format prescribes or records.
    pub frame: Option<Frame>,
    /// Skip the hash checks of `.gav`.
    pub skip_hashes: bool,
    /// glTF: read the `.gav` that the file carries, not its glTF content.
    pub embedded: bool,
}

/// Options that writers understand; each writer ignores what does not concern it.
#[derive(Debug, Clone, Default)]
pub struct WriteOptions {
    /// Axes of the written file; `None` means what the format prescribes.
    pub frame: Option<Frame>,
    /// `.gav`: the quantisers and layout.
    pub gav: gav::EncodeOptions,
    /// SPZ: bits of the SH coefficients, degree 1 and above; `None` means the reference writer's 5 and 4.
    pub spz_sh_bits: Option<[u8; 2]>,
    /// SPZ: fractional bits of positions; `None` chooses them so that the position step is below a quarter of the
    /// smallest visible splats, at least the reference writer's 12.
    pub spz_fractional_bits: Option<u8>,
    /// SPZ: version of the container, 2 to 4; `None` means 4. Older ones are for viewers that know no other.
    pub spz_version: Option<u8>,
    /// glTF: what is written besides the splats.
    pub gltf: crate::gltf::Options,
}

/// Every format, in the order in which they are tried.
pub static FORMATS: &[Format] = &[
    Format {
        id: "gav",
        name: "Gaussian avatar",
        extensions: &["gav"],
        sniff: gav::sniff,
        read: Some(gav::read),
        write: Some(Writer::File(|avatar, sink, options| gav::write(avatar, sink, &options.gav))),
        lossless: true,
    },
    Format {
        id: "spz",
        name: "SPZ (Niantic Spatial)",
        extensions: &["spz"],
        sniff: spz::sniff,
        read: Some(spz::read),
        write: Some(Writer::File(spz::write)),
        lossless: false,
    },
    Format {
        id: "sog",
        name: "SOG bundle (PlayCanvas)",
        extensions: &["sog"],
        sniff: sog::sniff_bundle,
        read: Some(sog::read),
        write: Some(Writer::File(sog::write)),
        lossless: false,
    },
    Format {
        id: "sog-lod",
        name: "streamed SOG (PlayCanvas)",
        extensions: &["lod-meta.json"],
        sniff: sog::sniff_streamed,
        read: Some(sog::read_streamed),
        write: None,
        lossless: false,
    },
    Format {
        id: "sog-folder",
        name: "SOG folder (PlayCanvas)",
        extensions: &["sog-folder"],
        sniff: sog::sniff_folder,
        read: Some(sog::read),
        write: Some(Writer::Folder(sog::write_folder)),
        lossless: false,
    },
    Format {
        id: "lam",
        name: "LAM web avatar (zip)",
        extensions: &["zip"],
        sniff: crate::lam::sniff,
        read: Some(crate::lam::read),
        write: None,
        lossless: false,
    },
    Format {
        id: "gltf",
        name: "glTF 2.0 with KHR_gaussian_splatting",
        extensions: &["glb", "gltf"],
        sniff: crate::gltf::sniff,
        read: Some(crate::gltf::read),
        write: Some(Writer::File(crate::gltf::write)),
        lossless: false,
    },
    Format {
        id: "compressed-ply",
        name: "PlayCanvas compressed PLY",
        extensions: &["compressed.ply"],
        sniff: ply::compressed::sniff,
        read: Some(ply::compressed::read),
        write: Some(Writer::File(ply::compressed::write)),
        lossless: false,
    },
    Format {
        id: "ply",
        name: "3D Gaussian splatting PLY, with the dialects of GaussianAvatars, STGA and RGBAvatar",
        extensions: &["ply"],
        sniff: ply::sniff,
        read: Some(ply::read),
        write: Some(Writer::FileAndSiblings { file: ply::write, siblings: ply::siblings }),
        lossless: true,
    },
    Format {
        id: "ksplat",
        name: "mkkellogg .ksplat",
        extensions: &["ksplat"],
        sniff: ksplat::sniff,
        read: Some(ksplat::read),
        write: None,
        lossless: false,
    },
    Format {
        id: "splat",
        name: "antimatter15 .splat",
        extensions: &["splat"],
        sniff: splat_file::sniff,
        read: Some(splat_file::read),
        write: Some(Writer::File(splat_file::write)),
        lossless: false,
    },
];

/// The format with this id or file-name ending.
pub fn format_by_name(name: &str) -> Option<&'static Format> {
    let name = name.trim_start_matches('.').to_ascii_lowercase();
    FORMATS.iter().find(|f| f.id == name).or_else(|| FORMATS.iter().find(|f| f.extensions.contains(&name.as_str())))
}

/// The format that the ending of `path` asks for; the longest ending wins (`x.compressed.ply` is not `x.ply`).
pub fn format_by_path(path: &Path) -> Option<&'static Format> {
    let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
    FORMATS
        .iter()
        .flat_map(|f| f.extensions.iter().map(move |e| (f, e)))
        .filter(|(_, e)| name.ends_with(&format!(".{e}")) || name == **e)
        .max_by_key(|(_, e)| e.len())
        .map(|(f, _)| f)
}

/// The format of a source, by its bytes.
pub fn sniff(source: &Source) -> Result<&'static Format> {
    let head = &source[..source.len().min(1 << 16)];
    let name = source.name().to_ascii_lowercase();
    FORMATS.iter().find(|f| f.read.is_some() && (f.sniff)(&name, head)).ok_or_else(|| {
        let hint = if source.is_empty() { "the file is empty" } else { "its first bytes match none" };
        Error::format("input", "UNKNOWN_FORMAT", 0, format!("not a known splat format: {hint}"))
    })
}

/// Reads an avatar from a file or folder of any known format.
///
/// # Errors
/// [`Error::Io`] when the file cannot be opened, [`Error::Format`] when its bytes are wrong or match no format,
/// [`Error::Limit`] when it asks for more than `options.limits`.
pub fn load(path: impl AsRef<Path>, options: &ReadOptions) -> Result<Avatar> {
    read(&Source::open(path)?, options)
}

/// Reads an avatar from a source of any known format and checks that its parts fit together.
pub fn read(source: &Source, options: &ReadOptions) -> Result<Avatar> {
    let format = sniff(source)?;
    let avatar = (format.read.expect("sniff returns readable formats"))(source, options)?;
    avatar.validate().map_err(|e| Error::format(format.id, "INCONSISTENT", 0, e.to_string()))?;
    Ok(avatar)
}

/// Writes an avatar to `path` in the given format: to a temporary name first, renamed when complete.
pub fn save(avatar: &Avatar, path: impl AsRef<Path>, format: &Format, options: &WriteOptions) -> Result<()> {
    let path = path.as_ref();
    avatar.validate()?;
    match format.write {
        None => Err(Error::usage(format!("{} can be read, not written", format.name))),
        Some(Writer::File(write)) => write_file_atomically(path, |sink| write(avatar, sink, options)),
        Some(Writer::FileAndSiblings { file, siblings }) => {
            save_siblings(path, &siblings(avatar, options)?)?;
            write_file_atomically(path, |sink| file(avatar, sink, options))
        }
        Some(Writer::Folder(write)) => write_folder_atomically(path, &write(avatar, options)?),
    }
}

/// Writes the files that belong beside `path`. Their names are the format's choice, not the user's, so a different file
/// of such a name is never replaced.
fn save_siblings(path: &Path, files: &[(String, Vec<u8>)]) -> Result<()> {
    for (name, bytes) in files {
        let sibling = path.with_file_name(name);
        match std::fs::read(&sibling) {
            Ok(found) if found == *bytes => {}
            Ok(_) => {
                return Err(Error::usage(format!(
                    "{}: will not replace this file, which belongs beside the one to be written; choose another folder or remove it",
                    sibling.display()
                )));
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                write_file_atomically(&sibling, |sink| Ok(sink.write_all(bytes)?))?;
            }
            Err(e) => return Err(Error::io(sibling, e)),
        }
    }
    Ok(())
}

/// Writes an avatar to memory, without the files that some formats have beside it; folder formats are refused.
pub fn to_bytes(avatar: &Avatar, format: &Format, options: &WriteOptions) -> Result<Vec<u8>> {
    match format.write {
        Some(Writer::File(write) | Writer::FileAndSiblings { file: write, .. }) => {
            avatar.validate()?;
            let mut sink = std::io::Cursor::new(Vec::new());
            write(avatar, &mut sink, options)?;
            Ok(sink.into_inner())
        }
        _ => Err(Error::usage(format!("{} cannot be written to one buffer", format.name))),
    }
}
