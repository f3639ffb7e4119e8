"""Worker processes that do not outlive the process they work for."""

import functools
import multiprocessing
import os
import threading


@functools.cache
def exit_with_parent() -> None:
  """In a worker: ends this process when its parent has ended in any way.

  A parent that is killed cannot tell its workers, which would wait without end
  and keep its output open. Does nothing in a main process.
  """
  parent = multiprocessing.parent_process()
  if parent is None:
    return

  def watch() -> None:
    parent.join()
    os._exit(1)

  threading.Thread(target=watch, name="parent-watch", daemon=True).start()
