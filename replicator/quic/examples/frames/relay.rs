//! A path with delay and loss, in user space: the machines that run this have no netem.

use base::Rng;
use rustix::net::sockopt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Largest UDP payload in an Ethernet frame.
const PAYLOAD_BYTES_MAX: usize = 1_472;
/// Datagrams under way in one direction; more are lost, as in a router.
const QUEUE_MAX: usize = 200_000;
const SOCKET_BUFFER_BYTES: usize = 32 << 20;

async fn socket() -> io::Result<Arc<UdpSocket>> {
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    // Too small a buffer would lose bursts that the path should carry.
    let _ = sockopt::set_socket_recv_buffer_size_force(&socket, SOCKET_BUFFER_BYTES);
    let _ = sockopt::set_socket_send_buffer_size_force(&socket, SOCKET_BUFFER_BYTES);
    Ok(Arc::new(socket))
}

/// Starts a relay to `target` and gives its address; it serves one client.
pub(crate) async fn start(
    tasks: &mut JoinSet<()>,
    target: SocketAddr,
    rtt_ms: u64,
    loss_per_mille: u64,
) -> io::Result<SocketAddr> {
    let (front, back) = (socket().await?, socket().await?);
    let address = front.local_addr()?;
    let client = Arc::new(OnceLock::new());
    let half = Duration::from_micros(rtt_ms * 500);
    let to = Arc::new(OnceLock::from(target));
    for (from_socket, to_socket, to, learn, seed) in
        [(&front, &back, &to, Some(Arc::clone(&client)), 1), (&back, &front, &client, None, 2)]
    {
        let (tx, rx) = mpsc::channel(QUEUE_MAX);
        tasks.spawn(take(Arc::clone(from_socket), tx, half, loss_per_mille, learn, seed));
        tasks.spawn(give(Arc::clone(to_socket), rx, Arc::clone(to)));
    }
    Ok(address)
}

async fn take(
    socket: Arc<UdpSocket>,
    queue: mpsc::Sender<(Instant, Vec<u8>)>,
    delay: Duration,
    loss_per_mille: u64,
    learn: Option<Arc<OnceLock<SocketAddr>>>,
    seed: u64,
) {
    let mut rng = Rng::new(seed);
    let mut buffer = vec![0; 65_536];
    while let Ok((bytes, from)) = socket.recv_from(&mut buffer).await {
        if let Some(client) = &learn {
            client.get_or_init(|| from);
        }
        if bytes <= PAYLOAD_BYTES_MAX && rng.below(1_000) >= loss_per_mille {
            let _ = queue.try_send((Instant::now() + delay, buffer[..bytes].to_vec()));
        }
    }
}

async fn give(socket: Arc<UdpSocket>, mut queue: mpsc::Receiver<(Instant, Vec<u8>)>, to: Arc<OnceLock<SocketAddr>>) {
    while let Some((at, datagram)) = queue.recv().await {
        tokio::time::sleep_until(at).await;
        if let Some(to) = to.get() {
            let _ = socket.send_to(&datagram, *to).await;
        }
    }
}
