"""When a request is held back, and where it may go otherwise."""

from dataclasses import dataclass

from frontend.routing.holding import SHED_STEPS_AHEAD, open_ranks


@dataclass
class Rank:
    """What the rule reads of a rank; as made here it runs something and has room."""

    prefill_tokens: int = 0
    prefill_step_tokens: int = 100
    orders_by_priority: bool = True
    hungry: bool = True
    takes_one_more: bool = True
    free: bool = True

    def runs_at_once(self, prompt_tokens: int) -> bool:
        return self.free and prompt_tokens > 0


def chosen(*ranks: Rank, choices: int | None = None, sheds: bool = False) -> list[int]:
    may_wait = (len(ranks) if choices is None else choices) > 1
    found = open_ranks(ranks, 10, may_wait=may_wait, sheds=sheds)
    return [index for index, rank in enumerate(ranks) if any(rank is one for one in found)]


FULL = Rank(free=False, hungry=False, prefill_tokens=10_000)


def test_where_there_is_no_choice_everything_is_sent_at_once() -> None:
    assert chosen(FULL) == [0]


def test_unless_the_engine_would_not_keep_the_order_of_priorities() -> None:
    assert chosen(Rank(free=False, hungry=False, orders_by_priority=False)) == []
    assert chosen(Rank(free=False, orders_by_priority=False)) == [0]


def test_unless_its_own_queue_is_full() -> None:
    assert chosen(Rank(takes_one_more=False)) == []


def test_one_rank_with_room_out_of_several_is_still_a_choice() -> None:
    assert chosen(FULL, choices=2) == []


def test_whoever_would_run_it_at_once_comes_before_those_where_it_would_wait() -> None:
    assert chosen(Rank(free=False), Rank(), Rank(hungry=False)) == [1, 2]


def test_a_rank_that_would_not_run_it_at_once_gets_it_before_it_runs_dry() -> None:
    assert chosen(Rank(free=False), FULL) == [0]


def test_while_every_rank_has_enough_the_choice_is_left_open() -> None:
    assert chosen(Rank(hungry=False), FULL) == []


def test_where_load_is_shed_nothing_is_sent_ahead() -> None:
    assert chosen(Rank(free=False), sheds=True) == []
    assert chosen(Rank(), FULL, sheds=True) == [0]
    busy = Rank(prefill_tokens=SHED_STEPS_AHEAD * 100)
    assert chosen(busy, sheds=True) == []
    assert chosen(busy, Rank(), sheds=True) == [0, 1]
