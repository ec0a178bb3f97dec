//! What an endpoint tells its owner.

use base::{RegionId, RegionName};
use tokio::sync::OwnedSemaphorePermit;
use wire::region::RegionFrame;

/// Something that happened on a connection. For one region the order is: `Up`, its frames, `Down`, `Up`, …
#[derive(Debug)]
pub enum QuicEvent {
    /// Connected and proven to be this region.
    Up { region: RegionName, number: RegionId },
    /// The connection is gone; everything sent on it and not acknowledged by the protocol above is to be sent again.
    Down { region: RegionName, reason: String },
    /// One frame. Keep `permit` until the frame's bytes are let go: it is what bounds them.
    Frame { region: RegionName, frame: RegionFrame, permit: FramePermit },
    /// After [`crate::Sent::Full`] there is room again.
    Writable { region: RegionName },
    /// An attempt to connect failed, told once per cause: the text says what and how to mend it.
    Unreachable { region: RegionName, reason: String },
}

/// Holds a share of a peer's inbound bound until dropped.
#[derive(Debug)]
pub struct FramePermit(#[expect(dead_code, reason = "dropping it is its use")] pub(crate) OwnedSemaphorePermit);
