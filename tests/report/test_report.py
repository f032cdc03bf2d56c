"""The page and its figures: everything that a run has, nothing that it has not."""

import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from emu.errors import NotSupportedError, UsageError
from emu.report import events, extract
from emu.report.source import load, load_all
from tests.processes import ROOT
from tests.report.conftest import TRACE, document

matplotlib = pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

from emu.report import draw, page  # noqa: E402

SECTIONS = [name for name, _ in page.SECTIONS]
VOID = {"meta", "link", "img", "br"}


class Checker(HTMLParser):
    """Collects ids, links and text, and complains about what is not closed."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.links, self.sources, self.words = [], set(), [], [], []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if "id" in attributes:
            assert attributes["id"] not in self.ids
            self.ids.add(attributes["id"])
        self.links += [attributes["href"]] if "href" in attributes else []
        self.sources += [attributes["src"]] if "src" in attributes else []
        assert tag not in ("script", "iframe", "object")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)


def checked(text):
    checker = Checker()
    checker.feed(text)
    assert not checker.open
    return checker


def report(*paths):
    return checked(page.html(load_all([str(path) for path in paths])))


def words(checker):
    return " ".join(" ".join(checker.words).split())


def test_every_section_is_there_and_linked(write):
    found = report(write())
    assert set(SECTIONS) <= found.ids
    assert {link for link in found.links if link.startswith("#")} == {f"#{name}" for name in SECTIONS}


def test_nothing_is_loaded_from_anywhere(write):
    text = page.html(load_all([str(write())]))
    found = checked(text)
    assert all(source.startswith("data:image/svg+xml;base64,") for source in found.sources)
    assert all(link.startswith(("#", "data:")) for link in found.links)
    assert "http" not in text.replace("http-equiv", "")
    assert "default-src 'none'" in text


def test_what_the_run_says_is_in_the_page(write):
    text = words(report(write()))
    assert "pass 4 CPUs, Linux 4.11, slab, signal, seed 23, 375 ms, slab-create-no-ipi=on" in text
    assert "switch slab-create-no-ipi on (Linux 4.11: off)" in text
    assert "parameter size 64" in text
    assert "floor of signal in C 7.40 us p50, 15.0 us p99" in text
    assert "warning: the host is <b>busy</b> & slow" in text  # as text, not as mark-up
    assert "script.after 102" in text
    assert "creations (sum) 8" in text
    assert "kick 23 160 us 90.0 us 900 us 5.00 ms" in text
    assert "slab_mutex 29 1 100 ns 200 ns 300 ns 1.00 us 2.00 us 3.00 us" in text
    assert "sent to other CPUs 69" in text
    assert "avoided: the CPU was looked at and held nothing 92" in text
    assert "kick_all_cpus_sync do_nothing slab_mutex 23 69 0 0 0 23 1 2.30 ms 100 ns" in text
    assert "emu run memcg-create --cpus 4 --kernel 4.11 --seed 23" in text


def test_violations_are_in_the_page(write):
    rows = [{"invariant": "I1", "text": "object 0x8 is <in> two places"}]
    text = words(report(write(verdict="violation", violations=rows)))
    assert "violation 4 CPUs" in text
    assert "I1 : object 0x8 is <in> two places" in text


def test_rows_of_variants_are_columns(write):
    rows = [
        {"variant": v, "patches": {}, "safe": "yes", "elapsed_ns": n, "cal": {"before": 1}}
        for v, n in (("off", 7), ("on", 5))
    ]
    text = words(report(write(result={"rows": rows})))
    assert "figure off on" in text
    assert "elapsed_ns 7.00 ns 5.00 ns" in text
    assert "cal.before 1 1" in text


def test_several_runs_share_figures_and_tables(write):
    found = report(write("two", cpus=2), write("eight", cpus=8), write("fifty", cpus=50))
    text = words(found)
    assert "memcg-create: 3 runs" in text
    assert "option two eight fifty" in text
    assert "cpus 2 8 50" in text
    drawn = ("scaling-elapsed_ns", "scaling-interrupts", "scaling-p50_ns", "latency-kick")
    assert {f"figure-{name}" for name in drawn} <= found.ids


def test_the_same_run_twice_is_two_runs(write):
    path = write()
    found = report(path, path)
    assert "one (2)" in words(found)
    assert not any(name.startswith("figure-scaling") for name in found.ids)


def test_figures_are_drawn_of_what_there_is(write):
    names = [figure.name for figure in draw.all_figures(load_all([str(write())]))]
    assert names == ["latency", "latency-kick", "interrupts-one"]
    bare = [
        figure.name for figure in draw.all_figures(load_all([str(write(latency={}, histograms={}, interrupts={}))]))
    ]
    assert bare == []


def test_events_give_the_matrix_and_the_timeline(folder):
    source = load(str(folder))
    found = events.matrix(source)
    assert found.raised == 5
    assert found.dropped == 5
    # Row and column 0 are the coordinator's.
    pairs = zip(*(part.tolist() for part in found.counts.nonzero()), strict=True)
    assert {(i - 1, j - 1): found.counts[i, j] for i, j in pairs} == {
        (1, 0): 2, (1, 3): 1, (-1, 2): 1, (2, -1): 1,
    }  # fmt: skip
    line = events.timeline(source)
    assert [tuple(each) for each in line.intervals] == [
        ("slab_mutex", 0, 50, 90, False), ("slab_mutex", 1, 60, 95, True), ("slab_mutex", 1, 95, 99, False),
    ]  # fmt: skip
    page_of = report(folder)
    assert {"figure-matrix-kept", "figure-timeline-kept", "figure-interrupts-kept"} <= page_of.ids
    text = words(page_of)
    assert "5 older records were overwritten" in text
    assert "emu again kept" in text


def test_events_of_other_shapes_are_left_out(folder):
    source = load(str(folder))
    for changes in ({"config": {}}, {"config": {"cpus": 0}}, {"config": {"cpus": 5000}}):
        assert events.matrix(source._replace(document=source.document | changes)) is None
    short = dict(source.events) | {"ns": source.events["ns"][:-1]}
    assert events.matrix(source._replace(events=short)) is None
    assert events.timeline(source._replace(document=source.document | {"trace": None})) is None
    small = source._replace(document=source.document | {"config": {"cpus": 2}})
    assert events.matrix(small).raised == 2  # what names a CPU that is not there is no event


def test_figures_are_the_same_bytes_each_time(write):
    figure = draw.all_figures(load_all([str(write())]))[0]
    assert draw.render(figure) == draw.render(figure)
    assert draw.render(figure, "png").startswith(b"\x89PNG")


def test_a_matrix_of_a_thousand_cpus_is_folded(folder):
    source = load(str(folder))
    large = source._replace(document=source.document | {"config": {"cpus": 1024}})
    assert draw.render(draw.matrix(large)).count(b"<path") < 2000


@pytest.mark.parametrize(
    "changes",
    [
        {"latency": {"kick": None}}, {"latency": {"kick": {"count": 1}}}, {"locks": {"slab_mutex": 3}},
        {"locks": {"slab_mutex": {"wait_ns": None}}}, {"interrupts": {"CAL": "x"}}, {"interrupts": {"CAL": [1, None]}},
        {"histograms": 3}, {"histograms": {"latency": {"kick": {"buckets": [[1, 2]]}}}},
        {"histograms": {"latency": {"kick": {"buckets": [[-1, 2, "x"]]}}}}, {"ledger": {"rows": [3, {}]}},
        {"warnings": 3}, {"violations": [3]}, {"config": {}}, {"config": {"kernel": "9.9", "patches": 3}},
        {"config": {"cpus": "4", "params": None}}, {"host": {"ipi_floor_ns": [1]}}, {"result": {"rows": [1, 2]}},
        {"result": {"x": [[]]}}, {"seed": None}, {"elapsed_ns": "long"}, {"run": {"name": 3}},
        {"result": {"rows": [{"variant": "<script>alert(1)</script>"}]}}, {"workload": "$x_y^{z"},
    ],
)  # fmt: skip
def test_what_is_hand_edited_is_left_out(write, changes):
    found = report(write(**changes), write("other", cpus=8))
    assert set(SECTIONS) <= found.ids


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"schema": 1, "x": NaN}', "not JSON"),
        ("", "not JSON"), ("{", "not JSON"), ("[]", "no schema number"), ('{"schema": 99}', "schema 99"),
        ('{"schema": true}', "no schema number"), ('{"schema": 1}', "workload is missing"), ("[" * 100000, "not JSON"),
        (json.dumps(document(config=3)), "config is missing or not as it was"),
        (json.dumps(document(locks=3)), "locks is not as it was"),
    ],
)  # fmt: skip
def test_what_is_no_result_is_refused(tmp_path, text, said):
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=said):
        load(str(path))


def test_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(UsageError, match="nothing"):
        load(str(tmp_path / "nothing"))
    with pytest.raises(UsageError):
        load(str(tmp_path))


def test_damaged_events_are_refused(folder):
    (folder / "events.npz").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(UsageError, match="damaged"):
        load(str(folder))


def test_published_figures_stand_beside_ours(write):
    pytest.importorskip("emu.published")
    text = words(report(write()))
    assert "47741" in text
    assert "101" in text


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setattr(draw.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NotSupportedError, match=r"emu report needs jinja2: pip install 'percpu-emu\[plots\]'"):
        draw.need("emu report", "jinja2")


def emu(*args, **options):
    return subprocess.run(
        [sys.executable, "-m", "emu", *map(str, args)], cwd=ROOT, capture_output=True, text=True, check=False, **options
    )


def test_the_command_writes_one_file_and_never_over_another(write, tmp_path):
    out = tmp_path / "out.html"
    done = emu("report", write(), "-o", out)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{out}\n", "")
    assert checked(out.read_text()).ids
    again = emu("report", write(), "-o", out)
    assert again.returncode == 1
    assert again.stderr == f"emu: -o {out}: exists; name another file, or add --force\n"
    assert emu("report", write(), "-o", out, "--force").returncode == 0
    assert emu("report", write(), "-o", tmp_path).returncode == 1
    assert emu("report", write(), "-o", tmp_path / "no" / "where.html").returncode == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.json", "out.html"]


def test_plot_lists_and_draws(write, tmp_path):
    one = write()
    listed = emu("plot", one)
    assert [line.split()[0] for line in listed.stdout.splitlines()] == ["latency", "latency-kick", "interrupts-one"]
    svg, png = tmp_path / "a.svg", tmp_path / "a.PNG"
    assert emu("plot", one, "--figure", "latency", "-o", svg).returncode == 0
    assert emu("plot", one, "--figure", "interrupts", "-o", png).returncode == 0
    assert svg.read_bytes().startswith(b"<?xml")
    assert png.read_bytes().startswith(b"\x89PNG")
    for arguments, said in (
        (("--figure", "latenci", "-o", tmp_path / "b.svg"), "did you mean 'latency'?"),
        (("--figure", "latency", "-o", tmp_path / "b.gif"), "ends with neither .svg nor .png"),
        (("--figure", "latency"), "go together"),
    ):
        done = emu("plot", one, *arguments)
        assert done.returncode == 1
        assert said in done.stderr


def test_a_real_run_can_be_reported(tmp_path):
    run = emu("run", "memcg-create", "--cpus", "3", "--loops", "5", "--kernel", "4.11", "--both", "--json")
    path = tmp_path / "real.json"
    path.write_text(run.stdout)
    out = tmp_path / "real.html"
    assert emu("report", path, "-o", out).returncode == 0
    assert "cal_all.after" in words(checked(out.read_text()))


CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
FRAME = """\
<!doctype html><link rel="icon" href="data:,"><body style="margin:0">
<iframe id="page" src="page.html" width="WIDTH" height="3000" style="border:0"></iframe>
<pre id="found"></pre>
<script>
addEventListener("load", () => {
  const page = document.getElementById("page").contentDocument, root = page.documentElement;
  const broken = [...page.images].filter(image => !image.complete || !image.naturalWidth).length;
  const hidden = [...page.querySelectorAll("section")].filter(each => each.getBoundingClientRect().height < 40).length;
  document.getElementById("found").textContent =
    `wide ${root.scrollWidth} broken ${broken} hidden ${hidden} images ${page.images.length}`;
});
</script>
"""


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="needs chromium")
@pytest.mark.parametrize("width", [1200, 400])
def test_a_browser_shows_every_section(write, folder, tmp_path, width):
    sources = [str(folder), str(write("eight", cpus=8, trace=TRACE))]
    (tmp_path / "page.html").write_text(page.html(load_all(sources)))
    (tmp_path / "frame.html").write_text(FRAME.replace("WIDTH", str(width)))
    done = subprocess.run(
        [
            CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files",
            "--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000",
            "--dump-dom", (tmp_path / "frame.html").as_uri(),
        ],
        capture_output=True, text=True, check=False, timeout=90,
    )  # fmt: skip
    found = re.search(r"wide (\d+) broken (\d+) hidden (\d+) images (\d+)", done.stdout)
    assert found, done.stderr
    wide, broken, hidden, images = map(int, found.groups())
    assert wide <= width  # no part of the page sticks out: wide tables scroll by themselves
    assert (broken, hidden) == (0, 0)
    assert images >= 6
    assert "CONSOLE" not in done.stderr


def test_the_template_is_installed_with_the_package():
    text = (ROOT / "pyproject.toml").read_text()
    assert 'emu = ["report/*.j2"]' in text
    assert Path(extract.__file__).with_name("page.html.j2").is_file()
