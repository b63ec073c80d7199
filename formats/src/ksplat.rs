//! `.ksplat` (mkkellogg, version 0.1), levels 0, 1 and 2: sections of splats, quantised against the centres of buckets.
//!
//! A 4096-byte header, then 1024 bytes per possible section, then the sections: lengths of the partly filled buckets,
//! bucket centres, records. Level 0 stores float32; level 1 stores 16-bit offsets from the bucket centre and half floats;
//! level 2 stores SH in bytes besides.

use half::f16;

use crate::{
    Avatar, Error, Frame, Limits, ReadOptions, Result, Source, Splats,
    conventions::{logit_from_opacity, sh_rest_count, sh0_from_color},
    splat_file::log_of_scale,
};

const HEADER: usize = 4096;
const SECTION_HEADER: usize = 1024;
/// Range of SH bytes when the header leaves it open.
const DEFAULT_SH_RANGE: f32 = 1.5;

fn bad(code: &'static str, offset: usize, message: impl Into<String>) -> Error {
    Error::format("ksplat", code, offset as u64, message)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn f32_at(bytes: &[u8], at: usize) -> f32 {
    f32::from_bits(u32_at(bytes, at))
}

/// The facts of the file header.
struct FileHeader {
    max_sections: usize,
    sections: usize,
    splats: u64,
    level: u16,
    /// Smallest and largest SH coefficient of level 2.
    sh_range: [f32; 2],
}

impl FileHeader {
    fn parse(bytes: &[u8]) -> Result<Self> {
        let head = bytes.get(..HEADER).ok_or_else(|| bad("TRUNCATED", bytes.len(), "shorter than the file header"))?;
        let (major, minor) = (head[0], head[1]);
        if major != 0 || minor < 1 {
            return Err(bad("UNSUPPORTED", 0, format!("version {major}.{minor}, only 0.1 and later 0.x are known")));
        }
        let (max_sections, sections) = (u32_at(head, 4), u32_at(head, 8));
        let (max_splats, splats, level) = (u32_at(head, 12), u32_at(head, 16), u16_at(head, 20));
        if sections > max_sections || splats > max_splats || level > 2 {
            let message = format!(
                "{sections} of {max_sections} sections, {splats} of {max_splats} splats, compression level {level}"
            );
            return Err(bad("HEADER", 4, message));
        }
        // zero means "not set" in both fields
        let or = |value: f32, default: f32| if value == 0.0 || !value.is_finite() { default } else { value };
        let sh_range = [or(f32_at(head, 36), -DEFAULT_SH_RANGE), or(f32_at(head, 40), DEFAULT_SH_RANGE)];
        Ok(Self {
            max_sections: max_sections as usize,
            sections: sections as usize,
            splats: u64::from(splats),
            level,
            sh_range,
        })
    }
}

/// Do these bytes look like a file header?
pub(crate) fn sniff(_name: &str, head: &[u8]) -> bool {
    let plausible = |h: FileHeader| h.max_sections > 0 && h.max_sections <= 1 << 16;
    // the padding behind minor version keeps text and most binary formats out
    FileHeader::parse(head).is_ok_and(plausible) && head[2..4] == [0, 0]
}

/// The facts of a section header, with the place of its parts in the file.
struct Section {
    count: usize,
    degree: u8,
    bucket_size: usize,
    full_buckets: usize,
    /// Offset of the lengths of the partly filled buckets.
    partial_lengths: usize,
    partial_buckets: usize,
    centres: usize,
    bucket_count: usize,
    /// Units per step of 16-bit positions, and the code of the centre.
    step: f32,
    range: f32,
    records: usize,
    record_bytes: usize,
    end: usize,
}

impl Section {
    fn parse(bytes: &[u8], at: usize, start: usize, level: u16) -> Result<Self> {
        let head = bytes
            .get(at..at + SECTION_HEADER)
            .ok_or_else(|| bad("TRUNCATED", bytes.len(), format!("the section header at {at} is incomplete")))?;
        let (count, max_count, degree) = (u32_at(head, 0) as usize, u32_at(head, 4) as usize, u16_at(head, 40));
        let (bucket_size, bucket_count) = (u32_at(head, 8) as usize, u32_at(head, 12) as usize);
        let (block, bucket_bytes) = (f32_at(head, 16), u16_at(head, 20) as usize);
        let (full_buckets, partial_buckets) = (u32_at(head, 32) as usize, u32_at(head, 36) as usize);
        if count > max_count || degree > 2 {
            let message = format!("{count} of {max_count} splats of SH degree {degree}");
            return Err(bad("HEADER", at, message));
        }
        let range = match u32_at(head, 24) {
            0 if level == 0 => 1.0,
            0 => 32767.0,
            range => range as f32,
        };
        if level > 0 {
            let buckets = full_buckets.saturating_add(partial_buckets);
            if bucket_bytes != 12 || !block.is_finite() || buckets > bucket_count {
                let message =
                    format!("{bucket_count} buckets of {bucket_bytes} bytes and side {block}, {buckets} used");
                return Err(bad("HEADER", at + 8, message));
            }
        }
        let record_bytes = match level {
            0 => 44 + 12 * sh_rest_count(degree as u8),
            1 => 24 + 6 * sh_rest_count(degree as u8),
            _ => 24 + 3 * sh_rest_count(degree as u8),
        };
        // the largest product is below 2^32 · 2^16, so that no sum of a few can overflow 64 bits
        let centres = start as u64 + 4 * partial_buckets as u64;
        let records = centres + bucket_bytes as u64 * bucket_count as u64;
        let end = records + record_bytes as u64 * max_count as u64;
        if end > bytes.len() as u64 {
            let message =
                format!("the section of {max_count} splats at {start} ends at {end}, the file at {}", bytes.len());
            return Err(bad("TRUNCATED", bytes.len(), message));
        }
        Ok(Self {
            count,
            degree: degree as u8,
            bucket_size,
            full_buckets,
            partial_lengths: start,
            partial_buckets,
            centres: centres as usize,
            bucket_count,
            step: block / 2.0 / range,
            range,
            records: records as usize,
            record_bytes,
            end: end as usize,
        })
    }

    /// Bucket of every splat: full buckets first, then the partly filled ones with their own lengths.
    fn buckets(&self, bytes: &[u8]) -> Result<Vec<u32>> {
        let mut owners = Vec::with_capacity(self.count);
        let lengths = (0..self.full_buckets)
            .map(|_| self.bucket_size)
            .chain((0..self.partial_buckets).map(|k| u32_at(bytes, self.partial_lengths + 4 * k) as usize));
        for (bucket, length) in lengths.enumerate() {
            let length = length.min(self.count - owners.len());
            owners.resize(owners.len() + length, bucket as u32);
        }
        if owners.len() < self.count || self.bucket_count == 0 && self.count > 0 {
            let message = format!("the buckets hold {} of {} splats", owners.len(), self.count);
            return Err(bad("VALUE", self.partial_lengths, message));
        }
        Ok(owners)
    }
}

/// Reads a `.ksplat` file, in RDF. Sections of different SH degree are padded to the highest.
///
/// # Errors
/// `UNSUPPORTED` for versions from 1.0, `HEADER` for impossible numbers, `TRUNCATED`, `TRAILING`, `VALUE`; limits.
pub fn read(source: &Source, options: &ReadOptions) -> Result<Avatar> {
    let header = FileHeader::parse(source)?;
    let limits: &Limits = &options.limits;
    limits.check_entries(header.max_sections as u64)?;
    let mut start = HEADER + SECTION_HEADER * header.max_sections;
    let mut sections = Vec::with_capacity(header.sections);
    for index in 0..header.sections {
        let section = Section::parse(source, HEADER + SECTION_HEADER * index, start, header.level)?;
        start = section.end;
        sections.push(section);
    }
    if start > source.len() {
        return Err(bad("TRUNCATED", source.len(), format!("the section headers end at {start}")));
    }
    let total: u64 = sections.iter().map(|s| s.count as u64).sum();
    if total != header.splats {
        let message = format!("the sections hold {total} splats, the header says {}", header.splats);
        return Err(bad("HEADER", 16, message));
    }
    let degree = sections.iter().map(|s| s.degree).max().unwrap_or(0);
    let count = limits.check_splats(total, 56 + 12 * sh_rest_count(degree) as u64)?;
    let mut splats = Splats::with_len(count, degree);
    let mut first = 0;
    for section in &sections {
        read_section(source, &header, section, &mut splats, first)?;
        first += section.count;
    }
    Ok(Avatar::new(splats, options.frame.unwrap_or(Frame::RDF)))
}

fn read_section(bytes: &[u8], header: &FileHeader, section: &Section, splats: &mut Splats, first: usize) -> Result<()> {
    let exact = header.level == 0;
    let buckets = if exact { Vec::new() } else { section.buckets(bytes)? };
    let width = splats.sh_rest_count() * 3;
    let records = bytes[section.records..].chunks_exact(section.record_bytes).take(section.count);
    for (k, record) in records.enumerate() {
        let i = first + k;
        let half = |at: usize| f16::from_bits(u16_at(record, at)).to_f32();
        let (color, sh) = if exact {
            splats.means[i] = [0, 4, 8].map(|at| f32_at(record, at));
            splats.log_scales[i] = [12, 16, 20].map(|at| log_of_scale(f32_at(record, at)));
            splats.rotations[i] = [24, 28, 32, 36].map(|at| f32_at(record, at));
            (40, 44)
        } else {
            let centre = section.centres + 12 * buckets[k] as usize;
            splats.means[i] = std::array::from_fn(|axis| {
                let code = f32::from(u16_at(record, 2 * axis));
                (code - section.range) * section.step + f32_at(bytes, centre + 4 * axis)
            });
            splats.log_scales[i] = [6, 8, 10].map(|at| log_of_scale(half(at)));
            splats.rotations[i] = [12, 14, 16, 18].map(half);
            (20, 24)
        };
        splats.sh0[i] = std::array::from_fn(|c| sh0_from_color(f32::from(record[color + c]) / 255.0));
        splats.opacity_logits[i] = logit_from_opacity(f32::from(record[color + 3]) / 255.0);
        let out = &mut splats.sh_rest[i * width..][..width];
        // file order: band by band, within a band all of red, then green, then blue
        let mut place = 0;
        for band in 1..=usize::from(section.degree) {
            let (size, base) = (2 * band + 1, band * band - 1);
            for channel in 0..3 {
                for m in 0..size {
                    out[(base + m) * 3 + channel] = match header.level {
                        0 => f32_at(record, sh + 4 * place),
                        1 => half(sh + 2 * place),
                        _ => {
                            let [low, high] = header.sh_range;
                            low + (high - low) * f32::from(record[sh + place]) / 255.0
                        }
                    };
                    place += 1;
                }
            }
        }
    }
    Ok(())
}
