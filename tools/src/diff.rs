//! `gav diff`: what tells two avatars apart, in numbers and in pictures.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Result;
use clap::Args;
use gav_formats::{Comparison, compare};
use gav_kernels::psnr::{Psnr, orbit_psnr};
use serde_json::json;

use crate::{
    failure::Failure,
    reading::{Loaded, ReadArguments, load},
    text::{self, table},
};

const EXAMPLES: &str = "\
Examples:
  gav diff head.ply head.gav
  gav diff head.ply head.spz --json | jq .psnr.mean
  gav diff head.ply head.gav --min-psnr 45     for scripts: exit code 1 when the pictures differ more

Splats that cannot be seen (opacity below 1/255) are not compared. Pictures are drawn at rest, from six sides, 512 x 512,
on white; 120 dB means equal pictures.

Exit codes:
  0  the avatars were compared (and are close enough)
  1  a file could not be read, or --min-psnr was not reached";

/// Compare two avatars: attribute errors and PSNR of rendered pictures
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The reference
    #[arg(value_name = "A")]
    reference: PathBuf,
    /// What is compared with it
    #[arg(value_name = "B")]
    test: PathBuf,
    /// Compare the numbers only, without pictures
    #[arg(long, conflicts_with = "min_psnr")]
    no_render: bool,
    /// Fail when the mean PSNR is below this many dB
    #[arg(long, value_name = "DB")]
    min_psnr: Option<f64>,
    /// One JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    read: ReadArguments,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let options = arguments.read.options();
    let a = load(&arguments.reference, &options)?;
    let b = load(&arguments.test, &options)?;
    let errors = compare(&a.avatar, &b.avatar).map_err(|e| Failure::at(&arguments.test, &e))?;
    let psnr = if arguments.no_render { None } else { Some(orbit_psnr(&a.avatar, &b.avatar)) };
    let psnr = match psnr.transpose() {
        Ok(psnr) => psnr,
        // the numbers are worth having without the pictures, unless the pictures decide
        Err(e) if arguments.min_psnr.is_none() => {
            eprintln!("no pictures: {e}");
            None
        }
        Err(e) => return Err(Failure::at(&arguments.test, &e).into()),
    };
    let identical = a.avatar == b.avatar;
    let mut out = io::stdout().lock();
    if arguments.json {
        let side = |path: &PathBuf, loaded: &Loaded| {
            json!({"file": path, "format": loaded.format.id, "bytes": loaded.bytes, "splats": loaded.avatar.splats.len(),
                "sh_degree": loaded.avatar.splats.sh_degree, "rig": loaded.avatar.rig.name()})
        };
        let psnr = psnr.as_ref().map(|p| json!({"mean": p.mean, "min": p.min, "views": p.views}));
        let line = json!({"a": side(&arguments.reference, &a), "b": side(&arguments.test, &b), "identical": identical,
            "errors": errors, "psnr": psnr});
        writeln!(out, "{line}")?;
    } else {
        write!(out, "{}", overview(arguments, &a, &b))?;
        if identical {
            writeln!(out, "\nthe avatars are identical, bit for bit")?;
        } else {
            write!(out, "\n{}", describe(&errors, psnr.as_ref()))?;
        }
    }
    match (arguments.min_psnr, &psnr) {
        (Some(least), Some(psnr)) if psnr.mean < least => {
            let message = format!(
                "{}: {:.1} dB against {}, at least {least} asked for",
                arguments.test.display(),
                psnr.mean,
                arguments.reference.display()
            );
            Err(Failure { code: "PSNR", message, hint: None }.into())
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Both files side by side.
fn overview(arguments: &Arguments, a: &Loaded, b: &Loaded) -> String {
    let row = |name: &str, path: &PathBuf, loaded: &Loaded| {
        let splats = &loaded.avatar.splats;
        vec![
            name.to_owned(),
            path.display().to_string(),
            loaded.format.id.to_owned(),
            text::bytes(loaded.bytes),
            text::significant(loaded.bytes as f64 / splats.len().max(1) as f64),
            text::count(splats.len() as u64),
            splats.sh_degree.to_string(),
            loaded.avatar.rig.name(),
        ]
    };
    table(&[
        ["", "file", "format", "size", "B/splat", "splats", "SH", "rig"].map(str::to_owned).to_vec(),
        row("A", &arguments.reference, a),
        row("B", &arguments.test, b),
    ])
}

/// The errors, one line for each attribute.
fn describe(c: &Comparison, psnr: Option<&Psnr>) -> String {
    let mut rows = vec![["error of B", "rms", "largest"].map(str::to_owned).to_vec()];
    let mut row = |name: &str, rms: f64, largest: Option<f64>| {
        rows.push(vec![name.to_owned(), error(rms), largest.map_or("–".to_owned(), error)]);
    };
    row("position", c.position_rms, Some(c.position_max));
    row("log-scale", c.log_scale_rms, Some(c.log_scale_max));
    row("rotation, degrees (mean)", c.rotation_mean_degrees, Some(c.rotation_max_degrees));
    row("covariance, relative (mean)", c.covariance_relative_mean, None);
    row("opacity", c.opacity_rms, None);
    row("rgb", c.rgb_rms, None);
    row("SH beyond degree 0", c.sh_rms, None);
    let mut text = table(&rows);
    let order = if c.same_order { "in the same order" } else { "matched by position and look" };
    text += &format!(
        "over {} of {} visible splats, {order}\n",
        text::count(c.compared as u64),
        text::count(c.visible as u64)
    );
    if let Some(psnr) = psnr {
        text += &format!("PSNR {:.1} dB, worst view {:.1} dB\n", psnr.mean, psnr.min);
    }
    text
}

/// Two significant digits; `0` for nothing, or for the rounding noise of the comparison itself.
pub(crate) fn error(value: f64) -> String {
    let size = value.abs();
    if size < 1e-12 {
        return "0".to_owned();
    }
    if !(1e-3..1e4).contains(&size) {
        return format!("{value:.1e}");
    }
    let decimals = (1 - size.log10().floor() as i32).max(0) as usize;
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    #[test]
    fn errors_have_two_digits() {
        let texts = [0.0, 1.1e-14, 8.3e-5, 0.0012, 0.141, 2.13, 12.3, 123456.0].map(super::error);
        assert_eq!(texts, ["0", "0", "8.3e-5", "0.0012", "0.14", "2.1", "12", "1.2e5"]);
    }
}
