"""What the command that resumes is given, and what is made of how it ends."""

import os
from pathlib import Path

import pytest

from faultkit.crash.scripts import Job, LostWork, ResumeFailed
from faultkit.crash.scripts.resume import Resumption, contents_of, digest_of, step_of, with_directory

RESUME = "import sys; out = sys.argv[1]; print('resumed from step', open(out + '/used').read())"


@pytest.fixture
def out(tmp_path):
    directory = tmp_path / "out"
    directory.mkdir()
    (directory / "used").write_text("10")
    for step in (10, 20):
        (directory / f"ckpt-{step}").mkdir()
        (directory / f"ckpt-{step}" / "data").write_text(f"of {step}")
    return directory


def resumption(code=RESUME, **fields):
    return Resumption(("python", "-c", code, "{out}"), **fields)


def test_results_and_printed_values_are_what_is_compared(out):
    found = resumption(results=("{out}/used",), values=r"step (\d+)")(out)
    assert found == {"used": b"10", "values": [["10"]]}
    assert resumption()(out) == {"status": 0}


def test_a_file_with_the_longest_name_that_there_is_is_given_a_content_of_its_own(out):
    name = "x" * 255
    os.link(out / "used", out / name)
    write = f"import sys; open(f'{{sys.argv[1]}}/{name}', 'a').write('!')"
    assert resumption(write, results=(f"{{out}}/{name}", "{out}/used"))(out) == {name: b"10!", "used": b"10"}


def test_a_status_that_is_not_0_is_an_error_that_tells_the_last_line(out):
    with pytest.raises(ResumeFailed, match=r"exit status 1: FileNotFoundError: .*'\./none'"):
        resumption("import sys; open(sys.argv[1] + '/none')")(out)


BY_RANK = """
import os, sys
loss, step = (open(f"{sys.argv[1]}/{name}-{os.environ['RANK']}").read() for name in ("loss", "step"))
print("loss", loss, "resumed from step", step)
"""


@pytest.fixture
def two_ranks(out):
    for rank, step in enumerate("77"):
        (out / f"loss-{rank}").write_text(f"0.{rank}")
        (out / f"step-{rank}").write_text(step)
    return resumption(BY_RANK, ranks=2, values=r"loss (\S+)", step=r"step (\d+)", checkpoints="ckpt-*")


def test_the_output_of_every_rank_is_compared(out, two_ranks):
    assert two_ranks(out) == {"values": [["0.0"]], "values of rank 1": [["0.1"]]}


def test_ranks_that_resume_from_different_steps_have_failed(out, two_ranks):
    (out / "step-1").write_text("5")
    with pytest.raises(ResumeFailed, match="from different steps: rank 0 from 7, rank 1 from 5"):
        two_ranks(out)
    (out / "step-0").write_text("5")
    two_ranks(out)


def test_a_step_that_is_no_number_is_told(out):
    asked = resumption("print('from last')", step=r"from (\w+)", checkpoints="ckpt-*")
    with pytest.raises(ResumeFailed, match=r"the step resumed from is no number \(got 'last'\)"):
        asked(out)


def test_values_that_are_found_nowhere_tell_nothing():
    asked = resumption(values="loss (.*)", ranks=2)
    assert "'loss (.*)' finds nothing" in asked.refusal({"values": [], "values of rank 1": []})
    assert asked.refusal({"values": [], "values of rank 1": [["1"]]}) is None
    assert resumption().refusal({"status": 0}) is None


def test_a_result_that_is_missing_is_an_error(out):
    with pytest.raises(ResumeFailed, match="left no none: No such file"):
        resumption(results=("{out}/none",))(out)


def test_an_older_step_than_the_newest_complete_one_is_lost_work(out):
    complete = tuple((name, step_of(name), content) for name, content in contents_of("ckpt-*", out).items())
    asked = {"step": r"from step (\d+)", "checkpoints": "ckpt-*", "complete": complete}
    with pytest.raises(LostWork, match="from step 10, although the checkpoint of step 20 is complete"):
        resumption(**asked)(out)
    silent = {**asked, "step": r"FROM (\d+)"}
    with pytest.raises(
        LostWork, match=r"printed nothing that the pattern of the step .* counts as step 0, although"
    ):
        resumption(**silent)(out)
    assert resumption(**asked, finished=digest_of(out))(out)
    (out / "ckpt-20" / "data").write_text("torn")
    assert resumption(**asked)(out) == {"status": 0}


def test_what_the_command_writes_reaches_nobody_else(out, tmp_path):
    shared = tmp_path / "shared"
    shared.write_text("before")
    os.link(shared, out / "linked")
    code = "import sys; open(sys.argv[1] + '/linked', 'r+').write('AFTER!')"
    assert resumption(code, results=("{out}/linked",))(out) == {"linked": b"AFTER!"}
    assert shared.read_text() == "before"


def test_the_directory_stands_where_the_command_has_it():
    assert with_directory(["a", "{out}/b", "--dir={dir}"], Path("/x")) == ["a", "/x/b", "--dir=/x"]
    assert [step_of(name) for name in ("ckpt-5.json", "epoch3-step40", "last")] == [5, 40, None]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"train": ()}, "needs a command"),
        ({"train": ("python", "t.py")}, r"the command must hold \{out\}"),
        ({"resume": ("python", "r.py")}, r"that resumes must hold \{out\}"),
        ({"results": ("state.json",)}, r"a result must lie in \{out\} .*did you mean '\{out\}/state.json'"),
        ({"results": ("/etc/shadow",)}, r"a result must lie in \{out\} \(got '/etc/shadow'\)"),
        ({"ranks": 0}, "ranks must be a number from 1 to 64"),
        ({"step": "step"}, "needs a group"),
        ({"values": "("}, "must be a regular expression"),
        ({"checkpoints": "ckpt-*"}, "checkpoints needs step"),
        ({"step": r"step (\d+)"}, "step needs checkpoints"),
    ],
)
def test_a_job_that_cannot_be_is_refused(fields, told):
    with pytest.raises(ValueError, match=told):
        Job(**{"train": ("python", "t.py", "{out}"), **fields})
