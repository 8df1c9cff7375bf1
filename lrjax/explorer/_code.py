"""The line of Python that makes a schedule, from its spec."""

import inspect
from collections.abc import Mapping
from typing import Any

from ..schedules import _FACTORIES as FACTORIES


def python_line(spec: Mapping[str, Any]) -> str:
    """`lrjax.schedules.one_cycle(peak_value=0.1, total_steps=200)`: what differs from the default, by keyword.

    Args:
      spec: what `lrjax.schedules.to_spec` returned.

    Returns:
      An expression; it needs `import lrjax`, and NumPy as `np` where a number is a float64 array.

    Examples:
      >>> python_line({"name": "constant", "value": 0.1})
      'lrjax.schedules.constant(value=0.1)'
    """
    words = []
    for name, parameter in inspect.signature(FACTORIES[spec["name"]]).parameters.items():
        value = spec.get(name, parameter.default)
        if parameter.kind is parameter.VAR_POSITIONAL:
            words += [python_line(one) for one in value]
        elif parameter.default is parameter.empty or value != parameter.default:
            words.append(f"{name}={_literal(value)}")
    return f"lrjax.schedules.{spec['name']}({', '.join(words)})"


def _literal(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"np.float64({value['float64']!r})" if "float64" in value else python_line(value)
    return f"[{', '.join(map(_literal, value))}]" if isinstance(value, list) else repr(value)


def optimizer_line(learning_rate: str, momentum: str) -> str:
    """An optimizer with both on schedules."""
    return f"lrjax.schedules.scheduled(optax.sgd, learning_rate={learning_rate}, momentum={momentum})"
