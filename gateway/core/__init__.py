"""ROOM 1: the law of exchange, pure. Values in, values out; the moment is an argument; nothing here waits or writes."""
