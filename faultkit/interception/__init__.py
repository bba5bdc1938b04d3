"""The one chain below `open()` and `os`: every file operation of a process comes by, and each handler may look or act.

`chain` is the interface; faults and the recorder are handlers of it.  `shim` builds the library that does the same for
native code.
"""
