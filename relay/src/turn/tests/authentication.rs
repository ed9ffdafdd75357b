//! RFC 8489 section 9.2.4: the long-term credential mechanism.

use std::time::Duration;

use super::harness::*;
use crate::auth::{RestCredential, Secret};
use crate::turn::NonceKey;
use crate::wire::*;

fn client() -> crate::turn::Client {
    udp("198.51.100.7:50000")
}

const METHODS: [Method; 4] =
    [Method::Allocate, Method::Refresh, Method::CreatePermission, Method::ChannelBind];

#[test]
fn a_request_without_credentials_is_challenged_with_realm_and_nonce() {
    let mut world = World::new();
    for method in METHODS {
        let answer = world.request(client(), Builder::request(method, TransactionId([1; 12]))).unwrap();
        assert_eq!(code(&answer), 401);
        assert_eq!(answer.realm().unwrap(), Some(REALM));
        assert!(answer.nonce().unwrap().is_some());
        assert!(answer.integrity().is_none());
    }
    assert_eq!(world.server.sessions(), 0);
}

#[test]
fn a_challenge_is_small() {
    let mut world = World::new();
    let request = Builder::request(Method::Allocate, TransactionId([1; 12])).requested_transport(17);
    let answer = world.request(client(), request).unwrap();
    let body: usize =
        [attribute::ERROR_CODE, attribute::REALM, attribute::NONCE, attribute::PASSWORD_ALGORITHMS]
            .map(|attr| 4 + answer.attribute(attr).unwrap().len().next_multiple_of(4))
            .iter()
            .sum();
    assert!(20 + body <= 104, "{body}");
}

#[test]
fn message_integrity_without_username_realm_or_nonce_is_a_400_and_no_challenge() {
    let mut world = World::new();
    let caller = Caller::new(&mut world, client());
    for missing in 0..3 {
        let mut request = Builder::request(Method::Allocate, TransactionId([1; 12])).requested_transport(17);
        let texts = [
            (attribute::USERNAME, caller.username.as_str()),
            (attribute::REALM, REALM),
            (attribute::NONCE, caller.nonce.as_str()),
        ];
        for (_, (attr, text)) in texts.into_iter().enumerate().filter(|(index, _)| *index != missing) {
            request = request.attribute(attr, text.as_bytes());
        }
        let answer = world.request(client(), request.integrity(&caller.key())).unwrap();
        assert_eq!(code(&answer), 400);
        assert_eq!(answer.nonce().unwrap(), None);
    }
}

#[test]
fn a_wrong_password_an_unknown_user_and_a_wrong_realm_are_401_and_not_400() {
    let mut world = World::new();
    for (username, password) in [("alice", "looking-glass"), ("bob", "wonderland"), ("9999999999:x", "guess")]
    {
        let mut caller = Caller::named(&mut world, client(), username, password);
        assert_eq!(code(&caller.allocate(&mut world)), 401);
    }
    let caller = Caller::new(&mut world, client());
    let key = IntegrityKey::long_term("alice", "elsewhere", "wonderland");
    let request = Builder::request(Method::Allocate, TransactionId([1; 12])).requested_transport(17);
    let request = request.username("alice").realm("elsewhere").nonce(&caller.nonce).integrity(&key);
    assert_eq!(code(&world.request(client(), request).unwrap()), 401);
    assert_eq!(world.server.sessions(), 0);
}

#[test]
fn a_message_integrity_of_another_length_is_a_401() {
    let mut world = World::new();
    let mut caller = Caller::new(&mut world, client());
    let right = caller.unsigned(Method::Allocate).requested_transport(PROTOCOL_UDP);
    let right = right.username("alice").realm(REALM).nonce(&caller.nonce);
    let signed = right.clone().integrity(&caller.key()).finish();
    let mac = &signed[signed.len() - 20..];
    for wrong in [&[][..], &mac[..16], &mac[..19], &[mac, &[0; 4]].concat()] {
        let request = right.clone().attribute(attribute::MESSAGE_INTEGRITY, wrong);
        assert_eq!(code(&world.request(client(), request).unwrap()), 401, "{}", wrong.len());
    }
    assert_eq!(world.server.sessions(), 0);
}

#[test]
fn a_user_name_that_is_no_text_is_a_400() {
    let mut world = World::new();
    let caller = Caller::new(&mut world, client());
    let request = Builder::request(Method::Allocate, TransactionId([1; 12]))
        .attribute(attribute::USERNAME, &[0xff, 0xfe])
        .realm(REALM)
        .nonce(&caller.nonce)
        .integrity(&caller.key());
    assert_eq!(code(&world.request(client(), request).unwrap()), 400);
}

#[test]
fn a_stale_nonce_is_a_438_whose_nonce_works_at_once() {
    let mut world = World::new();
    let (mut caller, _) = Caller::allocated(&mut world, client());
    assert_eq!(code(&caller.refresh(&mut world, 3600)), 0);
    world.wait(Duration::from_secs(3595));
    assert_eq!(code(&caller.refresh(&mut world, 3600)), 0);
    world.wait(Duration::from_secs(6));
    let answer = caller.refresh(&mut world, 600);
    assert_eq!(code(&answer), 438);
    assert_eq!(answer.realm().unwrap(), Some(REALM));
    caller.nonce = answer.nonce().unwrap().unwrap().to_owned();
    assert_eq!(code(&caller.refresh(&mut world, 600)), 0);
}

#[test]
fn a_request_replayed_when_its_nonce_is_stale_changes_nothing() {
    let mut world = World::new();
    let (mut caller, _) = Caller::allocated(&mut world, client());
    let release = caller.unsigned(Method::Refresh).lifetime(Duration::ZERO);
    let release = caller.sign(release);
    assert_eq!(code(&world.request(client(), release.clone()).unwrap()), 0);
    world.wait(Duration::from_secs(3601));
    let (_, relay) = Caller::allocated(&mut world, client());
    assert_eq!(code(&world.request(client(), release).unwrap()), 438);
    assert!(world.relays.contains_key(&relay));
}

#[test]
fn a_nonce_of_another_client_or_another_server_or_nobody_is_a_438() {
    let mut world = World::new();
    let other = Caller::new(&mut world, udp("198.51.100.7:50001")).nonce;
    let mut elsewhere =
        World::with(crate::turn::Settings { nonce_key: NonceKey::new(&[8; 32]), ..settings() });
    let foreign = Caller::new(&mut elsewhere, client()).nonce;
    let mut caller = Caller::new(&mut world, client());
    for nonce in [other, foreign, "made up".to_owned(), String::new()] {
        caller.nonce = nonce;
        let answer = caller.allocate(&mut world);
        assert_eq!(code(&answer), 438);
        caller.nonce = answer.nonce().unwrap().unwrap().to_owned();
        assert_eq!(
            code(&caller.refresh(&mut world, 0)),
            437,
            "the nonce is good, there is no allocation yet"
        );
    }
}

#[test]
fn replicas_with_the_same_key_understand_each_others_nonces() {
    let mut world = World::new();
    let mut caller = Caller::new(&mut world, client());
    let mut replica = World::new();
    assert_eq!(code(&caller.allocate(&mut replica)), 0);
}

#[test]
fn unknown_attributes_are_looked_at_after_the_credentials() {
    let mut world = World::new();
    let mut caller = Caller::new(&mut world, client());
    let request = caller.unsigned(Method::Allocate).attribute(AttrType(0x7777), &[]);
    assert_eq!(code(&world.request(client(), request).unwrap()), 401);
    let answer = caller.ask(&mut world, Method::Allocate, |it| it.attribute(AttrType(0x7777), &[]));
    assert_eq!(code(&answer), 420);
    assert_eq!(answer.attribute(attribute::UNKNOWN_ATTRIBUTES), Some(&[0x77, 0x77][..]));
}

#[test]
fn attributes_behind_message_integrity_change_nothing() {
    let mut world = World::new();
    let (mut caller, _) = Caller::allocated(&mut world, client());
    let refresh = caller.unsigned(Method::Refresh);
    let tampered = caller.sign(refresh).lifetime(Duration::ZERO).attribute(AttrType(0x7777), &[]);
    let answer = world.request(client(), tampered).unwrap();
    assert_eq!((code(&answer), answer.lifetime().unwrap()), (0, Some(Duration::from_mins(10))));
    assert_eq!(world.server.sessions(), 1);
}

#[test]
fn a_hubs_credential_opens_allocations_until_it_expires() {
    let mut world = World::new();
    let mut caller = Caller::from_hubs(&mut world, client());
    world.wait(Duration::from_mins(2));
    assert_eq!(code(&caller.allocate(&mut world)), 0);
    let mut late = Caller::from_hubs(&mut world, udp("198.51.100.7:50001"));
    world.wait(Duration::from_secs(121));
    assert_eq!(code(&late.allocate(&mut world)), 401);
}

#[test]
fn within_the_grace_an_expired_hubs_credential_opens_an_allocation() {
    let mut settings = settings();
    settings.credentials.expiry_grace = Duration::from_mins(15);
    let mut world = World::with(settings);
    let mut caller = Caller::from_hubs(&mut world, client());
    world.wait(Duration::from_mins(17));
    assert_eq!(code(&caller.allocate(&mut world)), 0);
}

#[test]
fn an_expired_credential_does_not_end_a_session() {
    let mut world = World::new();
    let mut caller = Caller::from_hubs(&mut world, client());
    assert_eq!(code(&caller.allocate(&mut world)), 0);
    world.wait(Duration::from_mins(9));
    assert_eq!(code(&caller.refresh(&mut world, 600)), 0);
    assert_eq!(code(&caller.permit(&mut world, &[ANNOUNCED])), 0);
    assert_eq!(code(&caller.bind(&mut world, 0x4000, ANNOUNCED)), 0);
}

#[test]
fn another_user_cannot_touch_a_session() {
    let mut settings = settings();
    settings.credentials.users.insert("mallory".to_owned(), Secret::from("m"));
    let mut world = World::with(settings);
    let (alice, relay) = Caller::allocated(&mut world, client());
    let mut mallory = Caller::named(&mut world, client(), "mallory", "m");
    assert_eq!(code(&mallory.refresh(&mut world, 0)), 441);
    assert_eq!(code(&mallory.permit(&mut world, &[ANNOUNCED])), 441);
    assert_eq!(code(&mallory.bind(&mut world, 0x4000, ANNOUNCED)), 441);
    mallory.username = alice.username;
    assert_eq!(code(&mallory.refresh(&mut world, 0)), 401);
    assert!(world.relays.contains_key(&relay));
}

/// A world whose secrets rotate, and somebody who allocates there with a secret that it does not know.
fn newcomer_with_unknown_secret() -> (World, Caller) {
    let mut world = World::with(crate::turn::Settings { secrets_rotate: true, ..settings() });
    let made = RestCredential::new(&Secret::from("rotated"), "coturn", UNIX_START + 120);
    let caller = Caller::named(&mut world, client(), &made.username, made.password.expose());
    (world, caller)
}

#[test]
fn a_request_signed_with_an_unknown_secret_waits_for_the_secrets_to_be_read() {
    let (mut world, mut caller) = newcomer_with_unknown_secret();
    let request = caller.unsigned(Method::Allocate).requested_transport(PROTOCOL_UDP);
    let request = caller.sign(request);
    assert!(world.request(client(), request).is_none());
    let answers = world.secrets_are_read(&[SECRET, "rotated"]);
    assert_eq!(answers.iter().map(code).collect::<Vec<_>>(), [0]);
    assert_eq!(world.server.sessions(), 1);
}

#[test]
fn a_request_that_no_secret_signed_is_a_401_after_one_reading() {
    let (mut world, mut caller) = newcomer_with_unknown_secret();
    let request = caller.unsigned(Method::Allocate).requested_transport(PROTOCOL_UDP);
    let request = caller.sign(request);
    assert!(world.request(client(), request).is_none());
    let answers = world.secrets_are_read(&[SECRET]);
    assert_eq!(answers.iter().map(code).collect::<Vec<_>>(), [401]);
    assert!(world.waiting.is_empty());
}

#[test]
fn strangers_expired_and_static_users_never_make_the_secrets_be_read() {
    let (mut world, _) = newcomer_with_unknown_secret();
    assert_eq!(
        code(&world.request(client(), Builder::request(Method::Allocate, TransactionId([1; 12]))).unwrap()),
        401
    );
    for (username, password) in [("alice", "looking-glass"), ("bob", "guess"), ("1600000000:coturn", "guess")]
    {
        let mut caller = Caller::named(&mut world, client(), username, password);
        assert_eq!(code(&caller.allocate(&mut world)), 401);
    }
    assert!(world.waiting.is_empty());
}

#[test]
fn a_stranger_is_answered_so_often_and_no_more() {
    let mut settings = settings();
    settings.limits.stranger_answers = Some(10);
    let mut world = World::with(settings);
    let (mut caller, _) = Caller::allocated(&mut world, udp("198.51.100.7:50000"));
    let ask = |world: &mut World, client| {
        let request = || Builder::request(Method::Allocate, TransactionId([1; 12]));
        (0..100).filter(|_| world.request(client, request()).is_some()).count()
    };
    assert_eq!(ask(&mut world, udp("192.0.2.9:1")), 20);
    assert_eq!(ask(&mut world, udp("192.0.2.9:2")), 0);
    assert_eq!(world.server.counts().limited.stranger_answers, 180);
    world.wait(Duration::from_secs(1));
    assert_eq!(ask(&mut world, udp("192.0.2.9:1")), 10);
    assert_eq!(ask(&mut world, stream("192.0.2.9:3")), 100, "a connection is where it says it is");
    for _ in 0..100 {
        assert_eq!(code(&caller.refresh(&mut world, 600)), 0, "and so is who has an allocation");
    }
}

#[test]
fn all_strangers_together_are_answered_so_often_and_no_more() {
    let mut settings = settings();
    settings.limits.stranger_answers_total = Some(10);
    let mut world = World::with(settings);
    let (mut caller, _) = Caller::allocated(&mut world, udp("198.51.100.7:50000"));
    world.wait(Duration::from_secs(10));
    let ask = |world: &mut World| {
        let request = || Builder::request(Method::Allocate, TransactionId([1; 12]));
        let strangers = (0..100).map(|host| udp(&format!("192.0.2.{host}:1")));
        strangers.filter(|client| world.request(*client, request()).is_some()).count()
    };
    assert_eq!(ask(&mut world), 20);
    assert_eq!(world.server.counts().limited.stranger_answers_total, 80);
    world.wait(Duration::from_secs(1));
    assert_eq!(ask(&mut world), 10);
    assert_eq!(code(&caller.refresh(&mut world, 600)), 0, "who has an allocation is no stranger");
}
