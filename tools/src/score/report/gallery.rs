//! The worst pairs with their pictures: reference, what was scored, and the error between them.

use base64::Engine;
use rayon::prelude::*;

use super::{escape, value};
use crate::{
    failure::Failure,
    score::{
        decode::Picture,
        summary::Summary,
        work::{Context, Loaded, Outcome},
    },
};

/// Longest side of a picture in the page: three of them fill a wide screen, and a dozen pairs stay below 2 MB.
const SIDE: usize = 512;
/// Quality of the lossy WebP.
const QUALITY: f32 = 86.0;
/// Full scales of the error map; the smallest that all but one value in a hundred fit into is taken.
const SCALES: [f32; 5] = [0.05, 0.1, 0.2, 0.5, 1.0];

/// Colours of the error map from no error to the full scale, about equally far apart to the eye and rising in lightness, so
/// that they read in grey too.
const RAMP: [[f32; 3]; 6] = [
    [0.02, 0.02, 0.06],
    [0.20, 0.07, 0.36],
    [0.53, 0.14, 0.42],
    [0.86, 0.30, 0.30],
    [0.98, 0.62, 0.25],
    [0.99, 0.96, 0.70],
];

/// A pair that is shown.
pub(super) struct Case {
    /// Index of the row.
    pub row: usize,
    /// Width and height of the originals, and of the pictures here.
    size: [usize; 2],
    shown: [usize; 2],
    /// Data URIs: reference, test, error.
    pictures: Result<[String; 3], Failure>,
}

/// All pairs that are shown.
pub(super) struct Gallery {
    /// Worst first.
    pub cases: Vec<Case>,
    /// Full scale of the error maps.
    pub scale: f32,
}

/// The pictures of the `count` worst pairs by the first measure. Assets are drawn again.
pub(super) fn collect(context: &Context, outcome: &Outcome, count: usize) -> Gallery {
    let Some(&metric) = context.metrics.first() else { return Gallery { cases: Vec::new(), scale: 1.0 } };
    let mut order: Vec<usize> = (0..outcome.rows.len()).collect();
    order.sort_by(|&a, &b| metric.worst_first(outcome.rows[a].values[0], outcome.rows[b].values[0]));
    order.truncate(count);
    let reduced: Vec<(usize, Result<Loaded, Failure>)> =
        order.into_par_iter().map(|row| (row, context.pictures(outcome.rows[row].place).map(reduce))).collect();
    let mut errors: Vec<f32> = reduced.iter().filter_map(|(_, l)| l.as_ref().ok()).flat_map(error_values).collect();
    let allowed = errors.len() / 100;
    let high = match errors.len() {
        0 => 0.0,
        length => *errors.select_nth_unstable_by(length - 1 - allowed.min(length - 1), f32::total_cmp).1,
    };
    let scale = SCALES.into_iter().find(|s| high <= *s).unwrap_or(1.0);
    let cases = reduced
        .into_par_iter()
        .map(|(row, loaded)| {
            let origin = &outcome.rows[row];
            let shown = loaded.as_ref().map_or([origin.width, origin.height], |l| [l.test.width, l.test.height]);
            let pictures = loaded.and_then(|loaded| {
                let error = error_picture(&loaded, scale);
                Ok([uri(&loaded.reference)?, uri(&loaded.test)?, uri(&error)?])
            });
            Case { row, size: [origin.width, origin.height], shown, pictures }
        })
        .collect();
    Gallery { cases, scale }
}

/// The section of the page.
pub(super) fn html(context: &Context, outcome: &Outcome, summary: &Summary, gallery: &Gallery) -> String {
    if gallery.cases.is_empty() {
        return String::new();
    }
    let all = gallery.cases.len() == outcome.rows.len();
    let heading = if all { "Worst first" } else { "Worst pairs" };
    let by = context.metrics[0].info().name;
    let mut html = format!(
        "<section id=\"worst\">\n<div class=\"heading\"><h2>{heading}</h2><p class=\"note\">by {by}</p>\
         <p class=\"legend\"><span>error 0</span><i></i><span>{}</span></p></div>\n<div class=\"cases\">\n",
        gallery.scale
    );
    for (rank, case) in gallery.cases.iter().enumerate() {
        let row = &outcome.rows[case.row];
        let scores: Vec<String> = summary
            .metrics
            .iter()
            .zip(&row.values)
            .map(|(s, v)| format!("<li><span>{}</span> {}</li>", s.metric.info().title, value(s.metric, *v)))
            .collect();
        let [width, height] = case.size;
        html += &format!(
            "<article class=\"case\" id=\"pair-{0}\">\n<h3><span class=\"rank\">{0}</span> {1} <small>{width} × {height}</small></h3>\n\
             <ul class=\"scores\">{2}</ul>\n",
            rank + 1,
            escape(&row.name),
            scores.concat()
        );
        match &case.pictures {
            Ok(pictures) => {
                let [width, height] = case.shown;
                html += "<div class=\"three\">";
                for (label, uri) in ["reference", "scored", "error"].iter().zip(pictures) {
                    html += &format!(
                        "<figure><img src=\"{uri}\" width=\"{width}\" height=\"{height}\" loading=\"lazy\" \
                         alt=\"{label} of {}\"><figcaption>{label}</figcaption></figure>",
                        escape(&row.name)
                    );
                }
                html += "</div>\n";
            }
            Err(failure) => html += &format!("<p class=\"note\">{}</p>\n", escape(&failure.message)),
        }
        html += "</article>\n";
    }
    html + "</div>\n</section>\n"
}

/// All pictures at the size of the page.
fn reduce(loaded: Loaded) -> Loaded {
    let (width, height) = (loaded.test.width, loaded.test.height);
    let scale = (SIDE as f64 / width.max(height) as f64).min(1.0);
    let size = [width, height].map(|side| ((side as f64 * scale).round() as usize).max(1));
    let picture =
        |p: Picture| Picture { width: size[0], height: size[1], rgb: shrink(&p.rgb, [width, height], size, 3) };
    Loaded {
        mask: loaded.mask.map(|m| shrink(&m, [width, height], size, 1)),
        test: picture(loaded.test),
        reference: picture(loaded.reference),
        on_device: None,
    }
}

/// Means over the pixels that fall into each pixel of the smaller picture, in display values.
fn shrink(values: &[f32], [width, height]: [usize; 2], [columns, rows]: [usize; 2], channels: usize) -> Vec<f32> {
    if (width, height) == (columns, rows) {
        return values.to_vec();
    }
    let span = |index: usize, count: usize, side: usize| index * side / count..((index + 1) * side).div_ceil(count);
    let mut small = Vec::with_capacity(columns * rows * channels);
    for row in 0..rows {
        for column in 0..columns {
            let (ys, xs) = (span(row, rows, height), span(column, columns, width));
            let count = (ys.len() * xs.len()) as f32;
            for c in 0..channels {
                let sum: f32 =
                    ys.clone().flat_map(|y| xs.clone().map(move |x| values[(y * width + x) * channels + c])).sum();
                small.push(sum / count);
            }
        }
    }
    small
}

/// The error of every pixel.
fn error_values(loaded: &Loaded) -> Vec<f32> {
    let pixels = loaded.test.rgb.chunks_exact(3).zip(loaded.reference.rgb.chunks_exact(3)).enumerate();
    let weight = |i: usize| loaded.mask.as_ref().map_or(1.0, |m| m[i]);
    pixels.map(|(i, (a, b))| weight(i) * a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f32>() / 3.0).collect()
}

fn error_picture(loaded: &Loaded, scale: f32) -> Picture {
    let color = |error: f32| {
        let place = (error / scale).clamp(0.0, 1.0) * (RAMP.len() - 1) as f32;
        let index = (place as usize).min(RAMP.len() - 2);
        let part = place - index as f32;
        [0, 1, 2].map(|c| RAMP[index][c] * (1.0 - part) + RAMP[index + 1][c] * part)
    };
    let rgb = error_values(loaded).into_iter().flat_map(color).collect();
    Picture { width: loaded.test.width, height: loaded.test.height, rgb }
}

/// The picture as a data URI.
fn uri(picture: &Picture) -> Result<String, Failure> {
    let rgb: Vec<u8> = picture.rgb.iter().map(|v| (v.clamp(0.0, 1.0) * 255.0 + 0.5) as u8).collect();
    let encoder = webp::Encoder::from_rgb(&rgb, picture.width as u32, picture.height as u32);
    let bytes = encoder.encode_simple(false, QUALITY).map_err(|e| Failure {
        code: "ENCODER",
        message: format!("a picture of {} × {} pixels cannot be encoded: {e:?}", picture.width, picture.height),
        hint: None,
    })?;
    Ok(format!("data:image/webp;base64,{}", base64::engine::general_purpose::STANDARD.encode(&*bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shrinking_keeps_the_mean() {
        let values: Vec<f32> = (0..10 * 6 * 3).map(|i| (i % 7) as f32).collect();
        let small = shrink(&values, [10, 6], [5, 3], 3);
        let mean = |v: &[f32]| v.iter().sum::<f32>() / v.len() as f32;
        assert_eq!(small.len(), 5 * 3 * 3);
        assert!((mean(&small) - mean(&values)).abs() < 1e-5);
        assert_eq!(shrink(&values, [10, 6], [10, 6], 3), values);
        // sides that do not divide evenly
        assert_eq!(shrink(&[0.5; 7 * 5], [7, 5], [3, 2], 1), [0.5; 6]);
    }

    #[test]
    fn the_error_map_rises_in_lightness() {
        let lightness = |c: &[f32; 3]| 0.2126 * c[0] + 0.7152 * c[1] + 0.0722 * c[2];
        assert!(RAMP.windows(2).all(|w| lightness(&w[0]) + 0.05 < lightness(&w[1])));
        let picture = |value: f32| Picture { width: 2, height: 1, rgb: vec![value; 6] };
        let loaded =
            Loaded { test: picture(0.5), reference: picture(0.75), mask: Some(vec![1.0, 0.0]), on_device: None };
        let map = error_picture(&loaded, 0.25).rgb;
        assert_eq!((&map[..3], &map[3..]), (&RAMP[5][..], &RAMP[0][..]));
    }
}
