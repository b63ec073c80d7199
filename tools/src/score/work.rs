//! Scores every pair: workers decode, draw and measure; what was scored before comes from the cache.

use std::{
    cell::OnceCell,
    path::{Path, PathBuf},
};

use gav_formats::{Avatar, Camera, Frame, Limits, ReadOptions};

use super::{
    Arguments,
    cache::{Cache, Known},
    decode::{Picture, decode},
    draw::Asset,
    metric::{DEFINITIONS, Metric},
    networks::Networks,
    plan::{Pair, Plan, Reference, Test, Unit},
    posing::Posable,
    sets::Origin,
    tables::write,
};
use crate::{
    batch::{self, bars::Bars, processors, record::output_state},
    device::{Painter, PairOnDevice},
    failure::Failure,
    pictures::still::rgb_png,
    reading::load,
};

/// A pair that was scored.
pub(crate) struct Row {
    /// Index of the unit and of the pair in it.
    pub place: [usize; 2],
    pub name: String,
    pub group: String,
    pub width: usize,
    pub height: usize,
    /// Number of pixels, or the sum of the mask.
    pub pixels: f64,
    /// In the order of the measures.
    pub values: Vec<f64>,
    pub cached: bool,
}

/// A pair that was not.
pub(crate) struct Fault {
    /// Empty when it concerns no single pair.
    pub name: String,
    pub group: String,
    pub failure: Failure,
}

/// What became of all pairs.
pub(crate) struct Outcome {
    /// In the order of the plan.
    pub rows: Vec<Row>,
    pub faults: Vec<Fault>,
}

/// What every worker knows.
pub(crate) struct Context<'a> {
    pub metrics: &'a [Metric],
    pub background: [f32; 3],
    pub options: ReadOptions,
    pub plan: &'a Plan,
    pub cache: Cache,
    pub networks: Networks,
    /// Draws assets.
    pub painter: Painter,
    /// Where pictures of assets are written.
    pub renders: Option<PathBuf>,
}

/// Two pictures of equal size and what of them counts.
pub(crate) struct Loaded {
    pub test: Picture,
    pub reference: Picture,
    pub mask: Option<Vec<f32>>,
    /// Both on a device, when there is no mask.
    pub on_device: Option<PairOnDevice>,
}

/// The asset of a unit, read when it is first needed: at rest, or so that it can be posed.
#[derive(Default)]
pub(crate) struct Lazy<'a> {
    rest: OnceCell<Result<Asset, Failure>>,
    posable: OnceCell<Result<Posable<'a>, Failure>>,
}

/// What [`Lazy`] borrows from.
pub(crate) type LazyAvatar = OnceCell<Result<Avatar, Failure>>;

impl<'a> Lazy<'a> {
    /// Could the asset not be read?
    fn failed(&self) -> bool {
        matches!(self.rest.get(), Some(Err(_))) || matches!(self.posable.get(), Some(Err(_)))
    }

    fn posable(
        &self,
        avatar: &'a LazyAvatar,
        path: &Path,
        options: &ReadOptions,
        frame: Option<Frame>,
    ) -> Result<&Posable<'a>, Failure> {
        let open = || {
            let avatar = avatar.get_or_init(|| load(path, options).map(|loaded| loaded.avatar));
            Posable::of(path, avatar.as_ref().map_err(Clone::clone)?, frame)
        };
        self.posable.get_or_init(open).as_ref().map_err(Clone::clone)
    }
}

/// Scores all pairs; a failed one does not stop the others.
pub(crate) fn score(arguments: &Arguments, context: &Context) -> Outcome {
    let units: Vec<(usize, &Unit)> = context.plan.units.iter().enumerate().collect();
    let jobs = arguments.jobs.map_or(processors(), usize::from).min(units.len());
    let bars = Bars::new(units.len(), jobs, arguments.quiet || arguments.json);
    let fault = |failure: &Failure| Fault { name: String::new(), group: String::new(), failure: failure.clone() };
    let mut outcome = Outcome { rows: Vec::new(), faults: context.plan.failures.iter().map(fault).collect() };
    batch::each(
        &units,
        &bars,
        |(_, unit)| &unit.path,
        |&(index, unit), line| {
            let avatar = LazyAvatar::new();
            let (asset, mut rows, mut faults) = (Lazy::default(), Vec::new(), Vec::new());
            let hash = match unit.pairs.first().map(|p| &p.test) {
                Some(Test::Drawn(_) | Test::Posed(..)) => output_state(&unit.path)?.output_hash,
                _ => String::new(),
            };
            for (number, pair) in unit.pairs.iter().enumerate() {
                line.show(&pair.name);
                match context.score(unit, pair, (&avatar, &asset), &hash) {
                    Ok((known, values, cached)) => rows.push(Row {
                        place: [index, number],
                        name: pair.name.clone(),
                        group: unit.group.clone(),
                        width: known.width,
                        height: known.height,
                        pixels: known.pixels,
                        values,
                        cached,
                    }),
                    // an asset that cannot be read has no views to complain about
                    Err(failure) if asset.failed() => return Err(failure),
                    Err(failure) => {
                        faults.push(Fault { name: pair.name.clone(), group: unit.group.clone(), failure });
                    }
                }
            }
            Ok((rows, faults))
        },
        |(_, unit), result| match result {
            Ok((rows, faults)) => {
                outcome.rows.extend(rows);
                outcome.faults.extend(faults);
            }
            Err(failure) => {
                let name = unit.pairs.first().filter(|_| unit.pairs.len() == 1).map(|p| p.name.clone());
                outcome.faults.push(Fault { name: name.unwrap_or_default(), group: unit.group.clone(), failure });
            }
        },
    );
    outcome.rows.sort_by_key(|row| row.place);
    outcome
        .faults
        .sort_by(|a, b| (&a.group, &a.name, &a.failure.message).cmp(&(&b.group, &b.name, &b.failure.message)));
    outcome
}

impl Context<'_> {
    /// The values of one pair, and whether all of them were known.
    fn score<'a>(
        &self,
        unit: &Unit,
        pair: &Pair,
        asset: (&'a LazyAvatar, &Lazy<'a>),
        hash: &str,
    ) -> Result<(Known, Vec<f64>, bool), Failure> {
        let limits = &self.options.limits;
        let mut hasher = blake3::Hasher::new();
        let mut mark = |part: &[u8]| {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        };
        mark(format!("gav score {DEFINITIONS} {:?} {:?}", self.background, self.plan.frame).as_bytes());
        // the bytes are kept: a file that is replaced meanwhile must not be scored under the other's key
        let test_bytes = match &pair.test {
            Test::Picture(origin) => Some(origin.bytes(limits)?),
            Test::Drawn(camera) => {
                mark(drawn_key(hash, camera).as_bytes());
                None
            }
            Test::Posed(camera, posing) => {
                mark(drawn_key(hash, camera).as_bytes());
                mark(posing.key()?.as_bytes());
                None
            }
        };
        let reference_bytes = match (&pair.reference, &pair.test) {
            (Reference::Picture(origin), _) => Some(origin.bytes(limits)?),
            (Reference::Drawn(reference, _), Test::Drawn(camera)) => {
                mark(drawn_key(&reference.hash, camera).as_bytes());
                None
            }
            (Reference::Drawn(..), Test::Picture(_) | Test::Posed(..)) => None,
        };
        let mask_bytes = pair.mask.as_ref().map(|origin| origin.bytes(limits)).transpose()?;
        for bytes in [&test_bytes, &reference_bytes, &mask_bytes] {
            mark(bytes.as_ref().map(|b| *blake3::hash(b).as_bytes()).unwrap_or_default().as_slice());
        }
        let key = hasher.finalize().to_hex().to_string();
        let mut known = self.cache.get(&key).unwrap_or_default();
        let names: Vec<String> = self.metrics.iter().map(|m| self.networks.cache_name(*m)).collect();
        if self.renders.is_none()
            && let Some(values) = known.all(&names)
        {
            return Ok((known, values, true));
        }
        let loaded = self.load(unit, pair, asset, [test_bytes, reference_bytes, mask_bytes])?;
        let path = test_path(unit, pair);
        if let (Some(folder), Test::Drawn(_) | Test::Posed(..)) = (&self.renders, &pair.test) {
            write_picture(&picture_path(folder, &pair.name), &loaded.test)?;
        }
        let Picture { width, height, .. } = loaded.test;
        let pixels = loaded.mask.as_ref().map(|m| m.iter().map(|&w| f64::from(w)).sum());
        (known.width, known.height, known.pixels) = (width, height, pixels.unwrap_or((width * height) as f64));
        for (metric, name) in self.metrics.iter().zip(&names) {
            if !known.values.contains_key(name) {
                let value = metric.measure(&loaded, self.background, &self.networks);
                known.values.insert(name.clone(), value.map_err(|e| Failure::of(Some(&path), &e))?);
            }
        }
        self.cache.add(&key, &known);
        let values = known.all(&names).unwrap_or_default();
        Ok((known, values, false))
    }

    /// Both pictures of a pair, for the report.
    pub(crate) fn pictures(&self, place: [usize; 2]) -> Result<Loaded, Failure> {
        let unit = &self.plan.units[place[0]];
        let pair = &unit.pairs[place[1]];
        let limits = &self.options.limits;
        let test = if let Test::Picture(origin) = &pair.test { Some(origin.bytes(limits)?) } else { None };
        let reference =
            if let Reference::Picture(origin) = &pair.reference { Some(origin.bytes(limits)?) } else { None };
        let mask = pair.mask.as_ref().map(|origin| origin.bytes(limits)).transpose()?;
        let avatar = LazyAvatar::new();
        self.load(unit, pair, (&avatar, &Lazy::default()), [test, reference, mask])
    }

    /// Decodes or draws both pictures.
    fn load<'a>(
        &self,
        unit: &Unit,
        pair: &Pair,
        (avatar, asset): (&'a LazyAvatar, &Lazy<'a>),
        bytes: [Option<Vec<u8>>; 3],
    ) -> Result<Loaded, Failure> {
        let limits = &self.options.limits;
        let [test_bytes, reference_bytes, mask_bytes] = bytes;
        let test = match &pair.test {
            Test::Picture(origin) => self.picture(origin, &test_bytes.unwrap_or_default(), limits)?,
            Test::Drawn(camera) => {
                let asset = asset.rest.get_or_init(|| Asset::load(&unit.path, &self.options, self.plan.frame));
                asset.as_ref().map_err(Clone::clone)?.draw(&unit.path, camera, self.background, &self.painter)?
            }
            Test::Posed(camera, posing) => {
                let posable = asset.posable(avatar, &unit.path, &self.options, self.plan.frame)?;
                posable.draw(&unit.path, posing, camera, self.background, &self.painter)?
            }
        };
        let (reference, reference_path) = match &pair.reference {
            Reference::Picture(origin) => {
                (self.picture(origin, &reference_bytes.unwrap_or_default(), limits)?, origin.path())
            }
            Reference::Drawn(reference, view) => {
                (reference.picture(*view, self.background, &self.painter)?, reference.path.clone())
            }
        };
        let path = test_path(unit, pair);
        let size = |p: &Picture| format!("{} × {}", p.width, p.height);
        if (test.width, test.height) != (reference.width, reference.height) {
            let message = format!(
                "{}: {} pixels, but the reference {} has {}",
                path.display(),
                size(&test),
                reference_path.display(),
                size(&reference)
            );
            let hint = "pictures are never scaled here, since every way to do that changes the scores".to_owned();
            return Err(Failure { code: "SIZE", message, hint: Some(hint) });
        }
        let mask = match (&pair.mask, mask_bytes) {
            (Some(origin), Some(bytes)) => {
                let mask = decode(&origin.path(), &bytes, limits)?;
                if (mask.width, mask.height) != (test.width, test.height) {
                    let (name, found) = (origin.path(), format!("{} × {}", mask.width, mask.height));
                    let message = format!("{}: a mask of {found} pixels for {}", name.display(), size(&test));
                    return Err(Failure { code: "SIZE", message, hint: None });
                }
                Some(mask.into_mask())
            }
            _ => None,
        };
        let on_device = match mask {
            None => self.painter.pair(&test, &reference)?,
            Some(_) => None,
        };
        Ok(Loaded { test, reference, mask, on_device })
    }

    fn picture(&self, origin: &Origin, bytes: &[u8], limits: &Limits) -> Result<Picture, Failure> {
        Ok(decode(&origin.path(), bytes, limits)?.over(self.background))
    }
}

fn test_path(unit: &Unit, pair: &Pair) -> PathBuf {
    match &pair.test {
        Test::Picture(origin) => origin.path(),
        Test::Drawn(camera) | Test::Posed(camera, _) => Path::new(&unit.path).join(&camera.name),
    }
}

/// The file of the picture called `name` below `folder`.
pub(super) fn picture_path(folder: &Path, name: &str) -> PathBuf {
    // names of assets that are not below the working folder begin with its root, or lead out of it
    let parts = Path::new(name).components().filter(|part| matches!(part, std::path::Component::Normal(_)));
    let path: PathBuf = parts.collect();
    folder.join(format!("{}.png", path.display()))
}

/// Writes a picture as PNG: 255 v + 0.5, cut.
pub(super) fn write_picture(path: &Path, picture: &Picture) -> Result<(), Failure> {
    let bytes: Vec<u8> = picture.rgb.iter().map(|v| (v.clamp(0.0, 1.0) * 255.0 + 0.5) as u8).collect();
    let failed =
        |message: String| Failure { code: "ENCODER", message: format!("{}: {message}", path.display()), hint: None };
    let png = rgb_png(picture.width as u32, picture.height as u32, &bytes).map_err(failed)?;
    write(path, &png)
}

/// What decides a drawn picture: the asset, the camera, the rasteriser.
fn drawn_key(hash: &str, camera: &Camera) -> String {
    let camera = serde_json::to_string(&Camera { name: String::new(), ..camera.clone() }).unwrap_or_default();
    format!("{hash} {camera} {}", env!("CARGO_PKG_VERSION"))
}
