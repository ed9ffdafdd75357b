"""What the kubelet and the runtime below it do with this pod: one container, whose volumes are Secrets."""

import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

# The profile that Podman calls default; containerd's, which AKS has, comes from the same one of Docker's.
SECCOMP_PROFILE = Path("/usr/share/containers/seccomp.json")
PATIENCE = 30  # seconds
ACCOUNT = "var/run/secrets/kubernetes.io/serviceaccount"


def is_available():
    """Whether pods can be run here."""
    return shutil.which("crun") is not None and SECCOMP_PROFILE.exists()


def environment(container, secrets):
    env = {}
    for entry in container["env"]:
        if "valueFrom" in entry:
            reference = entry["valueFrom"]["secretKeyRef"]
            env[entry["name"]] = secrets[reference["name"]][reference["key"]]
        else:
            # $(NAME) is a variable that stands before it.
            env[entry["name"]] = re.sub(r"\$\((\w+)\)", lambda name: env[name[1]], entry["value"])
    return env


class Container:
    """The pod's one container, on this machine's network. Its image is `program` alone."""

    def __init__(self, folder, pod, program, secrets, resolv_conf, api=None):
        [self.spec] = pod["containers"]
        self.folder = folder
        self.log = folder / "log"
        root = folder / "rootfs"
        root.mkdir()
        shutil.copy(program, root)
        (root / "etc").mkdir()
        (root / "etc/resolv.conf").write_text(resolv_conf)
        self.update_volumes(pod, secrets)
        env = environment(self.spec, secrets)
        if api:
            env |= api.environment
            if pod["automountServiceAccountToken"]:
                (root / ACCOUNT).mkdir(parents=True)
                for name, text in api.account.items():
                    (root / ACCOUNT / name).write_text(text)
        config = oci_config(pod, self.spec, [f"/{program.name}"], env)
        (folder / "config.json").write_text(json.dumps(config))
        with self.log.open("w") as log:
            command = self.crun("run", f"--bundle={folder}", f"--pid-file={folder}/pid", "relay")
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def update_volumes(self, pod, secrets):
        """Each file is a link into `..data`, a link to a folder; to rename that link changes all of them at once."""
        volumes = {v["name"]: v["secret"]["secretName"] for v in pod["volumes"]}
        for mount in self.spec["volumeMounts"]:
            place = self.folder / "rootfs" / mount["mountPath"].lstrip("/")
            place.mkdir(parents=True, exist_ok=True)
            version = Path(tempfile.mkdtemp(prefix="..", dir=place))
            version.chmod(0o755)
            for name, content in secrets[volumes[mount["name"]]].items():
                (version / name).write_text(content)
                if not (place / name).is_symlink():
                    (place / name).symlink_to(f"..data/{name}")
            (place / "..data_tmp").symlink_to(version.name)
            (place / "..data_tmp").rename(place / "..data")

    def crun(self, *arguments):
        # Limits are not what is tested, and not every machine that runs the tests hands out cgroups.
        return ["crun", f"--root={self.folder}/crun", "--cgroup-manager=disabled", *arguments]

    def answers(self, probe):
        """Whether a probe of the pod's succeeds now."""
        ports = {p["name"]: p["containerPort"] for p in self.spec["ports"]}
        http = self.spec[probe]["httpGet"]
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{ports[http['port']]}{http['path']}", timeout=5).close()
            return True
        except (urllib.error.URLError, OSError):
            return False

    def eventually(self, condition):
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert self.process.poll() is None and time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)

    @property
    def pid(self):
        return int((self.folder / "pid").read_text())

    def terminate(self):
        subprocess.run(self.crun("kill", "relay", "TERM"), check=True)

    def wait(self):
        return self.process.wait(PATIENCE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run(self.crun("delete", "--force", "relay"), capture_output=True)
        self.process.wait()


def oci_config(pod, container, command, env):
    """What the pod's security contexts mean to a runtime (the OCI's runtime-spec)."""
    whole, own = pod["securityContext"], container["securityContext"]
    assert own["capabilities"] == {"drop": ["ALL"]} and whole["seccompProfile"] == {"type": "RuntimeDefault"}
    return {
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs", "readonly": own["readOnlyRootFilesystem"]},
        "process": {
            "args": command,
            "env": [f"{name}={value}" for name, value in env.items()],
            "cwd": "/",
            "user": {"uid": whole["runAsUser"], "gid": whole["runAsGroup"], "additionalGids": [whole["fsGroup"]]},
            "capabilities": {},
            "noNewPrivileges": not own["allowPrivilegeEscalation"],
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "noexec", "mode=755"]},
        ],
        "linux": {"namespaces": [{"type": t} for t in ("pid", "mount", "ipc", "uts")], "seccomp": seccomp()},
    }


def seccomp():
    """The default profile for a container that has no capability."""
    profile = json.loads(SECCOMP_PROFILE.read_text())
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    return {
        "defaultAction": profile["defaultAction"],
        "architectures": [f"SCMP_ARCH_{platform.machine().upper()}"],
        "syscalls": [
            {key: rule[key] for key in ("names", "action", "args") if rule.get(key)}
            for rule in profile["syscalls"]
            if architecture in rule["includes"].get("arches", [architecture]) and "caps" not in rule["includes"]
        ],
    }
