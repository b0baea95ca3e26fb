"""The command: everything it leaves, without weights and with, and what it refuses."""

import dataclasses
import json
import re
from functools import partial
from itertools import pairwise

import av
import numpy as np
import pysubs2
import pytest
import torch
from a2summ import training_free
from a2summ.frames import RATE, PlainDescriptor, VideoTimes, read_times
from a2summ.long_video import check_flat
from a2summ.model import A2Summ
from a2summ.network import build_network
from a2summ.plan import divide_shots
from a2summ.summarize import Request, build_parts, main, summarize
from a2summ.summarizer import Inputs, TrainedSummarizer, load_summarizer, save_summarizer
from a2summ_stand_ins import Letters
from a2summ_videos import make_video, read_flashes, read_tones
from eval_networks import config, write_weights
from miniatures import ROOT

from slowfast_gta.commands import run_command
from slowfast_gta.errors import ConfigError, DataError, RunError, WeightsError

CLIPS = ROOT.parent / "shared" / "clips"
TEXTS = ["<b>Tom</b> & Ann meet.", "They walk home.", "It rains <script>alert(1)</script> a lot.", "Ünïcödé ends it."]


@pytest.fixture(autouse=True)
def _letters(monkeypatch):
    monkeypatch.setattr("a2summ.text_encoder.SentenceEncoder", Letters)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return make_video(tmp_path_factory.mktemp("video") / "a <b> video.mp4", 24.0, flashes_sec=(1, 7, 13, 19))


@pytest.fixture(scope="module")
def srt(video):
    subtitles = pysubs2.SSAFile()
    for number, text in enumerate(TEXTS):
        subtitles.append(pysubs2.SSAEvent(6000 * number + 500, 6000 * number + 5500, text.replace("&", "&amp;")))
    path = video.with_name("a.srt")
    path.write_text(subtitles.to_string("srt", keep_unknown_html_tags=True), encoding="utf-8")
    return path


def test_everything_is_written_and_agrees(video, srt, tmp_path):
    result = summarize(Request(video, tmp_path / "out", srt, "50%", num_sentences=2))
    out = tmp_path / "out"
    assert json.loads((out / "summary.json").read_text()) == json.loads(json.dumps(result))
    assert result["summarizer"] == training_free.NAME
    assert result["budget"]["used_sec"] <= result["budget"]["asked_sec"] == 12.0
    assert len(result["key_sentences"]) == 2
    lengths = [shot["stop_sec"] - shot["start_sec"] for shot in result["shots_chosen"]]
    assert sum(lengths) == pytest.approx(result["budget"]["used_sec"], abs=0.01)
    assert result["shots"][0]["start_sec"] == 0
    assert result["shots"][-1]["stop_sec"] == pytest.approx(24.0)

    shown = [flash - s["start_sec"] + before for flash in (1, 7, 13, 19)
             for s, before in zip(result["shots_chosen"], np.cumsum([0, *lengths]), strict=False)
             if s["start_sec"] <= flash < s["stop_sec"]]  # fmt: skip
    flashes, frames = read_flashes(out / "summary.mp4")
    tones, _ = read_tones(out / "summary.mp4")
    assert flashes == pytest.approx(shown, abs=2e-3)
    assert tones == pytest.approx(shown, abs=5e-3)
    assert len(frames) == round(10 * sum(lengths))
    with av.open(str(out / "summary.mp4")) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (64, 48)

    assert len(list((out / "keyframes").iterdir())) == len(result["shots_chosen"])
    lines = (out / "key_sentences.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2
    texts = [result["sentences"][index]["text"] for index in result["key_sentences"]]
    assert all(line.endswith(text) for line, text in zip(lines, texts, strict=True))
    assert len(pysubs2.load(str(out / "key_sentences.srt"))) == 2
    summary = pysubs2.load(str(out / "summary.srt"))
    assert max(event.end for event in summary) <= 1000 * sum(lengths) + 1
    with av.open(str(out / "timeline.png")) as picture:
        assert picture.streams.video[0].width == 1200


def test_the_page_needs_nothing_else_and_escapes_all_text(video, srt, tmp_path):
    summarize(Request(video, tmp_path, srt))
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "a <b> video" not in page
    assert "&lt;b&gt; video" in page
    assert "Ünïcödé" in page
    assert set(re.findall(r'src="([^:"]{1,20}):', page)) == {"data"}
    assert "http" not in page


def test_a_second_summary_leaves_nothing_of_the_first(video, srt, tmp_path):
    first = summarize(Request(video, tmp_path, srt, "50%"))
    second = summarize(Request(video, tmp_path, srt, "20%"))
    assert len(first["keyframes"]) > len(second["keyframes"])
    assert sorted(f"keyframes/{path.name}" for path in (tmp_path / "keyframes").iterdir()) == second["keyframes"]
    summarize(Request(video, tmp_path))
    assert not [*tmp_path.glob("*.srt"), *tmp_path.glob("*.txt")]


def test_a_summary_overwrites_nothing_that_it_is_made_of(video, srt, tmp_path):
    for source, name in ((video, "summary.mp4"), (srt, "summary.srt"), (srt, "key_sentences.srt")):
        copy = tmp_path / name
        copy.write_bytes(source.read_bytes())
        given = {"video": copy} if source is video else {"transcript": copy}
        with pytest.raises(ConfigError, match=name):
            summarize(dataclasses.replace(Request(video, tmp_path, srt), **given))
        assert copy.read_bytes() == source.read_bytes()
    assert not (tmp_path / "summary.json").exists()


def test_a_budget_of_more_than_the_video_is_the_whole_video_with_a_warning(video, tmp_path):
    result = summarize(Request(video, tmp_path, budget="500s"))
    assert result["budget"]["used_sec"] == pytest.approx(result["duration_sec"], abs=0.01)
    assert result["budget"]["asked"] == "500s"
    assert any("whole video" in note for note in result["notes"])


def test_without_transcript_or_sound(tmp_path):
    path = make_video(tmp_path / "a.mp4", 8.0, sound=False)
    result = summarize(Request(path, tmp_path / "out"))
    assert not result["has_sound"]
    assert result["key_sentences"] == []
    assert not (tmp_path / "out" / "key_sentences.txt").exists()
    assert any("sound" in note for note in result["notes"])


def make_weights(path, encoder_digest="letters-1", network_digest=PlainDescriptor.digest, **options):
    torch.manual_seed(0)
    options = {"dim_video": PlainDescriptor.dim, "dim_text": 26, "dim": 16, "num_layers": 1, **options}
    inputs = Inputs("plain", network_digest, PlainDescriptor.dim, "letters", encoder_digest, 26, RATE)
    save_summarizer(path, A2Summ(**options), options, inputs)
    return path


def test_weights_choose_and_are_named(video, srt, tmp_path, monkeypatch):
    monkeypatch.setattr("a2summ.summarize._network", lambda request: PlainDescriptor())
    run = tmp_path / "run"
    run.mkdir()
    make_weights(run / "summarizer.pth")
    given = {"network_cfg": tmp_path / "x.yaml", "network_weights": tmp_path / "x.pth"}
    result = summarize(Request(video, tmp_path / "out", srt, "50%", weights=run, **given))
    assert "run/summarizer.pth" in result["summarizer"]
    assert training_free.NAME not in "".join(result["notes"])
    for changed in ({"encoder_digest": "other"}, {"network_digest": "other"}):
        path = make_weights(tmp_path / "other.pth", **changed)
        with pytest.raises(WeightsError, match=r"other\.pth"):
            summarize(Request(video, tmp_path / "out", srt, weights=path, **given))
    without = summarize(Request(video, tmp_path / "out", srt, "50%", weights=run))
    assert without["scores"] == result["scores"], "what needs no network needs no files of one"
    with pytest.raises(ConfigError, match="network-weights"):
        summarize(Request(video, tmp_path / "out", srt, weights=tmp_path / "other.pth"))


@pytest.mark.parametrize("head", ["logit", "anchor_free"])
def test_long_videos_are_scored_in_pieces(head, monkeypatch):
    torch.manual_seed(0)
    model = A2Summ(4, 3, 16, 1, head, max_tokens=64, max_segments=16)
    generator = np.random.default_rng(0)
    frames, sentences = generator.standard_normal((100, 4), np.float32), generator.standard_normal((9, 3), np.float32)
    spans = np.stack([np.arange(9) * 11, np.arange(9) * 11 + 13], 1)
    monkeypatch.setattr("a2summ.summarizer._PIECE", 50)
    scores, of_sentences = TrainedSummarizer(model, "x")(frames, sentences, spans)
    assert scores.shape == (100,)
    assert of_sentences.shape == (9,)
    assert np.isfinite(of_sentences).all()
    alone, _ = TrainedSummarizer(model, "x")(frames[:50], sentences[:5], np.minimum(spans[:5], 50))
    if head == "logit":
        assert scores[:50] == pytest.approx(alone, abs=1e-5)


def test_files_that_are_no_summarizers_are_refused(tmp_path):
    torch.save({"state": 1}, tmp_path / "a.pth")
    (tmp_path / "b.pth").write_text("text")
    good = torch.load(make_weights(tmp_path / "good.pth"), weights_only=True)
    torch.save({**good, "options": {"dim": 3}}, tmp_path / "c.pth")
    torch.save({**good, "state": {}}, tmp_path / "d.pth")
    for name in ("a.pth", "b.pth", "c.pth", "d.pth", "absent.pth"):
        with pytest.raises(WeightsError, match=name):
            load_summarizer(tmp_path / name)
    make_weights(tmp_path / "e.pth", use_mask=False, use_segments=False)
    with pytest.raises(DataError, match=r"e\.pth"):
        load_summarizer(tmp_path / "e.pth")


def test_wrong_inputs_are_refused(video, srt, tmp_path, capsys):
    good = Request(video, tmp_path / "out", srt)
    (tmp_path / "file").write_text("x")
    for changed, kind, match in (
        ({"video": tmp_path / "absent.mp4"}, DataError, "absent"),
        ({"video": srt}, DataError, r"a\.srt"),
        ({"transcript": tmp_path / "absent.srt"}, DataError, "absent"),
        ({"budget": "much"}, ConfigError, "budget"),
        ({"budget": "0.01s"}, DataError, "frame"),
        ({"num_sentences": 0}, ConfigError, "sentences"),
        ({"num_sentences": 3, "transcript": None}, ConfigError, "transcript"),
        ({"offset_sec": float("nan")}, ConfigError, "offset"),
        ({"offset_sec": 500.0}, DataError, "offset"),
        ({"weights": tmp_path}, WeightsError, "summarizer"),
        ({"network_cfg": tmp_path / "x.yaml"}, ConfigError, "network"),
        ({"output": tmp_path / "file"}, RunError, "file"),
    ):
        with pytest.raises(kind, match=match):
            summarize(dataclasses.replace(good, **changed))
    run = partial(run_command, "summarize", package="a2summ")
    assert run([str(tmp_path / "absent.mp4"), "--output", str(tmp_path / "out")]) == 1
    assert "Traceback" not in capsys.readouterr().err
    assert run([str(video), "--output", str(tmp_path / "out"), "--budget", "x"]) == 2


@pytest.mark.slow
@pytest.mark.skipif(not CLIPS.exists(), reason="../shared/clips is not here")
def test_every_clip_of_others_is_summarized(tmp_path):
    """With network features and without; the summary is played to its end, as long as it says."""
    cfg = config("r2d")
    network = build_network(cfg, write_weights(cfg, tmp_path / "r2d.pyth"))
    clips = sorted(path for path in CLIPS.rglob("*") if path.suffix in (".mp4", ".avi"))
    assert clips
    for number, clip in enumerate(clips):
        request = Request(clip, tmp_path / str(number), budget="40%")
        parts = build_parts(request)
        for given in (parts, parts._replace(network=network)):
            result = summarize(request, given)
            _, shown = read_flashes(request.output / "summary.mp4")
            assert shown[-1] < result["budget"]["used_sec"] <= result["budget"]["asked_sec"] + 0.01, clip
            assert (np.diff(shown) > 0).all()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length(tmp_path):
    """Twelve minutes are several pieces of everything that works in pieces."""
    assert run_command("long_video", ["--output", str(tmp_path), "--minutes", "1", "12"], package="a2summ") == 0
    assert json.loads((tmp_path / "12_summary" / "summary.json").read_text())["duration_sec"] == pytest.approx(720)
    with pytest.raises(RunError, match="not constant"):
        check_flat([{"peak_mib": 100.0}, {"peak_mib": 111.0}])


def test_json_is_one_document(video, srt, tmp_path, capsys):
    assert main([str(video), "--transcript", str(srt), "--output", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_sentences"] == 4


def test_centrality_is_the_mean_cosine():
    generator = np.random.default_rng(0)
    vectors = generator.standard_normal((12, 5))
    cosines = [[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in vectors] for a in vectors]
    means = np.mean(cosines, axis=1)
    wanted = (means - means.min()) / (means.max() - means.min())
    assert training_free.centrality(vectors) == pytest.approx(wanted)
    assert training_free.centrality(np.ones((3, 2))).tolist() == [0.5] * 3
    spans = np.array([[0, 4], [2, 6]])
    frames, sentences = training_free.frame_scores(vectors, vectors[:2] * [[1], [-1]], spans)
    assert frames[8] == pytest.approx(wanted[8])
    assert frames[3] == pytest.approx((wanted[3] + sentences.mean()) / 2)
    assert training_free.frame_scores(vectors, vectors[:0], spans[:0])[0] == pytest.approx(wanted)


def test_long_shots_are_divided_where_sentences_begin():
    times = VideoTimes("v", np.arange(400) / 10, 0.0, True, 10.0, False)
    shots = [(0, 30), (30, 400)]
    parts = divide_shots(shots, times, 16.0, np.array([7.4, 11.1, 30.0]))
    assert parts[0] == (0, 30)
    assert [first for first, _ in parts[1:]] == [30, 74, 111, 154, 195, 236, 277, 318, 359]
    assert all(a[1] == b[0] for a, b in pairwise(parts))
    assert parts[-1][1] == 400
    assert divide_shots(shots, times, 400.0, np.zeros(0))[0] == (0, 30)


def test_the_seam_of_times_reads_what_was_made(video):
    times = read_times(video)
    assert times.duration_sec == pytest.approx(24.0)
    assert times.has_audio
