import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxycache.oci.digest import Digest, digest_of, parse_digest
from proxycache.oci.errors import DigestInvalid
from tests.unit.oci.strategies import digests

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@given(digests)
def test_parsing_undoes_formatting(digest):
    assert parse_digest(str(digest)) == digest


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256",
        "sha256:",
        EMPTY,
        f"sha256:{EMPTY.upper()}",
        f"SHA256:{EMPTY}",
        f"sha256:{EMPTY[:-1]}",
        f"sha256:{EMPTY}0",
        f"sha256:{EMPTY}\n",
        f" sha256:{EMPTY}",
        f"sha512:{EMPTY}",
        f"sha384:{'a' * 96}",
        f"md5:{'a' * 32}",
        f"sha256:../{EMPTY[3:]}",
        f"sha256:{'٣' * 64}",
    ],
)
def test_what_is_not_a_digest_is_refused(text):
    with pytest.raises(DigestInvalid):
        parse_digest(text)


def test_digest_of_nothing_is_the_known_one():
    assert str(digest_of(b"")) == f"sha256:{EMPTY}"


@given(st.binary(max_size=50), st.integers(0, 50), st.sampled_from(["sha256", "sha512"]))
def test_content_hashed_in_pieces_matches_its_digest(data, cut, algorithm):
    digest = digest_of(data, algorithm)
    content_hash = digest.new_hash()

    content_hash.update(data[:cut])
    content_hash.update(data[cut:])

    assert digest.matches(content_hash)


def test_other_content_does_not_match():
    assert not digest_of(b"one").matches(hashlib.sha256(b"other"))


def test_digests_are_keys_and_have_an_order():
    one, other = Digest("sha256", "a" * 64), Digest("sha256", "b" * 64)

    assert {one: 1}[parse_digest(str(one))] == 1
    assert sorted([other, one]) == [one, other]
