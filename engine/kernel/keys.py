"""Where the desk key comes from: the environment of a headless engine.

Never from the configuration file, and never into a log, the journal, Redis or the database.
"""

from __future__ import annotations

from collections.abc import Mapping

from engine.model.desk_key import DeskKey
from engine.model.errors import ConfigurationError

DESK_KEY_VARIABLE = "SEAWALL_DESK_KEY"


def read_desk_key(environment: Mapping[str, str]) -> DeskKey:
    """The desk key, or none; ConfigurationError names the variable and never quotes it."""
    try:
        return DeskKey(environment.get(DESK_KEY_VARIABLE, ""))
    except ValueError as error:
        raise ConfigurationError(DESK_KEY_VARIABLE, str(error)) from error


__all__ = ["DESK_KEY_VARIABLE", "read_desk_key"]
