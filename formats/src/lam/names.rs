//! Names on both sides: ARKit blendshapes, and the humanoid bones of the skeleton that LAM exports.

use crate::clips::ARKIT;

/// Driver of a morph target: `arkit.NAME` for ARKit's names, the plain name for others.
pub fn driver(target: &str) -> String {
    if ARKIT.contains(&target) { format!("arkit.{target}") } else { target.to_owned() }
}

/// VRM 1.0 bone of a joint of the exported skeleton (Daz Genesis names); empty when VRM has none for it.
pub fn humanoid(joint: &str) -> &'static str {
    match joint {
        "hip" => "hips",
        "abdomenLower" => "spine",
        "chestLower" => "chest",
        "chestUpper" => "upperChest",
        "neckLower" => "neck",
        "head" => "head",
        "lowerJaw" => "jaw",
        "lEye" => "leftEye",
        "rEye" => "rightEye",
        "lCollar" => "leftShoulder",
        "rCollar" => "rightShoulder",
        "lShldrBend" => "leftUpperArm",
        "rShldrBend" => "rightUpperArm",
        "lForearmBend" => "leftLowerArm",
        "rForearmBend" => "rightLowerArm",
        "lHand" => "leftHand",
        "rHand" => "rightHand",
        "lThighBend" => "leftUpperLeg",
        "rThighBend" => "rightUpperLeg",
        "lShin" => "leftLowerLeg",
        "rShin" => "rightLowerLeg",
        "lFoot" => "leftFoot",
        "rFoot" => "rightFoot",
        "lToe" => "leftToes",
        "rToe" => "rightToes",
        _ => "",
    }
}
