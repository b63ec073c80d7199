//! `gav score`: how far pictures are from their references, in named measures, as a table, as files and as a report.
//!
//! `plan` finds the pairs, `sets` and `decode` read pictures, `draw` makes those of assets, `metric` defines the measures (with
//! `networks` for some of them), `work` scores with what `cache` knows already, `distribution` compares whole sets by their
//! `features`, `posing` moves avatars as captures say, `reenact` writes what has no reference, `summary` sums up, `tables`, `report` and `say` write.

mod cache;
pub(crate) mod decode;
mod distribution;
mod draw;
mod features;
mod metric;
mod networks;
mod plan;
mod posing;
mod reenact;
mod report;
mod say;
mod sets;
mod summary;
mod tables;
mod work;

use std::{path::PathBuf, process::ExitCode, str::FromStr, time::Instant};

use anyhow::Result;
use clap::Args;
use gav_formats::{
    Frame,
    cameras::{CameraAxes, PrincipalPoint, View},
};
use gav_kernels::metrics::SsimVariant;
use gav_models::metrics::networks::Trunk;

use self::{
    cache::Cache,
    distribution::{SetMetric, SetOutcome, is_statistics},
    metric::Metric,
    networks::Networks,
    plan::{Pair, Plan, Reference, Test},
    posing::{Part, PosedBy},
    summary::Summary,
    work::{Context, Fault, Outcome},
};
use crate::{
    device::{Choice, Painter},
    failure::{Failure, refuse},
    reading::ReadArguments,
    render::values::{Background, camera_axes, principal_point},
};

const EXAMPLES: &str = "\
Examples:
  gav score renders -r photos                               pictures of the same name, PSNR and SSIM
  gav score renders -r photos --masks masks --report scores.html
  gav score head.spz head.sog -r head.ply                   assets against an asset, six orbit views
  gav score avatars -r data/transforms_test.json            assets against the photos of a data set
  gav score head.gav -r captures/306 --split val,test       new views; self-reenactment: posed as the capture was tracked
  gav score head.gav --target captures/104 --renders out --camera 8      driven by somebody else: pictures, no scores
  gav score renders -r photos --metrics psnr-pooled,ssim-valid,ms-ssim --csv scores.csv
  gav score fakes.zip -r reals --metrics fid-stylegan,kid-stylegan
  gav score reals --metrics fid-stylegan --save-statistics reals.npz
  gav score fakes -r reals.npz
  gav score renders -r photos --json | jq 'select(.type == \"item\") | .scores'

Pictures are PNG, WebP, JPEG, OpenEXR or NPY, in folders or zip archives, matched by their path without the ending. They are
compared as displayed (sRGB), cut to 0…1, over --background where they have alpha, and never scaled. Masks are grey pictures
or the alpha of pictures, white for what counts; what a mask means for each measure is told by --explain and by the report.

FID, KID and Inception Score compare sets, whatever the pictures are called; statistics are .npz files of this program or of
pytorch-fid. LPIPS, identity and the measures of sets need weights: see gav weights.

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
    #[arg(short, long, value_name = "PATH")]
    reference: Option<PathBuf>,
    /// The reference is a capture: views of train, val (new views), test (self-reenactment), with avatars posed as it was tracked then
    #[arg(long, value_name = "SPLITS", value_delimiter = ',', requires = "reference")]
    split: Vec<Part>,
    /// A capture of somebody else whose motion drives the avatars (cross-reenactment): nothing is scored, --renders says where
    /// the pictures go
    #[arg(long, value_name = "FOLDER")]
    target: Option<PathBuf>,
    /// Of captures: this camera only
    #[arg(long, value_name = "N")]
    camera: Option<u32>,
    /// What poses avatars for --split
    #[arg(long, value_name = "WHAT", default_value = "capture")]
    posed_by: PosedBy,
    /// Write the pictures of assets into this folder (PNG); every picture is drawn then
    #[arg(long, value_name = "FOLDER")]
    renders: Option<PathBuf>,
    /// Pictures whose alpha, or grey, says what counts; matched by name
    #[arg(long, value_name = "PATH")]
    masks: Option<PathBuf>,
    /// Use the masks that the data set names
    #[arg(long, conflicts_with = "masks")]
    own_masks: bool,
    /// Behind pictures with alpha and behind assets: white, black or six hexadecimal digits
    #[arg(long, value_name = "COLOR", default_value = "white", value_parser = background)]
    background: [f32; 3],
    /// Axes of the world of a camera file, where they are not those of the asset (such as RDF for an SPZ of a PLY)
    #[arg(long, value_name = "FRAME")]
    cameras_frame: Option<Frame>,
    /// Axes of the cameras of a transforms.json [default: opengl, for INSTA opencv]
    #[arg(long, value_name = "AXES", value_parser = camera_axes)]
    camera_axes: Option<CameraAxes>,
    /// Principal point of a transforms.json: file, center (as GaussianAvatars), or flipped (cy from the bottom, as VHAP since 2024-11) [default: file]
    #[arg(long, value_name = "WHICH", value_parser = principal_point)]
    principal_point: Option<PrincipalPoint>,
    /// Measures, separated by commas; the first one decides what is worst [default: psnr-per-image, ssim-zero-pad, and
    /// lpips-alex when its weights are there; fid-stylegan for statistics]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    metrics: Vec<Measure>,
    /// List every measure with its definition, and do nothing else
    #[arg(long)]
    explain: bool,
    /// Mean and covariance of the test's features, for later runs
    #[arg(long, value_name = "FILE.npz")]
    save_statistics: Option<PathBuf>,
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
    /// Where assets are drawn: auto (a GPU for many pictures, where there is one), cpu, cuda
    #[arg(long, value_name = "DEVICE", default_value = "auto", hide_possible_values = true)]
    device: Choice,
    /// No progress and no tables, errors only
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    read: ReadArguments,
}

impl Arguments {
    /// Is this view of the camera that was asked for?
    fn takes_camera(&self, view: &View) -> bool {
        self.camera.is_none_or(|camera| view.camera_index == Some(camera))
    }
}

/// One name of --metrics.
#[derive(Debug, Clone, Copy)]
enum Measure {
    Pair(Metric),
    Set(SetMetric),
}

impl FromStr for Measure {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self::Set).or_else(|()| text.parse().map(Self::Pair))
    }
}

/// The measures of pairs and of sets, each once; the usual ones when none are named.
fn measures(arguments: &Arguments) -> Result<(Vec<Metric>, Vec<SetMetric>)> {
    let (mut pairs, mut sets) = (Vec::new(), Vec::new());
    for measure in &arguments.metrics {
        match *measure {
            Measure::Pair(metric) if !pairs.contains(&metric) => pairs.push(metric),
            Measure::Set(metric) if !sets.contains(&metric) => sets.push(metric),
            _ => {}
        }
    }
    let statistics = arguments.tests.iter().chain(&arguments.reference).any(|path| is_statistics(path));
    if arguments.metrics.is_empty() {
        if statistics || arguments.reference.is_none() && arguments.save_statistics.is_some() {
            sets.push(SetMetric::FidStylegan);
        } else {
            pairs.extend([Metric::PsnrPerImage, Metric::Ssim(SsimVariant::ZeroPad)]);
            pairs.extend([Metric::Lpips(Trunk::Alex)].into_iter().filter(|m| networks::available(*m)));
        }
    }
    if statistics && !pairs.is_empty() {
        return Err(refuse(
            "statistics hold no pictures to compare one by one",
            "they are for FID: --metrics fid-stylegan",
        ));
    }
    Ok((pairs, sets))
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let start = Instant::now();
    if arguments.explain {
        return say::explain(arguments.json);
    }
    if let (Some(target), None) = (&arguments.target, &arguments.reference) {
        let failures = reenact::run(arguments, target)?;
        return Ok(if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let (metrics, set_metrics) = measures(arguments)?;
    if arguments.reference.is_none() && !metrics.is_empty() {
        return Err(refuse("nothing to compare with", "name it with --reference"));
    }
    let plan = if metrics.is_empty() { Plan::none(arguments) } else { plan::plan(arguments)? };
    let mut networks = Networks::load(&metrics)?;
    if !arguments.json && !arguments.quiet {
        plan.warnings.iter().for_each(|w| eprintln!("warning: {w}"));
    }
    let sets = if set_metrics.is_empty() && arguments.save_statistics.is_none() {
        SetOutcome::default()
    } else {
        distribution::score(arguments, &set_metrics, &mut networks)?
    };
    let drawn = |pair: &Pair| {
        matches!(pair.test, Test::Drawn(_) | Test::Posed(..)) || matches!(pair.reference, Reference::Drawn(..))
    };
    let pictures = plan.units.iter().flat_map(|unit| &unit.pairs).filter(|pair| drawn(pair)).count();
    let context = Context {
        painter: Painter::open(arguments.device, Some(pictures))?,
        metrics: &metrics,
        background: arguments.background,
        options: arguments.read.options(),
        plan: &plan,
        cache: if arguments.no_cache { Cache::at(None) } else { Cache::of_the_user() },
        networks,
        renders: arguments.renders.clone(),
    };
    let mut outcome = work::score(arguments, &context);
    let no_pair = |failure: &Failure| Fault { name: String::new(), group: String::new(), failure: failure.clone() };
    outcome.faults.extend(sets.failures.iter().map(no_pair));
    // files first: a closed standard output must not cost them
    let (written, failed) = write_files(arguments, &context, &outcome, &sets);
    outcome.faults.extend(failed.iter().map(no_pair));
    let summary = Summary::of(&metrics, &outcome);
    say::say(arguments, &outcome, &summary, &sets, &written, start.elapsed().as_secs_f64())?;
    let failures = match &arguments.target {
        Some(target) => reenact::run(arguments, target)?,
        None => 0,
    };
    Ok(if outcome.faults.is_empty() && failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Writes the tables and the report; gives what was written, and what could not be.
fn write_files(
    arguments: &Arguments,
    context: &Context,
    outcome: &Outcome,
    sets: &SetOutcome,
) -> (Vec<PathBuf>, Vec<Failure>) {
    let (mut written, mut failed) = (Vec::new(), Vec::new());
    let summary = Summary::of(context.metrics, outcome);
    let mut keep = |path: &PathBuf, bytes: gav_formats::Result<Vec<u8>>| {
        let bytes = bytes.map_err(|e| Failure::at(path, &e));
        match bytes.and_then(|bytes| tables::write(path, &bytes)) {
            Ok(()) => written.push(path.clone()),
            Err(failure) => failed.push(failure),
        }
    };
    if let Some(path) = &arguments.csv {
        keep(path, Ok(tables::csv(context.metrics, outcome).into_bytes()));
    }
    if let Some(path) = &arguments.parquet {
        keep(path, tables::parquet(context.metrics, outcome));
    }
    if let Some(path) = &arguments.report {
        keep(path, Ok(report::html(arguments, context, outcome, &summary, sets).into_bytes()));
    }
    (written, failed)
}

fn background(text: &str) -> Result<[f32; 3], String> {
    match text.parse()? {
        Background::Color(color) => Ok(color),
        Background::Transparent => Err("pictures are compared over a colour".to_owned()),
    }
}
