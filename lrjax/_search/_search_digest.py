"""What a search was asked to do, for its folder."""

import dataclasses
import json
from typing import Any

import numpy as np

from .._checks import name_of
from .._engine import EXAMPLE_LR, BatchSource, LaneRunner, describe_call
from .._version import __version__
from ._strategy import Context, Strategy


def describe_search(runner: LaneRunner, strategy: Strategy, context: Context) -> dict[str, Any]:
    """The call, so that an equal description promises an equal answer. Traces a training step."""
    made = runner.carried
    source = BatchSource(runner.task, [seed.data_key for seed in made.seeds], runner.longest)
    fields: Any = strategy
    asked = dataclasses.asdict(fields) if dataclasses.is_dataclass(strategy) else {"strategy": name_of(type(strategy))}
    settings, executor = [np.asarray(EXAMPLE_LR, made.dtype)], runner.execution.requested
    call = describe_call(made, source, settings, key=runner.key, executor=executor, mesh=runner.mesh)
    asked = json.loads(json.dumps(asked, default=repr))
    return {"train_steps": context.train_steps} | asked | {"lrjax": __version__} | call
