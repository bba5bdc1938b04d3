"""Where a report cannot be written is said before the work that it would tell of."""

from __future__ import annotations

import pytest

from faultkit.report.output import refusal


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("x" * 300, "(got 'xxx"),
        ("a\0b", "(got 'a\\x00b': "),
        ("", "which is a directory"),
        ("no/such/report.json", "must lie in a directory that can be written"),
        ("/dev/full", ""),
        ("report.json", ""),
    ],
)
def test_what_cannot_be_written_is_known_before(tmp_path, monkeypatch, path, why):
    monkeypatch.chdir(tmp_path)
    found = refusal(path, None)
    assert why in found and bool(found) == bool(why)
    assert "\n" not in found and "\0" not in found
