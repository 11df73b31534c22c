"""The memory of ready answers: bounded, and true only as long as nothing was committed."""

from dataclasses import replace

import pytest

from proxycache.oci.digest import Digest
from proxycache.oci.errors import UpstreamFailed
from proxycache.web.answers import AnswerMemory, ReadyAnswer, prepare_head

ANSWER = ReadyAnswer(
    status=200,
    head=b"h",
    body=b"b",
    kind="blob",
    revocations=1,
    fresh_until=100.0,
    digest=Digest(algorithm="sha256", encoded="0" * 64),
)


def key(name: str) -> tuple[str, str, str]:
    return ("GET", f"/v2/{name}/manifests/1", "cache")


def find(memory: AnswerMemory, name: str, *, revocations: int = 1, now: float = 50.0) -> ReadyAnswer | None:
    return memory.find(key(name), lambda: revocations, lambda: now)


def test_an_answer_is_found_by_what_was_asked():
    memory = AnswerMemory()

    memory.remember(key("a"), ANSWER)

    assert find(memory, "a") is ANSWER
    assert find(memory, "b") is None


def test_an_answer_ends_with_the_next_commit():
    memory = AnswerMemory()
    memory.remember(key("a"), ANSWER)

    assert find(memory, "a", revocations=2) is None
    assert find(memory, "a", revocations=1) is None


def test_an_answer_ends_when_it_is_no_longer_fresh():
    memory = AnswerMemory()
    memory.remember(key("a"), ANSWER)

    assert find(memory, "a", now=99.9) is ANSWER
    assert find(memory, "a", now=100.0) is None


def test_what_was_not_used_for_longest_makes_room():
    memory = AnswerMemory(most_bytes=3 * ANSWER.cost)  # room for two with their keys
    memory.remember(key("a"), ANSWER)
    memory.remember(key("b"), ANSWER)
    find(memory, "a")

    memory.remember(key("c"), ANSWER)

    assert [name for name in "abc" if find(memory, name)] == ["a", "c"]


def test_remembering_again_takes_no_more_room():
    memory = AnswerMemory(most_bytes=3 * ANSWER.cost)
    memory.remember(key("a"), ANSWER)

    for _ in range(10):
        memory.remember(key("b"), ANSWER)

    assert find(memory, "a") is ANSWER


def test_an_answer_larger_than_the_memory_is_not_kept():
    memory = AnswerMemory(most_bytes=100)

    memory.remember(key("a"), replace(ANSWER, body=b"x" * 1000))

    assert find(memory, "a") is None


def test_what_was_asked_takes_room_too():
    memory = AnswerMemory(most_bytes=3 * ANSWER.cost)
    memory.remember(key("a"), ANSWER)

    memory.remember(("GET", "/v2/b/manifests/1", "h" * 2 * ANSWER.cost), ANSWER)

    assert find(memory, "a") is None


@pytest.mark.parametrize(
    ("query", "is_remembered"),
    [("", True), ("?ns=ghcr.io", True), ("?q=1", False), ("?ns=ghcr.io&q=1", False), ("?ns=a?ns=b&c", False)],
)
def test_only_a_query_that_makes_a_difference_is_remembered(query, is_remembered):
    memory, target = AnswerMemory(), ("GET", f"/v2/a/manifests/1{query}", "cache")

    memory.remember(target, ANSWER)

    assert (memory.find(target, lambda: 1, lambda: 50.0) is ANSWER) is is_remembered


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: b", "a\n", "\r", "a\0b", "\x7f", "\u20ac", "\udc80"])
def test_a_value_that_is_no_header_is_refused(value):
    with pytest.raises(UpstreamFailed) as caught:
        prepare_head(200, {"Content-Type": value})

    assert caught.value.status == 502
    assert (str(caught.value).isascii(), str(caught.value).isprintable()) == (True, True)


def test_a_head_is_what_http_says():
    head = prepare_head(200, {"Content-Length": "5", "ETag": '"x"'})

    assert head == b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: "x"\r\n'
