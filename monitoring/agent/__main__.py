"""`python -m monitoring.agent`, `headroom-agent`: the agent's command line."""

import argparse
import logging
import os
import signal
import sys
import threading
import time
from importlib import metadata

from monitoring.agent.config import Config, ConfigError, config_read
from monitoring.agent.door import Door, DoorError
from monitoring.agent.gpus import Gpus
from monitoring.agent.host import Host
from monitoring.agent.loop import Agent
from monitoring.agent.processes import Census
from monitoring.agent.sender import Sender
from monitoring.agent.shown import reading_shown, verdict
from monitoring.agent.spool import Bounds, Spool, SpoolBusy
from monitoring.agent.workloads import Workloads

log = logging.getLogger("headroom.agent")
LAST_SEND_SECONDS = 3.0  # of the 5 in which the agent ends


def version() -> str:
    try:
        return metadata.version("headroom")
    except metadata.PackageNotFoundError:  # a checkout that was never installed
        return "0.1.0"


def arguments_read(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="headroom-agent", description="Reads GPUs and the host, and pushes to a Headroom server.")
    parser.add_argument("--config", default="", metavar="FILE", help="settings as TOML; the environment comes first")
    parser.add_argument("--dry-run", action="store_true", help="print one reading with what each GPU can tell; sends nothing")
    parser.add_argument("--once", action="store_true", help="read once, send once, end")
    parser.add_argument("--check", action="store_true", help="try address and key; sends no reading")
    parser.add_argument("--version", action="version", version=f"headroom-agent {version()}")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = arguments_read(sys.argv[1:] if arguments is None else arguments)
    try:
        config = config_read(file=options.config, sending=not options.dry_run)
    except ConfigError as error:
        print(f"headroom-agent: {error}", file=sys.stderr)
        return 2
    logging.basicConfig(level=config.log_level.upper(), format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    if options.dry_run:
        return dry_run(config)
    if options.check:
        return check(config)
    try:
        return work(config, once=options.once)
    except SpoolBusy as error:
        print(f"headroom-agent: {error}", file=sys.stderr)
        return 3


def gpus_of(config: Config) -> Gpus:
    return Gpus(Census(Workloads(config.root / "proc")))


def dry_run(config: Config) -> int:
    """Two readings a moment apart: counters need a pair."""
    host, gpus = Host(config.root), gpus_of(config)
    for pause in (1.0, 0.0):
        values = host.read(monotonic=time.monotonic())
        readings = gpus.read(monotonic=time.monotonic(), now=time.time())
        time.sleep(pause)
    print(reading_shown(config.node, values, readings, gpus))
    gpus.stop()
    return 0


def check(config: Config) -> int:
    """An empty batch: the server answers it like any other, and nothing is stored."""
    door = Door(config.url, config.key, ca_file=config.ca, version=version())
    agent = {"node": config.node, "version": version()}
    body = {"agent": agent, "seq": 0, "sent_at": time.time(), "times": [], "entities": [], "columns": {}}
    try:
        well, words = verdict(door.post_json(body), now=time.time())
    except DoorError as error:
        well, words = False, f"{error}. Check HEADROOM_URL, the network and, for https, HEADROOM_AGENT_CA."
    print(words)
    return 0 if well else 1


def work(config: Config, *, once: bool) -> int:
    bounds = Bounds(bytes=int(config.spool_megabytes * 2**20), age_seconds=config.spool_hours * 3600)
    spool = Spool(config.spool, bounds)
    host = Host(config.root)
    agent = Agent(config.node, version(), config.interval_seconds, host, gpus_of(config), spool, time.time, time.monotonic)
    door = Door(config.url, config.key, ca_file=config.ca, version=version())
    sender = Sender(
        spool,
        door,
        agent,
        time.time,
        time.monotonic,
        send_seconds=config.send_seconds,
        start_jitter_seconds=0.0 if once else config.jitter_seconds,
    )
    if once:
        return work_once(agent, sender)
    log.info("headroom-agent %s on %s: reads each %g s, sends each %g s to %s", version(), config.node, *times_of(config), config.url)
    if config.url.startswith("http://"):
        log.warning("the address is http, so the key travels in the clear; use https beyond this machine")
    ending, drained = threading.Event(), threading.Event()
    sending = threading.Thread(target=sender.run, args=(drained,), name="sender", daemon=True)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: ending.set())
    sending.start()
    agent.run(ending)
    drained.set()  # only now, so that its last try takes the last reading along
    sending.join(LAST_SEND_SECONDS)
    end(agent)
    log.info("ended; %d readings wait in %s", spool.waiting(), config.spool)
    logging.shutdown()
    os._exit(0)  # a sender that waits for an answer does not hold up the end; the spool has all of it


def times_of(config: Config) -> tuple[float, float]:
    return config.interval_seconds, config.send_seconds


def work_once(agent: Agent, sender: Sender) -> int:
    for pause in (1.0, 0.0):
        agent.read(agent.grid_time() if pause == 0.0 else agent.grid_time() - agent.interval_seconds)
        time.sleep(pause)
    sender.step()
    end(agent)
    counts = sender.counts
    print(f"{counts.accepted} samples accepted, {counts.duplicate} known, {counts.rejected} rejected. {sender.trouble}".strip())
    return 0 if counts.accepted + counts.duplicate else 1


def end(agent: Agent) -> None:
    agent.spool.close(now=agent.clock())
    agent.gpus.stop()


if __name__ == "__main__":
    sys.exit(main())
