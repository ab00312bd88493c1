"""The watched process: one order in, one answer out (see :mod:`console.reports.watched_check`)."""

from __future__ import annotations

import sys

from console.errors import ConsoleError
from console.reports.verify import verify_report
from console.reports.watched_check import ANSWER, READY, CheckAnswer, CheckOrder


def main() -> None:
    """Load everything, say so, verify the file that is named, answer."""
    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()
    order = CheckOrder.model_validate_json(sys.stdin.buffer.read())
    try:
        answer = CheckAnswer(result=verify_report(order.path, now=order.now))
    except ConsoleError as error:
        answer = CheckAnswer(refusal=str(error))
    sys.stdout.buffer.write(ANSWER.dump_json(answer))


if __name__ == "__main__":
    main()
