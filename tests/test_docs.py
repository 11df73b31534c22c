"""The README says what the code does: its settings table and its commands."""

import json
import re
from pathlib import Path

from proxycache.config.keys import UPSTREAM_KEYS, effective_values
from proxycache.config.load import load_settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
ROW = re.compile(r"^\| `([\w.]+)` \| `(.+?)` \|", re.MULTILINE)


def documented() -> dict[str, object]:
    return {key: json.loads(default) for key, default in ROW.findall(README)}


def effective(directory: Path) -> dict[str, object]:
    """Return each key with its default; an upstream's are those of one that only a section's name adds."""
    file = directory / "proxycache.toml"
    file.write_text('[upstreams."example.org"]\n')
    loaded = load_settings(config_file=file, environment={}, flags={})
    values = effective_values(loaded.settings)
    sections = {".".join(path): value for path, value in values.items() if path[0] != "upstreams"}
    upstream = {f"upstreams.NAME.{key}": values["upstreams", "example.org", key] for key in UPSTREAM_KEYS}
    return sections | upstream


def test_settings_table_has_every_key_and_no_other(tmp_path):
    assert set(documented()) == set(effective(tmp_path))


def test_settings_table_has_the_defaults(tmp_path):
    written, real = documented(), effective(tmp_path)
    for key in ("storage.directory", "upstreams.NAME.url"):  # empty there: the text says what that means
        assert written.pop(key) == ""
        assert real.pop(key)
    real["server.listen"] = real["server.listen"][0]

    assert written == real


def test_commands_of_the_readme_exist():
    commands = re.findall(r"proxycache (serve|config)\b", README)

    assert {"serve", "config"} <= set(commands)


def test_what_the_design_names_is_there():
    design = (ROOT / "docs" / "design.md").read_text()
    modules = re.findall(r"`((?:oci|policy|store|upstream|registry|web)/\w+)`", design)
    tests = re.findall(r"`(tests/[\w/.]+)`", design)

    assert [name for name in modules if not (ROOT / "proxycache" / f"{name}.py").exists()] == []
    assert [name for name in tests if not (ROOT / name).exists()] == []
    assert len(modules) > 20
