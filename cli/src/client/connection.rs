//! One socket: handshake, requests with answers, and what the server sends on its own.
//!
//! **Invariants**
//! - I1  [`Connection::next`] may be dropped at any await without losing bytes: frames leave the buffer whole.
//! - I2  pings are answered wherever the client reads.

use super::ClientError;
use bytes::{Buf, Bytes, BytesMut};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use wire::commands;
use wire::frame::{FrameLimits, FrameSplitter, RawFrame, decode_command, encode_command};
use wire::pulsar::{
    BaseCommand, CommandConnect, CommandLookupTopic, CommandLookupTopicResponse, CommandProducer, FeatureFlags,
    MessageIdData, ServerError, base_command::Command, command_lookup_topic_response::LookupType,
};

/// Longest wait for an answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
/// What this client speaks.
const PROTOCOL_VERSION: i32 = 20;
/// Most redirects that a lookup follows.
const REDIRECTS_MAX: usize = 5;
/// Socket reads are at least so large, in bytes.
const READ_BYTES: usize = 256 * 1024;

/// Longest that one of several servers may take to let a client in, before the next is tried.
const NEXT_SERVER_AFTER: Duration = Duration::from_secs(3);

/// `pulsar://host:port[,host:port]`: the servers to begin with, in the order in which they are tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceUrl(Vec<String>);

impl ServiceUrl {
    /// Reads a service URL; ports may be left out.
    ///
    /// # Errors
    /// [`ClientError::Unsupported`] for TLS and other schemes.
    pub(crate) fn parse(text: &str) -> Result<Self, ClientError> {
        let rest = match text.split_once("://") {
            Some(("pulsar", rest)) => rest.trim_end_matches('/'),
            None => text,
            Some((scheme, _)) => return Err(ClientError::Unsupported(format!("a service URL with {scheme}://"))),
        };
        let whole = |server: &str| if server.contains(':') { server.to_owned() } else { format!("{server}:6650") };
        Ok(Self(rest.split(',').map(whole).collect()))
    }

    /// The servers one by one.
    fn each(&self) -> impl Iterator<Item = Self> {
        self.0.iter().map(|server| Self(vec![server.clone()]))
    }

    /// `host:port`, of several servers separated by commas.
    pub(crate) fn authority(&self) -> String {
        self.0.join(",")
    }
}

/// What arrives on its own, or as the answer to a request.
#[derive(Debug)]
pub(crate) enum Incoming {
    Receipt {
        sequence_id: u64,
    },
    SendError {
        sequence_id: u64,
        code: String,
        message: String,
    },
    Message {
        id: MessageIdData,
        redeliveries: u32,
        ack_set: Vec<i64>,
        body: Bytes,
    },
    /// The server closed the producer or consumer of this connection.
    Closed,
    /// Whatever else: answers of requests among them.
    Other(Command),
}

/// A connected and authenticated socket.
#[derive(Debug)]
pub(crate) struct Connection {
    read: OwnedReadHalf,
    write: OwnedWriteHalf,
    buffer: BytesMut,
    splitter: FrameSplitter,
    waiting: VecDeque<Incoming>,
    last_request: u64,
    url: ServiceUrl,
}

impl Connection {
    /// Connects to the first server that lets the client in.
    ///
    /// # Errors
    /// [`ClientError`] of any kind: that of the last server.
    pub(crate) async fn open(url: &ServiceUrl, token: Option<&str>) -> Result<Self, ClientError> {
        let longest = if url.0.len() > 1 { NEXT_SERVER_AFTER } else { ANSWER_TIME_MAX };
        let mut last = late();
        for server in url.each() {
            match tokio::time::timeout(longest, Self::open_one(&server, token)).await {
                Ok(Ok(connection)) => return Ok(connection),
                // The others would say the same.
                Ok(Err(refused @ ClientError::Refused { .. })) => return Err(refused),
                Ok(Err(error)) => last = error,
                Err(_) => last = ClientError::Late(longest.as_secs()),
            }
        }
        Err(last)
    }

    async fn open_one(url: &ServiceUrl, token: Option<&str>) -> Result<Self, ClientError> {
        let lost = |source| ClientError::Unreachable { url: format!("pulsar://{}", url.authority()), source };
        let stream = TcpStream::connect(url.authority()).await.map_err(lost)?;
        stream.set_nodelay(true)?;
        let (read, write) = stream.into_split();
        let mut connection = Self {
            read,
            write,
            buffer: BytesMut::with_capacity(READ_BYTES),
            splitter: FrameSplitter::new(FrameLimits::HANDSHAKE),
            waiting: VecDeque::new(),
            last_request: 0,
            url: url.clone(),
        };
        let connect = CommandConnect {
            client_version: format!("Meridian-CLI-v{}", env!("CARGO_PKG_VERSION")),
            auth_method_name: token.map(|_| "token".to_owned()),
            auth_data: token.map(|token| Bytes::copy_from_slice(token.as_bytes())),
            protocol_version: Some(PROTOCOL_VERSION),
            feature_flags: Some(FeatureFlags::default()),
            ..CommandConnect::default()
        };
        connection.send(&connect.into()).await?;
        let wait = async {
            loop {
                match connection.read_one().await? {
                    Incoming::Other(Command::Connected(connected)) => {
                        return Ok::<_, ClientError>(connected.max_message_size);
                    }
                    Incoming::Other(Command::Error(error)) => return Err(refusal(error.error, error.message)),
                    _ => (),
                }
            }
        };
        let size = wait.await?;
        let size = size.and_then(|size| u32::try_from(size).ok()).unwrap_or(5 << 20);
        connection.splitter.set_limits(FrameLimits::connected(size));
        Ok(connection)
    }

    /// Connects to the server that owns `topic`, asking `url` first.
    ///
    /// # Errors
    /// [`ClientError`] of any kind.
    pub(crate) async fn open_for_topic(
        url: &ServiceUrl,
        token: Option<&str>,
        topic: &str,
    ) -> Result<Self, ClientError> {
        let mut connection = Self::open(url, token).await?;
        let mut authoritative = false;
        for _ in 0..REDIRECTS_MAX {
            let answer = connection.look_up(topic, authoritative).await?;
            let owner = answer.broker_service_url.as_deref().map_or_else(|| Ok(url.clone()), ServiceUrl::parse)?;
            if owner != connection.url {
                connection = Self::open(&owner, token).await?;
            }
            if answer.response == Some(LookupType::Connect as i32) {
                return Ok(connection);
            }
            authoritative = answer.authoritative.unwrap_or(true);
        }
        Err(ClientError::Unsupported(format!("a lookup of {topic} with more than {REDIRECTS_MAX} redirects")))
    }

    /// The server to ask for `topic`, as this one says.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when it does not say.
    pub(crate) async fn server_of(&mut self, topic: &str) -> Result<ServiceUrl, ClientError> {
        let answer = self.look_up(topic, false).await?;
        answer.broker_service_url.as_deref().map_or_else(|| Ok(self.url.clone()), ServiceUrl::parse)
    }

    async fn look_up(&mut self, topic: &str, authoritative: bool) -> Result<CommandLookupTopicResponse, ClientError> {
        let request_id = self.next_request();
        let lookup = CommandLookupTopic {
            topic: topic.to_owned(),
            request_id,
            authoritative: Some(authoritative),
            ..CommandLookupTopic::default()
        };
        let answer = self.call(&lookup.into(), request_id).await?;
        let Command::LookupTopicResponse(answer) = answer else { return Err(unexpected("a lookup")) };
        if answer.response == Some(LookupType::Failed as i32) {
            return Err(refusal(answer.error.unwrap_or_default(), answer.message.unwrap_or_default()));
        }
        Ok(answer)
    }

    /// The number for the next request.
    pub(crate) fn next_request(&mut self) -> u64 {
        self.last_request += 1;
        self.last_request
    }

    /// Sends a command and waits for its answer; what arrives meanwhile is kept for [`Self::next`].
    ///
    /// # Errors
    /// [`ClientError::Refused`] when the answer is an error.
    pub(crate) async fn call(&mut self, request: &BaseCommand, request_id: u64) -> Result<Command, ClientError> {
        self.send(request).await?;
        let wait = async {
            loop {
                match self.read_one().await? {
                    Incoming::Other(Command::Error(error)) if error.request_id == request_id => {
                        return Err(refusal(error.error, error.message));
                    }
                    Incoming::Other(answer) if answers(&answer) == Some(request_id) => return Ok(answer),
                    other => self.waiting.push_back(other),
                }
            }
        };
        tokio::time::timeout(ANSWER_TIME_MAX, wait).await.map_err(|_| late())?
    }

    pub(crate) async fn send(&mut self, command: &BaseCommand) -> Result<(), ClientError> {
        Ok(self.write.write_all(&encode_command(command)).await?)
    }

    /// Writes encoded frames.
    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        Ok(self.write.write_all(bytes).await?)
    }

    /// Writes the two parts of a frame without copying them together.
    pub(crate) async fn send_parts(&mut self, head: &[u8], body: &Bytes) -> Result<(), ClientError> {
        let mut frame = Buf::chain(head, body.clone());
        Ok(self.write.write_all_buf(&mut frame).await?)
    }

    /// Creates a producer and gives its name and the last sequence id that the server has of it, −1 for none.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when the server does not allow it.
    pub(crate) async fn create_producer(
        &mut self,
        producer_id: u64,
        topic: &str,
        name: Option<&str>,
    ) -> Result<(String, i64), ClientError> {
        let request_id = self.next_request();
        let ask = producer_command(producer_id, request_id, topic, name);
        match self.call(&ask, request_id).await? {
            Command::ProducerSuccess(made) => Ok((made.producer_name, made.last_sequence_id.unwrap_or(-1))),
            _ => Err(unexpected("a producer")),
        }
    }

    /// What the server sent next. May be dropped while it waits (I1).
    ///
    /// # Errors
    /// [`ClientError::Ended`] and its like when the connection is over.
    pub(crate) async fn next(&mut self) -> Result<Incoming, ClientError> {
        match self.waiting.pop_front() {
            Some(kept) => Ok(kept),
            None => self.read_one().await,
        }
    }

    async fn read_one(&mut self) -> Result<Incoming, ClientError> {
        loop {
            match self.splitter.next(&mut self.buffer)? {
                Some(frame) => {
                    if let Some(incoming) = self.understand(frame).await? {
                        return Ok(incoming);
                    }
                }
                None => {
                    self.buffer.reserve(READ_BYTES);
                    if self.read.read_buf(&mut self.buffer).await? == 0 {
                        return Err(ClientError::Ended);
                    }
                }
            }
        }
    }

    async fn understand(&mut self, frame: RawFrame) -> Result<Option<Incoming>, ClientError> {
        let Some(command) = decode_command(&frame.command)?.command else { return Ok(None) };
        let incoming = match command {
            Command::Ping(_) => {
                // I2. A pong is smaller than any socket buffer, so it is not cut by a dropped future in practice.
                self.send(&commands::pong()).await?;
                return Ok(None);
            }
            Command::Pong(_) => return Ok(None),
            Command::SendReceipt(receipt) => Incoming::Receipt { sequence_id: receipt.sequence_id },
            Command::SendError(error) => {
                let code = code_name(error.error);
                Incoming::SendError { sequence_id: error.sequence_id, code, message: error.message }
            }
            Command::Message(message) => Incoming::Message {
                id: message.message_id,
                redeliveries: message.redelivery_count.unwrap_or(0),
                ack_set: message.ack_set,
                body: frame.payload.unwrap_or_default(),
            },
            Command::CloseProducer(_) | Command::CloseConsumer(_) => Incoming::Closed,
            other => Incoming::Other(other),
        };
        Ok(Some(incoming))
    }
}

/// Asks for a producer.
pub(crate) fn producer_command(producer_id: u64, request_id: u64, topic: &str, name: Option<&str>) -> BaseCommand {
    let producer = CommandProducer {
        topic: topic.to_owned(),
        producer_id,
        request_id,
        producer_name: name.map(str::to_owned),
        user_provided_producer_name: Some(name.is_some()),
        ..CommandProducer::default()
    };
    producer.into()
}

/// The request that a command answers.
fn answers(command: &Command) -> Option<u64> {
    match command {
        Command::Success(answer) => Some(answer.request_id),
        Command::ProducerSuccess(answer) => Some(answer.request_id),
        Command::LookupTopicResponse(answer) => Some(answer.request_id),
        _ => None,
    }
}

pub(crate) fn refusal(code: i32, message: String) -> ClientError {
    ClientError::Refused { code: code_name(code), message }
}

fn code_name(code: i32) -> String {
    ServerError::try_from(code).map_or_else(|_| code.to_string(), |code| format!("{code:?}"))
}

pub(super) fn unexpected(what: &str) -> ClientError {
    ClientError::Refused {
        code: "UnknownError".to_owned(),
        message: format!("the answer to {what} is of another kind"),
    }
}

fn late() -> ClientError {
    ClientError::Late(ANSWER_TIME_MAX.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_urls_name_host_and_port() {
        assert_eq!(ServiceUrl::parse("pulsar://a:1").unwrap().authority(), "a:1");
        assert_eq!(ServiceUrl::parse("pulsar://a/").unwrap().authority(), "a:6650");
        assert_eq!(ServiceUrl::parse("a:7").unwrap().authority(), "a:7");
        assert_eq!(ServiceUrl::parse("pulsar://a:1,b,c:3").unwrap().authority(), "a:1,b:6650,c:3");
        assert!(ServiceUrl::parse("pulsar+ssl://a:1").is_err());
    }
}
