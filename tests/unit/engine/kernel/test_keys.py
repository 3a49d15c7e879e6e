"""The desk key comes from the environment, and a bad one is refused without being quoted."""

from __future__ import annotations

import pytest

from engine.kernel.keys import DESK_KEY_VARIABLE, read_desk_key
from engine.model.errors import ConfigurationError

KEY = "0123456789abcdef0123456789abcdef"


def test_the_environment_has_the_key() -> None:
    key = read_desk_key({DESK_KEY_VARIABLE: KEY})
    assert key.verifies(key.sign("a"), "a")


def test_without_the_variable_there_is_no_key() -> None:
    assert not read_desk_key({})


def test_a_short_key_names_the_variable_and_is_not_quoted() -> None:
    with pytest.raises(ConfigurationError, match=DESK_KEY_VARIABLE) as refused:
        read_desk_key({DESK_KEY_VARIABLE: "hunter2"})
    assert "hunter2" not in str(refused.value)
