"""An SVG chart of bars, legible on a light and on a dark page.

Figures are those of `scripts/bench --json`: {what: {"unit": ..., "median": {name: value}, "ratio": {name: ours / other}}}. What
has no other server beside it is not drawn. `"less is better": true` turns the ratio around in what is said.
"""
from html import escape

WIDTH, LABEL, ROW, TITLE, GAP, COLUMN = 900, 76, 19, 22, 14, 40
STYLE = """
text { font: 12px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2328 }
.title { font-size: 13px; font-weight: 600 }
.unit, .other { fill: #57606a }
.ratio { fill: #0969da; font-weight: 600 }
.a { fill: #0969da }
.b { fill: #afb8c1 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .unit, .other { fill: #9198a1 }
  .ratio { fill: #4493f8 }
  .a { fill: #4493f8 }
  .b { fill: #545d68 }
}
"""


def number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def times(figure, name):
    """How many times better ours is than the other, in words; empty where it is not."""
    median = figure["median"]
    ratio = figure.get("ratio", {}).get(name) or median["mailbell"] / median[name]
    less = figure.get("less is better", False)
    factor = 1 / ratio if less else ratio
    if factor < 1.05:
        return ""
    return f"{factor:.1f} times less" if less else f"{factor:.1f} times faster"


def group(what, figure, x, width):
    """The parts of one group from its own top, and its height."""
    median = figure["median"]
    names = ["mailbell"] + [name for name in median if name != "mailbell"]
    most = max(median.values()) or 1
    room = width - LABEL - 175
    out = [f'<text class="title" x="{x}" y="14">{escape(what)}<tspan class="unit" font-weight="400" dx="6">{escape(figure["unit"])}'
           f"</tspan></text>"]
    y = TITLE
    for name in names:
        length = max(2, room * median[name] / most)
        ours = name == "mailbell"
        said = "" if ours else times(figure, name)
        out.append(f'<text class="{"" if ours else "other"}" x="{x + LABEL - 8}" y="{y + 13}" text-anchor="end">{escape(name)}</text>'
                   f'<rect class="{"a" if ours else "b"}" x="{x + LABEL}" y="{y + 2}" width="{length:.1f}" height="{ROW - 5}" rx="2"/>'
                   f'<text x="{x + LABEL + length + 7:.1f}" y="{y + 13}">{number(median[name])}'
                   + (f'<tspan class="ratio" dx="8">{said}</tspan>' if said else "") + "</text>")
        y += ROW
    return out, y + GAP


def svg(figures):
    shown = [(what, figure) for what, figure in figures.items() if "mailbell" in figure["median"] and len(figure["median"]) > 1]
    width = (WIDTH - COLUMN) / 2
    half = (len(shown) + 1) // 2
    columns = [(0, shown[:half]), (width + COLUMN, shown[half:])]
    rows, height = [], 0
    for x, groups in columns:
        y = 6
        for what, figure in groups:
            parts, high = group(what, figure, x, width)
            rows.append(f'<g transform="translate(0 {y})">' + "\n".join(parts) + "</g>")
            y += high
        height = max(height, y)
    said = "; ".join(f"{what}: " + ", ".join(f"{name} {number(value)}" for name, value in figure["median"].items())
                     + f" {figure['unit']}" for what, figure in shown)
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
                      f"<title>{escape(said)}</title>", f"<style>{STYLE}</style>", *rows, "</svg>", ""])
