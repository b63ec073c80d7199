//! VRM 1.0: which nodes are the bones of a human, and which morph targets make its expressions.

use serde_json::{Map, Value, json};

use super::{
    builder::Builder,
    rig::{JointNodes, target_name},
};
use crate::{Avatar, Error, Meta, Result, Skeleton};

const EXTENSION: &str = "VRMC_vrm";

/// Bones that every VRM 1.0 model has (VRMC_vrm, humanoid).
const REQUIRED: [&str; 15] = [
    "hips",
    "spine",
    "head",
    "leftUpperLeg",
    "leftLowerLeg",
    "leftFoot",
    "rightUpperLeg",
    "rightLowerLeg",
    "rightFoot",
    "leftUpperArm",
    "leftLowerArm",
    "leftHand",
    "rightUpperArm",
    "rightLowerArm",
    "rightHand",
];

/// Bones that a VRM 1.0 model may have besides.
const OPTIONAL: [&str; 40] = [
    "chest",
    "upperChest",
    "neck",
    "leftEye",
    "rightEye",
    "jaw",
    "leftToes",
    "rightToes",
    "leftShoulder",
    "rightShoulder",
    "leftThumbMetacarpal",
    "leftThumbProximal",
    "leftThumbDistal",
    "leftIndexProximal",
    "leftIndexIntermediate",
    "leftIndexDistal",
    "leftMiddleProximal",
    "leftMiddleIntermediate",
    "leftMiddleDistal",
    "leftRingProximal",
    "leftRingIntermediate",
    "leftRingDistal",
    "leftLittleProximal",
    "leftLittleIntermediate",
    "leftLittleDistal",
    "rightThumbMetacarpal",
    "rightThumbProximal",
    "rightThumbDistal",
    "rightIndexProximal",
    "rightIndexIntermediate",
    "rightIndexDistal",
    "rightMiddleProximal",
    "rightMiddleIntermediate",
    "rightMiddleDistal",
    "rightRingProximal",
    "rightRingIntermediate",
    "rightRingDistal",
    "rightLittleProximal",
    "rightLittleIntermediate",
    "rightLittleDistal",
];

/// Preset expressions of VRM 1.0, and the ARKit shapes that make them where both are about the same movement.
const PRESETS: [(&str, &[&str]); 18] = [
    ("happy", &["mouthSmileLeft", "mouthSmileRight"]),
    ("angry", &[]),
    ("sad", &[]),
    ("relaxed", &[]),
    ("surprised", &[]),
    ("aa", &["jawOpen"]),
    ("ih", &[]),
    ("ou", &["mouthPucker"]),
    ("ee", &["mouthStretchLeft", "mouthStretchRight"]),
    ("oh", &["mouthFunnel"]),
    ("blink", &["eyeBlinkLeft", "eyeBlinkRight"]),
    ("blinkLeft", &["eyeBlinkLeft"]),
    ("blinkRight", &["eyeBlinkRight"]),
    ("lookUp", &["eyeLookUpLeft", "eyeLookUpRight"]),
    ("lookDown", &["eyeLookDownLeft", "eyeLookDownRight"]),
    ("lookLeft", &["eyeLookOutLeft", "eyeLookInRight"]),
    ("lookRight", &["eyeLookInLeft", "eyeLookOutRight"]),
    ("neutral", &[]),
];

/// Adds the extension. `drivers` name the morph targets of the node `splats`. Permissions beyond those of the licence named in the
/// metadata are not given: VRM's defaults are the strictest.
///
/// # Errors
/// [`Error::Usage`] when the skeleton lacks a bone that VRM prescribes.
pub fn add(
    glb: &mut Builder,
    avatar: &Avatar,
    skeleton: &Skeleton,
    joints: &JointNodes,
    drivers: &[&str],
    splats: usize,
    notes: &mut Vec<String>,
) -> Result<()> {
    let mut bones = Map::new();
    for (joint, node) in skeleton.joints.iter().zip(&joints.nodes) {
        let bone = joint.humanoid.as_str();
        if (REQUIRED.contains(&bone) || OPTIONAL.contains(&bone)) && !bones.contains_key(bone) {
            bones.insert(bone.to_owned(), json!({"node": node}));
        }
    }
    let missing: Vec<&str> = REQUIRED.into_iter().filter(|bone| !bones.contains_key(*bone)).collect();
    if !missing.is_empty() {
        return Err(Error::usage(format!(
            "VRM prescribes {} bones, this skeleton of {} joints has no {}",
            REQUIRED.len(),
            skeleton.joints.len(),
            missing.join(", ")
        )));
    }
    let vrm = json!({
        "specVersion": "1.0",
        "meta": meta(&avatar.meta, notes),
        "humanoid": {"humanBones": bones},
        "expressions": expressions(drivers, splats),
    });
    glb.extensions.insert(EXTENSION.to_owned(), vrm);
    glb.extensions_used.insert(EXTENSION);
    Ok(())
}

fn meta(meta: &Meta, notes: &mut Vec<String>) -> Value {
    let named = |text: &str, otherwise: &str| if text.is_empty() { otherwise.to_owned() } else { text.to_owned() };
    if meta.attribution.is_empty() {
        notes.push("the metadata name no author: the VRM says `unknown`".to_owned());
    }
    let mut out = json!({
        "name": named(&meta.name, "avatar"),
        "authors": [named(&meta.attribution, "unknown")],
        "licenseUrl": "https://vrm.dev/licenses/1.0/",
    });
    if !meta.attribution.is_empty() {
        out["copyrightInformation"] = json!(meta.attribution);
    }
    if let Some(url) = licence_url(meta) {
        out["otherLicenseUrl"] = json!(url);
    }
    out
}

/// Where the licence can be read: the address in its text, or the page of its SPDX identifier.
fn licence_url(meta: &Meta) -> Option<String> {
    let text = meta.licence_text.trim();
    if ["https://", "http://"].iter().any(|scheme| text.starts_with(scheme)) && !text.contains(char::is_whitespace) {
        return Some(text.to_owned());
    }
    let id = meta.licence.as_str();
    let plain = !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric() || ".-+".contains(c));
    (plain && !id.starts_with("LicenseRef-")).then(|| format!("https://spdx.org/licenses/{id}.html"))
}

/// Presets from drivers of their name (`vrm.aa`) or from ARKit's shapes, and every morph target as a custom expression.
fn expressions(drivers: &[&str], node: usize) -> Value {
    let bind = |indices: &[usize]| {
        let binds = indices.iter().map(|index| json!({"node": node, "index": index, "weight": 1.0}));
        json!({"morphTargetBinds": binds.collect::<Vec<_>>()})
    };
    let find = |name: &str| drivers.iter().position(|d| *d == name);
    let (mut preset, mut custom) = (Map::new(), Map::new());
    for (name, shapes) in PRESETS {
        let own = find(&format!("vrm.{name}")).map(|index| vec![index]);
        let made = || shapes.iter().map(|shape| find(&format!("arkit.{shape}"))).collect::<Option<Vec<_>>>();
        if let Some(indices) = own.or_else(made).filter(|indices| !indices.is_empty()) {
            preset.insert(name.to_owned(), bind(&indices));
        }
    }
    for (index, driver) in drivers.iter().enumerate() {
        let name = driver.strip_prefix("vrm.").unwrap_or_else(|| target_name(driver));
        if !PRESETS.iter().any(|(preset, _)| *preset == name) {
            custom.insert(name.to_owned(), bind(&[index]));
        }
    }
    let mut out = Map::new();
    for (name, map) in [("preset", preset), ("custom", custom)] {
        if !map.is_empty() {
            out.insert(name.to_owned(), Value::Object(map));
        }
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arkit_shapes_and_vrm_drivers_make_expressions() {
        let made = expressions(&["arkit.eyeBlinkLeft", "arkit.eyeBlinkRight", "vrm.aa", "arkit.jawOpen", "mood"], 3);
        let binds = |name: &str| made["preset"][name]["morphTargetBinds"].as_array().map_or(0, Vec::len);
        assert_eq!((binds("blink"), binds("blinkLeft"), binds("aa"), binds("ou")), (2, 1, 1, 0));
        assert_eq!(made["preset"]["aa"]["morphTargetBinds"][0], json!({"node": 3, "index": 2, "weight": 1.0}));
        let custom: Vec<&String> = made["custom"].as_object().unwrap().keys().collect();
        assert_eq!(custom, ["eyeBlinkLeft", "eyeBlinkRight", "jawOpen", "mood"]);
    }

    #[test]
    fn the_licence_is_an_address() {
        let of = |licence: &str, text: &str| {
            licence_url(&Meta { licence: licence.into(), licence_text: text.into(), ..Meta::default() })
        };
        assert_eq!(of("MIT", "").unwrap(), "https://spdx.org/licenses/MIT.html");
        assert_eq!(of("LicenseRef-mine", "https://example.org/terms").unwrap(), "https://example.org/terms");
        assert!(of("LicenseRef-mine", "ask me").is_none() && of("MIT OR Apache-2.0", "").is_none());
    }
}
