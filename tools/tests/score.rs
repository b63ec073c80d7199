//! `gav score` as a user meets it: pictures and assets against references, faults, the cache, the files it writes.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use gav_formats::{
    EncodeOptions, Profile, WriteOptions, format_by_name,
    npy::{NpyArray, write_npy},
    save, synthetic,
};
use gav_kernels::{orbit::orbit_cameras, psnr::displayed_splats, raster::render};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Runs `gav score` with a cache of its own and checks the exit code; gives standard output and standard error.
fn score(folder: &Path, code: i32, arguments: &[&str]) -> (String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gav"));
    command.current_dir(folder).stdin(Stdio::null()).env("GAV_CACHE", folder.join("cache"));
    // weights of the user would change the default measures
    command.env("GAV_DATA", folder.join("data"));
    let output = command.arg("score").args(arguments).output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{out}\n{err}");
    assert!(!err.contains("panicked") && !err.contains("internal error"), "{err}");
    (out, err)
}

/// The items by name, and the summary.
fn lines(out: &str) -> (BTreeMap<String, Value>, Value) {
    let mut lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let summary = lines.pop().unwrap();
    assert_eq!(summary["type"], "summary");
    (lines.into_iter().map(|line| (line["name"].as_str().unwrap().to_owned(), line)).collect(), summary)
}

fn value(item: &Value, metric: &str) -> f64 {
    match &item["scores"][metric] {
        Value::String(text) => text.parse().unwrap(),
        number => number.as_f64().unwrap_or_else(|| panic!("{metric} is missing in {item}")),
    }
}

fn write_png(path: &Path, color: png::ColorType, width: u32, height: u32, data: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut encoder = png::Encoder::new(fs::File::create(path).unwrap(), width, height);
    encoder.set_color(color);
    encoder.write_header().unwrap().write_image_data(data).unwrap();
}

/// A picture of 64 × 48 pixels, `offset` brighter than the one with offset 0.
fn picture(path: &Path, offset: u8) {
    let data: Vec<u8> = (0..64 * 48 * 3u32).map(|i| (i * 7 % 100) as u8 + offset).collect();
    write_png(path, png::ColorType::Rgb, 64, 48, &data);
}

/// Photos and renders of three subjects' pictures; the renders are off by 2, 4, 6 … of 255.
fn folders() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (index, name) in ["a/0", "a/1", "b/0"].iter().enumerate() {
        picture(&root.path().join("photos").join(format!("{name}.png")), 0);
        picture(&root.path().join("renders").join(format!("{name}.png")), 2 * (index as u8 + 1));
    }
    root
}

fn decibels(difference: f64) -> f64 {
    -20.0 * (difference / 255.0).log10()
}

#[test]
fn pictures_of_one_name_are_compared_and_summed_up() {
    let root = folders();
    let (out, _) =
        score(root.path(), 0, &["renders", "-r", "photos", "--json", "--metrics", "psnr,psnr-pooled,l1,mse"]);
    let (items, summary) = lines(&out);
    for (name, difference) in [("a/0", 2.0), ("a/1", 4.0), ("b/0", 6.0)] {
        assert!((value(&items[name], "psnr-per-image") - decibels(difference)).abs() < 1e-4, "{name}");
        assert!((value(&items[name], "l1") - difference / 255.0).abs() < 1e-7, "{name}");
    }
    let mean = |metric: &str| summary["metrics"][metric]["mean"].as_f64().unwrap();
    let each = (decibels(2.0) + decibels(4.0) + decibels(6.0)) / 3.0;
    assert!((mean("psnr-per-image") - each).abs() < 1e-4);
    assert!((mean("psnr-pooled") - decibels((56.0f64 / 3.0).sqrt())).abs() < 1e-4);
    assert_eq!(summary["metrics"]["psnr-per-image"]["worst"], "b/0");
    assert_eq!(summary["groups"].as_array().unwrap().len(), 2);
    let (out, _) = score(root.path(), 0, &["renders", "-r", "photos"]);
    assert!(out.contains("psnr-per-image") && out.contains("ssim-zero-pad") && out.contains("3 pairs scored"), "{out}");
    // two named files need not have the same name
    let (out, _) = score(root.path(), 0, &["renders/a/0.png", "-r", "photos/b/0.png", "--json"]);
    assert!((value(&lines(&out).0["0"], "psnr-per-image") - decibels(2.0)).abs() < 1e-4);
}

#[test]
fn every_fault_is_named_and_the_rest_is_scored() {
    let root = folders();
    let (renders, photos) = (root.path().join("renders"), root.path().join("photos"));
    for name in ["cut", "nan", "size", "text", "empty", "unrendered"] {
        picture(&photos.join(format!("{name}.png")), 0);
    }
    let whole = fs::read(photos.join("cut.png")).unwrap();
    fs::write(renders.join("cut.png"), &whole[..whole.len() / 2]).unwrap();
    let mut values = vec![0.5f32; 48 * 64 * 3];
    values[300] = f32::NAN;
    fs::write(renders.join("nan.npy"), write_npy(&NpyArray::from_f32(vec![48, 64, 3], &values))).unwrap();
    write_png(&renders.join("size.png"), png::ColorType::Rgb, 2, 1, &[0; 6]);
    fs::write(renders.join("text.png"), b"this is no picture").unwrap();
    fs::write(renders.join("empty.png"), b"").unwrap();
    picture(&renders.join("unknown.png"), 0);
    fs::write(renders.join("notes.txt"), b"not looked at").unwrap();
    let arguments = ["renders", "-r", "photos", "--csv", "out/scores.csv", "--report", "out/report.html"];
    let (out, err) = score(root.path(), 1, &arguments);
    assert!(out.contains("3 pairs scored") && out.contains("7 failed"), "{out}");
    for (name, words) in [
        ("renders/cut.png", "end of file"),
        ("renders/nan.npy", "not finite"),
        ("renders/size.png", "2 × 1 pixels, but the reference photos/size.png has 64 × 48"),
        ("renders/text.png", "known format"),
        ("renders/empty.png", "empty"),
        ("renders/unknown.png", "no reference"),
        ("photos/unrendered.png", "no picture"),
    ] {
        let line =
            err.lines().find(|l| l.contains(&format!("error: {name}"))).unwrap_or_else(|| panic!("{name}: {err}"));
        assert!(line.contains(words), "{line}");
    }
    let csv = fs::read_to_string(root.path().join("out/scores.csv")).unwrap();
    assert_eq!(csv.lines().count(), 1 + 3 + 7, "{csv}");
    let report = fs::read_to_string(root.path().join("out/report.html")).unwrap();
    assert!(report.contains("7 failed") && report.contains("renders/nan.npy"));
    // the same as JSON, and without those that were not rendered
    let (out, err) = score(root.path(), 1, &["renders", "-r", "photos", "--json", "--subset"]);
    let (items, summary) = lines(&out);
    assert_eq!((err.as_str(), summary["failed"].as_u64(), summary["pairs"].as_u64()), ("", Some(6), Some(3)));
    assert_eq!(items["nan"]["error"]["code"], "NOT_FINITE");
    assert_eq!(items["cut"]["error"]["code"], "TRUNCATED");
}

#[test]
fn what_cannot_be_compared_is_refused_before_anything_is_done() {
    let root = folders();
    fs::create_dir(root.path().join("empty")).unwrap();
    for (arguments, code, words) in [
        (&["renders", "-r", "nowhere"][..], 1, "nowhere: no such file"),
        (&["renders", "-r", "empty"], 2, "empty: no picture in it"),
        (&["empty", "-r", "photos"], 2, "empty: no picture in it"),
        (&["renders", "-r", "photos", "--metrics", "ssim-imagined"], 2, "ssim-zero-pad"),
        (&["renders", "-r", "photos", "--background", "greenish"], 2, "hexadecimal"),
        (&["renders", "photos", "-r", "photos"], 2, "several tests"),
        (&["renders"], 2, "nothing to compare with"),
    ] {
        let (out, err) = score(root.path(), code, arguments);
        assert!(err.contains(words) && out.is_empty(), "{arguments:?}: {err}");
    }
    assert!(!root.path().join("cache").exists());
    let (out, _) = score(root.path(), 0, &["--explain"]);
    assert!(out.contains("ms-ssim-pytorch-msssim (higher is better)") && out.contains("masked:"), "{out}");
}

#[test]
fn a_second_run_knows_what_the_first_found_out() {
    let root = folders();
    let run = |extra: &[&str]| {
        let arguments = [&["renders", "-r", "photos", "--json"], extra].concat();
        lines(&score(root.path(), 0, &arguments).0)
    };
    let (first, summary) = run(&["--no-cache"]);
    assert!(!root.path().join("cache").exists());
    assert_eq!(summary["cached"], 0);
    assert_eq!(run(&[]).1["cached"], 0);
    let (again, summary) = run(&[]);
    assert_eq!(summary["cached"], 3);
    for (name, item) in &first {
        assert_eq!(item["scores"], again[name]["scores"], "known scores are the same to the last bit");
    }
    // another measure, another background only where it shows, another picture
    assert_eq!(run(&["--metrics", "psnr,ssim,l1"]).1["cached"], 0);
    picture(&root.path().join("renders/a/0.png"), 20);
    let (items, summary) = run(&[]);
    assert_eq!((summary["cached"].as_u64(), &items["a/0"]["cached"]), (Some(2), &json!(false)));
    assert!((value(&items["a/0"], "psnr-per-image") - decibels(20.0)).abs() < 1e-4);
    // names do not matter, contents do
    fs::rename(root.path().join("renders/b"), root.path().join("renders/c")).unwrap();
    fs::rename(root.path().join("photos/b"), root.path().join("photos/c")).unwrap();
    assert_eq!(run(&[]).1["cached"], 3);
}

#[test]
fn masks_and_backgrounds_decide_what_counts() {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name);
    // right half wrong
    let left = |x: usize| x < 16;
    let rgb = |wrong: u8| (0..32 * 32).flat_map(|i| [if left(i % 32) { 100 } else { wrong }; 3]).collect::<Vec<u8>>();
    write_png(&path("renders/x.png"), png::ColorType::Rgb, 32, 32, &rgb(200));
    write_png(&path("photos/x.png"), png::ColorType::Rgb, 32, 32, &rgb(100));
    let mask: Vec<u8> = (0..32 * 32).map(|i| if left(i % 32) { 255 } else { 0 }).collect();
    write_png(&path("masks/x.png"), png::ColorType::Grayscale, 32, 32, &mask);
    let run = |extra: &[&str]| {
        let arguments = [&["renders", "-r", "photos", "--json", "--metrics", "psnr,mse"], extra].concat();
        lines(&score(root.path(), 0, &arguments).0).0["x"].clone()
    };
    let whole = run(&[]);
    assert!((value(&whole, "mse") - 0.5 * (100.0f64 / 255.0).powi(2)).abs() < 1e-6);
    let masked = run(&["--masks", "masks"]);
    assert_eq!((value(&masked, "mse"), value(&masked, "psnr-per-image")), (0.0, f64::INFINITY));
    assert_eq!(masked["pixels"], 512.0);
    // alpha of a render is not a mask: it shows the background
    let open: Vec<u8> = (0..32 * 32).flat_map(|i| [100, 100, 100, if left(i % 32) { 255 } else { 0 }]).collect();
    write_png(&path("renders/x.png"), png::ColorType::Rgba, 32, 32, &open);
    assert_eq!(value(&run(&["--background", "646464"]), "mse"), 0.0);
    assert!((value(&run(&[]), "mse") - 0.5 * (155.0f64 / 255.0).powi(2)).abs() < 1e-6);
    fs::remove_file(path("masks/x.png")).unwrap();
    picture(&path("masks/y.png"), 0);
    let (_, err) = score(root.path(), 1, &["renders", "-r", "photos", "--masks", "masks"]);
    assert!(err.contains("renders/x.png: no mask called `x`"), "{err}");
}

#[test]
fn archives_are_sets_of_pictures_too() {
    let root = folders();
    let mut zip = zip::ZipWriter::new(fs::File::create(root.path().join("renders.zip")).unwrap());
    for name in ["a/0", "a/1", "b/0"] {
        zip.start_file(format!("{name}.png"), zip::write::SimpleFileOptions::default()).unwrap();
        std::io::copy(&mut fs::File::open(root.path().join(format!("renders/{name}.png"))).unwrap(), &mut zip).unwrap();
    }
    zip.finish().unwrap();
    let scores = |test: &str| {
        let (items, _) = lines(&score(root.path(), 0, &[test, "-r", "photos", "--json"]).0);
        items.into_iter().map(|(name, item)| (name, item["scores"].clone())).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(scores("renders.zip"), scores("renders"));
}

/// A small head as lossless and standard `.gav`.
fn heads(root: &Path) {
    let avatar = synthetic::head_rigged(2000, 1);
    for (name, profile) in [("exact.gav", Profile::Lossless), ("small.gav", Profile::Fast)] {
        let options = WriteOptions { gav: EncodeOptions { profile, ..Default::default() }, ..Default::default() };
        save(&avatar, root.join(name), format_by_name("gav").unwrap(), &options).unwrap();
    }
}

#[test]
fn assets_are_drawn_from_the_orbit_of_the_reference() {
    let root = tempfile::tempdir().unwrap();
    heads(root.path());
    fs::write(root.path().join("broken.gav"), b"GAV?").unwrap();
    let arguments = ["exact.gav", "small.gav", "broken.gav", "-r", "exact.gav", "--json", "--report", "r.html"];
    let (out, _) = score(root.path(), 1, &arguments);
    let (items, summary) = lines(&out);
    assert_eq!((summary["pairs"].as_u64(), summary["failed"].as_u64()), (Some(12), Some(1)));
    assert_eq!(value(&items["exact.gav/orbit 3"], "psnr-per-image"), f64::INFINITY);
    let small = value(&items["small.gav/orbit 3"], "psnr-per-image");
    assert!((30.0..100.0).contains(&small), "{small}");
    assert_eq!(lines(&score(root.path(), 1, &arguments).0).1["cached"], 12);
}

#[test]
fn assets_are_compared_with_the_photos_of_a_data_set() {
    let root = tempfile::tempdir().unwrap();
    heads(root.path());
    let avatar = synthetic::head_rigged(2000, 1);
    let splats = displayed_splats(&avatar).unwrap();
    let mut frames = Vec::new();
    for (index, camera) in orbit_cameras(&avatar, 96).unwrap().iter().enumerate() {
        let image = render(&*splats, camera, &avatar.render_model.into(), [1.0; 3]);
        write_png(&root.path().join(format!("data/images/{index}.png")), png::ColorType::Rgb, 96, 96, &image.to_rgb8());
        // the file holds world from camera with y up and z back
        let m = camera.camera_from_world;
        let mut matrix = [[0.0; 4]; 4];
        for row in 0..3 {
            for column in 0..3 {
                matrix[row][column] = m[column][row] * if column == 0 { 1.0 } else { -1.0 };
            }
            matrix[row][3] = -(0..3).map(|k| m[k][row] * m[k][3]).sum::<f64>();
        }
        matrix[3][3] = 1.0;
        frames.push(json!({"file_path": format!("images/{index}.png"), "transform_matrix": matrix}));
    }
    let focal = 1.2 * 96.0;
    let file = json!({"w": 96, "h": 96, "fl_x": focal, "fl_y": focal, "cx": 48, "cy": 48, "frames": frames});
    fs::write(root.path().join("data/transforms.json"), file.to_string()).unwrap();
    fs::remove_file(root.path().join("data/images/5.png")).unwrap();
    // the folder stands for the file
    for reference in ["data/transforms.json", "data"] {
        let (out, _) = score(root.path(), 1, &["exact.gav", "-r", reference, "--json"]);
        let (items, summary) = lines(&out);
        assert_eq!((summary["pairs"].as_u64(), summary["failed"].as_u64()), (Some(5), Some(1)), "{out}");
        for item in items.values().filter(|item| item["status"] == "scored") {
            // the photos are rounded to 8 bits: an error of 1/(255 √12)
            let psnr = value(item, "psnr-per-image");
            assert!((58.0..70.0).contains(&psnr), "{item}");
        }
    }
    let (_, err) = score(root.path(), 2, &["exact.gav", "-r", "data/images"]);
    assert!(err.contains("without cameras"), "{err}");
}

/// Checks that every element is closed in order and that nothing is fetched from anywhere.
fn check_page(html: &str) {
    const VOID: [&str; 8] = ["meta", "input", "img", "br", "rect", "line", "path", "hr"];
    let mut open: Vec<String> = Vec::new();
    let mut rest = html.strip_prefix("<!DOCTYPE html>").expect("a document type");
    while let Some(start) = rest.find('<') {
        assert!(
            !rest[..start].contains('>') || open.last().is_some_and(|t| t == "script" || t == "style"),
            "{}",
            &rest[..start]
        );
        rest = &rest[start + 1..];
        let end = rest.find('>').expect("a tag without end");
        let tag = &rest[..end];
        rest = &rest[end + 1..];
        let name: String = tag.trim_start_matches('/').chars().take_while(char::is_ascii_alphanumeric).collect();
        assert!(!name.is_empty(), "<{tag}>");
        assert_eq!(tag.matches('"').count() % 2, 0, "<{tag}>");
        if tag.starts_with('/') {
            // an SVG element may have a body
            let last = open.pop();
            assert_eq!(last.as_ref(), Some(&name), "</{name}>");
        } else if !VOID.contains(&name.as_str()) || (name == "rect" || name == "line") && !tag.ends_with('/') {
            open.push(name.clone());
            if name == "script" || name == "style" {
                let close = format!("</{name}>");
                rest = &rest[rest.find(&close).expect("a closed script or style")..];
            }
        }
    }
    assert!(open.is_empty(), "not closed: {open:?}");
    for foreign in ["http:", "https:", "src=\"//", "href=\"//", "@import", "url(", "fetch(", "import(", "<link"] {
        assert!(!html.contains(foreign), "{foreign}");
    }
    let sources = html.match_indices(" src=\"").map(|(at, _)| &html[at + 6..at + 16]);
    assert!(sources.into_iter().all(|source| source == "data:image"));
}

#[test]
fn the_report_is_well_formed_fetches_nothing_and_escapes_names() {
    let root = folders();
    let odd = "a/<script>alert(1)<\u{2215}script> & \"b\"";
    picture(&root.path().join(format!("photos/{odd}.png")), 0);
    picture(&root.path().join(format!("renders/{odd}.png")), 100);
    picture(&root.path().join("renders/no <b>reference</b>.png".replace("</", "<\u{2215}")), 0);
    let metrics = "psnr,psnr-pooled,psnr-per-channel,mse,l1,ssim,ssim-valid,ssim-skimage,ssim-torchmetrics";
    let arguments = ["renders", "-r", "photos", "--metrics", metrics, "--report", "one.html", "-q"];
    let (out, _) = score(root.path(), 1, &arguments);
    assert_eq!(out, "");
    let page = fs::read_to_string(root.path().join("one.html")).unwrap();
    check_page(&page);
    assert_eq!(page.matches("<img").count(), 4 * 3);
    assert!(page.contains("&lt;script&gt;alert(1)") && !page.contains("<script>alert(1)"));
    // the data between the tags is JSON
    let data = page.split("id=\"data\">").nth(1).unwrap().split("</script>").next().unwrap();
    let data: Value = serde_json::from_str(data).unwrap();
    assert_eq!((data["pairs"].as_array().unwrap().len(), data["columns"].as_array().unwrap().len()), (4, 9));
    // the same scores give the same page, cached or not
    score(root.path(), 1, &[&arguments[..5], &["--report", "two.html", "-q", "--no-cache"]].concat());
    assert_eq!(page, fs::read_to_string(root.path().join("two.html")).unwrap());
    // equal pictures only: nothing to draw a distribution of
    let (_, _) = score(root.path(), 0, &["photos", "-r", "photos", "--report", "equal.html", "-q"]);
    check_page(&fs::read_to_string(root.path().join("equal.html")).unwrap());
}

/// A file system of 64 kB, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: PathBuf) -> Option<Self> {
        fs::create_dir(&path).unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(&path).output();
        mount.is_ok_and(|output| output.status.success()).then_some(Self(path))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_costs_only_what_does_not_fit() {
    let root = folders();
    let Some(disk) = SmallDisk::mount(root.path().join("disk")) else {
        eprintln!("SKIPPED: no file system can be mounted here");
        return;
    };
    fs::write(disk.0.join("filler"), vec![7; 48 << 10]).unwrap();
    fs::write(disk.0.join("report.html"), b"an earlier report").unwrap();
    let arguments = ["renders", "-r", "photos", "--report", "disk/report.html", "--csv", "scores.csv"];
    let (out, err) = score(root.path(), 1, &arguments);
    assert!(err.contains("disk/report.html") && err.contains("space"), "{err}");
    assert!(out.contains("3 pairs scored") && out.contains("written: scores.csv"), "{out}");
    assert_eq!(fs::read(disk.0.join("report.html")).unwrap(), b"an earlier report");
    let left: Vec<_> = fs::read_dir(&disk.0).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
    // a cache that cannot be written costs nothing but the next run's time
    fs::write(disk.0.join("more"), vec![7; 12 << 10]).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_gav"));
    command.current_dir(root.path()).env("GAV_CACHE", disk.0.join("cache")).env("GAV_DATA", root.path().join("data"));
    let output = command.args(["score", "renders", "-r", "photos", "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn jpeg_pictures_are_read_and_exr_pictures_with_nan_are_named() {
    let root = tempfile::tempdir().unwrap();
    let pixel = |i: u32| [i % 32 * 8, i / 32 * 10, 255 - i % 32 * 4 - i / 32 * 4].map(|v| v as u8);
    let data: Vec<u8> = (0..32 * 24).flat_map(pixel).collect();
    write_png(&root.path().join("photos/gradient.png"), png::ColorType::Rgb, 32, 24, &data);
    write_png(&root.path().join("photos/hole.png"), png::ColorType::Rgb, 32, 24, &data);
    let renders = root.path().join("renders");
    fs::create_dir(&renders).unwrap();
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/gradient.jpg");
    fs::copy(fixture, renders.join("gradient.jpg")).unwrap();
    let hole = |x: usize, y: usize| (if (x, y) == (3, 4) { f32::NAN } else { 0.5 }, 0.5f32, 0.5f32);
    exr::prelude::write_rgb_file(renders.join("hole.exr"), 32, 24, hole).unwrap();
    let (out, _) = score(root.path(), 1, &["renders", "-r", "photos", "--json"]);
    let (items, _) = lines(&out);
    let scored = items.values().find(|item| item["status"] == "scored").unwrap();
    // 48.47 dB with libjpeg; decoders may round the cosine transform otherwise
    let found = value(scored, "psnr-per-image");
    assert!((found - 48.47).abs() < 0.5, "{found}");
    assert!(out.contains("renders/hole.exr") && out.contains("not finite"), "{out}");
}

#[test]
fn a_killed_run_goes_on_and_ends_with_the_same_scores() {
    let root = tempfile::tempdir().unwrap();
    for i in 0..24u32 {
        for (folder, offset) in [("photos", 0), ("renders", i as u8)] {
            let data: Vec<u8> = (0..256 * 256 * 3u32).map(|k| (k * (i + 3) % 101) as u8 + offset).collect();
            write_png(&root.path().join(format!("{folder}/{i}.png")), png::ColorType::Rgb, 256, 256, &data);
        }
    }
    let arguments = ["renders", "-r", "photos", "--metrics", "psnr-per-image,ssim-zero-pad,ms-ssim", "--json"];
    let scores = |out: &str| -> Vec<Value> {
        lines(out).0.into_values().map(|item| json!({"name": item["name"], "scores": item["scores"]})).collect()
    };
    let expected = {
        let undisturbed = [&arguments[..], &["--no-cache"]].concat();
        scores(&score(root.path(), 0, &undisturbed).0)
    };
    for milliseconds in [5, 20, 45, 80, 120, 200] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_gav"))
            .current_dir(root.path())
            .env("GAV_CACHE", root.path().join("cache"))
            .env("GAV_DATA", root.path().join("data"))
            .arg("score")
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(milliseconds));
        // SIGKILL; a run that was quicker has nothing left to kill
        let _ = child.kill();
        child.wait().unwrap();
    }
    let (out, _) = score(root.path(), 0, &arguments);
    assert_eq!(scores(&out), expected);
    let (out, _) = score(root.path(), 0, &arguments);
    assert_eq!(lines(&out).1["cached"], 24, "{out}");
    assert_eq!(scores(&out), expected);
}
