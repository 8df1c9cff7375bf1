"""The judgement of predicted sizes, on a table whose law is known, and its page."""

import itertools
import json

import numpy as np

from experiments.blocks import fill
from experiments.scaling.judging import LAW, SAME, judge
from experiments.scaling.largest import PAGE, RESULTS, blocks
from lrjax.scaling import fit

SIZES = [(2, 4), (1, 4), (4, 4), (8, 4), (2, 2), (2, 8), (2, 16)]


def test_a_known_law_loses_nothing_and_a_constant_lr_what_the_parabola_says():
    rows = [
        (width, batch, 10.0 ** (k / 8 - 2), 1 + (k / 8 + 0.5 * np.log10(width / 2) - 0.5 * np.log10(batch / 4)) ** 2)
        for (width, batch), k in itertools.product(SIZES, range(-8, 9))
    ]
    law = fit(dict(zip(("width", "batch_size", "lr", "loss"), np.transpose(rows), strict=True)))
    width, batch = judge(law, {"width": 2.0, "batch_size": 4.0}, guessing=3.0)
    shift = 0.5 * np.log10(4)
    assert (width.axis, width.sizes, width.refused) == ("width", {"width": 8.0, "batch_size": 4.0}, "")
    np.testing.assert_allclose([width.off[LAW], batch.off[LAW]], 0, atol=1e-3)
    np.testing.assert_allclose([width.off[SAME], batch.off[SAME]], [shift, -shift], atol=1e-3)
    np.testing.assert_allclose(width.lost[SAME], 100 * shift**2 / 2, atol=0.5)
    np.testing.assert_allclose(batch.off["square root"], 0, atol=1e-3)


def test_the_page_shows_the_results():
    page = PAGE.read_text()
    assert page == fill(page, blocks(json.loads((RESULTS / "largest.json").read_text())))
