"""Which Redis a node uses, decided once at start, with a reason for a person to read.

`auto` takes the URL if one is configured, else a private server if a server program is found, else
none. A node that has once run with Redis is never moved to standalone by `auto`: its other
consumers would go blind without anybody having decided it. It stays managed and says what is
missing.
"""

from __future__ import annotations

import shutil
import socket
from pathlib import Path
from typing import Literal

import msgspec

from engine.model.config import RedisSection
from engine.model.redis_url import redacted

_SERVERS = ("redis-server", "valkey-server")


class LinkSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the link needs to know. `why` says how `mode` came about; no `server` means none
    found; `owner` is who takes the lease of the name: this machine and data directory."""

    node: str
    mode: Literal["standalone", "url", "managed"]
    why: str
    run_folder: Path
    owner: str
    url: str = ""
    ca_file: str = ""
    server: str = ""
    stream_max_events: int = 1_000_000

    def __repr__(self) -> str:
        return f"LinkSettings({self.node!r}, {self.mode}, {redacted(self.url)!r}, {self.why!r})"

    @property
    def is_standalone(self) -> bool:
        return self.mode == "standalone"


def choose(
    section: RedisSection,
    *,
    node: str,
    run_folder: Path,
    was_linked: bool,
    search_path: str | None = None,
) -> LinkSettings:
    """Decide the mode. `was_linked`: the journal has been mirrored before (`Journal.was_linked`).

    `search_path` is where server programs are looked for, by default the PATH.
    """
    found = (shutil.which(name, path=search_path) for name in _SERVERS)
    server = next((path for path in found if path), "")
    mode: Literal["standalone", "url", "managed"]
    if section.mode != "auto":
        mode, why = section.mode, f"redis.mode is {section.mode}"
    elif section.url:
        mode, why = "url", "auto: a URL is configured"
    elif server:
        mode, why = "managed", f"auto: no URL, {Path(server).name} found"
    elif was_linked:
        mode, why = "managed", "auto: this node has run with Redis before, so not standalone"
    else:
        mode, why = "standalone", "auto: no URL and no redis-server or valkey-server found"
    return LinkSettings(
        node=node,
        mode=mode,
        why=why,
        run_folder=run_folder,
        owner=f"{socket.gethostname()}:{run_folder.parent.absolute()}",
        url=section.url if mode == "url" else "",
        ca_file=section.ca_file,
        server=server if mode == "managed" else "",
        stream_max_events=section.stream_max_events,
    )


__all__ = ["LinkSettings", "choose"]
