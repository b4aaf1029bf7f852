"""Work in threads whose results come in order."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor


def ordered_map(function, items, threads, window=64):
    """Call a function for each item in several threads, only so far ahead as memory allows.

    Parameters
    ----------
    function : callable
        Takes an item.
    items : iterable
    threads : int
    window : int
        Results that may wait at a time.

    Yields
    ------
    object
        The results, in the order of the items. An exception comes in the place of its result.
    """
    with ThreadPoolExecutor(threads) as pool:
        waiting = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= window:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
