"""docs/findings.md is made from the cards that are stored, and every violation on it has a name in the catalogue."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"
CARDS = sorted((DOCS / "findings").glob("torch-*/*.json"))


@pytest.fixture(scope="module")
def render():
    spec = importlib.util.spec_from_file_location("findings_render", DOCS / "findings" / "render.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_as_the_cards_and_the_catalogue_say(render):
    text = (DOCS / "findings.md").read_text()
    assert text == render.page(CARDS), "make it anew: python docs/findings/collect.py --render"
    assert "Not named yet" not in text


def test_there_is_a_card_of_every_built_in_checkpointer_and_version():
    from faultkit.checkpointers.catalogue import BUILT_IN

    for version in ("2.13.0", "2.14.1"):
        assert {path.stem for path in CARDS if path.parent.name == f"torch-{version}"} == set(BUILT_IN.homes)


def test_what_nobody_has_named_is_told_as_that(render, tmp_path):
    card = json.loads((DOCS / "findings" / "torch-2.13.0" / "dcp.json").read_text())
    promise = next(one for one in card["promises"] if one["violations"])
    promise["violations"] = [
        {**promise["violations"][0], "identity": {"check": "growth", "verdict": "LEAKED"}}
    ]
    place = tmp_path / "torch-2.13.0" / "mine.json"
    place.parent.mkdir()
    place.write_text(json.dumps({**card, "promises": [promise]}))
    assert "### Not named yet" in render.page([place])


def test_an_entry_counts_where_its_versions_say_so(render):
    broken = {
        "identity": {
            "check": "crash", "verdict": "ERROR", "point": "returned: write(.metadata.tmp)", "action": "power cut",
            "where": "torch.distributed.checkpoint.filesystem.create_stream",
        },
        "evidence": "", "scenario": "dcp.save",
    }  # fmt: skip
    assert render.known_as(broken, "2.13.0").name == "dcp-metadata-synced-before-it-is-written"
    assert render.known_as(broken, "2.14.1") is None
