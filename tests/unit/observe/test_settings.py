import pytest

from proxycache.observe.settings import LogSettings


@pytest.mark.parametrize(("key", "value"), [("format", "xml"), ("level", "loud")])
def test_a_choice_that_does_not_exist_is_refused_by_its_key(key, value):
    with pytest.raises(ValueError, match=f"^{key}: is none of"):
        LogSettings(**{key: value})
