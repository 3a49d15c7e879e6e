"""Binance USDT-M futures: requests signed, answers read, errors told apart.

Not yet a venue that the engine trades on: docs/known_weaknesses.md.
"""
