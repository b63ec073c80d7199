use burn::tensor::{Tensor, TensorData};
use burn_flex::{Flex, FlexDevice};
use gav_models::{
    metrics::{
        lpips,
        networks::{Lpips, Picture, Trunk},
    },
    weights::store::Store,
};

use crate::golden::{Golden, Weights, assert_close, tensors};

/// Torchvision's numbers of the convolutions, their channels and kernel.
fn trunk_layers(trunk: Trunk) -> Vec<(usize, [usize; 2], usize)> {
    match trunk {
        Trunk::Vgg => {
            let numbers = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28];
            let widths = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512];
            numbers.into_iter().enumerate().map(|(k, n)| (n, [widths[k], widths[k + 1]], 3)).collect()
        }
        Trunk::Alex => {
            vec![(0, [3, 64], 11), (3, [64, 192], 5), (6, [192, 384], 3), (8, [384, 256], 3), (10, [256, 256], 3)]
        }
    }
}

fn hashed(trunk: Trunk, name: impl Fn(usize, usize) -> String) -> (Vec<u8>, Vec<u8>) {
    let mut weights = Weights::default();
    let last_of_slice: &[usize] = if trunk == Trunk::Vgg { &[2, 7, 14, 21, 28] } else { &[0, 3, 6, 8, 10] };
    for (k, (number, [inputs, outputs], kernel)) in trunk_layers(trunk).into_iter().enumerate() {
        let slice = 1 + last_of_slice.iter().filter(|last| **last < number).count();
        let name = name(slice, number);
        let k = k as u64;
        weights.convolution(format!("{name}.weight"), 2 * k, &[outputs, inputs, kernel, kernel], 6.0);
        weights.hashed(format!("{name}.bias"), 2 * k + 1, &[outputs], [-0.05, 0.05]);
    }
    let mut heads = Weights::default();
    for (index, channels) in trunk.channels().into_iter().enumerate() {
        let name = format!("lin{index}.model.1.weight");
        heads.hashed(name, 1000 + index as u64, &[1, channels, 1, 1], [0.0, 0.2]);
    }
    (weights.file(), heads.file())
}

fn network(trunk: Trunk) -> lpips::Lpips<Flex> {
    let (weights, heads) = hashed(trunk, |_, number| format!("features.{number}"));
    lpips::Lpips::new(trunk, &tensors(&weights), &tensors(&heads), &FlexDevice).unwrap()
}

/// Two pairs of 64×64 in 0…1.
fn pairs(golden: &Golden) -> [Vec<Vec<f32>>; 2] {
    ["small.a", "small.b"].map(|key| {
        let (height, width, pictures) = golden.pictures(key);
        assert_eq!((height, width), (64, 64));
        pictures.into_iter().map(|p| p.into_iter().map(|v| (f64::from(v) / 255.0) as f32).collect()).collect()
    })
}

fn picture(rgb: &[f32]) -> Picture<'_, f32> {
    Picture::new(64, 64, rgb).unwrap()
}

fn check(trunk: Trunk, name: &str) {
    let Some(golden) = Golden::open() else { return };
    let inner = network(trunk);
    let [a, b] = pairs(&golden);

    // features: first picture, mean, deviation and first values
    let planes: Vec<f32> = (0..3).flat_map(|c| a[0].iter().skip(c).step_by(3).copied()).collect();
    let input = Tensor::<Flex, 4>::from_data(TensorData::new(planes, [1, 3, 64, 64]), &FlexDevice);
    for (layer, feature) in inner.features(input).into_iter().enumerate() {
        let values: Vec<f32> = feature.into_data().to_vec().unwrap();
        let count = values.len() as f64;
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
        let variance = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / count;
        let found: Vec<f32> = [mean as f32, variance.sqrt() as f32].into_iter().chain(values[..8].to_vec()).collect();
        let expected = golden.get(&format!("lpips.{name}.feat{layer}.mean_std_first8"));
        // 1e-4 relative is what f32 evaluation of an f64 reference keeps through 13 layers
        assert_close(&format!("{name} feature {layer}"), &found, &expected, 1e-4, 0.0);
    }

    // values and terms
    let metric = Lpips::from(inner);
    let both = [(picture(&a[0]), picture(&b[0])), (picture(&a[1]), picture(&b[1]))];
    let terms = metric.distances(&both).unwrap();
    let values: Vec<f32> = terms.iter().map(|t| t.value).collect();
    let expected = golden.get(&format!("lpips.{name}.hashed_lin.value"));
    assert_close(&format!("{name} values"), &values, &expected, 0.0, 1e-5);
    let layers: Vec<f32> = (0..5).flat_map(|l| terms.iter().map(move |t| t.layers[l])).collect();
    let expected = golden.get(&format!("lpips.{name}.hashed_lin.per_layer"));
    assert_close(&format!("{name} terms"), &layers, &expected, 0.0, 1e-5);

    // gradient of the sum over pairs, which is each pair's own
    let expected = golden.get(&format!("lpips.{name}.grad_img0"));
    for index in 0..2 {
        let (value, gradient) = metric.gradient(picture(&a[index]), picture(&b[index])).unwrap();
        assert!((value - values[index]).abs() < 1e-6);
        let planes: Vec<f32> = (0..3).flat_map(|c| gradient.iter().skip(c).step_by(3).copied()).collect();
        let expected = &expected[index * planes.len()..][..planes.len()];
        // ReLU and the pools may choose another branch where f32 and f64 differ
        assert_close(&format!("{name} gradient {index}"), &planes, expected, 1e-3, 0.0);
    }
}

#[test]
fn vgg_agrees_with_the_package() {
    check(Trunk::Vgg, "vgg");
}

#[test]
fn alex_agrees_with_the_package() {
    check(Trunk::Alex, "alex");
}

#[test]
fn official_heads_give_the_published_values() {
    let Some(golden) = Golden::open() else { return };
    let [a, b] = pairs(&golden);
    for (trunk, name) in [(Trunk::Vgg, "vgg"), (Trunk::Alex, "alex")] {
        let store = Store::user().unwrap();
        let Ok(heads) = store.open(Lpips::parts(trunk)[1]) else {
            eprintln!("SKIPPED: the official heads of LPIPS-{name} are not in {}", store.folder().display());
            continue;
        };
        let (weights, _) = hashed(trunk, |_, number| format!("features.{number}"));
        let network =
            lpips::Lpips::new(trunk, &tensors(&weights), &Store::tensors(&heads).unwrap(), &FlexDevice).unwrap();
        let both = [(picture(&a[0]), picture(&b[0])), (picture(&a[1]), picture(&b[1]))];
        let terms = Lpips::from(network).distances(&both).unwrap();
        let values: Vec<f32> = terms.iter().map(|t| t.value).collect();
        let expected = golden.get(&format!("lpips.{name}.official_lin.value"));
        assert_close(&format!("{name} with official heads"), &values, &expected, 0.0, 1e-5);
    }
}

#[test]
fn both_ways_of_naming_a_trunk_give_the_same_network() {
    let (plain, heads) = hashed(Trunk::Alex, |_, number| format!("features.{number}"));
    let (packaged, _) = hashed(Trunk::Alex, |slice, number| format!("net.slice{slice}.{number}"));
    let rgb: Vec<f32> = (0..40 * 36 * 3).map(|i| (i % 251) as f32 / 250.0).collect();
    let other: Vec<f32> = rgb.iter().rev().copied().collect();
    let pair = [(Picture::new(40, 36, &rgb).unwrap(), Picture::new(40, 36, &other).unwrap())];
    let value = |weights: &[u8]| {
        let network = lpips::Lpips::new(Trunk::Alex, &tensors(weights), &tensors(&heads), &FlexDevice).unwrap();
        Lpips::from(network).distances(&pair).unwrap()
    };
    assert_eq!(value(&plain), value(&packaged));
}

#[test]
fn distances_are_symmetric_zero_on_equal_pictures_and_the_mean_of_the_map() {
    let metric = Lpips::from(network(Trunk::Alex));
    let a: Vec<f32> = (0..64 * 64 * 3).map(|i| ((i * 37) % 256) as f32 / 255.0).collect();
    let b: Vec<f32> = (0..64 * 64 * 3).map(|i| ((i * 91) % 256) as f32 / 255.0).collect();
    let (a, b) = (picture(&a), picture(&b));
    let found = metric.distances(&[(a, b), (b, a), (a, a)]).unwrap();
    assert!((found[0].value - found[1].value).abs() < 1e-6);
    assert_eq!(found[2].value, 0.0);
    assert!((found[0].layers.iter().sum::<f32>() - found[0].value).abs() < 1e-6);
    let map = metric.map(a, b).unwrap();
    let mean = map.iter().sum::<f32>() / map.len() as f32;
    // resizing keeps the mean only roughly
    assert!((mean - found[0].value).abs() < 0.1 * found[0].value, "{mean} {}", found[0].value);
    // a batch of mixed sizes gives what each pair gives alone
    let small = Picture::new(32, 40, &a.rgb[..32 * 40 * 3]).unwrap();
    let mixed = metric.distances(&[(a, b), (small, small), (b, a)]).unwrap();
    assert_eq!((mixed[0].value, mixed[1].value, mixed[2].value), (found[0].value, 0.0, found[1].value));
}

#[test]
fn black_pictures_have_finite_gradients_and_bad_pictures_are_refused() {
    let metric = Lpips::from(network(Trunk::Alex));
    let (black, mut wrong) = (vec![0f32; 64 * 64 * 3], vec![0.5f32; 64 * 64 * 3]);
    let (_, gradient) = metric.gradient(picture(&black), picture(&wrong)).unwrap();
    assert!(gradient.iter().all(|v| v.is_finite()));
    wrong[7] = f32::NAN;
    assert!(metric.distances(&[(picture(&black), picture(&wrong))]).unwrap_err().to_string().contains("finite"));
    let narrow = Picture::new(30, 64, &black[..30 * 64 * 3]).unwrap();
    assert!(metric.distances(&[(narrow, narrow)]).unwrap_err().to_string().contains("31"));
    assert!(metric.map(picture(&black), narrow).unwrap_err().to_string().contains("different size"));
    assert!(Picture::new(64, 64, &black[1..]).is_err());
}

#[test]
fn a_wrong_file_is_told_by_its_tensors() {
    let (weights, heads) = hashed(Trunk::Alex, |_, number| format!("features.{number}"));
    let error = lpips::Lpips::<Flex>::new(Trunk::Vgg, &tensors(&weights), &tensors(&heads), &FlexDevice).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("features.0.weight") && text.contains("[64, 3, 11, 11]"), "{text}");
}
