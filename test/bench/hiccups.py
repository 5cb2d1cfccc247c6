"""Times in which the CPUs of a virtual machine were much slower than usual, see hiccups.c.

Nothing on the machine can have a latency below the length of such a time, so that events
then say nothing about the system that is measured. Events that were not disturbed by one are
summarized separately; those of all events are always reported, too.
"""

import os
import signal
import subprocess
import sys
import tempfile

import numpy

from cluster import ROOT

PROGRAM = os.path.join(ROOT, "build", "eddy-hiccups")


class Hiccups:
    """The program that watches the CPUs, from now on."""

    def __init__(self):
        self.output = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen([PROGRAM], stdout=self.output)

    def finish(self):
        """Returns the beginnings and ends in seconds since 1970, in order, without overlaps."""
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait(30) != 0:
            sys.exit("the program that watches the CPUs has failed")
        self.output.seek(0)
        lines = sorted(tuple(int(field) / 1e6 for field in line.split()) for line in self.output)
        self.output.close()
        return merge(lines)


def merge(intervals):
    found = []
    for start, end in intervals:
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


def disturbed_times(hiccups, fraction):
    """Hiccups, each with the time that a backlog needs to vanish after it.

    During a hiccup of D seconds a backlog of D seconds arises. A system that has the given fraction of
    its sustainable rate to do then reduces it by (1 - fraction) / fraction seconds in each second.
    """
    speed = (1 - fraction) / fraction
    found = []
    backlog, last = 0.0, None
    for start, end in hiccups:
        if last is not None:
            backlog = max(0.0, backlog - (start - last) * speed)
        backlog += end - start
        last = end
        found.append((start, end + backlog / speed))
    return merge(found)


def undisturbed(sent, seen, times):
    """Which events were sent and seen while nothing was disturbed, for arrays of times in seconds."""
    if not times:
        return numpy.full(len(sent), True)
    starts, ends = numpy.array(times).T
    following = numpy.searchsorted(ends, sent)  # the first disturbed time that ends after the event was sent
    starts = numpy.append(starts, numpy.inf)
    return seen < starts[following]
