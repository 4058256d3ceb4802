"""The agent as a process of its own, on the fake NVML: start, end, kill -9, what it imports, and its one-shot commands."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fakes.ingest_server import KEY, FakeIngest
from tests.servers.loopback import serving
from tests.servers.processes import wait_until

ROOT = Path(__file__).resolve().parents[2]


def environment(library: Path, folder: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    return {
        **kept,
        "LD_LIBRARY_PATH": str(library.parent),
        "HEADROOM_AGENT_SPOOL": str(folder / "spool"),
        "HEADROOM_NODE": "gpu-7",
        "PYTHONDONTWRITEBYTECODE": "1",
        **more,
    }


def sending(library: Path, folder: Path, url: str) -> dict[str, str]:
    quick = {"HEADROOM_AGENT_INTERVAL_SECONDS": "1", "HEADROOM_AGENT_SEND_SECONDS": "1", "HEADROOM_AGENT_JITTER_SECONDS": "0"}
    return environment(library, folder, HEADROOM_URL=url, HEADROOM_KEY=KEY, **quick)


@contextmanager
def agent(given: dict[str, str], *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "monitoring.agent", *arguments]
    process = subprocess.Popen(command, env=given, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def output(given: dict[str, str], *arguments: str, status: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "monitoring.agent", *arguments], env=given, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def test_a_dry_run_prints_a_reading_and_what_each_gpu_cannot(nvml_library: Path, tmp_path: Path) -> None:
    text = output(environment(nvml_library, tmp_path), "--dry-run")
    assert "accelerator GPU-fake-0  NVIDIA H100 80GB HBM3  position 0" in text and "energy_joules_per_second" in text
    assert "nvmlDeviceGetTotalEnergyConsumption: not supported by this GPU" in text
    assert "accelerator MIG-fake-4-1  NVIDIA A100-SXM4-80GB 2g.20gb" in text
    assert not (tmp_path / "spool").exists()


def test_a_host_without_gpus_is_read_too(tmp_path: Path) -> None:
    text = output({**environment(tmp_path / "none", tmp_path)}, "--dry-run")
    assert "NVML does not answer" in text and "memory_total_bytes" in text


def test_once_reads_sends_and_ends(nvml_library: Path, tmp_path: Path) -> None:
    made = FakeIngest(clock=time.time)
    with serving(made.respond) as server:
        text = output(sending(nvml_library, tmp_path, server.url), "--once")
    assert "samples accepted" in text and len(made.times) == 2 and len(made.bodies) == 1


def test_check_says_what_is_wrong(nvml_library: Path, tmp_path: Path) -> None:
    made = FakeIngest(clock=time.time)
    with serving(made.respond) as server:
        assert "Address and key work." in output(sending(nvml_library, tmp_path, server.url), "--check")
    assert "does not answer" in output(sending(nvml_library, tmp_path, server.url), "--check", status=1)


def test_version_is_told_without_any_setting() -> None:
    assert output({"PATH": os.environ["PATH"]}, "--version").startswith("headroom-agent ")


def test_two_agents_do_not_share_a_spool(nvml_library: Path, tmp_path: Path) -> None:
    made = FakeIngest(clock=time.time)
    with serving(made.respond) as server, agent(sending(nvml_library, tmp_path, server.url)):
        wait_until(lambda: bool(made.bodies), seconds=20, what="a batch")
        output(sending(nvml_library, tmp_path, server.url), status=3)


def test_it_ends_within_five_seconds_and_leaves_nothing_behind(nvml_library: Path, tmp_path: Path) -> None:
    made = FakeIngest(clock=time.time)
    with serving(made.respond) as server, agent(sending(nvml_library, tmp_path, server.url)) as process:
        wait_until(lambda: len(made.times) >= 2, seconds=20, what="two readings")
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0
        assert time.monotonic() - began < 5.0
    assert [*(tmp_path / "spool").glob("*.spool")] == []  # the last try took them along


def test_it_ends_in_time_while_the_server_hangs(nvml_library: Path, tmp_path: Path) -> None:
    with (
        serving(lambda handler: handler.server.release.wait(30) and None) as server,
        agent(sending(nvml_library, tmp_path, server.url)) as process,
    ):
        wait_until(lambda: len(server.seen) >= 1, seconds=20, what="a request that is not answered")
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0
    assert [*(tmp_path / "spool").glob("*.spool")]  # what was not heard is still there


def test_kill_9_loses_and_doubles_nothing(nvml_library: Path, tmp_path: Path) -> None:
    """Nothing that was read is lost: each time that any process wrote to its spool arrives, once."""
    made = FakeIngest(clock=time.time)
    with serving(made.respond) as server:
        for turn in range(3):
            have = len(made.times)
            with agent(sending(nvml_library, tmp_path, server.url)) as process:
                wait_until(lambda have=have: len(made.times) > have, seconds=20, what=f"a reading of turn {turn}")
                process.kill()
        left = [*(tmp_path / "spool").glob("*.spool")]
        text = output(sending(nvml_library, tmp_path, server.url), "--once")
    assert "samples accepted" in text and [*(tmp_path / "spool").glob("*.spool")] == [], left
    assert all(len(body["times"]) == len(set(body["times"])) for body in made.bodies)


CODE = """
import sys, time
began = time.perf_counter()
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"django", "celery", "numpy", "requests", "rest_framework", "msgspec", "psycopg"}:
            raise ImportError("blocked: " + name)
sys.meta_path.insert(0, Block())
import monitoring.agent.__main__
print(time.perf_counter() - began)
"""


def test_it_is_loaded_within_a_second_without_the_server_packages() -> None:
    """The best of three: other tests run beside this one."""
    took = [
        float(subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, check=True).stdout) for _ in range(3)
    ]
    assert min(took) < 1.0


def test_the_base_install_names_what_the_agent_imports() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    assert 'dependencies = ["nvidia-ml-py>=13.615"]' in project and 'headroom-agent = "monitoring.agent.__main__:main"' in project
    blocked = subprocess.run(
        [sys.executable, "-c", CODE.replace('"msgspec"', '"pynvml"')], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert blocked.returncode != 0 and "blocked: pynvml" in blocked.stderr  # the guard above can fail


@pytest.mark.parametrize("word", ["cmdline", "environ"])
def test_nothing_but_the_model_flags_is_read_of_a_command_line(word: str) -> None:
    """Who reads /proc/PID/cmdline is one file, and nobody reads the environment of a process."""
    readers = [path.name for path in (ROOT / "monitoring" / "agent").glob("*.py") if f'"{word}"' in path.read_text()]
    assert readers == (["workloads.py"] if word == "cmdline" else [])
