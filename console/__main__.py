"""`python -m console`, and the entry point of the frozen program."""

from __future__ import annotations

import multiprocessing
import sys

from console.cli import main

if __name__ == "__main__":
    # First, or a frozen child process would open windows of its own.
    multiprocessing.freeze_support()
    sys.exit(main())
