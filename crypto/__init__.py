"""ROOM 0: cryptography, pure. Bytes and values in, bytes and values out.

No asyncio, sockets, files, SQL, logging, clock or environment: the moment is an argument, keys arrive as bytes, and randomness
enters only through ``crypto.randomness``.
"""
