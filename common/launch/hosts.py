"""The machines of a job: reading the hostfile, and the command that starts something on one."""

import os
import shlex
from dataclasses import dataclass

from igc.errors import InputError

SSH = ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10"]
SSH += ["-o", "ServerAliveInterval=2", "-o", "ServerAliveCountMax=4"]

_FORWARDED = ("DMLC_", "HOROVOD_", "IGC_", "MXNET_", "OMP_", "PS_")
_FORWARDED_NAMES = ("LD_LIBRARY_PATH", "PATH", "PYTHONPATH")


@dataclass(frozen=True)
class Host:
    """A machine.

    Attributes
    ----------
    name : str
        What ssh calls it, such as "user@node1"; "localhost" is this machine, without ssh.
    slots : int
        Workers that it takes before the next machine gets one.
    address : str
        What the other machines call it.
    interface : str
        Its network interface; empty: the one that the transport finds.
    """

    name: str = "localhost"
    slots: int = 1
    address: str = "127.0.0.1"
    interface: str = "lo"

    @property
    def is_here(self):
        """Whether no ssh is needed."""
        return self.name == "localhost"


HERE = Host()


def read(path):
    """Read a hostfile: a machine a line, ``name [slots=N] [address=A] [interface=I]``.

    Parameters
    ----------
    path : str

    Returns
    -------
    list of Host

    Raises
    ------
    InputError
        Names the line that is wrong.
    """
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--hostfile {path}: cannot be read ({error})") from error
    hosts = []
    for number, line in enumerate(lines, start=1):
        words = line.partition("#")[0].split()
        if words:
            hosts.append(_host(words, f"--hostfile {path}: line {number}"))
    if not hosts:
        raise InputError(f"--hostfile {path}: names no machine; write one a line")
    if len(hosts) > 1 and any(host.address == HERE.address for host in hosts if host.is_here):
        raise InputError(
            f"--hostfile {path}: localhost is among other machines: give the address by which they "
            "reach it, as localhost address=192.0.2.1"
        )
    return hosts


def _host(words, where):
    name, settings = words[0], dict(word.partition("=")[::2] for word in words[1:])
    if name.startswith("-") or set(settings) - {"slots", "address", "interface"}:
        raise InputError(f"{where}: give a name, then slots=N, address=A or interface=I")
    slots = settings.get("slots", "1")
    if not (slots.isascii() and slots.isdecimal() and 0 < int(slots) < 10_000):
        raise InputError(f"{where}: slots={slots} is no number of workers")
    if name == "localhost":
        address = settings.get("address", HERE.address)
        interface = settings.get("interface", "lo" if address == HERE.address else "")
    else:
        address = settings.get("address", name.rpartition("@")[2])
        interface = settings.get("interface", "")
    return Host(name, int(slots), address, interface)


def share_out(hosts, workers):
    """Give each worker a machine: each machine its slots, and round again when all are full."""
    places = [host for host in hosts for _ in range(host.slots)]
    return [places[number % len(places)] for number in range(workers)]


def remote(host, command, environment):
    """Write the ssh command that starts something in this folder on another machine.

    Parameters
    ----------
    host : Host
    command : list of str
    environment : dict of str to str
        All variables; those that matter to a run go with the command.

    Returns
    -------
    list of str
    """
    settings = [
        f"{name}={value}"
        for name, value in sorted(environment.items())
        if name.startswith(_FORWARDED) or name in _FORWARDED_NAMES
    ]
    there = f"cd {shlex.quote(os.getcwd())} && exec env {shlex.join([*settings, *command])}"
    return [*SSH, host.name, there]
