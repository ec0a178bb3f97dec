//! Both ends of a session in memory.

use super::{End, Opened, PLAIN_BYTES_MAX, SEALED_BYTES_MAX, Session, gather, record_bytes};
use base::RegionName;
use bytes::Bytes;
use identity::{Identity, RegionVerifier, Trust};
use rustls::client::UnbufferedClientConnection;
use rustls::crypto::cipher::{MessageEncrypter, OutboundChunks, OutboundPlainMessage};
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::ConnectionState;
use rustls::{ConnectionTrafficSecrets, ContentType, Error, ProtocolVersion, SupportedCipherSuite};
use std::collections::VecDeque;
use std::sync::Arc;

/// A dialler and a listener that have shaken hands.
fn pair() -> (Session, Session) {
    let region = RegionName::parse("eu").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let identity = Identity::load_or_create(&dir.path().join("identity"), &region).unwrap();
    let verifier = RegionVerifier::new(region.clone(), Trust::parse(identity.ca_pem()).unwrap());
    let mut client = identity::client_config(&identity, verifier.clone(), b"test").unwrap();
    client.enable_secret_extraction = true;
    let server = identity::server_config(&identity, Arc::new(verifier), b"test").unwrap();
    let name = ServerName::try_from(identity::region_host(&region)).unwrap();
    let client = UnbufferedClientConnection::new(Arc::new(client), name).unwrap();
    let server = UnbufferedServerConnection::new(Arc::new(server)).unwrap();
    let mut ends = (Session::new(End::Client(Box::new(client))), Session::new(End::Server(Box::new(server))));
    while ends.0.is_handshaking() || ends.1.is_handshaking() {
        assert_eq!(carry(&mut ends.0, &mut ends.1), Ok((Vec::new(), Opened::Starved)));
        assert_eq!(carry(&mut ends.1, &mut ends.0), Ok((Vec::new(), Opened::Starved)));
    }
    ends
}

/// What `from` has to send, as the other side receives it.
fn sent(from: &mut Session) -> Vec<u8> {
    from.speak().unwrap();
    let sealed = from.sealed().to_vec();
    from.taken(sealed.len());
    sealed
}

/// Everything that is in `staged`, and how it ends.
fn open_all(session: &mut Session, staged: &mut [u8]) -> Result<(Vec<u8>, Opened), Error> {
    let (mut plain, mut used) = (Vec::new(), 0);
    loop {
        let (step, opened) = session.open(&mut staged[used..], &mut |bytes| plain.extend_from_slice(bytes))?;
        used += step;
        if opened != Opened::Plain {
            return Ok((plain, opened));
        }
    }
}

fn carry(from: &mut Session, to: &mut Session) -> Result<(Vec<u8>, Opened), Error> {
    open_all(to, &mut sent(from))
}

/// The lengths of the records that sealing `pieces` gives.
fn records(session: &mut Session, pieces: &[&Bytes]) -> Vec<usize> {
    let mut pieces: VecDeque<Bytes> = pieces.iter().copied().cloned().collect();
    session.seal(&mut pieces).unwrap();
    let sealed = sent(session);
    let (mut lengths, mut at) = (Vec::new(), 0);
    while let Some(bytes) = record_bytes(&sealed[at..]) {
        lengths.push(bytes - super::RECORD_OVERHEAD_BYTES);
        at += bytes;
    }
    assert_eq!(at, sealed.len());
    lengths
}

fn say(from: &mut Session, to: &mut Session, text: &'static [u8]) {
    from.seal(&mut VecDeque::from([Bytes::from_static(text)])).unwrap();
    assert_eq!(carry(from, to), Ok((text.to_vec(), Opened::Starved)));
}

/// Encrypts what a dialler would say next, from its keys.
fn forge(client: Session) -> Box<dyn MessageEncrypter> {
    let End::Client(client) = client.end else { panic!("not a dialler") };
    let Some(SupportedCipherSuite::Tls13(suite)) = client.negotiated_cipher_suite() else { panic!("not TLS 1.3") };
    let (_, secrets) = client.dangerous_into_kernel_connection().map(|(secrets, _)| secrets.tx).unwrap();
    let ConnectionTrafficSecrets::Aes128Gcm { key, iv } = secrets else { panic!("the first suite was not taken") };
    suite.aead_alg.encrypter(key, iv)
}

fn record(encrypter: &mut dyn MessageEncrypter, number: u64, typ: ContentType, payload: &[u8]) -> Vec<u8> {
    let payload = OutboundChunks::Single(payload);
    encrypter
        .encrypt(OutboundPlainMessage { typ, version: ProtocolVersion::TLSv1_2, payload }, number)
        .unwrap()
        .encode()
}

#[test]
fn large_pieces_fill_records_and_small_ones_share_them() {
    let (mut client, _server) = pair();
    let (small, large) = (Bytes::from(vec![1; 100]), Bytes::from(vec![2; 2 * PLAIN_BYTES_MAX + 50]));
    assert_eq!(records(&mut client, &[&small, &large]), [100, PLAIN_BYTES_MAX, PLAIN_BYTES_MAX, 50]);
    assert_eq!(records(&mut client, &[&small, &small, &large, &small]), [200, PLAIN_BYTES_MAX, PLAIN_BYTES_MAX, 150]);
    let half = Bytes::from(vec![3; PLAIN_BYTES_MAX / 2 + 1]);
    assert_eq!(records(&mut client, &[&half, &half, &half]), [PLAIN_BYTES_MAX, PLAIN_BYTES_MAX / 2 + 3]);
}

#[test]
fn small_pieces_are_gathered_up_to_one_record() {
    let piece = Bytes::from(vec![1; 10_000]);
    let mut pieces = VecDeque::from([piece.clone(), piece.clone(), piece]);
    let mut gathered = Vec::new();
    gather(&mut pieces, &mut gathered);
    assert_eq!((gathered.len(), pieces.len(), pieces[0].len()), (PLAIN_BYTES_MAX, 2, 20_000 - PLAIN_BYTES_MAX));
}

#[test]
fn sealing_stops_at_its_bound_and_goes_on_when_the_system_has_taken_it() {
    let (mut client, mut server) = pair();
    let body: Vec<u8> = (0..1_000_000_u32).map(|at| at.to_le_bytes()[1]).collect();
    let mut pieces = VecDeque::from([Bytes::from(body.clone())]);
    let (mut arrived, mut rounds) = (Vec::new(), 0);
    while !pieces.is_empty() || !client.sealed().is_empty() {
        client.seal(&mut pieces).unwrap();
        assert!(client.sealed().len() <= SEALED_BYTES_MAX, "I1");
        arrived.extend(carry(&mut client, &mut server).unwrap().0);
        rounds += 1;
    }
    assert!(arrived == body && rounds >= 4, "{rounds} rounds");
}

#[test]
fn a_system_that_never_takes_all_costs_no_more_memory() {
    let (mut client, mut server) = pair();
    let body: Vec<u8> = (0..5_000_000_u32).map(|at| at.to_le_bytes()[1]).collect();
    let mut pieces = VecDeque::from([Bytes::from(body.clone())]);
    let (mut wire, mut arrived) = (Vec::new(), Vec::new());
    while !pieces.is_empty() || !client.sealed().is_empty() {
        client.seal(&mut pieces).unwrap();
        let took = client.sealed().len().min(10_000);
        wire.extend_from_slice(&client.sealed()[..took]);
        client.taken(took);
        assert!(client.sealed.bytes.len() <= 2 * SEALED_BYTES_MAX, "{}", client.sealed.bytes.len());
    }
    loop {
        let (used, opened) = server.open(&mut wire, &mut |bytes| arrived.extend_from_slice(bytes)).unwrap();
        wire.drain(..used);
        if opened != Opened::Plain {
            break;
        }
    }
    assert!(arrived == body);
}

#[test]
fn records_that_arrive_in_pieces_are_opened_when_they_are_whole() {
    let (mut client, mut server) = pair();
    client.seal(&mut VecDeque::from([Bytes::from(vec![7; 40_000])])).unwrap();
    let (mut staged, mut plain) = (Vec::new(), 0);
    for piece in sent(&mut client).chunks(1000) {
        staged.extend_from_slice(piece);
        loop {
            let (used, opened) = server.open(&mut staged, &mut |bytes| plain += bytes.len()).unwrap();
            staged.drain(..used);
            if opened == Opened::Starved {
                break;
            }
        }
    }
    assert_eq!((plain, staged.len()), (40_000, 0));
}

#[test]
fn keys_are_changed_while_both_sides_speak() {
    let (mut client, mut server) = pair();
    say(&mut client, &mut server, b"before");
    let End::Client(end) = &mut client.end else { panic!("not a dialler") };
    let Ok(ConnectionState::WriteTraffic(traffic)) = end.process_tls_records(&mut []).state else {
        panic!("not ready")
    };
    traffic.refresh_traffic_keys().unwrap();
    say(&mut client, &mut server, b"with new keys");
    say(&mut server, &mut client, b"the answer too");
    say(&mut client, &mut server, b"and on");
}

#[test]
fn an_end_in_order_is_told_once_and_what_came_before_it_arrives() {
    let (mut client, mut server) = pair();
    client.seal(&mut VecDeque::from([Bytes::from_static(b"last words")])).unwrap();
    client.say_goodbye().unwrap();
    let told = client.sealed().len();
    client.say_goodbye().unwrap();
    assert_eq!(client.sealed().len(), told);
    assert_eq!(carry(&mut client, &mut server), Ok((b"last words".to_vec(), Opened::Ended)));
    assert_eq!(open_all(&mut server, &mut [1, 2, 3]), Ok((Vec::new(), Opened::Ended)), "nothing counts any more");
    // The other direction is open.
    say(&mut server, &mut client, b"a late answer");
}

#[test]
fn a_forged_record_ends_the_session_and_the_other_side_is_told() {
    let (mut client, mut server) = pair();
    client.seal(&mut VecDeque::from([Bytes::from_static(b"text")])).unwrap();
    let mut staged = sent(&mut client);
    *staged.last_mut().unwrap() ^= 1;
    assert_eq!(open_all(&mut server, &mut staged), Err(Error::DecryptError));
    assert_eq!(open_all(&mut server, &mut []), Err(Error::DecryptError), "I3");
    assert_eq!(server.seal(&mut VecDeque::from([Bytes::from_static(b"more")])), Err(Error::DecryptError), "I3");
    assert_eq!(server.say_goodbye(), Err(Error::DecryptError), "I3");
    let heard = carry(&mut server, &mut client).unwrap_err();
    assert_eq!(heard, Error::AlertReceived(rustls::AlertDescription::BadRecordMac));
}

#[test]
fn whoever_writes_is_not_stopped_by_half_a_handshake_message_of_the_other_side() {
    let (client, mut server) = pair();
    let (mut encrypter, mut staged) = (forge(client), Vec::new());
    // A new key, asked for in three records, one of them empty.
    for (number, part) in [&[24, 0][..], &[], &[0, 1, 0]].into_iter().enumerate() {
        staged.extend(record(&mut *encrypter, number as u64, ContentType::Handshake, part));
        let (used, opened) = server.open(&mut staged, &mut |_| ()).unwrap();
        assert_eq!(opened, Opened::Starved);
        staged.drain(..used);
        assert_eq!(server.unfinished_bytes, staged.len(), "I2");
        server.seal(&mut VecDeque::from([Bytes::from_static(b"meanwhile")])).unwrap();
    }
    assert_eq!(staged.len(), 0);
}

#[test]
fn an_empty_handshake_record_does_not_stop_whoever_writes() {
    let (client, mut server) = pair();
    let mut encrypter = forge(client);
    let mut staged = record(&mut *encrypter, 0, ContentType::Handshake, &[]);
    staged.extend(record(&mut *encrypter, 1, ContentType::ApplicationData, b"text"));
    let (used, opened) = server.open(&mut staged, &mut |plain| assert_eq!(plain, b"text")).unwrap();
    assert_eq!(opened, Opened::Plain);
    staged.drain(..used);
    assert_eq!(server.unfinished_bytes, staged.len(), "I2");
    server.seal(&mut VecDeque::from([Bytes::from_static(b"meanwhile")])).unwrap();
    staged.extend(record(&mut *encrypter, 2, ContentType::ApplicationData, b"text"));
    assert_eq!(open_all(&mut server, &mut staged), Ok((b"text".to_vec(), Opened::Starved)));
}
