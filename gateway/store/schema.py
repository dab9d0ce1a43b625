"""The tables of one gateway, and the two numbers that keep an old program away from a newer database.

Conventions. A moment is an integer: microseconds since 1970-01-01 UTC. Bytes are the exact bytes that were signed or received. Everything
about an exchange is keyed (direction, key): core/keys.py says what a key is. Keys begin with a UUIDv7, so rows of one day lie together and
an insert costs the same in a full database as in an empty one. Only ``exchanges``, ``passages``, ``work``, ``remembered`` and the token of a checkpoint ever change;
everything else is inserted once.

Nothing here is particular to SQLite but its pragmas; ``connect`` is where another database would be opened.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    create_engine,
    event,
    inspect,
    literal_column,
    select,
)
from sqlalchemy.pool import NullPool, QueuePool

from crypto.errors import LocalError

SCHEMA_VERSION = 2  # what this program writes; 2: the sender is part of the key of an arrival
COMPATIBLE_FROM = 2  # the oldest program version that may still work on what this one writes
OLDEST_KNOWN = 2  # the oldest database this program may work on

INLINE_CEILING = 64 * 1024  # larger content is a blob: rows beyond a few pages slow every scan and every copy of the write-ahead log

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class NewerDatabase(LocalError):
    """The database was written by a newer program that says this one may not touch it. Facts: ``version``, ``compatible_from``."""

    code = "newer-database"


class OlderDatabase(LocalError):
    """The database was written by a program whose tables this one no longer knows. Facts: ``version``, ``oldest``."""

    code = "older-database"


def to_micros(moment: datetime) -> int:
    """A moment as the tables keep it."""
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds  # dividing by a timedelta takes three times as long


def from_micros(micros: int) -> datetime:
    """The moment a table kept."""
    return _EPOCH + timedelta(0, 0, micros)


metadata = MetaData()

_ROWID = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts rows by itself only under the type name INTEGER


def _of_exchange(*, child: str) -> ForeignKeyConstraint:
    return ForeignKeyConstraint(["direction", "exchange"], ["exchanges.direction", "exchanges.key"], name=f"{child}_exchange")


schema_versions = Table(
    "schema_versions",
    metadata,
    Column("version", Integer, primary_key=True),
    Column("compatible_from", Integer, nullable=False),
)

exchanges = Table(
    "exchanges",
    metadata,
    Column("seq", _ROWID, primary_key=True),
    Column("direction", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("level", Text, nullable=False),
    Column("urgency", Text, nullable=False),
    Column("suite", Text, nullable=False),
    Column("sender_org", Text, nullable=False),
    Column("sender_gateway", Text, nullable=False),
    Column("office", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("content_digest", Text, nullable=False),
    Column("private", LargeBinary, nullable=False),
    Column("expires", BigInteger),  # as opened; the sealed transmittal's, where there is one, counts
    Column("name", Text, nullable=False),  # what the office knows an accepted arrival by; empty for everything else
    UniqueConstraint("direction", "key", name="exchanges_key"),
)
NAMED = exchanges.c.name != literal_column("''")
Index("exchanges_name", exchanges.c.name, unique=True, sqlite_where=NAMED, postgresql_where=NAMED)
# The key of an offer. Exchanges without a source (notices, the command line) are not offers.
OUTBOUND_OFFER = (exchanges.c.direction == literal_column("'out'")) & (exchanges.c.source != literal_column("''"))
Index(
    "exchanges_offer",
    exchanges.c.office,
    exchanges.c.source,
    exchanges.c.content_digest,
    unique=True,
    sqlite_where=OUTBOUND_OFFER,
    postgresql_where=OUTBOUND_OFFER,
)

passages = Table(
    "passages",
    metadata,
    Column("direction", Text, nullable=False),
    Column("exchange", Text, nullable=False),
    Column("recipient", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("updated", BigInteger, nullable=False),
    PrimaryKeyConstraint("direction", "exchange", "recipient"),
    _of_exchange(child="passages"),
    sqlite_with_rowid=False,
)
Index("passages_state", passages.c.state, passages.c.direction, passages.c.exchange)  # who waits for what; few rows in each open state

sealed = Table(
    "sealed",
    metadata,
    Column("direction", Text, nullable=False),
    Column("exchange", Text, nullable=False),
    Column("transmittal", LargeBinary, nullable=False),
    Column("transmittal_digest", Text, nullable=False),
    Column("nro", LargeBinary, nullable=False),
    Column("own_key", LargeBinary, nullable=False),
    Column("content_size", BigInteger),  # null: a notice without content
    Column("blob", Text),  # null with a size: the content is a row of ``contents``
    Column("expires", BigInteger, nullable=False),
    PrimaryKeyConstraint("direction", "exchange"),
    _of_exchange(child="sealed"),
)

# Arrivals in the order in which they run out: of what became due since the last look is asked, not of all there ever was.
ARRIVAL = sealed.c.direction == literal_column("'in'")
EXPIRING = Index("sealed_expiring", sealed.c.direction, sealed.c.expires, sqlite_where=ARRIVAL, postgresql_where=ARRIVAL)

# Few exchanges have a blob; the sweep of leftovers asks for each.
Index("sealed_blob", sealed.c.blob, sqlite_where=sealed.c.blob.is_not(None), postgresql_where=sealed.c.blob.is_not(None))

envelopes = Table(
    "envelopes",
    metadata,
    Column("direction", Text, nullable=False),
    Column("exchange", Text, nullable=False),
    Column("org", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    PrimaryKeyConstraint("direction", "exchange", "org"),
    _of_exchange(child="envelopes"),
    sqlite_with_rowid=False,
)

contents = Table(
    "contents",
    metadata,
    Column("direction", Text, nullable=False),
    Column("exchange", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    PrimaryKeyConstraint("direction", "exchange"),
    _of_exchange(child="contents"),
)

receipts = Table(
    "receipts",
    metadata,
    Column("seq", _ROWID, primary_key=True),
    Column("digest_key", BigInteger, nullable=False),  # first 8 bytes of the digest: digests are random, so their index is kept small
    Column("digest", Text, nullable=False),
    Column("direction", Text, nullable=False),
    Column("exchange", Text, nullable=False),
    Column("recipient", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("issuer_org", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Column("leaf", BigInteger),  # the leaf of the same transaction whose object this receipt is
    UniqueConstraint("direction", "exchange", "digest", name="receipts_digest"),
    _of_exchange(child="receipts"),
)
Index("receipts_digest_key", receipts.c.digest_key)

work = Table(
    "work",
    metadata,
    Column("key", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("direction", Text, nullable=False),
    Column("exchange", Text, nullable=False),
    Column("due", BigInteger, nullable=False),
    Column("peer", Text, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("detail", LargeBinary, nullable=False),
    Column("trouble", LargeBinary, nullable=False),  # why it failed the last time; empty when it did not
    sqlite_with_rowid=False,
)

shelves = Table(
    "shelves",
    metadata,
    Column("shelf", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    PrimaryKeyConstraint("shelf", "name"),
)

remembered = Table("remembered", metadata, Column("name", Text, primary_key=True), Column("value", Text, nullable=False))

# The audit log: its one origin, its leaves, the hashes of complete subtrees from log.STORED_LEVEL up, and a checkpoint for every commit
# that added leaves.
origins = Table(
    "origins",
    metadata,
    Column("epoch", Integer, primary_key=True, autoincrement=False),  # counted from 1; what a place is made of (epochs.py)
    Column("origin", Text, nullable=False, unique=True),
)

leaves = Table(
    "leaves",
    metadata,
    Column("idx", _ROWID, primary_key=True, autoincrement=False),
    Column("exchange", Text),  # the key: what the leaf says in ``exchange`` and ``sender``
    Column("body", LargeBinary, nullable=False),
)
Index(
    "leaves_exchange",
    leaves.c.exchange,
    leaves.c.idx,
    sqlite_where=leaves.c.exchange.is_not(None),
    postgresql_where=leaves.c.exchange.is_not(None),
)

nodes = Table(
    "nodes",
    metadata,
    Column("level", Integer, nullable=False),
    Column("idx", BigInteger, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    PrimaryKeyConstraint("level", "idx"),
    sqlite_with_rowid=False,
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("size", _ROWID, primary_key=True, autoincrement=False),
    Column("note", LargeBinary, nullable=False),
    Column("token", LargeBinary),  # RFC 3161, over the note; comes later
)


def connect(path: Path, *, read_only: bool = False, readers: int = 1) -> Engine:
    """An engine on the database at ``path``; transactions are begun and ended explicitly, as PostgreSQL does by itself.

    ``synchronous=FULL``: in WAL mode it is what makes a returned COMMIT survive a power cut.
    """
    target = f"file:{path}?mode=ro&uri=true" if read_only else str(path)
    pool = {"poolclass": QueuePool, "pool_size": readers, "max_overflow": 0} if read_only else {"poolclass": NullPool}
    engine = create_engine(f"sqlite:///{target}", connect_args={"isolation_level": None, "check_same_thread": False, "timeout": 30}, **pool)
    pragmas = ["foreign_keys=ON", "cache_size=-16000", "temp_store=MEMORY"]
    pragmas += ["query_only=ON"] if read_only else ["journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=2000"]

    @event.listens_for(engine, "connect")
    def _set_up(dbapi_connection: object, _record: object) -> None:
        cursor = dbapi_connection.cursor()  # type: ignore[attr-defined]
        for pragma in pragmas:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


def prepare(connection: Connection) -> None:
    """Create the tables in an empty database, or see that this program may use the ones there. Raises NewerDatabase, OlderDatabase."""
    if not inspect(connection).has_table(schema_versions.name):
        metadata.create_all(connection)
        connection.execute(schema_versions.insert().values(version=SCHEMA_VERSION, compatible_from=COMPATIBLE_FROM))
        return
    check_version(connection)
    EXPIRING.create(connection, checkfirst=True)  # a database that began without it; no program has to know


def check_version(connection: Connection) -> None:
    """Raises NewerDatabase when the database says a program of this version may not use it, OlderDatabase when this program cannot."""
    newest = select(schema_versions.c.version, schema_versions.c.compatible_from).order_by(schema_versions.c.version.desc()).limit(1)
    version, compatible_from = connection.execute(newest).one()
    if compatible_from > SCHEMA_VERSION:
        raise NewerDatabase(
            f"the database has schema {version} and needs a program of schema {compatible_from} or later; this one knows {SCHEMA_VERSION}: upgrade",
            version=version,
            compatible_from=compatible_from,
        )
    if version < OLDEST_KNOWN:
        raise OlderDatabase(
            f"the database has schema {version}; this program begins at {OLDEST_KNOWN} and converts nothing: found the home anew",
            version=version,
            oldest=OLDEST_KNOWN,
        )
