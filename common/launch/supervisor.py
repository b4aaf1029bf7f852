"""Watching the processes of a job: whether they meet, live, get on and end; ending them all."""

import contextlib
import math
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass, field

from igc.errors import InputError
from igc.launch import agent, heartbeat, hosts
from igc.launch.tail import Tail, last_lines

_MARGIN = 2.0  # seconds, for an agent to end after its role


@dataclass(frozen=True)
class Limits:
    """Seconds to wait; 0 for ever.

    Attributes
    ----------
    rendezvous : float
        For all workers to have met.
    heartbeat : float
        For a sign of life of each role.
    stall : float
        For a batch of any worker.
    grace : float
        Between SIGTERM and SIGKILL; also for servers to end when the workers have.
    stop : float
        For workers to write a checkpoint when the job is interrupted.
    """

    rendezvous: float = 60
    heartbeat: float = 20
    stall: float = 300
    grace: float = 5
    stop: float = 60


@dataclass
class Outcome:
    """How a job ended.

    Attributes
    ----------
    code : int
        Exit code: the failing role's, 1 where it has none; 128 and the number of the signal that
        the launcher got; 0.
    reason : str or None
        What failed, in a line.
    interrupted : bool
        Whether the launcher got a signal.
    trained : bool
        Whether any worker has told of a batch.
    """

    code: int = 0
    reason: str = None
    interrupted: bool = False
    trained: bool = False


@dataclass
class _Watched:
    role: object
    log: str
    begin: int  # bytes of the log that an earlier job left
    process: subprocess.Popen
    pid: int = None
    host: str = None
    state: str = None
    rank: int = -1
    steps: int = 0
    heard: float = 0.0  # of its life
    stepped: float = 0.0  # of its work
    code: int = None
    unread: bytes = b""
    gone: bool = False

    @property
    def name(self):
        rank = f" (rank {self.rank})" if self.rank >= 0 and self.role.is_worker else ""
        return f"{self.role.name}{rank}"


@dataclass
class Supervisor:
    """One attempt at a job.

    Parameters
    ----------
    roles : list of igc.launch.roles.Role
    folder : str
        Of the logs.
    limits : Limits
    threads : int
        Of each worker; 0: its share of its machine's processors.
    suffix : str
        Of the logs' names, before ``.log``.
    follow : bool
        Print what the worker of rank 0 prints.
    """

    roles: list
    folder: str
    limits: Limits
    threads: int = 0
    suffix: str = ""
    follow: bool = True
    _all: list = field(default_factory=list)
    _signals: deque = field(default_factory=deque)
    _outcome: Outcome = None
    _ending: float = None  # when what still runs is ended
    _asked: float = None  # when it was asked to
    _met: bool = False
    _tail: Tail = None

    def run(self):
        """Start all roles and stay until none is left.

        Returns
        -------
        Outcome
        """
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup: it is to go on
            numbers.append(signal.SIGHUP)
        before = {n: signal.signal(n, lambda n, _: self._signals.append(n)) for n in numbers}
        try:
            with selectors.DefaultSelector() as self._selector:
                self._start()
                while not all(watched.gone for watched in self._all):
                    self._listen(0.1)
                    self._judge(time.monotonic())
                    self._copy()
        finally:
            self._leave_none()
            for number, handler in before.items():
                signal.signal(number, handler)
        self._outcome.trained = any(watched.steps for watched in self._all)
        return self._outcome

    # what happens

    def _start(self):
        self._began = self._prepared = time.monotonic()
        here = [role.host for role in self.roles if role.is_worker]
        for role in self.roles:
            share = max(1, here.count(role.host))
            command = agent.command(role.command, self.limits.grace, share, self.threads)
            environment = {**os.environ, **role.environment}
            if role.is_worker:
                environment["IGC_WORKER"] = str(role.number)
            if not role.host.is_here:
                command = hosts.remote(role.host, command, environment)
            name = f"{role.name.replace(' ', '-')}{self.suffix}.log"
            log = os.path.join(self.folder, name)
            begin = os.path.getsize(log) if os.path.exists(log) else 0
            process = _popen(command, environment, log)
            watched = _Watched(role, log, begin, process, heard=self._began, stepped=self._began)
            self._all.append(watched)
            self._selector.register(process.stdout, selectors.EVENT_READ, watched)

    def _listen(self, seconds):
        for key, _ in self._selector.select(seconds):
            watched = key.data
            read = os.read(key.fd, 65536)
            *lines, watched.unread = (watched.unread + read).split(b"\n")
            for line in lines:
                self._hear(watched, line.decode(errors="replace").split())
            if not read:
                self._selector.unregister(watched.process.stdout)
                self._lose(watched)

    def _hear(self, watched, words):
        now = time.monotonic()
        if words[:1] != [agent.MARK]:
            return
        words = words[1:]
        if words[0] == "started":
            watched.pid, watched.host = int(words[1]), words[2]
            self._say(f"{watched.role.name}: process {words[1]} on {words[2]}, log {watched.log}")
        elif words[0] == "beat":
            watched.heard = now
            watched.state, watched.rank, steps = words[1], int(words[2]), int(words[3])
            if steps != watched.steps or not self._met:
                watched.steps, watched.stepped = steps, now
        elif words[0] == "ended":
            watched.code = int(words[1])

    def _lose(self, watched):
        """Note that a role and its agent are gone."""
        watched.gone = True
        process = watched.process
        try:
            code = process.wait(_MARGIN)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        if watched.code is None:  # no word of its end: the connection, or the agent, is at fault
            watched.code = code if code > 0 else 128 - code
        if watched.code:
            reason = f"{watched.name}: ended with exit code {watched.code}"
            with contextlib.suppress(ValueError):
                reason += f", {signal.Signals(watched.code - 128).name}"
            self._fail(watched, reason, watched.code)

    def _copy(self):
        """Print what the worker of rank 0 has printed."""
        if self._tail is None and self.follow:
            first = [watched for watched in self._all if watched.rank == 0]
            self._tail = Tail(first[0].log, first[0].begin) if first else None
        if self._tail is not None:
            with self._tolerating():
                self._tail.copy()

    # what it means

    def _judge(self, now):
        if self._signals:
            self._interrupt(self._signals.popleft(), now)
        workers = [watched for watched in self._all if watched.role.is_worker]
        done = all(watched.gone for watched in workers)
        if self._outcome is None and done:
            self._outcome = Outcome()
            self._ending = now + self.limits.grace
        elif self._outcome is None:
            self._watch_early_ends(now)
            self._meet(workers, now)
            self._watch(workers, now)
        elif self._outcome.interrupted and done:
            self._ending = min(self._ending, now + 1)  # servers have nobody left to serve
        if self._ending is not None and now > self._ending:
            self._end_all(now)

    def _watch_early_ends(self, now):
        """Look for servers that end before the workers; a moment before is how jobs end."""
        if any(watched.gone for watched in self._all if watched.role.is_worker):
            return
        for watched in self._all:
            if watched.gone and now - watched.heard > self.limits.grace:
                self._fail(watched, f"{watched.name}: ended before the workers", 1)

    def _meet(self, workers, now):
        if self._met:
            return
        if any(watched.state == heartbeat.PREPARING for watched in workers):
            self._prepared = now  # reading and checking the data takes what it takes
        waited, limit = now - self._began, self.limits.rendezvous
        silent = [watched for watched in self._all if watched.state is None]
        since = self._began if silent else self._prepared
        if all(watched.gone or watched.state == heartbeat.JOINED for watched in workers):
            self._met = True
            for watched in workers:
                watched.stepped = now
            self._say(f"all {len(workers)} workers have met after {waited:.1f} s")
        elif limit and now - since > limit:
            missing = silent
            why = "began to look for the others"
            if not missing:
                missing = [watched for watched in workers if watched.state != heartbeat.JOINED]
                why = "found all others; is there a firewall, or the wrong interface?"
            names = ", ".join(watched.role.name for watched in missing)
            reason = f"rendezvous: missing after {limit:g} s: {names}, which never {why}"
            self._fail(missing[0], reason, 1)

    def _watch(self, workers, now):
        """Look for a role that gives no sign of life, or for work that does not go on."""
        lively = [watched for watched in self._all if watched.state and not watched.gone]
        lost = min(lively, key=lambda watched: watched.heard, default=None)
        limit = self.limits.heartbeat
        if limit and lost is not None and now - lost.heard > limit:
            self._fail(lost, f"{lost.name}: heartbeat lost, no sign of life for {limit:g} s", 1)
        limit, busy = self.limits.stall, [watched for watched in workers if not watched.gone]
        if limit and self._met and busy and now - max(w.stepped for w in busy) > limit:
            last = min(busy, key=lambda watched: (watched.steps, watched.stepped))
            reason = f"{last.name}: stalled, no batch for {limit:g} s after {last.steps} of them"
            self._fail(last, reason, 1)

    def _fail(self, watched, reason, code):
        if self._outcome is None:
            self._outcome = Outcome(code, reason)
            self._say(f"error: {reason}; all roles are ended", sys.stderr)
            lines = last_lines(watched.log, watched.begin)
            title = f"the last lines of {watched.log}:" if lines else f"{watched.log} is empty"
            self._say("\n".join([title, *(f"  {line}" for line in lines)]))
        elif not self._outcome.interrupted or self._asked:
            return  # roles that go down after the first
        elif code in (self._outcome.code, 128 + signal.SIGTERM):
            return  # told to: by SIGTERM after SIGHUP, and where another worker was told first
        else:
            self._say(f"error: {reason}; log {watched.log}", sys.stderr)
        self._ending = time.monotonic()

    # what is done

    def _interrupt(self, number, now):
        name = signal.Signals(number).name
        if self._outcome is not None:  # a second one, or one while all are ended anyway
            if number == signal.SIGHUP:  # a terminal that closes sends several
                return
            self._outcome.interrupted = True
            self._ending = self._asked = now - self.limits.grace - _MARGIN
            self._say(f"{name}: all roles are ended at once", sys.stderr)
            return
        self._outcome = Outcome(128 + number, name, interrupted=True)
        if not self._met:  # they wait inside of MXNet, deaf to signals, with nothing to save
            self._ending = now
            self._say(f"{name}: all roles are ended, the workers have not met", sys.stderr)
            return
        # the orders first: whoever reads what is printed may be gone
        self._order_stop(number)
        self._ending = now + self.limits.stop if self.limits.stop else math.inf
        self._say(
            f"{name}: the workers finish their batch and save; once more ends them at once",
            sys.stderr,
        )

    def _order_stop(self, number):
        number = signal.SIGTERM if number == signal.SIGHUP else number
        for watched in self._all:
            if watched.role.is_worker:
                _order(watched, f"signal {number:d}")

    @contextlib.contextmanager
    def _tolerating(self):
        """Print in vain once the job is to end: a terminal that closed is no reason not to save."""
        try:
            yield
        except OSError:
            interrupted = self._outcome is not None and self._outcome.interrupted
            if not (self._signals or interrupted):
                raise

    def _say(self, text, file=None):
        with self._tolerating():
            print(text, file=file or sys.stdout, flush=True)

    def _leave_none(self):
        """Let the agents end their roles and what these started; kill those that do not."""
        for watched in self._all:
            with contextlib.suppress(OSError):
                watched.process.stdin.close()  # an agent takes that for "end"
        deadline = time.monotonic() + self.limits.grace + _MARGIN
        for watched in self._all:
            with contextlib.suppress(subprocess.TimeoutExpired):
                watched.process.wait(max(0, deadline - time.monotonic()))
            watched.process.kill()

    def _end_all(self, now):
        """Ask the agents to end their roles; kill those that do not, such as a dead connection."""
        left = [watched for watched in self._all if not watched.gone]
        if self._asked is None:
            self._asked = now
            for watched in left:
                _order(watched, "end")
        elif now > self._asked + self.limits.grace + _MARGIN:
            for watched in left:
                watched.process.kill()


def _popen(command, environment, log):
    try:
        os.makedirs(os.path.dirname(log), exist_ok=True)
        with open(log, "ab") as file:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                env=environment,
                start_new_session=True,  # the terminal's Ctrl-C comes from here alone
            )
    except OSError as error:
        what = error.filename or command[0]
        raise InputError(
            f"{what}: cannot be opened or started ({error.strerror}); choose another --log-dir, or "
            "install what is missing"
        ) from error


def _order(watched, line):
    with contextlib.suppress(OSError):  # it has ended
        watched.process.stdin.write(f"{line}\n".encode())
        watched.process.stdin.flush()
