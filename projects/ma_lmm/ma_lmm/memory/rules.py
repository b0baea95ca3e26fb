"""What a model remembers of a video, and how: the options of the memory banks, checked where they are made."""

from dataclasses import dataclass, fields

from slowfast_gta.errors import ConfigError

CHOICES = {
    "update": ("compress", "fifo"),
    "level": ("token", "frame"),
    "mean": ("weighted", "plain"),
    "summary": ("last", "average", "tome", "concat"),
}
TOME_TOKENS = 2  # that ToMe leaves of a frame (table 8: 100 frames, 200 tokens)


@dataclass(frozen=True)
class MemoryRule:
    """The memory of He et al., CVPR 2024; the defaults are what the authors' code does.

    length: M, how many entries a bank stores; a step attends to at most M + 1.
    update: what a full bank does: `compress` merges the two most alike neighbours in time (eq. 5-7), `fifo` drops the
        oldest entry.
    level: `token`: every token position chooses its own pair; `frame`: all positions of a frame share one, by the mean
        of their similarities (how the paper pools them is not said).
    mean: `weighted` by the number of frames that were merged before, so that an entry is the mean of its frames;
        `plain`: the mean of the two entries, as eq. 7 is printed.
    visual, query: which banks there are (table 6).
    bank_text: the query banks hold the prompt's tokens too, as in the authors' code; the paper stores the queries only.
    summary: what the language model is given: the queries of the `last` frame (the paper's), or, for the comparison of
        table 8, without banks: their `average` over frames, 2 tokens a frame by `tome`, or those of all (`concat`).
    """

    length: int = 20
    update: str = "compress"
    level: str = "token"
    mean: str = "weighted"
    visual: bool = True
    query: bool = True
    bank_text: bool = True
    summary: str = "last"

    def __post_init__(self):
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                value = getattr(self, name)
                raise ConfigError(f"memory: {name} is {value!r}; it must be {' or '.join(allowed)}.")
        if isinstance(self.length, bool) or not isinstance(self.length, int) or self.length < 1:
            raise ConfigError(f"memory: length is {self.length!r}; it must be a whole number of entries, 1 or more.")
        for field in fields(self):
            if field.type is bool and not isinstance(getattr(self, field.name), bool):
                raise ConfigError(f"memory: {field.name} is {getattr(self, field.name)!r}; it must be True or False.")

    def num_visual_tokens(self, num_queries: int, num_frames: int) -> int:
        """How many tokens the language model is given for a video of `num_frames` frames."""
        a_frame = {"tome": min(TOME_TOKENS, num_queries), "concat": num_queries}
        return num_frames * a_frame[self.summary] if self.summary in a_frame else num_queries
