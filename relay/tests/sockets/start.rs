//! A start that cannot succeed says what is wrong, where, and what to do.

use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::{fs, path::Path};

use hubs_relay::{Config, Line, Relay, summary};

use crate::identity::Identity;

fn refusal(text: &str) -> String {
    let config = Config::from_text(text, Some("relay.toml"), []);
    config.map_or_else(|error| error.to_string(), |config| Relay::start(&config).unwrap_err().to_string())
}

fn tls(certificate: &Path, private_key: &Path) -> String {
    format!(
        "listen = ['tls://127.0.0.1:0']\n[tls]\ncertificate = '{}'\nprivate_key = '{}'\n",
        certificate.display(),
        private_key.display()
    )
}

#[test]
fn a_missing_certificate_or_key() {
    let identity = Identity::new("turn.test");
    let (certificate, key) = (identity.certificate(), identity.private_key());
    let nowhere = Path::new("/nowhere/tls.key");
    assert_eq!(
        refusal(&tls(&certificate, nowhere)),
        "cannot read the private key /nowhere/tls.key: No such file or directory (os error 2); \
         set tls.private_key to the file, or mount the certificate's secret there"
    );
    assert_eq!(
        refusal(&tls(nowhere, &key)),
        "cannot read the certificate /nowhere/tls.key: No such file or directory (os error 2); \
         set tls.certificate to the file, or mount the certificate's secret there"
    );
}

#[test]
fn a_file_that_holds_something_else() {
    let identity = Identity::new("turn.test");
    let (certificate, key) = (identity.certificate(), identity.private_key());
    let message = refusal(&tls(&key, &key));
    let expected = format!("there is no certificate in {}: ", key.display());
    assert!(message.starts_with(&expected), "{message}");
    assert!(message.ends_with("; tls.certificate has to be in PEM"), "{message}");
    let message = refusal(&tls(&certificate, &certificate));
    let expected = format!("there is no private key in {}: ", certificate.display());
    assert!(message.starts_with(&expected), "{message}");
}

#[test]
fn a_key_of_another_certificate() {
    let (one, other) = (Identity::new("turn.test"), Identity::new("turn.test"));
    assert_eq!(
        refusal(&tls(&one.certificate(), &other.private_key())),
        format!(
            "the key {} does not belong to the certificate {}; both come from one certificate's secret",
            other.private_key().display(),
            one.certificate().display()
        )
    );
}

#[test]
fn a_key_that_may_not_be_read() {
    let identity = Identity::new("turn.test");
    fs::set_permissions(identity.private_key(), fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(identity.private_key()).is_ok() {
        eprintln!("skipped: root may read every file");
        return;
    }
    let message = refusal(&tls(&identity.certificate(), &identity.private_key()));
    assert!(message.contains("Permission denied"), "{message}");
}

#[test]
fn a_port_that_stands_there_twice() {
    let address = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let message = refusal(&format!("listen = ['udp://{address}', 'udp://{address}']"));
    assert!(message.contains("listen has that port twice"), "{message}");
}

#[test]
fn a_port_in_use() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    assert_eq!(
        refusal(&format!("listen = ['tcp://{address}']")),
        format!(
            "cannot listen on tcp://{address}: Address already in use (os error 98); \
             another program has that port: stop it, or choose another port"
        )
    );
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let message = refusal(&format!("listen = ['udp://{address}']"));
    assert!(message.starts_with(&format!("cannot listen on udp://{address}: ")), "{message}");
}

#[test]
fn an_address_that_this_machine_does_not_have() {
    assert_eq!(
        refusal("listen = ['udp://192.0.2.1:3478']"),
        "cannot listen on udp://192.0.2.1:3478: Cannot assign requested address (os error 99); \
         this machine has no such address: use one of its own, or 0.0.0.0"
    );
    assert_eq!(
        refusal("listen = ['udp://127.0.0.1:0']\nrelay.address = '192.0.2.1'"),
        "relay.address 192.0.2.1: Cannot assign requested address (os error 99); \
         this machine has no such address: use one of its own, or 0.0.0.0"
    );
}

#[test]
fn nothing_to_listen_on_or_to_relay_from() {
    assert_eq!(refusal("listen = []"), "listen is empty; `hubs-relay print-config` shows its default");
    assert_eq!(
        refusal("listen = ['udp://127.0.0.1:0']\nrelay.address = ''"),
        "relay.address is empty; `hubs-relay print-config` shows its default"
    );
}

#[test]
fn the_summary_says_what_it_listens_on_and_whom_clients_reach() {
    let identity = Identity::new("stream.example.org");
    let text = format!(
        "listen = ['tls://0.0.0.0:5349', 'udp://[::]:3478']\nrelay.advertise = '203.0.113.7'\n\
         auth.secrets = ['s']\nauth.users = {{ ann = 'a', bob = 'b' }}\n\
         peers.allow = ['dialog.hcce.svc:40000-49999', '[2001:db8::]/32:5000']\n\
         peers.map = ['203.0.113.9=dialog.hcce.svc']\nadmin.address = '127.0.0.1:1234'\n{}",
        identity.config()
    );
    let lines = lines_about(&text);
    let expected = [
        "listens on tls://0.0.0.0:5349 with a certificate for \"stream.example.org\", valid until 4096-01-01",
        "listens on udp://[::]:3478",
        "realm \"turkey\": 2 static users, 1 secret for REST credentials with 900s of grace",
        "relays from 0.0.0.0 on ports 49152-65535, which it calls 203.0.113.7",
        "clients can reach dialog.hcce.svc:40000-49999, [2001:db8::]/32:5000 and nobody else",
        "203.0.113.9 is a name for dialog.hcce.svc: packets go there, to the same port",
        "answers /livez, /readyz, /peers and /metrics on http://127.0.0.1:1234",
    ];
    assert_eq!(lines, expected);
}

/// What the summary of a configuration says.
fn lines_about(text: &str) -> Vec<String> {
    let lines = summary(&Config::from_text(text, None, []).unwrap()).unwrap();
    let said = |line| match line {
        Line::Fact(line) => line,
        Line::Warning(line) => format!("warning: {line}"),
    };
    lines.into_iter().map(said).collect()
}

#[test]
fn the_summary_says_where_a_gateway_is_and_what_it_lacks() {
    let about = |text: &str| {
        let lines = lines_about(&format!("listen = ['udp://0.0.0.0:3478']\n[gateway]\n{text}"));
        lines
            .into_iter()
            .filter(|it| it.contains("signalling") || it.contains("gateway") || it.contains("browsers"))
            .collect::<Vec<_>>()
    };
    assert_eq!(about(""), [""; 0]);
    let signalling = "stands in front of dialog's signalling: tcp://0.0.0.0:4443 goes to dialog:4443";
    assert_eq!(
        about("listen = 'tcp://0.0.0.0:4443'\nudp = ['203.0.113.10:3478', 'lb.example.org:3478']"),
        [signalling, "browsers are told to send media over udp to 203.0.113.10:3478, lb.example.org:3478"]
    );
    let silent = "; browsers hear of no candidate of dialog's";
    assert_eq!(
        about("listen = 'tcp://0.0.0.0:4443'\ntcp = '203.0.113.10:5349'\nkeep_dialogs = false"),
        [
            &format!("{signalling}{silent}"),
            "warning: gateway.tcp is set, and no listener takes it: add one to listen",
        ]
    );
    assert_eq!(
        about("listen = 'tcp://0.0.0.0:4443'"),
        [
            signalling,
            "warning: browsers are told of no gateway: set gateway.udp to where they reach a udp listener",
        ]
    );
}

#[test]
fn the_summary_warns_of_what_cannot_be_meant() {
    let lines = summary(&Config::from_text("listen = ['udp://127.0.0.1:0']", None, []).unwrap()).unwrap();
    let warnings: Vec<_> = lines.iter().filter(|it| matches!(it, Line::Warning(_))).collect();
    let [Line::Warning(users), Line::Warning(peers)] = warnings[..] else { panic!("{lines:?}") };
    assert!(
        users.ends_with("nobody can allocate; set auth.postgres (Hubs: PSQL), auth.secrets or auth.users"),
        "{users}"
    );
    assert!(peers.starts_with("clients can reach nobody: set peers.allow"), "{peers}");
}
