"""Each damage does to the tree what it says, and nothing else."""

import pytest

from faultkit.damage import ACTIONS, Damage, apply, damages_of

TREE = {"d": None, "d/a.bin": b"abcdefgh" * 4, "d/b.bin": b"ijklmnop" * 4, "d/zeros": bytes(20)}
OLDER = {"d": None, "d/a.bin": b"before" * 4, "d/zeros": bytes(20)}


def changed(damage, older=None):
    after = apply(TREE, damage, older)
    return {path: after.get(path) for path in {*TREE, *after} if after.get(path) != TREE.get(path)}


def test_a_flip_changes_one_bit():
    damage = Damage(action="flip", path="d/a.bin", kind="bytes", start=1, stop=2, bit=0)
    assert changed(damage) == {"d/a.bin": b"accdefgh" + b"abcdefgh" * 3}
    assert str(damage) == "flip bit 0 of byte 1 (bytes) of d/a.bin"


def test_zeros_stand_where_the_region_was():
    damage = Damage(action="zero", path="d/a.bin", kind="bytes", start=2, stop=4)
    assert changed(damage) == {"d/a.bin": b"ab\0\0efgh" + b"abcdefgh" * 3}


def test_a_truncated_file_ends_there():
    damage = Damage(action="truncate", path="d/a.bin", kind="bytes", start=3, stop=3)
    assert changed(damage) == {"d/a.bin": b"abc"}


def test_swapped_regions_have_changed_places_also_within_one_file():
    across = Damage(
        action="swap", path="d/a.bin", kind="bytes", start=0, stop=2, other="d/b.bin", other_start=4
    )
    assert changed(across) == {
        "d/a.bin": b"mncdefgh" + b"abcdefgh" * 3,
        "d/b.bin": b"ijklabop" + b"ijklmnop" * 3,
    }
    within = Damage(
        action="swap", path="d/a.bin", kind="bytes", start=0, stop=2, other="d/a.bin", other_start=4
    )
    assert changed(within) == {"d/a.bin": b"efcdabgh" + b"abcdefgh" * 3}


def test_files_are_swapped_replaced_and_deleted():
    assert changed(Damage(action="swap", path="d/a.bin", other="d/b.bin")) == {
        "d/a.bin": TREE["d/b.bin"], "d/b.bin": TREE["d/a.bin"],
    }  # fmt: skip
    assert changed(Damage(action="older", path="d/a.bin"), OLDER) == {"d/a.bin": b"before" * 4}
    assert changed(Damage(action="delete", path="d/a.bin")) == {"d/a.bin": None}


def test_every_damage_of_a_tree_changes_it():
    damages = damages_of(TREE, OLDER, samples=5)
    assert {damage.action for damage in damages} == set(ACTIONS)
    for damage in damages:
        assert changed(damage, OLDER), damage
    assert len(set(map(str, damages))) == len(damages)


def test_a_seed_gives_the_same_damages_and_another_one_others():
    assert damages_of(TREE, samples=6, seed=3) == damages_of(TREE, samples=6, seed=3)
    assert damages_of(TREE, samples=6, seed=3) != damages_of(TREE, samples=6, seed=4)


def test_there_are_at_most_as_many_as_asked_for():
    for samples in (1, 4):
        counts = {}
        for damage in damages_of(TREE, samples=samples):
            if damage.kind == "bytes":
                counts[damage.action] = counts.get(damage.action, 0) + 1
        assert max(counts.values()) <= samples and counts["flip"] == samples


def test_nothing_older_is_drawn_without_an_older_checkpoint():
    actions = [damage.action for damage in damages_of(TREE)]
    assert actions and "older" not in actions


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (Damage(action="delete", path="d/c"), "must be to a file of the tree"),
        (Damage(action="flip", path="d/a.bin", kind="bytes", start=99, stop=100), "has 32 bytes"),
        (Damage(action="older", path="d/b.bin"), "no older 'd/b.bin'"),
        (Damage(action="burn", path="d/a.bin"), "must be one of flip, zero"),
    ],
)
def test_a_damage_that_does_not_fit_is_refused(damage, told):
    with pytest.raises(ValueError, match=told):
        apply(TREE, damage, OLDER)


def test_what_is_asked_for_must_be_known():
    with pytest.raises(ValueError, match="got 'burn'"):
        damages_of(TREE, actions=("burn",))
    with pytest.raises(ValueError, match="from 1"):
        damages_of(TREE, samples=0)


INSIDE = {"path": "d/a.bin", "kind": "bytes"}
UNFITTING = [
    {"action": "flipp", "path": "d/a.bin"},
    {"action": "", "path": "d/a.bin"},
    {"action": "older", "path": "d/b.bin"},
    {"action": "older", "path": "d"},
    *({"action": action, "path": path} for action in ACTIONS for path in ("../a", "/abs", "d", "no", "")),
    *({"action": "swap", "path": "d/a.bin", "other": path} for path in ("../a", "/abs", "d", "no", "")),
    *({"action": "swap", **INSIDE, "stop": 2, "other": path} for path in ("../a", "/abs", "d", "no")),
    {"action": "swap", **INSIDE, "stop": 2, "other": "d/b.bin", "other_start": 31},
    {"action": "swap", **INSIDE, "stop": 2, "other": "d/b.bin", "other_start": -1},
    {"action": "flip", **INSIDE, "start": 0, "stop": 0},
    {"action": "flip", **INSIDE, "start": -1, "stop": 2},
    {"action": "flip", **INSIDE, "start": 32, "stop": 33},
    {"action": "flip", **INSIDE, "start": 0, "stop": 1, "bit": 8},
    {"action": "flip", **INSIDE, "start": 0, "stop": 1, "bit": -1},
    {"action": "flip", **INSIDE, "start": 0, "stop": 1, "bit": 1 << 40},
    {"action": "zero", **INSIDE, "start": 0, "stop": 1 << 50},
    {"action": "zero", **INSIDE, "start": 4, "stop": 2},
    {"action": "truncate", **INSIDE, "start": 33, "stop": 33},
    {"action": "truncate", **INSIDE, "start": -1, "stop": -1},
]


@pytest.mark.parametrize("fields", UNFITTING, ids=repr)
def test_a_damage_that_does_not_fit_the_tree_is_refused(fields):
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        apply(TREE, Damage(**fields), OLDER)
