"""PySlowFast's own YAMLs: what is read under another name here, what does not matter, and what we do not have.

The names are those of PySlowFast's slowfast/config/defaults.py.
"""

from slowfast_gta.config.settings import Fault, Setting

_DATASETS = {"kinetics": "Kinetics", "ssv2": "SSv2"}
_ABSENT_DATASETS = ("ava", "charades", "imagenet", "ptvkinetics", "ptvcharades", "ptvssv2")
_ABSENT_MODELS = {
    "MViT": "it has no transformers",
    "MaskMViT": "it has no transformers",
    "X3D": "it has no X3D networks",
    "ContrastiveModel": "it has no self-supervised training",
}
_ABSENT_ARCHS = ("x3d", "mvit", "maskmvit", "slow_c2d", "slow_i3d")

# Sections that PySlowFast has and we do not, and why.
_ABSENT_SECTIONS = {
    "AUG": "it has no RandAugment, no random erasing",
    "AVA": "it has no detection",
    "CONTRASTIVE": "it has no self-supervised training",
    "DEMO": "its demo of a video file is tools/predict.py",
    "DETECTION": "it has no detection",
    "MASK": "it has no self-supervised training",
    "MIXUP": "it has no mixing of clips",
    "MULTIGRID": "it has no multigrid training",
    "MVIT": "it has no transformers",
    "TASK": "it has no self-supervised training",
    "VIS_MASK": "it has no self-supervised training",
    "X3D": "it has no X3D networks",
}

# Keys that PySlowFast has and we do not, and the value at which they do nothing there.
_ABSENT_KEYS = {
    "BN.GLOBAL_SYNC": False,
    "DATA.COLOR_RND_GRAYSCALE": 0.0,
    "DATA.DUMMY_LOAD": False,
    "DATA.ENSEMBLE_METHOD": "sum",
    "DATA.IN22k_VAL_IN1K": "",
    "DATA.IN_VAL_CROP_RATIO": 0.875,
    "DATA.LOADER_CHUNK_OVERALL_SIZE": 0,
    "DATA.LOADER_CHUNK_SIZE": 0,
    "DATA.MULTI_LABEL": False,
    "DATA.PATH_TO_PRELOAD_IMDB": "",
    "DATA.SKIP_ROWS": 0,
    "DATA.SSL_BLUR_SIGMA_MAX": [0.0, 2.0],
    "DATA.SSL_BLUR_SIGMA_MIN": [0.0, 0.1],
    "DATA.SSL_COLOR_BRI_CON_SAT": [0.4, 0.4, 0.4],
    "DATA.SSL_COLOR_HUE": 0.1,
    "DATA.SSL_COLOR_JITTER": False,
    "DATA.SSL_MOCOV2_AUG": False,
    "DATA.TIME_DIFF_PROB": 0.0,
    "DATA.TRAIN_CROP_NUM_SPATIAL": 1,
    "DATA.TRAIN_CROP_NUM_TEMPORAL": 1,
    "DATA.TRAIN_JITTER_ASPECT_RELATIVE": [],
    "DATA.TRAIN_JITTER_FPS": 0.0,
    "DATA.TRAIN_JITTER_MOTION_SHIFT": False,
    "DATA.TRAIN_JITTER_SCALES_RELATIVE": [],
    "MODEL.DETACH_FINAL_FC": False,
    "MODEL.DROPCONNECT_RATE": 0.0,
    "MODEL.FP16_ALLREDUCE": False,
    "RESNET.ZERO_INIT_FINAL_CONV": False,
    "SOLVER.COSINE_AFTER_WARMUP": False,
    "SOLVER.LARS_ON": False,
    "SOLVER.LAYER_DECAY": 1.0,
    "TEST.NUM_TEMPORAL_CLIPS": [],
    "TRAIN.CHECKPOINT_CLEAR_NAME_PATTERN": [],
    "TRAIN.CHECKPOINT_EPOCH_RESET": False,
    "TRAIN.CHECKPOINT_IN_INIT": False,
    "TRAIN.KILL_LOSS_EXPLOSION_FACTOR": 0.0,
}

# Keys and sections of PySlowFast's that cannot change a result, whatever their value, and why.
_WITHOUT_EFFECT = {
    "AUG.RE_SPLIT": "PySlowFast does not read it either",
    "BENCHMARK": "it is for PySlowFast's benchmark only",
    "DATA.DECODING_BACKEND": "videos are always read with PyAV",
    "DATA.DECODING_SHORT_SIZE": "PySlowFast does not read it either",
    "DATA.IN22K_TRAINVAL": "PySlowFast does not read it either",
    "DATA.TRAIN_PCA_EIGVAL": "colours of Kinetics and Something-Something are not jittered there either",
    "DATA.TRAIN_PCA_EIGVEC": "colours of Kinetics and Something-Something are not jittered there either",
    "DATA_LOADER.ENABLE_MULTI_THREAD_DECODE": "it changes speed only",
    "MODEL.MULTI_PATHWAY_ARCH": "it is a list of names, known here",
    "MODEL.SINGLE_PATHWAY_ARCH": "it is a list of names, known here",
    "RESNET.INPLACE_RELU": "it changes memory only",
    "SOLVER.STEP_SIZE": "PySlowFast does not read it either",
    "SOLVER.WARMUP_FACTOR": "PySlowFast does not read it either",
    "TENSORBOARD.CATEGORIES_PATH": "it is for pictures only",
    "TENSORBOARD.CLASS_NAMES_PATH": "it is for pictures only",
    "TENSORBOARD.CONFUSION_MATRIX": "it is for pictures only",
    "TENSORBOARD.HISTOGRAM": "it is for pictures only",
    "TENSORBOARD.LOG_DIR": "the folder is always OUTPUT_DIR/tensorboard",
    "TENSORBOARD.MODEL_VIS": "it is for pictures only",
    "TENSORBOARD.PREDICTIONS_PATH": "it is for pictures only",
    "TENSORBOARD.WRONG_PRED_VIS": "it is for pictures only",
    "TEST.SAVE_RESULTS_PATH": "scores are always written to OUTPUT_DIR/scores.npz",
}

SECTIONS = frozenset({*_ABSENT_SECTIONS, "BENCHMARK"})
"""Sections that only PySlowFast has."""


def translated(settings: list[Setting]) -> tuple[list[Setting], list[str], list[Fault]]:
    """`settings` in our words, what is to be logged as a warning about them, and what PySlowFast has and we do not."""
    kept: list[Setting] = []
    notices: list[str] = []
    faults: list[Fault] = []
    for setting in settings:
        fault = _absence(setting)
        reason = _reason_to_ignore(setting)
        if reason:
            notices.append(f"{setting.where}: {setting.key} is ignored: {reason}.")
        elif fault:
            faults.append(fault)
        else:
            kept.append(setting)
    return _rename_nopool(_rename_datasets(kept, notices), notices, faults), notices, faults


def _reason_to_ignore(setting: Setting) -> str:
    key, value = setting.key, setting.value
    for name, reason in _WITHOUT_EFFECT.items():
        if key == name or key.startswith(f"{name}."):
            return reason
    if key in _ABSENT_KEYS and value in (_ABSENT_KEYS[key], str(_ABSENT_KEYS[key])):
        return f"at {value!r} it does nothing in PySlowFast either"
    section, _, name = key.partition(".")
    if section in _ABSENT_SECTIONS and (_is_off(value) or (name == "ENABLE" and value in (False, "False"))):
        return f"PySlowFast's {section} is switched off"
    return ""


def _is_off(value: object) -> bool:
    """Whether the content of a section that we do not have switches it off. TASK is text; empty is off."""
    if not isinstance(value, dict):
        return value == ""
    if "SHORT_CYCLE" in value or "LONG_CYCLE" in value:
        return not (value.get("SHORT_CYCLE") or value.get("LONG_CYCLE"))
    return value.get("ENABLE") is False


def _absence(setting: Setting) -> Fault | None:
    key, value = setting.key, setting.value
    section = key.partition(".")[0]
    if section in _ABSENT_SECTIONS:
        text = f"PySlowFast has {key}, slowfast_gta does not ({_ABSENT_SECTIONS[section]}): remove it."
    elif key in _ABSENT_KEYS:
        off = _ABSENT_KEYS[key]
        text = f"PySlowFast has {key}, slowfast_gta does not: remove it, or leave it at {off!r}, where it does nothing."
    elif key == "MODEL.MODEL_NAME" and isinstance(value, str) and (value in _ABSENT_MODELS or value[:3] == "PTV"):
        reason = _ABSENT_MODELS.get(value, "it has nothing from pytorchvideo")
        text = f"{key}: PySlowFast has {value}, slowfast_gta does not ({reason}). Use ResNet or SlowFast."
    elif key == "MODEL.ARCH" and value in _ABSENT_ARCHS:
        text = f"{key}: PySlowFast has {value}, slowfast_gta does not. Use 2d, c2d, i3d, slow or slowfast."
    elif key in ("TRAIN.DATASET", "TEST.DATASET") and str(value).lower() in _ABSENT_DATASETS:
        text = f"{key}: PySlowFast has {value}, slowfast_gta does not. A data set of your own is added by PLUGINS."
    else:
        return None
    explains = ("MODEL", "RESNET", "SLOWFAST", "DATA.NUM_FRAMES") if key.startswith("MODEL.") else ()
    return Fault(key, text, explains, setting.where)


def _rename_datasets(settings: list[Setting], notices: list[str]) -> list[Setting]:
    renamed, ssv2 = [], None
    for setting in settings:
        if setting.key in ("TRAIN.DATASET", "TEST.DATASET") and str(setting.value) in _DATASETS:
            name = _DATASETS[str(setting.value)]
            ssv2 = setting if name == "SSv2" else ssv2
            notices.append(f"{setting.where}: {setting.key} {setting.value} is PySlowFast's name, read as {name}.")
            setting = setting._replace(value=name)
        renamed.append(setting)
    if ssv2 and not any(setting.key == "DATA.SAMPLING" for setting in settings):
        notices.append(f"{ssv2.where}: PySlowFast's ssv2 takes one frame from each segment: DATA.SAMPLING is segment.")
        renamed.append(ssv2._replace(key="DATA.SAMPLING", value="segment"))
    return _keep_rgb(renamed, notices) if ssv2 else renamed


def _keep_rgb(settings: list[Setting], notices: list[str]) -> list[Setting]:
    """PySlowFast reads ssv2's frames as BGR, and REVERSE_INPUT_CHANNEL makes RGB of them; ours are RGB anyhow."""
    kept = []
    for setting in settings:
        if setting.key == "DATA.REVERSE_INPUT_CHANNEL" and setting.value in (True, "True"):
            notices.append(
                f"{setting.where}: {setting.key} True turns PySlowFast's BGR frames of ssv2 into RGB. Frames "
                "are RGB here already: set to False, since True would give the network BGR."
            )
            setting = setting._replace(value=False)
        kept.append(setting)
    return kept


def _rename_nopool(settings: list[Setting], notices: list[str], faults: list[Fault]) -> list[Setting]:
    last = {setting.key: setting for setting in settings}
    name, arch = last.get("MODEL.MODEL_NAME"), last.get("MODEL.ARCH")
    if not name or name.value != "ResNet_nopool":
        return settings
    if not arch or arch.value not in ("c2d", "2d"):
        text = "MODEL.MODEL_NAME ResNet_nopool is read as ResNet with MODEL.ARCH 2d, but only where MODEL.ARCH is c2d."
        faults.append(Fault(name.key, text, ("MODEL.ARCH",), (arch or name).where))
        return settings
    notices.append(
        f"{name.where}: MODEL.MODEL_NAME ResNet_nopool is PySlowFast's c2d without the pool over time, "
        "read as ResNet with MODEL.ARCH 2d."
    )
    return [*settings, name._replace(value="ResNet"), arch._replace(value="2d")]
