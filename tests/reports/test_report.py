"""The page of runs: what is on it, what it does in a browser, and that nothing in a stranger's run files runs."""

import importlib.util
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from made_runs import HOSTILE, QUOTED, write_run
from miniatures import keys

from slowfast_gta.commands import run_command
from slowfast_gta.errors import DataError, RunError
from slowfast_gta.reports import charts
from slowfast_gta.reports.history import load_histories, load_history
from slowfast_gta.reports.report import MOST_BYTES, write_report, write_report_of_run


def missing(*packages: str) -> bool:
    return any(importlib.util.find_spec(name) is None for name in packages)


needs_charts = pytest.mark.skipif(missing("altair", "vl_convert"), reason="the extra 'report' is not installed")
CHROMIUM = next((path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if path), None)
needs_browser = pytest.mark.skipif(
    CHROMIUM is None or missing("playwright", "axe_playwright_python"),
    reason="no browser: apt install chromium, and pip install '.[browser]'",
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    first = write_run(folder / "R2D", settings="SOLVER: {BASE_LR: 0.1}\nMODEL: {ARCH: 2d}\n")
    lost = {"v9": f"v9.mp4: {HOSTILE}"}
    second = write_run(folder / "GTA", seed=1, missing=lost, settings="SOLVER: {BASE_LR: 0.05}\nMODEL: {ARCH: 2d}\n")
    return [first, second]


@pytest.fixture(scope="module")
def page(runs, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("page") / "report.html"
    write_report(runs, output)
    return output


@needs_charts
def test_the_command_prints_what_is_on_the_page(runs, tmp_path, capsys):
    assert run_command("report", [*map(str, runs), "--output", str(tmp_path / "a" / "report.html"), "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    text = (tmp_path / "a" / "report.html").read_text()
    assert (
        results["num_runs"] == 2 and results["num_clips"] == 8 and results["bytes"] == len(text.encode()) < MOST_BYTES
    )
    assert text.count("data:video/webm;base64,") == 8 and "v9.mp4" in text
    for wanted in ("SOLVER.BASE_LR", "0.05", "gmacs", "Without order it is"):
        assert wanted in text, wanted
    assert text.count("MODEL.ARCH") == 2, "in the whole list of each run, and not among what differs"
    assert not list(tmp_path.rglob("*.tmp"))


@needs_charts
def test_nothing_of_a_run_is_markup_and_nothing_is_fetched(page):
    text = page.read_text()
    assert HOSTILE not in text and "<b>door" not in text and text.count("<script") == 3
    assert "&lt;script&gt;document.title" in text and "\\u003cscript\\u003e" in text
    before = text[: text.index("<script")]
    assert "http://" not in before and "https://" not in before and "default-src 'none'" in before


@needs_charts
def test_two_outputs_and_many_classes(tmp_path):
    verbs = write_run(tmp_path / "epic", outputs={"verb": 7, "noun": 9}, num_files=1)
    wide = write_run(tmp_path / "wide", num_classes=400, num_videos=4000, num_files=1)
    found = write_report([verbs, wide], tmp_path / "report.html")
    assert found["num_runs"] == 2 and found["bytes"] < MOST_BYTES and found["num_wrong"] > 50
    text = (tmp_path / "report.html").read_text()
    assert "Classes of verb" in text and "Confusions of noun" in text and 25 < text.count('class="card"') <= 50


@needs_charts
def test_what_is_missing_is_reported(tmp_path, runs):
    """An untested run, one of another task, one of an older version; a clip whose file is gone."""
    untested, other, old = tmp_path / "untested", tmp_path / "other", tmp_path / "old"
    for folder in (untested, other, old):
        shutil.copytree(runs[0], folder)
    for name in ("results.json", "scores.npz", "complexity.json"):
        (untested / name).unlink()
    np.savez(other / "scores.npz", video_id=np.array(["a"]), segments=np.zeros(3))
    with np.load(old / "scores.npz") as stored:
        arrays = {name: stored[name] for name in stored.files if name not in ("video_path", "span", "class_names")}
    np.savez(old / "scores.npz", **arrays)
    assert len(load_history(untested).notes) == 2 and not load_history(untested).outputs
    assert load_history(other).notes and not load_history(other).outputs
    history = load_history(old)
    assert len(history.notes) == 1 and not history.videos[0].path and history.outputs[0].class_names[1] == QUOTED
    shutil.rmtree(runs[1] / "nothing", ignore_errors=True)
    found = write_report([untested, other, old], tmp_path / "report.html")
    assert len(found["notes"]) == 4 and found["num_clips"] == 0


def test_old_run_folders_are_read():
    folder = Path(__file__).parents[1] / "fixtures" / "runs" / "sgd_gta" / "run"
    history = load_history(folder)
    assert history.rows and history.settings["ATTENTION.NAME"] == "GTA" and history.notes


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("results.json", "[1]"),
        ("results.json", "{"),
        ("config.yaml", "!!python/object/apply:os.system [exit 1]"),
        ("config.yaml", "- a\n"),
        ("scores.npz", "no archive"),
    ],
)
def test_broken_files_are_refused(tmp_path, runs, name, content):
    shutil.copytree(runs[0], tmp_path / "run")
    (tmp_path / "run" / name).write_text(content)
    with pytest.raises(DataError, match=name.replace(".", r"\.")):
        load_history(tmp_path / "run")


@pytest.mark.parametrize("change", ["scores", "label", "object"])
def test_scores_that_do_not_fit_are_refused(tmp_path, runs, change):
    shutil.copytree(runs[0], tmp_path / "run")
    with np.load(runs[0] / "scores.npz") as stored:
        arrays = dict(stored)
    if change == "object":
        arrays["scores"] = np.array([{"a": 1}], dtype=object)
    else:
        arrays[change] = arrays[change][:-1] if change == "scores" else arrays[change] + 100
    np.savez(tmp_path / "run" / "scores.npz", **arrays)
    with pytest.raises(DataError, match=r"scores\.npz"):
        load_history(tmp_path / "run")


def test_wrong_words_are_refused(tmp_path, capsys, runs):
    (tmp_path / "empty").mkdir()
    out = str(tmp_path / "report.html")
    for words, code in (
        ([str(tmp_path / "none"), "--output", out], 1),
        ([str(tmp_path / "empty"), "--output", out], 1),
        ([str(runs[0]), str(runs[0]), "--output", out], 1),
        ([str(runs[0]), "--output", str(tmp_path)], 2),
    ):
        assert run_command("report", words) == code, words
        captured = capsys.readouterr()
        assert captured.err.startswith("error: ") and "Traceback" not in captured.err and not captured.out
    assert not Path(out).exists()


def test_two_runs_of_one_name_are_distinguished(tmp_path, runs):
    for parent in ("a", "b"):
        shutil.copytree(runs[0], tmp_path / parent / "run")
    names = [history.name for history in load_histories([tmp_path / "a" / "run", tmp_path / "b" / "run"])]
    assert names == ["a/run", "b/run"]


def test_without_the_extra_a_run_is_unaffected(runs, monkeypatch, caplog):
    def none(name):
        raise ImportError(name)

    monkeypatch.setattr(charts.importlib, "import_module", none)
    with caplog.at_level("INFO", "slowfast_gta"):
        write_report_of_run(runs[0])
    assert [record.levelname for record in caplog.records] == ["INFO"] and "[report]" in caplog.text
    assert not (runs[0] / "report.html").exists()
    with pytest.raises(RunError, match=r"\[report\]"):
        charts.script_bundle()


@needs_charts
def test_a_test_writes_it(run_tiny, tmp_path):
    """With paths, environment, complexity: all that a run stores for it."""
    code, _, _ = run_tiny("TEST.REPORT", True, "SOLVER.MAX_EPOCH", 1)
    assert code == 0
    text, history = (tmp_path / "run" / "report.html").read_text(), load_history(tmp_path / "run")
    assert not history.notes and all(Path(video.path).is_file() for video in history.videos)
    assert history.results["environment"]["PyTorch"] and history.complexity["gmacs"] > 0
    assert history.results["precision"] == "float32" and history.settings["TEST.REPORT"] == "True"
    num_wrong = round(history.results["num_videos"] * (1 - history.results["top1"] / 100))
    assert text.count("data:video/webm;base64,") == num_wrong
    assert keys("TEST.REPORT", True)


# ---------------------------------------------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield chromium
        chromium.close()


def opened(browser, page: Path, **options):
    """(The page, offline; what it wrote into the console.)"""
    tab = browser.new_context(offline=True, **options).new_page()
    tab.set_default_timeout(120_000)
    console: list[str] = []
    tab.on("console", lambda message: console.append(message.text))
    tab.on("pageerror", lambda fault: console.append(str(fault)))
    tab.goto(page.as_uri())
    tab.wait_for_selector("html[data-ready=yes]")
    return tab, console


@needs_charts
@needs_browser
def test_it_opens_sorts_filters_and_plays(browser, page):
    tab, console = opened(browser, page)
    assert not console and "taken" not in tab.title().lower()
    assert tab.locator("canvas").count() == 4 + 2 * 2 and tab.locator("main script").count() == 0
    table = tab.locator("#run-0-0-table")
    cells = "rows => rows.map(row => row.cells[1].textContent.trim())"
    table.locator("th button", has_text="Percent").click()
    numbers = [float(text) for text in table.locator("tbody tr").evaluate_all(cells)]
    assert numbers == sorted(numbers) and table.locator("th[aria-sort=ascending]").count() == 1
    table.locator("th button", has_text="Percent").press("Enter")
    assert [float(text) for text in table.locator("tbody tr").evaluate_all(cells)] == numbers[::-1]
    tab.select_option("[data-order=run-0-0-classes]", "class")
    tab.locator("[data-filter=run-0-0-table]").fill("thing 1")
    assert table.locator("tbody tr:visible").count() == 1
    cards = tab.locator("#wrong-run-0 > li")
    whole = cards.count()
    tab.locator("[data-filter=wrong-run-0]").fill("ruban")
    assert 0 < tab.locator("#wrong-run-0 > li:visible").count() < whole
    assert str(whole) in tab.locator("[data-count=wrong-run-0]").inner_text()
    tab.locator("[data-filter=wrong-run-0]").fill("")
    video = tab.locator("#wrong-run-0 video").first
    video.evaluate("video => { video.loop = false; return video.play(); }")
    tab.wait_for_function("video => video.currentTime > 0", arg=video.element_handle())
    assert video.evaluate("video => [video.videoWidth, video.error]") == [170, None]
    canvas = tab.locator("[data-chart=run-0-0-confusion] canvas")
    canvas.scroll_into_view_if_needed()
    tip = tab.locator("#tip")
    for share in np.linspace(0.2, 0.95, 16):  # along the diagonal, until a cell is met
        box = canvas.bounding_box()
        canvas.hover(position={"x": box["width"] * share, "y": box["height"] * share})
        if tip.is_visible():
            break
    assert "true: " in tip.inner_text() and not console
    tab.context.close()


@needs_charts
@needs_browser
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 400)])
def test_it_passes_axe_and_fits(browser, page, scheme, width):
    from axe_playwright_python.sync_playwright import Axe

    size = {"width": width, "height": 800}
    tab, console = opened(browser, page, color_scheme=scheme, viewport=size, bypass_csp=True)
    tab.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    found = Axe().run(tab).response["violations"]
    assert not found, [(one["id"], [node["html"][:120] for node in one["nodes"][:3]]) for one in found]
    assert tab.evaluate("document.documentElement.scrollWidth") <= width and not console
    tab.context.close()
