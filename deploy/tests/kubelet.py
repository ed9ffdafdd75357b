"""What the kubelet does before it starts a container, as far as this pod needs it."""

import os
import re
import stat


def environment(container, secrets, pod_ip):
    """The container's variables, with `$(NAME)` replaced by what was defined before."""
    env = {}
    for entry in container.get("env", []):
        source = entry.get("valueFrom", {})
        if "secretKeyRef" in source:
            reference = source["secretKeyRef"]
            env[entry["name"]] = secrets[reference["name"]][reference["key"]]
        elif "fieldRef" in source:
            assert source["fieldRef"]["fieldPath"] == "status.podIP"
            env[entry["name"]] = pod_ip
        else:
            env[entry["name"]] = expand(entry["value"], env)
    return env


def expand(text, env):
    return re.sub(r"\$\((\w+)\)", lambda match: env.get(match[1], match[0]), text)


def mount(root, pod, container, config_maps, secrets):
    """Writes beneath `root` the files that the pod's volumes put into the container."""
    volumes = {v["name"]: v for v in pod["volumes"]}
    for place in container["volumeMounts"]:
        volume = volumes[place["name"]]
        if "configMap" in volume:
            files = config_maps[volume["configMap"]["name"]]["data"]
        else:
            files = secrets[volume["secret"]["secretName"]]
        folder = root / place["mountPath"].lstrip("/")
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_text(content)


def write_names(root, addresses):
    """Name resolution as a pod has it; the cluster's names are in a file, and there is no DNS to know more of them."""
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc/resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    (root / "etc/hosts").write_text("".join(f"{address} {name}\n" for name, address in addresses.items()))


def make_devices(root):
    """What every container has beneath /dev, as far as the relay could want it."""
    (root / "dev").mkdir()
    for name, minor in (("null", 3), ("random", 8), ("urandom", 9)):
        os.mknod(root / "dev" / name, stat.S_IFCHR | 0o666, os.makedev(1, minor))
        (root / "dev" / name).chmod(0o666)
