"""A few thousand harmed replies over real sockets and serial lines, and not one wrong value.

``python -m benchmarks.fuzz`` does the same with a hundred thousand for each framing.
"""

import random
from concurrent.futures import ThreadPoolExecutor

from benchmarks import fuzz

HARMED = {"tcp": 1500, "tls": 1000, "rtu": 200, "rtu+tcp": 200}
"""Where a lost reply costs silence on the line, fewer fit into the time."""


def test_no_harmed_reply_brings_a_wrong_value() -> None:
    seed = random.randrange(1 << 30)
    with ThreadPoolExecutor(len(HARMED)) as pool:
        runs = {
            framing: pool.submit(fuzz.line, framing, "ours", count, seed) for framing, count in HARMED.items()
        }
    for framing, run in runs.items():
        tally = run.result()
        assert tally.outcomes["WRONG"] == 0, f"{framing}, seed {seed}: {tally.wrong_by_trick}"
        assert tally.mutated >= HARMED[framing]
        assert tally.outcomes["right"] > HARMED[framing] // 5, "it does get on"


def test_the_harness_can_fail() -> None:
    tally = fuzz.line("tcp", "pymodbus", 300, 1)
    assert tally.outcomes["WRONG"] > 0
