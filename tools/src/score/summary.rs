//! From scores of pairs to a few numbers: over everything, and over each group.

use std::collections::BTreeMap;

use super::{
    metric::Metric,
    work::{Fault, Outcome, Row},
};

/// One measure over several pairs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Statistics {
    pub metric: Metric,
    /// As the measure defines the mean.
    pub mean: f64,
    pub median: f64,
    pub min: f64,
    pub max: f64,
    /// Index of the worst row.
    pub worst: usize,
    /// Pairs with an infinite value, that is, equal pictures.
    pub infinite: usize,
}

impl Statistics {
    /// Of the values in column `column` of some rows; `None` without rows.
    pub(crate) fn of(metric: Metric, column: usize, rows: &[&Row]) -> Option<Self> {
        let weighted: Vec<(f64, f64)> = rows.iter().map(|r| (r.values[column], r.pixels)).collect();
        let mut sorted: Vec<f64> = weighted.iter().map(|(value, _)| *value).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median =
            if sorted.len().is_multiple_of(2) { 0.5 * (sorted[middle - 1] + sorted[middle]) } else { sorted[middle] };
        let worst = (0..rows.len()).min_by(|&a, &b| metric.worst_first(weighted[a].0, weighted[b].0))?;
        let infinite = sorted.iter().filter(|v| v.is_infinite()).count();
        Some(Self { metric, mean: metric.mean(&weighted), median, min, max, worst, infinite })
    }
}

/// Pairs that belong together: a folder, or the views of an asset.
pub(crate) struct Group<'a> {
    pub name: &'a str,
    pub rows: Vec<&'a Row>,
    pub faults: usize,
    pub statistics: Vec<Statistics>,
}

/// Everything at a glance.
pub(crate) struct Summary<'a> {
    pub metrics: Vec<Statistics>,
    /// In the order of their names.
    pub groups: Vec<Group<'a>>,
    pub cached: usize,
}

impl<'a> Summary<'a> {
    /// Sums up what was scored by `metrics`.
    pub(crate) fn of(metrics: &[Metric], outcome: &'a Outcome) -> Self {
        let all = |rows: &[&Row]| -> Vec<Statistics> {
            metrics.iter().enumerate().filter_map(|(column, &metric)| Statistics::of(metric, column, rows)).collect()
        };
        let mut groups: BTreeMap<&str, (Vec<&Row>, usize)> = BTreeMap::new();
        for row in &outcome.rows {
            groups.entry(&row.group).or_default().0.push(row);
        }
        let grouped = |fault: &&Fault| !fault.name.is_empty() || !fault.group.is_empty();
        for fault in outcome.faults.iter().filter(grouped) {
            groups.entry(&fault.group).or_default().1 += 1;
        }
        let groups = groups
            .into_iter()
            .map(|(name, (rows, faults))| Group { name, statistics: all(&rows), rows, faults })
            .collect();
        let rows: Vec<&Row> = outcome.rows.iter().collect();
        Self { metrics: all(&rows), groups, cached: rows.iter().filter(|r| r.cached).count() }
    }

    /// Are there groups worth a table: several, and fewer than pairs?
    pub(crate) fn has_groups(&self) -> bool {
        self.groups.len() > 1 && self.groups.iter().any(|g| g.rows.len() > 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(group: &str, value: f64, pixels: f64) -> Row {
        let (name, group) = (format!("{group}/{value}"), group.to_owned());
        Row { place: [0, 0], name, group, width: 1, height: 1, pixels, values: vec![value], cached: false }
    }

    #[test]
    fn groups_have_their_own_means() {
        let rows = vec![row("a", 20.0, 1.0), row("b", 30.0, 1.0), row("b", 40.0, 1.0), row("b", f64::INFINITY, 1.0)];
        let outcome = Outcome { rows, faults: Vec::new() };
        let summary = Summary::of(&[Metric::PsnrPerImage], &outcome);
        let all = &summary.metrics[0];
        assert_eq!((all.mean, all.median, all.min, all.max), (f64::INFINITY, 35.0, 20.0, f64::INFINITY));
        assert_eq!((all.worst, all.infinite), (0, 1));
        assert_eq!(summary.groups[0].statistics[0].mean, 20.0);
        assert!(summary.has_groups());
        let lower = Summary::of(&[Metric::Mse], &outcome);
        assert_eq!(lower.metrics[0].worst, 3, "large errors are the worst");
        assert!(Summary::of(&[Metric::Mse], &Outcome { rows: Vec::new(), faults: Vec::new() }).metrics.is_empty());
    }
}
