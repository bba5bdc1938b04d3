"""A program that uses every file primitive once, failing ones too, and saves a checkpoint: run as a process.

It records itself with both backends at once, so that one execution can be held to what a tracer saw of it:
``python every_primitive.py ROOT SPOOLS LIBRARY``; without a library only Python records.
"""

import contextlib
import ctypes
import io
import os
import pathlib
import shutil
import sys
import tempfile
import threading


def write(root):
    inside = pathlib.Path(root)
    os.makedirs(inside / "a" / "b")
    with contextlib.suppress(FileExistsError):
        os.mkdir(inside / "a")
    with contextlib.suppress(FileNotFoundError):
        open(inside / "none" / "file", "w").close()
    with open(inside / "text", "w") as text:
        text.write("held back")
        os.fsync(text.fileno())  # before what it is for: the text is in the buffer
    with open(inside / "bytes", "wb", buffering=16) as stream:
        stream.write(b"0123456789")
        stream.write(b"abcdefghij")
        stream.seek(4)
        stream.write(b"!")
        stream.truncate(12)
    with open(inside / "raw", "xb", buffering=0) as raw:
        raw.write(b"raw")
    with open(inside / "text", "a+") as text:
        text.write(" and more")
    with io.FileIO(inside / "raw", "r+") as raw:
        raw.seek(1)
        raw.write(b"OW")
        raw.truncate(2)
    descriptors(root)
    names(inside)
    copies(inside)
    helper = threading.Thread(target=(inside / "helped").write_bytes, args=(b"by a helper thread",))
    helper.start()
    helper.join()
    with tempfile.NamedTemporaryFile(dir=root, prefix="temporary", suffix=".x") as temporary:
        temporary.write(b"gone soon")
    os.mkdir(inside / "removed")
    (inside / "removed" / "file").touch()
    shutil.rmtree(inside / "removed")


def descriptors(root):
    directory = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    descriptor = os.open("descriptor", os.O_RDWR | os.O_CREAT, 0o600, dir_fd=directory)
    os.write(descriptor, b"first")
    os.pwrite(descriptor, b"second", 3)
    os.writev(descriptor, [b"a", b"bc", b""])
    os.pwritev(descriptor, [b"de", b"f"], 20)
    os.ftruncate(descriptor, 15)
    os.posix_fallocate(descriptor, 10, 30)
    os.fdatasync(descriptor)
    os.fsync(descriptor)
    copy = os.dup(descriptor)
    os.write(copy, b"by a copy")
    os.dup2(copy, descriptor)
    os.close(copy)
    os.close(descriptor)
    os.fsync(directory)
    os.close(directory)
    with contextlib.suppress(OSError):
        os.write(os.open(f"{root}/descriptor", os.O_RDONLY | os.O_APPEND), b"not writable")
    os.truncate(f"{root}/descriptor", 4)
    with open(f"{root}/kept", "wb") as kept:
        os.unlink(f"{root}/kept")
        kept.write(b"without a name")


def names(inside):
    os.rename(inside / "raw", inside / "a" / "raw")
    (inside / "bytes").replace(inside / "a" / "raw")
    os.link(inside / "text", inside / "a" / "linked")
    os.symlink("a/linked", inside / "pointer")
    with open(inside / "pointer", "a") as through:
        through.write("!")
    os.remove(inside / "text")
    with contextlib.suppress(FileNotFoundError):
        os.rename(inside / "none", inside / "other")
    with contextlib.suppress(OSError):
        os.rmdir(inside / "a")
    os.rmdir(inside / "a" / "b")
    os.rename(inside / "a", inside / "z")


def copies(inside):
    shutil.copyfile(inside / "z" / "raw", inside / "copied")
    with open(inside / "copied", "rb") as source, open(inside / "ranged", "wb") as goal:
        os.copy_file_range(source.fileno(), goal.fileno(), 100)
    shutil.move(inside / "copied", inside / "moved")


def save(root):
    import torch
    import torch.distributed.checkpoint as dcp

    torch.manual_seed(0)
    state = {"weight": torch.ones(3, 5), "bias": torch.zeros(7), "step": 3}
    for threads in (1, 2):
        writer = dcp.FileSystemWriter(f"{root}/checkpoint", thread_count=threads)
        dcp.save(state, storage_writer=writer, no_dist=True)


def main(root, spools, library=""):
    from faultkit.recording.recorder import Recorder
    from faultkit.recording.spool import Spool

    if library:
        shim = ctypes.CDLL(library)
        shim.faultkit_start.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_long]
    recorder = Recorder((root,), Spool(f"{spools}/python"))
    recorder.start(0)
    if library:
        shim.faultkit_start(spools.encode(), root.encode(), 0, 0)
    write(root)
    save(root)
    if library:
        shim.faultkit_stop()
    recorder.stop()


if __name__ == "__main__":
    import torch.distributed.checkpoint  # noqa: F401

    main(*sys.argv[1:])
