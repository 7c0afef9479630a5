"""Times the command beside other implementations of the same networks, and prints ratios.

    python side_by_side.py --command ../target/release/ssmoesr --published FOLDER --json out.json

Both sides run in turn, in the same minutes, with the same number of threads; see README.md.
"""
import argparse
import json
import os
import platform
import resource
import signal
import statistics
import subprocess
import sys
import time

from peers.meter import Meter

HERE = os.path.dirname(os.path.abspath(__file__))
LAYOUTS = {"default": "contiguous_format", "channels_last": "channels_last"}
FRAME = ["--width", "480", "--height", "270", "--scale", "4"]
PICTURE = ["--width", "64", "--height", "64", "--scale", "8", "--steps", "1", "--sampler", "ddim"]
FOUR_STEPS = ["--steps", "4", "--fidelity", "0"]


class Peer:
    """A worker process with one implementation; idle until it is told to run a job."""

    def __init__(self, name, threads, layout="contiguous_format"):
        call = [sys.executable, "-m", "peers.worker", name]
        call += ["--threads", str(threads), "--layout", layout]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(call, cwd=HERE, stdin=pipe, stdout=pipe, text=True)
        self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(self.process.args)} ended: {self.process.wait()}")
        return json.loads(line)

    def run(self, job):
        self.process.stdin.write(job + "\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self):
        self.process.kill()
        self.process.communicate()


class Series:
    """Runs of one thing: [milliseconds, share of the processors that others had]."""

    def __init__(self):
        self.runs, self.peak = [], 0

    def add(self, ms, others, peak):
        self.runs.append([round(ms, 2), round(others, 3)])
        self.peak = max(self.peak, peak)

    def quiet(self, limit):
        return [ms for ms, others in self.runs if others <= limit]

    def median(self, limit):
        """Of the undisturbed runs; of all where there is none."""
        return statistics.median(self.quiet(limit) or [ms for ms, _ in self.runs])

    def least(self):
        return min(ms for ms, _ in self.runs)


class Bench:
    """Alternates and collects."""

    def __init__(self, options):
        self.options, self.series = options, {}

    def of(self, side, name):
        return self.series.setdefault(f"{side}: {name}", Series())

    def settle(self):
        """Waits until nothing else wants to run, but not for ever."""
        end, calm = time.monotonic() + self.options.wait, 0
        while calm < 10 and time.monotonic() < end:
            time.sleep(0.1)
            with open("/proc/loadavg", encoding="ascii") as file:
                running = int(file.read().split()[3].split("/")[0])
            calm = calm + 1 if running <= 1 else 0

    def ours(self, prefix, arguments, threads=None):
        """One `bench` of the command: a frame and each graph, after one run to warm up."""
        threads = threads or self.options.threads
        call = [self.options.command, "bench", "--json", "--runs", "1", "--device", "cpu"]
        call += ["--threads", str(threads), *arguments]
        self.settle()
        meter = Meter(resource.RUSAGE_CHILDREN)
        done = subprocess.run(call, stdout=subprocess.PIPE, check=True, text=True)
        _, others = meter.read()
        report = json.loads(done.stdout)
        peak = report.get("peak_mib") or 0
        self.of("ours", f"{prefix}, frame").add(report["frame_ms"], others, peak)
        for stage in report["stages"]:
            name = f"{prefix}, {stage['name']}"
            self.of("ours", name).add(stage["ms"], others, peak)
            for part in stage["parts"]:
                self.of("ours", f"{name}: {part['part']}").add(part["ms"], others, peak)

    def theirs(self, side, prefix, peer, jobs):
        for job in jobs:
            self.settle()
            run = peer.run(job)
            self.of(side, f"{prefix}, {job}").add(run["ms"], run["others"], run["peak_mib"])

    def rounds(self, turn):
        """Repeats `turn` until each series that it fills has enough undisturbed runs."""
        known = set(self.series)
        for count in range(1, self.options.limit + 1):
            turn()
            new = {n: s for n, s in self.series.items() if n not in known}
            least = min(len(s.quiet(self.options.disturbed)) for s in new.values())
            print(f"  round {count}: {least} undisturbed", file=sys.stderr, flush=True)
            if self.options.verbose:
                for name, series in new.items():
                    print(f"    {name}: {series.runs[-1]}", file=sys.stderr, flush=True)
            if least >= self.options.rounds:
                break

    def torch(self, name, prefix, jobs, own):
        """Alternates our runs in `own`, [(prefix, arguments)], with both layouts of a peer."""
        peers = {k: Peer(name, self.options.threads, v) for k, v in LAYOUTS.items()}

        def turn():
            for arguments in own:
                self.ours(*arguments)
            for layout, peer in peers.items():
                self.theirs(layout, prefix, peer, jobs)

        try:
            self.rounds(turn)
        finally:
            for peer in peers.values():
                peer.close()

    def shipped(self):
        own = [("shipped", [*FRAME, "--steps", "1"]), ("shipped x4", [*FRAME, *FOUR_STEPS])]
        self.torch("shipped", "shipped", ["frame_1", "frame_4", "denoiser", "decoder"], own)

    def published(self):
        own = [("published", ["--model", self.options.published, *PICTURE])]
        jobs = ["denoiser", "features", "encoder", "decoder"]
        self.torch("published", "published", jobs, own)

    def threads(self):
        own = [("shipped", [*FRAME, "--steps", "1"])]
        if self.options.published:
            own.append(("published", ["--model", self.options.published, *PICTURE]))

        def turn():
            for prefix, arguments in own:
                for count in (1, 2):
                    self.ours(f"{prefix} on {count}", arguments, count)

        self.rounds(turn)

    def ncnn(self):
        peer = Peer("realesrgan", self.options.threads)

        def turn():
            self.ours("beside ncnn", [*FRAME, "--steps", "1"])
            self.ours("beside ncnn x4", [*FRAME, *FOUR_STEPS])
            self.theirs("ncnn", "Real-ESRGAN x4plus", peer, ["frame"])

        try:
            self.rounds(turn)
        finally:
            peer.close()

    # (case, our series, the peer's series: their sum counts)
    ROWS = [
        ("shipped, 480x270 -> 1920x1080, 1 step", "shipped, frame", ["shipped, frame_1"]),
        ("the same, 4 steps", "shipped x4, frame", ["shipped, frame_4"]),
        ("shipped, denoiser, one step", "shipped, denoiser", ["shipped, denoiser"]),
        ("shipped, decoder", "shipped, decoder", ["shipped, decoder"]),
        (
            "published, denoiser, one step, 128x128 latent",
            "published, denoiser",
            ["published, denoiser"],
        ),
        (
            "published, decoder with fusion, AFF and features, 512x512",
            "published, decoder",
            ["published, decoder", "published, features"],
        ),
        (
            "the same, features from the whole encoder as published",
            "published, decoder",
            ["published, decoder", "published, encoder"],
        ),
        (
            "published, low-resolution features alone, 512x512",
            "published, decoder: encoder",
            ["published, features"],
        ),
        (
            "the same, the whole encoder as published",
            "published, decoder: encoder",
            ["published, encoder"],
        ),
    ]

    def rows(self):
        """Dictionaries of the table, of the cases that ran."""
        limit, rows = self.options.disturbed, []

        def get(side, names):
            found = [self.series.get(f"{side}: {n}") for n in names]
            return found if all(found) else None

        def row(case, own, peer, others):
            ours, theirs = own.median(limit), sum(s.median(limit) for s in others)
            rows.append({
                "case": case,
                "ours_ms": round(ours, 1),
                "peer_ms": round(theirs, 1),
                "peer": peer,
                "ratio": round(theirs / ours, 2),
                "ratio_of_minima": round(sum(s.least() for s in others) / own.least(), 2),
                "undisturbed": min(len(s.quiet(limit)) for s in [own, *others]),
            })

        for case, own, names in self.ROWS:
            ours, best = get("ours", [own]), None
            for layout in LAYOUTS:
                found = get(layout, names)
                if found:
                    total = sum(s.median(limit) for s in found)
                    if best is None or total < best[0]:
                        best = (total, layout, found)
            if ours and best:
                row(case, ours[0], best[1], best[2])
        for prefix in ("shipped", "published"):
            for part in ("frame", "denoiser", "decoder"):
                one, two = (get("ours", [f"{prefix} on {n}, {part}"]) for n in (1, 2))
                if one and two:
                    row(f"{prefix}, {part}: two threads", two[0], "one thread", one)
        peer = get("ncnn", ["Real-ESRGAN x4plus, frame"])
        for own, steps in (("beside ncnn, frame", "1 step"), ("beside ncnn x4, frame", "4 steps")):
            ours = get("ours", [own])
            if ours and peer:
                row(f"shipped frame, {steps}; x4plus", ours[0], "ncnn", peer)
        return rows


def table(rows):
    """Markdown."""
    lines = [
        "| case | ours, ms | peer, ms | peer | ratio | of minima | undisturbed runs |",
        "|---|---:|---:|---|---:|---:|---:|",
    ]
    for row in rows:
        lines.append(
            f"| {row['case']} | {row['ours_ms']:.0f} | {row['peer_ms']:.0f} | {row['peer']} "
            f"| {row['ratio']:.2f} | {row['ratio_of_minima']:.2f} | {row['undisturbed']} |"
        )
    return "\n".join(lines)


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {len(names) or os.cpu_count()} cores"


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    command = os.path.join(HERE, "..", "target", "release", "ssmoesr")
    parser.add_argument("--command", default=command, help="the program to time")
    parser.add_argument("--published", metavar="FOLDER", help="the published model, imported")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5, help="undisturbed runs wanted of each")
    parser.add_argument("--limit", type=int, default=10, help="rounds at most")
    parser.add_argument(
        "--disturbed", type=float, default=0.1, metavar="SHARE",
        help="a run counts where others had no more of the processors",
    )
    parser.add_argument("--wait", type=float, default=5.0, help="seconds to wait for calm")
    parser.add_argument("--only", nargs="*", choices=["shipped", "published", "threads"])
    parser.add_argument("--ncnn", action="store_true", help="Real-ESRGAN x4plus as well")
    parser.add_argument("--verbose", action="store_true", help="show each round")
    parser.add_argument("--json", metavar="FILE", help="every run, for later")
    options = parser.parse_args()
    options.command = os.path.abspath(options.command)
    options.published = options.published and os.path.abspath(options.published)
    return options


def main():
    options = parse()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    bench = Bench(options)
    names = ["shipped", "published", "threads"] if options.only is None else options.only
    names = [n for n in names if n != "published" or options.published]
    began = {"time": time.strftime("%Y-%m-%d %H:%M", time.gmtime()), "load": os.getloadavg()}
    for name in names + (["ncnn"] if options.ncnn else []):
        print(name, file=sys.stderr, flush=True)
        try:
            getattr(bench, name)()
        except KeyboardInterrupt:
            print("stopped: what is there already follows", file=sys.stderr)
            break
    rows, load = bench.rows(), os.getloadavg()
    print(table(rows))

    def figures(values):
        return ", ".join(f"{v:.2f}" for v in values)

    print(f"\n{processor()}, {options.threads} threads; {began['time']} UTC;")
    print(f"load averages {figures(began['load'])} at the start, {figures(load)} at the end")
    for name, series in bench.series.items():
        print(f"  {name}: peak memory {series.peak} MiB", file=sys.stderr)
    if options.json:
        document = {
            "processor": processor(),
            "threads": options.threads,
            "began": began["time"],
            "load_start": began["load"],
            "load_end": load,
            "disturbed": options.disturbed,
            "rows": rows,
            "runs": {n: {"peak_mib": s.peak, "runs": s.runs} for n, s in bench.series.items()},
        }
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    main()
