//! The avatar as the page needs it.

use std::sync::Arc;

use gav_formats::{Avatar, ColorSpace, Frame, Pose, RenderModel};
use gav_kernels::{raster::Settings, stage::Subject};
use serde_json::{Value, json};

use super::{
    Arguments,
    controls::{self, Control},
    messages,
    posing::Poser,
};
use crate::{
    failure::Failure,
    reading::load,
    render::values::{Background, NEAR},
};

/// What is shown.
pub(super) struct Scene {
    pub avatar: Avatar,
    pub poser: Poser,
    controls: Vec<Control>,
    at_rest: Arc<[u8]>,
    description: Value,
}

impl Scene {
    /// Reads the file and prepares everything that does not change.
    ///
    /// # Errors
    /// The file cannot be read, or nothing of it can be shown.
    pub fn open(arguments: &Arguments) -> Result<Self, Failure> {
        let loaded = load(&arguments.file, &arguments.read.options())?;
        let avatar = loaded.avatar;
        let poser = Poser::new(&avatar).map_err(|e| Failure::at(&arguments.file, &e))?;
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
        let controls = controls::controls(&avatar);
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
            "joints": controls::joints(&avatar),
            "clips": avatar.clips.iter()
                .map(|c| json!({"name": c.name, "seconds": c.seconds(), "rate": c.ticks_per_second}))
                .collect::<Vec<_>>(),
            "clip": arguments.clip,
            "problem": poser.problem(),
        });
        Ok(Self { avatar, poser, controls, at_rest, description })
    }

    pub fn clip_names(&self) -> impl Iterator<Item = &str> {
        self.avatar.clips.iter().map(|clip| clip.name.as_str())
    }

    /// Why the avatar cannot be posed.
    pub fn problem(&self) -> Option<&Failure> {
        self.poser.problem()
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
