"""ROOM 2: the journey. Asyncio orchestration over the ports of ``flow.ports``; no sockets, no SQL, no files of its own."""
