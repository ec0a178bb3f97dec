//! Who a region is, and how it proves it: certificates, whom to trust, and the rules of TLS 1.3.
//!
//! **What**  [`Identity`] is the region's certificate authority and its certificate, on disk. [`Trust`] says which authority
//! a certificate must come from. [`client_config`] and [`server_config`] are the only TLS settings in use between nodes:
//! both sides present a certificate, nothing is resumed, nothing is sent early.
//!
//! **Not here**  Sockets and what travels on them: `quic` between regions, `peer` between the nodes of one region.
//!
//! **Tests**  Beside each module; handshakes are tested by `quic` and `peer`.

mod identity;
mod tls;
mod trust;

pub use identity::{Identity, IdentityError};
pub use tls::{Accept, OneRegion, RegionVerifier, Verifier, client_config, provider, server_config};
pub use trust::{PresentedChain, Trust, TrustError, region_host};
