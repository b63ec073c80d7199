//! What is compared with what: pictures by name, assets with a data set, assets with an asset.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use anyhow::Result;
use gav_formats::{
    Camera, Error, Frame, Source,
    cameras::{CameraOptions, View, read_cameras},
    sniff,
};
use gav_kernels::orbit::{IMAGE_SIZE, orbit_cameras};

use super::{
    Arguments,
    decode::Picture,
    draw::Asset,
    posing::Posing,
    reenact,
    sets::{Origin, Set, holds_pictures},
};
use crate::{
    batch::{place::slashes, record::output_state},
    device::Painter,
    failure::{Failure, refuse},
    inputs,
    reading::{asset_folder, load},
};

/// Camera files that are looked for in the folder of a data set, in this order.
const CAMERA_FILES: [&str; 3] = ["transforms_test.json", "transforms.json", "cameras.json"];

/// What a test is compared with.
#[derive(Clone)]
pub(crate) enum Reference {
    Picture(Origin),
    /// A view of the reference asset.
    Drawn(Arc<ReferenceAsset>, usize),
}

/// The asset that others are compared with.
pub(crate) struct ReferenceAsset {
    pub path: PathBuf,
    pub hash: String,
    asset: Asset,
    cameras: Vec<Camera>,
    /// Its views, each drawn once.
    pictures: Vec<OnceLock<Result<Picture, Failure>>>,
}

impl ReferenceAsset {
    /// The picture of one view.
    pub(crate) fn picture(&self, view: usize, background: [f32; 3], painter: &Painter) -> Result<Picture, Failure> {
        let draw = || self.asset.draw(&self.path, &self.cameras[view], background, painter);
        self.pictures[view].get_or_init(draw).clone()
    }
}

/// Two pictures to compare.
pub(crate) struct Pair {
    /// Unique among all pairs.
    pub name: String,
    pub test: Test,
    pub reference: Reference,
    pub mask: Option<Origin>,
}

/// What is judged.
#[derive(Clone)]
pub(crate) enum Test {
    Picture(Origin),
    /// The asset of the unit, from here.
    Drawn(Box<Camera>),
    /// The same, posed.
    Posed(Box<Camera>, Posing),
}

/// What one worker takes at a time: a pair of pictures, or an asset with all its views.
pub(crate) struct Unit {
    /// What the progress shows: the picture or the asset.
    pub path: PathBuf,
    /// Folder of the picture, or name of the asset.
    pub group: String,
    pub pairs: Vec<Pair>,
}

/// Everything to be done.
pub(crate) struct Plan {
    pub units: Vec<Unit>,
    /// What cannot be compared, known before the work begins.
    pub failures: Vec<Failure>,
    pub warnings: Vec<String>,
    /// What is compared, in a few words, for the report.
    pub title: String,
    /// What groups are, in the singular: `folder` or `asset`.
    pub group_word: &'static str,
    /// Axes of the cameras, when they are not those of the assets.
    pub frame: Option<Frame>,
}

impl Plan {
    /// No pairs: sets are compared as a whole.
    pub(crate) fn none(arguments: &Arguments) -> Self {
        let names: Vec<String> =
            arguments.tests.iter().chain(&arguments.reference).map(|path| path.display().to_string()).collect();
        let (units, failures, warnings) = (Vec::new(), Vec::new(), Vec::new());
        Self { units, failures, warnings, title: names.join(" against "), group_word: "folder", frame: None }
    }
}

/// Finds the pairs.
///
/// # Errors
/// Paths that are not there, folders without pictures or assets, sides that cannot be compared.
pub(crate) fn plan(arguments: &Arguments) -> Result<Plan> {
    let Some(reference) = &arguments.reference else {
        return Err(refuse("nothing to compare with", "name it with --reference"));
    };
    fs::metadata(reference).map_err(|e| Failure::at(reference, &Error::io(reference, e)))?;
    if !arguments.split.is_empty() {
        return assets_with_capture(arguments, reference);
    }
    let tests_are_pictures = arguments.tests.iter().all(|path| !is_asset(path) && holds_pictures(path));
    let json = reference.extension().is_some_and(|e| e.eq_ignore_ascii_case("json"));
    if is_asset(reference) {
        return assets_with_asset(arguments, reference);
    }
    if reference.is_file() && json {
        return assets_with_data_set(arguments, reference);
    }
    let cameras = CAMERA_FILES.iter().map(|name| reference.join(name)).find(|path| path.is_file());
    if let Some(cameras) = cameras.filter(|_| !tests_are_pictures) {
        return assets_with_data_set(arguments, &cameras);
    }
    let [test] = &arguments.tests[..] else {
        return Err(refuse(
            "several tests, but the reference is a set of pictures",
            "give one folder of pictures, or a camera file or an asset as the reference",
        ));
    };
    if is_asset(test) {
        let message = format!("{} is an asset, {} holds pictures without cameras", test.display(), reference.display());
        return Err(refuse(message, "give the camera file of the data set (transforms.json) as the reference"));
    }
    pictures_with_pictures(arguments, test, reference)
}

/// A file or folder that is one asset.
fn is_asset(path: &Path) -> bool {
    let json = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("json"));
    asset_folder(path).is_some()
        || (path.is_file() && !json && Source::open(path).is_ok_and(|source| sniff(&source).is_ok()))
}

fn pictures_with_pictures(arguments: &Arguments, test: &Path, against: &Path) -> Result<Plan> {
    let (mut tests, mut references) = (Set::open(test)?, Set::open(against)?);
    let mut masks = arguments.masks.as_deref().map(Set::open).transpose()?;
    let mut failures = std::mem::take(&mut tests.failures);
    failures.append(&mut references.failures);
    failures.append(&mut masks.as_mut().map(|m| std::mem::take(&mut m.failures)).unwrap_or_default());
    // two named files belong together whatever they are called
    let single = test.is_file() && against.is_file() && tests.pictures.len() == 1;
    if let (true, Some((name, _)), [origin]) =
        (single, tests.pictures.first_key_value(), &references.pictures.values().cloned().collect::<Vec<_>>()[..])
    {
        references.pictures = [(name.clone(), origin.clone())].into();
    }
    let mut units = Vec::new();
    for (name, origin) in &tests.pictures {
        let path = origin.path();
        let Some(reference) = references.pictures.remove(name) else {
            let message = format!("{}: no reference called `{name}` in {}", path.display(), against.display());
            let hint = "pictures are matched by their path below the folder, without the ending".to_owned();
            failures.push(Failure { code: "NO_REFERENCE", message, hint: Some(hint) });
            continue;
        };
        let mask = match masks.as_ref().map(|m| m.pictures.get(name)) {
            None => None,
            Some(Some(mask)) => Some(mask.clone()),
            Some(None) => {
                let message = format!("{}: no mask called `{name}`", path.display());
                failures.push(Failure { code: "NO_MASK", message, hint: None });
                continue;
            }
        };
        let group = name.rsplit_once('/').map_or(String::new(), |(folder, _)| folder.to_owned());
        let pair = Pair {
            name: name.clone(),
            test: Test::Picture(origin.clone()),
            reference: Reference::Picture(reference),
            mask,
        };
        units.push(Unit { path, group, pairs: vec![pair] });
    }
    if !arguments.subset {
        failures.extend(references.pictures.iter().map(|(name, origin)| Failure {
            code: "NO_RENDER",
            message: format!("{}: no picture called `{name}` in {}", origin.path().display(), test.display()),
            hint: Some("--subset scores those that are there".to_owned()),
        }));
    }
    let title = format!("{} against {}", test.display(), against.display());
    Ok(Plan { units, failures, warnings: Vec::new(), title, group_word: "folder", frame: None })
}

/// The assets with unique names.
pub(super) fn assets(arguments: &Arguments) -> Result<Vec<(String, PathBuf)>> {
    let inputs = inputs::expand(&arguments.tests, None)?;
    let mut named: Vec<(String, PathBuf)> = inputs.into_iter().map(|i| (slashes(&i.relative), i.path)).collect();
    for index in 0..named.len() {
        // two files of the same name from different folders
        if (0..index).any(|earlier| named[earlier].0 == named[index].0) {
            named[index].0 = slashes(&named[index].1);
        }
    }
    Ok(named)
}

fn assets_with_asset(arguments: &Arguments, path: &Path) -> Result<Plan> {
    refuse_masks(arguments)?;
    let avatar = load(path, &arguments.read.options())?.avatar;
    let frame = avatar.frame;
    let cameras = orbit_cameras(&avatar, IMAGE_SIZE).map_err(|e| Failure::at(path, &e))?;
    let asset = Asset::of(avatar, None).map_err(|e| Failure::at(path, &e))?;
    let reference = Arc::new(ReferenceAsset {
        path: path.to_path_buf(),
        hash: output_state(path)?.output_hash,
        asset,
        pictures: cameras.iter().map(|_| OnceLock::new()).collect(),
        cameras: cameras.clone(),
    });
    let units = assets(arguments)?.into_iter().map(|(group, path)| {
        let pairs = cameras.iter().enumerate().map(|(index, camera)| Pair {
            name: format!("{group}/{}", camera.name),
            test: Test::Drawn(Box::new(camera.clone())),
            reference: Reference::Drawn(reference.clone(), index),
            mask: None,
        });
        Unit { path, pairs: pairs.collect(), group }
    });
    let title = format!("Assets against {}, six orbit views of {IMAGE_SIZE} × {IMAGE_SIZE}", path.display());
    let units = units.collect();
    Ok(Plan { units, failures: Vec::new(), warnings: Vec::new(), title, group_word: "asset", frame: Some(frame) })
}

fn assets_with_data_set(arguments: &Arguments, cameras: &Path) -> Result<Plan> {
    let options = CameraOptions {
        limits: arguments.read.options().limits,
        axes: arguments.camera_axes,
        principal: arguments.principal_point.unwrap_or_default(),
    };
    let file = read_cameras(cameras, &options).map_err(|e| Failure::at(cameras, &e))?;
    let masks = arguments.masks.as_deref().map(Set::open).transpose()?;
    let assets = assets(arguments)?;
    let mut failures = Vec::new();
    let mut views = Vec::new();
    for (index, view) in file.views.into_iter().enumerate() {
        let name = if view.camera.name.is_empty() { format!("view {index}") } else { view.camera.name.clone() };
        let Some(image) = view.image.filter(|path| fs::metadata(path).is_ok_and(|m| m.is_file())) else {
            let message = format!("{}: the picture of view `{name}` is not there", cameras.display());
            failures.push(Failure { code: "NO_REFERENCE", message, hint: None });
            continue;
        };
        let mask = match &masks {
            None if arguments.own_masks => view.mask.map(Origin::File),
            None => None,
            Some(set) => set.pictures.get(&name).cloned(),
        };
        if mask.is_none() && (masks.is_some() || arguments.own_masks) {
            let message = format!("{}: no mask for view `{name}`", cameras.display());
            failures.push(Failure { code: "NO_MASK", message, hint: None });
            continue;
        }
        views.push((name, view.camera, Origin::File(image), mask));
    }
    let units = assets.into_iter().map(|(group, path)| {
        let pairs = views.iter().map(|(name, camera, image, mask)| Pair {
            name: format!("{group}/{name}"),
            test: Test::Drawn(Box::new(camera.clone())),
            reference: Reference::Picture(image.clone()),
            mask: mask.clone(),
        });
        Unit { path, pairs: pairs.collect(), group }
    });
    let title = format!("Assets against {}, {} views", cameras.display(), views.len());
    let units = units.collect();
    let frame = arguments.cameras_frame.or(file.frame);
    Ok(Plan { units, failures, warnings: file.warnings, title, group_word: "asset", frame })
}

/// Avatars posed as the views of a capture say.
fn assets_with_capture(arguments: &Arguments, folder: &Path) -> Result<Plan> {
    let capture = reenact::open(arguments, folder)?;
    let masks = arguments.masks.as_deref().map(Set::open).transpose()?;
    let (mut failures, mut views) = (Vec::new(), Vec::new());
    for part in &arguments.split {
        let chosen = capture.views.iter().filter(|(s, view)| *s == part.split() && arguments.takes_camera(view));
        let mut chosen: Vec<&View> = chosen.map(|(_, view)| view).collect();
        if chosen.is_empty() {
            return Err(refuse(
                format!("{}: no view of {}", folder.display(), part.name()),
                "`gav data check` says which there are",
            ));
        }
        chosen.sort_by_key(|view| (view.timestep, view.camera_index));
        for view in chosen {
            let name = &view.camera.name;
            let mut fail = |code, message: &str| {
                let message = format!("{}: {message} view `{name}`", folder.display());
                failures.push(Failure { code, message, hint: None });
            };
            let Some(image) = view.image.clone().filter(|path| path.is_file()) else {
                fail("NO_REFERENCE", "no picture of");
                continue;
            };
            let Some(posing) = Posing::of(&capture, view, arguments.posed_by) else {
                fail("NO_POSE", "neither tracked parameters nor a time step of");
                continue;
            };
            let mask = match &masks {
                None => view.mask.clone().filter(|_| arguments.own_masks).map(Origin::File),
                Some(set) => set.pictures.get(name).cloned(),
            };
            if mask.is_none() && (masks.is_some() || arguments.own_masks) {
                fail("NO_MASK", "no mask of");
                continue;
            }
            views.push((part, view, Origin::File(image), posing, mask));
        }
    }
    let mut units = Vec::new();
    for (group, path) in assets(arguments)? {
        for part in &arguments.split {
            // several splits are several groups of one asset
            let group = if arguments.split.len() > 1 { format!("{group} {}", part.name()) } else { group.clone() };
            let pairs = views.iter().filter(|(of, ..)| *of == part).map(|(_, view, image, posing, mask)| Pair {
                name: format!("{group}/{}", view.camera.name),
                test: Test::Posed(Box::new(view.camera.clone()), posing.clone()),
                reference: Reference::Picture(image.clone()),
                mask: mask.clone(),
            });
            units.push(Unit { path: path.clone(), pairs: pairs.collect(), group });
        }
    }
    let parts: Vec<&str> = arguments.split.iter().map(|part| part.name()).collect();
    let title = format!("Avatars against {}, {}: {} views", folder.display(), parts.join(" and "), views.len());
    let frame = arguments.cameras_frame;
    Ok(Plan { units, failures, warnings: capture.warnings, title, group_word: "asset", frame })
}

fn refuse_masks(arguments: &Arguments) -> Result<()> {
    if arguments.masks.is_some() || arguments.own_masks {
        return Err(refuse("masks belong to pictures, and the reference is an asset", "leave --masks away"));
    }
    Ok(())
}
