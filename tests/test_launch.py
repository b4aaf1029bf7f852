"""launch.py: what it starts, what it notices, and that nothing is left when it ends.

The workers are stand-ins; the scheduler and the server are real, and wait for them in vain.
"""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from fleet import alive, command, finish, printed, processes, start, wait_for

from igc.errors import InputError
from igc.launch import hosts, job, options
from igc.launch.roles import Role, parameter_server
from igc.launch.supervisor import Limits, Supervisor

LIMIT = 10  # seconds from the failure to the end of all


def launch(cwd, mode, *flags, **environment):
    line = command("-n2", "--grace=1", *flags, program="role_program.py", flags=[mode])
    return start(line, cwd, **environment)


def logged(cwd, name):
    return (cwd / "logs" / f"{name}.log").read_text()


def all_started(cwd, roles=4):
    def started():
        found = processes(cwd)
        return found if len(found) == roles and "have met" in printed(cwd) else None

    return wait_for(started)


def gone(pids):
    wait_for(lambda: not any(alive(pid) for pid in pids), LIMIT)


def test_a_job_that_ends_well(tmp_path):
    code, text = finish(launch(tmp_path, "fine", "--threads=3"), tmp_path)
    assert code == 0, text
    for name in ("scheduler", "server 0", "worker 0", "worker 1"):
        log = f"logs/{name.replace(' ', '-')}.log"
        assert re.search(rf"^{name}: process \d+ on \S+, log {log}$", text, re.MULTILINE), text
        assert (tmp_path / log).exists()
    assert "all 2 workers have met" in text
    assert "worker 0: fine" in text, "what rank 0 prints is printed"
    assert "worker 1: fine" not in text
    assert "worker 1: fine\nthreads 3 3" in logged(tmp_path, "worker-1")
    gone(processes(tmp_path).values())


def test_processors_are_shared_out(tmp_path):
    code, text = finish(launch(tmp_path, "fine", "--quiet"), tmp_path)
    assert code == 0 and "worker 0: fine" not in text
    share = max(1, len(os.sched_getaffinity(0)) // 2)
    assert f"threads {share} {share}" in logged(tmp_path, "worker-0")


def test_the_first_failure_ends_all(tmp_path):
    job = launch(tmp_path, "fails")
    pids = all_started(tmp_path)
    wait_for(lambda: "error: " in printed(tmp_path))
    began = time.monotonic()
    code, text = finish(job, tmp_path)
    assert code == 7 and time.monotonic() - began < LIMIT
    assert "error: worker 1 (rank 1): ended with exit code 7; all roles are ended" in text
    assert "the last lines of logs/worker-1.log:" in text and "  what went wrong" in text
    gone(pids.values())


@pytest.mark.parametrize("role", ["worker 1", "server 0", "scheduler"])
def test_a_killed_role_ends_all(tmp_path, role):
    job = launch(tmp_path, "stubborn")  # the workers do not mind SIGTERM
    pids = all_started(tmp_path)
    os.kill(pids[role], signal.SIGKILL)
    began = time.monotonic()
    code, text = finish(job, tmp_path)
    assert code == 137 and time.monotonic() - began < LIMIT, text
    assert re.search(rf"error: {role}( \(rank 1\))?: ended with exit code 137, SIGKILL", text)
    gone(pids.values())


def test_a_killed_agent_ends_all(tmp_path):
    job = launch(tmp_path, "stubborn")
    pids = all_started(tmp_path)
    with open(f"/proc/{pids['worker 0']}/stat") as file:
        os.kill(int(file.read().rpartition(")")[2].split()[1]), signal.SIGKILL)
    code, text = finish(job, tmp_path)
    assert code == 137, text
    gone(pids.values())


def test_a_missing_worker_is_named(tmp_path):
    began = time.monotonic()
    code, text = finish(launch(tmp_path, "absent", "--timeout=6"), tmp_path)
    assert code == 1 and time.monotonic() - began < 6 + 2 * LIMIT
    assert "rendezvous: missing after 6 s: worker 1, which never began" in text
    gone(processes(tmp_path).values())


def test_a_stopped_worker_is_named(tmp_path):
    job = launch(tmp_path, "stubborn", "--heartbeat-timeout=3")
    pids = all_started(tmp_path)
    os.kill(pids["worker 0"], signal.SIGSTOP)
    began = time.monotonic()
    code, text = finish(job, tmp_path)
    assert code == 1 and time.monotonic() - began < 3 + LIMIT
    assert "error: worker 0 (rank 0): heartbeat lost, no sign of life for 3 s" in text
    gone(pids.values())


def test_a_worker_that_gets_on_no_more_is_named(tmp_path):
    # the other one goes on: in real training it would wait, so both are made to
    job = launch(tmp_path, "saves", "--stall-timeout=2")
    pids = all_started(tmp_path)
    code, text = finish(job, tmp_path)
    assert code == 1 and re.search(r"worker [01] \(rank [01]\): stalled, no batch for 2 s", text)
    gone(pids.values())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_reaches_all(tmp_path, number, code):
    job = launch(tmp_path, "saves" if number == signal.SIGINT else "long")
    pids = all_started(tmp_path)
    time.sleep(0.5)
    job.send_signal(number)
    ended, text = finish(job, tmp_path)
    assert ended == code, text
    assert f"{number.name}: the workers finish their batch and save" in text
    if number == signal.SIGINT:
        assert all("saved" in logged(tmp_path, f"worker-{k}") for k in range(2))
        assert "error" not in text
    gone(pids.values())


def test_a_second_signal_ends_all_at_once(tmp_path):
    job = launch(tmp_path, "stubborn")
    pids = all_started(tmp_path)
    job.send_signal(signal.SIGINT)
    wait_for(lambda: "once more" in printed(tmp_path))
    assert all(alive(pid) for name, pid in pids.items() if name.startswith("worker"))
    job.send_signal(signal.SIGINT)
    code, text = finish(job, tmp_path, timeout=LIMIT)
    assert code == 130, text
    gone(pids.values())


def test_nobody_outlives_the_launcher(tmp_path):
    job = launch(tmp_path, "stubborn")
    pids = all_started(tmp_path)
    job.kill()
    job.wait(LIMIT)
    gone(pids.values())


def test_what_a_role_started_is_ended_too(tmp_path):
    job = launch(tmp_path, "parent")
    pids = all_started(tmp_path)
    wait_for(lambda: "child" in logged(tmp_path, "worker-0"))
    child = int(re.search(r"child (\d+)", logged(tmp_path, "worker-0")).group(1))
    os.kill(pids["worker 0"], signal.SIGKILL)
    assert finish(job, tmp_path)[0] == 137
    gone([*pids.values(), child])


def test_restarts(tmp_path):
    code, text = finish(launch(tmp_path, "fails-once", "--max-restarts=2"), tmp_path)
    assert code == 0, text
    assert text.count("restart 1 of 2: all roles, from the newest checkpoint") == 1
    assert "restart 2" not in text
    assert "fails-once --resume=auto" in logged(tmp_path, "worker-1-restart1")
    code, text = finish(launch(tmp_path, "fails", "--max-restarts=1"), tmp_path)
    assert code == 7 and "restart 1 of 1" in text


def test_what_has_not_begun_is_not_resumed(tmp_path):
    code, text = finish(launch(tmp_path, "fails-early", "--max-restarts=1"), tmp_path)
    assert code == 6 and "restart 1 of 1: all roles, from the beginning" in text
    assert "--resume" not in logged(tmp_path, "worker-0-restart1")


def test_bad_input_is_not_tried_again(tmp_path):
    code, text = finish(launch(tmp_path, "bad-input", "--max-restarts=2"), tmp_path)
    assert code == 2 and "restart" not in text


def test_resuming():
    line = ["python", "train_model.py", "--load-epoch", "3", "--overwrite=1", "--lr=0.1"]
    assert job.resuming(line) == ["python", "train_model.py", "--lr=0.1", "--resume=auto"]
    assert job.resuming([*line, "--resume=auto"])[-2:] == ["--lr=0.1", "--resume=auto"]


def test_a_command_that_is_not_there(tmp_path):
    line = command("-n1", "--grace=1", program="role_program.py")[:-2]
    code, text = finish(start([*line, "no-such-program"], tmp_path), tmp_path)
    assert code == 127 and "error: no-such-program: No such file or directory" in text


# several machines

SSH = """#!{python}
import os, sys
from pathlib import Path
host, there = sys.argv[-2:]
with open("{folder}/ssh-" + host, "a") as file:
    file.write(" ".join(sys.argv[1:-2]) + "\\n" + there + "\\n")
if host == "lost":
    import time
    time.sleep(60)
if host == "refused":
    print("ssh: connect to host refused port 22: Connection refused", file=sys.stderr)
    sys.exit(255)
print("\\nWelcome to beta", flush=True)
environment = {{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}}
os.execve("/bin/sh", ["sh", "-c", there], environment)
"""


def launch_on(cwd, lines, mode, *flags):
    """Launch with an ssh that stays on this machine, with none of the launcher's variables."""
    (cwd / "bin").mkdir()
    ssh = cwd / "bin" / "ssh"
    ssh.write_text(SSH.format(python=sys.executable, folder=cwd))
    ssh.chmod(0o755)
    (cwd / "hosts").write_text(lines)
    path = f"{cwd}/bin:{os.environ['PATH']}"
    return launch(cwd, mode, "--hostfile=hosts", *flags, PATH=path)


TWO = "alpha slots=1 address=127.0.0.1 interface=lo\nme@beta address=127.0.0.2 interface=lo # 2nd\n"


def test_roles_on_other_machines(tmp_path):
    code, text = finish(launch_on(tmp_path, TWO, "fine", "-s2"), tmp_path)
    assert code == 0, text
    first, second = ((tmp_path / f"ssh-{name}").read_text() for name in ("alpha", "me@beta"))
    assert first.count("DMLC_ROLE=") == 3 and "DMLC_ROLE=scheduler" in first
    assert second.count("DMLC_ROLE=") == 2 and "DMLC_ROLE=server" in second
    assert "DMLC_NODE_HOST=127.0.0.2" in second and "DMLC_PS_ROOT_URI=127.0.0.1" in second
    assert "BatchMode=yes" in first
    assert "worker 1: fine" in logged(tmp_path, "worker-1")


def test_a_failure_on_another_machine(tmp_path):
    job = launch_on(tmp_path, TWO, "stubborn")
    pids = all_started(tmp_path)
    os.kill(pids["worker 1"], signal.SIGKILL)
    code, text = finish(job, tmp_path)
    assert code == 137 and "error: worker 1 (rank 1): ended with exit code 137" in text
    gone(pids.values())


def test_the_launcher_dies_and_so_do_roles_on_other_machines(tmp_path):
    job = launch_on(tmp_path, TWO, "stubborn")
    pids = all_started(tmp_path)
    job.kill()
    job.wait(LIMIT)
    gone(pids.values())


def test_a_machine_that_does_not_answer_is_named(tmp_path):
    lines = TWO.replace("me@beta", "lost")
    code, text = finish(launch_on(tmp_path, lines, "fine", "--timeout=6"), tmp_path)
    assert code == 1 and "rendezvous: missing after 6 s: worker 1, which never began" in text


def test_a_machine_that_refuses(tmp_path):
    lines = TWO.replace("me@beta", "refused")
    code, text = finish(launch_on(tmp_path, lines, "fine"), tmp_path)
    assert code == 255 and "worker 1: ended with exit code 255" in text
    assert "Connection refused" in text


def test_no_ssh_and_no_place_for_logs(tmp_path):
    (tmp_path / "hosts").write_text("alpha\n")
    job = launch(tmp_path, "fine", "--hostfile=hosts", PATH="/nowhere")
    code, text = finish(job, tmp_path)
    assert code == 2 and "error: ssh: cannot be opened or started (No such file" in text
    (tmp_path / "file").write_text("")
    code, text = finish(launch(tmp_path, "fine", "--log-dir=file/logs"), tmp_path)
    assert code == 2 and re.search(r"error: file.*: cannot be opened or started", text)


def test_words_reach_the_other_machine_whole(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    environment = {"DMLC_ROLE": "worker", "HOME": "/root", "PYTHONPATH": "a b"}
    line = hosts.remote(hosts.Host("h"), ["python", "it's", "a;b"], environment)
    assert line[0] == "ssh" and line[-2] == "h"
    assert line[-1].startswith(f"cd {tmp_path} && exec env DMLC_ROLE=worker 'PYTHONPATH=a b' ")
    assert line[-1].endswith("""python 'it'"'"'s' 'a;b'""")


def test_where_roles_go(tmp_path):
    path = tmp_path / "hosts"
    path.write_text("a slots=2\n\n# no machine\nu@b interface=eth1\n")
    machines = hosts.read(path)
    roles = parameter_server(["x"], 5, 3, machines, 1234)
    assert [role.host.name for role in roles if role.is_worker] == ["a", "a", "u@b", "a", "a"]
    assert [role.host.name for role in roles if role.kind == "server"] == ["a", "u@b", "a"]
    assert roles[0].kind == "scheduler" and roles[0].host.name == "a"
    assert all(role.environment["DMLC_PS_ROOT_URI"] == "a" for role in roles)
    assert roles[2].environment["DMLC_INTERFACE"] == "eth1"
    assert "DMLC_INTERFACE" not in roles[0].environment


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no machine"),
        ("a slots=0", "line 1: slots=0"),
        ("\na slots=x", "line 2: slots=x"),
        ("a b", "line 1: give a name"),
        ("-oProxyCommand=x", "line 1: give a name"),
        ("localhost\nb", "give the address"),
    ],
)
def test_bad_hostfiles(tmp_path, text, message):
    path = tmp_path / "hosts"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        hosts.read(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("-n 2", "no command"),
        ("-- x", "-n/--workers"),
        ("-n 0 -- x", "'0' is no whole number"),
        ("-n 2 --timeout=-1 -- x", "'-1' is no number of seconds"),
        ("-n 2 --timeout=nan -- x", "'nan' is no number of seconds"),
        ("-n 2 --hostfile=/none -- x", "--hostfile /none: cannot be read"),
        ("-n 2 -s 1 -- x --kv-store=horovod", "Horovod has no servers"),
        ("-n 2 --port=1 -- x --kv-store horovod", "--port 1: Horovod"),
        ("-n 2 --unknown -- x", "see --help"),
    ],
)
def test_bad_command_lines(line, message):
    with pytest.raises(InputError, match=message):
        options.parse(line.split())


def test_ctrl_c_ends_the_reader_too(tmp_path):
    # as in: launch.py ... 2>&1 | tee: nobody reads what is printed after it
    reading, writing = os.pipe()
    line = command("-n2", "--grace=1", program="role_program.py", flags=["saves"])
    job = subprocess.Popen(line, cwd=tmp_path, stdout=writing, stderr=writing)
    os.close(writing)
    text = b""
    while b"have met" not in text:
        text += os.read(reading, 4096)
    time.sleep(0.5)
    os.close(reading)
    job.send_signal(signal.SIGINT)
    assert job.wait(30) == 130
    assert all("saved" in logged(tmp_path, f"worker-{k}") for k in range(2))


@pytest.fixture
def without_nohup():
    """Let what is started be ended by a closing terminal, also where the tests run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("without_nohup")
def test_a_terminal_that_closes(tmp_path):
    job = launch(tmp_path, "saves")
    all_started(tmp_path)
    time.sleep(0.5)
    job.send_signal(signal.SIGHUP)
    wait_for(lambda: "SIGHUP: the workers finish" in printed(tmp_path))
    job.send_signal(signal.SIGHUP)  # as shells and terminals do; no wish to end at once
    code, text = finish(job, tmp_path)
    assert code == 129 and "SIGHUP: all roles are ended at once" not in text and "error" not in text
    assert all("ended by 15" in logged(tmp_path, f"worker-{k}") for k in range(2))


def test_nohup(tmp_path):
    line = command("-n2", "--grace=1", program="role_program.py", flags=["fine"])
    job = start(["nohup", *line], tmp_path)
    all_started(tmp_path)
    job.send_signal(signal.SIGHUP)
    code, text = finish(job, tmp_path)
    assert code == 0 and "SIGHUP" not in text


def test_no_limit_for_the_last_checkpoint(tmp_path):
    job = launch(tmp_path, "saves", "--stop-timeout=0")
    all_started(tmp_path)
    time.sleep(0.5)
    job.send_signal(signal.SIGINT)
    assert finish(job, tmp_path)[0] == 130
    assert all("saved" in logged(tmp_path, f"worker-{k}") for k in range(2))


def test_ctrl_c_before_the_workers_have_met(tmp_path):
    job = launch(tmp_path, "absent")
    wait_for(lambda: len(processes(tmp_path)) == 4)
    job.send_signal(signal.SIGINT)
    code, text = finish(job, tmp_path, timeout=2 * LIMIT)
    assert code == 130 and "the workers have not met" in text


def test_time_to_prepare_is_not_time_to_meet(tmp_path):
    code, text = finish(launch(tmp_path, "prepares", "--timeout=3"), tmp_path)
    assert code == 0, text


def test_old_logs_are_not_printed_again(tmp_path):
    assert finish(launch(tmp_path, "fine"), tmp_path)[0] == 0
    code, text = finish(launch(tmp_path, "fine"), tmp_path)
    assert code == 0 and text.count("worker 0: fine") == 2, "once for each job"


def test_an_error_in_the_launcher_leaves_no_grandchild(tmp_path, monkeypatch):
    script = "sleep 60 & echo $!; wait"
    roles = [Role("worker", 0, hosts.HERE, ["sh", "-c", script])]
    watching = Supervisor(roles, str(tmp_path), Limits(grace=1))
    log = tmp_path / "worker-0.log"

    def judge(now):
        if log.exists() and log.read_text().strip():
            raise RuntimeError("a bug of the launcher")

    monkeypatch.setattr(watching, "_judge", judge)
    with pytest.raises(RuntimeError, match="a bug"):
        watching.run()
    gone([int(log.read_text())])


def test_addresses_that_horovod_cannot_take():
    from igc.launch import horovod

    with pytest.raises(InputError, match="no address that can be reached"):
        horovod._address([hosts.Host("h", 1, "no-such-host.invalid", "")])
    pytest.importorskip("horovod")
    with (
        pytest.raises(InputError, match="IPv4"),
        horovod.rendezvous(["x"], 1, [hosts.Host("h", 1, "fe80::1", "")], 1),
    ):
        pass
