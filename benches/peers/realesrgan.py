"""Real-ESRGAN x4plus in ncnn: RRDBNet with 64 channels and 23 blocks, random weights.

The network is written as ncnn's own text format, with weights drawn here: they decide nothing
about the time.
"""
import os
import tempfile

import numpy as np

CHANNELS, GROWTH, BLOCKS = 64, 32, 23
SCALE, MARGIN = 4, 10


class Writer:
    """Layers of a `.param` file and their weights, in order."""

    def __init__(self):
        self.lines, self.blobs, self.weights = [], 0, []
        self.random = np.random.default_rng(0)

    def add(self, kind, inputs, outputs=1, arguments=""):
        """Returns the names of the outputs."""
        made = [f"b{self.blobs + i}" for i in range(outputs)]
        self.blobs += outputs
        counts = f"{len(inputs)} {outputs}"
        names = " ".join([*inputs, *made])
        self.lines.append(f"{kind} l{len(self.lines)} {counts} {names} {arguments}")
        return made

    def split(self, blob, count):
        return self.add("Split", [blob], count)

    def conv(self, blob, inputs, outputs, activated=True):
        size = 9 * inputs * outputs
        leaky = " 9=2 -23310=1,2.000000e-01" if activated else ""
        arguments = f"0={outputs} 1=3 4=1 5=1 6={size}{leaky}"
        values = self.random.standard_normal(size, np.float32) * (0.5 / (9 * inputs) ** 0.5)
        self.weights += [bytes(4), values.tobytes(), bytes(4 * outputs)]
        return self.add("Convolution", [blob], 1, arguments)[0]

    def sum(self, a, b, factor=1.0):
        """a + factor * b"""
        return self.add("Eltwise", [a, b], 1, f"0=1 -23301=2,1.0,{factor}")[0]

    def dense(self, x):
        *maps, keep = self.split(x, 6)
        uses = [[blob] for blob in maps]
        # maps[i] feeds convolution i; each result feeds all convolutions after it.
        for i in range(5):
            parts = uses[i]
            blob = parts[0] if len(parts) == 1 else self.add("Concat", parts, 1, "0=0")[0]
            width = CHANNELS + i * GROWTH
            if i == 4:
                return self.sum(keep, self.conv(blob, width, CHANNELS, False), 0.2)
            blob = self.conv(blob, width, GROWTH)
            copies = self.split(blob, 4 - i) if i < 3 else [blob]
            for j, copy in enumerate(copies):
                uses[i + 1 + j].append(copy)
        raise AssertionError

    def save(self, folder):
        paths = [os.path.join(folder, f"net.{n}") for n in ("param", "bin")]
        with open(paths[0], "w", encoding="ascii") as file:
            head = f"7767517\n{len(self.lines)} {self.blobs}\n"
            file.write(head + "\n".join(self.lines) + "\n")
        with open(paths[1], "wb") as file:
            file.writelines(self.weights)
        return paths


def network():
    """(writer, name of the input, name of the output)."""
    w = Writer()
    source = w.add("Input", [])[0]
    first, keep = w.split(w.conv(source, 3, CHANNELS, False), 2)
    x = first
    for _ in range(BLOCKS):
        x, here = w.split(x, 2)
        for _ in range(3):
            x = w.dense(x)
        x = w.sum(here, x, 0.2)
    x = w.sum(keep, w.conv(x, CHANNELS, CHANNELS, False))
    for _ in range(2):
        x = w.conv(w.add("Interp", [x], 1, "0=1 1=2.0 2=2.0")[0], CHANNELS, CHANNELS)
    x = w.conv(w.conv(x, CHANNELS, CHANNELS), CHANNELS, 3, False)
    return w, source, x


def jobs(threads, width=480, height=270, columns=2, rows=2):
    """Name -> function to time: a whole frame in tiles that overlap."""
    import ncnn

    writer, source, output = network()
    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.use_vulkan_compute = False
    with tempfile.TemporaryDirectory() as folder:
        param, binary = writer.save(folder)
        if net.load_param(param) or net.load_model(binary):
            raise RuntimeError("ncnn does not take the network")
    size = (3, -(-height // rows) + 2 * MARGIN, -(-width // columns) + 2 * MARGIN)
    tile = np.random.default_rng(1).random(size, np.float32)

    def one():
        extractor = net.create_extractor()
        extractor.input(source, ncnn.Mat(tile))
        code, result = extractor.extract(output)
        if code or (result.h, result.w) != (SCALE * size[1], SCALE * size[2]):
            raise RuntimeError(f"ncnn gave {code}, {result.h} x {result.w}")

    def frame():
        for _ in range(rows * columns):
            one()

    return {"frame": frame}
