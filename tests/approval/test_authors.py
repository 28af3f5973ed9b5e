from __future__ import annotations

from pathlib import Path

import pytest
from ml_pipeline.approval.authors import authors_of_change
from ml_pipeline.approval.policy import Policy
from ml_pipeline.core import git
from ml_pipeline.core.errors import Refused

ROOT = Path("/nowhere")
CHALLENGER = {"git.commit": "2" * 40, "git.dirty": "false"}
CHAMPION = {"git.commit": "1" * 40, "git.dirty": "false"}
POLICY = Policy(identities={"asha@ex.org": "Asha", "asha@home.org": "Asha", "bina@ex.org": "Bina"})


@pytest.fixture
def addresses(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str | None, str], frozenset[str]]:
    """Addresses of the authors that the repository returns, by range of commits."""
    known: dict[tuple[str | None, str], frozenset[str]] = {}
    monkeypatch.setattr(git, "authors", lambda root, since, until: known.get((since, until)))
    return known


Addresses = dict[tuple[str | None, str], frozenset[str]]


def test_authors_are_mapped_to_approver_names_by_address(addresses: Addresses) -> None:
    addresses["1" * 40, "2" * 40] = frozenset({"asha@ex.org", "asha@home.org", "bina@ex.org"})
    assert authors_of_change(ROOT, CHALLENGER, CHAMPION, POLICY) == ("Asha", "Bina")


def test_without_a_champion_the_whole_history_is_the_change(addresses: Addresses) -> None:
    addresses[None, "2" * 40] = frozenset({"bina@ex.org"})
    assert authors_of_change(ROOT, CHALLENGER, None, POLICY) == ("Bina",)


def test_an_unlisted_address_is_refused_and_named(addresses: Addresses) -> None:
    addresses[None, "2" * 40] = frozenset({"bina@ex.org", "bot@ex.org"})
    with pytest.raises(Refused, match=r"'identities' do not list the address bot@ex\.org"):
        authors_of_change(ROOT, CHALLENGER, None, POLICY)


def test_spellings_of_an_address_are_equivalent(addresses: Addresses) -> None:
    addresses[None, "2" * 40] = frozenset(
        {"Bina@EX.org", "asha\u200b@ex.org", "\uff41sha@home.org"}
    )
    assert authors_of_change(ROOT, CHALLENGER, None, POLICY) == ("Asha", "Bina")


@pytest.mark.parametrize("address", ["asha+work@ex.org", "\u0430sha@ex.org", "asha@ex.org.evil"])
def test_an_address_similar_to_a_listed_one_is_refused(addresses: Addresses, address: str) -> None:
    addresses[None, "2" * 40] = frozenset({"bina@ex.org", address})
    with pytest.raises(Refused, match="'identities' do not list the address"):
        authors_of_change(ROOT, CHALLENGER, None, POLICY)


def test_a_challenger_from_a_commit_before_the_champions_is_refused(
    addresses: Addresses,
) -> None:
    addresses["1" * 40, "2" * 40] = frozenset()
    with pytest.raises(Refused, match="adds nothing to the champion's"):
        authors_of_change(ROOT, CHALLENGER, CHAMPION, POLICY)


def test_the_champions_own_commit_on_other_data_has_no_authors(addresses: Addresses) -> None:
    addresses["2" * 40, "2" * 40] = frozenset()
    assert authors_of_change(ROOT, CHALLENGER, CHALLENGER, POLICY) == ()


def test_inputs_of_the_model_outside_its_commit_are_named(addresses: Addresses) -> None:
    dirty = CHALLENGER | {
        "git.dirty": "true",
        "git.dirty.why": "train.seed set by --set",
    }
    with pytest.raises(Refused, match=r"not built from its commit alone: train\.seed set by --set"):
        authors_of_change(ROOT, dirty, CHAMPION, POLICY)


@pytest.mark.parametrize(
    ("challenger", "champion", "side"),
    [({}, CHAMPION, "challenger"), (CHALLENGER, {}, "champion")],
)
def test_a_version_without_a_commit_is_reported_from_the_registry(
    challenger: dict[str, str], champion: dict[str, str], side: str, addresses: Addresses
) -> None:
    """A version registered again after the registry was lost has no commit either."""
    message = rf"the registry has no git commit of the {side}'s version; .*'git\.commit'.*in MLflow"
    with pytest.raises(Refused, match=message):
        authors_of_change(ROOT, challenger, champion, POLICY)


@pytest.mark.parametrize(
    ("challenger", "champion"),
    [
        (CHALLENGER, CHAMPION),
        ({}, CHAMPION),
        (CHALLENGER, {}),
        (CHALLENGER | {"git.dirty": "true"}, CHAMPION),
    ],
)
def test_unverifiable_authors_are_refused(
    challenger: dict[str, str], champion: dict[str, str], addresses: Addresses
) -> None:
    with pytest.raises(Refused, match="four eyes cannot be verified"):
        authors_of_change(ROOT, challenger, champion, POLICY)
