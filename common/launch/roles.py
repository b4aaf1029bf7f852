"""The processes of a job on MXNet's parameter server: a scheduler, servers, workers."""

import socket
import sys
from dataclasses import dataclass, field

from igc.launch.hosts import Host, share_out


@dataclass(frozen=True)
class Role:
    """One process of a job.

    Attributes
    ----------
    kind : {"scheduler", "server", "worker"}
    number : int
        Which of its kind; a worker's rank may be another, it is given out when they meet.
    host : igc.launch.hosts.Host
    command : list of str
    environment : dict of str to str
        What it finds beside the launcher's own variables.
    """

    kind: str
    number: int
    host: Host
    command: list
    environment: dict = field(default_factory=dict)

    @property
    def name(self):
        """Such as "worker 1"; there is one scheduler."""
        return self.kind if self.kind == "scheduler" else f"{self.kind} {self.number}"

    @property
    def is_worker(self):
        """Whether it trains; the job is done when all of these are."""
        return self.kind == "worker"


def free_port():
    """Find a port of this machine that nobody uses now."""
    with socket.socket() as one:
        one.bind(("", 0))
        return one.getsockname()[1]


def parameter_server(command, workers, servers, hosts, port):
    """List the processes of a job, those first that the others look for.

    Parameters
    ----------
    command : list of str
        The workers' command.
    workers, servers : int
    hosts : list of igc.launch.hosts.Host
        The first has the scheduler too; servers take turns.
    port : int
        The scheduler's.

    Returns
    -------
    list of Role
    """
    common = {
        "DMLC_PS_ROOT_URI": hosts[0].address,
        "DMLC_PS_ROOT_PORT": str(port),
        "DMLC_NUM_WORKER": str(workers),
        "DMLC_NUM_SERVER": str(servers),
    }

    def role(kind, number, host, command):
        place = {"DMLC_ROLE": kind, "DMLC_NODE_HOST": host.address}
        if host.interface:
            place["DMLC_INTERFACE"] = host.interface
        return Role(kind, number, host, command, {**common, **place})

    server = [sys.executable, "-m", "igc.launch.server"]
    return [
        role("scheduler", 0, hosts[0], server),
        *(role("server", k, hosts[k % len(hosts)], server) for k in range(servers)),
        *(
            role("worker", number, host, command)
            for number, host in enumerate(share_out(hosts, workers))
        ),
    ]
