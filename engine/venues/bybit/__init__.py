"""Bybit v5, USDT perpetuals (category linear): what is said to it and what its answers mean.

Rule: nothing here opens a connection, waits or reads a clock. Requests are built and signed,
answers and pushes are decoded and judged; a transport carries them.
"""
