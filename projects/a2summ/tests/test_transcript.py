"""Subtitles: formats, repairs, sentences, and the frames that belong to them."""

import numpy as np
import pytest
from a2summ.samples import alignment_of
from a2summ.transcript.cues import Cue, read_cues
from a2summ.transcript.read import read_transcript
from a2summ.transcript.sentences import Sentence, sentences_of, spans_of

from slowfast_gta.errors import DataError

SRT = """1
00:00:01,000 --> 00:00:03,500
<i>Hello</i> there &amp; welcome.

2
00:00:03,500 --> 00:00:06,000
This goes on

3
00:00:06,000 --> 00:00:08,250
and ends here. Next one!
"""
VTT = """WEBVTT

NOTE a comment

00:01.000 --> 00:03.500 align:start
Hello<00:00:01.200><c> there</c> &amp; welcome.

00:03.500 --> 00:06.000
<v Ann>This goes on

00:00:06.000 --> 00:00:08.250
and ends here. Next one!
"""
WANTED = [
    Cue("Hello there & welcome.", 1.0, 3.5),
    Cue("This goes on", 3.5, 6.0),
    Cue("and ends here. Next one!", 6.0, 8.25),
]


def write(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.srt", SRT),
        ("a.vtt", VTT),
        ("crlf.srt", SRT.replace("\n", "\r\n")),
        ("bom.srt", "\ufeff" + SRT),
        ("dots.srt", SRT.replace(",", ".")),
        ("utf16.srt", SRT.encode("utf-16")),
    ],
)
def test_every_format_gives_the_same_cues(tmp_path, name, content):
    cues, repairs = read_cues(write(tmp_path, name, content))
    assert cues == WANTED
    assert not +repairs or name.startswith("utf16")


def test_an_old_encoding_is_read_and_logged(tmp_path):
    path = write(tmp_path, "old.srt", SRT.replace("Hello", "Grüße").encode("cp1252"))
    cues, repairs = read_cues(path)
    assert cues[0].text == "Grüße there & welcome."
    assert repairs["read as cp1252"] == 1


def test_offset_moves_all(tmp_path):
    cues, repairs = read_cues(write(tmp_path, "a.srt", SRT), offset_sec=-3.0)
    assert [(cue.start_sec, cue.stop_sec) for cue in cues] == [(0, 0.5), (0.5, 3), (3, 5.25)]
    cues, repairs = read_cues(write(tmp_path, "a.srt", SRT), offset_sec=-4.0)
    assert repairs["before the video begins, left out"] == 1
    assert len(cues) == 2


def srt(*cues):
    stamp = lambda sec: f"{int(sec // 3600):02}:{int(sec // 60) % 60:02}:{int(sec) % 60:02},{round(sec % 1 * 1000):03}"  # noqa: E731
    return "\n".join(f"{i}\n{stamp(a)} --> {stamp(b)}\n{text}\n" for i, (a, b, text) in enumerate(cues, 1))


def test_bad_cues_are_repaired_and_counted(tmp_path):
    content = srt(
        (5, 6, "third"), (1, 2.5, "first"), (2, 4, "second"), (8, 7, "reversed"), (3, 3, "none"), (9, 10, "<i> </i>")
    )
    cues, repairs = read_cues(write(tmp_path, "a.srt", content))
    assert [cue.text for cue in cues] == ["first", "second", "third"]
    assert repairs["reversed or without extent, left out"] == 2
    assert repairs["without text, left out"] == 1
    assert repairs["overlapping, kept"] == 1
    assert repairs["out of order, sorted"] == 1


def test_what_looks_like_a_tag_is_text(tmp_path):
    cues, _ = read_cues(write(tmp_path, "a.srt", srt((0, 1, "Add <yeast> & <i>3 < 4</i> cups"))))
    assert cues[0].text == "Add <yeast> & 3 < 4 cups"


def test_rolling_captions_are_joined(tmp_path):
    content = srt(
        (0, 2, "we are going to"),
        (2, 2.1, "we are going to"),
        (2.1, 4, "we are going to\nbuild a house today"),
        (4, 6, "build a house today\nwith wood"),
        (20, 22, "with wood"),
    )
    cues, repairs = read_cues(write(tmp_path, "a.srt", content))
    assert [cue.text for cue in cues] == ["we are going to", "build a house today", "with wood", "with wood"]
    assert repairs["rolling repeats, joined"] == 3
    assert cues[0].stop_sec == 2.1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.srt", ""),
        ("words.srt", "These are words without any time."),
        ("binary.srt", bytes(range(256)) * 8),
        ("nothing.vtt", "WEBVTT\n\n"),
        ("blank.txt", " \n\n"),
        ("a.pdf", "x"),
        ("zeros.srt", b"\x00" * 100),
    ],
)
def test_files_without_subtitles_are_refused(tmp_path, name, content):
    with pytest.raises(DataError, match=name):
        read_cues(write(tmp_path, name, content))


def test_an_absent_file_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"absent\.srt"):
        read_cues(tmp_path / "absent.srt")


@pytest.mark.parametrize("kind", ["srt", "vtt", "ass"])
def test_no_damage_is_a_traceback(tmp_path, kind):
    generator = np.random.default_rng(0)
    good = (SRT if kind == "srt" else VTT).encode()
    for _ in range(150):
        content = bytearray(good)
        for position in generator.integers(0, len(content), 6):
            content[position] = int(generator.integers(256))
        path = write(tmp_path, f"a.{kind}", bytes(content))
        try:
            for cue in read_cues(path)[0]:
                assert cue.text
                assert 0 <= cue.start_sec < cue.stop_sec
        except DataError as fault:
            assert f"a.{kind}" in str(fault)


def test_cues_become_sentences():
    sentences = sentences_of(WANTED, 10)
    assert [sentence.text for sentence in sentences] == [
        "Hello there & welcome.",
        "This goes on and ends here.",
        "Next one!",
    ]
    assert (sentences[1].start_sec, sentences[2].stop_sec) == (3.5, 8.25)
    assert 6 < sentences[1].stop_sec == sentences[2].start_sec < 8.25


def test_a_pause_or_thirty_words_end_a_sentence():
    cues = [Cue("one", 0, 1), Cue("two", 2.4, 3), Cue("three", 4.6, 5)]
    assert [sentence.text for sentence in sentences_of(cues, 9)] == ["one two", "three"]
    words = [Cue("a b c d e f g", i, i + 1) for i in range(10)]
    assert [len(sentence.text.split()) for sentence in sentences_of(words, 9)] == [28, 28, 14]
    assert [s.text for s in sentences_of([Cue("It costs 3.5 dollars. Or so", 0, 1)], 9)] == [
        "It costs 3.5 dollars.",
        "Or so",
    ]


def test_plain_text_is_spread_over_the_video(tmp_path):
    transcript = read_transcript(write(tmp_path, "a.txt", "One. Two!\nThree\n"), 9.0)
    assert [(s.text, s.start_sec, s.stop_sec) for s in transcript.sentences] == [
        ("One.", 0, 3),
        ("Two!", 3, 6),
        ("Three", 6, 9),
    ]
    assert transcript.warnings


def test_frames_belong_to_the_sentences_of_their_time():
    generator = np.random.default_rng(0)
    times = np.cumsum(generator.uniform(0.1, 0.9, 40))
    starts = generator.uniform(0, 18, 12)
    sentences = [Sentence("x", float(s), float(s + generator.uniform(0, 4))) for s in starts]
    aligned = alignment_of(spans_of(sentences, times), 40).numpy()
    for j, sentence in enumerate(sentences):
        wanted = [sentence.start_sec <= time < sentence.stop_sec for time in times]
        if any(wanted):
            assert aligned[:, j].tolist() == wanted
        else:
            middle = (sentence.start_sec + sentence.stop_sec) / 2
            assert aligned[:, j].nonzero()[0].tolist() == [int(np.abs(times - middle).argmin())]
    assert spans_of([], times).shape == (0, 2)


def test_a_transcript_that_outlives_the_video(tmp_path):
    cues = srt(*((2 * i, 2 * i + 2, f"Sentence {i}.") for i in range(10)))
    path = write(tmp_path, "a.srt", cues)
    with pytest.raises(DataError, match=r"20\.0 s.*10\.0 s"):
        read_transcript(path, 10.0)
    fine = read_transcript(path, 19.0)
    assert not fine.warnings
    assert not fine.repairs
    cut = read_transcript(path, 17.0)
    assert cut.repairs == {"after the end of the video, left out": 1}
    assert read_transcript(path, 60.0).warnings
