import asyncio

from proxycache.observe.batch import Batch


async def test_many_touches_share_one_flush():
    flushes = 0
    flushed = asyncio.Event()

    def flush() -> None:
        nonlocal flushes
        flushes += 1
        flushed.set()

    batch = Batch(0.001, flush)
    batch.touch()
    batch.touch()

    await flushed.wait()
    assert flushes == 1


async def test_what_comes_after_a_flush_is_flushed_again():
    flushed = asyncio.Queue[int]()
    batch = Batch(0.001, lambda: flushed.put_nowait(1))

    batch.touch()
    await flushed.get()
    batch.touch()

    await flushed.get()


async def test_running_at_once_leaves_nothing_for_later():
    flushes: list[int] = []
    batch = Batch(0, lambda: flushes.append(1))
    batch.touch()

    batch.run()

    passed = asyncio.Event()
    asyncio.get_running_loop().call_later(0.001, passed.set)
    await passed.wait()
    assert flushes == [1]
