"""What a worker sets up before it serves."""

import asyncio
import threading

from proxycache.app import widen_disk_pool


async def test_many_pieces_of_disk_work_may_wait_at_once() -> None:
    widen_disk_pool()
    all_wait = threading.Barrier(32)

    async with asyncio.TaskGroup() as group:
        for _ in range(32):
            group.create_task(asyncio.to_thread(all_wait.wait, 10))

    assert not all_wait.broken
