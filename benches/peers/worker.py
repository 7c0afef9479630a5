"""Holds one peer in a process of its own and times it when told: a job's name in, JSON out."""
import argparse
import json
import resource
import sys

from .meter import Meter


def build(options):
    """Name -> function to time, of the peer that `options` name."""
    if options.peer == "realesrgan":
        from . import realesrgan

        return realesrgan.jobs(options.threads)
    import torch

    torch.set_num_threads(options.threads)
    torch.set_grad_enabled(False)
    layout = getattr(torch, options.layout)
    if options.peer == "shipped":
        from . import shipped

        return shipped.jobs(layout)
    from . import published

    return published.jobs(layout)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer", choices=["shipped", "published", "realesrgan"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--layout", default="contiguous_format")
    jobs = build(parser.parse_args())
    print(json.dumps(sorted(jobs)), flush=True)
    warm = set()
    for line in sys.stdin:
        name = line.strip()
        if name not in warm:
            jobs[name]()
            warm.add(name)
        meter = Meter(resource.RUSAGE_SELF)
        jobs[name]()
        ms, others = meter.read()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(json.dumps({"ms": ms, "others": others, "peak_mib": peak}), flush=True)


if __name__ == "__main__":
    main()
