//! The store of templates: what goes in, and which avatar finds what.

use std::path::{Path, PathBuf};

use gav_formats::{
    Template, TemplateFamily,
    npy::{NpyArray, NpyType, write_npy, write_npz},
};
use gav_models::{
    Error,
    body::{Body, Parameters, Parts, Rotation, Teeth},
    template::{Extras, Kind, Store, arrays_hash, faces_hash, open},
};

use crate::{
    golden::{Golden, shared},
    synthetic::{Numbers, parts},
};

/// A body of the size of FLAME with 4 shape directions.
fn flame(seed: u64) -> Parts<f32> {
    let (count, joints) = (5023, 5);
    let mut numbers = Numbers(seed);
    let vertices: Vec<[f32; 3]> = numbers.triples(count, 0.1);
    let mut weights = vec![0.0; count * joints];
    weights.chunks_exact_mut(joints).enumerate().for_each(|(v, row)| row[v % joints] = 1.0);
    let mut regressor = vec![0.0; count * joints];
    regressor.chunks_exact_mut(count).enumerate().for_each(|(j, row)| row[100 * j] = 1.0);
    Parts {
        family: TemplateFamily::Flame2023,
        vertices,
        faces: (0..9976u32).map(|f| [f % 5000, f % 5000 + 1, f % 5000 + 2]).collect(),
        shapedirs: numbers.many(count * 3 * 4, 0.01),
        identity_columns: 3,
        posedirs: numbers.many(count * 3 * 36, 0.001),
        extras: Vec::new(),
        regressor,
        weights,
        parents: [None, Some(0), Some(1), Some(1), Some(1)].to_vec(),
        ..parts(TemplateFamily::Flame2023, joints)
    }
}

fn write(parts: &Parts<f32>, path: &Path) -> PathBuf {
    let arrays: Vec<(String, NpyArray)> = (parts.to_arrays().into_iter())
        .filter(|a| a.name != "joint_names")
        .map(|a| {
            let dtype = if a.dtype == gav_formats::DType::U32 { NpyType::U32 } else { NpyType::F32 };
            (a.name, NpyArray { dtype, shape: a.shape.iter().map(|d| *d as usize).collect(), data: a.data })
        })
        .collect();
    std::fs::write(path, write_npz(&arrays).unwrap()).unwrap();
    path.to_owned()
}

fn wanted(family: TemplateFamily, vertices: u32, faces: u32) -> Template {
    Template { family, vertex_count: vertices, face_count: faces, ..Template::default() }
}

#[test]
fn avatars_find_flame_by_counts_and_hashes_and_get_their_teeth() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path().join("templates"));
    let missing = store.open(&wanted(TemplateFamily::Flame2023, 5143, 10_144)).unwrap_err();
    assert!(matches!(missing, Error::MissingTemplate { .. }));
    assert!(missing.to_string().contains("5143") && missing.hint().unwrap().contains("gav template add"), "{missing}");

    let base = flame(1);
    let file = write(&base, &folder.path().join("flame2023.npz"));
    let added = store.add(Kind::Flame, &file, &Extras::default()).unwrap();
    assert_eq!((added.unchanged, added.manifest.joints, added.manifest.uvs), (false, 5, false));
    assert_eq!(added.manifest.template.name, "flame2023");
    assert!(store.add(Kind::Flame, &file, &Extras::default()).unwrap().unchanged);

    for (vertices, faces, teeth) in
        [(5023, 9976, None), (5143, 10_144, Some(Teeth::GaussianAvatars)), (5083, 10_032, Some(Teeth::RgbAvatar))]
    {
        let body = store.open(&wanted(TemplateFamily::Flame2023, vertices, faces)).unwrap();
        assert_eq!((body.vertex_count(), body.faces().len()), (vertices as usize, faces as usize));
        let mut parts = base.clone();
        teeth.into_iter().for_each(|t| parts.add_teeth(t).unwrap());
        assert_eq!(body.parts().vertices, parts.vertices);
        // the whole reference, hashes included, finds it as well
        let reference = body.template();
        assert_eq!(reference.arrays_hash, arrays_hash(&parts.hashed_arrays()));
        assert_eq!(store.open(&reference).unwrap().parts(), body.parts());
        let other = Template { arrays_hash: [7; 32], ..reference };
        let text = store.open(&other).unwrap_err().to_string();
        assert!(text.contains("other arrays or faces"), "{text}");
    }
    // the hash of the faces tells the two versions of the teeth apart
    let mut old = base;
    old.add_teeth(Teeth::GaussianAvatarsBefore2024).unwrap();
    let hash = faces_hash(&old.faces);
    let reference = Template { faces_hash: hash, ..wanted(TemplateFamily::Flame2023, 5143, 10_144) };
    assert_eq!(store.open(&reference).unwrap().faces(), old.faces);

    let text = store.open(&wanted(TemplateFamily::Flame2020, 5023, 9976)).unwrap_err().to_string();
    assert!(text.contains("FLAME 2023 is another family"), "{text}");
    let text = store.open(&wanted(TemplateFamily::Flame2023, 6890, 13_776)).unwrap_err().to_string();
    assert!(text.contains("5023") && text.contains("6890"), "{text}");

    // two of a kind: the name decides, or nothing does
    let second = write(&flame(2), &folder.path().join("male.npz"));
    store.add(Kind::Flame2023, &second, &Extras { name: Some("male"), ..Extras::default() }).unwrap();
    let reference = wanted(TemplateFamily::Flame2023, 5023, 9976);
    let text = store.open(&reference).unwrap_err().to_string();
    assert!(text.contains("2 templates fit"), "{text}");
    let body = store.open(&Template { name: "male".into(), ..reference }).unwrap();
    assert_eq!(body.parts().vertices, flame(2).vertices);
}

#[test]
fn texture_coordinates_and_eyelids_are_added_and_stay() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path().join("templates"));
    let parts = flame(3);
    let file = write(&parts, &folder.path().join("generic_model.npz"));
    let mut obj = String::from("vt 0 0\nvt 1 0\nvt 0 1\n");
    for f in &parts.faces {
        let [a, b, c] = f.map(|v| v + 1);
        obj.push_str(&format!("f {a}/1 {b}/2 {c}/3\n"));
    }
    let uv = folder.path().join("head.obj");
    std::fs::write(&uv, &obj).unwrap();
    let eyelids = ["l.npy", "r.npy"].map(|name| folder.path().join(name));
    for (k, path) in eyelids.iter().enumerate() {
        let values: Vec<f32> = (0..5023 * 3).map(|i| (i % 7) as f32 * (k as f32 + 1.0)).collect();
        std::fs::write(path, write_npy(&NpyArray::from_f32(vec![5023, 3], &values))).unwrap();
    }
    store.add(Kind::Flame, &file, &Extras { uv: Some(&uv), ..Extras::default() }).unwrap();
    let lids = Extras { eyelids: Some([&eyelids[0], &eyelids[1]]), ..Extras::default() };
    let added = store.add(Kind::Flame, &file, &lids).unwrap();
    assert_eq!((added.manifest.uvs, added.manifest.eyelids, added.manifest.sources.len()), (true, true, 4));
    assert_eq!(store.list().unwrap().len(), 1);

    let body = store.open(&wanted(TemplateFamily::Flame2020, 5083, 10_032)).unwrap();
    assert_eq!((body.extras().len(), body.uvs().len(), body.uv_faces().len()), (2, 3 + 60, 10_032));
    assert_eq!(body.uv_faces()[9976], [3, 3 + 31, 3 + 30]);
    let closed = body.pose(&Parameters { extras: vec![0.0, 0.5], ..Parameters::default() });
    let moved = closed.shaped[1][0] - body.rest_vertices()[1][0];
    assert!((moved - 0.5 * 2.0 * 3.0).abs() < 1e-5, "{moved}");

    // wrong companions leave everything as it was
    std::fs::write(&uv, obj.replace("f 1/1 2/2 3/3", "f 2/1 1/2 3/3")).unwrap();
    let text = store.add(Kind::Flame, &file, &Extras { uv: Some(&uv), ..Extras::default() }).unwrap_err().to_string();
    assert!(text.contains("head.obj") && text.contains("do not fit"), "{text}");
    std::fs::write(&eyelids[0], write_npy(&NpyArray::from_f32(vec![2, 3], &[0.0; 6]))).unwrap();
    let text = store.add(Kind::Flame, &file, &lids).unwrap_err().to_string();
    assert!(text.contains("l.npy") && text.contains("5023"), "{text}");
    assert_eq!(store.list().unwrap()[0].1.as_ref().unwrap(), &added.manifest);
}

#[test]
fn files_of_another_family_name_both_counts() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path().join("templates"));
    let small = write(&parts(TemplateFamily::Flame2020, 5), &folder.path().join("small.npz"));
    for (kind, expected) in [
        (Kind::Flame2020, "5023 vertices expected for FLAME 2020, this file has 41"),
        (Kind::SmplX, "10475 vertices expected for SMPL-X, this file has 41"),
        (Kind::Smpl, "6890 vertices expected for SMPL, this file has 41"),
    ] {
        let text = store.add(kind, &small, &Extras::default()).unwrap_err().to_string();
        assert!(text.contains("small.npz") && text.contains(expected), "{text}");
    }
    assert!(store.add(Kind::Flame, &small, &Extras::default()).unwrap_err().to_string().contains("2020 or FLAME 2023"));
    assert!(!store.folder().exists());
    let added = store.add(Kind::Custom, &small, &Extras { licence: Some("CC0-1.0"), ..Extras::default() }).unwrap();
    assert_eq!(added.manifest.template.licence, "CC0-1.0");
    let (_, manifest, body) = store.open_named("small").unwrap();
    assert_eq!((manifest, body.licence()), (added.manifest, "CC0-1.0"));
}

#[test]
fn an_embedded_body_is_taken_from_the_avatar() {
    let mut parts = parts::<f32>(TemplateFamily::Custom, 7);
    parts.licence = "CC0-1.0".into();
    parts.name = "blob".into();
    let body = Body::new(&parts).unwrap();
    let reference = Template { embedded: true, ..body.template() };
    let mesh = body.to_mesh();
    let again = open(&reference, Some(&mesh)).unwrap();
    assert_eq!(again.parts(), parts);
    let pose = Parameters { rotations: vec![Rotation::AxisAngle([0.1, 0.2, 0.3]); 7], ..Parameters::default() };
    assert_eq!(again.pose(&pose), body.pose(&pose));
    let mut damaged = mesh;
    damaged.faces[0] = [2, 1, 0];
    assert!(open(&reference, Some(&damaged)).unwrap_err().to_string().contains("faces"));
}

#[test]
fn pickles_of_python_2_and_3_give_the_golden_model() {
    let Some(golden) = Golden::open("stga/parity_flame_lbs") else { return };
    let expected: Parts<f32> = Parts::from_arrays(TemplateFamily::Custom, &golden.arrays("model.")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (name, columns) in [("py2_proto0_chumpy", 8), ("py2_proto2_chumpy", 400), ("py3_proto4_numpy", 400)] {
        let file = shared(&format!("parity/stga/mini_flame_{name}.pkl")).unwrap();
        // the three hold the same model, and a store keeps one copy of that
        let store = Store::at(folder.path().join(name));
        store.add(Kind::Custom, &file, &Extras { name: Some(name), ..Extras::default() }).unwrap();
        let found = store.open_named(name).unwrap().2.parts();
        assert_eq!((found.shape_columns(), found.identity_columns), (columns, columns.min(300)), "{name}");
        let cut: Vec<f32> = expected.shapedirs.chunks(400).flat_map(|row| row[..columns].to_vec()).collect();
        let mut same = Parts { shapedirs: cut, identity_columns: columns.min(300), ..expected.clone() };
        same.name = name.to_owned();
        assert_eq!(found, same, "{name}");
        let text = store.add(Kind::Flame2023, &file, &Extras::default()).unwrap_err().to_string();
        assert!(text.contains("5023 vertices expected for FLAME 2023, this file has 48"), "{text}");
    }
}

#[test]
fn archives_of_smplx_with_pickled_members_become_templates() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path().join("templates"));
    for (name, unchanged) in [("stored", false), ("deflate", true)] {
        let Some(file) = shared(&format!("parity/sigman/mini_smplx_{name}.npz")) else { return };
        let added = store.add(Kind::Custom, &file, &Extras::default()).unwrap();
        assert_eq!((added.unchanged, added.manifest.joints, added.manifest.uvs), (unchanged, 55, true));
        let text = store.add(Kind::SmplX, &file, &Extras::default()).unwrap_err().to_string();
        assert!(text.contains("10475 vertices expected for SMPL-X, this file has 60"), "{text}");
    }
    let body = store.open_named("mini_smplx_stored").unwrap().2;
    assert_eq!((body.shape_count(), body.hands().unwrap().means[0].len()), (10, 45));
}
