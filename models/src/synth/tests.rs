//! Small captures, drawn, written and read again.

use super::*;
use crate::capture::{self, Capture, Layout, Split};

fn options(seed: u64, noise: f64) -> Options {
    Options { cameras: 4, frames: 6, test_frames: 2, size: [64; 2], detail: 0.01, noise, supersample: 1, seed }
}

fn small(seed: u64, noise: f64) -> Synth {
    Synth::head(&options(seed, noise)).unwrap()
}

#[test]
fn what_is_written_is_the_capture_that_is_drawn() {
    let synth = small(1, 0.0);
    let folder = tempfile::tempdir().unwrap();
    synth.write(folder.path()).unwrap();
    let capture = Capture::open(folder.path(), &gav_formats::cameras::CameraOptions::default()).unwrap();
    assert_eq!(capture.layout, Layout::Vhap);
    let counts = [Split::Train, Split::Val, Split::Test].map(|split| capture.count(split));
    assert_eq!(counts, [4 * 3, 4, 2 * 4]);
    let body = capture::body(&capture, None).unwrap().unwrap();
    assert_eq!((body.shape_count(), body.expression_count(), body.joint_count()), (10, 20, 5));
    for (_, view) in &capture.views {
        let (step, camera) = (view.timestep.unwrap() as usize, view.camera_index.unwrap() as usize);
        // matrices go through the text of JSON and back, principal points through all conventions of `cy`
        let own = &synth.cameras()[camera];
        let pairs = view.camera.camera_from_world.as_flattened().iter().zip(own.camera_from_world.as_flattened());
        assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-12));
        assert_eq!((view.camera.focal, view.camera.principal), (own.focal, own.principal));
        let pose = capture::parameters(view.parameters.as_deref().unwrap()).unwrap();
        let read = body.pose(&body.parameters(&[], &pose).unwrap()).vertices;
        let made = synth.mesh(step);
        let off = read.iter().flatten().zip(made.iter().flatten()).map(|(a, b)| (a - b).abs());
        assert!(off.fold(0.0, f32::max) < 1e-6, "the parameters of step {step} pose another mesh");
    }
}

#[test]
fn the_mesh_lies_in_what_is_drawn() {
    let synth = small(2, 0.0);
    for (step, camera) in [(0, 3), (3, 0), (5, 1)] {
        let image = synth.draw(&synth.pose(step), camera);
        let view = &synth.cameras()[camera];
        let mesh = synth.mesh(step);
        let (mut inside, mut covered) = (0, 0);
        for v in &mesh {
            let m = &view.camera_from_world;
            let t: [f64; 3] = std::array::from_fn(|r| (0..3).map(|c| m[r][c] * f64::from(v[c])).sum::<f64>() + m[r][3]);
            let [x, y] = [0, 1].map(|k| view.focal[k] * t[k] / t[2] + view.principal[k]);
            if (0.0..64.0).contains(&x) && (0.0..64.0).contains(&y) {
                inside += 1;
                covered += usize::from(image.alpha[64 * y as usize + x as usize] > 0.5);
            }
        }
        // some of the shoulders lie beyond the picture's border
        assert!(inside * 10 > mesh.len() * 8, "{inside} of {}", mesh.len());
        assert!(covered * 100 > inside * 97, "{covered} of {inside} vertices lie on the head");
        let share = image.alpha.iter().filter(|a| **a > 0.5).count();
        assert!((600..3300).contains(&share), "{share} pixels");
    }
}

#[test]
fn the_same_seed_gives_the_same_capture_and_another_one_another() {
    let (a, b, c) = (small(5, 0.0), small(5, 0.0), small(6, 0.0));
    let draw = |synth: &Synth| synth.draw(&synth.pose(4), 2);
    assert_eq!(draw(&a), draw(&b));
    assert_ne!(draw(&a), draw(&c));
    assert_eq!((a.recipe(), a.moments()), (b.recipe(), b.moments()));
}

#[test]
fn noise_is_in_the_files_and_not_in_the_pictures() {
    let (clean, noisy) = (small(1, 0.0), small(1, 2.0));
    assert_eq!(clean.draw(&clean.pose(3), 0), noisy.draw(&noisy.pose(3), 0));
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    clean.write(folders[0].path()).unwrap();
    noisy.write(folders[1].path()).unwrap();
    let meshes = folders.each_ref().map(|folder| {
        let pose = capture::parameters(&folder.path().join(layout::flame_name(3))).unwrap();
        clean.template().pose(&clean.template().parameters(&[], &pose).unwrap()).vertices
    });
    let distance = |(a, b): (&[f32; 3], &[f32; 3])| (0..3).map(|k| f64::from(a[k] - b[k]).powi(2)).sum::<f64>();
    let mean = (meshes[0].iter().zip(&meshes[1]).map(distance).sum::<f64>() / meshes[0].len() as f64).sqrt();
    assert!((0.0005..0.006).contains(&mean), "{mean} m for noise of 2 mm");
}

#[test]
fn parameters_move_what_they_name() {
    let synth = small(1, 0.0);
    let rest = synth.face_at(&Moment::default());
    let moved = |moment: &Moment| -> Vec<usize> {
        let posed = synth.face_at(moment);
        let far = |v: &usize| (0..3).any(|k| (posed[*v][k] - rest[*v][k]).abs() > 1e-3);
        (0..rest.len()).filter(far).collect()
    };
    let named = |name: &str| {
        let expression = synth.expressions.iter().map(|n| f32::from(u8::from(n == name))).collect();
        moved(&Moment { expression, ..Moment::default() })
    };
    let tags = grid::Grid::head().tags;
    let blink = named("eyeBlink_L");
    assert!(blink.len() > 20 && blink.iter().all(|v| rest[*v][0] > 0.0 && rest[*v][1] > -0.02), "left is +x");
    assert!(named("browInnerUp").iter().all(|v| rest[*v][1] > 0.01));
    let jaw = moved(&Moment { jaw: [0.3, 0.0, 0.0], ..Moment::default() });
    let has = |tag| jaw.iter().any(|v| tags[*v] == tag);
    assert!(has(grid::Region::LowerTeeth) && !has(grid::Region::UpperTeeth) && !has(grid::Region::Eye(true)));
    let chin = jaw.iter().map(|v| rest[*v][1]).fold(0.0, f32::min);
    assert!(chin < -0.09);
    let look = moved(&Moment { eyes: [0.0, 0.3, 0.0, 0.0, 0.0, 0.0], ..Moment::default() });
    assert!(!look.is_empty() && look.iter().all(|v| tags[*v] == grid::Region::Eye(true)));
}

#[test]
fn folds_come_with_expressions() {
    let synth = small(1, 0.0);
    let vertices = synth.face_at(&Moment::default());
    let smooth = synth.truth().pose(&vertices, &[0.0; 9]);
    let raised = synth.truth().pose(&vertices, &[1.0; 9]);
    let changed = smooth.colors().iter().zip(raised.colors()).filter(|(a, b)| a != b).count();
    assert!(changed * 20 > synth.truth().len() && changed * 2 < synth.truth().len(), "{changed}");
}

#[test]
fn what_makes_no_capture_is_refused() {
    for options in [
        Options { cameras: 0, ..Options::default() },
        Options { frames: 3, test_frames: 3, ..Options::default() },
        Options { size: [8, 64], ..Options::default() },
        Options { detail: f64::NAN, ..Options::default() },
        Options { noise: -1.0, ..Options::default() },
        Options { supersample: 0, ..Options::default() },
    ] {
        assert!(matches!(Synth::head(&options), Err(Error::File(gav_formats::Error::Usage(_)))), "{options:?}");
    }
}

#[test]
fn a_head_from_a_file_moves_by_its_own_expressions() {
    let root = std::env::var_os("GAV_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"), Into::into);
    let file = root.join("data/ict-head/ict_head.npz");
    if !file.exists() {
        eprintln!("SKIPPED: {} is not there; set GAV_SHARED to the folder of reference data", file.display());
        return;
    }
    let synth = Synth::ict(&options(1, 0.0), &file).unwrap();
    assert_eq!(
        (synth.template().vertex_count(), synth.template().expression_count(), synth.template().shape_count()),
        (24_591, 57, 20)
    );
    let rest = synth.face_at(&Moment::default());
    // the chin's landmark in front of the neck goes down, the nose stays
    let expression = synth.expressions.iter().map(|n| f32::from(u8::from(n == "jawOpen"))).collect();
    let open = synth.face_at(&Moment { expression, ..Moment::default() });
    let fall = rest.iter().zip(&open).map(|(a, b)| a[1] - b[1]).fold(0.0, f32::max);
    assert!((0.01..0.06).contains(&fall), "the jaw opens by {fall} m");
    assert!(synth.moments().iter().all(|m| m.jaw == [0.0; 3] && m.eyes == [0.0; 6]), "its joints carry nothing");
    let image = synth.draw(&synth.pose(3), 3);
    let share = image.alpha.iter().filter(|a| **a > 0.5).count();
    assert!((600..3300).contains(&share), "{share} pixels");
}

#[test]
fn files_that_are_no_head_are_named_with_what_they_lack() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("head.npz");
    let vertices = gav_formats::npy::NpyArray::from_f32(vec![4, 3], &[0.0; 12]);
    std::fs::write(&file, write_npz(&[("v_template".to_owned(), vertices)]).unwrap()).unwrap();
    let error = Synth::ict(&options(1, 0.0), &file).unwrap_err().to_string();
    assert!(error.contains("head.npz") && error.contains("no array `vt`"), "{error}");
}

fn person(seed: u64) -> Synth {
    let options = Options { size: [64, 96], ..options(seed, 0.0) };
    Synth::body(&options).unwrap()
}

#[test]
fn a_person_is_written_as_stga_with_meshes_that_move_and_keep_their_triangles() {
    let synth = person(1);
    let (vertices, joints) = (synth.template().vertex_count(), synth.template().joint_count());
    assert!((3000..6500).contains(&vertices) && joints == 24, "{vertices} vertices, {joints} joints");
    let folder = tempfile::tempdir().unwrap();
    synth.write(folder.path()).unwrap();
    let capture = Capture::open(folder.path(), &gav_formats::cameras::CameraOptions::default()).unwrap();
    assert_eq!(capture.layout, Layout::Stga);
    let counts = [Split::Train, Split::Val, Split::Test].map(|split| capture.count(split));
    assert_eq!((counts, capture.warnings.len()), ([4 * 3, 4, 2 * 4], 0));
    for (_, view) in &capture.views {
        let own = &synth.cameras()[view.camera_index.unwrap() as usize];
        let pairs = view.camera.camera_from_world.as_flattened().iter().zip(own.camera_from_world.as_flattened());
        assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-12));
        assert!((view.camera.focal[1] - own.focal[1]).abs() < 1e-9 && view.camera.principal == own.principal);
    }
    let mut before: Option<Vec<[[f32; 3]; 3]>> = None;
    for step in 0..6 {
        let path = stga::mesh_path(folder.path(), step);
        let mesh = stga::read_mesh(&path, &gav_formats::Limits::default()).unwrap();
        let own = synth.mesh(step as usize);
        assert_eq!(mesh.len(), synth.template().faces().len());
        for (face, corners) in synth.template().faces().iter().zip(&mesh) {
            assert_eq!(face.map(|v| own[v as usize]), *corners);
        }
        let lowest = own.iter().map(|v| v[1]).fold(f32::INFINITY, f32::min);
        assert!(lowest.abs() < 1e-5, "the lowest vertex is {lowest} m over the ground");
        if let Some(before) = &before {
            let far = |a: &[[f32; 3]; 3], b: &[[f32; 3]; 3]| (0..3).any(|k| (a[0][k] - b[0][k]).abs() > 0.005);
            let moved = before.iter().zip(&mesh).filter(|(a, b)| far(a, b)).count();
            assert!(moved * 4 > mesh.len(), "{moved} of {} faces move to step {step}", mesh.len());
        }
        before = Some(mesh);
    }
}

#[test]
fn the_mesh_of_a_person_lies_in_what_is_drawn() {
    let synth = person(2);
    for (step, camera) in [(0, 3), (3, 0), (5, 1)] {
        let image = synth.draw(&synth.pose(step), camera);
        let view = &synth.cameras()[camera];
        let (mut inside, mut covered) = (0, 0);
        let mesh = synth.mesh(step);
        for v in &mesh {
            let m = &view.camera_from_world;
            let t: [f64; 3] = std::array::from_fn(|r| (0..3).map(|c| m[r][c] * f64::from(v[c])).sum::<f64>() + m[r][3]);
            let [x, y] = [0, 1].map(|k| view.focal[k] * t[k] / t[2] + view.principal[k]);
            if (0.0..64.0).contains(&x) && (0.0..96.0).contains(&y) {
                inside += 1;
                covered += usize::from(image.alpha[64 * y as usize + x as usize] > 0.5);
            }
        }
        assert_eq!(inside, mesh.len(), "the whole person is in the picture");
        assert!(covered * 100 > inside * 90, "{covered} of {inside} vertices lie on the person");
        let share = image.alpha.iter().filter(|a| **a > 0.5).count();
        assert!((400..2500).contains(&share), "{share} pixels");
    }
}

#[test]
fn people_of_one_seed_are_the_same_and_bends_raise_folds() {
    let (a, b, c) = (person(5), person(5), person(6));
    let draw = |synth: &Synth| synth.draw(&synth.pose(4), 2);
    assert_eq!(draw(&a), draw(&b));
    assert_ne!(draw(&a), draw(&c));
    let vertices = a.mesh(0);
    let sets = figure::crease_sizes().len();
    let [smooth, bent] = [0.0, 1.0].map(|strength| a.truth().pose(&vertices, &vec![strength; sets]));
    let changed = smooth.colors().iter().zip(bent.colors()).filter(|(a, b)| a != b).count();
    assert!(changed * 20 > a.truth().len() && changed * 2 < a.truth().len(), "{changed} of {}", a.truth().len());
}
