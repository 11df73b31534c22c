"""Is this password right, and does the answer give anything away?

bcrypt takes a quarter of a second, so it runs in threads of its own and what it found is remembered: under a hash that
only this process can make, and for as long as the file has the same hash for the user. Who fails too often is not
heard for a while, with the right password neither, and a user who does not exist takes as long as one who does.
"""

import asyncio
import hashlib
import logging
import secrets
from collections import OrderedDict
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
        self._waiting = 0

    async def is_right(self, user: str, password: Secret, address: str) -> bool:
        """Tell whether that is the user's password. Raises TooManyRequests, or StoreUnusable where nobody can know."""
        hashes = await self._users.hashes()
        self._require_patience(user, address)
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
        if self._waiting >= _MOST_WAITING:
            raise TooManyRequests("too many sign-ins at once", 1.0)
        user = attempt[0]
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            matches = await loop.run_in_executor(self._threads, self._try, (user, address), password, hashed, is_known)
        finally:
            self._waiting -= 1
        if matches is False:
            logger.warning("sign-in failed", extra={"user": user if is_known else "(unknown)", "remote": address})
            return False
        self._require_patience(user, address)  # who is right when others have just failed too often hears no yes
        if matches:
            self._remember(attempt, hashed)
        return bool(matches)

    def _try(self, who: tuple[str, str], password: Secret, hashed: bytes, is_known: bool) -> bool | None:  # noqa: FBT001
        """Run in a thread; None for who may not try, since an attempt before this one was the last."""
        if self._failures.blocked_seconds(*who):
            return None
        if is_password(password.reveal(), hashed) and is_known:
            return True
        self._failures.add(*who)
        return False

    def _require_patience(self, user: str, address: str) -> None:
        seconds = self._failures.blocked_seconds(user, address)
        if seconds:
            raise TooManyRequests("too many failed sign-ins", seconds)

    def _remember(self, attempt: _Attempt, hashed: bytes) -> None:
        self._verified[attempt] = hashed
        if len(self._verified) > _MOST_REMEMBERED:
            self._verified.popitem(last=False)

    def _mark(self, password: Secret) -> bytes:
        return hashlib.blake2b(password.reveal().encode(errors="replace"), key=self._key, digest_size=32).digest()


def _cost(hashed: bytes) -> bytes:
    return hashed[4:6]
