"""Finding and loading workloads."""

import pytest

from emu import workload
from emu.errors import UsageError
from emu.results import combine, to_json


@pytest.fixture
def write(tmp_path):
    def file(text, name="mine.py"):
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return file


def test_a_path_is_a_workload(write):
    found = workload.find(write('"""Mine.\n\nMore."""\nDEFAULTS = {"cpus": 3}\ndef run(ctx, args): return {}\n'))
    assert found.name == "mine"
    assert found.doc == "Mine.\n\nMore."
    assert found.defaults == {"cpus": 3}
    assert found.variants() == {}
    assert found.both() is None
    assert found.call("render", {}) is None


def test_variants_of_a_switch(write):
    found = workload.find(write('SWITCH = "slub-flush"\ndef run(ctx, args): return {}\n'))
    assert found.variants() == {"all": {"slub-flush": "all"}, "cond": {"slub-flush": "cond"}}
    assert found.both() == ("all", "cond")
    assert found.switches() == {"slub-flush"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def run(:\n", "mine.py:1: invalid syntax"),
        ("\nimport nothing_like_it\n", "mine.py:2: ModuleNotFoundError"),
        ("1 / 0\n", "mine.py:1: ZeroDivisionError"),
        ("raise ValueError('two\\nlines')\n", "ValueError: two\\nlines"),
        ("x = 1\n", "no function run(ctx, args)"),
        ("run = 3\n", "no function run(ctx, args)"),
    ],
)
def test_a_broken_file_is_named_with_its_line(write, text, words):
    with pytest.raises(UsageError) as caught:
        workload.find(write(text))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_names(monkeypatch):
    monkeypatch.setattr(workload, "own_names", lambda: {"slab-test": "workloads.slab_test"})
    with pytest.raises(UsageError, match="did you mean 'slab-test'"):
        workload.find("slab_test")
    with pytest.raises(UsageError, match="`emu list`"):
        workload.find("qqq")
    for path in ("./nothing.py", "/", "a/b"):
        with pytest.raises(UsageError, match="no such file"):
            workload.find(path)


def test_names_come_from_the_packages_own_files(monkeypatch, tmp_path):
    for name in ("__init__", "slab_test", "slab_test_loop", "_private"):
        (tmp_path / f"{name}.py").touch()
    monkeypatch.setattr(workload, "folder", lambda: tmp_path)
    assert workload.own_names() == {"slab-test": "workloads.slab_test"}


def test_json_of_numpy():
    import numpy as np

    assert to_json({"a": np.int64(3), "b": np.arange(2), "c": 0.5}) == b'{"a":3,"b":[0,1],"c":0.5}\n'


def test_results_of_different_shape_keep_the_first():
    merged = combine([{"a": 1, "b": [1]}, {"a": 3, "b": [1, 2]}])
    assert merged["a"] == 2
    assert merged["b"] == [1]
