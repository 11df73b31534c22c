import os
from pathlib import Path

import platformdirs
import pytest

from proxycache.config.errors import ConfigError
from proxycache.config.load import SERVICE_DIRECTORY, find_config_file, load_settings
from proxycache.config.model import BUILT_IN_URLS, parse_address


def test_without_any_source_everything_has_its_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))

    loaded = load_settings(config_file=None, environment={}, flags={})

    assert loaded.settings.server.listen == (parse_address("127.0.0.1:5000"),)
    assert {name: upstream.client.url for name, upstream in loaded.settings.upstreams.items()} == BUILT_IN_URLS
    assert loaded.settings.default_upstream == "docker.io"
    assert set(loaded.sources.values()) == {"default"}


def test_a_flag_wins_over_the_environment_and_that_over_the_file(load):
    file = "[server]\nworkers = 1\ndrain = '1s'\noffline = true"
    environment = {"PROXYCACHE_SERVER__WORKERS": "2", "PROXYCACHE_SERVER__DRAIN": "2s"}

    loaded = load(file, environment=environment, flags={"server.workers": "3"})

    server = loaded.settings.server
    assert (server.workers, server.drain, server.offline) == (3, 2.0, True)
    assert loaded.sources["server.workers"] == "flag"
    assert loaded.sources["server.drain"] == "environment PROXYCACHE_SERVER__DRAIN"
    assert loaded.sources["server.offline"] == f"file {loaded.file}:4"


def test_a_section_of_a_built_in_upstream_changes_only_what_it_names(load):
    upstream = load('[upstreams."docker.io"]\nfresh_for = "1h"').settings.upstreams["docker.io"]

    assert upstream.freshness.fresh_for == 3600.0
    assert upstream.client.url == "https://registry-1.docker.io"
    assert upstream.is_default


def test_a_section_of_another_name_adds_an_upstream(load):
    upstreams = load('[upstreams."registry.example:5000"]').settings.upstreams

    assert upstreams["registry.example:5000"].client.url == "https://registry.example:5000"
    assert set(BUILT_IN_URLS) < set(upstreams)


def test_the_environment_adds_an_upstream_by_its_own_name(load):
    environment = {"PROXYCACHE_UPSTREAMS__new.example__URL": "http://10.0.0.1"}

    assert load(environment=environment).settings.upstreams["new.example"].client.url == "http://10.0.0.1"


def test_docker_hub_yields_to_a_default_that_is_named(load):
    loaded = load('[upstreams."ghcr.io"]\ndefault = true')

    assert loaded.settings.default_upstream == "ghcr.io"
    assert loaded.sources['upstreams."docker.io".default'] == f"file {loaded.file}:2"


def test_a_password_comes_from_the_environment_and_shows_itself_to_nobody(load):
    loaded = load(
        '[upstreams."docker.io"]\nusername = "bob"',
        environment={"PROXYCACHE_UPSTREAMS__DOCKER_IO__PASSWORD": "hunter2"},
    )

    assert loaded.settings.upstreams["docker.io"].client.password.reveal() == "hunter2"
    assert "hunter2" not in repr(loaded)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[server]\nliste = 3", "2: server.liste = 3: unknown key; did you mean server.listen?"),
        ("[server]\nworkers = -1", "2: server.workers = -1: must be 0 (one per usable CPU) or more"),
        ("\n[server]\ndrain = 5", "3: server.drain = 5: must be a text in quotes"),
        ('[log]\nlevel = "loud"', '2: log.level = "loud": is none of debug, info, warning, error'),
        ('[upstreams.docker.io]\nurl = "x"', '1: upstreams.docker.io: a name with dots is written in quotes: '
         '[upstreams."docker.io"]'),
        ('[upstreams."Docker"]\nurl = "x"', "2: upstreams.Docker: not the host of a registry"),
        ('[upstreams."docker.io"]\ndefault = false', '2: upstreams."docker.io".default = false: '
         'no other upstream is the default'),
        ('[upstreams."docker.io"]\nusername = "x"', '2: upstreams."docker.io".username = "x": '
         'goes together with password_file (or a password by environment)'),
        ('[upstreams."docker.io"]\npassword = "x"', '2: upstreams."docker.io".password: '
         'a password comes from password_file or the environment'),
        ('[upstreams."docker.io"]\ndeny = ["library/Evil"]', '2: upstreams."docker.io".deny = ["library/Evil"]: '
         "'library/Evil' is no pattern of repositories such as \"library/*\" or \"org/**\""),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_in_one_line_with_its_place(refusal, text, reason):
    assert refusal(text) == f"proxycache.toml:{reason}"


@pytest.mark.parametrize("key", ["ca_file", "docker_config"])
def test_a_file_that_cannot_be_read_is_an_error_of_its_line(refusal, key):
    text = refusal(f'[upstreams."docker.io"]\n{key} = "/nowhere/x"')

    assert text.startswith(f'proxycache.toml:2: upstreams."docker.io".{key} = "/nowhere/x": must be a file ')
    assert text.endswith("No such file or directory")


def test_a_proxy_that_cannot_be_used_is_an_error_of_its_variable(refusal):
    text = refusal(environment={"HTTPS_PROXY": "socks5://ann:hunter2@proxy.example:1080"})

    assert text == "environment HTTPS_PROXY: must be http://HOST:PORT or https://HOST:PORT, or not be set"


def test_two_defaults_are_refused(refusal):
    text = '[upstreams."ghcr.io"]\ndefault = true\n[upstreams."quay.io"]\ndefault = true'

    assert refusal(text) == 'proxycache.toml:4: upstreams."quay.io".default: ghcr.io is the default already'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[upstreams.local]\nurl = "https://r.example"', "proxycache.toml:2: upstreams.local: named like 'local'"),
        (
            '[local]\nnamespaces = ["a", "team/x"]\n[upstreams.team]\nurl = "https://r.example"',
            "proxycache.toml:4: upstreams.team: named like 'team/x'",
        ),
    ],
)
def test_an_upstream_that_hides_what_lives_here_is_refused(refusal, text, said):
    assert refusal(text) == f"{said} of local.namespaces; rename one of them"


def test_secrets_are_not_repeated_in_errors(refusal):
    by_url = refusal('[upstreams."docker.io"]\nurl = "https://bob:hunter2@host"')
    by_password = refusal(environment={"PROXYCACHE_UPSTREAMS__DOCKER_IO__PASSWORD": "hunter2"})

    assert "hunter2" not in by_url + by_password


def test_errors_of_the_environment_and_of_flags_name_them(refusal):
    assert refusal(environment={"PROXYCACHE_SERVER__WORKERS": "x"}).startswith(
        'environment PROXYCACHE_SERVER__WORKERS: server.workers = "x"'
    )
    assert refusal(flags={"server.listen": "x"}).startswith('flag: server.listen = "x": not an address')


def test_the_working_directory_comes_before_the_users_configuration(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    users = platformdirs.user_config_path("proxycache") / "proxycache.toml"
    users.parent.mkdir(parents=True)
    users.touch()
    assert find_config_file() == users

    (tmp_path / "proxycache.toml").touch()

    assert find_config_file() == tmp_path / "proxycache.toml"


def test_content_lies_where_the_service_manager_says(load):
    storage = load(environment={"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}).settings.storage

    assert storage.directory == Path("/var/lib/a")


def test_content_of_root_lies_below_var_and_of_a_user_at_home(load):
    expected = SERVICE_DIRECTORY if os.geteuid() == 0 else platformdirs.user_data_path("proxycache")

    assert load().settings.storage.directory == expected


def test_a_reload_changes_upstreams_and_names_what_waits_for_a_restart(load):
    before = load("[server]\nworkers = 1")
    fresh = load('[server]\nworkers = 2\n[upstreams."docker.io"]\nfresh_for = "1h"\ndeny = ["library/evil*"]')

    after = before.reloaded(fresh)

    assert after.settings.server.workers == 1
    assert after.settings.upstreams["docker.io"].freshness.fresh_for == 3600.0
    assert after.settings.upstreams["docker.io"].rules.deny == ("library/evil*",)
    assert before.waiting_for_restart(fresh) == ["server.workers"]


def test_who_is_to_lend_has_to_be_an_upstream(load):
    assert load("[local]\nborrow_from = ['ghcr.io']").settings.local.lenders == {"ghcr.io"}
    assert load("[local]\nborrow_from = ['ghcr.io']\nborrow = 'off'").settings.local.lenders == frozenset()

    with pytest.raises(
        ConfigError, match=r":2: local.borrow_from: 'nowhere.example' is no upstream; it may name docker"
    ):
        load("[local]\nborrow_from = ['nowhere.example']")
