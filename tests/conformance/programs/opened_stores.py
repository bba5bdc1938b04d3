"""Stores that ranks open themselves, how ranks meet by address or file, and arguments that stores refuse."""

from __future__ import annotations

import datetime
import os
import socket
import tempfile
import threading
import time

import torch
import torch.distributed as dist

from tests.conformance.spmd_program import program


def me():
    return int(os.environ["RANK"])


def the_store():
    return dist.distributed_c10d._get_default_store()


def seconds(number):
    return datetime.timedelta(seconds=number)


def a_port():
    """One that is free, the same on all ranks."""
    found = [None]
    if me() == 0:
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            found = [listening.getsockname()[1]]
    dist.broadcast_object_list(found)
    return found[0]


def told(call):
    try:
        value = call()
    except Exception as error:
        return type(error).__name__
    return value if isinstance(value, bool | bytes | int | list | tuple | None) else "done"


def said(call, port=0):
    try:
        call()
    except Exception as error:
        return type(error).__name__, str(error).replace(str(port), "PORT").splitlines()[0].partition(", use")[
            0
        ]
    return "done"


def without_group():
    port = a_port()
    dist.barrier()
    dist.destroy_process_group()
    return port


@program()
def a_key_does_not_outlive_its_store():
    port, found = without_group(), []
    for place in range(2):
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        dist.init_process_group("gloo")
        the_store().add("count", 1)
        dist.barrier()
        found.append(int(the_store().get("count")))
        dist.barrier()
        if place == 0 and me() == 1:
            time.sleep(0.2)  # so that the next store is not looked for at the last one
        dist.destroy_process_group()
    return found


def lacks_a_variable(name):
    without_group()
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29500")
    os.environ.pop(name)
    return said(lambda: dist.init_process_group("gloo"))


@program()
def meeting_without_an_address():
    return lacks_a_variable("MASTER_ADDR")


@program(often=False)
def meeting_without_a_world_size():
    return lacks_a_variable("WORLD_SIZE")


@program(often=False)
def meeting_without_a_rank():
    return lacks_a_variable("RANK")


@program(often=False)
def meeting_by_address():
    port = without_group()
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=me(), world_size=2)
    tensor = torch.ones(1)
    dist.all_reduce(tensor)
    return tensor.item(), type(the_store()).__name__


@program(often=False)
def meeting_by_file():
    path = [tempfile.mktemp() if me() == 0 else None]
    dist.broadcast_object_list(path)
    without_group()
    dist.init_process_group("gloo", init_method=f"file://{path[0]}", rank=me(), world_size=2)
    tensor = torch.ones(1)
    dist.all_reduce(tensor)
    return tensor.item(), os.path.exists(path[0])


def meets_alone(rank):
    port = without_group()
    if me() != rank:
        return "absent"
    address = f"tcp://127.0.0.1:{port}"
    return said(
        lambda: dist.init_process_group(
            "gloo", init_method=address, rank=rank, world_size=2, timeout=seconds(1)
        ),
        port,
    )


@program()
def a_master_whose_worker_does_not_come():
    return meets_alone(0)


@program()
def a_worker_whose_master_does_not_come():
    return meets_alone(1)


@program(often=False)
def a_store_without_a_master():
    port = a_port()
    return said(lambda: dist.TCPStore("127.0.0.1", port, 2, False, timeout=seconds(0.3)), port)


@program(often=False)
def a_store_by_address():
    store = dist.TCPStore("127.0.0.1", a_port(), 2, me() == 0, timeout=seconds(5))
    store.set(f"key {me()}", "value")
    found = store.get(f"key {1 - me()}"), store.num_keys(), store.has_extended_api()
    dist.barrier()
    return found


@program(often=False)
def a_port_of_its_choice():
    if me() == 0:
        return dist.TCPStore("127.0.0.1", 0, 1, True).port > 0
    return "absent"


@program(often=False)
def a_port_that_is_taken():
    port = a_port()
    if me() == 0:
        store = dist.TCPStore("127.0.0.1", port, 1, True)
        return said(lambda: dist.TCPStore("127.0.0.1", port, 1, True), port), store.num_keys()
    return "absent"


@program()
def calls_of_a_store_by_address():
    if me() == 1:
        return "absent"
    store = dist.TCPStore("127.0.0.1", 0, 1, True, timeout=seconds(5))
    store.set_timeout(seconds(0.02))  # over before anybody could call the rank hung
    return [
        told(lambda: store.append("key", "x")),
        told(lambda: store.append("key", "y")),
        told(lambda: store.get("key")),
        told(lambda: store.queue_push("queue", "1")),
        told(lambda: store.queue_push("queue", "2")),
        told(lambda: store.queue_pop("queue")),
        told(lambda: store.queue_len("queue")),
        told(lambda: store.queue_pop("none", False)),
        told(lambda: store.queue_pop("none")),
        told(lambda: store.delete_key("none")),
        told(lambda: store.delete_key("key")),
        told(store.list_keys),
        told(lambda: store.multi_set(["a"], ["1", "2"])),
        told(lambda: store.compare_set("new", "x", "y")),
        told(lambda: store.get("none")),
        told(lambda: store.wait(["none"], seconds(0.02))),
    ]


@program(often=False)
def a_master_that_is_gone():
    store = dist.TCPStore("127.0.0.1", a_port(), 2, me() == 0, timeout=seconds(2))
    dist.barrier()
    if me() == 0:
        del store
        dist.barrier()
        return "gone"
    dist.barrier()
    return said(lambda: store.get("none"))


@program(often=False)
def a_master_that_ends_while_it_is_asked():
    store = dist.TCPStore("127.0.0.1", a_port(), 2, me() == 0, timeout=seconds(5))
    dist.barrier()
    if me() == 0:
        time.sleep(0.3)
        os._exit(3)
    return said(lambda: store.get("none"))


@program()
def a_file_is_there_and_goes():
    if me() == 1:
        return "absent"
    path, found = tempfile.mktemp(), []
    for count in (1, 2):
        store = dist.FileStore(path, 1)
        found.append((store.add("count", count), os.path.exists(path)))
        del store
        found.append(os.path.exists(path))
    return found


@program(often=False)
def a_file_of_nobody_stays():
    if me() == 1:
        return "absent"
    path, found = tempfile.mktemp(), []
    for count in (1, 2):
        store = dist.FileStore(path)
        found.append((store.add("count", count), store.num_keys()))
        del store
        found.append(os.path.exists(path))
    return found


@program()
def a_store_in_memory_and_another_thread():
    store = dist.HashStore()

    def set_later():
        time.sleep(0.05)
        store.set("key", "value")

    thread = threading.Thread(target=set_later)
    thread.start()
    found = store.get("key")
    thread.join()
    return found


@program(often=False)
def a_store_in_memory_without_the_key():
    store = dist.HashStore()
    store.set_timeout(seconds(0.1))
    return told(lambda: store.get("none")), told(lambda: store.delete_key("none")), store.has_extended_api()


@program()
def arguments_that_are_no_texts_and_numbers():
    store = the_store()
    if me() == 1:
        return "absent"
    return [
        told(lambda: store.set("a", 1)),
        told(lambda: store.set("a", None)),
        told(lambda: store.set(1, "a")),
        told(lambda: store.set("a", bytearray(b"x"))),
        told(lambda: store.set("\udcff", "a")),
        told(lambda: store.get(b"a")),
        told(lambda: store.add("f", 1.5)),
        told(lambda: store.add("big", 2**70)),
        told(lambda: store.add("big", 2**62)),
        told(lambda: store.add("true", True)),
        told(lambda: store.check("abc")),
        told(lambda: store.check(("abc",))),
        told(lambda: store.check({"abc"})),
        told(lambda: store.multi_get("a")),
        told(lambda: store.wait("abc", seconds(0.1))),
        told(lambda: store.wait(["a"], None)),
        told(lambda: store.wait(["a"], 1.0)),
        told(lambda: store.wait(["a"], 1)),
        told(lambda: store.set_timeout(5)),
        told(lambda: store.compare_set("x", 1, "b")),
        told(lambda: store.multi_set(["m"], ["1", "2"])),
    ]


@program(often=False)
def keywords():
    store = the_store()
    if me() == 1:
        return "absent"
    store.set("k", "v")
    return [
        told(lambda: store.set(key="k", value="v")),
        told(lambda: store.get(key="k")),
        told(lambda: store.add(key="n", value=1)),
        told(lambda: store.check(keys=["k"])),
        told(lambda: store.delete_key(key="k")),
        told(lambda: store.wait(keys=["k"])),
        told(lambda: store.set_timeout(timeout=seconds(5))),
        told(lambda: store.compare_set(key="x", expected_value="", desired_value="1")),
    ]


@program(often=False)
def what_the_default_store_does_not_have():
    store = the_store()
    if me() == 1:
        return "absent"
    return [
        told(lambda: store.append("a", "x")),
        told(lambda: store.check(["a"])),
        told(lambda: store.queue_push("q", "1")),
        told(lambda: store.queue_len("q")),
        told(lambda: store.queue_pop("q")),
        told(lambda: "k" in (store.set("k", "v"), *store.list_keys())),
        type(store.clone()).__name__,
        type(store.underlying_store).__name__,
    ]


@program(often=False)
def queues_under_a_prefix():
    store = dist.TCPStore("127.0.0.1", a_port(), 2, me() == 0, timeout=seconds(2))
    mine = dist.PrefixStore(f"rank {me()}", store)
    mine.queue_push("queue", "x")
    mine.set("key", "x")
    found = mine.queue_len("queue"), mine.queue_pop("queue"), mine.list_keys(), mine.has_extended_api()
    dist.barrier()
    return found
