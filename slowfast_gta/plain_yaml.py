"""YAML as data: PyYAML's safe loader, which runs nothing, without what makes that loader fail or swell.

An alias costs a file three letters and may name a structure of other aliases: a few lines can stand for more nodes than
any memory holds, which the first that copies or prints them finds out. And the safe loader lets pass whatever Python
raises where a tag does not fit its value (`!!int ""`).
"""

from typing import Any

import yaml

MOST_REPEATED = 100_000  # nodes that the aliases of a document may stand for


def load_yaml(text: str | bytes) -> Any:
    """What the one document of `text` holds: dict, list, text, numbers, dates, None. Raises yaml.YAMLError alone."""
    loader = PlainLoader(text)
    try:
        return loader.get_single_data()
    except RecursionError:
        raise yaml.YAMLError("it is nested too deep to be read") from None
    finally:
        loader.dispose()


class PlainLoader(yaml.SafeLoader):
    """yaml.SafeLoader that refuses aliases of what they stand in and of too much, and text that is no Unicode."""

    def __init__(self, stream: str | bytes) -> None:
        super().__init__(stream)
        self._sizes: dict[int, int] = {}  # of each whole node, aliases spelled out
        self._repeated = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        mark = self.peek_event().start_mark
        is_alias = self.check_event(yaml.AliasEvent)
        node = super().compose_node(parent, index)
        if not is_alias:
            self._sizes[id(node)] = 1 + sum(self._sizes[id(part)] for part in _parts(node))
            return node
        if id(node) not in self._sizes:
            raise yaml.composer.ComposerError(None, None, "an alias stands inside of what it names", mark)
        self._repeated += self._sizes[id(node)]
        if self._repeated > MOST_REPEATED:
            raise yaml.composer.ComposerError(
                None, None, f"its aliases stand for more than {MOST_REPEATED} values", mark
            )
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, ArithmeticError, TypeError):
            kind = str(node.tag).rpartition(":")[2]
            raise yaml.constructor.ConstructorError(
                None, None, f"what stands here is no {kind} that can be read", node.start_mark
            ) from None

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        value = super().construct_scalar(node)
        try:
            str(value).encode(errors="surrogateescape")  # names of files that are no UTF-8 are text too
        except UnicodeEncodeError:
            raise yaml.constructor.ConstructorError(
                None, None, "a text has half of a character (a surrogate)", node.start_mark
            ) from None
        return value


def _parts(node: yaml.Node | None) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []
