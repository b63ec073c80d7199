//! The networks that some measures need, from the weights that the user has added.

use gav_models::{
    Result,
    metrics::networks::{Identity, Inception, Lpips, Picture as Plain, Trunk, cosine},
    weights::store::{Part, Store},
};

use super::{decode::Picture, metric::Metric};
use crate::failure::Failure;

/// What was loaded, and from which files.
#[derive(Default)]
pub(crate) struct Networks {
    lpips: Vec<(Trunk, Lpips)>,
    faces: Vec<(Part, Identity)>,
    /// Part, name and SHA-256 of the weight file, whether it is the published one.
    pub weights: Vec<(Part, String, String, bool)>,
}

/// The weights that a measure needs.
fn parts(metric: Metric) -> Vec<Part> {
    match metric {
        Metric::Lpips(trunk) => Lpips::parts(trunk).to_vec(),
        Metric::Identity(part) => vec![part],
        _ => Vec::new(),
    }
}

/// Has the user added what the measure needs?
pub(crate) fn available(metric: Metric) -> bool {
    Store::user().is_ok_and(|store| parts(metric).into_iter().all(|part| store.find(part).is_ok()))
}

impl Networks {
    /// Loads what `metrics` need.
    ///
    /// # Errors
    /// Weights that are missing (with a hint where to get them) or damaged.
    pub(crate) fn load(metrics: &[Metric]) -> Result<Self, Failure> {
        let failed = |e: gav_models::Error| Failure::of(None, &e);
        let mut networks = Self::default();
        if metrics.iter().all(|m| parts(*m).is_empty()) {
            return Ok(networks);
        }
        let store = Store::user().map_err(failed)?;
        for metric in metrics {
            match *metric {
                Metric::Lpips(trunk) => networks.lpips.push((trunk, Lpips::load(trunk, &store).map_err(failed)?)),
                Metric::Identity(part) => networks.faces.push((part, Identity::load(part, &store).map_err(failed)?)),
                _ => continue,
            }
            for part in parts(*metric) {
                networks.note(part, &store).map_err(failed)?;
            }
        }
        Ok(networks)
    }

    /// Loads the Inception network; gives the SHA-256 of its weights, too.
    pub(crate) fn inception(&mut self) -> Result<(Inception, String), Failure> {
        let load = || {
            let store = Store::user()?;
            let network = Inception::load(&store)?;
            Ok((network, store))
        };
        let (network, store) = load().map_err(|e: gav_models::Error| Failure::of(None, &e))?;
        self.note(Part::Inception, &store).map_err(|e| Failure::of(None, &e))?;
        let hash = self.weights.iter().find(|w| w.0 == Part::Inception).map(|w| w.2.clone());
        Ok((network, hash.unwrap_or_default()))
    }

    fn note(&mut self, part: Part, store: &Store) -> Result<()> {
        if let Some(manifest) = store.manifest(part)? {
            self.weights.push((part, manifest.source, manifest.sha256, manifest.official));
        }
        Ok(())
    }

    /// Under which name a score is kept: that of the measure, and the weights it was computed with.
    pub(crate) fn cache_name(&self, metric: Metric) -> String {
        let needed = parts(metric);
        let hashes = self.weights.iter().filter(|w| needed.contains(&w.0)).map(|w| w.2.get(..16).unwrap_or(&w.2));
        [metric.info().name].into_iter().chain(hashes).collect::<Vec<_>>().join("@")
    }

    /// LPIPS of a pair.
    pub(crate) fn lpips(&self, trunk: Trunk, a: &Picture, b: &Picture) -> Result<f64> {
        let network = self.lpips.iter().find(|(t, _)| *t == trunk).map(|(_, network)| network);
        let network = network.ok_or_else(|| gav_models::Error::usage("LPIPS was not loaded"))?;
        let terms = network.distances(&[(plain(a)?, plain(b)?)])?;
        Ok(terms.first().map_or(f64::NAN, |t| f64::from(t.value)))
    }

    /// Cosine of the embeddings of two aligned faces.
    pub(crate) fn identity(&self, part: Part, a: &Picture, b: &Picture) -> Result<f64> {
        let network = self.faces.iter().find(|(p, _)| *p == part).map(|(_, network)| network);
        let network = network.ok_or_else(|| gav_models::Error::usage("the face embedding was not loaded"))?;
        Ok(cosine(&network.embed_aligned(plain(a)?)?, &network.embed_aligned(plain(b)?)?))
    }
}

fn plain(picture: &Picture) -> Result<Plain<'_, f32>> {
    Plain::new(picture.width, picture.height, &picture.rgb)
}
