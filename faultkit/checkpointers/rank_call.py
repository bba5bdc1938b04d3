"""`RankCall`: a function of a campaign that every rank calls with the checkpointer.

Not covered: what the functions do, which stand in the modules of the campaigns.
"""

from __future__ import annotations

from typing import Any

from faultkit.checkpointers.checkpointer import Checkpointer

__all__ = ["RankCall"]


class RankCall:
    """A call of `function` with the checkpointer before all else.

    It says that it is of the module of the checkpointer's functions, which a world then imports once for all ranks.
    """

    def __init__(self, function: Any, checkpointer: Checkpointer) -> None:
        save = getattr(checkpointer.save, "function", checkpointer.save)  # of a `Manager` it stands behind
        self.__module__ = getattr(save, "__module__", __name__)
        self.__qualname__ = self.__name__ = function.__name__
        self.function, self.checkpointer = function, checkpointer

    def __call__(self, *args: Any) -> Any:
        return self.function(self.checkpointer, *args)
