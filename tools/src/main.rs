//! `gav`: the command line of the suite. One file a command; what they share is in `failure` (messages, hints, exit codes),
//! `inputs` (files, folders, patterns), `reading` (options of decoders) and `text` (numbers and tables for people).

mod batch;
mod bench;
mod clip;
mod completions;
mod convert;
mod data;
mod demo;
mod device;
mod diff;
mod doctor;
mod failure;
mod formats;
mod info;
mod inputs;
mod man;
mod motion;
mod pictures;
mod pose;
mod reading;
mod render;
mod rig;
mod score;
mod synth;
mod template;
mod text;
mod train;
mod validate;
mod view;
mod weights;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The system's allocator hands the megabytes of every frame and file back and fetches them again: a fifth of the time of
/// drawing an avatar with the C library's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Convert, render, score, inspect, validate and compare Gaussian avatars.
#[derive(Parser)]
#[command(name = "gav", version, max_term_width = 110, after_help = EXAMPLES, subcommand_required = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  gav demo                               make a sample avatar in every format and compare them
  gav convert head.ply -o head.gav       compress one file
  gav convert captures --to spz -o out   convert a folder, keeping its structure
  gav info head.gav                      what is in it
  gav diff head.ply head.gav             what the compression cost
  gav render head.gav -o head.mp4        a turntable
  gav pose head.gav --clip talk --time 1.5 -o moment.ply
  gav score renders -r photos            PSNR, SSIM and more, with a report
  gav train stga capture -o head.gav     an avatar from a capture

Exit codes:
  0  everything was done
  1  something failed: a file could not be read or written, is invalid, or differs too much
  2  the command line asks for something impossible; nothing was done";

#[derive(Subcommand)]
enum Command {
    Convert(Box<convert::Arguments>),
    Info(info::Arguments),
    Validate(validate::Arguments),
    Diff(diff::Arguments),
    Render(Box<render::Arguments>),
    View(Box<view::Arguments>),
    Pose(Box<pose::Arguments>),
    Rig(rig::Arguments),
    Score(Box<score::Arguments>),
    Demo(demo::Arguments),
    Train(train::Arguments),
    Data(data::Arguments),
    Synth(synth::Arguments),
    Bench(bench::Arguments),
    Doctor(doctor::Arguments),
    Formats(formats::Arguments),
    Template(template::Arguments),
    Weights(weights::Arguments),
    Clip(clip::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(code) => code,
        // the reader of our output (`gav info … | head`) has seen enough
        Err(error) if failure::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => failure::print(&error),
    }
}

/// Runs one command line.
pub(crate) fn run(line: &Cli) -> anyhow::Result<ExitCode> {
    match &line.command {
        Command::Convert(arguments) => convert::run(arguments),
        Command::Info(arguments) => info::run(arguments),
        Command::Validate(arguments) => validate::run(arguments),
        Command::Diff(arguments) => diff::run(arguments),
        Command::Render(arguments) => render::run(arguments),
        Command::View(arguments) => view::run(arguments),
        Command::Pose(arguments) => pose::run(arguments),
        Command::Rig(arguments) => rig::run(arguments),
        Command::Score(arguments) => score::run(arguments),
        Command::Demo(arguments) => demo::run(arguments),
        Command::Train(arguments) => train::run(arguments),
        Command::Data(arguments) => data::run(arguments),
        Command::Synth(arguments) => synth::run(arguments),
        Command::Bench(arguments) => bench::run(arguments),
        Command::Doctor(arguments) => doctor::run(arguments),
        Command::Formats(arguments) => formats::run(arguments),
        Command::Template(arguments) => template::run(arguments),
        Command::Weights(arguments) => weights::run(arguments),
        Command::Clip(arguments) => clip::run(arguments),
        Command::Completions(arguments) => completions::run(arguments),
        Command::Man(arguments) => man::run(arguments),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed_and_every_command_shows_examples() {
        let mut command = super::Cli::command();
        command.clone().debug_assert();
        for sub in command.get_subcommands_mut() {
            let name = sub.get_name().to_owned();
            let help = sub.render_long_help().to_string();
            assert!(help.contains("Examples:"), "{name} has no examples");
            assert!(help.contains("Exit codes:"), "{name} does not say its exit codes");
        }
    }
}
