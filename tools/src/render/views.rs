//! Where the cameras stand, and how the pictures they take are called.

use std::{collections::HashSet, path::Path};

use anyhow::Result;
use gav_formats::{
    Avatar, Camera, Frame, Splats,
    cameras::{CameraOptions, View, read_cameras},
};
use gav_kernels::stage::{Direction, Subject};

use super::{
    CameraArguments,
    values::{NEAR, Size},
};
use crate::failure::{Failure, refuse};

/// Pixels of a side where nothing says otherwise.
const DEFAULT_SIDE: u32 = 512;
/// Pictures of a turn, for stills and for films.
const TURN: u32 = 24;
const FILM_TURN: u32 = 75;
/// Pictures and elevations of an orbit.
const ORBIT_TURN: u32 = 8;
const ORBIT_ELEVATIONS: [f64; 3] = [-20.0, 10.0, 40.0];
const TURNTABLE_ELEVATION: f64 = 10.0;
/// Pictures that fit a row of a sheet.
const LONGEST_ROW: usize = 16;
/// Degrees from the lower to the upper border.
const FIELD_OF_VIEW: f64 = 30.0;

/// The cameras that were asked for.
pub(super) struct Cameras {
    pub source: Source,
    size: Option<Size>,
    limit: Option<u32>,
    /// What was not honoured of a camera file.
    pub warnings: Vec<String>,
}

/// Where they come from.
pub(super) enum Source {
    /// Around each asset; degrees of azimuth and elevation.
    Around { directions: Vec<[f64; 2]>, fov: f64 },
    /// In each asset.
    Stored,
    /// In a file, in a world with these axes (those of the asset if `None`).
    File { views: Vec<View>, frame: Option<Frame> },
}

/// One picture to take.
pub(super) struct Shot {
    /// Name of its file, without ending.
    pub name: String,
    /// What sheets call it.
    pub label: String,
    pub camera: Camera,
    /// Depth before which nothing is drawn, in units of the asset: closer than usual for tiny ones.
    pub near: f64,
    /// Instant of the motion, when it plays.
    pub seconds: Option<f64>,
}

/// Spreads the shots over `times` of a motion: the first camera takes the first picture.
pub(super) fn played(shots: &[Shot], times: &[f64]) -> Vec<Shot> {
    let digits = digits(times.len());
    let shot = |(index, seconds): (usize, &f64)| {
        let camera = &shots[index * shots.len() / times.len()];
        Shot {
            name: format!("{index:0digits$}"),
            label: format!("{seconds:.2} s"),
            camera: camera.camera.clone(),
            near: camera.near,
            seconds: Some(*seconds),
        }
    };
    times.iter().enumerate().map(shot).collect()
}

impl Cameras {
    /// What the command line says. `single`: one still is to be made; `film`: a film is.
    ///
    /// # Errors
    /// A camera file that cannot be read or has no camera; options that do not go together.
    pub(super) fn new(arguments: &CameraArguments, single: bool, film: bool) -> Result<Self> {
        let front = single && arguments.frames.is_none_or(|n| n == 1);
        let which = arguments.cameras.as_deref().unwrap_or(if front { "front" } else { "turntable" });
        refuse_idle_options(arguments, which)?;
        let elevations = |default: &[f64]| match arguments.elevation.as_slice() {
            [] => default.to_vec(),
            given => given.to_vec(),
        };
        let turn = |frames: u32, elevations: Vec<f64>| {
            let step = 360.0 / f64::from(frames);
            let ring = |e: f64| (0..frames).map(move |k| [arguments.azimuth.unwrap_or(0.0) + f64::from(k) * step, e]);
            Source::Around {
                directions: elevations.into_iter().flat_map(ring).collect(),
                fov: arguments.fov.unwrap_or(FIELD_OF_VIEW),
            }
        };
        let mut warnings = Vec::new();
        let source = match which {
            "turntable" => turn(
                arguments.frames.unwrap_or(if film { FILM_TURN } else { TURN }),
                elevations(&[TURNTABLE_ELEVATION]),
            ),
            "orbit" => turn(arguments.frames.unwrap_or(ORBIT_TURN), elevations(&ORBIT_ELEVATIONS)),
            "front" => turn(1, elevations(&[0.0])),
            "stored" => Source::Stored,
            path => {
                let options = CameraOptions {
                    axes: arguments.camera_axes,
                    principal: arguments.principal_point.unwrap_or_default(),
                    ..CameraOptions::default()
                };
                let path = Path::new(path);
                if path.is_dir() || (path.extension().is_none() && !path.exists()) {
                    let message = format!("--cameras {}: no such cameras", path.display());
                    return Err(refuse(message, "turntable, orbit, front, stored, or a JSON file of cameras"));
                }
                let file = read_cameras(path, &options).map_err(|e| Failure::at(path, &e))?;
                if file.views.is_empty() {
                    return Err(refuse(format!("{}: no camera in it", path.display()), "give another file"));
                }
                if let Some(e) = file.views.iter().find_map(|view| resized(&view.camera, arguments.size).err()) {
                    return Err(refuse(e, "one number is the longer side, whatever the shape"));
                }
                warnings = file.warnings;
                Source::File { views: file.views, frame: arguments.cameras_frame.or(file.frame) }
            }
        };
        let limit = match source {
            Source::Around { .. } => None,
            _ => arguments.frames,
        };
        Ok(Self { source, size: arguments.size, limit, warnings })
    }

    /// How many pictures there will be of each asset, when that is known before it is read.
    pub(super) fn count(&self) -> Option<usize> {
        match &self.source {
            Source::Around { directions, .. } => Some(directions.len()),
            Source::File { views, .. } => Some(chosen(views.len(), self.limit).count()),
            Source::Stored => None,
        }
    }

    /// Is the picture of an asset a single one, without a folder of its own?
    pub(super) fn is_single(&self) -> bool {
        matches!(&self.source, Source::Around { directions, .. } if directions.len() == 1)
    }

    /// Pictures in a row of a sheet: a turn, where there are several that are not too long.
    pub(super) fn columns(&self) -> Option<usize> {
        let Source::Around { directions, .. } = &self.source else { return None };
        let turn = directions.iter().take_while(|d| d[1] == directions[0][1]).count();
        (turn < directions.len() && (2..=LONGEST_ROW).contains(&turn)).then_some(turn)
    }

    /// Everything that decides what the cameras see, for the record of what was done.
    pub(super) fn fingerprint(&self) -> String {
        let source = match &self.source {
            Source::Around { directions, fov } => format!("around {directions:?} {fov}"),
            Source::Stored => "stored".to_owned(),
            Source::File { views, frame } => {
                let cameras: Vec<&Camera> = views.iter().map(|v| &v.camera).collect();
                format!("file {frame:?} {}", blake3::hash(format!("{cameras:?}").as_bytes()).to_hex())
            }
        };
        format!("{source} size {:?} limit {:?}", self.size, self.limit)
    }

    /// The pictures to take of `avatar`, which shows `splats`.
    ///
    /// # Errors
    /// Nothing to look at, no stored camera, a size of another shape than the cameras'.
    pub(super) fn shots(&self, avatar: &Avatar, splats: &Splats) -> Result<Vec<Shot>, String> {
        match &self.source {
            Source::Around { directions, fov } => {
                let subject = Subject::of(splats, avatar.frame)
                    .ok_or("no splat has a finite position, so there is nothing to look at")?;
                let size = match self.size {
                    None => [DEFAULT_SIDE; 2],
                    Some(Size::Longest(side)) => [side; 2],
                    Some(Size::Exactly(size)) => size,
                };
                let places: Vec<Direction> = directions
                    .iter()
                    .map(|[a, e]| Direction { azimuth: a.to_radians(), elevation: e.to_radians() })
                    .collect();
                let cameras = subject.cameras(&places, fov.to_radians(), size, avatar.frame);
                let near = NEAR * subject.radius.max(subject.half_height);
                let digits = digits(cameras.len());
                let shot = |(index, (camera, [azimuth, elevation])): (usize, (Camera, &[f64; 2]))| Shot {
                    name: format!("{index:0digits$}"),
                    label: format!("{:.0}° {:+.0}°", azimuth.rem_euclid(360.0), elevation),
                    camera,
                    near,
                    seconds: None,
                };
                Ok(cameras.into_iter().zip(directions).enumerate().map(shot).collect())
            }
            Source::Stored if avatar.cameras.is_empty() => Err("no camera is stored in it".to_owned()),
            Source::Stored => self.taken(avatar.cameras.clone()),
            Source::File { views, frame } => {
                let file_from_avatar = frame.unwrap_or(avatar.frame).from_frame(avatar.frame);
                let turned = |view: &View| {
                    let camera_from_world = view.camera.camera_from_world.map(|row| {
                        let turned: [f64; 3] =
                            std::array::from_fn(|c| (0..3).map(|k| row[k] * file_from_avatar[k][c]).sum());
                        [turned[0], turned[1], turned[2], row[3]]
                    });
                    Camera { camera_from_world, ..view.camera.clone() }
                };
                self.taken(views.iter().map(turned).collect())
            }
        }
    }

    /// The chosen ones of given cameras, at the size that was asked for.
    fn taken(&self, cameras: Vec<Camera>) -> Result<Vec<Shot>, String> {
        let names = names(&cameras);
        let digits = digits(cameras.len());
        chosen(cameras.len(), self.limit)
            .map(|index| {
                let camera = &cameras[index];
                let label = if camera.name.is_empty() { format!("{index:0digits$}") } else { camera.name.clone() };
                let (name, camera) = (names[index].clone(), resized(camera, self.size)?);
                Ok(Shot { name, label, camera, near: f64::INFINITY, seconds: None })
            })
            .collect()
    }
}

/// Refuses options that would change nothing with these cameras.
fn refuse_idle_options(arguments: &CameraArguments, which: &str) -> Result<()> {
    let around = ["turntable", "orbit", "front"].contains(&which);
    let file = !around && which != "stored";
    let given = [
        ("--frames", arguments.frames.is_some_and(|n| n > 1), which != "front"),
        ("--elevation", !arguments.elevation.is_empty(), around),
        ("--azimuth", arguments.azimuth.is_some(), around),
        ("--fov", arguments.fov.is_some(), around),
        ("--cameras-frame", arguments.cameras_frame.is_some(), file),
        ("--camera-axes", arguments.camera_axes.is_some(), file),
        ("--principal-point", arguments.principal_point.is_some(), file),
    ];
    match given.iter().find(|(_, given, used)| *given && !used) {
        Some((option, ..)) => {
            let hint = "leave it out, or choose other --cameras";
            Err(refuse(format!("{option} has no meaning with --cameras {which}"), hint))
        }
        None => Ok(()),
    }
}

/// Which of `count` things, when only `limit` are wanted: evenly spread, the first among them.
fn chosen(count: usize, limit: Option<u32>) -> impl Iterator<Item = usize> {
    let wanted = limit.map_or(count, |limit| count.min(limit as usize));
    (0..wanted).map(move |k| k * count / wanted)
}

fn digits(count: usize) -> usize {
    count.saturating_sub(1).to_string().len().max(3)
}

/// File names of pictures: those of the cameras, made safe; all get their number in front when two are the same.
fn names(cameras: &[Camera]) -> Vec<String> {
    let safe = |name: &str| {
        let letter = |c: char| if c.is_control() || "/\\:*?\"<>|".contains(c) { '_' } else { c };
        let name: String = name.chars().map(letter).take(100).collect();
        name.trim_matches(['.', ' ']).to_owned()
    };
    let plain: Vec<String> = cameras.iter().map(|c| safe(&c.name)).collect();
    // file systems that do not tell capitals apart would let one picture replace another
    let different: HashSet<String> = plain.iter().map(|n| n.to_lowercase()).collect();
    if different.len() == plain.len() && plain.iter().all(|n| !n.is_empty()) {
        return plain;
    }
    let digits = digits(cameras.len());
    let numbered = |(index, name): (usize, &String)| match name.as_str() {
        "" => format!("{index:0digits$}"),
        name => format!("{index:0digits$}_{name}"),
    };
    plain.iter().enumerate().map(numbered).collect()
}

/// The same view in another number of pixels.
fn resized(camera: &Camera, size: Option<Size>) -> Result<Camera, String> {
    let own = [camera.width, camera.height];
    let [width, height] = match size {
        None => own,
        Some(Size::Exactly(size)) => size,
        Some(Size::Longest(side)) => {
            let longest = f64::from(own[0].max(own[1]));
            own.map(|v| ((f64::from(v) * f64::from(side) / longest).round() as u32).max(1))
        }
    };
    let factor = [f64::from(width) / f64::from(own[0]), f64::from(height) / f64::from(own[1])];
    // half a pixel of rounding at either side is no distortion
    if (factor[0] / factor[1] - 1.0).abs() > 1.0 / f64::from(width.min(height)) {
        return Err(format!("--size {width}x{height} has another shape than the camera's {} x {}", own[0], own[1]));
    }
    Ok(Camera {
        width,
        height,
        focal: std::array::from_fn(|k| camera.focal[k] * factor[k]),
        principal: std::array::from_fn(|k| camera.principal[k] * factor[k]),
        ..camera.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn camera(name: &str) -> Camera {
        Camera {
            name: name.to_owned(),
            width: 550,
            height: 802,
            focal: [2000.0, 2002.0],
            principal: [270.0, 400.0],
            ..Camera::default()
        }
    }

    #[test]
    fn sizes_scale_the_intrinsics_and_keep_the_shape() {
        let half = resized(&camera(""), Some(Size::Exactly([275, 401]))).unwrap();
        assert_eq!((half.focal, half.principal), ([1000.0, 1001.0], [135.0, 200.0]));
        let small = resized(&camera(""), Some(Size::Longest(401))).unwrap();
        assert_eq!(small, half);
        assert!(resized(&camera(""), Some(Size::Exactly([400, 400]))).is_err());
        assert_eq!(resized(&camera(""), None).unwrap(), camera(""));
    }

    #[test]
    fn names_are_safe_and_different() {
        let of = |list: &[&str]| names(&list.iter().map(|n| camera(n)).collect::<Vec<_>>());
        assert_eq!(of(&["a", "b/../c", "d?"]), ["a", "b_.._c", "d_"]);
        assert_eq!(of(&["a", "A"]), ["000_a", "001_A"]);
        assert_eq!(of(&["", "..", "x"]), ["000", "001", "002_x"]);
    }

    #[test]
    fn chosen_views_are_spread() {
        assert_eq!(chosen(10, Some(3)).collect::<Vec<_>>(), [0, 3, 6]);
        assert_eq!(chosen(3, Some(9)).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(chosen(0, None).count(), 0);
    }
}
