"""A page in a real browser: what is on it once it is loaded, how wide, how readable, and what it complains of.

The page stands in a frame of a second page, whose script measures it; the page itself runs none.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_SECONDS = 120

_MEASURE = """
const rgb = text => text.match(/[\\d.]+/g).map(Number);
const light = colour => { const [r, g, b] = colour.map(v => v / 255)
  .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const contrast = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
const holds = (outer, inner) => inner.left >= outer.left - 1 && inner.right <= outer.right + 1
  && inner.top >= outer.top - 1 && inner.bottom <= outer.bottom + 1;
function ground(element, style) {
  const chart = element.closest("svg"), own = element.getBoundingClientRect();
  if (chart) {
    const [x, y] = [(own.left + own.right) / 2, (own.top + own.bottom) / 2];
    const under = [...chart.querySelectorAll("path, use")].filter(each => style(each).fill !== "none")
      .map(each => [each, each.getBoundingClientRect()])
      .filter(([, box]) => box.left <= x && x <= box.right && box.top <= y && y <= box.bottom);
    if (under.length) return rgb(style(under.at(-1)[0]).fill);
  }
  for (let at = element; at; at = at.parentElement) {
    const colour = rgb(style(at).backgroundColor);
    if (colour.length < 4 || colour[3] > 0) return colour.slice(0, 3);
  }
  return [255, 255, 255];
}
function measure(frame) {
  const page = frame.contentDocument, style = element => frame.contentWindow.getComputedStyle(element);
  for (const each of page.querySelectorAll("details")) each.open = true;
  const texts = [...page.body.querySelectorAll("*")].filter(element =>
    !element.closest("title, desc") && [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim()));
  const faint = [], cut = [];
  for (const element of texts) {
    const ink = rgb(element.closest("svg") ? style(element).fill : style(element).color);
    const found = contrast(ink, ground(element, style));
    if (found < 4.5) faint.push([element.textContent.slice(0, 40), found]);
    const chart = element.closest("svg");
    if (chart && !holds(chart.getBoundingClientRect(), element.getBoundingClientRect())) cut.push(element.textContent);
  }
  const charts = [...page.querySelectorAll("figure svg")].map(each => each.getBoundingClientRect());
  return {
    is_dark: frame.contentWindow.matchMedia("(prefers-color-scheme: dark)").matches,
    width: page.documentElement.scrollWidth,
    figures: [...page.querySelectorAll("figure")].map(each => each.id),
    drawn: charts.filter(box => box.width > 200 && box.height > 60).length,
    rows: page.querySelectorAll("table tr").length,
    texts: texts.length,
    faint, cut,
    scripts: page.querySelectorAll("script, img, iframe, object, embed").length,
  };
}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a browser saw.

    Attributes:
        measured: What the script above measured; empty where it did not come to that.
        console: What was written to the console.
    """

    measured: dict[str, Any]
    console: list[str]


def find_browser() -> str | None:
    """The program, or None where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def look(browser: str, page: Path, folder: Path, *, width: int, is_dark: bool, asked: str = "null") -> Look:
    """Open a page in a frame of a width.

    Args:
        browser: The program.
        page: The page.
        folder: Where the browser keeps its things.
        width: Of the frame, in CSS pixels.
        is_dark: Whether the browser prefers dark pages.
        asked: A JavaScript expression of ``frame``; what it comes to is measured as ``asked``.
    """
    outer = folder / "outer.html"
    frame = f'<iframe src="{page.resolve().as_uri()}" width="{width}" height="800" style="border:0"></iframe>'
    script = (
        f"<script>{_MEASURE}\nconst frame = document.querySelector('iframe'); window.addEventListener('load', () => {{"
        "document.querySelector('pre').textContent = JSON.stringify("
        f"{{asked: {asked}, ...measure(frame)}}); }});</script>"
    )
    outer.write_text(f'<!DOCTYPE html><meta charset="utf-8"><pre></pre>{frame}{script}', encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0", "--hide-scrollbars"]
    options += ["--allow-file-access-from-files", f"--user-data-dir={folder / 'profile'}", "--dump-dom"]
    options += [f"--blink-settings=preferredColorScheme={0 if is_dark else 1}"]
    done = subprocess.run(
        [browser, *options, outer.resolve().as_uri()], capture_output=True, text=True, check=True, timeout=_SECONDS
    )
    found = re.search(r"<pre>(.*?)</pre>", done.stdout, re.DOTALL)
    assert found, done.stderr
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return Look(measured=json.loads(html.unescape(found[1]) or "{}"), console=console)
