"""Is this password right, and does the answer give anything away?

bcrypt takes a quarter of a second, so it runs in threads of its own and what it found is remembered: under a hash that
only this process can make, and for as long as the file has the same hash for the user. Who fails too often is not
heard for a while, with the right password neither, and a user who does not exist takes as long as one who does. Of
IPv6 everybody has many addresses: those of a /64 network count as one.
"""

import asyncio
import contextlib
import hashlib
import ipaddress
import logging
import secrets
from collections import Counter, OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

from proxycache.oci.errors import TooManyRequests
from proxycache.registry.users import Users, is_password
from proxycache.store.failures import Failures
from proxycache.tasks import SingleFlight
from proxycache.upstream.settings import Secret

logger = logging.getLogger(__name__)

THREADS = 2
_MOST_WAITING = 64
_MOST_WAITING_OF_ONE = _MOST_WAITING // 4
_MOST_REMEMBERED = 1024
# Of nobody's password; where there are users, the hash of one of them takes its place.
_NO_HASH = b"$2b$12$" + b"." * 53

_Attempt: TypeAlias = tuple[str, bytes]


class SignIn:
    """Checks passwords; `threads` are for nothing else."""

    def __init__(self, users: Users, failures: Failures, threads: ThreadPoolExecutor) -> None:
        self._users = users
        self._failures = failures
        self._threads = threads
        self._key = secrets.token_bytes(32)
        self._verified: OrderedDict[_Attempt, bytes] = OrderedDict()
        self._checks: SingleFlight[tuple[_Attempt, str], bool] = SingleFlight()
        self._waiting: Counter[str] = Counter()  # by whence they come

    async def is_right(self, user: str, password: Secret, address: str) -> bool:
        """Tell whether that is the user's password. Raises TooManyRequests, or StoreUnusable where nobody can know."""
        hashes = await self._users.hashes()
        seconds = self._failures.blocked_seconds(user, _whence(address))
        if seconds:
            raise _not_heard(seconds)
        hashed = hashes.get(user)
        attempt = (user, self._mark(password))
        if hashed is not None and self._verified.get(attempt) == hashed:
            return True
        like = hashed or max(hashes.values(), key=_cost, default=_NO_HASH)
        check = self._checks.start_or_join(
            (attempt, address), lambda: self._check(attempt, address, password, like, is_known=hashed is not None)
        )
        return await asyncio.shield(check)

    async def _check(self, attempt: _Attempt, address: str, password: Secret, hashed: bytes, *, is_known: bool) -> bool:
        user, whence = attempt[0], _whence(address)
        with self._wait(whence):
            loop = asyncio.get_running_loop()
            matches = await loop.run_in_executor(self._threads, self._try, (user, whence), password, hashed, is_known)
        if matches:
            self._remember(attempt, hashed)
        else:
            logger.warning("sign-in failed", extra={"user": user if is_known else "(unknown)", "remote": address})
        return matches

    @contextlib.contextmanager
    def _wait(self, whence: str) -> Iterator[None]:
        """Take a place among those who wait; raises TooManyRequests. One address leaves room for others."""
        if self._waiting.total() >= _MOST_WAITING or self._waiting[whence] >= _MOST_WAITING_OF_ONE:
            raise TooManyRequests("too many sign-ins at once", 1.0)
        self._waiting[whence] += 1
        try:
            yield
        finally:
            self._waiting -= Counter((whence,))  # which leaves no zeros

    def _try(self, who: tuple[str, str], password: Secret, hashed: bytes, is_known: bool) -> bool:  # noqa: FBT001
        """Run in a thread; raises TooManyRequests where an attempt before this one was the last."""
        seconds = self._failures.add(*who)  # at first, so that of many at once no more are heard
        if seconds:
            raise _not_heard(seconds)
        if is_password(password.reveal(), hashed) and is_known:
            self._failures.take_back(*who)
            return True
        return False

    def _remember(self, attempt: _Attempt, hashed: bytes) -> None:
        self._verified[attempt] = hashed
        if len(self._verified) > _MOST_REMEMBERED:
            self._verified.popitem(last=False)

    def _mark(self, password: Secret) -> bytes:
        return hashlib.blake2b(password.reveal().encode(errors="replace"), key=self._key, digest_size=32).digest()


def _not_heard(seconds: float) -> TooManyRequests:
    return TooManyRequests("too many failed sign-ins", seconds)


def _whence(address: str) -> str:
    """Return the address, or the network that one client has of IPv6."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:  # of a peer that has none
        return address
    if parsed.version == 4 or parsed.ipv4_mapped is not None:
        return address
    return str(ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))


def _cost(hashed: bytes) -> bytes:
    return hashed[4:6]
