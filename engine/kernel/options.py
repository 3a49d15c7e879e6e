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
    `confirm_live` is the account's name as typed by whoever wants real orders from the start.
    """

    configuration: Configuration
    data_dir: Path
    replay: Path | None = None
    speed: Literal["1", "max"] = "1"
    seed: int | None = None
    simulated: bool = False
    confirm_live: str = ""

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
    def account(self) -> str:
        """The account's name on the desk: what START LIVE asks to be typed."""
        return self.configuration.node.name

    def check(self) -> None:
        """What configuration and command line make together; raises ConfigurationError."""
        mode = self.configuration.engine.mode
        if mode != "paper" and (self.replay is not None or self.simulated):
            raise ConfigurationError("engine.mode", f"a recording is traded on paper, not {mode}")
        if not self.confirm_live:
            return
        if mode != "live":
            raise ConfigurationError("--confirm-live", f"engine.mode is {mode}: nothing to confirm")
        if self.confirm_live != self.account:
            words = f"the account is {self.account!r}, not {self.confirm_live!r}"
            raise ConfigurationError("--confirm-live", words)

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
