"""What a check of a password costs, what is remembered of it, and what it does not tell."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import bcrypt
import pytest

from proxycache.oci.errors import TooManyRequests
from proxycache.registry.sign_in import SignIn
from proxycache.registry.users import Users, hash_password, is_password
from proxycache.store.failures import MOST_FAILURES, Failures
from proxycache.upstream.settings import Secret
from tests.fakes.clock import FakeClock

RIGHT, WRONG = Secret("right"), Secret("wrong")


class CountedThreads(ThreadPoolExecutor):
    """Threads that tell how often somebody had something checked."""

    count = 0

    def submit(self, *arguments, **named):
        self.count += 1
        return super().submit(*arguments, **named)


@pytest.fixture
def path(tmp_path) -> Path:
    path = tmp_path / "users"
    write(path, "right")
    return path


def write(path: Path, password: str) -> None:
    path.write_bytes(b"ann:" + bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)) + b"\n")


@pytest.fixture
def threads():
    with CountedThreads(2) as threads:
        yield threads


@pytest.fixture
def sign_in(path, threads, tmp_path):
    failures = Failures(tmp_path / "failures", b"k" * 32, FakeClock())
    yield SignIn(Users(path), failures, threads)
    failures.close()


async def test_a_right_password_is_checked_once(sign_in, threads):
    assert [await sign_in.is_right("ann", RIGHT, "::1") for _ in range(3)] == [True] * 3
    assert threads.count == 1


async def test_all_who_ask_at_once_share_a_check(sign_in, threads):
    answers = [asyncio.ensure_future(sign_in.is_right("ann", RIGHT, "::1")) for _ in range(20)]  # noqa: TID251

    assert [await each for each in answers] == [True] * 20
    assert threads.count == 1


async def test_a_wrong_password_and_a_stranger_are_checked_each_time(sign_in, threads):
    answers = [await sign_in.is_right(user, WRONG, "::1") for user in ("ann", "bob", "ann", "bob")]

    assert (answers, threads.count) == ([False] * 4, 4)


async def test_a_stranger_with_a_users_password_is_not_that_user(sign_in):
    assert not await sign_in.is_right("bob", RIGHT, "::1")


async def test_a_password_counts_until_the_file_says_another(sign_in, path):
    assert await sign_in.is_right("ann", RIGHT, "::1")
    write(path, "other")

    assert not await sign_in.is_right("ann", RIGHT, "::1")
    assert await sign_in.is_right("ann", Secret("other"), "::1")


async def test_who_is_not_heard_costs_no_check(sign_in, threads):
    for number in range(MOST_FAILURES):
        await sign_in.is_right("ann", Secret(f"wrong{number}"), "::1")

    with pytest.raises(TooManyRequests):
        await sign_in.is_right("ann", RIGHT, "::1")
    assert threads.count == MOST_FAILURES


async def test_attempts_at_once_are_no_way_around_the_limit(sign_in):
    async def attempt(number: int) -> bool | None:
        try:
            return await sign_in.is_right("ann", RIGHT if number == 59 else Secret(f"wrong{number}"), "::1")
        except TooManyRequests:
            return None

    async with asyncio.TaskGroup() as group:
        answers = [group.create_task(attempt(number)) for number in range(60)]

    told = [each.result() for each in answers]
    assert (told.count(True), told[59]) == (0, None)
    assert told.count(False) == MOST_FAILURES


async def test_who_is_right_is_not_counted(sign_in, path):
    for number in range(MOST_FAILURES + 1):
        write(path, f"right{number}")
        assert await sign_in.is_right("ann", Secret(f"right{number}"), "::1")


@pytest.mark.parametrize(
    ("address", "is_heard"),
    [("2001:db8::ffff:1", False), ("2001:db8:0:1::1", True), ("192.0.2.1", True), ("", True), ("fe80::1%eth0", True)],
)
async def test_addresses_that_one_client_has_count_as_one(sign_in, address, is_heard):
    for number in range(MOST_FAILURES):
        await sign_in.is_right("ann", Secret(f"wrong{number}"), f"2001:db8::{number}")

    try:
        assert await sign_in.is_right("ann", RIGHT, address) is is_heard
    except TooManyRequests:
        assert not is_heard


@pytest.mark.parametrize(("addresses", "heard"), [(10, 64), (1, 16)])
async def test_too_many_at_once_are_told_to_come_again(sign_in, threads, addresses, heard):
    gate = threading.Event()
    for _ in range(2):
        threads.submit(gate.wait)

    async def attempt(number: int) -> str:
        try:
            return str(await sign_in.is_right(f"stranger{number}", WRONG, f"192.0.2.{number % addresses}"))
        except TooManyRequests as error:
            return error.message

    async with asyncio.TaskGroup() as group:
        answers = [group.create_task(attempt(number)) for number in range(100)]
        while sum(each.done() for each in answers) < 100 - heard:
            await asyncio.sleep(0)
        gate.set()

    assert [each.result() for each in answers].count("too many sign-ins at once") == 100 - heard


async def test_the_memory_of_passwords_does_not_grow_without_end(sign_in, path, monkeypatch):
    monkeypatch.setattr("proxycache.registry.sign_in._MOST_REMEMBERED", 3)
    hashed = bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode()
    path.write_text("".join(f"user{number}:{hashed}\n" for number in range(6)))

    for number in range(6):
        assert await sign_in.is_right(f"user{number}", RIGHT, "::1")

    assert len(sign_in._verified) == 3


@pytest.mark.parametrize("password", ["", "x" * 73, "a\0b", "ä" * 37])
def test_what_bcrypt_would_not_tell_apart_is_no_password(password):
    with pytest.raises(ValueError, match="the password"):
        hash_password(password)


@pytest.mark.parametrize("password", ["", "x", "a\0b", "\0", "x" * 5000, "\ud800"])
def test_any_text_can_be_held_against_a_hash(password):
    assert not is_password(password, bcrypt.hashpw(b"right", bcrypt.gensalt(4)))


def test_a_long_password_counts_as_others_hashed_it():
    assert is_password("x" * 80, bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4)))
