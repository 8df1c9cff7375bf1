"""Files of results under mutation: refused in a sentence that names the field, or shown, drawn and written again."""

import copy
import dataclasses
import functools
import json
import random
import warnings

import jax.numpy as jnp
import numpy as np
import pytest
from found import Cost, found, result_of, stage
from problems import curve_from

import lrjax
from lrjax import Execution


def with_seeds(result):
    """Two horizons, two seeds and a metric: every part of a result is there."""
    curve = result.curve
    losses = jnp.stack([jnp.repeat(curve.losses[0], 2, 0), jnp.repeat(curve.losses[0], 2, 0) + 0.125])
    curve = curve._replace(
        losses=losses.at[1, 0, -1].set(jnp.inf),
        initial_loss=jnp.ones(2),
        horizons=jnp.asarray([10, 20]),
        diverged_at=jnp.full(losses.shape[1:], -1).at[0, -1].set(3),
        metrics={"accuracy": losses},
    )
    (before,) = result.stages
    return dataclasses.replace(
        result,
        stages=(dataclasses.replace(before, curve=curve),),
        interval=(0.008, 0.02),
        selections={"midpoint": 0.01, "half_loss": 0.02, "steepest": float("nan")},
        drift={10: 0.02, 20: 0.01},
        fingerprint={"jax": "0.10", "key": [0, 1], "devices": 1, "share": 0.5, "mesh": None, "deep": {"a": [True]}},
    )


def rung(steps, seeds, *, name="rung"):
    x = np.arange(-4.0, 1.5, 0.5)
    curve = curve_from(x, np.tile(1.0 - np.exp(-((x + 1) ** 2)), (seeds, 1)))
    return stage(curve._replace(horizons=jnp.asarray([steps])), name=name, spent=steps * seeds)


def searched(**changes):
    fields = dict(
        lr=0.08,
        strategy="Budget",
        rule="lowest_smoothed",
        interval=(0.05, 0.1),
        correction=0.1,
        drift={10: 0.1, 40: 0.09},
        train_steps=200,
        cost=Cost(500, 2.5, 1.5),
        execution=Execution(requested="map", used="map", notes=["A note."]),
    )
    return result_of(rung(10, 1, name="sweep"), rung(40, 2), warnings=["noisy"], **fields | changes)


def swept(shape=(3, 2), evaluations=2):
    trials = int(np.prod(shape))
    values = np.linspace(0.5, 1.5, trials * 2 * evaluations).reshape(trials, 2, evaluations)
    index = np.indices(shape).reshape(len(shape), -1)
    return lrjax.SweepResult(
        names=(("learning_rate", "b1"), ("schedule",))[: len(shape)],
        shape=shape,
        columns={
            "learning_rate": 10.0 ** -index[0],
            "b1": index[0],
            "schedule": index[-1],
            "schedule.kind": np.asarray(["constant", "cosine_decay"])[index[-1] % 2],
        },
        steps=10 * (np.arange(evaluations) + 1),
        metrics={"loss": values, "train_loss": values, "accuracy": 1 - values} if evaluations else {},
        diverged_at=np.full((trials, 2), -1),
        stopped_at=np.full((trials, 2), -1),
        train_steps=20,
        execution=Execution(requested="auto", used="map", widths=[6], notes=["A note."]),
        specs={"schedule": [{"name": "constant", "value": 0.1}, {"0": 0.5}, 3, 4][: shape[-1]]},
    )


def ramped(mode="exponential"):
    lrs = np.geomspace(1e-6, 1.0, 40)
    losses = 2.0 - np.exp(-((np.log10(lrs) + 1.5) ** 2))
    return lrjax.RangeTest(
        lrs=lrs,
        losses=losses,
        smoothed=lrjax.range_rules.debiased_ema(losses, 0.5),
        metrics={"accuracy": np.asarray([0.5, 0.75])},
        metric_steps=np.asarray([9, 19]),
        smoothing=0.5,
        num_steps=50,
        mode=mode,
        stopped="It was interrupted after step 39.",
    )


def twice(**changes):
    stages = (*found().stages, *found(num_steps=100).stages)
    return result_of(*stages, **dict(rule="lowest_for", train_steps=500, warnings=["noisy"]) | changes)


MAKE = {
    "found": lambda: with_seeds(found(warnings=["noisy", "edge_low"])),
    "no learning": lambda: found(outcome="no_learning", warnings=["no_learning"]),
    "nothing moved": lambda: dataclasses.replace(
        found(outcome="no_learning", warnings=["nothing_moved"]), outcome=lrjax.Outcome.nothing_moved
    ),
    "all diverged": lambda: found(outcome="all_diverged"),
    "two stages": twice,
    "from a checkpoint": lambda: dataclasses.replace(found(), start=50, train_steps=100),
    "nothing to gain": lambda: dataclasses.replace(
        found(), lr=float("nan"), start=50, train_steps=100, outcome=lrjax.Outcome.nothing_to_gain
    ),
    "budget": searched,
    "sweep": swept,
    "sweep, one axis": lambda: swept((4,)),
    "sweep, heat": lambda: swept((3, 3)),
    "sweep, not evaluated": lambda: swept((3,), 0),
    "range test": ramped,
    "linear range test": lambda: ramped("linear"),
}
made = functools.cache(lambda name: MAKE[name]())


def shown(result, tmp_path, *, picture):
    """Everything that a result can do with itself; its document written again."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        assert isinstance(repr(result), str)
        if hasattr(result, "summary"):
            assert result.summary()
        if picture and hasattr(result, "_repr_html_"):
            empty = isinstance(result, lrjax.SweepResult) and not result.metrics
            assert ("No picture" in result._repr_html_()) == empty, result._repr_html_()
        elif picture:
            result.plot().figure.savefig(tmp_path / "picture.png", dpi=50)
        if picture and isinstance(result, lrjax.LRResult):
            lrjax.plots.plot_curvature(result).figure.savefig(tmp_path / "picture.png", dpi=50)
        result.to_json(tmp_path / "again.json")
    return json.loads((tmp_path / "again.json").read_text())


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    folder, texts = tmp_path_factory.mktemp("documents"), {}
    for name in MAKE:
        made(name).to_json(folder / "result.json")
        texts[name] = (folder / "result.json").read_text()
    return texts


@pytest.mark.parametrize("name", MAKE)
def test_every_kind_of_result_is_read_shown_drawn_and_written_again(name, documents, tmp_path):
    (tmp_path / "result.json").write_text(documents[name])
    again = type(made(name)).from_json(tmp_path / "result.json")
    assert repr(again) == repr(made(name))
    assert shown(again, tmp_path, picture=True) == json.loads(documents[name])


@pytest.mark.parametrize("name", ["$\\frac$", "x" * 500])
def test_names_are_drawn_as_they_are(name, tmp_path):
    result = dataclasses.replace(made("found"), rule=name, selections={name: 0.02})
    assert name in shown(result, tmp_path, picture=True)["selections"]
    sweep = made("sweep, one axis")
    columns = {name: sweep.columns["learning_rate"], f"{name}.kind": np.asarray([name] * 4)}
    sweep = dataclasses.replace(
        sweep, names=((name,),), columns=columns, metrics=sweep.metrics | {name: sweep.metrics["loss"]}
    )
    assert shown(sweep, tmp_path, picture=True)["names"] == [[name]]
    sweep.plot("axis", metric=name, mode="min").figure.savefig(tmp_path / "picture.png", dpi=50)


VALUES = (
    None, True, False, 0, -1, 1, 1.5, -2.5, 1e30, -1e30, 1e308, 1e-320, 10**400, 2**63, 2**31, -(2**70), "inf", "-inf",
    "nan", "NaN", "found", "no_learning", "$\\frac$", "x" * 5000, "\ud800", "\x00", "two\nlines", "", [], {}, ["x"],
    [[1]], [True], {"dtype": "complex64", "data": [[1.0, 2.0]]}, {"dtype": "float32", "data": []},
    {"dtype": "float32", "data": [1.0]}, {"dtype": "object", "data": [None]}, {"a": {"a": {"a": 1}}},
)  # fmt: skip
DTYPES = (
    "float16",
    "bfloat16",
    "int32",
    "uint8",
    "bool",
    "str",
    "complex64",
    "O",
    "<U5",
    ">f4",
    "f4",
)
"""Without float64 and int64: unless x64 is on, those stay on the host, which the tests' shape checker does not know."""


def places(value):
    """Every container of a document with every key in it."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inside:
        yield value, key
        yield from places(item)


def arrays(value):
    """The places of the arrays."""
    return [box[key] for box, key in places(value) if isinstance(box[key], dict) and set(box[key]) == {"dtype", "data"}]


def deep(levels):
    value = 1
    for _ in range(levels):
        value = [value] if levels % 2 else {"a": value}
    return value


def replace(draw, document):
    box, key = draw.choice(list(places(document)))
    box[key] = copy.deepcopy(draw.choice(VALUES))


def replace_field(draw, document):
    """As above, but not inside an array, of which a document mostly consists."""
    boxes = [(box, key) for box, key in places(document) if not isinstance(box, list) and key not in ("data", "dtype")]
    box, key = draw.choice(boxes)
    box[key] = copy.deepcopy(draw.choice(VALUES))


def delete(draw, document):
    box, key = draw.choice(list(places(document)))
    del box[key]


def insert(draw, document):
    box, _ = draw.choice(list(places(document)))
    value = copy.deepcopy(draw.choice(VALUES))
    if isinstance(box, list):
        box.insert(draw.randint(0, len(box)), value)
    else:
        box[draw.choice(["lr", "more", "0", "-1", "1e3", "$x$", "10"])] = value


def swap(draw, document):
    boxes = list(places(document))
    (one, first), (other, second) = draw.choice(boxes), draw.choice(boxes)
    one[first], other[second] = copy.deepcopy(other[second]), copy.deepcopy(one[first])


def nest(draw, document):
    box, key = draw.choice(list(places(document)))
    box[key] = deep(draw.choice([2, 31, 32, 33, 60, 300]))


def change_dtype(draw, document):
    draw.choice(arrays(document))["dtype"] = draw.choice(DTYPES)


def change_shape(draw, document):
    array = draw.choice(arrays(document))
    data = array["data"]
    if isinstance(data, list) and data:
        array["data"] = draw.choice([data[:-1], [*data, data[0]], [data], data[0], data[::-1], data * 2])


def change_number(draw, document):
    boxes = [(box, key) for box, key in places(arrays(document)) if isinstance(box, list) and isinstance(key, int)]
    box, key = draw.choice([(box, key) for box, key in boxes if not isinstance(box[key], (list, dict))])
    box[key] = draw.choice([0.0, -1.0, 1e30, -1e30, 3e38, 1e300, -1e300, "inf", "-inf", "nan", 0.5, 3, -7, 10**6])


CHANGES = (
    replace, replace_field, replace_field, delete, insert, swap, nest, change_dtype, change_shape, change_number
)  # fmt: skip


def mutated(draw, text):
    """The text with one to three changes, or broken as a text."""
    document = json.loads(text)
    for _ in range(draw.choice([1, 1, 1, 2, 3])):
        try:
            draw.choice(CHANGES)(draw, document)
        except (IndexError, KeyError, TypeError):  # nothing of that kind is left
            continue
    try:
        broken = json.dumps(document)
    except (ValueError, RecursionError):  # a box was put into itself
        return text
    place = draw.randrange(len(broken))
    how = draw.random()
    if how < 0.03:
        return broken[:place]
    if how < 0.06:
        return broken.replace("0.5", draw.choice(["NaN", "-Infinity", "1e999", "1" * 5000, "0x1"]), 1)
    if how < 0.08:
        return broken.replace('"version": 1', '"version": 1, "version": 1')
    return broken


def outcome_of(kind, text, tmp_path, *, picture):
    """Whether a text was accepted; fails unless it was refused well or everything works."""
    path = tmp_path / "mutant.json"
    path.write_text(text)
    try:
        result = kind.from_json(path)
    except ValueError as error:
        words = str(error)
        assert words.startswith(f"`{kind.__name__}.from_json('{path}')`")
        assert len(words.replace(str(path), "")) <= 300
        assert "\n" not in words
        assert any(part in words for part in ("is damaged: `", "is damaged: it must", "JSON file", "format", "version"))
        return False
    assert shown(result, tmp_path, picture=picture) == rounded(json.loads(text)), text[:200]
    return True


def rounded(document):
    """The document with the numbers of its arrays as their types hold them."""
    for array in arrays(document):
        if "float" in array["dtype"]:
            wide = np.asarray(array["data"], np.float64)
            array["data"] = spelled(wide.astype(jnp.dtype(array["dtype"])).astype(np.float64).tolist())
    return document


def spelled(value):
    """Numbers that are not finite in the words that stand for them."""
    if isinstance(value, list):
        return [spelled(item) for item in value]
    return value if np.isfinite(value) else repr(value)


def mutate(documents, tmp_path, *, cases, seed, pictures):
    draw, accepted = random.Random(seed), 0
    for case in range(cases):
        name = draw.choice(list(MAKE))
        text = mutated(draw, documents[name])
        if text != json.dumps(json.loads(documents[name])):
            accepted += outcome_of(type(made(name)), text, tmp_path, picture=case % pictures == 0)
    return accepted


def test_a_mutated_file_is_refused_in_a_sentence_or_shown_and_written_again(documents, tmp_path):
    assert 20 < mutate(documents, tmp_path, cases=400, seed=0, pictures=15) < 150


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 5))
def test_many_mutated_files(documents, tmp_path, seed):
    mutate(documents, tmp_path, cases=1000, seed=seed, pictures=1)


def test_an_initial_loss_that_no_float32_holds_is_refused_in_a_sentence(tmp_path):
    """And not by NumPy's warning of an overflow, which `pytest` makes an error."""
    large = rung(10, 1, name="sweep")
    large = dataclasses.replace(large, curve=large.curve._replace(initial_loss=np.asarray([1e308])))
    dataclasses.replace(searched(), stages=(large, rung(40, 2))).to_json(tmp_path / "large.json")
    with pytest.raises(ValueError, match=r"is damaged: `stages\[0\].curve.initial_loss` must be finite losses"):
        lrjax.LRResult.from_json(tmp_path / "large.json")
