"""Reticulum's database: a Postgres behind pgbouncer, and the queries about TURN secrets."""

import glob
import shutil
import signal
import socket
import subprocess
import time

POSTGRES_USER = "postgres"  # neither program runs as root; Debian's packages make this user


class Database:
    def __init__(self, folder):
        self.folder = folder
        self.processes = []
        self.postgres_uri = "postgres://postgres:123456@127.0.0.1:5432/retdb"
        folder.chmod(0o711)
        shutil.chown(folder, POSTGRES_USER)

    def __enter__(self):
        programs = sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1]
        data, password = self.folder / "data", self.folder / "password"
        password.write_text("123456")
        password.chmod(0o644)
        initdb = [f"{programs}/initdb", "-D", data, "-U", "postgres", f"--pwfile={password}", "--auth=md5", "--no-sync"]
        subprocess.run(as_postgres(initdb), check=True, capture_output=True)
        self.spawn("postgres", [f"{programs}/postgres", "-D", data, "-k", self.folder, "-c", "fsync=off"], 5432)
        self.psql("CREATE DATABASE retdb", uri="postgres://postgres:123456@127.0.0.1:5432/postgres")
        self.start_pgbouncer()
        return self

    def start_pgbouncer(self):
        """With the settings that Hubs gives it."""
        users, config = self.folder / "users", self.folder / "pgbouncer.ini"
        users.write_text('"postgres" "123456"\n')
        config.write_text(
            "[databases]\n* = host=127.0.0.1 port=5432\n"
            "[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = 6432\nunix_socket_dir =\npool_mode = session\n"
            f"auth_type = md5\nauth_file = {users}\nignore_startup_parameters = extra_float_digits\n"
        )
        self.spawn("pgbouncer", ["pgbouncer", config], 6432)

    def spawn(self, name, command, port):
        log = open(self.folder / f"{name}.log", "w")
        self.processes.append(subprocess.Popen(as_postgres(command), stdout=log, stderr=log))
        wait_for_port(port)

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.send_signal(signal.SIGINT)  # to Postgres a fast shutdown, which waits for no client
            process.wait(20)

    def psql(self, sql, uri=None):
        command = ["psql", "-X", "-v", "ON_ERROR_STOP=1", "-At", "-d", uri or self.postgres_uri]
        return subprocess.run(command, input=sql, check=True, capture_output=True, text=True).stdout.strip()

    def migrate(self):
        """An empty database as Reticulum's migrations leave it; its search path does not lead to the secrets."""
        self.psql(
            "DROP SCHEMA IF EXISTS coturn, ret0 CASCADE; CREATE SCHEMA ret0; CREATE SCHEMA coturn;"
            "CREATE TABLE coturn.turn_secret"
            " (realm varchar(127), value varchar(256), inserted_at timestamp, updated_at timestamp);"
            "ALTER DATABASE retdb SET search_path TO ret0;"
        )

    def rotate(self, secret, at="now()"):
        """Ret.Coturn.rotate_secrets"""
        self.psql(
            f"INSERT INTO coturn.turn_secret (realm, value, inserted_at, updated_at) VALUES ('turkey', '{secret}', {at}, {at});"
            "DELETE FROM coturn.turn_secret WHERE inserted_at < now() - interval '15 minutes';"
        )

    def secret_in_use(self):
        """Ret.Coturn.latest_secret_commit"""
        return self.psql(
            "SELECT value FROM coturn.turn_secret WHERE realm = 'turkey' ORDER BY inserted_at DESC LIMIT 1"
        )

    def secrets(self):
        return sorted(self.psql("SELECT value FROM coturn.turn_secret").split())


def as_postgres(command):
    return ["setpriv", f"--reuid={POSTGRES_USER}", f"--regid={POSTGRES_USER}", "--init-groups", "--", *map(str, command)]


def wait_for_port(port, host="127.0.0.1"):
    deadline = time.monotonic() + 20
    while True:
        try:
            return socket.create_connection((host, port), timeout=1).close()
        except OSError:
            assert time.monotonic() < deadline, f"nothing listens on {host}:{port}"
            time.sleep(0.05)
