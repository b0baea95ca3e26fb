"""What the pickles of torch files may not ask for: torch.load with weights_only keeps code out, and nothing else.

It crashes on a tower of tuples, hashes for years what a few hundred bytes describe, and fills the memory where a file
tells it to. So each pickle is walked through before, instruction by instruction, and nothing of it is carried out.
"""

import pickletools
import re
from dataclasses import dataclass
from typing import BinaryIO

from slowfast_gta.pickles import RefusedPickleError, TornPickleError

MAX_TUPLES = 100  # of tuples in tuples
MOST_ITEMS = 10**8  # of tuples, texts and what calls take, each counted as often as it is named
_TUPLES = ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3")
_CALLS = ("REDUCE", "NEWOBJ")
_FILLS = ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "BUILD")  # what is below on the stack, and stays there
# Called with a number, these reserve so many bytes; a tensor's storage is named without a call.
_RESERVES = re.compile(r"(builtins|__builtin__) bytearray|torch(\.\w+)* \w*(Tensor|TypedStorage|UntypedStorage)")


@dataclass
class _Item:
    """What is known of something on the pickle's stack.

    depth: how deep tuples nest in it. num_items: of a tuple or container, each in it counted as often as it is named;
    letters of a text. reserves: it is, or is a tuple with, something that reserves memory when it is called.
    """

    depth: int = 0
    num_items: int = 1
    reserves: bool = False


def check_pickle(file: BinaryIO) -> None:
    """Refuse the next pickle of `file`, before torch reads it, for what no weights need.

    Tuples nested deeper than MAX_TUPLES: as a key, they are hashed in C by recursion, which overflows the stack, and
    Python is killed by SIGSEGV. More than MOST_ITEMS: sixty tuples that each hold the one before twice are 2 ** 60.
    A call that reserves memory. Leaves `file` behind the pickle. Raises RefusedPickleError, and TornPickleError where
    it is no whole pickle.
    """
    stack: list[_Item | None] = []  # None is a mark
    memo: dict[int, _Item | None] = {}
    num_items = 0
    try:
        for opcode, argument, _ in pickletools.genops(file):
            if opcode.name == "MARK":
                stack.append(None)
            elif opcode.name.endswith("PUT"):
                memo[int(argument or 0)] = stack[-1]
            elif opcode.name == "MEMOIZE":
                memo[len(memo)] = stack[-1]
            elif opcode.name.endswith("GET"):
                stack.append(memo[int(argument or 0)])
            else:
                taken = _take(stack, opcode)
                made, num_new = _made(opcode.name, argument, taken)
                num_items += num_new
                if made.depth > MAX_TUPLES:
                    raise RefusedPickleError(f"it holds tuples nested more than {MAX_TUPLES} deep")
                if max(made.num_items, num_items) > MOST_ITEMS:
                    raise RefusedPickleError(f"it stands for more than {MOST_ITEMS} items")
                stack += [made] * len(opcode.stack_after)
    except (ValueError, LookupError, TypeError) as fault:
        raise TornPickleError(type(fault).__name__) from None


def _take(stack: list[_Item | None], opcode: pickletools.OpcodeInfo) -> list[_Item]:
    """Take off `stack` what `opcode` takes, the topmost first; marks are left out."""
    taken: list[_Item] = []
    num = len(opcode.stack_before)
    if pickletools.markobject in opcode.stack_before:  # and all above it
        num = opcode.stack_before.index(pickletools.markobject)
        while (item := stack.pop()) is not None:
            taken.append(item)
    below = [stack.pop() for _ in range(num)]  # POP takes a mark too
    return taken + [item for item in below if item is not None]


def _made(name: str, argument: object, taken: list[_Item]) -> tuple[_Item, int]:
    """What the instruction `name` makes of `taken`, and how many items it has to go through."""
    depth = max((item.depth for item in taken), default=0)
    num = sum(item.num_items for item in taken)
    reserves = any(item.reserves for item in taken)
    if name in _TUPLES:
        return _Item(depth + 1, num + 1, reserves), 0
    if name in _CALLS:
        if reserves:
            raise RefusedPickleError("it calls what reserves as much memory as it is told to")
        return _Item(depth, num), num
    if name in _FILLS:
        filled, num = taken[-1], num - taken[-1].num_items
        filled.depth, filled.num_items = depth, filled.num_items + num
        return filled, num
    if name == "GLOBAL":
        return _Item(reserves=_RESERVES.fullmatch(str(argument)) is not None), 1
    if isinstance(argument, int) and abs(argument) >= 2**64:  # as keys, thousands can be of one hash
        return _Item(), MOST_ITEMS // 1000
    return _Item(depth, 1 + (len(argument) if isinstance(argument, str | bytes) else 0)), num
