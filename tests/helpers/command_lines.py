"""Command lines with absurd values, each of which is one line on standard error and status 2; and sound ones.

`ABSURD` is made of tables: for each command, for each option, the values that it cannot mean.  Run as a program,
this file runs command lines (JSON, one a line, on standard input) in this one process, in the order in which they
come, with a guard: what would start a process raises.  For each it writes [status, output, error, whether torch was
imported], where the status of one that would have started something is "started".
"""

from __future__ import annotations

import contextlib
import io
import json
import sys

LONG = "x" * 300
HUGE = "9" * 400
DEEP = "[" * 3000
NO_NUMBERS = ["", " ", "x", "1x", "--", "1,5", "0x10", "1e", "None", "true", LONG]
NO_COUNTS = [*NO_NUMBERS, "1.5", "inf", "nan", "-inf", "1e3", "-1"]
NO_SECONDS = [*NO_NUMBERS, "0", "-1", "-0.0", "inf", "-inf", "nan", "1e400", "1e308"]
NO_SEEDS = [*NO_COUNTS, str(2**64), HUGE, "-" + HUGE]
NO_FILES = ["", ".", "/", "/no/such/place/x", LONG, "/dev/null/x", "x" * 5000, "a\0b"]
NO_PAGES = [*NO_FILES, "page", "page.pdf", "page.html.gz", "/no/such/place/x.html", LONG + ".html"]
NO_WORLDS = [*NO_COUNTS, "0", "4097", HUGE]

NO_MODULES = """
    : :x a: a:b:c. ../x:y ./x:y /x:y x/y:z ..:x .:x a..b:c .a:b a.:b ~:x no_such_module:x no_such.module:x os:
    os:path os:environ os.path:sep json:no_such json:JSONDecodeError.no_such os:getpid.x sys:version __main__:x
    exits:save exits_with_words:save exits_at_once:save raises:save raises_more:save interrupts_nothing:save
    has_nothing:save needs_more:save no_function:save attribute_raises:save not_python:save
    imports_nothing_there:save
""".split()
NO_SCENARIOS = [
    *NO_MODULES,
    *[
        "",
        " ",
        ",",
        ",,",
        "=",
        LONG,
        f"{LONG}:x",
        f"os:{LONG}",
        "DCP-SAVE",
        "dcp_save",
        "dcp-sav",
        "dpc",
        "dcp.sav",
        "dcp.",
        ".save",
        "dcpp.save",
        "dcp.save.save",
        "dcp-s4",
        "*",
        "dcp-*",
    ],
    *["a b:c", "a;b:c", "a\nb", "a\x1b[31m:x", "\ud800", "é:x", "-", "dcp-save;dcp-load", "[", DEEP],
]
NO_OPTIONS = """
    , ,threads ,threads= ,=1 ,threads==2 ,threads=0 ,threads=-1 ,threads=257 ,threads=1.5 ,threads=true
    ,threads=null ,threads=[1] ,threads={} ,threads=x ,threads=NaN ,threads=1e400 ,threads=99999999999999999999
    ,threads=1,threads=2 ,thread=2 ,no_such=1 ,directory=x ,Threads=1
""".split()
NO_OPTIONS += [f",threads={HUGE * 20}", f",threads={DEEP}", f",{LONG}=1", ",threads=1,"]
NO_COORDINATORS = ["99", "-1", "4", "x", "1.0", "true", "null", "", HUGE, "0,coordinator=1"]
NO_ELEMENTS = ["0", "-4", "x", "1.5", "1000001", "8,elements=9", HUGE]

NO_PLANS = """
    = x writer.reset writer.reset= writer.reset=x writer.reset@9=hang writer.reset@999999999999=hang
    writer.reset#0=hang writer.reset#2-1=hang writer.reset@3-1=hang writer.reset@nobody=hang
    writer.reset:sometime=hang writer.=hang writer.reset=raise writer.reset=raise(mine:Error)
    writer.reset=raise(NoSuchError) writer.reset=raise(os.system) writer.reset=delay writer.reset=delay(-1)
    writer.reset=delay(1e9) writer.reset=kill(SIGNOTHING) writer.reset=exit(x) writer.reset=exit(999) @=hang
    #=hang ;; writer.reset=hang;; ;writer.reset=hang {} {"faults":1} [] __import__("os") $(id) fs.open(=hang
    fs.open()=hang fs.open("x=hang fs.open(nobody)=hang writer.reset("x")=hang clock.millisecond=hang
    writr.reset=hang writer.reset=hangg writer.reset=hang(0) writer.reset(hang) 0=0
""".split()
NO_PLANS += [
    *["writer.reset = = hang", "writer.reset=hang writer.reset=hang", "\x1b[31m", "\ud800"],
    "writer.reset=raise(OSError, ",
    *[LONG, "=" * 5000, 'writer.reset=raise(OSError, "' + "x" * 10_001 + '")', "writer.reset=hang;" * 10_001],
    "writer.reset=delay(0.1);" + " " * 1_000_000,
]  # fmt: skip
NO_FILES_OF_PLANS = """
    no-such-file . / /no/such/place empty.txt blank.txt empty.json no_plan.txt binary.plan nested.json many.json
    wrong.json list.json number.json torn.json other.json twice.json no_plans.json plans.json entry.json
    world.json kind.json order.json unknown_world.json unknown_kind.json no_scenario.json /proc/self/mem
    long.txt
""".split()

# Files of plan JSON in each of which one thing is wrong, or wants to be run.
FAULT = {
    "point": "writer.reset",
    "moment": "before",
    "ranks": "1",
    "action": {"name": "raise", "exception": "OSError"},
}
NO_TEXTS = [
    None,
    1,
    1.5,
    True,
    [],
    {},
    "",
    "__import__('os').system('touch ran')",
    "evil",
    LONG,
    "\x1b[31m",
    "\ud800",
]
WRONG_FIELDS = {
    "point": [
        *NO_TEXTS,
        "writer",
        "evil:save",
        "../writer.reset",
        "writer.reset=hang; writer.reset",
        "os.system",
    ],
    "moment": [*NO_TEXTS, "during", ["before"]],
    "ranks": [None, *NO_TEXTS[2:], -1, [-1], [[1]], ["1"], "1-", "-1", "0-", 10**30, {"1": 1}],
    "calls": [*NO_TEXTS[2:], 0, -1, "0", "-1", [1], 10**30],
    "action": [
        *NO_TEXTS,
        "hang",
        {"name": 1},
        {"name": "evil"},
        {"name": "raise"},
        {"name": "hang", "name ": 1},
    ],
    "path": ["*.distcp"],  # of a point that has no files
    "thread": ["main"],
    "__reduce__": ["evil:save"],
    "py/object": ["evil.save"],
}
WRONG_ACTIONS = [
    *({"name": "raise", "exception": one} for one in NO_TEXTS),
    *({"name": "raise", "exception": one} for one in ("evil:Error", "os:system", "posix.system", "eval", "int")),
    *({"name": "raise", "exception": "OSError", "errno": one} for one in ({}, [], "ENOTHING", 1.5, -1, 10**9, "id")),
    *({"name": "raise", "exception": "OSError", "message": one} for one in ({}, [], 1, "x" * 10_001)),
    *({"name": "delay", "seconds": one} for one in (None, "1", [], -1, 10**9, "inf")),
    *({"name": "exit", "status": one} for one in ("x", [], -1, 256, 1.5)),
    *({"name": "kill", "signal": one} for one in ([], "SIGNOTHING", 0, 65, -9)),
]  # fmt: skip
CRAFTED = {
    f"crafted-{number}.json": json.dumps({"faults": [fault]})
    for number, fault in enumerate(
        [
            *({**FAULT, field: one} for field, values in WRONG_FIELDS.items() for one in values),
            *({**FAULT, "action": one} for one in WRONG_ACTIONS),
        ]
    )
}
NO_FILES_OF_PLANS += CRAFTED

NO_KNOWN = [*NO_FILES, "bultin", "binary.plan", "empty.json/x", "nested.json"]
NO_PLACES_OF_KNOWN = [*NO_FILES, "binary.plan", "nested.json"]
WORLDS = {"--world": NO_WORLDS, "--timeout": [*NO_SECONDS, "86401"], "--seed": NO_SEEDS}
FILES = {"--json": NO_FILES, "--report": NO_PAGES}
KNOWN = {"--known": NO_KNOWN, "--write-known": NO_PLACES_OF_KNOWN}
KINDS = ["", " ", "wam", "WARM", "warm ", "0", "None", "process", LONG, "\ud800", "a\nb"]
OF_SWEEPS = {
    **WORLDS,
    **FILES,
    **KNOWN,
    "--kind": KINDS,
    "--allow": [
        "",
        ":",
        "os",
        "os:",
        ":x",
        "no_such_module:Error",
        "__main__:x",
        "..:x",
        "a b:c",
        LONG,
        "a/b:c",
    ],
}
COMMAND = ("--", "python", "train.py", "{out}")
OF_SAVES = {
    **WORLDS,
    **FILES,
    **KNOWN,
    "--jobs": [*NO_COUNTS, "0", "65", HUGE],
}
OPTIONS = {
    ("sweep", "dcp-save"): {
        **OF_SWEEPS,
        "--points": ["", " ", "x", "*.*.*", "writer", "writr.*", "fs.*(", 'fs.open("x', "clock.*", "writer.reset:befor",
                     LONG, "writer.reset:", "fs.open(nobody)", "[", "\ud800"],
        "--moments": ["", " ", "x", "befor", "[", LONG],
        "--actions": ["", " ", "x", "raise", "raise(", "raise()", "hang(0", "[", LONG,
                      "raise(mine:Error)", "kill(9", "*x"],
        "--plan": NO_PLANS,
        "--jobs": [*NO_COUNTS, "0", "65", HUGE],
        "--schedules": [*NO_COUNTS, "0", "1000001", "2"],
        "--exhaustive": [*NO_COUNTS, "0", "1000001", "2"],
        "--no-such-option": ["x"],
    },
    ("replay", "writer.reset=raise(ValueError)"): {
        **OF_SWEEPS,
        "--scenario": [*NO_SCENARIOS, *(f"dcp-save{one}" for one in NO_OPTIONS)],
        "--schedule": ["", " ", "x", "0,x", "-1", "0,,1", "1.5", "9" * 5000, "0"],
        "--script": NO_FILES,
    },
    ("crash", "dcp-fresh"): {
        **OF_SAVES,
        "--models": ["", "x", "KILLED", "killed,ordered", LONG],
        "--budget": NO_SECONDS,
        "--lost": [one for one in NO_COUNTS if one != "-1"] + ["-2", "-" + HUGE],
        "--pieces": [*NO_COUNTS, "0"],
        "--keep": NO_FILES,
        "--finding": ["0", "1", "x", ""],
        "--into": ["", "x", "/"],
        "--resume": ["x", "python x.py"],
        "--result": ["x", "{out}/x"],
        "--step": ["x"],
        "--checkpoints": ["x"],
    },
    ("crash",): {"--replay": ["x", "", LONG, "/"]},
    ("damage", "dcp-save"): {
        **OF_SAVES,
        "--actions": ["", "flipp", "[", "*x", LONG],
        "--samples": [*NO_COUNTS, "0", "10001", HUGE],
    },
    ("history", "dcp"): {
        **KNOWN,
        "--lives": [*NO_COUNTS, "0", "100001"],
        "--world": [*NO_COUNTS, "0", "65", HUGE],
        "--rules": ["", "x", "sav", "restart", LONG],
        "--may-refuse": ["", "x", "Always", LONG],
        "--timeout": [*NO_SECONDS, "86401"],
        "--seed": NO_SEEDS,
        "--json": NO_FILES,
    },
    ("scale",): {
        **FILES,
        "--plan": [*NO_PLANS, "writer.reset@2=hang"],
        "--from": [*NO_COUNTS, "0", "1", "4097", "512", HUGE],
        "--to": [*NO_COUNTS, "0", "1", "4097", HUGE],
        "--at": [*NO_COUNTS, "0", "1", HUGE],
        "--budget": NO_SECONDS,
    },
}  # fmt: skip
OF_A_COMMAND = {
    "--resume": ["", " ", "'", '"', "python 'x", "no-such-program {out}"],
    "--value": ["", "(", "[", "*"],
    "--step": ["", "(", "["],
    "--checkpoints": [""],
    "--result": ["", "x", "/etc/passwd", "{out}", "{out}/", "{out}x", "{out}/../x", "{dir}/a/..", "{out}//"],
    "--timeout": NO_SECONDS,
    "--budget": NO_SECONDS,
    "--ranks": [*NO_COUNTS, "0", "257"],
}
WHOLE = [
    *[["x"], [""], [" "], [LONG], ["-x"], ["--x"], ["--help=1"], ["\ud800"], ["sweeep"]],
    *[["crash"], ["sweep"], ["replay"], ["history"], ["checkpointers", "x"], ["history", "dcp.save"]],
    *[["damage"], ["points", "x"], ["points", "--jsn"], ["sweep", "a", "b"], ["replay", "a", "b"], ["scale", "a", "b"]],
    *[["crash", "--"], ["crash", "--", ""], ["crash", "--", "python"], ["crash", "--", "python", "x.py"]],
    *[["crash", "--", LONG, "{out}"], ["crash", "--", "/", "{out}"], ["crash", "--", "no-such-program", "{out}"]],
    *[["replay", "", "--script", "-"], ["crash", "dcp-fresh", "--keep", "-"]],
    *[["replay", "", "--script", "x.html", option, "./x.html"] for option in ("--json", "--report")],
    *[["crash", "--keep", "x.crash", *more, *COMMAND, last]
      for more, last in (((), "\udcff"), (("--value", "\udcff"), "x"), (("--resume", "python {out} \udcff"), "x"))],
    *[["crash", "dcp-fresh", *COMMAND], ["crash", "--replay", "x", "dcp-fresh", "--into", "x"]],
    *[["crash", "--replay", one, "--into", "x"] for one in ("x", "", LONG, "/", "binary.plan", "/dev/null")],
    *[["crash", "--replay", one, "--into", "x"] for one in ("/dev/zero", "a\0b")],
    *[["sweep", "dcp-save", "--json", "x.html", "--report", "x.html"], ["scale", "--from", "8", "--to", "4"]],
    *[["sweep", "dcp-save", "--kind", "simulated", "--schedules", "2", "--exhaustive", "2"]],
    *[["sweep", "dcp-save", "--plan", "", "--points", "*"], ["sweep", "dcp-save", "--plan", "", "--moments", "after"]],
    *[["sweep", "dcp-save", "--kind", "simulated", "--plan", "writer.reset=segfault"]],
    *[["compare", one, "sound.json"] for one in (*NO_FILES, "binary.plan", "nested.json", "list.json", "number.json")],
    *[["compare"], ["compare", "sound.json"], ["compare", "a", "b", "c"], ["known", "a", "b"]],
    *[["known", one] for one in ("", " ", "x", LONG, "dpc", "dcp.save", "a\nb")],
    *[["replay", "writer.reset=hang; reader.reset=hang"], ["sweep", "dcp-save", "--world"], ["sweep", "--plan"]],
]  # fmt: skip
ABSURD: list[list[str]] = [
    *(
        [*line, option, one]
        for line, options in OPTIONS.items()
        for option, values in options.items()
        for one in values
    ),
    *(["crash", option, one, *COMMAND] for option, values in OF_A_COMMAND.items() for one in values),
    *([command, one] for command in ("sweep", "crash", "damage", "scale") for one in NO_SCENARIOS),
    *([command, f"dcp-save{one}"] for command in ("sweep", "crash", "damage", "scale") for one in NO_OPTIONS),
    *(["history", one] for one in NO_SCENARIOS if ":" not in one),
    *([command, f"dcp{one}"] for command in ("sweep", "crash", "damage", "history") for one in NO_OPTIONS),
    *(["sweep", f"dcp-load,coordinator={one}"] for one in NO_COORDINATORS),
    *(["scale", f"dcp-save,coordinator={one}"] for one in NO_COORDINATORS),
    *([command, f"dcp-overwrite,elements={one}"] for command in ("crash", "damage") for one in NO_ELEMENTS),
    *(["replay", one] for one in NO_PLANS + NO_FILES_OF_PLANS),
    *WHOLE,
]  # fmt: skip
SOUND = [
    ["sweep", "dcp-save"],
    ["sweep", "dcp-save,threads=256,coordinator=3"],
    ["sweep", "sound:save", "--plan", ""],
    ["replay", ""],
    ["replay", "sound.json"],
    ["replay", "named.json", "--trust"],
    ["replay", "named.json", "--scenario", "sound:save"],
    ["replay", "writer.reset=hang", "--world", "1", "--timeout", "86400", "--seed", str(2**64 - 1)],
    ["crash", "dcp-fresh,elements=1,threads=256", "--budget", "0.1", "--lost", "-1"],
    ["crash", "sound:save"],
    ["crash", "--resume", "python train.py {out}", *COMMAND],
    ["damage", "dcp-save", "--samples", "1", "--seed", "0"],
    ["scale", "--to", "2", "--at", "2"],
]

if __name__ == "__main__":

    class Started(BaseException):
        """Raised instead of starting a process."""

    def guard(event: str, _: object) -> None:
        if event in ("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.system"):
            raise Started

    from faultkit.cli import main

    sys.addaudithook(guard)
    for line in sys.stdin:
        output, error, status = io.StringIO(), io.StringIO(), None
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(error):
            try:
                main(json.loads(line))
            except SystemExit as ended:
                status = ended.code
            except Started:
                status = "started"
        print(json.dumps([status, output.getvalue(), error.getvalue(), "torch" in sys.modules]))
