//! The committed conformance files are what their maker makes, and the reference reader agrees with every one of them.

use std::{collections::BTreeSet, fs};

use gav_tests::conformance::{cases, check, expected_text, folder};

#[test]
fn the_committed_files_are_what_the_generator_makes() {
    let mut names = BTreeSet::new();
    for case in cases() {
        for (extension, made) in [("gav", case.bytes.clone()), ("json", expected_text(&case).into_bytes())] {
            let name = format!("{}.{extension}", case.name);
            let committed = fs::read(folder().join(&name));
            let committed = committed
                .unwrap_or_else(|e| panic!("{name}: {e}; run `cargo run -p gav-tests --bin make_conformance`"));
            assert!(committed == made, "{name} is not what make_conformance makes");
            assert!(names.insert(name), "{} occurs twice", case.name);
        }
    }
    let found = fs::read_dir(folder()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let found: BTreeSet<String> = found.filter(|n| n.ends_with(".gav") || n.ends_with(".json")).collect();
    assert_eq!(found, names);
}

#[test]
fn the_reference_reader_agrees_with_every_file() {
    let mut failed = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "gav") {
            continue;
        }
        let expected: serde_json::Value =
            serde_json::from_slice(&fs::read(path.with_extension("json")).unwrap()).unwrap();
        let found = check(&fs::read(&path).unwrap(), &expected);
        failed.extend(found.into_iter().map(|d| format!("{}: {d}", path.file_name().unwrap().display())));
        count += 1;
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(count > 150, "{count} files");
}

#[test]
fn the_set_is_small() {
    let sizes: Vec<(u64, String)> = fs::read_dir(folder())
        .unwrap()
        .map(|e| e.unwrap())
        .map(|e| (e.metadata().unwrap().len(), e.file_name().into_string().unwrap()))
        .collect();
    let largest = sizes.iter().max().unwrap();
    assert!(largest.0 < 100_000, "{largest:?}");
    assert!(sizes.iter().map(|s| s.0).sum::<u64>() < 1_200_000);
}
