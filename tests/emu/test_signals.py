"""Stopping: recorded first, raised later, never during the way down. Each in a process of its own."""

import functools
import multiprocessing
import os
import signal

import pytest

from emu import signals
from emu.errors import Interrupted
from emu.signals import StopSignals


def in_child(test):
    """Run a test in a forked child: its signals and handlers are then nobody else's."""

    @functools.wraps(test)
    def run(**arguments):
        child = multiprocessing.get_context("fork").Process(target=test, kwargs=arguments)
        child.start()
        child.join(30)
        assert child.exitcode == 0

    return run


def send(*names):
    for name in names:
        os.kill(os.getpid(), getattr(signal, name))


@in_child
def test_the_first_signal_is_only_recorded():
    with StopSignals() as stop:
        stop.check()
        send("SIGTERM")
        assert stop.signum == signal.SIGTERM
        with pytest.raises(Interrupted) as caught:
            stop.check()
    assert caught.value.exit_code == 143


@pytest.mark.parametrize(
    ("first", "second", "code"), [("SIGINT", "SIGINT", 130), ("SIGTERM", "SIGINT", 130), ("SIGINT", "SIGTERM", 130)]
)
@in_child
def test_the_second_unwinds(first, second, code):
    with StopSignals():
        send(first)
        with pytest.raises(Interrupted) as caught:
            send(second)
        # A third one does not unwind the unwinding.
        send("SIGTERM")
    assert caught.value.exit_code == code


def wait_for_ever():
    while True:
        signal.pause()


@in_child
def test_who_does_not_look_is_unwound():
    signals.GRACE_SECONDS = 0.01
    with StopSignals():
        send("SIGHUP")
        with pytest.raises(Interrupted):
            wait_for_ever()


@in_child
def test_the_way_down_is_shielded():
    with StopSignals() as stop:
        with stop.shielded():
            send("SIGINT", "SIGINT", "SIGINT")
        assert stop.signum == signal.SIGINT


@in_child
def test_what_is_ignored_stays_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with StopSignals() as stop:
        send("SIGHUP")
        assert stop.signum == 0


@in_child
def test_handlers_and_timer_are_put_back():
    signal.setitimer(signal.ITIMER_REAL, 1000)
    before = [signal.getsignal(s) for s in (*signals.STOPPING, signal.SIGALRM)]
    with StopSignals():
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert [signal.getsignal(s) for s in (*signals.STOPPING, signal.SIGALRM)] == before
    assert signal.getitimer(signal.ITIMER_REAL)[0] > 900
