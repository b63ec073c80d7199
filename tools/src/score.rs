//! `gav score`: how far pictures are from their references, in named measures, as a table, as files and as a report.
//!
//! `plan` finds the pairs, `sets` and `decode` read pictures, `draw` makes those of assets, `metric` defines the measures, `work`
//! scores with what `cache` knows already, `summary` sums up, `tables` and `report` write.

mod cache;
mod decode;
mod draw;
mod metric;
mod plan;
mod report;
mod say;
mod sets;
mod summary;
mod tables;
mod work;

use std::{path::PathBuf, process::ExitCode, time::Instant};

use anyhow::Result;
use clap::Args;

use self::{
    cache::Cache,
    metric::Metric,
    summary::Summary,
    work::{Context, Fault},
};
use crate::{failure::refuse, reading::ReadArguments};

const EXAMPLES: &str = "\
Examples:
  gav score renders -r photos                               pictures of the same name, PSNR and SSIM
  gav score renders -r photos --masks masks --report scores.html
  gav score head.spz head.sog -r head.ply                   assets against an asset, six orbit views
  gav score avatars -r data/transforms_test.json            assets against the photos of a data set
  gav score renders -r photos --metrics psnr-pooled,ssim-valid,ms-ssim --csv scores.csv
  gav score renders -r photos --json | jq 'select(.type == \"item\") | .scores'

Pictures are PNG, WebP, JPEG, OpenEXR or NPY, in folders or zip archives, matched by their path without the ending. They are
compared as displayed (sRGB), cut to 0…1, over --background where they have alpha, and never scaled. Masks are grey pictures
or the alpha of pictures, white for what counts; what a mask means for each measure is told by --explain and by the report.

Scores are kept by the content of what was compared in the user's cache folder (or GAV_CACHE), so that a second run continues
where the first was stopped. Infinite values (PSNR of equal pictures) are the text \"inf\" in JSON.

Exit codes:
  0  every pair was scored
  1  some pair failed: a picture is missing, damaged, of another size or has values that are not numbers
  2  nothing can be compared";

/// Score pictures or assets against references; write tables and an HTML report
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// A folder or archive of pictures, a picture, or assets (files, folders, patterns)
    #[arg(value_name = "TEST", required_unless_present = "explain")]
    tests: Vec<PathBuf>,
    /// What they should look like: pictures, a camera file (transforms.json) with its photos, or an asset
    #[arg(
        short,
        long,
        value_name = "PATH",
        default_value = "",
        hide_default_value = true,
        required_unless_present = "explain"
    )]
    reference: PathBuf,
    /// Pictures whose alpha, or grey, says what counts; matched by name
    #[arg(long, value_name = "PATH")]
    masks: Option<PathBuf>,
    /// Use the masks that the data set names
    #[arg(long, conflicts_with = "masks")]
    own_masks: bool,
    /// Behind pictures with alpha and behind assets: white, black or six hexadecimal digits
    #[arg(long, value_name = "COLOR", default_value = "white", value_parser = background)]
    background: [f32; 3],
    /// Measures, separated by commas; the first one decides what is worst
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "psnr,ssim")]
    metrics: Vec<Metric>,
    /// List every measure with its definition, and do nothing else
    #[arg(long)]
    explain: bool,
    /// References without a picture are no failures
    #[arg(long)]
    subset: bool,
    /// One JSON object a line: every pair, then the summary
    #[arg(long)]
    json: bool,
    /// Table of all pairs as CSV
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Table of all pairs as Parquet
    #[arg(long, value_name = "FILE")]
    parquet: Option<PathBuf>,
    /// Report as one HTML file that needs no network
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Pairs that the report shows with pictures
    #[arg(long, value_name = "N", default_value_t = 12)]
    worst: usize,
    /// Compute everything again, and keep nothing
    #[arg(long)]
    no_cache: bool,
    /// Pairs worked on at the same time [default: the processors]
    #[arg(short, long, value_name = "N")]
    jobs: Option<std::num::NonZeroUsize>,
    /// No progress and no tables, errors only
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    read: ReadArguments,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let start = Instant::now();
    if arguments.explain {
        return say::explain(arguments.json);
    }
    let mut metrics: Vec<Metric> = Vec::new();
    for metric in &arguments.metrics {
        if !metrics.contains(metric) {
            metrics.push(*metric);
        }
    }
    let plan = plan::plan(arguments)?;
    if plan.units.is_empty() && plan.failures.is_empty() {
        return Err(refuse("nothing to compare", "both sides are empty"));
    }
    let cache = if arguments.no_cache { Cache::at(None) } else { Cache::of_the_user() };
    let context = Context {
        metrics: &metrics,
        background: arguments.background,
        options: arguments.read.options(),
        plan: &plan,
        cache,
    };
    if !arguments.json && !arguments.quiet {
        plan.warnings.iter().for_each(|w| eprintln!("warning: {w}"));
    }
    let mut outcome = work::score(arguments, &context);
    // files first: a closed standard output must not cost them
    let mut written = Vec::new();
    let mut failed = Vec::new();
    {
        let summary = Summary::of(&metrics, &outcome);
        let mut keep = |path: &PathBuf, bytes: gav_formats::Result<Vec<u8>>| {
            let bytes = bytes.map_err(|e| crate::failure::Failure::at(path, &e));
            match bytes.and_then(|bytes| tables::write(path, &bytes)) {
                Ok(()) => written.push(path.clone()),
                Err(failure) => failed.push(failure),
            }
        };
        if let Some(path) = &arguments.csv {
            keep(path, Ok(tables::csv(&metrics, &outcome).into_bytes()));
        }
        if let Some(path) = &arguments.parquet {
            keep(path, tables::parquet(&metrics, &outcome));
        }
        if let Some(path) = &arguments.report {
            keep(path, Ok(report::html(arguments, &context, &outcome, &summary).into_bytes()));
        }
    }
    let no_pair = |failure| Fault { name: String::new(), group: String::new(), failure };
    outcome.faults.extend(failed.into_iter().map(no_pair));
    let summary = Summary::of(&metrics, &outcome);
    say::say(arguments, &outcome, &summary, &written, start.elapsed().as_secs_f64())?;
    Ok(if outcome.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn background(text: &str) -> Result<[f32; 3], String> {
    let digits = text.strip_prefix('#').unwrap_or(text);
    match text {
        "white" => Ok([1.0; 3]),
        "black" => Ok([0.0; 3]),
        _ if digits.len() == 6 && digits.bytes().all(|b| b.is_ascii_hexdigit()) => Ok(std::array::from_fn(|c| {
            u8::from_str_radix(&digits[2 * c..2 * c + 2], 16).map_or(0.0, |v| f32::from(v) / 255.0)
        })),
        _ => Err("white, black or six hexadecimal digits expected".to_owned()),
    }
}
