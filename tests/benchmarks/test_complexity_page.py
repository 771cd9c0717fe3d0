"""What a run of the complexity study leaves: files that are whole, a page that loads nothing, the README's times."""

from __future__ import annotations

import base64
import csv
import html
import html.parser
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from tiny_complexity import run

BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from python_benchmarks.complexity import __main__ as command

    target = tmp_path_factory.mktemp("complexity")
    assert run(command, target) == 0
    return target


def test_the_folder_is_whole(folder):
    content = json.loads((folder / "complexity.json").read_text())
    assert content["complete"]
    assert content["machine"]["cpu"]
    assert content["machine"]["versions"]["torch"]
    assert "commit" in content
    assert content["command"].startswith("python -m python_benchmarks.complexity --quick --section wbm")
    assert str(folder) not in (folder / "index.html").read_text() + json.dumps(content)
    assert not (folder / "cells.jsonl").exists()
    records = content["records"]
    assert not [key for key, record in records.items() if "error" in record or "wrong" in record]
    cells = {key: record for key, record in records.items() if key.startswith(("wbm|", "goal|", "escfr|"))}
    assert len(cells) == 2 * 2 * 3 + 4 + 5
    for record in cells.values():
        assert len(record["seconds"]["samples"]) == len(record["iterations"]) == 2
        assert record["residual"] <= record.get("tau", 1e-6) * (1 + 1e-6)
        assert record["bytes"] == 8 * record["n"] * record["m"] * np.mean(record["iterations"])
    with (folder / "cells.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len([key for key in records if not key.startswith("machine|")])
    assert all(float(line["median"]) > 0 for line in lines if line["section"] != "limits")


class Page(html.parser.HTMLParser):
    """Tags that are open, images, everything that a browser would load."""

    VOID = ("meta", "link", "img", "br")

    def __init__(self):
        super().__init__()
        self.open, self.images, self.loaded, self.text = [], [], [], []

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        self.loaded += [named[key] for key in ("src", "href", "data", "srcset") if key in named]
        if tag == "img":
            self.images.append(named)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_is_well_formed_and_loads_nothing(folder):
    source = (folder / "index.html").read_text()
    page = Page()
    page.feed(source)
    assert page.open == []
    assert all(address.startswith("data:") for address in page.loaded)
    assert "<script" not in source
    assert "@import" not in source
    assert "url(" not in source
    assert 'name="viewport"' in source
    assert len(page.images) == 7
    for image in page.images:
        svg = base64.b64decode(image["src"].removeprefix("data:image/svg+xml;base64,")).decode()
        assert "<svg" in svg
        assert not re.search(r'(?:href|src)="(?!#)', svg), "a plot that loads something"
        assert (folder / "plots" / f"{image['alt']}.png").stat().st_size > 5000
    text = " ".join(page.text)
    for words in ("Intel Xeon Platinum 8383C", "Left out", "Growth", "A quick run", "26.6 ± 10.2 ms"):
        assert words in text


MEASURE = """<script>addEventListener("load", () => {
  const images = [...document.images].map(image => image.naturalWidth > 0 && image.getBoundingClientRect().width > 300);
  const texts = [...document.querySelectorAll("p, li, td, th, pre")].map(text => parseFloat(getComputedStyle(text).fontSize));
  parent.document.documentElement.setAttribute("data-seen", [innerWidth, document.documentElement.scrollWidth <= innerWidth,
    images.length, images.every(Boolean), Math.min(...texts) >= 11].join(" "));
});</script>"""


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_in_a_browser(folder, tmp_path, width):
    """Every plot is drawn at a readable width, no text is tiny, nothing runs out at the side, the console stays empty.

    In a frame: the window of a headless browser is never narrower than 500 pixels.
    """
    source = (folder / "index.html").read_text().replace("</body>", f"{MEASURE}</body>")
    page = tmp_path / "page.html"
    page.write_text(f'<iframe width="{width}" height="2000" frameborder="0" srcdoc="{html.escape(source)}"></iframe>')
    line = [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr"]
    line += ["--window-size=1400,2100", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in done.stderr
    assert re.search('data-seen="([^"]*)"', done.stdout)[1] == f"{width} true 7 true true"


def test_the_times_in_the_readme_are_those_of_a_kept_run(folder, tmp_path, monkeypatch):
    from python_benchmarks import readme

    text = readme.README.read_text()
    assert "<!-- begin performance -->" in text
    assert readme.block(text, readme.performance(), "performance") == text
    (tmp_path / "results").mkdir()
    monkeypatch.setattr(readme, "HERE", tmp_path)
    assert readme.performance() == ""
    with pytest.raises(ValueError, match="only a whole run is kept, and this one is a quick one"):
        readme.take(folder / "complexity.json")

    content = json.loads((folder / "complexity.json").read_text())
    content |= {"quick": False, "complete": False}
    content["setting"]["sections"].append("peers")
    (tmp_path / "index.html").write_text("page")
    (tmp_path / "cells.csv").write_text("cells")
    source = tmp_path / "complexity.json"
    source.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="was interrupted"):
        readme.take(source)
    source.write_text(json.dumps(content | {"complete": True}))
    kept = readme.take(source)
    assert sorted(path.name for path in kept.iterdir()) == ["cells.csv", "complexity.json", "index.html"]
    goal = content["records"]["goal|cpu, 12 x 10, k=4, eps=0.05, tau=1e-09|value + gradient"]
    table = readme.performance().splitlines()
    line = next(line for line in table if line.startswith("| 12 x 10, ε = 0.05 mean(D) |"))
    assert f"| {np.mean(goal['iterations']):.3g} | {goal['residual']:.2g} |" in line
    assert f"/results/{kept.name}/index.html)" in table[0]
