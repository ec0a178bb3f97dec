//! The password hashes of htpasswd files: MD5-crypt (`$apr1$`, `$1$`) and SHA-crypt (`$5$`, `$6$`).
//!
//! **What**  The iterated hashes that Apache and the C library define, as far as they are needed to check a password. Own
//! code because they are a page each and their crates would bring more than that.
//!
//! **Not here**  Parsing files (`basic`), comparing (`basic`, in constant time).

use md5::Md5;
use sha2::{Digest, Sha256, Sha512};

const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const MD5_ROUNDS: u32 = 1000;

/// Appends `count` characters for the low bits of `value`, lowest first.
fn push_base64(out: &mut String, mut value: u32, count: usize) {
    for _ in 0..count {
        out.push(char::from(ALPHABET[(value & 0x3f) as usize]));
        value >>= 6;
    }
}

/// Appends bytes of `hash` at the given places, three to four characters, the first place highest.
fn push_triples(out: &mut String, hash: &[u8], places: &[[usize; 3]]) {
    for [high, middle, low] in places {
        let value = u32::from(hash[*high]) << 16 | u32::from(hash[*middle]) << 8 | u32::from(hash[*low]);
        push_base64(out, value, 4);
    }
}

/// `source` over and over, `length` bytes of it.
fn repeated(source: &[u8], length: usize) -> Vec<u8> {
    source.iter().copied().cycle().take(length).collect()
}

/// The hash part of MD5-crypt. `magic` is `$1$` or `$apr1$`; the salt has at most 8 bytes.
pub(crate) fn md5_crypt(magic: &str, password: &[u8], salt: &[u8]) -> String {
    let inner = Md5::new().chain_update(password).chain_update(salt).chain_update(password).finalize();
    let mut start = Md5::new().chain_update(password).chain_update(magic).chain_update(salt);
    start.update(repeated(&inner, password.len()));
    let mut bits = password.len();
    while bits > 0 {
        // The published algorithm takes a zero byte or the first character of the password here.
        start.update(if bits & 1 == 1 { &[0][..] } else { &password[..1] });
        bits >>= 1;
    }
    let mut hash = start.finalize();
    for round in 0..MD5_ROUNDS {
        let (first, last) = if round % 2 == 1 { (password, &hash[..]) } else { (&hash[..], password) };
        let mut next = Md5::new().chain_update(first);
        if round % 3 != 0 {
            next.update(salt);
        }
        if round % 7 != 0 {
            next.update(password);
        }
        hash = next.chain_update(last).finalize();
    }
    let mut out = String::with_capacity(22);
    push_triples(&mut out, &hash, &[[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]]);
    push_base64(&mut out, u32::from(hash[11]), 2);
    out
}

/// The rounds that both SHA-crypt hashes share.
fn sha_rounds<D: Digest>(password: &[u8], salt: &[u8], rounds: u32) -> Vec<u8> {
    let inner = D::new().chain_update(password).chain_update(salt).chain_update(password).finalize();
    let mut start = D::new().chain_update(password).chain_update(salt);
    start.update(repeated(&inner, password.len()));
    let mut bits = password.len();
    while bits > 0 {
        start.update(if bits & 1 == 1 { &inner[..] } else { password });
        bits >>= 1;
    }
    let mut hash = start.finalize();
    let spread_password = D::new().chain_update(password.repeat(password.len())).finalize();
    let spread_password = repeated(&spread_password, password.len());
    let spread_salt = D::new().chain_update(salt.repeat(16 + usize::from(hash[0]))).finalize();
    let spread_salt = repeated(&spread_salt, salt.len());
    for round in 0..rounds {
        let (first, last) =
            if round % 2 == 1 { (&spread_password[..], &hash[..]) } else { (&hash[..], &spread_password[..]) };
        let mut next = D::new().chain_update(first);
        if round % 3 != 0 {
            next.update(&spread_salt);
        }
        if round % 7 != 0 {
            next.update(&spread_password);
        }
        hash = next.chain_update(last).finalize();
    }
    hash.to_vec()
}

/// The hash part of SHA-256-crypt; the salt has at most 16 bytes.
pub(crate) fn sha256_crypt(password: &[u8], salt: &[u8], rounds: u32) -> String {
    const PLACES: [[usize; 3]; 10] = [
        [0, 10, 20],
        [21, 1, 11],
        [12, 22, 2],
        [3, 13, 23],
        [24, 4, 14],
        [15, 25, 5],
        [6, 16, 26],
        [27, 7, 17],
        [18, 28, 8],
        [9, 19, 29],
    ];
    let hash = sha_rounds::<Sha256>(password, salt, rounds);
    let mut out = String::with_capacity(43);
    push_triples(&mut out, &hash, &PLACES);
    push_base64(&mut out, u32::from(hash[31]) << 8 | u32::from(hash[30]), 3);
    out
}

/// The hash part of SHA-512-crypt; the salt has at most 16 bytes.
pub(crate) fn sha512_crypt(password: &[u8], salt: &[u8], rounds: u32) -> String {
    let hash = sha_rounds::<Sha512>(password, salt, rounds);
    let mut out = String::with_capacity(86);
    for group in 0..21 {
        // Each group starts one place further, and the three thirds of the hash take turns at the front.
        let thirds = [group, group + 21, group + 42];
        let turn = group % 3;
        push_triples(&mut out, &hash, &[[thirds[turn], thirds[(turn + 1) % 3], thirds[(turn + 2) % 3]]]);
    }
    push_base64(&mut out, u32::from(hash[63]), 2);
    out
}
