//! The measures by name, with their exact definitions; what the table, the report and the cache call them.

use std::str::FromStr;

use gav_formats::Error;
use gav_kernels::{
    cuda::compare::Pair,
    metrics::{
        ImageView, MsSsimVariant, SsimVariant, channel_mse, l1, masked_l1, masked_mse, ms_ssim, mse, psnr, ssim_map,
    },
};

use gav_models::{
    Result,
    metrics::networks::{Depth, Trunk},
    weights::store::Part,
};

use super::{decode::Picture, distribution::SET_METRICS, networks::Networks, work::Loaded};

/// Changes when any definition below, the decoding or the compositing changes: scores of other versions are not reused.
pub(crate) const DEFINITIONS: u32 = 1;

/// A measure of a pair of pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Metric {
    PsnrPerImage,
    PsnrPooled,
    PsnrPerChannel,
    Mse,
    L1,
    Ssim(SsimVariant),
    MsSsim(MsSsimVariant),
    Lpips(Trunk),
    /// Which face embedding.
    Identity(Part),
}

/// What is known about a measure.
pub(crate) struct Info {
    pub metric: Metric,
    /// Exact name: what the command line takes and every output shows.
    pub name: &'static str,
    /// Heading.
    pub title: &'static str,
    pub unit: &'static str,
    pub higher_is_better: bool,
    /// Decimals for people.
    pub decimals: usize,
    /// The definition.
    pub definition: &'static str,
    /// What a mask does.
    pub masked: &'static str,
}

const MEAN: &str = "weighted mean over the pixels, with the mask as weight";
const MAP: &str = "the map is computed from the whole pictures and averaged with the mask as weight";
const HIDDEN: &str = "what the mask hides is replaced by the background in both pictures";

/// Every measure of pairs.
pub(crate) const METRICS: [Info; 18] = [
    Info {
        metric: Metric::PsnrPerImage,
        name: "psnr-per-image",
        title: "PSNR",
        unit: "dB",
        higher_is_better: true,
        decimals: 2,
        definition: "10 log10(1 / MSE) of each picture over all pixels and channels, values in 0…1; the mean is that of the pictures' PSNRs",
        masked: MEAN,
    },
    Info {
        metric: Metric::PsnrPooled,
        name: "psnr-pooled",
        title: "PSNR, pooled",
        unit: "dB",
        higher_is_better: true,
        decimals: 2,
        definition: "as psnr-per-image, but the mean is the PSNR of one MSE over all values of all pictures",
        masked: MEAN,
    },
    Info {
        metric: Metric::PsnrPerChannel,
        name: "psnr-per-channel",
        title: "PSNR, per channel",
        unit: "dB",
        higher_is_better: true,
        decimals: 2,
        definition: "mean of the PSNRs of the three channels of a picture (3DGS training code on pictures without batch dimension)",
        masked: "each channel's MSE is the weighted mean over the pixels, with the mask as weight",
    },
    Info {
        metric: Metric::Mse,
        name: "mse",
        title: "MSE",
        unit: "",
        higher_is_better: false,
        decimals: 6,
        definition: "mean squared difference over all pixels and channels, values in 0…1",
        masked: MEAN,
    },
    Info {
        metric: Metric::L1,
        name: "l1",
        title: "L1",
        unit: "",
        higher_is_better: false,
        decimals: 5,
        definition: "mean absolute difference over all pixels and channels, values in 0…1",
        masked: MEAN,
    },
    Info {
        metric: Metric::Ssim(SsimVariant::ZeroPad),
        name: "ssim-zero-pad",
        title: "SSIM, zero-padded",
        unit: "",
        higher_is_better: true,
        decimals: 4,
        definition: "11 × 11 Gaussian window, σ 1.5, zeros beyond the border, population covariance, C1 = 0.01², C2 = 0.03², mean over all pixels and channels (3DGS, fused-ssim same)",
        masked: MAP,
    },
    Info {
        metric: Metric::Ssim(SsimVariant::Valid),
        name: "ssim-valid",
        title: "SSIM, valid",
        unit: "",
        higher_is_better: true,
        decimals: 4,
        definition: "as ssim-zero-pad without the border of 5 pixels (fused-ssim valid, pytorch-msssim, scikit-image with Gaussian weights)",
        masked: MAP,
    },
    Info {
        metric: Metric::Ssim(SsimVariant::SkimageDefault),
        name: "ssim-skimage",
        title: "SSIM, scikit-image",
        unit: "",
        higher_is_better: true,
        decimals: 4,
        definition: "uniform 7 × 7 window, sample covariance, without the border of 3 pixels, mean over pixels and channels (scikit-image 0.26 default)",
        masked: MAP,
    },
    Info {
        metric: Metric::Ssim(SsimVariant::TorchMetrics),
        name: "ssim-torchmetrics",
        title: "SSIM, torchmetrics",
        unit: "",
        higher_is_better: true,
        decimals: 4,
        definition: "11 × 11 Gaussian window, σ 1.5, reflected border, population covariance with variances not below 0, mean over the whole map (torchmetrics 1.9)",
        masked: MAP,
    },
    Info {
        metric: Metric::MsSsim(MsSsimVariant::PytorchMsssim),
        name: "ms-ssim-pytorch-msssim",
        title: "MS-SSIM",
        unit: "",
        higher_is_better: true,
        decimals: 4,
        definition: "five scales, window of ssim-valid, one product per channel, odd sides padded with zeros before halving; sides from 161 pixels (pytorch-msssim 1.0)",
        masked: HIDDEN,
    },
    Info {
        metric: Metric::MsSsim(MsSsimVariant::TorchMetrics),
        name: "ms-ssim-torchmetrics",
        title: "MS-SSIM, torchmetrics",
        unit: "",
        higher_is_better: true,
        decimals: 4,
        definition: "five scales, window of ssim-torchmetrics, contrast averaged 5 pixels further inside, one product per picture, negative terms count as 0; sides from 176 pixels (torchmetrics 1.9)",
        masked: HIDDEN,
    },
    lpips(Trunk::Alex, "lpips-alex", "LPIPS, Alex"),
    lpips(Trunk::Vgg, "lpips-vgg", "LPIPS, VGG"),
    identity(Part::IrSe50, "identity-ir-se50", "Identity, IR-SE50"),
    identity(Part::Arcface(Depth::R18), "identity-arcface-r18", "Identity, r18"),
    identity(Part::Arcface(Depth::R34), "identity-arcface-r34", "Identity, r34"),
    identity(Part::Arcface(Depth::R50), "identity-arcface-r50", "Identity, r50"),
    identity(Part::Arcface(Depth::R100), "identity-arcface-r100", "Identity, r100"),
];

const fn lpips(trunk: Trunk, name: &'static str, title: &'static str) -> Info {
    Info {
        metric: Metric::Lpips(trunk),
        name,
        title,
        unit: "",
        higher_is_better: false,
        decimals: 4,
        definition: "LPIPS v0.1 with the named trunk, inputs 2x − 1, at the size of the pictures (lpips 0.1.4); needs weights: gav weights",
        masked: HIDDEN,
    }
}

const fn identity(part: Part, name: &'static str, title: &'static str) -> Info {
    Info {
        metric: Metric::Identity(part),
        name,
        title,
        unit: "",
        higher_is_better: true,
        decimals: 4,
        definition: "cosine of the embeddings of two faces that are aligned already: 112 × 112 pixels, eyes, nose and mouth where insightface puts them, x / 127.5 − 1; needs weights: gav weights",
        masked: HIDDEN,
    }
}

/// Names that people type for the variant meant most often.
const SHORT: [(&str, &str); 3] =
    [("psnr", "psnr-per-image"), ("ssim", "ssim-zero-pad"), ("ms-ssim", "ms-ssim-pytorch-msssim")];

impl Metric {
    /// What is known about it.
    pub(crate) fn info(self) -> &'static Info {
        METRICS.iter().find(|info| info.metric == self).expect("every measure is in the list")
    }

    /// The value for a pair.
    ///
    /// # Errors
    /// Pictures that are too small, empty masks, values of the networks that are not finite.
    pub(crate) fn measure(self, pair: &Loaded, background: [f32; 3], networks: &Networks) -> Result<f64> {
        let mask = pair.mask.as_deref();
        let (a, b) = (view(&pair.test), view(&pair.reference));
        if let Some(value) = pair.on_device.as_ref().map(|on| self.on_device(on)).transpose()?.flatten() {
            return Ok(value);
        }
        let error = || mask.map_or_else(|| mse(a, b), |mask| masked_mse(a, b, mask));
        let shown = |f: &dyn Fn(&Picture, &Picture) -> Result<f64>| match mask {
            None => f(&pair.test, &pair.reference),
            Some(mask) => f(&hide(&pair.test, mask, background), &hide(&pair.reference, mask, background)),
        };
        Ok(match self {
            Self::PsnrPerImage | Self::PsnrPooled => psnr(error()?),
            Self::Mse => error()?,
            Self::L1 => mask.map_or_else(|| l1(a, b), |mask| masked_l1(a, b, mask))?,
            Self::PsnrPerChannel => {
                let channels = match mask {
                    None => channel_mse(a, b)?,
                    Some(mask) => masked_channels(&pair.test, &pair.reference, mask)?,
                };
                channels.iter().map(|&e| psnr(e)).sum::<f64>() / channels.len() as f64
            }
            Self::Ssim(variant) => {
                let map = ssim_map(a, b, variant)?;
                mask.map_or_else(|| Ok(map.mean()), |mask| map.masked_mean(a, mask))?
            }
            Self::MsSsim(variant) => shown(&|a, b| Ok(ms_ssim(view(a), view(b), variant)?))?,
            Self::Lpips(trunk) => shown(&|a, b| networks.lpips(trunk, a, b))?,
            Self::Identity(part) => shown(&|a, b| networks.identity(part, a, b))?,
        })
    }

    /// The value for whole pictures on a device; `None` for what is not measured there.
    fn on_device(self, pair: &Pair) -> Result<Option<f64>> {
        Ok(Some(match self {
            Self::PsnrPerImage | Self::PsnrPooled => psnr(pair.errors()?.mse()),
            Self::Mse => pair.errors()?.mse(),
            Self::L1 => pair.errors()?.l1,
            Self::PsnrPerChannel => pair.errors()?.channel_mse.iter().map(|&e| psnr(e)).sum::<f64>() / 3.0,
            Self::Ssim(variant) if pair.fits(variant) => pair.ssim(variant)?,
            Self::Ssim(_) | Self::MsSsim(_) | Self::Lpips(_) | Self::Identity(_) => return Ok(None),
        }))
    }

    /// One number for several pictures: `values` with the number of pixels (sum of the mask) of each.
    pub(crate) fn mean(self, values: &[(f64, f64)]) -> f64 {
        if self != Self::PsnrPooled {
            return values.iter().map(|(value, _)| value).sum::<f64>() / values.len() as f64;
        }
        let (sum, weight) = values.iter().fold((0.0, 0.0), |(sum, weight), (value, pixels)| {
            (sum + pixels * 10f64.powf(-value / 10.0), weight + pixels)
        });
        psnr(sum / weight)
    }

    /// For people; infinite for equal pictures.
    pub(crate) fn text(self, value: f64) -> String {
        if value.is_infinite() {
            return "∞".to_owned();
        }
        format!("{value:.*}", self.info().decimals)
    }

    /// Orders values from the worst to the best.
    pub(crate) fn worst_first(self, a: f64, b: f64) -> std::cmp::Ordering {
        if self.info().higher_is_better { a.total_cmp(&b) } else { b.total_cmp(&a) }
    }
}

/// The picture as the kernels take it.
fn view(picture: &Picture) -> ImageView<'_> {
    ImageView { width: picture.width, height: picture.height, channels: 3, data: &picture.rgb }
}

impl FromStr for Metric {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = SHORT.iter().find(|(short, _)| *short == text).map_or(text, |(_, name)| *name);
        METRICS.iter().find(|info| info.name == name).map(|info| info.metric).ok_or_else(|| {
            let names: Vec<&str> = METRICS.iter().map(|info| info.name).collect();
            let sets = SET_METRICS.iter().map(|info| info.name);
            format!(
                "no measure of this name; known are {}",
                names.into_iter().chain(sets).collect::<Vec<_>>().join(", ")
            )
        })
    }
}

/// Channel by channel, as grey pictures.
fn masked_channels(test: &Picture, reference: &Picture, mask: &[f32]) -> Result<Vec<f64>, Error> {
    let (width, height) = (test.width, test.height);
    (0..3)
        .map(|c| {
            let plane = |p: &Picture| p.rgb.iter().skip(c).step_by(3).copied().collect::<Vec<f32>>();
            let (a, b) = (plane(test), plane(reference));
            masked_mse(ImageView::new(width, height, 1, &a)?, ImageView::new(width, height, 1, &b)?, mask)
        })
        .collect()
}

/// The picture with what the mask hides replaced by the background.
pub(crate) fn hide(picture: &Picture, mask: &[f32], background: [f32; 3]) -> Picture {
    let mut hidden = picture.clone();
    for (color, m) in hidden.rgb.chunks_exact_mut(3).zip(mask) {
        (0..3).for_each(|c| color[c] = color[c] * m + background[c] * (1.0 - m));
    }
    hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(value: f32) -> Picture {
        Picture { width: 180, height: 180, rgb: vec![value; 180 * 180 * 3] }
    }

    fn measure(metric: Metric, test: &Picture, reference: &Picture, mask: Option<&[f32]>) -> f64 {
        let pair = Loaded {
            test: test.clone(),
            reference: reference.clone(),
            mask: mask.map(<[f32]>::to_vec),
            on_device: None,
        };
        metric.measure(&pair, [1.0; 3], &Networks::default()).unwrap()
    }

    /// Those that need no weights.
    fn plain() -> impl Iterator<Item = &'static Info> {
        METRICS.iter().filter(|info| !matches!(info.metric, Metric::Lpips(_) | Metric::Identity(_)))
    }

    #[test]
    fn every_measure_has_its_name_and_is_perfect_for_equal_pictures() {
        for info in &METRICS {
            assert_eq!(info.name.parse(), Ok(info.metric));
            assert_eq!(info.metric.info().name, info.name);
        }
        for info in plain() {
            let value = measure(info.metric, &picture(0.5), &picture(0.5), None);
            let perfect = match info.metric {
                Metric::PsnrPerImage | Metric::PsnrPooled | Metric::PsnrPerChannel => f64::INFINITY,
                Metric::Mse | Metric::L1 => 0.0,
                _ => 1.0,
            };
            assert!(value == perfect || (value - perfect).abs() < 1e-9, "{}: {value}", info.name);
            let other = measure(info.metric, &picture(0.5), &picture(0.6), None);
            assert_eq!(info.metric.worst_first(other, value), std::cmp::Ordering::Less, "{}", info.name);
        }
        assert_eq!("psnr".parse(), Ok(Metric::PsnrPerImage));
        assert!("SSIM".parse::<Metric>().unwrap_err().contains("ssim-zero-pad"));
    }

    #[test]
    fn masks_leave_the_outside_out_of_every_measure() {
        let (test, mut reference) = (picture(0.5), picture(0.5));
        let mut mask = vec![1.0; 180 * 180];
        (0..180 * 20).for_each(|i| {
            mask[i] = 0.0;
            reference.rgb[3 * i..3 * i + 3].fill(0.9);
        });
        for info in plain() {
            let value = measure(info.metric, &test, &reference, Some(&mask));
            let whole = measure(info.metric, &test, &reference, None);
            assert_eq!(info.metric.worst_first(whole, value), std::cmp::Ordering::Less, "{}", info.name);
        }
    }

    #[test]
    fn the_pooled_mean_is_that_of_the_errors() {
        // errors 0.01 over 300 pixels and 0.0001 over 100
        let values = [(20.0, 300.0), (40.0, 100.0)];
        assert_eq!(Metric::PsnrPerImage.mean(&values), 30.0);
        assert!((Metric::PsnrPooled.mean(&values) - psnr((0.01 * 300.0 + 0.0001 * 100.0) / 400.0)).abs() < 1e-9);
        assert!((Metric::PsnrPooled.mean(&[(f64::INFINITY, 1.0), (20.0, 1.0)]) - psnr(0.005)).abs() < 1e-9);
    }
}
