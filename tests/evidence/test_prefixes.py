"""What stands before a line: any number of labels in any order, and lines that have none."""

import pytest

from faultkit.evidence.prefixes import strip


@pytest.mark.parametrize(
    ("raw", "text", "rank", "local_rank"),
    [
        ("plain text", "plain text", None, None),
        ("[rank7]: ValueError: x", "ValueError: x", 7, None),
        ("[default3]:[rank11]: x", "x", 11, 3),
        ("[trainer0]:x", "x", None, 0),
        ("12: Traceback", "Traceback", 12, None),
        ("(Actor pid=9860) x", "x", None, None),
        ("(RayTrainWorker pid=9860, ip=10.0.0.7) [rank2]: x", "x", 2, None),
        ("2025-10-31 03:11:02,473 - train - INFO - x", "x", None, None),
        ("2025-10-31T03:11:02.473Z [rank5]: x", "x", 5, None),
        ("E1129 11:57:07.249000 29471 torch/x/api.py:869] x", "x", None, None),
        ("[rank4]:[W503 01:52:07.597517393 socket.cpp:204] x", "x", 4, None),
        ("[rank4]: [rank4]: x", "x", 4, None),
        ("2025-10-31T03:11:02.473Z stdout F 3: x", "x", 3, None),
        ('  File "a.py", line 3, in f', '  File "a.py", line 3, in f', None, None),
        ("", "", None, None),
    ],
)
def test_labels_are_taken_off_and_ranks_are_read(raw, text, rank, local_rank):
    line = strip(raw)
    assert (line.text, line.rank, line.local_rank) == (text, rank, local_rank)


def test_indentation_behind_a_label_stays():
    assert strip('[rank0]:   File "a.py", line 3, in f').text == '  File "a.py", line 3, in f'


def test_lines_of_one_process_have_one_key():
    assert strip("[default1]:[rank1]: a").key == strip("[default1]:[rank1]: b").key
    assert strip("[default1]:[rank1]: a").key != strip("[default2]:[rank2]: a").key


def test_a_time_is_read():
    assert strip("2026-11-30 15:39:14,500 x").seconds == pytest.approx(1796053154.5)
    assert strip("2026-13-40 15:39:14,500 x").seconds is None
