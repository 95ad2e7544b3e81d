import asyncio

from frontend.status.feed import WATCHERS_MAX, Feed


async def test_who_reads_slowly_gets_the_latest_news_and_no_more() -> None:
    feed = Feed()
    with feed.watched() as slow, feed.watched() as quick:
        feed.publish(b"1")
        assert await quick.next() == b"1"
        feed.publish(b"2")
        feed.publish(b"3")
        assert await slow.next() == b"3"
        assert await quick.next() == b"3"
        waiting = asyncio.create_task(slow.next())
        await asyncio.sleep(0)
        assert not waiting.done()
        feed.publish(b"4")
        assert await waiting == b"4"
    assert feed.watchers == 0


async def test_closing_lets_everybody_go_at_once_and_for_good() -> None:
    feed = Feed()
    with feed.watched() as watch:
        waiting = asyncio.create_task(watch.next())
        await asyncio.sleep(0)
        feed.close()
        assert await waiting is None
        feed.publish(b"late")
        assert await watch.next() is None


def test_places_are_counted_and_given_back_whatever_happens() -> None:
    async def fill() -> None:
        feed = Feed()
        held = [feed.watched() for _ in range(WATCHERS_MAX)]
        for each in held:
            each.__enter__()
        assert feed.is_full
        held[0].__exit__(None, None, None)
        assert not feed.is_full

    asyncio.run(fill())
