"""How many bytes a second may come from an upstream, by the hour of the day."""

from dataclasses import dataclass

ALL_HOURS = (0, 24)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateRule:
    """A rate from one hour until before another, over midnight where the second is not the later one."""

    hours: tuple[int, int] = ALL_HOURS
    rate: int
    """Bytes per second; 0: no limit."""

    def __post_init__(self) -> None:
        first, end = self.hours
        if not 0 <= first <= 23 or not 0 <= end <= 24 or first == end:
            raise ValueError(f'hours {first}-{end}: must be two different hours of a day, such as "8-18" or "22-6"')
        if self.rate < 0:
            raise ValueError("rate: must be 0 (no limit) or more")

    def holds_at(self, hour: int) -> bool:
        """Tell whether this rule is for `hour`, 0 to 23."""
        first, end = self.hours
        return first <= hour < end if first < end else hour >= first or hour < end


@dataclass(frozen=True, slots=True, kw_only=True)
class Bandwidth:
    """The rates of one upstream; the first rule for an hour counts."""

    rules: tuple[RateRule, ...] = ()

    def rate_at(self, hour: int) -> int:
        """Return the bytes per second at `hour` of the local day; 0: no limit."""
        return next((rule.rate for rule in self.rules if rule.holds_at(hour)), 0)

    @property
    def is_limited(self) -> bool:
        """Whether there is a limit at any hour."""
        return any(self.rate_at(hour) for hour in range(24))

    @property
    def highest_rate(self) -> int:
        """The most bytes per second at any hour; 0: there are hours without a limit."""
        rates = [self.rate_at(hour) for hour in range(24)]
        return max(rates) if all(rates) else 0
