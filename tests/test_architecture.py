"""The house's rules, held by reading its files: which room may import which, how long files and functions may be."""

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
WINGS = ("monitoring", "capacity")
FILE_LINES, FUNCTION_LINES = 500, 80

# room -> the rooms of ours it may import. The table of house-style, section 1, and design, section 10.1.
M_ALL = {
    f"monitoring.{room}"
    for room in (
        "catalog",
        "http",
        "prometheus",
        "models",
        "access",
        "store",
        "ingest",
        "rollups",
        "retention",
        "series",
        "sources",
        "slots",
        "agents",
        "alerts",
    )
}
ROOMS: dict[str, set[str]] = {
    "monitoring.catalog": set(),
    "monitoring.agent": {"monitoring.catalog"},  # runs on the GPU host
    "monitoring.http": set(),  # the guarded client: the only user of requests
    "monitoring.prometheus": {"monitoring.catalog", "monitoring.http"},
    "monitoring.models": {"monitoring.catalog"},
    "monitoring.slots": {"monitoring.models"},  # one run per job and slot, for the tasks of both wings
    "monitoring.access": {"monitoring.models"},
    "monitoring.store": {"monitoring.catalog", "monitoring.models"},  # the one place with raw SQL on telemetry
    "monitoring.ingest": {"monitoring.catalog", "monitoring.models", "monitoring.store"},
    "monitoring.rollups": {"monitoring.catalog", "monitoring.models", "monitoring.store"},
    "monitoring.retention": {"monitoring.catalog", "monitoring.models", "monitoring.store"},
    "monitoring.series": {"monitoring.catalog", "monitoring.models", "monitoring.store"},
    # Rules, lifecycle, outbox, channels: access keeps the channels' secrets, sources the addresses that may be called.
    "monitoring.alerts": {f"monitoring.{room}" for room in ("access", "catalog", "http", "models", "series", "sources")},
    "monitoring.sources": M_ALL - {"monitoring.sources", "monitoring.slots", "monitoring.agents", "monitoring.alerts"},
    # What agents send, resolved to rows: the door itself stands in api.
    "monitoring.agents": {f"monitoring.{room}" for room in ("access", "catalog", "ingest", "models", "sources", "store")},
    "monitoring.api": {
        "monitoring.access",
        "monitoring.agents",
        "monitoring.alerts",  # one click that takes an address off
        "monitoring.ingest",
        "monitoring.models",
        "monitoring.catalog",
        "monitoring.series",
    },
    "monitoring.tasks": set(M_ALL),
    "capacity.engine": set(),
    "capacity.models": {"monitoring.models"},
    "capacity.analysis": {
        *("capacity.engine", "capacity.models", "monitoring.catalog", "monitoring.models", "monitoring.series"),
        "monitoring.alerts",  # findings are raised, alerts enriched
    },
    "capacity.exports": {"capacity.analysis"},  # a plan as the files others read: HPA, KEDA, JSON
    "capacity.demo": {
        "capacity.engine",
        "capacity.models",
        "capacity.analysis",
        *(M_ALL - {"monitoring.slots", "monitoring.agents", "monitoring.alerts"}),
    },
    "capacity.dashboards": {
        *("capacity.engine", "capacity.models", "capacity.analysis", "capacity.demo", "capacity.exports"),
        *("monitoring.access", "monitoring.alerts", "monitoring.catalog", "monitoring.models", "monitoring.series", "monitoring.sources"),
    },
    "capacity.api": {
        *(
            "capacity.engine",
            "capacity.models",
            "capacity.analysis",
            "capacity.exports",
            "monitoring.api",
        ),  # monitoring.api: one shape of errors for both APIs
        *("monitoring.access", "monitoring.alerts", "monitoring.catalog", "monitoring.models", "monitoring.series", "monitoring.sources"),
    },
    "capacity.tasks": {"capacity.models", "capacity.analysis", "capacity.demo", "monitoring.models", "monitoring.slots"},
    "capacity.supervisor": set(),  # what `make up` runs; no Django in its process
}
EVERYTHING = {"capacity.config"}  # may import all; nobody imports it
WITHOUT_DJANGO = (
    "monitoring.catalog",
    "monitoring.agent",
    "monitoring.http",
    "monitoring.prometheus",
    "capacity.engine",
    "capacity.supervisor",
)
# May use every room of the own wing.
SIDE_DOORS = ("apps", "admin", "migrations", "management")
FILES = sorted(path for wing in WINGS for path in (ROOT / wing).rglob("*.py"))


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    return ".".join(module.split(".")[:2])


def modules_imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            module = node.module or ""
            # `from monitoring import slots` names a room in its second half.
            yield from (f"{module}.{alias.name}" for alias in node.names) if module in WINGS else iter([module])


def rooms_imported(path: Path) -> set[str]:
    names = modules_imported(tree_of(path))
    return {room_of(name) for name in names if name.split(".")[0] in WINGS} - {room_of(module_of(path))}


def allowed_to(module: str) -> set[str]:
    room = room_of(module)
    if room in EVERYTHING:
        return set(ROOMS)
    if room.split(".")[-1] in SIDE_DOORS:
        wing = room.split(".")[0]
        own = {name for name in ROOMS if name.startswith(wing)}
        return own | (M_ALL if wing == "capacity" else set())
    return ROOMS[room]


def names(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", FILES, ids=names)
class TestEachFile:
    def test_stands_in_a_room_of_the_table(self, path: Path) -> None:
        module = module_of(path)
        if module not in WINGS:
            assert room_of(module) in {*ROOMS, *EVERYTHING} or room_of(module).split(".")[-1] in SIDE_DOORS

    def test_imports_only_the_rooms_it_may(self, path: Path) -> None:
        module = module_of(path)
        if module not in WINGS:
            assert rooms_imported(path) - set(WINGS) <= allowed_to(module)

    def test_has_no_relative_star_or_hidden_import(self, path: Path) -> None:
        tree = tree_of(path)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"line {node.lineno}: relative import"
                assert all(alias.name != "*" for alias in node.names), f"line {node.lineno}: star import"
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                inner = [child.lineno for child in ast.walk(node) if isinstance(child, ast.Import | ast.ImportFrom)]
                assert not inner, f"line {inner}: import inside the function {node.name}"

    def test_is_short_and_so_are_its_functions(self, path: Path) -> None:
        text = path.read_text()
        if "migrations" in path.parts:
            return
        assert len(text.splitlines()) <= FILE_LINES
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert (node.end_lineno or 0) - node.lineno + 1 <= FUNCTION_LINES, f"{node.name} is too long"


def test_rooms_do_not_import_in_a_circle() -> None:
    order: list[str] = []
    left = dict(ROOMS)
    while left:
        free = [room for room, needs in left.items() if needs <= set(order)]
        assert free, f"a circle among {sorted(left)}"
        order += free
        left = {room: needs for room, needs in left.items() if room not in free}


def test_monitoring_never_imports_capacity() -> None:
    assert not [room for room, needs in ROOMS.items() if room.startswith("monitoring") and any(n.startswith("capacity") for n in needs)]


def test_every_room_of_the_table_exists() -> None:
    assert {room_of(module_of(path)) for path in FILES} >= {*ROOMS, *EVERYTHING}


def test_the_root_of_capacity_stays_empty() -> None:
    assert not (ROOT / "capacity" / "__init__.py").read_text().strip()


@pytest.mark.parametrize("room", WITHOUT_DJANGO)
def test_a_room_without_django_loads_neither_django_nor_celery(room: str) -> None:
    modules = [module_of(path) for path in FILES if room_of(module_of(path)) == room and path.name != "__main__.py"]
    program = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    loaded = {'django', 'celery'} & set(sys.modules)\n"
        "    assert not loaded, f'{name} loads {loaded}'\n"
    )
    done = subprocess.run([sys.executable, "-c", program, *modules], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
