"""Whole cycles on a small site: what the site does, sentence by sentence."""

from models.proposal import Source
from tests.control.world import World


def test_smoke():
    w = World.running()
    w.ask(Source.OPERATOR, 50.0)
    sums = w.steps(15, follow=True)
    assert sums[-1] == 50.0, sums
    import timeit

    img = w.image()
    from control.cycle import run_cycle, Now, Inputs

    f = lambda: run_cycle(w.site, img, w.state, Now(w.now_ns, 0), Inputs(tuple(w.requests.values())))
    print(min(timeit.repeat(f, number=500, repeat=5)) / 500 * 1e6, "us")
    from control.replay import replay

    assert replay(w.site, w.outcomes[-1].record) == []
    from control.explain import explain

    print(explain(w.site, w.row))
