"""The rooms of the package and what each may import, as data; nothing else passes.

A room is a folder of the package or a module beside them. A pattern allows what it names and all below it; `*` stands
for one part of a name. Every import counts, those for type checking only and those inside of functions included.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "proxycache"
MODULES = sorted(PACKAGE.rglob("*.py"))
LEAVES = ("clock", "events", "tasks")
# What does I/O, waits, or asks what time it is.
IMPURE = ("asyncio", "datetime", "os", "pathlib", "random", "socket", "sqlite3", "subprocess", "threading", "time")
BANNED_NAMES = {
    "utils", "helpers", "common", "misc", "base", "core", "manager", "types", "models", "constants",
}  # fmt: skip
MOST_LINES = 400
MOST_STATEMENTS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What a room may import besides itself and the standard library; `never` takes away from both."""

    ours: tuple[str, ...] = ()
    third_party: tuple[str, ...] = ()
    never: tuple[str, ...] = ()


WIRING = Room(ours=("*",), third_party=("aiohttp",))
ROOMS = {
    "oci": Room(third_party=("msgspec",), never=IMPURE),
    "policy": Room(ours=("oci",), never=IMPURE),
    "store": Room(ours=("oci", *LEAVES), third_party=("aiosqlite",)),
    "upstream": Room(
        ours=("oci", "policy", *LEAVES), third_party=("aiohttp", "msgspec", "multidict", "yarl"), never=("aiohttp.web",)
    ),
    "registry": Room(ours=("oci", "policy", "store", "upstream", *LEAVES), third_party=("bcrypt", "jwt", "msgspec")),
    "transfer": Room(ours=("oci", "policy", "store", "upstream", "registry", *LEAVES)),
    "maintenance": Room(ours=("oci", "policy", "store", "upstream", "registry", *LEAVES)),
    "observe": Room(ours=LEAVES, third_party=("prometheus_client",)),
    "web": Room(
        ours=("oci", "registry", "transfer", "maintenance", "observe", "*.errors", *LEAVES),
        third_party=("aiohttp", "msgspec", "multidict"),
    ),
    "config": Room(ours=("*.settings", "*.errors", "policy"), third_party=("msgspec", "platformdirs")),
    "app": WIRING,
    "server": WIRING,
    # typer and rich stay here, so that no worker loads them.
    "cli": Room(ours=("*",), third_party=("rich", "typer")),
    "__init__": Room(),
    "__main__": Room(ours=("cli",)),
} | dict.fromkeys(LEAVES, Room())


def room_of(module: Path) -> str:
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_names(tree: ast.AST) -> Iterator[str]:
    """Yield each imported name with its module's: `from a import b` imports `a.b`; a relative one starts with a dot."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from (f"{module}.{alias.name}" for alias in node.names)


def matches(name: str, pattern: str) -> bool:
    parts, wanted = name.split("."), pattern.split(".")
    return len(parts) >= len(wanted) and all(want in ("*", part) for part, want in zip(parts, wanted, strict=False))


def is_allowed(name: str, room_name: str) -> bool:
    room = ROOMS[room_name]
    if any(matches(name, pattern) for pattern in room.never):
        return False
    top, _, rest = name.partition(".")
    if top == "proxycache":
        return any(matches(rest, pattern) for pattern in (room_name, *room.ours))
    return top in sys.stdlib_module_names or any(matches(name, pattern) for pattern in room.third_party)


def shown(module: Path) -> str:
    return str(module.relative_to(ROOT))


@pytest.mark.parametrize("module", MODULES, ids=shown)
def test_a_module_imports_only_what_its_room_may(module):
    names = set(imported_names(ast.parse(module.read_text())))

    assert not sorted(name for name in names if not is_allowed(name, room_of(module)))


@pytest.mark.parametrize(
    ("room", "line", "allowed"),
    [
        ("oci", "import asyncio", False),
        ("oci", "from os import path", False),
        ("oci", "import os.path", False),
        ("policy", "from proxycache.clock import Clock", False),
        ("policy", "import msgspec", False),
        ("store", "if TYPE_CHECKING:\n    from proxycache.upstream.client import UpstreamClient", False),
        ("store", "def late():\n    from proxycache import web", False),
        ("store", "from . import blobs", False),
        ("store", "from proxycache.store.blobs import BlobStore", True),
        ("upstream", "from aiohttp import web", False),
        ("upstream", "from aiohttp import ClientSession", True),
        ("registry", "import aiohttp", False),
        ("web", "from proxycache.store.errors import StoreError", True),
        ("web", "from proxycache.store.blobs import BlobStore", False),
        ("config", "from proxycache.upstream.settings import UpstreamSettings", True),
        ("config", "from proxycache.upstream.client import UpstreamClient", False),
        ("server", "import typer", False),
        ("cli", "from proxycache.upstream.client import UpstreamClient", True),
    ],
)
def test_the_table_is_enforced(room, line, allowed):
    assert all(is_allowed(name, room) for name in imported_names(ast.parse(line))) is allowed


@pytest.mark.parametrize("module", MODULES, ids=shown)
def test_a_modules_name_says_what_is_in_it(module):
    assert module.stem not in BANNED_NAMES
    assert module.parent.name not in BANNED_NAMES


@pytest.mark.parametrize("module", MODULES, ids=shown)
def test_a_file_fits_in_the_head(module):
    assert len(module.read_text().splitlines()) <= MOST_LINES


@pytest.mark.parametrize("module", MODULES, ids=shown)
def test_a_function_fits_in_one_look(module):
    functions = [
        node
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    sizes = {
        function.name: sum(isinstance(node, ast.stmt) for node in ast.walk(function)) - 1 for function in functions
    }

    assert not {name: size for name, size in sizes.items() if size > MOST_STATEMENTS}
