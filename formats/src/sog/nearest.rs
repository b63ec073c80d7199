//! A k-d tree over palette entries: nearest neighbour with a bounded search.

/// Entries per leaf.
const LEAF: usize = 8;

/// Points of `dim` values, arranged leaf after leaf.
pub(super) struct Tree {
    dim: usize,
    /// Inner nodes in the order of creation; children that are not nodes are leaves.
    nodes: Vec<Node>,
    /// Points in leaf order.
    points: Vec<f32>,
    /// Their indices.
    indices: Vec<u32>,
}

struct Node {
    axis: usize,
    split: f32,
    children: [Child; 2],
}

#[derive(Clone, Copy)]
enum Child {
    Node(usize),
    Leaf(usize, usize),
}

impl Tree {
    /// Builds the tree of `points` (count × dim), splitting at the median of the axis with the largest variance.
    pub fn new(points: &[f32], dim: usize) -> Self {
        let count = points.len() / dim;
        let mut indices: Vec<u32> = (0..count as u32).collect();
        let mut nodes = Vec::new();
        build(points, dim, &mut indices, 0, &mut nodes);
        let ordered = indices.iter().flat_map(|&i| points[i as usize * dim..][..dim].iter().copied()).collect();
        Self { dim, nodes, points: ordered, indices }
    }

    /// The entry nearest to `query` and its squared distance, given one entry and its distance to start from.
    ///
    /// Looks into at most `leaves` leaves, nearest cells first; the answer is exact when that suffices.
    pub fn nearest(&self, query: &[f32], start: (u32, f32), leaves: usize) -> (u32, f32) {
        let root = if self.nodes.is_empty() { Child::Leaf(0, self.indices.len()) } else { Child::Node(0) };
        let mut search = Search { query, best: start, left: leaves, offsets: [0.0; MAX_DIM] };
        self.visit(root, 0.0, &mut search);
        search.best
    }

    fn visit(&self, child: Child, bound: f32, search: &mut Search) {
        match child {
            Child::Leaf(from, to) => {
                search.left -= 1;
                for k in from..to {
                    let point = &self.points[k * self.dim..][..self.dim];
                    let distance = distance_below(search.query, point, search.best.1);
                    // ties go to the smaller index, so that the order of the tree does not matter
                    if distance < search.best.1 || (distance == search.best.1 && self.indices[k] < search.best.0) {
                        search.best = (self.indices[k], distance);
                    }
                }
            }
            Child::Node(index) => {
                let node = &self.nodes[index];
                let offset = search.query[node.axis] - node.split;
                let near = usize::from(offset > 0.0);
                self.visit(node.children[near], bound, search);
                // the far cell is at least this far away, counting every axis once
                let old = search.offsets[node.axis];
                let far = bound - old * old + offset * offset;
                if search.left > 0 && far < search.best.1 {
                    search.offsets[node.axis] = offset;
                    self.visit(node.children[1 - near], far, search);
                    search.offsets[node.axis] = old;
                }
            }
        }
    }
}

/// Largest number of values per entry: 15 coefficients of three colours.
pub(super) const MAX_DIM: usize = 45;

struct Search<'a> {
    query: &'a [f32],
    best: (u32, f32),
    left: usize,
    /// Distance to the current cell along each axis.
    offsets: [f32; MAX_DIM],
}

fn build(points: &[f32], dim: usize, indices: &mut [u32], base: usize, nodes: &mut Vec<Node>) -> Child {
    if indices.len() <= LEAF {
        return Child::Leaf(base, base + indices.len());
    }
    let axis = widest_axis(points, dim, indices);
    let middle = indices.len() / 2;
    let value = |i: u32| points[i as usize * dim + axis];
    indices.select_nth_unstable_by(middle, |&a, &b| value(a).total_cmp(&value(b)).then(a.cmp(&b)));
    let split = value(indices[middle]);
    let node = nodes.len();
    nodes.push(Node { axis, split, children: [Child::Leaf(0, 0); 2] });
    let (left, right) = indices.split_at_mut(middle);
    let children = [build(points, dim, left, base, nodes), build(points, dim, right, base + middle, nodes)];
    nodes[node].children = children;
    Child::Node(node)
}

/// The axis with the largest variance.
fn widest_axis(points: &[f32], dim: usize, indices: &[u32]) -> usize {
    let mut sums = [[0.0f64; 2]; MAX_DIM];
    for &i in indices {
        for (sum, &v) in sums.iter_mut().zip(&points[i as usize * dim..][..dim]) {
            let v = f64::from(v);
            sum[0] += v;
            sum[1] += v * v;
        }
    }
    let n = indices.len() as f64;
    let variance = |axis: usize| sums[axis][1] - sums[axis][0] * sums[axis][0] / n;
    (1..dim).fold(0, |best, axis| if variance(axis) > variance(best) { axis } else { best })
}

/// Squared distance; infinity as soon as it is known to exceed `limit`.
fn distance_below(a: &[f32], b: &[f32], limit: f32) -> f32 {
    let mut sum = 0.0;
    for (a, b) in a.chunks(8).zip(b.chunks(8)) {
        sum += a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
        if sum > limit {
            return f32::INFINITY;
        }
    }
    sum
}

/// Squared distance.
pub(super) fn distance(a: &[f32], b: &[f32]) -> f32 {
    distance_below(a, b, f32::INFINITY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unbounded_search_is_exact() {
        let points: Vec<f32> = (0..900).map(|i| ((i * i) as f32 * 0.013).sin() + (i as f32 * 0.7).cos()).collect();
        let tree = Tree::new(&points, 9);
        for q in 0..50 {
            let query: Vec<f32> = (0..9).map(|k| ((q * 9 + k) as f32 * 1.7).sin()).collect();
            let start = (99, distance(&query, &points[99 * 9..]));
            let brute = (0..100u32)
                .map(|i| (i, distance(&query, &points[i as usize * 9..][..9])))
                .fold(start, |best, (i, d)| if d < best.1 || (d == best.1 && i < best.0) { (i, d) } else { best });
            let start = (99, distance(&query, &points[99 * 9..][..9]));
            assert_eq!(tree.nearest(&query, start, usize::MAX), brute);
            assert!(tree.nearest(&query, start, 2).1 <= start.1);
        }
    }
}
