"""dialog on mediasoup, from the test bed."""

import contextlib
import json
import os
import subprocess

import pytest

from conftest import ANNOUNCED, DEPLOY, self_signed

BED = DEPLOY.parent / "tests" / "bed"


@contextlib.contextmanager
def running_dialog(folder, address):
    worker = subprocess.run([BED / "mediasoup-worker", "--cached"], capture_output=True, text=True)
    if worker.returncode != 0:
        pytest.skip("needs node, the packages of tests/bed and mediasoup's worker, as tests/run installs them")
    for name, text in zip(("crt", "key"), self_signed("dialog")):
        (folder / name).write_text(text)
    env = {
        "PATH": os.environ["PATH"],
        "MEDIASOUP_WORKER_BIN": worker.stdout.strip(),
        "MEDIASOUP_ANNOUNCED_IP": ANNOUNCED,
        "PROTOO_LISTEN_PORT": "4443",
        "LISTEN_IP": address,
        "AUTH_KEY": str(folder / "key"),
        "HTTPS_CERT_FULLCHAIN": str(folder / "crt"),
        "HTTPS_CERT_PRIVKEY": str(folder / "key"),
    }
    process = subprocess.Popen(["node", BED / "dialog.js"], env=env, stdout=subprocess.PIPE, text=True)
    try:
        assert json.loads(process.stdout.readline())["port"] == 4443
        yield
    finally:
        process.terminate()
        process.wait(10)
