//! What `gav render` is going to do: which files each asset gets, and whether anything stands in the way.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;
use gav_formats::RenderModel;

use super::{
    Arguments, FileKind, RECORD, Sheet,
    values::Background,
    views::{Cameras, Source},
};
use crate::{
    batch::{
        place::{exists, list, same, slashes, stem},
        record::{Entry, Record, files_state, fingerprint},
    },
    failure::refuse,
    inputs::{Input, expand},
    pictures::{gif, still::Extras, video},
    text::plural,
};

/// Everything that shapes the pictures.
pub(super) struct Look {
    pub cameras: Cameras,
    pub kinds: Vec<FileKind>,
    pub extras: Extras,
    pub background: Background,
    pub model: Option<RenderModel>,
    pub rate: f64,
    /// A sheet beside the pictures of each asset.
    pub sheet: bool,
    /// A clip plays: every picture has an instant of its own.
    pub plays: bool,
    /// Pictures of the clip, when not as many as the rate gives.
    pub frames: Option<u32>,
}

impl Look {
    /// Is the picture of an asset a single one, without a folder of its own?
    pub fn is_single(&self) -> bool {
        self.cameras.is_single() && !self.plays
    }
}

/// What happens to one asset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Its files are written.
    Write,
    /// Its files are complete; it is drawn for the sheet of all.
    ShowOnly,
    /// Nothing is left to do.
    Skip,
}

/// One asset.
pub(super) struct Item {
    pub input: PathBuf,
    pub place: Place,
    pub action: Action,
    pub root: PathBuf,
    /// Name in the record of `root`.
    pub key: String,
    /// The record's entry, not yet completed.
    pub entry: Entry,
    /// Files that an earlier run recorded.
    pub earlier: Vec<String>,
    /// Name on the sheet of all.
    pub label: String,
}

/// Where the files of an asset go.
pub(super) enum Place {
    /// To this very file.
    Exactly(PathBuf),
    /// To a folder of this name, and files that begin with it.
    Base(PathBuf),
}

/// The sheet of all assets.
pub(super) struct Overview {
    pub path: PathBuf,
    pub root: PathBuf,
    pub key: String,
    pub entry: Entry,
    pub earlier: Vec<String>,
}

/// All assets, the sheet of them if it has to be made, and the records of the folders they go to.
pub(super) struct Plan {
    pub look: Look,
    pub items: Vec<Item>,
    pub overview: Option<Overview>,
    /// Empty when this run keeps no record: one named file that is not resumed.
    pub records: BTreeMap<PathBuf, Record>,
}

/// Makes the plan; nothing is written.
///
/// # Errors
/// Usage errors: options that do not go together, collisions, existing pictures without `--force` or `--resume`; a camera
/// file that cannot be read.
pub(super) fn make(arguments: &Arguments) -> Result<Plan> {
    let out = &arguments.output;
    let except = Some(out.as_path()).filter(|out| out.is_dir() && !arguments.inputs.iter().any(|i| same(i, out)));
    let inputs = distinct(expand(&arguments.inputs, except)?);
    let exact = file_kind(out).filter(|_| !out.is_dir());
    let look = look(arguments, exact)?;
    let single = inputs.len() == 1 && !inputs[0].found;
    if exact.is_some() && arguments.sheet != Some(Sheet::All) && !single {
        let message = format!("-o {} is one file, and there are {}", out.display(), plural(inputs.len(), "input"));
        return Err(refuse(message, "give a folder, or --sheet all for one picture of all"));
    }
    let root = match exact {
        Some(_) => out.parent().map(Path::to_path_buf).unwrap_or_default(),
        None => out.clone(),
    };
    let options = options_hash(arguments, &look);
    let bases = bases(&inputs)?;
    let mut items = Vec::new();
    for (input, base) in inputs.iter().zip(&bases) {
        // what cannot be seen fails when it is read, with all others done
        let (input_bytes, input_modified) = fingerprint(&input.path).unwrap_or_default();
        let place = match exact {
            Some(_) => Place::Exactly(out.clone()),
            None => Place::Base(root.join(base)),
        };
        let key = match &place {
            Place::Exactly(path) => slashes(path.strip_prefix(&root).unwrap_or(path)),
            Place::Base(_) => slashes(base),
        };
        let relative = slashes(&input.relative);
        let entry = Entry { input: relative, input_bytes, input_modified, options: options.clone(), output: None };
        let (input, root, label) = (input.path.clone(), root.clone(), slashes(base));
        items.push(Item { input, place, action: Action::Write, root, key, entry, earlier: Vec::new(), label });
    }
    let mut records = BTreeMap::new();
    if arguments.resume || items.len() > 1 || inputs.iter().any(|i| i.found) {
        records.insert(root.clone(), Record::open(&root, &RECORD)?);
    }
    let overview = (arguments.sheet == Some(Sheet::All)).then(|| {
        let path = if exact.is_some() { out.clone() } else { root.join("sheet.png") };
        let all = format!("{options}\n{:?}", items.iter().map(|i| (&i.key, &i.entry)).collect::<Vec<_>>());
        let entry = Entry {
            input: plural(items.len(), "asset"),
            input_bytes: items.iter().map(|i| i.entry.input_bytes).sum(),
            input_modified: items.iter().map(|i| i.entry.input_modified).max().unwrap_or(0),
            options: blake3::hash(all.as_bytes()).to_hex()[..32].to_owned(),
            output: None,
        };
        let key = slashes(path.strip_prefix(&root).unwrap_or(&path));
        Overview { path, root: root.clone(), key, entry, earlier: Vec::new() }
    });
    let mut plan = Plan { look, items, overview, records };
    plan.decide(arguments)?;
    Ok(plan)
}

impl Plan {
    /// Sets the action of every item; existing files that may not be overwritten are listed in the error.
    fn decide(&mut self, arguments: &Arguments) -> Result<()> {
        let writes = !self.look.kinds.is_empty() || self.look.sheet;
        let mut blocked = Vec::new();
        let mut check = |record: Option<&Entry>, current: &Entry, root: &Path, targets: Vec<PathBuf>| {
            let known = record.filter(|_| arguments.resume);
            let complete = known.and_then(|entry| {
                let output = entry.output.as_ref()?;
                let same_input = Entry { output: None, ..entry.clone() } == *current;
                let files = files_state(root, output.output_files.clone()).ok()?;
                (same_input && files == *output).then_some(())
            });
            if complete.is_none() && known.is_none() && !arguments.force {
                blocked.extend(targets.iter().filter(|p| occupied(p)).map(|p| p.display().to_string()));
            }
            let earlier = record.and_then(|e| e.output.as_ref()).map(|o| o.output_files.clone()).unwrap_or_default();
            (complete.is_some(), earlier)
        };
        let of = |records: &BTreeMap<PathBuf, Record>, root: &Path, key: &str| {
            records.get(root).and_then(|r| r.get(key)).cloned()
        };
        if let Some(overview) = &mut self.overview {
            let entry = of(&self.records, &overview.root, &overview.key);
            let (complete, earlier) =
                check(entry.as_ref(), &overview.entry, &overview.root, vec![overview.path.clone()]);
            overview.earlier = earlier;
            if complete {
                self.overview = None;
            }
        }
        for item in &mut self.items {
            let mut complete = true;
            if writes {
                let entry = of(&self.records, &item.root, &item.key);
                let targets = targets(&self.look, &item.place);
                (complete, item.earlier) = check(entry.as_ref(), &item.entry, &item.root, targets);
            }
            item.action = match (complete, &self.overview) {
                (false, _) => Action::Write,
                (true, Some(_)) => Action::ShowOnly,
                (true, None) => Action::Skip,
            };
        }
        if blocked.is_empty() {
            return Ok(());
        }
        let hint = if arguments.resume {
            "no earlier run recorded making them; --force overwrites them"
        } else {
            "--force overwrites them, --resume keeps those that are up to date"
        };
        Err(refuse(format!("{} in the way: {}", exists(blocked.len()), list(&blocked)), hint))
    }
}

/// Files and folders that an asset's pictures take, as far as is known before it is read.
pub(super) fn targets(look: &Look, place: &Place) -> Vec<PathBuf> {
    let base = match place {
        Place::Exactly(path) => return vec![path.clone()],
        Place::Base(base) => base,
    };
    let stills = look.kinds.iter().filter(|k| !k.is_film());
    let mut paths: Vec<PathBuf> = if look.is_single() {
        stills.map(|k| beside(base, k.ending())).collect()
    } else {
        stills.take(1).map(|_| base.clone()).collect()
    };
    paths.extend(look.kinds.iter().filter(|k| k.is_film()).map(|k| beside(base, k.ending())));
    paths.extend(look.sheet.then(|| beside(base, "sheet.png")));
    paths
}

/// The base's name with an ending.
pub(super) fn beside(base: &Path, ending: &str) -> PathBuf {
    let mut name = base.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(ending);
    base.with_file_name(name)
}

/// A file, or a folder with something in it.
fn occupied(path: &Path) -> bool {
    match fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_some(),
        Err(_) => path.symlink_metadata().is_ok(),
    }
}

/// The format that the ending of a path names.
fn file_kind(path: &Path) -> Option<FileKind> {
    let ending = path.extension()?.to_str()?.to_ascii_lowercase();
    <FileKind as clap::ValueEnum>::value_variants().iter().copied().find(|k| k.ending() == ending)
}

/// What the pictures shall be, checked as far as is possible before an asset is read.
fn look(arguments: &Arguments, exact: Option<FileKind>) -> Result<Look> {
    let (picture, out) = (&arguments.picture, arguments.output.display());
    let mut kinds = Vec::new();
    for kind in &arguments.format {
        if !kinds.contains(kind) {
            kinds.push(*kind);
        }
    }
    match (exact, arguments.sheet) {
        (Some(FileKind::Png), Some(_)) if kinds.is_empty() => {}
        (Some(_), Some(_)) => {
            let message = format!("-o {out} is one file; a sheet is a PNG, and other pictures need a folder");
            return Err(refuse(message, "give a folder, or a .png and no --format"));
        }
        (Some(kind), None) if kinds.is_empty() => kinds.push(kind),
        (Some(kind), None) if kinds == [kind] => {}
        (Some(kind), None) => {
            return Err(refuse(
                format!("-o {out} says {}, --format says otherwise", kind.ending()),
                "change one of them",
            ));
        }
        (None, None) if kinds.is_empty() => kinds.push(FileKind::Png),
        (None, _) => {}
    }
    let film = kinds.iter().any(|k| k.is_film());
    let single = exact.is_some_and(|k| !k.is_film()) && arguments.sheet.is_none();
    let plays = arguments.motion.plays();
    if single && plays {
        let message = format!("-o {out} is one picture, and a clip has many");
        return Err(refuse(message, "say which with --time SECONDS, or give a folder or a film (.mp4, .gif)"));
    }
    // a clip is looked at from where one looks at a picture; its number of pictures is no matter of the cameras
    let mut from = arguments.cameras.clone();
    let frames = if plays && from.cameras.as_deref().is_none_or(|c| c == "front") { from.frames.take() } else { None };
    let still = plays && from.cameras.is_none();
    let cameras = Cameras::new(&from, single || still, film && !still)?;
    if single && cameras.count().is_some_and(|n| n > 1) {
        let count = cameras.count().unwrap_or(0);
        let message = format!("-o {out} is one picture, and there are {}", plural(count, "camera"));
        return Err(refuse(message, "give a folder, a film (.mp4, .gif), --sheet each, or --frames 1"));
    }
    if kinds.contains(&FileKind::Mp4) && picture.background == Background::Transparent {
        return Err(refuse("MP4 knows no transparency", "choose another --background, or GIF, WebP, PNG"));
    }
    if kinds.contains(&FileKind::Gif) && picture.fps > gif::MAX_RATE {
        let message = format!("--fps {}: viewers show GIF at {} pictures a second at most", picture.fps, gif::MAX_RATE);
        return Err(refuse(message, "choose a lower --fps, or MP4"));
    }
    let extras = Extras { alpha: picture.alpha, depth: picture.depth };
    if extras != Extras::default() && !kinds.iter().any(|k| !k.is_film()) {
        return Err(refuse("--alpha and --depth go with single pictures", "add --format png, exr or npy"));
    }
    let look = Look {
        cameras,
        kinds,
        extras,
        background: picture.background,
        model: picture.model,
        rate: picture.fps,
        sheet: arguments.sheet == Some(Sheet::Each),
        plays,
        frames,
    };
    if let (Source::Around { .. }, Some(super::values::Size::Exactly([w, h]))) =
        (&look.cameras.source, arguments.cameras.size)
    {
        check_film_size(&look, [w, h]).map_err(|message| refuse(message, "choose another --size"))?;
    }
    Ok(look)
}

/// Refuses sizes that the film encoder cannot take.
pub(super) fn check_film_size(look: &Look, [width, height]: [u32; 2]) -> Result<(), String> {
    let [longest, shortest] = [width.max(height), width.min(height)];
    let [long_limit, short_limit] = video::MAX_SIDES;
    let fits = longest <= long_limit && shortest <= short_limit && shortest >= video::MIN_SIDE;
    if look.kinds.contains(&FileKind::Mp4) && !fits {
        let range = format!("{} to {long_limit} x {short_limit}", video::MIN_SIDE);
        return Err(format!("MP4 of {width} x {height} pixels: the encoder takes {range}"));
    }
    Ok(())
}

/// The same file named twice, or named and found, is one asset.
fn distinct(inputs: Vec<Input>) -> Vec<Input> {
    let mut seen = HashSet::new();
    inputs.into_iter().filter(|i| seen.insert(i.path.canonicalize().unwrap_or_else(|_| i.path.clone()))).collect()
}

/// Names of the assets' pictures below the output folder: without the ending, unless that makes two the same.
fn bases(inputs: &[Input]) -> Result<Vec<PathBuf>> {
    // file systems that do not tell capitals apart would let one output replace another
    let folded = |path: &Path| path.to_string_lossy().to_lowercase();
    let short: Vec<PathBuf> = inputs.iter().map(|i| i.relative.with_file_name(stem(i))).collect();
    let mut uses: HashMap<String, usize> = HashMap::new();
    short.iter().for_each(|path| *uses.entry(folded(path)).or_default() += 1);
    let bases: Vec<PathBuf> = short
        .into_iter()
        .zip(inputs)
        .map(|(short, input)| if uses[&folded(&short)] > 1 { input.relative.clone() } else { short })
        .collect();
    let mut makers: HashMap<String, &Input> = HashMap::new();
    for (base, input) in bases.iter().zip(inputs) {
        if let Some(other) = makers.insert(folded(base), input) {
            let (a, b) = (other.path.display(), input.path.display());
            let message = format!("the pictures of {a} and {b} would both be called {}", base.display());
            return Err(refuse(message, "rename one, or render them into different folders"));
        }
    }
    Ok(bases)
}

/// Hash of everything that shapes the pictures besides the asset.
fn options_hash(arguments: &Arguments, look: &Look) -> String {
    let text = format!(
        "gav {}\nread {:?}\nformats {:?} sheet {:?}\ncameras {} {:?} {:?}\npicture {:?}\n",
        env!("CARGO_PKG_VERSION"),
        arguments.read.from_frame,
        look.kinds,
        arguments.sheet,
        look.cameras.fingerprint(),
        arguments.motion,
        look.frames,
        arguments.picture,
    );
    blake3::hash(text.as_bytes()).to_hex()[..32].to_owned()
}
