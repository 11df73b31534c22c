import pytest

from proxycache.config.model import LocalSettings, ServerSettings, parse_address


@pytest.mark.parametrize("text", ["127.0.0.1:5000", "[::1]:5000", "localhost:0", "[::]:65535"])
def test_an_address_survives_being_read_and_written(text):
    assert str(parse_address(text)) == text


@pytest.mark.parametrize("text", ["", "5000", ":5000", "::1:5000", "host:", "host:65536", "http://host:1", "a b:1"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ValueError, match="not an address"):
        parse_address(text)


@pytest.mark.parametrize("url", ["ftp://host", "host:5000", "https://", "https://a@b", "https://a/?b", "http://h:x"])
def test_a_public_url_is_an_http_url(url):
    with pytest.raises(ValueError, match="public_url"):
        ServerSettings(public_url=url)


@pytest.mark.parametrize(
    "namespace", ["", "Local", "my.org", "a//b", "localhost:5000", "/a", "localhost", "localhost/a"]
)
def test_a_local_namespace_begins_a_name_and_looks_like_no_host(namespace):
    with pytest.raises(ValueError, match="namespaces"):
        LocalSettings(namespaces=(namespace,))


def test_local_namespaces_may_have_several_parts():
    assert LocalSettings(namespaces=("team-a/sub.project_1",)).namespaces
