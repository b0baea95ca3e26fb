"""Jobs for other processes, good and bad; in a plain module, that every process finds them by name."""

import os
import signal
import time


def square_or_worse(job):
    if job == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if job == "exit":
        os._exit(7)
    if job == "hang":
        time.sleep(1000)
    return job * job


class Unstartable:
    """Cannot be taken up in the other process."""

    def __call__(self, job):
        return job

    def __reduce__(self):
        return os._exit, (3,)


def pid_of_job(job) -> int:
    return os.getpid()


def square(number: int) -> int:
    return number**2


def die(number: int) -> int:
    os._exit(7)


def process_id(number: int) -> int:
    return os.getpid()
