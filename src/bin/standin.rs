//! The standin plays the servers of a scenario: one that starts slowly, one that redirects, one that remembers what it was given.
//!
//! It is built without the harness and linked statically, so that its image holds this one file. It ends at once on SIGTERM: as process 1
//! of a container it gets no default handler, and a namespace would otherwise take half a minute to go.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Collected, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{HeaderValue, LOCATION};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "usage: standin serve [--listen ADDRESS:PORT] [--listen-after SECONDS] [--answer PATH=STATUS]… [--redirect PATH=URL]… \
                     [--store PREFIX]… [--keep PREFIX]…\n
  --listen ADDRESS:PORT    where to listen (0.0.0.0:8080)
  --listen-after SECONDS   refuse connections until then, like a server that is starting (0)
  --answer PATH=STATUS     answer requests for PATH with STATUS
  --redirect PATH=URL      answer requests for PATH with 302 to URL
  --store PREFIX           PUT PREFIX/x remembers x (201, then 204), GET PREFIX/x tells whether it is there (200 or 404)
  --keep PREFIX            PUT PREFIX/x keeps what is sent, at most 16 MiB of it, and GET PREFIX/x gives it back
Anything else is answered with 404.";

#[derive(Debug)]
struct Play {
    listen: SocketAddr,
    listen_after: Duration,
    answers: BTreeMap<String, StatusCode>,
    redirects: BTreeMap<String, HeaderValue>,
    stores: Vec<String>,
    stored: Mutex<BTreeSet<String>>,
    keeps: Vec<String>,
    kept: Mutex<BTreeMap<String, Bytes>>,
}

/// The most that is kept of one file, in bytes.
const LARGEST: usize = 16 << 20;

impl Play {
    fn parse(args: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut args = args.into_iter();
        match args.next().as_deref() {
            Some("serve") => {}
            other => return Err(format!("expected the command `serve`, found {other:?}")),
        }
        let mut play = Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 8080)),
            listen_after: Duration::ZERO,
            answers: BTreeMap::new(),
            redirects: BTreeMap::new(),
            stores: Vec::new(),
            stored: Mutex::default(),
            keeps: Vec::new(),
            kept: Mutex::default(),
        };
        while let Some(flag) = args.next() {
            let (flag, value) = match flag.split_once('=') {
                Some((flag, value)) => (flag.to_owned(), value.to_owned()),
                None => {
                    let value = args.next().ok_or_else(|| format!("{flag} needs a value"))?;
                    (flag, value)
                }
            };
            let pair = || value.split_once('=').ok_or_else(|| format!("{flag} {value}: expected PATH=…"));
            let wrong = |what: &str| format!("{flag} {value}: expected {what}");
            match flag.as_str() {
                "--listen" => play.listen = value.parse().map_err(|_| wrong("ADDRESS:PORT"))?,
                "--listen-after" => {
                    play.listen_after = value
                        .parse::<f64>()
                        .ok()
                        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
                        .ok_or_else(|| wrong("seconds"))?;
                }
                "--answer" => {
                    let (path, status) = pair()?;
                    play.answers
                        .insert(path.to_owned(), status.parse().map_err(|_| wrong("PATH=STATUS"))?);
                }
                "--redirect" => {
                    let (path, url) = pair()?;
                    play.redirects.insert(path.to_owned(), url.parse().map_err(|_| wrong("PATH=URL"))?);
                }
                "--store" => play.stores.push(value.trim_end_matches('/').to_owned()),
                "--keep" => play.keeps.push(value.trim_end_matches('/').to_owned()),
                _ => return Err(format!("unknown option {flag}")),
            }
        }
        Ok(play)
    }

    /// Whether what is sent to this path is kept.
    fn keeps(&self, path: &str) -> bool {
        below(&self.keeps, path)
    }

    /// Answers for a path whose content is kept; `sent` is what came with a PUT, nothing where that was too large.
    fn keep(&self, method: &Method, path: &str, sent: Option<Bytes>) -> Response<Full<Bytes>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (status, body) = match (method, sent) {
            (&Method::PUT, Some(bytes)) => match kept.insert(path.to_owned(), bytes) {
                None => (StatusCode::CREATED, Bytes::new()),
                Some(_) => (StatusCode::NO_CONTENT, Bytes::new()),
            },
            (&Method::PUT, None) => (StatusCode::PAYLOAD_TOO_LARGE, Bytes::new()),
            (&Method::GET | &Method::HEAD, _) => match kept.get(path) {
                Some(bytes) => (StatusCode::OK, bytes.clone()),
                None => (StatusCode::NOT_FOUND, Bytes::new()),
            },
            _ => (StatusCode::METHOD_NOT_ALLOWED, Bytes::new()),
        };
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = status;
        response
    }

    fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::default());
        *response.status_mut() = if let Some(status) = self.answers.get(path) {
            *status
        } else if let Some(url) = self.redirects.get(path) {
            response.headers_mut().insert(LOCATION, url.clone());
            StatusCode::FOUND
        } else if below(&self.stores, path) {
            let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
            match *method {
                Method::PUT if stored.insert(path.to_owned()) => StatusCode::CREATED,
                Method::PUT => StatusCode::NO_CONTENT,
                Method::GET | Method::HEAD if stored.contains(path) => StatusCode::OK,
                Method::GET | Method::HEAD => StatusCode::NOT_FOUND,
                _ => StatusCode::METHOD_NOT_ALLOWED,
            }
        } else {
            StatusCode::NOT_FOUND
        };
        response
    }
}

/// Whether a path lies below one of these.
fn below(prefixes: &[String], path: &str) -> bool {
    prefixes.iter().any(|prefix| {
        path.strip_prefix(prefix.as_str())
            .is_some_and(|rest| rest.starts_with('/') && rest.len() > 1)
    })
}

fn main() -> ExitCode {
    let play = match Play::parse(std::env::args().skip(1)) {
        Ok(play) => Arc::new(play),
        Err(error) => {
            eprintln!("standin: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("standin: failed to start its runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(async {
        let mut term = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            result = serve(play) => result,
            _ = term.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
        }
    }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("standin: {error}");
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "a slow start is what it plays")]
async fn serve(play: Arc<Play>) -> std::io::Result<()> {
    if !play.listen_after.is_zero() {
        println!("starting, listening in {} s", play.listen_after.as_secs_f64());
        tokio::time::sleep(play.listen_after).await;
    }
    let listener = TcpListener::bind(play.listen).await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        let play = play.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let play = play.clone();
                async move {
                    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
                    let response = if play.keeps(&path) {
                        let sent = Limited::new(request.into_body(), LARGEST).collect().await;
                        play.keep(&method, &path, sent.ok().map(Collected::to_bytes))
                    } else {
                        play.answer(&method, &path)
                    };
                    println!("{method} {path} {}", response.status().as_u16());
                    Ok::<_, Infallible>(response)
                }
            });
            // A peer that goes away is its own affair.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn play(args: &str) -> Result<Play, String> {
        Play::parse(args.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn plays_what_it_is_told() {
        let play = play("serve --answer=/up=200 --redirect /login=https://auth.example.invalid/ --store /admin/realms").unwrap();
        let status = |method, path: &str| play.answer(&method, path).status().as_u16();
        assert_eq!(status(Method::GET, "/up"), 200);
        assert_eq!(status(Method::GET, "/elsewhere"), 404);
        assert_eq!(
            play.answer(&Method::GET, "/login").headers()[LOCATION],
            "https://auth.example.invalid/"
        );
        assert_eq!(status(Method::GET, "/admin/realms/a"), 404);
        assert_eq!(status(Method::PUT, "/admin/realms/a"), 201);
        assert_eq!(status(Method::PUT, "/admin/realms/a"), 204);
        assert_eq!(status(Method::GET, "/admin/realms/a"), 200);
        assert_eq!(status(Method::GET, "/admin/realms/b"), 404);
    }

    #[test]
    fn keeps_what_it_is_sent() {
        let play = play("serve --keep /artifacts/").unwrap();
        assert!(play.keeps("/artifacts/a.tgz") && !play.keeps("/artifacts/") && !play.keeps("/artifacts2/a"));
        let status = |method, sent: Option<&'static str>| play.keep(&method, "/artifacts/a", sent.map(Bytes::from)).status().as_u16();
        assert_eq!(status(Method::GET, Some("")), 404);
        assert_eq!(status(Method::PUT, Some("a")), 201);
        assert_eq!(status(Method::PUT, Some("b")), 204);
        assert_eq!(status(Method::GET, Some("")), 200);
        assert_eq!(status(Method::PUT, None), 413);
        assert_eq!(status(Method::DELETE, Some("")), 405);
        assert_eq!(play.kept.lock().unwrap()["/artifacts/a"], "b");
    }

    #[test]
    fn refuses_what_it_does_not_understand() {
        for args in [
            "",
            "sing",
            "serve --listen",
            "serve --listen here",
            "serve --listen-after -1",
            "serve --answer /=9x",
            "serve --sing 1",
        ] {
            assert!(play(args).is_err(), "{args}");
        }
    }
}
