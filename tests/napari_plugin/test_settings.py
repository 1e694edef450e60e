"""What the user set, where napari has no place for it; and the table of actions."""

from __future__ import annotations

from pathlib import Path

import pytest

from organoseg_napari import settings
from organoseg_napari.actions import ACTIONS, TAKEN


@pytest.fixture(autouse=True)
def older_napari(monkeypatch: pytest.MonkeyPatch) -> None:
    """One without preferences for plugins."""
    monkeypatch.setattr(settings, "_preference", lambda group, name: None)
    monkeypatch.setattr(settings, "_prefer", lambda group, name, value: False)


def test_every_action_has_a_key_of_its_own_that_napari_leaves_free() -> None:
    keys = [action.key for action in ACTIONS]
    assert len(set(keys)) == len(keys)
    assert not TAKEN & set(keys)
    assert settings.keys() == {action.name: action.key for action in ACTIONS}


def test_keys_are_kept_and_two_actions_never_share_one() -> None:
    settings.set_key("accept", "Q")
    assert settings.keys()["accept"] == "Q"
    settings.remember("keys", {"accept": "Q", "reject": "Q", "next": "A"})
    chosen = settings.keys()
    assert (chosen["accept"], chosen["reject"], chosen["next"]) == ("Q", "R", "A")
    settings.remember("keys", {"accept": "R"})
    assert len(set(settings.keys().values())) == len(ACTIONS)


def test_a_damaged_file_costs_the_settings_and_nothing_else(own_settings: Path) -> None:
    settings.remember("models", ["/a"])
    assert settings.recall("models", []) == ["/a"]
    assert settings.recall("models", "") == "", "of another kind than expected"
    settings.settings_file().write_text("{")
    assert settings.recall("models", []) == []
    settings.settings_file().write_text("[]")
    assert settings.recall("models", []) == []
    settings.remember("models", ["/b"])
    assert settings.recall("models", []) == ["/b"]


@pytest.mark.parametrize(("given", "used"), [(0.5, 0.5), (-1.0, 0.0), (7.0, 1.0)])
def test_the_random_share_is_a_share(given: float, used: float) -> None:
    settings.remember("random_share", given)
    assert settings.random_share() == used


def test_the_reviewer_has_a_name() -> None:
    assert settings.reviewer()
    settings.remember("reviewer", "Ada")
    assert settings.reviewer() == "Ada"
