from pathlib import Path

import pytest

from proxycache.config import kinds


@pytest.mark.parametrize(
    ("kind", "text", "raw"),
    [
        (kinds.TEXT, "a", "a"),
        (kinds.BOOLEAN, "true", True),
        (kinds.BOOLEAN, "0", False),
        (kinds.COUNT, "12", 12),
        (kinds.TEXTS, "a, b", ["a", "b"]),
        (kinds.TEXTS, "", []),
        (kinds.TEXTS, '["a,b"]', ["a,b"]),
        (kinds.ADDRESSES, "[::1]:1,h:2", ["[::1]:1", "h:2"]),
        (kinds.TAG_RULES, '[{match="a", fresh_for="5m"}]', [{"match": "a", "fresh_for": "5m"}]),
    ],
)
def test_a_text_from_outside_becomes_what_toml_would_hold(kind, text, raw):
    assert kind.from_text(text) == raw


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        (kinds.TEXT, "a"),
        (kinds.BOOLEAN, True),
        (kinds.COUNT, 3),
        (kinds.SIZE, "4MiB"),
        (kinds.DURATION, "5m"),
        (kinds.TEXTS, ["a", "b"]),
        (kinds.ADDRESSES, ["127.0.0.1:1", "[::1]:2"]),
        (kinds.TAG_RULES, [{"match": "a", "fresh_for": "forever"}]),
        (kinds.DIRECTORY, "/a"),
    ],
)
def test_a_value_survives_being_read_and_written(kind, raw):
    assert kind.plain(kind.read(raw)) == raw


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        (kinds.TEXT, 1),
        (kinds.BOOLEAN, "yes"),
        (kinds.COUNT, True),
        (kinds.COUNT, 1.5),
        (kinds.SIZE, 5),
        (kinds.DURATION, 5),
        (kinds.TEXTS, "a"),
        (kinds.TEXTS, [1]),
        (kinds.ADDRESSES, 5000),
        (kinds.TAG_RULES, "a"),
        (kinds.TAG_RULES, [{"match": "a"}]),
        (kinds.TAG_RULES, [{"match": "(", "fresh_for": "5m"}]),
        (kinds.TAG_RULES, [{"match": "a", "fresh_for": "soon"}]),
    ],
)
def test_a_value_of_another_kind_is_refused(kind, raw):
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        kind.read(raw)


def test_one_address_needs_no_list():
    assert kinds.ADDRESSES.read("h:1") == kinds.ADDRESSES.read(["h:1"])


def test_a_directory_is_absolute_and_may_begin_at_home():
    assert kinds.DIRECTORY.read("a") == Path.cwd() / "a"
    assert kinds.DIRECTORY.read("~/a") == Path.home() / "a"


def test_a_secret_is_written_as_a_mask():
    assert kinds.SECRET.plain(kinds.SECRET.read("hunter2")) == "***"


@pytest.mark.parametrize(
    "raw",
    [
        "0",
        "20MB/s",
        "512KiB/s",
        [{"hours": "8-18", "rate": "20MB/s"}],
        [{"hours": "22-6", "rate": "0"}, {"hours": "0-24", "rate": "1500B/s"}],
    ],
)
def test_a_bandwidth_is_written_as_it_was_read(raw):
    read = kinds.BANDWIDTH.read(raw)

    assert kinds.BANDWIDTH.read(kinds.BANDWIDTH.plain(read)) == read


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("20MB", "not a rate"),
        ("20MB/h", "not a rate"),
        (20, "must be a rate"),
        ([{"rate": "1MB/s"}], "exactly the keys"),
        ([{"hours": "8", "rate": "1MB/s"}], "hours: '8'"),
        ([{"hours": "8-8", "rate": "1MB/s"}], "hours 8-8"),
        ([{"hours": "8-9", "rate": "fast"}], "not a rate"),
    ],
)
def test_what_is_wrong_with_a_bandwidth_is_named(raw, reason):
    with pytest.raises(ValueError, match=reason):
        kinds.BANDWIDTH.read(raw)


@pytest.mark.parametrize(("text", "rules"), [("0", 0), ("1MB/s", 1), ('[{hours="8-9", rate="1MB/s"}]', 1)])
def test_a_bandwidth_may_come_from_the_environment(text, rules):
    assert len(kinds.BANDWIDTH.read(kinds.BANDWIDTH.from_text(text)).rules) == rules
