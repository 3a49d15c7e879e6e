"""Where an engine listens: `engine.sock`, or a loopback port with a token in `engine.json`.

The second is for systems without Unix sockets and for data directories whose path is too long for
one (about a hundred bytes). Both files are for their owner only. The socket's rights keep others
out; a loopback port has none, so there the token does.
"""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path

SOCKET_NAME = "engine.sock"
PORT_FILE_NAME = "engine.json"
# sockaddr_un holds 108 bytes on Linux and 104 on macOS, with the final zero.
_SOCKET_PATH_BYTES_MAX = 103
OWNER_ONLY = 0o600


@dataclass(frozen=True, slots=True, kw_only=True)
class PortFile:
    """What `engine.json` says."""

    port: int
    token: str


def socket_path(data_dir: Path) -> Path | None:
    """The socket's path, or None where a Unix socket cannot be had."""
    path = data_dir.absolute() / SOCKET_NAME
    if not hasattr(socket, "AF_UNIX") or len(os.fsencode(path)) > _SOCKET_PATH_BYTES_MAX:
        return None
    return path


def read_port_file(data_dir: Path) -> PortFile | None:
    """The port and token of the engine that listens by port, or None."""
    try:
        record = json.loads((data_dir / PORT_FILE_NAME).read_bytes())
        return PortFile(port=int(record["port"]), token=str(record["token"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_port_file(data_dir: Path, content: PortFile) -> Path:
    """Put `engine.json` in place, whole and for its owner only."""
    path = data_dir / PORT_FILE_NAME
    temporary = path.with_name("engine.json.new")
    temporary.unlink(missing_ok=True)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
    with os.fdopen(fd, "w") as file:
        json.dump({"port": content.port, "token": content.token}, file)
    os.replace(temporary, path)
    return path


__all__ = [
    "OWNER_ONLY",
    "PORT_FILE_NAME",
    "SOCKET_NAME",
    "PortFile",
    "read_port_file",
    "socket_path",
    "write_port_file",
]
