//! Which address gives what.

use std::time::Instant;

use super::{
    messages,
    posing::Wanted,
    request::{Method, Request},
    scene::Scene,
    server::{Answer, Body},
};

/// The files of the page: path, media type, content.
const PAGE: [(&str, &str, &str); 15] = [
    ("/", "text/html; charset=utf-8", include_str!("page/index.html")),
    ("/style.css", "text/css; charset=utf-8", include_str!("page/style.css")),
    ("/icon.svg", "image/svg+xml", include_str!("page/icon.svg")),
    ("/main.js", SCRIPT, include_str!("page/main.js")),
    ("/camera.js", SCRIPT, include_str!("page/camera.js")),
    ("/gestures.js", SCRIPT, include_str!("page/gestures.js")),
    ("/motion.js", SCRIPT, include_str!("page/motion.js")),
    ("/pace.js", SCRIPT, include_str!("page/pace.js")),
    ("/panel.js", SCRIPT, include_str!("page/panel.js")),
    ("/renderer.js", SCRIPT, include_str!("page/renderer.js")),
    ("/shaders.js", SCRIPT, include_str!("page/shaders.js")),
    ("/sliders.js", SCRIPT, include_str!("page/sliders.js")),
    ("/splats.js", SCRIPT, include_str!("page/splats.js")),
    ("/sort.js", SCRIPT, include_str!("page/sort.js")),
    ("/sort-worker.js", SCRIPT, include_str!("page/sort-worker.js")),
];
const SCRIPT: &str = "text/javascript; charset=utf-8";
const BINARY: &str = "application/octet-stream";

/// Answers a request about `scene`.
pub(super) fn answer(scene: &Scene<'_>, request: &Request) -> Answer {
    let path = request.path.as_str();
    match (request.method, path) {
        (Method::Get, "/scene.json") => Answer {
            status: 200,
            media_type: "application/json",
            body: Body::Own(scene.description().to_string().into_bytes()),
        },
        (Method::Get, "/splats") => Answer { status: 200, media_type: BINARY, body: Body::Shared(scene.at_rest()) },
        (Method::Post, "/pose") => pose(scene, &request.body),
        (Method::Get, _) => match PAGE.iter().find(|(known, ..)| *known == path) {
            Some((_, media_type, content)) => Answer { status: 200, media_type, body: Body::Fixed(content.as_bytes()) },
            None => Answer::text(404, "nothing is here"),
        },
        (Method::Post, _) => Answer::text(404, "nothing is here"),
    }
}

/// The splats in the pose that the body asks for, as changes from those at rest.
fn pose(scene: &Scene<'_>, body: &[u8]) -> Answer {
    let wanted: Wanted = match serde_json::from_slice(body) {
        Ok(wanted) => wanted,
        Err(error) => return Answer::text(400, &format!("the pose is not understood: {error}")),
    };
    if let Err(reason) = wanted.check() {
        return Answer::text(400, &reason);
    }
    let start = Instant::now();
    let encoded = scene.poser.pose(wanted, |splats, pose| {
        messages::changes(splats, scene.poser.rest(), start.elapsed(), &scene.control_values(pose))
    });
    match encoded {
        Ok(body) => Answer { status: 200, media_type: BINARY, body: Body::Own(body) },
        Err(failure) => Answer::text(422, &failure.message),
    }
}
