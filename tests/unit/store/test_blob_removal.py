"""Who waits for a folder never keeps its remover from coming to an end."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from proxycache.oci.digest import Digest, digest_of
from proxycache.store.blobs import BlobStore

CONTENT = b"layer"
DIGEST = digest_of(CONTENT)


async def test_all_shared_threads_may_wait_for_a_folder_that_is_being_emptied(blobs: BlobStore) -> None:
    await blobs.put(DIGEST, CONTENT)
    threads = ThreadPoolExecutor(2)
    asyncio.get_running_loop().set_default_executor(threads)
    waiting: list[asyncio.Future[None]] = []

    def keep() -> None:
        with blobs.keeping(DIGEST):
            pass

    async def is_leaving(_digest: Digest) -> bool:
        waiting.extend(asyncio.get_running_loop().run_in_executor(None, keep) for _ in range(4))
        await asyncio.sleep(0)
        return True

    async with asyncio.timeout(10):
        assert await blobs.remove(DIGEST, is_leaving)
        await asyncio.gather(*waiting)  # noqa: TID251 - futures, not coroutines
    assert not blobs.has(DIGEST)
