"""command: train and test the toy."""

from collections.abc import Sequence

from slowfast_gta.commands import run_net


def main(arguments: Sequence[str] | None = None) -> int:
    from toy_sequences.task import SECTION, build_toy

    return run_net.main(arguments, extra=SECTION, build_task=build_toy)
