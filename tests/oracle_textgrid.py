"""Slow, plain readers and writers of TextGrids, independent of laminal's: lists of (tier, [(start, end, label), ...])."""

Tiers = list[tuple[str, list[tuple[float, float, str]]]]


def read_long(text: str) -> Tiers:
    """Long format, line by line."""
    tiers: Tiers = []
    start = end = 0.0
    for line in text.splitlines():
        key, _, value = line.strip().partition(" = ")
        match key:
            case "name":
                tiers.append((value[1:-1].replace('""', '"'), []))
            case "xmin":
                start = float(value)
            case "xmax":
                end = float(value)
            case "text":
                tiers[-1][1].append((start, end, value[1:-1].replace('""', '"')))
    return tiers


def short(tiers: Tiers, end: float, header: str = "ooTextFile") -> str:
    """Short format."""

    def quote(text: str) -> str:
        return '"' + text.replace('"', '""') + '"'

    lines = [f'File type = "{header}"', '"TextGrid"', "", "0", str(end), "<exists>", str(len(tiers))]
    for name, intervals in tiers:
        lines += ['"IntervalTier"', quote(name), "0", str(end), str(len(intervals))]
        for first, last, label in intervals:
            lines += [str(first), str(last), quote(label)]
    return "\n".join(lines) + "\n"


def long(tiers: Tiers, end: float) -> str:
    """Long format, as Praat writes it (with its trailing blanks)."""
    out = f'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0 \nxmax = {end} \ntiers? <exists> \nsize = {len(tiers)} \n'
    out += "item []: \n"
    for number, (name, intervals) in enumerate(tiers, 1):
        out += f'    item [{number}]:\n        class = "IntervalTier" \n        name = "{name}" \n'
        out += f"        xmin = 0 \n        xmax = {end} \n        intervals: size = {len(intervals)} \n"
        for position, (first, last, label) in enumerate(intervals, 1):
            doubled = label.replace('"', '""')
            out += f"        intervals [{position}]:\n            xmin = {first} \n            xmax = {last} \n"
            out += f'            text = "{doubled}" \n'
    return out
