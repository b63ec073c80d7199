//! What `gav convert` is going to do: which output each input gets, and whether anything stands in the way.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;
use gav_formats::{FORMATS, Format, Writer, format_by_name, format_by_path};

use super::{Arguments, RECORD};
use crate::{
    batch::{
        place::{exists, list, same, slashes, stem},
        record::{Entry, Record, fingerprint, output_state},
    },
    failure::refuse,
    inputs::{Input, expand},
    text::plural,
};

/// What happens to one item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Read, edit, write.
    Convert,
    /// Complete from an earlier run.
    Skip,
}

/// One input and its output.
pub(super) struct Item {
    pub input: PathBuf,
    pub output: PathBuf,
    pub format: &'static Format,
    pub action: Action,
    /// Folder of the record that knows this item, and its name there.
    pub root: PathBuf,
    pub key: String,
    /// The record's entry for it, not yet completed.
    pub entry: Entry,
}

/// All items, and the records of the folders they go to.
pub(super) struct Plan {
    pub items: Vec<Item>,
    /// Empty when this run keeps no record: one named file that is not resumed.
    pub records: BTreeMap<PathBuf, Record>,
}

/// Where outputs go.
enum Target {
    /// Next to each input.
    Beside,
    /// To this very file (or folder, for folder formats).
    Exactly(PathBuf),
    /// Into this folder, with the structure of the inputs.
    Into(PathBuf),
}

/// Makes the plan; nothing is written.
///
/// # Errors
/// Usage errors: no format, collisions, an output that is an input, existing outputs without `--force` or `--resume`.
pub(super) fn make(arguments: &Arguments) -> Result<Plan> {
    let named = arguments.to.as_deref().map(writable).transpose()?;
    // a second run must not take the results of the first for inputs
    let except =
        arguments.output.as_deref().filter(|out| out.is_dir() && !arguments.inputs.iter().any(|i| same(i, out)));
    let mut inputs = expand(&arguments.inputs, except)?;
    let (target, format) = target(arguments, &inputs, named)?;
    if let Target::Beside = target {
        // what is in the target format already needs no conversion, unless it was named
        inputs.retain(|input| !(input.found && place(input, &target, format).0 == input.path));
    }
    if inputs.is_empty() {
        let message = format!("nothing to convert: every file found is {} already", format.id);
        return Err(refuse(message, "name the files to convert them again, with -o for the place"));
    }
    let options = options_hash(arguments, format);
    let mut items: Vec<Item> = Vec::new();
    let mut by_output: HashMap<PathBuf, usize> = HashMap::new();
    for input in &inputs {
        let (output, root) = place(input, &target, format);
        let key = slashes(output.strip_prefix(&root).unwrap_or(&output));
        // what cannot be seen fails when it is read, with all others done
        let (input_bytes, input_modified) = fingerprint(&input.path).unwrap_or_default();
        let relative = slashes(&input.relative);
        let entry = Entry { input: relative, input_bytes, input_modified, options: options.clone(), output: None };
        let item = Item { input: input.path.clone(), output, format, action: Action::Convert, root, key, entry };
        // the same file named twice, or named and found, is one item
        let first = *by_output.entry(item.output.clone()).or_insert(items.len());
        if items.get(first).is_none_or(|other| !same(&other.input, &item.input)) {
            items.push(item);
        }
    }
    refuse_collisions(&items)?;
    let keeps_record = arguments.resume || items.len() > 1 || inputs.iter().any(|i| i.found);
    let mut records = BTreeMap::new();
    if keeps_record {
        for item in &items {
            if !records.contains_key(&item.root) {
                records.insert(item.root.clone(), Record::open(&item.root, &RECORD)?);
            }
        }
    }
    let mut plan = Plan { items, records };
    plan.decide(arguments)?;
    Ok(plan)
}

impl Plan {
    /// Sets the action of every item; existing outputs that may not be overwritten are listed in the error.
    fn decide(&mut self, arguments: &Arguments) -> Result<()> {
        let mut blocked = Vec::new();
        for item in &mut self.items {
            let known = self.records.get(&item.root).and_then(|m| m.get(&item.key)).filter(|_| arguments.resume);
            if known.is_some_and(|entry| is_current(item, entry)) {
                item.action = Action::Skip;
            } else if item.output.symlink_metadata().is_ok() && known.is_none() && !arguments.force {
                blocked.push(item.output.display().to_string());
            }
        }
        if blocked.is_empty() {
            return Ok(());
        }
        let hint = if arguments.resume {
            "no earlier run recorded making them; --force overwrites them"
        } else {
            "--force overwrites them, --resume keeps those that are up to date"
        };
        let message = format!("{} in the way: {}", exists(blocked.len()), list(&blocked));
        Err(refuse(message, hint))
    }
}

/// Is the output complete, newer than its input, made with the same options and untouched since?
fn is_current(item: &Item, entry: &Entry) -> bool {
    let Some(recorded) = &entry.output else { return false };
    let same_input = Entry { output: None, ..entry.clone() } == item.entry;
    let modified = |path: &Path| fs::metadata(path).and_then(|m| m.modified()).ok();
    let newer = modified(&item.output) >= modified(&item.input);
    same_input && newer && output_state(&item.output).is_ok_and(|state| state == *recorded)
}

fn writable(name: &str) -> Result<&'static Format> {
    let names = || FORMATS.iter().filter(|f| f.write.is_some()).map(|f| f.id).collect::<Vec<_>>().join(", ");
    match format_by_name(name) {
        Some(format) if format.write.is_some() => Ok(format),
        Some(format) => Err(refuse(format!("{} can be read, not written", format.name), format!("write {}", names()))),
        None => Err(refuse(format!("`{name}` is no format"), format!("one of {}", names()))),
    }
}

fn is_folder_format(format: &Format) -> bool {
    matches!(format.write, Some(Writer::Folder(_)))
}

/// Where outputs go and in which format.
fn target(
    arguments: &Arguments,
    inputs: &[Input],
    named: Option<&'static Format>,
) -> Result<(Target, &'static Format)> {
    let need_format = || refuse("no format is given", "say --to FORMAT; `gav formats` lists them");
    let Some(out) = &arguments.output else { return Ok((Target::Beside, named.ok_or_else(need_format)?)) };
    let shown = out.display();
    let by_ending = format_by_path(out).filter(|f| f.write.is_some() && out.file_name().is_some());
    let single = inputs.len() == 1 && !inputs[0].found;
    let asks_for_folder = out.to_string_lossy().ends_with(std::path::is_separator);
    if !single {
        if out.is_file() || (by_ending.is_some() && !out.is_dir() && !asks_for_folder) {
            let message = format!("-o {shown} is one file, and there are {}", plural(inputs.len(), "input"));
            return Err(refuse(message, "give a folder, as in -o out --to FORMAT"));
        }
        return Ok((Target::Into(out.clone()), named.ok_or_else(need_format)?));
    }
    if let Some(format) = named.filter(|f| is_folder_format(f)) {
        let occupied = out.is_dir() && crate::reading::asset_folder(out).is_none();
        let folder = if occupied || asks_for_folder {
            Target::Into(out.clone())
        } else {
            Target::Exactly(entry_folder(out, format))
        };
        return Ok((folder, format));
    }
    if asks_for_folder || out.is_dir() {
        return Ok((Target::Into(out.clone()), named.ok_or_else(need_format)?));
    }
    if let Some(format) = named.or(by_ending)
        && has_ending(out, format)
        && !has_ending_of(out, format.extensions[0])
        && !is_folder_format(format)
    {
        let message = format!("{} is written as .{}, {shown} has another ending", format.name, format.extensions[0]);
        return Err(refuse(message, "change the ending"));
    }
    match (named, by_ending) {
        (None, None) => Err(refuse(
            format!("the ending of {shown} says no format"),
            "use a known ending or --to; `gav formats` lists them",
        )),
        (None, Some(format)) => Ok((Target::Exactly(entry_folder(out, format)), format)),
        (Some(format), None) if out.extension().is_none() => Ok((Target::Into(out.clone()), format)),
        (Some(format), Some(other)) if !same_format(format, other) && !has_ending(out, format) => {
            Err(refuse(format!("-o {shown} says {}, --to says {}", other.id, format.id), "change one of them"))
        }
        (Some(format), _) => Ok((Target::Exactly(out.clone()), format)),
    }
}

fn same_format(a: &Format, b: &Format) -> bool {
    a.id == b.id
}

fn has_ending(path: &Path, format: &Format) -> bool {
    format.extensions.iter().any(|e| has_ending_of(path, e))
}

fn has_ending_of(path: &Path, ending: &str) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    name.strip_suffix(ending).is_some_and(|rest| rest.ends_with('.'))
}

/// For folder formats `out/meta.json` means the folder `out`.
fn entry_folder(out: &Path, format: &Format) -> PathBuf {
    let entry = out.file_name().and_then(|n| n.to_str()).is_some_and(|name| format.extensions.contains(&name));
    match out.parent() {
        Some(parent) if entry && is_folder_format(format) && !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => out.to_path_buf(),
    }
}

/// The output of an input, and the folder whose record knows it.
fn place(input: &Input, target: &Target, format: &Format) -> (PathBuf, PathBuf) {
    let root = match target {
        Target::Exactly(path) => return (path.clone(), path.parent().map(Path::to_path_buf).unwrap_or_default()),
        Target::Into(folder) => folder,
        Target::Beside => &input.root,
    };
    let mut name = stem(input);
    if !is_folder_format(format) {
        name.push(".");
        name.push(format.extensions[0]);
    }
    (root.join(input.relative.with_file_name(name)), root.clone())
}

fn refuse_collisions(items: &[Item]) -> Result<()> {
    // file systems that do not tell capitals apart would let one output replace another
    let folds_case = cfg!(any(windows, target_os = "macos"));
    let key = |path: &Path| {
        if folds_case { PathBuf::from(path.to_string_lossy().to_lowercase()) } else { path.to_path_buf() }
    };
    let mut makers: HashMap<PathBuf, &Item> = HashMap::new();
    for item in items {
        if let Some(other) = makers.insert(key(&item.output), item) {
            let (a, b) = (other.input.display(), item.input.display());
            let message = format!("{a} and {b} would both be written to {}", item.output.display());
            return Err(refuse(message, "rename one, or convert them into different folders"));
        }
    }
    let real = |path: &Path| path.canonicalize().ok();
    let inputs: HashMap<PathBuf, &Item> = items.iter().filter_map(|i| Some((real(&i.input)?, i))).collect();
    for item in items {
        if let Some(victim) = real(&item.output).and_then(|p| inputs.get(&p)) {
            let message = format!("{} would be overwritten, and it is an input", victim.input.display());
            return Err(refuse(message, "write to another file or folder with -o"));
        }
        if item.output.file_name().is_some_and(|n| n == RECORD.file) {
            return Err(refuse(
                format!("{} is the name of the record that --resume needs", RECORD.file),
                "choose another name",
            ));
        }
    }
    Ok(())
}

/// Hash of everything that shapes an output besides the input.
fn options_hash(arguments: &Arguments, format: &Format) -> String {
    let text = format!(
        "gav {}\nto {}\nread {:?} {}\nwrite {:?} {}\nedit {:?}\nmotion {:?}\n",
        env!("CARGO_PKG_VERSION"),
        format.id,
        arguments.read.from_frame,
        arguments.read.embedded,
        arguments.write_options(),
        arguments.encode.embed,
        arguments.edits,
        arguments.motion
    );
    blake3::hash(text.as_bytes()).to_hex()[..32].to_owned()
}
