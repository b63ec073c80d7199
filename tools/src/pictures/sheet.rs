//! Contact sheets: a grid of small pictures with labels.

use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

use super::{Pixels, linear_from_srgb, srgb_from_linear};

/// Background of a sheet.
const PAPER: u8 = 245;
/// Colour of the labels.
const INK: u8 = 40;
/// Pixels around pictures.
const GAP: usize = 8;
const FONT: RasterHeight = RasterHeight::Size16;
const WEIGHT: FontWeight = FontWeight::Regular;

/// One picture of a sheet and what stands below it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cell {
    pub label: String,
    pub picture: Pixels,
}

/// Puts rows of cells under a title, which may be empty. All columns are as wide, and all rows as high, as the largest
/// picture.
pub(crate) fn compose(title: &str, rows: &[&[Cell]]) -> Pixels {
    let line = FONT.val();
    let largest =
        |side: fn(&Pixels) -> usize| rows.iter().copied().flatten().map(|c| side(&c.picture)).max().unwrap_or(0);
    let (cell_width, cell_height) = (largest(|p| p.width), largest(|p| p.height));
    let columns = rows.iter().map(|row| row.len()).max().unwrap_or(0);
    let width = GAP + columns * (cell_width + GAP);
    let top = if title.is_empty() { GAP } else { GAP + line + GAP };
    let step = cell_height + line + GAP;
    let height = top + rows.len() * step;
    let mut sheet = Pixels { width, height, rgb: vec![PAPER; width * height * 3] };
    write(&mut sheet, GAP, GAP, width - GAP, title);
    for (r, row) in rows.iter().enumerate() {
        for (c, cell) in row.iter().enumerate() {
            let (x, y) = (GAP + c * (cell_width + GAP), top + r * step);
            for (row, pixels) in cell.picture.rgb.chunks_exact(cell.picture.width * 3).enumerate() {
                let start = ((y + row) * width + x) * 3;
                sheet.rgb[start..start + pixels.len()].copy_from_slice(pixels);
            }
            write(&mut sheet, x, y + cell.picture.height, x + cell_width, &cell.label);
        }
    }
    sheet
}

/// Rows of `cells`: of `columns` each, or so many that the sheet is about as wide as high, at most eight.
pub(crate) fn grid(cells: &[Cell], columns: Option<usize>) -> Vec<&[Cell]> {
    let square = ((cells.len() as f64).sqrt().ceil() as usize).clamp(1, 8);
    cells.chunks(columns.unwrap_or(square).max(1)).collect()
}

/// Writes `text` from (`x`, `y`) on, cut where it would cross the column `end`. Letters the font lacks show as `?`.
fn write(sheet: &mut Pixels, x: usize, y: usize, end: usize, text: &str) {
    let advance = get_raster_width(WEIGHT, FONT);
    let room = end.saturating_sub(x) / advance;
    let letters: Vec<char> = text.chars().collect();
    // the end of a long name tells more than its beginning
    let shown = if letters.len() > room { &letters[letters.len() - room..] } else { &letters[..] };
    for (index, letter) in shown.iter().enumerate() {
        let cut = letters.len() > room && index == 0;
        let letter = if cut { '…' } else { *letter };
        let Some(raster) =
            get_raster(letter, WEIGHT, FONT).or_else(|| get_raster(if cut { '~' } else { '?' }, WEIGHT, FONT))
        else {
            continue;
        };
        for (row, values) in raster.rows().enumerate() {
            for (column, value) in values.iter().enumerate() {
                let start = ((y + row) * sheet.width + x + index * advance + column) * 3;
                let mix = |paper: u8| paper - (u32::from(paper - INK) * u32::from(*value) / 255) as u8;
                for channel in &mut sheet.rgb[start..start + 3] {
                    *channel = mix(*channel);
                }
            }
        }
    }
}

/// Makes a picture fit a square of `side` pixels by averaging areas in linear light; smaller ones stay as they are.
pub(crate) fn shrink(picture: &Pixels, side: usize) -> Pixels {
    let longest = picture.width.max(picture.height);
    if longest <= side {
        return picture.clone();
    }
    let factor = longest as f64 / side as f64;
    let size = |v: usize| ((v as f64 / factor).round() as usize).max(1);
    let (width, height) = (size(picture.width), size(picture.height));
    let linear: Vec<f32> = (0..=255u8).map(|v| linear_from_srgb(f32::from(v) / 255.0)).collect();
    let columns = weights(picture.width, width);
    let rows = weights(picture.height, height);
    // rows first: one pass over the large picture
    let mut narrow = vec![0.0f32; width * picture.height * 3];
    for y in 0..picture.height {
        for (x, parts) in columns.iter().enumerate() {
            for (source, weight) in parts {
                for c in 0..3 {
                    let value = linear[usize::from(picture.rgb[(y * picture.width + source) * 3 + c])];
                    narrow[(y * width + x) * 3 + c] += weight * value;
                }
            }
        }
    }
    let mut rgb = Vec::with_capacity(width * height * 3);
    for parts in &rows {
        for i in 0..width * 3 {
            let value: f32 = parts.iter().map(|(source, weight)| weight * narrow[source * width * 3 + i]).sum();
            rgb.push((srgb_from_linear(value).clamp(0.0, 1.0) * 255.0 + 0.5) as u8);
        }
    }
    Pixels { width, height, rgb }
}

/// For each of `to` places, which of the `from` it covers and by which share.
fn weights(from: usize, to: usize) -> Vec<Vec<(usize, f32)>> {
    let step = from as f64 / to as f64;
    let place = |k: usize| {
        let (begin, end) = (k as f64 * step, (k + 1) as f64 * step);
        let covered = begin as usize..(end.ceil() as usize).min(from);
        let share = move |i: usize| (end.min(i as f64 + 1.0) - begin.max(i as f64)).max(0.0) / step;
        covered.map(|i| (i, share(i) as f32)).collect()
    };
    (0..to).map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shrinking_keeps_the_mean_light_and_the_shape() {
        let mut picture = Pixels { width: 30, height: 20, rgb: vec![0; 1800] };
        for (i, value) in picture.rgb.iter_mut().enumerate() {
            *value = if (i / 3) % 2 == 0 { 255 } else { 0 };
        }
        let small = shrink(&picture, 15);
        assert_eq!((small.width, small.height), (15, 10));
        // half of the light is 188 in sRGB, not 128
        assert!(small.rgb.iter().all(|v| *v == 188), "{:?}", &small.rgb[..6]);
        assert_eq!(shrink(&picture, 100), picture);
        assert!((weights(7, 3).iter().flatten().map(|w| w.1).sum::<f32>() - 3.0).abs() < 1e-6);
    }

    #[test]
    fn sheets_hold_all_cells_and_cut_long_labels() {
        let cell = |value: u8, label: &str| Cell {
            label: label.to_owned(),
            picture: Pixels { width: 40, height: 30, rgb: vec![value; 3600] },
        };
        let cells = [cell(1, "a"), cell(2, "a very long label that does not fit"), cell(3, "Ω")];
        let sheet = compose("title", &grid(&cells, None));
        assert_eq!((sheet.width, sheet.height), (8 + 2 * 48, 8 + 16 + 8 + 2 * (30 + 16 + 8)));
        let at = |x: usize, y: usize| sheet.rgb[(y * sheet.width + x) * 3];
        assert_eq!([at(8, 32), at(56, 32), at(8, 86)], [1, 2, 3]);
        assert_eq!([at(0, 0), at(48 + 8 + 41, 32)], [PAPER; 2]);
        assert!(sheet.rgb.iter().any(|v| (4..100).contains(v)), "there is text");
        assert_eq!(compose("", &[]).width, 8);
    }
}
