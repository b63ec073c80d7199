//! Leaving out the parts of a rig that move nothing.

use crate::{Avatar, RigBase};

impl Avatar {
    /// Removes joints that move no splat: those without weights that stand above no joint with weights; and the tracks of clips that move
    /// them. A head cut out of a full-body rig keeps its spine and loses its fingers. Every pose of the splats stays as it is.
    ///
    /// Returns the number of joints removed.
    pub fn prune_joints(&mut self) -> usize {
        let RigBase::Skinned { skeleton, skin, .. } = &mut self.rig.base else { return 0 };
        let count = skeleton.joints.len();
        let mut used = vec![false; count];
        for (joint, _) in skin.joints.iter().zip(&skin.weights).filter(|(_, w)| **w > 0.0) {
            used[usize::from(*joint)] = true;
        }
        // parents come before children
        for j in (0..count).rev() {
            if let (true, Some(parent)) = (used[j], skeleton.joints[j].parent) {
                used[parent as usize] = true;
            }
        }
        let removed = used.iter().filter(|u| !**u).count();
        if removed == 0 || removed == count {
            return 0;
        }
        let mut place = vec![0u16; count];
        let mut next = 0;
        for (j, keep) in used.iter().enumerate() {
            place[j] = next;
            next += u16::from(*keep);
        }
        let mut gone = Vec::with_capacity(removed);
        let mut index = 0;
        skeleton.joints.retain_mut(|joint| {
            let keep = used[index];
            index += 1;
            if keep {
                joint.parent = joint.parent.map(|p| u32::from(place[p as usize]));
            } else {
                gone.push(format!("joint/{}/", joint.name));
            }
            keep
        });
        skin.joints.iter_mut().for_each(|joint| *joint = place[usize::from(*joint)]);
        for clip in &mut self.clips {
            clip.tracks.retain(|track| !gone.iter().any(|prefix| track.target.starts_with(prefix.as_str())));
        }
        removed
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        Clip, Interpolation, RigBase, Skin, Track,
        posed::{farthest, posed_means},
        synthetic::{RigSample, every_rig},
    };

    #[test]
    fn joints_that_move_nothing_go_and_poses_stay() {
        let mut avatar = every_rig(RigSample::Skinned);
        let RigBase::Skinned { skeleton, skin, .. } = &mut avatar.rig.base else { unreachable!() };
        // a finger at the end of the chain, and a joint beside it; nothing follows either
        let mut finger = skeleton.joints[0].clone();
        finger.name = "finger".into();
        finger.parent = Some(skeleton.joints.len() as u32 - 1);
        let mut first = finger.clone();
        first.name = "aside".into();
        first.parent = None;
        let shift = |joint: u32| joint + 1;
        skeleton.joints.iter_mut().for_each(|j| j.parent = j.parent.map(shift));
        finger.parent = finger.parent.map(shift);
        skeleton.joints.insert(0, first);
        skeleton.joints.push(finger);
        *skin = Skin { joints: skin.joints.iter().map(|j| j + 1).collect(), ..skin.clone() };
        avatar.clips.push(Clip {
            name: "wave".into(),
            ticks_per_second: 10,
            tracks: vec![Track {
                target: "joint/finger/translation".into(),
                width: 3,
                interpolation: Interpolation::Linear,
                ticks: vec![0],
                values: vec![1.0; 3],
            }],
        });
        avatar.validate().unwrap();
        let clip = avatar.clips[0].clone();
        let before = posed_means(&avatar, Some((&clip, 0.3)));
        assert_eq!(avatar.prune_joints(), 2);
        avatar.validate().unwrap();
        assert_eq!(farthest(&before, &posed_means(&avatar, Some((&clip, 0.3)))), 0.0);
        assert!(avatar.clips.last().unwrap().tracks.is_empty());
        assert_eq!(avatar.prune_joints(), 0);
    }
}
