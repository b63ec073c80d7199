//! Captures of one layout as those of another.
//!
//! A conversion is planned first ([`Conversion::new`]), then written one time step at a time, in any order and by any number of threads
//! ([`Conversion::write`]); the camera files come last and name the steps that were written ([`Conversion::finish`]). Every file is written
//! under another name and renamed, so a step whose files are there is done.
//!
//! | from | to | what is lost |
//! | --- | --- | --- |
//! | VHAP | STGA | parameters: the meshes hold what they say |
//! | VHAP | INSTA | all cameras but one, the offset of the subject, rotation of the neck against the trunk |
//! | INSTA | VHAP | eyelids |

mod cameras;
mod monocular;
mod stga;
mod vhap;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use gav_formats::{
    Camera,
    cameras::View,
    sink::{write_file_atomically, write_file_renamed},
};

pub(crate) use cameras::stga_frame;

use super::{Capture, Layout, SelectionOptions, Split, insta, parameters};
use crate::{Error, Result, body::Body};

/// Layouts that are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Meshes, lists of faces, points and pictures of all cameras.
    Stga,
    /// Checkpoints of a tracker, meshes and pictures of one camera.
    Insta,
    /// Files of parameters and pictures of one camera, from INSTA.
    Vhap,
}

/// How captures are converted.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ConvertOptions {
    /// Which faces STGA trains.
    pub selection: SelectionOptions,
    /// The camera that INSTA takes; need not be said when there is one.
    pub camera: Option<u32>,
    /// Pictures are hard links to those of the source instead of copies.
    pub link: bool,
}

/// A time step of a conversion.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Number in the capture.
    pub timestep: u32,
    /// Number in the names of the files that are written.
    pub number: u32,
    /// Its tracked parameters.
    pub tracked: PathBuf,
    /// Its views, by their place in [`Capture::views`].
    views: Vec<usize>,
}

/// What became of a time step.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Written {
    /// Files below the folder of the output.
    pub files: Vec<String>,
    /// Share of the faces that were selected, for STGA.
    pub selected: Option<f64>,
}

/// What a conversion to VHAP knows of INSTA's first frame.
struct First {
    /// Where its camera is.
    origin: [f32; 3],
    /// The camera that stands still.
    camera: Camera,
}

/// A planned conversion.
pub struct Conversion<'a> {
    capture: &'a Capture,
    body: &'a Body<f32>,
    out: PathBuf,
    target: Target,
    options: ConvertOptions,
    steps: Vec<Step>,
    first: Option<First>,
    /// What the result will not hold.
    pub warnings: Vec<String>,
}

impl<'a> Conversion<'a> {
    /// Plans the conversion of `capture`, which was tracked with `body`, into the folder `out`.
    ///
    /// # Errors
    /// Captures without tracked parameters or time steps, time steps with several files of parameters; cameras that are not there; an
    /// `out` that holds the capture or any of its files.
    pub fn new(
        capture: &'a Capture,
        body: &'a Body<f32>,
        out: &Path,
        target: Target,
        options: ConvertOptions,
    ) -> Result<Self> {
        let mut plan = Self {
            capture,
            body,
            out: out.to_owned(),
            target,
            options,
            steps: Vec::new(),
            first: None,
            warnings: Vec::new(),
        };
        match target {
            Target::Vhap => plan.plan_vhap()?,
            Target::Stga => {
                plan.steps = plan.tracked_steps(None)?;
                if plan.steps.first().is_some_and(|s| s.timestep != 0) {
                    plan.warnings.push("there is no time step 0, which the loader of STGA's authors needs".to_owned());
                }
            }
            Target::Insta => {
                plan.steps = plan.tracked_steps(Some(cameras::the_one(capture, plan.options.camera)?))?;
                // times that are tested come last, for there the trainers cut them off
                plan.steps.sort_by_key(|step| (capture.views[step.views[0]].0 == Split::Test, step.timestep));
                for (number, step) in plan.steps.iter_mut().enumerate() {
                    step.number = number as u32;
                    step.views.truncate(1);
                }
                plan.warnings
                    .push("checkpoints hold no offset of the subject, and the neck turns with the head".to_owned());
            }
        }
        plan.keeps_sources()?;
        Ok(plan)
    }

    /// Refuses an output that holds what is converted: files of other time steps may have the names of new ones.
    fn keeps_sources(&self) -> Result<()> {
        let Ok(out) = self.out.canonicalize() else { return Ok(()) };
        let sources = self.steps.iter().flat_map(|step| self.sources(step));
        let folders: BTreeSet<&Path> =
            sources.filter_map(Path::parent).chain([self.capture.folder.as_path()]).collect();
        for folder in folders {
            let held = folder.canonicalize().is_ok_and(|path| path == out || path.starts_with(&out));
            if held {
                let (a, b) = (self.out.display(), folder.display());
                return Err(Error::usage(format!("{a}: the output would write over the capture itself, {b}")));
            }
        }
        Ok(())
    }

    /// The time steps of VHAP's layout that `camera`, or any, saw.
    fn tracked_steps(&self, camera: Option<u32>) -> Result<Vec<Step>> {
        let (capture, folder) = (self.capture, self.capture.folder.display());
        if capture.layout != Layout::Vhap {
            let name = capture.layout.name();
            return Err(Error::usage(format!("{folder}: {name} has no tracked parameters to pose a mesh with")));
        }
        let mut steps: BTreeMap<u32, Step> = BTreeMap::new();
        for (index, (_, view)) in capture.views.iter().enumerate() {
            if camera.is_some() && view.camera_index != camera {
                continue;
            }
            let (Some(timestep), Some(tracked)) = (view.timestep, view.parameters.clone()) else {
                let name = &view.camera.name;
                return Err(Error::usage(format!("{folder}: view `{name}` has no time step or no tracked parameters")));
            };
            let fresh = || Step { timestep, number: timestep, tracked: tracked.clone(), views: Vec::new() };
            let step = steps.entry(timestep).or_insert_with(fresh);
            if step.tracked != tracked {
                let (a, b) = (step.tracked.display(), tracked.display());
                return Err(Error::usage(format!("time step {timestep} is tracked by {a} and by {b}")));
            }
            step.views.push(index);
        }
        Ok(steps.into_values().collect())
    }

    /// The time steps, in the order of the output.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The files that a time step is made from.
    pub fn sources<'s>(&'s self, step: &'s Step) -> Vec<&'s Path> {
        let views = step.views.iter().map(|index| &self.view(*index).1);
        let pictures = views.flat_map(|v| v.image.iter().chain(&v.mask));
        pictures.chain([&step.tracked]).map(PathBuf::as_path).collect()
    }

    /// Writes what belongs to one time step.
    ///
    /// # Errors
    /// Parameters that cannot be read or do not fit the body, pictures that are missing, damaged or of another size than their camera, and what
    /// cannot be written.
    pub fn write(&self, step: &Step) -> Result<Written> {
        let pose = match &self.first {
            Some(first) => insta::pose(&step.tracked, self.body, first.origin)?,
            None => parameters(&step.tracked)?,
        };
        if let Some((name, _)) = pose.iter().find(|(_, values)| !values.iter().all(|v| v.is_finite())) {
            return Err(Error::usage(format!("{}: `{name}` has a number that is not finite", step.tracked.display())));
        }
        match self.target {
            Target::Stga => self.write_stga(step, &pose),
            Target::Insta => self.write_insta(step, &pose),
            Target::Vhap => self.write_vhap(step, &pose),
        }
    }

    /// Writes the camera files, and what belongs to all time steps, for those of the numbers `done`.
    ///
    /// # Errors
    /// No time step is done; what cannot be written.
    pub fn finish(&self, done: &BTreeSet<u32>) -> Result<()> {
        let steps: Vec<&Step> = self.steps.iter().filter(|step| done.contains(&step.number)).collect();
        let Some(first) = steps.first() else { return Err(Error::usage("no time step could be converted")) };
        match self.target {
            Target::Stga => self.finish_stga(&steps, &parameters(&first.tracked)?),
            Target::Insta => self.finish_insta(&steps, &parameters(&first.tracked)?),
            Target::Vhap => self.finish_vhap(&steps),
        }
    }

    fn view(&self, index: usize) -> &(Split, View) {
        &self.capture.views[index]
    }

    /// Writes a file of one time step.
    fn put(&self, written: &mut Written, name: String, bytes: &[u8]) -> Result<()> {
        write_file_renamed(&self.out.join(&name), |sink| Ok(sink.write_all(bytes)?))?;
        written.files.push(name);
        Ok(())
    }

    /// Writes a file that belongs to all of them.
    fn put_last(&self, name: &str, bytes: &[u8]) -> Result<()> {
        Ok(write_file_atomically(&self.out.join(name), |sink| Ok(sink.write_all(bytes)?))?)
    }

    /// Links or copies a picture as it is, after a look at its size.
    fn place(&self, written: &mut Written, name: String, from: &Path, view: &View) -> Result<()> {
        let refused = |code, message: String| Error::Picture {
            path: from.to_owned(),
            source: gav_formats::Error::format("picture", code, 0, message),
        };
        let failed = |e: io::Error| Error::Picture { path: from.to_owned(), source: gav_formats::Error::io(from, e) };
        fs::metadata(from).map_err(failed)?;
        let size = imagesize::size(from).map_err(|e| refused("CORRUPT", e.to_string()))?;
        let camera = [view.camera.width as usize, view.camera.height as usize];
        if [size.width, size.height] != camera {
            let [w, h] = camera;
            return Err(refused("SIZE", format!("{} × {} pixels, {w} × {h} by its camera", size.width, size.height)));
        }
        let to = self.out.join(&name);
        if self.options.link {
            let parent = to.parent().unwrap_or(&self.out);
            fs::create_dir_all(parent).map_err(|e| gav_formats::Error::io(parent, e))?;
            match fs::remove_file(&to) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(gav_formats::Error::io(&to, e).into()),
                _ => fs::hard_link(from, &to).map_err(|e| gav_formats::Error::io(&to, e))?,
            }
        } else {
            let mut file = fs::File::open(from).map_err(failed)?;
            write_file_renamed(&to, |sink| Ok(io::copy(&mut file, sink).map(|_| ())?))?;
        }
        written.files.push(name);
        Ok(())
    }
}

/// The ending of a picture, in lower case; `png` when it has none.
fn ending(path: &Path) -> String {
    path.extension().map_or_else(|| "png".to_owned(), |e| e.to_string_lossy().to_ascii_lowercase())
}
