//! Writes `spec/conformance` anew; `--to FOLDER` writes elsewhere, to try the other reader on what the encoder writes now.

use std::{fs, path::PathBuf};

use gav_tests::conformance::{cases, expected_text, folder};

fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let target = match arguments.as_slice() {
        [flag, path] if flag == "--to" => PathBuf::from(path),
        _ => folder(),
    };
    fs::create_dir_all(&target)?;
    for entry in fs::read_dir(&target)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "gav" || e == "json") {
            fs::remove_file(path)?;
        }
    }
    let (mut count, mut bytes) = (0, 0);
    for case in cases() {
        fs::write(target.join(format!("{}.gav", case.name)), &case.bytes)?;
        fs::write(target.join(format!("{}.json", case.name)), expected_text(&case))?;
        (count, bytes) = (count + 1, bytes + case.bytes.len());
    }
    println!("{count} files, {bytes} bytes, in {}", target.display());
    Ok(())
}
