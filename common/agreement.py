"""That the workers of a run are about to do the same."""

import json

from igc.errors import InputError
from igc.exchange import gather


def of_the_first(store, values):
    """Give all workers the first one's values.

    Parameters
    ----------
    store : mxnet.kvstore.KVStoreBase
    values : dict
        What JSON can hold.

    Returns
    -------
    dict
    """
    return json.loads(gather(store, json.dumps(values))[0])


def check(store, facts):
    """Compare what the workers are about to do.

    Parameters
    ----------
    store : mxnet.kvstore.KVStoreBase
    facts : dict of str
        What must be the same in all, by the flag that sets it; what JSON can hold.

    Raises
    ------
    InputError
        In each worker, if one differs from the first: names the flag and the rank.
    """
    rows = [json.loads(text) for text in gather(store, json.dumps(facts))]
    for rank, row in enumerate(rows):
        for name in {**rows[0], **row}:
            first, here = rows[0].get(name), row.get(name)
            if first != here:
                raise InputError(
                    f"{name}: {_short(here)} on rank {rank}, {_short(first)} on rank 0; start all "
                    "workers with the same flags and data"
                )


def _short(value):
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
