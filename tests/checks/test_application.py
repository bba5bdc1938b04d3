import pytest

from faultkit.checks import examine
from faultkit.runs.selection import Chosen
from tests.helpers.finished_runs import Recording

CALL = "App.load_state_dict"


def differing(*leaves, where=CALL, ranks=(0, 1)):
    recording = Recording(size=2)
    for rank in ranks:
        recording.event(rank, "differs", attempt=1, where=where, leaves=[list(leaf) for leaf in leaves])
    return recording


def found(run):
    return [(str(one.verdict), one.evidence, one.ranks) for one in examine(run, "application")]


def test_an_application_that_holds_what_was_loaded_holds():
    assert found(Recording(size=2).run()) == []


def test_what_an_object_holds_instead_is_told_by_name_once_for_all_ranks():
    [(verdict, evidence, ranks)] = found(differing(("lr", "value", "0.1", "0.3")).run())
    assert verdict == "SILENT_WRONG" and ranks == (0, 1)
    assert evidence == (
        f"{CALL} came back well on ranks 0, 1, and the object holds something else: 'lr' is 0.3, not 0.1"
    )


def test_what_the_load_itself_gave_back_is_told_as_its():
    [(_, evidence, _)] = found(differing(("lr", "value", "0.1", "0.3"), where="").run())
    assert evidence == (
        "load 1 came back well on ranks 0, 1, but not with what it read: 'lr' is 0.3, not 0.1"
    )


@pytest.mark.parametrize(
    ("leaf", "words"),
    [
        (("w", "value", "float32", "float32"), "'w' has other values"),
        (("w", "cast", "float32", "bfloat16"), "'w' was cast from float32 to bfloat16"),
        (("w", "gone", "float32", ""), "'w' is not there"),
        (("w", "shape", "[2]", "[3]"), "'w' is [3], not [2]"),
        (("w", "kind", "5", "float32"), "'w' is float32, not 5"),
        (("w", "untied", "v", ""), "'w' and 'v' were one tensor, and are two now"),
    ],
)
def test_each_way_to_differ_has_its_words(leaf, words):
    [(_, evidence, _)] = found(differing(leaf).run())
    assert evidence.endswith(f"something else: {words}")


def test_a_cast_is_allowed_by_name_and_nothing_but_a_cast():
    recording = differing(
        ("model.w", "cast", "a", "b"), ("rate", "cast", "a", "b"), ("model.v", "value", "", "")
    )
    [(_, evidence, _)] = found(recording.run(chosen=Chosen(allow_cast=("model.*",))))
    assert "rate" in evidence and "model.v" in evidence and "model.w" not in evidence


def test_what_need_not_be_taken_back_is_allowed_by_name():
    recording = differing(("clock", "value", "1", "2"))
    assert found(recording.run(chosen=Chosen(allow_unread=("clock",)))) == []


def broadcast(held, given=(("float32", 1),)):
    recording = Recording(size=2)
    pieces = [[[0], [4], list(told)] for told in given]
    recording.event(0, "broadcast", where="set_model_state_dict", pieces={"w": pieces})
    recording.event(1, "broadcast", where="set_model_state_dict", pieces={"w": [[[0], [4], list(held)]]})
    return recording.run()


def test_what_rank_0_hands_to_all_must_be_what_they_have():
    assert found(broadcast(("float32", 1))) == []
    [(_, evidence, ranks)] = found(broadcast(("float32", 2)))
    assert ranks == (1,) and "'w' has other values than rank 0 had" in evidence
    [(_, evidence, _)] = found(broadcast(("bfloat16", 2)))
    assert "'w' was cast from float32 to bfloat16" in evidence


def test_of_what_rank_0_says_nothing_nothing_is_claimed():
    assert found(broadcast(("float32", 2), given=())) == []
