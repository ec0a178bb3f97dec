//! The control port: `GET /status`, `POST /link`, `POST /node/ID`.

use super::world::{LinkChange, NodeAction, World};
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::net::TcpListener;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeChange {
    action: NodeAction,
}

/// Serves until the playground ends.
pub(super) async fn serve(listener: TcpListener, world: Arc<World>) {
    let app = Router::new()
        .route("/status", get(status))
        .route("/link", post(link))
        .route("/node/{id}", post(node))
        .fallback(unknown)
        .with_state(world);
    if let Err(error) = axum::serve(listener, app).await {
        tracing::error!("the control port ended: {error}");
    }
}

async fn status(State(world): State<Arc<World>>) -> Response {
    match serde_json::to_value(world.status()) {
        Ok(status) => answer(StatusCode::OK, &status),
        Err(error) => refuse(&error.to_string()),
    }
}

async fn link(State(world): State<Arc<World>>, body: Bytes) -> Response {
    match read::<LinkChange>(&body).and_then(|change| world.change_link(&change).map_err(|f| f.to_string())) {
        Ok(()) => answer(StatusCode::OK, &json!({ "done": true })),
        Err(reason) => refuse(&reason),
    }
}

async fn node(State(world): State<Arc<World>>, Path(id): Path<String>, body: Bytes) -> Response {
    let change = match read::<NodeChange>(&body) {
        Ok(change) => change,
        Err(reason) => return refuse(&reason),
    };
    // On a task of its own: a client that hangs up must not leave a start or a stop half done.
    let work = tokio::runtime::Handle::current().spawn(async move { world.act(&id, change.action).await });
    match work.await {
        Ok(Ok(())) => answer(StatusCode::OK, &json!({ "done": true })),
        Ok(Err(failure)) => refuse(failure.reason()),
        Err(error) => refuse(&error.to_string()),
    }
}

async fn unknown() -> Response {
    refuse("the control port has GET /status, POST /link and POST /node/ID")
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| format!("the body cannot be read: {error}"))
}

fn refuse(reason: &str) -> Response {
    answer(StatusCode::BAD_REQUEST, &json!({ "reason": reason }))
}

fn answer(status: StatusCode, body: &Value) -> Response {
    let mut response = Response::new(Body::from(format!("{body}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
