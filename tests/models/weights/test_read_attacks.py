"""Torch files that attack, as archives and in the form of before torch 1.6: refused, and nothing in them runs."""

import contextlib
import functools
import io
import operator
import os
import pickle
import runpy
import shutil
import types
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn
from weight_files import Reduced

from slowfast_gta.errors import WeightsError
from slowfast_gta.models.weights.read import load_torch_file

FORMS = ["torch", "old torch"]


def attacks(trace: Path) -> dict[str, object]:
    """Each makes `trace` where it is read carelessly, but for the last four, whose classes alone are refused."""
    shell = functools.partial(os.system, f"touch {trace}")
    weights = OrderedDict({"s1.pathway0_stem.conv.weight": torch.zeros(2)})
    return {
        "functools.partial": Reduced(shell),
        "a method by its name": Reduced(operator.methodcaller("touch"), trace),
        "a folder is made": Reduced(os.mkdir, str(trace)),
        "a file is copied": Reduced(shutil.copy, __file__, str(trace)),
        "beside the weights": {"model_state": weights, "optimizer_state": {"state": {0: {"step": Reduced(shell)}}}},
        "as a tensor": {"model_state": OrderedDict(weights, extra=Reduced(shell))},
        "as a key": {"model_state": weights, (Reduced(shell),): 1},
        "as what a tensor is rebuilt with": Reduced(
            torch._tensor._rebuild_from_type_v2, os.system, int, (f"touch {trace}",), {}
        ),
        "a whole network": nn.Linear(2, 2),
        "a namespace": types.SimpleNamespace(a=1),
        "a path": {"model_state": weights, "path": Path("a")},
        "a script by its path": Reduced(runpy.run_path, os.devnull),
    }


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", attacks(Path("trace")))
def test_nothing_in_a_torch_file_runs(tmp_path, name, form):
    trace, path = tmp_path / "trace", tmp_path / "a.pth"
    torch.save(attacks(trace)[name], path, _use_new_zipfile_serialization=form == "torch")
    with pytest.raises(WeightsError):
        load_torch_file(path)
    assert not trace.exists()
    with contextlib.suppress(Exception):
        torch.load(path, weights_only=False)
    harmless = ("a whole network", "a namespace", "a path", "a script by its path")
    assert trace.exists() != (name in harmless), "the attack is a real one: read carelessly, it runs"


def torch_file(path: Path, content: bytes, form: str) -> Path:
    """A torch file around a pickle written by hand."""
    if form == "old torch":
        buffer = io.BytesIO()
        torch.save({}, buffer, _use_new_zipfile_serialization=False)
        head = io.BytesIO(buffer.getvalue())
        for _ in range(3):  # magic number, protocol, system
            pickle.load(head)
        path.write_bytes(buffer.getvalue()[: head.tell()] + content + pickle.dumps([], 2))
        return path
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", b"3\n")
        archive.writestr("archive/byteorder", b"little")
    return path


TOWERS = {
    "tuples of one": b"\x80\x02})" + b"\x85" * 500_000 + b"Ns.",
    "put away in between": b"\x80\x02})" + b"\x85q\x00" * 500_000 + b"Ns.",
    "of two": b"\x80\x02})" + b"N\x86" * 500_000 + b"Ns.",
    "marked": b"\x80\x02}" + b"(" * 50_000 + b"t" * 50_000 + b"Ns.",
    "got back": b"\x80\x02})q\x00" + b"0h\x00\x85q\x00" * 500_000 + b"Ns.",
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", TOWERS)
def test_a_tower_of_tuples_is_refused_before_torch_hashes_it(tmp_path, name, form):
    """weights_only lets it pass, and its hash, by recursion in C, would end this process with SIGSEGV."""
    with pytest.raises(WeightsError):
        load_torch_file(torch_file(tmp_path / "a.pth", TOWERS[name], form))


def test_a_tower_in_front_of_an_archive(tmp_path):
    """zipfile goes by a file's end, torch by its begin."""
    path = torch_file(tmp_path / "a.pth", TOWERS["tuples of one"], "old torch")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("readme.txt", "an archive")
    with pytest.raises(WeightsError):
        load_torch_file(path)


@pytest.mark.parametrize("form", FORMS)
def test_what_is_nested_as_people_nest_it_is_read(tmp_path, form):
    """Also many tuples one after another, in containers: nothing of that is deep."""
    content = {"a": [(1, (2, (3, {"b": (4,)})))] * 500, "w": torch.ones(2), "o": OrderedDict(c=(5, [6, ()]))}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=form == "torch")
    found = load_torch_file(tmp_path / "a.pth")
    assert found["a"] == content["a"] and found["o"] == content["o"] and torch.equal(found["w"], content["w"])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("content", [b"", b"\x80\x02", b"\x80\x02t.", b"\x80\x02h\x07.", b"\x80\x020.", b"\xff" * 9])
def test_torn_pickles_of_torch_files(tmp_path, content, form):
    with pytest.raises(WeightsError):
        load_torch_file(torch_file(tmp_path / "a.pth", content, form))
