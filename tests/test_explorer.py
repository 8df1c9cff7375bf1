"""The explorer without its page: surfaces, paths, answers, and what it refuses."""

import http.client
import inspect
import json
import re
import socket
import threading

import inside
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from found import found
from inside import (
    FILES,
    OPTIMIZERS,
    SURFACES,
    Refused,
    Server,
    descend,
    height,
    python_line,
    rounded,
    sharpness,
    slot_steps,
    stability_limit,
    view,
)
from schedule_cases import FACTORIES

import lrjax
from lrjax import schedules
from lrjax.cli import main
from lrjax.explorer import explore

ANSWERS = inside.make_routes()
CONTENTS = ANSWERS["/api/start"]({})
course = ANSWERS["/api/course"]
START, EXAMPLES, PAIRS, CONTROLS = (CONTENTS[name] for name in ("first", "examples", "pairs", "controls"))
MAX_STEPS, MAX_SCHEDULES, MAX_SEEDS = (CONTENTS["limits"][name] for name in ("steps", "schedules", "seeds"))

CONSTANT = {"name": "constant", "value": 0.05}


def body(**changes):
    """A question about schedules, with these changes."""
    return START | {"seeds": 2, "noise": 0.0, "schedules": [{"spec": CONSTANT, "momentum": None}]} | changes


# Surfaces and paths.


@pytest.mark.parametrize("name", SURFACES)
def test_each_surface_is_lowest_at_its_minimum_and_as_sharp_as_the_others(name):
    surface = SURFACES[name]
    left, right, bottom, top = surface.box
    x, y = np.meshgrid(np.linspace(left, right, 41), np.linspace(bottom, top, 41))
    assert float(surface.loss(*surface.minimum)) == pytest.approx(0, abs=1e-6)
    assert (np.asarray(surface.loss(x, y)) >= -1e-6).all()
    assert left < surface.start[0] < right
    assert bottom < surface.start[1] < top
    assert sharpness(name) == pytest.approx(20, rel=0.05)


def test_one_function_is_all_surfaces_also_far_away():
    for index, surface in enumerate(SURFACES.values()):
        np.testing.assert_allclose(height(index, 0.3, -0.7), surface.loss(0.3, -0.7), rtol=1e-6)
    assert np.isfinite(float(height(0, 1e8, 1e8)))  # where others overflow


def follow(lrs, momenta, noise, num_steps, optimizer="sgd", start=(1.0, -2.0)):
    """In the bowl, by the program that the page runs; lanes and seeds that are not given are idle."""
    tables = np.zeros((2, MAX_SCHEDULES, MAX_STEPS), np.float32)
    tables[0, : len(lrs)], tables[1, : len(lrs)] = lrs, momenta
    wide = np.zeros((MAX_STEPS, MAX_SEEDS, 2), np.float32)
    wide[:, : noise.shape[1]] = noise
    make, at = OPTIMIZERS[optimizer], np.asarray(start, np.float32)
    return descend(height, make, 0, *map(jnp.asarray, (*tables, at, wide)), num_steps)


@pytest.mark.slow
def test_a_path_is_a_plain_loop_with_optax():
    rng = np.random.default_rng(0)
    lrs = np.zeros((2, MAX_STEPS), np.float32)
    lrs[:, :30] = rng.uniform(0.01, 0.09, (2, 30))
    momenta = np.zeros_like(lrs)
    momenta[:, :30] = rng.uniform(0.5, 0.95, (2, 30))
    noise = rng.normal(size=(MAX_STEPS, 3, 2)).astype(np.float32)
    paths = follow(lrs, momenta, noise, 30, optimizer="momentum")
    for lane, seed in ((0, 0), (1, 2)):
        point, state = jnp.asarray([1.0, -2.0]), optax.sgd(0.1, momentum=0.9).init(jnp.zeros(2))
        for t in range(30):
            gradient = jnp.asarray([10 * point[0], 20 * point[1]]) + noise[t, seed]
            change, state = optax.sgd(float(lrs[lane, t]), momentum=float(momenta[lane, t])).update(gradient, state)
            point = optax.apply_updates(point, change)
            np.testing.assert_allclose(paths.points[lane, seed, t + 1], point, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(paths.losses[lane, seed, 30], 5 * point[0] ** 2 + 10 * point[1] ** 2, rtol=1e-3)


def test_plain_sgd_diverges_above_2_over_the_curvature_and_nowhere_below():
    limit = stability_limit("bowl")
    lrs = np.repeat(limit * np.array([0.5, 0.98, 1.2, 1.6])[:, None], MAX_STEPS, 1)
    paths = follow(lrs, 0.0, np.zeros((MAX_STEPS, 2, 2)), 300)
    assert (np.asarray(paths.diverged_at) >= 0).tolist() == [[False] * 16] * 2 + [[True] * 16] * 2 + [[False] * 16] * 2
    t = np.arange(50)  # each coordinate shrinks by |1 - lr lambda|
    np.testing.assert_allclose(paths.points[0, 0, :50, 0], (1 - 0.05 * 10) ** t, rtol=1e-4, atol=1e-12)
    first = int(paths.diverged_at[3, 0])
    assert np.isinf(paths.losses[3, 0, first:301]).all()
    assert np.isfinite(paths.losses[3, 0, :first]).all()
    assert np.isfinite(paths.points[:, :, :301]).all()


def test_a_diverged_lane_changes_no_other():
    noise = np.ones((MAX_STEPS, 2, 2))
    calm = np.full((4, MAX_STEPS), 0.03, np.float32)
    wild = calm.copy()
    wild[2] = 1e9
    one, two = (follow(lrs, 0.0, noise, 40) for lrs in (calm, wild))
    np.testing.assert_array_equal(one.points[0], two.points[0])
    np.testing.assert_array_equal(one.losses[3], two.losses[3])


@pytest.mark.parametrize("num_steps", [1, 2, 399, 400, 401, 999, 2000])
def test_slots_begin_at_0_end_at_the_last_step_and_suffice(num_steps):
    steps = slot_steps(num_steps)
    assert steps[0] == 0
    assert steps[-1] == num_steps
    assert len(steps) <= 401
    assert (np.diff(steps) > 0).all()


def test_a_long_path_keeps_one_step_in_so_many():
    lrs = np.full((4, MAX_STEPS), 1e-3, np.float32)
    paths = follow(lrs, 0.0, np.zeros((MAX_STEPS, 2, 2)), 999)
    steps = slot_steps(999)
    np.testing.assert_allclose(paths.points[0, 0, : len(steps), 0], 0.99**steps, rtol=1e-3)


# Answers about schedules.


def test_a_moved_slider_compiles_nothing():
    course(body())
    before = descend._cache_size()
    two = [{"spec": CONSTANT | {"value": 0.02}, "momentum": None}] * 2
    for changes in ({"steps": 700}, {"noise": 3.0}, {"seeds": 7}, {"surface": "beale"}, {"schedules": two}):
        course(body(**changes))
    course(body(start=[0.1, 0.2], momentum=0.3))
    assert descend._cache_size() == before


def test_an_answer_holds_the_values_the_words_and_the_code():
    spec = {"name": "cosine_decay", "init_value": 0.08, "decay_steps": 50}
    answer = course(body(steps=50, schedules=[{"spec": spec, "momentum": None}]))
    (shown,) = answer["schedules"]
    schedule = schedules.cosine_decay(0.08, 50)
    assert answer["steps"] == list(range(51))
    np.testing.assert_allclose(shown["lr"], schedule(np.arange(51)), rtol=1e-4, atol=1e-7)
    assert shown["words"] == str(schedules.describe(schedule, 50))
    assert shown["code"] == "lrjax.schedules.cosine_decay(init_value=0.08, decay_steps=50)"
    assert shown["problems"] == []
    assert answer["limit"] == pytest.approx(0.1)
    json.dumps(answer, allow_nan=False)


def test_a_schedule_that_cannot_be_made_is_told_and_the_others_go_on():
    bad = {"name": "warmup_cosine", "peak_value": 0.1, "warmup_steps": 300, "total_steps": 200}
    first, second = course(body(schedules=[{"spec": bad}, {"spec": CONSTANT}]))["schedules"]
    assert "must be below total_steps=200" in first["error"]
    assert second["lr"][0] == 0.05


def test_a_problem_of_a_schedule_is_told():
    spec = {"name": "cosine_decay", "init_value": 0.08, "decay_steps": 50}
    (shown,) = course(body(schedules=[{"spec": spec}]))["schedules"]
    assert [problem["name"] for problem in shown["problems"]] == ["decay_ends_early"]


def test_divergence_is_counted_and_its_losses_are_null():
    (shown,) = course(body(schedules=[{"spec": CONSTANT | {"value": 0.5}}]))["schedules"]
    assert shown["diverged"] == 2
    assert shown["loss"][-1] is None
    assert shown["ends"] == []
    assert shown["diverged_at"] > 0


@pytest.mark.parametrize("name", PAIRS)
def test_a_pair_moves_its_momentum_with_the_rate(name):
    made = view(EXAMPLES[name], {"max_momentum": 0.95, "min_momentum": 0.5})
    lr, momentum = made.values()
    assert momentum is not None
    assert momentum[np.argmax(lr)] == pytest.approx(0.5, abs=1e-3)
    assert momentum[0] == pytest.approx(0.95, abs=1e-3)
    assert "momentum=lrjax.schedules." in made.shown(np.arange(3), 200)["code"]


def test_every_schedule_has_controls_for_every_argument_and_an_example():
    assert set(EXAMPLES) | set(PAIRS.values()) == set(FACTORIES)
    assert sorted(name for names in CONTENTS["groups"].values() for name in names) == sorted(EXAMPLES)
    for name in FACTORIES:
        assert [one["name"] for one in CONTROLS[name]] == list(inspect.signature(FACTORIES[name]).parameters)


def refusal(spec):
    """What is wrong with a schedule, or nothing."""
    try:
        view(spec, None)
    except Refused as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_control_can_be_moved_to_both_ends_or_says_why_not(name):
    example = EXAMPLES[name]
    assert not refusal(example)
    for control in CONTROLS[name]:
        argument = control["name"]
        for word in control.get("choices", []):  # a word on offer is one that works
            assert "must be one of" not in refusal(example | {argument: word})
        for value in (control.get("low"), control.get("high", 400)) if "low" in control else (True, False):
            wrong = refusal(example | {argument: value}) if control["kind"] not in ("list", "schedule") else ""
            assert not wrong or argument in wrong or name in wrong


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_line_of_python_makes_the_same_schedule(name):
    spec = schedules.to_spec(schedules.from_spec(EXAMPLES[name]))
    made = eval(python_line(spec), {"lrjax": lrjax, "np": np})
    assert schedules.to_spec(made) == spec


def ends_of(name):
    preset = next(one for one in CONTENTS["presets"] if one["name"] == name)
    return course(preset["state"])["schedules"]


@pytest.mark.slow
def test_the_examples_show_what_their_sentences_say():
    slow, fast, wild = ends_of("Stability")
    assert wild["diverged"] == 16
    assert fast["loss"][-1] < 1e-3 * slow["loss"][-1]
    without, warm = ends_of("Warmup")
    assert without["diverged"] == 16
    assert warm["diverged"] == 0
    assert warm["loss"][-1] < 0.01
    explores, exploits, both = ends_of("Exploration and exploitation")
    assert both["loss"][-1] < 0.5 * min(explores["loss"][-1], exploits["loss"][-1])
    _, restarted = ends_of("Restarts")
    minima = np.round(np.array([restarted["path"][step] for step in (100, 200, 300, 400)]))
    assert len(np.unique(minima, axis=0)) >= 3
    with_all, with_own = ends_of("1cycle with momentum")
    assert with_own["loss"][-1] < with_all["loss"][-1]


@pytest.mark.parametrize("value", [0.0, 1.0, -0.00012345678, 98765432.1, 1e-30])
def test_numbers_keep_five_digits(value):
    (short,) = rounded(np.array([value]))
    assert short == pytest.approx(value, rel=1e-4)
    assert rounded(np.array([[np.inf], [np.nan]])) == [[None], [None]]


# The finder.


@pytest.fixture(scope="module")
def answers():
    return inside.make_routes()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("result") / "lr_finder.json"
    found().to_json(path)
    return path.read_text()


def test_a_saved_result_is_read_by_every_rule(answers, saved):
    name = answers["/api/open"]({"text": saved, "name": "mine.json"})["id"]
    told = answers["/api/reading"]({"id": name, "horizon": 0, "share": 0.9, "steps": 500})
    curve = found().curve
    window = lrjax.find_window(curve)
    picks = {one["rule"]: one["lr"] for one in told["picks"]}
    assert told["title"] == "mine.json"
    assert told["horizons"] == [20]
    np.testing.assert_allclose(told["window"], [window.min_lr, window.max_lr], rtol=1e-4)
    for rule in (lrjax.midpoint, lrjax.half_loss, lrjax.steepest, lrjax.lowest_loss, lrjax.lowest_for(500)):
        assert picks[rule.__name__] == pytest.approx(float(rule(curve, window)), rel=1e-5)
    assert picks["share"] == pytest.approx(10 ** float(lrjax.crossing(window, 0.1)), rel=1e-4)
    json.dumps(told, allow_nan=False)


@pytest.mark.parametrize("outcome", ["no_learning", "all_diverged"])
def test_a_result_without_a_learning_rate_is_shown_and_says_so(answers, outcome, tmp_path):
    found(outcome=outcome).to_json(tmp_path / "result.json")
    name = answers["/api/open"]({"text": (tmp_path / "result.json").read_text(), "name": "x"})["id"]
    told = answers["/api/reading"]({"id": name, "horizon": 0, "share": 0.9, "steps": 100})
    assert told["outcome"] == lrjax.Outcome[outcome].value
    assert told["picks"] == []
    assert told["window"] is None


def test_a_spec_is_opened_as_a_schedule(answers):
    assert answers["/api/open"]({"text": json.dumps(CONSTANT), "name": "x"}) == {"spec": CONSTANT}


def test_from_a_window_to_a_schedule(answers):
    asked = {"lr": 0.01, "min_lr": 1e-3, "max_lr": 0.1, "steps": 400}
    plan = answers["/api/plan"]
    one, two, three = (plan(asked | {"kind": kind})["spec"] for kind in ("one_cycle", "warmup_cosine", "triangular"))
    peak = lrjax.peak_for(0.01, schedules.one_cycle(1.0, total_steps=400), 400)
    assert one["peak_value"] == pytest.approx(peak, rel=5e-3)
    assert one["total_steps"] == two["total_steps"] == 400
    assert two["warmup_steps"] == 40
    assert (three["base_value"], three["peak_value"], three["up_steps"]) == (1e-3, 0.1, 50)


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("kind", ["one_cycle", "warmup_cosine", "triangular"])
def test_the_shortest_training_gets_a_schedule_too(answers, kind, steps):
    asked = {"lr": 0.01, "min_lr": 1e-3, "max_lr": 0.1, "steps": steps, "kind": kind}
    schedule = schedules.from_spec(answers["/api/plan"](asked)["spec"])
    assert np.isfinite(np.asarray(schedule(np.arange(steps)))).all()


def without(document, *path, value=None):
    """The document with the value at a path replaced, or taken away."""
    document = json.loads(document)
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    if value is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return json.dumps(document)


CURVE = ("stages", 0, "curve")
HOSTILE = {
    "nothing": (lambda text: "", "no JSON"),
    "cut off": (lambda text: text[: len(text) // 2], "no JSON"),
    "Python": (lambda text: "__import__('os').system('true')", "no JSON"),
    "pickle": (lambda text: "\x80\x04cposix\nsystem\n", "no JSON"),
    "a list": (lambda text: "[1, 2]", "must be a JSON object, got list"),
    "deep": (lambda text: "[" * 200_000 + "]" * 200_000, "nested too deeply"),
    "another format": (lambda text: '{"format": "<script>alert(1)</script>"}', "must be a file of format"),
    "newer": (lambda text: without(text, "version", value=99), "Upgrade lrjax"),
    "without a curve": (lambda text: without(text, *CURVE), "lacks curve"),
    "curve is a string": (lambda text: without(text, *CURVE, value="x"), "is damaged"),
    "objects": (lambda text: without(text, *CURVE, "lrs", "dtype", value="O"), "must be of dtype"),
    "strings of a gigabyte": (lambda text: without(text, *CURVE, "lrs", "dtype", value="S1000000000"), "of dtype"),
    "unknown type": (lambda text: without(text, *CURVE, "lrs", "dtype", value="eval"), "is damaged"),
    "shapes": (lambda text: without(text, *CURVE, "losses", "data", value=[[[1.0, 2.0]]]), "must have 15 trials"),
    "no lrs": (lambda text: without(text, *CURVE, "lrs", "data", value=[]), "must have 0 trials"),
    "negative lr": (
        lambda text: without(text, *CURVE, "lrs", "data", value=[-1.0, *(2.0**x for x in range(-6, 8))]),
        "must be learning rates that rise",
    ),
    "initial loss": (
        lambda text: without(text, *CURVE, "initial_loss", "data", value=["nan"]),
        "must be finite losses",
    ),
    "horizons": (
        lambda text: without(text, *CURVE, "horizons", "data", value=[-5]),
        "must be numbers of updates that rise",
    ),
    "a huge number": (lambda text: without(text, "lr", value=10**400), "has 401 digits"),
    "a schedule with a path": (
        lambda text: json.dumps({"name": "shift", "schedule": "/etc/passwd", "steps": 1}),
        "must be a schedule",
    ),
    "a schedule of code": (lambda text: json.dumps({"name": "__import__('os')"}), "is not a schedule"),
    "a schedule of schedules": (
        lambda text: json.dumps({"name": "multiply", "schedules": [CONSTANT] * 100}),
        "may hold 64 schedules",
    ),
    "a schedule in schedules": (
        lambda text: '{"name": "repeat", "schedule": ' * 30 + json.dumps(CONSTANT) + "}" * 30,
        "nested 8 deep",
    ),
}


@pytest.mark.parametrize(("make", "message"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_wrong_or_hostile_file_gets_a_message(answers, saved, make, message):
    with pytest.raises(Refused, match=re.escape(message)) as caught:
        answers["/api/open"]({"text": make(saved), "name": "x.json"})
    assert len(str(caught.value)) < 1000


def test_a_curve_too_large_to_show_is_refused(answers, saved):
    document = json.loads(saved)
    curve = document["stages"][0]["curve"]
    for name in ("losses", "initial_loss", "diverged_at"):
        curve[name]["data"] = [curve[name]["data"][0] * 300] if name == "losses" else curve[name]["data"] * 300
    with pytest.raises(Refused, match="holds 300 seeds; at most 200"):
        answers["/api/open"]({"text": json.dumps(document), "name": "x"})


def test_old_curves_make_room_for_new_ones(saved):
    answers = inside.make_routes()
    names = [answers["/api/open"]({"text": saved, "name": str(index)})["id"] for index in range(10)]
    assert len(set(names)) == 10
    with pytest.raises(Refused, match="no longer here"):
        answers["/api/reading"]({"id": names[0], "horizon": 0, "share": 0.5, "steps": 10})
    assert answers["/api/reading"]({"id": names[-1], "horizon": 0, "share": 0.5, "steps": 10})["title"] == "9"


# The server.


@pytest.fixture(scope="module")
def server(answers):
    with Server("127.0.0.1", 0, answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def send(server):
    """One request: status, headers, body."""

    def send(method, path, content=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=60)
        try:
            headers = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, content, headers)
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()
        finally:
            connection.close()

    return send


@pytest.fixture
def post(send):
    def post(path, value, **headers):
        content = value if isinstance(value, (bytes, str)) else json.dumps(value)
        status, _, answer = send("POST", path, content, Content_Type="application/json", **headers)
        return status, json.loads(answer)

    return post


BAD = {
    "no JSON": ("/api/course", "{", "This is no JSON"),
    "no object": ("/api/course", "3", "must be a JSON object, got int"),
    "empty": ("/api/course", {}, "`steps` is missing."),
    "negative steps": ("/api/course", body(steps=-1), "`steps` must be a whole number >= 1, got -1."),
    "half a step": ("/api/course", body(steps=1.5), "`steps` must be a whole number >= 1, got 1.5"),
    "too many steps": ("/api/course", body(steps=10**9), "`steps` must be at most 2,000, got 1000000000."),
    "steps as a word": ("/api/course", body(steps="many"), "`steps` must be a whole number >= 1, got 'many'"),
    "true steps": ("/api/course", body(steps=True), "got the bool True"),
    "noise is nan": ("/api/course", json.dumps(body(noise=float("nan"))), "This is no JSON: NaN is not strict"),
    "noise is infinite": (
        "/api/course",
        json.dumps(body(noise=float("inf"))),
        "This is no JSON: Infinity is not strict",
    ),
    "momentum of 1": ("/api/course", body(momentum=1.0), "`momentum` must be a number from 0 to 0.999, got 1."),
    "no seeds": ("/api/course", body(seeds=0), "`seeds` must be a whole number >= 1"),
    "unknown surface": ("/api/course", body(surface="<b>"), "`surface` must be one of 'bowl'"),
    "unknown optimizer": ("/api/course", body(optimizer="eval"), "`optimizer` must be one of 'sgd'"),
    "start far away": ("/api/course", body(start=[1e9, 0]), "`x` must be a number from -100 to 100"),
    "start of three": ("/api/course", body(start=[1, 2, 3]), "`start` must be a list of 2 to 2 values, got 3 values."),
    "no schedules": ("/api/course", body(schedules=[]), "`schedules` must be a list of 1 to 6 values"),
    "too many": ("/api/course", body(schedules=[{"spec": CONSTANT}] * (MAX_SCHEDULES + 1)), "got 7 values"),
    "plan of nothing": ("/api/plan", {"kind": "cosine"}, "`kind` must be one of 'one_cycle'"),
    "plan, negative lr": (
        "/api/plan",
        {"kind": "one_cycle", "steps": 10, "lr": -1, "min_lr": 1, "max_lr": 1},
        "`lr` must be a number from 1e-12 to 1000, got -1.",
    ),
    "plan upside down": (
        "/api/plan",
        {"kind": "triangular", "steps": 10, "lr": 1, "min_lr": 1, "max_lr": 0.1},
        "`min_lr` must not be above max_lr=0.1, got 1.",
    ),
    "no such curve": ("/api/reading", {"id": "../1"}, "This curve is no longer here."),
    "curve as a number": ("/api/reading", {"id": 1}, "`id` must be a string"),
    "digits with anything": ("/api/digits", {"optimizer": "os.system"}, "`optimizer` must be one of 'adam'"),
    "a file that is none": ("/api/open", {"text": "\x00", "name": "x"}, "This is no JSON"),
    "a number too long": ("/api/course", '{"steps": ' + "9" * 5000 + "}", "This is no JSON"),
}


@pytest.mark.parametrize(("path", "asked", "message"), BAD.values(), ids=BAD.keys())
def test_a_bad_question_gets_status_400_and_a_message(post, path, asked, message):
    status, answer = post(path, asked)
    assert status == 400
    assert message in answer["error"]
    assert post(path, asked, Prefer="handling=lenient") == (200, answer)


def test_a_good_question_gets_its_answer(post):
    status, answer = post("/api/course", body())
    assert status == 200
    assert answer["schedules"][0]["code"] == "lrjax.schedules.constant(value=0.05)"


def test_horizons_beyond_the_curve_are_refused(post, saved):
    _, opened = post("/api/open", {"text": saved, "name": "x"})
    status, answer = post("/api/reading", {"id": opened["id"], "horizon": 1, "share": 0.5, "steps": 10})
    assert (status, answer["error"]) == (400, "`horizon` must be at most 0, got 1.")


def test_a_fault_of_ours_is_status_500_and_the_server_goes_on(post, answers, monkeypatch, capsys):
    monkeypatch.setitem(answers, "/api/plan", lambda body: 1 / 0)
    status, answer = post("/api/plan", {})
    assert (status, answer["error"]) == (500, "ZeroDivisionError: division by zero")
    assert "Traceback" in capsys.readouterr().err
    assert post("/api/course", {})[0] == 400


@pytest.mark.parametrize("path", ["/nothing", "/../_server.py", "/%2e%2e/_server.py", "//etc/passwd", "/index.html/.."])
def test_only_the_files_of_the_page_are_served(send, path):
    assert send("GET", path)[0] == 404


@pytest.mark.parametrize("path", FILES)
def test_the_page_allows_nothing_from_elsewhere(send, path):
    status, headers, content = send("GET", path)
    assert status == 200
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    addresses = re.findall(r"https?://[^\s\"'`)]+", content.decode())
    assert set(addresses) <= {"http://www.w3.org/2000/svg"}  # the name of a namespace
    assert "innerHTML" not in content.decode()


def test_another_site_cannot_ask(send):
    asked = json.dumps(body())
    assert send("POST", "/api/course", asked, Content_Type="text/plain")[0] == 415
    assert send("POST", "/api/course", asked, Content_Type="application/json", Host="evil.example")[0] == 403
    assert send("GET", "/", Host="evil.example")[0] == 403
    assert send("GET", "/", Host="localhost:1")[0] == 200


@pytest.fixture
def asked_of(answers):
    """A function of a server's arguments and a Host header: the status of a GET and of a POST."""

    def asked_of(host, header, **options):
        with Server(host, 0, answers, **options) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=60)
            found = []
            for method, path, headers in (
                ("GET", "/", {}),
                ("POST", "/api/start", {"Content-Type": "application/json"}),
            ):
                connection.request(method, path, "{}" if headers else None, headers | {"Host": header})
                response = connection.getresponse()
                response.read()
                found.append(response.status)
            connection.close()
            server.shutdown()
            return found

    return asked_of


OWN = ("localhost", "localhost:8571", "127.0.0.1", "192.168.1.5:80", "[::1]:8571", "0.0.0.0:8571", socket.gethostname())
OTHER = (
    "evil.example",
    "evil.example:8571",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "",
    "[",
    "a b",
    "1.2.3",
)


@pytest.mark.parametrize("header", OWN)
def test_a_server_for_other_machines_answers_to_its_names_and_to_addresses(asked_of, header):
    assert asked_of("0.0.0.0", header) == [200, 200]


@pytest.mark.parametrize("header", OTHER)
def test_a_server_for_other_machines_answers_to_no_other_name(asked_of, header):
    assert asked_of("0.0.0.0", header) == [403, 403]


def test_a_server_of_this_machine_answers_to_no_address_of_another(asked_of):
    assert asked_of("127.0.0.1", "192.168.1.5") == [403, 403]
    assert asked_of("127.0.0.1", "[::1]") == [200, 200]


def test_a_name_can_be_added(asked_of):
    assert asked_of("127.0.0.1", "Box.example:80", names=["box.Example"]) == [200, 200]
    assert asked_of("127.0.0.1", "other.example", names=["box.example"]) == [403, 403]


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        ("box", TypeError, "got 'box'"),
        ([1], TypeError, r"got \[1\]"),
        (["http://box"], ValueError, "without scheme, port and path, got 'http://box'"),
        (["box:80"], ValueError, "without scheme, port and path, got 'box:80'"),
        ([""], ValueError, "got ''"),
    ],
)
def test_names_that_are_none(names, error, message):
    with pytest.raises(error, match=r"`explore\(names=...\)` must be a list of host names.*" + message):
        explore(names=names, port=0, browser=False)


@pytest.mark.parametrize("host", ["", "\0", "\ud800", "http://127.0.0.1", "127.0.0.1:80", "[::1]", None, 0], ids=repr)
def test_a_host_that_is_none_is_said_and_nobody_is_served(host):
    """An empty one would be every address of the machine."""
    error = ValueError if isinstance(host, str) else TypeError
    with pytest.raises(error, match=r"`explore\(host=...\)` must be an address or a name of this machine, got "):
        explore(host=host, port=0, browser=False)


def test_what_another_host_means_is_said_before_anybody_is_served(monkeypatch):
    told = []
    monkeypatch.setattr(inside.explore, "_compile", lambda stopped: None)
    monkeypatch.setattr(Server, "serve_forever", lambda self, poll_interval: None)
    explore(host="0.0.0.0", port=0, browser=False, say=told.append)
    assert re.match(r"The explorer is at http://127\.0\.0\.1:\d+/ ", told[0])  # every address is none to open
    assert told[1] == (
        "Warning: every machine that reaches this address can use the page, without a password and unencrypted: keep "
        "this one computing, and see the curves of the files that are opened here."
    )
    explore(port=0, browser=False, say=told.append)
    assert len(told) == 3


def test_two_hundred_connections_at_once_all_get_their_answer(server):
    ready, answers = threading.Barrier(200), []

    def ask():
        ready.wait()
        connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=60)
        connection.request("GET", "/icon.svg")
        answers.append(connection.getresponse().status)
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 200


def test_connections_wait_until_the_server_has_time_for_them(answers):
    with Server("127.0.0.1", 0, answers) as server:  # nobody accepts yet
        waiting = [socket.create_connection(server.server_address, timeout=5) for _ in range(200)]
        for one in waiting:
            one.sendall(b"GET /icon.svg HTTP/1.0\r\nHost: localhost\r\n\r\n")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        got = [one.recv(12) for one in waiting]
        for one in waiting:
            one.close()
        server.shutdown()
    assert got == [b"HTTP/1.1 200"] * 200


def test_a_question_too_large_is_not_read(send):
    headers = {"Content_Type": "application/json", "Content_Length": str(10**9)}
    assert send("POST", "/api/open", None, **headers)[0] == 413
    assert send("POST", "/api/open", None, Content_Type="application/json", Content_Length="-5")[0] == 411


def test_a_document_must_be_an_object():
    with pytest.raises(Refused, match="got NoneType"):
        ANSWERS["/api/open"]({"text": "null", "name": "x"})


# The command.


def test_a_taken_port_is_told(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        status = main(["explore", "--no-browser", "--port", str(port)])
    assert status == 2
    assert capsys.readouterr().err == (
        f"lrjax: `--port` must be a free port, but {port} is taken, perhaps by another explorer. "
        "Give another one, or 0 for any that is free.\n"
    )


WRONG = {
    "port too high": (("--port", "70000"), "`--port` must be at most 65535, got 70000."),
    "negative port": (("--port", "-1"), "`--port` must be a whole number >= 0, got -1."),
    "not our address": (("--port", "0", "--host", "203.0.113.1"), "`--host` must be an address of this machine"),
    "no file": (("nowhere.json",), "`explore(file)` must be a file that can be read, got nowhere.json"),
}


@pytest.mark.parametrize(("words", "message"), WRONG.values(), ids=WRONG.keys())
def test_wrong_use_of_the_command(words, message, capsys):
    assert main(["explore", "--no-browser", *words]) == 2
    assert message in capsys.readouterr().err


def test_a_file_that_is_no_result_is_told_before_anything_is_served(tmp_path, capsys):
    path = tmp_path / "x.json"
    path.write_text('{"format": "other"}')
    assert main(["explore", "--no-browser", str(path)]) == 2
    assert "must be a lr_finder.json or a schedule's spec" in capsys.readouterr().err


def test_ctrl_c_ends_it_and_the_browser_is_opened_only_if_wanted(monkeypatch, saved, tmp_path):
    (tmp_path / "lr_finder.json").write_text(saved)
    opened, told = [], []
    monkeypatch.setattr(inside.explore.webbrowser, "open", opened.append)
    monkeypatch.setattr(inside.explore, "_compile", lambda stopped: None)

    def interrupt(self, poll_interval):
        raise KeyboardInterrupt

    monkeypatch.setattr(Server, "serve_forever", interrupt)
    explore(tmp_path / "lr_finder.json", port=0, browser=False, say=told.append)
    assert opened == []
    explore(port=0, host="localhost", say=told.append)
    assert re.fullmatch(r"http://localhost:\d+/", opened[0])
    assert [words.split(" ")[0] for words in told] == ["The", "Stopping", "Stopped."] * 2
