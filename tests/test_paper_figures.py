"""The paper's figures: they say what the results say, can be read, and come out the same each time."""

import dataclasses
import hashlib
import importlib
import json
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import problems
import pytest
from marks import slow_but_for
from matplotlib import rc_context

import lrjax
from experiments.paper import run
from experiments.paper.store import Store, encode, to_document
from paper_figures import figure_1, figure_8, page, schedules, script, tables
from paper_figures.results import FOLDER, METHODS, PLANS, SEARCHES, SHOWN, NotMeasured, Pick, Results, ResultsError
from paper_figures.style import SETTINGS

NUMBERS = range(1, 10)
UNITS = ("(nats)", "(%)", "decade²)", "(share of the reduction)")
BEST = -1.0


def module(number):
    return importlib.import_module(f"paper_figures.figure_{number}")


def small_plan(name, num_seeds, finder_exponents=(-5.0, 1.0)):
    return run.Plan(
        name=name,
        task=problems.regression(),
        make_optimizer=optax.sgd,
        num_steps=60,
        exponents=(-3.0, 1.0),
        num_seeds=num_seeds,
        finder_seeds=num_seeds,
        finder_batches=None,
        eval_every=20,
        executor="loop",
        finder_exponents=finder_exponents,
        finder_steps=6,
        range_steps=30,
    )


def trained(plan, lrs):
    """What a full training would have given: best at 10 ** BEST, nothing learnt at the lowest, diverged above 3."""
    steps, seeds = np.array([20, 40, 60]), np.arange(plan.num_seeds)
    x = np.log10(np.asarray(lrs))
    reached = np.exp(-((x - BEST) ** 2))[:, None, None] * (steps / 60) ** 0.3 * (1 - 0.02 * seeds[:, None])
    lost = np.broadcast_to((np.asarray(lrs) > 3.0)[:, None], (len(lrs), plan.num_seeds))
    metrics = {"loss": 3.0 - 2.5 * reached, "train_loss": 3.0 - 2.8 * reached, "accuracy": 0.1 + 0.85 * reached}
    metrics = {name: np.where(lost[:, :, None], np.nan, values) for name, values in metrics.items()}
    trial_steps = len(lrs) * plan.num_seeds * plan.num_steps
    return {
        "lrs": list(lrs),
        "steps": steps,
        "metrics": metrics,
        "diverged_at": np.where(lost, 5, -1),
        "trial_steps": trial_steps,
        "seconds": 1.0,
    }


def write_plan(store, plan, searches):
    """Parts and summary as `run.run_plan` writes them, with searches and range tests that were really made."""
    done = encode(searches | {"grid": trained(plan, plan.lrs)})
    picked = [{"search": search, "name": name, "lr": lr} for search, name, lr in run._picks(done)]
    done["picks"] = encode({"picks": picked, **trained(plan, sorted({pick["lr"] for pick in picked}))})
    store.begin(plan.name, plan.describe())
    for name, part in done.items():
        store.part(plan.name, name, lambda part=part: part)
    store.summarise(plan.name, run.summarise(plan, done))


def search(plan, *, literal):
    """As `run.find` gives it, but in one round (each round of a literal search compiles); three are made up."""
    result = lrjax.find_lr(
        plan.task,
        plan.make_optimizer,
        lrjax.StepSampling(
            num_steps=6,
            num_seeds=1 if literal else plan.finder_seeds,
            refine=None,
            min_lr=10.0 ** plan.finder_exponents[0],
            max_lr=10.0 ** plan.finder_exponents[1],
            extend_range=False,
            literal=literal,
        ),
        key=jax.random.key(1),
        executor="loop",
        throw=False,
    )
    rounds = jnp.asarray(np.arange(result.num_trials) % 3)
    (stage,) = result.stages
    stage = dataclasses.replace(stage, curve=stage.curve._replace(rounds=rounds), rounds=("one", "two", "three"))
    result = dataclasses.replace(result, stages=(stage,))
    picks = {name: result.selections[name] for name in METHODS}
    picks |= {"min_lr": float(result.window.min_lr), "max_lr": float(result.window.max_lr)}
    cost = {"trial_steps": result.cost.updates, "seconds": result.cost.seconds, "lrs": result.num_trials}
    return {"picks": picks, **cost, "result": to_document(result)}


@pytest.fixture(scope="module")
def parts():
    """Searches and range tests of three seeds, of one, and a paper's search that found nothing."""
    three = small_plan("three", 3)
    papers, tests = search(three, literal=True), run.test_range(three)
    nothing = search(small_plan("low", 1, (-15.0, -9.0)), literal=True)
    assert nothing["result"]["outcome"] == "no_learning"
    both = {"finder_paper": papers, "finder_default": search(three, literal=False), "range_test": tests}
    single = {"finder_paper": papers, "finder_default": papers}  # which has one seed
    return {
        "three": both,
        "one": single | {"range_test": tests | {"tests": tests["tests"][:1]}},
        "nothing": both | {"finder_paper": nothing},
    }


def write_results(folder, parts, kinds):
    for experiment, name in PLANS:
        kind = kinds[experiment, name]
        store = Store(folder / f"paper_{experiment}.json", {"experiment": experiment, "scale": "small"})
        write_plan(store, small_plan(name, 1 if kind == "one" else 3), parts[kind])
    return folder


@pytest.fixture(scope="module")
def made(parts, tmp_path_factory):
    kinds = dict(zip(PLANS, ("three", "three", "one", "three", "nothing"), strict=True))
    return write_results(tmp_path_factory.mktemp("results"), parts, kinds)


@pytest.fixture(scope="module")
def made_of_nothing(parts, tmp_path_factory):
    """Every plan has one seed, one key, and no pick of the paper's search."""
    lonely = parts["one"] | {"finder_paper": parts["nothing"]["finder_paper"]}
    return write_results(tmp_path_factory.mktemp("nothing"), {"one": lonely}, dict.fromkeys(PLANS, "one"))


def strict(path):
    return json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not strict JSON"))


def check_figure(number, figure):
    """Units on the axes, a legend, and nothing beyond the page."""
    axes = [ax for ax in figure.axes if ax.axison]
    for ax in axes:
        label = ax.get_ylabel()
        assert any(unit in label for unit in UNITS) or label in ("round", "window") or number == 2, label
    labels = [ax.get_xlabel() for ax in axes]
    if number == 1:
        assert labels == ["optimizer updates"] * 2
    else:
        assert {ax.get_xscale() for ax in axes} == {"log"}
        assert any(re.fullmatch(r"learning rate.* \(log scale\)", label) for label in labels)
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts
    assert len(texts) == len(set(texts))
    for box in (legend.get_window_extent(), figure.get_tightbbox().transformed(figure.dpi_scale_trans)):
        assert min(box.x0, box.y0) >= -1
        assert box.x1 <= figure.bbox.x1 + 1
        assert box.y1 <= figure.bbox.y1 + 1


@pytest.mark.parametrize("number", slow_but_for(NUMBERS, [1, 6]))
def test_a_script_writes_a_picture_a_pdf_and_the_numbers(number, made, tmp_path):
    script_of = module(number)
    figure = script.write(f"figure_{number}", script_of.compute, script_of.draw, Results(made), tmp_path / "images")
    files = sorted(path.name for path in (tmp_path / "images").iterdir())
    assert files == [f"figure_{number}.{kind}" for kind in ("json", "pdf", "png")]
    png, pdf = ((tmp_path / "images" / f"figure_{number}.{kind}").read_bytes() for kind in ("png", "pdf"))
    assert png.startswith(b"\x89PNG")
    assert b"Software" not in png
    assert pdf.startswith(b"%PDF")
    assert b"CreationDate" not in pdf
    numbers = strict(tmp_path / "images" / f"figure_{number}.json")
    names = {experiment for experiment, _ in ([SHOWN[number]] if number in SHOWN else PLANS)}
    hashes = {f"paper_{name}.json": (made / f"paper_{name}.json").read_bytes() for name in names}
    assert numbers["sources"] == {name: hashlib.sha256(raw).hexdigest() for name, raw in hashes.items()}
    assert len(numbers) > 1
    check_figure(number, figure)


@pytest.mark.parametrize("number", [2, 3, 4, 7, 8])
def test_one_seed_one_key_and_nothing_found_are_drawn_too(number, made_of_nothing):
    with rc_context(SETTINGS):
        figure = module(number).draw(Results(made_of_nothing))
        figure.canvas.draw()
    check_figure(number, figure)
    numbers = module(number).compute(Results(made_of_nothing))
    if number in (3, 4):
        assert numbers["finder_paper"]["outcome"] == "no_learning"


def test_drawing_again_gives_the_same_bytes(made, tmp_path):
    for folder in ("one", "other"):
        module(3).main(["--results", str(made), "--out", str(tmp_path / folder)])
    for kind in ("json", "pdf", "png"):
        one, other = ((tmp_path / folder / f"figure_3.{kind}").read_bytes() for folder in ("one", "other"))
        assert one == other


def test_the_numbers_are_those_of_the_results(made):
    numbers = json.loads(script.numbers_text(module(9).compute, Results(made)))
    assert list(numbers["plans"]) == ["/".join(place) for place in PLANS]
    for (experiment, name), shown in zip(PLANS, numbers["plans"].values(), strict=True):
        plan = strict(made / f"paper_{experiment}.json")["plans"][name]
        summary, parts = plan["summary"], plan["parts"]
        assert shown["best_of_grid"]["lr"] == pytest.approx(summary["best_on_grid"]["lr"], rel=1e-5)
        for pick, written in zip(summary["at_picks"], shown["at_picks"], strict=True):
            assert (pick["search"], pick["name"]) == (written["search"], written["name"])
            np.testing.assert_allclose(written["accuracy"], 100 * np.asarray(pick["accuracy"]), rtol=1e-5)
            np.testing.assert_allclose(np.mean(written["regret"]), pick["regret_points"], atol=1e-3)
        for search in SEARCHES:
            wanted = {key: parts[search]["picks"][key] for key in METHODS}
            found = shown["searches"][search]
            if found["outcome"] == "found":
                assert found["picks"] == pytest.approx(wanted, rel=1e-5)
                ends = [parts[search]["picks"][end] for end in ("min_lr", "max_lr")]
                np.testing.assert_allclose(found["window"], ends, rtol=1e-5)
            else:
                assert (found["picks"], found["window"]) == ({}, None)
            assert found["trial_steps"] == parts[search]["trial_steps"]


def test_kinds_of_learning_rates(made):
    plan = Results(made).shown(1)
    kinds = figure_1.classify(plan)
    assert list(kinds) == ["too low", "good", "too high", "diverged"][: len(kinds)]
    assert kinds["good"] == pytest.approx(10**BEST)
    assert kinds["diverged"] == pytest.approx(10.0)
    low = dataclasses.replace(plan.grid, diverged_at=np.full_like(plan.grid.diverged_at, 0))
    assert list(figure_1.classify(dataclasses.replace(plan, grid=low))) == ["good", "diverged"]


def test_trials_of_a_uniform_grid(made):
    plan = Results(made).shown(8)
    found = figure_8.adaptive_numbers(plan)
    result = plan.searches["finder_paper"]
    assert sum(found["trials_of_rounds"]) == found["trials"] == len(result.curve.lrs)
    x = np.log10(np.asarray(result.curve.lrs, np.float64))
    np.testing.assert_allclose((found["trials_of_uniform_grid"] - 1) * np.diff(x).min(), x[-1] - x[0], rtol=0.01)


def test_missing_and_unfinished_results_are_named_with_the_command(made, tmp_path):
    with pytest.raises(
        SystemExit, match=r"no results .*paper_bert\.json\. Make them with `python -m experiments\.paper\.bert`"
    ):
        module(3).main(["--results", str(tmp_path), "--out", str(tmp_path / "images")])
    assert not (tmp_path / "images").exists()
    document = strict(made / "paper_bert.json")
    del document["plans"][SHOWN[3][1]]["summary"]
    (tmp_path / "paper_bert.json").write_text(json.dumps(document))
    with pytest.raises(
        SystemExit, match=r"no finished plan 'pretrained'. `python -m experiments\.paper\.bert` goes on"
    ):
        module(3).main(["--results", str(tmp_path), "--out", str(tmp_path / "images")])


def no_grid(plan):
    del plan["parts"]["grid"]


def grid_of_another_shape(plan):
    plan["parts"]["grid"]["metrics"]["accuracy"].pop()


def no_numbers(plan):
    plan["summary"]["at_picks"][0]["accuracy"] = "high"


def another_document(plan):
    plan["parts"]["finder_paper"]["result"]["format"] = "other"


def a_test_cut_off(plan):
    plan["parts"]["range_test"]["tests"][0]["result"]["losses"]["data"].pop()


DAMAGES = [no_grid, grid_of_another_shape, no_numbers, another_document, a_test_cut_off]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damaged_results_are_refused(damage, made, tmp_path):
    document = strict(made / "paper_bert.json")
    damage(document["plans"][SHOWN[8][1]])
    (tmp_path / "paper_bert.json").write_text(json.dumps(document))
    with pytest.raises(
        ResultsError, match=r"paper_bert\.json are damaged: .* `python -m experiments\.paper\.bert --fresh`"
    ):
        Results(tmp_path).shown(8)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"plans": []}'])
def test_a_file_that_is_no_results_is_refused(text, tmp_path):
    (tmp_path / "paper_bert.json").write_text(text)
    with pytest.raises(SystemExit, match=r"paper_bert\.json are damaged"):
        module(3).main(["--results", str(tmp_path), "--out", str(tmp_path)])


def test_the_page_has_every_block_and_waits_for_what_is_not_measured(made, tmp_path):
    text = page.PAGE.read_text()
    empty = page.render(text, Results(tmp_path))
    assert empty.count("Not measured yet") == 9 + 4
    assert ".png" not in empty
    for name in ("bert", "resnet"):
        shutil.copy(made / f"paper_{name}.json", tmp_path)
    partly = page.render(empty, Results(tmp_path))
    assert partly.count(".png") == 9
    assert partly.count("- BART, denoising: `python -m experiments.paper.bart`") == 5
    copy = tmp_path / "paper.md"
    copy.write_text(partly)
    page.main(["--results", str(made), "--page", str(copy)])
    full = copy.read_text()
    assert "Not measured" not in full
    assert [int(number) for number in re.findall(r"figure_(\d)\.png", full)] == [1, 2, 3, 4, 5, 6, 7, 9, 8]
    assert page.render(full, Results(made)) == full
    rows = [line for line in full.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {6, 7, 9}
    assert "| paper | nothing found |" in full
    with pytest.raises(ValueError, match="must have each of the blocks"):
        page.render(text.replace("begin cost", "begin costs"), Results(made))


def picks_with(*regrets):
    return {
        name: Pick(search="finder_paper", name=name, lr=0.1, accuracy=np.zeros(2), regret=np.full(2, regret))
        for name, regret in zip(METHODS, regrets, strict=True)
    }


@pytest.mark.parametrize(
    ("regrets", "order"),
    [((1, 2, 3), "1>2>3"), ((1, 3, 2), "1>3>2"), ((2.02, 2, -1), "3>1=2"), ((0, 0, 0), "1=2=3")],
)
def test_order_of_methods(regrets, order):
    assert tables.order_of(picks_with(*regrets)) == order
    assert tables.order_of({}) == ""


def test_place_in_the_window():
    places = [tables.place_in((1e-4, 1e-2), lr) for lr in (1e-4, 1e-3, 1e-2, 1e-1)]
    np.testing.assert_allclose(places, [0, 0.5, 1, 1.5], atol=1e-12)
    assert [tables.place_in((0.1, 0.1), lr) for lr in (0.01, 0.1, 1.0)] == [-np.inf, 0.5, np.inf]


def committed(places=PLANS):
    """The committed results; skips where a run is still to be made."""
    results = Results()
    try:
        for place in places:
            results.plan(*place)
    except NotMeasured as error:
        pytest.skip(str(error))
    return results


@pytest.mark.parametrize("number", NUMBERS)
def test_committed_numbers_come_from_the_committed_results(number):
    results = committed([SHOWN[number]] if number in SHOWN else [])
    for kind in ("json", "pdf", "png"):
        assert (script.OUT / f"figure_{number}.{kind}").exists(), "run `make figures`"
    wanted = script.numbers_text(module(number).compute, results)
    assert (script.OUT / f"figure_{number}.json").read_text() == wanted, "run `make figures`"


def test_the_committed_page_is_up_to_date():
    text = page.PAGE.read_text()
    assert text == page.render(text, Results(FOLDER)), "run `make figures`"


def test_results_read_back_are_the_searches(made, parts):
    plan = Results(made).shown(3)
    assert isinstance(plan.searches["finder_paper"], lrjax.LRResult)
    assert plan.searches["finder_paper"].lr == parts["three"]["finder_paper"]["result"]["lr"]
    assert len(plan.range_tests) == 2


def test_the_gallery_of_schedules_has_no_empty_axes():
    figure = schedules.gallery()
    assert [ax.get_title(loc="left") for ax in figure.axes] == list(schedules.PANELS)
    assert all(ax.lines for ax in figure.axes)
