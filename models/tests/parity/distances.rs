use gav_models::metrics::{
    fid::{Accumulator, Divisor, Provenance, Statistics, frechet},
    kid::{KidOptions, estimate, kid},
};

use crate::golden::Golden;

const LENGTH: usize = 64;

fn statistics(features: &[f32], divisor: Divisor) -> Statistics {
    let mut all = Accumulator::new(LENGTH);
    // in uneven portions, as batches come
    let (first, rest) = features.split_at(7 * LENGTH);
    all.push(first).unwrap();
    all.push(rest).unwrap();
    all.finish(divisor, Provenance::default()).unwrap()
}

fn features(golden: &Golden, key: &str) -> Vec<f32> {
    golden.get(key).into_iter().map(|v| v as f32).collect()
}

#[test]
fn statistics_and_distances_agree_for_both_divisors() {
    let Some(golden) = Golden::open() else { return };
    for (divisor, name) in [(Divisor::Count, "biased"), (Divisor::CountMinusOne, "unbiased")] {
        let [x, y, z] =
            ["feat.x", "feat.y", "feat.z_rank_deficient"].map(|key| statistics(&features(&golden, key), divisor));
        for (found, key) in [(&x.mean, "mu_x"), (&x.covariance, "cov_x")] {
            let expected = golden.get(&format!("fid.{name}.{key}"));
            let worst = found.iter().zip(&expected).map(|(f, e)| (f - e).abs()).fold(0f64, f64::max);
            // f64 sums of values near 1
            assert!(worst < 1e-12, "{name} {key}: {worst:e}");
        }
        // 1e-12 is rounding in f64; with fewer rows than columns 24 eigenvalues are 0 up to rounding, and each leaves a root of about 3e-9
        for (found, key, tolerance) in [
            (frechet(&x, &y), "xy", 1e-12),
            (frechet(&x, &y), "xy_eig", 1e-12),
            (frechet(&x, &y), "xy_sym", 1e-12),
            (frechet(&x, &z), "xz", 5e-9),
            (frechet(&x, &z), "xz_sym", 5e-9),
        ] {
            let (found, expected) = (found.unwrap(), golden.get(&format!("fid.{name}.{key}"))[0]);
            eprintln!("{name} {key}: {found} instead of {expected}, relative {:.1e}", (found / expected - 1.0).abs());
            assert!((found / expected - 1.0).abs() < tolerance, "{name} {key}");
        }
        assert!(frechet(&x, &x).unwrap().abs() < 1e-10);
        assert!((frechet(&x, &y).unwrap() / frechet(&y, &x).unwrap() - 1.0).abs() < 1e-12);
    }
}

#[test]
fn kernel_distances_agree() {
    let Some(golden) = Golden::open() else { return };
    let [x, y] = ["feat.x", "feat.y"].map(|key| golden.get(key));
    let found = estimate(&x[..180 * LENGTH], &y, LENGTH);
    let expected = golden.get("kid.first180")[0];
    // the terms are near 1 and cancel
    assert!((found - expected).abs() < 1e-12, "{found} {expected}");

    let indices: Vec<usize> = golden.get("kid.subset_indices").into_iter().map(|i| i as usize).collect();
    let rows = |features: &[f64], subset: usize| -> Vec<f64> {
        let rows = &indices[subset * 100..][..100];
        rows.iter().flat_map(|row| features[row * LENGTH..][..LENGTH].to_vec()).collect()
    };
    let found = (0..3).map(|s| estimate(&rows(&x, 2 * s), &rows(&y, 2 * s + 1), LENGTH)).sum::<f64>() / 3.0;
    let expected = golden.get("kid.three_subsets")[0];
    assert!((found - expected).abs() < 1e-12, "{found} {expected}");

    // the whole of both sides: one estimate without deviation
    let [x, y] = ["feat.x", "feat.y"].map(|key| features(&golden, key));
    let whole = kid(&x[..180 * LENGTH], &y, LENGTH, &KidOptions::default()).unwrap();
    assert!((whole.mean / golden.get("kid.first180")[0] - 1.0).abs() < 1e-9);
    assert_eq!((whole.deviation, whole.subset_rows), (0.0, 180));
    // subsets estimate the same quantity, each without bias
    let options = KidOptions { subset_rows: 60, ..KidOptions::default() };
    let subsets = kid(&x, &y, LENGTH, &options).unwrap();
    let error = subsets.deviation / 10.0;
    assert!((subsets.mean - whole.mean).abs() < 4.0 * error, "{subsets:?} {whole:?}");
    assert_eq!(subsets, kid(&x, &y, LENGTH, &options).unwrap());
}

#[test]
fn statistics_survive_their_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stats.npz");
    let rows: Vec<f32> = (0..50 * 3).map(|i| (i * i % 17) as f32).collect();
    let mut all = Accumulator::new(3);
    all.push(&rows).unwrap();
    let from = Provenance {
        preprocessing: "stylegan".into(),
        detector: "f58c".into(),
        dataset: "faces".into(),
        ..Provenance::default()
    };
    let statistics = all.finish(Divisor::CountMinusOne, from).unwrap();
    assert_eq!(statistics.provenance.as_ref().unwrap().count, 50);
    statistics.save(&path).unwrap();
    let again = Statistics::load(&path).unwrap();
    assert_eq!(again, statistics);
    assert_eq!(statistics.difference(&again), None);
    let mut other = again.clone();
    other.provenance.as_mut().unwrap().preprocessing = "pytorch-fid".into();
    assert!(statistics.difference(&other).unwrap().contains("pytorch-fid"));
    // a file of pytorch-fid: no more than the two arrays
    other.provenance = None;
    other.save(&path).unwrap();
    assert_eq!(Statistics::load(&path).unwrap(), other);
    assert_eq!(statistics.difference(&other), None);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(Statistics::load(&path).is_err());
}

#[test]
fn bad_features_are_refused() {
    let mut all = Accumulator::new(4);
    assert!(all.push(&[1.0; 6]).is_err());
    assert!(all.push(&[1.0, f32::NAN, 0.0, 0.0]).unwrap_err().to_string().contains("row 0"));
    all.push(&[1.0; 4]).unwrap();
    assert!(all.finish(Divisor::Count, Provenance::default()).unwrap_err().to_string().contains("at least 2"));
    assert!(kid(&[1.0; 4], &[1.0; 8], 4, &KidOptions::default()).is_err());
    all.push(&[2.0; 4]).unwrap();
    let four = all.finish(Divisor::Count, Provenance::default()).unwrap();
    let mut two = Accumulator::new(2);
    two.push(&[1.0, 2.0, 3.0, 4.0]).unwrap();
    assert!(frechet(&four, &two.finish(Divisor::Count, Provenance::default()).unwrap()).is_err());
}
