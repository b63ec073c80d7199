//! A batch of pictures: its memory, and the sequences of launches.

mod backward;

use std::sync::Arc;

use super::{
    super::{Buffer, CudaError, Device},
    kernels::{Kernels, channels},
    layout::{BlendArgs, Group, Needed, Picture, ProjectArgs, Rules, TilesArgs},
    plan::{Options, Plan, View},
    splats::{Kind, Splats},
};
use crate::raster::Settings;

/// Splats that one block of the projection kernels works on.
const BLOCK: usize = 128;

/// Bins of tiles by the length of their lists; as in `common.cuh`.
const BINS: usize = 32;

/// Words between the counters of two tiles, as in `common.cuh`.
const SPREAD: usize = 32;

/// Most entries that lists can have: places are 32-bit numbers, with room for counting beyond.
const ENTRIES: u64 = 0xc000_0000;

/// Words before the counts of the tiles: [`Needed`] and the bins.
const HEADER: usize = 4 + BINS;

/// Pictures of scenes of one kind, with all the memory that drawing them takes.
pub struct Batch {
    device: Arc<Device>,
    kernels: Kernels,
    /// Each splat is in one picture of its group.
    single: bool,
    kind: Kind,
    /// Up to which harmonics are used.
    degree: Option<u8>,
    settings: Settings,
    options: Options,
    rules: Rules,
    /// Rows of each scene that the batch was made for.
    scenes: Vec<[usize; 2]>,
    shapes: Vec<Picture>,
    pictures: Buffer<Picture>,
    tile_picture: Buffer<u32>,
    groups: Buffer<Group>,
    members: Buffer<u32>,
    group_count: usize,
    largest: usize,
    rows: usize,
    tiles: usize,
    records: Buffer<f32>,
    record_normals: Buffer<f32>,
    reaches: Buffer<u32>,
    queue: Buffer<u32>,
    works: Buffer<u32>,
    deepest: Buffer<u32>,
    touched: Buffer<u16>,
    counts: Buffer<u32>,
    cursors: Buffer<u32>,
    keys: Buffer<u64>,
    spare: Buffer<u64>,
    order: Buffer<u32>,
    light: Buffer<f32>,
    last: Buffer<u32>,
    sums: Buffer<f32>,
    extras: Buffer<f32>,
    /// Colours, height × width × 3 for each picture, one after the other.
    pub rgb: Buffer<f32>,
    /// Coverage, height × width.
    pub alpha: Buffer<f32>,
    /// Depth; empty unless asked for.
    pub depth: Buffer<f32>,
    /// Normals; empty unless asked for.
    pub normals: Buffer<f32>,
    /// Gradients of the centres on the screen, 2 per picture and splat; empty unless asked for.
    pub centers: Buffer<f32>,
    /// Gradients of `camera_from_world`, 12 per picture; empty unless asked for.
    pub cameras: Buffer<f64>,
    /// Gradients of the backgrounds, 3 per picture; empty unless asked for.
    pub backgrounds: Buffer<f32>,
}

impl Batch {
    /// Compiles what is needed and takes the memory for pictures of `views`.
    ///
    /// # Errors
    /// When a view names a scene that is not there, memory runs out, or more than 2³² − 1 of something is needed.
    pub fn new(
        device: &Arc<Device>,
        splats: &Splats,
        views: &[View<'_>],
        settings: &Settings,
        options: Options,
    ) -> Result<Self, CudaError> {
        let scenes = &splats.scenes;
        let Plan { pictures: shapes, tile_picture, groups, members, rows, records, pixels } =
            Plan::new(scenes, views, settings, options)?;
        let tiles = tile_picture.len();
        let single = groups.iter().all(|g| g.pictures <= 1);
        let entries = if options.entries == 0 { records * 6 + 1024 } else { options.entries };
        let entries = entries.min(ENTRIES as usize);
        let count = channels(settings) as usize;
        Ok(Self {
            kernels: Kernels::new(device, splats.kind, splats.kind.sh_degree, settings, single, options)?,
            single,
            degree: splats.kind.sh_degree,
            kind: splats.kind,
            settings: *settings,
            options,
            rules: Rules::from(settings),
            scenes: scenes.clone(),
            pictures: Buffer::from_slice(device, &shapes)?,
            tile_picture: Buffer::from_slice(device, &tile_picture)?,
            group_count: groups.len(),
            groups: Buffer::from_slice(device, &groups)?,
            members: Buffer::from_slice(device, &members)?,
            largest: scenes.iter().map(|s| s[1]).max().unwrap_or(0),
            rows,
            tiles,
            records: Buffer::new(device, records * 12)?,
            record_normals: Buffer::new(device, if count == 7 { records * 4 } else { 0 })?,
            reaches: Buffer::new(device, records * 4)?,
            queue: Buffer::new(device, tiles * BINS * 4)?,
            works: Buffer::new(device, tiles * 4)?,
            deepest: Buffer::new(device, tiles)?,
            touched: Buffer::new(device, entries)?,
            counts: Buffer::zeros(device, HEADER + tiles * SPREAD)?,
            cursors: Buffer::new(device, tiles * SPREAD)?,
            keys: Buffer::new(device, entries)?,
            spare: Buffer::new(device, entries)?,
            order: Buffer::new(device, entries)?,
            light: Buffer::new(device, pixels)?,
            last: Buffer::new(device, pixels)?,
            sums: Buffer::new(device, records * 8)?,
            extras: Buffer::new(device, records * (count - 2))?,
            rgb: Buffer::new(device, pixels * 3)?,
            alpha: Buffer::new(device, pixels)?,
            depth: Buffer::new(device, if settings.depth { pixels } else { 0 })?,
            normals: Buffer::new(device, if settings.normals { pixels * 3 } else { 0 })?,
            centers: Buffer::new(device, if options.centers { records * 2 } else { 0 })?,
            cameras: Buffer::new(device, if options.cameras { views.len() * 12 } else { 0 })?,
            backgrounds: Buffer::new(device, if options.cameras { views.len() * 3 } else { 0 })?,
            shapes,
            device: Arc::clone(device),
        })
    }

    /// Rows that the gradients of this batch have.
    pub fn gradient_rows(&self) -> usize {
        self.rows
    }

    /// Sizes, first pixel and first record of the pictures.
    pub(super) fn places(&self) -> impl Iterator<Item = ([usize; 2], usize, usize)> + '_ {
        self.shapes.iter().map(|p| ([p.width as usize, p.height as usize], p.pixels as usize, p.records as usize))
    }

    /// Other cameras and backgrounds for the same pictures: scenes and sizes stay.
    ///
    /// # Errors
    /// [`CudaError::Usage`] when a scene or a size differs.
    pub fn look(&mut self, views: &[View<'_>]) -> Result<(), CudaError> {
        if views.len() != self.shapes.len() {
            return Err(CudaError::Usage(format!("{} views for {} pictures", views.len(), self.shapes.len())));
        }
        for (number, (view, picture)) in views.iter().zip(&mut self.shapes).enumerate() {
            let size = [picture.width, picture.height];
            if [view.camera.width, view.camera.height] != size
                || self.scenes.get(view.scene).is_none_or(|s| s[0] != picture.splats as usize)
            {
                return Err(CudaError::Usage(format!("picture {number} of the batch has another scene or size")));
            }
            let places = *picture;
            *picture = Picture::new(view.camera, &self.settings, view.background);
            (picture.splats, picture.count) = (places.splats, places.count);
            (picture.records, picture.tiles, picture.pixels) = (places.records, places.tiles, places.pixels);
        }
        self.pictures.write(&self.shapes)
    }

    /// Uses harmonics up to `degree` from now on. The others are not looked at, and their gradients mean nothing.
    ///
    /// # Errors
    /// [`CudaError::Usage`] when the splats have fewer or none; a kernel that does not compile.
    pub fn use_harmonics(&mut self, degree: u8) -> Result<(), CudaError> {
        if self.kind.sh_degree.is_none_or(|stored| stored < degree) {
            return Err(CudaError::Usage(format!(
                "harmonics of degree {degree} of splats with {:?}",
                self.kind.sh_degree
            )));
        }
        if self.degree != Some(degree) {
            self.degree = Some(degree);
            self.kernels =
                Kernels::new(&self.device, self.kind, self.degree, &self.settings, self.single, self.options)?;
        }
        Ok(())
    }

    /// Address of what the tile lists needed.
    pub(in super::super) fn stats(&self) -> u64 {
        self.counts.pointer()
    }

    /// Address of the pictures.
    pub(in super::super) fn pictures(&self) -> u64 {
        self.pictures.pointer()
    }

    pub(in super::super) fn rules(&self) -> Rules {
        self.rules
    }

    fn check(&self, splats: &Splats) -> Result<(), CudaError> {
        if splats.kind != self.kind || splats.scenes != self.scenes {
            return Err(CudaError::Usage("splats of another kind or number than the batch was made for".to_owned()));
        }
        Ok(())
    }

    fn blend_args(&self) -> BlendArgs {
        let or_null = |buffer: &Buffer<f32>| if buffer.is_empty() { 0 } else { buffer.pointer() };
        BlendArgs {
            pictures: self.pictures.pointer(),
            rules: self.rules,
            records: self.records.pointer(),
            normals: self.record_normals.pointer(),
            order: self.order.pointer(),
            works: self.works.pointer(),
            deepest: self.deepest.pointer(),
            touched: self.touched.pointer(),
            rgb: self.rgb.pointer(),
            alpha: self.alpha.pointer(),
            depth: or_null(&self.depth),
            normal: or_null(&self.normals),
            light: self.light.pointer(),
            last: self.last.pointer(),
        }
    }

    /// Enqueues drawing. When [`Self::needed`] is afterwards more than [`Self::room`], the pictures lack splats and the step
    /// has to be repeated after [`Self::reserve`].
    ///
    /// # Errors
    /// When the splats are not those the batch was made for, or the driver fails.
    pub fn forward(&mut self, splats: &Splats) -> Result<(), CudaError> {
        self.check(splats)?;
        for plane in [&mut self.rgb, &mut self.alpha, &mut self.depth, &mut self.normals, &mut self.light] {
            plane.poison()?;
        }
        self.counts.clear()?;
        let counts = self.counts.pointer() + HEADER as u64 * 4;
        let grid = [self.largest.div_ceil(BLOCK) * self.shapes.len(), 1];
        let project = ProjectArgs {
            scene: splats.pointers(),
            pictures: self.pictures.pointer(),
            rules: self.rules,
            records: self.records.pointer(),
            normals: self.record_normals.pointer(),
            reaches: self.reaches.pointer(),
            counts,
            picture_count: self.shapes.len() as u32,
            pad: 0,
        };
        let tiles = TilesArgs {
            pictures: self.pictures.pointer(),
            rules: self.rules,
            records: self.records.pointer(),
            reaches: self.reaches.pointer(),
            counts,
            tile_picture: self.tile_picture.pointer(),
            cursors: self.cursors.pointer(),
            tiles: self.tiles as u32,
            picture_count: self.shapes.len() as u32,
            capacity: self.order.len() as u32,
            pad: 0,
            stats: self.counts.pointer(),
            bins: self.counts.pointer() + 16,
            queue: self.queue.pointer(),
            works: self.works.pointer(),
            keys: self.keys.pointer(),
            spare: self.spare.pointer(),
            order: self.order.pointer(),
        };
        // SAFETY: the layouts are those of the kernels, and `new` sized every array by the same counts
        unsafe {
            self.device.launch(&self.kernels.project, grid, BLOCK as u32, &project)?;
            self.device.launch(&self.kernels.allocate, [self.tiles.div_ceil(256), 1], 256, &tiles)?;
            self.device.launch(&self.kernels.scatter, grid, BLOCK as u32, &tiles)?;
            self.device.launch(&self.kernels.sort, [self.tiles, 1], 128, &tiles)?;
            self.device.launch(&self.kernels.blend, [self.tiles, 1], 128, &self.blend_args())
        }
    }

    /// Waits, and says how many entries the tile lists of the last [`Self::forward`] needed.
    ///
    /// # Errors
    /// Whatever a kernel did wrong before.
    pub fn needed(&self) -> Result<Needed, CudaError> {
        Ok(Needed::from_words(&self.counts.read_first(HEADER)?))
    }

    /// Entries that the tile lists have room for.
    pub fn room(&self) -> usize {
        self.order.len()
    }

    /// Makes room for `entries` entries, and a quarter more. Captured graphs of this batch are void afterwards.
    ///
    /// # Errors
    /// [`CudaError::TooLarge`] beyond 3 · 2³⁰ entries; when memory runs out.
    pub fn reserve(&mut self, entries: u64) -> Result<(), CudaError> {
        if entries <= self.room() as u64 {
            return Ok(());
        }
        if entries > ENTRIES {
            return Err(CudaError::TooLarge { what: "entries of the tile lists", size: entries, limit: ENTRIES });
        }
        let size = (entries + entries / 4).min(ENTRIES) as usize;
        self.keys = Buffer::new(&self.device, size)?;
        self.spare = Buffer::new(&self.device, size)?;
        self.order = Buffer::new(&self.device, size)?;
        self.touched = Buffer::new(&self.device, size)?;
        Ok(())
    }

    /// [`Self::forward`], repeated with more room until everything fits. Waits.
    ///
    /// # Errors
    /// As [`Self::forward`] and [`Self::reserve`].
    pub fn draw(&mut self, splats: &Splats) -> Result<Needed, CudaError> {
        loop {
            self.forward(splats)?;
            let needed = self.needed()?;
            if needed.entries <= self.room() as u64 {
                return Ok(needed);
            }
            self.reserve(needed.entries)?;
        }
    }
}
