"""Every config key, declared once: its default, and in a comment its meaning, unit and options.

The names and defaults are PySlowFast's wherever PySlowFast has the key. A value's type is the type of its
default; keys that allow another type or a fixed list of words are in TYPES and CHOICES at the end.
"""

from fvcore.common.config import CfgNode

_C = CfgNode()

_C.STAGES = CfgNode(new_allowed=True)  # a training in several parts, by name; see config/stages.py and docs/stages.md
_C.PLUGINS = []  # modules (my_pkg.my_block) or files (./my_block.py, relative to the YAML) to import first
_C.OUTPUT_DIR = ""  # where a run leaves everything it writes; empty: runs/<name of the YAML>
_C.RNG_SEED = 1  # seed of every random choice: weights, sampling, order, dropout
_C.LOG_PERIOD = 10  # steps between two lines of metrics.jsonl (log.txt: one a minute, and each epoch's)
_C.DETERMINISTIC = False  # only algorithms that give the same bits each time (docs/reproducibility.md); slower on GPUs
_C.TF32 = True  # on a GPU, products in float32 may round what they multiply to 10 bits, which is several times as fast
_C.COMPILE = "none"  # torch.compile in training: none | default | max-autotune (minutes at the start)
_C.LOG_MODEL_INFO = True  # print the network's parameter count at start
_C.NUM_GPUS = "auto"  # GPUs on this machine: a number, 0 for the CPU, auto for one if there is one
_C.NUM_SHARDS = 1  # machines that train together
_C.SHARD_ID = 0  # which of them this is
_C.DIST_BACKEND = "auto"  # auto (nccl on GPUs, gloo on CPUs) | nccl | gloo
_C.DIST_TIMEOUT_SEC = 50  # seconds that processes wait for one that has not started, or does not respond any more
_C.DIST_WAIT_SEC = 1800  # seconds that a process that responds may keep the others waiting in a step

# ----------------------------------------------------------------------------- the network
_C.MODEL = CfgNode()
_C.MODEL.MODEL_NAME = "SlowFast"  # a registered network: ResNet | SlowFast | your own
_C.MODEL.ARCH = "slowfast"  # where the temporal kernels are: 2d | c2d | i3d | slow | slowfast
_C.MODEL.NUM_CLASSES = 400  # K; a list, as [97, 300], for several outputs
_C.MODEL.OUTPUTS = ["verb", "noun"]  # their names, where NUM_CLASSES is a list: those of the data set
_C.MODEL.DROPOUT_RATE = 0.5  # probability of dropping a feature before the classifier
_C.MODEL.FC_INIT_STD = 0.01  # standard deviation of the classifier's first weights
_C.MODEL.HEAD_ACT = "softmax"  # the activation of the classifier in eval: softmax | sigmoid | none
_C.MODEL.LOSS_FUNC = "cross_entropy"  # cross_entropy
_C.MODEL.ACT_CHECKPOINT = False  # training: keep only what goes into each block, and run it again for its gradient
_C.MODEL.FROZEN_BN = False  # PySlowFast's word for BN.FREEZE all

_C.RESNET = CfgNode()
_C.RESNET.DEPTH = 50  # 14 (1,1,1,1 blocks) | 18 (2,2,2,2) | 34 and 50 (3,4,6,3) | 101 (3,4,23,3)
_C.RESNET.TRANS_FUNC = "bottleneck_transform"  # bottleneck_transform | basic_transform
_C.RESNET.WIDTH_PER_GROUP = 64  # channels of the stem and of res2's 3x3 convolutions
_C.RESNET.EXPANSION = 4  # channels of a block's output over those of its 3x3 convolution (ResNet-18/34: 1)
_C.RESNET.NUM_GROUPS = 1  # groups of the 3x3 convolution
_C.RESNET.STRIDE_1X1 = False  # stride on the first 1x1 convolution (caffe2 style), not on the 3x3
_C.RESNET.ZERO_INIT_FINAL_BN = False  # start the last BN of every block, attention too, at weight 0
_C.RESNET.NUM_BLOCK_TEMP_KERNEL = [[3], [4], [6], [3]]  # per stage, pathway: first n blocks with ARCH's kernel
_C.RESNET.SPATIAL_STRIDES = [[1], [2], [2], [2]]  # per stage (res2..res5), pathway
_C.RESNET.SPATIAL_DILATIONS = [[1], [1], [1], [1]]  # per stage, pathway

_C.SLOWFAST = CfgNode()
_C.SLOWFAST.ALPHA = 8  # the fast pathway has this many frames for each one of the slow pathway
_C.SLOWFAST.BETA_INV = 8  # the slow pathway has this many channels for each one of the fast pathway
_C.SLOWFAST.FUSION_CONV_CHANNEL_RATIO = 2  # channels of the fusion convolution over the fast pathway's
_C.SLOWFAST.FUSION_KERNEL_SZ = 5  # its temporal kernel, frames

_C.TSM = CfgNode()
_C.TSM.ENABLE = False  # shift channels in time at the start of every residual branch
_C.TSM.FOLD_DIV = 8  # 1/FOLD_DIV of the channels forward in time, as many back

_C.ATTENTION = CfgNode()
_C.ATTENTION.NAME = "none"  # a registered block, inserted by LOCATION: none | GTA | NL | ... (docs/attention.md)
_C.ATTENTION.LOCATION = [[[]], [[]], [[]], [[]]]  # per stage (res2..res5), pathway: after which blocks
_C.ATTENTION.OPTIONS = CfgNode(new_allowed=True)  # the block's own options; docs/attention.md lists them
_C.ATTENTION.REFINE = "none"  # none | AFR: lead the masks of W3's or CBAM's blocks to the head's features (ResNet)

_C.NONLOCAL = CfgNode()  # PySlowFast's own non-local block, with its checkpoint names
_C.NONLOCAL.LOCATION = [[[]], [[]], [[]], [[]]]  # as ATTENTION.LOCATION
_C.NONLOCAL.GROUP = [[1], [1], [1], [1]]  # per stage, pathway: frames are attended in this many groups
_C.NONLOCAL.INSTANTIATION = "dot_product"  # dot_product | softmax
_C.NONLOCAL.POOL = [[[1, 2, 2], [1, 2, 2]]] * 4  # per stage, pathway: T, H, W max-pool before keys and values

_C.BN = CfgNode()
_C.BN.NORM_TYPE = "batchnorm"  # batchnorm | sync_batchnorm (over all processes) | sub_batchnorm (of parts)
_C.BN.NUM_SPLITS = 1  # sub_batchnorm: parts of a process's batch, each normalised by itself
_C.BN.NUM_SYNC_DEVICES = 1  # PySlowFast's group size for sync_batchnorm; ours always spans all processes
_C.BN.FREEZE = "none"  # keep as loaded: none | partial (all but the stem) | backbone (not inserted blocks) | all
_C.BN.WEIGHT_DECAY = 0.0  # weight decay of BatchNorm's weights and biases
_C.BN.USE_PRECISE_STATS = False  # before each evaluation, recompute BN statistics over fresh training batches
_C.BN.NUM_BATCHES_PRECISE = 200  # over this many

# ----------------------------------------------------------------------------- data
_C.DATA = CfgNode()
_C.DATA.PATH_TO_DATA_DIR = ""  # folder of the annotation files (and of the videos, unless PATH_PREFIX)
_C.DATA.PATH_PREFIX = ""  # folder of the videos or frame folders, where it is another
_C.DATA.PATH_LABEL_SEPARATOR = "auto"  # between path and label in Kinetics lists; auto: space, comma or tab
_C.DATA.LIST_FORMAT = (
    "auto"  # whose lists: auto | official | pyslowfast | mmaction2 | tsm | glore | folders (docs/lists.md)
)
_C.DATA.LABEL_ORDER = "file"  # SSv1: classes are numbered as in labels.csv or by name: file | alphabetical (TSM's)
_C.DATA.FRAME_PATTERN = ""  # frames of a folder, as img_{:05d}.jpg, {} the number; empty: the only pattern there is
_C.DATA.NUM_FRAMES = 8  # T of a clip; SlowFast: of its fast pathway
_C.DATA.SAMPLING = "dense"  # dense (SAMPLING_RATE apart) | segment (one of each of T equal parts, TSN) | uniform
_C.DATA.SAMPLING_RATE = 8  # dense: source frames at TARGET_FPS between two frames of the clip
_C.DATA.TARGET_FPS = 30  # dense: frame rate at which SAMPLING_RATE counts
_C.DATA.USE_OFFSET_SAMPLING = False  # CLIP_POSITIONS exact: PySlowFast's switch for where several clips start
_C.DATA.INV_UNIFORM_SAMPLE = False  # short-side jitter: draw 1/side uniformly, not the side
_C.DATA.RESIZE = []  # [H, W]: resize every frame to this, then multi-scale crop (TSN); [] for short-side jitter
_C.DATA.MULTI_SCALES = [1.0, 0.875, 0.75, 0.66]  # RESIZE: crop sides, as parts of the shorter side of RESIZE
_C.DATA.TRAIN_JITTER_SCALES = [256, 320]  # short-side jitter in training: smallest, largest, px
_C.DATA.TRAIN_CROP_SIZE = 224  # px, square
_C.DATA.TEST_CROP_SIZE = 256  # px, square; also the short side in testing, unless RESIZE is set
_C.DATA.RANDOM_FLIP = True  # mirror half of the clips: True (but of directed classes) | swap-labels (all) | False
_C.DATA.COLOR_JITTER = 0.0  # of training clips: largest change of brightness, contrast, saturation; hue a quarter of it
_C.DATA.CHANNEL_PERMUTE_PROB = 0.0  # part of the training clips whose red, green, blue are permuted at random
_C.DATA.MEAN = [0.45, 0.45, 0.45]  # subtracted from RGB in [0, 1]
_C.DATA.STD = [0.225, 0.225, 0.225]  # then divided by
_C.DATA.REVERSE_INPUT_CHANNEL = False  # give the network BGR, for weights trained on it
_C.DATA.INPUT_CHANNEL_NUM = [3, 3]  # per pathway; only 3 is supported
_C.DATA.ON_ERROR = "error"  # a broken video in training: error (stop) | skip | replace (by one of its class)

_C.SYNTHETIC = CfgNode()  # the generated data set; made on first use under DATA.PATH_TO_DATA_DIR
_C.SYNTHETIC.NUM_TRAIN = 2048  # training videos
_C.SYNTHETIC.NUM_VAL = 1024  # validation videos, also the test set unless NUM_TEST
_C.SYNTHETIC.NUM_FRAMES = 24  # frames of a video
_C.SYNTHETIC.HEIGHT = 72  # px
_C.SYNTHETIC.WIDTH = 96  # px
_C.SYNTHETIC.CODEC = "vp9"  # vp9 (.webm) | h264 (.mp4)
_C.SYNTHETIC.SEED = 0  # same seed, same frames
_C.SYNTHETIC.LEVEL = 0  # how hard: 0 (the demo's) | 1 | 2 | 3: noise, speeds, camera, distractors, length
_C.SYNTHETIC.NUM_TEST = 0  # test videos of random numbers of their own; 0: testing is on the validation videos

_C.ARROW = CfgNode()  # the data set ArrowOfTime: the videos of another one forwards and backwards, two classes
_C.ARROW.DATASET = "SSv2"  # which other one: SSv1 | SSv2 | Kinetics | EgoGesture | EPIC | Synthetic | your own
_C.ARROW.CLASSES = []  # only its videos of these labels; empty: all

_C.DATA_LOADER = CfgNode()
_C.DATA_LOADER.NUM_WORKERS = 8  # processes that read videos; 0 reads in the training process
_C.DATA_LOADER.PIN_MEMORY = True  # page-locked batches, for faster copies to a GPU
_C.DATA_LOADER.SAMPLE_TIMEOUT_SEC = 60.0  # a video that takes longer to read is a broken one; 0 for no limit

# ----------------------------------------------------------------------------- training
_C.TRAIN = CfgNode()
_C.TRAIN.ENABLE = True  # train before testing
_C.TRAIN.DATASET = (
    "Kinetics"  # a registered one: SSv1 | SSv2 | Kinetics | EgoGesture | EPIC | Synthetic | ArrowOfTime | your own
)
_C.TRAIN.BATCH_SIZE = 64  # clips a step, over all processes
_C.TRAIN.DROP_LAST = (
    True  # leave out videos that do not fill a last batch, other ones each epoch; False: a smaller batch
)
_C.TRAIN.EVAL_PERIOD = 10  # epochs between evaluations on the validation split
_C.TRAIN.CHECKPOINT_PERIOD = 10  # epochs between checkpoints
_C.TRAIN.CHECKPOINT_PERIOD_STEPS = 1000  # steps between checkpoints inside an epoch; 0 for none
_C.TRAIN.KEEP_CHECKPOINTS = 0  # complete epochs whose checkpoints stay, the newest; 0 for all
_C.TRAIN.KEEP_BEST = False  # keep the epoch of the best validation top-1 too, as checkpoint_best.pyth
_C.TRAIN.ON_NAN = "stop"  # a non-finite (NaN or Inf) loss or gradient: stop (saved before it) | skip (that step)
_C.TRAIN.MAX_NAN_STEPS = 10  # ON_NAN skip: so many in a row stop the run
_C.TRAIN.AUTO_RESUME = True  # go on from the newest checkpoint in OUTPUT_DIR
_C.TRAIN.CHECKPOINT_FILE_PATH = ""  # weights to start from: PySlowFast's, torchvision's, ... (docs/weights.md), our own
_C.TRAIN.CHECKPOINT_TYPE = "pytorch"  # pytorch | caffe2; PySlowFast's key: the file itself shows what it is
_C.TRAIN.CHECKPOINT_INFLATE = False  # repeat 2D kernels along time (and divide) where the network has 3D ones
_C.TRAIN.CHECKPOINT_RESAMPLE_TIME = False  # interpolate T x T matrices and embeddings made for another NUM_FRAMES
_C.TRAIN.CHECKPOINT_OTHER_CLASSES = "refuse"  # weights for other classes, or in another order: refuse | keep | renew
_C.TRAIN.MIXED_PRECISION = False  # run forward and loss in AMP_DTYPE where that is safe
_C.TRAIN.AMP_DTYPE = "bfloat16"  # bfloat16 | float16
_C.TRAIN.FREEZE_BACKBONE = False  # only inserted attention blocks and the classifier learn
_C.TRAIN.TEACHER_FILE_PATH = ""  # weights of the same network whose features are mimicked (W3's second stage)
_C.TRAIN.MIMIC_WEIGHT = 1.0  # weight of that loss beside the cross-entropy
_C.TRAIN.LABEL_SMOOTHING = 0.0  # part of the target spread over all classes

_C.SOLVER = CfgNode()
_C.SOLVER.OPTIMIZING_METHOD = "sgd"  # sgd | adam (WEIGHT_DECAY in the gradient, L2) | adamw (apart from it); any case
_C.SOLVER.BASE_LR = 0.1  # peak learning rate
_C.SOLVER.BASE_BATCH_SIZE = 0  # learning rates are for this TRAIN.BATCH_SIZE, others in proportion; 0: as they stand
_C.SOLVER.ACCUMULATE_STEPS = 1  # gradient accumulation: the parts that each batch is computed in
_C.SOLVER.INSERTED_LR_FACTOR = 1.0  # learning rate of inserted attention blocks over that of the rest
_C.SOLVER.LR_POLICY = "cosine"  # cosine | steps (x GAMMA at each of STEPS) | steps_with_relative_lrs (x LRS)
_C.SOLVER.STEPS = []  # epochs; steps_with_relative_lrs begins with 0
_C.SOLVER.LRS = []  # learning rates relative to BASE_LR, one for each of STEPS
_C.SOLVER.GAMMA = 0.1  # steps: factor at each step
_C.SOLVER.COSINE_END_LR = 0.0  # cosine: learning rate at the end
_C.SOLVER.MAX_EPOCH = 300  # epochs
_C.SOLVER.WARMUP_EPOCHS = 0.0  # epochs of linear growth from WARMUP_START_LR
_C.SOLVER.WARMUP_MAX_FRACTION = 1.0  # of MAX_EPOCH: a short training has a shorter warm-up; 1: as WARMUP_EPOCHS says
_C.SOLVER.WARMUP_START_LR = 0.01  # learning rate at step 0 of the warm-up
_C.SOLVER.MOMENTUM = 0.9  # sgd
_C.SOLVER.DAMPENING = 0.0  # sgd
_C.SOLVER.NESTEROV = True  # sgd
_C.SOLVER.BETAS = [0.9, 0.999]  # adam, adamw
_C.SOLVER.WEIGHT_DECAY = 1e-4  # of everything but BatchNorm
_C.SOLVER.ZERO_WD_1D_PARAM = False  # no weight decay on biases and other vectors
_C.SOLVER.CLIP_GRAD_VAL = None  # clip each gradient element to this, or None
_C.SOLVER.CLIP_GRAD_L2NORM = None  # clip the whole gradient's norm to this, or None
_C.SOLVER.BASE_LR_SCALE_NUM_SHARDS = False  # multiply the learning rates by NUM_SHARDS

_C.EMA = CfgNode()
_C.EMA.ENABLE = False  # evaluate and save a running average of the weights too
_C.EMA.DECAY = 0.999  # per step

# ----------------------------------------------------------------------------- testing
_C.TEST = CfgNode()
_C.TEST.ENABLE = True  # test after training
_C.TEST.DATASET = "Kinetics"  # a registered data set
_C.TEST.BATCH_SIZE = 8  # views that a process computes at a time
_C.TEST.CHECKPOINT_FILE_PATH = ""  # weights to test; empty: the newest checkpoint in OUTPUT_DIR
_C.TEST.CHECKPOINT_TYPE = "pytorch"  # pytorch | caffe2; as TRAIN.CHECKPOINT_TYPE
_C.TEST.NUM_ENSEMBLE_VIEWS = 10  # clips along time
_C.TEST.CLIP_POSITIONS = "exact"  # where clips lie: exact (PySlowFast's) | uniform (whole video) | twice (TSM's two)
_C.TEST.NUM_SPATIAL_CROPS = 3  # 1 (centre) | 3 (ends and centre of the longer side) | 10 (corners, centre, mirrored)
_C.TEST.PRECISION = "float32"  # of the network in testing, predict, extract_features: float32 | bfloat16 | float16
_C.TEST.BACKWARDS = (
    False  # score every clip backwards too: what the network makes of the order ("order" in results.json)
)
_C.TEST.REPORT = True  # after a test, write OUTPUT_DIR/report.html, where the extra "report" is installed
_C.TEST.FULL_RESOLUTION = False  # no crop: whole frames, the shorter side DATA.TEST_CROP_SIZE; one video at a time

_C.TENSORBOARD = CfgNode()
_C.TENSORBOARD.ENABLE = True  # write OUTPUT_DIR/tensorboard
_C.METRICS_WRITERS = []  # registered writers of your own, by name, as Weights & Biases (docs/metrics.md)

# Keys whose value may have another type than the default's.
TYPES: dict[str, tuple[type, ...]] = {
    "NUM_GPUS": (int, str),
    "MODEL.NUM_CLASSES": (int, list),
    "DATA.RANDOM_FLIP": (bool, str),
    "SOLVER.CLIP_GRAD_VAL": (float, type(None)),
    "SOLVER.CLIP_GRAD_L2NORM": (float, type(None)),
}

# Keys whose value is one of a few words or numbers.
CHOICES: dict[str, tuple] = {
    "DIST_BACKEND": ("auto", "nccl", "gloo"),
    "COMPILE": ("none", "default", "max-autotune"),
    "MODEL.ARCH": ("2d", "c2d", "i3d", "slow", "slowfast"),
    "MODEL.HEAD_ACT": ("softmax", "sigmoid", "none"),
    "MODEL.LOSS_FUNC": ("cross_entropy",),
    "RESNET.DEPTH": (14, 18, 34, 50, 101),
    "RESNET.TRANS_FUNC": ("bottleneck_transform", "basic_transform"),
    "ATTENTION.REFINE": ("none", "AFR"),
    "NONLOCAL.INSTANTIATION": ("dot_product", "softmax"),
    "BN.FREEZE": ("none", "partial", "backbone", "all"),
    "BN.NORM_TYPE": ("batchnorm", "sync_batchnorm", "sub_batchnorm"),
    "DATA.SAMPLING": ("dense", "segment", "uniform"),
    "DATA.LABEL_ORDER": ("file", "alphabetical"),
    "DATA.LIST_FORMAT": ("auto", "official", "pyslowfast", "mmaction2", "tsm", "glore", "folders"),
    "DATA.RANDOM_FLIP": (True, False, "swap-labels"),
    "DATA.ON_ERROR": ("error", "skip", "replace"),
    "SYNTHETIC.CODEC": ("vp9", "h264"),
    "SYNTHETIC.LEVEL": (0, 1, 2, 3),
    "TRAIN.CHECKPOINT_TYPE": ("pytorch", "caffe2"),
    "TRAIN.CHECKPOINT_OTHER_CLASSES": ("refuse", "keep", "renew"),
    "TRAIN.AMP_DTYPE": ("bfloat16", "float16"),
    "TRAIN.ON_NAN": ("stop", "skip"),
    "SOLVER.OPTIMIZING_METHOD": ("sgd", "adam", "adamw"),
    "SOLVER.LR_POLICY": ("cosine", "steps", "steps_with_relative_lrs"),
    "TEST.CHECKPOINT_TYPE": ("pytorch", "caffe2"),
    "TEST.PRECISION": ("float32", "bfloat16", "float16"),
    "TEST.CLIP_POSITIONS": ("exact", "uniform", "twice"),
    "TEST.NUM_SPATIAL_CROPS": (1, 3, 10),
}

# Keys whose words may be written in large and small letters.
ANY_CASE = ("SOLVER.OPTIMIZING_METHOD",)


def get_defaults() -> CfgNode:
    """A fresh copy of all keys with their defaults."""
    return _C.clone()
