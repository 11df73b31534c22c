"""Buffers of the size that bodies come in cost no page faults once there have been some."""

import subprocess
import sys

# What a fill does: a buffer for each receive, cut to what has come, and some pieces held for a while.
FILL = """
import resource
from collections import deque
from proxycache.server.heap import keep_buffers_on_heap
{}
held = deque(maxlen=4)
for number in range(3000):
    buffer = bytearray(256 * 1024)
    held.append(bytes(buffer[: 200_000 + number % 7 * 9000]) + bytes(700_000))
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


def count_faults(first: str) -> int:
    done = subprocess.run([sys.executable, "-c", FILL.format(first)], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_the_memory_of_buffers_is_used_again():
    assert count_faults("keep_buffers_on_heap()") < 10_000
