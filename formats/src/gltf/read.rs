//! Reads the splat primitives of a glTF file into one [`Avatar`].

use super::{
    container::{Gltf, bad},
    document::{Mesh, Primitive, SPLATS, SplatExtension},
    placement::place,
    scene::{Affine, Trs},
};
use crate::{
    Avatar, ColorSpace, Frame, ReadOptions, Result, Source, Splats,
    conventions::{logit_from_opacity, sh_rest_count, sh0_from_color},
};

/// Smallest linear scale told from zero; zero itself has no logarithm.
const SMALLEST_SCALE: f32 = 1e-38;
/// Required extensions that change nothing about splats, besides those that [`is_harmless`] knows by prefix.
const UNDERSTOOD: [&str; 5] =
    [SPLATS, "KHR_mesh_quantization", "KHR_node_visibility", "KHR_animation_pointer", "KHR_xmp_json_ld"];

/// Largest scale of a node that hides its splats; writers of stills use 10⁻⁶, because 0 is not allowed.
const HIDDEN: f64 = 1e-5;

/// One splat primitive in its place.
struct Instance<'a> {
    mesh: &'a Mesh,
    skin: Option<usize>,
    primitive: &'a Primitive,
    names: Names,
    count: usize,
    degree: u8,
    at: Trs,
}

/// How the attributes are spelled.
#[derive(Clone, Copy, PartialEq)]
enum Names {
    /// `KHR_gaussian_splatting:ROTATION` …
    Ratified,
    /// `_ROTATION` …, with degree 0 and opacity in `COLOR_0`.
    Draft,
}

impl Names {
    fn of(primitive: &Primitive) -> Self {
        let prefix = format!("{SPLATS}:");
        if primitive.attributes.keys().any(|name| name.starts_with(&prefix)) { Self::Ratified } else { Self::Draft }
    }

    fn full(self, name: &str) -> String {
        match self {
            Self::Ratified => format!("{SPLATS}:{name}"),
            Self::Draft => format!("_{name}"),
        }
    }

    fn sh(self, degree: u8, coefficient: usize) -> String {
        self.full(&format!("SH_DEGREE_{degree}_COEF_{coefficient}"))
    }
}

/// Reads a `.glb` or `.gltf` file. All splat primitives of the default scene are joined, in the order of its nodes, with
/// their world transforms applied; nodes that are scaled to nothing are left out, unless nothing else is there. The skin,
/// morph targets and animations of a single splat primitive become a rig of kind 1 or 7 and clips. Meshes beside the
/// splats are passed over.
///
/// The frame is [`Frame::GLTF`], except in files of splat-transform, which turns captures by half a turn about z only, so that
/// a subject that faced the cameras has its back to +z: those are [`Frame::LUF`].
///
/// With [`ReadOptions::embedded`] the `.gav` that the file carries is read instead.
///
/// # Errors
/// `NO_SPLATS` for a file without a splat primitive; `UNSUPPORTED` for compressed ones and unknown required extensions;
/// `TRANSFORM` for nodes that shear or mirror; `VALUE`, `TRUNCATED`, `JSON`, … for malformed files.
pub fn read(source: &Source, options: &ReadOptions) -> Result<Avatar> {
    let gltf = Gltf::open(source, &options.limits)?;
    if options.embedded {
        return read_embedded(&gltf, options);
    }
    let (mut instances, color_space) = find_splats(&gltf)?;
    let shown = |i: &Instance| i.at.scale.iter().any(|s| *s > HIDDEN);
    if instances.iter().any(shown) {
        instances.retain(shown);
    }
    let degree = instances.iter().map(|i| i.degree).max().unwrap_or(0);
    let total = instances.iter().fold(0u64, |sum, i| sum.saturating_add(i.count as u64));
    options.limits.check_splats(total, 56 + 12 * sh_rest_count(degree) as u64)?;

    let mut splats = Splats { sh_degree: degree, ..Splats::default() };
    for instance in &instances {
        let start = splats.len();
        append(&gltf, instance, &mut splats)?;
        place(&mut splats, start, &instance.at);
    }
    let generator = &gltf.document.asset.generator;
    let frame = if generator.starts_with("splat-transform") { Frame::LUF } else { Frame::GLTF };
    let mut avatar = Avatar::new(splats, options.frame.unwrap_or(frame));
    avatar.color_space = color_space;
    if let [Instance { mesh, skin, primitive, at, .. }] = &instances[..]
        && (skin.is_some() || !primitive.targets.is_empty())
    {
        super::moving::add_rig(&gltf, &mut avatar, mesh, primitive, *skin, at)?;
    }
    avatar.meta.generator.clone_from(generator);
    avatar.meta.attribution.clone_from(&gltf.document.asset.copyright);
    Ok(avatar)
}

/// The `.gav` that our writer was asked to embed: the buffer view named by `extras.gav.bufferView` of the document.
fn read_embedded(gltf: &Gltf, options: &ReadOptions) -> Result<Avatar> {
    let view = gltf.document.extras.get("gav").and_then(|g| g.get("bufferView")?.as_u64());
    let view = view.ok_or_else(|| bad("MISSING", 0, "the file embeds no .gav"))?;
    let (bytes, ..) = gltf.view(view as usize)?;
    crate::gav::read(&Source::from_bytes(bytes.to_vec()), options)
}

fn find_splats<'a>(gltf: &'a Gltf) -> Result<(Vec<Instance<'a>>, ColorSpace)> {
    let document = &gltf.document;
    let mut instances = Vec::new();
    let mut color_space = None;
    for placed in gltf.placed_nodes()? {
        let node = &document.nodes[placed.node];
        let Some(mesh_index) = node.mesh else { continue };
        let mesh = document.meshes.get(mesh_index);
        let mesh = mesh.ok_or_else(|| bad("VALUE", 0, format!("mesh {mesh_index} of {}", document.meshes.len())))?;
        for primitive in &mesh.primitives {
            if primitive.extensions.old_spz.is_some() {
                return Err(compressed("KHR_spz_gaussian_splats_compression"));
            }
            let Some(extension) = &primitive.extensions.splats else { continue };
            let space = check_extension(extension, primitive)?;
            if *color_space.get_or_insert(space) != space {
                return Err(bad("UNSUPPORTED", 0, "the file mixes splats in linear and in display colours"));
            }
            // a skinned mesh stands where its joints put it, whatever its node says (glTF 2.0, 3.7.3.3)
            let world = if node.skin.is_some() { Affine::IDENTITY } else { placed.world };
            let at = world.decompose().ok_or_else(|| {
                let message = format!("node {} shears, mirrors or flattens its splats", placed.node);
                bad("TRANSFORM", 0, message)
            })?;
            let names = Names::of(primitive);
            let (count, degree) = measure(gltf, primitive, names)?;
            instances.push(Instance { mesh, skin: node.skin, primitive, names, count, degree, at });
        }
    }
    let unknown = document.extensions_required.iter().find(|name| !is_harmless(name));
    if let Some(name) = unknown {
        return Err(bad("UNSUPPORTED", 0, format!("the file requires the extension {name:.80}")));
    }
    if instances.is_empty() {
        let message = format!(
            "no splats: none of its {} meshes has a primitive with KHR_gaussian_splatting in the default scene",
            document.meshes.len()
        );
        return Err(bad("NO_SPLATS", 0, message));
    }
    Ok((instances, color_space.unwrap_or_default()))
}

fn is_harmless(extension: &str) -> bool {
    UNDERSTOOD.contains(&extension)
        || ["KHR_materials_", "KHR_texture_", "KHR_lights_", "EXT_texture_"].iter().any(|p| extension.starts_with(p))
}

fn compressed(name: &str) -> crate::Error {
    bad("UNSUPPORTED", 0, format!("the splats are compressed by {name:.80}, which is not read"))
}

fn check_extension(extension: &SplatExtension, primitive: &Primitive) -> Result<ColorSpace> {
    if let Some(name) = extension.extensions.keys().find(|name| name.contains("compression") || name.contains("EGSC")) {
        return Err(compressed(name));
    }
    if primitive.mode != Some(0) {
        let mode = primitive.mode.unwrap_or(4);
        return Err(bad("VALUE", 0, format!("a splat primitive has mode {mode}, 0 (points) is prescribed")));
    }
    if let Some(kernel) = extension.kernel.as_ref().filter(|kernel| *kernel != "ellipse") {
        return Err(bad("UNSUPPORTED", 0, format!("splat kernel `{kernel:.40}`, only `ellipse` is known")));
    }
    match extension.color_space.as_deref() {
        // early files do not say, and hold what training gave
        None | Some("srgb_rec709_display") => Ok(ColorSpace::SrgbRec709),
        Some("lin_rec709_display") => Ok(ColorSpace::LinearRec709),
        Some(other) => Err(bad("UNSUPPORTED", 0, format!("colour space `{other:.40}`"))),
    }
}

/// Splat count and SH degree of a primitive, after checking that all attributes agree on the count.
fn measure(gltf: &Gltf, primitive: &Primitive, names: Names) -> Result<(usize, u8)> {
    let has = |name: &str| primitive.attributes.contains_key(name);
    let count = gltf.count(attribute(primitive, "POSITION")?)? as u64;
    for (name, accessor) in &primitive.attributes {
        let other = gltf.accessor(*accessor)?.count;
        if other != count {
            return Err(bad("VALUE", 0, format!("attribute {name:.80} has {other} elements, POSITION has {count}")));
        }
    }
    let mut degree = 0;
    for l in 1..=4u8 {
        let there = (0..=2 * usize::from(l)).filter(|n| has(&names.sh(l, *n))).count();
        match there {
            0 => {}
            _ if there == 2 * usize::from(l) + 1 && degree == l - 1 => degree = l,
            _ => {
                let message =
                    format!("SH degree {l} is there with {there} coefficients while degree {degree} is complete");
                return Err(bad("VALUE", 0, message));
            }
        }
    }
    let count = gltf.limits.check_splats(count, 56 + 12 * sh_rest_count(degree) as u64)?;
    Ok((count, degree))
}

fn attribute(primitive: &Primitive, name: &str) -> Result<usize> {
    let index = primitive.attributes.get(name).copied();
    index.ok_or_else(|| bad("VALUE", 0, format!("a splat primitive lacks the attribute {name}")))
}

/// Appends the splats of one primitive, in the node's own coordinates.
fn append(gltf: &Gltf, instance: &Instance, splats: &mut Splats) -> Result<()> {
    let &Instance { primitive, names, count, .. } = instance;
    let start = splats.len();
    let end = start + count;
    let width = splats.sh_rest_count() * 3;
    splats.means.resize(end, [0.0; 3]);
    splats.rotations.resize(end, [1.0, 0.0, 0.0, 0.0]);
    splats.log_scales.resize(end, [0.0; 3]);
    splats.opacity_logits.resize(end, 0.0);
    splats.sh0.resize(end, [0.0; 3]);
    splats.sh_rest.resize(end * width, 0.0);

    let mut faults = Faults::default();
    gltf.read_floats(attribute(primitive, "POSITION")?, |i, p: [f32; 3]| {
        faults.check("POSITION", i, &p, |v| v.is_finite());
        splats.means[start + i] = p;
    })?;
    let rotation = fraction(gltf, primitive, &names.full("ROTATION"))?;
    gltf.read_floats(rotation, |i, [x, y, z, w]: [f32; 4]| {
        faults.check("ROTATION", i, &[x, y, z, w], |v| v.is_finite());
        splats.rotations[start + i] = [w, x, y, z];
    })?;
    gltf.read_floats(attribute(primitive, &names.full("SCALE"))?, |i, s: [f32; 3]| {
        faults.check("SCALE", i, &s, |v| v.is_finite() && v >= 0.0);
        splats.log_scales[start + i] = s.map(|v| v.max(SMALLEST_SCALE).ln());
    })?;
    let explicit_color = primitive.attributes.get(&names.sh(0, 0));
    let explicit_opacity = primitive.attributes.contains_key(&names.full("OPACITY"));
    if explicit_opacity {
        let opacity = fraction(gltf, primitive, &names.full("OPACITY"))?;
        gltf.read_floats(opacity, |i, [alpha]: [f32; 1]| {
            faults.check("OPACITY", i, &[alpha], |v| v.is_finite());
            splats.opacity_logits[start + i] = logit_from_opacity(alpha);
        })?;
    }
    if let Some(color) = explicit_color {
        gltf.read_floats(*color, |i, rgb: [f32; 3]| {
            faults.check("SH degree 0", i, &rgb, |v| v.is_finite());
            splats.sh0[start + i] = rgb;
        })?;
    }
    if explicit_color.is_none() || !explicit_opacity {
        if names == Names::Ratified {
            let missing = if explicit_opacity { names.sh(0, 0) } else { names.full("OPACITY") };
            return Err(bad("VALUE", 0, format!("a splat primitive lacks the attribute {missing}")));
        }
        let color = fraction(gltf, primitive, "COLOR_0")?;
        gltf.read_floats(color, |i, [r, g, b, alpha]: [f32; 4]| {
            faults.check("COLOR_0", i, &[r, g, b, alpha], |v| v.is_finite());
            if explicit_color.is_none() {
                splats.sh0[start + i] = [r, g, b].map(sh0_from_color);
            }
            if !explicit_opacity {
                splats.opacity_logits[start + i] = logit_from_opacity(alpha);
            }
        })?;
    }
    for degree in 1..=instance.degree {
        for n in 0..=2 * usize::from(degree) {
            let column = (sh_rest_count(degree - 1) + n) * 3;
            gltf.read_floats(attribute(primitive, &names.sh(degree, n))?, |i, rgb: [f32; 3]| {
                faults.check("SH", i, &rgb, |v| v.is_finite());
                splats.sh_rest[(start + i) * width + column..][..3].copy_from_slice(&rgb);
            })?;
        }
    }
    faults.finish()
}

/// An attribute that is a float or, when it is an integer, must be normalised to mean anything.
fn fraction(gltf: &Gltf, primitive: &Primitive, name: &str) -> Result<usize> {
    let index = attribute(primitive, name)?;
    let accessor = gltf.accessor(index)?;
    if accessor.component_type != super::accessor::FLOAT && !accessor.normalized {
        return Err(bad("VALUE", 0, format!("the integers of attribute {name} are not normalised")));
    }
    Ok(index)
}

/// The first forbidden number met.
#[derive(Default)]
struct Faults(Option<String>);

impl Faults {
    fn check(&mut self, attribute: &str, index: usize, values: &[f32], allowed: impl Fn(f32) -> bool) {
        if self.0.is_none() && !values.iter().all(|v| allowed(*v)) {
            self.0 = Some(format!("{attribute} of splat {index} is {values:?}"));
        }
    }

    fn finish(self) -> Result<()> {
        self.0.map_or(Ok(()), |message| Err(bad("VALUE", 0, message)))
    }
}
