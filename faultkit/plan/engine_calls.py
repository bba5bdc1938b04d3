"""The calls of the engine: which points a save and a load come by, in which order, on which ranks.

`SAVE_ORDER` and `LOAD_ORDER` were read off ``torch/distributed/checkpoint/state_dict_saver.py`` and
``state_dict_loader.py`` of torch 2.13; ``storage`` stands for the writer of a save and the reader of a load.
`PROMISED` are the storage points, and futures, whose failure the engine promises to report to every rank.  Left out of
these on purpose: ``reset`` and ``validate_checkpoint_id``, which run before the first collective step, and
``read_metadata``, whose error the engine replaces by one of its own.  Ask a `faultkit.plan.points.Point` instead of
these.  Not covered: what planners and storages of a user call besides.
"""

from __future__ import annotations

__all__ = ["COORDINATOR_ONLY", "EARLY", "LOAD_ORDER", "ORDERS", "OUTSIDE", "PROMISED", "SAVE_ORDER"]

SAVE_ORDER = tuple(
    "storage.validate_checkpoint_id storage.reset app.stage app.state_dict storage.storage_meta "
    "planner.set_up_planner storage.set_up_storage_writer planner.create_local_plan "
    "storage.prepare_local_plan comm.gather_object planner.create_global_plan storage.prepare_global_plan "
    "comm.scatter_object planner.finish_plan storage.write_data fs.concat_path fs.create_stream "
    "fs.open planner.resolve_data fs.write fs.flush fs.fsync fs.close storage.finish fs.exists fs.stat fs.rename "
    "fs.rm_file fs.unlink comm.broadcast_object "
    "comm.barrier".split()
)
LOAD_ORDER = tuple(
    "storage.validate_checkpoint_id storage.reset app.state_dict storage.read_metadata "
    "planner.set_up_planner storage.set_up_storage_reader planner.create_local_plan "
    "storage.prepare_local_plan comm.gather_object planner.create_global_plan storage.prepare_global_plan "
    "comm.scatter_object planner.finish_plan storage.read_data fs.concat_path fs.create_stream "
    "fs.open fs.seek fs.read fs.close planner.load_bytes planner.resolve_bytes planner.resolve_tensor "
    "planner.commit_tensor comm.all_gather_object comm.barrier app.load_state_dict".split()
)
ORDERS = {"save": SAVE_ORDER, "load": LOAD_ORDER}

EARLY = frozenset(point for order in ORDERS.values() for point in order[: order.index("planner.finish_plan")])

# Called on the coordinator alone, whatever the layer.
COORDINATOR_ONLY = frozenset({"create_global_plan", "finish", "prepare_global_plan"})

OUTSIDE = ("stager", "executor", "daemon")  # layers that are part of no step, whatever another thread is in

PROMISED = {
    "save": (
        "storage_meta",
        "set_up_storage_writer",
        "prepare_local_plan",
        "prepare_global_plan",
        "write_data",
        "write_data:future",
        "finish",
    ),
    "load": (
        "set_up_storage_reader",
        "prepare_local_plan",
        "prepare_global_plan",
        "read_data",
        "read_data:future",
    ),
}
