"""Reader and writer of safetensors files with numpy alone.

Layout: u64 little-endian header length, JSON header, raw tensor bytes in C order
(https://github.com/huggingface/safetensors, section "Format").
"""
import hashlib
import json
import os
import struct

import numpy as np

_NUMPY = {"F16": np.float16, "F32": np.float32, "F64": np.float64, "I64": np.int64}
_NAMES = {np.dtype(v): k for k, v in _NUMPY.items()}


def save(path, tensors, metadata=None):
    """Writes `tensors` (name -> numpy array) sorted by name; replaces the file atomically."""
    header, offset, chunks = {}, 0, []
    if metadata:
        header["__metadata__"] = {str(k): str(v) for k, v in metadata.items()}
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        size = array.nbytes
        header[name] = {
            "dtype": _NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + size],
        }
        chunks.append(array.tobytes())
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # keeps the data 8-byte aligned for memory mapping
    temporary = f"{path}.part"
    with open(temporary, "wb") as file:
        file.write(struct.pack("<Q", len(text)))
        file.write(text)
        file.writelines(chunks)
    os.replace(temporary, path)


def load(path):
    """Returns name -> numpy array in the stored type."""
    with open(path, "rb") as file:
        data = file.read()
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        start, end = (8 + length + o for o in entry["data_offsets"])
        kind = _NUMPY[entry["dtype"]]
        tensors[name] = np.frombuffer(data[start:end], kind).reshape(entry["shape"])
    return tensors


def sha256(path):
    """Hex digest of a file, as written into `model.json`."""
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()
