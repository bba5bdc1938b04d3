"""Where the simulated world is known to differ from real processes, and why: nothing else may differ.

`PROGRAMS` and `PLANS` list a reason for each program, or plan, by its name; docs/conformance.md says the same in
a table.  A listed one that no longer differs fails the tests, too.  `SEVERAL` lists the programs that come to
different ends on real processes from run to run, with the reason and a pattern of what may become of each rank:
both worlds must stay within it.
"""

from __future__ import annotations

__all__ = ["PLANS", "PROGRAMS", "SEVERAL"]

PROGRAMS: dict[str, str] = {
    "operations/all_reduce_of_other_counts_that_are_as_many_bytes": (
        "gloo cuts the ring into other pieces for other element types; the simulated rank 1 has all of its pieces "
        "when rank 0 is aborted, the real one waits for another"
    ),
    "point_to_point/an_irecv_that_nobody_keeps": (
        "gloo reads nothing more from a peer whose message found no buffer; a simulated rank drops that message only"
    ),
    "collectives/reduce_scatter, rank 1 brings less": (
        "torch hands a list of tensors to another algorithm of gloo than one tensor, in which the shorter side is "
        "through before the longer one is missed; the simulated world has one algorithm for both"
    ),
}
PLANS: dict[str, str] = {}

_TRUNCATED = "what the abort of one rank cuts off is a matter of time: the other has its data, or the error"
_COARSE = "a file store looks at its clock in whole seconds, and the run may be called hung before"
_OR_LOST = r"returned 'came back'|raised RuntimeError: LOST"
_ABORTED = "died of SIGABRT"
_LESS = (_TRUNCATED, (_OR_LOST, _ABORTED))
_MORE = (_TRUNCATED, (_ABORTED, _OR_LOST))

SEVERAL: dict[str, tuple[str, tuple[str, ...]]] = {
    "arguments/a_peer_that_sends_more_than_is_wanted": (_TRUNCATED, (_OR_LOST, _ABORTED, _OR_LOST, _OR_LOST)),
    "collectives/all_gather, rank 1 brings another type": _MORE,
    "collectives/all_gather, rank 1 brings less": _LESS,
    "collectives/all_gather, rank 1 brings more": _MORE,
    "collectives/all_gather_into_tensor, rank 1 brings less": _LESS,
    "collectives/all_gather_into_tensor, rank 1 brings more": _MORE,
    "collectives/all_to_all, rank 1 brings less": _LESS,
    "collectives/all_to_all, rank 1 brings more": _MORE,
    "collectives/all_to_all_single, rank 1 brings less": _LESS,
    "collectives/all_to_all_single, rank 1 brings more": _MORE,
    "store/get_with_a_timeout": (_COARSE, (r"hung|raised RuntimeError: Timeout waiting for key: .*",) * 2),
    "store/wait_in_vain_and_go_on": (_COARSE, ("hung|returned False",) * 2),
    "store/wait_with_a_timeout": (_COARSE, ("hung|raised RuntimeError: Wait timeout",) * 2),
    "timeouts/the_timeout_of_a_store_key": (
        _COARSE,
        ("hung|raised RuntimeError: Wait timeout", "returned 'late'"),
    ),
}
