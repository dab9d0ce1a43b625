"""The audit tree in the writer's hands: numbering leaves, hashing them, and signing a checkpoint for every commit.

What a crash means here. Leaves are numbered while the members of a batch are carried out, hashed once all have succeeded, and written in
the same transaction as the state they speak of, together with the checkpoint. Before COMMIT nothing of it exists; after COMMIT all of it
does. The tree in memory is trusted only as long as every commit succeeds: after any other end the journal stops, and the next start reads
the tree from the database again and compares it with the last checkpoint signed.

The *mark* is a small file outside the database with the last size and root. A database that is behind its mark, or has another root
there, was put back from a copy; appending to it would sign two histories, so it is refused and a person opens a new epoch.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from crypto.digests import digest_raw
from crypto.errors import YizhanError
from crypto.merkle import Frontier, leaf_hash, root_from
from crypto.notes import Checkpoint, LogKey, make_checkpoint, open_note
from gateway.core.errors import JournalStopped
from gateway.core.leaf import Leaf
from gateway.store.files import sync, write_durably
from gateway.store.proofs import STORED_LEVEL, subtree_hash
from gateway.store.statements import Row

EMPTY_ROOT = digest_raw("sha256", b"")  # RFC 6962 2.1
MARK_SYNC_SECONDS = 1.0  # a mark lost to a power cut is at most this old; it never runs ahead of the database
