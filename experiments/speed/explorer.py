"""How long does the explorer's page take to follow a slider?

    make .venv-explorer/.done
    .venv-explorer/bin/python experiments/speed/explorer.py        # about a minute, with an idle machine

Serves the page, moves sliders in a headless Chromium with the arrow keys, one move after the other, and reads what the
page measured itself: from the move to the frame that shows it, and of that the question to the server. Writes
experiments/results/explorer_latency.json and docs/images/explorer_latency.png. It says how busy the machine was.

Expected: medians below 100 ms.
"""

import argparse
import json
import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe_machine, today
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from playwright.sync_api import Page, sync_playwright

import lrjax
from lrjax.explorer._explore import make_routes
from lrjax.explorer._server import Server

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "experiments/results/explorer_latency.json"
PICTURE = ROOT / "docs/images/explorer_latency.png"

LIMIT = 100.0
"""Milliseconds that feel like at once."""

SLIDERS = {
    "peak of a schedule": ("#cards", "peak value"),
    "warmup": ("#cards", "warmup steps"),
    "noise": ("#common", "noise"),
    "start": ("#common", "start x"),
    "length of the training": ("#common", "steps"),
}
"""Where the slider is, and its label."""


def measure(page: Page, place: str, label: str, moves: int) -> dict[str, Any]:
    """Milliseconds of every move of one slider, the first ones left out."""
    slider = page.locator(place).get_by_label(label, exact=True).first
    slider.focus()
    for move in range(moves + 3):
        if move == 3:
            page.evaluate("performance.clearMeasures(); performance.clearResourceTimings()")
        page.keyboard.press("ArrowRight" if move % 20 < 10 else "ArrowLeft")
        page.wait_for_selector("html[data-state=idle]", state="attached")
        page.wait_for_timeout(30)
    whole = page.evaluate("performance.getEntriesByName('change').map((one) => one.duration)")
    asked = page.evaluate("performance.getEntriesByType('resource').map((one) => one.duration)")
    return {
        "moves": len(whole),
        "median_ms": float(np.median(whole)),
        "p95_ms": float(np.quantile(whole, 0.95)),
        "question_median_ms": float(np.median(asked)),
        "milliseconds": [round(one, 1) for one in whole],
    }


def run(moves: int) -> dict[str, Any]:
    """All sliders on the page as it opens, and one with as much on the page as there can be."""
    cells = {}
    with Server("127.0.0.1", 0, make_routes()) as server, sync_playwright() as playwright:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(300_000)
        page.goto(server.url)
        page.wait_for_selector("html[data-state=idle]", state="attached")
        for name, (place, label) in SLIDERS.items():
            cells[name] = measure(page, place, label, moves)
        for _ in range(3):
            page.get_by_role("button", name="Add a schedule").click()
        page.get_by_label("steps, as a number", exact=True).fill("2000")
        page.wait_for_selector("html[data-state=idle]", state="attached")
        cells["peak, 6 schedules, 2,000 steps"] = measure(page, *SLIDERS["peak of a schedule"], moves)
        browser.close()
        server.shutdown()
    return cells


def draw(document: dict[str, Any]) -> None:
    """Medians as bars, 95th percentiles as ticks."""
    cells = document["cells"]
    figure = Figure(figsize=(6.4, 2.5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    ax = figure.add_subplot()
    rows = np.arange(len(cells))[::-1]
    ax.barh(rows, [one["median_ms"] for one in cells.values()], height=0.55, color="#12395b", label="median")
    ax.barh(
        rows,
        [one["question_median_ms"] for one in cells.values()],
        height=0.55,
        color="#7ea6c8",
        label="of it, the server",
    )
    tails = [one["p95_ms"] for one in cells.values()]
    ax.plot(tails, rows, "|", color="#c1440e", markersize=13, markeredgewidth=2, label="95 % of the moves")
    ax.axvline(LIMIT, color="#6b6b6b", linestyle=":", linewidth=1)
    ax.set_yticks(rows, list(cells))
    ax.set(xlabel="milliseconds from the move of a slider to its picture", xlim=(0, None))
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=8)
    ax.legend(fontsize=7.5, frameon=False)
    figure.savefig(PICTURE)


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description="How long does the explorer's page take to follow a slider?")
    parser.add_argument("--moves", type=int, default=60)
    moves = parser.parse_args().moves
    before, start = os.getloadavg()[0], time.perf_counter()
    cells = run(moves)
    document = {
        "machine": describe_machine(),
        "date": today(),
        "lrjax": lrjax.__version__,
        "load_average": [before, os.getloadavg()[0]],
        "seconds": time.perf_counter() - start,
        "cells": cells,
    }
    RESULT.write_text(json.dumps(document, indent=1) + "\n")
    draw(document)
    print("| slider | median, ms | 95 %, ms | the server's part, ms |\n|---|---|---|---|")
    for name, one in cells.items():
        print(f"| {name} | {one['median_ms']:.0f} | {one['p95_ms']:.0f} | {one['question_median_ms']:.0f} |")
    print(f"\nLoad average {before:.1f} before, {os.getloadavg()[0]:.1f} after.")


if __name__ == "__main__":
    main()
