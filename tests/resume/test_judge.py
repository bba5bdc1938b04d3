"""What is told of marks that are written down by hand: which differ, in which words, and what cannot be compared."""

import struct

import msgspec

from faultkit.checks import resume as check
from faultkit.checks.verdict import Verdict
from faultkit.resume.judge import compared, unrepeatable
from faultkit.resume.marks import Mark, Restarted, Value, held_in
from faultkit.runs.resumption import Resumption

LAST = 4


def number(value, is_held=True, rank=0):
    return Value(f"{value} of {rank}", str(value), is_held, f"whole {value}", struct.pack("d", value))


def mark(step, rank, size, **changes):
    """Of a job of which a step takes four samples, whoever takes them."""
    samples = [f"sample {4 * step + place}" for place in range(4) if place % size == rank]
    state = {
        "model.weight": number(10.0 + step),
        "count": Value(str(step), str(step)),
        "random.torch": Value(f"torch {step} of {rank}"),
        "random.numpy": Value(f"numpy {rank}"),
    }
    made = Mark(
        step=step,
        outputs={"loss": number(1.0 / (step + 1))} if step else {},
        samples=tuple(samples) if step else (),
        drawn=("torch",) if step else (),
        state=state,
    )
    return msgspec.structs.replace(made, **changes)


def right(size=2, **changes):
    return {rank: [mark(step, rank, size, **changes) for step in range(LAST + 1)] for rank in range(size)}


def restarted(size=2, step=2, **changes):
    return {
        rank: Restarted(
            made=mark(0, rank, size),
            step=step,
            loaded=mark(step, rank, size, **changes),
            marks=tuple(mark(one, rank, size, **changes) for one in range(step + 1, LAST + 1)),
        )
        for rank in range(size)
    }


def judged(got, expected=None, ignored=(), tolerance=0.01):
    return compared(expected or right(), got, ignored=frozenset(ignored), tolerance=tolerance)


def with_loaded(got, rank, name, value):
    """The same, where `rank` has another value of `name` after the load and after every step."""

    def changed(one):
        state = dict(one.state)
        if value is None:
            del state[name]
        else:
            state[name] = value
        return msgspec.structs.replace(one, state=state)

    one = got[rank]
    marks = tuple(changed(mark) for mark in one.marks)
    return {**got, rank: msgspec.structs.replace(one, loaded=changed(one.loaded), marks=marks)}


def evidence(result, got, saved_ranks=2):
    found = Resumption(
        saved_ranks=saved_ranks,
        acknowledged=2,
        begun=2,
        came_back={rank: one.step for rank, one in got.items()},
        steps=2,
        differences=result.differences,
    )
    analysis = type("Analysis", (), {"run": type("Run", (), {"resumption": found})})
    return [violation.evidence for violation in check.find(analysis)]


def test_the_same_job_differs_nowhere():
    assert judged(restarted()) == ((), ())
    assert judged(restarted(size=1), right(drawn=())) == ((), ())


def test_what_is_held_must_be_right_as_soon_as_the_load_is_back():
    got = with_loaded(restarted(), 1, "model.weight", number(10.0))
    assert evidence(judged(got), got) == [
        "after the load of step 2 on rank 1, model.weight is 10.0 instead of 12.0, as it was before the load"
    ]
    got = with_loaded(restarted(), 1, "model.weight", Value("other", "12.0", True))
    assert judged(got).differences[0].told == "model.weight is 12.0, of another type or shape"
    got = with_loaded(restarted(), 1, "model.weight", None)
    assert judged(got).differences[0].told == "model.weight is not there"


def test_what_a_job_restores_later_is_told_only_where_it_stays_wrong():
    late = restarted()
    early = msgspec.structs.replace(late[0].loaded, state={**late[0].loaded.state, "count": Value("0", "0")})
    late[0] = msgspec.structs.replace(late[0], loaded=early)
    assert judged(late).differences == ()
    got = with_loaded(restarted(), 0, "count", Value("7", "7"))
    assert judged(got).differences[0].told == "count is 7 instead of 2"
    assert judged(got, ignored=["count"]).differences == ()


def test_a_random_state_counts_only_where_somebody_draws_from_it_later():
    got = with_loaded(restarted(), 1, "random.numpy", Value("other"))
    assert judged(got).differences == ()
    got = with_loaded(restarted(), 1, "random.torch", Value("torch 0 of 1"))
    assert judged(got).differences[0].told == "the random numbers of torch start again"
    got = with_loaded(restarted(), 1, "random.torch", Value("torch 2 of 0"))
    assert judged(got).differences[0].told == "the random numbers of torch are those of rank 0"
    assert judged(got, right(drawn=())).differences == ()


def test_what_a_step_was_trained_on_comes_before_what_it_gave():
    got = restarted()
    first, *rest = got[1].marks
    again = msgspec.structs.replace(first, samples=mark(1, 1, 2).samples, outputs={"loss": number(7.0)})
    got[1] = msgspec.structs.replace(got[1], marks=(again, *rest))
    assert evidence(judged(got), got) == [
        "in step 3, the data of rank 1 are those of step 1 again; then in step 3, on rank 1 loss is 7.0 instead of 0.25"
    ]


def test_other_ranks_must_hold_the_same_together():
    got = with_loaded(restarted(size=1), 0, "model.weight", number(11.0))
    assert evidence(judged(got), got) == [
        "after the load of step 2 that 2 ranks had saved, model.weight is 11.0 instead of 12.0"
    ]
    assert judged(with_loaded(restarted(size=1), 0, "count", Value("7", "7"))) == ((), ())


def test_other_ranks_must_go_on_with_the_samples_that_were_not_trained_on():
    got = restarted(size=1)
    again = tuple(
        msgspec.structs.replace(one, samples=mark(one.step - 2, 0, 1).samples) for one in got[0].marks
    )
    got[0] = msgspec.structs.replace(got[0], marks=again)
    assert evidence(judged(got), got) == [
        "in step 3, 4 of the samples were trained on before the job was stopped, and 4 are left out"
    ]


def test_other_ranks_may_take_fewer_samples_in_a_step_as_long_as_each_comes_once():
    got, samples = restarted(size=1), [sample for step in (3, 4) for sample in mark(step, 0, 1).samples]
    halves = [tuple(samples[0:2]), tuple(samples[2:4])]
    got[0] = msgspec.structs.replace(
        got[0],
        marks=tuple(
            msgspec.structs.replace(one, samples=half, outputs={"loss": number(9.0)})
            for one, half in zip(got[0].marks, halves, strict=True)
        ),
    )
    result = judged(got)
    assert result.differences == ()
    assert "from step 3 on losses are not compared" in result.notes[0]


def test_losses_of_other_ranks_are_compared_within_the_tolerance():
    def far(**changes):
        got = restarted(size=1, **changes)
        marks = tuple(msgspec.structs.replace(one, outputs={"loss": number(0.26)}) for one in got[0].marks)
        return {0: msgspec.structs.replace(got[0], marks=marks)}

    got = far(drawn=())
    [difference] = judged(got, right(drawn=())).differences[:1]
    assert difference.told == "the loss, as a mean over the ranks, is 0.26 instead of 0.25"
    assert judged(got, right(drawn=()), tolerance=0.5).differences == ()
    drawing = judged(far())  # what is drawn is another on other ranks
    assert drawing.differences == ()
    assert "and are not compared: the step draws random numbers" in drawing.notes[0]


def test_what_other_ranks_hold_after_a_step_is_compared_within_the_tolerance():
    got, quiet = restarted(size=1, drawn=()), right(drawn=())
    near = with_loaded(got, 0, "model.weight", number(13.0))
    near[0] = msgspec.structs.replace(near[0], loaded=got[0].loaded)
    assert judged(near, quiet, tolerance=0.1).differences == ()
    [difference] = judged(near, quiet).differences
    assert (difference.step, difference.told) == (4, "model.weight differs by up to 1, of 14 at most")


def test_two_jobs_that_nobody_stopped_must_give_the_same():
    first = mark(1, 0, 2)

    def asked(**changes):
        outputs = {name: [value.digest, value.told] for name, value in first.outputs.items()}
        trained = {"step": 1, "outputs": outputs, "samples": list(first.samples)}
        loose = {name: value.digest for name, value in first.state.items() if not value.is_held}
        kept = {"step": 1, "held": held_in(first), "loose": {**loose, **changes.pop("loose", {})}}
        return unrepeatable(right(), {0: [{**trained, **changes}]}, {0: [{**kept, **changes}]})

    assert asked() == ("", frozenset())
    assert asked(samples=[]) == ("step 1 on rank 0 is trained on other samples", frozenset())
    assert asked(outputs={"loss": ["x", "7"]})[0] == "step 1 on rank 0 gives another loss (0.5 and 7)"
    assert asked(held="x")[0] == "model or optimizer are others after step 1 on rank 0"
    assert asked(loose={"count": "another"}) == ("", frozenset({"count"}))


def test_steps_that_nobody_saved_and_ranks_that_disagree_are_told():
    def verdicts(came_back):
        found = Resumption(saved_ranks=2, acknowledged=2, begun=3, came_back=came_back, steps=2)
        analysis = type("Analysis", (), {"run": type("Run", (), {"resumption": found})})
        return [(one.verdict, one.ranks) for one in check.find(analysis)]

    assert verdicts({0: 2, 1: 2}) == verdicts({0: 3, 1: 3}) == []
    assert verdicts({0: 2, 1: 3}) == [(Verdict.SILENT_WRONG, (0, 1))]
    assert verdicts({0: 1, 1: 1}) == [(Verdict.LOST_WORK, (0, 1))]
    assert verdicts({0: None, 1: None}) == [(Verdict.LOST_WORK, (0, 1))]
    assert verdicts({0: 4, 1: 4}) == [(Verdict.SILENT_WRONG, (0, 1))]
