//! The metric networks for callers that have pictures as slices: loading from the user's store, batching, plain numbers out.
//!
//! Everything runs on burn's CPU backend. Pictures may have different sizes; equal ones in a row are evaluated together.

use std::sync::Arc;

use burn::{
    backend::Autodiff,
    tensor::{Tensor, TensorData, activation::softmax},
};
use burn_flex::{Flex, FlexDevice};
use gav_kernels::resize::{Rule, bilinear};

use super::{
    align::{Similarity, TEMPLATE, aligned_face},
    arcface::{self, IrSe50, Iresnet},
    inception, lpips,
};
use crate::{
    Error, Result,
    weights::store::{Part, Store},
};

pub use super::{arcface::Depth, lpips::Trunk};

/// A borrowed picture: RGB interleaved, rows from the top; f32 in 0…1, u8 in 0…255.
#[derive(Debug, Clone, Copy)]
pub struct Picture<'a, T> {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `width · height · 3` values.
    pub rgb: &'a [T],
}

impl<'a, T: Copy> Picture<'a, T> {
    /// A picture over a slice.
    ///
    /// # Errors
    /// When the slice has another length than the size asks for, or a side is 0.
    pub fn new(width: usize, height: usize, rgb: &'a [T]) -> Result<Self> {
        let expected = width.checked_mul(height).and_then(|n| n.checked_mul(3)).filter(|n| *n > 0);
        if expected != Some(rgb.len()) {
            let found = rgb.len();
            return Err(Error::usage(format!("{found} values are no RGB picture of {width}×{height} pixels")));
        }
        Ok(Self { width, height, rgb })
    }

    fn size(&self) -> [usize; 2] {
        [self.height, self.width]
    }

    /// Three planes, one after another.
    fn planes(&self, value: impl Fn(T) -> f32) -> Vec<f32> {
        (0..3).flat_map(|c| self.rgb.iter().skip(c).step_by(3).map(|v| value(*v))).collect()
    }
}

/// Pixels of one batch: about 64 bytes of features each in the widest layer, times a few copies.
const BATCH_PIXELS: usize = 1 << 20;

/// How many pictures of this size are evaluated together.
fn batch_of([height, width]: [usize; 2]) -> usize {
    (BATCH_PIXELS / (height * width)).clamp(1, 32)
}

fn tensor(planes: Vec<f32>, count: usize, [height, width]: [usize; 2]) -> Tensor<Flex, 4> {
    Tensor::from_data(TensorData::new(planes, [count, 3, height, width]), &FlexDevice)
}

fn values<const D: usize>(tensor: Tensor<Flex, D>) -> Vec<f32> {
    tensor.into_data().to_vec().expect("this backend computes in f32")
}

/// One distance of LPIPS.
#[derive(Debug, Clone, PartialEq)]
pub struct LpipsTerms {
    /// The metric.
    pub value: f32,
    /// Its five terms, shallow first.
    pub layers: [f32; 5],
}

/// LPIPS v0.1; see [`lpips`].
#[derive(Debug, Clone)]
pub struct Lpips {
    network: Arc<lpips::Lpips<Flex>>,
}

impl Lpips {
    /// Loads trunk and heads from the store.
    ///
    /// # Errors
    /// [`Error::MissingWeights`] with a hint; I/O; copies that do not hold the network.
    pub fn load(trunk: Trunk, store: &Store) -> Result<Self> {
        let [trunk_part, heads_part] = Self::parts(trunk);
        let (trunk_file, heads_file) = (store.open(trunk_part)?, store.open(heads_part)?);
        let (trunk_weights, heads) = (Store::tensors(&trunk_file)?, Store::tensors(&heads_file)?);
        Ok(lpips::Lpips::new(trunk, &trunk_weights, &heads, &FlexDevice)?.into())
    }

    /// What the store must hold for a trunk.
    pub fn parts(trunk: Trunk) -> [Part; 2] {
        match trunk {
            Trunk::Vgg => [Part::Vgg16, Part::LpipsVgg],
            Trunk::Alex => [Part::Alexnet, Part::LpipsAlex],
        }
    }

    /// The distance of each pair; values outside of 0…1 are not clamped.
    ///
    /// # Errors
    /// Pairs of different size, pictures below [`Trunk::smallest_side`], values that are not finite.
    pub fn distances(&self, pairs: &[(Picture<f32>, Picture<f32>)]) -> Result<Vec<LpipsTerms>> {
        for (a, b) in pairs {
            self.check(a, b)?;
        }
        let mut terms = Vec::with_capacity(pairs.len());
        for run in pairs.chunk_by(|(a, _), (b, _)| a.size() == b.size()) {
            let size = run[0].0.size();
            // both sides are in one batch
            for batch in run.chunks(batch_of(size).div_ceil(2)) {
                let count = batch.len();
                let planes = batch.iter().map(|(a, _)| a).chain(batch.iter().map(|(_, b)| b));
                let planes = planes.flat_map(|picture| picture.planes(|v| v)).collect();
                let features = self.network.features(tensor(planes, 2 * count, size));
                let half = |from: usize| -> Vec<Tensor<Flex, 4>> {
                    features.iter().map(|f| f.clone().narrow(0, from, count)).collect()
                };
                let found = self.network.compare(&half(0), &half(count));
                let totals = values(found.value);
                let layers: Vec<Vec<f32>> = found.layers.into_iter().map(values).collect();
                terms.extend(
                    (0..count).map(|i| LpipsTerms { value: totals[i], layers: std::array::from_fn(|l| layers[l][i]) }),
                );
            }
        }
        Ok(terms)
    }

    /// The spatial map of one pair, row by row: each layer's map resized (bilinear, half-pixel) to the size of the pictures, and summed.
    ///
    /// # Errors
    /// As [`Lpips::distances`].
    pub fn map(&self, a: Picture<f32>, b: Picture<f32>) -> Result<Vec<f32>> {
        self.check(&a, &b)?;
        let of = |picture: &Picture<f32>| tensor(picture.planes(|v| v), 1, picture.size());
        let found = self.network.forward(of(&a), of(&b));
        let mut sum = vec![0f32; a.width * a.height];
        for map in found.maps {
            let [_, _, height, width] = map.dims();
            let resized = bilinear(&values(map), [height, width], a.size(), Rule::HalfPixel);
            sum.iter_mut().zip(resized).for_each(|(sum, value)| *sum += value);
        }
        Ok(sum)
    }

    /// The distance of one pair and its gradient with respect to `a`, interleaved as the picture.
    ///
    /// # Errors
    /// As [`Lpips::distances`].
    pub fn gradient(&self, a: Picture<f32>, b: Picture<f32>) -> Result<(f32, Vec<f32>)> {
        self.check(&a, &b)?;
        let network =
            self.network.map(Tensor::<Autodiff<Flex>, 4>::from_inner, Tensor::<Autodiff<Flex>, 1>::from_inner);
        let of = |picture: &Picture<f32>| Tensor::from_inner(tensor(picture.planes(|v| v), 1, picture.size()));
        let input: Tensor<Autodiff<Flex>, 4> = of(&a);
        let input = input.require_grad();
        let value = network.forward(input.clone(), of(&b)).value;
        let gradients = value.backward();
        let planes = values(input.grad(&gradients).expect("the value depends on the picture"));
        let pixels = a.width * a.height;
        let interleaved = (0..pixels).flat_map(|i| [planes[i], planes[pixels + i], planes[2 * pixels + i]]).collect();
        Ok((values(value.inner())[0], interleaved))
    }

    fn check(&self, a: &Picture<f32>, b: &Picture<f32>) -> Result<()> {
        if a.size() != b.size() {
            let sizes = format!("{}×{} and {}×{}", a.width, a.height, b.width, b.height);
            return Err(Error::usage(format!("pictures of different size: {sizes}")));
        }
        lpips::check_size(self.network.trunk(), a.width, a.height)?;
        if a.rgb.iter().chain(b.rgb).any(|value| !value.is_finite()) {
            return Err(Error::usage("a picture has values that are not finite"));
        }
        Ok(())
    }
}

impl From<lpips::Lpips<Flex>> for Lpips {
    fn from(network: lpips::Lpips<Flex>) -> Self {
        Self { network: Arc::new(network) }
    }
}

/// Which published code the pictures are prepared like, for the Inception network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Preprocessing {
    /// StyleGAN2-ADA and 3, EG3D, CGS-GAN, AG3D, torch-fidelity: [`Rule::Legacy`], (x − 128)/128.
    #[default]
    Stylegan,
    /// pytorch-fid: [`Rule::HalfPixel`], 2·x/255 − 1.
    PytorchFid,
}

impl Preprocessing {
    /// Short name, for options and records.
    pub fn id(self) -> &'static str {
        match self {
            Self::Stylegan => "stylegan",
            Self::PytorchFid => "pytorch-fid",
        }
    }

    /// Planes of 299×299.
    fn apply(self, picture: &Picture<u8>) -> Vec<f32> {
        let (rule, scale) = match self {
            Self::Stylegan => (Rule::Legacy, [128.0, 128.0]),
            Self::PytorchFid => (Rule::HalfPixel, [127.5, 127.5]),
        };
        let [middle, scale] = scale;
        let mut planes = bilinear(&picture.planes(f32::from), picture.size(), [inception::SIDE; 2], rule);
        planes.iter_mut().for_each(|v| *v = (*v - middle) / scale);
        planes
    }
}

/// Features of pictures in the Inception network.
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    /// The last 2048 features of every picture, one row each.
    pub last: Vec<f32>,
    /// The first three, of length 64, 192 and 768.
    pub shallow: [Vec<f32>; 3],
}

/// The FID Inception network; see [`inception`].
#[derive(Debug, Clone)]
pub struct Inception {
    network: Arc<inception::Inception<Flex>>,
}

impl Inception {
    /// Loads the network from the store.
    ///
    /// # Errors
    /// As [`Lpips::load`].
    pub fn load(store: &Store) -> Result<Self> {
        let file = store.open(Part::Inception)?;
        Ok(inception::Inception::new(&Store::tensors(&file)?, &FlexDevice)?.into())
    }

    /// All features of pictures of any sizes.
    pub fn all_features(&self, pictures: &[Picture<u8>], preprocessing: Preprocessing) -> Features {
        let mut out = Features { last: Vec::new(), shallow: Default::default() };
        for batch in pictures.chunks(batch_of([inception::SIDE; 2])) {
            let planes = batch.iter().flat_map(|picture| preprocessing.apply(picture)).collect();
            let input = tensor(planes, batch.len(), [inception::SIDE; 2]);
            let [a, b, c, last] = self.network.forward(input, &mut |_, _| ());
            for (all, new) in out.shallow.iter_mut().zip([a, b, c]) {
                all.extend(values(new));
            }
            out.last.extend(values(last));
        }
        out
    }

    /// The 2048 features that FID and KID take, one row per picture.
    pub fn features(&self, pictures: &[Picture<u8>], preprocessing: Preprocessing) -> Vec<f32> {
        self.all_features(pictures, preprocessing).last
    }

    /// Probabilities of the 1008 classes for rows of 2048 features, as Inception Score takes them.
    ///
    /// # Errors
    /// When the weight file had no classifier.
    pub fn probabilities(&self, features: &[f32], bias: bool) -> Result<Vec<f32>> {
        let rows = features.len() / inception::LENGTHS[3];
        let features = TensorData::new(features.to_vec(), [rows, inception::LENGTHS[3]]);
        let logits = self.network.logits(Tensor::from_data(features, &FlexDevice), bias);
        let logits = logits.ok_or_else(|| Error::usage("these Inception weights have no classifier"))?;
        Ok(values(softmax(logits, 1)))
    }
}

impl From<inception::Inception<Flex>> for Inception {
    fn from(network: inception::Inception<Flex>) -> Self {
        Self { network: Arc::new(network) }
    }
}

#[derive(Debug)]
enum FaceNetwork {
    Iresnet(Iresnet<Flex>),
    IrSe50(IrSe50<Flex>),
}

/// A face embedding; see [`arcface`].
#[derive(Debug, Clone)]
pub struct Identity {
    network: Arc<FaceNetwork>,
}

impl Identity {
    /// Loads [`Part::Arcface`] or [`Part::IrSe50`] from the store.
    ///
    /// # Errors
    /// As [`Lpips::load`]; parts that are no face embedding.
    pub fn load(part: Part, store: &Store) -> Result<Self> {
        let file = store.open(part)?;
        let tensors = Store::tensors(&file)?;
        Ok(match part {
            Part::Arcface(_) => Iresnet::new(&tensors, &FlexDevice)?.into(),
            Part::IrSe50 => IrSe50::new(&tensors, &FlexDevice)?.into(),
            other => return Err(Error::usage(format!("`{}` is no face embedding", other.id()))),
        })
    }

    /// The embedding of a face that fills a picture of 112×112 pixels in the pose of [`TEMPLATE`], scaled to length 1.
    ///
    /// # Errors
    /// Other sizes, and values that are not finite.
    pub fn embed_aligned(&self, face: Picture<f32>) -> Result<Vec<f32>> {
        if face.size() != [arcface::SIDE; 2] {
            return Err(Error::usage(format!(
                "an aligned face has 112×112 pixels, this one {}×{}",
                face.width, face.height
            )));
        }
        self.embed_planes(face.planes(|v| v))
    }

    /// The embedding of the face with these five points (eyes, nose, corners of the mouth; left in the picture first; in pixels with centres
    /// at integers), scaled to length 1.
    ///
    /// # Errors
    /// Points that define no similarity, and values that are not finite.
    pub fn embed(&self, picture: Picture<f32>, points: &[[f64; 2]; 5]) -> Result<Vec<f32>> {
        let face_from_picture = Similarity::between(points, &TEMPLATE)
            .ok_or_else(|| Error::usage(format!("the five points {points:?} do not place a face")))?;
        self.embed_planes(aligned_face(picture.rgb, picture.width, picture.height, &face_from_picture))
    }

    /// Planes in 0…1.
    fn embed_planes(&self, mut planes: Vec<f32>) -> Result<Vec<f32>> {
        planes.iter_mut().for_each(|v| *v = (*v - 0.5) / 0.5);
        if planes.iter().any(|value| !value.is_finite()) {
            return Err(Error::usage("a picture has values that are not finite"));
        }
        let input = tensor(planes, 1, [arcface::SIDE; 2]);
        let mut embedding = values(match &*self.network {
            FaceNetwork::Iresnet(network) => network.forward(input),
            FaceNetwork::IrSe50(network) => network.forward(input),
        });
        let length = embedding.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        embedding.iter_mut().for_each(|v| *v = (f64::from(*v) / length) as f32);
        Ok(embedding)
    }
}

impl From<Iresnet<Flex>> for Identity {
    fn from(network: Iresnet<Flex>) -> Self {
        Self { network: Arc::new(FaceNetwork::Iresnet(network)) }
    }
}

impl From<IrSe50<Flex>> for Identity {
    fn from(network: IrSe50<Flex>) -> Self {
        Self { network: Arc::new(FaceNetwork::IrSe50(network)) }
    }
}

/// Cosine of two embeddings of length 1.
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}
