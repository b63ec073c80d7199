//! All pictures of one asset.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use gav_formats::{
    Avatar, Camera, ColorSpace, Error, Pose, RenderModel, RigBase, Splats,
    sink::{write_file_atomically, write_file_renamed},
};
use gav_kernels::{
    cuda::{
        self,
        raster::{Rgb8, View, draw_views, draw_views_rgb8},
    },
    psnr::displayed_splats,
    raster::{self, Image, Settings},
};
use gav_models::puppet::{DevicePuppet, Puppet};
use rayon::prelude::*;

use super::{
    Arguments, FileKind,
    plan::{Action, Item, Look, Place, beside, check_film_size},
    values::Background,
    views::{Shot, played},
};
use crate::{
    batch::{bars::Line, memory::Budget, place::slashes},
    device::Painter,
    failure::Failure,
    motion::{MotionArguments, puppet},
    pictures::{
        Picture, Pixels, gif, linear_from_srgb,
        sheet::{Cell, compose, grid, shrink},
        still,
        video::Film,
    },
    reading::{disk_bytes, load},
};

/// Longest side of the pictures on an asset's sheet.
const SHEET_SIDE: usize = 256;
/// Memory of a decoded asset for each byte of its file: the smallest formats keep a splat with harmonics in 10 bytes.
const EXPANSION: u64 = 24;
/// Memory of a splat while it is drawn, beside that of the asset, and of a pixel with all that is made of it.
const SPLAT_BYTES: u64 = 200;
const PIXEL_BYTES: u64 = 64;

/// Pictures that a GPU draws together: it is full, and their pixels are still few megabytes.
const DEVICE_PICTURES: usize = 32;

/// What became of one asset.
pub(super) struct Drawn {
    /// Written files, below the output folder.
    pub files: Vec<String>,
    pub views: usize,
    pub splats: usize,
    /// Small pictures for the sheet of all, when asked for.
    pub cells: Vec<Cell>,
    pub stages: Stages,
}

/// Where the time went: seconds, summed over the threads that worked side by side.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub(super) struct Stages {
    /// Reading and decoding assets.
    pub read: f64,
    /// Posing and drawing.
    pub draw: f64,
    /// Encoding and writing pictures.
    pub write: f64,
}

impl Stages {
    pub fn add(&mut self, other: Self) {
        self.read += other.read;
        self.draw += other.draw;
        self.write += other.write;
    }
}

/// What `work` gives, and the seconds it took.
fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed().as_secs_f64())
}

/// How an asset appears on the sheet of all.
#[derive(Debug, Clone, Copy)]
pub(super) struct Showing {
    /// Pictures of each asset.
    pub views: usize,
    /// Longest side.
    pub side: usize,
}

/// Reads the asset of `item`, takes its pictures and writes them.
pub(super) fn draw(
    item: &Item,
    arguments: &Arguments,
    look: &Look,
    showing: Option<Showing>,
    (budget, painter): (&Budget, &Painter),
    line: &Line<'_>,
) -> Result<Drawn, Failure> {
    let mut share = budget.take(disk_bytes(&item.input).saturating_mul(EXPANSION));
    let mut stages = Stages::default();
    let (loaded, seconds) = timed(|| load(&item.input, &arguments.read.options()));
    let avatar = loaded?.avatar;
    stages.read += seconds;
    let impossible = |message: String| Failure {
        code: "NOT_POSSIBLE",
        message: format!("{}: {message}", item.input.display()),
        hint: None,
    };
    let motion = Motion::of(item, arguments, &avatar)?;
    let splats = match &motion {
        Some(motion) => Cow::Owned(motion.splats(0.0)?),
        None => displayed(&item.input, &avatar)?,
    };
    share.shrink(avatar.splats.raw_bytes() + splats.raw_bytes());
    let mut shots = match motion.as_ref().filter(|_| look.plays) {
        None => look.cameras.shots(&avatar, &splats).map_err(impossible)?,
        Some(motion) => {
            let times = motion.times(look)?;
            let shots = look.cameras.shots(&avatar, &motion.everywhere(&times)?).map_err(impossible)?;
            played(&shots, &times)
        }
    };
    let shown = |count: usize| {
        let views = showing.map_or(0, |s| s.views.min(count));
        (0..views).map(move |k| k * count / views)
    };
    let shown: Vec<usize> = shown(shots.len()).collect();
    let writes = item.action == Action::Write;
    if !writes {
        let all = std::mem::take(&mut shots);
        shots = all.into_iter().enumerate().filter(|(i, _)| shown.contains(i)).map(|(_, s)| s).collect();
    }
    let mut output = Output::new(item, look, writes, &shots).map_err(impossible)?;
    let scene = Scene { avatar: &avatar, splats: &splats, motion: motion.as_ref(), look };
    let largest = shots.iter().map(|s| u64::from(s.camera.width) * u64::from(s.camera.height)).max().unwrap_or(0);
    let each = largest * PIXEL_BYTES + splats.len() as u64 * SPLAT_BYTES;
    let most = if matches!(painter, Painter::Cpu) { rayon::current_num_threads() } else { DEVICE_PICTURES };
    let together = (budget.total() / each.max(1)).clamp(1, most as u64) as usize;
    let mut on_device = match (painter, &motion) {
        // recorded frames are played by the host
        (Painter::Cuda(device, _), Some(motion)) if look.plays && !matches!(avatar.rig.base, RigBase::Frames(_)) => {
            let puppet = DevicePuppet::new(&motion.puppet, device, together.min(shots.len()));
            Some(puppet.map_err(|e| Failure::of(Some(&item.input), &e))?)
        }
        _ => None,
    };
    let (count, mut cells) = (shots.len(), Vec::new());
    for (part, some) in shots.chunks(together).enumerate() {
        line.show(&format_args!("{}  {}/{count}", item.input.display(), part * together));
        let first = part * together;
        let (together, seconds) = timed(|| scene.pictures(some, painter, on_device.as_mut()));
        stages.draw += seconds;
        let mut pictures: Vec<Option<Picture>> = match together? {
            Some(pictures) => pictures.into_iter().map(Some).collect(),
            None => some.iter().map(|_| None).collect(),
        };
        let taken: Vec<(Taken, Stages)> = some
            .par_iter()
            .zip(&mut pictures)
            .enumerate()
            .map(|(k, (shot, picture))| {
                let index = first + k;
                let side = showing.filter(|_| !writes || shown.contains(&index)).map(|s| s.side);
                let (picture, drawing) = timed(|| match picture.take() {
                    Some(picture) => Ok(picture),
                    None => scene.image(shot).map(|image| scene.picture(image)),
                });
                let picture = picture?;
                let (taken, writing) = timed(|| output.take(&picture, shot, side));
                Ok((taken?, Stages { read: 0.0, draw: drawing, write: writing }))
            })
            .collect::<Result<_, Failure>>()?;
        for ((taken, times), shot) in taken.into_iter().zip(some) {
            stages.add(times);
            let picture = output.add(taken, shot).map_err(impossible)?;
            cells.extend(picture.map(|picture| Cell { label: shot.label.clone(), picture }));
        }
    }
    let (files, seconds) = timed(|| output.finish());
    let files = files.map_err(|e| e.unwrap_or_else(impossible))?;
    stages.write += seconds;
    let files = files.iter().map(|p| slashes(p.strip_prefix(&item.root).unwrap_or(p))).collect();
    Ok(Drawn { files, views: count, splats: splats.len(), cells, stages })
}

/// An asset in motion.
struct Motion<'a> {
    input: &'a Path,
    arguments: &'a MotionArguments,
    puppet: Puppet<'a>,
}

impl<'a> Motion<'a> {
    /// `None` when the asset is shown at rest and has what that takes.
    fn of(item: &'a Item, arguments: &'a Arguments, avatar: &'a Avatar) -> Result<Option<Self>, Failure> {
        let unknown_rest = matches!(avatar.rig.base, RigBase::Triangle(_)) && avatar.rest.is_none();
        if !arguments.motion.is_given() && !unknown_rest {
            return Ok(None);
        }
        let puppet = puppet(&item.input, avatar)?;
        Ok(Some(Self { input: &item.input, arguments: &arguments.motion, puppet }))
    }

    fn splats(&self, seconds: f64) -> Result<Splats, Failure> {
        let pose = self.arguments.pose(&self.puppet, seconds)?;
        self.puppet.pose(&pose).map_err(|e| Failure::of(Some(self.input), &e))
    }

    /// Poses and draws on a device what `scene` shows at the times of the shots.
    fn pictures(
        &self,
        scene: &Scene<'_>,
        shots: &[Shot],
        device: &Arc<cuda::Device>,
        on: &mut DevicePuppet<'_>,
    ) -> Result<Vec<Picture>, Failure> {
        let failed = |e: gav_models::Error| Failure::of(Some(self.input), &e);
        let poses: Vec<Pose> = shots
            .iter()
            .map(|shot| self.arguments.pose(&self.puppet, shot.seconds.unwrap_or(0.0)))
            .collect::<Result<_, _>>()?;
        let splats = on.pose(&poses).map_err(failed)?;
        let mut pictures = Vec::with_capacity(shots.len());
        let numbered: Vec<(usize, &Shot)> = shots.iter().enumerate().collect();
        for part in numbered.chunk_by(|a, b| scene.settings(a.1) == scene.settings(b.1)) {
            let view = |(index, shot): &(usize, &'_ Shot)| (*index, shot.camera.clone());
            let cameras: Vec<(usize, Camera)> = part.iter().map(view).collect();
            let background = scene.background();
            let views: Vec<View<'_>> =
                cameras.iter().map(|(index, camera)| View { scene: *index, camera, background }).collect();
            let settings = scene.settings(part[0].1);
            if scene.is_rgb8() {
                let drawn = draw_views_rgb8(device, splats, &views, &settings).map_err(|e| failed(e.into()))?;
                pictures.extend(drawn.into_iter().map(|rgb8| scene.stored(rgb8)));
            } else {
                let drawn = draw_views(device, splats, &views, &settings).map_err(|e| failed(e.into()))?;
                pictures.extend(drawn.into_iter().map(|image| scene.picture(image)));
            }
        }
        Ok(pictures)
    }

    /// Instants of the pictures: the rate's, or as many as were asked for, evenly spread.
    fn times(&self, look: &Look) -> Result<Vec<f64>, Failure> {
        let seconds = self.arguments.duration(&self.puppet)?;
        Ok(match look.frames {
            Some(count) => (0..count).map(|k| seconds * f64::from(k) / f64::from(count)).collect(),
            None => (0..=(seconds * look.rate).floor() as u64).map(|k| k as f64 / look.rate).collect(),
        })
    }

    /// The splats at up to eight instants in one, so that cameras see all of the motion.
    fn everywhere(&self, times: &[f64]) -> Result<Splats, Failure> {
        let some = times.len().min(8);
        let mut all = Splats::default();
        for k in 0..some {
            let splats = self.splats(times[k * times.len() / some])?;
            all.sh_degree = splats.sh_degree;
            all.means.extend(splats.means);
            all.log_scales.extend(splats.log_scales);
            all.rotations.extend(splats.rotations);
            all.opacity_logits.extend(splats.opacity_logits);
            all.sh0.extend(splats.sh0);
            all.sh_rest.extend(splats.sh_rest);
        }
        Ok(all)
    }
}

/// The splats at rest.
fn displayed<'a>(path: &Path, avatar: &'a Avatar) -> Result<Cow<'a, Splats>, Failure> {
    displayed_splats(avatar).map_err(|e| Failure::at(path, &e))
}

/// What is drawn.
struct Scene<'a> {
    avatar: &'a Avatar,
    splats: &'a Splats,
    motion: Option<&'a Motion<'a>>,
    look: &'a Look,
}

impl Scene<'_> {
    fn background(&self) -> [f32; 3] {
        match (self.look.background, self.avatar.color_space) {
            (Background::Transparent, _) => [0.0; 3],
            (Background::Color(color), ColorSpace::SrgbRec709) => color,
            (Background::Color(color), ColorSpace::LinearRec709) => color.map(linear_from_srgb),
        }
    }

    fn settings(&self, shot: &Shot) -> Settings {
        let model = match (self.look.model, self.avatar.render_model) {
            // flat splats have no other way to be drawn
            (_, RenderModel::Surfel) => RenderModel::Surfel,
            (chosen, own) => chosen.unwrap_or(own),
        };
        let usual = Settings::from(model);
        Settings { depth: self.look.extras.depth, near: shot.near.min(usual.near), ..usual }
    }

    /// The splats of a moving asset as this picture shows them.
    fn posed(&self, shot: &Shot) -> Result<Option<Splats>, Failure> {
        self.motion.zip(shot.seconds).map(|(motion, seconds)| motion.splats(seconds)).transpose()
    }

    fn image(&self, shot: &Shot) -> Result<Image, Failure> {
        let posed = self.posed(shot)?;
        let splats = posed.as_ref().unwrap_or(self.splats);
        Ok(raster::render(splats, &shot.camera, &self.settings(shot), self.background()))
    }

    /// All pictures at once where that is quicker; `None` where each is best drawn by itself.
    fn pictures(
        &self,
        shots: &[Shot],
        painter: &Painter,
        on: Option<&mut DevicePuppet<'_>>,
    ) -> Result<Option<Vec<Picture>>, Failure> {
        let Painter::Cuda(device, _) = painter else { return Ok(None) };
        if let (Some(motion), Some(on)) = (self.motion, on) {
            return motion.pictures(self, shots, device, on).map(Some);
        }
        let posed: Vec<Option<Splats>> = shots.par_iter().map(|shot| self.posed(shot)).collect::<Result<_, _>>()?;
        let mut pictures = Vec::with_capacity(shots.len());
        let all: Vec<(&Shot, &Option<Splats>)> = shots.iter().zip(&posed).collect();
        // rules are those of a whole batch
        for part in all.chunk_by(|a, b| self.settings(a.0) == self.settings(b.0)) {
            let mut together = Vec::with_capacity(part.len());
            for (shot, posed) in part {
                let scene = posed.as_ref().unwrap_or(self.splats).into();
                together.push(raster::Shot { scene, camera: &shot.camera, background: self.background() });
            }
            let settings = self.settings(part[0].0);
            if self.is_rgb8() {
                let drawn = painter.draw_rgb8(&together, &settings)?.unwrap_or_default();
                pictures.extend(drawn.into_iter().map(|rgb8| self.stored(rgb8)));
            } else {
                let drawn = painter.draw_together(&together, &settings)?.unwrap_or_default();
                pictures.extend(drawn.into_iter().map(|image| self.picture(image)));
            }
        }
        Ok(Some(pictures))
    }

    fn picture(&self, image: Image) -> Picture {
        let transparent = self.look.background == Background::Transparent;
        Picture { image, transparent, space: self.avatar.color_space, rgb8: None }
    }

    /// True when nothing but 8-bit colours is stored of the pictures, and they are drawn as they are stored.
    fn is_rgb8(&self) -> bool {
        let stored = |kind: &FileKind| matches!(kind, FileKind::Png | FileKind::Webp | FileKind::Mp4);
        let extras = self.look.extras.alpha || self.look.extras.depth;
        let opaque =
            self.look.background != Background::Transparent && self.avatar.color_space == ColorSpace::SrgbRec709;
        opaque && !extras && self.look.kinds.iter().all(stored)
    }

    fn stored(&self, rgb8: Rgb8) -> Picture {
        let image = Image { width: rgb8.width, height: rgb8.height, ..Image::default() };
        Picture { image, transparent: false, space: self.avatar.color_space, rgb8: Some(rgb8.rgb) }
    }
}

/// What is kept of a picture until those before it are there.
struct Taken {
    files: Vec<PathBuf>,
    /// Straight RGBA, for GIF.
    rgba: Option<Vec<u8>>,
    /// RGB, for MP4.
    rgb: Option<Vec<u8>>,
    /// For the asset's sheet, and for that of all.
    small: [Option<Pixels>; 2],
}

/// The files of one asset in the making.
struct Output<'a> {
    item: &'a Item,
    look: &'a Look,
    writes: bool,
    /// Size of films.
    size: [u32; 2],
    film: Option<Film>,
    frames: Option<Vec<Vec<u8>>>,
    sheet: Option<Vec<Cell>>,
    files: Vec<PathBuf>,
}

impl<'a> Output<'a> {
    fn new(item: &'a Item, look: &'a Look, writes: bool, shots: &[Shot]) -> Result<Self, String> {
        let wants = |kind: FileKind| writes && look.kinds.contains(&kind);
        let stills = look.kinds.iter().any(|k| !k.is_film());
        if let (Place::Exactly(path), true, true) = (&item.place, stills, shots.len() != 1) {
            return Err(format!("{} cameras, and {} is one picture: give a folder", shots.len(), path.display()));
        }
        let size = shots.first().map_or([0; 2], |s| [s.camera.width, s.camera.height]);
        if wants(FileKind::Mp4) || wants(FileKind::Gif) {
            if let Some(other) = shots.iter().find(|s| [s.camera.width, s.camera.height] != size) {
                let camera = &other.camera;
                let sizes = format!("{} x {} and {} x {}", size[0], size[1], camera.width, camera.height);
                return Err(format!("the cameras have pictures of {sizes} pixels, which make no film"));
            }
            check_film_size(look, size)?;
        }
        let bytes = u64::from(size[0]) * u64::from(size[1]) * 4 * shots.len() as u64;
        if wants(FileKind::Gif) && bytes > gif::MAX_BYTES {
            return Err(format!(
                "a GIF of {} pictures of {} x {} pixels is too large: use MP4",
                shots.len(),
                size[0],
                size[1]
            ));
        }
        let film = wants(FileKind::Mp4).then(|| Film::new(size, look.rate)).transpose()?;
        Ok(Self {
            item,
            look,
            writes,
            size,
            film,
            frames: wants(FileKind::Gif).then(Vec::new),
            sheet: (writes && look.sheet).then(Vec::new),
            files: Vec::new(),
        })
    }

    /// Takes a picture and writes its own files.
    fn take(&self, picture: &Picture, shot: &Shot, side: Option<usize>) -> Result<Taken, Failure> {
        let mut files = Vec::new();
        if self.writes {
            for (ending, encoded) in self.stills(picture) {
                let path = self.still_path(shot, ending);
                let bytes = encoded.map_err(|message| Failure {
                    code: "ENCODER",
                    message: format!("{}: {message}", path.display()),
                    hint: None,
                })?;
                // --resume compares hashes: a picture that a power cut took is drawn again
                let written = write_file_renamed(&path, |sink| sink.write_all(&bytes).map_err(Error::from));
                written.map_err(|e| Failure::at(&path, &e))?;
                files.push(path);
            }
        }
        let (small, rgb) = match (self.film.is_some() || self.sheet.is_some() || side.is_some()).then(|| picture.rgb8())
        {
            None => ([None, None], None),
            Some(rgb) => {
                let (width, height) = (picture.image.width as usize, picture.image.height as usize);
                let pixels = Pixels { width, height, rgb: rgb.into_owned() };
                let small = [self.sheet.is_some().then_some(SHEET_SIDE), side].map(|s| Some(shrink(&pixels, s?)));
                (small, self.film.is_some().then_some(pixels.rgb))
            }
        };
        Ok(Taken { files, rgba: self.frames.is_some().then(|| picture.rgba8()), rgb, small })
    }

    /// Encoded single pictures by ending.
    fn stills(&self, picture: &Picture) -> BTreeMap<&'static str, Result<Vec<u8>, String>> {
        let (mut files, extras) = (BTreeMap::new(), self.look.extras);
        for kind in &self.look.kinds {
            let encoded = match kind {
                FileKind::Png => still::png(picture),
                FileKind::Webp => still::webp(picture),
                FileKind::Exr => still::exr(picture, extras),
                FileKind::Npy => Ok(still::color_npy(picture)),
                FileKind::Gif | FileKind::Mp4 => continue,
            };
            files.insert(kind.ending(), encoded);
            if extras.alpha && *kind == FileKind::Npy {
                files.insert("alpha.npy", Ok(still::alpha_npy(picture)));
            } else if extras.alpha && *kind != FileKind::Exr {
                files.insert("alpha.png", still::alpha_png(picture));
            }
            if extras.depth && *kind != FileKind::Exr {
                files.insert("depth.npy", Ok(still::depth_npy(picture)));
            }
        }
        files
    }

    fn still_path(&self, shot: &Shot, ending: &str) -> PathBuf {
        match &self.item.place {
            // further files of one named picture: head.png, head.depth.npy
            Place::Exactly(path) if path.extension().is_some_and(|e| e == ending) => path.clone(),
            Place::Exactly(path) => path.with_extension(ending),
            Place::Base(base) if self.look.is_single() => beside(base, ending),
            Place::Base(base) => base.join(format!("{}.{ending}", shot.name)),
        }
    }

    /// Where a film or a sheet goes.
    fn whole_path(&self, ending: &str) -> PathBuf {
        match &self.item.place {
            Place::Exactly(path) => path.clone(),
            Place::Base(base) => beside(base, ending),
        }
    }

    /// Takes the picture after the last; gives what the sheet of all wants of it.
    fn add(&mut self, taken: Taken, shot: &Shot) -> Result<Option<Pixels>, String> {
        self.files.extend(taken.files);
        if let (Some(film), Some(rgb)) = (&mut self.film, taken.rgb) {
            film.push(&rgb)?;
        }
        if let (Some(frames), Some(rgba)) = (&mut self.frames, taken.rgba) {
            frames.push(rgba);
        }
        let [own, all] = taken.small;
        if let (Some(cells), Some(picture)) = (&mut self.sheet, own) {
            cells.push(Cell { label: shot.label.clone(), picture });
        }
        Ok(all)
    }

    /// Writes what holds all pictures; gives the paths of all files. An error without a [`Failure`] is that of an encoder.
    fn finish(mut self) -> Result<Vec<PathBuf>, Result<Failure, String>> {
        let mut whole = Vec::new();
        if let Some(film) = self.film.take() {
            whole.push((self.whole_path("mp4"), film.finish().map_err(Err)?));
        }
        if let Some(frames) = self.frames.take() {
            let transparent = self.look.background == Background::Transparent;
            whole.push((
                self.whole_path("gif"),
                gif::encode(self.size, &frames, transparent, self.look.rate).map_err(Err)?,
            ));
        }
        if let Some(cells) = self.sheet.take() {
            let sheet = compose(&self.item.label, &grid(&cells, self.look.cameras.columns()));
            let png = still::rgb_png(sheet.width as u32, sheet.height as u32, &sheet.rgb);
            whole.push((self.whole_path("sheet.png"), png.map_err(Err)?));
        }
        for (path, bytes) in whole {
            write(&path, &bytes).map_err(Ok)?;
            self.files.push(path);
        }
        Ok(self.files)
    }
}

/// Writes a complete file or none.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let written = write_file_atomically(path, |sink| sink.write_all(bytes).map_err(Error::from));
    written.map_err(|e| Failure::at(path, &e))
}
