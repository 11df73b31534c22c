import dataclasses

import pytest

from proxycache.config.errors import ConfigError
from proxycache.config.keys import (
    CLIENT_KEYS,
    FRESHNESS_KEYS,
    RULE_KEYS,
    SECTIONS,
    effective_values,
    find_kind,
    format_key,
)
from proxycache.config.model import Settings
from proxycache.policy.admission import RuleSettings
from proxycache.policy.freshness import FreshnessSettings
from proxycache.upstream.settings import UpstreamSettings


@pytest.mark.parametrize(
    ("settings", "keys"),
    [(UpstreamSettings, CLIENT_KEYS), (FreshnessSettings, FRESHNESS_KEYS), (RuleSettings, RULE_KEYS)],
)
def test_every_field_of_an_upstream_has_its_key(settings, keys):
    assert {field.name for field in dataclasses.fields(settings)} - {"name"} == set(keys)


def test_every_section_of_the_settings_has_its_keys(load):
    settings = load().settings

    for name in {field.name for field in dataclasses.fields(Settings)} - {"upstreams"}:
        section = getattr(settings, name)
        assert {field.name for field in dataclasses.fields(section)} == set(SECTIONS[name])


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        (("server", "liste"), "server.listen"),
        (("listen",), "server.listen"),
        (("sever", "listen"), "server.listen"),
        (("sever",), "server"),
        (("upstreams", "docker.io", "urll"), 'upstreams."docker.io".url'),
        (("upstream", "docker.io"), 'upstreams."docker.io"'),
        (("log", "directory"), "storage.directory"),
        (("xyzzy",), ""),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_one(path, nearest):
    with pytest.raises(ConfigError) as refused:
        find_kind(path, where="c.toml:1", value="x")

    assert refused.value.nearest == nearest


def test_an_unknown_key_that_may_be_secret_keeps_its_value():
    with pytest.raises(ConfigError) as refused:
        find_kind(("upstreams", "docker.io", "passwd"), where="c.toml:1", value="hunter2")

    assert "hunter2" not in str(refused.value)


def test_keys_are_written_as_in_toml():
    assert format_key(("upstreams", "docker.io", "url")) == 'upstreams."docker.io".url'


def test_effective_values_hold_every_key_of_every_upstream(load):
    values = effective_values(load('[upstreams."x.io"]\nfresh_for = "1h"').settings)

    assert values[("server", "drain")] == "8s"
    assert values[("upstreams", "docker.io", "max_stale")] == "30d"
    assert values[("upstreams", "x.io", "fresh_for")] == "1h"
