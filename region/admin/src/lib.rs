//! The admin REST API as a pure machine on broker commands.

mod api;
mod http;

pub use api::{AdminApi, AdminEffect, AdminOptions};
pub use http::{HttpId, HttpRequest, HttpResponse, Method};
