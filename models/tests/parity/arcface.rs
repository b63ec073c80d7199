use burn_flex::{Flex, FlexDevice};
use gav_models::metrics::{
    align::{Similarity, TEMPLATE},
    arcface::{IrSe50, Iresnet},
    networks::{Identity, Picture, cosine},
};

use crate::golden::{Golden, Weights, assert_close, shared, tensors};

/// The iresnet18 of the golden file: a tensor's number is its position in the list of names.
fn iresnet18() -> Option<Vec<u8>> {
    let path = shared("parity/metrics/parity_metrics.json")?;
    // Python writes infinity as a word that JSON does not know
    let text = std::fs::read_to_string(path).unwrap().replace("Infinity", "null");
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut weights = Weights::default();
    for (number, name) in json["arcface.names"].as_array().unwrap().iter().enumerate() {
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
        match (module, *parts.last().unwrap()) {
            ("fc", "weight") => weights.convolution(name, number, &[512, 25088], 3.0),
            ("fc", _) => weights.hashed(name, number, &[512], [-0.05, 0.05]),
            ("conv1", _) if stage.is_none() => weights.convolution(name, number, &[64, 3, 3, 3], 3.0),
            ("conv1", _) => weights.convolution(name, number, &[width, inputs, 3, 3], 3.0),
            ("conv2", _) => weights.convolution(name, number, &[width, width, 3, 3], 3.0),
            ("0", _) => weights.convolution(name, number, &[width, inputs, 1, 1], 3.0),
            ("prelu", _) => weights.hashed(name, number, &[channels], [0.15, 0.35]),
            (_, "weight") => weights.hashed(name, number, &[channels], [0.9, 1.1]),
            (_, "running_var") => weights.hashed(name, number, &[channels], [0.8, 1.2]),
            _ => weights.hashed(name, number, &[channels], [-0.1, 0.1]),
        }
    }
    Some(weights.file())
}

#[test]
fn iresnet18_agrees() {
    let (Some(golden), Some(file)) = (Golden::open(), iresnet18()) else { return };
    let network = Iresnet::<Flex>::new(&tensors(&file), &FlexDevice).unwrap();
    let (_, _, faces) = golden.pictures("arcface.in");
    let faces: Vec<Vec<f32>> =
        faces.into_iter().map(|f| f.into_iter().map(|v| f32::from(v) / 255.0).collect()).collect();
    let network = Identity::from(network);
    let embeddings: Vec<Vec<f32>> =
        faces.iter().map(|face| network.embed_aligned(Picture::new(112, 112, face).unwrap()).unwrap()).collect();
    for (index, (found, expected)) in embeddings.iter().zip(golden.get("arcface.embed").chunks(512)).enumerate() {
        let length = expected.iter().map(|v| v * v).sum::<f64>().sqrt();
        let expected: Vec<f64> = expected.iter().map(|v| v / length).collect();
        assert_close(&format!("embedding {index}"), found, &expected, 1e-4, 0.0);
    }
    let found = cosine(&embeddings[0], &embeddings[1]);
    let expected = golden.get("arcface.cosine")[0];
    eprintln!("cosine {found} instead of {expected}");
    assert!((found - expected).abs() < 1e-5);

    // the five points of the template leave an aligned face where it is, and a similarity of both changes nothing
    let face = Picture::new(112, 112, &faces[0]).unwrap();
    let again = network.embed(face, &TEMPLATE).unwrap();
    assert!(cosine(&again, &embeddings[0]) > 1.0 - 1e-6);
    let larger: Vec<f32> =
        (0..224 * 224 * 3).map(|i| faces[0][(i / 672 / 2 * 112 + i / 3 % 224 / 2) * 3 + i % 3]).collect();
    let double = Similarity { a: 2.0, b: 0.0, t: [0.5, 0.5] };
    let points = TEMPLATE.map(|p| double.apply(p));
    let again = network.embed(Picture::new(224, 224, &larger).unwrap(), &points).unwrap();
    assert!(cosine(&again, &embeddings[0]) > 1.0 - 1e-6, "{}", cosine(&again, &embeddings[0]));
    assert!(network.embed(face, &[[5.0, 5.0]; 5]).is_err());
}

#[test]
fn a_residual_network_of_torchvision_is_no_iresnet() {
    let mut weights = Weights::default();
    weights.hashed("layer1.0.bn3.weight", 0, &[64], [0.0, 1.0]);
    let file = weights.file();
    assert!(Iresnet::<Flex>::new(&tensors(&file), &FlexDevice).is_err());
}

/// IR-SE50 of zeros except for what the test sets: checks names, shapes and the paths through the network.
#[test]
fn ir_se50_takes_its_published_names() {
    let mut weights = Weights::default();
    let norm = |weights: &mut Weights, name: &str, channels: usize| {
        for part in ["weight", "running_var"] {
            weights.hashed(format!("{name}.{part}"), 1, &[channels], [1.0, 1.0]);
        }
        for part in ["bias", "running_mean"] {
            weights.hashed(format!("{name}.{part}"), 2, &[channels], [-0.1, 0.1]);
        }
    };
    weights.convolution("input_layer.0.weight", 3, &[64, 3, 3, 3], 6.0);
    norm(&mut weights, "input_layer.1", 64);
    weights.hashed("input_layer.2.weight", 4, &[64], [0.2, 0.3]);
    let mut inputs = 64;
    let mut number = 0;
    for (stage, count) in [3, 4, 14, 3].into_iter().enumerate() {
        let outputs = 64 << stage;
        for _ in 0..count {
            let name = format!("body.{number}");
            norm(&mut weights, &format!("{name}.res_layer.0"), inputs);
            weights.convolution(format!("{name}.res_layer.1.weight"), 5, &[outputs, inputs, 3, 3], 3.0);
            weights.hashed(format!("{name}.res_layer.2.weight"), 6, &[outputs], [0.2, 0.3]);
            weights.convolution(format!("{name}.res_layer.3.weight"), 7, &[outputs, outputs, 3, 3], 3.0);
            norm(&mut weights, &format!("{name}.res_layer.4"), outputs);
            weights.convolution(format!("{name}.res_layer.5.fc1.weight"), 8, &[outputs / 16, outputs, 1, 1], 3.0);
            weights.convolution(format!("{name}.res_layer.5.fc2.weight"), 9, &[outputs, outputs / 16, 1, 1], 3.0);
            if inputs != outputs {
                weights.convolution(format!("{name}.shortcut_layer.0.weight"), 10, &[outputs, inputs, 1, 1], 3.0);
                norm(&mut weights, &format!("{name}.shortcut_layer.1"), outputs);
            }
            inputs = outputs;
            number += 1;
        }
    }
    norm(&mut weights, "output_layer.0", 512);
    weights.convolution("output_layer.3.weight", 11, &[512, 25088], 3.0);
    weights.hashed("output_layer.3.bias", 12, &[512], [-0.05, 0.05]);
    norm(&mut weights, "output_layer.4", 512);
    let file = weights.file();
    let network = Identity::from(IrSe50::<Flex>::new(&tensors(&file), &FlexDevice).unwrap());
    let face: Vec<f32> = (0..112 * 112 * 3).map(|i| (i * 31 % 256) as f32 / 255.0).collect();
    let embedding = network.embed_aligned(Picture::new(112, 112, &face).unwrap()).unwrap();
    assert_eq!(embedding.len(), 512);
    assert!((cosine(&embedding, &embedding) - 1.0).abs() < 1e-5);
}
