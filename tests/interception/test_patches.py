"""What is replaced for a while comes back, reaches who imported it by name, and keeps no module alive."""

from __future__ import annotations

import gc
import os
import types
import weakref

from faultkit.interception.patches import Patches
from faultkit.interception.rebinding import names_in


def module(**names):
    made = types.ModuleType("made")
    vars(made).update(names)
    return made


def test_a_function_is_replaced_under_every_name_that_a_module_gave_it_and_comes_back():
    home, importer = module(sync=os.sync), module(sync=os.sync, flush=os.sync, other=os.getpid)
    patches = Patches()
    assert patches.reroute(home, "sync", lambda original: lambda: "replaced", [importer])
    assert home.sync() == importer.sync() == importer.flush() == "replaced"
    patches.undo()
    assert home.sync is importer.sync is importer.flush is os.sync
    assert importer.other is os.getpid


def test_what_somebody_has_replaced_since_stays_theirs():
    owner = module(name=1)
    patches = Patches()
    patches.set_attribute(owner, "name", 2)
    owner.name = 3
    patches.undo()
    assert owner.name == 3


def test_a_module_may_go_before_its_replacement_is_undone():
    owner = module(name=1)
    gone = weakref.ref(owner)
    patches = Patches()
    patches.set_attribute(owner, "name", 2)
    del owner
    gc.collect()
    assert gone() is None
    patches.undo()


def test_names_are_found_by_what_they_stand_for_and_not_by_what_they_are_called():
    wanted = {id(os.fsync): "fsync"}
    assert names_in(module(to_disk=os.fsync, fsync=os.getpid), wanted) == [("to_disk", "fsync")]
    assert names_in(object(), wanted) == []
