//! SPZ (Niantic Spatial), versions 1 to 4: quantised splats in one gzip stream (1–3) or six zstd streams (4).
//!
//! Specification: <https://github.com/nianticlabs/spz>. What the format cannot hold is lost on writing: scales below
//! e⁻¹⁰ or above e^5.94 units are clamped (scale a metre-sized head by 8 first if many splats are thinner than 45 µm),
//! degree-0 coefficients beyond ±3.33 clip, and so do higher ones beyond ±1.

mod container;
mod decode;
mod encode;
mod extensions;
#[cfg(test)]
mod tests;

use crate::{Avatar, Error, Frame, ReadOptions, RenderModel, Result, Source, WriteOptions, sink::WriteSeek};
use container::{FLAG_ANTIALIASED, FLAG_EXTENSIONS, Header, Packed};

/// Name of the format in errors.
pub(crate) const FORMAT: &str = "spz";

/// Axes of a file that does not say otherwise.
const DEFAULT_FRAME: Frame = Frame::RUB;

/// True for the magic of version 4 and for gzip under an `.spz` name. Gzip alone is not enough: other things are gzipped.
pub(crate) fn sniff(name: &str, head: &[u8]) -> bool {
    head.starts_with(b"NGSP") || (head.starts_with(&[0x1f, 0x8b]) && (name.ends_with(".spz") || gzip_of_spz(head)))
}

/// Inflates the first four bytes.
fn gzip_of_spz(head: &[u8]) -> bool {
    let mut magic = [0; 4];
    std::io::Read::read_exact(&mut flate2::bufread::GzDecoder::new(head), &mut magic).is_ok() && &magic == b"NGSP"
}

/// Reads versions 1 to 4.
///
/// The axes are RUB, as the specification says, unless the file carries a coordinate-system record or
/// `options.frame` overrides both: some converters store PLY axes (RDF) without saying so.
///
/// # Errors
/// [`Error::Format`] with `TRUNCATED`, `HEADER`, `VALUE`, `CORRUPT` or `UNSUPPORTED`; [`Error::Limit`].
pub(crate) fn read(source: &Source, options: &ReadOptions) -> Result<Avatar> {
    let packed = container::unpack(source, &options.limits)?;
    let recorded = extensions::frame(&packed.extensions, packed.extensions_offset)?;
    let splats = decode::splats(&packed);
    let mut avatar = Avatar::new(splats, options.frame.or(recorded).unwrap_or(DEFAULT_FRAME));
    if packed.header.flags & FLAG_ANTIALIASED != 0 {
        avatar.render_model = RenderModel::Antialiased;
    }
    Ok(avatar)
}

/// Writes the rest pose as version `options.spz_version` (4 unless it says otherwise).
///
/// `options.frame` chooses the stored axes; any other than RUB is recorded in a coordinate-system extension, which
/// older readers ignore.
///
/// # Errors
/// [`Error::Usage`] when there is no splat, when the axes are none of the sixteen that SPZ knows, when an option is
/// out of range, or when positions do not fit 24 bits at the requested precision.
pub(crate) fn write(avatar: &Avatar, sink: &mut dyn WriteSeek, options: &WriteOptions) -> Result<()> {
    let version = options.spz_version.unwrap_or(4);
    if !(2..=4).contains(&version) {
        return Err(Error::usage(format!("SPZ version {version} cannot be written, only 2, 3 and 4")));
    }
    let sh_bits = options.spz_sh_bits.unwrap_or([5, 4]);
    if sh_bits.iter().any(|bits| !(1..=8).contains(bits)) {
        return Err(Error::usage(format!("SPZ SH bits {sh_bits:?} are not between 1 and 8")));
    }
    let frame = options.frame.unwrap_or(DEFAULT_FRAME);
    let extensions = if frame == DEFAULT_FRAME { Vec::new() } else { extensions::record(frame)? };
    let splats = avatar.rest_splats(frame)?;
    let count = u32::try_from(splats.len()).ok().filter(|&n| n <= container::MAX_COUNT);
    let Some(count) = count.filter(|&n| n > 0) else {
        return Err(Error::usage(format!("SPZ cannot hold {} drawable splats", splats.len())));
    };
    let mut flags = 0;
    if avatar.render_model == RenderModel::Antialiased {
        flags |= FLAG_ANTIALIASED;
    }
    if !extensions.is_empty() {
        flags |= FLAG_EXTENSIONS;
    }
    let header = Header {
        version: u32::from(version),
        count,
        sh_degree: splats.sh_degree,
        fractional_bits: encode::fractional_bits(&splats, options.spz_fractional_bits)?,
        flags,
    };
    let bytes = encode::streams(&splats, &header, sh_bits);
    container::write(&Packed { header, bytes, extensions, extensions_offset: 0 }, sink)
}
