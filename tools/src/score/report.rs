//! The report: one HTML file that needs no network, with everything it shows inside.
//!
//! `chart` draws distributions, `gallery` the pictures of the worst pairs; `page.css` and `page.js` lie beside them. Nothing in
//! the page depends on when it was made: the same scores give the same bytes.

mod chart;
mod gallery;

use serde_json::{Map, Value, json};

use super::{
    Arguments,
    distribution::SetOutcome,
    metric::{DEFINITIONS, Metric},
    say::number,
    summary::{Statistics, Summary},
    work::{Context, Outcome},
};
use crate::text::{self, plural};

const STYLE: &str = include_str!("report/page.css");
const SCRIPT: &str = include_str!("report/page.js");

/// Failures that are listed; the tables have all.
const SHOWN_FAULTS: usize = 50;

/// The page.
pub(crate) fn html(
    arguments: &Arguments,
    context: &Context,
    outcome: &Outcome,
    summary: &Summary,
    sets: &SetOutcome,
) -> String {
    let shown = gallery::collect(context, outcome, arguments.worst);
    let mut body = header(context, outcome, summary);
    body += "<main>\n";
    body += &cards(outcome, summary, sets);
    body += &faults(outcome);
    body += &gallery::html(context, outcome, summary, &shown);
    body += &tables(context, outcome, summary);
    body += &definitions(arguments, context, sets, shown.scale);
    body +=
        "</main>\n<dialog id=\"large\"><button type=\"button\" aria-label=\"Close\">×</button><div></div></dialog>\n";
    let data = data(outcome, summary, &shown).to_string().replace('<', "\\u003c");
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>Scores: {}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n{body}\
         <script type=\"application/json\" id=\"data\">{data}</script>\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n",
        escape(&context.plan.title)
    )
}

/// Text as HTML shows it.
pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            _ => safe.push(letter),
        }
    }
    safe
}

/// A value with its unit.
fn value(metric: Metric, value: f64) -> String {
    let unit = metric.info().unit;
    let unit = if unit.is_empty() { String::new() } else { format!("<small>&nbsp;{unit}</small>") };
    format!("<span class=\"number\">{}{unit}</span>", metric.text(value))
}

fn header(context: &Context, outcome: &Outcome, summary: &Summary) -> String {
    let mut facts = Vec::new();
    if !context.metrics.is_empty() {
        facts.push(plural(outcome.rows.len(), "pair"));
    }
    if summary.has_groups() {
        facts.push(plural(summary.groups.len(), context.plan.group_word));
    }
    if !outcome.faults.is_empty() {
        facts
            .push(format!("<a class=\"bad\" href=\"#failed\">{} failed</a>", text::count(outcome.faults.len() as u64)));
    }
    facts.push(format!("gav {}", env!("CARGO_PKG_VERSION")));
    facts.push(format!("<a href=\"#definitions\">definitions {DEFINITIONS}</a>"));
    format!(
        "<header>\n<p class=\"eyebrow\">Scores</p>\n<h1>{}</h1>\n<p class=\"facts\">{}</p>\n</header>\n",
        escape(&context.plan.title),
        facts.join("<span aria-hidden=\"true\"> · </span>")
    )
}

/// Mean, spread and distribution of each measure.
fn cards(outcome: &Outcome, summary: &Summary, sets: &SetOutcome) -> String {
    let mut html = String::from("<section class=\"cards\" aria-label=\"Summary\">\n");
    for score in &sets.scores {
        let info = score.metric.info();
        let arrow = if info.higher_is_better { "↑ better" } else { "↓ better" };
        let decimals = info.decimals;
        let spread = score.deviation.map(|d| format!("<span>± {d:.decimals$}</span>")).unwrap_or_default();
        let count = |n: u64| if n == 0 { "–".to_owned() } else { text::count(n) };
        html += &format!(
            "<article class=\"card\">\n<h2>{} <small>{arrow}</small></h2>\n<p class=\"code\">{}</p>\n\
             <p class=\"mean\"><span class=\"number\">{:.decimals$}</span>{spread}</p>\n\
             <dl><div><dt>pictures</dt><dd>{}</dd></div><div><dt>references</dt><dd>{}</dd></div></dl>\n</article>\n",
            info.title,
            info.name,
            score.value,
            count(score.counts[0]),
            count(score.counts[1])
        );
    }
    for (column, s) in summary.metrics.iter().enumerate() {
        let info = s.metric.info();
        let (worst, best) = if info.higher_is_better { (s.min, s.max) } else { (s.max, s.min) };
        let arrow = if info.higher_is_better { "↑ better" } else { "↓ better" };
        let values: Vec<f64> = outcome.rows.iter().map(|r| r.values[column]).collect();
        html += &format!(
            "<article class=\"card\">\n<h2>{} <small>{arrow}</small></h2>\n<p class=\"code\">{}</p>\n\
             <p class=\"mean\">{}<span>mean</span></p>\n{}\
             <dl><div><dt>worst</dt><dd>{}</dd></div><div><dt>median</dt><dd>{}</dd></div>\
             <div><dt>best</dt><dd>{}</dd></div></dl>\n</article>\n",
            info.title,
            info.name,
            value(s.metric, s.mean),
            chart::histogram(s.metric, &values, s.mean),
            value(s.metric, worst),
            value(s.metric, s.median),
            value(s.metric, best)
        );
    }
    html += "</section>\n";
    html
}

fn faults(outcome: &Outcome) -> String {
    if outcome.faults.is_empty() {
        return String::new();
    }
    let count = outcome.faults.len();
    let mut html =
        format!("<section id=\"failed\">\n<h2>{} failed</h2>\n<ul class=\"faults\">\n", text::count(count as u64));
    for fault in outcome.faults.iter().take(SHOWN_FAULTS) {
        let hint = fault.failure.hint.as_deref().map(|h| format!(" <span>{}</span>", escape(h))).unwrap_or_default();
        html += &format!("<li>{}{hint}</li>\n", escape(&fault.failure.message));
    }
    html += "</ul>\n";
    if count > SHOWN_FAULTS {
        html += &format!("<p class=\"note\">and {} more</p>\n", text::count((count - SHOWN_FAULTS) as u64));
    }
    html + "</section>\n"
}

/// Frames of the tables, which the script fills.
fn tables(context: &Context, outcome: &Outcome, summary: &Summary) -> String {
    if outcome.rows.is_empty() {
        return String::new();
    }
    let word = context.plan.group_word;
    let choice = if summary.has_groups() {
        format!(
            "<div class=\"tabs\" role=\"group\" aria-label=\"Rows\"><button type=\"button\" data-table=\"groups\" \
             aria-pressed=\"true\">By {word}</button><button type=\"button\" data-table=\"pairs\" \
             aria-pressed=\"false\">By pair</button></div>"
        )
    } else {
        String::new()
    };
    format!(
        "<section id=\"all\">\n<h2>All scores</h2>\n<div class=\"tools\">{choice}\
         <input type=\"search\" id=\"filter\" placeholder=\"Filter by name\" aria-label=\"Filter by name\">\
         <output id=\"count\"></output></div>\n<div class=\"scroll\"><table id=\"rows\"><thead></thead><tbody></tbody></table></div>\n\
         <button type=\"button\" id=\"more\" hidden>Show more</button>\n\
         <noscript><p class=\"note\">This table needs JavaScript; --csv and --parquet write it as files.</p></noscript>\n</section>\n"
    )
}

fn definitions(arguments: &Arguments, context: &Context, sets: &SetOutcome, scale: f32) -> String {
    let masked = arguments.masks.is_some() || arguments.own_masks;
    let mut html = String::from("<section id=\"definitions\">\n<h2>Definitions</h2>\n<dl class=\"definitions\">\n");
    for metric in context.metrics {
        let info = metric.info();
        let mask = if masked { format!(" With masks: {}.", info.masked) } else { String::new() };
        html += &format!("<dt>{}</dt><dd>{}.{mask}</dd>\n", info.name, escape(info.definition));
    }
    for score in &sets.scores {
        let info = score.metric.info();
        html += &format!("<dt>{}</dt><dd>{}.</dd>\n", info.name, escape(info.definition));
    }
    for warning in &sets.warnings {
        html += &format!("<dt>note</dt><dd>{}</dd>\n", escape(warning));
    }
    for (part, source, hash, official) in &context.networks.weights {
        let origin = if *official { "the published file" } else { "a file of unknown origin" };
        html += &format!(
            "<dt>weights {}</dt><dd>{} from {}, {origin}, SHA-256 {}</dd>\n",
            part.id(),
            escape(part.title()),
            escape(source),
            escape(hash)
        );
    }
    let color: Vec<String> = arguments.background.iter().map(|v| format!("{:02x}", (v * 255.0 + 0.5) as u8)).collect();
    html += &format!(
        "<dt>pictures</dt><dd>Compared as displayed (sRGB), cut to 0…1, over #{} where they have alpha, never scaled. \
         OpenEXR is linear Rec. 709 with colours multiplied by A, NPY is display-encoded. Assets are drawn at rest by the \
         rasteriser of this program.</dd>\n",
        color.concat()
    );
    html += &format!(
        "<dt>error map</dt><dd>Mean absolute difference over the channels, from 0 (dark) to {scale} and above (bright); \
         dark where a mask hides. The pictures of this page are reduced in size and compressed; the scores are not \
         computed from them.</dd>\n"
    );
    html += &format!(
        "<dt>versions</dt><dd>gav {}, definitions {DEFINITIONS}</dd>\n</dl>\n</section>\n",
        env!("CARGO_PKG_VERSION")
    );
    html
}

/// What the tables show: columns, groups, pairs.
fn data(outcome: &Outcome, summary: &Summary, shown: &gallery::Gallery) -> Value {
    let column = |s: &Statistics| {
        let info = s.metric.info();
        json!({"name": info.name, "title": info.title, "unit": info.unit, "decimals": info.decimals,
            "higher": info.higher_is_better})
    };
    let values = |values: &mut dyn Iterator<Item = f64>| values.map(number).collect::<Vec<_>>();
    let pairs: Vec<Value> = outcome
        .rows
        .iter()
        .map(|row| {
            let mut pair = Map::from_iter([
                ("name".to_owned(), json!(row.name)),
                ("values".to_owned(), json!(values(&mut row.values.iter().copied()))),
            ]);
            if let Some(rank) = shown.cases.iter().position(|case| outcome.rows[case.row].name == row.name) {
                pair.insert("rank".to_owned(), json!(rank + 1));
            }
            Value::Object(pair)
        })
        .collect();
    let groups: Vec<Value> = summary
        .groups
        .iter()
        .filter(|g| !g.statistics.is_empty())
        .map(|g| {
            let name = if g.name.is_empty() { "." } else { g.name };
            json!({"name": name, "pairs": g.rows.len(), "values": values(&mut g.statistics.iter().map(|s| s.mean))})
        })
        .collect();
    json!({
        "columns": summary.metrics.iter().map(column).collect::<Vec<_>>(),
        "groups": if summary.has_groups() { groups } else { Vec::new() },
        "pairs": pairs,
    })
}
