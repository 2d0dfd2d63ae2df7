"""Generated names for runs without one: two words and a number, easy to say and to distinguish."""

from __future__ import annotations

import os

__all__ = ["random_name"]

_FIRST = """
amber brisk calm clever copper crisp daring dusty eager early fleet gentle golden hazel honest icy jolly keen kind
lively lucid lunar mellow mild misty nimble noble patient polite proud quick quiet rapid ruby rustic serene sharp
silent silver simple smooth snowy solar steady stout sunny swift tidy vivid warm wild wise witty young
""".split()
_SECOND = """
acorn badger beacon birch bison brook cedar comet condor crane delta dune egret elk falcon fern finch fjord fox gull
hare harbor heron ibis iris island jay juniper kestrel lake lark lemur lily lynx maple marten meadow moth newt oak
orca osprey otter owl pine plover quail raven reef river robin seal sparrow spruce stork swan tern thrush tide trout
tulip vole walnut wave willow wolf wren yarrow
""".split()


def random_name() -> str:
    """For example ``brisk-heron-417``."""
    a, b, c, d = os.urandom(4)
    return f"{_FIRST[a % len(_FIRST)]}-{_SECOND[b % len(_SECOND)]}-{(c * 256 + d) % 1000}"
