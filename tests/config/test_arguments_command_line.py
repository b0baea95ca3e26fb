"""The command line around the commands: names, versions, lists, streams that are closed, long folders for sockets."""

import os
import re
import subprocess
import sys

import pytest
from miniatures import ROOT

import slowfast_gta
from slowfast_gta import commands
from slowfast_gta.commands import COMMANDS, LONGEST_TMPDIR, list_configs, main, run_command
from slowfast_gta.config.arguments import as_called


def called(monkeypatch, capsys, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["slowfast-gta", *arguments])
    return main(), *capsys.readouterr()


def test_version_and_list(monkeypatch, capsys):
    name, version = called(monkeypatch, capsys, "--version")[1].split()
    assert name == "slowfast_gta" and version.startswith(slowfast_gta.__version__)
    code, out, _ = called(monkeypatch, capsys, "--list")
    assert code == 0 and "configs/SSv1/R2D50_GTA.yaml" in out.splitlines()
    assert all((ROOT / line).is_file() for line in out.splitlines()) and out.splitlines() == list_configs()


def test_each_command_prints_them_too(capsys):
    assert run_command("predict", ["--list"]) == 0 and capsys.readouterr().out.splitlines() == list_configs()
    assert run_command("run_net", ["--version"]) == 0 and capsys.readouterr().out.startswith("slowfast_gta ")


@pytest.mark.parametrize(
    "line", [["-m", "slowfast_gta", "--list"], ["-m", "slowfast_gta", "--help"], ["tools/run_net.py", "--list"]]
)
def test_a_closed_reader_causes_no_traceback(line):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([sys.executable, *line], cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, timeout=120)
    os.close(writing)
    assert done.returncode == 1 and not done.stderr


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("runnet", "run_net"), ("run-net", "run_net"), ("run_net.py", "run_net"), ("predct", "predict"), ("xyzzy", "")],
)
def test_near_commands(monkeypatch, capsys, typed, meant):
    code, out, err = called(monkeypatch, capsys, typed)
    assert code == 2 and not out
    assert (f"Did you mean {meant}?" in err) if meant else "Did you mean" not in err


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("/venv/bin/slowfast-gta", "slowfast-gta run_net --cfg a.yaml; see slowfast-gta check_data."),
        (
            "/x/slowfast_gta/__main__.py",
            "{0} run_net --cfg a.yaml; see {0} check_data.".format("python -m slowfast_gta"),
        ),
        ("tools/run_net.py", "python tools/run_net.py --cfg a.yaml; see tools/check_data.py."),
    ],
)
def test_texts_name_the_commands_as_they_are_called(monkeypatch, program, expected):
    monkeypatch.setattr(sys, "argv", [program])
    assert as_called("python tools/run_net.py --cfg a.yaml; see tools/check_data.py.") == expected


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_are_of_configs_that_exist(name, capsys):
    with pytest.raises(SystemExit):
        run_command(name, ["--help"])
    for file in re.findall(r"(?<![\w/])[\w./]+\.yaml", capsys.readouterr().out):
        assert (ROOT / file).is_file() or file.startswith("runs/"), file


def test_a_long_tmpdir(monkeypatch, tmp_path, capsys):
    long = tmp_path / ("x" * 80)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    monkeypatch.setattr(commands.tempfile, "tempdir", None)
    commands.shorten_tmpdir()
    assert len(commands.tempfile.gettempdir()) <= LONGEST_TMPDIR
    assert "TMPDIR" in capsys.readouterr().err
    commands.shorten_tmpdir()
    assert not capsys.readouterr().err


@pytest.mark.parametrize("closed", ["2>&-", "1>&-", "0<&-", "0<&- 1>&- 2>&-"])
def test_streams_that_are_closed(tmp_path, closed):
    """A log of 2>&- would else be written into whatever file was opened next."""
    code = "from slowfast_gta.commands import *; open_standard_streams(); import os, sys; "
    code += "f = open('f', 'w'); os.write(2, b'lost'); print('lost', file=sys.stderr); print('', end=''); "
    code += "f.write(f'{f.fileno() > 2}')"
    subprocess.run(
        f'"{sys.executable}" -c "{code}" {closed}',
        shell=True,
        cwd=tmp_path,
        check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert (tmp_path / "f").read_text() == "True"
