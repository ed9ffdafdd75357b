-- Makes Reticulum mint TURN credentials from the secret in the environment's TURN_SECRET.
--
-- Reticulum uses the newest row, adds a random one every five minutes while somebody is in a room, and deletes those
-- that are older than fifteen minutes. A row dated infinity stays the newest, and never grows old.
\set secret `printenv TURN_SECRET`
BEGIN;
DELETE FROM coturn.turn_secret WHERE realm = 'turkey' AND inserted_at = 'infinity';
INSERT INTO coturn.turn_secret (realm, value, inserted_at, updated_at) VALUES ('turkey', :'secret', 'infinity', now());
COMMIT;
