"""Ctrl-C, SIGTERM and a closed terminal end a measurement in order: what was started is stopped, whatever comes meanwhile."""
import signal
import sys

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def end_in_order():
    """The first of the signals raises SystemExit, which nothing here catches; the next ones are ignored. One that was
    ignored already (nohup) stays so."""

    def end(number, _frame):
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        print(f"{signal.Signals(number).name}: stopping what was started", file=sys.stderr, flush=True)
        raise SystemExit(128 + number)

    for each in SIGNALS:
        if signal.getsignal(each) != signal.SIG_IGN:
            signal.signal(each, end)
