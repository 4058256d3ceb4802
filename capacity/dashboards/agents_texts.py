"""The commands that install an agent, word for word; docs/agent.md and deploy/agent/ hold the same, and a test compares them.

In a text `{url}`, `{key}` and `{version}` stand for the address of this Headroom, an ingest key and the release. They are
replaced one by one and not by `format`: shell and YAML have braces of their own.
"""

from collections.abc import Mapping
from dataclasses import dataclass

KEY_PLACEHOLDER = "hr_ag_PASTE_THE_KEY_HERE"

# Built from a checkout: a package of this name on a public index would be somebody else's.
WHEEL = "python3 -m pip wheel --no-deps --wheel-dir . ."

KEY_FILE = """\
sudo install -d -m 700 /etc/headroom-agent
sudo install -m 600 /dev/null /etc/headroom-agent/key
echo '{key}' | sudo tee /etc/headroom-agent/key > /dev/null"""

PIP = """\
sudo python3 -m venv /opt/headroom-agent
sudo /opt/headroom-agent/bin/pip install ./headroom-{version}-py3-none-any.whl"""

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

UNIT_FILE = f"""\
sudo tee /etc/systemd/system/headroom-agent.service > /dev/null <<'EOF'
{UNIT}
EOF
sudo systemctl daemon-reload
sudo systemctl enable --now headroom-agent"""

IMAGE = "docker build -f deploy/agent/Dockerfile -t headroom-agent:{version} ."

CONTAINER = """\
sudo docker run -d --name headroom-agent --restart always \\
  --gpus all --pid host --cgroupns host --network host \\
  --read-only --cap-drop ALL --security-opt no-new-privileges \\
  -v /:/host:ro,rslave -v /etc/headroom-agent/key:/run/secrets/headroom/key:ro \\
  -v /var/lib/headroom-agent:/var/lib/headroom-agent \\
  -e HEADROOM_AGENT_ROOT=/host -e HEADROOM_URL={url} -e HEADROOM_KEY_FILE=/run/secrets/headroom/key \\
  headroom-agent:{version}"""

SECRET = """\
kubectl create namespace headroom --dry-run=client -o yaml | kubectl apply -f -
kubectl -n headroom create secret generic headroom-agent --from-literal=key='{key}'"""

DAEMONSET = """\
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: headroom-agent
  namespace: headroom
  labels: {app: headroom-agent}
spec:
  selector:
    matchLabels: {app: headroom-agent}
  updateStrategy: {type: RollingUpdate, rollingUpdate: {maxUnavailable: "10%"}}
  template:
    metadata:
      labels: {app: headroom-agent}
    spec:
      hostPID: true # NVML tells the host's process numbers
      automountServiceAccountToken: false # it asks nothing of Kubernetes
      terminationGracePeriodSeconds: 10
      runtimeClassName: nvidia # of the NVIDIA container toolkit; leave it out where that runtime is the default
      nodeSelector: {nvidia.com/gpu.present: "true"}
      tolerations: [{operator: Exists}]
      priorityClassName: system-node-critical
      securityContext: {seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: agent
          image: headroom-agent:{version}
          env:
            - {name: HEADROOM_URL, value: "{url}"}
            - {name: HEADROOM_KEY_FILE, value: /run/secrets/headroom/key}
            - {name: HEADROOM_AGENT_ROOT, value: /host}
            - name: HEADROOM_NODE
              valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
            - {name: NVIDIA_VISIBLE_DEVICES, value: all} # all GPUs of the node, without asking the scheduler for one
            - {name: NVIDIA_DRIVER_CAPABILITIES, value: utility}
          resources: {requests: {cpu: 10m, memory: 40Mi}, limits: {memory: 120Mi}}
          securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: ["ALL"]}}
          volumeMounts:
            - {name: key, mountPath: /run/secrets/headroom, readOnly: true}
            - {name: spool, mountPath: /var/lib/headroom-agent}
            - {name: host, mountPath: /host, readOnly: true, mountPropagation: HostToContainer}
      volumes:
        - name: key
          secret: {secretName: headroom-agent, defaultMode: 0400}
        - name: spool # on the host, so that readings outlive the pod
          hostPath: {path: /var/lib/headroom-agent, type: DirectoryOrCreate}
        - name: host
          hostPath: {path: /, type: Directory}"""

DAEMONSET_APPLY = f"""\
kubectl apply -f - <<'EOF'
{DAEMONSET}
EOF"""


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
        "Runs without root, its spool in /var/lib/headroom-agent. Needs Python 3.11 or newer and, for GPUs, the NVIDIA driver.",
        (
            Step("The package, once, in a checkout of this release; copy it to the host", WHEEL),
            Step("The key", KEY_FILE),
            Step("The agent", PIP),
            Step("The unit", UNIT_FILE),
        ),
    ),
    Way(
        "container",
        "A container",
        "It sees the host's processes, to tell whose is on a GPU, and the host's files read-only. It has no capability.",
        (
            Step("The image, once, in a checkout of this release", IMAGE),
            Step("The key", KEY_FILE),
            Step("The container", CONTAINER),
        ),
    ),
    Way(
        "kubernetes",
        "Kubernetes, on every GPU node",
        "Build the image as for a container, push it to your registry and name it so in the DaemonSet.",
        (Step("The key", SECRET), Step("The DaemonSet", DAEMONSET_APPLY)),
    ),
)


def way_of(way: Way, words: Mapping[str, str]) -> Way:
    """The way with this install's address, key and release filled in."""
    return Way(way.slug, way.title, way.note, tuple(Step(step.label, filled(step.text, words)) for step in way.steps))


def filled(text: str, words: Mapping[str, str]) -> str:
    for name, word in words.items():
        text = text.replace(f"{{{name}}}", word)
    return text
