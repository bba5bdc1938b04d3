"""The library that is loaded into the user's processes is one that nobody else can have put there."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from faultkit.interception import shim
from tests.helpers.stuck import SECONDS_MAX


def build(command, path):
    """In the place of a compiler: as `shim._build`, what it makes replaces what was there."""
    made = Path(f"{path}.made")
    made.write_bytes(b"built")
    made.chmod(0o700)
    made.rename(path)


@pytest.fixture
def places(tmp_path, monkeypatch):
    """(cache directory of the user, that in the temporary directory); a library is made in no time."""
    (tmp_path / "home").mkdir()
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(shim, "compiler", lambda: ["cc"])
    monkeypatch.setattr(shim, "_build", build)
    shim._own_directory.cache_clear()
    yield tmp_path / "home" / "faultkit", tmp_path / "tmp" / f"faultkit-cache-{os.getuid()}"
    shim._own_directory.cache_clear()


def without_home(places):
    os.rmdir(places[0].parent)
    places[0].parent.write_text("no directory")


def is_private(path, places):
    assert not any(Path(path).is_relative_to(place) for place in places)
    return (
        stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700 and Path(path).read_bytes() == b"built"
    )


def test_a_library_is_built_once_and_kept_for_the_user_alone(places, monkeypatch):
    path = Path(shim.library())
    assert path.parent == places[0] and stat.S_IMODE(places[0].stat().st_mode) == 0o700
    monkeypatch.setattr(shim, "_build", None)
    assert shim.library() == str(path)


def test_without_a_home_it_is_kept_in_the_temporary_directory(places, monkeypatch):
    without_home(places)
    path = Path(shim.library())
    assert path.parent == places[1]
    monkeypatch.setattr(shim, "_build", None)
    assert shim.library() == str(path)


def test_a_link_that_somebody_made_in_the_temporary_directory_is_not_followed(places, tmp_path):
    name = os.path.basename(shim.library())
    shim_directory, theirs = places[0], tmp_path / "theirs"
    for path in shim_directory.iterdir():
        path.unlink()
    shim_directory.rmdir()
    without_home(places)
    theirs.mkdir(mode=0o700)
    (theirs / name).write_bytes(b"theirs")
    places[1].symlink_to(theirs)
    path = shim.library()
    assert is_private(path, (*places, theirs)) and os.path.basename(path) == name
    assert shim.library() == path


@pytest.mark.parametrize("which", [0, 1])
def test_a_directory_that_others_can_write_to_is_no_cache(places, which):
    if which:
        without_home(places)
    places[which].mkdir()
    places[which].chmod(0o777)
    assert not Path(shim.library()).is_relative_to(places[which])
    assert list(places[which].iterdir()) == []


def test_a_directory_of_another_user_is_no_cache(places, monkeypatch):
    shim.library()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert not any(Path(shim.library()).is_relative_to(place) for place in places)


@pytest.mark.parametrize("spoil", ["link", "mode"])
def test_a_library_that_others_can_change_is_built_again(places, tmp_path, spoil):
    path = Path(shim.library())
    (tmp_path / "theirs").write_bytes(b"theirs")
    path.write_bytes(b"theirs")
    if spoil == "mode":
        path.chmod(0o722)
    else:
        path.unlink()
        path.symlink_to(tmp_path / "theirs")
    assert shim.library() == str(path)
    assert path.read_bytes() == b"built" and not path.is_symlink()
    assert (tmp_path / "theirs").read_bytes() == b"theirs"


def test_a_library_without_a_cache_goes_with_its_process(tmp_path):
    if shim.compiler() is None:
        pytest.skip("no C compiler builds the preloaded library here")
    (tmp_path / "home").write_text("no directory")
    (tmp_path / f"faultkit-cache-{os.getuid()}").symlink_to("/nowhere")
    code = "import ctypes\nfrom faultkit.interception.shim import library\nprint(path := library())\nctypes.CDLL(path)"
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=True,
    )
    assert Path(done.stdout.strip()).is_relative_to(tmp_path) and not os.path.exists(done.stdout.strip())
    assert sorted(os.listdir(tmp_path)) == [f"faultkit-cache-{os.getuid()}", "home"]
