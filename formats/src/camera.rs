//! Cameras stored with an avatar.

/// A pinhole or orthographic camera, axes x right, y down, z front (see `spec/conventions.md` 4).
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct Camera {
    /// Free name.
    pub name: String,
    /// Image size in pixels.
    pub width: u32,
    /// Image size in pixels.
    pub height: u32,
    /// Focal lengths in pixels; pixels per unit for orthographic cameras.
    pub focal: [f64; 2],
    /// Principal point in pixels from the top left corner of the image; pixel centres lie at .5.
    pub principal: [f64; 2],
    /// Rows of the 3 × 4 matrix that takes avatar coordinates to camera coordinates.
    pub camera_from_world: [[f64; 4]; 3],
    /// True for parallel projection.
    #[serde(default)]
    pub orthographic: bool,
}
