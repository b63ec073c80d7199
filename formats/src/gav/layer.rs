//! Chunks back to splat attributes, a block at a time (`spec/gav.md` 7).

use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use super::{
    attributes::{COLOR_AXES, COLOR_START, MORTON_LAYOUT, PLANAR_LAYOUT},
    container::{Block, Container, Entry, bad, u64_at},
    floats::read_floats,
    harmonics::{self, Basis, MAX_SH_CLASS, SH_CONTEXTS},
    ints::unzigzag,
    quantization::{Classes, LOG_UNIT, Quantization, class_step},
    rotation::from_swing_twist,
    stream::BlockReader,
    symbols::{StreamKind, SymbolReader},
};
use crate::{Result, Splats, conventions::SH_C0, morton};

/// The attributes of a splat set, each a chunk of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Attribute {
    Positions,
    Opacities,
    Scales,
    Rotations,
    Colors,
    Harmonics,
}

impl Attribute {
    /// All attributes in file order.
    pub const ALL: [Self; 6] =
        [Self::Positions, Self::Opacities, Self::Scales, Self::Rotations, Self::Colors, Self::Harmonics];

    /// The chunk type.
    pub const fn chunk(self) -> &'static [u8; 4] {
        match self {
            Self::Positions => b"POSN",
            Self::Opacities => b"OPAC",
            Self::Scales => b"SCAL",
            Self::Rotations => b"ROTN",
            Self::Colors => b"COLR",
            Self::Harmonics => b"SHCO",
        }
    }
}

/// One attribute's chunk, opened.
struct Column<'a> {
    codec: u16,
    parameters_offset: u64,
    layout: u8,
    basis: Option<Basis>,
    symbols: SymbolReader,
    blocks: Vec<Block<'a>>,
    decoded_bytes: u64,
    name: String,
}

/// All attribute chunks of one layer, opened and checked against each other.
pub(crate) struct Layer<'a> {
    columns: Vec<Option<Column<'a>>>,
    quantization: Option<&'a Quantization>,
    sh_degree: u8,
    count: usize,
    block_elements: usize,
}

/// Mutable views of one block's splats.
struct Slots<'a> {
    means: &'a mut [[f32; 3]],
    opacity_logits: &'a mut [f32],
    log_scales: &'a mut [[f32; 3]],
    rotations: &'a mut [[f32; 4]],
    sh0: &'a mut [[f32; 3]],
    sh_rest: &'a mut [f32],
}

impl<'a> Layer<'a> {
    /// Opens the attribute chunks of `layer`, which holds `count` splats.
    pub fn open(
        container: &Container<'a>,
        layer: u16,
        count: usize,
        sh_degree: u8,
        quantization: Option<&'a Quantization>,
    ) -> Result<Self> {
        let mut columns = Vec::new();
        let mut block_elements = None;
        for attribute in Attribute::ALL {
            if attribute == Attribute::Harmonics && sh_degree == 0 {
                if let Some(entry) = container.find(attribute.chunk(), layer) {
                    return Err(bad("INCONSISTENT", entry.offset, "SHCO in a file of SH degree 0"));
                }
                columns.push(None);
                continue;
            }
            let name = String::from_utf8_lossy(attribute.chunk()).into_owned();
            let entry = container.find(attribute.chunk(), layer).ok_or_else(|| {
                bad("MISSING_CHUNK", container.header.directory_offset, format!("layer {layer} has no {name} chunk"))
            })?;
            super::chunk::expect_elements(entry, count)?;
            if *block_elements.get_or_insert(entry.block_elements) != entry.block_elements {
                return Err(bad("BLOCK_SIZE", entry.offset, format!("{name}: blocks of another size than POSN's")));
            }
            columns.push(Some(open_column(container, entry, attribute, sh_degree, quantization)?));
        }
        Ok(Self {
            columns,
            quantization,
            sh_degree,
            count,
            block_elements: block_elements.unwrap_or(1).max(1) as usize,
        })
    }

    /// Number of blocks.
    pub fn block_count(&self) -> usize {
        self.count.div_ceil(self.block_elements)
    }

    /// Decodes the whole layer into the front of `out`'s arrays from splat `start` on.
    pub fn decode_into(&self, out: &mut Splats, start: usize) -> Result<()> {
        let width = out.sh_rest_count() * 3;
        let (size, end) = (self.block_elements, start + self.count);
        let rest_size = (size * width).max(1);
        let mut sh_blocks: Vec<&mut [f32]> = out.sh_rest[start * width..end * width].chunks_mut(rest_size).collect();
        sh_blocks.resize_with(self.block_count(), || &mut []);
        let slots: Vec<Slots<'_>> = out.means[start..end]
            .chunks_mut(size)
            .zip(out.opacity_logits[start..end].chunks_mut(size))
            .zip(out.log_scales[start..end].chunks_mut(size))
            .zip(out.rotations[start..end].chunks_mut(size))
            .zip(out.sh0[start..end].chunks_mut(size))
            .zip(sh_blocks)
            .map(|(((((means, opacity_logits), log_scales), rotations), sh0), sh_rest)| Slots {
                means,
                opacity_logits,
                log_scales,
                rotations,
                sh0,
                sh_rest,
            })
            .collect();
        let decoded: Vec<AtomicU64> = self.columns.iter().map(|_| AtomicU64::new(0)).collect();
        slots
            .into_par_iter()
            .enumerate()
            .try_for_each(|(index, mut slots)| self.decode_block(index, &Attribute::ALL, &mut slots, &decoded))?;
        for (column, decoded) in self.columns.iter().zip(decoded) {
            let decoded = decoded.into_inner();
            if let Some(column) = column.as_ref().filter(|c| c.decoded_bytes != decoded) {
                let message =
                    format!("{}: {decoded} bytes decoded, directory says {}", column.name, column.decoded_bytes);
                return Err(bad("DECODED_BYTES", column.parameters_offset, message));
            }
        }
        Ok(())
    }

    /// Decodes one block. Only the wanted attributes are touched, and those whose codes they depend on: rotations, colours and
    /// SH of a quantised file need the opacities and scales of the same block, scales need its opacities.
    pub fn block(&self, index: usize, wanted: &[Attribute]) -> Result<Splats> {
        let rows = self.count.saturating_sub(index * self.block_elements).min(self.block_elements);
        let mut out = Splats::with_len(rows, self.sh_degree);
        let mut slots = Slots {
            means: &mut out.means,
            opacity_logits: &mut out.opacity_logits,
            log_scales: &mut out.log_scales,
            rotations: &mut out.rotations,
            sh0: &mut out.sh0,
            sh_rest: &mut out.sh_rest,
        };
        let decoded: Vec<AtomicU64> = self.columns.iter().map(|_| AtomicU64::new(0)).collect();
        self.decode_block(index, wanted, &mut slots, &decoded)?;
        Ok(out)
    }

    fn decode_block(
        &self,
        index: usize,
        wanted: &[Attribute],
        out: &mut Slots<'_>,
        decoded: &[AtomicU64],
    ) -> Result<()> {
        let wants = |attribute: Attribute| wanted.contains(&attribute);
        let reader_of = |attribute: Attribute| -> Result<(&Column<'a>, BlockReader<'a>)> {
            let column = self.columns[attribute as usize].as_ref().expect("opened chunks only");
            let block = column.blocks[index];
            Ok((column, BlockReader::new(block.bytes()?, block.offset)))
        };
        let done = |attribute: Attribute, reader: BlockReader<'_>| -> Result<()> {
            decoded[attribute as usize].fetch_add(reader.finish()?, Ordering::Relaxed);
            Ok(())
        };
        let rows = out.means.len();
        let harmonics = self.sh_degree > 0 && wants(Attribute::Harmonics);
        let Some(q) = self.quantization else {
            return self.decode_lossless(index, wanted, out, decoded);
        };

        if wants(Attribute::Positions) {
            let (column, mut reader) = reader_of(Attribute::Positions)?;
            read_positions(column, &mut reader, q, out.means)?;
            done(Attribute::Positions, reader)?;
        }
        let needs_classes = wants(Attribute::Rotations) || wants(Attribute::Colors) || harmonics;
        if !(wants(Attribute::Opacities) || wants(Attribute::Scales) || needs_classes) {
            return Ok(());
        }
        let (column, mut reader) = reader_of(Attribute::Opacities)?;
        let at = reader.offset();
        let opacities = column.symbols.values(&mut reader, 0, rows, None)?;
        done(Attribute::Opacities, reader)?;
        if let Some(code) = opacities.iter().find(|&&c| c > q.opacity_levels) {
            return Err(bad("CODE", at, format!("opacity code {code} of {}", q.opacity_levels)));
        }
        if wants(Attribute::Opacities) {
            let logits: Vec<f32> = (0..=q.opacity_levels).map(|code| q.opacity_logit(code)).collect();
            out.opacity_logits.iter_mut().zip(&opacities).for_each(|(o, &c)| *o = logits[c as usize]);
        }
        if !(wants(Attribute::Scales) || needs_classes) {
            return Ok(());
        }
        let class_of_code: Vec<u8> = (0..=q.opacity_levels).map(|code| q.opacity_class(code) as u8).collect();
        let opacity_classes: Vec<u8> = opacities.iter().map(|&c| class_of_code[c as usize]).collect();
        let (column, mut reader) = reader_of(Attribute::Scales)?;
        let at = reader.offset();
        let first = column.symbols.values(&mut reader, 0, rows, Some(&opacity_classes))?;
        let second = column.symbols.values(&mut reader, 1, rows, Some(&opacity_classes))?;
        let third = column.symbols.values(&mut reader, 2, rows, Some(&opacity_classes))?;
        done(Attribute::Scales, reader)?;
        let mut classes = Vec::with_capacity(rows);
        for i in 0..rows {
            // a difference above the code before it wraps to a huge code, which no table holds
            let middle = first[i].wrapping_sub(second[i]);
            let codes = [first[i], middle, middle.wrapping_sub(third[i])];
            let mut logs = [0; 3];
            for k in 0..3 {
                logs[k] = q
                    .scale_log(codes[k], opacity_classes[i].into())
                    .ok_or_else(|| bad("CODE", at, format!("scale code {} has no entry", codes[k] as i32)))?;
                out.log_scales[i][k] = (f64::from(logs[k]) / LOG_UNIT) as f32;
            }
            classes.push(q.classes(opacities[i], logs));
        }
        if wants(Attribute::Rotations) {
            let (column, mut reader) = reader_of(Attribute::Rotations)?;
            read_rotations(column, &mut reader, q, &classes, out.rotations)?;
            done(Attribute::Rotations, reader)?;
        }
        if wants(Attribute::Colors) {
            let (column, mut reader) = reader_of(Attribute::Colors)?;
            read_colors(column, &mut reader, q, &classes, out.sh0)?;
            done(Attribute::Colors, reader)?;
        }
        if harmonics {
            let (column, mut reader) = reader_of(Attribute::Harmonics)?;
            read_harmonics(column, &mut reader, q, &classes, out.sh_rest)?;
            done(Attribute::Harmonics, reader)?;
        }
        Ok(())
    }

    fn decode_lossless(
        &self,
        index: usize,
        wanted: &[Attribute],
        out: &mut Slots<'_>,
        decoded: &[AtomicU64],
    ) -> Result<()> {
        let rows = out.means.len();
        for &attribute in wanted {
            let Some(column) = &self.columns[attribute as usize] else { continue };
            let block = column.blocks[index];
            let mut reader = BlockReader::new(block.bytes()?, block.offset);
            let mut read = |width: usize| read_floats(&mut reader, width, rows);
            match attribute {
                Attribute::Positions => fill(out.means, read(3)?),
                Attribute::Opacities => out.opacity_logits.copy_from_slice(&read(1)?[0]),
                Attribute::Scales => fill(out.log_scales, read(3)?),
                Attribute::Rotations => fill(out.rotations, read(4)?),
                Attribute::Colors => fill(out.sh0, read(3)?),
                Attribute::Harmonics => {
                    let width = out.sh_rest.len() / rows.max(1);
                    for (c, column) in read(width)?.into_iter().enumerate() {
                        column.into_iter().enumerate().for_each(|(i, v)| out.sh_rest[i * width + c] = v);
                    }
                }
            }
            decoded[attribute as usize].fetch_add(reader.finish()?, Ordering::Relaxed);
        }
        Ok(())
    }
}

fn fill<const W: usize>(rows: &mut [[f32; W]], columns: Vec<Vec<f32>>) {
    for (c, column) in columns.into_iter().enumerate() {
        rows.iter_mut().zip(column).for_each(|(row, v)| row[c] = v);
    }
}

fn open_column<'a>(
    container: &Container<'a>,
    entry: &Entry,
    attribute: Attribute,
    sh_degree: u8,
    quantization: Option<&Quantization>,
) -> Result<Column<'a>> {
    let parameters = container.parameters(entry)?;
    let name = entry.name();
    if entry.codec > 2 || (entry.codec == 0) != quantization.is_none() {
        return Err(bad("CODEC", entry.offset, format!("{name}: codec {} does not fit the file", entry.codec)));
    }
    let (mut layout, mut basis, mut used) = (MORTON_LAYOUT, None, 0);
    let mut kinds = Vec::new();
    if let Some(q) = quantization {
        match attribute {
            Attribute::Positions => {
                layout = *parameters.first().ok_or_else(|| bad("PARAMETERS", entry.offset, "POSN without a layout"))?;
                used = 1;
                kinds = match layout {
                    MORTON_LAYOUT => vec![StreamKind::Wide],
                    PLANAR_LAYOUT => vec![StreamKind::Values(1); 3],
                    other => return Err(bad("PARAMETERS", entry.offset, format!("POSN layout {other}"))),
                };
            }
            Attribute::Opacities => kinds = vec![StreamKind::Values(1)],
            Attribute::Scales => kinds = vec![StreamKind::Values(q.opacity_class_count()); 3],
            Attribute::Rotations => {
                let plain = StreamKind::Values(q.class_count());
                kinds = vec![StreamKind::Values(q.class_count() + 1), plain, plain];
            }
            Attribute::Colors => kinds = vec![StreamKind::Values(q.class_count()); 3],
            Attribute::Harmonics => {
                let width = crate::conventions::sh_rest_count(sh_degree) * 3;
                let (parsed, bytes) = Basis::from_bytes(parameters, width, entry.offset)?;
                (basis, used) = (Some(parsed), bytes);
                kinds = vec![StreamKind::Values(SH_CONTEXTS); width];
            }
        }
    }
    let symbols = SymbolReader::new(entry.codec, &parameters[used..], entry.offset + used as u64, &kinds)?;
    Ok(Column {
        codec: entry.codec,
        parameters_offset: entry.offset,
        layout,
        basis,
        symbols,
        blocks: container.blocks(entry)?,
        decoded_bytes: entry.decoded_bytes,
        name,
    })
}

fn read_positions(
    column: &Column<'_>,
    reader: &mut BlockReader<'_>,
    q: &Quantization,
    out: &mut [[f32; 3]],
) -> Result<()> {
    debug_assert!(column.codec > 0);
    let value = |k: usize, g: f64| (q.origin[k] + g * q.position_step) as f32;
    if column.layout == PLANAR_LAYOUT {
        for k in 0..3 {
            let codes = column.symbols.values(reader, k, out.len(), None)?;
            out.iter_mut().zip(codes).for_each(|(p, code)| p[k] = value(k, unzigzag(code).into()));
        }
        return Ok(());
    }
    let at = reader.offset();
    let mut key = u64_at(reader.raw(8)?, 0);
    let deltas = column.symbols.wide(reader, 0, out.len())?;
    for (position, delta) in out.iter_mut().zip(deltas) {
        key = key
            .checked_add(delta)
            .filter(|k| k >> 63 == 0)
            .ok_or_else(|| bad("CODE", at, "a Morton key above 63 bits"))?;
        let grid = morton::point(key);
        *position = std::array::from_fn(|k| value(k, grid[k].into()));
    }
    Ok(())
}

fn read_rotations(
    column: &Column<'_>,
    reader: &mut BlockReader<'_>,
    q: &Quantization,
    classes: &[Classes],
    out: &mut [[f32; 4]],
) -> Result<()> {
    let steps: [f64; 18] = std::array::from_fn(|c| q.rotation_step * class_step(c));
    let twist: Vec<u8> = classes.iter().map(|c| c.twist).collect();
    let swing: Vec<u8> = classes.iter().map(|c| c.swing).collect();
    let r = column.symbols.values(reader, 0, out.len(), Some(&twist))?;
    let a = column.symbols.values(reader, 1, out.len(), Some(&swing))?;
    let b = column.symbols.values(reader, 2, out.len(), Some(&swing))?;
    for (i, rotation) in out.iter_mut().enumerate() {
        let code = |v: u32| f64::from(unzigzag(v));
        let swing_step = steps[usize::from(swing[i])];
        *rotation = from_swing_twist([
            code(r[i]) * steps[usize::from(twist[i])],
            code(a[i]) * swing_step,
            code(b[i]) * swing_step,
        ]);
    }
    Ok(())
}

fn read_colors(
    column: &Column<'_>,
    reader: &mut BlockReader<'_>,
    q: &Quantization,
    classes: &[Classes],
    out: &mut [[f32; 3]],
) -> Result<()> {
    let steps: [f64; 18] = std::array::from_fn(|c| q.color_step * class_step(c));
    let contexts: Vec<u8> = classes.iter().map(|c| c.color).collect();
    let mut codes = Vec::with_capacity(3);
    for k in 0..3 {
        codes.push(column.symbols.values(reader, k, out.len(), Some(&contexts))?);
    }
    let mut predicted = COLOR_START;
    for (i, sh0) in out.iter_mut().enumerate() {
        let step = steps[usize::from(contexts[i])];
        let mut y = [0.0; 3];
        for k in 0..3 {
            y[k] = (f64::from(unzigzag(codes[k][i])) + (predicted[k] / step).round_ties_even()) * step;
            predicted[k] = 0.5 * (predicted[k] + y[k]);
        }
        *sh0 = std::array::from_fn(|c| {
            let color = (COLOR_AXES[0][c] * y[0] + COLOR_AXES[1][c] * y[1]) + COLOR_AXES[2][c] * y[2];
            ((color - 0.5) / SH_C0) as f32
        });
    }
    Ok(())
}

fn read_harmonics(
    column: &Column<'_>,
    reader: &mut BlockReader<'_>,
    q: &Quantization,
    classes: &[Classes],
    out: &mut [f32],
) -> Result<()> {
    let rows = classes.len();
    let width = out.len() / rows.max(1);
    let basis = column.basis.as_ref().expect("opened with the chunk");
    let mut codes: Vec<Vec<u32>> = Vec::with_capacity(width);
    let mut magnitudes: Vec<Vec<u32>> = Vec::with_capacity(width);
    for k in 0..width {
        let contexts = harmonics::contexts(&magnitudes, k, rows);
        let column = column.symbols.values(reader, k, rows, Some(&contexts))?;
        magnitudes.push(column.iter().map(|&v| unzigzag(v).unsigned_abs()).collect());
        codes.push(column);
    }
    let mut row_codes = vec![0; width];
    for (i, class) in classes.iter().enumerate() {
        row_codes.iter_mut().zip(&codes).for_each(|(code, column)| *code = unzigzag(column[i]));
        let step = q.sh_step * class_step(class.color.min(MAX_SH_CLASS).into());
        basis.reconstruct(&row_codes, step, &mut out[i * width..(i + 1) * width]);
    }
    Ok(())
}
