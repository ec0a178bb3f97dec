//! An HTTP exchange as plain data.

use bytes::Bytes;

/// Names one exchange, echoed in its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HttpId(pub u64);

/// The methods that the API knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    Get,
    Put,
    Post,
    Delete,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct HttpRequest {
    pub method: Method,
    /// Percent-encoded, without the query.
    pub path: String,
    /// Without the question mark.
    pub query: String,
    /// The Authorization header.
    pub authorization: Option<String>,
    /// Common name of a verified client certificate.
    pub tls_common_name: Option<String>,
    pub body: Bytes,
}

/// The answer.
#[derive(Clone, Debug)]
pub struct HttpResponse {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub content_type: &'static str,
    pub body: Bytes,
}
