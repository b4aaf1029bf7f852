"""The processes of a job on Horovod with Gloo: workers, which meet at the launcher."""

import contextlib
import socket

from igc.errors import InputError
from igc.launch.roles import Role

_MARGIN = 30  # seconds: the launcher, which can name who is missing, is to be first


@contextlib.contextmanager
def rendezvous(command, workers, hosts, limit):
    """Open Horovod's meeting place for a job.

    Parameters
    ----------
    command : list of str
        The workers' command.
    workers : int
    hosts : list of igc.launch.hosts.Host
    limit : float
        Seconds for all to have met; 0 for no limit.

    Yields
    ------
    list of igc.launch.roles.Role

    Raises
    ------
    InputError
        When Horovod is not installed, or a host's address is none for it.
    """
    try:
        from horovod.runner import gloo_run
        from horovod.runner.common.util.hosts import get_host_assignments, parse_hosts
    except ImportError as error:
        raise InputError(
            f"--kv-store horovod: Horovod is not installed ({error}); make horovod builds it, or "
            "choose dist_sync"
        ) from error
    for host in hosts:
        if ":" in host.address:
            raise InputError(f"--hostfile: {host.address}: Horovod takes names and IPv4 addresses")
    by_address = {host.address: host for host in hosts}
    slots = _slots(hosts, workers)
    plan = get_host_assignments(parse_hosts(",".join(slots)), workers)
    server = gloo_run.RendezvousServer()
    port = server.start()
    server.init(plan)
    seconds = str(int(limit) + _MARGIN if limit else 1_000_000)
    try:
        roles = []
        for slot in plan:
            host = by_address[slot.hostname]
            environment = {
                **gloo_run.create_slot_env_vars(slot),
                **gloo_run.create_run_env_vars(_address(hosts), [host.interface], port),
                "HOROVOD_GLOO_TIMEOUT_SECONDS": seconds,
            }
            environment = {name: str(value) for name, value in environment.items()}
            if not host.interface:  # Gloo takes the one that its own name leads to
                del environment["HOROVOD_GLOO_IFACE"], environment["NCCL_SOCKET_IFNAME"]
            roles.append(Role("worker", slot.rank, host, command, environment))
        yield roles
    finally:
        server.stop()


def _slots(hosts, workers):
    """Write the hosts as Horovod reads them; more workers than slots go round again."""
    counts = {host.address: 0 for host in hosts}
    places = [host.address for host in hosts for _ in range(host.slots)]
    for number in range(workers):
        counts[places[number % len(places)]] += 1
    return [f"{address}:{count}" for address, count in counts.items() if count]


def _address(hosts):
    """Find the address under which the machines reach this one."""
    here = [host.address for host in hosts if host.is_here]
    if here:
        return here[0]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((hosts[0].address, 9))  # sends nothing
        except OSError as error:
            raise InputError(
                f"--hostfile: {hosts[0].address}: has no address that can be reached "
                f"({error.strerror}); correct the name, or give address=ADDRESS"
            ) from error
        return probe.getsockname()[0]
