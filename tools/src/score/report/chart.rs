//! Distributions as inline SVG.

use crate::{score::metric::Metric, text::plural};

const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 72.0;
const GAP: f64 = 1.5;

/// A histogram of the finite values, with the mean marked; nothing for fewer than two different values.
pub(super) fn histogram(metric: Metric, values: &[f64], mean: f64) -> String {
    let finite: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    let low = finite.iter().copied().fold(f64::INFINITY, f64::min);
    let high = finite.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if high <= low || finite.is_empty() {
        return "<p class=\"chart note\">all values are equal</p>\n".to_owned();
    }
    // twice the square root of the count: about the rule of Freedman and Diaconis for bell-shaped data
    let bins = ((2.0 * (finite.len() as f64).sqrt()).ceil() as usize).clamp(5, 30);
    let mut counts = vec![0usize; bins];
    for value in &finite {
        counts[(((value - low) / (high - low) * bins as f64) as usize).min(bins - 1)] += 1;
    }
    let most = counts.iter().copied().max().unwrap_or(1).max(1) as f64;
    let step = WIDTH / bins as f64;
    let edge = |index: usize| low + (high - low) * index as f64 / bins as f64;
    let mut bars = String::new();
    for (index, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        // a single pair stays visible beside hundreds
        let height = (count as f64 / most * HEIGHT).max(2.0);
        bars += &format!(
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\"><title>{} to {}: {}</title></rect>",
            index as f64 * step + GAP / 2.0,
            HEIGHT - height,
            step - GAP,
            metric.text(edge(index)),
            metric.text(edge(index + 1)),
            plural(count, "pair")
        );
    }
    let marker = if mean.is_finite() {
        let x = ((mean - low) / (high - low) * WIDTH).clamp(0.0, WIDTH);
        format!(
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"0\" y2=\"{HEIGHT}\"><title>mean {}</title></line>",
            metric.text(mean)
        )
    } else {
        String::new()
    };
    let infinite = values.len() - finite.len();
    let note = if infinite > 0 {
        format!("<p class=\"note\">without {} of equal pictures</p>\n", plural(infinite, "pair"))
    } else {
        String::new()
    };
    // stretched to the card, so the labels stand outside
    format!(
        "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" \
         aria-label=\"Distribution of {}\">{bars}{marker}<path d=\"M0 {HEIGHT}H{WIDTH}\"/></svg>\n\
         <p class=\"ends\"><span>{}</span><span>{}</span></p>\n{note}",
        metric.info().name,
        metric.text(low),
        metric.text(high)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_a_bar() {
        let values: Vec<f64> = (0..100).map(|i| 20.0 + f64::from(i % 17)).chain([f64::INFINITY]).collect();
        let svg = histogram(Metric::PsnrPerImage, &values, f64::INFINITY);
        let counts = svg.match_indices(" pair").map(|(at, _)| {
            let number = svg[..at].rsplit([' ', '>']).next().unwrap();
            number.parse::<usize>().unwrap()
        });
        // the last one is the note about the infinite value
        assert_eq!(counts.sum::<usize>(), 101, "{svg}");
        assert!(svg.contains("without 1 pair") && !svg.contains("<line"), "{svg}");
        assert!(histogram(Metric::Mse, &[0.5, 0.5], 0.5).contains("equal"));
    }
}
