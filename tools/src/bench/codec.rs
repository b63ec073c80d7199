//! `gav bench codec`: every profile of `.gav` beside the other formats.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use anyhow::{Context, Result};
use clap::Args;
use gav_formats::{
    Avatar, EncodeOptions, FORMATS, Format, Frame, Profile, ReadOptions, Source, WriteOptions, Writer, compare,
    format_by_name,
};
use gav_kernels::psnr::{Psnr, orbit_psnr};
use serde_json::json;

use crate::{bench::EXAMPLES, text::table};

/// Size, errors, rendered PSNR and one-core speed of every .gav profile beside the other formats
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Codec {
    /// Uncompressed captures (PLY); .zst is unpacked in memory
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Folder with files NAME.* written by other tools, measured instead of our own writers where they exist
    #[arg(long)]
    rivals: Option<PathBuf>,
    /// Axes of the SPZ files in --rivals [default: RUB, as the format says]
    #[arg(long)]
    frame: Option<Frame>,
    /// Axes that say where up is when rendering, for captures whose y axis points up although their format says down
    #[arg(long, value_name = "FRAME")]
    view_frame: Option<Frame>,
    /// Skip rendering, which takes most of the time
    #[arg(long)]
    no_psnr: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

struct Row {
    name: String,
    bytes: usize,
    encode_seconds: Option<f64>,
    decode_seconds: f64,
    decoded: Avatar,
}

/// Runs the command.
pub(super) fn run(codec: &Codec) -> Result<ExitCode> {
    for path in &codec.files {
        measure_file(codec, path)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn measure_file(codec: &Codec, path: &Path) -> Result<()> {
    let (source, stem) = open(path)?;
    let reference = gav_formats::read(&source, &ReadOptions::default()).with_context(|| path.display().to_string())?;
    let count = reference.splats.len();
    // one core: what a batch of many files sees per file
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    let mut rows = pool.install(|| rows(codec, &reference, &source, &stem))?;
    if !codec.json {
        println!(
            "{stem}: {count} splats, SH degree {}; speeds on one core, best of three; PSNR of six orbit views, 512²",
            reference.splats.sh_degree
        );
    }
    let mut lines = vec![
        [
            "format", "bytes", "B/splat", "enc M/s", "dec M/s", "pos rms", "ln s rms", "cov rel", "rot °", "op rms",
            "rgb rms", "SH rms", "PSNR", "min",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for row in &mut rows {
        let errors = compare(&reference, &row.decoded)?;
        let psnr = if codec.no_psnr { None } else { Some(rendered(codec, &reference, &mut row.decoded)?) };
        let per_splat = row.bytes as f64 / count.max(1) as f64;
        let speed = |seconds: f64| count as f64 / seconds / 1e6;
        if codec.json {
            println!(
                "{}",
                json!({"file": stem, "format": row.name, "splats": count, "bytes": row.bytes, "bytes_per_splat": per_splat,
                    "encode_msplats_per_s": row.encode_seconds.map(speed), "decode_msplats_per_s": speed(row.decode_seconds),
                    "errors": errors, "psnr_mean": psnr.as_ref().map(|p| p.mean), "psnr_min": psnr.as_ref().map(|p| p.min)})
            );
            continue;
        }
        lines.push(vec![
            row.name.clone(),
            row.bytes.to_string(),
            format!("{per_splat:.2}"),
            row.encode_seconds.map_or("–".into(), |s| format!("{:.2}", speed(s))),
            format!("{:.2}", speed(row.decode_seconds)),
            format!("{:.1e}", errors.position_rms),
            format!("{:.4}", errors.log_scale_rms),
            format!("{:.4}", errors.covariance_relative_mean),
            format!("{:.3}", errors.rotation_mean_degrees),
            format!("{:.4}", errors.opacity_rms),
            format!("{:.4}", errors.rgb_rms),
            if reference.splats.sh_degree > 0 { format!("{:.4}", errors.sh_rms) } else { "–".into() },
            psnr.as_ref().map_or("–".into(), |p| format!("{:.2}", p.mean)),
            psnr.as_ref().map_or("–".into(), |p| format!("{:.2}", p.min)),
        ]);
    }
    if !codec.json {
        println!("{}", table(&lines));
    }
    Ok(())
}

/// PSNR of the orbit views, with up where `--view-frame` says.
fn rendered(codec: &Codec, reference: &Avatar, decoded: &mut Avatar) -> Result<Psnr> {
    let Some(frame) = codec.view_frame else { return Ok(orbit_psnr(reference, decoded)?) };
    decoded.reframe(reference.frame)?;
    let relabelled = Avatar { frame, ..reference.clone() };
    decoded.frame = frame;
    Ok(orbit_psnr(&relabelled, decoded)?)
}

/// Maps a file, or unpacks a `.zst` of one.
fn open(path: &Path) -> Result<(Source, String)> {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let stem = name.split('.').next().unwrap_or(&name).to_owned();
    if path.extension().is_some_and(|e| e == "zst") {
        let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
        let bytes = zstd::decode_all(file).with_context(|| path.display().to_string())?;
        return Ok((Source::from_bytes_at(bytes, path.with_extension("")), stem));
    }
    Ok((Source::open(path)?, stem))
}

fn rows(codec: &Codec, reference: &Avatar, source: &Source, stem: &str) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (name, profile) in Profile::ALL {
        let gav = EncodeOptions { profile, ..EncodeOptions::default() };
        let options = WriteOptions { gav, ..WriteOptions::default() };
        rows.push(own(&format!("gav {name}"), "gav", reference, &options)?);
    }
    let file = |f: &&Format| matches!(f.write, Some(Writer::File(_) | Writer::FileAndSiblings { .. })) && f.id != "gav";
    for format in FORMATS.iter().filter(file) {
        if format.id == "spz" {
            // 12 fractional bits are what the reference writer uses; ours chooses more where they would show
            for version in [2, 3, 4] {
                let options = WriteOptions {
                    spz_version: Some(version),
                    spz_fractional_bits: Some(12),
                    ..WriteOptions::default()
                };
                rows.push(own(&format!("spz v{version} 12 bit (ours)"), "spz", reference, &options)?);
            }
        }
        rows.push(own(&format!("{} (ours)", format.id), format.id, reference, &WriteOptions::default())?);
    }
    let started = Instant::now();
    let packed = zstd::bulk::compress(source, 19)?;
    let encode_seconds = started.elapsed().as_secs_f64();
    let started = Instant::now();
    let unpacked = zstd::bulk::decompress(&packed, source.len())?;
    let decoded = gav_formats::read(&Source::from_bytes_at(unpacked, "x.ply"), &ReadOptions::default())?;
    rows.push(Row {
        name: "ply + zstd -19".into(),
        bytes: packed.len(),
        encode_seconds: Some(encode_seconds),
        decode_seconds: started.elapsed().as_secs_f64(),
        decoded,
    });
    if let Some(folder) = &codec.rivals {
        let mut files: Vec<PathBuf> = std::fs::read_dir(folder)?.filter_map(|e| Some(e.ok()?.path())).collect();
        files.sort();
        for file in files {
            let name = file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            if let Some(rest) = name.strip_prefix(stem).filter(|r| r.starts_with('.')) {
                let mut row = theirs(&file, codec.frame)?;
                row.name = format!("{} (reference)", rest.trim_start_matches('.'));
                rows.push(row);
            }
        }
    }
    Ok(rows)
}

/// Encodes and decodes with one of our own writers, best of three.
fn own(name: &str, id: &str, avatar: &Avatar, options: &WriteOptions) -> Result<Row> {
    let format = format_by_name(id).expect("a format of the table");
    let mut best: Option<Row> = None;
    for _ in 0..3 {
        let started = Instant::now();
        let bytes = gav_formats::to_bytes(avatar, format, options)?;
        let encode_seconds = started.elapsed().as_secs_f64();
        let length = bytes.len();
        let source = Source::from_bytes_at(bytes, format!("x.{}", format.extensions[0]));
        let started = Instant::now();
        let decoded = gav_formats::read(&source, &ReadOptions::default())?;
        let decode_seconds = started.elapsed().as_secs_f64();
        best = Some(match best {
            None => Row {
                name: name.to_owned(),
                bytes: length,
                encode_seconds: Some(encode_seconds),
                decode_seconds,
                decoded,
            },
            Some(row) => Row {
                encode_seconds: row.encode_seconds.map(|s| s.min(encode_seconds)),
                decode_seconds: row.decode_seconds.min(decode_seconds),
                ..row
            },
        });
        if encode_seconds > 5.0 {
            break;
        }
    }
    Ok(best.expect("at least one run"))
}

/// Decodes a file that another tool wrote.
fn theirs(path: &Path, frame: Option<Frame>) -> Result<Row> {
    let source = Source::open(path)?;
    let spz = gav_formats::sniff(&source)?.id.starts_with("spz");
    let options = ReadOptions { frame: frame.filter(|_| spz), ..ReadOptions::default() };
    let mut decode_seconds = f64::INFINITY;
    let mut decoded = None;
    for _ in 0..3 {
        let started = Instant::now();
        decoded = Some(gav_formats::read(&source, &options).with_context(|| path.display().to_string())?);
        decode_seconds = decode_seconds.min(started.elapsed().as_secs_f64());
    }
    Ok(Row {
        name: String::new(),
        bytes: source.len(),
        encode_seconds: None,
        decode_seconds,
        decoded: decoded.expect("read"),
    })
}
