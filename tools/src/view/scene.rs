//! The avatar as the page needs it.

use std::sync::Arc;

use gav_formats::{ColorSpace, Frame, Pose, RenderModel};
use gav_kernels::{raster::Settings, stage::Subject};
use gav_models::puppet::Control;
use serde_json::{Value, json};

use super::{Arguments, controls, messages, posing::Poser};
use crate::{
    failure::Failure,
    reading::Loaded,
    render::values::{Background, NEAR},
};

/// What is shown.
pub(super) struct Scene<'a> {
    pub poser: Poser<'a>,
    controls: Vec<Control>,
    at_rest: Arc<[u8]>,
    description: Value,
}

impl<'a> Scene<'a> {
    /// Prepares everything that does not change of the avatar that was read.
    ///
    /// # Errors
    /// Nothing of it can be shown.
    pub fn new(arguments: &Arguments, loaded: &'a Loaded) -> Result<Self, Failure> {
        let avatar = &loaded.avatar;
        let poser = Poser::new(&arguments.file, avatar, arguments.template.as_deref())?;
        let rest = poser.rest();
        let nothing = || Failure {
            code: "NOT_POSSIBLE",
            message: format!(
                "{}: no splat has a finite position, so there is nothing to look at",
                arguments.file.display()
            ),
            hint: None,
        };
        let subject = Subject::of(rest, avatar.frame).ok_or_else(nothing)?;
        let controls = poser.puppet().map(controls::controls).unwrap_or_default();
        let clips = poser.puppet().map(|puppet| controls::clips(avatar, puppet)).unwrap_or_default();
        let joints = if poser.puppet().is_some() { controls::joints(avatar) } else { Vec::new() };
        let at_rest: Arc<[u8]> = messages::whole(rest).into();
        let settings = Settings::from(avatar.render_model);
        let file = arguments.file.file_name().unwrap_or(arguments.file.as_os_str()).to_string_lossy();
        let description = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "file": file,
            "name": avatar.meta.name,
            "format": loaded.format.name,
            "bytes": loaded.bytes,
            "splats": rest.len(),
            "sh_degree": rest.sh_degree,
            "frame": avatar.frame.to_string(),
            "rub_from_avatar": Frame::RUB.from_frame(avatar.frame),
            "subject": {
                "center": subject.center,
                "radius": subject.radius,
                "half_height": subject.half_height,
            },
            "near": settings.near.min(NEAR * subject.radius.max(subject.half_height)),
            "model": match avatar.render_model {
                RenderModel::Classic => "classic",
                RenderModel::Antialiased => "antialiased",
                RenderModel::Surfel => "surfel",
            },
            "linear": avatar.color_space == ColorSpace::LinearRec709,
            "background": background(arguments.background),
            "rig": {"kind": avatar.rig.kind(), "name": avatar.rig.name(), "static": avatar.rig.is_static()},
            "template": avatar.template.as_ref().map(|t| json!({"name": t.name, "how_to_obtain": t.how_to_obtain})),
            "licence": avatar.meta.licence,
            "licence_text": avatar.meta.licence_text,
            "attribution": avatar.meta.attribution,
            "generator": avatar.meta.generator,
            "controls": controls.iter().map(|c| json!([c.name, c.min, c.max, c.default])).collect::<Vec<_>>(),
            "joints": joints,
            "clips": clips,
            "clip": arguments.clip,
            "problem": poser.problem(),
        });
        Ok(Self { poser, controls, at_rest, description })
    }

    /// What the page shows beside the splats.
    pub fn description(&self) -> &Value {
        &self.description
    }

    /// The message with the splats at rest.
    pub fn at_rest(&self) -> Arc<[u8]> {
        Arc::clone(&self.at_rest)
    }

    /// Values that `pose` gives to the controls, in their order; NaN where it says nothing.
    pub fn control_values(&self, pose: &Pose) -> Vec<f32> {
        controls::values(&self.controls, pose)
    }
}

/// `transparent` or `#rrggbb`; `null` leaves it to the page.
fn background(background: Option<Background>) -> Option<String> {
    background.map(|background| match background {
        Background::Transparent => "transparent".to_owned(),
        Background::Color(color) => {
            let digits = color.map(|v| format!("{:02x}", (v * 255.0 + 0.5) as u8));
            format!("#{}", digits.concat())
        }
    })
}
