"""ROOM 3: the gateway's own sockets. Parses, calls the flow, maps errors to status in one table; decides nothing."""
