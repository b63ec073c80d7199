use gav_models::{
    Error,
    metrics::networks::{Inception, Lpips, Picture, Trunk},
    weights::store::{Part, Store},
};

use crate::golden::Weights;

fn alexnet(prefix: &str) -> Weights {
    let mut weights = Weights::default();
    for (k, (number, outputs, inputs, kernel)) in
        [(0, 64, 3, 11), (3, 192, 64, 5), (6, 384, 192, 3), (8, 256, 384, 3), (10, 256, 256, 3)].into_iter().enumerate()
    {
        let name = format!("{prefix}features.{number}");
        weights.convolution(format!("{name}.weight"), 2 * k as u64, &[outputs, inputs, kernel, kernel], 6.0);
        weights.hashed(format!("{name}.bias"), 2 * k as u64 + 1, &[outputs], [-0.05, 0.05]);
    }
    // the classifier, which LPIPS does not use
    weights.hashed(format!("{prefix}classifier.6.weight"), 50, &[10, 40], [0.0, 1.0]);
    weights
}

fn heads() -> Weights {
    let mut weights = Weights::default();
    for (index, channels) in [64, 192, 384, 256, 256].into_iter().enumerate() {
        weights.hashed(format!("lin{index}.model.1.weight"), 1000 + index as u64, &[1, channels, 1, 1], [0.0, 0.2]);
    }
    weights
}

#[test]
fn files_are_added_found_and_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path().join("data/weights"));
    let [trunk_file, heads_file] = ["my-alexnet.pth", "heads.pth"].map(|name| folder.path().join(name));
    std::fs::write(&trunk_file, alexnet("module.").file()).unwrap();
    std::fs::write(&heads_file, heads().file()).unwrap();

    let error = Lpips::load(Trunk::Alex, &store).unwrap_err();
    assert!(matches!(error, Error::MissingWeights { part: Part::Alexnet, .. }));
    let hint = error.hint().unwrap();
    assert!(hint.contains("alexnet-owt-7be5be79.pth") && hint.contains("gav weights add"), "{hint}");

    let added = store.add(&trunk_file).unwrap();
    assert_eq!((added.len(), added[0].manifest.part, added[0].unchanged), (1, Part::Alexnet, false));
    assert!(!added[0].manifest.official);
    assert!(matches!(Lpips::load(Trunk::Alex, &store), Err(Error::MissingWeights { part: Part::LpipsAlex, .. })));
    store.add(&heads_file).unwrap();
    let metric = Lpips::load(Trunk::Alex, &store).unwrap();
    let rgb: Vec<f32> = (0..32 * 32 * 3).map(|i| (i % 256) as f32 / 255.0).collect();
    let picture = Picture::new(32, 32, &rgb).unwrap();
    assert_eq!(metric.distances(&[(picture, picture)]).unwrap()[0].value, 0.0);

    // the copy has the names without the file's prefix, no classifier, and the same bytes when made again
    let copy = std::fs::read(store.find(Part::Alexnet).unwrap()).unwrap();
    let names = gav_formats::weights::read(&copy, &Default::default()).unwrap();
    assert_eq!(names.tensors.len(), 10);
    assert!(names.get("features.0.weight").is_some());
    assert!(store.add(&trunk_file).unwrap()[0].unchanged);
    std::fs::remove_file(store.find(Part::Alexnet).unwrap()).unwrap();
    store.add(&trunk_file).unwrap();
    assert_eq!(std::fs::read(store.find(Part::Alexnet).unwrap()).unwrap(), copy);
    let manifest = store.manifest(Part::Alexnet).unwrap().unwrap();
    assert_eq!((manifest.source.as_str(), manifest.sha256.len()), ("my-alexnet.pth", 64));
    assert_eq!(store.manifest(Part::Vgg16).unwrap(), None);
}

#[test]
fn wrong_and_damaged_files_leave_the_store_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path().join("weights"));
    let file = folder.path().join("file.pth");
    let mut other = Weights::default();
    other.hashed("encoder.weight", 0, &[2], [0.0, 1.0]);
    std::fs::write(&file, other.file()).unwrap();
    let text = store.add(&file).unwrap_err().to_string();
    assert!(text.contains("no known network") && text.contains("encoder.weight"), "{text}");

    // a trunk without its last bias
    let whole = alexnet("").file();
    let damaged: Vec<u8> = {
        let position = whole.windows(16).position(|w| w == b"features.10.bias").unwrap();
        let mut bytes = whole.clone();
        bytes[position..position + 16].copy_from_slice(b"features.10.bogs");
        bytes
    };
    std::fs::write(&file, damaged).unwrap();
    let text = store.add(&file).unwrap_err().to_string();
    assert!(text.contains("features.10.bias` is missing"), "{text}");
    std::fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    assert!(store.add(&file).is_err());
    assert!(store.add(folder.path().join("nowhere.pth")).unwrap_err().to_string().contains("nowhere.pth"));
    assert!(!store.folder().exists());

    // what lies in the store without a manifest is not loaded
    std::fs::create_dir_all(store.folder()).unwrap();
    std::fs::write(store.folder().join("inception.safetensors"), whole).unwrap();
    let text = Inception::load(&store).unwrap_err().to_string();
    assert!(text.contains("manifest"), "{text}");
}

#[test]
fn every_part_has_a_name_a_file_and_terms() {
    for part in Part::ALL {
        assert_eq!(Part::from_id(part.id()), Some(part));
        assert!(!part.files().is_empty());
        for file in part.files() {
            assert!(!file.name.is_empty() && !file.source.is_empty() && !file.licence.is_empty());
        }
    }
    let known = Part::LpipsVgg.files()[0];
    let hash = format!("a78928a0{}8432868", "0".repeat(49));
    assert!(known.has_hash(&hash));
    assert!(!known.has_hash(&hash.replace("a7", "a8")));
}
