"""A module that takes its time when it is imported, and keeps locks; nobody loads it before a rank does."""

from __future__ import annotations

import threading
import time

LOCK = threading.Lock()
EVENT = threading.Event()
time.sleep(0.05)
VALUE = 1
