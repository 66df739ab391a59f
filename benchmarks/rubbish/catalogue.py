"""The catalogue: every kind of bad input, with the reason that its dead letter must give.

python -m benchmarks.rubbish.catalogue          prints it
"""

from benchmarks.rubbish import encodings, fields, meanings
from benchmarks.rubbish.kinds import Kind

KINDS: tuple[Kind, ...] = (*encodings.kinds(), *fields.kinds(), *meanings.kinds())
WAYS = frozenset((kind.message if kind.message in ("bytes", "key") else "", kind.way) for kind in KINDS)
"""What can be wrong, wherever it is wrong: the same fault on another topic is another kind, but not another way."""

if __name__ == "__main__":
    for kind in KINDS:
        print(f"{kind.stage}\t{kind.reason}\t{kind.name}")
