from proxycache.cli.options import settings_loader

NOTHING = {"listen": None, "directory": None, "workers": None, "offline": None}


def test_options_that_are_not_given_set_nothing(tmp_path):
    file = tmp_path / "c.toml"
    file.touch()

    assert "flag" not in settings_loader(file, **NOTHING)().sources.values()


def test_each_option_is_its_key(tmp_path):
    file = tmp_path / "c.toml"
    file.write_text("[server]\noffline = true")
    given = {"listen": ["[::1]:1", "h:2"], "directory": "/d", "workers": "3", "offline": False}

    loaded = settings_loader(file, **given)()

    assert [str(address) for address in loaded.settings.server.listen] == ["[::1]:1", "h:2"]
    assert loaded.settings.server.workers == 3
    assert loaded.settings.server.offline is False
    assert str(loaded.settings.storage.directory) == "/d"


def test_the_file_is_read_anew_each_time(tmp_path):
    file = tmp_path / "c.toml"
    file.write_text("[server]\nworkers = 1")
    load = settings_loader(file, **NOTHING)
    assert load().settings.server.workers == 1

    file.write_text("[server]\nworkers = 2")

    assert load().settings.server.workers == 2
