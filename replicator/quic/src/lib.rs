//! QUIC with mutual TLS between regions.
//!
//! **What**  [`QuicEndpoint`] keeps one connection to every peer region alive and carries [`wire::region::RegionFrame`]s
//! over it: frames of one group in order on one of K streams, answers and policies on a control stream that no bulk data
//! delays. Who may connect is decided by [`Trust`] before the first frame is read. All queues are bounded: what is sent
//! answers [`Sent::Full`], what is received holds a [`FramePermit`], and a peer that is not read is stopped by QUIC's own
//! flow control.
//!
//! **Not here**  What the frames mean (`link`, `broker`), where peers and their certificates are configured (`admin`).
//!
//! **Tests**  `tests/` on loopback: identities, reconnecting, order, bounds; `examples/frames` measures.

mod config;
mod endpoint;
mod event;

mod arbiter;
mod close;
mod dial;
mod greeting;
mod live;
mod outbound;
mod peer;
mod peers;
mod shared;
mod supervisor;
mod tls;
mod transport;

pub use config::{Congestion, Peer, PeerAddress, PeerAddressError, QuicConfig, QuicLimits};
pub use endpoint::{OpenError, PeerStatus, QuicEndpoint, SendRefusal, SendRefused, Sent};
pub use event::{FramePermit, QuicEvent};
pub use identity::{Identity, IdentityError, Trust, TrustError};
