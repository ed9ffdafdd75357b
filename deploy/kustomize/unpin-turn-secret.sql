-- Takes back pin-turn-secret.sql: within a minute Reticulum mints from its own rotated secrets again.
DELETE FROM coturn.turn_secret WHERE realm = 'turkey' AND inserted_at = 'infinity';
