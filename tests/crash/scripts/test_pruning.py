"""A resumption is spared only where an earlier one would have met the same, also of scripts that write and move."""

from __future__ import annotations

import itertools
import textwrap

import pytest

from faultkit import scripts
from faultkit.crash import State, Witness
from faultkit.crash.scripts import Job, exploring
from faultkit.crash.scripts.judge import ScriptJudge
from faultkit.crash.scripts.resume import Resumption

pytestmark = pytest.mark.slow

# Each script reads some files of {a, b, c, d/e, d/f} and writes "result"; what it writes there follows from them.
SCRIPTS = {
    "reads one": "put(get('a'))",
    "appends": "open('a', 'a').write('x'); put(get('a'))",
    "overwrites, then reads": "open('a', 'w').write('x'); put(get('a'))",
    "updates in place": """
        f = open('a', 'r+') if os.path.isfile('a') else open('b', 'w+')
        f.write('x')
        f.seek(0)
        put(f.read())
    """,
    "moves what it reads": "os.path.exists('b') and os.replace('b', 'a'); put(get('a'))",
    "moves a directory": "os.path.isdir('d') and os.rename('d', 'g'); put(get('g/e'))",
    "links": "os.path.isfile('a') and os.link('a', 'z'); put(get('z'))",
    "lists": "put(','.join(sorted(os.listdir('.'))))",
    "lists after a removal": "os.path.exists('a') and os.remove('a'); put(','.join(sorted(os.listdir('.'))))",
    "removes a tree": "shutil.rmtree('d', ignore_errors=True); put(get('d/e') + get('a'))",
    "makes a directory": """
        os.makedirs('d', exist_ok=True)
        open('d/e', 'w').write('n')
        put(get('d/e') + str(len(os.listdir('d'))))
    """,
    "opens by number": """
        number = os.open('a', os.O_RDWR | os.O_CREAT)
        put(os.read(number, 2).decode())
        os.write(number, b'y')
    """,
    "cuts off": "os.path.isfile('a') and os.truncate('a', 1); put(get('a'))",
    "asks another program": "put(cat('a'))",
    "looks, then asks another program": "os.path.exists('a'); put(cat('a'))",
    "opens, and asks another program": "f = open('a') if os.path.exists('a') else None; put(cat('a'))",
    "asks another program, then overwrites": "t = cat('a'); open('a', 'w').write('n'); put(t)",
    "looks, then opens beyond Python": """
        import ctypes
        os.path.exists('a')
        number = ctypes.CDLL(None).open(b'a', 0)
        put(os.read(number, 9).decode() if number >= 0 else '-')
    """,
    "opens, then opens beyond Python": """
        import ctypes
        f = open('a') if os.path.exists('a') else None
        number = ctypes.CDLL(None).open(b'a', 0)
        put(os.read(number, 9).decode() if number >= 0 else '-')
    """,
    "leaves the result": "os.path.exists('result') or put('new')",
    "fails by content": "put('x' if get('a') != '22' else str(1 // 0))",
}
FRAME = """
import os, shutil, subprocess, sys
os.chdir(sys.argv[1])
def put(text):
    with open('result.tmp', 'w') as stream:
        stream.write(text)
    os.replace('result.tmp', 'result')
def get(path):
    if os.path.exists(path):
        with open(path) as stream:
            return stream.read()
    return '-'
def cat(path):
    return subprocess.run(['cat', path], capture_output=True, text=True).stdout
"""


def trees():
    """Directories in which each file is missing, or has one of two contents; and one with an old result."""
    choices = {"a": (None, "1", "22"), "b": (None, "3"), "d/e": (None, "4")}
    for contents in itertools.product(*choices.values()):
        files = {name: text for name, text in zip(choices, contents, strict=True) if text is not None}
        tree = {"out": None, **({"out/d": None} if any(name.startswith("d/") for name in files) else {})}
        yield tree | {f"out/{name}": text.encode() for name, text in files.items()}
    yield {"out": None, "out/a": b"1", "out/result": b"old"}


def judged(judge, states):
    return {
        state.key: (judgement.verdict, judgement.message) for state, judgement in judge.judge_many(states)
    }


UNSEEN = [name for name in SCRIPTS if "another program" in name or "beyond Python" in name]
# Scripts whose every question is known share processes: each state says which one runs.  The result is told in the
# message of a failure, so that every other result is another judgement.
CHOOSING = "\n".join(
    [
        FRAME,
        "which = open(os.path.join('..', 'which')).read()",
        *(
            f"if which == {name!r}:\n" + textwrap.indent(textwrap.dedent(code), "    ")
            for name, code in SCRIPTS.items()
            if name not in UNSEEN
        ),
        "if which == 'finished':",
        "    put('')",
        "else:",
        "    sys.exit('result: ' + get('result'))",
    ]
)


def judged_twice(code, states, finished):
    """The judgements with pruning, those without, how many loads ran with, and whether pruning was allowed."""
    command = ("python", "-c", code, "{out}")
    scenario = exploring.scenario_of(
        Job(command, results=("{out}/result",)), Resumption(command, results=("{out}/result",))
    )
    with ScriptJudge(scenario, workers=2, timeout_seconds=20) as judge:
        judge.expect(finished.tree)
        pruned = judged(judge, states)
        loaded = judge.loaded
        everything = {
            state.key: (judgement.verdict, judgement.message) for state, judgement in judge.load_many(states)
        }
        return pruned, everything, loaded, judge.pruning


def states_of(which=""):
    return [
        State(
            key=f"{which} {number}",
            witness=Witness(model="killed", done=()),
            tree=tree | ({"which": which.encode()} if which else {}),
        )
        for number, tree in enumerate(trees())
    ]


def test_pruning_changes_no_judgement_of_scripts_that_write_and_move():
    states = {name: states_of(name) for name in SCRIPTS if name not in UNSEEN}
    pruned, everything, loaded, is_allowed = judged_twice(
        CHOOSING, [state for several in states.values() for state in several], states_of("finished")[0]
    )
    assert is_allowed and pruned == everything
    for name, several in states.items():
        results = {everything[state.key][1] for state in several}
        assert len(results) > 1 or "overwrites" in name or "makes" in name, name
    assert loaded < len(everything) * 2 // 3


@pytest.mark.parametrize("name", UNSEEN)
def test_a_script_whose_questions_are_not_all_known_is_always_run(name):
    states = states_of()
    pruned, everything, loaded, is_allowed = judged_twice(
        FRAME + textwrap.dedent(SCRIPTS[name]), states, states[7]
    )
    assert pruned == everything and len(set(everything.values())) > 1
    assert loaded == len(states) and not is_allowed


TRAINING = """
import json, os, sys
folder, step = sys.argv[1], 0
os.makedirs(folder, exist_ok=True)
done = [name for name in os.listdir(folder) if name.endswith('.json')]
if done:
    step = json.load(open(os.path.join(folder, max(done))))
print('from', step)
for step in range(step + 1, 4):
    path = os.path.join(folder, f'{step}.json')
    with open(path + '.tmp', 'w') as stream:
        json.dump(step, stream)
    os.replace(path + '.tmp', path)
open(os.path.join(folder, 'result'), 'w').write(str(step))
"""


def test_a_whole_exploration_comes_to_the_same_in_a_fraction_of_the_loads(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(TRAINING)
    job = Job(
        ("python", str(script), "{out}"), results=("{out}/result",), step=r"from (\d+)", checkpoints="*.json"
    )
    pruned, everything = (scripts.explore(job, pruning=pruning) for pruning in (True, False))
    assert pruned.complete and everything.complete
    assert [count.verdicts for count in pruned.counts] == [count.verdicts for count in everything.counts]
    assert pruned.text().partition("\n\n")[2] == everything.text().partition("\n\n")[2]
    # one that fails is told by the newest file alone, whatever the older ones are
    assert pruned.findings and pruned.loaded < 0.4 * everything.loaded, (pruned.loaded, everything.loaded)
    assert all(count.audited for count in pruned.counts)
