"""Wall time of a run, and how much of the processors other programs had meanwhile."""
import os
import resource
import time

TICK = os.sysconf("SC_CLK_TCK")


def busy():
    """Seconds that all processors together have worked since the machine started."""
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system, _, _, interrupt, soft, *_ = map(int, file.readline().split()[1:])
    return (user + nice + system + interrupt + soft) / TICK


def own(who):
    """Seconds of processor time of this process or of its ended children."""
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


class Meter:
    """Starts when it is made; `who` is one of `resource.RUSAGE_*`."""

    def __init__(self, who):
        self.who = who
        self.start = busy(), own(who), time.perf_counter()

    def read(self):
        """(milliseconds, share of the processors that others had, 0 to 1)."""
        wall = time.perf_counter() - self.start[2]
        foreign = busy() - self.start[0] - (own(self.who) - self.start[1])
        return wall * 1e3, max(0.0, foreign / (wall * os.cpu_count()))
