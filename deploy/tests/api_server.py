"""As much of a Kubernetes API server as `kubectl apply` needs: it keeps objects in memory.

Patches are merged by kubectl itself (`kubectl patch --local`), so what remains of an object after an apply is
what Kubernetes' own code makes of it.
"""

import json
import os
import subprocess
import tempfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KINDS = {
    "v1": {"configmaps": "ConfigMap", "secrets": "Secret", "services": "Service"},
    "apps/v1": {"deployments": "Deployment"},
    "networking.k8s.io/v1": {"ingresses": "Ingress"},
}


def discovery(path):
    """What /api and /apis say about the kinds above, or None for another path."""
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        versions = [{"groupVersion": v, "version": "v1"} for v in KINDS if "/" in v]
        groups = [{"name": v["groupVersion"].split("/")[0], "versions": [v], "preferredVersion": v} for v in versions]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    version = path.removeprefix("/apis/").removeprefix("/api/")
    if version not in KINDS:
        return None
    verbs = ["create", "get", "patch"]
    resources = [{"name": n, "kind": k, "namespaced": True, "verbs": verbs} for n, k in KINDS[version].items()]
    return {"kind": "APIResourceList", "groupVersion": version, "resources": resources}


def merged(live, patch):
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(live, file)
        file.flush()
        command = [os.environ["KUBECTL"], "patch", "--local", "--type=strategic", "-f", file.name]
        out = subprocess.run([*command, "-p", patch, "-o", "json"], check=True, capture_output=True)
    return json.loads(out.stdout)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        path = self.path.split("?")[0]
        self.answer(discovery(path) or self.server.objects.get(path))

    def do_POST(self):
        obj = json.loads(self.body())
        self.store(f"{self.path.split('?')[0]}/{obj['metadata']['name']}", obj)

    def do_PATCH(self):
        path = self.path.split("?")[0]
        assert self.headers["content-type"] == "application/strategic-merge-patch+json"
        self.store(path, merged(self.server.objects[path], self.body()))

    def store(self, path, obj):
        self.server.objects[path] = obj
        self.answer(obj)

    def body(self):
        return self.rfile.read(int(self.headers["content-length"]))

    def answer(self, obj):
        missing = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
        data = json.dumps(obj or missing).encode()
        self.send_response(200 if obj else 404)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


class ApiServer(ThreadingHTTPServer):
    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects = {}  # by path
        self.url = f"http://127.0.0.1:{self.server_port}"

    def kubectl(self, home, *arguments):
        """Runs kubectl against this server, with neither the caller's configuration nor their cache."""
        env = {"HOME": str(home), "KUBECONFIG": "/dev/null"}
        command = [os.environ["KUBECTL"], "--server", self.url, *arguments]
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout
