"""Which files and threads a fault means: globs, their canonical form, and what is no such thing."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from faultkit.plan import Fault, FaultPlan, PlanError
from faultkit.plan.actions import Action
from faultkit.plan.file_filters import matches, read_path, read_thread
from tests.helpers.plan_values import assert_short_line, characters


@pytest.mark.parametrize(
    ("glob", "path", "is_meant"),
    [
        ("*", "/any/where", True),
        ("*", "", True),
        ("*.distcp", "/ckpt/__0_0.distcp", True),
        ("*.distcp", "/ckpt/__0_0.distcp/part", False),
        ("*.distcp", "__0_0.DISTCP", False),
        ("*metadata*", "/ckpt/.metadata", True),
        (".metadata", "/ckpt/.metadata", True),
        (".metadata", "/ckpt/x.metadata", False),
        (".metadata", "/ckpt/.metadata.tmp", False),
        ("__[01]_?.distcp", "/ckpt/__1_7.distcp", True),
        ("__[!0]_?.distcp", "/ckpt/__0_7.distcp", False),
        ("step-2/*", "/runs/step-2/__0_0.distcp", True),
        ("step-2/*", "/runs/step-2/sharded/x", False),
        ("step-2/*", "x", False),
        ("/runs/*/x", "/runs/a/x", True),
        ("/runs/*/x", "/old/runs/a/x", False),
        ("b/x.*", "memory://b/x.distcp", True),
        ("b/x.*", "s3://bucket/b/x.distcp", True),
        ("sharded", "/ckpt/sharded/", True),
    ],
)
def test_a_glob_means_names_at_the_end_of_a_path(glob, path, is_meant):
    assert matches(read_path(glob), path) is is_meant
    assert Fault("fs.open", "hang", path=glob).matches_path(path) is is_meant


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("*", "*"),
        ("**", "*"),
        ("./a", "a"),
        ("a//b/", "a/b"),
        ("/a/./b", "/a/b"),
        ("//a", "/a"),
        (" a ", " a "),
    ],
)
def test_a_glob_has_one_canonical_form(written, canonical):
    assert read_path(written) == canonical == read_path(canonical)


@given(st.text(characters, max_size=20))
@example("a/*")
@example("\ud83d\ude00/\ud800")
def test_any_text_is_a_glob_or_told_why_not(text):
    try:
        glob = read_path(text)
    except PlanError as error:
        assert_short_line(error)
    else:
        assert read_path(glob) == glob
        fault = Fault("fs.write", Action("lie"), path=text)
        assert FaultPlan.parse(str(fault)).faults == (fault,)
        assert FaultPlan.from_json(FaultPlan((fault,)).to_json()).faults == (fault,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "fs.write()=hang",
            'column 10: expected a path in double quotes, such as "*.distcp", or a thread (main or',
        ),
        ("fs.write(*.distcp)=hang", "column 10: expected a path in double quotes"),
        (
            'fs.write("")=hang',
            "column 10: a path must be a glob of 1 to 1000 characters, such as '*.distcp' (got '')",
        ),
        ('fs.write("../x")=hang', "and '..' is no name of it (got '../x')"),
        ('fs.write("a\\u0000")=hang', "a path must be a glob"),
        ('fs.write("/")=hang', "a path must be a glob"),
        ('fs.write("\\x")=hang', "column 10: a string must be written as in JSON"),
        (
            "fs.write(hlper)=hang",
            "column 10: a thread must be main or helper or child (got 'hlper'); did you mean 'helper'?",
        ),
        (
            'fs.write("a", minor)=hang',
            "column 15: a thread must be main or helper or child (got 'minor'); did you mean 'main'?",
        ),
        ('fs.write("a",)=hang', "column 14: expected a thread (main or helper or child), saw ')'"),
        ('fs.write(main, "a")=hang', "column 14: expected ')' after the files of a point"),
        ('fs.write("a"=hang', "column 13: expected ')' after the files of a point"),
        ('fs.write@1("a")=hang', "(a fault is point[(files)][:moment][@ranks][#calls]=action), saw '('"),
        (
            'writer.finish("a")=hang',
            "column 14: 'writer.finish' takes no path and no thread, and no role but 'child'; points of layer 'fs' do",
        ),
        ("clock.millisecond(main)#5=kill", "'clock.millisecond' takes no path and no thread"),
        (
            "fs.rename=flip",
            "column 11: action 'flip' cannot happen at 'fs.rename'; it can at fs.read, fs.write, fs.open",
        ),
        (
            "fs.rename=flip",
            "actions of 'fs.rename' are raise, delay, kill, lie, missing ...; did you mean 'fs.read'?",
        ),
        ("fs.rd=flip", "unknown point 'fs.rd'; points of layer 'fs' are create_stream"),
        (
            "writer.write_data=torn",
            "action 'torn' cannot happen at 'writer.write_data'; it can at fs.write; did you",
        ),
        (
            "fs.write:after=lie",
            "action 'lie' takes the place of the call, so its only moment is 'before' (got 'after')",
        ),
        ("fs.write=full", "action 'full' needs bytes; it is full(bytes[, errno])"),
        ("fs.write=full(1.5)", "bytes must be an integer from 0 to"),
        (
            "fs.write=torn(EIOO)",
            "errno must be a name of the errno module, such as ENOSPC (got 'EIOO'); did you mean",
        ),
        ("fs.read=flip(1, 8)", "bit must be an integer from 0 to 7 (got 8)"),
        ("fs.read=shrt", "unknown action 'shrt'; actions are raise"),
    ],
)
def test_a_mistake_is_told_with_its_place_the_rule_and_the_nearest_word(text, message):
    with pytest.raises(PlanError, match=re.escape(message)) as caught:
        FaultPlan.parse(text)
    assert_short_line(caught.value)


def test_a_value_that_is_no_filter_is_refused():
    with pytest.raises(TypeError, match="a path must be a glob"):
        Fault("fs.write", "lie", path=3)
    with pytest.raises(PlanError, match="a thread must be main or helper"):
        Fault("fs.write", "lie", thread="other")
    with pytest.raises(PlanError, match="takes no path"):
        Fault("writer.finish", "hang", thread="main")
    with pytest.raises(TypeError, match="a thread must be"):
        read_thread(None)
    with pytest.raises(PlanError, match="bit of 'flip' needs byte"):
        Action("flip", {"bit": 1})
    with pytest.raises(PlanError, match=re.escape("takes no path and no thread, and no role but 'child'")):
        FaultPlan.from_json(
            '{"faults": [{"point": "app.stage", "thread": "main", "action": {"name": "hang"}}]}'
        )


def test_filters_stand_in_the_json_where_there_are_any():
    text = FaultPlan.parse('fs.write("*.distcp", helper)@1#2=raise(OSError, ENOSPC); fs.write=lie').to_json()
    assert '"path": "*.distcp", "thread": "helper"' in text
    assert text.count('"path"') == text.count('"thread"') == 1


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ('fs.write ( "*.distcp" , helper ) @ 1 # 2 = hang', 'fs.write("*.distcp", helper)@1#2=hang'),
        ('fs.write("*")=hang', "fs.write=hang"),
        ('fs.write("**", main):after=hang', "fs.write(main):after=hang"),
        ('fs.open("caf\\u00e9")=cut(0)', 'fs.open("café")=cut(0)'),
        ("fs.write=full(8, 28)", "fs.write=full(8)"),
        ("fs.write=torn(EIO)", "fs.write=torn(EIO)"),
        ("fs.write=zero(512)", "fs.write=zero"),
        ("fs.write=zero(512, 9)", "fs.write=zero(512, 9)"),
        ("fs.write=flip(3, 0)", "fs.write=flip(3)"),
    ],
)
def test_a_fault_on_files_prints_in_one_canonical_form(written, canonical):
    plan = FaultPlan.parse(written)
    assert str(plan) == canonical
    assert FaultPlan.parse(canonical) == plan == FaultPlan.from_json(plan.to_json())
