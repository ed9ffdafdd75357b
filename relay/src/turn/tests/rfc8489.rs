//! What RFC 8489 added to the long-term credential mechanism (sections 9.2.4 and 14): SHA-256, and names that nobody on the
//! way can read. Browsers do without; the server offers it in a way that they do not notice.

use super::harness::*;
use crate::turn::{Client, Settings};
use crate::wire::*;

fn client() -> Client {
    udp("198.51.100.7:50000")
}

/// A world with static users only, whose names can be hashed.
fn world() -> World {
    let mut settings = settings();
    settings.credentials.secrets.clear();
    World::with(settings)
}

/// What a server offered: its nonce and its PASSWORD-ALGORITHMS.
fn offer(world: &mut World) -> (String, Vec<u8>) {
    let challenge =
        world.request(client(), Builder::request(Method::Allocate, TransactionId([1; 12]))).unwrap();
    let algorithms = challenge.attribute(attribute::PASSWORD_ALGORITHMS).unwrap().to_vec();
    (challenge.nonce().unwrap().unwrap().to_owned(), algorithms)
}

fn key() -> IntegrityKey {
    IntegrityKey::derived(PasswordAlgorithm::Sha256, "alice", REALM, "wonderland")
}

/// An Allocate of a client that takes all that is offered; `fill` adds who it is.
fn allocate(world: &mut World, id: u8, fill: impl FnOnce(Builder) -> Builder) -> Message {
    let (nonce, algorithms) = offer(world);
    let request =
        Builder::request(Method::Allocate, TransactionId([id; 12])).requested_transport(PROTOCOL_UDP);
    let request = fill(request.realm(REALM).nonce(&nonce))
        .attribute(attribute::PASSWORD_ALGORITHMS, &algorithms)
        .password_algorithm(PasswordAlgorithm::Sha256);
    world.request(client(), request.sign(Integrity::Sha256, &key())).unwrap()
}

#[test]
fn a_challenge_offers_sha256_first_and_then_md5() {
    let (nonce, algorithms) = offer(&mut world());
    assert!(nonce.starts_with("obMatJos2wAAA"), "{nonce}");
    assert_eq!(algorithms, [0, 2, 0, 0, 0, 1, 0, 0]);
}

#[test]
fn who_takes_sha256_is_answered_with_sha256() {
    let mut world = world();
    let answer = allocate(&mut world, 2, |it| it.username("alice"));
    assert_eq!((code(&answer), answer.integrity()), (0, Some(Integrity::Sha256)));
    assert!(answer.verify(&key()));
    // And so is a request later on, and a refusal.
    let (nonce, algorithms) = offer(&mut world);
    let request = |method| {
        Builder::request(method, TransactionId([3; 12]))
            .xor_peer_address(addr(REFUSED))
            .username("alice")
            .realm(REALM)
            .nonce(&nonce)
            .attribute(attribute::PASSWORD_ALGORITHMS, &algorithms)
            .password_algorithm(PasswordAlgorithm::Sha256)
            .sign(Integrity::Sha256, &key())
    };
    for (method, expected) in [(Method::Refresh, 0), (Method::CreatePermission, 403)] {
        let answer = world.request(client(), request(method)).unwrap();
        assert_eq!((code(&answer), answer.integrity()), (expected, Some(Integrity::Sha256)));
        assert!(answer.verify(&key()));
    }
}

#[test]
fn an_application_that_signs_names_may_use_sha256_as_well() {
    let mut world = World::new();
    let made =
        crate::auth::RestCredential::new(&crate::auth::Secret::from(SECRET), "coturn", UNIX_START + 120);
    let (nonce, algorithms) = offer(&mut world);
    assert!(nonce.starts_with("obMatJos2gAAA"), "names that are signed cannot be hashed: {nonce}");
    let key = IntegrityKey::derived(PasswordAlgorithm::Sha256, &made.username, REALM, made.password.expose());
    let request = Builder::request(Method::Allocate, TransactionId([2; 12]))
        .requested_transport(PROTOCOL_UDP)
        .username(&made.username)
        .realm(REALM)
        .nonce(&nonce)
        .attribute(attribute::PASSWORD_ALGORITHMS, &algorithms)
        .password_algorithm(PasswordAlgorithm::Sha256)
        .sign(Integrity::Sha256, &key);
    assert_eq!(code(&world.request(client(), request).unwrap()), 0);
}

#[test]
fn secrets_that_rotate_offer_no_hashed_names() {
    let mut settings = Settings { secrets_rotate: true, ..settings() };
    settings.credentials.secrets.clear();
    assert!(offer(&mut World::with(settings)).0.starts_with("obMatJos2gAAA"));
}

#[test]
fn a_hash_stands_for_a_static_users_name() {
    let mut world = world();
    let answer = allocate(&mut world, 2, |it| it.userhash(&userhash("alice", REALM)));
    assert_eq!(code(&answer), 0);
    // The session knows its user by either.
    assert_eq!(code(&allocate(&mut world, 2, |it| it.userhash(&userhash("alice", REALM)))), 0);
    assert_eq!(code(&allocate(&mut world, 2, |it| it.username("alice"))), 0);
    assert_eq!(code(&allocate(&mut world, 2, |it| it.userhash(&userhash("bob", REALM)))), 437);
}

#[test]
fn the_hash_of_nobody_is_a_401_and_one_of_another_length_a_400() {
    let mut world = world();
    assert_eq!(code(&allocate(&mut world, 2, |it| it.userhash(&[7; 32]))), 401);
    assert_eq!(code(&allocate(&mut world, 3, |it| it.attribute(attribute::USERHASH, &[7; 31]))), 400);
    assert_eq!(code(&allocate(&mut world, 4, |it| it)), 400);
}

/// Somebody on the way who would like a weaker key changes the offer, and the client does not know.
#[test]
fn an_offer_that_was_changed_on_its_way_is_a_400() {
    let mut world = world();
    let (nonce, offered) = offer(&mut world);
    let md5_only = [0, 1, 0, 0];
    for (algorithms, chosen) in [
        (Some(&md5_only[..]), Some(&[0, 1, 0, 0][..])),
        (Some(&offered), None),
        (None, Some(&[0, 1, 0, 0])),
        (Some(&offered), Some(&[0, 3, 0, 0])),
        (Some(&offered), Some(&[0, 2])),
    ] {
        let request =
            Builder::request(Method::Allocate, TransactionId([2; 12])).requested_transport(PROTOCOL_UDP);
        let request = request.username("alice").realm(REALM).nonce(&nonce);
        let add = |request: Builder, attr, value: Option<&[u8]>| {
            value.into_iter().fold(request, |it, value| it.attribute(attr, value))
        };
        let request = add(request, attribute::PASSWORD_ALGORITHMS, algorithms);
        let request = add(request, attribute::PASSWORD_ALGORITHM, chosen);
        let key = IntegrityKey::long_term("alice", REALM, "wonderland");
        assert_eq!(code(&world.request(client(), request.integrity(&key)).unwrap()), 400);
    }
}

#[test]
fn a_nonce_without_its_promise_is_stale() {
    let mut world = world();
    let mut caller = Caller::new(&mut world, client());
    caller.nonce = caller.nonce.replacen("obMatJos2wAAA", "", 1);
    assert_eq!(code(&caller.allocate(&mut world)), 438);
}
