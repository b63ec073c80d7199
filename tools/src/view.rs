//! `gav view`: a page in the browser that draws an avatar, plays its clips and moves it by its drivers.
//!
//! `server` speaks just enough HTTP to one machine, `request` says what it accepts, `routes` which address gives what,
//! `scene` describes the avatar to the page, `posing` evaluates its rig, `messages` is the binary form of splats. The page
//! itself lies in `view/page` as plain modules and is part of the binary.

mod controls;
mod messages;
mod posing;
mod request;
mod routes;
mod scene;
mod server;
#[cfg(test)]
mod tests;

use std::{
    io::{self, IsTerminal},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::Args;

use crate::{
    failure::refuse,
    reading::{ReadArguments, load},
    render::values::Background,
};

const EXAMPLES: &str = "\
Examples:
  gav view head.gav                                opens the page in the browser
  gav view head.gav --clip talk --background 202020
  gav view head.ply --no-open --port 8080          for a tunnel: ssh -L 8080:127.0.0.1:8080 HOST

The page draws by the rules of `gav render`, so the picture of a view is the same; its button `Copy camera` gives a camera
for `gav render --cameras`. Poses are computed by this program, which answers to this machine only and until Ctrl-C.

Exit codes:
  0  never: the program runs until it is stopped
  1  the file could not be read, or the port is taken
  2  the command line asks for something impossible";

/// Look at an avatar in the browser, play its clips, move its drivers
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The file or asset folder to show
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Port to listen on, on 127.0.0.1 only; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    port: u16,
    /// Open the page in the browser [default: when this runs in a terminal]
    #[arg(long, overrides_with = "no_open")]
    open: bool,
    /// Only print the address
    #[arg(long)]
    no_open: bool,
    /// Clip to play at the start
    #[arg(long, value_name = "NAME")]
    clip: Option<String>,
    /// white, black, RRGGBB, or transparent [default: light or dark, as the page]
    #[arg(long, value_name = "COLOUR")]
    background: Option<Background>,
    /// Template to pose it with, as `gav template list` names it [default: the one that the avatar refers to]
    #[arg(long, value_name = "NAME")]
    template: Option<String>,
    #[command(flatten)]
    read: ReadArguments,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let loaded = load(&arguments.file, &arguments.read.options())?;
    if let Some(name) = &arguments.clip
        && !loaded.avatar.clips.iter().any(|clip| clip.name == *name)
    {
        let known: Vec<&str> = loaded.avatar.clips.iter().map(|clip| clip.name.as_str()).collect();
        let hint = if known.is_empty() { "it has no clips".to_owned() } else { format!("clips: {}", known.join(", ")) };
        return Err(refuse(format!("{}: no clip is named `{name}`", arguments.file.display()), hint));
    }
    let scene = scene::Scene::new(arguments, &loaded)?;
    let server = server::Server::bind(arguments.port)
        .with_context(|| format!("port {} of 127.0.0.1 cannot be listened on", arguments.port))?;
    let address = server.url();
    println!("{address}");
    if let Some(problem) = scene.poser.problem() {
        crate::failure::print_lines(&problem.message, problem.hint.as_deref());
    }
    eprintln!("showing {}; Ctrl-C ends it", arguments.file.display());
    let wanted = arguments.open || (!arguments.no_open && io::stdout().is_terminal());
    if wanted && let Err(error) = open::that_detached(&address) {
        eprintln!("no browser could be started ({error}): open the address yourself");
    }
    server.run(&|request| routes::answer(&scene, request))?;
    Ok(ExitCode::SUCCESS)
}
