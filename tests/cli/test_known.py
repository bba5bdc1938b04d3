"""``--known``, ``--write-known``, ``faultkit known`` and ``faultkit compare``, as a user meets them."""

from __future__ import annotations

import json
import re

import pytest

SWEEP = ("sweep", "dcp.save", "--world", 2, "--kind", "simulated")
RESET = (*SWEEP, "--plan", "writer.reset@1=raise(ValueError)")


@pytest.fixture
def known(tmp_path, faultkit):
    """A file with the one violation of `RESET`."""
    file = tmp_path / "known.toml"
    status, _, err = faultkit(*RESET, "--write-known", file)
    assert status == 1 and f"1 entry added to {file}, accepted for 30 days: write a reason for each" in err
    return file


@pytest.mark.slow
def test_what_is_accepted_is_folded_and_passes_and_what_is_new_fails(faultkit, known):
    status, out, _ = faultkit(*RESET, "--known", known)
    assert (
        status == 0
        and "1 known, by name:\n  hung-writer.reset-raise  1  HUNG: liveness, of the others" in out
    )
    assert "liveness: rank" not in out  # folded
    assert "nobody has said why these are accepted: hung-writer.reset-raise" in out
    known.write_text(
        known.read_text().replace("not looked at yet (written by --write-known)", "see ticket 12")
    )
    _, out, _ = faultkit(*RESET, "--known", known)
    assert "nobody has said" not in out
    # the same verdict at another place is another violation
    status, out, _ = faultkit(
        *RESET, "--plan", "fs.init_path@1=raise(OSError, EIO)", "--known", known, "--json", "-"
    )
    assert status == 1
    told = json.loads(out)
    assert [plan["violations"][0]["known"] for plan in told["plans"]] == ["hung-writer.reset-raise", None]
    assert told["known"]["names"] == {"hung-writer.reset-raise": 1} and len(told["known"]["new"]) == 1


@pytest.mark.slow
def test_worse_milder_expired_and_gone_are_told(faultkit, known):
    text = known.read_text()

    def with_entry(old, new, *arguments):
        assert old in text
        known.write_text(re.sub(r'identity = "\w+"', 'identity = "0000000000"', text).replace(old, new))
        return faultkit(*(arguments or RESET), "--known", known)[:2]

    status, out = with_entry('verdict = "HUNG"', 'verdict = "MASKED"')
    assert status == 1 and re.search(
        r"worse: hung-writer.reset-raise is accepted as MASKED, and is HUNG \(\w+\) now", out
    )
    status, out = with_entry('verdict = "HUNG"', 'verdict = "LOST_WORK"')
    assert status == 0 and "milder: hung-writer.reset-raise is accepted as LOST_WORK, and is HUNG" in out
    known.write_text(re.sub(r"expires = .*", "expires = 2020-01-31", text))
    status, out, _ = faultkit(*RESET, "--known", known)
    assert status == 1 and f"expired on 2020-01-31: hung-writer.reset-raise ({known})" in out
    # the plan that showed it holds, and then one that says nothing of it
    held = text.replace(
        'plan = "writer.reset@1=raise(ValueError)"', 'plan = "writer.finish@0=raise(ValueError)"'
    )
    known.write_text(held)
    finish = (*SWEEP, "--plan", "writer.finish@0=raise(ValueError)", "--known", known)
    status, out, _ = faultkit(*finish)
    assert status == 0 and f"no longer seen: hung-writer.reset-raise: remove it from {known}" in out
    known.write_text(text)
    status, out, _ = faultkit(*finish)
    assert status == 0 and "no longer seen" not in out


@pytest.mark.slow
def test_a_replay_knows_and_adds_nothing_twice(faultkit, known):
    replay = (
        "replay",
        "writer.reset@0=raise(ValueError)",
        "--scenario",
        "dcp.save",
        "--world",
        2,
        "--kind",
        "simulated",
    )
    assert faultkit(*replay)[0] == 1
    status, out, err = faultkit(*replay, "--known", known, "--write-known", known)
    assert status == 0 and "1 known, by name:\n  hung-writer.reset-raise" in out
    assert f"0 entries added to {known}" in err


@pytest.mark.slow
def test_the_built_in_catalogue_lets_the_stock_engine_pass(faultkit):
    status, out, _ = faultkit(*RESET, "--known", "builtin")
    assert status == 0 and "dcp-error-before-first-collective" in out


@pytest.mark.slow
def test_crashes_and_damage_know_too(faultkit, tmp_path):
    file = tmp_path / "known.toml"
    crash = ("crash", "dcp-overwrite,elements=8", "--world", 1, "--model", "killed", "--jobs", 1)
    assert faultkit(*crash, "--write-known", file)[0] == 1
    status, out, _ = faultkit(*crash, "--known", file, "--json", "-")
    assert status == 0 and all(finding["known"] for finding in json.loads(out)["findings"])
    assert faultkit(*crash, "--known", "builtin")[0] == 0
    damage = ("damage", "dcp-save", "--world", 1, "--actions", "flip", "--samples", 1, "--jobs", 1)
    assert faultkit(*damage)[0] == 1
    status, out, _ = faultkit(*damage, "--known", "builtin")
    assert status == 0 and "dcp-values-not-checked" in out and "1 known, by name:" in out


@pytest.mark.slow
def test_the_same_crash_has_the_same_key_in_every_recording(faultkit):
    crash = (
        "crash",
        "dcp-overwrite,elements=8",
        "--world",
        2,
        "--model",
        "killed",
        "--jobs",
        1,
        "--json",
        "-",
    )
    found = [json.loads(faultkit(*crash)[1])["findings"] for _ in range(2)]
    keys = [[(one["key"], one["identity"]["name"]) for one in findings] for findings in found]
    assert keys[0] == keys[1] and len(set(keys[0])) == len(keys[0]) > 1


@pytest.mark.slow
def test_a_life_that_is_known_fails_nothing(faultkit, tmp_path):
    history = (
        "history",
        "dcp",
        "--lives",
        10,
        "--world",
        1,
        "--rules",
        "save,overwrite,fail,restart",
        "--seed",
        0,
    )
    file = tmp_path / "known.toml"
    assert faultkit(*history, "--write-known", file)[0] == 1
    status, out, _ = faultkit(*history, "--known", "builtin")
    assert status == 0 and "dcp-life-lost-by-an-overwrite" in out


@pytest.mark.parametrize(
    "command", ["sweep dcp-save", "crash dcp-fresh", "damage dcp-save", "history dcp", "replay ''"]
)
def test_a_bad_file_is_one_line_before_anything_starts(faultkit, tmp_path, command):
    file = tmp_path / "known.toml"
    file.write_text("[[known]]\nname = 3\n")
    words = [word.strip("'") for word in command.split()]
    status, out, err = faultkit(*words, "--known", file)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"faultkit: --known: {file}: entry 1: ")
    status, out, err = faultkit(*words, "--known", "bultin")
    assert status == 2 and "did you mean 'builtin'?" in err
    (tmp_path / "other.toml").write_text("x = 1\n")
    status, out, err = faultkit(*words, "--write-known", tmp_path / "other.toml")
    assert status == 2 and "--write-known adds to a file of known violations, and this is none" in err


def test_known_defects_are_listed(faultkit):
    status, out, _ = faultkit("known")
    assert status == 0 and "dcp-overwrite-in-place" in out and "script-barrier" in out
    status, out, _ = faultkit("known", "torch-save")
    assert "script-barrier" in out and "dcp-overwrite-in-place" not in out
    status, out, _ = faultkit("known", "dcp,threads=2", "--json")
    found = {one["name"]: one for one in json.loads(out)["known"]}
    assert found["dcp-error-of-a-second-thread-lost"]["applies"] and "script-barrier" not in found
    assert found["dcp-error-of-a-second-thread-lost"]["issue"].startswith("https://")
    status, out, _ = faultkit("known", "reference")
    assert status == 0 and "0 known" in out
    status, _, err = faultkit("known", "dpc")
    assert status == 2 and "did you mean 'dcp'?" in err


@pytest.mark.slow
def test_two_sweeps_are_compared(faultkit, tmp_path):
    files = [tmp_path / name for name in ("a.json", "b.json", "c.json")]
    plans = ["--plan", "writer.reset@1=raise(ValueError)", "--plan", "writer.finish@0=raise(ValueError)"]
    faultkit(*SWEEP, *plans, "--json", files[0])
    faultkit(*SWEEP, *plans[2:], "--json", files[1])
    faultkit(*SWEEP, "--plan", "writer.reset@0=raise(ValueError)", "--json", files[2])
    assert faultkit("compare", files[0], files[2])[:2] == (
        0,
        "sweep of dcp.save on 2 ranks, torch {0} and {0}\n\n1 the same, 0 changed\n".format(
            json.loads(files[0].read_text())["torch"]
        ),
    )
    status, out, _ = faultkit("compare", files[1], files[0])
    assert status == 1 and "new: 1\n" in out and "hung-writer.reset-raise" in out
    status, out, _ = faultkit("compare", files[0], files[1], "--json")
    assert status == 0 and [one["name"] for one in json.loads(out)["untried"]] == ["hung-writer.reset-raise"]
    status, _, err = faultkit("compare", files[0], tmp_path / "none.json")
    assert status == 2 and err.count("\n") == 1
