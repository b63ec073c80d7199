//! `gav score` with networks: LPIPS of pairs, FID, KID and Inception Score of sets, with weights made by formula.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::Value;

/// The project's shared reference data; `None` with a loud line when it is not there.
fn shared(name: &str) -> Option<Vec<u8>> {
    let root = std::env::var_os("GAV_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let path = root.join("parity/metrics").join(name);
    let bytes = fs::read(&path).ok();
    if bytes.is_none() {
        eprintln!("SKIPPED: {} is not there; set GAV_SHARED to the folder of reference data", path.display());
    }
    bytes
}

fn gav(folder: &Path, code: i32, arguments: &[&str]) -> (String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gav"));
    command.current_dir(folder).stdin(Stdio::null()).env("GAV_CACHE", "cache").env("GAV_DATA", "data");
    let output = command.args(arguments).output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{out}\n{err}");
    assert!(!err.contains("panicked"), "{err}");
    (out, err)
}

fn last(out: &str) -> Value {
    serde_json::from_str(out.lines().last().unwrap()).unwrap()
}

/// Number `counter` of the stream with seed 7, in 0…1 (splitmix64): the formula of the golden file's weights.
fn uniform(counter: u64) -> f64 {
    let mut z = 7u64.wrapping_add(counter.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    (z >> 11) as f64 * 2f64.powi(-53)
}

/// Tensors of a weight file.
#[derive(Default)]
struct Weights(Vec<(String, Vec<usize>, Vec<u8>)>);

impl Weights {
    /// Tensor number `number` in `low`…`high`.
    fn add(&mut self, name: String, number: u64, shape: &[usize], [low, high]: [f64; 2]) {
        let count = shape.iter().product::<usize>() as u64;
        let value = |i: u64| (low + (high - low) * uniform((number << 32) + i)) as f32;
        self.0.push((name, shape.to_vec(), (0..count).flat_map(|i| value(i).to_le_bytes()).collect()));
    }

    /// A convolution in ±√(6 / fan-in).
    fn convolution(&mut self, name: String, number: u64, shape: &[usize]) {
        let range = (6.0 / shape[1..].iter().product::<usize>() as f64).sqrt();
        self.add(name, number, shape, [-range, range]);
    }

    fn write(&self, path: &Path) {
        let views = self.0.iter().map(|(n, s, b)| (n.as_str(), TensorView::new(Dtype::F32, s.clone(), b).unwrap()));
        fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
    }
}

/// The golden pictures `key` (N × 3 × side × side bytes) as PNG files 0.png, 1.png …
fn pictures(golden: &SafeTensors, key: &str, folder: &Path) {
    let view = golden.tensor(key).unwrap();
    let [_, 3, height, width] = *view.shape() else { panic!("{key}") };
    fs::create_dir_all(folder).unwrap();
    for (index, planes) in view.data().chunks(3 * width * height).enumerate() {
        let rgb: Vec<u8> = (0..3 * width * height).map(|i| planes[i % 3 * width * height + i / 3]).collect();
        png(&folder.join(format!("{index}.png")), width as u32, height as u32, &rgb);
    }
}

fn png(path: &Path, width: u32, height: u32, rgb: &[u8]) {
    let mut encoder = png::Encoder::new(fs::File::create(path).unwrap(), width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header().unwrap().write_image_data(rgb).unwrap();
}

#[test]
fn lpips_has_the_golden_value_and_is_in_the_default_once_its_weights_are_there() {
    let Some(bytes) = shared("parity_metrics.safetensors") else { return };
    let golden = SafeTensors::deserialize(&bytes).unwrap();
    let here = tempfile::tempdir().unwrap();
    let root = here.path();
    pictures(&golden, "small.a", &root.join("a"));
    pictures(&golden, "small.b", &root.join("b"));
    let (out, _) = gav(root, 0, &["score", "a", "-r", "b", "--json"]);
    assert!(last(&out)["metrics"]["lpips-alex"].is_null());
    let (_, err) = gav(root, 1, &["score", "a", "-r", "b", "--metrics", "lpips-alex"]);
    assert!(err.contains("alexnet") && err.contains("gav weights add"), "{err}");

    let (mut trunk, mut heads) = (Weights::default(), Weights::default());
    let layers = [(0, [64, 3, 11]), (3, [192, 64, 5]), (6, [384, 192, 3]), (8, [256, 384, 3]), (10, [256, 256, 3])];
    for (k, (number, [outputs, inputs, kernel])) in layers.into_iter().enumerate() {
        let k = k as u64;
        trunk.convolution(format!("features.{number}.weight"), 2 * k, &[outputs, inputs, kernel, kernel]);
        trunk.add(format!("features.{number}.bias"), 2 * k + 1, &[outputs], [-0.05, 0.05]);
        heads.add(format!("lin{k}.model.1.weight"), 1000 + k, &[1, outputs, 1, 1], [0.0, 0.2]);
    }
    trunk.write(&root.join("trunk.safetensors"));
    heads.write(&root.join("heads.safetensors"));
    gav(root, 0, &["weights", "add", "trunk.safetensors", "heads.safetensors"]);

    let (out, _) = gav(root, 0, &["score", "a", "-r", "b", "--json", "--report", "report.html"]);
    let expected = golden.tensor("lpips.alex.hashed_lin.value").unwrap().data().to_vec();
    for (index, expected) in expected.chunks_exact(8).enumerate() {
        let expected = f64::from_le_bytes(expected.try_into().unwrap());
        let item: Value = serde_json::from_str(out.lines().nth(index).unwrap()).unwrap();
        let found = item["scores"]["lpips-alex"].as_f64().unwrap();
        // f32 network against f64, and values of about 1
        assert!((found - expected).abs() < 1e-5 * expected.max(1.0), "{found} instead of {expected}");
    }
    assert!(fs::read_to_string(root.join("report.html")).unwrap().contains("SHA-256"));
    // other weights are other scores: the old ones are not taken for them
    heads.0.iter_mut().for_each(|(_, _, bytes)| bytes.fill(0));
    heads.write(&root.join("zero.safetensors"));
    gav(root, 0, &["weights", "add", "zero.safetensors"]);
    let (out, _) = gav(root, 0, &["score", "a", "-r", "b", "--json"]);
    assert_eq!(
        (last(&out)["cached"].as_u64(), last(&out)["metrics"]["lpips-alex"]["max"].as_f64()),
        (Some(0), Some(0.0))
    );
    // too small for the network, named with its size
    fs::create_dir(root.join("tiny")).unwrap();
    png(&root.join("tiny/0.png"), 16, 16, &[9; 16 * 16 * 3]);
    let (_, err) = gav(root, 1, &["score", "tiny", "-r", "tiny", "--metrics", "lpips-alex"]);
    assert!(err.contains("tiny/0.png") && err.contains("16"), "{err}");
}

/// The iresnet18 of the golden file: a tensor's number is its position in the list of names.
fn iresnet18(path: &Path, table: &[u8]) {
    // Python writes infinity as a word that JSON does not know
    let table: Value = serde_json::from_str(&String::from_utf8_lossy(table).replace("Infinity", "null")).unwrap();
    let mut weights = Weights::default();
    for (number, name) in table["arcface.names"].as_array().unwrap().iter().enumerate() {
        let (name, number) = (name.as_str().unwrap(), number as u64);
        let parts: Vec<&str> = name.split('.').collect();
        let stage = parts[0].strip_prefix("layer").map(|n| n.parse::<u32>().unwrap());
        let width = stage.map_or(64, |n| 32 << n);
        // what comes into the first block of a stage
        let inputs = if parts.get(1) == Some(&"0") && stage > Some(1) { width / 2 } else { width };
        let module = parts[parts.len() - 2];
        let channels = match (stage, module) {
            (None, "bn2" | "features") => 512,
            (Some(_), "bn1") => inputs,
            _ => width,
        };
        let mut convolution = |shape: &[usize]| {
            let range = (3.0 / shape[1..].iter().product::<usize>() as f64).sqrt();
            weights.add(name.to_owned(), number, shape, [-range, range]);
        };
        match (module, *parts.last().unwrap()) {
            ("fc", "weight") => convolution(&[512, 25088]),
            ("fc", _) => weights.add(name.to_owned(), number, &[512], [-0.05, 0.05]),
            ("conv1", _) if stage.is_none() => convolution(&[64, 3, 3, 3]),
            ("conv1", _) => convolution(&[width, inputs, 3, 3]),
            ("conv2", _) => convolution(&[width, width, 3, 3]),
            ("0", _) => convolution(&[width, inputs, 1, 1]),
            ("prelu", _) => weights.add(name.to_owned(), number, &[channels], [0.15, 0.35]),
            (_, "weight") => weights.add(name.to_owned(), number, &[channels], [0.9, 1.1]),
            (_, "running_var") => weights.add(name.to_owned(), number, &[channels], [0.8, 1.2]),
            _ => weights.add(name.to_owned(), number, &[channels], [-0.1, 0.1]),
        }
    }
    weights.write(path);
}

#[test]
fn identity_of_aligned_faces_has_the_golden_value() {
    let (Some(bytes), Some(table)) = (shared("parity_metrics.safetensors"), shared("parity_metrics.json")) else {
        return;
    };
    let golden = SafeTensors::deserialize(&bytes).unwrap();
    let here = tempfile::tempdir().unwrap();
    let root = here.path();
    pictures(&golden, "arcface.in", &root.join("faces"));
    for (folder, index) in [("a", 0), ("b", 1)] {
        fs::create_dir(root.join(folder)).unwrap();
        fs::copy(root.join(format!("faces/{index}.png")), root.join(folder).join("face.png")).unwrap();
    }
    iresnet18(&root.join("face.safetensors"), &table);
    gav(root, 0, &["weights", "add", "face.safetensors"]);
    let metrics = ["score", "a", "-r", "b", "--metrics", "identity-arcface-r18", "--json"];
    let found = last(&gav(root, 0, &metrics).0)["metrics"]["identity-arcface-r18"]["mean"].as_f64().unwrap();
    let expected = golden.tensor("arcface.cosine").unwrap().data().try_into().map(f64::from_le_bytes).unwrap();
    // f32 network against f64
    assert!((found - expected).abs() < 1e-5, "{found} instead of {expected}");
}

/// The Inception network of the golden file.
fn inception(path: &Path, table: &[u8]) {
    let table: Value = serde_json::from_slice(table).unwrap();
    let mut weights = Weights::default();
    for row in table.as_array().unwrap() {
        let (number, name) = (5 * row[0].as_u64().unwrap(), row[1].as_str().unwrap());
        let shape: Vec<usize> = row[3].as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as usize).collect();
        weights.convolution(format!("{name}.conv.weight"), number, &shape);
        let parts =
            [("weight", [0.9, 1.1]), ("bias", [-0.1, 0.1]), ("running_mean", [-0.1, 0.1]), ("running_var", [0.8, 1.2])];
        for (part, (name_of_part, range)) in parts.into_iter().enumerate() {
            weights.add(format!("{name}.bn.{name_of_part}"), number + 1 + part as u64, &shape[..1], range);
        }
    }
    weights.add("fc.weight".to_owned(), 2000, &[1008, 2048], [-0.02, 0.02]);
    weights.add("fc.bias".to_owned(), 2001, &[1008], [-0.02, 0.02]);
    weights.write(path);
}

#[test]
fn sets_are_compared_by_their_features_and_by_stored_statistics() {
    let Some(table) = shared("inception_table.json") else { return };
    let here = tempfile::tempdir().unwrap();
    let root = here.path();
    for (folder, offset) in [("reals", 0), ("fakes", 60)] {
        fs::create_dir(root.join(folder)).unwrap();
        for index in 0..3u32 {
            let rgb: Vec<u8> = (0..32 * 32 * 3u32).map(|i| ((i * (7 + index)) % 150 + offset) as u8).collect();
            png(&root.join(format!("{folder}/{index}{offset}.png")), 32, 32, &rgb);
        }
    }
    fs::write(root.join("fakes/broken.png"), b"\x89PNG broken").unwrap();
    let (_, err) = gav(root, 1, &["score", "fakes", "-r", "reals", "--metrics", "fid-stylegan"]);
    assert!(err.contains("gav weights add"), "{err}");
    inception(&root.join("inception.safetensors"), &table);
    gav(root, 0, &["weights", "add", "inception.safetensors"]);

    let metrics = "fid-stylegan,fid-torch-fidelity,kid-stylegan,fid3d";
    let arguments = ["score", "fakes", "-r", "reals", "--metrics", metrics, "--json", "--report", "sets.html"];
    let (out, _) = gav(root, 1, &arguments);
    let summary = last(&out);
    assert_eq!(summary["failed"], 1, "{out}");
    let value = |summary: &Value, index: usize| summary["sets"][index]["value"].as_f64().unwrap();
    assert_eq!(
        (summary["sets"][0]["pictures"].as_u64(), summary["sets"][0]["references"].as_u64()),
        (Some(3), Some(3))
    );
    assert!(value(&summary, 0) > 1e-3 && value(&summary, 0) != value(&summary, 1), "{summary}");
    // the same distance: what differs is how the pictures were made
    assert_eq!((summary["sets"][3]["name"].as_str(), value(&summary, 3)), (Some("fid3d-stylegan"), value(&summary, 0)));
    assert!(fs::read_to_string(root.join("sets.html")).unwrap().contains("fid-torch-fidelity"));
    assert!(out.contains("broken.png"));
    // the features are kept, and give the same numbers
    let features: Vec<_> = fs::read_dir(root.join("cache/features")).unwrap().collect();
    assert_eq!(features.len(), 1);
    let again = last(&gav(root, 1, &arguments).0);
    assert_eq!(again["sets"], summary["sets"]);

    // statistics stand for the pictures they were made of
    gav(
        root,
        0,
        &["score", "reals", "--metrics", "fid-stylegan", "--save-statistics", "reals.npz", "-r", "reals", "-q"],
    );
    gav(root, 0, &["score", "reals", "--save-statistics", "alone.npz", "-q"]);
    assert_eq!(fs::read(root.join("reals.npz")).unwrap(), fs::read(root.join("alone.npz")).unwrap());
    let (out, _) = gav(root, 1, &["score", "fakes", "-r", "reals.npz", "--json"]);
    assert!((value(&last(&out), 0) - value(&summary, 0)).abs() < 1e-6 * value(&summary, 0), "{out}");
    let (out, _) = gav(root, 0, &["score", "reals.npz", "-r", "reals.npz", "--json"]);
    assert!(value(&last(&out), 0).abs() < 1e-6, "{out}");
    let (_, err) = gav(root, 2, &["score", "fakes", "-r", "reals.npz", "--metrics", "fid-pytorch-fid"]);
    assert!(err.contains("not made alike"), "{err}");
    let (_, err) = gav(root, 2, &["score", "reals", "-r", "reals.npz", "--metrics", "kid-stylegan"]);
    assert!(err.contains("statistics only"), "{err}");
    let (_, err) = gav(root, 2, &["score", "reals", "-r", "reals.npz", "--metrics", "psnr"]);
    assert!(err.contains("one by one"), "{err}");
}
