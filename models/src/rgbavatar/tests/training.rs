//! Trainings from end to end, and what goes wrong with captures.

use std::fs;

use gav_formats::{Pose, ReadOptions};

use super::{Frame, capture, disc, picture, sheet};
use crate::{
    puppet::Puppet,
    rgbavatar::{Checkpoint, CpuEngine, Dataset, ExportOptions, Options, Shape, State, avatar, schedule},
    stga::Progress,
};

/// Height, width.
const SIZE: [i64; 2] = [24, 32];

fn options() -> Options {
    let mut options = Options::offline();
    options.model.tex_size = 16;
    options.model.num_basis_blend = 4;
    // splats of 4 mm, for a sheet of 12 cm with a texel every 9 mm
    options.model.init_scaling = 0.004;
    options.train.batch_size = 4;
    options.train.recon.blend_start_iter = 80;
    options.train.recon.bg_color = [0.0; 3];
    options.dataset.test_frames = 2;
    options
}

fn begin(data: &Dataset, options: &Options) -> State {
    let seats = data.seats(&options.model).unwrap();
    let shape = Shape::new(&options.model, seats.len());
    State::new(shape, &seats, shape.initial(&options.model, options.seed))
}

fn run(engine: &mut CpuEngine<'_>, data: &Dataset, options: &Options, steps: std::ops::Range<u32>) {
    for step in steps {
        let size = options.train.batch_size as usize;
        let batch = schedule::batch(options.seed, step, data.trained(), size);
        let backgrounds = schedule::backgrounds(&options.train.recon, options.seed, step, batch.len());
        engine.step(&batch, &backgrounds).unwrap();
    }
}

/// Mean absolute difference from the pictures of training frames, over black.
fn error(engine: &CpuEngine<'_>, data: &Dataset) -> f64 {
    let of = |frame: usize| {
        let drawn = engine.draw(frame, [0.0; 3]).rgb;
        let picture = data.pictures.get(frame).unwrap();
        let matte = picture.mask.as_ref().unwrap();
        let photo = picture.rgb.iter().enumerate().map(|(k, v)| f64::from(*v) * f64::from(matte[k / 3]) / 65025.0);
        drawn.iter().zip(photo).map(|(a, b)| (f64::from(*a) - b).abs()).sum::<f64>() / drawn.len() as f64
    };
    (0..data.trained()).map(of).sum::<f64>() / data.trained() as f64
}

#[test]
fn a_training_learns_goes_on_exactly_and_becomes_an_avatar() {
    let (folder, options) = (tempfile::tempdir().unwrap(), options());
    capture(folder.path(), 11, SIZE, |index| disc(index, SIZE));
    let data = Dataset::open(folder.path(), sheet(), &options, 1 << 24).unwrap();
    assert_eq!((data.trained(), data.tested), (9, 2));
    let start = begin(&data, &options);
    let mut engine = CpuEngine::new(&data, &options, start.clone());
    let before = error(&engine, &data);
    run(&mut engine, &data, &options, 0..20);
    let report = engine.report();
    assert_eq!((report.steps, report.skipped, engine.state().steps), (20, 0, [20, 0]));
    let base = error(&engine, &data);
    // colours begin at the mean of what is seen, which is most of it
    assert!(report.initialized > 100 && base < 0.4 * before, "{report:?} {before} {base}");

    let path = folder.path().join("state.safetensors");
    let written = Checkpoint {
        options: options.clone(),
        progress: Progress { step: 20, ..Progress::default() },
        state: engine.state().clone(),
        capture: data.fingerprint(),
    };
    written.write(&path).unwrap();
    let checkpoint = Checkpoint::read(&path).unwrap();
    assert_eq!(checkpoint, written);
    run(&mut engine, &data, &options, 20..100);
    let mut again = CpuEngine::new(&data, &options, checkpoint.state.clone());
    run(&mut again, &data, &options, 20..100);
    assert!(engine.state() == again.state(), "a training that went on is another one");
    assert_eq!((engine.state().steps, engine.state().images), ([100, 80], 400));
    // frames differ in their colours, which only bases can follow
    let blended = error(&engine, &data);
    let mut without = options.clone();
    without.train.recon.blend_start_iter = u32::MAX;
    let mut still = CpuEngine::new(&data, &without, written.state.clone());
    run(&mut still, &data, &without, 20..100);
    let mean = error(&still, &data);
    assert!(blended < 0.7 * mean, "with bases {blended}, without {mean}, at the beginning {before}");

    let said =
        ExportOptions { name: "disc".into(), frames_per_second: 25, template_licence: None, source: "disc".into() };
    let checkpoint = Checkpoint { state: engine.state().clone(), ..checkpoint };
    let made = avatar(&data, &checkpoint, &said).unwrap();
    made.validate().unwrap();
    // a puppet that plays the clip shows what the training drew
    let puppet = Puppet::open(&made).unwrap();
    for frame in [0usize, 5, 10] {
        let pose: Pose = puppet.pose_of(Some(puppet.clip("tracked").unwrap()), frame as f64 / 25.0);
        let splats = puppet.pose(&pose).unwrap();
        let drawn = gav_kernels::raster::render(&splats, &data.camera, &crate::rgbavatar::SETTINGS, [0.0; 3]);
        let expected = engine.draw(frame, [0.0; 3]);
        let far = drawn.rgb.iter().zip(&expected.rgb).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        // a splat's edge at 1/255 may fall to another pixel
        assert!(far < 5e-3, "frame {frame}: {far}");
    }
    let own = folder.path().join("disc.gav");
    let format = gav_formats::format_by_path(&own).unwrap();
    gav_formats::save(&made, &own, format, &gav_formats::WriteOptions::default()).unwrap();
    let stored = gav_formats::load(&own, &ReadOptions::default()).unwrap();
    Puppet::open(&stored).unwrap();
    let mut other = fs::read(&path).unwrap();
    other.truncate(other.len() - 9);
    fs::write(&path, other).unwrap();
    assert!(Checkpoint::read(&path).is_err());
}

#[test]
fn captures_with_faults_are_refused_by_name() {
    let (folder, options) = (tempfile::tempdir().unwrap(), options());
    let root = folder.path();
    capture(root, 6, SIZE, |index| disc(index, SIZE));
    let open = || Dataset::open(root, sheet(), &options, 1 << 24);
    let said = || open().err().expect("refused").to_string();

    // no matte: the step says so, and changes nothing
    let image = root.join("images/00001.png");
    let whole = fs::read(&image).unwrap();
    picture(&image, SIZE, png::ColorType::Rgb, &vec![9; (SIZE[0] * SIZE[1] * 3) as usize]);
    let data = open().unwrap();
    let start = begin(&data, &options);
    let mut engine = CpuEngine::new(&data, &options, start.clone());
    let error = engine.step(&[0, 1], &[[0.0; 3]; 2]).unwrap_err();
    assert!(error.to_string().contains("00001.png") && error.code() == "NO_MATTE", "{error}");
    assert!(*engine.state() == start);
    picture(&image, [SIZE[0], SIZE[1] - 1], png::ColorType::Rgba, &vec![9; (SIZE[0] * (SIZE[1] - 1) * 4) as usize]);
    let error = open().unwrap().pictures.get(1).unwrap_err().to_string();
    assert!(error.contains("00001.png") && error.contains("31 × 24"), "{error}");
    fs::write(&image, whole).unwrap();

    // another version of the tracker, a damaged file
    let frame = root.join("checkpoint/00003.frame");
    let whole = fs::read(&frame).unwrap();
    Frame::of(3, SIZE).write(&frame, Some("eyes"));
    assert!(said().contains("00003.frame") && said().contains("flame.eyes"), "{}", said());
    fs::write(&frame, &whole[..whole.len() / 2]).unwrap();
    assert!(said().contains("00003.frame"), "{}", said());
    let mut wild = Frame::of(3, SIZE);
    wild.expression[1] = f64::NAN;
    wild.write(&frame, None);
    assert!(said().contains("00003.frame") && said().contains("NaN"), "{}", said());
    fs::remove_file(&frame).unwrap();
    assert!(said().contains("6 pictures and 5 checkpoints") && said().contains("00003.png"), "{}", said());
    fs::write(&frame, whole).unwrap();
    assert!(open().unwrap().warnings.is_empty());

    fs::rename(root.join("checkpoint"), root.join("elsewhere")).unwrap();
    assert!(said().contains("checkpoint/00000.frame"), "{}", said());
    fs::rename(root.join("elsewhere"), root.join("checkpoint")).unwrap();
    let mut large = options.clone();
    large.dataset.hq = true;
    assert!(Dataset::open(root, sheet(), &large, 1 << 24).err().unwrap().to_string().contains("pictures"));
    let mut parts = sheet().parts();
    parts.uvs.clear();
    let bare = crate::body::Body::new(&parts).unwrap();
    let error = Dataset::open(root, bare, &options, 1 << 24).err().unwrap().to_string();
    assert!(error.contains("texture coordinates"), "{error}");
}

#[test]
fn a_step_that_is_not_finite_changes_nothing_but_the_count_of_images() {
    let (folder, options) = (tempfile::tempdir().unwrap(), options());
    capture(folder.path(), 5, SIZE, |index| disc(index, SIZE));
    let data = Dataset::open(folder.path(), sheet(), &options, 1 << 24).unwrap();
    let mut start = begin(&data, &options);
    start.images = 1000;
    // a bias of the last layer
    *start.tensors[8].values.last_mut().unwrap() = f32::NAN;
    let mut engine = CpuEngine::new(&data, &options, start.clone());
    engine.step(&[0, 2], &[[0.5; 3]; 2]).unwrap();
    let report = engine.report();
    assert_eq!((report.steps, report.skipped), (0, 1));
    let after = engine.into_state();
    assert_eq!((after.images, after.steps), (1002, [0, 0]));
    for k in 0..8 {
        assert_eq!(after.tensors[k], start.tensors[k]);
    }
}
