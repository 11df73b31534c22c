import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxycache.oci.errors import NameInvalid, NameUnknown
from proxycache.policy.routing import RequestStyle, RoutingTable, canonical_pattern, choose_route
from tests.unit.oci.strategies import repositories

TABLE = RoutingTable(
    upstreams=frozenset({"docker.io", "ghcr.io", "reg.test:5000", "plain"}),
    default_upstream="docker.io",
    local_namespaces=("local", "team/private"),
    own_hosts=frozenset({"cache.test:5000"}),
)
BARE, NAMESPACE, PREFIX = RequestStyle.BARE, RequestStyle.NAMESPACE, RequestStyle.PREFIX


@pytest.mark.parametrize(
    ("name", "namespace", "canonical", "style"),
    [
        ("alpine", None, "docker.io/library/alpine", BARE),
        ("library/alpine", None, "docker.io/library/alpine", BARE),
        ("org/app", "", "docker.io/org/app", BARE),
        ("my.image", None, "docker.io/library/my.image", BARE),
        ("localhost", None, "docker.io/library/localhost", BARE),
        ("org/app", "ghcr.io", "ghcr.io/org/app", NAMESPACE),
        ("app", "ghcr.io", "ghcr.io/app", NAMESPACE),
        ("alpine", "docker.io", "docker.io/library/alpine", NAMESPACE),
        ("alpine", "index.docker.io", "docker.io/library/alpine", NAMESPACE),
        ("alpine", "Registry-1.Docker.io", "docker.io/library/alpine", NAMESPACE),
        ("app", "reg.test:5000", "reg.test:5000/app", NAMESPACE),
        ("ghcr.io/org/app", None, "ghcr.io/org/app", PREFIX),
        ("docker.io/alpine", None, "docker.io/library/alpine", PREFIX),
        ("index.docker.io/org/app", None, "docker.io/org/app", PREFIX),
        ("reg.test:5000/app", None, "reg.test:5000/app", PREFIX),
        ("plain/app", None, "plain/app", PREFIX),
    ],
)
def test_an_upstream_is_named_by_ns_by_prefix_or_not_at_all(name, namespace, canonical, style):
    route = choose_route(TABLE, name, namespace)

    assert (str(route.name), route.style) == (canonical, style)


@pytest.mark.parametrize(
    ("name", "namespace", "repository"),
    [
        ("ghcr.io/org/app", "ghcr.io", "org/app"),
        ("ghcr.io/ghcr.io/app", "ghcr.io", "ghcr.io/app"),
        ("docker.io/alpine", "registry-1.docker.io", "library/alpine"),
        ("ghcr.io", "ghcr.io", "ghcr.io"),
        ("quay.io/org/app", "ghcr.io", "quay.io/org/app"),
    ],
)
def test_a_host_that_is_both_ns_and_prefix_is_applied_once(name, namespace, repository):
    route = choose_route(TABLE, name, namespace)

    assert (route.repository, route.style) == (repository, NAMESPACE)


@pytest.mark.parametrize("name", ["local", "local/app", "local/deep/app", "team/private/app"])
@pytest.mark.parametrize(("namespace", "host"), [(None, ""), ("cache.test:5000", ""), ("10.0.0.1", "10.0.0.1")])
def test_a_local_name_lives_here(name, namespace, host):
    route = choose_route(TABLE, name, namespace, host)

    assert (route.upstream, str(route.name), route.style) == (None, name, BARE)


@pytest.mark.parametrize("name", ["localized/app", "team/app", "team/private2/app"])
def test_a_name_that_only_starts_alike_is_not_local(name):
    assert choose_route(TABLE, name, None).upstream == "docker.io"


@pytest.mark.parametrize(("name", "namespace"), [("local/app", "ghcr.io"), ("ghcr.io/local/app", None)])
def test_a_name_under_an_upstream_is_not_local_whatever_its_first_part(name, namespace):
    assert str(choose_route(TABLE, name, namespace).name) == "ghcr.io/local/app"


@pytest.mark.parametrize(
    ("name", "namespace", "host"),
    [("ghcr.io/app", "cache.test:5000", ""), ("ghcr.io/app", "CACHE.test:5000", ""), ("ghcr.io/app", "me", "ME")],
)
def test_an_ns_that_names_ourselves_counts_as_none(name, namespace, host):
    route = choose_route(TABLE, name, namespace, host)

    assert (str(route.name), route.style) == ("ghcr.io/app", PREFIX)


@pytest.mark.parametrize(
    ("name", "namespace"),
    [
        ("app", "evil.test"),
        ("app", "169.254.169.254"),
        ("evil.test/app", None),
        ("reg.test/app", None),
        ("localhost/app", None),
        ("[::1]:5000/app", None),
    ],
)
def test_a_registry_that_is_not_configured_is_unknown(name, namespace):
    with pytest.raises(NameUnknown, match="no such registry"):
        choose_route(TABLE, name, namespace)


@pytest.mark.parametrize(
    "name", ["", "/", "App", "ghcr.io/", "ghcr.io//app", "local/", "local/App", "a" * 256, "a" * 250]
)
def test_a_name_outside_of_the_grammar_is_invalid(name):
    with pytest.raises(NameInvalid):
        choose_route(TABLE, name, None)


@given(repositories)
def test_a_local_name_is_never_asked_upstream(repository):
    assert choose_route(TABLE, f"local/{repository}", None).upstream is None


@given(st.text(max_size=30), st.one_of(st.none(), st.text(max_size=20)), st.text(max_size=20))
def test_no_request_leads_to_a_registry_that_is_not_configured(name, namespace, host):
    try:
        route = choose_route(TABLE, name, namespace, host)
    except (NameInvalid, NameUnknown):
        return

    assert route.upstream is None or route.upstream in TABLE.upstreams


@given(st.sampled_from(sorted(TABLE.upstreams)), repositories)
def test_ns_and_prefix_mean_the_same_repository(upstream, repository):
    by_prefix = choose_route(TABLE, f"{upstream}/{repository}", None)

    assert choose_route(TABLE, f"{upstream}/{repository}", upstream).name == by_prefix.name


@pytest.mark.parametrize(
    ("pattern", "canonical"),
    [
        ("library/*", "docker.io/library/*"),
        ("alp*", "docker.io/library/alp*"),
        ("**", "docker.io/**"),
        ("index.docker.io/*", "docker.io/library/*"),
        ("docker.io/**", "docker.io/**"),
        ("ghcr.io/*", "ghcr.io/*"),
        ("reg.test:5000/a*", "reg.test:5000/a*"),
        ("plain/a*", "plain/a*"),
        ("*.io/**", "*.io/**"),
        ("*/app", "docker.io/*/app"),
        ("local/*", None),
        ("team/private/*", None),
        ("team/*", "docker.io/team/*"),
        ("docker.io/local/*", "docker.io/local/*"),
    ],
)
def test_a_pattern_means_an_upstream_as_a_name_does(pattern, canonical):
    assert canonical_pattern(TABLE, pattern) == canonical


@given(repositories, st.sampled_from(["docker.io", "ghcr.io"]))
def test_a_name_is_a_pattern_of_itself(name, registry):
    asked = f"{registry}/{name}"

    assert canonical_pattern(TABLE, asked) == str(choose_route(TABLE, asked, None).name)
