"""ROOM 3: disk and database. Implements ``flow.ports`` for what must survive: journal, ledger, blobs, uploads, scratch."""
