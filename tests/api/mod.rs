//! An API server that says what a test wants it to say, well or badly. It speaks HTTP by hand, so that it can break off wherever it likes.

#![allow(dead_code, reason = "not every test needs all of it")]

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rekindle::command::{Command, Output};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// What the server does with a request.
pub enum Answer {
    Json(u16, Value),
    /// Status, further headers, body.
    Raw(u16, &'static str, Vec<u8>),
    /// The beginning of a body that was announced to be longer; then the connection ends.
    BreaksOff(Vec<u8>),
    /// Nothing, as long as somebody waits.
    Hangs,
}

/// The path, and the query with it.
pub type Handler = dyn Fn(&str, &str) -> Answer + Send + Sync;

pub struct Api {
    folder: tempfile::TempDir,
    pub requests: Arc<Mutex<Vec<String>>>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Api {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Api {
    /// Starts to serve; `token` is the one of the account in the kubeconfig.
    pub async fn serve(token: &str, handler: impl Fn(&str, &str) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("there is a free port");
        let port = listener.local_addr().expect("it has an address").port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (handler, seen): (Arc<Handler>, _) = (Arc::new(handler), requests.clone());
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (handler, seen) = (handler.clone(), seen.clone());
                tokio::spawn(async move {
                    let _ = answer(stream, &*handler, &seen).await;
                });
            }
        });
        let kubeconfig = json!({"apiVersion": "v1", "kind": "Config", "current-context": "fake",
            "clusters": [{"name": "c", "cluster": {"server": format!("http://127.0.0.1:{port}")}}], "users": [{"name": "u", "user": {"token": token}}],
            "contexts": [{"name": "fake", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}]});
        let folder = tempfile::tempdir().expect("there is room for it");
        std::fs::write(folder.path().join("kubeconfig"), kubeconfig.to_string()).expect("there is room for it");
        Self { folder, requests, server }
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `rekindle diagnose`, looking at this server.
    pub async fn diagnose(&self, args: &[&str]) -> Output {
        let kubeconfig = self.file("kubeconfig");
        let target = ["diagnose", "--context", "fake", "--kubeconfig"].map(str::to_owned);
        let args = target
            .into_iter()
            .chain([kubeconfig.to_string_lossy().into_owned()])
            .chain(args.iter().map(|arg| (*arg).to_owned()));
        rekindle(args.collect()).await
    }
}

/// The program as people call it.
pub async fn rekindle(args: Vec<String>) -> Output {
    let command = Command::new(env!("CARGO_BIN_EXE_rekindle"), Duration::from_secs(90)).args(args);
    let command = command.dir(env!("CARGO_MANIFEST_DIR")).env_remove("NO_COLOR");
    command.run_any_status(&CancellationToken::new()).await.expect("it runs")
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

async fn answer(stream: TcpStream, handler: &Handler, seen: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut request = String::new();
        if stream.read_line(&mut request).await? == 0 {
            return Ok(());
        }
        let mut header = String::new();
        while header.trim_end() != "" || header.is_empty() {
            header.clear();
            if stream.read_line(&mut header).await? == 0 {
                return Ok(());
            }
        }
        let target = request.split(' ').nth(1).unwrap_or_default().to_owned();
        seen.lock().expect("nobody panics").push(target.clone());
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let (status, headers, body, announced) = match handler(path, query) {
            Answer::Json(status, value) => {
                let body = value.to_string().into_bytes();
                let length = body.len();
                (status, "content-type: application/json\r\n", body, length)
            }
            Answer::Raw(status, headers, body) => {
                let length = body.len();
                (status, headers, body, length)
            }
            Answer::BreaksOff(body) => {
                let more = body.len() + 1000;
                (200, "content-type: application/json\r\n", body, more)
            }
            Answer::Hangs => {
                // Until the other side goes.
                let mut rest = String::new();
                stream.read_line(&mut rest).await?;
                return Ok(());
            }
        };
        let head = format!("HTTP/1.1 {status} x\r\n{headers}content-length: {announced}\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(&body).await?;
        stream.flush().await?;
        if announced != body.len() {
            return Ok(());
        }
    }
}

/// A refusal as the API words it.
pub fn status(code: u16, reason: &str, message: &str) -> Answer {
    Answer::Json(
        code,
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message}),
    )
}

/// The plural that a path lists, such as `pods`; nothing where it asks for something else.
pub fn listed(path: &str) -> Option<&str> {
    let last = path.rsplit('/').next()?;
    let of_namespace = path.contains("/namespaces/shop/");
    let wide = path.starts_with("/api/v1/nodes") || path.starts_with("/apis/") && !path.contains("/namespaces/");
    (of_namespace || wide)
        .then_some(last)
        .filter(|last| last.chars().all(|c| c.is_ascii_lowercase()))
}

/// A list as the API writes it.
pub fn list(items: &[Value]) -> Answer {
    Answer::Json(
        200,
        json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "9"}, "items": items}),
    )
}

/// What a server that is well says of itself; nothing where it is asked for something else.
pub fn well(path: &str) -> Option<Answer> {
    match path {
        "/version" => Some(Answer::Json(
            200,
            json!({"major": "1", "minor": "34", "gitVersion": "v1.34.4", "gitCommit": "x", "gitTreeState": "clean", "buildDate": "2026-01-01T00:00:00Z", "goVersion": "go1.25", "compiler": "gc", "platform": "linux/amd64"}),
        )),
        "/api/v1/namespaces/shop" => Some(Answer::Json(
            200,
            json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "shop"}}),
        )),
        "/api/v1/namespaces" => Some(list(&[json!({"metadata": {"name": "shop"}})])),
        "/api/v1/namespaces/kube-system/pods" => Some(list(&[])),
        _ => None,
    }
}
