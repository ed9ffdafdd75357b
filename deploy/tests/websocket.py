"""As much of a WebSocket client (RFC 6455) as a request to dialog takes."""

import base64
import json
import os
import struct


class Client:
    def __init__(self, stream, host, path):
        self.stream = stream
        key = base64.b64encode(os.urandom(16)).decode()
        stream.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: protoo\r\n\r\n".encode()
        )
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.read(1)
        assert head.startswith(b"HTTP/1.1 101 "), head

    def read(self, length):
        data = b""
        while len(data) < length:
            more = self.stream.recv(length - len(data))
            assert more, "the server ends the connection"
            data += more
        return data

    def request(self, method, data):
        """What dialog answers, whatever it says before."""
        message = json.dumps({"request": True, "id": 1, "method": method, "data": data}).encode()
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[n % 4] for n, byte in enumerate(message))
        self.stream.sendall(struct.pack("!BBH", 0x81, 0x80 | 126, len(message)) + mask + masked)
        while True:
            answer = self.receive()
            if answer.get("response"):
                assert answer["ok"], answer
                return answer["data"]

    def receive(self):
        _, length = self.read(2)
        if length == 126:
            [length] = struct.unpack("!H", self.read(2))
        elif length == 127:
            [length] = struct.unpack("!Q", self.read(8))
        return json.loads(self.read(length))
