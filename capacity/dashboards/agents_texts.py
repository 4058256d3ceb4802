"""The commands that install an agent, word for word; docs/agent.md and deploy/agent/ hold the same, and a test compares them.

In a text `{url}`, `{key}` and `{version}` stand for the address of this Headroom, an ingest key and the release. They are
replaced one by one and not by `format`: shell and YAML have braces of their own.
"""

from collections.abc import Mapping
from dataclasses import dataclass

KEY_PLACEHOLDER = "hr_ag_PASTE_THE_KEY_HERE"

KEY_FILE = """\
sudo install -d -m 700 /etc/headroom-agent
sudo install -m 600 /dev/null /etc/headroom-agent/key
echo '{key}' | sudo tee /etc/headroom-agent/key > /dev/null"""

PIP = """\
sudo python3 -m venv /opt/headroom-agent
sudo /opt/headroom-agent/bin/pip install headroom=={version}"""

UNIT = """\
[Unit]
Description=Headroom agent: GPU and host telemetry
Wants=network-online.target
After=network-online.target

[Service]
Environment=HEADROOM_URL={url}
LoadCredential=key:/etc/headroom-agent/key
Environment=HEADROOM_KEY_FILE=%d/key
ExecStart=/opt/headroom-agent/bin/python -m monitoring.agent
DynamicUser=yes
StateDirectory=headroom-agent
Restart=always
RestartSec=5

[Install]
WantedBy=multi-user.target"""

CONTAINER = """\
sudo docker run -d --name headroom-agent --restart always \\
  --gpus all --pid host --cgroupns host --network host \\
  -v /etc/headroom-agent/key:/run/secrets/key:ro -v headroom-agent:/var/lib/headroom-agent \\
  -e HEADROOM_URL={url} -e HEADROOM_KEY_FILE=/run/secrets/key \\
  headroom-agent:{version}"""

SECRET = """\
kubectl create namespace headroom --dry-run=client -o yaml | kubectl apply -f -
kubectl -n headroom create secret generic headroom-agent --from-literal=key='{key}'"""

DAEMONSET = "kubectl apply -f daemonset.yaml"


@dataclass(frozen=True)
class Step:
    label: str
    text: str


@dataclass(frozen=True)
class Way:
    """One way to run an agent: for whom, and what to do, in order."""

    slug: str
    title: str
    note: str
    steps: tuple[Step, ...]


WAYS = (
    Way(
        "pip",
        "A host with systemd",
        "Runs without root, with its spool in /var/lib/headroom-agent. Needs Python 3.11 and the NVIDIA driver.",
        (Step("The key", KEY_FILE), Step("The agent", PIP), Step("The unit", UNIT)),
    ),
    Way(
        "container",
        "A container",
        "It needs the host's process and control group names to tell whose process is on a GPU.",
        (Step("The key", KEY_FILE), Step("The container", CONTAINER)),
    ),
    Way("kubernetes", "Kubernetes, on every GPU node", "A DaemonSet.", (Step("The key", SECRET), Step("The DaemonSet", DAEMONSET))),
)


def way_of(way: Way, words: Mapping[str, str]) -> Way:
    """The way with this install's address, key and release filled in."""
    return Way(way.slug, way.title, way.note, tuple(Step(step.label, filled(step.text, words)) for step in way.steps))


def filled(text: str, words: Mapping[str, str]) -> str:
    for name, word in words.items():
        text = text.replace(f"{{{name}}}", word)
    return text
