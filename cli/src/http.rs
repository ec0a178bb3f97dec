//! A small HTTP client: one request, one answer, one connection. Enough for admin calls and the playground's control port.

use crate::exit::Failure;
use serde_json::Value;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Longest wait for an answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(35);

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as JSON; null when it is empty or something else.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// What the server says about a refusal.
    pub(crate) fn reason(&self) -> String {
        match self.json().get("reason").and_then(Value::as_str) {
            Some(reason) => format!("{} (HTTP {})", reason, self.status),
            None => format!("HTTP {} {}", self.status, String::from_utf8_lossy(&self.body)),
        }
    }
}

/// Where to ask, and as whom.
#[derive(Clone, Debug)]
pub(crate) struct HttpClient {
    /// `host:port`.
    authority: String,
    token: Option<String>,
}

impl HttpClient {
    /// Takes `http://host:port`.
    ///
    /// # Errors
    /// For another scheme; https is not built yet.
    pub(crate) fn new(url: &str, token: Option<String>) -> Result<Self, Failure> {
        if url.starts_with("https://") {
            return Err(Failure::unbuilt("https:// for admin calls"));
        }
        let rest = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
        if rest.is_empty() || rest.contains('/') {
            return Err(Failure::usage(format!("'{url}' is not http://host:port")));
        }
        let authority = if rest.contains(':') { rest.to_owned() } else { format!("{rest}:80") };
        Ok(Self { authority, token })
    }

    /// Sends one request. `path` begins with `/` and is encoded already.
    ///
    /// # Errors
    /// 69 when the server cannot be reached or its answer cannot be read.
    pub(crate) async fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer, Failure> {
        let attempt = tokio::time::timeout(ANSWER_TIME_MAX, self.exchange(method, path, body)).await;
        let lost = |error: &dyn std::fmt::Display| {
            Failure::unreachable(format!(
                "{method} http://{}{path}: {error}; is the server running there?",
                self.authority
            ))
        };
        match attempt {
            Ok(Ok(raw)) => parse(&raw).ok_or_else(|| lost(&"the answer is not HTTP")),
            Ok(Err(error)) => Err(lost(&error)),
            Err(_) => Err(lost(&format!("no answer within {} s", ANSWER_TIME_MAX.as_secs()))),
        }
    }

    async fn exchange(&self, method: &str, path: &str, body: Option<&Value>) -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(&self.authority).await?;
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.authority);
        if let Some(token) = &self.token {
            head.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        if !body.is_empty() {
            head.push_str("Content-Type: application/json\r\n");
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        stream.write_all(head.as_bytes()).await?;
        let mut raw = Vec::new();
        let limit = u64::try_from(ANSWER_BYTES_MAX).unwrap_or(u64::MAX);
        stream.take(limit).read_to_end(&mut raw).await?;
        Ok(raw)
    }
}

/// Reads a whole answer of a connection that was closed behind it.
fn parse(raw: &[u8]) -> Option<Answer> {
    let end = raw.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(raw.get(..end)?).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let chunked = lines.any(|line| {
        let line = line.to_ascii_lowercase();
        line.starts_with("transfer-encoding:") && line.contains("chunked")
    });
    let body = raw.get(end + 4..)?;
    let body = if chunked { unchunk(body)? } else { body.to_vec() };
    Some(Answer { status, body })
}

fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n")?;
        let size = std::str::from_utf8(rest.get(..end)?).ok()?.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        let chunk = rest.get(end + 2..end + 2 + size)?;
        body.extend_from_slice(chunk);
        rest = rest.get(end + 2 + size + 2..)?;
    }
}

/// Encodes one segment of a path or a value of a query.
pub(crate) fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_with_and_without_chunks() {
        let plain =
            parse(b"HTTP/1.1 409 Conflict\r\nContent-Type: application/json\r\n\r\n{\"reason\":\"x\"}").unwrap();
        assert_eq!((plain.status, plain.is_success(), plain.reason()), (409, false, "x (HTTP 409)".to_owned()));
        let chunked =
            parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n").unwrap();
        assert_eq!(chunked.body, b"abcde");
    }

    #[test]
    fn cut_answers_are_no_answers() {
        assert!(parse(b"HTTP/1.1 200 OK\r\n").is_none());
        assert!(parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab").is_none());
        assert!(parse(b"nonsense\r\n\r\n").is_none());
    }

    #[test]
    fn segments_are_percent_encoded() {
        assert_eq!(encode("a b/c~ü"), "a%20b%2Fc~%C3%BC");
    }
}
