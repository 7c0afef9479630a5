"""Writes a grey picture with edges and a gradient: picture.py FILE WIDTH HEIGHT."""
import struct
import sys
import zlib


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


path, width, height = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
rows = b""
for y in range(height):
    rows += b"\0" + bytes((3 * x + 2 * y) % 180 + (60 if (x + 2 * y) % 23 < 9 else 0) for x in range(width))
head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
with open(path, "wb") as file:
    file.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
