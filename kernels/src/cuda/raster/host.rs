//! The rasteriser for callers whose arrays are on the host: the same results as [`crate::raster::forward_batch`].

use std::{collections::BTreeMap, sync::Arc};

use super::{
    super::{Buffer, CudaError, Device},
    batch::Batch,
    plan::{Options, Planes, View},
    splats::{Kind, SplatGradients, Splats},
};
use crate::raster::{Gradients, Image, Settings, ShapeGradients, Shot, Upstream};

/// Pictures, and what their way back needs.
pub struct Drawn {
    /// The pictures in the order of the shots.
    pub images: Vec<Image>,
    parts: Vec<Part>,
    device: Arc<Device>,
}

/// The shots whose scenes are of one kind.
struct Part {
    shots: Vec<usize>,
    splats: Splats,
    batch: Batch,
}

/// Draws many pictures on a device.
///
/// # Errors
/// When memory runs out or the driver fails.
///
/// # Panics
/// When the arrays of a scene do not belong together.
pub fn forward_batch(device: &Arc<Device>, shots: &[Shot<'_>], settings: &Settings) -> Result<Drawn, CudaError> {
    let options = Options { each_picture: true, cameras: true, centers: true, ..Options::default() };
    forward_with(device, shots, settings, options)
}

/// The pictures of [`forward_batch`] alone, without the memory that a way back would take.
///
/// # Errors
/// As there.
///
/// # Panics
/// As there.
pub fn draw(device: &Arc<Device>, shots: &[Shot<'_>], settings: &Settings) -> Result<Vec<Image>, CudaError> {
    Ok(forward_with(device, shots, settings, Options::default())?.images)
}

/// The pictures of scenes that are on the device already.
///
/// # Errors
/// As [`Batch::new`] and [`Batch::draw`].
pub fn draw_views(
    device: &Arc<Device>,
    splats: &Splats,
    views: &[View<'_>],
    settings: &Settings,
) -> Result<Vec<Image>, CudaError> {
    let mut batch = Batch::new(device, splats, views, settings, Options::default())?;
    batch.draw(splats)?;
    images(&batch)
}

/// Waits, and takes the pictures of a batch to the host.
fn images(batch: &Batch) -> Result<Vec<Image>, CudaError> {
    let (rgb, alpha) = (batch.rgb.read()?, batch.alpha.read()?);
    let (depth, normals) = (batch.depth.read()?, batch.normals.read()?);
    let image = |([width, height], first, _): ([usize; 2], usize, usize)| {
        let pixels = width * height;
        let part = |values: &[f32], channels: usize| {
            if values.is_empty() { Vec::new() } else { values[first * channels..][..pixels * channels].to_vec() }
        };
        Image {
            width: width as u32,
            height: height as u32,
            rgb: part(&rgb, 3),
            alpha: part(&alpha, 1),
            depth: part(&depth, 1),
            normals: part(&normals, 3),
        }
    };
    Ok(batch.places().map(image).collect())
}

fn forward_with(
    device: &Arc<Device>,
    shots: &[Shot<'_>],
    settings: &Settings,
    options: Options,
) -> Result<Drawn, CudaError> {
    let mut kinds: BTreeMap<(bool, Option<u8>), Vec<usize>> = BTreeMap::new();
    for (number, shot) in shots.iter().enumerate() {
        let kind = Kind::of(&shot.scene);
        kinds.entry((kind.covariance, kind.sh_degree)).or_default().push(number);
    }
    let mut images = vec![Image::default(); shots.len()];
    let mut parts = Vec::new();
    for numbers in kinds.into_values() {
        // several views of one scene share its arrays on the device
        let mut scenes = Vec::new();
        let mut addresses: BTreeMap<_, usize> = BTreeMap::new();
        let mut views = Vec::new();
        for number in &numbers {
            let shot = &shots[*number];
            let address =
                (shot.scene.means.as_ptr() as usize, shot.scene.opacity_logits.as_ptr() as usize, shot.scene.len());
            let mut scene = *addresses.entry(address).or_insert(scenes.len());
            if scene < scenes.len() && !same(&scenes[scene], &shot.scene) {
                scene = scenes.len();
            }
            if scene == scenes.len() {
                scenes.push(shot.scene);
            }
            views.push(View { scene, camera: shot.camera, background: shot.background });
        }
        let splats = Splats::upload(device, &scenes)?;
        let mut batch = Batch::new(device, &splats, &views, settings, options)?;
        batch.draw(&splats)?;
        for (number, image) in numbers.iter().zip(self::images(&batch)?) {
            images[*number] = image;
        }
        parts.push(Part { shots: numbers, splats, batch });
    }
    Ok(Drawn { images, parts, device: Arc::clone(device) })
}

/// True when two scenes are the same arrays.
fn same(a: &crate::raster::Scene<'_>, b: &crate::raster::Scene<'_>) -> bool {
    use crate::raster::{Color, Shape};
    let shapes = match (a.shape, b.shape) {
        (Shape::RotationScale(q, s), Shape::RotationScale(p, t)) => std::ptr::eq(q, p) && std::ptr::eq(s, t),
        (Shape::Covariance(q), Shape::Covariance(p)) => std::ptr::eq(q, p),
        _ => false,
    };
    let colors = match (a.color, b.color) {
        (Color::Sh(c, r, _), Color::Sh(d, s, _)) => std::ptr::eq(c, d) && std::ptr::eq(r, s),
        (Color::Rgb(c), Color::Rgb(d)) => std::ptr::eq(c, d),
        _ => false,
    };
    shapes && colors && std::ptr::eq(a.means, b.means) && std::ptr::eq(a.opacity_logits, b.opacity_logits)
}

impl Drawn {
    /// Gradients of each picture by itself, as [`crate::raster::backward_batch`] returns them.
    ///
    /// # Errors
    /// When memory runs out or the driver fails.
    ///
    /// # Panics
    /// When `upstream` has not one entry per picture, or an entry not the picture's size.
    pub fn backward(&mut self, upstream: &[Upstream<'_>]) -> Result<Vec<Gradients>, CudaError> {
        assert_eq!(upstream.len(), self.images.len(), "pictures and gradients of a batch");
        for (image, upstream) in self.images.iter().zip(upstream) {
            let pixels = image.alpha.len();
            assert_eq!(upstream.rgb.len(), pixels * 3, "gradient of the colours");
            for (name, plane, size) in [
                ("coverage", upstream.alpha, pixels),
                ("depth", upstream.depth, pixels),
                ("normals", upstream.normals, pixels * 3),
            ] {
                assert!(plane.is_empty() || plane.len() == size, "gradient of {name}: {} for {size}", plane.len());
            }
        }
        let mut out: Vec<Option<Gradients>> = (0..upstream.len()).map(|_| None).collect();
        for part in &mut self.parts {
            let plane = |pick: &dyn for<'a> Fn(&Upstream<'a>) -> &'a [f32], channels: usize| {
                let mut values = Vec::new();
                for number in &part.shots {
                    let given = pick(&upstream[*number]);
                    let size = self.images[*number].alpha.len() * channels;
                    values.extend_from_slice(given);
                    values.resize(values.len() + size - given.len(), 0.0);
                }
                Buffer::from_slice(&self.device, &values)
            };
            let rgb = plane(&|u| u.rgb, 3)?;
            let alpha = plane(&|u| u.alpha, 1)?;
            let depth = plane(&|u| u.depth, 1)?;
            let normals = plane(&|u| u.normals, 3)?;
            let planes = Planes { rgb: Some(&rgb), alpha: Some(&alpha), depth: Some(&depth), normals: Some(&normals) };
            let mut gradients = SplatGradients::new(&self.device, part.splats.kind, part.batch.gradient_rows())?;
            part.batch.backward(&part.splats, planes, &mut gradients)?;
            let read = |buffer: &Buffer<f32>| buffer.read();
            let (means, shape, scales) = (read(&gradients.means)?, read(&gradients.shape)?, read(&gradients.scales)?);
            let (logits, color, rest) = (read(&gradients.logits)?, read(&gradients.color)?, read(&gradients.rest)?);
            let (centers, backgrounds) = (read(&part.batch.centers)?, read(&part.batch.backgrounds)?);
            let cameras = part.batch.cameras.read()?;
            let places: Vec<_> = part.batch.places().collect();
            let [.., rest_width] = part.splats.kind.widths();
            for (i, number) in part.shots.iter().enumerate() {
                // with `each_picture`, rows of gradients are numbered like records
                let first = places[i].2;
                let end = places.get(i + 1).map_or(logits.len(), |p| p.2);
                out[*number] = Some(Gradients {
                    means: rows(&means, first, end),
                    shape: if part.splats.kind.covariance {
                        ShapeGradients::Covariance(rows(&shape, first, end))
                    } else {
                        ShapeGradients::RotationScale(rows(&shape, first, end), rows(&scales, first, end))
                    },
                    opacity_logits: logits[first..end].to_vec(),
                    color: rows(&color, first, end),
                    sh_rest: rest[first * rest_width..end * rest_width].to_vec(),
                    centers: rows(&centers, first, end),
                    background: std::array::from_fn(|k| backgrounds[i * 3 + k]),
                    camera_from_world: std::array::from_fn(|r| std::array::from_fn(|c| cameras[i * 12 + r * 4 + c])),
                });
            }
        }
        Ok(out.into_iter().map(|g| g.expect("every shot is in one part")).collect())
    }
}

/// Rows `first..end` of N numbers.
fn rows<const N: usize>(values: &[f32], first: usize, end: usize) -> Vec<[f32; N]> {
    values[first * N..end * N].as_chunks().0.to_vec()
}
