"""Charts drawn by matplotlib: as SVG that takes colours and font from the HTML around it, and as PNG files.

matplotlib comes with the extra ``report`` and is loaded when the first chart is drawn.
"""

from __future__ import annotations

import re
import textwrap
import warnings
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from io import BytesIO
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unicodedata import east_asian_width
from xml.etree import ElementTree as ET

from cascade.errors import MachineError
from cascade.files import unwritable, write_whole
from cascade.machine import install_extra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

# Source of the two tones: Okabe and Ito (2008), Color universal design; darker or lighter where text needs it.
COLOURS = {
    "ground": ("#f6f7f9", "#12161c"),  # behind everything
    "card": ("#ffffff", "#1a2029"),  # behind charts and tables
    "ink": ("#1a2230", "#e8ecf1"),  # text
    "soft": ("#55606f", "#a7b1be"),  # text that matters less
    "line": ("#d8dde4", "#36404d"),  # thin lines that carry no meaning
    "first": ("#0068a8", "#56b4e9"),
    "second": ("#bb4d00", "#f0a030"),
    "quiet": ("#7d8794", "#8a95a3"),
    "cell-0": ("#f1f6fb", "#1d2733"),  # cells of a grid, from the smallest share to the largest
    "cell-1": ("#d3e5f3", "#1f3a53"),
    "cell-2": ("#aed0ea", "#1f5279"),
    "cell-3": ("#7fb6de", "#2268a0"),
    "cell-4": ("#1f77b4", "#57b5ea"),
    "cell-5": ("#0b4f82", "#a6d8f5"),
    "on-deep": ("#fefefe", "#0b1420"),  # text on the last two of them
}
"""Name of the CSS variable -> colour in the light, in the dark. No two are alike, so that a colour tells its name."""

_LIGHT = {name: light for name, (light, _) in COLOURS.items()}
_NAMES = {light: name for name, light in _LIGHT.items()}
_N_CELLS, _FIRST_DEEP = 6, 4

WIDTH = 320
"""Points across a chart: about the CSS pixels that a phone has for it."""

_LEGEND_ROW = 17  # points of a row of the legend, and of a title
_MOST_IN_TITLE = 42  # characters of a line
_MOST_IN_ROW, _KEY = 55, 6  # characters of a row, and what the mark before a name takes of it
_DPI = 216  # of PNG files: three pixels a point
_LONGEST = 22  # characters of a name beside an axis
_FONT_SIZE = 11
_STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": _LIGHT["quiet"],
    "axes.facecolor": "none",
    "axes.formatter.useoffset": False,
    "axes.grid": True,
    "axes.labelcolor": _LIGHT["soft"],
    "axes.labelsize": _FONT_SIZE,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": _LIGHT["soft"],
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.titlesize": _FONT_SIZE,
    "errorbar.capsize": 0,
    "figure.constrained_layout.h_pad": 0.06,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.03,
    "figure.facecolor": "none",
    "font.family": "DejaVu Sans",  # matplotlib brings it along: equal bytes on every machine
    "font.size": _FONT_SIZE,
    "grid.color": _LIGHT["line"],
    "legend.borderpad": 0,
    "legend.columnspacing": 1.2,
    "legend.fontsize": _FONT_SIZE,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "legend.handletextpad": 0.5,
    "legend.labelcolor": _LIGHT["soft"],
    "lines.linewidth": 2,
    "lines.markeredgewidth": 2,
    "lines.markersize": 5,
    "svg.fonttype": "none",  # text stays text
    "text.color": _LIGHT["ink"],
    "text.parse_math": False,  # a name may hold dollar signs
    "xtick.color": _LIGHT["soft"],
    "xtick.major.pad": 6,
    "xtick.major.size": 0,
    "ytick.color": _LIGHT["soft"],
    "ytick.major.size": 0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Numbers in words; all rows are as long as the head.

    Attributes:
        head: Names of the columns; the first names the row.
        rows: Cells.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What can be drawn.

    Attributes:
        name: Of its file, and its id in the report: small letters, digits and hyphens, unique in the report.
        title: What it shows, in a few words.
        draw: Draws it on axes of matplotlib.
        height: In points, without the legend.
    """

    name: str
    title: str
    draw: Callable[[Axes], None]
    height: float = 220


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart(Picture):
    """A picture in the report.

    Attributes:
        caption: What there is to see, with the figures that matter.
        table: The same numbers, for those who do not see the picture.
    """

    caption: str
    table: Table


def check_libraries(*names: str) -> None:
    """Check that libraries of the extra ``report`` can be loaded; call it before work that takes long.

    Args:
        names: Of the modules, such as "matplotlib".

    Raises:
        MachineError: One is not installed; it says what installs it.
    """
    try:
        for name in names:
            import_module(name)
    except ModuleNotFoundError as error:
        msg = f"{error.name} is not installed. Run `{install_extra('report')}`."
        raise MachineError(msg) from error


def prepare(folder: Path) -> type[Figure]:
    """Make a folder for pictures and load matplotlib; call it before a long run.

    Returns:
        The class of figures.

    Raises:
        MachineError: matplotlib is not installed, or the folder cannot be made.
    """
    check_libraries("matplotlib")
    from matplotlib.figure import Figure  # noqa: PLC0415 - the extra `report` may be absent

    make_folder(folder)
    return Figure


def make_folder(folder: Path) -> None:
    """Make a folder for what is written, if absent.

    Raises:
        MachineError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error, "Name a folder that can be.") from error


def write_pngs(pictures: Sequence[Picture], folder: Path) -> list[Path]:
    """Write one PNG file a picture, in the report's light colours, into a folder, which is made if absent.

    Returns:
        The paths, in the order of the pictures.

    Raises:
        MachineError: matplotlib is not installed, or the folder cannot be written.
    """
    drawn = {folder / f"{picture.name}.png": png(picture) for picture in pictures}
    make_folder(folder)
    for path, content in drawn.items():
        write_whole(path, content)
    return list(drawn)


def png(picture: Picture) -> bytes:
    """A picture with its title, as a PNG file."""
    with _drawn(picture, textwrap.wrap(_plain(picture.title), _MOST_IN_TITLE)) as figure:
        file = BytesIO()
        # The version of matplotlib would change the bytes.
        figure.savefig(file, format="png", dpi=_DPI, facecolor=_LIGHT["card"], metadata={"Software": None})
    return file.getvalue()


def svg(chart: Chart) -> str:
    """A chart as an ``svg`` element with title and description, for HTML that defines the variables of ``COLOURS``."""
    with _drawn(chart) as figure:
        file = BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    return _inline(file.getvalue(), chart)


@contextmanager
def _drawn(picture: Picture, title: Sequence[str] = ()) -> Iterator[Figure]:
    """The figure of a picture, with a title of some lines, in the report's style whatever the user's settings are."""
    check_libraries("matplotlib")
    import matplotlib as mpl  # noqa: PLC0415 - the extra `report` may be absent
    from matplotlib.figure import Figure  # noqa: PLC0415 - as above

    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # names may be written in any script
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE | {"svg.hashsalt": picture.name})
        figure = Figure()
        axes = figure.subplots()
        picture.draw(axes)
        n_rows = len(title) + _add_head(figure, axes, "\n".join(title))
        figure.set_size_inches(WIDTH / 72, (picture.height + n_rows * _LEGEND_ROW) / 72)
        yield figure


def _add_head(figure: Figure, axes: Axes, title: str) -> int:
    """A title and a legend above the axes, in one row where names have the room; returns the rows of the legend."""
    _, names = axes.get_legend_handles_labels()
    font = {"size": _FONT_SIZE, "weight": "bold"}
    if not names:
        figure.suptitle(title, x=0.02, ha="left", fontproperties=font)
        return 0
    is_wide = sum(len(name) + _KEY for name in names) > _MOST_IN_ROW
    head = {
        "title": title or None,
        "title_fontproperties": font,
        "alignment": "left",
        "borderaxespad": 0.7 if title else 0.2,
    }
    legend = figure.legend(loc="outside upper left", ncols=1 if is_wide else len(names), **head)
    legend.get_title().set_color(_LIGHT["ink"])
    return len(names) if is_wide else 1


_SVG = "{http://www.w3.org/2000/svg}"


def _inline(file: bytes, chart: Chart) -> str:
    """An SVG file of matplotlib's as an element of HTML: colours are variables, and ids are the chart's alone."""
    root = ET.fromstring(file)  # noqa: S314 - matplotlib's own, which escapes all text
    for name in ("metadata", "defs"):
        for part in root.findall(_SVG + name):
            root.remove(part)
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
        element.attrib = {key.rpartition("}")[2]: " ".join(value.split()) for key, value in element.items()}
        if element.tag == "g":
            element.attrib.pop("id", None)
        if "style" in element.attrib:
            element.attrib["style"] = _style(element.attrib["style"])
        element.text, element.tail = (text if (text or "").strip() else None for text in (element.text, element.tail))
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img"}
    root.set("aria-labelledby", f"{chart.name}-title {chart.name}-desc")
    for at, (name, text) in enumerate((("title", chart.title), ("desc", chart.caption))):
        root.insert(at, ET.Element(name, {"id": f"{chart.name}-{name}"}))
        root[at].text = _plain(text)
    return ET.tostring(root, encoding="unicode")


def _style(css: str) -> str:
    """A style with the report's colours, and without a font, so that it has the report's."""
    kept = "; ".join(part for part in css.split("; ") if not part.startswith("font-family"))
    return re.sub("#[0-9a-f]{6}", lambda found: f"var(--{_NAMES[found[0]]})", kept)


def colour(name: str) -> str:
    """A colour of the report by its name, for matplotlib."""
    return _LIGHT[name]


def cell_colours(share: float) -> tuple[str, str]:
    """Of a cell with a share in [0, 1], the deeper the larger, and of the text on it."""
    step = min(_N_CELLS - 1, int(share * _N_CELLS))
    return _LIGHT[f"cell-{step}"], _LIGHT["on-deep" if step >= _FIRST_DEEP else "ink"]


def scale(axis: Axis, *, is_share: bool = False) -> None:
    """Give an axis about five ticks, in per cent where it shows shares."""
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415 - the extra `report` may be absent

    axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(lambda value, _: f"{100 * value:.4g}%" if is_share else f"{value:.6g}")


def name_ticks(axis: Axis, names: Sequence[str]) -> None:
    """Give an axis names, the first at 0, and no grid; long names are cut."""
    axis.set_ticks(range(len(names)), [_cut(_plain(name)) for name in names])
    axis.grid(visible=False)


def _cut(name: str) -> str:
    """A name that has no more room than ``_LONGEST`` Latin characters; those of East Asia take that of two."""
    ends = list(accumulate(2 if east_asian_width(sign) in "WF" else 1 for sign in name))
    return name if not ends or ends[-1] <= _LONGEST else f"{name[: bisect_left(ends, _LONGEST)]}…"


def _plain(text: str) -> str:
    """A text without characters that cannot be printed, which XML forbids."""
    return "".join(sign for sign in text if sign.isprintable())
