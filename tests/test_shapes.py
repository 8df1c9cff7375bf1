"""The shape annotations are checked in these tests: in every module that has one, and not before a user's mistakes."""

import re
import sys

import jaxtyping
import numpy as np
import pytest
import shapes
from inside import curve_loss_curve, schedules_phases

import lrjax


def test_every_annotated_module_is_under_the_checker():
    annotated = [path for path in shapes.ROOT.rglob("*.py") if re.search(r"\bnp\.ndarray, ?\"", path.read_text())]
    names = {".".join(path.relative_to(shapes.ROOT.parent).with_suffix("").parts) for path in annotated}
    assert names <= set(shapes.MODULES)
    loaded = [name for name in shapes.MODULES if name in sys.modules]
    assert len(loaded) > 40  # all but those of libraries that are not installed
    assert {type(sys.modules[name].__loader__).__name__ for name in loaded} == {"_JaxtypingLoader"}


def test_a_wrong_shape_is_seen():
    with pytest.raises(jaxtyping.TypeCheckError, match="values"):
        schedules_phases.leaps(np.zeros((2, 2)))
    with pytest.raises(jaxtyping.TypeCheckError, match="initial_loss"):
        curve_loss_curve.reduce_losses(np.zeros((2, 3)), np.zeros(3), np.ones(2, bool))


def test_a_users_mistake_is_explained_by_the_package():
    with pytest.raises(ValueError, match=r"`sample_losses\(lrs=...\)` must have shape"):
        lrjax.sample_losses(None, None, np.ones((2, 2)), key=None)
