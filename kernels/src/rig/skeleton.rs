//! From the pose of joints to the matrices that move splats: T_j = G_j B_j of `spec/gav.md` section 8.

use gav_formats::{Pose, Skeleton};

use super::algebra::{
    Affine, Mat3, Quat, Vec3, add, linear, matrix, matrix_backward, normalize4, normalize4_backward, product, scale,
    transform, transform_transposed, transpose,
};
use crate::Real;

/// Pose of a joint relative to its parent: scale, then rotation, then translation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Local<T> {
    /// Translation.
    pub translation: Vec3<T>,
    /// Quaternion w, x, y, z of any length.
    pub rotation: Quat<T>,
    /// Scale along the joint's axes.
    pub scale: Vec3<T>,
}

impl<T: Real> Local<T> {
    fn affine(&self) -> Affine<T> {
        let turn = matrix(normalize4(self.rotation).0);
        let s = self.scale;
        std::array::from_fn(|r| [turn[r][0] * s[0], turn[r][1] * s[1], turn[r][2] * s[2], self.translation[r]])
    }
}

/// The bind pose of every joint, or what `pose` puts in its place under `joint/NAME/…`.
///
/// Values of another width than the property are passed over.
pub fn locals<T: Real>(skeleton: &Skeleton, pose: &Pose) -> Vec<Local<T>> {
    fn replaced<const N: usize, T: Real>(bind: [f32; N], pose: &Pose, name: &str, property: &str) -> [T; N] {
        let found = pose.get(&format!("joint/{name}/{property}")).and_then(|v| <[f32; N]>::try_from(v).ok());
        found.unwrap_or(bind).map(|v| T::of(f64::from(v)))
    }
    let local = |joint: &gav_formats::Joint| Local {
        translation: replaced(joint.translation, pose, &joint.name, "translation"),
        rotation: replaced(joint.rotation, pose, &joint.name, "rotation"),
        scale: replaced(joint.scale, pose, &joint.name, "scale"),
    };
    skeleton.joints.iter().map(local).collect()
}

/// World transforms G_j of joints whose parents come before them.
pub fn chain<T: Real>(parents: &[Option<u32>], locals: &[Local<T>]) -> Vec<Affine<T>> {
    assert_eq!(parents.len(), locals.len(), "poses of {} joints", parents.len());
    let mut world: Vec<Affine<T>> = Vec::with_capacity(locals.len());
    for (parent, local) in parents.iter().zip(locals) {
        let own = local.affine();
        world.push(match parent {
            None => own,
            Some(p) => compose(&world[*p as usize], &own),
        });
    }
    world
}

/// T_j = G_j B_j: from canonical coordinates to where joint j takes them.
pub fn skinning<T: Real>(skeleton: &Skeleton, locals: &[Local<T>]) -> Vec<Affine<T>> {
    let parents: Vec<Option<u32>> = skeleton.joints.iter().map(|j| j.parent).collect();
    let world = chain(&parents, locals);
    world.iter().zip(&skeleton.joints).map(|(g, joint)| compose(g, &wide(&joint.inverse_bind))).collect()
}

/// Gradients by the local poses from those by the result of [`skinning`].
pub fn skinning_backward<T: Real>(skeleton: &Skeleton, locals: &[Local<T>], upstream: &[Affine<T>]) -> Vec<Local<T>> {
    let parents: Vec<Option<u32>> = skeleton.joints.iter().map(|j| j.parent).collect();
    let by_world: Vec<Affine<T>> = upstream
        .iter()
        .zip(&skeleton.joints)
        .map(|(g, joint)| compose_backward_left(&wide(&joint.inverse_bind), g))
        .collect();
    chain_backward(&parents, locals, by_world)
}

/// Gradients by the local poses from those by the result of [`chain`].
pub fn chain_backward<T: Real>(
    parents: &[Option<u32>],
    locals: &[Local<T>],
    mut upstream: Vec<Affine<T>>,
) -> Vec<Local<T>> {
    let world = chain(parents, locals);
    let mut out = Vec::with_capacity(locals.len());
    for j in (0..locals.len()).rev() {
        let (local, g) = (&locals[j], upstream[j]);
        let own = local.affine();
        let by_own = match parents[j] {
            None => g,
            Some(p) => {
                let p = p as usize;
                let by_parent = compose_backward_left(&own, &g);
                for (s, g) in upstream[p].as_flattened_mut().iter_mut().zip(by_parent.as_flattened()) {
                    *s += *g;
                }
                compose_backward_right(&world[p], &g)
            }
        };
        let (unit, inverse) = normalize4(local.rotation);
        let turn = matrix(unit);
        let by_linear = linear(&by_own);
        let by_turn: Mat3<T> = by_linear.map(|r| [r[0] * local.scale[0], r[1] * local.scale[1], r[2] * local.scale[2]]);
        out.push(Local {
            translation: std::array::from_fn(|r| by_own[r][3]),
            rotation: normalize4_backward(unit, inverse, matrix_backward(unit, &by_turn)),
            scale: std::array::from_fn(|c| (0..3).map(|r| by_linear[r][c] * turn[r][c]).sum()),
        });
    }
    out.reverse();
    out
}

/// `a` after `b`.
pub(crate) fn compose<T: Real>(a: &Affine<T>, b: &Affine<T>) -> Affine<T> {
    let m = product(&linear(a), &linear(b));
    let t = add(transform(&linear(a), translation(b)), translation(a));
    std::array::from_fn(|r| [m[r][0], m[r][1], m[r][2], t[r]])
}

/// Gradient of `a` in `compose(a, b)`.
fn compose_backward_left<T: Real>(b: &Affine<T>, g: &Affine<T>) -> Affine<T> {
    let m = product(&linear(g), &transpose(&linear(b)));
    std::array::from_fn(|r| {
        let row = add(m[r], scale(translation(b), g[r][3]));
        [row[0], row[1], row[2], g[r][3]]
    })
}

/// Gradient of `b` in `compose(a, b)`.
fn compose_backward_right<T: Real>(a: &Affine<T>, g: &Affine<T>) -> Affine<T> {
    let m = product(&transpose(&linear(a)), &linear(g));
    let t = transform_transposed(&linear(a), translation(g));
    std::array::from_fn(|r| [m[r][0], m[r][1], m[r][2], t[r]])
}

fn translation<T: Real>(a: &Affine<T>) -> Vec3<T> {
    [a[0][3], a[1][3], a[2][3]]
}

fn wide<T: Real>(rows: &[[f32; 4]; 3]) -> Affine<T> {
    rows.map(|r| r.map(|v| T::of(f64::from(v))))
}
