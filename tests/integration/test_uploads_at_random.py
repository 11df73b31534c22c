"""Any story of an upload: split anyhow, repeated, out of order, cut, over any worker and restart, as a model says."""

import random

import pytest

from tests.builders import blob
from tests.integration.harness import Cache
from tests.integration.uploading import (
    NAME,
    begin,
    finish,
    is_linked,
    offset,
    patch,
    patch_chunked,
    raw_request,
    sessions,
    stored,
)

SIZE = 2_000_000
STEPS = 40


class Story:
    """One session to which anything happens, in an order that the seed decides; `here` is how much it has."""

    def __init__(self, start, seed: int) -> None:
        self._start = start
        self._chance = random.Random(seed)
        self._algorithm = self._chance.choice(["sha256", "sha512"])
        self.wanted = blob(SIZE, seed=f"story {seed}", algorithm=self._chance.choice(["sha256", "sha512"]))
        self.here = 0

    async def begin(self) -> None:
        self._workers = [await self._start(), await self._start()]
        self._location = await begin(self.worker, f"?digest-algorithm={self._algorithm}")

    @property
    def worker(self) -> Cache:
        return self._chance.choice(self._workers)

    async def happen(self) -> None:
        events = [self.append, self.stream, self.repeat, self.skip, self.cut, self.restart]
        await self._chance.choices(events, weights=[8, 5, 2, 2, 3, 1])[0]()
        status = await offset(self.worker, self._location)
        assert status == max(self.here, 1)

    def _choose_piece(self) -> bytes:
        size = min(self._chance.choice([1, 100, 70_000, 200_000]), SIZE - 1 - self.here)
        return self.wanted.body[self.here : self.here + size]

    async def append(self) -> None:
        piece = self._choose_piece()
        start = self._chance.choice([None, self.here]) if piece else None
        assert (await patch(self.worker, self._location, piece, start)).status == 202
        self.here += len(piece)

    async def stream(self) -> None:
        piece = self._choose_piece()
        middle = self._chance.randrange(len(piece) + 1)
        pieces = [part for part in (piece[:middle], piece[middle:]) if part]
        assert (await patch_chunked(self.worker, self._location, pieces)).status == 202
        self.here += len(piece)

    async def repeat(self) -> None:
        if self.here:
            first = self._chance.randrange(self.here)
            await self._send_out_of_order(first, self.wanted.body[first : self.here])

    async def skip(self) -> None:
        first = self._chance.randrange(self.here + 1, SIZE + 100)
        await self._send_out_of_order(first, b"x" * self._chance.randrange(1, 1000))

    async def _send_out_of_order(self, first: int, piece: bytes) -> None:
        if self._chance.random() < 0.5:
            answer = await patch(self.worker, self._location, piece, first)
        else:
            answer = await finish(self.worker, self._location, self.wanted.digest, piece, first)
        assert answer.status == 416

    async def cut(self) -> None:
        """Leave in the middle; the next request, which waits for this one's end, finds what came of it."""
        piece = self._choose_piece()
        async with raw_request(self.worker, "PATCH", self._location, f"Content-Length: {len(piece) + 1}") as (_, out):
            out.write(piece)
            await out.drain()
        assert (await patch(self.worker, self._location, b"")).status == 202
        record = await self.worker.parts.uploads.find(self._location.rpartition("/")[2], NAME)
        before, self.here = self.here, record.offset
        assert before <= self.here <= before + len(piece)

    async def restart(self) -> None:
        number = self._chance.randrange(2)
        await self._workers[number].stop()
        self._workers[number] = await self._start()

    async def end(self) -> None:
        is_closed_empty = self._chance.random() < 0.5
        rest = self.wanted.body[self.here :]
        if is_closed_empty:
            assert (await patch(self.worker, self._location, rest)).status == 202
            rest = b""
        assert (await finish(self.worker, self._location, self.wanted.digest, rest)).status == 201


@pytest.mark.parametrize("seed", range(10))
async def test_any_story_of_an_upload_ends_in_the_blob(start, seed):
    story = Story(start, seed)
    await story.begin()

    for _ in range(STEPS):
        await story.happen()
    await story.end()

    assert stored(story.worker, story.wanted.digest) == story.wanted.body
    assert await is_linked(story.worker, story.wanted.digest, NAME)
    assert sessions(story.worker) == []
