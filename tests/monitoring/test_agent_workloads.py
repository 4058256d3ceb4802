"""Whose a process is, from recorded /proc trees of both cgroup versions."""

from pathlib import Path

import pytest

from monitoring.agent.workloads import Workload, Workloads, model_in, place_of
from tests.fakes.proc import BOOT, process_write, stat_write

CONTAINER = "0123456789abcdef" * 4
POD = "3f5d8d7e-0b1a-4c57-9a53-1d2e3f405162"
UNDERSCORED = POD.replace("-", "_")
PLACES = {
    "v2 systemd driver": (
        f"0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UNDERSCORED}.slice/cri-containerd-{CONTAINER}.scope\n",
        (CONTAINER, POD, "", ""),
    ),
    "v2 cgroupfs driver": (f"0::/kubepods/burstable/pod{POD}/{CONTAINER}\n", (CONTAINER, POD, "", "")),
    "v1": (
        f"12:pids:/kubepods/pod{POD}/{CONTAINER}\n11:memory:/kubepods/pod{POD}/{CONTAINER}\n1:name=systemd:/kubepods/pod{POD}/{CONTAINER}\n",
        (CONTAINER, POD, "", ""),
    ),
    "static pod": (f"0::/kubepods/pod{POD.replace('-', '')}/{CONTAINER}\n", (CONTAINER, POD.replace("-", ""), "", "")),
    "crio": (
        f"0::/kubepods.slice/kubepods-pod{UNDERSCORED}.slice/crio-{CONTAINER}.scope/container\n",
        (CONTAINER, POD, "", ""),
    ),
    "docker": (f"0::/system.slice/docker-{CONTAINER}.scope\n", (CONTAINER, "", "", "")),
    "podman": (
        f"0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{CONTAINER}.scope/container\n",
        (CONTAINER, "", "", ""),
    ),
    "v1 below containerd's own unit": (
        f"1:name=systemd:/system.slice/containerd.service/kubepods-pod{UNDERSCORED}.slice:cri-containerd:{CONTAINER}\n",
        (CONTAINER, POD, "", ""),
    ),
    "relative path of another cgroup namespace": (f"0::/../../kubepods/pod{POD}/{CONTAINER}\n", (CONTAINER, POD, "", "")),
    "slurm": ("0::/system.slice/slurmstepd.scope/job_4711/step_0/user/task_0\n", ("", "", "4711", "")),
    "unit": ("0::/system.slice/vllm.service\n", ("", "", "", "vllm.service")),
    "template unit": ("0::/system.slice/system-vllm.slice/vllm@llama.service\n", ("", "", "", "vllm@llama.service")),
    "unit of a user": ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/ollama.service\n", ("", "", "", "ollama.service")),
    "a shell": ("0::/user.slice/user-1000.slice/session-2.scope\n", ("", "", "", "")),
    "nothing": ("", ("", "", "", "")),
    "damaged": ("0:\n::\nx\n", ("", "", "", "")),
}
COMMANDS = {
    "vllm serve meta-llama/Llama-3.1-8B-Instruct --port 8000": "meta-llama/Llama-3.1-8B-Instruct",
    "/usr/bin/python3 /usr/local/bin/vllm serve /models/llama --served-model-name llama-8b other": "llama-8b",
    "python3 -m vllm.entrypoints.openai.api_server --model mistralai/Mistral-7B-v0.3": "mistralai/Mistral-7B-v0.3",
    "python3 -u -m sglang.launch_server --model-path Qwen/Qwen3-8B --tp 2": "Qwen/Qwen3-8B",
    "python3 -m sglang.launch_server --model-path=/srv/models/qwen3": "qwen3",
    "llama-server -m /models/gemma-3-4b.Q4_K_M.gguf --port 8080": "gemma-3-4b.Q4_K_M",
    "llama-server -m /models/x.gguf --alias gemma": "gemma",
    "text-generation-launcher --model-id bigscience/bloom": "bigscience/bloom",
    "server --model /models/huggingface/hub/models--org--name-7b/snapshots/0123": "org/name-7b",
    "server --model s3://key:secret@bucket/models/llama": "llama",
    "server --model ''; --model": "",
    "python3 -m http.server": "",
    "python3 train.py --config x": "",
    "vllm serve --port 1": "",
    "": "",
}


@pytest.mark.parametrize("name", PLACES)
def test_a_cgroup_tells_container_pod_job_or_unit(name: str) -> None:
    text, expected = PLACES[name]
    assert place_of(text) == expected


@pytest.mark.parametrize("command", COMMANDS)
def test_the_model_is_named_by_the_servers_flags(command: str) -> None:
    assert model_in(command.split(" ") if command else []) == COMMANDS[command]


def test_a_worker_has_the_model_of_the_server_above_it(tmp_path: Path) -> None:
    stat_write(tmp_path)
    cgroup = f"0::/kubepods/pod{POD}/{CONTAINER}\n"
    process_write(tmp_path, 10, parent=1, started=100.0, name="vllm", command="vllm serve org/model --api-key SECRET", cgroup=cgroup)
    process_write(tmp_path, 11, parent=10, started=101.0, name="sh", command="sh -c x", cgroup=cgroup)
    process_write(tmp_path, 12, parent=11, started=102.0, name="VLLM::Worker) x (", command="VLLM::Worker_TP0", cgroup=cgroup)
    found = Workloads(tmp_path, ticks_per_second=100.0).of(12, now=BOOT + 1000.0)
    assert found == Workload(BOOT + 102.0, "VLLM::Worker) x (", CONTAINER, POD, "", "", "org/model")


def test_a_parent_outside_the_container_names_no_model(tmp_path: Path) -> None:
    stat_write(tmp_path)
    process_write(
        tmp_path, 10, parent=1, started=100.0, name="tool", command="tool --model wrong", cgroup="0::/system.slice/tool.service\n"
    )
    process_write(tmp_path, 11, parent=10, started=101.0, name="x", command="x", cgroup=f"0::/system.slice/docker-{CONTAINER}.scope\n")
    found = Workloads(tmp_path, ticks_per_second=100.0).of(11, now=BOOT + 1000.0)
    assert found is not None and found.model_name == ""


def test_a_process_number_used_again_is_another_process(tmp_path: Path) -> None:
    stat_write(tmp_path)
    workloads = Workloads(tmp_path, ticks_per_second=100.0)
    process_write(tmp_path, 10, parent=1, started=100.0, name="one", command="one", cgroup="0::/system.slice/one.service\n")
    first = workloads.of(10, now=BOOT + 5000.0)
    process_write(tmp_path, 10, parent=1, started=200.0, name="two", command="two", cgroup="0::/system.slice/two.service\n")
    second = workloads.of(10, now=BOOT + 5000.0)
    assert first and second and (first.unit, second.unit) == ("one.service", "two.service")


def test_what_was_found_is_remembered_until_the_process_is_gone(tmp_path: Path) -> None:
    stat_write(tmp_path)
    workloads = Workloads(tmp_path, ticks_per_second=100.0)
    process_write(tmp_path, 10, parent=1, started=100.0, name="one", command="one", cgroup="0::/a/x.service\n")
    workloads.of(10, now=BOOT + 5000.0)
    (tmp_path / "10" / "cgroup").write_text("0::/a/y.service\n")
    remembered = workloads.of(10, now=BOOT + 5000.0)
    workloads.forget_but(set())
    anew = workloads.of(10, now=BOOT + 5000.0)
    assert remembered and anew and (remembered.unit, anew.unit) == ("x.service", "y.service")


def test_a_young_process_is_looked_at_again_until_it_names_its_model(tmp_path: Path) -> None:
    stat_write(tmp_path)
    workloads = Workloads(tmp_path, ticks_per_second=100.0)
    process_write(tmp_path, 10, parent=1, started=100.0, name="sh", command="sh", cgroup="")
    workloads.of(10, now=BOOT + 101.0)
    process_write(tmp_path, 10, parent=1, started=100.0, name="vllm", command="vllm serve m", cgroup="")
    found = workloads.of(10, now=BOOT + 116.0)
    assert found and found.model_name == "m"


def test_a_process_that_is_not_there_is_none(tmp_path: Path) -> None:
    stat_write(tmp_path)
    assert Workloads(tmp_path, ticks_per_second=100.0).of(4242, now=BOOT) is None


def test_this_very_process_is_found_in_the_real_proc() -> None:
    found = Workloads().of(1, now=0.0)
    assert found is not None and found.started_at > 1e9
