//! `gav bench raster --device cuda`: the table of `gav_kernels::cuda::bench`.

use std::process::ExitCode;

use anyhow::Result;
use gav_kernels::cuda::{Device, bench};
use serde_json::json;

use crate::text::table;

/// Replays of each case; the median of 50 repeats within 1 %.
const REPEATS: usize = 50;

/// Prints the table for one device.
pub(super) fn run(ordinal: usize, as_json: bool) -> Result<ExitCode> {
    let device = Device::open(ordinal)?;
    let rows = bench::table(&device, REPEATS, "")?;
    if as_json {
        for row in &rows {
            println!("{}", json!({"device": device.name()?, "row": row}));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let target = |ms: f64| if ms.is_finite() { ms.to_string() } else { "–".to_owned() };
    let mut lines = vec![["case", "ms", "10–90 %", "rival", "its ms", "must", "goal"].map(str::to_owned).to_vec()];
    for row in &rows {
        let [low, high] = row.spread_ms;
        let [must, goal] = row.targets_ms;
        lines.push(vec![
            row.case.clone(),
            format!("{:.4}", row.ms),
            format!("{low:.4}–{high:.4}"),
            row.rival.to_owned(),
            row.rival_ms.map_or_else(|| "–".to_owned(), |ms| format!("{ms:.3}")),
            target(must),
            target(goal),
        ]);
    }
    println!("{}\n", device.name()?);
    print!("{}", table(&lines));
    println!("\nmedians of {REPEATS} replays of a captured graph, by CUDA events; rivals measured on an H200");
    Ok(ExitCode::SUCCESS)
}
