"""Kinds below the message: bytes that are no JSON of ours, and keys that are not the message's own."""

import base64
import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator

import cramjam

from benchmarks.rubbish.good import BY_TOPIC, Case, Record, keyed
from benchmarks.rubbish.kinds import Kind
from stream_twin.topics import MAX_RECORD_BYTES

BOMB = bytes(50_000_000)
"""Zeros, which pack to a thousandth and less."""


def _zipped() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("readings.json", BOMB)
    return packed.getvalue()


GZIPPED, ZIPPED = gzip.compress(BOMB, mtime=0), _zipped()
ZSTD, LZ4, DEFLATED = bytes(cramjam.zstd.compress(BOMB)), bytes(cramjam.lz4.compress(BOMB)), zlib.compress(BOMB)


BOMB_TEXT = base64.b64encode(GZIPPED).decode()


def _in_field(value: bytes, more: bytes) -> bytes:
    return value[:-1] + b"," + more + b"}"


def _in_string(value: bytes, text: bytes) -> bytes:
    """Another text within the first string of the message."""
    at = value.index(b'":"') + 3
    return value[:at] + text + value[at:]


Change = Callable[[bytes], bytes | None]
VALUES: list[tuple[str, str, Change]] = [
    # nothing
    ("no value", "tombstone", lambda v: None),
    ("no bytes", "empty", lambda v: b""),
    ("blanks only", "not_json", lambda v: b" \n\t "),
    ("one NUL", "not_json", lambda v: b"\0"),
    ("zeros", "not_json", lambda v: bytes(1000)),
    # another language
    ("plain text", "not_json", lambda v: b"HR=72 at 08:30"),
    ("CSV", "not_json", lambda v: b"time,patient,heart_rate\n1,anna,72\n"),
    ("XML", "not_json", lambda v: b"<?xml version='1.0'?><Observation><value>72</value></Observation>"),
    ("an entity bomb", "not_json", lambda v: b'<!DOCTYPE a [<!ENTITY b "' + b"&c;" * 100 + b'">]><a>&b;</a>'),
    ("HTML of a proxy", "not_json", lambda v: b"<html><body><h1>502 Bad Gateway</h1></body></html>"),
    ("HL7 version 2", "not_json", lambda v: b"MSH|^~\\&|GW|WARD|||202603010830||ORU^R01|1|P|2.5\rOBX|1|NM|8867-4||72|/min\r"),
    ("YAML", "not_json", lambda v: b"type: observation\nvalue: 72\n"),
    ("a query string", "not_json", lambda v: b"patient=anna&value=72"),
    ("Avro behind a registry's header", "not_json", lambda v: b"\0\0\0\0\x07" + v),
    ("Protobuf", "not_json", lambda v: b"\x0a\x04anna\x11\x00\x00\x00\x00\x00\x00\x52\x40"),
    ("Protobuf that is not UTF-8", "not_utf8", lambda v: b"\x0a\x04anna\x10\xc8\x01"),
    ("MessagePack", "not_utf8", lambda v: b"\x82\xa5value\x48\xa2id\xa1x"),
    ("CBOR", "not_utf8", lambda v: b"\xa2evalue\x18Hbidax"),
    ("a Python pickle", "not_utf8", lambda v: b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00}\x8c\x01v\x94KHs."),
    ("a PNG picture", "not_utf8", lambda v: b"\x89PNG\r\n\x1a\n" + bytes(16)),
    # packed, and bombs
    ("gzipped", "not_utf8", lambda v: gzip.compress(v, mtime=0)),
    ("a gzip bomb", "not_utf8", lambda v: GZIPPED),
    ("a zip bomb", "not_utf8", lambda v: ZIPPED),
    ("a deflate bomb", "not_utf8", lambda v: DEFLATED),
    ("a zstd bomb", "not_utf8", lambda v: ZSTD),
    ("an lz4 bomb", "not_utf8", lambda v: LZ4),
    ("a gzip bomb as base64", "not_json", lambda v: BOMB_TEXT.encode()),
    ("a gzip bomb as a JSON string", "wrong_type", lambda v: b'"' + BOMB_TEXT.encode() + b'"'),
    ("a zip bomb as a JSON string", "wrong_type", lambda v: b'"' + base64.b64encode(ZIPPED) + b'"'),
    # not UTF-8
    ("a byte order mark", "not_json", lambda v: b"\xef\xbb\xbf" + v),
    ("UTF-16, little end first", "not_utf8", lambda v: b"\xff\xfe" + v.decode().encode("utf-16-le")),
    ("UTF-16, big end first", "not_utf8", lambda v: b"\xfe\xff" + v.decode().encode("utf-16-be")),
    ("UTF-16 without a mark", "not_json", lambda v: v.decode().encode("utf-16-le")),
    ("UTF-32", "not_json", lambda v: v.decode().encode("utf-32-be")),
    ("UTF-7", "not_json", lambda v: v.decode().encode("utf-7").replace(b'"', b"+ACI-")),
    ("EBCDIC", "not_utf8", lambda v: v.decode().encode("cp500")),
    ("Latin-1", "not_utf8", lambda v: _in_string(v, "Zürich".encode("latin-1"))),
    ("Shift-JIS", "not_utf8", lambda v: _in_string(v, "脈拍".encode("shift-jis"))),
    ("an overlong encoding", "not_utf8", lambda v: _in_string(v, b"\xc0\xaf")),
    ("a continuation byte alone", "not_utf8", lambda v: _in_string(v, b"\x80")),
    ("a character cut in two", "not_utf8", lambda v: _in_string(v, b"\xe2\x82")),
    ("a surrogate in UTF-8", "not_utf8", lambda v: _in_string(v, b"\xed\xa0\x80")),
    ("a code beyond Unicode", "not_utf8", lambda v: _in_string(v, b"\xf4\x90\x80\x80")),
    ("a byte that UTF-8 never has", "not_utf8", lambda v: _in_string(v, b"\xff")),
    ("one bit flipped", "not_utf8", lambda v: v[:20] + bytes([v[20] ^ 0x80]) + v[21:]),
    # JSON that is none
    ("the first byte alone", "not_json", lambda v: v[:1]),
    ("the first half", "not_json", lambda v: v[: len(v) // 2]),
    ("without its last byte", "not_json", lambda v: v[:-1]),
    ("without its first byte", "wrong_type", lambda v: v[1:]),
    ("cut within a name", "not_json", lambda v: v[:3]),
    ("cut behind a colon", "not_json", lambda v: v[: v.index(b":") + 1]),
    ("twice in a row", "not_json", lambda v: v + v),
    ("one a line", "not_json", lambda v: v + b"\n" + v),
    ("a brace too many", "not_json", lambda v: v + b"}"),
    ("with a NUL at the end", "not_json", lambda v: v + b"\0"),
    ("with its length before it", "wrong_type", lambda v: b"%d\r\n" % len(v) + v),
    ("a comma too many", "not_json", lambda v: v[:-1] + b",}"),
    ("a comma missing", "not_json", lambda v: v.replace(b',"', b' "', 1)),
    ("a colon missing", "not_json", lambda v: v.replace(b'":', b'" ', 1)),
    ("single quotes", "not_json", lambda v: v.replace(b'"', b"'")),
    ("curly quotes", "not_json", lambda v: v.replace(b'"', "\u201c".encode())),
    ("names without quotes", "not_json", lambda v: v.replace(b'"', b"")),
    ("a comment", "not_json", lambda v: b"/* gateway 7 */" + v),
    ("as JSONP", "not_json", lambda v: b"callback(" + v + b");"),
    ("behind a guard against scripts", "not_json", lambda v: b")]}'\n" + v),
    ("a raw line break in a string", "not_json", lambda v: _in_string(v, b"\n")),
    ("a raw NUL in a string", "not_json", lambda v: _in_string(v, b"\0")),
    ("a raw escape in a string", "not_json", lambda v: _in_string(v, b"\x1b[2J")),
    ("an escape that does not exist", "not_json", lambda v: _in_string(v, rb"\x41")),
    ("an octal escape", "not_json", lambda v: _in_string(v, rb"\101")),
    ("an escape cut short", "not_json", lambda v: _in_string(v, rb"\u00")),
    ("an escape without digits", "not_json", lambda v: _in_string(v, rb"\uZZZZ")),
    ("half a surrogate pair, the first", "not_json", lambda v: _in_string(v, rb"\ud83d")),
    ("half a surrogate pair, the second", "not_json", lambda v: _in_string(v, rb"\ude00")),
    ("a surrogate pair the wrong way round", "not_json", lambda v: _in_string(v, rb"\ude00\ud83d")),
    # numbers, in a field that nobody reads
    ("NaN", "not_finite", lambda v: _in_field(v, b'"x":NaN')),
    ("Infinity", "not_finite", lambda v: _in_field(v, b'"x":Infinity')),
    ("minus infinity", "not_finite", lambda v: _in_field(v, b'"x":-Infinity')),
    ("nan in small letters", "not_finite", lambda v: _in_field(v, b'"x":nan')),
    ("inf", "not_finite", lambda v: _in_field(v, b'"x":[1,inf]')),
    ("a number with a leading zero", "not_json", lambda v: _in_field(v, b'"x":007')),
    ("a number with a plus sign", "not_json", lambda v: _in_field(v, b'"x":+7')),
    ("a hexadecimal number", "not_json", lambda v: _in_field(v, b'"x":0x7')),
    ("a number that starts with its point", "not_json", lambda v: _in_field(v, b'"x":.7')),
    ("a number that ends with its point", "not_json", lambda v: _in_field(v, b'"x":7.')),
    ("a number with a comma", "not_json", lambda v: _in_field(v, b'"x":7,5')),
    ("an exponent without digits", "not_json", lambda v: _in_field(v, b'"x":7e')),
    ("a minus alone", "not_json", lambda v: _in_field(v, b'"x":-')),
    ("undefined", "not_json", lambda v: _in_field(v, b'"x":undefined')),
    ("True as in Python", "not_json", lambda v: _in_field(v, b'"x":True')),
    ("None as in Python", "not_json", lambda v: _in_field(v, b'"x":None')),
    # JSON that is no message
    ("null", "wrong_type", lambda v: b"null"),
    ("true", "wrong_type", lambda v: b"true"),
    ("a number", "wrong_type", lambda v: b"72"),
    ("a text", "wrong_type", lambda v: b'"72"'),
    ("an empty list", "wrong_type", lambda v: b"[]"),
    ("a list of it", "wrong_type", lambda v: b"[" + v + b"]"),
    ("it as a text", "wrong_type", lambda v: b'"' + v.replace(b'"', rb"\"") + b'"'),
    ("it in base64", "not_json", base64.b64encode),
    ("an empty object", "missing_field", lambda v: b"{}"),
    ("inside an envelope", "missing_field", lambda v: b'{"payload":' + v + b"}"),
    ("names in capitals", "missing_field", lambda v: re.sub(rb'"\w+":', lambda found: found[0].upper(), v)),
    # size and depth
    ("lists 33 deep", "too_deep", lambda v: _in_field(v, b'"x":' + b"[" * 33 + b"]" * 33)),
    ("objects 100 deep", "too_deep", lambda v: _in_field(v, b'"x":' + b'{"x":' * 100 + b"0" + b"}" * 100)),
    ("brackets without an end", "too_deep", lambda v: b"[" * 10_000),
    ("half a million brackets", "too_deep", lambda v: b"[" * 500_000),
    ("objects without an end", "too_deep", lambda v: b'{"x":' * 10_000),
    ("mixed, 1,000 deep", "too_deep", lambda v: _in_field(v, b'"x":' + b'[{"x":' * 500 + b"0" + b"}]" * 500)),
    ("a megabyte of text in a field", "too_large", lambda v: _in_field(v, b'"x":"' + b"x" * MAX_RECORD_BYTES + b'"')),
    ("a megabyte of blanks behind it", "too_large", lambda v: v + b" " * MAX_RECORD_BYTES),
    ("a megabyte of digits", "too_large", lambda v: b"7" * (MAX_RECORD_BYTES + 1)),
    ("a megabyte of zeros", "too_large", lambda v: bytes(MAX_RECORD_BYTES + 1)),
    ("a hundred thousand fields", "too_large", lambda v: _in_field(v, b",".join(b'"x%06d":0' % n for n in range(100_000)))),
]

KEYS: list[tuple[str, Callable[[bytes], bytes | None]]] = [
    ("no key", lambda k: None),
    ("an empty key", lambda k: b""),
    ("a key of somebody else", lambda k: k[:-1] + b"?"),
    ("a key in capitals", lambda k: k.upper()),
    ("a key with a line break", lambda k: k + b"\n"),
    ("a key with a blank before it", lambda k: b" " + k),
    ("a key with a NUL", lambda k: k + b"\0"),
    ("a key in JSON's quotes", lambda k: b'"' + k + b'"'),
    ("a key as a JSON object", lambda k: b'{"patient_id":"' + k + b'"}'),
    ("a key in UTF-16", lambda k: k.decode().encode("utf-16")),
    ("a key with a byte order mark", lambda k: b"\xef\xbb\xbf" + k),
    ("a key that is not UTF-8", lambda k: b"\xff\xfe" + k),
    ("a key behind a registry's header", lambda k: b"\0\0\0\0\x07" + k),
    ("a key in base64", base64.b64encode),
    ("a key cut short", lambda k: k[:-1]),
    ("a key of 100 kB", lambda k: k * (100_000 // len(k))),
    ("a key that is a number of 8 bytes", lambda k: (17).to_bytes(8, "big")),
    ("a key named like the key of a snapshot", lambda k: b"p" + k),
    ("a key named like the lane's sources", lambda k: b"lsources"),
    ("a key named like the lane's checkpoint", lambda k: b"lcheckpoint"),
    ("a key named like the lane's broadcast", lambda k: b"lbroadcast"),
]


def kinds() -> Iterator[Kind]:
    for topic in BY_TOPIC:
        for way, reason, change in VALUES:
            yield Kind(topic, "bytes", way, reason, _valued(topic, change))
        for way, change_key in KEYS:
            yield Kind(topic, "key", way, "key_mismatch", _keyed(topic, change_key))


def _valued(topic: str, change: Change) -> Callable[[Case], list[Record]]:
    def make(case: Case) -> list[Record]:
        good = keyed(topic, BY_TOPIC[topic](case))
        assert good.value is not None
        return [good._replace(value=change(good.value))]

    return make


def _keyed(topic: str, change: Callable[[bytes], bytes | None]) -> Callable[[Case], list[Record]]:
    def make(case: Case) -> list[Record]:
        good = keyed(topic, BY_TOPIC[topic](case))
        assert good.key is not None
        return [good._replace(key=change(good.key))]

    return make
