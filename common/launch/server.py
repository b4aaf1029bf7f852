"""The scheduler's and the servers' process of MXNet's parameter server.

MXNet makes such a process of any script that imports it. Here it is told its role only after the
import, so that the servers know our optimizers: workers send theirs pickled (``dist_async``).
"""

import os

from igc.launch import heartbeat


def main():
    """Serve until the workers are done."""
    heartbeat.joining()
    role = os.environ.pop("DMLC_ROLE")
    import mxnet as mx

    import igc.optimizer  # noqa: F401

    os.environ["DMLC_ROLE"] = role
    mx.kvstore.kvstore_server._init_kvstore_server_module()  # ends the process


if __name__ == "__main__":
    main()
