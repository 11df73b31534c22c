"""Time that moves only when a test says so."""


class FakeClock:
    """A Clock whose two numbers advance together."""

    def __init__(self, *, now: float = 1_700_000_000.0, monotonic: float = 1_000.0, hour: int = 12) -> None:
        self._now = now
        self._monotonic = monotonic
        self.hour = hour

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def local_hour(self) -> int:
        return self.hour

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass."""
        self._now += seconds
        self._monotonic += seconds

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an administrator or NTP does; durations do not notice."""
        self._now += seconds
