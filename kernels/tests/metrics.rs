//! Image measures against the values of the programs whose names they carry.

use std::path::PathBuf;

use gav_kernels::metrics::{
    ImageView, MsSsimVariant, PsnrReduction, SsimVariant, channel_mse, l1, masked_l1, masked_mse, ms_ssim, mse, psnr,
    reduce_psnr, ssim, ssim_map,
};
use safetensors::SafeTensors;

/// The reference file; `None` with a loud line when it is not there.
fn reference() -> Option<Vec<u8>> {
    let root = std::env::var_os("GAV_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let path = root.join("parity/metrics/parity_metrics.safetensors");
    let bytes = std::fs::read(&path).ok();
    if bytes.is_none() {
        eprintln!("SKIPPED: {} is not there; set GAV_SHARED to the folder of reference data", path.display());
    }
    bytes
}

fn doubles(file: &SafeTensors, name: &str) -> Vec<f64> {
    let data = file.tensor(name).unwrap().data().to_vec();
    data.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect()
}

/// Both pictures of a batch of 2 × 3 × height × width bytes, channels last, divided by 255.
fn pictures(file: &SafeTensors, name: &str, width: usize, height: usize) -> [Vec<f32>; 2] {
    let data = file.tensor(name).unwrap().data().to_vec();
    [0, 1].map(|n| {
        let byte = |i: usize| data[(n * 3 + i % 3) * width * height + i / 3];
        (0..3 * width * height).map(|i| f32::from(byte(i)) / 255.0).collect()
    })
}

#[test]
fn every_measure_has_the_value_of_its_namesake() {
    let Some(bytes) = reference() else { return };
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (width, height) = (208, 192);
    let (a, b) = (pictures(&file, "img.a", width, height), pictures(&file, "img.b", width, height));
    let view = |data| ImageView::new(width, height, 3, data).unwrap();
    let pairs: Vec<_> = a.iter().zip(&b).map(|(a, b)| (view(a), view(b))).collect();
    let mut worst: Vec<(String, f64)> = Vec::new();
    // inputs are bytes / 255 rounded to f32 here: a relative error of 6e-8 each, with random signs
    let mut check = |name: &str, tolerance: f64, values: Vec<f64>| {
        let expected = doubles(&file, name);
        assert_eq!(values.len(), expected.len(), "{name}");
        for (value, expected) in values.iter().zip(&expected) {
            let error = (value - expected).abs();
            worst.push((name.to_owned(), error));
            assert!(error <= tolerance, "{name}: {value} instead of {expected}");
        }
    };
    let each = |f: &dyn Fn(ImageView, ImageView) -> f64| pairs.iter().map(|&(a, b)| f(a, b)).collect::<Vec<_>>();
    check("mse.per_image", 1e-9, each(&|a, b| mse(a, b).unwrap()));
    check("l1.per_image", 1e-8, each(&|a, b| l1(a, b).unwrap()));
    check("psnr.per_image", 1e-5, each(&|a, b| psnr(mse(a, b).unwrap())));
    check("psnr.skimage", 1e-5, each(&|a, b| psnr(mse(a, b).unwrap())));
    let batch: Vec<Vec<f64>> = pairs.iter().map(|&(a, b)| channel_mse(a, b).unwrap()).collect();
    check("psnr.batch_pooled", 1e-5, vec![reduce_psnr(&batch, PsnrReduction::Pooled)]);
    // pytorch-msssim rounds its window to f32, whose sum is then off by 1e-7; a² − μ² multiplies that by μ² / C2
    const ROUNDED_WINDOW: f64 = 5e-6;
    for (name, variant, tolerance) in [
        ("ssim.zero_pad.per_image", SsimVariant::ZeroPad, 2e-7),
        ("ssim.valid.per_image", SsimVariant::Valid, 2e-7),
        ("ssim.skimage_gauss", SsimVariant::Valid, 2e-7),
        ("ssim.pytorch_msssim", SsimVariant::Valid, ROUNDED_WINDOW),
        ("ssim.skimage_default", SsimVariant::SkimageDefault, 2e-7),
        ("ssim.torchmetrics", SsimVariant::TorchMetrics, 2e-7),
    ] {
        check(name, tolerance, each(&|a, b| ssim(a, b, variant).unwrap()));
    }
    let zero_pad = each(&|a, b| ssim(a, b, SsimVariant::ZeroPad).unwrap());
    check("ssim.zero_pad.batch", 2e-7, vec![0.5 * (zero_pad[0] + zero_pad[1])]);
    check("msssim.pytorch_msssim", ROUNDED_WINDOW, each(&|a, b| ms_ssim(a, b, MsSsimVariant::PytorchMsssim).unwrap()));
    check("msssim.torchmetrics", 2e-7, each(&|a, b| ms_ssim(a, b, MsSsimVariant::TorchMetrics).unwrap()));
    for (name, error) in worst {
        println!("{name}: {error:.1e}");
    }
    assert_eq!(doubles(&file, "psnr.identical_is_inf"), [psnr(mse(view(&a[0]), view(&a[0])).unwrap())]);
}

#[test]
fn the_map_of_a_crop_is_the_references() {
    let Some(bytes) = reference() else { return };
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (a, b) = (pictures(&file, "img.a", 208, 192), pictures(&file, "img.b", 208, 192));
    let crop =
        |data: &[f32]| -> Vec<f32> { (0..24).flat_map(|y| data[y * 208 * 3..(y * 208 + 40) * 3].to_vec()).collect() };
    let (a, b) = (crop(&a[0]), crop(&b[0]));
    let view = |data| ImageView::new(40, 24, 3, data).unwrap();
    let map = ssim_map(view(&a), view(&b), SsimVariant::ZeroPad).unwrap();
    let expected = doubles(&file, "ssim.crop.map");
    for (value, expected) in map.planes.concat().iter().zip(&expected) {
        // one pixel of the map averages the rounding of its inputs less than a mean does
        assert!((value - expected).abs() < 5e-6, "{value} {expected}");
    }
}

#[test]
fn reductions_of_psnr_differ_as_their_names_say() {
    let batch = vec![vec![0.01, 0.01, 0.04], vec![0.0001, 0.0001, 0.0001]];
    let close = |value: f64, expected: f64| assert!((value - expected).abs() < 1e-12, "{value} {expected}");
    close(reduce_psnr(&batch, PsnrReduction::PerImage), 0.5 * (psnr(0.02) + 40.0));
    close(reduce_psnr(&batch, PsnrReduction::Pooled), psnr(0.5 * (0.02 + 0.0001)));
    close(reduce_psnr(&batch, PsnrReduction::PerChannel), (20.0 + 20.0 + psnr(0.04) + 120.0) / 6.0);
    assert_eq!(reduce_psnr(&[vec![0.0; 3]], PsnrReduction::PerImage), f64::INFINITY);
}

#[test]
fn a_mask_decides_which_pixels_count() {
    let (width, height) = (20, 18);
    let a: Vec<f32> = (0..width * height * 3).map(|i| (i * 37 % 101) as f32 / 100.0).collect();
    let mut b = a.clone();
    // wrong on the left half only
    (0..height * width).filter(|i| i % width < 10).for_each(|i| b[3 * i] += 0.5);
    let view = |data| ImageView::new(width, height, 3, data).unwrap();
    let mask = |f: &dyn Fn(usize) -> f32| (0..width * height).map(|i| f(i % width)).collect::<Vec<f32>>();
    let (all, left, right) =
        (mask(&|_| 1.0), mask(&|x| if x < 10 { 0.5 } else { 0.0 }), mask(&|x| if x >= 10 { 1.0 } else { 0.0 }));
    let (va, vb) = (view(&a), view(&b));
    assert!((masked_mse(va, vb, &all).unwrap() - mse(va, vb).unwrap()).abs() < 1e-12);
    assert!((masked_mse(va, vb, &left).unwrap() - 0.25 / 3.0).abs() < 1e-7);
    assert!((masked_l1(va, vb, &left).unwrap() - 0.5 / 3.0).abs() < 1e-7);
    assert_eq!(masked_mse(va, vb, &right).unwrap(), 0.0);
    for variant in SsimVariant::ALL {
        let map = ssim_map(va, vb, variant).unwrap();
        let far = mask(&|x| if x == 16 { 1.0 } else { 0.0 });
        assert!(map.masked_mean(va, &left).unwrap() < map.mean(), "{variant:?}");
        if map.crop < 4 {
            assert!((map.masked_mean(va, &far).unwrap() - 1.0).abs() < 1e-12, "{variant:?}");
        }
        let whole = map.masked_mean(va, &all).unwrap();
        assert!((whole - map.mean()).abs() < 1e-12, "{variant:?}");
    }
    for bad in [vec![0.0; width * height], vec![-1.0; width * height], vec![f32::NAN; width * height], vec![1.0; 3]] {
        assert!(masked_mse(va, vb, &bad).is_err());
    }
}

#[test]
fn pictures_that_do_not_fit_are_refused_with_their_sizes() {
    let data = vec![0.5f32; 12 * 12 * 3];
    let view = |w, h| ImageView::new(w, h, 3, &data[..w * h * 3]).unwrap();
    let error = mse(view(12, 12), view(12, 10)).unwrap_err().to_string();
    assert!(error.contains("12 × 12 × 3") && error.contains("12 × 10 × 3"), "{error}");
    assert!(ssim(view(10, 12), view(10, 12), SsimVariant::Valid).unwrap_err().to_string().contains("needs 11"));
    assert!(ssim(view(10, 12), view(10, 12), SsimVariant::ZeroPad).is_ok());
    assert!(ms_ssim(view(12, 12), view(12, 12), MsSsimVariant::PytorchMsssim).is_err());
    assert!(ImageView::new(2, 2, 3, &[0.0; 11]).is_err() && ImageView::new(0, 2, 3, &[]).is_err());
    for variant in SsimVariant::ALL {
        let side = variant.least_side();
        assert!((ssim(view(side, side), view(side, side), variant).unwrap() - 1.0).abs() < 1e-12, "{variant:?}");
    }
}
