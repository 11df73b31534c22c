"""How long to wait before a broken transfer is resumed, and when to give up."""

_FIRST_DELAY_SECONDS = 0.1
_ATTEMPTS = 6


def resume_delay(attempts_without_progress: int) -> float | None:
    """Return the seconds to wait before the next attempt, or None to give up.

    Each attempt that brought nothing doubles the wait, six in a row (6.3 seconds of waiting) are the end. One byte of
    progress starts the count at 0 again: a transfer goes on for as long as it gets somewhere.
    """
    if attempts_without_progress >= _ATTEMPTS:
        return None
    return _FIRST_DELAY_SECONDS * float(2**attempts_without_progress)
