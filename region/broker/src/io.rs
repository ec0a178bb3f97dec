//! What goes into a broker and what comes out of it.

use base::{NodeId, RegionName, RequestId};
use bytes::Bytes;
use meta_api::{MetaEvent, MetaRequest, MetaResponse};
use wire::bookie::{BookieRequest, BookieResponse};
use wire::frame::RawFrame;
use wire::region::RegionFrame;

/// One client connection; never reused within the life of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// Names one admin command, echoed in its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AdminId(pub u64);

/// What a connection is, as the listener that accepted it knows it.
#[derive(Clone, Debug)]
pub struct ConnInfo {
    /// `ip:port` of the peer, for stats and logs.
    pub peer: String,
    /// Common name of a verified client certificate.
    pub tls_common_name: Option<String>,
    /// Whether the connection is encrypted; decides which URL a lookup names first.
    pub tls: bool,
}

/// Everything that can happen to a broker.
#[derive(Debug)]
pub enum BrokerInput {
    ConnOpened {
        conn: ConnId,
        info: ConnInfo,
    },
    Frame {
        conn: ConnId,
        frame: RawFrame,
    },
    /// The peer sent bytes that are no frame; the connection is told why and ends.
    Garbage {
        conn: ConnId,
        reason: String,
    },
    /// The connection is gone; nothing sent to it from now on arrives.
    ConnClosed {
        conn: ConnId,
    },
    /// `bytes` of what was sent to this connection have left the process.
    Written {
        conn: ConnId,
        bytes: u64,
    },
    Bookie {
        from: NodeId,
        response: BookieResponse,
    },
    Meta {
        id: RequestId,
        response: MetaResponse,
    },
    /// Changes of the metadata, in revision order.
    MetaEvents(Vec<MetaEvent>),
    RegionUp {
        region: RegionName,
    },
    RegionDown {
        region: RegionName,
        reason: String,
    },
    Region {
        from: RegionName,
        frame: RegionFrame,
    },
    Admin {
        id: AdminId,
        command: crate::admin_command::AdminCommand,
    },
}

/// Everything that a broker can want.
#[derive(Debug)]
pub enum BrokerEffect {
    /// Frames for one connection, in order.
    Send {
        conn: ConnId,
        bytes: Outgoing,
    },
    /// The handshake succeeded: frames may have their full size from now on.
    Authenticated {
        conn: ConnId,
    },
    /// Flush what was sent, then close.
    Close {
        conn: ConnId,
        reason: String,
    },
    /// Stop reading this socket until `ResumeReads`.
    PauseReads {
        conn: ConnId,
    },
    ResumeReads {
        conn: ConnId,
    },
    Bookie {
        to: NodeId,
        request: BookieRequest,
    },
    Meta {
        id: RequestId,
        request: MetaRequest,
    },
    /// One frame for a remote region; frames of one `group` keep their order.
    Region {
        to: RegionName,
        group: u64,
        frame: RegionFrame,
    },
    Admin {
        id: AdminId,
        reply: crate::admin_command::AdminReply,
    },
    /// Something that an operator must hear; logged as a warning and counted.
    Alarm {
        text: String,
    },
}

/// Bytes for a socket: one piece, or a prefix and a body that is sent without being copied.
#[derive(Clone, Debug)]
pub enum Outgoing {
    One(Bytes),
    Two(Bytes, Bytes),
}

impl Outgoing {
    pub fn len(&self) -> usize {
        match self {
            Self::One(a) => a.len(),
            Self::Two(a, b) => a.len() + b.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
