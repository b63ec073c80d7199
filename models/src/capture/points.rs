//! `points3d.ply` of STGA: where splats begin, each in the frame of its triangle.

use std::path::Path;

use gav_formats::{
    DType, Limits, Source,
    ply::{Element, Encoding, Header, Ply, Property, PropertyType, Table},
    rig::TriangleFrame,
};
use gav_kernels::rig::triangle::{self, MeshRef};

use crate::{Error, Result};

/// Name of the file.
pub const POINTS_FILE: &str = "points3d.ply";

/// Where a splat begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Triangle.
    pub face: u32,
    /// Place in the frame of the triangle ([`TriangleFrame::Stga`]), metres.
    pub local: [f32; 3],
    /// Display sRGB.
    pub rgb: [u8; 3],
}

/// The barycentric grid of every face: (k + 1)(k + 2) / 2 points (i, j, l) / k with i + j + l = k, so for k = 2 the corners and the middles of
/// the edges, as the figure of STGA's paper shows them.
pub fn point_grid(vertices: &[[f32; 3]], faces: &[[u32; 3]], k: u32, rgb: [u8; 3]) -> Vec<Point> {
    let k = k.max(1);
    let weights: Vec<[f32; 3]> = (0..=k)
        .rev()
        .flat_map(|i| (0..=k - i).rev().map(move |j| [i, j, k - i - j].map(|n| n as f32 / k as f32)))
        .collect();
    let mesh = MeshRef { vertices, faces, corner_uvs: &[] };
    let frames = triangle::faces(TriangleFrame::Stga, &mesh);
    let mut points = Vec::with_capacity(faces.len() * weights.len());
    for (index, face) in frames.iter().enumerate() {
        points.extend(weights.iter().map(|w| {
            // from the centroid, which has the weights 1/3
            let d: [f32; 3] =
                std::array::from_fn(|c| (0..3).map(|b| (w[b] - 1.0 / 3.0) * face.corners[b][c]).sum::<f32>());
            let local = std::array::from_fn(|column| (0..3).map(|r| face.matrix[r][column] * d[r]).sum::<f32>());
            Point { face: index as u32, local, rgb }
        }));
    }
    points
}

/// Names and types of the columns that are written.
const COLUMNS: [(&str, DType); 13] = [
    ("x", DType::F32),
    ("y", DType::F32),
    ("z", DType::F32),
    ("nx", DType::F32),
    ("ny", DType::F32),
    ("nz", DType::F32),
    ("red", DType::U8),
    ("green", DType::U8),
    ("blue", DType::U8),
    ("loc_x", DType::F32),
    ("loc_y", DType::F32),
    ("loc_z", DType::F32),
    ("index", DType::I32),
];

/// The bytes of the file; `vertices` and `faces` are those of the mesh that the points lie on.
pub fn points_ply(points: &[Point], vertices: &[[f32; 3]], faces: &[[u32; 3]]) -> Vec<u8> {
    let frames = triangle::faces(TriangleFrame::Stga, &MeshRef { vertices, faces, corner_uvs: &[] });
    let property =
        |(name, dtype): &(&str, DType)| Property { name: (*name).to_owned(), kind: PropertyType::Scalar(*dtype) };
    let properties = COLUMNS.iter().map(property).collect();
    let element = Element { name: "vertex".to_owned(), count: points.len() as u64, properties };
    let header = Header { encoding: Encoding::LittleEndian, comments: Vec::new(), elements: vec![element] };
    let mut bytes = header.to_bytes();
    for point in points {
        let face = &frames[point.face as usize];
        let center: [f32; 3] = std::array::from_fn(|c| (0..3).map(|b| face.corners[b][c]).sum::<f32>() / 3.0);
        let along = |r: usize| (0..3).map(|c| face.matrix[r][c] * point.local[c]).sum::<f32>();
        let floats = |bytes: &mut Vec<u8>, values: [f32; 3]| values.iter().for_each(|v| bytes.extend(v.to_le_bytes()));
        floats(&mut bytes, [0, 1, 2].map(|r| center[r] + along(r)));
        floats(&mut bytes, face.matrix.map(|row| row[2]));
        bytes.extend(point.rgb);
        floats(&mut bytes, point.local);
        bytes.extend((point.face as i32).to_le_bytes());
    }
    bytes
}

/// Reads `points3d.ply`: `loc_x`, `loc_y`, `loc_z`, `red`, `green`, `blue` and `index` of the vertices, whatever their types; the rest is not
/// looked at.
///
/// # Errors
/// Files that cannot be read, columns that are missing, and values that are not finite, no bytes or no faces, with the number of the point.
pub fn read_points(path: &Path) -> Result<Vec<Point>> {
    let limits = Limits::default();
    let source = Source::open(path)?;
    limits.check_bytes(source.len() as u64)?;
    let bad = |message: String| Error::usage(format!("{}: {message}", path.display()));
    let ply = Ply::parse(&source, &limits).map_err(|e| bad(e.to_string()))?;
    let table: &Table<'_> = ply.table("vertex").ok_or_else(|| bad("no vertices".to_owned()))?;
    limits.check_splats(table.count as u64, size_of::<Point>() as u64)?;
    let names = ["loc_x", "loc_y", "loc_z", "red", "green", "blue", "index"];
    let mut columns = Vec::with_capacity(names.len());
    for name in names {
        columns
            .push(table.column(name).ok_or_else(|| bad(format!("no points of STGA: the column `{name}` is missing")))?);
    }
    let number = |row: usize, k: usize, most: f64| -> Result<f64> {
        let value = columns[k].f64(table.row(row));
        let fits = (0.0..=most).contains(&value) && value.fract() == 0.0;
        fits.then_some(value).ok_or_else(|| bad(format!("`{}` of point {row} is {value}", names[k])))
    };
    let point = |row: usize| -> Result<Point> {
        let local = [0, 1, 2].map(|k| columns[k].f32(table.row(row)));
        if !local.iter().all(|v| v.is_finite()) {
            return Err(bad(format!("point {row} is at {local:?}")));
        }
        let rgb = [number(row, 3, 255.0)? as u8, number(row, 4, 255.0)? as u8, number(row, 5, 255.0)? as u8];
        Ok(Point { face: number(row, 6, f64::from(u32::MAX))? as u32, local, rgb })
    };
    (0..table.count).map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_lie_on_their_faces_and_survive_the_file() {
        let vertices = [[0.0, 0.0, 0.1], [0.3, 0.0, 0.0], [0.0, 0.6, 0.0], [0.3, 0.9, -0.2], [0.0, 0.0, 0.1]];
        let faces = [[0, 1, 2], [1, 3, 2], [0, 4, 0]];
        let points = point_grid(&vertices, &faces, 2, [10, 128, 255]);
        assert_eq!(points.len(), 18);
        assert!(
            points[12..].iter().all(|p| p.face == 2 && p.local.iter().all(|v| v.abs() < 0.3)),
            "a face without area"
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(POINTS_FILE);
        let bytes = points_ply(&points, &vertices, &faces);
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(read_points(&path).unwrap(), points);
        let ply = Ply::parse(&bytes, &Limits::default()).unwrap();
        let table = ply.table("vertex").unwrap();
        let at = |row: usize| ["x", "y", "z"].map(|name| table.column(name).unwrap().f32(table.row(row)));
        // the corners and the middle of an edge of the second face
        for (row, expected) in [(6, vertices[1]), (9, vertices[3]), (11, vertices[2]), (7, [0.3, 0.45, -0.1])] {
            let off = at(row).iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off < 1e-6, "{row}: {:?}", at(row));
        }
        let index = bytes.len() - 4;
        let mut wrong = bytes.clone();
        wrong[index..].copy_from_slice(&(-1i32).to_le_bytes());
        std::fs::write(&path, &wrong).unwrap();
        assert!(read_points(&path).unwrap_err().to_string().contains("`index` of point 17 is -1"));
        for end in [0, 20, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..end]).unwrap();
            assert!(read_points(&path).unwrap_err().to_string().contains(POINTS_FILE), "{end}");
        }
        let text = String::from_utf8_lossy(&bytes).replace("loc_y", "lac_y");
        std::fs::write(&path, text.as_bytes()).unwrap();
        assert!(read_points(&path).is_err());
    }
}
