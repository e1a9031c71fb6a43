from __future__ import annotations

import threading

from clsclip_runtime.video.channel import Channel


def test_order_is_kept_and_the_end_is_told() -> None:
    channel: Channel[int] = Channel(3)
    taken = []

    def fill() -> None:
        for number in range(100):
            assert channel.put(number)
        channel.close()

    thread = threading.Thread(target=fill)
    thread.start()
    while batch := channel.take(2):
        taken.append(batch)
    thread.join()
    assert taken == [[number, number + 1] for number in range(0, 100, 2)]
    assert channel.dropped == 0


def test_a_full_channel_makes_wait_until_it_is_closed() -> None:
    channel: Channel[int] = Channel(1)
    assert channel.put(1)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(channel.put(2)))
    thread.start()
    channel.close()
    thread.join()
    assert answers == [False]
    assert channel.take() == [1]
    assert channel.take() == []


def test_closing_can_discard() -> None:
    channel: Channel[int] = Channel(2)
    channel.put(1)
    channel.close(discard=True)
    assert channel.take() == []
    assert not channel.put(2)


def test_the_newest_wins() -> None:
    channel: Channel[int] = Channel(2, newest_wins=True)
    for number in range(10):
        assert channel.put(number)
    assert channel.take(5) == [8, 9]
    assert channel.dropped == 8


def test_an_incomplete_batch_is_taken_at_the_end_only() -> None:
    channel: Channel[int] = Channel(4)
    channel.put(1)
    taken: list[list[int]] = []
    thread = threading.Thread(target=lambda: taken.append(channel.take(2)))
    thread.start()
    thread.join(0.05)
    assert thread.is_alive()
    channel.close()
    thread.join()
    assert taken == [[1]]
