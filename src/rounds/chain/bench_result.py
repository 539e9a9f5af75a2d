"""What `rounds bench` found, and its table.

Left out on purpose: plots; bench.json holds every row.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

from rounds.chain.bench_worker import Told
from rounds.chain.plan import gigabytes
from rounds.records import Interval, Record


class EngineFigures(Record):
    """One engine, whatever was asked of it."""

    load_s: float
    """Libraries, the model, and a first short answer; nothing of the kind is known of a server."""
    weights_bytes: int | None = None
    read_bytes: int | None = None
    """Bytes of the weights one token is multiplied with."""
    kv_bytes_a_token: int | None = None
    model: str = ""
    """Name of the model at an endpoint."""


class Row(Record):
    """One measurement."""

    engine: str
    repeat: int
    prompt: int
    """Tokens asked for; `told.prompt_tokens` is what the engine counts."""
    streams: int
    joules: float | None
    """Of the whole machine meanwhile; None where it does not tell."""
    told: Told


class Spread(Record):
    """Median, smallest and largest of the repeats."""

    median: float
    range: Interval


class Cell(Record):
    """The repeats of one engine, one length of prompt and one number of streams."""

    engine: str
    prompt: int
    streams: int
    prompt_tokens: int
    first_token_s: Spread
    decode_tokens_s: Spread | None
    total_tokens_s: Spread
    """Tokens of all answers over the time from asking to the last token."""
    decode_ratio: Spread | None
    """Against the named engine, within the same repeat."""
    total_ratio: Spread
    limit_tokens_s: float | None
    """Streams times measured bandwidth over the bytes a step must read: weights once, each stream's KV cache."""
    share_of_limit: float | None
    kv_bytes: int | None
    """At the end of the answers."""
    peak_bytes: int | None
    anonymous_bytes: int | None
    joules_a_token: float | None
    short: bool
    """Answers ended before they were cut: fewer tokens than asked."""


class Bench(Record):
    """bench.json."""

    shape: str
    structure: str
    weights: int
    machine: str
    threads: int
    date: str
    versions: dict[str, str]
    new_tokens: int
    repeats: int
    against: str
    bandwidth: tuple[float, ...]
    """Bytes read from memory a second, one a repeat."""
    making_peak_bytes: int | None
    """Largest resident memory of the process that made, exported and packed the model; None where all was there."""
    making_anonymous_bytes: int | None = None
    """Of the same, largest memory not mapped from files."""
    engines: dict[str, EngineFigures]
    rows: tuple[Row, ...]
    cells: tuple[Cell, ...]


def cells(
    rows: Sequence[Row],
    engines: Mapping[str, EngineFigures],
    speeds: Sequence[float],
    against: str,
    new_tokens: int,
) -> tuple[Cell, ...]:
    """Rows by engine, length and streams, in the order they came."""
    keys = dict.fromkeys((row.prompt, row.streams) for row in rows)
    found = []
    for prompt, streams in keys:
        here = [row for row in rows if (row.prompt, row.streams) == (prompt, streams)]
        for name, engine in engines.items():
            found.append(_cell(here, name, engine, statistics.median(speeds), against, new_tokens))
    return tuple(found)


def _cell(here: Sequence[Row], name: str, engine: EngineFigures, speed: float, against: str, new_tokens: int) -> Cell:
    own = sorted((row for row in here if row.engine == name), key=lambda row: row.repeat)
    other = sorted((row for row in here if row.engine == against), key=lambda row: row.repeat)
    first = own[0]

    def ratio(rate: Callable[[Row], float | None]) -> Spread | None:
        pairs = [(rate(a), rate(b)) for a, b in zip(own, other, strict=True)]
        return _spread([a / b for a, b in pairs if a is not None and b is not None])

    decode = _spread([row.told.decode_tokens_s for row in own if row.told.decode_tokens_s is not None])
    total, first_token = _spread([_total(row) for row in own]), _spread([row.told.first_token_s for row in own])
    total_ratio = ratio(_total)
    assert total is not None, "a cell has a row"
    assert first_token is not None, "a cell has a row"
    assert total_ratio is not None, "the engine of the ratios is measured in every cell"
    kept = engine.kv_bytes_a_token
    limit = None
    if engine.read_bytes is not None and kept is not None:
        step = engine.read_bytes + first.streams * kept * (first.prompt + new_tokens / 2)
        limit = first.streams * speed / step
    energy = [row.joules / row.told.tokens for row in own if row.joules is not None]
    return Cell(
        engine=name,
        prompt=first.prompt,
        streams=first.streams,
        prompt_tokens=first.told.prompt_tokens,
        first_token_s=first_token,
        decode_tokens_s=decode,
        total_tokens_s=total,
        decode_ratio=ratio(lambda row: row.told.decode_tokens_s),
        total_ratio=total_ratio,
        limit_tokens_s=limit,
        share_of_limit=decode.median / limit if decode and limit else None,
        kv_bytes=None if kept is None else first.streams * kept * (first.prompt + new_tokens),
        peak_bytes=_largest([row.told.peak_bytes for row in own]),
        anonymous_bytes=_largest([row.told.anonymous_bytes for row in own]),
        joules_a_token=statistics.median(energy) if len(energy) == len(own) else None,
        short=any(row.told.tokens < row.streams * new_tokens for row in own),
    )


def _total(row: Row) -> float:
    return row.told.tokens / row.told.seconds


def _spread(values: Sequence[float]) -> Spread | None:
    if not values:
        return None
    return Spread(median=statistics.median(values), range=Interval(low=min(values), high=max(values)))


def _largest(values: Sequence[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)


# The table ---------------------------------------------------------------------------------------------------------

HEAD = (
    "engine",
    "prompt",
    "streams",
    "first token s",
    "decode tok/s",
    "x",
    "of limit",
    "end to end tok/s",
    "x",
    "peak RSS (anonymous)",
    "KV",
    "J/token",
)


def markdown(found: Bench) -> str:
    """The whole result as a page: what was measured where, engines, then a row a cell."""
    speeds = [speed / 1e9 for speed in found.bandwidth]
    told = [
        f"# rounds bench {found.shape}",
        "",
        f"{found.structure}, {found.weights:,} random weights; {found.machine}, {found.threads} threads; "
        f"{found.date}; {found.new_tokens} new tokens, greedy; median of {found.repeats} repeats (smallest-largest), "
        "engines in turn.",
        f"Memory read in the same run: {statistics.median(speeds):.1f} GB/s ({min(speeds):.1f}-{max(speeds):.1f}). "
        f"x is against {found.against}, in the same repeat. Energy: {_energy(found)}.",
        *_making(found),
        "",
        "| engine | weights | of them read a token | KV a token | load s |",
        "|---|---|---|---|---|",
    ]
    for name, engine in found.engines.items():
        sizes = (engine.weights_bytes, engine.read_bytes, engine.kv_bytes_a_token)
        shown = [_size(size) for size in sizes]
        told.append(f"| {name} | {' | '.join(shown)} | {'-' if engine.model else f'{engine.load_s:.1f}'} |")
    told += ["", f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|"]
    told += [f"| {' | '.join(_line(cell))} |" for cell in found.cells]
    if any(cell.short for cell in found.cells):
        told += ["", "(short): answers ended before they were cut, so the engine had less to do than asked."]
    return "\n".join(told) + "\n"


def _making(found: Bench) -> list[str]:
    if found.making_peak_bytes is None or found.making_anonymous_bytes is None:
        return []
    peak, own = gigabytes(found.making_peak_bytes), gigabytes(found.making_anonymous_bytes)
    return [f"Making the model took {peak} of memory at its peak, of it {own} not mapped from files."]


def _line(cell: Cell) -> list[str]:
    share = "" if cell.share_of_limit is None else f"{100 * cell.share_of_limit:.0f} % of {cell.limit_tokens_s:.1f}"
    memory = _size(cell.peak_bytes)
    memory += f" ({gigabytes(cell.anonymous_bytes)})" if cell.anonymous_bytes else ""
    return [
        cell.engine + (" (short)" if cell.short else ""),
        str(cell.prompt) if cell.prompt == cell.prompt_tokens else f"{cell.prompt} ({cell.prompt_tokens} there)",
        str(cell.streams),
        _shown(cell.first_token_s, 2),
        _shown(cell.decode_tokens_s, 1),
        _shown(cell.decode_ratio, 2),
        share or "-",
        _shown(cell.total_tokens_s, 1),
        _shown(cell.total_ratio, 2),
        memory,
        _size(cell.kv_bytes),
        "-" if cell.joules_a_token is None else f"{cell.joules_a_token:.2f}",
    ]


def _shown(spread: Spread | None, digits: int) -> str:
    if spread is None:
        return "-"
    low, high = spread.range.low, spread.range.high
    return f"{spread.median:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def _size(size: int | None) -> str:
    return "-" if size is None else gigabytes(size)


def _energy(found: Bench) -> str:
    told = any(cell.joules_a_token is not None for cell in found.cells)
    return "RAPL of the processor packages, idle power included" if told else "not told by this machine"
