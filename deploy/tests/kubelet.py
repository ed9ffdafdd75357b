"""What the kubelet does before it starts a container, as far as this pod needs it."""

import re


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
