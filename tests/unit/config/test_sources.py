import pytest

from proxycache.config.errors import ConfigError
from proxycache.config.sources import environment_entries, file_entries, flag_entries, locate_keys

LONG = """\
# comment
[server]
listen = [
  "a",  # [not] = a header
]

drain = '''
x = 1
[y]
'''
[upstreams]
"docker.io" = { url = "u", mirrors = [] }
[upstreams."ghcr.io"]
a.b = 1
[[list]]
k = 1
[[list]]
k = 2
"""


def test_each_key_is_found_on_the_line_where_it_begins():
    assert locate_keys(LONG) == {
        ("server",): 2,
        ("server", "listen"): 3,
        ("server", "drain"): 7,
        ("upstreams",): 11,
        ("upstreams", "docker.io"): 12,
        ("upstreams", "docker.io", "url"): 12,
        ("upstreams", "docker.io", "mirrors"): 12,
        ("upstreams", "ghcr.io"): 13,
        ("upstreams", "ghcr.io", "a"): 14,
        ("upstreams", "ghcr.io", "a", "b"): 14,
        ("list",): 15,
        ("list", "k"): 16,
    }


def test_lines_are_counted_with_either_line_end():
    assert locate_keys("[a]\r\n\r\nb = 1\r\n")[("a", "b")] == 3


def test_a_file_gives_its_keys_with_their_lines(tmp_path):
    file = tmp_path / "c.toml"
    file.write_text('[server]\nworkers = 2\n[upstreams."docker.io"]\nurl = "u"\n[upstreams."x.io"]\n')

    found = [(entry.path, entry.raw, entry.where.rpartition(":")[2]) for entry in file_entries(file)]

    assert found == [
        (("server", "workers"), 2, "2"),
        (("upstreams", "docker.io", "url"), "u", "4"),
        (("upstreams", "x.io"), {}, "5"),
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[server]\na = \n", "c.toml:2: not TOML"),
        (b"[server\n", "c.toml:1: not TOML"),
        (b"[a]\n[a]\n", "c.toml:2: not TOML"),
        (b"a = '''\n\n", "c.toml:2: not TOML"),
        (b"a = '\xff'", "c.toml: is not UTF-8"),
    ],
)
def test_a_file_that_is_not_toml_is_refused_with_its_line(tmp_path, content, reason):
    file = tmp_path / "c.toml"
    file.write_bytes(content)

    with pytest.raises(ConfigError) as refused:
        file_entries(file)

    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_missing_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        file_entries(tmp_path / "missing.toml")


@pytest.mark.parametrize(
    ("variable", "path"),
    [
        ("PROXYCACHE_SERVER__WORKERS", ("server", "workers")),
        ("PROXYCACHE_LOCAL__MAX_MANIFEST_SIZE", ("local", "max_manifest_size")),
        ("PROXYCACHE_UPSTREAMS__DOCKER_IO__USERNAME", ("upstreams", "docker.io", "username")),
        ("PROXYCACHE_UPSTREAMS__docker.io__CA_FILE", ("upstreams", "docker.io", "ca_file")),
        ("PROXYCACHE_UPSTREAMS__My_Reg_5000__URL", ("upstreams", "my-reg:5000", "url")),
        ("PROXYCACHE_UPSTREAMS__new.example__URL", ("upstreams", "new.example", "url")),
    ],
)
def test_a_variable_names_a_key(variable, path):
    [entry] = environment_entries({variable: "x"}, ["docker.io", "my-reg:5000"])

    assert entry.path == path
    assert entry.where == f"environment {variable}"


def test_variables_that_are_not_settings_are_left_alone():
    others = {"PROXYCACHE_PORT": "tcp://10.0.0.1:80", "PATH": "/bin", "OTHER_SERVER__WORKERS": "1"}

    assert environment_entries(others, []) == []


def test_a_variable_of_an_unknown_upstream_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="no such upstream; did you mean DOCKER_IO"):
        environment_entries({"PROXYCACHE_UPSTREAMS__DOCKR_IO__URL": "x"}, ["docker.io"])


def test_flags_name_keys():
    [entry] = flag_entries({"server.workers": "3"})

    assert (entry.path, entry.raw, entry.source) == (("server", "workers"), "3", "flag")
