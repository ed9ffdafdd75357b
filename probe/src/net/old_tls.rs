//! Whether a server still takes TLS 1.1 or older, which no browser has spoken since 2020 (RFC 8996) and which our TLS library does
//! not know: one `ClientHello` of that time, and the first octets of what comes back.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::{ConnectError, Net};
use crate::random;

/// How long the server may take to say no.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// TLS 1.1 (RFC 4346). A server that knows only an older one answers with that.
const TLS_1_1: [u8; 2] = [3, 2];

/// The header of a record, of a handshake message in it, and the version that a `ServerHello` begins with.
const BEGINNING: usize = 5 + 4 + 2;

/// Content types (RFC 8446 section 5.1) and handshake types (section 4).
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;

/// What servers of that time have in common with those of today: AES and 3DES in CBC mode, with ECDHE and with RSA alone.
const CIPHER_SUITES: [[u8; 2]; 8] =
    [[0xc0, 0x09], [0xc0, 0x0a], [0xc0, 0x13], [0xc0, 0x14], [0, 0x2f], [0, 0x35], [0, 0x0a], [0, 0xff]];

/// What a server makes of a client that is too old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldTls {
    /// It goes on with this version.
    Spoken(&'static str),
    /// It ends the connection, as it should.
    Refused,
    /// It does something else, or nothing.
    Unclear,
}

impl Net {
    /// Offers TLS 1.1 to `host`, and nothing newer.
    pub async fn old_tls(&self, host: &str, port: u16) -> Result<OldTls, ConnectError> {
        let mut stream = self.connect(host, port).await?;
        let exchange = async {
            stream.write_all(&hello(host)).await?;
            let mut answer = [0; BEGINNING];
            let mut filled = 0;
            while filled < BEGINNING {
                match stream.read(&mut answer[filled..]).await? {
                    0 => break,
                    read => filled += read,
                }
            }
            Ok::<_, io::Error>(judge(&answer[..filled]))
        };
        Ok(match timeout(ANSWER_LIMIT, exchange).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(e)) if e.kind() == io::ErrorKind::ConnectionReset => OldTls::Refused,
            Ok(Err(_)) | Err(_) => OldTls::Unclear,
        })
    }
}

pub(super) fn judge(answer: &[u8]) -> OldTls {
    match answer {
        [] | [ALERT, ..] => OldTls::Refused,
        [HANDSHAKE, _, _, _, _, SERVER_HELLO, _, _, _, 3, 2] => OldTls::Spoken("TLS 1.1"),
        [HANDSHAKE, _, _, _, _, SERVER_HELLO, _, _, _, 3, 1] => OldTls::Spoken("TLS 1.0"),
        [HANDSHAKE, _, _, _, _, SERVER_HELLO, _, _, _, 3, 0] => OldTls::Spoken("SSL 3.0"),
        _ => OldTls::Unclear,
    }
}

/// A `ClientHello` (RFC 4346 section 7.4.1.2) with the server's name (RFC 6066) and curves (RFC 8422).
fn hello(host: &str) -> Vec<u8> {
    let mut name = vec![0];
    name.extend(sized(host.as_bytes()));
    let curves = [[0, 29], [0, 23], [0, 24]].concat();
    let extensions =
        [extension(0, &sized(&name)), extension(10, &sized(&curves)), extension(11, &[1, 0])].concat();

    let mut body = TLS_1_1.to_vec();
    body.extend(random::name::<32>().into_bytes());
    body.push(0); // no session to resume
    body.extend(sized(&CIPHER_SUITES.concat()));
    body.extend([1, 0]); // no compression
    body.extend(sized(&extensions));

    let mut message = vec![CLIENT_HELLO, 0];
    message.extend(sized(&body));
    let mut record = vec![HANDSHAKE, 3, 1];
    record.extend(sized(&message));
    record
}

fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &sized(data)].concat()
}

/// With its length before it. A host name has 253 octets at most, so everything here fits.
fn sized(data: &[u8]) -> Vec<u8> {
    [&(data.len() as u16).to_be_bytes()[..], data].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        target::{HTTPS, Name},
        testing::{Authority, DOMAIN, context, tcp_server, tls_server},
    };

    proptest! {
        #[test]
        fn no_answer_makes_the_reader_panic(answer in prop::collection::vec(any::<u8>(), 0..=BEGINNING)) {
            let spoken = matches!(judge(&answer), OldTls::Spoken(_));
            prop_assert!(!spoken || answer.first() == Some(&HANDSHAKE));
        }
    }

    async fn answered_with(bytes: &'static [u8]) -> OldTls {
        let server = tcp_server(move |mut stream| async move {
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(bytes).await;
        })
        .await;
        let cx = context(None, &[(Name::Root, HTTPS, server)]);
        cx.net.old_tls(DOMAIN, HTTPS).await.unwrap()
    }

    #[tokio::test]
    async fn a_server_of_today_refuses_an_old_client() {
        let identity = Authority::new().issue(&[DOMAIN], -1..60);
        let server = tls_server(identity, |_| std::future::ready(())).await;
        let cx = context(None, &[(Name::Root, HTTPS, server)]);
        assert_eq!(cx.net.old_tls(DOMAIN, HTTPS).await.unwrap(), OldTls::Refused);
    }

    #[tokio::test]
    async fn an_old_server_says_which_version_it_goes_on_with() {
        let spoken = answered_with(&[22, 3, 2, 0, 80, 2, 0, 0, 76, 3, 2, 0, 0, 0]).await;
        assert_eq!(spoken, OldTls::Spoken("TLS 1.1"));
        let spoken = answered_with(&[22, 3, 1, 0, 80, 2, 0, 0, 76, 3, 1]).await;
        assert_eq!(spoken, OldTls::Spoken("TLS 1.0"));
        assert_eq!(answered_with(&[21, 3, 1, 0, 2, 2, 70]).await, OldTls::Refused);
        assert_eq!(answered_with(b"").await, OldTls::Refused);
        assert_eq!(answered_with(b"220 mail.example.org ESMTP\r\n").await, OldTls::Unclear);
        assert_eq!(answered_with(&[22, 3, 1, 0, 80, 2]).await, OldTls::Unclear);
    }
}
