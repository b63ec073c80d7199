//! What the server accepts: a strict part of HTTP/1.1, from pages of its own only.
//!
//! A browser will send requests of any web page to 127.0.0.1. Three things keep foreign pages out: the name in `Host` must be
//! ours (a foreign name that was made to resolve to 127.0.0.1 is not), `Origin` must be ours when there is one, and what
//! browsers say in `Sec-Fetch-Site` must not be another site.

use std::time::Duration;

/// Bytes of a request line with its headers.
pub(super) const HEAD_BYTES: usize = 16 << 10;
/// Headers of a request.
const HEADERS: usize = 64;
/// Bytes of a body: the values of some thousand drivers.
pub(super) const BODY_BYTES: usize = 1 << 20;
/// From the first byte of a request to its last.
pub(super) const PATIENCE: Duration = Duration::from_millis(if cfg!(test) { 700 } else { 10_000 });

/// A request that passed all checks.
#[derive(Debug, PartialEq)]
pub(super) struct Request {
    pub method: Method,
    /// Path without the query.
    pub path: String,
    pub body: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Post,
}

/// A request that is refused: status and reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal(pub u16, pub &'static str);

/// The head of a request: everything before the body.
#[derive(Debug, PartialEq)]
pub(super) struct Head {
    pub method: Method,
    pub path: String,
    /// Bytes of the head, and of the body after it.
    pub length: usize,
    pub body_length: usize,
    pub keep_alive: bool,
}

/// Reads the head from what has arrived; `None` when it is not complete yet.
///
/// `port` is the server's own.
///
/// # Errors
/// Whatever is not accepted, with the status to answer.
pub(super) fn head(bytes: &[u8], port: u16) -> Result<Option<Head>, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let length = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES => return Ok(None),
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Err(Refusal(431, "the headers are too large"));
        }
        Err(httparse::Error::Version) => return Err(Refusal(505, "HTTP/1.1 expected")),
        Err(_) => return Err(Refusal(400, "this is no HTTP request")),
    };
    if length > HEAD_BYTES {
        return Err(Refusal(431, "the headers are too large"));
    }
    if parsed.version != Some(1) {
        return Err(Refusal(505, "HTTP/1.1 expected"));
    }
    let one = |name: &'static str| one(parsed.headers, name);
    check_sender(&one, port)?;
    if one("transfer-encoding")?.is_some() {
        return Err(Refusal(501, "chunked bodies are not read"));
    }
    if one("expect")?.is_some() {
        return Err(Refusal(417, "nothing is promised"));
    }
    let method = match parsed.method {
        Some("GET") => Method::Get,
        Some("POST") => Method::Post,
        _ => return Err(Refusal(405, "GET and POST are answered")),
    };
    let body_length = match (method, one("content-length")?) {
        (Method::Post, None) => return Err(Refusal(411, "the length of the body is missing")),
        (_, None) => 0,
        (_, Some(text)) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => {
            text.parse().map_err(|_| Refusal(413, "the body is too large"))?
        }
        _ => return Err(Refusal(400, "the length of the body is no number")),
    };
    if body_length > BODY_BYTES {
        return Err(Refusal(413, "the body is too large"));
    }
    // anything else could be sent by a form of a foreign page without asking first
    if method == Method::Post && one("content-type")? != Some("application/json") {
        return Err(Refusal(415, "JSON expected"));
    }
    let keep_alive = !one("connection")?.is_some_and(|c| c.eq_ignore_ascii_case("close"));
    let target = parsed.path.unwrap_or_default();
    let path = target.split('?').next().unwrap_or_default().to_owned();
    Ok(Some(Head { method, path, length, body_length, keep_alive }))
}

/// The value of a header that may be there once.
fn one<'a>(headers: &[httparse::Header<'a>], name: &str) -> Result<Option<&'a str>, Refusal> {
    let mut values = headers.iter().filter(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value);
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => str::from_utf8(value).map(Some).map_err(|_| Refusal(400, "a header is no text")),
        _ => Err(Refusal(400, "a header is there twice")),
    }
}

/// Refuses requests of pages that are not ours.
fn check_sender<'a>(one: &dyn Fn(&'static str) -> Result<Option<&'a str>, Refusal>, port: u16) -> Result<(), Refusal> {
    let ours = [format!("127.0.0.1:{port}"), format!("localhost:{port}")];
    let host = one("host")?.unwrap_or_default();
    // a browser leaves port 80 out
    let full = if port == 80 && !host.contains(':') { format!("{host}:80") } else { host.to_owned() };
    if !ours.iter().any(|name| full.eq_ignore_ascii_case(name)) {
        return Err(Refusal(403, "this host is not served here"));
    }
    if one("origin")?.is_some_and(|origin| origin != format!("http://{host}")) {
        return Err(Refusal(403, "other pages are not answered"));
    }
    let foreign = one("sec-fetch-site")?.is_some_and(|site| site == "cross-site" || site == "same-site");
    // following a link to the page is fine
    if foreign && one("sec-fetch-mode")? != Some("navigate") {
        return Err(Refusal(403, "other pages are not answered"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(extra: &str) -> Result<Option<Head>, Refusal> {
        head(format!("GET /scene.json?x HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n{extra}\r\n").as_bytes(), 8000)
    }

    fn status(result: Result<Option<Head>, Refusal>) -> u16 {
        result.map_or_else(|refusal| refusal.0, |_| 200)
    }

    #[test]
    fn ordinary_requests_pass() {
        let head = get("Connection: close\r\n").unwrap().unwrap();
        assert_eq!((head.method, head.path.as_str(), head.keep_alive), (Method::Get, "/scene.json", false));
        assert!(get("Origin: http://127.0.0.1:8000\r\nSec-Fetch-Site: same-origin\r\n").unwrap().unwrap().keep_alive);
        assert_eq!(status(get("Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n")), 200);
        let text = "POST /pose HTTP/1.1\r\nHost: localhost:8000\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
        let parsed = super::head(text.as_bytes(), 8000).unwrap().unwrap();
        assert_eq!((parsed.length + parsed.body_length, parsed.body_length), (text.len(), 2));
    }

    #[test]
    fn a_head_that_is_not_complete_waits() {
        let whole = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n";
        for cut in 0..whole.len() {
            assert_eq!(head(&whole[..cut], 8000), Ok(None), "{cut} bytes");
        }
    }

    #[test]
    fn foreign_pages_are_refused() {
        for host in ["", "Host: evil.example:8000\r\n", "Host: 127.0.0.1\r\n", "Host: 127.0.0.1:8001\r\n"] {
            let text = format!("GET / HTTP/1.1\r\n{host}\r\n");
            assert_eq!(status(head(text.as_bytes(), 8000)), 403, "{host}");
        }
        assert_eq!(status(get("Origin: http://evil.example\r\n")), 403);
        assert_eq!(status(get("Origin: null\r\n")), 403);
        assert_eq!(status(get("Origin: http://localhost:8000\r\n")), 403, "another origin, though the same machine");
        assert_eq!(status(get("Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n")), 403);
        assert_eq!(status(get("Sec-Fetch-Site: same-site\r\n")), 403, "a page of another port");
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        assert_eq!(status(get("Host: 127.0.0.1:8000\r\n")), 400, "two hosts");
        assert_eq!(status(get("Transfer-Encoding: chunked\r\n")), 501);
        assert_eq!(status(get("Expect: 100-continue\r\n")), 417);
        assert_eq!(status(get("Content-Length: 99999999999999999999999\r\n")), 413);
        assert_eq!(status(get("Content-Length: -1\r\n")), 400);
        assert_eq!(status(get("Content-Length: 1\r\nContent-Length: 2\r\n")), 400);
        assert_eq!(status(get(&format!("Content-Length: {}\r\n", BODY_BYTES + 1))), 413);
        assert_eq!(status(get(&"a: b\r\n".repeat(HEADERS))), 431);
        assert_eq!(status(get(&format!("a: {}\r\n", "b".repeat(HEAD_BYTES)))), 431);
        let of = |text: &str| status(head(text.as_bytes(), 8000));
        assert_eq!(of("GET / HTTP/1.0\r\nHost: 127.0.0.1:8000\r\n\r\n"), 505);
        assert_eq!(of("PUT / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n"), 405);
        assert_eq!(of("POST / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n"), 411);
        assert_eq!(of("POST / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nContent-Length: 2\r\n\r\n{}"), 415);
        assert_eq!(of("\x16\x03\x01\x02\x00"), 400);
        assert_eq!(status(head(&[b'a'; HEAD_BYTES], 8000)), 431);
    }
}
