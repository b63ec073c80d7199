//! The server: a thread for each connection of a browser on this machine, few of them, none of which can hold it up.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    panic::{self, AssertUnwindSafe},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::request::{self, HEAD_BYTES, PATIENCE, Refusal, Request};

/// Connections at the same time; a browser opens 6.
pub(super) const CONNECTIONS: usize = 32;
/// How long a connection may wait for its next request.
const IDLE: Duration = Duration::from_secs(120);
/// How often a waiting connection looks whether the server was stopped.
const TICK: Duration = Duration::from_millis(100);

/// What goes with every answer. The page may load from here only and be shown nowhere else, and no other page may read it.
const HEADERS: &str = "\
Cache-Control: no-store\r\n\
Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n\
Cross-Origin-Opener-Policy: same-origin\r\n\
Cross-Origin-Resource-Policy: same-origin\r\n\
Referrer-Policy: no-referrer\r\n\
X-Content-Type-Options: nosniff\r\n";

/// What is sent back.
pub(super) struct Answer {
    pub status: u16,
    pub media_type: &'static str,
    pub body: Body,
}

/// Bytes of an answer.
pub(super) enum Body {
    /// Part of the binary.
    Fixed(&'static [u8]),
    /// Made for this answer.
    Own(Vec<u8>),
    /// Kept for many answers.
    Shared(Arc<[u8]>),
}

impl Body {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Fixed(bytes) => bytes,
            Self::Own(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

impl Answer {
    pub fn text(status: u16, text: &str) -> Self {
        Self { status, media_type: "text/plain; charset=utf-8", body: Body::Own(format!("{text}\n").into_bytes()) }
    }
}

/// Answers requests; must be quick to fail and may be called from several threads.
pub(super) type Handler<'a> = &'a (dyn Fn(&Request) -> Answer + Sync);

/// A listening socket of 127.0.0.1.
pub(super) struct Server {
    listener: TcpListener,
    address: SocketAddr,
    stopped: Arc<AtomicBool>,
}

/// Ends a running server.
#[cfg(test)]
pub(super) struct Stopper {
    address: SocketAddr,
    stopped: Arc<AtomicBool>,
}

#[cfg(test)]
impl Stopper {
    /// Lets [`Server::run`] return when the answers under way are given.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        // wakes the listener; when nobody listens any more there is nothing to wake
        drop(TcpStream::connect(self.address));
    }
}

impl Server {
    /// Listens on `port`, 0 for a free one.
    ///
    /// # Errors
    /// The port is taken or not allowed.
    pub fn bind(port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address, stopped: Arc::default() })
    }

    /// Where the page is.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    #[cfg(test)]
    pub fn stopper(&self) -> Stopper {
        Stopper { address: self.address, stopped: Arc::clone(&self.stopped) }
    }

    /// Answers until it is stopped.
    ///
    /// # Errors
    /// The socket fails for good.
    pub fn run(&self, handler: Handler<'_>) -> io::Result<()> {
        let open = AtomicUsize::new(0);
        thread::scope(|scope| {
            loop {
                let stream = match self.listener.accept() {
                    Ok((stream, _)) => stream,
                    // the other side gave up before it was accepted, or too many files are open for a moment
                    Err(error) if error.kind() == ErrorKind::InvalidInput => return Err(error),
                    Err(_) => {
                        thread::sleep(TICK);
                        continue;
                    }
                };
                if self.stopped.load(Ordering::SeqCst) {
                    return Ok(());
                }
                if open.fetch_add(1, Ordering::SeqCst) >= CONNECTIONS {
                    open.fetch_sub(1, Ordering::SeqCst);
                    continue;
                }
                let open = &open;
                scope.spawn(move || {
                    // a connection that breaks concerns nobody else
                    drop(self.converse(stream, handler));
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        })
    }

    /// Answers the requests of one connection, one after the other.
    fn converse(&self, mut stream: TcpStream, handler: Handler<'_>) -> io::Result<()> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TICK))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut arrived = Vec::new();
        loop {
            let (request, keep_alive) = match self.receive(&mut stream, &mut arrived)? {
                Ok(Some(received)) => received,
                Ok(None) => return Ok(()),
                Err(Refusal(status, reason)) => {
                    send(&mut stream, &Answer::text(status, reason), false)?;
                    // what was not read would turn the answer into an error on the other side
                    stream.shutdown(std::net::Shutdown::Write)?;
                    return Ok(());
                }
            };
            let answer = panic::catch_unwind(AssertUnwindSafe(|| handler(&request)))
                .unwrap_or_else(|_| Answer::text(500, "a fault of this program: please report it"));
            let keep_alive = keep_alive && !self.stopped.load(Ordering::SeqCst);
            send(&mut stream, &answer, keep_alive)?;
            if !keep_alive {
                return Ok(());
            }
        }
    }

    /// The next request and whether others may follow; `None` when there is none.
    fn receive(
        &self,
        stream: &mut TcpStream,
        arrived: &mut Vec<u8>,
    ) -> io::Result<Result<Option<(Request, bool)>, Refusal>> {
        let mut buffer = [0; HEAD_BYTES];
        let waiting = Instant::now();
        let mut first = (!arrived.is_empty()).then_some(waiting);
        let mut head = None;
        loop {
            if head.is_none() && !arrived.is_empty() {
                head = match request::head(arrived, self.address.port()) {
                    Ok(head) => head,
                    Err(refusal) => return Ok(Err(refusal)),
                };
            }
            if let Some(found) = head.take_if(|h| arrived.len() >= h.length + h.body_length) {
                let rest = arrived.split_off(found.length + found.body_length);
                let body = arrived.split_off(found.length);
                *arrived = rest;
                let request = Request { method: found.method, path: found.path, body };
                return Ok(Ok(Some((request, found.keep_alive))));
            }
            match stream.read(&mut buffer) {
                Ok(0) => return Ok(Ok(None)),
                Ok(count) => {
                    first.get_or_insert_with(Instant::now);
                    arrived.extend_from_slice(&buffer[..count]);
                }
                Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            match first {
                Some(first) if first.elapsed() > PATIENCE => return Ok(Err(Refusal(408, "the request took too long"))),
                None if waiting.elapsed() > IDLE || self.stopped.load(Ordering::SeqCst) => return Ok(Ok(None)),
                _ => {}
            }
        }
    }
}

fn send(stream: &mut TcpStream, answer: &Answer, keep_alive: bool) -> io::Result<()> {
    let reason = match answer.status {
        200 => "OK",
        status if status < 500 => "Refused",
        _ => "Failed",
    };
    let body = answer.body.bytes();
    let head = format!(
        "HTTP/1.1 {} {reason}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: {}\r\n{HEADERS}\r\n",
        answer.status,
        answer.media_type,
        body.len(),
        if keep_alive { "keep-alive" } else { "close" }
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)
}
