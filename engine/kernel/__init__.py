"""The kernel: the composition root and the life of an engine.

Rule: everything is built in `build`, started in one gated order and stopped in named stages.
"""

from engine.kernel.build import build_kernel
from engine.kernel.control import serve_control
from engine.kernel.from_disk import status_from_disk
from engine.kernel.headless import real_clock, run_headless
from engine.kernel.imports import ImportRequest, import_buffer, import_state
from engine.kernel.kernel import Kernel
from engine.kernel.offline_records import back_up_offline, read_audit, verify_audit
from engine.kernel.options import KernelOptions, load_configuration
from engine.kernel.self_check import database_findings, latch_findings
from engine.kernel.stored_keys import exchange_key, forget_api_key, show_api_key, store_api_key
from engine.kernel.whose_books import mode_on_disk

__all__ = [
    "ImportRequest",
    "Kernel",
    "KernelOptions",
    "back_up_offline",
    "build_kernel",
    "database_findings",
    "exchange_key",
    "forget_api_key",
    "import_buffer",
    "import_state",
    "latch_findings",
    "load_configuration",
    "mode_on_disk",
    "read_audit",
    "real_clock",
    "run_headless",
    "serve_control",
    "show_api_key",
    "status_from_disk",
    "store_api_key",
    "verify_audit",
]
