"""The init container makes Reticulum mint credentials from the relay's secret, and the undo takes that back."""

from conftest import KUSTOMIZE

OLD, MINUTES_AGO = "0" * 32, "now() - interval '20 minutes'"
ROTATED, PINNED = "1" * 32, "a" * 64


def test_reticulum_uses_the_pinned_secret_from_then_on(database, pin):
    database.rotate(OLD)
    assert pin(PINNED).returncode == 0
    assert database.secret_in_use() == PINNED
    database.rotate(ROTATED)
    assert database.secret_in_use() == PINNED


def test_rotation_goes_on_beside_it_and_forgets_as_ever(database, pin):
    database.rotate(OLD, at=MINUTES_AGO)
    pin(PINNED)
    database.rotate(ROTATED)
    assert database.secrets() == [ROTATED, PINNED]


def test_each_start_of_the_pod_pins_again_without_adding_rows(database, pin):
    pin(PINNED)
    pin(PINNED)
    assert database.secrets() == [PINNED]


def test_a_new_secret_replaces_the_pinned_one(database, pin):
    pin(PINNED)
    pin("b" * 64)
    assert database.secrets() == ["b" * 64]


def test_a_secret_is_data_whatever_it_contains(database, pin):
    secret = "it's; DROP SCHEMA coturn -- `id` \\q $(id)"
    assert pin(secret).returncode == 0
    assert database.secret_in_use() == secret


def test_the_pod_does_not_start_before_reticulum_has_made_its_table(database, pin):
    database.psql("DROP TABLE coturn.turn_secret")
    failed = pin(PINNED)
    assert failed.returncode != 0
    assert 'relation "coturn.turn_secret" does not exist' in failed.stderr


def test_the_undo_gives_reticulum_its_own_secrets_back(database, pin):
    database.rotate(ROTATED)
    pin(PINNED)
    database.psql((KUSTOMIZE / "unpin-turn-secret.sql").read_text())
    assert database.secret_in_use() == ROTATED
    assert database.secrets() == [ROTATED]
