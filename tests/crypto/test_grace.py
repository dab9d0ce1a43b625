"""A revocation list past its next update: nothing without a grace, and within one exactly so long and no longer."""

from __future__ import annotations

from datetime import timedelta

import pytest

from crypto.certificates import ChainCache, CrlStale, Purpose, Revoked
from crypto.suites import SUITES, Suite
from tests.crypto.pki import NOW, pki_for

LIFE = timedelta(days=7) - timedelta(hours=1)  # what is left of the lists at NOW
HOUR, TICK = timedelta(hours=1), timedelta(seconds=1)


@pytest.mark.parametrize("suite", SUITES.values(), ids=str)
def test_a_list_counts_to_the_end_of_its_grace(suite: Suite) -> None:
    pki = pki_for(suite)
    chains, signing = ChainCache(pki.trust), pki.office.signing.certificate
    end = NOW + LIFE

    def ask(cache: ChainCache, hours: timedelta) -> None:
        cache.verify(signing, at=NOW, now=end + hours, purpose=Purpose.SIGN)

    within = chains.within(6 * HOUR)
    ask(within, timedelta(0))
    assert within.stale_since is None, "nothing was forgiven yet"
    ask(within, 6 * HOUR)
    assert within.stale_since == end
    with pytest.raises(CrlStale):
        ask(within, 6 * HOUR + TICK)
    with pytest.raises(CrlStale):
        ask(chains.within(5 * HOUR), 6 * HOUR)
    with pytest.raises(CrlStale):
        ask(chains, TICK)  # what another act was forgiven is remembered by nobody
    assert chains.stale_since is None
    assert chains.within(6 * HOUR).stale_since is None, "each act asks for itself"


def test_what_a_stale_list_says_still_counts() -> None:
    pki = pki_for(SUITES["intl-1"])
    signing = pki.office.signing.certificate
    chains = ChainCache(pki.trust_after([(signing, NOW, "keyCompromise")])).within(24 * HOUR)
    with pytest.raises(Revoked):
        chains.verify(signing, at=NOW, now=NOW + timedelta(days=7) + HOUR, purpose=Purpose.SIGN)


def test_a_list_of_tomorrow_is_not_forgiven() -> None:
    """A grace lengthens the end alone."""
    pki = pki_for(SUITES["intl-1"])
    chains = ChainCache(pki.trust_after(now=NOW + 2 * HOUR)).within(24 * HOUR)
    with pytest.raises(CrlStale):
        chains.verify(pki.office.signing.certificate, at=NOW, now=NOW, purpose=Purpose.SIGN)


def test_a_list_that_never_ends_overflows_nothing() -> None:
    from datetime import UTC, datetime

    from crypto.certificates import Window

    endless = Window(start=NOW, end=datetime.max.replace(tzinfo=UTC))
    assert endless.lengthened(24 * HOUR) == endless
