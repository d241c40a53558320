"""Draws the rooms of the package and their imports as docs/images/house.svg.

    python scripts/draw_house.py            draws the picture (`make house`)
    python scripts/draw_house.py FOLDER     prints floors, arrows and import cycles of a package

A room is a direct child of the package: a subpackage or a module. A room is one floor above the
highest room that it imports. The picture omits arrows that others imply and arrows into the rooms
that nearly all rooms import.
"""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs" / "images" / "house.svg"
# Imported by nearly all rooms: no arrows are drawn into them.
COMMON = ("config", "types", "base")
COLOURS = {"verb": "#e8f0fe", "part": "#e6f4ea", "common": "#f1f3f4"}
WIDTH, BOX_WIDTH, BOX_HEIGHT, GAP, FLOOR_HEIGHT = 960, 96, 30, 70, 74

Graph = dict[str, set[str]]


@functools.cache
def parsed(path: Path) -> ast.Module:
    """The syntax tree of a file, read once."""
    return ast.parse(path.read_text())


def imported(path: Path, package: str) -> Iterator[tuple[str, int]]:
    """The modules of `package` that a file imports, as dotted names with their lines.

    `from package.room import name` gives `package.room.name`, which is a module or a name that
    `package.room` defines.
    """
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from ((name, node.lineno) for name in names if name.startswith(f"{package}."))


def room_of(path: Path, package: Path) -> str:
    """The room that a file of the package belongs to."""
    return path.relative_to(package).parts[0].removesuffix(".py")


def read(package: Path) -> Graph:
    """The rooms of a package, each with the other rooms that it imports."""
    files = sorted(package.rglob("*.py"))
    graph: Graph = {room: set() for room in sorted({room_of(each, package) for each in files})}
    graph.pop("__init__", None)
    for path in files:
        if (room := room_of(path, package)) in graph:
            targets = {name.split(".")[1] for name, _ in imported(path, package.name)}
            graph[room] |= (targets & graph.keys()) - {room}
    # `cli` imports verbs at run time, by the names in its command table.
    graph.get("cli", set()).update(each for each in graph if _is_verb(package / each))
    return graph


def below(graph: Graph, room: str) -> set[str]:
    """All rooms that a room imports, directly or indirectly."""
    reached: set[str] = set()
    waiting = [room]
    while waiting:
        new = graph[waiting.pop()] - reached
        reached |= new
        waiting += new
    return reached


def circles(graph: Graph) -> list[str]:
    """The rooms that import themselves indirectly."""
    return [room for room in graph if room in below(graph, room)]


def floors(graph: Graph) -> list[list[str]]:
    """Rooms by floor, the lowest first; rooms that import each other share one."""
    reach = {room: below(graph, room) for room in graph}
    height: dict[str, int] = {}

    def floor(room: str) -> int:
        if room not in height:
            lower = [each for each in reach[room] if room not in reach[each]]
            height[room] = 1 + max(map(floor, lower), default=-1)
        return height[room]

    found: list[list[str]] = [[] for _ in range(1 + max(map(floor, graph)))]
    for room in graph:
        found[height[room]].append(room)
    return found


def drawn_arrows(graph: Graph) -> list[tuple[str, str]]:
    """The imports that no longer path implies, except those of common rooms."""
    arrows = []
    for room, targets in graph.items():
        implied = {each for target in targets for each in below(graph, target)}
        arrows += [(room, each) for each in sorted(targets - implied) if each not in COMMON]
    return arrows


def _placed(graph: Graph) -> dict[str, tuple[float, float]]:
    """The centre of each box; a floor is sorted by the positions of the importing rooms above."""
    rows = floors(graph)[::-1]
    places: dict[str, tuple[float, float]] = {}
    for number, row in enumerate(rows):

        def wanted(room: str) -> float:
            above = [places[each][0] for each in places if room in graph[each]]
            return sum(above) / len(above) if above else WIDTH / 2

        row = sorted(row, key=lambda room: (wanted(room), room))
        span = len(row) * BOX_WIDTH + (len(row) - 1) * GAP
        for index, room in enumerate(row):
            x = (WIDTH - span) / 2 + index * (BOX_WIDTH + GAP) + BOX_WIDTH / 2
            places[room] = (x, 40 + number * FLOOR_HEIGHT)
    return places


def _is_verb(room: Path) -> bool:
    return (room / "command.py").is_file()


def _kind(room: str, package: Path) -> str:
    if room in COMMON:
        return "common"
    return "verb" if _is_verb(package / room) or room == "cli" else "part"


def draw(package: Path) -> str:
    """The picture as SVG text: floors from top to bottom, a colour for each kind of room."""
    graph = read(package)
    places = _placed(graph)
    height = max(y for _, y in places.values()) + 80
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" '
        'font-family="sans-serif" font-size="13">',
        f"<title>The rooms of {package.name}, and who imports whom</title>",
        '<rect width="100%" height="100%" fill="white"/>',
        '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0L8 4L0 8z" fill="#777"/></marker>',
    ]
    for room, target in drawn_arrows(graph):
        (x, y), (end_x, end_y) = places[room], places[target]
        y, end_y = y + BOX_HEIGHT / 2, end_y - BOX_HEIGHT / 2
        bend = (end_y - y) / 2
        lines.append(
            f'<path d="M{x:.0f} {y:.0f}C{x:.0f} {y + bend:.0f} {end_x:.0f} {end_y - bend:.0f} '
            f'{end_x:.0f} {end_y:.0f}" fill="none" stroke="#999" marker-end="url(#tip)"/>'
        )
    for room, (x, y) in places.items():
        left, top = x - BOX_WIDTH / 2, y - BOX_HEIGHT / 2
        lines.append(
            f'<rect x="{left:.0f}" y="{top:.0f}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="5" '
            f'fill="{COLOURS[_kind(room, package)]}" stroke="#555"/>'
            f'<text x="{x:.0f}" y="{y + 4.5:.0f}" text-anchor="middle">{room}</text>'
        )
    note = (
        "blue: verbs; green: parts; grey: what all may use (arrows into these, and arrows that "
        "others imply, are left out)"
    )
    lines += [f'<text x="{WIDTH / 2}" y="{height - 20:.0f}" text-anchor="middle" fill="#555">'
              f"{note}</text>", "</svg>"]  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> None:
    """Draws the picture, or prints the graph of the given folder."""
    if len(sys.argv) > 1:
        graph = read(Path(sys.argv[1]))
        arrows = sum(len(targets) for targets in graph.values())
        print(f"{len(floors(graph))} floors, {len(graph)} rooms, {arrows} arrows")
        print(f"rooms that reach themselves: {' '.join(circles(graph)) or 'none'}")
        for number, rooms in reversed(list(enumerate(floors(graph)))):
            print(f"{number:3}  {' '.join(rooms)}")
        return
    PICTURE.write_text(draw(ROOT / "esr_cli"))
    print(PICTURE.relative_to(ROOT))


if __name__ == "__main__":
    main()
