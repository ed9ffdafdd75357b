"""As much of a cluster's DNS as the relay asks: Services by their full names, IPv4 only (RFC 1035)."""

import socket
import socketserver
import struct
import threading

SUFFIX = "hcce.svc.cluster.local"
ADDRESS = ("127.0.0.53", 53)
RESOLV_CONF = f"search {SUFFIX} svc.cluster.local cluster.local\nnameserver {ADDRESS[0]}\noptions ndots:5\n"

A, NO_SUCH_NAME, ANSWER = 1, 3, 0x8580


class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        query, sock = self.request
        end = query.index(b"\0", 12) + 5
        name = ".".join(labels(query[12:end])).lower()
        [kind] = struct.unpack("!H", query[end - 4 : end - 2])
        known = self.server.services.get(name.removesuffix(f".{SUFFIX}"))
        records = b""
        if known and kind == A:
            records = struct.pack("!HHHIH", 0xC00C, A, 1, 5, 4) + socket.inet_aton(known)
        flags = ANSWER if known else ANSWER | NO_SUCH_NAME
        header = query[:2] + struct.pack("!HHHHH", flags, 1, bool(records), 0, 0)
        sock.sendto(header + query[12:end] + records, self.client_address)


def labels(name):
    while name[0]:
        yield name[1 : 1 + name[0]].decode()
        name = name[1 + name[0] :]


class ClusterDns(socketserver.ThreadingUDPServer):
    def __init__(self):
        super().__init__(ADDRESS, Handler)
        self.services = {}  # addresses by name
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()
