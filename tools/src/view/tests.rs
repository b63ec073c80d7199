//! The server with a real socket: what a browser gets, and what others do not.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    thread,
    time::{Duration, Instant},
};

use clap::Parser;
use gav_formats::{
    Avatar, WriteOptions, format_by_name, save,
    synthetic::{RigSample, every_rig},
};
use serde_json::Value;

use super::{
    routes,
    scene::Scene,
    server::{Answer, CONNECTIONS, Handler, Server},
};
use crate::reading::load;

/// An answer as it came over the wire.
struct Received {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Received {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Runs a server with `handler` while `work` does; it has stopped in the end.
fn with_server(handler: Handler<'_>, work: impl FnOnce(u16)) {
    let server = Server::bind(0).unwrap();
    let port: u16 = server.url().trim_end_matches('/').rsplit(':').next().unwrap().parse().unwrap();
    let stopper = server.stopper();
    thread::scope(|scope| {
        let running = scope.spawn(|| server.run(handler));
        let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(port)));
        stopper.stop();
        running.join().unwrap().unwrap();
        if let Err(panic) = worked {
            std::panic::resume_unwind(panic);
        }
    });
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Reads one answer; `None` when the connection ended instead.
fn receive(stream: &mut TcpStream) -> Option<Received> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 65536];
    loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let length: usize = field(&head, "Content-Length").unwrap().parse().unwrap();
            if bytes.len() >= end + 4 + length {
                let status = head.split(' ').nth(1).unwrap().parse().unwrap();
                return Some(Received { status, head, body: bytes[end + 4..].to_vec() });
            }
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.split_once(": ").filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v))
}

fn get(stream: &mut TcpStream, port: u16, path: &str) -> Received {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n").unwrap();
    receive(stream).unwrap()
}

fn post(stream: &mut TcpStream, port: u16, path: &str, body: &str) -> Received {
    let length = body.len();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    receive(stream).unwrap()
}

/// Writes `avatar` to a file, opens it with further options as the command does, and serves it while `work` runs.
fn with_scene(avatar: &Avatar, options: &[&str], work: impl FnOnce(u16)) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("avatar.gav");
    save(avatar, &path, format_by_name("gav").unwrap(), &WriteOptions::default()).unwrap();
    let line = ["gav", "view", path.to_str().unwrap()];
    let cli = crate::Cli::try_parse_from(line.iter().chain(options)).unwrap();
    let crate::Command::View(arguments) = &cli.command else { panic!("view expected") };
    let loaded = load(&arguments.file, &arguments.read.options()).unwrap();
    let scene = Scene::new(arguments, &loaded).unwrap();
    with_server(&|request| routes::answer(&scene, request), work);
}

fn word(bytes: &[u8], index: usize) -> u32 {
    u32::from_le_bytes(bytes[4 * index..][..4].try_into().unwrap())
}

#[test]
fn the_page_and_everything_it_loads_is_served_with_its_policy() {
    with_scene(&every_rig(RigSample::MorphSkinned), &[], |port| {
        let mut stream = connect(port);
        let mut wanted = vec!["/".to_owned()];
        let mut seen = Vec::new();
        while let Some(path) = wanted.pop() {
            if seen.contains(&path) {
                continue;
            }
            // one connection serves them all
            let answer = get(&mut stream, port, &path);
            assert_eq!(answer.status, 200, "{path}");
            let policy = field(&answer.head, "Content-Security-Policy").unwrap();
            assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"), "{policy}");
            let text = answer.text();
            assert!(!text.contains("https:"), "{path} names another server");
            for quote in ["from \"./", "href=\"", "src=\"", "new Worker(\""] {
                for (start, _) in text.match_indices(quote) {
                    let name = text[start + quote.len()..].split('"').next().unwrap();
                    if name.ends_with(".js") || name.ends_with(".css") || name.ends_with(".svg") {
                        wanted.push(format!("/{name}"));
                    }
                }
            }
            seen.push(path);
        }
        assert!(seen.len() > 12, "{seen:?}");
        assert_eq!(get(&mut stream, port, "/../Cargo.toml").status, 404);
        assert_eq!(get(&mut stream, port, "/favicon.ico").status, 404);
    });
}

#[test]
fn the_scene_names_what_can_be_moved() {
    let avatar = every_rig(RigSample::MorphSkinned);
    with_scene(&avatar, &["--background", "ff8000"], |port| {
        let mut stream = connect(port);
        let told: Value = serde_json::from_slice(&get(&mut stream, port, "/scene.json").body).unwrap();
        assert_eq!(told["splats"], avatar.splats.len());
        assert_eq!(told["background"], "#ff8000");
        assert_eq!(told["clips"][0]["name"], avatar.clips[0].name);
        assert!(told["controls"].as_array().unwrap().iter().any(|c| c[0] == avatar.drivers[0].name));
        let splats = get(&mut stream, port, "/splats");
        assert_eq!(&splats.body[..4], b"gvs1");
        assert_eq!(splats.body[4..8], (avatar.splats.len() as u32).to_le_bytes());
    });
}

#[test]
fn poses_that_make_no_sense_are_refused_with_words() {
    with_scene(&every_rig(RigSample::MorphSkinned), &[], |port| {
        let mut stream = connect(port);
        let empty = post(&mut stream, port, "/pose", "{}");
        assert_eq!((empty.status, &empty.body[..4]), (200, b"gvs1".as_slice()));
        for (body, words) in [
            ("", "not understood"),
            ("{\"clip\": 3}", "not understood"),
            ("{\"values\": {\"x\": [1e999]}}", "not understood"),
            ("{\"nonsense\": 1}", "unknown field"),
            ("{\"clip\": \"no such\"}", "no clip `no such`"),
        ] {
            let answer = post(&mut stream, port, "/pose", body);
            assert!([400, 422].contains(&answer.status), "{body}");
            assert!(answer.text().contains(words), "{}", answer.text());
        }
        let many = format!("{{\"values\": {{\"x\": [{}0]}}}}", "0,".repeat(4096));
        assert!(post(&mut stream, port, "/pose", &many).text().contains("at most 4096"));
        assert_eq!(post(&mut stream, port, "/", "{}").status, 404);
    });
}

#[test]
fn a_pose_changes_what_it_moves_and_tells_the_values_of_the_drivers() {
    let avatar = every_rig(RigSample::MorphSkinned);
    with_scene(&avatar, &[], |port| {
        let mut stream = connect(port);
        let driver = &avatar.drivers[0].name;
        let rest = post(&mut stream, port, "/pose", "{}").body;
        assert_eq!(word(&rest, 2), 0, "nothing differs from rest");
        let posed = post(&mut stream, port, "/pose", &format!("{{\"values\": {{\"{driver}\": [1]}}}}")).body;
        assert_eq!(word(&posed, 2) & 1, 1, "the centres move");
        let told: Value = serde_json::from_slice(&get(&mut stream, port, "/scene.json").body).unwrap();
        let controls = told["controls"].as_array().unwrap();
        assert_eq!(word(&posed, 5) as usize, controls.len());
        let index = controls.iter().position(|c| c[0] == **driver).unwrap();
        assert_eq!(f32::from_bits(word(&posed[32 + 12 * avatar.splats.len() + 4 * index..], 0)), 1.0);
        let clip = &avatar.clips[0];
        let body = format!("{{\"clip\": \"{}\", \"time\": {}}}", clip.name, 0.5 * clip.seconds());
        assert!(word(&post(&mut stream, port, "/pose", &body).body, 2) != 0);
    });
}

#[test]
fn an_avatar_without_its_template_is_shown_at_rest_with_the_reason() {
    let avatar = every_rig(RigSample::Stga);
    with_scene(&avatar, &[], |port| {
        let mut stream = connect(port);
        let told: Value = serde_json::from_slice(&get(&mut stream, port, "/scene.json").body).unwrap();
        let problem = &told["problem"];
        assert!(problem["message"].as_str().unwrap().contains("template"), "{problem}");
        assert!(problem["hint"].is_string(), "{problem}");
        assert_eq!(get(&mut stream, port, "/splats").status, 200);
        assert_eq!(post(&mut stream, port, "/pose", "{}").status, 422);
    });
}

#[test]
fn refused_requests_end_their_connection_only() {
    with_server(&|_| Answer::text(200, "well"), |port| {
        for (request, status) in [
            ("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n".to_owned(), 403),
            (format!("GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://evil.example\r\n\r\n"), 403),
            (format!("POST / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 9999999\r\n\r\n"), 413),
            ("nonsense\r\n\r\n".to_owned(), 400),
            (format!("GET / HTTP/1.1\r\n{}", "a: b\r\n".repeat(4000)), 431),
        ] {
            let mut stream = connect(port);
            // it may refuse before everything is sent
            drop(stream.write_all(request.as_bytes()));
            if let Some(answer) = receive(&mut stream) {
                assert_eq!(answer.status, status, "{request}");
                assert!(receive(&mut stream).is_none(), "the connection ends");
            } else {
                assert_eq!(status, 431, "{request}");
            }
        }
        assert_eq!(get(&mut connect(port), port, "/").status, 200);
    });
}

#[test]
fn two_requests_sent_at_once_are_answered_one_after_the_other() {
    with_server(&|request| Answer::text(200, &request.path), |port| {
        let mut stream = connect(port);
        let one = |path: &str, last: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\n{last}\r\n");
        stream.write_all((one("/a", "") + &one("/b", "Connection: close\r\n")).as_bytes()).unwrap();
        let mut all = String::new();
        stream.read_to_string(&mut all).unwrap();
        assert!(all.find("/a\n").unwrap() < all.find("/b\n").unwrap(), "{all}");
    });
}

#[test]
fn a_request_that_never_ends_is_given_up() {
    with_server(&|_| Answer::text(200, "well"), |port| {
        let mut stream = connect(port);
        stream.write_all(b"GET / HT").unwrap();
        assert_eq!(receive(&mut stream).unwrap().status, 408);
        let mut stream = connect(port);
        stream.write_all(b"GET / HT").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert!(receive(&mut stream).is_none(), "nobody waits for the rest of a closed connection");
    });
}

#[test]
fn more_connections_than_allowed_are_closed_and_the_others_live() {
    with_server(&|_| Answer::text(200, "well"), |port| {
        let mut open: Vec<TcpStream> = (0..CONNECTIONS).map(|_| connect(port)).collect();
        for stream in &mut open {
            assert_eq!(get(stream, port, "/").status, 200);
        }
        let mut surplus = connect(port);
        drop(write!(surplus, "GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"));
        assert!(receive(&mut surplus).is_none());
        assert_eq!(get(&mut open[0], port, "/").status, 200);
    });
}

#[test]
fn a_fault_of_a_handler_is_one_answer_not_the_end() {
    let handler = |request: &super::request::Request| -> Answer {
        assert!(request.path != "/fault", "a fault that the test makes");
        Answer::text(200, "well")
    };
    with_server(&handler, |port| {
        let mut stream = connect(port);
        assert_eq!(get(&mut stream, port, "/fault").status, 500);
        assert_eq!(get(&mut stream, port, "/").status, 200);
    });
}

#[test]
fn stopping_does_not_wait_for_idle_connections() {
    let start = Instant::now();
    with_server(&|_| Answer::text(200, "well"), |port| {
        let mut idle = connect(port);
        assert_eq!(get(&mut idle, port, "/").status, 200);
        std::mem::forget(idle);
    });
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}
