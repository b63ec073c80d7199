//! Writes `spec/conformance` anew; with `--fresh FOLDER` writes larger files there, which are not committed, so that another
//! reader can be tried on what the encoder writes now.

use std::{fs, io, path::Path};

use gav_tests::conformance::{Case, cases, expected_text, folder, fresh_cases};

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [] => write(&folder(), cases()),
        [flag, path] if flag == "--fresh" => write(Path::new(path), fresh_cases()),
        _ => Err(io::Error::other("usage: make_conformance [--fresh FOLDER]")),
    }
}

fn write(target: &Path, cases: Vec<Case>) -> io::Result<()> {
    fs::create_dir_all(target)?;
    for entry in fs::read_dir(target)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "gav" || e == "json") {
            fs::remove_file(path)?;
        }
    }
    let bytes: usize = cases.iter().map(|c| c.bytes.len()).sum();
    for case in &cases {
        fs::write(target.join(format!("{}.gav", case.name)), &case.bytes)?;
        fs::write(target.join(format!("{}.json", case.name)), expected_text(case))?;
    }
    println!("{} files, {bytes} bytes, in {}", cases.len(), target.display());
    Ok(())
}
