//! With `announced = "auto"` nobody has to know the address that dialog announces.

use hubs_relay::{Config, Relay};
use hubs_tests::bed::{ANNOUNCED, Bed, REALM};
use hubs_tests::need::{self, skip};
use hubs_tests::turn::TurnClient;

#[test]
fn what_dialog_announces_leads_to_dialog_and_nothing_else_does() {
    if skip(&[need::BED]) {
        return;
    }
    let bed = Bed::start();
    let dialog = bed.dialog_backend();
    let (address, port) = (dialog.ip(), dialog.port());
    let text = format!(
        "realm = '{REALM}'\nlisten = ['udp://127.0.0.1:0']\nrelay.address = '127.0.0.1'\nauth.users = {{ ann = 'secret' }}\n\
         [peers]\nallow = ['{address}:40000-49999']\n\
         map = [{{ announced = 'auto', actual = '{address}', signalling_port = {port} }}]\n"
    );
    let relay = Relay::start(&Config::from_text(&text, None, []).unwrap()).unwrap();
    let mut client = TurnClient::new(relay.listeners()[0].address, "ann", "secret");
    client.allocate().unwrap();
    let at = |text: &str| text.parse().unwrap();
    assert_eq!(client.permit(at(&format!("{ANNOUNCED}:40001"))), Ok(()));
    assert_eq!(client.bind(0x4000, at(&format!("{ANNOUNCED}:40001"))), Ok(()));
    assert_eq!(client.bind(0x4001, at(&format!("{ANNOUNCED}:39999"))), Err(403));
    assert_eq!(client.permit(at("203.0.113.10:40001")), Err(403));
}
