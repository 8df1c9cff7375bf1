"""Resumes through a real Orbax checkpoint: each fault is named, and a healthy resume raises no alarm."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lrjax import schedules
from lrjax.schedules import at_step, check_resume

ocp = pytest.importorskip("orbax.checkpoint")

STEPS = 6
PARAMS = {"head": {"w": jnp.ones((3, 2))}, "body": {"w": jnp.ones(4)}}
LR = schedules.warmup_cosine(0.1, warmup_steps=2, total_steps=20)
GROUPS = {"head": "head", "body": "body"}


def by_group(make):
    return optax.multi_transform({"head": make(0.1), "body": make(0.01)}, GROUPS)


def scheduled(**hyperparams):
    return schedules.scheduled(optax.adam, learning_rate=LR, **hyperparams)


def plateau():
    return schedules.reduce_on_plateau(factor=0.5, patience=0)


OPTIMIZERS = {
    "sgd": lambda: optax.sgd(0.1),
    "momentum": lambda: optax.sgd(LR, momentum=0.9),
    "adam": lambda: optax.adam(LR),
    "adamw with a mask": lambda: optax.adamw(LR, mask={"head": True, "body": False}),
    "scheduled weight decay": lambda: optax.chain(optax.add_decayed_weights(LR), optax.sgd(LR)),
    "scheduled": scheduled,
    "scheduled with a number": lambda: scheduled(b1=0.8),
    "injected": lambda: optax.inject_hyperparams(optax.adamw)(LR, weight_decay=0.01),
    "injected numbers": lambda: optax.inject_hyperparams(optax.sgd)(0.1, momentum=0.9),
    "a chain": lambda: optax.chain(optax.clip_by_global_norm(1.0), optax.adam(LR)),
    "groups": lambda: by_group(lambda lr: optax.adam(schedules.cosine_decay(lr, 20))),
    "groups of scheduled": lambda: by_group(lambda lr: scheduled(b2=0.99)),
    "micro-steps": lambda: optax.MultiSteps(optax.adam(LR), every_k_schedule=2),
    "micro-steps of scheduled": lambda: optax.MultiSteps(scheduled(), every_k_schedule=2),
    "plateau": lambda: optax.chain(optax.adam(LR), plateau()),
    "Optax's plateau": lambda: optax.chain(optax.sgd(LR), optax.contrib.reduce_on_plateau(patience=1)),
    "schedule-free": lambda: optax.contrib.schedule_free_adamw(LR),
    "finite only": lambda: optax.apply_if_finite(optax.adam(LR), 3),
    "adafactor": lambda: optax.adafactor(LR),
    "noise": lambda: optax.chain(optax.add_noise(0.1, 0.5, key=jax.random.key(0)), optax.lion(LR)),
}


def trained(optimizer, updates=STEPS, state=None):
    """The state after so many updates, in each of which the gradients are others."""
    state, params = optimizer.init(PARAMS) if state is None else state, PARAMS
    every = 2 if isinstance(state, optax.MultiStepsState) else 1
    for index in range(updates * every):
        grads = jax.tree.map(lambda leaf, index=index: (1.0 + index) * leaf, PARAMS)
        extra = {"value": jnp.float32(1.0)} if "lateau" in str(jax.tree.structure(state)) else {}
        changed, state = optimizer.update(grads, state, params, **extra)
        params = optax.apply_updates(params, changed)
    return state


@pytest.fixture
def restored(tmp_path):
    """A function of a state: what Orbax makes of it, in the structure of a new one."""

    def restore(state, template):
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(tmp_path / "state", state)
            checkpointer.wait_until_finished()
            return checkpointer.restore(tmp_path / "state", template)

    return restore


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_healthy_resume_raises_no_alarm(name, restored):
    optimizer = OPTIMIZERS[name]()
    before = trained(optimizer)
    after = restored(before, optimizer.init(PARAMS))
    assert check_resume(before, after, step=STEPS) is None


def test_other_healthy_resumes_raise_no_alarm():
    optimizer = scheduled(b1=0.8)
    before = trained(optimizer)
    moments = optimizer.init(PARAMS)._replace(inner=before.inner)
    assert check_resume(before, at_step(moments, STEPS), step=STEPS) is None  # what was computed last is not needed
    halves = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16) if leaf.dtype == jnp.float32 else leaf, before)
    assert check_resume(before, halves, step=STEPS) is None
    assert check_resume(before, jax.tree.map(np.asarray, before), step=STEPS) is None
    moved = trained(optax.sgd(LR), 3)  # a counter that was put right
    assert check_resume(moved, at_step(moved, STEPS), step=STEPS) is None
    new = optimizer.init(PARAMS)
    assert check_resume(new, new, step=0) is None
    together = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), before)
    assert check_resume(together, together, step=STEPS) is None
    broken = jax.tree.map(lambda leaf: leaf * jnp.nan if leaf.dtype == jnp.float32 else leaf, before)
    assert check_resume(broken, broken, step=STEPS) is None


MENDED = f"Write state = lrjax.schedules.at_step(state, {STEPS})."


def group_reset(state, new):
    return state._replace(inner_states={**state.inner_states, "head": new.inner_states["head"]})


# an optimizer, what is done to the restored state, given a new one too, and what the answer must hold
FAULTS = {
    "made anew": (
        "adam",
        lambda state, new: new,
        ["[1].count, which a schedule counts by", MENDED, ".mu", ".nu"],
    ),
    "counter reset": (
        "scheduled",
        lambda state, new: state._replace(step=new.step),
        [".step, which", "is 0 instead of 6"],
    ),
    "an update behind": ("adam", lambda state, new: at_step(state, STEPS - 1), ["is 5 instead of 6. " + MENDED]),
    "counted in micro-batches": (
        "micro-steps of scheduled",
        lambda state, new: at_step(state, 2 * STEPS),
        [".inner_opt_state.step, which a schedule counts by, is 12 instead of 6"],
    ),
    "moments reset": (
        "scheduled",
        lambda state, new: state._replace(inner=new.inner),
        [".inner[0].count jumped from 6 to 0", ".mu['head']['w'] was reset to 0", ".nu['body']['w'] was reset to 0"],
    ),
    "the learning rate is the first again": (
        "injected numbers",
        lambda state, new: optax.tree_utils.tree_set(state, learning_rate=jnp.float32(0.5)),
        [".hyperparams['learning_rate'] jumped from 0.1 to 0.5. Write state = optax.tree_utils.tree_set("],
    ),
    "another momentum": (
        "scheduled with a number",
        lambda state, new: optax.tree_utils.tree_set(state, b1=jnp.float32(0.9)),
        [".hyperparams['b1'] jumped from 0.8 to 0.9. Write state = optax.tree_utils.tree_set(state, b1=0.8)."],
    ),
    "another weight decay": (
        "injected",
        lambda state, new: optax.tree_utils.tree_set(state, weight_decay=jnp.float32(0.0)),
        [".hyperparams['weight_decay'] jumped from 0.01 to 0. Write"],
    ),
    "one group made anew": ("groups", group_reset, ["inner_states['head']", "is 0 instead of 6", "was reset to 0"]),
    "the plateau forgotten": (
        "plateau",
        lambda state, new: (state[0], new[1]),
        ["[1].scale jumped from 0.03125 to 1. Restore"],
    ),
    "another optimizer": ("adam", lambda state, new: trained(optax.sgd(LR)), ["[0].mu['body']['w'] is missing: it is"]),
    "moments exchanged": (
        "adam",
        lambda state, new: (state[0]._replace(mu=state[0].nu, nu=state[0].mu), state[1]),
        ["[0].mu['body']['w'] is another one in 4 of 4 numbers"],
    ),
    "other parameters": (
        "momentum",
        lambda state, new: jax.tree.map(lambda leaf: leaf[:2] if leaf.shape == (4,) else leaf, state),
        ["has shape (2,) instead of (4,)"],
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named(name, restored):
    kind, break_it, parts = FAULTS[name]
    optimizer = OPTIMIZERS[kind]()
    before, new = trained(optimizer), optimizer.init(PARAMS)
    found = check_resume(before, break_it(restored(before, new), new), step=STEPS)
    assert found is not None
    for part in parts:
        assert part in found


def test_what_mends_a_counter_mends_it(restored):
    optimizer = scheduled()
    before = trained(optimizer)
    behind = at_step(restored(before, optimizer.init(PARAMS)), 0)
    assert check_resume(before, behind, step=STEPS) is not None
    assert check_resume(before, at_step(behind, STEPS), step=STEPS) is None


def test_a_state_that_was_saved_at_another_step_is_told():
    state = trained(optax.adam(LR))
    found = check_resume(state, state, step=3)
    assert "is 6 instead of 3 (it was saved as 6): does it count micro-batches" in found


def test_the_learning_rate_is_told_where_the_counter_is_wrong():
    optimizer = scheduled()
    before = trained(optimizer)
    found = check_resume(before, optimizer.init(PARAMS), step=STEPS)
    assert ".computed['learning_rate_at_step'] jumped from" in found


def test_the_states_of_nnx_are_read():
    nnx = pytest.importorskip("flax.nnx")
    model = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    optimizer, new = (nnx.Optimizer(model, optax.adam(LR), wrt=nnx.Param) for _ in range(2))
    grads = nnx.grad(lambda model: jnp.sum(model(jnp.ones(3))))(model)
    for _ in range(STEPS):
        optimizer.update(model, grads)
    before = optimizer.opt_state
    assert check_resume(before, before, step=STEPS) is None
    found = check_resume(before, new.opt_state, step=STEPS)
    assert "which a schedule counts by, is 0 instead of 6" in found
    assert "was reset to 0" in found


def test_many_faults_are_cut_off():
    params = {str(index): jnp.ones(2) for index in range(30)}
    optimizer = optax.adam(0.1)
    state = optimizer.init(params)
    changed = jax.tree.map(lambda leaf: leaf + 1, state)
    assert check_resume(changed, state, step=0).endswith("... and 41 more.")


def test_traced_states_are_refused():
    with pytest.raises(TypeError, match=r"`check_resume\(before\)` must be given known numbers"):
        jax.jit(lambda state: check_resume(state, state, step=0))(optax.adam(0.1).init(PARAMS))
