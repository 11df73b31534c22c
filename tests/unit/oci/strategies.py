"""Well-formed values, for properties."""

from hypothesis import strategies as st

from proxycache.oci.digest import Digest, digest_of
from proxycache.oci.names import RepositoryName, Tag

_PART = r"[a-z0-9]{1,8}((\.|_|__|-{1,3})[a-z0-9]{1,8}){0,2}"

repositories = st.from_regex(rf"{_PART}(/{_PART}){{0,3}}", fullmatch=True).map(RepositoryName)
tags = st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", fullmatch=True).map(Tag)
digests: st.SearchStrategy[Digest] = st.builds(digest_of, st.binary(max_size=20), st.sampled_from(["sha256", "sha512"]))
