"""An SVG chart of bars, legible on a light and on a dark page."""
from html import escape

WIDTH, LABEL, ROW, GAP = 720, 190, 22, 14
STYLE = """text{font:13px system-ui,sans-serif;fill:#333}.t{font-weight:600}.v{font-size:12px}.a{fill:#2f6fdf}.b{fill:#9a9a9a}
@media(prefers-color-scheme:dark){text{fill:#ddd}.a{fill:#6ea8ff}.b{fill:#777}}"""


def svg(groups):
    """`groups`: (title, unit, [(name, value)]) with the first bar as ours; bars of a group share a scale."""
    rows, y = [], 8
    for title, unit, bars in groups:
        y += 14
        rows.append(f'<text class="t" x="0" y="{y}">{escape(title)}</text>')
        y += 8
        most = max(value for _, value in bars) or 1
        for place, (name, value) in enumerate(bars):
            length = max(2, (WIDTH - LABEL - 130) * value / most)
            shown = f"{value:,.0f}" if value >= 10 else f"{value:.2f}"
            rows.append(f'<text x="{LABEL - 10}" y="{y + 15}" text-anchor="end">{escape(name)}</text>'
                        f'<rect class="{"b" if place else "a"}" x="{LABEL}" y="{y + 3}" width="{length:.1f}" height="{ROW - 6}" rx="2"/>'
                        f'<text class="v" x="{LABEL + length + 8:.1f}" y="{y + 15}">{shown} {escape(unit)}</text>')
            y += ROW
        y += GAP
    title = escape("; ".join(f"{group[0]}: " + ", ".join(f"{name} {value:.0f}" for name, value in group[2]) for group in groups))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" height="{y}" role="img">'
            f"<title>{title}</title><style>{STYLE}</style>{''.join(rows)}</svg>\n")
