//! Inputs that fuzzing once found: each must still decode or be refused, without a panic.

use std::{fs, path::Path};

/// The functions of the fuzz targets themselves.
#[path = "../../fuzz/src/decoders.rs"]
#[allow(dead_code)]
mod decoders;

#[test]
fn every_input_that_once_failed_is_handled() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/regressions");
    let mut replayed = 0;
    for folder in fs::read_dir(root).expect("the folder is part of the repository") {
        let folder = folder.unwrap();
        if !folder.file_type().unwrap().is_dir() {
            continue;
        }
        let target = folder.file_name().into_string().unwrap();
        let (_, decode) = decoders::DECODERS
            .iter()
            .find(|(name, _)| *name == target)
            .unwrap_or_else(|| panic!("no decoder is called {target}"));
        for file in fs::read_dir(folder.path()).unwrap() {
            let path = file.unwrap().path();
            println!("{target}: {}", path.file_name().unwrap().to_string_lossy());
            decode(&fs::read(&path).unwrap());
            replayed += 1;
        }
    }
    println!("{replayed} inputs replayed");
}

#[test]
fn every_decoder_has_a_target_and_every_target_a_decoder() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/targets");
    let mut targets: Vec<String> = fs::read_dir(root)
        .unwrap()
        .map(|file| file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    targets.sort_unstable();
    assert_eq!(targets, decoders::DECODERS.map(|(name, _)| name));
}

#[test]
fn no_decoder_fails_on_nothing_or_on_noise() {
    for (name, decode) in decoders::DECODERS {
        println!("{name}");
        decode(&[]);
        for length in [1, 2, 44, 300] {
            for seed in 0..4 {
                let noise = (0..length).map(|k| (gav_formats::synthetic::uniform(k, seed) * 256.0) as u8);
                decode(&noise.collect::<Vec<_>>());
            }
        }
    }
}
