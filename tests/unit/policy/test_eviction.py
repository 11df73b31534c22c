from hypothesis import given
from hypothesis import strategies as st

from proxycache.policy.eviction import MANIFEST_WORTH, BlobUse, worth

SIZES = st.integers(min_value=0, max_value=2**45)
USES = st.integers(min_value=1, max_value=2**40)


@given(size=SIZES, uses=USES)
def test_one_more_use_is_worth_more(size: int, uses: int) -> None:
    once = BlobUse(size=size, uses=uses, is_manifest=False)
    twice = BlobUse(size=size, uses=uses * 2, is_manifest=False)

    assert worth(twice) > worth(once)


@given(size=SIZES, uses=USES)
def test_a_larger_blob_is_worth_no_more(size: int, uses: int) -> None:
    small = BlobUse(size=size, uses=uses, is_manifest=False)
    large = BlobUse(size=size * 2 + 1, uses=uses, is_manifest=False)

    assert worth(large) <= worth(small)


@given(size=SIZES, uses=USES)
def test_a_manifest_goes_after_all_others(size: int, uses: int) -> None:
    assert worth(BlobUse(size=size, uses=1, is_manifest=True)) >= MANIFEST_WORTH
    assert worth(BlobUse(size=size, uses=uses, is_manifest=False)) < MANIFEST_WORTH / 1e6


def test_old_fame_ages() -> None:
    famous = worth(BlobUse(size=10**8, uses=1000, is_manifest=False))
    fresh = worth(BlobUse(size=10**8, uses=1, is_manifest=False))

    assert famous < 20 * fresh
