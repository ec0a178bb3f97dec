//! The HTTP listener: every request becomes plain data for the admin API.

use crate::entrance::{Entrance, EntranceLimits, Guest};
use crate::shard::{NodeHandle, ShardInput};
use crate::task;
use admin::{HttpRequest, HttpResponse, Method};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};

/// Largest request body, in bytes (security.md C6).
const BODY_BYTES_MAX: usize = 1 << 20;
/// Largest request head, in bytes (security.md C6).
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Longest that the head of a request may take, also that of the next one on a connection that is kept.
const HEAD_TIME_MAX: Duration = Duration::from_secs(10);
/// Longest that the body of a request may take.
const BODY_TIME_MAX: Duration = Duration::from_secs(10);
/// Longest that an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Connections served at once; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 4096;
/// Connections without a whole request yet: they never take all places.
const HTTP_GUESTS: EntranceLimits = EntranceLimits { guests_max: CONNECTIONS_MAX / 2, per_address_max: 512 };

/// What the requests of one connection share.
#[derive(Clone)]
struct Peer {
    node: NodeHandle,
    /// Until the first request is here.
    guest: Arc<Mutex<Option<Guest>>>,
}

/// Serves as long as the server runs.
pub(crate) async fn serve(listener: TcpListener, node: NodeHandle, pool: Handle) {
    let entrance = Entrance::new("http", HTTP_GUESTS);
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let (node, guest) = (node.clone(), entrance.admit(peer.ip()));
                task::spawn(&pool, "http-connection", async move {
                    serve_connection(stream, node, guest).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!("an HTTP connection could not be accepted: {error}");
                // Out of file descriptors: others must close first.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, node: NodeHandle, guest: Guest) {
    let leave = guest.leave();
    let app = Router::new().fallback(handle).with_state(Peer { node, guest: Arc::new(Mutex::new(Some(guest))) });
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIME_MAX).max_buf_size(HEAD_BYTES_MAX);
    let service = TowerToHyperService::new(app);
    tokio::select! {
        outcome = builder.serve_connection(TokioIo::new(stream), service) => {
            if let Err(error) = outcome {
                tracing::debug!("HTTP connection ended: {error}");
            }
        }
        () = leave.notified() => tracing::debug!("HTTP connection closed: the oldest of too many without a request"),
    }
}

async fn handle(State(Peer { node, guest }): State<Peer>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Some(method) = method_of(&parts.method) else {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "use GET, PUT, POST or DELETE");
    };
    let body = match tokio::time::timeout(BODY_TIME_MAX, to_bytes(body, BODY_BYTES_MAX)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return plain(StatusCode::PAYLOAD_TOO_LARGE, "a request body has at most 1 MiB"),
        Err(_) => return plain(StatusCode::REQUEST_TIMEOUT, "the request body did not arrive within 10 s"),
    };
    drop(guest.lock().unwrap_or_else(PoisonError::into_inner).take());
    let authorization = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let request = HttpRequest {
        method,
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        authorization: authorization.map(str::to_owned),
        tls_common_name: None,
        body,
    };
    let (reply, answer) = oneshot::channel();
    if node.send(ShardInput::Http { request, reply }).await.is_err() {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping");
    }
    match tokio::time::timeout(ANSWER_MAX, answer).await {
        Ok(Ok(response)) => render(response),
        Ok(Err(_)) => plain(StatusCode::SERVICE_UNAVAILABLE, "the request was dropped; try again"),
        Err(_) => plain(StatusCode::GATEWAY_TIMEOUT, "no answer within 30 s; the outcome is unknown"),
    }
}

fn method_of(method: &axum::http::Method) -> Option<Method> {
    match method.as_str() {
        "GET" | "HEAD" => Some(Method::Get),
        "PUT" => Some(Method::Put),
        "POST" => Some(Method::Post),
        "DELETE" => Some(Method::Delete),
        _ => None,
    }
}

fn plain(status: StatusCode, reason: &str) -> Response {
    let body = serde_json::json!({ "reason": reason }).to_string();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

fn render(answer: HttpResponse) -> Response {
    let mut response = Response::builder().status(answer.status).header(header::CONTENT_TYPE, answer.content_type);
    for (name, value) in &answer.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(answer.body)).unwrap_or_else(|_| {
        plain(StatusCode::INTERNAL_SERVER_ERROR, "the answer holds a header that HTTP cannot carry")
    })
}
