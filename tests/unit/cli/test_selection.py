"""What an argument of `purge` means."""

from pathlib import Path

import pytest

from proxycache.cli.opened_store import load
from proxycache.cli.selection import Selection, parse_selection
from proxycache.config.model import Settings
from proxycache.oci.digest import digest_of
from proxycache.oci.errors import ProxycacheError

DIGEST = digest_of(b"manifest")
PYTHON = "docker.io/library/python"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load(None, str(tmp_path))


@pytest.mark.parametrize(
    ("text", "selection"),
    [
        ("python", Selection(name=PYTHON)),
        ("python:3.11", Selection(name=PYTHON, tag="3.11")),
        ("python:3.1*", Selection(name=PYTHON, tag="3.1*")),
        (f"python@{DIGEST}", Selection(name=PYTHON, digest=DIGEST)),
        (f"library/*@{DIGEST}", Selection(name="docker.io/library/*", digest=DIGEST)),
        ("docker.io/library/*", Selection(name="docker.io/library/*")),
        ("library/*", Selection(name="docker.io/library/*")),
        ("py*:V?-*", Selection(name="docker.io/library/py*", tag="V?-*")),
        ("ghcr.io/**:1", Selection(name="ghcr.io/**", tag="1")),
        ("gone.test:5000/**", Selection(name="gone.test:5000/**")),
    ],
)
def test_a_selection_is_of_canonical_names(settings: Settings, text: str, selection: Selection) -> None:
    assert parse_selection(settings, text) == selection


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Python", "invalid repository name"),
        ("python:", "tag"),
        ("python:a b*", "tag"),
        ("python:[0-9]", "tag"),
        ("python@sha256:1", "digest"),
        (f"python:3@{DIGEST}", "invalid repository name"),
        ("lib[ab]/*", "is no pattern of repositories"),
        ("library/a**", "only a piece of a part"),
        ("gone.test/app", "no such registry is configured"),
        ("local/app", "local/app: lives here"),
        ("local/*:1", r"local/\*: lives here"),
    ],
)
def test_what_means_nothing_is_one_line(settings: Settings, text: str, why: str) -> None:
    with pytest.raises(ProxycacheError, match=why) as raised:
        parse_selection(settings, text)

    assert "\n" not in str(raised.value)


def test_a_pattern_of_names_means_those_that_are_held() -> None:
    held = [PYTHON, "docker.io/org/python", "ghcr.io/library/python", "local/python"]

    assert Selection(name="docker.io/library/*").find_names(held) == [PYTHON]
    assert Selection(name="*.io/**").find_names(held) == held[:3]
    assert Selection(name="docker.io/library/perl").find_names(held) == ["docker.io/library/perl"]


def test_a_pattern_of_tags() -> None:
    selection = Selection(name=PYTHON, tag="3.1*")

    assert [tag for tag in ("3.1", "3.12-slim", "3", "23.1") if selection.names_tag(tag)] == ["3.1", "3.12-slim"]
