//! What is asked of a batch, and where everything of it lies.

use gav_formats::Camera;

use super::{
    super::{Buffer, CudaError},
    layout::{Group, Picture},
};
use crate::raster::Settings;

/// One picture to draw: scene, camera, background.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// Number of the scene in [`Splats::scenes`](super::Splats::scenes).
    pub scene: usize,
    /// From where.
    pub camera: &'a Camera,
    /// Over what.
    pub background: [f32; 3],
}

/// What a batch is made for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Gradients of each picture by itself, one set of rows after the other in the order of the pictures, instead of sums
    /// over the pictures of each scene.
    pub each_picture: bool,
    /// Gradients of cameras and backgrounds.
    pub cameras: bool,
    /// Gradients of the centres on the screen, per picture and splat.
    pub centers: bool,
    /// The way back of some of the splats: [`Batch::backward_of`](super::Batch::backward_of).
    pub select: bool,
    /// Entries of tile lists there is room for at first; 0 means 6 per record, which heads at 512² need half of.
    pub entries: usize,
}

/// Gradients of the pictures' pixels, in the layout of [`Batch::rgb`](super::Batch::rgb) and so on. What is missing is zero.
#[derive(Debug, Clone, Copy, Default)]
pub struct Planes<'a> {
    /// Of the colours.
    pub rgb: Option<&'a Buffer<f32>>,
    /// Of coverage.
    pub alpha: Option<&'a Buffer<f32>>,
    /// Of depth.
    pub depth: Option<&'a Buffer<f32>>,
    /// Of normals.
    pub normals: Option<&'a Buffer<f32>>,
}

/// The places of pictures and of their splats, tiles, pixels and gradients.
pub(super) struct Plan {
    pub pictures: Vec<Picture>,
    /// Picture of each tile.
    pub tile_picture: Vec<u32>,
    pub groups: Vec<Group>,
    /// Pictures of the groups, one group after the other.
    pub members: Vec<u32>,
    /// Rows of the gradients.
    pub rows: usize,
    pub records: usize,
    pub pixels: usize,
}

impl Plan {
    /// `scenes` are first rows and numbers of rows.
    pub fn new(
        scenes: &[[usize; 2]],
        views: &[View<'_>],
        settings: &Settings,
        options: Options,
    ) -> Result<Self, CudaError> {
        if let Some(view) = views.iter().find(|view| view.scene >= scenes.len()) {
            return Err(CudaError::Usage(format!("scene {} of {}", view.scene, scenes.len())));
        }
        let (mut records, mut pixels) = (0usize, 0usize);
        let mut pictures = Vec::with_capacity(views.len());
        let mut tile_picture = Vec::new();
        for (number, view) in views.iter().enumerate() {
            let mut picture = Picture::new(view.camera, settings, view.background);
            let [first, count] = scenes[view.scene];
            let side = view.camera.width.max(view.camera.height);
            if side > u16::MAX.into() {
                let limit = u16::MAX.into();
                return Err(CudaError::TooLarge { what: "side of a picture", size: side.into(), limit });
            }
            (picture.splats, picture.count) = (first as u32, count as u32);
            (picture.records, picture.tiles, picture.pixels) =
                (records as u32, tile_picture.len() as u32, pixels as u32);
            records += count;
            pixels += view.camera.width as usize * view.camera.height as usize;
            tile_picture.extend(std::iter::repeat_n(number as u32, picture.tile_count as usize));
            pictures.push(picture);
        }
        for (what, size) in [("splats of all pictures", records), ("pixels of all pictures", pixels)] {
            if size > u32::MAX as usize {
                return Err(CudaError::TooLarge { what, size: size as u64, limit: u32::MAX.into() });
            }
        }
        let (groups, members, rows) =
            if options.each_picture { of_pictures(&pictures) } else { of_scenes(scenes, views) };
        Ok(Self { pictures, tile_picture, groups, members, rows, records, pixels })
    }
}

/// A group for each picture, and rows one after the other.
fn of_pictures(pictures: &[Picture]) -> (Vec<Group>, Vec<u32>, usize) {
    let mut rows = 0;
    let groups = pictures.iter().enumerate().map(|(number, picture)| {
        let (splats, count) = (picture.splats, picture.count);
        let group = Group { splats, count, out: rows as u32, first: number as u32, pictures: 1 };
        rows += count as usize;
        group
    });
    (groups.collect(), (0..pictures.len() as u32).collect(), rows)
}

/// A group for each scene, and the scenes' rows.
fn of_scenes(scenes: &[[usize; 2]], views: &[View<'_>]) -> (Vec<Group>, Vec<u32>, usize) {
    let mut members = Vec::with_capacity(views.len());
    let groups = scenes.iter().enumerate().map(|(scene, [splats, count])| {
        let first = members.len();
        members.extend((0..views.len() as u32).filter(|v| views[*v as usize].scene == scene));
        Group {
            splats: *splats as u32,
            count: *count as u32,
            out: *splats as u32,
            first: first as u32,
            pictures: (members.len() - first) as u32,
        }
    });
    let groups = groups.collect();
    (groups, members, scenes.last().map_or(0, |[first, count]| first + count))
}
