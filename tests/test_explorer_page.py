"""The explorer's page in a headless Chromium: every control, both widths, both colour schemes, the keyboard.

`make test-explorer` runs it; elsewhere it is skipped where there is no Chromium or no Playwright. Every test also fails
on anything in the browser's console and on any request that leaves this machine.
"""

import contextlib
import functools
import http.client
import json
import re
import shutil
import signal
import threading
from urllib.parse import urlsplit

import inside
import numpy as np
import pytest
from found import found
from inside import Server, make_routes
from processes import start_lrjax

import lrjax

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium: see `make test-explorer`"),
]
api = pytest.importorskip("playwright.sync_api", reason="there is no playwright: see `make test-explorer`")

PATIENCE = 120_000
"""Milliseconds: the first question compiles."""


@pytest.fixture(scope="module")
def url():
    with Server("127.0.0.1", 0, make_routes()) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.url
        server.shutdown()


@pytest.fixture(scope="module")
def browser():
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Watch:
    """Pages that must say nothing in the console and ask nothing of elsewhere."""

    def __init__(self, browser, url):
        self.browser, self.url, self.said, self.asked = browser, url, [], []

    def open(self, width=1280, height=900, scheme="light"):
        context = self.browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        context.set_default_timeout(PATIENCE)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        page = context.new_page()
        page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        page.on("dialog", lambda dialog: self.said.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: self.asked.append(request.url))
        page.goto(self.url)
        settle(page)
        return page

    def check(self):
        assert self.said == []
        assert {urlsplit(one).netloc for one in self.asked} <= {urlsplit(self.url).netloc}


@pytest.fixture
def open_page(browser, url):
    """Open a page of its own."""
    watch, pages = Watch(browser, url), []

    def open_page(**options):
        pages.append(watch.open(**options))
        return pages[-1]

    yield open_page
    for page in pages:
        page.context.close()
    watch.check()
    assert watch.asked


@pytest.fixture(scope="module")
def shared(browser, url):
    watch = Watch(browser, url)
    return watch, watch.open()


@pytest.fixture
def page(shared):
    """The page that most tests share, as it opens."""
    watch, page = shared
    page.get_by_role("button", name="Start over").click()
    settle(page)
    yield page
    watch.check()


def settle(page):
    """Wait until the last question is answered and drawn."""
    page.wait_for_selector("html[data-state=idle]", state="attached")


def drawn(page, name):
    return page.locator(f"#{name}").inner_html()


def code(page, index=0):
    return page.locator("#cards details code").nth(index).text_content()


def choose(page, name, index=0):
    """Choose a schedule in one of the cards."""
    page.get_by_label(f"Schedule {index + 1}", exact=True).select_option(name)
    settle(page)


def row(page, index):
    return page.locator("#numbers tbody tr").nth(index).inner_text()


def test_it_opens_with_three_schedules_their_paths_and_numbers(page):
    assert page.locator("#cards article").count() == 3
    assert page.locator("#lr-chart path.series").count() == 3
    assert page.locator("#paths path.series").count() == 3
    assert page.locator("#loss-chart path.band").count() == 3
    assert "unstable at the minimum above 0.1" in page.locator("#lr-chart").text_content()
    assert page.locator("#trouble").is_hidden()
    assert [row(page, index).split("\t")[0].strip() for index in range(3)] == ["constant", "warmup cosine", "one cycle"]


@pytest.mark.parametrize(
    ("label", "pictures"),
    [
        ("steps", ("lr-chart", "loss-chart", "paths")),
        ("noise", ("loss-chart", "paths")),
        ("seeds", ("loss-chart",)),
        ("start x", ("loss-chart", "paths")),
        ("start y", ("loss-chart", "paths")),
    ],
)
def test_each_slider_of_the_training_redraws_what_depends_on_it(page, label, pictures):
    before = {name: drawn(page, name) for name in pictures}
    slider = page.locator("#common").get_by_label(label, exact=True)
    number = page.get_by_label(f"{label}, as a number", exact=True)
    old = number.input_value()
    slider.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    settle(page)
    assert number.input_value() != old
    for name in pictures:
        assert drawn(page, name) != before[name], name


def test_surface_and_optimizer_are_chosen_and_momentum_shows_where_it_is_used(page):
    momentum = page.locator("#common").get_by_label("momentum", exact=True)
    assert momentum.is_hidden()
    before = drawn(page, "paths")
    page.get_by_label("surface", exact=True).select_option("himmelblau")
    settle(page)
    assert page.locator("#surface-title").inner_text() == "Himmelblau"
    assert drawn(page, "paths") != before
    page.get_by_label("optimizer", exact=True).select_option("momentum")
    settle(page)
    assert momentum.is_visible()
    before = drawn(page, "loss-chart")
    momentum.focus()
    page.keyboard.press("PageDown")
    settle(page)
    assert drawn(page, "loss-chart") != before


@pytest.mark.parametrize(
    "name",
    ["one_cycle", "warmup", "join", "clip", "piecewise_constant", "exponential_decay", "cosine_restarts"],
)
def test_every_control_of_a_schedule_changes_its_line_of_python(page, name):
    choose(page, name)
    card = page.locator("#cards article").first
    assert code(page).startswith(f"lrjax.schedules.{name}(")
    for box in card.locator("input[type=checkbox]").all():
        changes(page, box.click)
    for slider in card.locator("input[type=range]").all():
        slider.focus()
        at_the_top = slider.evaluate("each => each.value === each.max")
        changes(page, functools.partial(page.keyboard.press, "ArrowLeft" if at_the_top else "ArrowRight"), error=card)
    for select in card.locator("> div:not(.head) .control select").all():
        words = select.evaluate("each => [...each.options].map(one => one.value)")
        if len(words) < 5:  # not the long list of schedules
            changes(page, functools.partial(select.select_option, words[-1]))


def changes(page, act, error=None):
    """Do it, and see another line of Python, or a message."""
    before = code(page)
    act()
    settle(page)
    assert code(page) != before or (error is not None and error.locator("[role=alert]").is_visible())


def test_the_schedule_inside_another_can_be_exchanged(page):
    choose(page, "warmup")
    page.locator("#cards article").first.get_by_label("schedule", exact=True).select_option("step_decay")
    settle(page)
    assert "schedule=lrjax.schedules.step_decay(" in code(page)


def test_a_schedule_has_its_own_momentum_and_shows_it(page):
    choose(page, "one_cycle")
    assert page.locator("#momentum-figure").is_hidden()
    page.locator("#cards article").first.get_by_label("momentum", exact=True).select_option("one_cycle_momentum")
    settle(page)
    assert page.locator("#momentum-chart path.series").count() == 1
    assert code(page).startswith("lrjax.schedules.scheduled(optax.sgd, learning_rate=lrjax.schedules.one_cycle(")


def test_schedules_are_added_and_removed(page):
    page.get_by_role("button", name="Add a schedule").click()
    settle(page)
    assert page.locator("#lr-chart path.series").count() == 4
    for _ in range(3):
        page.get_by_role("button", name="Remove schedule 1").click()
        settle(page)
    assert page.locator("#lr-chart path.series").count() == 1
    assert page.get_by_role("button", name="Remove schedule 1").is_disabled()


def test_divergence_is_shown_in_the_numbers_and_in_the_picture(page):
    field = page.get_by_label("value, as a number", exact=True)
    field.fill("0.5")
    settle(page)
    assert "diverged" in row(page, 0)
    assert re.search(r"16 of 16, first at step \d+", row(page, 0))
    assert page.locator("#loss-chart path.cross").count() == 1
    field.fill("0.01")
    settle(page)
    assert "none" in row(page, 0)
    assert page.locator("#loss-chart path.cross").count() == 0


def test_what_cannot_be_made_is_told_in_its_card_and_the_others_go_on(page):
    page.get_by_label("warmup steps, as a number", exact=True).fill("300")
    settle(page)
    alert = page.locator("#cards article").nth(1).locator("[role=alert]")
    assert "must be below total_steps=200" in alert.inner_text()
    assert "cannot be made" in row(page, 1)
    assert page.locator("#lr-chart path.series").count() == 2
    page.get_by_label("warmup steps, as a number", exact=True).fill("30")
    settle(page)
    assert alert.is_hidden()


def test_what_is_no_number_changes_nothing(page):
    field = page.get_by_label("noise, as a number", exact=True)
    before = drawn(page, "loss-chart")
    for words in ("", "abc", "1e", "NaN", "Infinity"):
        field.fill(words)
        assert "wrong" in field.get_attribute("class")
    assert drawn(page, "loss-chart") == before
    field.fill("-1")
    settle(page)
    assert "`noise` must be a number from 0 to 1000, got -1." in page.locator("#trouble").inner_text()
    field.fill("2")
    settle(page)
    assert page.locator("#trouble").is_hidden()


def test_a_longer_training_stretches_the_schedules(page):
    page.get_by_label("steps, as a number", exact=True).fill("400")
    settle(page)
    assert "warmup_steps=40, total_steps=400" in code(page, 1)
    page.get_by_label("steps, as a number", exact=True).fill("200")
    settle(page)
    assert "warmup_steps=20, total_steps=200" in code(page, 1)


def test_the_step_is_looked_at_and_played(page):
    scrub = page.get_by_label("Step", exact=True)
    scrub.focus()
    page.keyboard.press("Home")
    assert page.locator("#lr-at").inner_text() == "lr at 0"
    assert row(page, 1).split("\t")[1] == "0.009"
    assert page.locator("#loss-chart line.cursor").count() == 1
    page.keyboard.press("End")
    assert page.locator("#lr-at").inner_text() == "lr at 200"
    page.get_by_role("button", name="Play").click()
    page.get_by_role("button", name="Stop").click()
    assert page.get_by_role("button", name="Play").is_visible()
    assert page.locator("#lr-at").inner_text() != "lr at 200"


def test_pressing_on_the_surface_moves_the_start(page):
    before = page.get_by_label("start x, as a number", exact=True).input_value()
    page.locator("#surface").click(position={"x": 200, "y": 40})
    settle(page)
    assert page.get_by_label("start x, as a number", exact=True).input_value() != before
    assert float(page.get_by_label("start y, as a number", exact=True).input_value()) > 1


def test_axes_can_be_logarithmic(page):
    for name in ("lr", "loss"):
        before = drawn(page, f"{name}-chart")
        page.locator(f"#{name}-log").click()
        assert drawn(page, f"{name}-chart") != before


def test_each_example_tells_its_sentence_and_is_reached_by_keyboard(page):
    buttons = page.locator("#presets button:not(:last-child)")
    sentences = set()
    for index in range(buttons.count()):
        buttons.nth(index).focus()
        page.keyboard.press("Enter")
        settle(page)
        assert buttons.nth(index).get_attribute("aria-pressed") == "true"
        assert page.locator("#presets [aria-pressed=true]").count() == 1
        sentences.add(page.locator("#lesson").inner_text())
    assert len(sentences) == buttons.count() >= 5
    assert all(sentence.count(".") == 1 for sentence in sentences)


def test_python_and_json_are_copied(page):
    page.locator("#cards summary").first.click()
    page.get_by_role("button", name="Copy Python").first.click()
    page.get_by_text("Copied.").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == "lrjax.schedules.constant(value=0.09)"
    page.get_by_role("button", name="Copy JSON").first.click()
    page.wait_for_timeout(50)
    spec = json.loads(page.evaluate("navigator.clipboard.readText()"))
    assert spec == lrjax.schedules.to_spec(lrjax.schedules.constant(0.09))
    assert "peak 0.09 at step 0" in page.locator("#cards pre").first.inner_text()


# The finder.


def write(path, horizons=(20,)):
    """A saved result whose curve has these horizons, each lower than the one before."""
    found().to_json(path)
    document = json.loads(path.read_text())
    curve = document["stages"][0]["curve"]
    last = curve["losses"]["data"][0]
    scale = [(index + 1) / len(horizons) for index in range(len(horizons))]
    losses = np.asarray([[[1 - s * (1 - y) for y in seed] for seed in last] for s in scale], np.float32)
    curve["losses"]["data"] = losses.tolist()
    curve["horizons"]["data"] = list(horizons)
    path.write_text(json.dumps(document))
    return path


@pytest.fixture
def with_result(page, tmp_path):
    page.locator("#file").set_input_files(write(tmp_path / "lr_finder.json", (5, 10, 20)))
    page.locator("#curve-title").get_by_text("lr_finder.json: validation loss after 20 updates").wait_for()
    settle(page)
    return page


def test_a_saved_result_is_read_at_every_horizon_by_every_rule(with_result):
    page = with_result
    assert page.locator("#curve-title").inner_text() == "lr_finder.json: validation loss after 20 updates"
    rules = page.locator("#picks tbody th").all_inner_texts()
    assert [rule.strip() for rule in rules] == [
        "midpoint", "half loss", "steepest", "lowest loss", "lowest for", "share"
    ]  # fmt: skip
    before = drawn(page, "curve-chart")
    page.get_by_label("horizon", exact=True).focus()
    page.keyboard.press("Home")
    settle(page)
    assert page.locator("#curve-title").inner_text().endswith("after 5 updates")
    assert drawn(page, "curve-chart") != before
    share = page.locator("#picks tbody tr").nth(5)
    told = share.inner_text()
    page.locator("#reading-controls").get_by_label("share", exact=True).focus()
    page.keyboard.press("Home")
    settle(page)
    assert share.inner_text() != told
    assert "5 % of the reduction" in share.inner_text()


def test_rules_are_drawn_and_used(with_result):
    page = with_result
    lines = page.locator("#curve-chart line.pick")
    count = lines.count()
    page.locator("#picks input[type=checkbox]").nth(2).click()
    assert lines.count() == count + 1
    page.get_by_label("Use steepest").click()
    assert "from steepest" in page.locator("#plan-note").inner_text()
    assert page.locator("#curve-chart line.used").count() == 1


@pytest.mark.parametrize(
    ("button", "name"),
    [("1cycle", "one_cycle"), ("Cyclical", "triangular"), ("Warmup and cosine", "warmup_cosine")],
)
def test_one_click_makes_a_schedule_of_the_window(with_result, button, name):
    page = with_result
    page.get_by_role("button", name=button, exact=True).click()
    page.get_by_text("Added to the schedules.").wait_for()
    settle(page)
    assert page.locator("#cards article").count() == 4
    assert code(page, 3).startswith(f"lrjax.schedules.{name}(")
    assert page.locator("#lr-chart path.series").count() == 4
    assert page.locator("#lr-chart rect.span").count() == 1
    assert page.locator("#lr-chart").get_by_text("window of the curve below").is_visible()


EVIL = "<img src=x onerror=alert(1)>"

FILES = {
    "empty": ("", "This is no JSON"),
    "Python": ("__import__('os').system('true')", "This is no JSON"),
    "another format": (json.dumps({"format": EVIL}), f"got '{EVIL}'"),
    "no schedule": (json.dumps({"name": EVIL}), f"`{EVIL}` is not a schedule"),
}


def test_a_wrong_or_hostile_file_is_told_as_text(open_page, tmp_path):
    page = open_page()
    for text, message in FILES.values():
        (tmp_path / "x.json").write_text(text)
        page.locator("#file").set_input_files(tmp_path / "x.json")
        page.locator("#status").get_by_text(message).wait_for()
        assert page.locator("#finder img").count() == 0
        assert page.locator("#curve-figure").is_hidden()


def test_a_hostile_name_of_a_file_is_text(page, tmp_path):
    path = write(tmp_path / "good.json")
    page.locator("#file").set_input_files([{"name": f"{EVIL}.json", "mimeType": "", "buffer": path.read_bytes()}])
    page.locator("#curve-title").get_by_text(EVIL).wait_for()
    assert EVIL in page.locator("#curve-title").inner_text()
    assert page.locator("#finder img").count() == 0


def test_a_spec_in_a_file_joins_the_schedules(page, tmp_path):
    spec = lrjax.schedules.to_spec(lrjax.schedules.tanh_decay(0.05, 100))
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    page.locator("#file").set_input_files(tmp_path / "spec.json")
    page.get_by_text("This is a schedule").wait_for()
    settle(page)
    assert code(page, 3).startswith("lrjax.schedules.tanh_decay(")


def test_the_digits_are_searched_and_the_peers_compared(page, monkeypatch):
    quick = functools.partial(inside.explore.search_digits, num_steps=5, num_seeds=1)
    monkeypatch.setattr(inside.explore, "_digits", quick)
    page.get_by_role("button", name="Search the handwritten digits").click()
    page.locator("#curve-title").get_by_text("handwritten digits, adam: validation loss after 5 updates").wait_for()
    assert page.locator("#peers tbody tr").count() == 9
    lines = page.locator("#test-chart line.pick")
    count = lines.count()
    page.get_by_label("Draw ignite").click()
    assert lines.count() == count + 1


# How it looks, and the keyboard.


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_sticks_out_and_colours_follow_the_system(open_page, width, scheme, tmp_path):
    page = open_page(width=width, height=860, scheme=scheme)
    page.locator("#file").set_input_files(write(tmp_path / "lr_finder.json", (5, 20)))
    page.locator("#picks tbody tr").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    wide = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, figure, fieldset, article")]
        .filter((each) => each.checkVisibility() && !each.closest(".scroll"))
        .map((each) => [each.outerHTML.slice(0, 60), each.getBoundingClientRect()])
        .filter(([, box]) => box.left < 0 || box.right > innerWidth).map(([words]) => words)"""
    )
    assert wide == []
    assert page.locator("html").get_attribute("data-theme") == scheme
    bright = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0] > 128"
    assert page.evaluate(bright) == (scheme == "light")
    page.locator("#theme").click()
    assert page.evaluate(bright) == (scheme == "dark")


def test_the_picture_stays_in_sight_on_a_phone(open_page):
    page = open_page(width=400, height=860)
    page.get_by_role("button", name="Add a schedule").scroll_into_view_if_needed()
    assert page.locator("#lr-chart").bounding_box()["y"] < 120


@pytest.mark.parametrize("name", ["light", "dark"])
def test_words_and_lines_can_be_told_from_their_ground(open_page, name):
    page = open_page(scheme=name)
    ratios = page.evaluate(
        """() => {
        const style = getComputedStyle(document.documentElement);
        const light = (key) => [1, 3, 5].map((at) => parseInt(style.getPropertyValue(key).trim().slice(at, at + 2), 16))
          .map((part) => part / 255).map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
          .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
        const ratio = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
        const words = ["--ink", "--soft", "--accent", "--bad"]
          .flatMap((key) => [ratio(key, "--card"), ratio(key, "--paper")]);
        const lines = [0, 1, 2, 3, 4, 5].map((key) => `--s${key}`)
          .flatMap((key) => [ratio(key, "--card"), ratio(key, "--valley")]);
        return { words: Math.min(...words, ratio("--on-accent", "--accent")), lines: Math.min(...lines) };
        }"""
    )
    assert ratios["words"] >= 4.5  # what the accessibility guidelines ask of small text
    assert ratios["lines"] >= 2.5


def test_every_control_has_a_name_and_shows_its_focus(page):
    for name in ("join", "warmup", "one_cycle"):
        choose(page, name)
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("input, select, button")]
        .filter((each) => !(each.labels?.length || each.ariaLabel || each.textContent.trim()))
        .map((each) => each.outerHTML)"""
    )
    assert nameless == []
    page.locator("#theme").focus()
    seen = []
    for _ in range(25):
        page.keyboard.press("Tab")
        seen.append(
            page.evaluate("[document.activeElement.tagName, getComputedStyle(document.activeElement).outlineStyle]")
        )
    assert {outline for _, outline in seen} == {"solid"}
    assert {"BUTTON", "INPUT", "SELECT"} <= {tag for tag, _ in seen}


def test_the_focus_stays_while_things_are_redrawn(page):
    slider = page.locator("#cards").get_by_label("value", exact=True)
    slider.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    settle(page)
    assert slider.evaluate("each => each === document.activeElement")


def test_ctrl_c_ends_the_command_cleanly(tmp_path):
    with start_lrjax("explore", "--no-browser", "--port", "0", cwd=tmp_path) as running:
        try:
            first = running.stdout.readline()
            address = re.search(r"http://127\.0\.0\.1:(\d+)/", first)
            assert address, first
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", int(address[1]), timeout=60)) as connection:
                connection.request("GET", "/")
                assert b"lrjax explorer" in connection.getresponse().read()
            running.send_signal(signal.SIGINT)
            out, err = running.communicate(timeout=120)
        finally:
            running.kill()
    assert (running.returncode, out, err) == (0, "Stopping after what is being computed.\nStopped.\n", "")
