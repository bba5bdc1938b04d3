"""Correct checkpoint writers that use threads, one for each way to wait: two files, synced, then a commit.

Run as a script it lets each of them write to a directory of its own: ``python waiting_writers.py PLACE``.
"""

import asyncio
import multiprocessing.pool
import os
import pathlib
import queue
import sys
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed, wait


def put(path, content):
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(path):
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def data(directory, name):
    put(directory / name, name.encode() * 5000)


def commit(directory):
    put(directory / "tmp", b"done")
    os.replace(directory / "tmp", directory / "CURRENT")
    sync_directory(directory)


def finish(directory):
    sync_directory(directory)
    commit(directory)


def with_results(directory):
    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(data, directory, name) for name in "ab"]:
            future.result()
        finish(directory)


def with_one_worker_used_again(directory):
    with ThreadPoolExecutor(1) as pool:
        pool.submit(data, directory, "a").result()
        data(directory, "b")
        sync_directory(directory)
        pool.submit(commit, directory).result()


def with_exceptions(directory):
    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(data, directory, name) for name in "ab"]:
            if future.exception() is not None:
                raise future.exception()
        finish(directory)


def with_wait(directory):
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(data, directory, name) for name in "ab"]
        assert not wait(futures).not_done
        finish(directory)


def with_wait_for_what_is_done(directory):
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(data, directory, name) for name in "ab"]
        while not all(future._state == "FINISHED" for future in futures):  # a look that nobody sees
            pass
        assert not wait(futures).not_done
        finish(directory)


def with_as_completed(directory):
    with ThreadPoolExecutor(2) as pool:
        assert len(list(as_completed([pool.submit(data, directory, name) for name in "ab"]))) == 2
        finish(directory)


def beside(function):
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread


def with_an_event(directory):
    written = threading.Event()

    def write():
        data(directory, "a")
        data(directory, "b")
        written.set()

    thread = beside(write)
    written.wait()
    finish(directory)
    thread.join()


def with_a_condition(directory):
    condition, left = threading.Condition(), ["a", "b"]

    def write(name):
        data(directory, name)
        with condition:
            left.remove(name)
            condition.notify()

    threads = [beside(lambda name=name: write(name)) for name in "ab"]
    with condition:
        while left:
            condition.wait()
        finish(directory)
    for thread in threads:
        thread.join()


def with_a_queue_of_work(directory):
    work = queue.Queue()

    def write():
        while (name := work.get()) is not None:
            data(directory, name)
            work.task_done()

    thread = beside(write)
    work.put("a")
    work.put("b")
    work.join()
    finish(directory)
    work.put(None)
    thread.join()


def with_a_queue_of_results(directory, kind=queue.Queue):
    results = kind()
    threads = [beside(lambda name=name: results.put(data(directory, name))) for name in "ab"]
    for _ in threads:
        results.get()
    finish(directory)
    for thread in threads:
        thread.join()


def with_a_simple_queue(directory):
    with_a_queue_of_results(directory, queue.SimpleQueue)


def with_a_semaphore(directory):
    written = threading.Semaphore(0)

    def write(name):
        data(directory, name)
        written.release()

    threads = [beside(lambda name=name: write(name)) for name in "ab"]
    for _ in threads:
        written.acquire()
    finish(directory)
    for thread in threads:
        thread.join()


def with_a_barrier(directory):
    barrier = threading.Barrier(3)

    def write(name):
        data(directory, name)
        barrier.wait()

    threads = [beside(lambda name=name: write(name)) for name in "ab"]
    barrier.wait()
    finish(directory)
    for thread in threads:
        thread.join()


def with_a_pool_of_threads(directory):
    with multiprocessing.pool.ThreadPool(2) as pool:
        pool.map(lambda name: data(directory, name), "ab")
        finish(directory)


def with_tasks_of_asyncio(directory):
    async def write():
        await asyncio.gather(*(asyncio.to_thread(data, directory, name) for name in "ab"))
        await asyncio.to_thread(sync_directory, directory)
        await asyncio.to_thread(commit, directory)

    asyncio.run(write())


WRITERS = {name: function for name, function in vars().copy().items() if name.startswith("with_")}


def save(directory, writer):
    directory.mkdir(parents=True)
    sync_directory(directory.parent)
    writer(directory)


if __name__ == "__main__":
    for name, writer in WRITERS.items():
        save(pathlib.Path(sys.argv[1]) / name, writer)
