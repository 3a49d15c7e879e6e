"""What a kernel is told at its start: configuration, where its data are, and how time runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from engine.model.config import Configuration, check, parse
from engine.model.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelOptions:
    """`replay` and `seed` overrule the configuration; `speed` belongs to a replay.

    `simulated` runs the simulated market on simulated time, as fast as the machine allows.
    """

    configuration: Configuration
    data_dir: Path
    replay: Path | None = None
    speed: Literal["1", "max"] = "1"
    seed: int | None = None
    simulated: bool = False

    @property
    def effective(self) -> Configuration:
        """The configuration with the command line's word on replay and seed."""
        market = self.configuration.market
        if self.replay is not None:
            market = msgspec.structs.replace(market, feed="replay", source=str(self.replay))
        if self.seed is not None:
            market = msgspec.structs.replace(market, seed=self.seed)
        return msgspec.structs.replace(self.configuration, market=market)

    @property
    def runs_on_simulated_time(self) -> bool:
        """A replay at full speed, or a simulated day."""
        return self.simulated or (self.effective.market.feed == "replay" and self.speed == "max")


def load_configuration(path: Path | None) -> Configuration:
    """Read the file, or the defaults without one; raises ConfigurationError naming the field."""
    if path is None:
        configuration = Configuration()
        check(configuration)
        return configuration
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError("", f"cannot read {path}: {error}") from error
    return parse(text)


__all__ = ["KernelOptions", "load_configuration"]
