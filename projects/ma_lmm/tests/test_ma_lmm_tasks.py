"""Annotation formats of the paper's tasks, prompts and labels, and how answers count."""

import json
import shutil

import numpy as np
import pytest
import torch
from ma_lmm.closed_set import log_likelihoods
from ma_lmm.frames import FrameTransform, even_indices, indices_at_rate, random_box, random_indices
from ma_lmm.prompts import PromptBuilder, PromptError, clean_text
from ma_lmm.tasks import TASKS
from ma_lmm.tasks.captions import read_references
from ma_lmm.tasks.classes import windows
from ma_lmm.tasks.metrics import anticipation_scores, caption_scores, exact_scores, first_word_scores
from ma_lmm.tasks.samples import Videos
from ma_lmm.tasks.video_task import Source
from ma_lmm.tiny import NUM_QUERIES, tiny_model, tiny_processor

from slowfast_gta.errors import DataError, RunError


@pytest.fixture
def source(tmp_path):
    """source(content, names) -> a Source with that JSON and empty videos of those names."""

    def make(content, names=("a", "b"), references=None):
        (tmp_path / "videos").mkdir(exist_ok=True)
        for name in names:
            (tmp_path / "videos" / f"{name}.mp4").touch()
        path = tmp_path / "annotations.json"
        path.write_text(json.dumps(content))
        if references is not None:
            (tmp_path / "references.json").write_text(json.dumps(references))
        found = tmp_path / "references.json" if references is not None else None
        return Source(path, Videos(tmp_path / "videos", 10.0), found)

    return make


# ---------------------------------------------------------------------------------------------- annotation formats


def test_lvu_is_windows_of_100_seconds_every_20(source):
    assert windows(140) == [(0, 100), (20, 120), (40, 140)]
    assert windows(30) == windows(119) == [(0, 100)]
    entry = {"subset": "train", "duration": 125.5, "num_frames": 1255, "scene": 3, "scene_answer": "Police Station!"}
    other = {"subset": "test", "duration": 60, "num_frames": 600, "scene": 1, "scene_answer": "office"}
    nothing = {"subset": "train", "duration": 60, "num_frames": 600, "genre": 1, "genre_answer": "action"}
    made = source({"a": entry, "b": other, "c": nothing})
    task = TASKS["lvu_scene"]
    samples = task.read(made, "train")
    assert [(sample.id, sample.span_sec) for sample in samples] == [("a@0", (0, 100)), ("a@20", (20, 120))]
    assert samples[0].prompt == "what is the scene of the movie?" and samples[0].answers == ("police station",)
    assert [sample.id for sample in task.read(made, "val")] == ["b@0"]  # no "val": the test's
    assert task.class_names(made) == ["office", "police station"]


def test_breakfast_and_coin_name_a_class(source):
    made = source({"a": {"duration": 9, "frame_length": 90, "class_name": "scrambled egg", "class_label": 2}})
    (sample,) = TASKS["breakfast"].read(made, "train")
    assert sample.answers == ("scrambled egg",) and sample.path.endswith("a.mp4") and sample.fps is None
    made = source(
        {
            "a": {"subset": "training", "duration": 9, "target": "make tea", "num_frames_actual": 90},
            "b": {"subset": "testing", "duration": 9, "target": "PaintWall", "num_frames_actual": 90},
        }
    )
    assert [sample.answers for sample in TASKS["coin"].read(made, "test")] == [("paintwall",)]
    assert TASKS["coin"].class_names(made) == ["make tea", "paintwall"]


def test_questions_and_answers(source):
    entry = {"question": "What is he doing?", "answer": 2, "answer_type": 1, "video": "a.mp4", "frame_length": 30}
    (sample,) = TASKS["msvd_qa"].read(source({"q7": entry}), "train")
    assert (sample.id, sample.answers) == ("q7", ("2",))
    assert sample.prompt == "Question: what is he doing? Short answer:"
    assert {TASKS[name].metric for name in ("msrvtt_qa", "msvd_qa")} == {"first_word"}
    assert TASKS["activitynet_qa"].metric == "exact"


def test_captions_are_one_a_sample_in_training_and_one_a_video_in_testing(source):
    content = {str(number): {"caption": f"A dog, {number}.", "video": "a", "frame_length": 9} for number in range(2)}
    task = TASKS["msrvtt_caption"]
    assert [sample.answers for sample in task.read(source(content), "train")] == [("a dog, 0",), ("a dog, 1",)]
    (sample,) = task.read(source(content), "test")
    assert sample.answers == ("A dog, 0.", "A dog, 1.")
    references = {"images": [{"id": "a"}], "annotations": [{"image_id": "a", "caption": "a cat", "id": 0}]}
    (sample,) = task.read(source(content, references=references), "test")
    assert sample.answers == ("a cat",)
    with pytest.raises(DataError, match="no reference"):
        task.read(source(content, references={"annotations": [{"image_id": "z", "caption": "c"}]}), "test")
    with pytest.raises(DataError, match="COCO"):
        read_references(source([1, 2]).annotations)


def test_youcook2_has_segments(source):
    fields = {"video": "a", "frame_length": 90, "segment": 1, "start_time": 3, "end_time": 7.5}
    (sample,) = TASKS["youcook2_caption"].read(source({"x": {"caption": "stir", **fields}}), "test")
    assert sample.span_sec == (3, 7.5) and sample.id == "a@1"
    assert TASKS["youcook2_caption"].index_rule == "floor"


def test_anticipation_reads_the_official_lists(tmp_path):
    columns = "narration_id,participant_id,video_id,start_timestamp,verb_class,noun_class"
    for name, rows in (
        ("EPIC_100_train.csv", ["P01_0,P01,P01_01,00:02:05.50,1,0", "P01_1,P01,P01_01,00:00:00.30,0,0"]),
        ("EPIC_100_validation.csv", ["P02_0,P02,P02_01,00:00:10.00,0,1"]),
    ):
        (tmp_path / name).write_text("\n".join([columns, *rows]) + "\n")
    (tmp_path / "EPIC_100_verb_classes.csv").write_text("id,key\n0,take\n1,put-down\n")
    (tmp_path / "EPIC_100_noun_classes.csv").write_text("id,key\n0,cup:coffee\n1,knife\n")
    (tmp_path / "P01" / "P01_01").mkdir(parents=True)
    source = Source(tmp_path, Videos(tmp_path, 50.0))
    (sample,) = TASKS["epic_action"].read(source, "train")  # the other one has nothing before it
    assert sample.span_sec == (64.5, 124.5) and sample.answers == ("put down cup coffee",)
    assert sample.fps == 50.0
    assert TASKS["epic_action"].class_names(source) == ["put down cup coffee", "take cup coffee", "take knife"]
    assert TASKS["epic_verb"].class_names(source) == ["take", "put down"]


@pytest.mark.parametrize(
    ("task", "content", "names"),
    [
        ("breakfast", [1], "object"),
        ("breakfast", {}, "object"),
        ("breakfast", {"a": 3}, "entry 'a'"),
        ("breakfast", {"a": {"class": "x"}}, "class_name"),
        ("coin", {"a": {"subset": "nowhere", "target": "x"}}, "nowhere"),
        ("coin", {"a": {"subset": "test", "target": "x"}}, "train"),
        ("lvu_genre", {"a": {"genre": 1, "genre_answer": "x", "duration": "long"}}, "duration"),
        ("msvd_qa", {"a": {"question": "x", "answer": "y", "video": 3}}, "video"),
        ("youcook2_caption", {"a": {"caption": "x", "video": "v", "segment": 1, "start_time": True}}, "start_time"),
    ],
)
def test_wrong_annotations_are_refused_with_the_entry(source, task, content, names):
    with pytest.raises(DataError, match=names):
        TASKS[task].read(source(content), "train")


def test_annotations_that_are_no_json_or_absent(tmp_path):
    (tmp_path / "a.json").write_text("{")
    for path in (tmp_path / "a.json", tmp_path / "none.json"):
        with pytest.raises(DataError, match=path.name):
            TASKS["breakfast"].read(Source(path, Videos(tmp_path, 10.0)), "train")


def test_a_list_of_absent_videos_is_refused(tmp_path):
    videos = Videos(tmp_path, 10.0)
    videos.of("x")
    with pytest.raises(DataError, match="'x'"):
        videos.check_found()
    with pytest.raises(DataError, match="nowhere"):
        Videos(tmp_path / "nowhere", 10.0)


# ------------------------------------------------------------------------------------------------- frames, prompts


def test_frames_are_chosen_as_the_authors_do():
    assert even_indices(16, 4) == [0, 5, 10, 15]
    assert even_indices(10, 4) == np.rint(np.linspace(0, 9, 4)).astype(int).tolist()
    generator = np.random.default_rng(0)
    for _ in range(50):
        indices = random_indices(100, 8, generator)
        bounds = np.linspace(0, 100, 9).astype(int)
        assert all(low <= index < high for low, index, high in zip(bounds, indices, bounds[1:], strict=False))
    assert random_indices(2, 4, generator) == sorted(random_indices(2, 4, generator))
    assert indices_at_rate(np.arange(100) / 10, 2.0) == list(range(0, 100, 5))
    assert indices_at_rate(np.array([0.0, 0.4, 3.0]), 1.0) == [0, 1, 2]  # the frame that is shown then
    assert indices_at_rate(np.array([0.0]), 1.0) == [0]


def test_frames_become_what_the_processor_makes_of_them():
    processor = tiny_processor(tiny_model()).image_processor
    frame = np.random.default_rng(0).integers(0, 256, (40, 61, 3), np.uint8)
    expected = processor(images=frame, return_tensors="pt")["pixel_values"][0]
    transform = FrameTransform(processor)
    assert torch.allclose(transform(frame), expected, rtol=0, atol=1e-5)
    assert torch.equal(transform.resize(frame, flip=True), transform.resize(frame).flip(-1))
    assert not torch.equal(transform.resize(frame, box=(0, 0, 30, 20)), transform.resize(frame))
    for _ in range(100):
        left, top, right, bottom = random_box(40, 61, np.random.default_rng(_))
        assert 0 <= left < right <= 61 and 0 <= top < bottom <= 40
        assert 0.45 <= (right - left) * (bottom - top) / (40 * 61) <= 1


def test_text_is_cleaned_as_the_authors_do():
    assert clean_text('What "is" (this): a #1 ~movie*; yes! no. ok?') == "what is this a 1 movie yes no ok?"
    assert len(clean_text("word " * 99).split()) == 50


@pytest.mark.parametrize("language", ["llama", "t5"])
def test_labels_are_the_answer_and_eos(language):
    model = tiny_model(language=language)
    builder = PromptBuilder(tiny_processor(model), 4, language == "t5")
    tokenizer = builder.tokenizer
    prompts = builder.with_answers(["what is shown", "what"], ["red", "a blue cat"], NUM_QUERIES)
    answers = [row[row != -100].tolist() for row in prompts.labels]
    assert answers == [
        tokenizer.convert_tokens_to_ids(words) for words in (["red", "</s>"], ["a", "blue", "cat", "</s>"])
    ]
    assert (prompts.input_ids[:, :NUM_QUERIES] == 4).all() and (prompts.input_ids[:, NUM_QUERIES] == 1).all()
    assert prompts.labels.shape == prompts.input_ids.shape or language == "t5"
    assert prompts.qformer_attention_mask.sum(1).tolist() == [4, 2]


def test_questions_of_unequal_length_are_padded_on_the_left_for_a_decoder():
    builder = PromptBuilder(tiny_processor(tiny_model()), 4, is_encoder_decoder=False)
    prompts = builder.questions(["what is shown", "what"], NUM_QUERIES)
    assert prompts.input_ids[1, :2].tolist() == [0, 0] and prompts.attention_mask[1].tolist() == [0, 0, *[1] * 6]
    with pytest.raises(PromptError):
        builder.questions(["what is <image>"], NUM_QUERIES)


# --------------------------------------------------------------------------------------------------------- metrics


def test_exact_and_first_word():
    beams = [["red", "blue"], ["a red", "red"], ["red cat", "x"]]
    scores = exact_scores(beams, ["red", "red", "red"])
    assert scores == {"top1": pytest.approx(100 / 3), "top5": pytest.approx(200 / 3)}
    assert first_word_scores(beams, ["red", "red", "red"])["top1"] == pytest.approx(200 / 3)
    assert first_word_scores([[""]], ["red"])["top1"] == 0


def test_class_mean_recall_is_the_loop():
    generator = np.random.default_rng(0)
    ranks = np.stack([generator.permutation(12) for _ in range(60)])
    labels = generator.integers(0, 9, 60)
    by_class = {}
    for row, label in zip(ranks, labels, strict=True):
        by_class.setdefault(int(label), []).append(label in row[:5])
    expected = sum(sum(hits) / len(hits) for hits in by_class.values()) / len(by_class)
    scores = anticipation_scores(ranks, labels)
    assert scores["recall5"] == pytest.approx(100 * expected)
    assert scores["accuracy5"] == pytest.approx(
        100 * np.mean([label in row[:5] for row, label in zip(ranks, labels, strict=True)])
    )


CAPTIONS = ["a dog runs on the grass", "a man is cooking"]
REFERENCES = [["a dog runs on the grass", "dog running"], ["a woman is cooking food", "someone cooks"]]


def test_captions_without_java_are_named_otherwise(monkeypatch):
    pytest.importorskip("pycocoevalcap")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    scores, (remark,) = caption_scores(CAPTIONS, REFERENCES)
    assert set(scores) == {"cider_plain", "bleu4_plain", "rouge_l_plain"} and "Java" in remark
    perfect, _ = caption_scores([row[0] for row in REFERENCES], [row[:1] for row in REFERENCES])
    assert perfect["cider_plain"] > scores["cider_plain"] and perfect["rouge_l_plain"] == pytest.approx(100)


@pytest.mark.skipif(shutil.which("java") is None, reason="Java is not installed; METEOR needs it")
def test_captions_with_java():
    pytest.importorskip("pycocoevalcap")
    scores, remarks = caption_scores([*CAPTIONS, ""], [*REFERENCES, ["a cat"]])
    assert set(scores) == {"cider", "bleu4", "rouge_l", "meteor"} and not remarks
    assert 0 < scores["meteor"] < 100


def test_captions_without_the_scorers_are_refused(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pycocoevalcap.bleu.bleu", None)
    with pytest.raises(RunError, match="pip install pycocoevalcap"):
        caption_scores(CAPTIONS, REFERENCES)


@pytest.mark.parametrize("language", ["llama", "t5"])
@torch.no_grad()
def test_likelihoods_of_a_closed_set_are_those_of_the_chain_rule(language):
    """One class at a time, one token at a time, by the language model alone."""
    model = tiny_model(language=language)
    builder = PromptBuilder(tiny_processor(model), 4, language == "t5")
    tokens = torch.randn(2, NUM_QUERIES, 32)
    names, prompts = ["red", "a blue cat", "milk"], ["what is shown", "what"]
    got = log_likelihoods(model, builder, tokens, prompts, names, chunk=2)
    for row, prompt in enumerate(prompts):
        inputs = builder.questions([prompt], NUM_QUERIES)
        embeds = model.put_into_prompt(tokens[row : row + 1], inputs.input_ids)
        for column, name in enumerate(names):
            ids = builder.tokenizer(name, add_special_tokens=False)["input_ids"] + [2]
            total = 0.0
            for number, token in enumerate(ids):
                if language == "t5":
                    decoder = torch.tensor([[0, *ids[:number]]])
                    logits = model.language_model(inputs_embeds=embeds, decoder_input_ids=decoder).logits
                else:
                    before = model.get_input_embeddings()(torch.tensor([ids[:number]], dtype=torch.long))
                    logits = model.language_model(inputs_embeds=torch.cat([embeds, before], 1)).logits
                total += float(logits[0, -1].log_softmax(-1)[token])
            assert float(got[row, column]) == pytest.approx(total, abs=1e-4)
