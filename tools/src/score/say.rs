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
    distribution::{SET_METRICS, SetOutcome, SetScore},
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
    for info in &SET_METRICS {
        let better = if info.higher_is_better { "higher" } else { "lower" };
        if as_json {
            let line = json!({"name": info.name, "title": info.title, "unit": "", "better": better, "of": "sets",
                "definition": info.definition, "version": DEFINITIONS});
            writeln!(out, "{line}")?;
        } else {
            writeln!(out, "{} ({better} is better; of sets)\n  {}\n", info.name, info.definition)?;
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
    sets: &SetOutcome,
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
            "groups": groups, "sets": sets.scores.iter().map(set).collect::<Vec<_>>(), "warnings": sets.warnings,
            "files": written, "seconds": seconds});
        writeln!(out, "{line}")?;
        return Ok(());
    }
    if !arguments.quiet {
        sets.warnings.iter().for_each(|w| eprintln!("warning: {w}"));
        show_sets(&mut out, sets)?;
        show(&mut out, outcome, summary)?;
        finish(&mut out, outcome, summary, sets, written, seconds)?;
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

fn set(score: &SetScore) -> Value {
    json!({"name": score.metric.info().name, "value": number(score.value), "deviation": score.deviation.map(number),
        "pictures": score.counts[0], "references": score.counts[1]})
}

fn show_sets(out: &mut impl Write, sets: &SetOutcome) -> io::Result<()> {
    if sets.scores.is_empty() {
        return Ok(());
    }
    let mut rows = vec![["", "value", "pictures", "references"].map(str::to_owned).to_vec()];
    // a file of another program does not say how many pictures it was made of
    let count = |n: u64| if n == 0 { "–".to_owned() } else { text::count(n) };
    for score in &sets.scores {
        let [test, reference] = score.counts.map(count);
        rows.push(vec![score.metric.info().name.to_owned(), score.to_string(), test, reference]);
    }
    writeln!(out, "{}", table(&rows))
}

fn show(out: &mut impl Write, outcome: &Outcome, summary: &Summary) -> io::Result<()> {
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
    Ok(())
}

fn finish(
    out: &mut impl Write,
    outcome: &Outcome,
    summary: &Summary,
    sets: &SetOutcome,
    written: &[PathBuf],
    seconds: f64,
) -> io::Result<()> {
    let mut parts = Vec::new();
    if !sets.scores.is_empty() {
        parts.push(format!("{} of sets computed", plural(sets.scores.len(), "measure")));
    }
    if !outcome.rows.is_empty() || sets.scores.is_empty() {
        parts.push(format!("{} scored", plural(outcome.rows.len(), "pair")));
    }
    if summary.cached > 0 {
        parts.push(format!("{} of them known from earlier", text::count(summary.cached as u64)));
    }
    if !outcome.faults.is_empty() {
        parts.push(format!("{} failed", text::count(outcome.faults.len() as u64)));
    }
    writeln!(out, "{} in {}", parts.join(", "), text::seconds(seconds))?;
    written.iter().try_for_each(|path| writeln!(out, "written: {}", path.display()))
}
