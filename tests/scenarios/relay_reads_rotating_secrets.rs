//! Reticulum replaces the secret in its database every few minutes; the relay lets in whoever holds a credential of any
//! of them, and goes on without the database.

use std::time::{SystemTime, UNIX_EPOCH};

use hubs_relay::auth::{RestCredential, Secret};
use hubs_relay::{Config, Relay};
use hubs_tests::bed::{REALM, TURN_SECRET};
use hubs_tests::need::{self, skip};
use hubs_tests::pgbouncer::{self, AuthType, PgBouncer};
use hubs_tests::postgres::{Postgres, SEARCH_PATH};
use hubs_tests::turn::TurnClient;

#[test]
fn secrets_come_through_pgbouncer_in_transaction_mode_with_md5() {
    secrets_come_through_pgbouncer(AuthType::Md5);
}

#[test]
fn secrets_come_through_pgbouncer_in_transaction_mode_with_scram() {
    secrets_come_through_pgbouncer(AuthType::Scram);
}

fn secrets_come_through_pgbouncer(auth: AuthType) {
    if skip(&[need::PGBOUNCER]) {
        return;
    }
    let (database, bouncer) = (Postgres::start(SEARCH_PATH), pgbouncer::reserve());
    let _pgbouncer = PgBouncer::start(bouncer, &database, auth);
    let relay = relay(&pgbouncer::url(bouncer));
    assert!(may_allocate(&relay, TURN_SECRET));
    assert!(!may_allocate(&relay, "guessed"));
}

#[test]
fn a_secret_that_came_between_two_readings_is_found_by_the_first_who_shows_it() {
    if skip(&[need::PGBOUNCER]) {
        return;
    }
    let database = Postgres::start(SEARCH_PATH);
    let relay = relay(&database.url());
    assert!(may_allocate(&relay, TURN_SECRET));
    insert(&database, "fresh");
    assert!(may_allocate(&relay, "fresh"));
    assert!(may_allocate(&relay, TURN_SECRET));
}

#[test]
fn a_secret_that_reticulum_has_deleted_still_lets_in_who_holds_its_credential() {
    if skip(&[need::PGBOUNCER]) {
        return;
    }
    let database = Postgres::start(SEARCH_PATH);
    let relay = relay(&database.url());
    assert!(may_allocate(&relay, TURN_SECRET));
    database.execute("DELETE FROM coturn.turn_secret");
    insert(&database, "fresh");
    assert!(may_allocate(&relay, "fresh"));
    assert!(may_allocate(&relay, TURN_SECRET));
}

#[test]
fn a_secret_of_another_realm_lets_nobody_in() {
    if skip(&[need::PGBOUNCER]) {
        return;
    }
    let database = Postgres::start(SEARCH_PATH);
    database.execute("INSERT INTO coturn.turn_secret VALUES ('elsewhere', 'foreign', now(), now())");
    let relay = relay(&database.url());
    assert!(!may_allocate(&relay, "foreign"));
}

#[test]
fn an_empty_secret_lets_nobody_in() {
    if skip(&[need::PGBOUNCER]) {
        return;
    }
    let database = Postgres::start(SEARCH_PATH);
    insert(&database, "");
    let relay = relay(&database.url());
    assert!(!may_allocate(&relay, ""));
    assert!(may_allocate(&relay, TURN_SECRET));
}

#[test]
fn the_relay_starts_without_its_database_finds_it_later_and_survives_its_loss() {
    if skip(&[need::PGBOUNCER]) {
        return;
    }
    let (database, bouncer) = (Postgres::start(SEARCH_PATH), pgbouncer::reserve());
    let relay = relay(&pgbouncer::url(bouncer));
    assert!(!may_allocate(&relay, TURN_SECRET));
    let pgbouncer = PgBouncer::start(bouncer, &database, AuthType::Md5);
    assert!(may_allocate(&relay, TURN_SECRET));
    drop(pgbouncer);
    assert!(may_allocate(&relay, TURN_SECRET));
    assert!(!may_allocate(&relay, "guessed"));
    assert!(may_allocate(&relay, TURN_SECRET));
}

/// A relay that reads its secrets once an hour, and when it has to.
fn relay(url: &str) -> Relay {
    let text = format!(
        "listen = ['udp://127.0.0.1:0']\nrelay.address = '127.0.0.1'\n[auth]\npostgres = '{url}'\npostgres_every = '1h'\n"
    );
    Relay::start(&Config::from_text(&text, None, []).unwrap()).unwrap()
}

fn insert(database: &Postgres, secret: &str) {
    database.execute(&format!("INSERT INTO coturn.turn_secret VALUES ('{REALM}', '{secret}', now(), now())"));
}

/// Whether a browser may allocate that has a credential which `secret` signed.
fn may_allocate(relay: &Relay, secret: &str) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let credential = RestCredential::new(&Secret::from(secret), "coturn", now + 120);
    let server = relay.listeners()[0].address;
    let mut client = TurnClient::new(server, &credential.username, credential.password.expose());
    match client.allocate() {
        Ok(()) => true,
        Err(401) => false,
        Err(code) => panic!("{code}"),
    }
}
