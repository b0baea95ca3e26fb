"""The five data sets in their published layouts, small and made up."""

import json
from pathlib import Path

import h5py
import numpy as np
import yaml

USERS, EVERY = 4, 15


def save_arrays(path: Path, arrays: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, arrays, allow_pickle=True)


def make_summe_tvsum(
    root: Path,
    dataset: str,
    num_videos: int = 10,
    num_splits: int = 5,
    seed: int = 0,
    lengths: tuple[int, int] = (600, 1000),
    num_sentences: tuple[int, int] = (5, 9),
) -> Path:
    """Videos whose important shots show in one direction of their features. -> ROOT"""
    generator = np.random.default_rng(seed)
    folder = root / dataset
    (folder / "feature").mkdir(parents=True)
    texts, anno, info = {}, [], ["category\tvideo_id\ttitle\turl\tlength"]
    path = folder / "feature" / f"eccv16_dataset_{dataset.lower()}_google_pool5.h5"
    with h5py.File(path, "w") as file:
        for number in range(1, num_videos + 1):
            num_frames = int(generator.integers(*lengths))
            num_sampled = -(-num_frames // EVERY)
            cuts = np.arange(0, num_frames, 60)
            change_points = np.stack([cuts, np.append(cuts[1:], num_frames) - 1], 1)
            important = np.zeros(len(cuts), bool)  # as many shots as a summary of 15 % takes
            important[generator.permutation(len(cuts))[: int(0.15 * num_frames / 60)]] = True
            of_frame = important[np.arange(num_frames) // 60]
            group = file.create_group(f"video_{number}")
            features = generator.standard_normal((num_sampled, 1024)).astype(np.float32)
            features[:, :64] += 2 * of_frame[::EVERY, None]
            group["features"] = features
            group["gtscore"] = (of_frame[::EVERY] + 0.1 * generator.uniform(size=num_sampled)).astype(np.float32)
            group["gtsummary"] = of_frame[::EVERY].astype(np.float32)
            group["change_points"] = change_points
            group["n_frame_per_seg"] = change_points[:, 1] - change_points[:, 0] + 1
            group["n_frames"], group["n_steps"] = num_frames, num_sampled
            group["picks"] = np.arange(0, num_frames, EVERY)
            noise = generator.uniform(size=(USERS, num_frames)) < 0.02
            group["user_summary"] = (of_frame ^ noise).astype(np.float32)
            texts[f"video_{number}"] = generator.standard_normal(
                (int(generator.integers(*num_sentences)), 768), np.float32
            )
            info.append(f"VT\tid{number}\ttitle\turl\t1:00")
            for _ in range(20):
                ratings = np.clip(1 + 3 * of_frame + generator.integers(0, 2, num_frames), 1, 5)
                anno.append(f"id{number}\tVT\t{','.join(map(str, ratings))}")
    save_arrays(folder / "feature" / "text_roberta.npy", texts)
    names = [f"../data/{path.name}/video_{number}" for number in range(1, num_videos + 1)]
    splits = []
    for _ in range(num_splits):
        order = generator.permutation(names).tolist()
        splits.append({"train_keys": order[: -num_videos // 5], "test_keys": order[-num_videos // 5 :]})
    (folder / "splits.yml").write_text(yaml.safe_dump(splits))
    if dataset == "TVSum":
        (folder / "ydata-anno.tsv").write_text("\n".join(anno) + "\n")
        (folder / "ydata-tvsum50-info.tsv").write_text("\n".join(info) + "\n")
    return root


def make_articles(root: Path, dataset: str, num_samples: int = 4, seed: int = 0) -> Path:
    """CNN, Daily_Mail or BLiSS, parts train and test. -> ROOT"""
    generator = np.random.default_rng(seed)
    kind, dim = ("clip", 512) if dataset == "BLiSS" else ("resnet50", 2048)
    folder = root / dataset
    (folder / "annotation").mkdir(parents=True)
    for part in ("train", "test"):
        entries, video, text, keys = {}, {}, {}, {}
        for number in range(num_samples):
            name, num_frames = f"{part}{number}", int(generator.integers(20, 30))
            num_sentences = int(generator.integers(4, 8))
            of_frame = (np.arange(num_frames) % 7 == number % 7).astype(int)
            of_sentence = (np.arange(num_sentences) % 3 == 0).astype(int)
            sentences = [f"sentence {j} of {name} says word{generator.integers(99)}" for j in range(num_sentences)]
            highlight = [line for line, label in zip(sentences, of_sentence, strict=True) if label]
            values = {"text_label": of_sentence.tolist(), "highlight": highlight if number % 2 else " ".join(highlight)}
            if dataset != "CNN":
                values["video_label"] = of_frame.tolist()
            if dataset == "BLiSS":
                bounds = np.linspace(0, num_frames, num_sentences + 1).astype(int)
                spans = np.stack([bounds[:-1], bounds[1:] + 1], 1).tolist()  # overlapping by one, past the end
                values |= {"sentence": sentences, "sentence_time": spans, "video_id": "v", "num_frame": num_frames}
                values |= {"num_sentence": num_sentences, "num_keyframe": int(of_frame.sum())}
            else:
                values["article_sentence"] = sentences
            entries[name] = values
            video[name] = generator.standard_normal((num_frames, dim)).astype(np.float32)
            text[name] = generator.standard_normal((num_sentences, 768)).astype(np.float32)
            keys[name] = video[name][of_frame == 1] + 0.1
        (folder / "annotation" / f"{part}.json").write_text(json.dumps(entries))
        save_arrays(folder / "feature" / f"video_{kind}_{part}.npy", video)
        save_arrays(folder / "feature" / f"text_roberta_{part}.npy", text)
        if dataset != "CNN":
            save_arrays(folder / "feature" / f"video_summ_{kind}_{part}.npy", keys)
    return root
