"""The agent's install files: systemd and Kubernetes read them, and they name only settings that exist."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitoring.agent.config import SETTINGS

DEPLOY = Path(__file__).resolve().parents[2] / "deploy" / "agent"
KNOWN = {setting.variable for setting in SETTINGS} | {"HEADROOM_KEY_FILE"}
VARIABLE = re.compile(r"\bHEADROOM_[A-Z_]+\b")


def daemonset() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "daemonset.yaml").read_text())
    return found


@pytest.mark.parametrize("name", ["headroom-agent.service", "daemonset.yaml", "Dockerfile"])
def test_files_name_only_settings_that_exist(name: str) -> None:
    assert set(VARIABLE.findall((DEPLOY / name).read_text())) <= KNOWN


def test_systemd_reads_the_unit(tmp_path: Path) -> None:
    """With a program that exists here in place of the one the install makes."""
    text = (DEPLOY / "headroom-agent.service").read_text().replace("/opt/headroom-agent/bin/python", "/bin/true")
    for unit, fault in ((text, False), (text.replace("Restart=always", "Restart=sometimes"), True)):
        path = tmp_path / "headroom-agent.service"
        path.write_text(unit)
        done = subprocess.run(["systemd-analyze", "verify", str(path)], capture_output=True, text=True, check=False)
        assert bool([line for line in done.stderr.splitlines() if "headroom-agent.service" in line]) is fault, done.stderr


def test_the_pod_sees_the_hosts_processes_and_has_no_power_over_them() -> None:
    pod = daemonset()["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert pod["hostPID"] is True and pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert all(mount.get("readOnly") for mount in container["volumeMounts"] if mount["name"] != "spool")


def test_every_mount_has_its_volume_and_the_spool_is_on_the_host() -> None:
    pod = daemonset()["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    spool = next(mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "spool")
    assert spool == next(setting.default for setting in SETTINGS if setting.name == "spool")
    assert next(volume for volume in pod["volumes"] if volume["name"] == "spool")["hostPath"]["type"] == "DirectoryOrCreate"


def test_labels_and_selector_agree() -> None:
    found = daemonset()
    assert found["spec"]["selector"]["matchLabels"].items() <= found["spec"]["template"]["metadata"]["labels"].items()
