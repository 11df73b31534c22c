from proxycache.config.errors import ConfigError, nearest, show_value


def test_the_text_is_one_line_with_place_key_value_reason_and_hint():
    error = ConfigError("a.toml:3", "unknown key", key="server.liste", value="x", nearest="server.listen")

    assert str(error) == 'a.toml:3: server.liste = "x": unknown key; did you mean server.listen?'


def test_a_value_is_shown_on_one_short_line():
    assert show_value("a\nb") == r'"a\nb"'
    assert len(show_value("x" * 1000)) == 80


def test_a_url_is_shown_without_who_logs_in():
    assert show_value("https://bob:secret@host/x") == '"https://***@host/x"'


def test_nothing_is_nearest_where_nothing_looks_alike():
    assert nearest("liste", ["listen", "level"]) == "listen"
    assert nearest("qqqq", ["listen", "level"]) == ""
