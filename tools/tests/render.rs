//! `gav render` as a user meets it: every kind of file, right side up, rightly coloured, resumed, refused.

use std::{
    collections::BTreeMap,
    fs,
    io::Cursor,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use gav_formats::{
    Avatar, Camera, FORMATS, Frame, Limits, Splats, WriteOptions, Writer,
    conventions::sh0_from_color,
    format_by_name,
    npy::{NpyType, read_npy},
    save, synthetic,
};
use serde_json::{Value, json};
use tempfile::TempDir;

const RED: [f32; 3] = [0.9, 0.1, 0.1];
const BLUE: [f32; 3] = [0.1, 0.1, 0.9];
const GREEN: [f32; 3] = [0.1, 0.9, 0.1];

/// Red above, blue below, both a little to the viewer's left; green behind, to the right. Axes x right, y up, z back.
fn marks() -> Avatar {
    let mut splats = Splats::with_len(3, 0);
    splats.means = vec![[-0.5, 1.0, 0.2], [-0.5, -1.0, 0.2], [0.8, 0.0, -0.5]];
    splats.log_scales = vec![[-1.3; 3]; 3];
    splats.opacity_logits = vec![6.0; 3];
    splats.sh0 = [RED, BLUE, GREEN].map(|color| color.map(sh0_from_color)).to_vec();
    Avatar::new(splats, Frame::RUB)
}

fn write(avatar: &Avatar, path: &Path, format: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    save(avatar, path, format_by_name(format).unwrap(), &WriteOptions::default()).unwrap();
}

/// A folder with `marks.gav`.
fn place() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    write(&marks(), &root.path().join("marks.gav"), "gav");
    root
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gav"));
    command.current_dir(folder).stdin(Stdio::null()).arg("render").args(arguments).output().unwrap()
}

/// Runs and checks the exit code; gives standard output and standard error.
fn expect(folder: &Path, code: i32, arguments: &[&str]) -> (String, String) {
    let output = run(folder, arguments);
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{out}\n{err}");
    (out, err)
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

/// Every file below `folder` with its bytes, by relative name.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = walkdir::WalkDir::new(folder).into_iter().map(Result::unwrap).filter(|e| e.file_type().is_file());
    entries
        .map(|e| (e.path().strip_prefix(folder).unwrap().to_string_lossy().into_owned(), fs::read(e.path()).unwrap()))
        .collect()
}

/// A decoded picture: channels from 0 to 1.
struct Seen {
    width: usize,
    height: usize,
    channels: usize,
    data: Vec<f32>,
}

impl Seen {
    fn at(&self, x: f64, y: f64) -> &[f32] {
        let (column, row) = ((x * self.width as f64) as usize, (y * self.height as f64) as usize);
        &self.data[(row * self.width + column) * self.channels..][..self.channels]
    }

    fn bytes(width: u32, height: u32, bytes: &[u8]) -> Self {
        let (width, height) = (width as usize, height as usize);
        let channels = bytes.len() / (width * height);
        Self { width, height, channels, data: bytes.iter().map(|b| f32::from(*b) / 255.0).collect() }
    }

    /// The place of the pixel that is nearest to a colour, as shares of width and height.
    fn place_of(&self, color: [f32; 3]) -> [f64; 2] {
        let distance = |p: &[f32]| (0..3).map(|c| (p[c] - color[c]).powi(2)).sum::<f32>();
        let pixels = self.data.chunks_exact(self.channels).enumerate();
        let (index, best) = pixels.min_by(|a, b| distance(a.1).total_cmp(&distance(b.1))).unwrap();
        assert!(distance(best) < 0.02, "{color:?} is not in the picture: {best:?}");
        [(index % self.width) as f64 / self.width as f64, (index / self.width) as f64 / self.height as f64]
    }

    /// From the front, everything is where it belongs.
    fn check_front(&self, what: &str) {
        let [red, blue, green] = [RED, BLUE, GREEN].map(|c| self.place_of(c));
        assert!(red[1] < 0.35 && blue[1] > 0.65, "{what}: red {red:?}, blue {blue:?}");
        assert!(red[0] < 0.5 && green[0] > 0.55, "{what}: red {red:?}, green {green:?}");
    }
}

fn png(path: &Path) -> Seen {
    let mut reader = png::Decoder::new(Cursor::new(fs::read(path).unwrap())).read_info().unwrap();
    let mut data = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut data).unwrap();
    if info.bit_depth == png::BitDepth::Sixteen {
        let wide = data.chunks_exact(2).map(|b| f32::from(u16::from_be_bytes([b[0], b[1]])) / 65535.0).collect();
        return Seen { width: info.width as usize, height: info.height as usize, channels: 1, data: wide };
    }
    Seen::bytes(info.width, info.height, &data)
}

fn webp(path: &Path) -> Seen {
    let mut decoder = image_webp::WebPDecoder::new(Cursor::new(fs::read(path).unwrap())).unwrap();
    assert!(!decoder.is_lossy());
    let mut data = vec![0; decoder.output_buffer_size().unwrap()];
    decoder.read_image(&mut data).unwrap();
    let (width, height) = decoder.dimensions();
    Seen::bytes(width, height, &data)
}

/// The channels of an EXR in the order of `names`.
fn exr(path: &Path, names: &[&str]) -> Seen {
    use exr::prelude::*;
    let image = read().no_deep_data().largest_resolution_level().all_channels().first_valid_layer().all_attributes();
    let image = image.from_file(path).unwrap();
    let layer = &image.layer_data;
    let channel = |name: &str| -> Vec<f32> {
        let list = &layer.channel_data.list;
        let found = list.iter().find(|c| c.name.eq(name)).unwrap_or_else(|| panic!("no channel {name}"));
        found.sample_data.values_as_f32().collect()
    };
    let planes: Vec<Vec<f32>> = names.iter().map(|n| channel(n)).collect();
    let data = (0..planes[0].len()).flat_map(|i| planes.iter().map(move |p| p[i])).collect();
    Seen { width: layer.size.0, height: layer.size.1, channels: names.len(), data }
}

fn npy(path: &Path) -> Seen {
    let array = read_npy(&fs::read(path).unwrap(), &Limits::default()).unwrap();
    assert_eq!(array.dtype, NpyType::F32);
    let data = array.data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    let channels = array.shape.get(2).copied().unwrap_or(1);
    Seen { width: array.shape[1], height: array.shape[0], channels, data }
}

/// All pictures of a GIF as RGBA, and the delays in hundredths of a second.
fn gif(path: &Path) -> (Vec<Seen>, Vec<u16>) {
    let mut options = gif::DecodeOptions::new();
    options.set_color_output(gif::ColorOutput::RGBA);
    let mut decoder = options.read_info(Cursor::new(fs::read(path).unwrap())).unwrap();
    let (mut pictures, mut delays) = (Vec::new(), Vec::new());
    while let Some(frame) = decoder.read_next_frame().unwrap() {
        pictures.push(Seen::bytes(frame.width.into(), frame.height.into(), &frame.buffer));
        delays.push(frame.delay);
    }
    (pictures, delays)
}

/// All pictures of a film: boxes read by `re_mp4`, the stream decoded by OpenH264, colours turned back by BT.709.
fn mp4(path: &Path) -> Vec<Seen> {
    let bytes = fs::read(path).unwrap();
    let film = re_mp4::Mp4::read_bytes(&bytes).unwrap();
    let track = film.tracks().values().next().unwrap();
    let re_mp4::StsdBoxContent::Avc1(entry) = &track.trak(&film).mdia.minf.stbl.stsd.contents else {
        panic!("no H.264");
    };
    assert!(track.samples[0].is_sync);
    let mut stream = Vec::new();
    let code = [0, 0, 0, 1];
    for set in entry.avcc.sequence_parameter_sets.iter().chain(&entry.avcc.picture_parameter_sets) {
        stream.extend([&code[..], &set.bytes].concat());
    }
    let mut decoder = openh264::decoder::Decoder::new().unwrap();
    let mut pictures = Vec::new();
    for sample in &track.samples {
        let mut data = &bytes[sample.offset as usize..][..sample.size as usize];
        while !data.is_empty() {
            let length = u32::from_be_bytes(data[..4].try_into().unwrap()) as usize;
            stream.extend([&code[..], &data[4..4 + length]].concat());
            data = &data[4 + length..];
        }
        if let Some(picture) = decoder.decode(&stream).unwrap() {
            pictures.push(from_yuv(&picture));
        }
        stream.clear();
    }
    pictures.extend(decoder.flush_remaining().unwrap().iter().map(from_yuv));
    assert_eq!(pictures.len(), track.samples.len());
    pictures
}

fn from_yuv(picture: &impl openh264::formats::YUVSource) -> Seen {
    let ((width, height), (luma, u_row, v_row)) = (picture.dimensions(), picture.strides());
    let mut data = Vec::new();
    for row in 0..height {
        for column in 0..width {
            let y = (f32::from(picture.y()[row * luma + column]) - 16.0) / 219.0;
            let blue = (f32::from(picture.u()[row / 2 * u_row + column / 2]) - 128.0) / 224.0;
            let red = (f32::from(picture.v()[row / 2 * v_row + column / 2]) - 128.0) / 224.0;
            // BT.709: Kr 0.2126, Kb 0.0722
            data.extend([y + 1.5748 * red, y - 0.1873 * blue - 0.4681 * red, y + 1.8556 * blue]);
        }
    }
    Seen { width, height, channels: 3, data }
}

fn linear(value: f32) -> f32 {
    if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
}

#[test]
fn every_format_of_assets_is_drawn_right_side_up_from_the_front() {
    let root = tempfile::tempdir().unwrap();
    let written: Vec<_> = FORMATS.iter().filter(|f| f.write.is_some()).collect();
    for format in &written {
        let folder = matches!(format.write, Some(Writer::Folder(_)));
        let name = if folder { format.id.to_owned() } else { format!("{}.{}", format.id, format.extensions[0]) };
        write(&marks(), &root.path().join("in").join(name), format.id);
    }
    expect(root.path(), 0, &["in", "-o", "out", "--cameras", "front", "--size", "96"]);
    let pictures: Vec<PathBuf> = files(&root.path().join("out"))
        .into_keys()
        .filter(|n| n.ends_with(".png"))
        .map(|n| root.path().join("out").join(n))
        .collect();
    assert_eq!(pictures.len(), written.len(), "{pictures:?}");
    for path in pictures {
        let picture = png(&path);
        assert_eq!((picture.width, picture.height, picture.channels), (96, 96, 3));
        picture.check_front(&path.display().to_string());
        assert_eq!(picture.at(0.02, 0.02), [1.0; 3], "white is the default");
    }
}

#[test]
fn stills_of_every_kind_show_the_same() {
    let root = place();
    let common = ["marks.gav", "-o", "out", "--frames", "4", "--size", "80x60", "--alpha", "--depth"];
    let (out, _) = expect(root.path(), 0, &[&common[..], &["--format", "png,webp,exr,npy", "--json"]].concat());
    let item = &json_lines(&out)[0];
    assert_eq!((&item["status"], &item["views"], &item["splats"]), (&"rendered".into(), &4.into(), &3.into()));
    let endings = ["alpha.npy", "alpha.png", "depth.npy", "exr", "npy", "png", "webp"];
    let made: Vec<String> = files(&root.path().join("out")).into_keys().collect();
    let expected: Vec<String> = (0..4).flat_map(|k| endings.map(|e| format!("marks/{k:03}.{e}"))).collect();
    assert_eq!(made, expected);
    assert_eq!(item["files"].as_array().unwrap().len(), expected.len());

    let base = root.path().join("out/marks");
    let file = |ending: &str| base.join(format!("000.{ending}"));
    let picture = png(&file("png"));
    assert_eq!((picture.width, picture.height), (80, 60));
    picture.check_front("png");
    assert_eq!(picture.data, webp(&file("webp")).data, "lossless");
    let blended = npy(&file("npy"));
    assert_eq!((blended.width, blended.height, blended.channels), (80, 60, 3));
    let deep = exr(&file("exr"), &["R", "G", "B", "A", "Z"]);
    let (alpha, depth) = (npy(&file("alpha.npy")), npy(&file("depth.npy")));
    let grey = png(&file("alpha.png"));
    for pixel in 0..80 * 60 {
        for c in 0..3 {
            let value = blended.data[pixel * 3 + c];
            assert!((value.clamp(0.0, 1.0) - picture.data[pixel * 3 + c]).abs() < 0.5 / 255.0 + 1e-6);
            assert!((linear(value) - deep.data[pixel * 5 + c]).abs() < 1e-5);
        }
        assert_eq!((alpha.data[pixel], depth.data[pixel]), (deep.data[pixel * 5 + 3], deep.data[pixel * 5 + 4]));
        assert!((grey.data[pixel] - alpha.data[pixel]).abs() < 1e-5);
        assert_eq!(alpha.data[pixel] == 0.0, depth.data[pixel] == 0.0);
    }
    // the red splat lies before the green one, seen from the front
    let [red, green] = [RED, GREEN].map(|c| {
        let [x, y] = picture.place_of(c);
        depth.at(x, y)[0]
    });
    assert!((0.3..1.2).contains(&(green - red)), "{red} {green}");
}

#[test]
fn open_backgrounds_have_straight_colours() {
    let root = place();
    let (base, back) = (root.path().join("out"), ["--background", "transparent"]);
    let common = ["marks.gav", "-o", "out", "--cameras", "front", "--size", "64"];
    expect(root.path(), 0, &[&common[..], &back, &["--format", "png,webp,exr,npy,gif"]].concat());
    let picture = png(&base.join("marks.png"));
    assert_eq!(picture.channels, 4);
    assert_eq!(picture.at(0.01, 0.01), [0.0; 4]);
    // the rim of a splat is as red as its middle; only the red one reaches into the upper quarter
    let upper = &picture.data[..16 * 64 * 4];
    let rim: Vec<&[f32]> = upper.chunks_exact(4).filter(|p| (0.1..0.6).contains(&p[3])).collect();
    assert!(rim.len() > 10, "{}", rim.len());
    assert!(rim.iter().all(|p| (p[0] - RED[0]).abs() < 0.03 && (p[2] - RED[2]).abs() < 0.03), "{rim:?}");
    let densest = (0..16 * 64).max_by(|a, b| upper[a * 4 + 3].total_cmp(&upper[b * 4 + 3])).unwrap();
    let [x, y] = [densest % 64, densest / 64].map(|v| (v as f64 + 0.5) / 64.0);
    assert_eq!(webp(&base.join("marks.webp")).data, picture.data);
    let raw = npy(&base.join("marks.npy"));
    assert_eq!(raw.channels, 4);
    assert!((raw.at(x, y)[0] - RED[0] * raw.at(x, y)[3]).abs() < 0.01, "multiplied by the coverage");
    assert!(exr(&base.join("marks.exr"), &["A"]).at(0.01, 0.01) == [0.0]);
    let (frames, _) = gif(&base.join("marks.gif"));
    assert_eq!(frames[0].at(0.01, 0.01)[3], 0.0);
    assert_eq!(frames[0].at(x, y)[3], 1.0);
    let (_, err) = expect(root.path(), 2, &["marks.gav", "-o", "a.mp4", "--background", "transparent"]);
    assert!(err.contains("MP4 knows no transparency"), "{err}");
}

#[test]
fn films_show_the_turn_at_their_pace_in_the_right_colours() {
    let root = place();
    let common = ["marks.gav", "-o", "out", "--frames", "8", "--background", "336699", "--fps", "12"];
    // an odd size: MP4 gains a row and a column
    expect(root.path(), 0, &[&common[..], &["--size", "97x81", "--format", "png,gif,mp4"]].concat());
    let base = root.path().join("out");
    let stills: Vec<Seen> = (0..8).map(|k| png(&base.join(format!("marks/{k:03}.png")))).collect();
    let (frames, delays) = gif(&base.join("marks.gif"));
    assert_eq!((frames.len(), delays.iter().map(|d| u32::from(*d)).sum::<u32>()), (8, 67), "8 pictures in 8/12 s");
    let film = mp4(&base.join("marks.mp4"));
    assert_eq!((film.len(), film[0].width, film[0].height), (8, 98, 82));
    stills[0].check_front("png");
    frames[0].check_front("gif");
    film[0].check_front("mp4");
    for (k, still) in stills.iter().enumerate() {
        for (what, other, least) in [("gif", &frames[k], 30.0), ("mp4", &film[k], 36.0)] {
            let mut sum = 0.0;
            for row in 0..81 {
                for column in 0..97 {
                    for c in 0..3 {
                        let a = still.data[(row * 97 + column) * 3 + c];
                        let b = other.data[(row * other.width + column) * other.channels + c];
                        sum += f64::from(a - b).powi(2);
                    }
                }
            }
            let psnr = -10.0 * (sum / f64::from(97 * 81 * 3)).log10();
            // measured: 33 to 36 dB with 256 colours and error diffusion, 39 to 41 dB with halved chroma
            assert!(psnr > least, "{what} {k}: {psnr} dB");
        }
    }
    let sheet_only = ["marks.gav", "-o", "turn.png", "--sheet", "each", "--frames", "8"];
    expect(root.path(), 0, &sheet_only);
    assert!(png(&root.path().join("turn.png")).width > 3 * 256);
}

#[test]
fn one_file_is_written_exactly_and_from_the_front() {
    let root = place();
    expect(root.path(), 0, &["marks.gav", "-o", "deep/er/one.png"]);
    let picture = png(&root.path().join("deep/er/one.png"));
    assert_eq!((picture.width, picture.height), (512, 512));
    picture.check_front("one.png");
    assert_eq!(files(root.path()).len(), 2, "no record for a single file");
    let (_, err) = expect(root.path(), 2, &["marks.gav", "-o", "deep/er/one.png"]);
    assert!(err.contains("1 file is in the way") && err.contains("--force"), "{err}");
    expect(root.path(), 0, &["marks.gav", "-o", "deep/er/one.png", "--force", "--depth", "--size", "32"]);
    assert!(root.path().join("deep/er/one.depth.npy").exists());
    write(&marks(), &root.path().join("other.ply"), "ply");
    for (arguments, expected) in [
        (vec!["marks.gav", "-o", "x.png", "--cameras", "turntable"], "is one picture, and there are 24 cameras"),
        (vec!["marks.gav", "-o", "x.png", "--frames", "36"], "is one picture, and there are 36 cameras"),
        (vec!["marks.gav", "-o", "x", "--cameras", "front", "--frames", "2"], "--frames has no meaning"),
        (vec!["marks.gav", "-o", "x", "--cameras", "stored", "--fov", "20"], "--fov has no meaning"),
        (vec!["marks.gav", "-o", "x", "--camera-axes", "opencv"], "--camera-axes has no meaning"),
        (vec!["marks.gav", "-o", "x.png", "--format", "webp"], "--format says otherwise"),
        (vec!["marks.gav", "-o", "x.gif", "--fps", "60"], "50 pictures a second"),
        (vec!["marks.gav", "-o", "x.mp4", "--size", "8x8"], "MP4 of 8 x 8"),
        (vec!["marks.gav", "-o", "x.mp4", "--alpha"], "go with single pictures"),
        (vec!["marks.gav", "-o", "x", "--cameras", "nowhere"], "no such cameras"),
        (vec!["marks.gav", ".", "-o", "x.png"], "one file, and there are 2 inputs"),
        (vec!["marks.gav", "-o", "x", "--size", "0"], "invalid value"),
        (vec!["marks.gav", "-o", "x", "--background", "blurple"], "invalid value"),
    ] {
        let (_, err) = expect(root.path(), 2, &arguments);
        assert!(err.contains(expected), "{arguments:?}: {err}");
    }
    assert!(!root.path().join("x").exists() && !root.path().join("x.png").exists());
}

#[test]
fn a_gpu_draws_what_the_processor_draws() {
    let root = tempfile::tempdir().unwrap();
    write(&synthetic::head(4000, 3), &root.path().join("head.gav"), "gav");
    let arguments = |device: &'static str, out: &'static str| {
        ["head.gav", "-o", out, "--frames", "5", "--size", "96x64", "--device", device, "--alpha"]
    };
    let output = run(root.path(), &arguments("cuda", "gpu"));
    if !output.status.success() {
        let err = String::from_utf8(output.stderr).unwrap();
        assert!(err.contains("gav doctor"), "{err}");
        eprintln!("SKIPPED on CUDA: {err}");
        return;
    }
    expect(root.path(), 0, &arguments("cpu", "cpu"));
    for frame in 0..5 {
        for name in [format!("00{frame}.png"), format!("00{frame}.alpha.png")] {
            let [a, b] = ["gpu", "cpu"].map(|f| png(&root.path().join(f).join("head").join(&name)).data);
            assert_eq!(a.len(), b.len());
            let far = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            // sums of f32 in another order, then rounded
            assert!(far < 1.5 / 255.0, "{name}: {far}");
        }
    }
}

#[test]
fn resume_skips_what_is_complete_and_redoes_what_is_not() {
    let root = tempfile::tempdir().unwrap();
    for (index, name) in ["a.gav", "b.gav", "deep/c.gav"].iter().enumerate() {
        write(&synthetic::random(200, 1, index as u64), &root.path().join("in").join(name), "gav");
    }
    let common = ["in", "-o", "out", "--frames", "3", "--size", "40", "--format", "png,gif", "--json"];
    let statuses = |extra: &[&str]| -> Vec<String> {
        let (out, _) = expect(root.path(), 0, &[&common[..], extra].concat());
        let lines = json_lines(&out);
        let mut all: Vec<String> = lines
            .iter()
            .filter(|l| l["type"] == "item")
            .map(|l| format!("{} {}", l["input"].as_str().unwrap(), l["status"].as_str().unwrap()))
            .collect();
        all.sort();
        all
    };
    assert_eq!(statuses(&["--dry-run"]).iter().filter(|s| s.ends_with("planned")).count(), 3);
    assert!(!root.path().join("out").exists(), "a dry run writes nothing");
    assert_eq!(statuses(&[]).iter().filter(|s| s.ends_with("rendered")).count(), 3);
    let first = files(&root.path().join("out"));
    assert_eq!(first.len(), 3 * 4 + 1);
    assert_eq!(statuses(&["--resume"]).iter().filter(|s| s.ends_with("skipped")).count(), 3);
    expect(root.path(), 2, &common);

    // a lost and a changed picture, and a changed asset
    fs::remove_file(root.path().join("out/a/001.png")).unwrap();
    fs::write(root.path().join("out/b.gif"), b"GIF89a").unwrap();
    let redone = statuses(&["--resume"]);
    assert_eq!(redone, ["in/a.gav rendered", "in/b.gav rendered", "in/deep/c.gav skipped"]);
    assert_eq!(files(&root.path().join("out")), first, "the same input gives the same bytes");
    // other options are another job, and the pictures of the longer turn go
    let shorter = ["in", "-o", "out", "--frames", "2", "--size", "40", "--format", "png,gif", "--resume"];
    expect(root.path(), 0, &shorter);
    assert!(!root.path().join("out/a/002.png").exists() && root.path().join("out/a/001.png").exists());
}

#[test]
fn a_broken_asset_is_named_and_the_others_are_drawn() {
    let root = place();
    let whole = fs::read(root.path().join("marks.gav")).unwrap();
    fs::create_dir(root.path().join("in")).unwrap();
    fs::rename(root.path().join("marks.gav"), root.path().join("in/marks.gav")).unwrap();
    fs::write(root.path().join("in/short.gav"), &whole[..whole.len() / 2]).unwrap();
    let mut nowhere = marks();
    nowhere.splats.means.fill([f32::NAN; 3]);
    write(&nowhere, &root.path().join("in/nowhere.ply"), "ply");
    let (out, err) = expect(root.path(), 1, &["in", "-o", "out", "--cameras", "front", "--size", "32"]);
    assert!(out.contains("1 written, 2 failed"), "{out}");
    assert!(err.contains("error: in/short.gav: ") && err.contains("error: in/nowhere.ply: "), "{err}");
    assert!(root.path().join("out/marks.png").exists());
    let (out, err) =
        expect(root.path(), 1, &["in", "-o", "out", "--cameras", "front", "--size", "32", "--resume", "--json"]);
    let failed: Vec<Value> = json_lines(&out).into_iter().filter(|l| l["status"] == "failed").collect();
    assert_eq!((failed.len(), err.as_str()), (2, ""));
    assert!(failed.iter().all(|f| f["error"]["message"].is_string()));
}

#[test]
fn cameras_of_a_data_set_name_the_pictures_and_keep_their_size() {
    let root = place();
    let pose = json!([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 6.0], [0.0, 0.0, 0.0, 1.0]]);
    let frame = |name: &str| json!({"file_path": format!("images/{name}"), "transform_matrix": pose});
    let data = json!({"camera_angle_x": 0.7, "w": 120, "h": 90, "frames": [frame("00000_08.png"), frame("00001_08.png"), frame("00002_08.png")]});
    fs::write(root.path().join("transforms.json"), data.to_string()).unwrap();
    expect(root.path(), 0, &["marks.gav", "-o", "out", "--cameras", "transforms.json"]);
    let made: Vec<String> = files(&root.path().join("out")).into_keys().collect();
    assert_eq!(made, ["marks/00000_08.png", "marks/00001_08.png", "marks/00002_08.png"]);
    let picture = png(&root.path().join("out/marks/00000_08.png"));
    assert_eq!((picture.width, picture.height), (120, 90));
    picture.check_front("transforms.json");

    // an SPZ has turned axes when it was made from a PLY of the same data set
    let mut trained = marks();
    trained.frame = Frame::RDF;
    write(&trained, &root.path().join("trained.spz"), "spz");
    let arguments =
        ["trained.spz", "-o", "small.webp", "--cameras", "transforms.json", "--frames", "1", "--size", "60"];
    expect(root.path(), 0, &[&arguments[..], &["--cameras-frame", "RDF"]].concat());
    let small = webp(&root.path().join("small.webp"));
    assert_eq!((small.width, small.height), (60, 45));
    small.check_front("--cameras-frame");
    let wrong = ["trained.spz", "-o", "wrong", "--cameras", "transforms.json", "--size", "50x50"];
    let (_, err) = expect(root.path(), 2, &wrong);
    assert!(err.contains("another shape"), "{err}");
    fs::write(root.path().join("broken.json"), b"{}").unwrap();
    let (_, err) = expect(root.path(), 1, &["marks.gav", "-o", "b", "--cameras", "broken.json"]);
    assert!(err.contains("broken.json: cameras: neither a list"), "{err}");
}

#[test]
fn cameras_stored_in_the_asset_are_used() {
    let root = tempfile::tempdir().unwrap();
    let mut avatar = marks();
    let camera = |name: &str, z: f64| Camera {
        name: name.to_owned(),
        width: 70,
        height: 50,
        focal: [60.0; 2],
        principal: [35.0, 25.0],
        camera_from_world: [[1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.0], [0.0, 0.0, -1.0, z]],
        orthographic: false,
    };
    avatar.cameras = vec![camera("near", 4.0), camera("far", 8.0)];
    write(&avatar, &root.path().join("a.gav"), "gav");
    expect(root.path(), 0, &["a.gav", "-o", "out", "--cameras", "stored"]);
    let made: Vec<String> = files(&root.path().join("out")).into_keys().collect();
    assert_eq!(made, ["a/far.png", "a/near.png"]);
    png(&root.path().join("out/a/near.png")).check_front("stored");
    let (_, err) = expect(root.path(), 1, &["a.gav", "-o", "one.png", "--cameras", "stored"]);
    assert!(err.contains("2 cameras, and one.png is one picture"), "{err}");
    write(&marks(), &root.path().join("b.gav"), "gav");
    let (_, err) = expect(root.path(), 1, &["b.gav", "-o", "b", "--cameras", "stored"]);
    assert!(err.contains("no camera is stored in it"), "{err}");
}

#[test]
fn one_sheet_shows_all_assets_and_is_resumed() {
    let root = tempfile::tempdir().unwrap();
    for name in ["a.gav", "b.ply", "b.spz"] {
        write(&marks(), &root.path().join("in").join(name), name.rsplit('.').next().unwrap());
    }
    let arguments = ["in", "-o", "out", "--sheet", "all", "--cameras", "front", "--size", "100", "--resume"];
    expect(root.path(), 0, &arguments);
    let made: Vec<String> = files(&root.path().join("out")).into_keys().collect();
    assert_eq!(made, [".gav-render.json", "sheet.png"]);
    let sheet = png(&root.path().join("out/sheet.png"));
    // two columns of 100 pixels with gaps of 8, two rows with a label of 16
    assert_eq!((sheet.width, sheet.height), (8 + 2 * 108, 8 + 2 * 124));
    let (out, _) = expect(root.path(), 0, &[&arguments[..], &["--json"]].concat());
    assert_eq!(json_lines(&out).last().unwrap()["skipped"], 3);
    // both files called b keep their whole names
    expect(root.path(), 0, &["in", "-o", "out", "--cameras", "front", "--size", "16", "--resume"]);
    let made: Vec<String> = files(&root.path().join("out")).into_keys().filter(|n| n.ends_with(".png")).collect();
    assert_eq!(made, ["a.png", "b.ply.png", "b.spz.png", "sheet.png"]);
}
