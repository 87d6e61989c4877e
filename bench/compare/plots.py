"""Draws the page's plots as SVG, with nothing but the standard library."""

import html
import math

WIDTH, LABELS, VALUES, BAR, GAP, TITLE = 760, 150, 130, 16, 7, 22
OURS, INK, GRID = "#1d6fb8", "#24292f", "#d8dee4"
COLOURS = {"ours": OURS, "theirs": "#8b98a5", "yardstick": "#c9b98a"}
PALETTE = ("#d1495b", "#00798c", "#edae49", "#66a182", "#8d5fd3", "#7d5a3c", "#2e4057", "#e07be0", "#5f6b76", "#9bc53d")


def number(value):
    """Three significant digits, thousands with commas."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def text(x, y, words, size=12, anchor="start", weight="normal"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" font-weight="{weight}" '
            f'fill="{INK}">{html.escape(words)}</text>')


def line(x1, y1, x2, y2, colour, width=1.0):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"/>'


def svg(height, parts):
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" '
            f'height="{height:.0f}" font-family="sans-serif">\n<rect width="100%" height="100%" fill="#ffffff"/>\n'
            + "\n".join(parts) + "\n</svg>\n")


def log_ticks(low, high):
    ticks = [base * 10 ** power for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
             for base in (1, 2, 5)]
    inside = [tick for tick in ticks if low <= tick <= high]
    return inside if len(inside) <= 8 else [tick for tick in inside if f"{tick:e}".startswith("1")]


def linear_ticks(high):
    step = 10 ** math.floor(math.log10(high))
    step = next(step * part for part in (0.2, 0.5, 1, 2, 5) if high / (step * part) <= 6)
    return [index * step for index in range(int(high / step) + 1)]


def scale_for(values):
    """(function from a value to 0..1, ticks, whether it is logarithmic: if the longest bar would hide others)."""
    high = max(values)
    positive = [value for value in values if value > 0]
    if not positive:
        return (lambda value: 0.0), [0], False
    if high / min(positive) <= 12:
        return (lambda value: value / high), linear_ticks(high), False
    low, top = min(positive) / 2, high
    span = math.log(top / low)
    return (lambda value: math.log(max(value, low) / low) / span), log_ticks(low, top), True


def bars(title, groups):
    """`groups`: [(headline, [(peer, median, min, max, kind)])], kind being "ours", "theirs" or "yardstick"."""
    position, ticks, logarithmic = scale_for([high for _, entries in groups for _, _, _, high, _ in entries])
    left, width = LABELS, WIDTH - LABELS - VALUES
    parts = [text(8, 18, title + (" (logarithmic)" if logarithmic else ""), 14, weight="bold")]
    y = 30.0
    for headline, entries in groups:
        if headline:
            parts.append(text(left, y + 13, headline, weight="bold"))
            y += TITLE
        top = y
        bottom = y + len(entries) * (BAR + GAP)
        for tick in ticks:
            x = left + width * position(tick)
            parts += [line(x, top, x, bottom, GRID), text(x, bottom + 12, number(tick), 10, "middle")]
        for peer, median, low, high, kind in entries:
            fill = f'fill="{COLOURS[kind]}"'
            at, middle = left + width * position(median), y + BAR / 2
            parts += [
                text(left - 8, y + BAR - 4, peer, anchor="end", weight="bold" if kind == "ours" else "normal"),
                # No bars on a logarithmic axis: their lengths would mean nothing.
                f'<circle cx="{at:.1f}" cy="{middle}" r="6" {fill}/>' if logarithmic
                else f'<rect x="{left}" y="{y:.1f}" width="{max(1.0, at - left):.1f}" height="{BAR}" {fill}/>',
                line(left + width * position(low), middle, left + width * position(high), middle, INK, 1.4),
                text(left + width * position(high) + 10, y + BAR - 4, number(median)),
            ]
            y += BAR + GAP
        y += 24
    return svg(y, parts)


def overview(title, lines):
    """`lines`: [(label, [(peer, ratio to fibrio, whether a yardstick)])]: a dot per peer on a logarithmic axis, hollow
    for yardsticks."""
    ratios = [ratio for _, dots in lines for _, ratio, _ in dots] + [0.5, 2.0]
    low, high = min(ratios) / 1.3, max(ratios) * 1.3
    left, width, step, top = LABELS, WIDTH - LABELS - 30, 22, 84
    bottom = top + step * len(lines)

    def at(ratio):
        return left + width * math.log(ratio / low) / math.log(high / low)

    def dot(x, y, colour, yardstick):
        fill, stroke, width = ("none", colour, 2) if yardstick else (colour, "#ffffff", 0.8)
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{fill}" stroke="{stroke}" stroke-width="{width}"/>'

    parts = [text(8, 18, title, 14, weight="bold")]
    peers = {peer: yardstick for _, dots in lines for peer, _, yardstick in dots}
    colours = {peer: PALETTE[index % len(PALETTE)] for index, peer in enumerate(peers)}
    x, y = 14.0, 40.0
    for peer, yardstick in peers.items():
        if x > WIDTH - 100:
            x, y = 14.0, y + 18
        parts += [dot(x, y - 4, colours[peer], yardstick), text(x + 9, y, peer, 11)]
        x += 30 + 7 * len(peer)
    for tick in log_ticks(low, high):
        parts += [line(at(tick), top, at(tick), bottom, GRID), text(at(tick), bottom + 14, f"{tick:g} x", 10, "middle")]
    parts.append(line(at(1), top, at(1), bottom, OURS, 2.5))
    for index, (label, dots) in enumerate(lines):
        y = top + step * (index + 0.5)
        parts += [text(left - 8, y + 4, label, 11, "end"), line(left, y, left + width, y, "#eef1f4")]
        parts += [dot(at(ratio), y, colours[peer], yardstick) for peer, ratio, yardstick in dots]
    return svg(bottom + 24, parts)
