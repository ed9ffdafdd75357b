"""As much of a STUN and TURN client as it takes to ask one question at a time over a stream (RFC 8489, RFC 8656)."""

import base64
import hashlib
import hmac
import os
import socket
import struct
import time

COOKIE = 0x2112A442

BINDING, ALLOCATE, CREATE_PERMISSION, SEND, DATA = 0x0001, 0x0003, 0x0008, 0x0016, 0x0017
SUCCESS, ERROR = 0x0100, 0x0110

USERNAME, MESSAGE_INTEGRITY, ERROR_CODE, XOR_PEER_ADDRESS = 0x0006, 0x0008, 0x0009, 0x0012
PAYLOAD, REALM, NONCE, XOR_RELAYED_ADDRESS = 0x0013, 0x0014, 0x0015, 0x0016
REQUESTED_TRANSPORT, XOR_MAPPED_ADDRESS = 0x0019, 0x0020


def reticulum_credential(secret):
    """A user name and password, made as Reticulum makes them for a browser that joins a room."""
    username = f"{int(time.time()) + 120}:coturn"
    mac = hmac.digest(secret.encode(), username.encode(), hashlib.sha1)
    return username, base64.b64encode(mac).decode()


def xor_address(host, port):
    number = struct.unpack("!I", socket.inet_aton(host))[0]
    return struct.pack("!xBHI", 1, port ^ COOKIE >> 16, number ^ COOKIE)


def plain_address(value):
    _, port, number = struct.unpack("!xBHI", value)
    return socket.inet_ntoa(struct.pack("!I", number ^ COOKIE)), port ^ COOKIE >> 16


def error_code(attributes):
    """An answer's error code, if it is an error."""
    if ERROR_CODE in attributes:
        hundreds, rest = attributes[ERROR_CODE][2:4]
        return hundreds * 100 + rest


class Client:
    """One connection to the server, and the long-term credential that its requests carry."""

    def __init__(self, stream):
        self.stream = stream
        self.attributes = []
        self.key = None

    def log_in(self, username, password):
        """Fetches the challenge that the credential answers; says its realm."""
        _, challenge = self.ask(ALLOCATE, [(REQUESTED_TRANSPORT, b"\x11\0\0\0")])
        realm = challenge[REALM].decode()
        self.key = hashlib.md5(f"{username}:{realm}:{password}".encode()).digest()
        self.attributes = [(USERNAME, username.encode()), (REALM, challenge[REALM]), (NONCE, challenge[NONCE])]
        return realm

    def ask(self, method, attributes=()):
        """Sends a request; the answer's type and attributes."""
        self.send(method, [*attributes, *self.attributes], self.key)
        return self.receive()

    def send(self, kind, attributes, key=None):
        body = b"".join(struct.pack("!HH", t, len(v)) + v + bytes(-len(v) % 4) for t, v in attributes)
        transaction = os.urandom(12)
        header = lambda length: struct.pack("!HHI", kind, length, COOKIE) + transaction
        if key:
            mac = hmac.digest(key, header(len(body) + 24) + body, hashlib.sha1)
            body += struct.pack("!HH", MESSAGE_INTEGRITY, 20) + mac
        self.stream.sendall(header(len(body)) + body)

    def receive(self):
        kind, length = struct.unpack("!HH16x", self.exactly(20))
        body, attributes = self.exactly(length), {}
        while body:
            name, size = struct.unpack("!HH", body[:4])
            attributes.setdefault(name, body[4 : 4 + size])
            body = body[4 + size + -size % 4 :]
        return kind, attributes

    def exactly(self, count):
        data = b""
        while len(data) < count:
            chunk = self.stream.recv(count - len(data))
            assert chunk, "the server closed the connection"
            data += chunk
        return data
