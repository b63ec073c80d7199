//! Measures of one set of pictures against another, whatever the pictures are called: FID, KID, Inception Score.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::Result;
use gav_formats::Limits;
use gav_models::metrics::{
    fid::{Accumulator, Divisor, Provenance, Statistics, frechet},
    kid::{KidOptions, inception_score, kid},
    networks::{Inception, Picture as Plain, Preprocessing},
};
use rayon::prelude::*;

use super::{
    Arguments, cache,
    decode::decode,
    features::{FeatureCache, LENGTH},
    metric::DEFINITIONS,
    networks::Networks,
    sets::{Origin, Set},
};
use crate::{
    batch::bars::Bars,
    failure::{Failure, refuse},
};

/// Pictures that are decoded and evaluated together.
const BATCH: usize = 32;
/// Classes of the network.
const CLASSES: usize = 1008;
/// Parts of the Inception Score.
const SPLITS: usize = 10;

/// A measure of sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SetMetric {
    FidStylegan,
    FidPytorchFid,
    FidTorchFidelity,
    Fid3d,
    Kid,
    InceptionScore,
}

/// What is known about a measure of sets.
pub(crate) struct SetInfo {
    pub metric: SetMetric,
    pub name: &'static str,
    pub title: &'static str,
    pub higher_is_better: bool,
    pub decimals: usize,
    pub definition: &'static str,
}

/// Every measure of sets.
pub(crate) const SET_METRICS: [SetInfo; 6] = [
    SetInfo {
        metric: SetMetric::FidStylegan,
        name: "fid-stylegan",
        title: "FID, StyleGAN",
        higher_is_better: false,
        decimals: 3,
        definition: "Fréchet distance of Inception features; TF1 bilinear resize to 299, (x − 128)/128, covariance divided by N (StyleGAN2-ADA and 3, EG3D, CGS-GAN)",
    },
    SetInfo {
        metric: SetMetric::FidPytorchFid,
        name: "fid-pytorch-fid",
        title: "FID, pytorch-fid",
        higher_is_better: false,
        decimals: 3,
        definition: "Fréchet distance of Inception features; half-pixel bilinear resize to 299, 2x − 1, covariance divided by N − 1 (pytorch-fid)",
    },
    SetInfo {
        metric: SetMetric::FidTorchFidelity,
        name: "fid-torch-fidelity",
        title: "FID, torch-fidelity",
        higher_is_better: false,
        decimals: 3,
        definition: "as fid-stylegan with the covariance divided by N − 1 (torch-fidelity, torchmetrics)",
    },
    SetInfo {
        metric: SetMetric::Fid3d,
        name: "fid3d-stylegan",
        title: "FID3D",
        higher_is_better: false,
        decimals: 3,
        definition: "fid-stylegan of generated pictures that were conditioned on the frontal camera and drawn from another, random camera of the data set (CGS-GAN); the pictures must have been drawn so",
    },
    SetInfo {
        metric: SetMetric::Kid,
        name: "kid-stylegan",
        title: "KID",
        higher_is_better: false,
        decimals: 5,
        definition: "unbiased MMD² with the kernel (x·y/2048 + 1)³ on the features of fid-stylegan; mean over 100 subsets of at most 1000 pictures, drawn with seed 0",
    },
    SetInfo {
        metric: SetMetric::InceptionScore,
        name: "is-stylegan",
        title: "Inception Score",
        higher_is_better: true,
        decimals: 3,
        definition: "exp of the mean KL divergence of class probabilities (logits without bias) from their mean, over 10 parts in the order of names, of the tests alone; preparation of fid-stylegan",
    },
];

impl SetMetric {
    /// What is known about it.
    pub(crate) fn info(self) -> &'static SetInfo {
        SET_METRICS.iter().find(|info| info.metric == self).expect("every measure is in the list")
    }

    fn preprocessing(self) -> Preprocessing {
        if self == Self::FidPytorchFid { Preprocessing::PytorchFid } else { Preprocessing::Stylegan }
    }

    /// For measures of means and covariances.
    fn divisor(self) -> Option<Divisor> {
        match self {
            Self::FidStylegan | Self::Fid3d => Some(Divisor::Count),
            Self::FidPytorchFid | Self::FidTorchFidelity => Some(Divisor::CountMinusOne),
            Self::Kid | Self::InceptionScore => None,
        }
    }
}

impl FromStr for SetMetric {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let name = if text == "fid" {
            "fid-stylegan"
        } else if text == "fid3d" {
            "fid3d-stylegan"
        } else if text == "kid" {
            "kid-stylegan"
        } else {
            text
        };
        SET_METRICS.iter().find(|info| info.name == name).map(|info| info.metric).ok_or(())
    }
}

/// The value of a measure.
pub(crate) struct SetScore {
    pub metric: SetMetric,
    pub value: f64,
    /// Standard deviation over subsets or parts.
    pub deviation: Option<f64>,
    /// Pictures of the test and of the reference (0 without one).
    pub counts: [u64; 2],
}

/// What became of the sets.
#[derive(Default)]
pub(crate) struct SetOutcome {
    pub scores: Vec<SetScore>,
    pub failures: Vec<Failure>,
    pub warnings: Vec<String>,
}

/// One side: pictures, or their statistics.
enum Side {
    Pictures(Vec<Origin>),
    Statistics(PathBuf, Box<Statistics>),
}

/// Features of one side.
struct Features {
    rows: Vec<f32>,
    count: u64,
}

/// Is this a file of statistics?
pub(crate) fn is_statistics(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("npz"))
}

impl Side {
    fn open(path: &Path, failures: &mut Vec<Failure>) -> Result<Self> {
        if is_statistics(path) {
            let statistics = Statistics::load(path).map_err(|e| Failure::of(Some(path), &e))?;
            return Ok(Self::Statistics(path.to_path_buf(), Box::new(statistics)));
        }
        let mut set = Set::open(path)?;
        failures.append(&mut set.failures);
        Ok(Self::Pictures(set.pictures.into_values().collect()))
    }
}

/// Scores the test against the reference by all `metrics`.
///
/// # Errors
/// Sides that are not there or empty, weights that are missing, statistics that were made in another way. Pictures that cannot
/// be read are failures of the outcome, and are left out.
pub(crate) fn score(arguments: &Arguments, metrics: &[SetMetric], networks: &mut Networks) -> Result<SetOutcome> {
    let mut outcome = SetOutcome::default();
    let [test] = &arguments.tests[..] else {
        return Err(refuse("several tests for measures of sets", "give one folder, archive or file of statistics"));
    };
    let test = Side::open(test, &mut outcome.failures)?;
    let reference = arguments.reference.as_deref().map(|path| Side::open(path, &mut outcome.failures)).transpose()?;
    let pictures = |side: &Side| matches!(side, Side::Pictures(_));
    let (network, detector) = match pictures(&test) || reference.as_ref().is_some_and(pictures) {
        true => networks.inception().map(|(network, hash)| (Some(network), hash))?,
        false => (None, String::new()),
    };
    let mut extract = Extract { arguments, network, detector, failures: Vec::new() };
    let mut known: Vec<(Preprocessing, [Option<Features>; 2])> = Vec::new();
    for metric in metrics {
        let preprocessing = metric.preprocessing();
        let index = match known.iter().position(|(p, _)| *p == preprocessing) {
            Some(index) => index,
            None => {
                let sides = [Some(&test), reference.as_ref()];
                let features = sides.map(|side| match side {
                    Some(Side::Pictures(origins)) => Some(extract.all(origins, preprocessing)),
                    _ => None,
                });
                known.push((preprocessing, features));
                known.len() - 1
            }
        };
        if reference.is_none() && arguments.save_statistics.is_some() && *metric != SetMetric::InceptionScore {
            // the features are all that is wanted of it
            continue;
        }
        let features = &known[index].1;
        outcome.scores.push(extract.measure(
            *metric,
            [Some(&test), reference.as_ref()],
            features,
            &mut outcome.warnings,
        )?);
    }
    if let Some(path) = &arguments.save_statistics {
        let metric = metrics.iter().find(|m| m.divisor().is_some()).copied().unwrap_or(SetMetric::FidStylegan);
        let index = known.iter().position(|(p, _)| *p == metric.preprocessing());
        let features = match index.and_then(|i| known[i].1[0].as_ref()) {
            Some(features) => features,
            None => return Err(refuse("only statistics of pictures can be saved", "name a FID in --metrics")),
        };
        let statistics = extract.statistics(metric, features, &arguments.tests[0])?;
        if let Err(error) = statistics.save(path) {
            outcome.failures.push(Failure::of(Some(path), &error));
        }
    }
    // one picture may have failed for two preparations
    extract.failures.sort_by(|a, b| a.message.cmp(&b.message));
    extract.failures.dedup_by(|a, b| a.message == b.message);
    outcome.failures.append(&mut extract.failures);
    Ok(outcome)
}

/// Turns pictures into features and features into numbers.
struct Extract<'a> {
    arguments: &'a Arguments,
    network: Option<Inception>,
    /// SHA-256 of the weight file.
    detector: String,
    failures: Vec<Failure>,
}

impl Extract<'_> {
    /// The features of all pictures that can be read.
    fn all(&mut self, origins: &[Origin], preprocessing: Preprocessing) -> Features {
        let Some(network) = &self.network else { return Features { rows: Vec::new(), count: 0 } };
        let name = format!("{}-{}", self.detector.get(..16).unwrap_or("unknown"), preprocessing.id());
        let folder = cache::folder().filter(|_| !self.arguments.no_cache).map(|f| f.join("features").join(name));
        let mut kept = FeatureCache::at(folder);
        let limits = self.arguments.read.options().limits;
        let background = self.arguments.background;
        let bars = Bars::new(origins.len(), 1, self.arguments.quiet || self.arguments.json);
        let mut features = Features { rows: Vec::new(), count: 0 };
        for batch in origins.chunks(BATCH) {
            if let Some(first) = batch.first() {
                bars.line(0).show(&first.path().display());
            }
            let read: Vec<Result<(blake3::Hash, Vec<u8>), Failure>> =
                batch.par_iter().map(|origin| keyed(origin, &limits, background)).collect();
            let mut rows: Vec<Option<Vec<f32>>> = vec![None; batch.len()];
            let mut wanted = Vec::new();
            for (index, read) in read.into_iter().enumerate() {
                match read {
                    Ok((key, bytes)) => match kept.get(key.as_bytes()) {
                        Some(row) => rows[index] = Some(row),
                        None => wanted.push((index, key, bytes)),
                    },
                    Err(failure) => self.failures.push(failure),
                }
            }
            let decoded: Vec<Result<(usize, usize, Vec<u8>), Failure>> = wanted
                .par_iter()
                .map(|(index, _, bytes)| quantised(&batch[*index].path(), bytes, &limits, background))
                .collect();
            let mut ready = Vec::new();
            for ((index, key, _), picture) in wanted.iter().zip(&decoded) {
                match picture {
                    Ok((width, height, rgb)) => match Plain::new(*width, *height, rgb) {
                        Ok(plain) => ready.push((*index, *key, plain)),
                        Err(e) => self.failures.push(Failure::of(Some(&batch[*index].path()), &e)),
                    },
                    Err(failure) => self.failures.push(failure.clone()),
                }
            }
            let pictures: Vec<Plain<u8>> = ready.iter().map(|(_, _, picture)| *picture).collect();
            let computed = network.features(&pictures, preprocessing);
            for ((index, key, _), row) in ready.iter().zip(computed.chunks_exact(LENGTH)) {
                kept.add(*key.as_bytes(), row);
                rows[*index] = Some(row.to_vec());
            }
            for row in rows.into_iter().flatten() {
                features.rows.extend(row);
                features.count += 1;
            }
            batch.iter().for_each(|_| bars.suspend(|| ()));
        }
        bars.clear();
        features
    }

    fn statistics(&self, metric: SetMetric, features: &Features, path: &Path) -> Result<Statistics, Failure> {
        let failed = |e: gav_models::Error| Failure::of(Some(path), &e);
        let mut sums = Accumulator::new(LENGTH);
        sums.push(&features.rows).map_err(failed)?;
        let provenance = Provenance {
            count: features.count,
            preprocessing: metric.preprocessing().id().to_owned(),
            detector: self.detector.clone(),
            dataset: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            ..Provenance::default()
        };
        sums.finish(metric.divisor().unwrap_or_default(), provenance).map_err(failed)
    }

    fn measure(
        &self,
        metric: SetMetric,
        sides: [Option<&Side>; 2],
        features: &[Option<Features>; 2],
        warnings: &mut Vec<String>,
    ) -> Result<SetScore> {
        let paths = [Some(self.arguments.tests[0].as_path()), self.arguments.reference.as_deref()];
        let name = metric.info().name;
        let count = |side: usize| match sides[side] {
            Some(Side::Statistics(_, statistics)) => statistics.provenance.as_ref().map_or(0, |p| p.count),
            _ => features[side].as_ref().map_or(0, |f| f.count),
        };
        let counts = [count(0), count(1)];
        let rows = |side: usize| -> Result<&Features> {
            features[side].as_ref().ok_or_else(|| match paths[side] {
                Some(path) => refuse(
                    format!("{}: {name} needs pictures, and this file holds statistics only", path.display()),
                    "FID works with statistics",
                ),
                None => refuse(format!("{name} needs a reference"), "name it with --reference"),
            })
        };
        let failed = |e: gav_models::Error| Failure::of(paths[0], &e);
        let (value, deviation) = match metric {
            SetMetric::FidStylegan | SetMetric::Fid3d | SetMetric::FidPytorchFid | SetMetric::FidTorchFidelity => {
                let side = |side: usize| -> Result<Statistics> {
                    match (sides[side], paths[side]) {
                        (Some(Side::Statistics(_, statistics)), _) => Ok((**statistics).clone()),
                        (_, Some(path)) => Ok(self.statistics(metric, rows(side)?, path)?),
                        (_, None) => Err(refuse(format!("{name} needs a reference"), "name it with --reference")),
                    }
                };
                let (a, b) = (side(0)?, side(1)?);
                if let Some(difference) = a.difference(&b) {
                    let message = format!("{name}: the two sides were not made alike: {difference}");
                    return Err(refuse(
                        message,
                        "choose the FID that the statistics were made for, or make them again",
                    ));
                }
                for side in sides.into_iter().flatten() {
                    if let Side::Statistics(path, statistics) = side {
                        warnings.extend(foreign(path, statistics, metric));
                    }
                }
                (frechet(&a, &b).map_err(failed)?, None)
            }
            SetMetric::Kid => {
                let found = kid(&rows(0)?.rows, &rows(1)?.rows, LENGTH, &KidOptions::default()).map_err(failed)?;
                (found.mean, Some(found.deviation))
            }
            SetMetric::InceptionScore => {
                let network = self.network.as_ref().ok_or_else(|| refuse("no pictures to score", "name a folder"))?;
                let probabilities = network.probabilities(&rows(0)?.rows, false).map_err(failed)?;
                let (mean, deviation) = inception_score(&probabilities, CLASSES, SPLITS).map_err(failed)?;
                (mean, Some(deviation))
            }
        };
        if counts.into_iter().any(|n| n > 0 && n < LENGTH as u64) && metric.divisor().is_some() {
            let text = "fewer than 2048 pictures on a side: the covariance is singular and FID is biased upwards";
            if !warnings.iter().any(|w| w == text) {
                warnings.push(text.to_owned());
            }
        }
        Ok(SetScore { metric, value, deviation, counts })
    }
}

/// What is not known about statistics that another program wrote, or which FID they were made for instead.
fn foreign(path: &Path, statistics: &Statistics, metric: SetMetric) -> Option<String> {
    let name = path.display();
    match &statistics.provenance {
        None => Some(format!(
            "{name}: does not say how its statistics were made; {} takes them as they are",
            metric.info().name
        )),
        Some(p) if p.preprocessing != metric.preprocessing().id() || Some(p.divisor) != metric.divisor() => {
            let (preparation, divisor) = (&p.preprocessing, p.divisor.id());
            Some(format!(
                "{name}: made with preparation {preparation}, divisor {divisor}: not those of {}",
                metric.info().name
            ))
        }
        Some(_) => None,
    }
}

/// Name of the features of a picture, and its bytes.
fn keyed(origin: &Origin, limits: &Limits, background: [f32; 3]) -> Result<(blake3::Hash, Vec<u8>), Failure> {
    let bytes = origin.bytes(limits)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(format!("gav features {DEFINITIONS} {background:?} ").as_bytes());
    hasher.update(&bytes);
    Ok((hasher.finalize(), bytes))
}

/// Width, height and 8-bit RGB over the background.
fn quantised(
    path: &Path,
    bytes: &[u8],
    limits: &Limits,
    background: [f32; 3],
) -> Result<(usize, usize, Vec<u8>), Failure> {
    let picture = decode(path, bytes, limits)?.over(background);
    let rgb = picture.rgb.iter().map(|v| (v * 255.0 + 0.5) as u8).collect();
    Ok((picture.width, picture.height, rgb))
}

impl fmt::Display for SetScore {
    /// `12.146`, `0.03149 ± 0.00123`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = self.metric.info().decimals;
        write!(f, "{:.decimals$}", self.value)?;
        self.deviation.map_or(Ok(()), |deviation| write!(f, " ± {deviation:.decimals$}"))
    }
}
