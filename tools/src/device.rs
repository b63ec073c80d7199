//! Where pictures are computed.

use std::sync::Arc;

use clap::ValueEnum;
use gav_formats::{Camera, Splats};
use gav_kernels::{
    cuda::{
        self, CudaError,
        raster::{Rgb8, draw, draw_rgb8},
    },
    metrics::ImageView,
    raster::{self, Image, Settings, Shot},
};

pub(crate) use cuda::compare::Pair as PairOnDevice;

use crate::{failure::Failure, score::decode::Picture};

/// What the user asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Choice {
    /// A GPU where there is one and the work is worth its start, else the processor
    Auto,
    /// The processor
    Cpu,
    /// The first NVIDIA GPU
    Cuda,
}

/// Pictures below which `auto` does not start a GPU: its driver takes half a second, the processor draws tens of heads in that time.
const WORTH_IT: usize = 48;

/// What draws.
pub(crate) enum Painter {
    /// The processor.
    Cpu,
    /// A GPU with its name.
    Cuda(Arc<cuda::Device>, String),
}

impl Painter {
    /// Opens what was chosen for `pictures` pictures (`None`: not known yet).
    ///
    /// # Errors
    /// When a GPU was asked for by name and does not work.
    pub(crate) fn open(choice: Choice, pictures: Option<usize>) -> Result<Self, Failure> {
        match choice {
            Choice::Cpu => Ok(Self::Cpu),
            Choice::Auto if pictures.is_some_and(|count| count < WORTH_IT) => Ok(Self::Cpu),
            Choice::Auto => Ok(Self::try_cuda().unwrap_or(Self::Cpu)),
            Choice::Cuda => Self::try_cuda().map_err(|e| failed(&e)),
        }
    }

    /// The first GPU, once it has drawn something: a driver without a compiler is of no use.
    fn try_cuda() -> Result<Self, CudaError> {
        let device = cuda::Device::open(0)?;
        let name = device.name()?;
        let camera = Camera {
            name: String::new(),
            width: 16,
            height: 16,
            focal: [16.0; 2],
            principal: [8.0; 2],
            camera_from_world: [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]],
            orthographic: false,
        };
        let one = Splats::with_len(1, 0);
        let shot = Shot { scene: (&one).into(), camera: &camera, background: raster::WHITE };
        draw(&device, &[shot], &Settings::DEFAULT)?;
        Ok(Self::Cuda(device, name))
    }

    /// `cpu` or `cuda`.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda(..) => "cuda",
        }
    }

    /// The kind, and the name of a GPU.
    pub(crate) fn label(&self) -> String {
        match self {
            Self::Cpu => "cpu".to_owned(),
            Self::Cuda(_, name) => format!("cuda ({name})"),
        }
    }

    /// Two pictures for comparing on a GPU; `None` on the processor.
    ///
    /// # Errors
    /// What the device fails in.
    pub(crate) fn pair(&self, a: &Picture, b: &Picture) -> Result<Option<PairOnDevice>, Failure> {
        fn view(p: &Picture) -> ImageView<'_> {
            ImageView { width: p.width, height: p.height, channels: 3, data: &p.rgb }
        }
        match self {
            Self::Cpu => Ok(None),
            Self::Cuda(device, _) => PairOnDevice::new(device, view(a), view(b)).map(Some).map_err(|e| failed(&e)),
        }
    }

    /// As [`Painter::draw_together`], but 8-bit colours alone, which are there sooner.
    ///
    /// # Errors
    /// What the device fails in.
    pub(crate) fn draw_rgb8(&self, shots: &[Shot<'_>], settings: &Settings) -> Result<Option<Vec<Rgb8>>, Failure> {
        match self {
            Self::Cpu => Ok(None),
            Self::Cuda(device, _) => draw_rgb8(device, shots, settings).map(Some).map_err(|e| failed(&e)),
        }
    }

    /// Draws pictures together on a GPU, one for each shot; `None` on the processor, where each is best drawn by who needs it.
    ///
    /// # Errors
    /// What the device fails in.
    pub(crate) fn draw_together(&self, shots: &[Shot<'_>], settings: &Settings) -> Result<Option<Vec<Image>>, Failure> {
        match self {
            Self::Cpu => Ok(None),
            Self::Cuda(device, _) => draw(device, shots, settings).map(Some).map_err(|e| failed(&e)),
        }
    }
}

fn failed(error: &CudaError) -> Failure {
    Failure {
        code: "DEVICE",
        message: error.to_string(),
        hint: Some("`gav doctor` says what was found; `--device cpu` does without".to_owned()),
    }
}
