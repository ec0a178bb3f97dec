//! How connections end, in words for operators.

use base::RegionName;
use identity::region_host;
use quinn::{ConnectionError, VarInt};

/// Why this side closes a connection; the peer is told the number and a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseCode {
    Stopping = 0,
    /// Another connection to the same region stays.
    Duplicate = 1,
    /// The `Hello` is not what this side expects.
    WrongHello = 2,
    /// A frame could not be read.
    Broken = 3,
    /// The region is no longer a peer, or is configured otherwise.
    Removed = 4,
}

/// Closes a connection with a sentence.
pub(crate) fn close(connection: &quinn::Connection, code: CloseCode, reason: &str) {
    let bytes = reason.as_bytes();
    connection.close(VarInt::from_u32(code as u32), &bytes[..bytes.len().min(512)]);
}

/// TLS alerts in a transport error code.
const ALERTS: std::ops::Range<u64> = 0x100..0x200;
const NO_APPLICATION_PROTOCOL: u64 = 0x100 + 120;

/// Says why a connection to `region` failed or ended, and how to mend it.
pub(crate) fn explain(error: &ConnectionError, region: &RegionName, own_fingerprint: &str) -> String {
    match error {
        ConnectionError::TransportError(e) if ALERTS.contains(&u64::from(e.code)) => {
            alert_here(u64::from(e.code), &e.reason, region)
        }
        ConnectionError::ConnectionClosed(e) if u64::from(e.error_code) == NO_APPLICATION_PROTOCOL => {
            format!("what listens there is no Meridian region (region {region} expected)")
        }
        ConnectionError::ConnectionClosed(e) if ALERTS.contains(&u64::from(e.error_code)) => format!(
            "region {region} refused this region's certificate ({}): register this region there with replicatorTrust \
             {own_fingerprint}",
            printable(&e.reason)
        ),
        ConnectionError::ApplicationClosed(e) => format!("region {region} closed: {}", printable(&e.reason)),
        ConnectionError::TimedOut => format!("region {region} does not answer"),
        ConnectionError::Reset => format!("region {region} was restarted"),
        ConnectionError::LocallyClosed => "closed by this region".to_owned(),
        ConnectionError::VersionMismatch
        | ConnectionError::TransportError(_)
        | ConnectionError::ConnectionClosed(_)
        | ConnectionError::CidsExhausted => format!("connection to region {region}: {error}"),
    }
}

/// The handshake failed on this side: mostly, the certificate was not the expected one.
fn alert_here(code: u64, reason: &str, region: &RegionName) -> String {
    if code == NO_APPLICATION_PROTOCOL {
        return format!("what listens there is no Meridian region (region {region} expected)");
    }
    format!(
        "the certificate presented is not one of region {region} ({reason}): its CA must match the region's \
         replicatorTrust and its name must be {}; compare with `meridian admin clusters get {region}` there",
        region_host(region)
    )
}

/// A peer's words without control characters and not too many of them.
fn printable(reason: &[u8]) -> String {
    let text = String::from_utf8_lossy(reason);
    text.chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
