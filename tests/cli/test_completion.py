"""What a shell completes, and that it costs no import of the engine."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from click.shell_completion import ShellComplete

from faultkit import cli


def completed(*words):
    *before, incomplete = words
    found = ShellComplete(cli.command, {}, "faultkit", "_FAULTKIT_COMPLETE").get_completions(
        list(before), incomplete
    )
    return [item.value for item in found]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("sw",), ["sweep"]),
        (("sweep", "torch-save.o"), ["torch-save.overwrite"]),
        (("sweep", "dcp-l"), ["dcp-load"]),
        (("check", "safe"), ["safetensors"]),
        (("crash", "reference.p"), ["reference.prune"]),
        (("sweep", "dcp-save", "--kind", "s"), ["simulated", "spawn"]),
        (("sweep", "dcp-save", "--points", "writer.fi"), ["writer.finish"]),
        (("sweep", "dcp-save", "--actions", "seg"), ["segfault"]),
        (("damage", "dcp-save", "--actions", "fl"), ["flip"]),
        (("sweep", "dcp-save", "--checks", "liveness,ag"), ["liveness,agreement"]),
        (("check", "dcp", "--promises", "round"), ["round-trip"]),
        (("crash", "dcp-fresh", "--models", "k"), ["killed"]),
        (("replay", "x", "--scenario", "dcp-hf.r"), ["dcp-hf.resume"]),
    ],
)
def test_words_are_completed(words, found):
    assert completed(*words) == found


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_script_and_nothing_of_the_engine_is_imported(shell):
    code = (
        "import sys, os\nsys.argv = ['faultkit']\n"
        "from faultkit.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print('torch' in sys.modules, 'rich' in sys.modules)"
    )

    def run(instruction, **more):
        environment = {**os.environ, "_FAULTKIT_COMPLETE": f"{shell}_{instruction}", **more}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
        )
        return done.stdout

    assert "_FAULTKIT_COMPLETE" in run("source")
    words = {
        "COMP_WORDS": "faultkit sweep torch-save.o",
        "COMP_CWORD": "torch-save.o" if shell == "fish" else "2",
    }
    told = run("complete", **words)
    assert "torch-save.overwrite" in told and told.endswith("False False\n")
