import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxycache.oci.digest import digest_of
from proxycache.oci.errors import DigestInvalid, NameInvalid, TagInvalid
from proxycache.oci.names import CanonicalName, RepositoryName, parse_reference, parse_repository, parse_tag
from tests.unit.oci.strategies import digests, repositories, tags


@given(repositories)
def test_every_name_of_the_grammar_is_accepted(name):
    assert parse_repository(name) == name


@pytest.mark.parametrize("name", ["a", "0", "a/b/c/d/e", "a.b_c__d-e---f/g", "a" * 255, "/".join("a" * 128)])
def test_names_at_the_limits_are_accepted(name):
    assert parse_repository(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        "A",
        "a/B",
        "a b",
        "a\n",
        "..",
        "a/../b",
        "a/./b",
        "a..b",
        "a._b",
        "a___b",
        ".a",
        "a.",
        "-a",
        "a-",
        "a:b",
        "a@b",
        "a%2fb",
        "a\\b",
        "a\0",
        "ä",
        "a" * 256,
    ],
)
def test_what_is_not_a_name_is_refused(name):
    with pytest.raises(NameInvalid):
        parse_repository(name)


@given(st.text(max_size=20))
def test_an_accepted_name_means_nothing_more_in_a_path(text):
    try:
        name = parse_repository(text)
    except NameInvalid:
        return

    assert all(part not in ("", ".", "..") for part in name.split("/"))
    assert name.isascii()
    assert name == name.lower()


def test_a_name_made_to_be_slow_is_refused_at_once():
    with pytest.raises(NameInvalid):
        parse_repository("a" * 120 + "-" * 120 + "!")


@pytest.mark.parametrize("tag", ["latest", "v1.2.3", "_", "A-b_C.d", "0", "a" * 128, "sha256-" + "a" * 64 + ".sig"])
def test_tags_are_accepted(tag):
    assert parse_tag(tag) == tag


@pytest.mark.parametrize("tag", ["", ".a", "-a", "a/b", "a b", "a\n", "ä", "a+b", "a" * 129])
def test_what_is_not_a_tag_is_refused(tag):
    with pytest.raises(TagInvalid):
        parse_tag(tag)


@given(st.one_of(digests, tags))
def test_a_reference_is_read_as_what_it_was(reference):
    assert parse_reference(str(reference)) == reference


@pytest.mark.parametrize(
    ("text", "error"), [("a:b", DigestInvalid), ("sha256:abc", DigestInvalid), ("a/b", TagInvalid)]
)
def test_what_is_neither_tag_nor_digest_is_refused(text, error):
    with pytest.raises(error):
        parse_reference(text)


def test_a_digest_is_no_tag():
    with pytest.raises(TagInvalid):
        parse_tag(str(digest_of(b"")))


@pytest.mark.parametrize(("registry", "text"), [("docker.io", "docker.io/library/alpine"), ("", "library/alpine")])
def test_a_canonical_name_names_its_registry_unless_it_is_this_one(registry, text):
    assert str(CanonicalName(registry=registry, repository=RepositoryName("library/alpine"))) == text
