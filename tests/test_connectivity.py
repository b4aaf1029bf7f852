"""Pictures of how blocks join their channels."""

import subprocess
import sys

import facts
import pytest

SETTINGS = ("--network=plain_igc", "--depth=8", "--primary-partition=6", "--secondary-partition=2")


def run(*arguments):
    return subprocess.run(
        [sys.executable, str(facts.ROOT / "summary.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (SETTINGS, "g1_b1: one path joins any two channels: strictly complementary"),
        ((*SETTINGS, "--block=g3_b2"), "g3_b2: one path joins any two channels"),
        (
            ("--network=igcv3", "--multiplier=0.25", "--block=seq-1-block1"),
            "seq-1-block1: 9 paths join any two channels: loosely complementary",
        ),
        (
            ("--network=igcv2", "--depth=8", "--width=16", "--branches=4,2"),
            "g1_b1: 50% of the pairs of channels are joined, by up to 1 path",
        ),
    ],
)
def test_pictures(settings, said, tmp_path):
    path = tmp_path / "block.png"
    result = run(*settings, f"--connectivity={path}")
    assert result.returncode == 0, result.stderr
    assert said in result.stdout
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*SETTINGS, "--connectivity=net.bmp"), "the ending must be one of .png, .pdf, .svg"),
        ((*SETTINGS, "--block=g1_b1"), "--block: goes with --connectivity"),
        (
            (*SETTINGS, "--block=g9_b1", "--connectivity=net.png"),
            "no convolution of that name",
        ),
        (("--network=plain", "--depth=8", "--connectivity=net.png"), "known to permute channels"),
        (("--network=IGC-L100M2", "--connectivity=net.png"), "connections, too many to see"),
    ],
)
def test_errors_are_one_line(arguments, message, tmp_path):
    result = run(*arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
