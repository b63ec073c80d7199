use std::ops::Range;

use burn::tensor::{Tensor, TensorData};
use burn_flex::{Flex, FlexDevice};
use gav_kernels::resize::{Rule, bilinear};
use gav_models::metrics::{
    inception::{self, LENGTHS},
    networks::{Inception, Picture, Preprocessing},
};

use crate::golden::{Golden, Weights, assert_close, shared, tensors};

/// Rows of the table beside the golden file: number, name in PyTorch, name in StyleGAN, shape, stride, padding.
fn table() -> Option<Vec<(u64, String, String, Vec<usize>)>> {
    let path = shared("parity/metrics/inception_table.json")?;
    let rows: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let row = |row: &serde_json::Value| {
        let shape = row[3].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect();
        let text = |i: usize| row[i].as_str().unwrap().to_owned();
        (row[0].as_u64().unwrap(), text(1), text(2), shape)
    };
    Some(rows.as_array().unwrap().iter().map(row).collect())
}

fn hashed(table: &[(u64, String, String, Vec<usize>)], stylegan: bool) -> Vec<u8> {
    let mut weights = Weights::default();
    for (k, pytorch, name, shape) in table {
        let channels = &shape[..1];
        let parts = if stylegan {
            ["weight", "", "beta", "mean", "var"].map(|part| format!("{name}.{part}"))
        } else {
            ["conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"]
                .map(|part| format!("{pytorch}.{part}"))
        };
        weights.convolution(&parts[0], 5 * k, shape, 6.0);
        let norms = [[0.9, 1.1], [-0.1, 0.1], [-0.1, 0.1], [0.8, 1.2]];
        for (index, range) in norms.into_iter().enumerate().skip(usize::from(stylegan)) {
            weights.hashed(&parts[index + 1], 5 * k + 1 + index as u64, channels, range);
        }
    }
    let head = if stylegan { "output" } else { "fc" };
    weights.hashed(format!("{head}.weight"), 900, &[1008, 2048], [-0.05, 0.05]);
    weights.hashed(format!("{head}.bias"), 901, &[1008], [-0.5, 0.5]);
    weights.file()
}

#[test]
fn resizing_follows_both_published_rules() {
    let Some(golden) = Golden::open() else { return };
    let (height, width, pictures) = golden.pictures("small.a");
    let planes: Vec<f32> = (0..3).flat_map(|c| pictures[0].iter().skip(c).step_by(3).map(|v| f32::from(*v))).collect();
    for (rule, key, scale) in [(Rule::Legacy, "resize_tf1", 1.0), (Rule::HalfPixel, "resize_halfpixel", 255.0)] {
        let resized = bilinear(&planes, [height, width], [299, 299], rule);
        let part = |rows: Range<usize>, columns: Range<usize>| -> Vec<f32> {
            let mut values = Vec::new();
            for c in 0..3 {
                for y in rows.clone() {
                    values.extend(columns.clone().map(|x| resized[(c * 299 + y) * 299 + x] / scale));
                }
            }
            values
        };
        let corner = golden.get(&format!("inception.{key}.corner"));
        assert_close(&format!("{key} corner"), &part(0..4, 0..6), &corner, 1e-6, 0.0);
        let tail = golden.get(&format!("inception.{key}.tail"));
        assert_close(&format!("{key} tail"), &part(296..299, 296..299), &tail, 1e-6, 0.0);
    }
}

#[test]
fn reducing_512_pixels_by_the_legacy_rule_agrees_in_the_corner() {
    let Some(golden) = Golden::open() else { return };
    // a corner of 6×10 pixels decides the first 3×5 of 299 from 512
    let file = std::fs::read(shared("parity/metrics/parity_metrics.safetensors").unwrap()).unwrap();
    let file = safetensors::SafeTensors::deserialize(&file).unwrap();
    let corner = file.tensor("inception.resize_tf1.from512.input_corner").unwrap().data().to_vec();
    let mut planes = vec![0f32; 3 * 512 * 512];
    for (index, value) in corner.iter().enumerate() {
        let (c, y, x) = (index / 60, index / 10 % 6, index % 10);
        planes[(c * 512 + y) * 512 + x] = f32::from(*value);
    }
    let resized = bilinear(&planes, [512, 512], [299, 299], Rule::Legacy);
    let found: Vec<f32> = (0..45).map(|i| resized[(i / 15 * 299 + i / 5 % 3) * 299 + i % 5]).collect();
    assert_close("512 to 299", &found, &golden.get("inception.resize_tf1.from512.corner"), 1e-6, 0.0);
}

#[test]
fn features_agree_for_both_preparations_and_every_block() {
    let (Some(golden), Some(table)) = (Golden::open(), table()) else { return };
    let file = hashed(&table, false);
    let network = inception::Inception::<Flex>::new(&tensors(&file), &FlexDevice).unwrap();

    // blocks, both pictures
    let (height, width, pictures) = golden.pictures("small.a");
    let planes: Vec<f32> = pictures
        .iter()
        .flat_map(|p| (0..3).flat_map(move |c| p.iter().skip(c).step_by(3).map(|v| f32::from(*v))))
        .collect();
    let resized: Vec<f32> =
        bilinear(&planes, [height, width], [299, 299], Rule::Legacy).into_iter().map(|v| (v - 128.0) / 128.0).collect();
    let input = Tensor::<Flex, 4>::from_data(TensorData::new(resized, [2, 3, 299, 299]), &FlexDevice);
    let mut blocks = Vec::new();
    network.forward(input, &mut |_, output| {
        let values: Vec<f32> = output.clone().into_data().to_vec().unwrap();
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / values.len() as f64;
        blocks.extend([mean as f32, variance.sqrt() as f32]);
    });
    assert_close("blocks", &blocks, &golden.get("inception.tf1.block_mean_std"), 1e-4, 0.0);

    let network = Inception::from(network);
    let pictures: Vec<Picture<u8>> = pictures.iter().map(|p| Picture::new(width, height, p).unwrap()).collect();
    for (preparation, key) in [(Preprocessing::Stylegan, "tf1"), (Preprocessing::PytorchFid, "halfpixel")] {
        let found = network.all_features(&pictures, preparation);
        let all = found.shallow.iter().chain([&found.last]);
        for (values, length) in all.zip(LENGTHS) {
            let expected = golden.get(&format!("inception.{key}.feat{length}"));
            assert_close(&format!("{key} {length}"), values, &expected, 1e-4, 0.0);
        }
    }
}

#[test]
fn both_packagings_give_the_same_features_and_probabilities_sum_to_one() {
    let Some(table) = table() else { return };
    // StyleGAN does not store γ, so the other file gets one of 1
    let file = hashed(&table, true);
    let stylegan = inception::Inception::<Flex>::new(&tensors(&file), &FlexDevice).unwrap();
    let rename = |name: &str| {
        let unit =
            table.iter().find(|(_, _, sg, _)| name.strip_prefix(sg.as_str()).is_some_and(|r| r.starts_with('.')));
        let Some((_, pytorch, sg, _)) = unit else { return name.replace("output", "fc") };
        let part = match &name[sg.len() + 1..] {
            "weight" => "conv.weight",
            "beta" => "bn.bias",
            "mean" => "bn.running_mean",
            _ => "bn.running_var",
        };
        format!("{pytorch}.{part}")
    };
    let parsed = safetensors::SafeTensors::deserialize(&file).unwrap();
    let ones = vec![1f32; 512].iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let mut views: Vec<_> = parsed.tensors().into_iter().map(|(name, view)| (rename(&name), view)).collect();
    for (_, pytorch, _, shape) in &table {
        let gamma =
            safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![shape[0]], &ones[..4 * shape[0]]);
        views.push((format!("{pytorch}.bn.weight"), gamma.unwrap()));
    }
    let renamed = safetensors::serialize(views, None).unwrap();
    let pytorch = inception::Inception::<Flex>::new(&tensors(&renamed), &FlexDevice).unwrap();

    let rgb: Vec<u8> = (0..48 * 32 * 3).map(|i| (i * 29 % 256) as u8).collect();
    let picture = [Picture::new(48, 32, &rgb).unwrap()];
    let (stylegan, pytorch) = (Inception::from(stylegan), Inception::from(pytorch));
    let features = stylegan.features(&picture, Preprocessing::Stylegan);
    assert_eq!(features, pytorch.features(&picture, Preprocessing::Stylegan));
    for bias in [false, true] {
        let probabilities = stylegan.probabilities(&features, bias).unwrap();
        assert_eq!(probabilities.len(), 1008);
        assert!((probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-5);
    }
    assert_ne!(stylegan.probabilities(&features, false).unwrap(), stylegan.probabilities(&features, true).unwrap());
}
