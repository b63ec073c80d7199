//! What the terminal shows: tables for people, JSON lines for programs.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::{
    Arguments,
    metric::{DEFINITIONS, METRICS, Metric},
    summary::{Statistics, Summary},
    work::{Outcome, Row},
};
use crate::{
    failure,
    text::{self, plural, table},
};

/// Groups shown on the screen; the files hold all.
const SHOWN_GROUPS: usize = 40;

/// Every measure with its definition.
pub(crate) fn explain(as_json: bool) -> Result<ExitCode> {
    let mut out = io::stdout().lock();
    for info in &METRICS {
        let better = if info.higher_is_better { "higher" } else { "lower" };
        if as_json {
            let line = json!({"name": info.name, "title": info.title, "unit": info.unit, "better": better,
                "definition": info.definition, "masked": info.masked, "version": DEFINITIONS});
            writeln!(out, "{line}")?;
        } else {
            writeln!(out, "{} ({better} is better)\n  {}\n  masked: {}\n", info.name, info.definition, info.masked)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A number, or a text for what JSON has no number for.
pub(crate) fn number(value: f64) -> Value {
    if value.is_finite() { json!(value) } else { json!(value.to_string()) }
}

/// Shows what was scored.
pub(crate) fn say(
    arguments: &Arguments,
    outcome: &Outcome,
    summary: &Summary,
    written: &[PathBuf],
    seconds: f64,
) -> Result<()> {
    let mut out = io::stdout().lock();
    if arguments.json {
        for row in &outcome.rows {
            writeln!(out, "{}", item(row, summary))?;
        }
        for fault in &outcome.faults {
            let line = json!({"type": "item", "status": "failed", "name": fault.name, "group": fault.group,
                "error": fault.failure});
            writeln!(out, "{line}")?;
        }
        let groups: Vec<Value> = summary
            .groups
            .iter()
            .map(|g| json!({"group": g.name, "pairs": g.rows.len(), "failed": g.faults, "metrics": all(&g.statistics, &g.rows)}))
            .collect();
        let rows: Vec<&Row> = outcome.rows.iter().collect();
        let line = json!({"type": "summary", "pairs": outcome.rows.len(), "cached": summary.cached,
            "failed": outcome.faults.len(), "definitions": DEFINITIONS, "metrics": all(&summary.metrics, &rows),
            "groups": groups, "files": written, "seconds": seconds});
        writeln!(out, "{line}")?;
        return Ok(());
    }
    if !arguments.quiet {
        show(&mut out, outcome, summary, written, seconds)?;
    }
    out.flush()?;
    outcome.faults.iter().for_each(|f| failure::print_lines(&f.failure.message, f.failure.hint.as_deref()));
    Ok(())
}

fn item(row: &Row, summary: &Summary) -> Value {
    let scores: Map<String, Value> = summary
        .metrics
        .iter()
        .zip(&row.values)
        .map(|(s, value)| (s.metric.info().name.to_owned(), number(*value)))
        .collect();
    json!({"type": "item", "status": "scored", "name": row.name, "group": row.group, "width": row.width,
        "height": row.height, "pixels": row.pixels, "cached": row.cached, "scores": scores})
}

fn all(statistics: &[Statistics], rows: &[&Row]) -> Value {
    let one = |s: &Statistics| {
        json!({"mean": number(s.mean), "median": number(s.median), "min": number(s.min), "max": number(s.max),
            "worst": rows[s.worst].name, "infinite": s.infinite})
    };
    Value::Object(statistics.iter().map(|s| (s.metric.info().name.to_owned(), one(s))).collect())
}

/// `31.20 dB`.
fn with_unit(metric: Metric, value: f64) -> String {
    let text = metric.text(value);
    let unit = metric.info().unit;
    if unit.is_empty() { text } else { format!("{text} {unit}") }
}

fn show(
    out: &mut impl Write,
    outcome: &Outcome,
    summary: &Summary,
    written: &[PathBuf],
    seconds: f64,
) -> io::Result<()> {
    if summary.has_groups() {
        let mut head = vec!["".to_owned(), "pairs".to_owned()];
        head.extend(summary.metrics.iter().map(|s| s.metric.info().name.to_owned()));
        let mut rows = vec![head];
        for group in summary.groups.iter().filter(|g| !g.statistics.is_empty()).take(SHOWN_GROUPS) {
            let name = if group.name.is_empty() { "." } else { group.name };
            let mut row = vec![name.to_owned(), text::count(group.rows.len() as u64)];
            row.extend(group.statistics.iter().map(|s| with_unit(s.metric, s.mean)));
            rows.push(row);
        }
        writeln!(out, "{}", table(&rows))?;
        if summary.groups.len() > SHOWN_GROUPS {
            writeln!(out, "… and {} more; --csv and --report have all\n", summary.groups.len() - SHOWN_GROUPS)?;
        }
    }
    if !summary.metrics.is_empty() {
        let mut rows = vec![["", "mean", "median", "worst", "best", "worst pair"].map(str::to_owned).to_vec()];
        for s in &summary.metrics {
            let (worst, best) = if s.metric.info().higher_is_better { (s.min, s.max) } else { (s.max, s.min) };
            rows.push(vec![
                s.metric.info().name.to_owned(),
                with_unit(s.metric, s.mean),
                with_unit(s.metric, s.median),
                with_unit(s.metric, worst),
                with_unit(s.metric, best),
                outcome.rows[s.worst].name.clone(),
            ]);
        }
        write!(out, "{}", table(&rows))?;
        if let Some(infinite) = summary.metrics.iter().map(|s| s.infinite).max().filter(|n| *n > 0) {
            let pairs = plural(infinite, "pair");
            writeln!(out, "{pairs} of equal pictures: their PSNR, and so its mean, is infinite")?;
        }
        writeln!(out)?;
    }
    let mut parts = vec![format!("{} scored", plural(outcome.rows.len(), "pair"))];
    if summary.cached > 0 {
        parts.push(format!("{} of them known from earlier", text::count(summary.cached as u64)));
    }
    if !outcome.faults.is_empty() {
        parts.push(format!("{} failed", text::count(outcome.faults.len() as u64)));
    }
    writeln!(out, "{} in {}", parts.join(", "), text::seconds(seconds))?;
    written.iter().try_for_each(|path| writeln!(out, "written: {}", path.display()))
}
