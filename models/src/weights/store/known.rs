//! The weight files that are known: what they are, where they come from, under which terms, and how to recognise their content.

use burn_flex::Flex;
use gav_formats::weights::TensorMap;

use crate::{
    Result,
    metrics::{
        arcface::{Depth, IrSe50, Iresnet},
        inception::Inception,
        layers::{Bound, prefix_of},
        lpips::{self, Trunk},
    },
};

/// A published file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownFile {
    /// Its usual name.
    pub name: &'static str,
    /// Who publishes it, and where.
    pub source: &'static str,
    /// Terms of use, as far as they are known.
    pub licence: &'static str,
    /// How its SHA-256 starts and ends; both empty when that is not known.
    pub sha256: (&'static str, &'static str),
}

impl KnownFile {
    /// True when the file's hash is known to be this one.
    pub fn has_hash(&self, sha256: &str) -> bool {
        let (start, end) = self.sha256;
        !start.is_empty() && sha256.starts_with(start) && sha256.ends_with(end)
    }
}

/// What one stored copy holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Part {
    /// The VGG16 trunk of LPIPS.
    Vgg16,
    /// The heads of LPIPS for VGG16.
    LpipsVgg,
    /// The AlexNet trunk of LPIPS.
    Alexnet,
    /// The heads of LPIPS for AlexNet.
    LpipsAlex,
    /// The Inception network of FID, KID and Inception Score.
    Inception,
    /// An iresnet for identity similarity.
    Arcface(Depth),
    /// The IR-SE50 for identity similarity.
    IrSe50,
}

const TORCHVISION: &str = "BSD-3-Clause (torchvision); trained on ImageNet";
const LPIPS: &str = "BSD-2-Clause";
const LPIPS_SOURCE: &str = "the Python package lpips, folder lpips/weights/v0.1";
const FACES: &str = "non-commercial research only (insightface model zoo)";
const ZOO: &str = "the model zoo of insightface, recognition/arcface_torch";

const fn arcface(name: &'static str) -> KnownFile {
    KnownFile { name, source: ZOO, licence: FACES, sha256: ("", "") }
}

impl Part {
    /// Every part.
    pub const ALL: [Self; 10] = [
        Self::Vgg16,
        Self::LpipsVgg,
        Self::Alexnet,
        Self::LpipsAlex,
        Self::Inception,
        Self::Arcface(Depth::R18),
        Self::Arcface(Depth::R34),
        Self::Arcface(Depth::R50),
        Self::Arcface(Depth::R100),
        Self::IrSe50,
    ];

    /// Short name, also that of the stored copy.
    pub fn id(self) -> &'static str {
        match self {
            Self::Vgg16 => "vgg16",
            Self::LpipsVgg => "lpips-vgg",
            Self::Alexnet => "alexnet",
            Self::LpipsAlex => "lpips-alex",
            Self::Inception => "inception",
            Self::Arcface(Depth::R18) => "arcface-r18",
            Self::Arcface(Depth::R34) => "arcface-r34",
            Self::Arcface(Depth::R50) => "arcface-r50",
            Self::Arcface(Depth::R100) => "arcface-r100",
            Self::IrSe50 => "ir-se50",
        }
    }

    /// The part of this short name.
    pub fn from_id(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.id() == id)
    }

    /// What it is, in words.
    pub fn title(self) -> &'static str {
        match self {
            Self::Vgg16 => "trunk of LPIPS-VGG",
            Self::LpipsVgg => "heads of LPIPS-VGG",
            Self::Alexnet => "trunk of LPIPS-Alex",
            Self::LpipsAlex => "heads of LPIPS-Alex",
            Self::Inception => "network of FID, KID and Inception Score",
            Self::Arcface(_) => "face embedding of insightface",
            Self::IrSe50 => "face embedding of pSp and e4e",
        }
    }

    /// What the network expects; written into the stored copy.
    pub fn preprocessing(self) -> &'static str {
        match self {
            Self::Vgg16 | Self::Alexnet | Self::LpipsVgg | Self::LpipsAlex => {
                "RGB in -1..1, (x - [-0.030, -0.088, -0.188]) / [0.458, 0.448, 0.450]"
            }
            Self::Inception => {
                "RGB 0..255 resized to 299x299, (x - 128) / 128; the rule of resizing is chosen by the caller"
            }
            Self::Arcface(_) | Self::IrSe50 => "aligned RGB face of 112x112, (x / 255 - 0.5) / 0.5",
        }
    }

    /// The published files with these weights.
    pub fn files(self) -> &'static [KnownFile] {
        match self {
            Self::Vgg16 => &[KnownFile {
                name: "vgg16-397923af.pth",
                source: "torchvision, download.pytorch.org/models",
                licence: TORCHVISION,
                sha256: ("397923af", ""),
            }],
            Self::LpipsVgg => {
                &[KnownFile { name: "vgg.pth", source: LPIPS_SOURCE, licence: LPIPS, sha256: ("a78928a0", "8432868") }]
            }
            Self::Alexnet => &[KnownFile {
                name: "alexnet-owt-7be5be79.pth",
                source: "torchvision, download.pytorch.org/models",
                licence: TORCHVISION,
                sha256: ("7be5be79", ""),
            }],
            Self::LpipsAlex => {
                &[KnownFile { name: "alex.pth", source: LPIPS_SOURCE, licence: LPIPS, sha256: ("df73285e", "60835c0") }]
            }
            Self::Inception => &[
                KnownFile {
                    name: "pt_inception-2015-12-05-6726825d.pth",
                    source: "the releases of pytorch-fid",
                    licence: "Apache-2.0 (TensorFlow's graph of 2015-12-05)",
                    sha256: ("6726825d", ""),
                },
                KnownFile {
                    name: "inception-2015-12-05.pt",
                    source: "StyleGAN2-ADA, pretrained/metrics",
                    licence: "Apache-2.0 (TensorFlow's graph of 2015-12-05)",
                    sha256: ("f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4", ""),
                },
                KnownFile {
                    name: "inception-2015-12-05.pkl",
                    source: "StyleGAN3, metrics",
                    licence: "Apache-2.0 (TensorFlow's graph of 2015-12-05)",
                    sha256: ("", ""),
                },
            ],
            Self::Arcface(Depth::R18) => &[const { arcface("backbone.pth of an r18") }],
            Self::Arcface(Depth::R34) => &[const { arcface("backbone.pth of an r34") }],
            Self::Arcface(Depth::R50) => &[const { arcface("backbone.pth of an r50") }],
            Self::Arcface(Depth::R100) => &[const { arcface("backbone.pth of an r100") }],
            Self::IrSe50 => &[KnownFile {
                name: "model_ir_se50.pth",
                source: "TreB1eN's InsightFace_Pytorch, also with pSp and encoder4editing",
                licence: "MIT (code); trained on MS-Celeb-1M, so for research",
                sha256: ("", ""),
            }],
        }
    }

    /// The parts whose tensors a file holds, by the names and shapes that only they have.
    pub fn inside(tensors: &TensorMap<'_>) -> Vec<Self> {
        let shape = |anchor: &str| {
            let prefix = prefix_of(tensors, anchor)?;
            Some(tensors.get(&format!("{prefix}{anchor}"))?.shape().to_vec())
        };
        let has = |anchor: &str| shape(anchor).is_some();
        let trunk = |torchvision: &str, packaged: &str, wanted: [usize; 4]| {
            shape(torchvision).or_else(|| shape(packaged)).is_some_and(|found| found == wanted)
        };
        let heads = |channels: usize| shape("lin1.model.1.weight").is_some_and(|found| found == [1, channels, 1, 1]);
        let mut found = Vec::new();
        let mut push = |part: Self, present: bool| {
            if present {
                found.push(part);
            }
        };
        push(Self::Vgg16, trunk("features.28.weight", "slice5.28.weight", [512, 512, 3, 3]));
        push(Self::LpipsVgg, heads(128));
        push(Self::Alexnet, trunk("features.0.weight", "slice1.0.weight", [64, 3, 11, 11]));
        push(Self::LpipsAlex, heads(192));
        push(Self::Inception, has("Conv2d_1a_3x3.conv.weight") || has("layers.mixed_10.conv.weight"));
        if let Some(depth) = Depth::of(tensors) {
            push(Self::Arcface(depth), true);
        }
        push(Self::IrSe50, has("body.23.res_layer.5.fc1.weight"));
        found
    }

    /// Fills the network, and says which tensors it took.
    pub(super) fn bind(self, tensors: &TensorMap<'_>) -> Result<Bound> {
        let device = Default::default();
        Ok(match self {
            Self::Vgg16 => lpips::bind_trunk::<Flex>(Trunk::Vgg, tensors, &device)?.1,
            Self::LpipsVgg => lpips::bind_heads::<Flex>(Trunk::Vgg, tensors, &device)?.1,
            Self::Alexnet => lpips::bind_trunk::<Flex>(Trunk::Alex, tensors, &device)?.1,
            Self::LpipsAlex => lpips::bind_heads::<Flex>(Trunk::Alex, tensors, &device)?.1,
            Self::Inception => Inception::<Flex>::bind(tensors, &device)?.1,
            Self::Arcface(_) => Iresnet::<Flex>::bind(tensors, &device)?.1,
            Self::IrSe50 => IrSe50::<Flex>::bind(tensors, &device)?.1,
        })
    }
}
