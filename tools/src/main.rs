//! temporary
mod bench; mod text;
use clap::Parser;
#[derive(Parser)] struct A { #[command(flatten)] a: bench::Arguments }
fn main() -> std::process::ExitCode { bench::run(&A::parse().a).unwrap() }
