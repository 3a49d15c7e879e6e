"""A venue without sockets: what an exchange knows and decides, whatever its wire looks like.

Rule: nothing here knows a URL, a JSON key or an error code of any venue; a refusal is a reason, a
change is an event, and each dialect finds the words. Everything is synchronous, on one loop.
"""
