"""As much of a Kubernetes API server as `kubectl apply` and a pod need: it keeps objects in memory.

Patches are merged by kubectl itself (`kubectl patch --local`), so what remains of an object after an apply is
what Kubernetes' own code makes of it.
"""

import json
import os
import ssl
import subprocess
import tempfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

KINDS = {
    "v1": {"configmaps": "ConfigMap", "secrets": "Secret", "services": "Service"},
    "apps/v1": {"deployments": "Deployment"},
    "networking.k8s.io/v1": {"ingresses": "Ingress"},
    "rbac.authorization.k8s.io/v1": {"roles": "Role", "rolebindings": "RoleBinding"},
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
        refusal = self.server.refusal(path, self.headers)
        self.answer(refusal or discovery(path) or self.server.objects.get(path))

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
        obj = obj or missing
        data = json.dumps(obj).encode()
        self.send_response(obj["code"] if obj["kind"] == "Status" else 200)
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

    def refusal(self, path, headers):
        """Whoever comes is kubectl, and may do everything."""
        return None

    def kubectl(self, home, *arguments):
        """Runs kubectl against this server, with neither the caller's configuration nor their cache."""
        env = {"HOME": str(home), "KUBECONFIG": "/dev/null"}
        command = [os.environ["KUBECTL"], "--server", self.url, *arguments]
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout


class ApiServerForPods(ApiServer):
    """Lets the pods of a namespace read, over TLS, what the Roles say that are bound to their account."""

    TOKEN = "ey.token.of-the-default-account"

    def __init__(self, namespace, objects, certificate, key):
        super().__init__()
        self.namespace = namespace
        self.rbac = objects
        with tempfile.TemporaryDirectory() as folder:
            pair = [os.path.join(folder, name) for name in ("crt", "key")]
            for file, text in zip(pair, (certificate, key)):
                Path(file).write_text(text)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*pair)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.account = {"token": self.TOKEN, "ca.crt": certificate, "namespace": namespace}
        self.environment = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(self.server_port)}

    def refusal(self, path, headers):
        if headers["authorization"] != f"Bearer {self.TOKEN}":
            return {"kind": "Status", "status": "Failure", "reason": "Unauthorized", "code": 401}
        if path in self.readable():
            return None
        return {"kind": "Status", "status": "Failure", "reason": "Forbidden", "code": 403}

    def readable(self):
        """The objects of this namespace that the default account may get."""
        roles = {o["metadata"]["name"]: o for o in self.rbac if o["kind"] == "Role"}
        account = {"kind": "ServiceAccount", "name": "default"}
        bound = [o["roleRef"]["name"] for o in self.rbac if o["kind"] == "RoleBinding" and account in o["subjects"]]
        rules = [rule for name in bound for rule in roles[name]["rules"] if "get" in rule["verbs"]]
        return {
            f"/api/v1/namespaces/{self.namespace}/{resource}/{name}"
            for rule in rules
            if "" in rule["apiGroups"]
            for resource in rule["resources"]
            for name in rule["resourceNames"]
        }
