"""The store of the default group, and stores that a program makes itself, with keys there, late and never."""

# ruff: noqa: RET503  (a rank that is not meant to come back has nothing to return)

from __future__ import annotations

import datetime
import os
import tempfile
import time

import torch
import torch.distributed as dist

from tests.conformance.spmd_program import program


def me():
    return dist.get_rank()


def the_store():
    return dist.distributed_c10d._get_default_store()


def seconds(number):
    return datetime.timedelta(seconds=number)


@program(often=False)
def set_and_get():
    the_store().set(f"key {me()}", f"value {me()}")
    return the_store().get(f"key {1 - me()}")


@program(often=False)
def bytes_that_are_no_text():
    store = the_store()
    if me() == 0:
        store.set("raw", bytes(range(256)))
    return store.get("raw") == bytes(range(256))


@program(often=False)
def a_later_value_wins():
    store = the_store()
    if me() == 0:
        store.set("key", "first")
        store.set("key", "second")
    dist.barrier()
    return store.get("key")


@program(size=3)
def add_counts():
    store = the_store()
    store.add("count", me() + 1)
    dist.barrier()
    return store.add("count", 0), store.get("count")


@program()
def add_to_text():
    store = the_store()
    if me() == 0:
        store.set("text", "four")
        return store.add("text", 1)
    return "absent"


@program(often=False)
def wait_for_a_key():
    store = the_store()
    if me() == 0:
        time.sleep(0.02)
        store.set("ready", "yes")
    store.wait(["ready"])
    return store.get("ready")


@program()
def wait_for_keys_that_come_one_by_one():
    store = the_store()
    if me() == 0:
        for key in "abc":
            store.set(key, key)
    else:
        store.wait(list("abc"), seconds(20))
    return [store.get(key) for key in "abc"]


@program()
def a_key_that_never_comes():
    if me() == 0:
        the_store().get("nowhere")
    return "done"


@program(often=False)
def a_key_that_never_comes_on_all():
    the_store().wait(["nowhere"])


@program()
def wait_with_a_timeout():
    the_store().wait(["nowhere"], seconds(0.05))


@program()
def get_with_a_timeout():
    store = the_store()
    store.set_timeout(seconds(0.05))
    return store.timeout == seconds(0.05), store.get("nowhere")


@program()
def wait_in_vain_and_go_on():
    try:
        the_store().wait(["nowhere"], seconds(0.05))
    except RuntimeError as error:
        seen = isinstance(error, dist.DistStoreError)
    dist.barrier()
    return seen


@program()
def check():
    store = the_store()
    before = store.check(["here", "there"])
    dist.barrier()
    store.set("here" if me() else "there", "x")
    dist.barrier()
    return before, store.check(["here", "there"]), store.check(["here", "nowhere"])


@program()
def delete():
    store = the_store()
    if me() == 0:
        store.set("key", "x")
        return store.delete_key("key"), store.delete_key("key"), store.check(["key"])
    return "absent"


@program()
def compare_and_set():
    store = the_store()
    if me() == 0:
        return [
            store.compare_set("key", "", "first"),
            store.compare_set("key", "other", "second"),
            store.compare_set("key", "first", "third"),
            store.get("key"),
        ]
    return "absent"


@program(often=False)
def compare_and_set_of_a_key_that_is_not_there():
    store = the_store()
    if me() == 0:
        return store.compare_set("key", "something", "new"), store.check(["key"])
    return "absent"


@program(often=False)
def number_of_keys():
    store = the_store()
    before = store.num_keys()
    dist.barrier()
    store.set(f"one more {me()}", "x")
    dist.barrier()
    return store.num_keys() - before


@program(often=False)
def many_keys_at_once():
    store = the_store()
    if me() == 0:
        store.multi_set(["a", "b"], ["1", "2"])
    dist.barrier()
    return store.multi_get(["a", "b"])


@program()
def with_a_prefix():
    store = dist.PrefixStore("mine", the_store())
    if me() == 0:
        store.set("key", "x")
    dist.barrier()
    return store.get("key"), the_store().check(["key"]), the_store().check(["mine/key"])


@program(often=False, deadline_seconds=5.0)
def a_store_of_its_own_in_a_file():
    path = [tempfile.mktemp() if me() == 0 else None]
    dist.broadcast_object_list(path)
    store = dist.FileStore(path[0], 2)
    store.set(f"key {me()}", "x")
    found = store.get(f"key {1 - me()}")
    dist.barrier()
    del store
    return found


@program(often=False)
def a_store_of_its_own_in_memory():
    store = dist.HashStore()
    store.set("key", str(me()))
    return store.get("key")


@program()
def a_barrier_made_of_the_store():
    store = the_store()
    if store.add("arrived", 1) == 2:
        store.set("all here", "yes")
    store.wait(["all here"])
    return "through"


@program(size=3)
def a_barrier_of_the_store_that_lacks_one():
    store = the_store()
    if me() == 2:
        return "absent"
    if store.add("arrived", 1) == 3:
        store.set("all here", "yes")
    store.wait(["all here"])


@program(often=False)
def the_setter_dies():
    if me() == 1:
        os._exit(3)
    the_store().wait(["from rank 1"])


@program()
def each_waits_for_the_key_of_the_other():
    store = the_store()
    store.wait([f"key {1 - me()}"])
    store.set(f"key {me()}", "x")


@program()
def a_key_against_a_collective():
    if me() == 0:
        the_store().get("set after the barrier")
        dist.barrier()
    else:
        dist.barrier()
        the_store().set("set after the barrier", "x")


@program(often=False)
def a_tensor_through_the_store():
    import pickle

    store = the_store()
    if me() == 0:
        store.set("tensor", pickle.dumps(torch.arange(4)))
    return pickle.loads(store.get("tensor")).tolist()
