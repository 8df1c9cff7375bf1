"""What a search was asked to do, for its folder."""

import dataclasses
from typing import Any

import numpy as np

from .._engine import EXAMPLE_LR, BatchSource, describe_call
from .._version import __version__
from ._course import Course
from ._search_setup import Setup


def describe_search(setup: Setup, course: Course) -> dict[str, Any]:
    """The call, so that an equal description promises an equal answer. Traces a training step."""
    source = BatchSource(setup.task, [seed.data_key for seed in setup.seeds], course.longest)
    asked = {name: getattr(course, name) for name in ("train_steps", "budget", "num_seeds")}
    asked |= {"min_lr": 10.0 ** course.coarse[0], "max_lr": 10.0 ** course.coarse[-1]}
    asked |= {f"constants.{name}": value for name, value in dataclasses.asdict(course.constants).items()}
    return (
        asked
        | {"lrjax": __version__}
        | describe_call(
            setup.spec,
            [np.asarray(EXAMPLE_LR, setup.dtype)],
            setup.seeds,
            key=setup.key,
            executor=setup.executor,
            mesh=setup.mesh,
            first_batches=source.first,
            shared=source.shared,
            arrays=setup.task.arrays,
            evaluation=setup.evaluation,
        )
    )
