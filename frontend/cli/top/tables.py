"""Workers, models, those who left and what went wrong, as tables."""

from collections.abc import Iterator
from typing import Final

from rich.table import Table
from rich.text import Text

from frontend.cli.top.bars import bar
from frontend.cli.top.words import STATE_STYLES, count, percent, plain, span
from frontend.fleet.model_entry import WHOLE
from frontend.models.services import GENERATION
from frontend.status.snapshot import ErrorStatus, RankStatus, Snapshot, WorkerStatus

BAR_COLUMNS: Final = 10

NAME_COLUMNS: Final = 36
"""Bounds what names of workers and models take."""

WIDE_COLUMNS: Final = 120
MIDDLE_COLUMNS: Final = 90
NARROW_COLUMNS: Final = 60
"""Are the widths below which columns are left out that one misses least."""


def workers(snapshot: Snapshot, width: int, rows_max: int) -> Table:
    """Returns a row for each rank of each worker, at most so many rows."""
    table = _table("worker", "state")
    if width >= MIDDLE_COLUMNS:
        _column(table, "model")
    _column(table, "running", right=True)
    _column(table, "queued", right=True)
    if width >= NARROW_COLUMNS:
        _column(table, "KV cache")
        _column(table, "hits", right=True)
    if width >= WIDE_COLUMNS:
        _column(table, "blocks", right=True)
        _column(table, "heard", right=True)
    table.add_column("", ratio=1, no_wrap=True, overflow="ellipsis")
    troubled_first = sorted(snapshot.workers, key=lambda worker: worker.state == "ready")
    rows = [row for worker in troubled_first for row in _rows(worker, width)]
    left_out = snapshot.workers_left_out
    if len(rows) > rows_max:
        left_out += len(rows) - rows_max + 1
        rows = rows[: max(0, rows_max - 1)]
    for row in rows:
        table.add_row(*row)
    if left_out:
        table.add_row(Text(f"and {left_out} more", style="dim"))
    return table


def rows_wanted(snapshot: Snapshot) -> int:
    """Returns how many rows all workers have that a snapshot shows."""
    left_out = bool(snapshot.workers_left_out)
    return sum(max(1, len(worker.ranks)) for worker in snapshot.workers) + left_out


def models(snapshot: Snapshot, rows_max: int) -> Table:
    """Returns a row for each model, at most so many."""
    table = _table("model", "serves")
    for name in ("workers", "waiting", "tokens/s"):
        _column(table, name, right=True)
    table.add_column("", ratio=1, no_wrap=True, overflow="ellipsis")
    for model in snapshot.models[:rows_max]:
        missing = "" if model.ready else f"no {model.missing}" if model.missing else "not ready"
        table.add_row(
            Text(plain(model.name), style="bold"),
            plain(model.service),
            str(model.workers),
            Text(str(model.waiting), style="yellow" if model.waiting else ""),
            count(model.tokens_per_s),
            Text(plain(missing), style="red"),
        )
    return table


def news(snapshot: Snapshot, rows_max: int) -> Iterator[Text]:
    """Yields a line for each worker that left and each way in which requests failed lately, the
    latest first, at most so many.
    """
    told = [
        (
            each.at_unix_s,
            "dim" if each.planned else "red",
            f"{each.worker_id} ({each.model}) left: {each.why}",
        )
        for each in snapshot.departed
    ]
    told += [(each.last_unix_s, "yellow", _failure(each)) for each in snapshot.errors]
    told.sort(reverse=True)
    for at, style, words in told[:rows_max]:
        ago = f"{span(snapshot.at_unix_s - at):>12} ago  "
        yield Text.assemble((ago, "dim"), (plain(words), style), no_wrap=True, overflow="ellipsis")


def slowest(snapshot: Snapshot, rows_max: int) -> Iterator[Text]:
    """Yields a line for each of the slowest requests of late, the slowest first, at most so many:
    where its time went, and the id by which the log has it.
    """
    for each in snapshot.slowest[:rows_max]:
        first = "" if each.ttft_s is None else f", first token {each.ttft_s:.2f} s"
        told = (
            f"{each.request_id}  {each.outcome}; queue {each.queue_s:.2f} s{first}; "
            f"{count(each.prompt_tokens)} tokens in, {count(each.cached_tokens)} cached, "
            f"{count(each.output_tokens)} out; {each.worker}"
        )
        took = (f"{each.took_s:>10.2f} s  ", "bold")
        yield Text.assemble(took, plain(told), no_wrap=True, overflow="ellipsis")


def _failure(error: ErrorStatus) -> str:
    times = f"{error.count} times " if error.count > 1 else ""
    model = f" {error.model}" if error.model else ""
    return f"{times}{error.status} {error.code} at {error.endpoint}{model}: {error.what}"


def _rows(worker: WorkerStatus, width: int) -> Iterator[list[Text | str]]:
    ranks: list[RankStatus | None] = [*worker.ranks] or [None]
    for number, rank in enumerate(ranks):
        first = number == 0
        row: list[Text | str] = [
            Text(plain(worker.worker_id) if first else f"  rank {rank.dp_rank if rank else 0}"),
            Text(plain(worker.state), STATE_STYLES.get(worker.state, "yellow")) if first else "",
        ]
        if width >= MIDDLE_COLUMNS:
            row.append(plain(worker.model) if first else "")
        load = ["", "", "", ""] if rank is None else _load(rank)
        row += load if width >= NARROW_COLUMNS else load[:2]
        if width >= WIDE_COLUMNS:
            row.append(count(rank.cached_blocks) if rank else "")
            row.append(f"{worker.heard_s:.1f} s" if first and worker.loading_s is None else "")
        row.append(Text(_note(worker), style="dim") if first else "")
        yield row


def _load(rank: RankStatus) -> list[Text | str]:
    share = rank.kv_tokens / rank.kv_tokens_max if rank.kv_tokens_max else None
    kv = Text()
    if share is not None:
        colour = "red" if share > 0.9 else "yellow" if share > 0.7 else "blue"
        kv.append(bar(share, BAR_COLUMNS), f"{colour} on grey23")
        kv.append(f" {share:4.0%}")
    return [
        f"{rank.running}/{rank.running_max}" if rank.running_max else str(rank.running),
        Text(str(rank.waiting), style="yellow" if rank.waiting else ""),
        kv,
        percent(rank.hit_rate),
    ]


def _note(worker: WorkerStatus) -> str:
    told: list[str] = []
    if worker.loading_s is not None:
        told.append(f"for {span(worker.loading_s)}")
    if worker.why:
        told.append(worker.why)
    if worker.stage not in ("", WHOLE):
        told.append(worker.stage)
    if worker.service not in ("", GENERATION):
        told.append(worker.service)
    if worker.kv_events == "catching up":
        told.append("KV events catch up")
    if worker.adapters:
        told.append(f"{worker.adapters} adapters")
    return plain("; ".join(told))


def _table(*names: str) -> Table:
    table = Table(box=None, expand=True, pad_edge=False, header_style="dim", show_edge=False)
    for name in names:
        _column(table, name)
    return table


def _column(table: Table, name: str, *, right: bool = False) -> None:
    table.add_column(
        Text(name, no_wrap=True),
        justify="right" if right else "left",
        no_wrap=True,
        overflow="ellipsis",
        min_width=min(len(name), 6),
        max_width=NAME_COLUMNS,
    )
