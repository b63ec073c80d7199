//! What is fixed about each family: counts, joints, which columns are identity.

use gav_formats::TemplateFamily;

use crate::{Error, Result};

use super::Parts;

/// Joints of FLAME (parents −1 0 1 1 1).
pub const FLAME_JOINTS: [&str; 5] = ["root", "neck", "jaw", "left_eye", "right_eye"];
/// Joints of SMPL.
pub const SMPL_JOINTS: [&str; 24] = [
    "pelvis",
    "left_hip",
    "right_hip",
    "spine1",
    "left_knee",
    "right_knee",
    "spine2",
    "left_ankle",
    "right_ankle",
    "spine3",
    "left_foot",
    "right_foot",
    "neck",
    "left_collar",
    "right_collar",
    "head",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hand",
    "right_hand",
];
/// Fingers in the order of SMPL-X, three joints each.
const FINGERS: [&str; 5] = ["index", "middle", "pinky", "ring", "thumb"];

/// Which names and groups of parameters a body has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// 5 joints, `flame.*`.
    Flame,
    /// 24 joints, `smpl.*`.
    Smpl,
    /// 55 joints with hands, `smplx.*`.
    SmplX,
    /// Anything else, `body.*`.
    Plain,
}

impl Layout {
    /// The layout of a family; custom templates have that of the family with as many joints.
    pub fn of(family: TemplateFamily, joints: usize) -> Self {
        match (family, joints) {
            (TemplateFamily::Flame2020 | TemplateFamily::Flame2023, _) => Self::Flame,
            (TemplateFamily::Smpl, _) => Self::Smpl,
            (TemplateFamily::SmplX, _) => Self::SmplX,
            (_, 5) => Self::Flame,
            (_, 24) => Self::Smpl,
            (_, 55) => Self::SmplX,
            _ => Self::Plain,
        }
    }

    /// Names of the joints; those of a plain body are numbered.
    pub fn joint_names(self, joints: usize) -> Vec<String> {
        let names: Vec<String> = match self {
            Self::Flame => FLAME_JOINTS.iter().map(|n| (*n).to_owned()).collect(),
            Self::Smpl => SMPL_JOINTS.iter().map(|n| (*n).to_owned()).collect(),
            Self::SmplX => {
                let trunk = SMPL_JOINTS[..22].iter().chain(&["jaw", "left_eye", "right_eye"]).map(|n| (*n).to_owned());
                let fingers = ["left", "right"]
                    .iter()
                    .flat_map(|side| FINGERS.iter().flat_map(move |f| (1..=3).map(move |k| format!("{side}_{f}{k}"))));
                trunk.chain(fingers).collect()
            }
            Self::Plain => Vec::new(),
        };
        if names.len() == joints { names } else { (0..joints).map(|j| format!("joint{j}")).collect() }
    }

    /// How many of `columns` shape directions are identity; the others are expression.
    ///
    /// FLAME has 300 + 100. SMPL-X has 300 + 100 since version 1.1 and 10 + 10 before; a file with fewer than 400 columns is read as
    /// the latter. SMPL and plain bodies have identity only.
    pub fn identity_columns(self, columns: usize) -> usize {
        match self {
            Self::Flame => columns.min(300),
            Self::SmplX if columns >= 400 => 300,
            Self::SmplX => columns.min(10),
            Self::Smpl | Self::Plain => columns,
        }
    }
}

/// Name of a family for people.
pub fn family_name(family: TemplateFamily) -> &'static str {
    match family {
        TemplateFamily::None => "no template",
        TemplateFamily::Flame2020 => "FLAME 2020",
        TemplateFamily::Flame2023 => "FLAME 2023",
        TemplateFamily::SmplX => "SMPL-X",
        TemplateFamily::Smpl => "SMPL",
        TemplateFamily::Custom => "a custom template",
    }
}

/// Vertices, faces and joints that a file of this family has; `None` for custom templates.
pub fn official_counts(family: TemplateFamily) -> Option<[usize; 3]> {
    match family {
        TemplateFamily::Flame2020 | TemplateFamily::Flame2023 => Some([5023, 9976, 5]),
        TemplateFamily::SmplX => Some([10_475, 20_908, 55]),
        TemplateFamily::Smpl => Some([6890, 13_776, 24]),
        TemplateFamily::None | TemplateFamily::Custom => None,
    }
}

/// Checks that the arrays have the size of the official files of their family, before teeth are added.
///
/// # Errors
/// A usage error with both numbers.
pub fn check_official(parts: &Parts<f32>) -> Result<()> {
    let Some(expected) = official_counts(parts.family) else { return Ok(()) };
    let found = [parts.vertices.len(), parts.faces.len(), parts.parents.len()];
    for (what, (expected, found)) in ["vertices", "faces", "joints"].iter().zip(expected.iter().zip(found)) {
        if *expected != found {
            let family = family_name(parts.family);
            return Err(Error::usage(format!("{expected} {what} expected for {family}, this file has {found}")));
        }
    }
    Ok(())
}
