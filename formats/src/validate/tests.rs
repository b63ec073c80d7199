use super::*;
use crate::{Clip, Driver, Frame, Joint, Rig, RigBase, Skeleton, Skin, Splats, Track};

fn sound() -> Avatar {
    let mut splats = Splats::with_len(4, 1);
    splats.log_scales.fill([-4.0; 3]);
    splats.sh_rest[0] = 0.1;
    Avatar::new(splats, Frame::RUB)
}

fn codes(avatar: &Avatar) -> Vec<(&'static str, Severity)> {
    check_avatar(avatar).iter().map(|m| (m.code, m.severity)).collect()
}

#[test]
fn a_sound_avatar_gives_no_messages() {
    assert_eq!(codes(&sound()), []);
}

#[test]
fn each_damage_has_its_code() {
    type Damage = fn(&mut Avatar);
    let table: [(&str, Severity, Damage); 12] = [
        ("NOT_FINITE", Severity::Error, |a| a.splats.means[1][0] = f32::NAN),
        ("NOT_FINITE", Severity::Error, |a| a.splats.sh_rest[11] = f32::INFINITY),
        ("NOT_FINITE", Severity::Error, |a| a.splats.opacity_logits[0] = f32::NAN),
        ("OPACITY_INFINITE", Severity::Warning, |a| a.splats.opacity_logits[0] = f32::INFINITY),
        ("SCALE_ZERO", Severity::Warning, |a| a.splats.log_scales[3][2] = f32::NEG_INFINITY),
        ("SCALE_RANGE", Severity::Warning, |a| a.splats.log_scales[3][2] = 9.0),
        ("ROTATION_ZERO", Severity::Error, |a| a.splats.rotations[2] = [0.0; 4]),
        ("ROTATION_NOT_UNIT", Severity::Info, |a| a.splats.rotations[2] = [2.0, 0.0, 0.0, 0.0]),
        ("COLOR_RANGE", Severity::Warning, |a| a.splats.sh0[0][1] = 1e6),
        ("INVISIBLE", Severity::Hint, |a| a.splats.opacity_logits[0] = -9.0),
        ("SH_UNUSED", Severity::Hint, |a| a.splats.sh_rest.fill(0.0)),
        ("UNITS", Severity::Error, |a| a.metres_per_unit = 0.0),
    ];
    for (code, severity, damage) in table {
        let mut avatar = sound();
        damage(&mut avatar);
        assert_eq!(codes(&avatar), [(code, severity)]);
    }
}

#[test]
fn findings_are_counted_and_point_at_the_first() {
    let mut avatar = sound();
    avatar.splats.rotations[1] = [0.0; 4];
    avatar.splats.rotations[3] = [0.0; 4];
    let messages = check_avatar(&avatar);
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].pointer, "/splats/1/rotation");
    assert!(messages[0].message.starts_with("2 splats have"), "{}", messages[0].message);
}

#[test]
fn rigs_are_checked() {
    let mut avatar = sound();
    let joint = Joint {
        name: "head".into(),
        parent: None,
        humanoid: "head".into(),
        translation: [0.0; 3],
        rotation: [1.0, 0.0, 0.0, 0.0],
        scale: [1.0; 3],
        inverse_bind: [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]],
    };
    let singular = Joint { parent: Some(0), inverse_bind: [[0.0; 4]; 3], ..joint.clone() };
    let skin = Skin { offsets: (0..=4).collect(), joints: vec![0; 4], weights: vec![1.0; 4], full_covariance: false };
    let skeleton = Skeleton { joints: vec![joint, singular] };
    avatar.rig = Rig { base: RigBase::Skinned { skeleton, skin, morphs: None }, blendshapes: None };
    avatar.drivers = vec![Driver { name: "arkit.jawOpen".into(), min: 0.0, max: 1.0, default: 2.0 }];
    let track = Track { target: "nobody".into(), width: 1, ticks: vec![0], values: vec![0.0], ..Track::default() };
    avatar.clips = vec![Clip { name: "talk".into(), ticks_per_second: 30, tracks: vec![track] }];
    let found: Vec<&str> = check_avatar(&avatar).iter().map(|m| m.code).collect();
    assert_eq!(found, ["DUPLICATE_NAME", "DUPLICATE_NAME", "BIND_SINGULAR", "DRIVER_RANGE", "TRACK_TARGET"]);
}

#[test]
fn inconsistent_arrays_stop_the_checks() {
    let mut avatar = sound();
    avatar.splats.sh0.pop();
    assert_eq!(codes(&avatar), [("INCONSISTENT", Severity::Error)]);
}

#[test]
fn reports_sort_count_and_serialise_like_the_gltf_validator() {
    let mut report = Report::new("x.gav");
    report.push(Message::new(Severity::Hint, "H", "", "h"));
    report.push(Message::from(&Error::format("gav", "TRUNCATED", 64, "ends early")));
    report.describe(&sound(), 400);
    assert!(!report.is_valid());
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["issues"]["numErrors"], 1);
    assert_eq!(json["issues"]["messages"][0]["code"], "TRUNCATED");
    assert_eq!(json["issues"]["messages"][0]["offset"], 64);
    assert_eq!(json["issues"]["messages"][1]["severity"], 3);
    assert_eq!(json["info"]["bytesPerSplat"], 100.0);
}

#[test]
fn unknown_bytes_are_an_error_in_the_report() {
    let report = validate(&Source::from_bytes(vec![1, 2, 3]), &ReadOptions::default());
    assert_eq!(report.issues.messages[0].code, "UNKNOWN_FORMAT");
    assert!(check_rights(&sound()).iter().any(|m| m.code == "LICENCE_MISSING"));
}
