"""What lies between any exchange and the wire: how much may be asked, and how bytes leave.

Knows no venue. Modules: `rate_limits`, `http`, `stream`.
"""
