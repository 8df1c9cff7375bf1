"""The engines that the benchmark compares: lrjax's executors, three ways to write the loop in JAX, and PyTorch.

Every one trains each learning rate for the same steps on the same batches and reads one validation loss.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from models import Model

import lrjax
from lrjax._engine import LaneRunner, Program, Shared, compile_program, program_bytes, train_lane

Run = Callable[[np.ndarray], np.ndarray]
"""From learning rates to validation losses, waiting for them."""

CHUNKS = {str(lrjax.Chunked(size)): size for size in ((8,) if jax.default_backend() == "cpu" else (4, 8, 32))}
OURS: dict[str, Any] = {
    "auto": "auto",
    "vmap": "vmap",
    **{name: lrjax.Chunked(size) for name, size in CHUNKS.items()},
    "map": "map",
    "loop": "loop",
}
HAND_WRITTEN = ("step loop", "scan loop")
NAMES = (*HAND_WRITTEN, *OURS, "torch")
IN_ONE_PROGRAM = ("vmap", *CHUNKS, "map", "scan loop")
"""Engines whose training steps are inside a compiled loop, where XLA on CPU is slow at convolutions."""


class Problem(NamedTuple):
    """A model with its data, as the hand-written engines hold them.

    Attributes:
      model: the model.
      task: the same for lrjax.
      make_optimizer: the optimizer's factory.
      params: initial parameters.
      state: initial model state; () without one.
      batches: training batches, leading step axis.
      validation: the validation batch.
    """

    model: Model
    task: lrjax.Task
    make_optimizer: Callable[[Any], optax.GradientTransformation]
    params: Any
    state: Any
    batches: Any
    validation: Any

    def listed(self) -> list[Any]:
        """The training batches one by one."""
        return [jax.tree.map(lambda leaf, i=i: leaf[i], self.batches) for i in range(self.model.num_steps)]

    def loss(self, params: Any, state: Any, batch: Any) -> tuple[jax.Array, Any]:
        """The training loss and the new state."""
        if self.task.has_state:
            return self.task.loss_fn(params, state, batch, None)
        return self.task.loss_fn(params, batch, None), state

    def evaluate(self, params: Any, state: Any, batch: Any) -> jax.Array:
        """The validation loss."""
        if self.task.eval_fn is not None:
            return self.task.eval_fn(params, state, batch)
        return self.loss(params, state, batch)[0]

    def update(self, optimizer: optax.GradientTransformation, carry: tuple, batch: Any) -> tuple[tuple, jax.Array]:
        """One training step: from (params, state, opt_state) to the next, and the loss."""
        params, state, opt_state = carry
        (loss, state), grads = jax.value_and_grad(self.loss, has_aux=True)(params, state, batch)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), state, opt_state), loss


def make_problem(model: Model) -> Problem:
    """A problem of new function objects, with the batches that lrjax draws for seed 0 of key 0."""
    task = model.task()
    params, state = task.init if task.has_state else (task.init, ())
    data_key = jax.random.split(jax.random.fold_in(jax.random.key(0), 0), 3)[1]
    batches = task.training_batches(0, data_key, 0, model.num_steps)
    validation = jax.tree.map(jnp.asarray, task.eval_batches[0])
    return Problem(model, task, model.make_optimizer(), params, state, batches, validation)


def make_runner(problem: Problem, executor: Any) -> LaneRunner:
    """Our engine on a problem."""
    return LaneRunner("engine", problem.task, problem.make_optimizer, key=jax.random.key(0), executor=executor)


def rounds_of(problem: Problem, executor: Any) -> Any:
    """What our engine runs for the problem's steps."""
    return make_runner(problem, executor).rounds((problem.model.num_steps,), 1, True)[0]


def step_loop(problem: Problem) -> Run:
    """A host loop of one jitted step; the learning rate is an argument."""

    @jax.jit
    def start(lr: jax.Array, params: Any, state: Any) -> tuple:
        carry = params, state, problem.make_optimizer(lr).init(params)
        return jax.tree.map(jnp.copy, carry)  # the steps donate it

    @functools.partial(jax.jit, donate_argnums=1)
    def step(lr: jax.Array, carry: tuple, batch: Any) -> tuple[tuple, jax.Array]:
        return problem.update(problem.make_optimizer(lr), carry, batch)

    evaluate, batches = jax.jit(problem.evaluate), problem.listed()

    def train(lr: jax.Array) -> jax.Array:
        carry = start(lr, problem.params, problem.state)
        for batch in batches:
            carry, _ = step(lr, carry, batch)
        return evaluate(*carry[:2], problem.validation)

    return lambda lrs: np.asarray(jax.device_get([train(jnp.asarray(lr)) for lr in lrs]))


def scan_loop(problem: Problem) -> Run:
    """A Python loop over learning rates of one jitted scan; compiled here."""

    def trial(lr: jax.Array, params: Any, state: Any, batches: Any, validation: Any) -> jax.Array:
        optimizer = problem.make_optimizer(lr)
        carry = params, state, optimizer.init(params)
        carry, _ = jax.lax.scan(functools.partial(problem.update, optimizer), carry, batches)
        return problem.evaluate(*carry[:2], validation)

    data = problem.params, problem.state, problem.batches, problem.validation
    compiled = jax.jit(trial).lower(jnp.float32(0), *data).compile()
    return lambda lrs: np.asarray(jax.device_get([compiled(jnp.asarray(lr), *data) for lr in lrs]))


def fresh_jit(problem: Problem) -> Run:
    """The usual script: a new optimizer object and a new jitted step for every learning rate, so a compilation each."""
    evaluate, batches = jax.jit(problem.evaluate), problem.listed()

    def train(lr: float) -> float:
        optimizer = problem.make_optimizer(lr)
        step = jax.jit(lambda carry, batch: problem.update(optimizer, carry, batch))
        carry = problem.params, problem.state, optimizer.init(problem.params)
        for batch in batches:
            carry, _ = step(carry, batch)
        return float(evaluate(*carry[:2], problem.validation))

    return lambda lrs: np.asarray([train(lr) for lr in lrs.tolist()])


def torch_loop(problem: Problem, *, compiled: bool = False) -> Run | None:
    """The PyTorch user's loop, or None without PyTorch."""
    try:
        import torch_models
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        return None
    batches = [jax.tree.map(np.asarray, batch) for batch in problem.listed()]
    validation = jax.tree.map(np.asarray, problem.validation)
    options = {"gpu": jax.default_backend() == "gpu", "compiled": compiled}
    return torch_models.sequential_loop(problem.model, batches, validation, **options)


BY_HAND: dict[str, Callable[[Problem], Run | None]] = {
    "step loop": step_loop,
    "scan loop": scan_loop,
    "torch": torch_loop,
    "torch compiled": functools.partial(torch_loop, compiled=True),
}


def build(problem: Problem, name: str) -> tuple[Run | None, LaneRunner | None]:
    """An engine by its name, or None if it is not installed; and our runner where it is ours."""
    if name in BY_HAND:
        return BY_HAND[name](problem), None
    runner, horizons = make_runner(problem, OURS[name]), (problem.model.num_steps,)
    return lambda lrs: runner.sample(lrs, horizons, 1, in_batches=True).metrics["loss"][-1, 0], runner


def trial_flops(problem: Problem) -> float:
    """Floating-point operations of one trial by XLA's count, before its optimisations."""

    def step(lr: jax.Array, carry: tuple, batch: Any) -> Any:
        return problem.update(problem.make_optimizer(lr), carry, batch)

    carry = problem.params, problem.state, problem.make_optimizer(0.1).init(problem.params)
    batch = jax.tree.map(lambda leaf: leaf[0], problem.batches)
    training = jax.jit(step).lower(jnp.float32(0), carry, batch).cost_analysis()
    evaluation = jax.jit(problem.evaluate).lower(*carry[:2], problem.validation).cost_analysis()
    return problem.model.num_steps * _flops(training) + _flops(evaluation)


def _flops(costs: Any) -> float:
    costs = costs[0] if isinstance(costs, list) else costs
    return float(costs["flops"])


def vmap_bytes(problem: Problem, lanes: int) -> int:
    """Bytes of our vectorised program at a width, by the compiler's own account."""
    experiment = rounds_of(problem, "vmap").experiment
    seeds = jax.tree.map(lambda leaf: leaf[None], experiment.seeds[0])
    shared = Shared(rows=(jnp.int32(0), jnp.int32(0)), evaluation=experiment.evaluation)
    arguments = (jnp.zeros((1, lanes), experiment.dtype), None, seeds, shared)
    return program_bytes(compile_program(Program(train_lane, experiment.spec, "vmap"), arguments))
